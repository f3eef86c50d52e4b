/* A stream that one node keeps and a client of another one reads, on virtual time: both nodes' loops and HTTP threads are loops of one
 * thread here, and a seed chooses among what is due at once.  The client gets the bytes that are kept, in order, and one end; no more
 * than a window is under way; and afterwards nothing is left at either node. */
#include "daemon/api/streams/lend.h"
#include "daemon/api/streams/relay.h"
#include "tests/sim/clock.h"
#include "tests/unit/serve/serving.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ASKER = 0, KEEPER = 1 };
enum { SEEDS = 20, STREAMS = 70 };
#define LONG 300000

static struct loop *http[2];
static struct kept *kept;
static struct lend *lend;
static bool lends = true;
static struct stream_relays *relays;

/* A stream at the keeper. */
struct source {
	char id[KEPT_ID];
	struct kept_stream *s;
	char bytes[LONG + 200];
	size_t len;
	size_t begins[LONG / 20];
	unsigned events, cancelled;
	bool ended;
};
static struct source source, others[STREAMS];

/* A client of the asker. */
struct far_client {
	struct stream_relay *r;
	char bytes[LONG + 200];
	size_t len;
	unsigned begins, ends;
	bool slow, left;
	char type[65];
	struct completion_error error;
};
static struct far_client client, second, many[STREAMS];

static void on_cancel(void *arg) {
	struct source *s = arg;
	s->cancelled++;
	s->ended = true;
	kept_finish(s->s);
}

static void source_begin(struct source *s, unsigned number, uint64_t key) {
	char hex[NODE_ID_HEX], err[200];
	memset(s, 0, sizeof *s);
	snprintf(s->id, sizeof s->id, "x-%032x%.*s", number, STREAM_NODE,
	        node_id_hex(&serving[KEEPER].keys.public, hex));
	const struct kept_params p = {.id = s->id, .key = key, .seconds = 60, .cancel = on_cancel, .arg = s};
	ck_assert_int_eq(kept_reserve(&s->s, kept, &p, err, sizeof err), 0);
	kept_begin(s->s, "text/event-stream");
}

/* Another event, of 20 to 120 bytes. */
static void source_write(struct source *s) {
	char event[128];
	size_t len = 20 + sim_below(101);
	for (size_t i = 0; i < len; i++)
		event[i] = (char)('a' + sim_below(26));
	s->begins[s->events++] = s->len;
	memcpy(s->bytes + s->len, event, len);
	s->len += len;
	kept_write(s->s, "", event, len);
}

static void source_end(struct source *s) {
	s->ended = true;
	kept_finish(s->s);
}

static void on_begin(void *arg, const char *type) {
	struct far_client *c = arg;
	ck_assert(!c->left && c->len == 0 && c->ends == 0);
	c->begins++;
	snprintf(c->type, sizeof c->type, "%s", type);
}

static void on_bytes(void *arg, const void *data, size_t len) {
	struct far_client *c = arg;
	ck_assert(!c->left && c->begins == 1 && c->ends == 0 && c->len + len <= LONG);
	memcpy(c->bytes + c->len, data, len);
	c->len += len;
	if (!c->slow)
		stream_relay_took(c->r, c->len);
}

static void on_end(void *arg, const struct completion_error *error) {
	struct far_client *c = arg;
	ck_assert(!c->left && c->ends == 0);
	c->ends++;
	if (error)
		c->error = *error;
	stream_relay_release(c->r);
	c->left = true;
}

static void ask(struct far_client *c, const char *id, uint64_t key, uint32_t from) {
	bool slow = c->slow;
	memset(c, 0, sizeof *c);
	c->slow = slow;
	c->r = stream_relay_start(relays, &(struct stream_ask){.id = id,
	                                          .key = key,
	                                          .from = from,
	                                          .begin = on_begin,
	                                          .bytes = on_bytes,
	                                          .end = on_end,
	                                          .arg = c});
	ck_assert_ptr_nonnull(c->r);
	ck_assert_uint_eq(c->begins + c->ends, 0); /* nothing within the call */
}

static void leave(struct far_client *c) {
	ck_assert(!c->left);
	c->left = true;
	stream_relay_release(c->r);
}

