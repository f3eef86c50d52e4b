/* manifest: what a model consists of, as content: its hyperparameters, the name and role of every tensor, its vocabulary.
 *
 * Owns: the table of roles (which tensors a layer, the embedding and the output have, with their shapes) and the bytes of a
 * manifest.  Immutable once created; any thread. */
#ifndef SHARD_MODEL_MANIFEST_H
#define SHARD_MODEL_MANIFEST_H
#include "shard/model/content.h"
#include "shard/model/hparams.h"

#define MANIFEST_MAGIC "CVMF"      /* its bytes begin so */
#define MANIFEST_MAX_TENSORS 16384 /* in all layers */

/* Tensors of a layer, in the order in which a manifest lists them. */
enum layer_role {
	LAYER_ATTN_NORM,
	LAYER_Q,
	LAYER_K,
	LAYER_V,
	LAYER_OUT,
	LAYER_FFN_NORM,
	LAYER_GATE,
	LAYER_UP,
	LAYER_DOWN,
	LAYER_PLAIN, /* Llama's layers have all of those before, and none of these: */
	LAYER_Q_BIAS = LAYER_PLAIN,
	LAYER_K_BIAS,
	LAYER_V_BIAS,
	LAYER_OUT_BIAS,
	LAYER_Q_NORM,
	LAYER_K_NORM,
	LAYER_ROUTER, /* a mixture of experts in place of gate, up and down */
	LAYER_ROUTER_BIAS,
	LAYER_CHOICE_BIAS, /* counts only for which experts are chosen */
	LAYER_EXPERT_GATE, /* the experts' matrices, one below the other */
	LAYER_EXPERT_UP,
	LAYER_EXPERT_DOWN,
	LAYER_EXPERT_GATE_BIAS,
	LAYER_EXPERT_UP_BIAS,
	LAYER_EXPERT_DOWN_BIAS,
	LAYER_SHARED_GATE, /* the expert of every row */
	LAYER_SHARED_UP,
	LAYER_SHARED_DOWN,
	LAYER_POST_ATTN_NORM,
	LAYER_POST_FFN_NORM,
	LAYER_SINKS,
	LAYER_SHARED_ROUTER, /* how much the shared expert counts */
	LAYER_DELTA_QKV,     /* a gated delta net in place of attention */
	LAYER_DELTA_GATE,
	LAYER_DELTA_ALPHA,
	LAYER_DELTA_BETA,
	LAYER_DELTA_CONV,
	LAYER_DELTA_DT,
	LAYER_DELTA_A,
	LAYER_DELTA_NORM,
	LAYER_DELTA_OUT,
	LAYER_Q_A, /* latent attention, in place of key and value: queries of low rank, in place of LAYER_Q, */
	LAYER_Q_A_NORM,
	LAYER_Q_B,
	LAYER_KV_A, /* the latent, and the part of the key that is rotated; */
	LAYER_KV_A_NORM,
	LAYER_K_B, /* the heads' matrices for keys and values, one below the other */
	LAYER_V_B,
	LAYER_ROLES
};
typedef uint64_t layer_roles; /* a set of them, LAYER_BIT each */
#define LAYER_BIT(role) ((layer_roles)1 << (role))
#define LAYER_PLAIN_BITS (LAYER_BIT(LAYER_PLAIN) - 1)
#define LAYER_DENSE_BITS (LAYER_BIT(LAYER_GATE) | LAYER_BIT(LAYER_UP) | LAYER_BIT(LAYER_DOWN))
#define LAYER_MIXTURE_BITS \
	(LAYER_BIT(LAYER_ROUTER) | LAYER_BIT(LAYER_EXPERT_GATE) | LAYER_BIT(LAYER_EXPERT_UP) | \
	        LAYER_BIT(LAYER_EXPERT_DOWN))
#define LAYER_SHARED_BITS \
	(LAYER_BIT(LAYER_SHARED_GATE) | LAYER_BIT(LAYER_SHARED_UP) | LAYER_BIT(LAYER_SHARED_DOWN))
/* Tensors of embedding and output. */
enum io_role { IO_EMBED, IO_NORM, IO_HEAD, IO_ROLES }; /* a tied head names the embedding's tensor */

struct manifest_tensor {
	struct content_id id;
	enum kern_type type;
	uint64_t n, rows;
	uint64_t bytes; /* canonical */
	uint32_t
	        parts; /* equal parts of its rows that are content each for itself: the experts; 1: the whole */
	uint8_t role; /* of a layer (enum layer_role) or of embedding and output (enum io_role) */
};

struct manifest {
	struct content_id id;
	struct hparams hp;
	struct content_id vocab; /* blob */
	struct manifest_tensor io[IO_ROLES];
	struct manifest_tensor
	        *tensor; /* owned: those of layer l are [at[l], at[l + 1]), in order of their roles */
	uint32_t *at;    /* owned: [hp.layers + 1] */
};

const char *manifest_layer_tensor_name(enum layer_role r); /* "attn_q.weight" */
const char *manifest_io_tensor_name(enum io_role r);       /* "token_embd.weight" */

/* Whether a role's tensor is small, of type F32, F16 or BF16, and kept dequantised: a norm, a bias, a convolution. */
bool manifest_layer_is_vector(enum layer_role r);
bool manifest_io_is_vector(enum io_role r);

/* Of these roles, those that a layer of its shape has. */
layer_roles manifest_fit_roles(const struct hparams *hp, uint32_t layer, layer_roles roles);

/* 0, or -EINVAL with a sentence: a layer with these roles cannot be computed, or the hyperparameters say otherwise of it. */
int manifest_check_roles(
        const struct hparams *hp, uint32_t layer, layer_roles roles, char *err, size_t errlen);

/* A manifest for the layers of these hyperparameters, its tensors with their shapes, without type and content yet.
 * roles: [hp->layers], those that each layer has; NULL: a Llama's.  0 or -ENOMEM. */
int manifest_create(struct manifest **out, const struct hparams *hp, const layer_roles *roles);

/* A manifest of its own with the same contents.  0 or -ENOMEM. */
int manifest_copy(struct manifest **out, const struct manifest *m);

/* All tensors, numbered: those of the layers in order, then embedding and output. */
size_t manifest_layer_tensors(const struct manifest *m); /* the number of the layers' */
size_t manifest_tensors(const struct manifest *m);
const struct manifest_tensor *manifest_tensor_at(const struct manifest *m, size_t i);

/* A layer's tensor; NULL: it has none of that role. */
struct manifest_tensor *manifest_find(const struct manifest *m, uint32_t layer, enum layer_role r);
/* The layer of tensor i < manifest_layer_tensors(). */
uint32_t manifest_layer_of(const struct manifest *m, size_t i);

/* The bytes (malloc'd), sets m->id.  -EINVAL when shape, types or tensors are not those of a model. */
int manifest_encode(struct manifest *m, uint8_t **out, size_t *len);
int manifest_decode(struct manifest **out, const uint8_t *data, size_t len, char *err, size_t errlen);
void manifest_destroy(struct manifest *m); /* NULL allowed */

/* Canonical bytes of layers [first, last), and of embedding and output (a tied head counts once). */
uint64_t manifest_layer_bytes(const struct manifest *m, uint32_t first, uint32_t last);
uint64_t manifest_io_bytes(const struct manifest *m);

/* Bytes of a tensor that a step of so many rows reads: all, but of experts those that its rows choose: as many as are expected of
 * rows that choose independently of each other. */
double manifest_read_bytes(const struct hparams *hp, const struct manifest_tensor *t, double rows);

#endif
