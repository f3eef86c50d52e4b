/* The state of the cluster for clients who look at it, on virtual time: here the loop and the HTTP thread are loops of one thread,
 * and a seed chooses among what is due at once.  What is reported is the test's. */
#include "daemon/api/live.h"
#include "daemon/api/report.h"
#include "tests/sim/clock.h"
#include <check.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what stands in for the node ------------------------------------------------------------------------ */

static unsigned collected;
static const char *state;
static double since;
static members_change_fn *on_change;
static void *on_change_arg;

struct members *serve_members(struct serve *s) {
	(void)s;
	return NULL;
}

int members_on_change(struct members *m, members_change_fn *fn, void *arg) {
	(void)m;
	on_change = fn;
	on_change_arg = arg;
	return 0;
}

void report_collect(struct serve *s, report_emit_fn *emit, void *arg) {
	static const struct node_id id = {{1}};
	Caravan__CtlReport message = CARAVAN__CTL_REPORT__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_REPORT, ctl_report, &message);
	Caravan__ReportNode node = CARAVAN__REPORT_NODE__INIT, *list = &node;
	(void)s;
	collected++;
	node.name = wire_string("attic");
	node.node = wire_node(&id);
	node.state = wire_string(state);
	node.since = since;
	message.nodes = &list;
	message.n_nodes = 1;
	message.healthy = true;
	emit(arg, &env);
}

/* Events: those that are known, and those who follow. */
static const char *known[LIVE_EVENTS + 8];
static size_t nknown;
static unsigned followers;
static cluster_events_fn *follow_fn;
static void *follow_arg;

static void tell(cluster_events_fn *fn, void *arg, const char *text) {
	Caravan__CtlEvent e = CARAVAN__CTL_EVENT__INIT;
	Caravan__Event event = CARAVAN__EVENT__INIT;
	event.kind = wire_string("node-lost");
	event.text = wire_string(text);
	e.event = &event;
	e.node = wire_string("attic");
	fn(arg, &e);
}

int cluster_events_list(
        struct cluster_events *c, const struct cluster_events_filter *f, cluster_events_fn *fn, void *arg) {
	(void)c;
	ck_assert_uint_eq(f->last, LIVE_EVENTS);
	for (size_t i = nknown > f->last ? nknown - f->last : 0; i < nknown; i++)
		tell(fn, arg, known[i]);
	return 0;
}

struct cluster_watch *cluster_events_watch(
        struct cluster_events *c, const struct cluster_events_filter *f, cluster_events_fn *fn, void *arg) {
	(void)c;
	(void)f;
	ck_assert_uint_eq(followers++, 0); /* once for all */
	follow_fn = fn;
	follow_arg = arg;
	return (struct cluster_watch *)&followers;
}

void cluster_events_unwatch(struct cluster_watch *w) {
	ck_assert(!w || w == (struct cluster_watch *)&followers);
	followers = 0;
}

static void happens(const char *text) {
	known[nknown++] = text;
	if (followers)
		tell(follow_fn, follow_arg, text);
}

/* ---- watchers -------------------------------------------------------------------------------------------- */

static struct loop *loop, *http;
static struct live *live;

struct watcher {
	struct live_watcher *w;
	unsigned reports;
	char state[16], events[LIVE_EVENTS + 16];
	bool once, slow;
};

static bool on_report(void *arg, const char *text, size_t len) {
	struct watcher *w = arg;
	ck_assert_ptr_nonnull(w->w); /* not after it has let go */
	if (!text) {
		live_release(w->w);
		w->w = NULL;
		return true;
	}
	json_t *o = json_loadb(text, len, 0, NULL);
	const json_t *node = json_array_get(json_object_get(o, "nodes"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(node, "name")), "attic");
	if (w->slow) {
		json_decref(o);
		return false;
	}
	snprintf(w->state, sizeof w->state, "%s", json_string_value(json_object_get(node, "state")));
	json_decref(o);
	w->reports++;
	if (w->once) {
		live_release(w->w);
		w->w = NULL;
	}
	return true;
}

static bool on_event(void *arg, const char *text, size_t len) {
	struct watcher *w = arg;
	ck_assert_ptr_nonnull(w->w);
	if (w->slow)
		return false;
	json_t *o = json_loadb(text, len, 0, NULL);
	strcat(w->events, json_string_value(json_object_get(o, "text")));
	json_decref(o);
	return true;
}

static void watch(struct watcher *w) {
	ck_assert_int_eq(live_watch(&w->w, live, on_report, w->once ? NULL : on_event, w), 0);
	ck_assert_uint_eq(w->reports, 0); /* nothing within the call */
}

