/* tokenizer: the tables of a vocabulary, the search for special tokens, and the entry points to SPM and BPE.
 *
 * Immutable once created: any thread may encode. */
#include "daemon/text/tokenizer.h"
#include "common/fail.h"
#include "daemon/text/tokenizer_impl.h"
#include "daemon/text/utf8.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Special tokens are searched for at every position of a text: a file must not be able to make that slow. */
#define MAX_SPECIAL 1024

/* ---- the tables ---- */

static bool text_is(const struct vocab_string *s, const char *text) {
	return s->len == strlen(text) && memcmp(s->s, text, s->len) == 0;
}

/* Marks of fill in the middle: nobody types them.  Where the next file would begin, or padding, the middle has ended. */
static void tokenizer_classify_fim(struct tokenizer *t) {
	const struct vocab *v = t->v;
	for (unsigned i = 0; i < VOCAB_FIMS; i++) {
		uint32_t id = v->fim[i] - 1;
		if (v->fim[i] == 0 || id >= v->tokens)
			continue;
		if (t->type[id] == VOCAB_NORMAL)
			t->type[id] = VOCAB_CONTROL; /* as with ends */
		t->fim[id] = true;
		if (i == VOCAB_FIM_PAD || i == VOCAB_FIM_REP || i == VOCAB_FIM_SEP)
			t->end[id] = true;
	}
}

/* In gpt-oss <|end|> ends a message, of which an answer has several; a turn ends with one of the other two. */
static void tokenizer_end_messages(struct tokenizer *t) {
	static const char *const names[] = {"<|return|>", "<|call|>", "<|end|>"};
	const struct vocab *v = t->v;
	uint32_t id[3] = {UINT32_MAX, UINT32_MAX, UINT32_MAX};
	for (uint32_t i = 0; i < v->tokens; i++)
		for (size_t n = 0; n < 3 && t->end[i]; n++)
			if (text_is(&v->token[i].text, names[n]))
				id[n] = i;
	if (id[0] != UINT32_MAX && id[1] != UINT32_MAX && id[2] != UINT32_MAX)
		t->end[id[2]] = false;
}

static int tokenizer_classify(struct tokenizer *t, char *err, size_t errlen) {
	const struct vocab *v = t->v;
	const struct {
		const char *name;
		int32_t id;
	} named[] = {{"bos", v->bos}, {"eos", v->eos}, {"eot", v->eot}, {"unknown", v->unk}};
	for (size_t i = 0; i < sizeof named / sizeof *named; i++)
		if (named[i].id >= 0 && (uint32_t)named[i].id >= v->tokens)
			return fail_with(-EINVAL, err, errlen,
			        "the %s token is %" PRId32 ", but there are %" PRIu32 " tokens",
			        named[i].name, named[i].id, v->tokens);
	for (uint32_t i = 0; i < v->tokens; i++) {
		const struct vocab_token *tok = &v->token[i];
		if (tok->type < VOCAB_NORMAL || tok->type > VOCAB_BYTE)
			return fail_with(-EINVAL, err, errlen, "token %" PRIu32 " has the unknown type %u", i,
			        (unsigned)tok->type);
		t->type[i] = tok->type;
		if (!vocab_is_end_name(tok))
			continue;
		t->end[i] = true;
		if (tok->type != VOCAB_NORMAL)
			continue;
		/* older conversions mark every token as normal, which a token with such a name never is */
		t->type[i] = VOCAB_CONTROL;
	}
	for (uint32_t i = 0; i < v->ends; i++) {
		if (v->end[i] >= v->tokens)
			return fail_with(-EINVAL, err, errlen,
			        "token %" PRIu32 " ends a text, of %" PRIu32 " tokens", v->end[i], v->tokens);
		t->end[v->end[i]] = true;
	}
	if (v->eos >= 0)
		t->end[v->eos] = true;
	if (v->eot >= 0)
		t->end[v->eot] = true;
	tokenizer_end_messages(t);
	tokenizer_classify_fim(t);
	return 0;
}

