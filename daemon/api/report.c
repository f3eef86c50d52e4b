/* report: see report.h.  Each node and each model is a separate message, so that a cluster is never too large
 * for an envelope. */
#include "daemon/api/report.h"
#include "daemon/calibration/slowness.h"
#include "shard/store/store.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define COPIES_S 300 /* missing copies are a problem only after this time */

/* A report that is being collected. */
struct report_out {
	struct serve *serve;
	struct members *members;
	bool healthy;
	report_emit_fn *emit;
	void *arg;
};

static void report_emit(const struct report_out *o, Caravan__CtlReport *r) {
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_REPORT, ctl_report, r);
	r->healthy = o->healthy;
	o->emit(o->arg, &env);
}

static void report_send_node(const struct report_out *o, const struct member *m) {
	Caravan__CtlReport r = CARAVAN__CTL_REPORT__INIT;
	Caravan__ReportNode node = CARAVAN__REPORT_NODE__INIT, *list = &node;
	char reason[WIRE_TEXT_MAX], *further[WIRE_ENDPOINTS_MAX];
	uint64_t now = loop_now_ns();
	node.name = wire_string(m->name);
	node.node = wire_node(&m->id);
	node.state = m->expelled ? "expelled" : m->up ? "up" : "down";
	node.endpoint = wire_string(member_endpoint(m));
	node.self = m->self;
	node.round_trip = m->round_trip;
	node.rate = m->rate;
	node.last_heard =
	        m->heard_ns && !m->self && now > m->heard_ns ? (double)(now - m->heard_ns) * 1e-9 : 0;
	node.node_state = (Caravan__NodeState *)m->state;
	node.reason = wire_string(members_reason(o->members, m, reason, sizeof reason));
	node.since = members_since(o->members, m);
	node.ahead = m->up ? m->ahead : 0;
	for (size_t i = 1; i < m->nendpoints; i++)
		further[node.n_further++] = wire_string(m->endpoints[i]);
	node.further = further;
	const char *store = store_dir(deploy_store(serve_deploy(o->serve)));
	if (m->self && wire_line_ok(store, 4096)) /* a path may have any bytes */
		r.store = wire_string(store);
	r.n_nodes = 1;
	r.nodes = &list;
	report_emit(o, &r);
}

/* What the coordinator last reported of a model. */
static const Caravan__ModelState *report_model_state(struct members *ms, const Caravan__Plan *plan) {
	struct node_id id;
	if (node_id_from_bytes(&id, plan->coordinator) != 0)
		return NULL;
	const struct member *m = members_find(ms, &id);
	if (!m || !m->state)
		return NULL;
	for (size_t i = 0; i < m->state->n_models; i++)
		if (strcmp(m->state->models[i]->name, plan->model) == 0)
			return m->state->models[i];
	return NULL;
}

/* What the node of a stage last reported of it; NULL: nothing. */
static const Caravan__StageState *report_stage_state(
        struct members *ms, const Caravan__Plan *plan, size_t stage, const struct member **who) {
	const Caravan__Stage *st = plan->stages[stage];
	struct node_id id;
	const struct member *m = node_id_from_bytes(&id, st->node) == 0 ? members_find(ms, &id) : NULL;
	*who = m;
	for (size_t k = 0; m && m->state && k < m->state->n_stages; k++) {
		const Caravan__StageState *s = m->state->stages[k];
		if (strcmp(s->model, plan->model) == 0 && s->first == st->first && s->last == st->last)
			return s;
	}
	return NULL;
}

/* Weights that are damaged on the disk of a node, so that a model that serves cannot answer; false: none are known. */
static bool report_find_damage(
        struct members *ms, const struct deploy_model *dm, const struct member **where, const char **what) {
	const Caravan__ModelState *s = report_model_state(ms, dm->plan);
	struct node_id id;
	if (dm->phase != CARAVAN__MODEL_PHASE__SERVING)
		return false;
	for (size_t i = 0; i < dm->plan->n_stages; i++) {
		const Caravan__StageState *st = report_stage_state(ms, dm->plan, i, where);
		*what = st ? st->damaged : "";
		if (**what)
			return true;
	}
	*what = s ? s->damaged : "";
	return **what && node_id_from_bytes(&id, dm->plan->coordinator) == 0 &&
	       (*where = members_find(ms, &id));
}

