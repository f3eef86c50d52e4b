/* utf8: where one character ends and the next begins.
 * Pure; any thread. */
#ifndef DAEMON_TEXT_UTF8_H
#define DAEMON_TEXT_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many bytes of s[0..len), len at least 1, belong to its first character, and what they are.  Overlong
 * forms, surrogates and code points above U+10FFFF are not characters. */
enum utf8_state {
	UTF8_WHOLE,   /* a character */
	UTF8_PARTIAL, /* the beginning of one, cut off by the end of s */
	UTF8_BROKEN   /* neither: the maximal subpart, at least 1 byte (Unicode, table 3-8) */
};
enum utf8_state utf8_next(const char *s, size_t len, size_t *n);

/* Whether all of s is whole characters. */
bool utf8_valid(const char *s, size_t len);

/* The code point of a whole character of n bytes. */
uint32_t utf8_code(const char *s, size_t n);

/* Writes a code point; returns how many bytes it has. */
size_t utf8_put(uint32_t code, char out[4]);

#endif
