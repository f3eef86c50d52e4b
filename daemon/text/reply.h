/* reply: what a model writes, taken apart as it streams: its reasoning, its text, and calls of tools.
 *
 * Owns: the parsers of the formats that a model has, one behind the other.  Nothing is lost but the marks and the white space
 * around them: what cannot be taken apart is text.  What comes with TEXT_STREAM_SPELLED in it (stream.h) is
 * no mark, but text without that byte.
 * One thread at a time for each stream. */
#ifndef DAEMON_TEXT_REPLY_H
#define DAEMON_TEXT_REPLY_H
#include "daemon/text/reasoning.h"
#include "daemon/text/toolcall.h"

struct reply_format {
	enum reasoning_format reasoning;
	bool open;                  /* the prompt begins the reasoning */
	enum toolcall_format calls; /* TOOLCALL_NONE: none are looked for */
	json_t *tools;              /* as toolcall_create has them */
};

/* Each returns false to stop, when out of memory. */
struct reply_sink {
	bool (*reasoning)(void *arg, const char *text, size_t len);
	bool (*text)(void *arg, const char *text, size_t len);
	bool (*call)(void *arg, const struct tool_call *call);
	void *arg;
};

struct reply_stream;

/* Whether there is anything to look for: without, an answer is its text. */
static inline bool reply_needed(const struct reply_format *f) {
	return f->reasoning != REASONING_NONE || f->calls != TOOLCALL_NONE;
}
struct reply_stream *reply_create(const struct reply_format *f); /* NULL: out of memory */
void reply_destroy(struct reply_stream *s);                      /* NULL allowed */
/* false: out of memory, or a function of the sink returned false. */
bool reply_push(struct reply_stream *s, const char *text, size_t len, const struct reply_sink *sink);
bool reply_finish(struct reply_stream *s, const struct reply_sink *sink);

#endif
