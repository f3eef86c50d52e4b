/* manifest: what a model consists of, as content: its hyperparameters, the name and role of every tensor, its vocabulary.
 *
 * Owns: the table of roles (which tensors a layer, the embedding and the output have, with their shapes) and the bytes of a
 * manifest.  Immutable once created; any thread. */
#ifndef SHARD_MODEL_MANIFEST_H
#define SHARD_MODEL_MANIFEST_H
#include "shard/model/content.h"
#include "shard/model/hparams.h"

#define MANIFEST_MAGIC "CVMF" /* its bytes begin so */

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
	LAYER_ROLES
};
/* Tensors of embedding and output. */
enum io_role { IO_EMBED, IO_NORM, IO_HEAD, IO_ROLES }; /* a tied head names the embedding's tensor */

struct manifest_tensor {
	struct content_id id;
	enum kern_type type;
	uint64_t n, rows;
	uint64_t bytes; /* canonical */
};

struct manifest {
	struct content_id id;
	struct hparams hp;
	struct content_id vocab; /* blob */
	struct manifest_tensor io[IO_ROLES];
	struct manifest_tensor (*layer)[LAYER_ROLES]; /* owned, hp.layers of them */
};

const char *manifest_layer_tensor_name(enum layer_role r); /* "attn_q" */
const char *manifest_io_tensor_name(enum io_role r);       /* "token_embd" */

/* The shape that a role's tensor has in a model, and whether it is a norm (of type F32, F16 or BF16, one row). */
void manifest_layer_shape(const struct hparams *hp, enum layer_role r, uint64_t *n, uint64_t *rows);
void manifest_io_shape(const struct hparams *hp, enum io_role r, uint64_t *n, uint64_t *rows);
bool manifest_layer_is_norm(enum layer_role r);
bool manifest_io_is_norm(enum io_role r);

/* A manifest for the layers of these hyperparameters, its tensors not filled in yet.  0 or -ENOMEM. */
int manifest_create(struct manifest **out, const struct hparams *hp);

/* The bytes (malloc'd), sets m->id.  -EINVAL when shape, types or tensors are not those of a model. */
int manifest_encode(struct manifest *m, uint8_t **out, size_t *len);
int manifest_decode(struct manifest **out, const uint8_t *data, size_t len, char *err, size_t errlen);
void manifest_destroy(struct manifest *m); /* NULL allowed */

/* Canonical bytes of layers [first, last), and of embedding and output (a tied head counts once). */
uint64_t manifest_layer_bytes(const struct manifest *m, uint32_t first, uint32_t last);
uint64_t manifest_io_bytes(const struct manifest *m);

#endif
