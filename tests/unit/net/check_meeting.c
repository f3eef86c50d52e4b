/* The sockets of a group: everybody gets everybody's rows, whatever comes late, early, not at all, or is made up. */
#include "daemon/core/loop.h"
#include "daemon/net/meeting.h"
#include "daemon/net/zap.h"
#include "daemon/net/zmq_socket.h"
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#define MOST 5
#define PATIENCE 400 /* milliseconds with a silent node, where one is; else far more than is needed */
#define EPOCH 77

/* Every node has a context of its own, as in a process of its own; one loop has all authenticators. */
static struct loop *loop;
static pthread_t loop_thread;
static struct member {
	void *ctx;
	struct keys keys;
	struct zap *zap;
	struct meeting *meeting;
} member[MOST + 1]; /* the last one is no node of the group */
static uint32_t nodes;

static bool admit(void *arg, const struct node_id *key, const char **why) {
	(void)arg;
	(void)key;
	*why = "";
	return true;
}

static void *run_loop(void *arg) {
	loop_run(arg);
	return NULL;
}

static void create(struct member *m, uint32_t number, uint32_t patience) {
	struct meeting_config c = {.ctx = m->ctx,
	        .keys = &m->keys,
	        .listen = "tcp://127.0.0.1:*",
	        .nodes = nodes,
	        .node = number,
	        .epoch = EPOCH,
	        .patience_ms = patience};
	char err[256] = "";
	for (uint32_t i = 0; i < nodes; i++)
		c.id[i] = member[i].keys.public;
	ck_assert_msg(!meeting_create(&m->meeting, &c, err, sizeof err), "%s", err);
}

static void open_group(uint32_t n, uint32_t patience) {
	nodes = n;
	ck_assert_int_eq(loop_create(&loop), 0);
	for (uint32_t i = 0; i <= n; i++) {
		struct member *m = &member[i < n ? i : MOST];
		ck_assert_ptr_nonnull(m->ctx = zmq_ctx_new());
		ck_assert_int_eq(keys_generate(&m->keys), 0);
		ck_assert_int_eq(zap_create(&m->zap, loop, m->ctx, admit, NULL), 0);
	}
	for (uint32_t i = 0; i < n; i++)
		create(&member[i], i, patience);
	ck_assert_int_eq(pthread_create(&loop_thread, NULL, run_loop, loop), 0);
}

static void connect_all(void) {
	for (uint32_t i = 0; i < nodes; i++)
		for (uint32_t k = 0; k < i; k++)
			ck_assert_int_eq(
			        meeting_connect(member[i].meeting, k, meeting_endpoint(member[k].meeting)),
			        0);
}

static void stop_loop(void *arg) {
	loop_stop(arg);
}

static void close_group(void) {
	for (uint32_t i = 0; i < nodes; i++)
		meeting_destroy(member[i].meeting);
	ck_assert_int_eq(loop_post(loop, stop_loop, loop), 0);
	pthread_join(loop_thread, NULL);
	for (uint32_t i = 0; i <= nodes; i++) {
		struct member *m = &member[i < nodes ? i : MOST];
		zap_destroy(m->zap);
		zmq_ctx_term(m->ctx);
	}
	loop_destroy(loop);
}

/* ---- meetings ---- */

/* How rows are cut, and how many meetings of how many steps. */
struct script {
	size_t rows, wide, begin[MOST + 1];
	unsigned steps, meetings;
	/* a node does something else at this meeting of this step; meetings: nobody does */
	uint32_t odd;
	unsigned odd_step, odd_meeting;
	enum { FAULT, ABSENCE } does;
};

static float value(unsigned step, unsigned meeting, uint32_t node, size_t k) {
	return (float)(step * 100003 + meeting * 1009 + node * 101 + k % 997);
}

struct node {
	const struct script *s;
	uint32_t number;
	unsigned met;   /* meetings that were right */
	uint32_t fault; /* of a step, the last one */
	unsigned faulty_step;
	int rc;
	char err[160];
};

