/* Gated delta nets: the same bits however rows are cut into steps, stages, teams and levels; drafts that are taken back; blocks
 * that are shared; steps that fail; and steps that begin where no state is. */
#include "tests/support/loaded.h"
#include "tests/support/synth.h"
#include "tests/support/where.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POSITIONS 128u /* the model's context: two blocks */
#define VOCAB 64
#define BLOCKS 8

static struct loaded *model;
static char err[256];
static uint32_t tokens[POSITIONS];
static float want[POSITIONS][VOCAB], have[POSITIONS][VOCAB];

static struct line *line(unsigned threads, unsigned stages, const uint32_t *cuts) {
	return line_create(model->whole, KERN_KV_F16, threads, stages, cuts, POSITIONS, BLOCKS);
}

/* Whose value heads share key heads in two ways. */
static const char *const models[] = {"qwen35", "qwen3next"};
#define MODELS 2

/* want: the logits of all tokens, computed in one step. */
static void start_with(const char *name) {
	char path[512], file[64];
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	snprintf(file, sizeof file, "tests/data/models/%s.gguf", name);
	model = loaded_create(source_path(path, file));
	ck_assert_uint_eq(model->whole->manifest->hp.context, POSITIONS);
	for (uint32_t i = 0; i < POSITIONS; i++)
		tokens[i] = i ? (i * 37 + i * i * 11) % 61 + 3 : 1;
	struct line *l = line(1, 1, NULL);
	line_logits(l, tokens, POSITIONS, POSITIONS, (uint32_t[]){3, 1}, want[0]);
	line_destroy(l);
}

static void start(void) {
	start_with(models[0]);
}

/* Rows [from, to) of a sequence with this table; other: with tokens that are not its own. */
static int run(struct line *l, uint32_t from, uint32_t to, const uint32_t *blocks, bool other) {
	uint32_t ids[POSITIONS];
	static float drafts[POSITIONS][VOCAB];
	struct forward_seq q = {to - from, from, (to + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK, blocks, 0, NULL};
	for (uint32_t i = from; i < to; i++)
		ids[i - from] = other ? (tokens[i] + 7 * i) % VOCAB : tokens[i];
	return line_step(l, &q, 1, ids, other ? drafts[0] : have[from], err, sizeof err);
}

static void ck_run(struct line *l, uint32_t from, uint32_t to, const uint32_t *blocks, bool other) {
	ck_assert_msg(!run(l, from, to, blocks, other), "rows %u to %u: %s", from, to, err);
}

static void ck_same(uint32_t from, uint32_t to, const char *what) {
	for (uint32_t i = from; i < to; i++)
		ck_assert_msg(!memcmp(want[i], have[i], sizeof want[i]), "%s: position %u", what, i);
}

/* The last positions, which are in the second block, against the reference in doubles. */
START_TEST(states_go_on_in_the_next_block) {
	enum { LAST = 8 };
	char path[512], file[64];
	float end[LAST][VOCAB];
	double off = 0, size = 0;
	start_with(models[_i]);
	snprintf(file, sizeof file, "tests/data/models/%s.end.f32", models[_i]);
	FILE *f = fopen(source_path(path, file), "rb");
	ck_assert(f && fread(end, sizeof end, 1, f) == 1);
	fclose(f);
	for (size_t i = 0; i < LAST; i++)
		for (size_t v = 0; v < VOCAB; v++) {
			double wish = (double)end[i][v], got = (double)want[POSITIONS - LAST + i][v];
			off += (got - wish) * (got - wish);
			size += wish * wish;
		}
	ck_assert_double_lt(sqrt(off / size), 0.001);
	loaded_destroy(model);
}
END_TEST

START_TEST(any_cut_team_and_level) {
	static const struct {
		unsigned threads, stages;
		uint32_t cuts[3], chunk;
	} cases[] = {{1, 1, {0}, 1}, {1, 1, {0}, 7}, {3, 1, {0}, 64}, {3, 1, {0}, 1}, {2, 2, {1}, 50},
	        {2, 2, {3}, 17}, {1, 4, {1, 2, 3}, 100}};
	start_with(models[_i]);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct line *l = line(cases[i].threads, cases[i].stages, cases[i].cuts);
		line_logits(l, tokens, POSITIONS, cases[i].chunk, (uint32_t[]){7, 0}, have[0]);
		ck_same(0, POSITIONS, "a cut");
		line_destroy(l);
	}
	for (size_t r = 0; kern_level(r); r++) {
		setenv("CARAVAN_CPU", kern_level(r)->name, 1);
		ck_assert_int_eq(kern_init(err, sizeof err), 0);
		struct line *l = line(2, 1, NULL);
		line_logits(l, tokens, POSITIONS, 33, (uint32_t[]){7, 0}, have[0]);
		ck_same(0, POSITIONS, kern_level(r)->name);
		line_destroy(l);
	}
	loaded_destroy(model);
}
END_TEST

