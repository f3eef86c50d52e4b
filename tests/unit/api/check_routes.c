/* The dialects alone: calls of tools, errors before and in the middle of a stream, clients that go, models that do not serve. */
#include "daemon/api/routes/embeddings.h"
#include "daemon/api/routes/fields.h"
#include "tests/unit/api/exchange.h"
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEMPLATE \
	"{% for t in tools %}[{{ t.function.name }}]{% endfor %}{% for m in messages %}{{ m.role }}:{{ m.content }}" \
	"{% for c in m.tool_calls %}<tool_call>{{ c.function.arguments | tojson }}</tool_call>{% endfor %};{% endfor %}"

#define TOOLS "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]"
#define ANTHROPIC_TOOLS \
	"\"max_tokens\":9,\"tools\":[{\"name\":\"f\",\"input_schema\":{}},{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]"
#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define CALL "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\": 1}}</tool_call>"

static void setup(void) {
	fake_begin(TEMPLATE);
}

static void teardown(void) {
	fake_done(&x);
	fake_end();
}

/* ---- calls of tools ------------------------------------------------------------------------------ */

#define CHUNK(delta, finish) \
	"{\"id\":\"\",\"object\":\"chat.completion.chunk\",\"created\":\"\",\"model\":\"m\",\"system_fingerprint\":" \
	"\"fp_0123456789abcdef\",\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":" finish \
	"}]}"

