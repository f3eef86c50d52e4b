/* What the command takes as options and operands, and what it says of the rest. */
#include "cli/args.h"
#include "cli/command.h"
#include "common/size.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPT_FIRST = OPT_OWN, OPT_LONG, OPT_LONGER };

static const struct option options[] = {{"first", required_argument, NULL, OPT_FIRST},
        {"long-one", no_argument, NULL, OPT_LONG}, {"longer", no_argument, NULL, OPT_LONGER}, ARGS_COMMON};
static const struct command command = {"test", "[OPTION]... WHAT", "tests", NULL, NULL};

/* The first line that a call leaves on standard error when it ends the program as it should end for a wrong use. */
static const char *refusal(void (*call)(const void *arg), const void *arg) {
	static char text[2000];
	int out[2], status;
	size_t n = 0;
	ck_assert_int_eq(pipe(out), 0);
	pid_t child = fork();
	ck_assert_int_ge(child, 0);
	if (child == 0) {
		dup2(out[1], STDERR_FILENO);
		call(arg);
		_exit(99);
	}
	close(out[1]);
	for (ssize_t k; (k = read(out[0], text + n, sizeof text - 1 - n)) > 0;)
		n += (size_t)k;
	close(out[0]);
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_USAGE, "%x: %s", status, text);
	return text;
}

/* ---- values ---- */

static void take_uint(const void *text) {
	args_uint("--n", text, 2, 300);
}

static void take_double(const void *text) {
	args_double("--t", text, 0.5, 2);
}

static void take_long_duration(const void *text) {
	args_duration("--for", text, 3650);
}

static void take_duration(const void *text) {
	args_duration("--for", text, 30);
}

START_TEST(numbers_are_whole_and_within_their_bounds) {
	ck_assert_uint_eq(args_uint("--n", "2", 2, 300), 2);
	ck_assert_uint_eq(args_uint("--n", "300", 2, 300), 300);
	ck_assert_uint_eq(args_uint("--n", "18446744073709551615", 0, UINT64_MAX), UINT64_MAX);
	static const char *const odd[] = {
	        "", "1", "301", "-5", "-18446744073709551516", "5x", "x", "18446744073709551621", "2.5"};
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		char want[200];
		snprintf(want, sizeof want, "caravan: --n: '%s' is not a whole number from 2 to 300", odd[i]);
		ck_assert_str_eq(refusal(take_uint, odd[i]), want);
	}
}
END_TEST

START_TEST(numbers_with_a_point_are_finite_and_within_their_bounds) {
	ck_assert_double_eq(args_double("--t", "0.5", 0.5, 2), 0.5);
	ck_assert_double_eq(args_double("--t", "2", 0.5, 2), 2);
	static const char *const odd[] = {"", "0.49", "2.01", "nan", "inf", "1x", "x", "-1"};
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		char want[200];
		snprintf(want, sizeof want, "caravan: --t: '%s' is not a number from 0.5 to 2", odd[i]);
		ck_assert_str_eq(refusal(take_double, odd[i]), want);
	}
}
END_TEST

START_TEST(times_have_units) {
	static const struct {
		const char *text;
		uint64_t seconds;
	} good[] = {{"1", 1}, {"90", 90}, {"90s", 90}, {"15m", 900}, {"2h", 7200}, {"1d", 86400},
	        {"30d", 2592000}, {"720h", 2592000}, {"2592000", 2592000}};
	static const char *const odd[] = {
	        "", "0", "31d", "721h", "2592001s", "-1", "5w", "5mm", "5 m", "m", "99999999999999999999"};
	for (size_t i = 0; i < sizeof good / sizeof *good; i++)
		ck_assert_uint_eq(args_duration("--for", good[i].text, 30), good[i].seconds);
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
		ck_assert_ptr_nonnull(strstr(refusal(take_duration, odd[i]), "is not a time up to 30 days"));
	ck_assert_uint_eq(args_duration("--for", "3650d", 3650), 315360000);
	ck_assert_ptr_nonnull(strstr(refusal(take_long_duration, "3651d"), "is not a time up to 3650 days"));
}
END_TEST

START_TEST(lists_are_split_at_commas) {
	char list[] = "a,bc,,d,e", *out[4] = {0};
	ck_assert_uint_eq(args_list(list, out, 3), 3);
	ck_assert_str_eq(out[0], "a");
	ck_assert_str_eq(out[1], "bc");
	ck_assert_str_eq(out[2], "d");
	ck_assert_ptr_null(out[3]);
	char empty[] = "";
	ck_assert_uint_eq(args_list(empty, out, 3), 0);
}
END_TEST

/* ---- options and operands ---- */

