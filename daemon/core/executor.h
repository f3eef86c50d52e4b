/* executor: the thread for disk, hashing and packing.
 * Owns: its thread and queue.  Jobs run in order; `done` is called on the loop after `run` has returned.
 * Threads: executor_submit on the loop. */
#ifndef DAEMON_CORE_EXECUTOR_H
#define DAEMON_CORE_EXECUTOR_H
#include "daemon/core/loop.h"

struct executor;
int executor_create(struct executor **out, struct loop *l);
void executor_destroy(
        struct executor *e); /* waits for the running job; done of the others is called with cancelled true */
typedef void executor_done_fn(void *arg, bool cancelled);
/* 0, -ENOMEM, or -ESHUTDOWN while the executor is being destroyed; on an error, `done` is not called.  done
 * may be NULL. */
int executor_submit(struct executor *e, loop_fn *run, executor_done_fn *done, void *arg);
/* Accepted jobs whose done has not been called; on the loop. */
unsigned executor_open(const struct executor *e);

#endif
