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

/* ---- recurrent states ---------------------------------------------------------------------------- */

enum { B = KERN_KV_BLOCK, CONTEXT = 12 * B, ROWS = 3 * B, PARALLEL = 3, KEPT = 5, STAGES = 2 };

/* What a stage's slots and places have taken in; as doc/protocol.md says. */
struct stage_states {
	struct {
		uint32_t anchor, end, log[CONTEXT];
	} slot[PARALLEL];
	struct {
		uint32_t position, log[CONTEXT]; /* position 0: nothing */
	} place[KEPT];
};

struct sent {
	struct scheduler_step *st;
	uint32_t *token; /* of each row, as when it was sent */
	bool cancelled;
};

static struct {
	struct scheduler *s;
	struct stage_states
	        at[STAGES]; /* the first computes every step, the second none that was cancelled */
	struct sent sent[8];
	uint32_t nsent, begun, again;
	uint32_t nback; /* the first of them are back, and their outputs are being sampled */
	uint64_t seed;
} w;

static uint32_t chance(uint32_t below) {
	w.seed = w.seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(w.seed >> 33) % below;
}

/* A step computes an entry: its rows follow a state of the same tokens. */
static void states_compute(struct stage_states *a, const struct scheduled *e, const uint32_t *token) {
	uint32_t slot = e->seq->slot, p = e->position, end = p + e->rows, sure = end - e->open;
	bool fresh = p == 0 || e->begin, counts = scheduler_entry_valid(e);
	uint32_t *log = a->slot[slot].log;
	ck_assert_uint_lt(slot, PARALLEL);
	ck_assert_uint_le(e->open, 48 + 1);
	if (e->begin) {
		ck_assert(!counts || a->place[e->begin - 1].position == p);
		memcpy(log, a->place[e->begin - 1].log, p * sizeof *log);
		w.begun++;
	} else if (p && counts) {
		ck_assert_uint_le(a->slot[slot].anchor, p);
		ck_assert_uint_ge(a->slot[slot].end, p);
		w.again += a->slot[slot].end > p;
	}
	ck_assert(!counts || memcmp(log, e->seq->log, p * sizeof *log) == 0);
	memcpy(log + p, token, e->rows * sizeof *log);
	uint32_t from = fresh ? p : a->slot[slot].anchor;
	a->slot[slot].anchor = sure > from ? sure : from;
	a->slot[slot].end = end;
	for (uint32_t k = 0; k < e->nkeeps; k++) {
		uint32_t at = e->keep[k].position, place = e->keep[k].place;
		ck_assert_uint_lt(place, KEPT);
		ck_assert(at > p && at <= end);
		a->place[place].position = at;
		memcpy(a->place[place].log, log, at * sizeof *log);
	}
}

/* Within a step no slot or place is written twice, and none is read that is written. */
static void states_ck_apart(const struct scheduler_step *st) {
	bool slot[PARALLEL] = {false}, place[KEPT] = {false};
	for (uint32_t i = 0; i < st->nseqs; i++) {
		ck_assert(!slot[st->seq[i].seq->slot]);
		slot[st->seq[i].seq->slot] = true;
		for (uint32_t k = 0; k < st->seq[i].nkeeps; k++) {
			ck_assert(!place[st->seq[i].keep[k].place]);
			place[st->seq[i].keep[k].place] = true;
		}
	}
	for (uint32_t i = 0; i < st->nseqs; i++)
		ck_assert(!st->seq[i].begin || !place[st->seq[i].begin - 1]);
}

static void states_at(unsigned stage, const struct sent *sent) {
	const uint32_t *token = sent->token;
	for (uint32_t i = 0; i < sent->st->nseqs; token += sent->st->seq[i++].rows)
		states_compute(&w.at[stage], &sent->st->seq[i], token);
}

/* Makes a step, as pipeline.c does; false: there is none. */
static bool states_send(void) {
	struct scheduler_step *st = w.nsent < 8 ? scheduler_next(w.s) : NULL;
	if (!st)
		return false;
	struct sent *sent = &w.sent[w.nsent++];
	*sent = (struct sent){.st = st, .token = malloc(st->rows * sizeof *sent->token)};
	uint32_t *to = sent->token;
	for (uint32_t i = 0; i < st->nseqs; to += st->seq[i++].rows)
		memcpy(to, st->seq[i].seq->log + st->seq[i].position, st->seq[i].rows * sizeof *to);
	states_ck_apart(st);
	states_at(0, sent);
	return true;
}

