/* caravan join: makes this node a member of the cluster that the token is from. */
#include "cli/client.h"
#include "cli/command.h"
#include "cli/report.h"
#include <stdio.h>
#include <string.h>

static const struct option longs[] = {ARGS_COMMON};

/* The name of this node, and the other members. */
static int join_print_joined(const struct args *a, const char *note) {
	struct report r;
	size_t members = 0, named = 0;
	const char *self = "?";
	int rc = report_fetch(&r, a);
	if (rc != 0)
		return rc;
	for (size_t i = 0; i < r.nodes; i++) {
		members += strcmp(r.node[i]->state, "expelled") != 0;
		if (r.node[i]->self)
			self = r.node[i]->name;
	}
	printf("Joined: this node is %s, in a cluster of %zu:", self, members);
	for (size_t i = 0; i < r.nodes && named < 8; i++)
		if (strcmp(r.node[i]->state, "expelled") != 0)
			printf("%s %s", named++ ? "," : "", r.node[i]->name);
	printf("%s.\n", members > named ? ", ..." : "");
	if (*note)
		printf("Joined, but %s.\n", note);
	report_clear(&r);
	return rc;
}

/* Joins; note: a problem that remains. */
static int join(const struct args *a, const Caravan__Envelope *ask, char *note, size_t notelen) {
	struct client c;
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env;
	int rc = client_open(&c, a->control);
	if (rc == 0)
		rc = client_send(&c, ask, NULL, 0, NULL, 0);
	while (rc == 0 && (env = client_next(&c, &payload, &len)) &&
	        env->body_case != CARAVAN__ENVELOPE__BODY_CTL_END) {
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_TEXT)
			snprintf(note, notelen, "%.*s", (int)len, (const char *)payload);
		else if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ERROR)
			rc = fail("%s", env->ctl_error->message);
	}
	if (rc == 0 && !env)
		rc = EXIT_FAILED; /* reported */
	client_close(&c);
	return rc;
}

/* The token from the arguments, or the first word of standard input. */
static const char *join_read_token(const char *operand, char *text, size_t size) {
	if (strcmp(operand, "-") != 0)
		return operand;
	text[0] = 0;
	if (fgets(text, (int)size, stdin))
		text[strcspn(text, "\r\n")] = 0;
	return text;
}

static int join_run(int argc, char **argv) {
	struct args a;
	char token[WIRE_TOKEN_MAX + 2], note[WIRE_TEXT_MAX] = "";
	Caravan__CtlJoin cmd = CARAVAN__CTL_JOIN__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_JOIN, ctl_join, &cmd);
	args_begin(&a, &command_join, argc, argv);
	while (args_next(&a, "", longs) != -1)
		;
	args_operands(&a, 1, 1, "TOKEN");
	cmd.token = wire_string(join_read_token(argv[optind], token, sizeof token));
	if (!*cmd.token)
		return fail("there is no invitation on standard input: 'caravan invite' prints one");
	int rc = join(&a, &env, note, sizeof note);
	return rc == 0 ? join_print_joined(&a, note) : rc;
}

const struct command command_join = {.name = "join",
        .usage = "TOKEN|-",
        .summary = "join the cluster that an invitation is from",
        .help = "TOKEN is what 'caravan invite' printed on a node of that cluster; - reads it\n"
                "from standard input, so that it does not appear in a list of processes.  Returns\n"
                "when both sides have this node in their roster and have tried to reach each\n"
                "other.\n",
        .run = join_run};
