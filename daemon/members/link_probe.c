/* link_probe: see link_probe.h.
 *
 * A request for no bytes measures the round trip.  What a request for many bytes takes beyond that is their
 * transfer time.  More bytes are requested until the time is long enough to be exact, since switches and
 * buffers pass a short burst faster than the link's rate.  On a busy machine an answer may wait longer for a
 * processor than for the link.  If that may explain the time of a request, the request is repeated, and the
 * fastest answer counts. */
#include "daemon/members/link_probe.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 500
#define ENOUGH 0.1                   /* seconds beyond the empty request that give an exact rate */
#define MOMENT 1.0                   /* seconds that a busy machine may delay an answer */
#define TRIES 3                      /* of one request, of which the fastest counts */
#define PATIENCE_NS 20000000000ull   /* timeout of an answer */
#define RETRY_NS 1000000000ull       /* after a missing or refused answer, doubled each time, */
#define RETRY_MOST_NS 60000000000ull /* up to this */
#define AGAIN_NS 3600000000000ull
#define ANSWER_BYTES (8u * WIRE_PAYLOAD_MAX) /* that we send per tick: queued answers take memory */

/* the first is what a link of 100 kbit/s carries in five seconds: more would hold up heartbeats */
static const uint32_t sizes[] = {0, LINK_PROBE_CHECK_BYTES, 256u << 10, 1u << 20, WIRE_PAYLOAD_MAX};
#define SIZES (sizeof sizes / sizeof *sizes)

#define CHECK_TIMES 5 /* a check is odd if it is this many times slower, or faster, than the link's rate, */
#define CHECK_REST 0.005 /* and, if slower, took at least this many seconds, */
#define CHECK_BUSY 0.025 /* or this many during computing, when threads wait for each other; */
#define CHECK_ODD 2      /* after this many odd ones in a row the link is measured */
#define BUSY_SIZE 2      /* index in sizes: during computing no more is requested */

/* When a node is due to be measured, and checked. */
struct probe_schedule {
	struct node_id node;
	uint64_t at_ns, check_ns;
	unsigned odd;      /* odd checks in a row */
	bool doubted;      /* measure it even during computing, as far as needed for a slow link */
	unsigned failures; /* in a row */
};

struct link_probe {
	struct loop *loop;
	struct members *members;
	struct peers *peers;
	struct loop_timer *timer;
	bool (*busy)(void *arg);
	void *arg;
	struct probe_schedule *due;
	size_t dues;
	uint32_t sent; /* bytes of answers, in this tick */
	/* the request under way; ref 0: none */
	uint64_t ref, sent_ns;
	struct node_id node;
	bool check;     /* stops after the first of sizes */
	bool brief;     /* stops at BUSY_SIZE during computing */
	size_t size;    /* index in sizes */
	unsigned tries; /* requests of this size */
	double best;    /* seconds of the fastest */
	double empty;   /* seconds of an empty request */
	uint64_t check_every_ns;
};

static struct probe_schedule *link_probe_schedule_of(struct link_probe *k, const struct node_id *node) {
	for (size_t i = 0; i < k->dues; i++)
		if (node_id_equal(&k->due[i].node, node))
			return &k->due[i];
	struct probe_schedule *grown = realloc(k->due, (k->dues + 1) * sizeof *grown);
	if (!grown)
		return NULL;
	k->due = grown;
	k->due[k->dues] = (struct probe_schedule){.node = *node};
	return &k->due[k->dues++];
}

static void link_probe_end(struct link_probe *k, uint64_t next_ns) {
	struct probe_schedule *d = link_probe_schedule_of(k, &k->node);
	uint64_t now = loop_now_ns();
	if (d) {
		d->check_ns = now + k->check_every_ns;
		d->failures = 0;
		if (!k->check)
			d->at_ns = now + next_ns;
	}
	k->ref = 0;
}

/* No usable answer.  Several nodes may have asked one at the same time: the delay differs, so that they do
 * not collide again. */
