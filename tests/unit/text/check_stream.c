/* The stream of text: characters that come in parts, stop texts across tokens, what is held back. */
#include "daemon/text/stream.h"
#include "daemon/text/tokenizer.h"
#include "daemon/text/utf8.h"
#include "tests/unit/text/text_vocab.h"
#include <check.h>
#include <errno.h>

static struct small_vocab *x;
static struct tokenizer *t;

static void setup(void) {
	char err[200];
	x = small_spm();
	ck_assert_msg(tokenizer_create(&t, &x->v, err, sizeof err) == 0, "%s", err);
}

static void teardown(void) {
	tokenizer_destroy(t);
	free(x);
}

static struct text_stream *make(unsigned flags, size_t nstops, const struct text_stop *stops) {
	struct text_stream *s;
	ck_assert_int_eq(text_stream_create(&s, t, stops, nstops, flags), 0);
	return s;
}

static void expect_take(struct text_stream *s, const char *want) {
	const char *text;
	size_t n = text_stream_take(s, &text);
	ck_assert_msg(
	        n == strlen(want) && memcmp(text, want, n) == 0, "\"%.*s\", not \"%s\"", (int)n, text, want);
}

static void push(struct text_stream *s, const char *token, const char *want) {
	uint32_t id = small_find(x, token);
	ck_assert_msg(id != UINT32_MAX, "no token %s", token);
	ck_assert_int_eq(text_stream_push(s, id), 0);
	expect_take(s, want);
}

static void push_bytes(struct text_stream *s, const char *bytes, size_t n) {
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(text_stream_push(s, 3 + (uint8_t)bytes[i]), 0);
}

static void finish(struct text_stream *s, const char *want) {
	ck_assert_int_eq(text_stream_finish(s), 0);
	expect_take(s, want);
	expect_take(s, "");
	text_stream_destroy(s);
}

START_TEST(leading_space) {
	struct text_stream *s = make(0, 0, NULL);
	push(s, "\u2581hello", " hello");
	push(s, "\u2581world", " world");
	finish(s, "");
	s = make(TEXT_STREAM_AT_START, 0, NULL);
	push(s, "<s>", "");
	push(s, "\u2581hello", "hello");
	push(s, "\u2581world", " world");
	finish(s, "");
	/* one space only, and only of the first token */
	s = make(TEXT_STREAM_AT_START, 0, NULL);
	push(s, "\u2581\u2581", " ");
	finish(s, "");
	s = make(TEXT_STREAM_AT_START, 0, NULL);
	push(s, "x", "x");
	push(s, "\u2581hello", " hello");
	finish(s, "");
	x->v.add_space_prefix = false;
	s = make(TEXT_STREAM_AT_START, 0, NULL);
	push(s, "\u2581hello", " hello");
	finish(s, "");
}
END_TEST

START_TEST(control_tokens) {
	struct text_stream *s = make(0, 0, NULL);
	push(s, "x", "x");
	push(s, "</s>", "");
	push(s, "<unk>", "");
	push(s, "<tool>", "<tool>");
	finish(s, "");
	s = make(TEXT_STREAM_SPECIAL, 0, NULL);
	push(s, "<|eot_id|>", "<|eot_id|>");
	push(s, "</s>", "</s>");
	ck_assert_int_eq(text_stream_push(s, x->v.tokens), -EINVAL);
	ck_assert_int_eq(text_stream_push(s, UINT32_MAX), -EINVAL);
	finish(s, "");
}
END_TEST

