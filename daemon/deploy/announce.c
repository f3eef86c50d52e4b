/* announce: tells the other nodes what became of a model, and receives their announcements.
 *
 * Owns: announcements that wait for answers, and requests to unload (unload.c) that a coordinator is working on.
 * Invariants: only a plan's coordinator is believed, and the highest epoch wins.  A model that serves here under
 * our own coordination keeps its name.  The exception is the same weights that serve under a higher epoch when no
 * other node takes part in our plan any more: those nodes took us for dead, and one of them took over.  That a
 * model serves is believed when its stages confirm it (confirm.c).  It is acknowledged when its vocabulary is
 * here, so that a node that has acknowledged can take prompts.
 * Threads: the loop. */
#include "common/fail.h"
#include "daemon/core/log.h"
#include "daemon/deploy/deploy_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct answer {
	struct node_id node;
	uint64_t ref; /* 0: answered, or no answer is expected */
};

/* An announcement to several nodes, or one request to unload; it ends when no answer is outstanding. */
struct announcement {
	struct deploy *d;
	struct answer *to;
	size_t count;
	uint64_t since_ns;
	void (*done)(void *arg, bool cancelled);        /* of an announcement: may own arg; or */
	void (*unloaded)(void *arg, const char *error); /* of a request to unload */
	void *arg;
	char error[WIRE_TEXT_MAX + 1];
	struct loop_timer *over;
	LIST_ENTRY(announcement) next;
};

static void announcement_free(struct announcement *a) {
	LIST_REMOVE(a, next);
	loop_timer_stop(a->over);
	free(a->to);
	free(a);
}

static void announcement_end(void *arg) {
	struct announcement *a = arg, copy = *a;
	a->over = NULL;
	announcement_free(a);
	if (copy.done)
		copy.done(copy.arg, false);
	if (copy.unloaded)
		copy.unloaded(copy.arg, copy.error[0] ? copy.error : NULL);
}

static void announcement_check_end(struct announcement *a) {
	if (a->over)
		return;
	for (size_t i = 0; i < a->count; i++)
		if (a->to[i].ref)
			return;
	a->over = loop_timer_start(
	        a->d->c.loop, 0, false, announcement_end, a); /* out of memory: the next tick checks again */
}

static struct announcement *announcement_create(struct deploy *d, size_t capacity) {
	struct announcement *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->d = d;
	t->since_ns = loop_now_ns();
	t->to = calloc(capacity + 1, sizeof *t->to);
	if (!t->to) {
		free(t);
		return NULL;
	}
	LIST_INSERT_HEAD(&d->announcements, t, next);
	return t;
}

int announce_send(
        struct model *m, const struct node_id *only, void (*done)(void *arg, bool cancelled), void *arg) {
	struct deploy *d = m->d;
	const struct member *who;
	size_t count = 0;
	while (members_at(d->c.members, count))
		count++;
	struct announcement *a = announcement_create(d, count);
	if (!a)
		return -ENOMEM;
	a->done = done;
	a->arg = arg;
	Caravan__PlanAnnounce msg = CARAVAN__PLAN_ANNOUNCE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PLAN, plan, &msg);
	msg.plan = m->plan;
	msg.phase = m->pub.phase;
	msg.reason = m->reason;
	for (size_t i = 0; (who = members_at(d->c.members, i)); i++) {
		if (who->self || who->expelled || !who->up || (only && !node_id_equal(&who->id, only)))
			continue;
		env.ref = peers_ref(d->peers);
		/* a node without a link gets it when its link is up */
		if (peers_send(d->peers, &who->id, PEERS_CONTROL, &env, NULL) == 0)
			a->to[a->count++] = (struct answer){who->id, env.ref};
	}
	announcement_check_end(a);
	return 0;
}

void announce_acknowledge(struct deploy *d, const struct peers_from *from) {
	Caravan__Ack ack = CARAVAN__ACK__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(ACK, ack, &ack);
	peers_answer(d->peers, from, &env, NULL);
}

void announce_learnt(struct model *m, const char *error) {
	for (struct waiting *w; (w = LIST_FIRST(&m->waiting));) {
		LIST_REMOVE(w, next);
		if (error)
			peers_refuse(m->d->peers, &w->from, "%s", error);
		else
			announce_acknowledge(m->d, &w->from);
		free(w);
	}
}

/* ---- hearing ---- */

static const char not_served[] = "this node does not serve its stage of that plan";

/* Whether the announcement says that we serve a stage of this plan. */
static bool announce_names_us(const struct deploy *d, const Caravan__PlanAnnounce *msg) {
	const Caravan__Plan *plan = msg->plan;
	for (size_t i = 0; i < plan->n_stages && msg->phase == CARAVAN__MODEL_PHASE__SERVING; i++)
		if (memcmp(plan->stages[i]->node.data, d->self.b, sizeof d->self.b) == 0)
			return true;
	return false;
}

