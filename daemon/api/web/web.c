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

/* The weight of an element of a header such as "text/html, text/plain;q=0.5", which ends at end. */
static double element_weight(const char *at, const char *end) {
	const char *q = strstr(at, "q=");
	return !q || q > end ? 1 : strtod(q + 2, NULL);
}

/* Whether a header lists the value, with a weight above 0; best: and with none that is less than another's. */
static bool header_lists(const char *header, const char *value, bool best) {
	size_t len = strlen(value);
	double own = 0, others = 0;
	for (const char *at = header; at && *at;) {
		at += strspn(at, ", \t");
		const char *end = at + strcspn(at, ",");
		double weight = element_weight(at, end);
		if (strncasecmp(at, value, len) == 0 && strchr(",; \t", at[len]))
			own = weight;
		else if (at < end && weight > others)
			others = weight;
		at = end;
	}
	return own > 0 && (!best || own >= others);
}

/* If-None-Match: a list of tags, some with W/ before them, or *. */
static bool header_matches(const char *header, const char *etag) {
	return header && (strcmp(header, "*") == 0 || strstr(header, etag));
}

static void web_reply(struct http_exchange *x, const struct web_file *f) {
	bool gzip = header_lists(http_header(x, "Accept-Encoding"), "gzip", false);
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
	if (!header_lists(http_header(x, "Accept"), "text/html", true))
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
