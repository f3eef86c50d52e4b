/* control: see control.h. */
#include "daemon/api/control.h"
#include "common/durable.h"
#include "common/fail.h"
#include "daemon/api/commands.h"
#include "daemon/api/prompts.h"
#include "daemon/core/log.h"
#include "proto/descriptors.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ACCEPT_PAUSE_MS 200
#define CANCEL_MAX 32      /* bytes of an envelope: CtlCancel has fewer */
#define CONTROL_RESERVE 16 /* descriptors kept free of clients */

struct control_conn {
	LIST_ENTRY(control_conn) next;
	struct control *control;
	int fd;
	struct event *readable, *writable;
	struct evbuffer *in, *out;
	int fds[FRAME_FDS_MAX];
	size_t nfds;
	int lost;    /* an errno: descriptors of a message could not be received */
	bool busy;   /* a command is running */
	bool broken; /* to be closed when the stack has unwound */
	unsigned depth;
	void (*cancel)(void *arg);
	void *cancel_arg;
	void (*stop)(void *arg);    /* ends it early, with the same argument; NULL: that is not possible */
	void (*drained)(void *arg); /* called once when the client has read; NULL: not requested */
	void *drained_arg;
};

struct control {
	struct loop *loop;
	struct serve *serve;
	struct executor *executor;
	struct calibrate_requests *calibrate_requests;
	struct cluster_events *events;
	struct prompts *prompts;
	void (*restart)(void *arg);
	void *restart_arg;
	char path[PATH_MAX]; /* empty for an inherited descriptor */
	int fd;
	struct event *acceptable;
	struct loop_timer *pause; /* before it accepts again */
	int spare; /* a descriptor kept for refusing a client when there are none left; -1: not available */
	LIST_HEAD(, control_conn) conns;
	unsigned nconns;
	bool inherited;
};

static void control_close_fds(struct control_conn *c) {
	while (c->nfds > 0)
		close(c->fds[--c->nfds]);
}

static void conn_destroy(struct control_conn *c) {
	struct control *ctl = c->control;
	LIST_REMOVE(c, next);
	ctl->nconns--;
	if (c->busy && c->cancel)
		c->cancel(c->cancel_arg);
	control_close_fds(c);
	if (c->readable)
		event_free(c->readable);
	if (c->writable)
		event_free(c->writable);
	if (c->in)
		evbuffer_free(c->in);
	if (c->out)
		evbuffer_free(c->out);
	close(c->fd);
	free(c);
	if (ctl->inherited)
		loop_stop(ctl->loop);
}

/* Closes a broken connection, unless one of our functions is on the stack, which then does it. */
static void conn_settle(struct control_conn *c) {
	if (c->broken && c->depth == 0)
		conn_destroy(c);
}

static void conn_cut_off(struct control_conn *c, const char *why) {
	log_others(LOG_LINE_WARN, "control: a client was cut off: %s", why);
	c->broken = true;
	event_active(c->writable, EV_WRITE, 0); /* which closes it when nothing of it is on the stack */
}

static void conn_on_writable(evutil_socket_t fd, short what, void *arg) {
	static const struct timeval patience = {CONTROL_STALL_S, 0};
	struct control_conn *c = arg;
	if (what == EV_TIMEOUT && !c->broken)
		conn_cut_off(c, "it has read nothing for a while, and others wait for what it holds");
	while (!c->broken && evbuffer_get_length(c->out) > 0) {
		int n = evbuffer_write(c->out, fd);
		if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
			/* little unread output costs little: a user may page through it for any time */
			event_add(c->writable,
			        evbuffer_get_length(c->out) > CONTROL_OUT_LOW ? &patience : NULL);
			break;
		}
		if (n <= 0) {
			c->broken = true;
			break;
		}
	}
	if (!c->broken && evbuffer_get_length(c->out) <= CONTROL_OUT_LOW) {
		void (*drained)(void *arg) = c->drained;
		c->drained = NULL;
		c->depth++;
		if (drained) {
			drained(c->drained_arg);
		} else if (!c->busy && evbuffer_get_length(c->in) > 0) { /* a command that waited for this */
			event_add(c->readable, NULL);
			event_active(c->readable, EV_READ, 0);
		}
		c->depth--;
	}
	conn_settle(c);
}

size_t control_backlog(const struct control_conn *c) {
	return evbuffer_get_length(c->out);
}

void control_on_drained(struct control_conn *c, void (*fn)(void *arg), void *arg) {
	c->drained = fn;
	c->drained_arg = arg;
}

