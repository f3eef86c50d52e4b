/* prefix_cache: the full blocks of KV cache whose contents are known, found by content: the tokens from
 * position 0 on.
 *
 * Owns: for every block that it was given, the KERN_KV_BLOCK tokens in it, the block before it, how many
 * sequences use it, and the order in which idle blocks are evicted.  It knows nothing of sequences and
 * allocates no blocks: kv_blocks adds them and takes them back.
 * Invariants: a block that is found holds exactly the requested tokens, since they and the block before are
 * compared; the hash only says where to look.  A block stays at least as long as those after it.  A block in
 * use stays.
 * Windows: of models with windows, a block may have a window block beside it, with users of its own, who use the block as well.
 * It goes without the block when window blocks are wanted, and with it when the block goes.
 * Memory: about 330 bytes per block, allocated at creation; pages for the tokens are touched as they are
 * first written.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_PREFIX_CACHE_H
#define DAEMON_SERVE_COORDINATOR_PREFIX_CACHE_H
#include "kernels/kernels.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PREFIX_NONE UINT32_MAX /* no block: before the first one; not found */

struct prefix;

/* blocks: block numbers are below it.  root: what contents depend on besides the tokens (model, KV type,
 * arithmetic), and a secret salt, so that nobody can choose tokens that collide in the table. */
int prefix_create(struct prefix **out, uint32_t blocks, const void *root, size_t len);
void prefix_destroy(struct prefix *p); /* NULL allowed */

/* The block with these KERN_KV_BLOCK tokens after `before`, or PREFIX_NONE. */
uint32_t prefix_find(const struct prefix *p, uint32_t before, const uint32_t *tokens);

/* Adds a block that holds these tokens after `before`, which the caller uses; no other block of p has the
 * same.  The block is not written again until prefix_evict returns it.  The caller uses it. */
void prefix_add(struct prefix *p, uint32_t block, uint32_t before, const uint32_t *tokens);

/* Adds or removes a user.  A user of a block also uses all blocks before it, and releases the last one first:
 * therefore the block that has been idle longest is always a leaf. */
void prefix_use(struct prefix *p, uint32_t block);
void prefix_release(struct prefix *p, uint32_t block);

/* Removes the block that has been idle longest and returns it; PREFIX_NONE when none is idle.  *window: the window block that
 * it had, or PREFIX_NONE. */
uint32_t prefix_evict(struct prefix *p, uint32_t *window);

/* The window block of a block, or PREFIX_NONE. */
uint32_t prefix_window(const struct prefix *p, uint32_t block);
/* Gives it one, which the caller uses; it has none. */
void prefix_add_window(struct prefix *p, uint32_t block, uint32_t window);
/* Adds or removes a user of its window block.  passed: the sequence went on far beyond, so that only a text that branches off there
 * will want it; those that a sequence had when it ended may begin its next turn, and stay longer. */
void prefix_use_window(struct prefix *p, uint32_t block);
void prefix_release_window(struct prefix *p, uint32_t block, bool passed);
/* Removes the passed window block that has been idle longest, or else the one that has; PREFIX_NONE when none is idle. */
uint32_t prefix_evict_window(struct prefix *p);
uint32_t prefix_idle_windows(const struct prefix *p);                 /* window blocks without users */
uint32_t prefix_window_users(const struct prefix *p, uint32_t block); /* of a block that p has */

uint32_t prefix_idle(const struct prefix *p); /* blocks without users */
bool prefix_has(const struct prefix *p, uint32_t block);
uint32_t prefix_users(const struct prefix *p, uint32_t block); /* of a block that p has */

#endif
