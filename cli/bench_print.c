/* bench_print: what caravan bench has measured, as tables and as JSON. */
#include "cli/bench_result.h"

#include "cli/command.h"
#include "cli/simple.h"
#include "cli/table.h"
#include "common/size.h"
#include <stdlib.h>
#include <string.h>

static const char *const phase_name[BENCH_PHASES] = {"prefill", "decode"};

struct bench_spread bench_spread(const struct bench_figures *run, unsigned runs, size_t offset) {
	double v[BENCH_RUNS_MAX];
	for (unsigned i = 0; i < runs; i++)
		memcpy(&v[i], (const char *)&run[i] + offset, sizeof v[i]);
	double median = bench_sort(v, runs);
	return (struct bench_spread){.low = v[0], .median = median, .high = v[runs - 1]};
}

static double bench_times_sum(const struct bench_times *t) {
	return t->waited + t->computed + t->held + t->wire;
}

double bench_cell_seconds(const struct bench_cell *c, enum bench_phase phase) {
	double all = 0;
	for (size_t i = 0; i < c->stages; i++)
		all += bench_times_sum(&c->stage[i].time[phase]);
	return all;
}

/* ---- tables -------------------------------------------------------------------------------------- */

/* The median, and how far the others are from it at most. */
static void bench_cell_spread(
        struct table *t, unsigned runs, struct bench_spread s, struct size_text (*text)(double)) {
	double off = s.high - s.median > s.median - s.low ? s.high - s.median : s.median - s.low;
	if (!(s.median > 0))
		table_cell(t, "-");
	else if (runs == 1)
		table_cell(t, "%s", text(s.median).s);
	else
		table_cell(t, "%s +/-%.0f%%", text(s.median).s, 100 * off / s.median);
}

static void bench_print_rates(const struct bench_result *r) {
	static const char *const heads[] = {"", "", "first", "prefill", "decode", "decode", "prompt",
	        "streams", "token", "tokens/s", "a stream", "in all"};
	struct table t;
	table_begin(&t, 6, 2);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < r->cells; i++) {
		const struct bench_cell *c = &r->cell[i];
		table_cell(&t, "%u", c->prompt);
		table_cell(&t, "%u", c->streams);
		bench_cell_spread(&t, r->runs, BENCH_SPREAD(r, c->prefill, first), size_duration);
		bench_cell_spread(&t, r->runs, BENCH_SPREAD(r, c->prefill, prompt_rate), size_rate);
		bench_cell_spread(&t, r->runs, BENCH_SPREAD(r, c->decode, stream_rate), size_rate);
		bench_cell_spread(&t, r->runs, BENCH_SPREAD(r, c->decode, rate), size_rate);
	}
	table_print(&t, stdout, table_width_most());
}

static void bench_cell_once(struct table *t, bool first, unsigned value) {
	if (first)
		table_cell(t, "%u", value);
	else
		table_cell(t, "%s", "");
}

static void bench_print_stages(const struct bench_result *r, enum bench_phase phase) {
	static const char *const heads[] = {
	        "prompt", "streams", "stage", "waiting", "computing", "held", "on the wire"};
	struct table t;
	table_begin(&t, 7, 2);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < r->cells; i++) {
		const struct bench_cell *c = &r->cell[i];
		double all = bench_cell_seconds(c, phase);
		for (size_t k = 0; all > 0 && k < c->stages; k++) {
			const struct bench_times *s = &c->stage[k].time[phase];
			bench_cell_once(&t, k == 0, c->prompt);
			bench_cell_once(&t, k == 0, c->streams);
			table_cell(&t, "%s", c->stage[k].name ? c->stage[k].name : "embedding, output");
			table_cell(&t, "%4.1f%%", 100 * s->waited / all);
			table_cell(&t, "%4.1f%%", 100 * s->computed / all);
			table_cell(&t, "%4.1f%%", 100 * s->held / all);
			table_cell(&t, "%4.1f%%", 100 * s->wire / all);
		}
	}
	printf("\nShares of the time of all steps, %s:\n\n", phase_name[phase]);
	table_print(&t, stdout, table_width_most());
}

