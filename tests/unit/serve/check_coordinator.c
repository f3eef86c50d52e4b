/* A coordinator alone: the test is its only stage (node 1) and its gateways (nodes 2 and 3), and says to it whatever it likes.
 * Only a sequence's own gateway and the model's own stages have a say; bounds hold; whatever a sequence had is free again. */
#include "daemon/core/quantile.h"
#include "daemon/serve/coordinator/serving_stats.h"
#include "tests/unit/serve/serving.h"

#include <check.h>
#include <string.h>

enum { COORDINATOR = 0, STAGE = 1, GATEWAY = 2, OTHER = 3 };

#define ACK CARAVAN__ENVELOPE__BODY_STEP_ACK
#define FINISHED CARAVAN__ENVELOPE__BODY_FINISHED
#define LOGITS CARAVAN__ENVELOPE__BODY_LOGITS
#define QUEUED CARAVAN__ENVELOPE__BODY_QUEUED
#define REFUSED CARAVAN__ENVELOPE__BODY_REFUSED
#define STEP CARAVAN__ENVELOPE__BODY_STEP
#define TOKENS CARAVAN__ENVELOPE__BODY_TOKENS
#define VOID CARAVAN__ENVELOPE__BODY_CANCEL_STEP

static size_t answered; /* of what the stage received, so much has been */
static uint32_t ids[COMPUTE_CONTEXT];

static void setup(void) {
	compute_cost(0, 1000);
	compute_ends(0, 0);
	network_watch(NULL, NULL);
	answered = 0;
	for (uint32_t i = 0; i < COMPUTE_CONTEXT; i++)
		ids[i] = COMPUTE_FIRST + i * i % 11;
}

static void begin(uint32_t parallel) {
	serving_begin(1, 4, 0);
	serving_load(&(struct serving_spec){
	        .coordinator = COORDINATOR, .stages = 1, .stage = {STAGE}, .parallel = parallel});
}

static void expect_idle(void) {
	Caravan__ModelState s = serving_state("m");
	ck_assert_uint_eq(s.blocks_free, s.blocks);
	ck_assert_uint_eq(s.sequences, 0);
	ck_assert_uint_eq(s.queued, 0);
	ck_assert_uint_eq(s.in_flight, 0);
}

static uint32_t outputs_of(const struct received *r) {
	uint32_t n = 0;
	for (size_t i = 0; i < r->whole->n_seqs; i++)
		n += r->whole->seqs[i]->outputs;
	return n;
}

static size_t result_bytes(const struct received *r) {
	return outputs_of(r) * serving_manifest("m")->hp.dim * sizeof(float);
}

/* The next step that the stage has received and not answered; NULL: none. */
static const struct received *next_step(void) {
	serving_settle();
	while (answered < serving[STAGE].ngot)
		if (serving[STAGE].got[answered++]->kind == STEP)
			return serving[STAGE].got[answered - 1];
	return NULL;
}

/* As a stage would, with rows that mean nothing. */
static void do_step(const struct received *r) {
	bare_acknowledge(STAGE, r);
	bare_send_done(STAGE, COORDINATOR, "m", r->step, result_bytes(r));
	serving_settle();
}

static void do_steps(unsigned n) {
	for (const struct received *r; n-- > 0 && (r = next_step());)
		do_step(r);
}

/* ---- submissions --------------------------------------------------------------------------------- */

START_TEST(token_ids) {
	uint32_t vocab;
	begin(4);
	vocab = serving_manifest("m")->hp.vocab;
	static const uint32_t beyond[] = {0, 1, 1000, UINT32_MAX};
	for (size_t i = 0; i < 12; i++) {
		size_t at = i % 3 * 4; /* first, in the middle, last */
		uint32_t was = ids[at];
		ids[at] = i < 9 ? vocab + beyond[i / 3] : beyond[3];
		bare_submit(GATEWAY, COORDINATOR, "m", ids, 9, 5);
		serving_settle();
		ck_assert_uint_eq(bare_count(GATEWAY, REFUSED), i + 1);
		ck_assert(strstr(bare_last(GATEWAY, REFUSED)->text, "outside the vocabulary"));
		ids[at] = was;
	}
	ck_assert_uint_eq(bare_count(STAGE, STEP), 0);
	expect_idle();
	ids[4] = vocab - 1;
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 9, 1);
	do_steps(10);
	ck_assert_uint_eq(bare_count(GATEWAY, REFUSED), 12);
	ck_assert_uint_eq(bare_count(GATEWAY, TOKENS), 1);
	ck_assert_uint_eq(bare_last(GATEWAY, TOKENS)->position, 9);
	expect_idle();
	serving_end();
}
END_TEST

