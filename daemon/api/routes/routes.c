/* routes: see routes.h. */
#include "daemon/api/routes/routes.h"
#include "daemon/api/routes/anthropic.h"
#include "daemon/api/routes/cluster.h"
#include "daemon/api/routes/llama.h"
#include "daemon/api/routes/ollama.h"
#include "daemon/api/routes/openai.h"
#include "daemon/api/routes/responses.h"
#include "daemon/api/routes/streams.h"
#include "daemon/api/web/web.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROUTES_MAX 64

const struct http_route *routes_table(size_t *n) {
	static struct http_route all[ROUTES_MAX];
	const struct {
		const struct http_route *route;
		size_t n;
	} parts[] = {{openai_routes, openai_nroutes}, {responses_routes, responses_nroutes},
	        {anthropic_routes, anthropic_nroutes}, {ollama_routes, ollama_nroutes},
	        {llama_routes, llama_nroutes}, {streams_routes, streams_nroutes},
	        {cluster_routes, cluster_nroutes}, {web_routes, web_nroutes}};
	*n = 0;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		for (size_t k = 0; k < parts[i].n; k++) {
			assert(*n < ROUTES_MAX);
			all[(*n)++] = parts[i].route[k];
		}
	return all;
}

static bool path_is_below(const char *path, const char *base) {
	size_t n = strlen(base);
	return strncmp(path, base, n) == 0 && (!path[n] || strchr("/?", path[n]));
}

json_t *routes_error(const char *path, int status, const char *message) {
	const struct reply_error e = {.status = status, .text = message};
	if (path_is_below(path, "/api"))
		return ollama_error(&e);
	return path_is_below(path, "/v1/messages") ? anthropic_error(&e) : NULL;
}

int routes_create(struct routes **out, struct loop *loop, struct serve *s, struct cluster_events *events,
        const struct model_alias *alias, size_t naliases, unsigned resume) {
	struct routes *r = calloc(1, sizeof *r);
	char hex[NODE_ID_HEX];
	if (!r || kept_create(&r->kept, &(struct kept_limits){0}) != 0 ||
	        stream_relays_create(&r->relays, loop, serve_members(s)) != 0 ||
	        completions_create(&r->completions, loop, s) != 0 ||
	        live_create(&r->live, loop, s, events) != 0) {
		routes_destroy(r);
		return -ENOMEM;
	}
	r->alias = alias;
	r->naliases = naliases;
	r->resume = resume;
	snprintf(r->node, sizeof r->node, "%s", node_id_hex(&members_self(serve_members(s))->id, hex));
	*out = r;
	return 0;
}

int routes_attach(struct routes *r, struct loop *loop, struct loop *http, struct serve *s) {
	int rc = completions_attach(r->completions, http);
	if (rc == 0)
		rc = stream_relays_attach(r->relays, http);
	if (rc == 0)
		rc = live_attach(r->live, http);
	if (rc == 0)
		rc = lend_create(&r->lend, loop, http, serve_members(s), r->kept);
	return rc;
}

void routes_tick(void *arg) {
	struct routes *r = arg;
	kept_expire(r->kept, loop_now_ns());
}

void routes_ended(void *arg) {
	struct routes *r = arg;
	kept_stop(r->kept);
}

void routes_destroy(struct routes *r) {
	if (!r)
		return;
	lend_destroy(r->lend);
	stream_relays_destroy(r->relays);
	completions_destroy(r->completions);
	live_destroy(r->live);
	kept_destroy(r->kept);
	free(r);
}
