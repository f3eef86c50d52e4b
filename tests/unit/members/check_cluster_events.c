/* What happened in the cluster, in one order and each thing once: the merge by itself, then whole clusters on virtual time, with
 * clocks that differ, links that are lost, nodes that are down, older, or lie. */
#include "daemon/members/cluster_events.h"
#include "daemon/members/event_merge.h"
#include "daemon/members/members_internal.h"
#include "daemon/net/zmq_socket.h"
#include "tests/sim/clock.h"
#include "tests/sim/network.h"
#include "tests/sim/payloads.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the merge ---- */

static Caravan__Event pool[2000];
static struct merge_event at[2000];
static size_t n;

static void add(unsigned origin, uint64_t serial, double time, enum journal_kind kind, const char *node) {
	ck_assert_uint_lt(n, 2000);
	Caravan__Event *e = &pool[n];
	caravan__event__init(e);
	e->serial = serial;
	e->kind = wire_string(journal_kind_name(kind));
	e->node = wire_string(node);
	at[n++] = (struct merge_event){.event = e, .origin = origin, .time = time};
}

/* "serial@origin" of each event in order; "+" for what is folded into one before. */
static const char *merged(void) {
	static char out[1000];
	size_t len = 0;
	event_merge(at, n);
	out[0] = 0;
	for (size_t i = 0; i < n && len < sizeof out; i++)
		len += (size_t)snprintf(out + len, sizeof out - len, "%s%llu@%u",
		        at[i].into == i ? i ? " " : "" : "+", (unsigned long long)at[i].event->serial,
		        at[i].origin);
	return out;
}

static void merge_setup(void) {
	n = 0;
}

START_TEST(nothing_merges) {
	ck_assert_str_eq(merged(), "");
}
END_TEST

START_TEST(by_time) {
	add(1, 1, 30, EVENT_NODE_STARTED, "b");
	add(0, 1, 10, EVENT_NODE_STARTED, "a");
	add(1, 2, 40, EVENT_ERROR, "");
	add(0, 2, 35, EVENT_ERROR, "");
	ck_assert_str_eq(merged(), "1@0 1@1 2@0 2@1");
}
END_TEST

/* A clock that is set back: what happened on one node stays in order, and after what it was after. */
START_TEST(a_clock_that_is_set_back) {
	add(0, 1, 100, EVENT_ERROR, "");
	add(0, 2, 50, EVENT_ERROR, "");
	add(0, 3, 60, EVENT_ERROR, "");
	add(1, 1, 70, EVENT_ERROR, "");
	add(1, 2, 101, EVENT_ERROR, "");
	ck_assert_str_eq(merged(), "1@1 1@0 2@0 3@0 2@1");
}
END_TEST

START_TEST(what_several_nodes_see_is_one) {
	add(0, 7, 10.2, EVENT_NODE_LOST, "c");
	add(1, 3, 10, EVENT_NODE_LOST, "c");
	add(1, 4, 10.1, EVENT_MODEL_SERVING, "");
	add(2, 9, 19, EVENT_NODE_LOST, "c");
	ck_assert_str_eq(merged(), "3@1 4@1+7@0+9@2");
	ck_assert_uint_eq(at[2].into, 0);
	ck_assert_uint_eq(at[3].into, 0);
}
END_TEST

START_TEST(what_is_not_the_same_is_not_one) {
	add(0, 1, 10, EVENT_NODE_LOST, "c");
	add(1, 1, 11, EVENT_NODE_LOST, "d");                         /* another node, */
	add(1, 2, 12, EVENT_NODE_BACK, "c");                         /* another kind, */
	add(0, 2, 13, EVENT_NODE_STARTED, "a");                      /* such as each node has for itself, */
	add(1, 3, 14, EVENT_NODE_STARTED, "a");                      /* */
	add(2, 1, 10.5 + EVENT_MERGE_SECONDS, EVENT_NODE_LOST, "c"); /* and another time */
	ck_assert_str_eq(merged(), "1@0 1@1 2@1 2@0 3@1 1@2");
}
END_TEST

/* A node that comes and goes: each time is one event, however many see it, and one that missed the first time. */
START_TEST(what_happens_twice_is_told_twice) {
	add(0, 1, 10, EVENT_NODE_LOST, "c");
	add(0, 2, 15, EVENT_NODE_BACK, "c");
	add(0, 3, 20, EVENT_NODE_LOST, "c");
	add(1, 1, 10.1, EVENT_NODE_LOST, "c");
	add(1, 2, 15.1, EVENT_NODE_BACK, "c");
	add(1, 3, 20.1, EVENT_NODE_LOST, "c");
	add(2, 1, 20.2, EVENT_NODE_LOST, "c");
	ck_assert_str_eq(merged(), "1@0+1@1 2@0+2@1 3@0+3@1+1@2");
	ck_assert_uint_eq(at[6].into, 4);
}
END_TEST