START_TEST(prompts_of_any_length) {
	begin(4);
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 256, 1); /* nothing is left to generate */
	serving_settle();
	ck_assert(strstr(bare_last(GATEWAY, REFUSED)->text, "leaves none to generate"));
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 257, 1);
	serving_settle();
	ck_assert_uint_eq(bare_count(GATEWAY, REFUSED), 2);
	bare_submit_logits(GATEWAY, COORDINATOR, "m", ids, 257, 0);
	serving_settle();
	ck_assert_uint_eq(bare_count(GATEWAY, REFUSED), 3);
	bare_submit(GATEWAY, COORDINATOR, "other", ids, 9, 1);
	serving_settle();
	ck_assert(strstr(bare_last(GATEWAY, REFUSED)->text, "does not coordinate model other"));
	ck_assert_uint_eq(bare_count(STAGE, STEP), 0);
	/* one less than the context: a token, and it is full */
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 255, 0);
	do_steps(100);
	ck_assert_uint_eq(bare_count(GATEWAY, TOKENS), 1);
	ck_assert_int_eq(bare_last(GATEWAY, FINISHED)->reason, CARAVAN__REASON__CONTEXT);
	expect_idle();
	serving_end();
}
END_TEST

/* ---- who has a say ------------------------------------------------------------------------------- */

/* By its gateway, under its number: it ends.  By anybody else, or under another number: it goes on. */
START_TEST(cancels) {
	begin(4);
	uint64_t ref = bare_submit(GATEWAY, COORDINATOR, "m", ids, 9, 20);
	do_steps(4);
	size_t had = bare_count(GATEWAY, TOKENS);
	ck_assert_uint_ge(had, 4);
	const struct received *r = next_step();
	ck_assert_ptr_nonnull(r);
	if (_i == 0) {
		bare_cancel(GATEWAY, COORDINATOR, ref);
		serving_settle();
		ck_assert_uint_eq(bare_count(STAGE, VOID), 1); /* the stage need not compute it any more */
		ck_assert_uint_eq(bare_last(STAGE, VOID)->step, r->step);
		do_step(r);
		ck_assert_ptr_null(next_step());
		ck_assert_uint_eq(bare_count(GATEWAY, TOKENS), had);
		ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), 0);
	} else {
		bare_cancel(_i == 1   ? OTHER
		            : _i == 2 ? STAGE
		                      : GATEWAY,
		        COORDINATOR, _i < 3 ? ref : ref + (_i == 3 ? 1 : 1000000));
		serving_settle();
		ck_assert_uint_eq(bare_count(STAGE, VOID), 0);
		do_step(r);
		do_steps(100);
		ck_assert_uint_eq(bare_count(GATEWAY, TOKENS), 20);
		ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), 1);
		ck_assert_int_eq(bare_last(GATEWAY, FINISHED)->reason, CARAVAN__REASON__LIMIT);
	}
	expect_idle();
	serving_end();
}
END_TEST

/* A step of a sequence that is cancelled goes on with one that is not: with states, the stage needs the step before it. */
START_TEST(cancels_before_others) {
	begin(4);
	((struct manifest *)(uintptr_t)serving_manifest("m"))->hp.attention_every = _i ? 2 : 0;
	uint64_t ref = bare_submit(GATEWAY, COORDINATOR, "m", ids, 2 * 64 + 20, 5);
	const struct received *first = next_step(), *alone = next_step(), *both;
	bare_submit(GATEWAY, COORDINATOR, "m", ids + 1, 9, 5);
	do_step(first);
	both = next_step();
	ck_assert(alone && both);
	ck_assert_uint_eq(alone->whole->n_seqs, 1);
	ck_assert_uint_eq(both->whole->n_seqs, 2);
	bare_cancel(GATEWAY, COORDINATOR, ref);
	serving_settle();
	ck_assert_uint_eq(bare_count(STAGE, VOID), _i ? 0 : 1);
	do_step(alone);
	do_step(both);
	do_steps(100);
	ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), 1);
	((struct manifest *)(uintptr_t)serving_manifest("m"))->hp.attention_every = 0;
	serving_end();
}
END_TEST

