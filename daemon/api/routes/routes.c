/* routes: see routes.h. */
#include "daemon/api/routes/routes.h"
#include "daemon/api/routes/anthropic.h"
#include "daemon/api/routes/llama.h"
#include "daemon/api/routes/ollama.h"
#include "daemon/api/routes/openai.h"
#include "daemon/api/routes/responses.h"
#include <errno.h>
#include <stdlib.h>

#define ROUTES_MAX 64

const struct http_route *routes_table(size_t *n) {
	static struct http_route all[ROUTES_MAX];
	const struct {
		const struct http_route *route;
		size_t n;
	} parts[] = {{openai_routes, openai_nroutes}, {responses_routes, responses_nroutes},
	        {anthropic_routes, anthropic_nroutes}, {ollama_routes, ollama_nroutes},
	        {llama_routes, llama_nroutes}};
	*n = 0;
	for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
		for (size_t k = 0; k < parts[i].n && *n < ROUTES_MAX; k++)
			all[(*n)++] = parts[i].route[k];
	return all;
}

int routes_create(struct routes **out, struct loop *loop, struct serve *s, const struct model_alias *alias,
        size_t naliases) {
	struct routes *r = calloc(1, sizeof *r);
	if (!r || completions_create(&r->completions, loop, s) != 0) {
		free(r);
		return -ENOMEM;
	}
	r->alias = alias;
	r->naliases = naliases;
	*out = r;
	return 0;
}

void routes_destroy(struct routes *r) {
	if (!r)
		return;
	completions_destroy(r->completions);
	free(r);
}
