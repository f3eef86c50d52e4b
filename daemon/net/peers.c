/* peers: see peers.h.  The links by node, messages to this node itself, and the handlers of each kind of message. */
#include "config.h"

#include "common/fail.h"
#include "daemon/core/log.h"
#include "daemon/net/join_client.h"
#include "daemon/net/link.h"
#include "daemon/net/listeners.h"
#include "daemon/net/peers.h"
#include "daemon/net/router.h"
#include "daemon/net/zap.h"
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <zmq.h>

#define LOCAL_QUEUE 4096 /* messages to this node that wait for the next turn of the loop */

struct local {
	Caravan__Envelope *env;
	struct payload *payload;
	enum peers_channel channel;
	STAILQ_ENTRY(local) next;
};

struct joining {
	struct peers *peers;
	struct join_client *join;
	peers_join_fn *done;
	void *arg;
	LIST_ENTRY(joining) next;
};

struct peers {
	struct loop *loop;
	struct peers_config config;
	void *ctx; /* NULL: no network */
	struct guard *watch;
	unsigned dialing; /* links that are being dialed */
	struct zap *zap;
	struct router *router;
	struct link *links[WIRE_NODES_MAX];
	size_t nlinks;
	LIST_HEAD(, joining) joins;
	struct listeners listeners;
	STAILQ_HEAD(, local) locals;
	size_t nlocals;
	struct loop_timer *local_turn;
	uint64_t boot, last_ref, local_seq;
};

/* ---- messages ---------------------------------------------------------------------------------------- */

static void peers_dispatch(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct peers *p = arg;
	listeners_message(&p->listeners, from, env, payload);
}

/* An answer of another node. */
static void peers_on_answer(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct peers *p = arg;
	if (p->config.message_arrived)
		p->config.message_arrived(p->config.arg, &from->node);
	peers_dispatch(p, from, env, payload);
}

int peers_on(struct peers *p, Caravan__Envelope__BodyCase kind, peers_fn *fn, void *arg) {
	return listeners_add(&p->listeners, kind, fn, arg);
}

int peers_on_link(struct peers *p, peers_link_fn *fn, void *arg) {
	return listeners_add_link(&p->listeners, fn, arg);
}

static void peers_link_changed(void *arg, const struct node_id *node, bool up, const char *why) {
	struct peers *p = arg;
	if (p->config.link)
		p->config.link(p->config.arg, node, up, why);
	listeners_link(&p->listeners, node, up, why);
}

uint64_t peers_ref(struct peers *p) {
	return ++p->last_ref;
}

/* ---- to ourselves ------------------------------------------------------------------------------------ */

static void peers_local_free(struct local *m) {
	wire_free(m->env);
	payload_unref(m->payload);
	free(m);
}

/* Delivers the messages queued when the turn began; later ones wait for the next turn, so that sockets get theirs. */
static void peers_local_run(void *arg) {
	struct peers *p = arg;
	p->local_turn = NULL;
	size_t n = p->nlocals;
	for (struct local *m; n && (m = STAILQ_FIRST(&p->locals)); n--) {
		STAILQ_REMOVE_HEAD(&p->locals, next);
		p->nlocals--;
		const struct peers_from from = {.node = p->config.keys->public,
		        .local = true,
		        .ref = m->env->ref,
		        .channel = m->channel};
		peers_dispatch(p, &from, m->env, m->payload);
		peers_local_free(m);
	}
	if (p->nlocals && !p->local_turn)
		p->local_turn = loop_timer_start(p->loop, 0, false, peers_local_run, p);
}

/* Packed, validated and ordered as over the network. */
static int peers_local_send(struct peers *p, enum peers_channel ch, Caravan__Envelope *env,
        struct payload *payload, enum wire_context context) {
	char err[200];
	uint8_t *frame;
	size_t len;
	if (p->nlocals >= LOCAL_QUEUE)
		return -EAGAIN;
	env->boot = p->boot;
	env->seq = ++p->local_seq;
	int rc = wire_pack(env, &frame, &len);
	if (rc)
		return rc;
	struct local *m = calloc(1, sizeof *m);
	if (m)
		m->env =
		        wire_unpack(frame, len, payload ? payload_len(payload) : 0, context, err, sizeof err);
	free(frame);
	if (!m)
		return -ENOMEM;
	if (!m->env) {
		log_line(LOG_LINE_ERROR, "cannot send a message to this node itself: %s", err);
		free(m);
		return -EINVAL;
	}
	if (!p->local_turn && !(p->local_turn = loop_timer_start(p->loop, 0, false, peers_local_run, p))) {
		peers_local_free(m);
		return -ENOMEM;
	}
	m->payload = payload ? payload_ref(payload) : NULL;
	m->channel = ch;
	STAILQ_INSERT_TAIL(&p->locals, m, next);
	p->nlocals++;
	return 0;
}

