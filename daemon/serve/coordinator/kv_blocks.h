/* kv_blocks: hands out a model's blocks of KV cache: allocates, shares and frees them.
 *
 * Owns: the numbers of the free blocks, the prefix cache, which holds the blocks whose contents are known, and which recurrent states
 * are kept behind blocks.  It is the only allocator of a model's KV blocks: stages index the tables that are written here.  The memory is the stages'.
 * Invariants: a block is free, or in exactly one table as its own, or in the prefix cache.  A table's shared blocks come
 * first.  A block that a table shares is never written again until it is evicted.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_KV_BLOCKS_H
#define DAEMON_SERVE_COORDINATOR_KV_BLOCKS_H
#include "daemon/serve/coordinator/kept_states.h"
#include "daemon/serve/coordinator/prefix_cache.h"

/* The blocks of one sequence, in order of position.  Zeroed: none. */
struct kv_table {
	uint32_t *block;
	uint32_t nblocks;
	uint32_t
	        shared; /* this many of its first blocks belong to the prefix cache; the others are its own */
	uint32_t
	        met; /* so many blocks with its tokens the prefix cache had when it was last asked, usable or not */
};

struct kv_blocks;

/* places: for kept states; 0: the model has no recurrent layers.  root, len: as prefix_create. */
int kv_blocks_create(struct kv_blocks **out, uint32_t blocks, uint32_t places, const void *root, size_t len);
void kv_blocks_destroy(struct kv_blocks *kv); /* NULL allowed; tables are the caller's */

/* Gives a table the blocks that its first `positions` positions need: free ones, then idle ones of the prefix cache.  False,
 * and the table unchanged, when there are not enough. */
bool kv_blocks_allocate(struct kv_blocks *kv, struct kv_table *t, uint32_t positions);

/* Appends blocks that the prefix cache has for the next tokens of the log, until the table has `most`: with recurrent layers, up to
 * the last one with a kept state.  All blocks of the table are shared.  Returns how many. */
uint32_t kv_blocks_reuse(struct kv_blocks *kv, struct kv_table *t, const uint32_t *log, uint32_t most);

/* The first `full` blocks of a table are full and certainly written: they enter the prefix cache.  Where another table was
 * first with the same tokens, its block replaces this one's, which is freed: the bits are the same.  While a step in flight
 * names the table's blocks (in_flight), none of them is replaced, and the rest is shared later. */
void kv_blocks_share(
        struct kv_blocks *kv, struct kv_table *t, const uint32_t *log, uint32_t full, bool in_flight);

/* Frees all blocks of a table.  No step in flight names them. */
void kv_blocks_free(struct kv_blocks *kv, struct kv_table *t);

uint32_t kv_blocks_available(const struct kv_blocks *kv);          /* free, or idle in the prefix cache */
const struct prefix *kv_blocks_prefix(const struct kv_blocks *kv); /* borrowed */
struct kept_states *kv_blocks_kept(const struct kv_blocks *kv);    /* the same; NULL: no recurrent layers */

#endif
