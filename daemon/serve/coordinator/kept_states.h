/* kept_states: which recurrent states a model's stages keep, so that a sequence can begin behind blocks that it shares.
 *
 * Owns: of each place that the stages have for such a state, the block that it is the state behind; and in what order they are
 * taken from blocks.  The states are the stages'.
 * Invariant: a block has one place or none.  A place is not taken while it is pinned, or from what the step that is being made
 * reads or writes: within a step, the order would be chance.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_KEPT_STATES_H
#define DAEMON_SERVE_COORDINATOR_KEPT_STATES_H
#include <stdint.h>

#define KEPT_NONE UINT32_MAX

struct kept_states;

int kept_states_create(struct kept_states **out, uint32_t places, uint32_t blocks);
void kept_states_destroy(struct kept_states *k); /* NULL allowed */

/* The place of the state behind a block; KEPT_NONE: it is not kept. */
uint32_t kept_states_find(const struct kept_states *k, uint32_t block);
/* A place for the state behind a block, which this step writes: the one that it has, a free one, or that which no step has used for
 * longest.  KEPT_NONE if none. */
uint32_t kept_states_take(struct kept_states *k, uint32_t block, uint64_t step);
/* A step begins with it. */
void kept_states_use(struct kept_states *k, uint32_t place, uint64_t step);
/* A pinned place is not taken; each pin needs an unpin. */
void kept_states_pin(struct kept_states *k, uint32_t place);
void kept_states_unpin(struct kept_states *k, uint32_t place);
/* Frees the place of a block whose contents change, or whose state is no longer needed. */
void kept_states_drop(struct kept_states *k, uint32_t block);
/* Both blocks have the same contents, and the first is given up: the other one gets its state unless it has one. */
void kept_states_move(struct kept_states *k, uint32_t from, uint32_t to);

#endif