START_TEST(openai_calls) {
	ask("/v1/chat/completions", "{\"stream\":true," HI "," TOOLS "}");
	ck_assert_str_eq(fake.text, "[f]user:hi;");
	ck_assert(fake.p.names && fake.p.apart);
	fake_text("Let me see. <tool");
	fake_text("_call>{\"name\":\"f\",\"arguments\":{\"a\": 1}}</tool_call>\n" CALL);
	fake_finish(CARAVAN__REASON__END);
	expect(0, "", CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null"));
	expect(1, "", CHUNK("{\"content\":\"Let me see.\"}", "null"));
	expect(2, "",
	        CHUNK("{\"tool_calls\":[{\"index\":0,\"id\":\"\",\"type\":\"function\",\"function\":{\"name\":\"f\","
	              "\"arguments\":\"{\\\"a\\\": 1}\"}}]}",
	                "null"));
	expect(3, "",
	        CHUNK("{\"tool_calls\":[{\"index\":1,\"id\":\"\",\"type\":\"function\",\"function\":{\"name\":\"f\","
	              "\"arguments\":\"{\\\"a\\\": 1}\"}}]}",
	                "null"));
	expect(4, "", CHUNK("{}", "\"tool_calls\""));
	ck_assert_ptr_nonnull(strstr(x.out, "\n\ndata: [DONE]\n\n"));
	ck_assert(x.ended && strcmp(x.type, "text/event-stream") == 0);
}
END_TEST

START_TEST(openai_calls_whole) {
	ask("/v1/chat/completions", "{" HI "," TOOLS ",\"parallel_tool_calls\":false}");
	fake_text(CALL CALL);
	fake_finish(CARAVAN__REASON__END);
	expect_whole(200,
	        "{\"id\":\"\",\"object\":\"chat.completion\",\"created\":\"\",\"model\":\"m\",\"system_fingerprint\":"
	        "\"fp_0123456789abcdef\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":null,"
	        "\"tool_calls\":[{\"id\":\"\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{\\\"a\\\": "
	        "1}\"}}]},\"logprobs\":null,\"finish_reason\":\"tool_calls\"}],\"usage\":{\"prompt_tokens\":20,"
	        "\"completion_tokens\":7,\"total_tokens\":27,\"prompt_tokens_details\":{\"cached_tokens\":5}}}");
}
END_TEST

/* What is no call arrives as it was written. */
START_TEST(openai_no_call) {
	ask("/v1/chat/completions", "{" HI "," TOOLS "}");
	fake_text("<tool_call>{\"name\":");
	fake_finish(CARAVAN__REASON__LIMIT);
	ck_assert_ptr_nonnull(strstr(x.out, "\"content\":\"<tool_call>{\\\"name\\\":\"}"));
	ck_assert_ptr_nonnull(strstr(x.out, "\"finish_reason\":\"length\""));
}
END_TEST

/* What the limit cut may have been a call: the answer says so, unless one call was asked for, which is there. */
START_TEST(calls_that_the_limit_cuts) {
	static const struct {
		const char *path, *body, *want;
	} rows[] = {{"/v1/chat/completions", "{" HI "," TOOLS "}", "\"finish_reason\":\"length\""},
	        {"/v1/chat/completions", "{" HI "," TOOLS ",\"parallel_tool_calls\":false}",
	                "\"finish_reason\":\"tool_calls\""},
	        {"/v1/messages", "{" HI "," ANTHROPIC_TOOLS "}", "\"stop_reason\":\"max_tokens\""}};
	ask(rows[_i].path, rows[_i].body);
	fake_text(CALL " <tool_ca");
	fake_finish(CARAVAN__REASON__LIMIT);
	ck_assert_msg(strstr(x.out, rows[_i].want) && strstr(x.out, "\"name\":\"f\""), "%s", x.out);
}
END_TEST

/* ---- messages ------------------------------------------------------------------------------------ */

START_TEST(messages_without_content) {
	static const struct {
		const char *message;
		bool right;
	} rows[] = {{"{\"role\":\"user\"}", false}, {"{\"role\":\"user\",\"content\":null}", false},
	        {"{\"role\":\"system\"}", false}, {"{\"role\":\"assistant\",\"content\":null}", false},
	        {"{\"role\":\"assistant\",\"tool_calls\":[]}", false},
	        {"{\"role\":\"user\",\"content\":\"\"}", true},
	        {"{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"id\":\"1\",\"type\":\"function\","
	         "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]}",
	                true}};
	char body[400];
	snprintf(body, sizeof body, "{\"messages\":[%s]}", rows[_i].message);
	ask("/v1/chat/completions", body);
	ck_assert_msg(rows[_i].right ? !x.ended : x.status == 400, "%s", x.out);
	ck_assert_msg(rows[_i].right || strstr(x.out, "messages[0] must have content"), "%s", x.out);
}
END_TEST

/* ---- answers that must be calls ------------------------------------------------------------------ */

#define TWO_TOOLS "\"tools\":[" TOOL_F ",{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]"
#define TOOL_F "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}}"
#define FLAT_TOOLS \
	"\"input\":\"hi\",\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}]"
#define CLAUDE_TOOLS "\"max_tokens\":9,\"tools\":[{\"name\":\"f\",\"input_schema\":{\"type\":\"object\"}}]"
#define F "{\"name\":\"f\",\"parameters\":{\"type\":\"object\"}}"
#define CALLS(one, tools) "{\"format\":\"hermes\",\"one\":" one ",\"tools\":[" tools "]}"

static const struct {
	const char *path, *body;
	const char *grammar; /* NULL: any text */
} must_call[] = {
        {"/v1/chat/completions", HI "," TWO_TOOLS, NULL},
        {"/v1/chat/completions", HI "," TWO_TOOLS ",\"tool_choice\":\"auto\"", NULL},
        {"/v1/chat/completions", HI "," TWO_TOOLS ",\"tool_choice\":\"required\"",
                CALLS("false", F ",{\"name\":\"g\"}")},
        {"/v1/chat/completions",
                HI "," TWO_TOOLS ",\"tool_choice\":\"required\",\"parallel_tool_calls\":false",
                CALLS("true", F ",{\"name\":\"g\"}")},
        {"/v1/chat/completions",
                HI "," TWO_TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"f\"}}",
                CALLS("false", F)},
        {"/v1/chat/completions",
                HI
                "," TWO_TOOLS
                ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"required\",\"tools\":["
                "{\"type\":\"function\",\"function\":{\"name\":\"g\"}}]}}",
                CALLS("false", "{\"name\":\"g\"}")},
        {"/v1/responses",
                FLAT_TOOLS
                ",\"tool_choice\":{\"type\":\"allowed_tools\",\"mode\":\"required\",\"tools\":[{\"type\":"
                "\"function\",\"name\":\"f\"}]}",
                CALLS("false", F)},
        {"/v1/responses",
                FLAT_TOOLS
                ",\"tool_choice\":{\"type\":\"allowed_tools\",\"mode\":\"auto\",\"tools\":[{\"type\":"
                "\"function\",\"name\":\"f\"}]}",
                NULL},
        {"/api/chat", "\"model\":\"m\"," HI "," TWO_TOOLS ",\"tool_choice\":\"required\"",
                CALLS("false", F ",{\"name\":\"g\"}")},
        {"/v1/responses", FLAT_TOOLS ",\"tool_choice\":\"auto\"", NULL},
        {"/v1/responses", FLAT_TOOLS ",\"tool_choice\":\"required\"", CALLS("false", F)},
        {"/v1/responses",
                FLAT_TOOLS
                ",\"tool_choice\":{\"type\":\"function\",\"name\":\"f\"},\"parallel_tool_calls\":false",
                CALLS("true", F)},
        {"/v1/messages", HI "," CLAUDE_TOOLS ",\"tool_choice\":{\"type\":\"auto\"}", NULL},
        {"/v1/messages", HI "," CLAUDE_TOOLS ",\"tool_choice\":{\"type\":\"any\"}", CALLS("false", F)},
        {"/v1/messages",
                HI "," CLAUDE_TOOLS
                   ",\"tool_choice\":{\"type\":\"tool\",\"name\":\"f\",\"disable_parallel_tool_use\":true}",
                CALLS("true", F)},
};

START_TEST(must_call_tools) {
	char body[1000];
	snprintf(body, sizeof body, "{%s}", must_call[_i].body);
	ask(must_call[_i].path, body);
	ck_assert_msg(!x.ended, "%s", x.out);
	ck_assert_msg(!fake.grammar == !must_call[_i].grammar, "%s", fake.grammar);
	if (!fake.grammar)
		return;
	ck_assert_int_eq(fake.p.language, CARAVAN__GRAMMAR__LANGUAGE__CALLS);
	json_t *got = json_loads(fake.grammar, 0, NULL), *want = json_loads(must_call[_i].grammar, 0, NULL);
	ck_assert_msg(want && json_equal(got, want), "%s, not %s", fake.grammar, must_call[_i].grammar);
	json_decref(got);
	json_decref(want);
}
END_TEST

static const struct {
	const char *path, *body, *words;
} cannot_call[] = {
        {"/v1/chat/completions", HI ",\"tool_choice\":\"required\"", "tools is missing"},
        {"/v1/chat/completions", HI "," TOOLS ",\"tool_choice\":\"always\"", "none, auto, required"},
        {"/v1/chat/completions", HI "," TOOLS ",\"tool_choice\":{\"type\":\"allowed_tools\"}",
                "allowed_tools must have tools, and the mode"},
        {"/v1/chat/completions", HI "," TOOLS ",\"tool_choice\":{\"type\":\"allowed\"}",
                "none, auto, required"},
        {"/v1/responses",
                FLAT_TOOLS
                ",\"tool_choice\":{\"type\":\"allowed_tools\",\"mode\":\"required\",\"tools\":[{\"name\":\"h\"}]}",
                "there is no tool h to allow"},
        {"/v1/chat/completions",
                HI "," TOOLS ",\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"h\"}}",
                "no function h to call"},
        {"/v1/chat/completions",
                HI
                ",\"tool_choice\":\"required\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\","
                "\"parameters\":{\"properties\":{\"a\":{\"wonder\":1}}}}}]",
                "tools: tool f: at #/properties/a: wonder is not supported"},
        {"/v1/chat/completions",
                HI "," TOOLS ",\"tool_choice\":\"required\",\"response_format\":{\"type\":\"json_object\"}",
                "leave one of the two out"},
        {"/v1/messages", HI "," CLAUDE_TOOLS ",\"tool_choice\":{\"type\":\"tool\"}", "auto, any, none"},
        {"/v1/messages", HI ",\"max_tokens\":9,\"tool_choice\":{\"type\":\"any\"}", "tools is missing"},
        {"/v1/responses", "\"input\":\"hi\",\"tool_choice\":\"required\"", "tools is missing"},
};

START_TEST(cannot_call_tools) {
	char body[1000];
	snprintf(body, sizeof body, "{%s}", cannot_call[_i].body);
	ask(cannot_call[_i].path, body);
	ck_assert(x.ended && x.status == 400 && fake.started == 0);
	ck_assert_msg(strstr(x.out, cannot_call[_i].words), "%s", x.out);
}
END_TEST

START_TEST(cannot_call_in_unknown_format) {
	fake_end();
	fake_begin("{{ tools }}{{ messages[0].content }}");
	ask("/v1/chat/completions", "{" HI "," TOOLS ",\"tool_choice\":\"required\"}");
	ck_assert(x.ended && x.status == 400);
	ck_assert_msg(strstr(x.out, "does not say in a known format"), "%s", x.out);
}
END_TEST

/* Phi 4 mini's template has tools as text of the system message, which there is if the client sends none. */
START_TEST(tools_in_a_message) {
	static const char source[] =
	        "{% for m in messages %}{% if m['role'] == 'system' and 'tools' in m and m['tools'] is not none %}"
	        "{{ '<|system|>' + m['content'] + '<|tool|>' + m['tools'] + '<|/tool|><|end|>' }}{% else %}"
	        "{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}";
	static const struct {
		const char *messages, *want;
	} rows[] = {
	        {HI, "<|system|>You are a helpful assistant with some tools.<|tool|>"
	             "[{\"name\": \"f\", \"parameters\": {}}]<|/tool|><|end|><|user|>hi<|end|>"},
	        {"\"messages\":[{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"hi\"}]",
	                "<|system|>Be brief.<|tool|>[{\"name\": \"f\", \"parameters\": {}}]<|/tool|><|end|>"
	                "<|user|>hi<|end|>"},
	};
	char body[400];
	fake_end();
	fake_begin(source);
	snprintf(body, sizeof body, "{%s," TOOLS "}", rows[_i].messages);
	ask("/v1/chat/completions", body);
	ck_assert_str_eq(fake.text, rows[_i].want);
	ck_assert(fake.p.names && fake.p.apart);
	fake_text("<|tool_call|>[{\"name\":\"f\",\"arguments\":{\"a\": 1}}]<|/tool_call|>");
	fake_finish(CARAVAN__REASON__END);
	ck_assert_msg(strstr(x.out, "\"finish_reason\":\"tool_calls\""), "%s", x.out);
	ck_assert_msg(strstr(x.out, "\"arguments\":\"{\\\"a\\\": 1}\""), "%s", x.out);
}
END_TEST

/* Qwen 3 Coder writes values without quotes: which are strings is what the request's schema says. */
START_TEST(values_by_schema) {
	ask("/v1/chat/completions",
	        "{" HI
	        ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\","
	        "\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{\"type\":\"integer\"}}}}}]}");
	fake_text(
	        "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2\n</parameter>\n</function>\n</tool_call>");
	fake_finish(CARAVAN__REASON__END);
	ck_assert_msg(strstr(x.out, "\"arguments\":\"{\\\"a\\\": \\\"1\\\", \\\"b\\\": 2}\""), "%s", x.out);
	ck_assert_msg(strstr(x.out, "\"finish_reason\":\"tool_calls\""), "%s", x.out);
}
END_TEST

/* Tools of types that are not known are left out. */
START_TEST(unknown_tools) {
	ask("/v1/chat/completions",
	        "{" HI
	        ",\"tools\":[{\"type\":\"web_search\"},{\"type\":\"custom\",\"custom\":{\"name\":\"c\"}},"
	        "{\"type\":\"function\",\"function\":{\"name\":\"f\"}},{\"function\":{\"name\":\"g\"}},7,{}]}");
	ck_assert_str_eq(fake.text, "[f][g]user:hi;");
}
END_TEST

/* Without tools nothing is looked for. */
START_TEST(no_tools_no_calls) {
	static const char *const asks[] = {"{" HI "}", "{" HI "," TOOLS ",\"tool_choice\":\"none\"}",
	        "{" HI ",\"tools\":[{\"type\":\"x\"}]}"};
	ask("/v1/chat/completions", asks[_i]);
	ck_assert_str_eq(fake.text, "user:hi;");
	ck_assert(!fake.p.names);
	fake_text(CALL);
	fake_finish(CARAVAN__REASON__END);
	ck_assert_ptr_nonnull(strstr(x.out, "\"content\":\"<tool_call>"));
}
END_TEST

START_TEST(anthropic_calls) {
	ask("/v1/messages", "{\"stream\":true," HI "," ANTHROPIC_TOOLS "}");
	ck_assert_str_eq(fake.text, "[f]user:hi;");
	fake.ev.prompt(fake.ev.arg, 0, 20);
	fake_text("Hm." CALL);
	fake_finish(CARAVAN__REASON__END);
	expect(0, "message_start",
	        "{\"type\":\"message_start\",\"message\":{\"id\":\"\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\","
	        "\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"system_fingerprint\":\"fp_0123456789abcdef\","
	        "\"usage\":{\"input_tokens\":20,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
	        "\"output_tokens\":0}}}");
	expect(1, "ping", "{\"type\":\"ping\"}");
	expect(2, "content_block_start",
	        "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}");
	expect(3, "content_block_delta",
	        "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hm.\"}}");
	expect(4, "content_block_stop", "{\"type\":\"content_block_stop\",\"index\":0}");
	expect(5, "content_block_start",
	        "{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"\",\"name\":"
	        "\"f\",\"input\":{}}}");
	expect(6, "content_block_delta",
	        "{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":"
	        "\"{\\\"a\\\": 1}\"}}");
	expect(7, "content_block_stop", "{\"type\":\"content_block_stop\",\"index\":1}");
	expect(8, "message_delta",
	        "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\",\"stop_sequence\":null},\"usage\":{"
	        "\"input_tokens\":15,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":5,\"output_tokens\":7}}");
	expect(9, "message_stop", "{\"type\":\"message_stop\"}");
}
END_TEST

START_TEST(anthropic_calls_whole) {
	ask("/v1/messages", "{" HI "," ANTHROPIC_TOOLS "}");
	fake_text(CALL);
	fake_finish(CARAVAN__REASON__END);
	expect_whole(200,
	        "{\"id\":\"\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"m\",\"content\":[{\"type\":\"tool_use\","
	        "\"id\":\"\",\"name\":\"f\",\"input\":{\"a\":1}}],\"stop_reason\":\"tool_use\",\"stop_sequence\":null,\"usage\":{"
	        "\"input_tokens\":15,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":5,\"output_tokens\":7},"
	        "\"system_fingerprint\":\"fp_0123456789abcdef\"}");
}
END_TEST

/* An answer without text has an empty block, streamed too. */
START_TEST(anthropic_nothing) {
	ask("/v1/messages", "{\"stream\":true,\"max_tokens\":5," HI "}");
	fake_finish(CARAVAN__REASON__END);
	expect(2, "content_block_start",
	        "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}");
	expect(3, "content_block_stop", "{\"type\":\"content_block_stop\",\"index\":0}");
}
END_TEST

#define RESPONSE(status, output, usage, cut) \
	"{\"id\":\"\",\"object\":\"response\",\"created_at\":\"\",\"status\":\"" status \
	"\",\"model\":\"m\",\"system_fingerprint\":" \
	"\"fp_0123456789abcdef\",\"error\":null,\"instructions\":null,\"output\":" output \
	",\"usage\":" usage \
	",\"parallel_tool_calls\":true,\"tool_choice\":\"auto\",\"tools\":[],\"previous_response_id\":null," \
	"\"max_output_tokens\":null,\"metadata\":{},\"incomplete_details\":" cut "}"
#define MESSAGE(status, content) \
	"{\"type\":\"message\",\"id\":\"\",\"status\":\"" status \
	"\",\"role\":\"assistant\",\"content\":[" content "]}"
#define PART(text) "{\"type\":\"output_text\",\"text\":\"" text "\",\"annotations\":[],\"logprobs\":[]}"
#define FUNCTION(status, arguments) \
	"{\"type\":\"function_call\",\"id\":\"\",\"status\":\"" status \
	"\",\"call_id\":\"\",\"name\":\"f\",\"arguments\":\"" arguments "\"}"
#define USAGE \
	"{\"input_tokens\":20,\"input_tokens_details\":{\"cached_tokens\":5},\"output_tokens\":7,\"output_tokens_details\":{" \
	"\"reasoning_tokens\":0},\"total_tokens\":27}"
#define RESPONSES_TOOLS \
	"\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":{}},{\"type\":\"web_search\"}]"

START_TEST(responses_calls) {
	ask("/v1/responses", "{\"stream\":true,\"input\":\"hi\"," RESPONSES_TOOLS "}");
	ck_assert_str_eq(fake.text, "[f]user:hi;");
	fake_text("Hm." CALL);
	fake_finish(CARAVAN__REASON__END);
	static const struct {
		const char *event, *rest; /* without type and sequence_number */
	} want[] = {{"response.created", "\"response\":" RESPONSE("in_progress", "[]", "null", "null")},
	        {"response.in_progress", "\"response\":" RESPONSE("in_progress", "[]", "null", "null")},
	        {"response.output_item.added", "\"output_index\":0,\"item\":" MESSAGE("in_progress", "")},
	        {"response.content_part.added",
	                "\"item_id\":\"\",\"output_index\":0,\"content_index\":0,\"part\":" PART("")},
	        {"response.output_text.delta",
	                "\"item_id\":\"\",\"output_index\":0,\"content_index\":0,\"delta\":\"Hm.\",\"logprobs\":[]"},
	        {"response.output_text.done",
	                "\"item_id\":\"\",\"output_index\":0,\"content_index\":0,\"text\":\"Hm.\",\"logprobs\":[]"},
	        {"response.content_part.done",
	                "\"item_id\":\"\",\"output_index\":0,\"content_index\":0,\"part\":" PART("Hm.")},
	        {"response.output_item.done",
	                "\"output_index\":0,\"item\":" MESSAGE("completed", PART("Hm."))},
	        {"response.output_item.added", "\"output_index\":1,\"item\":" FUNCTION("in_progress", "")},
	        {"response.function_call_arguments.delta",
	                "\"item_id\":\"\",\"output_index\":1,\"delta\":\"{\\\"a\\\": 1}\""},
	        {"response.function_call_arguments.done",
	                "\"item_id\":\"\",\"output_index\":1,\"arguments\":\"{\\\"a\\\": 1}\""},
	        {"response.output_item.done",
	                "\"output_index\":1,\"item\":" FUNCTION("completed", "{\\\"a\\\": 1}")},
	        {"response.completed", "\"response\":" RESPONSE("completed",
	                                       "[" MESSAGE("completed", PART("Hm.")) "," FUNCTION(
	                                               "completed", "{\\\"a\\\": 1}") "]",
	                                       USAGE, "null")}};
	for (unsigned i = 0; i < sizeof want / sizeof *want; i++) {
		char all[2000];
		snprintf(all, sizeof all, "{\"type\":\"%s\",\"sequence_number\":%u,%s}", want[i].event, i,
		        want[i].rest);
		expect(i, want[i].event, all);
	}
}
END_TEST

START_TEST(responses_calls_whole) {
	ask("/v1/responses",
	        "{\"input\":[{\"role\":\"user\",\"content\":\"hi\"},{\"type\":\"function_call\",\"call_id\":\"1\",\"name\":\"f\","
	        "\"arguments\":\"{}\"},{\"type\":\"function_call\",\"call_id\":\"2\",\"name\":\"f\",\"arguments\":"
	        "\"{\\\"b\\\":2}\"},{\"type\":\"function_call_output\",\"call_id\":\"1\",\"output\":\"yes\"}]," RESPONSES_TOOLS
	        "}");
	/* calls beside each other are one message */
	ck_assert_str_eq(fake.text,
	        "[f]user:hi;assistant:<tool_call>{}</tool_call><tool_call>{\"b\": 2}</tool_call>;tool:yes;");
	fake_text(CALL);
	fake_finish(CARAVAN__REASON__LIMIT);
	ck_assert_ptr_nonnull(strstr(x.out, "\"type\":\"function_call\""));
	ck_assert_ptr_nonnull(strstr(x.out, "\"name\":\"f\",\"arguments\":\"{\\\"a\\\": 1}\""));
	ck_assert_ptr_null(strstr(x.out, "\"message\"")); /* it said nothing */
}
END_TEST

START_TEST(responses_that_the_limit_cuts) {
	ask("/v1/responses", _i ? "{\"input\":\"hi\",\"max_output_tokens\":7,\"stream\":true}"
	                        : "{\"input\":\"hi\",\"max_output_tokens\":7}");
	fake_text("Hm");
	fake_finish(CARAVAN__REASON__LIMIT);
	ck_assert_msg(strstr(x.out, "\"status\":\"incomplete\",\"role\":\"assistant\""), "%s", x.out);
	ck_assert_ptr_null(strstr(x.out, "\"completed\""));
	ck_assert_ptr_nonnull(strstr(x.out, "\"max_output_tokens\":7"));
}
END_TEST

START_TEST(ollama_calls) {
	ask("/api/chat", "{\"model\":\"m\"," HI "," TOOLS "}");
	fake_text("Hm." CALL);
	fake_finish(CARAVAN__REASON__END);
	expect(0, "",
	        "{\"model\":\"m\",\"created_at\":\"\",\"message\":{\"role\":\"assistant\",\"content\":\"Hm.\"},\"done\":false}");
	expect(1, "",
	        "{\"model\":\"m\",\"created_at\":\"\",\"message\":{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":[{"
	        "\"function\":{\"name\":\"f\",\"arguments\":{\"a\":1}}}]},\"done\":false}");
	expect(2, "",
	        "{\"model\":\"m\",\"created_at\":\"\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,"
	        "\"done_reason\":\"stop\",\"system_fingerprint\":\"fp_0123456789abcdef\",\"total_duration\":\"\",\"load_duration\":0,\"prompt_eval_count\":20,"
	        "\"prompt_eval_duration\":0,\"eval_count\":7,\"eval_duration\":0}");
}
END_TEST

/* Calls that a client sends back, as text or as an object, are what the template sees as an object. */
START_TEST(calls_sent_back) {
	static const char *const forms[] = {"\"{\\\"a\\\": 1}\"", "{\"a\": 1}"};
	char body[600];
	snprintf(body, sizeof body,
	        "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\",\"tool_calls\":"
	        "[{\"function\":{\"name\":\"f\",\"arguments\":%s}}]},{\"role\":\"tool\",\"tool_name\":\"f\",\"content\":\"yes\"}]}",
	        forms[_i % 2]);
	ask(_i < 2 ? "/v1/chat/completions" : "/api/chat", body);
	ck_assert_str_eq(fake.text, "user:hi;assistant:<tool_call>{\"a\": 1}</tool_call>;tool:yes;");
}
END_TEST

/* ---- errors -------------------------------------------------------------------------------------- */

static const char *const streams[] = {"/v1/chat/completions", "/v1/completions", "/completion", "/api/chat",
        "/v1/messages", "/v1/responses"};
#define STREAMS 6
#define BODY(stream) "{\"stream\":" stream ",\"max_tokens\":5,\"prompt\":\"hi\"," HI "}"
#define STREAMED BODY("true")

/* A request to one of them: for responses the text has another name. */
static void ask_stream(unsigned which, bool stream) {
	if (which + 1 == STREAMS)
		ask(streams[which], stream ? "{\"stream\":true,\"input\":\"hi\"}" : "{\"input\":\"hi\"}");
	else
		ask(streams[which], stream ? STREAMED : BODY("false"));
}

/* What goes wrong before the stream begins has a status, */
START_TEST(errors_before) {
	ask_stream((unsigned)_i, true);
	fake.ev.prompt(fake.ev.arg, 0, 20);
	ck_assert_int_eq(x.status, 0);
	fake_fail(429, "m is busy");
	ck_assert(x.ended && !x.streaming && x.status == 429);
	ck_assert_str_eq(x.retry_after, "9");
	ck_assert_ptr_nonnull(strstr(x.out, "m is busy"));
}
END_TEST

/* and in the middle it is an event of it. */
START_TEST(errors_in_the_middle) {
	static const char *const tails[] = {"data: {\"error\":{\"message\":\"roof gone\"",
	        "data: {\"error\":{\"message\":\"roof gone\"", "data: {\"error\":{\"message\":\"roof gone\"",
	        "\n{\"error\":\"roof gone\"}\n",
	        "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"roof gone\"}}",
	        "\"status\":\"failed\""};
	ask_stream((unsigned)_i, true);
	fake_text("So ");
	fake_fail(503, "roof gone");
	ck_assert(x.ended && x.streaming && x.status == 200);
	ck_assert_msg(strstr(x.out, tails[_i]), "%s", x.out);
	ck_assert_ptr_null(strstr(x.out, "[DONE]"));
}
END_TEST

/* One that waits has begun: its headers have been sent. */
START_TEST(waiting) {
	ask_stream((unsigned)_i, true);
	fake.ev.waiting(fake.ev.arg, 0, 3, 0, 0);
	ck_assert(x.streaming && !x.ended && x.status == 200);
	fake_done(&x);
	ck_assert_uint_eq(fake.released, 1);
	x = (struct http_exchange){.ended = true};
}
END_TEST

/* A client that asks for it hears what it waits for; others do not. */
#define WAITS(what) \
	"{\"id\":\"\",\"object\":\"chat.completion.chunk\",\"created\":\"\",\"model\":\"m\",\"system_fingerprint\":" \
	"\"fp_0123456789abcdef\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":null}]," what "}"

