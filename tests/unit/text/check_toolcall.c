/* Calls of tools in a model's text: each text whole, byte by byte, and cut anywhere gives the same text and calls, in their order. */
#include "daemon/text/toolcall.h"
#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What came out: text as it is, a call as {NAME ARGUMENTS}. */
struct heard {
	char s[4096];
	size_t len;
	unsigned calls;
};

static bool on_text(void *arg, const char *text, size_t len) {
	struct heard *h = arg;
	ck_assert_uint_gt(len, 0);
	h->len += (size_t)snprintf(h->s + h->len, sizeof h->s - h->len, "%.*s", (int)len, text);
	return true;
}

static bool on_call(void *arg, const struct tool_call *call) {
	struct heard *h = arg;
	h->calls++;
	h->len +=
	        (size_t)snprintf(h->s + h->len, sizeof h->s - h->len, "{%s %s}", call->name, call->arguments);
	return true;
}

/* Whose schema says which values are strings. */
static json_t *known_tools(void) {
	json_t *tools = json_loads(
	        "[{\"function\":{\"name\":\"g\",\"parameters\":{\"properties\":{\"s\":{\"type\":\"string\"},"
	        "\"o\":{\"type\":[\"null\",\"string\"]},\"n\":{\"type\":\"number\"},\"e\":{\"enum\":[1,\"2\"]},"
	        "\"c\":{\"const\":\"1\"},\"any\":{\"anyOf\":[{\"type\":\"null\"},{\"oneOf\":[{\"type\":\"string\"}]}]},"
	        "\"num\":{\"anyOf\":[{\"type\":\"number\"},{\"type\":\"null\"}]}}}}}]",
	        0, NULL);
	ck_assert_ptr_nonnull(tools);
	return tools;
}

/* step: bytes at once, 0: any number. */
static void expect(enum toolcall_format format, const char *text, const char *want, size_t step) {
	static uint32_t random = 12345;
	struct heard h = {.s = ""};
	const struct toolcall_sink sink = {on_text, on_call, &h};
	json_t *tools = known_tools();
	struct toolcall_stream *s = toolcall_create(format, tools);
	json_decref(tools);
	ck_assert_ptr_nonnull(s);
	for (size_t at = 0, n, len = strlen(text); at < len; at += n) {
		random = random * 1664525u + 1013904223u;
		n = step ? step : (random >> 16) % 12;
		n = n < len - at ? n : len - at;
		ck_assert(toolcall_push(s, text + at, n, &sink));
	}
	ck_assert(toolcall_finish(s, &sink));
	ck_assert_msg(strcmp(h.s, want) == 0, "\"%s\" by %zu: \"%s\", not \"%s\"", text, step, h.s, want);
	toolcall_destroy(s);
}

#define F "{\"name\":\"f\",\"arguments\":{}}"

