/* Who a message is from: what the authenticator answers to libzmq, and what becomes of its answer. */
#include "daemon/net/msg.h"
#include "daemon/net/zap.h"
#include "daemon/net/zmq_socket.h"
#include "tests/support/nodes_wait.h"
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ZAP_ENDPOINT "inproc://zeromq.zap.01"
#define KEY_HEX "0707070707070707070707070707070707070707070707070707070707070707"

static void *ctx;

static void setup(void) {
	ck_assert_int_eq(loop_create(&loop), 0);
	ck_assert_ptr_nonnull(ctx = zmq_ctx_new());
}

static void teardown(void) {
	zmq_ctx_term(ctx);
	loop_destroy(loop);
}

/* ---- what the authenticator answers ---- */

struct admission {
	bool yes;
	unsigned asked;
	struct node_id key;
};

static bool admit(void *arg, const struct node_id *key, const char **why) {
	struct admission *a = arg;
	a->asked++;
	a->key = *key;
	*why = "the test says so";
	return a->yes;
}

struct request {
	const char *version, *domain, *mechanism;
	size_t key_len;
	bool extra;
};

static bool has_answered(void *s) {
	int events;
	size_t len = sizeof events;
	return zmq_getsockopt(s, ZMQ_EVENTS, &events, &len) == 0 && events & ZMQ_POLLIN;
}

/* Asks as libzmq does; the six frames of the answer, joined by commas. */
static const char *answer_to(const struct request *r) {
	static char text[400];
	uint8_t key[40];
	int more = 1;
	size_t len = sizeof more, at = 0;
	memset(key, 7, sizeof key);
	void *s = zmq_socket(ctx, ZMQ_REQ);
	ck_assert_int_eq(zmq_connect(s, ZAP_ENDPOINT), 0);
	const struct {
		const void *data;
		size_t len;
	} frames[] = {{r->version, strlen(r->version)}, {"17", 2}, {r->domain, strlen(r->domain)},
	        {"192.0.2.1", 9}, {"", 0}, {r->mechanism, strlen(r->mechanism)}, {key, r->key_len},
	        {"more", 4}};
	size_t n = r->extra ? 8 : 7;
	for (size_t i = 0; i < n; i++)
		ck_assert_int_ge(zmq_send(s, frames[i].data, frames[i].len, i + 1 < n ? ZMQ_SNDMORE : 0), 0);
	ck_assert(nodes_wait(has_answered, s, 10000));
	for (*text = '\0'; more; zmq_getsockopt(s, ZMQ_RCVMORE, &more, &len)) {
		if (at)
			text[at++] = ',';
		int got = zmq_recv(s, text + at, sizeof text - at - 2, 0);
		ck_assert_int_ge(got, 0);
		text[at += (size_t)got] = '\0';
	}
	zmq_close(s);
	return text;
}

START_TEST(only_who_is_admitted_gets_a_name) {
	struct admission a = {.yes = true};
	const struct request good = {"1.0", SOCKET_DOMAIN, "CURVE", 32, false};
	struct zap *z, *second;
	ck_assert_int_eq(zap_create(&z, loop, ctx, admit, &a), 0);
	ck_assert_int_eq(zap_create(&second, loop, ctx, admit, &a), -EADDRINUSE);
	ck_assert_str_eq(answer_to(&good), "1.0,17,200,," KEY_HEX ",");
	for (size_t i = 0; i < sizeof a.key.b; i++)
		ck_assert_uint_eq(a.key.b[i], 7);
	a.yes = false;
	ck_assert_str_eq(answer_to(&good), "1.0,17,400,,,");
	ck_assert_uint_eq(a.asked, 2);
	zap_destroy(z);
}
END_TEST

