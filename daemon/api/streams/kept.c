/* kept: see kept.h. */
#include "daemon/api/streams/kept.h"
#include "common/fail.h"
#include "daemon/core/loop.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct kept_stream {
	TAILQ_ENTRY(kept_stream) next;
	struct kept *kept;
	char id[KEPT_ID], type[64];
	uint64_t key, lasting_ns;
	char *bytes;
	size_t len, room;
	size_t *events; /* where each begins */
	uint32_t nevents, events_room;
	bool begun, ended, cancelled;
	const char *full; /* NULL: it is not */
	uint64_t over_ns; /* when its time is over, unless it is read */
	void (*cancel)(void *arg);
	void *cancel_arg;
	struct kept_reader reader;
	bool read;
	size_t at; /* what the reader has taken */
};

TAILQ_HEAD(kept_streams, kept_stream);

struct kept {
	struct kept_limits limits;
	struct kept_streams
	        streams; /* in the order in which they began; those that have ended in that of their ends */
	unsigned n;
	size_t bytes; /* allocated for all of them */
	bool stopped;
	char full_one[120], full_all[120];
};

int kept_create(struct kept **out, const struct kept_limits *limits) {
	struct kept *k = calloc(1, sizeof *k);
	if (!k)
		return -ENOMEM;
	k->limits = *limits;
	if (!k->limits.streams)
		k->limits.streams = 256;
	if (!k->limits.of_a_key)
		k->limits.of_a_key = 64;
	if (!k->limits.stream)
		k->limits.stream = 16 << 20;
	if (!k->limits.all)
		k->limits.all = 128 << 20;
	TAILQ_INIT(&k->streams);
	snprintf(k->full_one, sizeof k->full_one,
	        "the answer has more than %zu KiB, the most that is kept of a stream that can be resumed",
	        k->limits.stream >> 10);
	snprintf(k->full_all, sizeof k->full_all,
	        "the streams that this node keeps have more than %zu KiB together, which is the limit",
	        k->limits.all >> 10);
	*out = k;
	return 0;
}

void kept_destroy(struct kept *k) {
	free(k);
}

unsigned kept_count(const struct kept *k) {
	return k->n;
}

size_t kept_bytes(const struct kept *k) {
	return k->bytes;
}

static size_t kept_size(const struct kept_stream *s) {
	return s->room + s->events_room * sizeof *s->events;
}

static void kept_free(struct kept_stream *s) {
	struct kept *k = s->kept;
	TAILQ_REMOVE(&k->streams, s, next);
	k->n--;
	k->bytes -= kept_size(s);
	free(s->bytes);
	free(s->events);
	free(s);
}

/* One that was cancelled is needed only by its reader. */
static void kept_settle(struct kept_stream *s) {
	if (s->cancelled && s->ended && !s->read)
		kept_free(s);
}

static void kept_end_reader(struct kept_stream *s, enum kept_end how) {
	const struct kept_reader r = s->reader;
	s->read = false;
	s->over_ns = loop_now_ns() + s->lasting_ns;
	r.end(r.arg, how);
}

/* Gives the reader what it accepts. */
static void kept_give(struct kept_stream *s) {
	while (s->read && s->at < s->len) {
		size_t n = s->reader.room(s->reader.arg);
		if (n == 0)
			return;
		n = n < s->len - s->at ? n : s->len - s->at;
		s->at += n;
		s->reader.send(s->reader.arg, s->bytes + s->at - n, n);
	}
	if (s->read && s->ended)
		kept_end_reader(s, KEPT_COMPLETE);
}

/* Forgets the one of a key (NULL: of all) that ended first, and that nobody reads; false: there is none. */
static bool kept_evict(struct kept *k, const uint64_t *key) {
	struct kept_stream *s;
	TAILQ_FOREACH(s, &k->streams, next)
	if (s->ended && !s->read && (!key || s->key == *key)) {
		kept_free(s);
		return true;
	}
	return false;
}

/* The key whose streams have the most bytes. */
static uint64_t kept_largest_key(const struct kept *k) {
	const struct kept_stream *s, *t;
	uint64_t key = 0;
	size_t most = 0;
	TAILQ_FOREACH(s, &k->streams, next) {
		size_t its = 0;
		TAILQ_FOREACH(t, &k->streams, next)
		its += t->key == s->key ? kept_size(t) : 0;
		if (its > most) {
			most = its;
			key = s->key;
		}
	}
	return key;
}

/* Of a key, the largest that goes on; NULL: none does. */
static struct kept_stream *kept_largest(struct kept *k, uint64_t key) {
	struct kept_stream *s, *most = NULL;
	TAILQ_FOREACH(s, &k->streams, next)
	if (s->key == key && !s->ended && !s->full && (!most || kept_size(s) > kept_size(most)))
		most = s;
	return most;
}

/* ---- the producer -------------------------------------------------------------------------------- */

static unsigned kept_of_key(const struct kept *k, uint64_t key) {
	const struct kept_stream *s;
	unsigned n = 0;
	TAILQ_FOREACH(s, &k->streams, next)
	n += s->key == key;
	return n;
}