static void report_send_model(const struct report_out *o, const struct deploy_model *dm) {
	Caravan__CtlReport r = CARAVAN__CTL_REPORT__INIT;
	Caravan__ReportModel model = CARAVAN__REPORT_MODEL__INIT, *list = &model;
	model.plan = (Caravan__Plan *)dm->plan;
	model.phase = dm->phase;
	model.reason = wire_string(dm->reason);
	model.state = (Caravan__ModelState *)report_model_state(o->members, dm->plan);
	r.n_models = 1;
	r.models = &list;
	report_emit(o, &r);
}

/* kind: for programs, lower case and '-'; subject: the name of a node or model; advice: a sentence that says what to do, or "";
 * fmt...: a sentence that says what is wrong. */
__attribute__((format(printf, 5, 6))) static void report_problem(const struct report_out *o, const char *kind,
        const char *subject, const char *advice, const char *fmt, ...) {
	char what[WIRE_TEXT_MAX];
	Caravan__CtlReport r = CARAVAN__CTL_REPORT__INIT;
	Caravan__Problem problem = CARAVAN__PROBLEM__INIT, *list = &problem;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	wire_line_cut(what, sizeof what - 1);
	problem.kind = wire_string(kind);
	problem.subject = wire_string(subject);
	problem.what = what;
	problem.advice = wire_string(advice);
	r.n_problems = 1;
	r.problems = &list;
	report_emit(o, &r);
}

/* Reports a node that is down, or that is up with a problem. */
static void report_fill_node(const struct report_out *o, const struct member *m) {
	char reason[WIRE_TEXT_MAX], since[32] = "", advice[WIRE_NAME_MAX + 128];
	time_t from = time(NULL) - (time_t)members_since(o->members, m);
	struct tm tm;
	bool today = members_since(o->members, m) < 86400;
	members_reason(o->members, m, reason, sizeof reason);
	wire_line_cut(reason, 900); /* leave space for the sentence around it */
	if (m->self && *reason)
		report_problem(o, "this-node", m->name,
		        m->expelled ? "After that it can join again, by a new invitation." : "", "%s.",
		        reason);
	if (m->self || m->expelled || (m->up && !*reason))
		return;
	bool advised = strstr(reason, ": open the port") || strstr(reason, ": run caravan leave");
	if (localtime_r(&from, &tm))
		strftime(since, sizeof since, today ? " since %H:%M" : " since %Y-%m-%d %H:%M", &tm);
	snprintf(advice, sizeof advice, "%s; if it is gone for good: caravan expel %s",
	        strstr(reason, "very busy")
	                ? "Look at what its machine is busy with, or start caravand there again"
	                : "Start caravand there, or check its network",
	        m->name);
	report_problem(o, m->up ? "node-unreachable" : "node-down", m->name, m->up || advised ? "" : advice,
	        "%s %s %s%s%s%s.", m->name, *since ? "has been" : "is", m->up ? "up" : "down", since,
	        *reason ? ": " : "", reason);
}

/* Reports a model that is not ready, or that the loss of one node would make unavailable although there was
 * time to copy it. */
