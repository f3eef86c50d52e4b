/* hparams: reads the keys of a model's family, and refuses values that Caravan would not compute correctly.  The defaults
 * are those of llama.cpp, whose converters write these files. */
#include "shard/model/hparams.h"
#include "common/fail.h"
#include "kernels/kernels.h"
#include "kernels/math.h"
#include "shard/gguf/gguf.h"
#include "shard/model/family.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define SCALE_LEAST 1e-6f /* of traits that are scales */
#define SCALE_MOST 1e6f
#define PI 3.14159265358979323846

/* Keys that are read below, or that have no effect; without the family's name. */
static const char *const known_keys[] = {
        "attention.causal",
        "attention.clamp_kqv",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.key_length_mla",
        "attention.kv_lora_rank",
        "attention.layer_norm_epsilon", /* for models with LayerNorm, not for these */
        "attention.layer_norm_rms_epsilon",
        "attention.max_alibi_bias",
        "attention.q_lora_rank",
        "attention.recurrent_layers",
        "attention.scale",
        "attention.sliding_window",
        "attention.sliding_window_pattern",
        "attention.temperature_scale",
        "attention.value_length",
        "attention.value_length_mla",
        "attn_logit_softcapping",
        "block_count",
        "context_length",
        "embedding_length",
        "embedding_scale",
        "expert_count",
        "expert_feed_forward_length",
        "expert_gating_func",
        "expert_group_count",
        "expert_group_used_count",
        "expert_shared_count",
        "expert_shared_feed_forward_length",
        "expert_used_count",
        "expert_weights_norm",
        "expert_weights_scale",
        "feed_forward_length",
        "final_logit_softcapping",
        "full_attention_interval",
        "leading_dense_block_count", /* the tensors say which layers are dense */
        "logit_scale",
        "nextn_predict_layers",
        "residual_scale",
        "rope.dimension_count",
        "rope.dimension_sections", /* no effect on text, whose positions are the same in all of them */
        "rope.freq_base",
        "rope.freq_base_swa",
        "rope.scale_linear",
        "rope.scaling.attn_factor",
        "rope.scaling.factor",
        "rope.scaling.finetuned", /* no effect */
        "rope.scaling.original_context_length",
        "rope.scaling.type",
        "rope.scaling.yarn_attn_factor", /* no effect: rope.scaling.attn_factor counts */
        "rope.scaling.yarn_beta_fast",
        "rope.scaling.yarn_beta_slow",
        "rope.scaling.yarn_ext_factor",
        "rope.scaling.yarn_log_multiplier",
        "ssm.conv_kernel",
        "ssm.group_count",
        "ssm.inner_size",
        "ssm.state_size",
        "ssm.time_step_rank",
        "tensor_data_layout",
        "use_parallel_residual",
        "vocab_size",
};

/* Reads from one file; also for messages. */
struct reader {
	const struct gguf *g;
	const struct family *family;
	uint32_t context; /* as in hparams_from_gguf */
	char *err;
	size_t errlen;
};

/* A key of the family. */
struct key {
	char s[96];
};
static struct key hparams_key(const struct reader *r, const char *name) {
	struct key k;
	snprintf(k.s, sizeof k.s, "%s.%s", r->family->name, name);
	return k;
}

/* name: of a key of the family */
static int hparams_fail_key(const struct reader *r, const char *name, const char *why) {
	return fail_with(-EINVAL, r->err, r->errlen, "%s %s", hparams_key(r, name).s, why);
}

/* A number; an array with one per layer is accepted if all are equal.  -ENOENT leaves *out unchanged. */
static int hparams_read_u32(const struct reader *r, const char *name, uint32_t *out) {
	struct key key = hparams_key(r, name);
	enum gguf_kind kind;
	uint64_t count;
	int64_t v, first = 0;
	int rc = gguf_u32(r->g, key.s, out);
	if (rc != -EINVAL)
		return rc;
	if (gguf_array(r->g, key.s, &kind, &count) < 0 || count < 1)
		return hparams_fail_key(r, name, "is not a valid number");
	for (uint64_t i = 0; i < count; i++) {
		if (gguf_array_i64(r->g, key.s, i, &v) < 0 || v < 0 || v > UINT32_MAX)
			return hparams_fail_key(r, name, "is not a valid number");
		if (i == 0)
			first = v;
		if (v != first)
			return fail_with(-ENOTSUP, r->err, r->errlen,
			        "%s differs between layers (%" PRId64 " and %" PRId64
			        "), which Caravan does not know",
			        key.s, first, v);
	}
	*out = (uint32_t)first;
	return 0;
}

/* Whether an array has an element for each layer; the MTP layers (hparams_unused_layers) may be left out. */
static bool hparams_has_layers(const struct reader *r, const char *name, uint32_t layers) {
	enum gguf_kind kind;
	uint64_t count;
	return gguf_array(r->g, hparams_key(r, name).s, &kind, &count) == 0 &&
	       (count == layers || count == (uint64_t)layers + hparams_unused_layers(r->g));
}

/* Every so many layers one is of another kind, the last of them: from an array that says of each layer whether it is of the usual kind.
 * 0: all are.  -ENOENT leaves *every unchanged. */
static int hparams_read_every(const struct reader *r, const char *name, uint32_t layers, uint32_t *every) {
	struct key key = hparams_key(r, name);
	enum gguf_kind kind;
	uint64_t count;
	bool usual;
	if (gguf_array(r->g, key.s, &kind, &count) == -ENOENT)
		return -ENOENT;
	if (!hparams_has_layers(r, name, layers))
		return hparams_fail_key(r, name, "is not a truth value for each layer");
	*every = 0;
	for (uint32_t l = 0; l < layers; l++) {
		if (gguf_array_bool(r->g, key.s, l, &usual) < 0)
			return hparams_fail_key(r, name, "is not a truth value for each layer");
		if (!usual && !*every)
			*every = l + 1;
		if (usual == (*every && (l + 1) % *every == 0))
			return fail_with(-ENOTSUP, r->err, r->errlen,
			        "%s is not false every so many layers alone, which Caravan does not know",
			        key.s);
	}
	return 0;
}

/* A missing key is fine and leaves *out unchanged. */
static int hparams_may_read_u32(const struct reader *r, const char *name, uint32_t *out) {
	int rc = hparams_read_u32(r, name, out);
	return rc == -ENOENT ? 0 : rc;
}

static int hparams_need_u32(const struct reader *r, const char *name, uint32_t *out) {
	int rc = hparams_read_u32(r, name, out);
	if (rc == -ENOENT) {
		hparams_fail_key(r, name, "is missing");
		return -EINVAL;
	}
	return rc;
}

/* -ENOENT leaves *out unchanged. */
static int hparams_read_f32(const struct reader *r, const char *name, float *out) {
	int rc = gguf_f32(r->g, hparams_key(r, name).s, out);
	if (rc == -EINVAL || (rc == 0 && !isfinite(*out)))
		return hparams_fail_key(r, name, "is not a valid number");
	return rc;
}

