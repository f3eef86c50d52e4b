/* kv_blocks: who has which block, which are shared, and that every block is free again in the end. */
#include "daemon/serve/coordinator/kv_blocks.h"
#include <stdlib.h>
#include <string.h>

#include <check.h>

enum { N = KERN_KV_BLOCK };

/* With a window of 100 positions: two blocks before a block are seen from it. */
static struct kv_blocks *with_windows(uint32_t blocks, uint32_t window_blocks) {
	struct kv_blocks *kv;
	ck_assert_int_eq(
	        kv_blocks_create(&kv, &(struct kv_blocks_config){blocks, window_blocks, 100, 0, "root", 4}),
	        0);
	return kv;
}

static struct kv_blocks *allocator(uint32_t blocks) {
	struct kv_blocks *kv;
	ck_assert_int_eq(
	        kv_blocks_create(&kv, &(struct kv_blocks_config){.blocks = blocks, .root = "root", .len = 4}),
	        0);
	return kv;
}

/* A log of so many blocks, which differs from others in the last one. */
static void fill(uint32_t *log, uint32_t blocks, uint32_t last) {
	for (uint32_t i = 0; i < blocks * N; i++)
		log[i] = i;
	log[blocks * N - 1] = 1000 + last;
}

START_TEST(no_block_twice_and_all_of_them) {
	struct kv_blocks *kv = allocator(5);
	struct kv_table q = {0}, r = {0};
	ck_assert(kv_blocks_allocate(kv, &q, 1));
	ck_assert_uint_eq(q.nblocks, 1);
	ck_assert(kv_blocks_allocate(kv, &q, N)); /* the block that it has is enough */
	ck_assert_uint_eq(q.nblocks, 1);
	ck_assert(kv_blocks_allocate(kv, &r, 2 * N + 1));
	ck_assert_uint_eq(r.nblocks, 3);
	ck_assert_uint_eq(kv_blocks_available(kv), 1);
	ck_assert(!kv_blocks_allocate(kv, &q, 3 * N)); /* one block too many: it gets none */
	ck_assert_uint_eq(q.nblocks, 1);
	ck_assert_uint_eq(kv_blocks_available(kv), 1);
	ck_assert(kv_blocks_allocate(kv, &q, 2 * N));
	bool taken[5] = {false};
	for (uint32_t i = 0; i < 5; i++) {
		uint32_t b = i < 2 ? q.block[i] : r.block[i - 2];
		ck_assert_uint_lt(b, 5);
		ck_assert(!taken[b]);
		taken[b] = true;
	}
	kv_blocks_free(kv, &q);
	ck_assert_uint_eq(q.nblocks, 0);
	ck_assert_ptr_null(q.block);
	ck_assert_uint_eq(kv_blocks_available(kv), 2);
	kv_blocks_free(kv, &r);
	ck_assert_uint_eq(kv_blocks_available(kv), 5);
	kv_blocks_destroy(kv);
}
END_TEST

START_TEST(what_is_freed_is_found_again) {
	struct kv_blocks *kv = allocator(4);
	struct kv_table q = {0}, r = {0};
	uint32_t log[3 * N], other[3 * N], first[2];
	fill(log, 3, 0);
	fill(other, 2, 1);
	ck_assert(kv_blocks_allocate(kv, &q, 3 * N));
	memcpy(first, q.block, sizeof first);
	ck_assert_uint_eq(kv_blocks_reuse(kv, &r, log, 2), 0); /* nothing is certain yet */
	kv_blocks_share(kv, &q, log, 2, false);
	ck_assert_uint_eq(q.shared, 2);
	kv_blocks_free(kv, &q);
	ck_assert_uint_eq(kv_blocks_available(kv), 4);
	ck_assert_uint_eq(prefix_idle(kv_blocks_prefix(kv)), 2);
	ck_assert_uint_eq(kv_blocks_reuse(kv, &r, other, 2), 1); /* its last token is another */
	ck_assert_uint_eq(kv_blocks_reuse(kv, &r, other, 2), 0);
	ck_assert_uint_eq(kv_blocks_reuse(kv, &r, log, 1), 0);
	ck_assert_uint_eq(kv_blocks_reuse(kv, &r, log, 3), 1); /* the third block was not shared */
	ck_assert_uint_eq(r.met, 2);
	ck_assert_uint_eq(r.nblocks, 2);
	ck_assert_uint_eq(r.shared, 2);
	ck_assert_mem_eq(r.block, first, sizeof first);
	ck_assert_uint_eq(kv_blocks_available(kv), 2);
	kv_blocks_free(kv, &r);
	kv_blocks_destroy(kv);
}
END_TEST