START_TEST(requests_of_others_are_refused_unseen) {
	struct admission a = {.yes = true};
	static const struct request odd[] = {{"2.0", SOCKET_DOMAIN, "CURVE", 32, false},
	        {"1.0", "global", "CURVE", 32, false}, {"1.0", "", "CURVE", 32, false},
	        {"1.0", SOCKET_DOMAIN "s", "CURVE", 32, false}, {"1.0", SOCKET_DOMAIN, "NULL", 32, false},
	        {"1.0", SOCKET_DOMAIN, "CURVE", 31, false}, {"1.0", SOCKET_DOMAIN, "CURVE", 33, false},
	        {"1.0", SOCKET_DOMAIN, "CURVE", 0, false}, {"1.0", SOCKET_DOMAIN, "CURVE", 32, true}};
	struct zap *z;
	ck_assert_int_eq(zap_create(&z, loop, ctx, admit, &a), 0);
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
		ck_assert_str_eq(answer_to(&odd[i]), "1.0,17,400,,,");
	ck_assert_uint_eq(a.asked, 0);
	zap_destroy(z);
}
END_TEST

/* ---- what becomes of its answer ---- */

/* Receives what says one message on a connection that an authenticator of the test gives this name. */
static int receive_from(const char *name, struct msg *m) {
	char endpoint[64], frame[256];
	size_t len = sizeof endpoint, more_len = sizeof(int);
	int linger = 0, more = 1, rc;
	void *own = zmq_ctx_new(), *zap = zmq_socket(own, ZMQ_REP), *router = zmq_socket(own, ZMQ_ROUTER),
	     *dealer = zmq_socket(own, ZMQ_DEALER);
	ck_assert_int_eq(zmq_bind(zap, ZAP_ENDPOINT), 0);
	zmq_setsockopt(dealer, ZMQ_LINGER, &linger, sizeof linger);
	ck_assert_int_eq(zmq_setsockopt(router, ZMQ_ZAP_DOMAIN, SOCKET_DOMAIN, strlen(SOCKET_DOMAIN)), 0);
	ck_assert_int_eq(zmq_bind(router, "tcp://127.0.0.1:*"), 0);
	ck_assert_int_eq(zmq_getsockopt(router, ZMQ_LAST_ENDPOINT, endpoint, &len), 0);
	ck_assert_int_eq(zmq_connect(dealer, endpoint), 0);
	ck_assert_int_eq(zmq_send(dealer, "hello", 5, 0), 5);
	while (more) {
		ck_assert_int_ge(zmq_recv(zap, frame, sizeof frame, 0), 0);
		zmq_getsockopt(zap, ZMQ_RCVMORE, &more, &more_len);
	}
	const char *answer[] = {"1.0", "1", "200", "", name, ""};
	for (int i = 0; i < 6; i++)
		ck_assert_int_ge(zmq_send(zap, answer[i], strlen(answer[i]), i < 5 ? ZMQ_SNDMORE : 0), 0);
	zmq_pollitem_t poll = {router, 0, ZMQ_POLLIN, 0};
	ck_assert_int_eq(zmq_poll(&poll, 1, 10000), 1);
	rc = msg_receive(m, router, true);
	zmq_close(dealer);
	zmq_close(router);
	zmq_close(zap);
	zmq_ctx_term(own);
	return rc;
}

START_TEST(an_author_is_a_whole_key) {
	struct msg m;
	ck_assert_int_eq(receive_from(KEY_HEX, &m), 1);
	for (size_t i = 0; i < sizeof m.from.b; i++)
		ck_assert_uint_eq(m.from.b[i], 7);
	ck_assert_uint_eq(zmq_msg_size(&m.envelope), 5);
	msg_close(&m);
	static const char *const odd[] = {KEY_HEX "07", KEY_HEX "0", "07", "somebody",
	        "070707070707070707070707070707070707070707070707070707070707070g"};
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
		ck_assert_int_eq(receive_from(odd[i], &m), -EPERM);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("authors");
	TCase *t = tcase_create("authors");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, only_who_is_admitted_gets_a_name);
	tcase_add_test(t, requests_of_others_are_refused_unseen);
	tcase_add_test(t, an_author_is_a_whole_key);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
