/* zmq_watch: a ZeroMQ socket on the loop; hides how its descriptor behaves.
 *
 * The descriptor of a ZeroMQ socket is edge-triggered: it signals once that something may have changed, and any send or receive
 * may consume the signal.  So ZMQ_EVENTS is read after every receive and every send, and before the first sleep.  A callback
 * that has handled its share (ZWATCH_SHARE messages) continues on the next turn of the loop, after other sockets and timers.
 * Invariant: while the socket is readable, or writable and its owner waits for that, a turn is due.
 * Threads: the loop. */
#ifndef DAEMON_NET_ZMQ_WATCH_H
#define DAEMON_NET_ZMQ_WATCH_H
#include "daemon/core/loop.h"

struct zwatch;

#define ZWATCH_SHARE 64 /* messages per callback and turn */

struct zwatch_ops {
	/* Receives one message from the socket, without waiting: true if there was one.  It may call
	 * zwatch_destroy: then it returns false. */
	bool (*readable)(void *arg);
	void (*writable)(
	        void *arg); /* the socket takes messages; called once for each zwatch_want_write; NULL: never */
};

/* Owns the socket: zwatch_destroy closes it, and so does a failure of this function. */
int zwatch_create(struct zwatch **out, struct loop *l, void *socket, const struct zwatch_ops *ops, void *arg);
void zwatch_destroy(struct zwatch *z); /* NULL allowed; safe inside its callbacks */
void *zwatch_socket(struct zwatch *z);
void zwatch_touched(struct zwatch *z);    /* call after every send */
void zwatch_want_write(struct zwatch *z); /* calls writable once, when the socket is writable */

#endif
