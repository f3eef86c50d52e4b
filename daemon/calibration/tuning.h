/* tuning: which ways of products (kernels/kernels.h) are fastest on this machine: found by trying them in turn.
 *
 * Results do not depend on it.  A way is used instead of the default if it is faster by a margin in most rounds.
 * Threads: trying has its own (kernel_rates.h); the rest is pure, or any thread. */
#ifndef DAEMON_CALIBRATION_TUNING_H
#define DAEMON_CALIBRATION_TUNING_H
#include "kernels/kernels.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

#define TUNING_ROUNDS 7
#define TUNING_ROUNDS_LEAST 3
#define TUNING_MARGIN 1.03
#define TUNING_STAMP_MAX 256

struct tuning {
	bool known; /* the ways have been tried */
	struct tuned_way {
		const struct kern_way *way; /* of the level in use; NULL: it has no other */
		double gain; /* its rate over the default's, the median; 1: it is the default */
	} of[KERN_TYPES][KERN_CLASSES];
};

/* How fast a product is, in any unit.  0: not measured, since time is up or it was stopped. */
typedef double tuning_rate_fn(void *arg, uint32_t type, enum kern_class class, const struct kern_way *way);

/* Tries the ways of a level, round by round each once, and notes in *out which to use: the defaults, if a machine is too
 * slow for TUNING_ROUNDS_LEAST rounds.  A round that was not completed does not count.  Returns the number of rounds. */
size_t tuning_try(const struct kern_ops *ops, tuning_rate_fn *rate, void *arg, struct tuning *out);

/* Has products use these ways from now on; where nothing is known, the defaults. */
void tuning_apply(const struct tuning *t);

/* Whether both use the same ways. */
bool tuning_same(const struct tuning *a, const struct tuning *b);

/* Finds a way of the level in use by its name; NULL: unknown. */
const struct kern_way *tuning_way_named(uint32_t type, enum kern_class class, const char *name);

/* What the fastest ways depend on, beside level and threads: version of Caravan, kernel release, processor; one line. */
void tuning_stamp(char *out, size_t len);

/* CARAVAN_TUNE=off: the defaults are used, and nothing is tried. */
bool tuning_is_off(void);

#endif
