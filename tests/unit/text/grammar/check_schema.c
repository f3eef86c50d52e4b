/* JSON schemas as grammars: schemas.json has schemas, texts that are valid and are not, and what is refused and why.  "narrower"
 * are texts that are valid by the schema and that we do not write (daemon/text/grammar/README.md). */
#include "daemon/text/grammar/calls.h"
#include "daemon/text/reply.h"
#include "tests/support/where.h"
#include "tests/unit/text/grammar/constrained.h"

static json_t *cases;

static void start(void) {
	char path[512];
	json_error_t e;
	use_small_vocabulary();
	cases = json_load_file(source_path(path, "tests/unit/text/grammar/schemas.json"), 0, &e);
	ck_assert_msg(cases, "%s:%d: %s", path, e.line, e.text);
}

static void stop(void) {
	drop_vocabulary();
	json_decref(cases);
}

/* Whether the schema of a case is taken. */
static bool use_schema(const json_t *c) {
	const char *space = json_string_value(json_object_get(c, "space"));
	drop_grammar();
	int rc = grammar_from_schema(&grammar, json_object_get(c, "schema"),
	        space && strcmp(space, "loose") == 0 ? JSON_SPACE_LOOSE : JSON_SPACE_COMPACT, err,
	        sizeof err);
	ck_assert(rc == 0 || rc == -EINVAL);
	if (rc == 0)
		ck_assert_int_eq(grammar_matcher_create(&matcher, grammar, trie), 0);
	return rc == 0;
}

static size_t check_texts(const json_t *c, const char *key, bool valid) {
	const json_t *texts = json_object_get(c, key);
	char *schema = json_dumps(json_object_get(c, "schema"), JSON_ENCODE_ANY | JSON_COMPACT);
	for (size_t i = 0; i < json_array_size(texts); i++) {
		const json_t *t = json_array_get(texts, i);
		ck_assert_msg(matches(json_string_value(t), json_string_length(t)) == valid, "%s: %s is %s",
		        schema, json_string_value(t), valid ? "refused" : "accepted");
	}
	free(schema);
	return json_array_size(texts);
}

START_TEST(texts) {
	size_t valid = 0, invalid = 0, i;
	json_t *c;
	json_array_foreach(cases, i, c) {
		if (json_object_get(c, "refused"))
			continue;
		char *schema = json_dumps(json_object_get(c, "schema"), JSON_ENCODE_ANY);
		ck_assert_msg(use_schema(c), "%s: %s", schema, err);
		free(schema);
		valid += check_texts(c, "valid", true);
		invalid += check_texts(c, "invalid", false) + check_texts(c, "narrower", false);
	}
	ck_assert_uint_gt(valid, 200);
	ck_assert_uint_gt(invalid, 250);
}
END_TEST

START_TEST(refusals) {
	size_t n = 0, i;
	json_t *c;
	json_array_foreach(cases, i, c) {
		const char *why = json_string_value(json_object_get(c, "refused"));
		if (!why)
			continue;
		char *schema = json_dumps(json_object_get(c, "schema"), JSON_ENCODE_ANY);
		ck_assert_msg(!use_schema(c), "%s is not refused", schema);
		ck_assert_msg(
		        strstr(err, why), "%s is refused because of \"%s\", not \"%s\"", schema, err, why);
		free(schema);
		n++;
	}
	ck_assert_uint_gt(n, 40);
}
END_TEST

/* Schemas that are large, deep or explode are refused in time and with a sentence. */
START_TEST(bounds) {
	static const struct {
		const char *begin, *repeated, *end;
		int times;
	} hostile[] = {
	        {"", "{\"items\":", "{}", 65},
	        {"{\"allOf\":[", "{\"anyOf\":[{\"minimum\":1},{\"maximum\":3}]},", "{}]}", 12},
	        {"{\"pattern\":\"^", "(", "\"}", 40},
	        {"{\"pattern\":\"^(a|b)*a", "(a|b)", "$\"}", 20},
	        {"{\"pattern\":\"^", "(", "a{60000}){60000}\"}", 1},
	        {"{\"$defs\":{\"a\":{\"allOf\":[{\"$ref\":\"#/$defs/a\"}", ",{\"$ref\":\"#/$defs/a\"}",
	                "]}},\"$ref\":\"#/$defs/a\"}", 3},
	        {"{\"pattern\":\"^(a|b)*a", ".", "$\"}", 40},
	        {"{\"enum\":[", "\"0123456789012345678901234567890123456789\",", "1]}", 20000},
	};
	for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
		size_t len =
		        strlen(hostile[i].begin) + strlen(hostile[i].repeated) * (size_t)hostile[i].times;
		char *text = malloc(2 * len + 200), *at = text + sprintf(text, "%s", hostile[i].begin);
		for (int k = 0; k < hostile[i].times; k++)
			at += sprintf(at, "%s", hostile[i].repeated);
		at += sprintf(at, "%s", hostile[i].end);
		for (int k = 0; i == 0 && k < hostile[i].times; k++)
			at += sprintf(at, "}");
		json_error_t e;
		json_t *schema = json_loads(text, 0, &e);
		ck_assert_msg(schema, "%s", e.text);
		err[0] = 0;
		ck_assert_msg(grammar_from_schema(&grammar, schema, JSON_SPACE_LOOSE, err, sizeof err) < 0,
		        "%zu", i);
		ck_assert_msg(err[0], "%zu", i);
		json_decref(schema);
		free(text);
	}
}
END_TEST

