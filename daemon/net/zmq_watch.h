/* zmq_watch: a ZeroMQ socket on the loop.  The only place that knows how its descriptor behaves.
 *
 * The descriptor of a ZeroMQ socket is edge-triggered: it says that something may have changed, once, and any
 * send or receive may swallow that word.  So readiness (ZMQ_EVENTS) is read again after every receive and
 * every send, and once before the first sleep; and a callback that has had its share (ZWATCH_SHARE messages)
 * comes back on the loop's next turn, after the other sockets and timers.
 * Invariant: while the socket is readable, or writable and its owner waits for that, a turn is due.
 * Threads: the loop. */
#ifndef DAEMON_NET_ZMQ_WATCH_H
#define DAEMON_NET_ZMQ_WATCH_H
#include "daemon/core/loop.h"

struct zwatch;

#define ZWATCH_SHARE 64 /* messages that one callback takes before it lets others have a turn */

struct zwatch_ops {
	/* Receives one message from the socket, without waiting: true if there was one.  It may call
	 * zwatch_destroy: then it returns false. */
	bool (*readable)(void *arg);
	void (*writable)(
	        void *arg); /* the socket takes messages; called once for each zwatch_want_write; NULL: never */
};

/* Takes the socket over: zwatch_destroy closes it (also when this fails). */
int zwatch_create(struct zwatch **out, struct loop *l, void *socket, const struct zwatch_ops *ops, void *arg);
void zwatch_destroy(struct zwatch *z); /* NULL allowed; safe inside its callbacks */
void *zwatch_socket(struct zwatch *z);
void zwatch_touched(struct zwatch *z);    /* call after every send */
void zwatch_want_write(struct zwatch *z); /* calls writable once, when that is so */

#endif
