/* zap: the authenticator.  libzmq asks it (ZeroMQ RFC 27) about every key at the end of a handshake.
 *
 * libzmq admits everybody when nobody answers there, so this is bound before the ROUTER and closed after it.
 * Besides, a message whose connection nobody authenticated carries no User-Id and is dropped (msg.h).
 * Says yes with User-Id = the key in hexadecimal, from which the origin of every message is taken.
 * Threads: the loop; in the same context as the ROUTER. */
#ifndef DAEMON_NET_ZAP_H
#define DAEMON_NET_ZAP_H
#include "daemon/core/loop.h"
#include "proto/wire.h"

struct zap;

/* Whether this key may come in; if not, *why is a sentence for the log. */
typedef bool zap_admit_fn(void *arg, const struct node_id *key, const char **why);

/* -EADDRINUSE when something answers in this context already. */
int zap_create(struct zap **out, struct loop *l, void *ctx, zap_admit_fn *admit, void *arg);
void zap_destroy(struct zap *z); /* NULL allowed */

#endif