/* Each schema names the next one twice. */
START_TEST(references_multiply) {
	char text[10000], *at = text + sprintf(text, "{\"$ref\":\"#/$defs/0\",\"$defs\":{");
	for (int i = 0; i < 25; i++)
		at += sprintf(at, "\"%d\":{\"allOf\":[{\"$ref\":\"#/$defs/%d\"},{\"$ref\":\"#/$defs/%d\"}]},",
		        i, i + 1, i + 1);
	sprintf(at, "\"25\":{\"type\":\"null\"}}}");
	json_t *schema = json_loads(text, 0, NULL);
	ck_assert_ptr_nonnull(schema);
	ck_assert_int_eq(grammar_from_schema(&grammar, schema, JSON_SPACE_LOOSE, err, sizeof err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "multiply"));
	json_decref(schema);
}
END_TEST

/* ---- calls of tools ---- */

#define CALL_TOOLS \
	"\"tools\":[{\"name\":\"go\",\"parameters\":{\"properties\":{\"to\":{\"$ref\":\"#/$defs/to\"}},\"required\":[\"to\"]," \
	"\"$defs\":{\"to\":{\"enum\":[\"sea\"]}}}}," \
	"{\"name\":\"n\",\"parameters\":{\"type\":\"object\",\"properties\":{\"n\":{\"$ref\":\"#/$defs/to\"}},\"required\":[\"n\"]," \
	"\"$defs\":{\"to\":{\"const\":1}}}},{\"name\":\"stop\"}]"

static int use_calls(const char *format, bool one, const char *tools) {
	char text[2000];
	drop_grammar();
	snprintf(text, sizeof text, "{\"format\":\"%s\",\"one\":%s,%s}", format, one ? "true" : "false",
	        tools);
	int rc = grammar_from_text(&grammar, GRAMMAR_CALLS, text, strlen(text), NULL, err, sizeof err);
	if (rc == 0)
		ck_assert_int_eq(grammar_matcher_create(&matcher, grammar, trie), 0);
	return rc;
}

struct call_text {
	const char *format, *text;
	bool one, many; /* whether it is one with at most one call, and without that bound */
};

