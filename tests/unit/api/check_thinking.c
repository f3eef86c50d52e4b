/* Models that think: what the template is told, what is taken apart as reasoning, and how each dialect says it. */
#include "tests/unit/api/exchange.h"

#define SAYS \
	"{% for m in messages %}{{ m.role }}:{% if m.reasoning_content %}({{ m.reasoning_content }}){% endif %}" \
	"{% if m.thinking %}[{{ m.thinking }}]{% endif %}{{ m.content }};{% endfor %}{# tools <tool_call> #}"
/* with a switch; that always begins to think; gpt-oss */
#define QWEN \
	SAYS "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
#define R1 SAYS "{{ '<think>\\n' }}"
#define PLAIN SAYS
#define OSS SAYS "{{ reasoning_effort }}{# <|channel|> <|message|> #}"
#define MISTRAL SAYS "{# [THINK] #}"

#define MAGISTRAL \
	"{% for m in messages %}{% if m.content is string %}{{ m.content }}{% else %}{% for b in m.content %}" \
	"{% if b.type == 'thinking' %}[THINK]{{ b.thinking }}[/THINK]{% else %}{{ b.text }}{% endif %}{% endfor %}" \
	"{% endif %};{% endfor %}"

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"

static void teardown(void) {
	fake_done(&x);
	fake_end();
}

/* ---- what the template is told ------------------------------------------------------------------- */

