/* scheduler: rows, blocks, turns: everything that can be said without computing. */
#include "daemon/serve/rate.h"
#include "daemon/serve/scheduler.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>

static uint32_t nleft;
static void left(void *arg, struct sequence *q) {
	(void)arg;
	nleft++;
	free(q->log);
	free(q);
}

static struct sequence *sequence(uint32_t tokens, uint32_t room) {
	struct sequence *q = calloc(1, sizeof *q);
	q->log = calloc(room, sizeof *q->log);
	q->tokens = tokens;
	q->room = room;
	return q;
}

static struct scheduler *scheduler(uint32_t blocks, uint32_t parallel, uint32_t max_rows) {
	struct scheduler *s;
	ck_assert_int_eq(scheduler_create(&s, blocks, parallel, max_rows, "", 0), 0);
	return s;
}

START_TEST(prompt_in_chunks) {
	struct scheduler *s = scheduler(8, 4, 100);
	struct sequence *q = sequence(250, 260);
	ck_assert_int_eq(scheduler_add(s, q), 0);
	/* chunks may be in flight together: nothing waits for an earlier one */
	struct scheduler_step *a = scheduler_next(s), *b = scheduler_next(s), *c = scheduler_next(s);
	ck_assert_ptr_null(scheduler_next(s));
	ck_assert_uint_eq(a->rows, 100);
	ck_assert_uint_eq(b->seq[0].position, 100);
	ck_assert_uint_eq(c->rows, 50);
	ck_assert_uint_eq(a->outputs + b->outputs, 0);
	ck_assert_uint_eq(c->outputs, 1);
	ck_assert_uint_eq(q->nblocks, 4);
	scheduler_done(s, a, left, NULL);
	scheduler_done(s, b, left, NULL);
	q->tokens++; /* the token that c's output gave */
	scheduler_done(s, c, left, NULL);
	struct scheduler_step *d = scheduler_next(s);
	ck_assert_uint_eq(d->rows, 1);
	ck_assert_uint_eq(d->seq[0].position, 250);
	ck_assert(!scheduler_end(s, q));
	nleft = 0;
	scheduler_done(s, d, left, NULL);
	ck_assert_uint_eq(nleft, 1);
	ck_assert_uint_eq(scheduler_free_blocks(s), 8);
	scheduler_destroy(s);
}
END_TEST

START_TEST(two_sequences_share_a_step) {
	struct scheduler *s = scheduler(8, 4, 64);
	struct sequence *q[2] = {sequence(3, 10), sequence(5, 10)};
	scheduler_add(s, q[0]);
	scheduler_add(s, q[1]);
	struct scheduler_step *a = scheduler_next(s);
	ck_assert_uint_eq(a->nseqs, 2);
	ck_assert_uint_eq(a->rows, 8);
	ck_assert_uint_eq(a->outputs, 2);
	ck_assert_uint_ne(q[0]->block[0], q[1]->block[0]);
	q[0]->tokens++;
	q[1]->tokens++;
	scheduler_done(s, a, left, NULL);
	a = scheduler_next(s);
	ck_assert_uint_eq(a->nseqs, 2);
	ck_assert_uint_eq(a->rows, 2);
	scheduler_end(s, q[0]);
	scheduler_end(s, q[1]);
	scheduler_done(s, a, left, NULL);
	ck_assert_uint_eq(scheduler_free_blocks(s), 8);
	scheduler_destroy(s);
}
END_TEST

START_TEST(decode_is_not_starved_by_a_prompt) {
	struct scheduler *s = scheduler(64, 4, 512);
	struct sequence *q = sequence(1, 10), *p = sequence(2000, 2001);
	scheduler_add(s, q);
	struct scheduler_step *a = scheduler_next(s);
	q->tokens++;
	scheduler_done(s, a, left, NULL);
	scheduler_add(s, p);
	a = scheduler_next(s);
	ck_assert_uint_eq(a->nseqs, 2);
	ck_assert_ptr_eq(a->seq[0].seq, q);
	ck_assert_uint_eq(a->seq[1].rows, SCHEDULER_MIXED_ROWS);
	scheduler_end(s, q);
	scheduler_end(s, p);
	scheduler_done(s, a, left, NULL);
	scheduler_destroy(s);
}
END_TEST