/* A stop text may spell a control token, alone or with the text around it; people still do not see one. */
START_TEST(stops_of_control_tokens) {
	struct text_stop stop[] = {{"<|eot_id|>", 10}};
	struct text_stream *s = make(0, 1, stop);
	push(s, "x", "x");
	push(s, "</s>", "");
	push(s, "<", ""); /* it may be the beginning */
	push(s, "x", "<x");
	push(s, "<|eot_id|>", "");
	ck_assert_int_eq(text_stream_stopped(s), 0);
	push(s, "x", "");
	finish(s, "");
	/* with text before and behind, all of which goes */
	struct text_stop around[] = {{"never", 5}, {"o</s>w", 6}};
	s = make(0, 2, around);
	push(s, "hello", "hell");
	push(s, "</s>", "");
	push(s, "x", "ox");
	push(s, "o", "");
	push(s, "</s>", "");
	push(s, "w", "");
	ck_assert_int_eq(text_stream_stopped(s), 1);
	finish(s, "");
	/* a text that does not spell it is found across it, as it is without */
	struct text_stop across[] = {{"lo x", 4}};
	s = make(0, 1, across);
	push(s, "hello", "hel");
	push(s, "</s>", "");
	push(s, "<s>", "");
	push(s, "\u2581", "");
	push(s, "</s>", "");
	push(s, "d", "lo d");
	push(s, "l", "");
	push(s, "<s>", "");
	push(s, "o", "");
	push(s, "\u2581", "");
	push(s, "</s>", "");
	push(s, "x", "");
	ck_assert_int_eq(text_stream_stopped(s), 0);
	finish(s, "");
	/* what was held back for a control token comes out when it does not */
	s = make(0, 2, around);
	push(s, "o", "");
	push(s, "</s>", "");
	finish(s, "o");
	/* shown ones are text like any other */
	s = make(TEXT_STREAM_SPECIAL, 2, around);
	push(s, "hello", "hell");
	push(s, "</s>", "");
	push(s, "w", "");
	ck_assert_int_eq(text_stream_stopped(s), 1);
	finish(s, "");
}
END_TEST

START_TEST(byte_letters) {
	/* the tokens of a BPE vocabulary are bytes, never letters of bytes; there is no space prefix */
	struct small_vocab *b = small_bpe("llama-bpe");
	struct tokenizer *bt;
	struct text_stream *s;
	char err[200];
	ck_assert_int_eq(tokenizer_create(&bt, &b->v, err, sizeof err), 0);
	ck_assert_int_eq(text_stream_create(&s, bt, NULL, 0, TEXT_STREAM_AT_START), 0);
	const uint32_t ids[] = {(uint32_t)b->v.bos, ' ', 0xF0, 0x9F, small_find(b, "\u0120world"), 0xAD, '\n',
	        small_find(b, "<tool>"), small_find(b, "<|eot_id|>"), 0xC3, 0xA9};
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
		ck_assert_int_eq(text_stream_push(s, ids[i]), 0);
	expect_take(s, " \uFFFD world\uFFFD\n<tool>\u00E9");
	finish(s, "");
	tokenizer_destroy(bt);
	free(b);
}
END_TEST

START_TEST(split_characters) {
	struct text_stream *s = make(0, 0, NULL);
	push(s, "<0xF0>", "");
	push(s, "<0x9F>", "");
	push(s, "<0x98>", "");
	push(s, "<0x8A>", "\U0001F60A");
	push(s, "<0xC3>", "");
	push(s, "<0xA9>", "\u00E9");
	/* a family of emoji: each character as soon as it is whole */
	push(s, "\U0001F642", "\U0001F642");
	push(s, "<0xE2>", "");
	push(s, "<0x80>", "");
	push(s, "<0x8D>", "\u200D");
	/* the beginning of a character that another interrupts */
	push(s, "<0xE2>", "");
	push(s, "<0x80>", "");
	push(s, "x", "\uFFFDx");
	push(s, "<0xFF>", "\uFFFD");
	push(s, "<0xC0>", "\uFFFD");
	/* in more bytes than it takes, and beyond the last */
	push(s, "<0xE0>", "");
	push(s, "<0x9F>", "\uFFFD\uFFFD");
	push(s, "<0xF0>", "");
	push(s, "<0x8F>", "\uFFFD\uFFFD");
	push(s, "<0xF4>", "");
	push(s, "<0x90>", "\uFFFD\uFFFD");
	push(s, "<0xF0>", "");
	push(s, "<0xF0>", "\uFFFD");
	push(s, "<0x9F>", "");
	finish(s, "\uFFFD");
}
END_TEST

