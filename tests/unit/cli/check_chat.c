/* What a line of a chat is, its settings, and the conversation: in memory and as a file. */
#include "cli/chat_internal.h"
#include "cli/wrap.h"
#include <check.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- lines ---------------------------------------------------------------------------------------- */

static void is_text(const char *line, const char *text) {
	struct chat_line l;
	chat_parse(line, &l);
	ck_assert_ptr_nonnull(l.text);
	ck_assert_str_eq(l.text, text);
	ck_assert_uint_eq(l.len, strlen(text));
}

static void is_command(const char *line, const char *command, const char *argument) {
	struct chat_line l;
	chat_parse(line, &l);
	ck_assert_ptr_null(l.text);
	ck_assert_str_eq(l.command, command);
	ck_assert_msg(l.len == strlen(argument) && memcmp(l.argument, argument, l.len) == 0, "'%.*s'",
	        (int)l.len, l.argument);
}

START_TEST(lines_are_texts_or_commands) {
	is_text("hello /undo", "hello /undo");
	is_text(" indented", " indented");
	is_text("//etc is a folder", "/etc is a folder");
	is_text("///", "//");
	is_command("/undo", "undo", "");
	is_command("  /set temperature 0.2 \n", "set", "temperature 0.2");
	is_command("/system\nYou are\na camel.\n", "system", "You are\na camel.");
	is_command("/", "", "");
	is_command("/averyveryverylongnameofacommand x", "averyveryverylongnameof", "x");
}
END_TEST

static void is_block(const char *text, const char *want, bool want_closed) {
	size_t begin, end;
	bool closed;
	ck_assert(chat_parse_block(text, strlen(text), &begin, &end, &closed));
	ck_assert_int_eq(closed, want_closed);
	ck_assert_msg(end - begin == strlen(want) && memcmp(text + begin, want, end - begin) == 0, "'%.*s'",
	        (int)(end - begin), text + begin);
}

START_TEST(texts_of_several_lines) {
	size_t begin, end;
	bool closed;
	is_block("\"\"\"", "", false);
	is_block("\"\"\"one", "one", false);
	is_block("\"\"\"one\n two\n", "one\n two", false);
	is_block("\"\"\"one\"\"\"", "one", true);
	is_block("\"\"\"\none\n\n two\n\"\"\" \n", "one\n\n two", true);
	is_block("\"\"\"\"\"\"", "", true);
	is_block("\"\"\"\"\"", "\"\"", false); /* five marks: no end yet */
	ck_assert(!chat_parse_block("\"\" \"x", 5, &begin, &end, &closed));
	ck_assert(!chat_parse_block(" \"\"\"x\"\"\"", 8, &begin, &end, &closed));
}
END_TEST

START_TEST(settings_by_name) {
	struct sampling s;
	char err[200], value[32];
	sampling_init(&s);
	ck_assert(sampling_set(&s, "temperature", "0.25", err, sizeof err));
	ck_assert(s.s.temperature == 0.25f);
	ck_assert(sampling_set(&s, "temp", "0", err, sizeof err));
	ck_assert(s.s.temperature == 0);
	ck_assert(sampling_set(&s, "top-k", "7", err, sizeof err));
	ck_assert_uint_eq(s.s.top_k, 7);
	ck_assert(sampling_set(&s, "frequency-penalty", "-1.5", err, sizeof err));
	ck_assert(s.s.frequency_penalty == -1.5f);
	ck_assert(sampling_set(&s, "seed", "18446744073709551615", err, sizeof err));
	ck_assert(s.seeded && s.s.seed == UINT64_MAX);
	ck_assert_str_eq(sampling_at(&s, 7, value, sizeof value), "seed");
	ck_assert_str_eq(value, "18446744073709551615");
	ck_assert(sampling_set(&s, "seed", "random", err, sizeof err));
	ck_assert(!s.seeded);
	ck_assert_ptr_null(sampling_at(&s, 8, value, sizeof value));
	ck_assert(!sampling_set(&s, "heat", "1", err, sizeof err));
	ck_assert_str_eq(err, "there is no setting heat");
	ck_assert(!sampling_set(&s, "top-p", "1.5", err, sizeof err));
	ck_assert_str_eq(err, "top-p: '1.5' is not a number from 0 to 1");
	ck_assert(!sampling_set(&s, "top-k", "-1", err, sizeof err));
	ck_assert(!sampling_set(&s, "temp", "nan", err, sizeof err));
	ck_assert(!sampling_set(&s, "temp", "hot", err, sizeof err));
	ck_assert(s.s.temperature == 0 && s.s.top_k == 7 && s.s.top_p == 0.95f);
}
END_TEST

