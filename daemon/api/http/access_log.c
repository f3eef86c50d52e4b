/* access_log: a line for each request, in the common log format.
 *
 * It contains no query, headers or body, so never a prompt, an answer or a secret.  Unprintable bytes from a
 * client are escaped, so that it cannot forge lines.
 * Threads: the server's. */
#include "config.h"

#include "daemon/api/http/http_internal.h"
#include "daemon/core/log.h"
#include <errno.h>
#include <event2/http_struct.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATH_LOGGED 400

int access_log_open(struct http_server *s, char *err, size_t errlen) {
	const char *path = s->config.log;
	if (!path)
		return 0;
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
	if (fd < 0 || !(s->log = fdopen(fd, "a"))) {
		int rc = -errno;
		snprintf(err, errlen, "cannot write the access log %s: %s", path, strerror(-rc));
		if (fd >= 0)
			close(fd);
		return rc;
	}
	setvbuf(s->log, NULL, _IOLBF, 4096);
	return 0;
}

void access_log_close(struct http_server *s) {
	if (s->log)
		fclose(s->log);
	s->log = NULL;
}

static const char *method_name(enum evhttp_cmd_type type) {
	switch (type) {
	case EVHTTP_REQ_GET:
		return "GET";
	case EVHTTP_REQ_HEAD:
		return "HEAD";
	case EVHTTP_REQ_POST:
		return "POST";
	case EVHTTP_REQ_DELETE:
		return "DELETE";
	case EVHTTP_REQ_OPTIONS:
		return "OPTIONS";
	case EVHTTP_REQ_PUT:
		return "PUT";
	case EVHTTP_REQ_PATCH:
		return "PATCH";
	default:
		return "-";
	}
}

/* The URI without its query; unprintable bytes, and what would end the quotes, are escaped. */
static void path_text(char *out, size_t len, const char *uri) {
	size_t n = 0;
	for (; uri && *uri && *uri != '?' && *uri != '#' && n + 5 < len; uri++)
		if (*uri > ' ' && *uri < 0x7f && *uri != '"' && *uri != '\\')
			out[n++] = *uri;
		else
			n += (size_t)snprintf(out + n, len - n, "\\x%02x", (unsigned char)*uri);
	out[n] = '\0';
}

void access_log_write(struct http_server *s, const struct http_conn *c, const char *who,
        const struct evhttp_request *request, int status, uint64_t bytes) {
	char path[PATH_LOGGED], line[PATH_LOGGED + 40] = "-", date[40], user[64];
	time_t now = time(NULL);
	struct tm tm;
	if (request) {
		path_text(path, sizeof path, evhttp_request_get_uri(request));
		snprintf(line, sizeof line, "%s %s HTTP/%d.%d",
		        method_name(evhttp_request_get_command(request)), path, request->major,
		        request->minor);
	}
	path_text(user, sizeof user, *who ? who : "-");
	if (status == 0)
		status = 499; /* the client went first; nginx's status for that */
	if (!s->log) {
		log_others(LOG_LINE_DEBUG, "http: %s %s \"%s\" %d %" PRIu64, c->address, user, line, status,
		        bytes);
		return;
	}
	if (!localtime_r(&now, &tm) || strftime(date, sizeof date, "%d/%b/%Y:%H:%M:%S %z", &tm) == 0)
		snprintf(date, sizeof date, "-");
	fprintf(s->log, "%s - %s [%s] \"%s\" %d %" PRIu64 "\n", c->address, user, date, line, status, bytes);
}
