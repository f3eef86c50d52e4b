/* manifest: the roles of a model's tensors, and the bytes of a manifest (doc/protocol.md, "Manifest").
 * The shape of a tensor is not stored: it follows from the hyperparameters and the role of the tensor. */
#include "shard/model/manifest.h"
#include "common/bytes.h"
#include "common/fail.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MANIFEST_PLAIN 1u /* version of models with only the required roles and no traits of another family */
#define MANIFEST_VERSION 2u /* and of all others */
#define MANIFEST_HEAD 80u   /* magic, version, nine numbers, epsilon, the vocabulary's name */
#define MANIFEST_SHAPE 12u  /* of a layer: heads, key/value heads, feed-forward width */
#define MANIFEST_TENSOR 36u /* name, type */

/* The meaning of a tensor's dimension in the model. */
enum extent {
	ONE,
	DIM,
	FFN,
	Q,
	KV,
	HEAD,
	HEADS,
	VOCAB,
	EXPERTS,
	EXPERT_FFN,
	SHARED_FFN,
	QUERY,
	CHANNELS,
	INNER,
	STATE_HEADS,
	STATE,
	TAPS,
	ATTENDED,
	RANK,
	LATENT,
	LATENTS,
	UNROTATED
};

static const struct role {
	const char *name;
	enum extent n, rows;
	bool each; /* every expert has one: they are one below the other */
} roles_of_layers[LAYER_ROLES] =
        {
                [LAYER_ATTN_NORM] = {"attn_norm.weight", DIM, ONE},
                [LAYER_Q] = {"attn_q.weight", DIM, QUERY},
                [LAYER_K] = {"attn_k.weight", DIM, KV},
                [LAYER_V] = {"attn_v.weight", DIM, KV},
                [LAYER_OUT] = {"attn_output.weight", ATTENDED, DIM},
                [LAYER_FFN_NORM] = {"ffn_norm.weight", DIM, ONE},
                [LAYER_GATE] = {"ffn_gate.weight", DIM, FFN},
                [LAYER_UP] = {"ffn_up.weight", DIM, FFN},
                [LAYER_DOWN] = {"ffn_down.weight", FFN, DIM},
                [LAYER_Q_BIAS] = {"attn_q.bias", Q, ONE},
                [LAYER_K_BIAS] = {"attn_k.bias", KV, ONE},
                [LAYER_V_BIAS] = {"attn_v.bias", KV, ONE},
                [LAYER_OUT_BIAS] = {"attn_output.bias", DIM, ONE},
                [LAYER_Q_NORM] = {"attn_q_norm.weight", HEAD, ONE},
                [LAYER_K_NORM] = {"attn_k_norm.weight", HEAD, ONE},
                [LAYER_ROUTER] = {"ffn_gate_inp.weight", DIM, EXPERTS},
                [LAYER_ROUTER_BIAS] = {"ffn_gate_inp.bias", EXPERTS, ONE},
                [LAYER_CHOICE_BIAS] = {"exp_probs_b.bias", EXPERTS, ONE},
                [LAYER_EXPERT_GATE] = {"ffn_gate_exps.weight", DIM, EXPERT_FFN, true},
                [LAYER_EXPERT_UP] = {"ffn_up_exps.weight", DIM, EXPERT_FFN, true},
                [LAYER_EXPERT_DOWN] = {"ffn_down_exps.weight", EXPERT_FFN, DIM, true},
                [LAYER_EXPERT_GATE_BIAS] = {"ffn_gate_exps.bias", EXPERT_FFN, ONE, true},
                [LAYER_EXPERT_UP_BIAS] = {"ffn_up_exps.bias", EXPERT_FFN, ONE, true},
                [LAYER_EXPERT_DOWN_BIAS] = {"ffn_down_exps.bias", DIM, ONE, true},
                [LAYER_SHARED_GATE] = {"ffn_gate_shexp.weight", DIM, SHARED_FFN},
                [LAYER_SHARED_UP] = {"ffn_up_shexp.weight", DIM, SHARED_FFN},
                [LAYER_SHARED_DOWN] = {"ffn_down_shexp.weight", SHARED_FFN, DIM},
                [LAYER_POST_ATTN_NORM] = {"post_attention_norm.weight", DIM, ONE},
                [LAYER_POST_FFN_NORM] = {"post_ffw_norm.weight", DIM, ONE},
                [LAYER_SINKS] = {"attn_sinks.weight", HEADS, ONE},
                [LAYER_SHARED_ROUTER] = {"ffn_gate_inp_shexp.weight", DIM, ONE, false},
                [LAYER_DELTA_QKV] = {"attn_qkv.weight", DIM, CHANNELS},
                [LAYER_DELTA_GATE] = {"attn_gate.weight", DIM, INNER},
                [LAYER_DELTA_ALPHA] = {"ssm_alpha.weight", DIM, STATE_HEADS},
                [LAYER_DELTA_BETA] = {"ssm_beta.weight", DIM, STATE_HEADS},
                [LAYER_DELTA_CONV] = {"ssm_conv1d.weight", TAPS, CHANNELS},
                [LAYER_DELTA_DT] = {"ssm_dt.bias", STATE_HEADS, ONE},
                [LAYER_DELTA_A] = {"ssm_a", STATE_HEADS, ONE},
                [LAYER_DELTA_NORM] = {"ssm_norm.weight", STATE, ONE},
                [LAYER_DELTA_OUT] = {"ssm_out.weight", INNER, DIM},
                [LAYER_Q_A] = {"attn_q_a.weight", DIM, RANK},
                [LAYER_Q_A_NORM] = {"attn_q_a_norm.weight", RANK, ONE},
                [LAYER_Q_B] = {"attn_q_b.weight", RANK, QUERY},
                [LAYER_KV_A] = {"attn_kv_a_mqa.weight", DIM, HEAD},
                [LAYER_KV_A_NORM] = {"attn_kv_a_norm.weight", LATENT, ONE},
                [LAYER_K_B] = {"attn_k_b.weight", UNROTATED, LATENTS},
                [LAYER_V_B] = {"attn_v_b.weight", LATENT, ATTENDED},
},
  roles_of_io[IO_ROLES] = {
          [IO_EMBED] = {"token_embd.weight", DIM, VOCAB},
          [IO_NORM] = {"output_norm.weight", DIM, ONE},
          [IO_HEAD] = {"output.weight", DIM, VOCAB},
};