/* Drafts from a position on, of which the first `kept` are right; what follows begins behind those. */
START_TEST(drafts_are_taken_back) {
	static const uint32_t begin[] = {1, 20, 57, 63, 64, 65, 100};
	const uint32_t blocks[] = {2, 6};
	start_with(models[_i]);
	struct line *l = line(2, 2, (uint32_t[]){2});
	for (size_t b = 0; b < sizeof begin / sizeof *begin; b++)
		for (uint32_t kept = 0; kept < 12; kept += 1 + kept % 3) {
			uint32_t at = begin[b];
			ck_run(l, 0, at, blocks, false);
			if (kept)
				ck_run(l, at, at + kept, blocks, false);
			ck_run(l, at + kept, at + kept + 5, blocks, true);
			ck_run(l, at + kept + 5, at + kept + 8, blocks, true);
			ck_run(l, at + kept, at + kept + 1, blocks, false);
			ck_run(l, at + kept + 1, at + 20, blocks, false);
			ck_same(0, at + 20, "taken back");
		}
	line_destroy(l);
	loaded_destroy(model);
}
END_TEST

/* A sequence that begins behind another one's first block, while that one goes on in the same step. */
START_TEST(full_blocks_are_shared) {
	start();
	struct line *l = line(2, 1, NULL);
	float both[40][VOCAB];
	uint32_t ids[40];
	ck_run(l, 0, 70, (uint32_t[]){4, 5}, false);
	const struct forward_seq q[2] = {
	        {10, 70, 2, (uint32_t[]){4, 5}, 0, NULL}, {30, 64, 2, (uint32_t[]){4, 0}, 0, NULL}};
	memcpy(ids, tokens + 70, 10 * sizeof *ids);
	memcpy(ids + 10, tokens + 64, 30 * sizeof *ids);
	ck_assert_int_eq(line_step(l, q, 2, ids, both[0], err, sizeof err), 0);
	ck_assert_mem_eq(both[0], want[70], 10 * sizeof both[0]);
	ck_assert_mem_eq(both[10], want[64], 30 * sizeof both[0]);
	line_destroy(l);
	loaded_destroy(model);
}
END_TEST

/* The last layer meets a value that is not finite when the states before it are done. */
START_TEST(a_step_that_fails_can_be_repeated) {
	const uint32_t blocks[] = {2, 6};
	start();
	struct line *l = line(2, 1, NULL);
	ck_run(l, 0, 50, blocks, false);
	struct store_tensor *t = (struct store_tensor *)(uintptr_t)model->whole->layer[2][LAYER_DELTA_ALPHA];
	struct store_tensor whole = *t;
	float *bad = aligned_alloc(KERN_ALIGN, t->packed_bytes);
	memcpy(bad, t->packed, t->packed_bytes);
	bad[2] = NAN; /* of the third head */
	t->packed = bad;
	ck_assert_int_eq(run(l, 50, 90, blocks, false), -EDOM);
	ck_assert_str_eq(err, "layer 2: a value is not finite in a recurrent state");
	*t = whole;
	ck_run(l, 50, 90, blocks, false);
	ck_same(0, 90, "again");
	free(bad);
	line_destroy(l);
	loaded_destroy(model);
}
END_TEST

START_TEST(a_state_that_is_not_here) {
	start();
	struct line *l = line(1, 1, NULL);
	static const char *const why = "sequence 0: its state before position ";
	ck_assert_int_eq(run(l, 5, 6, (uint32_t[]){0}, false), -EINVAL);
	ck_assert(!strncmp(err, why, strlen(why)));
	ck_run(l, 0, 30, (uint32_t[]){0}, false);
	ck_assert_int_eq(run(l, 31, 32, (uint32_t[]){0}, false), -EINVAL);
	ck_assert_int_eq(run(l, 64, 65, (uint32_t[]){0, 1}, false), -EINVAL);
	ck_run(l, 30, 64, (uint32_t[]){0}, false);
	ck_run(l, 64, 65, (uint32_t[]){0, 1}, false);
	ck_same(0, 65, "in order");
	line_destroy(l);
	loaded_destroy(model);
}
END_TEST

START_TEST(blocks_count_their_states) {
	start();
	const struct hparams *hp = &model->whole->manifest->hp;
	size_t attention = (size_t)hp->kv_heads * 2 * kern_kv_bytes(KERN_KV_F16, hp->head_size),
	       state = state_block_bytes(hp, 1);
	/* four heads of 16 by 16; 64 rows of 128 channels and eight rates, in whole lines */
	ck_assert_uint_eq(state, (4 * 16 * 16 + 64 * 144) * sizeof(float));
	ck_assert_uint_eq(kv_bytes(hp, (struct kv_size){KERN_KV_F16, 1, 0}, 0, 4), attention + 3 * state);
	ck_assert_uint_eq(kv_bytes(hp, (struct kv_size){KERN_KV_F16, 1, 0}, 1, 3), 2 * state);
	ck_assert_uint_eq(kv_bytes(hp, (struct kv_size){KERN_KV_F16, 1, 0}, 3, 4), attention);
	loaded_destroy(model);
}
END_TEST

int main(void) {
	Suite *s = suite_create("state");
	TCase *t = tcase_create("state");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, states_go_on_in_the_next_block, 0, MODELS);
	tcase_add_loop_test(t, any_cut_team_and_level, 0, MODELS);
	tcase_add_loop_test(t, drafts_are_taken_back, 0, MODELS);
	tcase_add_test(t, full_blocks_are_shared);
	tcase_add_test(t, a_step_that_fails_can_be_repeated);
	tcase_add_test(t, a_state_that_is_not_here);
	tcase_add_test(t, blocks_count_their_states);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
