/* team: the compute threads of a node.
 *
 * Owns: its threads, their sleep and their barrier.  A team runs one job at a time; the caller of team_run is member 0 and
 * computes too.  Members spin for a bounded time and then sleep in a futex, so that two teams on the same processors do not starve
 * each other.
 * Threads: one caller at a time.  Members other than the caller receive no signals. */
#ifndef KERNELS_TEAM_H
#define KERNELS_TEAM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct team;

/* fn runs once on every member, id 0..size-1. */
typedef void team_fn(struct team *t, void *arg, unsigned id);

/* cpus: `size` processor numbers to pin members to, or NULL for no pinning; borrowed during the call.
 * With cpus the calling thread, which is taken to be the one that will run jobs, is pinned to cpus[0] until
 * it destroys the team.  0 or a negative errno (-EINVAL: no members, or no such processor). */
int team_create(struct team **out, unsigned size, const int *cpus);
void team_destroy(struct team *t); /* NULL allowed */
unsigned team_size(const struct team *t);
void team_run(struct team *t, team_fn *fn, void *arg);

/* Inside a job: returns when every member has called it; what each wrote before is seen by all after. */
void team_barrier(struct team *t, unsigned id);

/* Inside a job: hands out the numbers 0.. in turn; each is given once per team_reset_counter.
 * team_next after a barrier that follows team_reset_counter (by one member); every job starts reset. */
size_t team_next(struct team *t);
void team_reset_counter(struct team *t);

/* Inside a job: hands out the items [0, n) of a round, in runs of a multiple of `unit` items (but for the end), each item once.  Of an
 * even share each member takes runs from its beginning, so that a run begins where the last one ended; who has nothing left takes from
 * the ends of others' shares.  false: nothing is left.
 * round: from 1 on, one more after each that has nothing left for this member; all members have the same rounds in a job,
 * fewer than half a million. */
bool team_take(
        struct team *t, unsigned id, uint32_t round, size_t n, size_t unit, size_t *first, size_t *count);

/* An even share of n items in units of `unit`, for member id: [*first, *last). */
void team_share(const struct team *t, unsigned id, size_t n, size_t unit, size_t *first, size_t *last);

#endif
