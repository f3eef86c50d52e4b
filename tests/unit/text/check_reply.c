/* Answers taken apart into reasoning, text and calls: each whole, byte by byte, and cut at every place gives the same pieces, in their
 * order. */
#include "daemon/text/reply.h"
#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What came out: text as it is, reasoning as ~...~, a call as {NAME ARGUMENTS}. */
struct seen {
	char s[4096];
	size_t len;
	bool reasoning;
};

static void seen_put(struct seen *h, bool reasoning, const char *text, size_t len) {
	if (reasoning != h->reasoning)
		h->s[h->len++] = '~';
	h->reasoning = reasoning;
	memcpy(h->s + h->len, text, len);
	h->len += len;
	h->s[h->len] = '\0';
	ck_assert_uint_lt(h->len, sizeof h->s - 500);
}

static bool on_reasoning(void *arg, const char *text, size_t len) {
	ck_assert_uint_gt(len, 0);
	seen_put(arg, true, text, len);
	return true;
}

static bool on_text(void *arg, const char *text, size_t len) {
	ck_assert_uint_gt(len, 0);
	seen_put(arg, false, text, len);
	return true;
}

static bool on_call(void *arg, const struct tool_call *call) {
	char all[400];
	snprintf(all, sizeof all, "{%s %s}", call->name, call->arguments);
	seen_put(arg, false, all, strlen(all));
	return true;
}

/* Cut at these places, ascending. */
static void expect(
        const struct reply_format *f, const char *text, const char *want, const size_t *cut, size_t cuts) {
	struct seen h = {.s = ""};
	const struct reply_sink sink = {on_reasoning, on_text, on_call, &h};
	struct reply_stream *s = reply_create(f);
	size_t at = 0;
	ck_assert_ptr_nonnull(s);
	for (size_t i = 0; i < cuts; at = cut[i++])
		ck_assert(reply_push(s, text + at, cut[i] - at, &sink));
	ck_assert(reply_push(s, text + at, strlen(text) - at, &sink));
	ck_assert(reply_finish(s, &sink));
	seen_put(&h, false, "", 0);
	ck_assert_msg(strcmp(h.s, want) == 0, "\"%s\" cut %zu times (%zu): \"%s\", not \"%s\"", text, cuts,
	        cuts ? cut[0] : 0, h.s, want);
	reply_destroy(s);
}

static void expect_everywhere(const struct reply_format *f, const char *text, const char *want) {
	size_t n = strlen(text), cut[4096];
	expect(f, text, want, NULL, 0);
	for (size_t i = 0; i <= n; i++) {
		expect(f, text, want, &i, 1);
		for (size_t k = i; k <= n; k++)
			expect(f, text, want, (const size_t[]){i, k}, 2);
	}
	for (size_t i = 0; i < n; i++)
		cut[i] = i;
	expect(f, text, want, cut, n);
}

#define THINK \
	{ REASONING_THINK, false, TOOLCALL_NONE }
#define OPENED \
	{ REASONING_THINK, true, TOOLCALL_NONE }
#define QWEN \
	{ REASONING_THINK, false, TOOLCALL_HERMES }
#define MISTRAL \
	{ REASONING_MISTRAL, false, TOOLCALL_MISTRAL_ARGS }
#define HARMONY \
	{ REASONING_HARMONY, false, TOOLCALL_HARMONY }
#define MUTE \
	{ REASONING_HARMONY, false, TOOLCALL_NONE }

#define ANALYSIS "<|channel|>analysis<|message|>"
#define FINAL "<|channel|>final<|message|>"
#define CALL "<|channel|>commentary to=functions.f <|constrain|>json<|message|>"

