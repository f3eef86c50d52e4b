/* completion: a client's prompt to complete, whatever the API dialect: the bridge between the thread of the
 * HTTP server and the loop.
 *
 * Owns: completions from completion_start to their last event, the executors that turn their texts to tokens,
 * and the snapshot of the models that handlers read.
 * The two threads share a completion as a crossing (crossing.h): when a client goes, its sequences stop on the loop's next
 * turn.
 * Backpressure: a completion posts a message for each token, so at most as many as the context has positions;
 * the HTTP server disconnects a client that does not read.
 * Threads: see each function. */
#ifndef DAEMON_API_COMPLETION_H
#define DAEMON_API_COMPLETION_H
#include "daemon/api/model_list.h"
#include "daemon/serve/gateway/request.h"

#define COMPLETION_CHOICES_MAX 16
#define COMPLETION_TEXT_MAX ((size_t)4 << 20) /* bytes of a prompt */

struct completions;
struct completion;

struct completion_params {
	const char *model; /* its name in the cluster */
	const char *text;  /* the prompt, or NULL for ids */
	size_t len;
	bool special, names, apart;
	const struct token_span *spans; /* as in struct request_params */
	size_t nspans;
	const uint32_t *ids;
	size_t nids;
	uint64_t client;
	bool embedding;   /* of the prompt: nothing is generated, and there is one choice */
	bool cut;         /* a prompt longer than the context is cut to it; of embeddings */
	uint32_t limit;   /* tokens to generate; 0: up to the context size */
	bool ignore_end;  /* as in struct request_params */
	uint32_t choices; /* 1 to COMPLETION_CHOICES_MAX; each has a seed one higher than the one before */
	Caravan__Sampling sampling;
	const char *grammar; /* what the answer must be, in this language; NULL: any text */
	Caravan__Grammar__Language language;
	const char *
	        reasoning; /* the format of the reasoning before it (daemon/text/reasoning.h); static; NULL: none */
	bool reasoning_open; /* the prompt begins it */
	const struct sampler_bias *bias;
	size_t nbias;
	bool logprobs; /* as in struct request_params, for the event `token` */
	uint32_t top_logprobs;
	const struct text_stop *stops;
	size_t nstops;
};

/* An error, with its HTTP status. */
struct completion_error {
	int status;           /* 0: no error */
	uint32_t retry_after; /* seconds, with 429 and 503 */
	bool too_long;        /* the prompt does not fit the context */
	char text[WIRE_TEXT_MAX + 1];
};

struct completion_end {
	struct completion_error error;
	Caravan__Reason reason;
	uint32_t stop;                      /* the stop text that was found, from 1; 0: none */
	uint32_t prompt, cached, generated; /* tokens */
	double prompt_seconds, generate_seconds;
};

/* Called on the HTTP thread, never within completion_start, nor after completion_release. */
struct completion_events {
	/* The number of tokens of its prompt.  It may still be refused.  NULL allowed. */
	void (*prompt)(void *arg, unsigned choice, uint32_t tokens);
	/* It has been accepted and has no text yet: it waits (place, 1 is next), or its prompt is being
	 * computed (done of total tokens). */
	void (*waiting)(
	        void *arg, unsigned choice, uint32_t place, uint64_t done, uint64_t total); /* NULL allowed */
	/* As in struct request_events; borrowed.  NULL allowed. */
	void (*token)(void *arg, unsigned choice, const struct token_logprobs *t);
	void (*text)(void *arg, unsigned choice, const char *text, size_t len);
	/* Before the end; NULL allowed where none is asked for.  dim float32, not aligned. */
	void (*embedding)(void *arg, const void *floats, size_t dim);
	void (*end)(void *arg, unsigned choice, const struct completion_end *end); /* once for each choice */
	void *arg;
};

/* Loop thread.  All borrowed. */
int completions_create(struct completions **out, struct loop *loop, struct serve *s);
/* Sets the loop of the HTTP server, which has started; handlers may run before that, and find no models. */
int completions_attach(struct completions *cs, struct loop *http);
/* Call when models have changed. */
void completions_models_changed(struct completions *cs); /* NULL allowed */
/* Call when the HTTP server has been destroyed: cancels what runs.  Messages about completions in the loop's
 * mailbox, and the completions themselves, are freed with the loop; serve may be destroyed before that. */
void completions_destroy(struct completions *cs); /* NULL allowed */

/* HTTP thread.  NULL until the node has started; borrowed until the next turn of the thread's loop. */
const struct model_list *completions_models(const struct completions *cs);

/* HTTP thread.  Borrowed data is needed only until it returns.  0 or -ENOMEM. */
int completion_start(struct completion **out, struct completions *cs, const struct completion_params *p,
        const struct completion_events *ev);
/* HTTP thread; once, after the last end, or before it to cancel.  NULL allowed. */
void completion_release(struct completion *c);

/* HTTP thread: converts a text to tokens, or tokens to text.  done is called once, later, on the HTTP thread,
 * with ids or text and 0, or with an error; completion_convert_drop cancels that. */
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
        struct completions *cs, const struct completion_conversion *p); /* NULL: out of memory */
void completion_convert_drop(struct conversion *v);

#endif