START_TEST(queue_and_places) {
	struct scheduler *s = scheduler(8, 2, 16);
	struct sequence *q[2 + SCHEDULER_QUEUE_MAX], *over = sequence(1, 2);
	for (size_t i = 0; i < sizeof q / sizeof *q; i++)
		ck_assert_int_eq(scheduler_add(s, q[i] = sequence(1, 2)), 0);
	ck_assert_int_eq(scheduler_add(s, over), -EBUSY);
	ck_assert_uint_eq(scheduler_running(s), 2);
	ck_assert_uint_eq(scheduler_queued(s), SCHEDULER_QUEUE_MAX);
	struct scheduler_step *a = scheduler_next(s);
	ck_assert_uint_eq(a->nseqs, 2);
	/* one that waits leaves the queue; one that runs makes room for the next in line */
	ck_assert(scheduler_end(s, q[3]));
	ck_assert(!scheduler_end(s, q[0]));
	scheduler_done(s, a, left, NULL);
	ck_assert(q[2]->running);
	ck_assert(!q[4]->running);
	left(NULL, q[3]);
	left(NULL, over);
	for (size_t i = 1; i < sizeof q / sizeof *q; i++)
		if (i != 3 && scheduler_end(s, q[i]))
			left(NULL, q[i]);
	ck_assert_uint_eq(scheduler_free_blocks(s), 8);
	scheduler_destroy(s);
}
END_TEST

START_TEST(blocks_are_kept_while_a_step_names_them) {
	struct scheduler *s = scheduler(2, 2, 64);
	struct sequence *q = sequence(128, 129), *r = sequence(10, 11);
	scheduler_add(s, q);
	struct scheduler_step *a = scheduler_next(s), *b = scheduler_next(s);
	ck_assert_uint_eq(scheduler_free_blocks(s), 0);
	scheduler_add(s, r);
	ck_assert_ptr_null(scheduler_next(s)); /* no block for it */
	ck_assert(!scheduler_end(s, q));
	scheduler_done(s, a, left, NULL);
	ck_assert_uint_eq(scheduler_free_blocks(s), 0);
	ck_assert_ptr_null(scheduler_next(s));
	scheduler_done(s, b, left, NULL);
	a = scheduler_next(s);
	ck_assert_ptr_eq(a->seq[0].seq, r);
	scheduler_end(s, r);
	scheduler_done(s, a, left, NULL);
	ck_assert_uint_eq(scheduler_free_blocks(s), 2);
	scheduler_destroy(s);
}
END_TEST

START_TEST(every_output_for_logits) {
	struct scheduler *s = scheduler(4, 2, 7);
	struct sequence *q = sequence(16, 16);
	uint32_t outputs = 0;
	q->all_outputs = true;
	scheduler_add(s, q);
	for (struct scheduler_step *a; (a = scheduler_next(s));) {
		ck_assert_uint_eq(a->outputs, a->rows);
		outputs += a->outputs;
		scheduler_done(s, a, left, NULL);
	}
	ck_assert_uint_eq(outputs, 16);
	ck_assert_uint_eq(q->done, 16);
	ck_assert(scheduler_end(s, q));
	left(NULL, q);
	scheduler_destroy(s);
}
END_TEST

START_TEST(rates) {
	const uint64_t s = 1000000000u;
	struct rate r = {0};
	ck_assert(rate_per_second(&r, 5 * s) == 0);
	rate_add(&r, 100 * s, 30);
	ck_assert(rate_per_second(&r, 100 * s) == 30);
	ck_assert(rate_per_second(&r, 101 * s) == 15);
	rate_add(&r, 103 * s, 10);
	ck_assert(rate_per_second(&r, 103 * s) == 10);
	ck_assert(rate_per_second(&r, 111 * s) == 1);
	ck_assert(rate_per_second(&r, 113 * s) == 0);
	rate_add(&r, 200 * s, 50);
	ck_assert(rate_per_second(&r, 200 * s) == 5);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("scheduler");
	TCase *t = tcase_create("scheduler");
	tcase_add_test(t, prompt_in_chunks);
	tcase_add_test(t, two_sequences_share_a_step);
	tcase_add_test(t, decode_is_not_starved_by_a_prompt);
	tcase_add_test(t, queue_and_places);
	tcase_add_test(t, blocks_are_kept_while_a_step_names_them);
	tcase_add_test(t, every_output_for_logits);
	tcase_add_test(t, rates);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/check_main.h"
