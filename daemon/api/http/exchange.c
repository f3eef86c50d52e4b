/* exchange: a request that has arrived, the checks that it passes, its route and its answer.
 *
 * Owns: each exchange until its answer has been written, or its connection has gone.
 * Invariants: the checks run in the order of exchange_check, and each refusal is an answer in JSON.  After
 * its answer has ended, an exchange is kept only for the access log.
 * Threads: the server's. */
#include "config.h"

#include "daemon/api/http/http_internal.h"
#include "daemon/core/log.h"
#include "daemon/text/utf8.h"
#include <errno.h>
#include <event2/http_struct.h>
#include <event2/keyvalq_struct.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define QUERY_MAX 32 /* parameters that are read */
#define BUSY_RETRY_S "1"
#define PREFLIGHT_S "600"

/* ---- words --------------------------------------------------------------------------------------- */

static const struct {
	int status;
	const char *reason, *type, *code;
} http_statuses[] = {
        {200, "OK", "", ""},
        {201, "Created", "", ""},
        {204, "No Content", "", ""},
        {400, "Bad Request", "invalid_request_error", "bad_request"},
        {401, "Unauthorized", "authentication_error", "invalid_api_key"},
        {403, "Forbidden", "permission_error", "forbidden"},
        {404, "Not Found", "invalid_request_error", "not_found"},
        {405, "Method Not Allowed", "invalid_request_error", "method_not_allowed"},
        {408, "Request Timeout", "invalid_request_error", "request_timeout"},
        {409, "Conflict", "invalid_request_error", "conflict"},
        {413, "Content Too Large", "invalid_request_error", "body_too_large"},
        {417, "Expectation Failed", "invalid_request_error", "expectation_failed"},
        {429, "Too Many Requests", "rate_limit_error", "rate_limit_exceeded"},
        {431, "Request Header Fields Too Large", "invalid_request_error", "headers_too_large"},
        {500, "Internal Server Error", "server_error", "internal_error"},
        {501, "Not Implemented", "invalid_request_error", "not_implemented"},
        {503, "Service Unavailable", "server_error", "unavailable"},
        {505, "HTTP Version Not Supported", "invalid_request_error", "version_not_supported"},
};

static size_t http_status_index(int status) {
	size_t n = sizeof http_statuses / sizeof *http_statuses;
	for (size_t i = 0; i < n; i++)
		if (http_statuses[i].status == status)
			return i;
	return n;
}

const char *http_reason(int status) {
	size_t i = http_status_index(status);
	return i < sizeof http_statuses / sizeof *http_statuses ? http_statuses[i].reason
	       : status == 304                                  ? "Not Modified"
	       : status < 400                                   ? "OK"
	                                                        : "Error";
}

static json_t *error_usual(int status, const char *code, const char *message) {
	size_t i = http_status_index(status);
	bool known = i < sizeof http_statuses / sizeof *http_statuses;
	return json_pack("{s:{s:s, s:s, s:s}}", "error", "message", message, "type",
	        known           ? http_statuses[i].type
	        : status >= 500 ? "server_error"
	                        : "invalid_request_error",
	        "code",
	        code    ? code
	        : known ? http_statuses[i].code
	                : "error");
}

char *http_error_text(const struct http_conn *c, int status, const char *code, const char *message) {
	const struct http_config *config = &c->server->config;
	if (!utf8_valid(message, strlen(message)))
		message = http_reason(status);
	json_t *error = config->error ? config->error(c->framing.path, status, message) : NULL;
	if (!error)
		error = error_usual(status, code, message);
	char *text = error ? json_dumps(error, JSON_COMPACT) : NULL;
	json_decref(error);
	return text;
}

/* ---- the request --------------------------------------------------------------------------------- */

const char *http_path(const struct http_exchange *x) {
	return x->path;
}

const char *http_rest(const struct http_exchange *x) {
	return x->rest;
}

enum http_method http_method(const struct http_exchange *x) {
	return x->method;
}

const char *http_header(const struct http_exchange *x, const char *name) {
	return evhttp_find_header(evhttp_request_get_input_headers(x->request), name);
}

