/* peers: several nodes on one loop, over real sockets of this machine. */
#include "config.h"

#include "daemon/net/peers.h"
#include "daemon/net/socket.h"
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

#define NODES 3

static struct loop *loop;
static bool timed_out;

/* ---- a node of the test ------------------------------------------------------------------------- */

struct node {
	struct keys keys;
	struct peers *peers;
	bool refuses[NODES + 1];     /* the keys of the others that it does not admit */
	const struct node_id *guest; /* the key of an invitation */
	unsigned ups, downs, words, heard;
	uint32_t arithmetic;
	char why[240];
	unsigned pings, pongs, steps, acks, refusals;
	uint64_t bytes, expect; /* received; number of the next message */
	bool disorder;
	char refusal[200];
	struct peers_from asked; /* the last question */
	bool quiet;              /* does not answer */
};
static struct node nodes[NODES + 1];

static enum peers_verdict node_admit(void *arg, const struct node_id *key, const char **why) {
	struct node *n = arg;
	if (n->guest && node_id_equal(key, n->guest))
		return PEERS_INVITED;
	for (int i = 0; i < NODES + 1; i++)
		if (node_id_equal(key, &nodes[i].keys.public)) {
			*why = "expelled";
			return n->refuses[i] ? PEERS_REFUSE : PEERS_MEMBER;
		}
	*why = "a stranger";
	return PEERS_REFUSE;
}

static void node_link(void *arg, const struct node_id *node, bool up, const char *why) {
	struct node *n = arg;
	(void)node;
	if (up)
		n->ups++;
	else
		n->downs++;
	snprintf(n->why, sizeof n->why, "%s", why);
}

static void node_heard(void *arg, const struct node_id *from, uint32_t arithmetic,
        Caravan__Entry *const *entries, size_t count) {
	struct node *n = arg;
	(void)from;
	(void)entries;
	n->heard += (unsigned)count;
	n->arithmetic = arithmetic;
}

static void node_roster(void *arg, Caravan__Entry ***entries, size_t *count) {
	static Caravan__Entry entry, *list[1] = {&entry};
	struct node *n = arg;
	caravan__entry__init(&entry);
	entry.node = (ProtobufCBinaryData){sizeof n->keys.public, n->keys.public.b};
	entry.version = 1;
	entry.name = (char *)"somebody";
	*entries = list;
	*count = 1;
}

static void node_word(void *arg, const struct node_id *from) {
	struct node *n = arg;
	(void)from;
	n->words++;
}

static void on_ping(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct node *n = arg;
	(void)payload;
	n->pings++;
	n->asked = *from;
	if (env->ping->time != n->expect++)
		n->disorder = true;
	if (n->quiet)
		return;
	Caravan__Envelope answer = CARAVAN__ENVELOPE__INIT;
	Caravan__Pong pong = CARAVAN__PONG__INIT;
	pong.time = env->ping->time;
	answer.body_case = CARAVAN__ENVELOPE__BODY_PONG;
	answer.pong = &pong;
	ck_assert_int_eq(peers_answer(n->peers, from, &answer, NULL), 0);
}

static void on_pong(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct node *n = arg;
	(void)from;
	(void)payload;
	if (env->pong->time != n->pongs)
		n->disorder = true;
	n->pongs++;
}

static void on_step(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct node *n = arg;
	n->steps++;
	ck_assert_ptr_nonnull(payload);
	const uint32_t *w = payload_data(payload);
	ck_assert_uint_eq((uintptr_t)w % 4, 0);
	if (w[0] != (uint32_t)env->step->step || w[payload_len(payload) / 4 - 1] != (uint32_t)env->step->step)
		n->disorder = true;
	n->bytes += payload_len(payload);
	Caravan__Envelope answer = CARAVAN__ENVELOPE__INIT;
	Caravan__StepAck ack = CARAVAN__STEP_ACK__INIT;
	ack.step = env->step->step;
	answer.body_case = CARAVAN__ENVELOPE__BODY_STEP_ACK;
	answer.step_ack = &ack;
	ck_assert_int_eq(peers_answer(n->peers, from, &answer, NULL), 0);
}