/* Whether a later step goes on from this one's states. */
static bool states_go_on(uint32_t n) {
	for (uint32_t later = n + 1; later < w.nsent; later++)
		for (uint32_t i = 0; !w.sent[later].cancelled && i < w.sent[later].st->nseqs; i++)
			for (uint32_t k = 0; k < w.sent[n].st->nseqs; k++)
				if (w.sent[later].st->seq[i].seq == w.sent[n].st->seq[k].seq)
					return true;
	return false;
}

static void states_cancel(void) {
	for (uint32_t n = w.nsent; n-- > 1;) {
		bool wanted = n < w.nback || states_go_on(n);
		for (uint32_t i = 0; i < w.sent[n].st->nseqs; i++)
			wanted = wanted || scheduler_entry_valid(&w.sent[n].st->seq[i]);
		w.sent[n].cancelled = w.sent[n].cancelled || !wanted;
	}
}

static uint32_t states_token(const struct sequence *q) {
	return (q->log[q->tokens - 1] * 7 + q->log[q->tokens / 2]) % 5;
}

static void states_take(struct scheduled *e) {
	struct sequence *q = e->seq;
	if (q->all_outputs && !q->ended && e->position + e->rows == q->tokens)
		ck_assert(!scheduler_end(w.s, q));
	for (uint32_t k = 0;
	        k < e->outputs && !q->all_outputs && scheduler_entry_valid(e) && q->tokens < q->capacity;
	        k++) {
		uint32_t token = states_token(q), draft = q->log[q->tokens];
		bool drafted = q->drafted;
		q->log[q->tokens++] = token;
		if (drafted && token == draft)
			q->drafted--;
		else if (drafted)
			scheduler_reject(e, e->rows - e->outputs + k + 1);
	}
	states_cancel();
}

/* The oldest step comes back, is sampled, or is lost.  One without outputs overtakes those that are being sampled. */
static void states_return(void) {
	uint32_t n = w.nback < w.nsent && (w.nback == 0 || chance(3)) ? w.nback : 0;
	struct sent sent = w.sent[n];
	bool comes = n == w.nback, lost = comes && chance(40) == 0 && !sent.cancelled;
	if (comes && !sent.cancelled && !lost) {
		states_at(1, &sent);
		if (sent.st->outputs && (w.nback || chance(2))) {
			w.nback++;
			return;
		}
	}
	w.nback -= !comes;
	for (uint32_t i = 0; i < sent.st->nseqs && !sent.cancelled; i++)
		if (!lost)
			states_take(&sent.st->seq[i]);
		else if (!sent.st->seq[i].seq->ended)
			ck_assert(!scheduler_end(w.s, sent.st->seq[i].seq));
	w.nsent--;
	memmove(w.sent + n, w.sent + n + 1, (w.nsent - n) * sizeof *w.sent);
	(lost || sent.cancelled ? scheduler_lost : scheduler_done)(w.s, sent.st, left, NULL);
	free(sent.token);
}

/* Guesses for every sequence that has none, right more often than not. */
static void states_draft(void) {
	struct sequence *q;
	for (uint32_t i = 0; i < scheduler_running(w.s) && (q = scheduler_at(w.s, i)); i++) {
		bool has_none =
		        q->scheduled < q->tokens ? q->drafted == 0 : q->scheduled == q->tokens + q->drafted;
		if (q->ended || q->all_outputs || q->done == 0 || q->scheduled + 1 < q->tokens || !has_none)
			continue;
		uint32_t tokens = q->tokens;
		q->tokens += q->drafted;
		for (uint32_t n = chance(14); n > 0 && q->tokens + 1 < q->capacity && q->tokens - tokens < 48;
		        n--) {
			q->log[q->tokens] = chance(20) ? states_token(q) : 9;
			q->tokens++;
		}
		q->drafted = q->tokens - tokens;
		q->tokens = tokens;
	}
}

/* Prompts that begin alike for some blocks, of three texts. */
static void states_prompt(void) {
	uint32_t text = chance(3), alike = chance(8 * B), n = 1 + chance(9 * B);
	struct sequence *q = sequence(n, n + chance(CONTEXT - n) + 1);
	for (uint32_t i = 0; i < n; i++)
		q->log[i] = i < alike ? (i * i + text) % 7 : chance(5);
	if (chance(3) == 0) /* the same as another one, and more */
		for (uint32_t i = 0; i < scheduler_running(w.s); i++) {
			struct sequence *r = scheduler_at(w.s, i);
			uint32_t both = r->tokens < n ? r->tokens : n;
			memcpy(q->log, r->log, both * sizeof *q->log);
		}
	q->all_outputs = chance(6) == 0;
	ck_assert_int_eq(scheduler_add(w.s, q), 0);
}

/* Whether a running sequence has rows that are in no step. */
static bool states_wait(void) {
	bool waits = false;
	for (uint32_t i = 0; i < scheduler_running(w.s); i++) {
		const struct sequence *q = scheduler_at(w.s, i);
		waits = waits || (!q->ended && q->scheduled < q->tokens);
	}
	return waits;
}

