/* connection: see connection.h. */
#include "config.h"

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

struct lane {
	struct zsock *sock, *monitor;
	struct watch *watch; /* borrowed */
	struct node_id server;
	struct lane_ops ops;
	void *arg;
	uint64_t boot, out;     /* ours, and the number of the last message sent */
	uint64_t peer_boot, in; /* theirs: 0 until the first */
	char local[64];         /* the address at this end, empty: not known */
	struct resolve *name;   /* its address is being looked up; NULL: it is known */
	bool over;              /* the last word was said */
	bool *gone;             /* set when it is destroyed within a callback */
};

/* Failures, and the connection, for the address at this end. */
#define EVENTS \
	(ZMQ_EVENT_CONNECTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH | \
	        ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL)

static void lane_lose(struct lane *l, const char *why, bool key_refused) {
	if (l->over)
		return;
	l->over = true;
	l->ops.lost(l->arg, why, key_refused);
}

static bool lane_monitor_readable(void *arg) {
	struct lane *l = arg;
	int event, fd;
	char why[160];
	if (l->over || !socket_monitor_next(zsock_socket(l->monitor), &event, &fd, why, sizeof why))
		return false;
	if (event == ZMQ_EVENT_CONNECTED) {
		watch_add(l->watch, fd, &l->server);
		snprintf(l->local, sizeof l->local, "%.*s", (int)sizeof l->local - 1, why);
		return true;
	}
	lane_lose(l, why, event == ZMQ_EVENT_HANDSHAKE_FAILED_AUTH);
	return false;
}

/* Whether it is the next message of this link; what is not ends it. */
static bool lane_next(struct lane *l, const Caravan__Envelope *env, char *err, size_t errlen) {
	if (l->in == 0)
		l->peer_boot = env->boot;
	if (env->boot == l->peer_boot && env->seq == l->in + 1) {
		l->in++;
		return true;
	}
	snprintf(err, errlen, "message %" PRIu64 " after %" PRIu64 "%s", env->seq, l->in,
	        env->boot == l->peer_boot ? "" : ", after a new start");
	return false;
}

static bool lane_readable(void *arg) {
	struct lane *l = arg;
	struct msg m;
	char err[200] = "a message of the wrong frames";
	bool gone = false;
	if (l->over)
		return false;
	int rc = msg_receive(&m, zsock_socket(l->sock), false);
	if (rc == 0)
		return false;
	watch_taken(l->watch, m.fd, &l->server);
	Caravan__Envelope *env = NULL;
	if (rc == 1)
		env = wire_unpack(zmq_msg_data(&m.envelope), zmq_msg_size(&m.envelope),
		        m.payload ? payload_len(m.payload) : 0, WIRE_DEALER, err, sizeof err);
	l->gone = &gone;
	/* the word that the link is lost is understood whatever its number */
	bool link_word = env && env->body_case == CARAVAN__ENVELOPE__BODY_REFUSED && env->ref == 0;
	if (env && (link_word || lane_next(l, env, err, sizeof err)))
		l->ops.message(l->arg, env, m.payload);
	else
		lane_lose(l, err, false);
	wire_free(env);
	msg_close(&m);
	if (gone)
		return false;
	l->gone = NULL;
	return true;
}

static void lane_writable(void *arg) {
	struct lane *l = arg;
	if (!l->over)
		l->ops.open(l->arg);
}

static int lane_connect(struct lane *l, const char *endpoint) {
	if (zmq_connect(zsock_socket(l->sock), endpoint) != 0)
		return -errno;
	zsock_want_write(l->sock); /* with IMMEDIATE: when the handshake is done */
	return 0;
}

static void lane_named(void *arg, const char *endpoint, const char *why) {
	struct lane *l = arg;
	l->name = NULL;
	int rc = endpoint ? lane_connect(l, endpoint) : 0;
	if (!endpoint || rc)
		lane_lose(l, endpoint ? strerror(-rc) : why, false);
}

int lane_create(struct lane **out, struct loop *loop, void *ctx, struct watch *watch, const struct keys *keys,
        const struct node_id *server, const char *endpoint, uint64_t boot, const struct lane_ops *ops,
        void *arg) {
	static const struct zsock_ops sock_ops = {lane_readable, lane_writable};
	static const struct zsock_ops monitor_ops = {lane_monitor_readable, NULL};
	int rc = -ENOMEM;
	struct lane *l = calloc(1, sizeof *l);
	void *s = socket_dealer(ctx, keys, server), *m = NULL;
	if (l && !s)
		rc = -errno;
	if (!l || !s)
		goto error;
	*l = (struct lane){.watch = watch, .server = *server, .ops = *ops, .arg = arg, .boot = boot};
	m = socket_monitor(ctx, s, EVENTS);
	if (!m) {
		rc = -errno;
		goto error;
	}
	rc = zsock_create(&l->monitor, loop, m, &monitor_ops, l);
	if (rc)
		goto error;
	/* before there is anything to tell */
	rc = zsock_create(&l->sock, loop, s, &sock_ops, l);
	s = NULL;
	if (rc)
		goto error;
	if (resolve_needed(endpoint))
		rc = resolve_start(&l->name, loop, endpoint, lane_named, l);
	else
		rc = lane_connect(l, endpoint);
	if (rc)
		goto error;
	*out = l;
	return 0;
error:
	if (s)
		zmq_close(s);
	lane_destroy(l);
	return rc;
}

void lane_destroy(struct lane *l) {
	if (!l)
		return;
	if (l->gone)
		*l->gone = true;
	resolve_cancel(l->name);
	if (l->sock)
		socket_monitor_stop(zsock_socket(l->sock));
	zsock_destroy(l->sock);
	zsock_destroy(l->monitor);
	free(l);
}

const char *lane_local(const struct lane *l) {
	return l->local;
}

int lane_send(struct lane *l, Caravan__Envelope *env, struct payload *payload, enum wire_door door) {
	char err[200];
	uint8_t *frame;
	size_t len;
	if (l->over)
		return -ENOTCONN;
	env->boot = l->boot;
	env->seq = l->out + 1;
	if (!wire_valid(env, payload ? payload_len(payload) : 0, door, err, sizeof err)) {
		log_line(LOG_LINE_ERROR, "a message of ours was not sent: %s", err);
		return -EINVAL;
	}
	int rc = wire_pack(env, &frame, &len);
	if (rc)
		return rc;
	rc = msg_send(zsock_socket(l->sock), NULL, frame, len, payload, NULL);
	zsock_touched(l->sock);
	/* -EAGAIN is an answer; after anything else the monitor will say what became of the connection, and
	 * a message that is half gone must show as a gap at the other end */
	if (rc != -EAGAIN)
		l->out++;
	return rc == 0 || rc == -EAGAIN ? rc : -ENOTCONN;
}