/* The same; 0 when it is absent. */
static int hparams_may_read_f32(const struct reader *r, const char *name, float *out) {
	int rc = hparams_read_f32(r, name, out);
	return rc == -ENOENT ? 0 : rc;
}

/* A number for which Caravan supports only `neutral`. */
static int hparams_refuse_f32(const struct reader *r, const char *name, float neutral, float neutral_too) {
	float v = neutral;
	int rc = hparams_may_read_f32(r, name, &v);
	if (rc < 0)
		return rc;
	if (v != neutral && v != neutral_too)
		return fail_with(-ENOTSUP, r->err, r->errlen, "%s is %g, which Caravan does not know",
		        hparams_key(r, name).s, (double)v);
	return 0;
}

static int hparams_refuse_u32(const struct reader *r, const char *name, uint32_t most) {
	uint32_t v = 0;
	int rc = hparams_may_read_u32(r, name, &v);
	if (rc == 0 && v > most)
		return fail_with(-ENOTSUP, r->err, r->errlen,
		        "%s is %" PRIu32 ", which Caravan does not know", hparams_key(r, name).s, v);
	return rc;
}

static int hparams_refuse_bool(const struct reader *r, const char *name, bool neutral) {
	bool v = neutral;
	int rc = gguf_bool(r->g, hparams_key(r, name).s, &v);
	if (rc == -EINVAL)
		return hparams_fail_key(r, name, "is not a boolean");
	if (v != neutral)
		return fail_with(-ENOTSUP, r->err, r->errlen, "%s is %s, which Caravan does not know",
		        hparams_key(r, name).s, v ? "true" : "false");
	return 0;
}

static bool hparams_is(struct gguf_string s, const char *text) {
	return s.len == strlen(text) && memcmp(s.s, text, s.len) == 0;
}

/* A GGUF file may contain something other than a model. */
static int hparams_check_kind(const struct reader *r) {
	static const struct {
		const char *type, *what;
	} others[] = {
	        {"adapter",
	                "this is a LoRA adapter, which Caravan does not apply: load its model, or merge the two "
	                "first (llama-export-lora of llama.cpp)"},
	        {"mmproj",
	                "this is the projector of a model that sees or hears, not the model: Caravan reads only text"},
	        {"imatrix", "this is an importance matrix for quantising, not a model"},
	};
	struct gguf_string s;
	char shown[80];
	if (gguf_string(r->g, "adapter.type", &s) == 0)
		s = (struct gguf_string){"adapter", 7}; /* early adapters had no general.type */
	else if (gguf_string(r->g, "general.type", &s) < 0 || hparams_is(s, "model"))
		return 0;
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (hparams_is(s, others[i].type))
			return fail_with(-ENOTSUP, r->err, r->errlen, "%s", others[i].what);
	return fail_with(-ENOTSUP, r->err, r->errlen, "general.type is %s; Caravan runs models",
	        gguf_printable(s, shown, sizeof shown));
}

static int hparams_find_family(struct reader *r) {
	struct gguf_string s;
	char shown[80], names[320];
	r->family = family_of(r->g);
	if (r->family)
		return 0;
	int rc = gguf_string(r->g, "general.architecture", &s);
	if (rc < 0)
		return fail_with(-EINVAL, r->err, r->errlen, "general.architecture %s",
		        rc == -ENOENT ? "is missing" : "is not a string");
	return fail_with(-ENOTSUP, r->err, r->errlen, "the architecture is %s; Caravan runs %s",
	        gguf_printable(s, shown, sizeof shown), family_names(names, sizeof names));
}

static int hparams_check_keys(const struct reader *r) {
	size_t prefix = strlen(r->family->name);
	struct gguf_string s;
	char shown[80];
	int rc;

	for (size_t i = 0; i < gguf_keys(r->g); i++) {
		struct gguf_string key = gguf_key(r->g, i);
		bool known = key.len <= prefix || memcmp(key.s, r->family->name, prefix) != 0 ||
		             key.s[prefix] != '.';
		struct gguf_string rest = {
		        known ? key.s : key.s + prefix + 1, known ? 0 : key.len - prefix - 1};
		for (size_t k = 0; !known && k < sizeof known_keys / sizeof *known_keys; k++)
			known = hparams_is(rest, known_keys[k]);
		if (!known)
			return fail_with(-ENOTSUP, r->err, r->errlen, "Caravan does not know the key %s",
			        gguf_printable(key, shown, sizeof shown));
	}
	if ((rc = hparams_refuse_bool(r, "attention.causal", true)) < 0 ||
	        (rc = hparams_refuse_bool(r, "use_parallel_residual", false)) < 0 ||
	        (rc = hparams_refuse_f32(r, "attention.clamp_kqv", 0, 0)) < 0 ||
	        (rc = hparams_refuse_f32(r, "attention.max_alibi_bias", 0, 0)) < 0 ||
	        (rc = hparams_refuse_f32(r, "attn_logit_softcapping", 0, 0)) < 0 ||
	        (rc = hparams_refuse_f32(r, "final_logit_softcapping", 0, 0)) < 0 ||
	        (rc = hparams_refuse_f32(r, "rope.scaling.yarn_ext_factor", 1, -1)) < 0)
		return rc;
	rc = gguf_string(r->g, hparams_key(r, "tensor_data_layout").s, &s);
	if (rc == -EINVAL)
		return hparams_fail_key(r, "tensor_data_layout", "is not a string");
	if (rc == 0 && !hparams_is(s, "Meta AI original pth"))
		return fail_with(-ENOTSUP, r->err, r->errlen, "%s is %s, which Caravan does not know",
		        hparams_key(r, "tensor_data_layout").s, gguf_printable(s, shown, sizeof shown));
	return 0;
}

/* The scales of a family that has them; other families' files may only say that there are none. */
static int hparams_read_scales(const struct reader *r, struct hparams *hp) {
	const struct {
		const char *name;
		float *to, none, none_too;
	} scale[] = {
	        {"attention.scale", &hp->attention_scale, 0, 0},
	        {"embedding_scale", &hp->embed_scale, 0, 1},
	        {"residual_scale", &hp->residual_scale, 0, 1},
	        {"logit_scale", &hp->logit_scale, 0, 1},
	};
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < sizeof scale / sizeof *scale; i++) {
		float v = 0;
		if (!r->family->scaled) {
			rc = hparams_refuse_f32(r, scale[i].name, scale[i].none, scale[i].none_too);
			continue;
		}
		rc = hparams_may_read_f32(r, scale[i].name, &v);
		*scale[i].to = v == scale[i].none_too ? 0 : v;
	}
	if (hp->logit_scale != 0)
		hp->logit_scale = 1 / hp->logit_scale;
	if (r->family->root_scale)
		hp->embed_scale = sqrtf((float)hp->dim);
	if (r->family->narrow_layers && hp->layers == r->family->narrow_layers)
		hp->attention_scale = 1 / sqrtf((float)(hp->dim / hp->heads));
	return rc;
}

