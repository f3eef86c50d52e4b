/* kernel_rates: what the team of this node reaches: bytes a second only read, and of products with each weight type, with one
 * column and with many.  Measured once; when, how often, and what becomes of the figures is measure's.
 *
 * Owns: a team of its own, a buffer larger than caches, and the activations that it is multiplied by.
 * Threads: one, which is not the loop's. */
#ifndef DAEMON_CALIBRATION_KERNEL_RATES_H
#define DAEMON_CALIBRATION_KERNEL_RATES_H
#include "kernels/kernels.h"
#include <stdatomic.h>
#include <stdbool.h>

/* Bytes of weights a second, with many columns times columns; 0: not measured.  Nothing but doubles. */
struct rates {
	double read;
	double one[KERN_TYPES], many[KERN_TYPES];
};

/* What some rounds, in three seconds or somewhat more, found. */
struct rates_look {
	struct rates mid, low,
	        high;       /* of the rounds: the median, and what they lie between but for the outermost */
	struct rates alone; /* what they would be had nobody taken the processors from us: a guess */
	double lost;        /* of the processors, what others had meanwhile: 0 to 1 */
};

/* What several looks found: of each figure the best, since a busy machine only makes things look slower, and what the looks
 * that nothing disturbed lie between.  Until there is one, the best is a guess at what the machine does alone. */
struct rates_known {
	struct rates best, low, high;
	unsigned looks; /* that nothing disturbed */
};

#define RATES_FACTOR 2.0 /* figures so far apart are not of one machine */

struct rates_bench;

/* How large the buffer is to be on a node that may use so much memory: larger than the last cache, where there is room. */
size_t rates_bytes(uint64_t memory);

/* dir: where the buffer's file lies, as the store's do, or NULL: in no file.  bytes: of rates_bytes.  cpus: as for team_create.
 * stop: looked at between passes, each of some ten milliseconds; borrowed.  0 or a negative errno. */
int rates_open(struct rates_bench **out, const char *dir, size_t bytes, unsigned threads, const int *cpus,
        const atomic_bool *stop);
void rates_close(struct rates_bench *b); /* NULL allowed */

/* When it is stopped, the figures are of no use. */
void rates_measure(struct rates_bench *b, struct rates_look *out);
/* believed: nothing disturbed it. */
void rates_add(struct rates_known *k, const struct rates_look *look, bool believed);

/* What was known before is within the spread too. */
void rates_widen(struct rates_known *k, const struct rates_known *was);

/* What most figures are, over what they were; 0: nothing can be compared. */
double rates_change(const struct rates *was, const struct rates *now);
/* Whether most figures are now others: 1 for quicker, -1 for slower; 0: they are not. */
int rates_drifted(const struct rates *was, const struct rates *now);
/* Whether most are within RATES_FACTOR. */
bool rates_alike(const struct rates *was, const struct rates *now);

/* Processor time of the whole system since it started, in seconds; 0: it does not say. */
double rates_busy_seconds(void);
/* Of all processors, what others than ourselves had: so many seconds of processor time were used in so many by the clock, `own`
 * of them by us.  0 to 1. */
double rates_lost(double busy, double own, double wall);
/* Whether that is too much for figures to be believed. */
bool rates_disturbed(double lost);
/* Whether that may be why something took so many times longer than it did. */
bool rates_explained(double lost, double factor);

#endif
