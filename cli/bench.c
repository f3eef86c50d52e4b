/* caravan bench: how fast a model is that the cluster serves: prompts and answers, for one stream and for several, and where the
 * time goes. */
#include "cli/bench_load.h"
#include "cli/bench_result.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/report.h"
#include "daemon/plan/advice.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROMPT 512
#define GENERATE 128
#define RUNS 3
#define REPORTED_NS 1200000000 /* by then every node has reported what it did */

enum { OPT_JSON = OPT_OWN, OPT_PROMPT, OPT_GENERATE, OPT_STREAMS, OPT_RUNS, OPT_NO_DRAFTS, OPT_SVG };

static const struct option longs[] = {{"json", no_argument, NULL, OPT_JSON},
        {"prompt", required_argument, NULL, OPT_PROMPT}, {"generate", required_argument, NULL, OPT_GENERATE},
        {"streams", required_argument, NULL, OPT_STREAMS}, {"runs", required_argument, NULL, OPT_RUNS},
        {"no-drafts", no_argument, NULL, OPT_NO_DRAFTS}, {"svg", required_argument, NULL, OPT_SVG},
        ARGS_COMMON};

static const char help[] = "Measures a model that the cluster serves, for random prompts of given lengths\n"
                           "and one stream or several at once: prefill with prompts alone, decode with\n"
                           "answers to prompts that were computed before; and the share of the time that\n"
                           "each stage waits, computes and sends.  Other prompts that run meanwhile count.\n"
                           "\n"
                           "  -m MODEL               the model (default: the only one that is served)\n"
                           "  --prompt N[,N]...      tokens of a prompt (default: 512, or what fits)\n"
                           "  --generate N           tokens of an answer, even if the model would end it\n"
                           "                         earlier (default: 128, or as many as fit)\n"
                           "  --streams N[,N]...     streams at once (default: 1, and as many as the model\n"
                           "                         was loaded for)\n"
                           "  --runs N               runs of each, after one to warm up (default: 3)\n"
                           "  --no-drafts            without drafted tokens\n"
                           "  --json                 print the same facts as JSON\n"
                           "  --svg FILE             draw them too\n";

/* ---- the picture --------------------------------------------------------------------------------- */

/* A file that was there before keeps its content until there is a picture. */
struct picture {
	const char *path; /* NULL: none is wanted */
	int fd;
	bool made; /* there was no such file */
};

