/* thread: the one way in which this project starts a thread.
 *
 * Signals belong to the thread that runs the event loop, so every other thread blocks them, but for those that the processor
 * raises at the instruction that a thread executes: SIGBUS, SIGSEGV, SIGFPE and SIGILL.  Where such a signal is blocked the
 * kernel ends the process without asking its handler, and the handler of bus errors (shard/store/in_use.c) is what lets a
 * process outlive a mapped file that has become shorter, or a sector that cannot be read. */
#ifndef KERNELS_THREAD_H
#define KERNELS_THREAD_H
#include <pthread.h>

/* attr: NULL for the usual ones.  0 or a negative errno. */
int thread_start(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *arg), void *arg);

#endif
