/* Members on virtual time: whole clusters that form, and nodes that stop, are cut off, end and come back.  Seconds of silence cost
 * nothing here, so it is asserted when a node is given up, and that nobody is given up before. */
#include "daemon/members/members_internal.h"
#include "tests/sim/clock.h"
#include "tests/sim/network.h"
#include "tests/sim/payloads.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NODES = 5 };

static struct node {
	struct loop *loop; /* NULL: it does not run */
	struct keys keys;
	struct members *members;
	char name[16];
} nodes[NODES];

static char outcome[300];

static void joined(void *arg, const char *error) {
	(void)arg;
	snprintf(outcome, sizeof outcome, "%s", error ? error : "");
}

static void start(struct node *n) {
	char err[300] = "";
	const struct members_config c = {.keys = &n->keys, .name = n->name, .listen = "tcp://10.0.0.1:*"};
	struct members_config config = c;
	ck_assert_int_eq(loop_create(&n->loop), 0);
	config.loop = n->loop;
	ck_assert_msg(members_create(&n->members, &config, err, sizeof err) == 0, "%s", err);
}

static void stop(struct node *n) {
	if (!n->loop)
		return;
	members_destroy(n->members);
	loop_destroy(n->loop);
	n->loop = NULL;
	n->members = NULL;
}

static const struct member *seen_by(int i, int whom) {
	return members_find(nodes[i].members, &nodes[whom].keys.public);
}

static bool is_up(int i, int whom) {
	const struct member *m = seen_by(i, whom);
	return m && m->up;
}

static bool all_up(void *arg) {
	int n = *(int *)arg;
	for (int i = 0; i < n; i++)
		for (int k = 0; k < n; k++)
			if (nodes[i].loop && nodes[k].loop && !is_up(i, k))
				return false;
	return true;
}

/* A cluster of n: every one joins at the one before it. */
static void cluster(int n, uint64_t seed) {
	char err[300], *token;
	sim_begin(seed);
	network_begin();
	memset(nodes, 0, sizeof nodes);
	for (int i = 0; i < n; i++) {
		snprintf(nodes[i].name, sizeof nodes[i].name, "n%d", i);
		ck_assert_int_eq(keys_generate(&nodes[i].keys), 0);
		start(&nodes[i]);
		if (i == 0)
			continue;
		ck_assert_int_eq(members_invite(nodes[i - 1].members, 600, &token, err, sizeof err), 0);
		snprintf(outcome, sizeof outcome, "nothing yet");
		ck_assert_int_eq(members_join(nodes[i].members, token, joined, NULL, err, sizeof err), 0);
		sim_for(10000);
		ck_assert_str_eq(outcome, "");
		free(token);
	}
	ck_assert(sim_until(all_up, &n, 10000));
}

static void teardown(void) {
	for (int i = 0; i < NODES; i++)
		stop(&nodes[i]);
	ck_assert_uint_eq(payloads_open(), 0);
	ck_assert_uint_eq(network_under_way(), 0);
	network_end();
	sim_end();
}

START_TEST(a_cluster_forms) {
	cluster(NODES, (uint64_t)_i);
	for (int i = 0; i < NODES; i++)
		for (int k = 0; k < NODES; k++)
			ck_assert_str_eq(seen_by(i, k)->name, nodes[k].name);
	sim_for(300000); /* in which nothing happens */
	int n = NODES;
	ck_assert(all_up(&n));
}
END_TEST

static uint64_t trace(uint64_t seed) {
	cluster(3, seed);
	sim_for(10000);
	uint64_t hash = sim_events() * 31 + network_delivered();
	for (int i = 0; i < 3; i++)
		for (size_t k = 0; k < sizeof nodes[i].keys.public.b; k++)
			hash = hash * 31 + nodes[i].keys.public.b[k];
	teardown();
	return hash;
}

START_TEST(the_same_seed_is_the_same_run) {
	uint64_t first = trace(7);
	ck_assert_uint_eq(trace(7), first);
	ck_assert_uint_ne(trace(8), first);
	memset(nodes, 0, sizeof nodes);
}
END_TEST

/* Its machine goes on and acknowledges what is sent; the process says nothing. */
START_TEST(a_silent_node_is_given_up) {
	int n = 3;
	cluster(n, (uint64_t)_i);
	sim_hold(nodes[1].loop, true);
	sim_for(MEMBERS_SILENT_MS - 1000);
	ck_assert(is_up(0, 1) && is_up(2, 1));
	sim_for(3000);
	ck_assert(!is_up(0, 1) && !is_up(2, 1));
	ck_assert(is_up(0, 2) && is_up(2, 0));
	sim_for(600000);
	ck_assert(!is_up(0, 1) && !is_up(2, 1));
	sim_hold(nodes[1].loop, false);
	ck_assert(sim_until(all_up, &n, 20000));
}
END_TEST

