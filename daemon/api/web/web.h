/* web: the chat page: files for a browser, embedded in the program at build time by embed.sh.
 *
 * The page itself holds nothing that is secret and needs no key; what it asks of the API does.
 * Owns: nothing.  Threads: the HTTP server's. */
#ifndef DAEMON_API_WEB_WEB_H
#define DAEMON_API_WEB_WEB_H
#include "daemon/api/http/http.h"

struct web_file {
	const char *name, *type; /* "page.html", "text/html; charset=utf-8" */
	const char *etag, *gzip_etag;
	const unsigned char *body, *gzip; /* as it is, and compressed */
	size_t len, gzip_len;
};

/* embed.sh writes them. */
extern const struct web_file web_files[];
extern const size_t web_nfiles;

/* Answers with the page if the client is a browser; false: it is another program, and has no answer yet.  Either way the answer
 * says on which headers it depends. */
bool web_reply_page(struct http_exchange *x);

extern const struct http_route web_routes[];
extern const size_t web_nroutes;

#endif
