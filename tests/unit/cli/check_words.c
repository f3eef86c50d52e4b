/* What the command says: suggestions, the text of a progress bar, where the control socket is looked for. */
#include "cli/progress.h"
#include "cli/speed.h"
#include "cli/table.h"
#include "cli/waiting.h"
#include "common/paths.h"
#include "common/size.h"
#include "common/suggest.h"
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

START_TEST(distances_count_edits) {
	ck_assert_uint_eq(suggest_distance("", ""), 0);
	ck_assert_uint_eq(suggest_distance("load", "load"), 0);
	ck_assert_uint_eq(suggest_distance("laod", "load"), 1);
	ck_assert_uint_eq(suggest_distance("lod", "load"), 1);
	ck_assert_uint_eq(suggest_distance("loaad", "load"), 1);
	ck_assert_uint_eq(suggest_distance("kitten", "sitting"), 3);
	ck_assert_uint_eq(suggest_distance("", "abc"), 3);
	char longest[2 * SUGGEST_LENGTH_MAX];
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = '\0';
	ck_assert_uint_eq(suggest_distance(longest, "x"), SIZE_MAX);
	ck_assert_uint_eq(suggest_distance("x", longest), SIZE_MAX);
}
END_TEST

START_TEST(what_is_near_is_suggested) {
	static const char *const names[] = {"run", "tokenize", "load", "unload", "status", "invite", "rm"};
	const size_t n = sizeof names / sizeof *names;
	ck_assert_str_eq(suggest_nearest("laod", names, n), "load");
	ck_assert_str_eq(suggest_nearest("stauts", names, n), "status");
	ck_assert_str_eq(suggest_nearest("stat", names, n), "status");
	ck_assert_str_eq(suggest_nearest("unlod", names, n), "unload");
	ck_assert_str_eq(suggest_nearest("tokenise", names, n), "tokenize");
	ck_assert_ptr_null(suggest_nearest("frobnicate", names, n));
	ck_assert_ptr_null(suggest_nearest("x", names, n)); /* one letter is no reason for anything */
	ck_assert_ptr_null(suggest_nearest("", names, n));
	ck_assert_ptr_null(suggest_nearest("load", names, 0));
}
END_TEST

START_TEST(times_are_told_in_words) {
	ck_assert_str_eq(size_time(0).s, "1 s");
	ck_assert_str_eq(size_time(43.2).s, "44 s");
	ck_assert_str_eq(size_time(130).s, "3 min");
	ck_assert_str_eq(size_time(2 * 3600 + 60 * 9 + 1).s, "2 h 10 min");
	ck_assert_str_eq(size_time(8.5 * 86400).s, "9 days");
	ck_assert_str_eq(size_time(1e30).s, "more than 100 days");
	ck_assert_str_eq(size_time(0.0 / 0.0).s, "more than 100 days");
}
END_TEST

START_TEST(units_fit_what_is_told) {
	ck_assert_str_eq(size_duration(0).s, "< 1 µs");
	ck_assert_str_eq(size_duration(1e-6).s, "1.00 µs");
	ck_assert_str_eq(size_duration(0.000772).s, "772 µs");
	ck_assert_str_eq(size_duration(0.0009996).s, "1.00 ms");
	ck_assert_str_eq(size_duration(0.0123).s, "12.3 ms");
	ck_assert_str_eq(size_duration(0.9996).s, "1.00 s");
	ck_assert_str_eq(size_duration(412).s, "412 s");
	ck_assert_str_eq(size_link(64e3).s, "512 kbit/s");
	ck_assert_str_eq(size_link(124.99e3).s, "1.00 Mbit/s");
	ck_assert_str_eq(size_link(26.9e6).s, "215 Mbit/s");
	ck_assert_str_eq(size_link(125e6).s, "1.00 Gbit/s");
}
END_TEST

START_TEST(layers_are_named) {
	ck_assert_str_eq(size_layers(2, 3).s, "2");
	ck_assert_str_eq(size_layers(0, 4).s, "0-3");
	ck_assert_str_eq(size_layers_named(2, 3).s, "layer 2");
	ck_assert_str_eq(size_layers_named(0, 1024).s, "layers 0-1023");
}
END_TEST

