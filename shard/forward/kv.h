/* kv: the KV cache blocks of a slice, and the states of its gated delta nets.
 *
 * Owns: one reservation of address space for numbered blocks of KERN_KV_BLOCK positions: `blocks` of the layers that see all
 * positions, and of those with a window `window_blocks`, with numbers of their own.  The system adds memory when a block is first
 * written.  Knows no sequences: the coordinator decides which sequence has which block.
 * Threads: allocation on the loop; the team writes contents. */
#ifndef SHARD_FORWARD_KV_H
#define SHARD_FORWARD_KV_H
#include "shard/forward/state.h"

struct kv_size {
	enum kern_kv type;
	uint32_t blocks, window_blocks; /* window_blocks: 0 for models without windows */
	uint32_t slots;                 /* of recurrent states; counts in models with recurrent layers */
};

struct kv_layer {
	size_t at; /* in base */
	uint32_t heads, blocks;
};

struct kv {
	struct kv_size size;
	uint32_t layers, head_size;
	uint32_t
	        parts; /* of a head in a block: keys and values, or in latent attention only keys, which are the values */
	struct kv_layer *layer; /* owned */
	uint8_t *base;
	struct state *state;    /* NULL: all layers have attention */
	size_t attention_bytes; /* of base */
	size_t bytes;           /* of everything */
};

/* Whether the model's heads fit a type of cache: 0, or -EINVAL with a sentence. */
int kv_check(const struct hparams *hp, enum kern_kv type, char *err, size_t errlen);
/* Bytes of layers [first, last): keys, values and states; 0: there are none; at most PTRDIFF_MAX. */
size_t kv_bytes(const struct hparams *hp, struct kv_size size, uint32_t first, uint32_t last);
/* The window blocks that a sequence needs to go on, while none of its steps is under way: what the first row of one of max_rows rows
 * sees, the rows, and drafts that were not accepted. */
uint32_t kv_windows_of(const struct hparams *hp, uint32_t max_rows);
/* Of these layers.  0, -EINVAL for nothing, a type that the heads do not fit, or window blocks that the model has no use for or
 * lacks, or no slots that it needs, -ENOMEM, or another negative errno. */
int kv_create(struct kv **out, const struct hparams *hp, struct kv_size size, uint32_t first, uint32_t last);
void kv_destroy(struct kv *kv); /* NULL allowed */
/* block: for a layer with a window, the number of a window block. */
void *kv_keys(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head);
/* Of models without latent attention. */
void *kv_values(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head);

#endif
