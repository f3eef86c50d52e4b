/* Chat templates: what Python's Jinja2 makes of them (the golden files of tests/data/jinja, written by tests/tools/jinja_oracle.py),
 * and what Jinja2 does not have: bounds, sentences, the marks of what a client gave. */
#include "daemon/text/jinja/jinja.h"
#include "tests/support/where.h"
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A rendering: its errno, negative, or 0; the text, or the sentence. */
struct result {
	int rc;
	struct jinja_text text;
	char err[300];
};

static struct result render_with(const char *template, size_t len, const json_t *own, const json_t *given,
        int64_t now, struct jinja_limits limits) {
	struct result r = {0};
	struct jinja_template *t;
	r.rc = jinja_template_create(&t, template, len, r.err, sizeof r.err);
	if (r.rc == 0)
		r.rc = jinja_render(t, own, given, now, &limits, &r.text, r.err, sizeof r.err);
	jinja_template_destroy(t);
	ck_assert_msg((r.rc == 0) == (r.err[0] == 0), "%d without or with a sentence: %s", r.rc, r.err);
	return r;
}

static struct result render(const char *template) {
	return render_with(template, strlen(template), NULL, NULL, 0, JINJA_LIMITS);
}

static void expect_text(const char *template, const char *want) {
	struct result r = render(template);
	ck_assert_msg(r.rc == 0, "%.200s: %s", template, r.err);
	ck_assert_str_eq(r.text.s, want);
	jinja_text_clear(&r.text);
}

static void expect_error(const char *template, int rc, const char *sentence) {
	struct result r = render(template);
	ck_assert_msg(r.rc == rc, "%.200s: %d, %s", template, r.rc, r.err);
	ck_assert_msg(strstr(r.err, sentence) != NULL, "%.200s: \"%s\" does not say \"%s\"", template, r.err,
	        sentence);
	jinja_text_clear(&r.text);
}

/* ---- golden files */

static json_t *parse(const char *line) {
	json_error_t error;
	json_t *json = json_loads(line, JSON_ALLOW_NUL, &error);
	ck_assert_msg(json != NULL, "%s: %s", error.text, line);
	return json;
}

/* A file's bytes, with a zero behind them. */
static char *read_file(const char *name, size_t *len) {
	char path[512];
	FILE *f = fopen(source_path(path, name), "rb");
	ck_assert_msg(f != NULL, "cannot read %s", path);
	char *s = NULL;
	*len = 0;
	ck_assert(getdelim(&s, len, -1, f) >= 0);
	*len = (size_t)ftell(f);
	fclose(f);
	return s;
}

static void check_row(const char *name, const struct result *r, const json_t *row) {
	const json_t *text = json_object_get(row, "text");
	if (json_object_get(row, "refused")) {
		ck_assert_msg(r->rc == -ENOTSUP, "%s: is not refused: %d %s", name, r->rc,
		        r->rc ? r->err : r->text.s);
	} else if (!text) {
		bool raised = strcmp(json_string_value(json_object_get(row, "error")), "raised") == 0;
		ck_assert_msg(r->rc != 0 && raised == (r->rc == -EBADMSG), "%s: %d, \"%s\"", name, r->rc,
		        r->rc ? r->err : r->text.s);
	} else {
		ck_assert_msg(r->rc == 0, "%s: %s", name, r->err);
		ck_assert_msg(r->text.len == json_string_length(text) &&
		                      memcmp(r->text.s, json_string_value(text), r->text.len) == 0,
		        "%s:\n%s\nis not\n%s", name, r->text.s, json_string_value(text));
	}
}

typedef struct result render_row(const json_t *head, const char *name);

static size_t check_golden(const char *file, render_row *how) {
	size_t len, rows = 0;
	char *all = read_file(file, &len), *rest = all;
	json_t *head = parse(strsep(&rest, "\n"));
	for (char *line; (line = strsep(&rest, "\n")) && *line; rows++) {
		json_t *row = parse(line);
		const char *name = json_string_value(json_object_get(row, "case"));
		struct result r = how(head, name);
		check_row(name, &r, row);
		jinja_text_clear(&r.text);
		json_decref(row);
	}
	json_decref(head);
	free(all);
	return rows;
}