/* A stage that does not have the state of one sequence of a step ends that one, and nothing that it wrote is found later. */
START_TEST(one_of_a_step_is_lost) {
	static const uint32_t lost[] = {0, 7}; /* there is no eighth */
	begin(4);
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 2 * 64 + 20, 5);
	const struct received *first = next_step(), *alone = next_step(), *both;
	bare_submit(GATEWAY, COORDINATOR, "m", ids + 1, 9, 5);
	do_step(first);
	both = next_step();
	ck_assert_uint_eq(alone->whole->n_seqs, 1);
	ck_assert_uint_eq(both->whole->n_seqs, 2);
	bare_acknowledge(STAGE, alone);
	bare_send_lost(STAGE, COORDINATOR, "m", alone->step, result_bytes(alone), lost, 2);
	serving_settle();
	ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), 1);
	ck_assert_int_eq(bare_last(GATEWAY, FINISHED)->reason, CARAVAN__REASON__ERROR);
	ck_assert_str_eq(bare_last(GATEWAY, FINISHED)->text,
	        "a stage does not have its recurrent state: a step before failed");
	bare_acknowledge(STAGE, both);
	bare_send_lost(STAGE, COORDINATOR, "m", both->step, result_bytes(both), lost, 1);
	do_steps(100);
	ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), 2);
	ck_assert_int_eq(bare_last(GATEWAY, FINISHED)->reason, CARAVAN__REASON__LIMIT);
	ck_assert_uint_eq(bare_count(GATEWAY, TOKENS), 5);
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 2 * 64 + 20, 5);
	ck_assert_uint_eq(next_step()->position, 64); /* what the first step wrote */
	serving_end();
}
END_TEST

/* The same for one that waits for a place. */
START_TEST(cancels_of_who_waits) {
	begin(1);
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 9, 20);
	uint64_t ref = bare_submit(GATEWAY, COORDINATOR, "m", ids, 5, 20);
	do_steps(1);
	ck_assert_uint_eq(serving_state("m").queued, 1);
	ck_assert_uint_eq(bare_last(GATEWAY, QUEUED)->position, 1);
	bare_cancel(OTHER, COORDINATOR, ref);
	serving_settle();
	ck_assert_uint_eq(serving_state("m").queued, 1);
	bare_cancel(GATEWAY, COORDINATOR, ref);
	serving_settle();
	ck_assert_uint_eq(serving_state("m").queued, 0);
	do_steps(100);
	ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), 1);
	expect_idle();
	serving_end();
}
END_TEST

/* A result from another node is refused, and the step still awaited. */
START_TEST(results_of_others) {
	begin(4);
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 9, 5);
	const struct received *r = next_step();
	for (unsigned from = GATEWAY; from <= OTHER; from++) {
		bare_send_done(from, COORDINATOR, "m", r->step, result_bytes(r));
		bare_send_failed(from, COORDINATOR, "m", r->step, true, "so they say");
		serving_settle();
		ck_assert(strstr(bare_last(from, REFUSED)->text, "not the last stage"));
	}
	ck_assert_uint_eq(bare_count(GATEWAY, TOKENS), 0);
	ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), 0);
	ck_assert_uint_eq(serving[COORDINATOR].unavailable, 0);
	do_step(r);
	do_steps(100);
	ck_assert_uint_eq(bare_count(GATEWAY, TOKENS), 5);
	expect_idle();
	serving_end();
}
END_TEST

/* ---- what stages say ----------------------------------------------------------------------------- */

/* Too few bytes, too many, none. */
START_TEST(results_of_the_wrong_size) {
	static const int wrong[] = {-4, 4, -128, 128};
	begin(4);
	for (unsigned i = 0; i < 4; i++) {
		bare_submit(GATEWAY, COORDINATOR, "m", ids, 9, 5);
		const struct received *r = next_step();
		ck_assert_uint_eq(result_bytes(r), 128);
		bare_acknowledge(STAGE, r);
		bare_send_done(STAGE, COORDINATOR, "m", r->step, (size_t)(128 + wrong[i]));
		serving_settle();
		ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), i + 1);
		ck_assert(strstr(bare_last(GATEWAY, FINISHED)->text, "wrong size"));
		expect_idle();
	}
	ck_assert_uint_eq(bare_count(GATEWAY, TOKENS), 0);
	/* nor something where nothing was asked for: the first part of a prompt */
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 150, 5);
	const struct received *r = next_step();
	ck_assert_uint_eq(result_bytes(r), 0);
	bare_send_done(STAGE, COORDINATOR, "m", r->step, 128);
	serving_settle();
	ck_assert(strstr(bare_last(GATEWAY, FINISHED)->text, "wrong size"));
	serving_end();
}
END_TEST