START_TEST(progress) {
	ask("/v1/chat/completions",
	        _i ? "{\"stream\":true,\"return_progress\":true," HI "}" : "{\"stream\":true," HI "}");
	fake.ev.waiting(fake.ev.arg, 0, 3, 0, 0);
	fake.ev.waiting(fake.ev.arg, 0, 0, 40, 100);
	fake_text("a");
	fake_finish(CARAVAN__REASON__END);
	expect(0, "", CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null"));
	if (_i) {
		expect(1, "", WAITS("\"queue\":{\"place\":3}"));
		expect(2, "",
		        WAITS("\"prompt_progress\":{\"total\":100,\"cache\":0,\"processed\":40,\"time_ms\":\"\"}"));
	}
	expect(_i ? 3 : 1, "", CHUNK("{\"content\":\"a\"}", "null"));
}
END_TEST

/* The list of models says which of them are ready. */
START_TEST(models_say_their_state) {
	static const struct {
		enum model_state state;
		const char *what, *status;
	} cases[] = {{MODEL_SERVING, "", "{\"value\":\"loaded\"}"},
	        {MODEL_LOADING, "is loading (hashing, 71%)",
	                "{\"value\":\"loading\",\"text\":\"is loading (hashing, 71%)\"}"},
	        {MODEL_UNAVAILABLE, "is gone", "{\"value\":\"unloaded\",\"text\":\"is gone\"}"}};
	fake_model()->state = cases[_i].state;
	snprintf(fake_model()->what, sizeof fake_model()->what, "%s", cases[_i].what);
	fake_ask(&x, HTTP_GET, "/v1/models", "", 0);
	json_t *got = json_loads(x.out, 0, NULL), *want = json_loads(cases[_i].status, 0, NULL);
	json_t *status = json_object_get(json_array_get(json_object_get(got, "data"), 0), "status");
	ck_assert_msg(json_equal(status, want), "%s", x.out);
	json_decref(got);
	json_decref(want);
}
END_TEST

START_TEST(counted) {
	struct http_exchange y;
	ask("/v1/messages", STREAMED);
	fake_text("a");
	fake_text("b");
	fake_finish(CARAVAN__REASON__END);
	fake_done(&x);
	ask("/api/chat", STREAMED);
	fake_fail(429, "m is busy");
	fake_done(&x);
	ask("/completion", STREAMED);
	fake_done(&x);
	ask("/v1/chat/completions", STREAMED);
	fake_fail(418, "I am a teapot");
	fake_ask(&y, HTTP_GET, "/metrics", "", 0);
	static const char *const lines[] = {
	        "caravan_http_completions_total{api=\"anthropic\",code=\"200\"} 1\n",
	        "caravan_http_completions_total{api=\"ollama\",code=\"429\"} 1\n",
	        "caravan_http_completions_total{api=\"openai\",code=\"other\"} 1\n",
	        "caravan_http_disconnects_total{api=\"llama.cpp\"} 1\n",
	        "caravan_http_disconnects_total{api=\"openai\"} 0\n", "caravan_http_prompt_tokens_total 20\n",
	        "caravan_http_cached_tokens_total 5\n", "caravan_http_generated_tokens_total 7\n",
	        "caravan_http_first_token_seconds_count 1\n", "caravan_http_inter_token_seconds_count 1\n",
	        "caravan_model_serving{model=\"m\"} 1\n"};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		ck_assert_msg(strstr(y.out, lines[i]), "no %s in %s", lines[i], y.out);
	fake_done(&y);
}
END_TEST

/* What the HTTP server refuses, in the form of the path. */
START_TEST(errors_of_the_server) {
	static const struct {
		const char *path, *want;
		int status;
	} rows[] = {{"/api/chat", "{\"error\":\"why\"}", 401}, {"/api", "{\"error\":\"why\"}", 404},
	        {"/v1/messages?beta=true",
	                "{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"why\"}}",
	                401},
	        {"/v1/messages/count_tokens",
	                "{\"type\":\"error\",\"error\":{\"type\":\"permission_error\",\"message\":\"why\"}}",
	                403},
	        {"/v1/messages",
	                "{\"type\":\"error\",\"error\":{\"type\":\"request_too_large\",\"message\":\"why\"}}",
	                413},
	        {"/v1/messagesx", NULL, 401}, {"/apis", NULL, 401}, {"/v1/chat/completions", NULL, 401}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		json_t *o = routes_error(rows[i].path, rows[i].status, "why");
		char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
		ck_assert_pstr_eq(text, rows[i].want);
		free(text);
		json_decref(o);
	}
	x = (struct http_exchange){.ended = true};
}
END_TEST

/* One that was refused counts, and of several choices each has its own time between texts. */
START_TEST(refused_are_counted) {
	static const char *const asks[][2] = {{"/v1/chat/completions", "{}"},
	        {"/v1/completions", "{\"model\":\"nobody\",\"prompt\":\"x\"}"},
	        {"/v1/completions", "{\"prompt\":[]}"}, {"/v1/responses", "{\"input\":3}"},
	        {"/v1/messages", "{" HI "}"},
	        {"/v1/messages", "{\"model\":\"nobody\"," HI ",\"max_tokens\":1}"},
	        {"/v1/messages/count_tokens", "[]"}, {"/api/chat", "nonsense"},
	        {"/api/generate", "{\"options\":3}"}, {"/api/show", "{\"model\":\"nobody\"}"},
	        {"/completion", "{\"model\":\"nobody\"}"}, {"/completion", "{\"prompt\":3}"},
	        {"/tokenize", "{\"content\":3}"}, {"/tokenize", "{\"model\":\"nobody\"}"}};
	for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
		ask(asks[i][0], asks[i][1]);
		ck_assert_msg(x.ended && x.status >= 400, "%s: %d", asks[i][0], x.status);
		fake_done(&x);
	}
	fake_ask(&x, HTTP_GET, "/metrics", "", 0);
	static const char *const lines[] = {"{api=\"openai\",code=\"400\"} 3\n",
	        "{api=\"openai\",code=\"404\"} 1\n", "{api=\"anthropic\",code=\"400\"} 1\n",
	        "{api=\"anthropic\",code=\"404\"} 1\n", "{api=\"ollama\",code=\"400\"} 2\n",
	        "{api=\"llama.cpp\",code=\"400\"} 1\n", "{api=\"llama.cpp\",code=\"404\"} 1\n"};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		ck_assert_msg(strstr(x.out, lines[i]), "no %s", lines[i]);
	ck_assert_ptr_null(strstr(x.out, "{api=\"ollama\",code=\"404\"}"));
}
END_TEST

