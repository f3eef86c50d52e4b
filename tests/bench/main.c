/* bench: what the kernels of this machine reach, as a table for people and, with BENCH_JSON=FILE, as one object for
 * programs.
 *
 *   bench [-t THREADS] [-r ROUNDS] [products|attention|tokens|sharing|start]...
 *
 * All sections when none is named.  Threads: one a processor that this process may use; -t for fewer.  BENCH_COMMIT says what was built, for the object. */
#include "tests/bench/bench.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 5 };

static int usage(void) {
	fprintf(stderr,
	        "usage: bench [-t THREADS] [-r ROUNDS] [products|attention|tokens|sharing|start]...\n");
	return 2;
}

static void cpu_name(char *out, size_t size) {
	char line[512];
	FILE *f = fopen("/proc/cpuinfo", "r");
	snprintf(out, size, "unknown");
	while (f && fgets(line, sizeof line, f)) {
		char *at = strchr(line, ':');
		if (at && !strncmp(line, "model name", 10)) {
			at[strcspn(at, "\n")] = '\0';
			snprintf(out, size, "%s", at + 2);
			break;
		}
	}
	if (f)
		fclose(f);
}

/* How many processors this process may run on. */
static unsigned processors(void) {
	cpu_set_t set;
	unsigned n = sched_getaffinity(0, sizeof set, &set) ? 1 : (unsigned)CPU_COUNT(&set);
	return n < BENCH_THREADS_MAX ? n : BENCH_THREADS_MAX;
}

static int write_json(const struct bench *b, const char *path, const char *cpu) {
	const char *commit = getenv("BENCH_COMMIT");
	json_t *rows = json_array(), *all;
	for (size_t i = 0; i < b->nrows; i++) {
		const struct bench_row *r = &b->rows[i];
		json_t *o = json_pack("{s:s, s:f, s:s}", "name", r->name, "value", r->value, "unit", r->unit);
		if (!isnan(r->bound))
			json_object_set_new(o, "bound", json_real(r->bound));
		if (!isnan(r->target)) {
			json_object_set_new(o, "target", json_real(r->target));
			json_object_set_new(o, "met", json_boolean(bench_met(r)));
		}
		json_array_append_new(rows, o);
	}
	all = json_pack("{s:s, s:s, s:s, s:o}", "cpu", cpu, "commit", commit && *commit ? commit : "unknown",
	        "rung", b->ops->name, "rows", rows);
	int rc = all ? json_dump_file(all, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : -1;
	json_decref(all);
	if (rc)
		fprintf(stderr, "bench: %s cannot be written: %s\n", path, strerror(errno));
	return rc ? 1 : 0;
}

static void summary(const struct bench *b) {
	size_t with = 0, met = 0;
	for (size_t i = 0; i < b->nrows; i++)
		if (!isnan(b->rows[i].target)) {
			with++;
			met += bench_met(&b->rows[i]);
		}
	printf("\n%zu of %zu targets met", met, with);
	if (met < with)
		printf("; missed:");
	printf("\n");
	for (size_t i = 0; i < b->nrows; i++) {
		const struct bench_row *r = &b->rows[i];
		if (!isnan(r->target) && !bench_met(r))
			printf("  %-28s %6.2f %s; target %.2f\n", r->name, r->value, r->unit, r->target);
	}
}

static bool asked(int argc, char **argv, const char *section) {
	for (int i = optind; i < argc; i++)
		if (!strcmp(argv[i], section))
			return true;
	return optind == argc;
}

int main(int argc, char **argv) {
	static const char *const sections[] = {"products", "attention", "tokens", "sharing", "start"};
	int option;
	unsigned threads = processors(), rounds = ROUNDS, most = threads;
	char err[256], cpu[256], caravan[512];
	const char *json = getenv("BENCH_JSON"), *top = getenv("top_builddir");
	while ((option = getopt(argc, argv, "t:r:")) != -1) {
		unsigned n = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;
		if (option == 't' && n >= 1 && n <= most)
			threads = n;
		else if (option == 'r' && n >= 1 && n <= BENCH_ROUNDS_MAX)
			rounds = n;
		else
			return usage();
	}
	for (int i = optind; i < argc; i++) {
		bool known = false;
		for (size_t k = 0; k < sizeof sections / sizeof *sections; k++)
			known |= !strcmp(argv[i], sections[k]);
		if (!known)
			return usage();
	}
	if (kern_init(err, sizeof err)) {
		fprintf(stderr, "bench: %s\n", err);
		return 1;
	}
	struct bench b;
	cpu_name(cpu, sizeof cpu);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("%s; %u rounds\n", cpu, rounds);
	bench_create(&b, kern_ops(), threads, rounds);
	if (asked(argc, argv, "products"))
		bench_products(&b, NULL);
	if (asked(argc, argv, "attention"))
		bench_attention(&b);
	if (asked(argc, argv, "tokens"))
		bench_tokens(&b);
	if (asked(argc, argv, "sharing"))
		bench_sharing(&b);
	snprintf(caravan, sizeof caravan, "%s/caravan", top ? top : ".");
	if (asked(argc, argv, "start"))
		bench_start(&b, caravan);
	summary(&b);
	int rc = json && *json ? write_json(&b, json, cpu) : 0;
	bench_destroy(&b);
	return rc;
}
