/* slow: stages, figures and links that are out of the ordinary are told, with a sentence; others are not. */
#include "daemon/calibration/slowness.h"
#include "daemon/members/link_probe.h"
#include "tests/support/nodes.h"
#include <check.h>
#include <string.h>
#include <time.h>

static Caravan__Plan plan;
static Caravan__Stage stage, *stages[] = {&stage};
static Caravan__StageState state;
static Caravan__NodeState node;

static void setup(void) {
	caravan__plan__init(&plan);
	caravan__stage__init(&stage);
	caravan__stage_state__init(&state);
	caravan__node_state__init(&node);
	plan.model = state.model = "stories";
	plan.stages = stages;
	plan.n_stages = 1;
	stage.last = state.last = 8;
	stage.seconds = 0.05;
	state.single_rows = 100;
	state.single_seconds = 5.5;
	state.usual_seconds = 0.055;
	state.lately_seconds = 0.06;
}

START_TEST(a_stage_is_held_against_itself_and_the_plan) {
	struct health_problem s;
	ck_assert(!slowness_stage(&s, &plan, 0, NULL, &node, "kitchen"));
	ck_assert(!slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	state.lately_seconds = 0.44;
	ck_assert(slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	ck_assert_str_eq(s.kind, "slow-stage");
	ck_assert_ptr_nonnull(strstr(s.what, "kitchen is 8 times slower than usual: layers 0-7 of stories"));
	ck_assert_str_ne(s.advice, "");
	/* nothing was computed lately; nothing is usual yet; a moment more is none */
	state.lately_seconds = 0;
	ck_assert(!slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	state.lately_seconds = 0.44;
	state.usual_seconds = 0;
	ck_assert(!slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	state.usual_seconds = stage.seconds = 0.0001;
	state.lately_seconds = 0.004;
	ck_assert(!slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	/* the prediction: 52 times what it is */
	state.lately_seconds = 0;
	state.usual_seconds = 0.055;
	stage.seconds = 0.055 * 52;
	node.measuring = true;
	ck_assert(slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	ck_assert_str_eq(s.kind, "prediction-off");
	ck_assert_ptr_nonnull(strstr(s.what,
	        "The prediction for kitchen is off by a factor of 52, to be measured again when idle"));
	ck_assert_str_eq(s.advice, "");
	node.measuring = false;
	ck_assert(slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	ck_assert_ptr_nonnull(strstr(s.advice, "caravan unload stories"));
	/* three times is off, for more weights than any cache has */
	stage.seconds = 0.055 * 3;
	ck_assert(!slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	state.weight_bytes = 2ull << 30;
	ck_assert(slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	/* and a part of what it is */
	stage.seconds = 0.055 / 8;
	ck_assert(slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	ck_assert_ptr_nonnull(strstr(s.what, "The prediction for kitchen is off by a factor of 8"));
	ck_assert_ptr_nonnull(strstr(s.advice, "busy"));
	/* from disk nobody knows; nobody predicted anything; too few rows */
	stage.streamed = 1;
	ck_assert(!slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	stage.streamed = 0;
	state.single_rows = 3;
	ck_assert(!slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	state.single_rows = 100;
	stage.seconds = 0;
	ck_assert(!slowness_stage(&s, &plan, 0, &state, &node, "kitchen"));
	/* names may be as long as they like */
	char name[WIRE_NAME_MAX + 1], model[WIRE_NAME_MAX + 1];
	memset(name, 'n', WIRE_NAME_MAX);
	memset(model, 'm', WIRE_NAME_MAX);
	name[WIRE_NAME_MAX] = model[WIRE_NAME_MAX] = '\0';
	plan.model = state.model = model;
	stage.seconds = 1e9;
	ck_assert(slowness_stage(&s, &plan, 0, &state, &node, name));
	ck_assert_ptr_nonnull(strstr(s.what, "predicted"));
	ck_assert_ptr_nonnull(strstr(s.advice, "make a plan with them"));
}
END_TEST

START_TEST(figures_of_a_busy_machine_are_told) {
	struct health_problem s;
	ck_assert(!slowness_calibration(&s, &node, "kitchen"));
	ck_assert(!slowness_calibration(&s, NULL, "kitchen"));
	node.disturbed = true;
	node.lost = 0.42;
	ck_assert(slowness_calibration(&s, &node, "kitchen"));
	ck_assert_str_eq(s.kind, "measured-busy");
	ck_assert_ptr_nonnull(
	        strstr(s.what, "kitchen was measured while other programs used 42% of its processors"));
	ck_assert_ptr_nonnull(strstr(s.advice, "caravan measure kitchen"));
}
END_TEST

START_TEST(a_link_is_slow_only_where_it_was_quicker) {
	static const struct {
		double rate, best;
		bool slow;
	} links[] = {{100, 0, false}, {100, 100, false}, {0, 100, false}, {100, 1000, true}};
	for (size_t i = 0; i < sizeof links / sizeof *links; i++) {
		Caravan__PeerState p = CARAVAN__PEER_STATE__INIT;
		struct health_problem s;
		p.rate = links[i].rate;
		p.slow_best = links[i].best;
		ck_assert_int_eq(slowness_link(&s, &p, "study", "kitchen"), links[i].slow);
	}
}
END_TEST

/* ---- links, between two nodes in this process ----------------------------------------------------------- */

static bool computing; /* on the node that asks */

static bool computes(void *arg) {
	(void)arg;
	return computing;
}

static bool rests(void *arg) {
	(void)arg;
	return false;
}

static const struct member *peer(void) {
	return members_named(nodes[0].members, nodes[1].name);
}

static bool has_rate(void *arg) {
	(void)arg;
	return peer()->rate > 0;
}

static bool is_slow(void *arg) {
	(void)arg;
	return peer()->rate_slow >= MEMBERS_SLOW_PROBES;
}

static const Caravan__PeerState *told(void) {
	const Caravan__NodeState *s = members_self(nodes[0].members)->state;
	return s && s->n_peers == 1 ? s->peers[0] : NULL;
}

static bool tells(void *arg) {
	(void)arg;
	return told() && told()->slow_best > 0;
}

START_TEST(a_link_that_carries_a_tenth_of_what_it_did_is_found_out) {
	struct link_probe *asks, *answers;
	struct health_problem s;
	nodes_setup();
	nodes_cluster(2);
	computing = false;
	ck_assert_int_eq(link_probe_create(&answers, loop, nodes[1].members, 0, rests, NULL), 0);
	ck_assert_int_eq(link_probe_create(&asks, loop, nodes[0].members, 50, computes, NULL), 0);
	ck_assert(nodes_wait(has_rate, NULL, 60000));
	ck_assert_uint_eq(peer()->rate_slow, 0);
	ck_assert(!tells(NULL));
	/* as if it had been a thousand TB/s, once, and was next to nothing when it was last measured.  Checks say otherwise, but
	 * while the node computes no more is asked than says that it is not slow */
	computing = true;
	members_set_rate(nodes[0].members, &peer()->id, 1e15);
	members_set_rate(nodes[0].members, &peer()->id, 1);
	ck_assert_uint_eq(peer()->rate_slow, 1);
	nodes_run(3000);
	ck_assert_double_eq(peer()->rate, 1);
	ck_assert(!tells(NULL)); /* once is a moment of another program's */
	computing = false;
	ck_assert(nodes_wait(is_slow, NULL, 60000));
	ck_assert_double_gt(peer()->rate, 1e3);
	ck_assert(nodes_wait(tells, NULL, 60000));
	ck_assert(slowness_link(&s, told(), "study", "kitchen"));
	ck_assert_str_eq(s.kind, "slow-link");
	ck_assert_ptr_nonnull(strstr(s.what, "The link from study to kitchen carries "));
	ck_assert_double_lt(peer()->rate, 1e12); /* and plans go by what it is */
	link_probe_destroy(asks);
	link_probe_destroy(answers);
	nodes_teardown();
}
END_TEST

/* ---- links of busy nodes -------------------------------------------------------------------------------- */

/* With the slack that waiting has, less than the minute that nodes once waited after a refusal. */
#define SOON_MS 10000

static bool all_have_rates(void *arg) {
	(void)arg;
	for (int i = 0; i < NODES_MAX; i++)
		for (int k = 0; k < NODES_MAX; k++)
			if (i != k && !(members_find(nodes[i].members, &nodes[k].keys.public)->rate > 0))
				return false;
	return true;
}

START_TEST(all_nodes_may_measure_their_links_at_once) {
	struct link_probe *links[NODES_MAX];
	nodes_setup();
	nodes_cluster(NODES_MAX);
	for (int i = 0; i < NODES_MAX; i++)
		ck_assert_int_eq(link_probe_create(&links[i], loop, nodes[i].members, 0, rests, NULL), 0);
	ck_assert(nodes_wait(all_have_rates, NULL, SOON_MS));
	for (int i = 0; i < NODES_MAX; i++)
		link_probe_destroy(links[i]);
	nodes_teardown();
}
END_TEST

/* What node 1 was asked for, and how it answers. */
static struct {
	unsigned probes, small; /* all, and those of LINK_PROBE_CHECK_BYTES */
	uint32_t most;
	unsigned refuses; /* so many of the next */
	bool far;         /* whatever is asked takes a while */
	bool blind;       /* tells node 0 that it cannot be reached */
} asked;

static void on_probe(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct peers *p = arg;
	Caravan__Probed probed = CARAVAN__PROBED__INIT;
	Caravan__Envelope answer = WIRE_ENVELOPE(PROBED, probed, &probed);
	uint32_t bytes = env->probe->bytes;
	(void)payload;
	asked.probes++;
	asked.small += bytes == LINK_PROBE_CHECK_BYTES;
	asked.most = bytes > asked.most ? bytes : asked.most;
	if (asked.refuses > 0) {
		asked.refuses--;
		ck_assert_int_eq(peers_refuse(p, from, "too much is being asked for"), 0);
		return;
	}
	if (asked.far)
		nanosleep(&(struct timespec){.tv_nsec = 150000000}, NULL);
	else if (bytes == LINK_PROBE_CHECK_BYTES && asked.small == 1) /* another program has the processor */
		nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
	struct payload *data = bytes ? payload_create(bytes) : NULL;
	if (data)
		memset(payload_data(data), 0, bytes);
	ck_assert_int_eq(peers_answer(p, from, &answer, data), 0);
	payload_unref(data);
}

static void on_ping(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	Caravan__Pong pong = CARAVAN__PONG__INIT;
	Caravan__Envelope answer = WIRE_ENVELOPE(PONG, pong, &pong);
	(void)payload;
	if (!asked.blind)
		return;
	pong.time = env->ping->time;
	pong.reach = CARAVAN__REACH__REACH_NONE;
	pong.why = "tcp://192.0.2.1:1: nobody listens there";
	peers_answer(arg, from, &answer, NULL);
}

static struct link_probe *asks_one_that_counts(void) {
	struct link_probe *asks;
	nodes_setup();
	nodes_cluster(2);
	memset(&asked, 0, sizeof asked);
	computing = false;
	struct peers *p = members_peers(nodes[1].members);
	ck_assert_int_eq(peers_on(p, CARAVAN__ENVELOPE__BODY_PROBE, on_probe, p), 0);
	ck_assert_int_eq(peers_on(p, CARAVAN__ENVELOPE__BODY_PING, on_ping, p), 0);
	ck_assert_int_eq(link_probe_create(&asks, loop, nodes[0].members, 0, computes, NULL), 0);
	return asks;
}

START_TEST(what_was_refused_is_asked_again_soon) {
	struct link_probe *asks = asks_one_that_counts();
	asked.refuses = 2;
	ck_assert(nodes_wait(has_rate, NULL, SOON_MS));
	ck_assert_uint_eq(asked.refuses, 0);
	link_probe_destroy(asks);
	nodes_teardown();
}
END_TEST

START_TEST(one_late_answer_makes_no_link_slow) {
	struct link_probe *asks = asks_one_that_counts();
	ck_assert(nodes_wait(has_rate, NULL, SOON_MS));
	ck_assert_uint_ge(asked.small, 2);
	ck_assert_double_gt(peer()->rate, LINK_PROBE_CHECK_BYTES / 0.3);
	link_probe_destroy(asks);
	nodes_teardown();
}
END_TEST

START_TEST(a_way_that_is_long_is_not_slow_for_that) {
	struct link_probe *asks = asks_one_that_counts();
	asked.far = true;
	ck_assert(nodes_wait(has_rate, NULL, SOON_MS));
	ck_assert_uint_gt(asked.most, LINK_PROBE_CHECK_BYTES);
	link_probe_destroy(asks);
	nodes_teardown();
}
END_TEST

START_TEST(a_node_that_computes_measures_a_link_that_it_does_not_know) {
	struct link_probe *asks = asks_one_that_counts();
	computing = true;
	ck_assert(nodes_wait(has_rate, NULL, SOON_MS));
	ck_assert_uint_le(asked.most, 256u << 10);
	link_probe_destroy(asks);
	nodes_teardown();
}
END_TEST

static bool is_down(void *arg) {
	(void)arg;
	return !peer()->up;
}

static bool is_up(void *arg) {
	(void)arg;
	return peer()->up;
}

/* The link has been there all the time. */
START_TEST(a_node_that_did_not_reach_us_for_a_moment_keeps_its_rate) {
	struct link_probe *asks = asks_one_that_counts();
	ck_assert(nodes_wait(has_rate, NULL, SOON_MS));
	unsigned probes = asked.probes;
	asked.blind = true;
	ck_assert(nodes_wait(is_down, NULL, SOON_MS));
	asked.blind = false;
	ck_assert(nodes_wait(is_up, NULL, SOON_MS));
	ck_assert_double_gt(peer()->rate, 0);
	ck_assert_uint_eq(asked.probes, probes);
	link_probe_destroy(asks);
	nodes_teardown();
}
END_TEST

static bool is_asked_more(void *arg) {
	return asked.probes > *(unsigned *)arg;
}

START_TEST(a_new_link_is_measured_anew) {
	struct link_probe *asks = asks_one_that_counts();
	ck_assert(nodes_wait(has_rate, NULL, SOON_MS));
	unsigned probes = asked.probes;
	peers_drop(members_peers(nodes[0].members), &nodes[1].keys.public, "the wire is cut");
	ck_assert(nodes_wait(is_asked_more, &probes, SOON_MS));
	link_probe_destroy(asks);
	nodes_teardown();
}
END_TEST

static unsigned refusals;

static void on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	(void)arg;
	(void)from;
	(void)payload;
	ck_assert_str_eq(env->refused->reason, "too many requests at once");
	refusals++;
}

static bool one_is_refused(void *arg) {
	(void)arg;
	return refusals > 0;
}

START_TEST(more_than_queues_may_hold_is_not_sent) {
	struct link_probe *answers;
	nodes_setup();
	nodes_cluster(2);
	struct peers *p = members_peers(nodes[1].members);
	ck_assert_int_eq(link_probe_create(&answers, loop, nodes[0].members, 0, rests, NULL), 0);
	ck_assert_int_eq(peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, on_refused, NULL), 0);
	for (int i = 0; i < 100; i++) {
		Caravan__Probe probe = CARAVAN__PROBE__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(PROBE, probe, &probe);
		probe.bytes = WIRE_PAYLOAD_MAX;
		env.ref = peers_ref(p);
		ck_assert_int_eq(peers_send(p, &nodes[0].keys.public, PEERS_BULK, &env, NULL), 0);
	}
	ck_assert(nodes_wait(one_is_refused, NULL, 2500));
	link_probe_destroy(answers);
	nodes_teardown();
}
END_TEST

START_TEST(a_link_that_loses_much) {
	struct health_problem s;
	Caravan__PeerState p = CARAVAN__PEER_STATE__INIT;
	ck_assert(!slowness_loss(&s, &p, "alpha", "beta"));
	p.lost = 0.9 * LOST_SHARE;
	ck_assert(!slowness_loss(&s, &p, "alpha", "beta"));
	p.lost = 0.0321;
	ck_assert(slowness_loss(&s, &p, "alpha", "beta"));
	ck_assert_str_eq(s.kind, "lossy-link");
	ck_assert_str_eq(s.what, "3.2% of what alpha sends to beta gets lost on the way.");
	ck_assert_ptr_nonnull(strstr(s.advice, "the cable and its plugs"));
	p.lost = 0.141;
	ck_assert(slowness_loss(&s, &p, "alpha", "beta"));
	ck_assert_str_eq(s.what, "14% of what alpha sends to beta gets lost on the way.");
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("slow");
	TCase *t = tcase_create("slow");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, a_stage_is_held_against_itself_and_the_plan);
	tcase_add_test(t, figures_of_a_busy_machine_are_told);
	tcase_add_test(t, a_link_is_slow_only_where_it_was_quicker);
	tcase_add_test(t, a_link_that_loses_much);
	tcase_add_test(t, a_link_that_carries_a_tenth_of_what_it_did_is_found_out);
	tcase_add_test(t, all_nodes_may_measure_their_links_at_once);
	tcase_add_test(t, what_was_refused_is_asked_again_soon);
	tcase_add_test(t, one_late_answer_makes_no_link_slow);
	tcase_add_test(t, a_way_that_is_long_is_not_slow_for_that);
	tcase_add_test(t, a_node_that_computes_measures_a_link_that_it_does_not_know);
	tcase_add_test(t, a_node_that_did_not_reach_us_for_a_moment_keeps_its_rate);
	tcase_add_test(t, a_new_link_is_measured_anew);
	tcase_add_test(t, more_than_queues_may_hold_is_not_sent);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