/* Whether our model gives way to the same weights that serve under another coordinator.  It does if our plan does not serve.
 * If both serve, after a network partition, the majority of the other nodes decides, and on a tie the higher epoch. */
static bool announce_taken_over(const struct model *m, const Caravan__PlanAnnounce *msg) {
	const Caravan__Plan *plan = msg->plan;
	struct node_id by;
	size_t believe, doubt;
	node_id_from_bytes(&by, plan->coordinator); /* 32 bytes: validated on arrival */
	if (!model_ours(m) || m->load || msg->phase != CARAVAN__MODEL_PHASE__SERVING ||
	        memcmp(m->plan->manifest.data, plan->manifest.data, sizeof(struct content_id)) != 0)
		return false;
	if (m->pub.phase != CARAVAN__MODEL_PHASE__SERVING)
		return true;
	reconcile_count(m, &by, &believe, &doubt);
	if (wire_epoch_compare(m->plan->epoch, plan->epoch) < 0)
		return doubt >= believe;
	return doubt > 0 && believe == 0;
}

/* The reason to refuse another plan of this name.  NULL: none. */
static const char *announce_objection(const struct model *m, const Caravan__PlanAnnounce *msg) {
	const Caravan__Plan *plan = msg->plan;
	bool busy = m->load || m->pub.phase == CARAVAN__MODEL_PHASE__SERVING;
	if (announce_taken_over(m, msg))
		return NULL;
	if (wire_epoch_compare(m->plan->epoch, plan->epoch) > 0)
		return "the plan is older than the one that this node knows";
	if (model_ours(m) && busy)
		return "this node coordinates a model of that name";
	if (busy && memcmp(m->coordinator.b, plan->coordinator.data, sizeof m->coordinator.b) != 0)
		return "the name is in use by a model that another node coordinates";
	return announce_names_us(m->d, msg) ? not_served : NULL;
}

/* Removes the model that has the name. */
static void announce_give_way(struct model *m, const Caravan__PlanAnnounce *msg) {
	const Caravan__Plan *plan = msg->plan;
	if (announce_taken_over(m, msg)) {
		struct node_id by;
		node_id_from_bytes(&by, plan->coordinator);
		deploy_say(m->d, EVENT_MODEL_TAKEN_OVER, LOG_LINE_WARN, plan->model,
		        "model %s: %s coordinates it now, since it believed %s to be gone", plan->model,
		        deploy_node_name(m->d, &by), deploy_node_name(m->d, &m->d->self));
		model_remove(m, CARAVAN__MODEL_PHASE__UNLOADED, "another node has taken it over");
		return;
	}
	if (memcmp(m->coordinator.b, plan->coordinator.data, sizeof m->coordinator.b) != 0)
		model_drop_draft(m);
	model_remove(m, CARAVAN__MODEL_PHASE__UNLOADED, "a newer plan has replaced it");
}

void announce_receive(struct deploy *d, const struct peers_from *from, const Caravan__PlanAnnounce *msg) {
	const Caravan__Plan *plan = msg->plan;
	bool serves = msg->phase == CARAVAN__MODEL_PHASE__SERVING,
	     over = msg->phase == CARAVAN__MODEL_PHASE__UNLOADED ||
	            msg->phase == CARAVAN__MODEL_PHASE__FAILED;
	struct model *m = deploy_model_named(d, plan->model);
	bool same = m && wire_epoch_compare(m->plan->epoch, plan->epoch) == 0;
	const char *why = NULL;
	/* a plan of another coordinator under this name does not affect the model that we know */
	if (over && m && !same && !node_id_equal(&m->coordinator, &from->node) && !deploy_coordinator_gone(m))
		why = "another node coordinates the model of that name here";
	else if (m && !same)
		why = announce_objection(m, msg);
	else if (announce_names_us(d, msg) && !(m && m->participant)) /* we know best */
		why = not_served;
	if (why) {
		peers_refuse(d->peers, from, "%s", why);
		return;
	}
	if (serves && !(same && m->pub.phase == msg->phase) && confirm_wait(d, from, same ? m->plan : plan))
		return;
	if (m && !same) {
		announce_give_way(m, msg);
		m = NULL;
	}
	if (over) {
		if (m)
			model_remove(m, msg->phase, msg->reason);
		announce_acknowledge(d, from);
		return;
	}
	if (m) {
		model_set(m, msg->phase, msg->reason);
	} else {
		char err[256];
		m = model_create(d, plan, msg->phase, msg->reason, err, sizeof err);
		if (!m) {
			peers_refuse(d->peers, from, "%s", err);
			return;
		}
	}
	struct waiting *w = NULL;
	if (serves && m->learnt != LEARN_DONE)
		w = calloc(1, sizeof *w);
	if (!w) {
		announce_acknowledge(d, from);
		return;
	}
	w->from = *from;
	LIST_INSERT_HEAD(&m->waiting, w, next);
	model_learn_from_cluster(m);
}

