/* Experts read on demand: their bytes are those of the mapped tensors, those used most stay, and what cannot be read ends a step
 * alone. */
#include "shard/forward/expert_cache.h"
#include "tests/support/stored.h"
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LAYERS 4
#define EXPERTS 24
#define PAGE 4096u

/* Layer 0 has no experts.  Parts begin anywhere in a page, at a page, and are longer than what is read at once. */
static const struct {
	enum kern_type type;
	uint64_t n, rows; /* of an expert */
	uint32_t experts;
} shape[LAYERS][EXPERT_MATRICES] = {
        {{0}},
        {{KERN_Q4_K, 256, 40, EXPERTS}, {KERN_Q4_K, 256, 48, EXPERTS}, {KERN_Q6_K, 512, 16, EXPERTS}},
        {{KERN_F32, 512, 8, EXPERTS}, {KERN_Q4_K, 256, 56, EXPERTS}, {KERN_Q5_0, 96, 24, EXPERTS}},
        {{KERN_F32, 16384, 24, 4}, {0}, {KERN_Q8_0, 64, 8, 4}},
};

static struct content_tensor record[LAYERS][EXPERT_MATRICES];
static uint8_t *bytes[LAYERS][EXPERT_MATRICES];
static struct store_tensor *opened[LAYERS][EXPERT_MATRICES], *mapped[LAYERS][EXPERT_MATRICES];
static struct expert_layer layer[LAYERS];
static uint64_t slot_bytes;
static struct expert_cache *cache;

static void begin(void) {
	setup();
	slot_bytes = 0;
	for (uint32_t l = 0; l < LAYERS; l++) {
		uint64_t slot = 0;
		for (int k = 0; k < EXPERT_MATRICES; k++) {
			struct content_tensor *t = &record[l][k];
			uint32_t parts = shape[l][k].experts;
			if (!parts)
				continue;
			bytes[l][k] = make_parts(
			        t, shape[l][k].type, shape[l][k].n, parts * shape[l][k].rows, parts);
			put_tensor(t, bytes[l][k]);
			ck_assert_int_eq(store_open_tensor(store, &t->id, &opened[l][k], err, sizeof err), 0);
			ck_assert_int_eq(store_map_tensor(store, &t->id, &mapped[l][k], err, sizeof err), 0);
			layer[l].w[k] = opened[l][k];
			slot += expert_cache_part_bytes(t->type, t->n, t->rows, t->parts);
		}
		slot_bytes = slot > slot_bytes ? slot : slot_bytes;
	}
}

static void finish(void) {
	for (uint32_t l = 0; l < LAYERS; l++)
		for (int k = 0; k < EXPERT_MATRICES; k++) {
			store_unmap_tensor(opened[l][k]);
			store_unmap_tensor(mapped[l][k]);
			content_tensor_clear(&record[l][k]);
			free(bytes[l][k]);
		}
	teardown();
}

static void make_cache(uint32_t slots, bool direct) {
	struct expert_cache_stats s;
	ck_assert_msg(expert_cache_create(
	                      &cache, layer, LAYERS, slots * slot_bytes + PAGE, direct, err, sizeof err) == 0,
	        "%s", err);
	expert_cache_stats(cache, &s);
	ck_assert_uint_eq(s.experts, 2 * EXPERTS + 4);
	ck_assert_uint_eq(s.slots, slots < s.experts ? slots : s.experts);
	ck_assert_uint_eq(s.bytes, s.slots * slot_bytes);
}

static void check_bytes(uint32_t l, const struct expert_ready *r) {
	for (int k = 0; k < EXPERT_MATRICES; k++) {
		ck_assert((r->packed[k] == NULL) == (shape[l][k].experts == 0));
		if (!r->packed[k])
			continue;
		size_t part = shape[l][k].rows * kern_row_bytes(shape[l][k].type, shape[l][k].n);
		ck_assert_mem_eq(
		        r->packed[k], (const uint8_t *)mapped[l][k]->packed + r->expert * part, part);
	}
}

