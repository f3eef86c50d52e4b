/* Log-probabilities in each dialect: their form, streamed and whole; that they come with their text; what is refused. */
#include "tests/unit/api/exchange.h"

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define TOOLS "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]"
#define CALL "<tool_call>{\"name\":\"f\",\"arguments\":{\"a\": 1}}</tool_call>"

/* It takes tools, in the format of Hermes. */
#define TEMPLATE \
	"{% for t in tools %}<tool_call>{% endfor %}{% for m in messages %}{{ m.role }}:{{ m.content }};{% endfor %}"

static void setup(void) {
	fake_begin(TEMPLATE);
}

static void teardown(void) {
	fake_done(&x);
	fake_end();
}

/* A token of choice 0; the most likely ones are itself and, if more are wanted, a part of a character and a control token. */
static void token_of(struct token_logprob token, size_t offset, uint32_t ntop) {
	struct token_logprob top[3] = {token, {.id = 9, .logprob = -1.25f, .text = "a\xE2\x80", .len = 3},
	        {.id = 2, .logprob = -9999, .text = "</s>", .len = 4, .hidden = true}};
	ck_assert(fake.p.logprobs && fake.p.top_logprobs == ntop);
	fake.ev.token(fake.ev.arg, 0,
	        &(struct token_logprobs){.token = token, .offset = offset, .top = top, .ntop = ntop});
}

static void token(const char *text, size_t offset, uint32_t ntop) {
	token_of((struct token_logprob){.id = 7, .logprob = -0.5f, .text = text, .len = strlen(text)}, offset,
	        ntop);
}

/* Two pieces of text, of one token and of two, and a control token at the end. */
static void say(uint32_t ntop) {
	token("Hi", 0, ntop);
	fake_text("Hi");
	token(" y", 2, ntop);
	token("!", 4, ntop);
	fake_text(" y!");
	token_of((struct token_logprob){.id = 2, .logprob = -0.25f, .text = "</s>", .len = 4, .hidden = true},
	        5, ntop);
	fake_finish(CARAVAN__REASON__LIMIT);
}

#define TOKEN(text, bytes) "\"token\":\"" text "\",\"logprob\":-0.5,\"bytes\":" bytes
#define TOKEN_HI TOKEN("Hi", "[72,105]")
#define TOKEN_Y TOKEN(" y", "[32,121]")
#define TOKEN_MARK TOKEN("!", "[33]")
#define PART "\"token\":\"a\\\\xe2\\\\x80\",\"logprob\":-1.25,\"bytes\":[97,226,128]"
#define NAMED(logprob, bytes) "\"token\":\"</s>\",\"logprob\":" logprob ",\"bytes\":" bytes
#define END NAMED("-0.25", "null")

/* ---- OpenAI's chat ------------------------------------------------------------------------------- */

#define TOP(text) "{" text ",\"top_logprobs\":[{" text "},{" PART "},{" NAMED("-9999.0", "null") "}]}"
#define CHUNK(delta, logprobs, finish) \
	"{\"id\":\"\",\"object\":\"chat.completion.chunk\",\"created\":\"\",\"model\":\"m\",\"system_fingerprint\":" \
	"\"fp_0123456789abcdef\",\"choices\":[{\"index\":0,\"delta\":" delta ",\"logprobs\":" logprobs \
	",\"finish_reason\":" finish "}]}"
#define CONTENT(list) "{\"content\":[" list "],\"refusal\":null}"

START_TEST(chat_streamed) {
	ask("/v1/chat/completions", "{\"stream\":true,\"logprobs\":true,\"top_logprobs\":3," HI "}");
	say(3);
	expect(0, "", CHUNK("{\"role\":\"assistant\",\"content\":\"\"}", "null", "null"));
	expect(1, "", CHUNK("{\"content\":\"Hi\"}", CONTENT(TOP(TOKEN_HI)), "null"));
	expect(2, "", CHUNK("{\"content\":\" y!\"}", CONTENT(TOP(TOKEN_Y) "," TOP(TOKEN_MARK)), "null"));
	expect(3, "", CHUNK("{}", CONTENT(TOP(END)), "\"length\""));
}
END_TEST

