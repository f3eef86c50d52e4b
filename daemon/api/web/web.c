/* web: see web.h. */
#include "daemon/api/web/web.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Only the page's own files run and are loaded, nobody may frame it, and text becomes HTML through DOMPurify alone. */
#define WEB_POLICY \
	"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " \
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; " \
	"trusted-types dompurify"

/* Whether a header such as "text/html, text/plain;q=0.5" lists the value, and not with a weight of 0. */
static bool header_lists(const char *header, const char *value) {
	size_t len = strlen(value);
	for (const char *at = header; at && *at;) {
		at += strspn(at, ", \t");
		const char *end = at + strcspn(at, ",");
		if (strncasecmp(at, value, len) == 0 && strchr(",; \t", at[len])) {
			const char *q = strstr(at, "q=");
			return !q || q > end || strtod(q + 2, NULL) > 0;
		}
		at = end;
	}
	return false;
}

/* If-None-Match: a list of tags, some with W/ before them, or *. */
static bool header_matches(const char *header, const char *etag) {
	return header && (strcmp(header, "*") == 0 || strstr(header, etag));
}

static void web_reply(struct http_exchange *x, const struct web_file *f) {
	bool gzip = header_lists(http_header(x, "Accept-Encoding"), "gzip");
	const char *etag = gzip ? f->gzip_etag : f->etag;
	http_reply_header(x, "ETag", etag);
	http_reply_header(x, "Cache-Control", "no-cache"); /* kept, and asked for by its ETag */
	http_reply_header(x, "Content-Security-Policy", WEB_POLICY);
	http_reply_header(x, "Referrer-Policy", "no-referrer");
	http_reply_header(x, "Cross-Origin-Resource-Policy", "same-origin");
	http_reply_header(x, "Cross-Origin-Opener-Policy", "same-origin");
	if (header_matches(http_header(x, "If-None-Match"), etag)) {
		http_reply_text(x, 304, NULL, "", 0);
		return;
	}
	if (gzip)
		http_reply_header(x, "Content-Encoding", "gzip");
	http_reply_text(
	        x, 200, f->type, (const char *)(gzip ? f->gzip : f->body), gzip ? f->gzip_len : f->len);
}

static const struct web_file *web_find(const char *name) {
	for (size_t i = 0; i < web_nfiles; i++)
		if (strcmp(web_files[i].name, name) == 0)
			return &web_files[i];
	return NULL;
}

bool web_reply_page(struct http_exchange *x) {
	http_reply_header(x, "Vary", "Accept, Accept-Encoding, Origin");
	if (!header_lists(http_header(x, "Accept"), "text/html"))
		return false;
	web_reply(x, web_find("page.html"));
	return true;
}

static void web_reply_file(struct http_exchange *x, void *arg) {
	const struct web_file *f = web_find(http_rest(x));
	(void)arg;
	if (!f) {
		http_reply_error(x, 404, NULL, "the page has no file of that name");
		return;
	}
	http_reply_header(x, "Vary", "Accept-Encoding, Origin");
	web_reply(x, f);
}

const struct http_route web_routes[] = {
        {HTTP_GET | HTTP_HEAD, "/web/*", web_reply_file, true},
};
const size_t web_nroutes = sizeof web_routes / sizeof *web_routes;
