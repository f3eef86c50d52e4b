/* peers: who is refused, junk on the port, members that break the rules, guests. */
#include "config.h"

#include "daemon/net/zap.h"
#include "daemon/net/zmq_socket.h"
#include "tests/support/peer_nodes.h"
#include <check.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <zmq.h>

static bool node0_up(void) {
	return nodes[0].ups == 1;
}

static bool node0_lost(void) {
	return nodes[0].downs == 1;
}

static bool second_pong(void) {
	return nodes[1].pongs == 1;
}

/* ---- who is refused ------------------------------------------------------------------------------------ */

START_TEST(strangers) {
	node_start(&nodes[0]);
	node_start(&nodes[1]);
	nodes[1].refuses[0] = true;
	node_call(&nodes[0], &nodes[1]);
	nodes_run(1500);
	ck_assert_uint_eq(nodes[0].ups, 0);
	/* the announced roster was late: it corrects itself */
	nodes[1].refuses[0] = false;
	ck_assert(nodes_until(node0_up, 6000));
}
END_TEST

START_TEST(expelled_with_an_open_connection) {
	two_nodes();
	unsigned pings = nodes[1].pings;
	nodes[1].refuses[0] = true;
	nodes[0].downs = 0;
	ck_assert_int_eq(send_ping(&nodes[0], &nodes[1].keys.public, 0), 0);
	ck_assert(nodes_until(node0_lost, 3000));
	ck_assert_str_eq(nodes[0].why, "expelled");
	ck_assert_uint_eq(nodes[1].pings, pings);
	nodes_run(1000);
	ck_assert_uint_eq(nodes[0].ups, 1);
	ck_assert_uint_eq(nodes[1].pings, pings);
}
END_TEST

static bool caller_named(void) {
	return strcmp(nodes[1].looked, "127.0.0.1") == 0;
}

START_TEST(wrong_server_key) {
	node_start(&nodes[0]);
	node_start(&nodes[1]);
	/* the key of node 2 is looked for where node 1 is */
	const char *endpoint = peers_endpoint(nodes[1].peers);
	ck_assert_int_eq(peers_connect(nodes[0].peers, &nodes[2].keys.public, &endpoint, 1), 0);
	/* the log of node 1 says who it is that looks for another there */
	ck_assert(nodes_until(caller_named, 10000));
	nodes_run(1000);
	ck_assert_uint_eq(nodes[0].ups, 0);
	ck_assert(!peers_linked(nodes[0].peers, &nodes[2].keys.public));
}
END_TEST

/* libzmq admits everybody where no authenticator answers: without it nothing else may start. */
static bool refuse_zap;
int zmq_bind(void *socket, const char *endpoint) {
	int (*real)(void *, const char *);
	*(void **)&real = dlsym(RTLD_NEXT, "zmq_bind");
	if (refuse_zap && strcmp(endpoint, "inproc://zeromq.zap.01") == 0) {
		errno = EADDRINUSE;
		return -1;
	}
	return real(socket, endpoint);
}

START_TEST(nothing_without_the_authenticator) {
	char err[200] = "";
	const struct peers_config c = {
	        .listen = "tcp://127.0.0.1:*", .keys = &nodes[0].keys, .admit = node_admit};
	refuse_zap = true;
	ck_assert_int_eq(peers_create(&nodes[0].peers, loop, &c, err, sizeof err), -EADDRINUSE);
	ck_assert_ptr_null(nodes[0].peers);
	ck_assert_ptr_nonnull(strstr(err, "authenticator"));
	refuse_zap = false;
	/* a port that is taken */
	node_start(&nodes[1]);
	const struct peers_config taken = {
	        .listen = peers_endpoint(nodes[1].peers), .keys = &nodes[0].keys, .admit = node_admit};
	ck_assert_int_eq(peers_create(&nodes[0].peers, loop, &taken, err, sizeof err), -EADDRINUSE);
	ck_assert_ptr_null(nodes[0].peers);
}
END_TEST