static uint64_t manifest_extent(const struct hparams *hp, const struct layer_shape *shape, enum extent e) {
	switch (e) {
	case ONE:
		return 1;
	case DIM:
		return hp->dim;
	case FFN:
		return shape->ffn;
	case Q:
		return (uint64_t)shape->heads * hp->head_size;
	case KV:
		return (uint64_t)shape->kv_heads * hp->head_size;
	case HEAD:
		return hp->head_size;
	case HEADS:
		return shape->heads;
	case VOCAB:
		return hp->vocab;
	case EXPERTS:
		return hp->experts;
	case EXPERT_FFN:
		return hp->expert_ffn;
	case SHARED_FFN:
		return hp->shared_ffn;
	case QUERY:
		return (uint64_t)shape->heads * (hp->latent ? hp->query_head : hp->head_size) *
		       (hp->gated ? 2 : 1);
	case ATTENDED:
		return (uint64_t)shape->heads * (hp->latent ? hp->value_head : hp->head_size);
	case RANK:
		return hp->query_rank;
	case LATENT:
		return hp->latent;
	case LATENTS:
		return (uint64_t)shape->heads * hp->latent;
	case UNROTATED:
		return hp->query_head - 2 * hp->pairs;
	case CHANNELS:
		return hparams_channels(hp);
	case INNER:
		return (uint64_t)hp->state_heads * hp->state_size;
	case STATE_HEADS:
		return hp->state_heads;
	case STATE:
		return hp->state_size;
	case TAPS:
		return KERN_CONV;
	}
	return 0;
}

const char *manifest_layer_tensor_name(enum layer_role r) {
	return roles_of_layers[r].name;
}

const char *manifest_io_tensor_name(enum io_role r) {
	return roles_of_io[r].name;
}

static bool manifest_is_small(const struct role *role) {
	return role->rows == ONE || role->n == TAPS;
}

bool manifest_layer_is_vector(enum layer_role r) {
	return manifest_is_small(&roles_of_layers[r]);
}

bool manifest_io_is_vector(enum io_role r) {
	return roles_of_io[r].rows == ONE;
}

