/* The page's files over the real HTTP server: who gets the page and who Ollama's greeting, compressed and not, kept by its ETag,
 * without a key, and with the headers that a browser enforces. */
#include "daemon/api/http/http.h"
#include "daemon/api/web/web.h"
#include "tests/unit/api/http/http_client.h"

static struct http_server *server;
static struct answer a;

static void handle_root(struct http_exchange *x, void *arg) {
	(void)arg;
	if (!web_reply_page(x))
		http_reply_text(x, 200, "text/plain", "greeting", 8);
}

static void nobody(void *arg, const char *secret, bool loopback, struct http_access *out) {
	(void)arg;
	(void)secret;
	(void)loopback;
	*out = (struct http_access){0};
}

static void setup(void) {
	static struct http_route routes[8] = {{HTTP_GET | HTTP_HEAD, "/", handle_root, true}};
	char err[512];
	memcpy(&routes[1], web_routes, web_nroutes * sizeof *routes);
	int rc = http_create(&server,
	        &(struct http_config){.address = "127.0.0.1:0",
	                .required = true,
	                .routes = routes,
	                .nroutes = 1 + web_nroutes,
	                .access = nobody},
	        err, sizeof err);
	ck_assert_msg(rc == 0, "%s", err);
}

static void teardown(void) {
	http_destroy(server);
}

static void get(const char *method, const char *path, const char *headers) {
	char request[512];
	snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", method, path,
	        headers);
	client_ask(http_port(server), &a, request);
}

static const struct web_file *file(const char *name) {
	for (size_t i = 0; i < web_nfiles; i++)
		if (strcmp(web_files[i].name, name) == 0)
			return &web_files[i];
	ck_abort_msg("no file %s", name);
}

static void assert_header(const char *name, const char *value) {
	const char *is = answer_header(&a, name);
	ck_assert_msg(is && strcmp(is, value) == 0, "%s is %s, not %s", name, is ? is : "missing", value);
}

static void assert_body(const unsigned char *body, size_t len) {
	ck_assert_uint_eq(a.len, len);
	ck_assert_mem_eq(a.body, body, len);
}

static const struct {
	const char *accept;
	bool page;
} clients[] = {{"", false}, {"Accept: */*\r\n", false}, {"Accept: application/json\r\n", false},
        {"Accept: text/html;q=0, */*\r\n", false}, {"Accept: text/htmlx\r\n", false},
        {"Accept: x-text/html\r\n", false}, {"Accept: application/json, text/html;q=0.1\r\n", false},
        {"Accept: text/html;q=0.7, */*;q=0.8\r\n", false}, {"Accept: text/html\r\n", true},
        {"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n", true},
        {"Accept: application/xml;q=0.4 ,\tText/HTML; q=0.5\r\n", true},
        {"Accept: text/html, text/plain;q=0\r\n", true}};
#define CLIENTS (int)(sizeof clients / sizeof *clients)

START_TEST(who_gets_the_page) {
	const struct web_file *page = file("page.html");
	get("GET", "/", clients[_i].accept);
	ck_assert_int_eq(a.status, 200);
	assert_header("Vary", "Accept, Accept-Encoding, Origin");
	if (clients[_i].page) {
		assert_header("Content-Type", "text/html; charset=utf-8");
		assert_body(page->body, page->len);
	} else {
		ck_assert_str_eq(a.body, "greeting");
		ck_assert_ptr_null(answer_header(&a, "ETag"));
	}
}
END_TEST

static const struct {
	const char *accept;
	bool gzip;
} encodings[] = {{"", false}, {"Accept-Encoding: br\r\n", false}, {"Accept-Encoding: gzip;q=0\r\n", false},
        {"Accept-Encoding: identity\r\n", false}, {"Accept-Encoding: gzip\r\n", true},
        {"Accept-Encoding: br, gzip;q=0.5\r\n", true}};
#define ENCODINGS (int)(sizeof encodings / sizeof *encodings)

START_TEST(compressed) {
	const struct web_file *f = file("app.js");
	bool gzip = encodings[_i].gzip;
	get("GET", "/web/app.js", encodings[_i].accept);
	ck_assert_int_eq(a.status, 200);
	assert_header("Content-Type", "text/javascript; charset=utf-8");
	assert_header("Vary", "Accept-Encoding, Origin");
	assert_header("ETag", gzip ? f->gzip_etag : f->etag);
	if (gzip)
		assert_header("Content-Encoding", "gzip");
	else
		ck_assert_ptr_null(answer_header(&a, "Content-Encoding"));
	assert_body(gzip ? f->gzip : f->body, gzip ? f->gzip_len : f->len);
}
END_TEST

