/* link: how much goes over the links to the other nodes: bytes a second, encrypted, from each of them to here.
 *
 * Owns: the question that is under way.  One node is asked at a time, over the bulk link, for nothing and then for more
 * and more bytes, until their time says enough of the rate; again every hour, when nothing is being computed here.
 * What is found is the member's (members_set_rate).
 * Threads: the loop. */
#ifndef DAEMON_CLUSTER_LINK_H
#define DAEMON_CLUSTER_LINK_H
#include "daemon/cluster/members.h"

struct links;

/* busy: whether something is being computed, which asking would disturb. */
int links_create(struct links **out, struct loop *l, struct members *m, bool (*busy)(void *arg), void *arg);
void links_destroy(struct links *k); /* NULL allowed; before members */

#endif
