/* top_view: see top_view.h. */
#include "cli/speed.h"
#include "cli/top_internal.h"
#include "cli/waiting.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAR 10
#define SPARK_MOST 60
#define PROBLEMS_SHOWN 3
#define LABEL 13 /* columns before the value of a fact */

/* ---- lines ---- */

void top_add(struct top_lines *l, enum top_style style, const char *text, size_t len) {
	struct top_line *more = realloc(l->line, (l->n + 1) * sizeof *more);
	char *copy = strndup(text, len);
	if (more)
		l->line = more;
	if (more && copy)
		l->line[l->n++] = (struct top_line){.text = copy, .style = style};
	else
		free(copy); /* a line is missing, for a second */
}

/* Adds a text of several lines; the first one may have another style. */
static void top_add_text(struct top_lines *l, const char *text, enum top_style first, enum top_style others) {
	for (enum top_style style = first; *text; style = others) {
		size_t len = strcspn(text, "\n");
		top_add(l, style, text, len);
		text += len + (text[len] == '\n');
	}
}

void top_say(
        struct top_lines *l, unsigned width, enum top_style style, unsigned indent, const char *fmt, ...) {
	char text[2048], *wrapped = NULL;
	size_t len;
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	FILE *f = open_memstream(&wrapped, &len);
	if (!f)
		return;
	table_text(f, width, indent, indent + 2, text);
	if (fclose(f) == 0)
		top_add_text(l, wrapped, style, style);
	free(wrapped);
}

/* Wrapped where it does not fit. */
void top_fact(struct top_lines *l, const struct top *t, const char *label, const char *fmt, ...) {
	char value[1024], line[1100];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(value, sizeof value, fmt, ap);
	va_end(ap);
	if (strlen(value) + LABEL < t->width) {
		snprintf(line, sizeof line, " %-*s%s", LABEL - 1, label, value);
		top_add(l, TOP_TEXT, line, strlen(line));
		return;
	}
	top_say(l, t->width, TOP_TEXT, 1, "%s: %s", label, value);
}

void top_add_table(struct top_lines *l, struct table *t, unsigned width, int selected) {
	char *text = NULL;
	size_t len, first = l->n;
	FILE *f = open_memstream(&text, &len);
	if (!f)
		return;
	table_print(t, f, width);
	if (fclose(f) == 0)
		top_add_text(l, text, TOP_HEAD, TOP_TEXT);
	free(text);
	size_t row = first + 1 + (size_t)selected;
	if (selected >= 0 && row < l->n) {
		l->line[row].style = TOP_SELECTED;
		l->selected = row;
	}
}

void top_lines_free(struct top_lines *l) {
	for (size_t i = 0; i < l->n; i++)
		free(l->line[i].text);
	free(l->line);
	*l = (struct top_lines){0};
}

/* ---- history ---- */

static const struct top_history *top_find_history(const struct top *t, const char *model, uint64_t stream) {
	for (size_t i = 0; i < t->histories; i++)
		if (t->history[i].stream == stream && strcmp(t->history[i].model, model) == 0)
			return &t->history[i];
	return NULL;
}

/* An old one, a new one, or the place of one that is over; NULL if none. */
static struct top_history *top_history_of(struct top *t, const char *model, uint64_t stream) {
	struct top_history *h = (struct top_history *)top_find_history(t, model, stream);
	if (h)
		return h;
	for (size_t i = 0; !h && t->histories == TOP_HISTORIES_MAX && i < t->histories; i++)
		if (!t->history[i].seen)
			h = &t->history[i];
	if (!h && t->histories < TOP_HISTORIES_MAX)
		h = &t->history[t->histories++];
	if (!h)
		return NULL;
	*h = (struct top_history){.stream = stream};
	snprintf(h->model, sizeof h->model, "%s", model);
	return h;
}

const Caravan__ModelState *top_work(const Caravan__ReportModel *m) {
	return m->phase == CARAVAN__MODEL_PHASE__SERVING ? m->state : NULL;
}

static void top_note_rate(struct top *t, const char *model, uint64_t stream, double rate) {
	struct top_history *h = top_history_of(t, model, stream);
	if (!h)
		return;
	h->rate[h->looks++ % TOP_HISTORY] = rate;
	h->seen = true;
}

