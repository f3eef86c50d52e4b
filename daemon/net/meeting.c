/* meeting: see meeting.h.
 *
 * Parts go out in pieces, so that a long step needs no long messages and a receiver copies while the next piece is under way.
 * A node may be one meeting ahead of another, since it waits for everybody in each, or at the first of the next step if it has
 * heard of a fault sooner: so at most the pieces of one meeting come early.  A step that failed may leave messages behind that nobody
 * waited for; later steps drop them. */
#include "config.h"

#include "common/fail.h"
#include "daemon/core/loop.h"
#include "daemon/net/meeting.h"
#include "daemon/net/msg.h"
#include "daemon/net/zmq_socket.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define MEETING_MAGIC 0x31746d63u /* "cmt1" */
#define MEETING_PIECE (256u << 10)
#define MEETING_CURVE 64 /* bytes that encryption adds to a message, and more */
#define MEETING_SPIN_NS 100000u
#define MEETING_TICK_MS 50       /* how soon a break is noticed */
#define MEETING_EARLY 1024       /* messages of a node that is one meeting ahead */
#define MEETING_HELLO UINT32_MAX /* as its meeting: the first message to a ROUTER */

/* Little-endian, as all that Caravan sends. */
struct meeting_head {
	uint32_t magic, node;
	uint64_t epoch, step;
	uint32_t meeting; /* its place in the step: layer and kind */
	uint32_t fault;
	uint32_t part, zero;
	uint64_t at; /* offset of the data in the sender's part */
};
_Static_assert(sizeof(struct meeting_head) == 48, "no padding");

/* What has come of a node's share in this meeting. */
struct meeting_other {
	void *socket; /* our DEALER to it; NULL: it connects to our ROUTER */
	uint8_t route[255];
	size_t route_len; /* at the ROUTER; 0: it has not come yet */
	unsigned part;
	uint64_t at; /* in it, of the bytes that come next; the part behind the last has none */
	bool done;   /* all has come */
	uint64_t heard_ns;
	zmq_msg_t *early; /* of the next meeting */
	size_t nearly;
};

struct meeting {
	void *ctx; /* borrowed, as is keys */
	const struct keys *keys;
	void *router;
	uint32_t nodes, node;
	struct node_id id[GROUP_NODES];
	struct meeting_other other[GROUP_NODES];
	uint64_t epoch, step;
	uint32_t patience_ms;
	char endpoint[256];
	_Atomic bool broken;
	bool greeted;
	pthread_mutex_t lock; /* of why */
	char why[160];
};

void meeting_break(struct meeting *m, const char *why) {
	pthread_mutex_lock(&m->lock);
	if (!m->broken)
		snprintf(m->why, sizeof m->why, "%s", why);
	m->broken = true;
	pthread_mutex_unlock(&m->lock);
}

static int meeting_fail(struct meeting *m, uint32_t node, const char *what) {
	char why[160], hex[NODE_ID_HEX];
	node_id_hex(&m->id[node], hex);
	snprintf(why, sizeof why, "node %.12s of the group %s", hex, what);
	meeting_break(m, why);
	return -EIO;
}

/* The bounds of what others may send, and how long sending waits for room; before it is bound or connected. */
static int meeting_bound(const struct meeting *m, void *socket) {
	int64_t largest = (int64_t)sizeof(struct meeting_head) + MEETING_PIECE + MEETING_CURVE;
	int patience = (int)m->patience_ms;
	return zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &largest, sizeof largest) == 0 &&
	                       zmq_setsockopt(socket, ZMQ_SNDTIMEO, &patience, sizeof patience) == 0
	               ? 0
	               : -errno;
}

