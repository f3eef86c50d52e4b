/* top_streams: the streams of caravan top: the prompts and answers under way, of the models of every coordinator. */
#include "cli/speed.h"
#include "cli/top_internal.h"
#include <stdlib.h>
#include <string.h>

/* ---- which there are ---- */

/* Larger figures come first; of the same, the models as they were reported, and of a model the older ones. */
static double top_stream_figure(enum top_stream_sort by, const struct top_stream *s) {
	switch (by) {
	case TOP_STREAMS_BY_RATE:
		return s->state->tokens_per_second;
	case TOP_STREAMS_BY_TOKENS:
		return s->state->generated;
	case TOP_STREAMS_BY_AGE:
		return s->state->age;
	case TOP_STREAMS_BY_MODEL:
	case TOP_STREAMS_SORTS:
		break;
	}
	return 0;
}

static bool top_stream_before(
        enum top_stream_sort by, const struct top_stream *a, const struct top_stream *b) {
	double x = top_stream_figure(by, a), y = top_stream_figure(by, b);
	return x != y ? x > y : a->model == b->model && a->state->id < b->state->id;
}

size_t top_streams(const struct top *t, const Caravan__ReportModel *of, struct top_stream **out) {
	const struct report *r = t->report;
	size_t most = 0, n = 0;
	for (size_t i = 0; i < r->models; i++)
		most += top_work(r->model[i]) ? r->model[i]->state->n_streams : 0;
	*out = calloc(most + 1, sizeof **out);
	for (size_t i = 0; *out && i < r->models; i++) {
		const Caravan__ModelState *s = top_work(r->model[i]);
		for (size_t k = 0; s && k < s->n_streams && (!of || of == r->model[i]); k++) {
			struct top_stream one = {r->model[i], s->streams[k]};
			size_t at = n++;
			for (; at > 0 && top_stream_before(t->sort_streams, &one, &(*out)[at - 1]); at--)
				(*out)[at] = (*out)[at - 1];
			(*out)[at] = one;
		}
	}
	return n;
}

static bool top_is_selected(const struct top *t, const struct top_stream *s) {
	return s->state->id == t->stream && strcmp(s->model->plan->model, t->stream_model) == 0;
}

struct top_stream top_find_stream(const struct top *t) {
	struct top_stream *s, found = {NULL, NULL};
	size_t n = top_streams(t, NULL, &s);
	for (size_t i = 0; i < n; i++)
		if (top_is_selected(t, &s[i]) || (i == 0 && t->stream == 0))
			found = s[i];
	free(s);
	return found;
}

void top_move_stream(struct top *t, int rows) {
	struct top_stream *s;
	int n = (int)top_streams(t, NULL, &s), at = 0;
	for (int i = 0; i < n; i++)
		if (top_is_selected(t, &s[i]))
			at = i;
	at = at + rows < 0 ? 0 : at + rows >= n ? n - 1 : at + rows;
	if (n > 0) {
		t->stream = s[at].state->id;
		snprintf(t->stream_model, sizeof t->stream_model, "%s", s[at].model->plan->model);
	}
	free(s);
}

/* ---- the table ---- */

static void top_add_stream_row(struct table *tab, const struct top *t, const struct top_stream *s, bool all) {
	const Caravan__StreamState *st = s->state;
	table_cell(tab, "%llu", (unsigned long long)st->id);
	if (all)
		table_cell(tab, "%s", s->model->plan->model);
	if (st->place)
		table_cell(tab, "%s, %u", report_stream_phase(st->phase), st->place);
	else
		table_cell(tab, "%s", report_stream_phase(st->phase));
	table_cell(tab, "%s", size_time(st->age).s);
	table_cell(tab, "%u/%u", st->prompt_done, st->prompt);
	table_cell(tab, "%u/%u", st->generated, st->limit);
	table_cell(tab, "%s", top_rate_text(st->tokens_per_second).s);
	table_cell(tab, "%s", report_node_name(t->report, st->gateway));
}

static void top_add_stream_heads(struct table *tab, const struct top *t, bool all) {
	const char *heads[] = {"stream", "model", "state", "age", "prompt", "answer", "tokens/s", "from"};
	static const struct {
		size_t column;
		const char *head;
	} sorted[] = {[TOP_STREAMS_BY_MODEL] = {0, "stream v"},
	        [TOP_STREAMS_BY_RATE] = {6, "tokens/s v"},
	        [TOP_STREAMS_BY_TOKENS] = {5, "answer v"},
	        [TOP_STREAMS_BY_AGE] = {3, "age v"}};
	heads[sorted[t->sort_streams].column] = sorted[t->sort_streams].head;
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		if (i != 1 || all)
			table_cell(tab, "%s", heads[i]);
}

void top_add_streams(struct top_lines *l, const struct top *t, const Caravan__ReportModel *of) {
	struct top_stream *s, chosen = top_find_stream(t);
	size_t n = top_streams(t, of, &s);
	unsigned long long total = 0;
	struct table tab;
	int selected = -1;
	for (size_t i = 0; i < t->report->models; i++)
		if (top_work(t->report->model[i]) && (!of || of == t->report->model[i]))
			total += t->report->model[i]->state->streams_total;
	if (n > 0) {
		table_begin(&tab, of ? 7 : 8, 1);
		top_add_stream_heads(&tab, t, !of);
		for (size_t i = 0; i < n; i++) {
			if (!of && t->table == TOP_STREAMS && s[i].state == chosen.state)
				selected = (int)i;
			top_add_stream_row(&tab, t, &s[i], !of);
		}
		top_add(l, TOP_TEXT, "", 0);
		top_add_table(l, &tab, t->width, selected);
		if (total > n)
			top_say(l, t->width, TOP_TEXT, 1, "... and %llu more streams", total - n);
	}
	free(s);
}

/* ---- a stream ---- */

void top_view_stream(struct top_lines *l, const struct top *t) {
	struct top_stream s = top_find_stream(t);
	const Caravan__StreamState *st = s.state;
	if (!st) {
		top_say(l, t->width, TOP_BAD, 0, "Stream %llu of %s has ended.",
		        (unsigned long long)t->stream, t->stream_model);
		return;
	}
	top_say(l, t->width, TOP_GOOD, 0, "Stream %llu of %s: %s, for %s", (unsigned long long)st->id,
	        s.model->plan->model, report_stream_phase(st->phase), size_time(st->age).s);
	top_fact(l, t, "from", "%s, coordinated by %s", report_node_name(t->report, st->gateway),
	        report_node_name(t->report, s.model->plan->coordinator));
	if (st->place)
		top_fact(l, t, "place", "%u in the queue", st->place);
	top_fact(l, t, "prompt", "%s %u of %u tokens, %u of them cached",
	        top_bar(t, (double)st->prompt_done / st->prompt).s, st->prompt_done, st->prompt, st->cached);
	if (st->limit)
		top_fact(l, t, "answer", "%s %u tokens, at most %u",
		        top_bar(t, (double)st->generated / st->limit).s, st->generated, st->limit);
	if (st->first_token > 0)
		top_fact(l, t, "first token", "after %s", size_duration(st->first_token).s);
	if (st->drafted)
		top_fact(l, t, "drafts", "%u of %u tokens were right", st->accepted, st->drafted);
	top_fact(l, t, "KV cache", "%u of %u blocks", st->blocks, s.model->state->blocks);
	top_fact(l, t, "now", "%s tokens/s", top_rate_text(st->tokens_per_second).s);
	top_add_history(l, t, s.model->plan->model, st->id);
}