static bool hparams_has_choice_bias(const struct reader *r, uint32_t layer) {
	char name[64];
	snprintf(name, sizeof name, "blk.%" PRIu32 ".%s", layer,
	        manifest_layer_tensor_name(LAYER_CHOICE_BIAS));
	return gguf_find(r->g, name) != NULL;
}

static int hparams_read_router(const struct reader *r, struct hparams *hp) {
	uint32_t function = 0;
	enum hparams_router usual = r->family->router;
	bool norm = usual == ROUTER_CHOSEN || usual == ROUTER_SIGMOID;
	float scale = 0;
	int rc = hparams_may_read_u32(r, "expert_gating_func", &function);
	if (rc == 0 && function > 3)
		rc = hparams_refuse_u32(r, "expert_gating_func", 3);
	if (rc == 0)
		rc = hparams_may_read_f32(r, "expert_weights_scale", &scale);
	if (rc < 0)
		return rc;
	rc = gguf_bool(r->g, hparams_key(r, "expert_weights_norm").s, &norm);
	if (rc < 0 && rc != -ENOENT)
		return hparams_fail_key(r, "expert_weights_norm", "is not a boolean");
	/* early files of GLM 4.7 Flash do not say it; no softmax has a bias of the choice */
	bool says_nothing = !function && r->family->latent && hparams_has_choice_bias(r, hp->layers - 1);
	bool sigmoid = function ? function == 2 : usual >= ROUTER_SIGMOID || says_nothing;
	hp->expert_scale = scale == 1 ? 0 : scale;
	hp->router = sigmoid ? (norm ? ROUTER_SIGMOID : ROUTER_SIGMOID_ONLY)
	                     : (norm || function == 3 ? ROUTER_CHOSEN : ROUTER_ALL);
	return 0;
}

/* Whether groups have equally many experts, and those that a row uses hold enough of them. */
static bool hparams_groups_fit(const struct hparams *hp) {
	if (!hp->expert_groups)
		return !hp->groups_used;
	return hp->experts % hp->expert_groups == 0 && hp->groups_used &&
	       hp->groups_used < hp->expert_groups &&
	       (uint64_t)hp->groups_used * (hp->experts / hp->expert_groups) >= hp->experts_used;
}

static int hparams_read_groups(const struct reader *r, struct hparams *hp) {
	uint32_t groups = 0, used = 0;
	int rc = hparams_may_read_u32(r, "expert_group_count", &groups);
	if (rc < 0 || (rc = hparams_may_read_u32(r, "expert_group_used_count", &used)) < 0)
		return rc;
	if (groups < 2 || used == groups)
		return 0; /* all are used */
	hp->expert_groups = groups;
	hp->groups_used = used;
	if (!hparams_groups_fit(hp))
		return hparams_fail_key(r, "expert_group_count", "does not fit the model's experts");
	return 0;
}

/* Files of families without mixtures may only say that there are no experts. */
static int hparams_read_experts(const struct reader *r, struct hparams *hp) {
	uint32_t shared = 0;
	int rc;
	if (!r->family->mixture)
		return hparams_refuse_u32(r, "expert_count", 0);
	if ((rc = hparams_may_read_u32(r, "expert_count", &hp->experts)) < 0 || !hp->experts)
		return rc;
	hp->expert_ffn = hp->ffn;
	if ((rc = hparams_need_u32(r, "expert_used_count", &hp->experts_used)) < 0 ||
	        (rc = hparams_may_read_u32(r, "expert_feed_forward_length", &hp->expert_ffn)) < 0 ||
	        (rc = hparams_may_read_u32(r, "expert_shared_count", &shared)) < 0 ||
	        (rc = hparams_read_groups(r, hp)) < 0)
		return rc;
	if (shared > HPARAMS_MAX_EXPERTS || (uint64_t)shared * hp->expert_ffn > HPARAMS_MAX_WIDTH)
		return hparams_fail_key(r, "expert_shared_count", "is too large");
	hp->shared_ffn = shared * hp->expert_ffn;
	rc = hparams_may_read_u32(r, "expert_shared_feed_forward_length", &hp->shared_ffn);
	return rc < 0 ? rc : hparams_read_router(r, hp);
}

/* Files of families without gated delta nets may only say that there are none. */
static int hparams_read_state(const struct reader *r, struct hparams *hp) {
	static const char *const keys[] = {"ssm.group_count", "ssm.time_step_rank", "ssm.state_size",
	        "ssm.inner_size", "ssm.conv_kernel"};
	uint32_t number[5], every = 4;
	int rc = 0;
	for (size_t i = 0; i < 5 && rc == 0; i++)
		rc = r->family->delta ? hparams_need_u32(r, keys[i], &number[i])
		                      : hparams_refuse_u32(r, keys[i], 0);
	if (rc < 0)
		return rc;
	static const char interval[] = "full_attention_interval", recurrent[] = "attention.recurrent_layers";
	rc = hparams_read_every(r, recurrent, hp->layers, &every);
	if (!r->family->delta)
		return rc != -ENOENT ? hparams_fail_key(r, recurrent, "is of other families")
		                     : hparams_refuse_u32(r, interval, 1);
	if (rc == 0 && every < 2)
		return hparams_fail_key(r, recurrent, "leaves no layer of one of the two kinds");
	if (rc == -ENOENT)
		rc = hparams_may_read_u32(r, interval, &every);
	if (rc < 0)
		return rc;
	if ((uint64_t)number[1] * number[2] != number[3])
		return hparams_fail_key(r, "ssm.inner_size", "is not that of all heads");
	if (number[4] != KERN_CONV)
		return hparams_fail_key(r, "ssm.conv_kernel", "is not 4");
	if (every < 2)
		return hparams_fail_key(r, interval, "is below 2");
	hp->state_groups = number[0];
	hp->state_heads = number[1];
	hp->state_size = number[2];
	hp->attention_every = every;
	hp->gated = 1;
	hp->heads_near = r->family->heads_near;
	return 0;
}

/* How RoPE's table is stretched. */
struct stretch {
	double factor;                     /* by which frequencies are divided; 1: none */
	bool yarn;                         /* quick ones less: */
	double low, high;                  /* the pairs between which the way changes */
	float magnitude;                   /* of sine and cosine */
	double grown;                      /* by which scores of latent attention are multiplied */
	const struct gguf_tensor *factors; /* by which each pair's frequency is divided; NULL: none */
};

/* YaRN's pair that turns `turns` times within the original context. */
static double hparams_yarn_pair(double turns, uint32_t original, uint32_t d, double base) {
	return d * kern_log(original / (turns * 2 * PI)) / (2 * kern_log(base));
}