static void begin(uint64_t seed) {
	network_watch(NULL, NULL);
	client.slow = false;
	serving_begin(2, 2, seed);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(loop_create(&http[i]), 0);
	ck_assert_int_eq(kept_create(&kept, &(struct kept_limits){0}), 0);
	lend = NULL;
	int rc = lends ? lend_create(&lend, serving[KEEPER].loop, http[KEEPER], serving[KEEPER].members, kept)
	               : 0;
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(stream_relays_create(&relays, serving[ASKER].loop, serving[ASKER].members), 0);
	ck_assert_int_eq(stream_relays_attach(relays, http[ASKER]), 0);
}

/* As the keeper ends: its HTTP server first. */
static void keeper_end(void) {
	kept_stop(kept);
	loop_destroy(http[KEEPER]);
	lend_destroy(lend);
	kept_destroy(kept);
	kept = NULL;
}

static void end(void) {
	loop_destroy(http[ASKER]);
	stream_relays_destroy(relays);
	if (kept)
		keeper_end();
	serving_end();
}

static bool has_ended(void *arg) {
	return ((struct far_client *)arg)->ends > 0;
}

static void until_end(struct far_client *c) {
	ck_assert(sim_until(has_ended, c, 600000));
}

static void expect(const struct far_client *c, const struct source *s, unsigned from) {
	size_t first = s->begins[from - 1];
	ck_assert_msg(c->error.status == 0, "%s", c->error.text);
	ck_assert_uint_eq(c->begins, 1);
	ck_assert_str_eq(c->type, "text/event-stream");
	ck_assert_uint_eq(c->len, s->len - first);
	ck_assert(memcmp(c->bytes, s->bytes + first, c->len) == 0);
}

static void expect_error(const struct far_client *c, int status, const char *word) {
	ck_assert_uint_eq(c->ends, 1);
	ck_assert_msg(c->error.status == status && strstr(c->error.text, word), "%d: %s", c->error.status,
	        c->error.text);
}

/* ---- bytes --------------------------------------------------------------------------------------- */

START_TEST(bytes_arrive_as_they_are_kept) {
	begin((uint64_t)_i);
	source_begin(&source, 1, 5);
	unsigned before = sim_below(900), all = before + 1 + sim_below(900), from = 1 + sim_below(before + 1);
	while (source.events < before)
		source_write(&source);
	ask(&client, source.id, 5, from);
	while (source.events < all) {
		source_write(&source);
		for (uint32_t n = sim_below(4); n > 0; n--)
			sim_step();
	}
	source_end(&source);
	until_end(&client);
	expect(&client, &source, from);
	/* once more, after its end */
	ask(&client, source.id, 5, all);
	until_end(&client);
	expect(&client, &source, all);
	end();
}
END_TEST

/* What its client does not read stays where it is kept. */
START_TEST(a_window_is_under_way) {
	begin((uint64_t)_i);
	source_begin(&source, 1, 0);
	while (source.len < LONG - 200)
		source_write(&source);
	source_end(&source);
	client.slow = true;
	ask(&client, source.id, 0, 1);
	sim_for(60000);
	ck_assert_uint_eq(client.len, STREAM_WINDOW);
	stream_relay_took(client.r, 10000);
	sim_for(60000);
	ck_assert_uint_eq(client.len, STREAM_WINDOW + 10000);
	client.slow = false;
	stream_relay_took(client.r, client.len);
	until_end(&client);
	expect(&client, &source, 1);
	end();
}
END_TEST

static size_t lied;

/* The asker's own messages say that everything has been taken. */
static enum network_verdict lie(void *arg, const struct node_id *from, const struct node_id *to,
        const Caravan__Envelope *env, const struct payload *payload) {
	(void)arg;
	(void)from;
	(void)to;
	if (env->body_case == CARAVAN__ENVELOPE__BODY_STREAM_BYTES)
		lied += payload_len(payload);
	return NETWORK_PASS;
}

/* A node that says that it took more than there was gets no more than its window at once. */
START_TEST(nobody_takes_what_was_not_sent) {
	begin(0);
	source_begin(&source, 1, 0);
	source_write(&source);
	client.slow = true;
	ask(&client, source.id, 0, 1);
	sim_for(1000);
	stream_relay_took(client.r, (uint64_t)1 << 40);
	sim_for(1000);
	size_t taken = client.len;
	while (source.len < LONG - 200)
		source_write(&source);
	lied = 0;
	network_watch(lie, NULL);
	sim_for(60000);
	ck_assert_uint_eq(client.len, taken + STREAM_WINDOW);
	ck_assert_uint_eq(lied, STREAM_WINDOW);
	leave(&client);
	end();
}
END_TEST

