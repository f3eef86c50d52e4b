/* router: see router.h.  A message is checked against the roster, the schema and the order of its link, in this order. */
#include "config.h"

#include "daemon/core/log.h"
#include "daemon/net/handshake.h"
#include "daemon/net/msg.h"
#include "daemon/net/router.h"
#include "daemon/net/zmq_socket.h"
#include "daemon/net/zmq_watch.h"
#include "proto/descriptors.h"
#include <errno.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define OWED_MAX (160u << 20) /* bytes of unread answers per node and channel */
#define ACCEPT_RESERVE 64     /* descriptors that incoming connections must leave free */
#define CLOSED_MS 300
#define HOLD_MS \
	800 /* in which the present link of a node with a duplicate key has to send something; pings come twice a second */
#define FLYING_NS 200000000u /* messages that arrive so soon may have been sent before */
#define HELD_MAX 64
#define PROBE_REF UINT64_MAX                /* ref of an answer that tests a connection */
#define LINKS_MAX (2 * WIRE_NODES_MAX + 64) /* two per node, and guests */

/* Answers that a node has not read, on one channel, over all its links, including lost ones: a new link does not raise the
 * limit. */
struct debt {
	struct node_id node;
	enum peers_channel channel;
	struct msg_owed *owed;
	LIST_ENTRY(debt) next;
};

struct inlink {
	struct debt *debt; /* NULL: out of memory */
	uint64_t number;   /* unique; peers_from.link */
	uint64_t cookie;   /* of its connection, for the guard */
	struct msg_route route;
	struct node_id node;
	enum peers_channel channel;
	bool invited;
	uint64_t boot, in, out; /* boot id of the peer; numbers of the last messages */
	uint64_t heard_ns;
	char address[64]; /* of the peer; empty: unknown */
	LIST_ENTRY(inlink) next;
};

/* A held Hello: its node has a link with another boot id.  Either the node restarted and that link is stale, or two machines use
 * the same key.  It is decided by whether the other link sends something. */
struct held {
	struct router *in;
	struct msg_route route;
	int fd; /* of its connection */
	struct node_id node;
	Caravan__Envelope *hello;
	char address[64];
	uint64_t since_ns;
	struct loop_timer *timer;
	LIST_ENTRY(held) next;
};

struct router {
	struct loop *loop;
	struct zwatch *sock, *monitor;
	struct guard *watch;       /* borrowed */
	struct loop_timer *closed; /* reopens a socket that does not listen; NULL: it listens */
	const struct peers_config *config;
	uint64_t boot, last_number;
	size_t nlinks;
	LIST_HEAD(, inlink) links;
	LIST_HEAD(, debt) debts;
	size_t nheld;
	/* boot ids of silent links that were replaced; one that sends again was there first */
	struct {
		struct node_id node;
		uint64_t boot;
	} replaced[16];
	size_t nreplaced;
	LIST_HEAD(, held) held;
	peers_fn *fn;
	void *arg;
	char endpoint[256];
	/* recently accepted connections; and the failure of the one that is closed next */
	struct {
		int fd;
		char address[64];
	} accepted[64];
	size_t naccepted;
	char failed[256];
};

/* ---- the table of links --------------------------------------------------------------------------- */

static struct inlink *inlink_by_route(struct router *in, const struct msg_route *r) {
	struct inlink *k;
	LIST_FOREACH(k, &in->links, next)
	if (k->route.len == r->len && memcmp(k->route.id, r->id, r->len) == 0)
		return k;
	return NULL;
}

static void inlink_forget(struct router *in, struct inlink *k) {
	LIST_REMOVE(k, next);
	in->nlinks--;
	free(k);
}

static void router_debt_free(struct debt *d) {
	LIST_REMOVE(d, next);
	msg_owed_unref(d->owed);
	free(d);
}

/* Finds the debt of a node; frees debts that are paid and have no links. */
static struct debt *router_debt_find(
        struct router *in, const struct node_id *node, enum peers_channel channel) {
	struct debt *d, *after, *found = NULL;
	for (d = LIST_FIRST(&in->debts); d; d = after) {
		struct inlink *k;
		after = LIST_NEXT(d, next);
		LIST_FOREACH(k, &in->links, next)
		if (k->debt == d)
			break;
		if (node_id_equal(&d->node, node) && d->channel == channel)
			found = d;
		else if (!k && msg_owed_bytes(d->owed) == 0)
			router_debt_free(d);
	}
	if (found || !(d = calloc(1, sizeof *d)))
		return found;
	if (!(d->owed = msg_owed_create())) {
		free(d);
		return NULL;
	}
	d->node = *node;
	d->channel = channel;
	LIST_INSERT_HEAD(&in->debts, d, next);
	return d;
}

