/* link: see link.h.  The states of a lane are a table; what is not in it is a loss. */
#include "config.h"

#include "daemon/net/greet.h"
#include "daemon/net/lane.h"
#include "daemon/net/link.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GREETING_MS 5000 /* from the first attempt to both welcomes */
#define WAIT_MIN_MS 200
#define WAIT_MAX_MS 2000

enum lane_state { CALLING, GREETING, WELCOMED };
enum lane_event { OPENED, WELCOME, ANSWER, REFUSED };

struct link_lane {
	struct link *link;
	struct lane *lane;
	enum lane_state state;
	enum peers_channel channel;
};

struct link {
	struct link_config config;
	struct node_id node;
	char *endpoint;
	struct link_lane lanes[2];
	bool up;       /* both are welcomed */
	bool told_up;  /* the storey above thinks so */
	char why[240]; /* the last loss */
	uint64_t wait_ms;
	struct loop_timer *timer; /* one of: greeting takes too long, tell of the loss, wait, try */
};

static void link_try(void *arg);

/* ---- losing ----------------------------------------------------------------------------------------- */

static void timer_set(struct link *k, uint64_t ms, loop_fn *fn) {
	loop_timer_stop(k->timer);
	k->timer = loop_timer_start(k->config.loop, ms, false, fn, k);
	if (!k->timer) /* a link without a timer would stay silent for ever */
		log_line(LOG_LINE_ERROR, "no memory for a timer: a node stays out of reach");
}

/* On its own turn, so that nobody hears of a loss from within a call of theirs. */
static void link_tell_lost(void *arg) {
	struct link *k = arg;
	k->timer = NULL;
	timer_set(k, k->wait_ms, link_try);
	k->wait_ms = k->wait_ms * 2 > WAIT_MAX_MS ? WAIT_MAX_MS : k->wait_ms * 2;
	if (!k->told_up)
		return;
	k->told_up = false;
	char why[sizeof k->why];
	struct node_id node = k->node;
	memcpy(why, k->why, sizeof why);
	k->config.changed(k->config.arg, &node, false, why); /* may destroy us */
}

static void lanes_close(struct link *k) {
	for (int i = 0; i < 2; i++) {
		lane_destroy(k->lanes[i].lane);
		k->lanes[i].lane = NULL;
		k->lanes[i].state = CALLING;
	}
}

void link_drop(struct link *k, const char *why) {
	char hex[NODE_ID_HEX];
	bool waits = !k->lanes[0].lane && !k->lanes[1].lane && k->timer;
	if (waits)
		return;
	snprintf(k->why, sizeof k->why, "%s", why);
	if (k->up)
		log_line(LOG_LINE_WARN, "lost the link to %.12s at %s: %s", node_id_hex(&k->node, hex),
		        k->endpoint, why);
	else
		log_line(LOG_LINE_INFO, "no link to %.12s at %s: %s", node_id_hex(&k->node, hex), k->endpoint,
		        why);
	k->up = false;
	lanes_close(k);
	timer_set(k, 0, link_tell_lost);
}

static void link_too_slow(void *arg) {
	struct link *k = arg;
	k->timer = NULL;
	link_drop(k, "no welcome in time");
}

/* ---- the greeting ----------------------------------------------------------------------------------- */

static const char *say_hello(struct link_lane *la, const Caravan__Envelope *none) {
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	Caravan__Hello hello = CARAVAN__HELLO__INIT;
	(void)none;
	greet_hello(&hello, la->link->config.peers, la->channel == PEERS_BULK);
	env.ref = 1;
	env.body_case = CARAVAN__ENVELOPE__BODY_HELLO;
	env.hello = &hello;
	return lane_send(la->lane, &env, NULL, WIRE_ROUTER) == 0 ? NULL : "cannot say hello";
}

static const char *take_welcome(struct link_lane *la, const Caravan__Envelope *env) {
	static char why[200];
	return greet_version_ok(env->welcome->major, env->welcome->minor, why, sizeof why) ? NULL : why;
}

static const char *take_refusal(struct link_lane *la, const Caravan__Envelope *env) {
	(void)la;
	return env->refused->reason[0] ? env->refused->reason : "refused";
}

static const char *take_answer(struct link_lane *la, const Caravan__Envelope *env) {
	(void)la;
	(void)env;
	return NULL;
}

static const char *out_of_order(struct link_lane *la, const Caravan__Envelope *env) {
	(void)la;
	(void)env;
	return "a message out of order";
}