static void link_probe_failed(struct link_probe *k) {
	struct probe_schedule *d = link_probe_schedule_of(k, &k->node);
	unsigned failures = d ? d->failures : 0;
	uint64_t wait = failures < 6 ? RETRY_NS << failures : RETRY_MOST_NS;
	wait = wait / 2 + loop_now_ns() % (wait / 2);
	link_probe_end(k, wait);
	if (d)
		d->failures = failures + 1;
}

/* A link's rate was measured; if it has become slow, it is measured again soon before that is reported. */
static void link_probe_measured(struct link_probe *k, double rate) {
	struct probe_schedule *d = link_probe_schedule_of(k, &k->node);
	members_set_rate(k->members, &k->node, rate);
	const struct member *m = members_find(k->members, &k->node);
	if (d)
		d->doubted = m && m->rate_slow > 0 && m->rate_slow < MEMBERS_SLOW_PROBES;
	link_probe_end(k, d && d->doubted ? k->check_every_ns : AGAIN_NS);
}

/* Measured during computing, and the results so far show that the link is not slow: its exact rate will be
 * measured when the node is idle.  Until then, this rate counts for a link without a known one. */
static void link_probe_not_slow(struct link_probe *k, double rate) {
	struct probe_schedule *d = link_probe_schedule_of(k, &k->node);
	const struct member *m = members_find(k->members, &k->node);
	if (m && !(m->rate > 0))
		members_set_first_rate(k->members, &k->node, rate);
	if (d)
		d->doubted = false;
	link_probe_end(k, 0);
}

static void link_probe_checked(struct link_probe *k, double took) {
	struct probe_schedule *d = link_probe_schedule_of(k, &k->node);
	const struct member *m = members_find(k->members, &k->node);
	double rate = LINK_PROBE_CHECK_BYTES / took;
	link_probe_end(k, 0);
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

static void link_probe_send(struct link_probe *k) {
	Caravan__Probe probe = CARAVAN__PROBE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PROBE, probe, &probe);
	probe.bytes = sizes[k->size];
	env.ref = k->ref = peers_ref(k->peers);
	k->sent_ns = loop_now_ns();
	if (peers_send(k->peers, &k->node, PEERS_BULK, &env, NULL))
		link_probe_failed(k);
}

static void link_probe_start_size(struct link_probe *k, size_t size) {
	k->size = size;
	k->tries = 0;
	link_probe_send(k);
}

/* All answers for a size have arrived: the fastest took k->best. */
static void link_probe_size_done(struct link_probe *k) {
	double took = k->best;
	bool enough = took - k->empty >= ENOUGH;
	/* count at least half as transfer time, in case a delay made the empty request slow */
	double theirs = took - k->empty > took / 2 ? took - k->empty : took / 2;
	if (k->size == 0) {
		k->empty = took;
		link_probe_start_size(k, 1);
	} else if (k->check) {
		link_probe_checked(k, theirs);
	} else if (!enough && k->size >= BUSY_SIZE && k->brief && k->busy(k->arg)) {
		link_probe_not_slow(k, sizes[k->size] / theirs);
	} else if (!enough && k->size + 1 < SIZES) {
		link_probe_start_size(k, k->size + 1);
	} else {
		link_probe_measured(k, sizes[k->size] / theirs);
	}
}

/* No answer came: for a request of many bytes, that gives an upper bound of the rate. */
static void link_probe_timed_out(struct link_probe *k) {
	if (k->tries > 0)
		link_probe_size_done(k);
	else if (k->size == 0)
		link_probe_failed(k);
	else if (k->check)
		link_probe_checked(k, PATIENCE_NS * 1e-9);
	else
		link_probe_measured(k, sizes[k->size] / (PATIENCE_NS * 1e-9));
}