static struct inlink *inlink_make(
        struct router *in, const struct msg *m, const char *address, uint64_t boot, bool bulk, bool invited) {
	enum peers_channel channel = bulk ? PEERS_BULK : PEERS_CONTROL;
	struct inlink *k, *after, *oldest = NULL;
	for (k = LIST_FIRST(&in->links); k; k = after) {
		after = LIST_NEXT(k, next);
		if (node_id_equal(&k->node, &m->from) && (k->channel == channel || k->boot != boot))
			inlink_forget(in, k);
		else
			oldest = k;
	}
	if (in->nlinks >= LINKS_MAX) /* only guests that do not join can fill the table */
		inlink_forget(in, oldest);
	k = calloc(1, sizeof *k);
	if (!k)
		return NULL;
	*k = (struct inlink){.debt = router_debt_find(in, &m->from, channel),
	        .number = ++in->last_number,
	        .cookie = guard_cookie(m->fd),
	        .route = m->route,
	        .node = m->from,
	        .channel = channel,
	        .invited = invited,
	        .boot = boot};
	snprintf(k->address, sizeof k->address, "%s", address);
	LIST_INSERT_HEAD(&in->links, k, next);
	in->nlinks++;
	return k;
}

/* Whether a connection is a link of an admitted node. */
static bool inbound_wants(void *arg, uint64_t cookie) {
	const struct router *in = arg;
	const struct inlink *k;
	const char *why;
	LIST_FOREACH(k, &in->links, next)
	if (k->cookie == cookie)
		return in->config->admit(in->config->arg, &k->node, &why) != PEERS_REFUSE;
	return false;
}

/* ---- out ------------------------------------------------------------------------------------------- */

static int router_send(struct router *in, const struct msg_route *route, Caravan__Envelope *env, uint64_t seq,
        struct payload *payload, struct msg_owed *owed) {
	char err[200];
	uint8_t *frame;
	size_t len;
	env->boot = in->boot;
	env->seq = seq;
	if (!wire_valid(env, payload ? payload_len(payload) : 0, WIRE_DEALER, err, sizeof err)) {
		log_others(LOG_LINE_ERROR, "cannot send an answer: %s", err);
		return -EINVAL;
	}
	int rc = wire_pack(env, &frame, &len);
	if (rc)
		return rc;
	/* a node that does not read its answers gets no more payloads; small answers still pass */
	if (owed && payload && msg_owed_bytes(owed) + len + payload_len(payload) > OWED_MAX) {
		free(frame);
		return -EAGAIN;
	}
	rc = msg_send(zwatch_socket(in->sock), route, frame, len, payload, owed);
	zwatch_touched(in->sock);
	return rc;
}

int router_answer(struct router *in, uint64_t link, Caravan__Envelope *env, struct payload *payload) {
	struct inlink *k;
	LIST_FOREACH(k, &in->links, next)
	if (k->number == link)
		break;
	if (!k)
		return -EHOSTUNREACH;
	int rc = router_send(in, &k->route, env, k->out + 1, payload, k->debt ? k->debt->owed : NULL);
	if (rc == 0) {
		k->out++;
	} else if (rc == -EHOSTUNREACH || rc == -ECONNRESET) {
		inlink_forget(in, k);
		rc = -EHOSTUNREACH;
	}
	return rc;
}

static void router_refuse(struct router *in, const struct msg_route *route, uint64_t ref, const char *why) {
	Caravan__Refused refused = CARAVAN__REFUSED__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(REFUSED, refused, &refused);
	refused.reason = wire_string(why);
	env.ref = ref;
	/* the link is gone: neither numbers nor delivery matter */
	router_send(in, route, &env, 1, NULL, NULL);
}

/* Ends a link that broke the order; reports it once on both sides. */
static void inlink_lose(struct router *in, const struct msg *m, struct inlink *k, const char *why) {
	char hex[NODE_ID_HEX];
	log_others(LOG_LINE_WARN, "lost the link from %.12s: %s", node_id_hex(&m->from, hex), why);
	if (k)
		inlink_forget(in, k);
	router_refuse(in, &m->route, 0, why);
}