static const struct {
	const char *model, *path, *body, *prompt;
} prompts[] = {
        {QWEN, "/v1/chat/completions", HI, "user:hi;"},
        {QWEN, "/v1/chat/completions", HI ",\"reasoning_effort\":\"none\"",
                "user:hi;<think>\n\n</think>\n\n"},
        {QWEN, "/v1/chat/completions", HI ",\"reasoning_effort\":\"high\"", "user:hi;"},
        {QWEN, "/v1/chat/completions",
                HI ",\"reasoning_effort\":\"minimal\",\"chat_template_kwargs\":{\"enable_thinking\":true}",
                "user:hi;"},
        {QWEN, "/v1/chat/completions", HI ",\"chat_template_kwargs\":{\"enable_thinking\":false}",
                "user:hi;<think>\n\n</think>\n\n"},
        {QWEN, "/api/chat", "\"model\":\"m\",\"think\":false," HI, "user:hi;<think>\n\n</think>\n\n"},
        {QWEN, "/api/generate", "\"model\":\"m\",\"think\":false,\"prompt\":\"hi\"",
                "user:hi;<think>\n\n</think>\n\n"},
        {QWEN, "/api/chat", "\"model\":\"m\",\"think\":\"low\"," HI, "user:hi;"},
        {QWEN, "/v1/messages", "\"max_tokens\":9,\"thinking\":{\"type\":\"disabled\"}," HI,
                "user:hi;<think>\n\n</think>\n\n"},
        {QWEN, "/v1/messages", "\"max_tokens\":9,\"thinking\":{\"type\":\"adaptive\"}," HI, "user:hi;"},
        {QWEN, "/v1/responses", "\"input\":\"hi\",\"reasoning\":{\"effort\":\"minimal\"}",
                "user:hi;<think>\n\n</think>\n\n"},
        /* a template without a switch: the prompt ends the reasoning */
        {R1, "/v1/chat/completions", HI ",\"reasoning_effort\":\"none\"",
                "user:hi;<think>\n\n\n</think>\n\n"},
        {R1, "/v1/chat/completions", HI ",\"reasoning_effort\":\"low\"", "user:hi;<think>\n"},
        {SAYS "{{ '</think>' if 0 }}", "/api/chat", "\"model\":\"m\",\"think\":false," HI,
                "user:hi;<think>\n\n</think>\n\n"},
        /* with one that only says so in its system prompt */
        {"{% if thinking %}Think.{% endif %}" SAYS "{# <think> #}", "/api/chat",
                "\"model\":\"m\",\"think\":false," HI, "user:hi;"},
        {"{% if thinking %}Think.{% endif %}" SAYS "{# <think> #}", "/api/chat",
                "\"model\":\"m\",\"think\":true," HI, "Think.user:hi;"},
        {MISTRAL, "/api/chat", "\"model\":\"m\",\"think\":false," HI, "user:hi;[THINK]\n\n[/THINK]\n\n"},
        /* gpt-oss thinks less */
        {OSS, "/v1/chat/completions", HI ",\"reasoning_effort\":\"none\"", "user:hi;low"},
        {OSS, "/v1/chat/completions", HI ",\"reasoning_effort\":\"medium\"", "user:hi;medium"},
        {OSS, "/v1/chat/completions", HI ",\"reasoning_effort\":\"xhigh\"", "user:hi;high"},
        {OSS, "/api/chat", "\"model\":\"m\",\"think\":\"high\"," HI, "user:hi;high"},
        {OSS, "/v1/responses", "\"input\":\"hi\",\"reasoning\":{\"effort\":\"low\"}", "user:hi;low"},
        /* models that do not think anyway */
        {PLAIN, "/v1/chat/completions", HI ",\"reasoning_effort\":\"none\"", "user:hi;"},
        {PLAIN, "/api/chat", "\"model\":\"m\",\"think\":false," HI, "user:hi;"},
        {PLAIN, "/v1/messages",
                "\"max_tokens\":9,\"thinking\":{\"type\":\"enabled\",\"budget_tokens\":1024}," HI,
                "user:hi;"},
        {PLAIN, "/v1/responses", "\"input\":\"hi\",\"reasoning\":null", "user:hi;"},
        /* an answer that is continued is not thought about */
        {R1, "/v1/messages",
                "\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\","
                "\"content\":\"So\"}]",
                "user:hi;<think>\n\n\n</think>\n\nSo"},
        {OSS, "/v1/messages",
                "\"max_tokens\":9,\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},{\"role\":\"assistant\","
                "\"content\":\"So\"}]",
                "user:hi;<|channel|>final<|message|>So"},
        /* reasoning that comes back, under each of its names */
        {QWEN, "/v1/chat/completions",
                "\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_content\":\"r\"},{\"role\":\"user\","
                "\"content\":\"hi\",\"reasoning\":\"x\"}]",
                "assistant:(r)[r]a;user:hi;"},
        {QWEN, "/v1/chat/completions",
                "\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"reasoning\":\"r\"}]",
                "assistant:(r)[r]a;"},
        {QWEN, "/v1/chat/completions",
                "\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"reasoning\":null,\"reasoning_content\":\"\"}]",
                "assistant:a;"},
        {QWEN, "/api/chat",
                "\"model\":\"m\",\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"thinking\":\"r\"}]",
                "assistant:(r)[r]a;"},
        {QWEN, "/v1/messages",
                "\"max_tokens\":9,\"messages\":[{\"role\":\"assistant\",\"content\":[{\"type\":\"thinking\",\"thinking\":"
                "\"r\",\"signature\":\"\"},{\"type\":\"text\",\"text\":\"a\"}]},{\"role\":\"user\",\"content\":\"hi\"}]",
                "assistant:(r)[r]a;user:hi;"},
        {QWEN, "/v1/responses",
                "\"input\":[{\"type\":\"reasoning\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\",\"text\":\"r\"}]},"
                "{\"role\":\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"hi\"}]",
                "assistant:(r)[r]a;user:hi;"},
        {QWEN, "/v1/responses",
                "\"input\":[{\"type\":\"reasoning\",\"summary\":[],\"content\":[{\"type\":\"reasoning_text\",\"text\":\"r\"}]},"
                "{\"type\":\"function_call\",\"call_id\":\"1\",\"name\":\"f\",\"arguments\":\"{}\"},{\"type\":"
                "\"function_call_output\",\"call_id\":\"1\",\"output\":\"yes\"}]",
                "assistant:(r)[r];tool:yes;"},
        /* in the content, as Mistral has it */
        {MAGISTRAL, "/v1/chat/completions",
                "\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"reasoning\":\"r\"},{\"role\":\"user\","
                "\"content\":\"hi\"}]",
                "[THINK]r[/THINK]a;hi;"},
        {MAGISTRAL, "/v1/chat/completions",
                "\"messages\":[{\"role\":\"assistant\",\"content\":\"\",\"reasoning\":\"r\"},{\"role\":\"user\","
                "\"content\":\"hi\"}]",
                "[THINK]r[/THINK];hi;"},
        /* gpt-oss refuses calls with both */
        {QWEN, "/v1/chat/completions",
                "\"messages\":[{\"role\":\"assistant\",\"content\":\"a\",\"reasoning\":\"r\",\"tool_calls\":[{\"function\":{"
                "\"name\":\"f\",\"arguments\":\"{}\"}}]}]",
                "assistant:(r)a;"},
};