/* However text is cut, the stream gives the same: byte tokens against whole ones, taken at any time. */
START_TEST(cut_makes_no_difference) {
	static const char bytes[] = "x\u00E9\U0001F642\xF0\x9F\x98x\xED\xA0\x80hello\xE2\x80";
	static const char want[] = "x\u00E9\U0001F642\uFFFDx\uFFFD\uFFFD\uFFFDhello\uFFFD";
	for (unsigned mask = 0; mask < 1024; mask++) {
		struct text_stream *s = make(0, 0, NULL);
		char out[256];
		size_t n = 0, len;
		const char *text;
		for (size_t i = 0; i < sizeof bytes - 1; i++) {
			push_bytes(s, bytes + i, 1);
			if (mask >> i % 10 & 1) {
				len = text_stream_take(s, &text);
				ck_assert(utf8_valid(text, len));
				memcpy(out + n, text, len);
				n += len;
			}
		}
		ck_assert_int_eq(text_stream_finish(s), 0);
		len = text_stream_take(s, &text);
		memcpy(out + n, text, len);
		n += len;
		ck_assert_uint_eq(n, strlen(want));
		ck_assert_mem_eq(out, want, n);
		text_stream_destroy(s);
	}
}
END_TEST

START_TEST(stop_across_tokens) {
	const struct text_stop stops[] = {{"old", 3}, {"\nUser:", 6}};
	struct text_stream *s = make(0, 2, stops);
	push(s, "hello", "hell"); /* "o" may be the beginning of "old" */
	ck_assert_int_eq(text_stream_stopped(s), -1);
	push(s, "ll", "oll");
	push(s, "o", "");
	push(s, "o", "o");
	push(s, "ld", "");
	ck_assert_int_eq(text_stream_stopped(s), 0);
	/* nothing comes behind it */
	push(s, "hello", "");
	finish(s, "");

	s = make(0, 2, stops);
	push_bytes(s, "hi\nUse", 6);
	expect_take(s, "hi");
	push_bytes(s, "\nUser", 5);
	expect_take(s, "\nUse");
	push_bytes(s, ":", 1);
	ck_assert_int_eq(text_stream_stopped(s), 1);
	finish(s, "");

	/* what was held back comes in the end */
	s = make(0, 2, stops);
	push_bytes(s, "x\nUs", 4);
	expect_take(s, "x");
	finish(s, "\nUs");
}
END_TEST

START_TEST(stop_within_token) {
	const struct text_stop stops[] = {{"ell", 3}};
	struct text_stream *s = make(0, 1, stops);
	push(s, "hello", "h");
	ck_assert_int_eq(text_stream_stopped(s), 0);
	finish(s, "");
}
END_TEST

START_TEST(stop_choice) {
	/* the first that is complete; of those complete at once the longest */
	const struct text_stop a[] = {{"llo", 3}, {"el", 2}}, b[] = {{"l", 1}, {"el", 2}, {"hel", 3}};
	struct text_stream *s = make(0, 2, a);
	push(s, "hello", "h");
	ck_assert_int_eq(text_stream_stopped(s), 1);
	finish(s, "");
	s = make(0, 3, b);
	push(s, "x", "x");
	push(s, "hello", "");
	ck_assert_int_eq(text_stream_stopped(s), 2);
	finish(s, "");
}
END_TEST

START_TEST(stop_overlaps_itself) {
	const struct text_stop stops[] = {{"aabaaac", 7}};
	struct text_stream *s = make(0, 1, stops);
	push_bytes(s, "aabaabaaac", 10);
	ck_assert_int_eq(text_stream_stopped(s), 0);
	finish(s, "aab");
}
END_TEST

START_TEST(stop_of_characters) {
	/* a stop text of more than one byte a character, which comes byte by byte */
	const struct text_stop stops[] = {{"\U0001F642\u00E9", 6}};
	struct text_stream *s = make(0, 1, stops);
	push(s, "\U0001F642", "");
	push(s, "<0xC3>", "");
	push(s, "<0xAA>", "\U0001F642\u00EA");
	push(s, "\U0001F642", "");
	push(s, "<0xC3>", "");
	push(s, "<0xA9>", "");
	ck_assert_int_eq(text_stream_stopped(s), 0);
	finish(s, "");
}
END_TEST

