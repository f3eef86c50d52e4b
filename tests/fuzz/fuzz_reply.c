/* Any text as an answer: the first byte chooses its format, the second how it is cut.  Whole and in pieces it gives the same reasoning,
 * text and calls, and these are not longer than it was, but for the escapes of values that were written without quotes. */
#include "daemon/text/reply.h"
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define TEXT_MAX 4096

/* What came out, each byte with its kind before it. */
struct seen {
	uint8_t s[16 * TEXT_MAX];
	size_t len, bytes;
};

static void seen_put(struct seen *h, char kind, const char *text, size_t len) {
	if (h->len + 2 * len > sizeof h->s)
		abort();
	for (size_t i = 0; i < len; i++) {
		h->s[h->len++] = (uint8_t)kind;
		h->s[h->len++] = (uint8_t)text[i];
	}
	h->bytes += len;
}

static bool on_reasoning(void *arg, const char *text, size_t len) {
	seen_put(arg, 'r', text, len);
	return true;
}

static bool on_text(void *arg, const char *text, size_t len) {
	seen_put(arg, 't', text, len);
	return true;
}

static bool on_call(void *arg, const struct tool_call *call) {
	seen_put(arg, 'n', call->name, strlen(call->name));
	seen_put(arg, 'a', call->arguments, strlen(call->arguments));
	return true;
}

static void take_apart(
        struct seen *h, const struct reply_format *f, const char *text, size_t len, size_t step) {
	const struct reply_sink sink = {on_reasoning, on_text, on_call, h};
	struct reply_stream *s = reply_create(f);
	*h = (struct seen){.len = 0};
	for (size_t at = 0, n; s && at < len; at += n) {
		n = len - at < step ? len - at : step;
		if (!reply_push(s, text + at, n, &sink))
			abort();
	}
	if (!s || !reply_finish(s, &sink))
		abort();
	reply_destroy(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	static const enum toolcall_format calls[] = {TOOLCALL_NONE, TOOLCALL_LLAMA3, TOOLCALL_HERMES,
	        TOOLCALL_MISTRAL, TOOLCALL_MISTRAL_ARGS, TOOLCALL_HARMONY, TOOLCALL_PHI4, TOOLCALL_KIMI};
	static struct seen whole, cut;
	if (len < 2 || len - 2 > TEXT_MAX)
		return 0;
	const struct reply_format f = {
	        (enum reasoning_format)(data[0] % 4), data[0] & 128, calls[data[0] / 4 % 8]};
	const char *text = (const char *)data + 2;
	len -= 2;
	take_apart(&whole, &f, text, len, len + 1);
	take_apart(&cut, &f, text, len, 1 + data[1] % 9);
	if (whole.len != cut.len || memcmp(whole.s, cut.s, whole.len) != 0)
		abort();
	/* a call without arguments has {}, which is shorter than its marks; a byte becomes \u0001 at most */
	bool quoted = memmem(text, len, "<parameter=", 11) != NULL;
	if (whole.bytes > (quoted ? 6 * len : len))
		abort();
	return 0;
}