/* The shape of a role's tensor. */
static struct manifest_tensor manifest_shape(
        const struct hparams *hp, const struct layer_shape *shape, const struct role *role, uint8_t r) {
	uint32_t each = role->each ? hp->experts : 1;
	return (struct manifest_tensor){.role = r,
	        .n = manifest_extent(hp, shape, role->n),
	        .rows = each * manifest_extent(hp, shape, role->rows),
	        .parts = role->rows == ONE ? 1 : each};
}

#define ATTENTION (LAYER_BIT(LAYER_Q) | LAYER_BIT(LAYER_K) | LAYER_BIT(LAYER_V))
#define ATTENTION_MORE \
	(LAYER_BIT(LAYER_Q_BIAS) | LAYER_BIT(LAYER_K_BIAS) | LAYER_BIT(LAYER_V_BIAS) | \
	        LAYER_BIT(LAYER_Q_NORM) | LAYER_BIT(LAYER_K_NORM) | LAYER_BIT(LAYER_SINKS))
#define ATTENTION_OUT (LAYER_BIT(LAYER_ATTN_NORM) | LAYER_BIT(LAYER_OUT))
#define ATTENTION_OUT_MORE (LAYER_BIT(LAYER_OUT_BIAS) | LAYER_BIT(LAYER_POST_ATTN_NORM))
#define MIXTURE_BIASES \
	(LAYER_BIT(LAYER_ROUTER_BIAS) | LAYER_BIT(LAYER_CHOICE_BIAS) | LAYER_BIT(LAYER_EXPERT_GATE_BIAS) | \
	        LAYER_BIT(LAYER_EXPERT_UP_BIAS) | LAYER_BIT(LAYER_EXPERT_DOWN_BIAS))
#define DELTA \
	(LAYER_BIT(LAYER_DELTA_QKV) | LAYER_BIT(LAYER_DELTA_GATE) | LAYER_BIT(LAYER_DELTA_ALPHA) | \
	        LAYER_BIT(LAYER_DELTA_BETA) | LAYER_BIT(LAYER_DELTA_CONV) | LAYER_BIT(LAYER_DELTA_DT) | \
	        LAYER_BIT(LAYER_DELTA_A) | LAYER_BIT(LAYER_DELTA_NORM) | LAYER_BIT(LAYER_DELTA_OUT))
#define LOW_RANK (LAYER_BIT(LAYER_Q_A) | LAYER_BIT(LAYER_Q_A_NORM) | LAYER_BIT(LAYER_Q_B))
#define LATENT_KV \
	(LAYER_BIT(LAYER_KV_A) | LAYER_BIT(LAYER_KV_A_NORM) | LAYER_BIT(LAYER_K_B) | LAYER_BIT(LAYER_V_B))

/* What latent attention has in place of query, key and value. */
static layer_roles manifest_latent_roles(const struct hparams *hp) {
	return LATENT_KV | (hp->query_rank ? LOW_RANK : LAYER_BIT(LAYER_Q));
}

layer_roles manifest_fit_roles(const struct hparams *hp, uint32_t layer, layer_roles roles) {
	struct layer_shape shape = hparams_layer(hp, layer);
	if (hp->latent)
		return (roles & ~(ATTENTION | ATTENTION_MORE)) | manifest_latent_roles(hp);
	if (hparams_is_recurrent(hp, layer))
		return (roles & ~(ATTENTION | ATTENTION_MORE | LAYER_BIT(LAYER_OUT) | ATTENTION_OUT_MORE)) |
		       DELTA;
	if (!shape.kv_heads)
		roles &= ~(ATTENTION | ATTENTION_MORE);
	if (!shape.heads)
		roles &= ~(ATTENTION_OUT | ATTENTION_OUT_MORE);
	if (!shape.ffn)
		roles &= ~(LAYER_BIT(LAYER_FFN_NORM) | LAYER_BIT(LAYER_POST_FFN_NORM) | LAYER_DENSE_BITS |
		           LAYER_MIXTURE_BITS | MIXTURE_BIASES | LAYER_SHARED_BITS);
	return roles;
}

/* Whether a layer has what its shape says. */
static bool manifest_fits_shape(const struct layer_shape *shape, layer_roles roles) {
	return !(roles & ATTENTION) == !shape->kv_heads && !(roles & ATTENTION_OUT) == !shape->heads &&
	       !(roles & LAYER_BIT(LAYER_FFN_NORM)) == !shape->ffn &&
	       !(roles & (LAYER_DENSE_BITS | LAYER_MIXTURE_BITS)) == !shape->ffn;
}