/* ---- to others --------------------------------------------------------------------------------------- */

static struct link **peers_link_slot(const struct peers *p, const struct node_id *node) {
	for (size_t i = 0; i < p->nlinks; i++)
		if (node_id_equal(link_node(p->links[i]), node))
			return (struct link **)&p->links[i];
	return NULL;
}

int peers_send(struct peers *p, const struct node_id *to, enum peers_channel ch, Caravan__Envelope *env,
        struct payload *payload) {
	if (node_id_equal(to, &p->config.keys->public))
		return peers_local_send(p, ch, env, payload, WIRE_ROUTER);
	struct link **k = peers_link_slot(p, to);
	return k ? link_send(*k, ch, env, payload) : -ENOTCONN;
}

int peers_answer(
        struct peers *p, const struct peers_from *from, Caravan__Envelope *env, struct payload *payload) {
	env->ref = from->ref;
	if (from->local)
		return peers_local_send(p, from->channel, env, payload, WIRE_DEALER);
	return p->router ? router_answer(p->router, from->link, env, payload) : -EHOSTUNREACH;
}

int peers_connect(struct peers *p, const struct node_id *node, const char *const *endpoints, size_t n) {
	if (!p->ctx || node_id_equal(node, &p->config.keys->public))
		return -EINVAL;
	struct link **k = peers_link_slot(p, node);
	if (k) {
		link_move(*k, endpoints, n);
		return 0;
	}
	if (p->nlinks == WIRE_NODES_MAX)
		return -ENOSPC;
	const struct link_config c = {p->loop, p->ctx, p->watch, &p->config, p->boot, &p->dialing,
	        peers_on_answer, peers_link_changed, p};
	int rc = link_create(&p->links[p->nlinks], &c, node, endpoints, n);
	if (rc == 0)
		p->nlinks++;
	return rc;
}

void peers_disconnect(struct peers *p, const struct node_id *node) {
	struct link **k = peers_link_slot(p, node);
	if (!k)
		return;
	link_destroy(*k);
	*k = p->links[--p->nlinks];
}

void peers_drop(struct peers *p, const struct node_id *node, const char *why) {
	struct link **k = peers_link_slot(p, node);
	if (k)
		link_drop(*k, why);
}

bool peers_linked(const struct peers *p, const struct node_id *node) {
	if (node_id_equal(node, &p->config.keys->public))
		return true;
	struct link **k = peers_link_slot(p, node);
	return k && link_up(*k);
}

void peers_hint(struct peers *p, const struct node_id *node, const char *endpoint) {
	struct link **k = peers_link_slot(p, node);
	if (k)
		link_hint(*k, endpoint);
}

void peers_awake(struct peers *p, const struct node_id *node) {
	struct link **k = peers_link_slot(p, node);
	if (k)
		link_awake(*k);
}

void peers_readdress(struct peers *p, bool (*have)(void *arg, const char *address), void *arg) {
	for (size_t i = 0; i < p->nlinks; i++)
		link_readdress(p->links[i], have, arg);
}

const char *peers_failure(const struct peers *p, const struct node_id *node) {
	struct link **k = peers_link_slot(p, node);
	return k ? link_failure(*k) : "";
}

/* ---- joining ----------------------------------------------------------------------------------------- */

static void peers_joining_free(struct joining *g) {
	LIST_REMOVE(g, next);
	join_client_destroy(g->join);
	free(g);
}

static void peers_joining_done(
        void *arg, Caravan__Entry *const *entries, size_t count, const char *endpoint, const char *error) {
	struct joining *g = arg;
	g->done(g->arg, entries, count, endpoint, error);
	peers_joining_free(g);
}

double peers_lost(const struct peers *p, const struct node_id *node) {
	return p->watch ? guard_lost(p->watch, node) : 0;
}