void top_note(struct top *t, const struct report *r) {
	for (size_t i = 0; i < t->histories; i++)
		t->history[i].seen = false;
	for (size_t i = 0; i < r->models; i++) {
		const char *model = r->model[i]->plan->model;
		const Caravan__ModelState *s = top_work(r->model[i]);
		top_note_rate(t, model, 0, s ? s->tokens_per_second : 0);
		for (size_t k = 0; s && k < s->n_streams; k++)
			top_note_rate(t, model, s->streams[k]->id, s->streams[k]->tokens_per_second);
	}
	t->report = r;
}

/* The last looks as a line of `cells` characters, the newest at the end; the highest rate, which is returned, is a full character. */
static double top_sparkline(
        char *out, size_t size, const struct top *t, const struct top_history *h, unsigned cells) {
	static const char *const block[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
	static const char *const ascii[] = {" ", ".", ".", ":", "-", "=", "+", "*", "#"};
	double most = 0;
	size_t len = 0;
	*out = '\0';
	if (!h)
		return 0;
	size_t n = h->looks < TOP_HISTORY ? h->looks : TOP_HISTORY;
	n = n < cells ? n : cells;
	for (size_t i = 0; i < n; i++) {
		double rate = h->rate[(h->looks - n + i) % TOP_HISTORY];
		most = rate > most ? rate : most;
	}
	for (size_t i = 0; i < n; i++) {
		double rate = h->rate[(h->looks - n + i) % TOP_HISTORY];
		int level = most > 0 ? (int)(rate / most * 8 + 0.5) : 0;
		level = level == 0 && rate > 0 ? 1 : level;
		len += (size_t)snprintf(out + len, size - len, "%s", (t->blocks ? block : ascii)[level]);
	}
	return most;
}

struct size_text top_bar(const struct top *t, double share) {
	struct size_text bar = {"["};
	share = share < 0 ? 0 : share > 1 ? 1 : share;
	if (!t->bars) {
		snprintf(bar.s, sizeof bar.s, "%.0f%%", 100 * share);
		return bar;
	}
	int full = (int)(share * BAR + 0.5);
	for (int i = 0; i < BAR; i++)
		bar.s[1 + i] = i < full ? '|' : ' ';
	bar.s[BAR + 1] = ']';
	bar.s[BAR + 2] = '\0';
	return bar;
}

struct size_text top_rate_text(double per_second) {
	return per_second > 0 ? size_rate(per_second) : (struct size_text){"0"};
}

/* ---- the cluster ---- */

static bool top_is_here(const Caravan__ReportNode *n) {
	return n->node_state && (n->self || strcmp(n->state, "up") == 0);
}

/* What a stage computes a second: each token of its model passes it.  The node's own figure may be older, of a model that has ended
 * or before it began. */
static double top_stage_rate(const struct top *t, const Caravan__StageState *st) {
	const Caravan__ReportModel *m = report_model(t->report, st->model);
	const Caravan__ModelState *s = m ? top_work(m) : NULL;
	return s ? speed_of_stages(s) : 0;
}

static double top_rate(const struct top *t, const Caravan__ReportNode *n) {
	double rate = 0;
	for (size_t i = 0; top_is_here(n) && i < n->node_state->n_stages; i++)
		rate += top_stage_rate(t, n->node_state->stages[i]);
	return rate;
}

static double top_memory(const Caravan__ReportNode *n) {
	return top_is_here(n) && n->node_state->memory_allowed
	               ? (double)n->node_state->memory_used / (double)n->node_state->memory_allowed
	               : 0;
}

static double top_latency(const Caravan__ReportNode *n) {
	return top_is_here(n) ? n->round_trip : 0;
}

static double top_figure(const struct top *t, const Caravan__ReportNode *n) {
	switch (t->sort) {
	case TOP_BY_RATE:
		return top_rate(t, n);
	case TOP_BY_MEMORY:
		return top_memory(n);
	case TOP_BY_LATENCY:
		return top_latency(n);
	case TOP_BY_NAME:
	case TOP_SORTS:
		break;
	}
	return 0;
}

static int top_compare(const struct top *t, const Caravan__ReportNode *a, const Caravan__ReportNode *b) {
	double x = top_figure(t, a), y = top_figure(t, b);
	return x != y ? (x < y) - (x > y) : strcmp(a->name, b->name);
}

/* The nodes that are not expelled, in the order that is wanted; returns their number. */
static size_t top_nodes(const struct top *t, const Caravan__ReportNode **out) {
	size_t n = 0;
	for (size_t i = 0; i < t->report->nodes && n < WIRE_NODES_MAX; i++) {
		const Caravan__ReportNode *node = t->report->node[i];
		size_t at = n;
		if (strcmp(node->state, "expelled") == 0)
			continue;
		for (; at > 0 && top_compare(t, node, out[at - 1]) < 0; at--)
			out[at] = out[at - 1];
		out[at] = node;
		n++;
	}
	return n;
}

static const Caravan__ReportNode *top_find_node(const struct top *t) {
	const Caravan__ReportNode *node[WIRE_NODES_MAX];
	size_t n = top_nodes(t, node);
	for (size_t i = 0; i < n; i++)
		if (strcmp(node[i]->name, t->node) == 0)
			return node[i];
	return n && !*t->node ? node[0] : NULL;
}

static double top_model_figure(enum top_model_sort by, const Caravan__ReportModel *m) {
	const Caravan__ModelState *s = top_work(m);
	return !s || by == TOP_MODELS_BY_NAME ? 0
	       : by == TOP_MODELS_BY_RATE     ? speed_now(s)
	                                      : (double)s->sequences + s->queued;
}

/* The models in the order that is wanted; the caller frees them; NULL: out of memory. */
static const Caravan__ReportModel **top_models(const struct top *t) {
	const struct report *r = t->report;
	const Caravan__ReportModel **m = calloc(r->models + 1, sizeof *m);
	for (size_t i = 0; m && i < r->models; i++) {
		double figure = top_model_figure(t->sort_models, r->model[i]);
		size_t at = i;
		for (; at > 0 && figure > top_model_figure(t->sort_models, m[at - 1]); at--)
			m[at] = m[at - 1];
		m[at] = r->model[i];
	}
	return m;
}

static const Caravan__ReportModel *top_find_model(const struct top *t) {
	if (*t->model)
		return report_model(t->report, t->model);
	const Caravan__ReportModel **m = top_models(t), *first = m ? m[0] : NULL;
	free(m);
	return first;
}

static void top_move_model(struct top *t, int rows) {
	const Caravan__ReportModel **m = top_models(t);
	int n = m ? (int)t->report->models : 0, at = 0;
	for (int i = 0; i < n; i++)
		if (strcmp(m[i]->plan->model, t->model) == 0)
			at = i;
	at = at + rows < 0 ? 0 : at + rows >= n ? n - 1 : at + rows;
	if (n > 0)
		snprintf(t->model, sizeof t->model, "%s", m[at]->plan->model);
	free(m);
}

static void top_move_node(struct top *t, int rows) {
	const Caravan__ReportNode *node[WIRE_NODES_MAX];
	int n = (int)top_nodes(t, node), at = 0;
	for (int i = 0; i < n; i++)
		if (strcmp(node[i]->name, t->node) == 0)
			at = i;
	at = at + rows < 0 ? 0 : at + rows >= n ? n - 1 : at + rows;
	if (n > 0)
		snprintf(t->node, sizeof t->node, "%s", node[at]->name);
}

void top_move(struct top *t, int rows) {
	if (!t->report)
		return;
	if (t->table == TOP_NODES)
		top_move_node(t, rows);
	else if (t->table == TOP_MODELS)
		top_move_model(t, rows);
	else
		top_move_stream(t, rows);
}

void top_next_table(struct top *t) {
	t->table = (t->table + 1) % TOP_TABLES;
	if (t->table == TOP_STREAMS && (!t->report || !top_find_stream(t).state)) {
		t->stream = 0; /* the selected one has ended: the first, if there is any */
		t->table = t->report && top_find_stream(t).state ? TOP_STREAMS : TOP_NODES;
	}
}

void top_next_sort(struct top *t) {
	if (t->table == TOP_NODES)
		t->sort = (t->sort + 1) % TOP_SORTS;
	else if (t->table == TOP_MODELS)
		t->sort_models = (t->sort_models + 1) % TOP_MODELS_SORTS;
	else
		t->sort_streams = (t->sort_streams + 1) % TOP_STREAMS_SORTS;
}

bool top_enter(struct top *t) {
	static const enum top_page page[] = {
	        [TOP_NODES] = TOP_NODE, [TOP_MODELS] = TOP_MODEL, [TOP_STREAMS] = TOP_STREAM};
	if (!t->report || (t->table == TOP_STREAMS && !top_find_stream(t).state))
		return false;
	top_move(t, 0); /* the first is selected by its name from now on */
	t->page = page[t->table];
	return true;
}

static void top_add_nodes(struct top_lines *l, const struct top *t) {
	const char *heads[] = {"node", "state", "memory", "", "tokens/s", "latency", "heat", "layers"};
	static const struct {
		size_t column;
		const char *head;
	} sorted[] = {[TOP_BY_NAME] = {0, "node v"},
	        [TOP_BY_RATE] = {4, "tokens/s v"},
	        [TOP_BY_MEMORY] = {2, "memory v"},
	        [TOP_BY_LATENCY] = {5, "latency v"}};
	const Caravan__ReportNode *node[WIRE_NODES_MAX], *chosen = top_find_node(t);
	size_t n = top_nodes(t, node);
	struct table tab;
	int selected = -1;
	heads[sorted[t->sort].column] = sorted[t->sort].head;
	table_begin(&tab, 8, 1);
	table_keep(&tab, 2);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&tab, "%s", heads[i]);
	for (size_t i = 0; i < n; i++) {
		const Caravan__NodeState *s = top_is_here(node[i]) ? node[i]->node_state : NULL;
		if (node[i] == chosen && t->table == TOP_NODES)
			selected = (int)i;
		table_cell(&tab, "%s", node[i]->name);
		table_cell(&tab, "%s", waiting_state(node[i]).s);
		table_cell(&tab, "%s", s ? top_bar(t, top_memory(node[i])).s : "-");
		table_cell(&tab, "%s", s ? size_text((double)s->memory_used).s : "-");
		table_cell(&tab, "%s", s ? top_rate_text(top_rate(t, node[i])).s : "-");
		table_cell(&tab, "%s",
		        node[i]->self              ? "here"
		        : top_latency(node[i]) > 0 ? size_duration(node[i]->round_trip).s
		                                   : "-");
		if (s && s->machine && s->machine->temperature > 0)
			table_cell(&tab, "%.0f C", s->machine->temperature);
		else
			table_cell(&tab, "-");
		if (s && s->n_stages == 1)
			table_cell(&tab, "%s", size_layers(s->stages[0]->first, s->stages[0]->last).s);
		else if (s && s->n_stages)
			table_cell(&tab, "%zu slices", s->n_stages);
		else
			table_cell(&tab, "-");
	}
	top_add_table(l, &tab, t->width, selected);
}

