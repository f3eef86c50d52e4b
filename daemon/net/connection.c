/* connection: see connection.h. */
#include "config.h"

#include "common/fail.h"
#include "daemon/core/log.h"
#include "daemon/net/connection.h"
#include "daemon/net/msg.h"
#include "daemon/net/resolver.h"
#include "daemon/net/zmq_socket.h"
#include "daemon/net/zmq_watch.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct connection {
	struct zwatch *sock, *monitor;
	struct guard *watch; /* borrowed */
	struct node_id server;
	struct connection_ops ops;
	void *arg;
	uint64_t boot, out;     /* our boot id; number of the last message sent */
	uint64_t peer_boot, in; /* theirs, 0 until the first message; number of the last one received */
	char local[64];         /* the local address; empty: unknown */
	struct resolve *name;   /* the lookup of its address; NULL: done */
	bool reported_lost;     /* `lost` was called */
	bool *gone;             /* set if it is destroyed within a callback */
};

/* Failures, and the connection itself, which gives the local address. */
#define EVENTS \
	(ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | \
	        ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)

static void connection_lose(struct connection *c, const char *why, bool key_refused) {
	if (c->reported_lost)
		return;
	c->reported_lost = true;
	c->ops.lost(c->arg, why, key_refused);
}

static bool connection_monitor_readable(void *arg) {
	struct connection *c = arg;
	int event, fd;
	char why[160];
	if (c->reported_lost || !socket_monitor_next(zwatch_socket(c->monitor), &event, &fd, why, sizeof why))
		return false;
	if (event == ZMQ_EVENT_CONNECTED) {
		guard_add(c->watch, fd, &c->server);
		snprintf(c->local, sizeof c->local, "%.*s", (int)sizeof c->local - 1, why);
		return true;
	}
	connection_lose(c, why, event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
	return false;
}

/* Whether it is the next message of this link. */
static bool connection_next(struct connection *c, const Caravan__Envelope *env, char *err, size_t errlen) {
	if (c->in == 0)
		c->peer_boot = env->boot;
	if (env->boot == c->peer_boot && env->seq == c->in + 1) {
		c->in++;
		return true;
	}
	return fail_with(false, err, errlen, "message %" PRIu64 " after %" PRIu64 "%s", env->seq, c->in,
	        env->boot == c->peer_boot ? "" : ", after a restart");
}

static bool connection_readable(void *arg) {
	struct connection *c = arg;
	struct msg m;
	char err[200] = "a message with the wrong frames";
	bool gone = false;
	if (c->reported_lost)
		return false;
	int rc = msg_receive(&m, zwatch_socket(c->sock), false);
	if (rc == 0)
		return false;
	guard_taken(c->watch, m.fd, &c->server);
	Caravan__Envelope *env = NULL;
	if (rc == 1)
		env = wire_unpack(zmq_msg_data(&m.envelope), zmq_msg_size(&m.envelope),
		        m.payload ? payload_len(m.payload) : 0, WIRE_DEALER, err, sizeof err);
	c->gone = &gone;
	/* a Refused for the whole link is accepted with any number */
	bool link_word = env && env->body_case == CARAVAN__ENVELOPE__BODY_REFUSED && env->ref == 0;
	if (env && (link_word || connection_next(c, env, err, sizeof err)))
		c->ops.message(c->arg, env, m.payload);
	else
		connection_lose(c, err, false);
	wire_free(env);
	msg_close(&m);
	if (gone)
		return false;
	c->gone = NULL;
	return true;
}

static void connection_writable(void *arg) {
	struct connection *c = arg;
	if (!c->reported_lost)
		c->ops.open(c->arg);
}

static int connection_connect(struct connection *c, const char *endpoint) {
	if (zmq_connect(zwatch_socket(c->sock), endpoint) != 0)
		return -errno;
	zwatch_want_write(c->sock); /* with ZMQ_IMMEDIATE it is writable after the handshake */
	return 0;
}

static void connection_named(void *arg, const char *endpoint, const char *why) {
	struct connection *c = arg;
	c->name = NULL;
	int rc = endpoint ? connection_connect(c, endpoint) : 0;
	if (!endpoint || rc)
		connection_lose(c, endpoint ? strerror(-rc) : why, false);
}

int connection_create(struct connection **out, struct loop *loop, void *ctx, struct guard *watch,
        const struct keys *keys, const struct node_id *server, const char *endpoint, uint64_t boot,
        const struct connection_ops *ops, void *arg) {
	static const struct zwatch_ops sock_ops = {connection_readable, connection_writable};
	static const struct zwatch_ops monitor_ops = {connection_monitor_readable, NULL};
	int rc = -ENOMEM;
	struct connection *c = calloc(1, sizeof *c);
	void *s = socket_dealer(ctx, keys, server), *m = NULL;
	if (c && !s)
		rc = -errno;
	if (!c || !s)
		goto error;
	*c = (struct connection){.watch = watch, .server = *server, .ops = *ops, .arg = arg, .boot = boot};
	m = socket_monitor(ctx, s, EVENTS);
	if (!m) {
		rc = -errno;
		goto error;
	}
	rc = zwatch_create(&c->monitor, loop, m, &monitor_ops, c);
	if (rc)
		goto error;
	/* before there is anything to tell */
	rc = zwatch_create(&c->sock, loop, s, &sock_ops, c);
	s = NULL;
	if (rc)
		goto error;
	if (resolve_needed(endpoint))
		rc = resolve_start(&c->name, loop, server, endpoint, connection_named, c);
	else
		rc = connection_connect(c, endpoint);
	if (rc)
		goto error;
	*out = c;
	return 0;
error:
	if (s)
		zmq_close(s);
	connection_destroy(c);
	return rc;
}

void connection_destroy(struct connection *c) {
	if (!c)
		return;
	if (c->gone)
		*c->gone = true;
	resolve_cancel(c->name);
	if (c->sock)
		socket_monitor_stop(zwatch_socket(c->sock));
	zwatch_destroy(c->sock);
	zwatch_destroy(c->monitor);
	free(c);
}

const char *connection_local(const struct connection *c) {
	return c->local;
}

int connection_send(
        struct connection *c, Caravan__Envelope *env, struct payload *payload, enum wire_context context) {
	char err[200];
	uint8_t *frame;
	size_t len;
	if (c->reported_lost)
		return -ENOTCONN;
	env->boot = c->boot;
	env->seq = c->out + 1;
	if (!wire_valid(env, payload ? payload_len(payload) : 0, context, err, sizeof err)) {
		log_line(LOG_LINE_ERROR, "cannot send a message: %s", err);
		return -EINVAL;
	}
	int rc = wire_pack(env, &frame, &len);
	if (rc)
		return rc;
	rc = msg_send(zwatch_socket(c->sock), NULL, frame, len, payload, NULL);
	zwatch_touched(c->sock);
	/* after any error but -EAGAIN the monitor reports the loss, and the other end must see a gap if part of the message
	 * was sent */
	if (rc != -EAGAIN)
		c->out++;
	return rc == 0 || rc == -EAGAIN ? rc : -ENOTCONN;
}
