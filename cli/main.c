/* caravan: the command.  A table of subcommands; each is one file. */
#include "cli/args.h"
#include "cli/command.h"
#include "config.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *group;
	const struct command *command[8];
} groups[] = {
        {"Prompts", {&command_run, &command_tokenize, &command_logits}},
        {"Models", {&command_plan, &command_load, &command_unload, &command_models}},
        {"The cluster", {&command_status, &command_invite, &command_join, &command_expel}},
};

static void usage(FILE *to) {
	fprintf(to, "usage: caravan COMMAND [OPTION]... [ARGUMENT]...\n\n"
	            "One large language model on several modest machines.\n");
	for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
		fprintf(to, "\n%s:\n", groups[g].group);
		for (const struct command *const *c = groups[g].command; *c; c++)
			fprintf(to, "  %-10s %s\n", (*c)->name, (*c)->summary);
	}
	fprintf(to, "\n'caravan COMMAND --help' says more; caravan --version tells the version.\n");
}

/* A standard descriptor that is closed would be the next socket, with text written into it: in its place comes one
 * on which reading or writing fails. */
static void hold_standard_descriptors(void) {
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

/* What was printed has arrived, or the status says that it has not. */
static void end_output(void) {
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return;
	fail("cannot write to standard output%s%s", errno ? ": " : "", errno ? strerror(errno) : "");
	_exit(EXIT_FAILED);
}

int main(int argc, char **argv) {
	/* a daemon or a reader that goes is an error to be told, not a death */
	signal(SIGPIPE, SIG_IGN);
	hold_standard_descriptors();
	atexit(end_output);
	if (argc < 2) {
		usage(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		usage(stdout);
		return EXIT_OK;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("caravan %s\n", PACKAGE_VERSION);
		return EXIT_OK;
	}
	for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
		for (const struct command *const *c = groups[g].command; *c; c++)
			if (strcmp(argv[1], (*c)->name) == 0)
				return (*c)->run(argc - 1, argv + 1);
	fprintf(stderr, "caravan: there is no command '%s'; 'caravan --help' lists them\n", argv[1]);
	return EXIT_USAGE;
}
