/* http: the HTTP server of a node: libevent's, on a thread of its own, so that no client can delay a step.
 *
 * Owns: the listening sockets, the connections, and each exchange (a request and its answer) until the answer
 * has ended.  Before a handler is called, a request has passed every check that does not depend on its route:
 * size, time, Host, Origin, key.  Knows nothing of models: the layer above provides a table of routes.
 * Threads: http_create and http_destroy on the main loop; handlers and everything that takes an exchange on
 * the server's own loop, http_loop. */
#ifndef DAEMON_API_HTTP_HTTP_H
#define DAEMON_API_HTTP_HTTP_H
#include "daemon/core/loop.h"
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http_server;
struct http_exchange;

typedef void http_handler(struct http_exchange *x, void *arg);

enum http_method { HTTP_GET = 1, HTTP_HEAD = 2, HTTP_POST = 4, HTTP_DELETE = 8 };

struct http_route {
	unsigned methods; /* a set of enum http_method */
	/* "/v1/models"; a last segment of "*", as after "/v1/models/", stands for one or more segments. */
	const char *path;
	http_handler *handler;
	bool open; /* needs no key */
};

/* The client of a request. */
struct http_access {
	bool granted;
	bool none_valid; /* not granted, and no key would be */
	uint64_t client; /* the same for all requests with one key; 0: no key counts */
	char name[65];   /* of the key, for the access log */
};
/* secret: from Authorization or x-api-key; NULL: none was sent.  loopback: the client is on this machine. */
typedef void http_access_fn(void *arg, const char *secret, bool loopback, struct http_access *out);

/* An error in the form that the clients of a path know.  path: its beginning, as it came.  NULL: the usual form. */
typedef json_t *http_error_fn(const char *path, int status, const char *message);

/* Limits for clients; the defaults are given here. */
struct http_limits {
	unsigned connections; /* all that descriptors allow, at most 1024 */
	unsigned per_address; /* half of these */
	unsigned per_client;  /* requests in progress, and of an address TLS handshakes: 128 */
	size_t head, body;    /* bytes of a request: 32 KiB, 16 MiB */
	size_t unread;        /* bytes of a streamed answer that a client leaves unread: 4 MiB */
	size_t buffered;      /* bytes for all connections together: 256 MiB */
	unsigned arrive_ms;   /* from the first byte of a request to its last: 30 s */
	unsigned idle_ms;     /* between requests: 75 s */
	unsigned stall_ms;    /* without reading what is there for it: 60 s */
};

struct http_config {                    /* borrowed while the server lives, except for hosts and origins */
	const char *address;            /* "127.0.0.1:8080", "[::1]:8080", "*:8080" */
	bool required;                  /* false: if the port is taken, run without HTTP and log that */
	const char *tls_cert, *tls_key; /* files, or NULL */
	const struct http_route *routes;
	size_t nroutes;
	void *arg; /* of the handlers */
	/* Names of this node that clients may send in Host, besides addresses and localhost. */
	const char *const *hosts;
	size_t nhosts;
	/* Pages of these origins ("https://chat.example") may use the API from a browser. */
	const char *const *origins;
	size_t norigins;
	const char *log; /* a file for the access log; NULL: the daemon's log, at the debug level */
	/* Decides who may use it; called on the server's thread.  NULL: everybody. */
	http_access_fn *access;
	void *access_arg;
	http_error_fn *error; /* on the server's thread; NULL: the usual form for all */
	/* On the server's thread, with arg of the handlers; NULL: none.  tick: some times a second.  ended: its last call,
	 * when all exchanges have ended. */
	void (*tick)(void *arg);
	void (*ended)(void *arg);
	struct http_limits limits; /* 0: the default */
};

/* 0 with *out NULL: the port is taken, and HTTP is not required. */
int http_create(struct http_server **out, const struct http_config *c, char *err, size_t errlen);
/* Ends every exchange (calling their closed functions), then the thread.  NULL allowed. */
void http_destroy(struct http_server *s);
struct loop *http_loop(struct http_server *s);
/* Whether only this machine can reach an address: localhost:PORT, 127.x.x.x:PORT, [::1]:PORT. */
bool http_address_is_loopback(const char *address);
uint16_t http_port(const struct http_server *s); /* the port it listens on */
/* Reads the certificate and its key again, and reopens the access log; on the main loop.  Unusable files are
 * ignored. */
void http_reload(struct http_server *s);

/* ---- the request: borrowed, valid until the exchange ends ---- */
const char *http_path(const struct http_exchange *x); /* decoded, without the query */
const char *http_rest(const struct http_exchange *x); /* what "*" stood for; "" without */
enum http_method http_method(const struct http_exchange *x);
const char *http_header(const struct http_exchange *x, const char *name); /* NULL: absent */
const char *http_query(const struct http_exchange *x, const char *name);  /* decoded; NULL: absent */
const char *http_body(const struct http_exchange *x, size_t *len);
/* Identifies the client: the same for all requests with one key, or from one address where no keys are
 * needed; never 0. */
uint64_t http_client(const struct http_exchange *x);
uint64_t http_key(const struct http_exchange *x); /* of the key that it was sent with; 0: no key counts */

/* ---- the answer: one of these, once; it ends the exchange, except http_stream_begin ---- */
/* JSON as it is sent: numbers have up to 17 digits, in every version of the library. */
#define HTTP_JSON (JSON_COMPACT | JSON_REAL_PRECISION(17))
/* body: takes the reference. */
void http_reply_json(struct http_exchange *x, int status, json_t *body);
void http_reply_text(struct http_exchange *x, int status, const char *type, const char *text, size_t len);
/* The usual error answer: {"error":{"message","type","code"}}; code NULL: derived from the status. */
void http_reply_error(struct http_exchange *x, int status, const char *code, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
/* Adds a header to the answer. */
void http_reply_header(struct http_exchange *x, const char *name, const char *value);

/* A chunked answer, such as text/event-stream. */
void http_stream_begin(struct http_exchange *x, int status, const char *type);
void http_stream_send(struct http_exchange *x, const void *data, size_t len);
void http_stream_end(struct http_exchange *x);
/* Ends it so that its client sees that it is not complete; the exchange is no longer valid soon.  why: for the log. */
void http_stream_cut(struct http_exchange *x, const char *why);
size_t http_stream_unwritten(const struct http_exchange *x); /* bytes that wait for the client to read */
/* Sets the function that is called whenever everything sent so far has been written. */
void http_on_written(struct http_exchange *x, void (*written)(void *arg), void *arg);

/* Sets the function that is called, at most once, when the client goes before the answer has ended: the
 * exchange is then no longer valid.  NULL: none. */
void http_on_closed(struct http_exchange *x, void (*closed)(void *arg), void *arg);

#endif
