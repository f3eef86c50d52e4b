/* relay: see relay.h. */
#include "daemon/api/streams/relay.h"
#include "daemon/api/crossing.h"
#include "daemon/core/log.h"
#include "daemon/members/members.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEX "0123456789abcdef"
#define RANDOM_DIGITS 32
#define ANSWER_MS 10000 /* a node that has not answered by then, will not */
#define RETRY_S 5

struct stream_relays {
	struct crossings crossings; /* must be first */
	struct members *members;
	struct peers *peers;
};

struct stream_relay {
	struct crossing x; /* must be first */
	struct stream_ask ask;
	char id[KEPT_ID];
	/* the loop's */
	struct node_id node;
	uint64_t ref; /* 0: nothing is open */
	struct loop_timer *timer;
	bool begun;
	uint64_t got, taken; /* bytes that have come, and that its client has taken */
};

/* From the loop to the HTTP thread. */
struct relay_event {
	struct stream_relay *r;
	enum { RELAY_BEGIN, RELAY_BYTES, RELAY_END } kind;
	char type[65];
	struct completion_error error;
	size_t len;
	char bytes[];
};

/* From the HTTP thread to the loop. */
struct relay_taken {
	struct stream_relay *r;
	uint64_t bytes;
};

bool stream_is_elsewhere(const char *id, const char *own_node) {
	size_t len = strlen(id), tail = RANDOM_DIGITS + STREAM_NODE;
	return len >= tail && len < KEPT_ID && strspn(id + len - tail, HEX) == tail &&
	       strcmp(id + len - STREAM_NODE, own_node) != 0;
}

static struct stream_relays *relays_of(const struct crossing *x) {
	return (struct stream_relays *)x->all; /* its first member */
}

/* ---- events ---------------------------------------------------------------------------------------- */

static void relay_deliver(void *arg) {
	struct relay_event *e = arg;
	const struct stream_ask *ask = &e->r->ask;
	if (e->r->x.released)
		;
	else if (e->kind == RELAY_BEGIN)
		ask->begin(ask->arg, e->type);
	else if (e->kind == RELAY_BYTES)
		ask->bytes(ask->arg, e->bytes, e->len);
	else
		ask->end(ask->arg, e->error.status ? &e->error : NULL);
	free(e);
}

static struct relay_event *relay_event(struct stream_relay *r, int kind, size_t len) {
	struct relay_event *e = calloc(1, sizeof *e + len);
	if (!e)
		return NULL;
	e->r = r;
	e->kind = kind;
	e->len = len;
	return e;
}

static bool relay_post(struct relay_event *e) {
	if (e && loop_post(e->r->x.all->http, relay_deliver, e) == 0)
		return true;
	free(e);
	log_line(LOG_LINE_ERROR, "out of memory: a stream of another node has a gap");
	return false;
}

/* Nothing comes after it.  status 0: it is complete. */
static void relay_end(struct stream_relay *r, int status, uint32_t retry_after, const char *text) {
	struct relay_event *e = relay_event(r, RELAY_END, 0);
	r->ref = 0;
	loop_timer_stop(r->timer);
	r->timer = NULL;
	if (e) {
		e->error.status = status;
		e->error.retry_after = retry_after;
		snprintf(e->error.text, sizeof e->error.text, "%s", text);
	}
	(void)relay_post(e);
}

/* ---- asking ---------------------------------------------------------------------------------------- */

static const struct member *relay_find_node(const struct stream_relays *rs, const char *id) {
	const char *node = id + strlen(id) - STREAM_NODE;
	const struct member *m;
	char hex[NODE_ID_HEX];
	for (size_t i = 0; (m = members_at(rs->members, i)); i++)
		if (!m->expelled && !m->self && strncmp(node_id_hex(&m->id, hex), node, STREAM_NODE) == 0)
			return m;
	return NULL;
}

static int relay_send(struct stream_relay *r) {
	struct peers *p = relays_of(&r->x)->peers;
	r->ref = peers_ref(p);
	if (r->ask.from) {
		Caravan__OpenStream open = CARAVAN__OPEN_STREAM__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(OPEN_STREAM, open_stream, &open);
		open.id = r->id;
		open.key = r->ask.key;
		open.from = r->ask.from;
		open.window = STREAM_WINDOW;
		env.ref = r->ref;
		return peers_send(p, &r->node, PEERS_CONTROL, &env, NULL);
	}
	Caravan__CancelStream cancel = CARAVAN__CANCEL_STREAM__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CANCEL_STREAM, cancel_stream, &cancel);
	cancel.id = r->id;
	cancel.key = r->ask.key;
	env.ref = r->ref;
	return peers_send(p, &r->node, PEERS_CONTROL, &env, NULL);
}