/* Two that each saw only one of its losses. */
START_TEST(what_was_over_is_not_repeated) {
	add(0, 1, 10, EVENT_NODE_LOST, "c");
	add(0, 2, 12, EVENT_NODE_BACK, "c");
	add(0, 3, 13, EVENT_NODE_BACK, "d");
	add(1, 1, 14, EVENT_NODE_LOST, "c");
	ck_assert_str_eq(merged(), "1@0 2@0 3@0 1@1");
}
END_TEST

/* A model that is lost with one node after the other. */
START_TEST(another_cause_is_another_event) {
	add(0, 1, 10, EVENT_MODEL_UNAVAILABLE, "c");
	add(1, 1, 12, EVENT_MODEL_UNAVAILABLE, "d");
	add(2, 1, 13, EVENT_MODEL_UNAVAILABLE, "d");
	ck_assert_str_eq(merged(), "1@0 1@1+1@2");
}
END_TEST

START_TEST(unknown_kinds_are_never_one) {
	add(0, 1, 10, EVENT_NODE_LOST, "c");
	add(1, 1, 10, EVENT_NODE_LOST, "c");
	pool[0].kind = pool[1].kind = wire_string("of-a-newer-node");
	ck_assert_str_eq(merged(), "1@0 1@1");
}
END_TEST

/* Many events of two members at one moment: it ends, and nothing is lost. */
START_TEST(a_flood) {
	for (unsigned i = 0; i < 1000; i++) {
		add(0, i + 1, 10, EVENT_NODE_LOST, "c");
		add(1, i + 1, 10, EVENT_NODE_LOST, "c");
	}
	event_merge(at, n);
	size_t whole = 0;
	for (size_t i = 0; i < n; i++)
		whole += at[i].into == i;
	ck_assert_uint_ge(whole, 1000);
}
END_TEST

/* ---- clusters ---- */

enum { NODES = 4 };

static struct node {
	struct loop *loop; /* NULL: it does not run */
	struct keys keys;
	struct members *members;
	struct journal *journal;
	struct cluster_events *events;
	char name[16];
	double ahead; /* of its clock */
	bool lies;    /* it has no cluster_events, and answers as `lie` says */
} nodes[NODES];

/* The date is virtual too: that of the node whose event runs, or of `at_node`, or right. */
static int at_node = -1;

static double clock_error(void) {
	int running = at_node, count = 0;
	for (int i = 0; i < NODES && at_node < 0; i++)
		if (nodes[i].loop && loop_on_thread(nodes[i].loop)) {
			running = i;
			count++;
		}
	return running >= 0 && count <= 1 ? nodes[running].ahead : 0;
}

int __wrap_clock_gettime(clockid_t clock, struct timespec *t);
int __real_clock_gettime(clockid_t clock, struct timespec *t);
int __wrap_clock_gettime(clockid_t clock, struct timespec *t) {
	if (clock != CLOCK_REALTIME)
		return __real_clock_gettime(clock, t);
	t->tv_sec = (time_t)(1700000000 + (int)clock_error() + (int64_t)(sim_now_ns() / 1000000000));
	t->tv_nsec = (long)(sim_now_ns() % 1000000000);
	return 0;
}