int manifest_check_roles(
        const struct hparams *hp, uint32_t layer, layer_roles roles, char *err, size_t errlen) {
	/* a layer that has one of `any` has all of `needs` */
	static const struct {
		layer_roles any, needs;
	} rule[] = {
	        {ATTENTION | ATTENTION_MORE, ATTENTION | ATTENTION_OUT},
	        {ATTENTION_OUT | ATTENTION_OUT_MORE, ATTENTION_OUT},
	        {LAYER_BIT(LAYER_POST_FFN_NORM), LAYER_BIT(LAYER_FFN_NORM)},
	        {LAYER_DENSE_BITS, LAYER_DENSE_BITS},
	        {LAYER_MIXTURE_BITS | MIXTURE_BIASES, LAYER_MIXTURE_BITS},
	        {LAYER_SHARED_BITS | LAYER_BIT(LAYER_SHARED_ROUTER), LAYER_SHARED_BITS | LAYER_MIXTURE_BITS},
	};
	struct layer_shape shape = hparams_layer(hp, layer);
	/* in place of all of attention */
	layer_roles net = hparams_is_recurrent(hp, layer) ? DELTA | LAYER_BIT(LAYER_ATTN_NORM) : 0;
	bool whole = (roles & (DELTA | net)) == net && roles >> LAYER_ROLES == 0;
	roles &= ~net;
	/* in place of query, key and value */
	layer_roles latent = hp->latent ? manifest_latent_roles(hp) : 0;
	layer_roles never = hp->latent ? ATTENTION | ATTENTION_MORE | LOW_RANK : LATENT_KV | LOW_RANK;
	whole = whole && (roles & (never | latent)) == latent;
	roles = hp->latent ? (roles & ~latent) | ATTENTION : roles;
	whole = whole && !(roles & LAYER_DENSE_BITS && roles & LAYER_MIXTURE_BITS) &&
	        manifest_fits_shape(&shape, roles);
	for (size_t i = 0; i < sizeof rule / sizeof *rule; i++)
		whole = whole && (!(roles & rule[i].any) || (roles & rule[i].needs) == rule[i].needs);
	if (!whole)
		return fail_with(-EINVAL, err, errlen,
		        "a layer does not have the tensors of one that Caravan computes");
	if ((roles & LAYER_MIXTURE_BITS && !hp->experts) || (roles & LAYER_SHARED_BITS && !hp->shared_ffn))
		return fail_with(-EINVAL, err, errlen,
		        "a layer has experts, and the model's numbers do not say how many");
	if (roles & LAYER_BIT(LAYER_Q_BIAS) && hp->gated)
		return fail_with(-EINVAL, err, errlen,
		        "a layer's queries have a gate and a bias, which Caravan does not know");
	return 0;
}

int manifest_create(struct manifest **out, const struct hparams *hp, const layer_roles *roles) {
	struct manifest *m = calloc(1, sizeof *m);
	if (!m)
		return -ENOMEM;
	m->hp = *hp;
	m->tensor = calloc((size_t)hp->layers * LAYER_ROLES, sizeof *m->tensor);
	m->at = calloc((size_t)hp->layers + 1, sizeof *m->at);
	if (!m->tensor || !m->at) {
		manifest_destroy(m);
		return -ENOMEM;
	}
	for (int r = 0; r < IO_ROLES; r++)
		m->io[r] = manifest_shape(hp, NULL, &roles_of_io[r], (uint8_t)r);
	for (uint32_t l = 0; l < hp->layers; l++) {
		layer_roles has = roles ? roles[l] : LAYER_PLAIN_BITS;
		struct layer_shape shape = hparams_layer(hp, l);
		m->at[l + 1] = m->at[l];
		for (int r = 0; r < LAYER_ROLES; r++)
			if (has & LAYER_BIT(r))
				m->tensor[m->at[l + 1]++] =
				        manifest_shape(hp, &shape, &roles_of_layers[r], (uint8_t)r);
	}
	*out = m;
	return 0;
}

