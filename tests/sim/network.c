/* sim/network: see network.h. */
#include "config.h"

#include "tests/sim/network.h"

#include "daemon/net/handshake.h"
#include "daemon/net/listeners.h"
#include "daemon/net/zmq_socket.h"
#include "tests/sim/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define DEAD_NS (SOCKET_DEAD_MS * UINT64_C(1000000))
#define WELCOME_MS 5000 /* until an attempt is given up */
#define WAIT_MIN_MS 200
#define WAIT_MAX_MS 2000
#define LOCAL_QUEUE 4096 /* messages to ourselves that are under way */
#define JOIN_REF 1

/* From one node to another. */
struct way {
	struct node_id from, to;
	bool any_from, any_to;
	uint64_t delay;
	double rate;
	bool cut;
	struct sim_event *cut_event; /* it has lasted for so long that links are lost */
	uint64_t free_at;            /* for the next message: those before it have been sent */
	uint64_t last_due;           /* of the newest message: none overtakes another */
	uint64_t stream;
	LIST_ENTRY(way) next;
};

enum link_state { LINK_WAITS, LINK_CALLS, LINK_UP };

/* Of a node, to another one; or of a guest, who has an invitation. */
struct link {
	struct peers *owner;
	struct node_id key, to; /* key: whom the other side takes us for */
	char endpoint[WIRE_ENDPOINTS_MAX + 1][WIRE_ENDPOINT_MAX + 1]; /* the last one: a hint */
	size_t endpoints;
	enum link_state state;
	bool told_up;
	uint64_t id; /* of this attempt, 0: none */
	uint64_t wait_ms;
	struct sim_event *event; /* it is told to be lost, tries, or has tried for too long */
	char why[240], failure[240];
	peers_join_fn *done; /* of a guest */
	void *arg;
	uint8_t *ask; /* the same: the packed Join */
	size_t ask_len;
	char used[WIRE_ENDPOINT_MAX + 1]; /* where the other side was found */
	TAILQ_ENTRY(link) next;
};

struct packet {
	struct peers *to;
	struct node_id from;
	struct way *way;
	uint64_t link; /* 0: to oneself */
	bool answer;
	enum peers_channel channel;
	uint8_t *frame;
	size_t len;
	struct payload *payload;
	struct sim_event *event; /* NULL: it waits for the way, or is kept */
	bool kept;
	TAILQ_ENTRY(packet) next;
};

struct peers {
	struct loop *loop;
	struct peers_config config;
	char endpoint[WIRE_ENDPOINT_MAX + 1];
	uint64_t boot, last_ref, seq;
	uint64_t stream; /* of messages to itself */
	TAILQ_HEAD(links, link) links, guests;
	struct listeners listeners;
	LIST_ENTRY(peers) next;
};

static struct {
	LIST_HEAD(, peers) nodes;
	LIST_HEAD(, way) ways;
	TAILQ_HEAD(, packet) packets;
	struct link **link; /* by id */
	uint64_t links, capacity;
	unsigned queue, port;
	size_t under_way;
	uint64_t delivered;
	network_watch_fn *watch;
	void *watch_arg;
} net;

static void *must(void *p) {
	if (!p) {
		fprintf(stderr, "sim: out of memory\n");
		abort();
	}
	return p;
}

/* ---- ways ---------------------------------------------------------------------------------------- */

static bool fits(bool any, const struct node_id *has, const struct node_id *id) {
	return id ? !any && node_id_equal(has, id) : any;
}

static struct way *find_way(const struct node_id *from, const struct node_id *to) {
	struct way *w;
	LIST_FOREACH(w, &net.ways, next)
	if (fits(w->any_from, &w->from, from) && fits(w->any_to, &w->to, to))
		return w;
	return NULL;
}

/* Made as what was said of all is when it is first used. */
static struct way *way_of(const struct node_id *from, const struct node_id *to) {
	struct way *w = find_way(from, to), *like = NULL;
	if (w)
		return w;
	w = must(calloc(1, sizeof *w));
	w->delay = NETWORK_DELAY_NS;
	if (from && to && !(like = find_way(from, NULL)) && !(like = find_way(NULL, to)))
		like = find_way(NULL, NULL);
	if (like) {
		w->delay = like->delay;
		w->rate = like->rate;
	}
	w->any_from = !from;
	w->any_to = !to;
	if (from)
		w->from = *from;
	if (to)
		w->to = *to;
	w->stream = sim_stream();
	LIST_INSERT_HEAD(&net.ways, w, next);
	return w;
}