#define ARGV(...) ((const char *const[]){"test", __VA_ARGS__, NULL})

static void begin(struct args *a, const char *const *argv) {
	static char word[16][32], *copy[16];
	int n = 0;
	for (; argv[n]; n++) {
		snprintf(word[n], sizeof word[n], "%s", argv[n]);
		copy[n] = word[n];
	}
	copy[n] = NULL;
	args_begin(a, &command, n, copy);
}

static void take_all(const void *argv) {
	struct args a;
	begin(&a, argv);
	while (args_next(&a, "ab:", options) != -1)
		;
	args_operands(&a, 1, 2, "WHAT");
}

START_TEST(options_are_taken_in_any_order) {
	struct args a;
	begin(&a, ARGV("what", "--first=1", "-a", "-b", "2", "--long-one", "--state", "/s"));
	ck_assert_int_eq(args_next(&a, "ab:", options), OPT_FIRST);
	ck_assert_str_eq(optarg, "1");
	ck_assert_int_eq(args_next(&a, "ab:", options), 'a');
	ck_assert_int_eq(args_next(&a, "ab:", options), 'b');
	ck_assert_str_eq(optarg, "2");
	ck_assert_int_eq(args_next(&a, "ab:", options), OPT_LONG);
	ck_assert_int_eq(args_next(&a, "ab:", options), -1);
	ck_assert_str_eq(a.control, "/s/control.sock");
	args_operands(&a, 1, 1, "WHAT");
	ck_assert_str_eq(a.argv[optind], "what");
	/* a socket that is named counts, wherever it stands */
	for (int i = 0; i < 2; i++) {
		begin(&a, i ? ARGV("--control", "/c", "--state", "/s")
		            : ARGV("--state", "/s", "--control", "/c"));
		ck_assert_int_eq(args_next(&a, "", options), -1);
		ck_assert_str_eq(a.control, "/c");
	}
}
END_TEST

START_TEST(what_is_wrong_is_said) {
	static const struct {
		const char *argv[6], *says;
	} odd[] = {{{"test", "--frist", "1", "x"}, "unknown option --frist; did you mean --first?"},
	        {{"test", "--long", "x"}, "--long is ambiguous: --long-one or --longer"},
	        {{"test", "--elephant", "x"}, "unknown option --elephant"},
	        {{"test", "-c", "x"}, "unknown option -c"}, {{"test", "-ac", "x"}, "unknown option -c"},
	        {{"test", "x", "--first"}, "option --first needs a value"},
	        {{"test", "x", "-b"}, "option -b needs a value"},
	        {{"test", "--longer=3", "x"}, "option --longer takes no value"},
	        {{"test", "--control", "", "x"}, "--control needs a path"},
	        {{"test", "--state", "", "x"}, "--state needs a folder"}, {{"test"}, "WHAT is missing"},
	        {{"test", ""}, "WHAT is empty"}, {{"test", "x", "y", "z"}, "unexpected argument 'z'"}};
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		char want[200];
		snprintf(want, sizeof want, "caravan test: %s", odd[i].says);
		ck_assert_str_eq(refusal(take_all, odd[i].argv), want);
	}
}
END_TEST

/* ---- sizes ---- */

START_TEST(sizes_have_three_digits) {
	static const struct {
		double bytes;
		const char *text;
	} of[] = {{0, "0 B"}, {999, "999 B"}, {1000, "0.977 KiB"}, {1024, "1.00 KiB"}, {10240, "10.0 KiB"},
	        {102400, "100 KiB"}, {1023 * 1024, "0.999 MiB"}, {1048576, "1.00 MiB"},
	        {1.5 * 1073741824, "1.50 GiB"}, {4e15, "3725290 GiB"}};
	for (size_t i = 0; i < sizeof of / sizeof *of; i++)
		ck_assert_str_eq(size_text(of[i].bytes).s, of[i].text);
	ck_assert_str_eq(size_of(1024, 2048).s, "1.00 of 2.00 KiB");
	ck_assert_str_eq(size_of(1024, 1048576).s, "1.00 KiB of 1.00 MiB");
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("args");
	TCase *t = tcase_create("values");
	tcase_add_test(t, numbers_are_whole_and_within_their_bounds);
	tcase_add_test(t, numbers_with_a_point_are_finite_and_within_their_bounds);
	tcase_add_test(t, times_have_units);
	tcase_add_test(t, lists_are_split_at_commas);
	tcase_add_test(t, sizes_have_three_digits);
	suite_add_tcase(s, t);
	t = tcase_create("options");
	tcase_add_test(t, options_are_taken_in_any_order);
	tcase_add_test(t, what_is_wrong_is_said);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
