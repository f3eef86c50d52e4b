/* args: see args.h. */
#include "cli/args.h"
#include "cli/command.h"
#include "common/paths.h"
#include "common/suggest.h"
#include "kernels/kernels.h"
#include "shard/model/pretokenizer.h"
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void args_begin(struct args *a, const struct command *c, int argc, char **argv) {
	*a = (struct args){.command = c, .argc = argc, .argv = argv};
	optind = 1;
	opterr = 0;
}

void args_help(const struct command *c) {
	printf("usage: caravan %s%s%s\n\n%c%s.\n", c->name, *c->usage ? " " : "", c->usage,
	        toupper((unsigned char)*c->summary), c->summary + 1);
	if (c->help)
		printf("\n%s", c->help);
	printf("\nWhich daemon:\n"
	       "  --control PATH         its control socket (CARAVAN_CONTROL; default: the first\n"
	       "                         that exists of caravan/control.sock in\n"
	       "                         XDG_RUNTIME_DIR, control.sock in the state folder,\n"
	       "                         and /run/caravan/control.sock)\n"
	       "  --state DIR            the daemon that was started with this --state\n"
	       "  -h, --help             print this help\n");
}

void args_usage(const struct args *a, const char *fmt, ...) {
	va_list ap;
	va_start(ap, fmt);
	fprintf(stderr, "caravan %s: ", a->command->name);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\nusage: caravan %s%s%s\n", a->command->name, *a->command->usage ? " " : "",
	        a->command->usage);
	exit(EXIT_USAGE);
}

#define OPTIONS_MAX 48

/* Reports an unknown option `word` (with its dashes), with suggestions. */
static void args_unknown_option(struct args *a, const char *word, const struct option *longs)
        __attribute__((noreturn));
static void args_unknown_option(struct args *a, const char *word, const struct option *longs) {
	const char *names[OPTIONS_MAX], *first = NULL, *second = NULL;
	char typed[SUGGEST_LENGTH_MAX + 1];
	size_t count = 0, length = strncmp(word, "--", 2) == 0 ? strcspn(word + 2, "=") : 0;
	if (length == 0 || length >= sizeof typed)
		args_usage(a, "unknown option %s", word);
	snprintf(typed, sizeof typed, "%.*s", (int)length, word + 2);
	for (const struct option *o = longs; o->name && count < OPTIONS_MAX; o++) {
		names[count++] = o->name;
		if (strncmp(typed, o->name, length) != 0)
			continue;
		if (!first)
			first = o->name;
		else if (!second)
			second = o->name;
	}
	if (second) /* an abbreviation of several options */
		args_usage(a, "--%s is ambiguous: --%s or --%s", typed, first, second);
	const char *nearest = suggest_nearest(typed, names, count);
	if (nearest)
		args_usage(a, "unknown option --%s; did you mean --%s?", typed, nearest);
	args_usage(a, "unknown option %s", word);
}

int args_next(struct args *a, const char *shorts, const struct option *longs) {
	char spec[64], letter[3] = "-";
	snprintf(spec, sizeof spec, ":h%s", shorts);
	for (;;) {
		int c = getopt_long(a->argc, a->argv, spec, longs, NULL);
		/* for messages: the letter, which may be one of several in an argument, or the last
		 * argument */
		const char *word = a->argv[optind - 1];
		if (optopt > 0 && optopt < OPT_CONTROL) {
			letter[1] = (char)optopt;
			word = letter;
		}
		switch (c) {
		case OPT_CONTROL:
			if (!*optarg)
				args_usage(a, "--control needs a path");
			a->control = optarg;
			continue;
		case OPT_STATE:
			if (!*optarg)
				args_usage(a, "--state needs a folder");
			if (a->control)
				continue;
			if (paths_control(NULL, optarg, a->socket, sizeof a->socket) != 0)
				args_usage(a, "--state: the path is too long");
			a->control = a->socket;
			continue;
		case OPT_HELP:
		case 'h':
			args_help(a->command);
			exit(EXIT_OK);
		case ':':
			args_usage(a, "option %s needs a value", word);
		case '?':
			if (optopt >= OPT_CONTROL)
				args_usage(a, "option %.*s takes no value", (int)strcspn(word, "="), word);
			args_unknown_option(a, word, longs);
		default:
			return c;
		}
	}
}

