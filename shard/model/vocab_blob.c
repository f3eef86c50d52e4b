/* vocab_blob: the bytes of a vocabulary (doc/protocol.md, "Vocabulary"), and the checks that every vocabulary passes. */
#include "common/bytes.h"
#include "common/fail.h"
#include "shard/model/content.h"
#include "shard/model/vocab_internal.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VOCAB_MAGIC "CVVO"
#define VOCAB_VERSION 1u
#define VOCAB_VERSION_ENDS 2u /* only for vocabularies with further ends: other blobs stay unchanged */
#define VOCAB_VERSION_FIM 3u  /* only for FIM tokens that are not those known by name */
#define VOCAB_HEAD 40u        /* magic, version, model, flags, four ids, tokens, merges */
enum { FLAG_ADD_BOS = 1, FLAG_ADD_EOS = 2, FLAG_ADD_SPACE = 4, FLAGS = 7 };

static int vocab_blob_fail(char *err, size_t errlen, const char *why) {
	return fail_with(-EINVAL, err, errlen, "the vocabulary %s", why);
}

int vocab_check(const struct vocab *v, char *err, size_t errlen) {
	for (unsigned i = 0; i < VOCAB_FIMS; i++)
		if (v->fim[i] > v->tokens)
			return vocab_blob_fail(err, errlen, "names a FIM token that it does not have");
	const int32_t id[] = {v->bos, v->eos, v->eot, v->unk};
	if (v->model != VOCAB_SPM && v->model != VOCAB_BPE)
		return vocab_blob_fail(err, errlen, "is of a kind that Caravan does not know");
	if (v->tokens < 1 || v->tokens > VOCAB_MAX_TOKENS || v->merges > VOCAB_MAX_TOKENS)
		return vocab_blob_fail(err, errlen, "has no tokens, or too many");
	if (v->model == VOCAB_SPM && v->merges > 0)
		return vocab_blob_fail(err, errlen, "has merges but is not a BPE");
	if (v->pre.len > VOCAB_MAX_TEXT || v->chat_template.len > VOCAB_MAX_TEMPLATE)
		return vocab_blob_fail(err, errlen, "has a name or template that is too long");
	if (v->ends > VOCAB_MAX_ENDS)
		return vocab_blob_fail(err, errlen, "has too many tokens that end a text");
	for (uint32_t i = 0; i < v->ends; i++)
		if (v->end[i] >= v->tokens || (i > 0 && v->end[i] <= v->end[i - 1]))
			return vocab_blob_fail(
			        err, errlen, "ends a text with a token that it does not have, or twice");
	for (size_t i = 0; i < sizeof id / sizeof *id; i++)
		if (id[i] < -1 || (id[i] >= 0 && (uint32_t)id[i] >= v->tokens))
			return vocab_blob_fail(err, errlen, "names a special token that it does not have");
	for (uint32_t i = 0; i < v->tokens; i++) {
		const struct vocab_token *t = &v->token[i];
		if (t->text.len > VOCAB_MAX_TEXT || t->type < VOCAB_NORMAL || t->type > VOCAB_BYTE ||
		        !isfinite(t->score))
			return fail_with(-EINVAL, err, errlen,
			        "token %" PRIu32 " of the vocabulary has an impossible length, score or type",
			        i);
	}
	for (uint32_t i = 0; i < v->merges; i++) {
		const struct vocab_string *m = &v->merge[i];
		/* left and right are separated by the first space that has something before it */
		const char *space = m->len > 2 ? memchr(m->s + 1, ' ', m->len - 2) : NULL;
		if (m->len > VOCAB_MAX_TEXT || !space)
			return fail_with(-EINVAL, err, errlen,
			        "merge %" PRIu32 " of the vocabulary is not two pieces", i);
	}
	return 0;
}

