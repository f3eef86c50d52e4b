/* The HTTP server, with routes of our own: what it takes and answers, what it refuses, its bounds and its end.  Clients are
 * sockets of this thread. */
#include "config.h"

#include "daemon/api/http/http.h"
#include "tests/unit/api/http/http_client.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

static struct http_server *server;
static uint16_t port;
static struct answer a;
static char err[512];

/* ---- routes: on the server's thread -------------------------------------------------------------- */

static _Atomic(struct http_exchange *) held;
static atomic_uint begun, closed;

static void on_closed(void *arg) {
	(void)arg;
	atomic_store(&held, NULL);
	closed++;
}

static void handle_echo(struct http_exchange *x, void *arg) {
	size_t len;
	const char *body = http_body(x, &len);
	(void)arg;
	http_reply_text(x, 200, "text/plain", body, len);
}

static void handle_what(struct http_exchange *x, void *arg) {
	const char *q = http_query(x, "q"), *agent = http_header(x, "user-agent");
	(void)arg;
	http_reply_json(x, 200,
	        json_pack("{s:s, s:s, s:s, s:s}", "path", http_path(x), "rest", http_rest(x), "q",
	                q ? q : "none", "agent", agent ? agent : "none"));
}

/* Held until the client goes, or the test ends it. */
static void handle_hold(struct http_exchange *x, void *arg) {
	(void)arg;
	http_on_closed(x, on_closed, NULL);
	atomic_store(&held, x);
	begun++;
}

static void handle_stream(struct http_exchange *x, void *arg) {
	(void)arg;
	http_on_closed(x, on_closed, NULL);
	http_stream_begin(x, 200, "text/event-stream");
	http_stream_send(x, "data: one\n\n", 11);
	atomic_store(&held, x);
	begun++;
}

/* More than anybody may leave unread. */
static void handle_flood(struct http_exchange *x, void *arg) {
	static char part[64 << 10];
	(void)arg;
	http_on_closed(x, on_closed, NULL);
	http_stream_begin(x, 200, "application/octet-stream");
	for (int i = 0; i < 1024; i++)
		http_stream_send(x, part, sizeof part);
	begun++;
}

static void handle_client(struct http_exchange *x, void *arg) {
	char text[32];
	(void)arg;
	snprintf(text, sizeof text, "%llu", (unsigned long long)http_client(x));
	http_reply_text(x, 200, "text/plain", text, strlen(text));
}

static const struct http_route routes[] = {
        {HTTP_POST, "/echo", handle_echo, false},
        {HTTP_GET, "/what", handle_what, false},
        {HTTP_GET, "/what/*", handle_what, false},
        {HTTP_GET | HTTP_POST, "/hold", handle_hold, false},
        {HTTP_GET, "/stream", handle_stream, false},
        {HTTP_GET, "/flood", handle_flood, false},
        {HTTP_GET, "/client", handle_client, false},
        {HTTP_GET, "/open", handle_client, true},
};

static const char *const hosts[] = {"node1"}, *const origins[] = {"https://chat.example"};
static struct http_config config = {.address = "127.0.0.1:0",
        .required = true,
        .routes = routes,
        .nroutes = sizeof routes / sizeof *routes,
        .hosts = hosts,
        .nhosts = 1,
        .origins = origins,
        .norigins = 1};

static void begin(void) {
	int rc = http_create(&server, &config, err, sizeof err);
	ck_assert_msg(rc == 0, "%s", err);
	port = http_port(server);
}

static void end(void) {
	http_destroy(server);
	server = NULL;
}

