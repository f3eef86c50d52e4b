/* terminal: see terminal.h. */
#include "cli/terminal.h"
#include <stdbool.h>
#include <string.h>

static const uint8_t replacement[] = {0xef, 0xbf, 0xbd}; /* U+FFFD */

/* Length in bytes of a character that begins with this byte; 0: invalid. */
static size_t terminal_sequence_length(uint8_t first) {
	return first < 0x80                    ? 1
	       : first >= 0xc2 && first < 0xe0 ? 2
	       : (first & 0xf0) == 0xe0        ? 3
	       : first >= 0xf0 && first < 0xf5 ? 4
	                                       : 0;
}

static bool terminal_is_shown(uint32_t c) {
	if (c < 0x20)
		return c == '\n' || c == '\t';
	return !((c >= 0x7f && c < 0xa0) ||      /* DEL, and the second row of control characters */
	         (c >= 0x202a && c <= 0x202e) || /* embeddings and overrides of the text direction */
	         (c >= 0x2066 && c <= 0x2069));  /* and isolates */
}

static size_t terminal_put(uint8_t *out, const void *bytes, size_t n) {
	memcpy(out, bytes, n);
	return n;
}

/* A whole character. */
static size_t terminal_put_character(uint8_t *out, const uint8_t *p, size_t n) {
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	static const uint8_t mask[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
	uint32_t c = p[0] & mask[n];
	for (size_t i = 1; i < n; i++)
		c = c << 6 | (p[i] & 0x3f);
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return terminal_put(out, replacement, sizeof replacement);
	return terminal_is_shown(c) ? terminal_put(out, p, n) : 0;
}

size_t terminal_take(struct terminal *t, const uint8_t *in, size_t len, uint8_t *out) {
	size_t n = 0;
	for (size_t i = 0; i < len; i++) {
		if (t->nheld && (in[i] & 0xc0) != 0x80) { /* it was incomplete */
			n += terminal_put(out + n, replacement, sizeof replacement);
			t->nheld = 0;
		}
		if (t->nheld == 0 && terminal_sequence_length(in[i]) == 0) {
			n += terminal_put(out + n, replacement, sizeof replacement);
			continue;
		}
		t->held[t->nheld++] = in[i];
		if (t->nheld == terminal_sequence_length(t->held[0])) {
			n += terminal_put_character(out + n, t->held, t->nheld);
			t->nheld = 0;
		}
	}
	return n;
}

size_t terminal_end(struct terminal *t, uint8_t *out) {
	size_t n = t->nheld ? terminal_put(out, replacement, sizeof replacement) : 0;
	t->nheld = 0;
	return n;
}