static void top_cell_count(struct table *t, bool known, unsigned n) {
	if (known)
		table_cell(t, "%u", n);
	else
		table_cell(t, "-");
}

static void top_add_model_row(struct table *tab, const struct top *t, const Caravan__ReportModel *m) {
	const Caravan__ModelState *s = top_work(m);
	table_cell(tab, "%s", m->plan->model);
	table_cell(tab, "%s", report_phase(m->phase));
	table_cell(tab, "%s", s ? top_rate_text(speed_now(s)).s : "-");
	top_cell_count(tab, s != NULL, s ? s->sequences : 0);
	top_cell_count(tab, s != NULL, s ? s->queued : 0);
	table_cell(tab, "%s",
	        s && s->blocks ? top_bar(t, 1 - (double)s->blocks_free / (double)s->blocks).s : "-");
	table_cell(tab, "%s", report_node_name(t->report, m->plan->coordinator));
}

static void top_add_models(struct top_lines *l, const struct top *t) {
	const char *heads[] = {"model", "state", "tokens/s", "running", "waiting", "KV cache", "coordinator"};
	static const struct {
		size_t column;
		const char *head;
	} sorted[] = {[TOP_MODELS_BY_NAME] = {0, "model v"},
	        [TOP_MODELS_BY_RATE] = {2, "tokens/s v"},
	        [TOP_MODELS_BY_RUNNING] = {3, "running v"}};
	const Caravan__ReportModel **m = top_models(t), *chosen = top_find_model(t);
	struct table tab;
	int selected = -1;
	heads[sorted[t->sort_models].column] = sorted[t->sort_models].head;
	table_begin(&tab, 7, 1);
	table_keep(&tab, 5);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&tab, "%s", heads[i]);
	for (size_t i = 0; m && i < t->report->models; i++) {
		if (m[i] == chosen && t->table == TOP_MODELS)
			selected = (int)i;
		top_add_model_row(&tab, t, m[i]);
	}
	free(m);
	top_add_table(l, &tab, t->width, selected);
}

