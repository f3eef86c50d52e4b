/* caravan bench: how fast a model is that the cluster serves: prompts and answers, for one stream and for several, and where the
 * time goes. */
#include "cli/bench_load.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/report.h"
#include "cli/simple.h"
#include "cli/table.h"
#include "common/size.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LIST_MAX 8
#define PROMPT 512
#define GENERATE 128
#define RUNS 3
#define RUNS_MAX 100
#define REPORTED_NS 1200000000 /* by then every node has reported what it did */

enum { OPT_JSON = OPT_OWN, OPT_PROMPT, OPT_GENERATE, OPT_STREAMS, OPT_RUNS, OPT_NO_DRAFTS };

static const struct option longs[] = {{"json", no_argument, NULL, OPT_JSON},
        {"prompt", required_argument, NULL, OPT_PROMPT}, {"generate", required_argument, NULL, OPT_GENERATE},
        {"streams", required_argument, NULL, OPT_STREAMS}, {"runs", required_argument, NULL, OPT_RUNS},
        {"no-drafts", no_argument, NULL, OPT_NO_DRAFTS}, ARGS_COMMON};

static const char help[] =
        "Measures a model that the cluster serves: random prompts of given lengths, each\n"
        "answered for one stream and for several at once, and the share of the time that\n"
        "each stage waits, computes and sends.  Other prompts that run meanwhile count.\n"
        "\n"
        "  -m MODEL               the model (default: the only one that is served)\n"
        "  --prompt N[,N]...      tokens of a prompt (default: 512, or what fits)\n"
        "  --generate N           tokens of an answer, though the model would end it before\n"
        "                         (default: 128, or as many as fit)\n"
        "  --streams N[,N]...     streams at once (default: 1, and as many as the model\n"
        "                         was loaded for)\n"
        "  --runs N               runs of each, after one to warm up (default: 3)\n"
        "  --no-drafts            without drafted tokens\n"
        "  --json                 print the same facts as JSON\n";

/* The figures of all runs with a prompt length and a number of streams. */
struct cell {
	unsigned prompt, streams;
	struct bench_figures run[RUNS_MAX];
	struct report before, after;
};

struct bench {
	const char *model;
	unsigned prompts[LIST_MAX], streams[LIST_MAX], generate, runs;
	size_t nprompts, nstreams;
	bool json, undrafted, any_generate;
};

/* ---- medians ---- */

struct spread {
	double low, median, high;
};

/* Of the figure at an offset in struct bench_figures. */
static struct spread bench_spread(const struct cell *c, unsigned runs, size_t offset) {
	double v[RUNS_MAX];
	for (unsigned i = 0; i < runs; i++)
		memcpy(&v[i], (const char *)&c->run[i] + offset, sizeof v[i]);
	double median = bench_sort(v, runs);
	return (struct spread){.low = v[0], .median = median, .high = v[runs - 1]};
}

#define SPREAD(cell, runs, member) bench_spread(cell, runs, offsetof(struct bench_figures, member))

/* ---- where the time went ---- */

/* The time of all steps between two reports, at stage i of the plan (0: embedding and output), and of all stages together; false:
 * the plan is another one, or nothing was reported. */
static bool bench_time(
        Caravan__StageTime *out, double *all, const struct cell *c, const char *name, size_t i) {
	const Caravan__ReportModel *was = report_model(&c->before, name), *is = report_model(&c->after, name);
	*all = 0;
	caravan__stage_time__init(out);
	if (!was || !is || !was->state || !is->state || is->state->n_times != is->plan->n_stages + 1 ||
	        was->state->n_times != is->state->n_times || i >= is->state->n_times)
		return false;
	for (size_t k = 0; k < is->state->n_times; k++) {
		const Caravan__StageTime *from = was->state->times[k], *to = is->state->times[k];
		Caravan__StageTime t = CARAVAN__STAGE_TIME__INIT;
		t.waited = to->waited - from->waited;
		t.computed = to->computed - from->computed;
		t.held = to->held - from->held;
		t.wire = to->wire - from->wire;
		*all += t.waited + t.computed + t.held + t.wire;
		if (t.waited < 0 || t.computed < 0 || t.held < 0 || t.wire < 0)
			return false; /* a new epoch has begun */
		if (k == i)
			*out = t;
	}
	return *all > 0;
}

