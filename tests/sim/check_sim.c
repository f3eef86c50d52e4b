/* What stands in for time, links and threads keeps what the product's own promise: order, losses, bounds. */
#include "tests/sim/clock.h"
#include "tests/sim/jobs.h"
#include "tests/sim/network.h"
#include "tests/sim/payloads.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct loop *one, *two;
static char seen[200]; /* a letter for each thing that happened */

static void note(void *arg) {
	size_t n = strlen(seen);
	ck_assert_uint_lt(n + 1, sizeof seen);
	seen[n] = *(const char *)arg;
	seen[n + 1] = 0;
}

static void begin(uint64_t seed) {
	sim_begin(seed);
	network_begin();
	seen[0] = 0;
	ck_assert_int_eq(loop_create(&one), 0);
	ck_assert_int_eq(loop_create(&two), 0);
}

static void end(void) {
	loop_destroy(one);
	loop_destroy(two);
	network_end();
	sim_end();
	ck_assert_uint_eq(payloads_open(), 0);
	ck_assert_uint_eq(jobs_open(), 0);
}

/* ---- time ---------------------------------------------------------------------------------------- */

START_TEST(what_is_due_first_runs_first) {
	begin(0);
	uint64_t start = loop_now_ns();
	loop_timer_start(one, 3600000, false, note, "d");
	loop_timer_start(one, 20, false, note, "c");
	loop_timer_start(two, 10, false, note, "b");
	loop_post(one, note, "a");
	struct loop_timer *never = loop_timer_start(one, 15, false, note, "x");
	loop_timer_stop(never);
	sim_for(19);
	ck_assert_str_eq(seen, "ab");
	ck_assert_uint_eq(loop_now_ns() - start, 19000000);
	ck_assert(sim_settle(100));
	ck_assert_str_eq(seen, "abcd");
	ck_assert_uint_eq(loop_now_ns() - start, 3600000000000u);
	ck_assert(!sim_step());
	end();
}
END_TEST

static struct loop_timer *again;
static unsigned fired;

static void stops_itself(void *arg) {
	note(arg);
	if (++fired == 3) {
		loop_timer_stop(again);
		again = NULL;
	}
}

START_TEST(timers_that_come_again) {
	begin(0);
	fired = 0;
	again = loop_timer_start(one, 10, true, stops_itself, "r");
	loop_timer_start(one, 25, false, note, "-");
	ck_assert(sim_settle(100));
	ck_assert_str_eq(seen, "rr-r");
	/* those that are left end with their loop, and what was posted runs */
	loop_timer_start(one, 10, true, note, "x");
	loop_post(one, note, "p");
	end();
	ck_assert_str_eq(seen, "rr-rp");
}
END_TEST

START_TEST(a_process_that_is_stopped) {
	begin(0);
	loop_timer_start(one, 10, false, note, "a");
	loop_timer_start(one, 20, false, note, "b");
	loop_timer_start(two, 15, false, note, "2");
	loop_timer_start(two, 40, false, note, "3");
	sim_hold(one, true);
	sim_for(30);
	ck_assert_str_eq(seen, "2");
	sim_hold(one, false);
	uint64_t now = loop_now_ns();
	ck_assert(sim_step() && sim_step());
	ck_assert_str_eq(seen, "2ab");
	ck_assert_uint_eq(loop_now_ns(), now); /* both were overdue */
	ck_assert(sim_settle(10));
	ck_assert_str_eq(seen, "2ab3");
	end();
}
END_TEST

static uint64_t read_ns;

static void read_clock(void *arg) {
	(void)arg;
	read_ns = loop_now_ns();
}

START_TEST(a_clock_that_jumps) {
	begin(0);
	sim_shift(one, -5000000000);
	loop_post(one, read_clock, NULL);
	ck_assert(sim_settle(10));
	ck_assert_uint_eq(read_ns, sim_now_ns() - 5000000000u);
	loop_post(two, read_clock, NULL);
	ck_assert(sim_settle(10));
	ck_assert_uint_eq(read_ns, sim_now_ns());
	end();
}
END_TEST

/* Eight timers at the same time, and four posts of a loop among them. */
static const char *order_of(uint64_t seed) {
	static const char letter[] = "abcdefgh", posts[] = "1234";
	begin(seed);
	for (int i = 0; i < 8; i++)
		loop_timer_start(i % 2 ? one : two, 0, false, note, (void *)&letter[i]);
	for (int i = 0; i < 4; i++)
		loop_post(one, note, (void *)&posts[i]);
	ck_assert(sim_settle(100));
	end();
	return seen;
}