/* A stream that has nothing to say yet is there all the same. */
START_TEST(quiet_streams) {
	begin((uint64_t)_i);
	source_begin(&source, 1, 0);
	ask(&client, source.id, 0, 1);
	sim_for(60000);
	ck_assert_uint_eq(client.begins, 1);
	ck_assert_uint_eq(client.ends, 0);
	source_write(&source);
	source_end(&source);
	until_end(&client);
	expect(&client, &source, 1);
	end();
}
END_TEST

/* Its time begins when its last reader goes, though it ended long before. */
START_TEST(time_after_a_late_reader) {
	begin(0);
	source_begin(&source, 1, 0);
	while (source.len < LONG - 200)
		source_write(&source);
	source_end(&source);
	client.slow = true;
	ask(&client, source.id, 0, 1);
	sim_for(100000);
	kept_expire(kept, loop_now_ns());
	leave(&client);
	sim_for(1000);
	kept_expire(kept, loop_now_ns());
	ck_assert_uint_eq(kept_count(kept), 1);
	client.slow = false;
	ask(&client, source.id, 0, 1);
	until_end(&client);
	expect(&client, &source, 1);
	sim_for(59000);
	kept_expire(kept, loop_now_ns());
	ck_assert_uint_eq(kept_count(kept), 1);
	sim_for(2000);
	kept_expire(kept, loop_now_ns());
	ck_assert_uint_eq(kept_count(kept), 0);
	end();
}
END_TEST

static bool lies_begun;

/* The keeper ignores its window, or acknowledges what was no question of that kind. */
static void on_open_lies(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	Caravan__Ack ack = CARAVAN__ACK__INIT;
	Caravan__StreamBytes bytes = CARAVAN__STREAM_BYTES__INIT;
	Caravan__Envelope wrong = WIRE_ENVELOPE(ACK, ack, &ack),
	                  more = WIRE_ENVELOPE(STREAM_BYTES, stream_bytes, &bytes);
	(void)env;
	(void)payload;
	lies_begun = true;
	bytes.type = wire_string("text/plain");
	if (arg == &lies_begun) {
		ck_assert_int_eq(peers_answer(serving[KEEPER].peers, from, &wrong, NULL), 0);
		return;
	}
	struct payload *p = payload_create(WIRE_STREAM_MAX);
	memset(payload_data(p), 'x', WIRE_STREAM_MAX);
	for (unsigned i = 0; i < STREAM_WINDOW / WIRE_STREAM_MAX + 1; i++)
		ck_assert_int_eq(peers_answer(serving[KEEPER].peers, from, &more, p), 0);
	payload_unref(p);
}

START_TEST(keepers_that_lie) {
	lends = false; /* the test answers */
	begin(0);
	client.slow = true;
	source_begin(&source, 1, 0);
	ck_assert_int_eq(peers_on(serving[KEEPER].peers, CARAVAN__ENVELOPE__BODY_OPEN_STREAM, on_open_lies,
	                         _i ? &lies_begun : NULL),
	        0);
	ask(&client, source.id, 0, 1);
	until_end(&client);
	expect_error(&client, 503, "sent what was not asked for");
	ck_assert_uint_le(client.len, STREAM_WINDOW);
	end();
	lends = true;
}
END_TEST

/* ---- refused ------------------------------------------------------------------------------------- */

START_TEST(unknown_and_foreign_ones) {
	begin((uint64_t)_i);
	source_begin(&source, 1, 5);
	source_write(&source);
	static const uint64_t keys[] = {6, 0};
	for (size_t i = 0; i < 2; i++) {
		ask(&client, source.id, keys[i], 1);
		until_end(&client);
		expect_error(&client, 404, "");
		ask(&client, source.id, keys[i], 0);
		until_end(&client);
		expect_error(&client, 404, "");
	}
	char id[KEPT_ID];
	snprintf(id, sizeof id, "y%.79s", source.id + 1);
	ask(&client, id, 5, 1);
	until_end(&client);
	expect_error(&client, 404, "");
	snprintf(id, sizeof id, "%032x%s", 1, "000000000000"); /* of no node */
	ask(&client, id, 5, 1);
	until_end(&client);
	expect_error(&client, 404, "");
	ck_assert_uint_eq(source.cancelled, 0);
	end();
}
END_TEST

