/* caravan: the command.  A table of subcommands; each is one file. */
#include "cli/args.h"
#include "cli/command.h"
#include "cli/progress.h"
#include "cli/text.h"
#include "common/suggest.h"
#include "config.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMANDS_MAX 48

static const struct {
	const char *group;
	const struct command *command[12];
} groups[] = {
        {"Prompts", {&command_chat, &command_run, &command_tokenize, &command_logits}},
        {"Models", {&command_plan, &command_load, &command_unload, &command_models, &command_rm}},
        {"The cluster", {&command_status, &command_top, &command_events, &command_measure, &command_bench,
                                &command_invite, &command_join, &command_leave, &command_expel}},
        {"The HTTP API", {&command_key}},
};

static const struct command *main_find_command(const char *name) {
	for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
		for (const struct command *const *c = groups[g].command; *c; c++)
			if (strcmp(name, (*c)->name) == 0)
				return *c;
	return NULL;
}

static void main_usage(FILE *to) {
	fprintf(to, "usage: caravan COMMAND [OPTION]... [ARGUMENT]...\n\n"
	            "One large language model on several modest machines.\n");
	for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
		fprintf(to, "\n%s:\n", groups[g].group);
		for (const struct command *const *c = groups[g].command; *c; c++)
			fprintf(to, "  %-10s %s\n", (*c)->name, (*c)->summary);
	}
	fprintf(to, "\n'caravan help COMMAND' explains one; 'caravan --version' prints the version.\n");
}

/* Reports an unknown command, with a suggestion. */
static int main_unknown_command(const char *name) {
	const char *names[COMMANDS_MAX] = {"help"};
	size_t count = 1;
	for (size_t g = 0; g < sizeof groups / sizeof *groups; g++)
		for (const struct command *const *c = groups[g].command; *c && count < COMMANDS_MAX; c++)
			names[count++] = (*c)->name;
	const char *nearest = suggest_nearest(name, names, count);
	fprintf(stderr, "caravan: unknown command '%s'; ", name);
	if (nearest)
		fprintf(stderr, "did you mean '%s'?\n", nearest);
	else
		fprintf(stderr, "'caravan help' lists them\n");
	return EXIT_USAGE;
}

/* caravan help [COMMAND] */
static int main_help(int argc, char **argv) {
	if (argc == 0) {
		main_usage(stdout);
		return EXIT_OK;
	}
	const struct command *c = main_find_command(argv[0]);
	if (!c)
		return main_unknown_command(argv[0]);
	args_help(c);
	return EXIT_OK;
}

/* A closed standard descriptor would be reused for the next socket, and text written into it: it is replaced by one
 * on which reading or writing fails. */
static void main_hold_standard_descriptors(void) {
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)!open("/dev/null", fd == 0 ? O_WRONLY : O_RDONLY);
}

/* Flushes what was printed; the exit status says if that failed. */
static void main_close_output(void) {
	if (text_flush() != 0)
		_exit(EXIT_FAILED);
}

int main(int argc, char **argv) {
	/* a lost daemon or reader is handled where it is noticed; it must not kill us */
	signal(SIGPIPE, SIG_IGN);
	main_hold_standard_descriptors();
	atexit(main_close_output);
	fail_before(progress_clear);
	if (argc < 2) {
		main_usage(stderr);
		return EXIT_USAGE;
	}
	const char *name = argv[1];
	if (strcmp(name, "help") == 0)
		return main_help(argc - 2, argv + 2);
	if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0)
		return main_help(0, NULL);
	if (strcmp(name, "--version") == 0) {
		printf("caravan %s\n", PACKAGE_VERSION);
		return EXIT_OK;
	}
	if (*name == '-') {
		fprintf(stderr,
		        "caravan: options follow the command, as in caravan status %s; 'caravan help' lists "
		        "the commands\n",
		        name);
		return EXIT_USAGE;
	}
	const struct command *c = main_find_command(name);
	return c ? c->run(argc - 1, argv + 1) : main_unknown_command(name);
}
