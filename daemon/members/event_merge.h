/* event_merge: the events of several nodes in one order, each once.
 *
 * What several nodes note for themselves ("gamma was lost") is one event: the earliest of them, which the others are folded
 * into.  At most one event of each node is folded into another one, within EVENT_MERGE_SECONDS, and not
 * across something else that happened to the same node or model: what happens twice is told twice.
 * Threads: pure; any thread. */
#ifndef DAEMON_MEMBERS_EVENT_MERGE_H
#define DAEMON_MEMBERS_EVENT_MERGE_H
#include "proto/wire.h"

#define EVENT_MERGE_SECONDS 10
#define EVENT_MERGE_BACK 512 /* events that are compared with, at most */

struct merge_event {
	const Caravan__Event *event;
	double time;     /* by one clock for all */
	unsigned origin; /* which node noted it */
	uint64_t number; /* the caller's */
	size_t into;     /* out: the index of the event that it is folded into; its own if it is one itself */
};

/* Sorts by time, and marks what is folded.  Events of one node keep the order of their serial numbers. */
void event_merge(struct merge_event *at, size_t n);

#endif
