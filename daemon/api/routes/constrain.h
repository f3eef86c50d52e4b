/* constrain: what a request says its answer must be: JSON, valid by a schema, of a grammar, or calls of tools.
 *
 * Each field is read, its grammar compiled once to refuse what cannot be honoured, and its text left in the prompt, whose it is.
 * null, and what means any text, changes nothing.
 * Threads: the HTTP server's; compiling takes some milliseconds, and is refused after some tenths of a second. */
#ifndef DAEMON_API_ROUTES_CONSTRAIN_H
#define DAEMON_API_ROUTES_CONSTRAIN_H
#include "daemon/api/routes/chat.h"
#include "daemon/api/routes/prompt.h"

/* OpenAI's {type}: text, json_object, json_schema.  The schema is in the format itself, or in its json_schema; llama.cpp's
 * json_object may have one too. */
void constrain_read_format(struct prompt *q, struct fields *f, const json_t *format, const char *param);
/* llama.cpp's `grammar` (GBNF) and `json_schema`, of the body. */
void constrain_read_llama(struct prompt *q, struct fields *f);
/* Ollama's `format`: "json", or a schema. */
void constrain_read_ollama(struct prompt *q, struct fields *f);
/* When all has been read and rendered: an answer under a grammar cannot call tools; one that must call some is calls of them. */
void constrain_to_calls(struct prompt *q, struct fields *f, const struct chat *c);

#endif
