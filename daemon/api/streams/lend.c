/* lend: see lend.h. */
#include "daemon/api/streams/lend.h"
#include "daemon/core/log.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define LOANS_MAX 256      /* of all nodes together, */
#define LOANS_OF_A_NODE 64 /* and of one */
#define BUSY_RETRY_S 5

struct lend {
	struct loop *loop, *http;
	struct peers *peers;
	struct kept *kept; /* the HTTP thread's */
	LIST_HEAD(, loan) loans;
	unsigned n;
};

struct loan {
	struct lend *lend;
	char id[KEPT_ID];
	uint64_t key;
	uint32_t first; /* event; 0: cancel the stream */
	uint32_t window;
	/* the loop's */
	struct peers_from from;
	bool over;
	LIST_ENTRY(loan) next;
	/* the HTTP thread's */
	struct kept_stream *stream; /* NULL: it does not read */
	uint64_t sent, taken;
	bool broken; /* bytes were lost for want of memory: nothing may come after them */
};

/* From the HTTP thread to the loop. */
struct loan_answer {
	struct loan *loan;
	enum { LOAN_BYTES, LOAN_COMPLETE, LOAN_CANCELLED, LOAN_UNKNOWN, LOAN_REFUSED } kind;
	char type[65];
	const char *why; /* static */
	struct payload *bytes;
};

/* From the loop to the HTTP thread. */
struct loan_taken {
	struct loan *loan;
	uint64_t bytes;
};

/* ---- the HTTP thread ------------------------------------------------------------------------------- */

static void loan_deliver(void *arg);

static bool loan_answer(struct loan *n, int kind, const char *why, struct payload *bytes) {
	struct loan_answer *a = calloc(1, sizeof *a);
	if (a) {
		a->loan = n;
		a->kind = kind;
		a->why = why;
		a->bytes = bytes;
		snprintf(a->type, sizeof a->type, "%s", n->stream ? kept_type(n->stream) : "");
		if (loop_post(n->lend->loop, loan_deliver, a) == 0)
			return true;
	}
	free(a);
	payload_unref(bytes);
	log_line(LOG_LINE_ERROR, "out of memory: a stream for another node is broken");
	return false;
}

static size_t loan_room(void *arg) {
	const struct loan *n = arg;
	uint64_t under_way = n->sent - n->taken;
	size_t room = under_way < n->window ? (size_t)(n->window - under_way) : 0;
	if (n->broken)
		return 0;
	return room < WIRE_STREAM_MAX ? room : WIRE_STREAM_MAX;
}

static void loan_send(void *arg, const void *data, size_t len) {
	struct loan *n = arg;
	struct payload *bytes = payload_copy(data, len);
	n->sent += len;
	n->broken = !bytes || !loan_answer(n, LOAN_BYTES, NULL, bytes);
	if (n->broken)
		(void)loan_answer(n, LOAN_REFUSED, "out of memory", NULL);
}

static void loan_end(void *arg, enum kept_end how) {
	struct loan *n = arg;
	(void)loan_answer(n, how == KEPT_COMPLETE && !n->broken ? LOAN_COMPLETE : LOAN_REFUSED,
	        how == KEPT_TAKEN     ? "another client has taken it up"
	        : how == KEPT_STOPPED ? "the node stops"
	                              : "out of memory",
	        NULL);
	n->stream = NULL;
}

static void loan_open(void *arg) {
	struct loan *n = arg;
	struct kept_stream *s = kept_find(n->lend->kept, n->id, n->key);
	if (!s) {
		(void)loan_answer(n, LOAN_UNKNOWN, "there is no such stream", NULL);
	} else if (n->first == 0) {
		kept_cancel(s);
		(void)loan_answer(n, LOAN_CANCELLED, NULL, NULL);
	} else {
		n->stream = s;
		n->broken = !loan_answer(n, LOAN_BYTES, NULL, NULL); /* it is there, whatever comes of it */
		kept_attach(s, n->first,
		        &(struct kept_reader){
		                .room = loan_room, .send = loan_send, .end = loan_end, .arg = n});
	}
}

static void loan_take(void *arg) {
	struct loan_taken *t = arg;
	struct loan *n = t->loan;
	if (t->bytes > n->taken)
		n->taken = t->bytes < n->sent ? t->bytes : n->sent;
	if (n->stream)
		kept_pump(n->stream);
	free(t);
}

static void loan_free(void *arg) {
	free(arg);
}

/* The last message to this thread. */
static void loan_close(void *arg) {
	struct loan *n = arg;
	struct kept_stream *s = n->stream;
	n->stream = NULL;
	if (s)
		kept_detach(s);
	if (loop_post(n->lend->loop, loan_free, n) != 0)
		log_line(LOG_LINE_ERROR, "out of memory: a stream's reader is never freed");
}

/* ---- the loop -------------------------------------------------------------------------------------- */

static void loan_shut(struct loan *n) {
	n->over = true;
	LIST_REMOVE(n, next);
	n->lend->n--;
	if (loop_post(n->lend->http, loan_close, n) != 0)
		log_line(LOG_LINE_ERROR, "out of memory: a stream's reader is never freed");
}

static int loan_send_bytes(struct loan *n, const struct loan_answer *a) {
	Caravan__StreamBytes bytes = CARAVAN__STREAM_BYTES__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STREAM_BYTES, stream_bytes, &bytes);
	bytes.type = wire_string(a->type);
	bytes.last = a->kind == LOAN_COMPLETE;
	return peers_answer(n->lend->peers, &n->from, &env, a->bytes);
}

