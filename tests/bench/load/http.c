/* load/http: questions over HTTP, to OpenAI's completions, streamed.
 *
 * Lines are looked for in what comes, and of each only whether it has text: a client that reads JSON would measure itself. */
#include "tests/bench/control_client.h"
#include "tests/bench/load/load.h"
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int http_open(const char *where, unsigned client) {
	struct sockaddr_in to = {.sin_family = AF_INET,
	                           .sin_port = htons((uint16_t)strtoul(where, NULL, 10)),
	                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK)},
	                   from = {.sin_family = AF_INET,
	                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + client)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&from, sizeof from) == 0 &&
	        connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
		return fd;
	close(fd);
	return -1;
}

static bool http_send(int fd, const struct load_question *q) {
	char head[200];
	json_t *o = json_pack("{s:s, s:i, s:b, s:I, s:f, s:i, s:f, s:f}", "prompt", q->prompt, "max_tokens",
	        (int)q->limit, "stream", 1, "seed", (json_int_t)q->seed, "temperature", 0.8, "top_k", 40,
	        "top_p", 0.95, "min_p", 0.05);
	char *body = o ? json_dumps(o, JSON_COMPACT) : NULL;
	int n = body ? snprintf(head, sizeof head,
	                       "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: "
	                       "application/json\r\nContent-Length: %zu\r\n\r\n",
	                       strlen(body))
	             : 0;
	bool sent = n > 0 && socket_put(fd, head, (size_t)n) && socket_put(fd, body, strlen(body));
	json_decref(o);
	free(body);
	return sent;
}

static void http_keep(struct load_answer *a, const char *json) {
	json_t *o = json_loads(json, 0, NULL),
	       *text = json_object_get(json_array_get(json_object_get(o, "choices"), 0), "text");
	if (text)
		load_keep(a, json_string_value(text), json_string_length(text));
	json_decref(o);
}

/* A line, without its end. */
static void http_line(struct load_answer *a, char *line, bool *done) {
	if (strncmp(line, "HTTP/1.1 ", 9) == 0 && strncmp(line + 9, "200 ", 4) != 0) {
		snprintf(a->error, sizeof a->error, "%.150s", line);
	} else if (strcmp(line, "data: [DONE]") == 0) {
		*done = true;
	} else if (strncmp(line, "data: {\"error\"", 14) == 0) {
		snprintf(a->error, sizeof a->error, "%.150s", line);
	} else if (strncmp(line, "data: ", 6) == 0 && !strstr(line, "\"text\":\"\"")) {
		load_came(a);
		if (a->keep)
			http_keep(a, line + 6);
	}
}

/* The stream has ended where the line of an empty chunk, and then an empty line, follow the last event. */
static void http_ask(int fd, const struct load_question *q, struct load_answer *a) {
	char in[16384];
	size_t have = 0;
	bool done = false, last = false;
	if (!http_send(fd, q))
		snprintf(a->error, sizeof a->error, "the daemon has gone");
	while (!*a->error) {
		ssize_t n = read(fd, in + have, sizeof in - have - 1);
		char *line = in, *end;
		if (n <= 0) {
			snprintf(a->error, sizeof a->error, "the daemon has gone");
			return;
		}
		have += (size_t)n;
		in[have] = '\0';
		for (; (end = strchr(line, '\n')) && !*a->error; line = end + 1) {
			*end = '\0';
			if (end > line && end[-1] == '\r')
				end[-1] = '\0';
			if (last && !*line)
				return;
			last = done && strcmp(line, "0") == 0;
			http_line(a, line, &done);
		}
		have -= (size_t)(line - in);
		memmove(in, line, have);
	}
}

const struct load_way load_http = {"HTTP", http_open, http_ask};