/* One meeting of two parts, the second with half the rows. */
static bool meet_once(struct node *n, unsigned step, unsigned meeting, float *x[2]) {
	const struct script *s = n->s;
	struct group_exchange e = {
	        .at = (enum group_meeting)(meeting % MEETINGS), .layer = meeting / MEETINGS};
	bool own = n->number == s->odd && step == s->odd_step && meeting == s->odd_meeting;
	if (e.at != MEET_END)
		e.parts = 1 + (e.at == MEET_HIDDEN);
	for (unsigned p = 0; p < 2; p++) {
		struct group_part *part = &e.part[p];
		part->rows = p ? (s->rows + 1) / 2 : s->rows;
		for (uint32_t i = 0; i < nodes; i++) {
			float *at = x[p] + part->rows * s->begin[i];
			size_t all = part->rows * (s->begin[i + 1] - s->begin[i]);
			part->data[i] = (uint8_t *)at;
			part->bytes[i] = (s->begin[i + 1] - s->begin[i]) * sizeof *at;
			for (size_t k = 0; k < all; k++)
				at[k] = i == n->number ? value(step, meeting, i, k) : -1;
		}
	}
	if (own && s->does == FAULT)
		e.fault = 42;
	if (own && s->does == ABSENCE)
		return false;
	n->rc = meeting_meet(member[n->number].meeting, &e, n->err, sizeof n->err);
	if (e.fault) {
		n->fault = e.fault;
		n->faulty_step = step;
	}
	if (n->rc || e.fault)
		return false;
	for (unsigned p = 0; p < e.parts; p++)
		for (uint32_t i = 0; i < nodes; i++)
			for (size_t k = 0; k < e.part[p].rows * e.part[p].bytes[i] / sizeof(float); k++)
				if (((const float *)(const void *)e.part[p].data[i])[k] !=
				        value(step, meeting, i, k))
					return false;
	n->met++;
	return true;
}

static void *run_node(void *arg) {
	struct node *n = arg;
	float *x[2] = {malloc(n->s->rows * n->s->wide * sizeof(float)),
	        malloc(n->s->rows * n->s->wide * sizeof(float))};
	for (unsigned step = 0; step < n->s->steps && !n->rc; step++) {
		meeting_begin(member[n->number].meeting, step);
		for (unsigned i = 0; i < n->s->meetings; i++)
			if (!meet_once(n, step, i, x))
				break;
	}
	free(x[0]);
	free(x[1]);
	return NULL;
}

static void run(const struct script *s, struct node *n) {
	pthread_t thread[MOST];
	for (uint32_t i = 0; i < nodes; i++) {
		n[i] = (struct node){.s = s, .number = i};
		ck_assert_int_eq(pthread_create(&thread[i], NULL, run_node, &n[i]), 0);
	}
	for (uint32_t i = 0; i < nodes; i++)
		pthread_join(thread[i], NULL);
}

static const struct {
	uint32_t nodes;
	struct script s;
} scripts[] = {
        {1, {.rows = 2, .wide = 8, .begin = {0, 8}, .steps = 2, .meetings = 10, .odd = MOST}},
        {2, {.rows = 1, .wide = 64, .begin = {0, 32, 64}, .steps = 20, .meetings = 40, .odd = MOST}},
        {3, {.rows = 3, .wide = 96, .begin = {0, 0, 32, 96}, .steps = 10, .meetings = 20, .odd = MOST}},
        {3, {.rows = 70,
                    .wide = 4096,
                    .begin = {0, 1024, 4064, 4096},
                    .steps = 2,
                    .meetings = 5,
                    .odd = MOST}},
        {5, {.rows = 2,
                    .wide = 160,
                    .begin = {0, 32, 32, 64, 128, 160},
                    .steps = 5,
                    .meetings = 20,
                    .odd = MOST}},
};
#define SCRIPTS ((int)(sizeof scripts / sizeof *scripts))

START_TEST(everybody_gets_every_row) {
	struct node n[MOST];
	const struct script *s = &scripts[_i].s;
	open_group(scripts[_i].nodes, 60000);
	connect_all();
	run(s, n);
	for (uint32_t i = 0; i < nodes; i++) {
		ck_assert_msg(!n[i].rc, "%s", n[i].err);
		ck_assert_uint_eq(n[i].met, s->steps * s->meetings);
	}
	close_group();
}
END_TEST

/* A node that failed, even before the others have come, tells so at the meeting after; the others end the step, and the next steps are
 * whole. */
START_TEST(a_fault_is_everybodys) {
	struct node n[MOST];
	struct script s = scripts[4].s;
	bool at_once = _i >= MOST;
	s.odd = (uint32_t)_i % MOST;
	s.odd_step = at_once ? 0 : 2;
	s.odd_meeting = at_once ? 0 : 7;
	open_group(5, 60000);
	connect_all();
	run(&s, n);
	for (uint32_t i = 0; i < nodes; i++) {
		ck_assert_msg(!n[i].rc, "%s", n[i].err);
		ck_assert_uint_eq(n[i].fault, 42);
		ck_assert_uint_eq(n[i].faulty_step, s.odd_step);
		/* one that is behind hears of it a meeting earlier */
		unsigned others = n[i].met - 4 * s.meetings;
		ck_assert(others == s.odd_meeting || others + 1 == s.odd_meeting);
	}
	close_group();
}
END_TEST

