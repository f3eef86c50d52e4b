/* proxy: a wire between two nodes that a test can watch and spoil.
 *
 *     proxy PORT HOST:PORT [--delay MS] [--rate BITS_PER_S] [--count FILE] [--dump FILE]
 *
 * Forwards every TCP connection to PORT of 127.0.0.1 (0: any; the port is printed) to HOST:PORT.  Every byte is
 * held for the delay; each direction passes the rate at most, all connections together: as a narrow link does, it takes what
 * comes and lets it wait, since a sender whose window stays closed takes the connection for dead.  FILE always says how
 * much went through: "bytes towards HOST:PORT, bytes back, connections so far", three numbers and a newline,
 * replaced as a whole soon after a change, at once on SIGUSR1, and at the end (SIGTERM, SIGINT).
 * Everything that goes through, in both directions, is appended to the file of --dump.
 * Holds at most HELD_MAX bytes a direction of a connection; beyond it reading waits. */
#include "config.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#define HELD_MAX (8u << 20)
#define TICK_MS 5 /* of rates, and of looking whether a connection is done */

static struct {
	struct event_base *base;
	struct sockaddr_storage target;
	socklen_t target_len;
	uint64_t delay_ns, rate; /* rate: bytes a second, 0: no limit */
	struct bufferevent_rate_limit_group *groups[2];
	struct ev_token_bucket_cfg *bucket; /* theirs, as long as they live */
	const char *count_file;
	FILE *dump;
	struct event *count_soon;
	uint64_t bytes[2], connections;
} proxy;

struct chunk {
	uint64_t due_ns;
	struct evbuffer *data;
	STAILQ_ENTRY(chunk) next;
};

struct direction {
	struct connection *connection;
	int which; /* 0: towards the target */
	struct bufferevent *from, *to;
	STAILQ_HEAD(, chunk) held;
	size_t held_bytes;
	struct event *due; /* when the first of them is */
	bool ended;        /* nothing more will come */
};

struct connection {
	struct direction way[2];
	struct event *timer;
};

static uint64_t now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- counting ------------------------------------------------------------------------------------------ */

static void count_write(void) {
	char temp[PATH_MAX];
	if (!proxy.count_file)
		return;
	snprintf(temp, sizeof temp, "%s.new", proxy.count_file);
	FILE *f = fopen(temp, "we");
	if (!f) {
		perror(temp);
		return;
	}
	fprintf(f, "%llu %llu %llu\n", (unsigned long long)proxy.bytes[0], (unsigned long long)proxy.bytes[1],
	        (unsigned long long)proxy.connections);
	if (fclose(f) != 0 || rename(temp, proxy.count_file) != 0)
		perror(proxy.count_file);
}

static void count_soon(void) {
	static const struct timeval soon = {0, 50000};
	if (!evtimer_pending(proxy.count_soon, NULL))
		evtimer_add(proxy.count_soon, &soon);
}

static void on_count(evutil_socket_t fd, short what, void *arg) {
	(void)fd;
	(void)what;
	(void)arg;
	count_write();
}

static void on_end(evutil_socket_t fd, short what, void *arg) {
	(void)fd;
	(void)what;
	(void)arg;
	event_base_loopbreak(proxy.base);
}

/* ---- one connection ------------------------------------------------------------------------------------ */

static void connection_free(struct connection *c) {
	for (int i = 0; i < 2; i++) {
		struct direction *d = &c->way[i];
		for (struct chunk *k; (k = STAILQ_FIRST(&d->held));) {
			STAILQ_REMOVE_HEAD(&d->held, next);
			evbuffer_free(k->data);
			free(k);
		}
		event_free(d->due);
	}
	for (int i = 0; i < 2; i++) {
		if (proxy.rate) /* it would be woken by its group after its end */
			bufferevent_remove_from_rate_limit_group(c->way[i].from);
		bufferevent_free(c->way[i].from);
	}
	event_free(c->timer);
	free(c);
}

