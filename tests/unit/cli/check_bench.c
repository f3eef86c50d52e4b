/* The picture of caravan bench, and the parts of drawings. */
#include "cli/bench_result.h"
#include "cli/simple.h"
#include "cli/svg.h"
#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* What bench_load has in the command. */
static int compare(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}
double bench_sort(double *v, size_t n) {
	qsort(v, n, sizeof *v, compare);
	return n ? (v[(n - 1) / 2] + v[n / 2]) / 2 : 0;
}
int simple_json(json_t *o) {
	json_decref(o);
	return 0;
}

static char *drawn(const struct bench_result *r) {
	char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);
	ck_assert_ptr_nonnull(to);
	bench_draw(to, r);
	ck_assert_int_eq(fclose(to), 0);
	return text;
}

static unsigned count(const char *text, const char *what) {
	unsigned n = 0;
	for (; (text = strstr(text, what)); text++)
		n++;
	return n;
}

/* Nothing but the elements of a drawing, each with its end, and escapes that XML knows; no control characters. */
static void well_formed(const char *s) {
	static const char *const tags[] = {"svg ", "title>", "style>", "text ", "line ", "circle ", "rect "};
	static const char *const escapes[] = {"&amp;", "&lt;", "&gt;", "&quot;"};
	int depth = 0;
	ck_assert(strncmp(s, "<svg ", 5) == 0);
	for (const char *at = s; *at; at++) {
		bool known = false;
		ck_assert_msg((unsigned char)*at >= ' ' || *at == '\n', "character %d", *at);
		if (*at == '&') {
			for (size_t i = 0; i < 4; i++)
				known = known || strncmp(at, escapes[i], strlen(escapes[i])) == 0;
			ck_assert_msg(known, "%.20s", at);
		}
		if (*at != '<')
			continue;
		const char *name = at + 1 + (at[1] == '/');
		for (size_t i = 0; i < sizeof tags / sizeof *tags; i++)
			known = known || strncmp(name, tags[i], strlen(tags[i]) - (at[1] == '/')) == 0;
		ck_assert_msg(known, "%.20s", at);
		const char *end = strchr(at, '>');
		ck_assert_ptr_nonnull(end);
		depth += at[1] == '/' ? -1 : end[-1] == '/' ? 0 : 1;
		ck_assert_int_ge(depth, strncmp(at, "</svg>", 6) != 0);
	}
	ck_assert_int_eq(depth, 0);
}

#define RUNS 3
static const char *const nodes[] = {
        "alpha", "</text><script>alert(1)</script>", "\x1b[31m\xe2\x80\xae&beta\xff\xef\xbf\xbf"};

/* Rates that are as many times the number of streams as the run's. */
static void measured(struct bench_cell *c, unsigned prompt, unsigned streams) {
	c->prompt = prompt;
	c->streams = streams;
	for (unsigned i = 0; i < RUNS; i++) {
		c->prefill[i].prompt_rate = 100.0 * streams * (i + 1);
		c->decode[i].rate = 10.0 * streams * (i + 1);
	}
	c->stages = 4;
	c->stage = calloc(c->stages, sizeof *c->stage);
	for (size_t k = 0; k < c->stages; k++) {
		c->stage[k].name = k ? nodes[k - 1] : NULL;
		c->stage[k].time[BENCH_PREFILL] = (struct bench_times){1, 2, 0, 1};
		c->stage[k].time[BENCH_DECODE] = (struct bench_times){0, 1 + (double)k, 1, 0};
	}
}

static struct bench_cell cell[4];
static struct bench_result result;

static void setup(void) {
	memset(cell, 0, sizeof cell);
	for (unsigned i = 0; i < 4; i++)
		measured(&cell[i], i < 2 ? 512 : 64, i % 2 ? 1 : 4);
	result = (struct bench_result){.model = "<b>\"stories\" & more</b>\x07",
	        .node = nodes,
	        .nodes = 3,
	        .date = 1767225600,
	        .generate = 32,
	        .runs = RUNS,
	        .predicted = 55,
	        .cell = cell,
	        .cells = 4};
}
static void teardown(void) {
	for (unsigned i = 0; i < 4; i++)
		free(cell[i].stage);
}

START_TEST(names_stay_text) {
	char *s = drawn(&result);
	well_formed(s);
	ck_assert_ptr_nonnull(strstr(
	        s, "<title>&lt;b&gt;&quot;stories&quot; &amp; more&lt;/b&gt;: tokens a second</title>"));
	ck_assert_ptr_null(strstr(s, "<script"));
	ck_assert_ptr_null(strstr(s, "\xe2\x80\xae"));
	ck_assert_ptr_null(strstr(s, "\xef\xbf\xbf"));
	ck_assert_ptr_nonnull(strstr(s, "2026-01-01 00:00 UTC; answers of 32 tokens; median of 3 runs"));
	free(s);
}
END_TEST