START_TEST(prompt) {
	char body[1000];
	fake_begin(prompts[_i].model);
	snprintf(body, sizeof body, "{%s}", prompts[_i].body);
	ask(prompts[_i].path, body);
	ck_assert_msg(!x.ended, "%s", x.out);
	ck_assert_str_eq(fake.text, prompts[_i].prompt);
	/* the marks are the template's, also those that were added: text of the client that follows is not */
	const char *end = strstr(prompts[_i].prompt, "</think>");
	if (end) {
		size_t at = (size_t)(end - prompts[_i].prompt);
		bool within = false;
		for (size_t i = 0; i < fake.p.nspans; i++)
			within = within || (fake.spans[i].begin <= at && at + 8 <= fake.spans[i].end);
		ck_assert(within);
	}
}
END_TEST

static const struct {
	const char *model, *path, *body, *words;
} refused[] = {
        {PLAIN, "/api/chat", "\"model\":\"m\",\"think\":true," HI, "does not support thinking"},
        {PLAIN, "/api/chat", "\"model\":\"m\",\"think\":\"high\"," HI, "does not support thinking"},
        {QWEN, "/api/chat", "\"model\":\"m\",\"think\":\"much\"," HI, "true, false, low, medium or high"},
        {QWEN, "/api/chat", "\"model\":\"m\",\"think\":1," HI, "true, false, low, medium or high"},
        {PLAIN, "/v1/chat/completions", HI ",\"reasoning_effort\":\"low\"", "reasoning_effort: "},
        {QWEN, "/v1/chat/completions", HI ",\"reasoning_effort\":\"much\"", "none, minimal, low"},
        {PLAIN, "/v1/responses", "\"input\":\"hi\",\"reasoning\":{\"effort\":\"high\"}",
                "reasoning.effort: "},
        {QWEN, "/v1/responses", "\"input\":\"hi\",\"reasoning\":{\"effort\":1}",
                "reasoning.effort must be a string"},
        {QWEN, "/v1/messages", "\"max_tokens\":9,\"thinking\":{\"type\":\"much\"}," HI,
                "enabled, disabled or adaptive"},
};

START_TEST(refusal) {
	char body[1000];
	fake_begin(refused[_i].model);
	snprintf(body, sizeof body, "{%s}", refused[_i].body);
	ask(refused[_i].path, body);
	ck_assert(x.ended && x.status == 400 && fake.started == 0);
	ck_assert_msg(strstr(x.out, refused[_i].words), "%s", x.out);
}
END_TEST

/* ---- what the model says ------------------------------------------------------------------------- */

/* Where reasoning is looked for: the content of what the model says. */
static const struct {
	const char *model, *body, *says, *content, *reasoning;
} split[] = {
        {QWEN, HI, "<think>\na\n</think>\n\nb", "b", "a"},
        {QWEN, HI ",\"reasoning_effort\":\"none\"", "<think>a</think>b", "<think>a</think>b", NULL},
        {QWEN, HI ",\"reasoning_format\":\"none\"", "<think>a</think>b", "<think>a</think>b", NULL},
        {R1, HI, "a</think>b", "b", "a"},
        {R1, HI ",\"reasoning_effort\":\"none\"", "a</think>b", "a</think>b", NULL},
        {MISTRAL, HI, "[THINK]a[/THINK]b", "b", "a"},
        {PLAIN, HI, "<think>a</think>b", "<think>a</think>b", NULL},
        /* a prompt that a user ends like a template does not begin the reasoning */
        {"{{ messages[0].content }}{# <think> #}",
                "\"messages\":[{\"role\":\"user\",\"content\":\"<think>\"}]", "a</think>b", "a</think>b",
                NULL},
        {OSS, HI, "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>b", "b",
                "a"},
};