static const struct call_text call_texts[] = {
        {"hermes", "<tool_call>\n{\"name\": \"go\", \"arguments\": {\"to\": \"sea\"}}\n</tool_call>", true,
                true},
        {"hermes", "<tool_call>{\"name\":\"n\",\"arguments\":{\"n\":1}}</tool_call>", true, true},
        {"hermes", "<tool_call>{\"name\":\"stop\",\"arguments\":{}}</tool_call>", true, true},
        {"hermes",
                "<tool_call>{\"name\":\"stop\",\"arguments\":{}}</tool_call>\n"
                "<tool_call>{\"name\":\"n\",\"arguments\":{\"n\":1}}</tool_call>",
                false, true},
        {"hermes", "<tool_call>{\"name\":\"n\",\"arguments\":{\"n\":\"sea\"}}</tool_call>", false, false},
        {"hermes", "<tool_call>{\"name\":\"go\",\"arguments\":{\"n\":1}}</tool_call>", false, false},
        {"hermes", "<tool_call>{\"name\":\"go\",\"arguments\":1}</tool_call>", false, false},
        {"hermes", "<tool_call>{\"name\":\"up\",\"arguments\":{}}</tool_call>", false, false},
        {"hermes", "<tool_call>{\"name\":\"stop\",\"arguments\":{}}", false, false},
        {"hermes", "Well. <tool_call>{\"name\":\"stop\",\"arguments\":{}}</tool_call>", false, false},
        {"hermes", "", false, false},
        {"llama3", "{\"name\": \"n\", \"parameters\": {\"n\": 1}}", true, true},
        {"llama3", "<|python_tag|>{\"name\": \"stop\", \"parameters\": {}}", true, true},
        {"llama3", "{\"name\": \"n\", \"parameters\": {\"n\": 1}}; {\"name\": \"stop\", \"parameters\": {}}",
                false, true},
        {"llama3", "{\"name\": \"n\", \"arguments\": {\"n\": 1}}", false, false},
        {"mistral", "[TOOL_CALLS][{\"name\": \"n\", \"arguments\": {\"n\": 1}}]", true, true},
        {"mistral",
                "[TOOL_CALLS] [{\"name\": \"stop\", \"arguments\": {}}, {\"name\": \"stop\", \"arguments\": {}}]",
                false, true},
        {"mistral", "[TOOL_CALLS][]", false, false},
        {"mistral", "[{\"name\": \"stop\", \"arguments\": {}}]", false, false},
        {"kimi",
                "<|tool_calls_section_begin|><|tool_call_begin|>functions.n:0<|tool_call_argument_begin|>{\"n\": 1}"
                "<|tool_call_end|><|tool_calls_section_end|>",
                true, true},
        {"kimi", "<|tool_calls_section_begin|><|tool_calls_section_end|>", false, false},
        {"phi4", "<|tool_call|>[{\"name\": \"n\", \"arguments\": {\"n\": 1}}]<|/tool_call|>", true, true},
        {"phi4", "<|tool_call|>[{\"name\": \"n\", \"arguments\": {\"n\": 1}}]", false, false},
        {"mistral-args", "[TOOL_CALLS]go[ARGS]{\"to\": \"sea\"}", true, true},
        {"mistral-args", "[TOOL_CALLS]stop[ARGS]{}[TOOL_CALLS]n[ARGS]{\"n\": 1}", false, true},
        {"mistral-args", "[TOOL_CALLS]go[ARGS]{\"n\": 1}", false, false},
        {"mistral-args", "stop[ARGS]{}", false, false},
        {"harmony", "<|channel|>commentary to=functions.go <|constrain|>json<|message|>{\"to\": \"sea\"}",
                true, true},
        {"harmony", "<|channel|>commentary to=functions.go <|constrain|>json<|message|>{}", false, false},
        {"harmony", "<|channel|>final<|message|>{\"to\": \"sea\"}", false, false},
};

static bool call_add(void *arg, const struct tool_call *call) {
	++*(unsigned *)arg;
	return call->name[0] && call->arguments[0] == '{';
}

static bool call_text(void *arg, const char *text, size_t len) {
	(void)arg;
	ck_abort_msg("text among calls: %.*s", (int)len, text);
	return false;
}

/* A schema's references are into it alone, and what the grammar allows is what toolcall finds. */
START_TEST(calls) {
	const struct call_text *t = &call_texts[_i / 2];
	bool one = _i % 2, want = one ? t->one : t->many;
	unsigned found = 0;
	const struct reply_sink sink = {call_text, call_text, call_add, &found};
	ck_assert_msg(use_calls(t->format, one, CALL_TOOLS) == 0, "%s", err);
	ck_assert_msg(matches(t->text, strlen(t->text)) == want, "%s", t->text);
	if (!want)
		return;
	const struct reply_format f = {REASONING_NONE, false, toolcall_format_find(t->format)};
	struct reply_stream *s = reply_create(&f);
	ck_assert(reply_push(s, t->text, strlen(t->text), &sink) && reply_finish(s, &sink));
	ck_assert_uint_eq(found, t->one ? 1 : 2);
	reply_destroy(s);
}
END_TEST

START_TEST(calls_have_a_bound) {
	char text[2000];
	size_t len = 0;
	ck_assert_int_eq(use_calls("hermes", false, CALL_TOOLS), 0);
	for (int i = 1; i <= CALLS_MAX + 1; i++) {
		len += (size_t)snprintf(text + len, sizeof text - len,
		        "<tool_call>{\"name\":\"stop\",\"arguments\":{}}</tool_call>");
		ck_assert(matches(text, len) == (i <= CALLS_MAX));
	}
}
END_TEST

