/* models: a model as this node knows it, from the plan that creates it to its removal.
 *
 * Invariants: a plan never changes.  A new epoch is a new model, and the old one is removed first.  A listed model
 * holds its name in the table.  A removed model is freed later, since steps may still be in flight, and on the
 * executor, since unmapping is slow.
 * Threads: the loop, except where a comment says executor. */
#include "common/fail.h"
#include "daemon/core/log.h"
#include "daemon/deploy/deploy_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Reasons are sent in messages, as one line of UTF-8, but may contain file names, which are any bytes. */
static void model_set_reason(struct model *m, const char *reason) {
	snprintf(m->reason, sizeof m->reason, "%s", reason ? reason : "");
	if (!wire_line_ok(m->reason, WIRE_TEXT_MAX))
		for (char *c = m->reason; *c; c++)
			if (*c < ' ' || *c > '~')
				*c = '?';
}

void model_free(struct model *m) {
	if (!m)
		return;
	loop_timer_stop(m->later);
	loop_timer_stop(m->deferred_free);
	for (struct waiting *w; (w = LIST_FIRST(&m->waiting)); free(w))
		LIST_REMOVE(w, next);
	participant_free(m->participant);
	replica_free_all(m);
	replicate_free(m->replication);
	free(m->doubter);
	manifest_destroy(m->manifest);
	vocab_destroy(m->vocab);
	plan_free(m->plan);
	free(m);
}

struct model *model_ref(struct model *m) {
	m->refs++;
	return m;
}

static void model_deferred_free(void *arg) {
	struct model *m = arg;
	m->deferred_free = NULL;
	LIST_REMOVE(m, next_dead);
	model_free(m);
}

void model_unref(struct model *m) {
	if (!m || --m->refs)
		return;
	loop_timer_stop(m->later);
	m->later = NULL;
	LIST_INSERT_HEAD(&m->d->dead, m, next_dead);
	/* out of memory for the timer: freed with deploy */
	m->deferred_free =
	        loop_timer_start(m->d->c.loop, DEPLOY_DEFERRED_FREE_MS, false, model_deferred_free, m);
}

void model_changed(struct model *m) {
	struct deploy *d = m->d;
	d->unsaved = true;
	if (d->c.hooks.changed)
		d->c.hooks.changed(d->c.hooks.arg, &m->pub);
	if (d->watch)
		d->watch(d->watch_arg);
}

/* Whether the table takes another model of this coordinator; the limit keeps one node from filling it. */
static bool model_check_limits(struct deploy *d, const struct model *m, char *err, size_t errlen) {
	size_t its = 0, others = 0;
	for (size_t i = 0; i < d->models; i++) {
		its += node_id_equal(&d->model[i]->coordinator, &m->coordinator);
		others += !model_ours(d->model[i]);
	}
	if (its >= DEPLOY_MODELS_EACH)
		return fail_with(false, err, errlen, "%s already coordinates %d models, the limit of a node",
		        deploy_node_name(d, &m->coordinator), DEPLOY_MODELS_EACH);
	if (!model_ours(m) && others >= DEPLOY_MODELS_MAX - DEPLOY_MODELS_EACH)
		return fail_with(
		        false, err, errlen, "there are already %zu models, the limit of a node", others);
	return true;
}

static int model_list(struct model *m) {
	struct deploy *d = m->d;
	struct model **grown = realloc(d->model, (d->models + 1) * sizeof *grown);
	if (!grown)
		return -ENOMEM;
	d->model = grown;
	size_t i = d->models++;
	for (; i > 0 && strcmp(d->model[i - 1]->plan->model, m->plan->model) > 0; i--)
		d->model[i] = d->model[i - 1];
	d->model[i] = m;
	m->listed = true;
	/* implausibly high: it would leave no counters for our own plans */
	if (m->plan->epoch->counter > d->counter && m->plan->epoch->counter < DEPLOY_COUNTER_MAX)
		d->counter = m->plan->epoch->counter;
	model_changed(m);
	return 0;
}

struct model *model_create(struct deploy *d, const Caravan__Plan *plan, Caravan__ModelPhase phase,
        const char *reason, char *err, size_t errlen) {
	struct model *m = calloc(1, sizeof *m);
	snprintf(err, errlen, "out of memory");
	if (!m)
		return NULL;
	m->d = d;
	m->refs = 1;
	m->plan = plan_copy(plan);
	if (!m->plan || node_id_from_bytes(&m->coordinator, plan->coordinator))
		goto error;
	model_set_reason(m, reason);
	m->pub = (struct deploy_model){.plan = m->plan, .phase = phase, .reason = m->reason};
	if (!model_check_limits(d, m, err, errlen)) {
		log_line(LOG_LINE_WARN, "no room for another model: %s", err); /* its name is anybody's */
		goto error;
	}
	if (model_list(m) == 0)
		return m;
error:
	model_free(m);
	return NULL;
}

