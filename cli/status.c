/* caravan status: health and throughput of the cluster, once or again and again: the verdict, what is wrong and what to do, what
 * is served and how fast, then tables of nodes. */
#include "cli/advice.h"
#include "cli/command.h"
#include "cli/report.h"
#include "cli/speed.h"
#include "cli/table.h"
#include "cli/waiting.h"
#include "common/size.h"
#include "daemon/plan/advice.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define WATCH_S 1
#define BRIEF_PROBLEMS 3
#define WATCH_GONE (-1) /* nobody reads it any more */

enum { OPT_JSON = OPT_OWN, OPT_WATCH };

static const struct option longs[] = {
        {"json", no_argument, NULL, OPT_JSON}, {"watch", no_argument, NULL, OPT_WATCH}, ARGS_COMMON};

static const char help[] =
        "Prints whether the cluster is healthy, then any problems and what to do about\n"
        "them, what is served and how fast, and the nodes with their machines and layers.\n"
        "Exit status 0 only when the cluster is healthy: every node is up, and every\n"
        "model serves or is being loaded.\n"
        "\n"
        "  --watch                print it every second, until Ctrl-C\n"
        "  --json                 print the same facts as JSON\n";

/* ---- the verdict ---- */

static bool status_is(const Caravan__ReportNode *n, const char *state) {
	return strcmp(n->state, state) == 0;
}

static void status_print_verdict(const struct report *r) {
	char verdict[REPORT_VERDICT];
	report_verdict(r, verdict);
	printf("%s\n", verdict);
}

/* brief: the first ones, without what to do, so that a screen has space for what follows. */
static void status_print_problems(const struct report *r, bool brief) {
	struct report_told told;
	size_t n = 0;
	for (size_t i = 0; i < r->problems; i++) {
		if (!report_tell(r, i, &told) || (n++ >= BRIEF_PROBLEMS && brief))
			continue;
		if (n == 1)
			printf("\n");
		table_say(2, "%s", told.what);
		if (*told.advice && !brief)
			table_say(4, "%s", told.advice);
	}
	if (brief && n)
		table_say(2, "What to do about %s: caravan status",
		        n > BRIEF_PROBLEMS ? "these and others" : "it");
}

/* ---- nodes ---- */

/* An endpoint in the form for people. */
static const char *status_address(const char *endpoint) {
	return strncmp(endpoint, "tcp://", 6) == 0 ? endpoint + 6 : endpoint;
}

static void status_print_node(struct table *t, const Caravan__ReportNode *n) {
	const Caravan__NodeState *s = n->node_state;
	bool here = n->self || status_is(n, "up"); /* what another node reported earlier may be out of date */
	table_cell(t, "%s", n->name);
	table_cell(t, "%s", waiting_state(n).s);
	if (s && here) {
		table_cell(t, "%s", size_of((double)s->memory_used, (double)s->memory_allowed).s);
		table_cell(t, "%s", s->disk_size ? size_text((double)s->disk_free).s : "-");
	} else {
		table_cell(t, "-");
		table_cell(t, "-");
	}
	if (n->self)
		table_cell(t, "this node");
	else if (here && n->round_trip > 0)
		table_cell(t, "%s", size_duration(n->round_trip).s);
	else
		table_cell(t, "-");
	table_cell(t, "%s", status_address(n->endpoint));
}

static void status_print_nodes(const struct report *r) {
	struct table t;
	table_begin(&t, 6, 2);
	static const char *const heads[] = {
	        "node", "state", "memory in use", "disk free", "latency", "address"};
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < r->nodes; i++)
		if (!status_is(r->node[i], "expelled"))
			status_print_node(&t, r->node[i]);
	printf("\n");
	table_print(&t, stdout, table_width_most());
}

/* What nodes load and copy; with no model and nothing under way, how there comes to be one. */
static void status_print_under_way(const struct report *r) {
	struct waiting_text work;
	bool any = false;
	for (size_t i = 0; i < r->nodes; i++)
		for (size_t k = 0; waiting_work(&work, r->node[i], k); k++) {
			if (!any)
				printf("\n");
			any = true;
			table_say(2, "%s", work.s);
		}
	if (!any && !r->models)
		printf("\n  No model is loaded: caravan load FILE.\n");
}

/* ---- their machines ---- */

