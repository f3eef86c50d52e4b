/* link: see link.h.  A connection follows a table of states; anything that the table does not allow loses the link. */
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

#define HANDSHAKE_MS 5000   /* from the first attempt until both connections are welcomed */
#define CONNECT_MIN_MS 1000 /* to connect to one address of several; doubled after every failed round */
#define REFUSALS 4          /* rounds refused for our key before that is reported as the cause */
#define WAIT_MIN_MS 200
#define WAIT_MAX_MS 2000
#define HINT_NS 10000000000u /* after a hint restarted the round, further hints wait for the next one */
#define DIALS_MAX 16         /* links being dialed at once */
#define DIAL_RESERVE 48      /* descriptors left for other uses */

enum channel_state { CONNECTING, HANDSHAKING, WELCOMED };
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
	struct address listed[WIRE_ENDPOINTS_MAX]; /* in its roster entry */
	size_t nlisted;
	struct address worked,
	        hint; /* of the last link that was up; where a message from it came from; empty: none */
	struct address current; /* of this attempt */
	size_t at;              /* index of the next candidate to try */
	unsigned round;         /* failed rounds through the candidates */
	uint64_t tried_ns;
	uint64_t hinted_ns; /* when a hint restarted the round; 0: never */
	struct link_channel channels[2];
	bool dialing;                                   /* counted in config.dialing */
	bool up;                                        /* both channels are welcomed */
	bool reported_up;                               /* as last reported to config.changed */
	char why[240];                                  /* of the last loss */
	char failure[240 + sizeof(struct address) + 8]; /* why the last round failed, and this one so far */
	char round_failure[240 + sizeof(struct address) + 8];
	int progress; /* how far the attempt in round_failure got; -1: there was none */
	uint64_t wait_ms;
	struct loop_timer *timer; /* one of: handshake timeout, report a loss, wait, try */
};

static void link_try(void *arg);

static void link_set_timer(struct link *k, uint64_t ms, loop_fn *fn) {
	loop_timer_stop(k->timer);
	k->timer = loop_timer_start(k->config.loop, ms, false, fn, k);
	if (!k->timer) /* without a timer the link would never be tried again */
		log_line(LOG_LINE_ERROR, "out of memory for a timer: a node stays unreachable");
}

/* ---- addresses -------------------------------------------------------------------------------------- */

/* Addresses to try, the most likely first, without duplicates. */
static size_t link_candidates(const struct link *k, const char *out[CANDIDATES_MAX]) {
	const struct address *all[CANDIDATES_MAX] = {&k->worked};
	size_t n = 0;
	for (size_t i = 0; i < k->nlisted; i++)
		all[1 + i] = &k->listed[i];
	all[1 + k->nlisted] = &k->hint; /* last, since anybody may have claimed it */
	for (size_t i = 0; i < 2 + k->nlisted; i++) {
		bool again = !all[i]->endpoint[0];
		for (size_t j = 0; j < n && !again; j++)
			again = strcmp(out[j], all[i]->endpoint) == 0;
		if (!again)
			out[n++] = all[i]->endpoint;
	}
	return n;
}

static bool link_has_endpoint(const struct link *k, const char *endpoint) {
	for (size_t i = 0; i < k->nlisted; i++)
		if (strcmp(k->listed[i].endpoint, endpoint) == 0)
			return true;
	return false;
}

static void link_address_set(struct address *a, const char *endpoint) {
	snprintf(a->endpoint, sizeof a->endpoint, "%s", endpoint);
}

/* Stores the list; whether it differs from the previous one. */
static bool link_set_endpoints(struct link *k, const char *const *endpoints, size_t n) {
	bool changed = false;
	size_t before = k->nlisted;
	k->nlisted = 0;
	for (size_t i = 0; i < n && k->nlisted < WIRE_ENDPOINTS_MAX; i++) {
		if (!wire_endpoint_ok(endpoints[i]))
			continue;
		changed |= k->nlisted >= before || strcmp(k->listed[k->nlisted].endpoint, endpoints[i]) != 0;
		link_address_set(&k->listed[k->nlisted++], endpoints[i]);
	}
	return changed || k->nlisted != before;
}

/* ---- loss ----------------------------------------------------------------------------------------- */

static void link_dialing_done(struct link *k) {
	*k->config.dialing -= k->dialing;
	k->dialing = false;
}

static void link_close_channels(struct link *k) {
	link_dialing_done(k);
	for (int i = 0; i < 2; i++) {
		connection_destroy(k->channels[i].connection);
		k->channels[i].connection = NULL;
		k->channels[i].state = CONNECTING;
	}
}

/* Starts over with the first candidate, now, or after a pending loss has been reported. */
static void link_retry(struct link *k) {
	if (k->reported_up)
		return;
	link_close_channels(k);
	k->at = 0;
	k->round = 0;
	k->progress = -1;
	k->wait_ms = WAIT_MIN_MS;
	link_set_timer(k, 0, link_try);
}

