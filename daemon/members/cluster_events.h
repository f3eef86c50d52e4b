/* cluster_events: what has happened in the cluster: the events of this node's journal and of all others.
 *
 * Owns: copies of the latest JOURNAL_EVENTS events of every other node, as far as they are known.  This node asks each node
 * that is up for its events (ListEvents), and has a request waiting there for those to come.  The events of a node that is
 * down stay.
 * Invariants: a node can only write events of its own, only so many of them, and none later than now.  Events of a node are
 * taken in the order of their serial numbers.
 * Threads: the loop. */
#ifndef DAEMON_MEMBERS_CLUSTER_EVENTS_H
#define DAEMON_MEMBERS_CLUSTER_EVENTS_H
#include "daemon/core/journal.h"
#include "daemon/members/members.h"

#define CLUSTER_EVENTS_WAIT_MS 2000 /* for nodes that are asked */
#define CLUSTER_EVENTS_FOLD_MS \
	300 /* new events are told after this time, so that several nodes can note one */

struct cluster_events;

/* All pointers are borrowed; the journal's watcher is taken. */
int cluster_events_create(
        struct cluster_events **out, struct loop *l, struct members *members, struct journal *journal);
void cluster_events_destroy(struct cluster_events *c); /* NULL allowed; before members and journal */

/* An event by this node's clock and with all nodes that noted it; borrowed for the call. */
typedef void cluster_events_fn(void *arg, const Caravan__CtlEvent *e);

/* Which events are wanted. */
struct cluster_events_filter {
	size_t last;       /* so many of the latest; 0: all */
	double since;      /* none before this Unix time */
	const char *node;  /* only what this node noted or what is about it; NULL or empty: all */
	const char *model; /* NULL or empty: all */
};
/* Calls fn for those that are known now, the oldest first.  0 or -ENOMEM. */
int cluster_events_list(
        struct cluster_events *c, const struct cluster_events_filter *f, cluster_events_fn *fn, void *arg);

/* Calls fn for every event that becomes known from now on, until cluster_events_unwatch: none of those that cluster_events_list
 * gives at this moment.  last and since of the filter do not count; its names are copied.  NULL: no memory. */
struct cluster_watch;
struct cluster_watch *cluster_events_watch(
        struct cluster_events *c, const struct cluster_events_filter *f, cluster_events_fn *fn, void *arg);
void cluster_events_unwatch(struct cluster_watch *w); /* NULL allowed; also from within fn */

/* Asks all nodes that are up for their latest events; done is called once, later, when they have answered or after
 * CLUSTER_EVENTS_WAIT_MS.  NULL: no memory, and done is not called. */
struct cluster_gather;
struct cluster_gather *cluster_events_gather(struct cluster_events *c, void (*done)(void *arg), void *arg);
void cluster_events_cancel(struct cluster_gather *g); /* NULL allowed; done is not called */

/* Calls fn for every node whose latest events are not known, with the reason.  Which have not answered: of this gathering
 * (within its done), or, with NULL, ever. */
void cluster_events_missing(struct cluster_events *c, const struct cluster_gather *g,
        void (*fn)(void *arg, const struct member *who, const char *why), void *arg);

#endif