static int port_of(struct node *n) {
	return atoi(strrchr(peers_endpoint(n->peers), ':') + 1);
}

static int tcp_connect(int port) {
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert(connect(fd, (struct sockaddr *)&a, sizeof a) == 0 || errno == EINPROGRESS);
	return fd;
}

/* What is said on standard error while this runs, in lines. */
static int log_begin(char path[32], int *saved) {
	strcpy(path, "/tmp/check_peers.XXXXXX");
	int fd = mkstemp(path);
	fflush(stderr);
	*saved = dup(2);
	dup2(fd, 2);
	return fd;
}

static unsigned log_end(const char *path, int fd, int saved) {
	unsigned lines = 0;
	char c;
	fflush(stderr);
	dup2(saved, 2);
	close(saved);
	lseek(fd, 0, SEEK_SET);
	while (read(fd, &c, 1) == 1)
		lines += c == '\n';
	close(fd);
	unlink(path);
	return lines;
}

START_TEST(junk_on_the_port) {
	static const char http[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
	/* a ZMTP 3 greeting that asks for no encryption */
	static const uint8_t null_greeting[64] = {
	        0xff, 0, 0, 0, 0, 0, 0, 0, 1, 0x7f, 3, 0, 'N', 'U', 'L', 'L'};
	uint8_t noise[2000];
	char path[32];
	int saved, fds[300], n = 0;
	two_nodes();
	int log = log_begin(path, &saved);
	srand(1);
	for (int round = 0; round < 100; round++) {
		for (int k = 0; k < 3; k++) {
			int fd = tcp_connect(port_of(&nodes[0]));
			nodes_run(4);
			for (size_t i = 0; i < sizeof noise; i++)
				noise[i] = (uint8_t)rand();
			ssize_t w = k == 0   ? write(fd, http, sizeof http - 1)
			            : k == 1 ? write(fd, null_greeting, sizeof null_greeting)
			                     : write(fd, noise, sizeof noise);
			(void)w;
			fds[n++] = fd;
		}
	}
	nodes_run(500);
	while (n)
		close(fds[--n]);
	/* a key that nobody knows, again and again */
	for (int i = 0; i < 20; i++) {
		struct keys stranger;
		keys_generate(&stranger);
		void *ctx = zmq_ctx_new(), *s = socket_dealer(ctx, &stranger, &nodes[0].keys.public);
		ck_assert_int_eq(zmq_connect(s, peers_endpoint(nodes[0].peers)), 0);
		nodes_run(30);
		zmq_close(s);
		zmq_ctx_term(ctx);
	}
	nodes_run(200);
	unsigned lines = log_end(path, log, saved);
	printf("# 320 bad connections: %u lines of log\n", lines);
	ck_assert_uint_ge(lines, 1);
	ck_assert_uint_le(lines, 60);
	/* and all the while the node serves */
	ck_assert_uint_eq(nodes[0].downs + nodes[1].downs, 0);
	ck_assert_int_eq(send_ping(&nodes[1], &nodes[0].keys.public, 0), 0);
	ck_assert(nodes_until(second_pong, 2000));
}
END_TEST

/* ---- a member that breaks the rules ------------------------------------------------------------------- */

/* A connection of node 3's, by hand. */
struct raw {
	void *ctx, *s;
	uint64_t seq;
};

static void raw_open(struct raw *r, struct node *to) {
	r->seq = 0;
	r->ctx = zmq_ctx_new();
	r->s = socket_dealer(r->ctx, &nodes[3].keys, &to->keys.public);
	ck_assert_int_eq(zmq_connect(r->s, peers_endpoint(to->peers)), 0);
}

static void raw_close(struct raw *r) {
	zmq_close(r->s);
	zmq_ctx_term(r->ctx);
}

static void raw_frame(struct raw *r, const void *data, size_t len, bool more) {
	for (int i = 0; i < 500; i++) {
		if (zmq_send(r->s, data, len, ZMQ_DONTWAIT | (more ? ZMQ_SNDMORE : 0)) >= 0)
			return;
		nodes_run(10);
	}
	ck_abort_msg("cannot send");
}

static void raw_envelope(struct raw *r, Caravan__Envelope *env, uint64_t seq, bool more) {
	uint8_t *frame;
	size_t len;
	env->boot = 99;
	env->seq = seq;
	ck_assert_int_eq(wire_pack(env, &frame, &len), 0);
	raw_frame(r, frame, len, more);
	free(frame);
}

static void raw_hello(struct raw *r, uint32_t major, uint32_t minor) {
	Caravan__Hello hello = CARAVAN__HELLO__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(HELLO, hello, &hello);
	hello.major = major;
	hello.minor = minor;
	env.ref = 5;
	raw_envelope(r, &env, ++r->seq, false);
}

static void raw_ping(struct raw *r, uint64_t seq, bool more) {
	Caravan__Ping ping = CARAVAN__PING__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PING, ping, &ping);
	ping.time = nodes[0].expect;
	env.ref = 6;
	raw_envelope(r, &env, seq, more);
}