void top_add_history(struct top_lines *l, const struct top *t, const char *model, uint64_t stream) {
	char spark[SPARK_MOST * 4 + 1], line[sizeof spark + 64];
	unsigned cells = t->width > 40 ? t->width - 36 : 4;
	double most = top_sparkline(spark, sizeof spark, t, top_find_history(t, model, stream),
	        cells < SPARK_MOST ? cells : SPARK_MOST);
	if (!t->bars || !(most > 0))
		return;
	snprintf(line, sizeof line, "   %s  a second each; highest %s", spark, top_rate_text(most).s);
	top_add(l, TOP_TEXT, line, strlen(line));
}

/* The rate now and before, and its last looks with the highest of them. */
static void top_add_sparkline(struct top_lines *l, const struct top *t, const Caravan__ReportModel *m) {
	const Caravan__ModelState *s = top_work(m);
	top_say(l, t->width, TOP_TEXT, 1, "%s: %s", m->plan->model, s ? speed_rates(s).s : "0 tokens/s");
	top_add_history(l, t, m->plan->model, 0);
}

static void top_add_verdict(struct top_lines *l, const struct top *t) {
	char verdict[REPORT_VERDICT];
	report_verdict(t->report, verdict);
	if (t->trouble)
		top_say(l, t->width, TOP_BAD, 0, "No news: %s", t->trouble);
	else
		top_say(l, t->width, t->report->healthy ? TOP_GOOD : TOP_BAD, 0, "%s", verdict);
}

