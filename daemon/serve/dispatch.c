/* dispatch: see dispatch.h. */
#include "daemon/serve/dispatch.h"
#include "common/fail.h"
#include "daemon/serve/coordinator/constraint.h"
#include "daemon/serve/coordinator/coordinator.h"
#include "daemon/serve/gateway/request.h"
#include "daemon/serve/stage/stage.h"
#include "daemon/text/tokenizer.h"
#include "daemon/text/tokenizers.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define STREAMS_MOST 96                           /* listed in a heartbeat: about 7 KiB */
#define EXPERT_LAYERS_MOST WIRE_EXPERT_LAYERS_MAX /* the same: about 14 KiB */

struct stage_node {
	LIST_ENTRY(stage_node) next;
	struct stage *stage;
};

struct model_node {
	LIST_ENTRY(model_node) next;
	struct coordinator *model;
};

struct serve {
	struct members *members;
	struct peers *peers;
	struct compute *compute;
	struct deploy *deploy;
	struct requests *requests;
	LIST_HEAD(, stage_node) stages;
	LIST_HEAD(, model_node) models;
	struct tokenizers *tokenizers;
	struct constraints *constraints;
	Caravan__StageState *stage_state, **stage_list; /* what serve_state returned last */
	Caravan__ModelState *model_state, **model_list;
};

/* ---- models that make drafts for others ---------------------------------------------------------- */

static struct coordinator *dispatch_find_coordinator(const struct serve *s, const char *name) {
	for (struct model_node *n = LIST_FIRST(&s->models); n; n = LIST_NEXT(n, next))
		if (strcmp(coordinator_plan(n->model)->model, name) == 0)
			return n->model;
	return NULL;
}

/* Whether both models have the same tokenizer, so that a draft's tokens are valid for the other. */
static bool dispatch_same_tokenizer(struct serve *s, const char *one, const char *other) {
	char err[WIRE_TEXT_MAX];
	const struct deploy_model *a = deploy_find(s->deploy, one, err, sizeof err),
	                          *b = deploy_find(s->deploy, other, err, sizeof err);
	return a && b && a->vocab && b->vocab && vocab_same_tokens(a->vocab, b->vocab, NULL, 0);
}

/* A model was added or removed: chooses the draft models.  References to a removed model must be cleared
 * before it is closed. */
static void dispatch_pair_drafts(struct serve *s) {
	for (struct model_node *n = LIST_FIRST(&s->models); n; n = LIST_NEXT(n, next)) {
		const Caravan__Plan *plan = coordinator_plan(n->model);
		struct coordinator *small = *plan->draft ? dispatch_find_coordinator(s, plan->draft) : NULL;
		if (small && (small == n->model || !dispatch_same_tokenizer(s, plan->model, plan->draft)))
			small = NULL;
		coordinator_set_draft_model(n->model, small);
	}
}

/* ---- the hooks of deploy ------------------------------------------------------------------------- */

/* The name of a node in a plan. */
static const char *dispatch_node_name(struct serve *s, const ProtobufCBinaryData *node) {
	struct node_id id;
	node_id_from_bytes(&id, *node);
	return members_name(s->members, &id);
}

static int dispatch_stage_open(void *arg, const struct deploy_model *m, uint32_t index, struct slice *slice,
        char *err, size_t errlen) {
	struct serve *s = arg;
	struct stage_node *n = calloc(1, sizeof *n);
	if (!n)
		return fail_with(-ENOMEM, err, errlen, "%s", strerror(ENOMEM));
	bool last = index + 1 == m->plan->n_stages;
	const char *next =
	        dispatch_node_name(s, last ? &m->plan->coordinator : &m->plan->stages[index + 1]->node);
	int rc = stage_create(&n->stage, s->peers, s->compute, m->plan, index, next, slice, err, errlen);
	if (rc != 0) {
		free(n);
		return rc;
	}
	LIST_INSERT_HEAD(&s->stages, n, next);
	return 0;
}

