/* speculation: what is guessed, when it pays; and that a sequence's guesses do not keep another one from its
 * turn. */
#include "daemon/serve/coordinator/scheduler.h"
#include "daemon/serve/coordinator/speculate.h"
#include <check.h>
#include <stdlib.h>

/* ---- what comes next ----------------------------------------------------------------------------- */

START_TEST(the_longest_place_and_of_those_the_last) {
	static const uint32_t log[] = {1, 2, 3, 4, 9, 2, 3, 5, 9, 2, 3, 6, 7, 3, 8, 9, 2, 3};
	uint32_t at = 0;
	/* "9 2 3" stood twice before, and was followed by 5 and then by 6 */
	ck_assert_uint_eq(ngram_next(log, 18, &at), 3);
	ck_assert_uint_eq(log[at], 6);
	/* "3" alone stood last before an 8, but "2 3" is longer */
	ck_assert_uint_eq(ngram_next(log + 9, 9, &at), 2);
	ck_assert_uint_eq(log[9 + at], 6);
	ck_assert_uint_eq(ngram_next(log, 5, &at), 0);
	ck_assert_uint_eq(ngram_next(log, 1, &at), 0);
	ck_assert_uint_eq(ngram_next(log, 0, &at), 0);
}
END_TEST

START_TEST(against_every_place) {
	uint32_t log[300], x = 1;
	for (uint32_t n = 0; n < 300; n++) {
		uint32_t best = 0, place = 0, at = 0;
		for (uint32_t i = 1; i < n; i++) {
			uint32_t len = 0;
			while (len < i && len < NGRAM_COMMON_MAX && log[i - 1 - len] == log[n - 1 - len])
				len++;
			if (len && len >= best) {
				best = len;
				place = i;
			}
		}
		ck_assert_uint_eq(ngram_next(log, n, &at), best);
		ck_assert(best == 0 || at == place);
		x = x * 1664525 + 1013904223;
		log[n] = n % 60 < 40 ? n % 60 % 17 : x >> 30;
	}
}
END_TEST

START_TEST(it_learns_what_is_right) {
	struct draft_stats good, bad;
	uint32_t log[400];
	for (uint32_t i = 0; i < 400; i++)
		log[i] = i % 40;
	draft_stats_init(&good);
	draft_stats_init(&bad);
	for (uint32_t n = 100; n < 400; n++) {
		draft_stats_observe(&good, log, n, log[n]);
		draft_stats_observe(&bad, log, n, 1000);
	}
	ck_assert(good.right[SPECULATION_CLASSES - 1] > 0.95f);
	ck_assert(bad.right[SPECULATION_CLASSES - 1] < 0.05f);
	ck_assert(good.right[0] == bad.right[0]); /* nothing was seen of short ones */
}
END_TEST

/* ---- what pays ----------------------------------------------------------------------------------- */

/* Steps of 1 to 9 rows over two stages: so many microseconds of computing at each, and of the whole way. */
static struct speculation *costs(double alone, double row, double away) {
	struct speculation *s;
	Caravan__StepTime t[3] = {
	        CARAVAN__STEP_TIME__INIT, CARAVAN__STEP_TIME__INIT, CARAVAN__STEP_TIME__INIT};
	Caravan__StepTime *times[3] = {&t[0], &t[1], &t[2]};
	ck_assert_int_eq(speculation_create(&s, 2), 0);
	for (uint32_t i = 0; i < 60; i++) {
		uint32_t rows = 1 + i * 5 % 9;
		for (int k = 0; k < 3; k++)
			t[k].computed = (uint64_t)((alone + row * rows) * 1000);
		speculation_observe(s, rows, times, 3, away * 1e-6);
	}
	return s;
}

/* Of a text that goes round, with so much faith in it. */
static uint32_t guesses(const struct speculation *s, float right, uint32_t capacity, uint32_t answered) {
	struct draft_stats g;
	uint32_t log[500];
	struct draft_run none = {.n = 0};
	for (int i = 0; i < SPECULATION_CLASSES; i++)
		g.right[i] = right;
	for (uint32_t i = 0; i < 200; i++)
		log[i] = i % 50;
	uint32_t n = speculation_draft(s, &g, log, 200, 0, capacity, answered, &none);
	for (uint32_t i = 0; i < n; i++)
		ck_assert_uint_eq(log[200 + i], i % 50);
	/* more of them, later, go on where those ended */
	uint32_t more = speculation_draft(s, &g, log, 200, n / 2, capacity, answered, &none);
	ck_assert_uint_le(more, SPECULATION_AHEAD);
	for (uint32_t i = 0; i < more; i++)
		ck_assert_uint_eq(log[200 + i], i % 50);
	return n;
}