/* Before anything is measured.  0, or EXIT_FAILED after reporting the error. */
static int picture_open(struct picture *p) {
	p->fd = open(p->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	p->made = p->fd >= 0;
	if (p->fd < 0 && errno == EEXIST)
		p->fd = open(p->path, O_WRONLY | O_CLOEXEC);
	return p->fd < 0 ? fail("cannot write %s: %s", p->path, strerror(errno)) : 0;
}

static int picture_draw(const struct picture *p, const struct bench_result *r) {
	int fd = p->path ? dup(p->fd) : -1;
	if (!p->path)
		return 0;
	/* a pipe cannot be emptied, and is empty */
	bool good = fd >= 0 && (ftruncate(fd, 0) == 0 || errno == EINVAL);
	FILE *to = good ? fdopen(fd, "w") : NULL;
	if (to) {
		bench_draw(to, r);
		good = !ferror(to);
		good = fclose(to) == 0 && good;
	}
	return to && good ? 0 : fail("cannot write %s: %s", p->path, strerror(errno));
}

static void picture_close(struct picture *p, bool drawn) {
	if (p->fd >= 0)
		close(p->fd);
	if (p->made && !drawn)
		unlink(p->path);
}

/* ---- what is asked for --------------------------------------------------------------------------- */

struct bench {
	const char *model;
	unsigned prompts[BENCH_LIST_MAX], streams[BENCH_LIST_MAX], generate, runs;
	size_t nprompts, nstreams;
	bool json, undrafted, any_generate;
	struct picture picture;
};

/* ---- measuring ---- */

/* A report that has all of what has been computed until now. */
static int bench_report(struct report *r, const struct args *a) {
	nanosleep(&(struct timespec){.tv_sec = REPORTED_NS / 1000000000, .tv_nsec = REPORTED_NS % 1000000000},
	        NULL);
	report_clear(r);
	return report_fetch(r, a);
}

/* Seconds of a stage between two reports; false: some went backwards, since a new epoch has begun. */
static bool bench_times_between(
        const Caravan__StageTime *from, const Caravan__StageTime *to, struct bench_times *out) {
	*out = (struct bench_times){.waited = to->waited - from->waited,
	        .computed = to->computed - from->computed,
	        .held = to->held - from->held,
	        .wire = to->wire - from->wire};
	return out->waited >= 0 && out->computed >= 0 && out->held >= 0 && out->wire >= 0;
}

/* The stages of a cell from the reports at the beginning, after its prompts, and at its end.  The names are those of `names`, which
 * is of the same plan. */
static int bench_take_stages(
        struct bench_cell *c, const char *model, const struct report at[3], const struct report *names) {
	const Caravan__ReportModel *m[3], *named = report_model(names, model);
	for (unsigned i = 0; i < 3; i++) {
		m[i] = report_model(&at[i], model);
		if (!named || !m[i] || !m[i]->state || m[i]->plan->n_stages != named->plan->n_stages ||
		        m[i]->state->n_times != named->plan->n_stages + 1)
			return 0;
	}
	size_t n = m[0]->state->n_times;
	if (!(c->stage = calloc(n, sizeof *c->stage)))
		return fail("out of memory");
	for (size_t k = 0; k < n; k++) {
		struct bench_stage *s = &c->stage[k];
		s->name = k ? report_node_name(names, named->plan->stages[k - 1]->node) : NULL;
		for (unsigned p = 0; p < BENCH_PHASES; p++)
			if (!bench_times_between(
			            m[p]->state->times[k], m[p + 1]->state->times[k], &s->time[p]))
				return 0;
	}
	c->stages = n;
	return 0;
}

/* Prompts alone, each time other ones; then answers to the last of them, which are in the prefix cache. */
static int bench_measure_runs(const struct bench *b, struct bench_load *l, struct bench_cell *c,
        struct report at[3], const struct args *a) {
	struct bench_figures warm;
	int rc = bench_load_prompts(l, c->prompt, c->streams);
	rc = rc ? rc : bench_load_run(l, 1, c->streams, &warm);
	rc = rc ? rc : bench_load_run(l, b->generate, c->streams, &warm);
	rc = rc ? rc : bench_report(&at[0], a);
	for (unsigned i = 0; rc == 0 && i < b->runs; i++) {
		rc = bench_load_prompts(l, c->prompt, c->streams);
		rc = rc ? rc : bench_load_run(l, 1, c->streams, &c->prefill[i]);
	}
	rc = rc ? rc : bench_report(&at[1], a);
	for (unsigned i = 0; rc == 0 && i < b->runs; i++)
		rc = bench_load_run(l, b->generate, c->streams, &c->decode[i]);
	return rc ? rc : bench_report(&at[2], a);
}

static int bench_measure_cell(const struct bench *b, struct bench_load *l, struct bench_cell *c,
        const struct report *names, const struct args *a) {
	struct report at[3] = {0};
	int rc = bench_measure_runs(b, l, c, at, a);
	if (rc == 0)
		rc = bench_take_stages(c, b->model, at, names);
	for (unsigned i = 0; i < 3; i++)
		report_clear(&at[i]);
	return rc;
}

static int bench_show(const struct bench *b, const struct bench_result *r) {
	int rc = b->json ? bench_print_json(r) : bench_print(r);
	return rc ? rc : picture_draw(&b->picture, r);
}

static int bench_measure(
        const struct bench *b, struct bench_result *r, const struct report *names, const struct args *a) {
	struct bench_load *l = NULL;
	int rc = bench_load_open(&l, a->control, b->model, b->undrafted);
	for (size_t i = 0; rc == 0 && i < r->cells; i++) {
		r->cell[i].prompt = b->prompts[i / b->nstreams];
		r->cell[i].streams = b->streams[i % b->nstreams];
		rc = bench_measure_cell(b, l, &r->cell[i], names, a);
	}
	if (rc == 0)
		rc = bench_show(b, r);
	bench_load_close(l);
	return rc;
}

static int bench_measure_model(
        const struct bench *b, const Caravan__Plan *p, const struct report *names, const struct args *a) {
	const char **node = calloc(p->n_stages ? p->n_stages : 1, sizeof *node);
	struct bench_result r = {.model = b->model,
	        .node = node,
	        .nodes = p->n_stages,
	        .date = time(NULL),
	        .context = p->context,
	        .generate = b->generate,
	        .runs = b->runs,
	        .undrafted = b->undrafted,
	        .predicted = p->seconds > 0 ? 1 / p->seconds : 0,
	        .predicted_loaded = p->seconds > 0 ? advice_rate(p->seconds, p->slowest, p->parallel) : 0,
	        .predicted_prompt = p->prompt > 0 ? 1 / p->prompt : 0,
	        .cells = b->nprompts * b->nstreams};
	r.cell = calloc(r.cells, sizeof *r.cell);
	for (size_t i = 0; node && i < p->n_stages; i++)
		node[i] = report_node_name(names, p->stages[i]->node);
	int rc = node && r.cell ? bench_measure(b, &r, names, a) : fail("out of memory");
	for (size_t i = 0; r.cell && i < r.cells; i++)
		free(r.cell[i].stage);
	free(r.cell);
	free(node);
	return rc;
}

/* The model to measure, which must be served. */
static int bench_choose(const struct report *r, const char *name, const Caravan__ReportModel **out) {
	const Caravan__ReportModel *only = NULL;
	size_t served = 0;
	if (name && client_is_path(name))
		return fail(
		        "bench measures a model that the cluster serves: load the file first, with caravan load %s",
		        name);
	if (name) {
		if (!(only = report_model(r, name)))
			return fail(
			        "there is no model %s; 'caravan status' shows those that are served", name);
		if (only->phase != CARAVAN__MODEL_PHASE__SERVING)
			return fail("%s is %s", name, report_phase(only->phase));
		*out = only;
		return 0;
	}
	for (size_t i = 0; i < r->models; i++)
		if (r->model[i]->phase == CARAVAN__MODEL_PHASE__SERVING) {
			served++;
			only = r->model[i];
		}
	if (served == 0)
		return fail("no model is loaded: load one with caravan load FILE");
	if (served > 1)
		return fail("%zu models are served: choose one with -m", served);
	*out = only;
	return 0;
}

/* Fills in what was not asked for, and checks that prompts and answers fit the context. */
static int bench_fit(struct bench *b, const Caravan__Plan *p) {
	unsigned context = p->context;
	if (!b->any_generate)
		b->generate = GENERATE < context / 2 ? GENERATE : context / 2 ? context / 2 : 1;
	if (!b->nprompts)
		b->prompts[b->nprompts++] = PROMPT + b->generate <= context ? PROMPT
		                            : context > b->generate + 1     ? context - b->generate
		                                                            : 1;
	if (!b->nstreams) {
		b->streams[b->nstreams++] = 1;
		if (p->parallel > 1 && p->parallel <= BENCH_STREAMS_MAX)
			b->streams[b->nstreams++] = p->parallel;
	}
	for (size_t i = 0; i < b->nprompts; i++)
		if (b->prompts[i] + b->generate > context)
			return fail(
			        "%u tokens of a prompt and %u of an answer do not fit the context of %s, %u tokens",
			        b->prompts[i], b->generate, p->model, context);
	return 0;
}

static size_t bench_list(const char *option, char *text, unsigned *out, unsigned most) {
	char *part[BENCH_LIST_MAX];
	size_t n = args_list(text, part, BENCH_LIST_MAX);
	for (size_t i = 0; i < n; i++)
		out[i] = (unsigned)args_uint(option, part[i], 1, most);
	return n;
}

static int bench_run(int argc, char **argv) {
	struct args a;
	struct bench b = {.runs = RUNS, .picture.fd = -1};
	struct report r;
	const Caravan__ReportModel *m = NULL;
	const char *model = NULL;
	args_begin(&a, &command_bench, argc, argv);
	for (int o; (o = args_next(&a, "m:", longs)) != -1;)
		switch (o) {
		case 'm':
			model = optarg;
			break;
		case OPT_JSON:
			b.json = true;
			break;
		case OPT_PROMPT:
			b.nprompts = bench_list("--prompt", optarg, b.prompts, WIRE_CONTEXT_MAX);
			break;
		case OPT_GENERATE:
			b.generate = (unsigned)args_uint("--generate", optarg, 2, WIRE_CONTEXT_MAX);
			b.any_generate = true;
			break;
		case OPT_STREAMS:
			b.nstreams = bench_list("--streams", optarg, b.streams, BENCH_STREAMS_MAX);
			break;
		case OPT_RUNS:
			b.runs = (unsigned)args_uint("--runs", optarg, 1, BENCH_RUNS_MAX);
			break;
		case OPT_NO_DRAFTS:
			b.undrafted = true;
			break;
		case OPT_SVG:
			b.picture.path = optarg;
			break;
		}
	args_operands(&a, 0, 0, "");
	int rc = report_fetch(&r, &a);
	if (rc != 0)
		return rc;
	rc = bench_choose(&r, model, &m);
	if (rc == 0)
		rc = bench_fit(&b, m->plan);
	if (rc == 0) {
		b.model = m->plan->model;
		rc = b.picture.path ? picture_open(&b.picture) : 0;
	}
	if (rc == 0)
		rc = bench_measure_model(&b, m->plan, &r, &a);
	picture_close(&b.picture, rc == 0);
	report_clear(&r);
	return rc;
}

const struct command command_bench = {.name = "bench",
        .usage = "[-m MODEL] [--prompt N] [--generate N] [OPTION]...",
        .summary = "measure a model that the cluster serves",
        .help = help,
        .run = bench_run};