/* Limits what all clients have sent and not read: disconnects the one with the most. */
static void control_limit_memory(struct control *ctl) {
	struct control_conn *most = NULL;
	size_t sum = 0, its = 0;
	for (struct control_conn *c = LIST_FIRST(&ctl->conns); c; c = LIST_NEXT(c, next)) {
		size_t n = c->broken ? 0 : evbuffer_get_length(c->in) + evbuffer_get_length(c->out);
		sum += n;
		if (n > its) {
			its = n;
			most = c;
		}
	}
	if (sum > CONTROL_ALL_MAX && most)
		conn_cut_off(most, "clients together leave too much unread");
}

void control_send(struct control_conn *c, Caravan__Envelope *env, const void *payload, size_t len) {
	uint8_t header[FRAME_HEADER], *frame;
	size_t frame_len;
	if (c->broken)
		return;
	int rc = wire_pack(env, &frame, &frame_len);
	if (rc == 0) {
		frame_header(header, frame_len, len);
		if (evbuffer_get_length(c->out) + len > CONTROL_OUT_MAX ||
		        evbuffer_add(c->out, header, sizeof header) != 0 ||
		        evbuffer_add(c->out, frame, frame_len) != 0 ||
		        (len && evbuffer_add(c->out, payload, len) != 0))
			rc = -ENOBUFS;
		free(frame);
	}
	if (rc != 0)
		conn_cut_off(c, rc == -ENOBUFS ? "it does not read what it asked for" : strerror(-rc));
	else
		control_limit_memory(c->control);
	/* never closes here: the caller may still use what the cancel function frees */
	event_active(c->writable, EV_WRITE, 0);
}

void control_send_text(struct control_conn *c, const char *text, size_t len) {
	Caravan__CtlText body = CARAVAN__CTL_TEXT__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_TEXT, ctl_text, &body);
	control_send(c, &env, text, len);
}

void control_send_reasoning(struct control_conn *c, const char *text, size_t len) {
	Caravan__CtlText body = CARAVAN__CTL_TEXT__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_TEXT, ctl_text, &body);
	body.reasoning = true;
	control_send(c, &env, text, len);
}

void control_send_progress(struct control_conn *c, const char *what, const char *node, uint64_t done,
        uint64_t total, bool tokens) {
	Caravan__CtlProgress body = CARAVAN__CTL_PROGRESS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_PROGRESS, ctl_progress, &body);
	body.what = wire_string(what);
	body.node = wire_string(node);
	body.done = done;
	body.total = total;
	body.tokens = tokens;
	control_send(c, &env, NULL, 0);
}

static void conn_command_done(struct control_conn *c) {
	c->busy = false;
	c->drained = NULL;
	c->cancel = NULL;
	c->stop = NULL;
	control_close_fds(c);
	event_add(c->readable, NULL);
	/* the next command may already be in the buffer */
	event_active(c->readable, EV_READ, 0);
}

void control_end(struct control_conn *c, const Caravan__Finished *fin) {
	Caravan__CtlEnd end = CARAVAN__CTL_END__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_END, ctl_end, &end);
	end.finished = (Caravan__Finished *)fin;
	control_send(c, &env, NULL, 0);
	conn_command_done(c);
}

static void conn_refuse(struct control_conn *c, const char *text, bool too_long) {
	Caravan__CtlError error = CARAVAN__CTL_ERROR__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_ERROR, ctl_error, &error);
	error.message = wire_string(text);
	error.too_long = too_long;
	control_send(c, &env, NULL, 0);
	conn_command_done(c);
}