/* ---- in -------------------------------------------------------------------------------------------- */

/* Handles the first message of a link.  NULL: not acceptable, no link. */
static struct inlink *inbound_first(struct router *in, const struct msg *m, const char *address,
        const Caravan__Envelope *env, bool invited) {
	char why[200], hex[NODE_ID_HEX];
	if (env->body_case != (invited ? CARAVAN__ENVELOPE__BODY_JOIN : CARAVAN__ENVELOPE__BODY_HELLO)) {
		/* libzmq reconnected, or we have just ended the link: not logged */
		router_refuse(in, &m->route, 0, "a link must begin with Hello");
		return NULL;
	}
	if (env->seq != 1) {
		inlink_lose(in, m, NULL, "its first message is not number 1");
		return NULL;
	}
	if (!invited && !handshake_version_ok(env->hello->major, env->hello->minor, why, sizeof why)) {
		log_others(LOG_LINE_WARN, "refused the link from %.12s: %s", node_id_hex(&m->from, hex), why);
		router_refuse(in, &m->route, env->ref, why);
		return NULL;
	}
	return inlink_make(in, m, address, env->boot, !invited && env->hello->bulk, invited);
}

static void inbound_welcome(struct router *in, const struct peers_from *from, const Caravan__Hello *h) {
	const struct peers_config *c = in->config;
	Caravan__Welcome welcome = CARAVAN__WELCOME__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(WELCOME, welcome, &welcome);
	if (c->roster_received && !h->bulk)
		c->roster_received(c->arg, &from->node, h->minor, h->arithmetic, h->roster, h->n_roster);
	handshake_welcome(&welcome, c, h->bulk);
	env.ref = from->ref;
	router_answer(in, from->link, &env, NULL);
}

static void inbound_deliver(struct router *in, struct inlink *k, bool first, const Caravan__Envelope *env,
        struct payload *payload) {
	const struct peers_from from = {.node = k->node,
	        .invited = k->invited,
	        .ref = env->ref,
	        .link = k->number,
	        .channel = k->channel};
	k->in++;
	k->heard_ns = loop_now_ns();
	if (in->config->message_arrived && !from.invited)
		in->config->message_arrived(in->config->arg, &from.node);
	if (first && !from.invited)
		inbound_welcome(in, &from, env->hello);
	else
		in->fn(in->arg, &from, env, payload);
}

/* ---- two machines with one key ------------------------------------------------------------------------ */

/* The numeric address of the sender; IPv4 not as mapped IPv6. */
static void msg_peer_address(const struct msg *m, char address[64]) {
	const char *text = zmq_msg_gets((zmq_msg_t *)&m->envelope, "Peer-Address");
	snprintf(address, 64, "%s", !text ? "" : strncmp(text, "::ffff:", 7) == 0 ? text + 7 : text);
}

static void router_held_free(struct held *h) {
	LIST_REMOVE(h, next);
	h->in->nheld--;
	loop_timer_stop(h->timer);
	wire_free(h->hello);
	free(h);
}

/* A link of this node with another boot id and an open connection; NULL: none. */
static struct inlink *inbound_rival(struct router *in, const struct node_id *node, uint64_t boot) {
	struct inlink *k = LIST_FIRST(&in->links), *after;
	for (; k; k = after) {
		Caravan__Ack ack = CARAVAN__ACK__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(ACK, ack, &ack);
		after = LIST_NEXT(k, next);
		if (k->invited || k->boot == boot || !node_id_equal(&k->node, node))
			continue;
		env.ref = PROBE_REF;
		/* sending shows whether the connection is still open */
		if (router_answer(in, k->number, &env, NULL) != -EHOSTUNREACH)
			return k;
	}
	return NULL;
}

static bool router_was_replaced(const struct router *in, const struct node_id *node, uint64_t boot) {
	for (size_t i = 0; i < sizeof in->replaced / sizeof *in->replaced; i++)
		if (in->replaced[i].boot == boot && node_id_equal(&in->replaced[i].node, node))
			return true;
	return false;
}