int manifest_copy(struct manifest **out, const struct manifest *m) {
	struct manifest *copy = malloc(sizeof *copy);
	if (!copy)
		return -ENOMEM;
	size_t tensors = manifest_layer_tensors(m) * sizeof *m->tensor,
	       at = ((size_t)m->hp.layers + 1) * sizeof *m->at;
	*copy = *m;
	copy->tensor = malloc(tensors);
	copy->at = malloc(at);
	if (!copy->tensor || !copy->at) {
		manifest_destroy(copy);
		return -ENOMEM;
	}
	memcpy(copy->tensor, m->tensor, tensors);
	memcpy(copy->at, m->at, at);
	*out = copy;
	return 0;
}

size_t manifest_layer_tensors(const struct manifest *m) {
	return m->at[m->hp.layers];
}

size_t manifest_tensors(const struct manifest *m) {
	return manifest_layer_tensors(m) + IO_ROLES;
}

const struct manifest_tensor *manifest_tensor_at(const struct manifest *m, size_t i) {
	size_t layers = manifest_layer_tensors(m);
	return i < layers ? &m->tensor[i] : &m->io[i - layers];
}

struct manifest_tensor *manifest_find(const struct manifest *m, uint32_t layer, enum layer_role r) {
	for (uint32_t i = m->at[layer]; i < m->at[layer + 1]; i++)
		if (m->tensor[i].role == r)
			return &m->tensor[i];
	return NULL;
}

uint32_t manifest_layer_of(const struct manifest *m, size_t i) {
	uint32_t low = 0, high = m->hp.layers;
	while (high - low > 1) {
		uint32_t mid = low + (high - low) / 2;
		if (m->at[mid] <= i)
			low = mid;
		else
			high = mid;
	}
	return low;
}

void manifest_destroy(struct manifest *m) {
	int saved = errno;
	if (!m)
		return;
	free(m->tensor);
	free(m->at);
	free(m);
	errno = saved;
}

/* shape: of the tensor's layer; NULL: it is of embedding or output. */
static int manifest_check_tensor(const struct hparams *hp, const struct layer_shape *shape,
        const struct role *role, const struct manifest_tensor *t, char *err, size_t errlen) {
	const struct kern_traits *traits = kern_traits((uint32_t)t->type);
	if (!traits)
		return fail_with(-ENOTSUP, err, errlen,
		        "the manifest's %s has type %d, which Caravan does not know", role->name,
		        (int)t->type);
	if (manifest_is_small(role) && t->type != KERN_F32 && t->type != KERN_F16 && t->type != KERN_BF16) {
		return fail_with(-EINVAL, err, errlen,
		        "the manifest's %s has type %s; norms and biases are F32, F16 or BF16", role->name,
		        traits->name);
	}
	struct manifest_tensor want = manifest_shape(hp, shape, role, t->role);
	uint64_t n = want.n, rows = want.rows;
	if (n % traits->block)
		return fail_with(-EINVAL, err, errlen,
		        "the manifest's %s has rows of %" PRIu64 " elements, not a multiple of %s's %u",
		        role->name, n, traits->name, (unsigned)traits->block);
	if (want.parts > 1 && rows / want.parts % KERN_STRIP)
		return fail_with(-EINVAL, err, errlen,
		        "the manifest's %s has experts of %" PRIu64 " rows, not a multiple of %d", role->name,
		        rows / want.parts, KERN_STRIP);
	if (t->n != n || t->rows != rows || t->parts != want.parts ||
	        t->bytes != rows * kern_row_bytes(t->type, n)) {
		return fail_with(-EINVAL, err, errlen,
		        "the manifest's %s does not have the shape that the model needs", role->name);
	}
	return 0;
}

static layer_roles manifest_roles_of(const struct manifest *m, uint32_t layer) {
	layer_roles roles = 0;
	for (uint32_t i = m->at[layer]; i < m->at[layer + 1]; i++)
		roles |= LAYER_BIT(m->tensor[i].role);
	return roles;
}

