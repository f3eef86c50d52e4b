/* control_client: see control_client.h. */
#include "tests/bench/control_client.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

bool socket_put(int fd, const void *data, size_t len) {
	for (const char *p = data; len > 0;) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

bool socket_get(int fd, void *data, size_t len) {
	for (char *p = data; len > 0;) {
		ssize_t n = read(fd, p, len);
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

int control_client_connect(const char *path) {
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
		int error = errno;
		close(fd);
		errno = error;
		return -1;
	}
	return fd;
}

bool control_client_say(int fd, Caravan__Envelope *env, const void *payload, size_t len) {
	uint8_t header[FRAME_HEADER], *frame;
	size_t n;
	if (wire_pack(env, &frame, &n) != 0)
		return false;
	frame_header(header, n, len);
	bool sent = socket_put(fd, header, sizeof header) && socket_put(fd, frame, n) &&
	            socket_put(fd, payload, len);
	free(frame);
	return sent;
}

Caravan__Envelope *control_client_hear(int fd, char **payload, size_t *len) {
	uint8_t header[FRAME_HEADER], *frame = NULL;
	char err[200];
	size_t n;
	Caravan__Envelope *env = NULL;
	*payload = NULL;
	if (socket_get(fd, header, sizeof header) && frame_parse(header, &n, len) == 0) {
		frame = malloc(n + 1);
		*payload = malloc(*len + 1);
	}
	if (frame && *payload && socket_get(fd, frame, n) && socket_get(fd, *payload, *len)) {
		(*payload)[*len] = '\0';
		env = wire_unpack(frame, n, *len, WIRE_COMMAND, err, sizeof err);
	}
	free(frame);
	if (!env) {
		free(*payload);
		*payload = NULL;
	}
	return env;
}
