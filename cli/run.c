/* caravan run: completes a prompt. */
#include "cli/args.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/simple.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include "common/size.h"
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	OPT_TEMP = OPT_OWN,
	OPT_TOP_K,
	OPT_TOP_P,
	OPT_MIN_P,
	OPT_REPEAT,
	OPT_PRESENCE,
	OPT_FREQUENCY,
	OPT_SEED,
	OPT_STOP,
	OPT_SPECIAL,
	OPT_NO_DRAFTS,
	OPT_CONTEXT,
	OPT_PRE,
	OPT_JSON
};

static const struct option longs[] = {
        {"temp", required_argument, NULL, OPT_TEMP},
        {"top-k", required_argument, NULL, OPT_TOP_K},
        {"top-p", required_argument, NULL, OPT_TOP_P},
        {"min-p", required_argument, NULL, OPT_MIN_P},
        {"repeat-penalty", required_argument, NULL, OPT_REPEAT},
        {"presence-penalty", required_argument, NULL, OPT_PRESENCE},
        {"frequency-penalty", required_argument, NULL, OPT_FREQUENCY},
        {"seed", required_argument, NULL, OPT_SEED},
        {"stop", required_argument, NULL, OPT_STOP},
        {"special", no_argument, NULL, OPT_SPECIAL},
        {"no-drafts", no_argument, NULL, OPT_NO_DRAFTS},
        {"context", required_argument, NULL, OPT_CONTEXT},
        {"pre", required_argument, NULL, OPT_PRE},
        {"json", no_argument, NULL, OPT_JSON},
        ARGS_COMMON,
};

static const char help[] =
        "Completes the prompt as it is; without PROMPT it is read from standard input.\n"
        "An empty prompt starts from just the beginning-of-text token.  Only generated\n"
        "text goes to standard output.\n"
        "\n"
        "Model and answer:\n"
        "  -m MODEL               a model that the cluster serves, or a path (with a / or\n"
        "                         ending in .gguf), which runs on this machine only\n"
        "                         (default: the only model that is served)\n"
        "  -n N                   generate at most N tokens (default: up to the context)\n"
        "  --stop TEXT            end before this text; may be given up to 16 times\n"
        "  --special              read special tokens written out in the prompt as\n"
        "                         special tokens, and show those in the answer\n"
        "  --no-drafts            do not draft tokens ahead: the same answer, slower\n"
        "\n"
        "With a path as MODEL:\n"
        "  --context N            at most N tokens, prompt and answer together (default:\n"
        "                         the length the model was trained for, or as much of it\n"
        "                         as fits the memory)\n"
        "  --pre NAME             the pre-tokenizer, for a file that names none or one\n"
        "                         that Caravan does not know\n"
        "\n"
        "How tokens are sampled:\n"
        "  --temp T               temperature; 0 always picks the most likely token (0.8)\n"
        "  --top-k K              from the K most likely tokens; 0: from all (40)\n"
        "  --top-p P              from the most likely tokens that together have this\n"
        "                         probability (0.95)\n"
        "  --min-p P              from tokens at least P times as likely as the top token\n"
        "                         (0.05)\n"
        "  --repeat-penalty R     divides the scores of tokens that occur in the last 64\n"
        "                         (1: no penalty)\n"
        "  --presence-penalty P   subtracted once from the scores of these tokens (0)\n"
        "  --frequency-penalty F  subtracted once for each occurrence there (0)\n"
        "  --seed S               the same prompt, settings and seed give the same text\n"
        "                         on any machines (default: a random seed)\n"
        "\n"
        "Output:\n"
        "  --json                 one JSON object: text, reason, tokens, seed, times\n";

struct result {
	bool json;
	struct terminal terminal; /* if standard output is a terminal */
	char *text;
	size_t len;
};

static int run_take_text(struct result *r, const uint8_t *text, size_t len) {
	if (!r->json && isatty(STDOUT_FILENO)) {
		uint8_t *fit = malloc(TERMINAL_ROOM(len));
		if (!fit)
			return fail("out of memory");
		int rc = text_write(fit, terminal_take(&r->terminal, text, len, fit));
		free(fit);
		return rc;
	}
	if (!r->json)
		return text_write(text, len);
	char *more = realloc(r->text, r->len + len + 1);
	if (!more)
		return fail("out of memory");
	memcpy(more + r->len, text, len);
	r->text = more;
	r->len += len;
	return 0;
}

