/* compare: compares the plans of our models that serve with what they could be, for those who look at the cluster: nothing is changed.
 *
 * Owns: the comparison under way, one at a time.  A search takes microseconds for a few nodes and long for many: the next one waits a
 * hundred times as long as the last one took, and 10 s at least.  What is found counts when it is found twice in a row, since a node
 * may be slow for a moment.
 * Not compared: models with a draft model, draft models, and plans that stream weights from disk.
 * Threads: the loop; the search on the executor. */
#include "daemon/deploy/deploy_internal.h"

#include <stdlib.h>
#include <string.h>

#define AGAIN_NS 10000000000u
#define TIMES_LONGER 100
#define ROWS_LEAST 16 /* before the time of a stage counts */

struct compare_job {
	struct model *m; /* a reference */
	struct planner_input in;
	struct planner_node *node;
	struct alternatives_stage stage[WIRE_STAGES_MAX];
	size_t stages;
	struct alternatives found;
	uint64_t took_ns;
	int rc;
};

static void compare_free(struct compare_job *j) {
	if (!j)
		return;
	model_unref(j->m);
	free(j->node);
	free(j);
}

static const Caravan__StageState *compare_find_state(
        const struct member *who, const char *model, const Caravan__Stage *s) {
	for (size_t i = 0; who->state && i < who->state->n_stages; i++) {
		const Caravan__StageState *st = who->state->stages[i];
		if (strcmp(st->model, model) == 0 && st->first == s->first && st->last == s->last)
			return st;
	}
	return NULL;
}

/* The seconds of a token there, as lately as known; 0: too few yet. */
static double compare_measured(const Caravan__StageState *st) {
	if (!st || st->single_rows < ROWS_LEAST)
		return 0;
	return st->lately_seconds > 0  ? st->lately_seconds
	       : st->usual_seconds > 0 ? st->usual_seconds
	                               : st->single_seconds / (double)st->single_rows;
}

/* Whether it and all nodes of the plan reach each other. */
static bool compare_is_linked(const struct model *m, const struct node_id *id) {
	struct node_id other;
	for (size_t i = 0; i <= m->plan->n_stages; i++) {
		other = m->coordinator;
		if (i < m->plan->n_stages && node_id_from_bytes(&other, m->plan->stages[i]->node))
			return false;
		if (!node_id_equal(&other, id) &&
		        (!deploy_reaches(m->d, id, &other) || !deploy_reaches(m->d, &other, id)))
			return false;
	}
	return true;
}

/* Adds a node with the memory that it would have without this model; with its stage, if it has one. */
static void compare_add_node(struct compare_job *j, const struct member *who) {
	const struct model *m = j->m;
	const Caravan__Plan *p = m->plan;
	struct planner_node *n = &j->node[j->in.nodes];
	bool has = false;
	deploy_describe_node(n, m->d, who, m->manifest->hp.dim);
	n->name = ""; /* only for messages, which nobody reads */
	for (size_t i = 0; i < p->n_stages; i++) {
		const Caravan__Stage *s = p->stages[i];
		if (memcmp(s->node.data, who->id.b, sizeof who->id.b) != 0)
			continue;
		has = true;
		j->stage[i] = (struct alternatives_stage){j->in.nodes, s->first, s->last,
		        compare_measured(compare_find_state(who, p->model, s))};
		j->stages++;
		n->memory += planner_slice_bytes(
		        m->manifest, s->first, s->last, planner_plan_kv(p), p->max_rows, j->in.team);
	}
	if (who->self) {
		j->in.coordinator = j->in.nodes;
		n->memory += planner_io_bytes(m->manifest, p->parallel, p->max_rows);
	}
	n->excluded = !has && (p->n_chosen > 0 || !deploy_can_compute(who, j->in.kv) ||
	                              !compare_is_linked(m, &who->id));
	j->in.nodes++;
}

/* NULL: not now, or there is nothing to compare. */
static struct compare_job *compare_begin(struct model *m) {
	const Caravan__Plan *p = m->plan;
	const struct member *who;
	size_t count = 0;
	for (size_t i = 0; i < p->n_stages; i++)
		if (p->stages[i]->streamed)
			return NULL;
	if (*p->draft || !m->manifest || deploy_is_draft(m))
		return NULL;
	while (members_at(m->d->c.members, count))
		count++;
	struct compare_job *j = calloc(1, sizeof *j);
	if (!j)
		return NULL;
	j->m = model_ref(m);
	j->node = calloc(count, sizeof *j->node);
	j->in = (struct planner_input){.manifest = m->manifest,
	        .context = p->context,
	        .parallel = p->parallel,
	        .max_rows = p->max_rows,
	        .kv = (enum kern_kv)p->kv,
	        .node = j->node,
	        .team = m->d->c.team};
	for (size_t i = 0; j->node && (who = members_at(m->d->c.members, i)); i++)
		if (!who->expelled && (who->self || who->up))
			compare_add_node(j, who);
	if (j->node && j->stages == p->n_stages && j->in.nodes > 1)
		return j;
	compare_free(j);
	return NULL;
}

/* Executor. */
static void compare_run(void *arg) {
	struct compare_job *j = arg;
	uint64_t from = loop_now_ns();
	j->rc = alternatives_find(&j->found, &j->in, j->stage, j->stages);
	j->took_ns = loop_now_ns() - from;
}

/* What was found last time too is said. */
static void compare_note(struct compare_found *f, const struct compare_job *j, const struct alternative *a) {
	bool again = a->found && f->last.then > 0 && node_id_equal(&f->last.node, &j->in.node[a->node].id);
	f->last = (struct compare_node){0};
	if (a->found)
		f->last = (struct compare_node){j->in.node[a->node].id, j->found.now, a->then};
	f->said = again ? f->last : (struct compare_node){0};
}

static void compare_done(void *arg, bool cancelled) {
	struct compare_job *j = arg;
	struct deploy *d = j->m->d;
	if (!cancelled && j->rc == 0) {
		compare_note(&j->m->without, j, &j->found.without);
		compare_note(&j->m->with, j, &j->found.with);
	}
	d->comparing = false;
	j->m->compare_ns = loop_now_ns() + AGAIN_NS;
	d->compare_ns = loop_now_ns() + TIMES_LONGER * j->took_ns;
	compare_free(j);
}

void compare_tick(struct model *m, uint64_t now) {
	struct deploy *d = m->d;
	if (d->comparing || now < d->compare_ns || now < m->compare_ns)
		return;
	m->compare_ns = now + AGAIN_NS;
	struct compare_job *j = compare_begin(m);
	if (!j) {
		m->without = m->with = (struct compare_found){0};
		return;
	}
	d->comparing = executor_submit(d->c.executor, compare_run, compare_done, j) == 0;
	if (!d->comparing)
		compare_free(j);
}

static Caravan__Alternative *compare_fill(Caravan__Alternative *out, struct compare_node *n) {
	if (!(n->then > 0))
		return NULL;
	caravan__alternative__init(out);
	out->node = wire_node(&n->node);
	out->now = n->now;
	out->then = n->then;
	return out;
}

void deploy_alternatives(const struct deploy *d, const char *model, Caravan__ModelState *out) {
	struct model *m = d ? deploy_model_named(d, model) : NULL;
	if (!m)
		return;
	out->without = compare_fill(&m->without.message, &m->without.said);
	out->with = compare_fill(&m->with.message, &m->with.said);
}