static void on_ack(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct node *n = arg;
	(void)from;
	(void)payload;
	n->acks++;
	if (env->step_ack->step != n->acks)
		n->disorder = true;
}

static void on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct node *n = arg;
	(void)from;
	(void)payload;
	n->refusals++;
	snprintf(n->refusal, sizeof n->refusal, "%s", env->refused->reason);
}

static void node_start_at(struct node *n, const char *listen) {
	char err[200] = "";
	const struct peers_config c = {.listen = listen,
	        .keys = &n->keys,
	        .admit = node_admit,
	        .link = node_link,
	        .roster = node_roster,
	        .heard = node_heard,
	        .word = node_word,
	        .arithmetic = 7,
	        .arg = n};
	ck_assert_msg(peers_create(&n->peers, loop, &c, err, sizeof err) == 0, "%s", err);
	peers_on(n->peers, CARAVAN__ENVELOPE__BODY_PING, on_ping, n);
	peers_on(n->peers, CARAVAN__ENVELOPE__BODY_PONG, on_pong, n);
	peers_on(n->peers, CARAVAN__ENVELOPE__BODY_STEP, on_step, n);
	peers_on(n->peers, CARAVAN__ENVELOPE__BODY_STEP_ACK, on_ack, n);
	peers_on(n->peers, CARAVAN__ENVELOPE__BODY_REFUSED, on_refused, n);
}

static void node_start(struct node *n) {
	node_start_at(n, "tcp://127.0.0.1:*");
}

static void node_stop(struct node *n) {
	peers_destroy(n->peers);
	n->peers = NULL;
}

static void node_call(struct node *from, struct node *to) {
	ck_assert_int_eq(peers_connect(from->peers, &to->keys.public, peers_endpoint(to->peers)), 0);
}

/* ---- waiting -------------------------------------------------------------------------------------- */

static void give_up(void *arg) {
	(void)arg;
	timed_out = true;
	loop_stop(loop);
}

static bool (*until)(void);
static void look(void *arg) {
	(void)arg;
	if (until())
		loop_stop(loop);
}

/* Runs the loop until the condition holds. */
static bool wait_for(bool (*condition)(void), unsigned ms) {
	timed_out = false;
	until = condition;
	struct loop_timer *limit = loop_timer_start(loop, ms, false, give_up, NULL);
	struct loop_timer *tick = loop_timer_start(loop, 2, true, look, NULL);
	loop_run(loop);
	loop_timer_stop(tick);
	if (!timed_out)
		loop_timer_stop(limit);
	return !timed_out;
}

static bool never(void) {
	return false;
}
static void run_for(unsigned ms) {
	wait_for(never, ms);
}

static void setup(void) {
	ck_assert_int_eq(loop_create(&loop), 0);
	memset(nodes, 0, sizeof nodes);
	for (int i = 0; i < NODES + 1; i++)
		ck_assert_int_eq(keys_generate(&nodes[i].keys), 0);
}

static void teardown(void) {
	for (int i = 0; i < NODES + 1; i++)
		node_stop(&nodes[i]);
	loop_destroy(loop);
}

/* ---- messages of the test -------------------------------------------------------------------------- */

static int send_ping(struct node *from, const struct node_id *to, uint64_t time) {
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	Caravan__Ping ping = CARAVAN__PING__INIT;
	ping.time = time;
	env.ref = peers_ref(from->peers);
	env.body_case = CARAVAN__ENVELOPE__BODY_PING;
	env.ping = &ping;
	return peers_send(from->peers, to, PEERS_CONTROL, &env, NULL);
}