START_TEST(chat_whole) {
	ask("/v1/chat/completions",
	        _i ? "{\"logprobs\":true," HI "}" : "{\"logprobs\":true,\"top_logprobs\":3," HI "}");
	say(_i ? 0 : 3);
#define WHOLE(list) \
	"{\"id\":\"\",\"object\":\"chat.completion\",\"created\":\"\",\"model\":\"m\",\"system_fingerprint\":" \
	"\"fp_0123456789abcdef\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"Hi y!\"}," \
	"\"logprobs\":" CONTENT( \
	        list) ",\"finish_reason\":\"length\"}],\"usage\":{\"prompt_tokens\":20," \
	              "\"completion_tokens\":7,\"total_tokens\":27,\"prompt_tokens_details\":{\"cached_tokens\":5}}}"
#define ALONE(text) "{" text ",\"top_logprobs\":[]}"
	expect_whole(200, _i ? WHOLE(ALONE(TOKEN_HI) "," ALONE(TOKEN_Y) "," ALONE(TOKEN_MARK) "," ALONE(END))
	                     : WHOLE(TOP(TOKEN_HI) "," TOP(TOKEN_Y) "," TOP(TOKEN_MARK) "," TOP(END)));
}
END_TEST

/* Tokens of a call leave with it. */
START_TEST(chat_calls) {
	ask("/v1/chat/completions", "{\"stream\":true,\"logprobs\":true," HI "," TOOLS "}");
	token("Hm", 0, 0);
	fake_text("Hm");
	token("<tool_call>", 2, 0);
	fake_text("<tool_call>");
	token(CALL, 2, 0);
	fake_text("{\"name\":\"f\",\"arguments\":{\"a\": 1}}</tool_call>");
	fake_finish(CARAVAN__REASON__END);
	char event[64];
	json_t *o = piece(2, event);
	const json_t *choice = json_array_get(json_object_get(o, "choices"), 0),
	             *list = json_object_get(json_object_get(choice, "logprobs"), "content");
	ck_assert_ptr_nonnull(json_object_get(json_object_get(choice, "delta"), "tool_calls"));
	ck_assert_uint_eq(json_array_size(list), 2);
	json_decref(o);
}
END_TEST

/* Each choice has its own. */
START_TEST(several_choices) {
	ask("/v1/chat/completions", "{\"logprobs\":true,\"n\":2," HI "}");
	for (unsigned i = 0; i < 2; i++) {
		const struct token_logprobs t = {
		        .token = {.id = i, .logprob = -1, .text = i ? "b" : "a", .len = 1}};
		fake.ev.token(fake.ev.arg, i, &t);
		fake.ev.text(fake.ev.arg, i, t.token.text, 1);
	}
	for (unsigned i = 0; i < 2; i++)
		fake.ev.end(fake.ev.arg, i, &(struct completion_end){.reason = CARAVAN__REASON__END});
	ck_assert_ptr_nonnull(strstr(x.out,
	        "\"content\":\"b\"},\"logprobs\":{\"content\":[{\"token\":\"b\",\"logprob\":-1.0,\"bytes\":[98],"));
	ck_assert_ptr_nonnull(strstr(x.out,
	        "\"content\":\"a\"},\"logprobs\":{\"content\":[{\"token\":\"a\",\"logprob\":-1.0,\"bytes\":[97],"));
}
END_TEST

/* ---- OpenAI's completions ------------------------------------------------------------------------ */

#define ARRAYS(tokens, values, tops, offsets) \
	"{\"tokens\":[" tokens "],\"token_logprobs\":[" values "],\"top_logprobs\":" tops \
	",\"text_offset\":[" offsets "]}"
