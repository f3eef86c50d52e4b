/* caravan measure: has a node measure itself again, and prints what it found. */
#include "cli/args.h"
#include "cli/command.h"
#include "cli/simple.h"
#include "cli/table.h"
#include "common/size.h"
#include "kernels/kernels.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { OPT_JSON = OPT_OWN };

static const struct option longs[] = {{"json", no_argument, NULL, OPT_JSON}, ARGS_COMMON};

static const char help[] =
        "Measures NODE (a name or an id; default: the node that is asked) again, and\n"
        "prints the rates at which it reads and multiplies weights, with the range over\n"
        "several measurements.  It takes some seconds.  New plans use these figures.  A\n"
        "node that is serving is measured once it has been idle for a second; if that\n"
        "does not happen within half a minute, it is not measured.\n"
        "\n"
        "Several kernels compute the same product of a weight type in different ways.\n"
        "They are tried as well, and the fastest is used for each number of columns\n"
        "(tokens in a step): those that are faster than the default are listed, with what\n"
        "they gain.  With CARAVAN_TUNE=off in the environment of its daemon, a node uses\n"
        "the defaults.\n"
        "\n"
        "  --json                 print the same facts as JSON\n";

static void measure_spread_text(struct table *t, double rate, double low, double high) {
	if (rate > 0)
		table_cell(t, "%s/s", size_text(rate).s);
	else
		table_cell(t, "-");
	struct size_text from = size_text(low), to = size_text(high);
	size_t number = strcspn(from.s, " ");
	if (strcmp(from.s + number, to.s + strcspn(to.s, " ")) == 0)
		from.s[number] = '\0'; /* the unit of both */
	if (low > 0 && high > 0)
		table_cell(t, "%s to %s", from.s, to.s);
	else
		table_cell(t, "-");
}

/* Reports other programs that disturbed the measurement, if any did. */
static void measure_print_disturbed(const Caravan__NodeState *s, const char *name) {
	if (s->disturbed)
		fprintf(stderr,
		        "caravan: other programs used %.0f%% of the processors of %s meanwhile: it may be faster than this.  It is measured again automatically until no other program disturbs it.\n",
		        100 * s->lost, name);
}

/* The ways of products that are used instead of the default ones. */
static void measure_print_ways(const Caravan__NodeState *s) {
	struct table t;
	size_t others = 0;
	for (size_t i = 0; i < s->n_ways; i++)
		others += !s->ways[i]->is_default;
	if (s->n_ways == 0)
		return;
	if (others == 0) {
		printf("\nNo other kernels are faster than the defaults.\n");
		return;
	}
	printf("\nKernels that are faster than the defaults here:\n");
	table_begin(&t, 4, 1);
	static const char *const heads[] = {"", "columns", "kernel", "gain"};
	for (size_t i = 0; i < 4; i++)
		table_cell(&t, "%s", heads[i]);
	for (size_t i = 0; i < s->n_ways; i++) {
		const Caravan__WayState *w = s->ways[i];
		const struct kern_traits *type = kern_traits(w->type);
		if (w->is_default)
			continue;
		table_cell(&t, "%s", type ? type->name : "?");
		table_cell(&t, "%s", kern_class_name(w->columns ? kern_class(w->columns) : KERN_COLS_MORE));
		table_cell(&t, "%s", w->way);
		table_cell(&t, "%.0f%%", 100 * (w->gain - 1));
	}
	table_print(&t, stdout, table_width_most());
}