START_TEST(content) {
	char body[1000];
	fake_begin(split[_i].model);
	snprintf(body, sizeof body, "{%s}", split[_i].body);
	ask("/v1/chat/completions", body);
	fake_text(split[_i].says);
	fake_finish(CARAVAN__REASON__END);
	json_t *o = json_loads(x.out, 0, NULL);
	const json_t *m = json_object_get(json_array_get(json_object_get(o, "choices"), 0), "message"),
	             *reasoning = json_object_get(m, "reasoning_content");
	ck_assert_str_eq(json_string_value(json_object_get(m, "content")), split[_i].content);
	ck_assert(!reasoning == !split[_i].reasoning);
	ck_assert(!reasoning || json_equal(reasoning, json_object_get(m, "reasoning")));
	if (reasoning)
		ck_assert_str_eq(json_string_value(reasoning), split[_i].reasoning);
	json_decref(o);
}
END_TEST

/* JSON comes behind the reasoning. */
static const struct {
	const char *model, *body, *reasoning;
	bool open;
} jsons[] = {
        {QWEN, HI ",\"response_format\":{\"type\":\"json_object\"}", "think", false},
        {QWEN, HI ",\"json_schema\":{\"const\":1}", "think", false},
        {QWEN, HI ",\"reasoning_effort\":\"none\",\"json_schema\":{\"const\":1}", NULL, false},
        {QWEN, HI ",\"grammar\":\"root ::= [a]\"", NULL, false},
        {QWEN, HI, NULL, false},
        {R1, HI ",\"json_schema\":{\"const\":1}", "think", true},
        {R1, HI ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"tool_choice\":\"required\"",
                "think", true},
        {R1, HI ",\"reasoning_effort\":\"none\",\"json_schema\":{\"const\":1}", NULL, false},
        {OSS, HI ",\"json_schema\":{\"const\":1}", "harmony", false},
        {MISTRAL, HI ",\"json_schema\":{\"const\":1}", "mistral", false},
        {PLAIN, HI ",\"json_schema\":{\"const\":1}", NULL, false},
};

START_TEST(json_behind_reasoning) {
	char body[1000];
	fake_begin(jsons[_i].model);
	snprintf(body, sizeof body, "{%s}", jsons[_i].body);
	ask("/v1/chat/completions", body);
	ck_assert_msg(!x.ended, "%s", x.out);
	ck_assert(!fake.p.reasoning == !jsons[_i].reasoning && fake.p.reasoning_open == jsons[_i].open);
	if (fake.p.reasoning)
		ck_assert_str_eq(fake.p.reasoning, jsons[_i].reasoning);
}
END_TEST

#define SAID "<think>a</think>b"
#define FINGERPRINT "\"system_fingerprint\":\"fp_0123456789abcdef\""
#define CHUNK(delta, finish) \
	"{\"id\":\"\",\"object\":\"chat.completion.chunk\",\"created\":\"\",\"model\":\"m\"," FINGERPRINT \
	",\"choices\":[{\"index\":0,\"delta\":" delta ",\"finish_reason\":" finish "}]}"

static void say(const char *path, const char *body, const char *text) {
	fake_begin(QWEN);
	ask(path, body);
	if (fake.ev.prompt)
		fake.ev.prompt(fake.ev.arg, 0, 20);
	fake_text(text);
	fake_finish(CARAVAN__REASON__END);
}