/* As DeepSeek has it: the magnitude is in the scale of scores, not in the cosines and sines.  The key is a tenth of its multiplier. */
static int hparams_read_latent_yarn(const struct reader *r, float multiplier, double ln, struct stretch *s) {
	if (!(multiplier > 0))
		return hparams_fail_key(r, "rope.scaling.yarn_log_multiplier", "is missing");
	double size = 0.1 * (double)(multiplier / 0.1f) * ln + 1;
	s->grown = size * size;
	return 0;
}

/* YaRN (Peng et al. 2023): pairs that turn often within the original context keep their frequency, slow ones are divided by
 * the factor, and those between get some of both; scores grow with the logarithm of the factor. */
static int hparams_read_yarn(const struct reader *r, uint32_t d, float base, struct stretch *s) {
	float fast = 32, slow = 1, multiplier = 0;
	uint32_t original = 0;
	int rc = hparams_need_u32(r, "rope.scaling.original_context_length", &original);
	if (rc == 0)
		rc = hparams_may_read_f32(r, "rope.scaling.yarn_beta_fast", &fast);
	if (rc == 0)
		rc = hparams_may_read_f32(r, "rope.scaling.yarn_beta_slow", &slow);
	if (rc == 0)
		rc = hparams_may_read_f32(r, "rope.scaling.yarn_log_multiplier", &multiplier);
	if (rc < 0)
		return rc;
	if (!original || !(fast > slow) || !(slow > 0) || !(s->factor >= 1) || !(base > 1) || multiplier < 0)
		return hparams_fail_key(
		        r, "rope.scaling.type", "is yarn, but the numbers of its scaling are not valid");
	double ln = kern_log(s->factor);
	s->low = fmax(floor(hparams_yarn_pair((double)fast, original, d, (double)base)), 0);
	s->high = fmin(ceil(hparams_yarn_pair((double)slow, original, d, (double)base)), d - 1);
	if (r->family->latent)
		return hparams_read_latent_yarn(r, multiplier, ln, s);
	s->magnitude = (float)((double)s->magnitude * (0.1 * ln + 1) /
	                       (multiplier > 0 ? 0.1 * (double)multiplier * ln + 1 : 1));
	return 0;
}

static const char short_factors[] = "rope_factors_short.weight", long_factors[] = "rope_factors_long.weight";

/* LongRoPE (Ding et al. 2024): a table for texts as long as the original context, and one for longer ones.  Keys that were
 * rotated by one mean nothing to queries rotated by the other, and bits must not depend on how long a text will become: so a
 * model has the table that its longest text needs, as in engines with a KV cache.  The magnitude is the same for both. */
static int hparams_read_longrope(
        const struct reader *r, struct hparams *hp, struct stretch *s, bool magnitude) {
	const struct gguf_tensor *brief = gguf_find(r->g, short_factors),
	                         *lengthy = gguf_find(r->g, long_factors);
	uint32_t trained = 0, original = 0;
	if (!brief || !lengthy)
		return fail_with(-EINVAL, r->err, r->errlen, "tensor %s is missing, which LongRoPE needs",
		        brief ? long_factors : short_factors);
	if (s->yarn || s->factor != 1 || s->factors)
		return fail_with(-ENOTSUP, r->err, r->errlen,
		        "tensor %s is there, and RoPE is scaled otherwise as well, which Caravan does not know",
		        long_factors);
	int rc = hparams_need_u32(r, "context_length", &trained);
	if (rc == 0)
		rc = hparams_need_u32(r, "rope.scaling.original_context_length", &original);
	if (rc < 0)
		return rc;
	if (original < 2)
		return hparams_fail_key(r, "rope.scaling.original_context_length", "is not valid");
	if (!magnitude && trained > original)
		s->magnitude =
		        (float)sqrt(1 + kern_log((double)trained / original) / kern_log((double)original));
	s->factors = (r->context ? r->context : hp->context) > original ? lengthy : brief;
	if (s->factors == brief && original < hp->context)
		hp->context = original;
	return 0;
}

static int hparams_read_stretch(
        const struct reader *r, struct hparams *hp, uint32_t d, float base, struct stretch *s) {
	struct gguf_string type = {"linear", 6};
	char shown[80];
	float f = 0;
	*s = (struct stretch){
	        .factor = 1, .magnitude = 1, .grown = 1, .factors = gguf_find(r->g, "rope_freqs.weight")};
	int rc = gguf_string(r->g, hparams_key(r, "rope.scaling.type").s, &type);
	if (rc == -EINVAL)
		return hparams_fail_key(r, "rope.scaling.type", "is not a string");
	bool yarn = hparams_is(type, "yarn"), longrope = hparams_is(type, "longrope");
	if (!yarn && !longrope && !hparams_is(type, "linear") && !hparams_is(type, "none"))
		return fail_with(-ENOTSUP, r->err, r->errlen,
		        "%s is %s; Caravan knows linear, yarn, longrope and none",
		        hparams_key(r, "rope.scaling.type").s, gguf_printable(type, shown, sizeof shown));
	rc = hparams_read_f32(r, "rope.scaling.factor", &f);
	if (rc == -ENOENT)
		rc = hparams_may_read_f32(r, "rope.scale_linear", &f); /* its older name */
	if (rc < 0)
		return rc;
	if (f < 0)
		return hparams_fail_key(r, "rope.scaling.factor", "is negative");
	s->factor = f == 0 || hparams_is(type, "none") ? 1 : (double)f;
	rc = hparams_read_f32(r, "rope.scaling.attn_factor", &s->magnitude);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (!(s->magnitude > 0))
		return hparams_fail_key(r, "rope.scaling.attn_factor", "is not positive");
	s->yarn = yarn;
	/* Phi-3's files have the tensors, and do not say the type */
	if (longrope || gguf_find(r->g, long_factors) || gguf_find(r->g, short_factors))
		return hparams_read_longrope(r, hp, s, rc == 0);
	return yarn ? hparams_read_yarn(r, d, base, s) : 0;
}

/* The factors of all pairs. */
static int hparams_read_factors(
        const struct reader *r, const struct gguf_tensor *t, uint32_t pairs, float *out) {
	char shown[80];
	gguf_printable(t->name, shown, sizeof shown);
	if (t->type != KERN_F32 || t->n != pairs || t->rows != 1)
		return fail_with(-EINVAL, r->err, r->errlen,
		        "tensor %s is not %" PRIu32 " factors of type F32", shown, pairs);
	int rc = gguf_read(t, 0, out, pairs * sizeof *out);
	if (rc < 0)
		return fail_with(rc, r->err, r->errlen, "tensor %s cannot be read: %s", shown, strerror(-rc));
	for (uint32_t i = 0; i < pairs; i++)
		if (!isfinite(out[i]) || !(out[i] > 0))
			return fail_with(-EINVAL, r->err, r->errlen,
			        "tensor %s holds a factor that is not positive", shown);
	return 0;
}