/* Whatever happens, the rows of a sequence follow a state of its own tokens, at every stage. */
START_TEST(states_are_those_of_the_tokens) {
	memset(&w, 0, sizeof w);
	w.seed = (uint64_t)_i + 1;
	ck_assert_int_eq(scheduler_create(&w.s, &(struct scheduler_config){.blocks = 40,
	                                                .parallel = PARALLEL,
	                                                .places = 2 + (uint32_t)_i / 2,
	                                                .max_rows = ROWS,
	                                                .stages = 1 + (uint32_t)_i % 3,
	                                                .root = ""}),
	        0);
	for (uint32_t turn = 0; turn < 10000; turn++) {
		if (scheduler_queued(w.s) < 2 && chance(4) == 0)
			states_prompt();
		states_draft();
		bool made = states_send();
		ck_assert_msg(made || w.nsent || !states_wait(), "no sequence can go on");
		if (!made || chance(2))
			if (w.nsent)
				states_return();
		struct sequence *q = scheduler_at(w.s, chance(PARALLEL));
		if (q && q->running && !q->ended && (q->tokens == q->capacity || chance(200) == 0)) {
			if (scheduler_end(w.s, q))
				left(NULL, q);
			states_cancel();
		}
	}
	while (w.nsent)
		states_return();
	ck_assert_uint_gt(w.begun, 20);
	ck_assert_uint_gt(w.again, 50);
	ck_assert_uint_gt(scheduler_found(w.s), 20 * B);
	end_all(w.s);
}
END_TEST

static struct sequence *states_text(uint32_t tokens, uint32_t alike, uint32_t then) {
	struct sequence *q = sequence(tokens, CONTEXT);
	for (uint32_t i = 0; i < tokens; i++)
		q->log[i] = i < alike ? i : then;
	ck_assert_int_eq(scheduler_add(w.s, q), 0);
	return q;
}

/* The rows of the next step, which has one sequence: where they begin, and behind what its states are kept. */
static struct scheduled states_next(void) {
	struct scheduler_step *st = scheduler_next(w.s);
	ck_assert_uint_eq(st->nseqs, 1);
	struct scheduled e = st->seq[0];
	back(w.s, st);
	return e;
}

static void ck_kept(const struct scheduled *e, uint32_t position, uint32_t rows, bool begins, uint32_t first,
        uint32_t second) {
	ck_assert_uint_eq(e->position, position);
	ck_assert_uint_eq(e->rows, rows);
	ck_assert_uint_eq(e->begin != 0, begins);
	ck_assert_uint_eq(e->nkeeps, !!first + !!second);
	ck_assert(!first || e->keep[0].position == first);
	ck_assert(!second || e->keep[1].position == second);
}

static void states_end(struct sequence *q) {
	ck_assert(scheduler_end(w.s, q));
	left(NULL, q);
}

/* Behind a prompt; behind what two prompts have in common, from the third on; behind what was generated, the last block only. */
START_TEST(states_are_kept_where_others_begin) {
	ck_assert_int_eq(scheduler_create(&w.s, &(struct scheduler_config){.blocks = 64,
	                                                .parallel = PARALLEL,
	                                                .places = KEPT,
	                                                .max_rows = 8 * B,
	                                                .stages = 1,
	                                                .root = ""}),
	        0);
	struct sequence *q = states_text(5 * B + 9, 5 * B + 9, 0);
	struct scheduled e = states_next();
	ck_kept(&e, 0, 5 * B + 9, false, 5 * B, 0);
	for (uint32_t i = 0; i < 2 * B; i++) {
		e = states_next();
		ck_kept(&e, 5 * B + 9 + i, 1, false, (e.position + 1) % B ? 0 : e.position + 1, 0);
	}
	/* the next turn: begins behind the last full block of the answer */
	struct sequence *turn = sequence(q->tokens + B, CONTEXT);
	memcpy(turn->log, q->log, q->tokens * sizeof *q->log);
	states_end(q);
	ck_assert_int_eq(scheduler_add(w.s, turn), 0);
	e = states_next();
	ck_kept(&e, 7 * B, B + 10, true, 8 * B, 0);
	/* only the last one's is kept */
	struct sequence *other = sequence(6 * B + 5, CONTEXT);
	memcpy(other->log, turn->log, other->tokens * sizeof *other->log);
	states_end(turn);
	ck_assert_int_eq(scheduler_add(w.s, other), 0);
	e = states_next();
	ck_kept(&e, 5 * B, B + 5, true, 6 * B, 0);
	states_end(other);
	/* the same prompt, but for its end, in the sixth block */
	states_end(states_text(5 * B + 10, 5 * B, 1));
	q = states_text(5 * B + 10, 5 * B, 1);
	e = states_next();
	ck_kept(&e, 5 * B, 10, true, 0, 0);
	states_end(q);
	/* in common with it are three blocks: no state is there, then there is */
	for (uint32_t i = 0; i < 3; i++) {
		q = states_text(5 * B, 3 * B + 1, 2 + i);
		e = states_next();
		ck_kept(&e, i ? 3 * B : 0, i ? 2 * B : 5 * B, i, i ? 4 * B : 3 * B, i ? 0 : 4 * B);
		states_end(q);
	}
	/* two alike: the second waits for the state that the first will keep; embeddings use none */
	q = states_text(10 * B, 0, 7);
	struct sequence *same = states_text(10 * B, 0, 7);
	e = states_next();
	ck_kept(&e, 0, 8 * B, false, 0, 0);
	e = states_next();
	ck_kept(&e, 8 * B, 2 * B, false, 9 * B, 0);
	ck_assert_ptr_eq(e.seq, q);
	states_end(q);
	e = states_next();
	ck_kept(&e, 9 * B, B, true, 0, 0);
	states_end(same);
	q = states_text(10 * B, 0, 7);
	q->all_outputs = true;
	e = states_next();
	ck_kept(&e, 0, 8 * B, false, 0, 0);
	states_end(q);
	ck_assert_uint_eq(scheduler_free_blocks(w.s), 64);
	scheduler_destroy(w.s);
}
END_TEST