/* Silent for less than that, again and again: nobody gives it up. */
START_TEST(a_slow_node_is_kept) {
	cluster(3, (uint64_t)_i);
	for (int round = 0; round < 20; round++) {
		sim_hold(nodes[1].loop, true);
		sim_for(MEMBERS_SILENT_MS - 2000);
		ck_assert(is_up(0, 1) && is_up(2, 1));
		sim_hold(nodes[1].loop, false);
		sim_for(2000);
		ck_assert(is_up(0, 1) && is_up(2, 1) && is_up(1, 0) && is_up(1, 2));
	}
}
END_TEST

/* _i: both ways, or one alone: both sides know it in the end, and nobody else is concerned. */
START_TEST(a_cut) {
	int n = 3;
	const struct node_id *a, *b;
	cluster(n, 0);
	a = &nodes[0].keys.public;
	b = &nodes[1].keys.public;
	network_cut(a, b, _i != 1);
	network_cut(b, a, _i != 2);
	sim_for(20000);
	ck_assert(!is_up(0, 1) && !is_up(1, 0));
	ck_assert(is_up(0, 2) && is_up(1, 2) && is_up(2, 0) && is_up(2, 1));
	sim_for(600000);
	ck_assert(!is_up(0, 1) && !is_up(1, 0));
	network_cut(a, b, false);
	network_cut(b, a, false);
	ck_assert(sim_until(all_up, &n, 20000));
}
END_TEST

/* It ends, and another process takes its place, with its key and elsewhere. */
START_TEST(a_node_ends_and_comes_back) {
	char err[300], *token;
	int n = 3;
	cluster(n, (uint64_t)_i);
	stop(&nodes[1]);
	sim_for(1000); /* a connection that closes says so at once */
	ck_assert(!is_up(0, 1) && !is_up(2, 1));
	start(&nodes[1]); /* it has lost its roster, and is invited again */
	ck_assert_int_eq(members_invite(nodes[0].members, 600, &token, err, sizeof err), 0);
	ck_assert_int_eq(members_join(nodes[1].members, token, joined, NULL, err, sizeof err), 0);
	free(token);
	ck_assert(sim_until(all_up, &n, 30000));
}
END_TEST

START_TEST(an_invitation_is_for_once) {
	char err[300], *token;
	cluster(1, 0);
	ck_assert_int_eq(members_invite(nodes[0].members, 600, &token, err, sizeof err), 0);
	for (int i = 1; i < 3; i++) {
		snprintf(nodes[i].name, sizeof nodes[i].name, "n%d", i);
		ck_assert_int_eq(keys_generate(&nodes[i].keys), 0);
		start(&nodes[i]);
		snprintf(outcome, sizeof outcome, "nothing yet");
		ck_assert_int_eq(members_join(nodes[i].members, token, joined, NULL, err, sizeof err), 0);
		sim_for(60000);
		ck_assert_int_eq(strcmp(outcome, "") == 0, i == 1);
		ck_assert_str_ne(outcome, "nothing yet");
	}
	free(token);
	ck_assert(is_up(0, 1) && !seen_by(0, 2) && !seen_by(2, 0));
}
END_TEST

/* Two machines with one key are told of as long as they are seen. */
START_TEST(a_conflict_is_told_for_a_while) {
	char text[300];
	cluster(2, 0);
	struct member *who = roster_find(&nodes[0].members->roster, &nodes[1].keys.public);
	ck_assert_ptr_nonnull(who);
	ck_assert_str_eq(members_reason(nodes[0].members, who, text, sizeof text), "");
	member_conflicts(who, "it is there twice");
	sim_for(9000);
	ck_assert_str_eq(members_reason(nodes[0].members, who, text, sizeof text), "it is there twice");
	member_conflicts(who, "it is there twice");
	sim_for(9000);
	ck_assert_str_eq(members_reason(nodes[0].members, who, text, sizeof text), "it is there twice");
	sim_for(2000);
	ck_assert_str_eq(members_reason(nodes[0].members, who, text, sizeof text), "");
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("members on virtual time");
	TCase *t = tcase_create("clusters");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_loop_test(t, a_cluster_forms, 0, 4);
	tcase_add_test(t, the_same_seed_is_the_same_run);
	tcase_add_loop_test(t, a_silent_node_is_given_up, 0, 3);
	tcase_add_loop_test(t, a_slow_node_is_kept, 0, 2);
	tcase_add_loop_test(t, a_cut, 0, 3);
	tcase_add_loop_test(t, a_node_ends_and_comes_back, 0, 2);
	tcase_add_test(t, an_invitation_is_for_once);
	tcase_add_test(t, a_conflict_is_told_for_a_while);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