int meeting_create(struct meeting **out, const struct meeting_config *c, char *err, size_t errlen) {
	struct meeting *m;
	char where[256];
	size_t len = sizeof m->endpoint;
	if (!c->nodes || c->nodes > GROUP_NODES || c->node >= c->nodes)
		return fail_with(-EINVAL, err, errlen, "no group of %u nodes", c->nodes);
	m = calloc(1, sizeof *m);
	if (!m)
		return fail_memory(err, errlen, "the sockets of a group");
	m->nodes = c->nodes;
	m->node = c->node;
	m->epoch = c->epoch;
	m->patience_ms = c->patience_ms;
	m->ctx = c->ctx;
	m->keys = c->keys;
	memcpy(m->id, c->id, sizeof m->id);
	pthread_mutex_init(&m->lock, NULL);
	bool v6 = socket_listen(c->listen, where);
	m->router = socket_router(c->ctx, c->keys, v6);
	int rc = m->router ? meeting_bound(m, m->router) : -errno;
	if (rc == 0 && zmq_bind(m->router, where) != 0)
		rc = -errno;
	if (rc == 0 && zmq_getsockopt(m->router, ZMQ_LAST_ENDPOINT, m->endpoint, &len))
		rc = -errno;
	if (rc) {
		meeting_destroy(m);
		return fail_with(rc, err, errlen, "cannot listen at %s for the nodes of a group: %s",
		        c->listen, socket_bind_strerror(-rc));
	}
	*out = m;
	return 0;
}

static void meeting_forget_early(struct meeting_other *o) {
	for (size_t i = 0; i < o->nearly; i++)
		zmq_msg_close(&o->early[i]);
	free(o->early);
	o->early = NULL;
	o->nearly = 0;
}

void meeting_destroy(struct meeting *m) {
	if (!m)
		return;
	int saved = errno;
	for (uint32_t i = 0; i < m->nodes; i++) {
		meeting_forget_early(&m->other[i]);
		if (m->other[i].socket)
			zmq_close(m->other[i].socket);
	}
	if (m->router)
		zmq_close(m->router);
	pthread_mutex_destroy(&m->lock);
	free(m);
	errno = saved;
}

const char *meeting_endpoint(const struct meeting *m) {
	return m->endpoint;
}

int meeting_connect(struct meeting *m, uint32_t node, const char *endpoint) {
	if (node >= m->node || m->other[node].socket)
		return -EINVAL;
	void *s = socket_dealer(m->ctx, m->keys, &m->id[node]);
	if (!s)
		return -errno;
	int rc = meeting_bound(m, s);
	if (rc == 0 && zmq_connect(s, endpoint) != 0)
		rc = -errno;
	if (rc) {
		zmq_close(s);
		return rc;
	}
	m->other[node].socket = s;
	return 0;
}

/* ---- out ---- */

static struct meeting_head meeting_head_of(const struct meeting *m, uint32_t meeting) {
	return (struct meeting_head){.magic = MEETING_MAGIC,
	        .node = m->node,
	        .epoch = m->epoch,
	        .step = m->step,
	        .meeting = meeting};
}

/* Sends a message to one node; the message stays. */
static int meeting_send(struct meeting *m, uint32_t node, zmq_msg_t *msg) {
	struct meeting_other *o = &m->other[node];
	void *s = o->socket ? o->socket : m->router;
	zmq_msg_t copy;
	zmq_msg_init(&copy);
	if (zmq_msg_copy(&copy, msg) != 0)
		return meeting_fail(m, node, "cannot be sent anything: out of memory");
	if ((o->socket || zmq_send(s, o->route, o->route_len, ZMQ_SNDMORE) >= 0) &&
	        zmq_msg_send(&copy, s, 0) >= 0)
		return 0;
	int rc = errno;
	zmq_msg_close(&copy);
	return meeting_fail(m, node, rc == EAGAIN ? "takes nothing" : "is not connected");
}

static int meeting_send_all(struct meeting *m, zmq_msg_t *msg) {
	int rc = 0;
	for (uint32_t i = 0; i < m->nodes && !rc; i++)
		if (i != m->node)
			rc = meeting_send(m, i, msg);
	zmq_msg_close(msg);
	return rc;
}

static size_t meeting_part_bytes(const struct group_part *p, uint32_t node) {
	return p->rows * p->bytes[node];
}

/* `bytes` of this node's part, from `at` on, as a message to everybody. */
static int meeting_send_piece(
        struct meeting *m, struct meeting_head head, const struct group_part *p, size_t at, size_t bytes) {
	zmq_msg_t msg;
	if (zmq_msg_init_size(&msg, sizeof head + bytes) != 0)
		return meeting_fail(m, m->node, "is out of memory");
	head.at = at;
	memcpy(zmq_msg_data(&msg), &head, sizeof head);
	memcpy((uint8_t *)zmq_msg_data(&msg) + sizeof head, p->data[m->node] + at, bytes);
	return meeting_send_all(m, &msg);
}