/* The frequency of pair i; factor: the file's for it. */
static double hparams_frequency(const struct stretch *s, uint32_t i, uint32_t d, double base, double factor) {
	double f = kern_pow(base, -2.0 * i / d) / factor;
	if (!s->yarn)
		return f / s->factor;
	double ramp = (i - s->low) / fmax(s->high - s->low, 0.001);
	double keep = 1 - fmin(fmax(ramp, 0), 1);
	return f * (keep + (1 - keep) / s->factor);
}

/* RoPE's base of layers with a window, in families where they have their own. */
static int hparams_read_window_base(const struct reader *r, float base, struct hparams *hp) {
	float own = r->family->window_base != 0 ? r->family->window_base : base;
	int rc = hparams_may_read_f32(r, "rope.freq_base_swa", &own);
	if (rc < 0 || !hp->window)
		return rc;
	if (r->family->window_base == 0 && own != base)
		return fail_with(-ENOTSUP, r->err, r->errlen,
		        "%s differs from %s, which Caravan does not know",
		        hparams_key(r, "rope.freq_base_swa").s, hparams_key(r, "rope.freq_base").s);
	hp->window_base = r->family->window_base != 0 ? own : 0;
	return 0;
}

/* The scale of scores: of the query's head as it was before it met the latent. */
static int hparams_scale_latent(const struct reader *r, const struct stretch *s, struct hparams *hp) {
	if (s->magnitude != 1)
		return hparams_fail_key(
		        r, "rope.scaling.attn_factor", "is not 1, which Caravan does not know");
	if (hp->head_size != hp->latent + 2 * hp->pairs || hp->query_head <= 2 * hp->pairs)
		return hparams_fail_key(
		        r, "attention.key_length", "does not fit the latent and what is rotated");
	hp->attention_scale = (float)(s->grown / sqrt(hp->query_head));
	return 0;
}

static int hparams_read_rope(const struct reader *r, struct hparams *hp) {
	uint32_t d = hp->head_size;
	float base = 10000.0f, factor[HPARAMS_MAX_PAIRS];
	struct stretch stretch;
	int rc = hparams_read_u32(r, "rope.dimension_count", &d);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (d < 2 || d % 2 || d > hp->head_size || d > 2 * HPARAMS_MAX_PAIRS)
		return fail_with(-EINVAL, r->err, r->errlen,
		        "%s is %" PRIu32 " in heads of %" PRIu32 " elements",
		        hparams_key(r, "rope.dimension_count").s, d, hp->head_size);
	hp->pairs = d / 2;
	hp->halves = r->family->halves;
	hp->plain_every = r->family->plain_every;
	hp->glu = r->family->glu;
	rc = hparams_may_read_f32(r, "rope.freq_base", &base);
	if (rc < 0)
		return rc;
	if (!(base > 0))
		return hparams_fail_key(r, "rope.freq_base", "is not positive");
	rc = hparams_read_window_base(r, base, hp);
	if (rc < 0)
		return rc;
	rc = hparams_read_stretch(r, hp, d, base, &stretch);
	if (rc < 0)
		return rc;
	hp->rope_magnitude = stretch.magnitude == 1 ? 0 : stretch.magnitude;
	if (hp->latent && (rc = hparams_scale_latent(r, &stretch, hp)) < 0)
		return rc;
	if (stretch.factors && (rc = hparams_read_factors(r, stretch.factors, hp->pairs, factor)) < 0)
		return rc;
	for (uint32_t i = 0; i < hp->pairs; i++)
		hp->freq[i] = (float)hparams_frequency(
		        &stretch, i, d, (double)base, stretch.factors ? (double)factor[i] : 1);
	return 0;
}

/* The rows of the embedding, and so the width of the logits.  There may be more rows than tokens: models are
 * trained with a rounded number of rows, which converters may or may not fill up with meaningless tokens.
 * Rows beyond the tokens are computed as they are in the file, and never sampled
 * (daemon/serve/coordinator/output.c).  Fewer rows than tokens are an error. */
static int hparams_read_vocab(const struct reader *r, struct hparams *hp) {
	const struct gguf_tensor *embed = gguf_find(r->g, "token_embd.weight");
	enum gguf_kind kind;
	uint64_t tokens = 0, rows = embed ? embed->rows : 0;
	int rc = gguf_array(r->g, "tokenizer.ggml.tokens", &kind, &tokens);
	if (rc < 0 && rc != -ENOENT)
		return fail_with(
		        -EINVAL, r->err, r->errlen, "tokenizer.ggml.tokens is not an array of strings");
	if (tokens > HPARAMS_MAX_VOCAB || rows > HPARAMS_MAX_VOCAB)
		return fail_with(-EINVAL, r->err, r->errlen, "tokenizer.ggml.tokens has too many entries");
	if (rc == 0 && embed && rows < tokens)
		return fail_with(-EINVAL, r->err, r->errlen,
		        "tensor token_embd.weight has %" PRIu64 " rows, and tokenizer.ggml.tokens %" PRIu64
		        " tokens",
		        rows, tokens);
	hp->vocab = (uint32_t)(rc == 0 && embed ? rows : tokens);
	uint32_t stated = hp->vocab;
	int rv = hparams_read_u32(r, "vocab_size", &stated);
	if (rv < 0 && rv != -ENOENT)
		return rv;
	if (rc == 0 && stated != hp->vocab && stated != tokens)
		return fail_with(-EINVAL, r->err, r->errlen,
		        "%s is %" PRIu32 ", but tokenizer.ggml.tokens has %" PRIu64,
		        hparams_key(r, "vocab_size").s, stated, tokens);
	if (rv == -ENOENT && rc == -ENOENT)
		return hparams_fail_key(r, "vocab_size", "and tokenizer.ggml.tokens are missing");
	if (rc == -ENOENT)
		hp->vocab = stated;
	return 0;
}

/* Attention whose scores grow with the position begins to do that behind the original context: within it, it is ordinary. */
static int hparams_limit_temperature(const struct reader *r, struct hparams *hp) {
	float scale = 0;
	uint32_t original = 0;
	int rc = hparams_may_read_f32(r, "attention.temperature_scale", &scale);
	if (rc < 0 || scale == 0)
		return rc;
	rc = hparams_need_u32(r, "rope.scaling.original_context_length", &original);
	if (rc == 0 && original < hp->context)
		hp->context = original;
	return rc;
}

uint32_t hparams_unused_layers(const struct gguf *g) {
	const struct reader r = {.g = g, .family = family_of(g)};
	uint32_t layers = 0;
	return r.family && gguf_u32(g, hparams_key(&r, "nextn_predict_layers").s, &layers) == 0 ? layers : 0;
}