static void status_print_machine(struct table *t, const Caravan__ReportNode *n) {
	const Caravan__Machine *m = n->node_state->machine;
	table_cell(t, "%s", n->name);
	table_cell(t, "%s", *n->node_state->version ? n->node_state->version : "-");
	table_cell(t, "%s", m ? size_time(m->uptime).s : "-");
	table_cell(t, "%s",
	        m && m->memory_size ? size_of((double)m->memory_free, (double)m->memory_size).s : "-");
	if (m && m->temperature > 0)
		table_cell(t, "%.0f C", m->temperature);
	else
		table_cell(t, "-");
	if (m && m->clock > 0 && m->clock_max > 0)
		table_cell(t, "%.1f of %.1f GHz", m->clock / 1e9, m->clock_max / 1e9);
	else
		table_cell(t, "-");
}

static void status_print_machines(const struct report *r) {
	static const char *const heads[] = {
	        "node", "version", "up for", "memory free", "temperature", "clock"};
	struct table t;
	table_begin(&t, 6, 2);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < r->nodes; i++)
		if (r->node[i]->node_state && (r->node[i]->self || status_is(r->node[i], "up")))
			status_print_machine(&t, r->node[i]);
	printf("\n");
	table_print(&t, stdout, table_width_most());
}

/* ---- models ---- */

/* Experts that are read from disk.  time: of reading what a token uses; empty: unknown. */
static void status_print_experts_read(const Caravan__StageState *st, const char *node, const char *time) {
	uint64_t chosen = st->expert_hits + st->expert_misses;
	char memory[64] = "those that are not in memory";
	if (st->n_expert_layers)
		snprintf(memory, sizeof memory, "%.0f%% of them are in memory, the others",
		        100 * report_experts_in_memory(st));
	table_say(4,
	        "%s has too little memory for all experts of its layers: %s are read from disk when they are chosen",
	        node, memory);
	table_say(4, "if all were chosen equally often, %s would read %s for a token%s", node,
	        size_text((double)st->streamed_bytes).s, time);
	if (chosen)
		table_say(4, "so far %.0f%% of those chosen were found in memory",
		        100.0 * (double)st->expert_hits / (double)chosen);
}

/* Weights that do not stay in memory, and their cost. */
static void status_print_reading(const struct report *r, const Caravan__ReportModel *m, size_t i) {
	const Caravan__StageState *st = report_stage(r, m, i);
	const char *node = report_node_name(r, m->plan->stages[i]->node);
	char time[96] = "";
	if (!st || !st->streamed_bytes)
		return;
	if (st->read_seconds > 0) {
		double rate = (double)st->read_bytes / st->read_seconds;
		snprintf(time, sizeof time, ", which takes %s at %s/s, measured",
		        size_duration((double)st->streamed_bytes / rate).s, size_text(rate).s);
	}
	if (st->experts)
		status_print_experts_read(st, node, time);
	else
		table_say(4, "%s does not fit: %s stay in memory, each step reads %s from disk%s", node,
		        size_text((double)st->resident_bytes).s, size_text((double)st->streamed_bytes).s,
		        time);
}

/* Weights that are not mapped; with no word of it they are. */
static void status_print_huge(const struct report *r, const Caravan__ReportModel *m, size_t i) {
	const Caravan__StageState *st = report_stage(r, m, i);
	const char *node = report_node_name(r, m->plan->stages[i]->node);
	if (!st || !st->huge_bytes)
		return;
	if (st->huge_done < st->huge_bytes)
		table_say(4,
		        "%s is copying its weights into huge pages: %.0f%% done, the rest is mapped from files",
		        node, 100.0 * (double)st->huge_done / (double)st->huge_bytes);
	else
		table_say(4, "%s has its weights in huge pages", node);
}

/* Predicted and measured time of a row. */
static void status_predicted_text(struct table *t, double predicted, double seconds, uint64_t rows) {
	table_cell(t, "%s / %s", predicted > 0 ? size_duration(predicted).s : "-",
	        rows ? size_duration(seconds / (double)rows).s : "-");
}

static void status_print_stage(
        struct table *t, const struct report *r, const Caravan__ReportModel *m, size_t i) {
	const Caravan__Stage *s = m->plan->stages[i];
	const Caravan__StageState *st = report_stage(r, m, i);
	table_cell(t, "%s", report_node_name(r, s->node));
	table_cell(t, "%s", size_layers(s->first, s->last).s);
	table_cell(t, "%s", st ? size_text((double)st->weight_bytes).s : "-");
	table_cell(t, "%s", st ? size_text((double)st->kv_bytes).s : "-");
	status_predicted_text(t, s->seconds, st ? st->single_seconds : 0, st ? st->single_rows : 0);
	status_predicted_text(t, s->prompt, st ? st->prompt_seconds : 0, st ? st->prompt_rows : 0);
}

