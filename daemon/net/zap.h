/* zap: the authenticator.  libzmq asks it (ZeroMQ RFC 27) about every key at the end of a handshake.
 *
 * libzmq admits every key if there is no authenticator, so this is bound before the ROUTER and closed after it.  In addition, a
 * message of a connection that was not authenticated has no User-Id and is dropped (msg.h).  The User-Id is the key in
 * hexadecimal; it identifies the sender of every message.
 * Threads: the loop; in the same context as the ROUTER. */
#ifndef DAEMON_NET_ZAP_H
#define DAEMON_NET_ZAP_H
#include "daemon/core/loop.h"
#include "proto/wire.h"

struct zap;

/* Whether this key is admitted; if not, *why is a sentence for the log. */
typedef bool zap_admit_fn(void *arg, const struct node_id *key, const char **why);

/* -EADDRINUSE if this context already has an authenticator. */
int zap_create(struct zap **out, struct loop *l, void *ctx, zap_admit_fn *admit, void *arg);
void zap_destroy(struct zap *z); /* NULL allowed */

#endif