#define TEXT_CHUNK(text, logprobs, finish) \
	"{\"id\":\"\",\"object\":\"text_completion\",\"created\":\"\",\"model\":\"m\",\"system_fingerprint\":" \
	"\"fp_0123456789abcdef\",\"choices\":[{\"index\":0,\"text\":\"" text "\",\"logprobs\":" logprobs \
	",\"finish_reason\":" finish "}]}"

/* Offsets count characters; a token that is no text has its bytes written out; of two with one text, the more likely counts. */
static void say_characters(void) {
	struct token_logprob half = {.id = 4, .logprob = -0.5f, .text = "\xC3", .len = 1};
	token("\u00E9", 0, 1);
	fake_text("\u00E9");
	token_of(half, 2, 1);
	half.text = "\xA8";
	token_of(half, 2, 1);
	token("x", 4, 1);
	fake_text("\u00E8x");
	const struct token_logprob top[] = {{.id = 5, .logprob = -0.125f, .text = "y", .len = 1},
	        {.id = 6, .logprob = -3, .text = "y", .len = 1}};
	fake.ev.token(fake.ev.arg, 0,
	        &(struct token_logprobs){.token = {.id = 7, .logprob = -4, .text = "z", .len = 1},
	                .offset = 5,
	                .top = top,
	                .ntop = 2});
	fake_text("z");
	fake_finish(CARAVAN__REASON__END);
}

#define BYTES_1 "\"bytes:\\\\xc3\""
#define BYTES_2 "\"bytes:\\\\xa8\""
#define TOPS_1 "{\"\u00E9\":-0.5}"
#define TOPS_2 "{" BYTES_1 ":-0.5},{" BYTES_2 ":-0.5},{\"x\":-0.5}"
#define TOPS_3 "{\"y\":-0.125,\"z\":-4.0}"

START_TEST(completion_streamed) {
	ask("/v1/completions", "{\"stream\":true,\"logprobs\":1,\"prompt\":\"hi\"}");
	say_characters();
	expect(0, "", TEXT_CHUNK("\u00E9", ARRAYS("\"\u00E9\"", "-0.5", "[" TOPS_1 "]", "0"), "null"));
	expect(1, "",
	        TEXT_CHUNK("\u00E8x",
	                ARRAYS(BYTES_1 "," BYTES_2 ",\"x\"", "-0.5,-0.5,-0.5", "[" TOPS_2 "]", "1,1,2"),
	                "null"));
	expect(2, "", TEXT_CHUNK("z", ARRAYS("\"z\"", "-4.0", "[" TOPS_3 "]", "3"), "null"));
	expect(3, "", TEXT_CHUNK("", "null", "\"stop\""));
}
END_TEST

START_TEST(completion_whole) {
	ask("/v1/completions", "{\"logprobs\":1,\"prompt\":\"hi\"}");
	say_characters();
	expect_whole(200,
	        "{\"id\":\"\",\"object\":\"text_completion\",\"created\":\"\",\"model\":\"m\",\"system_fingerprint\":"
	        "\"fp_0123456789abcdef\",\"choices\":[{\"index\":0,\"text\":\"\u00E9\u00E8xz\",\"logprobs\":" ARRAYS(
	                "\"\u00E9\"," BYTES_1 "," BYTES_2 ",\"x\",\"z\"", "-0.5,-0.5,-0.5,-0.5,-4.0",
	                "[" TOPS_1 "," TOPS_2 "," TOPS_3 "]",
	                "0,1,1,2,3") ",\"finish_reason\":\"stop\"}],\"usage\":{"
	                             "\"prompt_tokens\":20,\"completion_tokens\":7,\"total_tokens\":27,\"prompt_tokens_details\":{"
	                             "\"cached_tokens\":5}}}");
	/* 0: of the tokens themselves */
	fake_done(&x);
	ask("/v1/completions", "{\"logprobs\":0,\"prompt\":\"hi\"}");
	token("Hi", 0, 0);
	fake_text("Hi");
	fake_finish(CARAVAN__REASON__END);
	ck_assert_ptr_nonnull(strstr(x.out, ARRAYS("\"Hi\"", "-0.5", "null", "0")));
}
END_TEST

