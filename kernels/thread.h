/* thread: the only way in which this project starts a thread.
 *
 * Signals belong to the thread of the event loop, so every other thread blocks them, except those that the processor raises at an
 * instruction of that thread: SIGBUS, SIGSEGV, SIGFPE and SIGILL.  If such a signal is blocked, the system ends the process
 * without calling the handler.  The handler of SIGBUS (shard/store/in_use.c) lets a process survive a mapped file that has become
 * shorter, or a sector that cannot be read. */
#ifndef KERNELS_THREAD_H
#define KERNELS_THREAD_H
#include <pthread.h>

/* attr: NULL for the defaults.  0 or a negative errno. */
int thread_start(pthread_t *out, const pthread_attr_t *attr, void *(*run)(void *arg), void *arg);

#endif
