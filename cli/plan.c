/* caravan plan: what loading a model would do and what to expect, on the cluster or on machines that are described. */
#include "cli/advice.h"
#include "cli/args.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "common/paths.h"
#include "daemon/plan/advice.h"
#include "daemon/plan/machines.h"
#include "daemon/plan/presets.h"
#include "daemon/text/tokenizer.h"
#include "shard/forward/kv.h"
#include "shard/gguf/gguf.h"
#include "shard/import/import.h"
#include "shard/model/vocab.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_CLUSTER = OPT_MODEL_OWN, OPT_SHAPE, OPT_JSON };

static const struct option longs[] = {
        MODEL_OPTIONS,
        {"cluster", required_argument, NULL, OPT_CLUSTER},
        {"shape", required_argument, NULL, OPT_SHAPE},
        {"json", no_argument, NULL, OPT_JSON},
        ARGS_COMMON,
};

static const char help[] =
        "FILE is a GGUF file on this machine; only its header is read, and nothing is\n"
        "moved or changed.  Exit status 0 when the model fits, 1 when it does not.\n"
        "\n"
        "As for load; --template is checked, and does not change a plan:\n" MODEL_OPTIONS_HELP
        "  --draft FILE           also plan a smaller model on the coordinator that\n"
        "                         drafts for this one; or NAME:TYPE, as for --shape\n" MODEL_OPTIONS_HELP_PRE
        "  --name NAME            the name of the model in the output\n"
        "\n"
        "Instead of a cluster, or of a file:\n"
        "  --cluster DESCRIPTION  plan for the machines that this file describes; the\n"
        "                         first one coordinates.  May be repeated to add\n"
        "                         machines.  No daemon is asked.  See caravan(1) and\n"
        "                         contrib/machines\n"
        "  --shape NAME:TYPE      a well-known model with weights of this type or\n"
        "                         mixture, such as llama2-70b:Q4_K_M\n"
        "\n"
        "Output:\n"
        "  --json                 print the same facts as JSON\n";

#define DESCRIPTION_MAX (1 << 20)

/* A model to be planned. */
struct asked {
	Caravan__CtlPlan cmd;
	const char *name;
	int fds[FRAME_FDS_MAX];
	size_t nfds;
	const struct machines *machines; /* NULL: ask a daemon */
};

/* The advice for it; one of the two owns it. */
struct answer {
	Caravan__Envelope *env;
	struct advice *advice;
};

static const Caravan__CtlAdvice *plan_advice_message(const struct answer *r) {
	return r->env ? r->env->ctl_advice : r->advice ? advice_message(r->advice) : NULL;
}

static void plan_answer_clear(struct answer *r) {
	wire_free(r->env);
	advice_destroy(r->advice);
}

/* ---- a daemon ---- */

static int plan_ask_daemon(struct answer *out, const struct asked *q, const char *control) {
	struct client c;
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env = NULL;
	Caravan__Envelope ask = WIRE_ENVELOPE(CTL_PLAN, ctl_plan, (Caravan__CtlPlan *)&q->cmd);
	int rc = client_open(&c, control);
	if (rc == 0)
		rc = client_send(&c, &ask, NULL, 0, q->fds, q->nfds);
	while (rc == 0 && (env = client_next(&c, &payload, &len))) {
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_END)
			break;
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ERROR)
			rc = fail("%s", env->ctl_error->message);
		else if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ADVICE && !out->env)
			out->env = client_take(&c);
	}
	if (rc == 0 && !env)
		rc = EXIT_FAILED;
	else if (rc == 0 && !out->env)
		rc = fail("the daemon sent no plan");
	client_close(&c);
	return rc;
}

/* ---- a description ---- */

static int plan_read_description(struct machines *ms, const char *path) {
	char err[512];
	int rc = 0;
	FILE *f = fopen(path, "re");
	char *text = malloc(DESCRIPTION_MAX + 1);
	size_t len = f && text ? fread(text, 1, DESCRIPTION_MAX + 1, f) : 0;
	if (!text)
		rc = fail("out of memory");
	else if (!f || ferror(f))
		rc = fail("cannot read %s: %s", path, strerror(errno));
	else if (len > DESCRIPTION_MAX)
		rc = fail("%s is too long for a description of machines", path);
	else if (machines_parse(ms, text, len, path, err, sizeof err) < 0)
		rc = fail("%s", err);
	if (f)
		fclose(f);
	free(text);
	return rc;
}

