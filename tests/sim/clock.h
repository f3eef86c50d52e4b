/* sim/clock: virtual time.  It stands in for daemon/core/loop.c: a program that is linked with it has no other clock.
 *
 * Owns: the time, and all events to come, of every loop of the program.  Time moves only from one event to the next, so
 * nothing sleeps and an hour takes what its events take.  An event is a timer, a post, or something that another stand-in
 * made with sim_at: a message that arrives, a job that is over.  The event that is due first runs first.
 * Order: events that are due at the same time run in the order in which they were made.  With a seed, the seed chooses among
 * them; those of one stream (posts to a loop, one direction of a link, the jobs of an executor) keep their order even then.
 * Threads: one.  Jobs of other threads run on it as well (sim/jobs.h). */
#ifndef TESTS_SIM_CLOCK_H
#define TESTS_SIM_CLOCK_H
#include "daemon/core/loop.h"

/* A new run: the clock starts, no event is left.  seed 0: events run in the order in which they were made. */
void sim_begin(uint64_t seed);
/* Frees everything.  Loops have been destroyed before. */
void sim_end(void);

/* Runs the next event; false: there is none that can run. */
bool sim_step(void);
/* Runs events until there is none, at most `events` of them; false: that was not enough.  For worlds without timers that
 * come again. */
bool sim_settle(uint64_t events);
/* Runs everything that is due within so many virtual milliseconds. */
void sim_for(uint64_t ms);
/* The same, until a condition is met; whether it is. */
bool sim_until(bool (*met)(void *arg), void *arg, uint64_t ms);
uint64_t sim_events(void); /* that have run since sim_begin */
uint64_t sim_now_ns(void); /* the time, whatever a loop's own clock says (sim_shift) */

/* Pseudorandom numbers of this run: of sim_begin's seed, and of how often they were asked for. */
uint64_t sim_random(void);
uint32_t sim_below(uint32_t n); /* 0 to n - 1 */

/* Runs fn(arg) as an event of a loop (NULL: of nobody), after so many virtual nanoseconds.  stream: 0, or one of
 * sim_stream: events of one stream that are due at the same time keep their order.  Forget the pointer when it runs. */
struct sim_event;
struct sim_event *sim_at(struct loop *l, uint64_t delay_ns, uint64_t stream, loop_fn *fn, void *arg);
void sim_cancel(struct sim_event *e); /* NULL allowed; one that has not run */
uint64_t sim_stream(void);            /* a new one */

/* A process that is stopped, as by SIGSTOP: its events wait, and time goes on.  What is overdue when it goes on runs then. */
void sim_hold(struct loop *l, bool held);
/* So many next calls of loop_post find no memory. */
void sim_refuse_posts(unsigned n);
/* The loop's own clock jumps. */
void sim_shift(struct loop *l, int64_t ns);

/* For sim/jobs: what happens between the two is on another thread; the time that it spends passes for it alone.  sim_spend
 * does nothing elsewhere.  sim_lane_leave: what was spent. */
void sim_lane_enter(void);
void sim_spend(uint64_t ns);
uint64_t sim_lane_leave(void);

#endif