/* A message of a head alone: a fault, or that this node has no columns. */
static int meeting_send_head(struct meeting *m, struct meeting_head head) {
	zmq_msg_t msg;
	if (zmq_msg_init_size(&msg, sizeof head) != 0)
		return meeting_fail(m, m->node, "is out of memory");
	memcpy(zmq_msg_data(&msg), &head, sizeof head);
	return meeting_send_all(m, &msg);
}

static int meeting_send_share(struct meeting *m, const struct group_exchange *x, uint32_t meeting) {
	struct meeting_head head = meeting_head_of(m, meeting);
	bool any = false;
	int rc = 0;
	head.fault = x->fault;
	for (unsigned i = 0; i < x->parts && !x->fault; i++) {
		size_t bytes = meeting_part_bytes(&x->part[i], m->node), n;
		head.part = i;
		for (size_t at = 0; at < bytes && !rc; at += n) {
			n = bytes - at < MEETING_PIECE ? bytes - at : MEETING_PIECE;
			rc = meeting_send_piece(m, head, &x->part[i], at, n);
			any = true;
		}
	}
	head.part = x->parts;
	return rc || any ? rc : meeting_send_head(m, head);
}

/* ---- in ---- */

/* Moves on to the next part of which a node has something. */
static void meeting_advance(struct meeting_other *o, uint32_t node, const struct group_exchange *x) {
	while (o->part < x->parts && o->at == meeting_part_bytes(&x->part[o->part], node)) {
		o->part++;
		o->at = 0;
	}
}

/* Takes over the bytes that come next of a node; false: they are not those. */
static bool meeting_take_piece(struct meeting_other *o, uint32_t node, const struct group_exchange *x,
        const struct meeting_head *head, const uint8_t *data, size_t len) {
	if (o->done || head->part != o->part || head->at != o->at)
		return false;
	if (o->part == x->parts) { /* it has nothing */
		o->done = true;
		return len == 0;
	}
	const struct group_part *p = &x->part[o->part];
	if (!len || len > meeting_part_bytes(p, node) - o->at)
		return false;
	memcpy(p->data[node] + o->at, data, len);
	o->at += len;
	meeting_advance(o, node, x);
	o->done = o->part == x->parts;
	return true;
}

static int meeting_keep_early(struct meeting *m, uint32_t node, zmq_msg_t *msg) {
	struct meeting_other *o = &m->other[node];
	if (o->nearly == MEETING_EARLY)
		return meeting_fail(m, node, "sent more than a meeting has");
	zmq_msg_t *more = realloc(o->early, (o->nearly + 1) * sizeof *more);
	if (!more)
		return meeting_fail(m, node, "sent more than there is memory for");
	o->early = more;
	zmq_msg_init(&o->early[o->nearly]);
	zmq_msg_move(&o->early[o->nearly++], msg);
	return 1;
}

/* A message of a node of the group: 1; 0: it is of no use any more.  Closed by the caller. */
static int meeting_take(
        struct meeting *m, uint32_t node, zmq_msg_t *msg, struct group_exchange *x, uint32_t meeting) {
	struct meeting_other *o = &m->other[node];
	struct meeting_head head;
	size_t len = zmq_msg_size(msg);
	memcpy(&head, zmq_msg_data(msg), sizeof head);
	if (head.magic != MEETING_MAGIC || head.node != node || head.epoch != m->epoch)
		return meeting_fail(m, node, "sent rows of another plan");
	if (head.meeting == MEETING_HELLO || head.step < m->step || (head.step == m->step && x->fault))
		return 0; /* or of a step that failed */
	/* at a later step it knows of a fault in ours, of which we shall hear */
	if (head.step > m->step)
		return meeting_keep_early(m, node, msg);
	if (head.meeting > meeting && !head.fault)
		return o->done ? meeting_keep_early(m, node, msg)
		               : meeting_fail(m, node, "is at another meeting");
	o->heard_ns = loop_now_ns();
	if (head.fault) {
		x->fault = head.fault;
		return 1;
	}
	if (head.meeting != meeting ||
	        !meeting_take_piece(o, node, x, &head, (const uint8_t *)zmq_msg_data(msg) + sizeof head,
	                len - sizeof head))
		return meeting_fail(m, node, "sent rows that do not belong there");
	return 1;
}

