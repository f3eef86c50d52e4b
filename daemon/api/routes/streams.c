/* streams: see streams.h. */
#include "daemon/api/routes/streams.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNWRITTEN_MAX \
	(64u << 10) /* bytes that wait for a client; what it does not read stays where it is kept */
#define EVENT_DIGITS 9

/* ---- of this node ---------------------------------------------------------------------------------- */

struct own_reader {
	struct http_exchange *x;
	struct kept_stream *s;
};

static size_t own_room(void *arg) {
	size_t n = http_stream_unwritten(((struct own_reader *)arg)->x);
	return n < UNWRITTEN_MAX ? UNWRITTEN_MAX - n : 0;
}

static void own_send(void *arg, const void *data, size_t len) {
	http_stream_send(((struct own_reader *)arg)->x, data, len);
}

static void own_end(void *arg, enum kept_end how) {
	struct own_reader *r = arg;
	struct http_exchange *x = r->x;
	free(r);
	if (how == KEPT_COMPLETE)
		http_stream_end(x);
	else
		http_stream_cut(
		        x, how == KEPT_TAKEN ? "another client has taken up its stream" : "this node stops");
}

static void own_on_written(void *arg) {
	kept_pump(((struct own_reader *)arg)->s);
}

static void own_on_closed(void *arg) {
	struct own_reader *r = arg;
	struct kept_stream *s = r->s;
	free(r);
	kept_detach(s);
}

static void stream_begin(struct http_exchange *x, const char *type) {
	http_reply_header(x, "Cache-Control", "no-cache");
	http_stream_begin(x, 200, type);
}

bool streams_read(struct http_exchange *x, struct kept_stream *s, uint32_t from, unsigned resume) {
	struct own_reader *r = malloc(sizeof *r);
	if (!r)
		return false;
	*r = (struct own_reader){x, s};
	if (resume) {
		char seconds[16];
		snprintf(seconds, sizeof seconds, "%u", resume);
		http_reply_header(x, "X-Resume", seconds);
	}
	stream_begin(x, kept_type(s));
	http_on_closed(x, own_on_closed, r);
	http_on_written(x, own_on_written, r);
	kept_attach(s, from, &(struct kept_reader){own_room, own_send, own_end, r});
	return true;
}

/* ---- of another node ------------------------------------------------------------------------------- */

struct far_reader {
	struct http_exchange *x;
	struct stream_relay *relay;
	bool begun;
	uint64_t sent, taken; /* bytes; taken: as that node knows */
};

static void streams_unknown(struct http_exchange *x) {
	http_reply_error(x, 404, "stream_not_found",
	        "there is no stream %.80s: it is unknown or over, or was begun with another API key",
	        http_rest(x));
}

static void far_on_begin(void *arg, const char *type) {
	struct far_reader *r = arg;
	r->begun = true;
	http_reply_header(r->x, "X-Stream-Id", http_rest(r->x));
	stream_begin(r->x, type);
}

static void far_on_bytes(void *arg, const void *data, size_t len) {
	struct far_reader *r = arg;
	r->sent += len;
	http_stream_send(r->x, data, len);
}

static void far_on_written(void *arg) {
	struct far_reader *r = arg;
	if (r->sent - r->taken < STREAM_WINDOW / 2)
		return;
	r->taken = r->sent;
	stream_relay_took(r->relay, r->taken);
}

static void far_refuse(struct http_exchange *x, const struct completion_error *e) {
	char after[16];
	if (e->status == 404) {
		streams_unknown(x);
		return;
	}
	if (e->retry_after) {
		snprintf(after, sizeof after, "%u", e->retry_after);
		http_reply_header(x, "Retry-After", after);
	}
	http_reply_error(x, e->status, NULL, "%s", e->text);
}

static void far_on_end(void *arg, const struct completion_error *error) {
	struct far_reader *r = arg;
	struct http_exchange *x = r->x;
	bool begun = r->begun;
	stream_relay_release(r->relay);
	free(r);
	if (error && begun)
		http_stream_cut(x, "its stream, at another node, came to an end that is not its own");
	else if (error)
		far_refuse(x, error);
	else if (begun)
		http_stream_end(x);
	else
		http_reply_text(x, 204, NULL, "", 0);
}

static void far_on_closed(void *arg) {
	struct far_reader *r = arg;
	stream_relay_release(r->relay);
	free(r);
}

/* from 0: cancels it. */
static void far_ask(struct http_exchange *x, struct routes *routes, uint32_t from) {
	struct far_reader *r = calloc(1, sizeof *r);
	if (r) {
		r->x = x;
		r->relay = stream_relay_start(routes->relays, &(struct stream_ask){.id = http_rest(x),
		                                                      .key = http_key(x),
		                                                      .from = from,
		                                                      .begin = far_on_begin,
		                                                      .bytes = far_on_bytes,
		                                                      .end = far_on_end,
		                                                      .arg = r});
	}
	if (!r || !r->relay) {
		free(r);
		http_reply_error(x, 500, NULL, "out of memory");
		return;
	}
	http_on_closed(x, far_on_closed, r);
	http_on_written(x, far_on_written, r);
}

/* ---- requests -------------------------------------------------------------------------------------- */

static bool is_elsewhere(const struct routes *r, const char *id) {
	return r->relays && stream_is_elsewhere(id, r->node);
}

/* An event's number, plus `more`. */
static bool event_number(const char *text, uint32_t more, uint32_t *out) {
	size_t len = strlen(text);
	if (len < 1 || len > EVENT_DIGITS || text[strspn(text, "0123456789")])
		return false;
	*out = (uint32_t)strtoul(text, NULL, 10) + more;
	return true;
}

static bool read_from(struct http_exchange *x, uint32_t *from) {
	const char *query = http_query(x, "from"), *last = http_header(x, "Last-Event-ID");
	*from = 1;
	if (query ? !event_number(query, 0, from) : last && !event_number(last, 1, from)) {
		http_reply_error(
		        x, 400, NULL, "%s must be the number of an event", query ? "from" : "Last-Event-ID");
		return false;
	}
	*from = *from ? *from : 1;
	return true;
}

static void streams_take_up(struct http_exchange *x, void *arg) {
	struct routes *r = arg;
	uint32_t from;
	if (http_method(x) == HTTP_HEAD) {
		http_reply_header(x, "Allow", "GET, DELETE");
		http_reply_error(x, 405, NULL, "a stream is taken up with GET");
		return;
	}
	if (!read_from(x, &from))
		return;
	struct kept_stream *s = kept_find(r->kept, http_rest(x), http_key(x));
	if (!s && is_elsewhere(r, http_rest(x)))
		far_ask(x, r, from);
	else if (!s)
		streams_unknown(x);
	else {
		http_reply_header(x, "X-Stream-Id", http_rest(x));
		if (!streams_read(x, s, from, 0))
			http_reply_error(x, 500, NULL, "out of memory");
	}
}

static void streams_cancel(struct http_exchange *x, void *arg) {
	struct routes *r = arg;
	struct kept_stream *s = kept_find(r->kept, http_rest(x), http_key(x));
	if (!s && is_elsewhere(r, http_rest(x))) {
		far_ask(x, r, 0);
	} else if (!s) {
		streams_unknown(x);
	} else {
		kept_cancel(s);
		http_reply_text(x, 204, NULL, "", 0);
	}
}

const struct http_route streams_routes[] = {
        {HTTP_GET, "/v1/stream/*", streams_take_up, false},
        {HTTP_DELETE, "/v1/stream/*", streams_cancel, false},
};
const size_t streams_nroutes = sizeof streams_routes / sizeof *streams_routes;
