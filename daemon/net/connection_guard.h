/* connection_guard: limits the memory of incomplete messages.
 *
 * libzmq limits the length of a frame (ZMQ_MAXMSGSIZE) and the number of complete messages in its queues (ZMQ_RCVHWM).  But a
 * message may have any number of frames, and libzmq keeps all of them until the last one has arrived.  So the guard asks the
 * kernel several times a second how many bytes each connection has received.  It closes a connection that has received much
 * more than the longest message without completing one, and the largest one when all together exceed the limit.
 * It also closes an accepted connection that does not become a link within some seconds: peers send Hello at once.
 * From the same answers of the kernel it counts, for each node, how many of the segments that were sent there got lost.
 *
 * Owns: a list of connections.  Their descriptors belong to libzmq: the guard only reads from the kernel and shuts down.  It
 * identifies a socket by SO_COOKIE, because descriptors are reused.
 * Threads: the loop. */
#ifndef DAEMON_NET_CONNECTION_GUARD_H
#define DAEMON_NET_CONNECTION_GUARD_H
#include "daemon/core/loop.h"
#include "daemon/net/curve_keys.h"

#define GUARD_ONE (16u << 20) /* bytes of one connection: a message of 4 MiB, and kernel buffers */
#define GUARD_ALL (64u << 20) /* of all */
#define GUARD_IDLE_S 8        /* before an accepted connection must be a link */

struct guard;

int guard_create(struct guard **out, struct loop *l);
void guard_destroy(struct guard *w); /* NULL allowed */

/* Whether the connection with this cookie is a link. */
typedef bool guard_wanted_fn(void *arg, uint64_t cookie);
/* Sets the function that is asked about accepted connections. */
void guard_ask(struct guard *w, guard_wanted_fn *wanted, void *arg);
/* The SO_COOKIE of a connection; 0: none. */
uint64_t guard_cookie(int fd);

/* Adds a connection; NULL: accepted, with an unknown node. */
void guard_add(struct guard *w, int fd, const struct node_id *with);
/* A complete message was received from it. */
void guard_taken(struct guard *w, int fd, const struct node_id *with);
/* The share of what was lately sent to a node, over all its connections, that got lost; 0: none, or too little is known. */
double guard_lost(const struct guard *w, const struct node_id *to);

#endif
