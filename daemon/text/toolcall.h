/* toolcall: finds tool calls in the text that a model writes, as it streams, in the formats of the model
 * families that have them.
 *
 * Owns: the text that may yet turn out to be a call.  What does not parse as a call is text; nothing is lost
 * or reordered, and the result does not depend on how the text was split.
 * One thread at a time for each stream. */
#ifndef DAEMON_TEXT_TOOLCALL_H
#define DAEMON_TEXT_TOOLCALL_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

enum toolcall_format {
	TOOLCALL_NONE,
	TOOLCALL_LLAMA3, /* the whole answer is {"name":...,"parameters":{...}}, several in a row or separated
	                  * by ';', optionally after <|python_tag|> */
	TOOLCALL_HERMES, /* <tool_call>{"name":...,"arguments":{...}}</tool_call>, anywhere; Qwen's as well; and, as Qwen 3
	                  * Coder, 3.5 and later write it, <tool_call><function=NAME><parameter=P>VALUE</parameter>...</function></tool_call> */
	TOOLCALL_MISTRAL,      /* [TOOL_CALLS][{"name":...,"arguments":{...}}, ...], or what follows */
	TOOLCALL_MISTRAL_ARGS, /* [TOOL_CALLS]NAME[ARGS]{...}, one or more times, or what is above */
	TOOLCALL_HARMONY,      /* gpt-oss: daemon/text/harmony.h, not a toolcall_stream */
	TOOLCALL_PHI4, /* <|tool_call|>[{"name":...,"arguments":{...}}, ...]<|/tool_call|>, anywhere: Phi 4 mini's */
	TOOLCALL_KIMI /* <|tool_calls_section_begin|>, for each call <|tool_call_begin|>functions.NAME:0<|tool_call_argument_begin|>{...}
	               * <|tool_call_end|>, then <|tool_calls_section_end|>: Kimi K2's */
};

/* How calls are written. */
struct toolcall_syntax {
	const char *name;       /* of the format */
	const char *mark, *end; /* end NULL: the call lasts until the end of the answer */
	bool bare;              /* an answer that begins with '{' is a call as well */
};

struct tool_call {
	const char *name;
	const char *arguments; /* a JSON object, as text */
};

/* Each returns false to stop parsing, when out of memory. */
struct toolcall_sink {
	bool (*text)(void *arg, const char *text, size_t len);
	bool (*call)(void *arg, const struct tool_call *call);
	void *arg;
};

struct toolcall_stream;

/* Whether the format's templates have tools as the text of a system message's `tools`. */
bool toolcall_has_tools_in_message(enum toolcall_format format);
/* The format in which a chat template has its model write calls. */
enum toolcall_format toolcall_format_of(const char *chat_template);
/* Of a format; not of TOOLCALL_NONE. */
const struct toolcall_syntax *toolcall_syntax(enum toolcall_format format);
/* The format of this name; TOOLCALL_NONE if none. */
enum toolcall_format toolcall_format_find(const char *name);

/* Not TOOLCALL_NONE or TOOLCALL_HARMONY.  tools: an array as OpenAI has it, of which a reference is kept, or NULL; their schemas say
 * which values that are written without quotes are strings.  NULL: out of memory. */
struct toolcall_stream *toolcall_create(enum toolcall_format format, json_t *tools);
void toolcall_destroy(struct toolcall_stream *s); /* NULL allowed */
/* false: out of memory, or a function of the sink returned false. */
bool toolcall_push(struct toolcall_stream *s, const char *text, size_t len, const struct toolcall_sink *sink);
bool toolcall_finish(struct toolcall_stream *s, const struct toolcall_sink *sink);

#endif
