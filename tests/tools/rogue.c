/* rogue: see rogue.h.
 *
 *     rogue member STATE CONTROL TARGET CASE    with the key in STATE, which is in the roster, to the node TARGET
 *     rogue member list                         the cases
 *     rogue null|other|unknown HOST:PORT KEY    without CURVE, for another server key, with a key that nobody knows
 *     rogue guest TOKEN CASE                    with the key of an invitation
 *
 * Prints one line: what came of it. */
#include "config.h"

#include "daemon/members/invitation.h"
#include "daemon/net/zmq_socket.h"
#include "proto/frame.h"
#include "tests/tools/rogue.h"
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

void rogue_die(const char *what) {
	fprintf(stderr, "rogue: %s\n", what);
	exit(EXIT_FAILURE);
}

/* ---- out ------------------------------------------------------------------------------------------ */

void rogue_raw(struct rogue *r, const void *const *frame, const size_t *len, size_t count) {
	for (size_t i = 0; i < count; i++)
		if (zmq_send(r->sock, frame[i], len[i], i + 1 < count ? ZMQ_SNDMORE : 0) < 0 &&
		        errno != EAGAIN)
			rogue_die(zmq_strerror(errno));
}

void rogue_send(
        struct rogue *r, Caravan__Envelope__BodyCase kind, void *body, const void *payload, size_t len) {
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	const ProtobufCFieldDescriptor *f =
	        protobuf_c_message_descriptor_get_field(&caravan__envelope__descriptor, kind);
	env.boot = r->boot;
	env.seq = ++r->seq;
	env.ref = ROGUE_REF;
	env.body_case = kind;
	memcpy((char *)&env + f->offset, &body, sizeof body);
	size_t n = caravan__envelope__get_packed_size(&env);
	uint8_t *frame = malloc(n + 1);
	if (!frame)
		rogue_die("no memory");
	caravan__envelope__pack(&env, frame);
	const void *frames[2] = {frame, payload};
	const size_t lens[2] = {n, len};
	rogue_raw(r, frames, lens, payload ? 2 : 1);
	free(frame);
}

void rogue_hello(struct rogue *r) {
	Caravan__Hello h = CARAVAN__HELLO__INIT;
	h.major = WIRE_MAJOR;
	h.minor = WIRE_MINOR;
	h.arithmetic = r->plan ? r->plan->arithmetic : 1;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_HELLO, &h, NULL, 0);
}

void rogue_ping(struct rogue *r) {
	Caravan__Ping p = CARAVAN__PING__INIT;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_PING, &p, NULL, 0);
}

/* ---- in ------------------------------------------------------------------------------------------- */

/* One message of a node, or NULL with errno 0: what came was none. */
static Caravan__Envelope *message_take(struct rogue *r, size_t *payload_len, void **payload) {
	zmq_msg_t frame;
	uint8_t *env = NULL;
	size_t env_len = 0;
	int more = 1;
	for (int i = 0; more; i++) {
		zmq_msg_init(&frame);
		if (zmq_msg_recv(&frame, r->sock, 0) < 0)
			rogue_die(zmq_strerror(errno));
		size_t n = zmq_msg_size(&frame);
		uint8_t *copy = malloc(n + 1);
		if (!copy)
			rogue_die("no memory");
		memcpy(copy, zmq_msg_data(&frame), n);
		more = zmq_msg_more(&frame);
		zmq_msg_close(&frame);
		if (i == 0) {
			env = copy;
			env_len = n;
		} else if (i == 1 && payload) {
			*payload = copy;
			*payload_len = n;
		} else {
			free(copy);
		}
	}
	char err[200];
	Caravan__Envelope *e = caravan__envelope__unpack(NULL, env_len, env);
	if (!e)
		fprintf(stderr, "rogue: an answer that cannot be unpacked\n");
	else if (!wire_valid(e, payload && *payload ? *payload_len : 0, WIRE_DEALER, err, sizeof err) &&
	         payload)
		fprintf(stderr, "rogue: an answer that is not legal: %s\n", err);
	free(env);
	return e;
}

static char ended[200]; /* what the monitor said */

Caravan__Envelope *rogue_next(struct rogue *r, unsigned ms, size_t *payload_len, void **payload) {
	zmq_pollitem_t items[2] = {{r->sock, 0, ZMQ_POLLIN, 0}, {r->monitor, 0, ZMQ_POLLIN, 0}};
	if (payload)
		*payload = NULL;
	for (;;) {
		int event, n = zmq_poll(items, 2, (long)ms);
		if (n <= 0)
			return NULL;
		if (items[0].revents & ZMQ_POLLIN) {
			Caravan__Envelope *e = message_take(r, payload_len, payload);
			if (e && e->body_case != CARAVAN__ENVELOPE__BODY_WELCOME)
				return e;
			caravan__envelope__free_unpacked(e, NULL);
		} else if (socket_monitor_next(r->monitor, &event, NULL, ended, sizeof ended)) {
			return NULL;
		}
	}
}