/* The body of the next answer; for Refused its ref goes to *ref. */
static unsigned raw_answer(struct raw *r, uint64_t *ref) {
	uint8_t frame[65536];
	char err[200];
	for (int i = 0; i < 300; i++) {
		int n = zmq_recv(r->s, frame, sizeof frame, ZMQ_DONTWAIT);
		if (n < 0) {
			nodes_run(10);
			continue;
		}
		Caravan__Envelope *env = wire_unpack(frame, (size_t)n, 0, WIRE_DEALER, err, sizeof err);
		ck_assert_msg(env, "%s", err);
		unsigned body = env->body_case;
		*ref = env->ref;
		wire_free(env);
		return body;
	}
	return 0;
}

/* After this, the link is one that no longer is: the node said so, with ref 0. */
static void raw_lost(struct raw *r) {
	uint64_t ref = 1;
	unsigned pings = nodes[0].pings;
	ck_assert_uint_eq(raw_answer(r, &ref), CARAVAN__ENVELOPE__BODY_REFUSED);
	ck_assert_uint_eq(ref, 0);
	/* nothing is taken until it begins anew */
	raw_ping(r, ++r->seq, false);
	ck_assert_uint_eq(raw_answer(r, &ref), CARAVAN__ENVELOPE__BODY_REFUSED);
	ck_assert_uint_eq(ref, 0);
	ck_assert_uint_eq(nodes[0].pings, pings);
}

static void raw_good(struct raw *r) {
	uint64_t ref;
	raw_open(r, &nodes[0]);
	raw_hello(r, WIRE_MAJOR, WIRE_MINOR);
	ck_assert_uint_eq(raw_answer(r, &ref), CARAVAN__ENVELOPE__BODY_WELCOME);
	ck_assert_uint_eq(ref, 5);
	raw_ping(r, ++r->seq, false);
	ck_assert_uint_eq(raw_answer(r, &ref), CARAVAN__ENVELOPE__BODY_PONG);
	ck_assert_uint_eq(ref, 6);
}

static void break_gap(struct raw *r) {
	raw_ping(r, r->seq += 2, false);
}
static void break_twice(struct raw *r) {
	raw_ping(r, r->seq, false);
}
static void break_second_hello(struct raw *r) {
	raw_hello(r, WIRE_MAJOR, WIRE_MINOR);
}

static void break_boot(struct raw *r) {
	Caravan__Cancel cancel = CARAVAN__CANCEL__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CANCEL, cancel, &cancel);
	uint8_t *frame;
	size_t len;
	env.boot = 100;
	env.seq = ++r->seq;
	ck_assert_int_eq(wire_pack(&env, &frame, &len), 0);
	raw_frame(r, frame, len, false);
	free(frame);
}

static void break_junk(struct raw *r) {
	raw_frame(r, "\xff\xff\xff\xff junk", 9, false);
}
static void break_empty(struct raw *r) {
	raw_frame(r, "", 0, false);
}

static void break_kind(struct raw *r) {
	Caravan__CtlStatus status = CARAVAN__CTL_STATUS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_STATUS, ctl_status, &status);
	raw_envelope(r, &env, ++r->seq, false);
}