/* A node that stays away is lost; the others say which, or that another one gave up. */
START_TEST(a_silent_node_is_lost) {
	struct node n[MOST];
	struct script s = scripts[2].s;
	char hex[NODE_ID_HEX];
	s.odd = 1;
	s.odd_step = 9;
	s.odd_meeting = 3;
	s.does = ABSENCE;
	open_group(3, PATIENCE);
	connect_all();
	run(&s, n);
	node_id_hex(&member[1].keys.public, hex);
	hex[12] = 0;
	for (uint32_t i = 0; i < nodes; i += 2) {
		ck_assert_int_eq(n[i].rc, -EIO);
		ck_assert_uint_eq(n[i].met, 9 * s.meetings + 3);
		ck_assert_msg(strstr(n[i].err, hex) && strstr(n[i].err, "silent"), "%s", n[i].err);
	}
	struct group_exchange e = {.at = MEET_END};
	char err[160];
	ck_assert_int_eq(meeting_meet(member[0].meeting, &e, err, sizeof err), -EIO);
	close_group();
}
END_TEST

static void *break_it(void *arg) {
	meeting_break(arg, "the link was lost");
	return NULL;
}

START_TEST(a_break_ends_a_meeting) {
	struct group_exchange e = {.at = MEET_END};
	pthread_t thread;
	char err[160] = "";
	open_group(2, 60000);
	connect_all();
	ck_assert_int_eq(pthread_create(&thread, NULL, break_it, member[0].meeting), 0);
	ck_assert_int_eq(meeting_meet(member[0].meeting, &e, err, sizeof err), -EIO);
	ck_assert_str_eq(err, "the link was lost");
	pthread_join(thread, NULL);
	close_group();
}
END_TEST

/* ---- what is made up ---- */

struct head {
	uint32_t magic, node;
	uint64_t epoch, step;
	uint32_t meeting, fault, part, zero;
	uint64_t at;
};

/* What a node of the group may send in place of four floats, for step 5 and meeting MEET_OUT of layer 0. */
#define GOOD \
	{ 0x31746d63u, 1, EPOCH, 5, MEET_OUT, 0, 0, 0 }
static const struct forged {
	struct head head;
	size_t len, more; /* bytes of rows; of a further frame */
	const char *why;
} forged[] = {
        {GOOD, 16, 0, NULL},
        {{1, 1, EPOCH, 5, MEET_OUT, 0, 0, 0, 0}, 16, 0, "another plan"},
        {{0x31746d63u, 0, EPOCH, 5, MEET_OUT, 0, 0, 0, 0}, 16, 0, "silent"},
        {{0x31746d63u, 9, EPOCH, 5, MEET_OUT, 0, 0, 0, 0}, 16, 0, "silent"},
        {{0x31746d63u, 1, EPOCH + 1, 5, MEET_OUT, 0, 0, 0, 0}, 16, 0, "another plan"},
        {{0x31746d63u, 1, EPOCH, 4, MEET_OUT, 0, 0, 0, 0}, 16, 0, "silent"},
        {{0x31746d63u, 1, EPOCH, 6, MEET_OUT, 0, 0, 0, 0}, 16, 0, "silent"},
        {{0x31746d63u, 1, EPOCH, 5, MEET_DOWN, 0, 0, 0, 0}, 16, 0, "another meeting"},
        {{0x31746d63u, 1, EPOCH, 5, MEET_HEADS, 0, 0, 0, 0}, 16, 0, "do not belong"},
        {{0x31746d63u, 1, EPOCH, 5, MEET_OUT, 0, 1, 0, 0}, 16, 0, "do not belong"},
        {{0x31746d63u, 1, EPOCH, 5, MEET_OUT, 0, 0, 0, 1}, 16, 0, "do not belong"},
        {{0x31746d63u, 1, EPOCH, 5, MEET_OUT, 0, UINT32_MAX, 0, UINT32_MAX}, 16, 0, "do not belong"},
        {GOOD, 0, 0, "do not belong"},
        {GOOD, 17, 0, "do not belong"},
        {GOOD, 32, 0, "do not belong"},
        {GOOD, 1 << 20, 0, "of the group"} /* libzmq ends the connection */,
        {GOOD, 16, 8, "silent"},
};
#define FORGED ((int)(sizeof forged / sizeof *forged))