/* A sequence that computed the same tokens gives up its own blocks, but not while a step names them. */
START_TEST(equal_blocks_become_one) {
	struct kv_blocks *kv = allocator(4);
	struct kv_table q = {0}, r = {0};
	uint32_t log[2 * N], own[2];
	fill(log, 2, 0);
	ck_assert(kv_blocks_allocate(kv, &q, 2 * N));
	ck_assert(kv_blocks_allocate(kv, &r, 2 * N));
	memcpy(own, r.block, sizeof own);
	kv_blocks_share(kv, &q, log, 2, true); /* it is the first: nothing is replaced */
	ck_assert_uint_eq(q.shared, 2);
	kv_blocks_share(kv, &r, log, 2, true);
	ck_assert_uint_eq(r.shared, 0);
	ck_assert_mem_eq(r.block, own, sizeof own);
	ck_assert_uint_eq(kv_blocks_available(kv), 0);
	kv_blocks_share(kv, &r, log, 2, false);
	ck_assert_uint_eq(r.shared, 2);
	ck_assert_mem_eq(r.block, q.block, sizeof own);
	ck_assert_uint_eq(kv_blocks_available(kv), 2);
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_uint_eq(prefix_users(kv_blocks_prefix(kv), q.block[i]), 2);
	kv_blocks_free(kv, &q);
	ck_assert_uint_eq(kv_blocks_available(kv), 2); /* the other still uses them */
	kv_blocks_free(kv, &r);
	ck_assert_uint_eq(kv_blocks_available(kv), 4);
	kv_blocks_destroy(kv);
}
END_TEST

/* Idle blocks of the prefix cache are memory as well: evicted, the end of a prompt before its beginning. */
START_TEST(idle_blocks_are_evicted_when_none_is_free) {
	struct kv_blocks *kv = allocator(4);
	struct kv_table q = {0}, r = {0}, again = {0};
	uint32_t log[3 * N];
	fill(log, 3, 0);
	ck_assert(kv_blocks_allocate(kv, &q, 3 * N));
	kv_blocks_share(kv, &q, log, 3, false);
	uint32_t last = q.block[2];
	kv_blocks_free(kv, &q);
	ck_assert(kv_blocks_allocate(kv, &r, N));
	ck_assert(prefix_has(kv_blocks_prefix(kv), last)); /* the free one first */
	ck_assert(kv_blocks_allocate(kv, &r, 2 * N));
	ck_assert_uint_eq(r.block[1], last);
	ck_assert(!prefix_has(kv_blocks_prefix(kv), last));
	ck_assert_uint_eq(kv_blocks_reuse(kv, &again, log, 3), 2);
	ck_assert(!kv_blocks_allocate(kv, &r, 3 * N)); /* those that are in use stay */
	kv_blocks_free(kv, &again);
	ck_assert(kv_blocks_allocate(kv, &r, 4 * N));
	kv_blocks_free(kv, &r);
	ck_assert_uint_eq(kv_blocks_available(kv), 4);
	kv_blocks_destroy(kv);
}
END_TEST

/* A long text takes few window blocks: those that are not seen are given back, and no others. */
START_TEST(windows_behind_are_given_back) {
	struct kv_blocks *kv = with_windows(20, 3);
	struct kv_table q = {0};
	uint32_t windows = 0;
	for (uint32_t p = 1; p <= 20 * N; p++) {
		/* from the block of p, 99 positions before its first are seen */
		kv_blocks_forget(kv, &q, p - 1);
		ck_assert_uint_eq(q.first_window, (p - 1) / N > 2 ? (p - 1) / N - 2 : 0);
		ck_assert(kv_blocks_allocate(kv, &q, p));
		windows |= 1u << q.window[(p - 1) / N];
		ck_assert_uint_eq(kv_blocks_windows_available(kv), 3 - (q.nblocks - q.first_window));
	}
	ck_assert_uint_eq(windows, 7); /* all three, again and again */
	kv_blocks_free(kv, &q);
	ck_assert(kv_blocks_allocate(kv, &q, 3 * N));
	ck_assert(!kv_blocks_allocate(kv, &q, 4 * N)); /* there are blocks, but no window block */
	ck_assert_uint_eq(q.nblocks, 3);
	kv_blocks_free(kv, &q);
	ck_assert_uint_eq(kv_blocks_windows_available(kv), 3);
	ck_assert_uint_eq(kv_blocks_available(kv), 20);
	kv_blocks_destroy(kv);
}
END_TEST

