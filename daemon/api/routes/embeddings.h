/* embeddings: the embeddings of a request's texts, for OpenAI's and Ollama's routes.
 *
 * Owns: the texts, the vectors so far, and the exchange until it has been answered.  Each text is a completion of its own; a few run
 * at once, so that a request with many does not fill the model's queue.  The first error ends all.
 * Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_EMBEDDINGS_H
#define DAEMON_API_ROUTES_EMBEDDINGS_H
#include "daemon/api/routes/answer.h"

#define EMBEDDINGS_TEXTS_MAX 2048         /* of a request */
#define EMBEDDINGS_NUMBERS_MAX (1u << 20) /* in an answer */
#define EMBEDDINGS_BASE64_MAX (4u << 20)  /* the same, as base64 */
#define EMBEDDINGS_AT_ONCE 4

struct embeddings_text {
	struct embeddings *all;
	struct completion *completion; /* NULL: none runs */
	size_t index;
	bool has; /* its vector */
};

struct embeddings {
	struct http_exchange *x;
	struct routes *routes;
	const struct dialect *dialect;                /* of errors */
	json_t *(*whole)(const struct embeddings *e); /* the answer */
	char name[WIRE_NAME_MAX + 1];                 /* the model's, in the cluster */
	char model[128], fingerprint[24];             /* as in struct answer */
	json_t *input;                                /* an array of strings and arrays of token ids; owned */
	size_t n, started, ended;                     /* texts */
	bool base64;
	bool cut; /* texts longer than the context are cut to it */
	uint32_t dim;
	float *vector;             /* [n][dim] */
	uint64_t begun_ns, prompt; /* tokens */
	struct embeddings_text text[EMBEDDINGS_AT_ONCE];
};

/* named: the model's name in the request, or NULL.  NULL: an error has been answered. */
struct embeddings *embeddings_create(struct http_exchange *x, struct routes *r, const struct dialect *d,
        const struct model_entry *m, const char *named);
/* Reads the texts: a string, an array of token ids, or an array of these; none if the field is absent or "".  Also `dimensions`,
 * which must be the model's. */
void embeddings_read(struct embeddings *e, struct fields *f, const char *name);
/* Starts the completions; the rest is events. */
void embeddings_start(struct embeddings *e);
void embeddings_destroy(struct embeddings *e); /* NULL allowed; one that has not been started */

/* The vector of a text: an array of numbers, or a string of base64 of its float32, little-endian. */
json_t *embeddings_vector_json(const struct embeddings *e, size_t i);

#endif
