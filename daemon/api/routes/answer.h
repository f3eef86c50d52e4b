/* answer: an answer to a client, in any dialect: it connects an exchange of the HTTP server with a
 * completion.
 *
 * Owns: the completion, the text so far, and the exchange until it has been answered.  A dialect determines
 * the format.  A streamed answer begins when its prompt has been accepted, so that earlier errors have an
 * HTTP status; later ones are an event of the stream.  If the client goes, its completion is cancelled; but a stream
 * whose client asked for it (X-Resume) is kept (daemon/api/streams/kept.h) and goes on for some time.
 * Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_ANSWER_H
#define DAEMON_API_ROUTES_ANSWER_H
#include "daemon/api/routes/answer_tokens.h"
#include "daemon/api/routes/fields.h"
#include "daemon/api/routes/routes.h"
#include "daemon/text/held.h"
#include "daemon/text/reply.h"

struct answer;

struct reply_error {
	int status;
	uint32_t retry_after;     /* seconds; 0: not sent */
	const char *code, *param; /* NULL: derived from the status; none */
	const char *text;
};

struct dialect {
	enum metrics_api api;
	const char *type; /* content type of a stream */
	json_t *(*error)(const struct reply_error *e);
	/* A streamed answer: it begins; text of a choice; a tool call; a choice has ended; all have. */
	void (*open)(struct answer *a);
	/* The client asked for its progress: it waits (place, 1 is next), or done of total tokens of its prompt are
	 * computed.  NULL: the dialect does not say. */
	void (*waiting)(struct answer *a, unsigned choice, uint32_t place, uint64_t done, uint64_t total);
	void (*text)(struct answer *a, unsigned choice, const char *text, size_t len);
	/* NULL: the dialect's answers have none. */
	void (*reasoning)(struct answer *a, unsigned choice, const char *text, size_t len);
	void (*call)(struct answer *a, unsigned choice, const struct tool_call *call); /* NULL: it has none */
	void (*end)(struct answer *a, unsigned choice);
	void (*done)(struct answer *a);
	/* An error in the middle of a stream; done is not called after it. */
	void (*broken)(struct answer *a, json_t *error);
	/* An answer that is not streamed is made of the same items: text, reasoning and end are called for it too, and send nothing. */
	bool by_items;
	/* The answer, when it is not streamed. */
	json_t *(*whole)(struct answer *a);
	bool text_tokens; /* log-probabilities are those of the text alone, without reasoning and calls */
};

#define ANSWER_ID_SHORT \
	24 /* characters of its id in those of its parts: some clients accept no more than 40 */

struct answer_choice {
	char *text; /* what is not a call of a tool; of a streamed answer, what the dialect keeps */
	size_t len, room;
	struct held reasoning; /* of an answer that is not streamed, and what the dialect keeps */
	json_t *calls;         /* in the dialect's own form; an array, or NULL; of responses, all items */
	unsigned ncalls;
	struct reply_stream *parser; /* NULL: all of it is text */
	struct answer_tokens tokens; /* that have not been sent, if log-probabilities are wanted */
	struct text_place place;     /* where the next text begins; of completions */
	bool ended;
	uint64_t text_ns; /* when its last text came; 0: none has */
	struct completion_end end;
};

struct answer {
	struct http_exchange *x;
	struct routes *routes;
	const struct dialect *dialect;
	struct completion *completion;
	struct kept_stream *kept; /* NULL: it is not kept; once it has begun, x is its reader's */
	unsigned resume;          /* seconds that it may go on without its client */
	bool stream, opened;
	bool usage;    /* a stream ends with its usage */
	bool progress; /* a stream says what it waits for */
	bool chat;     /* OpenAI's: chat completions; Ollama's: chat */
	bool one_call; /* ignore tool calls after the first */
	bool logprobs; /* the answer has those of its tokens */
	char id[KEPT_ID], model[128], fingerprint[24];
	int64_t created;   /* Unix time */
	bool texts;        /* some has come, of any choice */
	bool lost;         /* some text, for want of memory; not of a stream */
	bool thought;      /* there was reasoning */
	uint64_t begun_ns; /* for durations */
	uint32_t prompt;   /* tokens; 0: unknown yet */
	unsigned choices, ended;
	char *stops[WIRE_STOPS_MAX]; /* owned: the stop texts, for dialects that report which was found */
	json_t *tool_choice;         /* of responses: as asked for, or NULL; owned */
	unsigned sequence;           /* of responses: events so far */
	uint32_t limit;              /* of responses: tokens as asked for; 0: none was */
	unsigned block; /* Anthropic's: the number of the open content block, from 1; 0: none yet */
	enum { BLOCK_NONE, BLOCK_TEXT, BLOCK_REASONING, BLOCK_CALL } block_kind;
	struct answer_choice choice[COMPLETION_CHOICES_MAX];
};

/* Answers with an error at once. */
void answer_error(struct http_exchange *x, const struct dialect *d, const struct reply_error *e);
/* The same for an error of a completion. */
void answer_completion_error(
        struct http_exchange *x, const struct dialect *d, const struct completion_error *e);
/* What a request needs a model for; refused completions and embeddings are counted. */
enum answer_need { NEED_LISTED, NEED_SERVING, NEED_COMPLETION, NEED_EMBEDDINGS };
void answer_refuse(struct http_exchange *x, struct routes *r, const struct dialect *d, enum answer_need need,
        const struct reply_error *e);
/* The same for an error in a request's fields. */
void answer_fields_error(struct http_exchange *x, struct routes *r, const struct dialect *d,
        const struct fields *f, enum answer_need need);

/* The model that a request names; NULL: an error has been answered.  That it does not serve is an
 * error too, unless it need only be listed. */
const struct model_entry *answer_model(struct http_exchange *x, struct routes *r, const struct dialect *d,
        const char *name, enum answer_need need);

/* Creates one; NULL: an error has been answered.  prefix: of its id.  named: the model's name in the request,
 * or NULL. */
struct answer *answer_create(struct http_exchange *x, struct routes *r, const struct dialect *d,
        const struct model_entry *m, const char *named, const char *prefix);
/* Starts the completion; the rest is events.  f: what to look for in the text; NULL: nothing. */
void answer_start(struct answer *a, const struct completion_params *p, const struct reply_format *f);
void answer_destroy(struct answer *a); /* an answer that has not been started */

/* Appends to the text of a choice; false: no memory. */
bool answer_keep(struct answer *a, unsigned choice, const char *text, size_t len);

/* For dialects: sends an event of a text/event-stream (event NULL: unnamed), or a line of JSON.  Takes the
 * reference to o. */
void answer_send_event(struct answer *a, const char *event, json_t *o);
void answer_send_line(struct answer *a, json_t *o);
void answer_send_text(struct answer *a, const char *text);

/* Sums over the choices. */
struct answer_usage {
	uint64_t prompt, cached, generated;
};
struct answer_usage answer_usage(const struct answer *a);
/* Maps the reason to a word: the end of the text or a stop text, a limit, or tool calls. */
const char *answer_reason(
        const struct answer *a, unsigned choice, const char *stop, const char *length, const char *calls);
/* Text as a JSON string; invalid UTF-8 is replaced. */
json_t *answer_string(const char *s, size_t len);

#endif
