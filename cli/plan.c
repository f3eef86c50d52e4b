/* caravan plan: what loading a model would do and what to expect, on the cluster or on machines that are described. */
#include "cli/advice.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/command.h"
#include "daemon/plan/advice.h"
#include "daemon/plan/machines.h"
#include "daemon/plan/shapes.h"
#include "proto/paths.h"
#include "shard/import.h"
#include "shard/kv.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_NAME = OPT_OWN, OPT_CONTEXT, OPT_PARALLEL, OPT_KV, OPT_NODES, OPT_CLUSTER, OPT_SHAPE, OPT_JSON };

static const struct option longs[] = {
        {"name", required_argument, NULL, OPT_NAME},
        {"context", required_argument, NULL, OPT_CONTEXT},
        {"parallel", required_argument, NULL, OPT_PARALLEL},
        {"kv", required_argument, NULL, OPT_KV},
        {"nodes", required_argument, NULL, OPT_NODES},
        {"cluster", required_argument, NULL, OPT_CLUSTER},
        {"shape", required_argument, NULL, OPT_SHAPE},
        {"json", no_argument, NULL, OPT_JSON},
        ARGS_COMMON,
};

static const char help[] =
        "FILE is a GGUF file on this machine, of which the header is read.  Nothing is moved and nothing changes.\n"
        "Exit status 0 when the model fits, 1 when it does not.\n"
        "\n"
        "As for load:\n"
        "  --context N            tokens of a sequence at most (default: the trained length, at most 8192)\n"
        "  --parallel N           sequences at a time (4)\n"
        "  --kv f16|q8_0          type of the KV cache: q8_0 takes about half the memory of f16 (f16)\n"
        "  --nodes A,B            these nodes, each with at least one layer, or 'all' (default: the planner chooses)\n"
        "  --name NAME            of the model, for the answer alone\n"
        "\n"
        "Instead of a cluster, or of a file:\n"
        "  --cluster DESCRIPTION  machines that this text describes, the first of which coordinates; several times\n"
        "                         to add them up.  No daemon is asked.  See caravan(1), and contrib/machines\n"
        "  --shape NAME:TYPE      a well-known model with weights of one type, such as llama2-70b:Q4_0\n"
        "\n"
        "Output:\n"
        "  --json                 the same facts for programs\n";

#define DESCRIPTION_MAX (1 << 20)

struct asked {
	Caravan__CtlPlan cmd;
	const char *name;
	struct machines machines;
	bool described, json;
};

static int print(const struct asked *q, const Caravan__CtlAdvice *a) {
	return q->json ? advice_print_json(a, q->described) : advice_print(a, q->described);
}

/* ---- a daemon ---- */

static int ask_daemon(const struct asked *q, const char *control, const int *fds, size_t nfds) {
	struct client c;
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env = NULL;
	Caravan__Envelope *kept = NULL, ask = CARAVAN__ENVELOPE__INIT;
	ask.body_case = CARAVAN__ENVELOPE__BODY_CTL_PLAN;
	ask.ctl_plan = (Caravan__CtlPlan *)&q->cmd;
	int rc = client_open(&c, control);
	if (rc == 0)
		rc = client_send(&c, &ask, NULL, 0, fds, nfds);
	while (rc == 0 && (env = client_next(&c, &payload, &len))) {
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_END)
			break;
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ERROR)
			rc = fail("%s", env->ctl_error->message);
		else if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ADVICE && !kept)
			kept = client_take(&c);
	}
	if (rc == 0 && !env)
		rc = EXIT_FAILED;
	else if (rc == 0)
		rc = kept ? print(q, kept->ctl_advice) : fail("the daemon gave no advice");
	wire_free(kept);
	client_close(&c);
	return rc;
}

/* ---- a description ---- */

static int read_description(struct machines *ms, const char *path) {
	char err[512];
	int rc = 0;
	FILE *f = fopen(path, "re");
	char *text = malloc(DESCRIPTION_MAX + 1);
	size_t len = f && text ? fread(text, 1, DESCRIPTION_MAX + 1, f) : 0;
	if (!text)
		rc = fail("%s", strerror(ENOMEM));
	else if (!f || ferror(f))
		rc = fail("cannot read %s: %s", path, strerror(errno));
	else if (len > DESCRIPTION_MAX)
		rc = fail("%s is longer than a description of machines can be", path);
	else if (machines_parse(ms, text, len, path, err, sizeof err) < 0)
		rc = fail("%s", err);
	if (f)
		fclose(f);
	free(text);
	return rc;
}

static bool is_named(const struct asked *q, const char *name) {
	for (size_t i = 0; i < q->cmd.n_nodes; i++)
		if (strcmp(q->cmd.nodes[i], name) == 0)
			return true;
	return q->cmd.all_nodes;
}

static bool is_described(const struct asked *q, const char *name) {
	for (size_t i = 0; i < q->machines.count; i++)
		if (strcmp(q->machines.machine[i].name, name) == 0)
			return true;
	return false;
}