START_TEST(how_fast_a_model_is) {
	Caravan__ModelState s = CARAVAN__MODEL_STATE__INIT;
	Caravan__ServingStats minute = CARAVAN__SERVING_STATS__INIT, hour = CARAVAN__SERVING_STATS__INIT;
	Caravan__Percentiles first = CARAVAN__PERCENTILES__INIT, inter = CARAVAN__PERCENTILES__INIT;
	s.tokens_per_second = 12.34;
	/* of an older coordinator */
	ck_assert_str_eq(speed_rates(&s).s, "0 tokens/s now"); /* whatever it did some seconds ago */
	s.sequences = 1;
	ck_assert_str_eq(speed_rates(&s).s, "12.3 tokens/s now");
	ck_assert_str_eq(speed_waits(&s).s, "");
	ck_assert(speed_is_any(&s));
	s.tokens_per_second = 0;
	ck_assert(!speed_is_any(&s));
	/* young, without an answer */
	s.minute = &minute;
	s.hour = &hour;
	minute.seconds = hour.seconds = 19.5;
	ck_assert_str_eq(speed_rates(&s).s, "0 tokens/s now, 0 the last 20 s");
	ck_assert_str_eq(speed_waits(&s).s, "");
	ck_assert(!speed_is_any(&s));
	minute.seconds = 59.5;
	minute.tokens_per_second = 11.8;
	hour.seconds = 62; /* nearly the same */
	ck_assert_str_eq(speed_rates(&s).s, "0 tokens/s now, 11.8 the last minute");
	hour.seconds = 719;
	hour.tokens_per_second = 4.1;
	ck_assert(speed_is_any(&s));
	ck_assert_str_eq(speed_rates(&s).s, "0 tokens/s now, 11.8 the last minute, 4.10 the last 12 min");
	hour.seconds = 3541;
	ck_assert_str_eq(speed_rates(&s).s, "0 tokens/s now, 11.8 the last minute, 4.10 the last hour");
	/* times of the minute before those of the hour */
	first.p50 = 0.41;
	first.p99 = 1.9;
	inter.p50 = 0.082;
	inter.p99 = 0.095;
	hour.first_token = &first;
	hour.inter_token = &inter;
	ck_assert_str_eq(speed_waits(&s).s,
	        "first token after 410 ms (p50), 1.90 s (p99); between tokens 82.0 ms (p50), 95.0 ms (p99), the last hour");
	minute.inter_token = &inter;
	ck_assert_str_eq(speed_waits(&s).s, "between tokens 82.0 ms (p50), 95.0 ms (p99), the last minute");
	ck_assert_ptr_eq(speed_of_answers(&s), &minute);
	/* the longest that there is fits */
	first.p50 = first.p99 = inter.p50 = inter.p99 = 1e9;
	minute.first_token = &first;
	ck_assert_ptr_nonnull(strstr(speed_waits(&s).s, "1000000000 s (p99), the last minute"));
}
END_TEST

static const double GIB = 1024.0 * 1024 * 1024;