static double machine_time(void) {
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void fill_state(void *arg, Caravan__NodeState *out) {
	static Caravan__Machine m;
	(void)arg;
	caravan__machine__init(&m);
	m.time = machine_time();
	out->machine = &m;
}

static void start(struct node *node) {
	char err[300] = "";
	struct journal_config j = {.time = NULL};
	const struct members_config mc = {.keys = &node->keys,
	        .name = node->name,
	        .listen = "tcp://10.0.0.1:*",
	        .state = fill_state,
	        .arg = node};
	struct members_config m = mc;
	ck_assert_int_eq(loop_create(&node->loop), 0);
	j.loop = m.loop = node->loop;
	ck_assert_msg(journal_create(&node->journal, &j, err, sizeof err) == 0, "%s", err);
	m.journal = node->journal;
	ck_assert_msg(members_create(&node->members, &m, err, sizeof err) == 0, "%s", err);
	if (!node->lies)
		ck_assert_int_eq(
		        cluster_events_create(&node->events, node->loop, node->members, node->journal), 0);
}

static void stop(struct node *node) {
	if (!node->loop)
		return;
	cluster_events_destroy(node->events);
	members_destroy(node->members);
	journal_destroy(node->journal);
	loop_destroy(node->loop);
	node->loop = NULL;
	node->members = NULL;
	node->events = NULL;
}

static bool all_up(void *arg) {
	int count = *(int *)arg;
	for (int i = 0; i < count; i++)
		for (int k = 0; k < count; k++) {
			const struct member *who =
			        nodes[i].loop && nodes[k].loop
			                ? members_find(nodes[i].members, &nodes[k].keys.public)
			                : NULL;
			if (nodes[i].loop && nodes[k].loop && !(who && who->up))
				return false;
		}
	return true;
}

static char outcome[300];
static void joined(void *arg, const char *error) {
	(void)arg;
	snprintf(outcome, sizeof outcome, "%s", error ? error : "");
}

static void join(int i) {
	char err[300], *token;
	ck_assert_int_eq(members_invite(nodes[0].members, 600, &token, err, sizeof err), 0);
	snprintf(outcome, sizeof outcome, "nothing yet");
	ck_assert_int_eq(members_join(nodes[i].members, token, joined, NULL, err, sizeof err), 0);
	sim_for(10000);
	ck_assert_str_eq(outcome, "");
	free(token);
}

static void begin(int count, double ahead_of_second, uint64_t seed) {
	sim_begin(seed);
	network_begin();
	memset(nodes, 0, sizeof nodes);
	for (int i = 0; i < NODES; i++) {
		snprintf(nodes[i].name, sizeof nodes[i].name, "n%d", i);
		ck_assert_int_eq(keys_generate(&nodes[i].keys), 0);
		nodes[i].ahead = i == 1 ? ahead_of_second : 0;
	}
	for (int i = 0; i < count; i++)
		start(&nodes[i]);
	for (int i = 1; i < count; i++)
		join(i);
	ck_assert(sim_until(all_up, &count, 10000));
	sim_for(3000); /* clocks and events are known */
}

static void teardown(void) {
	for (int i = 0; i < NODES; i++)
		stop(&nodes[i]);
	ck_assert_uint_eq(payloads_open(), 0);
	ck_assert_uint_eq(network_under_way(), 0);
	network_end();
	sim_end();
}

static void say(int i, const char *text) {
	at_node = i;
	journal_say(nodes[i].journal, &(struct journal_event){.kind = EVENT_ERROR, .level = LOG_LINE_DEBUG},
	        "%s", text);
	at_node = -1;
}

static void say_shared(int i, const char *node) {
	journal_say(nodes[i].journal,
	        &(struct journal_event){.kind = EVENT_NODE_LOST, .level = LOG_LINE_DEBUG, .node = node},
	        "lost %s", node);
}

/* What was told: "node:text" with "*N" if N nodes saw it, separated by blanks. */
struct told {
	char text[400000];
	size_t len, count;
	struct cluster_watch *stop; /* unwatch this with the first */
	double last;
};

static void tell(void *arg, const Caravan__CtlEvent *e) {
	struct told *t = arg;
	char err[200];
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_EVENT, ctl_event, (Caravan__CtlEvent *)e);
	ck_assert_msg(wire_valid(&env, 0, WIRE_COMMAND, err, sizeof err), "%s", err);
	ck_assert_uint_ge(e->n_seen, 1);
	ck_assert_str_eq(e->seen[0], e->node);
	t->len += (size_t)snprintf(t->text + t->len, sizeof t->text - t->len, "%s%s:%s", t->count ? " " : "",
	        e->node, e->event->text);
	if (e->n_seen > 1)
		t->len += (size_t)snprintf(t->text + t->len, sizeof t->text - t->len, "*%zu", e->n_seen);
	ck_assert_uint_lt(t->len, sizeof t->text);
	t->count++;
	t->last = e->time;
	cluster_events_unwatch(t->stop);
	t->stop = NULL;
}

static struct told told, told_too;

static const char *list(int i, const struct cluster_events_filter *f) {
	memset(&told, 0, sizeof told);
	at_node = i;
	ck_assert_int_eq(cluster_events_list(nodes[i].events, f, tell, &told), 0);
	at_node = -1;
	return told.text;
}

static const char *latest(int i, size_t last) {
	return list(i, &(struct cluster_events_filter){.last = last});
}

