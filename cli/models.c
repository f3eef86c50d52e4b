/* caravan models: the models of the cluster, a line each. */
#include "cli/command.h"
#include "cli/report.h"
#include <stdio.h>

static const struct option longs[] = {ARGS_COMMON};

static int run(int argc, char **argv) {
	struct args a;
	struct report r;
	args_begin(&a, &command_models, argc, argv);
	while (args_next(&a, "", longs) != -1)
		;
	args_operands(&a, 0, 0, "");
	int rc = report_fetch(&r, &a);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < r.models; i++) {
		const Caravan__ReportModel *m = r.model[i];
		printf("%-24s %-12s %zu stage%s, coordinated by %s%s%s\n", m->plan->model,
		        report_phase(m->phase), m->plan->n_stages, m->plan->n_stages == 1 ? "" : "s",
		        report_node_name(&r, m->plan->coordinator), *m->reason ? ": " : "", m->reason);
	}
	report_clear(&r);
	return EXIT_OK;
}

const struct command command_models = {
        .name = "models", .usage = "", .summary = "list the models of the cluster", .run = run};
