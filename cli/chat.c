/* caravan chat: a conversation with a model. */
#include "cli/answer.h"
#include "cli/chat_input.h"
#include "cli/chat_internal.h"
#include "cli/command.h"
#include "cli/text.h"
#include "daemon/api/chat_templates.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_SYSTEM = OPT_OWN, OPT_TEMPLATE, OPT_CONTEXT, OPT_PRE, OPT_NO_DRAFTS };

static const struct option longs[] = {
        {"system", required_argument, NULL, OPT_SYSTEM},
        {"template", required_argument, NULL, OPT_TEMPLATE},
        {"context", required_argument, NULL, OPT_CONTEXT},
        {"pre", required_argument, NULL, OPT_PRE},
        {"no-drafts", no_argument, NULL, OPT_NO_DRAFTS},
        SAMPLING_OPTIONS,
        ARGS_COMMON,
};

static const char help[] =
        "Type a question and Enter; the answer comes as it is made, and the next\n"
        "question goes on from it.  /help lists the commands, Ctrl-C stops an answer,\n"
        "Ctrl-D leaves.  From a pipe, standard input is one question, and only the\n"
        "answer goes to standard output.\n"
        "\n"
        "Model and answer:\n"
        "  -m MODEL               a model that the cluster serves, or a path (with a / or\n"
        "                         ending in .gguf), which runs on this machine only\n"
        "                         (default: the only model that is served)\n"
        "  -n N                   at most N tokens an answer (default: up to the context)\n"
        "  --system TEXT          the system prompt: what the model is to be or to heed\n"
        "  --template NAME        a well-known chat template, instead of the model's own:\n"
        "                         llama2, llama3, chatml, mistral, vicuna, wizardlm,\n"
        "                         alpaca, zephyr, plain\n"
        "  --no-drafts            do not draft tokens ahead: the same answer, slower\n"
        "\n"
        "With a path as MODEL:\n"
        "  --context N            at most N tokens, all questions and answers together\n"
        "                         (default: the length the model was trained for, or as\n"
        "                         much of it as fits the memory)\n"
        "  --pre NAME             the pre-tokenizer, for a file that names none or one\n"
        "                         that Caravan does not know; list names all\n"
        "\n" SAMPLING_HELP;

static void chat_greet(const struct chat *c) {
	if (c->path)
		chat_note(c,
		        "%s, on this machine, with a context of %u tokens. /help lists the commands, Ctrl-D leaves.",
		        c->named, c->context);
	else
		chat_note(c,
		        "%s, on %u node%s, with a context of %u tokens. /help lists the commands, Ctrl-D leaves.",
		        c->model, c->nodes, c->nodes == 1 ? "" : "s", c->context);
}

static void chat_take_line(struct chat *c, const char *text, bool block) {
	struct chat_line line = {.text = text, .len = strlen(text)};
	if (!block)
		chat_parse(text, &line);
	if (line.text) {
		conversation_ask(&c->conversation, line.text, line.len);
		chat_turn(c);
	} else {
		chat_command(c, &line);
	}
}

static int chat_talk(struct chat *c) {
	struct chat_input *in = NULL;
	c->dim = answer_may_dim(STDOUT_FILENO);
	int rc = chat_open(c);
	if (rc == 0 && (!(in = chat_input_open(chat_command_names)) || chat_signals_open() != 0))
		rc = EXIT_FAILED;
	if (rc == 0)
		chat_greet(c);
	while (rc == 0 && !c->quit) {
		char *text;
		enum chat_input_kind kind = chat_input_read(in, &text);
		if (kind == INPUT_END)
			break;
		if (kind == INPUT_CANCELLED)
			chat_note(c, "Ctrl-D or /quit leaves.");
		else if (kind != INPUT_NOTHING)
			chat_take_line(c, text, kind == INPUT_BLOCK);
		free(text);
	}
	chat_signals_close();
	chat_input_close(in);
	client_close(&c->client);
	return rc;
}

static int chat_pipe(struct chat *c) {
	char *text;
	size_t len;
	int rc = text_read(NULL, &text, &len);
	if (rc != 0)
		return rc;
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r')) /* as in a line that is typed */
		len--;
	if (len == 0) {
		free(text);
		return fail("there is no question: standard input is empty");
	}
	conversation_ask(&c->conversation, text, len);
	free(text);
	return chat_once(c);
}

static void chat_take_option(struct chat *c, const struct args *a, int option) {
	switch (option) {
	case 'm':
		c->named = optarg;
		break;
	case 'n':
		c->limit = (uint32_t)args_uint("-n", optarg, 1, UINT32_MAX);
		break;
	case OPT_SYSTEM:
		conversation_set_system(&c->conversation, optarg);
		break;
	case OPT_TEMPLATE:
		if (!chat_template_find(optarg))
			args_usage(a, "there is no chat template %s; there are: %s", optarg,
			        chat_template_names());
		c->template = optarg;
		break;
	case OPT_CONTEXT:
		c->how.context = (uint32_t)args_uint("--context", optarg, 1, WIRE_CONTEXT_MAX);
		break;
	case OPT_PRE:
		c->how.pre = args_pre(optarg);
		break;
	case OPT_NO_DRAFTS:
		c->sampling.s.undrafted = true;
		break;
	default:
		sampling_take(&c->sampling, option);
		break;
	}
}

static int chat_run(int argc, char **argv) {
	struct args a;
	struct chat c = {.args = &a,
	        .client = {.fd = -1},
	        .template = "",
	        .reasoning = true,
	        .how = CARAVAN__CTL_LOAD__INIT};
	conversation_init(&c.conversation);
	sampling_init(&c.sampling);
	args_begin(&a, &command_chat, argc, argv);
	for (int o; (o = args_next(&a, "m:n:", longs)) != -1;)
		chat_take_option(&c, &a, o);
	if (optind < argc)
		args_usage(&a,
		        "unexpected argument '%s': a question is typed in the chat; for one answer: caravan run --chat TEXT",
		        argv[optind]);
	if ((c.how.context || *c.how.pre) && (!c.named || !client_is_path(c.named)))
		args_usage(
		        &a, "--context and --pre need a path as MODEL: a model that is served has its own");
	c.how.fit = true;
	int rc = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) ? chat_talk(&c) : chat_pipe(&c);
	conversation_clear(&c.conversation);
	free(c.chosen);
	return rc;
}

const struct command command_chat = {.name = "chat",
        .usage = "[OPTION]...",
        .summary = "talk with a model",
        .help = help,
        .run = chat_run};
