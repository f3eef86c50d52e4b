/* kv_blocks: see kv_blocks.h. */
#include "daemon/serve/coordinator/kv_blocks.h"
#include "shard/model/hparams.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* Numbers of blocks, a stack. */
struct free_list {
	uint32_t *number;
	uint32_t count;
};

struct kv_blocks {
	struct free_list blocks, windows;
	uint32_t window; /* positions; 0: the model has none */
	uint32_t behind; /* the blocks before a block that its first position sees, with a window */
	struct prefix *prefix;
	struct kept_states *kept; /* NULL: no recurrent layers */
};

static int free_list_create(struct free_list *l, uint32_t n) {
	l->number = calloc(n ? n : 1, sizeof *l->number);
	if (!l->number)
		return -ENOMEM;
	while (l->count < n) {
		l->number[l->count] = n - 1 - l->count;
		l->count++;
	}
	return 0;
}

static void free_list_put(struct free_list *l, uint32_t number) {
	l->number[l->count++] = number;
}

int kv_blocks_create(struct kv_blocks **out, const struct kv_blocks_config *c) {
	struct kv_blocks *kv = calloc(1, sizeof *kv);
	if (!kv || free_list_create(&kv->blocks, c->blocks) != 0 ||
	        free_list_create(&kv->windows, c->window_blocks) != 0 ||
	        prefix_create(&kv->prefix, c->blocks, c->root, c->len) != 0 ||
	        (c->places && kept_states_create(&kv->kept, c->places, c->blocks) != 0)) {
		kv_blocks_destroy(kv);
		return -ENOMEM;
	}
	kv->window = c->window;
	kv->behind = c->window ? (c->window - 1 + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK : 0;
	*out = kv;
	return 0;
}

void kv_blocks_destroy(struct kv_blocks *kv) {
	if (!kv)
		return;
	prefix_destroy(kv->prefix);
	kept_states_destroy(kv->kept);
	free(kv->blocks.number);
	free(kv->windows.number);
	free(kv);
}

/* Room for so many blocks in a table. */
static bool kv_table_reserve(const struct kv_blocks *kv, struct kv_table *t, uint32_t blocks) {
	uint32_t *grown = realloc(t->block, blocks * sizeof *grown);
	if (!grown)
		return false;
	t->block = grown;
	if (!kv->window)
		return true;
	grown = realloc(t->window, blocks * sizeof *grown);
	if (grown)
		t->window = grown;
	return grown != NULL;
}

/* Takes a free block, or the idle one that is evicted first; what was in it is forgotten. */
static uint32_t kv_take_block(struct kv_blocks *kv) {
	uint32_t window = PREFIX_NONE, block = kv->blocks.count ? kv->blocks.number[--kv->blocks.count]
	                                                        : prefix_evict(kv->prefix, &window);
	if (window != PREFIX_NONE)
		free_list_put(&kv->windows, window);
	if (kv->kept)
		kept_states_drop(kv->kept, block);
	return block;
}

static uint32_t kv_take_window(struct kv_blocks *kv) {
	return kv->windows.count ? kv->windows.number[--kv->windows.count] : prefix_evict_window(kv->prefix);
}

bool kv_blocks_allocate(struct kv_blocks *kv, struct kv_table *t, uint32_t positions) {
	uint32_t want = (positions + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
	if (want <= t->nblocks)
		return true;
	uint32_t more = want - t->nblocks;
	if (more > kv_blocks_available(kv) || (kv->window && more > kv_blocks_windows_available(kv)) ||
	        !kv_table_reserve(kv, t, want))
		return false;
	for (; t->nblocks < want; t->nblocks++) {
		t->block[t->nblocks] = kv_take_block(kv);
		if (kv->window)
			t->window[t->nblocks] = kv_take_window(kv);
	}
	return true;
}

static uint32_t block_before(const struct kv_table *t, uint32_t i) {
	return i ? t->block[i - 1] : PREFIX_NONE;
}

static void kv_give_back_window(struct kv_blocks *kv, const struct kv_table *t, uint32_t i, bool passed) {
	if (i < t->shared)
		prefix_release_window(kv->prefix, t->block[i], passed);
	else
		free_list_put(&kv->windows, t->window[i]);
}

/* Gives back the window blocks before block `end`. */
static void kv_forget_before(struct kv_blocks *kv, struct kv_table *t, uint32_t end) {
	for (; t->first_window < end && t->first_window < t->nblocks; t->first_window++)
		kv_give_back_window(kv, t, t->first_window, true);
}

/* How many of the `found` blocks, of which the table has `n`, a sequence can go on from. */
static uint32_t kv_usable(const struct kv_blocks *kv, const struct kv_table *t, uint32_t n, uint32_t found) {
	uint32_t run = 0, usable = n; /* run: this many window blocks end here */
	for (uint32_t i = n > kv->behind ? n - kv->behind : 0; i < found; i++) {
		run = prefix_window(kv->prefix, t->block[i]) == PREFIX_NONE ? 0 : run + 1;
		if (i >= n && (run >= kv->behind || run == i + 1) &&
		        (!kv->kept || kept_states_find(kv->kept, t->block[i]) != KEPT_NONE))
			usable = i + 1;
	}
	return usable;
}

uint32_t kv_blocks_reuse(struct kv_blocks *kv, struct kv_table *t, const uint32_t *log, uint32_t most) {
	uint32_t n = t->nblocks, found = n, block;
	for (; found < most; found++) {
		block = prefix_find(kv->prefix, block_before(t, found), log + (size_t)found * KERN_KV_BLOCK);
		if (block == PREFIX_NONE || !kv_table_reserve(kv, t, found + 1))
			break;
		t->block[found] = block;
	}
	t->met = found;
	found = kv_usable(kv, t, n, found);
	if (found == n)
		return 0;
	for (uint32_t i = n; i < found; i++)
		prefix_use(kv->prefix, t->block[i]);
	uint32_t seen = found > kv->behind ? found - kv->behind : 0;
	assert(seen >= t->first_window);
	if (kv->window)
		kv_forget_before(kv, t, seen);
	for (uint32_t i = seen > n ? seen : n; kv->window && i < found; i++) {
		prefix_use_window(kv->prefix, t->block[i]);
		t->window[i] = prefix_window(kv->prefix, t->block[i]);
	}
	if (kv->window && n <= seen)
		t->first_window = seen;
	t->shared = t->nblocks = found;
	return found - n;
}

/* A block of the table has become the prefix cache's: so does its window block, or the prefix cache's replaces it. */
static void kv_share_window(struct kv_blocks *kv, struct kv_table *t, uint32_t i) {
	if (!kv->window || i < t->first_window)
		return;
	uint32_t known = prefix_window(kv->prefix, t->block[i]);
	if (known == PREFIX_NONE) {
		prefix_add_window(kv->prefix, t->block[i], t->window[i]);
		return;
	}
	prefix_use_window(kv->prefix, t->block[i]);
	free_list_put(&kv->windows, t->window[i]);
	t->window[i] = known;
}

/* The block `same` has the contents of the table's block i, and takes its place. */
static void kv_replace_block(struct kv_blocks *kv, struct kv_table *t, uint32_t i, uint32_t same) {
	prefix_use(kv->prefix, same);
	if (kv->kept)
		kept_states_move(kv->kept, t->block[i], same);
	free_list_put(&kv->blocks, t->block[i]);
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
		} else if (in_flight) {
			return;
		} else {
			kv_replace_block(kv, t, i, same);
		}
		kv_share_window(kv, t, i);
	}
}