/* Passes on what is due, asks to be called when the next is, and lets reading go on or wait. */
static void direction_move(struct direction *d) {
	uint64_t now = now_ns();
	struct chunk *first;
	for (struct chunk *k; (k = STAILQ_FIRST(&d->held)) && k->due_ns <= now;) {
		STAILQ_REMOVE_HEAD(&d->held, next);
		d->held_bytes -= evbuffer_get_length(k->data);
		bufferevent_write_buffer(d->to, k->data);
		evbuffer_free(k->data);
		free(k);
	}
	if ((first = STAILQ_FIRST(&d->held)) && !evtimer_pending(d->due, NULL)) {
		uint64_t ns = first->due_ns - now;
		struct timeval wait = {
		        (time_t)(ns / 1000000000u), (suseconds_t)(ns % 1000000000u / 1000 + 1)};
		evtimer_add(d->due, &wait);
	}
	if (d->held_bytes + evbuffer_get_length(bufferevent_get_output(d->to)) > HELD_MAX)
		bufferevent_disable(d->from, EV_READ);
	else if (!d->ended)
		bufferevent_enable(d->from, EV_READ);
}

static void on_due(evutil_socket_t fd, short what, void *arg) {
	(void)fd;
	(void)what;
	direction_move(arg);
}

static bool direction_done(const struct direction *d) {
	return d->ended && STAILQ_EMPTY(&d->held) && evbuffer_get_length(bufferevent_get_output(d->to)) == 0;
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
	struct connection *c = arg;
	(void)fd;
	(void)what;
	direction_move(&c->way[0]);
	direction_move(&c->way[1]);
	/* either side has closed and the other has all that it said */
	if (direction_done(&c->way[0]) || direction_done(&c->way[1]))
		connection_free(c);
}

static void on_read(struct bufferevent *from, void *arg) {
	struct connection *c = arg;
	struct direction *d = &c->way[from == c->way[1].from];
	struct chunk *k = malloc(sizeof *k);
	struct evbuffer *in = bufferevent_get_input(from);
	if (!k || !(k->data = evbuffer_new()))
		abort();
	k->due_ns = now_ns() + proxy.delay_ns;
	size_t n = evbuffer_get_length(in);
	proxy.bytes[d->which] += n;
	if (proxy.dump && fwrite(evbuffer_pullup(in, -1), 1, n, proxy.dump) != n)
		abort();
	d->held_bytes += n;
	evbuffer_add_buffer(k->data, in);
	STAILQ_INSERT_TAIL(&d->held, k, next);
	count_soon();
	direction_move(d);
}

