/* reasoning: splits what a model that thinks writes into its reasoning and what comes behind it, as it streams.
 *
 * Owns: the text that may yet turn out to be a mark, and white space around the marks, which is left out.  An answer begins with its
 * reasoning or has none; marks that come later are text.  Nothing else is lost or reordered, and the result does not depend on how
 * the text was split.
 * One thread at a time for each stream. */
#ifndef DAEMON_TEXT_REASONING_H
#define DAEMON_TEXT_REASONING_H
#include <stdbool.h>
#include <stddef.h>

enum reasoning_format {
	REASONING_NONE,
	REASONING_THINK,   /* <think>...</think>: DeepSeek, Qwen 3 and most others */
	REASONING_MISTRAL, /* [THINK]...[/THINK] */
	REASONING_HARMONY  /* channels of gpt-oss, with calls among them: daemon/text/harmony.h */
};

/* How it is written. */
struct reasoning_syntax {
	const char *name;        /* of the format */
	const char *begin, *end; /* marks */
	const char *next;        /* what follows the end mark before an answer, or "" */
	const char *answer;      /* what an answer begins with, or "" */
};

/* Each returns false to stop. */
struct reasoning_sink {
	bool (*reasoning)(void *arg, const char *text, size_t len);
	bool (*text)(void *arg, const char *text, size_t len);
	void *arg;
};

struct reasoning_stream;

/* The format in which a chat template has its model write reasoning. */
enum reasoning_format reasoning_format_of(const char *chat_template);
/* Of a format; not of REASONING_NONE. */
const struct reasoning_syntax *reasoning_syntax(enum reasoning_format format);
/* The format of this name; REASONING_NONE if none. */
enum reasoning_format reasoning_format_find(const char *name);

/* What the end of a prompt says about the answer's reasoning. */
enum reasoning_at {
	REASONING_MAY_BEGIN, /* nothing */
	REASONING_IS_OPEN,   /* the prompt begins it */
	REASONING_IS_OVER    /* the prompt ends it */
};
enum reasoning_at reasoning_at(enum reasoning_format format, const char *prompt, size_t len);

/* THINK or MISTRAL.  open: the prompt begins the reasoning.  NULL: out of memory. */
struct reasoning_stream *reasoning_create(enum reasoning_format format, bool open);
void reasoning_destroy(struct reasoning_stream *s); /* NULL allowed */
/* false: out of memory, or a function of the sink returned false. */
bool reasoning_push(
        struct reasoning_stream *s, const char *text, size_t len, const struct reasoning_sink *sink);
bool reasoning_finish(struct reasoning_stream *s, const struct reasoning_sink *sink);

#endif
