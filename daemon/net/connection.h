/* connection: one connection of ours to another node's ROUTER.
 *
 * Owns: a DEALER and its monitor, and the numbers of the messages in both directions.  Every message that
 * comes in has passed its door and is the next one; anything else ends the connection.  It never mends itself:
 * whoever made it makes another one.
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
	void (*open)(void *arg); /* connected, and the key was admitted: it takes messages */
	void (*message)(
	        void *arg, const Caravan__Envelope *env, struct payload *payload); /* borrowed for the call */
	void (*lost)(void *arg, const char *why, bool key_refused);                /* once, the last word */
};

int connection_create(struct connection **out, struct loop *l, void *ctx, struct guard *watch,
        const struct keys *keys, const struct node_id *server, const char *endpoint, uint64_t boot,
        const struct connection_ops *ops, void *arg);
void connection_destroy(struct connection *l); /* NULL allowed; no word after it */
/* The numeric address at this end, empty: not connected, or not known. */
const char *connection_local(const struct connection *l);

/* boot and seq are filled in.  0, -EAGAIN (the queue is full), -EMSGSIZE, -EINVAL (not a message for a ROUTER:
 * our mistake, logged), -ENOTCONN, -ENOMEM. */
int connection_send(
        struct connection *l, Caravan__Envelope *env, struct payload *payload, enum wire_door door);

#endif