START_TEST(calls_refused) {
	static const char *const rows[][3] = {
	        {"hermes",
	                "\"tools\":[{\"name\":\"f\",\"parameters\":{\"properties\":{\"a\":{\"wonder\":1}}}}]",
	                "tool f: at #/properties/a: wonder is not supported"},
	        {"hermes", "\"tools\":[{\"name\":\"f\",\"parameters\":{\"type\":\"string\"}}]",
	                "tool f: at the top: the type of parameters must be object"},
	        {"hermes", "\"tools\":[{\"name\":\"f\",\"parameters\":true}]",
	                "tool f: at the top: the parameters must be"},
	        {"hermes", "\"tools\":[{\"parameters\":{}}]", "cannot have this name"},
	        {"mistral-args", "\"tools\":[{\"name\":\"a[b\"}]",
	                "tool a[b: at the top: a tool cannot have this name"},
	        {"hermes", "\"tools\":[]", ""},
	        {"nobody", CALL_TOOLS, "format"},
	};
	const char *const *row = rows[_i];
	ck_assert_int_eq(use_calls(row[0], false, row[1]), -EINVAL);
	ck_assert_msg(strstr(err, row[2]), "%s", err);
}
END_TEST

/* A control token is allowed where a mark may be, and nowhere else: not within strings. */
START_TEST(control_tokens_as_marks) {
	struct small_vocab *x = small_bpe("llama-bpe");
	uint32_t mark = small_add(x, "<tool_call>", 0, VOCAB_CONTROL), state;
	const uint64_t *mask;
	drop_vocabulary();
	use_vocabulary(x);
	ck_assert_int_eq(
	        use_calls("hermes", false,
	                "\"tools\":[{\"name\":\"f\",\"parameters\":{\"properties\":{\"a\":{\"type\":\"string\"}},"
	                "\"required\":[\"a\"]}}]"),
	        0);
	state = start_state();
	ck_assert(mask_has(mask_of(state), mark) && mask_has(mask_of(state), '<'));
	ck_assert(!mask_has(mask_of(state), small_find(x, "<|begin_of_text|>")));
	ck_assert(!mask_has(mask_of(state), TOKEN_TRIE_CONTROL));
	accept(&state, mark);
	for (const char *p = "{\"name\":\"f\",\"arguments\":{\"a\":\"x\"}}</tool_call>"; *p; p++) {
		mask = mask_of(state);
		ck_assert(!mask_has(mask, mark) && !mask_has(mask, TOKEN_TRIE_CONTROL));
		accept(&state, (uint8_t)*p);
	}
	ck_assert(grammar_may_end(matcher, state) && mask_has(mask_of(state), mark));
	accept(&state, mark);
	ck_assert(!grammar_may_end(matcher, state));
}
END_TEST

/* ---- reasoning before ---- */

static void use_reasoning(
        enum reasoning_format format, bool open, enum grammar_language language, const char *text) {
	const struct grammar_reasoning before = {format, open};
	drop_grammar();
	ck_assert_msg(
	        grammar_from_text(&grammar, language, text, strlen(text), &before, err, sizeof err) == 0,
	        "%s", err);
	ck_assert_int_eq(grammar_matcher_create(&matcher, grammar, trie), 0);
}

#define ITSELF "{\"type\":\"object\",\"properties\":{\"a\":{\"$ref\":\"#\"}}}"
#define ANALYSIS "<|channel|>analysis<|message|>"
#define FINAL "<|channel|>final<|message|>"
#define STOP "{\"format\":\"hermes\",\"tools\":[{\"name\":\"stop\"}]}"
#define STOPPED "<tool_call>{\"name\":\"stop\",\"arguments\":{}}</tool_call>"

