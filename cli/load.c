/* caravan load: puts a model file on the cluster. */
#include "cli/advice.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/model_options.h"
#include "cli/report.h"
#include "cli/simple.h"
#include "cli/table.h"
#include "common/paths.h"
#include "common/size.h"
#include "daemon/text/utf8.h"
#include "kernels/kernels.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_COPIES = OPT_MODEL_OWN };

static const struct option longs[] = {
        MODEL_OPTIONS,
        {"copies", required_argument, NULL, OPT_COPIES},
        ARGS_COMMON,
};

static const char help[] =
        "FILE is a GGUF file on this machine, or any part of a split one.  This node\n"
        "becomes the model's coordinator.  Each node fetches the layers that it needs,\n"
        "verifies them, and keeps them on its disk.  Returns when the model serves and\n"
        "every node knows it.  After Ctrl-C the daemon continues to load it; 'caravan\n"
        "unload NAME' stops it.\n"
        "\n"
        "Given the NAME of a model that the cluster knows instead of a file, it loads the\n"
        "model from the nodes' disks, with the context, parallel, kv and copies that it\n"
        "had.  Use this when its coordinator is down.\n"
        "\n"
        "  --name NAME            name of the model (default: the file's name without\n"
        "                         .gguf)\n" MODEL_OPTIONS_HELP
        "  --copies N             keep each part of the model on the disks of N nodes (2,\n"
        "                         or as many as there are); it is copied in the\n"
        "                         background once the model serves: see caravan status\n"
        "  --draft FILE           a smaller model with the same tokenizer, which this\n"
        "                         node runs as NAME-draft to draft tokens ahead: the\n"
        "                         same answers, faster when latency between nodes\n"
        "                         dominates\n" MODEL_OPTIONS_HELP_PRE;

static const Caravan__ReportModel *load_find_model(const struct report *r, const char *model) {
	for (size_t i = 0; i < r->models; i++)
		if (strcmp(r->model[i]->plan->model, model) == 0)
			return r->model[i];
	return NULL;
}

/* Prints the chosen plan, before anything moves.  It is made from the file's header, and made again when the file has been
 * hashed and the nodes have said what they hold: then it is printed again only if it has changed. */
static int load_print_plan(void *arg, struct client *c, const Caravan__Envelope *env) {
	uint64_t *printed = arg, sum = 14695981039346656037u; /* FNV-1a of who has which layers */
	const Caravan__CtlAdvice *a = env->ctl_advice;
	(void)c;
	if (env->body_case != CARAVAN__ENVELOPE__BODY_CTL_ADVICE)
		return 0;
	for (size_t i = 0; i < a->n_nodes; i++) {
		char part[WIRE_NAME_MAX + 32];
		snprintf(part, sizeof part, "%s %u %u;", a->nodes[i]->name, a->nodes[i]->first,
		        a->nodes[i]->last);
		for (const char *at = part; *at; at++)
			sum = (sum ^ (uint8_t)*at) * 1099511628211u;
	}
	if (sum != *printed)
		advice_print_chosen(a);
	*printed = sum;
	return 0;
}

/* Whether experts are what is read from disk. */
static bool load_has_experts(const struct report *r, const Caravan__ReportModel *m) {
	for (size_t k = 0; k < m->plan->n_stages; k++) {
		const Caravan__StageState *st = report_stage(r, m, k);
		if (st && st->experts)
			return true;
	}
	return false;
}

/* Layers that do not fit, and their cost: the user should know. */
static void load_print_reading(const struct report *r, const Caravan__ReportModel *m) {
	const Caravan__Plan *p = m->plan;
	for (size_t k = 0; k < p->n_stages; k++) {
		const Caravan__Stage *s = p->stages[k];
		if (!s->streamed)
			continue;
		fprintf(stderr,
		        "caravan: %s do%s not fit the memory of %s: ", size_layers_named(s->first, s->last).s,
		        s->last - s->first == 1 ? "es" : "", report_node_name(r, s->node));
		fprintf(stderr,
		        load_has_experts(r, m)
		                ? "experts that are not in memory are read from disk, about %s for a token"
		                : "each step reads %s from disk",
		        size_text((double)s->streamed).s);
		if (s->seconds > 0)
			fprintf(stderr, ", which takes %s", size_duration(s->seconds).s);
		fprintf(stderr, "\n");
	}
}

#define NAMED_MAX 6 /* nodes that one line names */

/* Reports that the model is served, and where; `already`: it was before. */
static int load_print_served(const struct args *a, const char *model, bool already) {
	struct report r;
	int rc = report_fetch(&r, a);
	if (rc != 0)
		return rc;
	const Caravan__ReportModel *m = load_find_model(&r, model);
	if (m) {
		const Caravan__Plan *p = m->plan;
		char where[NAMED_MAX * (WIRE_NAME_MAX + 32)] = "";
		size_t len = 0;
		for (size_t i = 0; i < p->n_stages && i < NAMED_MAX; i++)
			len += (size_t)snprintf(where + len, sizeof where - len, "%s %s (%s)", i ? "," : ":",
			        report_node_name(&r, p->stages[i]->node),
			        size_layers_named(p->stages[i]->first, p->stages[i]->last).s);
		table_say(0, "%s is %sserved on %zu node%s%s%s.", model, already ? "already " : "",
		        p->n_stages, p->n_stages == 1 ? "" : "s", where,
		        p->n_stages > NAMED_MAX ? ", ..." : "");
		load_print_reading(&r, m);
	}
	report_clear(&r);
	return EXIT_OK;
}

