/* compute: this node's computing: a team of threads, and one thread with a queue of jobs.
 *
 * Owns: the team and the thread that leads it.  Jobs of all models run one after the other, in order; `done`
 * is called on the loop in the same order.
 * Threads: created and destroyed on the loop; jobs run on the compute thread, which is member 0 of the
 * team. */
#ifndef DAEMON_SERVE_STAGE_COMPUTE_H
#define DAEMON_SERVE_STAGE_COMPUTE_H
#include "daemon/core/executor.h"
#include "kernels/team.h"

struct compute;

/* threads: 0 for one per physical core. */
int compute_create(struct compute **out, struct loop *l, unsigned threads, char *err, size_t errlen);
void compute_destroy(struct compute *c);      /* NULL allowed */
struct team *compute_team(struct compute *c); /* only for use inside jobs */
struct loop *compute_loop(struct compute *c);
unsigned compute_threads(const struct compute *c);
/* Whether a step is being computed, or was a moment ago; call on the loop. */
bool compute_busy(const struct compute *c);
/* How long nothing has been computed; 0: a step is being computed.  Call on the loop. */
uint64_t compute_idle_ns(const struct compute *c);
int compute_submit(struct compute *c, loop_fn *run, executor_done_fn *done, void *arg);

#endif
