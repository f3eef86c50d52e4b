/* caravan status: health and throughput of the cluster, once. */
#include "cli/advice.h"
#include "cli/command.h"
#include "cli/report.h"
#include "daemon/plan/advice.h"
#include "proto/size.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

enum { OPT_JSON = OPT_OWN };

static const struct option longs[] = {{"json", no_argument, NULL, OPT_JSON}, ARGS_COMMON};

static const char help[] =
        "Says first whether all is well, then what is wrong and what to do about it, then\n"
        "lists nodes and models.  Exit status 0 only when the cluster is healthy: every\n"
        "node is up, and every model serves or is being loaded.\n"
        "\n"
        "  --json                 the same facts for programs\n";

static void print_node(const Caravan__ReportNode *n) {
	if (strcmp(n->state, "expelled") == 0)
		return;
	char memory[56] = "-", trip[24] = "-", threads[48] = "-";
	const Caravan__NodeState *s = n->node_state;
	bool here = n->self || strcmp(n->state, "up") == 0; /* what another said once says nothing of now */
	if (s && here) {
		snprintf(memory, sizeof memory, "%s of %s", size_text((double)s->memory_used).s,
		        size_text((double)s->memory_allowed).s);
		snprintf(threads, sizeof threads, "%u x %.32s", s->threads, s->cpu);
	}
	if (n->self)
		snprintf(trip, sizeof trip, "this node");
	else if (here && n->round_trip > 0)
		snprintf(trip, sizeof trip, "%.2f ms", n->round_trip * 1e3);
	printf("  %-16s %-9s %-10s %-24s %-12s %s\n", n->name, n->state, trip, memory, threads, n->endpoint);
	if (*n->reason) {
		char since[32] = "";
		time_t from = time(NULL) - (time_t)n->since;
		struct tm tm;
		if (localtime_r(&from, &tm))
			strftime(since, sizeof since, n->since < 86400 ? "%H:%M" : "%Y-%m-%d %H:%M", &tm);
		printf("    %s since %s: %s\n", n->state, since, n->reason);
	}
}

/* What does not stay in memory, and what that costs. */
static void print_reading(const Caravan__StageState *st) {
	printf("        does not fit: %s stay in memory, each step reads %s from disk",
	        size_text((double)st->resident_bytes).s, size_text((double)st->streamed_bytes).s);
	if (st->read_seconds > 0) {
		double rate = (double)st->read_bytes / st->read_seconds;
		printf(": %s at %s/s, measured", size_ms((double)st->streamed_bytes / rate).s,
		        size_text(rate).s);
	}
	printf("\n");
}

/* What was predicted for a row, and what it took. */
static void beside(char out[64], double predicted, double seconds, uint64_t rows) {
	snprintf(out, 64, "%s / %s", predicted > 0 ? size_ms(predicted).s : "-",
	        rows ? size_ms(seconds / (double)rows).s : "-");
}

static void print_stage(const struct report *r, const Caravan__ReportModel *m, size_t i) {
	const Caravan__Stage *s = m->plan->stages[i];
	const Caravan__StageState *st = report_stage(r, m, i);
	char layers[32], weights[24] = "-", kv[24] = "-", rate[24] = "-", alone[64], prompt[64];
	snprintf(layers, sizeof layers, "%u-%u", s->first, s->last - 1);
	if (st) {
		snprintf(weights, sizeof weights, "%s", size_text((double)st->weight_bytes).s);
		snprintf(kv, sizeof kv, "%s", size_text((double)st->kv_bytes).s);
		snprintf(rate, sizeof rate, "%.1f", st->rows_per_second);
	}
	beside(alone, s->seconds, st ? st->single_seconds : 0, st ? st->single_rows : 0);
	beside(prompt, s->prompt, st ? st->prompt_seconds : 0, st ? st->prompt_rows : 0);
	printf("    %-14s %-9s %-10s %-10s %-8s %-22s %s\n", report_node_name(r, s->node), layers, weights,
	        kv, rate, alone, prompt);
	if (st && st->streamed_bytes)
		print_reading(st);
}

static void print_copies(const Caravan__ModelState *s) {
	if (s->copy_missing)
		printf("    copies on disk: %.0f%% of %u; %s are missing\n",
		        100 * (1 - (double)s->copy_missing / (double)s->copy_bytes), s->copies,
		        size_text((double)s->copy_missing).s);
	else
		printf("    copies on disk: %u of each part\n", s->copies);
	if (*s->at_risk)
		printf("    would not survive the loss of a node: %s\n", s->at_risk);
}