void rogue_outcome(struct rogue *r) {
	void *payload = NULL;
	size_t len = 0;
	ended[0] = 0;
	Caravan__Envelope *e = rogue_next(r, ROGUE_WAIT_MS, &len, &payload);
	if (!e)
		printf("%s\n", ended[0] ? ended : "nothing");
	else if (e->body_case == CARAVAN__ENVELOPE__BODY_REFUSED)
		printf("%s: %s\n", e->ref ? "refused" : "lost", e->refused->reason);
	else
		printf("%s %zu\n",
		        protobuf_c_message_descriptor_get_field(&caravan__envelope__descriptor, e->body_case)
		                ->name,
		        payload ? len : 0);
	fflush(stdout);
	free(payload);
	caravan__envelope__free_unpacked(e, NULL);
}

/* ---- the cluster, as a daemon tells it ------------------------------------------------------------- */

static void bytes_read(int fd, void *to, size_t n) {
	for (size_t got = 0; got < n;) {
		ssize_t k = read(fd, (char *)to + got, n - got);
		if (k <= 0)
			rogue_die("the control socket was closed");
		got += (size_t)k;
	}
}

/* One message; false: the end. */
static bool report_read(struct rogue *r, int fd, const char *target) {
	uint8_t header[FRAME_HEADER], *frame;
	size_t n, payload;
	char err[200];
	bytes_read(fd, header, sizeof header);
	if (frame_parse(header, &n, &payload) != 0 || !(frame = malloc(n + 1)))
		rogue_die("a strange answer of the control socket");
	bytes_read(fd, frame, n);
	Caravan__Envelope *env = wire_unpack(frame, n, payload, WIRE_COMMAND, err, sizeof err);
	free(frame);
	if (!env || env->body_case != CARAVAN__ENVELOPE__BODY_CTL_REPORT ||
	        r->reports == sizeof r->report / sizeof *r->report) {
		wire_free(env);
		return false;
	}
	const Caravan__CtlReport *report = env->ctl_report;
	r->report[r->reports++] = env;
	for (size_t i = 0; i < report->n_nodes && r->nodes < WIRE_NODES_MAX; i++) {
		r->node[r->nodes++] = report->nodes[i];
		if (strcmp(report->nodes[i]->name, target) == 0)
			r->target = report->nodes[i];
	}
	for (size_t i = 0; i < report->n_models; i++)
		if (report->models[i]->phase == CARAVAN__MODEL_PHASE__SERVING && !r->plan)
			r->plan = report->models[i]->plan;
	return true;
}

static void report_ask(struct rogue *r, const char *control, const char *target) {
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	uint8_t header[FRAME_HEADER], *frame;
	size_t n;
	Caravan__CtlStatus status = CARAVAN__CTL_STATUS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_STATUS, ctl_status, &status);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	snprintf(at.sun_path, sizeof at.sun_path, "%s", control);
	if (fd < 0 || connect(fd, (struct sockaddr *)&at, sizeof at) != 0 || wire_pack(&env, &frame, &n) != 0)
		rogue_die("no daemon on that control socket");
	frame_header(header, n, 0);
	if (write(fd, header, sizeof header) != sizeof header || write(fd, frame, n) != (ssize_t)n)
		rogue_die("cannot ask the control socket");
	free(frame);
	while (report_read(r, fd, target))
		;
	close(fd);
	if (!r->target || !r->plan)
		rogue_die("the report has no such node, or no model that serves");
	node_id_from_bytes(&r->id, r->target->node);
}

/* ---- links ----------------------------------------------------------------------------------------- */

static void rogue_connect(struct rogue *r, void *sock, const char *endpoint) {
	int linger = 2000, wait = 5000;
	r->sock = sock;
	if (!sock)
		rogue_die(zmq_strerror(errno));
	zmq_setsockopt(sock, ZMQ_LINGER, &linger, sizeof linger);
	zmq_setsockopt(sock, ZMQ_SNDTIMEO, &wait, sizeof wait);
	RAND_bytes((unsigned char *)&r->boot, sizeof r->boot);
	r->monitor = socket_monitor(r->ctx, sock,
	        ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH |
	                ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL);
	if (!r->monitor || zmq_connect(sock, endpoint) != 0)
		rogue_die(zmq_strerror(errno));
}

/* Whether the link came to stand; how it ended, if not, is printed. */
static bool rogue_stands(struct rogue *r) {
	zmq_pollitem_t items[2] = {{r->sock, 0, ZMQ_POLLOUT, 0}, {r->monitor, 0, ZMQ_POLLIN, 0}};
	for (int event; zmq_poll(items, 2, ROGUE_WAIT_MS) > 0 && !(items[0].revents & ZMQ_POLLOUT);)
		if (socket_monitor_next(r->monitor, &event, NULL, ended, sizeof ended))
			break;
	if (!(items[0].revents & ZMQ_POLLOUT))
		printf("%s\n", *ended ? ended : "nothing");
	return items[0].revents & ZMQ_POLLOUT;
}