static const struct {
	struct reply_format format;
	const char *text, *want;
} cases[] = {
        /* spelled where there is a control token for it: quoted */
        {HARMONY,
                FINAL
                "It says: <|start|\xFE>assistant<|channel|\xFE>commentary to=functions.f<|message|\xFE>{\"p\":1}<|call|\xFE> and "
                "<|end|\xFE>, no more<|return|>",
                "It says: <|start|>assistant<|channel|>commentary to=functions.f<|message|>{\"p\":1}<|call|> and "
                "<|end|>, no more"},
        {HARMONY, CALL "{\"a\":\"<|end|\xFE>\"}<|call|>", "{f {\"a\":\"<|end|>\"}}"},
        {THINK, "<think>the tag </think\xFE> ends it</think>42", "~the tag </think> ends it~42"},
        {MISTRAL, "a [TOOL_CALLS\xFE]f[ARGS\xFE]{}", "a [TOOL_CALLS]f[ARGS]{}"},
        {QWEN, "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":\"<|end|\xFE>\"}}</tool_call>",
                "{f {\"a\":\"<|end|>\"}}"},
        {QWEN, "<tool_call\xFE>{\"name\":\"f\"}</tool_call\xFE>", "<tool_call>{\"name\":\"f\"}</tool_call>"},
        {THINK, "<think>\nHm, a?\nb\n</think>\n\nYes. </think> <think>", "~Hm, a?\nb~Yes. </think> <think>"},
        {THINK, " \n<think>a</think>b", "~a~b"},
        {THINK, "<think>\n\n</think>\n\nYes", "Yes"},
        {THINK, "<think></think>", ""},
        {THINK, "  Yes <think>a</think>", "  Yes <think>a</think>"},
        {THINK, " <thinking>", " <thinking>"},
        {THINK, " <thi", " <thi"},
        {THINK, "<think>a </thin k> b", "~a </thin k> b~"},
        {THINK, "<think>a </think", "~a </think~"},
        {THINK, "<think>a <</think>b", "~a <~b"},
        {THINK, "", ""},
        {OPENED, "\na b\n</think>\n\nYes", "~a b~Yes"},
        {OPENED, "<think>\na</think>Yes", "~a~Yes"},
        {OPENED, "a <think> b", "~a <think> b~"},
        {OPENED, " <thi", "~<thi~"},
        {OPENED, "</think>Yes", "Yes"},
        {OPENED, " \n", ""},
        /* calls are looked for behind the reasoning */
        {QWEN,
                "<think>I <tool_call>{\"name\":\"f\"}</tool_call></think>\n\n<tool_call>{\"name\":\"f\",\"arguments\":{}}"
                "</tool_call>\n",
                "~I <tool_call>{\"name\":\"f\"}</tool_call>~{f {}}"},
        {{REASONING_THINK, false, TOOLCALL_LLAMA3}, "<think>a</think>\n{\"name\":\"f\",\"parameters\":{}}",
                "~a~{f {}}"},
        {MISTRAL, "[THINK]a [/THI b[/THINK]So[TOOL_CALLS]f[ARGS]{}", "~a [/THI b~So{f {}}"},
        /* harmony */
        {HARMONY, ANALYSIS "We say hi.<|end|><|start|>assistant" FINAL "Hi!", "~We say hi.~Hi!"},
        {HARMONY, FINAL "a < b <|c|> d<|return|>", "a < b <|c|> d"},
        {HARMONY,
                ANALYSIS
                "a<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|><|start|>assistant" CALL
                "{\"a\": \"<|end|>\\\"<|call|>\"}<|call|>",
                "~a~I look.{f {\"a\": \"<|end|>\\\"<|call|>\"}}"},
        /* the recipient before the channel, and an answer that ends with its call's mark */
        {HARMONY, " to=functions.f<|channel|>commentary json<|message|> {\"a\":1}\n", "{f {\"a\":1}}"},
        {HARMONY, "<|start|>assistant to=functions.f<|channel|>commentary<|message|><|call|>", "{f {}}"},
        {HARMONY, ANALYSIS "a<|start|>assistant" FINAL "b" FINAL "c", "~a~b\n\nc"},
        {HARMONY, ANALYSIS "a<|end|>" FINAL "b<|end|>" ANALYSIS "c<|end|>" FINAL "d", "~a~b~\n\nc~\n\nd"},
        {HARMONY, FINAL "<|channel|>final<|message|>x", "x"},
        {HARMONY, ANALYSIS "a <|en", "~a <|en~"},
        /* what is none of these is text */
        {HARMONY, "Hi!", "Hi!"},
        {HARMONY, "  Hi <|message|>!", "  Hi <|message|>!"},
        {HARMONY, "<|channel|>final", "<|channel|>final"},
        {HARMONY, "<|channel|>other<|message|>x<|end|>", "<|channel|>other<|message|>x"},
        {HARMONY, "<|start|>user<|message|>x<|end|>" FINAL "y", "<|start|>user<|message|>x\n\ny"},
        {HARMONY, "<|start|>assistant<|channel|>other<|message|>x",
                "<|start|>assistant<|channel|>other<|message|>x"},
        {HARMONY, "<|channel|>commentary to=browser.open<|message|>{}<|call|>",
                "<|channel|>commentary to=browser.open<|message|>{}"},
        {HARMONY, CALL "{\"a\":<|call|>" FINAL "x", CALL "{\"a\":<|call|>\n\nx"},
        {HARMONY, "<|start|>assistant to=browser.search<|channel|>analysis<|message|>{\"q\":1}<|call|>",
                "<|start|>assistant to=browser.search<|channel|>analysis<|message|>{\"q\":1}"},
        {HARMONY, CALL "[1]<|start|>assistant" FINAL "x", CALL "[1]\n\nx"},
        {HARMONY, CALL "{\"a\":\"", CALL "{\"a\":\""},
        {MUTE, ANALYSIS "a<|end|><|start|>assistant" CALL "{}<|call|>", "~a~<|start|>assistant" CALL "{}"},
};

START_TEST(texts) {
	expect_everywhere(&cases[_i].format, cases[_i].text, cases[_i].want);
}
END_TEST

