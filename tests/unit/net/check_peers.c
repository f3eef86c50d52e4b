/* peers: handshakes, messages both ways, links that are lost and restored. */
#include "config.h"

#include "daemon/net/resolver.h"
#include "tests/support/peer_nodes.h"
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static bool first_pong(void) {
	return nodes[0].pongs == 1;
}

static bool both_up_one_way(void) {
	return peers_linked(nodes[0].peers, &nodes[1].keys.public);
}

static bool all_hops(void) {
	return nodes[0].acks == 200;
}

START_TEST(greeting) {
	two_nodes();
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(nodes[i].ups, 1);
		ck_assert_uint_eq(nodes[i].downs, 0);
		ck_assert_uint_eq(nodes[i].heard, 2); /* a Hello's roster and a Welcome's */
		ck_assert_uint_eq(nodes[i].arithmetic, 7);
		ck_assert_uint_eq(nodes[i].minor, WIRE_MINOR);
		ck_assert(peers_linked(nodes[i].peers, &nodes[i].keys.public));
		ck_assert(!peers_linked(nodes[i].peers, &nodes[2].keys.public));
	}
	ck_assert_int_eq(send_ping(&nodes[0], &nodes[2].keys.public, 0), -ENOTCONN);
	ck_assert_int_eq(send_ping(&nodes[0], &nodes[1].keys.public, 0), 0);
	ck_assert(nodes_until(first_pong, 2000));
	ck_assert(!nodes[1].asked.local && !nodes[1].asked.invited);
	ck_assert(node_id_equal(&nodes[1].asked.node, &nodes[0].keys.public));
	nodes_run(50);
	ck_assert_uint_eq(nodes[0].pongs, 1);
}
END_TEST

#define MANY 5000

/* Sends what the queue takes, to everybody, on both channels; more when the loop comes round again. */
static unsigned sent[2][2];
static void pump(void *arg) {
	(void)arg;
	for (int i = 0; i < 2; i++) {
		struct node *to = &nodes[1 - i];
		int rc = 0;
		while (sent[i][0] < MANY && (rc = send_ping(&nodes[i], &to->keys.public, sent[i][0])) == 0)
			sent[i][0]++;
		ck_assert(rc == 0 || rc == -EAGAIN);
		while (sent[i][1] < MANY && (rc = send_step(&nodes[i], &to->keys.public, PEERS_BULK,
		                                     sent[i][1] + 1, 16 + sent[i][1] % 50 * 400)) == 0)
			sent[i][1]++;
		ck_assert(rc == 0 || rc == -EAGAIN);
	}
}

static bool all_through(void) {
	pump(NULL);
	for (int i = 0; i < 2; i++)
		if (nodes[i].pings < MANY || nodes[i].pongs < MANY || nodes[i].steps < MANY ||
		        nodes[i].acks < MANY)
			return false;
	return true;
}

START_TEST(thousands_both_ways) {
	memset(sent, 0, sizeof sent);
	two_nodes();
	ck_assert(nodes_until(all_through, 60000));
	for (int i = 0; i < 2; i++) {
		ck_assert(!nodes[i].disorder);
		ck_assert_uint_eq(nodes[i].downs, 0);
		ck_assert_uint_eq(nodes[i].pings, MANY);
		ck_assert_uint_eq(nodes[i].acks, MANY);
	}
}
END_TEST

static bool local_done(void) {
	return nodes[0].pongs == 200 && nodes[0].acks == 200;
}

START_TEST(to_ourselves) {
	node_start_at(&nodes[0], NULL);
	for (unsigned i = 0; i < 200; i++) {
		ck_assert_int_eq(send_ping(&nodes[0], &nodes[0].keys.public, i), 0);
		ck_assert_int_eq(send_step(&nodes[0], &nodes[0].keys.public, PEERS_CONTROL, i + 1, 64), 0);
	}
	ck_assert_uint_eq(nodes[0].pings, 0); /* never from within the call */
	ck_assert(nodes_until(local_done, 5000));
	ck_assert(nodes[0].asked.local);
	ck_assert(!nodes[0].disorder);
	/* the queue is bounded */
	int rc = 0;
	for (unsigned i = 200; i < 100000 && rc == 0; i++)
		rc = send_ping(&nodes[0], &nodes[0].keys.public, i);
	ck_assert_int_eq(rc, -EAGAIN);
	/* what a ROUTER does not take is our own mistake, and does not leave */
	Caravan__Pong pong = CARAVAN__PONG__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PONG, pong, &pong);
	nodes_run(300);
	ck_assert_int_eq(
	        peers_send(nodes[0].peers, &nodes[0].keys.public, PEERS_CONTROL, &env, NULL), -EINVAL);
}
END_TEST

