/* bpe: byte-level BPE, introduced by GPT-2 and used by Llama 3.  Regular expressions cut the text into
 * words (shard/model/pretokenizer.h); within a word, starting from single bytes, the neighbours with the lowest merge rank are merged.
 * The file spells bytes as letters (GPT-2's bytes_to_unicode); here everything is bytes again.
 *
 * Symbols are token ids; strings that occur only in merges get ids above those of the vocabulary.
 * The tables are read-only: any number of threads may encode, each with its own struct encoding. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "common/fail.h"
#include "daemon/text/nfc.h"
#include "daemon/text/tokenizer_impl.h"
#include "daemon/text/utf8.h"
#include "shard/model/pretokenizer.h"
#include <errno.h>
#include <inttypes.h>
#include <pcre2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pair {
	uint64_t key; /* left id, right id; NO_PAIR: free */
	uint32_t rank, id;
};
#define NO_PAIR UINT64_MAX

struct split {
	pcre2_code *code;
	bool key[256]; /* bytes of which a match has one at least: most pieces are skipped by this */
};

struct bpe {
	const struct tokenizer *t; /* borrowed: the owner of this struct */
	unsigned flags;            /* of the pre-tokenizer, whose expressions follow in order */
	struct split split[PRETOKENIZER_SPLITS];
	size_t splits;
	pcre2_match_context *limits;
	uint32_t first[256]; /* the symbol of each byte */
	struct pair *pair;
	size_t mask;
	char *bytes; /* what the merges' strings point into */
};

