/* conn: the connections of the HTTP server, and their limits.
 *
 * evhttp (libevent 2.1) limits neither the number of connections, nor the time for a request to arrive, nor
 * what a client leaves unread, and writes errors in HTML.  So each connection is watched from outside: evhttp
 * gets its bufferevent from us (conn_create), to which we keep a reference; callbacks on its two buffers
 * count bytes; the connection's close callback is its end.  What must not be done inside a callback is left
 * to conn_settle, which runs before the loop polls again.
 * Invariants: a connection is in the list from conn_create until conn_closed.  While a request is answered
 * nothing is read from the client, except to notice that it closes: evhttp must not be given bytes then.
 * Threads: the server's. */
#include "config.h"

#include "daemon/api/http/http_internal.h"
#include "daemon/core/log.h"
#include "proto/descriptors.h"
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define REFUSED_MS 2000      /* for a refused client to read the reason */
#define REFUSED_MAX 64       /* surplus connections that are refused with a reason at the same time */
#define AHEAD_MAX (64 << 10) /* bytes of following requests that are accepted while one is answered */
#define HTTP_RESERVE 64      /* descriptors kept free of clients */
#define RETRY_AFTER_S "2"
#define HEADER_COST 128 /* bytes that evhttp takes for a header, besides its text */

static uint64_t ms_since(uint64_t then) {
	uint64_t now = loop_now_ns();
	return now > then ? (now - then) / 1000000u : 0;
}

static void settle_soon(struct http_server *s) {
	event_active(s->settle, EV_TIMEOUT, 0);
}

/* What is kept for it, in the sum of all.  evhttp moves a chunk that is whole out of our sight, so what has arrived of a request
 * counts until the request is there. */
static void conn_account(struct http_conn *c) {
	size_t kept = c->buffered + (c->exchange ? c->exchange->body_len : 0);
	if (c->state == CONN_ARRIVING && c->arrived > kept)
		kept = c->arrived;
	kept += c->framing.headers * HEADER_COST;
	if (c->doomed)
		kept = 0;
	c->server->buffered += kept - c->kept;
	c->kept = kept;
}

/* The last bytes of the input. */
static void conn_read_along(struct http_conn *c, size_t len) {
	struct evbuffer *in = bufferevent_get_input(c->bev);
	struct evbuffer_ptr at;
	struct evbuffer_iovec part;
	evbuffer_ptr_set(in, &at, evbuffer_get_length(in) - len, EVBUFFER_PTR_SET);
	while (len > 0 && evbuffer_peek(in, (ev_ssize_t)len, &at, &part, 1) > 0) {
		size_t n = part.iov_len < len ? part.iov_len : len;
		framing_take(&c->framing, part.iov_base, n);
		len -= n;
		evbuffer_ptr_set(in, &at, n, EVBUFFER_PTR_ADD);
	}
}

void conn_set_state(struct http_conn *c, enum http_conn_state state) {
	c->state = state;
	c->since_ns = loop_now_ns();
	if (state == CONN_ARRIVING || state == CONN_IDLE)
		framing_begin(&c->framing);
	if (state == CONN_ARRIVING) {
		c->arrived = evbuffer_get_length(bufferevent_get_input(c->bev));
		conn_read_along(c, c->arrived);
	}
	conn_account(c);
}

void conn_doom(struct http_conn *c, const char *why) {
	if (c->doomed)
		return;
	c->doomed = true;
	c->doom = why;
	conn_account(c);
	settle_soon(c->server);
}

/* ---- what passes through the buffers ------------------------------------------------------------- */

static void conn_count(struct http_conn *c, const struct evbuffer_cb_info *info) {
	c->buffered += info->n_added - info->n_deleted;
	conn_account(c);
	if (info->n_added)
		conn_check_buffered(c->server);
}

