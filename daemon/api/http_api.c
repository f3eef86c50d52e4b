/* http_api: see http_api.h. */
#include "config.h"

#include "common/fail.h"
#include "daemon/api/http/http.h"
#include "daemon/api/http_api.h"
#include "daemon/api/routes/routes.h"
#include "daemon/members/members.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NAMES_MAX 64

struct http_api {
	struct http_server *server;
	struct routes *routes;
	struct api_keys *keys; /* borrowed from members */
	bool open;
	char url[300];
};

/* ---- names --------------------------------------------------------------------------------------- */

struct names {
	const char *at[NAMES_MAX];
	size_t n;
	char own[4][300];
};

static void names_add(struct names *n, const char *name) {
	if (*name && n->n < NAMES_MAX)
		n->at[n->n++] = name;
}

/* The names of this node: its own and the host's, as they are and with mDNS's suffix, what it listens on, and
 * configured ones. */
static void names_collect(struct names *n, const struct http_api_config *c) {
	char host[256] = "";
	gethostname(host, sizeof host - 1);
	for (int i = 0; i < 2; i++) {
		const char *name = i ? host : members_self(c->members)->name;
		snprintf(n->own[2 * i], sizeof n->own[0], "%s", name);
		snprintf(n->own[2 * i + 1], sizeof n->own[0], "%s%s", name, *name ? ".local" : "");
		names_add(n, n->own[2 * i]);
		names_add(n, n->own[2 * i + 1]);
	}
	for (size_t i = 0; i < c->nhosts; i++)
		names_add(n, c->hosts[i]);
}

/* ---- keys ---------------------------------------------------------------------------------------- */

static bool http_api_has_keys(struct members *m) {
	uint64_t id;
	char name[WIRE_NAME_MAX + 1];
	return api_keys_check(members_api_keys(m), NULL, (uint64_t)time(NULL), &id, name) != API_KEY_NONE;
}

/* On the server's thread. */
static void http_api_access(void *arg, const char *secret, bool loopback, struct http_access *out) {
	struct http_api *a = arg;
	*out = (struct http_access){0};
	switch (api_keys_check(a->keys, secret, (uint64_t)time(NULL), &out->client, out->name)) {
	case API_KEY_NONE:
		out->granted = loopback || a->open;
		out->none_valid = !out->granted;
		break;
	case API_KEY_OVER: /* not even this machine, which a proxy's clients all come from: opening is said */
		out->granted = a->open;
		out->none_valid = !out->granted;
		break;
	case API_KEY_UNKNOWN:
		break;
	case API_KEY_VALID:
		out->granted = true;
		break;
	}
}

/* ---- life ---------------------------------------------------------------------------------------- */

int http_api_create(struct http_api **out, const struct http_api_config *c, char *err, size_t errlen) {
	struct http_api *a = calloc(1, sizeof *a);
	struct names names = {.n = 0};
	char listens[256];
	size_t nroutes;
	*out = NULL;
	if (!c->open && !http_address_is_loopback(c->address) && !http_api_has_keys(c->members)) {
		snprintf(err, errlen,
		        "--http %s would let every machine that reaches this one use the cluster: make an API key with "
		        "'caravan key create' first, or add --http-open if that is meant",
		        c->address);
		free(a);
		return -EPERM;
	}
	if (!a || routes_create(&a->routes, c->loop, c->serve, c->events, c->aliases, c->naliases,
	                  c->resume) != 0) {
		free(a);
		return fail_memory(err, errlen, "the HTTP API");
	}
	const struct http_route *table = routes_table(&nroutes);
	a->open = c->open;
	a->keys = members_api_keys(c->members);
	names_collect(&names, c);
	snprintf(listens, sizeof listens, "%.*s", (int)strcspn(c->address, ":"), c->address);
	if (!strpbrk(listens, "*["))
		names_add(&names, listens);
	int rc = http_create(&a->server,
	        &(struct http_config){.address = c->address,
	                .required = c->required,
	                .tls_cert = c->tls_cert,
	                .tls_key = c->tls_key,
	                .hosts = names.at,
	                .nhosts = names.n,
	                .origins = c->origins,
	                .norigins = c->norigins,
	                .log = c->log,
	                .routes = table,
	                .nroutes = nroutes,
	                .access = http_api_access,
	                .access_arg = a,
	                .error = routes_error,
	                .tick = routes_tick,
	                .ended = routes_ended,
	                .arg = a->routes},
	        err, errlen);
	if (rc == 0 && a->server &&
	        (rc = routes_attach(a->routes, c->loop, http_loop(a->server), c->serve)) != 0)
		rc = fail_memory(err, errlen, "the HTTP API");
	if (rc != 0 || !a->server) {
		http_api_destroy(a);
		return rc;
	}
	snprintf(a->url, sizeof a->url, "%s://%.*s:%u", c->tls_cert ? "https" : "http",
	        (int)(strrchr(c->address, ':') - c->address), c->address, http_port(a->server));
	*out = a;
	return 0;
}

void http_api_destroy(struct http_api *a) {
	if (!a)
		return;
	http_destroy(a->server);
	routes_destroy(a->routes);
	free(a);
}

const char *http_api_url(const struct http_api *a) {
	return a->url;
}

void http_api_reload(struct http_api *a) {
	if (a)
		http_reload(a->server);
}

void http_api_models_changed(struct http_api *a) {
	if (!a)
		return;
	completions_models_changed(a->routes->completions);
	live_changed(a->routes->live);
}