static bool plan_node_is_named(const struct asked *q, const char *name) {
	for (size_t i = 0; i < q->cmd.n_nodes; i++)
		if (strcmp(q->cmd.nodes[i], name) == 0)
			return true;
	return q->cmd.all_nodes;
}

static bool plan_is_described(const struct asked *q, const char *name) {
	for (size_t i = 0; i < q->machines->count; i++)
		if (strcmp(q->machines->machine[i].name, name) == 0)
			return true;
	return false;
}

static int plan_described(struct answer *out, const struct asked *q, const struct manifest *m) {
	char err[512];
	struct planner_node node[WIRE_NODES_MAX];
	struct planner_input in = {.manifest = m,
	        .context = q->cmd.context ? q->cmd.context : planner_context(m->hp.context),
	        .parallel = q->cmd.parallel ? q->cmd.parallel : PLANNER_PARALLEL,
	        .max_rows = planner_rows(q->cmd.drafts ? PLANNER_DRAFT_ROWS : 0, m->hp.dim),
	        .kv = q->cmd.kv ? (enum kern_kv)(q->cmd.kv - 1) : KERN_KV_F16,
	        .node = node,
	        .nodes = q->machines->count};
	if (q->cmd.drafts && in.context > m->hp.context)
		in.context = m->hp.context;
	if (in.context > m->hp.context)
		return fail("a context of %u is more than the model was trained for: %u", in.context,
		        m->hp.context);
	if (kv_check(&m->hp, in.kv, err, sizeof err))
		return fail("%s", err);
	for (size_t i = 0; i < q->cmd.n_nodes; i++)
		if (!plan_is_described(q, q->cmd.nodes[i]))
			return fail("%s is not one of the described machines", q->cmd.nodes[i]);
	for (size_t i = 0; i < in.nodes; i++) {
		const struct machine *one = &q->machines->machine[i];
		node[i] = machines_node(one, m->hp.dim);
		node[i].required = plan_node_is_named(q, one->name) || (q->cmd.drafts && i == in.coordinator);
		node[i].excluded = (q->cmd.n_nodes > 0 || q->cmd.drafts) && !node[i].required;
		if (i == in.coordinator)
			node[i].memory -= q->cmd.reserved < node[i].memory ? q->cmd.reserved : node[i].memory;
		/* a daemon counts each node's own number of threads; here the largest counts for all */
		in.team = one->threads > in.team ? one->threads : in.team;
	}
	return advice_create(&out->advice, &in, q->name, err, sizeof err) < 0 ? fail("%s", err) : 0;
}

static int plan_without_daemon(struct answer *out, const struct asked *q) {
	char err[1024];
	struct manifest *m = NULL;
	struct import_options o = {
	        .text.pre = q->cmd.pre, .context = q->cmd.context, .check = tokenizer_check};
	int rc = *q->cmd.shape ? presets_manifest(&m, q->cmd.shape, err, sizeof err)
	                       : import_metadata(&m, q->fds, q->nfds, q->cmd.file, &o, NULL, err, sizeof err);
	if (rc < 0)
		return fail("%s", err);
	if (*o.text.note)
		fprintf(stderr, "caravan: %s: %s\n", q->cmd.file, o.text.note);
	rc = plan_described(out, q, m);
	manifest_destroy(m);
	return rc;
}

static int plan_advise(struct answer *out, const struct asked *q, const char *control) {
	return q->machines ? plan_without_daemon(out, q) : plan_ask_daemon(out, q, control);
}

/* ---- a smaller model beside it ---- */

static int plan_open_vocab(struct vocab **out, const struct asked *q) {
	char err[512];
	struct gguf *g = NULL;
	int rc = gguf_open(&g, q->fds, q->nfds, q->cmd.file, err, sizeof err);
	if (rc == 0)
		rc = vocab_from_gguf(out, g, NULL, err, sizeof err);
	gguf_close(g);
	return rc ? fail("%s", err) : 0;
}

/* Whether two files have the same tokenizer, as load checks; presets have none to compare. */
static int plan_check_tokenizer(const struct asked *q, const struct asked *small) {
	struct vocab *a = NULL, *b = NULL;
	char why[VOCAB_WHY];
	if (*q->cmd.shape || *small->cmd.shape)
		return 0;
	int rc = plan_open_vocab(&a, q);
	if (rc == 0)
		rc = plan_open_vocab(&b, small);
	if (rc == 0 && !vocab_same_tokens(a, b, why, sizeof why))
		rc = fail("%s cannot draft for %s: its tokenizer is different (%s)", small->cmd.file,
		        q->cmd.file, why);
	vocab_destroy(a);
	vocab_destroy(b);
	return rc;
}