START_TEST(stop_texts_checked) {
	struct text_stop stops[TEXT_STREAM_MAX_STOPS + 1];
	struct text_stream *s;
	static char long_text[TEXT_STREAM_MAX_STOP_LEN + 1];
	memset(long_text, 'a', sizeof long_text);
	for (size_t i = 0; i <= TEXT_STREAM_MAX_STOPS; i++)
		stops[i] = (struct text_stop){long_text, TEXT_STREAM_MAX_STOP_LEN};
	ck_assert_int_eq(text_stream_create(&s, t, stops, TEXT_STREAM_MAX_STOPS + 1, 0), -E2BIG);
	ck_assert_ptr_null(s);
	ck_assert_int_eq(text_stream_create(&s, t, stops, TEXT_STREAM_MAX_STOPS, 0), 0);
	text_stream_destroy(s);
	stops[1] = (struct text_stop){long_text, TEXT_STREAM_MAX_STOP_LEN + 1};
	ck_assert_int_eq(text_stream_create(&s, t, stops, 2, 0), -E2BIG);
	stops[1] = (struct text_stop){"", 0};
	ck_assert_int_eq(text_stream_create(&s, t, stops, 2, 0), -EINVAL);
	stops[1] = (struct text_stop){"\xC3", 1};
	ck_assert_int_eq(text_stream_create(&s, t, stops, 2, 0), -EINVAL);
	text_stream_destroy(NULL);
}
END_TEST

static uint32_t draw(uint32_t *state, uint32_t n) {
	*state = *state * 1664525 + 1013904223;
	return (*state >> 16) % n;
}

/* A text with all names, and which of its bytes are not shown. */
struct named_text {
	char text[256];
	bool hidden[256];
	size_t n;
};

/* Where the stop text begins that the text ends with, or SIZE_MAX; hidden bytes are passed over, or not. */
static size_t stop_begins(const struct named_text *full, const struct text_stop *stop, bool pass_over) {
	size_t at = full->n;
	if (pass_over && full->hidden[full->n - 1])
		return SIZE_MAX;
	for (size_t i = stop->len; i > 0;) {
		if (at-- == 0)
			return SIZE_MAX;
		if (pass_over && full->hidden[at])
			continue;
		if (full->text[at] != stop->s[--i])
			return SIZE_MAX;
	}
	return at;
}

/* Any tokens, control tokens among them, and any stop texts: what is given out is what is shown before the stop text that is
 * complete first, by a search that looks at every byte of both texts. */
START_TEST(stops_of_any_tokens) {
	static const char *const pool[] = {
	        "a", "aa", "</", "s>", "<", ">", "/", "s", "</s>", "<s>", "</s>", "h"};
	static const struct text_stop all[] = {{"</s>", 4}, {"a</s>h", 6}, {"aa", 2}, {"</s><s>", 7},
	        {"s>a", 3}, {"<", 1}, {"s>", 2}, {"h</s></s>a", 10}, {"aha", 3}};
	uint32_t state = 7, stopped = 0;
	for (int round = 0; round < 5000; round++) {
		struct named_text full = {.n = 0};
		struct text_stop stop[3];
		char got[256];
		const char *out;
		size_t ngot = 0, nstop = 1 + draw(&state, 3), end = SIZE_MAX;
		int which = -1;
		for (size_t i = 0; i < nstop; i++)
			stop[i] = all[draw(&state, sizeof all / sizeof *all)];
		struct text_stream *s = make(0, nstop, stop);
		for (uint32_t k = draw(&state, 24); k > 0; k--) {
			const char *token = pool[draw(&state, sizeof pool / sizeof *pool)];
			uint32_t id = small_find(x, token);
			ck_assert_int_eq(text_stream_push(s, id), 0);
			for (const char *c = token; *c && which < 0; c++) {
				size_t longest = 0;
				full.text[full.n] = *c;
				full.hidden[full.n++] = tokenizer_is_control(t, id);
				for (size_t i = 0; i < nstop; i++) {
					size_t begins = stop_begins(&full, &stop[i], false);
					if (begins == SIZE_MAX)
						begins = stop_begins(&full, &stop[i], true);
					if (begins == SIZE_MAX || stop[i].len <= longest)
						continue;
					longest = stop[i].len;
					which = (int)i;
					end = begins;
				}
			}
			ck_assert_int_eq(text_stream_stopped(s), which);
			if (draw(&state, 2)) {
				size_t n = text_stream_take(s, &out);
				memcpy(got + ngot, out, n);
				ngot += n;
			}
		}
		ck_assert_int_eq(text_stream_finish(s), 0);
		size_t n = text_stream_take(s, &out), want = 0;
		memcpy(got + ngot, out, n);
		ngot += n;
		for (size_t i = 0; i < full.n && i < end; i++) {
			if (full.hidden[i])
				continue;
			ck_assert(want < ngot && got[want] == full.text[i]);
			want++;
		}
		ck_assert_uint_eq(ngot, want);
		stopped += which >= 0;
		text_stream_destroy(s);
	}
	ck_assert(stopped > 1000 && stopped < 5000);
}
END_TEST