void model_set(struct model *m, Caravan__ModelPhase phase, const char *reason) {
	if (m->pub.phase == phase && strcmp(m->reason, reason ? reason : "") == 0)
		return;
	if (m->pub.phase == CARAVAN__MODEL_PHASE__SERVING && phase != CARAVAN__MODEL_PHASE__SERVING)
		catalog_note(m); /* it was served until now */
	m->pub.phase = phase;
	model_set_reason(m, reason);
	if (m->listed)
		model_changed(m);
}

void model_shut(struct model *m, const char *why) {
	struct deploy *d = m->d;
	if (m->open) {
		m->open = false;
		d->c.hooks.model_close(d->c.hooks.arg, &m->pub, why);
	}
	d->used -= m->io_charged;
	m->io_charged = 0;
}

void model_remove(struct model *m, Caravan__ModelPhase phase, const char *reason) {
	struct deploy *d = m->d;
	if (!m->listed)
		return;
	if (m->pub.phase == CARAVAN__MODEL_PHASE__SERVING)
		catalog_note(m); /* records its last use */
	model_ref(m);
	m->listed = false;
	for (size_t i = 0; i < d->models; i++)
		if (d->model[i] == m) {
			memmove(&d->model[i], &d->model[i + 1], (d->models - i - 1) * sizeof *d->model);
			d->models--;
			break;
		}
	m->pub.phase = phase;
	model_set_reason(m, reason);
	if (m->load) /* its load must not continue without it */
		load_stop(m->load, *m->reason ? m->reason : "the model was unloaded");
	transfer_cancel(m->fetch);
	m->fetch = NULL;
	replica_stop(m);
	replicate_free(m->replication);
	m->replication = NULL;
	model_shut(m, *m->reason ? m->reason : "the model was unloaded");
	participant_close(m);
	announce_learnt(m, "the model is gone");
	model_changed(m);
	model_unref(m); /* ours, */
	model_unref(m); /* the reference of the table */
}

void model_drop_draft(const struct model *m) {
	struct model *draft = *m->plan->draft ? deploy_model_named(m->d, m->plan->draft) : NULL;
	if (draft && !model_ours(draft) && node_id_equal(&draft->coordinator, &m->coordinator) &&
	        draft->pub.phase == CARAVAN__MODEL_PHASE__UNAVAILABLE)
		model_remove(draft, CARAVAN__MODEL_PHASE__UNLOADED, "its coordinator is gone");
}

bool model_ours(const struct model *m) {
	return node_id_equal(&m->coordinator, &m->d->self);
}

static int model_find_stage(const struct model *m, const struct node_id *id) {
	for (size_t i = 0; i < m->plan->n_stages; i++)
		if (memcmp(m->plan->stages[i]->node.data, id->b, sizeof id->b) == 0)
			return (int)i;
	return -1;
}

int model_our_stage(const struct model *m) {
	return model_find_stage(m, &m->d->self);
}

bool model_has_stage(const struct model *m, const struct node_id *id) {
	return model_find_stage(m, id) >= 0;
}

void model_describe(const struct model *m, char *out, size_t len) {
	if (m->pub.phase == CARAVAN__MODEL_PHASE__SERVING)
		snprintf(out, len, "serves");
	else if (reconcile_loading(m->d, m->plan->model, out, len))
		return;
	else if (m->pub.phase == CARAVAN__MODEL_PHASE__LOADING)
		snprintf(out, len, "is loading");
	else
		snprintf(out, len, "is not available%s%s", *m->reason ? ": " : "", m->reason);
}

/* ---- learning what the model is ---- */

struct reading {
	struct model *m; /* a reference */
	struct manifest *manifest;
	struct vocab *vocab;
	int rc;
	char err[256];
};

static struct content_id model_content_id(ProtobufCBinaryData b) {
	struct content_id id;
	memcpy(id.b, b.data, sizeof id.b); /* 32 bytes: validated on arrival */
	return id;
}