void control_error(struct control_conn *c, const char *fmt, ...) {
	char text[WIRE_TEXT_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	conn_refuse(c, text, false);
}

void control_error_too_long(struct control_conn *c, const char *text) {
	conn_refuse(c, text, true);
}

uint64_t control_client(const struct control_conn *c) {
	struct ucred who = {0};
	socklen_t len = sizeof who;
	if (getsockopt(c->fd, SOL_SOCKET, SO_PEERCRED, &who, &len) != 0)
		return UINT64_MAX;
	return (uint64_t)who.uid + 1;
}

void control_running(struct control_conn *c, void (*cancel)(void *arg), void *arg) {
	c->cancel = cancel;
	c->cancel_arg = arg;
}

void control_on_stop(struct control_conn *c, void (*stop)(void *arg)) {
	c->stop = stop;
}

struct serve *control_serve(struct control_conn *c) {
	return c->control->serve;
}

struct executor *control_loader(struct control_conn *c) {
	return c->control->executor;
}

struct cluster_events *control_events(struct control_conn *c) {
	return c->control->events;
}

struct calibrate_requests *control_measures(struct control_conn *c) {
	return c->control->calibrate_requests;
}

struct prompts *control_prompts(struct control_conn *c) {
	return c->control->prompts;
}

size_t control_fds(struct control_conn *c, const int **fds) {
	*fds = c->fds;
	return c->nfds;
}

/* ---- reading ------------------------------------------------------------------------------------- */

/* Reads what there is; 0, -EAGAIN when there is no more, or another negative errno when the client has
 * gone. */
static int conn_read_some(struct control_conn *c) {
	uint8_t buf[64 << 10];
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(FRAME_FDS_MAX * sizeof(int))];
	} control;
	struct iovec iov = {.iov_base = buf, .iov_len = sizeof buf};
	struct msghdr msg = {.msg_iov = &iov,
	        .msg_iovlen = 1,
	        .msg_control = control.space,
	        .msg_controllen = sizeof control.space};
	ssize_t n = recvmsg(c->fd, &msg, MSG_CMSG_CLOEXEC);
	if (n <= 0)
		return n == 0 ? -EPIPE : errno == EINTR ? 0 : -errno;
	for (struct cmsghdr *h = CMSG_FIRSTHDR(&msg); h; h = CMSG_NXTHDR(&msg, h)) {
		if (h->cmsg_level != SOL_SOCKET || h->cmsg_type != SCM_RIGHTS)
			continue;
		size_t count = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;
			memcpy(&fd, CMSG_DATA(h) + i * sizeof fd, sizeof fd);
			if (c->nfds < FRAME_FDS_MAX)
				c->fds[c->nfds++] = fd;
			else
				close(fd);
		}
	}
	if (msg.msg_flags & MSG_CTRUNC) {
		if (c->nfds == FRAME_FDS_MAX)
			return -E2BIG;
		c->lost = EMFILE; /* the process had no descriptors left for them */
	}
	return evbuffer_add(c->in, buf, (size_t)n) == 0 ? 0 : -ENOMEM;
}

/* Runs a command.  CtlCancel is for the one that is running; after its end it means nothing. */
static void conn_run(
        struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_CANCEL) {
		if (c->busy && c->stop)
			c->stop(c->cancel_arg);
		return;
	}
	c->busy = true;
	if (c->lost)
		control_error(c, "%s", descriptors_strerror(c->lost).s);
	else
		commands_run(c, env, payload, len);
	c->lost = 0;
}

/* Takes a whole message from the buffer and runs it; false: the buffer has none that may run now. */
static bool conn_take_message(struct control_conn *c) {
	char err[256];
	uint8_t header[FRAME_HEADER];
	size_t elen, plen;
	bool waits = c->busy || evbuffer_get_length(c->out) > CONTROL_OUT_LOW; /* for all but CtlCancel */
	if (c->broken || evbuffer_copyout(c->in, header, sizeof header) != sizeof header)
		return false;
	if (frame_parse(header, &elen, &plen) != 0) {
		log_others(LOG_LINE_WARN, "control: a client sent a message that is too large");
		c->broken = true;
		return false;
	}
	if (waits && elen + plen > CANCEL_MAX)
		return false;
	if (evbuffer_get_length(c->in) < FRAME_HEADER + elen + plen)
		return false;
	const uint8_t *all = evbuffer_pullup(c->in, (ev_ssize_t)(FRAME_HEADER + elen + plen));
	Caravan__Envelope *env =
	        all ? wire_unpack(all + FRAME_HEADER, elen, plen, WIRE_CONTROL, err, sizeof err) : NULL;
	if (!env) {
		log_others(LOG_LINE_WARN, "control: a client sent an invalid message: %s",
		        all ? err : "out of memory");
		c->broken = true;
		return false;
	}
	waits = waits && env->body_case != CARAVAN__ENVELOPE__BODY_CTL_CANCEL;
	if (!waits)
		conn_run(c, env, all + FRAME_HEADER + elen, plen);
	wire_free(env);
	if (waits)
		return false;
	evbuffer_drain(c->in, FRAME_HEADER + elen + plen);
	return true;
}

/* How much input of a client is buffered: one message of any length, or a short one while a command runs. */
static size_t conn_in_max(const struct control_conn *c) {
	return FRAME_HEADER + WIRE_ENVELOPE_MAX + (c->busy ? 0 : WIRE_PAYLOAD_MAX);
}