static struct cluster_watch *follow(int i, struct told *to) {
	memset(to, 0, sizeof *to);
	struct cluster_watch *w =
	        cluster_events_watch(nodes[i].events, &(struct cluster_events_filter){0}, tell, to);
	ck_assert_ptr_nonnull(w);
	return w;
}

START_TEST(every_node_knows_them_all) {
	begin(3, 0, (uint64_t)_i);
	say(0, "a");
	sim_for(50);
	say(2, "b");
	sim_for(50);
	say(1, "c");
	sim_for(50);
	for (int i = 0; i < 3; i++)
		ck_assert_str_eq(latest(i, 3), "n0:a n2:b n1:c");
	ck_assert_str_eq(latest(1, 1), "n1:c");
}
END_TEST

/* _i: the clock of the second node is late, or fast; events are in the order in which they happened, by our clock. */
START_TEST(clocks_differ) {
	begin(3, _i ? 5000 : -5000, 0);
	say(0, "a");
	sim_for(20);
	say(1, "b");
	sim_for(20);
	say(2, "c");
	sim_for(20);
	say(1, "d");
	sim_for(1000);
	ck_assert_str_eq(latest(0, 4), "n0:a n1:b n2:c n1:d");
	ck_assert(fabs(told.last - machine_time()) < 60);
	ck_assert_str_eq(latest(1, 4), "n0:a n1:b n2:c n1:d");
	ck_assert(fabs(told.last - machine_time() - nodes[1].ahead) < 60);
}
END_TEST

START_TEST(what_all_see_is_one_event) {
	begin(3, 0, (uint64_t)_i);
	for (int i = 0; i < 3; i++)
		say_shared(i, "gone");
	say(0, "then");
	sim_for(100);
	ck_assert_str_eq(latest(2, 2) + 3, "lost gone*3 n0:then");
}
END_TEST

/* The latest event of a kind that a node has itself; empty: none. */
static const char *latest_own(int i, enum journal_kind kind) {
	const Caravan__Event *e;
	const char *text = "";
	for (size_t k = 0; (e = journal_at(nodes[i].journal, k)); k++)
		if (strcmp(e->kind, journal_kind_name(kind)) == 0)
			text = e->text;
	return text;
}

/* Why a node was lost: its connection closed at once, or after a silence. */
START_TEST(a_silence_is_no_end) {
	begin(2, 0, 0);
	network_lose(&nodes[0].keys.public, &nodes[1].keys.public, SOCKET_CLOSED);
	sim_for(100);
	ck_assert_str_eq(latest_own(0, EVENT_NODE_LOST), "node n1 was lost: " SOCKET_CLOSED);
	sim_for(20000);
	sim_hold(nodes[1].loop, true);
	sim_for(6000);
	network_lose(&nodes[0].keys.public, &nodes[1].keys.public, SOCKET_CLOSED);
	sim_for(100);
	ck_assert_msg(strstr(latest_own(0, EVENT_NODE_LOST), "n1 was lost: nothing was heard from it for "),
	        "%s", latest_own(0, EVENT_NODE_LOST));
	sim_hold(nodes[1].loop, false);
	sim_for(20000);
}
END_TEST

/* A node that stood still, and so loses the others, knows that it was itself. */
START_TEST(who_stood_still_says_so) {
	begin(2, 0, 0);
	sim_hold(nodes[1].loop, true);
	sim_for(20000);
	ck_assert_str_eq(latest_own(1, EVENT_NODE_LOST), "");
	sim_hold(nodes[1].loop, false);
	sim_for(1000);
	ck_assert_msg(strstr(latest_own(1, EVENT_NODE_LOST), "n0 was lost: this node stood still for "), "%s",
	        latest_own(1, EVENT_NODE_LOST));
	sim_for(60000); /* and later losses are losses again */
	network_lose(&nodes[1].keys.public, &nodes[0].keys.public, SOCKET_CLOSED);
	sim_for(100);
	ck_assert_str_eq(latest_own(1, EVENT_NODE_LOST), "node n0 was lost: " SOCKET_CLOSED);
	sim_for(20000);
}
END_TEST

