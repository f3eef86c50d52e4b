/* resolver: the address of a name, looked up on a thread of its own; lookups beyond RESOLVE_MAX wait for a place.
 *
 * libzmq looks names up on the thread that carries every message, and a name server that does not answer holds all of
 * them up for seconds.  So it is never given a name.
 * Owns: a thread for each lookup, RESOLVE_MAX at most; one whose answer nobody waits for any more ends by itself, which may
 * take a name server's patience.  So that the names of one node do not keep others waiting, it has RESOLVE_EACH of these
 * places at most, and more than one only while half of them are free; the next free place goes to whoever has the fewest.
 * Threads: the loop. */
#ifndef DAEMON_NET_RESOLVER_H
#define DAEMON_NET_RESOLVER_H
#include "daemon/core/loop.h"
#include "proto/wire.h"

#define RESOLVE_MAX 16
#define RESOLVE_EACH 2 /* its two connections */

struct resolve;

/* endpoint: tcp://address:port, or NULL: why says why not. */
typedef void resolve_fn(void *arg, const char *endpoint, const char *why);

/* Whether an endpoint has a name for a host, and not an address. */
bool resolve_needed(const char *endpoint);
/* An endpoint of this node.  Calls done once, later, unless resolve_cancel comes first.  0, -ENOMEM, or why there is no thread. */
int resolve_start(struct resolve **out, struct loop *l, const struct node_id *node, const char *endpoint,
        resolve_fn *done, void *arg);
void resolve_cancel(struct resolve *r); /* NULL allowed; not after done */

#endif
