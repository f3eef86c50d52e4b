/* vocab: reads a vocabulary from a model file and checks it.
 * The vocabulary is first built with strings that point into the file, then encoded and decoded again, so that what comes from
 * a disk and what comes from a peer pass the same checks. */
#include "shard/model/vocab.h"
#include "common/fail.h"
#include "shard/gguf/gguf.h"
#include "shard/model/content.h"
#include "shard/model/pretokenizer.h"
#include "shard/model/vocab_internal.h"
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Tokens that end a turn or a text in the models of this family, in fine-tunes of them, and in models from
 * which vocabularies were adopted: those that llama.cpp knows by name.  Files name one EOS, or an EOT and an
 * EOM as well; models also use others. */
static const char *const end_names[] = {
        "<|eot_id|>",
        "<|eom_id|>",
        "<|end_of_text|>",
        "<|endoftext|>",
        "<|im_end|>",
        "<|end|>",
        "<|return|>",
        "<|call|>",
        "<end_of_turn>",
        "<end_of_utterance>",
        "<EOT>",
        "_<EOT>",
        "[EOT]",
        "[EOS]",
        "<eos>",
        "</s>",
        "<\uFF5Cend\u2581of\u2581sentence\uFF5C>",
};

/* FIM tokens of Qwen, StarCoder, Granite, DeepSeek, Code Llama, GLM and Falcon: those that llama.cpp knows by name. */
static const struct {
	enum vocab_fim fim;
	const char *name;
} fim_names[] = {
        {VOCAB_FIM_PRE, "<|fim_prefix|>"},
        {VOCAB_FIM_PRE, "<fim-prefix>"},
        {VOCAB_FIM_PRE, "<fim_prefix>"},
        {VOCAB_FIM_PRE, "<\uFF5Cfim\u2581begin\uFF5C>"},
        {VOCAB_FIM_PRE, "<PRE>"},
        {VOCAB_FIM_PRE, "\u2581<PRE>"},
        {VOCAB_FIM_PRE, "<|code_prefix|>"},
        {VOCAB_FIM_PRE, "<|prefix|>"},
        {VOCAB_FIM_SUF, "<|fim_suffix|>"},
        {VOCAB_FIM_SUF, "<fim-suffix>"},
        {VOCAB_FIM_SUF, "<fim_suffix>"},
        {VOCAB_FIM_SUF, "<\uFF5Cfim\u2581hole\uFF5C>"},
        {VOCAB_FIM_SUF, "<SUF>"},
        {VOCAB_FIM_SUF, "\u2581<SUF>"},
        {VOCAB_FIM_SUF, "<|code_suffix|>"},
        {VOCAB_FIM_SUF, "<|suffix|>"},
        {VOCAB_FIM_MID, "<|fim_middle|>"},
        {VOCAB_FIM_MID, "<fim-middle>"},
        {VOCAB_FIM_MID, "<fim_middle>"},
        {VOCAB_FIM_MID, "<\uFF5Cfim\u2581end\uFF5C>"},
        {VOCAB_FIM_MID, "<MID>"},
        {VOCAB_FIM_MID, "\u2581<MID>"},
        {VOCAB_FIM_MID, "<|code_middle|>"},
        {VOCAB_FIM_MID, "<|middle|>"},
        {VOCAB_FIM_PAD, "<|fim_pad|>"},
        {VOCAB_FIM_PAD, "<fim-pad>"},
        {VOCAB_FIM_PAD, "<fim_pad>"},
        {VOCAB_FIM_PAD, "<PAD>"},
        {VOCAB_FIM_REP, "<|fim_repo|>"},
        {VOCAB_FIM_REP, "<|repo_name|>"},
        {VOCAB_FIM_REP, "<fim-repo>"},
        {VOCAB_FIM_REP, "<REPO>"},
        {VOCAB_FIM_REP, "<reponame>"},
        {VOCAB_FIM_SEP, "<|file_sep|>"},
};

void vocab_find_fim(const struct vocab *v, uint32_t fim[VOCAB_FIMS]) {
	memset(fim, 0, VOCAB_FIMS * sizeof *fim);
	for (uint32_t i = 0; i < v->tokens; i++) {
		const struct vocab_string *s = &v->token[i].text;
		if (s->len < 5 || s->s[s->len - 1] != '>')
			continue;
		for (size_t k = 0; k < sizeof fim_names / sizeof *fim_names; k++)
			if (!fim[fim_names[k].fim] && s->len == strlen(fim_names[k].name) &&
			        memcmp(s->s, fim_names[k].name, s->len) == 0)
				fim[fim_names[k].fim] = 1 + i;
	}
}

