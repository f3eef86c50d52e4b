/* A client of the HTTP server for tests: a blocking socket, and what came out of it as text. */
#ifndef TESTS_UNIT_API_HTTP_CLIENT_H
#define TESTS_UNIT_API_HTTP_CLIENT_H
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 60000 /* only ends what hangs */
#define ANSWER_MAX (64 << 10)

struct answer {
	int status; /* 0: the connection ended before there was one */
	char head[8192];
	char body[ANSWER_MAX];
	size_t len;
};

static inline int client_connect(uint16_t port) {
	struct sockaddr_in a = {
	        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

static inline void client_send(int fd, const void *data, size_t len) {
	for (const char *at = data; len > 0;) {
		ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
		if (n <= 0)
			return; /* the server has hung up, and what it said is read next */
		at += n;
		len -= (size_t)n;
	}
}

static inline void client_say(int fd, const char *text) {
	client_send(fd, text, strlen(text));
}

/* One byte more; 0 at the end, also when it is a reset. */
static inline int client_byte(int fd, char *c) {
	struct pollfd p = {.fd = fd, .events = POLLIN};
	ck_assert_msg(poll(&p, 1, PATIENCE_MS) == 1, "nothing came");
	return recv(fd, c, 1, 0) == 1;
}

static inline const char *answer_header(const struct answer *a, const char *name) {
	static char value[1024];
	size_t n = strlen(name);
	for (const char *line = strstr(a->head, "\r\n"); line && line[2]; line = strstr(line + 2, "\r\n"))
		if (strncasecmp(line + 2, name, n) == 0 && line[2 + n] == ':') {
			const char *v = line + 3 + n + strspn(line + 3 + n, " ");
			snprintf(value, sizeof value, "%.*s", (int)strcspn(v, "\r"), v);
			return value;
		}
	return NULL;
}

static inline bool client_line(int fd, char *line, size_t max) {
	size_t n = 0;
	while (n + 1 < max && client_byte(fd, &line[n]))
		if (line[n++] == '\n')
			break;
	line[n] = '\0';
	return n > 0 && line[n - 1] == '\n';
}

static inline void client_body(int fd, struct answer *a, size_t len) {
	while (len-- > 0 && a->len + 1 < sizeof a->body && client_byte(fd, &a->body[a->len]))
		a->len++;
}

/* The next answer; head: to a HEAD, which has no body. */
static inline void client_read(int fd, struct answer *a, bool head) {
	char line[4096];
	size_t n = 0;
	*a = (struct answer){0};
	while (client_line(fd, line, sizeof line)) {
		n += (size_t)snprintf(a->head + n, sizeof a->head - n, "%s", line);
		ck_assert_uint_lt(n, sizeof a->head);
		if (strcmp(line, "\r\n") == 0)
			break;
	}
	if (sscanf(a->head, "HTTP/1.%*d %d", &a->status) != 1)
		a->status = 0;
	const char *length = answer_header(a, "Content-Length");
	if (a->status == 0 || a->status == 204 || a->status == 304 || a->status == 100 || head)
		return;
	if (length) {
		client_body(fd, a, strtoul(length, NULL, 10));
	} else if (answer_header(a, "Transfer-Encoding")) {
		while (client_line(fd, line, sizeof line)) {
			size_t part = strtoul(line, NULL, 16);
			client_body(fd, a, part);
			client_line(fd, line, sizeof line);
			if (part == 0)
				break;
		}
	} else {
		client_body(fd, a, sizeof a->body);
	}
	a->body[a->len] = '\0';
}

/* Whether the server has closed the connection, with nothing more to read. */
static inline bool client_ended(int fd) {
	char c;
	return !client_byte(fd, &c);
}

/* A whole exchange on a connection of its own. */
static inline void client_ask(uint16_t port, struct answer *a, const char *request) {
	int fd = client_connect(port);
	client_say(fd, request);
	client_read(fd, a, strncmp(request, "HEAD", 4) == 0);
	close(fd);
}
#endif