static void conn_on_input(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg) {
	struct http_conn *c = arg;
	(void)buf;
	if (info->n_added) {
		if (c->state == CONN_FRESH || c->state == CONN_IDLE) {
			conn_set_state(c, CONN_ARRIVING);
		} else {
			c->arrived += info->n_added;
			if (c->state == CONN_ARRIVING)
				conn_read_along(c, info->n_added);
		}
	}
	conn_count(c, info);
	if (!info->n_added)
		return;
	/* a line without an end: evhttp limits headers and bodies, but not what is between chunks */
	if (c->state == CONN_ARRIVING && c->arrived > c->server->limits.head + 2 * c->server->limits.body)
		conn_doom(c, "its request has no end");
}

/* A socket bufferevent freezes the front of its output buffer, also for reading, whenever it has written; a
 * TLS one never does, and cannot write what is frozen. */
static void output_open(struct http_conn *c, bool open) {
	struct evbuffer *out = bufferevent_get_output(c->bev);
	if (c->server->tls)
		return;
	if (open)
		evbuffer_unfreeze(out, 1);
	else
		evbuffer_freeze(out, 1);
}

/* Copies the first bytes that are still to be written. */
static bool output_copy(struct http_conn *c, char *begin, size_t len) {
	output_open(c, true);
	ev_ssize_t n = evbuffer_copyout(bufferevent_get_output(c->bev), begin, len);
	output_open(c, false);
	return n == (ev_ssize_t)len;
}

static void conn_on_output(struct evbuffer *buf, const struct evbuffer_cb_info *info, void *arg) {
	struct http_conn *c = arg;
	char begin[12];
	conn_count(c, info);
	if (info->n_deleted || info->orig_size == 0)
		c->moved_ns = loop_now_ns();
	if (!info->n_added || c->state == CONN_REFUSED)
		return;
	if (c->exchange) {
		/* an answer that is there as a whole has time, as long as its client reads: conn_check_time */
		if (!c->exchange->ended && evbuffer_get_length(buf) > c->server->limits.unread)
			conn_doom(c, "it does not read its answer");
	} else if (!c->failed && output_copy(c, begin, sizeof begin) &&
	           (memcmp(begin, "HTTP/1.", 7) != 0 || memcmp(begin + 8, " 100", 4) != 0)) {
		/* no request was passed to us, so this is evhttp's error page */
		c->failed = true;
		settle_soon(c->server);
	}
}

/* Limits what all clients have sent and not read: closes the connection with the most. */
void conn_check_buffered(struct http_server *s) {
	struct http_conn *c, *most = NULL;
	size_t its = 0;
	if (s->buffered <= s->limits.buffered)
		return;
	LIST_FOREACH(c, &s->conns, next) {
		if (c->kept > its) {
			its = c->kept;
			most = c;
		}
	}
	if (most)
		conn_doom(most, "clients together leave too much in memory");
}

/* ---- creation and end --------------------------------------------------------------------------- */

struct bufferevent *conn_create(struct event_base *base, void *arg) {
	struct http_server *s = arg;
	struct http_conn *c = calloc(1, sizeof *c);
	/* what has been written must not be lost when the connection closes: closing waits for the
	 * finalizer */
	struct bufferevent *bev = s->tls ? http_tls_bufferevent(s->tls, base)
	                                 : bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	if (!c || !bev) {
		free(c);
		return bev; /* without limits; but out of memory, nothing can use much */
	}
	c->server = s;
	c->bev = bev;
	bufferevent_incref(bev);
	c->in_cb = evbuffer_add_cb(bufferevent_get_input(bev), conn_on_input, c);
	c->out_cb = evbuffer_add_cb(bufferevent_get_output(bev), conn_on_output, c);
	c->moved_ns = loop_now_ns();
	conn_set_state(c, CONN_FRESH);
	LIST_INSERT_HEAD(&s->conns, c, next);
	s->nconns++;
	if (s->nconns >= s->limits.connections + 2 * REFUSED_MAX) {
		/* the listener accepts all waiting clients at once; pause it when more than these find no
		 * place */
		for (unsigned i = 0; i < s->nlisteners; i++)
			evconnlistener_disable(s->listeners[i]);
		s->paused = true;
	}
	settle_soon(s);
	return bev;
}