START_TEST(a_seed_chooses_among_those_due_at_once) {
	char first[sizeof seen];
	unsigned others = 0;
	ck_assert_str_eq(order_of(0), "abcdefgh1234");
	for (uint64_t seed = 1; seed < 20; seed++) {
		snprintf(first, sizeof first, "%s", order_of(seed));
		ck_assert_str_eq(order_of(seed), first);
		others += strcmp(first, "abcdefgh1234") != 0;
		const char *at = first;
		for (const char *p = "1234"; *p; p++) {
			ck_assert_ptr_nonnull(at = strchr(at, *p));
			at++;
		}
		ck_assert_uint_eq(strlen(first), 12);
	}
	ck_assert_uint_eq(others, 19);
}
END_TEST

/* ---- jobs ---------------------------------------------------------------------------------------- */

static struct executor *executor;
static unsigned cancels;

static void work(void *arg) {
	ck_assert(!loop_on_thread(one));
	note(arg);
	sim_spend(5000000);
}

static void worked(void *arg, bool cancelled) {
	ck_assert(loop_on_thread(one));
	note((char[]){(char)(*(const char *)arg - 32)});
	cancels += cancelled;
}

START_TEST(jobs_run_in_order_and_take_their_time) {
	begin(0);
	ck_assert_int_eq(executor_create(&executor, one), 0);
	uint64_t start = loop_now_ns();
	ck_assert_int_eq(executor_submit(executor, work, worked, "a"), 0);
	ck_assert_int_eq(executor_submit(executor, work, worked, "b"), 0);
	loop_timer_start(one, 7, false, note, "-");
	ck_assert_str_eq(seen, ""); /* not within the call */
	ck_assert_uint_eq(executor_open(executor), 2);
	ck_assert(sim_settle(100));
	ck_assert_str_eq(seen, "aAb-B");
	ck_assert_uint_eq(loop_now_ns() - start, 10000000);
	ck_assert_uint_eq(executor_open(executor), 0);
	jobs_refuse(1);
	ck_assert_int_eq(executor_submit(executor, work, worked, "x"), -ENOMEM);
	jobs_hold(one, true);
	ck_assert_int_eq(executor_submit(executor, work, worked, "c"), 0);
	ck_assert(sim_settle(100));
	ck_assert_str_eq(seen, "aAb-B");
	jobs_hold(one, false);
	ck_assert(sim_settle(100));
	ck_assert_str_eq(seen, "aAb-BcC");
	executor_destroy(executor);
	end();
}
END_TEST

START_TEST(an_executor_that_ends) {
	begin(0);
	cancels = 0;
	ck_assert_int_eq(executor_create(&executor, one), 0);
	for (const char *p = "abc"; *p; p++)
		ck_assert_int_eq(executor_submit(executor, work, worked, (void *)p), 0);
	ck_assert(sim_step()); /* the first has run, and is not over */
	executor_destroy(executor);
	ck_assert_str_eq(seen, "aABC");
	ck_assert_uint_eq(cancels, 2);
	ck_assert(sim_settle(100));
	ck_assert_str_eq(seen, "aABC");
	end();
}
END_TEST

/* ---- links --------------------------------------------------------------------------------------- */

static struct end {
	struct keys keys;
	struct peers *peers;
	const struct node_id *refuses, *guest;
	unsigned ups, downs, pings, pongs, heard;
	uint64_t last;
	bool disorder;
	struct peers_from asked;
	char why[240];
} a, b;

static enum peers_verdict admit(void *arg, const struct node_id *key, const char **why) {
	struct end *e = arg;
	*why = "the test wants it so";
	if (e->guest && node_id_equal(e->guest, key))
		return PEERS_INVITED;
	return e->refuses && node_id_equal(e->refuses, key) ? PEERS_REFUSE : PEERS_MEMBER;
}

static void link_changed(void *arg, const struct node_id *node, bool up, const char *why) {
	struct end *e = arg;
	(void)node;
	*(up ? &e->ups : &e->downs) += 1;
	snprintf(e->why, sizeof e->why, "%s", why);
}