START_TEST(guesses_while_they_pay) {
	struct speculation *links = costs(100, 20, 25000), *slow = costs(1000, 3000, 8000),
	                   *dear = costs(100, 9000, 18000);
	ck_assert_uint_eq(guesses(links, 0.9f, 500, 1), SPECULATION_AHEAD);
	/* two stages of 3 ms a row, 8 ms for a token without: as long as the chance is above 3 / 4 */
	ck_assert_uint_eq(guesses(slow, 0.95f, 500, 1), 5);
	ck_assert_uint_eq(guesses(slow, 0.8f, 500, 1), 1);
	ck_assert_uint_eq(guesses(slow, 0.7f, 500, 1), 0);
	ck_assert_uint_eq(guesses(dear, 0.9f, 500, 1), 0);
	/* where every stage is busy with others, a row costs 3 ms of the 4 that a step of one takes */
	ck_assert_uint_eq(guesses(slow, 0.9f, 500, 2), 2);
	ck_assert_uint_eq(guesses(slow, 0.7f, 500, 2), 0);
	/* and more of a step that many share */
	ck_assert_uint_eq(guesses(slow, 0.85f, 500, 8), 0);
	ck_assert_uint_eq(guesses(links, 0.9f, 500, 0), 0);
	/* the last token needs no row */
	ck_assert_uint_eq(guesses(links, 0.9f, 204, 1), 3);
	ck_assert_uint_eq(guesses(links, 0.9f, 201, 1), 0);
	speculation_destroy(links);
	speculation_destroy(slow);
	speculation_destroy(dear);
	/* before anything was seen nobody knows what it costs */
	struct speculation *fresh;
	ck_assert_int_eq(speculation_create(&fresh, 2), 0);
	ck_assert_uint_eq(guesses(fresh, 0.9f, 500, 1), 0);
	speculation_destroy(fresh);
	speculation_destroy(NULL);
}
END_TEST

/* A text that says 1 after each 0, and a draft that says otherwise: the likelier of the two, token by token. */
START_TEST(the_likelier_of_text_and_draft) {
	static const uint32_t id[] = {1, 7, 8, 9, 5};
	static const float probability[] = {0.95f, 0.95f, 0.6f, 0.95f, 0.2f};
	struct speculation *s = costs(100, 20, 25000);
	struct draft_stats g;
	uint32_t log[100] = {0};
	struct draft_run d = {.id = id, .probability = probability, .n = 5};
	draft_stats_init(&g);
	for (uint32_t i = 0; i < 20; i++)
		log[i] = i < 10 ? i % 2 : 20 + i;
	log[20] = 0;
	/* the text knows what follows 0, but the draft is surer, and goes another way after it */
	uint32_t n = speculation_draft(s, &g, log, 21, 0, 100, 1, &d);
	ck_assert_uint_ge(n, 4);
	for (uint32_t i = 0; i < 4; i++)
		ck_assert_uint_eq(log[21 + i], id[i]);
	/* those that are guessed already count as the draft's while they are, and it goes on behind them */
	n = speculation_draft(s, &g, log, 21, 2, 100, 1, &d);
	ck_assert_uint_ge(n, 4);
	ck_assert_uint_eq(log[23], 8);
	log[22] = 99;
	ck_assert_uint_eq(speculation_draft(s, &g, log, 21, 2, 100, 1, &d), 2);
	/* a draft that has never been right is not believed, whatever its probability */
	for (int i = 0; i < 100; i++)
		draft_stats_observe_draft(&g, 0.95f, false);
	speculation_draft(s, &g, log, 21, 0, 100, 1, &d);
	ck_assert_uint_eq(log[21], 1);
	ck_assert_uint_eq(log[22], 30); /* the text's, not the draft's 7 */
	ck_assert(draft_stats_chance(&g, &d) < 0.01f);
	ck_assert(g.drafts < 0.01f);
	/* until it has long not been tried */
	for (int i = 0; i < 400; i++)
		draft_stats_decay(&g);
	ck_assert(g.drafts > 0.55f);
	n = speculation_draft(s, &g, log, 21, 0, 100, 1, &d);
	ck_assert_uint_eq(log[22], 7);
	/* room for two tokens more: one guess */
	ck_assert_uint_eq(speculation_draft(s, &g, log, 21, 0, 23, 1, &d), 1);
	speculation_destroy(s);
}
END_TEST

