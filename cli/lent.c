/* lent: see lent.h. */
#include "cli/lent.h"
#include "common/paths.h"
#include "proto/frame.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_S 2
#define SERVICE "/var/lib/caravan/store"

static bool lent_may_read(const char *store) {
	char path[PATH_MAX + 16];
	int n = snprintf(path, sizeof path, "%s/tensors", store);
	return n > 0 && (size_t)n < sizeof path && access(path, R_OK | X_OK) == 0;
}

static bool lent_transfer_all(int fd, void *data, size_t len, bool out) {
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

static int lent_connect_to(const char *control) {
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct timeval patience = {.tv_sec = PATIENCE_S};
	char path[PATH_MAX];
	if (paths_control(control, NULL, path, sizeof path) != 0 || strlen(path) >= sizeof addr.sun_path)
		return -1;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
	if (connect(fd, (struct sockaddr *)&addr, sizeof addr) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static bool lent_ask(int fd) {
	Caravan__CtlStatus cmd = CARAVAN__CTL_STATUS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_STATUS, ctl_status, &cmd);
	uint8_t header[FRAME_HEADER], *frame;
	size_t len;
	if (wire_pack(&env, &frame, &len) != 0)
		return false;
	frame_header(header, len, 0);
	bool ok =
	        lent_transfer_all(fd, header, sizeof header, true) && lent_transfer_all(fd, frame, len, true);
	free(frame);
	return ok;
}

/* The next message, or NULL. */
static Caravan__Envelope *lent_next(int fd) {
	uint8_t header[FRAME_HEADER], *frame = NULL;
	size_t elen, plen;
	char err[200];
	Caravan__Envelope *env = NULL;
	if (lent_transfer_all(fd, header, sizeof header, false) && frame_parse(header, &elen, &plen) == 0 &&
	        (frame = malloc(elen + plen)) && lent_transfer_all(fd, frame, elen + plen, false))
		env = wire_unpack(frame, elen, plen, WIRE_COMMAND, err, sizeof err);
	free(frame);
	return env;
}

static bool lent_ask_daemon(const char *control, char *out, size_t len) {
	int fd = lent_connect_to(control);
	bool found = false;
	if (fd < 0)
		return false;
	Caravan__Envelope *env = lent_ask(fd) ? lent_next(fd) : NULL;
	while (env && env->body_case == CARAVAN__ENVELOPE__BODY_CTL_REPORT && !found) {
		const char *store = env->ctl_report->store;
		int n = *store ? snprintf(out, len, "%s", store) : 0;
		found = n > 0 && (size_t)n < len;
		wire_free(env);
		env = found ? NULL : lent_next(fd);
	}
	wire_free(env);
	close(fd);
	return found;
}

bool lent_store(const char *control, char *out, size_t len) {
	if (lent_ask_daemon(control, out, len) && lent_may_read(out))
		return true;
	return (size_t)snprintf(out, len, "%s", SERVICE) < len && lent_may_read(out);
}
