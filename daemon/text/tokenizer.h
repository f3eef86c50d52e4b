/* tokenizer: converts text to token ids and token ids to bytes, for the two kinds of vocabulary of Llama
 * models: SentencePiece's BPE, used by Llama 2 (SPM), and byte-level BPE, used by Llama 3.
 *
 * Owns: the tables made from a vocabulary, and a reference to it.  Does not own: chat templates, joining bytes
 * to characters (daemon/text/stream.h).
 * Immutable once created, so any thread may encode at any time; whoever does so while others may drop it takes
 * a reference. */
#ifndef DAEMON_TEXT_TOKENIZER_H
#define DAEMON_TEXT_TOKENIZER_H
#include "shard/model/vocab.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;

enum {
	/* Add the model's BOS in front, where the model asks for it; if the text already begins with BOS, it
	 * is not doubled. */
	TOKENIZE_BOS = 1,
	TOKENIZE_SPECIAL = 2, /* control tokens spelled out in the text become those tokens */
	/* Add the model's EOS at the end, where the model asks for it: for a complete text, not for a prompt,
	 * whose answer would end before it began. */
	TOKENIZE_EOS = 4,
};

/* The longest text accepted. */
#define TOKENIZER_MAX_TEXT ((size_t)16 << 20)

/* Takes a reference to v.  0, or a negative errno with a sentence in err: -EINVAL for
 * an inconsistent vocabulary, -ENOTSUP for an unknown pre-tokenizer, -ENOMEM. */
int tokenizer_create(struct tokenizer **out, const struct vocab *v, char *err, size_t errlen);
void tokenizer_destroy(struct tokenizer *t); /* NULL allowed; the last reference frees it */
struct tokenizer *tokenizer_ref(const struct tokenizer *t);
/* Whether a tokenizer can be made from it: checked when a file is imported, before anything is stored. */
int tokenizer_check(const struct vocab *v, char *err, size_t errlen);

/* Any bytes; invalid UTF-8 is encoded as bytes.  *ids is malloc'd, for the caller to free, and never NULL
 * when 0 is returned.  0, -E2BIG for more than TOKENIZER_MAX_TEXT, -ENOMEM.
 *
 * User-defined tokens in the text are matched first, control and unknown tokens only with TOKENIZE_SPECIAL:
 * the leftmost match, and among those that begin there the longest.  Without that flag no text ever becomes a
 * control token.  A user-defined token that is named like one (<|...|>, [INST], one that ends a turn, ...) counts
 * as a control token here: files of older conversions have those as user-defined. */
int tokenizer_encode(
        const struct tokenizer *t, const char *text, size_t len, unsigned flags, uint32_t **ids, size_t *n);

/* A part of a text where control tokens are recognised, such as what a chat template wrote: bytes [begin,
 * end). */
struct token_span {
	size_t begin, end;
};

/* The same, but control and unknown tokens are recognised only within a single span; TOKENIZE_SPECIAL is
 * ignored.  Spans affect nothing else: the text between special tokens is encoded in one piece.  spans:
 * ascending, not overlapping, within the text. */
int tokenizer_encode_spans(const struct tokenizer *t, const char *text, size_t len,
        const struct token_span *spans, size_t nspans, unsigned flags, uint32_t **ids, size_t *n);

/* The most bytes of text that one token stands for. */
size_t tokenizer_longest(const struct tokenizer *t);

/* The number of ids: valid ids are below it. */
uint32_t tokenizer_tokens(const struct tokenizer *t);

/* The bytes of a token (a control token: its name), borrowed from t, not terminated.  They may be only part
 * of a character.  The leading space of an SPM token is included.  An id out of range has none. */
const char *tokenizer_piece(const struct tokenizer *t, uint32_t id, size_t *len);

/* A token that is not shown to people: control, unknown, unused. */
bool tokenizer_is_control(const struct tokenizer *t, uint32_t id);

/* Whether there is a control token of this name. */
bool tokenizer_has_control(const struct tokenizer *t, const char *name);

/* Whether it ends generation: EOS, EOT, and other tokens known by name to end a turn (<|eot_id|>, <|eom_id|>,
 * ...). */
bool tokenizer_is_end(const struct tokenizer *t, uint32_t id);
/* Fills id, which has room for `most`, with those that end it; how many there are. */
size_t tokenizer_ends(const struct tokenizer *t, uint32_t *id, size_t most);

/* Whether encoding adds a space in front of a text (SPM with its space prefix). */
bool tokenizer_has_space_prefix(const struct tokenizer *t);

#endif
