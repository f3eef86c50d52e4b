/* feed_forward: the second half of a layer; see feed_forward.c.  Private to this folder.
 * Threads: the members of the team. */
#ifndef SHARD_FORWARD_FEED_FORWARD_H
#define SHARD_FORWARD_FEED_FORWARD_H
#include "shard/forward/forward_internal.h"

/* From the normalised rows in f->act to the outputs in f->y and f->expert_y.  0, -EDOM or -EIO; ends with a gate. */
int feed_forward_run(
        struct forward *f, struct phase_member *j, uint32_t layer, const struct store_tensor *w[LAYER_ROLES]);

/* The output of the layer's feed-forward for a row, [dim]: scratch, or where the last product has left it. */
const float *feed_forward_row(
        const struct forward *f, const struct phase_member *j, uint32_t layer, size_t row, float *scratch);

#endif