static bool covers(const struct way *w, const struct node_id *from, const struct node_id *to) {
	return (!from || (!w->any_from && node_id_equal(&w->from, from))) &&
	       (!to || (!w->any_to && node_id_equal(&w->to, to)));
}

void network_delay(const struct node_id *from, const struct node_id *to, uint64_t ns) {
	struct way *w = way_of(from, to);
	w->delay = ns;
	if (!from || !to)
		LIST_FOREACH(w, &net.ways, next)
	if (covers(w, from, to))
		w->delay = ns;
}

void network_rate(const struct node_id *from, const struct node_id *to, double bytes_per_second) {
	struct way *w = way_of(from, to);
	w->rate = bytes_per_second;
	if (!from || !to)
		LIST_FOREACH(w, &net.ways, next)
	if (covers(w, from, to))
		w->rate = bytes_per_second;
}

void network_queue(unsigned messages) {
	net.queue = messages;
}

/* ---- packets ------------------------------------------------------------------------------------- */

static void packet_destroy(struct packet *k) {
	sim_cancel(k->event);
	TAILQ_REMOVE(&net.packets, k, next);
	net.under_way--;
	payload_unref(k->payload);
	free(k->frame);
	free(k);
}

static struct link *link_by_id(uint64_t id) {
	return id && id <= net.links ? net.link[id] : NULL;
}

static void deliver(struct packet *k);

static void packet_arrives(void *arg) {
	struct packet *k = arg;
	k->event = NULL;
	if (!k->way || !k->way->cut)
		deliver(k);
}

static void packet_goes(struct packet *k) {
	struct way *w = k->way;
	uint64_t now = sim_now_ns(), due = now;
	if (w) {
		uint64_t start = w->free_at > now ? w->free_at : now;
		size_t bytes = k->len + (k->payload ? payload_len(k->payload) : 0);
		w->free_at = w->rate > 0 ? start + (uint64_t)((double)bytes / w->rate * 1e9) : now;
		due = (w->free_at > now ? w->free_at : now) + w->delay;
		due = due > w->last_due ? due : w->last_due;
		w->last_due = due;
	}
	k->event = sim_at(k->to->loop, due - now, w ? w->stream : k->to->stream, packet_arrives, k);
}

static void release_bytes(void *arg) {
	free(arg);
}

/* As it comes off a socket: the bytes somewhere in a buffer of another. */
static struct payload *as_received(struct payload *p) {
	size_t len = payload_len(p);
	char *bytes = must(malloc(len + 8));
	memcpy(bytes + 8, payload_data(p), len);
	return must(payload_wrap(bytes + 8, len, release_bytes, bytes));
}

static unsigned queued(uint64_t link, bool answer) {
	struct packet *k;
	unsigned n = 0;
	TAILQ_FOREACH(k, &net.packets, next)
	n += k->link == link && k->answer == answer;
	return n;
}

/* A message of p on its way; link NULL: to itself. */
static int send_message(struct peers *p, struct peers *to, struct link *l, bool answer, enum peers_channel ch,
        Caravan__Envelope *env, struct payload *payload) {
	char err[200];
	const struct node_id *self = l && !answer ? &l->key : &p->config.keys->public;
	bool guest = l && l->done;
	enum wire_context context = answer ? WIRE_DEALER : guest ? WIRE_ROUTER_INVITED : WIRE_ROUTER;
	uint8_t *frame;
	size_t len;
	if (net.under_way >= net.queue && queued(l ? l->id : 0, answer) >= (l ? net.queue : LOCAL_QUEUE))
		return -EAGAIN;
	env->boot = p->boot;
	env->seq = ++p->seq;
	if (!wire_valid(env, payload ? payload_len(payload) : 0, context, err, sizeof err)) {
		fprintf(stderr, "sim: a message of ours would be refused: %s\n", err);
		return -EINVAL;
	}
	int rc = wire_pack(env, &frame, &len);
	if (rc)
		return rc;
	enum network_verdict verdict =
	        net.watch ? net.watch(net.watch_arg, self, &to->config.keys->public, env, payload)
	                  : NETWORK_PASS;
	int copies = verdict == NETWORK_DROP ? 0 : verdict == NETWORK_TWICE ? 2 : 1;
	for (int i = 0; i < copies; i++) {
		struct packet *k = must(calloc(1, sizeof *k));
		*k = (struct packet){.to = to,
		        .from = *self,
		        .way = l ? way_of(&p->config.keys->public, &to->config.keys->public) : NULL,
		        .link = l ? l->id : 0,
		        .answer = answer,
		        .channel = ch,
		        .frame = must(malloc(len + 1)),
		        .len = len,
		        .kept = verdict == NETWORK_KEEP};
		memcpy(k->frame, frame, len);
		if (payload)
			k->payload = l ? as_received(payload) : payload_ref(payload);
		TAILQ_INSERT_TAIL(&net.packets, k, next);
		net.under_way++;
		if (!k->kept)
			packet_goes(k);
	}
	free(frame);
	return 0;
}

