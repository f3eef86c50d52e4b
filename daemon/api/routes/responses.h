/* responses: OpenAI's responses.  Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_RESPONSES_H
#define DAEMON_API_ROUTES_RESPONSES_H
#include "daemon/api/routes/answer.h"

extern const struct http_route responses_routes[];
extern const size_t responses_nroutes;

#endif