static void dispatch_remove_stage(struct stage_node *n) {
	LIST_REMOVE(n, next);
	stage_destroy(n->stage);
	free(n);
}

static void dispatch_stage_close(void *arg, const struct deploy_model *m, uint32_t index) {
	struct serve *s = arg;
	for (struct stage_node *n = LIST_FIRST(&s->stages); n; n = LIST_NEXT(n, next))
		if (stage_is(n->stage, m->plan->model, m->plan->epoch, index)) {
			dispatch_remove_stage(n);
			return;
		}
}

static bool dispatch_stage_broken(void *arg, const struct deploy_model *m, uint32_t index) {
	struct serve *s = arg;
	for (struct stage_node *n = LIST_FIRST(&s->stages); n; n = LIST_NEXT(n, next))
		if (stage_is(n->stage, m->plan->model, m->plan->epoch, index))
			return stage_broken(n->stage);
	return false;
}

static int dispatch_model_open(
        void *arg, const struct deploy_model *m, struct slice *io, char *err, size_t errlen) {
	struct serve *s = arg;
	const struct tokenizer *t = request_tokenizer(s->requests, m, err, errlen);
	if (!t)
		return -EINVAL;
	struct model_node *n = calloc(1, sizeof *n);
	if (!n)
		return fail_with(-ENOMEM, err, errlen, "%s", strerror(ENOMEM));
	const char *first = dispatch_node_name(s, &m->plan->stages[0]->node);
	int rc = coordinator_create(
	        &n->model, s->peers, s->compute, s->constraints, m->plan, first, t, io, err, errlen);
	if (rc != 0) {
		free(n);
		return rc;
	}
	LIST_INSERT_HEAD(&s->models, n, next);
	dispatch_pair_drafts(s);
	return 0;
}

static bool dispatch_coordinates(const struct model_node *n, const char *name, const Caravan__Epoch *epoch) {
	const Caravan__Plan *plan = coordinator_plan(n->model);
	return strcmp(plan->model, name) == 0 && (!epoch || wire_epoch_compare(plan->epoch, epoch) == 0);
}

static struct coordinator *dispatch_find_epoch(
        struct serve *s, const char *name, const Caravan__Epoch *epoch) {
	for (struct model_node *n = LIST_FIRST(&s->models); n; n = LIST_NEXT(n, next))
		if (dispatch_coordinates(n, name, epoch))
			return n->model;
	return NULL;
}

static void dispatch_remove_model(struct serve *s, struct model_node *n, const char *why) {
	LIST_REMOVE(n, next);
	dispatch_pair_drafts(s);
	coordinator_close(n->model, why);
	free(n);
}

static void dispatch_model_close(void *arg, const struct deploy_model *m, const char *why) {
	struct serve *s = arg;
	for (struct model_node *n = LIST_FIRST(&s->models); n; n = LIST_NEXT(n, next))
		if (dispatch_coordinates(n, m->plan->model, m->plan->epoch)) {
			dispatch_remove_model(s, n, why);
			return;
		}
}

static void dispatch_model_changed(void *arg, const struct deploy_model *m) {
	struct serve *s = arg;
	char why[WIRE_TEXT_MAX];
	if (m->phase == CARAVAN__MODEL_PHASE__SERVING) {
		/* if it is ours: the others have its figures before they hear that it serves */
		if (dispatch_find_epoch(s, m->plan->model, m->plan->epoch))
			members_heartbeat(s->members);
		return;
	}
	snprintf(why, sizeof why, "model %s %s%s%s", m->plan->model,
	        m->phase == CARAVAN__MODEL_PHASE__UNLOADED ? "was unloaded" : "no longer serves",
	        *m->reason ? ": " : "", m->reason);
	requests_model_gone(s->requests, m->plan->model, why);
	if ((m->phase == CARAVAN__MODEL_PHASE__UNLOADED || m->phase == CARAVAN__MODEL_PHASE__FAILED) &&
	        m->vocab)
		tokenizers_drop(s->tokenizers,
		        m->vocab); /* the model is removed, and its vocabulary is about to be freed */
}

