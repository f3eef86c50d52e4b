/* completion: a prompt that a client of the HTTP API asks to have completed, whatever dialect it speaks: the bridge between the
 * thread of the HTTP server and the loop.
 *
 * Owns: completions from completion_start to the last of their events, and the snapshot of the models that handlers read.
 * How the two threads share a completion: each has fields of its own, and they only post to each other.  To the loop goes one
 * message when it begins and one, the last, when the HTTP side has done with it: then what still runs of it is cancelled.  From
 * the loop come its events and, in answer to that last message, the one that frees it.  Posts of one thread keep their order, so
 * neither side ever sees a completion that the other has freed, and a client that goes stops its sequences as soon as the
 * loop turns.
 * Back-pressure: a completion posts a message for each token, and has at most as many as the context has positions; a client that
 * does not read is the HTTP server's to disconnect.
 * Threads: as each function says. */
#ifndef DAEMON_API_COMPLETION_H
#define DAEMON_API_COMPLETION_H
#include "daemon/api/model_list.h"
#include "daemon/serve/gateway/request.h"

#define COMPLETION_CHOICES_MAX 16

struct completions;
struct completion;

struct completion_params {
	const char *model; /* the cluster's name of it */
	const char *text;  /* the prompt, or NULL for ids */
	size_t len;
	bool special, names;
	const struct token_span *spans; /* as in struct request_params */
	size_t nspans;
	const uint32_t *ids;
	size_t nids;
	uint64_t client;
	uint32_t limit;   /* of tokens; 0: up to the context */
	uint32_t choices; /* 1 to COMPLETION_CHOICES_MAX; the seed of each is one more than the one before */
	Caravan__Sampling sampling;
	const struct text_stop *stops;
	size_t nstops;
};

/* What is wrong, as an HTTP status says it. */
struct completion_error {
	int status;           /* 0: nothing */
	uint32_t retry_after; /* seconds, with 429 and 503 */
	bool too_long;        /* the prompt does not fit the context */
	char text[WIRE_TEXT_MAX + 1];
};

struct completion_end {
	struct completion_error error;
	Caravan__Reason reason;
	uint32_t stop;                      /* of the stop texts that was found, from 1; 0: none */
	uint32_t prompt, cached, generated; /* tokens */
	double prompt_seconds, generate_seconds;
};

/* On the HTTP thread, never within completion_start; none after completion_release. */
struct completion_events {
	/* Its prompt has so many tokens.  It may be refused yet.  NULL allowed. */
	void (*prompt)(void *arg, unsigned choice, uint32_t tokens);
	/* It has been accepted and has no text yet: it waits (place, 1 is next) or its prompt is computed (done of total tokens). */
	void (*waiting)(
	        void *arg, unsigned choice, uint32_t place, uint64_t done, uint64_t total); /* NULL allowed */
	void (*text)(void *arg, unsigned choice, const char *text, size_t len);
	void (*end)(void *arg, unsigned choice, const struct completion_end *end); /* once for each choice */
	void *arg;
};

/* Loop thread.  Borrowed: all. */
int completions_create(struct completions **out, struct loop *loop, struct serve *s);
/* The loop of the HTTP server, which has been started; handlers may run before that, and find no models. */
int completions_attach(struct completions *cs, struct loop *http);
/* When models have changed. */
void completions_models_changed(struct completions *cs); /* NULL allowed */
/* When the HTTP server has been destroyed: cancels what runs.  What the loop's mailbox still has of completions is freed with the
 * loop, and so are the completions themselves; serve may go. */
void completions_destroy(struct completions *cs); /* NULL allowed */

/* HTTP thread.  NULL until the node has started; borrowed until the next turn of the thread's loop. */
const struct model_list *completions_models(const struct completions *cs);

/* HTTP thread.  What is borrowed need only live until it returns.  0 or -ENOMEM. */
int completion_start(struct completion **out, struct completions *cs, const struct completion_params *p,
        const struct completion_events *ev);
/* HTTP thread; once, after the last end or before it, which cancels.  NULL allowed. */
void completion_release(struct completion *c);

/* HTTP thread: a text as tokens, or tokens as text.  done is called once on the HTTP thread, later, with ids or text and 0, or with
 * an error; the arg of one that is not wanted any more is dropped with completion_convert_drop. */
struct completion_conversion {
	const char *model;
	const char *text; /* or NULL: ids */
	size_t len;
	const struct token_span *spans;
	size_t nspans;
	bool bos, special;
	const uint32_t *ids;
	size_t nids;
	void (*done)(void *arg, const uint32_t *ids, size_t nids, const char *text, size_t len,
	        const struct completion_error *error);
	void *arg;
};
struct conversion;
struct conversion *completion_convert(
        struct completions *cs, const struct completion_conversion *p); /* NULL: no memory */
void completion_convert_drop(struct conversion *v);

#endif