/* A header is at most so long, however it comes. */
START_TEST(endless_header) {
	const struct reply_format f = HARMONY;
	for (size_t n = 480; n < 540; n++) {
		char text[1000], *want = text;
		snprintf(text, sizeof text, "<|channel|>final%*s<|message|>x", (int)(n - 16), "");
		if (n <= 512)
			want = text + strlen(text) - 1;
		size_t cut[1000];
		for (size_t i = 0; i < strlen(text); i++)
			cut[i] = i;
		expect(&f, text, want, NULL, 0);
		expect(&f, text, want, cut, strlen(text));
	}
}
END_TEST

/* One that is too long is not waited for. */
START_TEST(no_header) {
	const struct reply_format f = HARMONY;
	struct seen h = {.s = ""};
	const struct reply_sink sink = {on_reasoning, on_text, on_call, &h};
	struct reply_stream *s = reply_create(&f);
	char text[600];
	memset(text, 'x', sizeof text);
	memcpy(text, "to=", 3);
	ck_assert(reply_push(s, text, sizeof text, &sink));
	ck_assert_uint_eq(h.len, sizeof text);
	reply_destroy(s);
}
END_TEST

/* A reader sees reasoning and text as they come. */
START_TEST(streams) {
	static const struct {
		struct reply_format format;
		const char *push, *want;
	} steps[] = {{QWEN, "<think>one two", "~one two"}, {OPENED, "one", "~one"},
	        {OPENED, "one</think>two", "~one~two"}, {HARMONY, ANALYSIS "one", "~one"},
	        {HARMONY, FINAL "one < two", "one < two"}, {THINK, "one", "one"}};
	for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
		struct seen h = {.s = ""};
		const struct reply_sink sink = {on_reasoning, on_text, on_call, &h};
		struct reply_stream *s = reply_create(&steps[i].format);
		ck_assert(reply_push(s, steps[i].push, strlen(steps[i].push), &sink));
		ck_assert_str_eq(h.s, steps[i].want);
		reply_destroy(s);
	}
	reply_destroy(NULL);
}
END_TEST

static bool refuse_text(void *arg, const char *text, size_t len) {
	(void)text;
	(void)len;
	++*(unsigned *)arg;
	return false;
}

START_TEST(a_sink_that_refuses) {
	static const struct reply_format formats[] = {QWEN, HARMONY};
	for (size_t i = 0; i < 2; i++) {
		unsigned times = 0;
		const struct reply_sink sink = {refuse_text, refuse_text, on_call, &times};
		struct reply_stream *s = reply_create(&formats[i]);
		const char *text = i ? ANALYSIS "a" : "<think>a";
		ck_assert(!reply_push(s, text, strlen(text), &sink));
		ck_assert_uint_eq(times, 1);
		reply_destroy(s);
	}
}
END_TEST

START_TEST(formats_of_templates) {
	ck_assert_int_eq(reasoning_format_of("{{ content.split('</think>')[-1] }}"), REASONING_THINK);
	ck_assert_int_eq(reasoning_format_of("<think>"), REASONING_THINK);
	ck_assert_int_eq(reasoning_format_of("[THINK]"), REASONING_MISTRAL);
	ck_assert_int_eq(reasoning_format_of("<|channel|>analysis<|message|>"), REASONING_HARMONY);
	ck_assert_int_eq(reasoning_format_of("{{ messages }} thinking"), REASONING_NONE);
	ck_assert_int_eq(toolcall_format_of("<|channel|>analysis<|message|>"), TOOLCALL_HARMONY);
	for (int f = REASONING_THINK; f <= REASONING_HARMONY; f++)
		ck_assert_int_eq(reasoning_format_find(reasoning_syntax((enum reasoning_format)f)->name), f);
	ck_assert_int_eq(reasoning_format_find("nobody"), REASONING_NONE);
}
END_TEST

START_TEST(ends_of_prompts) {
	static const struct {
		const char *prompt;
		enum reasoning_at at;
	} rows[] = {{"", REASONING_MAY_BEGIN}, {"assistant\n", REASONING_MAY_BEGIN},
	        {"<think>", REASONING_IS_OPEN}, {"a<think>\n", REASONING_IS_OPEN},
	        {"<think> x", REASONING_MAY_BEGIN}, {"<think>\n\n</think>\n\n", REASONING_IS_OVER}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		ck_assert_int_eq(
		        reasoning_at(REASONING_THINK, rows[i].prompt, strlen(rows[i].prompt)), rows[i].at);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("reply");
	TCase *t = tcase_create("reply");
	tcase_set_timeout(t, 60);
	tcase_add_loop_test(t, texts, 0, (int)(sizeof cases / sizeof *cases));
	tcase_add_test(t, endless_header);
	tcase_add_test(t, no_header);
	tcase_add_test(t, streams);
	tcase_add_test(t, a_sink_that_refuses);
	tcase_add_test(t, formats_of_templates);
	tcase_add_test(t, ends_of_prompts);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
