/* hparams: reads the keys llama.*, and refuses values that Caravan would not compute correctly.  The defaults
 * are those of llama.cpp, whose converters write these files. */
#include "shard/model/hparams.h"
#include "common/fail.h"
#include "kernels/math.h"
#include "shard/gguf/gguf.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Keys that are read below, or that have no effect. */
static const char *const known_keys[] = {
        "llama.attention.causal",
        "llama.attention.clamp_kqv",
        "llama.attention.head_count",
        "llama.attention.head_count_kv",
        "llama.attention.key_length",
        "llama.attention.layer_norm_epsilon", /* for models with LayerNorm, not for Llama */
        "llama.attention.layer_norm_rms_epsilon",
        "llama.attention.max_alibi_bias",
        "llama.attention.scale",
        "llama.attention.sliding_window",
        "llama.attention.value_length",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.embedding_scale",
        "llama.expert_count",
        "llama.expert_used_count",
        "llama.feed_forward_length",
        "llama.logit_scale",
        "llama.residual_scale",
        "llama.rope.dimension_count",
        "llama.rope.freq_base",
        "llama.rope.scale_linear",
        "llama.rope.scaling.attn_factor",
        "llama.rope.scaling.factor",
        "llama.rope.scaling.finetuned",               /* no effect */
        "llama.rope.scaling.original_context_length", /* no effect: Llama 3.1 has its factors in a tensor */
        "llama.rope.scaling.type",
        "llama.tensor_data_layout",
        "llama.use_parallel_residual",
        "llama.vocab_size",
};

/* Reads from one file; also for messages. */
struct reader {
	const struct gguf *g;
	char *err;
	size_t errlen;
};

static int hparams_fail_key(const struct reader *r, const char *key, const char *why) {
	return fail_with(-EINVAL, r->err, r->errlen, "%s %s", key, why);
}

/* A number; an array with one per layer is accepted if all are equal.  -ENOENT leaves *out unchanged. */
static int hparams_read_u32(const struct reader *r, const char *key, uint32_t *out) {
	enum gguf_kind kind;
	uint64_t count;
	int64_t v, first = 0;
	int rc = gguf_u32(r->g, key, out);
	if (rc != -EINVAL)
		return rc;
	if (gguf_array(r->g, key, &kind, &count) < 0 || count < 1)
		return hparams_fail_key(r, key, "is not a valid number");
	for (uint64_t i = 0; i < count; i++) {
		if (gguf_array_i64(r->g, key, i, &v) < 0 || v < 0 || v > UINT32_MAX)
			return hparams_fail_key(r, key, "is not a valid number");
		if (i == 0)
			first = v;
		if (v != first)
			return fail_with(-ENOTSUP, r->err, r->errlen,
			        "%s differs between layers (%" PRId64 " and %" PRId64
			        "), which Caravan does not know",
			        key, first, v);
	}
	*out = (uint32_t)first;
	return 0;
}

static int hparams_need_u32(const struct reader *r, const char *key, uint32_t *out) {
	int rc = hparams_read_u32(r, key, out);
	if (rc == -ENOENT) {
		hparams_fail_key(r, key, "is missing");
		return -EINVAL;
	}
	return rc;
}

static int hparams_read_f32(const struct reader *r, const char *key, float *out) {
	int rc = gguf_f32(r->g, key, out);
	if (rc == -EINVAL || (rc == 0 && !isfinite(*out)))
		return hparams_fail_key(r, key, "is not a valid number");
	return rc;
}

/* A number for which Caravan supports only `neutral`. */
static int hparams_refuse_f32(const struct reader *r, const char *key, float neutral, float neutral_too) {
	float v = neutral;
	int rc = hparams_read_f32(r, key, &v);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (v != neutral && v != neutral_too)
		return fail_with(
		        -ENOTSUP, r->err, r->errlen, "%s is %g, which Caravan does not know", key, (double)v);
	return 0;
}