/* Until *counter is n. */
static void wait_for(atomic_uint *counter, unsigned n) {
	for (int i = 0; *counter < n; i++) {
		ck_assert_int_lt(i, PATIENCE_MS);
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
	ck_assert_uint_eq(*counter, n);
}

static void send_more(void *arg) {
	struct http_exchange *x = atomic_load(&held);
	if (x)
		http_stream_send(x, arg, strlen(arg));
}

static void end_stream(void *arg) {
	struct http_exchange *x = atomic_load(&held);
	(void)arg;
	if (x)
		http_stream_end(x);
}

static void assert_error(int status, const char *code) {
	char text[96];
	ck_assert_msg(a.status == status, "status %d instead of %d: %s", a.status, status, a.body);
	ck_assert_str_eq(answer_header(&a, "Content-Type"), "application/json");
	json_t *j = json_loads(a.body, 0, NULL);
	ck_assert_msg(j != NULL, "not JSON: %s", a.body);
	json_t *e = json_object_get(j, "error");
	ck_assert(json_is_string(json_object_get(e, "message")));
	ck_assert(json_is_string(json_object_get(e, "type")));
	snprintf(text, sizeof text, "%s", json_string_value(json_object_get(e, "code")));
	ck_assert_str_eq(text, code);
	json_decref(j);
}

/* ---- what it does -------------------------------------------------------------------------------- */

START_TEST(requests_and_answers) {
	begin();
	client_ask(port, &a, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
	ck_assert_int_eq(a.status, 200);
	ck_assert_str_eq(a.body, "hello");
	client_ask(port, &a,
	        "GET /what/a%20b/c?x=1&q=%C3%A4+b&flag HTTP/1.1\r\nHost: 127.0.0.1:1\r\nUser-Agent: me\r\n\r\n");
	json_t *j = json_loads(a.body, 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(j, "path")), "/what/a b/c");
	ck_assert_str_eq(json_string_value(json_object_get(j, "rest")), "a b/c");
	ck_assert_str_eq(json_string_value(json_object_get(j, "q")), "\xc3\xa4 b");
	ck_assert_str_eq(json_string_value(json_object_get(j, "agent")), "me");
	json_decref(j);
	client_ask(port, &a, "HEAD /what HTTP/1.1\r\nHost: localhost\r\n\r\n");
	ck_assert_int_eq(a.status, 200);
	ck_assert_int_gt(atoi(answer_header(&a, "Content-Length")), 20);
	client_ask(port, &a, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_error(404, "not_found");
	client_ask(port, &a, "GET /what/ HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_error(404, "not_found");
	client_ask(port, &a, "DELETE /hold HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_error(405, "method_not_allowed");
	ck_assert_str_eq(answer_header(&a, "Allow"), "GET, POST");
	client_ask(port, &a, "BREW /hold HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_error(501, "not_implemented");
	end();
}
END_TEST

START_TEST(connections_are_kept) {
	begin();
	int fd = client_connect(port);
	for (int i = 0; i < 20; i++) {
		client_say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nhi");
		client_read(fd, &a, false);
		ck_assert_str_eq(a.body, "hi");
	}
	client_say(fd, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
	client_read(fd, &a, false);
	assert_error(404, "not_found");
	client_say(fd, "HEAD /what HTTP/1.1\r\nHost: localhost\r\n\r\n");
	client_read(fd, &a, true);
	/* several at once, in order */
	client_say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1"
	               "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n2"
	               "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
	               "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
	               "2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\n");
	client_read(fd, &a, false);
	ck_assert_str_eq(a.body, "1");
	client_read(fd, &a, false);
	ck_assert_str_eq(a.body, "2");
	wait_for(&begun, 1);
	ck_assert_int_eq(loop_post(http_loop(server), end_stream, NULL), 0);
	client_read(fd, &a, false);
	ck_assert_str_eq(a.body, "data: one\n\n");
	client_read(fd, &a, false);
	ck_assert_int_eq(a.status, 413); /* evhttp takes no extensions of chunks */
	ck_assert(client_ended(fd));
	close(fd);
	fd = client_connect(port);
	client_say(fd, "GET /client HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	client_read(fd, &a, false);
	ck_assert_int_eq(a.status, 200);
	ck_assert(client_ended(fd));
	close(fd);
	fd = client_connect(port);
	client_say(fd, "GET /client HTTP/1.0\r\n\r\n");
	client_read(fd, &a, false);
	ck_assert_int_eq(a.status, 200);
	ck_assert(client_ended(fd));
	close(fd);
	end();
}
END_TEST

START_TEST(streams) {
	begin();
	int fd = client_connect(port);
	client_say(fd, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_for(&begun, 1);
	ck_assert_int_eq(loop_post(http_loop(server), send_more, "data: two\n\n"), 0);
	ck_assert_int_eq(loop_post(http_loop(server), end_stream, NULL), 0);
	client_read(fd, &a, false);
	ck_assert_str_eq(answer_header(&a, "Content-Type"), "text/event-stream");
	ck_assert_str_eq(answer_header(&a, "Transfer-Encoding"), "chunked");
	ck_assert_str_eq(a.body, "data: one\n\ndata: two\n\n");
	client_say(fd, "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n"); /* the connection goes on */
	client_read(fd, &a, false);
	ck_assert_int_eq(a.status, 200);
	close(fd);
	/* HTTP/1.0 has no chunks: the end of the connection ends the answer */
	fd = client_connect(port);
	client_say(fd, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
	wait_for(&begun, 2);
	ck_assert_int_eq(loop_post(http_loop(server), end_stream, NULL), 0);
	client_read(fd, &a, false);
	ck_assert_ptr_null(answer_header(&a, "Transfer-Encoding"));
	ck_assert_str_eq(a.body, "data: one\n\n");
	close(fd);
	ck_assert_uint_eq(closed, 0);
	end();
	ck_assert_uint_eq(closed, 0);
}
END_TEST

/* A client that goes away is noticed while its request waits, and while it streams. */
START_TEST(clients_that_leave) {
	begin();
	int fd = client_connect(port);
	client_say(fd, "GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_for(&begun, 1);
	close(fd);
	wait_for(&closed, 1);
	fd = client_connect(port);
	client_say(fd, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_for(&begun, 2);
	close(fd); /* with an unread answer: a reset */
	wait_for(&closed, 2);
	fd = client_connect(port); /* with the next requests behind it */
	client_say(fd,
	        "GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\nGET /client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_for(&begun, 3);
	close(fd);
	wait_for(&closed, 3);
	end();
	ck_assert_uint_eq(closed, 3);
}
END_TEST

START_TEST(ends_with_open_exchanges) {
	begin();
	int waits = client_connect(port), reads = client_connect(port), half = client_connect(port);
	client_say(waits, "GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n");
	client_say(reads, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
	client_say(half, "GET /stream HTT");
	wait_for(&begun, 2);
	end();
	ck_assert_uint_eq(closed, 2);
	ck_assert(client_ended(waits));
	close(waits);
	close(reads);
	close(half);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("http");
	TCase *t = tcase_create("http");
	tcase_add_test(t, requests_and_answers);
	tcase_add_test(t, connections_are_kept);
	tcase_add_test(t, streams);
	tcase_add_test(t, clients_that_leave);
	tcase_add_test(t, ends_with_open_exchanges);
	suite_add_tcase(s, t);
	return s;
}
#include "tests/unit/check_main.h"