static void rogue_end(struct rogue *r) {
	int now = 0;
	if (*ended) /* what it could not say it never will */
		zmq_setsockopt(r->sock, ZMQ_LINGER, &now, sizeof now);
	socket_monitor_stop(r->sock);
	zmq_close(r->monitor);
	zmq_close(r->sock);
	zmq_ctx_term(r->ctx);
	manifest_destroy(r->manifest);
	while (r->reports)
		wire_free(r->report[--r->reports]);
	keys_wipe(&r->keys);
}

static const struct rogue_case *case_find(const char *name) {
	const struct rogue_case *const tables[] = {rogue_words, rogue_plans};
	for (size_t t = 0; t < 2; t++)
		for (const struct rogue_case *c = tables[t]; c->name; c++)
			if (strcmp(name, "list") == 0)
				printf("%s\n", c->name);
			else if (strcmp(c->name, name) == 0)
				return c;
	return NULL;
}

static void member(struct rogue *r, char **argv) {
	char err[300];
	const struct rogue_case *c = case_find(argv[3]);
	if (!c)
		rogue_die("no such case");
	if (keys_load(&r->keys, argv[0], err, sizeof err) != 0)
		rogue_die(err);
	report_ask(r, argv[1], argv[2]);
	rogue_connect(r, socket_dealer(r->ctx, &r->keys, &r->id), r->target->endpoint);
	if (!c->stranger)
		rogue_hello(r);
	c->run(r);
	rogue_outcome(r);
}

/* Knocks with a message that would be good from a member. */
static void stranger(struct rogue *r, const char *how, const char *address, const char *hex) {
	char endpoint[300];
	snprintf(endpoint, sizeof endpoint, "tcp://%s", address);
	for (size_t i = 0; i < sizeof r->id.b && strlen(hex) == NODE_ID_HEX - 1; i++) {
		const char pair[3] = {hex[2 * i], hex[2 * i + 1], 0};
		r->id.b[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	if (keys_generate(&r->keys) != 0)
		rogue_die("no keys");
	struct keys other = r->keys;
	if (strcmp(how, "other") == 0 && keys_generate(&other) == 0)
		r->id = other.public;
	void *s = strcmp(how, "null") == 0 ? zmq_socket(r->ctx, ZMQ_DEALER)
	                                   : socket_dealer(r->ctx, &r->keys, &r->id);
	int never = -1;
	if (s)
		zmq_setsockopt(s, ZMQ_RECONNECT_IVL, &never, sizeof never);
	rogue_connect(r, s, endpoint);
	rogue_outcome(r);
}

static void guest(struct rogue *r, const char *token, const char *name) {
	struct invite i;
	char err[300];
	Caravan__Join join = CARAVAN__JOIN__INIT;
	Caravan__Entry entry = CARAVAN__ENTRY__INIT;
	struct keys other;
	if (invite_decode(&i, token, err, sizeof err) != 0 || i.nendpoints == 0 || keys_generate(&other) != 0)
		rogue_die(err);
	r->keys = i.keys;
	rogue_connect(r, socket_dealer(r->ctx, &i.keys, &i.server), i.endpoints[0]);
	if (!rogue_stands(r))
		return;
	entry.node = (ProtobufCBinaryData){sizeof other.public.b, other.public.b};
	entry.version = 1;
	entry.name = (char *)"guest";
	entry.endpoint = (char *)"tcp://127.0.0.1:9";
	join.entry = &entry;
	if (strcmp(name, "ping") == 0)
		rogue_ping(r);
	else if (strcmp(name, "hello") == 0)
		rogue_hello(r);
	else if (strcmp(name, "nameless") == 0)
		entry.name = (char *)"";
	else if (strcmp(name, "unreachable") == 0)
		entry.endpoint = (char *)"";
	else if (strcmp(name, "server") == 0)
		entry.node = (ProtobufCBinaryData){sizeof i.server.b, i.server.b};
	else if (strcmp(name, "dead") == 0)
		entry.expelled = true;
	if (r->seq == 0)
		rogue_send(r, CARAVAN__ENVELOPE__BODY_JOIN, &join, NULL, 0);
	rogue_outcome(r);
}

int main(int argc, char **argv) {
	struct rogue r = {.ctx = zmq_ctx_new()};
	if (argc == 3 && strcmp(argv[1], "member") == 0 && strcmp(argv[2], "list") == 0) {
		case_find("list");
		return EXIT_SUCCESS;
	}
	if (argc == 6 && strcmp(argv[1], "member") == 0)
		member(&r, argv + 2);
	else if (argc == 4 && strcmp(argv[1], "guest") == 0)
		guest(&r, argv[2], argv[3]);
	else if (argc == 4)
		stranger(&r, argv[1], argv[2], argv[3]);
	else
		rogue_die("usage: see the head of tests/tools/rogue.c");
	rogue_end(&r);
	return EXIT_SUCCESS;
}
