/* An event in words, and for programs. */
#include "cli/event_view.h"
#include "daemon/core/journal.h"
#include "daemon/report/event_json.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Caravan__Event event;
static Caravan__CtlEvent whole;
static Caravan__EventPart part[WIRE_EVENT_PARTS_MAX], *parts[WIRE_EVENT_PARTS_MAX];
static char *seen[WIRE_NODES_MAX];

static void setup(void) {
	caravan__event__init(&event);
	caravan__ctl_event__init(&whole);
	whole.event = &event;
	whole.time = 1764515045.1239;
	whole.node = wire_string("alpha");
	whole.seen = seen;
	seen[0] = wire_string("alpha");
	whole.n_seen = 1;
	event.serial = 7;
	event.kind = wire_string("model-recovered");
	event.severity = 2;
	event.text = wire_string("model demo serves again");
	event.parts = parts;
}

static void add_part(const char *name, double seconds) {
	Caravan__EventPart *p = parts[event.n_parts] = &part[event.n_parts];
	event.n_parts++;
	caravan__event_part__init(p);
	p->name = wire_string(name);
	p->seconds = seconds;
	event.seconds += seconds;
}

static const char *words(void) {
	static char text[EVENT_VIEW_TEXT];
	event_view_text(&whole, text);
	return text;
}

START_TEST(a_sentence) {
	ck_assert_str_eq(words(), "model demo serves again");
	event.seconds = 330;
	ck_assert_str_eq(words(), "model demo serves again after 5 min 30 s");
	event.seconds = 12.34;
	ck_assert_str_eq(words(), "model demo serves again after 12.3 s");
	event.seconds = 9000;
	ck_assert_str_eq(words(), "model demo serves again after 2.5 h");
}
END_TEST

START_TEST(with_its_parts) {
	add_part(EVENT_PART_NOTICED, 0.4);
	ck_assert_str_eq(words(), "model demo serves again; noticed after 0.40 s");
	add_part(EVENT_PART_WEIGHTS, 2);
	add_part("of a newer node", 0);
	ck_assert_str_eq(words(),
	        "model demo serves again; 2.4 s in all: noticed after 0.40 s, weights 2.0 s, of a newer node 0.00 s");
}
END_TEST

START_TEST(with_who_saw_it) {
	static const char *const names[] = {"alpha", "beta", "gamma"};
	for (size_t i = 0; i < 3; i++)
		seen[i] = wire_string(names[i]);
	whole.n_seen = 2;
	ck_assert_str_eq(words(), "model demo serves again (seen by alpha and beta)");
	whole.n_seen = 3;
	ck_assert_str_eq(words(), "model demo serves again (seen by alpha, beta and gamma)");
	for (size_t i = 0; i < WIRE_NODES_MAX; i++)
		seen[i] = wire_string("n");
	whole.n_seen = 9;
	ck_assert_str_eq(words(), "model demo serves again (seen by n, n, n, n, n, n and 3 more)");
}
END_TEST

/* The longest of everything that a message can have. */
START_TEST(the_longest) {
	static char text[WIRE_EVENT_TEXT_MAX + 1], kind[WIRE_EVENT_KIND_MAX + 1], name[WIRE_NAME_MAX + 1];
	memset(text, 'x', WIRE_EVENT_TEXT_MAX);
	memset(kind, 'k', WIRE_EVENT_KIND_MAX);
	memset(name, 'n', WIRE_NAME_MAX);
	event.text = text;
	for (size_t i = 0; i < WIRE_EVENT_PARTS_MAX; i++)
		add_part(kind, 1e9);
	event.seconds = 1e9;
	for (size_t i = 0; i < WIRE_NODES_MAX; i++)
		seen[i] = name;
	whole.n_seen = WIRE_NODES_MAX;
	const char *s = words();
	ck_assert_str_eq(s + strlen(s) - strlen(" and 250 more)"), " and 250 more)");
}
END_TEST

static const char *json(void) {
	static char text[4096];
	json_t *o = event_json(&whole);
	char *s = o ? json_dumps(o, JSON_COMPACT | JSON_REAL_PRECISION(13)) : NULL;
	ck_assert_ptr_nonnull(s);
	snprintf(text, sizeof text, "%s", s);
	free(s);
	json_decref(o);
	return text;
}

START_TEST(for_programs) {
	ck_assert_str_eq(json(),
	        "{\"time\":\"2025-11-30T15:04:05.123Z\",\"unix\":1764515045.124,\"kind\":\"model-recovered\","
	        "\"severity\":\"info\",\"text\":\"model demo serves again\",\"node\":\"alpha\",\"serial\":7,"
	        "\"seen_by\":[\"alpha\"]}");
	event.model = wire_string("demo");
	event.node = wire_string("gamma");
	event.severity = 0;
	event.moved = 99;
	add_part(EVENT_PART_WEIGHTS, 0.5);
	const char *s = json();
	ck_assert_msg(
	        strstr(s,
	                "\"about\":\"gamma\",\"model\":\"demo\",\"seconds\":0.5,\"parts\":{\"weights\":0.5},"
	                "\"moved_bytes\":99}") &&
	                strstr(s, "\"severity\":\"error\""),
	        "%s", s);
}
END_TEST

START_TEST(times) {
	char t[EVENT_JSON_TIME];
	event_json_time(0, t);
	ck_assert_str_eq(t, "1970-01-01T00:00:00.000Z");
	event_json_time(1e12, t); /* the latest that a message can have */
	ck_assert_str_eq(t, "1970-01-01T00:00:00.000Z");
	ck_assert_str_eq(event_json_severity(1), "warning");
}
END_TEST

START_TEST(who_is_missing) {
	Caravan__CtlEventsOf of = CARAVAN__CTL_EVENTS_OF__INIT, *list[] = {&of};
	Caravan__CtlEventsMissing m = CARAVAN__CTL_EVENTS_MISSING__INIT;
	of.name = wire_string("gamma");
	of.why = wire_string("it is down");
	m.nodes = list;
	m.n_nodes = 1;
	json_t *o = event_json_missing(&m, 5);
	char *s = json_dumps(o, JSON_COMPACT);
	ck_assert_str_eq(json_string_value(json_object_get(o, "kind")), "events-missing");
	ck_assert_ptr_nonnull(strstr(s, "\"missing\":[{\"node\":\"gamma\",\"why\":\"it is down\"}]"));
	free(s);
	json_decref(o);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("events");
	TCase *t = tcase_create("words");
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, a_sentence);
	tcase_add_test(t, with_its_parts);
	tcase_add_test(t, with_who_saw_it);
	tcase_add_test(t, the_longest);
	suite_add_tcase(s, t);
	t = tcase_create("json");
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, for_programs);
	tcase_add_test(t, times);
	tcase_add_test(t, who_is_missing);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