static struct result render_snippet(const json_t *head, const char *template) {
	return render_with(template, strlen(template), NULL, json_object_get(head, "given"),
	        json_integer_value(json_object_get(head, "now")), JINJA_LIMITS);
}

START_TEST(snippets) {
	ck_assert_uint_ge(check_golden("tests/data/jinja/snippets.golden", render_snippet), 300);
}
END_TEST

START_TEST(random_templates) {
	ck_assert_uint_ge(check_golden("tests/data/jinja/random.golden", render_snippet), 400);
}
END_TEST

/* "TEMPLATE CONVERSATION" */
static struct result render_model(const json_t *head, const char *name) {
	static json_t *conversations;
	char file[200], conversation[100], path[300];
	size_t len;
	if (!conversations) {
		char *all = read_file("tests/data/jinja/conversations.json", &len);
		conversations = parse(all);
		free(all);
	}
	ck_assert_int_eq(sscanf(name, "%199s %99s", file, conversation), 2);
	snprintf(path, sizeof path, "tests/data/jinja/templates/%s", file);
	const json_t *c = json_object_get(conversations, conversation);
	ck_assert_msg(c != NULL, "no conversation %s", conversation);
	char *template = read_file(path, &len);
	struct result r = render_with(template, len, json_object_get(c, "own"), json_object_get(c, "given"),
	        json_integer_value(json_object_get(head, "now")), JINJA_LIMITS);
	free(template);
	return r;
}

START_TEST(models) {
	ck_assert_uint_ge(check_golden("tests/data/jinja/models.golden", render_model), 1000);
}
END_TEST

/* ---- what Jinja2 has not */

START_TEST(refused_by_name) {
	expect_error("a\n{% include 'x' %}", -ENOTSUP, "line 2: {% include %}");
	expect_error("\n\n{% block x %}{% endblock %}", -ENOTSUP, "line 3: {% block %}");
	expect_error("{{ 1\n|nofilter }}", -ENOTSUP, "line 2: the filter 'nofilter'");
	expect_error("{{ 1 is\n\nnotest }}", -ENOTSUP, "the test 'notest'");
	expect_error("{{ 'x'.encode() }}", -ENOTSUP, "'encode'");
	expect_error("{% frobnicate %}", -EINVAL, "frobnicate");
	expect_error("\n{{ x.y }}", -EINVAL, "line 2: 'x' is undefined");
	expect_error("{{ [1].append(2) }}", -EINVAL, "may not be changed");
	expect_error("{% if true %}\n\n", -EINVAL, "endif");
	expect_error("{{ 9223372036854775807 + 1 }}", -ENOTSUP, "64 bits");
	expect_error("{{ raise_exception('first\nsecond') }}", -EBADMSG, "first second");
	expect_error("\xFF", -EINVAL, "UTF-8");
	expect_error("{{ 1 + }}", -EINVAL, "unexpected }}");
}
END_TEST

static void expect_limit(const char *template, struct jinja_limits limits, const char *sentence) {
	struct result r = render_with(template, strlen(template), NULL, NULL, 0, limits);
	ck_assert_msg(r.rc == -E2BIG, "%.200s: %d, %s", template, r.rc, r.err);
	ck_assert_msg(strstr(r.err, sentence) != NULL, "%.200s: %s", template, r.err);
}

static char *repeated(const char *begin, const char *s, size_t times, const char *end) {
	char *text = malloc(strlen(begin) + strlen(s) * times + strlen(end) + 1), *to = stpcpy(text, begin);
	while (times--)
		to = stpcpy(to, s);
	strcpy(to, end);
	return text;
}