static void leave(struct watcher *w) {
	live_release(w->w);
	w->w = NULL;
}

static void begin(uint64_t seed) {
	sim_begin(seed);
	collected = 0;
	nknown = followers = 0;
	state = "up";
	since = 0;
	ck_assert_int_eq(loop_create(&loop), 0);
	ck_assert_int_eq(loop_create(&http), 0);
	ck_assert_int_eq(live_create(&live, loop, NULL, (struct cluster_events *)&followers), 0);
	ck_assert_int_eq(live_attach(live, http), 0);
}

/* As a daemon ends: the HTTP server first. */
static void end(void) {
	loop_destroy(http);
	live_destroy(live);
	ck_assert_uint_eq(followers, 0);
	sim_for(0);
	loop_destroy(loop);
	sim_end();
}

static void changes(const char *now) {
	state = now;
	on_change(on_change_arg, NULL, MEMBER_DOWN);
}

START_TEST(once) {
	struct watcher a = {.once = true}, b = {.once = true};
	begin((uint64_t)_i);
	sim_for(10000);
	ck_assert_uint_eq(collected, 0); /* nobody looks */
	changes("down");
	sim_for(10000);
	ck_assert_uint_eq(collected, 0);
	watch(&a);
	watch(&b);
	sim_for(LIVE_CHANGE_MS + 1);
	ck_assert_uint_eq(a.reports + b.reports, 2);
	ck_assert_str_eq(a.state, "down");
	ck_assert_uint_le(collected, 2);
	sim_for(10000);
	ck_assert_uint_le(collected, 2); /* nobody looks any more */
	end();
}
END_TEST

START_TEST(only_what_is_new) {
	struct watcher a = {0}, b = {0};
	begin((uint64_t)_i);
	watch(&a);
	sim_for(2 * LIVE_MS + 100);
	ck_assert_uint_eq(a.reports, 1);
	ck_assert_uint_eq(collected, 3);
	/* one that comes later gets its first at once */
	watch(&b);
	sim_for(100);
	ck_assert_uint_eq(b.reports, 1);
	ck_assert_uint_eq(a.reports, 1);
	/* time that passes is no news, but is said now and then */
	since = 9;
	sim_for(LIVE_QUIET_S * 1000 - 2 * LIVE_MS - 300);
	ck_assert_uint_eq(a.reports, 1);
	sim_for(LIVE_MS + 200);
	ck_assert_uint_eq(a.reports, 2);
	ck_assert_uint_eq(b.reports, 2);
	/* what is new without being told */
	state = "down";
	sim_for(LIVE_MS + 1);
	ck_assert_uint_eq(a.reports, 3);
	ck_assert_str_eq(b.state, "down");
	leave(&a);
	leave(&b);
	end();
}
END_TEST

START_TEST(changes_at_once) {
	struct watcher a = {0};
	begin((uint64_t)_i);
	watch(&a);
	sim_for(10);
	changes("down");
	for (int i = 0; i < 20; i++)
		changes("down"); /* one report for all */
	sim_for(LIVE_CHANGE_MS + 10);
	ck_assert_uint_eq(collected, 2);
	ck_assert_uint_eq(a.reports, 2);
	ck_assert_str_eq(a.state, "down");
	leave(&a);
	end();
}
END_TEST

START_TEST(slow_watchers) {
	struct watcher a = {0}, b = {.slow = true};
	begin((uint64_t)_i);
	watch(&a);
	watch(&b);
	sim_for(100);
	changes("down");
	sim_for(100);
	ck_assert_uint_eq(a.reports, 2);
	/* it reads again, and gets the state as it is, though nothing has changed since */
	b.slow = false;
	sim_for(LIVE_MS + 1);
	ck_assert_uint_eq(b.reports, 1);
	ck_assert_str_eq(b.state, "down");
	ck_assert_uint_eq(a.reports, 2);
	leave(&a);
	leave(&b);
	end();
}
END_TEST

/* A report that the HTTP thread has not taken yet is the only one. */
START_TEST(a_busy_server) {
	struct watcher a = {0};
	begin((uint64_t)_i);
	watch(&a);
	sim_for(100);
	unsigned before = collected;
	sim_hold(http, true);
	sim_for(10 * LIVE_MS);
	ck_assert_uint_le(collected, before + 1);
	changes("down");
	sim_for(10 * LIVE_MS);
	ck_assert_uint_le(collected, before + 1);
	sim_hold(http, false);
	sim_for(2 * LIVE_MS);
	ck_assert_str_eq(a.state, "down");
	leave(&a);
	end();
}
END_TEST

