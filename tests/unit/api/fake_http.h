/* fake_http: what stands in for the HTTP server and for completions, so that the routes run alone: a request is a path and a body,
 * and the test says what the model does. */
#ifndef TESTS_UNIT_API_FAKE_HTTP_H
#define TESTS_UNIT_API_FAKE_HTTP_H
#include "daemon/api/routes/routes.h"
#include "daemon/text/sampler.h"

struct http_exchange {
	const char *path, *rest, *body;
	size_t len;
	enum http_method method;
	const char *resume, *last_event, *from; /* of its headers and query; NULL: absent */
	uint64_t key;
	bool slow; /* its client reads when fake_written says so */
	/* the answer */
	int status;
	char type[64], retry_after[16], stream_id[KEPT_ID], resumes[16];
	char *out; /* NUL-terminated */
	size_t outlen;
	bool streaming, ended, cut;
	size_t unwritten;
	void (*written)(void *arg);
	void *written_arg;
	void (*closed)(void *arg);
	void *closed_arg;
};

/* What was asked for last; its events are the test's to make. */
#define FAKE_EACH 16
struct fake_completion {
	struct completion_params p;                /* pointers are dangling but for those below */
	char *text, *grammar;                      /* NULL: none */
	struct sampler_bias bias[WIRE_BIASES_MAX]; /* p.nbias of them */
	struct token_span spans[16];               /* the first of p.nspans */
	struct completion_events ev;
	unsigned started, released;
	/* the first of them: their events, texts, and first two token ids */
	struct completion_events each[FAKE_EACH];
	char each_text[FAKE_EACH][40];
	uint32_t each_ids[FAKE_EACH][2];
};
extern struct fake_completion fake;

/* A model "m" with this chat template. */
void fake_begin(const char *chat_template);
void fake_end(void);
struct model_entry *fake_model(void);
/* The text of one of its tokens for fill in the middle; it has none at first. */
void fake_fim(enum vocab_fim which, const char *token);
#define FAKE_RESUME 60
#define FAKE_NODE "0123456789ab"
extern struct kept_limits fake_limits; /* for fake_begin */
struct routes *fake_routes(void);
/* Runs the handler of a route; the exchange is the caller's until fake_done. */
void fake_ask(
        struct http_exchange *x, enum http_method method, const char *path, const char *body, size_t len);
/* The same of an exchange that the test has filled in. */
void fake_ask_again(struct http_exchange *x);
void fake_written(struct http_exchange *x); /* its client has read everything */
void fake_done(struct http_exchange *x);
/* Those who look at the cluster are told this; NULL: that it has been long enough. */
void fake_report(const char *json);
void fake_event(const char *json);
extern unsigned fake_looks;   /* of them now */
extern int fake_look_refused; /* what live_watch says; 0: it begins */
/* Events of choice 0. */
void fake_text(const char *text);
void fake_finish(Caravan__Reason reason);
void fake_fail(int status, const char *text);
/* The nth completion ends with an embedding of FAKE_DIM floats, of a prompt of 20 tokens; NULL: without one. */
#define FAKE_DIM 3
void fake_embed(unsigned n, const float *embedding);

#endif