/* Which layers see only a window. */
static int hparams_read_window(const struct reader *r, struct hparams *hp) {
	uint32_t window = 0, every = r->family->full_every;
	int rc = hparams_read_u32(r, "attention.sliding_window", &window);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	static const char pattern[] = "attention.sliding_window_pattern";
	rc = gguf_u32(r->g, hparams_key(r, pattern).s, &every);
	if (rc == -EINVAL)
		rc = hparams_read_every(r, pattern, hp->layers, &every);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (!r->family->full_every) {
		if (rc == 0 && every != 0)
			return fail_with(-ENOTSUP, r->err, r->errlen,
			        "%s is %" PRIu32 ", which Caravan does not know", hparams_key(r, pattern).s,
			        every);
		if (window == 0 || window >= hp->context)
			return 0;
		/* within its window, a model whose layers all have one is an ordinary one */
		*(r->family->windows ? &hp->window : &hp->context) = window;
		return 0;
	}
	hp->window = window;
	hp->full_every = window ? every : 0;
	return 0;
}

/* A number of each layer, or one for all: into the layers' shapes, at an offset of struct layer_shape, and the most of them. */
static int hparams_read_of_layers(
        const struct reader *r, const char *name, size_t at, struct hparams *hp, uint32_t *most) {
	struct key key = hparams_key(r, name);
	uint32_t all;
	int rc = gguf_u32(r->g, key.s, &all);
	if (rc == -ENOENT)
		return rc;
	bool one = rc == 0;
	if (!one && !hparams_has_layers(r, name, hp->layers))
		return hparams_fail_key(r, name, "is not a number, nor one for each layer");
	*most = 0;
	for (uint32_t l = 0; l < hp->layers; l++) {
		int64_t v = all;
		if (!one && (gguf_array_i64(r->g, key.s, l, &v) < 0 || v < 0 || v > UINT32_MAX))
			return hparams_fail_key(r, name, "is not a valid number for each layer");
		uint32_t n = (uint32_t)v;
		if (n == 0 && !r->family->skips)
			return hparams_fail_key(r, name, "is 0, which Caravan does not know");
		memcpy((char *)&hp->shape[l] + at, &n, sizeof n);
		*most = n > *most ? n : *most;
	}
	return 0;
}

/* Heads and feed-forward width. */
static int hparams_read_layers(const struct reader *r, struct hparams *hp) {
	int rc = hparams_read_of_layers(
	        r, "attention.head_count", offsetof(struct layer_shape, heads), hp, &hp->heads);
	if (rc == -ENOENT)
		return hparams_fail_key(r, "attention.head_count", "is missing");
	for (uint32_t l = 0; l < hp->layers; l++)
		hp->shape[l].kv_heads = hp->shape[l].heads;
	hp->kv_heads = hp->heads;
	if (rc == 0)
		rc = hparams_read_of_layers(r, "attention.head_count_kv",
		        offsetof(struct layer_shape, kv_heads), hp, &hp->kv_heads);
	if (rc == 0 || rc == -ENOENT)
		rc = hparams_read_of_layers(
		        r, "feed_forward_length", offsetof(struct layer_shape, ffn), hp, &hp->ffn);
	if (rc == -ENOENT)
		return hparams_fail_key(r, "feed_forward_length", "is missing");
	for (uint32_t l = 0; l < hp->layers; l++)
		if (hp->shape[l].heads != hp->heads || hp->shape[l].kv_heads != hp->kv_heads ||
		        hp->shape[l].ffn != hp->ffn)
			hp->unlike = 1;
	if (!hp->unlike)
		memset(hp->shape, 0, sizeof hp->shape);
	return rc;
}

/* The numbers of latent attention, of a family that has it. */
static int hparams_read_latent(const struct reader *r, struct hparams *hp) {
	int rc;
	if (!r->family->latent)
		return hparams_refuse_u32(r, "attention.kv_lora_rank", 0);
	if ((rc = hparams_need_u32(r, "attention.kv_lora_rank", &hp->latent)) < 0 ||
	        (rc = hparams_may_read_u32(r, "attention.q_lora_rank", &hp->query_rank)) < 0 ||
	        (rc = hparams_may_read_u32(r, "attention.key_length_mla", &hp->query_head)) < 0 ||
	        (rc = hparams_may_read_u32(r, "attention.value_length_mla", &hp->value_head)) < 0)
		return rc;
	if (!hp->query_head || !hp->value_head)
		return fail_with(-ENOTSUP, r->err, r->errlen,
		        "%s is missing: get a file that was made after April 2025, which has attn_k_b and attn_v_b "
		        "in place of attn_kv_b",
		        hparams_key(r, "attention.key_length_mla").s);
	if (!hp->latent)
		return hparams_fail_key(r, "attention.kv_lora_rank", "is 0");
	return 0;
}

static int hparams_read_shape(const struct reader *r, struct hparams *hp) {
	uint32_t v;
	int rc;

	if ((rc = hparams_need_u32(r, "block_count", &hp->layers)) < 0 ||
	        (rc = hparams_need_u32(r, "embedding_length", &hp->dim)) < 0 ||
	        (rc = hparams_need_u32(r, "context_length", &hp->context)) < 0)
		return rc;
	uint32_t unused = 0;
	if (gguf_u32(r->g, hparams_key(r, "nextn_predict_layers").s, &unused) == -EINVAL)
		return hparams_fail_key(r, "nextn_predict_layers", "is not a valid number");
	if (unused && unused >= hp->layers)
		return hparams_fail_key(r, "nextn_predict_layers", "leaves no layer");
	hp->layers -= unused;
	if (hp->layers < 1 || hp->layers > HPARAMS_MAX_LAYERS)
		return fail_with(-EINVAL, r->err, r->errlen,
		        "the model's number of layers is %" PRIu32 " (1 to %d are allowed)", hp->layers,
		        HPARAMS_MAX_LAYERS);
	rc = hparams_read_layers(r, hp);
	if (rc < 0)
		return rc;
	if (hp->heads < 1 || hp->dim < 1)
		return fail_with(-EINVAL, r->err, r->errlen, "%s or %s is 0",
		        hparams_key(r, "attention.head_count").s, hparams_key(r, "embedding_length").s);
	rc = hparams_read_u32(r, "attention.key_length", &hp->head_size);
	if (rc == -ENOENT) {
		if (hp->dim % hp->heads)
			return fail_with(-EINVAL, r->err, r->errlen,
			        "%s (%" PRIu32 ") is not a multiple of %s (%" PRIu32 ")",
			        hparams_key(r, "embedding_length").s, hp->dim,
			        hparams_key(r, "attention.head_count").s, hp->heads);
		hp->head_size = hp->dim / hp->heads;
	} else if (rc < 0) {
		return rc;
	}
	rc = hparams_read_latent(r, hp);
	if (rc < 0)
		return rc;
	v = hp->head_size;
	rc = hparams_read_u32(r, "attention.value_length", &v);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (v != hp->head_size && !hp->latent)
		return fail_with(-ENOTSUP, r->err, r->errlen,
		        "%s (%" PRIu32 ") differs from the keys' (%" PRIu32 "), which Caravan does not know",
		        hparams_key(r, "attention.value_length").s, v, hp->head_size);
	rc = hparams_read_window(r, hp);
	return rc < 0 ? rc : hparams_limit_temperature(r, hp);
}

