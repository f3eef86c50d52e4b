/* handshake: Hello and Welcome, and which versions work together.
 * Threads: pure. */
#ifndef DAEMON_NET_HANDSHAKE_H
#define DAEMON_NET_HANDSHAKE_H
#include "daemon/net/peers.h"

/* Whether this node works with that version: the same major, at most one minor apart.  false with a sentence for both
 * logs. */
bool handshake_version_ok(uint32_t major, uint32_t minor, char *err, size_t errlen);

void handshake_hello(Caravan__Hello *h, const struct peers_config *c, bool bulk);
void handshake_welcome(Caravan__Welcome *w, const struct peers_config *c, bool bulk);

#endif
