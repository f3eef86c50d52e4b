/* resolver: the address of a name, looked up on a thread of its own.
 *
 * libzmq looks names up on the thread that carries every message, and a name server that does not answer holds all of
 * them up for seconds.  So it is never given a name.
 * Owns: a thread for each question, RESOLVE_MAX at most; one whose answer nobody waits for any more ends by itself.
 * Threads: the loop. */
#ifndef DAEMON_NET_RESOLVER_H
#define DAEMON_NET_RESOLVER_H
#include "daemon/core/loop.h"
#include "proto/wire.h"

#define RESOLVE_MAX 16

struct resolve;

/* endpoint: tcp://address:port, or NULL: why says why not. */
typedef void resolve_fn(void *arg, const char *endpoint, const char *why);

/* Whether an endpoint has a name for a host, and not an address. */
bool resolve_needed(const char *endpoint);
/* Calls done once, later, unless resolve_cancel comes first.  -EAGAIN: too many questions are open. */
int resolve_start(struct resolve **out, struct loop *l, const char *endpoint, resolve_fn *done, void *arg);
void resolve_cancel(struct resolve *r); /* NULL allowed; not after done */

#endif