/* A link of the node with another boot id: any, or one that has sent something since then. */
static struct inlink *inlink_other(
        struct router *in, const struct node_id *node, uint64_t boot, uint64_t spoke_since) {
	struct inlink *k;
	LIST_FOREACH(k, &in->links, next)
	if (!k->invited && k->boot != boot && node_id_equal(&k->node, node) && k->heard_ns > spoke_since)
		break;
	return k;
}

static void router_held_accept(struct router *in, const struct held *h) {
	const struct msg m = {.route = h->route, .from = h->node, .fd = h->fd};
	struct inlink *k = inlink_other(in, &h->node, h->hello->boot, 0);
	if (k && !router_was_replaced(in, &k->node, k->boot)) {
		size_t i = in->nreplaced++ % (sizeof in->replaced / sizeof *in->replaced);
		in->replaced[i].node = k->node;
		in->replaced[i].boot = k->boot;
	}
	k = inbound_first(in, &m, h->address, h->hello, false);
	if (k)
		inbound_deliver(in, k, true, h->hello, NULL);
}

static void router_held_due(void *arg) {
	struct held *h = arg;
	struct router *in = h->in;
	const char *why = "not a member of this cluster";
	char text[WIRE_TEXT_MAX] = "its key is in use on another machine", hex[NODE_ID_HEX];
	struct inlink *k = inlink_other(in, &h->node, h->hello->boot, h->since_ns + FLYING_NS);
	/* both are alive: the first one stays, even if it was silent for a while */
	bool first = k && router_was_replaced(in, &h->node, h->hello->boot) &&
	             !router_was_replaced(in, &k->node, k->boot);
	h->timer = NULL;
	if (k) {
		if (in->config->duplicate_key)
			in->config->duplicate_key(in->config->arg, &h->node, first ? h->address : k->address,
			        first ? k->address : h->address, text, sizeof text);
		log_others(LOG_LINE_WARN, "refused a second link from %.12s: %s", node_id_hex(&h->node, hex),
		        text);
		router_refuse(in, first ? &k->route : &h->route, first ? 0 : h->hello->ref, text);
	}
	if (first)
		inlink_forget(in, k);
	if (in->config->admit(in->config->arg, &h->node, &why) != PEERS_MEMBER)
		router_refuse(in, &h->route, 0, why);
	else if (!k || first)
		router_held_accept(in, h);
	router_held_free(h);
}

/* Whether a first message must be held because of another boot id; if so, stores it. */
static bool inbound_hold(
        struct router *in, const struct msg *m, const char *address, Caravan__Envelope *env) {
	struct held *h, *after;
	if (env->body_case != CARAVAN__ENVELOPE__BODY_HELLO || env->seq != 1 ||
	        !inbound_rival(in, &m->from, env->boot) || in->nheld >= HELD_MAX)
		return false;
	for (h = LIST_FIRST(&in->held); h; h = after) {
		after = LIST_NEXT(h, next);
		if (h->route.len == m->route.len && memcmp(h->route.id, m->route.id, m->route.len) == 0)
			router_held_free(h);
	}
	h = calloc(1, sizeof *h);
	if (!h)
		return false;
	*h = (struct held){.in = in,
	        .route = m->route,
	        .fd = m->fd,
	        .node = m->from,
	        .hello = env,
	        .since_ns = loop_now_ns()};
	snprintf(h->address, sizeof h->address, "%s", address);
	h->timer = loop_timer_start(in->loop, HOLD_MS, false, router_held_due, h);
	if (!h->timer) {
		free(h);
		return false;
	}
	LIST_INSERT_HEAD(&in->held, h, next);
	in->nheld++;
	return true;
}