/* Stop texts found as a search over the whole text finds them, and nothing given out too early. */
START_TEST(stop_random) {
	const struct text_stop stops[] = {{"aab", 3}, {"bb", 2}, {"abab", 4}};
	uint32_t state = 12345;
	for (int round = 0; round < 2000; round++) {
		char text[24];
		size_t end = sizeof text, begin = sizeof text, n = 0;
		for (size_t i = 0; i < sizeof text; i++)
			text[i] = "abc"[(state = state * 1664525 + 1013904223) >> 24 & 3 ? (state >> 26) % 2
			                                                                 : 2];
		for (size_t i = 1; i <= sizeof text && begin == sizeof text; i++)
			for (size_t k = 0; k < 3; k++)
				if (i >= stops[k].len && i - stops[k].len < begin &&
				        memcmp(text + i - stops[k].len, stops[k].s, stops[k].len) == 0) {
					begin = i - stops[k].len;
					end = i;
				}
		struct text_stream *s = make(0, 3, stops);
		for (size_t i = 0; i < sizeof text; i++) {
			const char *out;
			push_bytes(s, text + i, 1);
			size_t len = text_stream_take(s, &out);
			ck_assert_uint_le(n + len, begin);
			ck_assert_mem_eq(out, text + n, len);
			n += len;
			ck_assert_int_eq(text_stream_stopped(s) >= 0, i + 1 >= end && begin < sizeof text);
		}
		ck_assert_int_eq(text_stream_finish(s), 0);
		const char *out;
		n += text_stream_take(s, &out);
		ck_assert_uint_eq(n, begin);
		text_stream_destroy(s);
	}
}
END_TEST

/* The offsets of the tokens that have come. */
static void expect_tokens(struct text_stream *s, const char *want) {
	char got[100] = "";
	size_t offset;
	while (text_stream_next_token(s, &offset))
		snprintf(got + strlen(got), sizeof got - strlen(got), "%s%zu", *got ? " " : "", offset);
	ck_assert_msg(strcmp(got, want) == 0, "%s, not %s", got, want);
}

static void push_token(struct text_stream *s, const char *token, const char *text, const char *tokens) {
	push(s, token, text);
	expect_tokens(s, tokens);
}

static void push_byte(struct text_stream *s, uint8_t byte, const char *text, const char *tokens) {
	ck_assert_int_eq(text_stream_push(s, 3 + byte), 0);
	expect_take(s, text);
	expect_tokens(s, tokens);
}

static void finish_tokens(struct text_stream *s, const char *text, const char *tokens) {
	ck_assert_int_eq(text_stream_finish(s), 0);
	expect_take(s, text);
	expect_tokens(s, tokens);
	text_stream_destroy(s);
}

