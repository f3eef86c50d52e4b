/* link_probe: how much goes over the links to the other nodes: bytes a second, encrypted, from each of them to here.
 *
 * Owns: the question that is under way.  One node is asked at a time, over the bulk link, for nothing and then for more
 * and more bytes, until their time says enough of the rate; again every hour, when nothing is being computed here.  A link
 * of which nothing is known is asked for a little at once whatever is computed, and for more when the node rests.
 * Between that it is asked for LINK_PROBE_CHECK_BYTES now and then, whatever is computed: they are few, and where they twice take
 * many times what they should the link is measured at once; while something is computed, only as far as it says that it is slow.
 * What is found is the member's (members_set_rate).
 * Threads: the loop. */
#ifndef DAEMON_MEMBERS_LINK_PROBE_H
#define DAEMON_MEMBERS_LINK_PROBE_H
#include "daemon/members/members.h"

struct link_probe;

#define LINK_PROBE_CHECK_BYTES (64u << 10)
#define LINK_PROBE_CHECK_MS 30000

/* busy: whether something is being computed, which measuring would disturb.  check_ms: between checks of a node; 0: LINK_PROBE_CHECK_MS. */
int link_probe_create(struct link_probe **out, struct loop *l, struct members *m, uint32_t check_ms,
        bool (*busy)(void *arg), void *arg);
void link_probe_destroy(struct link_probe *k); /* NULL allowed; before members */

#endif