/* The value of "<0xXX>", or -1. */
static int tokenizer_byte_of_name(const struct vocab_string *s) {
	static const char digits[] = "0123456789ABCDEF";
	if (s->len != 6 || memcmp(s->s, "<0x", 3) != 0 || s->s[5] != '>' || !s->s[3] || !s->s[4])
		return -1;
	const char *hi = strchr(digits, s->s[3]), *lo = strchr(digits, s->s[4]);
	return hi && lo ? (int)((hi - digits) * 16 + (lo - digits)) : -1;
}

static bool text_between(const struct vocab_string *s, const char *begin, const char *end) {
	size_t b = strlen(begin), e = strlen(end);
	return s->len > b + e && memcmp(s->s, begin, b) == 0 && memcmp(s->s + s->len - e, end, e) == 0;
}

/* Whether a name is one of those that templates write around messages. */
static bool text_is_mark(const struct vocab_string *s) {
	static const char *const names[] = {
	        "<bos>", "<start_of_turn>", "<end_of_turn>", "<<SYS>>", "<</SYS>>"};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (text_is(s, names[i]))
			return true;
	if (text_between(s, "<|", "|>") || text_between(s, "<\xEF\xBD\x9C", "\xEF\xBD\x9C>"))
		return true;
	/* Mistral's: [INST], [/INST], [TOOL_CALLS], ... */
	if (!text_between(s, "[", "]"))
		return false;
	for (size_t i = 1; i + 1 < s->len; i++)
		if (s->s[i] != '_' && s->s[i] != '/' && (s->s[i] < 'A' || s->s[i] > 'Z'))
			return false;
	return true;
}

/* User-defined tokens that control a conversation: files of older conversions have them as such. */
static void tokenizer_find_guarded(struct tokenizer *t) {
	const struct vocab *v = t->v;
	for (uint32_t i = 0; i < v->tokens; i++)
		t->guarded[i] = t->type[i] == VOCAB_USER_DEFINED &&
		                (t->end[i] || t->fim[i] || (v->bos >= 0 && i == (uint32_t)v->bos) ||
		                        text_is_mark(&v->token[i].text));
}

/* Phi 3's tokens are published so (rstrip), and files do not say it: its vocabulary has a token of this name. */
static void tokenizer_find_strips(struct tokenizer *t) {
	const struct vocab *v = t->v;
	bool phi3 = false;
	for (uint32_t i = 0; i < v->tokens && v->model == VOCAB_SPM && !phi3; i++)
		phi3 = text_is(&v->token[i].text, "<|placeholder1|>");
	for (uint32_t i = 0; i < v->tokens && phi3; i++)
		t->strips[i] = (t->type[i] == VOCAB_CONTROL || t->type[i] == VOCAB_USER_DEFINED) &&
		               !(v->bos >= 0 && i == (uint32_t)v->bos) &&
		               !text_is(&v->token[i].text, "<|endoftext|>");
}

/* Turns an SPM token's text into bytes. */
static size_t tokenizer_unescape_spaces(const char *s, size_t len, char *out) {
	char *p = out;
	for (size_t i = 0; i < len;) {
		if (len - i >= 3 && memcmp(s + i, "\xE2\x96\x81", 3) == 0) {
			*p++ = ' ';
			i += 3;
		} else {
			*p++ = s[i++];
		}
	}
	return (size_t)(p - out);
}

/* Writes the bytes of token i to t->pieces + t->piece[i], and sets where they end. */
static void tokenizer_make_piece(struct tokenizer *t, uint32_t i) {
	const struct vocab_string *s = &t->v->token[i].text;
	char *out = t->pieces + t->piece[i];
	size_t n = s->len;
	ptrdiff_t bytes;
	int byte;
	if (t->type[i] == VOCAB_BYTE && (byte = tokenizer_byte_of_name(s)) >= 0) {
		*out = (char)byte;
		n = 1;
	} else if (t->v->model == VOCAB_SPM &&
	           (t->type[i] == VOCAB_NORMAL || t->type[i] == VOCAB_USER_DEFINED)) {
		n = tokenizer_unescape_spaces(s->s, s->len, out);
	} else if (t->v->model == VOCAB_BPE && t->type[i] == VOCAB_NORMAL &&
	           (bytes = bpe_decode_letters(s->s, s->len, out)) >= 0) {
		n = (size_t)bytes;
	} else if (n > 0) {
		memcpy(out, s->s, n);
	}
	t->piece[i + 1] = t->piece[i] + n;
}