const char *http_body(const struct http_exchange *x, size_t *len) {
	*len = x->body_len;
	return x->body;
}

uint64_t http_client(const struct http_exchange *x) {
	return x->client;
}

uint64_t http_key(const struct http_exchange *x) {
	return x->key;
}

static void exchange_read_query(struct http_exchange *x) {
	const char *at = evhttp_uri_get_query(evhttp_request_get_evhttp_uri(x->request));
	x->query_read = true;
	if (!at || !*at || !(x->query = calloc(QUERY_MAX, sizeof *x->query)))
		return;
	while (x->nquery < QUERY_MAX) {
		size_t len = strcspn(at, "&"), name = strcspn(at, "=&"), size;
		char *one = strndup(at, len);
		if (!one)
			return;
		if (name < len)
			one[name] = '\0';
		x->query[x->nquery].name = evhttp_uridecode(one, 1, NULL);
		char *value = evhttp_uridecode(name < len ? one + name + 1 : "", 1, &size);
		if (value && strlen(value) != size)
			value[0] = '\0'; /* with a NUL in it no text is right */
		x->query[x->nquery].value = value;
		free(one);
		x->nquery++;
		if (!at[len])
			return;
		at += len + 1;
	}
}

const char *http_query(const struct http_exchange *x, const char *name) {
	if (!x->query_read)
		exchange_read_query((struct http_exchange *)x); /* a cache: observers see no change */
	for (size_t i = 0; i < x->nquery; i++)
		if (x->query[i].name && x->query[i].value && strcmp(x->query[i].name, name) == 0)
			return x->query[i].value;
	return NULL;
}

/* ---- the answer ---------------------------------------------------------------------------------- */

static void exchange_free(struct http_exchange *x) {
	for (size_t i = 0; i < x->nquery; i++) {
		free(x->query[i].name);
		free(x->query[i].value);
	}
	free(x->query);
	free(x->path);
	free(x);
}

static void exchange_log(const struct http_exchange *x) {
	access_log_write(x->conn->server, x->conn, x->who, x->request, x->status, x->sent);
}

/* evhttp: the answer has been written, and the request is about to be freed. */
static void exchange_complete(struct evhttp_request *req, void *arg) {
	struct http_exchange *x = arg;
	struct http_conn *c = x->conn;
	(void)req;
	exchange_log(x);
	c->exchange = NULL;
	if (x->last)
		conn_doom(c, NULL);
	exchange_free(x);
	bufferevent_setwatermark(c->bev, EV_READ, 0, 0);
	conn_set_state(c, evbuffer_get_length(bufferevent_get_input(c->bev)) ? CONN_ARRIVING : CONN_IDLE);
}

void exchange_lost(struct http_exchange *x) {
	struct http_conn *c = x->conn;
	void (*closed)(void *arg) = x->ended ? NULL : x->closed;
	void *arg = x->closed_arg;
	exchange_log(x);
	c->exchange = NULL;
	/* if the client closed the connection, the request was detached from it and is ours to free */
	if (!evhttp_request_get_connection(x->request))
		evhttp_request_free(x->request);
	exchange_free(x);
	if (closed)
		closed(arg);
}

void http_on_closed(struct http_exchange *x, void (*closed)(void *arg), void *arg) {
	x->closed = closed;
	x->closed_arg = arg;
}

void http_reply_header(struct http_exchange *x, const char *name, const char *value) {
	struct evkeyvalq *out = evhttp_request_get_output_headers(x->request);
	evhttp_remove_header(out, name);
	evhttp_add_header(out, name, value);
}

static void exchange_begin_reply(struct http_exchange *x, int status, const char *type) {
	x->status = status;
	if (type)
		http_reply_header(x, "Content-Type", type);
	http_reply_header(x, "X-Content-Type-Options", "nosniff");
}