int hparams_from_gguf(struct hparams *hp, const struct gguf *g, uint32_t context, char *err, size_t errlen) {
	struct reader r = {.g = g, .context = context, .err = err, .errlen = errlen};
	static const char eps[] = "attention.layer_norm_rms_epsilon";
	memset(hp, 0, sizeof *hp);
	int rc = hparams_check_kind(&r);
	if (rc == 0)
		rc = hparams_find_family(&r);
	if (rc == 0)
		rc = hparams_check_keys(&r);
	if (rc == 0)
		rc = hparams_read_shape(&r, hp);
	if (rc == 0)
		rc = hparams_read_vocab(&r, hp);
	if (rc == 0)
		rc = hparams_read_scales(&r, hp);
	if (rc == 0)
		rc = hparams_read_experts(&r, hp);
	if (rc == 0)
		rc = hparams_read_state(&r, hp);
	if (rc < 0)
		return rc;
	rc = hparams_read_f32(&r, eps, &hp->eps);
	if (rc == -ENOENT)
		return hparams_fail_key(&r, eps, "is missing");
	if (rc == 0)
		rc = hparams_read_rope(&r, hp);
	if (rc == 0)
		rc = hparams_check(hp, err, errlen);
	return rc;
}

/* By number, from 1. */
static const struct {
	const char *what;
	size_t at;
	uint32_t most; /* of a whole number; 0: it is a float */
} traits[] = {
        {"RoPE's order", offsetof(struct hparams, halves), 1},
        {"interval of layers without RoPE", offsetof(struct hparams, plain_every), HPARAMS_MAX_LAYERS},
        {"RoPE's magnitude", offsetof(struct hparams, rope_magnitude), 0},
        {"scale of attention scores", offsetof(struct hparams, attention_scale), 0},
        {"scale of the embedding", offsetof(struct hparams, embed_scale), 0},
        {"scale of residuals", offsetof(struct hparams, residual_scale), 0},
        {"scale of logits", offsetof(struct hparams, logit_scale), 0},
        {"number of experts", offsetof(struct hparams, experts), HPARAMS_MAX_EXPERTS},
        {"number of experts used", offsetof(struct hparams, experts_used), HPARAMS_MAX_EXPERTS_USED},
        {"width of an expert", offsetof(struct hparams, expert_ffn), HPARAMS_MAX_WIDTH},
        {"width of the shared expert", offsetof(struct hparams, shared_ffn), HPARAMS_MAX_WIDTH},
        {"router", offsetof(struct hparams, router), ROUTERS - 1},
        {"scale of experts", offsetof(struct hparams, expert_scale), 0},
        {"window", offsetof(struct hparams, window), HPARAMS_MAX_CONTEXT},
        {"interval of layers without a window", offsetof(struct hparams, full_every), HPARAMS_MAX_LAYERS},
        {"base of RoPE within windows", offsetof(struct hparams, window_base), 0},
        {"gated unit", offsetof(struct hparams, glu), KERN_GLUS - 1},
        {"difference of layers", offsetof(struct hparams, unlike), 1},
        {"interval of layers with attention", offsetof(struct hparams, attention_every), HPARAMS_MAX_LAYERS},
        {"number of heads with a state", offsetof(struct hparams, state_heads), HPARAMS_MAX_HEADS},
        {"number of a state's key heads", offsetof(struct hparams, state_groups), HPARAMS_MAX_HEADS},
        {"size of a state", offsetof(struct hparams, state_size), HPARAMS_MAX_STATE},
        {"gate of attention", offsetof(struct hparams, gated), 1},
        {"number of groups of experts", offsetof(struct hparams, expert_groups), HPARAMS_MAX_EXPERTS},
        {"number of groups used", offsetof(struct hparams, groups_used), HPARAMS_MAX_EXPERTS},
        {"width of the latent", offsetof(struct hparams, latent), HPARAMS_MAX_HEAD_SIZE},
        {"size of a query's head", offsetof(struct hparams, query_head), HPARAMS_MAX_WIDTH},
        {"size of a value's head", offsetof(struct hparams, value_head), HPARAMS_MAX_WIDTH},
        {"rank of queries", offsetof(struct hparams, query_rank), HPARAMS_MAX_WIDTH},
        {"order of a state's heads", offsetof(struct hparams, heads_near), 1},
};
#define TRAITS (sizeof traits / sizeof *traits)
_Static_assert(TRAITS <= HPARAMS_TRAITS, "room for all traits");

bool hparams_has_window(const struct hparams *hp, uint32_t layer) {
	return hp->window && (!hp->full_every || (layer + 1) % hp->full_every);
}

uint32_t hparams_first_seen(uint32_t position, uint32_t window) {
	return window && position >= window ? position - window + 1 : 0;
}

void hparams_window_freq(const struct hparams *hp, float *freq) {
	for (uint32_t i = 0; i < hp->pairs; i++)
		freq[i] = (float)kern_pow((double)hp->window_base, -2.0 * i / (2.0 * hp->pairs));
}

size_t hparams_traits(const struct hparams *hp, struct hparams_trait *out) {
	size_t n = 0;
	for (uint32_t i = 0; i < TRAITS; i++) {
		uint32_t bits;
		memcpy(&bits, (const char *)hp + traits[i].at, sizeof bits);
		if (bits && out)
			out[n] = (struct hparams_trait){i + 1, bits};
		n += bits != 0;
	}
	return n;
}

int hparams_set_trait(struct hparams *hp, const struct hparams_trait *t) {
	if (t->id < 1 || t->id > TRAITS)
		return -ENOTSUP;
	memcpy((char *)hp + traits[t->id - 1].at, &t->bits, sizeof t->bits);
	return 0;
}

bool hparams_is_recurrent(const struct hparams *hp, uint32_t layer) {
	return hp->attention_every && (layer + 1) % hp->attention_every != 0;
}

uint32_t hparams_recurrent_before(const struct hparams *hp, uint32_t layer) {
	return hp->attention_every ? layer - layer / hp->attention_every : 0;
}

uint64_t hparams_channels(const struct hparams *hp) {
	return (uint64_t)hp->state_size * (2 * (uint64_t)hp->state_groups + hp->state_heads);
}

uint32_t hparams_key_head(const struct hparams *hp, uint32_t head, bool *first) {
	uint32_t values = hp->state_heads / hp->state_groups;
	*first = hp->heads_near ? head % values == 0 : head < hp->state_groups;
	return hp->heads_near ? head / values : head % hp->state_groups;
}

