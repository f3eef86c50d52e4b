/* chat: a conversation as the prompt that its model's chat template makes of it.
 *
 * Owns: the conversation in one form for all dialects: messages as {role, content, tool_calls, tool_call_id, name}, with content as a
 * string; tools as OpenAI writes them.
 * What a template wrote itself is where control tokens count in the prompt; what came from the client is text, whatever it spells.
 * Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_CHAT_H
#define DAEMON_API_ROUTES_CHAT_H
#include "daemon/api/routes/prompt.h"

struct chat {
	json_t *messages; /* an array; owned */
	json_t *tools;    /* an array, or NULL: none; owned */
	json_t *extra;    /* further variables of the template, or NULL; owned */
	bool prefill;     /* a last message of the assistant is continued */
};

void chat_clear(struct chat *c);

/* The text of a content: a string, or an array of parts, of which those of type text (or input_text) count, joined by line ends.  A
 * new reference; NULL: an error, that of a part which is no text among them.  Absent: "". */
json_t *chat_content(struct fields *f, const json_t *content, const char *name);
/* Appends a message of which `content` is replaced by its text.  o: as OpenAI has it. */
void chat_add(struct chat *c, struct fields *f, const json_t *o);
void chat_add_text(struct chat *c, struct fields *f, const char *role,
        json_t *content); /* content's reference is taken */
/* `messages` of a request, and its `tools` unless `tool_choice` is none. */
void chat_read(struct chat *c, struct fields *f);

/* Whether a model's template takes tools. */
bool chat_takes_tools(const struct model_facts *m);
/* The template's text. */
const char *chat_template_of(const struct model_facts *m);

/* The prompt, and the format of calls of tools; errors into f. */
void chat_render(const struct chat *c, const struct model_entry *m, struct prompt *q, struct fields *f);

#endif
