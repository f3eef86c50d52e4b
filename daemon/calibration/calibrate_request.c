/* calibrate_request: see calibrate_request.h. */
#include "daemon/calibration/calibrate_request.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 1000
#define SILENT_NS 30000000000ull /* a node that says nothing for so long has forgotten that it was asked */
#define FRESH_MS 60000           /* another node is told figures that are so young as they are */
#define THEIRS_MAX 2             /* of one node, that wait at a time */

/* What we asked of a node, ourselves among them. */
struct ours {
	struct ours *next;
	struct node_id node;
	char name[WIRE_NAME_MAX + 1];
	uint64_t ref, heard_ns;
	struct measure_ask ask;
	char noted[WIRE_TEXT_MAX + 1];
};

/* What a node asked of us. */
struct theirs {
	struct theirs *next;
	struct measure_asks *k;
	struct peers_from from;
};

struct measure_asks {
	struct members *members;
	struct peers *peers;
	struct measure *measure;
	struct loop_timer *timer;
	struct ours *ours;
	struct theirs *theirs;
};

/* ---- answering ---- */

static void requested_answer(struct theirs *t, const char *error) {
	struct measure_asks *k = t->k;
	if (error) {
		(void)peers_refuse(k->peers, &t->from, "%s", error);
		return;
	}
	Caravan__NodeState state = CARAVAN__NODE_STATE__INIT;
	Caravan__Measured measured = CARAVAN__MEASURED__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	measure_fill(k->measure, &state);
	state.cpu = (char *)kern_ops()->name;
	state.threads = measure_threads(k->measure);
	measured.state = &state;
	env.body_case = CARAVAN__ENVELOPE__BODY_MEASURED;
	env.measured = &measured;
	(void)peers_answer(k->peers, &t->from, &env, NULL);
}

static void requested_done(void *arg, const char *error) {
	struct theirs *t = arg;
	for (struct theirs **at = &t->k->theirs; *at; at = &(*at)->next)
		if (*at == t) {
			*at = t->next;
			break;
		}
	requested_answer(t, error);
	free(t);
}

/* How many of this node wait. */
static size_t requested_count(const struct measure_asks *k, const struct node_id *node) {
	size_t n = 0;
	for (const struct theirs *t = k->theirs; t; t = t->next)
		n += node_id_equal(&t->from.node, node);
	return n;
}

static void requested_on_request(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct measure_asks *k = arg;
	(void)env;
	(void)payload;
	if (!k->measure) {
		(void)peers_refuse(k->peers, from, "this node has no network, so it does not measure itself");
		return;
	}
	/* other nodes cannot have this one measure all the time; its own commands are answered anew, whatever others ask */
	bool own = node_id_equal(&from->node, &members_self(k->members)->id);
	if (!own && measure_fresh(k->measure, FRESH_MS)) {
		requested_answer(&(struct theirs){.k = k, .from = *from}, NULL);
		return;
	}
	if (!own && requested_count(k, &from->node) >= THEIRS_MAX) {
		(void)peers_refuse(k->peers, from, "this node has already asked for it and must wait");
		return;
	}
	struct theirs *t = calloc(1, sizeof *t);
	int rc = t ? 0 : -ENOMEM;
	if (rc == 0) {
		*t = (struct theirs){.next = k->theirs, .k = k, .from = *from};
		rc = measure_now(k->measure, requested_done, t);
	}
	if (rc) {
		(void)peers_refuse(k->peers, from,
		        rc == -EBUSY ? "too many nodes have already asked for it" : "out of memory");
		free(t);
		return;
	}
	k->theirs = t;
}

/* ---- asking ---- */

static struct ours *request_find(struct measure_asks *k, const struct peers_from *from) {
	for (struct ours *o = k->ours; o; o = o->next)
		if (o->ref == from->ref && node_id_equal(&o->node, &from->node)) {
			o->heard_ns = loop_now_ns();
			return o;
		}
	return NULL;
}

static void request_end(
        struct measure_asks *k, struct ours *o, const Caravan__NodeState *state, const char *error) {
	for (struct ours **at = &k->ours; *at; at = &(*at)->next)
		if (*at == o) {
			*at = o->next;
			break;
		}
	o->ask.done(o->ask.arg, o->name, state, error);
	free(o);
}

static void request_on_progress(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct ours *o = request_find(arg, from);
	(void)payload;
	if (!o || strcmp(o->noted, env->progress->what) == 0)
		return;
	snprintf(o->noted, sizeof o->noted, "%s", env->progress->what);
	o->ask.note(o->ask.arg, o->noted);
}

