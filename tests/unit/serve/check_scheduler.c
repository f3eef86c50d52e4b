/* scheduler: rows, blocks, turns, places, and the account of a step's time: everything that can be said without
 * computing. */
#include "daemon/core/rate.h"
#include "daemon/serve/coordinator/scheduler.h"
#include "daemon/serve/coordinator/step_timing.h"
#include "daemon/serve/stage/pace.h"
#include "tests/unit/serve/sequences.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <check.h>
#include <math.h>

static void end_all(struct scheduler *s) {
	for (struct sequence *q; (q = scheduler_at(s, 0));) {
		ck_assert(scheduler_end(s, q));
		left(NULL, q);
	}
	scheduler_destroy(s);
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
	ck_assert_uint_eq(q->kv.nblocks, 4);
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
	ck_assert_uint_ne(q[0]->kv.block[0], q[1]->kv.block[0]);
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
	for (size_t i = 0; i < sizeof q / sizeof *q; i++) {
		q[i] = sequence(1, 2);
		q[i]->client = q[i]->author = i;
		ck_assert_int_eq(scheduler_add(s, q[i]), 0);
	}
	over->client = over->author = 1000;
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

/* How many of a client's, and of its node's, are taken when it tries without end. */
static uint32_t flood(struct scheduler *s, uint64_t author, uint64_t client) {
	for (uint32_t n = 0;; n++) {
		struct sequence *q = sequence(1, 2);
		q->author = author;
		q->client = client;
		if (scheduler_add(s, q) == 0)
			continue;
		left(NULL, q);
		return n;
	}
}

START_TEST(nobody_keeps_others_out_of_the_queue) {
	struct scheduler *s = scheduler(8, 1, 16);
	ck_assert_uint_eq(flood(s, 1, 10), 1 + SCHEDULER_QUEUE_MAX / 2);
	ck_assert_uint_eq(
	        flood(s, 1, 11), 0); /* another client of that node: half of the places are its node's */
	ck_assert_uint_eq(flood(s, 2, 20), SCHEDULER_QUEUE_MAX / 4);
	ck_assert_uint_eq(flood(s, 2, 21), 0);
	ck_assert_uint_eq(flood(s, 3, 30), SCHEDULER_QUEUE_MAX / 8);
	for (uint64_t node = 4; node < 8; node++)
		ck_assert_uint_ge(flood(s, node, node), 1);
	ck_assert_uint_ge(scheduler_queued(s), SCHEDULER_QUEUE_MAX - 8);
	end_all(s);
}
END_TEST

START_TEST(a_sequence_stops_at_its_limit) {
	struct scheduler *s = scheduler(8, 1, 64);
	struct sequence *q = sequence(100, 101);
	q->all_outputs = true;
	q->limit = 30;
	scheduler_add(s, q);
	struct scheduler_step *a = scheduler_next(s);
	ck_assert(a->rows == 30 && a->outputs == 30);
	ck_assert_ptr_null(scheduler_next(s));
	scheduler_done(s, a, left, NULL);
	ck_assert_ptr_null(scheduler_next(s));
	q->limit = 50;
	a = scheduler_next(s);
	ck_assert(a->rows == 20 && a->seq[0].position == 30);
	q->limit = 1000;
	struct scheduler_step *b = scheduler_next(s);
	ck_assert(b && b->seq[0].position == 50);
	scheduler_done(s, a, left, NULL);
	scheduler_done(s, b, left, NULL);
	end_all(s);
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

/* Eight that generate, over k stages: steps of even size, one for each stage, and never more. */
START_TEST(even_groups) {
	static const struct {
		uint32_t stages, group, steps;
	} cases[] = {{1, 8, 1}, {2, 4, 2}, {3, 3, 3}, {4, 2, 4}, {8, 1, 8}, {16, 1, 8}};
	uint32_t served[8] = {0};
	struct scheduler *s = line(64, 8, 512, cases[_i].stages);
	struct scheduler_step *flight[16], *st;
	struct sequence *q[8];
	for (uint32_t i = 0; i < 8; i++)
		scheduler_add(s, q[i] = sequence(1, 400));
	st = scheduler_next(s);
	ck_assert_uint_eq(st->nseqs, 8);
	back(s, st);
	uint32_t n = 0, largest = 0;
	for (uint32_t round = 0; round < 200; round++) {
		while (n < 16 && (st = scheduler_next(s))) {
			ck_assert_uint_eq(st->generating, st->nseqs);
			largest = st->nseqs > largest ? st->nseqs : largest;
			for (uint32_t i = 0; i < st->nseqs; i++)
				for (uint32_t k = 0; k < 8; k++)
					served[k] += st->seq[i].seq == q[k];
			flight[n++] = st;
		}
		ck_assert_uint_eq(n, cases[_i].steps);
		/* now and then one that is younger comes back first, as after a loss */
		uint32_t at = round % 7 == 6 && n > 1;
		st = flight[at];
		memmove(flight + at, flight + at + 1, (--n - at) * sizeof *flight);
		back(s, st);
	}
	ck_assert_uint_eq(largest, cases[_i].group);
	for (uint32_t k = 0; k < 8; k++)
		ck_assert_uint_le(
		        served[0] > served[k] ? served[0] - served[k] : served[k] - served[0], 200 / 7 + 2);
	while (n > 0)
		back(s, flight[--n]);
	end_all(s);
}
END_TEST

/* One that comes alone has a step of its own, until others are there to share it with. */
START_TEST(fragments_grow_together) {
	struct scheduler *s = line(64, 8, 512, 2);
	struct sequence *q[4];
	for (uint32_t i = 0; i < 3; i++)
		scheduler_add(s, q[i] = sequence(1, 200));
	back(s, scheduler_next(s));
	struct scheduler_step *a = scheduler_next(s), *b = scheduler_next(s);
	ck_assert_uint_eq(a->nseqs + b->nseqs, 3);
	scheduler_add(s, q[3] = sequence(1, 200));
	struct scheduler_step *c = scheduler_next(s); /* its prompt goes at once */
	ck_assert_ptr_eq(c->seq[0].seq, q[3]);
	back(s, c);
	ck_assert_ptr_null(scheduler_next(s)); /* its next token waits for a group */
	back(s, b);
	c = scheduler_next(s);
	ck_assert_uint_eq(c->nseqs, 2);
	back(s, a);
	a = scheduler_next(s);
	ck_assert_uint_eq(a->nseqs, 2);
	back(s, c);
	back(s, a);
	end_all(s);
}
END_TEST

START_TEST(chunks_fill_the_stages) {
	struct scheduler *s = line(64, 4, 512, 4);
	struct scheduler_step *flight[32];
	struct sequence *q = sequence(2048, 2049);
	uint32_t n = 0, rows = 0;
	scheduler_add(s, q);
	while ((flight[n] = scheduler_next(s))) {
		ck_assert_uint_eq(flight[n]->rows, 128);
		rows += flight[n++]->rows;
	}
	ck_assert_uint_eq(n, 16);
	ck_assert_uint_eq(rows, 2048);
	for (uint32_t i = 0; i < n; i++)
		back(s, flight[i]);
	end_all(s);
	s = line(256, 4, 512, 4);
	scheduler_add(
	        s, sequence(12000, 12001)); /* a longer one: larger chunks, up to what a step may have */
	struct scheduler_step *st = scheduler_next(s);
	ck_assert_uint_eq(st->rows, 512);
	back(s, st);
	end_all(s);
}
END_TEST

/* Where looking back costs, chunks get shorter, so that each costs about what the one before it did, or less. */
START_TEST(chunks_of_even_cost) {
	enum { TWICE = 500, LEN = 4000 };
	struct scheduler *s;
	struct scheduler_config c = {
	        .blocks = 256, .parallel = 4, .max_rows = 512, .stages = 4, .twice = TWICE, .root = ""};
	struct scheduler_step *flight[64];
	uint32_t n = 0, rows = 0, least = UINT32_MAX, most = 0;
	double target = (LEN + LEN * (double)LEN / (2 * TWICE)) / 16;
	ck_assert_int_eq(scheduler_create(&s, &c), 0);
	struct sequence *q = sequence(LEN, LEN + 10);
	scheduler_add(s, q);
	for (; n < 64 && (flight[n] = scheduler_next(s)); n++) {
		uint32_t k = flight[n]->rows;
		double cost = k * (1 + (rows + k / 2.0) / TWICE), block = 64 * (1 + (double)rows / TWICE);
		/* a sixteenth of all, give or take half a block; as many rows as a step may have; and what is left over */
		if (k < 512 && rows + k < LEN)
			ck_assert(fabs(cost - target) <= block / 2 + 1);
		else
			ck_assert(cost <= target + block / 2);
		rows += k;
		least = k < least && rows < LEN ? k : least;
		most = k > most ? k : most;
	}
	ck_assert_uint_eq(rows, LEN);
	ck_assert_uint_ge(n, 16);
	ck_assert_uint_le(n, 20);
	ck_assert_uint_gt(most, 2 * least);
	ck_assert_uint_ge(least, 64);
	for (uint32_t i = 0; i < n; i++)
		back(s, flight[i]);
	/* beside an answer, too: what costs as much as so many rows at the beginning */
	struct sequence *p = sequence(LEN, LEN + 1);
	memset(p->log, 1, LEN * sizeof *p->log);
	scheduler_add(s, p);
	uint32_t done = 0;
	for (bool first = true; done < 2000; first = false) {
		struct scheduler_step *st = scheduler_next(s);
		uint32_t k = st->rows - st->generating;
		if (first)
			ck_assert_uint_eq(k, SCHEDULER_MIXED_ROWS);
		else if (done > 2 * TWICE)
			ck_assert_uint_lt(k, SCHEDULER_MIXED_ROWS);
		done += k;
		back(s, st);
	}
	back(s, scheduler_next(s));
	end_all(s);
	/* one stage has nobody to keep busy */
	c.stages = 1;
	ck_assert_int_eq(scheduler_create(&s, &c), 0);
	scheduler_add(s, sequence(LEN, LEN + 1));
	for (int i = 0; i < 3; i++) {
		struct scheduler_step *st = scheduler_next(s);
		ck_assert_uint_eq(st->rows, 512);
		back(s, st);
	}
	end_all(s);
}
END_TEST

/* Also a step that carries no next token, since all are under way, has few rows of a prompt: they come back to it. */
START_TEST(prompts_beside_answers_are_cut) {
	struct scheduler *s = line(64, 4, 512, 2);
	struct sequence *q = sequence(1, 100), *p = sequence(2000, 2001);
	scheduler_add(s, q);
	back(s, scheduler_next(s));
	struct scheduler_step *a = scheduler_next(s);
	scheduler_add(s, p);
	struct scheduler_step *b = scheduler_next(s);
	ck_assert_uint_eq(b->generating, 0);
	ck_assert_uint_eq(b->rows, SCHEDULER_MIXED_ROWS);
	/* another prompt is not behind all of the long one */
	struct sequence *r = sequence(10, 20);
	scheduler_add(s, r);
	struct scheduler_step *c = scheduler_next(s), *d = scheduler_next(s);
	bool there = false;
	for (uint32_t i = 0; i < c->nseqs; i++)
		there |= c->seq[i].seq == r;
	for (uint32_t i = 0; i < d->nseqs; i++)
		there |= d->seq[i].seq == r;
	ck_assert(there);
	back(s, a);
	back(s, b);
	back(s, c);
	back(s, d);
	end_all(s);
}
END_TEST

static uint32_t nmoved;
static void moved(void *arg, struct sequence *q) {
	(void)arg;
	(void)q;
	nmoved++;
}

/* A client with many waiting does not keep another waiting behind all of them. */
START_TEST(clients_in_turn) {
	struct scheduler *s = scheduler(64, 2, 64);
	struct sequence *q[8];
	for (uint32_t i = 0; i < 8; i++) {
		q[i] = sequence(1, 2);
		q[i]->client = i < 6 ? 1 : i - 4; /* six of the first, one each of two others */
		scheduler_add(s, q[i]);
	}
	nmoved = 0;
	scheduler_places(s, moved, NULL);
	static const uint32_t place[8] = {0, 0, 3, 4, 5, 6, 1, 2};
	for (uint32_t i = 0; i < 8; i++)
		ck_assert_uint_eq(q[i]->place, place[i]);
	ck_assert_uint_eq(nmoved, 6);
	scheduler_places(s, moved, NULL);
	ck_assert_uint_eq(nmoved, 6);
	static const uint32_t order[8] = {0, 1, 6, 7, 2, 3, 4, 5};
	for (uint32_t i = 0; i < 8; i++) {
		ck_assert(q[order[i]]->running);
		ck_assert(scheduler_end(s, q[order[i]]));
		left(NULL, q[order[i]]);
	}
	scheduler_destroy(s);
}
END_TEST

/* Whoever runs can go on to its end: blocks are promised before. */
START_TEST(the_pool_bounds_what_runs) {
	struct scheduler *s = scheduler(5, 4, 64);
	struct sequence *large = sequence(10, 130), *next = sequence(10, 140), *small = sequence(1, 60);
	scheduler_add(s, large);
	scheduler_add(s, next);
	scheduler_add(s, small);
	ck_assert(large->running && !next->running);
	ck_assert(!small->running); /* it would fit, but does not overtake */
	ck_assert(scheduler_end(s, large));
	left(NULL, large);
	ck_assert(next->running && small->running);
	ck_assert_uint_eq(scheduler_queued(s), 0);
	end_all(s);
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

START_TEST(paces) {
	const uint64_t s = 1000000000u;
	static struct pace p;
	uint64_t now = 1000 * s;
	ck_assert(pace_lately(&p, now) == 0 && pace_usual(&p) == 0);
	for (int i = 0; i < 7; i++)
		pace_add(&p, now, 0.1);
	ck_assert(pace_lately(&p, now) == 0); /* too little to say */
	for (int i = 7; i < PACE_ROWS * PACE_LEAST; i++)
		pace_add(&p, now += s, 0.1);
	ck_assert(pace_usual(&p) > 0.0999 && pace_usual(&p) < 0.1001);
	/* it is three times slower for a while: that is not what is usual, for some hundred rows */
	for (int i = 0; i < 2000; i++)
		pace_add(&p, now, 0.1);
	for (int i = 0; i < 800; i++)
		pace_add(&p, now, 0.3);
	ck_assert(pace_usual(&p) < 0.1001);
	ck_assert(pace_lately(&p, now + s) > 0.299);
	ck_assert(pace_lately(&p, now + 61 * s) == 0); /* was lately */
}
END_TEST

static bool near(double a, double b) {
	return a - b < 1e-9 && b - a < 1e-9;
}

/* What is left of the time between sending and hearing back was the wire, divided as the trips are. */
START_TEST(time_of_a_step) {
	Caravan__StepTime time[3], *list[3];
	Caravan__ModelState state = CARAVAN__MODEL_STATE__INIT;
	struct step_timing *a;
	struct step_timing_step step;
	ck_assert_int_eq(step_timing_create(&a, 2), 0);
	for (int i = 0; i < 3; i++) {
		caravan__step_time__init(&time[i]);
		time[i].waited = 10000000;
		time[i].computed = 20000000u * (unsigned)(i + 1);
		time[i].held = 5000000;
		time[i].trip =
		        i == 0 ? 0 : 1000000u * (unsigned)i; /* the first stage is at the coordinator */
		list[i] = &time[i];
	}
	/* the stages have 130 ms of 160; the coordinator's own time was before */
	ck_assert(step_timing_add(a, 128, list, 3, 160000000, &step));
	ck_assert(near(step.wire, 0.03) && near(step.computed, 0.12) && near(step.waited, 0.045));
	step_timing_state(a, &state);
	ck_assert_uint_eq(state.n_times, 3);
	ck_assert(near(state.times[0]->wire, 0) && near(state.times[1]->wire, 0.01) &&
	          near(state.times[2]->wire, 0.02));
	ck_assert(near(state.times[2]->computed, 0.06) && near(state.times[2]->held, 0.005));
	/* 30 ms on the wire, 60 at the slowest: half a step, so none more than the stages have */
	ck_assert_uint_eq(step_timing_on_wire(a), 0);
	/* more than there was time for, and another number of stages, are not believed */
	ck_assert(!step_timing_add(a, 1, list, 3, 129000000, &step) && near(step.computed, 0));
	ck_assert(!step_timing_add(a, 1, list, 2, 160000000, &step));
	time[1].computed = UINT64_MAX;
	ck_assert(!step_timing_add(a, 1, list, 3, 160000000, &step));
	step_timing_io(a, 1000000, 2000000);
	step_timing_state(a, &state);
	ck_assert(near(state.times[0]->computed, 0.022) && near(state.times[1]->computed, 0.04));
	/* long wires: so many as they hold, and no more than four a stage */
	time[1].computed = 40000000;
	for (int i = 0; i < 40; i++)
		ck_assert(step_timing_add(a, 128, list, 3, 130000000 + 300000000, &step));
	ck_assert_uint_ge(step_timing_on_wire(a), 4);
	ck_assert_uint_le(step_timing_on_wire(a), 5);
	for (int i = 0; i < 40; i++)
		ck_assert(step_timing_add(a, 128, list, 3, 90000000000, &step));
	ck_assert_uint_eq(step_timing_on_wire(a), 8);
	step_timing_destroy(a);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("scheduler");
	TCase *t = tcase_create("scheduler");
	tcase_add_test(t, prompt_in_chunks);
	tcase_add_test(t, two_sequences_share_a_step);
	tcase_add_test(t, decode_is_not_starved_by_a_prompt);
	tcase_add_test(t, queue_and_places);
	tcase_add_test(t, nobody_keeps_others_out_of_the_queue);
	tcase_add_test(t, a_sequence_stops_at_its_limit);
	tcase_add_test(t, blocks_are_kept_while_a_step_names_them);
	tcase_add_loop_test(t, even_groups, 0, 6);
	tcase_add_test(t, fragments_grow_together);
	tcase_add_test(t, chunks_fill_the_stages);
	tcase_add_test(t, chunks_of_even_cost);
	tcase_add_test(t, prompts_beside_answers_are_cut);
	tcase_add_test(t, clients_in_turn);
	tcase_add_test(t, the_pool_bounds_what_runs);
	tcase_add_test(t, every_output_for_logits);
	tcase_add_test(t, rates);
	tcase_add_test(t, paces);
	tcase_add_test(t, time_of_a_step);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
