/* Streams that outlive their clients: what is kept of them, who may take them up and from where, when they are cancelled, and what
 * bounds them. */
#include "daemon/core/loop.h"
#include "tests/unit/api/fake_http.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define CHAT "{\"stream\":true," HI "}"
#define SECOND 1000000000ull

static struct http_exchange x, y, z;

static void setup(void) {
	memset(&fake_limits, 0, sizeof fake_limits);
	fake_begin("{{ messages[0].content }}");
	memset(&x, 0, sizeof x);
	memset(&y, 0, sizeof y);
	memset(&z, 0, sizeof z);
}

static void setup_small(void) {
	setup();
	fake_end();
	fake_limits = (struct kept_limits){.streams = 2, .of_a_key = 1, .stream = 8192};
	fake_begin("{{ messages[0].content }}");
}

static void teardown(void) {
	fake_done(&x);
	fake_done(&y);
	fake_done(&z);
	fake_end();
}

/* A request for a stream that may be taken up again; what path and body are, and whose it is. */
static void begin(struct http_exchange *e, const char *path, const char *body, uint64_t key) {
	*e = (struct http_exchange){.path = path,
	        .rest = "",
	        .body = body,
	        .len = strlen(body),
	        .method = HTTP_POST,
	        .resume = "30",
	        .key = key};
	fake_ask_again(e);
}

static void take_up(struct http_exchange *e, const char *id, const char *from, uint64_t key) {
	*e = (struct http_exchange){
	        .path = "/v1/stream/*", .rest = id, .body = "", .method = HTTP_GET, .from = from, .key = key};
	fake_ask_again(e);
}

static void cancel(struct http_exchange *e, const char *id, uint64_t key) {
	*e = (struct http_exchange){
	        .path = "/v1/stream/*", .rest = id, .body = "", .method = HTTP_DELETE, .key = key};
	fake_ask_again(e);
}

/* The client goes. */
static void go(struct http_exchange *e) {
	ck_assert(!e->ended && e->closed);
	e->ended = true;
	e->closed(e->closed_arg);
}

static void pass(unsigned seconds) {
	kept_expire(fake_routes()->kept, loop_now_ns() + seconds * SECOND);
}

/* Where event n of a stream begins. */
static const char *event(const struct http_exchange *e, unsigned n) {
	char mark[32];
	snprintf(mark, sizeof mark, "id: %u\n", n);
	const char *at = strstr(e->out, mark);
	ck_assert_ptr_nonnull(at);
	return at;
}

#define NOT_FOUND(e) \
	do { \
		ck_assert_int_eq((e)->status, 404); \
		ck_assert_ptr_nonnull( \
		        strstr((e)->out, "it is unknown or over, or was begun with another API key")); \
	} while (0)

/* ---- taken up ------------------------------------------------------------------------------------ */

START_TEST(goes_on_without_its_client) {
	begin(&x, "/v1/chat/completions", CHAT, 5);
	fake_text("one ");
	ck_assert_str_eq(x.resumes, "30");
	ck_assert_ptr_nonnull(strstr(x.out, x.stream_id)); /* the id that the dialect shows */
	ck_assert_uint_eq(strlen(x.stream_id), strlen("chatcmpl-") + 32 + STREAM_NODE);
	ck_assert_ptr_nonnull(strstr(x.stream_id, FAKE_NODE));
	go(&x);
	ck_assert_uint_eq(fake.released, 0);
	fake_text("two ");
	take_up(&y, x.stream_id, NULL, 5);
	ck_assert_str_eq(y.type, "text/event-stream");
	fake_text("three");
	fake_finish(CARAVAN__REASON__END);
	ck_assert(y.ended && !y.cut);
	ck_assert(strncmp(y.out, x.out, strlen(x.out)) == 0);
	ck_assert_ptr_nonnull(strstr(event(&y, 6), "data: [DONE]\n\n"));
	ck_assert_uint_eq(fake.released, 1);
	/* once more after its end, from the middle: the same bytes */
	take_up(&z, x.stream_id, "3", 5);
	ck_assert(z.ended && !z.cut);
	ck_assert_str_eq(z.out, event(&y, 3));
}
END_TEST

