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

/* As much, but at once. */
static void handle_large(struct http_exchange *x, void *arg) {
	static char text[8 << 20];
	(void)arg;
	http_reply_text(x, 200, "application/octet-stream", text, sizeof text);
}

/* As much in a stream, each piece when the one before it has been written; "?cut": without an end. */
#define PULLS 256
static unsigned pulled;
static size_t most_unwritten;

static void pull(void *arg) {
	static char part[32 << 10];
	struct http_exchange *x = arg;
	if (pulled++ < PULLS)
		http_stream_send(x, part, sizeof part);
	else if (http_query(x, "cut"))
		http_stream_cut(x, "the test says so");
	else
		http_stream_end(x);
	if (pulled <= PULLS && http_stream_unwritten(x) > most_unwritten)
		most_unwritten = http_stream_unwritten(x);
}

static void handle_pull(struct http_exchange *x, void *arg) {
	(void)arg;
	pulled = 0;
	http_on_closed(x, on_closed, NULL);
	http_stream_begin(x, 200, "application/octet-stream");
	http_on_written(x, pull, x);
	pull(x);
	begun++;
}

static atomic_uint ticks, stopped, closed_before;

static void on_tick(void *arg) {
	ck_assert_ptr_eq(arg, &stopped);
	ticks++;
}

static void on_stopped(void *arg) {
	(void)arg;
	atomic_store(&closed_before, atomic_load(&closed));
	stopped++;
}

static void handle_key(struct http_exchange *x, void *arg) {
	char text[32];
	(void)arg;
	snprintf(text, sizeof text, "%llu", (unsigned long long)http_key(x));
	http_reply_text(x, 200, "text/plain", text, strlen(text));
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
        {HTTP_GET, "/large", handle_large, false},
        {HTTP_GET, "/pull", handle_pull, false},
        {HTTP_GET, "/client", handle_client, false},
        {HTTP_GET, "/key", handle_key, false},
        {HTTP_GET, "/open", handle_client, true},
};