static void conn_forget(struct http_conn *c) {
	struct http_server *s = c->server;
	struct http_exchange *x = c->exchange;
	LIST_REMOVE(c, next);
	s->nconns--;
	s->nrefused -= c->state == CONN_REFUSED;
	if (c->in_cb)
		evbuffer_remove_cb_entry(bufferevent_get_input(c->bev), c->in_cb);
	if (c->out_cb)
		evbuffer_remove_cb_entry(bufferevent_get_output(c->bev), c->out_cb);
	s->buffered -= c->kept;
	if (x)
		exchange_lost(x);
	bufferevent_decref(c->bev);
	free(c);
}

static void conn_closed(struct evhttp_connection *evcon, void *arg) {
	(void)evcon;
	conn_forget(arg);
}

void conn_drop(struct http_conn *c) {
	if (c->evcon)
		evhttp_connection_free(c->evcon); /* which calls conn_closed */
	else
		conn_forget(c);
}

static uint64_t address_key(const struct sockaddr_storage *a, const void **bytes, size_t *len) {
	*len = a->ss_family == AF_INET6 ? sizeof(struct in6_addr) : sizeof(struct in_addr);
	*bytes = a->ss_family == AF_INET6 ? (const void *)&((const struct sockaddr_in6 *)a)->sin6_addr
	                                  : (const void *)&((const struct sockaddr_in *)a)->sin_addr;
	return a->ss_family;
}

/* ::ffff:1.2.3.4 is 1.2.3.4, whatever the socket. */
static void conn_read_peer(struct http_conn *c) {
	socklen_t len = sizeof c->peer;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&c->peer;
	const void *bytes;
	size_t n;
	int fd = bufferevent_getfd(c->bev), one = 1;
	if (getpeername(fd, (struct sockaddr *)&c->peer, &len) != 0)
		memset(&c->peer, 0, sizeof c->peer);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (c->peer.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
		struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = six->sin6_port};
		memcpy(&four.sin_addr, six->sin6_addr.s6_addr + 12, sizeof four.sin_addr);
		memset(&c->peer, 0, sizeof c->peer);
		memcpy(&c->peer, &four, sizeof four);
	}
	address_key(&c->peer, &bytes, &n);
	if (!inet_ntop(c->peer.ss_family, bytes, c->address, sizeof c->address))
		snprintf(c->address, sizeof c->address, "?");
	c->loopback = c->peer.ss_family == AF_INET6
	                      ? IN6_IS_ADDR_LOOPBACK(&six->sin6_addr)
	                      : c->peer.ss_family == AF_INET && *(const uint8_t *)bytes == 127;
}

/* The connection that has been idle longest; NULL: none is idle. */
static struct http_conn *conn_oldest_idle(struct http_server *s) {
	struct http_conn *c, *oldest = NULL;
	LIST_FOREACH(c, &s->conns, next)
	if (c->state == CONN_IDLE && (!oldest || c->since_ns < oldest->since_ns))
		oldest = c;
	return oldest;
}

static bool conn_in_handshake(const struct http_conn *c) {
	return c->server->tls && c->state == CONN_FRESH && !http_tls_established(c->bev);
}

/* The connections that hold a place: all but those that are being refused. */
struct conn_places {
	unsigned taken, same_address, handshakes; /* all; of an address; of these, in the TLS handshake */
};

static struct conn_places conn_count_places(const struct http_server *s, const struct http_conn *of) {
	struct http_conn *c;
	struct conn_places p = {0};
	LIST_FOREACH(c, &s->conns, next) {
		if (c->state == CONN_REFUSED || !c->evcon)
			continue;
		p.taken++;
		if (strcmp(c->address, of->address) == 0) {
			p.same_address++;
			p.handshakes += conn_in_handshake(c);
		}
	}
	return p;
}

