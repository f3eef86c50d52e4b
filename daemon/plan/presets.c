/* presets: see presets.h.  The numbers are those of config.json in the repository that `source` names on huggingface.co:
 * num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads, intermediate_size, vocab_size,
 * max_position_embeddings, tie_word_embeddings, head_dim where it is not the width of a head; and of mixtures of experts
 * num_experts, num_experts_per_tok, moe_intermediate_size, n_shared_experts times the last, first_k_dense_replace;
 * sliding_window, and of which layers. */
#include "daemon/plan/presets.h"
#include "common/fail.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define QKV_BIAS (LAYER_BIT(LAYER_Q_BIAS) | LAYER_BIT(LAYER_K_BIAS) | LAYER_BIT(LAYER_V_BIAS))
#define QK_NORM (LAYER_BIT(LAYER_Q_NORM) | LAYER_BIT(LAYER_K_NORM))
#define DENSE (LAYER_BIT(LAYER_GATE) | LAYER_BIT(LAYER_UP) | LAYER_BIT(LAYER_DOWN))
#define MIXTURE \
	(LAYER_BIT(LAYER_ROUTER) | LAYER_BIT(LAYER_EXPERT_GATE) | LAYER_BIT(LAYER_EXPERT_UP) | \
	        LAYER_BIT(LAYER_EXPERT_DOWN))
#define MIXTURE_BIASES \
	(LAYER_BIT(LAYER_ROUTER_BIAS) | LAYER_BIT(LAYER_EXPERT_GATE_BIAS) | \
	        LAYER_BIT(LAYER_EXPERT_UP_BIAS) | LAYER_BIT(LAYER_EXPERT_DOWN_BIAS))
#define SHARED (LAYER_BIT(LAYER_SHARED_GATE) | LAYER_BIT(LAYER_SHARED_UP) | LAYER_BIT(LAYER_SHARED_DOWN))

