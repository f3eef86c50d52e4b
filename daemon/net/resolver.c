/* resolver: see resolver.h. */
#include "config.h"

#include "daemon/net/resolver.h"
#include "kernels/thread.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

struct resolve {
	pthread_mutex_t lock;
	struct loop
	        *loop; /* NULL: nobody waits any more, and the loop may be gone; under lock, as the next */
	bool lost;     /* there was no memory to call the loop: whoever cancels frees it */
	char host[WIRE_ENDPOINT_MAX + 1], port[8];
	char endpoint[WIRE_ENDPOINT_MAX + 1], why[200]; /* the answer: one of them */
	resolve_fn *done;
	void *arg;
	struct node_id node; /* whose name it is */
	bool waits;          /* for a place; under places.lock, as the next */
	TAILQ_ENTRY(resolve) next;
};

static struct {
	pthread_mutex_t lock;
	struct node_id node[RESOLVE_MAX]; /* whose lookups are running */
	size_t running;
	TAILQ_HEAD(, resolve) waiting; /* the oldest first */
} places = {.lock = PTHREAD_MUTEX_INITIALIZER, .waiting = TAILQ_HEAD_INITIALIZER(places.waiting)};

bool resolve_needed(const char *endpoint) {
	const char *host = endpoint + strlen("tcp://");
	size_t len = strcspn(host, ":");
	return *host != '[' && strspn(host, "0123456789.") < len;
}

static void resolve_free(struct resolve *r) {
	pthread_mutex_destroy(&r->lock);
	free(r);
}

static void resolve_tell(void *arg) {
	struct resolve *r = arg;
	pthread_mutex_lock(&r->lock); /* the thread may be about to leave it */
	pthread_mutex_unlock(&r->lock);
	if (r->loop) /* not cancelled while the call was in the mailbox */
		r->done(r->arg, *r->endpoint ? r->endpoint : NULL, r->why);
	resolve_free(r);
}

static void resolve_lookup(struct resolve *r) {
	const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
	struct addrinfo *found = NULL;
	char host[NI_MAXHOST];
	int rc = getaddrinfo(r->host, NULL, &hints, &found);
	if (rc == 0)
		rc = getnameinfo(
		        found->ai_addr, found->ai_addrlen, host, sizeof host, NULL, 0, NI_NUMERICHOST);
	if (rc == 0 && snprintf(r->endpoint, sizeof r->endpoint,
	                       found->ai_family == AF_INET6 ? "tcp://[%s]:%s" : "tcp://%s:%s", host,
	                       r->port) >= (int)sizeof r->endpoint)
		r->endpoint[0] = 0;
	if (!*r->endpoint)
		snprintf(r->why, sizeof r->why, "no address is known for %.100s: %.60s", r->host,
		        rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
	if (found)
		freeaddrinfo(found);
}

/* The rest is under places.lock. */
static size_t resolve_count_places(const struct node_id *node) {
	size_t n = 0;
	for (size_t i = 0; i < places.running; i++)
		n += node_id_equal(&places.node[i], node);
	return n;
}

static void resolve_stop_waiting(struct resolve *r) {
	TAILQ_REMOVE(&places.waiting, r, next);
	r->waits = false;
}

/* Gives a free place to the next lookup: the oldest of the node with the fewest places; the node that has just left one (or
 * NULL) comes after others with as many.  NULL: there is no free place, or no waiting lookup may have it. */
static struct resolve *resolve_take_place(const struct node_id *left) {
	struct resolve *next = NULL;
	size_t first = 2 * RESOLVE_EACH;
	for (struct resolve *r = TAILQ_FIRST(&places.waiting); r && places.running < RESOLVE_MAX;
	        r = TAILQ_NEXT(r, next)) {
		size_t has = resolve_count_places(&r->node),
		       rank = 2 * has + (left && node_id_equal(&r->node, left));
		if (rank < first && (has == 0 || places.running < RESOLVE_MAX / 2)) {
			first = rank;
			next = r;
		}
	}
	if (next) {
		resolve_stop_waiting(next);
		places.node[places.running++] = next->node;
	}
	return next;
}

static void resolve_leave_place(const struct node_id *node) {
	size_t i = 0;
	while (!node_id_equal(&places.node[i], node))
		i++;
	places.node[i] = places.node[--places.running];
}

/* ---- */

static void resolve_answer(struct resolve *r) {
	pthread_mutex_lock(&r->lock);
	bool cancelled = !r->loop;
	r->lost = !cancelled && loop_post(r->loop, resolve_tell, r) != 0;
	pthread_mutex_unlock(&r->lock);
	if (cancelled)
		resolve_free(r);
}

static void *resolve_run(void *arg) {
	struct resolve *r = arg;
	while (r) {
		resolve_lookup(r);
		pthread_mutex_lock(&places.lock);
		resolve_leave_place(&r->node);
		struct resolve *next = resolve_take_place(&r->node);
		pthread_mutex_unlock(&places.lock);
		resolve_answer(r);
		r = next;
	}
	return NULL;
}

int resolve_start(struct resolve **out, struct loop *l, const struct node_id *node, const char *endpoint,
        resolve_fn *done, void *arg) {
	const char *host = endpoint + strlen("tcp://"), *colon = strrchr(endpoint, ':');
	pthread_t thread;
	int rc = 0;
	struct resolve *r = calloc(1, sizeof *r);
	if (!r)
		return -ENOMEM;
	pthread_mutex_init(&r->lock, NULL);
	r->loop = l;
	r->done = done;
	r->arg = arg;
	r->node = *node;
	r->waits = true;
	snprintf(r->host, sizeof r->host, "%.*s", (int)(colon - host), host);
	snprintf(r->port, sizeof r->port, "%.7s", colon + 1);
	pthread_mutex_lock(&places.lock);
	TAILQ_INSERT_TAIL(&places.waiting, r, next);
	/* no other that waits may have a place, or it would have it */
	if (resolve_take_place(NULL) == r) {
		rc = thread_start(&thread, NULL, resolve_run, r);
		if (rc == 0)
			pthread_detach(thread);
		else
			resolve_leave_place(node);
	}
	pthread_mutex_unlock(&places.lock);
	if (rc)
		resolve_free(r);
	else
		*out = r;
	return rc;
}

void resolve_cancel(struct resolve *r) {
	if (!r)
		return;
	pthread_mutex_lock(&places.lock);
	bool waits = r->waits;
	if (waits)
		resolve_stop_waiting(r);
	pthread_mutex_unlock(&places.lock);
	if (waits) {
		resolve_free(r);
		return;
	}
	pthread_mutex_lock(&r->lock);
	r->loop = NULL;
	bool lost = r->lost;
	pthread_mutex_unlock(&r->lock);
	if (lost)
		resolve_free(r);
	/* else the thread does, or the call that waits in the mailbox */
}
