/* caravan join: makes this node a member of the cluster that the token is from. */
#include "cli/command.h"
#include "cli/simple.h"

static const struct option longs[] = {ARGS_COMMON};

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
	return simple_run(&a, &env);
}

const struct command command_join = {.name = "join",
        .usage = "TOKEN",
        .summary = "join the cluster that an invitation is from",
        .help = "Returns when both sides hold the entry of this node.\n",
        .run = run};
