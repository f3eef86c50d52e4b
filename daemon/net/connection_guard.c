/* connection_guard: see connection_guard.h. */
#include "config.h"

#include "daemon/core/log.h"
#include "daemon/net/connection_guard.h"
#include "daemon/net/loss.h"
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
	uint32_t sent, lost;   /* segments that are counted in the losses of its node */
	unsigned checks;       /* consecutive ticks above the limit */
	unsigned idle;         /* seconds without being a link, while the loop ran */
	LIST_ENTRY(guarded) next;
};

/* What was sent to a node, over all connections with it. */
struct guard_node {
	struct node_id node;
	struct loss loss;
	uint64_t counted_ns;
	LIST_ENTRY(guard_node) next;
};

struct guard {
	struct loop *loop;
	struct loop_timer *tick;
	unsigned ticks;
	guard_wanted_fn *wanted; /* NULL: no guard_ask */
	void *arg;
	LIST_HEAD(, guarded) all;
	LIST_HEAD(, guard_node) nodes;
};

static bool guard_socket_cookie(int fd, uint64_t *cookie) {
	socklen_t len = sizeof *cookie;
	return getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, &len) == 0;
}

uint64_t guard_cookie(int fd) {
	uint64_t cookie;
	return guard_socket_cookie(fd, &cookie) ? cookie : 0;
}

/* Whether the kernel's answer has this field. */
#define HAS(len, field) \
	((len) >= offsetof(struct tcp_info, field) + sizeof((struct tcp_info){.tcpi_state = 0}.field))

/* false: not a TCP connection, or not supported by the kernel.  What a kernel does not know stays 0. */
static bool guard_socket_info(int fd, struct tcp_info *info) {
	socklen_t len = sizeof *info;
	*info = (struct tcp_info){0};
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0 && HAS(len, tcpi_bytes_received);
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

/* ---- losses ---- */

static struct guard_node *guard_find_node(const struct guard *w, const struct node_id *node) {
	struct guard_node *n;
	LIST_FOREACH(n, &w->nodes, next)
	if (node_id_equal(&n->node, node))
		return n;
	return NULL;
}

static struct guard_node *guard_node_of(struct guard *w, const struct node_id *node) {
	struct guard_node *n = guard_find_node(w, node);
	if (!n && (n = calloc(1, sizeof *n))) {
		n->node = *node;
		LIST_INSERT_HEAD(&w->nodes, n, next);
	}
	return n;
}

/* Nothing was sent to such a node within the time that counts. */
static void guard_forget_nodes(struct guard *w, uint64_t now) {
	struct guard_node *n, *after;
	for (n = LIST_FIRST(&w->nodes); n; n = after) {
		after = LIST_NEXT(n, next);
		if (now - n->counted_ns < (uint64_t)LOSS_SLOTS * LOSS_SLOT_NS)
			continue;
		LIST_REMOVE(n, next);
		free(n);
	}
}

/* What was sent again was lost, unless the other end says that it had it already. */
static void guard_count_losses(
        struct guard *w, struct guarded *c, const struct tcp_info *info, uint64_t now) {
	uint32_t again = info->tcpi_total_retrans, twice = info->tcpi_dsack_dups;
	uint32_t sent = info->tcpi_data_segs_out - c->sent, lost = again > twice ? again - twice : 0;
	struct guard_node *n = c->known && sent ? guard_node_of(w, &c->with) : NULL;
	if (!n)
		return;
	lost = lost > c->lost ? lost - c->lost
	                      : 0; /* less than before: it is heard later that it was not lost */
	loss_add(&n->loss, now, sent, lost);
	n->counted_ns = now;
	c->sent += sent;
	c->lost += lost;
}

double guard_lost(const struct guard *w, const struct node_id *to) {
	const struct guard_node *n = guard_find_node(w, to);
	return n ? loss_share(&n->loss, loop_now_ns()) : 0;
}

/* ---- connections ---- */

/* Updates the bytes received since the last message; false: the connection is closed. */
static bool guard_update(struct guard *w, struct guarded *c, uint64_t now) {
	struct tcp_info info;
	uint64_t cookie, bytes;
	if (!guard_socket_cookie(c->fd, &cookie) || cookie != c->cookie || !guard_socket_info(c->fd, &info))
		return false;
	guard_count_losses(w, c, &info, now);
	bytes = info.tcpi_bytes_received;
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
	uint64_t sum = 0, now = loop_now_ns();
	w->ticks++;
	for (c = LIST_FIRST(&w->all); c; c = after) {
		after = LIST_NEXT(c, next);
		if (!guard_update(w, c, now))
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
	guard_forget_nodes(w, now);
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
	LIST_INIT(&w->nodes);
	*out = w;
	return 0;
}

void guard_destroy(struct guard *w) {
	if (!w)
		return;
	while (!LIST_EMPTY(&w->all))
		guard_forget(LIST_FIRST(&w->all));
	guard_forget_nodes(w, UINT64_MAX);
	loop_timer_stop(w->tick);
	free(w);
}
