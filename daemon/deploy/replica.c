/* replica: a part of a model that this node copies to its disk because the model's coordinator asks for it.
 *
 * Owns: such requests under way.  Nobody waits for them: their bandwidth is bounded, and they yield to steps.
 * Invariants: only the coordinator of a model that this node knows may ask, and there is one request at a time per
 * model.  The request ends when the model is removed.
 * Threads: the loop. */
#include "daemon/deploy/deploy_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct replica {
	struct model *m; /* borrowed: it outlives us */
	struct peers_from from;
	struct fetch *fetch;
	struct loop_timer *beat;
	uint64_t done, total;
};

static void replica_free(struct replica *r) {
	r->m->replica = NULL;
	loop_timer_stop(r->beat);
	free(r);
}

bool replica_work(const struct model *m, Caravan__WorkState *out) {
	if (!m->replica)
		return false;
	out->what = wire_string("copying");
	out->done = m->replica->done;
	out->total = m->replica->total;
	return true;
}

void replica_stop(struct model *m) {
	struct replica *r = m->replica;
	if (!r)
		return;
	transfer_cancel(r->fetch);
	peers_refuse(
	        m->d->peers, &r->from, "the model has gone, or another request has taken this one's place");
	replica_free(r);
}

static void replica_beat(void *arg) {
	struct replica *r = arg;
	Caravan__Progress p = CARAVAN__PROGRESS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PROGRESS, progress, &p);
	p.what = wire_string("copying");
	p.done = r->done;
	p.total = r->total;
	peers_answer(r->m->d->peers, &r->from, &env, NULL);
}

static void replica_on_progress(void *arg, const char *what, uint64_t done, uint64_t total) {
	struct replica *r = arg;
	(void)what;
	r->done = done;
	r->total = total;
}

static void replica_fetched(void *arg, const char *error, uint64_t moved) {
	struct replica *r = arg;
	struct model *m = r->m;
	r->fetch = NULL;
	if (error) {
		peers_refuse(m->d->peers, &r->from, "%s", error);
	} else {
		Caravan__Ready ready = CARAVAN__READY__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(READY, ready, &ready);
		ready.weight_bytes = r->total;
		ready.moved_bytes = moved;
		peers_answer(m->d->peers, &r->from, &env, NULL);
	}
	replica_free(r);
}

/* The tensors whose bits are set; out: large enough for all of the model. */
static size_t replica_list_tensors(
        const struct manifest *m, const Caravan__Replicate *msg, struct manifest_tensor *out) {
	size_t n = 0;
	for (size_t i = 0; i < manifest_layer_tensors(m); i++) {
		uint32_t word = 0;
		if (i / 32 < msg->tensors.len / sizeof word)
			memcpy(&word, msg->tensors.data + i / 32 * sizeof word, sizeof word);
		if (word >> i % 32 & 1)
			out[n++] = m->tensor[i];
	}
	for (size_t r = 0; r < IO_ROLES; r++)
		if (msg->io >> r & 1)
			out[n++] = m->io[r];
	return n;
}

static struct model *replica_find_model(
        struct deploy *d, const struct peers_from *from, const Caravan__Replicate *msg) {
	for (size_t i = 0; i < d->models; i++) {
		struct model *m = d->model[i];
		if (m->manifest && node_id_equal(&m->coordinator, &from->node) &&
		        memcmp(m->plan->manifest.data, msg->manifest.data, sizeof m->manifest->id.b) == 0)
			return m;
	}
	return NULL;
}

static void replica_on_request(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct deploy *d = arg;
	const Caravan__Replicate *msg = env->replicate;
	struct model *m = replica_find_model(d, from, msg);
	(void)payload;
	if (!m) {
		peers_refuse(d->peers, from, "this node knows no model of that name that you coordinate");
		return;
	}
	replica_stop(m);
	size_t most = manifest_tensors(m->manifest);
	struct replica *k = calloc(1, sizeof *k);
	struct manifest_tensor *tensor = calloc(most, sizeof *tensor);
	struct node_id *source = calloc(msg->n_sources + 1, sizeof *source);
	if (!k || !tensor || !source)
		goto error;
	struct transfer_request r = {.subject = "a copy",
	        .blob = &m->manifest->vocab,
	        .blobs = 1,
	        .tensor = tensor,
	        .tensors = replica_list_tensors(m->manifest, msg, tensor),
	        .source = source,
	        .spare = true,
	        /* the coordinator's bandwidth is reserved for the stages */
	        .alone = from->local,
	        .progress = replica_on_progress,
	        .done = replica_fetched,
	        .arg = k};
	char subject[WIRE_NAME_MAX + 32];
	snprintf(subject, sizeof subject, "copies of %s", m->plan->model);
	r.subject = subject;
	for (size_t i = 0; i < msg->n_sources; i++)
		r.sources += node_id_from_bytes(&source[r.sources], msg->sources[i]) == 0;
	k->m = m;
	k->from = *from;
	if (!(k->beat = loop_timer_start(d->c.loop, DEPLOY_BEAT_MS, true, replica_beat, k)) ||
	        transfer_fetch(d->transfer, &r, &k->fetch))
		goto error;
	m->replica = k;
	free(tensor);
	free(source);
	return;
error:
	peers_refuse(d->peers, from, "out of memory");
	if (k)
		loop_timer_stop(k->beat);
	free(k);
	free(tensor);
	free(source);
}

void replica_free_all(struct model *m) {
	if (m->replica)
		replica_free(m->replica);
}

int replica_init(struct deploy *d) {
	return peers_on(d->peers, CARAVAN__ENVELOPE__BODY_REPLICATE, replica_on_request, d);
}