static int send_step(
        struct node *from, const struct node_id *to, enum peers_channel ch, uint64_t number, size_t bytes) {
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	Caravan__Step step = CARAVAN__STEP__INIT;
	Caravan__Epoch epoch = CARAVAN__EPOCH__INIT;
	Caravan__StepSeq seq = CARAVAN__STEP_SEQ__INIT, *seqs[1] = {&seq};
	uint32_t blocks[1] = {3};
	struct payload *payload = payload_create(bytes);
	uint32_t *w = payload_data(payload);
	memset(w, 0, bytes);
	w[0] = w[bytes / 4 - 1] = (uint32_t)number;
	epoch.counter = 1;
	epoch.node = (ProtobufCBinaryData){sizeof from->keys.public, from->keys.public.b};
	seq.rows = 1;
	seq.blocks = (ProtobufCBinaryData){sizeof blocks, (uint8_t *)blocks};
	step.epoch = &epoch;
	step.model = (char *)"m";
	step.step = number;
	step.seqs = seqs;
	step.n_seqs = 1;
	step.rows = 1;
	env.ref = peers_ref(from->peers);
	env.body_case = CARAVAN__ENVELOPE__BODY_STEP;
	env.step = &step;
	int rc = peers_send(from->peers, to, ch, &env, payload);
	payload_unref(payload);
	return rc;
}

/* ---- cases ------------------------------------------------------------------------------------------ */

static bool both_up(void) {
	return peers_linked(nodes[0].peers, &nodes[1].keys.public) &&
	       peers_linked(nodes[1].peers, &nodes[0].keys.public);
}

static bool first_pong(void) {
	return nodes[0].pongs == 1;
}

static bool second_pong(void) {
	return nodes[1].pongs == 1;
}

static bool both_up_one_way(void) {
	return peers_linked(nodes[0].peers, &nodes[1].keys.public);
}

static bool node0_up(void) {
	return nodes[0].ups == 1;
}

static bool all_hops(void) {
	return nodes[0].acks == 200;
}

static void two_nodes(void) {
	node_start(&nodes[0]);
	node_start(&nodes[1]);
	node_call(&nodes[0], &nodes[1]);
	node_call(&nodes[1], &nodes[0]);
	ck_assert(wait_for(both_up, 5000));
}

START_TEST(greeting) {
	two_nodes();
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(nodes[i].ups, 1);
		ck_assert_uint_eq(nodes[i].downs, 0);
		ck_assert_uint_eq(nodes[i].heard, 2); /* a Hello's roster and a Welcome's */
		ck_assert_uint_eq(nodes[i].arithmetic, 7);
		ck_assert(peers_linked(nodes[i].peers, &nodes[i].keys.public));
		ck_assert(!peers_linked(nodes[i].peers, &nodes[2].keys.public));
	}
	ck_assert_int_eq(send_ping(&nodes[0], &nodes[2].keys.public, 0), -ENOTCONN);
	ck_assert_int_eq(send_ping(&nodes[0], &nodes[1].keys.public, 0), 0);
	ck_assert(wait_for(first_pong, 2000));
	ck_assert(!nodes[1].asked.local && !nodes[1].asked.invited);
	ck_assert(node_id_equal(&nodes[1].asked.node, &nodes[0].keys.public));
	run_for(50);
	ck_assert_uint_eq(nodes[0].pongs, 1);
}
END_TEST