/* Executor. */
static void model_read_run(void *arg) {
	struct reading *r = arg;
	const Caravan__Plan *plan = r->m->plan;
	struct store *s = r->m->d->c.store;
	struct content_id manifest = model_content_id(plan->manifest), vocab = model_content_id(plan->vocab);
	uint8_t *data = NULL;
	size_t len;
	r->rc = store_get_blob(s, &manifest, &data, &len);
	if (r->rc == 0)
		r->rc = manifest_decode(&r->manifest, data, len, r->err, sizeof r->err);
	free(data);
	data = NULL;
	if (r->rc == 0 && !content_equal(&r->manifest->vocab, &vocab)) {
		r->rc = -EINVAL;
		snprintf(r->err, sizeof r->err, "the plan names another vocabulary than the manifest");
	}
	if (r->rc == 0 && (plan->stages[plan->n_stages - 1]->last != r->manifest->hp.layers)) {
		r->rc = -EINVAL;
		snprintf(r->err, sizeof r->err, "the plan has %u layers, the manifest %u",
		        plan->stages[plan->n_stages - 1]->last, r->manifest->hp.layers);
	}
	if (r->rc == 0)
		r->rc = store_get_blob(s, &vocab, &data, &len);
	if (r->rc == 0)
		r->rc = vocab_decode(&r->vocab, data, len, r->err, sizeof r->err);
	if (r->rc == 0 && r->vocab->tokens > r->manifest->hp.vocab) {
		r->rc = -EINVAL;
		snprintf(r->err, sizeof r->err, "the vocabulary has %u tokens, the embedding %u rows",
		        r->vocab->tokens, r->manifest->hp.vocab);
	}
	free(data);
	if (r->rc && !r->err[0])
		snprintf(r->err, sizeof r->err, "cannot read manifest and vocabulary: %s", strerror(-r->rc));
}

/* Continues everything that waited for it, or fails it with a reason. */
static void model_learnt(struct model *m, const char *error) {
	model_ref(m);
	m->learnt = error ? LEARN_NOT : LEARN_DONE;
	if (m->listed) {
		if (error)
			log_line(LOG_LINE_WARN, "model %s: %s", m->plan->model, error);
		else
			model_changed(m);
	}
	if (!error && m->listed)
		catalog_note(m);
	if (m->participant && m->listed)
		participant_learnt(m->participant, error);
	if (m->load && m->listed)
		load_learnt(m->load, error);
	announce_learnt(m, error);
	model_unref(m);
}

static void model_read_done(void *arg, bool cancelled) {
	struct reading *r = arg;
	struct model *m = r->m;
	if (r->rc == 0 && !cancelled && m->listed) {
		m->manifest = r->manifest;
		m->vocab = r->vocab;
		m->pub.manifest = m->manifest;
		m->pub.vocab = m->vocab;
		r->manifest = NULL;
		r->vocab = NULL;
	}
	if (!cancelled)
		model_learnt(m, m->manifest ? NULL : r->err[0] ? r->err : "it is gone");
	manifest_destroy(r->manifest);
	vocab_destroy(r->vocab);
	model_unref(m);
	free(r);
}

static void model_fetched(void *arg, const char *error, uint64_t moved) {
	struct model *m = arg;
	(void)moved;
	m->fetch = NULL;
	if (error) {
		model_learnt(m, error);
		return;
	}
	struct reading *r = calloc(1, sizeof *r);
	if (r) {
		r->m = model_ref(m);
		if (executor_submit(m->d->c.executor, model_read_run, model_read_done, r) == 0)
			return;
		model_unref(m);
		free(r);
	}
	model_learnt(m, "out of memory");
}

void model_learn(struct model *m, const struct node_id *sources, size_t count) {
	if (m->learnt != LEARN_NOT)
		return;
	struct content_id blobs[2] = {model_content_id(m->plan->manifest), model_content_id(m->plan->vocab)};
	char subject[WIRE_NAME_MAX + 16];
	snprintf(subject, sizeof subject, "model %s", m->plan->model);
	struct transfer_request r = {.subject = subject,
	        .blob = blobs,
	        .blobs = 2,
	        .source = sources,
	        .sources = count,
	        .done = model_fetched,
	        .arg = m};
	m->learnt = LEARN_UNDER_WAY;
	if (transfer_fetch(m->d->transfer, &r, &m->fetch)) {
		m->fetch = NULL;
		model_learnt(m, "out of memory");
	}
}

void model_learn_from_cluster(struct model *m) {
	struct node_id source[WIRE_NODES_MAX + 1];
	/* the coordinator first; any other node may have it too */
	source[0] = m->coordinator;
	model_learn(m, source, 1 + deploy_others(m->d, source + 1));
}