START_TEST(choices_have_their_own_times) {
	struct http_exchange y;
	ask("/v1/chat/completions", "{" HI ",\"n\":3,\"stream\":true}");
	for (unsigned i = 0; i < 3; i++)
		fake.ev.text(fake.ev.arg, i, "a", 1);
	fake.ev.text(fake.ev.arg, 1, "b", 1);
	fake_ask(&y, HTTP_GET, "/metrics", "", 0);
	ck_assert_ptr_nonnull(strstr(y.out, "caravan_http_first_token_seconds_count 1\n"));
	ck_assert_ptr_nonnull(strstr(y.out, "caravan_http_inter_token_seconds_count 1\n"));
	fake_done(&y);
}
END_TEST

START_TEST(histograms) {
	static const struct metrics none;
	struct metrics m = none;
	size_t len;
	metrics_observe(&m.first, 0.02);
	metrics_observe(&m.first, 0.025);
	metrics_observe(&m.first, 1000);
	char *text = metrics_text(&m, NULL, &len);
	ck_assert_ptr_nonnull(text);
	static const char *const lines[] = {"_bucket{le=\"0.01\"} 0\n", "_bucket{le=\"0.025\"} 2\n",
	        "_bucket{le=\"300\"} 2\n", "_bucket{le=\"+Inf\"} 3\n", "_sum 1000.045\n", "_count 3\n"};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
		char line[100];
		snprintf(line, sizeof line, "\ncaravan_http_first_token_seconds%s", lines[i]);
		ck_assert_msg(strstr(text, line), "no %s in %s", line, text);
	}
	free(text);
	x = (struct http_exchange){.ended = true};
}
END_TEST