static void inbound_take(struct router *in, const struct msg *m, bool whole) {
	char err[200] = "a message with the wrong frames", hex[NODE_ID_HEX];
	const char *why = "not a member of this cluster";
	struct inlink *k = inlink_by_route(in, &m->route);
	enum peers_verdict verdict = in->config->admit(in->config->arg, &m->from, &why);
	if (k && (!node_id_equal(&k->node, &m->from) || (k->invited && verdict != PEERS_INVITED))) {
		inlink_forget(in, k); /* of a closed connection */
		k = NULL;
	}
	if (verdict == PEERS_REFUSE) {
		log_others(
		        LOG_LINE_WARN, "refused a message from %.12s: %s", node_id_hex(&m->from, hex), why);
		if (k)
			inlink_forget(in, k);
		router_refuse(in, &m->route, 0, why);
		return;
	}
	bool invited = verdict == PEERS_INVITED;
	Caravan__Envelope *env = NULL;
	if (whole)
		env = wire_unpack(zmq_msg_data((zmq_msg_t *)&m->envelope), zmq_msg_size(&m->envelope),
		        m->payload ? payload_len(m->payload) : 0, invited ? WIRE_ROUTER_INVITED : WIRE_ROUTER,
		        err, sizeof err);
	if (!env) {
		inlink_lose(in, m, k, err);
		return;
	}
	bool first = !k;
	char address[64];
	msg_peer_address(m, address);
	if (first && !invited && inbound_hold(in, m, address, env))
		return;
	if (first) {
		k = inbound_first(in, m, address, env, invited);
	} else if (env->body_case == CARAVAN__ENVELOPE__BODY_HELLO || env->boot != k->boot ||
	           env->seq != k->in + 1) {
		snprintf(err, sizeof err, "message %" PRIu64 " after %" PRIu64 "%s", env->seq, k->in,
		        env->boot == k->boot ? "" : ", after a restart");
		inlink_lose(in, m, k, err);
		k = NULL;
	}
	if (k)
		inbound_deliver(in, k, first, env, m->payload);
	wire_free(env);
}

static bool inbound_readable(void *arg) {
	struct router *in = arg;
	struct msg m;
	int rc = msg_receive(&m, zwatch_socket(in->sock), true);
	if (rc == 0)
		return false;
	if (rc == -EPERM) {
		log_others(LOG_LINE_WARN, "dropped a message without an author");
		return true;
	}
	guard_taken(in->watch, m.fd, &m.from);
	inbound_take(in, &m, rc == 1);
	msg_close(&m);
	return true;
}

/* Listens again when descriptors are free. */
static void inbound_reopen(void *arg) {
	struct router *in = arg;
	/* twice the limit, for hysteresis */
	if (descriptors_short(2 * ACCEPT_RESERVE) || zmq_bind(zwatch_socket(in->sock), in->endpoint) != 0)
		return;
	zwatch_touched(in->sock);
	loop_timer_stop(in->closed);
	in->closed = NULL;
	log_line(LOG_LINE_INFO, "listening at %s again", in->endpoint);
}

/* Stops listening to save descriptors for this process.  Otherwise libzmq would retry accept in a busy loop, and abort the
 * process when it cannot open a descriptor to list addresses. */
static void inbound_close(struct router *in) {
	if (!(in->closed = loop_timer_start(in->loop, CLOSED_MS, true, inbound_reopen, in)))
		return;
	log_line(LOG_LINE_ERROR, "%s: not listening at %s until some are free",
	        descriptors_strerror(EMFILE).s, in->endpoint);
	zmq_unbind(zwatch_socket(in->sock), in->endpoint);
	zwatch_touched(in->sock);
}

static void router_note_accepted(struct router *in, int fd) {
	struct sockaddr_storage at;
	socklen_t len = sizeof at;
	char host[NI_MAXHOST] = "";
	if (getpeername(fd, (struct sockaddr *)&at, &len) == 0)
		getnameinfo((struct sockaddr *)&at, len, host, sizeof host, NULL, 0, NI_NUMERICHOST);
	size_t i = in->naccepted % (sizeof in->accepted / sizeof *in->accepted);
	for (size_t j = 0; j < sizeof in->accepted / sizeof *in->accepted; j++)
		if (in->accepted[j].fd == fd) /* an older connection with this descriptor */
			i = j;
	in->naccepted += i == in->naccepted % (sizeof in->accepted / sizeof *in->accepted);
	in->accepted[i].fd = fd;
	snprintf(in->accepted[i].address, sizeof in->accepted[i].address, "%.*s", 63,
	        strncmp(host, "::ffff:", 7) == 0 ? host + 7 : host);
}

/* Reports a failed handshake of the connection that is being closed; fd -1: unknown. */
static void router_report_failure(struct router *in, int fd) {
	const char *address = "", *name = NULL;
	if (!*in->failed)
		return;
	for (size_t i = 0; i < sizeof in->accepted / sizeof *in->accepted && fd >= 0; i++)
		if (in->accepted[i].fd == fd) /* no address if it ended at once */
			address = in->accepted[i].address;
	if (*address && in->config->name_at)
		name = in->config->name_at(in->config->arg, address);
	log_others(LOG_LINE_WARN, "refused a connection%s%s%s%s%s to %s: %s", *address ? " from " : "",
	        address, name ? " (" : "", name ? name : "", name ? ")" : "", in->endpoint, in->failed);
	in->failed[0] = 0;
}

