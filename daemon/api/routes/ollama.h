/* ollama: the routes of Ollama.  Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_OLLAMA_H
#define DAEMON_API_ROUTES_OLLAMA_H
#include "daemon/api/routes/answer.h"

extern const struct http_route ollama_routes[];
extern const size_t ollama_nroutes;

json_t *ollama_error(const struct reply_error *e);

#endif
