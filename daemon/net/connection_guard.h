/* connection_guard: bounds what connections have sent of messages that have not come to their end.
 *
 * libzmq bounds the length of a frame (ZMQ_MAXMSGSIZE) and the number of whole messages that wait (ZMQ_RCVHWM), but a message
 * may have frames without end, is kept in memory until its last one is there, and is seen by nobody before that.  So the
 * kernel is asked how many bytes each connection has received, several times a second: one that has received much more than
 * the longest message while no message came out of it is closed, and so is the greatest when all of them together have.
 * And one that was accepted and is no link for some seconds is closed: who connects says Hello at once.
 *
 * Owns: a list of connections.  Their descriptors are libzmq's: they are looked at, compared by the kernel's number for the
 * socket (SO_COOKIE) since they are given to others when they have been closed, and at the most shut down.
 * Threads: the loop. */
#ifndef DAEMON_NET_CONNECTION_GUARD_H
#define DAEMON_NET_CONNECTION_GUARD_H
#include "daemon/core/loop.h"
#include "daemon/net/curve_keys.h"

#define GUARD_ONE \
	(16u << 20) /* bytes of one connection: the longest message has 4 MiB, and the kernel keeps some */
#define GUARD_ALL (64u << 20) /* of all */
#define GUARD_IDLE_S 8        /* for which an accepted connection may be no link */

struct guard;

int guard_create(struct guard **out, struct loop *l);
void guard_destroy(struct guard *w); /* NULL allowed */

/* Whether the connection with this number of the kernel's is one that we want to keep. */
typedef bool guard_wanted_fn(void *arg, uint64_t cookie);
/* Who knows that of the connections that are accepted. */
void guard_ask(struct guard *w, guard_wanted_fn *wanted, void *arg);
/* The kernel's number of a connection; 0: there is none. */
uint64_t guard_cookie(int fd);

/* A connection has been made; NULL: it was accepted, and nobody knows yet with whom. */
void guard_add(struct guard *w, int fd, const struct node_id *with);
/* A whole message came out of it. */
void guard_taken(struct guard *w, int fd, const struct node_id *with);

#endif