/* Where the time of a step goes: a line for the two ends and for each stage, in shares of a step's whole way. */
static void print_times(const struct report *r, const Caravan__ReportModel *m) {
	const Caravan__ModelState *s = m->state;
	double all = 0;
	if (!s || s->n_times != m->plan->n_stages + 1)
		return;
	for (size_t i = 0; i < s->n_times; i++)
		all += s->times[i]->waited + s->times[i]->computed + s->times[i]->held + s->times[i]->wire;
	if (all <= 0)
		return;
	printf("    %-14s %-9s %-10s %-10s %s\n", "of a step", "waits", "computes", "is held", "on the wire");
	for (size_t i = 0; i < s->n_times; i++) {
		const Caravan__StageTime *t = s->times[i];
		printf("    %-14s %4.1f%%     %4.1f%%      %4.1f%%      %4.1f%%\n",
		        i ? report_node_name(r, m->plan->stages[i - 1]->node) : "the two ends",
		        100 * t->waited / all, 100 * t->computed / all, 100 * t->held / all,
		        100 * t->wire / all);
	}
}

static void print_model(const struct report *r, const Caravan__ReportModel *m) {
	printf("\nModel %s: %s%s%s, coordinated by %s, context %u, %u in parallel%s%s\n", m->plan->model,
	        report_phase(m->phase), *m->reason ? ": " : "", m->reason,
	        report_node_name(r, m->plan->coordinator), m->plan->context, m->plan->parallel,
	        m->plan->kv ? ", KV cache " : "", m->plan->kv ? kern_kv_name(m->plan->kv) : "");
	if (*m->plan->draft)
		printf("    drafts by model %s\n", m->plan->draft);
	printf("    %-14s %-9s %-10s %-10s %-8s %-22s %s\n", "", "", "", "", "", "a token: predicted /",
	        "of a prompt: predicted /");
	printf("    %-14s %-9s %-10s %-10s %-8s %-22s %s\n", "stage", "layers", "weights", "KV cache",
	        "rows/s", "measured", "measured");
	for (size_t i = 0; i < m->plan->n_stages; i++)
		print_stage(r, m, i);
	if (m->plan->seconds > 0)
		printf("    predicted: %s for one stream, %s for %u\n",
		        advice_speed(m->plan->seconds, m->plan->seconds_low, m->plan->seconds_high).s,
		        size_rate(advice_rate(m->plan->seconds, m->plan->slowest, m->plan->parallel)).s,
		        m->plan->parallel);
	if (m->state)
		printf("    measured: %.1f tokens/s now, %llu tokens since it was loaded; %u running, %u waiting\n",
		        m->state->tokens_per_second, (unsigned long long)m->state->tokens,
		        m->state->sequences, m->state->queued);
	if (m->state && m->state->drafted)
		printf("    guessed: %llu tokens ahead, of which %llu were right\n",
		        (unsigned long long)m->state->drafted, (unsigned long long)m->state->accepted);
	if (m->state && m->state->copies)
		print_copies(m->state);
	print_times(r, m);
}

static void print_table(const struct report *r) {
	size_t up = 0, expelled = 0;
	for (size_t i = 0; i < r->nodes; i++) {
		up += strcmp(r->node[i]->state, "up") == 0;
		expelled += strcmp(r->node[i]->state, "expelled") == 0;
	}
	printf("The cluster is %s: %zu of %zu nodes up, %zu model%s\n\n",
	        r->healthy ? "healthy" : "not healthy", up, r->nodes - expelled, r->models,
	        r->models == 1 ? "" : "s");
	printf("  %-16s %-9s %-10s %-24s %-12s %s\n", "node", "state", "round trip", "memory", "threads",
	        "endpoint");
	for (size_t i = 0; i < r->nodes; i++)
		print_node(r->node[i]);
	for (size_t i = 0; i < r->problems; i++)
		printf("%s%s%s%s\n", i ? "" : "\n", r->problem[i]->what, *r->problem[i]->advice ? ": " : "",
		        r->problem[i]->advice);
	for (size_t i = 0; i < r->models; i++)
		print_model(r, r->model[i]);
}

static int run(int argc, char **argv) {
	struct args a;
	struct report r;
	bool json = false;
	args_begin(&a, &command_status, argc, argv);
	for (int o; (o = args_next(&a, "", longs)) != -1;)
		json = json || o == OPT_JSON;
	args_operands(&a, 0, 0, "");
	int rc = report_fetch(&r, &a);
	if (rc != 0)
		return rc;
	if (json)
		rc = report_print_json(&r);
	else
		print_table(&r);
	report_clear(&r);
	return rc;
}

const struct command command_status = {.name = "status",
        .usage = "[--json]",
        .summary = "show the health and throughput of the cluster",
        .help = help,
        .run = run};