/* evhttp has created its connection: finds out the peer, and whether there is a place for it. */
static void conn_born(struct http_conn *c) {
	struct http_server *s = c->server;
	struct http_conn *idle;
	void *evcon = NULL;
	bufferevent_getcb(c->bev, NULL, NULL, NULL, &evcon); /* evhttp's own argument is its connection */
	if (!evcon) {
		conn_forget(c); /* it could not, and has freed the bufferevent */
		return;
	}
	conn_read_peer(c);
	const struct conn_places p = conn_count_places(s, c);
	c->evcon = evcon;
	evhttp_connection_set_closecb(c->evcon, conn_closed, c);
	if (s->tls && p.handshakes >= s->limits.per_client) {
		conn_doom(c, NULL); /* it could not read a reason yet */
	} else if (p.same_address >= s->limits.per_address) {
		conn_refuse(
		        c, 503, "too_many_connections", "there are too many connections from %s", c->address);
	} else if (p.taken >= s->limits.connections || descriptors_short(HTTP_RESERVE)) {
		if ((idle = conn_oldest_idle(s)))
			conn_drop(idle);
		else
			conn_refuse(c, 503, "too_many_connections", "there are too many connections");
	}
}

/* ---- errors that end a connection ---------------------------------------------------------------- */

static void refused_drain(struct bufferevent *bev, void *arg) {
	(void)arg; /* evhttp may pass an argument of its own */
	evbuffer_drain(bufferevent_get_input(bev), evbuffer_get_length(bufferevent_get_input(bev)));
}

/* The client has received everything: closes our side, and reads what the client still sends, so that no
 * reset overtakes the error. */
static void refused_written(struct bufferevent *bev, void *arg) {
	struct http_conn *c = arg;
	if (c->server->tls)
		conn_doom(c, NULL);
	else
		shutdown(bufferevent_getfd(bev), SHUT_WR);
}

static void refused_gone(struct bufferevent *bev, short what, void *arg) {
	(void)bev;
	if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR | BEV_EVENT_TIMEOUT))
		conn_doom(arg, NULL);
}