/* Twice, unknown, never sent: acknowledged, and nothing else. */
START_TEST(results_that_nobody_awaits) {
	begin(4);
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 9, 5);
	const struct received *r = next_step();
	size_t bytes = result_bytes(r);
	uint64_t step = r->step;
	bare_acknowledge(STAGE, r);
	bare_send_done(STAGE, COORDINATOR, "m", step, bytes);
	bare_send_done(STAGE, COORDINATOR, "m", step, bytes);
	serving_settle();
	bare_send_done(STAGE, COORDINATOR, "m", step, bytes);
	bare_send_done(STAGE, COORDINATOR, "m", step + 77, bytes);
	serving_settle();
	ck_assert_uint_eq(bare_count(STAGE, ACK), 4);
	ck_assert_uint_eq(bare_count(GATEWAY, TOKENS), 1);
	do_steps(100);
	ck_assert_uint_eq(bare_count(GATEWAY, TOKENS), 5);
	for (size_t i = 0, n = 0; i < serving[GATEWAY].ngot; i++) {
		const struct received *t = serving[GATEWAY].got[i];
		if (t->kind == TOKENS)
			ck_assert_uint_eq(t->position, 9 + n++);
	}
	expect_idle();
	serving_end();
}
END_TEST

/* Steps never overtake each other: what is older than one that is back was lost. */
START_TEST(a_step_that_was_lost) {
	begin(4);
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 30, 5);
	const struct received *first = next_step();
	ck_assert_ptr_nonnull(first);
	uint64_t lost = first->step;
	bare_acknowledge(STAGE, first);
	bare_submit(OTHER, COORDINATOR, "m", ids + 30, 30, 5);
	const struct received *second = next_step();
	ck_assert_uint_gt(second->step, lost);
	do_step(second);
	ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), 1);
	ck_assert(strstr(bare_last(GATEWAY, FINISHED)->text, "lost between two nodes"));
	ck_assert_uint_eq(bare_count(OTHER, TOKENS), 1);
	do_steps(100);
	ck_assert_uint_eq(bare_count(OTHER, TOKENS), 5);
	bare_send_done(STAGE, COORDINATOR, "m", lost, 128); /* late */
	serving_settle();
	ck_assert_uint_eq(bare_count(GATEWAY, TOKENS), 0);
	expect_idle();
	serving_end();
}
END_TEST

/* _i: a failure; one because the next stage refused; a refusal of our own step. */
START_TEST(steps_that_fail) {
	begin(4);
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 9, 5);
	const struct received *r = next_step();
	if (_i < 2)
		bare_send_failed(STAGE, COORDINATOR, "m", r->step, _i == 1, "it is too hot");
	else
		peers_refuse(serving[STAGE].peers, &r->from, "it is too hot");
	serving_settle();
	ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), 1);
	ck_assert_int_eq(bare_last(GATEWAY, FINISHED)->reason, CARAVAN__REASON__ERROR);
	ck_assert(strstr(bare_last(GATEWAY, FINISHED)->text, "it is too hot"));
	/* a stage that is refused does not serve any more: deploy hears of it, and of nothing else */
	ck_assert_uint_eq(serving[COORDINATOR].unavailable, _i > 0);
	ck_assert(_i == 0 || strstr(serving[COORDINATOR].reason, "it is too hot"));
	expect_idle();
	/* not of a step that is long over */
	bare_send_failed(STAGE, COORDINATOR, "m", 1, false, "again");
	serving_settle();
	ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), 1);
	serving_end();
}
END_TEST

/* ---- bounds -------------------------------------------------------------------------------------- */

/* A stage that answers nothing gets one step a stage and one more; when its link goes, all end. */
START_TEST(a_stage_that_answers_nothing) {
	begin(8);
	for (unsigned i = 0; i < 10; i++)
		bare_submit(GATEWAY, COORDINATOR, "m", ids + i, 100, 5);
	sim_for(3600000);
	Caravan__ModelState s = serving_state("m");
	ck_assert_uint_eq(bare_count(STAGE, STEP), 2);
	ck_assert_uint_eq(s.in_flight, 2);
	ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), 0);
	network_cut(&serving[COORDINATOR].keys.public, &serving[STAGE].keys.public, true);
	sim_for(10000);
	ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), 10);
	ck_assert_int_eq(bare_last(GATEWAY, FINISHED)->reason, CARAVAN__REASON__ERROR);
	expect_idle();
	network_cut(&serving[COORDINATOR].keys.public, &serving[STAGE].keys.public, false);
	serving_end();
}
END_TEST