/* ---- lines of a terminal ------------------------------------------------------------------------------ */

/* The same however the text is cut into pieces of whole characters. */
static void wraps(unsigned width, const char *text, const char *want) {
	for (size_t piece = 1; piece <= 7; piece++) {
		struct wrap w = {0};
		char *out = NULL;
		size_t size = 0, len = strlen(text);
		FILE *f = open_memstream(&out, &size);
		for (size_t at = 0; at < len;) {
			size_t n = len - at < piece ? len - at : piece;
			while (at + n < len && ((unsigned char)text[at + n] & 0xc0) == 0x80)
				n++;
			wrap_write(&w, f, width, text + at, n);
			at += n;
		}
		wrap_flush(&w, f, width);
		fclose(f);
		ck_assert_msg(strcmp(out, want) == 0, "pieces of %zu: '%s'", piece, out);
		free(out);
	}
}

START_TEST(lines_break_between_words) {
	setlocale(LC_CTYPE, "C.UTF-8");
	wraps(10, "", "");
	wraps(10, "one two three four", "one two \nthree four");
	wraps(10, "exactly 10 wide", "exactly 10\nwide"); /* without the blank at the edge */
	wraps(10, "one\n  two\n\nthree", "one\n  two\n\nthree");
	wraps(10, "a word-that-is-longer than it", "a \nword-that-is-longer \nthan it");
	wraps(10, "gr\xc3\xbc\xc3\x9f gr\xc3\xbc\xc3\x9f x", "gr\xc3\xbc\xc3\x9f gr\xc3\xbc\xc3\x9f \nx");
	wraps(5, "\xe6\xbc\xa2\xe5\xad\x97\xe6\xbc\xa2", "\xe6\xbc\xa2\xe5\xad\x97\n\xe6\xbc\xa2");
	wraps(6,
	        "\xe6\xbc\xa2\xe5\xad\x97"
	        "abc",
	        "\xe6\xbc\xa2\xe5\xad\x97\nabc");
	wraps(10, "\tab c", "\tab\nc");
}
END_TEST

/* ---- the conversation ------------------------------------------------------------------------------- */

static struct conversation talk;
static char folder[] = "/tmp/check_chat.XXXXXX", path[64];

static void begin(void) {
	snprintf(folder, sizeof folder, "/tmp/check_chat.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/talk.json", folder);
	conversation_init(&talk);
}

static void end(void) {
	conversation_clear(&talk);
	unlink(path);
	ck_assert_int_eq(rmdir(folder), 0); /* nothing else is left there */
}

static void ask(const char *text) {
	conversation_ask(&talk, text, strlen(text));
}

static void answer(const char *text) {
	conversation_answer(&talk, text, strlen(text));
}

static void body_is(const char *want) {
	size_t len;
	char *body = conversation_body(&talk, &len);
	ck_assert_str_eq(body, want);
	ck_assert_uint_eq(len, strlen(want));
	free(body);
}

