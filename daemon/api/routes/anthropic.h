/* anthropic: the routes of Anthropic.  Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_ANTHROPIC_H
#define DAEMON_API_ROUTES_ANTHROPIC_H
#include "daemon/api/routes/answer.h"

extern const struct http_route anthropic_routes[];
extern const size_t anthropic_nroutes;

json_t *anthropic_error(const struct reply_error *e);

#endif
