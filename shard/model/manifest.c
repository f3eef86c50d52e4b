/* manifest: the roles of a model's tensors, and the bytes of a manifest (doc/protocol.md, "Manifest").
 * The shape of a tensor is not stored: it follows from the hyperparameters and the role of the tensor. */
#include "shard/model/manifest.h"
#include "common/bytes.h"
#include "common/fail.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANIFEST_VERSION 1u
#define MANIFEST_HEAD 80u   /* magic, version, nine numbers, epsilon, the vocabulary's name */
#define MANIFEST_TENSOR 36u /* name, type */

/* The meaning of a tensor's dimension in the model. */
enum extent { ONE, DIM, FFN, Q, KV, VOCAB };

static const struct role {
	const char *name;
	enum extent n, rows;
} layer_roles[LAYER_ROLES] =
        {
                [LAYER_ATTN_NORM] = {"attn_norm", DIM, ONE},
                [LAYER_Q] = {"attn_q", DIM, Q},
                [LAYER_K] = {"attn_k", DIM, KV},
                [LAYER_V] = {"attn_v", DIM, KV},
                [LAYER_OUT] = {"attn_output", Q, DIM},
                [LAYER_FFN_NORM] = {"ffn_norm", DIM, ONE},
                [LAYER_GATE] = {"ffn_gate", DIM, FFN},
                [LAYER_UP] = {"ffn_up", DIM, FFN},
                [LAYER_DOWN] = {"ffn_down", FFN, DIM},
},
  io_roles[IO_ROLES] = {
          [IO_EMBED] = {"token_embd", DIM, VOCAB},
          [IO_NORM] = {"output_norm", DIM, ONE},
          [IO_HEAD] = {"output", DIM, VOCAB},
};

static uint64_t manifest_extent(const struct hparams *hp, enum extent e) {
	switch (e) {
	case ONE:
		return 1;
	case DIM:
		return hp->dim;
	case FFN:
		return hp->ffn;
	case Q:
		return (uint64_t)hp->heads * hp->head_size;
	case KV:
		return (uint64_t)hp->kv_heads * hp->head_size;
	case VOCAB:
		return hp->vocab;
	}
	return 0;
}

const char *manifest_layer_tensor_name(enum layer_role r) {
	return layer_roles[r].name;
}

const char *manifest_io_tensor_name(enum io_role r) {
	return io_roles[r].name;
}

void manifest_layer_shape(const struct hparams *hp, enum layer_role r, uint64_t *n, uint64_t *rows) {
	*n = manifest_extent(hp, layer_roles[r].n);
	*rows = manifest_extent(hp, layer_roles[r].rows);
}

void manifest_io_shape(const struct hparams *hp, enum io_role r, uint64_t *n, uint64_t *rows) {
	*n = manifest_extent(hp, io_roles[r].n);
	*rows = manifest_extent(hp, io_roles[r].rows);
}

bool manifest_layer_is_norm(enum layer_role r) {
	return layer_roles[r].rows == ONE;
}

bool manifest_io_is_norm(enum io_role r) {
	return io_roles[r].rows == ONE;
}

int manifest_create(struct manifest **out, const struct hparams *hp) {
	struct manifest *m = calloc(1, sizeof *m);
	if (m)
		m->layer = calloc(hp->layers, sizeof *m->layer);
	if (!m || !m->layer) {
		free(m);
		return -ENOMEM;
	}
	m->hp = *hp;
	*out = m;
	return 0;
}

void manifest_destroy(struct manifest *m) {
	int saved = errno;
	if (!m)
		return;
	free(m->layer);
	free(m);
	errno = saved;
}

static int manifest_check_tensor(const struct hparams *hp, const struct role *role,
        const struct manifest_tensor *t, char *err, size_t errlen) {
	const struct kern_traits *traits = kern_traits((uint32_t)t->type);
	if (!traits)
		return fail_with(-ENOTSUP, err, errlen,
		        "the manifest's %s has type %d, which Caravan does not know", role->name,
		        (int)t->type);
	if (role->rows == ONE && t->type != KERN_F32 && t->type != KERN_F16 && t->type != KERN_BF16) {
		return fail_with(-EINVAL, err, errlen,
		        "the manifest's %s has type %s; norms are F32, F16 or BF16", role->name,
		        traits->name);
	}
	uint64_t n = manifest_extent(hp, role->n), rows = manifest_extent(hp, role->rows);
	if (n % traits->block)
		return fail_with(-EINVAL, err, errlen,
		        "the manifest's %s has rows of %" PRIu64 " elements, not a multiple of %s's %u",
		        role->name, n, traits->name, (unsigned)traits->block);
	if (t->n != n || t->rows != rows || t->bytes != rows * kern_row_bytes(t->type, n)) {
		return fail_with(-EINVAL, err, errlen,
		        "the manifest's %s does not have the shape that the model needs", role->name);
	}
	return 0;
}

static int manifest_check(const struct manifest *m, char *err, size_t errlen) {
	int rc = hparams_check(&m->hp, err, errlen);
	for (int r = 0; rc == 0 && r < IO_ROLES; r++)
		rc = manifest_check_tensor(&m->hp, &io_roles[r], &m->io[r], err, errlen);
	for (uint32_t l = 0; rc == 0 && l < m->hp.layers; l++)
		for (int r = 0; rc == 0 && r < LAYER_ROLES; r++)
			rc = manifest_check_tensor(&m->hp, &layer_roles[r], &m->layer[l][r], err, errlen);
	return rc;
}

static void manifest_put_tensor(struct bytes_out *o, const struct manifest_tensor *t) {
	bytes_put(o, t->id.b, sizeof t->id.b);
	bytes_put_u32(o, (uint32_t)t->type);
}