static bool dispatch_is_busy(void *arg) {
	const struct serve *s = arg;
	return compute_busy(s->compute);
}

struct deploy_hooks serve_hooks(struct serve *s) {
	return (struct deploy_hooks){.stage_open = dispatch_stage_open,
	        .stage_close = dispatch_stage_close,
	        .stage_broken = dispatch_stage_broken,
	        .model_open = dispatch_model_open,
	        .model_close = dispatch_model_close,
	        .changed = dispatch_model_changed,
	        .check_vocab = tokenizer_check,
	        .busy = dispatch_is_busy,
	        .arg = s};
}

void serve_attach(struct serve *s, struct deploy *d) {
	s->deploy = d;
	requests_attach(s->requests, d);
}

struct deploy *serve_deploy(struct serve *s) {
	return s->deploy;
}

struct members *serve_members(struct serve *s) {
	return s->members;
}

struct requests *serve_requests(struct serve *s) {
	return s->requests;
}

/* ---- messages ------------------------------------------------------------------------------------ */

static void dispatch_on_step(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct serve *s = arg;
	const Caravan__Step *step = env->step;
	for (struct stage_node *n = LIST_FIRST(&s->stages); n; n = LIST_NEXT(n, next))
		if (stage_is(n->stage, step->model, step->epoch, step->stage)) {
			stage_step(n->stage, from, step, x);
			return;
		}
	peers_refuse(s->peers, from, "this node does not serve stage %u of model %s under that plan",
	        step->stage, step->model);
}

static void dispatch_on_step_ack(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct serve *s = arg;
	uint64_t waited = env->step_ack->waited;
	(void)x;
	for (struct model_node *n = LIST_FIRST(&s->models); n; n = LIST_NEXT(n, next))
		if (coordinator_ack(n->model, &from->node, from->ref, waited))
			return;
	for (struct stage_node *n = LIST_FIRST(&s->stages); n; n = LIST_NEXT(n, next))
		if (stage_ack(n->stage, &from->node, from->ref, waited))
			return;
}

static void dispatch_on_step_done(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct serve *s = arg;
	struct coordinator *m = dispatch_find_epoch(s, env->step_done->model, env->step_done->epoch);
	if (m)
		coordinator_step_done(m, from, env->step_done, x);
	else
		peers_refuse(s->peers, from, "this node does not coordinate model %s under that plan",
		        env->step_done->model);
}

static void dispatch_on_cancel_step(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct serve *s = arg;
	const Caravan__CancelStep *v = env->cancel_step;
	(void)x;
	for (struct stage_node *n = LIST_FIRST(&s->stages); n; n = LIST_NEXT(n, next))
		if (stage_is(n->stage, v->model, v->epoch, stage_index(n->stage)))
			stage_void(n->stage, from, v->step);
}

/* A node refused a step of this plan: it no longer serves its stage, so everything sent now would be lost. */
static void dispatch_stage_refuses(
        struct serve *s, const char *model, const Caravan__Epoch *epoch, const char *why) {
	char err[WIRE_TEXT_MAX];
	const struct deploy_model *m = deploy_find(s->deploy, model, err, sizeof err);
	if (m && wire_epoch_compare(m->plan->epoch, epoch) == 0)
		deploy_unavailable(s->deploy, m, why);
}

static void dispatch_on_step_failed(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct serve *s = arg;
	const Caravan__StepFailed *failed = env->step_failed;
	struct coordinator *m = dispatch_find_epoch(s, failed->model, failed->epoch);
	(void)x;
	if (m && coordinator_step_failed(m, from, failed) && failed->refused)
		dispatch_stage_refuses(s, failed->model, failed->epoch, failed->reason);
}