/* A layer of a step: every expert is given once, with its bytes.  0 or -EIO. */
static int use(uint32_t l, const uint32_t *expert, size_t count, size_t max) {
	struct expert_ready ready[EXPERTS];
	unsigned given[EXPERTS] = {0};
	int n;
	expert_cache_want(cache, l, expert, count);
	while ((n = expert_cache_next(cache, ready, max)) > 0) {
		ck_assert_uint_le((size_t)n, max);
		for (int i = 0; i < n; i++) {
			check_bytes(l, &ready[i]);
			given[ready[i].expert]++;
		}
	}
	unsigned sum = 0;
	for (size_t i = 0; i < count && n == 0; i++) {
		ck_assert_uint_eq(given[expert[i]], 1);
		sum += given[expert[i]];
	}
	ck_assert(n < 0 || sum == count);
	return n;
}

static uint64_t misses(void) {
	struct expert_cache_stats s;
	expert_cache_stats(cache, &s);
	return s.misses;
}

/* `count` experts of a layer, at random. */
static void choose(uint32_t *expert, uint32_t of, size_t count, uint32_t *state) {
	uint32_t all[EXPERTS];
	for (uint32_t i = 0; i < of; i++)
		all[i] = i;
	for (uint32_t i = 0; i < count; i++) {
		*state = *state * 1664525 + 1013904223;
		uint32_t k = i + (*state >> 8) % (of - i);
		expert[i] = all[k];
		all[k] = all[i];
	}
}

/* However many slots there are, and however they are read. */
START_TEST(experts_have_the_bytes_of_the_mapped_tensors) {
	static const uint32_t slots[] = {1, 2, 7, 30, 1000};
	uint32_t state = 7, expert[EXPERTS];
	for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
		for (int direct = 0; direct < 2; direct++) {
			struct expert_cache_stats s;
			uint64_t wanted = 0;
			make_cache(slots[i], direct);
			for (int step = 0; step < 20; step++) {
				expert_cache_begin(cache);
				for (uint32_t l = 1; l < LAYERS; l++) {
					uint32_t of = shape[l][0].experts;
					size_t count = step % 5 == 4 ? of : 1 + state % 4;
					choose(expert, of, count, &state);
					ck_assert_int_eq(use(l, expert, count, step % 3 ? EXPERTS : 1), 0);
					wanted += count;
				}
			}
			expert_cache_stats(cache, &s);
			ck_assert_uint_eq(s.hits + s.misses, wanted);
			ck_assert_uint_ge(s.misses, s.experts); /* all were used */
			if (slots[i] >= s.experts)
				ck_assert_uint_eq(s.misses, s.experts);
			ck_assert_uint_gt(s.read, s.misses * 5000);
			ck_assert(direct || !s.direct);
			expert_cache_destroy(cache);
		}
}
END_TEST

/* Eight experts are used in every step, and others now and then: the eight are read once. */
START_TEST(those_used_most_stay) {
	static const uint32_t hot[] = {1, 3, 5, 7};
	make_cache(10, true);
	for (uint32_t step = 0; step < 200; step++) {
		uint32_t cold = 8 + step % 16;
		expert_cache_begin(cache);
		for (uint32_t l = 1; l <= 2; l++) {
			ck_assert_int_eq(use(l, hot, 4, EXPERTS), 0);
			ck_assert_int_eq(use(l, &cold, 1, EXPERTS), 0);
		}
	}
	ck_assert_uint_eq(misses(), 8 + 2 * 200);
	/* others take their place long before they have been used as often */
	static const uint32_t later[] = {0, 2, 4, 6};
	for (int step = 0; step < 120; step++) {
		expert_cache_begin(cache);
		for (uint32_t l = 1; l <= 2; l++)
			ck_assert_int_eq(use(l, later, 4, EXPERTS), 0);
	}
	uint64_t before = misses();
	for (int step = 0; step < 10; step++) {
		expert_cache_begin(cache);
		for (uint32_t l = 1; l <= 2; l++)
			ck_assert_int_eq(use(l, later, 4, EXPERTS), 0);
	}
	ck_assert_uint_eq(misses(), before);
	expert_cache_destroy(cache);
}
END_TEST

