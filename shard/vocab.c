/* vocab: reads a vocabulary from a file and checks it.
 * A vocabulary is first made with strings that point into the file, then goes through its blob, so that what a
 * node reads from disk and what it gets from a peer have passed the same checks. */
#include "shard/vocab.h"
#include "shard/content.h"
#include "shard/gguf.h"
#include "shard/vocab_blob.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is(struct gguf_string s, const char *text) {
	return s.len == strlen(text) && memcmp(s.s, text, s.len) == 0;
}

static int fail_key(char *err, size_t errlen, const char *key, const char *why) {
	snprintf(err, errlen, "%s %s", key, why);
	return -EINVAL;
}

static int fail_memory(char *err, size_t errlen) {
	snprintf(err, errlen, "the vocabulary: out of memory");
	return -ENOMEM;
}

static int read_string(const struct gguf *g, const char *key, uint32_t max, struct vocab_string *out,
        char *err, size_t errlen) {
	struct gguf_string s = {"", 0};
	int rc = gguf_string(g, key, &s);
	if (rc == -EINVAL)
		return fail_key(err, errlen, key, "is not a string");
	if (s.len > max)
		return fail_key(err, errlen, key, "is too long");
	out->s = s.s;
	out->len = (uint32_t)s.len;
	return 0;
}

/* An array that must have as many entries as there are tokens.  0, 1 when it is absent, or an error. */
static int check_array(const struct gguf *g, const char *key, uint64_t count, char *err, size_t errlen) {
	enum gguf_kind kind;
	uint64_t have;
	int rc = gguf_array(g, key, &kind, &have);
	if (rc == -ENOENT)
		return 1;
	if (rc < 0)
		return fail_key(err, errlen, key, "is not an array");
	if (have != count) {
		snprintf(err, errlen, "%s has %" PRIu64 " entries for %" PRIu64 " tokens", key, have, count);
		return -EINVAL;
	}
	return 0;
}

static int read_tokens(struct vocab *v, const struct gguf *g, char *err, size_t errlen) {
	static const char tokens[] = "tokenizer.ggml.tokens", scores[] = "tokenizer.ggml.scores",
	                  types[] = "tokenizer.ggml.token_type";
	enum gguf_kind kind;
	uint64_t count;
	int rc = gguf_array(g, tokens, &kind, &count);
	if (rc < 0 || kind != GGUF_STRING)
		return fail_key(
		        err, errlen, tokens, rc == -ENOENT ? "is missing" : "is not an array of strings");
	if (count < 1 || count > VOCAB_MAX_TOKENS)
		return fail_key(err, errlen, tokens, "has no entries, or too many");
	int have_scores = check_array(g, scores, count, err, errlen);
	if (have_scores < 0)
		return have_scores;
	if (have_scores > 0 && v->model == VOCAB_SPM)
		return fail_key(err, errlen, scores, "is missing");
	int have_types = check_array(g, types, count, err, errlen);
	if (have_types < 0)
		return have_types;
	v->token = calloc(count, sizeof *v->token);
	if (!v->token)
		return fail_memory(err, errlen);
	v->tokens = (uint32_t)count;
	for (uint64_t i = 0; i < count; i++) {
		struct gguf_string s = {"", 0};
		int64_t type = VOCAB_NORMAL;
		float score = 0;
		if (gguf_array_string(g, tokens, i, &s) < 0 || s.len > VOCAB_MAX_TEXT)
			return fail_key(err, errlen, tokens, "holds a token that is too long");
		if (have_scores == 0 && gguf_array_f32(g, scores, i, &score) < 0)
			return fail_key(err, errlen, scores, "is not an array of numbers");
		if (have_types == 0 && gguf_array_i64(g, types, i, &type) < 0)
			return fail_key(err, errlen, types, "is not an array of numbers");
		if (type < 0 || type > VOCAB_BYTE)
			return fail_key(err, errlen, types, "holds a type that is not known");
		/* 0 is a writer's "undefined" */
		v->token[i] = (struct vocab_token){
		        {s.s, (uint32_t)s.len}, score, type == 0 ? (uint8_t)VOCAB_NORMAL : (uint8_t)type};
	}
	return 0;
}

static int read_merges(struct vocab *v, const struct gguf *g, char *err, size_t errlen) {
	static const char merges[] = "tokenizer.ggml.merges";
	enum gguf_kind kind;
	uint64_t count;
	int rc = gguf_array(g, merges, &kind, &count);
	if (rc < 0 || kind != GGUF_STRING)
		return fail_key(
		        err, errlen, merges, rc == -ENOENT ? "is missing" : "is not an array of strings");
	if (count > VOCAB_MAX_TOKENS)
		return fail_key(err, errlen, merges, "has too many entries");
	v->merge = calloc(count ? count : 1, sizeof *v->merge);
	if (!v->merge)
		return fail_memory(err, errlen);
	v->merges = (uint32_t)count;
	for (uint64_t i = 0; i < count; i++) {
		struct gguf_string s = {"", 0};
		if (gguf_array_string(g, merges, i, &s) < 0 || s.len > VOCAB_MAX_TEXT)
			return fail_key(err, errlen, merges, "holds an entry that is too long");
		v->merge[i] = (struct vocab_string){s.s, (uint32_t)s.len};
	}
	return 0;
}