/* Which strings are tokens in ordinary text.  Control, unknown and byte tokens are not: nobody types them. */
static void tokenizer_map_token(struct tokenizer *t, uint32_t i) {
	const struct vocab_string *s = &t->v->token[i].text;
	const char *key = s->s;
	size_t len = s->len;
	int byte = tokenizer_byte_of_name(s);
	if (t->v->model == VOCAB_SPM) {
		if (byte >= 0 && (t->type[i] == VOCAB_BYTE || t->byte[byte] == TOKEN_NONE))
			t->byte[byte] = i;
		if (t->guarded[i] || (t->type[i] != VOCAB_NORMAL && t->type[i] != VOCAB_USER_DEFINED))
			return;
	} else {
		char *scratch = t->pieces + t->piece[t->v->tokens];
		if (t->type[i] != VOCAB_NORMAL || bpe_decode_letters(s->s, s->len, scratch) < 0)
			return;
		key = t->pieces + t->piece[i];
		len = t->piece[i + 1] - t->piece[i];
		if (len == 1 && t->byte[(uint8_t)*key] == TOKEN_NONE)
			t->byte[(uint8_t)*key] = i;
	}
	if (len == 0)
		return;
	strmap_add(&t->map, key, len, i);
	if (len > t->max_text)
		t->max_text = len;
}

static int tokenizer_make_tables(struct tokenizer *t, char *err, size_t errlen) {
	uint32_t n = t->v->tokens;
	size_t total = 0, longest = 0;
	t->type = malloc(n + (size_t)1);
	t->end = calloc(n + (size_t)1, sizeof *t->end);
	t->fim = calloc(n + (size_t)1, sizeof *t->fim);
	t->guarded = calloc(n + (size_t)1, sizeof *t->guarded);
	t->strips = calloc(n + (size_t)1, sizeof *t->strips);
	t->piece = malloc((n + (size_t)1) * sizeof *t->piece);
	if (!t->type || !t->end || !t->fim || !t->guarded || !t->strips || !t->piece ||
	        strmap_init(&t->map, n) < 0)
		return -ENOMEM;
	int rc = tokenizer_classify(t, err, errlen);
	if (rc < 0)
		return rc;
	tokenizer_find_guarded(t);
	tokenizer_find_strips(t);
	for (uint32_t i = 0; i < n; i++) {
		size_t len = t->v->token[i].text.len;
		total += len;
		longest = len > longest ? len : longest;
	}
	t->pieces = malloc(total + longest + 1); /* tokenizer_map_token writes past the last piece */
	if (!t->pieces)
		return -ENOMEM;
	t->piece[0] = 0;
	t->longest = 4; /* the unknown token stands for a character */
	for (uint32_t i = 0; i < n; i++) {
		tokenizer_make_piece(t, i);
		size_t len = t->piece[i + 1] - t->piece[i];
		t->longest = len > t->longest ? len : t->longest;
	}
	for (size_t i = 0; i < 256; i++)
		t->byte[i] = TOKEN_NONE;
	for (uint32_t i = 0; i < n; i++)
		tokenizer_map_token(t, i);
	return 0;
}

/* ---- special tokens ---- */

static int tokenizer_compare_text(const struct vocab_string *a, const struct vocab_string *b) {
	size_t n = a->len < b->len ? a->len : b->len;
	int c = n ? memcmp(a->s, b->s, n) : 0;
	return c ? c : (a->len > b->len) - (a->len < b->len);
}

struct sort_entry {
	const struct vocab_string *text;
	uint32_t id;
};