static int hparams_check_state(const struct hparams *hp, char *err, size_t errlen) {
	bool fine = !hp->state_heads && !hp->state_groups && !hp->state_size && !hp->heads_near;
	if (hp->attention_every)
		fine = !hp->unlike && hp->state_heads && hp->state_groups &&
		       hp->state_heads % hp->state_groups == 0 && hp->state_size &&
		       hp->state_size % KERN_PANEL == 0 && hparams_channels(hp) <= HPARAMS_MAX_WIDTH;
	return fine ? 0
	            : fail_with(-EINVAL, err, errlen,
	                      "the model's numbers of recurrent layers are not those of one that Caravan computes");
}

/* Whether heads are as latent attention needs them, with whole strips of each matrix for a head. */
static bool hparams_latent_fits(const struct hparams *hp) {
	if (!hp->latent)
		return !hp->query_head && !hp->value_head && !hp->query_rank;
	return hp->kv_heads == 1 && !hp->unlike && !hp->gated && !hp->attention_every &&
	       hp->head_size == hp->latent + 2 * hp->pairs && hp->query_head > 2 * hp->pairs &&
	       hp->value_head && hp->latent % KERN_STRIP == 0 && hp->value_head % KERN_STRIP == 0 &&
	       (uint64_t)hp->heads * hp->query_head <= HPARAMS_MAX_WIDTH &&
	       (uint64_t)hp->heads * hp->value_head <= HPARAMS_MAX_WIDTH;
}

static int hparams_check_traits(const struct hparams *hp, char *err, size_t errlen) {
	for (size_t i = 0; i < TRAITS; i++) {
		const char *at = (const char *)hp + traits[i].at;
		uint32_t number;
		float real;
		memcpy(&number, at, sizeof number);
		memcpy(&real, at, sizeof real);
		/* a float as small or as large as no model has it would only make zeros and infinities */
		if (traits[i].most ? number > traits[i].most
		                   : number && !(real > SCALE_LEAST && real < SCALE_MOST))
			return fail_with(-EINVAL, err, errlen, "the model's %s is not valid", traits[i].what);
	}
	bool mixture = hp->experts != 0;
	if (mixture ? !hp->experts_used || hp->experts_used > hp->experts || !hp->expert_ffn
	            : hp->experts_used || hp->expert_ffn || hp->shared_ffn || hp->router ||
	                        hp->expert_scale != 0 || hp->expert_groups || hp->groups_used)
		return fail_with(-EINVAL, err, errlen, "the model's numbers of experts are not valid");
	if (!hparams_groups_fit(hp))
		return fail_with(-EINVAL, err, errlen, "the model's groups of experts are not valid");
	if (!hparams_latent_fits(hp))
		return fail_with(
		        -EINVAL, err, errlen, "the model's numbers of latent attention are not valid");
	if (hp->window_base != 0 &&
	        !(hp->window_base > 1)) /* its frequencies stay in the range of kern_sincos */
		return fail_with(
		        -EINVAL, err, errlen, "the model's base of RoPE within windows is not valid");
	return hparams_check_state(hp, err, errlen);
}

struct layer_shape hparams_layer(const struct hparams *hp, uint32_t layer) {
	if (hparams_is_recurrent(hp, layer))
		return (struct layer_shape){.ffn = hp->ffn};
	return hp->unlike ? hp->shape[layer] : (struct layer_shape){hp->heads, hp->kv_heads, hp->ffn};
}

/* Whether layers that differ are such as can be computed, and the model's numbers are the most of theirs. */
static int hparams_check_layers(const struct hparams *hp, char *err, size_t errlen) {
	struct layer_shape most = {0};
	bool differ = false;
	for (uint32_t l = 0; hp->unlike && l < hp->layers; l++) {
		struct layer_shape s = hp->shape[l];
		if (s.kv_heads ? !s.heads || s.heads % s.kv_heads
		               : s.heads && (uint64_t)s.heads * hp->head_size != hp->dim)
			return fail_with(-EINVAL, err, errlen,
			        "layer %" PRIu32 " has %" PRIu32 " attention heads and %" PRIu32
			        " key/value heads, which Caravan does not know",
			        l, s.heads, s.kv_heads);
		most.heads = s.heads > most.heads ? s.heads : most.heads;
		most.kv_heads = s.kv_heads > most.kv_heads ? s.kv_heads : most.kv_heads;
		most.ffn = s.ffn > most.ffn ? s.ffn : most.ffn;
		differ = differ || s.heads != hp->heads || s.kv_heads != hp->kv_heads || s.ffn != hp->ffn;
	}
	if (hp->unlike &&
	        (!differ || most.heads != hp->heads || most.kv_heads != hp->kv_heads || most.ffn != hp->ffn))
		return fail_with(-EINVAL, err, errlen, "the numbers of the model's layers are not valid");
	return 0;
}

int hparams_check(const struct hparams *hp, char *err, size_t errlen) {
	const struct {
		const char *what;
		uint64_t value, max;
	} limit[] = {
	        {"number of layers", hp->layers, HPARAMS_MAX_LAYERS},
	        {"embedding width", hp->dim, HPARAMS_MAX_WIDTH},
	        {"number of attention heads", hp->heads, HPARAMS_MAX_HEADS},
	        {"number of key/value heads", hp->kv_heads, hp->heads},
	        {"head size", hp->head_size, HPARAMS_MAX_HEAD_SIZE},
	        {"feed-forward width", hp->ffn, HPARAMS_MAX_WIDTH},
	        {"vocabulary", hp->vocab, HPARAMS_MAX_VOCAB},
	        {"context length", hp->context, HPARAMS_MAX_CONTEXT},
	        {"number of rotated pairs", hp->pairs, hp->head_size / 2},
	        {"attention width", (uint64_t)hp->heads * hp->head_size, HPARAMS_MAX_WIDTH},
	};
	for (size_t i = 0; i < sizeof limit / sizeof *limit; i++) {
		if (limit[i].value < 1 || limit[i].value > limit[i].max)
			return fail_with(-EINVAL, err, errlen,
			        "the model's %s is %" PRIu64 " (1 to %" PRIu64 " are allowed)", limit[i].what,
			        limit[i].value, limit[i].max);
	}
	if (hp->heads % hp->kv_heads)
		return fail_with(-EINVAL, err, errlen,
		        "%" PRIu32 " attention heads cannot share %" PRIu32 " key/value heads", hp->heads,
		        hp->kv_heads);
	if (!(hp->eps > 0 && hp->eps < 1)) {
		snprintf(
		        err, errlen, "the norm's epsilon is %g, it must be between 0 and 1", (double)hp->eps);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < HPARAMS_MAX_PAIRS; i++) {
		/* position * frequency stays in the range for which kern_sincos is defined */
		bool fine = i < hp->pairs ? hp->freq[i] > 0 && hp->freq[i] <= 4.0f : hp->freq[i] == 0;
		if (!fine)
			return fail_with(-EINVAL, err, errlen, "RoPE frequency %" PRIu32 " is %g", i,
			        (double)hp->freq[i]);
	}
	int rc = hparams_check_traits(hp, err, errlen);
	return rc == 0 ? hparams_check_layers(hp, err, errlen) : rc;
}