START_TEST(more_than_a_message_takes) {
	char text[400];
	begin(2, 0, 0);
	network_cut(&nodes[0].keys.public, &nodes[1].keys.public, true);
	network_cut(&nodes[1].keys.public, &nodes[0].keys.public, true);
	sim_for(30000);
	for (int i = 0; i < 600; i++) {
		snprintf(text, sizeof text, "%0300d", i);
		say(0, text);
	}
	network_cut(&nodes[0].keys.public, &nodes[1].keys.public, false);
	network_cut(&nodes[1].keys.public, &nodes[0].keys.public, false);
	int count = 2;
	ck_assert(sim_until(all_up, &count, 20000));
	sim_for(3000);
	latest(1, 300);
	ck_assert_uint_eq(told.count, 300);
	/* the latest; then they were back */
	snprintf(text, sizeof text, "n0:%0300d", 599);
	latest(1, 6);
	ck_assert_msg(strstr(told.text, text) != NULL, "%s", told.text);
	/* and no more than a journal has, of each */
	list(1, &(struct cluster_events_filter){.node = "n0"});
	ck_assert_uint_ge(told.count, JOURNAL_EVENTS - 20);
	ck_assert_uint_le(told.count, 2 * JOURNAL_EVENTS);
}
END_TEST

START_TEST(a_link_that_is_lost_loses_and_repeats_nothing) {
	int count = 3;
	begin(count, 0, (uint64_t)_i);
	struct cluster_watch *w = follow(1, &told_too);
	for (int round = 0; round < 5; round++) {
		char text[20];
		snprintf(text, sizeof text, "x%d", round);
		say(0, text);
		network_lose(&nodes[1].keys.public, &nodes[0].keys.public, "a test");
		network_lose(&nodes[0].keys.public, &nodes[1].keys.public, "a test");
		snprintf(text, sizeof text, "y%d", round);
		say(0, text);
		ck_assert(sim_until(all_up, &count, 20000));
		sim_for(3000);
	}
	cluster_events_unwatch(w);
	for (int round = 0; round < 5; round++) {
		char x[20];
		snprintf(x, sizeof x, "n0:%c%d", 'x' + _i % 2, round);
		char *first = strstr(told_too.text, x);
		ck_assert_msg(first != NULL, "%s in %s", x, told_too.text);
		ck_assert_ptr_null(strstr(first + 1, x));
	}
}
END_TEST

START_TEST(those_who_follow_are_told_once) {
	begin(3, 0, (uint64_t)_i);
	say(0, "before");
	struct cluster_watch *w = follow(2, &told_too); /* it is on its way, or known and not told yet */
	bool known = strstr(latest(2, 0), "before");
	sim_for(50);
	for (int i = 0; i < 3; i++)
		say_shared(i, "gone");
	sim_for(CLUSTER_EVENTS_FOLD_MS + 100);
	say_shared(0, "other");
	sim_for(CLUSTER_EVENTS_FOLD_MS + 100);
	say_shared(1, "other"); /* too late to be counted; it is a repetition all the same */
	sim_for(5000);
	ck_assert_uint_eq(told_too.count, known ? 2 : 3);
	ck_assert_ptr_nonnull(strstr(told_too.text, "lost gone*3"));
	ck_assert_ptr_nonnull(strstr(told_too.text, "n0:lost other"));
	cluster_events_unwatch(w);
	say(0, "nobody listens");
	sim_for(5000);
	ck_assert_uint_eq(told_too.count, known ? 2 : 3);
}
END_TEST

/* What is listed at a moment and what is told after it are all there is, and nothing twice. */
START_TEST(list_and_follow_have_no_gap) {
	begin(2, 0, (uint64_t)_i);
	for (int i = 0; i < 20; i++) {
		char text[20];
		snprintf(text, sizeof text, "<%d>", i);
		say(i % 2, text);
		sim_for(40);
	}
	latest(0, 0);
	static char before[sizeof told.text];
	strcpy(before, told.text);
	struct cluster_watch *w = follow(0, &told_too);
	for (int i = 20; i < 40; i++) {
		char text[20];
		snprintf(text, sizeof text, "<%d>", i);
		say(i % 2, text);
		sim_for(40);
	}
	sim_for(1000);
	for (int i = 0; i < 40; i++) {
		char text[20];
		snprintf(text, sizeof text, ":<%d>", i);
		ck_assert_int_eq(!!strstr(before, text) + !!strstr(told_too.text, text), 1);
	}
	cluster_events_unwatch(w);
}
END_TEST

START_TEST(who_follows_may_stop_within_the_call) {
	begin(2, 0, 0);
	struct cluster_watch *one = follow(0, &told), *two = follow(0, &told_too);
	told.stop = two; /* another, */
	say(0, "a");
	say(0, "b");
	sim_for(1000);
	ck_assert_uint_eq(told.count, 2);
	ck_assert_uint_eq(told_too.count, 0);
	told.stop = one; /* or itself */
	say(0, "c");
	say(0, "d");
	sim_for(1000);
	ck_assert_uint_eq(told.count, 3);
}
END_TEST