static int tokenizer_compare_entry(const void *pa, const void *pb) {
	const struct sort_entry *a = pa, *b = pb;
	int c = tokenizer_compare_text(a->text, b->text);
	return c ? c : (a->id > b->id) - (a->id < b->id);
}

/* User-defined tokens, and, if all, what counts within spans alone; among equal texts, the lowest id. */
static bool tokenizer_is_special(const struct tokenizer *t, uint32_t i, bool all) {
	if (t->type[i] == VOCAB_USER_DEFINED)
		return all || !t->guarded[i];
	return all && (t->type[i] == VOCAB_CONTROL || t->type[i] == VOCAB_UNKNOWN);
}

static int tokenizer_make_special(
        const struct tokenizer *t, struct special_set *set, bool all, char *err, size_t errlen) {
	size_t n = 0;
	for (uint32_t i = 0; i < t->v->tokens; i++)
		n += tokenizer_is_special(t, i, all);
	struct sort_entry *e = malloc((n + 1) * sizeof *e);
	set->id = malloc((n + 1) * sizeof *set->id);
	int rc = -ENOMEM;
	if (!e || !set->id)
		goto error;
	n = 0;
	for (uint32_t i = 0; i < t->v->tokens; i++) {
		const struct vocab_string *text = &t->v->token[i].text;
		if (!tokenizer_is_special(t, i, all) || text->len == 0)
			continue;
		if (text->len > MAX_SPECIAL) {
			snprintf(err, errlen,
			        "token %" PRIu32 " is special and %" PRIu32 " bytes long; the limit is %d", i,
			        text->len, MAX_SPECIAL);
			rc = -EINVAL;
			goto error;
		}
		e[n++] = (struct sort_entry){text, i};
	}
	qsort(e, n, sizeof *e, tokenizer_compare_entry);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && tokenizer_compare_text(e[i - 1].text, e[i].text) == 0)
			continue;
		set->id[set->n++] = e[i].id;
		set->begins[(uint8_t)e[i].text->s[0]] = true;
	}
	rc = 0;
error:
	free(e);
	return rc;
}

/* The longest token of the set that s begins with, or TOKEN_NONE.  The range of the sorted list that matches
 * so far is narrowed byte by byte; a token that ends at this byte is the first of the range. */
static uint32_t tokenizer_special_at(
        const struct tokenizer *t, const struct special_set *set, const char *s, size_t len) {
	uint32_t best = TOKEN_NONE;
	size_t lo = 0, hi = set->n;
	if (!set->begins[(uint8_t)*s])
		return best;
	for (size_t depth = 0; lo < hi; depth++) {
		if (t->v->token[set->id[lo]].text.len == depth)
			best = set->id[lo++];
		if (depth == len)
			break;
		uint8_t want = (uint8_t)s[depth];
		/* [lo, hi) with this byte at depth: two lower bounds, for want and for what follows it */
		size_t bound[2];
		for (unsigned k = 0; k < 2; k++) {
			size_t a = lo, b = hi;
			while (a < b) {
				size_t m = a + (b - a) / 2;
				if ((uint8_t)t->v->token[set->id[m]].text.s[depth] < want + k)
					a = m + 1;
				else
					b = m;
			}
			bound[k] = a;
		}
		lo = bound[0];
		hi = bound[1];
	}
	return best;
}

/* ---- encoding ---- */

int encoding_push(struct encoding *e, uint32_t id) {
	if (e->n == e->cap) {
		size_t cap = e->cap ? 2 * e->cap : 64;
		uint32_t *p = realloc(e->id, cap * sizeof *p);
		if (!p)
			return -ENOMEM;
		e->id = p;
		e->cap = cap;
	}
	e->id[e->n++] = id;
	return 0;
}

