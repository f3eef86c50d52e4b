/* served_rates: this node's rates as serving shows them, and where they contradict the measured ones.
 *
 * Owns: for each served stage, the speed of its last windows of steps; and for each weight type the rate that
 * follows from them, where it differs from the measured one by KERNEL_RATES_FACTOR or more.
 * Invariants: other work on the machine only makes steps slower.  So the fastest of the last windows counts.  A
 * window slower than measured counts only if other work does not explain it, and never alone.  A rate below the
 * measured one is believed for a day: a node that was slow once, and has had no layers since, gets another chance.
 * Threads: the loop.  It has no clock: the caller passes the time. */
#ifndef DAEMON_CALIBRATION_SERVED_RATES_H
#define DAEMON_CALIBRATION_SERVED_RATES_H
#include "daemon/calibration/kernel_rates.h"
#include "shard/model/manifest.h"

#define SERVED_WINDOWS 8
#define SERVED_STAGES 8
#define SERVED_BELIEVED 86400 /* seconds */

enum served_kind {
	SERVED_ONE,
	SERVED_MANY,
	SERVED_KINDS
}; /* steps of one row; of many rows, as for prompts */

/* What a stage has computed since it was created, and the CPU time that passed. */
struct served_sum {
	uint64_t rows;
	double seconds;         /* of computing */
	double busy, own, wall; /* CPU time of the system and of this process; the monotonic clock */
};

struct served_stage {
	struct content_id manifest;
	uint32_t first, last;
	uint64_t used; /* larger is more recent; 0: free */
	struct served_sum from[SERVED_KINDS];
	double window[SERVED_KINDS][SERVED_WINDOWS]; /* seconds a row, a ring */
	unsigned windows[SERVED_KINDS];              /* ever */
	bool reported[SERVED_KINDS];                 /* the deviation was reported */
};

struct served_rate {
	double rate; /* as in struct kernel_rates; 0: none */
	long long at;
};

struct served_rates {
	struct served_rate one[KERN_TYPES], many[KERN_TYPES];
	struct served_stage stage[SERVED_STAGES];
	uint64_t uses;
};

struct served_off {
	double factor;              /* 0: prediction and measurement agree, or it is not known yet */
	double predicted, measured; /* seconds a row */
	bool first;                 /* the first time */
};

/* Adds what a stage has computed so far.  measured: the measured rates.  small: bytes of weights that may fit into a cache; a
 * smaller stage does not correct rates, it only shows that they are wrong.  now: as from time(). */
struct served_off served_rates_add(struct served_rates *s, const struct manifest *m, uint32_t first,
        uint32_t last, enum served_kind kind, const struct served_sum *sum,
        const struct kernel_rates *measured, size_t small, long long now);

/* Replaces measured rates by those that serving showed. */
void served_rates_apply(const struct served_rates *s, struct kernel_rates *r, long long now);

#endif