/* Those of the coordinators, for each model that has any. */
START_TEST(histograms_of_models) {
	static const struct metrics none;
	struct model_list *l = calloc(1, sizeof *l + 2 * sizeof *l->model);
	size_t len;
	ck_assert_ptr_nonnull(l);
	l->n = 2;
	strcpy(l->model[0].name, "m");
	strcpy(l->model[1].name, "quiet");
	struct model_histogram *h = l->model[0].numbers.times;
	h[MODEL_FIRST_TOKEN] =
	        (struct model_histogram){.bucket = {[5] = 3, [13] = 1}, .count = 5, .sum = 700.5};
	h[MODEL_INTER_TOKEN] = (struct model_histogram){.bucket = {[0] = 9}, .count = 9, .sum = 0.009};
	char *text = metrics_text(&none, l, &len);
	ck_assert_ptr_nonnull(text);
	static const char *const lines[] = {
	        "# TYPE caravan_model_first_token_seconds histogram\ncaravan_model_first_token_seconds_bucket{model=\"m\",le=\"0.005\"} 0\n",
	        "caravan_model_first_token_seconds_bucket{model=\"m\",le=\"0.1\"} 0\n",
	        "caravan_model_first_token_seconds_bucket{model=\"m\",le=\"0.25\"} 3\n",
	        "caravan_model_first_token_seconds_bucket{model=\"m\",le=\"300\"} 4\n",
	        "caravan_model_first_token_seconds_bucket{model=\"m\",le=\"+Inf\"} 5\n",
	        "caravan_model_first_token_seconds_sum{model=\"m\"} 700.5\n",
	        "caravan_model_first_token_seconds_count{model=\"m\"} 5\n",
	        "caravan_model_inter_token_seconds_bucket{model=\"m\",le=\"0.005\"} 9\n",
	        "caravan_model_inter_token_seconds_count{model=\"m\"} 9\n"};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		ck_assert_msg(strstr(text, lines[i]), "no %s in %s", lines[i], text);
	ck_assert_ptr_null(strstr(text, "_token_seconds_count{model=\"quiet\"}"));
	free(text);
	free(l);
	x = (struct http_exchange){.ended = true};
}
END_TEST

/* A body of many values, or of many within each other, is refused before it takes memory for them. */
static void expect_bound(const char *open, const char *each, size_t n, const char *why) {
	size_t len = strlen(open) + n * strlen(each) + 1;
	char *body = malloc(len), *at = body;
	ck_assert_ptr_nonnull(body);
	at += sprintf(at, "%s", open);
	while (n-- > 0)
		at = stpcpy(at, each);
	ask("/v1/chat/completions", body);
	ck_assert(x.ended && x.status == 400);
	ck_assert_msg(strstr(x.out, why), "%s", x.out);
	free(body);
	fake_done(&x);
}

START_TEST(bodies_have_bounds) {
	expect_bound("{\"a\":[", "0,", 1000000, "more than 1000000 values");
	expect_bound("{\"a\":[", "{},", 100000, "100000 objects and arrays");
	expect_bound("{\"a\":", "[", 128, "within each other");
	/* brackets and commas in a string are none; what is within the bounds gets to the parser */
	expect_bound("{\"a\":\"\\\"", "[,", 600000, "not JSON");
	expect_bound("{\"a\":[", "{},", 99990, "not JSON");
	expect_bound("{\"a\":", "[", 127, "not JSON");
	x = (struct http_exchange){.ended = true};
}
END_TEST

#if defined __GLIBC__ && !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
static long resident_pages(void) {
	FILE *f = fopen("/proc/self/statm", "r");
	long size, pages = 0;
	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%ld %ld", &size, &pages), 2);
	fclose(f);
	return pages;
}

/* As on the server's thread, which has an arena of its own. */
static void *parse_members(void *arg) {
	static const char each[] = "{\"a\":0},";
	const size_t n = 99000, len = n * (sizeof each - 1);
	char *body = malloc(len + 20), *at = stpcpy(body, "{\"a\":[");
	long *pages = arg;
	struct fields f;
	for (size_t i = 0; i < n; i++)
		at = stpcpy(at, each);
	at = stpcpy(at - 1, "]}");
	pages[0] = resident_pages();
	fields_parse(&f, body, (size_t)(at - body));
	pages[1] = resident_pages();
	void *behind = strdup("what was allocated later stays");
	fields_clear(&f);
	pages[2] = resident_pages();
	free(behind);
	free(body);
	return NULL;
}

START_TEST(memory_is_given_back) {
	long pages[3];
	pthread_t t;
	ck_assert_int_eq(pthread_create(&t, NULL, parse_members, pages), 0);
	ck_assert_int_eq(pthread_join(t, NULL), 0);
	ck_assert_int_gt(pages[1] - pages[0], 2000);
	ck_assert_int_lt(pages[2] - pages[0], (pages[1] - pages[0]) / 2);
	x = (struct http_exchange){.ended = true};
}
END_TEST
#endif

/* What JSON has, and strings here do not: the answer says so. */
START_TEST(strings_without_characters) {
	ask("/v1/completions", "{\"prompt\":\"a\\ud83d\"}");
	ck_assert(x.status == 400 && strstr(x.out, "half of a surrogate pair"));
	fake_done(&x);
	ask("/v1/completions", "{\"prompt\":\"a\\udc00b\"}");
	ck_assert(x.status == 400 && strstr(x.out, "half of a surrogate pair"));
	fake_done(&x);
	ask("/v1/completions", "{\"prompt\":\"a\\u0000b\"}");
	ck_assert(x.status == 400 && strstr(x.out, "\\\\u0000 is not supported"));
	fake_done(&x);
	ask("/v1/completions", "{\"prompt\":}");
	ck_assert(x.status == 400 && strstr(x.out, "the body is not JSON"));
}
END_TEST

/* Clients that know no limit say -1. */
START_TEST(no_limit) {
	static const char *const asks[][2] = {{"/v1/chat/completions", "{" HI ",\"max_tokens\":-1}"},
	        {"/v1/chat/completions", "{" HI ",\"max_completion_tokens\":-1}"},
	        {"/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":-1}"},
	        {"/v1/messages", "{" HI ",\"max_tokens\":-1}"},
	        {"/v1/responses", "{\"input\":\"hi\",\"max_output_tokens\":-1}"}};
	ask(asks[_i][0], asks[_i][1]);
	ck_assert_msg(!x.ended, "%s", x.out);
	ck_assert_uint_eq(fake.p.limit, 0);
	fake_finish(CARAVAN__REASON__END);
	fake_done(&x);
	ask("/v1/completions", "{\"prompt\":\"x\",\"max_tokens\":0}");
	ck_assert(x.ended && x.status == 400);
}
END_TEST

