/* Heartbeats and words about others, on virtual time (tests/sim): whose silence counts, and who is believed of whom. */
#include "daemon/members/members.h"
#include "tests/sim/clock.h"
#include "tests/sim/network.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ADA, BOB, CLEO, NODES };
#define SILENT_MS 2000

static struct node {
	struct keys keys;
	struct loop *loop;
	struct members *members;
	unsigned up, down;
	bool done;
	uint64_t sent;
	char error[300];
} nodes[NODES];

static void on_change(void *arg, const struct member *who, enum member_change change) {
	struct node *n = arg;
	(void)who;
	n->up += change == MEMBER_UP;
	n->down += change == MEMBER_DOWN;
}

static void on_done(void *arg, const char *error) {
	struct node *n = arg;
	n->done = true;
	snprintf(n->error, sizeof n->error, "%s", error ? error : "");
}

static bool is_done(void *arg) {
	return ((struct node *)arg)->done;
}

/* A figure of its state that changes. */
static void on_state(void *arg, Caravan__NodeState *out) {
	out->content_sent = ((struct node *)arg)->sent;
}

static void start(int i, uint32_t silent_ms) {
	static const char *const names[] = {"ada", "bob", "cleo"};
	struct node *n = &nodes[i];
	char err[300] = "";
	ck_assert_int_eq(keys_generate(&n->keys), 0);
	ck_assert_int_eq(loop_create(&n->loop), 0);
	const struct members_config c = {.loop = n->loop,
	        .state = on_state,
	        .arg = n,
	        .keys = &n->keys,
	        .name = names[i],
	        .listen = "tcp://127.0.0.1:*",
	        .silent_ms = silent_ms};
	ck_assert_msg(members_create(&n->members, &c, err, sizeof err) == 0, "%s", err);
	ck_assert_int_eq(members_on_change(n->members, on_change, n), 0);
}

static const struct member *seen(int by, int node) {
	return members_find(nodes[by].members, &nodes[node].keys.public);
}

static bool all_up(void *arg) {
	int n = *(int *)arg;
	for (int i = 0; i < n; i++)
		for (int k = 0; k < n; k++)
			if (!seen(i, k) || !seen(i, k)->up)
				return false;
	return true;
}

static uint64_t seed;

/* ada has little patience, the others have much. */
static void cluster(int n) {
	sim_begin(seed);
	network_begin();
	for (int i = 0; i < n; i++)
		start(i, i == ADA ? SILENT_MS : 1000000);
	for (int i = 1; i < n; i++) {
		char err[300] = "", *token;
		ck_assert_msg(
		        members_invite(nodes[ADA].members, 600, &token, err, sizeof err) == 0, "%s", err);
		ck_assert_msg(members_join(nodes[i].members, token, on_done, &nodes[i], err, sizeof err) == 0,
		        "%s", err);
		ck_assert(sim_until(is_done, &nodes[i], 60000));
		ck_assert_str_eq(nodes[i].error, "");
		free(token);
	}
	ck_assert(sim_until(all_up, &n, 60000));
	sim_for(5000);
	for (int i = 0; i < n; i++)
		nodes[i].up = nodes[i].down = 0;
}

static void end(void) {
	network_watch(NULL, NULL);
	for (int i = 0; i < NODES; i++) {
		members_destroy(nodes[i].members);
		loop_destroy(nodes[i].loop);
		nodes[i] = (struct node){.up = 0};
	}
	network_end();
	sim_end();
}

/* ---- silence ------------------------------------------------------------------------------------------- */

static int mute; /* whom nobody hears */

static enum network_verdict nothing_of_it(void *arg, const struct node_id *from, const struct node_id *to,
        const Caravan__Envelope *env, const struct payload *payload) {
	(void)arg;
	(void)to;
	(void)env;
	(void)payload;
	return node_id_equal(from, &nodes[mute].keys.public) ? NETWORK_DROP : NETWORK_PASS;
}

START_TEST(who_says_nothing_is_given_up_and_not_before) {
	cluster(2);
	mute = BOB;
	network_watch(nothing_of_it, NULL);
	sim_for(SILENT_MS - MEMBERS_PING_MS);
	ck_assert_uint_eq(nodes[ADA].down, 0);
	sim_for(3 * MEMBERS_PING_MS);
	ck_assert_uint_eq(nodes[ADA].down, 1);
	end();
}
END_TEST

/* A process that was stopped does not take its own absence for the silence of others, whatever it does first. */
START_TEST(time_that_it_was_held_up_is_nobodys_silence) {
	seed = (uint64_t)_i / 10 + 1;
	cluster(2);
	sim_for(50u * (unsigned)(_i % 10));
	sim_hold(nodes[ADA].loop, true);
	sim_for(20 * SILENT_MS);
	sim_hold(nodes[ADA].loop, false);
	sim_for(20 * SILENT_MS);
	ck_assert_uint_eq(nodes[ADA].down, 0);
	ck_assert(seen(ADA, BOB)->up);
	/* and when bob says nothing from then on, that counts again */
	mute = BOB;
	network_watch(nothing_of_it, NULL);
	sim_for(2 * SILENT_MS);
	ck_assert_uint_eq(nodes[ADA].down, 1);
	end();
	seed = 0;
}
END_TEST

