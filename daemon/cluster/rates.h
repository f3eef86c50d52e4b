/* rates: what the team of this node reaches: bytes a second only read, and of products with each weight type, with one
 * column and with many.  Measured once; when, how often, and what becomes of the figures is measure's.
 *
 * Owns: a team of its own, a buffer larger than caches, and the activations that it is multiplied by.
 * Threads: one, which is not the loop's. */
#ifndef DAEMON_CLUSTER_RATES_H
#define DAEMON_CLUSTER_RATES_H
#include "kernels/kernels.h"
#include <stdatomic.h>
#include <stdbool.h>

/* Bytes of weights a second, with many columns times columns; 0: not measured.  Nothing but doubles. */
struct rates {
	double read;
	double one[KERN_TYPES], many[KERN_TYPES];
};

enum { RATES_MOST = 8 }; /* measurements in a mean */

struct rates_bench;

/* How large the buffer is to be on a node that may use so much memory: larger than the last cache, where there is room. */
size_t rates_bytes(uint64_t memory);

/* dir: where the buffer's file lies, as the store's do, or NULL: in no file.  bytes: of rates_bytes.  cpus: as for team_create.
 * stop: looked at between passes, each of some ten milliseconds; borrowed.  0 or a negative errno. */
int rates_open(struct rates_bench **out, const char *dir, size_t bytes, unsigned threads, const int *cpus,
        const atomic_bool *stop);
void rates_close(struct rates_bench *b); /* NULL allowed */

/* One round of everything; when it is stopped, the figures are of no use. */
void rates_round(struct rates_bench *b, struct rates *out);
/* Of several rounds, in three seconds or somewhat more. */
void rates_measure(struct rates_bench *b, struct rates *out);

/* The mean of the times that the middle half of n <= RATES_MOST measurements takes, figure by figure. */
void rates_mean(const struct rates *of, unsigned n, struct rates *out);
/* Whether most figures are now others. */
bool rates_drifted(const struct rates *was, const struct rates *now);

#endif
