/* kv_blocks: hands out a model's blocks of KV cache: allocates, shares and frees them.
 *
 * Owns: the numbers of the free blocks, and the prefix cache, which holds the blocks whose contents are known.  It is the
 * only allocator of a model's KV blocks: stages index the tables that are written here.  The memory is the stages'.
 * Invariants: a block is free, or in exactly one table as its own, or in the prefix cache.  A table's shared blocks come
 * first.  A block that a table shares is never written again until it is evicted.
 * Windows: layers with a window have blocks of their own, fewer.  A table has one beside each of its last blocks, and gives those back
 * that nothing sees any more.  Beside a shared block it is the one of the prefix cache, beside another the table's own.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_COORDINATOR_KV_BLOCKS_H
#define DAEMON_SERVE_COORDINATOR_KV_BLOCKS_H
#include "daemon/serve/coordinator/kept_states.h"
#include "daemon/serve/coordinator/prefix_cache.h"

/* The blocks of one sequence, in order of position.  Zeroed: none. */
struct kv_table {
	uint32_t *block;
	uint32_t *
	        window; /* the window blocks beside them, from first_window on; NULL: the model has no windows */
	uint32_t first_window;
	uint32_t nblocks;
	uint32_t
	        shared; /* this many of its first blocks belong to the prefix cache; the others are its own */
	uint32_t
	        met; /* so many blocks with its tokens the prefix cache had when it was last asked, usable or not */
};

struct kv_blocks;

struct kv_blocks_config {
	uint32_t blocks;
	uint32_t window_blocks, window; /* 0: the model has no windows */
	uint32_t places;                /* for kept states; 0: it has no recurrent layers */
	const void *root;               /* as prefix_create */
	size_t len;
};
int kv_blocks_create(struct kv_blocks **out, const struct kv_blocks_config *c);
void kv_blocks_destroy(struct kv_blocks *kv); /* NULL allowed; tables are the caller's */

/* Gives a table the blocks that its first `positions` positions need, with their window blocks: free ones, then idle ones of the
 * prefix cache.  False, and the table unchanged, when there are not enough. */
bool kv_blocks_allocate(struct kv_blocks *kv, struct kv_table *t, uint32_t positions);

/* Appends the blocks that the prefix cache has for the next tokens of the log, as long as the table has at most `most`.  All blocks
 * of the table are shared.  Returns their number.  They end where the window blocks are still there that the next position sees (the
 * table gives back those that it does not see), and with recurrent layers where a state is kept. */
uint32_t kv_blocks_reuse(struct kv_blocks *kv, struct kv_table *t, const uint32_t *log, uint32_t most);

/* The first `full` blocks of a table are full and certainly written: they enter the prefix cache.  Where another table was
 * first with the same tokens, its block replaces this one's, which is freed: the bits are the same.  While a step in flight
 * names the table's blocks (in_flight), none of them is replaced, and the rest is shared later. */
void kv_blocks_share(
        struct kv_blocks *kv, struct kv_table *t, const uint32_t *log, uint32_t full, bool in_flight);

/* Gives back the window blocks that are not seen from the beginning of the block with this position on, and so by nothing that a later
 * step computes.  No step in flight begins before the position. */
void kv_blocks_forget(struct kv_blocks *kv, struct kv_table *t, uint32_t position);

/* Frees all blocks of a table.  No step in flight names them. */
void kv_blocks_free(struct kv_blocks *kv, struct kv_table *t);

uint32_t kv_blocks_available(const struct kv_blocks *kv);          /* free, or idle in the prefix cache */
uint32_t kv_blocks_windows_available(const struct kv_blocks *kv);  /* the same of window blocks */
const struct prefix *kv_blocks_prefix(const struct kv_blocks *kv); /* borrowed */
struct kept_states *kv_blocks_kept(const struct kv_blocks *kv);    /* the same; NULL: no recurrent layers */

#endif