START_TEST(render_limits) {
	struct jinja_limits l = JINJA_LIMITS;
	const char *loops =
	        "{% set r = range(100000) %}{% for a in r %}{% for b in r %}{% endfor %}{% endfor %}";
	expect_limit(loops, l, "steps");
	expect_limit("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}", l, "nested too deeply");
	/* a list that has the one before it twice, sixty-four times over */
	const char *twice =
	        "{% set ns = namespace(x=(1,), y=(1,)) %}{% for i in range(64) %}{% set ns.x = (ns.x, ns.x) %}"
	        "{% set ns.y = (ns.y, ns.y) %}{% endfor %}";
	const char *uses[] = {"{{ ns.x == ns.y }}", "{{ ns.x < ns.y }}", "{{ {ns.x: 1} }}",
	        "{{ ns.x|tojson }}", "{{ ns.x }}"};
	for (size_t i = 0; i < sizeof uses / sizeof uses[0]; i++) {
		char *text = repeated(twice, uses[i], 1, "");
		expect_limit(text, l, "steps");
		free(text);
	}
	l.memory = (size_t)4 << 20;
	expect_limit("{{ 'abcdefgh' * 1000000 }}", l, "memory");
	expect_limit(
	        "{% set ns = namespace(x='abcdefgh') %}{% for i in range(64) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
	        l, "memory");
	l.output = 10;
	expect_limit("{% for i in range(4) %}abc{% endfor %}", l, "longer than 10 bytes");
	struct result r = render_with("0123456789", 10, NULL, NULL, 0, l);
	ck_assert_int_eq(r.rc, 0);
	jinja_text_clear(&r.text);
	l = JINJA_LIMITS;
	l.steps = 0;
	expect_limit("a", l, "steps");
	l = JINJA_LIMITS;
	l.memory = 0;
	expect_limit("a", l, "memory");
}
END_TEST

static void expect_too_deep(const char *begin, const char *s, size_t times, const char *end) {
	char *text = repeated(begin, s, times, end);
	expect_error(text, -E2BIG, "nested too deeply");
	free(text);
}

START_TEST(parse_limits) {
	char *open = repeated("{{ ", "(", 150, "1");
	expect_too_deep(open, ")", 150, " }}");
	expect_too_deep("{{ ", "not ", 100000, "1 }}");
	expect_too_deep("{{ ", "-", 100000, "1 }}");
	expect_too_deep("", "{% if 1 %}", 1000, "");
	expect_too_deep("{{ 1", " + 1", 1000, " }}");
	expect_too_deep("{{ 1", "|int", 1000, " }}");
	char *whole = repeated("", "x", JINJA_TEMPLATE_MAX, ""), *more = repeated(whole, "x", 1, "");
	expect_text(whole, whole);
	expect_error(more, -E2BIG, "longer than");
	free(whole);
	free(more);
	free(open);
}
END_TEST

/* In `marks` an x stands under each byte that the client gave. */
static void expect_marks(const char *template, const char *text, const char *marks) {
	json_t *own = json_pack("{s:s}", "bos", "<s>");
	json_t *given = json_pack("{s:s, s:[{s:s, s:s}, {s:s, s:s}], s:s}", "bos", "fake", "messages", "role",
	        "user", "content", "a<s>b", "role", "x|>", "content", "c\xC3\xA4", "q", " \"q\" ");
	struct result r = render_with(template, strlen(template), own, given, 0, JINJA_LIMITS);
	ck_assert_msg(r.rc == 0, "%.200s: %s", template, r.err);
	ck_assert_str_eq(r.text.s, text);
	ck_assert_uint_eq(r.text.len, strlen(marks));
	size_t at = 0;
	for (size_t i = 0; i < r.text.nruns; i++) {
		const struct jinja_run *run = &r.text.runs[i];
		ck_assert_uint_eq(run->begin, at);
		for (; at < run->end; at++)
			ck_assert_msg(
			        run->input == (marks[at] == 'x'), "%s: byte %zu of %s", template, at, text);
	}
	ck_assert_uint_eq(at, r.text.len);
	jinja_text_clear(&r.text);
	json_decref(own);
	json_decref(given);
}

