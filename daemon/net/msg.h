/* msg: a message as frames on a socket: [routing id, at a ROUTER] envelope [payload].
 *
 * Owns: received frames until msg_close.  Payloads are not copied in either direction.  Any other message (an extra frame, an
 * empty one) is discarded and reported as -EBADMSG.
 * Threads: the loop; sent payloads are released on libzmq's thread. */
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
	struct node_id from;    /* at a ROUTER: the key that the authenticator admitted */
	int fd;                 /* of its connection; -1: unknown */
	zmq_msg_t envelope;
	struct payload *payload; /* NULL: none */
};

/* 1: a message, to be closed with msg_close; 0: none; -EBADMSG: an invalid message with valid route and from (msg_close it
 * too); -EPERM: a message without an authenticated sender was dropped. */
int msg_receive(struct msg *m, void *socket, bool router);
void msg_close(struct msg *m);
/* The key that the authenticator admitted, of any frame of a message at a ROUTER: 0, or -EPERM: none. */
int msg_author(struct node_id *id, zmq_msg_t *frame);

/* Counts bytes that libzmq has queued but not sent, also of closed connections.  Any thread. */
struct msg_owed;
struct msg_owed *msg_owed_create(void);  /* NULL: no memory */
void msg_owed_unref(struct msg_owed *o); /* NULL allowed; queued messages hold references */
size_t msg_owed_bytes(const struct msg_owed *o);

/* Sends.  owed: counts it, or NULL.  frame (malloc'd) is freed in any case; payload (NULL: none) gets a reference.  route NULL: not a
 * ROUTER.  0, -EAGAIN: the queue is full, -EHOSTUNREACH: no such connection, -ECONNRESET: it ended during the call. */
int msg_send(void *socket, const struct msg_route *route, uint8_t *frame, size_t len, struct payload *payload,
        struct msg_owed *owed);

#endif