static const char *bench_stage_name(const struct cell *c, const char *name, size_t i) {
	const Caravan__ReportModel *m = report_model(&c->after, name);
	return i ? report_node_name(&c->after, m->plan->stages[i - 1]->node) : "embedding, output";
}

/* ---- printing ---- */

/* The median, and how far the others lie from it at most. */
static void bench_cell_spread(
        struct table *t, unsigned runs, struct spread s, struct size_text (*text)(double)) {
	double off = s.high - s.median > s.median - s.low ? s.high - s.median : s.median - s.low;
	if (!(s.median > 0))
		table_cell(t, "-");
	else if (runs == 1)
		table_cell(t, "%s", text(s.median).s);
	else
		table_cell(t, "%s +/-%.0f%%", text(s.median).s, 100 * off / s.median);
}

static void bench_print_rates(const struct bench *b, const struct cell *cells, size_t n) {
	static const char *const heads[] = {"", "", "first", "tokens/s", "tokens/s", "tokens/s", "prompt",
	        "streams", "token", "of prompts", "a stream", "in all"};
	struct table t;
	table_begin(&t, 6, 2);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < n; i++) {
		table_cell(&t, "%u", cells[i].prompt);
		table_cell(&t, "%u", cells[i].streams);
		bench_cell_spread(&t, b->runs, SPREAD(&cells[i], b->runs, first), size_ms);
		bench_cell_spread(&t, b->runs, SPREAD(&cells[i], b->runs, prompt_rate), size_rate);
		bench_cell_spread(&t, b->runs, SPREAD(&cells[i], b->runs, stream_rate), size_rate);
		bench_cell_spread(&t, b->runs, SPREAD(&cells[i], b->runs, rate), size_rate);
	}
	table_print(&t, stdout, table_width_most());
}

static void bench_cell_once(struct table *t, bool first, unsigned value) {
	if (first)
		table_cell(t, "%u", value);
	else
		table_cell(t, "%s", "");
}

static void bench_print_stages(const struct bench *b, const struct cell *cells, size_t n) {
	static const char *const heads[] = {
	        "prompt", "streams", "stage", "waiting", "computing", "held", "on the wire"};
	Caravan__StageTime time;
	double all;
	struct table t;
	table_begin(&t, 7, 2);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; bench_time(&time, &all, &cells[i], b->model, k); k++) {
			bench_cell_once(&t, k == 0, cells[i].prompt);
			bench_cell_once(&t, k == 0, cells[i].streams);
			table_cell(&t, "%s", bench_stage_name(&cells[i], b->model, k));
			table_cell(&t, "%4.1f%%", 100 * time.waited / all);
			table_cell(&t, "%4.1f%%", 100 * time.computed / all);
			table_cell(&t, "%4.1f%%", 100 * time.held / all);
			table_cell(&t, "%4.1f%%", 100 * time.wire / all);
		}
	printf("\nShares of the time of all steps:\n\n");
	table_print(&t, stdout, table_width_most());
}

static int bench_print(const struct bench *b, const struct cell *cells, size_t n) {
	const Caravan__ReportModel *m = report_model(&cells[0].after, b->model);
	char runs[96] = "one run of each";
	if (b->runs > 1)
		snprintf(runs, sizeof runs, "the median of %u runs and how far from it the others are",
		        b->runs);
	table_say(0, "Model %s on %zu node%s; answers of %u tokens; after one run to warm up, %s.", b->model,
	        m ? m->plan->n_stages : 0, m && m->plan->n_stages == 1 ? "" : "s", b->generate, runs);
	printf("\n");
	bench_print_rates(b, cells, n);
	bench_print_stages(b, cells, n);
	return EXIT_OK;
}

