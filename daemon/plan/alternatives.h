/* alternatives: what a plan that serves would gain by leaving a node out, or by another node.
 *
 * Owns: what is a gain that is worth saying.  Where a stage has been measured its time counts, and the rates of its node are
 * corrected by it, so that a node that has become slow is seen as it is.
 * Threads: any; pure. */
#ifndef DAEMON_PLAN_ALTERNATIVES_H
#define DAEMON_PLAN_ALTERNATIVES_H
#include "daemon/plan/planner.h"

#define ALTERNATIVES_GAIN 1.1 /* times faster for one stream, */
#define ALTERNATIVES_LEAST \
	10e-3 /* and seconds less for a token, since round trips of busy nodes vary: smaller gains are not said */
#define ALTERNATIVES_TRIES 8 /* stages that are tried, the slowest by layer */

struct alternatives_stage {
	size_t node;
	uint32_t first, last;
	double seconds; /* measured for a token; 0: not yet */
};

struct alternative {
	bool found;
	size_t node;
	double then; /* seconds for a token */
};

struct alternatives {
	double now;                 /* seconds for a token of one stream, as it serves */
	struct alternative without; /* the node that is best left out, with the other nodes of the plan */
	struct alternative with;    /* a node that the plan does not have */
};

/* in: all nodes, each with its memory as it is without this model; those that are not in the plan and must not be, excluded.  No
 * weights are streamed.  0 (nothing is found while a rate is missing) or -ENOMEM. */
int alternatives_find(struct alternatives *out, const struct planner_input *in,
        const struct alternatives_stage *stage, size_t stages);

#endif