void http_reply_text(struct http_exchange *x, int status, const char *type, const char *text, size_t len) {
	struct evbuffer *body = evbuffer_new();
	struct bufferevent *bev = x->conn->bev;
	char length[24];
	if (!body || (x->method != HTTP_HEAD && evbuffer_add(body, text, len) != 0)) {
		if (body)
			evbuffer_free(body);
		x->ended = true;
		conn_doom(x->conn, "out of memory for its answer");
		return;
	}
	exchange_begin_reply(x, status, len ? type : NULL);
	snprintf(length, sizeof length, "%zu", len);
	if (status != 204 && status != 304)
		http_reply_header(
		        x, "Content-Length", length); /* evhttp's own would be of what it sends for HEAD */
	x->sent = evbuffer_get_length(body);
	x->ended = true;
	evhttp_send_reply(x->request, status, http_reason(status), body);
	/* a client may close its side after sending everything: it still wants the answer */
	bufferevent_disable(bev, EV_READ);
	evbuffer_free(body);
}

void http_reply_json(struct http_exchange *x, int status, json_t *body) {
	char *text = body ? json_dumps(body, HTTP_JSON) : NULL;
	json_decref(body);
	if (text)
		http_reply_text(x, status, "application/json", text, strlen(text));
	else
		http_reply_error(x, 500, NULL, "out of memory");
	free(text);
}