START_TEST(openai_stream) {
	say("/v1/chat/completions", "{\"stream\":true," HI "}", SAID);
	ck_assert(fake.p.names);
	expect(0, "", CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null"));
	expect(1, "", CHUNK("{\"reasoning_content\":\"a\",\"reasoning\":\"a\"}", "null"));
	expect(2, "", CHUNK("{\"content\":\"b\"}", "null"));
	expect(3, "", CHUNK("{}", "\"stop\""));
}
END_TEST

START_TEST(ollama_stream) {
	say("/api/chat", "{\"model\":\"m\"," HI "}", SAID);
	expect(0, "",
	        "{\"model\":\"m\",\"created_at\":\"\",\"message\":{\"role\":\"assistant\",\"content\":\"\",\"thinking\":\"a\"},"
	        "\"done\":false}");
	expect(1, "",
	        "{\"model\":\"m\",\"created_at\":\"\",\"message\":{\"role\":\"assistant\",\"content\":\"b\"},\"done\":false}");
	fake_done(&x);
	fake_end();
	say("/api/generate", "{\"model\":\"m\",\"prompt\":\"hi\"}", SAID);
	expect(0, "",
	        "{\"model\":\"m\",\"created_at\":\"\",\"response\":\"\",\"thinking\":\"a\",\"done\":false}");
	expect(1, "", "{\"model\":\"m\",\"created_at\":\"\",\"response\":\"b\",\"done\":false}");
}
END_TEST

START_TEST(ollama_whole) {
	say("/api/chat", "{\"model\":\"m\",\"stream\":false," HI "}", SAID);
	json_t *o = json_loads(x.out, 0, NULL),
	       *want = json_loads("{\"role\":\"assistant\",\"content\":\"b\",\"thinking\":\"a\"}", 0, NULL);
	ck_assert_msg(json_equal(json_object_get(o, "message"), want), "%s", x.out);
	json_decref(o);
	json_decref(want);
	fake_done(&x);
	fake_end();
	say("/api/generate", "{\"model\":\"m\",\"stream\":false,\"prompt\":\"hi\"}", SAID);
	o = json_loads(x.out, 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(o, "thinking")), "a");
	ck_assert_str_eq(json_string_value(json_object_get(o, "response")), "b");
	json_decref(o);
}
END_TEST

START_TEST(anthropic_stream) {
	say("/v1/messages", "{\"stream\":true,\"max_tokens\":9," HI "}", _i ? "<think>a" : SAID);
	expect(2, "content_block_start",
	        "{\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\","
	        "\"signature\":\"\"}}");
	expect(3, "content_block_delta",
	        "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"a\"}}");
	expect(4, "content_block_delta",
	        "{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"signature_delta\",\"signature\":\"\"}}");
	expect(5, "content_block_stop", "{\"type\":\"content_block_stop\",\"index\":0}");
	expect(6, "content_block_start",
	        "{\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}");
	if (!_i)
		expect(7, "content_block_delta",
		        "{\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"text_delta\",\"text\":\"b\"}}");
	expect(_i ? 7 : 8, "content_block_stop", "{\"type\":\"content_block_stop\",\"index\":1}");
}
END_TEST

START_TEST(anthropic_whole) {
	say("/v1/messages", "{\"max_tokens\":9," HI "}", SAID);
	json_t *o = json_loads(x.out, 0, NULL),
	       *want = json_loads(
	               "[{\"type\":\"thinking\",\"thinking\":\"a\",\"signature\":\"\"},{\"type\":\"text\",\"text\":"
	               "\"b\"}]",
	               0, NULL);
	ck_assert_msg(json_equal(json_object_get(o, "content"), want), "%s", x.out);
	json_decref(o);
	json_decref(want);
}
END_TEST

#define REASONING(status, content) \
	"{\"type\":\"reasoning\",\"id\":\"\",\"status\":\"" status "\",\"summary\":[],\"content\":[" content \
	"]}"
#define THOUGHT(text) "{\"type\":\"reasoning_text\",\"text\":\"" text "\"}"
#define MESSAGE(status, content) \
	"{\"type\":\"message\",\"id\":\"\",\"status\":\"" status \
	"\",\"role\":\"assistant\",\"content\":[" content "]}"
#define PART(text) "{\"type\":\"output_text\",\"text\":\"" text "\",\"annotations\":[],\"logprobs\":[]}"
#define AT(n) "\"item_id\":\"\",\"output_index\":" #n ",\"content_index\":0,"
#define CALL "<tool_call>{\"name\":\"f\",\"arguments\":{}}</tool_call>"