static json_t *bench_spread_json(struct spread s) {
	return json_pack("{s:f, s:f, s:f}", "median", s.median, "low", s.low, "high", s.high);
}

static json_t *bench_cell_json(const struct bench *b, const struct cell *c) {
	json_t *stages = json_array();
	Caravan__StageTime t;
	double all;
	for (size_t k = 0; bench_time(&t, &all, c, b->model, k); k++)
		json_array_append_new(stages, json_pack("{s:s, s:f, s:f, s:f, s:f}", k ? "node" : "part",
		                                      bench_stage_name(c, b->model, k), "waited_seconds",
		                                      t.waited, "computed_seconds", t.computed,
		                                      "held_seconds", t.held, "wire_seconds", t.wire));
	return json_pack("{s:i, s:i, s:i, s:i, s:o, s:o, s:o, s:o, s:o}", "prompt", (int)c->prompt, "streams",
	        (int)c->streams, "prompt_tokens", (int)c->run[0].prompt, "generated_tokens",
	        (int)c->run[0].generated, "first_token_seconds", bench_spread_json(SPREAD(c, b->runs, first)),
	        "prompt_tokens_per_second", bench_spread_json(SPREAD(c, b->runs, prompt_rate)),
	        "stream_tokens_per_second", bench_spread_json(SPREAD(c, b->runs, stream_rate)),
	        "tokens_per_second", bench_spread_json(SPREAD(c, b->runs, rate)), "stages", stages);
}

static int bench_print_json(const struct bench *b, const struct cell *cells, size_t n) {
	json_t *results = json_array();
	for (size_t i = 0; i < n; i++)
		json_array_append_new(results, bench_cell_json(b, &cells[i]));
	return simple_json(json_pack("{s:i, s:s, s:i, s:i, s:o}", "version", 1, "model", b->model, "generate",
	        (int)b->generate, "runs", (int)b->runs, "results", results));
}

/* ---- measuring ---- */

/* A report that has all of what has been computed until now. */
static int bench_report(struct report *r, const struct args *a) {
	nanosleep(&(struct timespec){.tv_sec = REPORTED_NS / 1000000000, .tv_nsec = REPORTED_NS % 1000000000},
	        NULL);
	report_clear(r);
	return report_fetch(r, a);
}

static int bench_measure_cell(
        const struct bench *b, struct bench_load *l, struct cell *c, const struct args *a) {
	struct bench_figures warm;
	int rc = bench_load_run(l, c->prompt, b->generate, c->streams, &warm);
	if (rc == 0)
		rc = bench_report(&c->before, a);
	for (unsigned i = 0; rc == 0 && i < b->runs; i++)
		rc = bench_load_run(l, c->prompt, b->generate, c->streams, &c->run[i]);
	return rc ? rc : bench_report(&c->after, a);
}

static int bench_measure(const struct bench *b, const struct args *a) {
	size_t n = b->nprompts * b->nstreams;
	struct cell *cells = calloc(n, sizeof *cells);
	struct bench_load *l = NULL;
	int rc = cells ? bench_load_open(&l, a->control, b->model, b->undrafted) : fail("out of memory");
	for (size_t i = 0; rc == 0 && i < n; i++) {
		cells[i].prompt = b->prompts[i / b->nstreams];
		cells[i].streams = b->streams[i % b->nstreams];
		rc = bench_measure_cell(b, l, &cells[i], a);
	}
	if (rc == 0)
		rc = b->json ? bench_print_json(b, cells, n) : bench_print(b, cells, n);
	bench_load_close(l);
	for (size_t i = 0; cells && i < n; i++) {
		report_clear(&cells[i].before);
		report_clear(&cells[i].after);
	}
	free(cells);
	return rc;
}

