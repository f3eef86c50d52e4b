/* link: two connections to one other node, control and bulk, kept up until the link is destroyed.
 *
 * Owns: both connections, their handshake, the addresses of the node, the wait before the next attempt.
 * A connection goes through the states of the table in link.c.  Anything not in the table, and any loss, ends both
 * connections, and both are opened again: the address that worked last is tried first, then the others; after a failed
 * round follows a wait (200 ms, doubling up to 2 s).
 * Threads: the loop. */
#ifndef DAEMON_NET_LINK_H
#define DAEMON_NET_LINK_H
#include "daemon/net/connection_guard.h"
#include "daemon/net/peers.h"

struct link;

struct link_config {
	struct loop *loop; /* borrowed, as all here */
	void *ctx;
	struct guard *watch;
	const struct peers_config *peers;
	uint64_t boot;
	unsigned *
	        dialing; /* number of links of all nodes that are being dialed: few at once, since each takes ten descriptors */
	peers_fn *message; /* answers */
	peers_link_fn *changed;
	void *arg;
};

int link_create(struct link **out, const struct link_config *c, const struct node_id *node,
        const char *const *endpoints, size_t n);
void link_destroy(struct link *k); /* NULL allowed; no callback afterwards */

const struct node_id *link_node(const struct link *k);
bool link_up(const struct link *k);
/* Sets the addresses of the node (at most WIRE_ENDPOINTS_MAX): a link that is up at one of them stays, any other tries
 * them at once.  An unchanged list has no effect. */
void link_move(struct link *k, const char *const *endpoints, size_t n);
/* A message of the node came from this address: tried too, at once unless the link is up. */
void link_hint(struct link *k, const char *endpoint);
/* The node has connected to us: forgets earlier failures and tries at once. */
void link_awake(struct link *k);
/* This machine's addresses changed; have: whether it still has an address.  A link from an address that is gone is lost,
 * and a link that waits is tried at once. */
void link_readdress(struct link *k, bool (*have)(void *arg, const char *address), void *arg);
/* Why the last round of attempts failed, as a sentence with the address; empty: it did not, or is not over. */
const char *link_failure(const struct link *k);
const char *link_endpoint(
        const struct link *k); /* where it is up, or the one being tried; "" before the first attempt */
void link_drop(struct link *k, const char *why);
int link_send(struct link *k, enum peers_channel ch, Caravan__Envelope *env, struct payload *payload);

#endif