/* ---- words about others -------------------------------------------------------------------------------- */

static void tell(int from, int to, int about, uint64_t version, const char *endpoint) {
	Caravan__RosterUpdate news = CARAVAN__ROSTER_UPDATE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(ROSTER, roster, &news);
	Caravan__Entry e = CARAVAN__ENTRY__INIT, *list[] = {&e};
	e.node = (ProtobufCBinaryData){sizeof nodes[about].keys.public.b, nodes[about].keys.public.b};
	e.version = version;
	e.name = "bob";
	e.endpoint = (char *)endpoint;
	news.roster = list;
	news.n_roster = 1;
	ck_assert_int_eq(peers_send(members_peers(nodes[from].members), &nodes[to].keys.public, PEERS_CONTROL,
	                         &env, NULL),
	        0);
	sim_for(1000);
}

static bool is_down(void *arg) {
	(void)arg;
	return !seen(ADA, BOB)->up;
}

START_TEST(nobody_moves_a_node_that_is_connected) {
	char was[WIRE_ENDPOINT_MAX + 1];
	cluster(3);
	snprintf(was, sizeof was, "%s", seen(ADA, BOB)->endpoints[0]);
	uint64_t version = seen(ADA, BOB)->version;
	tell(CLEO, ADA, BOB, version + 10, "tcp://10.6.6.6:666");
	ck_assert_str_eq(seen(ADA, BOB)->endpoints[0], was);
	ck_assert_uint_eq(seen(ADA, BOB)->version, version);
	ck_assert_uint_eq(nodes[ADA].down, 0);
	/* its own word is another matter, */
	tell(BOB, ADA, BOB, version + 1, "tcp://10.0.0.2:7070");
	ck_assert_str_eq(seen(ADA, BOB)->endpoints[0], "tcp://10.0.0.2:7070");
	/* and of one that is away others may know more */
	network_cut(&nodes[ADA].keys.public, &nodes[BOB].keys.public, true);
	network_cut(&nodes[BOB].keys.public, &nodes[ADA].keys.public, true);
	ck_assert(sim_until(is_down, NULL, 60000));
	tell(CLEO, ADA, BOB, version + 20, "tcp://10.0.0.3:7070");
	ck_assert_str_eq(seen(ADA, BOB)->endpoints[0], "tcp://10.0.0.3:7070");
	tell(CLEO, ADA, BOB, version + 20, "tcp://10.6.6.6:666"); /* nothing new by its version */
	ck_assert_str_eq(seen(ADA, BOB)->endpoints[0], "tcp://10.0.0.3:7070");
	end();
}
END_TEST

static void answer_of_tomorrow(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	Caravan__Pong pong = CARAVAN__PONG__INIT;
	Caravan__Envelope answer = WIRE_ENVELOPE(PONG, pong, &pong);
	(void)arg;
	(void)payload;
	pong.time = env->ping->time + 86400000000000u;
	pong.reach = CARAVAN__REACH__REACH_GOOD;
	peers_answer(members_peers(nodes[BOB].members), from, &answer, NULL);
}

/* A time that was never said makes no round trip. */
START_TEST(answers_to_nothing_say_nothing) {
	cluster(2);
	ck_assert_int_eq(peers_on(members_peers(nodes[BOB].members), CARAVAN__ENVELOPE__BODY_PING,
	                         answer_of_tomorrow, NULL),
	        0);
	sim_for(10000);
	ck_assert_double_lt(seen(ADA, BOB)->round_trip, 1);
	end();
}
END_TEST

/* Its own state is that of the last heartbeat, until somebody looks. */
START_TEST(who_looks_sees_what_is_now) {
	cluster(2);
	nodes[ADA].sent = 7;
	sim_for(1000);
	nodes[ADA].sent = 8;
	ck_assert_uint_eq(seen(ADA, ADA)->state->content_sent, 7);
	members_refresh(nodes[ADA].members);
	ck_assert_uint_eq(seen(ADA, ADA)->state->content_sent, 8);
	ck_assert_uint_eq(seen(ADA, ADA)->state->n_peers, 1);
	ck_assert_uint_eq(seen(BOB, ADA)->state->content_sent, 7); /* nobody else is told */
	members_heartbeat(nodes[ADA].members);
	sim_for(10);
	ck_assert_uint_eq(seen(BOB, ADA)->state->content_sent, 8);
	end();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("heartbeats");
	TCase *t = tcase_create("silence");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, who_says_nothing_is_given_up_and_not_before);
	tcase_add_loop_test(t, time_that_it_was_held_up_is_nobodys_silence, 0, 30);
	suite_add_tcase(s, t);
	t = tcase_create("words");
	tcase_set_timeout(t, 60);
	tcase_add_test(t, nobody_moves_a_node_that_is_connected);
	tcase_add_test(t, answers_to_nothing_say_nothing);
	tcase_add_test(t, who_looks_sees_what_is_now);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