void args_operands(struct args *a, int min, int max, const char *what) {
	int n = a->argc - optind;
	if (n < min)
		args_usage(a, "%s is missing", what);
	if (n > max)
		args_usage(a, "unexpected argument '%s'%s", a->argv[optind + max],
		        min == 0 && max == 1 ? " (a text of several words needs quotes)" : "");
	for (int i = 0; i < min; i++)
		if (!*a->argv[optind + i])
			args_usage(a, "%s is empty", what);
}

void args_fail(const char *option, const char *text, const char *what) {
	fprintf(stderr, "caravan: %s: '%s' is not %s\n", option, text, what);
	exit(EXIT_USAGE);
}

bool args_read_uint(const char *text, uint64_t min, uint64_t max, uint64_t *out, char *what, size_t size) {
	char *stop;
	errno = 0;
	unsigned long long v = strtoull(text, &stop, 10);
	if (errno || stop == text || *stop || strchr(text, '-') || v < min || v > max) {
		snprintf(what, size, "a whole number from %llu to %llu", (unsigned long long)min,
		        (unsigned long long)max);
		return false;
	}
	*out = v;
	return true;
}

bool args_read_double(const char *text, double min, double max, double *out, char *what, size_t size) {
	char *stop;
	double v = strtod(text, &stop);
	if (stop == text || *stop || !isfinite(v) || v < min || v > max) {
		snprintf(what, size, "a number from %g to %g", min, max);
		return false;
	}
	*out = v;
	return true;
}

uint64_t args_uint(const char *option, const char *text, uint64_t min, uint64_t max) {
	uint64_t v;
	char what[96];
	if (!args_read_uint(text, min, max, &v, what, sizeof what))
		args_fail(option, text, what);
	return v;
}

double args_double(const char *option, const char *text, double min, double max) {
	double v;
	char what[96];
	if (!args_read_double(text, min, max, &v, what, sizeof what))
		args_fail(option, text, what);
	return v;
}

uint64_t args_duration(const char *option, const char *text, unsigned days) {
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = {{'\0', 1}, {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};
	char *stop, what[80];
	errno = 0;
	unsigned long long v = strtoull(text, &stop, 10);
	for (size_t i = 0; i < sizeof units / sizeof *units; i++)
		if (!errno && stop != text && !strchr(text, '-') && *stop == units[i].unit &&
		        (!*stop || !stop[1]) && v >= 1 && v <= days * (uint64_t)86400 / units[i].seconds)
			return v * units[i].seconds;
	snprintf(what, sizeof what, "a time up to %u days, such as 90s, 15m, 2h or 1d", days);
	args_fail(option, text, what);
}

uint32_t args_kv(const char *text) {
	for (uint32_t t = 0; kern_kv_name(t); t++)
		if (strcmp(text, kern_kv_name(t)) == 0)
			return 1 + t;
	args_fail("--kv", text, "f16 or q8_0");
}

char *args_pre(char *text) {
	if (pretokenizer_find(text, strlen(text)))
		return text;
	if (strcmp(text, "list") == 0) {
		puts(pretokenizer_names());
		exit(0);
	}
	args_fail("--pre", text, "a pre-tokenizer that Caravan knows: --pre list names them");
}

size_t args_list(char *list, char **out, size_t max) {
	size_t n = 0;
	for (char *name = strtok(list, ","); name; name = strtok(NULL, ","))
		if (n < max)
			out[n++] = name;
	return n;
}

static void (*before)(void);

void fail_before(void (*fn)(void)) {
	before = fn;
}

int fail(const char *fmt, ...) {
	va_list ap;
	if (before)
		before();
	va_start(ap, fmt);
	fprintf(stderr, "caravan: ");
	vfprintf(stderr, fmt, ap);
	fprintf(stderr, "\n");
	va_end(ap);
	return EXIT_FAILED;
}
