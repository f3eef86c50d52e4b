/* caravan rm: deletes a model from the cluster's disks. */
#include "cli/command.h"
#include "cli/simple.h"
#include "cli/stored.h"
#include "common/size.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OPT_YES = OPT_OWN };
static const struct option longs[] = {{"yes", no_argument, NULL, OPT_YES}, ARGS_COMMON};

static const char help[] = "Deletes the model's weights from the disks of all nodes that are up.  What it\n"
                           "shares with another model stays.  A model that is loaded must be unloaded\n"
                           "first.  Your own model files (caravand --models, or the file that it was loaded\n"
                           "from) are not touched.\n"
                           "\n"
                           "  --yes                  do not ask on a terminal\n";

/* Asks on a terminal; false: no. */
static bool rm_is_confirmed(const struct stored *s, const char *model) {
	char where[512], answer[16] = "";
	for (size_t i = 0; i < s->envs; i++) {
		const Caravan__CtlModel *m = stored_at(s, i);
		if (strcmp(m->name, model) != 0)
			continue;
		stored_where(m, where, sizeof where);
		fprintf(stderr, "Delete %s (%s, on %s) from the cluster's disks? [y/N] ", m->name,
		        size_text((double)m->bytes).s, where);
		fflush(stderr);
		return fgets(answer, sizeof answer, stdin) && (*answer == 'y' || *answer == 'Y');
	}
	return true; /* the daemon reports that the model does not exist */
}

/* The result on one node. */
static void rm_print_removed(const Caravan__CtlRemoved *m, uint64_t *freed) {
	*freed += m->freed;
	if (*m->error) {
		fprintf(stderr, "caravan: %s: %s\n", m->node, m->error);
		return;
	}
	if (m->freed)
		printf("%s: %s freed\n", m->node, size_text((double)m->freed).s);
	if (m->shared)
		printf("%s: %s stays, since another model has it too\n", m->node,
		        size_text((double)m->shared).s);
	if (m->in_use)
		printf("%s: %s stays, since a program has it open: try again when that has ended\n", m->node,
		        size_text((double)m->in_use).s);
}

struct removed {
	uint64_t freed;
	bool stays;
};

static int rm_take(void *arg, struct client *c, const Caravan__Envelope *env) {
	struct removed *r = arg;
	(void)c;
	if (env->body_case != CARAVAN__ENVELOPE__BODY_CTL_REMOVED)
		return 0;
	rm_print_removed(env->ctl_removed, &r->freed);
	r->stays = r->stays || *env->ctl_removed->error || env->ctl_removed->in_use;
	return 0;
}

static int rm_remove(const struct args *a, const char *model) {
	struct removed r = {0};
	Caravan__CtlRemove cmd = CARAVAN__CTL_REMOVE__INIT;
	Caravan__Envelope ask = WIRE_ENVELOPE(CTL_REMOVE, ctl_remove, &cmd);
	cmd.model = wire_string(model);
	int rc = simple_ask(a, &ask, rm_take, &r);
	if (rc == 0)
		printf("Deleted %s: %s freed.\n", model, size_text((double)r.freed).s);
	return rc == 0 && r.stays ? EXIT_FAILED : rc;
}

static int rm_run(int argc, char **argv) {
	struct args a;
	bool yes = !isatty(STDIN_FILENO);
	args_begin(&a, &command_rm, argc, argv);
	for (int o; (o = args_next(&a, "", longs)) != -1;)
		yes = yes || o == OPT_YES;
	args_operands(&a, 1, 1, "MODEL");
	const char *model = argv[optind];
	if (!wire_name_ok(model))
		return fail("'%s' is not the name of a model; 'caravan models' lists them", model);
	if (!yes) {
		struct stored s;
		int rc = stored_fetch(&s, &a);
		if (rc != 0)
			return rc;
		bool sure = rm_is_confirmed(&s, model);
		stored_clear(&s);
		if (!sure)
			return fail("%s stays", model);
	}
	return rm_remove(&a, model);
}

const struct command command_rm = {.name = "rm",
        .usage = "[--yes] MODEL",
        .summary = "delete a model from the cluster's disks",
        .help = help,
        .run = rm_run};