static void relay_on_silence(void *arg) {
	struct stream_relay *r = arg;
	char text[200];
	r->timer = NULL;
	snprintf(text, sizeof text, "%s, which keeps this stream, does not answer",
	        members_name(relays_of(&r->x)->members, &r->node));
	relay_end(r, 503, RETRY_S, text);
}

static void relay_begin(struct crossing *x) {
	struct stream_relay *r = (struct stream_relay *)x;
	struct stream_relays *rs = relays_of(x);
	const struct member *m = relay_find_node(rs, r->id);
	char text[WIRE_TEXT_MAX];
	if (!m) {
		relay_end(r, 404, 0, "");
		return;
	}
	r->node = m->id;
	if (m->up && m->minor && m->minor < WIRE_1_4) {
		snprintf(text, sizeof text,
		        "%s, which keeps this stream, runs an older version that passes none on: upgrade it",
		        m->name);
		relay_end(r, 503, 0, text);
		return;
	}
	if (!m->up || relay_send(r) != 0) {
		snprintf(text, sizeof text, "%s, which keeps this stream, cannot be reached", m->name);
		relay_end(r, 503, RETRY_S, text);
		return;
	}
	r->timer = loop_timer_start(rs->crossings.loop, ANSWER_MS, false, relay_on_silence, r);
}

static void relay_cancel(struct crossing *x) {
	struct stream_relay *r = (struct stream_relay *)x;
	Caravan__Cancel cancel = CARAVAN__CANCEL__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CANCEL, cancel, &cancel);
	env.ref = r->ref;
	if (r->ref && r->ask.from)
		(void)peers_send(relays_of(x)->peers, &r->node, PEERS_CONTROL, &env, NULL);
	r->ref = 0;
	loop_timer_stop(r->timer);
	r->timer = NULL;
}

static void relay_destroy(struct crossing *x) {
	free(x);
}

struct stream_relay *stream_relay_start(struct stream_relays *rs, const struct stream_ask *ask) {
	struct stream_relay *r = calloc(1, sizeof *r);
	if (!r)
		return NULL;
	r->x = (struct crossing){.begin = relay_begin, .cancel = relay_cancel, .destroy = relay_destroy};
	r->ask = *ask;
	snprintf(r->id, sizeof r->id, "%s", ask->id);
	if (crossing_start(&r->x, &rs->crossings) == 0)
		return r;
	free(r);
	return NULL;
}

static void relay_take(void *arg) {
	struct relay_taken *t = arg;
	Caravan__StreamTaken taken = CARAVAN__STREAM_TAKEN__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STREAM_TAKEN, stream_taken, &taken);
	struct stream_relay *r = t->r;
	char text[200];
	taken.bytes = t->bytes;
	r->taken = t->bytes;
	env.ref = r->ref;
	if (r->x.begun && r->ref &&
	        peers_send(relays_of(&r->x)->peers, &r->node, PEERS_CONTROL, &env, NULL) != 0) {
		/* it would wait for ever */
		snprintf(text, sizeof text, "%s, which keeps this stream, cannot be reached",
		        members_name(relays_of(&r->x)->members, &r->node));
		relay_cancel(&r->x);
		relay_end(r, 503, RETRY_S, text);
	}
	free(t);
}

void stream_relay_took(struct stream_relay *r, uint64_t bytes) {
	struct relay_taken *t = malloc(sizeof *t);
	if (t)
		*t = (struct relay_taken){r, bytes};
	if (!t || loop_post(r->x.all->loop, relay_take, t) != 0) {
		free(t);
		log_line(LOG_LINE_ERROR, "out of memory: a stream of another node stalls");
	}
}

void stream_relay_release(struct stream_relay *r) {
	crossing_release(&r->x);
}

/* ---- answers --------------------------------------------------------------------------------------- */

static struct stream_relay *relay_find(struct stream_relays *rs, const struct peers_from *from) {
	struct crossing *x;
	LIST_FOREACH(x, &rs->crossings.begun, next) {
		struct stream_relay *r = (struct stream_relay *)x;
		if (r->ref && r->ref == from->ref && node_id_equal(&r->node, &from->node)) {
			loop_timer_stop(r->timer);
			r->timer = NULL;
			return r;
		}
	}
	return NULL;
}