static void dispatch_on_submit(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct serve *s = arg;
	struct coordinator *m = dispatch_find_epoch(s, env->submit->model, NULL);
	if (m)
		coordinator_submit(m, from, env->submit, x);
	else
		peers_refuse(s->peers, from, "this node does not coordinate model %s", env->submit->model);
}

static void dispatch_on_cancel(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct serve *s = arg;
	(void)env;
	(void)x;
	for (struct model_node *n = LIST_FIRST(&s->models); n; n = LIST_NEXT(n, next))
		coordinator_cancel(n->model, &from->node, from->ref);
}

static void dispatch_on_logits_taken(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct serve *s = arg;
	(void)x;
	for (struct model_node *n = LIST_FIRST(&s->models); n; n = LIST_NEXT(n, next))
		coordinator_logits_taken(n->model, &from->node, from->ref, env->logits_taken->rows);
}

static void dispatch_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct serve *s = arg;
	const char *why = env->refused->reason;
	(void)x;
	for (struct model_node *n = LIST_FIRST(&s->models); n; n = LIST_NEXT(n, next))
		if (coordinator_refused(n->model, &from->node, from->ref, why)) {
			char text[WIRE_TEXT_MAX];
			const Caravan__Plan *plan = coordinator_plan(n->model);
			snprintf(text, sizeof text, "%s refused a step: %.800s",
			        members_name(s->members, &from->node), why);
			dispatch_stage_refuses(s, plan->model, plan->epoch, text);
			return;
		}
	for (struct stage_node *n = LIST_FIRST(&s->stages); n; n = LIST_NEXT(n, next))
		if (stage_refused(n->stage, &from->node, from->ref, why))
			return;
}

static void dispatch_on_link(void *arg, const struct node_id *node, bool up, const char *why) {
	struct serve *s = arg;
	char text[WIRE_TEXT_MAX];
	if (up)
		return;
	snprintf(text, sizeof text, "the link to %s was lost: %s", members_name(s->members, node), why);
	for (struct model_node *n = LIST_FIRST(&s->models); n; n = LIST_NEXT(n, next))
		coordinator_link_lost(n->model, node, text);
	for (struct stage_node *n = LIST_FIRST(&s->stages); n; n = LIST_NEXT(n, next))
		stage_link_lost(n->stage, node, text);
}

static void dispatch_on_member(void *arg, const struct member *who, enum member_change change) {
	struct serve *s = arg;
	char why[WIRE_TEXT_MAX];
	if (who->up && !who->expelled)
		return;
	snprintf(why, sizeof why, "node %s %s", who->name, member_change_text(change));
	for (struct model_node *n = LIST_FIRST(&s->models); n; n = LIST_NEXT(n, next))
		coordinator_cancel_node(n->model, &who->id);
	requests_coordinator_lost(s->requests, &who->id, why);
}

/* ---- the whole ----------------------------------------------------------------------------------- */