START_TEST(a_bar_says_who_does_what_how_fast_and_how_long) {
	char line[256];
	struct progress_line l = {.what = "fetching",
	        .node = "study",
	        .nodes = 1,
	        .done = 3 * GIB,
	        .total = 9 * GIB,
	        .rate = 0.1 * GIB};
	progress_text(line, sizeof line, 120, &l);
	ck_assert_str_eq(line,
	        "study: fetching [########................]  33%  3.00 GiB of 9.00 GiB, 102 MiB/s, "
	        "60 s left");
	/* not a figure from what nothing is known of */
	l.rate = 0;
	progress_text(line, sizeof line, 120, &l);
	ck_assert_str_eq(line, "study: fetching [########................]  33%  3.00 GiB of 9.00 GiB");
	l.nodes = 3;
	progress_text(line, sizeof line, 120, &l);
	ck_assert_msg(strncmp(line, "3 nodes: fetching [", 19) == 0, "%s", line);
	l = (struct progress_line){.what = "reading the prompt",
	        .node = "",
	        .nodes = 1,
	        .done = 512,
	        .total = 4000,
	        .rate = 128,
	        .tokens = true};
	progress_text(line, sizeof line, 120, &l);
	ck_assert_str_eq(line,
	        "reading the prompt [###.....................]  12%  512 of 4000 tokens, 128 tokens/s, "
	        "28 s left");
	l.done = l.total;
	progress_text(line, sizeof line, 120, &l);
	ck_assert_ptr_null(strstr(line, "left"));
	ck_assert_ptr_nonnull(strstr(line, "100%"));
	/* a peer that says more is no reason to write beyond the line */
	l.done = 1.5 * l.total;
	progress_text(line, sizeof line, 120, &l);
	ck_assert_ptr_null(strstr(line, "left"));
	ck_assert_ptr_nonnull(strstr(line, "[########################] 100%"));
}
END_TEST

START_TEST(a_bar_fits_every_terminal) {
	char line[512], name[WIRE_NAME_MAX + 1];
	memset(name, 'n', sizeof name - 1);
	name[sizeof name - 1] = '\0';
	for (unsigned columns = 20; columns < 200; columns++)
		for (int named = 0; named < 2; named++)
			for (int rated = 0; rated < 2; rated++) {
				struct progress_line l = {.what = "hashing",
				        .node = named ? name : "a",
				        .nodes = 1,
				        .done = 35.99 * GIB,
				        .total = 36.16 * GIB,
				        .rate = rated ? 123456 : 0};
				progress_text(line, sizeof line, columns, &l);
				ck_assert_msg(strlen(line) < columns, "%u: %s", columns, line);
				if (!named)
					ck_assert_msg(strstr(line, "99%"), "%u: %s", columns, line);
				if (!named && rated && columns >= 40)
					ck_assert_msg(strstr(line, "left"), "%u: %s", columns, line);
			}
}
END_TEST

/* What is written to a stream. */
static char *written;
static size_t written_len;
static FILE *paper(void) {
	free(written);
	FILE *f = open_memstream(&written, &written_len);
	ck_assert_ptr_nonnull(f);
	return f;
}

START_TEST(tables_are_as_wide_as_they_need_to_be) {
	struct table t;
	FILE *f = paper();
	table_begin(&t, 3, 2);
	static const char *const cells[] = {
	        "node", "state", "address", "alpha", "up", "here", "b", "", "", "", "", ""};
	for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
		table_cell(&t, "%s", cells[i]);
	table_print(&t, f, 80);
	fclose(f);
	ck_assert_str_eq(written, "  node   state  address\n"
	                          "  alpha  up     here\n"
	                          "  b\n"
	                          "\n");
	f = paper();
	table_begin(&t, 2, 2);
	table_cell(&t, "%s", "a-name-that-is-far-too-long-for-it");
	table_cell(&t, "%s", "up");
	table_cell(&t, "%s", "M\xc3\xbcller-und-S\xc3\xb6hne-am-Rhein");
	table_cell(&t, "%s", "down");
	table_print(&t, f, 20);
	fclose(f);
	ck_assert_str_eq(written, "  a-name-that~  up\n"
	                          "  M\xc3\xbcller-und-~  down\n");
	f = paper();
	table_begin(&t, 2, 2);
	table_print(&t, f, 20);
	fclose(f);
	ck_assert_str_eq(written, "");
}
END_TEST

START_TEST(sentences_are_broken_at_blanks) {
	FILE *f = paper();
	table_text(f, 20, 2, 4, "one two three four five six");
	fclose(f);
	ck_assert_str_eq(written, "  one two three four\n    five six\n");
	f = paper();
	table_text(f, 10, 0, 2, "a word-that-is-longer-than-a-line b");
	fclose(f);
	ck_assert_str_eq(written, "a\n  word-that-is-longer-than-a-line\n  b\n");
	/* as wide as the line, and one more */
	for (unsigned width = 7; width >= 6; width--) {
		f = paper();
		table_text(f, width, 0, 2, "one two");
		fclose(f);
		ck_assert_str_eq(written, width == 7 ? "one two\n" : "one\n  two\n");
	}
	f = paper();
	table_text(f, 10, 0, 2, "");
	fclose(f);
	ck_assert_str_eq(written, "\n");
}
END_TEST

