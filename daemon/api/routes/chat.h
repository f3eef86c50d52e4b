/* chat: renders a conversation as a prompt, with the chat template of its model.
 *
 * Owns: the conversation in one form for all dialects: messages as {role, content, tool_calls, tool_call_id,
 * name}, with content as a string; the reasoning of earlier answers under the names that templates have for it, reasoning_content
 * and thinking; tools as in OpenAI's API.
 * Control tokens are recognised only in what the template wrote itself; what the client sent is text,
 * whatever it contains.
 * Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_CHAT_H
#define DAEMON_API_ROUTES_CHAT_H
#include "daemon/api/routes/prompt.h"

struct chat {
	json_t *messages;   /* an array; owned */
	json_t *tools;      /* an array, or NULL: none; owned */
	json_t *extra;      /* additional variables for the template, or NULL; owned */
	bool prefill;       /* a last message of the assistant is continued */
	const char *source; /* the template's text, borrowed; NULL: the model's */
	/* what tool_choice says */
	bool no_call, must_call;
	const json_t
	        *allowed; /* array of the tools that may be called; borrowed from the request; NULL: all */
	const char *tool; /* the one to call, of must_call; borrowed from the request; NULL: any */
	bool one_call;    /* at most one call */
	/* how much it is to think */
	enum chat_think { CHAT_THINK_AS_USUAL, CHAT_THINK_NOT, CHAT_THINK } think;
	const char *effort; /* for templates that know one; NULL: not given */
	const char *
	        think_param; /* the field that asks for thinking; NULL: none, or models that cannot may ignore it */
};

void chat_clear(struct chat *c);

/* The text of a content: a string, or an array of parts, of which those of type text (or input_text) are
 * joined by newlines.  A new reference; NULL: an error, also for a part without text.  Absent: "". */
json_t *chat_content(struct fields *f, const json_t *content, const char *name);
/* Appends a message, with `content` replaced by its text.  o: as in OpenAI's API. */
void chat_add(struct chat *c, struct fields *f, const json_t *o);
void chat_add_text(struct chat *c, struct fields *f, const char *role,
        json_t *content); /* takes the reference to content */
/* OpenAI's tool_choice: none, auto, required, a function: {type, function: {name}}, or {type, name} of responses, or
 * {type: allowed_tools, mode, tools}, of chat completions within an object of this name. */
void chat_read_choice(struct chat *c, struct fields *f);
/* Leaves only those tools that may be called: the model is not told of others. */
void chat_keep_allowed(struct chat *c, struct fields *f);
/* An effort as OpenAI has it: none, minimal, low, medium, high, xhigh; NULL: not given. */
void chat_read_effort(struct chat *c, struct fields *f, const char *effort, const char *param);
/* Reads `messages` of a request. */
void chat_read_messages(struct chat *c, struct fields *f);
/* The same, its `tool_choice`, and its `tools` unless that is none. */
void chat_read(struct chat *c, struct fields *f);

/* Whether a model's template supports tools. */
bool chat_takes_tools(const struct model_facts *m);
/* Whether its answers may begin with reasoning. */
bool chat_thinks(const struct model_facts *m);
/* The template's text. */
const char *chat_template_of(const struct model_facts *m);

/* Renders the prompt, and sets what to look for in the answer; errors go to f. */
void chat_render(const struct chat *c, const struct model_entry *m, struct prompt *q, struct fields *f);

#endif