/* A layer that uses all its experts drives out few of another's. */
START_TEST(a_long_prompt_leaves_the_others_experts) {
	static const uint32_t hot[] = {0, 4, 8, 12, 16, 20};
	uint32_t all[EXPERTS];
	for (uint32_t i = 0; i < EXPERTS; i++)
		all[i] = i;
	make_cache(16 + 6, true);
	for (int step = 0; step < 3; step++) {
		expert_cache_begin(cache);
		ck_assert_int_eq(use(1, hot, 6, EXPERTS), 0);
	}
	ck_assert_uint_eq(misses(), 6);
	expert_cache_begin(cache);
	ck_assert_int_eq(use(2, all, EXPERTS, EXPERTS), 0);
	ck_assert_uint_eq(misses(), 6 + EXPERTS);
	ck_assert_int_eq(use(1, hot, 6, EXPERTS), 0);
	ck_assert_uint_eq(misses(), 6 + EXPERTS);
	expert_cache_destroy(cache);
}
END_TEST

/* A step may end anywhere: the next one gets what it wants. */
START_TEST(an_abandoned_step_does_no_harm) {
	uint32_t state = 3, expert[EXPERTS];
	struct expert_ready ready[EXPERTS];
	make_cache(5, true);
	for (int step = 0; step < 60; step++) {
		expert_cache_begin(cache);
		choose(expert, EXPERTS, 12, &state);
		expert_cache_want(cache, 1 + (uint32_t)step % 2, expert, 12);
		for (int i = 0; i < step % 4; i++)
			ck_assert_int_gt(expert_cache_next(cache, ready, EXPERTS), 0);
		expert_cache_begin(cache);
		choose(expert, EXPERTS, 4, &state);
		ck_assert_int_eq(use(2 - (uint32_t)step % 2, expert, 4, EXPERTS), 0);
	}
	expert_cache_want(cache, 3, (const uint32_t[]){0, 1, 2, 3}, 4);
	expert_cache_destroy(cache); /* while they are read */
}
END_TEST

START_TEST(an_expert_that_cannot_be_read_ends_the_step) {
	static const uint32_t last = EXPERTS - 1, some[] = {2, 9};
	struct content_id id;
	struct store_tensor *t = opened[2][2];
	make_cache(20, true);
	expert_cache_begin(cache);
	ck_assert_int_eq(use(2, some, 2, EXPERTS), 0);
	ck_assert_int_eq(
	        truncate(tensor_path(&t->record.id), (off_t)(t->packed_at + t->packed_bytes / 2)), 0);
	ck_assert_int_eq(use(2, &last, 1, EXPERTS), -EIO);
	expert_cache_error(cache, 10, err, sizeof err);
	ck_assert_str_eq(err, "layer 12: expert 23 cannot be read from disk: No data available");
	ck_assert(store_tensor_damaged(t) && !store_tensor_damaged(opened[2][1]));
	/* the others can be read, and what could not is not taken for read */
	expert_cache_begin(cache);
	ck_assert_int_eq(use(1, some, 2, EXPERTS), 0);
	ck_assert_int_eq(use(2, &last, 1, EXPERTS), -EIO);
	/* once the file is good again, nothing of the layer is what was read from the bad one */
	store_find_damaged(store, &id, 1);
	put_tensor(&record[2][2], bytes[2][2]);
	for (int k = 0; k < 2; k++) /* opened and mapped */
		store_find_damaged(store, &id, 1);
	ck_assert_int_eq(store_renew_tensor(store, &t->record.id), 0);
	ck_assert(!store_tensor_damaged(t));
	uint64_t before = misses();
	expert_cache_begin(cache);
	ck_assert_int_eq(use(1, some, 2, EXPERTS), 0);
	ck_assert_uint_eq(misses(), before);
	ck_assert_int_eq(use(2, some, 2, EXPERTS), 0);
	ck_assert_uint_eq(misses(), before + 2);
	ck_assert_int_eq(use(2, &last, 1, EXPERTS), 0);
	expert_cache_destroy(cache);
}
END_TEST

/* Turns a byte of an expert's part of a tensor on disk. */
static void rot(uint32_t l, int matrix, uint32_t expert, uint64_t at) {
	const struct store_tensor *t = opened[l][matrix];
	spoil(tensor_path(&t->record.id),
	        (off_t)(t->packed_at + expert * (t->packed_bytes / t->record.parts) + at));
}

