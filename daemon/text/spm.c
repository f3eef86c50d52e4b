/* spm: SentencePiece's BPE, as used by Llama 2.  Spaces are written as U+2581.  Starting from single
 * characters, the neighbours whose union is the token with the highest score are merged; what no token covers
 * is encoded byte by byte.  (Kudo and Richardson, "SentencePiece", 2018; bpe_model.cc there.)
 *
 * Deviates from SentencePiece: bytes that are not UTF-8 are kept as bytes, not replaced by U+FFFD.
 * Any number of threads may encode, each with its own struct encoding. */
#include "daemon/text/tokenizer_impl.h"
#include "daemon/text/utf8.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SPACE "\xE2\x96\x81" /* U+2581 */

struct spm_text {
	const struct tokenizer *t;
	const char *s;
};

/* Maps scores in descending order to integers in ascending order. */
static uint32_t spm_rank_of_score(float score) {
	uint32_t bits;
	score += 0.0f; /* -0 is 0 */
	memcpy(&bits, &score, sizeof bits);
	return bits >> 31 ? bits : ~bits & 0x7FFFFFFFu;
}

static bool spm_find_pair(const void *ctx, const struct merge_symbol *left, const struct merge_symbol *right,
        uint32_t *rank, uint32_t *id) {
	const struct spm_text *x = ctx;
	size_t len = (size_t)left->len + right->len;
	if (len > x->t->max_text)
		return false;
	*id = strmap_find(&x->t->map, x->s + left->at, len);
	if (*id == TOKEN_NONE)
		return false;
	*rank = spm_rank_of_score(x->t->v->token[*id].score);
	return true;
}

/* Writes spaces as U+2581; malloc'd. */
static char *spm_escape_spaces(const char *text, size_t len, bool prefix, size_t *outlen) {
	size_t n = len + (prefix ? 3 : 0);
	for (size_t i = 0; i < len; i++)
		n += text[i] == ' ' ? 2 : 0;
	char *out = malloc(n), *p = out;
	if (!out)
		return NULL;
	if (prefix) {
		memcpy(p, SPACE, 3);
		p += 3;
	}
	for (size_t i = 0; i < len; i++) {
		if (text[i] == ' ') {
			memcpy(p, SPACE, 3);
			p += 3;
		} else {
			*p++ = text[i];
		}
	}
	*outlen = n;
	return out;
}

int spm_encode(const struct tokenizer *t, struct encoding *e, const char *text, size_t len, bool first) {
	size_t n;
	if (len == 0)
		return 0;
	char *s = spm_escape_spaces(text, len, first && t->v->add_space_prefix, &n);
	if (!s)
		return -ENOMEM;
	int rc = 0;
	merge_begin(&e->work);
	for (size_t i = 0, c; rc == 0 && i < n; i += c) {
		if (utf8_next(s + i, n - i, &c) != UTF8_WHOLE)
			c = 1;
		rc = merge_append(&e->work, (uint32_t)c, strmap_find(&t->map, s + i, c));
	}
	if (rc == 0)
		rc = merge_run(&e->work, spm_find_pair, &(struct spm_text){t, s});
	for (uint32_t i = 0; rc == 0 && i != MERGE_END; i = e->work.sym[i].next) {
		const struct merge_symbol *sym = &e->work.sym[i];
		rc = sym->id != TOKEN_NONE ? encoding_push(e, sym->id)
		                           : encoding_push_bytes(e, t, s + sym->at, sym->len);
	}
	free(s);
	return rc;
}