/* Nobody fills the queue for others: a gateway gets half of what is left. */
START_TEST(the_queue_is_bounded) {
	begin(1);
	for (unsigned i = 0; i < 300; i++)
		bare_submit(GATEWAY, COORDINATOR, "m", ids, 9, 20);
	serving_settle();
	ck_assert_uint_eq(serving_state("m").queued, 128);
	ck_assert_uint_eq(bare_count(GATEWAY, REFUSED), 300 - 129);
	ck_assert(strstr(bare_last(GATEWAY, REFUSED)->text, "busy"));
	ck_assert_uint_ge(bare_last(GATEWAY, REFUSED)->id, 1); /* for programs: when to try again */
	for (unsigned i = 0; i < 300; i++)
		bare_submit(OTHER, COORDINATOR, "m", ids, 9, 20);
	serving_settle();
	ck_assert_uint_eq(serving_state("m").queued, 192);
	ck_assert_uint_eq(bare_count(OTHER, REFUSED), 300 - 64);
	/* every one of them was told a place of its own */
	bool taken[193] = {false};
	unsigned places = 0;
	for (unsigned g = GATEWAY; g <= OTHER; g++)
		for (size_t i = 0; i < serving[g].ngot; i++) {
			const struct received *r = serving[g].got[i];
			bool last = r->kind == QUEUED;
			for (size_t k = i + 1; last && k < serving[g].ngot; k++)
				last = serving[g].got[k]->kind != QUEUED ||
				       serving[g].got[k]->from.ref != r->from.ref;
			if (!last)
				continue;
			ck_assert(r->position >= 1 && r->position <= 192 && !taken[r->position]);
			taken[r->position] = true;
			places++;
		}
	ck_assert_uint_eq(places, 192);
	/* both gateways go: all of it is gone */
	serving_tell(GATEWAY, false);
	serving_settle();
	ck_assert_uint_eq(serving_state("m").queued, 64);
	serving_tell(OTHER, false);
	serving_settle();
	do_steps(5);
	expect_idle();
	serving_end();
}
END_TEST

/* No more rows are computed than the client has room for, whoever else says so. */
START_TEST(logits_wait_for_the_client) {
	begin(4);
	uint64_t ref = bare_submit_logits(GATEWAY, COORDINATOR, "m", ids, 100, 8);
	uint32_t rows = 0, told = 0;
	for (unsigned turn = 0; rows < 100; turn++) {
		ck_assert_uint_lt(turn, 200);
		do_steps(100);
		rows = 0;
		for (size_t i = 0; i < serving[GATEWAY].ngot; i++)
			if (serving[GATEWAY].got[i]->kind == LOGITS) {
				ck_assert_uint_eq(serving[GATEWAY].got[i]->position, rows);
				rows += serving[GATEWAY].got[i]->rows;
			}
		ck_assert_uint_eq(rows, told + 8 < 100 ? told + 8 : 100);
		bare_taken(OTHER, COORDINATOR, ref, rows);
		bare_taken(GATEWAY, COORDINATOR, ref + 1, rows);
		do_steps(100);
		ck_assert_uint_eq(bare_count(GATEWAY, FINISHED), rows == 100);
		if (turn == 0) { /* what was not computed cannot have been taken */
			bare_taken(GATEWAY, COORDINATOR, ref, 90);
			told = rows;
		} else {
			told += 3;
			bare_taken(GATEWAY, COORDINATOR, ref, told);
		}
	}
	ck_assert_int_eq(bare_last(GATEWAY, FINISHED)->reason, CARAVAN__REASON__END);
	ck_assert_uint_eq(bare_count(GATEWAY, TOKENS), 0);
	expect_idle();
	serving_end();
}
END_TEST