static void report_fill_model(const struct report_out *o, const struct deploy_model *dm) {
	char advice[WIRE_NAME_MAX + 128] = "";
	const char *name = dm->plan->model;
	struct health_problem p;
	const struct member *where;
	const char *what;
	const Caravan__ModelState *s = report_model_state(o->members, dm->plan);
	if (dm->phase == CARAVAN__MODEL_PHASE__UNAVAILABLE || dm->phase == CARAVAN__MODEL_PHASE__FAILED) {
		bool tried = strstr(dm->reason, "; on the other nodes: ");
		snprintf(advice, sizeof advice,
		        tried ? "It is retried automatically, and at once when a node comes back."
		              : "It comes back automatically, on the nodes that are up if their disks have all of it.");
		report_problem(o, "model-unavailable", name, advice, "%s is not available%s%s.", name,
		        *dm->reason ? ": " : "", dm->reason);
	} else if (report_find_damage(o->members, dm, &where, &what)) {
		report_problem(o, "damaged-weights", name,
		        "They are fetched again from another node. If none has them, unload the model and load its file again.",
		        "%s cannot answer: weights are damaged on the disk of %s (%s).", name, where->name,
		        what);
	} else if (dm->phase == CARAVAN__MODEL_PHASE__SERVING && s && health_single_copy(&p, s)) {
		report_problem(o, p.kind, name, p.advice, "%s", p.what);
	}
}

#define NAMES_MAX 200 /* bytes of a list of names in a sentence */

/* Adds to a list, which is cut when it becomes too long. */
__attribute__((format(printf, 3, 4))) static void report_list(
        char list[NAMES_MAX], const char *comma, const char *fmt, ...) {
	va_list ap;
	snprintf(list + strlen(list), NAMES_MAX - strlen(list), "%s", *list ? comma : "");
	va_start(ap, fmt);
	vsnprintf(list + strlen(list), NAMES_MAX - strlen(list), fmt, ap);
	va_end(ap);
}

/* Reports a model that goes on with fewer nodes than it was loaded over. */
static void report_fill_fewer(const struct report_out *o, const struct deploy_model *dm) {
	const Caravan__Plan *p = dm->plan;
	char down[NAMES_MAX] = "", all[NAMES_MAX] = "";
	struct health_problem problem;
	struct node_id id;
	size_t was = 0;
	for (size_t i = 0; dm->phase == CARAVAN__MODEL_PHASE__SERVING && i < p->n_placed; i++) {
		const struct member *m =
		        node_id_from_bytes(&id, p->placed[i]) == 0 ? members_find(o->members, &id) : NULL;
		size_t k = 0;
		if (!m || m->expelled) /* it is not missed any more */
			continue;
		while (k < p->n_stages && memcmp(p->stages[k]->node.data, id.b, sizeof id.b) != 0)
			k++;
		was++;
		report_list(all, ",", "%s", m->name);
		if (k == p->n_stages && !m->up)
			report_list(down, ", ", "%s is down", m->name);
	}
	if (strlen(all) == NAMES_MAX - 1)
		*all = '\0';
	if (health_fewer_nodes(&problem, p->model, was, p->n_stages, down, all))
		report_problem(o, problem.kind, p->model, problem.advice, "%s", problem.what);
}

static const struct member *report_member(const struct report_out *o, ProtobufCBinaryData node) {
	struct node_id id;
	const struct member *m = node_id_from_bytes(&id, node) == 0 ? members_find(o->members, &id) : NULL;
	return m && !m->expelled ? m : NULL;
}

/* Reports a node without which, or with which, a model would be quicker, as its coordinator finds. */
static void report_fill_alternatives(const struct report_out *o, const struct deploy_model *dm) {
	const Caravan__ModelState *s = report_model_state(o->members, dm->plan);
	const Caravan__Plan *p = dm->plan;
	char nodes[NAMES_MAX] = "";
	struct health_problem problem;
	const struct member *m;
	if (dm->phase != CARAVAN__MODEL_PHASE__SERVING || !s)
		return;
	if (s->without && (m = report_member(o, s->without->node))) {
		for (size_t i = 0; i < p->n_stages; i++) {
			const struct member *other = report_member(o, p->stages[i]->node);
			if (other && other != m)
				report_list(nodes, ",", "%s", other->name);
		}
		if (strlen(nodes) == NAMES_MAX - 1)
			*nodes = '\0';
		if (health_node_drags(&problem, p->model, s->without, m->name, nodes))
			report_problem(o, problem.kind, m->name, problem.advice, "%s", problem.what);
	}
	if (s->with && (m = report_member(o, s->with->node)) &&
	        health_node_unused(&problem, p->model, s->with, m->name))
		report_problem(o, problem.kind, m->name, problem.advice, "%s", problem.what);
}