/* ---- biases -------------------------------------------------------------------------------------- */

static const char *const biased_asks[][2] = {{"/v1/chat/completions", HI},
        {"/v1/completions", "\"prompt\":\"x\""}, {"/completion", "\"prompt\":\"x\""}};
enum { BIASED = sizeof biased_asks / sizeof *biased_asks };

static void ask_biased(unsigned which, const char *bias) {
	static char body[8000];
	snprintf(body, sizeof body, "{%s,\"logit_bias\":%s}", biased_asks[which][1], bias);
	ask(biased_asks[which][0], body);
}

START_TEST(biases) {
	static const struct {
		const char *text;
		size_t n;
		struct sampler_bias want[2];
	} good[] = {
	        {"null", 0, {{0, 0}}},
	        {"{}", 0, {{0, 0}}},
	        {"[]", 0, {{0, 0}}},
	        {"{\"15\":-100,\"4294967295\":2.5}", 2, {{15, -100}, {UINT32_MAX, 2.5f}}},
	        {"[[15,1],[15,-0.5]]", 2, {{15, 1}, {15, -0.5f}}},
	        {"[[0,false]]", 1, {{0, SAMPLER_BIAS_NEVER}}},
	        {"{\"7\":false}", 1, {{7, SAMPLER_BIAS_NEVER}}},
	};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		ask_biased((unsigned)_i, good[i].text);
		ck_assert_msg(!x.ended, "%s: %s", good[i].text, x.out);
		ck_assert_uint_eq(fake.p.nbias, good[i].n);
		for (size_t k = 0; k < good[i].n; k++)
			ck_assert_msg(fake.bias[k].id == good[i].want[k].id &&
			                      fake.bias[k].add == good[i].want[k].add,
			        "%s: %u %g", good[i].text, fake.bias[k].id, (double)fake.bias[k].add);
		fake_finish(CARAVAN__REASON__END);
		fake_done(&x);
	}
}
END_TEST

START_TEST(biases_refused) {
	static const char *const bad[] = {"5", "true", "\"a\"", "{\"a\":1}", "{\"\":1}", "{\"-1\":1}",
	        "{\"1.0\":1}", "{\"4294967296\":1}", "{\"99999999999\":1}", "{\"5\":100.5}", "{\"5\":-101}",
	        "{\"5\":null}", "{\"5\":true}", "{\"5\":\"1\"}", "[5]", "[[]]", "[[5]]", "[[-1,1]]",
	        "[[4294967296,1]]", "[[1.5,1]]", "[[\"word\",1]]", "[[5,true]]", "[[5,101]]", "[{\"5\":1}]"};
	char many[301 * 8 + 3] = "[";
	unsigned started = fake.started;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		ask_biased((unsigned)_i, bad[i]);
		ck_assert_msg(x.ended && x.status == 400 && strstr(x.out, "logit_bias"), "%s", bad[i]);
		fake_done(&x);
	}
	ck_assert_uint_eq(fake.started, started);
	for (unsigned i = 0; i < 301; i++)
		strcat(many, i < 300 ? "[5,0.5]," : "[5,0.5]]");
	ask_biased((unsigned)_i, many);
	ck_assert_msg(x.status == 400 && strstr(x.out, "301 tokens, of at most 300"), "%s", x.out);
	fake_done(&x);
	many[strlen(many) - 9] = ']'; /* one less */
	many[strlen(many) - 8] = '\0';
	ask_biased((unsigned)_i, many);
	ck_assert_uint_eq(fake.p.nbias, 300);
	fake_finish(CARAVAN__REASON__END);
}
END_TEST

/* A client that goes lets go of its completion, once; whole or streamed, before or after text. */
START_TEST(clients_that_go) {
	ask_stream((unsigned)_i % STREAMS, _i < STREAMS);
	if (_i % 2)
		fake_text("So ");
	ck_assert_ptr_nonnull(x.closed);
	fake_done(&x);
	ck_assert_uint_eq(fake.released, 1);
	x = (struct http_exchange){.ended = true};
}
END_TEST

/* ---- models that do not serve -------------------------------------------------------------------- */

START_TEST(loading) {
	fake_model()->state = MODEL_LOADING;
	snprintf(fake_model()->what, sizeof fake_model()->what, "is loading (hashing, 71%%)");
	ask_stream((unsigned)_i, true);
	ck_assert(x.ended && x.status == 503);
	ck_assert_str_eq(x.retry_after, "5");
	ck_assert_msg(strstr(x.out, "model m is loading (hashing, 71%)"), "%s", x.out);
	fake_done(&x);
	fake_ask(&x, HTTP_GET, "/health", "", 0);
	ck_assert(x.status == 503 && strstr(x.out, "71%"));
	fake_done(&x);
	fake_ask(&x, HTTP_GET, "/v1/models", "", 0); /* it is listed */
	ck_assert(x.status == 200 && strstr(x.out, "\"id\":\"m\""));
	fake_done(&x);
	fake_ask(&x, HTTP_GET, "/api/ps", "", 0); /* it does not run */
	ck_assert_str_eq(x.out, "{\"models\":[]}");
}
END_TEST

/* Its vocabulary is on its way to this node. */
START_TEST(without_vocabulary) {
	const struct model_facts *facts = fake_model()->facts;
	fake_model()->facts = NULL;
	ask_stream((unsigned)_i, true);
	ck_assert(x.ended && x.status == 503);
	ck_assert_str_eq(x.retry_after, "1");
	ck_assert_ptr_nonnull(strstr(x.out, "vocabulary"));
	fake_done(&x);
	fake_ask(&x, HTTP_GET, "/v1/models", "", 0);
	ck_assert(x.status == 200 && strstr(x.out, "\"id\":\"m\""));
	fake_done(&x);
	fake_ask(&x, HTTP_GET, "/api/tags", "", 0);
	ck_assert_str_eq(x.out, "{\"models\":[]}");
	fake_model()->facts = facts;
}
END_TEST

/* ---- embeddings ---------------------------------------------------------------------------------- */

static const float vector[FAKE_DIM] = {0.5f, -0.25f, 0.125f}, other[FAKE_DIM] = {1, 0, -2};

#define OF_OPENAI(data, tokens) \
	"{\"object\":\"list\",\"data\":[" data \
	"],\"model\":\"m\",\"system_fingerprint\":\"fp_0123456789abcdef\"," \
	"\"usage\":{\"prompt_tokens\":" tokens ",\"total_tokens\":" tokens "}}"
#define ONE(index, vector) "{\"object\":\"embedding\",\"index\":" index ",\"embedding\":" vector "}"
#define NUMBERS "[0.5,-0.25,0.125]"

START_TEST(embedding_of_a_text) {
	ask("/v1/embeddings",
	        "{\"input\":\"<s>hi\",\"dimensions\":3,\"encoding_format\":\"float\",\"user\":\"u\"}");
	ck_assert(fake.started == 1 && fake.p.embedding && !fake.p.cut && !fake.p.special && !fake.p.nspans);
	ck_assert_str_eq(fake.text, "<s>hi");
	fake_embed(0, vector);
	expect_whole(200, OF_OPENAI(ONE("0", NUMBERS), "20"));
	fake_done(&x);
	/* float32, little-endian */
	ask("/v1/embeddings", "{\"input\":[5,7],\"encoding_format\":\"base64\"}");
	ck_assert(!fake.text && fake.p.nids == 2 && fake.each_ids[1][0] == 5 && fake.each_ids[1][1] == 7);
	fake_embed(1, vector);
	expect_whole(200, OF_OPENAI(ONE("0", "\"AAAAPwAAgL4AAAA+\""), "20"));
}
END_TEST

/* Texts and ids, in any order of their ends; a few at once. */
START_TEST(embeddings_of_many) {
	static const unsigned order[] = {2, 0, 3, 1, 5, 4};
	ask("/v1/embeddings", "{\"input\":[\"a\",\"b\",[1,2],\"d\",\"e\",[9]]}");
	ck_assert_uint_eq(fake.started, 4);
	for (unsigned i = 0; i < 6; i++) {
		ck_assert(!x.ended);
		fake_embed(order[i], order[i] % 2 ? other : vector);
		ck_assert_uint_eq(fake.started, i == 0 ? 5 : 6);
	}
	ck_assert_str_eq(fake.each_text[0], "a");
	ck_assert_str_eq(fake.each_text[1], "b");
	ck_assert_str_eq(fake.each_text[2], "");
	ck_assert(fake.each_ids[2][0] == 1 && fake.each_ids[2][1] == 2 && fake.each_ids[5][0] == 9);
	ck_assert_str_eq(fake.each_text[4], "e");
	expect_whole(200,
	        OF_OPENAI(ONE("0", NUMBERS) "," ONE("1", "[1.0,0.0,-2.0]") "," ONE("2", NUMBERS) "," ONE(
	                          "3", "[1.0,0.0,-2.0]") "," ONE("4", NUMBERS) "," ONE("5", "[1.0,0.0,-2.0]"),
	                "120"));
}
END_TEST