/* What happens in a state; the action gives the reason to end the link, or NULL to go on in the next state. */
static const struct {
	enum lane_state next;
	const char *(*action)(struct link_lane *la, const Caravan__Envelope *env);
} steps[3][4] = {
        /*              OPENED                    WELCOME                    ANSWER                     REFUSED */
        [CALLING] = {{GREETING, say_hello}, {CALLING, out_of_order}, {CALLING, out_of_order},
                {CALLING, take_refusal}},
        [GREETING] = {{GREETING, out_of_order}, {WELCOMED, take_welcome}, {GREETING, out_of_order},
                {GREETING, take_refusal}},
        [WELCOMED] = {{WELCOMED, out_of_order}, {WELCOMED, out_of_order}, {WELCOMED, take_answer},
                {WELCOMED, take_refusal}},
};

/* false: the link was lost over it. */
static bool lane_step(struct link_lane *la, enum lane_event event, const Caravan__Envelope *env) {
	const char *why = steps[la->state][event].action(la, env);
	if (why) {
		link_drop(la->link, why);
		return false;
	}
	la->state = steps[la->state][event].next;
	return true;
}

static void lane_opened(void *arg) {
	lane_step(arg, OPENED, NULL);
}

static void lane_gone(void *arg, const char *why, bool key_refused) {
	struct link_lane *la = arg;
	link_drop(la->link, key_refused ? "our key is not admitted there (or not yet)" : why);
}

static void link_welcomed(struct link *k, struct link_lane *la, const Caravan__Welcome *w) {
	const struct peers_config *p = k->config.peers;
	peers_link_fn *changed = k->config.changed;
	void *arg = k->config.arg;
	struct node_id node = k->node;
	bool up = k->lanes[0].state == WELCOMED && k->lanes[1].state == WELCOMED;
	if (up) {
		k->up = k->told_up = true;
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

static void lane_message(void *arg, const Caravan__Envelope *env, struct payload *payload) {
	struct link_lane *la = arg;
	struct link *k = la->link;
	enum lane_event event = ANSWER;
	if (env->body_case == CARAVAN__ENVELOPE__BODY_WELCOME)
		event = WELCOME;
	else if (env->body_case == CARAVAN__ENVELOPE__BODY_REFUSED &&
	         (env->ref == 0 || la->state != WELCOMED))
		event = REFUSED;
	if (!lane_step(la, event, env))
		return;
	if (event == WELCOME) {
		link_welcomed(k, la, env->welcome);
	} else if (k->up) { /* of a half-made link nothing was asked yet */
		const struct peers_from from = {.node = k->node, .ref = env->ref, .channel = la->channel};
		k->config.message(k->config.arg, &from, env, payload); /* may destroy us */
	}
}

static void link_try(void *arg) {
	static const struct lane_ops ops = {lane_opened, lane_message, lane_gone};
	struct link *k = arg;
	const struct link_config *c = &k->config;
	k->timer = NULL;
	for (int i = 0; i < 2; i++) {
		struct link_lane *la = &k->lanes[i];
		int rc = lane_create(
		        &la->lane, c->loop, c->ctx, c->peers->keys, &k->node, k->endpoint, c->boot, &ops, la);
		if (rc) {
			la->lane = NULL;
			link_drop(k, strerror(-rc));
			return;
		}
	}
	timer_set(k, GREETING_MS, link_too_slow);
}

/* ---- life ------------------------------------------------------------------------------------------ */

int link_create(
        struct link **out, const struct link_config *c, const struct node_id *node, const char *endpoint) {
	struct link *k = calloc(1, sizeof *k);
	if (!k || !(k->endpoint = strdup(endpoint))) {
		free(k);
		return -ENOMEM;
	}
	k->config = *c;
	k->node = *node;
	k->wait_ms = WAIT_MIN_MS;
	for (int i = 0; i < 2; i++)
		k->lanes[i] = (struct link_lane){.link = k, .channel = i ? PEERS_BULK : PEERS_CONTROL};
	timer_set(k, 0, link_try);
	*out = k;
	return 0;
}

void link_destroy(struct link *k) {
	if (!k)
		return;
	lanes_close(k);
	loop_timer_stop(k->timer);
	free(k->endpoint);
	free(k);
}

const struct node_id *link_node(const struct link *k) {
	return &k->node;
}

bool link_up(const struct link *k) {
	return k->up;
}

int link_move(struct link *k, const char *endpoint) {
	if (strcmp(k->endpoint, endpoint) == 0)
		return 0;
	char *copy = strdup(endpoint);
	if (!copy)
		return -ENOMEM;
	link_drop(k, "it moved");
	free(k->endpoint);
	k->endpoint = copy;
	return 0;
}

int link_send(struct link *k, enum peers_channel ch, Caravan__Envelope *env, struct payload *payload) {
	struct lane *lane = k->lanes[ch == PEERS_BULK].lane;
	return k->up ? lane_send(lane, env, payload, WIRE_ROUTER) : -ENOTCONN;
}
