/* glance: see glance.h. */
#include "cli/glance.h"
#include "proto/frame.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

static bool glance_transfer_all(int fd, void *data, size_t len, bool out) {
	uint8_t *p = data;
	while (len > 0) {
		ssize_t n = out ? send(fd, p, len, MSG_NOSIGNAL) : recv(fd, p, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static int glance_connect_to(const struct sockaddr_un *at, unsigned ms) {
	struct timeval patience = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(fd, (const struct sockaddr *)at, sizeof *at) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool glance_ask(int fd) {
	Caravan__CtlStatus cmd = CARAVAN__CTL_STATUS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_STATUS, ctl_status, &cmd);
	uint8_t header[FRAME_HEADER], *frame;
	size_t len;
	if (wire_pack(&env, &frame, &len) != 0)
		return false;
	frame_header(header, len, 0);
	bool ok = glance_transfer_all(fd, header, sizeof header, true) &&
	          glance_transfer_all(fd, frame, len, true);
	free(frame);
	return ok;
}

/* The next message, or NULL. */
static Caravan__Envelope *glance_next(int fd) {
	uint8_t header[FRAME_HEADER], *frame = NULL;
	size_t elen, plen;
	char err[200];
	Caravan__Envelope *env = NULL;
	if (glance_transfer_all(fd, header, sizeof header, false) && frame_parse(header, &elen, &plen) == 0 &&
	        (frame = malloc(elen + plen)) && glance_transfer_all(fd, frame, elen + plen, false))
		env = wire_unpack(frame, elen, plen, WIRE_COMMAND, err, sizeof err);
	free(frame);
	return env;
}

bool glance_report(struct report *r, const struct sockaddr_un *at, unsigned ms) {
	int fd = glance_connect_to(at, ms);
	*r = (struct report){0};
	if (fd < 0)
		return false;
	Caravan__Envelope *env = glance_ask(fd) ? glance_next(fd) : NULL;
	while (env && env->body_case == CARAVAN__ENVELOPE__BODY_CTL_REPORT && report_add(r, env) == 0)
		env = glance_next(fd);
	if (env && env->body_case != CARAVAN__ENVELOPE__BODY_CTL_REPORT) /* report_add has the others */
		wire_free(env);
	close(fd);
	return r->envs > 0;
}
