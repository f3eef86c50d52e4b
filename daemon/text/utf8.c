/* utf8: a check against the table of well-formed byte sequences (The Unicode Standard, table 3-7).
 * Pure; any thread. */
#include "daemon/text/utf8.h"

enum utf8_state utf8_next(const char *s, size_t len, size_t *n) {
	const uint8_t *b = (const uint8_t *)s;
	*n = 1;
	if (b[0] < 0x80)
		return UTF8_WHOLE;
	if (b[0] < 0xC2 || b[0] > 0xF4)
		return UTF8_BROKEN;
	size_t want = b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : 4;
	/* only the second byte's range depends on the first byte */
	uint8_t lo = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
	uint8_t hi = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
	for (; *n < want; ++*n) {
		if (*n == len)
			return UTF8_PARTIAL;
		if (b[*n] < lo || b[*n] > hi)
			return UTF8_BROKEN;
		lo = 0x80;
		hi = 0xBF;
	}
	return UTF8_WHOLE;
}

bool utf8_valid(const char *s, size_t len) {
	for (size_t i = 0, n; i < len; i += n)
		if (utf8_next(s + i, len - i, &n) != UTF8_WHOLE)
			return false;
	return true;
}

uint32_t utf8_code(const char *s, size_t n) {
	const uint8_t *b = (const uint8_t *)s;
	uint32_t c = n == 1 ? b[0] : b[0] & (0x7F >> n);
	for (size_t i = 1; i < n; i++)
		c = c << 6 | (b[i] & 0x3F);
	return c;
}

size_t utf8_put(uint32_t code, char out[4]) {
	size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
	for (size_t i = n; i-- > 1; code >>= 6)
		out[i] = (char)(0x80 | (code & 0x3F));
	out[0] = (char)(n == 1 ? code : (0xF00u >> n & 0xF0) | code);
	return n;
}