static bool inbound_monitor_readable(void *arg) {
	struct router *in = arg;
	int event, fd;
	char what[160];
	if (!socket_monitor_next(zwatch_socket(in->monitor), &event, &fd, what, sizeof what))
		return false;
	if (event == ZMQ_EVENT_ACCEPTED || event == ZMQ_EVENT_ACCEPT_FAILED) {
		if (event == ZMQ_EVENT_ACCEPTED) {
			router_note_accepted(in, fd);
			guard_add(in->watch, fd, NULL);
		}
		if (!in->closed && descriptors_short(ACCEPT_RESERVE))
			inbound_close(in);
	} else if (event == ZMQ_EVENT_DISCONNECTED) {
		router_report_failure(in, fd);
	} else { /* reported when its connection is closed */
		router_report_failure(in, -1);
		snprintf(in->failed, sizeof in->failed, "%s%s", what,
		        strcmp(what, SOCKET_OTHER_KEY) == 0
		                ? " by a node that expects another one at this address"
		                : "");
	}
	return true;
}

/* ---- life ------------------------------------------------------------------------------------------ */

int router_create(struct router **out, struct loop *l, void *ctx, struct guard *watch,
        const struct peers_config *c, uint64_t boot, peers_fn *fn, void *arg, char *err, size_t errlen) {
	static const struct zwatch_ops sock_ops = {inbound_readable, NULL};
	static const struct zwatch_ops monitor_ops = {inbound_monitor_readable, NULL};
	/* refused keys are logged by the authenticator, which knows key and address */
	static const int events = ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
	                          ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_ACCEPT_FAILED | ZMQ_EVENT_DISCONNECTED;
	int rc = -ENOMEM;
	struct router *in = calloc(1, sizeof *in);
	char listen[256];
	bool v6 = socket_listen(c->listen, listen);
	void *s = socket_router(ctx, c->keys, v6), *m = NULL;
	size_t len = sizeof in->endpoint;
	if (!in || !s)
		goto error;
	*in = (struct router){.loop = l, .watch = watch, .config = c, .boot = boot, .fn = fn, .arg = arg};
	LIST_INIT(&in->links);
	LIST_INIT(&in->debts);
	LIST_INIT(&in->held);
	for (size_t i = 0; i < sizeof in->accepted / sizeof *in->accepted; i++)
		in->accepted[i].fd = -1;
	m = socket_monitor(ctx, s, events);
	if (!m)
		goto error;
	rc = zwatch_create(&in->monitor, l, m, &monitor_ops, in);
	if (rc)
		goto error;
	/* before there is anything to tell */
	rc = zwatch_create(&in->sock, l, s, &sock_ops, in);
	s = NULL;
	if (rc)
		goto error;
	if (zmq_bind(zwatch_socket(in->sock), listen) != 0 ||
	        zmq_getsockopt(zwatch_socket(in->sock), ZMQ_LAST_ENDPOINT, in->endpoint, &len) != 0) {
		rc = -errno;
		goto error;
	}
	guard_ask(watch, inbound_wants, in);
	*out = in;
	return 0;
error:
	snprintf(err, errlen, "cannot listen at %s: %s", c->listen, socket_bind_strerror(-rc));
	if (s)
		zmq_close(s);
	router_destroy(in);
	return rc;
}

void router_destroy(struct router *in) {
	if (!in)
		return;
	while (!LIST_EMPTY(&in->held))
		router_held_free(LIST_FIRST(&in->held));
	while (!LIST_EMPTY(&in->links))
		inlink_forget(in, LIST_FIRST(&in->links));
	while (!LIST_EMPTY(&in->debts))
		router_debt_free(LIST_FIRST(&in->debts));
	loop_timer_stop(in->closed);
	if (in->watch)
		guard_ask(in->watch, NULL, NULL);
	if (in->sock)
		socket_monitor_stop(zwatch_socket(in->sock));
	zwatch_destroy(in->sock);
	zwatch_destroy(in->monitor);
	free(in);
}

const char *router_endpoint(const struct router *in) {
	return in->endpoint;
}