START_TEST(too_many) {
	struct watcher w[LIVE_WATCHERS_MAX + 1] = {{0}};
	begin(0);
	for (unsigned i = 0; i < LIVE_WATCHERS_MAX; i++)
		watch(&w[i]);
	ck_assert_int_eq(
	        live_watch(&w[LIVE_WATCHERS_MAX].w, live, on_report, NULL, &w[LIVE_WATCHERS_MAX]), -EBUSY);
	sim_for(100);
	leave(&w[3]);
	watch(&w[LIVE_WATCHERS_MAX]);
	sim_for(LIVE_MS + 1);
	ck_assert_uint_eq(w[LIVE_WATCHERS_MAX].reports, 1);
	for (unsigned i = 0; i <= LIVE_WATCHERS_MAX; i++)
		if (w[i].w)
			leave(&w[i]);
	sim_for(100);
	unsigned before = collected;
	sim_for(10000);
	ck_assert_uint_eq(collected, before);
	/* and for those who come again as often as for the first ones */
	w[0].reports = 0;
	watch(&w[0]);
	sim_for(4 * LIVE_MS + 10);
	ck_assert_uint_eq(collected, before + 5);
	leave(&w[0]);
	end();
}
END_TEST

START_TEST(not_for_ever) {
	struct watcher a = {0}, b = {.slow = true};
	begin(0);
	watch(&a);
	sim_for(1000);
	watch(&b);
	sim_for(LIVE_WATCH_S * 1000 - 1500);
	ck_assert(a.w && b.w);
	sim_for(1000);
	ck_assert(!a.w && b.w);
	sim_for(1000);
	ck_assert(!b.w);
	end();
}
END_TEST

START_TEST(events) {
	struct watcher a = {0}, b = {.slow = true}, c = {.once = true};
	begin((uint64_t)_i);
	happens("a");
	happens("b");
	watch(&c); /* it wants none */
	sim_for(1000);
	ck_assert_uint_eq(followers, 0);
	watch(&a);
	watch(&b);
	sim_for(10);
	happens("c");
	sim_for(LIVE_MS + 10);
	ck_assert_str_eq(a.events, "abc");
	ck_assert_str_eq(b.events, "");
	b.slow = false;
	sim_for(LIVE_MS + 10);
	ck_assert_str_eq(b.events, "abc");
	leave(&a);
	happens("d");
	sim_for(10);
	ck_assert_str_eq(b.events, "abcd");
	/* what happens while nobody looks is told to the next one, once */
	leave(&b);
	sim_for(10);
	ck_assert_uint_eq(followers, 0);
	happens("e");
	b.events[0] = 0;
	b.reports = 0;
	watch(&b);
	sim_for(LIVE_MS);
	ck_assert_str_eq(b.events, "abcde");
	leave(&b);
	end();
}
END_TEST

START_TEST(many_events) {
	struct watcher a = {.slow = true}, b = {0};
	char want[LIVE_EVENTS + 1] = "";
	begin(0);
	for (int i = 0; i < 3; i++)
		happens("x");
	watch(&a);
	watch(&b);
	sim_for(10);
	for (int i = 0; i < LIVE_EVENTS; i++)
		happens("y");
	sim_for(10);
	a.slow = false;
	sim_for(LIVE_MS);
	memset(want, 'y', LIVE_EVENTS);
	ck_assert_str_eq(a.events, want); /* the latest */
	ck_assert_uint_eq(strlen(b.events), LIVE_EVENTS + 3);
	leave(&a);
	leave(&b);
	end();
}
END_TEST

/* It ends while some watch, and while a report is on its way. */
START_TEST(the_daemon_ends) {
	struct watcher a = {0}, b = {.once = true};
	begin((uint64_t)_i);
	watch(&a);
	sim_for((uint64_t)_i % 3);
	watch(&b);
	for (int i = 0; i < _i % 4; i++)
		sim_step();
	leave(&a); /* as the server closes its exchanges */
	if (b.w)
		leave(&b);
	end();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("live");
	TCase *t = tcase_create("watchers");
	tcase_add_loop_test(t, once, 0, 5);
	tcase_add_loop_test(t, only_what_is_new, 0, 5);
	tcase_add_loop_test(t, changes_at_once, 0, 5);
	tcase_add_loop_test(t, slow_watchers, 0, 5);
	tcase_add_loop_test(t, a_busy_server, 0, 5);
	tcase_add_test(t, too_many);
	tcase_add_test(t, not_for_ever);
	tcase_add_loop_test(t, events, 0, 5);
	tcase_add_test(t, many_events);
	tcase_add_loop_test(t, the_daemon_ends, 0, 20);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