void network_watch(network_watch_fn *fn, void *arg) {
	net.watch = fn;
	net.watch_arg = arg;
}

size_t network_kept(void) {
	struct packet *k;
	size_t n = 0;
	TAILQ_FOREACH(k, &net.packets, next)
	n += k->kept;
	return n;
}

void network_let_go(size_t i) {
	struct packet *k;
	TAILQ_FOREACH(k, &net.packets, next)
	if (k->kept && i-- == 0) {
		k->kept = false;
		packet_goes(k);
		return;
	}
}

size_t network_under_way(void) {
	return net.under_way;
}

uint64_t network_delivered(void) {
	return net.delivered;
}

/* ---- links --------------------------------------------------------------------------------------- */

static struct link *find_link(const struct peers *p, const struct node_id *to) {
	struct link *l;
	TAILQ_FOREACH(l, &p->links, next)
	if (node_id_equal(&l->to, to))
		return l;
	return NULL;
}

static struct peers *find_node(const struct node_id *id) {
	struct peers *p;
	LIST_FOREACH(p, &net.nodes, next)
	if (node_id_equal(&p->config.keys->public, id))
		return p;
	return NULL;
}

static void link_event(struct link *l, uint64_t ms, loop_fn *fn) {
	sim_cancel(l->event);
	l->event = sim_at(l->owner->loop, ms * 1000000u, 0, fn, l);
}

/* Nothing that was sent over it arrives any more. */
static void link_close(struct link *l) {
	struct packet *next;
	for (struct packet *k = l->id ? TAILQ_FIRST(&net.packets) : NULL; k; k = next) {
		next = TAILQ_NEXT(k, next);
		if (k->link == l->id)
			packet_destroy(k);
	}
	if (l->id)
		net.link[l->id] = NULL;
	l->id = 0;
	l->state = LINK_WAITS;
}

static void link_destroy(struct link *l) {
	link_close(l);
	sim_cancel(l->event);
	free(l->ask);
	free(l);
}

static void link_try(void *arg);

static void link_told(struct peers *p, const struct node_id *node, bool up, const char *why) {
	if (p->config.link)
		p->config.link(p->config.arg, node, up, why);
	listeners_link(&p->listeners, node, up, why);
}

/* A guest's question has been answered, or never will be. */
static void guest_done(struct link *l, Caravan__Entry *const *entries, size_t n, const char *error) {
	TAILQ_REMOVE(&l->owner->guests, l, next);
	link_close(l);
	l->done(l->arg, entries, n, error ? "" : l->used, error);
	link_destroy(l);
}

static void link_tell_lost(void *arg) {
	struct link *l = arg;
	l->event = NULL;
	if (l->done) {
		char error[300];
		snprintf(error, sizeof error, "cannot reach the node that invited us: %s", l->why);
		guest_done(l, NULL, 0, error);
		return;
	}
	link_event(l, l->wait_ms, link_try);
	l->wait_ms = l->wait_ms * 2 > WAIT_MAX_MS ? WAIT_MAX_MS : l->wait_ms * 2;
	if (!l->told_up)
		return;
	char why[sizeof l->why];
	struct node_id to = l->to;
	memcpy(why, l->why, sizeof why);
	l->told_up = false;
	link_told(l->owner, &to, false, why); /* may destroy it */
}

static void link_lose(struct link *l, const char *why) {
	if (l->state == LINK_WAITS)
		return;
	if (l->state == LINK_CALLS)
		snprintf(l->failure, sizeof l->failure, "%s (%s)", l->used, why);
	snprintf(l->why, sizeof l->why, "%s", why);
	link_close(l);
	link_event(l, 0, link_tell_lost);
}