/* Reports a disk without space for more weights. */
static void report_fill_disk(const struct report_out *o, const struct member *m) {
	const Caravan__NodeState *s = m->state;
	if (m->expelled || !s || !(m->up || m->self) || !s->disk_size || s->disk_free >= DEPLOY_DISK_LOW)
		return;
	report_problem(o, "disk-full", m->name,
	        "Delete a model that is not needed with caravan rm, or other files there.",
	        s->cache ? "%s has no room for more weights within its --cache."
	                 : "%s has no disk space left for more weights.",
	        m->name);
}

static void report_send_problem(
        const struct report_out *o, const struct health_problem *s, const char *subject) {
	report_problem(o, s->kind, subject, s->advice, "%s", s->what);
}

static bool report_is_here(const struct member *m) {
	return !m->expelled && m->state && (m->up || m->self);
}

static bool report_has_machine(const struct member *m) {
	return report_is_here(m) && m->state->machine;
}

/* Reports machines that are hot, short of memory or the like. */
static void report_send_machines(const struct report_out *o) {
	static bool (*const checks[])(struct health_problem *, const Caravan__Machine *, const char *) = {
	        health_heat, health_power, health_memory, health_swap};
	const struct member *m;
	struct health_problem p;
	for (size_t i = 0; (m = members_at(o->members, i)); i++)
		for (size_t k = 0; report_has_machine(m) && k < sizeof checks / sizeof *checks; k++)
			if (checks[k](&p, m->state->machine, m->name))
				report_send_problem(o, &p, m->name);
}

/* Reports nodes with an older version than the newest of all. */
static void report_send_versions(const struct report_out *o) {
	const struct member *m, *newest = NULL;
	struct health_problem p;
	for (size_t i = 0; (m = members_at(o->members, i)); i++)
		if (report_is_here(m) &&
		        (!newest || health_version(&p, newest->state, newest->name, m->state, m->name)))
			newest = m;
	for (size_t i = 0; newest && (m = members_at(o->members, i)); i++)
		if (report_is_here(m) && health_version(&p, m->state, m->name, newest->state, newest->name))
			report_send_problem(o, &p, m->name);
}