/* The first ones; lines of text have no keys that show the others. */
static void top_add_problems(struct top_lines *l, const struct top *t) {
	struct report_told told;
	size_t n = 0;
	for (size_t i = 0; i < t->report->problems; i++)
		if (report_tell(t->report, i, &told) && (n++ < PROBLEMS_SHOWN || !t->bars))
			top_say(l, t->width, TOP_BAD, 2, "%s", told.what);
	if (n > PROBLEMS_SHOWN && t->bars)
		top_say(l, t->width, TOP_BAD, 2, "... and %zu more: p shows all, with what to do",
		        n - PROBLEMS_SHOWN);
}

/* What nodes load, before there is a model. */
static void top_add_under_way(struct top_lines *l, const struct top *t) {
	struct waiting_text work;
	bool any = false;
	for (size_t i = 0; i < t->report->nodes; i++)
		for (size_t k = 0; waiting_work(&work, t->report->node[i], k); k++, any = true)
			top_say(l, t->width, TOP_TEXT, 1, "%s.", work.s);
	if (!any)
		top_say(l, t->width, TOP_TEXT, 1, "No model is loaded: caravan load FILE.");
}

static void top_view_cluster(struct top_lines *l, const struct top *t) {
	const struct report *r = t->report;
	top_add_verdict(l, t);
	top_add_problems(l, t);
	top_add(l, TOP_TEXT, "", 0);
	top_add_nodes(l, t);
	top_add(l, TOP_TEXT, "", 0);
	if (r->models)
		top_add_models(l, t);
	else
		top_add_under_way(l, t);
	for (size_t i = 0; i < r->models; i++)
		if (top_work(r->model[i])) {
			top_add(l, TOP_TEXT, "", 0);
			top_add_sparkline(l, t, r->model[i]);
		}
	top_add_streams(l, t, NULL);
}