static void socket_is(const char *expected, const char *given, const char *state) {
	char path[PATH_MAX];
	ck_assert_int_eq(paths_control(given, state, path, sizeof path), 0);
	ck_assert_str_eq(path, expected);
}

static void searched(const char *given, unsigned i, const char *expected) {
	char path[PATH_MAX];
	int rc = paths_control_search(given, i, path, sizeof path);
	if (!expected) {
		ck_assert_int_eq(rc, -ENOENT);
		return;
	}
	ck_assert_int_eq(rc, 0);
	ck_assert_str_eq(path, expected);
}

static void environment(const char *control, const char *runtime, const char *state, const char *home) {
	clearenv();
	if (control)
		setenv("CARAVAN_CONTROL", control, 1);
	if (runtime)
		setenv("XDG_RUNTIME_DIR", runtime, 1);
	if (state)
		setenv("XDG_STATE_HOME", state, 1);
	if (home)
		setenv("HOME", home, 1);
}

START_TEST(the_socket_is_where_it_is_looked_for) {
	environment("/c", "/r", "/s", "/h");
	socket_is("/g", "/g", "/t");
	socket_is("/t/control.sock", NULL, "/t"); /* what is typed wins over the environment */
	socket_is("/c", NULL, NULL);
	searched("/g", 0, "/g");
	searched("/g", 1, NULL);
	searched(NULL, 0, "/c");
	searched(NULL, 1, NULL);
	environment(NULL, "/r", "/s", "/h");
	socket_is("/r/caravan/control.sock", NULL, NULL);
	searched(NULL, 0, "/r/caravan/control.sock");
	searched(NULL, 1, "/s/caravan/control.sock");
	searched(NULL, 2, "/run/caravan/control.sock");
	searched(NULL, 3, NULL);
	/* without a runtime folder it is with the state, and is found from a session that has one */
	environment(NULL, NULL, NULL, "/h");
	socket_is("/h/.local/state/caravan/control.sock", NULL, NULL);
	environment(NULL, "/r", NULL, "/h");
	searched(NULL, 1, "/h/.local/state/caravan/control.sock");
	/* and the other way round */
	char path[PATH_MAX];
	environment(NULL, NULL, NULL, "/h");
	snprintf(path, sizeof path, "/run/user/%u/caravan/control.sock", (unsigned)getuid());
	searched(NULL, 0, path);
	/* a service */
	environment(NULL, NULL, NULL, NULL);
	socket_is("/run/caravan/control.sock", NULL, NULL);
	setenv("STATE_DIRECTORY", "/var/lib/private/caravan:/more", 1);
	socket_is("/run/caravan/control.sock", NULL, NULL);
	setenv("RUNTIME_DIRECTORY", "/run/other:/more", 1);
	socket_is("/run/other/control.sock", NULL, NULL);
	ck_assert_int_eq(paths_state(NULL, path, sizeof path), 0);
	ck_assert_str_eq(path, "/var/lib/private/caravan");
	ck_assert_int_eq(paths_control(NULL, "/t", path, 4), -ENAMETOOLONG);
}
END_TEST

/* ---- what an answer waits for ---- */

static uint8_t ids[3][32] = {{1}, {2}, {3}};
#define ID(i) ((ProtobufCBinaryData){32, ids[i]})

/* A model on its coordinator here and on a node pi; a third node has nothing of it. */
static struct {
	Caravan__ReportNode node[3];
	Caravan__Stage stage[2], *stages[2];
	Caravan__Plan plan;
	Caravan__ReportModel model, other;
	const Caravan__ReportNode *nodes[3];
	const Caravan__ReportModel *models[2];
	struct report r;
} world;

