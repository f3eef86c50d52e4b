/* calibrate: how fast this node is: read bandwidth; for each weight type the rate of products with one column and
 * with many; the rate of its disk; what huge pages gain.  Each comes with its spread.  And which ways of products
 * are fastest (tuning.h).
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

/* How to run a measurement, and the intervals between runs; replaced by tests. */
struct calibrate_ops {
	/* One run, on the measuring thread; 0 or a negative errno.  tuning: first, the ways of products are tried, and what is found
	 * undisturbed is used; NULL: not now. */
	int (*run)(void *arg, const char *dir, size_t bytes, unsigned threads, const int *cpus,
	        const atomic_bool *stop, struct tuning *tuning, struct kernel_rates_run *out);
	double (*disk)(void *arg, const char *dir); /* bytes a second; 0: cannot be measured */
	/* As page_rates. */
	double (*pages)(void *arg, const char *dir, size_t bytes, unsigned threads, const int *cpus,
	        const atomic_bool *stop);
	uint32_t soon_ms;      /* until the next of the first runs; doubled */
	uint32_t soon_most_ms; /* after each one that was disturbed, up to this */
	uint32_t later_ms;     /* between runs that check whether figures still hold */
	uint32_t patience_ms;  /* how long a request waits until the node is idle */
	void *arg;
};
extern const struct calibrate_ops calibrate_ops; /* the defaults */

struct calibrate_config {
	struct loop *loop;     /* borrowed */
	const char *state_dir; /* NULL: not saved */
	uint64_t memory;       /* memory limit of this node, bytes */
	unsigned threads;
	const int *cpus; /* where to pin the threads, or NULL; copied */
	/* NULL: the machine may be measured now; else why not, such as "it is serving".  asked: a request waits, so a short idle
	 * time suffices. */
	const char *(*busy)(void *arg, bool asked);
	void *arg;
	const struct calibrate_ops *ops; /* NULL: calibrate_ops; borrowed */
};

/* Loads the figures from state_dir and, if they are old, checks them; otherwise starts to measure. */
int calibrate_start(struct calibration **out, const struct calibrate_config *c);
void calibrate_stop(struct calibration *m); /* waits for the current run, which ends soon; NULL allowed */
bool calibrate_ready(const struct calibration *m);
/* Whether a run ended within the last ms milliseconds. */
bool calibrate_fresh(const struct calibration *m, uint64_t ms);
unsigned calibrate_threads(const struct calibration *m);
/* Why requests still wait; NULL: a run is in progress. */
const char *calibrate_waits(const struct calibration *m);
uint64_t calibrate_memory(const struct calibration *m); /* bytes in use while it measures */

/* Measures again as soon as the node is idle.  done: called once on the loop, with NULL or an error sentence, but not from
 * calibrate_stop.  0; or -EBUSY, -ENOMEM, and done is not called. */
int calibrate_now(struct calibration *m, void (*done)(void *arg, const char *error), void *arg);

/* Reports what stages have computed so far (see served_rates.h); node: this node's name, for the log.  Figures that it contradicts
 * are corrected, and measured again when the node is idle. */
void calibrate_served(struct calibration *m, const char *node, const struct manifest *mf, uint32_t first,
        uint32_t last, enum served_kind kind, const struct served_sum *sum);

/* Whether weights are worth reading into anonymous huge pages here.  m may be NULL: not measured, they are not. */
bool calibrate_huge_pages(const struct calibration *m);

/* Adds the figures known so far to the state of this node; pointers are valid as long as m.  m may be NULL. */
void calibrate_fill(struct calibration *m, Caravan__NodeState *out);
/* Adds the ways of products that were tried. */
void calibrate_fill_ways(struct calibration *m, Caravan__NodeState *out);

#endif