/* Ends the text on a terminal with a newline. */
static int run_end_line(struct result *r) {
	uint8_t fit[TERMINAL_ROOM(0) + 1];
	size_t n = terminal_end(&r->terminal, fit);
	fit[n] = '\n';
	return text_write(fit, n + 1);
}

static int run_print_json(const struct result *r, const Caravan__Finished *fin, uint64_t seed) {
	static const char *const reason[] = {"end", "limit", "context", "stop", "cancelled", "error"};
	json_t *o = json_pack("{s:o, s:s, s:i, s:i, s:i, s:I, s:f, s:f, s:f, s:f, s:f}", "text",
	        json_stringn(r->text ? r->text : "", r->len), "reason", reason[fin->reason], "tokens",
	        (int)fin->generated, "prompt_tokens", (int)fin->prompt, "cached_tokens", (int)fin->cached,
	        "seed", (json_int_t)seed, "prompt_seconds", fin->prompt_seconds, "generate_seconds",
	        fin->generate_seconds, "waited_seconds", fin->waited, "computed_seconds", fin->computed,
	        "wire_seconds", fin->wire);
	return simple_json(o);
}

/* Shows the place in the queue on a terminal, on one line that is cleared again. */
static void run_show_place(const Caravan__Queued *q) {
	if (!isatty(STDERR_FILENO))
		return;
	fprintf(stderr, "waiting: place %u", q->place);
	if (q->seconds > 0)
		fprintf(stderr, ", about %s", size_time(q->seconds).s);
	fflush(stderr);
}

static void run_hide_place(void) {
	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
}

/* Reports an answer that is cut off because the context is full: the text does not show it. */
static void run_print_context(const Caravan__Finished *fin, bool path) {
	char size[32] = "";
	if (fin->reason != CARAVAN__REASON__CONTEXT)
		return;
	if (fin->context)
		snprintf(size, sizeof size, " of %u tokens", fin->context);
	fail("the answer ends here because the context%s is full; change it with %s", size,
	        path ? "--context" : "caravan load --context");
}

/* Receives the answer of a sent command, to its end. */
static int run_receive(struct client *c, struct result *r, uint64_t seed, bool path) {
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env;
	bool waits = false;
	while ((env = client_next(c, &payload, &len))) {
		int rc = 0;
		if (waits)
			run_hide_place();
		waits = env->body_case == CARAVAN__ENVELOPE__BODY_QUEUED;
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_PROGRESS) {
			progress_show(env->ctl_progress);
			continue;
		}
		progress_clear();
		switch (env->body_case) {
		case CARAVAN__ENVELOPE__BODY_CTL_TEXT:
			rc = run_take_text(r, payload, len);
			break;
		case CARAVAN__ENVELOPE__BODY_QUEUED:
			run_show_place(env->queued);
			break;
		case CARAVAN__ENVELOPE__BODY_CTL_END:
			if (!env->ctl_end->finished)
				return fail("the daemon sent no result");
			if (r->json)
				rc = run_print_json(r, env->ctl_end->finished, seed);
			else if (isatty(STDOUT_FILENO) && run_end_line(r) > 0)
				rc = EXIT_FAILED;
			run_print_context(env->ctl_end->finished, path);
			return rc;
		case CARAVAN__ENVELOPE__BODY_CTL_ERROR:
			if (!r->json && isatty(STDOUT_FILENO))
				run_end_line(r);
			return fail("%s", env->ctl_error->message);
		default:
			break;
		}
		if (rc !=
		        0) /* a reader that closes the pipe is not an error, and the daemon stops when we end */
			return rc == TEXT_GONE ? EXIT_OK : rc;
	}
	return EXIT_FAILED;
}

