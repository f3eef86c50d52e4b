/* cluster: see cluster.h. */
#include "daemon/api/routes/cluster.h"
#include <errno.h>
#include <stdlib.h>

#define RETRY_S "5"

struct look {
	struct http_exchange *x;
	struct live_watcher *watcher;
};

static void look_on_closed(void *arg) {
	struct look *k = arg;
	live_release(k->watcher);
	free(k);
}

static bool look_reply(void *arg, const char *json, size_t len) {
	struct look *k = arg;
	http_on_closed(k->x, NULL, NULL);
	if (json)
		http_reply_text(k->x, 200, "application/json", json, len);
	else
		http_reply_error(k->x, 503, NULL, "this node has no report");
	look_on_closed(k);
	return true;
}

/* What waits for a client who reads slowly is not added to. */
static bool look_send(void *arg, const char *json, size_t len) {
	struct look *k = arg;
	if (!json) {
		http_on_closed(k->x, NULL, NULL);
		http_stream_end(k->x);
		look_on_closed(k);
		return true;
	}
	if (http_stream_unwritten(k->x))
		return false;
	http_stream_send(k->x, "event: cluster\ndata: ", 21);
	http_stream_send(k->x, json, len);
	http_stream_send(k->x, "\n\n", 2);
	return true;
}

/* NULL: it has been refused. */
static struct look *look_start(struct http_exchange *x, struct routes *r, live_fn *report) {
	struct look *k = calloc(1, sizeof *k);
	int rc = k ? live_watch(&k->watcher, r->live, report, k) : -ENOMEM;
	if (rc == 0) {
		k->x = x;
		http_on_closed(x, look_on_closed, k);
		http_reply_header(x, "Cache-Control", "no-store");
		return k;
	}
	free(k);
	if (rc == -EBUSY) {
		http_reply_header(x, "Retry-After", RETRY_S);
		http_reply_error(x, 429, NULL, "%d clients look at the cluster already", LIVE_WATCHERS_MAX);
	} else {
		http_reply_error(x, 500, NULL, "out of memory");
	}
	return NULL;
}

static void cluster_reply(struct http_exchange *x, void *arg) {
	(void)look_start(x, arg, look_reply);
}

static void cluster_stream(struct http_exchange *x, void *arg) {
	if (look_start(x, arg, look_send))
		http_stream_begin(x, 200, "text/event-stream");
}

const struct http_route cluster_routes[] = {
        {HTTP_GET, "/v1/cluster", cluster_reply, false},
        {HTTP_GET, "/v1/cluster/live", cluster_stream, false},
};
const size_t cluster_nroutes = sizeof cluster_routes / sizeof *cluster_routes;
