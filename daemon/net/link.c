/* link: see link.h.  The states of a connection are a table; what is not in it is a loss. */
#include "config.h"

#include "daemon/core/log.h"
#include "daemon/net/connection.h"
#include "daemon/net/handshake.h"
#include "daemon/net/link.h"
#include "daemon/net/zmq_socket.h"
#include "proto/descriptors.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GREETING_MS 5000 /* from the first attempt to both welcomes */
#define CALL_MIN_MS \
	1000 /* for one address of several to take the connection; twice as long in every round in vain */
#define REFUSALS 4 /* rounds that end in the refusal of our key before that is what is wrong */
#define WAIT_MIN_MS 200
#define WAIT_MAX_MS 2000
#define HINT_NS 10000000000u /* after one that had all be tried anew, others wait for the next round */
#define DIALS_MAX 16         /* at once, to nodes that have not answered before */
#define DIAL_RESERVE 48      /* descriptors that are left for other things */

enum channel_state { CALLING, GREETING, WELCOMED };
enum channel_event { OPENED, WELCOME, ANSWER, REFUSED };

struct link_channel {
	struct link *link;
	struct connection *connection;
	enum channel_state state;
	enum peers_channel channel;
};

struct address {
	char endpoint[WIRE_ENDPOINT_MAX + 1];
};

#define CANDIDATES_MAX (WIRE_ENDPOINTS_MAX + 2)

struct link {
	struct link_config config;
	struct node_id node;
	struct address said[WIRE_ENDPOINTS_MAX]; /* by its entry in the roster */
	size_t nsaid;
	struct address worked, hint; /* where a link was up last, where it was heard from; empty: nowhere */
	struct address current;      /* of this attempt */
	size_t at;                   /* of the candidates, the next to be tried */
	unsigned round;              /* rounds through them in vain */
	uint64_t tried_ns;
	uint64_t hinted_ns; /* when a hint had everything be tried anew; 0: never */
	struct link_channel channels[2];
	bool dialing;                                   /* counted among those that are */
	bool up;                                        /* both are welcomed */
	bool told_up;                                   /* the storey above thinks so */
	char why[240];                                  /* the last loss */
	char failure[240 + sizeof(struct address) + 8]; /* of the last round, and of this one so far */
	char so_far[240 + sizeof(struct address) + 8];
	int far; /* how far the attempt that so_far is about had come; -1: there was none */
	uint64_t wait_ms;
	struct loop_timer *timer; /* one of: greeting takes too long, tell of the loss, wait, try */
};

static void link_try(void *arg);

static void link_set_timer(struct link *k, uint64_t ms, loop_fn *fn) {
	loop_timer_stop(k->timer);
	k->timer = loop_timer_start(k->config.loop, ms, false, fn, k);
	if (!k->timer) /* a link without a timer would stay silent for ever */
		log_line(LOG_LINE_ERROR, "out of memory for a timer: a node stays unreachable");
}

/* ---- addresses -------------------------------------------------------------------------------------- */

/* Where the node may be, the likeliest first, each once. */
static size_t link_candidates(const struct link *k, const char *out[CANDIDATES_MAX]) {
	const struct address *all[CANDIDATES_MAX] = {&k->worked};
	size_t n = 0;
	for (size_t i = 0; i < k->nsaid; i++)
		all[1 + i] = &k->said[i];
	all[1 + k->nsaid] = &k->hint; /* anybody may have said that */
	for (size_t i = 0; i < 2 + k->nsaid; i++) {
		bool again = !all[i]->endpoint[0];
		for (size_t j = 0; j < n && !again; j++)
			again = strcmp(out[j], all[i]->endpoint) == 0;
		if (!again)
			out[n++] = all[i]->endpoint;
	}
	return n;
}

static bool link_has_endpoint(const struct link *k, const char *endpoint) {
	for (size_t i = 0; i < k->nsaid; i++)
		if (strcmp(k->said[i].endpoint, endpoint) == 0)
			return true;
	return false;
}

static void link_address_set(struct address *a, const char *endpoint) {
	snprintf(a->endpoint, sizeof a->endpoint, "%s", endpoint);
}

/* Takes a list; whether it is another than before. */
static bool link_set_endpoints(struct link *k, const char *const *endpoints, size_t n) {
	bool changed = false;
	size_t had = k->nsaid;
	k->nsaid = 0;
	for (size_t i = 0; i < n && k->nsaid < WIRE_ENDPOINTS_MAX; i++) {
		if (!wire_endpoint_ok(endpoints[i]))
			continue;
		changed |= k->nsaid >= had || strcmp(k->said[k->nsaid].endpoint, endpoints[i]) != 0;
		link_address_set(&k->said[k->nsaid++], endpoints[i]);
	}
	return changed || k->nsaid != had;
}