static int report_compare(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

/* Reports clocks that differ from those of most nodes. */
static void report_send_clocks(const struct report_out *o) {
	double ahead[WIRE_NODES_MAX];
	const struct member *m;
	struct health_problem p;
	size_t n = 0;
	for (size_t i = 0; (m = members_at(o->members, i)) && n < WIRE_NODES_MAX; i++)
		if (report_has_machine(m) && m->state->machine->time > 0)
			ahead[n++] = m->self ? 0 : m->ahead;
	qsort(ahead, n, sizeof *ahead, report_compare);
	for (size_t i = 0; (m = members_at(o->members, i)); i++)
		if (report_has_machine(m) && m->state->machine->time > 0 &&
		        health_clock(&p, ahead, n, m->self ? 0 : m->ahead, m->name))
			report_send_problem(o, &p, m->name);
}

/* The share of what a node sends to another one that gets lost, as it reports. */
static double report_lost(const struct member *from, const struct member *to) {
	struct node_id id;
	for (size_t k = 0; from->state && k < from->state->n_peers; k++)
		if (node_id_from_bytes(&id, from->state->peers[k]->node) == 0 && node_id_equal(&id, &to->id))
			return from->state->peers[k]->lost;
	return 0;
}

/* Reports a link that loses much, once: the direction that is worse. */
static void report_send_loss(const struct report_out *o, const struct member *from, const struct member *to,
        const Caravan__PeerState *p) {
	struct health_problem s;
	double back = report_lost(to, from);
	bool worse = p->lost > back || (p->lost == back && strcmp(from->name, to->name) < 0);
	if (worse && slowness_loss(&s, p, from->name, to->name))
		report_send_problem(o, &s, from->name);
}

/* Reports what is slow according to the nodes' states: their rates, their stages, their links. */
static void report_send_slow_nodes(const struct report_out *o) {
	const struct member *m, *peer;
	struct health_problem s;
	struct node_id id;
	for (size_t i = 0; (m = members_at(o->members, i)); i++) {
		if (m->expelled || !m->state || !(m->up || m->self))
			continue;
		if (slowness_calibration(&s, m->state, m->name))
			report_send_problem(o, &s, m->name);
		for (size_t k = 0; k < m->state->n_peers; k++) {
			const Caravan__PeerState *p = m->state->peers[k];
			peer = node_id_from_bytes(&id, p->node) == 0 ? members_find(o->members, &id) : NULL;
			if (!peer || !peer->up || peer->expelled)
				continue;
			if (slowness_link(&s, p, peer->name, m->name))
				report_send_problem(o, &s, peer->name);
			report_send_loss(o, m, peer, p);
		}
	}
}

static void report_send_slow_stages(const struct report_out *o, const struct deploy_model *dm) {
	struct health_problem s;
	const struct member *m;
	for (size_t i = 0; dm->phase == CARAVAN__MODEL_PHASE__SERVING && i < dm->plan->n_stages; i++) {
		const Caravan__StageState *reported = report_stage_state(o->members, dm->plan, i, &m);
		if (reported && slowness_stage(&s, dm->plan, i, reported, m->state, m->name))
			report_send_problem(o, &s, m->name);
	}
}

void report_collect(struct serve *s, report_emit_fn *emit, void *arg) {
	struct report_out out = {s, serve_members(s), true, emit, arg};
	const struct report_out *o = &out;
	struct deploy *d = serve_deploy(s);
	const struct member *m;
	const struct deploy_model *dm;
	const char *what;
	members_refresh(o->members);
	for (size_t i = 0; (m = members_at(o->members, i)); i++)
		out.healthy = out.healthy && (m->up || m->expelled);
	for (size_t i = 0; (dm = deploy_at(d, i)); i++)
		out.healthy = out.healthy &&
		              (dm->phase == CARAVAN__MODEL_PHASE__SERVING ||
		                      dm->phase == CARAVAN__MODEL_PHASE__LOADING) &&
		              !report_find_damage(o->members, dm, &m, &what);
	bool expelled = members_self(o->members)->expelled;
	out.healthy = out.healthy && !expelled;
	for (size_t i = 0; (m = members_at(o->members, i)); i++)
		report_send_node(o, m);
	for (size_t i = 0; (dm = deploy_at(d, i)); i++)
		report_send_model(o, dm);
	if (expelled) { /* of the others it knows nothing any more */
		report_fill_node(o, members_self(o->members));
		return;
	}
	for (size_t i = 0; (m = members_at(o->members, i)); i++)
		report_fill_node(o, m);
	for (size_t i = 0; (m = members_at(o->members, i)); i++)
		report_fill_disk(o, m);
	for (size_t i = 0; (dm = deploy_at(d, i)); i++)
		report_fill_model(o, dm);
	for (size_t i = 0; (dm = deploy_at(d, i)); i++)
		report_fill_fewer(o, dm);
	for (size_t i = 0; (dm = deploy_at(d, i)); i++)
		report_fill_alternatives(o, dm);
	report_send_machines(o);
	report_send_versions(o);
	report_send_clocks(o);
	report_send_slow_nodes(o);
	for (size_t i = 0; (dm = deploy_at(d, i)); i++)
		report_send_slow_stages(o, dm);
}
