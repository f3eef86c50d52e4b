/* calibrate_request: see calibrate_request.h. */
#include "daemon/calibration/calibrate_request.h"
#include "common/fail.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define TICK_MS 1000
#define SILENT_NS 30000000000ull /* a request without an answer for so long has failed */
#define FRESH_MS 60000           /* other nodes get figures up to this age without a new run */
#define RECEIVED_MAX 2           /* waiting requests of one node */

/* A request to a node, or to this one. */
struct request_sent {
	LIST_ENTRY(request_sent) next;
	struct node_id node;
	char name[WIRE_NAME_MAX + 1];
	uint64_t ref, heard_ns;
	struct calibrate_request ask;
	char noted[WIRE_TEXT_MAX + 1];
};

/* A request from a node. */
struct request_received {
	LIST_ENTRY(request_received) next;
	struct calibrate_requests *k;
	struct peers_from from;
};

struct calibrate_requests {
	struct members *members;
	struct peers *peers;
	struct calibration *measure;
	struct loop_timer *timer;
	LIST_HEAD(, request_sent) sent;
	LIST_HEAD(, request_received) received;
};

/* ---- answering ---- */

static void requested_answer(struct request_received *t, const char *error) {
	struct calibrate_requests *k = t->k;
	if (error) {
		(void)peers_refuse(k->peers, &t->from, "%s", error);
		return;
	}
	Caravan__NodeState state = CARAVAN__NODE_STATE__INIT;
	Caravan__Measured measured = CARAVAN__MEASURED__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(MEASURED, measured, &measured);
	calibrate_fill(k->measure, &state);
	calibrate_fill_ways(k->measure, &state);
	state.cpu = wire_string(kern_ops()->name);
	state.threads = calibrate_threads(k->measure);
	measured.state = &state;
	(void)peers_answer(k->peers, &t->from, &env, NULL);
}

static void requested_done(void *arg, const char *error) {
	struct request_received *t = arg;
	LIST_REMOVE(t, next);
	requested_answer(t, error);
	free(t);
}

/* The number of waiting requests of a node. */
static size_t requested_count(const struct calibrate_requests *k, const struct node_id *node) {
	size_t n = 0;
	for (const struct request_received *t = LIST_FIRST(&k->received); t; t = LIST_NEXT(t, next))
		n += node_id_equal(&t->from.node, node);
	return n;
}

static void requested_on_request(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct calibrate_requests *k = arg;
	(void)env;
	(void)payload;
	if (!k->measure) {
		(void)peers_refuse(k->peers, from, "this node has no network, so it does not measure itself");
		return;
	}
	/* other nodes cannot keep this one measuring; its own commands always get a new run */
	bool own = node_id_equal(&from->node, &members_self(k->members)->id);
	if (!own && calibrate_fresh(k->measure, FRESH_MS)) {
		requested_answer(&(struct request_received){.k = k, .from = *from}, NULL);
		return;
	}
	if (!own && requested_count(k, &from->node) >= RECEIVED_MAX) {
		(void)peers_refuse(k->peers, from, "this node has already asked for it and must wait");
		return;
	}
	struct request_received *t = calloc(1, sizeof *t);
	int rc = t ? 0 : -ENOMEM;
	if (rc == 0) {
		*t = (struct request_received){.k = k, .from = *from};
		rc = calibrate_now(k->measure, requested_done, t);
	}
	if (rc) {
		(void)peers_refuse(k->peers, from,
		        rc == -EBUSY ? "too many nodes have already asked for it" : "out of memory");
		free(t);
		return;
	}
	LIST_INSERT_HEAD(&k->received, t, next);
}

/* ---- asking ---- */

static struct request_sent *request_find(struct calibrate_requests *k, const struct peers_from *from) {
	for (struct request_sent *o = LIST_FIRST(&k->sent); o; o = LIST_NEXT(o, next))
		if (o->ref == from->ref && node_id_equal(&o->node, &from->node)) {
			o->heard_ns = loop_now_ns();
			return o;
		}
	return NULL;
}

static void request_end(struct calibrate_requests *k, struct request_sent *o, const Caravan__NodeState *state,
        const char *error) {
	LIST_REMOVE(o, next);
	o->ask.done(o->ask.arg, o->name, state, error);
	free(o);
}

static void request_on_progress(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct request_sent *o = request_find(arg, from);
	(void)payload;
	if (!o || strcmp(o->noted, env->progress->what) == 0)
		return;
	snprintf(o->noted, sizeof o->noted, "%s", env->progress->what);
	o->ask.note(o->ask.arg, o->noted);
}

static void request_on_measured(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct request_sent *o = request_find(arg, from);
	(void)payload;
	if (o)
		request_end(arg, o, env->measured->state, NULL);
}

static void request_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct request_sent *o = request_find(arg, from);
	(void)payload;
	if (o)
		request_end(arg, o, NULL, env->refused->reason);
}