bool vocab_is_end_name(const struct vocab_token *token) {
	const struct vocab_string *s = &token->text;
	if (token->type == VOCAB_USER_DEFINED && s->len == 4 && memcmp(s->s, "</s>", 4) == 0)
		return false; /* Gemma's, which is HTML */
	for (size_t i = 0; i < sizeof end_names / sizeof *end_names; i++)
		if (s->len == strlen(end_names[i]) && memcmp(s->s, end_names[i], s->len) == 0)
			return true;
	return false;
}

static bool vocab_is(struct gguf_string s, const char *text) {
	return s.len == strlen(text) && memcmp(s.s, text, s.len) == 0;
}

static int vocab_fail_key(char *err, size_t errlen, const char *key, const char *why) {
	return fail_with(-EINVAL, err, errlen, "%s %s", key, why);
}

static int vocab_read_string(const struct gguf *g, const char *key, uint32_t max, struct vocab_string *out,
        char *err, size_t errlen) {
	struct gguf_string s = {"", 0};
	int rc = gguf_string(g, key, &s);
	if (rc == -EINVAL)
		return vocab_fail_key(err, errlen, key, "is not a string");
	if (s.len > max)
		return vocab_fail_key(err, errlen, key, "is too long");
	out->s = s.s;
	out->len = (uint32_t)s.len;
	return 0;
}

/* An array that must have as many entries as there are tokens.  0, 1 when it is absent, or an error. */
static int vocab_check_array(
        const struct gguf *g, const char *key, uint64_t count, char *err, size_t errlen) {
	enum gguf_kind kind;
	uint64_t have;
	int rc = gguf_array(g, key, &kind, &have);
	if (rc == -ENOENT)
		return 1;
	if (rc < 0)
		return vocab_fail_key(err, errlen, key, "is not an array");
	if (have != count)
		return fail_with(-EINVAL, err, errlen, "%s has %" PRIu64 " entries for %" PRIu64 " tokens",
		        key, have, count);
	return 0;
}

static int vocab_read_tokens(struct vocab *v, const struct gguf *g, char *err, size_t errlen) {
	static const char tokens[] = "tokenizer.ggml.tokens", scores[] = "tokenizer.ggml.scores",
	                  types[] = "tokenizer.ggml.token_type";
	enum gguf_kind kind;
	uint64_t count;
	int rc = gguf_array(g, tokens, &kind, &count);
	if (rc < 0 || kind != GGUF_STRING)
		return vocab_fail_key(
		        err, errlen, tokens, rc == -ENOENT ? "is missing" : "is not an array of strings");
	if (count < 1 || count > VOCAB_MAX_TOKENS)
		return vocab_fail_key(err, errlen, tokens, "has no entries, or too many");
	int have_scores = vocab_check_array(g, scores, count, err, errlen);
	if (have_scores < 0)
		return have_scores;
	if (have_scores > 0 && v->model == VOCAB_SPM)
		return vocab_fail_key(err, errlen, scores, "is missing");
	int have_types = vocab_check_array(g, types, count, err, errlen);
	if (have_types < 0)
		return have_types;
	v->token = calloc(count, sizeof *v->token);
	if (!v->token)
		return fail_memory(err, errlen, "the vocabulary");
	v->tokens = (uint32_t)count;
	for (uint64_t i = 0; i < count; i++) {
		struct gguf_string s = {"", 0};
		int64_t type = VOCAB_NORMAL;
		float score = 0;
		if (gguf_array_string(g, tokens, i, &s) < 0 || s.len > VOCAB_MAX_TEXT)
			return vocab_fail_key(err, errlen, tokens, "holds a token that is too long");
		if (have_scores == 0 && gguf_array_f32(g, scores, i, &score) < 0)
			return vocab_fail_key(err, errlen, scores, "is not an array of numbers");
		if (have_types == 0 && gguf_array_i64(g, types, i, &type) < 0)
			return vocab_fail_key(err, errlen, types, "is not an array of numbers");
		if (type < 0 || type > VOCAB_BYTE)
			return vocab_fail_key(err, errlen, types, "holds an unknown type");
		/* some writers use 0 for "undefined" */
		v->token[i] = (struct vocab_token){
		        {s.s, (uint32_t)s.len}, score, type == 0 ? (uint8_t)VOCAB_NORMAL : (uint8_t)type};
	}
	return 0;
}