static int run_run(int argc, char **argv) {
	struct args a;
	struct client c;
	struct result r = {0};
	const char *model = NULL;
	char *stops[WIRE_STOPS_MAX], *prompt;
	size_t len;
	bool seeded = false;
	Caravan__Sampling s = CARAVAN__SAMPLING__INIT;
	Caravan__CtlRun cmd = CARAVAN__CTL_RUN__INIT;
	Caravan__CtlLoad how = CARAVAN__CTL_LOAD__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_RUN, ctl_run, &cmd);
	s.temperature = 0.8f;
	s.top_k = 40;
	s.top_p = 0.95f;
	s.min_p = 0.05f;
	s.repeat_penalty = 1;
	args_begin(&a, &command_run, argc, argv);
	for (int o; (o = args_next(&a, "m:n:", longs)) != -1;)
		switch (o) {
		case 'm':
			model = optarg;
			break;
		case 'n':
			cmd.limit = (uint32_t)args_uint("-n", optarg, 1, UINT32_MAX);
			break;
		case OPT_TEMP:
			s.temperature = (float)args_double("--temp", optarg, 0, 100);
			break;
		case OPT_TOP_K:
			s.top_k = (uint32_t)args_uint("--top-k", optarg, 0, UINT32_MAX);
			break;
		case OPT_TOP_P:
			s.top_p = (float)args_double("--top-p", optarg, 0, 1);
			break;
		case OPT_MIN_P:
			s.min_p = (float)args_double("--min-p", optarg, 0, 1);
			break;
		case OPT_REPEAT:
			s.repeat_penalty = (float)args_double("--repeat-penalty", optarg, 0.01, 100);
			break;
		case OPT_PRESENCE:
			s.presence_penalty = (float)args_double("--presence-penalty", optarg, -100, 100);
			break;
		case OPT_FREQUENCY:
			s.frequency_penalty = (float)args_double("--frequency-penalty", optarg, -100, 100);
			break;
		case OPT_SEED:
			s.seed = args_uint("--seed", optarg, 0, UINT64_MAX);
			seeded = true;
			break;
		case OPT_STOP:
			if (cmd.n_stop == WIRE_STOPS_MAX || !*optarg || strlen(optarg) > WIRE_TEXT_MAX)
				args_usage(&a, "--stop takes up to %d texts of 1 to %d bytes", WIRE_STOPS_MAX,
				        WIRE_TEXT_MAX);
			stops[cmd.n_stop++] = optarg;
			break;
		case OPT_SPECIAL:
			cmd.special = true;
			break;
		case OPT_NO_DRAFTS:
			s.undrafted = true;
			break;
		case OPT_CONTEXT:
			how.context = (uint32_t)args_uint("--context", optarg, 1, WIRE_CONTEXT_MAX);
			break;
		case OPT_PRE:
			how.pre = args_pre(optarg);
			break;
		case OPT_JSON:
			r.json = true;
			break;
		}
	args_operands(&a, 0, 1, "PROMPT");
	if ((how.context || *how.pre) && (!model || !client_is_path(model)))
		args_usage(
		        &a, "--context and --pre need a path as MODEL: a model that is served has its own");
	how.fit = true;
	if (!seeded && getentropy(&s.seed, sizeof s.seed) != 0)
		return fail("cannot draw a seed: %s", strerror(errno));
	if (!seeded)
		s.seed >>= 1; /* so that every JSON parser can read the number in --json */
	int rc = text_read(argv[optind], &prompt, &len);
	if (rc != 0)
		return rc;
	bool path = model && client_is_path(model);
	rc = client_for_model(&c, a.control, &model, 0, &how);
	if (rc == 0) {
		cmd.model = wire_string(model ? model : "");
		cmd.sampling = &s;
		cmd.stop = stops;
		rc = client_send(&c, &env, prompt, len, NULL, 0);
		if (rc == 0)
			rc = run_receive(&c, &r, s.seed, path);
		client_close(&c);
	}
	free(r.text);
	free(prompt);
	return rc;
}

const struct command command_run = {.name = "run",
        .usage = "[OPTION]... [PROMPT]",
        .summary = "complete a prompt",
        .help = help,
        .run = run_run};
