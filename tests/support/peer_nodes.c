/* peer_nodes: see peer_nodes.h. */
#include "tests/support/peer_nodes.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a node of the test ------------------------------------------------------------------------- */

struct node nodes[NODES + 1];

enum peers_verdict node_admit(void *arg, const struct node_id *key, const char **why) {
	struct node *n = arg;
	if (n->guest && node_id_equal(key, n->guest))
		return PEERS_INVITED;
	for (int i = 0; i < NODES + 1; i++)
		if (node_id_equal(key, &nodes[i].keys.public)) {
			*why = "expelled";
			return n->refuses[i] ? PEERS_REFUSE : PEERS_MEMBER;
		}
	*why = "a stranger";
	return PEERS_REFUSE;
}

static void node_link(void *arg, const struct node_id *node, bool up, const char *why) {
	struct node *n = arg;
	(void)node;
	if (up)
		n->ups++;
	else
		n->downs++;
	snprintf(n->why, sizeof n->why, "%s", why);
}

static void node_heard(void *arg, const struct node_id *from, uint32_t minor, uint32_t arithmetic,
        Caravan__Entry *const *entries, size_t count) {
	struct node *n = arg;
	(void)from;
	(void)entries;
	n->minor = minor;
	n->heard += (unsigned)count;
	n->arithmetic = arithmetic;
}

static void node_roster(void *arg, Caravan__Entry ***entries, size_t *count) {
	static Caravan__Entry entry, *list[1] = {&entry};
	struct node *n = arg;
	caravan__entry__init(&entry);
	entry.node = (ProtobufCBinaryData){sizeof n->keys.public, n->keys.public.b};
	entry.version = 1;
	entry.name = (char *)"somebody";
	*entries = list;
	*count = 1;
}

static void node_word(void *arg, const struct node_id *from) {
	struct node *n = arg;
	(void)from;
	n->words++;
}

static void on_ping(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct node *n = arg;
	(void)payload;
	n->pings++;
	n->asked = *from;
	if (env->ping->time != n->expect++)
		n->disorder = true;
	if (n->quiet)
		return;
	Caravan__Pong pong = CARAVAN__PONG__INIT;
	Caravan__Envelope answer = WIRE_ENVELOPE(PONG, pong, &pong);
	pong.time = env->ping->time;
	ck_assert_int_eq(peers_answer(n->peers, from, &answer, NULL), 0);
}

static void on_pong(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct node *n = arg;
	(void)from;
	(void)payload;
	if (env->pong->time != n->pongs)
		n->disorder = true;
	n->pongs++;
}

static void on_step(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct node *n = arg;
	n->steps++;
	ck_assert_ptr_nonnull(payload);
	const uint32_t *w = payload_data(payload);
	ck_assert_uint_eq((uintptr_t)w % 4, 0);
	if (w[0] != (uint32_t)env->step->step || w[payload_len(payload) / 4 - 1] != (uint32_t)env->step->step)
		n->disorder = true;
	n->bytes += payload_len(payload);
	Caravan__StepAck ack = CARAVAN__STEP_ACK__INIT;
	Caravan__Envelope answer = WIRE_ENVELOPE(STEP_ACK, step_ack, &ack);
	ack.step = env->step->step;
	ck_assert_int_eq(peers_answer(n->peers, from, &answer, NULL), 0);
}

static void on_ack(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct node *n = arg;
	(void)from;
	(void)payload;
	n->acks++;
	if (env->step_ack->step != n->acks)
		n->disorder = true;
}

static void on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct node *n = arg;
	(void)from;
	(void)payload;
	n->refusals++;
	snprintf(n->refusal, sizeof n->refusal, "%s", env->refused->reason);
}

static const char *node_name_at(void *arg, const char *address) {
	struct node *n = arg;
	snprintf(n->looked, sizeof n->looked, "%s", address);
	return "somebody";
}

