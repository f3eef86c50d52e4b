/* downstream: credits. What is refused or acknowledged makes room for what waits, over real sockets. */
#include "config.h"

#include "daemon/serve/stage/downstream.h"
#include "tests/support/peer_nodes.h"
#include <check.h>
#include <errno.h>

static struct downstream *downstream;
static uint64_t lost_steps[64];
static unsigned lost;
static bool ends; /* with the first step that is lost */

static unsigned refusals;

static void on_lost(void *arg, uint64_t step, bool refused, const char *why) {
	(void)arg;
	ck_assert_ptr_nonnull(why);
	refusals += refused;
	lost_steps[lost++] = step;
	if (ends) {
		downstream_destroy(downstream);
		downstream = NULL;
	}
}

static void setup(void) {
	peer_setup();
	two_nodes();
	lost = 0;
	ends = false;
	ck_assert_int_eq(
	        downstream_create(&downstream, nodes[0].peers, &nodes[1].keys.public, "two", on_lost, NULL),
	        0);
}

static void teardown(void) {
	downstream_destroy(downstream);
	downstream = NULL;
	peer_teardown();
}

struct given {
	uint64_t number, ref;
};

static int give_hop(void *arg, Caravan__Envelope *env, struct payload *payload) {
	struct given *g = arg;
	int rc = downstream_send(downstream, g->number, env, payload, 0);
	g->ref = env->ref;
	return rc;
}

/* Gives a step to the downstream; the number under which it went, 0 if it waits. */
static uint64_t give(uint64_t number) {
	struct given g = {.number = number};
	ck_assert_int_eq(make_step(&nodes[0], number, 16, give_hop, &g), 0);
	return g.ref;
}

static unsigned expected;
static bool arrived(void) {
	return nodes[1].steps == expected;
}

/* That so many have arrived, and no more. */
static void have_arrived(unsigned steps) {
	expected = steps;
	ck_assert(nodes_until(arrived, 5000));
	nodes_run(30);
	ck_assert_uint_eq(nodes[1].steps, steps);
	ck_assert(!nodes[1].disorder);
}

START_TEST(credits) {
	const struct node_id *to = &nodes[1].keys.public;
	uint64_t ref[DOWNSTREAM_CREDITS];
	for (unsigned i = 0; i < DOWNSTREAM_CREDITS; i++)
		ck_assert((ref[i] = give(i + 1)) != 0);
	for (unsigned i = DOWNSTREAM_CREDITS; i < DOWNSTREAM_CREDITS + 4; i++)
		ck_assert_uint_eq(give(i + 1), 0);
	have_arrived(DOWNSTREAM_CREDITS);
	/* a refusal: the step is lost, and the first that waits goes, without anything else coming */
	ck_assert(downstream_refused(downstream, to, ref[2], "no such model"));
	ck_assert_uint_eq(lost, 1);
	ck_assert_uint_eq(lost_steps[0], 3);
	have_arrived(DOWNSTREAM_CREDITS + 1);
	ck_assert(downstream_ack(downstream, to, ref[0], 0));
	have_arrived(DOWNSTREAM_CREDITS + 2);
	/* neither twice, nor of another node */
	ck_assert(!downstream_refused(downstream, to, ref[2], "again") &&
	          !downstream_ack(downstream, to, ref[0], 0));
	ck_assert(!downstream_refused(downstream, &nodes[2].keys.public, ref[1], "another"));
	have_arrived(DOWNSTREAM_CREDITS + 2);
	/* what was sent and what waits, each once, in order */
	downstream_link_lost(downstream, to, "gone");
	ck_assert_uint_eq(lost, 1 + DOWNSTREAM_CREDITS + 2);
	for (unsigned i = 2; i < lost; i++)
		ck_assert_uint_gt(lost_steps[i], lost_steps[i - 1]);
	ck_assert_uint_eq(lost_steps[lost - 1], DOWNSTREAM_CREDITS + 4);
}
END_TEST

static bool linkless(void) {
	return send_ping(&nodes[0], &nodes[1].keys.public, 1) == -ENOTCONN;
}

/* One that cannot be sent takes all with it that wait: order must hold. */
START_TEST(no_way_to_send) {
	uint64_t first = give(1);
	for (unsigned i = 1; i < DOWNSTREAM_CREDITS + 3; i++)
		give(i + 1);
	have_arrived(DOWNSTREAM_CREDITS);
	node_stop(&nodes[1]);
	ck_assert(nodes_until(linkless, 5000));
	ck_assert_uint_eq(lost, 0);
	ck_assert(downstream_ack(downstream, &nodes[1].keys.public, first, 0));
	ck_assert_uint_eq(lost, 3);
	for (unsigned i = 0; i < lost; i++)
		ck_assert_uint_eq(lost_steps[i], DOWNSTREAM_CREDITS + 1 + i);
}
END_TEST

/* Whoever hears of a lost step may end the downstream, with others waiting. */
START_TEST(ended_by_a_refusal) {
	uint64_t first = give(1);
	for (unsigned i = 1; i < DOWNSTREAM_CREDITS + 3; i++)
		give(i + 1);
	have_arrived(DOWNSTREAM_CREDITS);
	ends = true;
	ck_assert(downstream_refused(downstream, &nodes[1].keys.public, first, "no such model"));
	ck_assert_ptr_null(downstream);
	ck_assert_uint_eq(lost, 1);
	have_arrived(DOWNSTREAM_CREDITS);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("downstream");
	TCase *t = tcase_create("credits");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, credits);
	tcase_add_test(t, no_way_to_send);
	tcase_add_test(t, ended_by_a_refusal);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
