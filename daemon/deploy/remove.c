/* remove: removes a model from disk: on this node because another node asks, and on all nodes because a command
 * asks.
 *
 * Owns: removals under way.
 * Invariants: a model that is loaded or being loaded here is not touched, nor is content that another model needs
 * or that a program has open.  What was just unloaded may be mapped for a moment, so removal is retried before
 * content is reported as in use.
 * Threads: the loop, except where a comment says reader. */
#include "common/fail.h"
#include "common/size.h"
#include "daemon/deploy/catalog.h"
#include "daemon/deploy/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REMOVINGS_MAX 16
#define TRIES 20
#define TRY_MS 500
#define ANSWER_MS 60000 /* for the answer of a node */

/* ---- here ---- */

/* A removal of content from our disk. */
struct removing {
	struct deploy *d;
	struct peers_from from; /* who asked, unless it is */
	bool ours;              /* for a command here: */
	struct removal *of;     /* which; NULL: it has ended */
	size_t index;           /* its answer there */
	char name[WIRE_NAME_MAX + 1];
	struct content_id manifest;
	bool file; /* a model file of ours has it */
	struct content_id *needed;
	size_t count;
	struct catalog_removed sum;
	int rc, tries;
	struct loop_timer *timer;
	LIST_ENTRY(removing) next;
};

static void removal_answered(struct removal *r, size_t index, const Caravan__Removed *m, const char *error);

static void removing_free(struct removing *k) {
	LIST_REMOVE(k, next);
	loop_timer_stop(k->timer);
	free(k->needed);
	free(k);
}

/* Whether the model is loaded or being loaded here; then with a reason. */
static bool removing_check_loaded(struct deploy *d, const char *name, char *why, size_t len) {
	const struct model *m = deploy_model_named(d, name);
	bool loading = m && m->pub.phase == CARAVAN__MODEL_PHASE__LOADING;
	for (const struct load *l = TAILQ_FIRST(&d->loads); l && !loading; l = TAILQ_NEXT(l, next))
		loading = !l->advises && l->state != LOAD_ENDED && strcmp(l->name, name) == 0;
	if (!m && !loading)
		return false;
	snprintf(why, len, "%s %s: run 'caravan unload %s' first", name,
	        loading                                         ? "is being loaded"
	        : m->pub.phase == CARAVAN__MODEL_PHASE__SERVING ? "is served"
	                                                        : "is loaded, but not ready",
	        name);
	return true;
}

/* The manifests of all models loaded here, to keep. */
static int removing_list_needed(struct removing *k) {
	struct deploy *d = k->d;
	size_t capacity = d->models;
	free(k->needed);
	k->count = 0;
	for (const struct load *l = TAILQ_FIRST(&d->loads); l; l = TAILQ_NEXT(l, next))
		capacity++;
	if (!(k->needed = calloc(capacity + 1, sizeof *k->needed)))
		return -ENOMEM;
	for (size_t i = 0; i < d->models; i++)
		memcpy(k->needed[k->count++].b, d->model[i]->plan->manifest.data, sizeof k->needed->b);
	for (const struct load *l = TAILQ_FIRST(&d->loads); l; l = TAILQ_NEXT(l, next))
		if (!l->advises && l->manifest)
			k->needed[k->count++] = l->manifest->id;
	return 0;
}

/* Reader. */
static void removing_run(void *arg) {
	struct removing *k = arg;
	struct catalog_removed one;
	k->rc = catalog_remove(&one, k->d->c.store, k->name, &k->manifest, k->needed, k->count, k->file);
	if (k->rc)
		return;
	one.freed += k->sum.freed;
	k->sum = one;
}

static void removing_done(void *arg, bool cancelled);

static int removing_submit(struct removing *k) {
	return executor_submit(transfer_reader(k->d->transfer), removing_run, removing_done, k);
}

/* Nothing where the disk had nothing of it. */
static void removing_say(const struct removing *k) {
	char what[96];
	if (k->sum.freed)
		snprintf(what, sizeof what, "%s freed", size_text((double)k->sum.freed).s);
	else
		snprintf(what, sizeof what, "%s stays, since another model has it too",
		        size_text((double)k->sum.shared).s);
	if (k->sum.freed || k->sum.shared)
		deploy_say(k->d, EVENT_MODEL_REMOVED, LOG_LINE_INFO, k->name,
		        "model %s was removed from the disk of %s: %s", k->name,
		        members_self(k->d->c.members)->name, what);
}

static void removing_finish(struct removing *k) {
	Caravan__Removed msg = CARAVAN__REMOVED__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(REMOVED, removed, &msg);
	msg.freed = k->sum.freed;
	msg.shared = k->sum.shared;
	msg.in_use = k->sum.in_use;
	if (k->rc == 0 && !k->sum.in_use)
		catalog_drop(k->d, k->name);
	if (k->rc == 0 && !k->sum.in_use)
		removing_say(k);
	if (k->ours && k->of)
		removal_answered(k->of, k->index, k->rc ? NULL : &msg, k->rc ? strerror(-k->rc) : NULL);
	else if (!k->ours && k->rc)
		peers_refuse(k->d->peers, &k->from, "its store: %s", strerror(-k->rc));
	else if (!k->ours)
		peers_answer(k->d->peers, &k->from, &env, NULL);
	removing_free(k);
}

