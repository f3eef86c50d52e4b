/* state: what the gated delta nets of a slice keep of sequences.  A sequence that runs has a slot:
 *   - its state at a position, the anchor, before which it is never computed again,
 *   - and at the end of its rows;
 *   - of the positions from the anchor on, and the few before it that the convolution reads, what goes into the state there.
 * So the state at any position from the anchor on can be made again: this is how drafts are taken back.
 *
 * Besides, there are places for kept states: of a sequence at one position, with the rows that the convolution reads there.
 * Any sequence with the same tokens may begin with it.
 *
 * Owns: a reservation of address space, as kv.h.  Knows no sequences: the coordinator decides which has which slot, and what is kept
 * where.
 * Invariant: a slot is not known, nor is a place, while a step that may fail writes it.
 * Threads: slot and kept belong to the thread that runs steps; the team writes contents. */
#ifndef SHARD_FORWARD_STATE_H
#define SHARD_FORWARD_STATE_H
#include "kernels/kernels.h"
#include "shard/model/hparams.h"

#define STATE_BEFORE (KERN_CONV - 1)          /* rows before a position that the convolution reads */
#define STATE_LOG 64                          /* rows that a slot has, twice */
#define STATE_OPEN (STATE_LOG - STATE_BEFORE) /* positions that may be taken back */
#define STATE_PLACES(slots) (4 * (slots) + 4) /* kept states beside so many slots */
#define STATE_UNKNOWN UINT32_MAX              /* what a place has */

struct state_slot {
	uint32_t anchor, end; /* positions of its two states; if they are equal, only the anchor counts */
	uint8_t which;        /* of its two states is the anchor */
	uint8_t log;          /* of its two logs is valid: a step reads one and writes the other */
	bool known;
};

struct state {
	uint32_t layers; /* only the recurrent ones */
	uint32_t slots, places;
	size_t head;  /* floats of a head's state */
	size_t heads; /* of all heads' */
	size_t row;   /* of a position: what the convolution reads, then decay and rate of each head */
	float *base;
	struct state_slot *slot; /* [slots] */
	uint32_t *kept;          /* [places]: the position of the state there, or STATE_UNKNOWN */
};

/* Bytes of layers [first, last) with so many slots; 0: none is recurrent. */
uint64_t state_bytes(const struct hparams *hp, uint32_t first, uint32_t last, uint32_t slots);
/* Of these layers; *out is NULL if none is recurrent.  0, -ENOMEM or another negative errno. */
int state_create(struct state **out, const struct hparams *hp, uint32_t first, uint32_t last, uint32_t slots);
void state_destroy(struct state *s); /* NULL allowed */
/* which, log: 0 or 1. */
float *state_head(const struct state *s, uint32_t slot, unsigned which, uint32_t layer, uint32_t head);
float *state_row(const struct state *s, uint32_t slot, unsigned log, uint32_t layer, uint32_t position);
float *state_kept_head(const struct state *s, uint32_t place, uint32_t layer, uint32_t head);
/* Row i of the STATE_BEFORE before the kept state. */
float *state_kept_row(const struct state *s, uint32_t place, uint32_t layer, uint32_t i);

#endif
