/* cluster: see cluster.h. */
#include "daemon/api/routes/cluster.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_S "5"
#define UNWRITTEN_MAX 16384 /* bytes: events come close after each other */

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
static bool look_send(struct look *k, const char *head, const char *json, size_t len) {
	if (http_stream_unwritten(k->x) > UNWRITTEN_MAX)
		return false;
	http_stream_send(k->x, head, strlen(head));
	http_stream_send(k->x, json, len);
	http_stream_send(k->x, "\n\n", 2);
	return true;
}

static bool look_send_report(void *arg, const char *json, size_t len) {
	struct look *k = arg;
	if (json)
		return look_send(k, "event: cluster\ndata: ", json, len);
	http_on_closed(k->x, NULL, NULL);
	http_stream_end(k->x);
	look_on_closed(k);
	return true;
}

static bool look_send_event(void *arg, const char *json, size_t len) {
	return look_send(arg, "event: event\ndata: ", json, len);
}

/* NULL: it has been refused. */
static struct look *look_start(struct http_exchange *x, struct routes *r, live_fn *report, live_fn *event) {
	struct look *k = calloc(1, sizeof *k);
	int rc = k ? live_watch(&k->watcher, r->live, report, event, k) : -ENOMEM;
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
	(void)look_start(x, arg, look_reply, NULL);
}

static void cluster_stream(struct http_exchange *x, void *arg) {
	if (look_start(x, arg, look_send_report, look_send_event))
		http_stream_begin(x, 200, "text/event-stream");
}

const struct http_route cluster_routes[] = {
        {HTTP_GET, "/v1/cluster", cluster_reply, false},
        {HTTP_GET, "/v1/cluster/live", cluster_stream, false},
};
const size_t cluster_nroutes = sizeof cluster_routes / sizeof *cluster_routes;
