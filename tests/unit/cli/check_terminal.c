/* What of a model's text reaches a terminal. */
#include "cli/terminal.h"
#include <check.h>
#include <stdlib.h>
#include <string.h>

/* The same however the text is cut into pieces. */
static void becomes(const char *text, size_t len, const char *want) {
	for (size_t piece = 1; piece <= 5; piece++) {
		struct terminal t = {0};
		uint8_t *out = malloc(TERMINAL_ROOM(len) + TERMINAL_ROOM(0));
		size_t n = 0;
		for (size_t at = 0; at < len; at += piece) {
			size_t left = len - at;
			n += terminal_take(
			        &t, (const uint8_t *)text + at, left < piece ? left : piece, out + n);
		}
		n += terminal_end(&t, out + n);
		ck_assert_msg(n == strlen(want) && memcmp(out, want, n) == 0, "pieces of %zu: %.*s", piece,
		        (int)n, (const char *)out);
		free(out);
	}
}
#define BECOMES(text, want) becomes(text, sizeof(text) - 1, want)

START_TEST(characters_stay) {
	BECOMES("", "");
	BECOMES("Once upon a time\n\tthere was\n", "Once upon a time\n\tthere was\n");
	BECOMES("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xab \xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d",
	        "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x90\xab \xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d");
	BECOMES("\xe2\x80\x8d\xe2\x80\x8f", "\xe2\x80\x8d\xe2\x80\x8f"); /* a joiner, a mark */
}
END_TEST

START_TEST(commands_go) {
	BECOMES("\x1b[2J\x1b]0;title\x07 a", "[2J]0;title a");
	BECOMES("over\rwritten\b\b\x7f\0end", "overwrittenend");
	BECOMES("\xc2\x9b"
	        "31m\xc2\x90q\xc2\x85",
	        "31mq"); /* the same as single characters */
	BECOMES("a\xe2\x80\xae"
	        "b\xe2\x80\xaa\xe2\x81\xa6"
	        "c\xe2\x81\xa9",
	        "abc");
}
END_TEST

START_TEST(what_is_no_character_is_seen_as_such) {
	BECOMES("a\x9b"
	        "b",
	        "a\xef\xbf\xbd"
	        "b"); /* a control character of 8 bits, to a terminal of the old kind */
	BECOMES("\xc3", "\xef\xbf\xbd");
	BECOMES("\xc3"
	        "a",
	        "\xef\xbf\xbd"
	        "a");
	BECOMES("\xe0\x80\x9b", "\xef\xbf\xbd"); /* one of these in more bytes than it needs */
	BECOMES("\xc0\x9b", "\xef\xbf\xbd\xef\xbf\xbd");
	BECOMES("\xed\xa0\x80\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd");
	BECOMES("\xf0\x9f\x90\x1b[2J", "\xef\xbf\xbd[2J");
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("terminal");
	TCase *t = tcase_create("terminal");
	tcase_add_test(t, characters_stay);
	tcase_add_test(t, commands_go);
	tcase_add_test(t, what_is_no_character_is_seen_as_such);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