START_TEST(marks_of_what_is_given) {
	expect_marks("{{ bos }}{{ messages[0].content }}", "<s>a<s>b", "...xxxxx");
	expect_marks("<|{{ messages[0].role }}|>", "<|user|>", "........");
	expect_marks("<|{{ messages[1].role }}|>", "<|x|>|>", "..xxx..");
	expect_marks("{{ '<|' + q + '|>' }}", "<| \"q\" |>", "..xxxxx..");
	expect_marks("{{ '<|' ~ q|trim ~ '|>' }}", "<|\"q\"|>", "..xxx..");
	expect_marks("{{ q|tojson }}", "\" \\\"q\\\" \"", "xxxxxxxxx");
	expect_marks("{{ q|upper }}{{ messages[1].content|upper }}", " \"Q\" C\xC3\x84", "xxxxxxxx");
	expect_marks("{{ messages[0].content.split('<s>') | join('<s>') }}", "a<s>b", "x...x");
	expect_marks("{{ messages[0].content.replace('<', '[') }}", "a[s>b", "x.xxx");
	expect_marks("{{ messages[0].content[1:4] }}", "<s>", "xxx");
	expect_marks("{% set x %}[{{ q }}]{% endset %}{{ x }}", "[ \"q\" ]", ".xxxxx.");
	expect_marks(
	        "{% macro m(a) %}[{{ a }}]{% endmacro %}{{ m(q) }}{% filter upper %}a{{ q }}{% endfilter %}",
	        "[ \"q\" ]A \"Q\" ", ".xxxxx..xxxxx");
	expect_marks("{{ [q] }}{{ '%s!'|format(q) }}{{ '{}!'.format(q) }}", "[' \"q\" '] \"q\" ! \"q\" !",
	        "xxxxxxxxxxxxxx.xxxxx.");
	expect_marks("{% for k in messages[0] %}{{ k }}{% endfor %}", "rolecontent", "xxxxxxxxxxx");
	expect_marks("{{ q|length }}{{ q == ' \"q\" ' }}", "5True", ".....");
}
END_TEST

START_TEST(keeps_zero_bytes) {
	json_t *given = json_pack("{s:s%}", "x", "a\0b", (size_t)3);
	struct result r =
	        render_with("{{ x }}{{ x|length }}{{ x|tojson }}", 35, NULL, given, 0, JINJA_LIMITS);
	ck_assert_int_eq(r.rc, 0);
	ck_assert_uint_eq(r.text.len, 14);
	ck_assert_int_eq(memcmp(r.text.s, "a\0b3\"a\\u0000b\"", 14), 0);
	jinja_text_clear(&r.text);
	json_decref(given);
	expect_text("", "");
	expect_text("\n", "");
	expect_text("a\r\nb\r", "a\nb");
}
END_TEST

static void *render_often(void *t) {
	struct jinja_limits limits = JINJA_LIMITS;
	json_t *given = json_pack("{s:[s, s, s]}", "l", "a", "\xC3\xA4", "c");
	for (int i = 0; i < 200; i++) {
		struct jinja_text text;
		char err[200];
		if (jinja_render(t, NULL, given, 0, &limits, &text, err, sizeof err) != 0 ||
		        strcmp(text.s, "Ax\xC3\x84x\x43x") != 0)
			return t;
		jinja_text_clear(&text);
	}
	json_decref(given);
	return NULL;
}

START_TEST(rendered_by_threads) {
	const char *text =
	        "{% macro m(a) %}{{ a|upper }}x{% endmacro %}{% for a in l %}{{ m(a) }}{% endfor %}";
	struct jinja_template *t;
	pthread_t thread[3];
	char err[200];
	ck_assert_int_eq(jinja_template_create(&t, text, strlen(text), err, sizeof err), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, render_often, t), 0);
	for (int i = 0; i < 3; i++) {
		void *failed;
		pthread_join(thread[i], &failed);
		ck_assert_ptr_null(failed);
	}
	jinja_template_destroy(t);
}
END_TEST

static void group(Suite *s, const char *name, const TTest *test) {
	TCase *c = tcase_create(name);
	tcase_set_timeout(c, 60);
	tcase_add_test(c, test);
	suite_add_tcase(s, c);
}

static Suite *suite(void) {
	Suite *s = suite_create("jinja");
	group(s, "models", models);
	group(s, "snippets", snippets);
	group(s, "random", random_templates);
	group(s, "refused", refused_by_name);
	group(s, "limits", render_limits);
	group(s, "parse limits", parse_limits);
	group(s, "marks", marks_of_what_is_given);
	group(s, "bytes", keeps_zero_bytes);
	group(s, "threads", rendered_by_threads);
	return s;
}

#include "tests/unit/check_main.h"