START_TEST(responses_stream) {
	say("/v1/responses", "{\"stream\":true,\"input\":\"hi\"}", SAID);
	static const struct {
		const char *event, *rest; /* without type and sequence_number */
	} want[] = {
	        {"response.output_item.added", "\"output_index\":0,\"item\":" REASONING("in_progress", "")},
	        {"response.content_part.added", AT(0) "\"part\":" THOUGHT("")},
	        {"response.reasoning_text.delta", AT(0) "\"delta\":\"a\""},
	        {"response.reasoning_text.done", AT(0) "\"text\":\"a\""},
	        {"response.content_part.done", AT(0) "\"part\":" THOUGHT("a")},
	        {"response.output_item.done",
	                "\"output_index\":0,\"item\":" REASONING("completed", THOUGHT("a"))},
	        {"response.output_item.added", "\"output_index\":1,\"item\":" MESSAGE("in_progress", "")},
	        {"response.content_part.added", AT(1) "\"part\":" PART("")},
	        {"response.output_text.delta", AT(1) "\"delta\":\"b\",\"logprobs\":[]"},
	        {"response.output_text.done", AT(1) "\"text\":\"b\",\"logprobs\":[]"},
	        {"response.content_part.done", AT(1) "\"part\":" PART("b")},
	        {"response.output_item.done",
	                "\"output_index\":1,\"item\":" MESSAGE("completed", PART("b"))}};
	for (unsigned i = 0; i < sizeof want / sizeof *want; i++) {
		char all[2000];
		snprintf(all, sizeof all, "{\"type\":\"%s\",\"sequence_number\":%u,%s}", want[i].event, i + 2,
		        want[i].rest);
		expect(i + 2, want[i].event, all);
	}
	char event[64];
	json_t *last = piece(sizeof want / sizeof *want + 2, event), *r = json_object_get(last, "response"),
	       *output = json_loads(
	               "[" REASONING("completed", THOUGHT("a")) "," MESSAGE("completed", PART("b")) "]", 0,
	               NULL);
	ck_assert_str_eq(event, "response.completed");
	ck_assert(json_equal(json_object_get(r, "output"), output));
	/* how many tokens it has is not known */
	ck_assert_ptr_null(json_object_get(
	        json_object_get(json_object_get(r, "usage"), "output_tokens_details"), "reasoning_tokens"));
	json_decref(last);
	json_decref(output);
}
END_TEST

/* Reasoning, then a call without a message; or nothing but reasoning. */
START_TEST(responses_without_message) {
	static const char *const says[] = {"<think>a</think>" CALL, "<think>a"};
	for (unsigned i = 0; i < 4; i++) {
		say("/v1/responses",
		        i % 2 ? "{\"stream\":true,\"input\":\"hi\",\"tool_choice\":\"auto\",\"tools\":[{\"type\":\"function\","
		                "\"name\":\"f\"}]}"
		              : "{\"input\":\"hi\",\"tools\":[{\"type\":\"function\",\"name\":\"f\"}]}",
		        says[i / 2]);
		ck_assert_ptr_nonnull(strstr(x.out, "\"type\":\"reasoning\""));
		ck_assert((strstr(x.out, "\"type\":\"function_call\"") != NULL) == (i < 2));
		ck_assert_ptr_null(strstr(x.out, "\"type\":\"message\""));
		fake_done(&x);
		fake_end();
	}
	fake_begin(QWEN);
}
END_TEST

/* A response says what was asked for. */
START_TEST(responses_choice) {
	static const char *const asked[] = {
	        "\"none\"", "\"required\"", "{\"type\":\"function\",\"name\":\"f\"}"};
	for (unsigned i = 0; i < 3; i++) {
		char body[300];
		snprintf(body, sizeof body,
		        "{\"input\":\"hi\",\"tools\":[{\"type\":\"function\",\"name\":\"f\"}],\"tool_choice\":%s}",
		        asked[i]);
		say("/v1/responses", body, CALL);
		json_t *o = json_loads(x.out, 0, NULL), *want = json_loads(asked[i], JSON_DECODE_ANY, NULL);
		ck_assert_msg(json_equal(json_object_get(o, "tool_choice"), want), "%s", x.out);
		json_decref(o);
		json_decref(want);
		fake_done(&x);
		fake_end();
	}
	fake_begin(QWEN);
}
END_TEST