/* Whether a plan uses other nodes than the named ones (a node named by its id is not compared). */
static bool load_is_elsewhere(const struct report *r, const Caravan__CtlLoad *cmd, const Caravan__Plan *p) {
	size_t up = 0;
	for (size_t i = 0; i < r->nodes; i++)
		up += strcmp(r->node[i]->state, "up") == 0;
	if (cmd->all_nodes && p->n_stages < up)
		return true;
	for (size_t i = 0; i < cmd->n_nodes; i++) {
		bool known = false, has = false;
		for (size_t k = 0; k < r->nodes; k++)
			known = known || strcmp(r->node[k]->name, cmd->nodes[i]) == 0;
		for (size_t k = 0; k < p->n_stages; k++)
			has = has || strcmp(report_node_name(r, p->stages[k]->node), cmd->nodes[i]) == 0;
		if (known && !has)
			return true;
	}
	return cmd->n_nodes > 0 && p->n_stages != cmd->n_nodes;
}

/* Whether the model is already served.  If it is, with other options than requested: EXIT_FAILED, after reporting that;
 * loading it again would change nothing. */
static int load_serves_already(const struct args *a, const Caravan__CtlLoad *cmd, const char *model,
        const char *draft, bool *already) {
	struct report r;
	char has[128] = "";
	*already = false;
	int rc = report_fetch(&r, a);
	if (rc != 0)
		return rc;
	const Caravan__ReportModel *m = load_find_model(&r, model);
	if (m && m->phase == CARAVAN__MODEL_PHASE__SERVING) {
		const Caravan__Plan *p = m->plan;
		*already = true;
		if (cmd->context && cmd->context != p->context)
			snprintf(has, sizeof has, "a context of %u", p->context);
		else if (cmd->parallel && cmd->parallel != p->parallel)
			snprintf(has, sizeof has, "%u sequences in parallel", p->parallel);
		else if (cmd->kv && cmd->kv != 1 + p->kv)
			snprintf(has, sizeof has, "a KV cache of type %s", kern_kv_name(p->kv));
		else if (cmd->copies && cmd->copies != p->copies)
			snprintf(has, sizeof has, "%u copies", p->copies);
		else if (draft && !*p->draft)
			snprintf(has, sizeof has, "no draft");
		else if (load_is_elsewhere(&r, cmd, p))
			snprintf(has, sizeof has, "other nodes");
		else if (*cmd->template_name || *cmd->template_text)
			snprintf(has, sizeof has, "the chat template that it was loaded with");
	}
	report_clear(&r);
	return *has ? fail("%s is already served with %s; to change that, unload it first", model, has) : 0;
}

/* ---- interrupted ---- */

static char interrupted[2 * WIRE_NAME_MAX + 160];

/* The next signal ends the command, as if there were no handler. */
static void load_on_interrupt(int sig) {
	(void)sig;
	(void)!write(STDERR_FILENO, interrupted, strlen(interrupted));
}