static int manifest_check(const struct manifest *m, char *err, size_t errlen) {
	int rc = hparams_check(&m->hp, err, errlen);
	for (int r = 0; rc == 0 && r < IO_ROLES; r++)
		rc = manifest_check_tensor(&m->hp, NULL, &roles_of_io[r], &m->io[r], err, errlen);
	for (uint32_t l = 0; rc == 0 && l < m->hp.layers; l++)
		rc = manifest_check_roles(&m->hp, l, manifest_roles_of(m, l), err, errlen);
	if (rc == 0 && manifest_layer_tensors(m) > MANIFEST_MAX_TENSORS)
		rc = fail_with(-EINVAL, err, errlen, "the model has %zu tensors (%d are allowed)",
		        manifest_layer_tensors(m), MANIFEST_MAX_TENSORS);
	for (uint32_t l = 0; rc == 0 && l < m->hp.layers; l++) {
		struct layer_shape shape = hparams_layer(&m->hp, l);
		for (uint32_t i = m->at[l]; rc == 0 && i < m->at[l + 1]; i++)
			rc = manifest_check_tensor(&m->hp, &shape, &roles_of_layers[m->tensor[i].role],
			        &m->tensor[i], err, errlen);
	}
	return rc;
}

static void manifest_put_tensor(struct bytes_out *o, const struct manifest_tensor *t) {
	bytes_put(o, t->id.b, sizeof t->id.b);
	bytes_put_u32(o, (uint32_t)t->type);
}

/* Whether it can be written as older versions read it. */
static bool manifest_is_plain(const struct manifest *m) {
	bool plain = hparams_traits(&m->hp, NULL) == 0;
	for (uint32_t l = 0; plain && l < m->hp.layers; l++)
		plain = manifest_roles_of(m, l) == LAYER_PLAIN_BITS;
	return plain;
}

int manifest_encode(struct manifest *m, uint8_t **out, size_t *len) {
	char err[160];
	const struct hparams *hp = &m->hp;
	struct hparams_trait trait[HPARAMS_TRAITS];
	int rc = manifest_check(m, err, sizeof err);
	if (rc < 0)
		return -EINVAL;
	bool plain = manifest_is_plain(m);
	size_t traits = hparams_traits(hp, trait);
	size_t size = MANIFEST_HEAD + 4 * (size_t)hp->pairs + MANIFEST_TENSOR * manifest_tensors(m);
	if (!plain)
		size += 4 + 8 * traits + (8 + (hp->unlike ? MANIFEST_SHAPE : 0)) * (size_t)hp->layers;
	uint8_t *data = malloc(size);
	if (!data)
		return -ENOMEM;
	struct bytes_out o = {data, data + size};
	bytes_put(&o, MANIFEST_MAGIC, 4);
	bytes_put_u32(&o, plain ? MANIFEST_PLAIN : MANIFEST_VERSION);
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
	if (!plain) {
		bytes_put_u32(&o, (uint32_t)traits);
		for (size_t i = 0; i < traits; i++) {
			bytes_put_u32(&o, trait[i].id);
			bytes_put_u32(&o, trait[i].bits);
		}
		for (uint32_t l = 0; hp->unlike && l < hp->layers; l++) {
			bytes_put_u32(&o, hp->shape[l].heads);
			bytes_put_u32(&o, hp->shape[l].kv_heads);
			bytes_put_u32(&o, hp->shape[l].ffn);
		}
		for (uint32_t l = 0; l < hp->layers; l++)
			bytes_put_u64(&o, manifest_roles_of(m, l));
	}
	for (int r = 0; r < IO_ROLES; r++)
		manifest_put_tensor(&o, &m->io[r]);
	for (size_t i = 0; i < manifest_layer_tensors(m); i++)
		manifest_put_tensor(&o, &m->tensor[i]);
	m->id = content_hash(data, size);
	*out = data;
	*len = size;
	return 0;
}

/* The bytes are set only if the type allows the shape; otherwise manifest_check_tensor reports the error. */
static void manifest_get_tensor(struct bytes_in *in, struct manifest_tensor *t) {
	bytes_get_into(in, t->id.b, sizeof t->id.b);
	t->type = (enum kern_type)bytes_get_u32(in);
	const struct kern_traits *traits = kern_traits((uint32_t)t->type);
	if (traits && t->n % traits->block == 0)
		t->bytes = t->rows * kern_row_bytes(t->type, t->n);
}

