/* slowness: detects nodes, stages and links that are slower than usual or than predicted, with advice.
 * Owns: the thresholds and the sentences.  Threads: any; pure. */
#ifndef DAEMON_CALIBRATION_SLOWNESS_H
#define DAEMON_CALIBRATION_SLOWNESS_H
#include "daemon/calibration/health.h"

#define SLOW_TIMES 3.0  /* times its own median: a slow stage */
#define LOST_SHARE 0.01 /* of what is sent: a lossy link */

/* Whether a stage is slower than usual or than predicted; or faster than predicted, so that plans use wrong figures.  stage: of
 * the plan; st, node: as reported by its node, or NULL; name: of the node. */
bool slowness_stage(struct health_problem *out, const Caravan__Plan *plan, size_t stage,
        const Caravan__StageState *st, const Caravan__NodeState *node, const char *name);

/* Whether the figures of a node were measured while its machine was busy. */
bool slowness_calibration(struct health_problem *out, const Caravan__NodeState *node, const char *name);

/* Whether the link from a peer to a node is slow, as reported by the peer. */
bool slowness_link(struct health_problem *out, const Caravan__PeerState *p, const char *from, const char *to);

/* Whether much of what `from` sends to `to` gets lost, as reported by `from`. */
bool slowness_loss(struct health_problem *out, const Caravan__PeerState *p, const char *from, const char *to);

#endif
