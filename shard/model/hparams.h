/* hparams: the hyperparameters of a model.
 * Immutable once read; any thread. */
#ifndef SHARD_MODEL_HPARAMS_H
#define SHARD_MODEL_HPARAMS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gguf;

#define HPARAMS_MAX_PAIRS 256
#define HPARAMS_MAX_HEAD_SIZE 576
#define HPARAMS_MAX_LAYERS 1024
#define HPARAMS_MAX_HEADS 1024
#define HPARAMS_MAX_WIDTH (1u << 20) /* of dim, ffn, heads * head_size */
#define HPARAMS_MAX_VOCAB (1u << 22)
#define HPARAMS_MAX_CONTEXT (1u << 24)
#define HPARAMS_MAX_EXPERTS 1024
#define HPARAMS_MAX_EXPERTS_USED 64
#define HPARAMS_MAX_STATE 512
#define HPARAMS_TRAITS 32 /* at most in a model */

/* How a router's scores become the chosen experts' weights (doc/numerics.md). */
enum hparams_router {
	ROUTER_CHOSEN,       /* softmax over the chosen */
	ROUTER_ALL,          /* softmax over all */
	ROUTER_SIGMOID,      /* sigmoids, divided by their sum */
	ROUTER_SIGMOID_ONLY, /* sigmoids */
	ROUTERS
};

/* What may differ between layers. */
struct layer_shape {
	uint32_t heads,
	        kv_heads; /* 0: it has no attention; only kv_heads: its output product alone, of the row itself */
	uint32_t ffn;     /* 0: it has no feed-forward */
};

struct hparams {
	uint32_t layers, dim, heads, kv_heads, head_size, ffn,
	        vocab; /* heads, kv_heads, ffn: the most of a layer */
	uint32_t
	        context; /* trained length (or the window of a model whose layers all have one, when that is shorter) */
	uint32_t pairs; /* RoPE rotates 2 * pairs elements of a head */
	float eps;
	float freq
	        [HPARAMS_MAX_PAIRS]; /* the RoPE table, scaling and factors included (doc/numerics.md); 0 from pairs on */
	/* traits of families other than Llama; 0 is Llama's way */
	uint32_t halves;       /* 1: RoPE pairs element i of a head with i + pairs, not 2i with 2i + 1 */
	uint32_t plain_every;  /* every so many layers one has no RoPE, the last of them; 0: all have it */
	float rope_magnitude;  /* of sine and cosine; 0: 1 */
	float attention_scale; /* of scores; 0: 1 / sqrt(head_size) */
	float embed_scale;     /* of embedding rows; 0: 1 */
	float residual_scale;  /* of what a layer's halves add to the row; 0: 1 */
	float logit_scale;     /* of logits; 0: 1 */
	uint32_t experts;      /* of a layer that is a mixture; 0: none is */
	uint32_t experts_used; /* by a row */
	uint32_t expert_ffn;   /* feed-forward width of an expert */
	uint32_t shared_ffn;   /* and of the one that every row uses; 0 if none */
	uint32_t router;       /* enum hparams_router */
	float expert_scale;    /* of the chosen experts' weights; 0: 1 */
	uint32_t window; /* how many positions one sees, itself included, in layers with a window; 0: all */
	uint32_t full_every; /* every so many layers one has no window, the last of them; 0: all have it */
	float window_base;   /* of RoPE in layers with a window, without scaling; 0: as in the others */
	uint32_t glu;        /* the gated unit of feed-forward: enum kern_glu */
	/* every so many layers one has attention, the last of them; the others are gated delta nets; 0: all have attention */
	uint32_t attention_every;
	uint32_t state_heads;  /* of a gated delta net: value heads */
	uint32_t state_groups; /* heads of queries and keys; value head h uses h mod state_groups */
	uint32_t state_size;   /* of each head */
	uint32_t gated;        /* 1: the Q product gives each head a query and a gate */
	/* groups of neighbouring experts, equally many each: a row uses experts of few of them; 0: of any */
	uint32_t expert_groups;
	uint32_t groups_used; /* so many */
	/* latent attention: elements of the latent, of which all heads' keys and values are made and which is cached in their place with
	 * 2 * pairs further elements of all keys; head_size is the sum; 0: none */
	uint32_t latent;
	uint32_t query_head; /* elements of a head's query, the last 2 * pairs rotated */
	uint32_t value_head; /* of a head's value */
	uint32_t query_rank; /* of what queries are made of; 0: of the row itself */
	uint32_t
	        heads_near; /* 1: value heads of a key head are neighbours: h uses h / (state_heads / state_groups) */
	uint32_t unlike;                              /* 1: layers differ in their shapes: */
	struct layer_shape shape[HPARAMS_MAX_LAYERS]; /* else all are 0 */
};

/* The shape of a layer. */
struct layer_shape hparams_layer(const struct hparams *hp, uint32_t layer);

/* Whether a layer's positions see only those of the window. */
bool hparams_has_window(const struct hparams *hp, uint32_t layer);
/* The first position that one sees through a window; 0: none. */
uint32_t hparams_first_seen(uint32_t position, uint32_t window);
/* The RoPE table of layers with a window, where window_base is not 0: [pairs]. */
void hparams_window_freq(const struct hparams *hp, float *freq);
/* Whether a layer is a gated delta net, how many of layers [0, layer) are, and how wide the rows are that its convolution reads. */
bool hparams_is_recurrent(const struct hparams *hp, uint32_t layer);
uint32_t hparams_recurrent_before(const struct hparams *hp, uint32_t layer);
uint64_t hparams_channels(const struct hparams *hp);
/* The key head that a value head of a gated delta net uses, and whether it is the first that uses it. */
uint32_t hparams_key_head(const struct hparams *hp, uint32_t head, bool *first);

/* A trait as a manifest lists it: its number (doc/protocol.md) and its 32 bits, not 0. */
struct hparams_trait {
	uint32_t id, bits;
};
/* The traits that differ from Llama's, by ascending number, into out (NULL: only counts); returns how many. */
size_t hparams_traits(const struct hparams *hp, struct hparams_trait *out);
int hparams_set_trait(struct hparams *hp, const struct hparams_trait *t); /* -ENOTSUP: unknown number */

/* Reads and checks a file of a family that Caravan runs (family.h); whatever is not understood is refused by name.
 * context: how many tokens it is to serve at most, 0: all that it was trained for.  With a context that needs no stretched
 * positions, a file that has two RoPE tables gives the one for those, and hp->context ends where they do.
 * 0, or a negative errno with a sentence in err. */
int hparams_from_gguf(struct hparams *hp, const struct gguf *g, uint32_t context, char *err, size_t errlen);

/* How many layers at the end of a file predict further tokens (MTP); Caravan does not use them. */
uint32_t hparams_unused_layers(const struct gguf *g);

/* Whether these numbers describe a model that Caravan runs (each in its limits, products without overflow):
 * for what came from a peer.  0 or -EINVAL with a sentence in err. */
int hparams_check(const struct hparams *hp, char *err, size_t errlen);

#endif