START_TEST(nodes_that_cannot_be_asked) {
	begin(0);
	source_begin(&source, 1, 0);
	serving_minor(ASKER, KEEPER, WIRE_1_4 - 1);
	ask(&client, source.id, 0, 1);
	until_end(&client);
	expect_error(&client, 503, "runs an older version");
	ck_assert_ptr_nonnull(strstr(client.error.text, serving[KEEPER].name));
	serving_minor(ASKER, KEEPER, WIRE_MINOR);
	serving_tell(KEEPER, false);
	ask(&client, source.id, 0, 1);
	until_end(&client);
	expect_error(&client, 503, "cannot be reached");
	ck_assert_ptr_nonnull(strstr(client.error.text, serving[KEEPER].name));
	ck_assert_uint_gt(client.error.retry_after, 0);
	end();
}
END_TEST

static enum network_verdict swallow(void *arg, const struct node_id *from, const struct node_id *to,
        const Caravan__Envelope *env, const struct payload *payload) {
	(void)arg;
	(void)from;
	(void)to;
	(void)payload;
	return env->body_case == CARAVAN__ENVELOPE__BODY_OPEN_STREAM ? NETWORK_KEEP : NETWORK_PASS;
}

START_TEST(a_node_that_does_not_answer) {
	begin(0);
	source_begin(&source, 1, 0);
	network_watch(swallow, NULL);
	ask(&client, source.id, 0, 1);
	until_end(&client);
	expect_error(&client, 503, "does not answer");
	network_watch(NULL, NULL);
	network_let_go(0);
	sim_for(1000);
	end();
}
END_TEST

START_TEST(nodes_have_places) {
	unsigned ended = 0;
	begin(0);
	for (unsigned i = 0; i < STREAMS; i++) {
		source_begin(&others[i], i, 0);
		ask(&many[i], others[i].id, 0, 1);
	}
	sim_for(1000);
	for (unsigned i = 0; i < STREAMS; i++)
		if (many[i].ends) {
			expect_error(&many[i], 503, "as many streams as it may");
			ck_assert_uint_gt(many[i].error.retry_after, 0);
			ended++;
		}
	ck_assert_uint_eq(ended, STREAMS - 64);
	for (unsigned i = 0; i < STREAMS; i++)
		if (!many[i].ends)
			leave(&many[i]);
	sim_for(1000);
	source_begin(&source, 999, 0); /* and there is place again */
	source_write(&source);
	source_end(&source);
	ask(&client, source.id, 0, 1);
	until_end(&client);
	expect(&client, &source, 1);
	end();
}
END_TEST

/* ---- ends ---------------------------------------------------------------------------------------- */

START_TEST(cancelled_from_elsewhere) {
	begin((uint64_t)_i);
	source_begin(&source, 1, 5);
	source_write(&source);
	ask(&client, source.id, 5, 1);
	for (uint32_t n = sim_below(30); n > 0; n--)
		sim_step();
	ask(&second, source.id, 5, 0);
	until_end(&second);
	ck_assert_int_eq(second.error.status, 0);
	ck_assert_uint_eq(second.begins, 0);
	ck_assert_uint_eq(source.cancelled, 1);
	until_end(&client); /* to its end, or it came too late */
	ck_assert(client.error.status == 404 || client.len == source.len);
	ask(&second, source.id, 5, 0);
	until_end(&second);
	expect_error(&second, 404, "");
	ck_assert_uint_eq(kept_count(kept), 0);
	end();
}
END_TEST

START_TEST(clients_that_go) {
	begin((uint64_t)_i);
	source_begin(&source, 1, 0);
	while (source.len < 100000)
		source_write(&source);
	client.slow = sim_below(2);
	ask(&client, source.id, 0, 1);
	for (uint32_t n = sim_below(120); n > 0; n--)
		sim_step();
	if (!client.left)
		leave(&client);
	sim_for(1000);
	ck_assert_uint_eq(source.cancelled, 0);
	kept_expire(kept, loop_now_ns() + 61000000000u);
	/* one that had not come so far has nobody who went */
	ck_assert_uint_eq(source.cancelled, client.begins ? 1 : source.cancelled);
	end();
}
END_TEST

