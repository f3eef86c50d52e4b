/* client: see client.h. */
#include "cli/client.h"
#include "cli/args.h"
#include "cli/command.h"
#include "cli/lent.h"
#include "cli/progress.h"
#include "common/paths.h"
#include "common/size.h"
#include "shard/gguf/gguf.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
	int fd;
	int (*fn)(void *arg);
	void *arg;
} wake = {.fd = -1};

void client_on_wake(int fd, int (*fn)(void *arg), void *arg) {
	wake.fd = fd;
	wake.fn = fn;
	wake.arg = arg;
}

static struct {
	int ms;
	void (*fn)(void *arg);
	void *arg;
} silence;

void client_on_silence(int ms, void (*fn)(void *arg), void *arg) {
	silence.ms = ms;
	silence.fn = fn;
	silence.arg = arg;
}

/* Waits for input of the daemon; false: the wait was ended. */
static bool client_wait_input(const struct client *c) {
	struct pollfd p[2] = {{.fd = c->fd, .events = POLLIN}, {.fd = wake.fd, .events = POLLIN}};
	for (;;) {
		int n = poll(p, 2, silence.fn ? silence.ms : -1);
		if (n == 0)
			silence.fn(silence.arg);
		if (n > 0 && p[1].revents && wake.fn(wake.arg) != 0)
			return false;
		if (n > 0 && p[0].revents)
			return true;
		if (n < 0 && errno != EINTR)
			return true; /* reading shows the error */
	}
}

bool client_is_lost(const struct client *c) {
	char byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

/* Connects to the socket at this path.  0 or a negative errno. */
static int client_connect_to(struct client *c, const char *path) {
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof addr.sun_path)
		return -ENAMETOOLONG;
	memcpy(addr.sun_path, path, strlen(path) + 1);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (c->fd >= 0 && connect(c->fd, (struct sockaddr *)&addr, sizeof addr) == 0)
		return 0;
	int rc = -errno;
	client_close(c);
	return rc;
}

static int client_cannot_connect(const char *path, int rc) {
	struct stat st;
	if (rc == -ENAMETOOLONG)
		return fail("the path of the control socket is too long (at most %zu bytes): %s",
		        sizeof((struct sockaddr_un *)0)->sun_path - 1, path);
	if (rc == -ECONNREFUSED && stat(path, &st) == 0 && !S_ISSOCK(st.st_mode))
		return fail("%s is not a socket%s", path,
		        S_ISDIR(st.st_mode) ? " but a folder: its socket may be control.sock in it" : "");
	if (rc == -EACCES)
		return fail("cannot connect to %s: %s; it belongs to another user (a service's answers sudo)",
		        path, strerror(-rc));
	return fail("cannot connect to %s: %s", path, strerror(-rc));
}

int client_open(struct client *c, const char *control) {
	char path[PATH_MAX], places[3 * PATH_MAX + 64] = "", odd[PATH_MAX] = "";
	size_t len = 0;
	int why = 0;
	*c = (struct client){.fd = -1};
	for (unsigned i = 0;; i++) {
		int rc = paths_control_search(control, i, path, sizeof path);
		if (rc == -ENOENT)
			break;
		if (rc == 0 && (rc = client_connect_to(c, path)) == 0)
			return 0;
		struct stat st;
		bool absent = rc == -ENOENT || rc == -ENOTDIR ||
		              (rc == -ECONNREFUSED && (stat(path, &st) != 0 || S_ISSOCK(st.st_mode)));
		if (!absent && !why) { /* something is there but cannot be used: more useful than "nothing" */
			why = rc;
			snprintf(odd, sizeof odd, "%s", path);
		}
		if (len < sizeof places && !strstr(places, path))
			len += (size_t)snprintf(
			        places + len, sizeof places - len, "%s%s", len ? " or " : "", path);
	}
	if (why)
		return client_cannot_connect(odd, why);
	return fail("no caravand answers on %s: start one, or name its socket with --control", places);
}