int serve_create(struct serve **out, struct members *m, struct compute *c, char *err, size_t errlen) {
	static const struct {
		Caravan__Envelope__BodyCase kind;
		peers_fn *fn;
	} on[] = {
	        {CARAVAN__ENVELOPE__BODY_STEP, dispatch_on_step},
	        {CARAVAN__ENVELOPE__BODY_STEP_ACK, dispatch_on_step_ack},
	        {CARAVAN__ENVELOPE__BODY_STEP_DONE, dispatch_on_step_done},
	        {CARAVAN__ENVELOPE__BODY_STEP_FAILED, dispatch_on_step_failed},
	        {CARAVAN__ENVELOPE__BODY_CANCEL_STEP, dispatch_on_cancel_step},
	        {CARAVAN__ENVELOPE__BODY_SUBMIT, dispatch_on_submit},
	        {CARAVAN__ENVELOPE__BODY_CANCEL, dispatch_on_cancel},
	        {CARAVAN__ENVELOPE__BODY_LOGITS_TAKEN, dispatch_on_logits_taken},
	        {CARAVAN__ENVELOPE__BODY_REFUSED, dispatch_on_refused},
	};
	struct serve *s = calloc(1, sizeof *s);
	int rc = s ? 0 : -ENOMEM;
	if (rc == 0) {
		s->members = m;
		s->peers = members_peers(m);
		s->compute = c;
		rc = tokenizers_create(&s->tokenizers);
	}
	if (rc == 0)
		rc = constraints_create(&s->constraints, compute_loop(c));
	if (rc == 0)
		rc = requests_create(&s->requests, compute_loop(c), m, s->tokenizers);
	for (size_t i = 0; rc == 0 && i < sizeof on / sizeof *on; i++)
		rc = peers_on(s->peers, on[i].kind, on[i].fn, s);
	if (rc == 0)
		rc = peers_on_link(s->peers, dispatch_on_link, s);
	if (rc == 0)
		rc = members_on_change(m, dispatch_on_member, s);
	if (rc != 0) {
		snprintf(err, errlen, "%s", strerror(-rc));
		serve_destroy(s);
		return rc;
	}
	*out = s;
	return 0;
}

static void dispatch_free_state(struct serve *s) {
	free(s->stage_state);
	free(s->stage_list);
	free(s->model_state);
	free(s->model_list);
}

void serve_destroy(struct serve *s) {
	if (!s)
		return;
	requests_destroy(s->requests);
	while (!LIST_EMPTY(&s->models))
		dispatch_remove_model(s, LIST_FIRST(&s->models), "the node is shutting down");
	while (!LIST_EMPTY(&s->stages))
		dispatch_remove_stage(LIST_FIRST(&s->stages));
	constraints_destroy(s->constraints);
	tokenizers_destroy(s->tokenizers);
	dispatch_free_state(s);
	free(s);
}

void serve_state(struct serve *s, Caravan__NodeState *out) {
	size_t ns = 0, nm = 0;
	uint32_t streams = STREAMS_MOST, expert_layers = EXPERT_LAYERS_MOST;
	dispatch_free_state(s);
	for (struct stage_node *n = LIST_FIRST(&s->stages); n; n = LIST_NEXT(n, next))
		ns++;
	for (struct model_node *n = LIST_FIRST(&s->models); n; n = LIST_NEXT(n, next))
		nm++;
	s->stage_state = calloc(ns + 1, sizeof *s->stage_state);
	s->stage_list = calloc(ns + 1, sizeof *s->stage_list);
	s->model_state = calloc(nm + 1, sizeof *s->model_state);
	s->model_list = calloc(nm + 1, sizeof *s->model_list);
	if (!s->stage_state || !s->stage_list || !s->model_state || !s->model_list)
		return;
	for (struct stage_node *n = LIST_FIRST(&s->stages); n; n = LIST_NEXT(n, next)) {
		size_t i = out->n_stages++;
		stage_state(n->stage, expert_layers, &s->stage_state[i]);
		expert_layers -= (uint32_t)s->stage_state[i].n_expert_layers;
		s->stage_list[i] = &s->stage_state[i];
	}
	for (struct model_node *n = LIST_FIRST(&s->models); n; n = LIST_NEXT(n, next)) {
		size_t i = out->n_models++;
		coordinator_state(n->model, streams, &s->model_state[i]);
		streams -= (uint32_t)s->model_state[i].n_streams;
		deploy_copies(s->deploy, coordinator_plan(n->model)->model, &s->model_state[i]);
		deploy_alternatives(s->deploy, coordinator_plan(n->model)->model, &s->model_state[i]);
		s->model_list[i] = &s->model_state[i];
	}
	out->stages = s->stage_list;
	out->models = s->model_list;
}
