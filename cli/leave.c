/* caravan leave: this node leaves its cluster, keeps its store and gets a new key. */
#include "cli/command.h"
#include "cli/simple.h"
#include <stdio.h>

enum { OPT_YES = OPT_OWN };

static const struct option longs[] = {{"yes", no_argument, NULL, OPT_YES}, ARGS_COMMON};

static int leave_run(int argc, char **argv) {
	struct args a;
	bool yes = false;
	Caravan__CtlLeave cmd = CARAVAN__CTL_LEAVE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_LEAVE, ctl_leave, &cmd);
	args_begin(&a, &command_leave, argc, argv);
	for (int o; (o = args_next(&a, "", longs)) != -1;)
		yes = yes || o == OPT_YES;
	args_operands(&a, 0, 0, "");
	if (!yes &&
	        !simple_confirm(
	                "Leave the cluster? This node gets a new key, and needs an invitation to come back."))
		return fail("nothing was done");
	int rc = simple_run(&a, &env);
	if (rc == 0)
		printf("Left the cluster: this node restarts with a new key and keeps the weights on its disk.\n");
	return rc;
}

const struct command command_leave = {.name = "leave",
        .usage = "[--yes]",
        .summary = "leave the cluster, or start again after being expelled",
        .help = "Tells the other nodes.  This node keeps the weights on its disk, gets a new key\n"
                "and restarts; 'caravan join' adds it to a cluster again.  Also for a node that\n"
                "was expelled, and for a copy of a machine whose key is in use on both.\n"
                "\n"
                "  --yes                  do not ask on a terminal\n",
        .run = leave_run};
