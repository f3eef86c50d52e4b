/* latent: the products of latent attention before attention itself and after it.
 * Private to this folder.  Threads: the members of a team. */
#ifndef SHARD_FORWARD_LATENT_H
#define SHARD_FORWARD_LATENT_H
#include "shard/forward/forward_internal.h"

/* Floats of a row with the queries of all heads, or their values; elements of a head's part of a row at most. */
size_t latent_split(const struct hparams *hp);
size_t latent_part(const struct hparams *hp);

/* The queries of a step that meet the latent, into f->q, and the latent with its rotated part, into f->k, neither normalised nor
 * rotated yet.  No gate at its end.  0 or -EDOM. */
int latent_queries(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct store_tensor *const w[LAYER_ROLES]);
/* The heads' values, from f->attended into f->split.  Ends with a gate: 0 or -EDOM. */
int latent_values(struct forward *f, struct phase_member *j, uint32_t layer,
        const struct store_tensor *const w[LAYER_ROLES]);

#endif