/* The gateway's link goes: with the next token nobody listens any more. */
START_TEST(a_gateway_that_cannot_be_told) {
	begin(4);
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 9, 50);
	bare_submit(OTHER, COORDINATOR, "m", ids, 7, 10);
	do_steps(4);
	network_lose(&serving[GATEWAY].keys.public, &serving[COORDINATOR].keys.public, "a cable");
	do_steps(200);
	ck_assert_uint_eq(bare_count(OTHER, TOKENS), 10);
	ck_assert_uint_lt(serving_state("m").tokens, 20);
	expect_idle();
	serving_end();
}
END_TEST

/* ---- how fast it is served, and whom ------------------------------------------------------------- */

#define MS 1000000ull

/* As percentiles are: within so much of what is right. */
static void expect_time(double seconds, double right) {
	ck_assert_double_le(seconds, right * (1 + QUANTILE_ERROR));
	ck_assert_double_ge(seconds, right * (1 - QUANTILE_ERROR));
}

static uint32_t counted(const Caravan__Histogram *h, size_t i) {
	uint32_t n;
	ck_assert_uint_eq(h->buckets.len, WIRE_BOUNDS * sizeof n);
	memcpy(&n, h->buckets.data + i * sizeof n, sizeof n);
	return n;
}

/* A prompt of 9 tokens is in the queue for 400 ms and computed for 100; 20 tokens follow, 80 ms apart.  All of it is seen in the
 * minute and the hour, and leaves them. */
START_TEST(rates_and_times) {
	begin(1);
	Caravan__ModelState s = serving_state("m");
	ck_assert(s.minute->tokens_per_second == 0 && s.hour->prompt_tokens_per_second == 0);
	ck_assert(!s.minute->first_token && !s.hour->inter_token && !s.first_token && !s.inter_token);
	uint64_t first = bare_submit(OTHER, COORDINATOR, "m", ids, 9, 20);
	const struct received *step = next_step();
	sim_for(1000); /* the first one is never answered */
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 9, 21);
	serving_settle();
	sim_for(400);
	bare_cancel(OTHER, COORDINATOR, first);
	do_step(step);
	for (int i = 0; i <= 20; i++) {
		ck_assert_ptr_nonnull(step = next_step());
		sim_for(i ? 80 : 100);
		do_step(step);
	}
	expect_idle();
	s = serving_state("m");
	double age = s.seconds;
	ck_assert_double_ge(age, 3.1);
	ck_assert_double_le(age, 3.2);
	ck_assert_double_eq_tol(s.minute->seconds, age, 0.001);
	ck_assert_double_eq_tol(s.hour->seconds, age, 0.001);
	ck_assert_double_eq_tol(s.minute->tokens_per_second, 21 / age, 0.001);
	ck_assert_double_eq_tol(s.hour->tokens_per_second, 21 / age, 0.001);
	ck_assert_double_eq_tol(
	        s.minute->prompt_tokens_per_second, 9 / age, 0.001); /* the other's step was cancelled */
	ck_assert_double_gt(s.tokens_per_second, 21 / age / 2);
	ck_assert_double_gt(s.prompt_tokens_per_second, 0);
	const Caravan__ServingStats *spans[] = {s.minute, s.hour};
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(spans[i]->first_token->count, 1);
		expect_time(spans[i]->first_token->p50, 0.5);
		expect_time(spans[i]->first_token->p99, 0.5);
		ck_assert_uint_eq(spans[i]->inter_token->count, 20);
		expect_time(spans[i]->inter_token->p50, 0.08);
		expect_time(spans[i]->inter_token->p90, 0.08);
	}
	ck_assert_uint_eq(s.first_token->count, 1);
	ck_assert_uint_eq(s.inter_token->count, 20);
	ck_assert_uint_eq(counted(s.inter_token, 4), 20); /* above 50 ms, not above 100 */
	ck_assert_double_eq_tol(s.inter_token->sum, 1.6, 0.01);
	/* it leaves the minute, and then the hour */
	sim_for(70 * 1000);
	s = serving_state("m");
	ck_assert(s.tokens_per_second == 0 && s.minute->tokens_per_second == 0);
	ck_assert(!s.minute->first_token && !s.minute->inter_token);
	ck_assert_double_ge(s.minute->seconds, 59);
	ck_assert_double_le(s.minute->seconds, 60);
	ck_assert_double_eq_tol(s.hour->tokens_per_second, 21 / s.seconds, 0.001);
	expect_time(s.hour->inter_token->p50, 0.08);
	sim_for(3600 * 1000);
	s = serving_state("m");
	ck_assert(s.hour->tokens_per_second == 0 && !s.hour->first_token && !s.hour->inter_token);
	ck_assert_uint_eq(s.inter_token->count, 20);
	serving_end();
}
END_TEST

