/* server: the HTTP server's thread, its sockets, its start and its end.  See http.h.
 *
 * The thread has a loop of its own, like the main one; evhttp runs there with all connections and exchanges.
 * Nothing here has a lock: other threads post to that loop.
 * Threads: http_create, http_destroy and http_reload on the main loop, all else on the server's. */
#include "config.h"

#include "daemon/api/http/http_internal.h"
#include "daemon/core/log.h"
#include "kernels/thread.h"
#include <errno.h>
#include <event2/event.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define TICK_MS 250
#define ALL_METHODS 0xffff /* we refuse unknown ones ourselves, in JSON */

static const struct http_limits http_defaults = {.connections = 1024,
        .per_client = 128,
        .head = 32 << 10,
        .body = 16 << 20,
        .unread = 4 << 20,
        .buffered = 256 << 20,
        .arrive_ms = 30000,
        .idle_ms = 75000,
        .stall_ms = 60000};

/* Half of the descriptors are reserved for the cluster. */
static unsigned connections_max(void) {
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 2 > http_defaults.connections)
		return http_defaults.connections;
	return limit.rlim_cur / 2 > 16 ? (unsigned)(limit.rlim_cur / 2) : 16;
}

static void server_set_limits(struct http_server *s) {
	struct http_limits *l = &s->limits;
	*l = s->config.limits;
	if (!l->connections)
		l->connections = connections_max();
	if (!l->per_address)
		l->per_address = (l->connections + 1) / 2;
	if (!l->per_client)
		l->per_client = http_defaults.per_client;
	if (!l->head)
		l->head = http_defaults.head;
	if (!l->body)
		l->body = http_defaults.body;
	if (!l->unread)
		l->unread = http_defaults.unread;
	if (!l->buffered)
		l->buffered = http_defaults.buffered;
	if (!l->arrive_ms)
		l->arrive_ms = http_defaults.arrive_ms;
	if (!l->idle_ms)
		l->idle_ms = http_defaults.idle_ms;
	if (!l->stall_ms)
		l->stall_ms = http_defaults.stall_ms;
}

/* ---- accepting ----------------------------------------------------------------------------------- */

/* Out of descriptors, for example: a waiting client keeps the socket readable, and the loop would spin.  The
 * next tick enables it again. */
static void server_accept_failed(struct evconnlistener *listener, void *evhttp) {
	(void)evhttp;
	evconnlistener_disable(listener);
}

static void server_tick(void *arg) {
	struct http_server *s = arg;
	conn_tick(s);
	if (s->config.tick)
		s->config.tick(s->config.arg);
	for (unsigned i = 0; i < s->nlisteners && !s->paused; i++)
		evconnlistener_enable(s->listeners[i]);
}

static int server_listen(struct http_server *s, char *err, size_t errlen) {
	int fds[HTTP_LISTENERS_MAX], one = 1;
	int n = http_listen(s->config.address, fds, &s->port, err, errlen);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++) {
		struct evconnlistener *l = evconnlistener_new(loop_base(s->loop), NULL, NULL,
		        LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_CLOSE_ON_FREE, 0, fds[i]);
		(void)setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		if (!l || !evhttp_bind_listener(s->http, l)) {
			if (l)
				evconnlistener_free(l);
			else
				close(fds[i]);
			while (++i < n)
				close(fds[i]);
			return -ENOMEM;
		}
		evconnlistener_set_error_cb(l, server_accept_failed);
		s->listeners[s->nlisteners++] = l;
	}
	return 0;
}

/* ---- beginning and end --------------------------------------------------------------------------- */

static char **strings_copy(const char *const *from, size_t n) {
	char **to = calloc(n + 1, sizeof *to);
	for (size_t i = 0; to && i < n; i++)
		if (!(to[i] = strdup(from[i]))) {
			while (i > 0)
				free(to[--i]);
			free(to);
			return NULL;
		}
	return to;
}

static void strings_free(char **s) {
	for (char **at = s; at && *at; at++)
		free(*at);
	free(s);
}

static void *server_run(void *arg) {
	struct http_server *s = arg;
	(void)loop_run(s->loop);
	return NULL;
}

static void server_end(void *arg) {
	struct http_server *s = arg;
	struct http_conn *c;
	conn_settle(-1, 0, s); /* so that all of them have their evhttp connection */
	while ((c = LIST_FIRST(&s->conns)))
		conn_drop(c);
	if (s->config.ended)
		s->config.ended(s->config.arg);
	loop_timer_stop(s->tick);
	s->tick = NULL;
	loop_stop(s->loop);
}

