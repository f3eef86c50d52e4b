/* beacon: a datagram on the local network by which nodes find each other again when all their addresses have
 * changed at once, and no member knows the address of another.
 *
 * A datagram to a multicast group that routers do not forward has a hash of the sender's key and the port at
 * which it listens.  It proves nothing and need not: the receiver tries that address, and CURVE proves
 * whether it is that node.  Outsiders learn no key from it.
 *
 *     "CRVHERE1" | first 16 bytes of SHA-256("caravan here" | public key) | port, 2 bytes little-endian
 *
 * Threads: the loop. */
#ifndef DAEMON_MEMBERS_BEACON_H
#define DAEMON_MEMBERS_BEACON_H
#include "daemon/core/loop.h"
#include "proto/wire.h"

#define BEACON_GROUP "239.255.70.70"
#define BEACON_PORT 7070
#define BEACON_TAG 16

struct beacon;

/* A datagram claims that the node with this tag is at that endpoint (tcp://address:port). */
typedef void beacon_fn(void *arg, const uint8_t tag[BEACON_TAG], const char *endpoint);

/* port: where this node listens.  Receives from now on; a negative errno where there is no multicast. */
int beacon_create(struct beacon **out, struct loop *l, const struct node_id *self, uint16_t port,
        beacon_fn *received, void *arg);
void beacon_destroy(struct beacon *b); /* NULL allowed */
void beacon_call(struct beacon *b);    /* on all current interfaces */
void beacon_tag(const struct node_id *id, uint8_t tag[BEACON_TAG]);

#endif
