/* presets: see presets.h.  The numbers are those of config.json in the repository that `source` names on huggingface.co:
 * num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads, intermediate_size, vocab_size,
 * max_position_embeddings, tie_word_embeddings, head_dim where it is not the width of a head; and of mixtures of experts
 * num_experts, num_experts_per_tok, moe_intermediate_size, n_shared_experts times the last, first_k_dense_replace;
 * sliding_window, and of which layers; linear_num_value_heads and linear_num_key_heads, of 128 elements; q_lora_rank, kv_lora_rank,
 * qk_rope_head_dim, qk_nope_head_dim and v_head_dim. */
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

#define SHARED_ROUTER LAYER_BIT(LAYER_SHARED_ROUTER)
#define CHOICE_BIAS LAYER_BIT(LAYER_CHOICE_BIAS)
#define HALF_NORMS (LAYER_BIT(LAYER_POST_ATTN_NORM) | LAYER_BIT(LAYER_POST_FFN_NORM))
/* one shape of several models */
#define QWEN35_35B \
	40, 2048, 16, 2, 512, 248320, 262144, false, QK_NORM | SHARED_ROUTER, 256, \
	        .experts = 256, .experts_used = 8, .expert_ffn = 512, .shared_ffn = 512, .values = 32, \
	        .keys = 16
#define DEEPSEEK_WIDTHS \
	.experts_used = 8, .expert_ffn = 2048, .shared_ffn = 2048, .query_rank = 1536, .latent = 512, \
	.rotated = 64, .plain = 128, .value = 128
#define DEEPSEEK_V3 \
	61, 7168, 128, 1, 18432, 129280, 163840, false, CHOICE_BIAS, .experts = 256, .dense = 3, \
	                                                             DEEPSEEK_WIDTHS