static int vocab_read_merges(struct vocab *v, const struct gguf *g, char *err, size_t errlen) {
	static const char merges[] = "tokenizer.ggml.merges";
	enum gguf_kind kind;
	uint64_t count;
	int rc = gguf_array(g, merges, &kind, &count);
	if (rc < 0 || kind != GGUF_STRING)
		return vocab_fail_key(
		        err, errlen, merges, rc == -ENOENT ? "is missing" : "is not an array of strings");
	if (count > VOCAB_MAX_TOKENS)
		return vocab_fail_key(err, errlen, merges, "has too many entries");
	v->merge = calloc(count ? count : 1, sizeof *v->merge);
	if (!v->merge)
		return fail_memory(err, errlen, "the vocabulary");
	v->merges = (uint32_t)count;
	for (uint64_t i = 0; i < count; i++) {
		struct gguf_string s = {"", 0};
		if (gguf_array_string(g, merges, i, &s) < 0 || s.len > VOCAB_MAX_TEXT)
			return vocab_fail_key(err, errlen, merges, "holds an entry that is too long");
		v->merge[i] = (struct vocab_string){s.s, (uint32_t)s.len};
	}
	return 0;
}

/* Appends to the note. */
static void vocab_note_ignored(struct vocab_reading *r, const char *fmt, ...)
        __attribute__((format(printf, 2, 3)));

static void vocab_note_ignored(struct vocab_reading *r, const char *fmt, ...) {
	size_t at = strlen(r->note);
	va_list ap;
	if (at > 0 && at + 2 < sizeof r->note)
		at += (size_t)snprintf(r->note + at, sizeof r->note - at, "; ");
	va_start(ap, fmt);
	vsnprintf(r->note + at, sizeof r->note - at, fmt, ap);
	va_end(ap);
}

static void vocab_add_end(struct vocab *v, uint32_t id) {
	uint32_t at = v->ends;
	for (uint32_t i = 0; i < v->ends; i++)
		if (v->end[i] == id)
			return;
	if (v->ends == VOCAB_MAX_ENDS)
		return;
	for (; at > 0 && v->end[at - 1] > id; at--)
		v->end[at] = v->end[at - 1];
	v->end[at] = id;
	v->ends++;
}

/* The id of a special token.  If a list is allowed: the first is stored in *out, the others are ends. */
static int vocab_read_ids(struct vocab *v, const struct gguf *g, const char *key, bool list, int32_t standard,
        int32_t *out, struct vocab_reading *r, char *err, size_t errlen) {
	enum gguf_kind kind;
	uint64_t count;
	int64_t id = -1;
	int rc = gguf_i64(g, key, &id);
	bool many = rc == -EINVAL && list && gguf_array(g, key, &kind, &count) == 0;
	*out = -1;
	if (rc == -EINVAL && !many)
		return vocab_fail_key(err, errlen, key, "is not a token id");
	for (uint64_t i = 0; i < (many ? count : rc == 0 ? 1 : 0); i++) {
		if (many && gguf_array_i64(g, key, i, &id) < 0)
			return vocab_fail_key(err, errlen, key, "is not a list of token ids");
		if (id < 0 || id >= v->tokens) {
			if (id != -1) /* -1 means that there is none */
				vocab_note_ignored(r,
				        "%s is %" PRId64 " and there are %" PRIu32 " tokens: it is ignored",
				        key, id, v->tokens);
		} else if (*out < 0) {
			*out = (int32_t)id;
		} else {
			vocab_add_end(v, (uint32_t)id);
		}
	}
	if (*out < 0 && standard >= 0 && (uint32_t)standard < v->tokens)
		*out = standard;
	return 0;
}

/* Reads the tokens that begin and end a text.  Besides the keys with one meaning each, files may list all
 * ends under a key of their own, or under an end's key. */
static int vocab_read_special(
        struct vocab *v, const struct gguf *g, struct vocab_reading *r, char *err, size_t errlen) {
	bool spm = v->model == VOCAB_SPM;
	int32_t eom, more;
	const struct {
		const char *key;
		bool list;
		int32_t standard, *out;
	} ids[] = {{"tokenizer.ggml.bos_token_id", false, spm ? 1 : -1, &v->bos},
	        {"tokenizer.ggml.unknown_token_id", false, spm ? 0 : -1, &v->unk},
	        {"tokenizer.ggml.eos_token_id", true, spm ? 2 : -1, &v->eos},
	        {"tokenizer.ggml.eot_token_id", true, -1, &v->eot},
	        {"tokenizer.ggml.eom_token_id", true, -1, &eom},
	        {"tokenizer.ggml.eos_token_ids", true, -1, &more}};
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		int rc = vocab_read_ids(
		        v, g, ids[i].key, ids[i].list, ids[i].standard, ids[i].out, r, err, errlen);
		if (rc < 0)
			return rc;
	}
	if (eom >= 0)
		vocab_add_end(v, (uint32_t)eom);
	if (more >= 0)
		vocab_add_end(v, (uint32_t)more);
	/* tokens that are known to be ends anyway are left out, to keep the blob minimal */
	uint32_t kept = 0;
	for (uint32_t i = 0; i < v->ends; i++)
		if ((int32_t)v->end[i] != v->eos && (int32_t)v->end[i] != v->eot &&
		        !vocab_is_end_name(&v->token[v->end[i]]))
			v->end[kept++] = v->end[i];
	v->ends = kept;
	return 0;
}