/* A dot for each result and phase; bars for the longest prompts, with the fewest and the most streams. */
START_TEST(everything_is_drawn) {
	char *s = drawn(&result);
	ck_assert_uint_eq(count(s, "<circle "), 8);
	ck_assert_uint_eq(count(s, "prompts of 512 tokens, 1 stream<"), 2);
	ck_assert_uint_eq(count(s, "prompts of 512 tokens, 4 streams<"), 2);
	ck_assert_uint_eq(count(s, "prompts of 64 tokens, "), 0);
	ck_assert_uint_eq(
	        count(s, "class=\"f0\""), 1 + 4 * 4); /* computing, in the legend and in each stage */
	ck_assert_uint_eq(count(s, "class=\"f2\""), 1 + 2 * 4); /* on the wire: not in answers */
	ck_assert_uint_eq(count(s, ">25.0%<"), 8);              /* of prompts all are equal */
	ck_assert_uint_eq(count(s, ">35.7%<"), 2);              /* 5 of 14 */
	ck_assert_uint_eq(
	        count(s, "class=\"axis predicted\""), 2); /* in the legend, and for answers of one stream */
	free(s);
	cell[1].stages = cell[3].stages = 0;
	result.predicted = 0;
	s = drawn(&result);
	well_formed(s);
	ck_assert_uint_eq(count(s, "not known: the plan changed meanwhile"), 2);
	ck_assert_uint_eq(count(s, "class=\"axis predicted\""), 0);
	free(s);
}
END_TEST

/* The y of the element that a text is in. */
static double height_of(const char *s, const char *text, const char *attribute) {
	const char *at = strstr(s, text);
	ck_assert_ptr_nonnull(at);
	while (*at != '<' || at[1] == '/')
		at--;
	ck_assert_ptr_nonnull(at = strstr(at, attribute));
	return strtod(at + strlen(attribute), NULL);
}

/* A dot is where the axis has its median: prompts at 200 and 800 tokens a second, the highest at 1200. */
START_TEST(heights_are_rates) {
	double y[2] = {0};
	result.cells = 2;
	char *s = drawn(&result), *at = strstr(s, "<circle ");
	double zero = height_of(s, "class=\"axis\"", "y1=\""), top = height_of(s, ">1500<", "y=\"") - 4;
	for (int i = 0; i < 2; i++, at = strstr(at + 1, "<circle "))
		y[i] = strtod(strstr(at, "cy=\"") + 4, NULL);
	ck_assert_double_ge(zero - top, 100);
	ck_assert_double_eq_tol(zero - y[0], (zero - top) * 200 / 1500, 0.2);
	ck_assert_double_eq_tol(zero - y[1], (zero - top) * 800 / 1500, 0.2);
	free(s);
}
END_TEST

START_TEST(axes_have_round_numbers) {
	ck_assert_double_eq_tol(svg_step(100, 5), 20, 1e-9);
	ck_assert_double_eq_tol(svg_step(101, 5), 50, 1e-9);
	ck_assert_double_eq_tol(svg_step(0.7, 5), 0.2, 1e-9);
	ck_assert_double_eq_tol(svg_step(499, 5), 100, 1e-9);
	ck_assert_double_eq_tol(svg_step(501, 5), 200, 1e-9);
	ck_assert_double_eq_tol(svg_step(0, 5), 1, 1e-9);
}
END_TEST

START_TEST(names_are_cut_between_characters) {
	ck_assert_str_eq(svg_shorten("gamma", 5).s, "gamma");
	ck_assert_str_eq(svg_shorten("gamma", 4).s, "gam\u2026");
	ck_assert_str_eq(svg_shorten("\u00e4\u00f6\u00fc\u00df", 3).s, "\u00e4\u00f6\u2026");
	ck_assert_str_eq(svg_shorten("\u00e4\u00f6\u00fc\u00df", 4).s, "\u00e4\u00f6\u00fc\u00df");
	char text[400];
	memset(text, 'x', sizeof text - 1);
	text[sizeof text - 1] = '\0';
	ck_assert_uint_eq(strlen(svg_shorten(text, 60).s), 59 + 3);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("bench");
	TCase *t = tcase_create("picture");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, names_stay_text);
	tcase_add_test(t, everything_is_drawn);
	tcase_add_test(t, heights_are_rates);
	suite_add_tcase(s, t);
	t = tcase_create("parts");
	tcase_add_test(t, axes_have_round_numbers);
	tcase_add_test(t, names_are_cut_between_characters);
	suite_add_tcase(s, t);
	return s;
}
#include "tests/unit/check_main.h"