void http_reply_error(struct http_exchange *x, int status, const char *code, const char *fmt, ...) {
	char message[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(message, sizeof message, fmt, ap);
	va_end(ap);
	char *made = http_error_text(x->conn, status, code, message);
	const char *text = made ? made : "{\"error\":{}}";
	http_reply_text(x, status, "application/json", text, strlen(text));
	free(made);
}

void http_stream_begin(struct http_exchange *x, int status, const char *type) {
	exchange_begin_reply(x, status, type);
	if (strcmp(type, "text/event-stream") == 0) {
		http_reply_header(x, "Cache-Control", "no-cache");
		http_reply_header(x, "X-Accel-Buffering", "no"); /* for nginx as a reverse proxy */
	}
	if (x->request->minor == 0) {
		/* no chunks: the end of the connection ends the answer; to keep it open, evhttp would send a
		 * length of 0 */
		evhttp_remove_header(evhttp_request_get_input_headers(x->request), "Connection");
		http_reply_header(x, "Connection", "close");
	}
	x->streaming = true;
	evhttp_send_reply_start(x->request, status, http_reason(status));
	conn_watch(x->conn);
}

static void exchange_on_written(struct evhttp_connection *evcon, void *arg) {
	struct http_exchange *x = arg;
	(void)evcon;
	if (x->written && !x->ended)
		x->written(x->written_arg);
}

void http_stream_send(struct http_exchange *x, const void *data, size_t len) {
	struct evbuffer *part;
	if (len == 0 || x->method == HTTP_HEAD || x->conn->doomed)
		return;
	if (!(part = evbuffer_new()) || evbuffer_add(part, data, len) != 0) {
		conn_doom(x->conn, "out of memory for its answer");
	} else {
		x->sent += len;
		evhttp_send_reply_chunk_with_cb(x->request, part, exchange_on_written, x);
	}
	if (part)
		evbuffer_free(part);
}

void http_stream_end(struct http_exchange *x) {
	x->ended = true;
	bufferevent_disable(x->conn->bev, EV_READ);
	evhttp_send_reply_end(x->request); /* x may have been freed */
}

void http_stream_cut(struct http_exchange *x, const char *why) {
	x->ended = true;
	conn_doom(x->conn, why);
}

size_t http_stream_unwritten(const struct http_exchange *x) {
	return evbuffer_get_length(bufferevent_get_output(x->conn->bev));
}

void http_on_written(struct http_exchange *x, void (*written)(void *arg), void *arg) {
	x->written = written;
	x->written_arg = arg;
}

/* ---- the checks ---------------------------------------------------------------------------------- */

static unsigned header_count(const struct http_exchange *x, const char *name) {
	const struct evkeyvalq *headers = evhttp_request_get_input_headers(x->request);
	const struct evkeyval *h;
	unsigned n = 0;
	TAILQ_FOREACH(h, headers, next)
	n += strcasecmp(h->key, name) == 0;
	return n;
}

/* evhttp accepts HTTP/-5.7, and answers with that version. */
static bool exchange_check_version(struct http_exchange *x) {
	if (x->request->major == 1 && (unsigned char)x->request->minor <= 9)
		return true;
	x->request->major = x->request->minor = 1;
	http_reply_header(x, "Connection", "close");
	http_reply_error(x, 505, NULL, "only HTTP/1.1 and HTTP/1.0 are understood");
	return false;
}

/* evhttp accepts requests that two servers could read differently (request smuggling). */
static bool exchange_check_framing(struct http_exchange *x) {
	const char *bad = x->conn->framing.bad, *encoding = http_header(x, "Transfer-Encoding"),
	           *length = http_header(x, "Content-Length");
	if (!bad && header_count(x, "Content-Length") + header_count(x, "Transfer-Encoding") <= 1 &&
	        header_count(x, "Host") <= 1 && (!encoding || strcasecmp(encoding, "chunked") == 0) &&
	        (!length || length[strspn(length, "0123456789")] == '\0') &&
	        (x->method != HTTP_HEAD || (!encoding && (!length || strcmp(length, "0") == 0))))
		return true;
	http_reply_header(x, "Connection", "close");
	http_reply_error(x, 400, "malformed_request", "this is not a well-formed HTTP request: %s",
	        bad ? bad : "the length of the body or the host is not clear");
	return false;
}

static bool exchange_check_host(struct http_exchange *x) {
	const struct http_server *s = x->conn->server;
	const char *host = http_header(x, "Host"),
	           *named = evhttp_uri_get_host(evhttp_request_get_evhttp_uri(x->request));
	if (!host && x->request->minor > 0) {
		http_reply_error(x, 400, "host_missing", "the request has no Host");
		return false;
	}
	if ((!host || http_host_ok(host, s->hosts, s->config.nhosts)) &&
	        (!named || http_host_ok(named, s->hosts, s->config.nhosts)))
		return true;
	http_reply_error(x, 403, "host_not_allowed",
	        "this node does not answer to that name; --http-host of caravand gives it more names");
	return false;
}

static void exchange_allow_origin(struct http_exchange *x, const char *origin) {
	http_reply_header(x, "Access-Control-Allow-Origin", origin);
	http_reply_header(x, "Access-Control-Expose-Headers", "Retry-After, X-Stream-Id, X-Resume");
}

/* Refuses pages of origins that are neither our own nor configured. */
static bool exchange_check_origin(struct http_exchange *x) {
	const struct http_server *s = x->conn->server;
	const char *origin = http_header(x, "Origin"), *host = http_header(x, "Host");
	if (!origin)
		return true;
	http_reply_header(x, "Vary", "Origin");
	if (header_count(x, "Origin") == 1) {
		if (http_origin_named(origin, s->origins, s->config.norigins)) {
			exchange_allow_origin(x, origin);
			return true;
		}
		if (host && http_origin_own(origin, s->scheme, host))
			return true;
	}
	http_reply_error(x, 403, "origin_not_allowed",
	        "web pages of that origin may not use this node; --http-origin of caravand allows one");
	return false;
}

/* Characters allowed in Access-Control-Request-Headers, and so in our answer. */
static bool header_names_ok(const char *s) {
	return s[strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_, ")] == '\0';
}

static void exchange_reply_options(struct http_exchange *x) {
	const char *headers = http_header(x, "Access-Control-Request-Headers");
	http_reply_header(x, "Allow", "GET, HEAD, POST, DELETE, OPTIONS");
	if (http_header(x, "Origin") && http_header(x, "Access-Control-Request-Method")) {
		http_reply_header(x, "Access-Control-Allow-Methods", "GET, HEAD, POST, DELETE");
		if (headers && header_names_ok(headers))
			http_reply_header(x, "Access-Control-Allow-Headers", headers);
		if (http_header(x, "Access-Control-Request-Private-Network"))
			http_reply_header(x, "Access-Control-Allow-Private-Network", "true");
		http_reply_header(x, "Access-Control-Max-Age", PREFLIGHT_S);
	}
	http_reply_text(x, 204, NULL, "", 0);
}

/* Decodes the path; it must be UTF-8 without control characters. */
static bool exchange_read_path(struct http_exchange *x) {
	const char *raw = evhttp_uri_get_path(evhttp_request_get_evhttp_uri(x->request));
	size_t len = 0;
	x->path = raw ? evhttp_uridecode(raw, 0, &len) : NULL;
	bool ok = x->path && strlen(x->path) == len && utf8_valid(x->path, len);
	for (size_t i = 0; ok && i < len; i++)
		ok = (unsigned char)x->path[i] >= ' ' && x->path[i] != 0x7f;
	if (!ok)
		http_reply_error(x, 400, "malformed_path", "the path is not UTF-8 text");
	return ok;
}

static bool route_matches(const struct http_route *r, struct http_exchange *x) {
	size_t len = strlen(r->path);
	if (len >= 2 && strcmp(r->path + len - 2, "/*") == 0) {
		if (strncmp(x->path, r->path, len - 1) != 0 || !x->path[len - 1])
			return false;
		x->rest = x->path + len - 1;
		return true;
	}
	return strcmp(x->path, r->path) == 0;
}

/* *others: methods of the path, if the request's is not one of them. */
static const struct http_route *exchange_find_route(struct http_exchange *x, unsigned *others) {
	const struct http_config *config = &x->conn->server->config;
	unsigned method = x->method == HTTP_HEAD ? HTTP_HEAD | HTTP_GET : x->method;
	*others = 0;
	for (size_t i = 0; i < config->nroutes; i++) {
		if (!route_matches(&config->routes[i], x))
			continue;
		if (config->routes[i].methods & method)
			return &config->routes[i];
		*others |= config->routes[i].methods;
	}
	return NULL;
}

/* A client's number from its address, whatever the port. */
static uint64_t address_client(const char *address) {
	uint64_t h = 0xcbf29ce484222325u; /* FNV-1a */
	for (; *address; address++)
		h = (h ^ (unsigned char)*address) * 0x100000001b3u;
	return h | (uint64_t)1 << 63;
}

static const char *exchange_bearer(const struct http_exchange *x) {
	const char *value = http_header(x, "Authorization");
	if (!value || strncasecmp(value, "Bearer ", 7) != 0)
		return NULL;
	return value + 7 + strspn(value + 7, " ");
}

/* Either of the two headers may have a valid key. */
static bool exchange_check_access(struct http_exchange *x, bool open) {
	const struct http_config *config = &x->conn->server->config;
	const char *secret = exchange_bearer(x), *other = http_header(x, "x-api-key");
	struct http_access access = {.granted = true};
	if (!secret) {
		secret = other;
		other = NULL;
	}
	if (config->access)
		config->access(config->access_arg, secret, x->conn->loopback, &access);
	if (!access.granted && other) /* the first may be meant for a proxy */
		config->access(config->access_arg, other, x->conn->loopback, &access);
	x->key = access.client;
	x->client = access.client ? access.client : address_client(x->conn->address);
	snprintf(x->who, sizeof x->who, "%s", access.name);
	if (access.granted || open)
		return true;
	http_reply_header(x, "WWW-Authenticate", "Bearer realm=\"caravan\"");
	http_reply_error(x, 401, NULL, "%s",
	        access.none_valid
	                ? "an API key is needed, and none is valid now: caravan key create makes one"
	        : secret ? "this API key is not valid, or not any more"
	                 : "an API key is needed: Authorization: Bearer KEY, or x-api-key: KEY");
	return false;
}

static bool exchange_check_load(struct http_exchange *x) {
	const struct http_server *s = x->conn->server;
	const struct http_conn *c;
	unsigned n = 0;
	LIST_FOREACH(c, &s->conns, next)
	n += c->exchange && !c->exchange->ended && c->exchange->client == x->client;
	if (n <= s->limits.per_client)
		return true;
	http_reply_header(x, "Retry-After", BUSY_RETRY_S);
	http_reply_error(x, 429, NULL, "there are %u requests of this client in progress, which is the limit",
	        s->limits.per_client);
	return false;
}

static void exchange_reply_no_route(struct http_exchange *x, unsigned others) {
	static const struct {
		enum http_method method;
		const char *name;
	} names[] = {{HTTP_GET, "GET"}, {HTTP_HEAD, "HEAD"}, {HTTP_POST, "POST"}, {HTTP_DELETE, "DELETE"}};
	char allow[64] = "";
	if (!others) {
		http_reply_error(x, 404, NULL, "there is nothing at %.200s", x->path);
		return;
	}
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (others & names[i].method)
			snprintf(allow + strlen(allow), sizeof allow - strlen(allow), "%s%s",
			        *allow ? ", " : "", names[i].name);
	http_reply_header(x, "Allow", allow);
	http_reply_error(x, 405, NULL, "this path takes %s", allow);
}

/* evhttp knows "close" only where it stands alone, and keeps the connection of every CONNECT. */
static void exchange_read_connection(struct http_exchange *x) {
	const struct evkeyval *h;
	x->last = evhttp_request_get_command(x->request) == EVHTTP_REQ_CONNECT;
	TAILQ_FOREACH(h, evhttp_request_get_input_headers(x->request), next)
	for (const char *at = h->value; strcasecmp(h->key, "Connection") == 0 && *at;) {
		size_t n = strcspn(at, ", \t");
		x->last |= n == 5 && strncasecmp(at, "close", n) == 0;
		at += n + strspn(at + n, ", \t");
	}
	if (x->last)
		http_reply_header(x, "Connection", "close");
}

static void exchange_check(struct http_exchange *x) {
	unsigned others;
	const struct http_route *route;
	enum evhttp_cmd_type command = evhttp_request_get_command(x->request);
	exchange_read_connection(x);
	if (!exchange_check_version(x) || !exchange_check_framing(x) || !exchange_check_host(x) ||
	        !exchange_check_origin(x))
		return;
	if (command == EVHTTP_REQ_OPTIONS) {
		exchange_reply_options(x);
		return;
	}
	if (!x->method) {
		http_reply_header(x, "Connection", "close");
		http_reply_error(x, 501, NULL, "only GET, HEAD, POST, DELETE and OPTIONS are understood");
		return;
	}
	if (!exchange_read_path(x))
		return;
	route = exchange_find_route(x, &others);
	bool open = route && route->open;
	if (!exchange_check_access(x, open) || (!open && !exchange_check_load(x)))
		return;
	if (!route) {
		exchange_reply_no_route(x, others);
		return;
	}
	conn_watch(x->conn);
	route->handler(x, x->conn->server->config.arg);
}

void exchange_begin(struct evhttp_request *req, void *arg) {
	struct http_server *s = arg;
	struct http_conn *c = conn_find(s, evhttp_request_get_connection(req));
	struct http_exchange *x = c ? calloc(1, sizeof *x) : NULL;
	struct evbuffer *body = evhttp_request_get_input_buffer(req);
	if (!x) {
		evhttp_connection_free(evhttp_request_get_connection(req));
		return;
	}
	x->conn = c;
	x->request = req;
	x->rest = "";
	x->begun_ns = loop_now_ns();
	switch (evhttp_request_get_command(req)) {
	case EVHTTP_REQ_GET:
		x->method = HTTP_GET;
		break;
	case EVHTTP_REQ_HEAD:
		x->method = HTTP_HEAD;
		break;
	case EVHTTP_REQ_POST:
		x->method = HTTP_POST;
		break;
	case EVHTTP_REQ_DELETE:
		x->method = HTTP_DELETE;
		break;
	default:
		break;
	}
	x->body_len = evbuffer_get_length(body);
	x->body = x->body_len ? (const char *)evbuffer_pullup(body, -1) : "";
	c->exchange = x;
	conn_set_state(c, CONN_BUSY);
	evhttp_request_set_on_complete_cb(req, exchange_complete, x);
	if (!x->body) {
		conn_doom(c, "out of memory for its request");
		return;
	}
	conn_check_buffered(s);
	exchange_check(x);
}