START_TEST(turns_follow_each_other) {
	body_is("{\"messages\":[]}");
	ck_assert(!conversation_undo(&talk));
	ck_assert(!conversation_forget_answer(&talk));
	ck_assert_ptr_null(conversation_question(&talk));
	ask("a");
	ask("b"); /* in the place of one without an answer */
	ck_assert_ptr_null(conversation_reply(&talk));
	answer("B");
	ask("c");
	answer("C");
	ck_assert_uint_eq(conversation_questions(&talk), 2);
	ck_assert_str_eq(conversation_question(&talk), "c");
	ck_assert_str_eq(conversation_reply(&talk), "C");
	ck_assert(conversation_forget_answer(&talk));
	ck_assert_uint_eq(conversation_questions(&talk), 2);
	conversation_set_system(&talk, "s");
	ck_assert_uint_eq(conversation_questions(&talk), 2);
	body_is("{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"b\"},"
	        "{\"role\":\"assistant\",\"content\":\"B\"},{\"role\":\"user\",\"content\":\"c\"}]}");
	ck_assert(conversation_undo(&talk));
	ck_assert_str_eq(conversation_reply(&talk), "B");
	conversation_set_system(&talk, "t");
	conversation_forget(&talk);
	ck_assert_uint_eq(conversation_questions(&talk), 0);
	ck_assert_str_eq(conversation_system(&talk), "t");
	conversation_set_system(&talk, "");
	body_is("{\"messages\":[]}");
}
END_TEST

START_TEST(texts_are_made_utf8) {
	conversation_ask(&talk, "a\xff\xc3(\0b\xe2\x82", 8);
	ck_assert_str_eq(conversation_question(&talk), "a\xef\xbf\xbd\xef\xbf\xbd(\xef\xbf\xbd"
	                                               "b\xef\xbf\xbd");
	ask("\xf0\x9f\x90\xab \"\n\033");
	ck_assert_str_eq(conversation_question(&talk), "\xf0\x9f\x90\xab \"\n\033");
}
END_TEST

START_TEST(a_file_has_all_of_it) {
	char err[400];
	size_t len;
	struct stat st;
	conversation_set_system(&talk, "Be \"brief\".\n");
	ask("one\ntwo \xe2\x82\xac");
	answer("yes");
	ask("and?");
	char *before = conversation_body(&talk, &len);
	ck_assert_int_eq(conversation_save(&talk, path, "m", err, sizeof err), 0);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	conversation_forget(&talk);
	conversation_set_system(&talk, "");
	ck_assert_int_eq(conversation_load(&talk, path, err, sizeof err), 0);
	body_is(before);
	free(before);
	/* it is replaced */
	ck_assert(conversation_undo(&talk));
	ck_assert_int_eq(conversation_save(&talk, path, "m", err, sizeof err), 0);
	ck_assert_int_eq(conversation_load(&talk, path, err, sizeof err), 0);
	ck_assert_uint_eq(conversation_questions(&talk), 1);
}
END_TEST

static void put(const char *text) {
	FILE *f = fopen(path, "w");
	ck_assert_ptr_nonnull(f);
	fputs(text, f);
	fclose(f);
}

static void refuses(const char *text, const char *why) {
	char err[400];
	put(text);
	ck_assert_int_ne(conversation_load(&talk, path, err, sizeof err), 0);
	ck_assert_msg(strstr(err, why) && strstr(err, path), "%s", err);
	ck_assert_str_eq(conversation_question(&talk), "mine"); /* as it was */
	/* nor is it replaced */
	ck_assert_int_ne(conversation_save(&talk, path, "m", err, sizeof err), 0);
	ck_assert_ptr_nonnull(strstr(err, "choose another name"));
}

START_TEST(other_files_are_refused) {
	char err[400];
	ask("mine");
	ck_assert_int_ne(conversation_load(&talk, path, err, sizeof err), 0);
	ck_assert_ptr_nonnull(strstr(err, "No such file"));
	ck_assert_int_ne(conversation_load(&talk, folder, err, sizeof err), 0);
	refuses("", "is not a conversation: line");
	refuses("alias ls='ls -l'", "is not a conversation: line 1");
	refuses("{}", "it has no messages");
	refuses("[\"x\"]", "message 1 is to be a text of the user");
	refuses("[{\"role\": \"assistant\", \"content\": \"x\"}]", "message 1 is to be a text of the user");
	refuses("[{\"role\": \"user\", \"content\": [\"x\"]}]", "message 1 is to be a text of the user");
	refuses("[{\"role\": \"user\", \"content\": \"x\"}, {\"role\": \"user\", \"content\": \"y\"}]",
	        "message 2 is to be a text of the assistant");
	refuses("[{\"role\": \"system\", \"content\": \"x\"}, {\"role\": \"system\", \"content\": \"y\"}]",
	        "message 2 is to be a text of the user");
	refuses("[{\"role\": \"user\", \"role\": \"user\", \"content\": \"x\"}]",
	        "is not a conversation: line 1");
	put("[{\"role\": \"user\", \"content\": \"x\", \"more\": 1}]"); /* as other programs write it */
	ck_assert_int_eq(conversation_load(&talk, path, err, sizeof err), 0);
	body_is("{\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}");
}
END_TEST