int peers_join(struct peers *p, const struct keys *invitation, const struct node_id *server,
        const char *const *endpoints, size_t nendpoints, const Caravan__Join *ask, peers_join_fn *done,
        void *arg) {
	if (!p->ctx)
		return -ENOTSUP;
	struct joining *g = calloc(1, sizeof *g);
	if (!g)
		return -ENOMEM;
	*g = (struct joining){.peers = p, .done = done, .arg = arg};
	const struct join_client_config c = {.loop = p->loop,
	        .ctx = p->ctx,
	        .watch = p->watch,
	        .boot = p->boot,
	        .invitation = invitation,
	        .server = server,
	        .endpoints = endpoints,
	        .nendpoints = nendpoints,
	        .ask = ask,
	        .done = peers_joining_done,
	        .arg = g};
	int rc = join_client_create(&g->join, &c);
	if (rc) {
		free(g);
		return rc;
	}
	LIST_INSERT_HEAD(&p->joins, g, next);
	return 0;
}

/* ---- life -------------------------------------------------------------------------------------------- */

static bool peers_admit(void *arg, const struct node_id *key, const char **why) {
	struct peers *p = arg;
	return p->config.admit(p->config.arg, key, why) != PEERS_REFUSE;
}

/* The authenticator must be bound before the ROUTER. */
static int peers_create_network(struct peers *p, char *err, size_t errlen) {
	if (guard_create(&p->watch, p->loop))
		return fail_with(-ENOMEM, err, errlen, "out of memory");
	p->ctx = zmq_ctx_new();
	/* three sockets per connection, two connections per node, and closed ones that libzmq has not freed yet */
	if (!p->ctx || zmq_ctx_set(p->ctx, ZMQ_MAX_SOCKETS, 16 * WIRE_NODES_MAX) != 0 ||
	        zmq_ctx_set(p->ctx, ZMQ_BLOCKY, 0) != 0)
		return fail_with(-ENOMEM, err, errlen, "cannot start ZeroMQ: %s", zmq_strerror(errno));
	int rc = zap_create(&p->zap, p->loop, p->ctx, peers_admit, p);
	if (rc)
		return fail_with(rc, err, errlen, "cannot bind the authenticator: %s", zmq_strerror(-rc));
	return router_create(
	        &p->router, p->loop, p->ctx, p->watch, &p->config, p->boot, peers_dispatch, p, err, errlen);
}

int peers_create(struct peers **out, struct loop *l, const struct peers_config *c, char *err, size_t errlen) {
	int rc = -ENOMEM;
	struct peers *p = calloc(1, sizeof *p);
	if (!p)
		return fail_with(rc, err, errlen, "out of memory");
	p->loop = l;
	p->config = *c;
	LIST_INIT(&p->joins);
	listeners_init(&p->listeners);
	STAILQ_INIT(&p->locals);
	if (RAND_bytes((unsigned char *)&p->boot, sizeof p->boot) != 1) {
		rc = fail_with(-EIO, err, errlen, "no random numbers");
		goto error;
	}
	p->last_ref = p->boot >> 16; /* differ from those before a restart, in case an old answer arrives */
	rc = c->listen ? peers_create_network(p, err, errlen) : 0;
	if (rc)
		goto error;
	*out = p;
	return 0;
error:
	peers_destroy(p);
	return rc;
}

void peers_destroy(struct peers *p) {
	if (!p)
		return;
	while (!LIST_EMPTY(&p->joins))
		peers_joining_free(LIST_FIRST(&p->joins));
	while (p->nlinks)
		link_destroy(p->links[--p->nlinks]);
	router_destroy(p->router);
	zap_destroy(p->zap);
	if (p->ctx)
		zmq_ctx_term(p->ctx);
	guard_destroy(p->watch);
	loop_timer_stop(p->local_turn);
	for (struct local *m; (m = STAILQ_FIRST(&p->locals));) {
		STAILQ_REMOVE_HEAD(&p->locals, next);
		peers_local_free(m);
	}
	listeners_clear(&p->listeners);
	free(p);
}

const struct node_id *peers_self(const struct peers *p) {
	return &p->config.keys->public;
}

const char *peers_endpoint(const struct peers *p) {
	return p->router ? router_endpoint(p->router) : "";
}