static bool three_up(void) {
	for (int i = 0; i < 3; i++)
		for (int k = 0; k < 3; k++)
			if (!peers_linked(nodes[i].peers, &nodes[k].keys.public))
				return false;
	return true;
}

START_TEST(three_nodes) {
	for (int i = 0; i < 3; i++)
		node_start(&nodes[i]);
	for (int i = 0; i < 3; i++)
		for (int k = 0; k < 3; k++)
			if (i != k)
				node_call(&nodes[i], &nodes[k]);
	ck_assert(nodes_until(three_up, 5000));
	ck_assert_int_eq(send_ping(&nodes[0], &nodes[1].keys.public, 0), 0);
	ck_assert_int_eq(send_ping(&nodes[2], &nodes[1].keys.public, 1), 0);
	ck_assert(nodes_until(first_pong, 2000));
}
END_TEST

static bool node0_lost(void) {
	return nodes[0].downs == 1;
}
static bool node0_again(void) {
	return nodes[0].ups == 2;
}
static bool asked(void) {
	return nodes[1].pings == 1;
}

START_TEST(lost_and_mended) {
	char endpoint[256];
	two_nodes();
	snprintf(endpoint, sizeof endpoint, "%s", peers_endpoint(nodes[1].peers));
	nodes[1].quiet = true;
	ck_assert_int_eq(send_ping(&nodes[0], &nodes[1].keys.public, 0), 0);
	ck_assert(nodes_until(asked, 2000));
	/* the other goes away: told once; an answer to the old question finds nobody */
	node_stop(&nodes[0]);
	node_start(&nodes[0]);
	node_call(&nodes[0], &nodes[1]);
	ck_assert(nodes_until(both_up_one_way, 5000));
	ck_assert_int_eq(peers_refuse(nodes[1].peers, &nodes[1].asked, "too late"), -EHOSTUNREACH);
	/* and comes back at the same place */
	nodes[0].ups = nodes[0].downs = 0;
	node_stop(&nodes[1]);
	ck_assert(nodes_until(node0_lost, 2000));
	ck_assert_int_eq(send_ping(&nodes[0], &nodes[1].keys.public, 0), -ENOTCONN);
	nodes[1].expect = 0;
	nodes[0].ups = 1;
	node_start_at(&nodes[1], endpoint);
	ck_assert(nodes_until(node0_again, 10000));
	/* dropped by us: the same */
	nodes[0].downs = 0;
	nodes[0].ups = 1;
	peers_drop(nodes[0].peers, &nodes[1].keys.public, "tired of it");
	ck_assert(!peers_linked(nodes[0].peers, &nodes[1].keys.public));
	ck_assert_uint_eq(nodes[0].downs, 0); /* not from within the call */
	ck_assert(nodes_until(node0_again, 5000));
	ck_assert_uint_eq(nodes[0].downs, 1);
	peers_disconnect(nodes[0].peers, &nodes[1].keys.public);
	nodes_run(500);
	ck_assert_uint_eq(nodes[0].downs, 1);
}
END_TEST

/* ---- several addresses ----------------------------------------------------------------------------------- */

/* A port where connections are taken and nobody ever says a word. */
static int mute_listen(char endpoint[64]) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert(fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(fd, 8) == 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	snprintf(endpoint, 64, "tcp://127.0.0.1:%u", ntohs(a.sin_port));
	return fd;
}

static bool node0_failed(void) {
	return *peers_failure(nodes[0].peers, &nodes[1].keys.public) != 0;
}

