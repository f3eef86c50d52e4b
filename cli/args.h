/* args: options of subcommands: getopt_long with checked values and one way to complain.
 * Owns nothing.  The program has one thread. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct command;

/* Options that every command has; values of struct option are beyond all characters. */
enum { OPT_CONTROL = 256, OPT_STATE, OPT_HELP, OPT_OWN };
#define ARGS_COMMON \
	{"control", required_argument, NULL, OPT_CONTROL}, {"state", required_argument, NULL, OPT_STATE}, \
	        {"help", no_argument, NULL, OPT_HELP}, { \
		0 \
	}

struct args {
	const struct command *command;
	int argc;
	char **argv;
	const char *control; /* --control, or the socket in --state; NULL: wherever it is by convention */
	char socket[PATH_MAX];
};

void args_begin(struct args *a, const struct command *c, int argc, char **argv);

/* The next option (common ones are dealt with here; --help and -h print and exit 0, a wrong one exits 2 after
 * suggesting one that exists), -1 at the end: what is left is at argv[optind]. */
int args_next(struct args *a, const char *shorts, const struct option *longs);

/* Values of the option that args_next returned; what is wrong with them is said, and the program exits 2. */
uint64_t args_uint(const char *option, const char *text, uint64_t min, uint64_t max);
double args_double(const char *option, const char *text, double min, double max);
uint64_t args_duration(const char *option, const char *text); /* seconds; 90, 90s, 15m, 2h, 1d */

/* A type of KV cache by its name, as 1 + its number; ends the program for another. */
uint32_t args_kv(const char *text);

/* A pre-tokenizer that is known, by its name; lists them and ends the program for another. */
char *args_pre(char *text);

/* Splits "a,b" in place; how many there are, at most max. */
size_t args_list(char *list, char **out, size_t max);

/* So many operands are left, and those that must be there are not empty; else usage and exit 2.  `what` they are
 * called in the usage. */
void args_operands(struct args *a, int min, int max, const char *what);

/* The help of a command, on standard output. */
void args_help(const struct command *c);

void args_usage(const struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

/* One line on standard error, "caravan: ..."; returns EXIT_FAILED. */
int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
