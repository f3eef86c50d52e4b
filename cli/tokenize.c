/* caravan tokenize: the token ids of a text. */
#include "cli/args.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/text.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPT_NO_BOS = OPT_OWN, OPT_SPECIAL, OPT_PRE };

static const struct option longs[] = {
        {"no-bos", no_argument, NULL, OPT_NO_BOS},
        {"special", no_argument, NULL, OPT_SPECIAL},
        {"pre", required_argument, NULL, OPT_PRE},
        ARGS_COMMON,
};

static const char help[] =
        "Prints the ids on one line; without TEXT, those of all of standard input.\n"
        "\n"
        "  -m MODEL               a model that the cluster serves, or a path; a file with\n"
        "                         only a vocabulary is enough (default: the only model\n"
        "                         that is served)\n"
        "  --no-bos               without the beginning-of-text token that the model adds\n"
        "  --special              read special tokens written out in the text as special\n"
        "                         tokens\n"
        "  --pre NAME             with a path: the pre-tokenizer, for a file that names\n"
        "                         none or one that Caravan does not know; list\n"
        "                         names all\n";

/* any: whether the line has ids already */
static void tokenize_print_ids(const uint8_t *payload, size_t len, bool *any) {
	for (size_t i = 0; i + sizeof(uint32_t) <= len; i += sizeof(uint32_t)) {
		uint32_t id;
		memcpy(&id, payload + i, sizeof id);
		printf("%s%u", i || *any ? " " : "", id);
	}
	*any |= len > 0;
}

static int tokenize_receive(struct client *c) {
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env;
	bool any = false;
	while ((env = client_next(c, &payload, &len))) {
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_END) {
			putchar('\n');
			return EXIT_OK;
		}
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ERROR)
			return fail("%s", env->ctl_error->message);
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_TOKENS)
			tokenize_print_ids(payload, len, &any);
	}
	return EXIT_FAILED;
}

static int tokenize_run(int argc, char **argv) {
	struct args a;
	struct client c;
	const char *model = NULL;
	char *text;
	size_t len, nfds = 0;
	int fds[FRAME_FDS_MAX];
	Caravan__CtlTokenize cmd = CARAVAN__CTL_TOKENIZE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_TOKENIZE, ctl_tokenize, &cmd);
	args_begin(&a, &command_tokenize, argc, argv);
	for (int o; (o = args_next(&a, "m:", longs)) != -1;)
		switch (o) {
		case 'm':
			model = optarg;
			break;
		case OPT_NO_BOS:
			cmd.no_bos = true;
			break;
		case OPT_SPECIAL:
			cmd.special = true;
			break;
		case OPT_PRE:
			cmd.pre = args_pre(optarg);
			break;
		}
	args_operands(&a, 0, 1, "TEXT");
	if (*cmd.pre && (!model || !client_is_path(model)))
		args_usage(&a, "--pre needs a path as MODEL");
	int rc = text_read(argv[optind], &text, &len);
	if (rc != 0)
		return rc;
	bool path = model && client_is_path(model);
	if (path)
		rc = client_open_model(model, fds, &nfds);
	if (rc == 0)
		rc = path ? client_private(&c, NULL, 1) : client_open(&c, a.control);
	if (rc == 0) {
		cmd.model = wire_string(model && !path ? model : "");
		cmd.file = wire_string(path ? model : "");
		rc = client_send(&c, &env, text, len, fds, nfds);
		if (rc == 0)
			rc = tokenize_receive(&c);
		client_close(&c);
	}
	while (nfds > 0)
		close(fds[--nfds]);
	free(text);
	return rc;
}

const struct command command_tokenize = {.name = "tokenize",
        .usage = "[-m MODEL] [--no-bos] [--special] [--pre NAME] [TEXT]",
        .summary = "print the token ids of a text",
        .help = help,
        .run = tokenize_run};
