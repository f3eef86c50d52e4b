/* group: how several nodes that compute the same slice share its rows.
 *
 * Every matrix is cut by output rows.  An output element is computed whole by one node, in the order of doc/numerics.md, so the
 * bits are those of one node alone, whatever the cut.  What the next products read must be whole again: after the heads, the
 * output product, the hidden rows and the down product of each layer the nodes meet, and each gets the others' columns.
 * Norms, rotations, quantising and routers are computed by every node for itself; keys and values are cut by their heads.
 * Pure; any thread. */
#ifndef SHARD_FORWARD_GROUP_H
#define SHARD_FORWARD_GROUP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GROUP_NODES 16
#define GROUP_ROWS 32 /* what is no head is cut at multiples of it: a block of 32 activations has one owner */

enum group_meeting { MEET_HEADS, MEET_OUT, MEET_HIDDEN, MEET_DOWN, MEET_END, MEETINGS };

#define GROUP_FINE 0
#define GROUP_CANNOT UINT32_MAX /* a node lacks weights */

/* Rows of which each node has its part: `rows` times bytes[i] of node i at data[i]. */
struct group_part {
	size_t rows, bytes[GROUP_NODES];
	uint8_t *data[GROUP_NODES];
};

/* One meeting.  The nodes of a group have the same meetings of a step in the same order, except that one that failed has only one
 * more, with its fault. */
struct group_exchange {
	enum group_meeting at;
	uint32_t layer;            /* of the slice; at the end: that behind the last */
	struct group_part part[2]; /* `parts` of them */
	unsigned parts;
	uint32_t
	        fault; /* in: of this node; out: of the first that has one: GROUP_FINE, GROUP_CANNOT, or 1 + where */
};

/* Sends this node's data, and fills in the others'.  Called on the thread that runs the step.  0, or a negative errno with a
 * sentence in err: a node is lost. */
typedef int group_meet_fn(void *arg, struct group_exchange *x, char *err, size_t errlen);

/* A node's place in a group.  heads, rows: how much each node has of heads and of other rows, in proportion to their sums; a node
 * may have none of either. */
struct group {
	uint32_t nodes, node;
	uint32_t heads[GROUP_NODES], rows[GROUP_NODES];
	group_meet_fn *meet;
	void *arg;
};

/* Whether sums are what they are to be: 0 or -EINVAL. */
int group_check(const struct group *g);

/* Where each node's part of n heads, or of n rows, begins, and after the last n. */
void group_cut_heads(const struct group *g, size_t n, size_t begin[GROUP_NODES + 1]);
void group_cut_rows(const struct group *g, size_t n, size_t begin[GROUP_NODES + 1]);

#endif
