/* share: what the nodes of a group do at their meetings (group.h): each gives its columns of rows that all need whole.
 *
 * Columns travel in the form that the next products take them in, where no block of it belongs to two nodes, else as floats.
 * Without a group, every function does what one node alone needs.
 * Private to this folder.  Threads: the members of a team; member 0 meets the other nodes. */
#ifndef SHARD_FORWARD_SHARE_H
#define SHARD_FORWARD_SHARE_H
#include "shard/forward/forward_internal.h"

/* `rows` rows of n floats, of which node i has columns [begin[i], begin[i + 1]), and where they are put as activations: row r at slot
 * at + r of act, in these forms; act NULL: nowhere. */
struct share_rows {
	float *x;
	size_t rows, n;
	size_t begin[GROUP_NODES + 1];
	struct act *act;
	size_t at;
	unsigned forms;
};

struct share {
	enum group_meeting meeting;
	uint32_t layer;
	uint32_t where;            /* a fault in a row that is put */
	struct share_rows rows[2]; /* `parts` of them */
	unsigned parts;
};

/* Bytes that meetings need for rows on their way. */
size_t share_bytes(const struct manifest *m, uint32_t max_rows);

bool share_is_alone(const struct forward *f);
/* The heads of keys and values of a layer that this node computes: [*first, *last); the same of n other rows of a matrix. */
void share_own_heads(const struct forward *f, uint32_t layer, size_t *first, size_t *last);
void share_own_rows(const struct forward *f, size_t n, size_t *first, size_t *last);
/* Rows whose columns are cut like heads' rows, or like other rows. */
struct share_rows share_heads(const struct forward *f, uint32_t layer, float *x, size_t n);
struct share_rows share_columns(const struct forward *f, float *x, size_t rows, size_t n);

/* After a gate, in a group: the meeting, and what follows it: rows whole as floats, or put.  0, -EDOM or -EIO; ends with a gate where rows
 * are shared. */
int share_meet(struct forward *f, struct phase_member *j, const struct share *e);

/* Before a step, and after it with what it came to: everybody learns whether all nodes can. */
void share_begin(struct forward *f);
void share_end(struct forward *f, int rc);

#endif
