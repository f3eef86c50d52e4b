/* caravan invite: a one-time invitation into this cluster. */
#include "cli/args.h"
#include "cli/client.h"
#include "cli/command.h"
#include "cli/text.h"
#include <stdio.h>
#include <unistd.h>

enum { OPT_EXPIRES = OPT_OWN };

static const struct option longs[] = {{"expires", required_argument, NULL, OPT_EXPIRES}, ARGS_COMMON};

static const char help[] = "Prints a token on standard output.  Whoever has it can join one node, once,\n"
                           "until it expires.  On the new machine: 'caravan join TOKEN'.\n"
                           "\n"
                           "  --expires DURATION     such as 90s, 15m, 2h or 1d, at most 30d (1h)\n";

/* Only the token goes to standard output. */
static void invite_print_use(uint32_t seconds) {
	static const struct {
		uint32_t seconds;
		const char *name;
	} units[] = {{86400, "day"}, {3600, "hour"}, {60, "minute"}, {1, "second"}};
	size_t u = 0;
	while (seconds % units[u].seconds != 0)
		u++;
	uint32_t n = seconds / units[u].seconds;
	fprintf(stderr, "Valid for one node, for %u %s%s; on that machine: caravan join TOKEN\n", n,
	        units[u].name, n == 1 ? "" : "s");
}

static int invite_run(int argc, char **argv) {
	struct args a;
	struct client c;
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env;
	Caravan__CtlInvite cmd = CARAVAN__CTL_INVITE__INIT;
	Caravan__Envelope ask = WIRE_ENVELOPE(CTL_INVITE, ctl_invite, &cmd);
	cmd.seconds = 3600;
	args_begin(&a, &command_invite, argc, argv);
	for (int o; (o = args_next(&a, "", longs)) != -1;)
		if (o == OPT_EXPIRES)
			cmd.seconds = (uint32_t)args_duration("--expires", optarg, 30);
	args_operands(&a, 0, 0, "");
	int rc = client_open(&c, a.control);
	if (rc == 0 && (rc = client_send(&c, &ask, NULL, 0, NULL, 0)) == 0) {
		rc = EXIT_FAILED;
		while ((env = client_next(&c, &payload, &len))) {
			if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ERROR) {
				fail("%s", env->ctl_error->message);
				break;
			}
			if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_TEXT) {
				rc = text_write(payload, len);
				rc = rc ? rc : text_write("\n", 1);
				if (rc == 0)
					invite_print_use(cmd.seconds);
				rc = rc > 0 ? EXIT_FAILED : EXIT_OK;
				break;
			}
		}
	}
	client_close(&c);
	return rc;
}

const struct command command_invite = {.name = "invite",
        .usage = "[--expires DURATION]",
        .summary = "make a one-time invitation for another node",
        .help = help,
        .run = invite_run};