static void loan_send_ack(struct loan *n) {
	Caravan__Ack ack = CARAVAN__ACK__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(ACK, ack, &ack);
	(void)peers_answer(n->lend->peers, &n->from, &env, NULL);
}

static void loan_deliver(void *arg) {
	struct loan_answer *a = arg;
	struct loan *n = a->loan;
	if (!n->over) {
		bool last = a->kind != LOAN_BYTES;
		if (a->kind == LOAN_CANCELLED)
			loan_send_ack(n);
		else if (a->kind == LOAN_UNKNOWN)
			(void)peers_refuse(n->lend->peers, &n->from, "%s", a->why);
		else if (a->kind == LOAN_REFUSED)
			(void)peers_refuse_busy(n->lend->peers, &n->from, BUSY_RETRY_S, "%s", a->why);
		else if (loan_send_bytes(n, a) != 0) {
			(void)peers_refuse_busy(
			        n->lend->peers, &n->from, BUSY_RETRY_S, "too much of it is under way");
			last = true;
		}
		if (last)
			loan_shut(n);
	}
	payload_unref(a->bytes);
	free(a);
}

static bool lend_has_place(const struct lend *l, const struct node_id *node) {
	const struct loan *n;
	unsigned its = 0;
	LIST_FOREACH(n, &l->loans, next)
	its += node_id_equal(&n->from.node, node);
	return l->n < LOANS_MAX && its < LOANS_OF_A_NODE;
}

static void lend_open(struct lend *l, const struct peers_from *from, const char *id, uint64_t key,
        uint32_t first, uint32_t window) {
	struct loan *n = first == 0 || lend_has_place(l, &from->node) ? calloc(1, sizeof *n) : NULL;
	if (n) {
		*n = (struct loan){.lend = l, .key = key, .first = first, .window = window, .from = *from};
		snprintf(n->id, sizeof n->id, "%s", id);
		if (loop_post(l->http, loan_open, n) == 0) {
			LIST_INSERT_HEAD(&l->loans, n, next);
			l->n++;
			return;
		}
	}
	free(n);
	(void)peers_refuse_busy(
	        l->peers, from, BUSY_RETRY_S, "this node passes on as many streams as it may already");
}

static void lend_on_open(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	const Caravan__OpenStream *o = env->open_stream;
	(void)payload;
	lend_open(arg, from, o->id, o->key, o->from, o->window);
}

static void lend_on_cancel_stream(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	const Caravan__CancelStream *c = env->cancel_stream;
	(void)payload;
	lend_open(arg, from, c->id, c->key, 0, 0);
}

static struct loan *lend_find(struct lend *l, const struct peers_from *from) {
	struct loan *n;
	LIST_FOREACH(n, &l->loans, next)
	if (n->from.ref == from->ref && node_id_equal(&n->from.node, &from->node))
		return n;
	return NULL;
}

static void lend_on_taken(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct loan *n = lend_find(arg, from);
	struct loan_taken *t = n ? malloc(sizeof *t) : NULL;
	(void)payload;
	if (!n)
		return;
	if (t)
		*t = (struct loan_taken){n, env->stream_taken->bytes};
	if (!t || loop_post(n->lend->http, loan_take, t) != 0) {
		free(t);
		loan_shut(n);
	}
}

static void lend_on_cancel(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct loan *n = lend_find(arg, from);
	(void)env;
	(void)payload;
	if (n)
		loan_shut(n);
}

static void lend_on_member(void *arg, const struct member *who, enum member_change change) {
	struct lend *l = arg;
	struct loan *n = LIST_FIRST(&l->loans), *next;
	(void)change;
	for (; n && (!who->up || who->expelled); n = next) {
		next = LIST_NEXT(n, next);
		if (node_id_equal(&n->from.node, &who->id))
			loan_shut(n);
	}
}

int lend_create(struct lend **out, struct loop *loop, struct loop *http, struct members *m, struct kept *k) {
	static const struct {
		Caravan__Envelope__BodyCase kind;
		peers_fn *fn;
	} on[] = {
	        {CARAVAN__ENVELOPE__BODY_OPEN_STREAM, lend_on_open},
	        {CARAVAN__ENVELOPE__BODY_CANCEL_STREAM, lend_on_cancel_stream},
	        {CARAVAN__ENVELOPE__BODY_STREAM_TAKEN, lend_on_taken},
	        {CARAVAN__ENVELOPE__BODY_CANCEL, lend_on_cancel},
	};
	struct lend *l = calloc(1, sizeof *l);
	if (!l)
		return -ENOMEM;
	*l = (struct lend){.loop = loop, .http = http, .peers = members_peers(m), .kept = k};
	LIST_INIT(&l->loans);
	*out = l;
	int rc = members_on_change(m, lend_on_member, l);
	for (size_t i = 0; rc == 0 && i < sizeof on / sizeof *on; i++)
		rc = peers_on(l->peers, on[i].kind, on[i].fn, l);
	return rc;
}

static void lend_free(void *arg) {
	free(arg);
}

void lend_destroy(struct lend *l) {
	if (!l)
		return;
	for (struct loan *n; (n = LIST_FIRST(&l->loans));) {
		LIST_REMOVE(n, next);
		n->over = true;
		if (loop_post(l->loop, loan_free, n) != 0)
			log_line(LOG_LINE_ERROR, "out of memory while ending");
	}
	/* the HTTP thread has posted its last message: after it, nothing refers to l */
	if (loop_post(l->loop, lend_free, l) != 0)
		log_line(LOG_LINE_ERROR, "out of memory while ending");
}