/* Whose message this is, at our ROUTER; m->nodes: nobody's of the group.  The first one of each node says how it is answered. */
static uint32_t meeting_sender(struct meeting *m, const uint8_t *route, size_t route_len, zmq_msg_t *msg) {
	struct node_id from;
	struct meeting_head head;
	memcpy(&head, zmq_msg_data(msg), sizeof head);
	if (head.node <= m->node || head.node >= m->nodes || msg_author(&from, msg) != 0 ||
	        !node_id_equal(&from, &m->id[head.node]))
		return m->nodes;
	struct meeting_other *o = &m->other[head.node];
	if (head.meeting == MEETING_HELLO && !o->route_len) {
		memcpy(o->route, route, route_len);
		o->route_len = route_len;
		o->heard_ns = loop_now_ns();
	}
	return o->route_len == route_len && !memcmp(o->route, route, route_len) ? head.node : m->nodes;
}

/* Receives a message; *whole: it has one frame, with a complete head.  false: no message is waiting. */
static bool meeting_receive_frame(void *socket, zmq_msg_t *msg, bool *whole) {
	zmq_msg_init(msg);
	*whole = zmq_msg_recv(msg, socket, ZMQ_DONTWAIT) >= 0;
	if (!*whole)
		return false;
	*whole = !zmq_msg_more(msg) && zmq_msg_size(msg) >= sizeof(struct meeting_head);
	while (zmq_msg_more(msg))
		if (zmq_msg_recv(msg, socket, 0) < 0)
			break;
	return true;
}

/* Receives the next message of the group at our ROUTER, and returns its sender, or m->nodes if none is waiting.  Messages of others are dropped. */
static uint32_t meeting_receive_routed(struct meeting *m, zmq_msg_t *msg) {
	uint8_t route[sizeof m->other->route];
	bool whole;
	int len;
	while ((len = zmq_recv(m->router, route, sizeof route, ZMQ_DONTWAIT)) >= 0) {
		if (!meeting_receive_frame(m->router, msg, &whole))
			break;
		uint32_t node = whole ? meeting_sender(m, route, (size_t)len, msg) : m->nodes;
		if (node < m->nodes)
			return node;
		zmq_msg_close(msg);
	}
	return m->nodes;
}

/* ---- a meeting ---- */

static bool meeting_is_over(const struct meeting *m, const struct group_exchange *x) {
	if (x->fault)
		return true;
	for (uint32_t i = 0; i < m->nodes; i++)
		if (i != m->node && !m->other[i].done)
			return false;
	return true;
}

/* What came early of the meeting before. */
static int meeting_take_early(struct meeting *m, uint32_t node, struct group_exchange *x, uint32_t meeting) {
	struct meeting_other early = m->other[node], *o = &m->other[node];
	int rc = 0;
	o->early = NULL;
	o->nearly = 0;
	for (size_t i = 0; i < early.nearly && rc >= 0; i++)
		rc = meeting_take(m, node, &early.early[i], x, meeting);
	meeting_forget_early(&early);
	return rc < 0 ? rc : 0;
}

/* Takes one message from a node's DEALER, or from the ROUTER if `node` is ourselves.  Returns 1, or 0 if none is waiting. */
static int meeting_take_from(struct meeting *m, uint32_t node, struct group_exchange *x, uint32_t meeting) {
	zmq_msg_t msg;
	bool whole = true;
	if (node == m->node && (node = meeting_receive_routed(m, &msg)) == m->nodes)
		return 0;
	if (m->other[node].socket && !meeting_receive_frame(m->other[node].socket, &msg, &whole))
		return 0;
	int rc = whole ? meeting_take(m, node, &msg, x, meeting)
	               : meeting_fail(m, node, "sent a message that no group has");
	zmq_msg_close(&msg);
	return rc;
}

/* The same of all sockets. */
static int meeting_take_some(struct meeting *m, struct group_exchange *x, uint32_t meeting) {
	int some = 0;
	for (uint32_t i = 0; i <= m->node; i++) {
		int rc = meeting_take_from(m, i, x, meeting);
		if (rc < 0)
			return rc;
		some |= rc;
	}
	return some;
}

