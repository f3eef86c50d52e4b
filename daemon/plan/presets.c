/* presets: see presets.h.  The numbers are those of config.json in the repository that `source` names on huggingface.co:
 * num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads, intermediate_size, vocab_size,
 * max_position_embeddings, tie_word_embeddings, and head_dim where it is not the width of a head. */
#include "daemon/plan/presets.h"
#include "common/fail.h"
#include "shard/model/family.h"
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct preset {
	const char *name, *source;
	uint32_t layers, dim, heads, kv_heads, ffn, vocab, context;
	bool tied;
	const char *family; /* NULL: llama */
	uint32_t head;      /* size of a head; 0: dim / heads */
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
        {"llama3.2-1b", "meta-llama/Llama-3.2-1B", 16, 2048, 32, 8, 8192, 128256, 131072, true},
        {"llama3.2-3b", "meta-llama/Llama-3.2-3B", 28, 3072, 24, 8, 8192, 128256, 131072, true},
        {"mistral-small-24b", "mistralai/Mistral-Small-24B-Instruct-2501", 40, 5120, 32, 8, 32768, 131072,
                32768, false, NULL, 128},
        {"qwen2.5-7b", "Qwen/Qwen2.5-7B-Instruct", 28, 3584, 28, 4, 18944, 152064, 32768, false, "qwen2", 0},
        {"qwen2.5-14b", "Qwen/Qwen2.5-14B-Instruct", 48, 5120, 40, 8, 13824, 152064, 32768, false, "qwen2",
                0},
        {"qwen2.5-32b", "Qwen/Qwen2.5-32B-Instruct", 64, 5120, 40, 8, 27648, 152064, 32768, false, "qwen2",
                0},
        {"qwen2.5-72b", "Qwen/Qwen2.5-72B-Instruct", 80, 8192, 64, 8, 29568, 152064, 32768, false, "qwen2",
                0},
        {"qwen3-8b", "Qwen/Qwen3-8B", 36, 4096, 32, 8, 12288, 151936, 40960, false, "qwen3", 128},
        {"qwen3-14b", "Qwen/Qwen3-14B", 40, 5120, 40, 8, 17408, 151936, 40960, false, "qwen3", 128},
        {"qwen3-32b", "Qwen/Qwen3-32B", 64, 5120, 64, 8, 25600, 151936, 40960, false, "qwen3", 128},
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
};

/* Types of other common files, for which Caravan has no kernels. */
static const char *const not_yet[] = {"IQ3_M", "IQ3_XS", "IQ2_M", "TQ1_0", "TQ2_0"};

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

static enum kern_type mixture_out_type(const struct typing *y) {
	return y->mixture == MIX_Q2_K     ? KERN_Q3_K
	       : y->mixture == MIX_Q3_K_M ? KERN_Q4_K
	       : y->mixture == MIX_Q3_K_L ? KERN_Q5_K
	                                  : y->type;
}

static enum kern_type presets_layer_type(
        const struct typing *y, const struct hparams *hp, enum layer_role role, uint32_t layer) {
	if (manifest_layer_is_vector(role))
		return KERN_F32;
	if (y->mixture < 0)
		return y->type;
	return role == LAYER_V      ? mixture_value_type(y, hp, layer)
	       : role == LAYER_DOWN ? mixture_down_type(y, hp, layer)
	       : role == LAYER_OUT  ? mixture_out_type(y)
	                            : y->type;
}

static enum kern_type presets_io_type(const struct typing *y, enum io_role role, bool tied) {
	if (manifest_io_is_vector(role))
		return KERN_F32;
	return y->mixture >= 0 && (role == IO_HEAD || tied) ? KERN_Q6_K : y->type;
}

static bool presets_find_typing(const char *name, struct typing *out) {
	*out = (struct typing){KERN_F32, -1};
	for (int i = 0; i < MIXTURES; i++)
		if (strcasecmp(mixtures[i].name, name) == 0) {
			*out = (struct typing){mixtures[i].base, i};
			return true;
		}
	return presets_find_type(name, &out->type) != NULL;
}

/* What llama.cpp's quantize takes for rows that are not whole blocks of 256 (the same file). */
static enum kern_type presets_narrower(enum kern_type type, uint64_t n) {
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
		if (kern_traits(t) && t != KERN_Q2_K) /* listed as the mixture of that name */
			at = presets_append_name(err, errlen, at, kern_traits(t)->name, false);
	return -EINVAL;
}

int presets_manifest(struct manifest **out, const char *spec, char *err, size_t errlen) {
	const char *colon = strchr(spec, ':');
	struct typing typing;
	const struct preset *s = presets_find(spec, colon ? (size_t)(colon - spec) : strlen(spec));
	struct manifest *m;
	uint64_t name = 1;
	if (!s)
		return presets_refuse_name(spec, err, errlen);
	if (!colon || !presets_find_typing(colon + 1, &typing))
		return presets_refuse_type(colon ? colon + 1 : "", err, errlen);
	const char *name_of = s->family ? s->family : "llama";
	const struct family *family = family_named(name_of, strlen(name_of));
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
	        .halves = family->halves,
	        .plain_every = family->plain_every,
	        .eps = 1e-5f};
	for (uint32_t l = 0; l < hp.layers; l++)
		roles[l] = LAYER_PLAIN_BITS | family->needs;
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