/* ---- losing ----------------------------------------------------------------------------------------- */

static void link_dialing_done(struct link *k) {
	*k->config.dialing -= k->dialing;
	k->dialing = false;
}

static void link_close_channels(struct link *k) {
	link_dialing_done(k);
	for (int i = 0; i < 2; i++) {
		connection_destroy(k->channels[i].connection);
		k->channels[i].connection = NULL;
		k->channels[i].state = CALLING;
	}
}

/* Everything from the first candidate again, now; when a loss is still to be told, after that. */
static void link_retry(struct link *k) {
	if (k->told_up)
		return;
	link_close_channels(k);
	k->at = 0;
	k->round = 0;
	k->far = -1;
	k->wait_ms = WAIT_MIN_MS;
	link_set_timer(k, 0, link_try);
}

static bool link_is_waiting(const struct link *k) {
	return !k->channels[0].connection && !k->channels[1].connection;
}

/* An attempt was in vain.  Of a round, the one that came furthest says why: a node that refuses us says more than an
 * address at which nobody is. */
static void link_attempt_failed(struct link *k, const char *why, bool key_refused) {
	const char *candidates[CANDIDATES_MAX];
	char hex[NODE_ID_HEX];
	int far = k->channels[0].state > k->channels[1].state ? (int)k->channels[0].state
	                                                      : (int)k->channels[1].state;
	far = 2 * far +
	      link_has_endpoint(k, k->current.endpoint); /* else, the address that it gives itself */
	if (far > k->far)
		snprintf(k->so_far, sizeof k->so_far, "%s (%s)", k->current.endpoint + strlen("tcp://"), why);
	wire_line_cut(k->so_far, sizeof k->so_far - 1);
	k->far = far > k->far ? far : k->far;
	if (++k->at < link_candidates(k, candidates))
		return;
	k->at = 0;
	k->round += k->round < 8;
	k->far = -1;
	/* who was admitted a moment ago may be called before it knows of us */
	if (key_refused && k->round < REFUSALS)
		return;
	if (strcmp(k->failure, k->so_far) != 0)
		log_others(LOG_LINE_INFO, "no link to %.12s at %s", node_id_hex(&k->node, hex), k->so_far);
	memcpy(k->failure, k->so_far, sizeof k->failure);
}

/* On its own turn, so that nobody hears of a loss from within a call of theirs. */
static void link_report_lost(void *arg) {
	struct link *k = arg;
	k->timer = NULL;
	if (k->at) {
		link_set_timer(k, 0, link_try);
	} else {
		link_set_timer(k, k->wait_ms, link_try);
		k->wait_ms = k->wait_ms * 2 > WAIT_MAX_MS ? WAIT_MAX_MS : k->wait_ms * 2;
	}
	if (!k->told_up)
		return;
	k->told_up = false;
	char why[sizeof k->why];
	struct node_id node = k->node;
	memcpy(why, k->why, sizeof why);
	k->config.changed(k->config.arg, &node, false, why); /* may destroy us */
}

static void link_lose(struct link *k, const char *why, bool key_refused) {
	char hex[NODE_ID_HEX];
	if (link_is_waiting(k) && k->timer)
		return;
	snprintf(k->why, sizeof k->why, "%s", why);
	wire_line_cut(k->why, sizeof k->why - 1);
	if (k->up) {
		log_others(LOG_LINE_WARN, "lost the link to %.12s at %s: %s", node_id_hex(&k->node, hex),
		        k->current.endpoint, why);
		k->at = 0;
		k->far = -1;
	} else {
		link_attempt_failed(k, why, key_refused);
	}
	k->up = false;
	link_close_channels(k);
	link_set_timer(k, 0, link_report_lost);
}

void link_drop(struct link *k, const char *why) {
	link_lose(k, why, false);
}

static void link_too_slow(void *arg) {
	struct link *k = arg;
	char why[80] = "no Welcome in time";
	k->timer = NULL;
	if (k->channels[0].state == CALLING && k->channels[1].state == CALLING)
		snprintf(why, sizeof why, "no answer within %.0f s: it is off, or a firewall is in between",
		        (double)(loop_now_ns() - k->tried_ns) * 1e-9);
	link_drop(k, why);
}

/* ---- the greeting ----------------------------------------------------------------------------------- */

static const char *channel_send_hello(struct link_channel *la, const Caravan__Envelope *none) {
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	Caravan__Hello hello = CARAVAN__HELLO__INIT;
	(void)none;
	handshake_hello(&hello, la->link->config.peers, la->channel == PEERS_BULK);
	env.ref = 1;
	env.body_case = CARAVAN__ENVELOPE__BODY_HELLO;
	env.hello = &hello;
	return connection_send(la->connection, &env, NULL, WIRE_ROUTER) == 0 ? NULL : "cannot say hello";
}