int manifest_encode(struct manifest *m, uint8_t **out, size_t *len) {
	char err[160];
	const struct hparams *hp = &m->hp;
	int rc = manifest_check(m, err, sizeof err);
	if (rc < 0)
		return -EINVAL;
	size_t size = MANIFEST_HEAD + 4 * (size_t)hp->pairs +
	              MANIFEST_TENSOR * (IO_ROLES + (size_t)hp->layers * LAYER_ROLES);
	uint8_t *data = malloc(size);
	if (!data)
		return -ENOMEM;
	struct bytes_out o = {data, data + size};
	bytes_put(&o, MANIFEST_MAGIC, 4);
	bytes_put_u32(&o, MANIFEST_VERSION);
	bytes_put_u32(&o, hp->layers);
	bytes_put_u32(&o, hp->dim);
	bytes_put_u32(&o, hp->heads);
	bytes_put_u32(&o, hp->kv_heads);
	bytes_put_u32(&o, hp->head_size);
	bytes_put_u32(&o, hp->ffn);
	bytes_put_u32(&o, hp->vocab);
	bytes_put_u32(&o, hp->context);
	bytes_put_u32(&o, hp->pairs);
	bytes_put_f32(&o, hp->eps);
	bytes_put(&o, m->vocab.b, sizeof m->vocab.b);
	bytes_put(&o, hp->freq, 4 * (size_t)hp->pairs);
	for (int r = 0; r < IO_ROLES; r++)
		manifest_put_tensor(&o, &m->io[r]);
	for (uint32_t l = 0; l < hp->layers; l++)
		for (int r = 0; r < LAYER_ROLES; r++)
			manifest_put_tensor(&o, &m->layer[l][r]);
	m->id = content_hash(data, size);
	*out = data;
	*len = size;
	return 0;
}

/* The shape is set only if the type allows it; otherwise manifest_check_tensor reports the error. */
static void manifest_get_tensor(
        struct bytes_in *in, const struct hparams *hp, const struct role *role, struct manifest_tensor *t) {
	bytes_get_into(in, t->id.b, sizeof t->id.b);
	t->type = (enum kern_type)bytes_get_u32(in);
	t->n = manifest_extent(hp, role->n);
	t->rows = manifest_extent(hp, role->rows);
	const struct kern_traits *traits = kern_traits((uint32_t)t->type);
	if (traits && t->n % traits->block == 0)
		t->bytes = t->rows * kern_row_bytes(t->type, t->n);
}

int manifest_decode(struct manifest **out, const uint8_t *data, size_t len, char *err, size_t errlen) {
	struct bytes_in in = {data, len, false};
	struct hparams hp = {0};
	struct content_id vocab;
	struct manifest *m = NULL;
	const uint8_t *magic = bytes_get(&in, 4);
	uint32_t version = bytes_get_u32(&in);
	if (in.short_of || memcmp(magic, MANIFEST_MAGIC, 4) != 0 || version != MANIFEST_VERSION)
		goto malformed;
	hp.layers = bytes_get_u32(&in);
	hp.dim = bytes_get_u32(&in);
	hp.heads = bytes_get_u32(&in);
	hp.kv_heads = bytes_get_u32(&in);
	hp.head_size = bytes_get_u32(&in);
	hp.ffn = bytes_get_u32(&in);
	hp.vocab = bytes_get_u32(&in);
	hp.context = bytes_get_u32(&in);
	hp.pairs = bytes_get_u32(&in);
	hp.eps = bytes_get_f32(&in);
	bytes_get_into(&in, vocab.b, sizeof vocab.b);
	if (hp.pairs > HPARAMS_MAX_PAIRS)
		goto malformed;
	bytes_get_into(&in, hp.freq, 4 * (size_t)hp.pairs);
	if (in.short_of)
		goto malformed;
	int rc = hparams_check(&hp, err, errlen);
	if (rc < 0)
		return rc;
	if (in.left != MANIFEST_TENSOR * (IO_ROLES + (size_t)hp.layers * LAYER_ROLES))
		goto malformed;
	rc = manifest_create(&m, &hp);
	if (rc < 0)
		return fail_memory(err, errlen, "the manifest");
	m->vocab = vocab;
	m->id = content_hash(data, len);
	for (int r = 0; r < IO_ROLES; r++)
		manifest_get_tensor(&in, &hp, &io_roles[r], &m->io[r]);
	for (uint32_t l = 0; l < hp.layers; l++)
		for (int r = 0; r < LAYER_ROLES; r++)
			manifest_get_tensor(&in, &hp, &layer_roles[r], &m->layer[l][r]);
	rc = manifest_check(m, err, errlen);
	if (rc < 0) {
		manifest_destroy(m);
		return rc;
	}
	*out = m;
	return 0;
malformed:
	return fail_with(-EINVAL, err, errlen, "the manifest is not in the form that Caravan writes");
}

uint64_t manifest_layer_bytes(const struct manifest *m, uint32_t first, uint32_t last) {
	uint64_t bytes = 0;
	for (uint32_t l = first; l < last && l < m->hp.layers; l++)
		for (int r = 0; r < LAYER_ROLES; r++)
			bytes += m->layer[l][r].bytes;
	return bytes;
}

uint64_t manifest_io_bytes(const struct manifest *m) {
	uint64_t bytes = m->io[IO_EMBED].bytes + m->io[IO_NORM].bytes;
	if (!content_equal(&m->io[IO_HEAD].id, &m->io[IO_EMBED].id))
		bytes += m->io[IO_HEAD].bytes;
	return bytes;
}