START_TEST(ollama_embeds) {
	ask("/api/embed",
	        "{\"model\":\"m:latest\",\"input\":[\"a\",\"b\"],\"truncate\":true,\"keep_alive\":\"5m\"}");
	ck_assert(fake.p.embedding && fake.p.cut);
	fake_embed(1, other);
	fake_embed(0, vector);
	expect_whole(200,
	        "{\"model\":\"m:latest\",\"embeddings\":[" NUMBERS ",[1.0,0.0,-2.0]],\"system_fingerprint\":"
	        "\"fp_0123456789abcdef\",\"total_duration\":\"\",\"load_duration\":0,\"prompt_eval_count\":40}");
	fake_done(&x);
	ask("/api/embed", "{\"input\":\"c\",\"truncate\":false}");
	ck_assert(!fake.p.cut);
	fake_embed(2, vector);
	ck_assert_ptr_nonnull(strstr(x.out, "\"embeddings\":[" NUMBERS "]"));
	fake_done(&x);
	ask("/api/embeddings", "{\"model\":\"m\",\"prompt\":\"d\"}");
	ck_assert_str_eq(fake.text, "d");
	fake_embed(3, vector);
	expect_whole(200, "{\"embedding\":" NUMBERS "}");
	fake_done(&x);
	/* what loads a model in Ollama */
	ask("/api/embed", "{\"input\":\"\"}");
	ck_assert(x.status == 200 && strstr(x.out, "\"embeddings\":[]"));
	fake_done(&x);
	ask("/api/embeddings", "{}");
	expect_whole(200, "{\"embedding\":[]}");
	ck_assert_uint_eq(fake.started, 4);
}
END_TEST

static const struct {
	const char *path, *body, *word;
} embeddings_refused[] = {
        {"/v1/embeddings", "{}", "input is empty"},
        {"/v1/embeddings", "{\"input\":\"\"}", "input"},
        {"/v1/embeddings", "{\"input\":[]}", "input is empty"},
        {"/v1/embeddings", "{\"input\":[\"a\",\"\"]}", "empty text"},
        {"/v1/embeddings", "{\"input\":7}", "input must be"},
        {"/v1/embeddings", "{\"input\":{\"a\":1}}", "input must be"},
        {"/v1/embeddings", "{\"input\":[1,\"a\"]}", "input must be"},
        {"/v1/embeddings", "{\"input\":[\"a\",[]]}", "input must be"},
        {"/v1/embeddings", "{\"input\":[-1]}", "input must be"},
        {"/v1/embeddings", "{\"input\":[4294967296]}", "input must be"},
        {"/v1/embeddings", "{\"input\":[[1],[1.5]]}", "input must be"},
        {"/v1/embeddings", "{\"input\":\"a\",\"dimensions\":2}", "dimensions is supported as 3 alone"},
        {"/v1/embeddings", "{\"input\":\"a\",\"encoding_format\":\"hex\"}", "encoding_format"},
        {"/api/embed", "{\"input\":\"a\",\"dimensions\":2}", "dimensions"},
        {"/api/embed", "{\"input\":{}}", "input must be"},
        {"/api/embeddings", "{\"prompt\":[\"a\"]}", "prompt"},
};

START_TEST(embeddings_refused_by_name) {
	ask(embeddings_refused[_i].path, embeddings_refused[_i].body);
	ck_assert_uint_eq(fake.started, 0);
	ck_assert(x.ended && x.status == 400);
	ck_assert_msg(strstr(x.out, embeddings_refused[_i].word), "%s", x.out);
}
END_TEST

START_TEST(too_many_embeddings) {
	size_t n = EMBEDDINGS_TEXTS_MAX + 1, len = 0;
	char *body = malloc(n * 4 + 100);
	len += (size_t)sprintf(body, "{\"input\":[");
	for (size_t i = 0; i < n; i++)
		len += (size_t)sprintf(body + len, "%s\"a\"", i ? "," : "");
	len += (size_t)sprintf(body + len, "]}");
	fake_ask(&x, HTTP_POST, "/v1/embeddings", body, len);
	free(body);
	ck_assert(x.status == 400 && fake.started == 0);
	ck_assert_ptr_nonnull(strstr(x.out, "has 2049 texts, of at most 2048"));
}
END_TEST

/* One text fails, or has no embedding: so does the request, and the others are cancelled. */
START_TEST(embeddings_that_fail) {
	ask("/v1/embeddings", "{\"input\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}");
	fake_embed(1, vector);
	if (_i == 0)
		fake_fail(429, "busy");
	else
		fake_embed(0, NULL);
	ck_assert(x.ended && x.status == (_i == 0 ? 429 : 500));
	ck_assert_str_eq(x.retry_after, _i == 0 ? "9" : "");
	ck_assert(fake.started == 5 && fake.released == 5);
}
END_TEST

START_TEST(embeddings_nobody_waits_for) {
	ask("/api/embed", "{\"input\":[\"a\",\"b\",\"c\"]}");
	fake_embed(0, vector);
	fake_done(&x);
	ck_assert_uint_eq(fake.released, 3);
	x = (struct http_exchange){.ended = true};
}
END_TEST

START_TEST(embeddings_are_counted) {
	static const char two[] = "{\"input\":[\"a\",\"b\"]}";
	static const char *const asks[][2] = {{"/v1/embeddings", "nonsense"},
	        {"/v1/embeddings", "{\"input\":[]}"}, {"/v1/embeddings", "{\"model\":\"nobody\"}"},
	        {"/api/embed", "{\"input\":7}"}};
	for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
		ask(asks[i][0], asks[i][1]);
		ck_assert(x.ended && x.status >= 400);
		fake_done(&x);
	}
	ask("/v1/embeddings", two);
	fake_embed(0, vector);
	fake_embed(1, vector);
	fake_done(&x);
	ask("/api/embed", two);
	fake_fail(429, "busy");
	fake_done(&x);
	ask("/api/embed", two); /* whose client goes */
	fake_done(&x);
	fake_ask(&x, HTTP_GET, "/metrics", "", 0);
	static const char *const lines[] = {"embeddings_total{api=\"openai\",code=\"200\"} 1\n",
	        "embeddings_total{api=\"openai\",code=\"400\"} 2\n",
	        "embeddings_total{api=\"openai\",code=\"404\"} 1\n",
	        "embeddings_total{api=\"ollama\",code=\"400\"} 1\n",
	        "embeddings_total{api=\"ollama\",code=\"429\"} 1\n", "disconnects_total{api=\"openai\"} 0\n",
	        "disconnects_total{api=\"ollama\"} 1\n", "embedded_tokens_total 40\n",
	        "prompt_tokens_total 0\n"};
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		ck_assert_msg(strstr(x.out, lines[i]), "no %s in %s", lines[i], x.out);
	ck_assert_ptr_null(strstr(x.out, "completions_total{"));
}
END_TEST

/* ---- fill in the middle -------------------------------------------------------------------------- */

static void use_fim(bool files) {
	fake_fim(VOCAB_FIM_PRE, "<PRE>");
	fake_fim(VOCAB_FIM_SUF, "<SUF>");
	fake_fim(VOCAB_FIM_MID, "<MID>");
	fake_fim(VOCAB_FIM_REP, files ? "<REP>" : "");
	fake_fim(VOCAB_FIM_SEP, files ? "<SEP>" : "");
}

#define EXTRA "\"input_extra\":[{\"text\":\"x<SEP>\",\"filename\":\"a.c\"},{\"text\":\"y\"}]"

static const struct {
	const char *path, *body;
	bool files;
	const char *prompt, *marks; /* all that are control tokens, one behind the other */
} infills[] = {
        {"/infill", "\"input_prefix\":\"a<MID>\",\"input_suffix\":\"b<PRE>\"", false,
                "<PRE>a<MID><SUF>b<PRE><MID>", "<PRE><SUF><MID>"},
        {"/infill", "\"input_prefix\":\"\",\"input_suffix\":\"\",\"prompt\":\"p\",\"input_extra\":[]", true,
                "<PRE>p<SUF><MID>", "<PRE><SUF><MID>"},
        {"/infill", "\"input_prefix\":\"a\",\"input_suffix\":\"b\"," EXTRA, true,
                "<REP>repository\n<SEP>a.c\nx<SEP><SEP>tmp\ny<SEP>filename\n<PRE>a<SUF>b<MID>",
                "<REP><SEP><SEP><SEP><PRE><SUF><MID>"},
        {"/infill", "\"input_prefix\":\"a\",\"input_suffix\":\"b\"," EXTRA, false,
                "\n\n--- snippet ---\n\nx<SEP>\n\n--- snippet ---\n\ny<PRE>a<SUF>b<MID>", "<PRE><SUF><MID>"},
        {"/v1/completions", "\"prompt\":\"a\",\"suffix\":\"b\"", true, "<PRE>a<SUF>b<MID>",
                "<PRE><SUF><MID>"},
        {"/v1/completions", "\"prompt\":\"a\",\"suffix\":\"\"", true, "a", ""},
        {"/api/generate", "\"model\":\"m\",\"prompt\":\"a\",\"suffix\":\"b\"", true, "<PRE>a<SUF>b<MID>",
                "<PRE><SUF><MID>"},
        {"/api/generate", "\"model\":\"m\",\"suffix\":\"b\"", true, "<PRE><SUF>b<MID>", "<PRE><SUF><MID>"},
};