static const struct preset {
	const char *name, *source;
	uint32_t layers, dim, heads, kv_heads, ffn, vocab, context;
	bool tied;
	layer_roles roles; /* of each layer besides a Llama's */
	uint32_t head;     /* size of a head; 0: dim / heads */
	uint32_t experts, experts_used, expert_ffn, shared_ffn;
	uint32_t dense;              /* layers before the mixtures */
	uint32_t window, full_every; /* as in struct hparams */
} presets[] = {
        {"tinyllama-1.1b", "TinyLlama/TinyLlama-1.1B-Chat-v1.0", 22, 2048, 32, 4, 5632, 32000, 2048, false},
        {"llama2-7b", "meta-llama/Llama-2-7b-hf", 32, 4096, 32, 32, 11008, 32000, 4096, false},
        {"llama2-13b", "meta-llama/Llama-2-13b-hf", 40, 5120, 40, 40, 13824, 32000, 4096, false},
        {"llama2-70b", "meta-llama/Llama-2-70b-hf", 80, 8192, 64, 8, 28672, 32000, 4096, false},
        {"llama3-8b", "meta-llama/Meta-Llama-3-8B", 32, 4096, 32, 8, 14336, 128256, 8192, false},
        {"llama3-70b", "meta-llama/Meta-Llama-3-70B", 80, 8192, 64, 8, 28672, 128256, 8192, false},
        {"llama3.1-8b", "meta-llama/Llama-3.1-8B", 32, 4096, 32, 8, 14336, 128256, 131072, false},
        {"llama3.1-70b", "meta-llama/Llama-3.1-70B", 80, 8192, 64, 8, 28672, 128256, 131072, false},
        {"llama3.1-405b", "meta-llama/Llama-3.1-405B", 126, 16384, 128, 8, 53248, 128256, 131072, false},
        {"llama3-405b", "meta-llama/Llama-3.1-405B", 126, 16384, 128, 8, 53248, 128256, 131072, false},
        {"llama3.2-1b", "meta-llama/Llama-3.2-1B", 16, 2048, 32, 8, 8192, 128256, 131072, true},
        {"llama3.2-3b", "meta-llama/Llama-3.2-3B", 28, 3072, 24, 8, 8192, 128256, 131072, true},
        {"mistral-small-24b", "mistralai/Mistral-Small-24B-Instruct-2501", 40, 5120, 32, 8, 32768, 131072,
                32768, false, 0, 128},
        {"qwen2.5-7b", "Qwen/Qwen2.5-7B-Instruct", 28, 3584, 28, 4, 18944, 152064, 32768, false, QKV_BIAS},
        {"qwen2.5-14b", "Qwen/Qwen2.5-14B-Instruct", 48, 5120, 40, 8, 13824, 152064, 32768, false, QKV_BIAS},
        {"qwen2.5-32b", "Qwen/Qwen2.5-32B-Instruct", 64, 5120, 40, 8, 27648, 152064, 32768, false, QKV_BIAS},
        {"qwen2.5-72b", "Qwen/Qwen2.5-72B-Instruct", 80, 8192, 64, 8, 29568, 152064, 32768, false, QKV_BIAS},
        {"qwen3-8b", "Qwen/Qwen3-8B", 36, 4096, 32, 8, 12288, 151936, 40960, false, QK_NORM, 128},
        {"qwen3-14b", "Qwen/Qwen3-14B", 40, 5120, 40, 8, 17408, 151936, 40960, false, QK_NORM, 128},
        {"qwen3-32b", "Qwen/Qwen3-32B", 64, 5120, 64, 8, 25600, 151936, 40960, false, QK_NORM, 128},
        {"mixtral-8x7b", "mistralai/Mixtral-8x7B-Instruct-v0.1", 32, 4096, 32, 8, 14336, 32000, 32768, false,
                .experts = 8, .experts_used = 2, .expert_ffn = 14336},
        {"qwen3-30b-a3b", "Qwen/Qwen3-30B-A3B", 48, 2048, 32, 4, 6144, 151936, 40960, false, QK_NORM, 128,
                .experts = 128, .experts_used = 8, .expert_ffn = 768},
        {"qwen3-235b-a22b", "Qwen/Qwen3-235B-A22B", 94, 4096, 64, 4, 12288, 151936, 40960, false, QK_NORM,
                128, .experts = 128, .experts_used = 8, .expert_ffn = 1536},
        {"gpt-oss-20b", "openai/gpt-oss-20b", 24, 2880, 64, 8, 2880, 201088, 131072, false,
                QKV_BIAS | LAYER_BIT(LAYER_OUT_BIAS) | LAYER_BIT(LAYER_SINKS) | MIXTURE_BIASES, 64,
                .experts = 32, .experts_used = 4, .expert_ffn = 2880, .window = 128, .full_every = 2},
        {"gpt-oss-120b", "openai/gpt-oss-120b", 36, 2880, 64, 8, 2880, 201088, 131072, false,
                QKV_BIAS | LAYER_BIT(LAYER_OUT_BIAS) | LAYER_BIT(LAYER_SINKS) | MIXTURE_BIASES, 64,
                .experts = 128, .experts_used = 4, .expert_ffn = 2880, .window = 128, .full_every = 2},
        {"glm-4.5-air", "zai-org/GLM-4.5-Air", 46, 4096, 96, 8, 10944, 151552, 131072, false, QKV_BIAS, 128,
                .experts = 128, .experts_used = 8, .expert_ffn = 1408, .shared_ffn = 1408, .dense = 1},
};

static const struct preset *presets_find(const char *name, size_t len) {
	for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
		if (strlen(presets[i].name) == len && strncasecmp(presets[i].name, name, len) == 0)
			return &presets[i];
	return NULL;
}

static const struct kern_traits *presets_find_type(const char *name, enum kern_type *type) {
	for (uint32_t t = 0; t < KERN_TYPES; t++) {
		const struct kern_traits *traits = kern_traits(t);
		if (traits && strcasecmp(traits->name, name) == 0) {
			*type = (enum kern_type)t;
			return traits;
		}
	}
	return NULL;
}

