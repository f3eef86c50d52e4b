/* http_api: the HTTP API of a node: its server, with the node's names, keys and routes.
 * Owns: the server.
 * Threads: the loop. */
#ifndef DAEMON_API_HTTP_API_H
#define DAEMON_API_HTTP_API_H
#include "daemon/api/model_list.h"
#include <stdbool.h>
#include <stddef.h>

struct http_api;

struct http_api_config {
	struct loop *loop;
	struct serve *serve;
	struct members *members;
	struct cluster_events *events;
	const char *address;
	bool required;                        /* false: if the port is taken, run without HTTP and log that */
	bool open;                            /* even without keys, serves other machines too */
	const char *tls_cert, *tls_key, *log; /* files; NULL: none */
	const char *const *hosts, *const *origins;
	size_t nhosts, norigins;
	const struct model_alias *aliases; /* further names of models; borrowed */
	size_t naliases;
	unsigned resume; /* seconds that a stream may go on without its client; 0: none does */
};

/* 0 with *out NULL: the port is taken, and HTTP is not required. */
int http_api_create(struct http_api **out, const struct http_api_config *c, char *err, size_t errlen);
void http_api_destroy(struct http_api *a);          /* NULL allowed */
const char *http_api_url(const struct http_api *a); /* with the actual port */
void http_api_reload(struct http_api *a);           /* NULL allowed: certificate and access log */
void http_api_models_changed(struct http_api *a);   /* NULL allowed */

#endif
