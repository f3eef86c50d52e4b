/* caravan join: makes this node a member of the cluster that the token is from. */
#include "cli/command.h"
#include "cli/report.h"
#include "cli/simple.h"
#include <stdio.h>
#include <string.h>

static const struct option longs[] = {ARGS_COMMON};

/* Who this node is now, and who is there. */
static int say_joined(const struct args *a) {
	struct report r;
	size_t members = 0, named = 0;
	const char *self = "?";
	int rc = report_fetch(&r, a);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < r.nodes; i++) {
		members += strcmp(r.node[i]->state, "expelled") != 0;
		if (r.node[i]->self)
			self = r.node[i]->name;
	}
	printf("Joined: this node is %s, in a cluster of %zu:", self, members);
	for (size_t i = 0; i < r.nodes && named < 8; i++)
		if (strcmp(r.node[i]->state, "expelled") != 0)
			printf("%s %s", named++ ? "," : "", r.node[i]->name);
	printf("%s.\n", members > named ? ", ..." : "");
	report_clear(&r);
	return rc;
}

static int run(int argc, char **argv) {
	struct args a;
	Caravan__CtlJoin cmd = CARAVAN__CTL_JOIN__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	args_begin(&a, &command_join, argc, argv);
	while (args_next(&a, "", longs) != -1)
		;
	args_operands(&a, 1, 1, "TOKEN");
	cmd.token = argv[optind];
	env.body_case = CARAVAN__ENVELOPE__BODY_CTL_JOIN;
	env.ctl_join = &cmd;
	int rc = simple_run(&a, &env);
	return rc == 0 ? say_joined(&a) : rc;
}

const struct command command_join = {.name = "join",
        .usage = "TOKEN",
        .summary = "join the cluster that an invitation is from",
        .help = "TOKEN is what 'caravan invite' printed on a node of that cluster.  Returns when\n"
                "both sides have this node in their roster.\n",
        .run = run};
