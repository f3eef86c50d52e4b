/* openai: OpenAI's routes.  Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_OPENAI_H
#define DAEMON_API_ROUTES_OPENAI_H
#include "daemon/api/routes/answer.h"

extern const struct http_route openai_routes[];
extern const size_t openai_nroutes;

/* An error in the format of OpenAI and of llama.cpp's server. */
json_t *openai_error(const struct reply_error *e);

#endif