START_TEST(from_an_event_on) {
	static const struct {
		const char *from, *last;
		unsigned first; /* 0: refused */
	} cases[] = {{NULL, NULL, 1}, {"0", NULL, 1}, {"1", NULL, 1}, {"2", NULL, 2}, {"6", NULL, 6},
	        {NULL, "0", 1}, {NULL, "2", 3}, {"2", "4", 2}, {"x", NULL, 0}, {"-1", NULL, 0}, {"", NULL, 0},
	        {NULL, "1.5", 0}, {"9999999999", NULL, 0}};
	begin(&x, "/v1/chat/completions", CHAT, 0);
	fake_text("one ");
	fake_text("two ");
	fake_text("three");
	fake_finish(CARAVAN__REASON__END);
	ck_assert(x.ended);
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		y = (struct http_exchange){.path = "/v1/stream/*",
		        .rest = x.stream_id,
		        .body = "",
		        .method = HTTP_GET,
		        .from = cases[i].from,
		        .last_event = cases[i].last};
		fake_ask_again(&y);
		if (cases[i].first)
			ck_assert_str_eq(y.out, event(&x, cases[i].first));
		ck_assert_int_eq(y.status, cases[i].first ? 200 : 400);
		fake_done(&y);
	}
	take_up(&y, x.stream_id, "77", 0); /* nothing comes after its end */
	ck_assert(y.ended && y.status == 200 && y.outlen == 0);
}
END_TEST

/* Its lines are its events, in Ollama's API; the id is in a header alone. */
START_TEST(lines_are_events) {
	begin(&x, "/api/chat", "{\"model\":\"m\"," HI "}", 0);
	fake_text("one ");
	fake_text("two ");
	ck_assert(strncmp(x.out, "{", 1) == 0 && !strstr(x.out, "id: "));
	go(&x);
	take_up(&y, x.stream_id, "2", 0);
	ck_assert_str_eq(y.type, x.type);
	ck_assert_str_eq(y.out, strchr(x.out, '\n') + 1);
	fake_finish(CARAVAN__REASON__END);
	ck_assert(y.ended && strstr(y.out, "\"done\":true"));
}
END_TEST

START_TEST(the_last_reader_wins) {
	begin(&x, "/v1/chat/completions", CHAT, 0);
	fake_text("one ");
	take_up(&y, x.stream_id, NULL, 0);
	ck_assert(x.cut);
	ck_assert_str_eq(y.out, x.out);
	size_t before = x.outlen;
	fake_text("two ");
	ck_assert_uint_eq(x.outlen, before);
	take_up(&z, x.stream_id, "2", 0);
	ck_assert(y.cut);
	fake_finish(CARAVAN__REASON__END);
	ck_assert(z.ended && !z.cut);
	ck_assert_uint_eq(fake.released, 1);
}
END_TEST

/* What a client does not read waits where it is kept. */
START_TEST(slow_readers_get_all_of_it) {
	char text[1001];
	memset(text, 'a', sizeof text - 1);
	text[sizeof text - 1] = 0;
	begin(&x, "/v1/chat/completions", CHAT, 0);
	x.slow = true;
	for (int i = 0; i < 300; i++)
		fake_text(text);
	size_t first = x.outlen;
	ck_assert_uint_lt(first, 70000);
	fake_finish(CARAVAN__REASON__END);
	ck_assert(!x.ended);
	unsigned times = 0;
	for (; !x.ended; times++)
		fake_written(&x);
	ck_assert_uint_ge(times, 4);
	take_up(&y, x.stream_id, NULL, 0);
	ck_assert_str_eq(y.out, x.out);
}
END_TEST

/* ---- cancelled ----------------------------------------------------------------------------------- */

