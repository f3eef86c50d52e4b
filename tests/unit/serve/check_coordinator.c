/* A coordinator alone: the test is its only stage (node 1) and its gateways (nodes 2 and 3), and says to it whatever it likes.
 * Only a sequence's own gateway and the model's own stages have a say; bounds hold; whatever a sequence had is free again. */
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
	return s;
}

#include "tests/unit/check_main.h"
