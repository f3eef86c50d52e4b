/* The control socket, with commands of our own in the place of commands.c: one at a time, whole messages alone, and bounds
 * on what a client leaves unread.  The client is a thread. */
#include "daemon/api/commands.h"
#include "daemon/api/control.h"
#include "daemon/core/loop.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char folder[] = "/tmp/check_control.XXXXXX", path[64];
static struct loop *loop;
static struct control *control;

/* ---- the commands: on the loop ------------------------------------------------------------------------ */

static struct control_conn *held;
static unsigned begun, cancelled, stopped;
static int first_fd = -1;
static bool flood_cut;

static void note_cancel(void *arg) {
	(void)arg;
	cancelled++;
	held = NULL;
}

static void note_stop(void *arg) {
	(void)arg;
	stopped++;
	control_end(held, NULL);
	held = NULL;
}

static void send_text(struct control_conn *c, const void *text, size_t len) {
	Caravan__CtlText body = CARAVAN__CTL_TEXT__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_TEXT, ctl_text, &body);
	control_send(c, &env, text, len);
}

/* More than a client may leave unread, at once. */
static void flood(struct control_conn *c) {
	size_t part = WIRE_PAYLOAD_MAX, before;
	uint8_t *data = calloc(1, part);
	control_running(c, note_cancel, NULL);
	for (size_t sum = 0; sum < CONTROL_OUT_MAX + 2 * part; sum += part) {
		before = control_backlog(c);
		send_text(c, data, part);
		flood_cut = control_backlog(c) == before;
		ck_assert_uint_le(control_backlog(c), CONTROL_OUT_MAX + 1000);
	}
	free(data);
}

void commands_run(struct control_conn *c, const Caravan__Envelope *env, const uint8_t *payload, size_t len) {
	const int *fds;
	begun++;
	switch (env->body_case) {
	case CARAVAN__ENVELOPE__BODY_CTL_TOKENIZE: /* an echo */
		send_text(c, payload, len);
		control_end(c, NULL);
		break;
	case CARAVAN__ENVELOPE__BODY_CTL_MODELS: /* goes on until the test says so */
		held = c;
		control_running(c, note_cancel, NULL);
		control_on_stop(c, note_stop);
		break;
	case CARAVAN__ENVELOPE__BODY_CTL_KEYS: /* the same, and cannot be stopped */
		held = c;
		control_running(c, note_cancel, NULL);
		break;
	case CARAVAN__ENVELOPE__BODY_CTL_LOAD: {
		size_t n = control_fds(c, &fds);
		first_fd = n ? fds[0] : -1;
		control_error(c, "%zu descriptors", n);
		break;
	}
	case CARAVAN__ENVELOPE__BODY_CTL_LEAVE:
		flood(c);
		break;
	default:
		control_end(c, NULL);
		break;
	}
}

void commands_end(void) {}

static void let_go(void *arg) {
	(void)arg;
	ck_assert_ptr_nonnull(held);
	control_end(held, NULL);
	held = NULL;
}

static void stop(void *arg) {
	(void)arg;
	loop_stop(loop);
}

/* ---- the client: a thread ------------------------------------------------------------------------------ */

