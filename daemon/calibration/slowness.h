/* slowness: which of the figures that nodes report are out of the ordinary, and what to do about it.
 * Owns: the thresholds and the sentences; nothing else.  Pure; any thread. */
#ifndef DAEMON_CALIBRATION_SLOWNESS_H
#define DAEMON_CALIBRATION_SLOWNESS_H
#include "proto/wire.h"

#define SLOW_TIMES 3.0 /* its own median: a stage that is slow */

/* A problem, as report_problem takes it. */
struct slowness {
	const char *kind;
	char what[400], advice[400];
};

/* Whether a stage is slower than it is usually, or than was predicted; or quicker than was predicted, so that plans go by wrong
 * figures.  stage: of the plan; st, node: what its node says, or NULL; name: the node's. */
bool slowness_stage(struct slowness *out, const Caravan__Plan *plan, size_t stage,
        const Caravan__StageState *st, const Caravan__NodeState *node, const char *name);

/* Whether the figures of a node were found while its machine was busy. */
bool slowness_calibration(struct slowness *out, const Caravan__NodeState *node, const char *name);

/* Whether the link to a node from a peer is slow, as that peer says. */
bool slowness_link(struct slowness *out, const Caravan__PeerState *p, const char *from, const char *to);

#endif