/* Several messages of gpt-oss: a whole answer has the items of a streamed one, in their order. */
START_TEST(several_messages) {
	static const char says[] =
	        "<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>commentary<|message|>b<|end|>"
	        "<|start|>assistant<|channel|>analysis<|message|>c<|end|><|start|>assistant<|channel|>final<|message|>d";
	fake_begin(OSS);
	ask("/v1/messages", "{\"max_tokens\":9," HI "}");
	fake_text(says);
	fake_finish(CARAVAN__REASON__END);
	json_t *o = json_loads(x.out, 0, NULL),
	       *want = json_loads(
	               "[{\"type\":\"thinking\",\"thinking\":\"a\",\"signature\":\"\"},{\"type\":\"text\",\"text\":"
	               "\"b\"},{\"type\":\"thinking\",\"thinking\":\"\\n\\nc\",\"signature\":\"\"},{\"type\":\"text\","
	               "\"text\":\"\\n\\nd\"}]",
	               0, NULL);
	ck_assert_msg(json_equal(json_object_get(o, "content"), want), "%s", x.out);
	json_decref(o);
	json_decref(want);
	fake_done(&x);
	fake_end();
	fake_begin(OSS);
	ask("/v1/responses", "{\"input\":\"hi\"}");
	fake_text(says);
	fake_finish(CARAVAN__REASON__END);
	o = without(json_loads(x.out, 0, NULL));
	want = json_loads(
	        "[" REASONING("completed", THOUGHT("a")) "," MESSAGE("completed", PART("b")) "," REASONING(
	                "completed", THOUGHT("\\n\\nc")) "," MESSAGE("completed", PART("\\n\\nd")) "]",
	        0, NULL);
	ck_assert_msg(want && json_equal(json_object_get(o, "output"), want), "%s", x.out);
	json_decref(o);
	json_decref(want);
}
END_TEST

/* Several choices are taken apart each for itself. */
START_TEST(choices) {
	fake_begin(QWEN);
	ask("/v1/chat/completions", "{\"n\":2," HI "}");
	fake.ev.text(fake.ev.arg, 0, "<think>a", 8);
	fake.ev.text(fake.ev.arg, 1, "<think>c", 8);
	fake.ev.text(fake.ev.arg, 0, "</think>b", 9);
	fake.ev.text(fake.ev.arg, 1, "</think>d", 9);
	for (unsigned i = 0; i < 2; i++)
		fake.ev.end(fake.ev.arg, i, &(struct completion_end){.reason = CARAVAN__REASON__END});
	const char *first = strstr(x.out, "\"reasoning_content\":\"a\""),
	           *second = strstr(x.out, "\"reasoning_content\":\"c\"");
	ck_assert_msg(first && second && first < second, "%s", x.out);
	ck_assert(strstr(x.out, "\"content\":\"b\"") && strstr(x.out, "\"content\":\"d\""));
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("thinking");
	TCase *t = tcase_create("thinking");
	tcase_add_checked_fixture(t, NULL, teardown);
	tcase_add_loop_test(t, prompt, 0, (int)(sizeof prompts / sizeof *prompts));
	tcase_add_loop_test(t, refusal, 0, (int)(sizeof refused / sizeof *refused));
	tcase_add_loop_test(t, content, 0, (int)(sizeof split / sizeof *split));
	tcase_add_loop_test(t, json_behind_reasoning, 0, (int)(sizeof jsons / sizeof *jsons));
	tcase_add_test(t, openai_stream);
	tcase_add_test(t, ollama_stream);
	tcase_add_test(t, ollama_whole);
	tcase_add_loop_test(t, anthropic_stream, 0, 2);
	tcase_add_test(t, anthropic_whole);
	tcase_add_test(t, responses_stream);
	tcase_add_test(t, responses_without_message);
	tcase_add_test(t, responses_choice);
	tcase_add_test(t, several_messages);
	tcase_add_test(t, choices);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