void kv_blocks_forget(struct kv_blocks *kv, struct kv_table *t, uint32_t position) {
	if (kv->window)
		kv_forget_before(kv, t,
		        hparams_first_seen(position / KERN_KV_BLOCK * KERN_KV_BLOCK, kv->window) /
		                KERN_KV_BLOCK);
}

static void kv_give_back_block(struct kv_blocks *kv, const struct kv_table *t, uint32_t i) {
	if (i < t->shared) {
		prefix_release(kv->prefix, t->block[i]);
		return;
	}
	if (kv->kept)
		kept_states_drop(kv->kept, t->block[i]);
	free_list_put(&kv->blocks, t->block[i]);
}

/* Last block first, as the prefix cache requires; but its last window block is the most wanted one, and goes last. */
void kv_blocks_free(struct kv_blocks *kv, struct kv_table *t) {
	for (uint32_t i = t->first_window; kv->window && i < t->nblocks; i++)
		kv_give_back_window(kv, t, i, false);
	for (uint32_t i = t->nblocks; i-- > 0;)
		kv_give_back_block(kv, t, i);
	free(t->block);
	free(t->window);
	*t = (struct kv_table){0};
}

uint32_t kv_blocks_available(const struct kv_blocks *kv) {
	return kv->blocks.count + prefix_idle(kv->prefix);
}

uint32_t kv_blocks_windows_available(const struct kv_blocks *kv) {
	return kv->windows.count + prefix_idle_windows(kv->prefix);
}

const struct prefix *kv_blocks_prefix(const struct kv_blocks *kv) {
	return kv->prefix;
}

struct kept_states *kv_blocks_kept(const struct kv_blocks *kv) {
	return kv->kept;
}