static uint32_t blob_version(const struct vocab *v) {
	uint32_t known[VOCAB_FIMS];
	vocab_find_fim(v, known);
	if (memcmp(known, v->fim, sizeof known) != 0)
		return VOCAB_VERSION_FIM;
	return v->ends ? VOCAB_VERSION_ENDS : VOCAB_VERSION;
}

static uint64_t blob_bytes(const struct vocab *v, uint32_t version) {
	uint64_t len = VOCAB_HEAD + 4 + v->pre.len + 4 + (uint64_t)v->chat_template.len;
	len += version >= VOCAB_VERSION_ENDS ? 4 + 4 * (uint64_t)v->ends : 0;
	len += version >= VOCAB_VERSION_FIM ? sizeof v->fim : 0;
	for (uint32_t i = 0; i < v->tokens; i++)
		len += 4 + 4 + 1 + (uint64_t)v->token[i].text.len;
	for (uint32_t i = 0; i < v->merges; i++)
		len += 4 + (uint64_t)v->merge[i].len;
	return len;
}

static void vocab_put_string(struct bytes_out *o, struct vocab_string s) {
	bytes_put_u32(o, s.len);
	bytes_put(o, s.s, s.len);
}

int vocab_encode(const struct vocab *v, uint8_t **out, size_t *len) {
	char err[128];
	int rc = vocab_check(v, err, sizeof err);
	if (rc < 0)
		return rc;
	uint32_t version = blob_version(v);
	uint64_t size = blob_bytes(v, version);
	if (size > CONTENT_BLOB_MAX)
		return -EFBIG;
	uint8_t *blob = malloc(size);
	if (!blob)
		return -ENOMEM;
	struct bytes_out o = {blob, blob + size};
	bytes_put(&o, VOCAB_MAGIC, 4);
	bytes_put_u32(&o, version);
	bytes_put_u32(&o, (uint32_t)v->model);
	bytes_put_u32(&o, (v->add_bos ? FLAG_ADD_BOS : 0u) | (v->add_eos ? FLAG_ADD_EOS : 0u) |
	                          (v->add_space_prefix ? FLAG_ADD_SPACE : 0u));
	bytes_put_u32(&o, (uint32_t)v->bos);
	bytes_put_u32(&o, (uint32_t)v->eos);
	bytes_put_u32(&o, (uint32_t)v->eot);
	bytes_put_u32(&o, (uint32_t)v->unk);
	bytes_put_u32(&o, v->tokens);
	bytes_put_u32(&o, v->merges);
	if (version >= VOCAB_VERSION_ENDS)
		bytes_put_u32(&o, v->ends);
	for (uint32_t i = 0; i < v->ends; i++)
		bytes_put_u32(&o, v->end[i]);
	for (unsigned i = 0; version >= VOCAB_VERSION_FIM && i < VOCAB_FIMS; i++)
		bytes_put_u32(&o, v->fim[i]);
	vocab_put_string(&o, v->pre);
	vocab_put_string(&o, v->chat_template);
	for (uint32_t i = 0; i < v->tokens; i++) {
		const struct vocab_token *t = &v->token[i];
		bytes_put_u32(&o, t->text.len);
		bytes_put_f32(&o, t->score);
		bytes_put(&o, &t->type, 1);
		bytes_put(&o, t->text.s, t->text.len);
	}
	for (uint32_t i = 0; i < v->merges; i++)
		vocab_put_string(&o, v->merge[i]);
	*out = blob;
	*len = size;
	return 0;
}

static struct vocab_string vocab_get_string(struct bytes_in *in) {
	struct vocab_string s = {"", bytes_get_u32(in)};
	s.s = (const char *)bytes_get(in, s.len);
	return s;
}