/* Tokens that come together share their time; a long one of another kind is seen in the percentiles above it. */
START_TEST(times_of_several_tokens) {
	struct serving_stats *stats;
	Caravan__ModelState s = CARAVAN__MODEL_STATE__INIT;
	ck_assert_int_eq(serving_stats_create(&stats, 0), 0);
	for (unsigned i = 0; i < 24; i++)
		serving_stats_inter_token(stats, 1000 * MS, 4, 200 * MS);
	serving_stats_inter_token(stats, 1000 * MS, 4, 4000 * MS);
	serving_stats_state(stats, 2000 * MS, &s);
	ck_assert_uint_eq(s.minute->inter_token->count, 100);
	expect_time(s.minute->inter_token->p50, 0.05);
	expect_time(s.minute->inter_token->p90, 0.05);
	expect_time(s.minute->inter_token->p99, 1);
	ck_assert_ptr_null(s.minute->first_token);
	ck_assert_double_eq_tol(s.inter_token->sum, 24 * 0.2 + 4, 1e-6);
	/* longer than every bound: only in the count */
	serving_stats_first_token(stats, 1000 * MS, 301000 * MS);
	serving_stats_first_token(stats, 1000 * MS, 300000 * MS);
	serving_stats_state(stats, 2000 * MS, &s);
	ck_assert_uint_eq(s.first_token->count, 2);
	ck_assert_uint_eq(counted(s.first_token, WIRE_BOUNDS - 1), 1);
	/* a model that is younger than a second has no rate of thousands */
	serving_stats_generated(stats, 1000 * MS, 5);
	serving_stats_state(stats, 2000 * MS, &s);
	ck_assert_double_eq_tol(s.minute->tokens_per_second, 2.5, 1e-6);
	serving_stats_destroy(stats);
	ck_assert_int_eq(serving_stats_create(&stats, 5000 * MS), 0);
	serving_stats_generated(stats, 5001 * MS, 5);
	serving_stats_state(stats, 5002 * MS, &s);
	ck_assert_double_eq_tol(s.minute->tokens_per_second, 5, 1e-6);
	serving_stats_destroy(stats);
}
END_TEST

/* What is known of a sequence, from its arrival to its end. */
START_TEST(streams_of_a_model) {
	begin(1);
	Caravan__ModelState s = serving_state("m");
	ck_assert_uint_eq(s.n_streams + s.streams_total, 0);
	bare_submit(GATEWAY, COORDINATOR, "m", ids, 100, 5);
	uint64_t waits = bare_submit(OTHER, COORDINATOR, "m", ids, 9, 7);
	const struct received *step = next_step(); /* 64 rows of the prompt, then the rest */
	sim_for(2000);
	s = serving_state("m");
	ck_assert_uint_eq(s.n_streams, 2);
	ck_assert_uint_eq(s.streams_total, 2);
	const Caravan__StreamState *one = s.streams[0], *two = s.streams[1];
	ck_assert_uint_ne(one->id, two->id);
	ck_assert_int_eq(one->phase, CARAVAN__STREAM_PHASE__STREAM_PROMPT);
	ck_assert_int_eq(two->phase, CARAVAN__STREAM_PHASE__STREAM_QUEUED);
	ck_assert_mem_eq(one->gateway.data, &serving[GATEWAY].keys.public, 32);
	ck_assert_mem_eq(two->gateway.data, &serving[OTHER].keys.public, 32);
	ck_assert_double_eq_tol(one->age, 2, 0.1);
	ck_assert(one->prompt == 100 && one->prompt_done == 0 && one->generated == 0 && one->limit == 5);
	ck_assert(one->place == 0 && one->first_token == 0 && one->blocks == 2);
	ck_assert(two->place == 1 && two->prompt == 9 && two->limit == 7 && two->blocks == 0);
	do_step(step);
	s = serving_state("m");
	ck_assert_uint_eq(s.streams[0]->prompt_done, 64);
	ck_assert_int_eq(s.streams[0]->phase, CARAVAN__STREAM_PHASE__STREAM_PROMPT);
	do_steps(3);
	s = serving_state("m");
	one = s.streams[0];
	ck_assert_int_eq(one->phase, CARAVAN__STREAM_PHASE__STREAM_GENERATING);
	ck_assert(one->prompt_done == 100 && one->generated == 3 && one->cached == 0);
	ck_assert_double_eq_tol(one->first_token, 2, 0.1);
	sim_for(400); /* a stream that has just begun: its rate is that since its first token */
	s = serving_state("m");
	one = s.streams[0];
	ck_assert_double_gt(one->age - one->first_token, 0.3);
	ck_assert_double_eq_tol(one->tokens_per_second, 2 / (one->age - one->first_token), 0.02);
	bare_cancel(OTHER, COORDINATOR, waits);
	do_steps(2);
	s = serving_state("m");
	ck_assert_uint_eq(s.n_streams + s.streams_total, 0);
	/* the same beginning again: in the cache, and not computed */
	bare_submit(OTHER, COORDINATOR, "m", ids, 101, 5);
	next_step();
	s = serving_state("m");
	ck_assert_uint_eq(s.streams[0]->cached, 64);
	ck_assert_uint_eq(s.streams[0]->prompt_done, 64);
	serving_end();
}
END_TEST