static int read_id(const struct vocab *v, const struct gguf *g, const char *key, int32_t standard,
        int32_t *out, char *err, size_t errlen) {
	uint32_t id;
	int rc = gguf_u32(g, key, &id);
	*out = -1;
	if (rc == -ENOENT) {
		if (standard >= 0 && (uint32_t)standard < v->tokens)
			*out = standard;
		return 0;
	}
	if (rc < 0 || id >= v->tokens)
		return fail_key(err, errlen, key, "is not the number of a token");
	*out = (int32_t)id;
	return 0;
}

static int read_bool(
        const struct gguf *g, const char *key, bool standard, bool *out, char *err, size_t errlen) {
	*out = standard;
	return gguf_bool(g, key, out) == -EINVAL ? fail_key(err, errlen, key, "is not a truth value") : 0;
}

/* Pre-tokenizers whose models start with the beginning-of-text token when the file does not say. */
static bool starts_with_bos(struct vocab_string pre) {
	static const char *const names[] = {
	        "llama-bpe", "llama3", "llama-v3", "tekken", "falcon3", "pixtral"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (pre.len == strlen(names[i]) && memcmp(pre.s, names[i], pre.len) == 0)
			return true;
	return false;
}

static int read_all(struct vocab *v, const struct gguf *g, char *err, size_t errlen) {
	struct gguf_string model;
	char shown[80];
	int rc = gguf_string(g, "tokenizer.ggml.model", &model);
	if (rc < 0)
		return fail_key(err, errlen, "tokenizer.ggml.model",
		        rc == -ENOENT ? "is missing" : "is not a string");
	if (is(model, "llama")) {
		v->model = VOCAB_SPM;
	} else if (is(model, "gpt2")) {
		v->model = VOCAB_BPE;
	} else {
		snprintf(err, errlen, "tokenizer.ggml.model is %s; Caravan knows llama and gpt2",
		        gguf_printable(model, shown, sizeof shown));
		return -ENOTSUP;
	}
	bool spm = v->model == VOCAB_SPM;
	if ((rc = read_tokens(v, g, err, errlen)) < 0)
		return rc;
	if (!spm && (rc = read_merges(v, g, err, errlen)) < 0)
		return rc;
	if ((rc = read_string(g, "tokenizer.ggml.pre", VOCAB_MAX_TEXT, &v->pre, err, errlen)) < 0 ||
	        (rc = read_string(g, "tokenizer.chat_template", VOCAB_MAX_TEMPLATE, &v->chat_template, err,
	                 errlen)) < 0)
		return rc;
	if ((rc = read_id(v, g, "tokenizer.ggml.bos_token_id", spm ? 1 : -1, &v->bos, err, errlen)) < 0 ||
	        (rc = read_id(v, g, "tokenizer.ggml.eos_token_id", spm ? 2 : -1, &v->eos, err, errlen)) < 0 ||
	        (rc = read_id(v, g, "tokenizer.ggml.eot_token_id", -1, &v->eot, err, errlen)) < 0 ||
	        (rc = read_id(v, g, "tokenizer.ggml.unknown_token_id", spm ? 0 : -1, &v->unk, err, errlen)) <
	                0)
		return rc;
	if ((rc = read_bool(g, "tokenizer.ggml.add_bos_token", spm || starts_with_bos(v->pre), &v->add_bos,
	             err, errlen)) < 0 ||
	        (rc = read_bool(g, "tokenizer.ggml.add_eos_token", false, &v->add_eos, err, errlen)) < 0 ||
	        (rc = read_bool(
	                 g, "tokenizer.ggml.add_space_prefix", spm, &v->add_space_prefix, err, errlen)) < 0)
		return rc;
	return 0;
}

int vocab_from_gguf(struct vocab **out, const struct gguf *g, char *err, size_t errlen) {
	struct vocab borrowed = {
	        .bos = -1, .eos = -1, .eot = -1, .unk = -1, .pre = {"", 0}, .chat_template = {"", 0}};
	uint8_t *blob = NULL;
	size_t len;
	int rc = read_all(&borrowed, g, err, errlen);
	if (rc == 0)
		rc = vocab_check(&borrowed, err, errlen);
	if (rc == 0) {
		rc = vocab_encode(&borrowed, &blob, &len);
		if (rc < 0)
			snprintf(err, errlen, "the vocabulary: %s",
			        rc == -ENOMEM ? "out of memory" : "too large");
	}
	if (rc == 0)
		rc = vocab_adopt(out, blob, len, err, errlen);
	free(borrowed.token);
	free(borrowed.merge);
	return rc;
}

bool vocab_same_words(const struct vocab *a, const struct vocab *b, char *why, size_t len) {
	if (a->tokens != b->tokens) {
		snprintf(why, len, "%u, not %u", b->tokens, a->tokens);
		return false;
	}
	for (uint32_t i = 0; i < a->tokens; i++) {
		const struct vocab_string *s = &a->token[i].text, *t = &b->token[i].text;
		if (s->len != t->len || memcmp(s->s, t->s, s->len) != 0) {
			snprintf(why, len, "as many, but the one with id %u is another", i);
			return false;
		}
	}
	return true;
}

void vocab_destroy(struct vocab *v) {
	int saved = errno;
	if (!v)
		return;
	free(v->token);
	free(v->merge);
	free(v->bytes);
	free(v);
	errno = saved;
}
