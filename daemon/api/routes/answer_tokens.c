/* answer_tokens: see answer_tokens.h. */
#include "daemon/api/routes/answer_tokens.h"
#include "daemon/text/utf8.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void answer_tokens_clear(struct answer_tokens *t) {
	for (size_t i = 0; i < t->n; i++)
		free(t->token[i]);
	free(t->token);
	*t = (struct answer_tokens){NULL, 0, 0, 0, 0};
}

bool answer_tokens_add(struct answer_tokens *t, const struct token_logprobs *token) {
	if (t->n == t->room) {
		size_t room = t->room * 2 + 8;
		struct token_logprobs **list = realloc(t->token, room * sizeof *list);
		if (!list)
			return false;
		t->token = list;
		t->room = room;
	}
	t->token[t->n] = token_logprobs_copy(token);
	if (!t->token[t->n])
		return false;
	t->n++;
	return true;
}

void answer_tokens_drop_unshown(struct answer_tokens *t) {
	while (t->n > t->shown)
		free(t->token[--t->n]);
	if (t->sent > t->n)
		t->sent = t->n;
}

/* ---- JSON ---------------------------------------------------------------------------------------- */

/* The bytes as text: what is no character, or U+0000, is written as \xNN.  all: everything is, if any byte is. */
static json_t *token_text(const char *prefix, const char *s, size_t len, bool all) {
	size_t n = strlen(prefix);
	if (utf8_valid(s, len) && !memchr(s, 0, len))
		return json_stringn(s, len);
	char *out = malloc(n + 4 * len + 1);
	if (!out)
		return NULL;
	memcpy(out, prefix, n);
	for (size_t i = 0, one; i < len; i += one) {
		bool whole = utf8_next(s + i, len - i, &one) == UTF8_WHOLE && s[i] && !all;
		if (whole)
			memcpy(out + n, s + i, one);
		for (size_t k = 0; !whole && k < one; k++)
			snprintf(out + n + 4 * k, 5, "\\x%02x", (unsigned)(uint8_t)s[i + k]);
		n += whole ? one : 4 * one;
	}
	json_t *o = json_stringn(out, n);
	free(out);
	return o;
}

static json_t *token_bytes(const struct token_logprob *t) {
	json_t *bytes = json_array();
	for (size_t i = 0; i < t->len; i++)
		json_array_append_new(bytes, json_integer((uint8_t)t->text[i]));
	return bytes;
}

/* A control token that the text does not show has a name, but no bytes. */
static json_t *token_json(const struct token_logprob *t, enum token_form form) {
	json_t *o = json_object();
	if (form == TOKEN_LLAMA)
		json_object_set_new(o, "id", json_integer(t->id));
	json_object_set_new(o, "token", token_text("", t->text, t->len, false));
	json_object_set_new(o, "logprob", json_real((double)t->logprob));
	if (!t->hidden)
		json_object_set_new(o, "bytes", token_bytes(t));
	else if (form != TOKEN_OLLAMA)
		json_object_set_new(o, "bytes", form == TOKEN_LLAMA ? json_array() : json_null());
	return o;
}

json_t *answer_tokens_json(const struct answer_tokens *t, size_t first, enum token_form form) {
	json_t *list = json_array();
	for (size_t i = first; i < t->n; i++) {
		const struct token_logprobs *of = t->token[i];
		json_t *o = token_json(&of->token, form), *top = json_array();
		for (uint32_t k = 0; k < of->ntop; k++)
			json_array_append_new(top, token_json(&of->top[k], form));
		if (form == TOKEN_OLLAMA && of->ntop == 0)
			json_decref(top);
		else
			json_object_set_new(o, "top_logprobs", top);
		json_array_append_new(list, o);
	}
	return list;
}

json_t *answer_tokens_take(struct answer_tokens *t, enum token_form form) {
	json_t *list = answer_tokens_json(t, 0, form);
	answer_tokens_clear(t);
	return list;
}

/* ---- as arrays ----------------------------------------------------------------------------------- */

size_t text_characters(const char *s, size_t len) {
	size_t n = 0;
	for (size_t i = 0; i < len; i++)
		n += ((uint8_t)s[i] & 0xC0) != 0x80;
	return n;
}

static json_t *token_key(const struct token_logprob *t) {
	return token_text("bytes:", t->text, t->len, true);
}

/* The first of several with one text is the most likely. */
static void token_put(json_t *top, const struct token_logprob *t) {
	json_t *key = token_key(t);
	const char *s = json_string_value(key);
	if (s && !json_object_get(top, s))
		json_object_set_new(top, s, json_real((double)t->logprob));
	json_decref(key);
}

json_t *answer_tokens_arrays(
        const struct answer_tokens *t, const char *text, size_t len, struct text_place at) {
	json_t *tokens = json_array(), *values = json_array(), *tops = json_array(), *offsets = json_array();
	size_t done = 0, chars = at.chars;
	bool top = false;
	for (size_t i = 0; i < t->n; i++) {
		const struct token_logprobs *of = t->token[i];
		size_t to = of->offset > at.bytes ? of->offset - at.bytes : 0;
		to = to < len ? to : len;
		if (to > done) {
			chars += text_characters(text + done, to - done);
			done = to;
		}
		json_t *map = json_object();
		for (uint32_t k = 0; k < of->ntop; k++)
			token_put(map, &of->top[k]);
		token_put(map, &of->token);
		top = top || of->ntop > 0;
		json_array_append_new(tokens, token_key(&of->token));
		json_array_append_new(values, json_real((double)of->token.logprob));
		json_array_append_new(tops, map);
		json_array_append_new(offsets, json_integer((json_int_t)chars));
	}
	if (!top) {
		json_decref(tops);
		tops = json_null();
	}
	return json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", values, "top_logprobs",
	        tops, "text_offset", offsets);
}