/* ---- a node ---- */

static void top_add_links(struct top_lines *l, const struct top *t, const Caravan__NodeState *s) {
	static const char *const heads[] = {"link to", "state", "latency", "rate from there", "lost"};
	struct table tab;
	if (!s->n_peers)
		return;
	table_begin(&tab, 5, 1);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&tab, "%s", heads[i]);
	for (size_t i = 0; i < s->n_peers; i++) {
		const Caravan__PeerState *p = s->peers[i];
		table_cell(&tab, "%s", report_node_name(t->report, p->node));
		table_cell(&tab, "%s", p->up ? "up" : "down");
		table_cell(&tab, "%s", p->round_trip > 0 ? size_duration(p->round_trip).s : "-");
		table_cell(&tab, "%s", p->rate > 0 ? size_link(p->rate).s : "-");
		if (p->lost > 0)
			table_cell(&tab, "%.1f%%", 100 * p->lost);
		else
			table_cell(&tab, "-");
	}
	top_add(l, TOP_TEXT, "", 0);
	top_add_table(l, &tab, t->width, -1);
}

static void top_add_slices(struct top_lines *l, const struct top *t, const Caravan__NodeState *s) {
	static const char *const heads[] = {
	        "model", "layers", "weights", "KV cache", "tokens/s", "a token", "a prompt's token"};
	struct table tab;
	if (!s->n_stages)
		return;
	table_begin(&tab, 7, 1);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&tab, "%s", heads[i]);
	for (size_t i = 0; i < s->n_stages; i++) {
		const Caravan__StageState *st = s->stages[i];
		table_cell(&tab, "%s", st->model);
		table_cell(&tab, "%s", size_layers(st->first, st->last).s);
		table_cell(&tab, "%s", size_text((double)st->weight_bytes).s);
		table_cell(&tab, "%s", size_text((double)st->kv_bytes).s);
		table_cell(&tab, "%s", top_rate_text(top_stage_rate(t, st)).s);
		table_cell(&tab, "%s",
		        st->single_rows ? size_duration(st->single_seconds / (double)st->single_rows).s
		                        : "-");
		table_cell(&tab, "%s",
		        st->prompt_rows ? size_duration(st->prompt_seconds / (double)st->prompt_rows).s
		                        : "-");
	}
	top_add(l, TOP_TEXT, "", 0);
	top_add_table(l, &tab, t->width, -1);
}

static void top_view_node(struct top_lines *l, const struct top *t) {
	const Caravan__ReportNode *n = top_find_node(t);
	if (!n) {
		top_say(l, t->width, TOP_BAD, 0, "The node %s is gone.", t->node);
		return;
	}
	const Caravan__NodeState *s = top_is_here(n) ? n->node_state : NULL;
	top_say(l, t->width, s ? TOP_GOOD : TOP_BAD, 0, "Node %s is %s, %sfor %s%s%s", n->name, n->state,
	        s && !n->self ? "linked " : "", size_time(n->since).s, *n->reason ? ": " : "", n->reason);
	top_fact(l, t, "address", "%s", n->endpoint);
	for (size_t i = 0; i < t->report->problems; i++)
		if (strcmp(t->report->problem[i]->subject, n->name) == 0)
			top_say(l, t->width, TOP_BAD, 1, "%s", t->report->problem[i]->what);
	if (!s) {
		top_add_events(l, t, n->name);
		return;
	}
	top_fact(l, t, "version", "%s, %u thread%s, kernels %s", s->version, s->threads,
	        s->threads == 1 ? "" : "s", s->cpu);
	top_fact(l, t, "memory", "%s %s", top_bar(t, top_memory(n)).s,
	        size_of((double)s->memory_used, (double)s->memory_allowed).s);
	if (s->disk_size)
		top_fact(l, t, "disk", "%s free, its store has %s", size_text((double)s->disk_free).s,
		        size_text((double)s->store_bytes).s);
	if (s->read_bandwidth > 0)
		top_fact(l, t, "reads", "%s/s from memory", size_text(s->read_bandwidth).s);
	if (s->machine && s->machine->memory_size)
		top_fact(l, t, "machine", "%s of memory free, caravand up for %s",
		        size_of((double)s->machine->memory_free, (double)s->machine->memory_size).s,
		        size_time(s->machine->uptime).s);
	if (s->machine && s->machine->temperature > 0)
		top_fact(l, t, "heat", "%.0f degrees Celsius", s->machine->temperature);
	if (s->machine && s->machine->clock > 0)
		top_fact(l, t, "clock", "%.1f of %.1f GHz", s->machine->clock / 1e9,
		        s->machine->clock_max / 1e9);
	top_add_slices(l, t, s);
	top_add_links(l, t, s);
	top_add_events(l, t, n->name);
}

