/* tokenizer_impl: what the files of the tokenizer share: tokenizer.c (tables, special tokens, the way in),
 * spm.c and bpe.c (the two algorithms).  Not for others. */
#ifndef DAEMON_TEXT_TOKENIZER_IMPL_H
#define DAEMON_TEXT_TOKENIZER_IMPL_H
#include "daemon/text/merge.h"
#include "daemon/text/strmap.h"
#include "daemon/text/tokenizer.h"

#define TOKEN_NONE STRMAP_NONE

struct bpe;

/* Tokens that are found in a text before anything else, sorted by their text. */
struct special_set {
	uint32_t *id;
	size_t n;
	bool begins[256]; /* bytes that one of them begins with */
};

struct tokenizer {
	const struct vocab *v; /* borrowed */
	uint8_t *type;         /* enum vocab_type, what files get wrong put right */
	bool *end;             /* ends generation */
	char *pieces;          /* the bytes of all tokens, one after another */
	size_t *piece;         /* where each begins; tokens + 1 of them */
	size_t max_text;       /* the longest string in map */
	struct strmap map;     /* SPM: by the text in the file; BPE: by bytes.  Ordinary tokens only */
	uint32_t byte[256];    /* the token of a single byte, or TOKEN_NONE */
	struct special_set user, all;
	struct bpe *bpe; /* NULL for SPM */
};

/* Memory of one call of tokenizer_encode. */
struct encoding {
	uint32_t *id;
	size_t n, cap;
	struct merge_work work;
};

int encoding_push(struct encoding *e, uint32_t id);

/* Bytes that no token covers: the tokens of the single bytes; where one of them has none, the unknown token
 * for all; where the vocabulary has no such token either, they are lost. */
int encoding_push_bytes(struct encoding *e, const struct tokenizer *t, const char *s, size_t len);

/* Appends the tokens of a stretch of text without special tokens.  first: the space prefix goes in front,
 * where the model has one.  0 or a negative errno. */
int spm_encode(const struct tokenizer *t, struct encoding *e, const char *text, size_t len, bool first);
int bpe_encode(const struct tokenizer *t, struct encoding *e, const char *text, size_t len);

/* The bytes that a token of byte letters stands for, into out (as long as the text); their number, or -1 if
 * it has a character that is no byte letter. */
ptrdiff_t bpe_decode_letters(const char *text, size_t len, char *out);

/* Makes t->bpe: needs t->map, t->byte. */
int bpe_create(struct tokenizer *t, char *err, size_t errlen);
void bpe_destroy(struct bpe *b);

#endif