static void request_on_measured(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct ours *o = request_find(arg, from);
	(void)payload;
	if (o)
		request_end(arg, o, env->measured->state, NULL);
}

static void request_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct ours *o = request_find(arg, from);
	(void)payload;
	if (o)
		request_end(arg, o, NULL, env->refused->reason);
}

static void request_on_link(void *arg, const struct node_id *node, bool up, const char *why) {
	struct measure_asks *k = arg;
	char error[WIRE_TEXT_MAX];
	snprintf(error, sizeof error, "the link to it was lost: %s", why);
	for (struct ours *o = k->ours, *next; o && !up; o = next) {
		next = o->next;
		if (node_id_equal(&o->node, node))
			request_end(k, o, NULL, error);
	}
}

/* Who waits hears what for; who asked in vain hears that. */
static void request_tick(void *arg) {
	struct measure_asks *k = arg;
	uint64_t now = loop_now_ns();
	Caravan__Progress progress = CARAVAN__PROGRESS__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	char what[256];
	env.body_case = CARAVAN__ENVELOPE__BODY_PROGRESS;
	env.progress = &progress;
	progress.what = what;
	for (struct theirs *t = k->theirs; t; t = t->next) {
		const char *why = measure_waits(k->measure);
		snprintf(what, sizeof what, "%s%s", why ? why : "measuring",
		        why ? ": waiting, half a minute at most" : "");
		(void)peers_answer(k->peers, &t->from, &env, NULL);
	}
	for (struct ours *o = k->ours, *next; o; o = next) {
		next = o->next;
		if (now - o->heard_ns > SILENT_NS)
			request_end(k, o, NULL, "it does not answer");
	}
}

int measure_ask(
        struct measure_asks *k, const char *node, const struct measure_ask *ask, char *err, size_t errlen) {
	Caravan__Measure msg = CARAVAN__MEASURE__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	const struct member *m = *node ? members_named(k->members, node) : members_self(k->members);
	if (!m || m->expelled) {
		snprintf(err, errlen, "there is no node %s", node);
		return -ENOENT;
	}
	if (!m->self && !m->up) {
		snprintf(err, errlen, "%s is down", m->name);
		return -EHOSTUNREACH;
	}
	if (!m->self && m->minor < WIRE_1_2) {
		snprintf(err, errlen, "%s runs an older version of Caravan, which cannot be asked to measure",
		        m->name);
		return -EPROTO;
	}
	struct ours *o = calloc(1, sizeof *o);
	int rc = o ? 0 : -ENOMEM;
	if (rc == 0) {
		*o = (struct ours){.next = k->ours, .node = m->id, .heard_ns = loop_now_ns(), .ask = *ask};
		snprintf(o->name, sizeof o->name, "%s", m->name);
		env.body_case = CARAVAN__ENVELOPE__BODY_MEASURE;
		env.measure = &msg;
		env.ref = o->ref = peers_ref(k->peers);
		k->ours = o;
		rc = peers_send(k->peers, &m->id, PEERS_CONTROL, &env, NULL);
		if (rc)
			k->ours = o->next;
	}
	if (rc) {
		snprintf(err, errlen, "cannot send the request to %s: %s", m->name, strerror(-rc));
		free(o);
	}
	return rc;
}

/* ---- the whole ---- */

int measure_asks_create(
        struct measure_asks **out, struct loop *l, struct members *members, struct measure *m) {
	static const struct {
		Caravan__Envelope__BodyCase kind;
		peers_fn *fn;
	} on[] = {
	        {CARAVAN__ENVELOPE__BODY_MEASURE, requested_on_request},
	        {CARAVAN__ENVELOPE__BODY_MEASURED, request_on_measured},
	        {CARAVAN__ENVELOPE__BODY_PROGRESS, request_on_progress},
	        {CARAVAN__ENVELOPE__BODY_REFUSED, request_on_refused},
	};
	struct measure_asks *k = calloc(1, sizeof *k);
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
		measure_asks_destroy(k);
		return rc;
	}
	*out = k;
	return 0;
}

void measure_asks_destroy(struct measure_asks *k) {
	if (!k)
		return;
	loop_timer_stop(k->timer);
	for (struct ours *o; (o = k->ours);) {
		k->ours = o->next;
		free(o);
	}
	for (struct theirs *t; (t = k->theirs);) {
		k->theirs = t->next;
		free(t);
	}
	free(k);
}