START_TEST(one_address_of_several) {
	char mute[64];
	const char *list[4] = {mute, "tcp://127.0.0.1:1"};
	const struct node_id *other = &nodes[1].keys.public;
	int fd = mute_listen(mute);
	node_start(&nodes[0]);
	node_start(&nodes[1]);
	/* at none of them, which it says, of the one where most happened */
	ck_assert_int_eq(peers_connect(nodes[0].peers, other, list, 2), 0);
	ck_assert(nodes_until(node0_failed, 20000));
	ck_assert_ptr_nonnull(strstr(peers_failure(nodes[0].peers, other), "127.0.0.1:"));
	/* the third is right */
	list[2] = peers_endpoint(nodes[1].peers);
	ck_assert_int_eq(peers_connect(nodes[0].peers, other, list, 3), 0);
	ck_assert(nodes_until(both_up_one_way, 30000));
	ck_assert_str_eq(peers_failure(nodes[0].peers, other), "");
	/* more addresses and another order are no reason to lose it */
	const char *more[3] = {"tcp://127.0.0.1:2", mute, list[2]};
	ck_assert_int_eq(peers_connect(nodes[0].peers, other, more, 3), 0);
	nodes_run(300);
	ck_assert_uint_eq(nodes[0].downs, 0);
	/* lost, it is found where it was, and not only after the dead ones in front had their time */
	nodes[0].ups = 1;
	peers_drop(nodes[0].peers, other, "tired of it");
	ck_assert(nodes_until(node0_again, 20000));
	/* it moved: by its own word, and then as somebody heard */
	nodes[0].downs = 0;
	ck_assert_int_eq(peers_connect(nodes[0].peers, other, more, 1), 0);
	ck_assert(nodes_until(node0_lost, 10000));
	ck_assert(!both_up_one_way());
	peers_hint(nodes[0].peers, other, list[2]);
	ck_assert(nodes_until(both_up_one_way, 20000));
	close(fd);
}
END_TEST

static struct loop_timer *flood;
/* In every turn of the loop. */
static void hint_flood(void *arg) {
	static unsigned n;
	char endpoint[64];
	(void)arg;
	snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1:%u", 1 + n++ % 6);
	peers_hint(nodes[0].peers, &nodes[1].keys.public, endpoint);
	flood = loop_timer_start(loop, 0, false, hint_flood, NULL);
	ck_assert_ptr_nonnull(flood);
}

/* Anybody can say that a node has called from somewhere: the addresses that it gave have their turn all the same. */
START_TEST(hints_keep_no_address_from_its_turn) {
	char endpoint[64];
	node_start(&nodes[0]);
	node_start(&nodes[1]);
	snprintf(endpoint, sizeof endpoint, "%s", peers_endpoint(nodes[1].peers));
	const char *list[] = {"tcp://127.0.0.1:7", "tcp://127.0.0.1:8", "tcp://127.0.0.1:9", endpoint};
	ck_assert_int_eq(peers_connect(nodes[0].peers, &nodes[1].keys.public, list, 4), 0);
	hint_flood(NULL);
	bool up = nodes_until(both_up_one_way, 15000);
	loop_timer_stop(flood);
	ck_assert(up);
}
END_TEST

static bool node2_up(void) {
	return peers_linked(nodes[2].peers, &nodes[1].keys.public);
}
static bool node2_out(void) {
	return nodes[2].downs > 0 && !node2_up();
}
static void both_speak(void *arg) {
	(void)arg;
	send_ping(&nodes[0], &nodes[1].keys.public, 0);
	send_ping(&nodes[2], &nodes[1].keys.public, 0);
}

/* Two machines with one key: who was first and only stood still for a while is first again. */
START_TEST(the_first_of_two_stays) {
	nodes[2].keys = nodes[0].keys;
	node_start(&nodes[0]);
	node_start(&nodes[1]);
	node_start(&nodes[2]);
	nodes[1].quiet = true;
	node_call(&nodes[0], &nodes[1]);
	ck_assert(nodes_until(both_up_one_way, 10000));
	/* it says nothing: the second is let in */
	node_call(&nodes[2], &nodes[1]);
	ck_assert(nodes_until(node2_up, 20000));
	/* it speaks again, and so does the second */
	struct loop_timer *often = loop_timer_start(loop, 50, true, both_speak, NULL);
	nodes[0].ups = 1;
	nodes[0].downs = 0;
	ck_assert(nodes_until(node2_out, 20000));
	ck_assert(nodes_until(both_up_one_way, 20000));
	nodes[0].downs = 0;
	nodes_run(3000);
	ck_assert_uint_eq(nodes[0].downs, 0);
	ck_assert(both_up_one_way() && !node2_up());
	loop_timer_stop(often);
}
END_TEST

static pthread_mutex_t held_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t held_changed = PTHREAD_COND_INITIALIZER;
static unsigned held, let_go; /* lookups of held.test that wait, and those of them that may go on */

static void hold(void) {
	pthread_mutex_lock(&held_lock);
	held++;
	while (!let_go)
		pthread_cond_wait(&held_changed, &held_lock);
	let_go--;
	held--;
	pthread_mutex_unlock(&held_lock);
}

