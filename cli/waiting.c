/* waiting: see waiting.h. */
#include "cli/waiting.h"
#include "common/size.h"
#include <stdio.h>
#include <string.h>

static const Caravan__ReportModel *waiting_model(const struct report *r, const char *name) {
	if (!*name)
		return r->models == 1 ? r->model[0] : NULL;
	return report_model(r, name);
}

static bool waiting_is_silent(const Caravan__ReportNode *n) {
	return !n->self && strcmp(n->state, "up") == 0 && n->last_heard >= WAITING_SILENT_S;
}

struct size_text waiting_state(const Caravan__ReportNode *n) {
	struct size_text out;
	if (waiting_is_silent(n))
		snprintf(out.s, sizeof out.s, "silent %.14s", size_time(n->last_heard).s);
	else
		snprintf(out.s, sizeof out.s, "%s", n->state);
	return out;
}

static bool waiting_node(char *out, size_t size, const struct report *r, ProtobufCBinaryData id) {
	const Caravan__ReportNode *n = report_find_node(r, id);
	if (n && strcmp(n->state, "up") != 0)
		snprintf(out, size, "node %s is %s", n->name, n->state);
	else if (n && waiting_is_silent(n))
		snprintf(out, size, "node %s has been silent for %s", n->name, size_time(n->last_heard).s);
	else
		return false;
	return true;
}

bool waiting_trouble(char *out, size_t size, const struct report *r, const char *model) {
	const Caravan__ReportModel *m = waiting_model(r, model);
	if (!m)
		return false;
	if (waiting_node(out, size, r, m->plan->coordinator))
		return true;
	for (size_t i = 0; i < m->plan->n_stages; i++)
		if (waiting_node(out, size, r, m->plan->stages[i]->node))
			return true;
	if (m->phase == CARAVAN__MODEL_PHASE__SERVING)
		return false;
	snprintf(out, size, "model %s is %s%s%s", m->plan->model, report_phase(m->phase),
	        *m->reason ? ": " : "", m->reason);
	return true;
}

bool waiting_work(struct waiting_text *out, const Caravan__ReportNode *n, size_t i) {
	const Caravan__NodeState *s = n->node_state;
	if (!s || i >= s->n_work || (!n->self && strcmp(n->state, "up") != 0))
		return false;
	const Caravan__WorkState *w = s->work[i];
	int len = snprintf(out->s, sizeof out->s, "%s is %s %s", n->name, w->what, w->model);
	if (w->total && len > 0 && (size_t)len < sizeof out->s)
		snprintf(out->s + len, sizeof out->s - (size_t)len, ": %.0f%% of %s",
		        100 * (double)w->done / (double)w->total, size_text((double)w->total).s);
	return true;
}