static void measure_print_table(const char *name, const Caravan__NodeState *s) {
	struct table t;
	printf("%s: %u thread%s, kernels %s\n", name, s->threads, s->threads == 1 ? "" : "s", s->cpu);
	table_begin(&t, 5, 2);
	static const char *const heads[] = {"", "one column", "range", "many columns", "range"};
	for (size_t i = 0; i < 5; i++)
		table_cell(&t, "%s", heads[i]);
	table_cell(&t, "memory, read");
	measure_spread_text(&t, s->read_bandwidth, s->read_low, s->read_high);
	table_cell(&t, "-");
	table_cell(&t, "-");
	for (size_t i = 0; i < s->n_rates; i++) {
		const Caravan__TypeRate *r = s->rates[i];
		const struct kern_traits *type = kern_traits(r->type);
		table_cell(&t, "%s", type ? type->name : "?");
		measure_spread_text(&t, r->bytes_per_second, r->low, r->high);
		measure_spread_text(&t, r->many, r->many_low, r->many_high);
	}
	table_cell(&t, "disk, read");
	measure_spread_text(&t, s->disk_rate, 0, 0);
	table_cell(&t, "-");
	table_cell(&t, "-");
	table_print(&t, stdout, table_width_most());
	if (s->huge_pages > 0)
		printf("one column with weights in huge pages: %.2f times as fast as mapped from a file\n",
		        s->huge_pages);
	measure_print_ways(s);
}

static json_t *measure_ways_json(const Caravan__NodeState *s) {
	json_t *ways = json_array();
	for (size_t i = 0; i < s->n_ways; i++) {
		const Caravan__WayState *w = s->ways[i];
		const struct kern_traits *type = kern_traits(w->type);
		json_array_append_new(
		        ways, json_pack("{s:s, s:i, s:s, s:b, s:f}", "type", type ? type->name : "?",
		                      "columns", (int)w->columns, "kernel", w->way, "default",
		                      (int)w->is_default, "gain", w->gain));
	}
	return ways;
}

static int measure_print_json(const char *name, const Caravan__NodeState *s) {
	json_t *rates = json_array();
	for (size_t i = 0; i < s->n_rates; i++) {
		const Caravan__TypeRate *r = s->rates[i];
		const struct kern_traits *type = kern_traits(r->type);
		json_array_append_new(rates,
		        json_pack("{s:s, s:f, s:f, s:f, s:f, s:f, s:f}", "type", type ? type->name : "?",
		                "bytes_per_second", r->bytes_per_second, "low", r->low, "high", r->high,
		                "many", r->many, "many_low", r->many_low, "many_high", r->many_high));
	}
	json_t *o = json_pack("{s:i, s:s, s:i, s:s, s:f, s:f, s:f, s:f, s:f, s:b, s:f, s:o, s:o}", "version",
	        1, "node", name, "threads", (int)s->threads, "kernels", s->cpu, "read_bandwidth",
	        s->read_bandwidth, "read_low", s->read_low, "read_high", s->read_high, "disk_rate",
	        s->disk_rate, "huge_pages_gain", s->huge_pages, "disturbed", (int)s->disturbed,
	        "others_share", s->lost, "rates", rates, "ways", measure_ways_json(s));
	return simple_json(o);
}

struct shown {
	bool json, printed;
};

static int measure_show(void *arg, struct client *c, const Caravan__Envelope *env) {
	struct shown *shown = arg;
	const Caravan__CtlMeasured *m = env->ctl_measured;
	int rc = 0;
	(void)c;
	if (env->body_case != CARAVAN__ENVELOPE__BODY_CTL_MEASURED)
		return 0;
	if (shown->json)
		rc = measure_print_json(m->name, m->state);
	else
		measure_print_table(m->name, m->state);
	measure_print_disturbed(m->state, m->name);
	shown->printed = true;
	return rc;
}

static int measure_run(int argc, char **argv) {
	struct args a;
	struct shown shown = {0};
	Caravan__CtlMeasure cmd = CARAVAN__CTL_MEASURE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_MEASURE, ctl_measure, &cmd);
	args_begin(&a, &command_measure, argc, argv);
	for (int o; (o = args_next(&a, "", longs)) != -1;)
		shown.json = shown.json || o == OPT_JSON;
	args_operands(&a, 0, 1, "");
	if (optind < argc)
		cmd.node = argv[optind];
	if (strlen(cmd.node) > WIRE_NAME_MAX)
		return fail("there is no node %s", cmd.node);
	int rc = simple_ask(&a, &env, measure_show, &shown);
	return rc == 0 && !shown.printed ? EXIT_FAILED : rc;
}

const struct command command_measure = {.name = "measure",
        .usage = "[--json] [NODE]",
        .summary = "measure a node again",
        .help = help,
        .run = measure_run};