/* U+0000 is written out: a JSON key cannot have it. */
START_TEST(a_token_of_no_text) {
	ask("/v1/completions", "{\"logprobs\":1,\"prompt\":\"hi\"}");
	token_of((struct token_logprob){.id = 4, .logprob = -0.5f, .text = "\0", .len = 1}, 0, 1);
	fake_text("x");
	fake_finish(CARAVAN__REASON__END);
	ck_assert_ptr_nonnull(
	        strstr(x.out, ARRAYS("\"bytes:\\\\x00\"", "-0.5", "[{\"bytes:\\\\x00\":-0.5}]", "0")));
}
END_TEST

/* ---- OpenAI's responses -------------------------------------------------------------------------- */

#define INCLUDE "\"include\":[\"reasoning.encrypted_content\",\"message.output_text.logprobs\"]"

/* The log-probabilities of an event, or of the part in it. */
static void expect_logprobs(unsigned n, const char *event, const char *part, const char *want) {
	char seen[64];
	json_t *o = piece(n, seen), *list = json_loads(want, 0, NULL);
	const json_t *of = part ? json_object_get(o, part) : o;
	ck_assert_str_eq(seen, event);
	ck_assert_ptr_nonnull(list);
	ck_assert_msg(json_equal(json_object_get(of, "logprobs"), list), "%s: %s", event, x.out);
	json_decref(o);
	json_decref(list);
}

#define RESPONSE_ALL "[" TOP(TOKEN_HI) "," TOP(TOKEN_Y) "," TOP(TOKEN_MARK) "]"

START_TEST(responses_streamed) {
	ask("/v1/responses", "{\"stream\":true,\"input\":\"hi\",\"top_logprobs\":3," INCLUDE "}");
	say(3);
	expect_logprobs(3, "response.content_part.added", "part", "[]");
	expect_logprobs(4, "response.output_text.delta", NULL, "[" TOP(TOKEN_HI) "]");
	expect_logprobs(5, "response.output_text.delta", NULL, "[" TOP(TOKEN_Y) "," TOP(TOKEN_MARK) "]");
	expect_logprobs(6, "response.output_text.done", NULL, RESPONSE_ALL);
	expect_logprobs(7, "response.content_part.done", "part", RESPONSE_ALL);
}
END_TEST

static void expect_part_logprobs(json_t *response, const char *want) {
	json_t *list = json_loads(want, 0, NULL), *output = json_object_get(response, "output");
	const json_t *part = NULL, *item;
	size_t i;
	json_array_foreach(output, i, item) if (json_object_get(item, "content")) part =
	        json_array_get(json_object_get(item, "content"), 0);
	ck_assert_ptr_nonnull(list);
	ck_assert_msg(json_equal(json_object_get(part, "logprobs"), list), "%s", x.out);
	json_decref(list);
}

START_TEST(responses_whole) {
	json_t *o;
	ask("/v1/responses", "{\"input\":\"hi\",\"top_logprobs\":3," INCLUDE "}");
	say(3);
	o = json_loads(x.out, 0, NULL);
	expect_part_logprobs(o, RESPONSE_ALL);
	json_decref(o);
}
END_TEST

/* Those of a call are not the text's, streamed or not. */
START_TEST(responses_calls) {
	char event[64];
	ask("/v1/responses", _i ? "{\"stream\":true,\"input\":\"hi\"," INCLUDE
	                          ",\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":{}}]}"
	                        : "{\"input\":\"hi\"," INCLUDE
	                          ",\"tools\":[{\"type\":\"function\",\"name\":\"f\",\"parameters\":{}}]}");
	token("Hi", 0, 0);
	fake_text("Hi");
	token(CALL, 2, 0);
	fake_text(CALL);
	token("!", 2, 0);
	fake_text("!");
	token_of((struct token_logprob){.id = 2, .logprob = -0.25f, .text = "</s>", .len = 4, .hidden = true},
	        3, 0);
	fake_finish(CARAVAN__REASON__END);
	json_t *o = _i ? NULL : json_loads(x.out, 0, NULL);
	for (unsigned n = 0; _i && (!o || strcmp(event, "response.completed") != 0); n++) {
		json_decref(o);
		o = piece(n, event);
		ck_assert_ptr_nonnull(o);
	}
	/* the text behind the call is another message */
	expect_part_logprobs(_i ? json_object_get(o, "response") : o, "[" ALONE(TOKEN_MARK) "]");
	json_decref(o);
}
END_TEST

