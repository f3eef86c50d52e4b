/* A stage alone: the test is its coordinator (node 1), the stage before it or the next one (node 2), and a stranger (node 3).
 * Everything that a step may say wrongly is refused, and said to the coordinator; every step is acknowledged once. */
#include "tests/unit/serve/serving.h"

#include <check.h>
#include <errno.h>
#include <string.h>

enum { STAGE = 0, COORDINATOR = 1, OTHER = 2, STRANGER = 3 };

#define ACK CARAVAN__ENVELOPE__BODY_STEP_ACK
#define DONE CARAVAN__ENVELOPE__BODY_STEP_DONE
#define FAILED CARAVAN__ENVELOPE__BODY_STEP_FAILED
#define REFUSED CARAVAN__ENVELOPE__BODY_REFUSED
#define STEP CARAVAN__ENVELOPE__BODY_STEP

static void setup(void) {
	compute_cost(100000, 20000);
	compute_fail(0, 0);
	network_watch(NULL, NULL);
}

/* The first of two, whose steps go on to node 2; or the last, whose steps come from there. */
static void begin(bool last) {
	serving_begin(1, 4, 0);
	serving_load(&(struct serving_spec){.coordinator = COORDINATOR,
	        .stages = 2,
	        .stage = {last ? OTHER : STAGE, last ? STAGE : OTHER},
	        .blocks = 8,
	        .max_rows = 32});
}

static struct bare_step good(uint64_t number, uint32_t rows) {
	return (struct bare_step){.model = "m", .step = number, .rows = rows, .outputs = 1};
}

/* One step, refused with these words, acknowledged all the same, and the stage goes on. */
static void expect_failure(const struct bare_step *s, const char *words) {
	size_t acks = bare_count(COORDINATOR, ACK), fails = bare_count(COORDINATOR, FAILED);
	uint64_t rows = compute_rows();
	bare_send_step(COORDINATOR, STAGE, s);
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, FAILED), fails + 1);
	const struct received *r = bare_last(COORDINATOR, FAILED);
	ck_assert_msg(strstr(r->text, words), "%s", r->text);
	ck_assert_uint_eq(r->step, s->step);
	ck_assert(!r->refused);
	ck_assert_uint_eq(bare_count(COORDINATOR, ACK), acks + 1);
	ck_assert_uint_eq(bare_count(OTHER, STEP), 0);
	ck_assert_uint_eq(compute_rows(), rows);
}

START_TEST(a_step_goes_on) {
	begin(false);
	struct bare_step s = good(1, 5);
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, ACK), 1);
	const struct received *r = bare_last(OTHER, STEP);
	ck_assert_ptr_nonnull(r);
	ck_assert_uint_eq(r->whole->stage, 1);
	ck_assert_uint_eq(r->whole->step, 1);
	ck_assert_uint_eq(r->whole->n_seqs, 1);
	ck_assert_uint_eq(r->whole->seqs[0]->rows, 5);
	ck_assert_uint_eq(r->whole->seqs[0]->outputs, 1);
	ck_assert_uint_eq(r->whole->seqs[0]->blocks.len, 4);
	ck_assert_uint_eq(r->payload, 5 * serving_manifest("m")->hp.dim * sizeof(float));
	ck_assert_uint_eq(compute_rows(), 5 * 2);
	serving_end();
}
END_TEST

/* The last one sends what was asked for: some rows, all of them, none. */
START_TEST(outputs_go_back) {
	static const uint32_t outputs[] = {1, 6, 0, 3};
	size_t dim;
	begin(true);
	dim = serving_manifest("m")->hp.dim;
	for (uint32_t i = 0; i < 4; i++) {
		struct bare_step s = good(i + 1, 6);
		s.stage = 1;
		s.outputs = outputs[i];
		s.position = 6 * i;
		bare_send_step(OTHER, STAGE, &s);
		serving_settle();
		ck_assert_uint_eq(bare_count(COORDINATOR, DONE), i + 1);
		const struct received *r = bare_last(COORDINATOR, DONE);
		ck_assert_uint_eq(r->step, i + 1);
		ck_assert_uint_eq(r->payload, outputs[i] * dim * sizeof(float));
		bare_acknowledge(COORDINATOR, r);
		ck_assert_uint_eq(bare_count(OTHER, ACK), i + 1);
	}
	serving_settle();
	serving_end();
}
END_TEST