/* The daemon has the command and continues without us: the user who interrupts should know. */
static void load_catch_interrupt(const char *model) {
	struct sigaction old, act = {.sa_handler = load_on_interrupt, .sa_flags = SA_RESTART | SA_RESETHAND};
	snprintf(interrupted, sizeof interrupted,
	        "%scaravan: the daemon continues to load %s; to stop it: caravan unload %s\n"
	        "caravan: Ctrl-C again ends this command\n",
	        isatty(STDERR_FILENO) ? "\r\033[K" : "", model, model);
	if (sigaction(SIGINT, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
		(void)sigaction(SIGINT, &act, NULL);
}

/* Loads what cmd says, from its file if there is one.  Returns an exit status, after reporting any error. */
static int load_model(const struct args *a, Caravan__CtlLoad *cmd, const char *model) {
	struct client c;
	int fds[FRAME_FDS_MAX];
	size_t nfds = 0;
	uint64_t printed = 0;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_LOAD, ctl_load, cmd);
	/* a word that is not a file and does not look like a path is a model that the cluster knows */
	bool known = !client_is_path(cmd->file) && access(cmd->file, F_OK) != 0 && wire_name_ok(cmd->file);
	int rc = known ? 0 : client_open_model(cmd->file, fds, &nfds);
	if (rc != 0)
		return rc;
	rc = client_open(&c, a->control);
	if (rc == 0)
		rc = client_send(&c, &env, NULL, 0, fds, nfds);
	while (nfds > 0)
		close(fds[--nfds]);
	if (rc == 0) {
		load_catch_interrupt(model);
		rc = client_wait_with(&c, load_print_plan, &printed);
		(void)signal(SIGINT, SIG_DFL);
	}
	client_close(&c);
	return rc;
}

/* The smaller model first, under the larger one's name with the suffix "-draft"; the two succeed or fail together. */
static int load_with_draft(const struct args *a, Caravan__CtlLoad *cmd, const char *model, char *draft_file) {
	Caravan__CtlLoad small = CARAVAN__CTL_LOAD__INIT;
	char name[WIRE_NAME_MAX + 8];
	snprintf(name, sizeof name, "%s-draft", model);
	if (!wire_name_ok(name))
		args_usage(a, "--draft: %s is too long for a name; choose a shorter one with --name", name);
	small.file = draft_file;
	small.name = name;
	small.context = cmd->context;
	small.parallel = cmd->parallel;
	small.kv = cmd->kv;
	small.copies = cmd->copies;
	small.pre = cmd->pre;
	small.drafts = true;
	int rc = load_model(a, &small, name);
	if (rc != 0)
		return rc;
	cmd->draft = name;
	rc = load_model(a, cmd, model);
	if (rc != 0) {
		Caravan__CtlUnload unload = CARAVAN__CTL_UNLOAD__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(CTL_UNLOAD, ctl_unload, &unload);
		unload.model = name;
		(void)simple_run(a, &env);
	}
	return rc;
}

/* A name, or the text of a file. */
static int load_read_template(Caravan__CtlLoad *cmd, char *named, char text[WIRE_TEMPLATE_MAX + 1]) {
	size_t len = strlen(named);
	if (!strchr(named, '/') && !(len > 6 && strcmp(named + len - 6, ".jinja") == 0)) {
		if (!wire_line_ok(named, WIRE_NAME_MAX))
			return fail("--template: there is no template with a name of more than %d bytes",
			        WIRE_NAME_MAX);
		cmd->template_name = named;
		return 0;
	}
	FILE *f = fopen(named, "re");
	len = f ? fread(text, 1, WIRE_TEMPLATE_MAX + 1, f) : 0;
	int rc = 0;
	if (!f || ferror(f))
		rc = fail("--template: cannot read %s: %s", named, strerror(errno));
	else if (len > WIRE_TEMPLATE_MAX)
		rc = fail("--template: %s is too long: at most %u bytes", named, WIRE_TEMPLATE_MAX);
	else if (len == 0 || memchr(text, '\0', len) || !utf8_valid(text, len))
		rc = fail("--template: %s is not a text in UTF-8", named);
	if (f)
		fclose(f);
	if (rc == 0) {
		text[len] = '\0';
		cmd->template_text = text;
	}
	return rc;
}

/* The model's name: the one given, or that of the file.  One that does not fit would have to be cut, which hides what tells files
 * apart: their ends. */
static int load_name(const Caravan__CtlLoad *cmd, char model[WIRE_NAME_MAX + 1]) {
	char whole[2 * WIRE_NAME_MAX + 256];
	if (!wire_line_ok(cmd->file, PATH_MAX))
		return fail("the name of the file has characters that are no text: give it another one");
	if (*cmd->name)
		snprintf(whole, sizeof whole, "%s", cmd->name);
	else
		paths_model_name(whole, sizeof whole, cmd->file);
	if (strlen(whole) > WIRE_NAME_MAX)
		return fail(
		        "%s is too long for a model's name, which has at most %d characters: give it one with --name",
		        whole, WIRE_NAME_MAX);
	memcpy(model, whole, strlen(whole) + 1);
	return 0;
}

static int load_run(int argc, char **argv) {
	struct args a;
	struct model_options o;
	char model[WIRE_NAME_MAX + 1];
	Caravan__CtlLoad cmd = CARAVAN__CTL_LOAD__INIT;
	args_begin(&a, &command_load, argc, argv);
	model_options_init(&o);
	for (int option; (option = args_next(&a, "", longs)) != -1;)
		if (!model_options_take(&o, &a, option) && option == OPT_COPIES)
			cmd.copies = (uint32_t)args_uint("--copies", optarg, 1, WIRE_NODES_MAX);
	args_operands(&a, 1, 1, "FILE");
	cmd.file = argv[optind];
	MODEL_OPTIONS_FILL(&cmd, &o);
	static char source[WIRE_TEMPLATE_MAX + 1];
	bool already;
	int rc = load_name(&cmd, model);
	if (rc == 0 && o.template)
		rc = load_read_template(&cmd, o.template, source);
	if (rc != 0)
		return rc;
	rc = load_serves_already(&a, &cmd, model, o.draft, &already);
	if (rc == 0)
		rc = o.draft ? load_with_draft(&a, &cmd, model, o.draft) : load_model(&a, &cmd, model);
	return rc == 0 ? load_print_served(&a, model, already) : rc;
}

const struct command command_load = {.name = "load",
        .usage = "[OPTION]... FILE | NAME",
        .summary = "put a model on the cluster",
        .help = help,
        .run = load_run};