static int hparams_refuse_u32(const struct reader *r, const char *key) {
	uint32_t v = 0;
	int rc = hparams_read_u32(r, key, &v);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (v != 0)
		return fail_with(-ENOTSUP, r->err, r->errlen,
		        "%s is %" PRIu32 ": Caravan does not run mixtures of experts", key, v);
	return 0;
}

static int hparams_refuse_bool(const struct reader *r, const char *key, bool neutral) {
	bool v = neutral;
	int rc = gguf_bool(r->g, key, &v);
	if (rc == -EINVAL)
		return hparams_fail_key(r, key, "is not a boolean");
	if (v != neutral)
		return fail_with(-ENOTSUP, r->err, r->errlen, "%s is %s, which Caravan does not know", key,
		        v ? "true" : "false");
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

static int hparams_check_keys(const struct reader *r) {
	static const char prefix[] = "llama.";
	struct gguf_string s;
	char shown[80];
	int rc;

	rc = hparams_check_kind(r);
	if (rc < 0)
		return rc;
	rc = gguf_string(r->g, "general.architecture", &s);
	if (rc < 0)
		return hparams_fail_key(
		        r, "general.architecture", rc == -ENOENT ? "is missing" : "is not a string");
	if (!hparams_is(s, "llama"))
		return fail_with(-ENOTSUP, r->err, r->errlen, "the architecture is %s; Caravan runs llama",
		        gguf_printable(s, shown, sizeof shown));
	for (size_t i = 0; i < gguf_keys(r->g); i++) {
		struct gguf_string key = gguf_key(r->g, i);
		bool known = key.len < sizeof prefix - 1 || memcmp(key.s, prefix, sizeof prefix - 1) != 0;
		for (size_t k = 0; !known && k < sizeof known_keys / sizeof *known_keys; k++)
			known = hparams_is(key, known_keys[k]);
		if (!known)
			return fail_with(-ENOTSUP, r->err, r->errlen, "Caravan does not know the key %s",
			        gguf_printable(key, shown, sizeof shown));
	}
	if ((rc = hparams_refuse_u32(r, "llama.expert_count")) < 0 ||
	        (rc = hparams_refuse_u32(r, "llama.expert_used_count")) < 0 ||
	        (rc = hparams_refuse_bool(r, "llama.attention.causal", true)) < 0 ||
	        (rc = hparams_refuse_bool(r, "llama.use_parallel_residual", false)) < 0 ||
	        (rc = hparams_refuse_f32(r, "llama.attention.clamp_kqv", 0, 0)) < 0 ||
	        (rc = hparams_refuse_f32(r, "llama.attention.max_alibi_bias", 0, 0)) < 0 ||
	        (rc = hparams_refuse_f32(r, "llama.attention.scale", 0, 0)) < 0 ||
	        (rc = hparams_refuse_f32(r, "llama.embedding_scale", 0, 1)) < 0 ||
	        (rc = hparams_refuse_f32(r, "llama.residual_scale", 0, 1)) < 0 ||
	        (rc = hparams_refuse_f32(r, "llama.logit_scale", 0, 1)) < 0 ||
	        (rc = hparams_refuse_f32(r, "llama.rope.scaling.attn_factor", 1, 1)) < 0)
		return rc;
	rc = gguf_string(r->g, "llama.tensor_data_layout", &s);
	if (rc == -EINVAL)
		return hparams_fail_key(r, "llama.tensor_data_layout", "is not a string");
	if (rc == 0 && !hparams_is(s, "Meta AI original pth"))
		return fail_with(-ENOTSUP, r->err, r->errlen,
		        "llama.tensor_data_layout is %s, which Caravan does not know",
		        gguf_printable(s, shown, sizeof shown));
	return 0;
}

static int hparams_read_scale(const struct reader *r, double *scale) {
	struct gguf_string type = {"linear", 6};
	char shown[80];
	float f = 0;
	int rc = gguf_string(r->g, "llama.rope.scaling.type", &type);
	if (rc == -EINVAL)
		return hparams_fail_key(r, "llama.rope.scaling.type", "is not a string");
	if (!hparams_is(type, "linear") && !hparams_is(type, "none"))
		return fail_with(-ENOTSUP, r->err, r->errlen,
		        "llama.rope.scaling.type is %s; Caravan knows linear and none",
		        gguf_printable(type, shown, sizeof shown));
	rc = hparams_read_f32(r, "llama.rope.scaling.factor", &f);
	if (rc == -ENOENT)
		rc = hparams_read_f32(r, "llama.rope.scale_linear", &f); /* its older name */
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (f < 0)
		return hparams_fail_key(r, "llama.rope.scaling.factor", "is negative");
	*scale = f == 0 || hparams_is(type, "none") ? 1 : (double)f;
	return 0;
}

static int hparams_read_rope(const struct reader *r, struct hparams *hp) {
	const struct gguf_tensor *factors = gguf_find(r->g, "rope_freqs.weight");
	uint32_t d = hp->head_size;
	float base = 10000.0f;
	double scale = 1;
	int rc = hparams_read_u32(r, "llama.rope.dimension_count", &d);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (d < 2 || d % 2 || d > hp->head_size || d > 2 * HPARAMS_MAX_PAIRS)
		return fail_with(-EINVAL, r->err, r->errlen,
		        "llama.rope.dimension_count is %" PRIu32 " in heads of %" PRIu32 " elements", d,
		        hp->head_size);
	hp->pairs = d / 2;
	rc = hparams_read_f32(r, "llama.rope.freq_base", &base);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (!(base > 0))
		return hparams_fail_key(r, "llama.rope.freq_base", "is not positive");
	rc = hparams_read_scale(r, &scale);
	if (rc < 0)
		return rc;
	if (factors && (factors->type != KERN_F32 || factors->n != hp->pairs || factors->rows != 1))
		return fail_with(-EINVAL, r->err, r->errlen,
		        "tensor rope_freqs.weight is not %" PRIu32 " factors of type F32", hp->pairs);
	float read[HPARAMS_MAX_PAIRS];
	rc = factors ? gguf_read(factors, 0, read, hp->pairs * sizeof *read) : 0;
	if (rc < 0)
		return fail_with(
		        rc, r->err, r->errlen, "tensor rope_freqs.weight cannot be read: %s", strerror(-rc));
	for (uint32_t i = 0; i < hp->pairs; i++) {
		float factor = factors ? read[i] : 1;
		if (!isfinite(factor) || !(factor > 0))
			return fail_with(-EINVAL, r->err, r->errlen,
			        "tensor rope_freqs.weight holds a factor that is not positive");
		hp->freq[i] = (float)(kern_pow((double)base, -2.0 * i / d) / (double)factor / scale);
	}
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
		return hparams_fail_key(r, "tokenizer.ggml.tokens", "is not an array of strings");
	if (tokens > HPARAMS_MAX_VOCAB || rows > HPARAMS_MAX_VOCAB)
		return hparams_fail_key(r, "tokenizer.ggml.tokens", "has too many entries");
	if (rc == 0 && embed && rows < tokens)
		return fail_with(-EINVAL, r->err, r->errlen,
		        "tensor token_embd.weight has %" PRIu64 " rows, and tokenizer.ggml.tokens %" PRIu64
		        " tokens",
		        rows, tokens);
	hp->vocab = (uint32_t)(rc == 0 && embed ? rows : tokens);
	uint32_t stated = hp->vocab;
	int rv = hparams_read_u32(r, "llama.vocab_size", &stated);
	if (rv < 0 && rv != -ENOENT)
		return rv;
	if (rc == 0 && stated != hp->vocab && stated != tokens)
		return fail_with(-EINVAL, r->err, r->errlen,
		        "llama.vocab_size is %" PRIu32 ", but tokenizer.ggml.tokens has %" PRIu64, stated,
		        tokens);
	if (rv == -ENOENT && rc == -ENOENT)
		return hparams_fail_key(r, "llama.vocab_size", "and tokenizer.ggml.tokens are missing");
	if (rc == -ENOENT)
		hp->vocab = stated;
	return 0;
}

static int hparams_read_shape(const struct reader *r, struct hparams *hp) {
	uint32_t v, window = 0;
	int rc;

	if ((rc = hparams_need_u32(r, "llama.block_count", &hp->layers)) < 0 ||
	        (rc = hparams_need_u32(r, "llama.embedding_length", &hp->dim)) < 0 ||
	        (rc = hparams_need_u32(r, "llama.attention.head_count", &hp->heads)) < 0 ||
	        (rc = hparams_need_u32(r, "llama.feed_forward_length", &hp->ffn)) < 0 ||
	        (rc = hparams_need_u32(r, "llama.context_length", &hp->context)) < 0)
		return rc;
	hp->kv_heads = hp->heads;
	rc = hparams_read_u32(r, "llama.attention.head_count_kv", &hp->kv_heads);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (hp->heads < 1 || hp->dim < 1)
		return hparams_fail_key(r, "llama.attention.head_count", "or llama.embedding_length is 0");
	rc = hparams_read_u32(r, "llama.attention.key_length", &hp->head_size);
	if (rc == -ENOENT) {
		if (hp->dim % hp->heads)
			return fail_with(-EINVAL, r->err, r->errlen,
			        "llama.embedding_length (%" PRIu32 ") is not a multiple of "
			        "llama.attention.head_count (%" PRIu32 ")",
			        hp->dim, hp->heads);
		hp->head_size = hp->dim / hp->heads;
	} else if (rc < 0) {
		return rc;
	}
	v = hp->head_size;
	rc = hparams_read_u32(r, "llama.attention.value_length", &v);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	if (v != hp->head_size)
		return fail_with(-ENOTSUP, r->err, r->errlen,
		        "llama.attention.value_length (%" PRIu32 ") differs from the keys' (%" PRIu32
		        "), which Caravan does not know",
		        v, hp->head_size);
	rc = hparams_read_u32(r, "llama.attention.sliding_window", &window);
	if (rc < 0 && rc != -ENOENT)
		return rc;
	/* within its window, a sliding-window model is an ordinary one */
	if (window > 0 && window < hp->context)
		hp->context = window;

	return hparams_read_vocab(r, hp);
}

int hparams_from_gguf(struct hparams *hp, const struct gguf *g, char *err, size_t errlen) {
	struct reader r = {g, err, errlen};
	static const char eps[] = "llama.attention.layer_norm_rms_epsilon";
	memset(hp, 0, sizeof *hp);
	int rc = hparams_check_keys(&r);
	if (rc == 0)
		rc = hparams_read_shape(&r, hp);
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

int hparams_check(const struct hparams *hp, char *err, size_t errlen) {
	const struct {
		const char *what;
		uint64_t value, max;
	} limit[] = {
	        {"layers", hp->layers, HPARAMS_MAX_LAYERS},
	        {"embedding width", hp->dim, HPARAMS_MAX_WIDTH},
	        {"attention heads", hp->heads, HPARAMS_MAX_HEADS},
	        {"key/value heads", hp->kv_heads, hp->heads},
	        {"head size", hp->head_size, 2 * HPARAMS_MAX_PAIRS},
	        {"feed-forward width", hp->ffn, HPARAMS_MAX_WIDTH},
	        {"vocabulary", hp->vocab, HPARAMS_MAX_VOCAB},
	        {"context length", hp->context, HPARAMS_MAX_CONTEXT},
	        {"rotated pairs", hp->pairs, hp->head_size / 2},
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
	return 0;
}
