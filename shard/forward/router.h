/* router: which experts of a mixture a row uses, and how much each counts (doc/numerics.md).
 * Pure; any thread. */
#ifndef SHARD_FORWARD_ROUTER_H
#define SHARD_FORWARD_ROUTER_H
#include "shard/model/hparams.h"

/* An expert that a row uses. */
struct choice {
	uint32_t expert;
	uint32_t place; /* of the row's results in it (feed_forward.c) */
	float weight;
};

/* The experts that a row uses, the best first, from the router's scores [hp->experts], which are finite and are overwritten.
 * bias: of the choice alone, [hp->experts]; NULL: none.  out: [hp->experts_used], their places 0. */
void router_choose(const struct hparams *hp, float *score, const float *bias, struct choice *out);

#endif