static int dial(void) {
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	ck_assert_int_eq(connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	return fd;
}

/* A command of this kind with a payload as bytes to send; how many. */
static size_t make(uint8_t **out, Caravan__Envelope__BodyCase kind, const void *payload, size_t len) {
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	Caravan__CtlTokenize tokenize = CARAVAN__CTL_TOKENIZE__INIT;
	Caravan__CtlModels models = CARAVAN__CTL_MODELS__INIT;
	Caravan__CtlKeys keys = CARAVAN__CTL_KEYS__INIT;
	Caravan__CtlCancel cancel = CARAVAN__CTL_CANCEL__INIT;
	Caravan__CtlLeave leave = CARAVAN__CTL_LEAVE__INIT;
	Caravan__CtlStatus status = CARAVAN__CTL_STATUS__INIT;
	Caravan__CtlLoad load = CARAVAN__CTL_LOAD__INIT;
	Caravan__Ack ack = CARAVAN__ACK__INIT;
	load.file = "x";
	uint8_t *frame;
	size_t n;
	env.body_case = kind;
	if (kind == CARAVAN__ENVELOPE__BODY_CTL_TOKENIZE)
		env.ctl_tokenize = &tokenize;
	else if (kind == CARAVAN__ENVELOPE__BODY_CTL_MODELS)
		env.ctl_models = &models;
	else if (kind == CARAVAN__ENVELOPE__BODY_CTL_KEYS)
		env.ctl_keys = &keys;
	else if (kind == CARAVAN__ENVELOPE__BODY_CTL_CANCEL)
		env.ctl_cancel = &cancel;
	else if (kind == CARAVAN__ENVELOPE__BODY_CTL_LEAVE)
		env.ctl_leave = &leave;
	else if (kind == CARAVAN__ENVELOPE__BODY_CTL_LOAD)
		env.ctl_load = &load;
	else if (kind == CARAVAN__ENVELOPE__BODY_ACK)
		env.ack = &ack;
	else
		env.ctl_status = &status;
	ck_assert_int_eq(wire_pack(&env, &frame, &n), 0);
	*out = malloc(FRAME_HEADER + n + len);
	frame_header(*out, n, len);
	memcpy(*out + FRAME_HEADER, frame, n);
	if (len)
		memcpy(*out + FRAME_HEADER + n, payload, len);
	free(frame);
	return FRAME_HEADER + n + len;
}

static void say(int fd, Caravan__Envelope__BodyCase kind, const void *payload, size_t len) {
	uint8_t *bytes;
	size_t n = make(&bytes, kind, payload, len);
	ck_assert_int_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
	free(bytes);
}

static bool read_whole(int fd, void *out, size_t len) {
	for (size_t at = 0; at < len;) {
		ssize_t n = recv(fd, (char *)out + at, len - at, 0);
		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

/* The next answer; what kind, 0: the connection is closed.  Its payload, or its error as text, in text. */
static unsigned hear(int fd, char *text, size_t size) {
	uint8_t header[FRAME_HEADER], *bytes;
	size_t elen, plen;
	char err[200];
	if (!read_whole(fd, header, sizeof header))
		return 0;
	ck_assert_int_eq(frame_parse(header, &elen, &plen), 0);
	bytes = malloc(elen + plen + 1);
	ck_assert(read_whole(fd, bytes, elen + plen));
	bytes[elen + plen] = 0;
	Caravan__Envelope *env = wire_unpack(bytes, elen, plen, WIRE_COMMAND, err, sizeof err);
	ck_assert_msg(env, "%s", err);
	unsigned kind = env->body_case;
	snprintf(text, size, "%s",
	        kind == CARAVAN__ENVELOPE__BODY_CTL_ERROR ? env->ctl_error->message : (char *)bytes + elen);
	wire_free(env);
	free(bytes);
	return kind;
}

#define END CARAVAN__ENVELOPE__BODY_CTL_END
#define TEXT CARAVAN__ENVELOPE__BODY_CTL_TEXT

typedef void *client_fn(void *arg);

/* Runs the loop until the client has ended. */
static void with_client(client_fn *client) {
	pthread_t thread;
	ck_assert_int_eq(pthread_create(&thread, NULL, client, NULL), 0);
	ck_assert_int_eq(loop_run(loop), 0);
	pthread_join(thread, NULL);
}

static int open_control(struct control **out, char *err, size_t errlen) {
	return control_create(out, &(struct control_config){.loop = loop, .path = path}, err, errlen);
}

static void begin(void) {
	char err[300];
	snprintf(folder, sizeof folder, "/tmp/check_control.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/socket", folder);
	ck_assert_int_eq(loop_create(&loop), 0);
	ck_assert_int_eq(open_control(&control, err, sizeof err), 0);
}

static void end(void) {
	control_destroy(control);
	loop_destroy(loop);
	ck_assert_int_eq(rmdir(folder), 0); /* the socket has gone */
}

/* ---- messages ------------------------------------------------------------------------------------------ */

static void *in_pieces(void *arg) {
	char text[100];
	uint8_t *bytes;
	int fd = dial();
	size_t n = make(&bytes, CARAVAN__ENVELOPE__BODY_CTL_TOKENIZE, "hello", 5);
	for (size_t i = 0; i < n; i++) {
		if (i + 1 == n) /* what came so far has been looked at */
			poll(NULL, 0, 50);
		ck_assert_int_eq(send(fd, bytes + i, 1, MSG_NOSIGNAL), 1);
	}
	free(bytes);
	ck_assert_uint_eq(hear(fd, text, sizeof text), TEXT);
	ck_assert_str_eq(text, "hello");
	ck_assert_uint_eq(hear(fd, text, sizeof text), END);
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_STATUS, NULL, 0);
	ck_assert_uint_eq(hear(fd, text, sizeof text), END);
	close(fd);
	loop_post(loop, stop, arg);
	return NULL;
}

START_TEST(messages_in_pieces) {
	with_client(in_pieces);
	ck_assert_uint_eq(begun, 2);
}
END_TEST

static void *two_at_once(void *arg) {
	char text[100];
	int fd = dial(), other = dial();
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_MODELS, NULL, 0);
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_TOKENIZE, "second", 6);
	/* another client is not kept waiting; when it has its answer, what we said has been read */
	say(other, CARAVAN__ENVELOPE__BODY_CTL_STATUS, NULL, 0);
	ck_assert_uint_eq(hear(other, text, sizeof text), END);
	ck_assert_int_eq(recv(fd, text, 1, MSG_DONTWAIT), -1);
	loop_post(loop, let_go, NULL);
	ck_assert_uint_eq(hear(fd, text, sizeof text), END);
	ck_assert_uint_eq(hear(fd, text, sizeof text), TEXT);
	ck_assert_str_eq(text, "second");
	ck_assert_uint_eq(hear(fd, text, sizeof text), END);
	close(fd);
	close(other);
	loop_post(loop, stop, arg);
	return NULL;
}

