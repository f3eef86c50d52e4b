/* The bytes of a connection, as a client sends them to the HTTP server, and as a Host and an Origin: whatever comes, the
 * server goes on, and what it says begins as HTTP does; what is wrong is said in JSON. */
#include "config.h"

#include "daemon/api/http/http_internal.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define INPUT_MAX (64 << 10)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void answer(struct http_exchange *x, void *arg) {
	size_t len;
	(void)arg;
	(void)http_body(x, &len);
	(void)http_query(x, "q");
	http_reply_text(x, 200, "text/plain", "ok", 2);
}

static void answer_in_parts(struct http_exchange *x, void *arg) {
	(void)arg;
	http_stream_begin(x, 200, "text/event-stream");
	http_stream_send(x, "data: 1\n\n", 9);
	http_stream_end(x);
}

static const struct http_route routes[] = {{HTTP_GET | HTTP_POST | HTTP_DELETE, "/a", answer, false},
        {HTTP_GET | HTTP_POST, "/s/*", answer_in_parts, false}};

static uint16_t port_of_server(void) {
	static struct http_server *server;
	char err[256];
	if (!server && http_create(&server,
	                       &(struct http_config){.address = "127.0.0.1:0",
	                               .required = true,
	                               .routes = routes,
	                               .nroutes = 2,
	                               .limits = {.head = 4096, .body = 8192}},
	                       err, sizeof err) != 0)
		abort();
	return http_port(server);
}

/* Everything that the server says until it closes the connection. */
static void exchange(const uint8_t *data, size_t len) {
	static char said[1 << 20];
	size_t n = 0;
	struct sockaddr_in to = {.sin_family = AF_INET,
	        .sin_port = htons(port_of_server()),
	        .sin_addr = {htonl(INADDR_LOOPBACK)}};
	struct timeval patience = {
	        20, 0}; /* an input that is whole for us, and not for the server, ends here: it is a bug */
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0 ||
	        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0)
		abort();
	while (len > 0) {
		ssize_t sent = send(fd, data, len, MSG_NOSIGNAL);
		if (sent <= 0)
			break;
		data += sent;
		len -= (size_t)sent;
	}
	shutdown(fd, SHUT_WR);
	for (ssize_t got; n + 1 < sizeof said; n += (size_t)got)
		if ((got = recv(fd, said + n, sizeof said - n - 1, 0)) <= 0) {
			if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
				abort();
			break;
		}
	close(fd);
	said[n] = '\0';
	if (n >= 12 && (strncmp(said, "HTTP/1.", 7) != 0 || strstr(said, "<HTML>") || strstr(said, "<html>")))
		abort();
}

/* Reading along does not depend on the pieces in which bytes come, and ends within them. */
static void read_along(const uint8_t *data, size_t len) {
	struct http_framing whole, pieces;
	framing_begin(&whole);
	framing_begin(&pieces);
	framing_take(&whole, data, len);
	for (size_t i = 0; i < len; i++)
		framing_take(&pieces, data + i, 1);
	if (whole.part != pieces.part || whole.bad != pieces.bad || whole.left != pieces.left ||
	        strcmp(whole.path, pieces.path) != 0 || whole.pathlen >= sizeof whole.path)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	static char text[INPUT_MAX + 1], name[256], port[8];
	static char *const names[] = {(char *)"node1"};
	if (len > INPUT_MAX)
		return 0;
	memcpy(text, data, len);
	text[len] = '\0';
	if (http_host_split(text, name, sizeof name, port, sizeof port) && !*name)
		abort();
	/* a name that the node was not given is never its own */
	if (http_host_ok(text, names, 1) && strstr(text, "evil"))
		abort();
	if (http_origin_own(text, "http", "node1:8080") && strcasecmp(text, "http://node1:8080") != 0)
		abort();
	read_along(data, len);
	exchange(data, len);
	return 0;
}
