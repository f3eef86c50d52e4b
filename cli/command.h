/* command: the shape of a subcommand, and the table of them (main.c). */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

/* Exit statuses. */
enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };

struct command {
	const char *name;
	const char *usage;                 /* what follows "caravan NAME " */
	const char *summary;               /* one line */
	const char *help;                  /* grouped options with their defaults, or NULL */
	int (*run)(int argc, char **argv); /* argv[0] is the name of the subcommand; returns an exit status */
};

extern const struct command command_chat, command_run, command_logits, command_tokenize, command_invite,
        command_join, command_expel, command_leave, command_plan, command_load, command_unload,
        command_models, command_rm, command_status, command_measure, command_key, command_bench, command_top,
        command_events;

#endif