START_TEST(one_command_at_a_time) {
	with_client(two_at_once);
	ck_assert_uint_eq(begun, 3);
	ck_assert_uint_eq(cancelled, 0);
}
END_TEST

static void *change_mind(void *arg) {
	char text[100];
	int fd = dial();
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_CANCEL, NULL, 0); /* of nothing: no answer */
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_MODELS, NULL, 0);
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_CANCEL, NULL, 0);
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_CANCEL, NULL, 0); /* it has ended */
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_TOKENIZE, "next", 4);
	ck_assert_uint_eq(hear(fd, text, sizeof text), END);
	ck_assert_uint_eq(hear(fd, text, sizeof text), TEXT);
	ck_assert_str_eq(text, "next");
	ck_assert_uint_eq(hear(fd, text, sizeof text), END);
	/* one that cannot be stopped goes on */
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_KEYS, NULL, 0);
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_CANCEL, NULL, 0);
	poll(NULL, 0, 50);
	loop_post(loop, let_go, NULL);
	ck_assert_uint_eq(hear(fd, text, sizeof text), END);
	close(fd);
	loop_post(loop, stop, arg);
	return NULL;
}

START_TEST(a_command_is_stopped_by_its_client) {
	with_client(change_mind);
	ck_assert_uint_eq(begun, 3);
	ck_assert_uint_eq(stopped, 1);
	ck_assert_uint_eq(cancelled, 0);
}
END_TEST

static void *junk(void *arg) {
	char text[100];
	uint8_t header[FRAME_HEADER];
	int fd = dial();
	frame_header(header, WIRE_ENVELOPE_MAX + 1, 0);
	ck_assert_int_eq(send(fd, header, sizeof header, MSG_NOSIGNAL), sizeof header);
	ck_assert_uint_eq(hear(fd, text, sizeof text), 0);
	close(fd);
	fd = dial();
	frame_header(header, 10, WIRE_PAYLOAD_MAX + 1);
	ck_assert_int_eq(send(fd, header, sizeof header, MSG_NOSIGNAL), sizeof header);
	ck_assert_uint_eq(hear(fd, text, sizeof text), 0);
	close(fd);
	fd = dial();
	say(fd, CARAVAN__ENVELOPE__BODY_ACK, NULL, 0); /* which nodes say */
	ck_assert_uint_eq(hear(fd, text, sizeof text), 0);
	close(fd);
	loop_post(loop, stop, arg);
	return NULL;
}

START_TEST(what_is_no_command_ends_the_connection) {
	with_client(junk);
	ck_assert_uint_eq(begun, 0);
}
END_TEST

static void *go_away(void *arg) {
	char text[100];
	int fd = dial(), other = dial();
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_MODELS, NULL, 0);
	say(other, CARAVAN__ENVELOPE__BODY_CTL_STATUS, NULL, 0);
	ck_assert_uint_eq(hear(other, text, sizeof text), END);
	close(fd);
	/* the end of the first is seen before an answer to the second time */
	for (int i = 0; i < 2; i++) {
		say(other, CARAVAN__ENVELOPE__BODY_CTL_STATUS, NULL, 0);
		ck_assert_uint_eq(hear(other, text, sizeof text), END);
	}
	close(other);
	loop_post(loop, stop, arg);
	return NULL;
}

START_TEST(who_goes_cancels_its_command) {
	with_client(go_away);
	ck_assert_uint_eq(cancelled, 1);
}
END_TEST

