/* report: see report.h. */
#include "daemon/report/report.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int report_grow(void *list, size_t size, size_t n) {
	void *more = realloc(*(void **)list, (n + 1) * size);
	if (!more)
		return -ENOMEM;
	*(void **)list = more;
	return 0;
}

int report_add(struct report *r, Caravan__Envelope *env) {
	const Caravan__CtlReport *reported = env->ctl_report;
	if (report_grow(&r->env, sizeof(Caravan__Envelope *), r->envs + 1) != 0 ||
	        report_grow(&r->node, sizeof *r->node, r->nodes + reported->n_nodes) != 0 ||
	        report_grow(&r->model, sizeof *r->model, r->models + reported->n_models) != 0 ||
	        report_grow(&r->problem, sizeof *r->problem, r->problems + reported->n_problems) != 0) {
		wire_free(env);
		return -ENOMEM;
	}
	r->env[r->envs++] = env;
	for (size_t i = 0; i < reported->n_nodes; i++)
		r->node[r->nodes++] = reported->nodes[i];
	for (size_t i = 0; i < reported->n_models; i++)
		r->model[r->models++] = reported->models[i];
	for (size_t i = 0; i < reported->n_problems; i++)
		r->problem[r->problems++] = reported->problems[i];
	r->healthy = reported->healthy;
	return 0;
}

void report_clear(struct report *r) {
	for (size_t i = 0; i < r->envs; i++)
		wire_free(r->env[i]);
	free(r->env);
	free(r->node);
	free(r->model);
	free(r->problem);
	*r = (struct report){0};
}

const Caravan__ReportNode *report_find_node(const struct report *r, ProtobufCBinaryData id) {
	for (size_t i = 0; i < r->nodes; i++)
		if (report_same_node(r->node[i]->node, id))
			return r->node[i];
	return NULL;
}

const char *report_node_name(const struct report *r, ProtobufCBinaryData id) {
	static char hex[NODE_ID_HEX];
	struct node_id n;
	const Caravan__ReportNode *node = report_find_node(r, id);
	if (node)
		return node->name;
	if (node_id_from_bytes(&n, id) != 0)
		return "?";
	node_id_hex(&n, hex);
	hex[12] = '\0';
	return hex;
}

void report_verdict(const struct report *r, char out[REPORT_VERDICT]) {
	size_t up = 0, members = 0, serving = 0;
	char models[64] = "no models";
	for (size_t i = 0; i < r->nodes; i++) {
		up += strcmp(r->node[i]->state, "up") == 0;
		bool expelled = strcmp(r->node[i]->state, "expelled") == 0;
		members += !expelled;
		if (expelled && r->node[i]->self) {
			snprintf(out, REPORT_VERDICT, "This node is not in its cluster any more.");
			return;
		}
	}
	for (size_t i = 0; i < r->models; i++)
		serving += r->model[i]->phase == CARAVAN__MODEL_PHASE__SERVING;
	if (r->models)
		snprintf(models, sizeof models, "%zu of %zu model%s serving", serving, r->models,
		        r->models == 1 ? "" : "s");
	snprintf(out, REPORT_VERDICT, "The cluster is %s%s: %zu of %zu nodes up, %s.",
	        r->healthy ? "healthy" : "not healthy", r->healthy && r->problems ? ", but see below" : "",
	        up, members, models);
}

static bool report_is_busy(const Caravan__Problem *p) {
	return strcmp(p->kind, "measured-busy") == 0;
}

/* "attic, kitchen and study": the subjects of what was measured on a busy machine.  Returns their number. */
static size_t report_busy_names(const struct report *r, char *out, size_t size) {
	size_t n = 0, k = 0, len = 0;
	for (size_t i = 0; i < r->problems; i++)
		n += report_is_busy(r->problem[i]);
	for (size_t i = 0; i < r->problems && len < size; i++)
		if (report_is_busy(r->problem[i])) {
			len += (size_t)snprintf(out + len, size - len, "%s%s",
			        k == 0       ? ""
			        : k + 1 == n ? " and "
			                     : ", ",
			        r->problem[i]->subject);
			k++;
		}
	return n;
}

bool report_tell(const struct report *r, size_t i, struct report_told *out) {
	const Caravan__Problem *p = r->problem[i];
	char names[REPORT_TOLD / 2] = "";
	for (size_t k = 0; k < i && report_is_busy(p); k++)
		if (report_is_busy(r->problem[k]))
			return false;
	if (report_is_busy(p) && report_busy_names(r, names, sizeof names) > 1) {
		snprintf(out->what, sizeof out->what,
		        "%s were measured while other programs used their processors: plans use estimates.",
		        names);
		snprintf(out->advice, sizeof out->advice,
		        "They are measured again automatically; 'caravan measure NODE' does it at once when its machine is idle.");
		return true;
	}
	snprintf(out->what, sizeof out->what, "%s", p->what);
	snprintf(out->advice, sizeof out->advice, "%s", p->advice);
	return true;
}

const Caravan__ReportModel *report_model(const struct report *r, const char *name) {
	for (size_t i = 0; i < r->models; i++)
		if (strcmp(r->model[i]->plan->model, name) == 0)
			return r->model[i];
	return NULL;
}

double report_step_seconds(const Caravan__ReportModel *m) {
	const Caravan__ModelState *s = m->state;
	double all = 0;
	if (!s || s->n_times != m->plan->n_stages + 1)
		return 0;
	for (size_t i = 0; i < s->n_times; i++)
		all += s->times[i]->waited + s->times[i]->computed + s->times[i]->held + s->times[i]->wire;
	return all;
}

const char *report_phase(Caravan__ModelPhase p) {
	static const char *const names[] = {"loading", "serving", "unavailable", "failed", "unloaded"};
	return (unsigned)p < sizeof names / sizeof *names ? names[p] : "?";
}

const char *report_stream_phase(Caravan__StreamPhase p) {
	static const char *const names[] = {"queued", "prompt", "generating"};
	return (unsigned)p < sizeof names / sizeof *names ? names[p] : "?";
}

const Caravan__StageState *report_stage(const struct report *r, const Caravan__ReportModel *m, size_t stage) {
	const Caravan__Stage *s = m->plan->stages[stage];
	const Caravan__ReportNode *n = report_find_node(r, s->node);
	for (size_t i = 0; n && n->node_state && i < n->node_state->n_stages; i++) {
		const Caravan__StageState *st = n->node_state->stages[i];
		if (strcmp(st->model, m->plan->model) == 0 && st->first == s->first && st->last == s->last)
			return st;
	}
	return NULL;
}

double report_expert_half(const struct report *r, const Caravan__ReportModel *m) {
	double sum = 0, layers = 0;
	for (size_t i = 0; i < m->plan->n_stages; i++) {
		const Caravan__StageState *st = report_stage(r, m, i);
		for (size_t k = 0; st && k < st->n_expert_layers; k++) {
			const Caravan__ExpertLayer *l = st->expert_layers[k];
			if (l->chosen < (uint64_t)REPORT_EXPERT_USES * st->experts)
				return 0;
			sum += (double)l->half / st->experts;
			layers++;
		}
	}
	return layers > 0 ? sum / layers : 0;
}

double report_experts_in_memory(const Caravan__StageState *st) {
	double sum = 0;
	for (size_t i = 0; i < st->n_expert_layers; i++)
		sum += st->expert_layers[i]->in_memory;
	return st->n_expert_layers ? sum / ((double)st->n_expert_layers * st->experts) : 0;
}