static void link_too_slow(void *arg) {
	struct link *l = arg;
	l->event = NULL;
	link_lose(l, "no answer: it is off, or a firewall is between");
}

/* The node, if it is at one of the link's endpoints. */
static struct peers *node_at(struct link *l) {
	struct peers *p = find_node(&l->to);
	for (size_t i = 0; p && *p->endpoint && i <= WIRE_ENDPOINTS_MAX; i++)
		if (strcmp(l->endpoint[i], p->endpoint) == 0) {
			snprintf(l->used, sizeof l->used, "%s", p->endpoint);
			return p;
		}
	return NULL;
}

static int send_ask(struct link *l, struct peers *to) {
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	Caravan__Hello hello = CARAVAN__HELLO__INIT;
	Caravan__Join *ask = NULL;
	env.ref = JOIN_REF;
	if (!l->done) {
		handshake_hello(&hello, &l->owner->config, false);
		env.body_case = CARAVAN__ENVELOPE__BODY_HELLO;
		env.hello = &hello;
		return send_message(l->owner, to, l, false, PEERS_CONTROL, &env, NULL);
	}
	ask = must(caravan__join__unpack(NULL, l->ask_len, l->ask));
	char *none = ask->dialed;
	ask->dialed = l->used;
	env.body_case = CARAVAN__ENVELOPE__BODY_JOIN;
	env.join = ask;
	int rc = send_message(l->owner, to, l, false, PEERS_CONTROL, &env, NULL);
	ask->dialed = none;
	caravan__join__free_unpacked(ask, NULL);
	return rc;
}

static void link_try(void *arg) {
	struct link *l = arg;
	struct peers *to;
	l->event = NULL;
	if (l->endpoints == 0 && !l->endpoint[WIRE_ENDPOINTS_MAX][0])
		return;
	snprintf(l->used, sizeof l->used, "%s",
	        l->endpoints ? l->endpoint[0] : l->endpoint[WIRE_ENDPOINTS_MAX]);
	if (net.links + 1 >= net.capacity) {
		net.capacity = net.capacity * 2 + 64;
		net.link = must(realloc(net.link, net.capacity * sizeof(struct link *)));
	}
	l->id = ++net.links;
	net.link[l->id] = l;
	l->state = LINK_CALLS;
	if (!(to = node_at(l))) {
		link_lose(l, "nobody listens there, or there is no way to it");
		return;
	}
	link_event(l, WELCOME_MS, link_too_slow);
	if (send_ask(l, to) != 0)
		link_lose(l, "cannot say hello");
}

static void link_welcomed(struct link *l, const Caravan__Welcome *w) {
	struct peers *p = l->owner;
	struct node_id to = l->to;
	sim_cancel(l->event);
	l->event = NULL;
	l->state = LINK_UP;
	l->told_up = true;
	l->wait_ms = WAIT_MIN_MS;
	l->failure[0] = 0;
	link_told(p, &to, true, ""); /* may destroy it, as may the next */
	if (p->config.roster_received)
		p->config.roster_received(
		        p->config.arg, &to, w->minor, w->arithmetic, w->roster, w->n_roster);
}

/* ---- arrivals ------------------------------------------------------------------------------------ */

static void dispatch(struct peers *p, const struct peers_from *from, const Caravan__Envelope *env,
        struct payload *payload) {
	listeners_message(&p->listeners, from, env, payload);
}

static void say_welcome(struct peers *p, const struct peers_from *from) {
	Caravan__Welcome welcome = CARAVAN__WELCOME__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(WELCOME, welcome, &welcome);
	handshake_welcome(&welcome, &p->config, false);
	(void)peers_answer(p, from, &env, NULL);
}

/* At the other node's ROUTER. */
static void take_question(struct peers *p, const struct peers_from *from, const Caravan__Envelope *env,
        struct payload *payload) {
	char why[200];
	if (!from->invited && p->config.message_arrived)
		p->config.message_arrived(p->config.arg, &from->node);
	if (env->body_case != CARAVAN__ENVELOPE__BODY_HELLO) {
		dispatch(p, from, env, payload);
		return;
	}
	const Caravan__Hello *h = env->hello;
	if (!handshake_version_ok(h->major, h->minor, why, sizeof why)) {
		peers_refuse(p, from, "%s", why);
		return;
	}
	say_welcome(p, from);
	if (p->config.roster_received)
		p->config.roster_received(
		        p->config.arg, &from->node, h->minor, h->arithmetic, h->roster, h->n_roster);
}