static void break_large_envelope(struct raw *r) {
	char *big = calloc(1, WIRE_ENVELOPE_MAX + 1);
	raw_frame(r, big, WIRE_ENVELOPE_MAX + 1, false);
	free(big);
}

static void break_payload(struct raw *r) {
	raw_ping(r, ++r->seq, true);
	raw_frame(r, "abcd", 4, false);
}

static void break_empty_payload(struct raw *r) {
	raw_ping(r, ++r->seq, true);
	raw_frame(r, "", 0, false);
}

static void break_many_frames(struct raw *r) {
	raw_ping(r, ++r->seq, true);
	for (int i = 0; i < 50; i++)
		raw_frame(r, "abcd", 4, i < 49);
}

START_TEST(members_that_break_the_rules) {
	static void (*const breaks[])(struct raw *) = {break_gap, break_twice, break_second_hello, break_boot,
	        break_junk, break_empty, break_kind, break_large_envelope, break_payload, break_empty_payload,
	        break_many_frames};
	two_nodes();
	for (size_t i = 0; i < sizeof breaks / sizeof *breaks; i++) {
		struct raw r;
		raw_good(&r);
		breaks[i](&r);
		raw_lost(&r);
		raw_close(&r);
	}
	/* begins with anything but Hello, or with a Hello that is not the first */
	struct raw r;
	uint64_t ref;
	raw_open(&r, &nodes[0]);
	raw_ping(&r, 1, false);
	ck_assert_uint_eq(raw_answer(&r, &ref), CARAVAN__ENVELOPE__BODY_REFUSED);
	r.seq = 4;
	raw_hello(&r, WIRE_MAJOR, WIRE_MINOR);
	ck_assert_uint_eq(raw_answer(&r, &ref), CARAVAN__ENVELOPE__BODY_REFUSED);
	raw_close(&r);
	/* versions: the next minor one works, the one after it and another major one do not */
	raw_open(&r, &nodes[0]);
	raw_hello(&r, WIRE_MAJOR, WIRE_MINOR + 1);
	ck_assert_uint_eq(raw_answer(&r, &ref), CARAVAN__ENVELOPE__BODY_WELCOME);
	raw_close(&r);
	for (int i = 0; i < 2; i++) {
		raw_open(&r, &nodes[0]);
		raw_hello(&r, WIRE_MAJOR + (i == 1), WIRE_MINOR + 2 * (i == 0));
		ck_assert_uint_eq(raw_answer(&r, &ref), CARAVAN__ENVELOPE__BODY_REFUSED);
		ck_assert_uint_eq(ref, 5);
		raw_close(&r);
	}
	/* more than a message may be: libzmq closes the connection */
	raw_good(&r);
	char *big = calloc(1, WIRE_PAYLOAD_MAX + 65536);
	raw_ping(&r, ++r.seq, true);
	raw_frame(&r, big, WIRE_PAYLOAD_MAX + 65536, false);
	free(big);
	unsigned pings = nodes[0].pings;
	nodes_run(300);
	ck_assert_uint_eq(nodes[0].pings, pings);
	raw_close(&r);
	/* nobody else noticed */
	ck_assert_uint_eq(nodes[0].downs + nodes[1].downs, 0);
}
END_TEST

/* A server with node 3's key, by hand. */
struct server {
	void *ctx, *s;
	struct zap *zap;
	char endpoint[64];
	uint8_t route[64]; /* of who asked last */
	size_t len;
};

static bool everybody(void *arg, const struct node_id *key, const char **why) {
	(void)arg;
	(void)key;
	(void)why;
	return true;
}