/* A block whose contents change loses its state, even if the new owner keeps none. */
START_TEST(states_go_with_their_blocks) {
	ck_assert_int_eq(scheduler_create(&w.s, &(struct scheduler_config){.blocks = 3,
	                                                .parallel = 1,
	                                                .places = KEPT,
	                                                .max_rows = 3 * B,
	                                                .stages = 1,
	                                                .root = ""}),
	        0);
	for (uint32_t i = 0; i < 3; i++) {
		struct sequence *q = states_text(3 * B, 0, i > 0);
		q->all_outputs = i == 1;
		struct scheduled e = states_next();
		ck_kept(&e, 0, 3 * B, false, i == 1 ? 0 : 2 * B, 0);
		states_end(q);
	}
	scheduler_destroy(w.s);
}
END_TEST

/* What a step in flight sees is not given back, nor what will be seen when provisional tokens are rolled back. */
START_TEST(windows_that_are_still_seen) {
	struct scheduler *s;
	struct scheduler_config c = {.blocks = 20,
	        .window_blocks = 20,
	        .window = 100,
	        .parallel = 1,
	        .max_rows = 128,
	        .stages = 1,
	        .root = ""};
	ck_assert_int_eq(scheduler_create(&s, &c), 0);
	struct sequence *q = sequence(640, 1000);
	scheduler_add(s, q);
	struct scheduler_step *st[3];
	for (size_t i = 0; i < 3; i++)
		st[i] = scheduler_next(s);
	ck_assert_uint_eq(st[2]->seq[0].position, 256);
	back(s, st[1]); /* the first is still out */
	ck_assert_uint_eq(q->kv.first_window, 0);
	back(s, st[0]);
	ck_assert_uint_eq(q->kv.first_window, (256 - 99) / 64);
	q->provisional = 300;
	for (size_t i = 0; i < 2; i++) {
		back(s, st[2]);
		st[2] = scheduler_next(s);
	}
	back(s, st[2]);
	ck_assert_uint_eq(q->scheduled, 640);
	ck_assert_uint_eq(q->kv.first_window, (320 - 99) / 64); /* from the block of token 341 on */
	scheduler_roll_back(q, 342);
	st[0] = scheduler_next(s);
	ck_assert_uint_eq(st[0]->seq[0].position, 341);
	ck_assert_uint_le(q->kv.first_window, (341 - 99) / 64);
	back(s, st[0]);
	for (uint32_t n = 342; n < 999; n++)
		back(s, scheduler_next(s));
	ck_assert_uint_eq(q->kv.first_window, (960 - 99) / 64);
	ck_assert_uint_eq(scheduler_free_windows(s), 20 - (q->kv.nblocks - q->kv.first_window));
	end_all(s);
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
	tcase_add_test(t, windows_that_are_still_seen);
	suite_add_tcase(s, t);
	TCase *states = tcase_create("states");
	tcase_add_test(states, states_are_kept_where_others_begin);
	tcase_add_test(states, states_go_with_their_blocks);
	tcase_add_loop_test(states, states_are_those_of_the_tokens, 0, 6);
	suite_add_tcase(s, states);
	return s;
}

#include "tests/unit/check_main.h"
