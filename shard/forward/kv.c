/* kv: see kv.h.
 *
 * The layout is [layer][head][keys, values][block].  Blocks with consecutive numbers, as a sequence alone gets, are therefore
 * contiguous for attention over one head; if they were one block of all layers apart, reading would get a quarter of the
 * memory bandwidth (doc/performance.md).  Address space is reserved at once and not committed: a page takes memory when a block
 * is first written.  Layers with a window have fewer blocks than the others.  It is never cleared, because attention reads only what its own sequence has written. */
#include "shard/forward/kv.h"
#include "common/fail.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

int kv_check(const struct hparams *hp, enum kern_kv type, char *err, size_t errlen) {
	if (kern_kv_fits(type, hp->head_size))
		return 0;
	return fail_with(-EINVAL, err, errlen,
	        "a %s KV cache needs a head size divisible by 32, and this model's is %u", kern_kv_name(type),
	        hp->head_size);
}

/* a + n * bytes, or PTRDIFF_MAX. */
static size_t kv_add(size_t a, size_t n, size_t bytes) {
	return bytes && n > (PTRDIFF_MAX - a) / bytes ? PTRDIFF_MAX : a + n * bytes;
}

/* A layer's keys and values, which begin at `at`. */
static struct kv_layer kv_layer_of(const struct hparams *hp, struct kv_size size, uint32_t layer, size_t at) {
	return (struct kv_layer){.at = at,
	        .heads = hparams_layer(hp, layer).kv_heads,
	        .blocks = hparams_has_window(hp, layer) ? size.window_blocks : size.blocks};
}

static uint32_t kv_parts(const struct hparams *hp) {
	return hp->latent ? 1 : 2;
}

static size_t kv_layer_end(const struct hparams *hp, enum kern_kv type, const struct kv_layer *l) {
	return kv_add(l->at, kv_parts(hp) * (size_t)l->heads * l->blocks, kern_kv_bytes(type, hp->head_size));
}

size_t kv_bytes(const struct hparams *hp, struct kv_size size, uint32_t first, uint32_t last) {
	size_t bytes = 0;
	for (uint32_t i = first; i < last; i++) {
		struct kv_layer l = kv_layer_of(hp, size, i, bytes);
		bytes = kv_layer_end(hp, size.type, &l);
	}
	return kv_add(bytes, 1, state_bytes(hp, first, last, size.slots));
}

uint32_t kv_windows_of(const struct hparams *hp, uint32_t max_rows) {
	uint32_t seen = (hp->window - 1 + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
	return seen + (max_rows + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK + 2;
}

/* Reserves the blocks of the layers with keys and values. */
static int kv_reserve(struct kv *kv, size_t bytes) {
	if (!bytes)
		return 0;
	kv->base =
	        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (kv->base != MAP_FAILED)
		return 0;
	kv->base = NULL;
	return -errno;
}

int kv_create(struct kv **out, const struct hparams *hp, struct kv_size size, uint32_t first, uint32_t last) {
	size_t bytes = kv_bytes(hp, size, first, last);
	if (first >= last || !size.blocks || !size.window_blocks != !hp->window ||
	        (hp->attention_every && !size.slots) || !kern_kv_fits(size.type, hp->head_size))
		return -EINVAL;
	if (bytes == PTRDIFF_MAX)
		return -ENOMEM;
	struct kv *kv = malloc(sizeof *kv);
	uint32_t layers = last - first;
	struct kv_layer *layer = malloc(layers * sizeof *layer);
	if (!kv || !layer) {
		free(kv);
		free(layer);
		return -ENOMEM;
	}
	*kv = (struct kv){.size = size,
	        .layers = layers,
	        .head_size = hp->head_size,
	        .parts = kv_parts(hp),
	        .layer = layer,
	        .bytes = bytes};
	for (uint32_t l = 0; l < layers; l++) {
		layer[l] = kv_layer_of(hp, size, first + l, kv->attention_bytes);
		kv->attention_bytes = kv_layer_end(hp, size.type, &layer[l]);
	}
	int rc = kv_reserve(kv, kv->attention_bytes);
	if (rc == 0)
		rc = state_create(&kv->state, hp, first, last, size.slots);
	if (rc) {
		kv_destroy(kv);
		return rc;
	}
	*out = kv;
	return 0;
}

void kv_destroy(struct kv *kv) {
	if (!kv)
		return;
	int saved = errno;
	if (kv->base)
		munmap(kv->base, kv->attention_bytes);
	state_destroy(kv->state);
	free(kv->layer);
	free(kv);
	errno = saved;
}

static void *kv_part(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head, size_t which) {
	assert(layer < kv->layers);
	const struct kv_layer *l = &kv->layer[layer];
	assert(block < l->blocks && head < l->heads && which < kv->parts);
	size_t place = ((size_t)head * kv->parts + which) * l->blocks + block;
	return kv->base + l->at + place * kern_kv_bytes(kv->size.type, kv->head_size);
}

void *kv_keys(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head) {
	return kv_part(kv, block, layer, head, 0);
}

void *kv_values(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head) {
	return kv_part(kv, block, layer, head, 1);
}