/* At our DEALER. */
static void take_answer(struct peers *p, struct link *l, const struct peers_from *from,
        const Caravan__Envelope *env, struct payload *payload) {
	if (l->done) {
		if (env->body_case == CARAVAN__ENVELOPE__BODY_JOINED)
			guest_done(l, env->joined->roster, env->joined->n_roster, NULL);
		else
			guest_done(l, NULL, 0,
			        env->body_case == CARAVAN__ENVELOPE__BODY_REFUSED ? env->refused->reason
			                                                          : "refused");
	} else if (l->state == LINK_UP) {
		if (p->config.message_arrived)
			p->config.message_arrived(p->config.arg, &from->node);
		dispatch(p, from, env, payload);
	} else if (env->body_case == CARAVAN__ENVELOPE__BODY_WELCOME) {
		link_welcomed(l, env->welcome);
	} else {
		link_lose(l, env->body_case == CARAVAN__ENVELOPE__BODY_REFUSED ? env->refused->reason
		                                                               : "a message out of order");
	}
}

static void deliver(struct packet *k) {
	char err[200];
	const char *why = "";
	struct peers *p = k->to;
	struct link *l = link_by_id(k->link);
	struct peers_from from = {.node = k->from, .local = !k->link, .channel = k->channel, .link = k->link};
	enum peers_verdict verdict =
	        k->link && !k->answer ? p->config.admit(p->config.arg, &k->from, &why) : PEERS_MEMBER;
	from.invited = verdict == PEERS_INVITED;
	enum wire_context context = k->answer      ? WIRE_DEALER
	                            : from.invited ? WIRE_ROUTER_INVITED
	                                           : WIRE_ROUTER;
	struct payload *payload = k->payload ? payload_ref(k->payload) : NULL;
	Caravan__Envelope *env =
	        wire_unpack(k->frame, k->len, payload ? payload_len(payload) : 0, context, err, sizeof err);
	bool answer = k->answer;
	packet_destroy(k);
	net.delivered++;
	if (l && (verdict == PEERS_REFUSE || !env)) {
		link_lose(l, env ? "our key is not admitted there (or not yet)" : err);
	} else if (env) {
		from.ref = env->ref;
		if (answer && l)
			take_answer(p, l, &from, env, payload);
		else
			take_question(p, &from, env, payload);
	}
	wire_free(env);
	payload_unref(payload);
}

/* ---- the test's hand ----------------------------------------------------------------------------- */

static void lose_between(const struct node_id *a, const struct node_id *b, const char *why) {
	struct peers *p;
	struct link *l;
	LIST_FOREACH(p, &net.nodes, next)
	TAILQ_FOREACH(l, &p->links, next) {
		const struct node_id *self = &p->config.keys->public;
		if ((node_id_equal(self, a) && node_id_equal(&l->to, b)) ||
		        (node_id_equal(self, b) && node_id_equal(&l->to, a)))
			link_lose(l, why);
	}
}

static void cut_for_long(void *arg) {
	struct way *w = arg;
	w->cut_event = NULL; /* no new link comes up before it ends */
	lose_between(&w->from, &w->to, "what was sent there was not acknowledged");
}

void network_cut(const struct node_id *from, const struct node_id *to, bool cut) {
	struct way *w = way_of(from, to);
	struct packet *k;
	if (cut == w->cut)
		return;
	w->cut = cut;
	if (cut) {
		w->cut_event = sim_at(NULL, DEAD_NS, 0, cut_for_long, w);
		return;
	}
	sim_cancel(w->cut_event);
	w->cut_event = NULL;
	TAILQ_FOREACH(k, &net.packets, next)
	if (k->way == w && !k->event && !k->kept)
		packet_goes(k);
}

void network_lose(const struct node_id *from, const struct node_id *to, const char *why) {
	struct peers *p = find_node(from);
	struct link *l = p ? find_link(p, to) : NULL;
	if (l)
		link_lose(l, why);
}

void network_begin(void) {
	network_end();
	memset(&net, 0, sizeof net);
	LIST_INIT(&net.nodes);
	LIST_INIT(&net.ways);
	TAILQ_INIT(&net.packets);
	net.queue = NETWORK_QUEUE;
}

void network_end(void) {
	struct way *w;
	while ((w = LIST_FIRST(&net.ways))) {
		LIST_REMOVE(w, next);
		sim_cancel(w->cut_event);
		free(w);
	}
	free(net.link);
	net.link = NULL;
	net.links = net.capacity = 0;
}