/* Sleeps until something comes, or a moment. */
static void meeting_sleep(const struct meeting *m) {
	zmq_pollitem_t item[GROUP_NODES + 1];
	int n = 0;
	for (uint32_t i = 0; i < m->node; i++)
		item[n++] = (zmq_pollitem_t){.socket = m->other[i].socket, .events = ZMQ_POLLIN};
	item[n++] = (zmq_pollitem_t){.socket = m->router, .events = ZMQ_POLLIN};
	(void)zmq_poll(item, n, MEETING_TICK_MS);
}

/* Fails when a node from which something is awaited has been silent for too long. */
static int meeting_check_silence(struct meeting *m, uint64_t now) {
	for (uint32_t i = 0; i < m->nodes; i++)
		if (i != m->node && !m->other[i].done &&
		        now > m->other[i].heard_ns + m->patience_ms * (uint64_t)1000000)
			return meeting_fail(m, i, "has been silent for too long");
	return 0;
}

typedef bool meeting_until_fn(const struct meeting *m, const struct group_exchange *x);

/* Takes messages until then.  Whoever waits spins for a while, since the others compute as long as we do. */
static int meeting_wait(
        struct meeting *m, struct group_exchange *x, uint32_t meeting, meeting_until_fn *until) {
	uint64_t quiet = loop_now_ns();
	while (!until(m, x)) {
		int rc = m->broken ? -EIO : meeting_take_some(m, x, meeting);
		uint64_t now = loop_now_ns();
		if (rc == 0)
			rc = meeting_check_silence(m, now);
		else if (rc > 0)
			quiet = now;
		if (rc < 0)
			return rc;
		if (now - quiet > MEETING_SPIN_NS)
			meeting_sleep(m);
	}
	return 0;
}

/* Whether all nodes of higher numbers have come to our ROUTER, so that they can be told everything, faults included. */
static bool meeting_is_joined(const struct meeting *m, const struct group_exchange *x) {
	(void)x;
	for (uint32_t i = m->node + 1; i < m->nodes; i++)
		if (!m->other[i].route_len)
			return false;
	return true;
}

/* Before the first meeting: a hello to the nodes of lower numbers, and one from each of a higher number, which may be at the meeting
 * already. */
static int meeting_greet(struct meeting *m, struct group_exchange *x, uint32_t meeting) {
	struct meeting_head hello = meeting_head_of(m, MEETING_HELLO);
	for (uint32_t i = 0; i < m->node; i++)
		if (!m->other[i].socket || zmq_send(m->other[i].socket, &hello, sizeof hello, 0) < 0)
			return meeting_fail(m, i, "cannot be reached");
	m->greeted = true;
	return meeting_wait(m, x, meeting, meeting_is_joined);
}

void meeting_begin(struct meeting *m, uint64_t step) {
	m->step = step;
}

/* Takes what came early, sends, and takes the rest. */
static int meeting_hold(struct meeting *m, struct group_exchange *x, uint32_t meeting) {
	bool fault = x->fault != GROUP_FINE;
	int rc = m->broken ? -EIO : 0;
	for (uint32_t i = 0; i < m->nodes && !rc && !fault; i++)
		if (i != m->node)
			rc = meeting_take_early(m, i, x, meeting);
	if (!rc && !m->greeted)
		rc = meeting_greet(m, x, meeting);
	if (!rc && (fault || !x->fault))
		rc = meeting_send_share(m, x, meeting);
	return rc || fault ? rc : meeting_wait(m, x, meeting, meeting_is_over);
}

int meeting_meet(void *arg, struct group_exchange *x, char *err, size_t errlen) {
	struct meeting *m = arg;
	uint64_t began = loop_now_ns();
	for (uint32_t i = 0; i < m->nodes; i++) {
		struct meeting_other *o = &m->other[i];
		o->part = 0;
		o->at = 0;
		o->done = false;
		o->heard_ns = began;
		meeting_advance(o, i, x);
	}
	int rc = meeting_hold(m, x, x->layer * MEETINGS + x->at);
	if (!rc)
		return 0;
	pthread_mutex_lock(&m->lock);
	snprintf(err, errlen, "%s", m->why);
	pthread_mutex_unlock(&m->lock);
	return rc;
}
