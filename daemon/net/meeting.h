/* meeting: the sockets over which the nodes of a group exchange rows (shard/forward/group.h).
 *
 * Owns: a ROUTER to which the nodes of higher numbers connect, and a DEALER to each node of a lower number; messages that came early.
 * A meeting costs little more than the wire: the thread that computes sends and receives itself, and messages have a fixed header
 * and no envelope.  The header says for which epoch, step and meeting its rows are; sizes follow from the plan.
 * Invariants: rows are taken from the key that CURVE proved to be the node's; a message for another epoch or meeting, or of another size,
 * ends the group, and nothing of it is used.  A node that is silent for too long is lost.  After a loss every meeting fails.
 * Threads: created, connected and destroyed on the loop, used by one thread in between; meeting_break by any. */
#ifndef DAEMON_NET_MEETING_H
#define DAEMON_NET_MEETING_H
#include "daemon/net/curve_keys.h"
#include "shard/forward/group.h"

struct meeting;

struct meeting_config {
	void *ctx; /* with the authenticator; borrowed, as is keys */
	const struct keys *keys;
	const char *listen;   /* tcp://addr:port, * for any port */
	uint32_t nodes, node; /* of the group, and our number */
	struct node_id id[GROUP_NODES];
	uint64_t epoch;       /* the same for all, and no other group's of these nodes */
	uint32_t patience_ms; /* with a silent node */
};

int meeting_create(struct meeting **out, const struct meeting_config *c, char *err, size_t errlen);
void meeting_destroy(struct meeting *m);               /* NULL allowed */
const char *meeting_endpoint(const struct meeting *m); /* what it is bound to, with its port */

/* To a node of a lower number.  0 or a negative errno. */
int meeting_connect(struct meeting *m, uint32_t node, const char *endpoint);

/* All meetings from now on fail with this sentence, and the one that waits. */
void meeting_break(struct meeting *m, const char *why);

/* Before a step's first meeting; numbers rise. */
void meeting_begin(struct meeting *m, uint64_t step);
/* A group_meet_fn; arg: the meeting. */
int meeting_meet(void *arg, struct group_exchange *x, char *err, size_t errlen);

#endif