/* ---- peers.h ------------------------------------------------------------------------------------- */

int peers_create(struct peers **out, struct loop *l, const struct peers_config *c, char *err, size_t errlen) {
	struct peers *p = calloc(1, sizeof *p);
	if (!p) {
		snprintf(err, errlen, "no memory");
		return -ENOMEM;
	}
	p->loop = l;
	p->config = *c;
	p->boot = sim_random() | 1;
	p->last_ref = p->boot >> 16;
	p->stream = sim_stream();
	TAILQ_INIT(&p->links);
	TAILQ_INIT(&p->guests);
	listeners_init(&p->listeners);
	/* an address of its own for every node that says "any port" */
	size_t any = c->listen ? strlen(c->listen) : 0;
	if (any > 2 && strcmp(c->listen + any - 2, ":*") == 0)
		snprintf(p->endpoint, sizeof p->endpoint, "%.*s:%u", (int)(any - 2), c->listen,
		        20000 + ++net.port);
	else if (c->listen)
		snprintf(p->endpoint, sizeof p->endpoint, "%s", c->listen);
	LIST_INSERT_HEAD(&net.nodes, p, next);
	*out = p;
	return 0;
}

void peers_destroy(struct peers *p) {
	struct peers *other;
	struct link *l;
	struct packet *after;
	if (!p)
		return;
	LIST_REMOVE(p, next);
	while ((l = TAILQ_FIRST(&p->links)) || (l = TAILQ_FIRST(&p->guests))) {
		if (l->done)
			TAILQ_REMOVE(&p->guests, l, next);
		else
			TAILQ_REMOVE(&p->links, l, next);
		link_destroy(l);
	}
	LIST_FOREACH(other, &net.nodes, next) {
		TAILQ_FOREACH(l, &other->links, next)
		if (node_id_equal(&l->to, &p->config.keys->public))
			link_lose(l, "the connection was closed");
		TAILQ_FOREACH(l, &other->guests, next)
		if (node_id_equal(&l->to, &p->config.keys->public))
			link_lose(l, "the connection was closed");
	}
	for (struct packet *k = TAILQ_FIRST(&net.packets); k; k = after) {
		after = TAILQ_NEXT(k, next);
		if (k->to == p)
			packet_destroy(k);
	}
	listeners_clear(&p->listeners);
	free(p);
}

const struct node_id *peers_self(const struct peers *p) {
	return &p->config.keys->public;
}

const char *peers_endpoint(const struct peers *p) {
	return p->endpoint;
}

static void set_endpoints(struct link *l, const char *const *endpoints, size_t n) {
	memset(l->endpoint, 0, WIRE_ENDPOINTS_MAX * sizeof *l->endpoint);
	for (l->endpoints = 0; l->endpoints < n && l->endpoints < WIRE_ENDPOINTS_MAX; l->endpoints++)
		snprintf(l->endpoint[l->endpoints], sizeof *l->endpoint, "%s", endpoints[l->endpoints]);
}

static bool has_endpoint(const struct link *l, const char *endpoint) {
	for (size_t i = 0; i < l->endpoints; i++)
		if (strcmp(l->endpoint[i], endpoint) == 0)
			return true;
	return false;
}

static struct link *link_create(struct peers *p, const struct node_id *key, const struct node_id *to,
        const char *const *endpoints, size_t n) {
	struct link *l = calloc(1, sizeof *l);
	if (!l)
		return NULL;
	l->owner = p;
	l->key = *key;
	l->to = *to;
	l->wait_ms = WAIT_MIN_MS;
	set_endpoints(l, endpoints, n);
	link_event(l, 0, link_try);
	return l;
}

int peers_connect(struct peers *p, const struct node_id *node, const char *const *endpoints, size_t n) {
	if (!*p->endpoint || node_id_equal(node, &p->config.keys->public))
		return -EINVAL;
	struct link *l = find_link(p, node);
	if (l) {
		set_endpoints(l, endpoints, n);
		if (l->state == LINK_UP && !has_endpoint(l, l->used))
			link_lose(l, "it moved");
		else if (l->state != LINK_UP)
			peers_awake(p, node);
		return 0;
	}
	if (!(l = link_create(p, &p->config.keys->public, node, endpoints, n)))
		return -ENOMEM;
	TAILQ_INSERT_TAIL(&p->links, l, next);
	return 0;
}