START_TEST(a_cut_cancels_unless_asked) {
	static const char *const unasked[] = {NULL, "0"};
	for (size_t i = 0; i < 2; i++) {
		x = (struct http_exchange){.path = "/v1/chat/completions",
		        .rest = "",
		        .body = CHAT,
		        .len = strlen(CHAT),
		        .method = HTTP_POST,
		        .resume = unasked[i]};
		fake_ask_again(&x);
		fake_text("one ");
		ck_assert_ptr_null(strstr(x.out, "id: 1\n"));
		ck_assert_str_eq(x.resumes, "");
		ck_assert_str_ne(x.stream_id, "");
		go(&x);
		ck_assert_uint_eq(fake.released, i + 1);
		take_up(&y, x.stream_id, NULL, 0);
		NOT_FOUND(&y);
		fake_done(&x);
		fake_done(&y);
	}
	/* before it has begun, nobody knows its id */
	begin(&x, "/v1/chat/completions", CHAT, 0);
	go(&x);
	ck_assert_uint_eq(fake.released, 3);
	ck_assert_uint_eq(kept_count(fake_routes()->kept), 0);
	ck_assert_uint_eq(fake_routes()->metrics.gone[METRICS_OPENAI], 3);
}
END_TEST

START_TEST(off_keeps_nothing) {
	fake_routes()->resume = 0;
	begin(&x, "/v1/chat/completions", CHAT, 0);
	fake_text("one ");
	ck_assert_str_eq(x.resumes, "");
	go(&x);
	ck_assert_uint_eq(fake.released, 1);
}
END_TEST

START_TEST(its_time_is_bounded) {
	begin(&x, "/v1/chat/completions", CHAT, 0);
	fake_text("one ");
	pass(1000); /* its client is there */
	ck_assert_uint_eq(fake.released, 0);
	go(&x);
	pass(29);
	ck_assert_uint_eq(fake.released, 0);
	take_up(&y, x.stream_id, NULL, 0);
	pass(1000);
	ck_assert_uint_eq(fake.released, 0);
	go(&y);
	pass(31);
	ck_assert_uint_eq(fake.released, 1);
	ck_assert_uint_eq(fake_routes()->metrics.gone[METRICS_OPENAI], 1);
	ck_assert_uint_eq(kept_count(fake_routes()->kept), 0);
	ck_assert_uint_eq(kept_bytes(fake_routes()->kept), 0);
	take_up(&z, x.stream_id, NULL, 0);
	NOT_FOUND(&z);
}
END_TEST

START_TEST(after_its_end_too) {
	begin(&x, "/v1/chat/completions", CHAT, 0);
	fake_text("one ");
	fake_finish(CARAVAN__REASON__END);
	pass(29);
	ck_assert_uint_eq(kept_count(fake_routes()->kept), 1);
	pass(31);
	ck_assert_uint_eq(kept_count(fake_routes()->kept), 0);
	ck_assert_uint_eq(fake_routes()->metrics.gone[METRICS_OPENAI], 0);
}
END_TEST

/* No more than the daemon allows, however much is asked for. */
START_TEST(seconds_are_those_of_the_daemon) {
	static const struct {
		const char *asked, *granted;
	} cases[] = {{"5", "5"}, {"60", "60"}, {"61", "60"}, {"999999999", "60"}};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		x = (struct http_exchange){.path = "/completion",
		        .rest = "",
		        .body = "{\"prompt\":\"a\",\"stream\":true}",
		        .method = HTTP_POST,
		        .resume = cases[i].asked};
		x.len = strlen(x.body);
		fake_ask_again(&x);
		fake_text("one ");
		ck_assert_str_eq(x.resumes, cases[i].granted);
		fake_finish(CARAVAN__REASON__END);
		fake_done(&x);
	}
	static const char *const bad[] = {"", "a", "1.5", "-1", "1s", "9999999999"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		x = (struct http_exchange){.path = "/v1/chat/completions",
		        .rest = "",
		        .body = CHAT,
		        .len = strlen(CHAT),
		        .method = HTTP_POST,
		        .resume = bad[i]};
		fake_ask_again(&x);
		ck_assert_int_eq(x.status, 400);
		ck_assert_ptr_nonnull(strstr(x.out, "X-Resume"));
		fake_done(&x);
	}
}
END_TEST