/* Computes a text of so many blocks, one after the other. */
static void run_through(struct kv_blocks *kv, struct kv_table *t, const uint32_t *log, uint32_t blocks) {
	for (uint32_t b = 1; b <= blocks; b++) {
		ck_assert(kv_blocks_allocate(kv, t, b * N));
		kv_blocks_share(kv, t, log, b, false);
		kv_blocks_forget(kv, t, b * N);
	}
}

/* A beginning is found as far as the windows before it are there: those at the end of a text outlast those that it passed. */
START_TEST(next_turn_finds_its_windows) {
	struct kv_blocks *kv = with_windows(20, 7);
	struct kv_table q = {0}, r = {0}, other = {0};
	uint32_t log[8 * N], last[2];
	fill(log, 8, 0);
	run_through(kv, &q, log, 6);
	ck_assert_uint_eq(q.first_window, 4);
	memcpy(last, q.window + 4, sizeof last);
	kv_blocks_free(kv, &q);
	ck_assert_uint_eq(kv_blocks_windows_available(kv), 7);
	/* what another takes is the free one, and then the passed ones */
	ck_assert(kv_blocks_allocate(kv, &other, 3 * N));
	for (uint32_t i = 0; i < 3; i++)
		ck_assert(other.window[i] != last[0] && other.window[i] != last[1]);
	/* in the middle, the windows are not there: not even a part of it can be used */
	ck_assert_uint_eq(kv_blocks_reuse(kv, &r, log, 3), 0);
	ck_assert_uint_eq(r.nblocks, 0);
	kv_blocks_free(kv, &r);
	ck_assert_uint_eq(kv_blocks_reuse(kv, &r, log, 8), 6);
	ck_assert_uint_eq(r.shared, 6);
	ck_assert_uint_eq(r.first_window, 4);
	ck_assert_mem_eq(r.window + 4, last, sizeof last);
	ck_assert_uint_eq(kv_blocks_windows_available(kv), 2);
	/* those that are used are not taken */
	ck_assert(!kv_blocks_allocate(kv, &other, 6 * N));
	ck_assert(kv_blocks_allocate(kv, &other, 5 * N));
	kv_blocks_free(kv, &r);
	ck_assert(kv_blocks_allocate(kv, &other, 6 * N)); /* the first of the two */
	ck_assert_uint_eq(other.window[5], last[0]);
	ck_assert_uint_eq(kv_blocks_reuse(kv, &r, log, 8), 0);
	kv_blocks_free(kv, &r);
	kv_blocks_free(kv, &other);
	ck_assert_uint_eq(kv_blocks_windows_available(kv), 7);
	kv_blocks_destroy(kv);
}
END_TEST

/* Windows that a long text passes take no place from the ends of texts, however long those are idle. */
START_TEST(ends_outlast_a_long_text) {
	struct kv_blocks *kv = with_windows(30, 7);
	struct kv_table q = {0}, r = {0};
	uint32_t log[3 * N], other[20 * N];
	fill(log, 3, 0);
	fill(other, 20, 0);
	other[0] = 99;
	run_through(kv, &q, log, 3);
	kv_blocks_free(kv, &q);
	run_through(kv, &r, other, 20);
	ck_assert_uint_eq(kv_blocks_reuse(kv, &q, log, 3), 3);
	kv_blocks_free(kv, &q);
	kv_blocks_free(kv, &r);
	ck_assert_uint_eq(kv_blocks_windows_available(kv), 7);
	kv_blocks_destroy(kv);
}
END_TEST

