/* loop: the one thread that owns sockets, timers, signals and all cluster state; built on libevent.
 *
 * Owns: the event base and a mailbox through which other threads post work to the loop.
 * Threads: loop_post from any thread; everything else on the loop's own. */
#ifndef DAEMON_CORE_LOOP_H
#define DAEMON_CORE_LOOP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

struct event_base;
struct loop;
struct loop_timer;
typedef void loop_fn(void *arg);

int loop_create(struct loop **out);
void loop_destroy(struct loop *l); /* NULL allowed; runs what is still in the mailbox first */
struct event_base *loop_base(struct loop *l);
int loop_run(struct loop *l);   /* until loop_stop */
void loop_stop(struct loop *l); /* on the loop, or before loop_run, which then returns at once */
bool loop_on_thread(const struct loop *l);

/* Runs fn(arg) on the loop, soon; posts of one thread run in order.  0 or -ENOMEM. */
int loop_post(struct loop *l, loop_fn *fn, void *arg);

/* Runs fn after `ms` milliseconds, once or repeatedly; loop thread only; NULL: out of memory.  A one-shot
 * timer is freed when its fn returns: forget the pointer there. */
struct loop_timer *loop_timer_start(struct loop *l, uint64_t ms, bool repeat, loop_fn *fn, void *arg);
void loop_timer_stop(struct loop_timer *t); /* NULL allowed; safe inside its own fn */

uint64_t loop_now_ns(void); /* monotonic */

#endif
