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

size_t kv_block_bytes(const struct hparams *hp, enum kern_kv type, uint32_t layers) {
	return (size_t)layers * hp->kv_heads * 2 * kern_kv_bytes(type, hp->head_size);
}

int kv_create(
        struct kv **out, const struct hparams *hp, enum kern_kv type, uint32_t layers, uint32_t blocks) {
	size_t block = kv_block_bytes(hp, type, layers);
	if (!block || !blocks || !kern_kv_fits(type, hp->head_size))
		return -EINVAL;
	if (blocks > PTRDIFF_MAX / block)
		return -ENOMEM;
	struct kv *kv = malloc(sizeof *kv);
	if (!kv)
		return -ENOMEM;
	*kv = (struct kv){.type = type,
	        .layers = layers,
	        .kv_heads = hp->kv_heads,
	        .head_size = hp->head_size,
	        .blocks = blocks,
	        .block_bytes = block};
	kv->base = mmap(NULL, block * blocks, PROT_READ | PROT_WRITE,
	        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (kv->base == MAP_FAILED) {
		int rc = -errno;
		free(kv);
		return rc;
	}
	*out = kv;
	return 0;
}

void kv_destroy(struct kv *kv) {
	if (!kv)
		return;
	int saved = errno;
	munmap(kv->base, kv->block_bytes * kv->blocks);
	free(kv);
	errno = saved;
}

static void *kv_part(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head, size_t which) {
	assert(block < kv->blocks && layer < kv->layers && head < kv->kv_heads);
	size_t row = ((size_t)layer * kv->kv_heads + head) * 2 + which;
	return kv->base + (row * kv->blocks + block) * kern_kv_bytes(kv->type, kv->head_size);
}

void *kv_keys(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head) {
	return kv_part(kv, block, layer, head, 0);
}

void *kv_values(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head) {
	return kv_part(kv, block, layer, head, 1);
}