static bool link_is_waiting(const struct link *k) {
	return !k->channels[0].connection && !k->channels[1].connection;
}

/* An attempt failed.  The attempt that got furthest gives the reason of its round: a refusal by the node says more than an
 * address where nothing listens. */
static void link_attempt_failed(struct link *k, const char *why, bool key_refused) {
	const char *candidates[CANDIDATES_MAX];
	char hex[NODE_ID_HEX];
	int progress = k->channels[0].state > k->channels[1].state ? (int)k->channels[0].state
	                                                           : (int)k->channels[1].state;
	progress = 2 * progress +
	           link_has_endpoint(k,
	                   k->current.endpoint); /* between equals, an address that the node itself lists */
	if (progress > k->progress)
		snprintf(k->round_failure, sizeof k->round_failure, "%s (%s)",
		        k->current.endpoint + strlen("tcp://"), why);
	wire_line_cut(k->round_failure, sizeof k->round_failure - 1);
	k->progress = progress > k->progress ? progress : k->progress;
	if (++k->at < link_candidates(k, candidates))
		return;
	k->at = 0;
	k->round += k->round < 8;
	k->progress = -1;
	/* a node that was just admitted may not know us yet */
	if (key_refused && k->round < REFUSALS)
		return;
	if (strcmp(k->failure, k->round_failure) != 0)
		log_others(LOG_LINE_INFO, "no link to %.12s at %s", node_id_hex(&k->node, hex),
		        k->round_failure);
	memcpy(k->failure, k->round_failure, sizeof k->failure);
}

/* From a timer, so that no caller is told of a loss from within its own call. */
static void link_report_lost(void *arg) {
	struct link *k = arg;
	k->timer = NULL;
	if (k->at) {
		link_set_timer(k, 0, link_try);
	} else {
		link_set_timer(k, k->wait_ms, link_try);
		k->wait_ms = k->wait_ms * 2 > WAIT_MAX_MS ? WAIT_MAX_MS : k->wait_ms * 2;
	}
	if (!k->reported_up)
		return;
	k->reported_up = false;
	char why[sizeof k->why];
	struct node_id node = k->node;
	memcpy(why, k->why, sizeof why);
	k->config.changed(k->config.arg, &node, false, why); /* may destroy the link */
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
		k->progress = -1;
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
	char why[160] = SOCKET_SILENT;
	bool connected = false;
	k->timer = NULL;
	for (int i = 0; i < 2; i++)
		connected = connected || k->channels[i].state != CONNECTING ||
		            (k->channels[i].connection && *connection_local(k->channels[i].connection));
	if (!connected)
		snprintf(why, sizeof why, "no answer within %.0f s: it is off, or a firewall is in between",
		        (double)(loop_now_ns() - k->tried_ns) * 1e-9);
	link_drop(k, why);
}

/* ---- the handshake ----------------------------------------------------------------------------------- */

static const char *channel_send_hello(struct link_channel *ch, const Caravan__Envelope *none) {
	Caravan__Hello hello = CARAVAN__HELLO__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(HELLO, hello, &hello);
	(void)none;
	handshake_hello(&hello, ch->link->config.peers, ch->channel == PEERS_BULK);
	env.ref = 1;
	return connection_send(ch->connection, &env, NULL, WIRE_ROUTER) == 0 ? NULL : "cannot say hello";
}

static const char *channel_on_welcome(struct link_channel *ch, const Caravan__Envelope *env) {
	static char why[200];
	return handshake_version_ok(env->welcome->major, env->welcome->minor, why, sizeof why) ? NULL : why;
}

static const char *channel_on_refusal(struct link_channel *ch, const Caravan__Envelope *env) {
	(void)ch;
	return env->refused->reason[0] ? env->refused->reason : "refused";
}

static const char *channel_on_answer(struct link_channel *ch, const Caravan__Envelope *env) {
	(void)ch;
	(void)env;
	return NULL;
}

static const char *channel_out_of_order(struct link_channel *ch, const Caravan__Envelope *env) {
	(void)ch;
	(void)env;
	return "a message out of order";
}

/* What happens in a state: the action returns why the link is lost, or NULL, and the state becomes `next`. */
static const struct {
	enum channel_state next;
	const char *(*action)(struct link_channel *ch, const Caravan__Envelope *env);
} steps[3][4] = {
        /*              OPENED                    WELCOME                    ANSWER                     REFUSED */
        [CONNECTING] = {{HANDSHAKING, channel_send_hello}, {CONNECTING, channel_out_of_order},
                {CONNECTING, channel_out_of_order}, {CONNECTING, channel_on_refusal}},
        [HANDSHAKING] = {{HANDSHAKING, channel_out_of_order}, {WELCOMED, channel_on_welcome},
                {HANDSHAKING, channel_out_of_order}, {HANDSHAKING, channel_on_refusal}},
        [WELCOMED] = {{WELCOMED, channel_out_of_order}, {WELCOMED, channel_out_of_order},
                {WELCOMED, channel_on_answer}, {WELCOMED, channel_on_refusal}},
};