static void set_up_world(void) {
	static char *const names[] = {"here", "pi", "far"};
	for (int i = 0; i < 3; i++) {
		world.node[i] = (Caravan__ReportNode)CARAVAN__REPORT_NODE__INIT;
		world.node[i].name = names[i];
		world.node[i].node = ID(i);
		world.node[i].state = "up";
		world.node[i].self = i == 0;
		world.node[i].last_heard = i == 0 ? 0 : 0.5;
		world.nodes[i] = &world.node[i];
	}
	world.plan = (Caravan__Plan)CARAVAN__PLAN__INIT;
	world.plan.model = "m";
	world.plan.coordinator = ID(0);
	for (int i = 0; i < 2; i++) {
		world.stage[i] = (Caravan__Stage)CARAVAN__STAGE__INIT;
		world.stage[i].node = ID(i);
		world.stages[i] = &world.stage[i];
	}
	world.plan.stages = world.stages;
	world.plan.n_stages = 2;
	world.model = world.other = (Caravan__ReportModel)CARAVAN__REPORT_MODEL__INIT;
	world.model.plan = world.other.plan = &world.plan;
	world.model.phase = world.other.phase = CARAVAN__MODEL_PHASE__SERVING;
	world.model.reason = world.other.reason = "";
	world.models[0] = &world.model;
	world.models[1] = &world.other;
	world.r = (struct report){.node = world.nodes, .nodes = 3, .model = world.models, .models = 1};
}

/* What the model m, or the only one, waits for; "": nothing known. */
static const char *trouble(const char *model) {
	static char out[300];
	return waiting_trouble(out, sizeof out, &world.r, model) ? out : "";
}

START_TEST(what_an_answer_waits_for) {
	set_up_world();
	ck_assert_str_eq(trouble("m"), "");
	world.node[2].last_heard = 5; /* no node of the model's */
	ck_assert_str_eq(trouble("m"), "");
	world.node[0].last_heard = 5; /* the daemon that says so */
	ck_assert_str_eq(trouble("m"), "");
	world.node[1].last_heard = 1.9;
	ck_assert_str_eq(trouble("m"), "");
	world.node[1].last_heard = 4;
	ck_assert_str_eq(trouble("m"), "node pi has been silent for 4 s");
	ck_assert_str_eq(trouble(""), "node pi has been silent for 4 s");
	world.node[1].state = "down";
	ck_assert_str_eq(trouble("m"), "node pi is down");
	ck_assert_str_eq(trouble("another"), "");
	world.r.models = 2; /* which of them is not known */
	ck_assert_str_eq(trouble(""), "");
	world.r.models = 1;
	/* a coordinator elsewhere */
	world.node[1].state = "up";
	world.node[1].last_heard = 0;
	world.plan.coordinator = ID(2);
	ck_assert_str_eq(trouble("m"), "node far has been silent for 5 s");
	world.node[2].last_heard = 0;
	world.model.phase = CARAVAN__MODEL_PHASE__UNAVAILABLE;
	world.model.reason = "node pi has been down since noon";
	ck_assert_str_eq(trouble("m"), "model m is unavailable: node pi has been down since noon");
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("words");
	TCase *t = tcase_create("words");
	tcase_add_test(t, distances_count_edits);
	tcase_add_test(t, what_is_near_is_suggested);
	tcase_add_test(t, times_are_told_in_words);
	tcase_add_test(t, units_fit_what_is_told);
	tcase_add_test(t, layers_are_named);
	tcase_add_test(t, how_fast_a_model_is);
	tcase_add_test(t, a_bar_says_who_does_what_how_fast_and_how_long);
	tcase_add_test(t, a_bar_fits_every_terminal);
	tcase_add_test(t, tables_are_as_wide_as_they_need_to_be);
	tcase_add_test(t, sentences_are_broken_at_blanks);
	tcase_add_test(t, the_socket_is_where_it_is_looked_for);
	tcase_add_test(t, what_an_answer_waits_for);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
