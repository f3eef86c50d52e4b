/* pretokenizer: the ways in which byte-level BPE cuts a text into words, by the names that files have for them
 * (tokenizer.ggml.pre).  Words are what merges stay within.  A table and nothing else: daemon/text/bpe.c does what it says.
 * Constant; any thread. */
#ifndef SHARD_MODEL_PRETOKENIZER_H
#define SHARD_MODEL_PRETOKENIZER_H
#include <stddef.h>

#define PRETOKENIZER_SPLITS 6

enum {
	PRETOKENIZER_WHOLE = 1, /* a word that is a token becomes that token, whatever the merges say */
	PRETOKENIZER_BOS = 2,   /* texts begin with BOS where the file does not say */
	PRETOKENIZER_NFC = 4,   /* text is brought into Unicode's normal form C first */
};

struct pretokenizer {
	const char *name;
	unsigned flags;
	/* Regular expressions, in order, up to a NULL: what one matches is a piece, and so is what lies between its matches; the
	 * next one cuts each piece as if it were all there is.  A match has a character, beyond ASCII or one that it would match four
	 * of: pieces that have none are not even searched. */
	const char *split[PRETOKENIZER_SPLITS + 1];
};

/* NULL: no such name. */
const struct pretokenizer *pretokenizer_find(const char *name, size_t len);

/* All names, separated by ", ". */
const char *pretokenizer_names(void);

#endif
