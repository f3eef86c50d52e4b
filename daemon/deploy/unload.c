/* unload: unloads a model, from any node: the coordinator removes it and announces that; another node asks the coordinator, or
 * takes the model over to end it when the coordinator is gone.  The weights stay in the store.
 * Threads: the loop. */
#include "common/fail.h"
#include "daemon/deploy/deploy_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Unloads the draft model of a model that is gone. */
static void unload_own_draft(struct deploy *d, const char *name) {
	struct model *m = *name ? deploy_model_named(d, name) : NULL;
	if (!m || !model_ours(m) || m->load || deploy_is_draft(m))
		return;
	model_ref(m);
	deploy_say(d, EVENT_MODEL_UNLOADED, LOG_LINE_INFO, name, "model %s was unloaded", name);
	model_remove(m, CARAVAN__MODEL_PHASE__UNLOADED, "");
	(void)announce_send(m, NULL, NULL, NULL);
	model_unref(m);
}

/* Removes a model or a load of ours.  0, or -ENOENT, -ENOMEM with a sentence. */
static int unload_own(struct deploy *d, const char *name, void (*done)(void *arg, bool cancelled), void *arg,
        char *err, size_t errlen) {
	struct model *m = deploy_model_named(d, name);
	if (!m || !model_ours(m))
		return fail_with(-ENOENT, err, errlen, "this node coordinates no model %s", name);
	model_ref(m);
	if (m->load)
		load_stop(m->load, "it was unloaded while it was being loaded");
	if (m->listed) {
		deploy_say(d, EVENT_MODEL_UNLOADED, LOG_LINE_INFO, name, "model %s was unloaded", name);
		model_remove(m, CARAVAN__MODEL_PHASE__UNLOADED, "");
	}
	unload_own_draft(d, m->plan->draft);
	persist_save_plans(d);
	int rc = announce_send(m, NULL, done, arg);
	if (rc)
		snprintf(err, errlen, "out of memory");
	model_unref(m);
	return rc;
}

struct remote {
	struct deploy *d;
	struct peers_from from;
};

static void unload_answer_remote(void *arg, bool cancelled) {
	struct remote *r = arg;
	if (!cancelled)
		announce_acknowledge(r->d, &r->from);
	free(r);
}

static void unload_on_request(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct deploy *d = arg;
	char err[256] = "out of memory";
	struct remote *r = calloc(1, sizeof *r);
	(void)payload;
	if (r)
		*r = (struct remote){d, *from};
	if (!r || unload_own(d, env->unload->model, unload_answer_remote, r, err, sizeof err)) {
		free(r);
		peers_refuse(d->peers, from, "%s", err);
	}
}

struct local {
	void (*done)(void *arg, const char *error);
	void *arg;
};

static void unload_answer_local(void *arg, bool cancelled) {
	struct local *l = arg;
	if (!cancelled)
		l->done(l->arg, NULL);
	free(l);
}

/* Makes a model whose coordinator is gone ours, so that we can announce its end.  NULL with a sentence. */
static struct model *unload_adopt(struct model *m, char *err, size_t errlen) {
	struct deploy *d = m->d;
	Caravan__Plan *plan = plan_copy(m->plan);
	snprintf(err, errlen, "out of memory");
	if (!plan)
		return NULL;
	memcpy(plan->coordinator.data, d->self.b, sizeof d->self.b);
	memcpy(plan->epoch->node.data, d->self.b, sizeof d->self.b);
	plan->epoch->counter = ++d->counter;
	model_remove(m, CARAVAN__MODEL_PHASE__UNLOADED, "");
	m = model_create(d, plan, CARAVAN__MODEL_PHASE__UNAVAILABLE, "", err, errlen);
	plan_free(plan);
	return m;
}

int deploy_unload(struct deploy *d, const char *name, void (*done)(void *arg, const char *error), void *arg,
        char *err, size_t errlen) {
	/* a load that hashes or plans has no model yet */
	struct load *early = load_early(d, name);
	const struct deploy_model *pub = early ? NULL : deploy_find(d, name, err, errlen);
	if (early) {
		load_stop(early, "it was unloaded while it was being loaded");
		done(arg, NULL);
		return 0;
	}
	if (!pub)
		return -ENOENT;
	struct model *m = deploy_model_named(d, pub->plan->model);
	if (!model_ours(m) && m->pub.phase == CARAVAN__MODEL_PHASE__UNAVAILABLE && deploy_coordinator_gone(m))
		m = unload_adopt(m, err, errlen);
	if (!m)
		return -ENOMEM;
	if (!model_ours(m))
		return announce_ask_unload(m, done, arg, err, errlen);
	struct local *l = calloc(1, sizeof *l);
	if (!l)
		return fail_with(-ENOMEM, err, errlen, "out of memory");
	*l = (struct local){done, arg};
	int rc = unload_own(d, m->plan->model, unload_answer_local, l, err, errlen);
	if (rc)
		free(l);
	return rc;
}

int unload_init(struct deploy *d) {
	return peers_on(d->peers, CARAVAN__ENVELOPE__BODY_UNLOAD, unload_on_request, d);
}
