/* args: options of subcommands: getopt_long with checked values and uniform errors.
 * Owns nothing.  The program has one thread. */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H
#include <getopt.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct command;

/* Options of every command; their values are above all characters. */
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
	const char *control; /* --control, or the socket in --state; NULL: the default places */
	char socket[PATH_MAX];
};

void args_begin(struct args *a, const struct command *c, int argc, char **argv);

/* The next option (common ones are handled here; --help and -h print and exit 0, an unknown one exits 2 with a
 * suggestion), -1 at the end: the operands are at argv[optind]. */
int args_next(struct args *a, const char *shorts, const struct option *longs);

/* The value of the option that args_next returned; an invalid one is reported, and the program exits 2. */
uint64_t args_uint(const char *option, const char *text, uint64_t min, uint64_t max);
double args_double(const char *option, const char *text, double min, double max);
/* The same without an end of the program: false with what it is to be ("a number from 0 to 1") in `what`. */
bool args_read_uint(const char *text, uint64_t min, uint64_t max, uint64_t *out, char *what, size_t size);
bool args_read_double(const char *text, double min, double max, double *out, char *what, size_t size);
/* Reports a value of an option that is not `what`, and exits 2. */
void args_fail(const char *option, const char *text, const char *what) __attribute__((noreturn));
/* Seconds, up to as many days; 90, 90s, 15m, 2h, 1d. */
uint64_t args_duration(const char *option, const char *text, unsigned days);

/* A type of KV cache by its name, as 1 + its number; reports any other and exits 2. */
uint32_t args_kv(const char *text);

/* A known pre-tokenizer by its name.  "list": prints all and exits 0; any other: exits 2. */
char *args_pre(char *text);

/* Splits "a,b" in place; returns the number of parts, at most max. */
size_t args_list(char *list, char **out, size_t max);

/* Checks the number of operands left, and that required ones are not empty; else usage and exit 2.  `what`: their
 * name in the usage. */
void args_operands(struct args *a, int min, int max, const char *what);

/* Prints the help of a command on standard output. */
void args_help(const struct command *c);

void args_usage(const struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));

/* One line on standard error, "caravan: ..."; returns EXIT_FAILED. */
int fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* What is called before such a line, such as to end one that is not complete; NULL: nothing. */
void fail_before(void (*fn)(void));

#endif