static const char *channel_on_welcome(struct link_channel *la, const Caravan__Envelope *env) {
	static char why[200];
	return handshake_version_ok(env->welcome->major, env->welcome->minor, why, sizeof why) ? NULL : why;
}

static const char *channel_on_refusal(struct link_channel *la, const Caravan__Envelope *env) {
	(void)la;
	return env->refused->reason[0] ? env->refused->reason : "refused";
}

static const char *channel_on_answer(struct link_channel *la, const Caravan__Envelope *env) {
	(void)la;
	(void)env;
	return NULL;
}

static const char *channel_out_of_order(struct link_channel *la, const Caravan__Envelope *env) {
	(void)la;
	(void)env;
	return "a message out of order";
}

/* What happens in a state; the action gives the reason to end the link, or NULL to go on in the next state. */
static const struct {
	enum channel_state next;
	const char *(*action)(struct link_channel *la, const Caravan__Envelope *env);
} steps[3][4] = {
        /*              OPENED                    WELCOME                    ANSWER                     REFUSED */
        [CALLING] = {{GREETING, channel_send_hello}, {CALLING, channel_out_of_order},
                {CALLING, channel_out_of_order}, {CALLING, channel_on_refusal}},
        [GREETING] = {{GREETING, channel_out_of_order}, {WELCOMED, channel_on_welcome},
                {GREETING, channel_out_of_order}, {GREETING, channel_on_refusal}},
        [WELCOMED] = {{WELCOMED, channel_out_of_order}, {WELCOMED, channel_out_of_order},
                {WELCOMED, channel_on_answer}, {WELCOMED, channel_on_refusal}},
};

/* false: the link was lost over it. */
static bool channel_step(struct link_channel *la, enum channel_event event, const Caravan__Envelope *env) {
	const char *why = steps[la->state][event].action(la, env);
	if (why) {
		link_drop(la->link, why);
		return false;
	}
	la->state = steps[la->state][event].next;
	return true;
}

static void channel_opened(void *arg) {
	struct link_channel *la = arg;
	link_set_timer(la->link, GREETING_MS, link_too_slow); /* somebody is there: that one has its time */
	channel_step(la, OPENED, NULL);
}

static void channel_lost(void *arg, const char *why, bool key_refused) {
	struct link_channel *la = arg;
	struct link *k = la->link;
	bool waited = loop_now_ns() - k->tried_ns > (SOCKET_CALL_MS - 200) * (uint64_t)1000000;
	if (key_refused)
		why = "this node's key is not admitted there (or not yet)";
	else if (strcmp(why, SOCKET_NOT_CONNECTED) == 0)
		why = waited ? "no answer: it is off, or a firewall is in between"
		             : "nothing listens there, or there is no route to it";
	link_lose(k, why, key_refused);
}

static void link_welcomed(struct link *k, struct link_channel *la, const Caravan__Welcome *w) {
	const struct peers_config *p = k->config.peers;
	peers_link_fn *changed = k->config.changed;
	void *arg = k->config.arg;
	struct node_id node = k->node;
	bool up = k->channels[0].state == WELCOMED && k->channels[1].state == WELCOMED;
	if (up) {
		link_dialing_done(k);
		k->up = k->told_up = true;
		k->worked = k->current;
		k->at = k->round = 0;
		k->far = -1;
		k->failure[0] = 0;
		k->wait_ms = WAIT_MIN_MS;
		loop_timer_stop(k->timer);
		k->timer = NULL;
	}
	bool control = la->channel == PEERS_CONTROL;
	/* either may destroy the link: nothing of it is touched any more */
	if (up)
		changed(arg, &node, true, "");
	if (control && p->heard)
		p->heard(p->arg, &node, w->minor, w->arithmetic, w->roster, w->n_roster);
}

static void channel_message(void *arg, const Caravan__Envelope *env, struct payload *payload) {
	struct link_channel *la = arg;
	struct link *k = la->link;
	enum channel_event event = ANSWER;
	if (env->body_case == CARAVAN__ENVELOPE__BODY_WELCOME)
		event = WELCOME;
	else if (env->body_case == CARAVAN__ENVELOPE__BODY_REFUSED &&
	         (env->ref == 0 || la->state != WELCOMED))
		event = REFUSED;
	if (!channel_step(la, event, env))
		return;
	if (event == WELCOME) {
		link_welcomed(k, la, env->welcome);
	} else if (k->up) { /* of a half-made link nothing was asked yet */
		const struct peers_from from = {.node = k->node, .ref = env->ref, .channel = la->channel};
		k->config.message(k->config.arg, &from, env, payload); /* may destroy us */
	}
}

