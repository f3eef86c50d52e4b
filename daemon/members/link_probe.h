/* link_probe: measures the bandwidth from each of the other nodes to this one: bytes per second, encrypted.
 *
 * Owns: the request under way.  One node at a time is asked, over the bulk link, for no bytes and then for
 * more and more, until their time gives an exact rate; again every hour, while nothing is being computed
 * here.  A link without a known rate is asked for a few bytes at once, even during computing, and for more
 * when the node is idle.
 * Between these probes a node is asked for LINK_PROBE_CHECK_BYTES from time to time, even during computing,
 * since they are few.  If they take many times as long as expected twice in a row, the link is probed at
 * once; during computing, only as far as needed to find that it is slow.  The result goes to the member
 * (members_set_rate).
 * Threads: the loop. */
#ifndef DAEMON_MEMBERS_LINK_PROBE_H
#define DAEMON_MEMBERS_LINK_PROBE_H
#include "daemon/members/members.h"

struct link_probe;

#define LINK_PROBE_CHECK_BYTES (64u << 10)
#define LINK_PROBE_CHECK_MS 30000

/* busy: whether something is being computed, which measuring would disturb.  check_ms: between checks of a
 * node; 0: LINK_PROBE_CHECK_MS. */
int link_probe_create(struct link_probe **out, struct loop *l, struct members *m, uint32_t check_ms,
        bool (*busy)(void *arg), void *arg);
void link_probe_destroy(struct link_probe *k); /* NULL allowed; call before members_destroy */

#endif
