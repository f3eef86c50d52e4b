/* held: text of a stream that cannot be passed on yet, and marks in it.
 * Owns: the bytes of a struct held.  One thread at a time for each; the rest is pure. */
#ifndef DAEMON_TEXT_HELD_H
#define DAEMON_TEXT_HELD_H
#include <stdbool.h>
#include <stddef.h>

struct held {
	char *s;
	size_t len, room;
};

void held_clear(struct held *h);
bool held_append(struct held *h, const char *text, size_t len); /* false: out of memory */
void held_drop(struct held *h, size_t n);                       /* the first n bytes */

/* Where a text of JSON that is read byte by byte is: within a string, and behind a backslash there. */
struct held_json {
	bool string, escaped;
};
void held_json_see(struct held_json *j, char c);

/* Whether a text has no TEXT_STREAM_SPELLED (stream.h), and a copy of it without (NULL: out of memory). */
bool held_is_plain(const char *s, size_t len);
char *held_copy_plain(const char *s, size_t len, size_t *n);

/* Bytes of white space at the beginning of a text, at its end. */
size_t held_space(const char *s, size_t len);
size_t held_space_behind(const char *s, size_t len);
/* How many bytes at the end of a text may be the beginning of a mark. */
size_t held_partial(const char *s, size_t len, const char *mark);
/* The text begins with the mark: 1; may yet begin with it: 0; does not: -1. */
int held_begins(const char *s, size_t len, const char *mark);

#endif