static void server_start(struct server *v) {
	size_t len = sizeof v->endpoint;
	v->ctx = zmq_ctx_new();
	ck_assert_int_eq(zap_create(&v->zap, loop, v->ctx, everybody, NULL), 0);
	ck_assert_ptr_nonnull(v->s = socket_router(v->ctx, &nodes[3].keys, false));
	ck_assert_int_eq(zmq_bind(v->s, "tcp://127.0.0.1:*"), 0);
	ck_assert_int_eq(zmq_getsockopt(v->s, ZMQ_LAST_ENDPOINT, v->endpoint, &len), 0);
	const char *endpoint = v->endpoint;
	ck_assert_int_eq(peers_connect(nodes[0].peers, &nodes[3].keys.public, &endpoint, 1), 0);
}

static void server_stop(struct server *v) {
	peers_disconnect(nodes[0].peers, &nodes[3].keys.public);
	zmq_close(v->s);
	zap_destroy(v->zap);
	zmq_ctx_term(v->ctx);
}

/* Waits for a Hello. */
static void server_hello(struct server *v) {
	uint8_t frame[65536];
	char err[200];
	int n = -1;
	for (int i = 0; i < 500 && n < 0; i++) {
		n = zmq_recv(v->s, v->route, sizeof v->route, ZMQ_DONTWAIT);
		if (n < 0)
			nodes_run(10);
	}
	ck_assert_int_gt(n, 0);
	v->len = (size_t)n;
	n = zmq_recv(v->s, frame, sizeof frame, 0);
	Caravan__Envelope *env = wire_unpack(frame, (size_t)n, 0, WIRE_ROUTER, err, sizeof err);
	ck_assert_msg(env, "%s", err);
	ck_assert_int_eq(env->body_case, CARAVAN__ENVELOPE__BODY_HELLO);
	wire_free(env);
}

static void server_send(struct server *v, Caravan__Envelope *env, uint64_t seq) {
	uint8_t *frame;
	size_t len;
	env->boot = 99;
	env->seq = seq;
	env->ref = 1;
	ck_assert_int_eq(wire_pack(env, &frame, &len), 0);
	ck_assert_int_ge(zmq_send(v->s, v->route, v->len, ZMQ_SNDMORE), 0);
	ck_assert_int_ge(zmq_send(v->s, frame, len, 0), 0);
	free(frame);
}

static void server_welcome(struct server *v, uint64_t seq) {
	Caravan__Welcome welcome = CARAVAN__WELCOME__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(WELCOME, welcome, &welcome);
	welcome.major = WIRE_MAJOR;
	welcome.minor = WIRE_MINOR;
	server_send(v, &env, seq);
}

static void server_pong(struct server *v, uint64_t seq) {
	Caravan__Pong pong = CARAVAN__PONG__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PONG, pong, &pong);
	server_send(v, &env, seq);
}

static bool node0_pong(void) {
	return nodes[0].pongs == 1;
}

static bool node0_told_why(void) {
	return *peers_failure(nodes[0].peers, &nodes[3].keys.public);
}

START_TEST(servers_that_break_the_rules) {
	struct server v;
	node_start(&nodes[0]);
	/* a message is missing */
	server_start(&v);
	for (int i = 0; i < 2; i++) {
		server_hello(&v);
		server_welcome(&v, 1);
	}
	ck_assert(nodes_until(node0_up, 5000));
	server_pong(&v, 2);
	ck_assert(nodes_until(node0_pong, 5000));
	server_pong(&v, 4);
	ck_assert(nodes_until(node0_lost, 5000));
	ck_assert_str_eq(nodes[0].why, "message 4 after 2");
	ck_assert_uint_eq(nodes[0].pongs, 1);
	server_stop(&v);
	/* an answer comes before the Welcome */
	server_start(&v);
	server_hello(&v);
	server_pong(&v, 1);
	server_welcome(&v, 2);
	ck_assert(nodes_until(node0_told_why, 5000));
	ck_assert_ptr_nonnull(
	        strstr(peers_failure(nodes[0].peers, &nodes[3].keys.public), "(a message out of order)"));
	ck_assert_uint_eq(nodes[0].pongs, 1);
	server_stop(&v);
}
END_TEST

