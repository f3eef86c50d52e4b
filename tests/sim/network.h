/* sim/network: links between the nodes of one program, without sockets.  It stands in for daemon/net/peers.c.
 *
 * Owns: every message that is under way.  A message is packed, and unpacked in the receive context of its socket, as on a real
 * link; a payload arrives as a copy, at an address that suits no kernel.  What peers.h promises holds: messages of one
 * direction of a link keep their order, a lost link takes all its messages with it and is made anew, who is admitted is asked
 * at the handshake and at every message, messages to oneself go the same way without a link.
 * The test decides how long messages take, which of them arrive, and when links are lost.
 * Threads: one. */
#ifndef TESTS_SIM_NETWORK_H
#define TESTS_SIM_NETWORK_H
#include "daemon/net/peers.h"

#define NETWORK_DELAY_NS 200000u /* of a message, unless said otherwise */
#define NETWORK_QUEUE 1000u /* messages of one direction of a link that are under way; more are -EAGAIN */

void network_begin(void); /* after sim_begin */
void network_end(void);   /* peers have been destroyed */

/* From one node to another, or, with NULL, from or to any for which nothing else was said. */
void network_delay(const struct node_id *from, const struct node_id *to, uint64_t ns);
void network_rate(
        const struct node_id *from, const struct node_id *to, double bytes_per_second); /* 0: no bound */
void network_queue(unsigned messages);

/* Nothing arrives from one node at another.  What is under way waits, as TCP would have it; when that lasts for
 * SOCKET_DEAD_MS, the links between the two are lost, and no new one comes up. */
void network_cut(const struct node_id *from, const struct node_id *to, bool cut);
/* The link that `from` has to `to` is lost now, with all messages on it.  It is made anew. */
void network_lose(const struct node_id *from, const struct node_id *to, const char *why);

/* Sees every message between two nodes, and to oneself, when it is sent. */
enum network_verdict {
	NETWORK_PASS,
	NETWORK_DROP,  /* it does not arrive */
	NETWORK_TWICE, /* it arrives, and once more */
	NETWORK_KEEP,  /* it arrives when network_let_go says so, whatever was sent after it */
};
typedef enum network_verdict network_watch_fn(void *arg, const struct node_id *from, const struct node_id *to,
        const Caravan__Envelope *env, const struct payload *payload);
void network_watch(network_watch_fn *fn, void *arg); /* NULL: nobody */
size_t network_kept(void);
void network_let_go(size_t i); /* of those that are kept, the oldest is 0 */

size_t network_under_way(void);
uint64_t network_delivered(void); /* ever */

#endif