int bench_print(const struct bench_result *r) {
	char runs[96] = "one run of each";
	if (r->runs > 1)
		snprintf(runs, sizeof runs, "the median of %u runs and how far from it the others are",
		        r->runs);
	table_say(0, "Model %s on %zu node%s; answers of %u tokens; after one run to warm up, %s.", r->model,
	        r->nodes, r->nodes == 1 ? "" : "s", r->generate, runs);
	printf("\n");
	bench_print_rates(r);
	for (enum bench_phase p = 0; p < BENCH_PHASES; p++)
		bench_print_stages(r, p);
	return EXIT_OK;
}

/* ---- JSON ---------------------------------------------------------------------------------------- */

static json_t *bench_spread_json(struct bench_spread s) {
	return json_pack("{s:f, s:f, s:f}", "median", s.median, "low", s.low, "high", s.high);
}

static json_t *bench_stage_json(const struct bench_stage *s) {
	json_t *o = s->name ? json_pack("{s:s}", "node", s->name)
	                    : json_pack("{s:s}", "part", "embedding, output");
	for (enum bench_phase p = 0; p < BENCH_PHASES; p++)
		json_object_set_new(o, phase_name[p],
		        json_pack("{s:f, s:f, s:f, s:f}", "waited_seconds", s->time[p].waited,
		                "computed_seconds", s->time[p].computed, "held_seconds", s->time[p].held,
		                "wire_seconds", s->time[p].wire));
	return o;
}

static json_t *bench_cell_json(const struct bench_result *r, const struct bench_cell *c) {
	json_t *stages = json_array();
	for (size_t k = 0; k < c->stages; k++)
		json_array_append_new(stages, bench_stage_json(&c->stage[k]));
	return json_pack("{s:i, s:i, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:o}", "prompt", (int)c->prompt,
	        "streams", (int)c->streams, "prompt_tokens", (int)c->prefill[0].prompt, "cached_tokens",
	        (int)c->decode[0].cached, "generated_tokens", (int)c->decode[0].generated,
	        "first_token_seconds", bench_spread_json(BENCH_SPREAD(r, c->prefill, first)),
	        "prompt_tokens_per_second", bench_spread_json(BENCH_SPREAD(r, c->prefill, prompt_rate)),
	        "stream_tokens_per_second", bench_spread_json(BENCH_SPREAD(r, c->decode, stream_rate)),
	        "tokens_per_second", bench_spread_json(BENCH_SPREAD(r, c->decode, rate)), "stages", stages);
}

static void bench_set_rate(json_t *o, const char *name, double rate) {
	if (rate > 0)
		json_object_set_new(o, name, json_real(rate));
}

int bench_print_json(const struct bench_result *r) {
	json_t *results = json_array(), *nodes = json_array();
	char date[32] = "";
	struct tm tm;
	if (gmtime_r(&r->date, &tm))
		strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm);
	for (size_t i = 0; i < r->nodes; i++)
		json_array_append_new(nodes, json_string(r->node[i]));
	for (size_t i = 0; i < r->cells; i++)
		json_array_append_new(results, bench_cell_json(r, &r->cell[i]));
	json_t *o = json_pack("{s:i, s:s, s:s, s:o, s:i, s:i, s:i, s:b, s:o}", "version", 2, "date", date,
	        "model", r->model, "nodes", nodes, "context", (int)r->context, "generate", (int)r->generate,
	        "runs", (int)r->runs, "drafts", !r->undrafted, "results", results);
	bench_set_rate(o, "predicted_tokens_per_second", r->predicted);
	bench_set_rate(o, "predicted_tokens_per_second_loaded", r->predicted_loaded);
	bench_set_rate(o, "predicted_prompt_tokens_per_second", r->predicted_prompt);
	return simple_json(o);
}