START_TEST(kept_by_its_tag) {
	static const struct {
		const char *format;
		int status;
	} asked[] = {{"If-None-Match: %s\r\n", 304}, {"If-None-Match: \"x\", W/%s\r\n", 304},
	        {"If-None-Match: *\r\n", 304}, {"If-None-Match: \"x\"\r\n", 200}};
	const struct web_file *f = file("style.css");
	char headers[200];
	for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
		snprintf(headers, sizeof headers, asked[i].format, f->etag);
		get("GET", "/web/style.css", headers);
		ck_assert_int_eq(a.status, asked[i].status);
		assert_header("ETag", f->etag);
		assert_header("Cache-Control", "no-cache");
		if (a.status == 304)
			ck_assert_ptr_null(answer_header(&a, "Content-Length"));
	}
	/* the compressed form is another one */
	snprintf(headers, sizeof headers, "Accept-Encoding: gzip\r\nIf-None-Match: %s\r\n", f->etag);
	get("GET", "/web/style.css", headers);
	ck_assert_int_eq(a.status, 200);
	/* and the next request of a connection that had a 304 is answered */
	int fd = client_connect(http_port(server));
	for (int i = 0; i < 2; i++) {
		snprintf(headers, sizeof headers,
		        "GET /web/icon.svg HTTP/1.1\r\nHost: localhost\r\nIf-None-Match: %s\r\n\r\n",
		        file("icon.svg")->etag);
		client_say(fd, headers);
		client_read(fd, &a, false);
		ck_assert_int_eq(a.status, 304);
	}
	close(fd);
}
END_TEST

START_TEST(what_a_browser_enforces) {
	get("GET", "/", "Accept: text/html\r\n");
	const char *policy = answer_header(&a, "Content-Security-Policy");
	ck_assert_ptr_nonnull(policy);
	ck_assert_ptr_nonnull(strstr(policy, "default-src 'none'"));
	ck_assert_ptr_nonnull(strstr(policy, "frame-ancestors 'none'"));
	ck_assert_ptr_null(strstr(policy, "unsafe"));
	ck_assert_ptr_null(strstr(policy, "http"));
	assert_header("Referrer-Policy", "no-referrer");
	assert_header("X-Content-Type-Options", "nosniff");
	ck_assert_ptr_null(strstr(a.body, "<style"));
	ck_assert_ptr_null(strstr(a.body, "<script>"));
	ck_assert_ptr_null(strstr(a.body, "style="));
}
END_TEST

START_TEST(other_requests) {
	get("HEAD", "/web/app.js", "");
	ck_assert_int_eq(a.status, 200);
	ck_assert_uint_eq(strtoul(answer_header(&a, "Content-Length"), NULL, 10), file("app.js")->len);
	get("GET", "/web/nothing.js", "");
	ck_assert_int_eq(a.status, 404);
	get("GET", "/web/../page.html", "");
	ck_assert_int_eq(a.status, 404);
	get("POST", "/web/app.js", "Content-Length: 0\r\n");
	ck_assert_int_eq(a.status, 401); /* not one of the open routes */
}
END_TEST

static bool is_ours(const char *name) {
	return !strstr("marked.js purify.js highlight.js licences.txt", name);
}

/* All files: the compressed form is the other one, and together they keep their bound, as our own do. */
START_TEST(embedded) {
	size_t total = 0, ours = 0;
	for (size_t i = 0; i < web_nfiles; i++) {
		const struct web_file *f = &web_files[i];
		char name[] = "/tmp/check_web.XXXXXX", command[64];
		int fd = mkstemp(name);
		ck_assert(fd >= 0 && write(fd, f->gzip, f->gzip_len) == (ssize_t)f->gzip_len);
		close(fd);
		snprintf(command, sizeof command, "gzip -dc <%s", name);
		FILE *p = popen(command, "r");
		unsigned char *out = malloc(f->len + 1);
		size_t n = fread(out, 1, f->len + 1, p);
		ck_assert_int_eq(pclose(p), 0);
		unlink(name);
		ck_assert_uint_eq(n, f->len);
		ck_assert_mem_eq(out, f->body, n);
		free(out);
		ck_assert(*f->etag == '"' && strcmp(f->etag, f->gzip_etag) != 0);
		total += f->gzip_len;
		ours += is_ours(f->name) ? f->len : 0;
	}
	ck_assert_uint_gt(web_nfiles, 12);
	ck_assert_uint_lt(total, 300 << 10);
	ck_assert_uint_lt(ours, 100 << 10);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("web");
	TCase *t = tcase_create("files");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, who_gets_the_page, 0, CLIENTS);
	tcase_add_loop_test(t, compressed, 0, ENCODINGS);
	tcase_add_test(t, kept_by_its_tag);
	tcase_add_test(t, what_a_browser_enforces);
	tcase_add_test(t, other_requests);
	tcase_add_test(t, embedded);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