/* ---- llama.cpp ----------------------------------------------------------------------------------- */

#define ID(text) "{\"id\":\"\"," text "}"
#define LLAMA(text) \
	"{\"id\":\"\"," text ",\"top_logprobs\":[" ID(text) "," ID(PART) "," ID(NAMED("-9999.0", "[]")) "]}"

/* Of a piece's JSON, or of the whole. */
static void expect_field(json_t *o, const char *key, const char *want) {
	json_t *list = want ? json_loads(want, 0, NULL) : NULL;
	ck_assert(!want || list);
	ck_assert_msg(
	        want ? json_equal(json_object_get(o, key), list) : !json_object_get(o, key), "%s", x.out);
	json_decref(list);
	json_decref(o);
}

#define LLAMA_END LLAMA(NAMED("-0.25", "[]"))

START_TEST(llama_streamed) {
	char event[64];
	ask("/completion", "{\"stream\":true,\"n_probs\":3,\"prompt\":\"hi\"}");
	say(3);
	expect_field(piece(0, event), "completion_probabilities", "[" LLAMA(TOKEN_HI) "]");
	expect_field(
	        piece(1, event), "completion_probabilities", "[" LLAMA(TOKEN_Y) "," LLAMA(TOKEN_MARK) "]");
	expect_field(piece(2, event), "completion_probabilities", "[" LLAMA_END "]");
}
END_TEST

START_TEST(llama_whole) {
	ask("/completion", "{\"n_probs\":\"3\",\"prompt\":\"hi\"}");
	say(3);
	ck_assert_ptr_nonnull(strstr(x.out, "[{\"id\":7,\"token\":\"Hi\""));
	expect_field(without(json_loads(x.out, 0, NULL)), "completion_probabilities",
	        "[" LLAMA(TOKEN_HI) "," LLAMA(TOKEN_Y) "," LLAMA(TOKEN_MARK) "," LLAMA_END "]");
	fake_done(&x);
	ask("/completion", "{\"n_probs\":0,\"prompt\":\"hi\"}");
	ck_assert(!fake.p.logprobs);
	fake_text("Hi");
	fake_finish(CARAVAN__REASON__END);
	expect_field(json_loads(x.out, 0, NULL), "completion_probabilities", NULL);
}
END_TEST

/* ---- Ollama -------------------------------------------------------------------------------------- */

#define OLLAMA(text) \
	"{" text ",\"top_logprobs\":[{" text "},{" PART "},{\"token\":\"</s>\",\"logprob\":-9999.0}]}"

START_TEST(ollama) {
	char event[64];
	const char *path = _i ? "/api/chat" : "/api/generate", *asked = _i ? HI : "\"prompt\":\"hi\"";
	char body[300];
	snprintf(body, sizeof body, "{\"logprobs\":true,\"top_logprobs\":3,%s}", asked);
	ask(path, body);
	say(3);
	expect_field(piece(0, event), "logprobs", "[" OLLAMA(TOKEN_HI) "]");
	expect_field(piece(1, event), "logprobs", "[" OLLAMA(TOKEN_Y) "," OLLAMA(TOKEN_MARK) "]");
	fake_done(&x);
	snprintf(body, sizeof body, "{\"stream\":false,\"logprobs\":true,%s}", asked);
	ask(path, body);
	token("Hi", 0, 0);
	fake_text("Hi");
	fake_finish(CARAVAN__REASON__END);
	expect_field(json_loads(x.out, 0, NULL), "logprobs", "[{" TOKEN_HI "}]");
}
END_TEST

