/* caravan run: completes a prompt. */
#include "cli/answer.h"
#include "cli/args.h"
#include "cli/command.h"
#include "cli/conversation.h"
#include "cli/sampling.h"
#include "cli/simple.h"
#include "cli/terminal.h"
#include "cli/text.h"
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_STOP = OPT_OWN, OPT_SPECIAL, OPT_CHAT, OPT_NO_DRAFTS, OPT_CONTEXT, OPT_PRE, OPT_JSON };

static const struct option longs[] = {
        {"stop", required_argument, NULL, OPT_STOP},
        {"special", no_argument, NULL, OPT_SPECIAL},
        {"chat", no_argument, NULL, OPT_CHAT},
        {"no-drafts", no_argument, NULL, OPT_NO_DRAFTS},
        {"context", required_argument, NULL, OPT_CONTEXT},
        {"pre", required_argument, NULL, OPT_PRE},
        {"json", no_argument, NULL, OPT_JSON},
        SAMPLING_OPTIONS,
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
        "  --chat                 the prompt is a question: it is put into the model's\n"
        "                         chat template, as caravan chat does\n"
        "  --special              read special tokens written out in the prompt as\n"
        "                         special tokens, and show those in the answer\n"
        "  --no-drafts            do not draft tokens ahead: the same answer, slower\n"
        "\n"
        "With a path as MODEL:\n"
        "  --context N            at most N tokens, prompt and answer together (default:\n"
        "                         the length the model was trained for, or as much of it\n"
        "                         as fits the memory)\n"
        "  --pre NAME             the pre-tokenizer, for a file that names none or one\n"
        "                         that Caravan does not know; list names all\n"
        "\n" SAMPLING_HELP "\n"
        "Output:\n"
        "  --json                 one JSON object: text, reason, tokens, seed, times, and\n"
        "                         the reasoning of a model that thinks (with --chat)\n";

struct result {
	bool json;
	struct terminal terminal; /* if standard output is a terminal */
	char *text;
	size_t len;
	/* of a model that thinks */
	struct terminal aside; /* if standard error is a terminal */
	bool reasoned;         /* the last text on it was of the reasoning */
	char *reasoning;
	size_t reasoning_len;
};

static int run_keep(char **kept, size_t *kept_len, const uint8_t *text, size_t len) {
	char *more = realloc(*kept, *kept_len + len + 1);
	if (!more)
		return fail("out of memory");
	memcpy(more + *kept_len, text, len);
	*kept = more;
	*kept_len += len;
	return 0;
}

/* Reasoning is for people who watch: it is not the answer. */
static int run_take_reasoning(struct result *r, const uint8_t *text, size_t len) {
	if (r->json)
		return run_keep(&r->reasoning, &r->reasoning_len, text, len);
	if (!isatty(STDERR_FILENO))
		return 0;
	uint8_t *fit = malloc(TERMINAL_ROOM(len));
	if (!fit)
		return fail("out of memory");
	fwrite(fit, 1, terminal_take(&r->aside, text, len, fit), stderr);
	fflush(stderr);
	free(fit);
	r->reasoned = true;
	return 0;
}

static int run_take_text(void *arg, bool reasoning, const uint8_t *text, size_t len) {
	struct result *r = arg;
	if (reasoning)
		return run_take_reasoning(r, text, len);
	if (r->reasoned)
		fputs("\n\n", stderr);
	r->reasoned = false;
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
	return run_keep(&r->text, &r->len, text, len);
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
	if (r->reasoning_len)
		json_object_set_new(o, "reasoning", json_stringn(r->reasoning, r->reasoning_len));
	return simple_json(o);
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
static int run_receive(struct client *c, const char *model, struct result *r, uint64_t seed, bool path) {
	static struct answer_end end;
	int rc = 0;
	answer_receive(c, model, run_take_text, r, &end);
	switch (end.outcome) {
	case ANSWER_ENDED:
		if (r->json)
			rc = run_print_json(r, &end.finished, seed);
		else if (isatty(STDOUT_FILENO) && run_end_line(r) > 0)
			rc = EXIT_FAILED;
		run_print_context(&end.finished, path);
		return rc;
	case ANSWER_REFUSED:
		if (!r->json && isatty(STDOUT_FILENO))
			run_end_line(r);
		return fail("%s", end.error);
	case ANSWER_LEFT: /* a reader that closes the pipe is not an error, and the daemon stops when we end */
		return end.left == TEXT_GONE ? EXIT_OK : end.left;
	case ANSWER_LOST:
		break;
	}
	return EXIT_FAILED;
}

/* Sends the prompt as it is, or as the question of a conversation. */
static int run_send(struct client *c, Caravan__CtlRun *run, bool chat, const char *prompt, size_t len) {
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_RUN, ctl_run, run);
	Caravan__CtlChat message = CARAVAN__CTL_CHAT__INIT;
	struct conversation conversation;
	if (!chat)
		return client_send(c, &env, prompt, len, NULL, 0);
	message.run = run;
	env.body_case = CARAVAN__ENVELOPE__BODY_CTL_CHAT;
	env.ctl_chat = &message;
	conversation_init(&conversation);
	conversation_ask(&conversation, prompt, len);
	char *body = conversation_body(&conversation, &len);
	int rc = client_send(c, &env, body, len, NULL, 0);
	free(body);
	conversation_clear(&conversation);
	return rc;
}

static int run_run(int argc, char **argv) {
	struct args a;
	struct client c;
	struct result r = {0};
	const char *model = NULL;
	char *stops[WIRE_STOPS_MAX], *prompt;
	size_t len;
	bool chat = false;
	struct sampling s;
	Caravan__CtlRun cmd = CARAVAN__CTL_RUN__INIT;
	Caravan__CtlLoad how = CARAVAN__CTL_LOAD__INIT;
	sampling_init(&s);
	args_begin(&a, &command_run, argc, argv);
	for (int o; (o = args_next(&a, "m:n:", longs)) != -1;)
		switch (o) {
		case 'm':
			model = optarg;
			break;
		case 'n':
			cmd.limit = (uint32_t)args_uint("-n", optarg, 1, UINT32_MAX);
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
		case OPT_CHAT:
			chat = true;
			break;
		case OPT_NO_DRAFTS:
			s.s.undrafted = true;
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
		default:
			sampling_take(&s, o);
			break;
		}
	args_operands(&a, 0, 1, "PROMPT");
	if ((how.context || *how.pre) && (!model || !client_is_path(model)))
		args_usage(
		        &a, "--context and --pre need a path as MODEL: a model that is served has its own");
	if (chat && cmd.special)
		args_usage(&a, "--special does not go with --chat: what is in a message is text");
	how.fit = true;
	int rc = sampling_draw(&s);
	if (rc != 0)
		return rc;
	rc = text_read(argv[optind], &prompt, &len);
	if (rc != 0)
		return rc;
	bool path = model && client_is_path(model);
	rc = client_for_model(&c, a.control, &model, 0, &how);
	if (rc == 0) {
		cmd.model = wire_string(model ? model : "");
		cmd.sampling = &s.s;
		cmd.stop = stops;
		rc = run_send(&c, &cmd, chat, prompt, len);
		if (rc == 0)
			rc = run_receive(&c, cmd.model, &r, s.s.seed, path);
		client_close(&c);
	}
	free(r.text);
	free(r.reasoning);
	free(prompt);
	return rc;
}

const struct command command_run = {.name = "run",
        .usage = "[OPTION]... [PROMPT]",
        .summary = "complete a prompt",
        .help = help,
        .run = run_run};
