/* The guard of connections: what is received of messages that do not end is bounded. */
#include "daemon/net/connection_guard.h"
#include "daemon/net/loss.h"
#include "tests/support/nodes_wait.h"
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MOST 6
#define MIB ((size_t)1 << 20)

static struct guard *guard;
static int ours[MOST], theirs[MOST]; /* the two ends of connections */

static void setup(void) {
	struct sockaddr_in at = {.sin_family = AF_INET};
	socklen_t len = sizeof at;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
	ck_assert_int_eq(listen(listener, MOST), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&at, &len), 0);
	ck_assert_int_eq(loop_create(&loop), 0);
	ck_assert_int_eq(guard_create(&guard, loop), 0);
	for (int i = 0; i < MOST; i++) {
		theirs[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(connect(theirs[i], (struct sockaddr *)&at, sizeof at), 0);
		ours[i] = accept(listener, NULL, NULL);
		ck_assert_int_ge(ours[i], 0);
		guard_add(guard, ours[i], NULL);
	}
	close(listener);
}

static void teardown(void) {
	guard_destroy(guard);
	loop_destroy(loop);
	for (int i = 0; i < MOST; i++) {
		close(ours[i]);
		close(theirs[i]);
	}
}

/* Has bytes come in by a connection and read, as libzmq does. */
static void receive(int i, size_t bytes) {
	static char block[65536];
	for (size_t got = 0; got < bytes; got += sizeof block) {
		ck_assert_int_eq(send(theirs[i], block, sizeof block, 0), sizeof block);
		ck_assert_int_eq(recv(ours[i], block, sizeof block, MSG_WAITALL), sizeof block);
	}
}

static bool is_closed(int i) {
	char c;
	return recv(theirs[i], &c, 1, MSG_DONTWAIT) == 0;
}

static unsigned count_closed(void) {
	unsigned n = 0;
	for (int i = 0; i < MOST; i++)
		n += is_closed(i);
	return n;
}

static bool one_is_closed(void) {
	return count_closed() > 0;
}

START_TEST(one_has_its_bound) {
	receive(0, GUARD_ONE + MIB);
	receive(1, GUARD_ONE - MIB);
	ck_assert(nodes_until(one_is_closed, 2000));
	nodes_run(500);
	ck_assert(is_closed(0));
	ck_assert_uint_eq(count_closed(), 1);
}
END_TEST

START_TEST(messages_that_end_may_be_many) {
	struct node_id node = {{1}};
	for (int n = 0; n < 4; n++) {
		receive(0, GUARD_ONE - MIB);
		guard_taken(guard, ours[0], &node);
		nodes_run(300);
	}
	ck_assert_uint_eq(count_closed(), 0);
	/* from the last of them on it counts */
	receive(0, GUARD_ONE + MIB);
	ck_assert(nodes_until(one_is_closed, 2000));
	ck_assert(is_closed(0));
}
END_TEST

START_TEST(all_have_a_bound) {
	/* each has less than one may have, and together they have more than all may: the one with most goes */
	for (int i = 0; i < MOST; i++)
		receive(i, (i == 2 ? 14 : 11) * MIB);
	ck_assert(nodes_until(one_is_closed, 2000));
	nodes_run(500);
	ck_assert(is_closed(2));
	ck_assert_uint_eq(count_closed(), 1);
}
END_TEST

#define SLOT ((uint64_t)LOSS_SLOT_NS)

/* Adds to each of the slots from..to what was sent and lost then. */
static void lose(struct loss *l, unsigned from, unsigned to, uint64_t sent, uint64_t lost) {
	for (unsigned i = from; i <= to; i++)
		loss_add(l, (1000 + i) * SLOT, sent, lost);
}

START_TEST(losses_count_when_there_are_enough) {
	struct loss l = {0};
	ck_assert_double_eq(loss_share(&l, 1000 * SLOT), 0);
	lose(&l, 0, 3, 100, 4);
	ck_assert_double_eq_tol(loss_share(&l, 1003 * SLOT), 0.04, 1e-9);
	/* few segments */
	l = (struct loss){0};
	lose(&l, 0, 3, 40, 4);
	ck_assert_double_eq(loss_share(&l, 1003 * SLOT), 0);
	/* few losses */
	l = (struct loss){0};
	lose(&l, 0, 2, 100, 3);
	ck_assert_double_eq(loss_share(&l, 1002 * SLOT), 0);
	/* all within a moment */
	l = (struct loss){0};
	lose(&l, 0, 9, 100, 0);
	lose(&l, 4, 5, 100, 50);
	ck_assert_double_eq(loss_share(&l, 1009 * SLOT), 0);
	lose(&l, 7, 7, 0, 1);
	ck_assert_double_gt(loss_share(&l, 1009 * SLOT), 0);
	/* sent again and again */
	l = (struct loss){0};
	lose(&l, 0, 3, 100, 200);
	ck_assert_double_eq(loss_share(&l, 1003 * SLOT), 1);
}
END_TEST

START_TEST(losses_are_forgotten) {
	struct loss l = {0};
	lose(&l, 0, 3, 100, 4);
	ck_assert_double_gt(loss_share(&l, (1000 + LOSS_SLOTS - 1) * SLOT), 0);
	ck_assert_double_eq(loss_share(&l, (1000 + LOSS_SLOTS + 3) * SLOT), 0);
	/* a slot is used again */
	lose(&l, LOSS_SLOTS, LOSS_SLOTS + 3, 100, 5);
	ck_assert_double_eq_tol(loss_share(&l, (1000 + LOSS_SLOTS + 3) * SLOT), 0.05, 1e-9);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("guard");
	TCase *t = tcase_create("guard");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, one_has_its_bound);
	tcase_add_test(t, messages_that_end_may_be_many);
	tcase_add_test(t, all_have_a_bound);
	tcase_add_test(t, losses_count_when_there_are_enough);
	tcase_add_test(t, losses_are_forgotten);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
