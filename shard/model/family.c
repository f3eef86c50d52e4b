/* family: see family.h.  What a family computes was read in its publisher's own code, and is checked against the logits of an
 * independent implementation (tests/unit/shard/check_vectors.c). */
#include "shard/model/family.h"

#include <stdio.h>
#include <string.h>

#define QKV_BIAS (LAYER_BIT(LAYER_Q_BIAS) | LAYER_BIT(LAYER_K_BIAS) | LAYER_BIT(LAYER_V_BIAS))
#define OUT_BIAS LAYER_BIT(LAYER_OUT_BIAS)
#define HALF_NORMS (LAYER_BIT(LAYER_POST_ATTN_NORM) | LAYER_BIT(LAYER_POST_FFN_NORM))
#define QK_NORM (LAYER_BIT(LAYER_Q_NORM) | LAYER_BIT(LAYER_K_NORM))
#define EXPERT_BIASES \
	(LAYER_BIT(LAYER_ROUTER_BIAS) | LAYER_BIT(LAYER_EXPERT_GATE_BIAS) | \
	        LAYER_BIT(LAYER_EXPERT_UP_BIAS) | LAYER_BIT(LAYER_EXPERT_DOWN_BIAS))

static const struct family families[] = {
        {.name = "llama", .may_have = QKV_BIAS | OUT_BIAS, .mixture = true},
        {.name = "qwen2", .needs = QKV_BIAS, .halves = true},
        {.name = "qwen3", .needs = QK_NORM, .halves = true},
        {.name = "mistral3", .may_have = OUT_BIAS},
        {.name = "granite", .scaled = true},
        {.name = "smollm3", .plain_every = 4},
        {.name = "phi3", .halves = true, .windows = true},
        {.name = "qwen2moe",
                .needs = QKV_BIAS,
                .may_have = LAYER_SHARED_BITS | LAYER_BIT(LAYER_SHARED_ROUTER),
                .halves = true,
                .mixture = true,
                .router = ROUTER_ALL},
        {.name = "qwen3moe", .needs = QK_NORM, .halves = true, .mixture = true},
        {.name = "glm4moe",
                .may_have = QKV_BIAS | QK_NORM | LAYER_BIT(LAYER_CHOICE_BIAS) | LAYER_SHARED_BITS,
                .ffn_norm = "post_attention_norm.weight",
                .halves = true,
                .mixture = true,
                .router = ROUTER_SIGMOID_ONLY},
        {.name = "gemma3",
                .needs = QK_NORM | HALF_NORMS,
                .halves = true,
                .full_every = 6,
                .window_base = 10000,
                .glu = KERN_GEGLU,
                .root_scale = true,
                .narrow_layers = 62},
        {.name = "gpt-oss",
                .needs = QKV_BIAS | OUT_BIAS | LAYER_BIT(LAYER_SINKS) | EXPERT_BIASES,
                .ffn_norm = "post_attention_norm.weight",
                .mixture = true,
                .halves = true,
                .full_every = 2,
                .glu = KERN_SWIGLU_BOUNDED},
        {.name = "deci", .skips = true},
        {.name = "deepseek2",
                .may_have = LAYER_BIT(LAYER_CHOICE_BIAS) | LAYER_SHARED_BITS,
                .latent = true,
                .mixture = true,
                .router = ROUTER_ALL},
        {.name = "qwen35",
                .needs = QK_NORM,
                .ffn_norm = "post_attention_norm.weight",
                .halves = true,
                .delta = true},
        {.name = "qwen35moe",
                .needs = QK_NORM | LAYER_SHARED_BITS | LAYER_BIT(LAYER_SHARED_ROUTER),
                .ffn_norm = "post_attention_norm.weight",
                .mixture = true,
                .halves = true,
                .delta = true},
        {.name = "qwen3next",
                .needs = QK_NORM | LAYER_SHARED_BITS | LAYER_BIT(LAYER_SHARED_ROUTER),
                .ffn_norm = "post_attention_norm.weight",
                .mixture = true,
                .halves = true,
                .delta = true,
                .heads_near = true},
};
#define FAMILIES (sizeof families / sizeof *families)

static const struct family_fused fused[] = {
        {"attn_qkv.weight", FUSED_WHOLE, 3, {LAYER_Q, LAYER_K, LAYER_V}},
        {"attn_qkv.bias", FUSED_WHOLE, 3, {LAYER_Q_BIAS, LAYER_K_BIAS, LAYER_V_BIAS}},
        {"ffn_up.weight", FUSED_WHOLE, 2, {LAYER_GATE, LAYER_UP}},
        {"ffn_gate_up_exps.weight", FUSED_BY_EXPERT, 2, {LAYER_EXPERT_GATE, LAYER_EXPERT_UP}},
        {"ssm_in.weight", FUSED_BY_KEY_HEAD, 2, {LAYER_DELTA_QKV, LAYER_DELTA_GATE}},
        {"ssm_ba.weight", FUSED_BY_KEY_HEAD, 2, {LAYER_DELTA_BETA, LAYER_DELTA_ALPHA}},
};

const struct family_fused *family_fused(enum layer_role r) {
	for (size_t i = 0; i < sizeof fused / sizeof *fused; i++)
		for (int k = 0; k < fused[i].roles; k++)
			if (fused[i].role[k] == r)
				return &fused[i];
	return NULL;
}

const struct family *family_named(const char *name, size_t len) {
	for (size_t i = 0; i < FAMILIES; i++)
		if (len == strlen(families[i].name) && memcmp(name, families[i].name, len) == 0)
			return &families[i];
	return NULL;
}

const struct family *family_of(const struct gguf *g) {
	struct gguf_string name;
	return gguf_string(g, "general.architecture", &name) < 0 ? NULL : family_named(name.s, name.len);
}

const char *family_names(char *out, size_t len) {
	size_t at = 0;
	*out = '\0';
	for (size_t i = 0; i < FAMILIES && at < len; i++)
		at += (size_t)snprintf(out + at, len - at, "%s%s",
		        i == 0              ? ""
		        : i + 1 == FAMILIES ? " and "
		                            : ", ",
		        families[i].name);
	return out;
}

const char *family_tensor_name(const struct family *f, enum layer_role r) {
	return r == LAYER_FFN_NORM && f->ffn_norm ? f->ffn_norm : manifest_layer_tensor_name(r);
}

/* Whether the file has a tensor for the role, its own or a fused one. */
static bool family_finds(const struct gguf *g, uint32_t layer, enum layer_role r) {
	const struct family_fused *f = family_fused(r);
	char name[64];
	snprintf(name, sizeof name, "blk.%u.%s", (unsigned)layer, manifest_layer_tensor_name(r));
	if (gguf_find(g, name))
		return true;
	snprintf(name, sizeof name, "blk.%u.%s", (unsigned)layer, f ? f->name : "");
	return f && gguf_find(g, name);
}

void family_roles(const struct family *f, const struct gguf *g, const struct hparams *hp, layer_roles *out) {
	for (uint32_t l = 0; l < hp->layers; l++) {
		out[l] = LAYER_PLAIN_BITS | f->needs;
		if (f->mixture && family_finds(g, l, LAYER_ROUTER))
			out[l] = (out[l] & ~LAYER_DENSE_BITS) | LAYER_MIXTURE_BITS;
		for (int r = LAYER_PLAIN; r < LAYER_ROLES; r++)
			if (f->may_have & LAYER_BIT(r) && family_finds(g, l, (enum layer_role)r))
				out[l] |= LAYER_BIT(r);
		out[l] = manifest_fit_roles(hp, l, out[l]);
	}
}
