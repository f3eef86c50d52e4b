/* bench/tune: products are measured with the ways that a node on this machine would choose. */
#include "daemon/calibration/kernel_rates.h"
#include "tests/bench/bench.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMORY = 8 }; /* GiB, of which a quarter at most is used */

static void tell(const struct tuning *t) {
	printf("\nKernels that are faster than the defaults here:\n");
	for (uint32_t type = 0; type < KERN_TYPES; type++)
		for (int c = 0; c < KERN_CLASSES; c++) {
			const struct tuned_way *of = &t->of[type][c];
			if (of->way && of->way != kern_way_default(kern_ops(), type, (enum kern_class)c))
				printf("%-8s %-7s %-20s %.2f\n", kern_traits(type)->name,
				        kern_class_name((enum kern_class)c), of->way->name, of->gain);
		}
}

void bench_tune(struct bench *b) {
	struct kernel_rates_bench *rates;
	struct tuning tuning;
	atomic_bool stop = false;
	const char *dir = getenv("TMPDIR");
	if (tuning_is_off() || kernel_rates_open(&rates, dir && *dir ? dir : "/tmp",
	                               kernel_rates_bytes((uint64_t)MEMORY << 30), b->threads, NULL, &stop))
		return;
	kernel_rates_tune(rates, &tuning);
	kernel_rates_close(rates);
	if (!tuning.known) {
		printf("Other programs disturb it: the default kernels are measured.\n");
		return;
	}
	tuning_apply(&tuning);
	tell(&tuning);
}
