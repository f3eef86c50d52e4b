/* kv_blocks: see kv_blocks.h. */
#include "daemon/serve/coordinator/kv_blocks.h"
#include <errno.h>
#include <stdlib.h>

struct kv_blocks {
	uint32_t *free_block; /* a stack */
	uint32_t nfree;
	struct prefix *prefix;
	struct kept_states *kept; /* NULL: no recurrent layers */
};

int kv_blocks_create(struct kv_blocks **out, uint32_t blocks, uint32_t places, const void *root, size_t len) {
	struct kv_blocks *kv = calloc(1, sizeof *kv);
	if (!kv || !(kv->free_block = calloc(blocks ? blocks : 1, sizeof *kv->free_block)) ||
	        prefix_create(&kv->prefix, blocks, root, len) != 0 ||
	        (places && kept_states_create(&kv->kept, places, blocks) != 0)) {
		kv_blocks_destroy(kv);
		return -ENOMEM;
	}
	kv->nfree = blocks;
	for (uint32_t i = 0; i < blocks; i++)
		kv->free_block[i] = blocks - 1 - i;
	*out = kv;
	return 0;
}

void kv_blocks_destroy(struct kv_blocks *kv) {
	if (!kv)
		return;
	prefix_destroy(kv->prefix);
	kept_states_destroy(kv->kept);
	free(kv->free_block);
	free(kv);
}

/* A block whose contents will be others. */
static uint32_t kv_blocks_take(struct kv_blocks *kv) {
	uint32_t block = kv->nfree ? kv->free_block[--kv->nfree] : prefix_evict(kv->prefix);
	if (kv->kept)
		kept_states_drop(kv->kept, block);
	return block;
}

bool kv_blocks_allocate(struct kv_blocks *kv, struct kv_table *t, uint32_t positions) {
	uint32_t want = (positions + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
	if (want <= t->nblocks)
		return true;
	if (want - t->nblocks > kv_blocks_available(kv))
		return false;
	uint32_t *grown = realloc(t->block, want * sizeof *grown);
	if (!grown)
		return false;
	t->block = grown;
	while (t->nblocks < want)
		t->block[t->nblocks++] = kv_blocks_take(kv);
	return true;
}

static uint32_t block_before(const struct kv_table *t, uint32_t i) {
	return i ? t->block[i - 1] : PREFIX_NONE;
}

uint32_t kv_blocks_reuse(struct kv_blocks *kv, struct kv_table *t, const uint32_t *log, uint32_t most) {
	uint32_t *grown, n = t->nblocks, usable = n, found;
	t->met = n;
	if (n >= most ||
	        prefix_find(kv->prefix, block_before(t, n), log + (size_t)n * KERN_KV_BLOCK) == PREFIX_NONE ||
	        !(grown = realloc(t->block, most * sizeof *grown)))
		return 0;
	t->block = grown;
	for (; n < most; n++) {
		found = prefix_find(kv->prefix, block_before(t, n), log + (size_t)n * KERN_KV_BLOCK);
		if (found == PREFIX_NONE)
			break;
		t->block[n] = found;
		if (!kv->kept || kept_states_find(kv->kept, found) != KEPT_NONE)
			usable = n + 1;
	}
	t->met = n;
	for (n = t->nblocks; t->nblocks < usable; t->nblocks++)
		prefix_use(kv->prefix, t->block[t->nblocks]);
	t->shared = t->nblocks;
	return t->nblocks - n;
}

/* The block `same` has the contents of the table's block i, and takes its place. */
static void kv_blocks_replace(struct kv_blocks *kv, struct kv_table *t, uint32_t i, uint32_t same) {
	prefix_use(kv->prefix, same);
	if (kv->kept)
		kept_states_move(kv->kept, t->block[i], same);
	kv->free_block[kv->nfree++] = t->block[i];
	t->block[i] = same;
}

void kv_blocks_share(
        struct kv_blocks *kv, struct kv_table *t, const uint32_t *log, uint32_t full, bool in_flight) {
	for (; t->shared < full; t->shared++) {
		uint32_t i = t->shared, before = block_before(t, i);
		const uint32_t *tokens = log + (size_t)i * KERN_KV_BLOCK;
		uint32_t same = prefix_find(kv->prefix, before, tokens);
		if (same == PREFIX_NONE) {
			prefix_add(kv->prefix, t->block[i], before, tokens);
			continue;
		}
		if (in_flight)
			return;
		kv_blocks_replace(kv, t, i, same);
	}
}

static void kv_blocks_give_up(struct kv_blocks *kv, uint32_t block) {
	if (kv->kept)
		kept_states_drop(kv->kept, block);
	kv->free_block[kv->nfree++] = block;
}

/* Last block first, as the prefix cache requires. */
void kv_blocks_free(struct kv_blocks *kv, struct kv_table *t) {
	for (uint32_t i = t->nblocks; i-- > 0;)
		if (i < t->shared)
			prefix_release(kv->prefix, t->block[i]);
		else
			kv_blocks_give_up(kv, t->block[i]);
	free(t->block);
	*t = (struct kv_table){0};
}

uint32_t kv_blocks_available(const struct kv_blocks *kv) {
	return kv->nfree + prefix_idle(kv->prefix);
}

const struct prefix *kv_blocks_prefix(const struct kv_blocks *kv) {
	return kv->prefix;
}

struct kept_states *kv_blocks_kept(const struct kv_blocks *kv) {
	return kv->kept;
}