static void status_print_stages(const struct report *r, const Caravan__ReportModel *m) {
	static const char *const heads[] = {"", "", "", "", "a token:", "of a prompt:", "stage", "layers",
	        "weights", "KV cache", "plan / measured", "plan / measured"};
	struct table t;
	table_begin(&t, 6, 4);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < m->plan->n_stages; i++)
		status_print_stage(&t, r, m, i);
	table_print(&t, stdout, table_width_most());
}

static void status_print_copies(const Caravan__ModelState *s) {
	if (!s->copies)
		return;
	uint32_t disks = s->disks ? s->disks : s->copies;
	if (s->copy_missing)
		table_say(4, "copies on disk: %.0f%% of %u copies done, %s to go",
		        100 * (1 - (double)s->copy_missing / (double)s->copy_bytes), s->copies,
		        size_text((double)s->copy_missing).s);
	else if (disks != s->copies)
		table_say(4, "copies on disk: %u of each part (%u wanted)", disks, s->copies);
	else
		table_say(4, "copies on disk: %u of each part", disks);
	if (*s->at_risk)
		table_say(4, "%s: %s",
		        s->copy_missing ? "at risk until copied" : "at risk with a single copy", s->at_risk);
}

/* Where the time of a step goes: a line for embedding and output and for each stage, in shares of the whole step. */
static void status_print_times(const struct report *r, const Caravan__ReportModel *m) {
	static const char *const heads[] = {"time of a step", "waiting", "computing", "held", "on the wire"};
	const Caravan__ModelState *s = m->state;
	struct table t;
	double all = report_step_seconds(m);
	if (all <= 0)
		return;
	table_begin(&t, 5, 4);
	for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < s->n_times; i++) {
		const Caravan__StageTime *one = s->times[i];
		table_cell(&t, "%s",
		        i ? report_node_name(r, m->plan->stages[i - 1]->node) : "embedding, output");
		table_cell(&t, "%4.1f%%", 100 * one->waited / all);
		table_cell(&t, "%4.1f%%", 100 * one->computed / all);
		table_cell(&t, "%4.1f%%", 100 * one->held / all);
		table_cell(&t, "%4.1f%%", 100 * one->wire / all);
	}
	table_print(&t, stdout, table_width_most());
	table_say(4, "All rows together are the whole time of a step.");
}

/* Current work, reported by the coordinator: only valid while that is up and the model serves. */
static void status_print_work(const Caravan__ModelState *s) {
	char now[48] = "idle";
	if (s->sequences || s->queued)
		snprintf(now, sizeof now, "%u running, %u waiting", s->sequences, s->queued);
	table_say(4, "%s; %llu tokens since it was loaded", now, (unsigned long long)s->tokens);
	if (s->sequences || s->queued || speed_is_any(s))
		table_say(4, "%s", speed_rates(s).s);
	if (*speed_waits(s).s)
		table_say(4, "%s", speed_waits(s).s);
	if (s->drafted)
		table_say(4, "drafted: %llu tokens, of which %llu were accepted",
		        (unsigned long long)s->drafted, (unsigned long long)s->accepted);
}

/* What of a model stays as it is. */
static void status_print_constant(const Caravan__ReportModel *m) {
	const Caravan__Plan *p = m->plan;
	if (p->seconds > 0)
		table_say(4, "predicted: %s for one stream, %s for %u",
		        advice_speed(p->seconds, p->seconds_low, p->seconds_high).s,
		        size_rate(advice_rate(p->seconds, p->slowest, p->parallel)).s, p->parallel);
	if (m->phase == CARAVAN__MODEL_PHASE__SERVING && m->state)
		status_print_copies(m->state);
}

static void status_print_model(const struct report *r, const Caravan__ReportModel *m, bool brief) {
	const Caravan__Plan *p = m->plan;
	bool serves = m->phase == CARAVAN__MODEL_PHASE__SERVING;
	printf("\n");
	table_say(0, "Model %s: %s, coordinated by %s, context %u, %u in parallel%s%s", p->model,
	        report_phase(m->phase), report_node_name(r, p->coordinator), p->context, p->parallel,
	        p->kv ? ", KV cache " : "", p->kv ? kern_kv_name(p->kv) : "");
	if (*m->reason)
		table_say(4, "%s", m->reason);
	if (*p->draft)
		table_say(4, "drafts by model %s", p->draft);
	if (serves && m->state)
		status_print_work(m->state);
	if (!brief)
		status_print_constant(m);
}

