/* routes: the routes of the OpenAI, Anthropic, Ollama and llama.cpp APIs, as a table for the HTTP server.
 * Each dialect has a file of its own; they share answer.h (sending an answer), prompt.h (what to complete)
 * and fields.h (reading JSON).  doc/api.md lists the routes.
 *
 * Owns: nothing but itself.  Threads: routes_create and routes_destroy on the loop, handlers on the HTTP
 * server's. */
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
/* NULL allowed.  Call after the HTTP server is destroyed, before serve is. */
void routes_destroy(struct routes *r);

#endif