START_TEST(a_node_that_comes_later) {
	int count = 3;
	begin(2, 0, 0);
	struct cluster_watch *w = follow(1, &told_too);
	start(&nodes[2]);
	say(2, "of its own");
	join(2);
	ck_assert(sim_until(all_up, &count, 20000));
	say(2, "of the cluster");
	sim_for(2000);
	ck_assert_ptr_nonnull(strstr(told_too.text, "n2:of its own"));
	ck_assert_ptr_nonnull(strstr(told_too.text, "n2:of the cluster"));
	ck_assert_ptr_nonnull(strstr(told_too.text, "node n2 joined"));
	cluster_events_unwatch(w);
}
END_TEST

/* What a node said before it went is known, and what it says when it is back. */
START_TEST(a_node_that_is_down) {
	begin(3, 0, 0);
	say(2, "last words");
	sim_for(50);
	stop(&nodes[2]);
	sim_for(3000);
	ck_assert_ptr_nonnull(strstr(latest(0, 0), "n2:last words"));
	ck_assert_ptr_nonnull(strstr(told.text, "node n2 was lost"));
}
END_TEST

START_TEST(filters) {
	begin(3, 0, 0);
	say_shared(0, "n2");
	say(1, "b");
	sim_for(50);
	double after = machine_time();
	journal_say(nodes[2].journal,
	        &(struct journal_event){
	                .kind = EVENT_MODEL_SERVING, .level = LOG_LINE_DEBUG, .model = "demo"},
	        "c");
	sim_for(50);
	ck_assert_str_eq(list(0, &(struct cluster_events_filter){.model = "demo"}), "n2:c");
	ck_assert_str_eq(list(0, &(struct cluster_events_filter){.since = after}), "n2:c");
	ck_assert_str_eq(list(0, &(struct cluster_events_filter){.last = 1, .node = "n1"}), "n1:b");
	ck_assert_str_eq(
	        list(0, &(struct cluster_events_filter){.last = 2, .node = "n2"}), "n0:lost n2 n2:c");
	struct cluster_watch *w = cluster_events_watch(nodes[0].events,
	        &(struct cluster_events_filter){.node = "n1"}, tell, memset(&told_too, 0, sizeof told_too));
	say(2, "d");
	say(1, "e");
	sim_for(2000);
	ck_assert_str_eq(told_too.text, "n1:e");
	cluster_events_unwatch(w);
}
END_TEST

/* ---- gathering ---- */

static char missing[1000];
static unsigned gathered;
static struct cluster_gather *gathering;

static void add_missing(void *arg, const struct member *who, const char *why) {
	(void)arg;
	size_t len = strlen(missing);
	snprintf(missing + len, sizeof missing - len, "%s%s: %s", len ? ", " : "", who->name, why);
}

static void on_gathered(void *arg) {
	missing[0] = 0;
	gathered++;
	cluster_events_missing(arg, gathering, add_missing, NULL);
}

static const char *gather(int i) {
	gathered = 0;
	gathering = cluster_events_gather(nodes[i].events, on_gathered, nodes[i].events);
	ck_assert_ptr_nonnull(gathering);
	ck_assert_uint_eq(gathered, 0);
	sim_for(CLUSTER_EVENTS_WAIT_MS + 1000);
	ck_assert_uint_eq(gathered, 1);
	return missing;
}

static bool is_gathered(void *arg) {
	(void)arg;
	return gathered > 0;
}

START_TEST(all_answer) {
	begin(3, 0, (uint64_t)_i);
	gathered = 0;
	gathering = cluster_events_gather(nodes[0].events, on_gathered, nodes[0].events);
	ck_assert(sim_until(is_gathered, NULL, 200)); /* it does not wait for nobody */
	ck_assert_str_eq(missing, "");
	cluster_events_cancel(cluster_events_gather(nodes[0].events, on_gathered, nodes[0].events));
	sim_for(5000);
	ck_assert_uint_eq(gathered, 1);
}
END_TEST

START_TEST(some_do_not) {
	begin(4, 0, 0);
	sim_hold(nodes[1].loop, true);
	((struct member *)members_find(nodes[0].members, &nodes[2].keys.public))->minor = WIRE_1_4;
	stop(&nodes[3]);
	sim_for(100);
	ck_assert_str_eq(gather(0),
	        "n1: it has not answered, n2: it runs an older version of Caravan, n3: it is down");
	sim_hold(nodes[1].loop, false);
	sim_for(2000);
	ck_assert_str_eq(gather(0), "n2: it runs an older version of Caravan, n3: it is down");
}
END_TEST