int kept_reserve(
        struct kept_stream **out, struct kept *k, const struct kept_params *p, char *err, size_t errlen) {
	if (k->stopped)
		return fail_with(-EBUSY, err, errlen, "this node stops");
	if (p->key && kept_of_key(k, p->key) >= k->limits.of_a_key && !kept_evict(k, &p->key))
		return fail_with(-EBUSY, err, errlen,
		        "this node keeps %u streams of this API key already, which is the limit",
		        k->limits.of_a_key);
	if (k->n >= k->limits.streams && !kept_evict(k, NULL))
		return fail_with(-EBUSY, err, errlen,
		        "this node keeps %u streams already, which is the limit", k->limits.streams);
	struct kept_stream *s = calloc(1, sizeof *s);
	if (!s)
		return fail_memory(err, errlen, "a stream");
	s->kept = k;
	snprintf(s->id, sizeof s->id, "%s", p->id);
	s->key = p->key;
	s->lasting_ns = p->seconds * (uint64_t)1000000000;
	s->cancel = p->cancel;
	s->cancel_arg = p->arg;
	TAILQ_INSERT_TAIL(&k->streams, s, next);
	k->n++;
	*out = s;
	return 0;
}

void kept_begin(struct kept_stream *s, const char *type) {
	s->begun = true;
	s->over_ns = loop_now_ns() + s->lasting_ns;
	snprintf(s->type, sizeof s->type, "%s", type);
}

/* Space for so many bytes and an event more; false: no memory. */
static bool kept_grow(struct kept_stream *s, size_t len) {
	if (s->len + len > s->room) {
		size_t room = (s->len + len) * 2;
		char *bytes = realloc(s->bytes, room);
		if (!bytes)
			return false;
		s->bytes = bytes;
		s->kept->bytes += room - s->room;
		s->room = room;
	}
	if (s->nevents == s->events_room) {
		uint32_t room = s->events_room * 2 + 64;
		size_t *events = realloc(s->events, room * sizeof *events);
		if (!events)
			return false;
		s->events = events;
		s->kept->bytes += (room - s->events_room) * sizeof *events;
		s->events_room = room;
	}
	return true;
}

/* What the key with the most bytes has goes first: what has ended, then the largest stream. */
static void kept_make_space(struct kept *k, struct kept_stream *writing) {
	while (k->bytes > k->limits.all) {
		uint64_t key = kept_largest_key(k);
		if (kept_evict(k, &key))
			continue;
		struct kept_stream *s = kept_largest(k, key);
		if (!s && kept_evict(k, NULL))
			continue;
		s = s ? s : writing;
		s->full = k->full_all;
		if (s == writing)
			return; /* its producer asks */
		s->cancel(s->cancel_arg);
	}
}

static void kept_check_limits(struct kept_stream *s) {
	if (s->len > s->kept->limits.stream)
		s->full = s->kept->full_one;
	else
		kept_make_space(s->kept, s);
}

void kept_write(struct kept_stream *s, const char *head, const void *data, size_t len) {
	size_t headlen = strlen(head);
	if (!kept_grow(s, headlen + len)) {
		s->full = "out of memory";
		return;
	}
	s->events[s->nevents++] = s->len;
	memcpy(s->bytes + s->len, head, headlen);
	memcpy(s->bytes + s->len + headlen, data, len);
	s->len += headlen + len;
	if (!s->full)
		kept_check_limits(s);
	kept_give(s);
}

const char *kept_full(const struct kept_stream *s) {
	return s->full;
}

uint32_t kept_events(const struct kept_stream *s) {
	return s->nevents;
}

void kept_finish(struct kept_stream *s) {
	struct kept *k = s->kept;
	s->ended = true;
	s->over_ns = loop_now_ns() + s->lasting_ns;
	TAILQ_REMOVE(&k->streams, s, next);
	TAILQ_INSERT_TAIL(&k->streams, s, next);
	kept_give(s);
}

void kept_drop(struct kept_stream *s) {
	if (s)
		kept_free(s);
}

/* ---- readers ------------------------------------------------------------------------------------- */

struct kept_stream *kept_find(struct kept *k, const char *id, uint64_t key) {
	struct kept_stream *s;
	TAILQ_FOREACH(s, &k->streams, next)
	if (s->begun && !s->cancelled && (!s->key || s->key == key) && strcmp(s->id, id) == 0)
		return s;
	return NULL;
}

const char *kept_type(const struct kept_stream *s) {
	return s->type;
}

void kept_attach(struct kept_stream *s, uint32_t from, const struct kept_reader *r) {
	if (s->read)
		kept_end_reader(s, KEPT_TAKEN);
	s->reader = *r;
	s->read = true;
	s->at = from <= 1 ? 0 : from <= s->nevents ? s->events[from - 1] : s->len;
	kept_give(s);
}

void kept_pump(struct kept_stream *s) {
	kept_give(s);
	kept_settle(s);
}

void kept_detach(struct kept_stream *s) {
	s->read = false;
	s->over_ns = loop_now_ns() + s->lasting_ns;
	kept_settle(s);
}

void kept_cancel(struct kept_stream *s) {
	if (!s->ended)
		s->cancel(s->cancel_arg);
	s->cancelled = true;
	kept_settle(s);
}

/* ---- all of them --------------------------------------------------------------------------------- */

void kept_expire(struct kept *k, uint64_t now_ns) {
	struct kept_stream *s = TAILQ_FIRST(&k->streams);
	while (s)
		if (s->begun && !s->read && s->over_ns <= now_ns) {
			kept_cancel(s);
			s = TAILQ_FIRST(&k->streams); /* its last event may have evicted others */
		} else {
			s = TAILQ_NEXT(s, next);
		}
}

void kept_stop(struct kept *k) {
	struct kept_stream *s;
	k->stopped = true;
	while ((s = TAILQ_FIRST(&k->streams))) {
		if (s->read)
			kept_end_reader(s, KEPT_STOPPED);
		if (!s->ended)
			s->cancel(s->cancel_arg);
		kept_free(s);
	}
}