static void announce_on_plan(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct deploy *d = arg;
	const Caravan__PlanAnnounce *msg = env->plan;
	(void)payload;
	if (from->local || memcmp(from->node.b, msg->plan->coordinator.data, sizeof from->node.b) != 0) {
		peers_refuse(d->peers, from, "only the plan's coordinator may announce it");
		return;
	}
	reconcile_forget_load(d, msg->plan->model);
	confirm_forget(d, &from->node, msg->plan->model);
	/* its coordinator is back: stop taking the model over */
	struct model *m = deploy_model_named(d, msg->plan->model);
	if (m && m->load && !model_ours(m) && node_id_equal(&m->coordinator, &from->node))
		load_stop(m->load, "its coordinator is back");
	announce_receive(d, from, msg);
}

static struct answer *announce_find_answer(
        struct deploy *d, const struct peers_from *from, struct announcement **out) {
	for (struct announcement *a = LIST_FIRST(&d->announcements); a; a = LIST_NEXT(a, next))
		for (size_t i = 0; i < a->count; i++)
			if (a->to[i].ref == from->ref && from->ref &&
			        node_id_equal(&a->to[i].node, &from->node)) {
				*out = a;
				return &a->to[i];
			}
	return NULL;
}

static void announce_on_ack(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct announcement *a;
	struct answer *answer = announce_find_answer(arg, from, &a);
	(void)env;
	(void)payload;
	if (!answer)
		return;
	answer->ref = 0;
	announcement_check_end(a);
}

static void announce_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct deploy *d = arg;
	struct announcement *a;
	struct answer *answer = announce_find_answer(d, from, &a);
	(void)payload;
	if (!answer)
		return;
	answer->ref = 0;
	if (a->unloaded)
		snprintf(a->error, sizeof a->error, "%s", env->refused->reason);
	else
		log_line(LOG_LINE_WARN, "%s refused the announcement of a plan: %s",
		        deploy_node_name(d, &from->node), env->refused->reason);
	announcement_check_end(a);
}

void announce_node_down(struct deploy *d, const struct node_id *id) {
	for (struct announcement *a = LIST_FIRST(&d->announcements); a; a = LIST_NEXT(a, next)) {
		for (size_t i = 0; i < a->count; i++)
			if (a->to[i].ref && node_id_equal(&a->to[i].node, id)) {
				a->to[i].ref = 0;
				if (a->unloaded)
					snprintf(a->error, sizeof a->error, "%s went down",
					        deploy_node_name(d, id));
			}
		announcement_check_end(a);
	}
}

void announce_tick(struct deploy *d) {
	for (struct announcement *a = LIST_FIRST(&d->announcements); a; a = LIST_NEXT(a, next)) {
		if (loop_now_ns() - a->since_ns > DEPLOY_ANNOUNCE_MS * 1000000ull)
			for (size_t i = 0; i < a->count; i++)
				if (a->to[i].ref) {
					log_line(LOG_LINE_WARN,
					        "%s does not answer the announcement of a plan",
					        deploy_node_name(d, &a->to[i].node));
					snprintf(a->error, sizeof a->error, "%s does not answer",
					        deploy_node_name(d, &a->to[i].node));
					a->to[i].ref = 0;
				}
		announcement_check_end(a);
	}
}

/* ---- the rest ---- */

int announce_ask_unload(
        struct model *m, void (*done)(void *arg, const char *error), void *arg, char *err, size_t errlen) {
	struct deploy *d = m->d;
	Caravan__Unload msg = CARAVAN__UNLOAD__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(UNLOAD, unload, &msg);
	struct announcement *a = announcement_create(d, 1);
	if (!a)
		return fail_with(-ENOMEM, err, errlen, "out of memory");
	msg.model = m->plan->model;
	env.ref = peers_ref(d->peers);
	int rc = deploy_up(d, &m->coordinator)
	                 ? peers_send(d->peers, &m->coordinator, PEERS_CONTROL, &env, NULL)
	                 : -EHOSTUNREACH;
	if (rc) {
		announcement_free(a);
		return fail_with(rc, err, errlen, "the coordinator of %s, %s, cannot be reached",
		        m->plan->model, deploy_node_name(d, &m->coordinator));
	}
	a->to[a->count++] = (struct answer){m->coordinator, env.ref};
	a->unloaded = done;
	a->arg = arg;
	return 0;
}

void announce_clear(struct deploy *d) {
	while (!LIST_EMPTY(&d->announcements)) {
		struct announcement *a = LIST_FIRST(&d->announcements);
		if (a->done)
			a->done(a->arg, true);
		announcement_free(a);
	}
}

int announce_init(struct deploy *d) {
	int rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_PLAN, announce_on_plan, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_ACK, announce_on_ack, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_REFUSED, announce_on_refused, d);
	return rc;
}