/* The model to measure, which must be served. */
static int bench_choose(const struct report *r, const char *name, const Caravan__ReportModel **out) {
	const Caravan__ReportModel *only = NULL;
	size_t served = 0;
	if (name && client_is_path(name))
		return fail(
		        "bench measures a model that the cluster serves: load the file first, with caravan load %s",
		        name);
	if (name) {
		if (!(only = report_model(r, name)))
			return fail(
			        "there is no model %s; 'caravan status' shows those that are served", name);
		if (only->phase != CARAVAN__MODEL_PHASE__SERVING)
			return fail("%s is %s", name, report_phase(only->phase));
		*out = only;
		return 0;
	}
	for (size_t i = 0; i < r->models; i++)
		if (r->model[i]->phase == CARAVAN__MODEL_PHASE__SERVING) {
			served++;
			only = r->model[i];
		}
	if (served == 0)
		return fail("no model is loaded: load one with caravan load FILE");
	if (served > 1)
		return fail("%zu models are served: choose one with -m", served);
	*out = only;
	return 0;
}

/* Fills in what was not asked for, and checks that prompts and answers fit the context. */
static int bench_fit(struct bench *b, const Caravan__Plan *p) {
	unsigned context = p->context;
	if (!b->any_generate)
		b->generate = GENERATE < context / 2 ? GENERATE : context / 2 ? context / 2 : 1;
	if (!b->nprompts)
		b->prompts[b->nprompts++] = PROMPT + b->generate <= context ? PROMPT
		                            : context > b->generate + 1     ? context - b->generate
		                                                            : 1;
	if (!b->nstreams) {
		b->streams[b->nstreams++] = 1;
		if (p->parallel > 1 && p->parallel <= BENCH_STREAMS_MAX)
			b->streams[b->nstreams++] = p->parallel;
	}
	for (size_t i = 0; i < b->nprompts; i++)
		if (b->prompts[i] + b->generate > context)
			return fail(
			        "%u tokens of a prompt and %u of an answer do not fit the context of %s, %u tokens",
			        b->prompts[i], b->generate, p->model, context);
	return 0;
}

static size_t bench_list(const char *option, char *text, unsigned *out, unsigned most) {
	char *part[LIST_MAX];
	size_t n = args_list(text, part, LIST_MAX);
	for (size_t i = 0; i < n; i++)
		out[i] = (unsigned)args_uint(option, part[i], 1, most);
	return n;
}

static int bench_run(int argc, char **argv) {
	struct args a;
	struct bench b = {.runs = RUNS};
	struct report r;
	const Caravan__ReportModel *m = NULL;
	const char *model = NULL;
	args_begin(&a, &command_bench, argc, argv);
	for (int o; (o = args_next(&a, "m:", longs)) != -1;)
		switch (o) {
		case 'm':
			model = optarg;
			break;
		case OPT_JSON:
			b.json = true;
			break;
		case OPT_PROMPT:
			b.nprompts = bench_list("--prompt", optarg, b.prompts, WIRE_CONTEXT_MAX);
			break;
		case OPT_GENERATE:
			b.generate = (unsigned)args_uint("--generate", optarg, 2, WIRE_CONTEXT_MAX);
			b.any_generate = true;
			break;
		case OPT_STREAMS:
			b.nstreams = bench_list("--streams", optarg, b.streams, BENCH_STREAMS_MAX);
			break;
		case OPT_RUNS:
			b.runs = (unsigned)args_uint("--runs", optarg, 1, RUNS_MAX);
			break;
		case OPT_NO_DRAFTS:
			b.undrafted = true;
			break;
		}
	args_operands(&a, 0, 0, "");
	int rc = report_fetch(&r, &a);
	if (rc != 0)
		return rc;
	rc = bench_choose(&r, model, &m);
	if (rc == 0)
		rc = bench_fit(&b, m->plan);
	if (rc == 0) {
		b.model = m->plan->model;
		rc = bench_measure(&b, &a);
	}
	report_clear(&r);
	return rc;
}

const struct command command_bench = {.name = "bench",
        .usage = "[-m MODEL] [--prompt N] [--generate N] [OPTION]...",
        .summary = "measure a model that the cluster serves",
        .help = help,
        .run = bench_run};
