/* connection_guard: see connection_guard.h. */
#include "config.h"

#include "daemon/core/log.h"
#include "daemon/net/connection_guard.h"
#include <errno.h>
#include <inttypes.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#define TICK_MS 100
#define ASK_TICKS (1000 / TICK_MS)
#define FEW (1u << 20) /* bytes: connections with less are never cut */

struct guarded {
	int fd;
	uint64_t cookie;
	struct node_id with;
	bool known;            /* its node is known */
	bool accepted;         /* incoming */
	bool taken;            /* a message was received since the last check */
	uint64_t base, excess; /* bytes received up to the last message, and since */
	unsigned checks;       /* consecutive ticks above the limit */
	unsigned idle;         /* seconds without being a link, while the loop ran */
	LIST_ENTRY(guarded) next;
};

struct guard {
	struct loop *loop;
	struct loop_timer *tick;
	unsigned ticks;
	guard_wanted_fn *wanted; /* NULL: no guard_ask */
	void *arg;
	LIST_HEAD(, guarded) all;
};

static bool guard_socket_cookie(int fd, uint64_t *cookie) {
	socklen_t len = sizeof *cookie;
	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, &len) == 0;
}

uint64_t guard_cookie(int fd) {
	uint64_t cookie;
	return guard_socket_cookie(fd, &cookie) ? cookie : 0;
}

/* false: not a TCP connection, or not supported by the kernel. */
static bool guard_socket_received(int fd, uint64_t *bytes) {
	struct tcp_info info;
	socklen_t len = sizeof info;
	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) != 0 ||
	        len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received)
		return false;
	*bytes = info.tcpi_bytes_received;
	return true;
}

static void guard_forget(struct guarded *c) {
	LIST_REMOVE(c, next);
	free(c);
}

static void guard_cut(struct guarded *c, const char *why) {
	char hex[NODE_ID_HEX], host[NI_MAXHOST] = "an unknown address";
	struct sockaddr_storage at;
	socklen_t len = sizeof at;
	if (getpeername(c->fd, (struct sockaddr *)&at, &len) == 0)
		getnameinfo((struct sockaddr *)&at, len, host, sizeof host, NULL, 0, NI_NUMERICHOST);
	log_others(LOG_LINE_WARN, "closed a connection with %s%s%.12s: %s",
	        strncmp(host, "::ffff:", 7) == 0 ? host + 7 : host, c->known ? ", node " : "",
	        c->known ? node_id_hex(&c->with, hex) : "", why);
	shutdown(c->fd, SHUT_RDWR);
	guard_forget(c);
}

static void guard_cut_excess(struct guarded *c) {
	char why[80];
	snprintf(why, sizeof why, "%" PRIu64 " MiB received of a message that does not end", c->excess >> 20);
	guard_cut(c, why);
}

/* Whether an accepted connection has been idle for too long without becoming a link.  Only time counts in which the loop ran: a
 * Hello may have waited otherwise. */
static bool guard_is_useless(struct guard *w, struct guarded *c) {
	if (!c->accepted || !w->wanted || w->ticks % ASK_TICKS != 0)
		return false;
	c->idle = w->wanted(w->arg, c->cookie) ? 0 : c->idle + 1;
	return c->idle > GUARD_IDLE_S;
}

/* Updates the bytes received since the last message; false: the connection is closed. */
static bool guard_update_received(struct guarded *c) {
	uint64_t cookie, bytes;
	if (!guard_socket_cookie(c->fd, &cookie) || cookie != c->cookie ||
	        !guard_socket_received(c->fd, &bytes))
		return false;
	if (c->taken)
		c->base = bytes;
	c->taken = false;
	c->excess = bytes - c->base;
	c->checks = c->excess > GUARD_ONE ? c->checks + 1 : 0;
	return true;
}

static void guard_tick(void *arg) {
	struct guard *w = arg;
	struct guarded *c, *after;
	uint64_t sum = 0;
	w->ticks++;
	for (c = LIST_FIRST(&w->all); c; c = after) {
		after = LIST_NEXT(c, next);
		if (!guard_update_received(c))
			guard_forget(c);
		else if (c->checks >
		         1) /* on two ticks: a late loop may not have read complete messages yet */
			guard_cut_excess(c);
		else if (guard_is_useless(w, c))
			guard_cut(c, "it is not a link: no Hello was received, or its node was refused");
		else
			sum += c->excess;
	}
	while (sum > GUARD_ALL) {
		struct guarded *most = NULL;
		LIST_FOREACH(c, &w->all, next)
		most = !most || c->excess > most->excess ? c : most;
		if (!most || most->excess < FEW)
			break;
		sum -= most->excess;
		guard_cut_excess(most);
	}
	if (LIST_EMPTY(&w->all)) {
		loop_timer_stop(w->tick);
		w->tick = NULL;
	}
}

static struct guarded *guard_find(struct guard *w, int fd) {
	struct guarded *c;
	LIST_FOREACH(c, &w->all, next)
	if (c->fd == fd)
		return c;
	return NULL;
}

void guard_add(struct guard *w, int fd, const struct node_id *with) {
	uint64_t cookie;
	struct guarded *c = guard_find(w, fd);
	if (c) /* an older connection with this descriptor */
		guard_forget(c);
	if (!guard_socket_cookie(fd, &cookie) || !(c = calloc(1, sizeof *c))) /* already closed */
		return;
	LIST_INSERT_HEAD(&w->all, c, next);
	c->fd = fd;
	c->cookie = cookie;
	c->accepted = !with;
	if (with) {
		c->with = *with;
		c->known = true;
	}
	if (!w->tick)
		w->tick = loop_timer_start(w->loop, TICK_MS, true, guard_tick, w);
}

void guard_taken(struct guard *w, int fd, const struct node_id *with) {
	struct guarded *c = guard_find(w, fd);
	if (!c)
		return;
	c->taken = true;
	c->with = *with;
	c->known = true;
}

void guard_ask(struct guard *w, guard_wanted_fn *wanted, void *arg) {
	w->wanted = wanted;
	w->arg = arg;
}

int guard_create(struct guard **out, struct loop *l) {
	struct guard *w = calloc(1, sizeof *w);
	if (!w)
		return -ENOMEM;
	w->loop = l;
	LIST_INIT(&w->all);
	*out = w;
	return 0;
}

void guard_destroy(struct guard *w) {
	if (!w)
		return;
	while (!LIST_EMPTY(&w->all))
		guard_forget(LIST_FIRST(&w->all));
	loop_timer_stop(w->tick);
	free(w);
}