static void removing_retry(void *arg) {
	struct removing *k = arg;
	char why[WIRE_TEXT_MAX];
	k->timer = NULL;
	/* since then a model that needs this content may have been loaded */
	bool loaded = removing_check_loaded(k->d, k->name, why, sizeof why);
	if (!loaded)
		k->rc = removing_list_needed(k);
	if (loaded || k->rc || removing_submit(k))
		removing_finish(k);
}

static void removing_done(void *arg, bool cancelled) {
	struct removing *k = arg;
	if (cancelled) {
		removing_free(k);
		return;
	}
	if (k->rc == 0 && k->sum.in_use && ++k->tries < TRIES &&
	        (k->timer = loop_timer_start(k->d->c.loop, TRY_MS, false, removing_retry, k)))
		return;
	removing_finish(k);
}

/* 0 or a negative errno with a sentence. */
static int removing_start(struct deploy *d, const char *name, const struct content_id *manifest,
        const struct peers_from *from, struct removal *of, size_t index, char *err, size_t errlen) {
	struct removing *k = calloc(1, sizeof *k);
	snprintf(err, errlen, "out of memory");
	if (!k)
		return -ENOMEM;
	k->d = d;
	k->ours = of != NULL;
	k->of = of;
	k->index = index;
	k->manifest = *manifest;
	k->file = transfer_has_file(d->transfer, manifest);
	if (from)
		k->from = *from;
	snprintf(k->name, sizeof k->name, "%s", name);
	int rc = removing_list_needed(k);
	LIST_INSERT_HEAD(&d->removings, k, next);
	if (rc == 0)
		rc = removing_submit(k);
	if (rc)
		removing_free(k);
	return rc;
}

static void removing_on_request(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct deploy *d = arg;
	const Caravan__RemoveModel *m = env->remove_model;
	struct content_id manifest;
	char err[WIRE_TEXT_MAX];
	size_t n = 0;
	(void)payload;
	for (const struct removing *k = LIST_FIRST(&d->removings); k; k = LIST_NEXT(k, next))
		n++;
	memcpy(manifest.b, m->manifest.data, sizeof manifest.b);
	if (n >= REMOVINGS_MAX)
		peers_refuse(d->peers, from, "too many requests at once");
	else if (removing_check_loaded(d, m->name, err, sizeof err) ||
	         removing_start(d, m->name, &manifest, from, NULL, 0, err, sizeof err))
		peers_refuse(d->peers, from, "%s", err);
}

/* ---- everywhere ---- */

struct answer {
	struct node_id node;
	uint64_t ref; /* 0: answered, or not asked */
	bool waits;
};

struct removal {
	struct deploy *d;
	struct deploy_removal r;
	char name[WIRE_NAME_MAX + 1];
	struct answer *answer; /* one for each node and manifest */
	size_t answers;
	bool gathers;
	bool starting;
	struct loop_timer *timer;
	LIST_ENTRY(removal) next;
};

static void removal_free(struct removal *r) {
	LIST_REMOVE(r, next);
	for (struct removing *k = LIST_FIRST(&r->d->removings); k; k = LIST_NEXT(k, next))
		if (k->of == r)
			k->of = NULL;
	if (r->gathers)
		deploy_stored_abandon(r->d, r);
	loop_timer_stop(r->timer);
	free(r->answer);
	free(r);
}

static void removal_end(struct removal *r, const char *error) {
	if (r->r.done)
		r->r.done(r->r.arg, error);
	removal_free(r);
}

static void removal_report_one(
        struct removal *r, const struct node_id *id, const Caravan__Removed *m, const char *error) {
	Caravan__CtlRemoved one = CARAVAN__CTL_REMOVED__INIT;
	one.node = wire_string(deploy_node_name(r->d, id));
	one.error = wire_string(error ? error : "");
	if (m) {
		one.freed = m->freed;
		one.shared = m->shared;
		one.in_use = m->in_use;
	}
	if (r->r.each)
		r->r.each(r->r.arg, &one);
}

static void removal_check_end(struct removal *r) {
	for (size_t i = 0; i < r->answers; i++)
		if (r->answer[i].waits)
			return;
	if (!r->starting)
		removal_end(r, NULL);
}

static void removal_answered(struct removal *r, size_t index, const Caravan__Removed *m, const char *error) {
	struct answer *a = &r->answer[index];
	if (!a->waits)
		return;
	a->waits = false;
	a->ref = 0;
	removal_report_one(r, &a->node, m, error);
	removal_check_end(r);
}

static void removal_timed_out(void *arg) {
	struct removal *r = arg;
	r->timer = NULL;
	r->starting = true;
	for (size_t i = 0; i < r->answers; i++)
		removal_answered(r, i, NULL, "it does not answer");
	r->starting = false;
	removal_check_end(r);
}