static void heard(void *arg, const struct node_id *from, uint32_t minor, uint32_t arithmetic,
        Caravan__Entry *const *entries, size_t count) {
	struct end *e = arg;
	(void)from;
	(void)entries;
	(void)count;
	ck_assert_uint_eq(minor, WIRE_MINOR);
	ck_assert_uint_eq(arithmetic, 7);
	e->heard++;
}

static void on_ping(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct end *e = arg;
	(void)payload;
	e->disorder |= env->ping->time <= e->last;
	e->last = env->ping->time;
	e->pings++;
	e->asked = *from;
}

static void on_pong(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct end *e = arg;
	(void)from;
	(void)env;
	(void)payload;
	e->pongs++;
}

static void on_join(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct end *e = arg;
	(void)payload;
	ck_assert(from->invited);
	ck_assert_str_eq(env->join->dialed, peers_endpoint(e->peers));
	peers_refuse(e->peers, from, "no more beds");
}

static void start(struct end *e, struct loop *l, int key) {
	char err[200];
	const struct peers_config c = {.listen = "tcp://10.0.0.1:*",
	        .keys = &e->keys,
	        .admit = admit,
	        .link = link_changed,
	        .roster_received = heard,
	        .arithmetic = 7,
	        .arg = e};
	memset(e, 0, sizeof *e);
	memset(e->keys.public.b, key, sizeof e->keys.public.b);
	ck_assert_int_eq(peers_create(&e->peers, l, &c, err, sizeof err), 0);
	peers_on(e->peers, CARAVAN__ENVELOPE__BODY_PING, on_ping, e);
	peers_on(e->peers, CARAVAN__ENVELOPE__BODY_PONG, on_pong, e);
	peers_on(e->peers, CARAVAN__ENVELOPE__BODY_JOIN, on_join, e);
}

static void call(struct end *from, const struct end *to) {
	const char *endpoint = peers_endpoint(to->peers);
	ck_assert_int_eq(peers_connect(from->peers, &to->keys.public, &endpoint, 1), 0);
}

static void links_begin(uint64_t seed) {
	begin(seed);
	start(&a, one, 1);
	start(&b, two, 2);
}

static void links_end(void) {
	peers_destroy(a.peers);
	peers_destroy(b.peers);
	ck_assert_uint_eq(network_under_way(), 0);
	end();
}

static int ping(struct end *from, const struct end *to, uint64_t time) {
	Caravan__Ping p = CARAVAN__PING__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PING, ping, &p);
	p.time = time;
	env.ref = peers_ref(from->peers);
	return peers_send(from->peers, &to->keys.public, PEERS_CONTROL, &env, NULL);
}

static int pong(struct end *e) {
	Caravan__Pong p = CARAVAN__PONG__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PONG, pong, &p);
	return peers_answer(e->peers, &e->asked, &env, NULL);
}

START_TEST(questions_and_answers) {
	links_begin((uint64_t)_i);
	ck_assert_int_eq(ping(&a, &b, 1), -ENOTCONN);
	call(&a, &b);
	ck_assert(sim_settle(100));
	ck_assert(peers_linked(a.peers, &b.keys.public) && !peers_linked(b.peers, &a.keys.public));
	ck_assert_uint_eq(a.ups, 1);
	ck_assert_uint_eq(a.heard + b.heard, 2);
	for (uint64_t i = 1; i <= 100; i++)
		ck_assert_int_eq(ping(&a, &b, i), 0);
	ck_assert_uint_eq(b.pings, 0);
	ck_assert(sim_settle(1000));
	ck_assert_uint_eq(b.pings, 100);
	ck_assert(!b.disorder);
	ck_assert_int_eq(pong(&b), 0);
	/* to oneself: the same way, no link needed */
	ck_assert_int_eq(ping(&a, &a, 1), 0);
	ck_assert(sim_settle(100));
	ck_assert_uint_eq(a.pongs, 1);
	ck_assert_uint_eq(a.pings, 1);
	ck_assert(a.asked.local);
	links_end();
}
END_TEST

