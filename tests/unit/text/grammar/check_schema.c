/* JSON schemas as grammars: schemas.json has schemas, texts that are valid and are not, and what is refused and why.  "narrower"
 * are texts that are valid by the schema and that we do not write (daemon/text/grammar/README.md). */
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
	tcase_add_test(t, any_object);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
