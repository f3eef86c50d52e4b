/* bench_pipeline/hop: a Step between two nodes that are nothing but peers, each with a loop on a thread of its own:
 * event loop, bridge, libzmq, CURVE, loopback and the same way up again, with nobody computing. */
#include "daemon/core/loop.h"
#include "daemon/net/peers.h"
#include "tests/bench/bench.h"
#include "tests/bench/pipeline/cluster.h"
#include "tests/bench/pipeline/pipeline.h"
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

enum { WARM = 100 };

struct side {
	struct loop *loop;
	struct peers *peers;
	struct keys keys;
	const struct node_id *other;
	struct payload *payload;
	uint64_t steps;
	bool asks;
	struct side *first; /* the one that asks */
	atomic_uint ups;    /* of the first: links that are up */
	unsigned times, done;
	double sent, *took;
};

static enum peers_verdict admit(void *arg, const struct node_id *key, const char **why) {
	const struct side *s = arg;
	*why = "a stranger";
	return node_id_equal(key, s->other) ? PEERS_MEMBER : PEERS_REFUSE;
}

static void send_step(struct side *s) {
	Caravan__Step step = CARAVAN__STEP__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STEP, step, &step);
	Caravan__Epoch epoch = CARAVAN__EPOCH__INIT;
	Caravan__StepSeq seq = CARAVAN__STEP_SEQ__INIT, *list[1] = {&seq};
	uint32_t blocks[1] = {0};
	epoch.counter = 1;
	epoch.node = (ProtobufCBinaryData){sizeof s->keys.public, s->keys.public.b};
	seq.rows = 1;
	seq.blocks = (ProtobufCBinaryData){sizeof blocks, (uint8_t *)blocks};
	step.epoch = &epoch;
	step.model = (char *)"m";
	step.step = ++s->steps;
	step.seqs = list;
	step.n_seqs = 1;
	step.rows = 1;
	env.ref = peers_ref(s->peers);
	s->sent = bench_now();
	if (peers_send(s->peers, s->other, PEERS_CONTROL, &env, s->payload) != 0)
		loop_stop(s->loop);
}

static void on_step(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *x) {
	struct side *s = arg;
	(void)from;
	(void)env;
	(void)x;
	if (!s->asks) {
		send_step(s);
		return;
	}
	if (s->done >= WARM)
		s->took[s->done - WARM] = bench_now() - s->sent;
	if (++s->done == s->times + WARM)
		loop_stop(s->loop);
	else
		send_step(s);
}

static void begin(void *arg) {
	send_step(arg);
}

/* When both links are up the first side begins. */
static void on_link(void *arg, const struct node_id *node, bool up, const char *why) {
	struct side *s = arg;
	(void)node;
	(void)why;
	if (!up)
		loop_stop(s->loop);
	else if (atomic_fetch_add(&s->first->ups, 1) == 1)
		loop_post(s->first->loop, begin, s->first);
}

static void stop(void *arg) {
	loop_stop(arg);
}

static void *turn(void *arg) {
	struct side *s = arg;
	loop_run(s->loop);
	return NULL;
}

static void side_create(struct side *s, const struct node_id *other) {
	char err[300] = "no memory";
	struct peers_config c = {
	        .listen = "tcp://127.0.0.1:*", .keys = &s->keys, .admit = admit, .link = on_link, .arg = s};
	s->other = other;
	if (loop_create(&s->loop) != 0 || peers_create(&s->peers, s->loop, &c, err, sizeof err) != 0 ||
	        peers_on(s->peers, CARAVAN__ENVELOPE__BODY_STEP, on_step, s) != 0)
		cluster_fail("%s", err);
}

double hop_seconds(unsigned bytes, unsigned times) {
	struct side a = {.asks = true, .times = times}, b = {.asks = false};
	pthread_t thread;
	a.first = b.first = &a;
	a.took = bench_alloc(times * sizeof *a.took);
	a.payload = b.payload = payload_create(bytes);
	memset(payload_data(a.payload), 0, bytes);
	if (keys_generate(&a.keys) != 0 || keys_generate(&b.keys) != 0)
		cluster_fail("no keys");
	side_create(&a, &b.keys.public);
	side_create(&b, &a.keys.public);
	const char *at_a = peers_endpoint(a.peers), *at_b = peers_endpoint(b.peers);
	if (peers_connect(b.peers, &a.keys.public, &at_a, 1) != 0 ||
	        peers_connect(a.peers, &b.keys.public, &at_b, 1) != 0 ||
	        pthread_create(&thread, NULL, turn, &b) != 0)
		cluster_fail("no memory");
	loop_run(a.loop);
	loop_post(b.loop, stop, b.loop);
	pthread_join(thread, NULL);
	if (a.done < times + WARM)
		cluster_fail("the link between two nodes was lost after %u steps", a.done);
	double median = bench_median(a.took, times) / 2;
	peers_destroy(a.peers);
	peers_destroy(b.peers);
	loop_destroy(a.loop);
	loop_destroy(b.loop);
	payload_unref(a.payload);
	free(a.took);
	return median;
}