static uint64_t bpe_mix(uint64_t x) { /* the finaliser of SplitMix64 */
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static struct pair *bpe_pair_slot(const struct bpe *b, uint32_t left, uint32_t right) {
	uint64_t key = (uint64_t)left << 32 | right;
	for (size_t i = bpe_mix(key);; i++) {
		struct pair *p = &b->pair[i & b->mask];
		if (p->key == NO_PAIR || p->key == key)
			return p;
	}
}

static bool bpe_find_pair(const void *ctx, const struct merge_symbol *left, const struct merge_symbol *right,
        uint32_t *rank, uint32_t *id) {
	const struct pair *p = bpe_pair_slot(ctx, left->id, right->id);
	*rank = p->rank;
	*id = p->id;
	return p->key != NO_PAIR;
}

/* The byte that a letter spells: printable Latin-1 characters spell themselves, the other bytes are U+0100
 * onwards in order. */
static int bpe_byte_of_letter(uint32_t c) {
	if ((c >= 33 && c <= 126) || (c >= 161 && c <= 255 && c != 173))
		return (int)c;
	if (c < 256 || c >= 256 + 68)
		return -1;
	c -= 256;
	return (int)(c < 33 ? c : c < 67 ? c - 33 + 127 : 173);
}

ptrdiff_t bpe_decode_letters(const char *text, size_t len, char *out) {
	char *p = out;
	for (size_t i = 0, n; i < len; i += n) {
		if (utf8_next(text + i, len - i, &n) != UTF8_WHOLE)
			return -1;
		int byte = bpe_byte_of_letter(utf8_code(text + i, n));
		if (byte < 0)
			return -1;
		*p++ = (char)byte;
	}
	return p - out;
}

/* The file's pre-tokenizer, or NULL with a sentence. */
static const struct pretokenizer *bpe_find_words(const struct vocab *v, char *err, size_t errlen) {
	const struct pretokenizer *pre = pretokenizer_find(v->pre.s, v->pre.len);
	if (!pre && v->pre.len == 0)
		snprintf(err, errlen,
		        "tokenizer.ggml.pre is missing, so how the model cuts text into words is not known: name it "
		        "with --pre, for instance llama-bpe or qwen2 (--pre list names all)");
	else if (!pre)
		snprintf(err, errlen,
		        "tokenizer.ggml.pre is \"%.*s\", which Caravan does not know: if it is the same as one of "
		        "--pre list, name that with --pre",
		        (int)(v->pre.len < 64 ? v->pre.len : 64), v->pre.s);
	return pre;
}

/* Of ASCII those that match as a run; of the others all. */
static int bpe_find_keys(struct split *split) {
	pcre2_match_data *match = pcre2_match_data_create(1, NULL);
	if (!match)
		return -ENOMEM;
	for (unsigned c = 0; c < 256; c++) {
		char run[4];
		memset(run, (int)c, sizeof run);
		split->key[c] = c >= 0x80 ||
		                pcre2_match(split->code, (PCRE2_SPTR)run, sizeof run, 0, 0, match, NULL) >= 0;
	}
	pcre2_match_data_free(match);
	return 0;
}

static int bpe_compile_words(struct bpe *b, const struct vocab *v, char *err, size_t errlen) {
	const struct pretokenizer *pre = bpe_find_words(v, err, errlen);
	if (!pre)
		return -ENOTSUP;
	b->flags = pre->flags;
	b->limits = pcre2_match_context_create(NULL);
	if (!b->limits)
		return fail_memory(err, errlen, "the tokenizer");
	for (; pre->split[b->splits]; b->splits++) {
		struct split *split = &b->split[b->splits];
		int code;
		PCRE2_SIZE at;
		split->code = pcre2_compile((PCRE2_SPTR)pre->split[b->splits], PCRE2_ZERO_TERMINATED,
		        PCRE2_UTF | PCRE2_UCP, &code, &at, NULL);
		if (!split->code || bpe_find_keys(split) < 0)
			return fail_with(-ENOMEM, err, errlen,
			        "cannot compile expression %zu of \"%s\" (PCRE2 error %d at %zu)", b->splits,
			        pre->name, split->code ? 0 : code, split->code ? (size_t)0 : (size_t)at);
	}
	/* The longest match is one run of a kind of character, which is backtracked through once. */
	pcre2_set_match_limit(b->limits, 2 * TOKENIZER_MAX_TEXT);
	pcre2_set_depth_limit(b->limits, 1000);
	pcre2_set_heap_limit(b->limits, 64 << 10);
	return 0;
}

/* Reads the file's merges as pairs of ids.  names: every string that has a symbol. */
static int bpe_read_merges(struct bpe *b, struct strmap *names, uint32_t next, char *err, size_t errlen) {
	const struct vocab *v = b->t->v;
	char *p = b->bytes;
	for (uint32_t rank = 0; rank < v->merges; rank++) {
		const struct vocab_string *m = &v->merge[rank];
		const char *space = m->len > 1 ? memchr(m->s + 1, ' ', m->len - 1) : NULL;
		if (!space || space + 1 == m->s + m->len)
			return fail_with(-EINVAL, err, errlen,
			        "tokenizer.ggml.merges[%" PRIu32 "] is not two parts", rank);
		ptrdiff_t left = bpe_decode_letters(m->s, (size_t)(space - m->s), p);
		ptrdiff_t right = left < 0 ? -1
		                           : bpe_decode_letters(space + 1,
		                                     (size_t)(m->s + m->len - space - 1), p + left);
		if (right < 0)
			continue; /* no text contains such parts */
		/* adding a string that is already there changes nothing */
		uint32_t l = strmap_add(names, p, (size_t)left, next);
		next += l == next;
		uint32_t r = strmap_add(names, p + left, (size_t)right, next);
		next += r == next;
		uint32_t both = strmap_add(names, p, (size_t)(left + right), next);
		next += both == next;
		p += left + right;
		struct pair *slot = bpe_pair_slot(b, l, r);
		if (slot->key == NO_PAIR)
			*slot = (struct pair){(uint64_t)l << 32 | r, rank, both};
	}
	return 0;
}

int bpe_create(struct tokenizer *t, char *err, size_t errlen) {
	const struct vocab *v = t->v;
	struct strmap names = {0};
	size_t slots = 16, bytes = 256;
	int rc = -ENOMEM;
	struct bpe *b = t->bpe = calloc(1, sizeof *b);
	if (!b)
		goto error;
	b->t = t;
	rc = bpe_compile_words(b, v, err, errlen);
	if (rc < 0)
		return rc;
	rc = -ENOMEM;
	while (slots < 2 * (size_t)v->merges)
		slots *= 2;
	for (uint32_t i = 0; i < v->merges; i++)
		bytes += v->merge[i].len;
	b->mask = slots - 1;
	b->pair = malloc(slots * sizeof *b->pair);
	b->bytes = malloc(bytes);
	if (!b->pair || !b->bytes || strmap_init(&names, v->tokens + (size_t)256 + 3 * (size_t)v->merges) < 0)
		goto error;
	for (size_t i = 0; i < slots; i++)
		b->pair[i].key = NO_PAIR;
	for (size_t i = 0; i <= t->map.mask; i++)
		if (t->map.slot[i].s)
			strmap_add(&names, t->map.slot[i].s, t->map.slot[i].len, t->map.slot[i].value);
	char *single = b->bytes + bytes - 256;
	for (uint32_t i = 0; i < 256; i++) {
		single[i] = (char)i;
		b->first[i] = strmap_add(&names, &single[i], 1, v->tokens + i);
	}
	rc = bpe_read_merges(b, &names, v->tokens + 256, err, errlen);
	strmap_release(&names);
	return rc;
error:
	snprintf(err, errlen, "out of memory for the tokenizer");
	strmap_release(&names);
	return rc;
}

void bpe_destroy(struct bpe *b) {
	if (!b)
		return;
	for (size_t i = 0; i < PRETOKENIZER_SPLITS; i++)
		pcre2_code_free(b->split[i].code);
	pcre2_match_context_free(b->limits);
	free(b->pair);
	free(b->bytes);
	free(b);
}

static int bpe_encode_word(const struct bpe *b, struct encoding *e, const char *word, size_t len) {
	const struct tokenizer *t = b->t;
	if (b->flags & PRETOKENIZER_WHOLE && len <= t->max_text) {
		uint32_t id = strmap_find(&t->map, word, len);
		if (id != TOKEN_NONE)
			return encoding_push(e, id);
	}
	int rc = 0;
	merge_begin(&e->work);
	for (size_t i = 0; rc == 0 && i < len; i++)
		rc = merge_append(&e->work, 1, b->first[(uint8_t)word[i]]);
	if (rc == 0)
		rc = merge_run(&e->work, bpe_find_pair, b);
	for (uint32_t i = 0; rc == 0 && i != MERGE_END; i = e->work.sym[i].next) {
		const struct merge_symbol *sym = &e->work.sym[i];
		rc = sym->id < t->v->tokens ? encoding_push(e, sym->id)
		                            : encoding_push_bytes(e, t, word + sym->at, sym->len);
	}
	return rc;
}

static bool bpe_has_key(const struct split *split, const char *text, size_t len) {
	for (size_t i = 0; i < len; i++)
		if (split->key[(uint8_t)text[i]])
			return true;
	return false;
}

/* Cuts a piece at the matches of an expression, and what that makes with the next one; the last pieces are words.  All is UTF-8,
 * so that PCRE2 need not check it again for every word. */
static int bpe_encode_piece(const struct bpe *b, struct encoding *e, pcre2_match_data *match, size_t split,
        const char *text, size_t len) {
	while (split < b->splits && !bpe_has_key(&b->split[split], text, len))
		split++;
	if (split == b->splits)
		return bpe_encode_word(b, e, text, len);
	int rc = 0;
	for (size_t at = 0; rc == 0 && at < len;) {
		int found = pcre2_match(b->split[split].code, (PCRE2_SPTR)text, len, at,
		        PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY, match, b->limits);
		if (found < 0 && found != PCRE2_ERROR_NOMATCH)
			return found == PCRE2_ERROR_NOMEMORY ? -ENOMEM : -E2BIG;
		const PCRE2_SIZE *o = pcre2_get_ovector_pointer(match);
		size_t begin = found < 0 ? len : o[0], end = found < 0 ? len : o[1];
		if (begin > at)
			rc = bpe_encode_piece(b, e, match, split + 1, text + at, begin - at);
		if (rc == 0 && end > begin)
			rc = bpe_encode_piece(b, e, match, split + 1, text + begin, end - begin);
		at = end;
	}
	return rc;
}

/* Characters throughout. */
static int bpe_encode_utf8(
        const struct bpe *b, struct encoding *e, pcre2_match_data *match, const char *text, size_t len) {
	char *normal = NULL;
	int rc = 0;
	if (b->flags & PRETOKENIZER_NFC) {
		size_t n;
		rc = nfc_normalize(text, len, &normal, &n);
		text = normal ? normal : text;
		len = normal ? n : len;
	}
	if (rc == 0)
		rc = bpe_encode_piece(b, e, match, 0, text, len);
	free(normal);
	return rc;
}

int bpe_encode(const struct tokenizer *t, struct encoding *e, const char *text, size_t len) {
	pcre2_match_data *match = pcre2_match_data_create(1, NULL);
	if (!match)
		return -ENOMEM;
	int rc = 0;
	for (size_t at = 0; rc == 0 && at < len;) {
		/* a run of characters, and the run of invalid bytes after it, which counts as one word */
		size_t good = at, bad, n;
		while (good < len && utf8_next(text + good, len - good, &n) == UTF8_WHOLE)
			good += n;
		for (bad = good; bad < len && utf8_next(text + bad, len - bad, &n) != UTF8_WHOLE;)
			bad += n;
		if (good > at)
			rc = bpe_encode_utf8(t->bpe, e, match, text + at, good - at);
		if (rc == 0 && bad > good)
			rc = bpe_encode_word(t->bpe, e, text + good, bad - good);
		at = bad;
	}
	pcre2_match_data_free(match);
	return rc;
}