START_TEST(numbers_only_rise) {
	begin(false);
	struct bare_step s = good(5, 1);
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(bare_count(OTHER, STEP), 1);
	uint64_t rows = compute_rows();
	for (uint64_t again = 0; again < 3; again++) {
		static const uint64_t number[] = {5, 4, 1};
		s = good(number[again], 1);
		bare_send_step(COORDINATOR, STAGE, &s);
		serving_settle();
		ck_assert_uint_eq(bare_count(COORDINATOR, FAILED), again + 1);
		ck_assert(strstr(bare_last(COORDINATOR, FAILED)->text, "comes after step 5"));
		ck_assert_uint_eq(bare_count(COORDINATOR, ACK), again + 2);
	}
	ck_assert_uint_eq(compute_rows(), rows);
	s = good(9, 1); /* those between may have been lost */
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(bare_count(OTHER, STEP), 2);
	serving_end();
}
END_TEST

START_TEST(what_contradicts_itself) {
	begin(false);
	size_t dim = serving_manifest("m")->hp.dim * sizeof(float);
	struct bare_step s = good(1, 4);
	s.payload = 4 * dim - 16;
	expect_failure(&s, "its payload is not 4 rows");
	s.payload = 4 * dim + 16;
	expect_failure(&s, "its payload is not 4 rows");
	s.payload = 8 * dim;
	expect_failure(&s, "its payload is not 4 rows");
	s = good(1, 33);
	expect_failure(&s, "at most 32 rows");
	s = good(1, 4);
	s.position = 253; /* of 256 */
	s.block = 3;
	expect_failure(&s, "context of 256");
	s = good(1, 4);
	s.block = 8; /* of 8 */
	expect_failure(&s, "block 8 of 8");
	s = good(1, 4);
	s.block = 7; /* the second of its blocks is too much */
	s.position = 62;
	expect_failure(&s, "block 8 of 8");
	/* none of these counted as a step */
	s = good(1, 4);
	s.block = 7;
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(bare_count(OTHER, STEP), 1);
	serving_end();
}
END_TEST

START_TEST(who_may_send) {
	begin(false);
	struct bare_step s = good(1, 1);
	for (unsigned from = OTHER; from <= STRANGER; from++) {
		bare_send_step(from, STAGE, &s);
		serving_settle();
		ck_assert_uint_eq(bare_count(from, REFUSED), 1);
		ck_assert(strstr(bare_last(from, REFUSED)->text, "come from another node"));
	}
	/* another plan's, another stage's, another model's */
	s.older = 1;
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, REFUSED), 1);
	s.older = UINT64_MAX; /* the epoch after it */
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, REFUSED), 2);
	s = good(1, 1);
	s.stage = 1;
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, REFUSED), 3);
	ck_assert(strstr(bare_last(COORDINATOR, REFUSED)->text, "does not serve stage 1"));
	ck_assert_uint_eq(bare_count(COORDINATOR, ACK), 0);
	ck_assert_uint_eq(bare_count(OTHER, STEP), 0);
	ck_assert_uint_eq(compute_rows(), 0);
	serving_end();
}
END_TEST

START_TEST(steps_that_nobody_wants) {
	begin(false);
	struct bare_step s;
	/* before it is there */
	bare_send_void(COORDINATOR, STAGE, "m", 1);
	s = good(1, 3);
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(compute_rows(), 0);
	ck_assert_uint_eq(bare_count(OTHER, STEP), 1); /* it travels on, so that order holds */
	/* while it waits for the lane */
	jobs_hold(serving[STAGE].loop, true);
	s = good(2, 3);
	bare_send_step(COORDINATOR, STAGE, &s);
	s = good(3, 3);
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, ACK), 1); /* nor is it acknowledged before it is taken up */
	bare_send_void(COORDINATOR, STAGE, "m", 2);
	serving_settle();
	jobs_hold(serving[STAGE].loop, false);
	serving_settle();
	ck_assert_uint_eq(compute_rows(), 3 * 2);
	ck_assert_uint_eq(bare_count(OTHER, STEP), 3);
	/* nobody but the coordinator says so */
	bare_send_void(OTHER, STAGE, "m", 4);
	bare_send_void(STRANGER, STAGE, "m", 4);
	s = good(4, 3);
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(compute_rows(), 6 * 2);
	serving_end();
}
END_TEST

/* The next stage acknowledges nothing: eight steps are sent, the others wait, and go one by one, in order. */
START_TEST(the_next_stage_is_busy) {
	begin(false);
	for (uint64_t i = 1; i <= 12; i++) {
		struct bare_step s = good(i, 1);
		bare_send_step(COORDINATOR, STAGE, &s);
	}
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, ACK), 12);
	ck_assert_uint_eq(bare_count(OTHER, STEP), 8);
	for (size_t i = 0; i < 4; i++) {
		bare_acknowledge(OTHER, serving[OTHER].got[i]);
		serving_settle();
		ck_assert_uint_eq(bare_count(OTHER, STEP), 9 + i);
	}
	for (uint64_t i = 0; i < 12; i++)
		ck_assert_uint_eq(serving[OTHER].got[i]->step, i + 1);
	/* the link goes: those that were sent and not acknowledged are lost, and the coordinator hears of each */
	network_lose(&serving[STAGE].keys.public, &serving[OTHER].keys.public, "a cable");
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, FAILED), 8);
	ck_assert(strstr(bare_last(COORDINATOR, FAILED)->text, "a cable"));
	ck_assert(!serving_broken("m"));
	serving_end();
}
END_TEST