/* The traits, the shapes of layers that differ, and the roles of each layer: *roles is malloc'd.  0, -EBADMSG, -ENOMEM, or -EINVAL with a sentence. */
static int manifest_get_family(
        struct bytes_in *in, struct hparams *hp, layer_roles **roles, char *err, size_t errlen) {
	uint32_t traits = bytes_get_u32(in);
	if (in->short_of || traits > HPARAMS_TRAITS)
		return -EBADMSG;
	for (uint32_t i = 0, before = 0; i < traits; i++) {
		struct hparams_trait t = {.id = bytes_get_u32(in)};
		t.bits = bytes_get_u32(in);
		if (in->short_of || t.id <= before || !t.bits)
			return -EBADMSG;
		before = t.id;
		if (hparams_set_trait(hp, &t) < 0)
			return fail_with(-EINVAL, err, errlen,
			        "the model needs a newer version of Caravan: trait %" PRIu32
			        " of its manifest is unknown",
			        t.id);
	}
	if (in->left / (8 + (hp->unlike ? MANIFEST_SHAPE : 0)) < hp->layers)
		return -EBADMSG;
	for (uint32_t l = 0; hp->unlike && l < hp->layers; l++) {
		hp->shape[l].heads = bytes_get_u32(in);
		hp->shape[l].kv_heads = bytes_get_u32(in);
		hp->shape[l].ffn = bytes_get_u32(in);
	}
	*roles = malloc(hp->layers * sizeof **roles);
	if (!*roles)
		return -ENOMEM;
	for (uint32_t l = 0; l < hp->layers; l++) {
		(*roles)[l] = bytes_get_u64(in);
		if ((*roles)[l] >> LAYER_ROLES)
			return fail_with(-EINVAL, err, errlen,
			        "the model needs a newer version of Caravan: layer %" PRIu32
			        " of its manifest has tensors that are unknown",
			        l);
	}
	return 0;
}

int manifest_decode(struct manifest **out, const uint8_t *data, size_t len, char *err, size_t errlen) {
	struct bytes_in in = {data, len, false};
	struct hparams hp = {0};
	struct content_id vocab;
	struct manifest *m = NULL;
	layer_roles *roles = NULL;
	const uint8_t *magic = bytes_get(&in, 4);
	uint32_t version = bytes_get_u32(&in);
	if (in.short_of || memcmp(magic, MANIFEST_MAGIC, 4) != 0 || version < MANIFEST_PLAIN ||
	        version > MANIFEST_VERSION)
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
	if (version > MANIFEST_PLAIN)
		rc = manifest_get_family(&in, &hp, &roles, err, errlen);
	if (rc == 0 && (rc = manifest_create(&m, &hp, roles)) < 0)
		fail_memory(err, errlen, "the manifest");
	free(roles);
	if (rc == -EBADMSG)
		goto malformed;
	if (rc < 0)
		return rc;
	if (in.left != MANIFEST_TENSOR * manifest_tensors(m))
		goto malformed;
	m->vocab = vocab;
	m->id = content_hash(data, len);
	for (int r = 0; r < IO_ROLES; r++)
		manifest_get_tensor(&in, &m->io[r]);
	for (size_t i = 0; i < manifest_layer_tensors(m); i++)
		manifest_get_tensor(&in, &m->tensor[i]);
	rc = manifest_check(m, err, errlen);
	if (rc == 0 && version > MANIFEST_PLAIN && manifest_is_plain(m))
		goto malformed; /* one model, one manifest */
	if (rc < 0) {
		manifest_destroy(m);
		return rc;
	}
	*out = m;
	return 0;
malformed:
	manifest_destroy(m);
	return fail_with(-EINVAL, err, errlen, "the manifest is not in the form that Caravan writes");
}

uint64_t manifest_layer_bytes(const struct manifest *m, uint32_t first, uint32_t last) {
	uint64_t bytes = 0;
	last = last < m->hp.layers ? last : m->hp.layers;
	for (uint32_t i = first < last ? m->at[first] : 0; first < last && i < m->at[last]; i++)
		bytes += m->tensor[i].bytes;
	return bytes;
}

uint64_t manifest_io_bytes(const struct manifest *m) {
	uint64_t bytes = m->io[IO_EMBED].bytes + m->io[IO_NORM].bytes;
	if (!content_equal(&m->io[IO_HEAD].id, &m->io[IO_EMBED].id))
		bytes += m->io[IO_HEAD].bytes;
	return bytes;
}

double manifest_read_bytes(const struct hparams *hp, const struct manifest_tensor *t, double rows) {
	if (t->parts <= 1)
		return (double)t->bytes;
	return (double)t->bytes * (1 - pow(1 - (double)hp->experts_used / t->parts, rows));
}