/* The file's own FIM tokens, under the keys of today and of old, else those known by name. */
static int vocab_read_fim(
        struct vocab *v, const struct gguf *g, struct vocab_reading *r, char *err, size_t errlen) {
	static const struct {
		enum vocab_fim fim;
		const char *key;
	} keys[] = {{VOCAB_FIM_PRE, "tokenizer.ggml.fim_pre_token_id"},
	        {VOCAB_FIM_PRE, "tokenizer.ggml.prefix_token_id"},
	        {VOCAB_FIM_SUF, "tokenizer.ggml.fim_suf_token_id"},
	        {VOCAB_FIM_SUF, "tokenizer.ggml.suffix_token_id"},
	        {VOCAB_FIM_MID, "tokenizer.ggml.fim_mid_token_id"},
	        {VOCAB_FIM_MID, "tokenizer.ggml.middle_token_id"},
	        {VOCAB_FIM_PAD, "tokenizer.ggml.fim_pad_token_id"},
	        {VOCAB_FIM_REP, "tokenizer.ggml.fim_rep_token_id"},
	        {VOCAB_FIM_SEP, "tokenizer.ggml.fim_sep_token_id"}};
	uint32_t own[VOCAB_FIMS] = {0};
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		int32_t id;
		int rc = vocab_read_ids(v, g, keys[i].key, false, -1, &id, r, err, errlen);
		if (rc < 0)
			return rc;
		if (id >= 0 && !own[keys[i].fim])
			own[keys[i].fim] = 1 + (uint32_t)id;
	}
	vocab_find_fim(v, v->fim);
	for (unsigned i = 0; i < VOCAB_FIMS; i++)
		v->fim[i] = own[i] ? own[i] : v->fim[i];
	return 0;
}

static int vocab_read_bool(
        const struct gguf *g, const char *key, bool standard, bool *out, char *err, size_t errlen) {
	*out = standard;
	return gguf_bool(g, key, out) == -EINVAL ? vocab_fail_key(err, errlen, key, "is not a boolean") : 0;
}

/* Whether texts start with BOS when the file does not say. */
static bool vocab_starts_with_bos(const struct vocab *v) {
	const struct pretokenizer *pre = pretokenizer_find(v->pre.s, v->pre.len);
	return v->model == VOCAB_SPM || (pre && pre->flags & PRETOKENIZER_BOS);
}

/* Llama 3 as converted in April 2024, before files named a pre-tokenizer. */
#define LLAMA3_TOKENS 128256u
#define LLAMA3_BEGIN 128000u

static bool vocab_is_early_llama3(const struct vocab *v) {
	static const char begin[] = "<|begin_of_text|>";
	const struct vocab_string *s = &v->token[v->tokens > LLAMA3_BEGIN ? LLAMA3_BEGIN : 0].text;
	return v->tokens == LLAMA3_TOKENS && s->len == sizeof begin - 1 && memcmp(s->s, begin, s->len) == 0;
}

/* The pre-tokenizer: the user's choice, else the file's, else what is known of the model. */
static int vocab_read_pre(
        struct vocab *v, const struct gguf *g, struct vocab_reading *r, char *err, size_t errlen) {
	static const char key[] = "tokenizer.ggml.pre", llama3[] = "llama-bpe";
	int rc = vocab_read_string(g, key, VOCAB_MAX_TEXT, &v->pre, err, errlen);
	if (rc < 0)
		return rc;
	if (r->pre && *r->pre) {
		size_t len = strlen(r->pre);
		if (v->model != VOCAB_BPE)
			return vocab_fail_key(err, errlen, "tokenizer.ggml.model",
			        "is llama, which has no pre-tokenizer: leave --pre out");
		if (len > VOCAB_MAX_TEXT)
			return vocab_fail_key(err, errlen, "--pre", "is too long");
		v->pre = (struct vocab_string){r->pre, (uint32_t)len};
	} else if (v->model == VOCAB_BPE && v->pre.len == 0 && vocab_is_early_llama3(v)) {
		v->pre = (struct vocab_string){llama3, sizeof llama3 - 1};
		vocab_note_ignored(r,
		        "%s is missing: by its tokens this is Llama 3, whose pre-tokenizer is %s", key,
		        llama3);
	}
	return 0;
}