static void conn_on_readable(evutil_socket_t fd, short what, void *arg) {
	struct control_conn *c = arg;
	int rc = 0;
	(void)fd;
	(void)what;
	c->depth++;
	/* a client may not queue much behind a running command */
	while (rc == 0 && evbuffer_get_length(c->in) < conn_in_max(c))
		rc = conn_read_some(c);
	control_limit_memory(c->control);
	while (conn_take_message(c))
		;
	if (evbuffer_get_length(c->in) >= conn_in_max(c))
		event_del(c->readable); /* until the command has ended */
	c->depth--;
	if (rc != 0 && rc != -EAGAIN)
		c->broken = true;
	conn_settle(c);
}

/* ---- connections --------------------------------------------------------------------------------- */

static int conn_create(struct control *ctl, int fd) {
	struct control_conn *c = calloc(1, sizeof *c);
	if (!c) {
		close(fd);
		return -ENOMEM;
	}
	c->control = ctl;
	c->fd = fd;
	c->in = evbuffer_new();
	c->out = evbuffer_new();
	evutil_make_socket_nonblocking(fd);
	c->readable = event_new(loop_base(ctl->loop), fd, EV_READ | EV_PERSIST, conn_on_readable, c);
	c->writable = event_new(loop_base(ctl->loop), fd, EV_WRITE, conn_on_writable, c);
	LIST_INSERT_HEAD(&ctl->conns, c, next);
	ctl->nconns++;
	if (!c->in || !c->out || !c->readable || !c->writable || event_add(c->readable, NULL) != 0) {
		conn_destroy(c);
		return -ENOMEM;
	}
	return 0;
}

/* Sends a reason, as far as it can be sent at once, and closes. */
static void control_turn_away(int conn, const char *why) {
	uint8_t header[FRAME_HEADER], *frame;
	size_t len;
	Caravan__CtlError error = CARAVAN__CTL_ERROR__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_ERROR, ctl_error, &error);
	error.message = wire_string(why);
	if (wire_pack(&env, &frame, &len) == 0) {
		frame_header(header, len, 0);
		if (send(conn, header, sizeof header, MSG_NOSIGNAL) == sizeof header)
			(void)!send(conn, frame, len, MSG_NOSIGNAL);
		free(frame);
	}
	/* read its request first: closing with unread input would reset the connection, and lose the
	 * reason */
	shutdown(conn, SHUT_WR);
	char rest[4096];
	while (recv(conn, rest, sizeof rest, MSG_DONTWAIT) > 0)
		;
	close(conn);
}

static void control_accept_again(void *arg) {
	struct control *ctl = arg;
	ctl->pause = NULL;
	event_add(ctl->acceptable, NULL);
}

static void control_on_accept(evutil_socket_t fd, short what, void *arg) {
	struct control *ctl = arg;
	(void)what;
	int conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), rc = conn < 0 ? errno : 0;
	if (conn < 0 && (rc == EMFILE || rc == ENFILE) && ctl->spare >= 0) {
		/* uses the spare descriptor, so that the client gets the reason */
		struct descriptors_text why = descriptors_strerror(rc);
		log_line(LOG_LINE_ERROR, "control: %s", why.s);
		close(ctl->spare);
		if ((conn = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0)
			control_turn_away(conn, why.s);
		ctl->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
		conn = -1;
	}
	if (conn < 0) {
		/* a waiting client keeps the socket readable all the time */
		if (rc != EAGAIN && rc != EINTR && rc != ECONNABORTED &&
		        (ctl->pause = loop_timer_start(
		                 ctl->loop, ACCEPT_PAUSE_MS, false, control_accept_again, ctl)))
			event_del(ctl->acceptable);
		return;
	}
	if (ctl->spare < 0)
		ctl->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (ctl->nconns >= CONTROL_CLIENTS_MAX)
		control_turn_away(conn, "too many clients at once");
	else if (descriptors_short(CONTROL_RESERVE))
		control_turn_away(conn, descriptors_strerror(EMFILE).s);
	else
		(void)conn_create(ctl, conn);
}

