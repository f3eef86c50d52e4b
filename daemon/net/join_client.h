/* join_client: one connection to an inviter, with the keys of an invitation, for one Join.
 *
 * Owns: a lane to one endpoint after the other, until one answers or none is left.
 * Threads: the loop. */
#ifndef DAEMON_NET_JOIN_CLIENT_H
#define DAEMON_NET_JOIN_CLIENT_H
#include "daemon/net/connection_guard.h"
#include "daemon/net/peers.h"

struct join;

struct join_config {
	struct loop *loop; /* borrowed, as ctx */
	void *ctx;
	struct watch *watch;
	uint64_t boot;
	const struct keys *invitation;
	const struct node_id *server;
	const char *const *endpoints; /* these four are copied */
	size_t nendpoints;
	const Caravan__Join *ask; /* without `dialed`, which is filled in */
	peers_join_fn *done;      /* once, not from within join_create; it may destroy the join */
	void *arg;
};

int join_create(struct join **out, const struct join_config *c);
void join_destroy(struct join *j); /* NULL allowed; no word after it */

#endif