/* Asks a node that is up, or records why not. */
static void removal_ask(struct removal *r, const struct member *who, const struct content_id *manifest) {
	struct deploy *d = r->d;
	Caravan__RemoveModel msg = CARAVAN__REMOVE_MODEL__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(REMOVE_MODEL, remove_model, &msg);
	char err[WIRE_TEXT_MAX];
	struct answer *a = &r->answer[r->answers];
	*a = (struct answer){.node = who->id, .waits = true};
	r->answers++;
	if (who->self) {
		if (removing_start(d, r->name, manifest, NULL, r, r->answers - 1, err, sizeof err))
			removal_answered(r, r->answers - 1, NULL, err);
		return;
	}
	if (!who->up || !deploy_speaks(d, &who->id, WIRE_1_2)) {
		removal_answered(r, r->answers - 1, NULL,
		        who->up ? "its version of Caravan cannot remove models"
		                : "it is down; what it has stays");
		return;
	}
	msg.name = r->name;
	msg.manifest = wire_bytes(manifest->b, sizeof manifest->b);
	env.ref = a->ref = peers_ref(d->peers);
	if (peers_send(d->peers, &who->id, PEERS_CONTROL, &env, NULL))
		removal_answered(r, r->answers - 1, NULL, "it cannot be reached");
}

static void removal_gathered(void *arg, const struct deploy_stored *model, size_t count) {
	struct removal *r = arg;
	struct deploy *d = r->d;
	const struct member *who;
	char err[WIRE_TEXT_MAX + DEPLOY_ERROR];
	size_t nodes = 0, found = 0;
	r->gathers = false;
	while (members_at(d->c.members, nodes))
		nodes++;
	for (size_t i = 0; i < count; i++)
		found += strcmp(model[i].name, r->name) == 0;
	if (found == 0) {
		deploy_name_stored(model, count, r->name, err, sizeof err);
		removal_end(r, err);
		return;
	}
	if (removing_check_loaded(d, r->name, err, sizeof err)) { /* loaded since then */
		removal_end(r, err);
		return;
	}
	r->answer = calloc(found * nodes, sizeof *r->answer);
	r->timer = loop_timer_start(d->c.loop, ANSWER_MS, false, removal_timed_out, r);
	if (!r->answer || !r->timer) {
		removal_end(r, "out of memory");
		return;
	}
	r->starting = true;
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; strcmp(model[i].name, r->name) == 0 && (who = members_at(d->c.members, k));
		        k++)
			if (!who->expelled)
				removal_ask(r, who, &model[i].manifest);
	r->starting = false;
	removal_check_end(r);
}

int deploy_remove(struct deploy *d, const struct deploy_removal *what, char *err, size_t errlen) {
	if (removing_check_loaded(d, what->model, err, errlen))
		return -EBUSY;
	struct removal *r = calloc(1, sizeof *r);
	if (!r)
		return fail_with(-ENOMEM, err, errlen, "out of memory");
	r->d = d;
	r->r = *what;
	snprintf(r->name, sizeof r->name, "%s", what->model);
	LIST_INSERT_HEAD(&d->removals, r, next);
	r->gathers = true;
	if (deploy_list_stored(d, removal_gathered, r) == 0)
		return 0;
	r->gathers = false;
	removal_free(r);
	return fail_with(-ENOMEM, err, errlen, "out of memory");
}

/* The index of the request that this answers; -1: none. */
static int removal_find_node(const struct removal *r, const struct peers_from *from) {
	for (size_t i = 0; i < r->answers; i++)
		if (r->answer[i].ref && r->answer[i].ref == from->ref &&
		        node_id_equal(&r->answer[i].node, &from->node))
			return (int)i;
	return -1;
}

static void removal_on_answer(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct deploy *d = arg;
	bool refused = env->body_case == CARAVAN__ENVELOPE__BODY_REFUSED;
	(void)payload;
	for (struct removal *r = LIST_FIRST(&d->removals); r; r = LIST_NEXT(r, next)) {
		int i = removal_find_node(r, from);
		if (i < 0)
			continue;
		removal_answered(
		        r, (size_t)i, refused ? NULL : env->removed, refused ? env->refused->reason : NULL);
		return;
	}
}

void remove_node_down(struct deploy *d, const struct node_id *id) {
	for (struct removal *r = LIST_FIRST(&d->removals), *next; r; r = next) {
		next = LIST_NEXT(r, next);
		r->starting = true;
		for (size_t i = 0; i < r->answers; i++)
			if (r->answer[i].ref && node_id_equal(&r->answer[i].node, id))
				removal_answered(r, i, NULL, "it went down");
		r->starting = false;
		if (!r->gathers)
			removal_check_end(r);
	}
}

void remove_clear(struct deploy *d) {
	while (!LIST_EMPTY(&d->removals))
		removal_free(LIST_FIRST(&d->removals));
	for (struct removing *k = LIST_FIRST(&d->removings), *next; k; k = next) {
		next = LIST_NEXT(k, next);
		if (k->timer) /* otherwise the reader has it, and frees it */
			removing_free(k);
	}
}

int remove_init(struct deploy *d) {
	int rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_REMOVE_MODEL, removing_on_request, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_REMOVED, removal_on_answer, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_REFUSED, removal_on_answer, d);
	return rc;
}
