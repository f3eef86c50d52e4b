/* utf8: where one character ends and the next begins.
 * Pure; any thread. */
#ifndef DAEMON_TEXT_UTF8_H
#define DAEMON_TEXT_UTF8_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How many of s[0..len), len at least 1, belong to its first character, and what they are.  Overlong forms,
 * surrogates and what lies above U+10FFFF are not characters. */
enum utf8_state {
	UTF8_WHOLE,   /* a character */
	UTF8_PARTIAL, /* the beginning of one, as far as s goes */
	UTF8_BROKEN   /* neither: as many bytes as could have begun one, at least 1 (Unicode, table 3-8) */
};
enum utf8_state utf8_next(const char *s, size_t len, size_t *n);

/* All of s is whole characters. */
bool utf8_valid(const char *s, size_t len);

/* The code point of a whole character of n bytes. */
uint32_t utf8_code(const char *s, size_t n);

#endif
