/* prefix_cache: the full blocks of KV cache whose contents are known, found by content: the tokens from position 0 on.
 *
 * Owns: for every block that it was given, the KERN_KV_BLOCK tokens that it holds, the block before it, how many
 * sequences use it, and the order in which idle blocks go.  Knows no sequences and has no blocks of its own: the
 * scheduler gives them and takes them back.
 * Invariants: what is found holds exactly the tokens asked for, since they and the block before are compared
 * and the hash only says where to look; a block before another stays at least as long as that one; a block that
 * somebody uses stays.
 * Memory: about 300 bytes a block, decided when it is made; the tokens' pages as they are first written.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_PREFIX_CACHE_H
#define DAEMON_SERVE_COORDINATOR_PREFIX_CACHE_H
#include "kernels/kernels.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PREFIX_NONE UINT32_MAX /* no block: before the first one; not found */

struct prefix;

/* blocks: numbers are below it.  root: what contents depend on beside the tokens (model, KV type, arithmetic), and
 * something that nobody outside can guess, so that nobody can choose tokens that meet in one place of the table. */
int prefix_create(struct prefix **out, uint32_t blocks, const void *root, size_t len);
void prefix_destroy(struct prefix *p); /* NULL allowed */

/* The block with these KERN_KV_BLOCK tokens that comes after `before`, or PREFIX_NONE. */
uint32_t prefix_find(const struct prefix *p, uint32_t before, const uint32_t *tokens);

/* Block holds these tokens, after `before`, which is used by the caller, and no other block of p does.  It is never
 * written again until prefix_evict gives it back.  The caller uses it. */
void prefix_add(struct prefix *p, uint32_t block, uint32_t before, const uint32_t *tokens);

/* One more, one fewer that uses it.  Who uses a block uses those before it, and lets go of the last one first:
 * therefore the block that has been idle longest is always a leaf. */
void prefix_use(struct prefix *p, uint32_t block);
void prefix_release(struct prefix *p, uint32_t block);

/* Forgets the block that has been idle longest and returns it; PREFIX_NONE when none is idle. */
uint32_t prefix_evict(struct prefix *p);

uint32_t prefix_idle(const struct prefix *p); /* blocks that nobody uses */
bool prefix_has(const struct prefix *p, uint32_t block);
uint32_t prefix_users(const struct prefix *p, uint32_t block); /* of one that p has */

#endif