/* An older node is never asked. */
static unsigned asked;
static enum network_verdict count_asked(void *arg, const struct node_id *from, const struct node_id *to,
        const Caravan__Envelope *env, const struct payload *payload) {
	(void)from;
	(void)payload;
	asked += env->body_case == CARAVAN__ENVELOPE__BODY_LIST_EVENTS && node_id_equal(to, arg);
	return NETWORK_PASS;
}

START_TEST(an_older_node_is_left_alone) {
	begin(2, 0, 0);
	((struct member *)members_find(nodes[0].members, &nodes[1].keys.public))->minor = WIRE_1_4;
	asked = 0;
	network_watch(count_asked, &nodes[1].keys.public);
	gather(0);
	sim_for(10000);
	network_watch(NULL, NULL);
	ck_assert_uint_eq(asked, 0);
}
END_TEST

/* ---- members that lie ---- */

static struct {
	uint64_t journal, serial; /* of the next event */
	size_t each;
	double ahead; /* of its events */
	bool more, refuse;
	unsigned asked;
} lie;

static void lie_answer(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct node *node = arg;
	Caravan__EventList msg = CARAVAN__EVENT_LIST__INIT;
	Caravan__Envelope answer = WIRE_ENVELOPE(EVENT_LIST, event_list, &msg);
	Caravan__Event e[WIRE_EVENTS_MAX], *events[WIRE_EVENTS_MAX];
	(void)payload;
	(void)env;
	lie.asked++;
	if (lie.refuse) {
		peers_refuse(members_peers(node->members), from, "no");
		return;
	}
	for (size_t i = 0; i < lie.each; i++) {
		caravan__event__init(events[i] = &e[i]);
		e[i].serial = lie.serial + i;
		e[i].time = machine_time() + lie.ahead;
		e[i].kind = wire_string("error");
		e[i].severity = 2;
		e[i].text = wire_string("a lie");
	}
	msg.journal = lie.journal;
	msg.events = events;
	msg.n_events = lie.each;
	msg.more = lie.more;
	ck_assert_int_eq(peers_answer(members_peers(node->members), from, &answer, NULL), 0);
}

/* The second node answers as `lie` says. */
static void begin_with_liar(void) {
	int count = 2;
	begin(1, 0, 0);
	struct node *liar = &nodes[1];
	liar->lies = true;
	start(liar);
	peers_on(members_peers(liar->members), CARAVAN__ENVELOPE__BODY_LIST_EVENTS, lie_answer, liar);
	lie.asked = 0;
	join(1);
	ck_assert(sim_until(all_up, &count, 10000));
}

static size_t lies_known(void) {
	const char *s = list(0, &(struct cluster_events_filter){.node = "n1"});
	size_t lies = 0;
	for (; (s = strstr(s, "a lie")); s++)
		lies++;
	return lies;
}

START_TEST(old_numbers_do_not_count) {
	memset(&lie, 0, sizeof lie);
	lie.journal = 7;
	lie.serial = 100;
	lie.each = 10;
	begin_with_liar();
	sim_for(3000);
	ck_assert_uint_eq(lies_known(), 10); /* it sends them again and again */
	lie.serial = 105;
	sim_for(3000);
	ck_assert_uint_eq(lies_known(), 15);
}
END_TEST

/* One that always has more does not keep us busy, nor fills our memory. */
START_TEST(a_list_without_end) {
	memset(&lie, 0, sizeof lie);
	lie.journal = 7;
	lie.serial = 1;
	lie.each = WIRE_EVENTS_MAX;
	lie.more = true;
	begin_with_liar();
	for (int i = 0; i < 200; i++) {
		lie.serial += WIRE_EVENTS_MAX;
		sim_for(50);
	}
	ck_assert_uint_le(lies_known(), JOURNAL_EVENTS);
	ck_assert_uint_le(lie.asked, 20 * 30); /* 16 a second, for about 20 */
	ck_assert_uint_ge(lie.asked, 20);
	say(0, "ours");
	sim_for(50);
	ck_assert_ptr_nonnull(strstr(latest(0, 0), "n0:ours"));
}
END_TEST