/* false: the link is lost. */
static bool channel_step(struct link_channel *ch, enum channel_event event, const Caravan__Envelope *env) {
	const char *why = steps[ch->state][event].action(ch, env);
	if (why) {
		link_drop(ch->link, why);
		return false;
	}
	ch->state = steps[ch->state][event].next;
	return true;
}

static void channel_opened(void *arg) {
	struct link_channel *ch = arg;
	link_set_timer(ch->link, HANDSHAKE_MS, link_too_slow); /* something listens: wait for its handshake */
	channel_step(ch, OPENED, NULL);
}

static void channel_lost(void *arg, const char *why, bool key_refused) {
	struct link_channel *ch = arg;
	struct link *k = ch->link;
	bool waited = loop_now_ns() - k->tried_ns > (SOCKET_CONNECT_MS - 200) * (uint64_t)1000000;
	if (key_refused)
		why = "this node's key is not admitted there (or not yet)";
	else if (strcmp(why, SOCKET_NOT_CONNECTED) == 0)
		why = waited ? "no answer: it is off, or a firewall is in between"
		             : "nothing listens there, or there is no route to it";
	link_lose(k, why, key_refused);
}

static void link_welcomed(struct link *k, struct link_channel *ch, const Caravan__Welcome *w) {
	const struct peers_config *p = k->config.peers;
	peers_link_fn *changed = k->config.changed;
	void *arg = k->config.arg;
	struct node_id node = k->node;
	bool up = k->channels[0].state == WELCOMED && k->channels[1].state == WELCOMED;
	if (up) {
		link_dialing_done(k);
		k->up = k->reported_up = true;
		k->worked = k->current;
		k->at = k->round = 0;
		k->progress = -1;
		k->failure[0] = 0;
		k->wait_ms = WAIT_MIN_MS;
		loop_timer_stop(k->timer);
		k->timer = NULL;
	}
	bool control = ch->channel == PEERS_CONTROL;
	/* either callback may destroy the link: do not touch it from here on */
	if (up)
		changed(arg, &node, true, "");
	if (control && p->roster_received)
		p->roster_received(p->arg, &node, w->minor, w->arithmetic, w->roster, w->n_roster);
}

static void channel_message(void *arg, const Caravan__Envelope *env, struct payload *payload) {
	struct link_channel *ch = arg;
	struct link *k = ch->link;
	enum channel_event event = ANSWER;
	if (env->body_case == CARAVAN__ENVELOPE__BODY_WELCOME)
		event = WELCOME;
	else if (env->body_case == CARAVAN__ENVELOPE__BODY_REFUSED &&
	         (env->ref == 0 || ch->state != WELCOMED))
		event = REFUSED;
	if (!channel_step(ch, event, env))
		return;
	if (event == WELCOME) {
		link_welcomed(k, ch, env->welcome);
	} else if (k->up) { /* nothing has been asked before both channels are up */
		const struct peers_from from = {.node = k->node, .ref = env->ref, .channel = ch->channel};
		k->config.message(k->config.arg, &from, env, payload); /* may destroy the link */
	}
}

static void link_try(void *arg) {
	static const struct connection_ops ops = {channel_opened, channel_message, channel_lost};
	struct link *k = arg;
	const struct link_config *c = &k->config;
	const char *candidates[CANDIDATES_MAX];
	size_t n = link_candidates(k, candidates);
	k->timer = NULL;
	if (n == 0) /* link_move or link_hint brings an address */
		return;
	/* links that failed before leave half of the places to new ones */
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
		struct link_channel *ch = &k->channels[i];
		int rc = connection_create(&ch->connection, c->loop, c->ctx, c->watch, c->peers->keys,
		        &k->node, k->current.endpoint, c->boot, &ops, ch);
		if (rc) {
			ch->connection = NULL;
			link_drop(k, descriptors_strerror(-rc).s);
			return;
		}
	}
	uint64_t connect_ms = (uint64_t)CONNECT_MIN_MS << k->round;
	link_set_timer(k, n > 1 && connect_ms < HANDSHAKE_MS ? connect_ms : HANDSHAKE_MS, link_too_slow);
}

/* ---- life ------------------------------------------------------------------------------------------ */

int link_create(struct link **out, const struct link_config *c, const struct node_id *node,
        const char *const *endpoints, size_t n) {
	struct link *k = calloc(1, sizeof *k);
	if (!k)
		return -ENOMEM;
	k->config = *c;
	k->node = *node;
	k->progress = -1;
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
		k->worked.endpoint[0] = 0; /* the node itself no longer lists it */
		link_drop(k, "it moved");
	} else {
		link_retry(k);
	}
}

void link_hint(struct link *k, const char *endpoint) {
	if (strcmp(k->hint.endpoint, endpoint) == 0 || !wire_endpoint_ok(endpoint))
		return;
	link_address_set(&k->hint, endpoint);
	/* hints do not cut a running round short, nor its longer waits for slow addresses */
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
