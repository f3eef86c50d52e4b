/* calibrate: how fast this node is: read bandwidth; for each weight type the rate of products with one column and
 * with many; the rate of its disk.  Each comes with its spread.
 *
 * Owns: the figures, and STATE/rates, where they are kept with what they depend on (ISA level, threads, revisions
 * of arithmetic and layout).  They are measured again when any of that changes, when the machine has drifted from
 * them, when serving contradicts them, and on request.
 * Threads: measuring takes a few seconds on a thread and a team of its own; the rest is the loop's. */
#ifndef DAEMON_CALIBRATION_CALIBRATE_H
#define DAEMON_CALIBRATION_CALIBRATE_H
#include "daemon/calibration/kernel_rates.h"
#include "daemon/calibration/served_rates.h"
#include "daemon/core/loop.h"
#include "kernels/kernels.h"
#include "proto/wire.h"

struct calibration;

/* How to make a run, and how long to wait for the next one; tests have their own. */
struct calibrate_ways {
	/* One run, on the measuring thread; 0 or a negative errno. */
	int (*run)(void *arg, const char *dir, size_t bytes, unsigned threads, const int *cpus,
	        const atomic_bool *stop, struct kernel_rates_run *out);
	double (*disk)(void *arg, const char *dir); /* bytes a second, 0: not to be measured */
	uint32_t soon_ms;                           /* until the next of the first runs; twice as long */
	uint32_t soon_most_ms;                      /* after each one that was disturbed, up to this */
	uint32_t later_ms;                          /* between runs that check whether figures still hold */
	uint32_t patience_ms;                       /* that who asks waits for the node to rest */
	void *arg;
};
extern const struct calibrate_ways calibrate_ways; /* the usual ones */

struct calibrate_config {
	struct loop *loop;     /* borrowed */
	const char *state_dir; /* NULL: nothing is kept */
	uint64_t memory;       /* that this node may use, bytes */
	unsigned threads;
	const int *cpus; /* where to pin the threads, or NULL; copied */
	/* NULL: the machine may be measured now; or why not, as in "it is serving".  asked: somebody waits for it, so a short
	 * rest will do. */
	const char *(*busy)(void *arg, bool asked);
	void *arg;
	const struct calibrate_ways *ways; /* NULL: calibrate_ways; borrowed */
};

/* Takes what state_dir has and, if that is old, checks whether it still holds; or begins to measure. */
int calibrate_start(struct calibration **out, const struct calibrate_config *c);
void calibrate_stop(struct calibration *m); /* waits for a run under way, which ends soon; NULL allowed */
bool calibrate_ready(const struct calibration *m);
/* Whether a run ended within the last ms milliseconds, so that another one would find nothing new. */
bool calibrate_fresh(const struct calibration *m, uint64_t ms);
unsigned calibrate_threads(const struct calibration *m);
/* Why those who asked still wait, or NULL: it is being measured. */
const char *calibrate_waits(const struct calibration *m);
uint64_t calibrate_memory(const struct calibration *m); /* bytes that it takes while it measures */

/* Measures anew as soon as the node rests.  done: once, on the loop, with NULL or a sentence that says why not; not by
 * calibrate_stop.  0; or -EBUSY, -ENOMEM, when it is not called. */
int calibrate_now(struct calibration *m, void (*done)(void *arg, const char *error), void *arg);

/* What stages have computed so far (see served_rates.h), for who is asked about it in the log: where that contradicts the figures,
 * they are corrected, and measured anew when the node rests. */
void calibrate_served(struct calibration *m, const char *node, const struct manifest *mf, uint32_t first,
        uint32_t last, enum served_kind kind, const struct served_sum *sum);

/* Adds what is known (nothing, until it is) to what this node reports of itself; pointers are valid as long as m. NULL
 * allowed for m. */
void calibrate_fill(struct calibration *m, Caravan__NodeState *out);

#endif