/* The other node does not keep to the protocol. */
static void relay_wrong(struct stream_relay *r) {
	char text[200];
	snprintf(text, sizeof text, "%s, which keeps this stream, sent what was not asked for",
	        members_name(relays_of(&r->x)->members, &r->node));
	relay_cancel(&r->x);
	relay_end(r, 503, 0, text);
}

static void relay_on_bytes(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct stream_relay *r = relay_find(arg, from);
	const Caravan__StreamBytes *b = env->stream_bytes;
	size_t len = payload ? payload_len(payload) : 0;
	bool posted = true;
	if (!r)
		return;
	r->got += len;
	if (!r->ask.from || r->got > r->taken + STREAM_WINDOW) {
		relay_wrong(r);
		return;
	}
	if (!r->begun) {
		struct relay_event *e = relay_event(r, RELAY_BEGIN, 0);
		if (e)
			snprintf(e->type, sizeof e->type, "%s", b->type);
		r->begun = posted = relay_post(e);
	}
	if (posted && len) {
		struct relay_event *e = relay_event(r, RELAY_BYTES, len);
		if (e)
			memcpy(e->bytes, payload_data(payload), len);
		posted = relay_post(e);
	}
	if (!posted) {
		relay_cancel(&r->x);
		relay_end(r, 500, 0, "out of memory");
	} else if (b->last) {
		relay_end(r, 0, 0, "");
	}
}

static void relay_on_ack(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct stream_relay *r = relay_find(arg, from);
	(void)env;
	(void)payload;
	if (r && r->ask.from)
		relay_wrong(r);
	else if (r)
		relay_end(r, 0, 0, "");
}

static void relay_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct stream_relay *r = relay_find(arg, from);
	const Caravan__Refused *refused = env->refused;
	(void)payload;
	char text[WIRE_TEXT_MAX];
	if (!r)
		return;
	snprintf(text, sizeof text, "%s, which keeps this stream: %.800s",
	        members_name(relays_of(&r->x)->members, &r->node), refused->reason);
	relay_end(r, refused->busy ? 503 : 404, refused->busy, text);
}

static void relay_on_link(void *arg, const struct node_id *node, bool up, const char *why) {
	struct stream_relays *rs = arg;
	struct crossing *x;
	char text[WIRE_TEXT_MAX];
	if (up)
		return;
	snprintf(text, sizeof text, "the link to %s, which keeps this stream, was lost: %.600s",
	        members_name(rs->members, node), why);
	LIST_FOREACH(x, &rs->crossings.begun, next) {
		struct stream_relay *r = (struct stream_relay *)x;
		if (r->ref && node_id_equal(&r->node, node))
			relay_end(r, 503, RETRY_S, text);
	}
}

/* ---- all of them ----------------------------------------------------------------------------------- */

int stream_relays_create(struct stream_relays **out, struct loop *loop, struct members *m) {
	struct stream_relays *rs = calloc(1, sizeof *rs);
	if (!rs)
		return -ENOMEM;
	crossings_init(&rs->crossings, loop);
	rs->members = m;
	rs->peers = members_peers(m);
	*out = rs;
	return 0;
}

int stream_relays_attach(struct stream_relays *rs, struct loop *http) {
	static const struct {
		Caravan__Envelope__BodyCase kind;
		peers_fn *fn;
	} on[] = {
	        {CARAVAN__ENVELOPE__BODY_STREAM_BYTES, relay_on_bytes},
	        {CARAVAN__ENVELOPE__BODY_ACK, relay_on_ack},
	        {CARAVAN__ENVELOPE__BODY_REFUSED, relay_on_refused},
	};
	rs->crossings.http = http;
	int rc = peers_on_link(rs->peers, relay_on_link, rs);
	for (size_t i = 0; rc == 0 && i < sizeof on / sizeof *on; i++)
		rc = peers_on(rs->peers, on[i].kind, on[i].fn, rs);
	return rc;
}

static void relays_free(void *arg) {
	free(arg);
}

void stream_relays_destroy(struct stream_relays *rs) {
	if (!rs)
		return;
	crossings_end(&rs->crossings);
	/* the HTTP thread has posted its last message: after it, nothing refers to rs */
	if (loop_post(rs->crossings.loop, relays_free, rs) != 0)
		log_line(LOG_LINE_ERROR, "out of memory while ending");
}
