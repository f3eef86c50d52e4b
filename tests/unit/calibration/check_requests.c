/* Requests to measure, of this node and of others, on virtual time; the test says what measuring does. */
#include "daemon/calibration/calibrate_request.h"
#include "tests/sim/clock.h"
#include "tests/sim/network.h"
#include "tests/sim/payloads.h"
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 3, WAITING = 8 };

/* ---- what stands for measuring ---- */

struct calibration {
	bool fresh;
	const char *busy;
	double read;
	int runs; /* that were asked for */
	struct {
		void (*done)(void *arg, const char *error);
		void *arg;
	} waiting[WAITING];
	int n;
};

int calibrate_now(struct calibration *m, void (*done)(void *arg, const char *error), void *arg) {
	m->runs++;
	if (m->n == WAITING)
		return -EBUSY;
	m->waiting[m->n].done = done;
	m->waiting[m->n++].arg = arg;
	return 0;
}

bool calibrate_fresh(const struct calibration *m, uint64_t ms) {
	return m->fresh && ms == 60000;
}

unsigned calibrate_threads(const struct calibration *m) {
	(void)m;
	return 4;
}

const char *calibrate_waits(const struct calibration *m) {
	return m->busy;
}

void calibrate_fill(struct calibration *m, Caravan__NodeState *out) {
	out->read_bandwidth = m->read;
}

void calibrate_fill_ways(struct calibration *m, Caravan__NodeState *out) {
	static Caravan__WayState way = CARAVAN__WAY_STATE__INIT, *ways[] = {&way};
	way.type = KERN_Q4_0;
	way.way = wire_string("another way");
	way.gain = 1.25;
	out->ways = ways;
	out->n_ways = 1;
}

static void measured(struct calibration *m, const char *error) {
	while (m->n > 0) {
		m->n--;
		m->waiting[m->n].done(m->waiting[m->n].arg, error);
	}
}

/* ---- nodes ---- */

static struct node {
	struct loop *loop;
	struct keys keys;
	struct members *members;
	struct calibration calibration;
	struct calibrate_requests *requests;
	char name[16];
} nodes[NODES];

static void joined(void *arg, const char *error) {
	(void)arg;
	ck_assert_ptr_null(error);
}

static bool all_up(void *arg) {
	(void)arg;
	for (int i = 0; i < NODES; i++)
		for (int k = 0; k < NODES; k++) {
			const struct member *m = members_find(nodes[i].members, &nodes[k].keys.public);
			if (!m || !m->up)
				return false;
		}
	return true;
}

/* The first of them measure on request. */
static void cluster(int measuring) {
	char err[300] = "", *token;
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	sim_begin(0);
	network_begin();
	memset(nodes, 0, sizeof nodes);
	for (int i = 0; i < NODES; i++) {
		struct node *n = &nodes[i];
		snprintf(n->name, sizeof n->name, "n%d", i);
		n->calibration.read = 100 + i;
		ck_assert_int_eq(keys_generate(&n->keys), 0);
		ck_assert_int_eq(loop_create(&n->loop), 0);
		const struct members_config c = {
		        .loop = n->loop, .keys = &n->keys, .name = n->name, .listen = "tcp://10.0.0.1:*"};
		ck_assert_msg(members_create(&n->members, &c, err, sizeof err) == 0, "%s", err);
		if (i < measuring)
			ck_assert_int_eq(
			        calibrate_requests_create(&n->requests, n->loop, n->members, &n->calibration),
			        0);
		if (i == 0)
			continue;
		ck_assert_int_eq(members_invite(nodes[0].members, 600, &token, err, sizeof err), 0);
		ck_assert_int_eq(members_join(n->members, token, joined, NULL, err, sizeof err), 0);
		free(token);
		sim_for(10000);
	}
	ck_assert(sim_until(all_up, NULL, 10000));
}

static void setup(void) {
	cluster(NODES);
}

static void setup_two(void) {
	cluster(2);
}

static void teardown(void) {
	for (int i = 0; i < NODES; i++) {
		calibrate_requests_destroy(nodes[i].requests);
		members_destroy(nodes[i].members);
		loop_destroy(nodes[i].loop);
	}
	ck_assert_uint_eq(payloads_open(), 0);
	network_end();
	sim_end();
}

