/* journal: what is said is kept in order, bounded, over a restart, whatever has become of the file. */
#include "daemon/core/journal.h"
#include "daemon/core/journal_file.h"
#include "proto/schema.h"

#include <check.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static char dir[] = "/tmp/check_journal.XXXXXX";
static struct loop *loop;
static struct journal *journal;
static double now = 1000;

static double clock_of_the_test(void) {
	return now;
}

static void begin(void) {
	char err[200];
	const struct journal_config c = {.state_dir = dir, .time = clock_of_the_test};
	struct journal_config config = c;
	ck_assert_int_eq(loop_create(&loop), 0);
	config.loop = loop;
	ck_assert_msg(journal_create(&journal, &config, err, sizeof err) == 0, "%s", err);
}

static void end(void) {
	journal_destroy(journal);
	loop_destroy(loop);
}

static void restart(void) {
	end();
	begin();
}

static void setup(void) {
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir));
	now = 1000;
	begin();
}

static void teardown(void) {
	char command[128];
	end();
	snprintf(command, sizeof command, "rm -r %s", dir);
	ck_assert_int_eq(system(command), 0);
}

/* Errors are not limited as lines of the log are. */
static void say(const char *fmt, int i) {
	journal_say(journal,
	        &(struct journal_event){.kind = EVENT_MODEL_SERVING, .level = LOG_LINE_INFO, .model = "demo"},
	        fmt, i);
}

static size_t count(void) {
	size_t n = 0;
	while (journal_at(journal, n))
		n++;
	return n;
}

static const char *text_at(size_t i) {
	const Caravan__Event *e = journal_at(journal, i);
	return e ? e->text : "(none)";
}

static char *path(void) {
	static char p[128];
	snprintf(p, sizeof p, "%s/events", dir);
	return p;
}

static uint8_t *read_file(size_t *len) {
	FILE *f = fopen(path(), "rb");
	ck_assert_ptr_nonnull(f);
	uint8_t *data = malloc(1 << 21);
	*len = fread(data, 1, 1 << 21, f);
	fclose(f);
	return data;
}

static void write_file(const uint8_t *data, size_t len) {
	FILE *f = fopen(path(), "wb");
	ck_assert_ptr_nonnull(f);
	ck_assert_uint_eq(fwrite(data, 1, len, f), len);
	fclose(f);
}

/* ---- what is said ---- */

START_TEST(everything_is_in_the_record) {
	now = 1764515045.25;
	struct journal_event e = {.kind = EVENT_MODEL_RECOVERED,
	        .level = LOG_LINE_INFO,
	        .model = "demo",
	        .node = "gamma",
	        .parts = {{EVENT_PART_NOTICED, 0.5}, {EVENT_PART_WEIGHTS, 2}},
	        .seconds = 2.5,
	        .moved = 77};
	journal_say(journal, &e, "model %s serves again", "demo");
	const Caravan__Event *v = journal_at(journal, 0);
	ck_assert_ptr_nonnull(v);
	ck_assert_str_eq(v->kind, "model-recovered");
	ck_assert_str_eq(v->text, "model demo serves again");
	ck_assert_str_eq(v->model, "demo");
	ck_assert_str_eq(v->node, "gamma");
	ck_assert(v->time == now && v->seconds == 2.5);
	ck_assert_uint_eq(v->moved, 77);
	ck_assert_uint_eq(v->severity, 2);
	ck_assert_uint_eq(v->n_parts, 2);
	ck_assert_str_eq(v->parts[1]->name, "weights");
	ck_assert(v->parts[1]->seconds == 2);
}
END_TEST

/* Other nodes refuse a message with one bad event in it. */
START_TEST(whatever_is_said_is_valid) {
	static const char *const texts[] = {"", "two\nlines", "\xff\xfe", "caf\xc3", "fa\xc3\xa7"};
	char longest[3000], err[200];
	memset(longest, 'x', sizeof longest - 1);
	longest[sizeof longest - 1] = 0;
	memcpy(longest + WIRE_EVENT_TEXT_MAX - 1, "\xc3\xa7", 2);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		journal_say(journal,
		        &(struct journal_event){.kind = EVENT_ERROR,
		                .level = LOG_LINE_DEBUG,
		                .model = "a file name/..",
		                .node = "",
		                .seconds = -1,
		                .parts = {{"weights", 0.0 / *(volatile double *)&(double){0}}}},
		        "an error: %s", texts[i]);
	journal_say(
	        journal, &(struct journal_event){.kind = EVENT_ERROR, .level = LOG_LINE_INFO}, "%s", longest);
	ck_assert_uint_eq(count(), 6);
	for (size_t i = 0; i < 6; i++)
		ck_assert_msg(
		        schema_check(&journal_at(journal, i)->base, err, sizeof err), "%zu: %s", i, err);
	ck_assert_str_eq(text_at(1), "an error: two lines");
	ck_assert_str_eq(text_at(4), "an error: fa\xc3\xa7");
	ck_assert_uint_eq(strlen(text_at(5)), WIRE_EVENT_TEXT_MAX - 1);
	ck_assert_str_eq(journal_at(journal, 0)->model, "");
}
END_TEST

