/* router: our ROUTER: what other nodes ask of us, and our answers.
 *
 * Owns: the socket, its monitor, and a table of the links that said Hello (or hold an invitation).  A node
 * has one link for each channel: a new Hello ends the older one.  A link that breaks the order is told so
 * (Refused, ref 0), forgotten, and has to begin anew.
 * Invariant: a message is handed on only if the key that CURVE proved is admitted at this moment, its link
 * said Hello, and it is the next one of that link.
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