struct answer {
	unsigned notes, ends;
	char note[300], error[300], node[16];
	double read;
};

static void on_note(void *arg, const char *text) {
	struct answer *a = arg;
	a->notes++;
	snprintf(a->note, sizeof a->note, "%s", text);
}

static void on_done(void *arg, const char *node, const Caravan__NodeState *state, const char *error) {
	struct answer *a = arg;
	a->ends++;
	a->read = state ? state->read_bandwidth : 0;
	if (state) { /* with the ways that were chosen */
		ck_assert_uint_eq(state->n_ways, 1);
		ck_assert_str_eq(state->ways[0]->way, "another way");
		ck_assert_double_eq(state->ways[0]->gain, 1.25);
	}
	snprintf(a->node, sizeof a->node, "%s", node);
	snprintf(a->error, sizeof a->error, "%s", error ? error : "");
}

static void ask(int i, const char *node, struct answer *a) {
	char err[300] = "";
	memset(a, 0, sizeof *a);
	ck_assert_msg(calibrate_request(nodes[i].requests, node,
	                      &(struct calibrate_request){on_note, on_done, a}, err, sizeof err) == 0,
	        "%s", err);
	sim_for(100);
}

/* ---- tests ---- */

START_TEST(who_asks_hears_why_it_waits_and_what_was_measured) {
	struct answer a, own;
	nodes[1].calibration.busy = "it is serving";
	ask(0, "n1", &a);
	ask(1, "", &own);
	ck_assert_int_eq(nodes[1].calibration.runs, 2);
	sim_for(10000);
	ck_assert_uint_eq(a.notes, 1);
	ck_assert_str_eq(a.note, "it is serving: waiting, half a minute at most");
	ck_assert_str_eq(own.note, a.note);
	nodes[1].calibration.busy = NULL;
	sim_for(3000);
	ck_assert_uint_eq(a.notes, 2);
	ck_assert_str_eq(a.note, "measuring");
	ck_assert_uint_eq(a.ends + own.ends, 0);
	measured(&nodes[1].calibration, NULL);
	sim_for(100);
	ck_assert(a.ends == 1 && own.ends == 1 && a.read == 101 && own.read == 101);
	ck_assert_str_eq(a.node, "n1");
	ck_assert_str_eq(a.error, "");
	/* and why it was not */
	ask(0, "n1", &a);
	measured(&nodes[1].calibration, "it was serving all the time");
	sim_for(100);
	ck_assert_uint_eq(a.ends, 1);
	ck_assert_str_eq(a.error, "it was serving all the time");
	char err[300] = "";
	ck_assert_int_eq(calibrate_request(nodes[0].requests, "nobody",
	                         &(struct calibrate_request){on_note, on_done, &a}, err, sizeof err),
	        -ENOENT);
	ck_assert_str_eq(err, "there is no node nobody");
}
END_TEST

START_TEST(others_get_what_was_measured_lately) {
	struct answer a;
	nodes[1].calibration.fresh = true;
	ask(0, "n1", &a);
	ck_assert(a.ends == 1 && a.read == 101);
	ck_assert_int_eq(nodes[1].calibration.runs, 0);
	ask(1, "", &a); /* its own commands get a new run */
	ck_assert_uint_eq(a.ends, 0);
	ck_assert_int_eq(nodes[1].calibration.runs, 1);
}
END_TEST

START_TEST(two_requests_of_another_wait_and_any_number_of_our_own) {
	struct answer a[6], other;
	for (int i = 0; i < 3; i++)
		ask(0, "n1", &a[i]);
	ask(2, "n1", &other);
	for (int i = 3; i < 6; i++)
		ask(1, "n1", &a[i]);
	for (int i = 0; i < 6; i++)
		ck_assert_uint_eq(a[i].ends, i == 2);
	ck_assert_str_eq(a[2].error, "this node has already asked for it and must wait");
	ck_assert_uint_eq(other.ends, 0);
	ck_assert_int_eq(nodes[1].calibration.runs, 6);
	measured(&nodes[1].calibration, NULL);
	sim_for(100);
	for (int i = 0; i < 6; i++)
		ck_assert_uint_eq(a[i].ends, 1);
	/* and then again */
	ask(0, "n1", &a[0]);
	ck_assert_uint_eq(a[0].ends, 0);
	/* until there is no room */
	for (int i = 0; i < WAITING - 1; i++)
		ask(1, "", &a[1]);
	ask(2, "n1", &other);
	ck_assert_str_eq(other.error, "too many nodes have already asked for it");
}
END_TEST