START_TEST(without_a_journal_it_is_a_line_of_the_log) {
	journal_say(
	        NULL, &(struct journal_event){.kind = EVENT_ERROR, .level = LOG_LINE_INFO}, "nothing else");
	ck_assert_uint_eq(count(), 0);
}
END_TEST

START_TEST(the_latest_are_kept) {
	for (int i = 0; i < JOURNAL_EVENTS + 5; i++)
		say("event %d", i);
	ck_assert_uint_eq(count(), JOURNAL_EVENTS);
	ck_assert_str_eq(text_at(0), "event 5");
	ck_assert_str_eq(text_at(JOURNAL_EVENTS - 1), "event 516");
	for (size_t i = 1; i < JOURNAL_EVENTS; i++)
		ck_assert_uint_eq(journal_at(journal, i)->serial, journal_at(journal, i - 1)->serial + 1);
}
END_TEST

START_TEST(what_others_cause_is_limited) {
	for (int i = 0; i < 300; i++)
		journal_say(journal,
		        &(struct journal_event){
		                .kind = EVENT_NODE_LOST, .level = LOG_LINE_DEBUG, .others = true},
		        "it comes and goes %d", i);
	ck_assert_uint_ge(count(), 100);
	ck_assert_uint_le(count(), 200); /* 100 at once, and one a second on a very slow machine */
	say("our own", 0);
	ck_assert_str_eq(text_at(count() - 1), "our own");
}
END_TEST

static unsigned watched;
static void watch(void *arg, const Caravan__Event *e) {
	ck_assert_ptr_eq(arg, &watched);
	ck_assert_ptr_eq(e, journal_at(journal, count() - 1));
	if (++watched == 41) /* of the thread and of this one */
		loop_stop(loop);
}

static void *say_elsewhere(void *arg) {
	(void)arg;
	for (int i = 0; i < 20; i++)
		say("elsewhere %d", i);
	return NULL;
}

START_TEST(any_thread_may_say_something) {
	pthread_t t;
	watched = 0;
	journal_watch(journal, watch, &watched);
	ck_assert_int_eq(pthread_create(&t, NULL, say_elsewhere, NULL), 0);
	for (int i = 0; i < 21; i++)
		say("here %d", i);
	pthread_join(t, NULL);
	loop_run(loop);
	ck_assert_uint_eq(watched, 41);
	ck_assert_uint_eq(count(), 41);
}
END_TEST

/* What a thread said, and the loop has not taken, is there when the journal ends; its post comes too late. */
START_TEST(the_end_takes_what_is_on_its_way) {
	pthread_t t;
	ck_assert_int_eq(pthread_create(&t, NULL, say_elsewhere, NULL), 0);
	pthread_join(t, NULL);
	restart();
	ck_assert_uint_eq(count(), 20);
	ck_assert_str_eq(text_at(19), "elsewhere 19");
}
END_TEST

/* ---- the file ---- */

START_TEST(a_restart_keeps_them) {
	uint64_t id = journal_id(journal), serial;
	ck_assert_uint_ne(id, 0);
	say("before %d", 1);
	say("before %d", 2);
	serial = journal_at(journal, 1)->serial;
	restart();
	ck_assert_uint_eq(journal_id(journal), id);
	ck_assert_uint_eq(count(), 2);
	ck_assert_str_eq(text_at(1), "before 2");
	ck_assert_uint_eq(journal_at(journal, 1)->serial, serial);
	say("after %d", 3);
	/* a power failure may have taken some whose numbers other nodes know */
	ck_assert_uint_gt(journal_at(journal, 2)->serial, serial + 500);
	restart();
	ck_assert_uint_eq(count(), 3);
	ck_assert_str_eq(text_at(2), "after 3");
}
END_TEST

