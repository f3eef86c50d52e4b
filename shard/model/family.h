/* family: the families of models that Caravan runs, a row each: what differs between them before the hyperparameters say it.
 *
 * What a family's layers compute is in hparams (its traits) and in the manifest (which tensors a layer has); the rest of the
 * house never asks which family a model is of.  doc/adding-a-family.md says how to add one.
 * Immutable; any thread. */
#ifndef SHARD_MODEL_FAMILY_H
#define SHARD_MODEL_FAMILY_H
#include "shard/gguf/gguf.h"
#include "shard/model/manifest.h"

struct family {
	const char *name;     /* general.architecture, and with a '.' the prefix of its keys */
	layer_roles needs;    /* roles that each layer has besides a Llama's */
	layer_roles may_have; /* and those that a layer may have */
	const char
	        *ffn_norm; /* how its files call the feed-forward norm; NULL: as manifest_layer_tensor_name */
	bool mixture;      /* a layer with a router has experts in place of gate, up and down */
	enum hparams_router router; /* unless the file says otherwise */
	bool skips;  /* layers may have no attention, or only its output product, or no feed-forward */
	bool halves; /* as in struct hparams */
	bool scaled; /* its keys attention.scale, embedding_scale, residual_scale, logit_scale count; the last divides */
	uint32_t plain_every; /* as in struct hparams */
	bool windows;         /* every layer has the window that a file says */
	uint32_t
	        full_every; /* the same, of files with a window; 0: as `windows` says, or the context is limited to it */
	float window_base;      /* the same, unless the file says another one */
	uint32_t glu;           /* as in struct hparams */
	bool root_scale;        /* embeddings are multiplied by the root of their width */
	uint32_t narrow_layers; /* with so many, scores are divided by sqrt(width / heads) */
	bool delta;             /* most layers are gated delta nets, and attention has a gate */
	bool heads_near;        /* as in struct hparams */
	bool latent;            /* attention is latent: its keys kv_lora_rank and so on count */
};

#define FAMILY_MOST_FUSED 3
/* A tensor of a file that is several of the model's: rows of matrices, elements of vectors. */
struct family_fused {
	const char *name; /* as manifest_layer_tensor_name */
	/* They follow one another in this order: once, or once for each of equal parts, which are experts or key heads of a gated delta
	 * net.  Of LAYER_DELTA_QKV, each key head has its rows of queries, of keys and of values. */
	enum family_fused_by { FUSED_WHOLE, FUSED_BY_EXPERT, FUSED_BY_KEY_HEAD } by;
	int roles;
	enum layer_role role[FAMILY_MOST_FUSED];
};
/* The one that a role may be in, in a file of any family; NULL: none.  It is in it if the first of its roles has no tensor of
 * its own. */
const struct family_fused *family_fused(enum layer_role r);

/* The family of a file; NULL: Caravan does not run its architecture, or it names none. */
const struct family *family_of(const struct gguf *g);
const struct family *family_named(const char *name, size_t len);
/* "llama, qwen2, ...", for messages. */
const char *family_names(char *out, size_t len);

/* How the family's files call the tensor of a role that is not in a fused one. */
const char *family_tensor_name(const struct family *f, enum layer_role r);

/* The roles that each layer of the file has: what its family and its shape need, and what the file holds of the rest.
 * out: [hp->layers]. */
void family_roles(const struct family *f, const struct gguf *g, const struct hparams *hp, layer_roles *out);

#endif
