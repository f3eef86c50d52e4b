/* state: what the gated delta nets of a slice keep of sequences, beside the KV blocks: for each block, by its number,
 *   - the state of each head after a position of the block: after its last one once it is full;
 *   - for each of its positions, what went into the state there.
 *
 * So a block's state can be made again up to any position of it, from the state of the block before: this is how drafts are taken
 * back.  A block that is full is the beginning for whatever comes after it, in whichever sequence.
 *
 * Owns: a reservation of address space, as kv.h.  Knows no sequences.
 * Invariant: known[b] is the number of the block's first positions that its state has taken in, STATE_UNKNOWN while a step that may
 * fail writes it; logged[b] of its first positions have their row.
 * Threads: known and logged belong to the thread that runs steps; the team writes contents. */
#ifndef SHARD_FORWARD_STATE_H
#define SHARD_FORWARD_STATE_H
#include "kernels/kernels.h"
#include "shard/model/hparams.h"

#define STATE_UNKNOWN 255

struct state {
	uint32_t layers, blocks; /* layers: only the recurrent ones */
	size_t head;             /* floats of a head's state */
	size_t heads;            /* floats of all */
	size_t row; /* floats of a position: what the convolution reads, then decay and rate of each head */
	float *base;
	uint8_t *known, *logged; /* [blocks] */
};

/* Bytes of one block of `layers` recurrent layers. */
size_t state_block_bytes(const struct hparams *hp, uint32_t layers);
/* 0, -ENOMEM or another negative errno. */
int state_create(struct state **out, const struct hparams *hp, uint32_t layers, uint32_t blocks);
void state_destroy(struct state *s); /* NULL allowed */
float *state_head(const struct state *s, uint32_t block, uint32_t layer, uint32_t head);
float *state_row(const struct state *s, uint32_t block, uint32_t layer, uint32_t slot);

#endif
