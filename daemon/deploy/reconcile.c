/* reconcile: compares what nodes believe of plans, so that they converge whatever was lost on the way.
 *
 * Every second, and when a node comes up, a coordinator sends it the list of all plans that it coordinates
 * (PlanCheck).  The node removes plans of this coordinator that are not in the list, and answers with what it
 * believes of the others (PlanChecked).  Where that differs, the coordinator announces its plan again.  Where a
 * node no longer serves its stage, the model becomes unavailable and comes back under a new epoch.
 * Owns: what other coordinators report of their loads, for users that ask for a model that is not ready yet.
 * Invariants: only a plan's own coordinator removes it, with a list that does not have it.  A node that is out of
 * reach removes nothing.  Nodes with an older protocol are not asked, and nothing follows from that.
 * Threads: the loop. */
#include "daemon/core/log.h"
#include "daemon/deploy/load.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK_NS 1000000000u
#define AGAIN_NS 5000000000u    /* between announcements of a plan that a node does not accept */
#define BELIEVED_NS 5000000000u /* how long reported progress of a load counts */
#define LOADS_MAX DEPLOY_MODELS_MAX

/* A load that another node coordinates. */
struct remote_load {
	struct node_id coordinator;
	char name[WIRE_NAME_MAX + 1], at[33];
	uint32_t permille;
	uint64_t heard_ns;
};

struct reconcile {
	uint64_t checked_ns;
	struct remote_load load[LOADS_MAX];
	size_t loads;
};

/* ---- what we believe -------------------------------------------------------------------------------------- */

struct list {
	Caravan__PlanBelief belief[WIRE_BELIEFS_MAX], *at[WIRE_BELIEFS_MAX];
	size_t n;
};

static Caravan__PlanBelief *reconcile_list_add(struct list *list, const char *model) {
	if (list->n == WIRE_BELIEFS_MAX)
		return NULL;
	Caravan__PlanBelief *b = list->at[list->n] = &list->belief[list->n];
	list->n++;
	caravan__plan_belief__init(b);
	b->model = wire_string(model);
	return b;
}

static const struct load *reconcile_find_load(const struct deploy *d, const char *name) {
	for (const struct load *l = TAILQ_FIRST(&d->loads); l; l = TAILQ_NEXT(l, next))
		if (!l->advises && l->state != LOAD_ENDED && strcmp(l->name, name) == 0)
			return l;
	return NULL;
}

/* Our beliefs about this coordinator's plans. */
static void reconcile_list_plans(
        const struct deploy *d, const struct node_id *coordinator, struct list *list) {
	for (size_t i = 0; i < d->models; i++) {
		const struct model *m = d->model[i];
		if (!node_id_equal(&m->coordinator, coordinator))
			continue;
		Caravan__PlanBelief *b = reconcile_list_add(list, m->plan->model);
		if (!b)
			return;
		b->counter = m->plan->epoch->counter;
		b->phase = m->pub.phase;
		b->stage = participant_serves(m);
	}
}

/* Our loads, with and without a plan, and their progress. */
static void reconcile_list_loads(const struct deploy *d, struct list *list) {
	for (const struct load *l = TAILQ_FIRST(&d->loads); l; l = TAILQ_NEXT(l, next)) {
		Caravan__PlanBelief *b = NULL;
		if (l->advises || l->state == LOAD_ENDED)
			continue;
		for (size_t i = 0; i < list->n && !b; i++)
			if (strcmp(list->belief[i].model, l->name) == 0)
				b = &list->belief[i];
		if (!b && !(b = reconcile_list_add(list, l->name)))
			return;
		if (b->counter == 0)
			b->phase = CARAVAN__MODEL_PHASE__LOADING;
		b->at = wire_string(l->at);
		b->permille = l->permille;
	}
}

/* ---- the coordinator asks --------------------------------------------------------------------------------- */

static void reconcile_send_check(struct deploy *d, const struct member *who, struct list *list) {
	Caravan__PlanCheck msg = CARAVAN__PLAN_CHECK__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PLAN_CHECK, plan_check, &msg);
	if (who->self || who->expelled || !who->up || !deploy_speaks(d, &who->id, WIRE_1_2))
		return;
	msg.plans = list->at;
	msg.n_plans = list->n;
	env.ref = peers_ref(d->peers);
	(void)peers_send(d->peers, &who->id, PEERS_CONTROL, &env, NULL); /* the next check may succeed */
}

