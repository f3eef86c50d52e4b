/* resolver: looks names up, each on a thread of its own.
 *
 * libzmq would look names up on its I/O thread, where a name server that does not answer blocks all messages for seconds.  So
 * libzmq never gets a name.
 * Owns: a thread for each lookup, at most RESOLVE_MAX; further lookups wait.  The thread of a cancelled lookup ends by itself,
 * possibly after a timeout of the name server.  So that the names of one node do not delay those of others, a node uses at most
 * RESOLVE_EACH places, and more than one only while half of all are free; a free place goes to the node with the fewest.
 * Threads: the loop. */
#ifndef DAEMON_NET_RESOLVER_H
#define DAEMON_NET_RESOLVER_H
#include "daemon/core/loop.h"
#include "proto/wire.h"

#define RESOLVE_MAX 16
#define RESOLVE_EACH 2 /* its two connections */

struct resolve;

/* endpoint: tcp://address:port; NULL: failed, for the reason in why. */
typedef void resolve_fn(void *arg, const char *endpoint, const char *why);

/* Whether the host of an endpoint is a name and not an address. */
bool resolve_needed(const char *endpoint);
/* Resolves an endpoint of `node`.  done is called once, later, unless resolve_cancel is called first.  0, -ENOMEM, or the error of
 * creating the thread. */
int resolve_start(struct resolve **out, struct loop *l, const struct node_id *node, const char *endpoint,
        resolve_fn *done, void *arg);
void resolve_cancel(struct resolve *r); /* NULL allowed; not after done */

#endif
