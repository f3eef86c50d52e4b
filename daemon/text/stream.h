/* stream: turns token ids into text as they are generated.  What it returns is final: whole characters, and
 * nothing that may be the beginning of a stop text.
 *
 * Owns: the bytes not returned yet, the state of the search for stop texts.  The output does not depend on
 * how the text was split into tokens, nor on when it is taken.
 * The names of control tokens are not shown unless asked for; a stop text may match them all the same.
 * One thread at a time. */
#ifndef DAEMON_TEXT_STREAM_H
#define DAEMON_TEXT_STREAM_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tokenizer;
struct text_stream;

enum {
	/* The first token begins the text: its leading space is the space prefix and is not printed.  For an
	 * empty prompt (BOS only) and for printing back a whole encoded text; no effect where the model
	 * has no space prefix. */
	TEXT_STREAM_AT_START = 1,
	/* Control tokens print their names. */
	TEXT_STREAM_SPECIAL = 2,
	/* text_stream_next_token is used. */
	TEXT_STREAM_TOKENS = 4,
	/* A mark of reasoning or of calls (reply.h) for which there is a control token, but which other tokens spell here, gets a
	 * byte TEXT_STREAM_SPELLED before its last one: a model that quotes it does not use it. */
	TEXT_STREAM_APART = 8,
};
#define TEXT_STREAM_SPELLED '\xFE' /* no text has it */

struct text_stop {
	const char *s;
	size_t len;
};

#define TEXT_STREAM_MAX_STOPS 16
#define TEXT_STREAM_MAX_STOP_LEN 1024 /* bytes */

/* t is borrowed; the stop texts are copied.  0; -EINVAL: a stop text is empty or not UTF-8; -E2BIG: too many
 * or too long; -ENOMEM. */
int text_stream_create(struct text_stream **out, const struct tokenizer *t, const struct text_stop *stops,
        size_t nstops, unsigned flags);
void text_stream_destroy(struct text_stream *s); /* NULL allowed */

/* Appends a token.  Ignored once a stop text was found or the stream was finished.
 * 0; -EINVAL: no such token; -ENOMEM. */
int text_stream_push(struct text_stream *s, uint32_t id);

/* There are no more tokens: what was held back is released, an incomplete character becomes U+FFFD.  0 or
 * -ENOMEM. */
int text_stream_finish(struct text_stream *s);

/* The bytes that have become final since the last call, and their number; borrowed, and valid until the next
 * call with this stream.  Valid UTF-8, but for TEXT_STREAM_SPELLED; not terminated. */
size_t text_stream_take(struct text_stream *s, const char **text);

/* After text_stream_take: whether the next token, in the order of pushes, has begun in the text that was taken so far; then,
 * where: how many bytes of text come before it.  So a token comes with its first byte: while that may be part of a stop text, or
 * its character is incomplete, it does not.  One without text comes with the text after it, or at the end.  Tokens that begin
 * within the stop text that was found never come.  Only with TEXT_STREAM_TOKENS. */
bool text_stream_next_token(struct text_stream *s, size_t *offset);

/* The index of the stop text that was found, or -1.  The text ends before it.  The first one to be complete
 * is found; among several completed by the same byte, the longest.  Both the shown text and the text with the
 * names of all control tokens are searched. */
int text_stream_stopped(const struct text_stream *s);

#endif