/* A guest may say Join, and nothing else. */
START_TEST(guests) {
	struct raw r;
	uint64_t ref;
	node_start(&nodes[0]);
	nodes[0].refuses[3] = true;
	nodes[0].guest = &nodes[3].keys.public;
	raw_open(&r, &nodes[0]);
	raw_hello(&r, WIRE_MAJOR, WIRE_MINOR);
	ck_assert_uint_eq(raw_answer(&r, &ref), CARAVAN__ENVELOPE__BODY_REFUSED);
	raw_ping(&r, ++r.seq, false);
	ck_assert_uint_eq(raw_answer(&r, &ref), CARAVAN__ENVELOPE__BODY_REFUSED);
	ck_assert_uint_eq(nodes[0].pings + nodes[0].words, 0);
	raw_close(&r);
}
END_TEST

/* Whether a connection of node 3's was closed. */
struct seen {
	struct raw raw;
	void *monitor;
	bool closed;
};

static void seen_open(struct seen *s, struct node *to) {
	raw_open(&s->raw, to);
	s->monitor = socket_monitor(s->raw.ctx, s->raw.s, ZMQ_EVENT_DISCONNECTED);
	ck_assert_ptr_nonnull(s->monitor);
	s->closed = false;
}

static struct seen silent, old, expelled;
static int silent_tcp;

static bool all_closed(void) {
	struct seen *all[] = {&silent, &old, &expelled};
	bool closed = true;
	char c, what[200];
	int event, fd;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		all[i]->closed |= socket_monitor_next(all[i]->monitor, &event, &fd, what, sizeof what);
		closed = closed && all[i]->closed;
	}
	ssize_t n = recv(
	        silent_tcp, &c, 1, MSG_PEEK | MSG_DONTWAIT); /* libzmq's greeting comes, and then the end */
	while (n == 1)
		n = recv(silent_tcp, &c, 1, MSG_DONTWAIT);
	return closed && (n == 0 || errno == ECONNRESET);
}

static void seen_close(struct seen *s) {
	socket_monitor_stop(s->raw.s);
	zmq_close(s->monitor);
	raw_close(&s->raw);
}

/* Who says nothing, is refused, or is expelled does not keep its connection; a link that is silent does. */
START_TEST(connections_that_are_no_links) {
	uint64_t ref;
	two_nodes();
	silent_tcp = tcp_connect(port_of(&nodes[0]));
	seen_open(&silent, &nodes[0]);
	seen_open(&old, &nodes[0]);
	raw_hello(&old.raw, WIRE_MAJOR + 1, 0);
	ck_assert_uint_eq(raw_answer(&old.raw, &ref), CARAVAN__ENVELOPE__BODY_REFUSED);
	seen_open(&expelled, &nodes[1]);
	raw_hello(&expelled.raw, WIRE_MAJOR, WIRE_MINOR);
	ck_assert_uint_eq(raw_answer(&expelled.raw, &ref), CARAVAN__ENVELOPE__BODY_WELCOME);
	nodes[1].refuses[3] = true;
	nodes_run(2000);
	ck_assert(!silent.closed && !old.closed && !expelled.closed);
	ck_assert(nodes_until(all_closed, 60000));
	nodes_run(2000);
	ck_assert_uint_eq(nodes[0].downs + nodes[1].downs, 0);
	ck_assert(peers_linked(nodes[0].peers, &nodes[1].keys.public) &&
	          peers_linked(nodes[1].peers, &nodes[0].keys.public));
	close(silent_tcp);
	seen_close(&silent);
	seen_close(&old);
	seen_close(&expelled);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("peers_refused");
	TCase *t = tcase_create("refused");
	tcase_add_checked_fixture(t, peer_setup, peer_teardown);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, nothing_without_the_authenticator);
	tcase_add_test(t, strangers);
	tcase_add_test(t, expelled_with_an_open_connection);
	tcase_add_test(t, wrong_server_key);
	tcase_add_test(t, junk_on_the_port);
	tcase_add_test(t, members_that_break_the_rules);
	tcase_add_test(t, servers_that_break_the_rules);
	tcase_add_test(t, guests);
	tcase_add_test(t, connections_that_are_no_links);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