void peers_disconnect(struct peers *p, const struct node_id *node) {
	struct link *l = find_link(p, node);
	if (!l)
		return;
	TAILQ_REMOVE(&p->links, l, next);
	link_destroy(l);
}

void peers_drop(struct peers *p, const struct node_id *node, const char *why) {
	struct link *l = find_link(p, node);
	if (l)
		link_lose(l, why);
}

bool peers_linked(const struct peers *p, const struct node_id *node) {
	struct link *l = find_link(p, node);
	return node_id_equal(node, &p->config.keys->public) || (l && l->state == LINK_UP);
}

void peers_hint(struct peers *p, const struct node_id *node, const char *endpoint) {
	struct link *l = find_link(p, node);
	if (!l || strcmp(l->endpoint[WIRE_ENDPOINTS_MAX], endpoint) == 0)
		return;
	snprintf(l->endpoint[WIRE_ENDPOINTS_MAX], sizeof *l->endpoint, "%s", endpoint);
	peers_awake(p, node);
}

/* Not while a loss is still to be told. */
void peers_awake(struct peers *p, const struct node_id *node) {
	struct link *l = find_link(p, node);
	if (!l || l->state != LINK_WAITS || l->told_up)
		return;
	l->wait_ms = WAIT_MIN_MS;
	link_event(l, 0, link_try);
}

/* All links of a node come from the address that it listens at. */
void peers_readdress(struct peers *p, bool (*have)(void *arg, const char *address), void *arg) {
	struct link *l;
	char address[sizeof p->endpoint];
	const char *host = strstr(p->endpoint, "//");
	snprintf(address, sizeof address, "%s", host ? host + 2 : "");
	char *port = strrchr(address, ':');
	if (port)
		*port = 0;
	TAILQ_FOREACH(l, &p->links, next)
	if (l->state == LINK_WAITS)
		peers_awake(p, &l->to);
	else if (!have(arg, address))
		link_lose(l, "this machine's address has gone");
}

const char *peers_failure(const struct peers *p, const struct node_id *node) {
	struct link *l = find_link(p, node);
	return l && l->state != LINK_UP ? l->failure : "";
}

/* What is lost here is lost as a whole link, and never a packet. */
double peers_lost(const struct peers *p, const struct node_id *node) {
	(void)p;
	(void)node;
	return 0;
}

int peers_join(struct peers *p, const struct keys *invitation, const struct node_id *server,
        const char *const *endpoints, size_t nendpoints, const Caravan__Join *ask, peers_join_fn *done,
        void *arg) {
	if (!*p->endpoint)
		return -ENOTSUP;
	struct link *l = link_create(p, &invitation->public, server, endpoints, nendpoints);
	if (!l)
		return -ENOMEM;
	l->done = done;
	l->arg = arg;
	l->ask_len = caravan__join__get_packed_size(ask);
	l->ask = must(malloc(l->ask_len + 1));
	caravan__join__pack(ask, l->ask);
	TAILQ_INSERT_TAIL(&p->guests, l, next);
	return 0;
}

int peers_on(struct peers *p, Caravan__Envelope__BodyCase kind, peers_fn *fn, void *arg) {
	return listeners_add(&p->listeners, kind, fn, arg);
}

int peers_on_link(struct peers *p, peers_link_fn *fn, void *arg) {
	return listeners_add_link(&p->listeners, fn, arg);
}

uint64_t peers_ref(struct peers *p) {
	return ++p->last_ref;
}

int peers_send(struct peers *p, const struct node_id *to, enum peers_channel ch, Caravan__Envelope *env,
        struct payload *payload) {
	if (node_id_equal(to, &p->config.keys->public))
		return send_message(p, p, NULL, false, ch, env, payload);
	struct link *l = find_link(p, to);
	struct peers *other = find_node(to);
	if (!l || l->state != LINK_UP || !other)
		return -ENOTCONN;
	return send_message(p, other, l, false, ch, env, payload);
}

int peers_answer(
        struct peers *p, const struct peers_from *from, Caravan__Envelope *env, struct payload *payload) {
	env->ref = from->ref;
	if (from->local)
		return send_message(p, p, NULL, true, from->channel, env, payload);
	struct link *l = link_by_id(from->link);
	return l ? send_message(p, l->owner, l, true, from->channel, env, payload) : -EHOSTUNREACH;
}
