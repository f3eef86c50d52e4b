/* kv: the KV cache blocks of a slice, and beside them the states of its gated delta nets.
 *
 * Owns: one reservation of address space for `blocks` numbered blocks of KERN_KV_BLOCK positions; the system adds memory when a
 * block is first written.  Knows no sequences: the coordinator decides which sequence has which block.
 * Threads: allocation on the loop; the team writes contents. */
#ifndef SHARD_FORWARD_KV_H
#define SHARD_FORWARD_KV_H
#include "shard/forward/state.h"

struct kv {
	enum kern_kv type;
	uint32_t layers, head_size, blocks;
	uint32_t *first_head; /* [layers + 1]: heads of all layers before; owned */
	uint8_t *base;
	struct state *state;    /* NULL: all layers have attention */
	size_t attention_bytes; /* of base */
	size_t block_bytes;     /* of one block: its parts of every layer, keys and values */
};

/* Whether the model's heads fit a type of cache: 0, or -EINVAL with a sentence. */
int kv_check(const struct hparams *hp, enum kern_kv type, char *err, size_t errlen);
/* Bytes of one block of layers [first, last); keys, values and states; 0: there are none. */
size_t kv_block_bytes(const struct hparams *hp, enum kern_kv type, uint32_t first, uint32_t last);
/* Of these layers.  0, -EINVAL for nothing or a type that the heads do not fit, -ENOMEM, or another negative errno. */
int kv_create(struct kv **out, const struct hparams *hp, enum kern_kv type, uint32_t first, uint32_t last,
        uint32_t blocks);
void kv_destroy(struct kv *kv); /* NULL allowed */
void *kv_keys(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head);
void *kv_values(const struct kv *kv, uint32_t block, uint32_t layer, uint32_t head);

#endif
