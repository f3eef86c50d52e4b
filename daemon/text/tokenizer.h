/* tokenizer: text to token ids and token ids to bytes, for the two kinds of vocabulary that Llama models
 * have: SentencePiece's BPE as Llama 2 uses it (SPM) and byte-level BPE as Llama 3 uses it.
 *
 * Owns: the tables made from a vocabulary, which it borrows.  Does not own: chat templates, the joining of
 * bytes to characters (daemon/text/stream.h).
 * Immutable once made, so any thread may encode at any time. */
#ifndef DAEMON_TEXT_TOKENIZER_H
#define DAEMON_TEXT_TOKENIZER_H
#include "shard/model/vocab.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

enum {
	/* Add the model's BOS in front, where the model says so; one that the text begins with already is not doubled. */
	TOKENIZE_BOS = 1,
	TOKENIZE_SPECIAL = 2, /* control tokens spelled out in the text become those tokens */
	/* Add the model's EOS at the end, where the model says so: for a text that is whole, not for a prompt that is to be
	 * continued, which would be over before it began. */
	TOKENIZE_EOS = 4,
};

/* The longest text that is taken. */
#define TOKENIZER_MAX_TEXT ((size_t)16 << 20)

/* v is borrowed and must outlive the tokenizer.  0, or a negative errno with a sentence in err: -EINVAL for
 * a vocabulary that contradicts itself, -ENOTSUP for a pre-tokenizer that is not known, -ENOMEM. */
int tokenizer_create(struct tokenizer **out, const struct vocab *v, char *err, size_t errlen);
void tokenizer_destroy(struct tokenizer *t); /* NULL allowed */
/* Whether a tokenizer can be made of it: checked when a file is imported, before anything of it is stored. */
int tokenizer_check(const struct vocab *v, char *err, size_t errlen);

/* The pre-tokenizers that are known, by the names that files give them: whether this is one, and all of them,
 * parted by commas. */
bool tokenizer_knows_pre(const char *name);
const char *tokenizer_pres(void);

/* Any bytes; what is not UTF-8 goes through as bytes.  *ids is malloc'd, for the caller to free; it is never
 * NULL when 0 is returned.  0, -E2BIG for more than TOKENIZER_MAX_TEXT, -ENOMEM.
 *
 * User-defined tokens in the text are found first, control and unknown tokens only with TOKENIZE_SPECIAL:
 * the leftmost one, and of those that begin there the longest.  Without that flag no text ever becomes a
 * control token, however it is spelled. */
int tokenizer_encode(
        const struct tokenizer *t, const char *text, size_t len, unsigned flags, uint32_t **ids, size_t *n);

/* A part of a text where control tokens count, such as one that a chat template wrote: bytes [begin, end). */
struct token_span {
	size_t begin, end;
};

/* The same with control and unknown tokens only where they lie whole within one span; what the flag TOKENIZE_SPECIAL says
 * does not matter.  The borders of spans change nothing else: the text between special tokens is encoded in one piece.
 * spans: ascending, apart from each other or touching, within the text. */
int tokenizer_encode_spans(const struct tokenizer *t, const char *text, size_t len,
        const struct token_span *spans, size_t nspans, unsigned flags, uint32_t **ids, size_t *n);

/* How many ids there are: valid ones are below this. */
uint32_t tokenizer_tokens(const struct tokenizer *t);

/* The bytes that a token stands for (a control token: its name), borrowed from t, not terminated.  They may
 * be part of a character only.  A SPM token's leading space is there.  An id out of range has none. */
const char *tokenizer_piece(const struct tokenizer *t, uint32_t id, size_t *len);

/* A token that people do not see: control, unknown, unused. */
bool tokenizer_is_control(const struct tokenizer *t, uint32_t id);

/* Ends generation: EOS, EOT, and the other tokens known by name to end a turn (<|eot_id|>, <|eom_id|>, ...). */
bool tokenizer_is_end(const struct tokenizer *t, uint32_t id);

/* Encoding puts a space in front of a text (SPM with its space prefix). */
bool tokenizer_has_space_prefix(const struct tokenizer *t);

#endif
