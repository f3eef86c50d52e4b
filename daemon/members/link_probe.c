/* link_probe: see link_probe.h.  A question of no bytes says what a round trip takes over this link; what a question of many takes
 * beyond that is theirs.  More are asked for until they take long enough for that to be exact: a short burst passes
 * switches and buffers faster than a link is. */
#include "daemon/members/link_probe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 500
#define ENOUGH 0.1                 /* seconds that say enough of a rate */
#define PATIENCE_NS 20000000000ull /* for an answer */
#define RETRY_NS 60000000000ull    /* after one that did not come */
#define AGAIN_NS 3600000000000ull
#define ANSWERS 8 /* of ours in a tick: what waits in queues is memory */

/* the first is what a link of 100 kbit/s carries in five seconds: more would keep heartbeats from coming through */
static const uint32_t sizes[] = {0, LINKS_CHECK_BYTES, 256u << 10, 1u << 20, WIRE_PAYLOAD_MAX};
#define SIZES (sizeof sizes / sizeof *sizes)

#define CHECK_TIMES 5    /* so much slower, or quicker, than the link's rate a check is odd, */
#define CHECK_REST 0.005 /* if it took so many seconds, */
#define CHECK_BUSY 0.025 /* or so many while something is computed: threads wait for each other then; */
#define CHECK_ODD 2      /* after so many in a row the link is measured */
#define BUSY_SIZE 2      /* of sizes: while something is computed it is asked for no more */

/* When a node is to be measured next, and checked. */
struct due {
	struct node_id node;
	uint64_t at_ns, check_ns;
	unsigned odd; /* checks in a row */
	bool doubted; /* it is measured whatever is computed, as far as a slow link goes */
};

struct links {
	struct loop *loop;
	struct members *members;
	struct peers *peers;
	struct loop_timer *timer;
	bool (*busy)(void *arg);
	void *arg;
	struct due *due;
	size_t dues;
	unsigned answers; /* in this tick */
	/* the question under way; ref 0: none */
	uint64_t ref, sent_ns;
	struct node_id node;
	bool check, doubts; /* what for: one of them, or neither */
	size_t size;        /* of sizes; a check goes no further than the first */
	double empty;       /* seconds that no bytes took */
	uint64_t check_every_ns;
};

static struct due *due_of(struct links *k, const struct node_id *node) {
	for (size_t i = 0; i < k->dues; i++)
		if (node_id_equal(&k->due[i].node, node))
			return &k->due[i];
	struct due *grown = realloc(k->due, (k->dues + 1) * sizeof *grown);
	if (!grown)
		return NULL;
	k->due = grown;
	k->due[k->dues] = (struct due){.node = *node};
	return &k->due[k->dues++];
}

static void over(struct links *k, uint64_t next_ns) {
	struct due *d = due_of(k, &k->node);
	uint64_t now = loop_now_ns();
	if (d) {
		d->check_ns = now + k->check_every_ns;
		if (!k->check)
			d->at_ns = now + next_ns;
	}
	k->ref = 0;
}

/* A link's rate has been found; one that has become slow is looked at once again soon, before that is said. */
static void found(struct links *k, double rate) {
	struct due *d = due_of(k, &k->node);
	members_set_rate(k->members, &k->node, rate);
	const struct member *m = members_find(k->members, &k->node);
	if (d)
		d->doubted = m && m->rate_slow > 0 && m->rate_slow < MEMBERS_SLOW_LOOKS;
	over(k, d && d->doubted ? k->check_every_ns : AGAIN_NS);
}

/* Measuring was begun while something is computed, and what came so far says that the link is not slow: how quick it is
 * will be measured when the node rests. */
static void not_slow(struct links *k) {
	struct due *d = due_of(k, &k->node);
	if (d)
		d->doubted = false;
	over(k, 0);
}

static void checked(struct links *k, double took) {
	struct due *d = due_of(k, &k->node);
	const struct member *m = members_find(k->members, &k->node);
	double rate = LINKS_CHECK_BYTES / took;
	over(k, 0);
	if (!d || !m || !(m->rate > 0))
		return;
	bool slower = rate * CHECK_TIMES < m->rate && took >= (k->busy(k->arg) ? CHECK_BUSY : CHECK_REST);
	d->odd = slower || rate > m->rate * CHECK_TIMES ? d->odd + 1 : 0;
	if (d->odd < CHECK_ODD)
		return;
	d->odd = 0;
	d->doubted = true;
	d->at_ns = 0;
}

static void ask(struct links *k) {
	Caravan__Probe probe = CARAVAN__PROBE__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	probe.bytes = sizes[k->size];
	env.body_case = CARAVAN__ENVELOPE__BODY_PROBE;
	env.probe = &probe;
	env.ref = k->ref = peers_ref(k->peers);
	k->sent_ns = loop_now_ns();
	if (peers_send(k->peers, &k->node, PEERS_BULK, &env, NULL))
		over(k, RETRY_NS);
}

