/* caravan load: puts a model file on the cluster. */
#include "cli/client.h"
#include "cli/command.h"
#include "cli/report.h"
#include "cli/simple.h"
#include "proto/paths.h"
#include "proto/size.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OPT_NAME = OPT_OWN, OPT_CONTEXT, OPT_PARALLEL, OPT_KV, OPT_NODES, OPT_COPIES, OPT_DRAFT };

static const struct option longs[] = {
        {"name", required_argument, NULL, OPT_NAME},
        {"context", required_argument, NULL, OPT_CONTEXT},
        {"parallel", required_argument, NULL, OPT_PARALLEL},
        {"kv", required_argument, NULL, OPT_KV},
        {"nodes", required_argument, NULL, OPT_NODES},
        {"copies", required_argument, NULL, OPT_COPIES},
        {"draft", required_argument, NULL, OPT_DRAFT},
        ARGS_COMMON,
};

static const char help[] =
        "FILE is a GGUF file on this machine, or any part of a split one.  The node that it is loaded on coordinates;\n"
        "each node fetches the layers that it needs, checks them, and keeps them on its disk.  Returns when the model\n"
        "serves and every node knows it.\n"
        "With the NAME of a model that the cluster knows, whose coordinator is down, say, and no file: from the disks that\n"
        "it is on, with the context, parallel, kv and copies that it had.\n"
        "\n"
        "  --name NAME            of the model (default: the file's stem)\n"
        "  --context N            tokens of a sequence at most (default: the trained length, at most 8192)\n"
        "  --parallel N           sequences at a time (4)\n"
        "  --kv f16|q8_0          type of the KV cache: q8_0 takes about half the memory of f16 (f16)\n"
        "  --nodes A,B            these nodes, each with at least one layer, or 'all' (default: the planner chooses)\n"
        "  --copies N             nodes whose disks are to have each part of the model (2, or as many as there are);\n"
        "                         filled in the background once it serves, see caravan status\n"
        "  --draft FILE           a smaller model of the same words, which this node runs as NAME-draft to guess what comes next:\n"
        "                         the same answers, sooner where a token goes a long way\n";

/* What of the model does not fit, and what that costs: whoever loads it should know. */
static void say_reading(const struct args *a, const char *model) {
	struct report r;
	if (report_fetch(&r, a) != 0)
		return;
	for (size_t i = 0; i < r.models; i++) {
		const Caravan__Plan *p = r.model[i]->plan;
		for (size_t k = 0; strcmp(p->model, model) == 0 && k < p->n_stages; k++) {
			const Caravan__Stage *s = p->stages[k];
			if (!s->streamed)
				continue;
			fprintf(stderr,
			        "caravan: layers %u to %u do not fit the memory of %s: each step reads %s from disk",
			        s->first, s->last - 1, report_node_name(&r, s->node),
			        size_text((double)s->streamed).s);
			if (s->seconds > 0)
				fprintf(stderr, ", and takes %s", size_ms(s->seconds).s);
			fprintf(stderr, "\n");
		}
	}
	report_clear(&r);
}

/* Loads what cmd says, from its file if there is one. An exit status, after saying what went wrong. */
static int load(const struct args *a, Caravan__CtlLoad *cmd) {
	struct client c;
	int fds[FRAME_FDS_MAX];
	size_t nfds = 0;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	env.body_case = CARAVAN__ENVELOPE__BODY_CTL_LOAD;
	env.ctl_load = cmd;
	/* what is no file and could be none by its looks is a model that the cluster knows */
	bool known = !client_is_path(cmd->file) && access(cmd->file, F_OK) != 0 && wire_name_ok(cmd->file);
	int rc = known ? 0 : client_open_model(cmd->file, fds, &nfds);
	if (rc != 0)
		return rc;
	rc = client_open(&c, a->control);
	if (rc == 0)
		rc = client_send(&c, &env, NULL, 0, fds, nfds);
	while (nfds > 0)
		close(fds[--nfds]);
	if (rc == 0)
		rc = client_wait(&c);
	client_close(&c);
	return rc;
}

/* The smaller model first, under the larger one's name with "-draft" behind it; the two stay or fail together. */
static int load_with_draft(const struct args *a, Caravan__CtlLoad *cmd, const char *model, char *draft_file) {
	Caravan__CtlLoad small = CARAVAN__CTL_LOAD__INIT;
	char name[WIRE_NAME_MAX + 8];
	snprintf(name, sizeof name, "%s-draft", model);
	if (!wire_name_ok(name))
		args_usage(a, "--draft: %s is too long for a name, choose another with --name", name);
	small.file = draft_file;
	small.name = name;
	small.context = cmd->context;
	small.parallel = cmd->parallel;
	small.kv = cmd->kv;
	small.copies = cmd->copies;
	small.drafts = true;
	int rc = load(a, &small);
	if (rc != 0)
		return rc;
	cmd->draft = name;
	rc = load(a, cmd);
	if (rc != 0) {
		Caravan__CtlUnload unload = CARAVAN__CTL_UNLOAD__INIT;
		Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
		unload.model = name;
		env.body_case = CARAVAN__ENVELOPE__BODY_CTL_UNLOAD;
		env.ctl_unload = &unload;
		(void)simple_run(a, &env);
	}
	return rc;
}

static int run(int argc, char **argv) {
	struct args a;
	char *nodes[WIRE_NODES_MAX], *draft = NULL, model[WIRE_NAME_MAX + 1];
	Caravan__CtlLoad cmd = CARAVAN__CTL_LOAD__INIT;
	args_begin(&a, &command_load, argc, argv);
	for (int o; (o = args_next(&a, "", longs)) != -1;)
		switch (o) {
		case OPT_NAME:
			if (!wire_name_ok(optarg))
				args_usage(&a,
				        "--name: '%s' is no name: 1 to %d letters, digits, '.', '_' and '-'",
				        optarg, WIRE_NAME_MAX);
			cmd.name = optarg;
			break;
		case OPT_CONTEXT:
			cmd.context = (uint32_t)args_uint("--context", optarg, 1, WIRE_CONTEXT_MAX);
			break;
		case OPT_PARALLEL:
			cmd.parallel = (uint32_t)args_uint("--parallel", optarg, 1, WIRE_SEQS_MAX);
			break;
		case OPT_COPIES:
			cmd.copies = (uint32_t)args_uint("--copies", optarg, 1, WIRE_NODES_MAX);
			break;
		case OPT_DRAFT:
			draft = optarg;
			break;
		case OPT_KV:
			cmd.kv = args_kv(optarg);
			break;
		case OPT_NODES:
			cmd.all_nodes = strcmp(optarg, "all") == 0;
			cmd.n_nodes = cmd.all_nodes ? 0 : args_list(optarg, nodes, WIRE_NODES_MAX);
			if (!cmd.all_nodes && cmd.n_nodes == 0)
				args_usage(&a, "--nodes needs names, or 'all'");
			break;
		}
	args_operands(&a, 1, 1, "FILE");
	cmd.file = argv[optind];
	cmd.nodes = nodes;
	if (*cmd.name)
		snprintf(model, sizeof model, "%s", cmd.name);
	else
		paths_model_name(model, cmd.file);
	int rc = draft ? load_with_draft(&a, &cmd, model, draft) : load(&a, &cmd);
	if (rc == 0)
		say_reading(&a, model);
	return rc;
}

const struct command command_load = {.name = "load",
        .usage = "[OPTION]... FILE | NAME",
        .summary = "put a model on the cluster",
        .help = help,
        .run = run};
