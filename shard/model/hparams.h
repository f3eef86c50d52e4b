/* hparams: the hyperparameters of a model.
 * Immutable once read; any thread. */
#ifndef SHARD_MODEL_HPARAMS_H
#define SHARD_MODEL_HPARAMS_H
#include <stddef.h>
#include <stdint.h>

struct gguf;

#define HPARAMS_MAX_PAIRS 256 /* head sizes up to 512 */
#define HPARAMS_MAX_LAYERS 1024
#define HPARAMS_MAX_HEADS 1024
#define HPARAMS_MAX_WIDTH (1u << 20) /* of dim, ffn, heads * head_size */
#define HPARAMS_MAX_VOCAB (1u << 22)
#define HPARAMS_MAX_CONTEXT (1u << 24)

struct hparams {
	uint32_t layers, dim, heads, kv_heads, head_size, ffn, vocab;
	uint32_t context; /* trained length (or sliding window, when that is shorter) */
	uint32_t pairs;   /* RoPE rotates 2 * pairs elements of a head */
	float eps;
	float freq
	        [HPARAMS_MAX_PAIRS]; /* the RoPE table, scaling and factors included (doc/numerics.md); 0 from pairs on */
};

/* Reads and checks a file of architecture llama; whatever is not understood is refused by name.
 * 0, or a negative errno with a sentence in err. */
int hparams_from_gguf(struct hparams *hp, const struct gguf *g, char *err, size_t errlen);

/* Whether these numbers describe a model that Caravan runs (each in its limits, products without overflow):
 * for what came from a peer.  0 or -EINVAL with a sentence in err. */
int hparams_check(const struct hparams *hp, char *err, size_t errlen);

#endif
