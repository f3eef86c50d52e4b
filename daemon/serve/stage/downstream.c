/* downstream: see downstream.h. */
#include "daemon/serve/stage/downstream.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

struct downstream_step {
	TAILQ_ENTRY(downstream_step) next;
	uint64_t step;
	uint64_t ref; /* 0 until sent */
	uint64_t since_ns, sent_ns;
	Caravan__Envelope *env;
	struct payload *payload;
};

TAILQ_HEAD(steps, downstream_step);

struct downstream {
	struct peers *peers;
	struct node_id to;
	char name[WIRE_NAME_MAX + 1];
	downstream_lost_fn *lost;
	void *arg;
	struct steps waiting, sent;
	unsigned nsent;
	uint64_t trip_ns; /* round trip, smoothed; 0: not measured yet */
	bool *gone;       /* set by downstream_destroy while one of our callbacks runs */
};

int downstream_create(struct downstream **out, struct peers *p, const struct node_id *to, const char *name,
        downstream_lost_fn *lost, void *arg) {
	struct downstream *h = calloc(1, sizeof *h);
	if (!h)
		return -ENOMEM;
	h->peers = p;
	h->to = *to;
	snprintf(h->name, sizeof h->name, "%s", name);
	h->lost = lost;
	h->arg = arg;
	TAILQ_INIT(&h->waiting);
	TAILQ_INIT(&h->sent);
	*out = h;
	return 0;
}

static void downstream_step_clear(struct downstream_step *p) {
	wire_free(p->env);
	payload_unref(p->payload);
	p->env = NULL;
	p->payload = NULL;
}

static void downstream_step_destroy(struct downstream_step *p) {
	downstream_step_clear(p);
	free(p);
}

static void downstream_steps_destroy(struct steps *list) {
	for (struct downstream_step *p; (p = TAILQ_FIRST(list)); downstream_step_destroy(p))
		TAILQ_REMOVE(list, p, next);
}

void downstream_destroy(struct downstream *d) {
	if (!d)
		return;
	if (d->gone)
		*d->gone = true;
	downstream_steps_destroy(&d->waiting);
	downstream_steps_destroy(&d->sent);
	free(d);
}

/* Reports every step of a list as lost, and frees the list.  Returns whether h still exists: a callback may
 * destroy it. */
static bool downstream_report_lost(struct downstream *d, struct steps *list, bool refused, const char *why) {
	bool gone = false, *outer = d->gone;
	downstream_lost_fn *lost = d->lost;
	void *arg = d->arg;
	d->gone = &gone;
	for (struct downstream_step *p = TAILQ_FIRST(list); p && !gone; p = TAILQ_NEXT(p, next))
		lost(arg, p->step, refused, why);
	if (!gone)
		d->gone = outer;
	else if (outer)
		*outer = true;
	downstream_steps_destroy(list);
	return !gone;
}

static bool downstream_report_one_lost(
        struct downstream *d, struct downstream_step *p, bool refused, const char *why) {
	struct steps one = TAILQ_HEAD_INITIALIZER(one);
	TAILQ_INSERT_HEAD(&one, p, next);
	return downstream_report_lost(d, &one, refused, why);
}

/* Fills in the last of a step's times, which is the sender's. */
static void downstream_stamp_times(const struct downstream *d, struct downstream_step *p) {
	bool done = p->env->body_case == CARAVAN__ENVELOPE__BODY_STEP_DONE;
	size_t n = done ? p->env->step_done->n_times : p->env->step->n_times;
	if (n == 0)
		return;
	Caravan__StepTime *t = (done ? p->env->step_done->times : p->env->step->times)[n - 1];
	t->held = p->sent_ns > p->since_ns ? p->sent_ns - p->since_ns : 0;
	t->trip = d->trip_ns;
}

/* Sends a step and moves it to the sent list; on failure the reason is in why. */
static int downstream_send_step(struct downstream *d, struct downstream_step *p, char *why, size_t len) {
	p->ref = p->env->ref = peers_ref(d->peers);
	p->sent_ns = loop_now_ns();
	downstream_stamp_times(d, p);
	int rc = peers_send(d->peers, &d->to, PEERS_CONTROL, p->env, p->payload);
	if (rc == -ENOTCONN)
		snprintf(why, len, "there is no link to %s", d->name);
	else if (rc != 0)
		snprintf(why, len, "sending to %s: %s", d->name, strerror(-rc));
	if (rc != 0)
		return rc;
	TAILQ_INSERT_TAIL(&d->sent, p, next);
	d->nsent++;
	return 0;
}