const char *top_shown_node(const struct top *t) {
	const Caravan__ReportNode *n = t->page == TOP_NODE && t->report ? top_find_node(t) : NULL;
	return n ? n->name : NULL;
}

/* ---- a model ---- */

/* Where the time of a step goes, in shares, with a bar for that of each stage. */
static void top_add_times(struct top_lines *l, const struct top *t, const Caravan__ReportModel *m) {
	static const char *const heads[] = {
	        "stage, layers", "of a step", "", "waiting", "computing", "held", "wire"};
	const Caravan__ModelState *s = top_work(m);
	struct table tab;
	double all = s ? report_step_seconds(m) : 0;
	if (all <= 0)
		return;
	table_begin(&tab, 7, 1);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&tab, "%s", heads[i]);
	for (size_t i = 0; i < s->n_times; i++) {
		const Caravan__StageTime *one = s->times[i];
		const Caravan__Stage *st = i ? m->plan->stages[i - 1] : NULL;
		double share = (one->waited + one->computed + one->held + one->wire) / all;
		if (st)
			table_cell(&tab, "%s %s", report_node_name(t->report, st->node),
			        size_layers(st->first, st->last).s);
		else
			table_cell(&tab, "embedding, output");
		table_cell(&tab, "%s", top_bar(t, share).s);
		table_cell(&tab, "%4.1f%%", 100 * share);
		table_cell(&tab, "%4.1f%%", 100 * one->waited / all);
		table_cell(&tab, "%4.1f%%", 100 * one->computed / all);
		table_cell(&tab, "%4.1f%%", 100 * one->held / all);
		table_cell(&tab, "%4.1f%%", 100 * one->wire / all);
	}
	top_add(l, TOP_TEXT, "", 0);
	top_add_table(l, &tab, t->width, -1);
	top_say(l, t->width, TOP_TEXT, 1, "All rows together are the whole time of a step.");
}

/* "410 ms (p50), 600 ms (p90), 1.90 s (p99)". */
static void top_add_percentiles(
        struct top_lines *l, const struct top *t, const char *label, const Caravan__Percentiles *p) {
	if (p)
		top_fact(l, t, label, "%s (p50), %s (p90), %s (p99)", size_duration(p->p50).s,
		        size_duration(p->p90).s, size_duration(p->p99).s);
}

/* The way of a token: "alpha 0-3 > beta 4-7 > gamma 8-11". */
static void top_add_way(struct top_lines *l, const struct top *t, const Caravan__ReportModel *m) {
	char way[1024];
	size_t len = 0;
	*way = '\0';
	for (size_t i = 0; i < m->plan->n_stages && len < sizeof way; i++) {
		const Caravan__Stage *s = m->plan->stages[i];
		len += (size_t)snprintf(way + len, sizeof way - len, "%s%s %s", i ? " > " : "",
		        report_node_name(t->report, s->node), size_layers(s->first, s->last).s);
	}
	top_fact(l, t, "layers", "%s", way);
}