static void request_on_link(void *arg, const struct node_id *node, bool up, const char *why) {
	struct calibrate_requests *k = arg;
	char error[WIRE_TEXT_MAX];
	snprintf(error, sizeof error, "the link to it was lost: %s", why);
	for (struct request_sent *o = LIST_FIRST(&k->sent), *next; o && !up; o = next) {
		next = LIST_NEXT(o, next);
		if (node_id_equal(&o->node, node))
			request_end(k, o, NULL, error);
	}
}

/* Sends the reason for waiting to nodes; fails our requests that got no answer. */
static void request_tick(void *arg) {
	struct calibrate_requests *k = arg;
	uint64_t now = loop_now_ns();
	Caravan__Progress progress = CARAVAN__PROGRESS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PROGRESS, progress, &progress);
	char what[256];
	progress.what = what;
	for (struct request_received *t = LIST_FIRST(&k->received); t; t = LIST_NEXT(t, next)) {
		const char *why = calibrate_waits(k->measure);
		snprintf(what, sizeof what, "%s%s", why ? why : "measuring",
		        why ? ": waiting, half a minute at most" : "");
		(void)peers_answer(k->peers, &t->from, &env, NULL);
	}
	for (struct request_sent *o = LIST_FIRST(&k->sent), *next; o; o = next) {
		next = LIST_NEXT(o, next);
		if (now - o->heard_ns > SILENT_NS)
			request_end(k, o, NULL, "it does not answer");
	}
}

int calibrate_request(struct calibrate_requests *k, const char *node, const struct calibrate_request *ask,
        char *err, size_t errlen) {
	Caravan__Measure msg = CARAVAN__MEASURE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(MEASURE, measure, &msg);
	const struct member *m = *node ? members_named(k->members, node) : members_self(k->members);
	if (!m || m->expelled)
		return fail_with(-ENOENT, err, errlen, "there is no node %s", node);
	if (!m->self && !m->up)
		return fail_with(-EHOSTUNREACH, err, errlen, "%s is down", m->name);
	if (!m->self && m->minor < WIRE_1_2)
		return fail_with(-EPROTO, err, errlen,
		        "%s runs an older version of Caravan, which cannot be asked to measure", m->name);
	struct request_sent *o = calloc(1, sizeof *o);
	int rc = o ? 0 : -ENOMEM;
	if (rc == 0) {
		*o = (struct request_sent){.node = m->id, .heard_ns = loop_now_ns(), .ask = *ask};
		snprintf(o->name, sizeof o->name, "%s", m->name);
		env.ref = o->ref = peers_ref(k->peers);
		LIST_INSERT_HEAD(&k->sent, o, next);
		rc = peers_send(k->peers, &m->id, PEERS_CONTROL, &env, NULL);
		if (rc)
			LIST_REMOVE(o, next);
	}
	if (rc) {
		snprintf(err, errlen, "cannot send the request to %s: %s", m->name, strerror(-rc));
		free(o);
	}
	return rc;
}

/* ---- the whole ---- */

int calibrate_requests_create(
        struct calibrate_requests **out, struct loop *l, struct members *members, struct calibration *m) {
	static const struct {
		Caravan__Envelope__BodyCase kind;
		peers_fn *fn;
	} on[] = {
	        {CARAVAN__ENVELOPE__BODY_MEASURE, requested_on_request},
	        {CARAVAN__ENVELOPE__BODY_MEASURED, request_on_measured},
	        {CARAVAN__ENVELOPE__BODY_PROGRESS, request_on_progress},
	        {CARAVAN__ENVELOPE__BODY_REFUSED, request_on_refused},
	};
	struct calibrate_requests *k = calloc(1, sizeof *k);
	if (!k)
		return -ENOMEM;
	k->members = members;
	k->peers = members_peers(members);
	k->measure = m;
	int rc = (k->timer = loop_timer_start(l, TICK_MS, true, request_tick, k)) ? 0 : -ENOMEM;
	for (size_t i = 0; rc == 0 && i < sizeof on / sizeof *on; i++)
		rc = peers_on(k->peers, on[i].kind, on[i].fn, k);
	if (rc == 0)
		rc = peers_on_link(k->peers, request_on_link, k);
	if (rc) {
		calibrate_requests_destroy(k);
		return rc;
	}
	*out = k;
	return 0;
}

void calibrate_requests_destroy(struct calibrate_requests *k) {
	if (!k)
		return;
	loop_timer_stop(k->timer);
	for (struct request_sent *o; (o = LIST_FIRST(&k->sent));) {
		LIST_REMOVE(o, next);
		free(o);
	}
	for (struct request_received *t; (t = LIST_FIRST(&k->received));) {
		LIST_REMOVE(t, next);
		free(t);
	}
	free(k);
}