static enum network_verdict drop_answers(void *arg, const struct node_id *from, const struct node_id *to,
        const Caravan__Envelope *env, const struct payload *payload) {
	(void)arg;
	(void)from;
	(void)to;
	(void)payload;
	return env->body_case == CARAVAN__ENVELOPE__BODY_PROGRESS ? NETWORK_DROP : NETWORK_PASS;
}

START_TEST(who_says_nothing_has_forgotten_it) {
	struct answer a, other;
	ask(0, "n1", &a);
	sim_for(100000); /* as long as it says that it measures */
	ck_assert_uint_eq(a.ends, 0);
	ask(0, "n2", &other);
	network_watch(drop_answers, NULL);
	sim_for(28000);
	ck_assert_uint_eq(a.ends + other.ends, 0);
	sim_for(5000);
	ck_assert(a.ends == 1 && other.ends == 1);
	ck_assert_str_eq(a.error, "it does not answer");
	network_watch(NULL, NULL);
}
END_TEST

START_TEST(a_lost_link_ends_what_was_asked_over_it) {
	struct answer a, other;
	ask(0, "n1", &a);
	ask(0, "n2", &other);
	network_lose(&nodes[0].keys.public, &nodes[1].keys.public, "the wire is cut");
	sim_for(100);
	ck_assert(a.ends == 1 && other.ends == 0);
	ck_assert_str_eq(a.error, "the link to it was lost: the wire is cut");
}
END_TEST

static uint64_t asked_of_first;
static unsigned forged;

static enum network_verdict note_ref(void *arg, const struct node_id *from, const struct node_id *to,
        const Caravan__Envelope *env, const struct payload *payload) {
	(void)arg;
	(void)from;
	(void)payload;
	if (env->body_case == CARAVAN__ENVELOPE__BODY_MEASURE && node_id_equal(to, &nodes[1].keys.public))
		asked_of_first = env->ref;
	return NETWORK_PASS;
}

static void answer_for_another(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	Caravan__NodeState state = CARAVAN__NODE_STATE__INIT;
	Caravan__Measured msg = CARAVAN__MEASURED__INIT;
	Caravan__Envelope answer = WIRE_ENVELOPE(MEASURED, measured, &msg);
	struct peers_from other = *from;
	(void)env;
	(void)payload;
	state.read_bandwidth = 1e9;
	state.threads = 1;
	msg.state = &state;
	other.ref = asked_of_first;
	forged++;
	ck_assert_int_eq(peers_answer(arg, &other, &answer, NULL), 0);
}

START_TEST(nobody_answers_for_another) {
	struct answer a, other;
	struct peers *p = members_peers(nodes[2].members);
	ck_assert_int_eq(peers_on(p, CARAVAN__ENVELOPE__BODY_MEASURE, answer_for_another, p), 0);
	network_watch(note_ref, NULL);
	ask(0, "n1", &a);
	ck_assert_uint_ne(asked_of_first, 0);
	ask(0, "n2", &other);
	ck_assert_uint_eq(forged, 1);
	ck_assert_uint_eq(a.ends + other.ends, 0);
	measured(&nodes[1].calibration, NULL);
	sim_for(100);
	ck_assert(a.ends == 1 && a.read == 101);
	network_watch(NULL, NULL);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("requests to measure");
	TCase *t = tcase_create("requests");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, who_asks_hears_why_it_waits_and_what_was_measured);
	tcase_add_test(t, others_get_what_was_measured_lately);
	tcase_add_test(t, two_requests_of_another_wait_and_any_number_of_our_own);
	tcase_add_test(t, who_says_nothing_has_forgotten_it);
	tcase_add_test(t, a_lost_link_ends_what_was_asked_over_it);
	suite_add_tcase(s, t);
	t = tcase_create("liars");
	tcase_add_checked_fixture(t, setup_two, teardown);
	tcase_add_test(t, nobody_answers_for_another);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