static void reconcile_list_own(const struct deploy *d, struct list *list) {
	list->n = 0;
	reconcile_list_plans(d, &d->self, list);
	reconcile_list_loads(d, list);
}

void reconcile_tick(struct deploy *d) {
	struct list list;
	const struct member *who;
	uint64_t now = loop_now_ns();
	if (now - d->reconcile->checked_ns < CHECK_NS)
		return;
	d->reconcile->checked_ns = now;
	reconcile_list_own(d, &list);
	for (size_t i = 0; (who = members_at(d->c.members, i)); i++)
		reconcile_send_check(d, who, &list);
}

void reconcile_node_up(struct deploy *d, const struct member *who) {
	struct list list;
	reconcile_list_own(d, &list);
	reconcile_send_check(d, who, &list);
}

static const Caravan__PlanBelief *reconcile_find_belief(
        Caravan__PlanBelief *const *plans, size_t n, const char *model) {
	for (size_t i = 0; i < n; i++)
		if (strcmp(plans[i]->model, model) == 0)
			return plans[i];
	return NULL;
}

static size_t reconcile_find_doubter(const struct model *m, const struct node_id *node) {
	size_t i = 0;
	while (i < m->doubters && !node_id_equal(&m->doubter[i], node))
		i++;
	return i;
}

/* Records whether a node accepts our plan. */
static void reconcile_set_doubt(struct model *m, const struct node_id *node, bool does) {
	size_t i = reconcile_find_doubter(m, node);
	if (!does && i < m->doubters) {
		m->doubter[i] = m->doubter[--m->doubters];
	} else if (does && i == m->doubters) {
		struct node_id *grown = realloc(m->doubter, (m->doubters + 1) * sizeof *grown);
		if (!grown)
			return;
		m->doubter = grown;
		m->doubter[m->doubters++] = *node;
	}
}

void reconcile_count(const struct model *m, const struct node_id *but, size_t *believe, size_t *doubt) {
	const struct member *who;
	*believe = *doubt = 0;
	for (size_t i = 0; (who = members_at(m->d->c.members, i)); i++) {
		if (who->self || node_id_equal(&who->id, but) || !deploy_up(m->d, &who->id))
			continue;
		if (reconcile_find_doubter(m, &who->id) < m->doubters)
			++*doubt;
		else
			++*believe;
	}
}

/* Announces again what a node does not know, or believes wrongly. */
static void reconcile_on_reply(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct deploy *d = arg;
	const Caravan__PlanChecked *msg = env->plan_checked;
	uint64_t now = loop_now_ns();
	(void)payload;
	for (size_t i = d->models; i-- > 0;) {
		struct model *m = d->model[i];
		/* loads announce themselves, and a phase that just changed is about to be announced */
		if (!model_ours(m) || m->load || m->later || m->pub.phase == CARAVAN__MODEL_PHASE__LOADING)
			continue;
		const Caravan__PlanBelief *b =
		        reconcile_find_belief(msg->plans, msg->n_plans, m->plan->model);
		bool known = b && b->counter == m->plan->epoch->counter;
		reconcile_set_doubt(m, &from->node, !known);
		if (known && m->pub.phase == CARAVAN__MODEL_PHASE__SERVING && !b->stage &&
		        model_has_stage(m, &from->node)) {
			char why[WIRE_NAME_MAX + 64];
			snprintf(why, sizeof why, "%s lost steps or its layers",
			        deploy_node_name(d, &from->node));
			deploy_unavailable(d, &m->pub, why);
			continue;
		}
		if (known && b->phase == m->pub.phase)
			continue;
		if (now < m->announced_ns + AGAIN_NS)
			continue;
		m->announced_ns = now;
		log_line(LOG_LINE_INFO, "model %s: %s has an outdated view of it, announcing it again",
		        m->plan->model, deploy_node_name(d, &from->node));
		announce_send(m, NULL, NULL, NULL); /* out of memory: the next tick tries again */
	}
}

/* ---- the others answer -------------------------------------------------------------------------------------- */

