/* text_vocab: two small vocabularies for the tests of text, made in code, so that they need no files.
 *
 * Both have every byte, so every text can be encoded, and "hello", " world", "<tool>" (user-defined) and
 * "<|eot_id|>" (control). */
#ifndef TESTS_UNIT_TEXT_TEXT_VOCAB_H
#define TESTS_UNIT_TEXT_TEXT_VOCAB_H
#include "shard/model/vocab.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SMALL_MAX 512

struct small_vocab {
	struct vocab v;
	struct vocab_token token[SMALL_MAX];
	struct vocab_string merge[SMALL_MAX];
	char bytes[SMALL_MAX * 16];
	size_t used;
};

static inline struct vocab_string small_text(struct small_vocab *x, const char *s) {
	size_t n = strlen(s);
	struct vocab_string out = {memcpy(x->bytes + x->used, s, n), (uint32_t)n};
	x->used += n;
	return out;
}

static inline uint32_t small_add(struct small_vocab *x, const char *s, float score, enum vocab_type type) {
	x->token[x->v.tokens] = (struct vocab_token){small_text(x, s), score, (uint8_t)type};
	return x->v.tokens++;
}

static inline uint32_t small_find(const struct small_vocab *x, const char *s) {
	for (uint32_t i = 0; i < x->v.tokens; i++)
		if (x->v.token[i].text.len == strlen(s) && memcmp(x->v.token[i].text.s, s, strlen(s)) == 0)
			return i;
	return UINT32_MAX;
}

static inline struct small_vocab *small_new(enum vocab_model model) {
	struct small_vocab *x = calloc(1, sizeof *x);
	if (!x)
		abort();
	x->v = (struct vocab){.model = model,
	        .token = x->token,
	        .merge = x->merge,
	        .bos = -1,
	        .eos = -1,
	        .eot = -1,
	        .unk = -1};
	return x;
}

/* SPM: <unk> <s> </s>, bytes from 3, then pieces. */
static inline struct small_vocab *small_spm(void) {
	struct small_vocab *x = small_new(VOCAB_SPM);
	x->v.unk = (int32_t)small_add(x, "<unk>", 0, VOCAB_UNKNOWN);
	x->v.bos = (int32_t)small_add(x, "<s>", 0, VOCAB_CONTROL);
	x->v.eos = (int32_t)small_add(x, "</s>", 0, VOCAB_CONTROL);
	for (unsigned b = 0; b < 256; b++) {
		char name[8];
		snprintf(name, sizeof name, "<0x%02X>", b);
		small_add(x, name, 0, VOCAB_BYTE);
	}
	/* the earlier, the better */
	static const char *const pieces[] = {"he", "ll", "\u2581w", "or", "ld", "hell", "hello",
	        "\u2581hello", "\u2581wor", "\u2581world", "aa", "aaaa", "\u2581\u2581", "s>", "</", "</s",
	        "\u2581", "h", "e", "l", "o", "w", "r", "d", "a", "s", "<", ">", "/", "x", "\u00E9",
	        "\U0001F642"};
	for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++)
		small_add(x, pieces[i], -(float)i, VOCAB_NORMAL);
	small_add(x, "<tool>", 0, VOCAB_USER_DEFINED);
	small_add(x, "<tool>s", 0, VOCAB_USER_DEFINED);
	small_add(x, "<|eot_id|>", 0, VOCAB_CONTROL);
	small_add(x, "<|end|>", 0, VOCAB_CONTROL);
	x->v.add_bos = true;
	x->v.add_space_prefix = true;
	return x;
}

static inline void small_letter(unsigned byte, char out[3]) {
	unsigned c = byte;
	if (byte < 33)
		c = 256 + byte;
	else if (byte >= 127 && byte <= 160)
		c = 289 + byte - 127;
	else if (byte == 173)
		c = 323;
	out[0] = (char)(c < 128 ? c : 0xC0 | c >> 6);
	out[1] = (char)(c < 128 ? 0 : 0x80 | (c & 63));
	out[2] = 0;
}

/* BPE: the letters of bytes from 0, what merges make of them, then the special ones. */
static inline struct small_vocab *small_bpe(const char *pre) {
	struct small_vocab *x = small_new(VOCAB_BPE);
	for (unsigned b = 0; b < 256; b++) {
		char letter[3];
		small_letter(b, letter);
		small_add(x, letter, 0, VOCAB_NORMAL);
	}
	/* U+0120 is the letter of the space */
	static const char *const merges[] = {"h e", "l l", "\u0120 w", "o r", "l d", "he ll", "hell o",
	        "\u0120 hello", "\u0120w or", "\u0120wor ld", "a a", "aa aa", "\u0120 \u0120",
	        "\u00C3 \u00A9", "1 2", "12 3", "q u"};
	for (size_t i = 0; i < sizeof merges / sizeof *merges; i++) {
		char both[32];
		const char *space = strchr(merges[i], ' ');
		snprintf(both, sizeof both, "%.*s%s", (int)(space - merges[i]), merges[i], space + 1);
		x->merge[x->v.merges++] = small_text(x, merges[i]);
		if (strcmp(both, "qu") != 0) /* a step on the way that is no token itself */
			small_add(x, both, 0, VOCAB_NORMAL);
	}
	x->merge[x->v.merges++] = small_text(x, "qu x");
	small_add(x, "qux", 0, VOCAB_NORMAL);
	small_add(x, "whole", 0, VOCAB_NORMAL); /* no merges lead here */
	small_add(x, "<tool>", 0, VOCAB_USER_DEFINED);
	x->v.bos = (int32_t)small_add(x, "<|begin_of_text|>", 0, VOCAB_CONTROL);
	x->v.eos = (int32_t)small_add(x, "<|end_of_text|>", 0, VOCAB_CONTROL);
	small_add(x, "<|eot_id|>", 0, VOCAB_NORMAL); /* mistyped, as some files have it */
	x->v.pre = small_text(x, pre);
	x->v.add_bos = true;
	return x;
}

#endif