/* Runs the one beside this program, where make and the package put it; else the one in PATH. */
static void client_exec_daemon(char **argv) {
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - sizeof "caravand");
	if (n > 0) {
		self[n] = '\0';
		char *slash = strrchr(self, '/');
		strcpy(slash ? slash + 1 : self, "caravand");
		execv(self, argv);
	}
	execvp("caravand", argv);
}

int client_private(struct client *c, const char *lent, unsigned threads) {
	int pair[2];
	char control[32], count[16];
	*c = (struct client){.fd = -1};
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0)
		return fail("cannot make a socket pair: %s", strerror(errno));
	fcntl(pair[0], F_SETFD, FD_CLOEXEC);
	snprintf(control, sizeof control, "fd:%d", pair[1]);
	snprintf(count, sizeof count, "%u", threads);
	char *argv[10] = {"caravand", "--listen", "off", "--control", control};
	size_t n = 5;
	if (lent) {
		argv[n++] = "--borrow";
		argv[n++] = (char *)lent;
	}
	if (threads) {
		argv[n++] = "--threads";
		argv[n++] = count;
	}
	pid_t pid = fork();
	if (pid == 0) {
		/* Ctrl-C is for the command; the daemon ends with it */
		sigset_t interrupt;
		sigemptyset(&interrupt);
		sigaddset(&interrupt, SIGINT);
		sigprocmask(SIG_BLOCK, &interrupt, NULL);
		client_exec_daemon(argv);
		fprintf(stderr, "caravan: cannot start caravand: %s\n", strerror(errno));
		_exit(127);
	}
	close(pair[1]);
	c->fd = pair[0];
	if (pid < 0) {
		client_close(c);
		return fail("cannot start caravand: %s", strerror(errno));
	}
	c->daemon = pid;
	return 0;
}

void client_close(struct client *c) {
	if (c->fd >= 0)
		close(c->fd);
	c->fd = -1;
	/* a private daemon ends when its client does; it may need a moment for what it is computing */
	if (c->daemon > 0)
		while (waitpid(c->daemon, NULL, 0) < 0 && errno == EINTR)
			;
	c->daemon = 0;
	wire_free(c->env);
	c->env = NULL;
	free(c->frame);
	c->frame = NULL;
	c->capacity = 0;
}

static int client_write_all(int fd, const void *data, size_t len) {
	const uint8_t *p = data;
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int client_send_header(int fd, const uint8_t *header, const int *fds, size_t nfds) {
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(FRAME_FDS_MAX * sizeof(int))];
	} control = {0};
	struct iovec iov = {.iov_base = (void *)header, .iov_len = FRAME_HEADER};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	if (nfds) {
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(h), fds, nfds * sizeof(int));
	}
	ssize_t n;
	do
		n = sendmsg(fd, &msg, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : client_write_all(fd, header + n, FRAME_HEADER - (size_t)n);
}

int client_send(struct client *c, const Caravan__Envelope *env, const void *payload, size_t len,
        const int *fds, size_t nfds) {
	uint8_t header[FRAME_HEADER], *frame;
	size_t frame_len;
	char err[256];
	if (len > WIRE_PAYLOAD_MAX)
		return fail("the message is too long: %s; the limit is %s", size_text((double)len).s,
		        size_text(WIRE_PAYLOAD_MAX).s);
	if (!wire_valid(env, len, WIRE_CONTROL, err, sizeof err)) /* the daemon would only hang up */
		return fail("invalid request: %s", err);
	int rc = wire_pack(env, &frame, &frame_len);
	if (rc == 0) {
		frame_header(header, frame_len, len);
		rc = client_send_header(c->fd, header, fds, nfds);
		if (rc == 0)
			rc = client_write_all(c->fd, frame, frame_len);
		if (rc == 0)
			rc = client_write_all(c->fd, payload, len);
		free(frame);
	}
	/* a daemon that hung up may have sent the reason: reading the answer shows it */
	return rc == 0 || rc == -EPIPE ? 0 : fail("cannot reach the daemon: %s", strerror(-rc));
}

