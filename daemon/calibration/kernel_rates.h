/* kernel_rates: the speed of this node's team: read bandwidth, and bytes per second of products with each weight
 * type, with one column and with many.  When and how often to measure, and what the figures mean, is decided in
 * calibrate.c.
 *
 * Owns: a team of its own, a buffer larger than the caches, and the activations that it is multiplied by.
 * Threads: one, not the loop's. */
#ifndef DAEMON_CALIBRATION_KERNEL_RATES_H
#define DAEMON_CALIBRATION_KERNEL_RATES_H
#include "daemon/calibration/tuning.h"
#include "kernels/kernels.h"
#include <stdatomic.h>
#include <stdbool.h>

/* Bytes of weights a second, with many columns times columns; 0: not measured.  Nothing but doubles. */
struct kernel_rates {
	double read;
	double one[KERN_TYPES], many[KERN_TYPES];
};

/* The result of one run of several rounds, about three seconds. */
struct kernel_rates_run {
	struct kernel_rates mid, low,
	        high;              /* over the rounds: the median, and the range without the outermost */
	struct kernel_rates alone; /* estimate: the rates without other processes */
	double lost;               /* share of the CPUs taken by other processes during the run: 0 to 1 */
};

/* The result of several runs: the best of each figure, since other work only makes it worse, and the range of the undisturbed
 * runs.  Until there is an undisturbed run, the best is an estimate for the machine without other work. */
struct kernel_rates_known {
	struct kernel_rates best, low, high;
	unsigned runs; /* undisturbed */
};

#define KERNEL_RATES_FACTOR 2.0 /* figures that differ by more are not of the same machine */

struct kernel_rates_bench;

/* The size of the buffer under this memory limit: larger than the last-level cache, if possible. */
size_t kernel_rates_bytes(uint64_t memory);

#define KERNEL_RATES_FILL (4ul << 20)
/* Weights of every type in an unlinked file in this folder, mapped, as those of the store.  bytes: a multiple of
 * KERNEL_RATES_FILL.  NULL: not enough memory or disk space. */
uint8_t *kernel_rates_map_file(const char *dir, size_t bytes);

/* dir: folder for the buffer's file, NULL: anonymous memory.  bytes: from kernel_rates_bytes.  cpus: as for team_create.
 * stop: checked between passes, each of some ten milliseconds; borrowed.  0 or a negative errno. */
int kernel_rates_open(struct kernel_rates_bench **out, const char *dir, size_t bytes, unsigned threads,
        const int *cpus, const atomic_bool *stop);
void kernel_rates_close(struct kernel_rates_bench *b); /* NULL allowed */

/* Tries the ways of products, for at most six seconds.  tuning->known: they were, and nothing disturbed it. */
void kernel_rates_tune(struct kernel_rates_bench *b, struct tuning *tuning);

/* After a stop the figures are not valid. */
void kernel_rates_measure(struct kernel_rates_bench *b, struct kernel_rates_run *out);
/* believed: the run was not disturbed. */
void kernel_rates_add(struct kernel_rates_known *k, const struct kernel_rates_run *run, bool believed);

/* Widens the range to include the earlier figures. */
void kernel_rates_widen(struct kernel_rates_known *k, const struct kernel_rates_known *was);

/* The median ratio of new to old figures; 0: no figure is in both. */
double kernel_rates_change(const struct kernel_rates *was, const struct kernel_rates *now);
/* Whether most figures have changed: 1 faster, -1 slower, 0 no. */
int kernel_rates_drifted(const struct kernel_rates *was, const struct kernel_rates *now);
/* Whether most figures are within KERNEL_RATES_FACTOR. */
bool kernel_rates_alike(const struct kernel_rates *was, const struct kernel_rates *now);

/* CPU time of the whole system since boot, in seconds; 0: unknown. */
double kernel_rates_busy_seconds(void);
/* The share of all CPUs that other processes had: busy seconds of CPU time in `wall` seconds, `own` of them by this process.
 * 0 to 1. */
double kernel_rates_lost(double busy, double own, double wall);
/* Whether a run with this share lost counts as disturbed. */
bool kernel_rates_disturbed(double lost);
/* Whether this share lost can explain that something took `factor` times longer. */
bool kernel_rates_explained(double lost, double factor);

#endif
