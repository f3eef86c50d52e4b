/* hop: credits. What is refused or acknowledged makes room for what waits, over real sockets. */
#include "config.h"

#include "daemon/serve/stage/downstream.h"
#include "tests/support/peer_nodes.h"
#include <check.h>

static struct hop *hop;
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
		hop_destroy(hop);
		hop = NULL;
	}
}

static void setup(void) {
	peer_setup();
	two_nodes();
	lost = 0;
	ends = false;
	ck_assert_int_eq(hop_create(&hop, nodes[0].peers, &nodes[1].keys.public, "two", on_lost, NULL), 0);
}

static void teardown(void) {
	hop_destroy(hop);
	hop = NULL;
	peer_teardown();
}

struct given {
	uint64_t number, ref;
};

static int give_hop(void *arg, Caravan__Envelope *env, struct payload *payload) {
	struct given *g = arg;
	int rc = hop_send(hop, g->number, env, payload, 0);
	g->ref = env->ref;
	return rc;
}

/* Gives a step to the hop; the number under which it went, 0 if it waits. */
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
	uint64_t ref[HOP_CREDITS];
	for (unsigned i = 0; i < HOP_CREDITS; i++)
		ck_assert((ref[i] = give(i + 1)) != 0);
	for (unsigned i = HOP_CREDITS; i < HOP_CREDITS + 4; i++)
		ck_assert_uint_eq(give(i + 1), 0);
	have_arrived(HOP_CREDITS);
	/* a refusal: the step is lost, and the first that waits goes, without anything else coming */
	ck_assert(hop_refused(hop, to, ref[2], "no such model"));
	ck_assert_uint_eq(lost, 1);
	ck_assert_uint_eq(lost_steps[0], 3);
	have_arrived(HOP_CREDITS + 1);
	ck_assert(hop_ack(hop, to, ref[0], 0));
	have_arrived(HOP_CREDITS + 2);
	/* neither twice, nor of another node */
	ck_assert(!hop_refused(hop, to, ref[2], "again") && !hop_ack(hop, to, ref[0], 0));
	ck_assert(!hop_refused(hop, &nodes[2].keys.public, ref[1], "another"));
	have_arrived(HOP_CREDITS + 2);
	/* what was sent and what waits, each once, in order */
	hop_link_lost(hop, to, "gone");
	ck_assert_uint_eq(lost, 1 + HOP_CREDITS + 2);
	for (unsigned i = 2; i < lost; i++)
		ck_assert_uint_gt(lost_steps[i], lost_steps[i - 1]);
	ck_assert_uint_eq(lost_steps[lost - 1], HOP_CREDITS + 4);
}
END_TEST

/* Whoever hears of a lost step may end the hop, with others waiting. */
START_TEST(ended_by_a_refusal) {
	uint64_t first = give(1);
	for (unsigned i = 1; i < HOP_CREDITS + 3; i++)
		give(i + 1);
	have_arrived(HOP_CREDITS);
	ends = true;
	ck_assert(hop_refused(hop, &nodes[1].keys.public, first, "no such model"));
	ck_assert_ptr_null(hop);
	ck_assert_uint_eq(lost, 1);
	have_arrived(HOP_CREDITS);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("hop");
	TCase *t = tcase_create("credits");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, credits);
	tcase_add_test(t, ended_by_a_refusal);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