#define EXPORT(all) "{\"format\": \"caravan-conversations\", \"version\": 1, \"conversations\": [" all "]}"
#define EXPORTED \
	"{\"id\": \"a\", \"title\": \"t\", \"system\": \"be\", \"messages\": [{\"role\": \"user\", \"content\": \"q\"}, " \
	"{\"role\": \"assistant\", \"reasoning\": \"Hm\", \"content\": \"a\", \"state\": \"done\"}]}"

START_TEST(an_export_of_the_page_is_read) {
	char err[400];
	ask("mine");
	refuses(EXPORT(EXPORTED ", " EXPORTED), "has 2 conversations, and a chat is one");
	refuses(EXPORT(""), "it has no messages");
	refuses(EXPORT("{\"messages\": 1}"), "it has no messages");
	put(EXPORT(EXPORTED));
	ck_assert_int_eq(conversation_load(&talk, path, err, sizeof err), 0);
	body_is("{\"messages\":[{\"role\":\"system\",\"content\":\"be\"},{\"role\":\"user\",\"content\":\"q\"},"
	        "{\"role\":\"assistant\",\"content\":\"a\"}]}");
	/* it has more than a conversation here, and is not replaced */
	ck_assert_int_ne(conversation_save(&talk, path, "m", err, sizeof err), 0);
	ck_assert_ptr_nonnull(strstr(err, "is an export of the chat page: choose another name"));
}
END_TEST

START_TEST(a_file_has_bounds) {
	char err[400];
	FILE *f = fopen(path, "w");
	ask("mine");
	fputc('[', f);
	for (int i = 0; i <= CONVERSATION_MESSAGES_MAX; i++)
		fprintf(f, "%s{\"role\":\"%s\",\"content\":\"\"}", i ? "," : "",
		        i % 2 ? "assistant" : "user");
	fputs("]", f);
	fclose(f);
	ck_assert_int_ne(conversation_load(&talk, path, err, sizeof err), 0);
	ck_assert_ptr_nonnull(strstr(err, "has 10001 messages; the limit is 10000"));
	ck_assert_int_eq(truncate(path, CONVERSATION_FILE_MAX + 1), 0);
	ck_assert_int_ne(conversation_load(&talk, path, err, sizeof err), 0);
	ck_assert_ptr_nonnull(strstr(err, "too long for a conversation"));
	ck_assert_str_eq(conversation_question(&talk), "mine");
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("chat");
	TCase *lines = tcase_create("lines"), *conversation = tcase_create("conversation");
	tcase_add_test(lines, lines_are_texts_or_commands);
	tcase_add_test(lines, texts_of_several_lines);
	tcase_add_test(lines, settings_by_name);
	tcase_add_test(lines, lines_break_between_words);
	suite_add_tcase(s, lines);
	tcase_add_checked_fixture(conversation, begin, end);
	tcase_add_test(conversation, turns_follow_each_other);
	tcase_add_test(conversation, texts_are_made_utf8);
	tcase_add_test(conversation, a_file_has_all_of_it);
	tcase_add_test(conversation, other_files_are_refused);
	tcase_add_test(conversation, an_export_of_the_page_is_read);
	tcase_add_test(conversation, a_file_has_bounds);
	suite_add_tcase(s, conversation);
	return s;
}

#include "tests/unit/check_main.h"