/* No answer came: of a question of many bytes that says how little the link carries at most. */
static void late(struct links *k) {
	if (k->size == 0)
		over(k, RETRY_NS);
	else if (k->check)
		checked(k, PATIENCE_NS * 1e-9);
	else
		found(k, sizes[k->size] / (PATIENCE_NS * 1e-9));
}

static void tick(void *arg) {
	struct links *k = arg;
	const struct member *m;
	uint64_t now = loop_now_ns();
	k->answers = 0;
	if (k->ref && now - k->sent_ns > PATIENCE_NS)
		late(k);
	bool busy = k->busy(k->arg);
	for (size_t i = 0; !k->ref && (m = members_at(k->members, i)); i++) {
		const struct due *d = m->self || !m->up ? NULL : due_of(k, &m->id);
		bool whole = d && now >= d->at_ns && (!busy || d->doubted);
		if (!d || (!whole && (now < d->check_ns || !(m->rate > 0))))
			continue;
		k->check = !whole;
		k->doubts = whole && d->doubted;
		k->node = m->id;
		k->size = 0;
		ask(k);
	}
}

static void on_probe(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct links *k = arg;
	Caravan__Probed probed = CARAVAN__PROBED__INIT;
	Caravan__Envelope answer = CARAVAN__ENVELOPE__INIT;
	uint32_t bytes = env->probe->bytes;
	(void)payload;
	struct payload *p = bytes && k->answers < ANSWERS ? payload_create(bytes) : NULL;
	if (bytes && !p) {
		peers_refuse(k->peers, from, "too many requests at once");
		return;
	}
	k->answers++;
	if (p)
		memset(payload_data(p), 0, bytes);
	answer.body_case = CARAVAN__ENVELOPE__BODY_PROBED;
	answer.probed = &probed;
	(void)peers_answer(k->peers, from, &answer, p);
	payload_unref(p);
}

static bool is_mine(const struct links *k, const struct peers_from *from) {
	return k->ref && from->ref == k->ref && node_id_equal(&from->node, &k->node);
}

static void on_probed(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct links *k = arg;
	(void)env;
	if (!is_mine(k, from))
		return;
	double took = (double)(loop_now_ns() - k->sent_ns) * 1e-9;
	/* half at least is counted as theirs, where a moment's delay made the empty one slow */
	double theirs = took - k->empty > took / 2 ? took - k->empty : took / 2;
	if ((payload ? payload_len(payload) : 0) != sizes[k->size]) {
		over(k, AGAIN_NS);
	} else if (k->size == 0) {
		k->empty = took;
		k->size++;
		ask(k);
	} else if (k->check) {
		checked(k, theirs);
	} else if (took < ENOUGH && k->size >= BUSY_SIZE && k->doubts && k->busy(k->arg)) {
		not_slow(k);
	} else if (took < ENOUGH && k->size + 1 < SIZES) {
		k->size++;
		ask(k);
	} else {
		found(k, sizes[k->size] / theirs);
	}
}

static void on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct links *k = arg;
	(void)env;
	(void)payload;
	if (is_mine(k, from))
		over(k, RETRY_NS);
}

static void on_link(void *arg, const struct node_id *node, bool up, const char *why) {
	struct links *k = arg;
	struct due *d = due_of(k, node);
	(void)why;
	if (!up && k->ref && node_id_equal(node, &k->node))
		k->ref = 0;
	if (d)
		*d = (struct due){.node = *node}; /* it may be another link now */
}

int links_create(struct links **out, struct loop *l, struct members *m, uint32_t check_ms,
        bool (*busy)(void *arg), void *arg) {
	struct links *k = calloc(1, sizeof *k);
	if (!k)
		return -ENOMEM;
	k->loop = l;
	k->members = m;
	k->peers = members_peers(m);
	k->check_every_ns = (check_ms ? check_ms : LINKS_CHECK_MS) * 1000000ull;
	k->busy = busy;
	k->arg = arg;
	int rc = peers_on(k->peers, CARAVAN__ENVELOPE__BODY_PROBE, on_probe, k);
	if (rc == 0)
		rc = peers_on(k->peers, CARAVAN__ENVELOPE__BODY_PROBED, on_probed, k);
	if (rc == 0)
		rc = peers_on(k->peers, CARAVAN__ENVELOPE__BODY_REFUSED, on_refused, k);
	if (rc == 0)
		rc = peers_on_link(k->peers, on_link, k);
	if (rc == 0 && !(k->timer = loop_timer_start(l, TICK_MS, true, tick, k)))
		rc = -ENOMEM;
	if (rc) {
		free(k);
		return rc;
	}
	*out = k;
	return 0;
}

void links_destroy(struct links *k) {
	if (!k)
		return;
	loop_timer_stop(k->timer);
	free(k->due);
	free(k);
}