START_TEST(clients_cancel) {
	begin(&x, "/v1/chat/completions", CHAT, 0);
	fake_text("one ");
	cancel(&y, x.stream_id, 0);
	ck_assert_int_eq(y.status, 204);
	ck_assert_uint_eq(fake.released, 1);
	ck_assert(x.ended && !x.cut); /* its client hears of it */
	ck_assert_ptr_nonnull(strstr(x.out, "the stream was cancelled"));
	fake_done(&y);
	cancel(&y, x.stream_id, 0);
	NOT_FOUND(&y);
	ck_assert_uint_eq(kept_count(fake_routes()->kept), 0);
	/* one that has ended is forgotten */
	begin(&z, "/v1/chat/completions", CHAT, 0);
	fake_text("one ");
	fake_finish(CARAVAN__REASON__END);
	fake_done(&y);
	cancel(&y, z.stream_id, 0);
	ck_assert_int_eq(y.status, 204);
	ck_assert_uint_eq(kept_count(fake_routes()->kept), 0);
}
END_TEST

/* A client that reads slowly gets the rest of a cancelled stream; nobody else finds it. */
START_TEST(cancelled_ones_are_read_to_their_end) {
	char text[70001];
	memset(text, 'a', sizeof text - 1);
	text[sizeof text - 1] = 0;
	begin(&x, "/v1/chat/completions", CHAT, 0);
	x.slow = true;
	fake_text(text);
	fake_text(text);
	cancel(&y, x.stream_id, 0);
	ck_assert(!x.ended);
	take_up(&z, x.stream_id, NULL, 0);
	NOT_FOUND(&z);
	for (int i = 0; i < 9 && !x.ended; i++)
		fake_written(&x);
	ck_assert(x.ended && !x.cut);
	ck_assert_ptr_nonnull(strstr(x.out, "the stream was cancelled"));
	ck_assert_uint_eq(kept_count(fake_routes()->kept), 0);
}
END_TEST

/* ---- whose it is --------------------------------------------------------------------------------- */

START_TEST(other_keys_find_nothing) {
	begin(&x, "/v1/chat/completions", CHAT, 5);
	fake_text("one ");
	go(&x);
	static const uint64_t others[] = {6, 0};
	for (size_t i = 0; i < 2; i++) {
		take_up(&y, x.stream_id, NULL, others[i]);
		NOT_FOUND(&y);
		fake_done(&y);
		cancel(&y, x.stream_id, others[i]);
		NOT_FOUND(&y);
		fake_done(&y);
	}
	ck_assert_uint_eq(fake.released, 0);
	cancel(&y, x.stream_id, 5);
	ck_assert_int_eq(y.status, 204);
	/* without keys, of everybody that is served */
	begin(&z, "/v1/chat/completions", CHAT, 0);
	fake_text("one ");
	go(&z);
	fake_done(&y);
	cancel(&y, z.stream_id, 7);
	ck_assert_int_eq(y.status, 204);
}
END_TEST

START_TEST(what_is_no_id_is_unknown) {
	static const char *const ids[] = {"x", "chatcmpl-0123456789abcdef0123456789abcdef" FAKE_NODE, "..",
	        "0123456789abcdef0123456789abcdef0123456789ac"};
	for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
		take_up(&x, ids[i], NULL, 0);
		NOT_FOUND(&x);
		fake_done(&x);
	}
	ck_assert(!stream_is_elsewhere(ids[0], FAKE_NODE));
	ck_assert(!stream_is_elsewhere(ids[1], FAKE_NODE));
	ck_assert(stream_is_elsewhere(ids[1], "0123456789ac"));
	ck_assert(stream_is_elsewhere(ids[3], FAKE_NODE));
}
END_TEST

