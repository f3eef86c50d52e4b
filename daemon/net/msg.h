/* msg: a message as frames on a socket: [routing id, at a ROUTER] envelope [payload].
 *
 * Owns: the frames while they are on their way in; the payload is passed on without a copy, in both
 * directions.  Anything else (a frame too many, an empty one) is taken off the socket and is -EBADMSG.
 * Threads: the loop; payloads that were sent are released on libzmq's own thread. */
#ifndef DAEMON_NET_MSG_H
#define DAEMON_NET_MSG_H
#include "daemon/net/payload.h"
#include "proto/wire.h"
#include <zmq.h>

struct msg_route {
	uint8_t id[255];
	uint8_t len;
};

struct msg {
	struct msg_route route; /* of a ROUTER's message */
	struct node_id from;    /* the same: the key that the authenticator admitted */
	int fd;                 /* of the connection that it came over; -1: not known */
	zmq_msg_t envelope;
	struct payload *payload; /* NULL: none */
};

/* 1: got one, msg_close it; 0: none there; -EBADMSG: got nonsense, of which route and from are good (msg_close
 * it too); -EPERM: a message without an author, which was dropped. */
int msg_receive(struct msg *m, void *socket, bool router);
void msg_close(struct msg *m);

/* Counts the bytes that libzmq has taken and not sent yet, whatever becomes of the connection.  Any thread. */
struct msg_owed;
struct msg_owed *msg_owed_create(void);  /* NULL: no memory */
void msg_owed_unref(struct msg_owed *o); /* NULL allowed; what is being sent keeps it */
size_t msg_owed_bytes(const struct msg_owed *o);

/* Sends; owed (NULL: not counted) counts it; frame (malloc'd) is taken over in any case, payload (NULL: none) gets a reference.  route NULL: not a
 * ROUTER.  0, -EAGAIN: the queue is full, -EHOSTUNREACH: no such connection, -ECONNRESET: it ended meanwhile. */
int msg_send(void *socket, const struct msg_route *route, uint8_t *frame, size_t len, struct payload *payload,
        struct msg_owed *owed);

#endif