void node_start_at(struct node *n, const char *listen) {
	char err[200] = "";
	const struct peers_config c = {.listen = listen,
	        .keys = &n->keys,
	        .admit = node_admit,
	        .link = node_link,
	        .roster = node_roster,
	        .roster_received = node_heard,
	        .name_at = node_name_at,
	        .message_arrived = node_word,
	        .arithmetic = 7,
	        .arg = n};
	ck_assert_msg(peers_create(&n->peers, loop, &c, err, sizeof err) == 0, "%s", err);
	peers_on(n->peers, CARAVAN__ENVELOPE__BODY_PING, on_ping, n);
	peers_on(n->peers, CARAVAN__ENVELOPE__BODY_PONG, on_pong, n);
	peers_on(n->peers, CARAVAN__ENVELOPE__BODY_STEP, on_step, n);
	peers_on(n->peers, CARAVAN__ENVELOPE__BODY_STEP_ACK, on_ack, n);
	peers_on(n->peers, CARAVAN__ENVELOPE__BODY_REFUSED, on_refused, n);
}

void node_start(struct node *n) {
	node_start_at(n, "tcp://127.0.0.1:*");
}

void node_stop(struct node *n) {
	peers_destroy(n->peers);
	n->peers = NULL;
}

void node_call(struct node *from, struct node *to) {
	const char *endpoint = peers_endpoint(to->peers);
	ck_assert_int_eq(peers_connect(from->peers, &to->keys.public, &endpoint, 1), 0);
}

void peer_setup(void) {
	ck_assert_int_eq(loop_create(&loop), 0);
	memset(nodes, 0, sizeof nodes);
	for (int i = 0; i < NODES + 1; i++)
		ck_assert_int_eq(keys_generate(&nodes[i].keys), 0);
}

void peer_teardown(void) {
	for (int i = 0; i < NODES + 1; i++)
		node_stop(&nodes[i]);
	loop_destroy(loop);
}

/* ---- messages of the test -------------------------------------------------------------------------- */

int send_ping(struct node *from, const struct node_id *to, uint64_t time) {
	Caravan__Ping ping = CARAVAN__PING__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PING, ping, &ping);
	ping.time = time;
	env.ref = peers_ref(from->peers);
	return peers_send(from->peers, to, PEERS_CONTROL, &env, NULL);
}

int make_step(struct node *from, uint64_t number, size_t bytes, give_step_fn *give, void *arg) {
	Caravan__Step step = CARAVAN__STEP__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STEP, step, &step);
	Caravan__Epoch epoch = CARAVAN__EPOCH__INIT;
	Caravan__StepSeq seq = CARAVAN__STEP_SEQ__INIT, *seqs[1] = {&seq};
	uint32_t blocks[1] = {3};
	struct payload *payload = payload_create(bytes);
	uint32_t *w = payload_data(payload);
	memset(w, 0, bytes);
	w[0] = w[bytes / 4 - 1] = (uint32_t)number;
	epoch.counter = 1;
	epoch.node = (ProtobufCBinaryData){sizeof from->keys.public, from->keys.public.b};
	seq.rows = 1;
	seq.blocks = (ProtobufCBinaryData){sizeof blocks, (uint8_t *)blocks};
	step.epoch = &epoch;
	step.model = (char *)"m";
	step.step = number;
	step.seqs = seqs;
	step.n_seqs = 1;
	step.rows = 1;
	int rc = give(arg, &env, payload);
	payload_unref(payload);
	return rc;
}

/* Where a step goes. */
struct way {
	struct node *from;
	const struct node_id *to;
	enum peers_channel channel;
};

static int send_it(void *arg, Caravan__Envelope *env, struct payload *payload) {
	const struct way *w = arg;
	env->ref = peers_ref(w->from->peers);
	return peers_send(w->from->peers, w->to, w->channel, env, payload);
}

int send_step(
        struct node *from, const struct node_id *to, enum peers_channel ch, uint64_t number, size_t bytes) {
	struct way way = {from, to, ch};
	return make_step(from, number, bytes, send_it, &way);
}

static bool both_up(void) {
	return peers_linked(nodes[0].peers, &nodes[1].keys.public) &&
	       peers_linked(nodes[1].peers, &nodes[0].keys.public);
}

void two_nodes(void) {
	node_start(&nodes[0]);
	node_start(&nodes[1]);
	node_call(&nodes[0], &nodes[1]);
	node_call(&nodes[1], &nodes[0]);
	ck_assert(nodes_until(both_up, 5000));
}