START_TEST(tokens_come_with_their_text) {
	const struct text_stop stops[] = {{"lo x", 4}};
	/* none is looked for where they are not asked for */
	struct text_stream *s = make(0, 0, NULL);
	push_token(s, "hello", "hello", "");
	finish_tokens(s, "", "");
	/* an incomplete character holds back all of its tokens */
	s = make(TEXT_STREAM_TOKENS, 0, NULL);
	push_token(s, "hello", "hello", "0");
	push_byte(s, 0xE2, "", "");
	push_byte(s, 0x80, "", "");
	push_byte(s, 0xA6, "\u2026", "5 5 5");
	push_token(s, "x", "x", "8");
	push_byte(s, 0xE2, "", "");
	finish_tokens(s, "\uFFFD", "9");
	/* what may be a stop text holds back those that begin in it; "hello" has begun before it */
	s = make(TEXT_STREAM_TOKENS, 1, stops);
	push_token(s, "hello", "hel", "0");
	push_token(s, "\u2581", "", "");
	push_token(s, "d", "lo d", "5 6");
	push_token(s, "hello", "hel", "7");
	push_token(s, "\u2581", "", "");
	push_token(s, "x", "", "");
	ck_assert_int_eq(text_stream_stopped(s), 0);
	push_token(s, "x", "", "");
	finish_tokens(s, "", "");
	/* of which none begins before it */
	s = make(TEXT_STREAM_TOKENS, 1, stops);
	push_token(s, "he", "he", "0");
	push_token(s, "l", "", "");
	push_token(s, "l", "l", "2");
	push_token(s, "o", "", "");
	push_token(s, "\u2581", "", "");
	push_token(s, "x", "", "");
	finish_tokens(s, "", "");
	/* without an end to it, they come at the end */
	s = make(TEXT_STREAM_TOKENS, 1, stops);
	push_token(s, "l", "", "");
	push_token(s, "o", "", "");
	finish_tokens(s, "lo", "0 1");
}
END_TEST

static void push_spelled(struct text_stream *s, const char *bytes, const char *want) {
	push_bytes(s, bytes, strlen(bytes));
	expect_take(s, want);
}

/* A mark that is spelled where there is a control token for it has a byte more; that token has not. */
START_TEST(spelled_marks_are_told_apart) {
	const struct text_stop stops[] = {{"<|end|>!", 8}};
	for (size_t nstops = 0; nstops < 2; nstops++) {
		struct text_stream *s = make(TEXT_STREAM_SPECIAL | TEXT_STREAM_APART, nstops, stops);
		push_spelled(s, "a<|end|>b", "a<|end|\xFE>b");
		push(s, "<|end|>", nstops ? "" : "<|end|>");
		push_spelled(s, "c", nstops ? "<|end|>c" : "c");
		push(s, "</s>", "</s>"); /* it has nothing to do with marks */
		push_spelled(s, "<think><|end><end|>>", "<think><|end><end|>>");
		/* a mark with a control token in its middle is none */
		push_spelled(s, "x<|en", nstops ? "x" : "x<|en");
		push(s, "</s>", nstops ? "<|en</s>" : "</s>");
		push_spelled(s, "d|>", "d|>");
		finish(s, "");
		/* whatever is taken at once */
		s = make(TEXT_STREAM_SPECIAL | TEXT_STREAM_APART, nstops, stops);
		for (const char *c = "<|end|>"; *c; c++)
			push_spelled(s, (char[]){*c, 0}, nstops ? "" : *c == '>' ? "\xFE>" : (char[]){*c, 0});
		finish(s, nstops ? "<|end|\xFE>" : "");
		s = make(TEXT_STREAM_SPECIAL, nstops, stops);
		push_spelled(s, "<|end|>b", "<|end|>b");
		finish(s, "");
	}
	struct text_stream *s = make(TEXT_STREAM_SPECIAL | TEXT_STREAM_APART, 1, stops);
	push_spelled(s, "a<|end|>!b", "a");
	ck_assert_int_eq(text_stream_stopped(s), 0);
	finish(s, "");
}
END_TEST