/* One path has errors of another form. */
static json_t *error_of_path(const char *path, int status, const char *message) {
	return strncmp(path, "/api/", 5) == 0 ? json_pack("{s:[i,s]}", "api", status, message) : NULL;
}

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
	/* a value with a NUL in it is no text that begins with what is before that */
	client_ask(port, &a, "GET /what/a?q=1%002 HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n");
	j = json_loads(a.body, 0, NULL);
	ck_assert_str_eq(json_string_value(json_object_get(j, "q")), "");
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
	assert_error(400, "malformed_request"); /* chunks have no extensions here */
	ck_assert(client_ended(fd));
	close(fd);
	fd = client_connect(port);
	client_say(fd, "GET /client HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	client_read(fd, &a, false);
	ck_assert_int_eq(a.status, 200);
	ck_assert(client_ended(fd));
	close(fd);
	static const char *const last[] = {
	        "GET /client HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, Close\r\n\r\n",
	        "GET /client HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nConnection: close\r\n\r\n",
	        "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
	        "CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n"};
	for (size_t i = 0; i < sizeof last / sizeof *last; i++) {
		fd = client_connect(port);
		client_say(fd, last[i]);
		client_read(fd, &a, false);
		ck_assert_int_eq(a.status, i < 2 ? 200 : 501);
		ck_assert_str_eq(answer_header(&a, "Connection"), "close");
		ck_assert(client_ended(fd));
		close(fd);
	}
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
	client_ask(port, &a, "GET /key HTTP/1.1\r\nHost: localhost\r\n\r\n"); /* without keys */
	ck_assert_str_eq(a.body, "0");
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

/* Bytes until the connection ends, or until the last chunk. */
static size_t read_all(int fd, bool *whole) {
	static char part[64 << 10];
	char last[5] = "";
	size_t n = 0;
	for (ssize_t k; (k = recv(fd, part, sizeof part, 0)) > 0;) {
		n += (size_t)k;
		for (ssize_t i = k < 5 ? 0 : k - 5; i < k; i++) {
			memmove(last, last + 1, 4);
			last[4] = part[i];
		}
		if (memcmp(last, "0\r\n\r\n", 5) == 0)
			break;
	}
	*whole = memcmp(last, "0\r\n\r\n", 5) == 0;
	return n;
}

/* A stream that is sent as it is written has no bound but that; one that is cut has no last chunk. */
START_TEST(streams_are_pulled) {
	bool whole;
	config.limits = (struct http_limits){.unread = 256 << 10};
	begin();
	int fd = client_connect(port);
	client_say(fd, "GET /pull HTTP/1.1\r\nHost: localhost\r\n\r\n");
	ck_assert_uint_gt(read_all(fd, &whole), 8 << 20);
	ck_assert(whole);
	ck_assert_uint_le(most_unwritten, (32 << 10) + 1024);
	client_say(fd, "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n"); /* the connection goes on */
	client_read(fd, &a, false);
	ck_assert_int_eq(a.status, 200);
	close(fd);
	fd = client_connect(port);
	client_say(fd, "GET /pull?cut=1 HTTP/1.1\r\nHost: localhost\r\n\r\n");
	ck_assert_uint_gt(read_all(fd, &whole), 8 << 20);
	ck_assert(!whole);
	close(fd);
	end();
	ck_assert_uint_eq(closed, 0); /* its owner has ended both */
}
END_TEST

/* Who has routes hears of time, and of the end, when every exchange has ended. */
START_TEST(owners_hear_of_the_end) {
	config.tick = on_tick;
	config.ended = on_stopped;
	config.arg = &stopped;
	begin();
	int fd = client_connect(port);
	client_say(fd, "GET /hold HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_for(&begun, 1);
	for (int i = 0; ticks < 2; i++) {
		ck_assert_int_lt(i, PATIENCE_MS);
		nanosleep(&(struct timespec){0, 1000000}, NULL);
	}
	ck_assert_uint_eq(stopped, 0);
	end();
	ck_assert_uint_eq(stopped, 1);
	ck_assert_uint_eq(closed_before, 1);
	close(fd);
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

/* ---- what it refuses ----------------------------------------------------------------------------- */

static void refused(const char *request, int status, const char *code) {
	int fd = client_connect(port);
	client_say(fd, request);
	client_read(fd, &a, false);
	assert_error(status, code);
	close(fd);
}

START_TEST(malformed_requests) {
	begin();
	static const char *const bad[] = {
	        "\r\n\r\n",
	        "GET\r\n\r\n",
	        "GET / HTTP/2.0\r\nHost: localhost\r\n\r\n",
	        "GET /what HTTP/1.1\r\nHost localhost\r\n\r\n",
	        "GET /what HTTP/1.1\r\n folded: first\r\n\r\n",
	        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: five\r\n\r\n",
	        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
	        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: +0\r\n\r\n",
	        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n1",
	        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
	        "0\r\n\r\n",
	        "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n",
	        "HEAD /what HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nGET",
	        "GET /what HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
	        "\x16\x03\x01\x02\x01\x01\r\n\r\n",
	        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length : 53\r\n\r\n"
	        "GET /hold HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n",
	        "GET /what HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding\t: chunked\r\n\r\n",
	        "GET /what HTTP/1.1\r\nHost: localhost\r\nX(y): z\r\n\r\n",
	        "GET /what HTTP/1.1\r\nHost: localhost\r\n: z\r\n\r\n",
	        "GET /what HTTP/1.1\r\nHost: localhost\r\nX: one\r\n two\r\n\r\n",
	        "GET /what HTTP/1.1\r\nHost: localhost\r\nX: one\rY: two\r\n\r\n",
	};
	static const char *const chunks[] = {"0x2\r\nab\r\n0\r\n\r\n", "+2\r\nab\r\n0\r\n\r\n",
	        " 2\r\nab\r\n0\r\n\r\n", "2 \r\nab\r\n0\r\n\r\n", "2;x=y\r\nab\r\n0\r\n\r\n",
	        "2 ;x\r\nab\r\n0\r\n\r\n", "-0\r\n\r\n", "zz\r\n", "\r\n2\r\nab\r\n0\r\n\r\n",
	        "2\r\nab1\r\nc\r\n0\r\n\r\n", "2\r\nab\r\n0\r\nX : y\r\n\r\n",
	        "10000000000000000\r\nab\r\n0\r\n\r\n"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int fd = client_connect(port);
		client_say(fd, bad[i]);
		client_read(fd, &a, strncmp(bad[i], "HEAD", 4) == 0);
		ck_assert_msg(a.status == 400, "%d for %s", a.status, bad[i]);
		if (strncmp(bad[i], "HEAD", 4) != 0)
			assert_error(400, "malformed_request");
		ck_assert(client_ended(fd)); /* where the next request begins is not known */
		close(fd);
	}
	for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
		int fd = client_connect(port);
		client_say(
		        fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\ntransfer-encoding: chunked\r\n\r\n");
		client_say(fd, chunks[i]);
		client_read(fd, &a, false);
		ck_assert_msg(a.status == 400, "%d for %s", a.status, chunks[i]);
		assert_error(400, "malformed_request");
		ck_assert(client_ended(fd));
		close(fd);
	}
	/* a string ends at a NUL, and what another server reads does not */
	for (int i = 0; i < 2; i++) {
		static const char first[] =
		        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\n\r\n1",
		                  nul[] = "GET /what HTTP/1.1\r\nHost: localhost\0.evil.example\r\n\r\n";
		int fd = client_connect(port);
		if (i == 1) /* also behind another request */
			client_say(fd, first);
		client_send(fd, nul, sizeof nul - 1);
		if (i == 1)
			client_read(fd, &a, false);
		client_read(fd, &a, false);
		assert_error(400, "malformed_request");
		ck_assert(client_ended(fd));
		close(fd);
	}
	refused("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nExpect: more\r\n\r\n", 417,
	        "expectation_failed");
	refused("GET /what HTTP/-1.1\r\nHost: localhost\r\n\r\n", 505, "version_not_supported");
	refused("GET /what HTTP/0.9\r\nHost: localhost\r\n\r\n", 505, "version_not_supported");
	refused("GET /what/%ff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_path");
	refused("GET /what/\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_path");
	refused("GET /what%00 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_path");
	refused("GET /what/%0a HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_path");
	refused("GET /\xff\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_path");
	/* also after a request that was good */
	int fd = client_connect(port);
	client_say(fd, "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	client_read(fd, &a, false);
	client_say(fd, "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\nGARBAGE\r\n\r\n");
	client_read(fd, &a, false);
	ck_assert_int_eq(a.status, 200);
	client_read(fd, &a, false);
	assert_error(400, "malformed_request");
	ck_assert(client_ended(fd));
	close(fd);
	/* a client that asks first is told to go on */
	fd = client_connect(port);
	client_say(fd,
	        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
	client_read(fd, &a, false);
	ck_assert_int_eq(a.status, 100);
	client_say(fd, "hi");
	client_read(fd, &a, false);
	ck_assert_str_eq(a.body, "hi");
	client_say(fd,
	        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
	client_read(fd, &a, false);
	ck_assert_int_eq(a.status, 100); /* on a connection that goes on, too */
	client_say(fd, "ho!");
	client_read(fd, &a, false);
	ck_assert_str_eq(a.body, "ho!");
	close(fd);
	ck_assert_uint_eq(begun, 0);
	end();
}
END_TEST

START_TEST(hosts_and_origins) {
	begin();
	static const char *const good[] = {"localhost", "localhost:8080", "LOCALHOST.", "127.0.0.1",
	        "192.168.1.7:80", "[::1]", "[fe80::1]:8080", "node1", "Node1:8080"};
	static const char *const bad[] = {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example",
	        "node1.evil", "", "localhost:", "localhost:x", "localhost:80:80", "[::1", "[::1]x", "::1",
	        "[evil]", "127.0.0.1@evil.example", "0x7f.1", "node1 ,evil"};
	char text[400];
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		snprintf(text, sizeof text, "GET /client HTTP/1.1\r\nHost: %s\r\n\r\n", good[i]);
		client_ask(port, &a, text);
		ck_assert_msg(a.status == 200, "%d for %s", a.status, good[i]);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(text, sizeof text, "GET /open HTTP/1.1\r\nHost: %s\r\n\r\n", bad[i]);
		client_ask(port, &a, text);
		ck_assert_msg(a.status == 403, "%d for %s", a.status, bad[i]);
		assert_error(403, "host_not_allowed");
	}
	client_ask(port, &a, "GET http://localhost/client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	ck_assert_int_eq(a.status, 200);
	client_ask(port, &a, "GET http://evil.example/client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_error(403, "host_not_allowed");
	refused("GET /client HTTP/1.1\r\n\r\n", 400, "host_missing");

	static const char *const foreign[] = {"https://evil.example", "null", "http://localhost:1",
	        "https://localhost:8080", "http://localhost:8080.evil.example", "https://chat.example:444",
	        "http://chat.example", "*", ""};
	for (size_t i = 0; i < sizeof foreign / sizeof *foreign; i++) {
		snprintf(text, sizeof text,
		        "POST /echo HTTP/1.1\r\nHost: localhost:8080\r\nOrigin: %s\r\nContent-Length: 0\r\n\r\n",
		        foreign[i]);
		client_ask(port, &a, text);
		assert_error(403, "origin_not_allowed");
		ck_assert_ptr_null(answer_header(&a, "Access-Control-Allow-Origin"));
	}
	client_ask(port, &a,
	        "GET /client HTTP/1.1\r\nHost: localhost:8080\r\nOrigin: http://localhost:8080\r\n\r\n");
	ck_assert_int_eq(a.status, 200); /* its own page needs no permission */
	ck_assert_ptr_null(answer_header(&a, "Access-Control-Allow-Origin"));
	client_ask(
	        port, &a, "GET /client HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:80\r\n\r\n");
	ck_assert_int_eq(a.status, 200);
	client_ask(
	        port, &a, "GET /client HTTP/1.1\r\nHost: localhost\r\nOrigin: https://chat.example\r\n\r\n");
	ck_assert_int_eq(a.status, 200);
	ck_assert_str_eq(answer_header(&a, "Access-Control-Allow-Origin"), "https://chat.example");
	ck_assert_str_eq(answer_header(&a, "Vary"), "Origin");
	client_ask(port, &a,
	        "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: https://chat.example\r\n"
	        "Access-Control-Request-Method: POST\r\n"
	        "Access-Control-Request-Headers: content-type,x-stainless-os\r\n\r\n");
	ck_assert_int_eq(a.status, 204);
	ck_assert_str_eq(answer_header(&a, "Access-Control-Allow-Origin"), "https://chat.example");
	ck_assert_str_eq(answer_header(&a, "Access-Control-Allow-Methods"), "GET, HEAD, POST, DELETE");
	ck_assert_str_eq(answer_header(&a, "Access-Control-Allow-Headers"), "content-type,x-stainless-os");
	client_ask(port, &a,
	        "OPTIONS /echo HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n"
	        "Access-Control-Request-Method: POST\r\n\r\n");
	assert_error(403, "origin_not_allowed");
	ck_assert_ptr_null(answer_header(&a, "Access-Control-Allow-Methods"));
	end();
}
END_TEST

static void refused_as(const char *request, int status) {
	int fd = client_connect(port);
	client_say(fd, request);
	client_read(fd, &a, false);
	ck_assert_int_eq(a.status, status);
	ck_assert_str_eq(answer_header(&a, "Content-Type"), "application/json");
	json_t *j = json_loads(a.body, 0, NULL), *e = json_object_get(j, "api");
	ck_assert_msg(e != NULL, "%s", a.body);
	ck_assert_int_eq(json_integer_value(json_array_get(e, 0)), status);
	ck_assert_uint_gt(json_string_length(json_array_get(e, 1)), 10);
	json_decref(j);
	close(fd);
}

/* Whatever finds it: the server's checks, evhttp, or a bound. */
START_TEST(errors_have_the_form_of_their_path) {
	config.error = error_of_path;
	config.limits = (struct http_limits){.body = 1000};
	begin();
	refused_as("GET /api/x?q HTTP/1.1\r\nHost: localhost\r\n\r\n", 404);
	refused_as("GET /api/x HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403);
	refused_as("BREW /api/x HTTP/1.1\r\nHost: localhost\r\n\r\n", 501);
	refused_as("GET /api/x HTTP/1.1\r\nHost: localhost\r\nX : y\r\n\r\n", 400);
	refused_as("POST /api/x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n", 413);
	refused("GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n", 404, "not_found");
	refused("POST /x HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1001\r\n\r\n", 413, "body_too_large");
	/* of the request that is wrong, not the one before */
	int fd = client_connect(port);
	client_say(fd,
	        "GET /api/x HTTP/1.1\r\nHost: localhost\r\n\r\nGET /x HTTP/1.1\r\nHost: localhost\r\n\r\n");
	client_read(fd, &a, false);
	ck_assert_ptr_nonnull(strstr(a.body, "\"api\""));
	client_read(fd, &a, false);
	assert_error(404, "not_found");
	close(fd);
	end();
}
END_TEST

/* ---- keys ---------------------------------------------------------------------------------------- */

static void access_by_key(void *arg, const char *secret, bool loopback, struct http_access *out) {
	ck_assert_ptr_eq(arg, &config);
	ck_assert(loopback);
	*out = (struct http_access){0};
	if (secret && strcmp(secret, "right") == 0)
		*out = (struct http_access){.granted = true, .client = 42, .name = "me"};
}

START_TEST(keys) {
	static const char *const good[] = {"Authorization: Bearer right", "authorization: bearer   right",
	        "X-Api-Key: right", "Authorization: Bearer right\r\nx-api-key: wrong",
	        "Authorization: Bearer wrong\r\nx-api-key: right",
	        "Authorization: Basic right\r\nx-api-key: right"};
	static const char *const bad[] = {"X: Y", "Authorization: right", "Authorization: Basic right",
	        "Authorization: Bearer", "Authorization: Bearer right2", "Authorization: Bearer right right",
	        "x-api-key:", "x-api-key: Right"};
	char text[300];
	config.access = access_by_key;
	config.access_arg = &config;
	config.limits.per_client = 1;
	begin();
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		snprintf(text, sizeof text, "GET /client HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", good[i]);
		client_ask(port, &a, text);
		ck_assert_msg(a.status == 200, "%d for %s", a.status, good[i]);
		ck_assert_str_eq(a.body, "42");
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(text, sizeof text, "GET /client HTTP/1.1\r\nHost: localhost\r\n%s\r\n\r\n", bad[i]);
		client_ask(port, &a, text);
		assert_error(401, "invalid_api_key");
		ck_assert_str_eq(answer_header(&a, "WWW-Authenticate"), "Bearer realm=\"caravan\"");
	}
	client_ask(port, &a, "GET /key HTTP/1.1\r\nHost: localhost\r\nx-api-key: right\r\n\r\n");
	ck_assert_str_eq(a.body, "42");
	/* what is not there is not told to strangers; what needs no key has none */
	client_ask(port, &a, "GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
	assert_error(401, "invalid_api_key");
	client_ask(port, &a, "GET /open HTTP/1.1\r\nHost: localhost\r\n\r\n");
	ck_assert_int_eq(a.status, 200);
	ck_assert_str_ne(a.body, "42");
	/* a share is one key's: another client has its own */
	int fd = client_connect(port);
	client_say(fd, "GET /hold HTTP/1.1\r\nHost: localhost\r\nx-api-key: right\r\n\r\n");
	wait_for(&begun, 1);
	client_ask(port, &a, "GET /client HTTP/1.1\r\nHost: localhost\r\nx-api-key: right\r\n\r\n");
	assert_error(429, "rate_limit_exceeded");
	client_ask(port, &a, "GET /open HTTP/1.1\r\nHost: localhost\r\n\r\n");
	ck_assert_int_eq(a.status, 200);
	/* what is open to everybody is so to a client that has its share */
	client_ask(port, &a, "GET /open HTTP/1.1\r\nHost: localhost\r\nx-api-key: right\r\n\r\n");
	ck_assert_int_eq(a.status, 200);
	ck_assert_str_eq(a.body, "42");
	close(fd);
	end();
}
END_TEST

/* ---- bounds -------------------------------------------------------------------------------------- */

/* `len` times a byte, on a connection. */
static void client_fill(int fd, size_t len) {
	static char part[16 << 10];
	memset(part, 'a', sizeof part);
	for (; len > 0; len -= len < sizeof part ? len : sizeof part)
		client_send(fd, part, len < sizeof part ? len : sizeof part);
}

START_TEST(sizes_have_bounds) {
	config.limits = (struct http_limits){.head = 4096, .body = 100000};
	begin();
	int fd = client_connect(port);
	client_say(fd, "GET /");
	client_fill(fd, 100000);
	client_read(fd, &a, false);
	assert_error(431, "headers_too_large");
	ck_assert(client_ended(fd));
	close(fd);
	fd = client_connect(port);
	client_say(fd, "GET /client HTTP/1.1\r\nHost: localhost\r\nX: ");
	client_fill(fd, 100000);
	client_read(fd, &a, false);
	assert_error(431, "headers_too_large");
	close(fd);
	fd = client_connect(port);
	client_say(fd, "GET /client HTTP/1.1\r\nHost: localhost\r\n");
	for (int i = 0; i < 2000; i++)
		client_say(fd, "X: 1\r\n");
	client_read(fd, &a, false);
	assert_error(431, "headers_too_large");
	close(fd);
	/* the length alone tells */
	refused("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100001\r\n\r\n", 413,
	        "body_too_large");
	refused("POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9223372036854775807\r\n\r\n", 413,
	        "body_too_large");
	refused("POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n186a1\r\n", 413,
	        "body_too_large");
	fd = client_connect(port);
	client_say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 60; i++) { /* in chunks that are small, each */
		client_say(fd, "800\r\n");
		client_fill(fd, 2048);
		client_say(fd, "\r\n");
	}
	client_read(fd, &a, false);
	assert_error(413, "body_too_large");
	close(fd);
	fd = client_connect(port); /* a chunk's length without an end */
	client_say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
	client_fill(fd, 400000);
	ck_assert(client_ended(fd));
	close(fd);
	fd = client_connect(port); /* chunks of any bytes, in pieces of any size */
	static const char chunked[] =
	        "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
	        "00C\r\n\r\n0\0\n\r\n:\r\nab\r\n1\r\nc\r\n0\r\nX-Trailer: y\r\n\r\n";
	for (size_t i = 0; i + 1 < sizeof chunked; i++)
		client_send(fd, chunked + i, 1);
	client_read(fd, &a, false);
	ck_assert_int_eq(a.status, 200);
	ck_assert_uint_eq(a.len, 13);
	ck_assert_int_eq(memcmp(a.body, "\r\n0\0\n\r\n:\r\nabc", 13), 0);
	client_send(fd, chunked, sizeof chunked - 1); /* at once, and the next one with it */
	client_send(fd, chunked, sizeof chunked - 1);
	for (int i = 0; i < 2; i++) {
		client_read(fd, &a, false);
		ck_assert_int_eq(a.status, 200);
		ck_assert_uint_eq(a.len, 13);
	}
	close(fd);
	fd = client_connect(port); /* and all that is allowed */
	client_say(fd, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n");
	client_fill(fd, 60000);
	client_read(fd, &a, false);
	ck_assert_int_eq(a.status, 200);
	ck_assert_uint_eq(a.len, 60000);
	close(fd);
	end();
}
END_TEST

/* A byte now and then: the time counts from the first one. */
START_TEST(slow_requests_end) {
	static const char request[] =
	        "GET /client HTTP/1.1\r\nHost: localhost\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\r\n";
	config.limits = (struct http_limits){.arrive_ms = 300, .idle_ms = 300};
	begin();
	struct pollfd p = {.events = POLLIN};
	int silent = client_connect(port), idle = client_connect(port), body = client_connect(port);
	p.fd = client_connect(port);
	client_say(body, "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhel");
	client_say(idle, "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	client_read(idle, &a, false);
	ck_assert_int_eq(a.status, 200);
	for (size_t i = 0; request[i]; i++) { /* 20 ms between bytes, of which none is late */
		client_send(p.fd, &request[i], 1);
		if (poll(&p, 1, 20) > 0)
			break;
	}
	client_read(p.fd, &a, false);
	assert_error(408, "request_timeout");
	ck_assert(client_ended(p.fd));
	client_read(body, &a, false);
	assert_error(408, "request_timeout");
	ck_assert(client_ended(idle));
	ck_assert(client_ended(silent));
	close(p.fd);
	close(silent);
	close(idle);
	close(body);
	end();
}
END_TEST

/* A stream for which nothing happens is no idle connection, and a long answer no slow request. */
START_TEST(answers_take_their_time) {
	config.limits = (struct http_limits){.arrive_ms = 200, .idle_ms = 200, .stall_ms = 200};
	begin();
	int fd = client_connect(port);
	client_say(fd, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_for(&begun, 1);
	nanosleep(&(struct timespec){1, 0}, NULL);
	ck_assert_int_eq(loop_post(http_loop(server), end_stream, NULL), 0);
	client_read(fd, &a, false);
	ck_assert_str_eq(a.body, "data: one\n\n");
	close(fd);
	end();
}
END_TEST

START_TEST(unread_answers_end) {
	config.limits = (struct http_limits){.unread = 1 << 20};
	begin();
	int fd = client_connect(port);
	client_say(fd, "GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_for(&closed, 1);
	close(fd);
	end();
	/* all together: a few of them are too much, and one of them goes */
	config.limits = (struct http_limits){.body = 1 << 20, .buffered = 3 << 20};
	begun = closed = 0;
	begin();
	int fds[5];
	for (int i = 0; i < 5; i++) {
		fds[i] = client_connect(port);
		client_say(
		        fds[i], "POST /hold HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n");
		client_fill(fds[i], 1000000);
	}
	unsigned gone = 0; /* there is place for three */
	for (int i = 0; i < 5 * PATIENCE_MS && gone < 2; i++) {
		struct pollfd p = {.fd = fds[i % 5], .events = POLLIN};
		gone += fds[i % 5] >= 0 && poll(&p, 1, 1) == 1 && client_ended(fds[i % 5]) &&
		        close(fds[i % 5]) == 0 && (fds[i % 5] = -1);
	}
	ck_assert_uint_eq(gone, 2);
	for (int i = 0; i < 5; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	end();
	/* little is left, but nothing of it is read for a while */
	config.limits = (struct http_limits){.unread = 128 << 20, .stall_ms = 300};
	begun = closed = 0;
	begin();
	fd = client_connect(port);
	client_say(fd, "GET /flood HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_for(&closed, 1);
	ck_assert_uint_eq(begun, 1);
	close(fd);
	end();
}
END_TEST

/* A chunk that is whole counts too, though evhttp keeps it where nobody sees it. */
START_TEST(chunks_count) {
	config.limits = (struct http_limits){.body = 1 << 20, .buffered = 3 << 20};
	begin();
	struct pollfd p[8];
	for (int i = 0; i < 8; i++) { /* 512 KiB each, and none has an end */
		p[i] = (struct pollfd){.fd = client_connect(port), .events = POLLIN};
		client_say(p[i].fd,
		        "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n");
		for (int k = 0; k < 32; k++) {
			client_say(p[i].fd, "4000\r\n");
			client_fill(p[i].fd, 16 << 10);
			client_say(p[i].fd, "\r\n");
		}
	}
	int gone = 0;
	ck_assert_int_gt(poll(p, 8, PATIENCE_MS), 0);
	for (int i = 0; i < 8; i++)
		if (poll(&p[i], 1, 0) == 1) {
			ck_assert(client_ended(p[i].fd)); /* and not because it took long */
			gone++;
		}
	ck_assert_int_gt(gone, 0);
	for (int i = 0; i < 8; i++)
		close(p[i].fd);
	client_ask(port, &a, "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	ck_assert_int_eq(a.status, 200);
	end();
}
END_TEST

/* A header takes more memory than its text. */
START_TEST(headers_count) {
	config.limits = (struct http_limits){.head = 64 << 10, .buffered = 2 << 20};
	begin();
	struct pollfd p[8];
	static char lines[25000];
	for (size_t i = 0; i < sizeof lines; i += 5)
		memcpy(lines + i, "a:b\r\n", 5);
	for (int i = 0; i < 8; i++) {
		p[i] = (struct pollfd){.fd = client_connect(port), .events = POLLIN};
		client_say(p[i].fd, "GET /client HTTP/1.1\r\nHost: localhost\r\n");
		client_send(p[i].fd, lines, sizeof lines);
	}
	ck_assert_int_gt(poll(p, 8, PATIENCE_MS), 0);
	for (int i = 0; i < 8; i++)
		ck_assert(poll(&p[i], 1, 0) == 0 || client_ended(p[i].fd)); /* and not because it took long */
	for (int i = 0; i < 8; i++)
		close(p[i].fd);
	/* what has been answered counts no longer */
	int fd = client_connect(port);
	for (int i = 0; i < 12; i++) {
		client_say(fd, "GET /client HTTP/1.1\r\nHost: localhost\r\n");
		client_send(fd, lines, sizeof lines / 2);
		client_say(fd, "\r\n");
		client_read(fd, &a, false);
		ck_assert_int_eq(a.status, 200);
	}
	close(fd);
	end();
}
END_TEST

/* An answer may be longer than what a client may leave of a stream. */
START_TEST(long_answers_arrive) {
	config.limits = (struct http_limits){.unread = 1 << 16};
	begin();
	int fd = client_connect(port);
	char c;
	size_t n = 0;
	client_say(fd, "GET /large HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
	static char part[64 << 10];
	ck_assert(client_byte(fd, &c));
	for (ssize_t k = 1; k > 0; k = recv(fd, part, sizeof part, 0))
		n += (size_t)k;
	ck_assert_uint_gt(n, 8 << 20);
	close(fd);
	end();
}
END_TEST

START_TEST(clients_have_a_share) {
	config.limits = (struct http_limits){.per_client = 3};
	begin();
	int fds[3];
	for (int i = 0; i < 3; i++) {
		fds[i] = client_connect(port);
		client_say(fds[i], "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
	}
	wait_for(&begun, 3);
	refused("GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n", 429, "rate_limit_exceeded");
	ck_assert_str_eq(answer_header(&a, "Retry-After"), "1");
	close(fds[0]);
	wait_for(&closed, 1);
	client_ask(port, &a, "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	ck_assert_int_eq(a.status, 200);
	close(fds[1]);
	close(fds[2]);
	end();
}
END_TEST

START_TEST(connections_have_bounds) {
	config.limits = (struct http_limits){.connections = 8, .per_address = 8};
	begin();
	int fds[8];
	for (int i = 0; i < 8; i++) { /* seven that stream, and one that is idle */
		fds[i] = client_connect(port);
		client_say(fds[i], i < 7 ? "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
		                         : "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	}
	wait_for(&begun, 7);
	client_read(fds[7], &a, false);
	ck_assert_int_eq(a.status, 200);
	refused("GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n", 503,
	        "too_many_connections"); /* for one address */
	end();
	config.limits = (struct http_limits){.connections = 8, .per_address = 100};
	begun = closed = 0;
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	begin();
	for (int i = 0; i < 8; i++) {
		fds[i] = client_connect(port);
		client_say(fds[i], i < 7 ? "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n"
		                         : "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	}
	wait_for(&begun, 7);
	client_read(fds[7], &a, false);
	/* the idle one makes place */
	int fd = client_connect(port);
	client_say(fd, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n");
	wait_for(&begun, 8);
	ck_assert(client_ended(fds[7]));
	refused("GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n", 503, "too_many_connections");
	ck_assert_str_eq(answer_header(&a, "Retry-After"), "2");
	ck_assert_uint_eq(closed, 0);
	close(fd);
	for (int i = 0; i < 8; i++)
		close(fds[i]);
	end();
}
END_TEST

/* As many as there are descriptors for, at once, and a client that is served all the same. */
START_TEST(ten_thousand_connections) {
	enum { MANY = 10000 };
	static int fds[MANY];
	struct rlimit limit;
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	int many = limit.rlim_cur > 2 * MANY ? MANY : (int)(limit.rlim_cur / 3);
	begin();
	int kept = client_connect(port), n = 0;
	client_say(kept, "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	client_read(kept, &a, false);
	ck_assert_int_eq(a.status, 200);
	for (; n < many;
	        n++) { /* each with half a request, from other addresses of this machine's loopback */
		struct sockaddr_in to = {.sin_family = AF_INET,
		                           .sin_port = htons(port),
		                           .sin_addr = {htonl(INADDR_LOOPBACK)}},
		                   from = {.sin_family = AF_INET,
		                           .sin_addr = {htonl(0x7f000002u + (unsigned)n % 64)}};
		fds[n] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert_int_ge(fds[n], 0);
		ck_assert_int_eq(bind(fds[n], (struct sockaddr *)&from, sizeof from), 0);
		ck_assert_int_eq(connect(fds[n], (struct sockaddr *)&to, sizeof to), 0);
		client_say(fds[n], "GET /client HTT");
	}
	/* the idle one has made place by now, or is still served */
	client_say(kept, "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	client_read(kept, &a, false);
	for (n = 0; n < many; n++)
		close(fds[n]);
	client_ask(port, &a, "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	for (int i = 0; a.status != 200 && i < 100; i++) {
		nanosleep(&(struct timespec){0, 50000000}, NULL);
		client_ask(port, &a, "GET /client HTTP/1.1\r\nHost: localhost\r\n\r\n");
	}
	ck_assert_int_eq(a.status, 200);
	close(kept);
	end();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("http");
	TCase *t = tcase_create("http");
	tcase_add_test(t, requests_and_answers);
	tcase_add_test(t, connections_are_kept);
	tcase_add_test(t, streams);
	tcase_add_test(t, streams_are_pulled);
	tcase_add_test(t, owners_hear_of_the_end);
	tcase_add_test(t, clients_that_leave);
	tcase_add_test(t, ends_with_open_exchanges);
	tcase_add_test(t, malformed_requests);
	tcase_add_test(t, hosts_and_origins);
	tcase_add_test(t, errors_have_the_form_of_their_path);
	tcase_add_test(t, keys);
	tcase_add_test(t, sizes_have_bounds);
	tcase_add_test(t, slow_requests_end);
	tcase_add_test(t, answers_take_their_time);
	tcase_add_test(t, unread_answers_end);
	tcase_add_test(t, chunks_count);
	tcase_add_test(t, headers_count);
	tcase_add_test(t, long_answers_arrive);
	tcase_add_test(t, clients_have_a_share);
	tcase_add_test(t, connections_have_bounds);
	suite_add_tcase(s, t);
	t = tcase_create("many");
	tcase_add_test(t, ten_thousand_connections);
	suite_add_tcase(s, t);
	return s;
}
#include "tests/unit/check_main.h"
