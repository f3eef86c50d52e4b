/* link: the way to one other node: two connections, control and bulk, kept up for as long as the link is wanted.
 *
 * Owns: both connections, their greeting, the addresses at which the node may be found, the wait before the next attempt.
 * A connection goes through the states of the table in link.c; whatever is not in the table, and any loss, ends both connections,
 * and both are made anew: at one address after the other, the one that worked last first, and after a round in vain
 * after a wait (200 ms, doubling up to 2 s).
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
	        dialing; /* links of all nodes that are not up and have sockets: few at once, since each takes ten descriptors */
	peers_fn *message; /* answers */
	peers_link_fn *changed;
	void *arg;
};

int link_create(struct link **out, const struct link_config *c, const struct node_id *node,
        const char *const *endpoints, size_t n);
void link_destroy(struct link *k); /* NULL allowed; no word after it */

const struct node_id *link_node(const struct link *k);
bool link_up(const struct link *k);
/* The node is said to be at these (at most WIRE_ENDPOINTS_MAX): a link that is up at one of them stays, any other tries
 * them at once.  The same as before: nothing happens. */
void link_move(struct link *k, const char *const *endpoints, size_t n);
/* The node was heard from there: one more address to try, at once unless the link is up. */
void link_hint(struct link *k, const char *endpoint);
/* The node is there: it has called us.  What failed before says nothing any more, and there is no more to wait for. */
void link_awake(struct link *k);
/* This machine's addresses changed; have: whether it has this one.  A link from one that it has no more is lost, and
 * one that waits tries at once. */
void link_readdress(struct link *k, bool (*have)(void *arg, const char *address), void *arg);
/* Why the last round of attempts was in vain, as a sentence with the address; empty: it was not, or is not over. */
const char *link_failure(const struct link *k);
const char *link_endpoint(
        const struct link *k); /* where it is up, or what is tried; "" before the first attempt */
void link_drop(struct link *k, const char *why);
int link_send(struct link *k, enum peers_channel ch, Caravan__Envelope *env, struct payload *payload);

#endif