START_TEST(infill) {
	char body[1000], marks[200] = "";
	use_fim(infills[_i].files);
	snprintf(body, sizeof body, "{%s}", infills[_i].body);
	ask(infills[_i].path, body);
	ck_assert_msg(!x.ended, "%s", x.out);
	ck_assert_str_eq(fake.text, infills[_i].prompt);
	for (size_t i = 0; i < fake.p.nspans; i++)
		strncat(marks, fake.text + fake.spans[i].begin, fake.spans[i].end - fake.spans[i].begin);
	ck_assert_str_eq(marks, infills[_i].marks);
	ck_assert(fake.p.special == !*infills[_i].marks);
}
END_TEST

static const struct {
	const char *path, *body, *words;
	bool known;
} no_infills[] = {
        {"/infill", "\"input_prefix\":\"a\",\"input_suffix\":\"b\"", "no tokens to fill in the middle",
                false},
        {"/v1/completions", "\"prompt\":\"a\",\"suffix\":\"b\"",
                "suffix: the vocabulary of model m has no tokens", false},
        {"/api/generate", "\"model\":\"m\",\"prompt\":\"a\",\"suffix\":\"b\"",
                "suffix: the vocabulary of model m has no tokens", false},
        {"/infill", "\"input_suffix\":\"b\"", "input_prefix is missing", true},
        {"/infill", "\"input_prefix\":\"b\"", "input_suffix is missing", true},
        {"/infill", "\"input_prefix\":\"a\",\"input_suffix\":\"b\",\"input_extra\":{}", "must be an array",
                true},
        {"/infill", "\"input_prefix\":\"a\",\"input_suffix\":\"b\",\"input_extra\":[{\"filename\":\"a\"}]",
                "objects with a text", true},
        {"/infill", "\"input_prefix\":\"a\",\"input_suffix\":\"b\",\"prompt\":[1]", "prompt must be a string",
                true},
};

START_TEST(no_infill) {
	char body[1000];
	if (no_infills[_i].known)
		use_fim(true);
	else
		fake_fim(VOCAB_FIM_PRE, "<PRE>"); /* one is not enough */
	snprintf(body, sizeof body, "{%s}", no_infills[_i].body);
	ask(no_infills[_i].path, body);
	ck_assert(x.ended && x.status == 400 && fake.started == 0);
	ck_assert_msg(strstr(x.out, no_infills[_i].words), "%s", x.out);
}
END_TEST

/* ---- the cluster ---------------------------------------------------------------------------------- */

static void look(const char *path) {
	fake_ask(&x, HTTP_GET, path, "", 0);
}

START_TEST(cluster_once) {
	look("/v1/cluster");
	ck_assert(!x.ended && fake_looks == 1);
	fake_report("{\"healthy\":true}");
	ck_assert(fake_looks == 0);
	expect_whole(200, "{\"healthy\":true}");
	/* one who goes before */
	fake_done(&x);
	look("/v1/cluster");
	fake_done(&x);
	ck_assert(fake_looks == 0);
	x = (struct http_exchange){0};
}
END_TEST

START_TEST(cluster_live) {
	look("/v1/cluster/live");
	ck_assert(x.streaming && strcmp(x.type, "text/event-stream") == 0);
	fake_event("{\"text\":\"a\"}");
	fake_report("{\"healthy\":true}");
	ck_assert_str_eq(x.out,
	        "event: event\ndata: {\"text\":\"a\"}\n\nevent: cluster\ndata: {\"healthy\":true}\n\n");
	size_t before = x.outlen;
	x.unwritten = 1 << 20; /* what a slow client has not read is not added to */
	fake_report("{\"healthy\":false}");
	fake_event("{}");
	ck_assert_uint_eq(x.outlen, before);
	x.unwritten = 0;
	fake_report("{}");
	ck_assert_str_eq(x.out + before, "event: cluster\ndata: {}\n\n");
	ck_assert(!x.ended && fake_looks == 1);
	fake_report(NULL); /* it has watched long enough */
	ck_assert(x.ended && !x.cut && fake_looks == 0);
	fake_done(&x);
	look("/v1/cluster/live"); /* one who goes */
	fake_done(&x);
	ck_assert(fake_looks == 0);
	x = (struct http_exchange){0};
}
END_TEST

START_TEST(cluster_refused) {
	static const struct {
		int rc, status;
		const char *retry;
	} rows[] = {{-EBUSY, 429, "5"}, {-ENOMEM, 500, ""}};
	fake_look_refused = rows[_i].rc;
	look("/v1/cluster/live");
	fake_look_refused = 0;
	ck_assert(x.ended && x.status == rows[_i].status);
	ck_assert_str_eq(x.retry_after, rows[_i].retry);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("routes");
	TCase *t = tcase_create("tools");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, openai_calls);
	tcase_add_test(t, openai_calls_whole);
	tcase_add_test(t, openai_no_call);
	tcase_add_loop_test(t, calls_that_the_limit_cuts, 0, 3);
	tcase_add_loop_test(t, messages_without_content, 0, 7);
	tcase_add_loop_test(t, no_tools_no_calls, 0, 3);
	tcase_add_test(t, unknown_tools);
	tcase_add_loop_test(t, tools_in_a_message, 0, 2);
	tcase_add_test(t, values_by_schema);
	tcase_add_loop_test(t, must_call_tools, 0, (int)(sizeof must_call / sizeof *must_call));
	tcase_add_loop_test(t, cannot_call_tools, 0, (int)(sizeof cannot_call / sizeof *cannot_call));
	tcase_add_test(t, cannot_call_in_unknown_format);
	tcase_add_test(t, anthropic_calls);
	tcase_add_test(t, anthropic_calls_whole);
	tcase_add_test(t, anthropic_nothing);
	tcase_add_test(t, responses_calls);
	tcase_add_test(t, responses_calls_whole);
	tcase_add_loop_test(t, responses_that_the_limit_cuts, 0, 2);
	tcase_add_test(t, ollama_calls);
	tcase_add_loop_test(t, calls_sent_back, 0, 4);
	suite_add_tcase(s, t);
	t = tcase_create("errors");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, errors_before, 0, STREAMS);
	tcase_add_loop_test(t, errors_in_the_middle, 0, STREAMS);
	tcase_add_loop_test(t, waiting, 0, STREAMS);
	tcase_add_test(t, errors_of_the_server);
	tcase_add_loop_test(t, progress, 0, 2);
	tcase_add_test(t, counted);
	tcase_add_test(t, refused_are_counted);
	tcase_add_test(t, choices_have_their_own_times);
	tcase_add_test(t, histograms);
	tcase_add_test(t, histograms_of_models);
	tcase_add_test(t, bodies_have_bounds);
#if defined __GLIBC__ && !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__
	tcase_add_test(t, memory_is_given_back);
#endif
	tcase_add_test(t, strings_without_characters);
	tcase_add_loop_test(t, no_limit, 0, 5);
	tcase_add_loop_test(t, biases, 0, BIASED);
	tcase_add_loop_test(t, biases_refused, 0, BIASED);
	tcase_add_loop_test(t, clients_that_go, 0, 2 * STREAMS);
	suite_add_tcase(s, t);
	t = tcase_create("embeddings");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, embedding_of_a_text);
	tcase_add_test(t, embeddings_of_many);
	tcase_add_test(t, ollama_embeds);
	tcase_add_loop_test(t, embeddings_refused_by_name, 0,
	        (int)(sizeof embeddings_refused / sizeof *embeddings_refused));
	tcase_add_test(t, too_many_embeddings);
	tcase_add_loop_test(t, embeddings_that_fail, 0, 2);
	tcase_add_test(t, embeddings_nobody_waits_for);
	tcase_add_test(t, embeddings_are_counted);
	suite_add_tcase(s, t);
	t = tcase_create("models");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, models_say_their_state, 0, 3);
	tcase_add_loop_test(t, loading, 0, STREAMS);
	tcase_add_loop_test(t, without_vocabulary, 0, STREAMS);
	suite_add_tcase(s, t);
	t = tcase_create("infill");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, infill, 0, (int)(sizeof infills / sizeof *infills));
	tcase_add_loop_test(t, no_infill, 0, (int)(sizeof no_infills / sizeof *no_infills));
	suite_add_tcase(s, t);
	t = tcase_create("cluster");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, cluster_once);
	tcase_add_test(t, cluster_live);
	tcase_add_loop_test(t, cluster_refused, 0, 2);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