/* 0, or -1 after reporting the error. */
static int client_read_all(struct client *c, void *data, size_t len) {
	uint8_t *p = data;
	while (len > 0) {
		if ((wake.fd >= 0 || silence.fn) && !client_wait_input(c))
			return -1;
		ssize_t n = recv(c->fd, p, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			fail("lost the connection to the daemon%s%s; if it has ended, start caravand again",
			        n < 0 ? ": " : "", n < 0 ? strerror(errno) : "");
			return -1;
		}
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static const Caravan__Envelope *client_next_message(struct client *c, const uint8_t **payload, size_t *len) {
	uint8_t header[FRAME_HEADER];
	char err[256];
	size_t elen, plen;
	wire_free(c->env);
	c->env = NULL;
	if (client_read_all(c, header, sizeof header) != 0)
		return NULL;
	if (frame_parse(header, &elen, &plen) != 0) {
		fail("the daemon sent a message that is too large");
		return NULL;
	}
	if (elen + plen > c->capacity) {
		free(c->frame);
		c->capacity = elen + plen;
		if (!(c->frame = malloc(c->capacity))) {
			c->capacity = 0;
			fail("out of memory");
			return NULL;
		}
	}
	if (client_read_all(c, c->frame, elen + plen) != 0)
		return NULL;
	c->env = wire_unpack(c->frame, elen, plen, WIRE_COMMAND, err, sizeof err);
	if (!c->env) {
		fail("the daemon sent an invalid message: %s", err);
		return NULL;
	}
	*payload = c->frame + elen;
	*len = plen;
	return c->env;
}

const Caravan__Envelope *client_next(struct client *c, const uint8_t **payload, size_t *len) {
	const Caravan__Envelope *env;
	while ((env = client_next_message(c, payload, len)) &&
	        env->body_case == CARAVAN__ENVELOPE__BODY_CTL_NOTE) {
		progress_clear();
		fail("%s", env->ctl_note->text);
	}
	return env;
}

Caravan__Envelope *client_take(struct client *c) {
	Caravan__Envelope *env = c->env;
	c->env = NULL;
	return env;
}

static bool client_name_ends_with(const char *name, const char *tail) {
	size_t n = strlen(name), t = strlen(tail);
	return n > t && strcmp(name + n - t, tail) == 0;
}

/* Whether a file of this name is meant as a model: a GGUF file, which other programs store under a hash without a suffix; or one
 * that cannot be loaded, for which an error about its contents is more useful than "unknown model". */
static bool client_is_model_file(const char *name) {
	static const char *const others[] = {
	        ".safetensors", ".bin", ".pt", ".pth", ".ggml", ".part", ".crdownload", ".incomplete"};
	for (size_t i = 0; i < sizeof others / sizeof *others; i++)
		if (client_name_ends_with(name, others[i]) && access(name, F_OK) == 0)
			return true;
	char magic[4];
	int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool is =
	        fd >= 0 && pread(fd, magic, sizeof magic, 0) == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
	if (fd >= 0)
		close(fd);
	return is;
}

bool client_is_path(const char *model) {
	size_t n = strlen(model);
	return strchr(model, '/') || (n >= 5 && strcmp(model + n - 5, ".gguf") == 0) ||
	       client_is_model_file(model);
}

/* Which file of a folder should have been named. */
static int client_fail_folder(const char *path) {
	char first[256] = "";
	unsigned models = 0, safetensors = 0;
	size_t len = strlen(path);
	const char *slash = len > 0 && path[len - 1] == '/' ? "" : "/";
	DIR *d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		const char *of = strstr(e->d_name, "-of-");
		safetensors += client_name_ends_with(e->d_name, ".safetensors");
		if (!client_name_ends_with(e->d_name, ".gguf") ||
		        (of && of - e->d_name >= 6 && strncmp(of - 6, "-00001", 6) != 0))
			continue;
		if (models++ == 0 || strcmp(e->d_name, first) < 0)
			snprintf(first, sizeof first, "%s", e->d_name);
	}
	if (d)
		closedir(d);
	if (models == 1)
		return fail("%s is a folder: name the model in it, %s%s%s", path, path, slash, first);
	if (models > 1)
		return fail("%s is a folder of %u models: name one of them, such as %s%s%s", path, models,
		        path, slash, first);
	if (safetensors > 0)
		return fail("%s is a folder of safetensors: convert the model to GGUF first "
		            "(convert_hf_to_gguf.py of llama.cpp), or get it as GGUF",
		        path);
	return fail("%s is a folder without a .gguf file", path);
}

int client_open_model(const char *path, int *fds, size_t *nfds) {
	char err[512], **part = NULL;
	size_t parts = 0;
	int rc = 0;
	*nfds = 0;
	if (gguf_parts(path, &part, &parts, err, sizeof err) != 0)
		return fail("%s", err);
	if (parts > FRAME_FDS_MAX)
		rc = fail("%s has %zu parts; the limit is %d", path, parts, FRAME_FDS_MAX);
	for (size_t i = 0; rc == 0 && i < parts; i++) {
		struct stat st;
		int fd = open(part[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* do not wait for a pipe */
		if (fd < 0 || fstat(fd, &st) != 0)
			rc = fail("cannot open %s: %s", part[i], strerror(errno));
		else if (S_ISDIR(st.st_mode))
			rc = client_fail_folder(part[i]);
		else if (!S_ISREG(st.st_mode))
			rc = fail("%s is not a regular file", part[i]);
		if (fd >= 0)
			fds[(*nfds)++] = fd;
	}
	for (size_t i = 0; i < parts; i++)
		free(part[i]);
	free(part);
	while (rc != 0 && *nfds > 0)
		close(fds[--*nfds]);
	return rc;
}

static int client_load_private(
        struct client *c, const char *path, const char *name, const Caravan__CtlLoad *how) {
	int fds[FRAME_FDS_MAX];
	size_t nfds;
	Caravan__CtlLoad load = CARAVAN__CTL_LOAD__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_LOAD, ctl_load, &load);
	int rc = client_open_model(path, fds, &nfds);
	if (rc != 0)
		return rc;
	if (how)
		load = *how;
	load.file = wire_string(path);
	load.name = wire_string(name);
	load.parallel = 1;
	rc = client_send(c, &env, NULL, 0, fds, nfds);
	while (nfds > 0)
		close(fds[--nfds]);
	return rc == 0 ? client_wait(c) : rc;
}

int client_for_model(struct client *c, const char *control, const char **model, unsigned threads,
        const Caravan__CtlLoad *how) {
	if (*model && !client_is_path(*model) && !wire_name_ok(*model)) {
		*c = (struct client){.fd = -1};
		return fail(
		        "'%s' is neither the name of a model nor a path: a path contains / or ends in .gguf",
		        *model);
	}
	if (!*model || !client_is_path(*model))
		return client_open(c, control);
	static char name[WIRE_NAME_MAX + 1];
	char lent[PATH_MAX];
	int rc = client_private(c, lent_store(control, lent, sizeof lent) ? lent : NULL, threads);
	paths_model_name(name, sizeof name, *model);
	if (rc == 0 && (rc = client_load_private(c, *model, name, how)) != 0)
		client_close(c);
	*model = name;
	return rc;
}

int client_wait(struct client *c) {
	return client_wait_with(c, NULL, NULL);
}

int client_wait_with(struct client *c, client_answer_fn *fn, void *arg) {
	const uint8_t *payload;
	size_t len;
	const Caravan__Envelope *env;
	int rc = EXIT_FAILED;
	while ((env = client_next(c, &payload, &len))) {
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_PROGRESS) {
			progress_show(env->ctl_progress);
			continue;
		}
		progress_clear();
		if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_END)
			rc = EXIT_OK;
		else if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_ERROR)
			fail("%s", env->ctl_error->message);
		else if (!fn || (rc = fn(arg, c, env)) == 0) {
			rc = EXIT_FAILED;
			continue;
		}
		return rc;
	}
	progress_clear();
	return rc;
}