static int control_listen_on(struct control *ctl, char *err, size_t errlen) {
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char dir[PATH_MAX];
	if (strlen(ctl->path) >= sizeof addr.sun_path)
		return fail_with(-ENAMETOOLONG, err, errlen,
		        "the path of the control socket is longer than %zu bytes: %s",
		        sizeof addr.sun_path - 1, ctl->path);
	memcpy(addr.sun_path, ctl->path, strlen(ctl->path) + 1);
	snprintf(dir, sizeof dir, "%s", ctl->path);
	char *slash = strrchr(dir, '/');
	if (slash && slash != dir) {
		*slash = '\0';
		int rc = durable_mkdirs(dir);
		if (rc != 0)
			return fail_with(rc, err, errlen,
			        "cannot create the folder %s for the control socket: %s", dir, strerror(-rc));
	}
	ctl->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (ctl->fd < 0)
		return -errno;
	if (connect(ctl->fd, (struct sockaddr *)&addr, sizeof addr) == 0)
		return fail_with(-EADDRINUSE, err, errlen, "another caravand answers on %s", ctl->path);
	if (errno == ECONNREFUSED)
		unlink(ctl->path);
	/* a failed connect may leave the socket unusable for bind */
	close(ctl->fd);
	ctl->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t mask = umask(0177);
	int rc = ctl->fd < 0 || bind(ctl->fd, (struct sockaddr *)&addr, sizeof addr) != 0 ||
	                         listen(ctl->fd, 64) != 0
	                 ? -errno
	                 : 0;
	umask(mask);
	if (rc != 0)
		snprintf(err, errlen, "cannot listen on the control socket %s: %s", ctl->path, strerror(-rc));
	return rc;
}

void (*control_restart(struct control_conn *c, void **arg))(void *arg) {
	*arg = c->control->restart_arg;
	return c->control->restart;
}

int control_create(struct control **out, const struct control_config *cfg, char *err, size_t errlen) {
	struct control *ctl = calloc(1, sizeof *ctl);
	int rc = -ENOMEM;
	if (!ctl)
		goto error;
	ctl->loop = cfg->loop;
	ctl->serve = cfg->serve;
	ctl->executor = cfg->executor;
	ctl->calibrate_requests = cfg->calibrate_requests;
	ctl->events = cfg->events;
	ctl->restart = cfg->restart;
	ctl->restart_arg = cfg->arg;
	ctl->fd = -1;
	ctl->spare = -1;
	if ((rc = prompts_create(&ctl->prompts, cfg->loop, cfg->serve)) != 0) {
		snprintf(err, errlen, "control: cannot start a thread: %s", strerror(-rc));
		goto error;
	}
	ctl->spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (strncmp(cfg->path, "fd:", 3) == 0) {
		char *stop;
		long fd = strtol(cfg->path + 3, &stop, 10);
		if (stop == cfg->path + 3 || *stop || fd < 3 || fd > INT_MAX || fcntl((int)fd, F_GETFD) < 0) {
			rc = fail_with(
			        -EBADF, err, errlen, "--control %s: that descriptor is not open", cfg->path);
			goto error;
		}
		fcntl((int)fd, F_SETFD, FD_CLOEXEC);
		rc = conn_create(ctl, (int)fd);
		ctl->inherited = true;
	} else {
		char *path = ctl->path;
		if (snprintf(path, sizeof ctl->path, "%s", cfg->path) >= (int)sizeof ctl->path)
			*path = '\0';
		rc = control_listen_on(ctl, err, errlen);
		if (rc != 0) {
			*path = '\0'; /* it belongs to another daemon: do not remove it */
			goto error;
		}
		ctl->acceptable = event_new(
		        loop_base(ctl->loop), ctl->fd, EV_READ | EV_PERSIST, control_on_accept, ctl);
		rc = ctl->acceptable && event_add(ctl->acceptable, NULL) == 0 ? 0 : -ENOMEM;
	}
	if (rc != 0) {
		snprintf(err, errlen, "control: %s", strerror(-rc));
		goto error;
	}
	*out = ctl;
	return 0;
error:
	if (rc == -ENOMEM)
		snprintf(err, errlen, "control: out of memory");
	control_destroy(ctl);
	return rc;
}

void control_destroy(struct control *c) {
	if (!c)
		return;
	c->inherited = false;
	while (!LIST_EMPTY(&c->conns))
		conn_destroy(LIST_FIRST(&c->conns));
	prompts_destroy(c->prompts);
	loop_timer_stop(c->pause);
	if (c->acceptable)
		event_free(c->acceptable);
	if (c->spare >= 0)
		close(c->spare);
	if (c->fd >= 0)
		close(c->fd);
	if (*c->path)
		unlink(c->path);
	free(c);
}
