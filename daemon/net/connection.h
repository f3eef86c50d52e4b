/* connection: one connection of ours to another node's ROUTER.
 *
 * Owns: a DEALER and its monitor, and the numbers of the messages in both directions.  A received message is
 * validated and next in order; anything else ends the connection.  A connection is never restored: its owner creates
 * another one.
 * Threads: the loop. */
#ifndef DAEMON_NET_CONNECTION_H
#define DAEMON_NET_CONNECTION_H
#include "daemon/core/loop.h"
#include "daemon/net/connection_guard.h"
#include "daemon/net/curve_keys.h"
#include "daemon/net/payload.h"

struct connection;

/* Each may destroy the connection. */
struct connection_ops {
	void (*open)(void *arg); /* connected, and the key was admitted */
	void (*message)(
	        void *arg, const Caravan__Envelope *env, struct payload *payload); /* borrowed for the call */
	void (*lost)(void *arg, const char *why, bool key_refused);                /* the last call, once */
};

int connection_create(struct connection **out, struct loop *l, void *ctx, struct guard *watch,
        const struct keys *keys, const struct node_id *server, const char *endpoint, uint64_t boot,
        const struct connection_ops *ops, void *arg);
void connection_destroy(struct connection *l); /* NULL allowed; no call afterwards */
/* The numeric address at this end, empty: not connected, or not known. */
const char *connection_local(const struct connection *l);

/* boot and seq are filled in.  0, -EAGAIN (the queue is full), -EMSGSIZE, -EINVAL (not a message for a ROUTER:
 * our mistake, logged), -ENOTCONN, -ENOMEM. */
int connection_send(
        struct connection *l, Caravan__Envelope *env, struct payload *payload, enum wire_context context);

#endif
