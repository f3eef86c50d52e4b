/* caravan unload: stops serving a model. */
#include "cli/command.h"
#include "cli/simple.h"
#include <stdio.h>

static const struct option longs[] = {ARGS_COMMON};

static int unload_run(int argc, char **argv) {
	struct args a;
	Caravan__CtlUnload cmd = CARAVAN__CTL_UNLOAD__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_UNLOAD, ctl_unload, &cmd);
	args_begin(&a, &command_unload, argc, argv);
	while (args_next(&a, "", longs) != -1)
		;
	args_operands(&a, 1, 1, "MODEL");
	cmd.model = argv[optind];
	int rc = simple_run(&a, &env);
	if (rc == 0)
		printf("Unloaded %s: its weights stay on the nodes' disks.\n", cmd.model);
	return rc;
}

const struct command command_unload = {.name = "unload",
        .usage = "MODEL",
        .summary = "stop serving a model and free its memory",
        .help = "Also stops a load in progress.  The packed weights stay on the nodes'\n"
                "disks, so loading the model again moves nothing.\n",
        .run = unload_run};
