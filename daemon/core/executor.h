/* executor: the thread for disk, hashing and packing.
 * Owns: its thread and queue.  Jobs run in order; `done` is called on the loop when `run` has returned.
 * Threads: loader_submit on the loop. */
#ifndef DAEMON_CORE_EXECUTOR_H
#define DAEMON_CORE_EXECUTOR_H
#include "daemon/core/loop.h"

struct loader;
int loader_create(struct loader **out, struct loop *l);
void loader_destroy(
        struct loader *ld); /* waits for the running job, done's of the rest are called with cancelled true */
typedef void loader_done_fn(void *arg, bool cancelled);
/* 0, -ENOMEM, or -ESHUTDOWN while the loader is being destroyed: `done` is not called then. done may be NULL. */
int loader_submit(struct loader *ld, loop_fn *run, loader_done_fn *done, void *arg);
/* Jobs that were accepted and whose done has not been called; on the loop. */
unsigned loader_open(const struct loader *ld);

#endif
