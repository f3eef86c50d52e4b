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

size_t kv_block_bytes(const struct hparams *hp, enum kern_kv type, uint32_t first, uint32_t last) {
	size_t heads = 0;
	for (uint32_t l = first; l < last; l++)
		heads += hparams_layer(hp, l).kv_heads;
	return heads * 2 * kern_kv_bytes(type, hp->head_size);
}

int kv_create(struct kv **out, const struct hparams *hp, enum kern_kv type, uint32_t first, uint32_t last,
        uint32_t blocks) {
	size_t block = kv_block_bytes(hp, type, first, last);
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
	        .block_bytes = block};
	first_head[0] = 0;
	for (uint32_t l = 0; l < layers; l++)
		first_head[l + 1] = first_head[l] + hparams_layer(hp, first + l).kv_heads;
	kv->base = block ? mmap(NULL, block * blocks, PROT_READ | PROT_WRITE,
	                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
	                 : NULL;
	if (kv->base == MAP_FAILED) {
		int rc = -errno;
		kv->base = NULL;
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
		munmap(kv->base, kv->block_bytes * kv->blocks);
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