static unsigned let_some_go(unsigned n) {
	pthread_mutex_lock(&held_lock);
	let_go += n;
	unsigned now = held;
	pthread_cond_broadcast(&held_changed);
	pthread_mutex_unlock(&held_lock);
	return now;
}

/* A name server that does not answer, one that does when it is let, and one that does. */
int getaddrinfo(
        const char *host, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (strcmp(host, "silent.test") == 0) {
		sleep(4);
		return EAI_AGAIN;
	}
	if (strcmp(host, "held.test") == 0) {
		hold();
		return EAI_AGAIN;
	}
	return real(strcmp(host, "node.test") == 0 ? "127.0.0.1" : host, service, hints, found);
}

static bool node2_failed(void) {
	return strstr(peers_failure(nodes[0].peers, &nodes[2].keys.public), "silent.test") != NULL;
}

/* While nobody answers for the name of one node, messages go to the others. */
START_TEST(names_hold_nobody_up) {
	char named[64];
	node_start(&nodes[0]);
	node_start(&nodes[1]);
	const char *silent = "tcp://silent.test:7070", *good = named;
	ck_assert_int_eq(peers_connect(nodes[0].peers, &nodes[2].keys.public, &silent, 1), 0);
	nodes_run(300);
	uint64_t t = loop_now_ns();
	snprintf(named, sizeof named, "tcp://node.test%s", strrchr(peers_endpoint(nodes[1].peers), ':'));
	ck_assert_int_eq(peers_connect(nodes[0].peers, &nodes[1].keys.public, &good, 1), 0);
	ck_assert(nodes_until(both_up_one_way, 20000));
	/* which is before any answer for the other: that one's failure is still to come */
	ck_assert_msg(!node2_failed(), "after %.1f s", (double)(loop_now_ns() - t) * 1e-9);
	ck_assert(nodes_until(node2_failed, 30000));
}
END_TEST

static void looked_up(void *arg, const char *endpoint, const char *why) {
	char *out = arg;
	snprintf(out, 64, "%s", endpoint ? endpoint : why);
}

/* Of a lookup that may be cancelled later: there is none any more. */
static void held_answered(void *arg, const char *endpoint, const char *why) {
	(void)endpoint;
	(void)why;
	*(struct resolve **)arg = NULL;
}

static bool held_are(void *arg) {
	return let_some_go(0) == *(unsigned *)arg;
}

static bool answered(void *arg) {
	return *(char *)arg != 0;
}

static void ask_held(struct resolve **r, unsigned char whose) {
	const struct node_id node = {{whose}};
	ck_assert_int_eq(resolve_start(r, loop, &node, "tcp://held.test:1", held_answered, r), 0);
}

static void ask_good(const char *endpoint, char *answer) {
	const struct node_id node = {{99}};
	struct resolve *r;
	*answer = 0;
	ck_assert_int_eq(resolve_start(&r, loop, &node, endpoint, looked_up, answer), 0);
}

/* However many names of one node are looked up, and however many nodes have names that nobody answers for. */
START_TEST(names_of_one_node_keep_no_other_waiting) {
	struct resolve *r[42];
	char answer[64];
	size_t n = 0;
	unsigned want = RESOLVE_EACH;
	for (; n < 20; n++)
		ask_held(&r[n], 0);
	ck_assert(nodes_wait(held_are, &want, 10000));
	ask_good("tcp://node.test:7", answer);
	ck_assert(nodes_wait(answered, answer, 10000));
	ck_assert_str_eq(answer, "tcp://127.0.0.1:7");
	/* three nodes more have two each, the others one */
	for (unsigned char node = 1; node < 12; node++)
		for (int i = 0; i < 2; i++) {
			ask_held(&r[n], node);
			n++;
		}
	want = RESOLVE_MAX;
	ck_assert(nodes_wait(held_are, &want, 10000));
	/* the next place is that of who has none, not of who came first */
	ask_good("tcp://node.test:8", answer);
	nodes_run(100);
	ck_assert_str_eq(answer, "");
	let_some_go(1);
	ck_assert(nodes_wait(answered, answer, 10000));
	ck_assert_str_eq(answer, "tcp://127.0.0.1:8");
	for (size_t i = 0; i < n; i++)
		resolve_cancel(r[i]);
	want = 0;
	let_some_go(RESOLVE_MAX);
	ck_assert(nodes_wait(held_are, &want, 10000));
}
END_TEST