static void reconcile_forget_loads(
        struct reconcile *c, const struct node_id *coordinator, uint64_t before_ns) {
	size_t n = 0;
	for (size_t i = 0; i < c->loads; i++)
		if (!node_id_equal(&c->load[i].coordinator, coordinator) && c->load[i].heard_ns >= before_ns)
			c->load[n++] = c->load[i];
	c->loads = n;
}

void reconcile_forget_load(struct deploy *d, const char *name) {
	struct reconcile *c = d->reconcile;
	for (size_t i = c->loads; i-- > 0;)
		if (strcmp(c->load[i].name, name) == 0)
			c->load[i] = c->load[--c->loads];
}

static void reconcile_remember_loads(
        struct reconcile *c, const struct node_id *coordinator, const Caravan__PlanCheck *msg) {
	uint64_t now = loop_now_ns();
	reconcile_forget_loads(c, coordinator, now > BELIEVED_NS ? now - BELIEVED_NS : 0);
	for (size_t i = 0; i < msg->n_plans && c->loads < LOADS_MAX; i++) {
		const Caravan__PlanBelief *b = msg->plans[i];
		if (!*b->at)
			continue;
		struct remote_load *l = &c->load[c->loads++];
		*l = (struct remote_load){
		        .coordinator = *coordinator, .permille = b->permille, .heard_ns = now};
		snprintf(l->name, sizeof l->name, "%s", b->model);
		snprintf(l->at, sizeof l->at, "%s", b->at);
	}
}

static void reconcile_on_check(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct deploy *d = arg;
	const Caravan__PlanCheck *msg = env->plan_check;
	Caravan__PlanChecked answer = CARAVAN__PLAN_CHECKED__INIT;
	Caravan__Envelope out = WIRE_ENVELOPE(PLAN_CHECKED, plan_checked, &answer);
	struct list list = {.n = 0};
	(void)payload;
	for (size_t i = d->models; i-- > 0;) {
		struct model *m = d->model[i];
		if (!node_id_equal(&m->coordinator, &from->node) ||
		        reconcile_find_belief(msg->plans, msg->n_plans, m->plan->model))
			continue;
		model_remove(m, CARAVAN__MODEL_PHASE__UNLOADED, "its coordinator no longer knows it");
		if (i > d->models)
			i = d->models; /* hooks may have removed models */
	}
	reconcile_remember_loads(d->reconcile, &from->node, msg);
	reconcile_list_plans(d, &from->node, &list);
	answer.plans = list.at;
	answer.n_plans = list.n;
	peers_answer(d->peers, from, &out, NULL);
}

/* ---- what is true of a model that does not serve ----------------------------------------------------------- */

static void reconcile_describe_progress(char *out, size_t len, const char *what, uint32_t permille) {
	if (permille)
		snprintf(out, len, "is loading (%s, %u%%)", what, permille / 10);
	else
		snprintf(out, len, "is loading (%s)", what);
}

bool reconcile_loading(const struct deploy *d, const char *name, char *out, size_t len) {
	const struct load *own = reconcile_find_load(d, name);
	if (own) {
		reconcile_describe_progress(out, len, own->at, own->permille);
		return true;
	}
	const struct reconcile *c = d->reconcile;
	for (size_t i = 0; i < c->loads; i++)
		if (strcmp(c->load[i].name, name) == 0 && loop_now_ns() - c->load[i].heard_ns < BELIEVED_NS) {
			reconcile_describe_progress(out, len, c->load[i].at, c->load[i].permille);
			return true;
		}
	return false;
}

const char *reconcile_load_at(const struct deploy *d, size_t i) {
	for (const struct load *l = TAILQ_FIRST(&d->loads); l; l = TAILQ_NEXT(l, next))
		if (!l->advises && l->state != LOAD_ENDED && i-- == 0)
			return l->name;
	const struct reconcile *c = d->reconcile;
	return i < c->loads ? c->load[i].name : NULL;
}

/* ---- life ----------------------------------------------------------------------------------------------------- */

int reconcile_init(struct deploy *d) {
	d->reconcile = calloc(1, sizeof *d->reconcile);
	if (!d->reconcile)
		return -ENOMEM;
	int rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_PLAN_CHECK, reconcile_on_check, d);
	if (rc == 0)
		rc = peers_on(d->peers, CARAVAN__ENVELOPE__BODY_PLAN_CHECKED, reconcile_on_reply, d);
	return rc;
}

void reconcile_free(struct deploy *d) {
	free(d->reconcile);
}
