/* confirm: holds back an announcement that a plan serves until the nodes of its stages confirm it.
 *
 * A faulty member could announce models on nodes that hold nothing of them.  Such models would take names, and
 * prompts that nobody answers.  So an announcement that a plan serves waits until each of its stages has reported,
 * in the state that its heartbeats carry, that it serves those layers of that model.  A node sends a heartbeat
 * when a stage opens, so a true announcement has usually been confirmed before it arrives.  Two kinds of nodes are
 * not asked: the coordinator, which answers for its own announcement; and a node that is down for us but up for
 * the coordinator, since it may not be able to reach us.
 * Owns: announcements that wait.  What is not confirmed in time is refused; the coordinator announces it again.
 * Threads: the loop. */
#include "daemon/core/log.h"
#include "daemon/deploy/deploy_internal.h"

#include <stdlib.h>
#include <string.h>

struct unconfirmed {
	struct peers_from from;
	Caravan__Plan *plan; /* owned */
	uint64_t since_ns;
	LIST_ENTRY(unconfirmed) next;
};

static void unconfirmed_free(struct unconfirmed *a) {
	plan_free(a->plan);
	free(a);
}

/* Whether a node reports that another is up. */
static bool confirm_says_up(const struct member *who, const struct node_id *id) {
	for (size_t i = 0; who && who->state && i < who->state->n_peers; i++)
		if (memcmp(who->state->peers[i]->node.data, id->b, sizeof id->b) == 0)
			return who->state->peers[i]->up;
	return false;
}

static bool confirm_stage(const struct deploy *d, const Caravan__Plan *plan, const Caravan__Stage *s) {
	struct node_id id, coordinator;
	node_id_from_bytes(&id, s->node); /* 32 bytes: validated on arrival */
	node_id_from_bytes(&coordinator, plan->coordinator);
	if (node_id_equal(&id, &coordinator) || node_id_equal(&id, &d->self))
		return true;
	const struct member *who = members_find(d->c.members, &id);
	if (!who || who->expelled)
		return false;
	if (!who->up)
		return confirm_says_up(members_find(d->c.members, &coordinator), &id);
	for (size_t i = 0; who->state && i < who->state->n_stages; i++) {
		const Caravan__StageState *has = who->state->stages[i];
		if (strcmp(has->model, plan->model) == 0 && has->first == s->first && has->last == s->last &&
		        memcmp(has->manifest.data, plan->manifest.data, plan->manifest.len) == 0)
			return true;
	}
	return false;
}

/* The first stage that does not confirm the plan.  NULL: all do. */
static const Caravan__Stage *confirm_find_missing(const struct deploy *d, const Caravan__Plan *plan) {
	for (size_t i = 0; i < plan->n_stages; i++)
		if (!confirm_stage(d, plan, plan->stages[i]))
			return plan->stages[i];
	return NULL;
}

bool confirm_wait(struct deploy *d, const struct peers_from *from, const Caravan__Plan *plan) {
	size_t waiting = 0;
	if (!confirm_find_missing(d, plan))
		return false;
	for (const struct unconfirmed *a = LIST_FIRST(&d->unconfirmed); a; a = LIST_NEXT(a, next))
		waiting += node_id_equal(&a->from.node, &from->node);
	struct unconfirmed *a = waiting < DEPLOY_MODELS_EACH ? calloc(1, sizeof *a) : NULL;
	if (!a || !(a->plan = plan_copy(plan))) {
		free(a);
		peers_refuse(d->peers, from, "too many plans wait for their stages to confirm them");
		return true;
	}
	a->from = *from;
	a->since_ns = loop_now_ns();
	LIST_INSERT_HEAD(&d->unconfirmed, a, next);
	return true;
}

void confirm_forget(struct deploy *d, const struct node_id *coordinator, const char *model) {
	for (struct unconfirmed *a = LIST_FIRST(&d->unconfirmed), *next; a; a = next) {
		next = LIST_NEXT(a, next);
		if (!node_id_equal(&a->from.node, coordinator) ||
		        (model && strcmp(a->plan->model, model) != 0))
			continue;
		LIST_REMOVE(a, next);
		announce_acknowledge(d, &a->from); /* the new announcement replaces the old one */
		unconfirmed_free(a);
	}
}

/* Processes the announcements that are confirmed now. */
static void confirm_check_all(struct deploy *d) {
	struct unconfirmed *a = LIST_FIRST(&d->unconfirmed);
	while (a) {
		if (confirm_find_missing(d, a->plan)) {
			a = LIST_NEXT(a, next);
			continue;
		}
		LIST_REMOVE(a, next);
		Caravan__PlanAnnounce msg = CARAVAN__PLAN_ANNOUNCE__INIT;
		msg.plan = a->plan;
		msg.phase = CARAVAN__MODEL_PHASE__SERVING;
		announce_receive(d, &a->from, &msg);
		unconfirmed_free(a);
		a = LIST_FIRST(&d->unconfirmed); /* processing may have changed the list */
	}
}

void confirm_tick(struct deploy *d) {
	confirm_check_all(d);
	for (struct unconfirmed *a = LIST_FIRST(&d->unconfirmed), *next; a; a = next) {
		struct node_id id;
		next = LIST_NEXT(a, next);
		if (loop_now_ns() - a->since_ns < DEPLOY_CONFIRM_MS * 1000000ull)
			continue;
		LIST_REMOVE(a, next);
		node_id_from_bytes(&id, confirm_find_missing(d, a->plan)->node);
		log_line(LOG_LINE_WARN, "model %s: %s says that it serves, and %s does not: not believed",
		        a->plan->model, deploy_node_name(d, &a->from.node), deploy_node_name(d, &id));
		peers_refuse(d->peers, &a->from, "%s does not say that it serves its stage of that plan",
		        deploy_node_name(d, &id));
		unconfirmed_free(a);
	}
}

/* The state of the sender is already updated: members handles pings first. */
static void confirm_on_ping(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct deploy *d = arg;
	(void)from;
	(void)payload;
	if (env->ping->state && !LIST_EMPTY(&d->unconfirmed))
		confirm_check_all(d);
}

void confirm_clear(struct deploy *d) {
	for (struct unconfirmed *a; (a = LIST_FIRST(&d->unconfirmed)); unconfirmed_free(a))
		LIST_REMOVE(a, next);
}

int confirm_init(struct deploy *d) {
	return peers_on(d->peers, CARAVAN__ENVELOPE__BODY_PING, confirm_on_ping, d);
}
