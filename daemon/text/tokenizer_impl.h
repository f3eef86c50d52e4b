/* tokenizer_impl: shared by the tokenizer's files: tokenizer.c (tables, special tokens, entry points), spm.c
 * and bpe.c (the two algorithms).  Not for others. */
#ifndef DAEMON_TEXT_TOKENIZER_IMPL_H
#define DAEMON_TEXT_TOKENIZER_IMPL_H
#include "daemon/text/merge.h"
#include "daemon/text/strmap.h"
#include "daemon/text/tokenizer.h"
#include <stdatomic.h>

#define TOKEN_NONE STRMAP_NONE

struct bpe;

/* Tokens that are matched in a text before anything else, sorted by their text. */
struct special_set {
	uint32_t *id;
	size_t n;
	bool begins[256]; /* bytes that some token of the set begins with */
};

struct tokenizer {
	struct vocab *v; /* a reference; never changed */
	atomic_uint refs;
	size_t longest;     /* bytes of text that one token can stand for */
	uint8_t *type;      /* enum vocab_type, with errors of files corrected */
	bool *end;          /* ends generation */
	bool *fim;          /* a mark of fill in the middle */
	bool *guarded;      /* user-defined, but counts only where control tokens do */
	bool *strips;       /* takes the white space behind it, which is no text then */
	char *pieces;       /* the bytes of all tokens, concatenated */
	size_t *piece;      /* where each begins; tokens + 1 entries */
	size_t max_text;    /* the longest string in map */
	struct strmap map;  /* SPM: by the text in the file; BPE: by bytes.  Normal tokens only */
	uint32_t byte[256]; /* the token of a single byte, or TOKEN_NONE */
	struct special_set user, all;
	struct bpe *bpe; /* NULL for SPM */
};

/* The working memory of one call of tokenizer_encode. */
struct encoding {
	uint32_t *id;
	size_t n, cap;
	struct merge_work work;
};

int encoding_push(struct encoding *e, uint32_t id);

/* Encodes bytes that no token covers: as the tokens of the single bytes; if one of those is missing, as the
 * unknown token; if that is missing too, they are dropped. */
int encoding_push_bytes(struct encoding *e, const struct tokenizer *t, const char *s, size_t len);

/* Appends the tokens of a text without special tokens.  first: add the space prefix, where the model has one.
 * 0 or a negative errno. */
int spm_encode(const struct tokenizer *t, struct encoding *e, const char *text, size_t len, bool first);
int bpe_encode(const struct tokenizer *t, struct encoding *e, const char *text, size_t len);

/* Decodes a token spelled in byte letters into out (as long as the text); returns the number of bytes, or -1
 * if a character is not a byte letter. */
ptrdiff_t bpe_decode_letters(const char *text, size_t len, char *out);

/* Creates t->bpe; needs t->map and t->byte. */
int bpe_create(struct tokenizer *t, char *err, size_t errlen);
void bpe_destroy(struct bpe *b);

#endif
