/* router: our ROUTER socket: requests of other nodes, and our answers.
 *
 * Owns: the socket, its monitor, and the table of incoming links (after Hello, or of guests with an invitation).  A node has one
 * link per channel: a new Hello ends the older one.  A link that breaks the order gets Refused with ref 0, is removed, and must
 * begin again.
 * Invariant: a message is delivered only if the key that CURVE proved is admitted at that moment, its link has sent Hello, and
 * the message is the next one of that link.
 * Threads: the loop. */
#ifndef DAEMON_NET_ROUTER_H
#define DAEMON_NET_ROUTER_H
#include "daemon/net/connection_guard.h"
#include "daemon/net/peers.h"

struct router;

/* c is borrowed.  The authenticator must be bound in ctx. */
int router_create(struct router **out, struct loop *l, void *ctx, struct guard *watch,
        const struct peers_config *c, uint64_t boot, peers_fn *fn, void *arg, char *err, size_t errlen);
void router_destroy(struct router *in); /* NULL allowed */
const char *router_endpoint(const struct router *in);

/* As peers_answer. */
int router_answer(struct router *in, uint64_t link, Caravan__Envelope *env, struct payload *payload);

#endif
