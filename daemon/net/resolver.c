/* resolver: see resolver.h. */
#include "config.h"

#include "daemon/net/resolver.h"
#include "kernels/thread.h"
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
};

static atomic_uint running; /* threads */

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

static void look_up(struct resolve *r) {
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

static void *resolve_run(void *arg) {
	struct resolve *r = arg;
	look_up(r);
	atomic_fetch_sub(&running, 1);
	pthread_mutex_lock(&r->lock);
	bool cancelled = !r->loop;
	r->lost = !cancelled && loop_post(r->loop, resolve_tell, r) != 0;
	pthread_mutex_unlock(&r->lock);
	if (cancelled)
		resolve_free(r);
	return NULL;
}

int resolve_start(struct resolve **out, struct loop *l, const char *endpoint, resolve_fn *done, void *arg) {
	const char *host = endpoint + strlen("tcp://"), *colon = strrchr(endpoint, ':');
	pthread_t thread;
	if (atomic_fetch_add(&running, 1) >= RESOLVE_MAX) {
		atomic_fetch_sub(&running, 1);
		return -EAGAIN;
	}
	struct resolve *r = calloc(1, sizeof *r);
	int rc = r ? 0 : -ENOMEM;
	if (rc == 0) {
		pthread_mutex_init(&r->lock, NULL);
		r->loop = l;
		r->done = done;
		r->arg = arg;
		snprintf(r->host, sizeof r->host, "%.*s", (int)(colon - host), host);
		snprintf(r->port, sizeof r->port, "%.7s", colon + 1);
		rc = thread_start(&thread, NULL, resolve_run, r);
	}
	if (rc) {
		atomic_fetch_sub(&running, 1);
		if (r)
			resolve_free(r);
		return rc;
	}
	pthread_detach(thread);
	*out = r;
	return 0;
}

void resolve_cancel(struct resolve *r) {
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	r->loop = NULL;
	bool lost = r->lost;
	pthread_mutex_unlock(&r->lock);
	if (lost)
		resolve_free(r);
	/* else the thread does, or the call that waits in the mailbox */
}
