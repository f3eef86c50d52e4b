/* held: see held.h. */
#include "daemon/text/held.h"
#include "daemon/text/stream.h"
#include <stdlib.h>
#include <string.h>

void held_clear(struct held *h) {
	free(h->s);
	*h = (struct held){0};
}

bool held_append(struct held *h, const char *text, size_t len) {
	if (!len)
		return true;
	if (h->len + len > h->room) {
		size_t room = (h->len + len) * 2 + 256;
		char *s = realloc(h->s, room);
		if (!s)
			return false;
		h->s = s;
		h->room = room;
	}
	memcpy(h->s + h->len, text, len);
	h->len += len;
	return true;
}

void held_drop(struct held *h, size_t n) {
	if (n == 0)
		return;
	memmove(h->s, h->s + n, h->len - n);
	h->len -= n;
}

static bool is_space(char c) {
	return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

void held_json_see(struct held_json *j, char c) {
	if (j->escaped)
		j->escaped = false;
	else if (j->string && c == '\\')
		j->escaped = true;
	else if (c == '"')
		j->string = !j->string;
}

bool held_is_plain(const char *s, size_t len) {
	return len == 0 || !memchr(s, TEXT_STREAM_SPELLED, len);
}

char *held_copy_plain(const char *s, size_t len, size_t *n) {
	char *copy = malloc(len + 1);
	*n = 0;
	for (size_t i = 0; copy && i < len; i++)
		if (s[i] != TEXT_STREAM_SPELLED)
			copy[(*n)++] = s[i];
	if (copy)
		copy[*n] = '\0';
	return copy;
}

size_t held_space(const char *s, size_t len) {
	size_t n = 0;
	while (n < len && is_space(s[n]))
		n++;
	return n;
}

size_t held_space_behind(const char *s, size_t len) {
	size_t n = 0;
	while (n < len && is_space(s[len - 1 - n]))
		n++;
	return n;
}

size_t held_partial(const char *s, size_t len, const char *mark) {
	size_t n = strlen(mark) - 1;
	for (n = n < len ? n : len; n > 0; n--)
		if (memcmp(s + len - n, mark, n) == 0)
			break;
	return n;
}

int held_begins(const char *s, size_t len, const char *mark) {
	size_t n = strlen(mark);
	if (len > 0 && memcmp(s, mark, len < n ? len : n) != 0)
		return -1;
	return len >= n;
}