/* ---- what is asked for, and what is refused ------------------------------------------------------ */

START_TEST(not_asked_for) {
	static const char *const none[][2] = {{"/v1/chat/completions", "{" HI "}"},
	        {"/v1/chat/completions", "{\"logprobs\":false,\"top_logprobs\":0," HI "}"},
	        {"/v1/chat/completions", "{\"logprobs\":null,\"top_logprobs\":null," HI "}"},
	        {"/v1/completions", "{\"prompt\":\"hi\"}"},
	        {"/v1/completions", "{\"logprobs\":false,\"prompt\":\"hi\"}"},
	        {"/v1/responses", "{\"input\":\"hi\",\"include\":[\"something.else\"],\"top_logprobs\":0}"},
	        {"/completion", "{\"prompt\":\"hi\"}"},
	        {"/api/generate", "{\"stream\":false,\"prompt\":\"hi\",\"logprobs\":false}"}};
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		ask(none[i][0], none[i][1]);
		ck_assert_msg(!x.ended && !fake.p.logprobs, "%s", none[i][1]);
		fake_text("Hi");
		fake_finish(CARAVAN__REASON__END);
		ck_assert_ptr_null(strstr(x.out, "-0.5"));
		fake_done(&x);
	}
	x = (struct http_exchange){.ended = true};
}
END_TEST

static const struct {
	const char *path, *body, *why;
} refused[] = {
        {"/v1/chat/completions", "{\"logprobs\":5," HI "}", "logprobs must be true or false"},
        {"/v1/chat/completions", "{\"top_logprobs\":5," HI "}", "top_logprobs needs logprobs"},
        {"/v1/chat/completions", "{\"logprobs\":true,\"top_logprobs\":21," HI "}",
                "top_logprobs must be a whole number from 0 to 20"},
        {"/v1/chat/completions", "{\"logprobs\":true,\"top_logprobs\":-1," HI "}", "from 0 to 20"},
        {"/v1/chat/completions", "{\"logprobs\":true,\"top_logprobs\":1.5," HI "}", "from 0 to 20"},
        {"/v1/completions", "{\"logprobs\":true,\"prompt\":\"hi\"}",
                "logprobs must be a whole number from 0 to 20"},
        {"/v1/completions", "{\"logprobs\":21,\"prompt\":\"hi\"}", "from 0 to 20"},
        {"/v1/completions", "{\"logprobs\":-1,\"prompt\":\"hi\"}", "from 0 to 20"},
        {"/v1/responses", "{\"top_logprobs\":2,\"input\":\"hi\"}", "message.output_text.logprobs"},
        {"/v1/responses", "{\"top_logprobs\":21,\"input\":\"hi\"," INCLUDE "}", "from 0 to 20"},
        {"/completion", "{\"n_probs\":21,\"prompt\":\"hi\"}", "n_probs must be a whole number from 0 to 20"},
        {"/completion", "{\"n_probs\":2,\"post_sampling_probs\":true,\"prompt\":\"hi\"}",
                "post_sampling_probs is not supported"},
        {"/api/chat", "{\"logprobs\":true,\"top_logprobs\":21," HI "}", "from 0 to 20"},
        {"/api/generate", "{\"top_logprobs\":2,\"prompt\":\"hi\"}", "top_logprobs needs logprobs"},
};

START_TEST(refused_by_name) {
	ask(refused[_i].path, refused[_i].body);
	ck_assert(x.ended && x.status == 400);
	ck_assert_msg(strstr(x.out, refused[_i].why), "%s", x.out);
	ck_assert_uint_eq(fake.started, 0);
}
END_TEST

