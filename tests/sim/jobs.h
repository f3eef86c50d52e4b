/* sim/jobs: executors on virtual time.  It stands in for daemon/core/executor.c, and so for the compute lane too: jobs of
 * an executor run one after the other, in order, as events of its loop.
 *
 * How long a job takes is what it spends itself (sim_spend, as sim/compute does) and what the test's cost says.  A held
 * executor takes jobs and runs none of them.
 * Threads: one. */
#ifndef TESTS_SIM_JOBS_H
#define TESTS_SIM_JOBS_H
#include "daemon/core/executor.h"

/* Virtual nanoseconds that a job takes besides what it spends; NULL: none. */
typedef uint64_t jobs_cost_fn(struct loop *l, loop_fn *run, void *arg);
void jobs_cost(jobs_cost_fn *fn);
/* Holds all executors of a loop, or lets them go on.  A job that has begun is finished. */
void jobs_hold(struct loop *l, bool held);
/* So many next jobs are refused with -ENOMEM. */
void jobs_refuse(unsigned n);
/* Of all executors: jobs that wait, or have run and whose end nobody has been told of. */
unsigned jobs_open(void);

#endif