static void *pass_files(void *arg) {
	char text[100];
	uint8_t *bytes;
	int fd = dial(), files[2] = {open("/dev/null", O_RDONLY), open("/dev/null", O_RDONLY)};
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof files)];
	} c = {0};
	struct iovec iov = {.iov_len = make(&bytes, CARAVAN__ENVELOPE__BODY_CTL_LOAD, NULL, 0)};
	iov.iov_base = bytes;
	struct msghdr msg = {
	        .msg_iov = &iov, .msg_iovlen = 1, .msg_control = c.space, .msg_controllen = sizeof c.space};
	struct cmsghdr *h = CMSG_FIRSTHDR(&msg);
	*h = (struct cmsghdr){CMSG_LEN(sizeof files), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(h), files, sizeof files);
	ck_assert_int_eq(sendmsg(fd, &msg, MSG_NOSIGNAL), (ssize_t)iov.iov_len);
	ck_assert_uint_eq(hear(fd, text, sizeof text), CARAVAN__ENVELOPE__BODY_CTL_ERROR);
	ck_assert_str_eq(text, "2 descriptors");
	ck_assert_int_eq(fcntl(first_fd, F_GETFD), -1); /* closed with the command */
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_LOAD, NULL, 0);
	ck_assert_uint_eq(hear(fd, text, sizeof text), CARAVAN__ENVELOPE__BODY_CTL_ERROR);
	ck_assert_str_eq(text, "0 descriptors");
	free(bytes);
	close(files[0]);
	close(files[1]);
	close(fd);
	loop_post(loop, stop, arg);
	return NULL;
}

START_TEST(descriptors_are_of_one_command) {
	with_client(pass_files);
}
END_TEST

/* ---- bounds -------------------------------------------------------------------------------------------- */

static void *read_nothing(void *arg) {
	char *bytes = malloc(1 << 20);
	int fd = dial();
	ssize_t n, sum = 0;
	say(fd, CARAVAN__ENVELOPE__BODY_CTL_LEAVE, NULL, 0);
	while ((n = recv(fd, bytes, 1 << 20, 0)) > 0)
		sum += n;
	ck_assert_int_lt(sum, CONTROL_OUT_MAX);
	free(bytes);
	close(fd);
	loop_post(loop, stop, arg);
	return NULL;
}

START_TEST(who_does_not_read_is_cut_off) {
	with_client(read_nothing);
	ck_assert(flood_cut);
	ck_assert_uint_eq(cancelled, 1);
}
END_TEST

static void *crowd(void *arg) {
	char text[100];
	int fd[CONTROL_CLIENTS_MAX + 1];
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++) {
		fd[i] = dial();
		say(fd[i], CARAVAN__ENVELOPE__BODY_CTL_STATUS, NULL, 0);
		ck_assert_uint_eq(hear(fd[i], text, sizeof text), END);
	}
	fd[CONTROL_CLIENTS_MAX] = dial();
	ck_assert_uint_eq(
	        hear(fd[CONTROL_CLIENTS_MAX], text, sizeof text), CARAVAN__ENVELOPE__BODY_CTL_ERROR);
	ck_assert_str_eq(text, "too many clients at once");
	for (int i = 0; i <= CONTROL_CLIENTS_MAX; i++)
		close(fd[i]);
	loop_post(loop, stop, arg);
	return NULL;
}

START_TEST(clients_are_counted) {
	struct rlimit most;
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &most), 0);
	most.rlim_cur = most.rlim_max;
	setrlimit(RLIMIT_NOFILE, &most);
	with_client(crowd);
}
END_TEST

/* ---- the socket ---------------------------------------------------------------------------------------- */

START_TEST(a_socket_has_one_daemon) {
	struct control *second = NULL;
	struct stat st;
	char err[300], was[sizeof path];
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600);
	ck_assert_int_eq(open_control(&second, err, sizeof err), -EADDRINUSE);
	ck_assert_ptr_null(second);
	ck_assert_int_eq(stat(path, &st), 0); /* it is still there */
	/* one that a daemon left that is dead is replaced */
	memcpy(was, path, sizeof was);
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	snprintf(path, sizeof path, "%s/dead", folder);
	snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	int dead = socket(AF_UNIX, SOCK_STREAM, 0);
	ck_assert_int_eq(bind(dead, (struct sockaddr *)&addr, sizeof addr), 0);
	close(dead);
	ck_assert_int_eq(open_control(&second, err, sizeof err), 0);
	control_destroy(second);
	memcpy(path, was, sizeof path);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("control");
	TCase *t = tcase_create("messages");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, messages_in_pieces);
	tcase_add_test(t, one_command_at_a_time);
	tcase_add_test(t, a_command_is_stopped_by_its_client);
	tcase_add_test(t, what_is_no_command_ends_the_connection);
	tcase_add_test(t, who_goes_cancels_its_command);
	tcase_add_test(t, descriptors_are_of_one_command);
	suite_add_tcase(s, t);
	t = tcase_create("bounds");
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, who_does_not_read_is_cut_off);
	tcase_add_test(t, clients_are_counted);
	suite_add_tcase(s, t);
	t = tcase_create("socket");
	tcase_add_checked_fixture(t, begin, end);
	tcase_add_test(t, a_socket_has_one_daemon);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