static int plan_described(const struct asked *q, const struct manifest *m) {
	char err[512];
	struct planner_node node[WIRE_NODES_MAX];
	struct advice *a = NULL;
	struct planner_input in = {.manifest = m,
	        .context = q->cmd.context ? q->cmd.context : planner_context(m->hp.context),
	        .parallel = q->cmd.parallel ? q->cmd.parallel : PLANNER_PARALLEL,
	        .max_rows = planner_rows(0, m->hp.dim),
	        .kv = q->cmd.kv ? (enum kern_kv)(q->cmd.kv - 1) : KERN_KV_F16,
	        .node = node,
	        .nodes = q->machines.count};
	if (in.context > m->hp.context)
		return fail("a context of %u is more than the model was trained for: %u", in.context,
		        m->hp.context);
	if (kv_check(&m->hp, in.kv, err, sizeof err))
		return fail("%s", err);
	for (size_t i = 0; i < q->cmd.n_nodes; i++)
		if (!is_described(q, q->cmd.nodes[i]))
			return fail("%s is none of the described machines", q->cmd.nodes[i]);
	for (size_t i = 0; i < in.nodes; i++) {
		const struct machine *one = &q->machines.machine[i];
		node[i] = machines_node(one, m->hp.dim);
		node[i].required = is_named(q, one->name);
		node[i].excluded = q->cmd.n_nodes > 0 && !node[i].required;
		/* every node of a daemon's cluster is charged for the daemon's own threads; here for the most */
		in.team = one->threads > in.team ? one->threads : in.team;
	}
	if (advice_create(&a, &in, q->name, err, sizeof err) < 0)
		return fail("%s", err);
	int rc = print(q, advice_message(a));
	advice_destroy(a);
	return rc;
}

static int plan_without_daemon(const struct asked *q, const int *fds, size_t nfds) {
	char err[1024];
	struct manifest *m = NULL;
	int rc = *q->cmd.shape ? shapes_manifest(&m, q->cmd.shape, err, sizeof err)
	                       : import_shape(&m, fds, nfds, q->cmd.file, NULL, err, sizeof err);
	if (rc < 0)
		return fail("%s", err);
	rc = plan_described(q, m);
	manifest_destroy(m);
	return rc;
}

static int run(int argc, char **argv) {
	struct args a;
	char *nodes[WIRE_NODES_MAX];
	int fds[FRAME_FDS_MAX], rc = 0;
	size_t nfds = 0;
	struct asked q = {.cmd = CARAVAN__CTL_PLAN__INIT, .name = ""};
	const char *clusters[WIRE_NODES_MAX];
	size_t nclusters = 0;
	args_begin(&a, &command_plan, argc, argv);
	for (int o; (o = args_next(&a, "", longs)) != -1;)
		switch (o) {
		case OPT_NAME:
			if (!wire_name_ok(optarg))
				args_usage(&a,
				        "--name: '%s' is no name: 1 to %d letters, digits, '.', '_' and '-'",
				        optarg, WIRE_NAME_MAX);
			q.name = q.cmd.name = optarg;
			break;
		case OPT_CONTEXT:
			q.cmd.context = (uint32_t)args_uint("--context", optarg, 1, WIRE_CONTEXT_MAX);
			break;
		case OPT_PARALLEL:
			q.cmd.parallel = (uint32_t)args_uint("--parallel", optarg, 1, WIRE_SEQS_MAX);
			break;
		case OPT_KV:
			q.cmd.kv = args_kv(optarg);
			break;
		case OPT_NODES:
			q.cmd.all_nodes = strcmp(optarg, "all") == 0;
			q.cmd.n_nodes = q.cmd.all_nodes ? 0 : args_list(optarg, nodes, WIRE_NODES_MAX);
			if (!q.cmd.all_nodes && q.cmd.n_nodes == 0)
				args_usage(&a, "--nodes needs names, or 'all'");
			break;
		case OPT_CLUSTER:
			if (nclusters == WIRE_NODES_MAX)
				args_usage(&a, "--cluster: at most %d times", WIRE_NODES_MAX);
			clusters[nclusters++] = optarg;
			break;
		case OPT_SHAPE:
			if (!*optarg || !wire_line_ok(optarg, WIRE_NAME_MAX))
				args_usage(&a, "--shape: '%s' is not NAME:TYPE", optarg);
			q.cmd.shape = optarg;
			break;
		case OPT_JSON:
			q.json = true;
			break;
		}
	args_operands(&a, *q.cmd.shape ? 0 : 1, *q.cmd.shape ? 0 : 1, "FILE");
	q.cmd.nodes = nodes;
	q.described = nclusters > 0;
	for (size_t i = 0; i < nclusters && rc == 0; i++)
		rc = read_description(&q.machines, clusters[i]);
	if (rc == 0 && q.described && q.machines.count == 0)
		rc = fail("%s describes no machine", clusters[0]);
	if (rc == 0 && !*q.cmd.shape) {
		q.cmd.file = argv[optind];
		rc = client_open_model(q.cmd.file, fds, &nfds);
	}
	if (rc == 0) {
		char stem[WIRE_NAME_MAX + 1];
		paths_model_name(stem, q.cmd.file);
		if (!*q.name)
			q.name = *q.cmd.shape ? q.cmd.shape : stem;
		rc = q.described ? plan_without_daemon(&q, fds, nfds) : ask_daemon(&q, a.control, fds, nfds);
	}
	while (nfds > 0)
		close(fds[--nfds]);
	machines_clear(&q.machines);
	return rc;
}

const struct command command_plan = {.name = "plan",
        .usage = "[OPTION]... FILE | --shape NAME:TYPE",
        .summary = "say what loading a model would do and what to expect",
        .help = help,
        .run = run};