static int vocab_read_template(
        struct vocab *v, const struct gguf *g, const struct vocab_reading *r, char *err, size_t errlen) {
	size_t len = r->chat_template ? strlen(r->chat_template) : 0;
	if (len == 0)
		return vocab_read_string(
		        g, "tokenizer.chat_template", VOCAB_MAX_TEMPLATE, &v->chat_template, err, errlen);
	if (len > VOCAB_MAX_TEMPLATE)
		return vocab_fail_key(err, errlen, "--template", "is too long");
	v->chat_template = (struct vocab_string){r->chat_template, (uint32_t)len};
	return 0;
}

static int vocab_read_all(
        struct vocab *v, const struct gguf *g, struct vocab_reading *r, char *err, size_t errlen) {
	struct gguf_string model;
	char shown[80];
	int rc = gguf_string(g, "tokenizer.ggml.model", &model);
	if (rc < 0)
		return vocab_fail_key(err, errlen, "tokenizer.ggml.model",
		        rc == -ENOENT ? "is missing" : "is not a string");
	if (vocab_is(model, "llama")) {
		v->model = VOCAB_SPM;
	} else if (vocab_is(model, "gpt2")) {
		v->model = VOCAB_BPE;
	} else {
		return fail_with(-ENOTSUP, err, errlen,
		        "tokenizer.ggml.model is %s; Caravan knows llama and gpt2",
		        gguf_printable(model, shown, sizeof shown));
	}
	bool spm = v->model == VOCAB_SPM;
	if ((rc = vocab_read_tokens(v, g, err, errlen)) < 0)
		return rc;
	if (!spm && (rc = vocab_read_merges(v, g, err, errlen)) < 0)
		return rc;
	if ((rc = vocab_read_pre(v, g, r, err, errlen)) < 0 ||
	        (rc = vocab_read_template(v, g, r, err, errlen)) < 0 ||
	        (rc = vocab_read_special(v, g, r, err, errlen)) < 0 ||
	        (rc = vocab_read_fim(v, g, r, err, errlen)) < 0)
		return rc;
	if ((rc = vocab_read_bool(g, "tokenizer.ggml.add_bos_token", vocab_starts_with_bos(v), &v->add_bos,
	             err, errlen)) < 0 ||
	        (rc = vocab_read_bool(g, "tokenizer.ggml.add_eos_token", false, &v->add_eos, err, errlen)) <
	                0 ||
	        (rc = vocab_read_bool(
	                 g, "tokenizer.ggml.add_space_prefix", spm, &v->add_space_prefix, err, errlen)) < 0)
		return rc;
	return 0;
}

int vocab_from_gguf(
        struct vocab **out, const struct gguf *g, struct vocab_reading *r, char *err, size_t errlen) {
	struct vocab borrowed = {
	        .bos = -1, .eos = -1, .eot = -1, .unk = -1, .pre = {"", 0}, .chat_template = {"", 0}};
	struct vocab_reading as_it_is = {.pre = NULL};
	uint8_t *blob = NULL;
	size_t len;
	r = r ? r : &as_it_is;
	r->note[0] = '\0';
	int rc = vocab_read_all(&borrowed, g, r, err, errlen);
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

bool vocab_same_tokens(const struct vocab *a, const struct vocab *b, char *why, size_t len) {
	if (a->tokens != b->tokens)
		return fail_with(false, why, len, "%u, not %u", b->tokens, a->tokens);
	for (uint32_t i = 0; i < a->tokens; i++) {
		const struct vocab_string *s = &a->token[i].text, *t = &b->token[i].text;
		if (s->len != t->len || memcmp(s->s, t->s, s->len) != 0)
			return fail_with(false, why, len, "as many, but the one with id %u differs", i);
	}
	return true;
}

struct vocab *vocab_ref(const struct vocab *v) {
	struct vocab *own = (struct vocab *)v; /* nothing but the count changes */
	atomic_fetch_add(&own->more, 1);
	return own;
}

void vocab_destroy(struct vocab *v) {
	int saved = errno;
	if (!v || atomic_fetch_sub(&v->more, 1) > 0)
		return;
	free(v->token);
	free(v->merge);
	free(v->bytes);
	free(v);
	errno = saved;
}