static void link_try(void *arg) {
	static const struct connection_ops ops = {channel_opened, channel_message, channel_lost};
	struct link *k = arg;
	const struct link_config *c = &k->config;
	const char *candidates[CANDIDATES_MAX];
	size_t n = link_candidates(k, candidates);
	k->timer = NULL;
	if (n == 0) /* until an address comes up */
		return;
	/* those that were in vain do not keep new ones from their turn */
	if (*c->dialing >= (k->wait_ms == WAIT_MIN_MS ? 2 * DIALS_MAX : DIALS_MAX)) {
		link_set_timer(k, WAIT_MIN_MS, link_try);
		return;
	}
	k->at = k->at < n ? k->at : 0;
	link_address_set(&k->current, candidates[k->at]);
	k->tried_ns = loop_now_ns();
	if (descriptors_short(DIAL_RESERVE)) {
		link_drop(k, descriptors_strerror(EMFILE).s);
		return;
	}
	k->dialing = true;
	++*c->dialing;
	for (int i = 0; i < 2; i++) {
		struct link_channel *la = &k->channels[i];
		int rc = connection_create(&la->connection, c->loop, c->ctx, c->watch, c->peers->keys,
		        &k->node, k->current.endpoint, c->boot, &ops, la);
		if (rc) {
			la->connection = NULL;
			link_drop(k, descriptors_strerror(-rc).s);
			return;
		}
	}
	uint64_t call_ms = (uint64_t)CALL_MIN_MS << k->round;
	link_set_timer(k, n > 1 && call_ms < GREETING_MS ? call_ms : GREETING_MS, link_too_slow);
}

/* ---- life ------------------------------------------------------------------------------------------ */

int link_create(struct link **out, const struct link_config *c, const struct node_id *node,
        const char *const *endpoints, size_t n) {
	struct link *k = calloc(1, sizeof *k);
	if (!k)
		return -ENOMEM;
	k->config = *c;
	k->node = *node;
	k->far = -1;
	k->wait_ms = WAIT_MIN_MS;
	for (int i = 0; i < 2; i++)
		k->channels[i] = (struct link_channel){.link = k, .channel = i ? PEERS_BULK : PEERS_CONTROL};
	link_set_endpoints(k, endpoints, n);
	link_set_timer(k, 0, link_try);
	*out = k;
	return 0;
}

void link_destroy(struct link *k) {
	if (!k)
		return;
	link_close_channels(k);
	loop_timer_stop(k->timer);
	free(k);
}

const struct node_id *link_node(const struct link *k) {
	return &k->node;
}

bool link_up(const struct link *k) {
	return k->up;
}

void link_move(struct link *k, const char *const *endpoints, size_t n) {
	if (!link_set_endpoints(k, endpoints, n) || (k->up && link_has_endpoint(k, k->current.endpoint)))
		return;
	if (k->up) {
		k->worked.endpoint[0] = 0; /* it says itself that it is there no more */
		link_drop(k, "it moved");
	} else {
		link_retry(k);
	}
}

void link_hint(struct link *k, const char *endpoint) {
	if (strcmp(k->hint.endpoint, endpoint) == 0 || !wire_endpoint_ok(endpoint))
		return;
	link_address_set(&k->hint, endpoint);
	/* a round that is under way has its time, and slow addresses their longer ones, whatever others call */
	uint64_t now = loop_now_ns();
	if (k->up || !link_is_waiting(k) || k->at ||
	        (k->timer && k->hinted_ns && now - k->hinted_ns < HINT_NS))
		return;
	k->hinted_ns = now;
	link_retry(k);
}

void link_awake(struct link *k) {
	if (k->up)
		return;
	k->failure[0] = 0;
	if (link_is_waiting(k))
		link_retry(k);
}

void link_readdress(struct link *k, bool (*have)(void *arg, const char *address), void *arg) {
	char why[120];
	if (!k->up && link_is_waiting(k)) {
		link_retry(k);
		return;
	}
	for (int i = 0; i < 2; i++) {
		const char *local =
		        k->channels[i].connection ? connection_local(k->channels[i].connection) : "";
		if (!*local || have(arg, local))
			continue;
		snprintf(why, sizeof why, "this machine's address %s is gone", local);
		link_drop(k, why);
		return;
	}
}

const char *link_failure(const struct link *k) {
	return k->up ? "" : k->failure;
}

const char *link_endpoint(const struct link *k) {
	return k->current.endpoint;
}

int link_send(struct link *k, enum peers_channel ch, Caravan__Envelope *env, struct payload *payload) {
	struct connection *connection = k->channels[ch == PEERS_BULK].connection;
	return k->up ? connection_send(connection, env, payload, WIRE_ROUTER) : -ENOTCONN;
}