static void on_event(struct bufferevent *b, short what, void *arg) {
	struct connection *c = arg;
	if (what & BEV_EVENT_EOF)
		c->way[b == c->way[1].from].ended = true;
	else if (what & BEV_EVENT_ERROR)
		connection_free(c);
}

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *a, int len, void *arg) {
	static const struct timeval tick = {0, TICK_MS * 1000};
	struct connection *c = calloc(1, sizeof *c);
	struct bufferevent *near = bufferevent_socket_new(proxy.base, fd, BEV_OPT_CLOSE_ON_FREE);
	struct bufferevent *far = bufferevent_socket_new(proxy.base, -1, BEV_OPT_CLOSE_ON_FREE);
	int one = 1;
	(void)l;
	(void)a;
	(void)len;
	(void)arg;
	if (!c || !near || !far)
		abort();
	c->way[0] = (struct direction){.connection = c, .which = 0, .from = near, .to = far};
	c->way[1] = (struct direction){.connection = c, .which = 1, .from = far, .to = near};
	for (int i = 0; i < 2; i++) {
		struct bufferevent *from = c->way[i].from;
		STAILQ_INIT(&c->way[i].held);
		if (!(c->way[i].due = evtimer_new(proxy.base, on_due, &c->way[i])))
			abort();
		if (proxy.rate)
			bufferevent_add_to_rate_limit_group(c->way[i].to, proxy.groups[i]);
		bufferevent_setcb(from, on_read, NULL, on_event, c);
		bufferevent_enable(from, EV_READ | EV_WRITE);
	}
	c->timer = event_new(proxy.base, -1, EV_PERSIST, on_tick, c);
	evtimer_add(c->timer, &tick);
	proxy.connections++;
	count_soon();
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (bufferevent_socket_connect(far, (struct sockaddr *)&proxy.target, (int)proxy.target_len) != 0) {
		connection_free(c);
		return;
	}
	setsockopt(bufferevent_getfd(far), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* ---- start ---------------------------------------------------------------------------------------------- */

static bool target_find(char *text) {
	char *colon = strrchr(text, ':');
	struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found;
	if (!colon)
		return false;
	*colon = 0;
	if (getaddrinfo(text, colon + 1, &hints, &found) != 0)
		return false;
	memcpy(&proxy.target, found->ai_addr, found->ai_addrlen);
	proxy.target_len = found->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

static bool options_read(int argc, char **argv) {
	if (argc < 3 || argc % 2 == 0 || !target_find(argv[2]))
		return false;
	for (int i = 3; i < argc; i += 2) {
		if (strcmp(argv[i], "--delay") == 0)
			proxy.delay_ns = (uint64_t)(atof(argv[i + 1]) * 1e6);
		else if (strcmp(argv[i], "--rate") == 0)
			proxy.rate = (uint64_t)(atof(argv[i + 1]) / 8);
		else if (strcmp(argv[i], "--count") == 0)
			proxy.count_file = argv[i + 1];
		else if (strcmp(argv[i], "--dump") == 0 && (proxy.dump = fopen(argv[i + 1], "ae")))
			continue;
		else
			return false;
	}
	return true;
}

int main(int argc, char **argv) {
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t at_len = sizeof at;
	signal(SIGPIPE, SIG_IGN);
	if (!options_read(argc, argv)) {
		fprintf(stderr,
		        "usage: proxy PORT HOST:PORT [--delay MS] [--rate BITS_PER_S] [--count FILE] [--dump FILE]\n");
		return EXIT_FAILURE;
	}
	/* timers to the microsecond: a delay of a few milliseconds is to be one */
	struct event_config *config = event_config_new();
	event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER);
	proxy.base = event_base_new_with_config(config);
	event_config_free(config);
	if (proxy.rate) {
		/* a bucket of four ticks: less would not let a whole packet through at low rates */
		const struct timeval tick = {0, TICK_MS * 1000};
		size_t a_tick = proxy.rate * TICK_MS / 1000 + 1,
		       bucket = a_tick * 4 > 2048 ? a_tick * 4 : 2048;
		struct ev_token_bucket_cfg *cfg = proxy.bucket =
		        ev_token_bucket_cfg_new(EV_RATE_LIMIT_MAX, EV_RATE_LIMIT_MAX, a_tick, bucket, &tick);
		for (int i = 0; i < 2; i++)
			proxy.groups[i] = bufferevent_rate_limit_group_new(proxy.base, cfg);
		ev_token_bucket_cfg_free(cfg); /* the groups have copied it */
	}
	proxy.count_soon = evtimer_new(proxy.base, on_count, NULL);
	evsignal_add(evsignal_new(proxy.base, SIGUSR1, on_count, NULL), NULL);
	evsignal_add(evsignal_new(proxy.base, SIGTERM, on_end, NULL), NULL);
	evsignal_add(evsignal_new(proxy.base, SIGINT, on_end, NULL), NULL);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	at.sin_port = htons((uint16_t)atoi(argv[1]));
	struct evconnlistener *l = evconnlistener_new_bind(proxy.base, on_accept, NULL,
	        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE, 64, (struct sockaddr *)&at,
	        sizeof at);
	if (!l || getsockname(evconnlistener_get_fd(l), (struct sockaddr *)&at, &at_len) != 0) {
		fprintf(stderr, "proxy: port %s: %s\n", argv[1], strerror(errno));
		return EXIT_FAILURE;
	}
	printf("%u\n", ntohs(at.sin_port));
	fflush(stdout);
	count_write();
	event_base_dispatch(proxy.base);
	count_write();
	if (proxy.dump && fclose(proxy.dump) != 0)
		return EXIT_FAILURE;
	return EXIT_SUCCESS;
}