START_TEST(listens_at_names) {
	char err[300] = "";
	struct peers *none;
	node_start_at(&nodes[0], "tcp://localhost:*");
	ck_assert_msg(strncmp(peers_endpoint(nodes[0].peers), "tcp://127.0.0.1:", 16) == 0 ||
	                      strncmp(peers_endpoint(nodes[0].peers), "tcp://[::1]:", 12) == 0,
	        "%s", peers_endpoint(nodes[0].peers));
	/* what stands for every address has both kinds, where the machine has */
	node_start_at(&nodes[1], "tcp://*:*");
	const char *port = strrchr(peers_endpoint(nodes[1].peers), ':');
	char endpoint[64];
	const char *at = endpoint;
	snprintf(endpoint, sizeof endpoint, "tcp://127.0.0.1%s", port);
	ck_assert_int_eq(peers_connect(nodes[0].peers, &nodes[1].keys.public, &at, 1), 0);
	ck_assert(nodes_until(both_up_one_way, 10000));
	if (strncmp(peers_endpoint(nodes[1].peers), "tcp://[::]:", 11) == 0) {
		node_start(&nodes[2]);
		snprintf(endpoint, sizeof endpoint, "tcp://[::1]%s", port);
		ck_assert_int_eq(peers_connect(nodes[2].peers, &nodes[1].keys.public, &at, 1), 0);
		ck_assert(nodes_until(node2_up, 10000));
	}
	/* a test network: nobody's address */
	const struct peers_config c = {.listen = "tcp://192.0.2.1:7070",
	        .keys = &nodes[2].keys,
	        .admit = node_admit,
	        .arg = &nodes[2]};
	ck_assert_int_ne(peers_create(&none, loop, &c, err, sizeof err), 0);
	ck_assert_msg(strstr(err, "no such address"), "%s", err);
}
END_TEST

static const char *gone;
static bool have(void *arg, const char *address) {
	(void)arg;
	return !gone || strcmp(address, gone) != 0;
}

START_TEST(an_address_of_ours_goes) {
	two_nodes();
	peers_readdress(nodes[0].peers, have, NULL);
	nodes_run(200);
	ck_assert_uint_eq(nodes[0].downs, 0);
	gone = "127.0.0.1";
	peers_readdress(nodes[0].peers, have, NULL);
	ck_assert(!peers_linked(nodes[0].peers, &nodes[1].keys.public));
	gone = NULL;
	ck_assert(nodes_until(both_up_one_way, 10000));
	ck_assert_uint_eq(nodes[0].downs, 1);
}
END_TEST

/* ---- how long a hop takes -------------------------------------------------------------------------------- */

static unsigned hops;
static bool hop(void) {
	if (nodes[0].acks == hops) {
		if (hops == 200)
			return true;
		hops++;
		ck_assert_int_eq(send_step(&nodes[0], &nodes[1].keys.public, PEERS_CONTROL, hops, 16384), 0);
	}
	return false;
}

static void on_hop(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	(void)arg;
	(void)from;
	(void)env;
	(void)payload;
	if (hop())
		loop_stop(loop);
}

START_TEST(hop_latency) {
	two_nodes();
	hops = 0;
	ck_assert_int_eq(peers_on(nodes[0].peers, CARAVAN__ENVELOPE__BODY_STEP_ACK, on_hop, NULL), 0);
	uint64_t t = loop_now_ns();
	hop();
	ck_assert(nodes_until(all_hops, 20000));
	printf("# 16 KiB there and its answer back, on one loop: %.0f us\n",
	        (double)(loop_now_ns() - t) / 1e3 / 200);
	ck_assert_uint_eq(nodes[1].steps, 200);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("peers");
	TCase *t = tcase_create("links");
	tcase_add_checked_fixture(t, peer_setup, peer_teardown);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, greeting);
	tcase_add_test(t, to_ourselves);
	tcase_add_test(t, three_nodes);
	tcase_add_test(t, thousands_both_ways);
	tcase_add_test(t, lost_and_mended);
	tcase_add_test(t, one_address_of_several);
	tcase_add_test(t, hints_keep_no_address_from_its_turn);
	tcase_add_test(t, an_address_of_ours_goes);
	tcase_add_test(t, listens_at_names);
	tcase_add_test(t, names_hold_nobody_up);
	tcase_add_test(t, names_of_one_node_keep_no_other_waiting);
	tcase_add_test(t, the_first_of_two_stays);
	tcase_add_test(t, hop_latency);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
