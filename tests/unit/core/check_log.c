/* The log: the time of a line, and where lines have one. */
#include "daemon/core/log.h"
#include "daemon/core/loop.h"
#include <check.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

START_TEST(a_time_is_local_with_its_offset) {
	char stamp[LOG_STAMP];
	setenv("TZ", "UTC0", 1);
	tzset();
	log_stamp(stamp, 1700000000);
	ck_assert_str_eq(stamp, "2023-11-14T22:13:20+00:00");
	setenv("TZ", "XXX-5:30", 1);
	tzset();
	log_stamp(stamp, 1700000000);
	ck_assert_str_eq(stamp, "2023-11-15T03:43:20+05:30");
	setenv("TZ", "YYY3:30", 1);
	tzset();
	log_stamp(stamp, 1700000000);
	ck_assert_str_eq(stamp, "2023-11-14T18:43:20-03:30");
}
END_TEST

START_TEST(a_file_and_a_pipe_need_one_unless_it_is_the_journals) {
	char name[] = "/tmp/check_log.XXXXXX", journal[64];
	int file = mkstemp(name), ends[2], null = open("/dev/null", O_WRONLY);
	struct stat st;
	ck_assert_int_ge(file, 0);
	ck_assert_int_ge(null, 0);
	ck_assert_int_eq(pipe(ends), 0);
	unlink(name);
	ck_assert(log_wants_time(file, NULL));
	ck_assert(log_wants_time(ends[1], NULL));
	ck_assert(!log_wants_time(null, NULL)); /* a device, as a terminal is */
	ck_assert(!log_wants_time(-1, NULL));
	ck_assert_int_eq(fstat(ends[1], &st), 0);
	snprintf(journal, sizeof journal, "%llu:%llu", (unsigned long long)st.st_dev,
	        (unsigned long long)st.st_ino);
	ck_assert(!log_wants_time(ends[1], journal));
	ck_assert(log_wants_time(file, journal)); /* the variable is inherited by what writes elsewhere */
	ck_assert(log_wants_time(ends[1], "no numbers"));
	ck_assert(log_wants_time(ends[1], ""));
	close(file);
	close(null);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

START_TEST(a_line_is_whole_and_has_it) {
	char text[512] = "";
	int ends[2], kept = dup(STDERR_FILENO);
	ck_assert_int_eq(pipe(ends), 0);
	unsetenv("JOURNAL_STREAM");
	dup2(ends[1], STDERR_FILENO);
	log_with_time();
	log_line(LOG_LINE_WARN, "a\x1bline\n of %d", 2);
	dup2(kept, STDERR_FILENO);
	ssize_t n = read(ends[0], text, sizeof text - 1);
	ck_assert_int_gt(n, 0);
	int end = 0;
	ck_assert_msg(sscanf(text, "%*4d-%*2d-%*2dT%*2d:%*2d:%*2d%*[+-]%*2d:%*2d warning: a line  of 2%n",
	                      &end) == 0 &&
	                      end == (int)n - 1 && text[end] == '\n',
	        "%s", text);
	ck_assert_ptr_nonnull(
	        strstr(text, "warning: a line  of 2\n")); /* for sscanf all white space is alike */
	close(ends[0]);
	close(ends[1]);
	close(kept);
}
END_TEST

/* Thousands of lines that a stranger causes, each another one: an error of ours is there all the same. */
START_TEST(junk_of_others_keeps_nothing_of_ours_out) {
	static char text[200000];
	char name[] = "/tmp/check_log.XXXXXX";
	int file = mkstemp(name), kept = dup(STDERR_FILENO);
	unlink(name);
	dup2(file, STDERR_FILENO);
	for (int i = 0; i < 5000; i++)
		log_others(LOG_LINE_WARN, "refused number %d", i);
	log_line(LOG_LINE_ERROR, "the disk is full");
	for (int i = 0; i < 5000; i++)
		log_others(LOG_LINE_WARN, "refused once more %d", i);
	log_line(LOG_LINE_ERROR, "the disk is full"); /* which was said a moment ago */
	log_line(LOG_LINE_INFO, "a model serves");
	usleep(300000); /* in which there is room for another line */
	log_others(LOG_LINE_WARN, "refused at last");
	dup2(kept, STDERR_FILENO);
	ssize_t n = pread(file, text, sizeof text - 1, 0);
	ck_assert_int_gt(n, 0);
	unsigned lines = 0;
	for (const char *c = text; (c = strchr(c, '\n')); c++)
		lines++;
	ck_assert_uint_le(lines, 150); /* 100 of others' and what time has added */
	const char *error = strstr(text, "error: the disk is full\n");
	ck_assert_ptr_nonnull(error);
	ck_assert_ptr_null(strstr(error + strlen("error: the"), "the disk is full"));
	ck_assert_ptr_nonnull(strstr(error, "info: a model serves\n"));
	/* and what was dropped is counted */
	unsigned said = 0, dropped = 0, some;
	for (const char *c = text; (c = strstr(c, "warning: ")); c++)
		if (sscanf(c, "warning: %u lines about other nodes and clients were dropped, too many",
		            &some) == 1)
			dropped += some;
		else
			said++;
	ck_assert_uint_gt(dropped, 0);
	ck_assert_uint_eq(said + dropped, 10001);
	close(file);
	close(kept);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("log");
	TCase *t = tcase_create("log");
	tcase_add_test(t, a_time_is_local_with_its_offset);
	tcase_add_test(t, a_file_and_a_pipe_need_one_unless_it_is_the_journals);
	tcase_add_test(t, a_line_is_whole_and_has_it);
	tcase_add_test(t, junk_of_others_keeps_nothing_of_ours_out);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
