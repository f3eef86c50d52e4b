/* routes: the routes of the OpenAI, Anthropic, Ollama and llama.cpp APIs, as a table for the HTTP server.
 * Each dialect has a file of its own; they share answer.h (sending an answer), prompt.h (what to complete)
 * and fields.h (reading JSON).  doc/api.md lists the routes.
 *
 * Owns: the streams that are kept for clients, and what other nodes and this one pass on of them.
 * Threads: routes_create, routes_attach and routes_destroy on the loop, all else on the HTTP server's. */
#ifndef DAEMON_API_ROUTES_ROUTES_H
#define DAEMON_API_ROUTES_ROUTES_H
#include "daemon/api/completion.h"
#include "daemon/api/http/http.h"
#include "daemon/api/live.h"
#include "daemon/api/metrics.h"
#include "daemon/api/streams/lend.h"
#include "daemon/api/streams/relay.h"

/* The handlers' arg. */
struct routes {
	struct completions *completions;
	struct live *live;
	const struct model_alias *alias;
	size_t naliases;
	struct metrics metrics;
	unsigned resume; /* seconds that a stream may go on without its client; 0: none does */
	struct kept *kept;
	struct stream_relays *relays;
	struct lend *lend;
	char node[STREAM_NODE + 1]; /* the end of the ids of this node's answers */
};

const struct http_route *routes_table(size_t *n);
/* For struct http_config: what the HTTP server refuses before a route sees it, as the clients of that path expect it. */
json_t *routes_error(const char *path, int status, const char *message);

/* All borrowed.  0 or -ENOMEM. */
int routes_create(struct routes **out, struct loop *loop, struct serve *s, struct cluster_events *events,
        const struct model_alias *alias, size_t naliases, unsigned resume);
/* The HTTP server has started; handlers may run before that. */
int routes_attach(struct routes *r, struct loop *loop, struct loop *http, struct serve *s);
/* For struct http_config. */
void routes_tick(void *routes);
void routes_ended(void *routes);
/* NULL allowed.  Call after the HTTP server is destroyed, before serve is. */
void routes_destroy(struct routes *r);

#endif