void conn_refuse(struct http_conn *c, int status, const char *code, const char *fmt, ...) {
	struct evbuffer *out = bufferevent_get_output(c->bev);
	char message[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(message, sizeof message, fmt, ap);
	va_end(ap);
	char *text = http_error_text(c, status, code, message);
	if (!text || c->doomed || c->server->nrefused >= REFUSED_MAX) {
		free(text);
		conn_doom(c, NULL);
		return;
	}
	conn_set_state(c, CONN_REFUSED);
	c->server->nrefused++;
	bufferevent_setwatermark(c->bev, EV_READ, 0, 0);
	bufferevent_setcb(c->bev, refused_drain, refused_written, refused_gone, c);
	output_open(c, true);
	evbuffer_drain(out, evbuffer_get_length(out));
	output_open(c, false);
	evbuffer_add_printf(out,
	        "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\nConnection: close\r\n"
	        "X-Content-Type-Options: nosniff\r\n%s\r\n%s",
	        status, http_reason(status), strlen(text),
	        status == 503 ? "Retry-After: " RETRY_AFTER_S "\r\n" : "", text);
	access_log_write(c->server, c, "", NULL, status, strlen(text));
	free(text);
	bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

/* Replaces evhttp's error page, which has no more than its status, by ours. */
static void conn_replace_page(struct http_conn *c) {
	char begin[13] = "";
	const struct http_limits *l = &c->server->limits;
	(void)output_copy(c, begin, sizeof begin - 1);
	if (c->framing.bad) {
		conn_refuse(c, 400, "malformed_request", "this is not a well-formed HTTP request: %s",
		        c->framing.bad);
		return;
	}
	switch (atoi(begin + 9)) {
	case 413:
		conn_refuse(c, 413, "body_too_large", "the body is larger than %zu KiB", l->body >> 10);
		break;
	case 417:
		conn_refuse(c, 417, "expectation_failed", "only 100-continue can be expected");
		break;
	default:
		if (c->arrived > l->head)
			conn_refuse(c, 431, "headers_too_large",
			        "the request line and the headers are longer than %zu KiB", l->head >> 10);
		else
			conn_refuse(c, 400, "malformed_request", "this is not a well-formed HTTP request");
	}
}

void conn_settle(evutil_socket_t fd, short what, void *arg) {
	struct http_server *s = arg;
	struct http_conn *c, *next;
	(void)fd;
	(void)what;
	/* restart after each: others may be removed with it */
	for (c = LIST_FIRST(&s->conns); c; c = next)
		if (c->evcon) {
			next = LIST_NEXT(c, next);
		} else {
			conn_born(c);
			next = LIST_FIRST(&s->conns);
		}
	for (c = LIST_FIRST(&s->conns); c; c = next) {
		next = LIST_NEXT(c, next);
		if (c->failed && !c->doomed && c->state != CONN_REFUSED)
			conn_replace_page(c);
	}
	while ((c = LIST_FIRST(&s->conns))) {
		while (c && !c->doomed)
			c = LIST_NEXT(c, next);
		if (!c)
			break;
		if (c->doom)
			log_others(LOG_LINE_WARN, "http: a client was cut off: %s", c->doom);
		conn_drop(c); /* others may be removed with it, by its closed function */
	}
	if (s->paused) {
		s->paused = false;
		for (unsigned i = 0; i < s->nlisteners; i++)
			evconnlistener_enable(s->listeners[i]);
	}
}

/* ---- time ---------------------------------------------------------------------------------------- */

static void conn_check_time(struct http_conn *c) {
	const struct http_limits *l = &c->server->limits;
	switch (c->state) {
	case CONN_FRESH:
		if (ms_since(c->since_ns) >= l->arrive_ms)
			conn_doom(c, NULL);
		break;
	case CONN_ARRIVING:
		if (ms_since(c->since_ns) >= l->arrive_ms)
			conn_refuse(c, 408, "request_timeout", "the request did not arrive within %u s",
			        (l->arrive_ms + 999) / 1000);
		break;
	case CONN_IDLE:
		if (ms_since(c->since_ns) >= l->idle_ms)
			conn_doom(c, NULL);
		break;
	case CONN_BUSY:
		if (evbuffer_get_length(bufferevent_get_output(c->bev)) > 0 &&
		        ms_since(c->moved_ns) >= l->stall_ms)
			conn_doom(c, "it does not read its answer");
		break;
	case CONN_REFUSED:
		if (ms_since(c->since_ns) >= REFUSED_MS)
			conn_doom(c, NULL);
		break;
	}
}

void conn_tick(void *arg) {
	struct http_server *s = arg;
	struct http_conn *c;
	LIST_FOREACH(c, &s->conns, next)
	if (c->evcon && !c->doomed)
		conn_check_time(c);
}

/* ---- for exchanges ------------------------------------------------------------------------------- */

struct http_conn *conn_find(struct http_server *s, struct evhttp_connection *evcon) {
	struct http_conn *c;
	struct bufferevent *bev = evhttp_connection_get_bufferevent(evcon);
	LIST_FOREACH(c, &s->conns, next)
	if (c->bev == bev)
		return c;
	return NULL;
}

void conn_watch(struct http_conn *c) {
	bufferevent_data_cb written;
	bufferevent_event_cb event;
	void *arg;
	bufferevent_getcb(c->bev, NULL, &written, &event, &arg);
	bufferevent_setcb(c->bev, NULL, written, event, arg);
	bufferevent_setwatermark(c->bev, EV_READ, 0, AHEAD_MAX);
	bufferevent_enable(c->bev, EV_READ);
}
