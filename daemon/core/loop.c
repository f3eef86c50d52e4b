/* loop: see loop.h. */
#include "config.h"

#include "daemon/core/loop.h"
#include <errno.h>
#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

struct post {
	loop_fn *fn;
	void *arg;
	STAILQ_ENTRY(post) next;
};
STAILQ_HEAD(posts, post);

struct loop {
	struct event_base *base;
	_Atomic pthread_t thread; /* the one that runs it, or created it; others look whether it is theirs */
	bool stopped;
	LIST_HEAD(, loop_timer) timers;
	int wake_fd;
	struct event *wake;
	pthread_mutex_t lock; /* for the mailbox only */
	struct posts mailbox;
};

struct loop_timer {
	struct loop *loop;
	struct event *ev;
	loop_fn *fn;
	void *arg;
	bool repeat, running,
	        stopped; /* running: inside fn, so loop_timer_stop leaves freeing to the caller of fn */
	LIST_ENTRY(loop_timer) next;
};

uint64_t loop_now_ns(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- mailbox ------------------------------------------------------------------------------------- */

/* Runs what is in the mailbox now; later arrivals wait for the next turn, so that a function that posts
 * itself again cannot starve the sockets. */
static void loop_mailbox_run(struct loop *l) {
	struct posts now = STAILQ_HEAD_INITIALIZER(now);
	pthread_mutex_lock(&l->lock);
	STAILQ_CONCAT(&now, &l->mailbox);
	pthread_mutex_unlock(&l->lock);
	for (struct post *p; (p = STAILQ_FIRST(&now));) {
		STAILQ_REMOVE_HEAD(&now, next);
		p->fn(p->arg);
		free(p);
	}
}

static void loop_mailbox_wake(evutil_socket_t fd, short what, void *arg) {
	uint64_t n;
	(void)what;
	if (read(fd, &n, sizeof n) == sizeof n)
		loop_mailbox_run(arg);
}

int loop_post(struct loop *l, loop_fn *fn, void *arg) {
	struct post *p = malloc(sizeof *p);
	if (!p)
		return -ENOMEM;
	p->fn = fn;
	p->arg = arg;
	pthread_mutex_lock(&l->lock);
	bool first = STAILQ_EMPTY(&l->mailbox);
	STAILQ_INSERT_TAIL(&l->mailbox, p, next);
	if (first) {
		/* under the lock: the loop must not be destroyed between the two */
		uint64_t one = 1;
		ssize_t n = write(l->wake_fd, &one, sizeof one);
		(void)n; /* it fails only if the counter is full, which wakes too */
	}
	pthread_mutex_unlock(&l->lock);
	return 0;
}

/* ---- timers -------------------------------------------------------------------------------------- */

static void loop_timer_free(struct loop_timer *t) {
	LIST_REMOVE(t, next);
	event_free(t->ev);
	free(t);
}

static void loop_timer_fire(evutil_socket_t fd, short what, void *arg) {
	struct loop_timer *t = arg;
	(void)fd;
	(void)what;
	t->running = true;
	t->fn(t->arg);
	t->running = false;
	if (t->stopped || !t->repeat)
		loop_timer_free(t);
}

struct loop_timer *loop_timer_start(struct loop *l, uint64_t ms, bool repeat, loop_fn *fn, void *arg) {
	struct loop_timer *t = calloc(1, sizeof *t);
	struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000)};
	if (!t)
		return NULL;
	*t = (struct loop_timer){.loop = l, .fn = fn, .arg = arg, .repeat = repeat};
	t->ev = event_new(l->base, -1, repeat ? EV_PERSIST : 0, loop_timer_fire, t);
	if (!t->ev || event_add(t->ev, &tv) != 0) {
		if (t->ev)
			event_free(t->ev);
		free(t);
		return NULL;
	}
	LIST_INSERT_HEAD(&l->timers, t, next);
	return t;
}

void loop_timer_stop(struct loop_timer *t) {
	if (!t)
		return;
	if (t->running) {
		t->stopped = true;
		event_del(t->ev);
	} else {
		loop_timer_free(t);
	}
}

/* ---- the loop ------------------------------------------------------------------------------------ */

int loop_create(struct loop **out) {
	struct loop *l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	STAILQ_INIT(&l->mailbox);
	LIST_INIT(&l->timers);
	pthread_mutex_init(&l->lock, NULL);
	l->thread = pthread_self();
	l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct event_config *config = event_config_new();
	if (config) {
		event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK | EVENT_BASE_FLAG_PRECISE_TIMER);
		l->base = event_base_new_with_config(config);
		event_config_free(config);
	}
	if (l->wake_fd >= 0 && l->base)
		l->wake = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, loop_mailbox_wake, l);
	if (!l->wake || event_add(l->wake, NULL) != 0) {
		loop_destroy(l);
		return -ENOMEM;
	}
	*out = l;
	return 0;
}

void loop_destroy(struct loop *l) {
	if (!l)
		return;
	while (!STAILQ_EMPTY(&l->mailbox))
		loop_mailbox_run(l);
	for (struct loop_timer *t; (t = LIST_FIRST(&l->timers));)
		loop_timer_free(t);
	if (l->wake)
		event_free(l->wake);
	if (l->base)
		event_base_free(l->base);
	if (l->wake_fd >= 0)
		close(l->wake_fd);
	pthread_mutex_destroy(&l->lock);
	free(l);
}

struct event_base *loop_base(struct loop *l) {
	return l->base;
}

int loop_run(struct loop *l) {
	l->thread = pthread_self();
	if (l->stopped) {
		l->stopped = false;
		return 0;
	}
	int rc = event_base_loop(l->base, EVLOOP_NO_EXIT_ON_EMPTY);
	l->stopped = false;
	return rc < 0 ? -EIO : 0;
}

void loop_stop(struct loop *l) {
	l->stopped = true;
	event_base_loopbreak(l->base);
}

bool loop_on_thread(const struct loop *l) {
	return pthread_equal(l->thread, pthread_self());
}
