/* compute: the computing of this node: a team of threads and the one lane on which jobs for it stand in line.
 *
 * Owns: the team and the thread that leads it.  Jobs run one after the other, in order, whatever model they
 * are for; `done` comes back on the loop in the same order.
 * Threads: created and destroyed on the loop; jobs run on the lane, which is member 0 of the team. */
#ifndef DAEMON_SERVE_STAGE_COMPUTE_H
#define DAEMON_SERVE_STAGE_COMPUTE_H
#include "daemon/core/executor.h"
#include "kernels/team.h"

struct worker;

/* threads: 0 for one a physical core. */
int worker_create(struct worker **out, struct loop *l, unsigned threads, char *err, size_t errlen);
void worker_destroy(struct worker *w);      /* NULL allowed */
struct team *worker_team(struct worker *w); /* for use inside jobs alone */
struct loop *worker_loop(struct worker *w);
unsigned worker_threads(const struct worker *w);
/* Whether a step is being computed here, or was a moment ago; on the loop. */
bool worker_busy(const struct worker *w);
/* For how long nothing has been computed here; 0: something is.  On the loop. */
uint64_t worker_idle_ns(const struct worker *w);
int worker_submit(struct worker *w, loop_fn *run, executor_done_fn *done, void *arg);

#endif