START_TEST(another_journal_replaces_the_first) {
	memset(&lie, 0, sizeof lie);
	lie.journal = 7;
	lie.serial = 1000;
	lie.each = 3;
	begin_with_liar();
	sim_for(2000);
	ck_assert_uint_eq(lies_known(), 3);
	lie.journal = 8;
	lie.serial = 1;
	lie.each = 2;
	sim_for(2000);
	ck_assert_uint_eq(lies_known(), 2);
}
END_TEST

START_TEST(nothing_happens_in_the_future) {
	memset(&lie, 0, sizeof lie);
	lie.journal = 7;
	lie.serial = 1;
	lie.each = 1;
	lie.ahead = 1e6;
	begin_with_liar();
	sim_for(2000);
	ck_assert_uint_eq(lies_known(), 1);
	ck_assert(told.last <= machine_time());
}
END_TEST

START_TEST(who_refuses_is_asked_again_after_a_new_link) {
	int count = 2;
	memset(&lie, 0, sizeof lie);
	lie.refuse = true;
	begin_with_liar();
	sim_for(10000);
	ck_assert_uint_eq(lie.asked, 1);
	ck_assert_str_eq(gather(0), "n1: it has not answered");
	network_lose(&nodes[0].keys.public, &nodes[1].keys.public, "a test");
	sim_for(100);
	ck_assert(sim_until(all_up, &count, 20000));
	sim_for(1000);
	ck_assert_uint_eq(lie.asked, 2);
}
END_TEST

/* A node may ask as often as it likes: one of its requests waits here. */
START_TEST(requests_that_wait) {
	Caravan__ListEvents msg = CARAVAN__LIST_EVENTS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(LIST_EVENTS, list_events, &msg);
	begin(2, 0, 0);
	msg.wait = true;
	msg.journal = journal_id(nodes[0].journal);
	msg.after = 1000000;
	for (int i = 0; i < 500; i++) {
		env.ref = 1000000 + (uint64_t)i;
		ck_assert_int_eq(peers_send(members_peers(nodes[1].members), &nodes[0].keys.public,
		                         PEERS_CONTROL, &env, NULL),
		        0);
		sim_for(1);
	}
	say(0, "a");
	sim_for(2000);
	ck_assert_ptr_nonnull(strstr(latest(1, 0), "n0:a") ? latest(1, 0) : latest(0, 1));
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("cluster_events");
	TCase *t = tcase_create("merge");
	tcase_add_checked_fixture(t, merge_setup, NULL);
	tcase_add_test(t, nothing_merges);
	tcase_add_test(t, by_time);
	tcase_add_test(t, a_clock_that_is_set_back);
	tcase_add_test(t, what_several_nodes_see_is_one);
	tcase_add_test(t, what_is_not_the_same_is_not_one);
	tcase_add_test(t, what_happens_twice_is_told_twice);
	tcase_add_test(t, what_was_over_is_not_repeated);
	tcase_add_test(t, another_cause_is_another_event);
	tcase_add_test(t, unknown_kinds_are_never_one);
	tcase_add_test(t, a_flood);
	suite_add_tcase(s, t);
	t = tcase_create("cluster");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_loop_test(t, every_node_knows_them_all, 0, 3);
	tcase_add_loop_test(t, clocks_differ, 0, 2);
	tcase_add_loop_test(t, what_all_see_is_one_event, 0, 3);
	tcase_add_test(t, a_silence_is_no_end);
	tcase_add_test(t, who_stood_still_says_so);
	tcase_add_test(t, more_than_a_message_takes);
	tcase_add_loop_test(t, a_link_that_is_lost_loses_and_repeats_nothing, 0, 4);
	tcase_add_loop_test(t, those_who_follow_are_told_once, 0, 3);
	tcase_add_loop_test(t, list_and_follow_have_no_gap, 0, 3);
	tcase_add_test(t, who_follows_may_stop_within_the_call);
	tcase_add_test(t, a_node_that_comes_later);
	tcase_add_test(t, a_node_that_is_down);
	tcase_add_test(t, filters);
	suite_add_tcase(s, t);
	t = tcase_create("gather");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_loop_test(t, all_answer, 0, 3);
	tcase_add_test(t, some_do_not);
	tcase_add_test(t, an_older_node_is_left_alone);
	suite_add_tcase(s, t);
	t = tcase_create("lies");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_test(t, old_numbers_do_not_count);
	tcase_add_test(t, a_list_without_end);
	tcase_add_test(t, another_journal_replaces_the_first);
	tcase_add_test(t, nothing_happens_in_the_future);
	tcase_add_test(t, who_refuses_is_asked_again_after_a_new_link);
	tcase_add_test(t, requests_that_wait);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
