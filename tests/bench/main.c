/* bench: what the kernels of this machine reach, as a table for people and, with BENCH_JSON=FILE, as one object for
 * programs.
 *
 *   bench [-t THREADS] [-r ROUNDS] [read|products|attention|tokens|pages|sharing|start]...
 *
 * All sections when none is named, except pages, which takes minutes.  Threads: one a processor that this process may use; -t for
 * fewer.  BENCH_COMMIT says what was built, for the object; BENCH_MODEL limits the tokens to models with this in their names, and
 * the pages to types.  Products use the kernels that a node would choose here, CARAVAN_TUNE=off: the default ones. */
#include "tests/bench/bench.h"
#include <malloc.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ROUNDS = 5 };

static int usage(void) {
	fprintf(stderr,
	        "usage: bench [-t THREADS] [-r ROUNDS] [read|products|attention|tokens|pages|sharing|start]...\n");
	return 2;
}

/* How many processors this process may run on. */
static unsigned processors(void) {
	cpu_set_t set;
	unsigned n = sched_getaffinity(0, sizeof set, &set) ? 1 : (unsigned)CPU_COUNT(&set);
	return n < BENCH_THREADS_MAX ? n : BENCH_THREADS_MAX;
}

static bool asked(int argc, char **argv, const char *section) {
	for (int i = optind; i < argc; i++)
		if (!strcmp(argv[i], section))
			return true;
	return optind == argc;
}

int main(int argc, char **argv) {
	static const char *const sections[] = {
	        "read", "products", "attention", "tokens", "pages", "sharing", "start"};
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
	mallopt(M_MMAP_THRESHOLD, 128 << 10); /* what is large is always new memory, which can lie in huge pages */
	bench_cpu_name(cpu, sizeof cpu);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("%s; %u rounds\n", cpu, rounds);
	bench_create(&b, kern_ops(), threads, rounds);
	bench_tune(&b);
	if (asked(argc, argv, "read"))
		bench_reading(&b);
	if (asked(argc, argv, "products"))
		bench_products(&b, NULL);
	if (asked(argc, argv, "attention"))
		bench_attention(&b);
	if (asked(argc, argv, "tokens"))
		bench_tokens(&b);
	if (optind < argc && asked(argc, argv, "pages"))
		bench_pages(&b);
	if (asked(argc, argv, "sharing"))
		bench_sharing(&b);
	snprintf(caravan, sizeof caravan, "%s/caravan", top ? top : ".");
	if (asked(argc, argv, "start"))
		bench_start(&b, caravan);
	bench_summary(&b);
	int rc = json && *json ? bench_write_json(&b, "kernels", json, cpu) : 0;
	bench_destroy(&b);
	return rc;
}