static int vocab_blob_parse(struct vocab *v, const uint8_t *blob, size_t len, char *err, size_t errlen) {
	struct bytes_in in = {blob, len, false};
	const uint8_t *magic = bytes_get(&in, 4);
	uint32_t version = bytes_get_u32(&in);
	if (in.short_of || memcmp(magic, VOCAB_MAGIC, 4) != 0 || version < VOCAB_VERSION ||
	        version > VOCAB_VERSION_FIM)
		return vocab_blob_fail(err, errlen, "is not in the form that Caravan writes");
	v->model = (enum vocab_model)bytes_get_u32(&in);
	uint32_t flags = bytes_get_u32(&in);
	v->bos = (int32_t)bytes_get_u32(&in);
	v->eos = (int32_t)bytes_get_u32(&in);
	v->eot = (int32_t)bytes_get_u32(&in);
	v->unk = (int32_t)bytes_get_u32(&in);
	v->tokens = bytes_get_u32(&in);
	v->merges = bytes_get_u32(&in);
	v->ends = version >= VOCAB_VERSION_ENDS ? bytes_get_u32(&in) : 0;
	if (v->ends > VOCAB_MAX_ENDS || (version == VOCAB_VERSION_ENDS && v->ends == 0))
		return vocab_blob_fail(err, errlen, "has no further ends, or too many");
	for (uint32_t i = 0; i < v->ends; i++)
		v->end[i] = bytes_get_u32(&in);
	for (unsigned i = 0; version >= VOCAB_VERSION_FIM && i < VOCAB_FIMS; i++)
		v->fim[i] = bytes_get_u32(&in);
	v->pre = vocab_get_string(&in);
	v->chat_template = vocab_get_string(&in);
	if (in.short_of || flags & ~(uint32_t)FLAGS || v->tokens > in.left / 9 || v->merges > in.left / 4)
		return vocab_blob_fail(err, errlen, "ends before what it lists");
	v->add_bos = flags & FLAG_ADD_BOS;
	v->add_eos = flags & FLAG_ADD_EOS;
	v->add_space_prefix = flags & FLAG_ADD_SPACE;
	v->token = calloc(v->tokens ? v->tokens : 1, sizeof *v->token);
	v->merge = calloc(v->merges ? v->merges : 1, sizeof *v->merge);
	if (!v->token || !v->merge)
		return fail_memory(err, errlen, "the vocabulary");
	for (uint32_t i = 0; i < v->tokens; i++) {
		struct vocab_token *t = &v->token[i];
		t->text.len = bytes_get_u32(&in);
		t->score = bytes_get_f32(&in);
		t->type = *bytes_get(&in, 1);
		t->text.s = (const char *)bytes_get(&in, t->text.len);
	}
	for (uint32_t i = 0; i < v->merges; i++)
		v->merge[i] = vocab_get_string(&in);
	if (in.short_of || in.left)
		return vocab_blob_fail(err, errlen, "ends before what it lists, or after");
	if (version < VOCAB_VERSION_FIM)
		vocab_find_fim(v, v->fim);
	else if (blob_version(v) != version)
		return vocab_blob_fail(err, errlen, "lists FIM tokens that are known by name");
	return vocab_check(v, err, errlen);
}

int vocab_adopt(struct vocab **out, uint8_t *blob, size_t len, char *err, size_t errlen) {
	struct vocab *v = calloc(1, sizeof *v);
	if (!v) {
		free(blob);
		return fail_memory(err, errlen, "the vocabulary");
	}
	v->bytes = blob;
	int rc = vocab_blob_parse(v, blob, len, err, errlen);
	if (rc < 0) {
		vocab_destroy(v);
		return rc;
	}
	*out = v;
	return 0;
}

int vocab_decode(struct vocab **out, const uint8_t *data, size_t len, char *err, size_t errlen) {
	if (len > CONTENT_BLOB_MAX)
		return vocab_blob_fail(err, errlen, "is too large");
	uint8_t *blob = malloc(len ? len : 1);
	if (!blob)
		return fail_memory(err, errlen, "the vocabulary");
	memcpy(blob, data, len);
	return vocab_adopt(out, blob, len, err, errlen);
}