/* Its way through the nodes. */
static void status_print_slices(const struct report *r, const Caravan__ReportModel *m, bool brief) {
	bool serves = m->phase == CARAVAN__MODEL_PHASE__SERVING;
	printf("\n");
	table_say(0, "Stages of %s:", m->plan->model);
	if (brief)
		status_print_constant(m);
	status_print_stages(r, m);
	if (serves && report_expert_half(r, m) > 0)
		table_say(4, "half of all choices of experts go to %.0f%% of a layer's experts",
		        100 * report_expert_half(r, m));
	for (size_t i = 0; serves && i < m->plan->n_stages; i++) {
		status_print_reading(r, m, i);
		status_print_huge(r, m, i);
	}
	if (serves && m->state)
		status_print_times(r, m);
}

static int status_print(const struct report *r, bool json, bool brief) {
	if (json)
		return report_print_json(r);
	status_print_verdict(r);
	status_print_problems(r, brief);
	for (size_t i = 0; i < r->models; i++)
		status_print_model(r, r->model[i], brief);
	status_print_under_way(r);
	status_print_nodes(r);
	status_print_machines(r);
	for (size_t i = 0; i < r->models; i++)
		status_print_slices(r, r->model[i], brief);
	return EXIT_OK;
}

/* ---- again and again ---- */

/* To the corner, and clear. */
static void status_clear_screen(void) {
	fputs("\033[H\033[J", stdout);
	fflush(stdout);
}

/* Fills the screen with a text, from its top: lines that do not fit are counted instead. */
static void status_fill_screen(const char *text, unsigned rows) {
	unsigned lines = 0;
	for (const char *c = text; *c; c++)
		lines += *c == '\n';
	status_clear_screen();
	for (unsigned line = 0; *text && (lines < rows || line + 2 < rows); line++) {
		size_t len = strcspn(text, "\n");
		len += text[len] == '\n';
		fwrite(text, 1, len, stdout);
		text += len;
	}
	if (*text)
		printf("... %u more lines: a taller window shows them\n", lines + 2 - rows);
	fflush(stdout);
}

/* One look: on a terminal in place of the last one.  The daemon may be away: what is said then is printed too. */
static int status_watch_once(const struct args *a, bool json) {
	struct winsize size;
	bool screen = !json && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 2;
	struct report r;
	if (screen)
		fail_before(status_clear_screen); /* what is wrong is in place of what was right */
	int rc = report_fetch(&r, a);
	if (rc != 0)
		return rc;
	if (!screen) {
		rc = status_print(&r, json, false);
		if (!json)
			printf("\n");
	} else {
		char *text = NULL;
		size_t len;
		FILE *terminal = stdout, *memory = open_memstream(&text, &len);
		if (!memory) {
			report_clear(&r);
			return fail("out of memory");
		}
		stdout = memory;
		rc = status_print(&r, false, true);
		stdout = terminal;
		if (fclose(memory) == 0)
			status_fill_screen(text, size.ws_row);
		free(text);
	}
	report_clear(&r);
	if (fflush(stdout) != 0) /* a reader that has seen enough is no error */
		return errno == EPIPE ? WATCH_GONE : fail("cannot write: %s", strerror(errno));
	return rc;
}

static int status_watch(const struct args *a, bool json) {
	for (bool seen = false;;) {
		int rc = status_watch_once(a, json);
		if (rc == WATCH_GONE)
			_exit(EXIT_OK);
		if (rc != 0 && (!seen || ferror(stdout)))
			return rc; /* it was never there, or nobody reads this */
		seen = true;
		sleep(WATCH_S);
	}
}

static int status_run(int argc, char **argv) {
	struct args a;
	struct report r;
	bool json = false, watch = false;
	args_begin(&a, &command_status, argc, argv);
	for (int o; (o = args_next(&a, "", longs)) != -1;) {
		json = json || o == OPT_JSON;
		watch = watch || o == OPT_WATCH;
	}
	args_operands(&a, 0, 0, "");
	if (watch)
		return status_watch(&a, json);
	int rc = report_fetch(&r, &a);
	if (rc != 0)
		return rc;
	rc = status_print(&r, json, false);
	if (rc == EXIT_OK && !r.healthy)
		rc = EXIT_FAILED;
	report_clear(&r);
	return rc;
}

const struct command command_status = {.name = "status",
        .usage = "[--watch] [--json]",
        .summary = "show the health and throughput of the cluster",
        .help = help,
        .run = status_run};