/* Sends that as a node, to node 0. */
static void *forge(void *ctx, const struct keys *keys, const struct forged *f) {
	struct head hello = GOOD;
	uint8_t *frame = calloc(1, sizeof f->head + f->len + f->more);
	void *s = socket_dealer(ctx, keys, &member[0].keys.public);
	ck_assert_ptr_nonnull(s);
	ck_assert_int_eq(zmq_connect(s, meeting_endpoint(member[0].meeting)), 0);
	hello.meeting = UINT32_MAX;
	hello.step = 0;
	memcpy(frame, &f->head, sizeof f->head);
	ck_assert_int_ge(zmq_send(s, &hello, sizeof hello, 0), 0);
	ck_assert_int_ge(zmq_send(s, frame, sizeof f->head + f->len, f->more ? ZMQ_SNDMORE : 0), 0);
	if (f->more)
		ck_assert_int_ge(zmq_send(s, frame, f->more, 0), 0);
	free(frame);
	return s;
}

/* Nothing of it is taken over, and the sentence says what was wrong. */
START_TEST(what_is_made_up_is_refused) {
	const struct forged *f = &forged[_i];
	float x[8] = {1, 2, 3, 4, -1, -1, -1, -1};
	struct group_exchange e = {
	        .at = MEET_OUT, .part = {{1, {16, 16}, {(uint8_t *)x, (uint8_t *)(x + 4)}}}, .parts = 1};
	char err[160] = "";
	open_group(2, PATIENCE);
	void *s = forge(member[1].ctx, &member[1].keys, f);
	meeting_begin(member[0].meeting, 5);
	int rc = meeting_meet(member[0].meeting, &e, err, sizeof err);
	ck_assert_int_eq(rc, f->why ? -EIO : 0);
	if (f->why)
		ck_assert_msg(strstr(err, f->why) != NULL, "%s", err);
	for (int i = 4; i < 8; i++)
		ck_assert(x[i] == (f->why ? -1 : 0));
	zmq_close(s);
	close_group();
}
END_TEST

/* Sends what is of no use as node 1, again and again; whether it was told to end before it did. */
static void *send_old(void *arg) {
	const _Atomic bool *end = arg;
	static const struct forged old = {{0x31746d63u, 1, EPOCH, 4, MEET_OUT, 0, 0, 0, 0}, 16, 0, ""};
	static bool ended;
	void *s = forge(member[1].ctx, &member[1].keys, &old);
	for (int i = 0; i < 1000 && !*end; i++) {
		(void)zmq_send(s, &old.head, sizeof old.head, ZMQ_DONTWAIT);
		(void)zmq_poll(NULL, 0, PATIENCE / 20);
	}
	ended = *end;
	zmq_close(s);
	return &ended;
}

/* A node that sends rows of old steps alone is as silent as one that sends nothing. */
START_TEST(what_is_old_is_silence) {
	struct group_exchange e = {.at = MEET_END};
	_Atomic bool end = false;
	pthread_t thread;
	void *ended;
	char err[160] = "";
	open_group(2, PATIENCE);
	ck_assert_int_eq(pthread_create(&thread, NULL, send_old, &end), 0);
	meeting_begin(member[0].meeting, 5);
	ck_assert_int_eq(meeting_meet(member[0].meeting, &e, err, sizeof err), -EIO);
	end = true;
	ck_assert_int_eq(pthread_join(thread, &ended), 0);
	ck_assert(*(const bool *)ended);
	ck_assert_msg(strstr(err, "silent") != NULL, "%s", err);
	close_group();
}
END_TEST

/* Another member of the cluster says that it is a node of the group: nobody minds, and the node itself is heard. */
START_TEST(a_stranger_is_not_heard) {
	struct node n[MOST];
	const struct script *s = &scripts[1].s;
	open_group(2, 60000);
	void *stranger = forge(member[MOST].ctx, &member[MOST].keys, &forged[0]);
	connect_all();
	run(s, n);
	for (uint32_t i = 0; i < nodes; i++)
		ck_assert_uint_eq(n[i].met, s->steps * s->meetings);
	zmq_close(stranger);
	close_group();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("meeting");
	TCase *t = tcase_create("meeting");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, everybody_gets_every_row, 0, SCRIPTS);
	tcase_add_loop_test(t, a_fault_is_everybodys, 0, 2 * MOST);
	tcase_add_test(t, a_silent_node_is_lost);
	tcase_add_test(t, a_break_ends_a_meeting);
	tcase_add_loop_test(t, what_is_made_up_is_refused, 0, FORGED);
	tcase_add_test(t, what_is_old_is_silence);
	tcase_add_test(t, a_stranger_is_not_heard);
	suite_add_tcase(s, t);
	return s;
}
#include "tests/unit/check_main.h"