#ifdef __SANITIZE_THREAD__
#define MANY 300 /* each costs that sanitizer a look at libzmq's suppressed reports */
#else
#define MANY 5000
#endif

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
	ck_assert(wait_for(all_through, 60000));
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
	ck_assert(wait_for(local_done, 5000));
	ck_assert(nodes[0].asked.local);
	ck_assert(!nodes[0].disorder);
	/* the queue is bounded */
	int rc = 0;
	for (unsigned i = 200; i < 100000 && rc == 0; i++)
		rc = send_ping(&nodes[0], &nodes[0].keys.public, i);
	ck_assert_int_eq(rc, -EAGAIN);
	/* what a ROUTER does not take is our own mistake, and does not leave */
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	Caravan__Pong pong = CARAVAN__PONG__INIT;
	run_for(300);
	env.body_case = CARAVAN__ENVELOPE__BODY_PONG;
	env.pong = &pong;
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
	ck_assert(wait_for(three_up, 5000));
	ck_assert_int_eq(send_ping(&nodes[0], &nodes[1].keys.public, 0), 0);
	ck_assert_int_eq(send_ping(&nodes[2], &nodes[1].keys.public, 1), 0);
	ck_assert(wait_for(first_pong, 2000));
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
	ck_assert(wait_for(asked, 2000));
	/* the other goes away: told once; an answer to the old question finds nobody */
	node_stop(&nodes[0]);
	node_start(&nodes[0]);
	node_call(&nodes[0], &nodes[1]);
	ck_assert(wait_for(both_up_one_way, 5000));
	ck_assert_int_eq(peers_refuse(nodes[1].peers, &nodes[1].asked, "too late"), -EHOSTUNREACH);
	/* and comes back at the same place */
	nodes[0].ups = nodes[0].downs = 0;
	node_stop(&nodes[1]);
	ck_assert(wait_for(node0_lost, 2000));
	ck_assert_int_eq(send_ping(&nodes[0], &nodes[1].keys.public, 0), -ENOTCONN);
	nodes[1].expect = 0;
	nodes[0].ups = 1;
	node_start_at(&nodes[1], endpoint);
	ck_assert(wait_for(node0_again, 10000));
	/* dropped by us: the same */
	nodes[0].downs = 0;
	nodes[0].ups = 1;
	peers_drop(nodes[0].peers, &nodes[1].keys.public, "tired of it");
	ck_assert(!peers_linked(nodes[0].peers, &nodes[1].keys.public));
	ck_assert_uint_eq(nodes[0].downs, 0); /* not from within the call */
	ck_assert(wait_for(node0_again, 5000));
	ck_assert_uint_eq(nodes[0].downs, 1);
	peers_disconnect(nodes[0].peers, &nodes[1].keys.public);
	run_for(500);
	ck_assert_uint_eq(nodes[0].downs, 1);
}
END_TEST

/* ---- who is refused ------------------------------------------------------------------------------------ */

START_TEST(strangers) {
	node_start(&nodes[0]);
	node_start(&nodes[1]);
	nodes[1].refuses[0] = true;
	node_call(&nodes[0], &nodes[1]);
	run_for(1500);
	ck_assert_uint_eq(nodes[0].ups, 0);
	/* news of the roster lagged behind: it mends itself */
	nodes[1].refuses[0] = false;
	ck_assert(wait_for(node0_up, 6000));
}
END_TEST

START_TEST(expelled_with_an_open_connection) {
	two_nodes();
	unsigned pings = nodes[1].pings;
	nodes[1].refuses[0] = true;
	nodes[0].downs = 0;
	ck_assert_int_eq(send_ping(&nodes[0], &nodes[1].keys.public, 0), 0);
	ck_assert(wait_for(node0_lost, 3000));
	ck_assert_str_eq(nodes[0].why, "expelled");
	ck_assert_uint_eq(nodes[1].pings, pings);
	run_for(1000);
	ck_assert_uint_eq(nodes[0].ups, 1);
	ck_assert_uint_eq(nodes[1].pings, pings);
}
END_TEST