START_TEST(the_file_is_bounded) {
	struct stat st;
	for (int i = 0; i < 5000; i++)
		say("event %d", i);
	restart();
	ck_assert_uint_eq(count(), JOURNAL_EVENTS);
	ck_assert_str_eq(text_at(JOURNAL_EVENTS - 1), "event 4999");
	restart();
	ck_assert_int_eq(stat(path(), &st), 0);
	ck_assert_int_le(st.st_size, 2 * JOURNAL_EVENTS * 120);
	ck_assert_uint_eq(st.st_mode & 077, 0);
}
END_TEST

/* _i: which byte of the file is changed, in steps that visit every part of a record. */
START_TEST(damage_costs_the_record_that_has_it) {
	for (int i = 0; i < 10; i++)
		say("event %d", i);
	end();
	size_t len;
	uint8_t *data = read_file(&len);
	/* a head of 24 bytes, then ten records of one length */
	ck_assert_uint_eq((len - 24) % 10, 0);
	size_t each = (len - 24) / 10, at = 24 + 4 * each + (size_t)_i;
	if ((size_t)_i < each) {
		data[at] ^= 0x41;
		write_file(data, len);
	}
	begin();
	ck_assert_uint_eq(count(), (size_t)_i < each ? 9 : 10);
	ck_assert_str_eq(text_at(3), "event 3");
	ck_assert_str_eq(text_at(4), (size_t)_i < each ? "event 5" : "event 4");
	ck_assert_str_eq(text_at(count() - 1), "event 9");
	free(data);
}
END_TEST

START_TEST(a_file_that_is_cut_short) {
	for (int i = 0; i < 10; i++)
		say("event %d", i);
	end();
	size_t len;
	uint8_t *data = read_file(&len);
	write_file(data, len - 3);
	begin();
	ck_assert_uint_eq(count(), 9);
	say("event %d", 10);
	restart(); /* and what follows is not damaged too */
	ck_assert_uint_eq(count(), 10);
	ck_assert_str_eq(text_at(8), "event 8");
	ck_assert_str_eq(text_at(9), "event 10");
	free(data);
}
END_TEST

START_TEST(a_damaged_head_is_another_journal) {
	uint64_t id = journal_id(journal);
	say("event %d", 0);
	end();
	size_t len;
	uint8_t *data = read_file(&len);
	data[20] ^= 1;
	write_file(data, len);
	begin();
	ck_assert_uint_eq(count(), 1);
	ck_assert_uint_ne(journal_id(journal), id);
	ck_assert_uint_ne(journal_id(journal), 0);
	free(data);
}
END_TEST

START_TEST(a_file_of_something_else) {
	end();
	uint8_t *data = calloc(1, 5 << 20);
	write_file(data, 5 << 20); /* larger than any journal */
	free(data);
	begin();
	ck_assert_uint_eq(count(), 0);
	say("event %d", 1);
	restart();
	ck_assert_uint_eq(count(), 1);
}
END_TEST

/* ---- kinds ---- */

START_TEST(kinds_have_names) {
	for (int k = 0; k < EVENT_KINDS; k++) {
		const char *name = journal_kind_name((enum journal_kind)k);
		ck_assert_msg(name && strlen(name) <= WIRE_EVENT_KIND_MAX, "kind %d", k);
		ck_assert_int_eq(journal_kind_find(name), k);
	}
	ck_assert_int_eq(journal_kind_find("teapot"), EVENT_KINDS);
	ck_assert(!journal_kind_is_shared(EVENT_KINDS));
	ck_assert(journal_kind_is_shared(EVENT_NODE_LOST) && !journal_kind_is_shared(EVENT_NODE_STARTED));
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("journal");
	TCase *t = tcase_create("said");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, everything_is_in_the_record);
	tcase_add_test(t, whatever_is_said_is_valid);
	tcase_add_test(t, without_a_journal_it_is_a_line_of_the_log);
	tcase_add_test(t, the_latest_are_kept);
	tcase_add_test(t, what_others_cause_is_limited);
	tcase_add_test(t, any_thread_may_say_something);
	tcase_add_test(t, the_end_takes_what_is_on_its_way);
	tcase_add_test(t, kinds_have_names);
	suite_add_tcase(s, t);
	t = tcase_create("file");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_restart_keeps_them);
	tcase_add_test(t, the_file_is_bounded);
	tcase_add_loop_test(t, damage_costs_the_record_that_has_it, 0, 90);
	tcase_add_test(t, a_file_that_is_cut_short);
	tcase_add_test(t, a_damaged_head_is_another_journal);
	tcase_add_test(t, a_file_of_something_else);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