/* Plans the smaller model as load does: first, and only on the coordinator; its memory is not available to the larger one. */
static int plan_advise_draft(struct answer *out, struct asked *q, struct asked *small, const char *control) {
	small->machines = q->machines;
	small->cmd.context = q->cmd.context;
	small->cmd.parallel = q->cmd.parallel;
	small->cmd.kv = q->cmd.kv;
	small->cmd.pre = q->cmd.pre;
	small->cmd.drafts = true;
	int rc = plan_check_tokenizer(q, small);
	if (rc == 0)
		rc = plan_advise(out, small, control);
	if (rc == 0 && (plan_advice_message(out)->missing || plan_advice_message(out)->missing_disk))
		rc = fail("the draft %s does not fit: %s", small->name, plan_advice_message(out)->reason);
	if (rc == 0)
		q->cmd.reserved = advice_needs(plan_advice_message(out));
	return rc;
}

/* Opens the file, unless a shape is planned, and names the model after either. */
static int plan_open_asked(struct asked *q, char *file, char stem[WIRE_NAME_MAX + 1]) {
	if (!*q->cmd.shape) {
		q->cmd.file = file;
		int rc = client_open_model(file, q->fds, &q->nfds);
		if (rc != 0)
			return rc;
	}
	if (!*q->name) {
		paths_model_name(stem, WIRE_NAME_MAX + 1, q->cmd.file);
		q->name = *q->cmd.shape ? q->cmd.shape : stem;
	}
	return 0;
}

static int plan_run(int argc, char **argv) {
	struct args a;
	struct model_options o;
	char stem[WIRE_NAME_MAX + 1], small_stem[WIRE_NAME_MAX + 1];
	int rc = 0;
	bool json = false;
	struct asked q = {.cmd = CARAVAN__CTL_PLAN__INIT, .name = ""};
	struct asked small = q;
	struct answer r = {0}, of_small = {0};
	struct machines machines = {0};
	const char *clusters[WIRE_NODES_MAX];
	size_t nclusters = 0;
	args_begin(&a, &command_plan, argc, argv);
	model_options_init(&o);
	for (int option; (option = args_next(&a, "", longs)) != -1;)
		switch (model_options_take(&o, &a, option) ? 0 : option) {
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
			json = true;
			break;
		}
	args_operands(&a, *q.cmd.shape ? 0 : 1, *q.cmd.shape ? 0 : 1, "FILE");
	MODEL_OPTIONS_FILL(&q.cmd, &o);
	q.name = o.name;
	for (size_t i = 0; i < nclusters && rc == 0; i++)
		rc = plan_read_description(&machines, clusters[i]);
	if (rc == 0 && nclusters > 0 && machines.count == 0)
		rc = fail("%s describes no machine", clusters[0]);
	q.machines = nclusters > 0 ? &machines : NULL;
	if (o.draft && strchr(o.draft, ':') && access(o.draft, F_OK) != 0) {
		if (!wire_line_ok(o.draft, WIRE_NAME_MAX))
			args_usage(&a, "--draft: '%s' is neither a file nor NAME:TYPE", o.draft);
		small.cmd.shape = o.draft;
	}
	if (rc == 0)
		rc = plan_open_asked(&q, argv[optind], stem);
	if (rc == 0 && o.draft)
		rc = plan_open_asked(&small, o.draft, small_stem);
	if (rc == 0 && o.draft)
		rc = plan_advise_draft(&of_small, &q, &small, a.control);
	if (rc == 0)
		rc = plan_advise(&r, &q, a.control);
	if (rc == 0)
		rc = (json ? advice_print_json : advice_print)(
		        plan_advice_message(&r), plan_advice_message(&of_small), nclusters > 0);
	plan_answer_clear(&r);
	plan_answer_clear(&of_small);
	while (q.nfds > 0)
		close(q.fds[--q.nfds]);
	while (small.nfds > 0)
		close(small.fds[--small.nfds]);
	machines_clear(&machines);
	return rc;
}

const struct command command_plan = {.name = "plan",
        .usage = "[OPTION]... FILE | --shape NAME:TYPE",
        .summary = "show what loading a model would do and what to expect",
        .help = help,
        .run = plan_run};