static const struct {
	enum reasoning_format format;
	bool open;
	enum grammar_language language;
	const char *grammar, *text;
	bool is;
} reasonings[] = {
        {REASONING_THINK, false, GRAMMAR_OBJECT, "", "{}", true},
        {REASONING_THINK, false, GRAMMAR_OBJECT, "", "<think>a\n{}</think>\n\n{}", true},
        {REASONING_THINK, false, GRAMMAR_OBJECT, "", "<think></think>{}", true},
        {REASONING_THINK, false, GRAMMAR_OBJECT, "", "<think>a{}", false},
        {REASONING_THINK, false, GRAMMAR_OBJECT, "", "a</think>{}", false},
        {REASONING_THINK, false, GRAMMAR_OBJECT, "", "<think>a</think> b{}", false},
        {REASONING_THINK, false, GRAMMAR_OBJECT, "", "<think>a</think></think>{}", false},
        {REASONING_THINK, false, GRAMMAR_OBJECT, "", "<think>a</think>\n\n\n{}", false},
        {REASONING_THINK, true, GRAMMAR_OBJECT, "", "a < b <</</thin</think>{}", true},
        {REASONING_THINK, true, GRAMMAR_OBJECT, "", "{}", false},
        {REASONING_THINK, true, GRAMMAR_SCHEMA, ITSELF, "a</think>{\"a\": {\"a\": {}}}", true},
        {REASONING_THINK, true, GRAMMAR_SCHEMA, ITSELF, "a</think>{\"a\": b</think>{}}", false},
        {REASONING_MISTRAL, false, GRAMMAR_OBJECT, "", "[THINK]a[/THINK]{}", true},
        {REASONING_THINK, true, GRAMMAR_CALLS, STOP, "a</think>\n" STOPPED, true},
        {REASONING_THINK, true, GRAMMAR_CALLS, STOP, STOPPED, false},
        {REASONING_HARMONY, false, GRAMMAR_OBJECT, "", FINAL "{}", true},
        {REASONING_HARMONY, false, GRAMMAR_OBJECT, "", ANALYSIS "a<|end|><|start|>assistant" FINAL "{}",
                true},
        {REASONING_HARMONY, false, GRAMMAR_OBJECT, "", ANALYSIS "a<|end|>" FINAL "{}", false},
        {REASONING_HARMONY, false, GRAMMAR_OBJECT, "", "{}", false},
        {REASONING_HARMONY, false, GRAMMAR_CALLS, "{\"format\":\"harmony\",\"tools\":[{\"name\":\"stop\"}]}",
                ANALYSIS "a<|end|><|start|>assistant<|channel|>commentary to=functions.stop "
                         "<|constrain|>json<|message|>{}",
                true},
};

START_TEST(reasoning_comes_before) {
	const char *text = reasonings[_i].text;
	use_reasoning(
	        reasonings[_i].format, reasonings[_i].open, reasonings[_i].language, reasonings[_i].grammar);
	ck_assert_msg(matches(text, strlen(text)) == reasonings[_i].is, "%s", text);
}
END_TEST

/* The end mark may be a control token; no other is allowed, nor the end of the answer. */
START_TEST(reasoning_ends_with_a_control_token) {
	struct small_vocab *x = small_bpe("llama-bpe");
	uint32_t mark = small_add(x, "</think>", 0, VOCAB_CONTROL), state;
	drop_vocabulary();
	use_vocabulary(x);
	use_reasoning(REASONING_THINK, true, GRAMMAR_OBJECT, "");
	state = start_state();
	for (const char *p = "a</th"; *p; p++) {
		ck_assert(mask_has(mask_of(state), mark) && mask_has(mask_of(state), 'x'));
		ck_assert(!mask_has(mask_of(state), small_find(x, "<|begin_of_text|>")));
		ck_assert(!grammar_may_end(matcher, state));
		accept(&state, (uint8_t)*p);
	}
	accept(&state, mark);
	ck_assert(mask_has(mask_of(state), '{') && !mask_has(mask_of(state), 'x'));
	ck_assert(!mask_has(mask_of(state), mark));
}
END_TEST

START_TEST(any_object) {
	drop_grammar();
	ck_assert_int_eq(grammar_from_object(&grammar, JSON_SPACE_LOOSE, err, sizeof err), 0);
	ck_assert_int_eq(grammar_matcher_create(&matcher, grammar, trie), 0);
	static const char *const yes[] = {"{}", "{ }", "{\"a\": [1, {\"b\": null}], \"c\": \"\\\"\"}"};
	static const char *const no[] = {"[]", "1", "\"\"", "{", "{}}", " {}", "{\"a\": 1,}"};
	for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
		ck_assert_msg(matches(yes[i], strlen(yes[i])), "%s", yes[i]);
	for (size_t i = 0; i < sizeof no / sizeof *no; i++)
		ck_assert_msg(!matches(no[i], strlen(no[i])), "%s", no[i]);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("schema");
	TCase *t = tcase_create("schema");
	tcase_add_checked_fixture(t, start, stop);
	tcase_set_timeout(t, 30);
	tcase_add_test(t, texts);
	tcase_add_test(t, refusals);
	tcase_add_test(t, bounds);
	tcase_add_test(t, references_multiply);
	tcase_add_loop_test(t, calls, 0, 2 * (int)(sizeof call_texts / sizeof *call_texts));
	tcase_add_test(t, calls_have_a_bound);
	tcase_add_loop_test(t, calls_refused, 0, 7);
	tcase_add_loop_test(t, reasoning_comes_before, 0, (int)(sizeof reasonings / sizeof *reasonings));
	tcase_add_test(t, reasoning_ends_with_a_control_token);
	tcase_add_test(t, control_tokens_as_marks);
	tcase_add_test(t, any_object);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
