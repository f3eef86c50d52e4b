/* request: a prompt on its way through the cluster, at the node that a client talks to (the gateway).
 *
 * Owns: the token log of each request, its tokenizer stream, and its submission to the coordinator (often
 * this node).  The path of a prompt: encode → submit → [schedule → embed → stages → head → sample at the
 * coordinator: coordinator/coordinator.c] → decode.  The log stays here, so that a request can be submitted
 * again.
 * Invariant: only the token of the next position is accepted.
 * Threads: the loop. */
#ifndef DAEMON_SERVE_GATEWAY_REQUEST_H
#define DAEMON_SERVE_GATEWAY_REQUEST_H
#include "daemon/deploy/deploy.h"
#include "daemon/text/logprobs.h"
#include "daemon/text/stream.h"
#include "daemon/text/tokenizer.h"

struct request;
struct requests;
struct sampler_bias;
struct tokenizers;

struct request_params {
	const char *model; /* NULL or empty: the only one that is ready */
	const char *text;  /* the prompt, or NULL for ids */
	size_t len;
	bool special;                   /* special tokens in the text are recognised */
	const struct token_span *spans; /* or only within these parts of it: tokenizer_encode_spans */
	size_t nspans;
	bool names;          /* control tokens in the answer print their names, */
	bool apart;          /* and what other tokens spell alike is told apart (TEXT_STREAM_APART) */
	const uint32_t *ids; /* the prompt as tokens; with a text as well: its tokens, encoded already */
	size_t nids;
	bool logits;
	bool embedding;        /* of the whole text: nothing is generated */
	bool logprobs;         /* of the answer's tokens: the event `token` */
	uint32_t top_logprobs; /* and of so many of the most likely ones, at most WIRE_TOP_LOGPROBS_MAX */
	uint64_t client;       /* clients get places in turn */
	uint32_t limit;        /* tokens to generate; 0: up to the context size */
	bool ignore_end; /* an answer ends there, or where its grammar ends, but not by a token that ends a text */
	Caravan__Sampling sampling;
	const Caravan__Grammar *grammar; /* what the answer must be; NULL: any text */
	const struct sampler_bias *bias;
	size_t nbias;
	const struct text_stop *stops;
	size_t nstops;
};

struct request_events {
	/* It waits for a place, 1 is next; seconds: estimated, 0 when unknown.  Called again when these
	 * change. */
	void (*queued)(void *arg, uint32_t place, double seconds);
	/* Progress of a long prompt: tokens computed so far. */
	void (*prompt)(void *arg, uint64_t done, uint64_t total);
	/* A token, directly before the text in which it begins (or, without text of its own, before later text or the end); only if
	 * log-probabilities were asked for.  Borrowed.  The request must not be cancelled in it.  NULL allowed. */
	void (*token)(void *arg, const struct token_logprobs *t);
	void (*text)(void *arg, const char *text, size_t len);
	void (*logits)(void *arg, uint32_t position, uint32_t rows, uint32_t vocab, struct payload *data);
	/* NULL allowed where none is asked for.  A payload of dim floats, before `end`. */
	void (*embedding)(void *arg, uint32_t dim, struct payload *data);
	/* NULL allowed.  Refused because too many requests wait: try again after this many seconds.  `end`
	 * follows. */
	void (*busy)(void *arg, uint32_t seconds);
	/* Called once, as the last event: error NULL, or a sentence.  The request is freed after it. */
	void (*end)(void *arg, const Caravan__Finished *fin, const char *error);
	void *arg;
};

/* 0, or a negative errno with a sentence in err (and no event). */
int request_start(struct request **out, struct requests *rs, const struct request_params *p,
        const struct request_events *ev, char *err, size_t errlen);
/* The client has taken `rows` rows of logits in total; computing continues as it takes them, REQUEST_LOGITS
 * bytes ahead. */
#define REQUEST_LOGITS (16u << 20)
void request_logits_taken(struct request *r, uint32_t rows);
/* The number of prompt tokens. */
uint32_t request_prompt(const struct request *r);
/* Ends a request for text: what text is left, then `end` with the reason CANCELLED. */
void request_finish(struct request *r);
/* No event is sent after it. */
void request_cancel(struct request *r);

/* The tokenizer of a model; NULL with a sentence in err (for example when its vocabulary has not arrived
 * yet). */
const struct tokenizer *request_tokenizer(
        struct requests *rs, const struct deploy_model *m, char *err, size_t errlen);

/* All borrowed.  0, -ENOMEM, or as peers_on.  No request starts before requests_attach. */
int requests_create(struct requests **out, struct loop *l, struct members *m, struct tokenizers *ts);
void requests_attach(struct requests *rs, struct deploy *d);
void requests_destroy(struct requests *rs); /* NULL allowed; requests end without events */
/* End the requests of a coordinator that was lost, or of a model that was removed. */
void requests_coordinator_lost(struct requests *rs, const struct node_id *node, const char *why);
void requests_model_gone(struct requests *rs, const char *model, const char *why);

#endif
