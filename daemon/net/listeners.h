/* listeners: who is called for messages, by their kind, and for links that come up or are lost.
 * Owns: the list of them, in the order in which they were added.
 * Threads: the loop. */
#ifndef DAEMON_NET_LISTENERS_H
#define DAEMON_NET_LISTENERS_H
#include "daemon/net/peers.h"
#include <sys/queue.h>

struct listeners {
	STAILQ_HEAD(, message_listener) messages;
	STAILQ_HEAD(, link_listener) links;
};

void listeners_init(struct listeners *l);
void listeners_clear(struct listeners *l);

/* 0 or -ENOMEM. */
int listeners_add(struct listeners *l, Caravan__Envelope__BodyCase kind, peers_fn *fn, void *arg);
int listeners_add_link(struct listeners *l, peers_link_fn *fn, void *arg);

void listeners_message(struct listeners *l, const struct peers_from *from, const Caravan__Envelope *env,
        struct payload *payload);
void listeners_link(struct listeners *l, const struct node_id *node, bool up, const char *why);

#endif