/* ---- mixtures of weight types ---- */

/* Files of these names mix types: matrices that lose more to quantization get more bits.  Which matrices these are is a
 * convention of llama.cpp's quantize (src/llama-quant.cpp, as of 2026).  base: the type of all other matrices. */
enum mixture_name {
	MIX_Q2_K,
	MIX_Q3_K_S,
	MIX_Q3_K_M,
	MIX_Q3_K_L,
	MIX_Q4_K_S,
	MIX_Q4_K_M,
	MIX_Q5_K_S,
	MIX_Q5_K_M,
	MIX_MXFP4, /* experts alone are of that type */
	MIXTURES
};

static const struct mixture {
	const char *name;
	enum kern_type base;
} mixtures[MIXTURES] = {
        [MIX_Q2_K] = {"Q2_K", KERN_Q2_K},
        [MIX_Q3_K_S] = {"Q3_K_S", KERN_Q3_K},
        [MIX_Q3_K_M] = {"Q3_K_M", KERN_Q3_K},
        [MIX_Q3_K_L] = {"Q3_K_L", KERN_Q3_K},
        [MIX_Q4_K_S] = {"Q4_K_S", KERN_Q4_K},
        [MIX_Q4_K_M] = {"Q4_K_M", KERN_Q4_K},
        [MIX_Q5_K_S] = {"Q5_K_S", KERN_Q5_K},
        [MIX_Q5_K_M] = {"Q5_K_M", KERN_Q5_K},
        [MIX_MXFP4] = {"MXFP4", KERN_Q8_0},
};

/* Types of other common files, for which Caravan has no kernels. */
static const char *const not_yet[] = {"IQ3_M", "IQ3_XS", "IQ2_M"};

/* The types of a model's matrices: one for all, or a mixture. */
struct typing {
	enum kern_type type; /* of all, or the base of the mixture */
	int mixture;         /* -1: one type for all */
};