START_TEST(a_way_that_is_cut) {
	links_begin(0);
	call(&a, &b);
	ck_assert(sim_settle(100));
	network_cut(&a.keys.public, &b.keys.public, true);
	ck_assert_int_eq(ping(&a, &b, 1), 0);
	ck_assert_int_eq(ping(&a, &b, 2), 0);
	sim_for(1000);
	ck_assert_uint_eq(b.pings, 0);
	/* for a while: all of it comes, in order */
	network_cut(&a.keys.public, &b.keys.public, false);
	sim_for(10);
	ck_assert_uint_eq(b.pings, 2);
	ck_assert(!b.disorder);
	ck_assert_uint_eq(a.downs, 0);
	/* for long: it is lost, and what was under way does not come */
	network_cut(&a.keys.public, &b.keys.public, true);
	ck_assert_int_eq(ping(&a, &b, 3), 0);
	sim_for(10000);
	ck_assert_uint_eq(a.downs, 1);
	ck_assert_int_eq(ping(&a, &b, 4), -ENOTCONN);
	ck_assert_int_eq(pong(&b), -EHOSTUNREACH);
	network_cut(&a.keys.public, &b.keys.public, false);
	sim_for(10000);
	ck_assert_uint_eq(a.ups, 2);
	ck_assert_uint_eq(b.pings, 2);
	links_end();
}
END_TEST

START_TEST(links_that_are_lost) {
	links_begin(0);
	call(&a, &b);
	ck_assert(sim_settle(100));
	ck_assert_int_eq(ping(&a, &b, 1), 0);
	network_lose(&a.keys.public, &b.keys.public, "a cable");
	ck_assert_uint_eq(a.downs, 0); /* not within the call */
	ck_assert(sim_settle(1000));
	ck_assert_uint_eq(a.downs, 1);
	ck_assert_uint_eq(a.ups, 2);
	ck_assert_uint_eq(b.pings, 0);
	/* who is not admitted any more loses the link with the next message */
	b.refuses = &a.keys.public;
	ck_assert_int_eq(ping(&a, &b, 2), 0);
	sim_for(10000);
	ck_assert_uint_eq(b.pings, 0);
	ck_assert_uint_eq(a.downs, 2);
	ck_assert(strstr(peers_failure(a.peers, &b.keys.public), "not admitted"));
	b.refuses = NULL;
	sim_for(10000);
	ck_assert(peers_linked(a.peers, &b.keys.public));
	/* a process that ends takes its links with it */
	peers_destroy(b.peers);
	sim_for(10);
	ck_assert_uint_eq(a.downs, 3);
	ck_assert_str_eq(a.why, "the connection was closed");
	start(&b, two, 2); /* elsewhere */
	sim_for(10000);
	ck_assert(!peers_linked(a.peers, &b.keys.public));
	peers_hint(a.peers, &b.keys.public, peers_endpoint(b.peers));
	sim_for(10000);
	ck_assert(peers_linked(a.peers, &b.keys.public));
	links_end();
}
END_TEST

START_TEST(a_queue_that_is_full) {
	links_begin(0);
	call(&a, &b);
	ck_assert(sim_settle(100));
	network_queue(3);
	for (uint64_t i = 1; i <= 3; i++)
		ck_assert_int_eq(ping(&a, &b, i), 0);
	ck_assert_int_eq(ping(&a, &b, 4), -EAGAIN);
	ck_assert(sim_settle(100));
	ck_assert_int_eq(ping(&a, &b, 5), 0);
	ck_assert(sim_settle(100));
	ck_assert_uint_eq(b.pings, 4);
	links_end();
}
END_TEST

START_TEST(slow_ways) {
	links_begin(0);
	call(&a, &b);
	network_delay(NULL, NULL, 1000000);
	network_delay(&a.keys.public, &b.keys.public, 40000000);
	ck_assert(sim_settle(100));
	uint64_t start_ns = sim_now_ns();
	ck_assert_int_eq(ping(&a, &b, 1), 0);
	network_delay(&a.keys.public, &b.keys.public, 0); /* what follows does not overtake */
	ck_assert_int_eq(ping(&a, &b, 2), 0);
	ck_assert(sim_settle(100));
	ck_assert_uint_eq(sim_now_ns() - start_ns, 40000000);
	ck_assert(!b.disorder);
	ck_assert_int_eq(pong(&b), 0);
	ck_assert(sim_settle(100));
	ck_assert_uint_eq(sim_now_ns() - start_ns, 41000000);
	network_rate(&a.keys.public, &b.keys.public, 100);
	for (uint64_t i = 3; i < 13; i++)
		ck_assert_int_eq(ping(&a, &b, i), 0);
	start_ns = sim_now_ns();
	ck_assert(sim_settle(100));
	ck_assert_uint_gt(sim_now_ns() - start_ns, 1000000000); /* ten, more than ten bytes each */
	links_end();
}
END_TEST