static void downstream_pump(struct downstream *d) {
	char why[WIRE_NAME_MAX + 120];
	while (!TAILQ_EMPTY(&d->waiting) && d->nsent < DOWNSTREAM_CREDITS) {
		struct downstream_step *p = TAILQ_FIRST(&d->waiting);
		TAILQ_REMOVE(&d->waiting, p, next);
		int rc = downstream_send_step(d, p, why, sizeof why);
		downstream_step_clear(p);
		if (rc != 0) {
			/* the others would fail too, and order must be kept: all waiting steps are lost */
			struct steps lost = TAILQ_HEAD_INITIALIZER(lost);
			TAILQ_INSERT_HEAD(&lost, p, next);
			TAILQ_CONCAT(&lost, &d->waiting, next);
			downstream_report_lost(d, &lost, false, why);
			return;
		}
	}
}

int downstream_send(struct downstream *d, uint64_t step, Caravan__Envelope *env, struct payload *payload,
        uint64_t since_ns) {
	struct downstream_step *p = calloc(1, sizeof *p);
	uint8_t *frame = NULL;
	size_t len = 0;
	if (!p)
		return -ENOMEM;
	p->step = step;
	p->since_ns = since_ns;
	if (TAILQ_EMPTY(&d->waiting) && d->nsent < DOWNSTREAM_CREDITS) { /* no copy needed */
		char why[WIRE_NAME_MAX + 120];
		p->env = env;
		p->payload = payload;
		int rc = downstream_send_step(d, p, why, sizeof why);
		p->env = NULL;
		p->payload = NULL;
		if (rc != 0)
			downstream_report_one_lost(d, p, false, why);
		return 0;
	}
	int rc = wire_pack(env, &frame, &len);
	if (rc == 0 && !(p->env = caravan__envelope__unpack(NULL, len, frame)))
		rc = -ENOMEM;
	free(frame);
	if (rc != 0) {
		free(p);
		return rc;
	}
	p->payload = payload ? payload_ref(payload) : NULL;
	TAILQ_INSERT_TAIL(&d->waiting, p, next);
	downstream_pump(d);
	return 0;
}

/* Removes the step with this ref from the sent list; NULL: none. */
static struct downstream_step *downstream_take_sent(
        struct downstream *d, const struct node_id *node, uint64_t ref) {
	struct downstream_step *p = TAILQ_FIRST(&d->sent);
	if (!node_id_equal(node, &d->to))
		return NULL;
	while (p && p->ref != ref)
		p = TAILQ_NEXT(p, next);
	if (!p)
		return NULL;
	TAILQ_REMOVE(&d->sent, p, next);
	d->nsent--;
	return p;
}

bool downstream_ack(struct downstream *d, const struct node_id *node, uint64_t ref, uint64_t waited_ns) {
	struct downstream_step *p = downstream_take_sent(d, node, ref);
	if (!p)
		return false;
	uint64_t away = loop_now_ns() - p->sent_ns, trip = away > waited_ns ? away - waited_ns : 0;
	d->trip_ns = d->trip_ns ? (7 * d->trip_ns + trip) / 8 : trip;
	downstream_step_destroy(p);
	downstream_pump(d);
	return true;
}

bool downstream_refused(struct downstream *d, const struct node_id *node, uint64_t ref, const char *why) {
	struct downstream_step *p = downstream_take_sent(d, node, ref);
	if (!p)
		return false;
	if (downstream_report_one_lost(d, p, true, why))
		downstream_pump(d); /* the credit goes to a waiting step */
	return true;
}

void downstream_link_lost(struct downstream *d, const struct node_id *node, const char *why) {
	if (!node_id_equal(node, &d->to))
		return;
	struct steps lost = TAILQ_HEAD_INITIALIZER(lost);
	TAILQ_CONCAT(&lost, &d->sent, next);
	TAILQ_CONCAT(&lost, &d->waiting, next);
	d->nsent = 0;
	downstream_report_lost(d, &lost, false, why);
}