/* The first and the last eighth of the layers, and every third layer in between. */
static bool mixture_has_more_bits(uint32_t layer, uint32_t layers) {
	return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

static enum kern_type mixture_value_type(const struct typing *y, const struct hparams *hp, uint32_t layer) {
	enum kern_type t = y->type;
	bool grouped = hp->heads / hp->kv_heads >= 4;
	switch (y->mixture) {
	case MIX_Q2_K:
		t = grouped ? KERN_Q4_K : KERN_Q3_K;
		break;
	case MIX_Q3_K_M:
		t = layer < 2 ? KERN_Q5_K : KERN_Q4_K;
		break;
	case MIX_Q3_K_L:
		t = KERN_Q5_K;
		break;
	case MIX_Q4_K_S:
		t = layer < 4 ? KERN_Q5_K : t;
		break;
	case MIX_Q4_K_M:
	case MIX_Q5_K_M:
		t = mixture_has_more_bits(layer, hp->layers) ? KERN_Q6_K : t;
		break;
	default:
		break;
	}
	if (hp->experts == 8) /* Mixtral's: they are small beside its experts */
		return KERN_Q8_0;
	/* models of 80 layers with grouped heads: these matrices are small */
	if (hp->layers == 80 && hp->heads != hp->kv_heads && (t == KERN_Q3_K || t == KERN_Q4_K))
		t = KERN_Q5_K;
	return t;
}

static enum kern_type mixture_down_type(const struct typing *y, const struct hparams *hp, uint32_t layer) {
	switch (y->mixture) {
	case MIX_Q2_K:
		return KERN_Q3_K;
	case MIX_Q3_K_M:
		return layer < hp->layers / 16 ? KERN_Q5_K : KERN_Q4_K;
	case MIX_Q3_K_L:
		return KERN_Q5_K;
	case MIX_Q4_K_S:
		return layer < hp->layers / 8 ? KERN_Q5_K : y->type;
	case MIX_Q4_K_M:
	case MIX_Q5_K_M:
		return mixture_has_more_bits(layer, hp->layers) ? KERN_Q6_K : y->type;
	default:
		return y->type;
	}
}

static enum kern_type mixture_out_type(const struct typing *y, const struct hparams *hp) {
	if (hp->experts == 8 && y->mixture != MIX_MXFP4)
		return KERN_Q5_K;
	return y->mixture == MIX_Q2_K     ? KERN_Q3_K
	       : y->mixture == MIX_Q3_K_M ? KERN_Q4_K
	       : y->mixture == MIX_Q3_K_L ? KERN_Q5_K
	                                  : y->type;
}

static enum kern_type presets_layer_type(
        const struct typing *y, const struct hparams *hp, enum layer_role role, uint32_t layer) {
	if (manifest_layer_is_vector(role) || role == LAYER_ROUTER)
		return KERN_F32;
	if (y->mixture < 0)
		return y->type;
	switch (role) {
	case LAYER_K:
		return hp->experts == 8 && y->mixture != MIX_MXFP4 ? KERN_Q8_0 : y->type;
	case LAYER_V:
		return mixture_value_type(y, hp, layer);
	case LAYER_DOWN:
	case LAYER_SHARED_DOWN:
		return mixture_down_type(y, hp, layer);
	case LAYER_OUT:
		return mixture_out_type(y, hp);
	case LAYER_EXPERT_GATE:
	case LAYER_EXPERT_UP:
		return y->mixture == MIX_MXFP4 ? KERN_MXFP4 : y->type;
	case LAYER_EXPERT_DOWN:
		return y->mixture == MIX_MXFP4 ? KERN_MXFP4 : mixture_down_type(y, hp, layer);
	default:
		return y->type;
	}
}

static enum kern_type presets_io_type(const struct typing *y, enum io_role role, bool tied) {
	if (manifest_io_is_vector(role))
		return KERN_F32;
	return y->mixture >= 0 && y->mixture != MIX_MXFP4 && (role == IO_HEAD || tied) ? KERN_Q6_K : y->type;
}

static bool presets_find_typing(const struct preset *p, const char *name, struct typing *out) {
	*out = (struct typing){KERN_F32, -1};
	for (int i = 0; i < MIXTURES; i++)
		if (strcasecmp(mixtures[i].name, name) == 0 && (i != MIX_MXFP4 || p->experts)) {
			*out = (struct typing){mixtures[i].base, i};
			return true;
		}
	return presets_find_type(name, &out->type) != NULL;
}

enum kern_type presets_narrower(enum kern_type type, uint64_t n) {
	if (n % kern_traits((uint32_t)type)->block == 0)
		return type;
	return type == KERN_Q4_K   ? KERN_Q5_0
	       : type == KERN_Q5_K ? KERN_Q5_1
	       : type == KERN_Q6_K ? KERN_Q8_0
	                           : KERN_IQ4_NL;
}

static void presets_fill_tensor(struct manifest_tensor *t, enum kern_type type, uint64_t name) {
	t->type = type = presets_narrower(type, t->n);
	t->bytes = t->rows * kern_row_bytes(type, t->n);
	memcpy(t->id.b, &name, sizeof name);
}

/* Appends a name to the list at err + at; returns where the list ends. */
static size_t presets_append_name(char *err, size_t errlen, size_t at, const char *name, bool first) {
	int n = at < errlen ? snprintf(err + at, errlen - at, "%s%s", first ? " " : ", ", name) : 0;
	return at + (n > 0 ? (size_t)n : 0);
}

static int presets_refuse_name(const char *spec, char *err, size_t errlen) {
	size_t at = (size_t)snprintf(err, errlen, "unknown shape '%.64s'; known, with :TYPE, are", spec);
	for (size_t i = 0; i < sizeof presets / sizeof *presets; i++)
		at = presets_append_name(err, errlen, at, presets[i].name, i == 0);
	return -EINVAL;
}

static int presets_refuse_type(const char *name, char *err, size_t errlen) {
	for (size_t i = 0; i < sizeof not_yet / sizeof *not_yet; i++)
		if (strcasecmp(not_yet[i], name) == 0)
			return fail_with(-ENOTSUP, err, errlen,
			        "weights of type %s are not supported yet: there are no kernels for them",
			        not_yet[i]);
	size_t at = (size_t)snprintf(err, errlen, "unknown weight type '%.32s'; known are", name);
	for (int i = 0; i < MIXTURES; i++)
		at = presets_append_name(err, errlen, at, mixtures[i].name, i == 0);
	for (uint32_t t = 0; t < KERN_TYPES; t++)
		if (kern_traits(t) && t != KERN_Q2_K &&
		        t != KERN_MXFP4) /* listed as the mixtures of their names */
			at = presets_append_name(err, errlen, at, kern_traits(t)->name, false);
	return -EINVAL;
}

static layer_roles presets_roles(const struct preset *s, uint32_t layer) {
	layer_roles roles = LAYER_PLAIN_BITS | s->roles;
	if (s->experts && layer >= s->dense)
		return (roles & ~DENSE) | MIXTURE | (s->shared_ffn ? SHARED : 0);
	return roles & ~MIXTURE_BIASES;
}

int presets_manifest(struct manifest **out, const char *spec, char *err, size_t errlen) {
	const char *colon = strchr(spec, ':');
	struct typing typing;
	const struct preset *s = presets_find(spec, colon ? (size_t)(colon - spec) : strlen(spec));
	struct manifest *m;
	uint64_t name = 1;
	if (!s)
		return presets_refuse_name(spec, err, errlen);
	if (!colon || !presets_find_typing(s, colon + 1, &typing))
		return presets_refuse_type(colon ? colon + 1 : "", err, errlen);
	layer_roles roles[HPARAMS_MAX_LAYERS];
	uint32_t head = s->head ? s->head : s->dim / s->heads;
	struct hparams hp = {.layers = s->layers,
	        .dim = s->dim,
	        .heads = s->heads,
	        .kv_heads = s->kv_heads,
	        .head_size = head,
	        .ffn = s->ffn,
	        .vocab = s->vocab,
	        .context = s->context,
	        .pairs = head / 2,
	        .experts = s->experts,
	        .experts_used = s->experts_used,
	        .expert_ffn = s->expert_ffn,
	        .shared_ffn = s->shared_ffn,
	        .window = s->window,
	        .full_every = s->full_every,
	        .eps = 1e-5f};
	for (uint32_t l = 0; l < hp.layers; l++)
		roles[l] = presets_roles(s, l);
	if (manifest_create(&m, &hp, roles))
		return fail_with(-ENOMEM, err, errlen, "out of memory while planning");
	for (uint32_t l = 0; l < hp.layers; l++)
		for (uint32_t i = m->at[l]; i < m->at[l + 1]; i++) {
			enum layer_role r = (enum layer_role)m->tensor[i].role;
			presets_fill_tensor(&m->tensor[i], presets_layer_type(&typing, &hp, r, l), name++);
		}
	for (int r = 0; r < IO_ROLES; r++)
		presets_fill_tensor(&m->io[r], presets_io_type(&typing, (enum io_role)r, s->tied), name++);
	if (s->tied)
		m->io[IO_HEAD].id = m->io[IO_EMBED].id;
	for (size_t i = 0; i < manifest_layer_tensors(m); i++) {
		const struct kern_traits *traits = kern_traits((uint32_t)m->tensor[i].type);
		if (m->tensor[i].n % traits->block) {
			snprintf(err, errlen,
			        "%s cannot have weights of type %s: its rows are not whole blocks", s->name,
			        traits->name);
			manifest_destroy(m);
			return -EINVAL;
		}
	}
	*out = m;
	return 0;
}