static int step(uint32_t l, uint32_t expert) {
	expert_cache_begin(cache);
	return use(l, &expert, 1, EXPERTS);
}

/* At the beginning, in the middle and at the end of what is read; the first time and later. */
START_TEST(damaged_bytes_are_found_as_they_are_read) {
	static const struct {
		uint32_t layer, expert;
		int matrix;
		uint64_t at;
	} where[] = {{2, EXPERTS - 1, 2, 0}, {1, 0, 0, 144 * 40 - 1}, {1, 5, 2, 999}, {3, 2, 0, 0},
	        {3, 2, 0, (3 << 18) + 1}, {3, 3, 0, 16384 * 24 * 4 - 1}};
	uint32_t l = where[_i].layer, e = where[_i].expert;
	int k = where[_i].matrix;
	for (int later = 0; later < 2; later++)
		for (int direct = 0; direct < 2; direct++) {
			make_cache(1, direct);
			if (later)
				ck_assert_int_eq(step(l, e), 0);
			ck_assert_int_eq(step(l, e - (e > 0) + (e == 0)), 0); /* takes its place */
			rot(l, k, e, where[_i].at);
			ck_assert_int_eq(step(l, e), -EIO);
			expert_cache_error(cache, 10, err, sizeof err);
			char want[80];
			snprintf(want, sizeof want, "layer %u: expert %u is damaged on disk", 10 + l, e);
			ck_assert_str_eq(err, want);
			for (uint32_t i = 0; i < LAYERS; i++)
				for (int m = 0; m < EXPERT_MATRICES; m++)
					ck_assert(!opened[i][m] ||
					          store_tensor_damaged(opened[i][m]) == (i == l && m == k));
			rot(l, k, e, where[_i].at);
			ck_assert_int_eq(step(l, e), 0); /* what was not taken for it */
			expert_cache_destroy(cache);
		}
}
END_TEST

/* What is read with an expert because it is in the same page is not its own. */
START_TEST(damage_of_a_neighbour_is_none) {
	make_cache(1, true);
	ck_assert_int_eq(step(1, 2), 0);
	ck_assert_int_eq(step(1, 9), 0);
	rot(1, 0, 1, 144 * 40 - 1);
	ck_assert_int_eq(step(1, 2), 0);
	ck_assert(!store_tensor_damaged(opened[1][0]));
	expert_cache_destroy(cache);
}
END_TEST

START_TEST(one_slot_is_the_least) {
	ck_assert_int_eq(
	        expert_cache_create(&cache, layer, LAYERS, slot_bytes - 1, true, err, sizeof err), -ENOSPC);
	ck_assert_str_eq(err, "cannot read experts from disk: there is not enough memory for one");
	/* whole pages, and one more where a part may begin within a page */
	ck_assert_uint_eq(expert_cache_part_bytes(KERN_F32, 512, 16, 2), 16384);
	ck_assert_uint_eq(expert_cache_part_bytes(KERN_F32, 256, 2 * 24, 2), 24576);
	ck_assert_uint_eq(expert_cache_part_bytes(KERN_F32, 32, 2 * 8, 2), 2 * PAGE);
	ck_assert_uint_eq(expert_cache_part_bytes(KERN_F32, 32, 2 * 40, 2), 3 * PAGE);
	expert_cache_destroy(NULL);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("expert_cache");
	TCase *t = tcase_create("experts");
	tcase_add_checked_fixture(t, begin, finish);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, experts_have_the_bytes_of_the_mapped_tensors);
	tcase_add_test(t, those_used_most_stay);
	tcase_add_test(t, a_long_prompt_leaves_the_others_experts);
	tcase_add_test(t, an_abandoned_step_does_no_harm);
	tcase_add_test(t, an_expert_that_cannot_be_read_ends_the_step);
	tcase_add_loop_test(t, damaged_bytes_are_found_as_they_are_read, 0, 6);
	tcase_add_test(t, damage_of_a_neighbour_is_none);
	tcase_add_test(t, one_slot_is_the_least);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