static void top_view_model(struct top_lines *l, const struct top *t) {
	const Caravan__ReportModel *m = top_find_model(t);
	if (!m) {
		top_say(l, t->width, TOP_BAD, 0, "The model %s was unloaded.", t->model);
		return;
	}
	const Caravan__ModelState *s = top_work(m);
	top_say(l, t->width, s ? TOP_GOOD : TOP_BAD, 0, "Model %s is %s%s%s", m->plan->model,
	        report_phase(m->phase), *m->reason ? ": " : "", m->reason);
	top_add_way(l, t, m);
	top_fact(l, t, "context", "%u tokens, %u in parallel, coordinated by %s", m->plan->context,
	        m->plan->parallel, report_node_name(t->report, m->plan->coordinator));
	if (m->plan->seconds > 0)
		top_fact(l, t, "predicted", "%s tokens/s for one stream", size_rate(1 / m->plan->seconds).s);
	if (!s)
		return;
	top_fact(l, t, "now", "%u running, %u waiting, %u steps on their way", s->sequences, s->queued,
	        s->in_flight);
	if (s->blocks)
		top_fact(l, t, "KV cache", "%s %u of %u blocks in use",
		        top_bar(t, 1 - (double)s->blocks_free / (double)s->blocks).s,
		        s->blocks - s->blocks_free, s->blocks);
	if (s->window_blocks)
		top_fact(l, t, "of windows", "%s %u of %u blocks in use",
		        top_bar(t, 1 - (double)s->window_blocks_free / (double)s->window_blocks).s,
		        s->window_blocks - s->window_blocks_free, s->window_blocks);
	if (s->drafted)
		top_fact(l, t, "drafts", "%.0f%% of %llu tokens were right",
		        100 * (double)s->accepted / (double)s->drafted, (unsigned long long)s->drafted);
	if (s->copies)
		top_fact(l, t, "copies", "%u of each part%s", s->disks ? s->disks : s->copies,
		        s->copy_missing ? ", not complete yet" : "");
	if (speed_of_answers(s)) {
		top_add_percentiles(l, t, "first token", speed_of_answers(s)->first_token);
		top_add_percentiles(l, t, "next token", speed_of_answers(s)->inter_token);
	}
	top_add(l, TOP_TEXT, "", 0);
	top_add_sparkline(l, t, m);
	top_add_streams(l, t, m);
	top_add_times(l, t, m);
}

/* ---- the rest ---- */

static void top_view_problems(struct top_lines *l, const struct top *t) {
	const struct report *r = t->report;
	struct report_told told;
	top_add_verdict(l, t);
	top_add(l, TOP_TEXT, "", 0);
	if (!r->problems)
		top_say(l, t->width, TOP_TEXT, 1, "Nothing is wrong.");
	for (size_t i = 0; i < r->problems; i++) {
		if (!report_tell(r, i, &told))
			continue;
		top_say(l, t->width, TOP_BAD, 1, "%s", told.what);
		if (*told.advice)
			top_say(l, t->width, TOP_TEXT, 3, "%s", told.advice);
	}
}

static void top_view_help(struct top_lines *l, const struct top *t) {
	static const char *const keys[] = {"Up, Down    select a node, a model or a stream",
	        "Tab         from the nodes to the models, to the streams, and back",
	        "Enter       show what is selected", "Escape, b   back",
	        "s           sort the table with the selection by its next column (v)",
	        "p           the problems, and what to do about them", "PgUp, PgDn  scroll",
	        "q           quit"};
	top_say(l, t->width, TOP_TITLE, 0, "Keys");
	top_add(l, TOP_TEXT, "", 0);
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		char line[96];
		snprintf(line, sizeof line, " %s", keys[i]);
		top_add(l, TOP_TEXT, line, strlen(line));
	}
}

struct top_lines top_view(const struct top *t) {
	void (*const pages[])(struct top_lines *, const struct top *) = {[TOP_CLUSTER] = top_view_cluster,
	        [TOP_NODE] = top_view_node,
	        [TOP_MODEL] = top_view_model,
	        [TOP_STREAM] = top_view_stream,
	        [TOP_PROBLEMS] = top_view_problems,
	        [TOP_HELP] = top_view_help};
	struct top_lines l = {.selected = SIZE_MAX};
	if (!t->report)
		top_say(&l, t->width, TOP_BAD, 0, "%s", t->trouble ? t->trouble : "Waiting for the daemon.");
	else
		pages[t->page](&l, t);
	if (l.selected > l.n)
		l.selected = l.n;
	return l;
}