/* Of very many, some are listed and all are counted; of all models of a node together, too. */
START_TEST(very_many_streams) {
	serving_begin(1, 4, 0);
	serving_load(&(struct serving_spec){
	        .coordinator = COORDINATOR, .stages = 1, .stage = {STAGE}, .parallel = 2});
	serving_load(&(struct serving_spec){
	        .name = "n", .coordinator = COORDINATOR, .stages = 1, .stage = {STAGE}, .parallel = 2});
	for (unsigned i = 0; i < 100; i++) {
		bare_submit(i % 2 ? GATEWAY : OTHER, COORDINATOR, "m", ids, 9, 7);
		if (i < 70)
			bare_submit(GATEWAY, COORDINATOR, "n", ids, 9, 7);
	}
	serving_settle();
	Caravan__ModelState m = serving_state("m"), n = serving_state("n");
	ck_assert_uint_eq(n.n_streams, WIRE_STREAMS_MAX);
	ck_assert_uint_eq(n.streams_total, 70);
	ck_assert_uint_eq(m.n_streams, 96 - WIRE_STREAMS_MAX);
	ck_assert_uint_eq(m.streams_total, 100);
	for (size_t i = 0; i < m.n_streams; i++)
		ck_assert_int_eq(m.streams[i]->phase == CARAVAN__STREAM_PHASE__STREAM_QUEUED, i >= 2);
	/* all of it is what the others accept */
	Caravan__NodeState state = CARAVAN__NODE_STATE__INIT;
	Caravan__Ping ping = CARAVAN__PING__INIT;
	Caravan__Envelope e = WIRE_ENVELOPE(PING, ping, &ping);
	char err[300];
	serve_state(serving[COORDINATOR].serve, &state);
	state.cpu = state.version = (char *)"";
	ping.state = &state;
	ck_assert_msg(wire_valid(&e, 0, WIRE_ROUTER, err, sizeof err), "%s", err);
	ck_assert_uint_lt(caravan__envelope__get_packed_size(&e), 8u << 10);
	serving_end();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("coordinator");
	TCase *t = tcase_create("submissions");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, token_ids);
	tcase_add_test(t, prompts_of_any_length);
	suite_add_tcase(s, t);
	t = tcase_create("who has a say");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_loop_test(t, cancels, 0, 5);
	tcase_add_test(t, cancels_of_who_waits);
	tcase_add_loop_test(t, cancels_before_others, 0, 2);
	tcase_add_test(t, one_of_a_step_is_lost);
	tcase_add_test(t, results_of_others);
	suite_add_tcase(s, t);
	t = tcase_create("stages");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, results_of_the_wrong_size);
	tcase_add_test(t, results_that_nobody_awaits);
	tcase_add_test(t, a_step_that_was_lost);
	tcase_add_loop_test(t, steps_that_fail, 0, 3);
	suite_add_tcase(s, t);
	t = tcase_create("bounds");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, a_stage_that_answers_nothing);
	tcase_add_test(t, the_queue_is_bounded);
	tcase_add_test(t, logits_wait_for_the_client);
	tcase_add_test(t, a_gateway_that_cannot_be_told);
	suite_add_tcase(s, t);
	t = tcase_create("figures");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, rates_and_times);
	tcase_add_test(t, times_of_several_tokens);
	tcase_add_test(t, streams_of_a_model);
	tcase_add_test(t, very_many_streams);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
