/* caravan expel: a node is no member any more, and never again. */
#include "cli/command.h"
#include "cli/simple.h"
#include <stdio.h>

static const struct option longs[] = {ARGS_COMMON};

static int run(int argc, char **argv) {
	struct args a;
	Caravan__CtlExpel cmd = CARAVAN__CTL_EXPEL__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	args_begin(&a, &command_expel, argc, argv);
	while (args_next(&a, "", longs) != -1)
		;
	args_operands(&a, 1, 1, "NODE");
	cmd.node = argv[optind];
	env.body_case = CARAVAN__ENVELOPE__BODY_CTL_EXPEL;
	env.ctl_expel = &cmd;
	int rc = simple_run(&a, &env);
	if (rc == 0)
		printf("Expelled %s: its key is never admitted again.\n", cmd.node);
	return rc;
}

const struct command command_expel = {.name = "expel",
        .usage = "NODE",
        .summary = "expel a node from the cluster, for good",
        .help = "NODE is a name, or an id or at least its first six digits.  Its key is never\n"
                "admitted again, and its open connections are closed at once.\n",
        .run = run};