static void server_free(struct http_server *s) {
	if (s->http)
		evhttp_free(s->http); /* also frees the listeners */
	if (s->settle)
		event_free(s->settle);
	loop_destroy(s->loop);
	http_tls_destroy(s->tls);
	access_log_close(s);
	strings_free(s->hosts);
	strings_free(s->origins);
	free(s);
}

static int server_prepare(struct http_server *s, char *err, size_t errlen) {
	const struct http_config *c = &s->config;
	int rc;
	s->hosts = strings_copy(c->hosts, c->nhosts);
	s->origins = strings_copy(c->origins, c->norigins);
	if (!s->hosts || !s->origins || loop_create(&s->loop) != 0 ||
	        !(s->http = evhttp_new(loop_base(s->loop))) ||
	        !(s->settle = event_new(loop_base(s->loop), -1, 0, conn_settle, s)))
		return -ENOMEM;
	if (c->tls_cert && (rc = http_tls_create(&s->tls, c->tls_cert, c->tls_key, err, errlen)) != 0)
		return rc;
	snprintf(s->scheme, sizeof s->scheme, "%s", s->tls ? "https" : "http");
	if ((rc = access_log_open(s, err, errlen)) != 0)
		return rc;
	evhttp_set_bevcb(s->http, conn_create, s);
	evhttp_set_gencb(s->http, exchange_begin, s);
	evhttp_set_allowed_methods(s->http, ALL_METHODS);
	evhttp_set_max_headers_size(s->http, (ev_ssize_t)s->limits.head);
	evhttp_set_max_body_size(s->http, (ev_ssize_t)s->limits.body);
	evhttp_set_default_content_type(s->http, NULL);
	if (!(s->tick = loop_timer_start(s->loop, TICK_MS, true, server_tick, s)))
		return -ENOMEM;
	return server_listen(s, err, errlen);
}

/* Any client can cause libevent's messages about a connection. */
static void server_log_libevent(int severity, const char *text) {
	log_others(severity >= EVENT_LOG_ERR ? LOG_LINE_ERROR : LOG_LINE_DEBUG, "libevent: %s", text);
}

int http_create(struct http_server **out, const struct http_config *c, char *err, size_t errlen) {
	struct http_server *s = calloc(1, sizeof *s);
	*out = NULL;
	*err = '\0';
	if (!s)
		return -ENOMEM;
	event_set_log_callback(server_log_libevent);
	LIST_INIT(&s->conns);
	s->config = *c;
	server_set_limits(s);
	int rc = server_prepare(s, err, errlen);
	if (rc == 0 && (rc = thread_start(&s->thread, NULL, server_run, s)) != 0)
		snprintf(err, errlen, "cannot start a thread for HTTP: %s", strerror(-rc));
	if (rc == 0) {
		*out = s;
		return 0;
	}
	if (!*err)
		snprintf(err, errlen, "cannot serve HTTP: %s", strerror(-rc));
	server_free(s);
	if (rc == -EADDRINUSE && !c->required) {
		log_line(LOG_LINE_WARN, "%s; this node runs without HTTP", err);
		return 0;
	}
	return rc;
}

void http_destroy(struct http_server *s) {
	if (!s)
		return;
	while (loop_post(s->loop, server_end, s) != 0)
		usleep(1000); /* out of memory, hopefully for a moment */
	pthread_join(s->thread, NULL);
	server_free(s);
}

struct loop *http_loop(struct http_server *s) {
	return s->loop;
}

uint16_t http_port(const struct http_server *s) {
	return s->port;
}

/* If the new file cannot be opened, the old one stays in use. */
static void server_reload_log(struct http_server *s) {
	char err[512];
	FILE *old = s->log;
	s->log = NULL;
	if (access_log_open(s, err, sizeof err) == 0) {
		if (old)
			fclose(old);
		return;
	}
	s->log = old;
	log_line(LOG_LINE_ERROR, "http: %s", err);
}

static void server_reload(void *arg) {
	struct http_server *s = arg;
	char err[512];
	server_reload_log(s);
	if (!s->tls)
		return;
	if (http_tls_reload(s->tls, err, sizeof err) == 0)
		log_line(LOG_LINE_INFO, "http: the certificate was read again");
	else
		log_line(LOG_LINE_ERROR, "http: %s; the certificate that was read before stays", err);
}

void http_reload(struct http_server *s) {
	if (s && loop_post(s->loop, server_reload, s) != 0)
		log_line(LOG_LINE_ERROR, "http: cannot read the certificate again: out of memory");
}