/* An answer that is kept to its end has a bound. */
START_TEST(bounded) {
	static const struct {
		const char *path, *body;
		uint32_t limit; /* 0: refused */
	} cases[] = {
	        {"/v1/chat/completions", "{\"logprobs\":true,\"top_logprobs\":20,%s" HI "}", 1560},
	        {"/v1/chat/completions", "{\"logprobs\":true,\"top_logprobs\":20,\"n\":2,%s" HI "}", 780},
	        {"/v1/chat/completions",
	                "{\"logprobs\":true,\"max_tokens\":1560,\"top_logprobs\":20,%s" HI "}", 1560},
	        {"/v1/chat/completions",
	                "{\"logprobs\":true,\"max_tokens\":1561,\"top_logprobs\":20,%s" HI "}", 0},
	        {"/v1/responses", "{\"top_logprobs\":20,\"input\":\"hi\",%s" INCLUDE "}", 1560},
	        {"/completion", "{\"n_probs\":20,%s\"prompt\":\"hi\"}", 1560},
	        {"/api/generate", "{\"logprobs\":true,\"top_logprobs\":20,%s\"prompt\":\"hi\"}", 1560},
	        {"/v1/completions", "{\"logprobs\":20,\"max_tokens\":2000,%s\"prompt\":\"hi\"}", 0},
	};
	bool responses = strcmp(cases[_i].path, "/v1/responses") == 0;
	char body[500];
	fake_model()->context = 100000;
	snprintf(body, sizeof body, cases[_i].body, "\"stream\":false,");
	ask(cases[_i].path, body);
	if (!cases[_i].limit) {
		ck_assert_msg(
		        x.status == 400 && strstr(x.out, "has at most 1560 tokens with these"), "%s", x.out);
	} else {
		ck_assert_uint_eq(fake.p.limit, cases[_i].limit);
		fake.ev.end(fake.ev.arg, 0, &(struct completion_end){.error = {.status = 500}});
	}
	fake_done(&x);
	/* a smaller context is bound enough; a stream keeps nothing, but that of a response */
	fake_model()->context = _i % 2 ? 100000 : 1500;
	snprintf(body, sizeof body, cases[_i].body, _i % 2 ? "\"stream\":true," : "\"stream\":false,");
	ask(cases[_i].path, body);
	ck_assert_msg(!x.ended, "%s", x.out);
	ck_assert(responses || fake.p.limit == 0 || fake.p.limit >= 1560);
	ck_assert(_i != 1 || fake.p.limit == 0);
	fake.ev.end(fake.ev.arg, 0, &(struct completion_end){.error = {.status = 500}});
}
END_TEST

/* So has a stream with tools: what may become a call is kept until it is one. */
START_TEST(bounded_with_tools) {
	fake_model()->context = 100000;
	ask(_i ? "/api/chat" : "/v1/chat/completions",
	        "{\"stream\":true,\"logprobs\":true,\"top_logprobs\":20," TOOLS "," HI "}");
	ck_assert_msg(!x.ended, "%s", x.out);
	ck_assert_uint_eq(fake.p.limit, 1560);
	fake.ev.end(fake.ev.arg, 0, &(struct completion_end){.error = {.status = 500}});
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("logprobs_routes");
	TCase *t = tcase_create("forms");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, chat_streamed);
	tcase_add_loop_test(t, chat_whole, 0, 2);
	tcase_add_test(t, chat_calls);
	tcase_add_test(t, several_choices);
	tcase_add_test(t, completion_streamed);
	tcase_add_test(t, completion_whole);
	tcase_add_test(t, a_token_of_no_text);
	tcase_add_test(t, responses_streamed);
	tcase_add_test(t, responses_whole);
	tcase_add_loop_test(t, responses_calls, 0, 2);
	tcase_add_test(t, llama_streamed);
	tcase_add_test(t, llama_whole);
	tcase_add_loop_test(t, ollama, 0, 2);
	suite_add_tcase(s, t);
	t = tcase_create("requests");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, not_asked_for);
	tcase_add_loop_test(t, refused_by_name, 0, (int)(sizeof refused / sizeof *refused));
	tcase_add_loop_test(t, bounded, 0, 8);
	tcase_add_loop_test(t, bounded_with_tools, 0, 2);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