int encoding_push_bytes(struct encoding *e, const struct tokenizer *t, const char *s, size_t len) {
	bool all = true;
	for (size_t i = 0; i < len; i++)
		all = all && t->byte[(uint8_t)s[i]] != TOKEN_NONE;
	if (!all && t->v->unk >= 0)
		return encoding_push(e, (uint32_t)t->v->unk);
	int rc = 0;
	for (size_t i = 0; rc == 0 && i < len; i++)
		if (t->byte[(uint8_t)s[i]] != TOKEN_NONE)
			rc = encoding_push(e, t->byte[(uint8_t)s[i]]);
	return rc;
}

static int tokenizer_encode_stretch(
        const struct tokenizer *t, struct encoding *e, const char *text, size_t len, bool first) {
	if (len == 0)
		return 0;
	return t->v->model == VOCAB_SPM ? spm_encode(t, e, text, len, first) : bpe_encode(t, e, text, len);
}

/* The bytes of white space, as Unicode defines it, that a text begins with. */
static size_t text_spaces(const char *s, size_t len) {
	size_t at = 0, n;
	while (at < len && utf8_next(s + at, len - at, &n) == UTF8_WHOLE) {
		uint32_t c = utf8_code(s + at, n);
		if (!(c == ' ' || (c >= 9 && c <= 13) || c == 0x85 || c == 0xA0 || c == 0x1680 ||
		            (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F ||
		            c == 0x205F || c == 0x3000))
			break;
		at += n;
	}
	return at;
}

/* The special token at `at`: a user-defined one anywhere, a control token only if it ends at `end` or
 * before. */
static uint32_t special_in(const struct tokenizer *t, const char *text, size_t len, size_t at, size_t end) {
	uint32_t user = tokenizer_special_at(t, &t->user, text + at, len - at);
	uint32_t any = end > at ? tokenizer_special_at(t, &t->all, text + at, end - at) : TOKEN_NONE;
	if (user == TOKEN_NONE || any == TOKEN_NONE)
		return user == TOKEN_NONE ? any : user;
	return t->v->token[any].text.len < t->v->token[user].text.len ? user : any;
}

int tokenizer_encode_spans(const struct tokenizer *t, const char *text, size_t len,
        const struct token_span *spans, size_t nspans, unsigned flags, uint32_t **ids, size_t *n) {
	const struct token_span *span = spans, *last = spans + nspans;
	struct encoding e = {0};
	int rc = 0;
	*ids = NULL;
	*n = 0;
	if (len > TOKENIZER_MAX_TEXT)
		return -E2BIG;
	e.cap = 64;
	e.id = malloc(e.cap * sizeof *e.id);
	if (!e.id)
		return -ENOMEM;
	size_t begin = 0;
	bool first = true; /* the space prefix is added at the beginning and after a special token */
	if (flags & TOKENIZE_BOS && t->v->add_bos && t->v->bos >= 0) {
		size_t end = nspans && spans->begin == 0 ? spans->end : 0;
		if (!(len > 0 && special_in(t, text, len, 0, end) == (uint32_t)t->v->bos))
			rc = encoding_push(&e, (uint32_t)t->v->bos);
	}
	for (size_t at = 0; rc == 0 && at < len;) {
		while (span < last && span->end <= at)
			span++;
		uint32_t id = special_in(t, text, len, at, span < last && span->begin <= at ? span->end : at);
		if (id == TOKEN_NONE) {
			at++;
			continue;
		}
		rc = tokenizer_encode_stretch(t, &e, text + begin, at - begin, first);
		if (rc == 0)
			rc = encoding_push(&e, id);
		at += t->v->token[id].text.len;
		if (t->strips[id])
			at += text_spaces(text + at, len - at);
		begin = at;
		first = true;
	}
	if (rc == 0)
		rc = tokenizer_encode_stretch(t, &e, text + begin, len - begin, first);
	if (rc == 0 && flags & TOKENIZE_EOS && t->v->add_eos && t->v->eos >= 0)
		rc = encoding_push(&e, (uint32_t)t->v->eos);
	merge_release(&e.work);
	if (rc < 0) {
		free(e.id);
		return rc;
	}
	*ids = e.id;
	*n = e.n;
	return 0;
}

int tokenizer_encode(
        const struct tokenizer *t, const char *text, size_t len, unsigned flags, uint32_t **ids, size_t *n) {
	const struct token_span all = {0, len};
	return tokenizer_encode_spans(t, text, len, &all, flags & TOKENIZE_SPECIAL ? 1 : 0, flags, ids, n);
}

/* ---- the rest ---- */

int tokenizer_create(struct tokenizer **out, const struct vocab *v, char *err, size_t errlen) {
	struct tokenizer *t = calloc(1, sizeof *t);
	int rc = -ENOMEM;
	*out = NULL;
	snprintf(err, errlen, "out of memory for the tokenizer");
	if (!t)
		goto error;
	t->v = vocab_ref(v);
	atomic_init(&t->refs, 1);
	rc = tokenizer_make_tables(t, err, errlen);
	if (rc == 0)
		rc = tokenizer_make_special(t, &t->user, false, err, errlen);
	if (rc == 0)
		rc = tokenizer_make_special(t, &t->all, true, err, errlen);
	if (rc == 0 && v->model == VOCAB_BPE)
		rc = bpe_create(t, err, errlen);
	if (rc < 0)
		goto error;
	if (errlen > 0)
		err[0] = '\0';
	*out = t;
	return 0;
error:
	tokenizer_destroy(t);
	return rc;
}

int tokenizer_check(const struct vocab *v, char *err, size_t errlen) {
	struct tokenizer *t;
	int rc = tokenizer_create(&t, v, err, errlen);
	tokenizer_destroy(t);
	return rc;
}

void tokenizer_destroy(struct tokenizer *t) {
	if (!t || atomic_fetch_sub(&t->refs, 1) > 1)
		return;
	bpe_destroy(t->bpe);
	strmap_release(&t->map);
	free(t->user.id);
	free(t->all.id);
	free(t->type);
	free(t->end);
	free(t->fim);
	free(t->guarded);
	free(t->strips);
	free(t->piece);
	free(t->pieces);
	vocab_destroy(t->v);
	free(t);
}

struct tokenizer *tokenizer_ref(const struct tokenizer *t) {
	struct tokenizer *own = (struct tokenizer *)t; /* nothing but the count changes */
	atomic_fetch_add(&own->refs, 1);
	return own;
}

size_t tokenizer_longest(const struct tokenizer *t) {
	return t->longest;
}

uint32_t tokenizer_tokens(const struct tokenizer *t) {
	return t->v->tokens;
}

const char *tokenizer_piece(const struct tokenizer *t, uint32_t id, size_t *len) {
	if (id >= t->v->tokens) {
		*len = 0;
		return "";
	}
	*len = t->piece[id + 1] - t->piece[id];
	return t->pieces + t->piece[id];
}

bool tokenizer_is_control(const struct tokenizer *t, uint32_t id) {
	return id < t->v->tokens &&
	       (t->type[id] == VOCAB_CONTROL || t->type[id] == VOCAB_UNKNOWN || t->type[id] == VOCAB_UNUSED);
}

bool tokenizer_has_control(const struct tokenizer *t, const char *name) {
	size_t want = strlen(name), len;
	for (size_t i = 0; i < t->all.n; i++) {
		const char *piece = tokenizer_piece(t, t->all.id[i], &len);
		if (len == want && memcmp(piece, name, len) == 0 && tokenizer_is_control(t, t->all.id[i]))
			return true;
	}
	return false;
}

bool tokenizer_is_end(const struct tokenizer *t, uint32_t id) {
	return id < t->v->tokens && t->end[id];
}

size_t tokenizer_ends(const struct tokenizer *t, uint32_t *id, size_t most) {
	size_t n = 0;
	for (uint32_t i = 0; i < t->v->tokens; i++)
		if (t->end[i] && n++ < most)
			id[n - 1] = i;
	return n;
}

bool tokenizer_has_space_prefix(const struct tokenizer *t) {
	return t->v->model == VOCAB_SPM && t->v->add_space_prefix;
}