static const struct preset {
	const char *name, *source;
	uint32_t layers, dim, heads, kv_heads, ffn, vocab, context;
	bool tied;
	layer_roles roles; /* of each layer besides a Llama's */
	uint32_t head;     /* size of a head; 0: dim / heads */
	uint32_t experts, experts_used, expert_ffn, shared_ffn;
	uint32_t dense;              /* layers before the mixtures */
	uint32_t window, full_every; /* as in struct hparams */
	uint32_t values,
	        keys; /* heads of gated delta nets, which are in three layers of four; attention then has a gate */
	uint32_t query_rank, latent, rotated, plain, value; /* of latent attention: elements of a head */
	bool fused; /* its files have queries, keys and values in one tensor */
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
        {"qwen3-next-80b-a3b", "Qwen/Qwen3-Next-80B-A3B-Instruct", 48, 2048, 16, 2, 5120, 151936, 262144,
                false, QK_NORM | SHARED_ROUTER, 256, .experts = 512, .experts_used = 10, .expert_ffn = 512,
                .shared_ffn = 512, .values = 32, .keys = 16},
        {"qwen3.5-27b", "Qwen/Qwen3.5-27B", 64, 5120, 24, 4, 17408, 248320, 262144, false, QK_NORM, 256,
                .values = 48, .keys = 16},
        {"qwen3.6-27b", "Qwen/Qwen3.6-27B", 64, 5120, 24, 4, 17408, 248320, 262144, false, QK_NORM, 256,
                .values = 48, .keys = 16},
        {"qwen3.5-35b-a3b", "Qwen/Qwen3.5-35B-A3B", QWEN35_35B},
        {"qwen3.6-35b-a3b", "Qwen/Qwen3.6-35B-A3B", QWEN35_35B},
        {"qwen3.5-122b-a10b", "Qwen/Qwen3.5-122B-A10B", 48, 3072, 32, 2, 1024, 248320, 262144, false,
                QK_NORM | SHARED_ROUTER, 256, .experts = 256, .experts_used = 8, .expert_ffn = 1024,
                .shared_ffn = 1024, .values = 64, .keys = 16},
        {"qwen3.5-397b-a17b", "Qwen/Qwen3.5-397B-A17B", 60, 4096, 32, 2, 1024, 248320, 262144, false,
                QK_NORM | SHARED_ROUTER, 256, .experts = 512, .experts_used = 10, .expert_ffn = 1024,
                .shared_ffn = 1024, .values = 64, .keys = 16},
        {"deepseek-v3", "deepseek-ai/DeepSeek-V3", DEEPSEEK_V3},
        {"deepseek-r1", "deepseek-ai/DeepSeek-R1", DEEPSEEK_V3},
        {"kimi-k2", "moonshotai/Kimi-K2-Instruct", 61, 7168, 64, 1, 18432, 163840, 131072, false, CHOICE_BIAS,
                .experts = 384, .dense = 1, DEEPSEEK_WIDTHS},
        {"gemma3-12b", "google/gemma-3-12b-it", 48, 3840, 16, 8, 15360, 262208, 131072, true,
                QK_NORM | HALF_NORMS, 256, .window = 1024, .full_every = 6},
        {"gemma3-27b", "google/gemma-3-27b-it", 62, 5376, 32, 16, 21504, 262208, 131072, true,
                QK_NORM | HALF_NORMS, 128, .window = 1024, .full_every = 6},
        {"phi-4", "microsoft/phi-4", 40, 5120, 40, 10, 17920, 100352, 16384, false, .fused = true},
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
 * convention of llama.cpp's quantize (src/llama-quant.cpp, June 2026), here for files made with an importance matrix, without which
 * those of IQ1, IQ2 and IQ3_XXS are not made.  A type of 0 (F32) stands for the base, the type of all other matrices.
 *   head            of the output matrix, which may be the embedding too; else the embedding has `embed`
 *   value, grouped  of value matrices, and of those where four heads or more share keys and values; the first `values` layers: Q5_K
 *   query           of query and key matrices
 *   out             of the output of attention
 *   middle          of gates and ups, but for the first and the last eighth of the layers
 *   down, first     of downs, and of those in the first of `parts` parts of the layers
 *   more            values and downs of some layers are Q6_K: mixture_has_more_bits()
 *   low             other rules for values, and for models of eight experts: those of IQ1 and IQ2
 *   eight           of downs of some layers (as with `more`) where there are eight experts
 *   expert          of experts
 *   fused           of queries, keys and values in one tensor */
struct mixture {
	const char *name;
	enum kern_type base, head, embed, value, grouped, query, out, middle, down, first, eight, expert,
	        fused;
	uint32_t parts, values;
	bool more, low;
};

#define IQ2_SMALL \
	.head = KERN_Q5_K, .embed = KERN_Q2_K, .value = KERN_Q2_K, .grouped = KERN_Q4_K, .first = KERN_Q2_K, \
	.parts = 8, .low = true
#define IQ2_LARGE \
	.head = KERN_Q5_K, .embed = KERN_IQ3_S, .value = KERN_IQ3_S, .grouped = KERN_Q4_K, \
	.first = KERN_IQ3_S, .parts = 8, .out = KERN_IQ3_S, .low = true

static const struct mixture mixtures[] = {
        {"Q2_K", KERN_Q2_K, KERN_Q6_K, .value = KERN_Q3_K, .grouped = KERN_Q4_K, .out = KERN_Q3_K,
                .down = KERN_Q3_K},
        {"Q2_K_S", KERN_Q2_K, KERN_Q6_K, .grouped = KERN_Q4_K, .first = KERN_Q4_K, .parts = 8},
        {"Q3_K_S", KERN_Q3_K, KERN_Q6_K},
        {"Q3_K_M", KERN_Q3_K, KERN_Q6_K, .value = KERN_Q4_K, .values = 2, .out = KERN_Q4_K, .down = KERN_Q4_K,
                .first = KERN_Q5_K, .parts = 16, .fused = KERN_Q4_K},
        {"Q3_K_L", KERN_Q3_K, KERN_Q6_K, .value = KERN_Q5_K, .out = KERN_Q5_K, .down = KERN_Q5_K,
                .fused = KERN_Q4_K},
        {"Q4_K_S", KERN_Q4_K, KERN_Q6_K, .values = 4, .first = KERN_Q5_K, .parts = 8},
        {"Q4_K_M", KERN_Q4_K, KERN_Q6_K, .fused = KERN_Q5_K, .more = true},
        {"Q5_K_S", KERN_Q5_K, KERN_Q6_K},
        {"Q5_K_M", KERN_Q5_K, KERN_Q6_K, .fused = KERN_Q6_K, .more = true},
        {"IQ4_NL", KERN_IQ4_NL, KERN_Q6_K, .grouped = KERN_Q5_K},
        {"IQ4_XS", KERN_IQ4_XS, KERN_Q6_K, .grouped = KERN_Q5_K},
        {"IQ3_M", KERN_IQ3_S, KERN_Q6_K, .value = KERN_Q4_K, .out = KERN_Q4_K, .first = KERN_Q4_K, .parts = 8,
                .eight = KERN_Q4_K, .fused = KERN_Q4_K},
        {"IQ3_S", KERN_IQ3_S, KERN_Q6_K, .grouped = KERN_Q4_K},
        {"IQ3_XS", KERN_IQ3_S, KERN_Q6_K, .grouped = KERN_Q4_K, .query = KERN_IQ3_XXS,
                .middle = KERN_IQ3_XXS},
        {"IQ3_XXS", KERN_IQ3_XXS, KERN_Q5_K, .embed = KERN_IQ3_S, .grouped = KERN_Q4_K, .query = KERN_IQ2_S,
                .out = KERN_IQ3_S},
        {"IQ2_M", KERN_IQ2_S, IQ2_LARGE},
        {"IQ2_S", KERN_IQ2_XS, IQ2_LARGE},
        {"IQ2_XS", KERN_IQ2_XS, IQ2_SMALL},
        {"IQ2_XXS", KERN_IQ2_XXS, IQ2_SMALL},
        {"IQ1_M", KERN_IQ1_M, IQ2_SMALL, .out = KERN_IQ2_XXS},
        {"IQ1_S", KERN_IQ1_S, IQ2_SMALL, .out = KERN_IQ2_XXS},
        {"TQ1_0", KERN_TQ1_0, KERN_Q6_K, KERN_Q4_K},
        {"TQ2_0", KERN_TQ2_0, KERN_Q6_K, KERN_Q4_K},
        {"MXFP4", KERN_Q8_0, KERN_Q8_0, .expert = KERN_MXFP4},
};
enum { MIXTURES = sizeof mixtures / sizeof *mixtures };

/* The types of a model's matrices: one for all, or a mixture. */
struct typing {
	enum kern_type type;       /* of all, or the base of the mixture */
	const struct mixture *mix; /* NULL: one type for all */
};

static enum kern_type mixture_type(const struct mixture *m, enum kern_type type) {
	return type == KERN_F32 ? m->base : type;
}

/* The first and the last eighth of the layers, and every third layer in between. */
static bool mixture_has_more_bits(uint32_t layer, uint32_t layers) {
	return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

/* Mixtral's eight experts, beside which other matrices are small. */
static bool mixture_is_mixtral(const struct mixture *m, const struct hparams *hp) {
	return hp->experts == 8 && !m->expert;
}

static enum kern_type mixture_value_type(const struct mixture *m, const struct hparams *hp, uint32_t layer) {
	bool grouped = hp->heads / hp->kv_heads >= 4 || (m->low && hp->experts >= 4);
	enum kern_type t = grouped && m->grouped ? m->grouped : mixture_type(m, m->value);
	if (m->low)
		return t;
	if (mixture_is_mixtral(m, hp))
		return KERN_Q8_0;
	if (layer < m->values)
		t = KERN_Q5_K;
	if (m->more && mixture_has_more_bits(layer, hp->layers))
		t = KERN_Q6_K;
	/* models of 80 layers with grouped heads: these matrices are small */
	if (hp->layers == 80 && hp->heads != hp->kv_heads && (t == KERN_Q3_K || t == KERN_Q4_K))
		t = KERN_Q5_K;
	return t;
}

static enum kern_type mixture_key_type(const struct mixture *m, const struct hparams *hp) {
	if (mixture_is_mixtral(m, hp))
		return m->low ? KERN_Q4_K : KERN_Q8_0;
	return mixture_type(m, m->query);
}

static enum kern_type mixture_out_type(const struct mixture *m, const struct hparams *hp) {
	return mixture_is_mixtral(m, hp) ? KERN_Q5_K : mixture_type(m, m->out);
}

static enum kern_type mixture_down_type(const struct mixture *m, const struct hparams *hp, uint32_t layer) {
	if (m->first && layer < hp->layers / m->parts)
		return m->first;
	if (m->more && mixture_has_more_bits(layer, hp->layers))
		return KERN_Q6_K;
	if (m->eight && hp->experts == 8 && mixture_has_more_bits(layer, hp->layers))
		return m->eight;
	return mixture_type(m, m->down);
}

static enum kern_type mixture_middle_type(const struct mixture *m, const struct hparams *hp, uint32_t layer) {
	bool middle = layer >= hp->layers / 8 && layer < 7 * hp->layers / 8;
	return mixture_type(m, middle ? m->middle : KERN_F32);
}

static enum kern_type presets_layer_type(
        const struct typing *y, const struct hparams *hp, bool fused, enum layer_role role, uint32_t layer) {
	const struct mixture *m = y->mix;
	if (manifest_layer_is_vector(role) || role == LAYER_ROUTER)
		return KERN_F32;
	if (!m)
		return y->type;
	if (role == LAYER_DELTA_QKV || (fused && (role == LAYER_Q || role == LAYER_K || role == LAYER_V)))
		return mixture_type(m, m->fused);
	switch (role) {
	case LAYER_Q:
		return mixture_type(m, m->query);
	case LAYER_K:
		return mixture_key_type(m, hp);
	case LAYER_V:
		return mixture_value_type(m, hp, layer);
	case LAYER_OUT:
		return mixture_out_type(m, hp);
	case LAYER_EXPERT_GATE:
	case LAYER_EXPERT_UP:
		return m->expert ? m->expert : mixture_middle_type(m, hp, layer);
	case LAYER_GATE:
	case LAYER_UP:
	case LAYER_SHARED_GATE:
	case LAYER_SHARED_UP:
		return mixture_middle_type(m, hp, layer);
	case LAYER_EXPERT_DOWN:
		return m->expert ? m->expert : mixture_down_type(m, hp, layer);
	case LAYER_DOWN:
	case LAYER_SHARED_DOWN:
		return mixture_down_type(m, hp, layer);
	default:
		return y->type;
	}
}

static enum kern_type presets_io_type(const struct typing *y, enum io_role role, bool tied) {
	if (manifest_io_is_vector(role))
		return KERN_F32;
	if (!y->mix)
		return y->type;
	return role == IO_HEAD || tied ? y->mix->head : mixture_type(y->mix, y->mix->embed);
}

static bool presets_find_typing(const struct preset *p, const char *name, struct typing *out) {
	*out = (struct typing){KERN_F32, NULL};
	for (size_t i = 0; i < MIXTURES; i++)
		if (strcasecmp(mixtures[i].name, name) == 0 && (!mixtures[i].expert || p->experts)) {
			*out = (struct typing){mixtures[i].base, &mixtures[i]};
			return true;
		}
	return presets_find_type(name, &out->type) != NULL;
}

enum kern_type presets_narrower(enum kern_type type, uint64_t n) {
	if (n % kern_traits((uint32_t)type)->block == 0)
		return type;
	switch (type) {
	case KERN_Q2_K:
	case KERN_Q3_K:
	case KERN_TQ1_0:
	case KERN_TQ2_0:
		return KERN_Q4_0;
	case KERN_Q4_K:
		return KERN_Q5_0;
	case KERN_Q5_K:
		return KERN_Q5_1;
	case KERN_Q6_K:
		return KERN_Q8_0;
	default:
		return KERN_IQ4_NL;
	}
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

/* Some mixtures have the name of a type. */
static bool presets_is_mixture(const char *name) {
	for (size_t i = 0; i < MIXTURES; i++)
		if (strcasecmp(mixtures[i].name, name) == 0)
			return true;
	return false;
}

static int presets_refuse_type(const char *name, char *err, size_t errlen) {
	size_t at = (size_t)snprintf(err, errlen, "unknown weight type '%.32s'; known are", name);
	for (size_t i = 0; i < MIXTURES; i++)
		at = presets_append_name(err, errlen, at, mixtures[i].name, i == 0);
	for (uint32_t t = 0; t < KERN_TYPES; t++)
		if (kern_traits(t) && !presets_is_mixture(kern_traits(t)->name))
			at = presets_append_name(err, errlen, at, kern_traits(t)->name, false);
	return -EINVAL;
}

static layer_roles presets_roles(const struct preset *s, const struct hparams *hp, uint32_t layer) {
	layer_roles roles = LAYER_PLAIN_BITS | s->roles;
	if (s->experts && layer >= s->dense)
		roles = (roles & ~DENSE) | MIXTURE | (s->shared_ffn ? SHARED : 0);
	else
		roles &= ~(MIXTURE_BIASES | CHOICE_BIAS | SHARED_ROUTER);
	return manifest_fit_roles(hp, layer, roles);
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
	uint32_t head = s->latent ? s->latent + s->rotated : s->head ? s->head : s->dim / s->heads;
	struct hparams hp = {.layers = s->layers,
	        .dim = s->dim,
	        .heads = s->heads,
	        .kv_heads = s->kv_heads,
	        .head_size = head,
	        .ffn = s->ffn,
	        .vocab = s->vocab,
	        .context = s->context,
	        .pairs = (s->latent ? s->rotated : head) / 2,
	        .experts = s->experts,
	        .experts_used = s->experts_used,
	        .expert_ffn = s->expert_ffn,
	        .shared_ffn = s->shared_ffn,
	        .window = s->window,
	        .full_every = s->full_every,
	        .attention_every = s->values ? 4 : 0,
	        .state_heads = s->values,
	        .state_groups = s->keys,
	        .state_size = s->values ? 128 : 0,
	        .gated = s->values > 0,
	        .latent = s->latent,
	        .query_head = s->latent ? s->plain + s->rotated : 0,
	        .value_head = s->value,
	        .query_rank = s->query_rank,
	        .eps = 1e-5f};
	for (uint32_t l = 0; l < hp.layers; l++)
		roles[l] = presets_roles(s, &hp, l);
	if (manifest_create(&m, &hp, roles))
		return fail_with(-ENOMEM, err, errlen, "out of memory while planning");
	for (uint32_t l = 0; l < hp.layers; l++)
		for (uint32_t i = m->at[l]; i < m->at[l + 1]; i++) {
			enum layer_role r = (enum layer_role)m->tensor[i].role;
			presets_fill_tensor(
			        &m->tensor[i], presets_layer_type(&typing, &hp, s->fused, r, l), name++);
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