/* ---- bounds -------------------------------------------------------------------------------------- */

START_TEST(long_streams_end) {
	begin(&x, "/v1/chat/completions", CHAT, 0);
	for (int i = 0; i < 100 && !x.ended; i++)
		fake_text("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
	ck_assert(x.ended && !x.cut);
	ck_assert_ptr_nonnull(strstr(x.out, "the answer has more than 8 KiB"));
	ck_assert_uint_eq(fake.released, 1);
	take_up(&y, x.stream_id, NULL, 0); /* as it was sent, with the reason */
	ck_assert_str_eq(y.out, x.out);
}
END_TEST

START_TEST(streams_have_places) {
	begin(&x, "/v1/chat/completions", CHAT, 5);
	begin(&y, "/v1/chat/completions", CHAT, 5);
	ck_assert_int_eq(y.status, 429);
	ck_assert_str_ne(y.retry_after, "");
	ck_assert_ptr_nonnull(strstr(y.out, "1 streams of this API key"));
	fake_done(&y);
	begin(&y, "/v1/chat/completions", CHAT, 6);
	begin(&z, "/v1/chat/completions", CHAT, 7);
	ck_assert_int_eq(z.status, 429);
	ck_assert_ptr_nonnull(strstr(z.out, "2 streams already"));
	ck_assert_uint_eq(fake.started, 2);
	fake_done(&z);
	/* one that has ended gives its place away */
	fake_text("one ");
	fake_finish(CARAVAN__REASON__END);
	begin(&z, "/v1/chat/completions", CHAT, 7);
	ck_assert_int_eq(z.status, 0);
	ck_assert_uint_eq(kept_count(fake_routes()->kept), 2);
	/* another key's does not make one for this key */
	fake_text("one ");
	fake_finish(CARAVAN__REASON__END);
	fake_done(&y);
	begin(&y, "/v1/chat/completions", CHAT, 5);
	ck_assert_int_eq(y.status, 429);
	fake_done(&y);
	take_up(&y, z.stream_id, NULL, 7);
	ck_assert_int_eq(y.status, 200);
	/* its own does */
	fake_done(&y);
	begin(&y, "/v1/chat/completions", CHAT, 7);
	ck_assert_int_eq(y.status, 0);
	ck_assert_uint_eq(kept_count(fake_routes()->kept), 2);
}
END_TEST

/* All together: those that have ended go first. */
START_TEST(all_of_them_are_bounded) {
	struct kept *k;
	struct kept_stream *s;
	ck_assert_int_eq(kept_create(&k, &(struct kept_limits){.all = 16384}), 0);
	struct kept_params p = {.id = "a", .seconds = 9};
	char err[200], bytes[3000] = "";
	ck_assert_int_eq(kept_reserve(&s, k, &p, err, sizeof err), 0);
	kept_begin(s, "text/plain");
	kept_write(s, "", bytes, sizeof bytes);
	kept_finish(s);
	size_t one = kept_bytes(k);
	ck_assert_uint_gt(one, sizeof bytes);
	p.id = "b";
	ck_assert_int_eq(kept_reserve(&s, k, &p, err, sizeof err), 0);
	kept_begin(s, "text/plain");
	for (int i = 0; i < 4000 && kept_count(k) == 2; i++)
		kept_write(s, "", bytes, 100);
	ck_assert_uint_eq(kept_count(k), 1);
	ck_assert_ptr_null(kept_full(s));
	ck_assert_ptr_null(kept_find(k, "a", 0));
	ck_assert_ptr_nonnull(kept_find(k, "b", 0));
	ck_assert_uint_le(kept_bytes(k), 16384);
	for (int i = 0; i < 4000 && !kept_full(s); i++)
		kept_write(s, "", bytes, 100);
	ck_assert_str_eq(kept_full(s),
	        "the streams that this node keeps have more than 16 KiB together, which is the limit");
	ck_assert_uint_lt(kept_bytes(k), 2 * 16384); /* space is doubled when it is full */
	kept_finish(s);
	kept_stop(k);
	kept_destroy(k);
}
END_TEST

static struct kept_stream *one_of(
        struct kept *k, const char *id, uint64_t key, unsigned *cancelled, void (*on_cancel)(void *arg)) {
	struct kept_stream *s;
	char err[200];
	const struct kept_params p = {
	        .id = id, .key = key, .seconds = 9, .cancel = on_cancel, .arg = cancelled};
	ck_assert_int_eq(kept_reserve(&s, k, &p, err, sizeof err), 0);
	kept_begin(s, "text/plain");
	return s;
}

static struct kept_stream *large;

static void large_cancelled(void *arg) {
	++*(unsigned *)arg;
	ck_assert_ptr_nonnull(strstr(kept_full(large), "together"));
	kept_finish(large);
}

/* What one key has most of goes, not what another one writes. */
START_TEST(who_writes_is_not_cut_for_others) {
	struct kept *k;
	unsigned cancelled = 0;
	char bytes[9000] = "";
	ck_assert_int_eq(kept_create(&k, &(struct kept_limits){.all = 24000}), 0);
	struct kept_stream *small = one_of(k, "small", 6, NULL, NULL);
	large = one_of(k, "large", 5, &cancelled, large_cancelled);
	kept_write(large, "", bytes, sizeof bytes); /* 18,000 and its events */
	kept_write(small, "", bytes, 3000);
	ck_assert_uint_eq(cancelled, 1);
	ck_assert_ptr_null(kept_full(small));
	ck_assert_ptr_null(kept_find(k, "large", 5)); /* and forgotten */
	ck_assert_ptr_nonnull(kept_find(k, "small", 6));
	kept_finish(small);
	kept_stop(k);
	kept_destroy(k);
}
END_TEST

/* The node stops: what runs is cancelled, and readers see that it is not the end. */
START_TEST(nothing_is_left_at_the_end) {
	begin(&x, "/v1/chat/completions", CHAT, 0);
	fake_text("one ");
	x.slow = true;
	x.unwritten = 1 << 20;
	fake_text("two ");
	kept_stop(fake_routes()->kept);
	ck_assert(x.cut);
	ck_assert_uint_eq(fake.released, 1);
	ck_assert_uint_eq(kept_count(fake_routes()->kept), 0);
	begin(&y, "/v1/chat/completions", CHAT, 0);
	ck_assert_int_eq(y.status, 429);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("streams");
	TCase *t = tcase_create("kept"), *small = tcase_create("bounds");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, goes_on_without_its_client);
	tcase_add_test(t, from_an_event_on);
	tcase_add_test(t, lines_are_events);
	tcase_add_test(t, the_last_reader_wins);
	tcase_add_test(t, slow_readers_get_all_of_it);
	tcase_add_test(t, a_cut_cancels_unless_asked);
	tcase_add_test(t, off_keeps_nothing);
	tcase_add_test(t, its_time_is_bounded);
	tcase_add_test(t, after_its_end_too);
	tcase_add_test(t, seconds_are_those_of_the_daemon);
	tcase_add_test(t, clients_cancel);
	tcase_add_test(t, cancelled_ones_are_read_to_their_end);
	tcase_add_test(t, other_keys_find_nothing);
	tcase_add_test(t, what_is_no_id_is_unknown);
	tcase_add_test(t, nothing_is_left_at_the_end);
	suite_add_tcase(s, t);
	tcase_add_checked_fixture(small, setup_small, teardown);
	tcase_add_test(small, long_streams_end);
	tcase_add_test(small, streams_have_places);
	tcase_add_test(small, all_of_them_are_bounded);
	tcase_add_test(small, who_writes_is_not_cut_for_others);
	suite_add_tcase(s, small);
	return s;
}

#include "tests/unit/check_main.h"