START_TEST(wrong_server_key) {
	node_start(&nodes[0]);
	node_start(&nodes[1]);
	/* the key of node 2 is looked for where node 1 is */
	ck_assert_int_eq(
	        peers_connect(nodes[0].peers, &nodes[2].keys.public, peers_endpoint(nodes[1].peers)), 0);
	run_for(1500);
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
			run_for(4);
			for (size_t i = 0; i < sizeof noise; i++)
				noise[i] = (uint8_t)rand();
			ssize_t w = k == 0   ? write(fd, http, sizeof http - 1)
			            : k == 1 ? write(fd, null_greeting, sizeof null_greeting)
			                     : write(fd, noise, sizeof noise);
			(void)w;
			fds[n++] = fd;
		}
	}
	run_for(500);
	while (n)
		close(fds[--n]);
	/* a key that nobody knows, again and again */
	for (int i = 0; i < 20; i++) {
		struct keys stranger;
		keys_generate(&stranger);
		void *ctx = zmq_ctx_new(), *s = socket_dealer(ctx, &stranger, &nodes[0].keys.public);
		ck_assert_int_eq(zmq_connect(s, peers_endpoint(nodes[0].peers)), 0);
		run_for(30);
		zmq_close(s);
		zmq_ctx_term(ctx);
	}
	run_for(200);
	unsigned lines = log_end(path, log, saved);
	printf("# 320 bad connections: %u lines of log\n", lines);
	ck_assert_uint_ge(lines, 1);
	ck_assert_uint_le(lines, 60);
	/* and all the while the node serves */
	ck_assert_uint_eq(nodes[0].downs + nodes[1].downs, 0);
	ck_assert_int_eq(send_ping(&nodes[1], &nodes[0].keys.public, 0), 0);
	ck_assert(wait_for(second_pong, 2000));
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
		run_for(10);
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
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	Caravan__Hello hello = CARAVAN__HELLO__INIT;
	hello.major = major;
	hello.minor = minor;
	env.ref = 5;
	env.body_case = CARAVAN__ENVELOPE__BODY_HELLO;
	env.hello = &hello;
	raw_envelope(r, &env, ++r->seq, false);
}

static void raw_ping(struct raw *r, uint64_t seq, bool more) {
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	Caravan__Ping ping = CARAVAN__PING__INIT;
	ping.time = nodes[0].expect;
	env.ref = 6;
	env.body_case = CARAVAN__ENVELOPE__BODY_PING;
	env.ping = &ping;
	raw_envelope(r, &env, seq, more);
}

/* The body of the next answer; for Refused its ref goes to *ref. */
static unsigned raw_answer(struct raw *r, uint64_t *ref) {
	uint8_t frame[65536];
	char err[200];
	for (int i = 0; i < 300; i++) {
		int n = zmq_recv(r->s, frame, sizeof frame, ZMQ_DONTWAIT);
		if (n < 0) {
			run_for(10);
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
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	Caravan__Cancel cancel = CARAVAN__CANCEL__INIT;
	uint8_t *frame;
	size_t len;
	env.body_case = CARAVAN__ENVELOPE__BODY_CANCEL;
	env.cancel = &cancel;
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
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	Caravan__CtlStatus status = CARAVAN__CTL_STATUS__INIT;
	env.body_case = CARAVAN__ENVELOPE__BODY_CTL_STATUS;
	env.ctl_status = &status;
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
	run_for(300);
	ck_assert_uint_eq(nodes[0].pings, pings);
	raw_close(&r);
	/* nobody else noticed */
	ck_assert_uint_eq(nodes[0].downs + nodes[1].downs, 0);
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
	ck_assert(wait_for(all_hops, 20000));
	printf("# 16 KiB there and its answer back, on one loop: %.0f us\n",
	        (double)(loop_now_ns() - t) / 1e3 / 200);
	ck_assert_uint_eq(nodes[1].steps, 200);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("peers");
	TCase *t = tcase_create("links");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, greeting);
	tcase_add_test(t, to_ourselves);
	tcase_add_test(t, three_nodes);
	tcase_add_test(t, thousands_both_ways);
	tcase_add_test(t, lost_and_mended);
	tcase_add_test(t, hop_latency);
	suite_add_tcase(s, t);
	t = tcase_create("refused");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, nothing_without_the_authenticator);
	tcase_add_test(t, strangers);
	tcase_add_test(t, expelled_with_an_open_connection);
	tcase_add_test(t, wrong_server_key);
	tcase_add_test(t, junk_on_the_port);
	tcase_add_test(t, members_that_break_the_rules);
	tcase_add_test(t, guests);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/check_main.h"