static const struct {
	enum toolcall_format format;
	const char *text, *want;
} cases[] = {
        /* Qwen 3 Coder: values as they are, strings by the schema, JSON where it says another type or there is none */
        {TOOLCALL_HERMES,
                "Well.\n<tool_call>\n<function=g>\n<parameter=s>\n{\"a\": 1}\n</parameter>\n<parameter=n>\n12\n</parameter>\n"
                "</function>\n</tool_call>",
                "Well.{g {\"s\": \"{\\\"a\\\": 1}\", \"n\": 12}}"},
        {TOOLCALL_HERMES, "<tool_call><function=f></function></tool_call>", "{f {}}"},
        {TOOLCALL_HERMES,
                "<tool_call><function=h><parameter=s>True</parameter><parameter=t>[1, {}]</parameter>"
                "<parameter=u>two words</parameter></function></tool_call>!",
                "{h {\"s\": true, \"t\": [1, {}], \"u\": \"two words\"}}!"},
        {TOOLCALL_HERMES,
                "<tool_call><function=g><parameter=s>\n\nsay \"</tool_call>\n\n</parameter></function> </tool_call>",
                "{g {\"s\": \"\\nsay \\\"</tool_call>\\n\"}}"},
        {TOOLCALL_HERMES,
                "<tool_call><function=g><parameter=s>a</parameter>b</parameter><parameter=o>None</parameter></function></tool_call>",
                "{g {\"s\": \"a</parameter>b\", \"o\": \"None\"}}"},
        /* a string is one of what it may be */
        {TOOLCALL_HERMES,
                "<tool_call><function=g><parameter=any>12340</parameter><parameter=e>2</parameter><parameter=c>1</parameter>"
                "<parameter=num>5</parameter></function></tool_call>",
                "{g {\"any\": \"12340\", \"e\": \"2\", \"c\": \"1\", \"num\": 5}}"},
        /* numbers stay as they were written; what is said twice counts once */
        {TOOLCALL_HERMES,
                "<tool_call><function=g><parameter=n>1.1</parameter><parameter=x>\n\n[0.10, 12345678901234567890, \"\\u00e9\"] "
                "</parameter><parameter=\"q>1e3</parameter><parameter=n>2.50</parameter></function></tool_call>",
                "{g {\"n\": 2.50, \"x\": [0.10, 12345678901234567890, \"\\u00e9\"], \"\\\"q\": 1e3}}"},
        {TOOLCALL_HERMES, "<tool_call><function=g><parameter=s>\n</parameter></function>",
                "{g {\"s\": \"\"}}"},
        {TOOLCALL_HERMES, "<tool_call><function=></function></tool_call>",
                "<tool_call><function=></function></tool_call>"},
        {TOOLCALL_HERMES, "<tool_call><function=g><parameter=s>x</function></tool_call>",
                "<tool_call><function=g><parameter=s>x</function></tool_call>"},
        {TOOLCALL_HERMES, "<tool_call><function=g></function> x</tool_call>",
                "<tool_call><function=g></function> x</tool_call>"},
        {TOOLCALL_HERMES,
                "<tool_call><function=g></function></tool_call><tool_call><function=f></function></tool_call>",
                "{g {}}{f {}}"},
        /* Kimi K2 */
        {TOOLCALL_KIMI,
                "I look. <|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{\"a\": 1}"
                "<|tool_call_end|>\n<|tool_call_begin|>g<|tool_call_argument_begin|> {} <|tool_call_end|><|tool_calls_section_end|>",
                "I look.{f {\"a\": 1}}{g {}}"},
        {TOOLCALL_KIMI,
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:1<|tool_call_argument_begin|>"
                "{\"a\":\"<|tool_calls_section_end|>\"}<|tool_call_end|>",
                "{f {\"a\":\"<|tool_calls_section_end|>\"}}"},
        {TOOLCALL_KIMI, "<|tool_calls_section_begin|><|tool_calls_section_end|>",
                "<|tool_calls_section_begin|><|tool_calls_section_end|>"},
        {TOOLCALL_KIMI,
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>[]<|tool_call_end|>"
                "<|tool_calls_section_end|>",
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>[]<|tool_call_end|>"
                "<|tool_calls_section_end|>"},
        {TOOLCALL_KIMI,
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_calls_section_end|>",
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_calls_section_end|>"},
        {TOOLCALL_KIMI,
                "<|tool_calls_section_begin|><|tool_call_begin|>:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>",
                "<|tool_calls_section_begin|><|tool_call_begin|>:0<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>"},
        /* Phi 4 mini */
        {TOOLCALL_PHI4, "Just <|tool_", "Just <|tool_"},
        {TOOLCALL_PHI4, "<|tool_call|>[{\"name\": \"f\", \"arguments\": {\"a\": [1]}}]<|/tool_call|>",
                "{f {\"a\": [1]}}"},
        {TOOLCALL_PHI4, "So: <|tool_call|>[" F ", " F "]<|/tool_call|> done", "So:{f {}}{f {}} done"},
        {TOOLCALL_PHI4, "<|tool_call|>" F "<|/tool_call|>", "{f {}}"},
        {TOOLCALL_PHI4, "<|tool_call|>[" F, "<|tool_call|>[" F},
        {TOOLCALL_PHI4, "<|tool_call|>[]<|/tool_call|>", "<|tool_call|>[]<|/tool_call|>"},
        {TOOLCALL_PHI4, "<|tool_call|>[" F "] x<|/tool_call|>", "<|tool_call|>[" F "] x<|/tool_call|>"},
        /* Hermes and Qwen */
        {TOOLCALL_HERMES, "Just text.", "Just text."},
        {TOOLCALL_HERMES, "  two  \n\n", "  two  \n\n"},
        {TOOLCALL_HERMES, "", ""},
        {TOOLCALL_HERMES, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>",
                "{f {\"a\": 1}}"},
        /* an end mark within a string is none */
        {TOOLCALL_HERMES,
                "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":\"x</tool_call>\\\"</tool_call>y\"}}</tool_call>b",
                "{f {\"a\":\"x</tool_call>\\\"</tool_call>y\"}}b"},
        {TOOLCALL_HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\":\"</tool_call>\"}}",
                "{f {\"a\":\"</tool_call>\"}}"},
        /* unless the string never ends: then what follows is looked at again */
        {TOOLCALL_HERMES, "<tool_call>{\"name\":\"f</tool_call> <tool_call>" F "</tool_call>",
                "<tool_call>{\"name\":\"f</tool_call>{f {}}"},
        {TOOLCALL_HERMES, "<tool_call>\"</tool_call><tool_call>\"</tool_call>x<tool_call>" F "</tool_call>y",
                "<tool_call>\"</tool_call><tool_call>\"</tool_call>x{f {}}y"},
        {TOOLCALL_HERMES, "<tool_call>say \"hi</tool_call>, they said",
                "<tool_call>say \"hi</tool_call>, they said"},
        /* keys with escapes; what they say last counts */
        {TOOLCALL_HERMES, "<tool_call>{\"name\":\"f\",\"argument\\u0073\":{\"a\": 1}}</tool_call>",
                "{f {\"a\": 1}}"},
        {TOOLCALL_HERMES,
                "<tool_call>{\"n\\u0061me\":\"f\",\"arguments\":5,\"argument\\u0073\":{\"a\": 1}}</tool_call>",
                "{f {\"a\": 1}}"},
        {TOOLCALL_HERMES, "Let me see.\n<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>",
                "Let me see.{f {}}"},
        {TOOLCALL_HERMES,
                "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>\n<tool_call>{\"name\":\"g\",\"arguments\":{\"x\":"
                "[1,{\"y\":\"}\"}]}}</tool_call>\n",
                "{f {}}{g {\"x\":[1,{\"y\":\"}\"}]}}"},
        {TOOLCALL_HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call> and more",
                "{f {}} and more"},
        /* the arguments stay as they were written: numbers, escapes, order */
        {TOOLCALL_HERMES,
                "<tool_call>{\"arguments\" : {\"b\": 0.10, \"a\": \"\\u00e9\\\"\\\\\", \"n\": 1e3} , \"name\":\"f\"}</tool_call>",
                "{f {\"b\": 0.10, \"a\": \"\\u00e9\\\"\\\\\", \"n\": 1e3}}"},
        {TOOLCALL_HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":\"{\\\"a\\\":1}\"}</tool_call>",
                "{f {\"a\":1}}"},
        {TOOLCALL_HERMES, "<tool_call>{\"name\":\"f\"}</tool_call>", "{f {}}"},
        /* the answer ends before its end mark does */
        {TOOLCALL_HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":{}}", "{f {}}"},
        {TOOLCALL_HERMES, "x <tool_call>{\"name\":\"f\",\"argu", "x <tool_call>{\"name\":\"f\",\"argu"},
        /* what is no call is text, with its marks and the white space around them */
        {TOOLCALL_HERMES, "a \n<tool_call>no</tool_call> b", "a \n<tool_call>no</tool_call> b"},
        {TOOLCALL_HERMES, "<tool_call>{\"name\":7,\"arguments\":{}}</tool_call>",
                "<tool_call>{\"name\":7,\"arguments\":{}}</tool_call>"},
        {TOOLCALL_HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":[1]}</tool_call>",
                "<tool_call>{\"name\":\"f\",\"arguments\":[1]}</tool_call>"},
        {TOOLCALL_HERMES, "<tool_call>{\"name\":\"f\",\"arguments\":{}} x</tool_call>",
                "<tool_call>{\"name\":\"f\",\"arguments\":{}} x</tool_call>"},
        {TOOLCALL_HERMES, "<tool_call></tool_call>", "<tool_call></tool_call>"},
        {TOOLCALL_HERMES, "<tool_call>no</tool_call><tool_call>{\"name\":\"f\"}</tool_call>",
                "<tool_call>no</tool_call>{f {}}"},
        {TOOLCALL_HERMES, "a <tool b <tool_cal", "a <tool b <tool_cal"},
        {TOOLCALL_HERMES, "<<tool_call>{\"name\":\"f\"}</tool_call>", "<{f {}}"},
        {TOOLCALL_HERMES, "{\"name\":\"f\",\"arguments\":{}}", "{\"name\":\"f\",\"arguments\":{}}"},
        /* Llama 3.1 */
        {TOOLCALL_LLAMA3, "{\"name\": \"f\", \"parameters\": {\"city\": \"Oslo\"}}",
                "{f {\"city\": \"Oslo\"}}"},
        {TOOLCALL_LLAMA3, " \n{\"name\": \"f\", \"parameters\": {}}\n", "{f {}}"},
        {TOOLCALL_LLAMA3, "<|python_tag|>{\"name\": \"f\", \"parameters\": {}}", "{f {}}"},
        {TOOLCALL_LLAMA3, "{\"name\":\"f\",\"parameters\":{}}; {\"name\":\"g\",\"parameters\":{}}",
                "{f {}}{g {}}"},
        {TOOLCALL_LLAMA3, "{\"type\":\"function\",\"name\":\"f\",\"parameters\":{\"a\":[]}}",
                "{f {\"a\":[]}}"},
        {TOOLCALL_LLAMA3, "Sure. <|python_tag|>{\"name\":\"f\",\"parameters\":{}}", "Sure.{f {}}"},
        {TOOLCALL_LLAMA3, "<|python_tag|>print(1)", "<|python_tag|>print(1)"},
        {TOOLCALL_LLAMA3, "{\"answer\": 42}", "{\"answer\": 42}"},
        {TOOLCALL_LLAMA3, "{ is a brace", "{ is a brace"},
        {TOOLCALL_LLAMA3, "It is {\"name\":\"f\",\"parameters\":{}}",
                "It is {\"name\":\"f\",\"parameters\":{}}"},
        {TOOLCALL_LLAMA3, "{\"name\":\"f\",\"parameters\":{}} and more",
                "{\"name\":\"f\",\"parameters\":{}} and more"},
        /* Mistral */
        {TOOLCALL_MISTRAL, "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"a\": 1}}]", "{f {\"a\": 1}}"},
        {TOOLCALL_MISTRAL,
                "[TOOL_CALLS] [{\"name\":\"f\",\"arguments\":{}}, {\"name\":\"g\",\"arguments\":{}}] ",
                "{f {}}{g {}}"},
        {TOOLCALL_MISTRAL, "[TOOL_CALLS]f[ARGS]{\"a\": 1}", "{f {\"a\": 1}}"},
        {TOOLCALL_MISTRAL, "[TOOL_CALLS]f[CALL_ID]123456789[ARGS]{\"a\":1}[TOOL_CALLS]g[ARGS]{}",
                "{f {\"a\":1}}{g {}}"},
        {TOOLCALL_MISTRAL, "So: [TOOL_CALLS] []", "So: [TOOL_CALLS] []"},
        {TOOLCALL_MISTRAL, "[TOOL_CALLS] [1]", "[TOOL_CALLS] [1]"},
        {TOOLCALL_MISTRAL, "[TOOL_CALLS] [{\"name\":\"f\",\"arguments\":{}}] x",
                "[TOOL_CALLS] [{\"name\":\"f\",\"arguments\":{}}] x"},
        {TOOLCALL_MISTRAL, "[1, 2] is a list", "[1, 2] is a list"},
};

START_TEST(texts) {
	expect(cases[_i].format, cases[_i].text, cases[_i].want, strlen(cases[_i].text) + 1);
	expect(cases[_i].format, cases[_i].text, cases[_i].want, 1);
	expect(cases[_i].format, cases[_i].text, cases[_i].want, 7);
	for (unsigned i = 0; i < 200; i++)
		expect(cases[_i].format, cases[_i].text, cases[_i].want, 0);
}
END_TEST

/* What can be given out at once is: a reader sees text as it comes. */
START_TEST(text_streams) {
	struct heard h = {.s = ""};
	const struct toolcall_sink sink = {on_text, on_call, &h};
	struct toolcall_stream *s = toolcall_create(TOOLCALL_HERMES, NULL);
	ck_assert(toolcall_push(s, "one two", 7, &sink));
	ck_assert_str_eq(h.s, "one two");
	ck_assert(toolcall_push(s, " < three\n", 9, &sink));
	ck_assert_str_eq(h.s, "one two < three");
	ck_assert(toolcall_push(s, "<tool", 5, &sink));
	ck_assert_str_eq(h.s, "one two < three");
	ck_assert(toolcall_push(s, "box>", 4, &sink));
	ck_assert_str_eq(h.s, "one two < three\n<toolbox>");
	ck_assert(toolcall_push(s, "<tool_call>{\"name\":\"f\"}</tool_call>", 36, &sink));
	ck_assert_uint_eq(h.calls, 1); /* a call is given out when it is over, not when the answer is */
	toolcall_destroy(s);
	toolcall_destroy(NULL);
}
END_TEST

static bool refuse_text(void *arg, const char *text, size_t len) {
	(void)text;
	(void)len;
	++*(unsigned *)arg;
	return false;
}

START_TEST(a_sink_that_refuses) {
	unsigned times = 0;
	const struct toolcall_sink sink = {refuse_text, on_call, &times};
	struct toolcall_stream *s = toolcall_create(TOOLCALL_HERMES, NULL);
	ck_assert(!toolcall_push(s, "text", 4, &sink));
	ck_assert_uint_eq(times, 1);
	toolcall_destroy(s);
}
END_TEST

START_TEST(formats_of_templates) {
	ck_assert_int_eq(toolcall_format_of("{{ '<tool_call>' }}"), TOOLCALL_HERMES);
	ck_assert_int_eq(toolcall_format_of("[AVAILABLE_TOOLS] [TOOL_CALLS]"), TOOLCALL_MISTRAL);
	ck_assert_int_eq(toolcall_format_of("[TOOL_CALLS]{{ name }}[ARGS]"), TOOLCALL_MISTRAL_ARGS);
	ck_assert_int_eq(toolcall_format_of("<|start_header_id|>ipython<|end_header_id|>"), TOOLCALL_LLAMA3);
	ck_assert_int_eq(
	        toolcall_format_of("<|start_header_id|>{{ m.role }}<|end_header_id|>"), TOOLCALL_NONE);
	ck_assert_int_eq(toolcall_format_of(""), TOOLCALL_NONE);
}
END_TEST

START_TEST(formats_by_name) {
	for (int f = TOOLCALL_LLAMA3; f <= TOOLCALL_MISTRAL_ARGS; f++)
		ck_assert_int_eq(toolcall_format_find(toolcall_syntax((enum toolcall_format)f)->name), f);
	ck_assert_int_eq(toolcall_format_find("nobody"), TOOLCALL_NONE);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("toolcall");
	TCase *t = tcase_create("toolcall");
	tcase_add_loop_test(t, texts, 0, (int)(sizeof cases / sizeof *cases));
	tcase_add_test(t, text_streams);
	tcase_add_test(t, a_sink_that_refuses);
	tcase_add_test(t, formats_of_templates);
	tcase_add_test(t, formats_by_name);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
