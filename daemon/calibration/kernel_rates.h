/* kernel_rates: the speed of this node's team: read bandwidth, and bytes per second of products with each weight
 * type, with one column and with many.  When and how often to measure, and what the figures mean, is decided in
 * calibrate.c.
 *
 * Owns: a team of its own, a buffer larger than the caches, and the activations that it is multiplied by.
 * Threads: one, not the loop's. */
#ifndef DAEMON_CALIBRATION_KERNEL_RATES_H
#define DAEMON_CALIBRATION_KERNEL_RATES_H
#include "kernels/kernels.h"
#include <stdatomic.h>
#include <stdbool.h>

/* Bytes of weights a second, with many columns times columns; 0: not measured.  Nothing but doubles. */
struct kernel_rates {
	double read;
	double one[KERN_TYPES], many[KERN_TYPES];
};

/* What some rounds, in three seconds or somewhat more, found. */
struct kernel_rates_run {
	struct kernel_rates mid, low,
	        high; /* of the rounds: the median, and what they lie between but for the outermost */
	struct kernel_rates alone; /* estimate: the rates without other processes */
	double lost;               /* of the processors, what others had meanwhile: 0 to 1 */
};

/* What several runs found: the best of each figure, since other work only makes it worse, and the range of the undisturbed
 * runs.  Until there is one, the best is an estimate of what the machine does alone. */
struct kernel_rates_known {
	struct kernel_rates best, low, high;
	unsigned runs; /* that nothing disturbed */
};

#define KERNEL_RATES_FACTOR 2.0 /* figures so far apart are not of one machine */

struct kernel_rates_bench;

/* How large the buffer is to be on a node that may use so much memory: larger than the last cache, where there is room. */
size_t kernel_rates_bytes(uint64_t memory);

/* dir: where the buffer's file lies, as the store's do, or NULL: in no file.  bytes: of kernel_rates_bytes.  cpus: as for team_create.
 * stop: checked between passes, each of some ten milliseconds; borrowed.  0 or a negative errno. */
int kernel_rates_open(struct kernel_rates_bench **out, const char *dir, size_t bytes, unsigned threads,
        const int *cpus, const atomic_bool *stop);
void kernel_rates_close(struct kernel_rates_bench *b); /* NULL allowed */

/* When it is stopped, the figures are of no use. */
void kernel_rates_measure(struct kernel_rates_bench *b, struct kernel_rates_run *out);
/* believed: nothing disturbed it. */
void kernel_rates_add(struct kernel_rates_known *k, const struct kernel_rates_run *look, bool believed);

/* What was known before is within the spread too. */
void kernel_rates_widen(struct kernel_rates_known *k, const struct kernel_rates_known *was);

/* What most figures are, over what they were; 0: nothing can be compared. */
double kernel_rates_change(const struct kernel_rates *was, const struct kernel_rates *now);
/* Whether most figures are now others: 1 for quicker, -1 for slower; 0: they are not. */
int kernel_rates_drifted(const struct kernel_rates *was, const struct kernel_rates *now);
/* Whether most are within KERNEL_RATES_FACTOR. */
bool kernel_rates_alike(const struct kernel_rates *was, const struct kernel_rates *now);

/* Processor time of the whole system since it started, in seconds; 0: it does not say. */
double kernel_rates_busy_seconds(void);
/* Of all processors, what others than ourselves had: so many seconds of processor time were used in so many by the clock, `own`
 * of them by us.  0 to 1. */
double kernel_rates_lost(double busy, double own, double wall);
/* Whether that is too much for figures to be believed. */
bool kernel_rates_disturbed(double lost);
/* Whether that may be why something took so many times longer than it did. */
bool kernel_rates_explained(double lost, double factor);

#endif
