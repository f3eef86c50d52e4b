/* link: the way to one other node: two lanes, control and bulk, kept up for as long as the link is wanted.
 *
 * Owns: both lanes, their greeting, the wait before the next attempt.  A lane goes through the states of the
 * table in link.c; whatever is not in the table, and any loss, ends both lanes, and after a wait (200 ms,
 * doubling up to 2 s) both are made anew.
 * Threads: the loop. */
#ifndef DAEMON_NET_LINK_H
#define DAEMON_NET_LINK_H
#include "daemon/net/peers.h"

struct link;

struct link_config {
	struct loop *loop; /* borrowed, as all here */
	void *ctx;
	const struct peers_config *peers;
	uint64_t boot;
	peers_fn *message; /* answers */
	peers_link_fn *changed;
	void *arg;
};

int link_create(
        struct link **out, const struct link_config *c, const struct node_id *node, const char *endpoint);
void link_destroy(struct link *k); /* NULL allowed; no word after it */

const struct node_id *link_node(const struct link *k);
bool link_up(const struct link *k);
int link_move(struct link *k, const char *endpoint); /* the same endpoint: nothing happens */
void link_drop(struct link *k, const char *why);
int link_send(struct link *k, enum peers_channel ch, Caravan__Envelope *env, struct payload *payload);

#endif
