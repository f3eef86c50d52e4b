/* caravan expel: ends a node's membership permanently. */
#include "cli/command.h"
#include "cli/simple.h"
#include <stdio.h>

enum { OPT_YES = OPT_OWN };

static const struct option longs[] = {{"yes", no_argument, NULL, OPT_YES}, ARGS_COMMON};

static int expel_run(int argc, char **argv) {
	struct args a;
	bool yes = false;
	char question[256];
	Caravan__CtlExpel cmd = CARAVAN__CTL_EXPEL__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_EXPEL, ctl_expel, &cmd);
	args_begin(&a, &command_expel, argc, argv);
	for (int o; (o = args_next(&a, "", longs)) != -1;)
		yes = yes || o == OPT_YES;
	args_operands(&a, 1, 1, "NODE");
	cmd.node = argv[optind];
	snprintf(question, sizeof question, "Expel %.64s permanently? Its key will never be admitted again.",
	        cmd.node);
	if (!yes && !simple_confirm(question))
		return fail("nothing was done");
	int rc = simple_run(&a, &env);
	if (rc == 0)
		printf("Expelled %s: its key will never be admitted again.\n", cmd.node);
	return rc;
}

const struct command command_expel = {.name = "expel",
        .usage = "[--yes] NODE",
        .summary = "expel a node from the cluster permanently",
        .help = "NODE is a name, or an id or at least its first six digits.  Its key is never\n"
                "admitted again, and its open connections are closed at once.  Its name is free\n"
                "for another machine.  'caravan leave' on the expelled one gives it a new key.\n"
                "API keys stay valid; 'caravan key list' shows them.\n"
                "\n"
                "  --yes                  do not ask on a terminal\n",
        .run = expel_run};