/* It can tell nobody that a step is lost: then it says so to deploy. */
START_TEST(nobody_can_be_told) {
	begin(false);
	struct bare_step s = good(1, 1);
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	network_cut(&serving[STAGE].keys.public, &serving[COORDINATOR].keys.public, true);
	sim_for(20000);
	ck_assert(!peers_linked(serving[STAGE].peers, &serving[COORDINATOR].keys.public));
	ck_assert(!serving_broken("m"));
	network_lose(&serving[STAGE].keys.public, &serving[OTHER].keys.public, "a cable");
	sim_for(10);
	ck_assert(serving_broken("m"));
	ck_assert_uint_eq(bare_count(COORDINATOR, FAILED), 0);
	network_cut(&serving[STAGE].keys.public, &serving[COORDINATOR].keys.public, false);
	serving_end();
}
END_TEST

START_TEST(the_next_stage_refuses) {
	begin(false);
	struct bare_step s = good(1, 1);
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	peers_refuse(serving[OTHER].peers, &bare_last(OTHER, STEP)->from, "not under that plan");
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, FAILED), 1);
	ck_assert(bare_last(COORDINATOR, FAILED)->refused);
	ck_assert(strstr(bare_last(COORDINATOR, FAILED)->text, "not under that plan"));
	/* a refusal of what was never sent is nobody's */
	struct peers_from other = bare_last(OTHER, STEP)->from;
	other.ref += 1000;
	peers_refuse(serving[OTHER].peers, &other, "nonsense");
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, FAILED), 1);
	serving_end();
}
END_TEST

START_TEST(computing_fails) {
	begin(false);
	compute_fail(1, -EDOM);
	struct bare_step s = good(1, 1);
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, FAILED), 1);
	ck_assert_uint_eq(bare_count(COORDINATOR, ACK), 1);
	ck_assert_uint_eq(bare_count(OTHER, STEP), 0);
	jobs_refuse(1);
	s = good(2, 1);
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, FAILED), 2);
	ck_assert_uint_eq(bare_count(COORDINATOR, ACK), 2);
	serving_end();
}
END_TEST

/* There is no memory for the lane's word that it took a step up: it is acknowledged when it is done. */
START_TEST(acknowledged_late) {
	begin(false);
	sim_refuse_posts(1);
	for (uint64_t i = 1; i <= 2; i++) {
		struct bare_step s = good(i, 1);
		bare_send_step(COORDINATOR, STAGE, &s);
	}
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, ACK), 2);
	ck_assert_uint_eq(bare_count(OTHER, STEP), 2);
	serving_end();
}
END_TEST

/* Closed with steps at every place: on the lane, before it, behind it.  Nothing stays. */
START_TEST(it_ends_under_way) {
	begin(false);
	for (uint64_t i = 1; i <= 12; i++) {
		struct bare_step s = good(i, 1);
		bare_send_step(COORDINATOR, STAGE, &s);
	}
	for (int i = 0; i < 3 * _i; i++)
		sim_step();
	serving_unload("m");
	serving_settle();
	ck_assert_uint_eq(compute_open(), 0);
	ck_assert_uint_eq(jobs_open(), 0);
	size_t had = bare_count(OTHER, STEP);
	struct bare_step s = good(20, 1);
	bare_send_step(COORDINATOR, STAGE, &s);
	serving_settle();
	ck_assert_uint_eq(bare_count(OTHER, STEP), had);
	ck_assert(strstr(bare_last(COORDINATOR, REFUSED)->text, "does not serve stage 0"));
	serving_end();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("stage");
	TCase *t = tcase_create("steps");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, a_step_goes_on);
	tcase_add_test(t, outputs_go_back);
	tcase_add_test(t, numbers_only_rise);
	tcase_add_test(t, what_contradicts_itself);
	tcase_add_test(t, who_may_send);
	tcase_add_test(t, steps_that_nobody_wants);
	tcase_add_test(t, the_next_stage_is_busy);
	tcase_add_test(t, nobody_can_be_told);
	tcase_add_test(t, the_next_stage_refuses);
	tcase_add_test(t, computing_fails);
	tcase_add_test(t, acknowledged_late);
	tcase_add_loop_test(t, it_ends_under_way, 0, 20);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
