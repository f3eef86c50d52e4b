/* Gated delta nets: the same bits however rows are cut into steps, stages, teams and levels; drafts that are taken back; states
 * that are kept; steps that fail; and sequences whose state is not here. */
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

static const uint32_t table[] = {2, 6};

/* Rows [from, to) of the sequence, of which the last `open` may be taken back; those from `wrong` on are not its own. */
static struct forward_seq piece(uint32_t from, uint32_t to, uint32_t open) {
	return (struct forward_seq){.rows = to - from,
	        .position = from,
	        .nblocks = (to + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK,
	        .blocks = table,
	        .open = open};
}

static int run(struct line *l, struct forward_seq *q, uint32_t wrong) {
	uint32_t ids[POSITIONS], end = q->position + q->rows;
	static float logits[POSITIONS][VOCAB];
	for (uint32_t i = q->position; i < end; i++)
		ids[i - q->position] = i < wrong ? tokens[i] : (tokens[i] + 7 * i) % VOCAB;
	int rc = line_step(l, q, 1, ids, logits[0], err, sizeof err);
	for (uint32_t i = q->position; i < end && i < wrong && !rc; i++)
		memcpy(have[i], logits[i - q->position], sizeof have[i]);
	return rc;
}

static void ck_step(struct line *l, struct forward_seq q, uint32_t wrong) {
	ck_assert_msg(!run(l, &q, wrong), "rows from %u: %s", q.position, err);
	ck_assert_msg(!q.lost, "rows from %u: lost", q.position);
}

/* All of them its own. */
static void ck_run(struct line *l, uint32_t from, uint32_t to, uint32_t open) {
	ck_step(l, piece(from, to, open), POSITIONS);
}

static void ck_lost(struct line *l, struct forward_seq q) {
	ck_assert_msg(!run(l, &q, POSITIONS), "rows from %u: %s", q.position, err);
	ck_assert_msg(q.lost, "rows from %u: not lost", q.position);
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

/* Drafts from a position on, of which the first `right` are right, in one step or two, and further ones ahead of those; what follows
 * begins behind the right ones. */
START_TEST(drafts_are_taken_back) {
	static const uint32_t begin[] = {1, 20, 57, 63, 64, 65, 100};
	start_with(models[_i]);
	struct line *l = line(2, 2, (uint32_t[]){2});
	for (size_t b = 0; b < sizeof begin / sizeof *begin; b++)
		for (uint32_t right = 0; right < 12; right += 1 + right % 3)
			for (int joined = 0; joined < 2; joined++) {
				uint32_t at = begin[b], wrong = at + right;
				ck_run(l, 0, at, 0);
				if (right && !joined)
					ck_run(l, at, wrong, right - 1);
				ck_step(l, piece(joined ? at : wrong, wrong + 5, right + 5), wrong);
				ck_step(l, piece(wrong + 5, wrong + 8, right + 8), wrong);
				ck_run(l, wrong, wrong + 1, 0);
				ck_run(l, wrong + 1, at + 20, 0);
				ck_same(0, at + 20, "taken back");
			}
	line_destroy(l);
	loaded_destroy(model);
}
END_TEST

/* Steps ahead of others whose drafts turn out right: the anchor follows behind their beginning. */
START_TEST(drafts_are_taken_back_behind_a_step) {
	start();
	struct line *l = line(2, 1, NULL);
	ck_run(l, 0, 10, 0);
	ck_run(l, 10, 14, 3);
	for (uint32_t at = 14; at < 100; at += 4)
		ck_run(l, at, at + 4, 8); /* to the beginning of the step before */
	ck_run(l, 94, 101, 0);            /* that of the last step is 98 */
	ck_same(0, 101, "ahead");
	ck_run(l, 101, 105, 3);
	ck_step(l, piece(105, 109, 4), 105); /* none is sure */
	ck_run(l, 105, 106, 0);
	ck_same(0, 106, "to the beginning of a step");
	ck_run(l, 0, 101, 0);
	ck_run(l, 101, 128, 10);
	ck_run(l, 118, 120, 0);
	ck_run(l, 120, 128, 0);
	ck_same(0, POSITIONS, "a long step taken back");
	/* as far as can be, and what was promised to be sure is no longer there */
	ck_run(l, 0, 3, 0);
	ck_run(l, 3, 120, STATE_OPEN);
	ck_run(l, 120 - STATE_OPEN, 128, 60);
	ck_same(0, POSITIONS, "far back");
	ck_lost(l, piece(67, 68, 0));
	line_destroy(l);
	loaded_destroy(model);
}
END_TEST

/* Sequences that begin with a state of another one that was kept, while that one goes on in the same step; and go back to it. */
START_TEST(states_are_kept) {
	static const struct forward_keep keep[] = {{64, 3}, {2, 0}, {65, 5}};
	start();
	struct line *l = line(2, 2, (uint32_t[]){1});
	float both[40][VOCAB];
	uint32_t ids[40];
	struct forward_seq first = piece(0, 70, 0);
	first.keep = keep;
	first.nkeeps = 3;
	ck_step(l, first, POSITIONS);
	struct forward_seq q[2] = {piece(70, 80, 0), {.rows = 30,
	                                                     .position = 64,
	                                                     .nblocks = 2,
	                                                     .blocks = (uint32_t[]){2, 0},
	                                                     .slot = 2,
	                                                     .begin = 4}};
	memcpy(ids, tokens + 70, 10 * sizeof *ids);
	memcpy(ids + 10, tokens + 64, 30 * sizeof *ids);
	ck_assert_int_eq(line_step(l, q, 2, ids, both[0], err, sizeof err), 0);
	ck_assert(!q[0].lost && !q[1].lost);
	ck_assert_mem_eq(both[0], want[70], 10 * sizeof both[0]);
	ck_assert_mem_eq(both[10], want[64], 30 * sizeof both[0]);
	for (uint32_t i = 0; i < 3; i++) {
		struct forward_seq again = piece(keep[i].position, keep[i].position + 20, 20);
		again.begin = keep[i].place + 1;
		ck_step(l, again, keep[i].position + 2);
		ck_run(l, keep[i].position, keep[i].position + 1, 0);
		ck_run(l, keep[i].position + 1, 100, 0);
		ck_same(keep[i].position, 100, "from a kept state");
	}
	line_destroy(l);
	loaded_destroy(model);
}
END_TEST

/* Drafts that were kept and taken back: what is right is kept in their place. */
START_TEST(a_kept_state_is_written_again) {
	static const struct forward_keep keep = {64, 7};
	start();
	struct line *l = line(1, 1, NULL);
	struct forward_seq draft = piece(60, 70, 9), right = piece(62, 66, 0), begin = piece(64, 90, 0);
	ck_run(l, 0, 60, 0);
	draft.keep = right.keep = &keep;
	draft.nkeeps = right.nkeeps = 1;
	ck_step(l, draft, 62);
	ck_step(l, right, POSITIONS);
	begin.begin = 8;
	ck_step(l, begin, POSITIONS);
	ck_same(0, 90, "kept again");
	line_destroy(l);
	loaded_destroy(model);
}
END_TEST

/* The last recurrent layer meets a value that is not finite, in the second of three stages.  A sequence of that step is lost in the next
 * one, and goes on when it begins again; another one of that step is not. */
START_TEST(a_failed_step_loses_only_its_sequences) {
	static const struct forward_keep keep = {64, 7};
	const uint32_t other[] = {1, 5}, third[] = {0, 3};
	start();
	struct line *l = line(2, 3, (uint32_t[]){2, 3});
	float both[20][VOCAB];
	uint32_t ids[20];
	ck_run(l, 0, 50, 0);
	struct forward_seq b = piece(0, 50, 0), c = piece(0, 70, 0), bad = piece(50, 90, 0),
	                   kept = piece(64, 70, 0);
	b.slot = 1;
	b.blocks = other;
	ck_step(l, b, POSITIONS);
	c.slot = 2;
	c.blocks = third;
	c.keep = &keep;
	c.nkeeps = 1;
	ck_step(l, c, POSITIONS);
	struct store_tensor *t = (struct store_tensor *)(uintptr_t)model->whole->layer[2][LAYER_DELTA_ALPHA];
	struct store_tensor whole = *t;
	float *nan = aligned_alloc(KERN_ALIGN, t->packed_bytes);
	memcpy(nan, t->packed, t->packed_bytes);
	nan[2] = NAN; /* of the third head */
	t->packed = nan;
	bad.keep = &keep;
	bad.nkeeps = 1;
	ck_assert_int_eq(run(l, &bad, POSITIONS), -EDOM);
	ck_assert_str_eq(err, "layer 2: a value is not finite in a recurrent state");
	*t = whole;
	for (uint32_t at = 90; at < 110; at += 10) { /* lost for good */
		struct forward_seq q[2] = {piece(at, at + 10, 0), piece(at - 40, at - 30, 0)};
		q[1].slot = 1;
		q[1].blocks = other;
		memcpy(ids, tokens + at, 10 * sizeof *ids);
		memcpy(ids + 10, tokens + at - 40, 10 * sizeof *ids);
		ck_assert_msg(!line_step(l, q, 2, ids, both[0], err, sizeof err), "%s", err);
		ck_assert(q[0].lost && !q[1].lost);
		ck_assert_mem_eq(both[10], want[at - 40], 10 * sizeof both[0]);
	}
	kept.begin = 8;
	ck_lost(l, kept); /* what was there is overwritten in part */
	ck_run(l, 0, 50, 0);
	ck_run(l, 50, 90, 0);
	ck_same(0, 90, "again");
	free(nan);
	line_destroy(l);
	loaded_destroy(model);
}
END_TEST

START_TEST(a_state_that_is_not_here) {
	start();
	struct line *l = line(1, 1, NULL);
	struct forward_seq begin = piece(64, 65, 0);
	begin.begin = 1;
	ck_lost(l, piece(5, 6, 0));
	ck_run(l, 0, 30, 0);
	ck_lost(l, piece(31, 32, 0));
	ck_lost(l, piece(30, 31, 0)); /* the lost one's slot has nothing of the one before */
	ck_run(l, 0, 30, 0);
	ck_lost(l, piece(29, 30, 0)); /* its end was sure */
	ck_lost(l, begin);
	ck_run(l, 0, 64, 0);
	ck_run(l, 64, 65, 0);
	ck_same(0, 65, "in order");
	line_destroy(l);
	loaded_destroy(model);
}
END_TEST

/* What a step says of states is within bounds, and written once. */
START_TEST(states_of_a_step_are_checked) {
	static const struct {
		struct forward_seq q[2];
		struct forward_keep keep[2][2];
		const char *why;
	} cases[] = {
	        {{{.slot = LINE_SLOTS}, {.slot = 1}}, {{{0}}}, "sequence 0: slot 3 of 3"},
	        {{{.slot = 1}, {.slot = 1}}, {{{0}}},
	                "sequence 1 writes a state that the step writes already"},
	        {{{.slot = 0}, {.slot = 1, .open = STATE_OPEN + 1}}, {{{0}}},
	                "sequence 1: 62 positions may be taken back, 61 can"},
	        {{{.begin = 17}, {.slot = 1}}, {{{0}}}, "sequence 0 begins at 10 with kept state 17 of 16"},
	        {{{.nkeeps = 1}, {.slot = 1}}, {{{20, 16}}},
	                "sequence 0: its state at 20 is to be kept in place 16 of 16"},
	        {{{.nkeeps = 1}, {.slot = 1}}, {{{21, 15}}},
	                "sequence 0: its state at 21 is to be kept in place 15 of 16"},
	        {{{.nkeeps = 1}, {.slot = 1}}, {{{10, 15}}},
	                "sequence 0: its state at 10 is to be kept in place 15 of 16"},
	        {{{.nkeeps = 1}, {.slot = 1, .nkeeps = 1}}, {{{20, 15}}, {{20, 15}}},
	                "sequence 1 writes a state that the step writes already"},
	        {{{.nkeeps = 2}, {.slot = 1}}, {{{20, 15}, {19, 15}}},
	                "sequence 0 writes a state that the step writes already"},
	        {{{.begin = 16}, {.slot = 1, .nkeeps = 1}}, {{{0}}, {{20, 15}}},
	                "sequence 0 begins with a state that the step writes"},
	        {{{.begin = 15}, {.slot = 1, .nkeeps = 1}}, {{{0}}, {{20, 15}}}, NULL},
	};
	static const uint32_t blocks[] = {0, 1};
	start();
	struct line *l = line(1, 1, NULL);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct forward_seq q[2];
		struct forward_step st = {20, 2, q, l->x};
		for (int k = 0; k < 2; k++) {
			q[k] = cases[i].q[k];
			q[k].rows = q[k].position = 10;
			q[k].nblocks = 1;
			q[k].blocks = blocks + k;
			q[k].keep = cases[i].keep[k];
		}
		ck_assert_int_eq(
		        forward_check(l->forward[0], &st, err, sizeof err), cases[i].why ? -EINVAL : 0);
		if (cases[i].why)
			ck_assert_str_eq(err, cases[i].why);
	}
	line_destroy(l);
	loaded_destroy(model);
}
END_TEST

START_TEST(slots_and_places_have_bytes) {
	start();
	const struct hparams *hp = &model->whole->manifest->hp;
	/* four heads of 16 by 16; rows of 128 channels and eight rates, in whole lines */
	uint64_t state = 4 * 16 * 16, row = 144,
	         layer = (3 * 2 * (state + 64 * row) + 16 * (state + 3 * row)) * sizeof(float);
	ck_assert_uint_eq(state_bytes(hp, 0, 4, 3), 3 * layer);
	ck_assert_uint_eq(state_bytes(hp, 1, 3, 3), 2 * layer);
	ck_assert_uint_eq(state_bytes(hp, 3, 4, 3), 0);
	const struct kv_size size = {KERN_KV_F16, 1, 0, 3};
	size_t attention = (size_t)hp->kv_heads * 2 * kern_kv_bytes(KERN_KV_F16, hp->head_size);
	ck_assert_uint_eq(kv_bytes(hp, size, 0, 4), attention + 3 * layer);
	ck_assert_uint_eq(kv_bytes(hp, size, 3, 4), attention);
	struct kv *kv;
	ck_assert_int_eq(kv_create(&kv, hp, (struct kv_size){KERN_KV_F16, 1, 0, 0}, 0, 4), -EINVAL);
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
	tcase_add_test(t, drafts_are_taken_back_behind_a_step);
	tcase_add_test(t, states_are_kept);
	tcase_add_test(t, a_kept_state_is_written_again);
	tcase_add_test(t, a_failed_step_loses_only_its_sequences);
	tcase_add_test(t, a_state_that_is_not_here);
	tcase_add_test(t, states_of_a_step_are_checked);
	tcase_add_test(t, slots_and_places_have_bytes);
	suite_add_tcase(s, t);
	SRunner *r = srunner_create(s);
	srunner_set_tap(r, "-");
	srunner_run_all(r, CK_SILENT);
	int failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
