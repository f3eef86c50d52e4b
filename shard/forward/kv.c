/* kv: see kv.h.
 *
 * The layout is [layer][head][keys, values][block].  Blocks with consecutive numbers, as a sequence alone gets, are therefore
 * contiguous for attention over one head; if they were one block of all layers apart, reading would get a quarter of the
 * memory bandwidth (doc/performance.md).  Address space is reserved at once and not committed: a page takes memory when a block
 * is first written.  It is never cleared, because attention reads only what its own sequence has written. */
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

/* Heads of keys and values in layers [first, last). */
static size_t kv_heads(const struct hparams *hp, uint32_t first, uint32_t last) {
	size_t heads = 0;
	for (uint32_t l = first; l < last; l++)
		heads += hparams_layer(hp, l).kv_heads;
	return heads;
}

static uint32_t kv_recurrent(const struct hparams *hp, uint32_t first, uint32_t last) {
	return hparams_recurrent_before(hp, last) - hparams_recurrent_before(hp, first);
}

size_t kv_block_bytes(const struct hparams *hp, enum kern_kv type, uint32_t first, uint32_t last) {
	return kv_heads(hp, first, last) * 2 * kern_kv_bytes(type, hp->head_size) +
	       state_block_bytes(hp, kv_recurrent(hp, first, last));
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

int kv_create(struct kv **out, const struct hparams *hp, enum kern_kv type, uint32_t first, uint32_t last,
        uint32_t blocks) {
	size_t block = kv_block_bytes(hp, type, first, last);
	uint32_t recurrent = kv_recurrent(hp, first, last);
	if (first >= last || !blocks || !kern_kv_fits(type, hp->head_size))
		return -EINVAL;
	if (block && blocks > PTRDIFF_MAX / block)
		return -ENOMEM;
	struct kv *kv = malloc(sizeof *kv);
	uint32_t layers = last - first, *first_head = malloc((layers + 1) * sizeof *first_head);
	if (!kv || !first_head) {
		free(kv);
		free(first_head);
		return -ENOMEM;
	}
	*kv = (struct kv){.type = type,
	        .layers = layers,
	        .head_size = hp->head_size,
	        .blocks = blocks,
	        .first_head = first_head,
	        .attention_bytes =
	                kv_heads(hp, first, last) * 2 * kern_kv_bytes(type, hp->head_size) * blocks,
	        .block_bytes = block};
	first_head[0] = 0;
	for (uint32_t l = 0; l < layers; l++)
		first_head[l + 1] = first_head[l] + hparams_layer(hp, first + l).kv_heads;
	int rc = kv_reserve(kv, kv->attention_bytes);
	if (rc == 0 && recurrent)
		rc = state_create(&kv->state, hp, recurrent, blocks);
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
	free(kv->first_head);
	free(kv);
	errno = saved;
}

static void *kv_part(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head, size_t which) {
	assert(block < kv->blocks && layer < kv->layers);
	assert(head < kv->first_head[layer + 1] - kv->first_head[layer]);
	size_t row = ((size_t)kv->first_head[layer] + head) * 2 + which;
	return kv->base + (row * kv->blocks + block) * kern_kv_bytes(kv->type, kv->head_size);
}

void *kv_keys(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head) {
	return kv_part(kv, block, layer, head, 0);
}

void *kv_values(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head) {
	return kv_part(kv, block, layer, head, 1);
}
