/* http_internal: shared by the files of the HTTP server; not for others.  All on the server's thread. */
#ifndef DAEMON_API_HTTP_HTTP_INTERNAL_H
#define DAEMON_API_HTTP_HTTP_INTERNAL_H
#include "daemon/api/http/http.h"
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <event2/listener.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define HTTP_LISTENERS_MAX 8
#define HTTP_ADDRESS_TEXT INET6_ADDRSTRLEN

struct http_tls; /* tls.c */

enum http_conn_state {
	CONN_FRESH,    /* accepted: nothing received yet */
	CONN_ARRIVING, /* part of a request received */
	CONN_BUSY,     /* a request is being answered */
	CONN_IDLE,     /* kept open for the next request */
	CONN_REFUSED   /* an error is being written; then it is closed */
};

/* framing.c: how far a request has been read along. */
struct http_framing {
	enum http_framing_part {
		FRAMING_REQUEST,
		FRAMING_HEAD,
		FRAMING_SIZE,
		FRAMING_CHUNK,
		FRAMING_CHUNK_END,
		FRAMING_TRAILER,
		FRAMING_REST /* a body with a length, or what comes after the request */
	} part;
	size_t line, same; /* characters of the line; as many of them are those of Transfer-Encoding */
	size_t spaces;     /* of the first line */
	size_t headers;    /* lines of them */
	uint64_t left;     /* of a chunk */
	bool cr, named, chunked;
	char path[64]; /* as it came; what is longer is cut */
	size_t pathlen;
	const char *bad; /* NULL: nothing yet */
};

struct http_conn {
	LIST_ENTRY(http_conn) next;
	struct http_server *server;
	struct bufferevent *bev;         /* a reference of our own */
	struct evhttp_connection *evcon; /* NULL: evhttp has not created it yet */
	struct evbuffer_cb_entry *in_cb, *out_cb;
	enum http_conn_state state;
	uint64_t since_ns; /* when the state changed */
	uint64_t moved_ns; /* when the client last read something, or had nothing to read */
	struct http_framing framing;
	size_t arrived;   /* bytes of the request that is arriving */
	size_t buffered;  /* bytes in both buffers */
	size_t kept;      /* bytes that count for all that is buffered */
	bool failed;      /* evhttp has written an error page of its own */
	bool doomed;      /* to be closed when the stack has unwound */
	const char *doom; /* why */
	struct http_exchange *exchange;
	struct sockaddr_storage peer;
	char address[HTTP_ADDRESS_TEXT];
	bool loopback;
};

struct http_header {
	char *name, *value;
};

struct http_exchange {
	struct http_conn *conn;
	struct evhttp_request *request;
	char *path, *rest;
	enum http_method method;
	const char *body; /* of the request's buffer */
	size_t body_len;
	struct http_header *query;
	size_t nquery;
	bool query_read;
	uint64_t client, key;
	char who[65];  /* name of the key */
	int status;    /* of the answer; 0: none yet */
	uint64_t sent; /* bytes of its body */
	bool streaming, ended;
	bool last; /* of its connection */
	uint64_t begun_ns;
	void (*closed)(void *arg);
	void *closed_arg;
	void (*written)(void *arg);
	void *written_arg;
};

struct http_server {
	struct http_config config;
	struct http_limits limits;
	struct loop *loop;
	pthread_t thread;
	bool started;
	struct evhttp *http;
	struct evconnlistener *listeners[HTTP_LISTENERS_MAX];
	unsigned nlisteners;
	uint16_t port;
	char scheme[8]; /* "http" or "https" */
	struct http_tls *tls;
	FILE *log;
	LIST_HEAD(, http_conn) conns;
	unsigned nconns, nrefused;
	size_t buffered; /* the sum of what is kept for each connection */
	bool paused;     /* accepts no connections until conn_settle */
	struct event *settle;
	struct loop_timer *tick;
	char **hosts, **origins;
};

/* conn.c */
struct bufferevent *conn_create(struct event_base *base, void *server); /* callback for evhttp_set_bevcb */
void conn_settle(evutil_socket_t fd, short what, void *server); /* does what could not be done at once */
void conn_tick(void *server);
/* Closes it soon, once the functions on the stack have returned. */
void conn_doom(struct http_conn *c, const char *why);
void conn_drop(struct http_conn *c); /* at once */
/* Replaces what was written so far by an error, then closes the connection. */
void conn_refuse(struct http_conn *c, int status, const char *code, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
struct http_conn *conn_find(struct http_server *s, struct evhttp_connection *evcon);
void conn_set_state(struct http_conn *c, enum http_conn_state state);
/* Watches for the client closing the connection while its request is being answered. */
void conn_watch(struct http_conn *c);
void conn_check_buffered(struct http_server *s);

/* framing.c */
void framing_begin(struct http_framing *f);
/* The next bytes of a request; what comes after it is left alone. */
void framing_take(struct http_framing *f, const void *bytes, size_t len);

/* exchange.c */
void exchange_begin(struct evhttp_request *req, void *server); /* callback for evhttp_set_gencb */
void exchange_lost(struct http_exchange *x);                   /* its connection has gone */
const char *http_reason(int status);
/* The error for what a client asked for, as text; free it. */
char *http_error_text(const struct http_conn *c, int status, const char *code, const char *message);

/* origin.c: checks of Host and Origin. */
/* The name in a Host header, without its port; false: not of the form HOST[:PORT]. */
bool http_host_split(const char *host, char *name, size_t len, char *port, size_t portlen);
bool http_host_ok(const char *host, char *const *names, size_t count);
/* origin: as in the header.  own: whether it is this server's, by scheme and Host. */
bool http_origin_own(const char *origin, const char *scheme, const char *host);
bool http_origin_named(const char *origin, char *const *names, size_t count);

/* access_log.c */
int access_log_open(struct http_server *s, char *err, size_t errlen);
void access_log_close(struct http_server *s);
/* request: method, path and version are logged; NULL: it could not be parsed. */
void access_log_write(struct http_server *s, const struct http_conn *c, const char *who,
        const struct evhttp_request *request, int status, uint64_t bytes);

/* listen.c: sockets for an address; how many, or a negative errno with a sentence. */
int http_listen(const char *address, int fds[HTTP_LISTENERS_MAX], uint16_t *port, char *err, size_t errlen);

/* tls.c */
int http_tls_create(struct http_tls **out, const char *cert, const char *key, char *err, size_t errlen);
void http_tls_destroy(struct http_tls *t); /* NULL allowed */
int http_tls_reload(struct http_tls *t, char *err, size_t errlen);
struct bufferevent *http_tls_bufferevent(struct http_tls *t, struct event_base *base);
bool http_tls_established(struct bufferevent *bev); /* its handshake is over */

#endif
