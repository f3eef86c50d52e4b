/* kept: streams that outlive their client's connection: their bytes, until some time after their end.
 *
 * Owns: the events of each stream since the first, exactly as they were sent, and the way from there to the one reader
 * that a stream has at a time.  Knows neither dialects nor connections: a producer writes events, a reader takes bytes.
 * A stream without a reader is cancelled when its time is over; one that has ended is forgotten then.
 * Backpressure: a reader says how much it accepts and calls kept_pump when it accepts more; what it does not take stays
 * here, within the limits of the stream.
 * Invariants: a stream has a producer until kept_finish or kept_drop.  A cancelled stream can no longer be found, and is
 * freed when its reader has taken the rest.
 * Threads: the HTTP server's; kept_create and kept_destroy while it does not run. */
#ifndef DAEMON_API_STREAMS_KEPT_H
#define DAEMON_API_STREAMS_KEPT_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEPT_ID 81 /* with its NUL: WIRE_STREAM_ID_MAX and one */

/* The defaults are given here. */
struct kept_limits {
	unsigned streams;  /* 256 */
	unsigned of_a_key; /* 64; of streams of everybody there is no such limit */
	size_t stream;     /* bytes: 16 MiB */
	size_t all;        /* 128 MiB */
};

enum kept_end {
	KEPT_COMPLETE,
	KEPT_TAKEN,  /* another reader has taken it over */
	KEPT_STOPPED /* this node stops */
};

struct kept_reader {
	size_t (*room)(void *arg); /* bytes that it accepts now */
	void (*send)(void *arg, const void *data, size_t len);
	void (*end)(void *arg, enum kept_end how); /* the last call, unless kept_detach comes before it */
	void *arg;
};

struct kept_params {
	const char *id;
	uint64_t key;     /* whose it is; 0: of everybody */
	unsigned seconds; /* without a reader, since the last one or since its end */
	/* The producer is to end: it may write a last event, and calls kept_finish. */
	void (*cancel)(void *arg);
	void *arg;
};

struct kept;
struct kept_stream;

int kept_create(struct kept **out, const struct kept_limits *limits); /* 0: the default.  0 or -ENOMEM */
void kept_destroy(struct kept *k);                                    /* NULL allowed; after kept_stop */
/* Cancels all, and takes no more. */
void kept_stop(struct kept *k);
/* Ends what is over.  now_ns: loop_now_ns. */
void kept_expire(struct kept *k, uint64_t now_ns);
unsigned kept_count(const struct kept *k);
size_t kept_bytes(const struct kept *k);

/* ---- the producer ---- */

/* Takes a place for a stream; it can be found once kept_begin was called.  0, -ENOMEM, -EBUSY, with a sentence. */
int kept_reserve(
        struct kept_stream **out, struct kept *k, const struct kept_params *p, char *err, size_t errlen);
/* type: its content type. */
void kept_begin(struct kept_stream *s, const char *type);
/* One event, in two parts. */
void kept_write(struct kept_stream *s, const char *head, const void *data, size_t len);
/* Why it must not go on, as a sentence; NULL: it may.  The events that say so to the client are still accepted. */
const char *kept_full(const struct kept_stream *s);
uint32_t kept_events(const struct kept_stream *s); /* written so far */
/* The producer is done: s is no longer its own. */
void kept_finish(struct kept_stream *s);
void kept_drop(struct kept_stream *s); /* nothing has begun; NULL allowed */

/* ---- readers ---- */

/* NULL: this key may take none. */
struct kept_stream *kept_find(struct kept *k, const char *id, uint64_t key);
const char *kept_type(const struct kept_stream *s);
/* From that event on, or from the next one if that is nearer.  A reader that it had is ended. */
void kept_attach(struct kept_stream *s, uint32_t from, const struct kept_reader *r);
void kept_pump(struct kept_stream *s);
void kept_detach(struct kept_stream *s);
/* Its reader gets what is left, and it is forgotten. */
void kept_cancel(struct kept_stream *s);

#endif