START_TEST(waiting_pays_where_a_token_goes_a_long_way) {
	struct speculation *s = costs(100, 20, 25000), *fresh;
	ck_assert(speculation_pays(s, 1, 0.5, 0.005));
	ck_assert(!speculation_pays(s, 1, 0.5, 0.014)); /* half a token of 25 ms */
	ck_assert(!speculation_pays(s, 1, 0.01, 0.005));
	ck_assert(!speculation_pays(s, 0, 0.5, 0));
	/* where every stage has a step, a token takes what one stage takes */
	ck_assert(!speculation_pays(s, 2, 0.5, 0.005));
	ck_assert(speculation_token(s) > 0.024 && speculation_token(s) < 0.026);
	speculation_destroy(s);
	ck_assert_int_eq(speculation_create(&fresh, 2), 0);
	ck_assert(!speculation_pays(fresh, 1, 1, 0));
	ck_assert(speculation_token(fresh) == 0);
	speculation_destroy(fresh);
}
END_TEST

/* ---- through the scheduler ----------------------------------------------------------------------- */

/* What the coordinator makes of guesses, right and wrong, is tested with the coordinator: check_serving. */
enum { CAPACITY = 300, BLOCKS = 24, STAGES = 4 };

static void sequence_left(void *arg, struct sequence *q) {
	(void)arg;
	free(q->log);
	free(q);
}

/* One that comes while another's guesses fill the stages does not wait for all of them. */
START_TEST(guesses_stand_back) {
	struct scheduler *scheduler;
	const struct scheduler_config config = {
	        .blocks = BLOCKS, .parallel = 3, .max_rows = 64, .stages = STAGES, .root = ""};
	ck_assert_int_eq(scheduler_create(&scheduler, &config), 0);
	struct sequence *q[2];
	struct scheduler_step *st[STAGES];
	for (int i = 0; i < 2; i++) {
		q[i] = calloc(1, sizeof *q[i]);
		q[i]->capacity = CAPACITY;
		q[i]->log = calloc(CAPACITY, sizeof *q[i]->log);
		q[i]->tokens = 10;
	}
	scheduler_add(scheduler, q[0]);
	st[0] = scheduler_next(scheduler);
	q[0]->tokens++;
	scheduler_done(scheduler, st[0], sequence_left, NULL);
	q[0]->drafted = 48;
	for (int i = 0; i < STAGES; i++) {
		st[i] = scheduler_next(scheduler);
		ck_assert_uint_eq(st[i]->rows, i ? SCHEDULER_DRAFT_MAX : 1 + SCHEDULER_DRAFT_MAX);
		ck_assert_uint_eq(st[i]->outputs, st[i]->rows);
		ck_assert_int_eq(st[i]->ahead, i > 0);
	}
	ck_assert_ptr_null(scheduler_next(scheduler)); /* a step for each stage */
	scheduler_add(scheduler, q[1]);
	struct scheduler_step *prompt = scheduler_next(scheduler);
	ck_assert_ptr_nonnull(prompt);
	ck_assert_ptr_eq(prompt->seq[0].seq, q[1]);
	/* the first guess is wrong: the three steps after it are nobody's, and the next token goes at once */
	q[0]->tokens++;
	scheduler_reject(&st[0]->seq[0], 1);
	for (int i = 1; i < STAGES; i++)
		ck_assert(!scheduler_entry_valid(&st[i]->seq[0]));
	scheduler_done(scheduler, st[0], sequence_left, NULL);
	struct scheduler_step *next = scheduler_next(scheduler);
	ck_assert_uint_eq(next->rows, 1);
	ck_assert_uint_eq(next->seq[0].position, 11);
	ck_assert(scheduler_entry_valid(&next->seq[0]));
	for (int i = 1; i < STAGES; i++)
		scheduler_lost(scheduler, st[i], sequence_left, NULL);
	q[1]->tokens++;
	scheduler_done(scheduler, prompt, sequence_left, NULL);
	q[0]->tokens++;
	scheduler_done(scheduler, next, sequence_left, NULL);
	ck_assert_uint_eq(q[0]->done, 12);
	for (int i = 0; i < 2; i++) {
		ck_assert(scheduler_end(scheduler, q[i]));
		sequence_left(NULL, q[i]);
	}
	ck_assert_uint_eq(scheduler_free_blocks(scheduler), BLOCKS);
	scheduler_destroy(scheduler);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("speculation");
	TCase *c = tcase_create("speculation");
	tcase_add_test(c, the_longest_place_and_of_those_the_last);
	tcase_add_test(c, against_every_place);
	tcase_add_test(c, it_learns_what_is_right);
	tcase_add_test(c, guesses_while_they_pay);
	tcase_add_test(c, guesses_stand_back);
	tcase_add_test(c, the_likelier_of_text_and_draft);
	tcase_add_test(c, waiting_pays_where_a_token_goes_a_long_way);
	suite_add_tcase(s, c);
	return s;
}

#include "tests/unit/check_main.h"
