/* routes: what the HTTP API says: the routes of OpenAI's, Anthropic's, Ollama's and llama.cpp's APIs, as a table for the HTTP
 * server.  Each dialect has a file of its own; what they share is in answer.h (an answer on its way), prompt.h (what a request says
 * is to be completed) and fields.h (reading JSON).  doc/api.md lists the routes.
 *
 * Owns: nothing but itself.  Threads: routes_create and routes_destroy on the loop, handlers on the HTTP server's. */
#ifndef DAEMON_API_ROUTES_ROUTES_H
#define DAEMON_API_ROUTES_ROUTES_H
#include "daemon/api/completion.h"
#include "daemon/api/http/http.h"
#include "daemon/api/metrics.h"

/* The handlers' arg. */
struct routes {
	struct completions *completions;
	const struct model_alias *alias;
	size_t naliases;
	struct metrics metrics;
};

const struct http_route *routes_table(size_t *n);

/* All borrowed.  0 or -ENOMEM. */
int routes_create(struct routes **out, struct loop *loop, struct serve *s, const struct model_alias *alias,
        size_t naliases);
/* NULL allowed.  After the HTTP server, before serve. */
void routes_destroy(struct routes *r);

#endif
