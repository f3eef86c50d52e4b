/* zmq_watch: see zmq_watch.h. */
#include "config.h"

#include "daemon/net/zmq_watch.h"
#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <zmq.h>

struct zwatch {
	void *socket;
	struct event *readable; /* of the descriptor: something may have changed */
	struct event *again;    /* forces a turn regardless of the descriptor; a timer, for fairness */
	struct zwatch_ops ops;
	void *arg;
	bool want_write, running, dead;
};

static void zsock_free(struct zwatch *z) {
	if (z->readable)
		event_free(z->readable);
	if (z->again)
		event_free(z->again);
	zmq_close(z->socket);
	free(z);
}

static int zsock_events(struct zwatch *z) {
	int events = 0;
	size_t len = sizeof events;
	/* EINTR: repeated at the next turn, which the caller schedules */
	if (zmq_getsockopt(z->socket, ZMQ_EVENTS, &events, &len) != 0)
		return errno == EINTR ? ZMQ_POLLIN : 0;
	return events;
}

void zwatch_touched(struct zwatch *z) {
	static const struct timeval now = {0, 0};
	if (!z->dead && !evtimer_pending(z->again, NULL))
		evtimer_add(z->again, &now);
}

static void zsock_turn(evutil_socket_t fd, short what, void *arg) {
	struct zwatch *z = arg;
	(void)fd;
	(void)what;
	z->running = true;
	int events = zsock_events(z);
	if (events & ZMQ_POLLIN)
		for (int i = 0; i < ZWATCH_SHARE && !z->dead && z->ops.readable(z->arg); i++)
			;
	if (!z->dead && z->want_write && (zsock_events(z) & ZMQ_POLLOUT)) {
		z->want_write = false;
		z->ops.writable(z->arg);
	}
	z->running = false;
	if (z->dead) {
		zsock_free(z);
		return;
	}
	events = zsock_events(z);
	if ((events & ZMQ_POLLIN) || (z->want_write && (events & ZMQ_POLLOUT)))
		zwatch_touched(z);
}

int zwatch_create(
        struct zwatch **out, struct loop *l, void *socket, const struct zwatch_ops *ops, void *arg) {
	int fd;
	size_t len = sizeof fd;
	struct zwatch *z = calloc(1, sizeof *z);
	if (!z) {
		zmq_close(socket);
		return -ENOMEM;
	}
	*z = (struct zwatch){.socket = socket, .ops = *ops, .arg = arg};
	if (zmq_getsockopt(socket, ZMQ_FD, &fd, &len) != 0) {
		int rc = -errno;
		zsock_free(z);
		return rc;
	}
	z->readable = event_new(loop_base(l), fd, EV_READ | EV_PERSIST, zsock_turn, z);
	z->again = evtimer_new(loop_base(l), zsock_turn, z);
	if (!z->readable || !z->again || event_add(z->readable, NULL) != 0) {
		zsock_free(z);
		return -ENOMEM;
	}
	zwatch_touched(z); /* before the first sleep */
	*out = z;
	return 0;
}

void zwatch_destroy(struct zwatch *z) {
	if (!z || z->dead)
		return;
	z->dead = true;
	if (!z->running) {
		zsock_free(z);
		return;
	}
	event_del(z->readable);
	evtimer_del(z->again);
}

void *zwatch_socket(struct zwatch *z) {
	return z->socket;
}

void zwatch_want_write(struct zwatch *z) {
	z->want_write = true;
	zwatch_touched(z);
}
