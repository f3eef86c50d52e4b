/* join_client: sends one Join to an inviter, with the keys of an invitation.
 *
 * Owns: a connection to one endpoint at a time, until one answers or none is left.
 * Threads: the loop. */
#ifndef DAEMON_NET_JOIN_CLIENT_H
#define DAEMON_NET_JOIN_CLIENT_H
#include "daemon/net/connection_guard.h"
#include "daemon/net/peers.h"

struct join_client;

struct join_client_config {
	struct loop *loop; /* borrowed, as ctx */
	void *ctx;
	struct guard *watch;
	uint64_t boot;
	const struct keys *invitation;
	const struct node_id *server;
	const char *const *endpoints; /* these four are copied */
	size_t nendpoints;
	const Caravan__Join *ask; /* `dialed` is filled in here */
	peers_join_fn *done;      /* once, not from within join_client_create; it may destroy the join */
	void *arg;
};

int join_client_create(struct join_client **out, const struct join_client_config *c);
void join_client_destroy(struct join_client *j); /* NULL allowed; no callback afterwards */

#endif