/* The node of the client goes down: its stream waits for another one. */
START_TEST(an_asker_that_goes_down) {
	begin((uint64_t)_i);
	source_begin(&source, 1, 0);
	source_write(&source);
	ask(&client, source.id, 0, 1);
	sim_for(1000);
	ck_assert_uint_eq(client.begins, 1);
	serving_tell(ASKER, false);
	sim_for(1000);
	ck_assert_uint_eq(source.cancelled, 0);
	kept_expire(kept, loop_now_ns() + 61000000000u);
	ck_assert_uint_eq(source.cancelled, 1);
	leave(&client);
	end();
}
END_TEST

START_TEST(a_keeper_that_is_lost) {
	begin((uint64_t)_i);
	source_begin(&source, 1, 0);
	source_write(&source);
	ask(&client, source.id, 0, 1);
	for (uint32_t n = sim_below(30); n > 0; n--)
		sim_step();
	network_lose(&serving[ASKER].keys.public, &serving[KEEPER].keys.public, "the test says so");
	until_end(&client);
	ck_assert_int_eq(client.error.status, 503);
	ck_assert_ptr_nonnull(strstr(client.error.text, serving[KEEPER].name));
	end();
}
END_TEST

/* It stops, as a daemon does: its readers are told that it is not the end. */
START_TEST(a_keeper_that_stops) {
	begin((uint64_t)_i);
	source_begin(&source, 1, 0);
	source_write(&source);
	ask(&client, source.id, 0, 1);
	for (uint32_t n = sim_below(30); n > 0; n--)
		sim_step();
	kept_stop(kept);
	ck_assert_uint_eq(source.cancelled, 1);
	until_end(&client);
	ck_assert_int_ne(client.error.status, 0);
	end();
}
END_TEST

/* A message within a node is lost for want of memory: what arrives has no gap, and no end if it is not whole. */
START_TEST(no_gap_without_memory) {
	begin((uint64_t)_i);
	source_begin(&source, 1, 0);
	while (source.len < LONG - 200)
		source_write(&source);
	source_end(&source);
	ask(&client, source.id, 0, 1);
	size_t least = 1 + sim_below(LONG / 2);
	while (client.len < least)
		ck_assert(sim_step());
	for (uint32_t n = sim_below(20); n > 0; n--)
		sim_step();
	sim_refuse_posts(1);
	sim_for(60000);
	ck_assert(memcmp(client.bytes, source.bytes, client.len) == 0);
	ck_assert(client.ends == 0 || client.error.status || client.len == source.len);
	if (!client.left)
		leave(&client);
	end();
}
END_TEST

/* Both ends stop in the middle of everything. */
START_TEST(an_end_at_any_moment) {
	begin((uint64_t)_i);
	source_begin(&source, 1, 0);
	while (source.len < 100000)
		source_write(&source);
	ask(&client, source.id, 0, 1);
	ask(&second, source.id, 0, 0);
	for (uint32_t n = sim_below(60); n > 0; n--)
		sim_step();
	if (!client.left)
		leave(&client);
	if (!second.left)
		leave(&second);
	end();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("relay");
	TCase *t = tcase_create("relay");
	tcase_add_loop_test(t, bytes_arrive_as_they_are_kept, 0, SEEDS);
	tcase_add_loop_test(t, a_window_is_under_way, 0, 3);
	tcase_add_test(t, nobody_takes_what_was_not_sent);
	tcase_add_loop_test(t, quiet_streams, 0, 3);
	tcase_add_test(t, time_after_a_late_reader);
	tcase_add_loop_test(t, keepers_that_lie, 0, 2);
	tcase_add_loop_test(t, unknown_and_foreign_ones, 0, 3);
	tcase_add_test(t, nodes_that_cannot_be_asked);
	tcase_add_test(t, a_node_that_does_not_answer);
	tcase_add_test(t, nodes_have_places);
	tcase_add_loop_test(t, cancelled_from_elsewhere, 0, SEEDS);
	tcase_add_loop_test(t, clients_that_go, 0, SEEDS);
	tcase_add_loop_test(t, an_asker_that_goes_down, 0, 3);
	tcase_add_loop_test(t, a_keeper_that_is_lost, 0, SEEDS);
	tcase_add_loop_test(t, a_keeper_that_stops, 0, SEEDS);
	tcase_add_loop_test(t, no_gap_without_memory, 0, SEEDS);
	tcase_add_loop_test(t, an_end_at_any_moment, 0, SEEDS);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
