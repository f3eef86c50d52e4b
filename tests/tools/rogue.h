/* rogue: a peer that misbehaves over real CURVE sockets, one case a run.
 *
 * Owns: its keys, one link to its target, and what it knows of the cluster, which it asks of a daemon's control
 * socket as a member would know it from the links.  Blocking; the program has one thread. */
#ifndef TESTS_TOOLS_ROGUE_H
#define TESTS_TOOLS_ROGUE_H
#include "daemon/net/curve_keys.h"
#include "shard/model/manifest.h"

#define ROGUE_REF 77 /* of what it asks */
#define ROGUE_WAIT_MS 15000

struct rogue {
	struct keys keys;
	Caravan__Envelope *report[2 * WIRE_NODES_MAX]; /* of the control socket, */
	size_t reports;
	const Caravan__ReportNode *node[WIRE_NODES_MAX], *target; /* and what they say */
	size_t nodes;
	const Caravan__Plan *plan; /* of the model that serves */
	struct node_id id;         /* the target's */
	struct manifest *manifest; /* once fetched */
	void *ctx, *sock, *monitor;
	uint64_t boot, seq;
};

struct rogue_case {
	const char *name;
	void (*run)(struct rogue *r);
	bool stranger; /* says no Hello by itself */
};
extern const struct rogue_case rogue_words[], rogue_plans[]; /* each ends with a NULL name */

/* Sends a body with ref and the next number; nothing is checked here. */
void rogue_send(
        struct rogue *r, Caravan__Envelope__BodyCase kind, void *body, const void *payload, size_t len);
/* Sends frames as they are. */
void rogue_raw(struct rogue *r, const void *const *frame, const size_t *len, size_t count);
void rogue_hello(struct rogue *r);
void rogue_ping(struct rogue *r);

/* The next message that is no Welcome; NULL after the time or when the connection has ended.  wire_free it. */
Caravan__Envelope *rogue_next(struct rogue *r, unsigned ms, size_t *payload_len, void **payload);
/* Prints what the target makes of it: one line of the next message, of the end, or of silence. */
void rogue_outcome(struct rogue *r);

void rogue_die(const char *what) __attribute__((noreturn));

#endif