/* They have no text, and come with the next one or at the end. */
START_TEST(hidden_tokens_come_in_their_place) {
	struct text_stream *s = make(TEXT_STREAM_TOKENS, 0, NULL);
	push_token(s, "<|eot_id|>", "", "");
	push_token(s, "hello", "hello", "0 0");
	push_token(s, "<|eot_id|>", "", "");
	push_token(s, "x", "x", "5 5");
	push_token(s, "</s>", "", "");
	finish_tokens(s, "", "6");
	/* the same while stop texts are looked for, which may spell them */
	const struct text_stop stops[] = {{"<|eot_id|>", 10}};
	s = make(TEXT_STREAM_TOKENS, 1, stops);
	push_token(s, "</s>", "", "0");
	push_token(s, "hello", "hello", "0");
	push_token(s, "<", "", "");
	push_token(s, "x", "<x", "5 6");
	push_token(s, "</s>", "", "7");
	push_token(s, "x", "x", "7");
	push_token(s, "<|eot_id|>", "", "");
	finish_tokens(s, "", "");
	/* one that is held back is not counted either */
	const struct text_stop around[] = {{"o</s>w", 6}};
	s = make(TEXT_STREAM_TOKENS, 1, around);
	push_token(s, "o", "", "");
	push_token(s, "</s>", "", "");
	push_token(s, "x", "ox", "0 1 1");
	finish_tokens(s, "", "");
}
END_TEST

/* At any time exactly those that begin in the text given out so far, with offsets as in a stream without stop texts. */
START_TEST(tokens_of_any_text) {
	static const char *const pieces[] = {"he", "ll", "aa", "aaaa", "hello", "a", "o", "x", "\u00E9"};
	static const uint8_t bytes[] = {0xC3, 0xA9, 0xE2, 0x80, 0xA6, 0xFF, 'a'};
	const struct text_stop stops[] = {{"aaax", 4}, {"oa", 2}, {"\u00E9\u00E9", 4}};
	uint32_t state = 99, held = 0, stopped = 0;
	for (int round = 0; round < 3000; round++) {
		struct text_stream *s = make(TEXT_STREAM_TOKENS, 3, stops), *plain = make(0, 0, NULL);
		size_t begins[24], n = 0, came = 0, taken = 0, offset, at = 0;
		const char *out;
		for (size_t i = 0; i < 24 && text_stream_stopped(s) < 0; i++) {
			state = state * 1664525 + 1013904223;
			uint32_t id = state >> 28 < 11 ? small_find(x, pieces[(state >> 16) % 9])
			                               : 3u + bytes[(state >> 16) % 7];
			begins[n++] = at;
			ck_assert_int_eq(text_stream_push(plain, id), 0);
			at += text_stream_take(plain, &out);
			ck_assert_int_eq(text_stream_push(s, id), 0);
			taken += text_stream_take(s, &out);
			for (; text_stream_next_token(s, &offset); came++)
				ck_assert(came < n && offset == begins[came] && offset < taken);
			ck_assert(came == n || begins[came] >= taken);
			held += came < n;
		}
		ck_assert_int_eq(text_stream_finish(s), 0);
		taken += text_stream_take(s, &out);
		for (; text_stream_next_token(s, &offset); came++)
			ck_assert(came < n && offset == begins[came] && offset < taken);
		ck_assert(came == n || (text_stream_stopped(s) >= 0 && begins[came] >= taken));
		stopped += text_stream_stopped(s) >= 0;
		text_stream_destroy(s);
		text_stream_destroy(plain);
	}
	ck_assert(held > 3000 && stopped > 500 && stopped < 2500);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("stream");
	TCase *c = tcase_create("stream");
	tcase_set_timeout(c, 120);
	tcase_add_checked_fixture(c, setup, teardown);
	tcase_add_test(c, leading_space);
	tcase_add_test(c, control_tokens);
	tcase_add_test(c, stops_of_control_tokens);
	tcase_add_test(c, byte_letters);
	tcase_add_test(c, split_characters);
	tcase_add_test(c, cut_makes_no_difference);
	tcase_add_test(c, stop_across_tokens);
	tcase_add_test(c, stop_within_token);
	tcase_add_test(c, stop_choice);
	tcase_add_test(c, stop_overlaps_itself);
	tcase_add_test(c, stop_of_characters);
	tcase_add_test(c, stop_texts_checked);
	tcase_add_test(c, stop_random);
	tcase_add_test(c, stops_of_any_tokens);
	tcase_add_test(c, tokens_come_with_their_text);
	tcase_add_test(c, spelled_marks_are_told_apart);
	tcase_add_test(c, hidden_tokens_come_in_their_place);
	tcase_add_test(c, tokens_of_any_text);
	suite_add_tcase(s, c);
	return s;
}

#include "tests/unit/check_main.h"