/* Who computes again what the cache had lost gives it its windows; and who was second gives up its own. */
START_TEST(windows_are_donated) {
	struct kv_blocks *kv = with_windows(20, 8);
	struct kv_table q = {0}, r = {0}, other = {0};
	uint32_t log[4 * N];
	fill(log, 4, 0);
	ck_assert(kv_blocks_allocate(kv, &q, 2 * N));
	kv_blocks_share(kv, &q, log, 2, false);
	kv_blocks_free(kv, &q);
	ck_assert(kv_blocks_allocate(kv, &other, 7 * N)); /* takes one of the two */
	kv_blocks_free(kv, &other);
	ck_assert_uint_eq(kv_blocks_reuse(kv, &q, log, 2), 0);
	ck_assert(kv_blocks_allocate(kv, &q, 3 * N));
	ck_assert(kv_blocks_allocate(kv, &r, 3 * N));
	uint32_t mine = q.window[0];
	kv_blocks_share(kv, &q, log, 2, false);
	ck_assert_uint_eq(q.window[0], mine);
	ck_assert_uint_eq(prefix_window(kv_blocks_prefix(kv), q.block[0]), mine);
	ck_assert_uint_eq(kv_blocks_windows_available(kv), 8 - 6);
	kv_blocks_share(kv, &r, log, 2, false);
	ck_assert_uint_eq(r.window[0], mine);
	ck_assert_uint_eq(r.window[1], q.window[1]);
	ck_assert_uint_ne(r.window[2], q.window[2]);
	ck_assert_uint_eq(kv_blocks_windows_available(kv), 8 - 4);
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_uint_eq(prefix_window_users(kv_blocks_prefix(kv), q.block[i]), 2);
	kv_blocks_free(kv, &q);
	ck_assert_uint_eq(kv_blocks_windows_available(kv), 8 - 3);
	kv_blocks_free(kv, &r);
	ck_assert_uint_eq(kv_blocks_windows_available(kv), 8);
	/* a block that goes takes its window with it */
	ck_assert(kv_blocks_allocate(kv, &other, 8 * N));
	ck_assert_uint_eq(kv_blocks_windows_available(kv), 0);
	kv_blocks_free(kv, &other);
	kv_blocks_destroy(kv);
}
END_TEST

/* Of kept states, the one that no step has used for longest goes first, but none that is pinned or that the same step uses. */
START_TEST(kept_states_in_order) {
	struct kept_states *k;
	ck_assert_int_eq(kept_states_create(&k, 2, 6), 0);
	uint32_t first = kept_states_take(k, 0, 1), second = kept_states_take(k, 1, 2);
	ck_assert_uint_ne(first, second);
	ck_assert_uint_eq(kept_states_take(k, 1, 2), second); /* it has one */
	kept_states_pin(k, first);
	kept_states_pin(k, first);
	ck_assert_uint_eq(kept_states_take(k, 2, 3), second);
	ck_assert_uint_eq(kept_states_find(k, 0), first);
	ck_assert_uint_eq(kept_states_find(k, 1), KEPT_NONE);
	ck_assert_uint_eq(kept_states_take(k, 3, 3), KEPT_NONE);
	kept_states_unpin(k, first);
	kept_states_drop(k, 0); /* it stays until nobody begins there */
	ck_assert_uint_eq(kept_states_take(k, 3, 4), second);
	kept_states_unpin(k, first);
	kept_states_use(k, first, 5);
	ck_assert_uint_eq(kept_states_take(k, 4, 5), second);
	ck_assert_uint_eq(kept_states_take(k, 5, 6), first);
	/* a block that gives way to another one with the same contents */
	kept_states_move(k, 4, 0);
	ck_assert_uint_eq(kept_states_find(k, 0), second);
	kept_states_move(k, 5, 0);
	ck_assert_uint_eq(kept_states_find(k, 0), second);
	ck_assert_uint_eq(kept_states_find(k, 5), KEPT_NONE);
	ck_assert_uint_eq(kept_states_take(k, 1, 7), first);
	kept_states_destroy(k);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("kv_blocks");
	TCase *t = tcase_create("kv_blocks");
	tcase_add_test(t, no_block_twice_and_all_of_them);
	tcase_add_test(t, what_is_freed_is_found_again);
	tcase_add_test(t, equal_blocks_become_one);
	tcase_add_test(t, idle_blocks_are_evicted_when_none_is_free);
	tcase_add_test(t, windows_behind_are_given_back);
	tcase_add_test(t, next_turn_finds_its_windows);
	tcase_add_test(t, ends_outlast_a_long_text);
	tcase_add_test(t, windows_are_donated);
	tcase_add_test(t, kept_states_in_order);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