static void link_probe_tick(void *arg) {
	struct link_probe *k = arg;
	const struct member *m;
	uint64_t now = loop_now_ns();
	k->sent = 0;
	if (k->ref && now - k->sent_ns > PATIENCE_NS)
		link_probe_timed_out(k);
	bool busy = k->busy(k->arg);
	for (size_t i = 0; !k->ref && (m = members_at(k->members, i)); i++) {
		const struct probe_schedule *d = m->self || !m->up ? NULL : link_probe_schedule_of(k, &m->id);
		bool whole = d && now >= d->at_ns && (!busy || d->doubted || !(m->rate > 0));
		if (!d || (!whole && (now < d->check_ns || !(m->rate > 0))))
			continue;
		k->check = !whole;
		k->brief = busy || d->doubted;
		k->node = m->id;
		link_probe_start_size(k, 0);
	}
}

static void link_probe_on_request(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct link_probe *k = arg;
	Caravan__Probed probed = CARAVAN__PROBED__INIT;
	Caravan__Envelope answer = WIRE_ENVELOPE(PROBED, probed, &probed);
	uint32_t bytes = env->probe->bytes;
	(void)payload;
	struct payload *p = bytes && bytes <= ANSWER_BYTES - k->sent ? payload_create(bytes) : NULL;
	if (bytes && !p) {
		peers_refuse(k->peers, from, "too many requests at once");
		return;
	}
	k->sent += bytes;
	if (p)
		memset(payload_data(p), 0, bytes);
	(void)peers_answer(k->peers, from, &answer, p);
	payload_unref(p);
}

static bool link_probe_is_current(const struct link_probe *k, const struct peers_from *from) {
	return k->ref && from->ref == k->ref && node_id_equal(&from->node, &k->node);
}

static void link_probe_on_reply(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct link_probe *k = arg;
	(void)env;
	if (!link_probe_is_current(k, from))
		return;
	if ((payload ? payload_len(payload) : 0) != sizes[k->size]) {
		link_probe_end(k, AGAIN_NS);
		return;
	}
	double took = (double)(loop_now_ns() - k->sent_ns) * 1e-9;
	k->best = k->tries++ > 0 && k->best < took ? k->best : took;
	if (took < MOMENT && (k->size == 0 || took - k->empty >= ENOUGH) && k->tries < TRIES && !k->check)
		link_probe_send(k);
	else
		link_probe_size_done(k);
}

static void link_probe_on_refused(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct link_probe *k = arg;
	(void)env;
	(void)payload;
	if (link_probe_is_current(k, from))
		link_probe_failed(k);
}

static void link_probe_on_link(void *arg, const struct node_id *node, bool up, const char *why) {
	struct link_probe *k = arg;
	struct probe_schedule *d = link_probe_schedule_of(k, node);
	(void)why;
	if (!up && k->ref && node_id_equal(node, &k->node))
		k->ref = 0;
	if (d)
		*d = (struct probe_schedule){.node = *node}; /* it may be another link now */
}

int link_probe_create(struct link_probe **out, struct loop *l, struct members *m, uint32_t check_ms,
        bool (*busy)(void *arg), void *arg) {
	struct link_probe *k = calloc(1, sizeof *k);
	if (!k)
		return -ENOMEM;
	k->loop = l;
	k->members = m;
	k->peers = members_peers(m);
	k->check_every_ns = (check_ms ? check_ms : LINK_PROBE_CHECK_MS) * 1000000ull;
	k->busy = busy;
	k->arg = arg;
	int rc = peers_on(k->peers, CARAVAN__ENVELOPE__BODY_PROBE, link_probe_on_request, k);
	if (rc == 0)
		rc = peers_on(k->peers, CARAVAN__ENVELOPE__BODY_PROBED, link_probe_on_reply, k);
	if (rc == 0)
		rc = peers_on(k->peers, CARAVAN__ENVELOPE__BODY_REFUSED, link_probe_on_refused, k);
	if (rc == 0)
		rc = peers_on_link(k->peers, link_probe_on_link, k);
	if (rc == 0 && !(k->timer = loop_timer_start(l, TICK_MS, true, link_probe_tick, k)))
		rc = -ENOMEM;
	if (rc) {
		free(k);
		return rc;
	}
	*out = k;
	return 0;
}

void link_probe_destroy(struct link_probe *k) {
	if (!k)
		return;
	loop_timer_stop(k->timer);
	free(k->due);
	free(k);
}