static enum network_verdict verdict;

static enum network_verdict watch(void *arg, const struct node_id *from, const struct node_id *to,
        const Caravan__Envelope *env, const struct payload *payload) {
	(void)arg;
	(void)from;
	(void)to;
	(void)payload;
	return env->body_case == CARAVAN__ENVELOPE__BODY_PING ? verdict : NETWORK_PASS;
}

START_TEST(messages_that_the_test_holds) {
	links_begin(0);
	call(&a, &b);
	network_watch(watch, NULL);
	ck_assert(sim_settle(100));
	verdict = NETWORK_DROP;
	ck_assert_int_eq(ping(&a, &b, 1), 0);
	verdict = NETWORK_TWICE;
	ck_assert_int_eq(ping(&a, &b, 2), 0);
	ck_assert(sim_settle(100));
	ck_assert_uint_eq(b.pings, 2);
	ck_assert_uint_eq(b.last, 2);
	verdict = NETWORK_KEEP;
	ck_assert_int_eq(ping(&a, &b, 3), 0);
	ck_assert_int_eq(ping(&a, &b, 4), 0);
	ck_assert(sim_settle(100));
	ck_assert_uint_eq(b.pings, 2);
	ck_assert_uint_eq(network_kept(), 2);
	network_let_go(1);
	ck_assert(sim_settle(100));
	ck_assert_uint_eq(b.last, 4);
	network_let_go(0);
	ck_assert(sim_settle(100));
	ck_assert_uint_eq(b.last, 3);
	ck_assert(b.disorder);
	links_end();
}
END_TEST

static char joined[300];

static void join_done(
        void *arg, Caravan__Entry *const *entries, size_t count, const char *endpoint, const char *error) {
	(void)arg;
	(void)entries;
	(void)count;
	(void)endpoint;
	snprintf(joined, sizeof joined, "%s", error);
}

START_TEST(guests) {
	links_begin(0);
	struct keys invitation = {{{9}}, {0}};
	Caravan__Join ask = CARAVAN__JOIN__INIT;
	Caravan__Entry entry = CARAVAN__ENTRY__INIT;
	const char *endpoint = peers_endpoint(b.peers);
	uint8_t proof[KEYS_PROOF] = {0};
	entry.node = (ProtobufCBinaryData){sizeof a.keys.public.b, a.keys.public.b};
	entry.version = 1;
	entry.name = (char *)"guest";
	ask.entry = &entry;
	ask.proof = (ProtobufCBinaryData){sizeof proof, proof};
	b.guest = &invitation.public;
	ck_assert_int_eq(
	        peers_join(a.peers, &invitation, &b.keys.public, &endpoint, 1, &ask, join_done, NULL), 0);
	ck_assert(sim_settle(100));
	ck_assert_str_eq(joined, "no more beds");
	const char *nowhere = "tcp://10.0.0.9:1";
	ck_assert_int_eq(
	        peers_join(a.peers, &invitation, &b.keys.public, &nowhere, 1, &ask, join_done, NULL), 0);
	ck_assert(sim_settle(100));
	ck_assert(strstr(joined, "cannot reach"));
	links_end();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("sim");
	TCase *t = tcase_create("time");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, what_is_due_first_runs_first);
	tcase_add_test(t, timers_that_come_again);
	tcase_add_test(t, a_process_that_is_stopped);
	tcase_add_test(t, a_clock_that_jumps);
	tcase_add_test(t, a_seed_chooses_among_those_due_at_once);
	suite_add_tcase(s, t);
	t = tcase_create("jobs");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, jobs_run_in_order_and_take_their_time);
	tcase_add_test(t, an_executor_that_ends);
	suite_add_tcase(s, t);
	t = tcase_create("links");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, questions_and_answers, 0, 4);
	tcase_add_test(t, a_way_that_is_cut);
	tcase_add_test(t, links_that_are_lost);
	tcase_add_test(t, a_queue_that_is_full);
	tcase_add_test(t, slow_ways);
	tcase_add_test(t, messages_that_the_test_holds);
	tcase_add_test(t, guests);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
