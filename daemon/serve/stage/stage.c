/* stage: see stage.h. */
#include "daemon/serve/stage/stage.h"
#include "common/size.h"
#include "daemon/core/log.h"
#include "daemon/core/rate.h"
#include "daemon/plan/planner.h"
#include "daemon/serve/stage/downstream.h"
#include "daemon/serve/stage/expert_state.h"
#include "daemon/serve/stage/pace.h"
#include "proto/plan.h"
#include "shard/forward/forward.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define CANCELLED_MAX 64 /* cancelled steps remembered until they arrive; if more, the oldest are computed */

struct stage {
	struct peers *peers;
	struct compute *compute;
	struct loop *loop;
	Caravan__Plan *plan;
	uint32_t index;
	struct node_id coordinator, sender; /* the nodes that may send steps to us */
	bool last;
	struct slice *slice;
	struct kv *kv;
	struct forward *forward;
	struct downstream *downstream;
	char damaged[SLICE_NAME];
	struct expert_state *experts;            /* NULL: none of its layers is a mixture */
	uint64_t seen;                           /* number of the newest step */
	unsigned jobs;                           /* on the compute thread */
	LIST_HEAD(, stage_step) at_work;         /* unordered */
	uint64_t cancelled_steps[CANCELLED_MAX]; /* a ring */
	unsigned ncancelled;                     /* ever */
	bool closed;
	bool broken; /* a step was lost, and the coordinator could not be told */
	struct rate rate;
	struct pace pace;
	uint64_t rows, single_rows, prompt_rows, skipped;
	double seconds, single_seconds, prompt_seconds;
};

/* A step in this stage. */
struct stage_step {
	struct stage *s;
	LIST_ENTRY(stage_step) next;
	atomic_bool is_cancelled;
	bool skipped; /* set on the compute thread */
	struct peers_from from;
	uint64_t number;
	struct forward_step step;
	struct forward_seq *seqs;
	uint32_t *outputs; /* for each sequence */
	uint32_t noutputs;
	uint32_t *blocks;           /* of all sequences, concatenated: each one's blocks and window blocks */
	struct forward_keep *keeps; /* of all sequences, concatenated */
	struct payload *x;
	int rc;
	uint64_t arrived_ns, began_ns, ended_ns; /* by our clock */
	Caravan__StepTime *times, **list;        /* those in the message, followed by ours */
	size_t ntimes;                           /* 0: the senders before us send no times */
	char err[256];
	size_t nseqs;
	uint64_t *ids;
	bool posted;       /* the compute thread has posted stage_on_taken to the loop */
	bool acknowledged; /* loop only: StepAck was sent */
	bool over;         /* loop only: done, but stage_on_taken is still to run */
};

static void stage_release(struct stage *s) {
	expert_state_destroy(s->experts);
	forward_destroy(s->forward);
	kv_destroy(s->kv);
	slice_destroy(s->slice);
	plan_free(s->plan);
	free(s);
}

static void stage_fail_step(struct stage *s, uint64_t number, bool refused, const char *why) {
	Caravan__StepFailed failed = CARAVAN__STEP_FAILED__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STEP_FAILED, step_failed, &failed);
	failed.epoch = s->plan->epoch;
	failed.model = s->plan->model;
	failed.step = number;
	failed.reason = wire_string(why);
	failed.refused = refused;
	/* A coordinator that is not told waits for this step forever, unless it has gone: it may be able to
	 * reach us while we cannot reach it.  It finds out when it compares our view of its plan
	 * (daemon/deploy/reconcile.c). */
	if (peers_send(s->peers, &s->coordinator, PEERS_CONTROL, &env, NULL) != 0)
		s->broken = true;
}

static void stage_downstream_lost(void *arg, uint64_t number, bool refused, const char *why) {
	struct stage *s = arg;
	char text[256];
	snprintf(text, sizeof text, "the step could not be passed on from layer %u: %s",
	        s->plan->stages[s->index]->last, why);
	stage_fail_step(s, number, refused, text);
}

static void stage_log_reading(const struct stage *s) {
	struct slice_reading reading;
	if (!slice_reading(s->slice, &reading))
		return;
	log_line(LOG_LINE_INFO, "model %s: %s do%s not fit: each %s %s from disk", s->plan->model,
	        size_layers_named(s->slice->first, s->slice->last).s,
	        s->slice->last - s->slice->first == 1 ? "es" : "",
	        reading.slots ? "token reads experts of about" : "step reads",
	        size_text((double)reading.step).s);
	if (!reading.direct)
		log_line(LOG_LINE_WARN,
		        "the store's file system does not support direct reads: weights go through the page cache, which is slower");
}

int stage_create(struct stage **out, struct peers *p, struct compute *c, const Caravan__Plan *plan,
        uint32_t index, const char *next, struct slice *slice, char *err, size_t errlen) {
	struct node_id to;
	const struct hparams *hp = &slice->manifest->hp;
	struct stage *s = calloc(1, sizeof *s);
	int rc = s && (s->plan = plan_copy(plan)) ? 0 : -ENOMEM;
	if (rc != 0)
		goto error;
	s->peers = p;
	s->compute = c;
	s->loop = compute_loop(c);
	s->index = index;
	s->last = index + 1 == plan->n_stages;
	node_id_from_bytes(&s->coordinator, plan->coordinator);
	s->sender = s->coordinator;
	if (index > 0)
		node_id_from_bytes(&s->sender, plan->stages[index - 1]->node);
	to = s->coordinator;
	if (!s->last)
		node_id_from_bytes(&to, plan->stages[index + 1]->node);
	rc = kv_create(&s->kv, hp, planner_plan_kv(plan), slice->first, slice->last);
	if (rc == 0)
		rc = forward_create(&s->forward, slice, s->kv, compute_team(c), plan->max_rows);
	if (rc == 0)
		rc = downstream_create(&s->downstream, p, &to, next, stage_downstream_lost, s);
	if (rc == 0 && hp->experts)
		rc = expert_state_create(&s->experts, slice, forward_expert_use(s->forward));
	if (rc != 0)
		goto error;
	s->slice = slice;
	stage_log_reading(s);
	*out = s;
	return 0;
error:
	snprintf(err, errlen, "cannot allocate buffers and KV blocks for %s: %s",
	        size_layers_named(slice->first, slice->last).s, strerror(-rc));
	if (s)
		stage_release(s);
	return rc;
}

void stage_destroy(struct stage *s) {
	s->closed = true;
	downstream_destroy(s->downstream);
	s->downstream = NULL;
	if (s->jobs == 0)
		stage_release(s);
}

bool stage_is(const struct stage *s, const char *model, const Caravan__Epoch *epoch, uint32_t index) {
	return s->index == index && strcmp(s->plan->model, model) == 0 &&
	       wire_epoch_compare(s->plan->epoch, epoch) == 0;
}

const Caravan__Plan *stage_plan(const struct stage *s) {
	return s->plan;
}

uint32_t stage_index(const struct stage *s) {
	return s->index;
}

static void stage_step_destroy(struct stage_step *j) {
	if (!j)
		return;
	payload_unref(j->x);
	free(j->seqs);
	free(j->outputs);
	free(j->blocks);
	free(j->keeps);
	free(j->ids);
	free(j->times);
	free(j->list);
	free(j);
}

/* Copies a Step message; -EINVAL when it is inconsistent. */
static int stage_step_create(struct stage_step **out, struct stage *s, const struct peers_from *from,
        const Caravan__Step *step, struct payload *x) {
	size_t dim = s->slice->manifest->hp.dim, nblocks = 0, nkeeps = 0;
	for (size_t i = 0; i < step->n_seqs; i++) {
		nblocks += (step->seqs[i]->blocks.len + step->seqs[i]->windows.len) / sizeof(uint32_t);
		nkeeps += step->seqs[i]->keep.len / sizeof(struct forward_keep);
	}
	if (!x || payload_len(x) != (size_t)step->rows * dim * sizeof(float))
		return -EINVAL;
	struct stage_step *j = calloc(1, sizeof *j);
	if (!j)
		return -ENOMEM;
	j->seqs = calloc(step->n_seqs, sizeof *j->seqs);
	j->outputs = calloc(step->n_seqs, sizeof *j->outputs);
	j->ids = calloc(step->n_seqs, sizeof *j->ids);
	j->blocks = calloc(nblocks ? nblocks : 1, sizeof *j->blocks);
	j->keeps = calloc(nkeeps ? nkeeps : 1, sizeof *j->keeps);
	j->times = calloc(s->index + 2, sizeof *j->times);
	j->list = calloc(s->index + 2, sizeof(Caravan__StepTime *));
	/* kernels need aligned rows, and those from the network may not be */
	j->x = (uintptr_t)payload_data(x) % KERN_ALIGN == 0 ? payload_ref(x)
	                                                    : payload_copy(payload_data(x), payload_len(x));
	if (!j->seqs || !j->outputs || !j->ids || !j->blocks || !j->keeps || !j->x || !j->times || !j->list) {
		stage_step_destroy(j);
		return -ENOMEM;
	}
	j->s = s;
	j->from = *from;
	j->number = step->step;
	j->nseqs = step->n_seqs;
	j->arrived_ns = loop_now_ns();
	if (step->n_times == s->index + 1) {
		j->ntimes = s->index + 2;
		for (size_t i = 0; i < j->ntimes; i++) {
			caravan__step_time__init(&j->times[i]);
			if (i < step->n_times)
				j->times[i] = *step->times[i];
			j->list[i] = &j->times[i];
		}
	}
	uint32_t *b = j->blocks;
	struct forward_keep *keep = j->keeps;
	for (size_t i = 0; i < step->n_seqs; i++) {
		const Caravan__StepSeq *q = step->seqs[i];
		uint32_t n = (uint32_t)(q->blocks.len / sizeof *b),
		         windows = (uint32_t)(q->windows.len / sizeof *b);
		memcpy(b, q->blocks.data, q->blocks.len);
		if (windows)
			memcpy(b + n, q->windows.data, q->windows.len);
		j->seqs[i] = (struct forward_seq){.rows = q->rows,
		        .position = q->position,
		        .nblocks = n,
		        .blocks = b,
		        .nwindows = windows,
		        .windows = b + n,
		        .slot = q->slot,
		        .begin = q->begin,
		        .open = q->open,
		        .nkeeps = (uint32_t)(q->keep.len / sizeof *keep),
		        .keep = keep,
		        .lost = q->lost};
		if (q->keep.len)
			memcpy(keep, q->keep.data, q->keep.len); /* pairs of uint32 */
		keep += j->seqs[i].nkeeps;
		j->outputs[i] = q->outputs;
		j->noutputs += q->outputs;
		j->ids[i] = q->sequence;
		b += n + windows;
	}
	j->step = (struct forward_step){.rows = step->rows,
	        .nseqs = (uint32_t)step->n_seqs,
	        .seqs = j->seqs,
	        .x = payload_data(j->x)};
	*out = j;
	return 0;
}

/* Gathers the rows that the coordinator asked for; *out is NULL when it asked for none. */
static int stage_gather_rows(const struct stage_step *j, struct payload **out) {
	size_t dim = j->s->slice->manifest->hp.dim;
	*out = NULL;
	if (j->noutputs == 0)
		return 0;
	if (j->noutputs == j->step.rows) {
		*out = payload_ref(j->x);
		return 0;
	}
	if (!(*out = payload_create(j->noutputs * dim * sizeof(float))))
		return -ENOMEM;
	const float *row = j->step.x;
	float *to = payload_data(*out);
	for (size_t i = 0; i < j->nseqs; i++) {
		row += (size_t)(j->seqs[i].rows - j->outputs[i]) * dim;
		memcpy(to, row, j->outputs[i] * dim * sizeof(float));
		row += (size_t)j->outputs[i] * dim;
		to += (size_t)j->outputs[i] * dim;
	}
	return 0;
}

static int stage_pass_on(struct stage *s, struct stage_step *j) {
	struct payload *x = NULL;
	if (j->ntimes) {
		j->times[j->ntimes - 1].waited = j->began_ns - j->arrived_ns;
		j->times[j->ntimes - 1].computed = j->ended_ns - j->began_ns;
	}
	if (s->last) {
		Caravan__StepDone done = CARAVAN__STEP_DONE__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(STEP_DONE, step_done, &done);
		uint32_t lost[WIRE_SEQS_MAX], nlost = 0;
		int rc = stage_gather_rows(j, &x);
		if (rc != 0)
			return rc;
		for (uint32_t i = 0; i < j->nseqs; i++)
			if (j->seqs[i].lost)
				lost[nlost++] = i;
		done.lost = wire_bytes(lost, nlost * sizeof *lost);
		done.epoch = s->plan->epoch;
		done.model = s->plan->model;
		done.step = j->number;
		done.times = j->list;
		done.n_times = j->ntimes;
		rc = downstream_send(s->downstream, j->number, &env, x, j->ended_ns);
		payload_unref(x);
		return rc;
	}
	Caravan__Step step = CARAVAN__STEP__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STEP, step, &step);
	Caravan__StepSeq *seq = calloc(j->nseqs, sizeof *seq), **list = calloc(j->nseqs, sizeof *list);
	int rc = seq && list ? 0 : -ENOMEM;
	for (size_t i = 0; rc == 0 && i < j->nseqs; i++) {
		const struct forward_seq *q = &j->seqs[i];
		caravan__step_seq__init(&seq[i]);
		seq[i].sequence = j->ids[i];
		seq[i].rows = q->rows;
		seq[i].position = q->position;
		seq[i].blocks = wire_bytes(q->blocks, q->nblocks * sizeof *q->blocks);
		seq[i].windows = wire_bytes(q->windows, q->nwindows * sizeof *q->windows);
		seq[i].outputs = j->outputs[i];
		seq[i].slot = j->seqs[i].slot;
		seq[i].begin = j->seqs[i].begin;
		seq[i].open = j->seqs[i].open;
		seq[i].keep = wire_bytes(j->seqs[i].keep, j->seqs[i].nkeeps * sizeof(struct forward_keep));
		seq[i].lost = j->seqs[i].lost;
		list[i] = &seq[i];
	}
	if (rc == 0) {
		step.epoch = s->plan->epoch;
		step.model = s->plan->model;
		step.step = j->number;
		step.stage = s->index + 1;
		step.rows = j->step.rows;
		step.n_seqs = j->nseqs;
		step.seqs = list;
		step.times = j->list;
		step.n_times = j->ntimes;
		rc = downstream_send(s->downstream, j->number, &env, j->x, j->ended_ns);
	}
	free(seq);
	free(list);
	return rc;
}

static void stage_acknowledge(
        struct stage *s, const struct peers_from *from, uint64_t number, uint64_t waited_ns) {
	Caravan__StepAck ack = CARAVAN__STEP_ACK__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STEP_ACK, step_ack, &ack);
	ack.step = number;
	ack.waited = waited_ns;
	(void)peers_answer(s->peers, from, &env, NULL);
}

static void stage_report_taken(struct stage_step *j) {
	stage_acknowledge(j->s, &j->from, j->number, loop_now_ns() - j->arrived_ns);
	j->acknowledged = true;
}

/* May run after the step is done and its stage is destroyed. */
static void stage_on_taken(void *arg) {
	struct stage_step *j = arg;
	if (j->over)
		stage_step_destroy(j);
	else
		stage_report_taken(j);
}

/* On the compute thread. */
static void stage_run_step(void *arg) {
	struct stage_step *j = arg;
	struct stage *s = j->s;
	j->posted = loop_post(s->loop, stage_on_taken, j) == 0;
	j->began_ns = loop_now_ns();
	j->skipped = atomic_load(&j->is_cancelled);
	if (!j->skipped)
		j->rc = forward_run(s->forward, &j->step, j->err, sizeof j->err);
	j->ended_ns = loop_now_ns();
}

static void stage_step_done(void *arg, bool cancelled) {
	struct stage_step *j = arg;
	struct stage *s = j->s;
	LIST_REMOVE(j, next);
	j->over = j->posted && !j->acknowledged;
	if (!cancelled && !j->acknowledged)
		stage_report_taken(j);
	s->jobs--;
	if (s->closed) {
		if (s->jobs == 0)
			stage_release(s);
	} else if (!cancelled) {
		uint64_t now = loop_now_ns();
		double seconds = (double)(j->ended_ns - j->began_ns) * 1e-9;
		uint32_t rows = j->skipped ? 0 : j->step.rows;
		s->rows += rows;
		s->skipped += j->skipped;
		s->seconds += seconds;
		if (rows == 1) {
			s->single_rows++;
			s->single_seconds += seconds;
			pace_add(&s->pace, now, seconds);
		} else if (rows >= PLANNER_MANY) {
			s->prompt_rows += rows;
			s->prompt_seconds += seconds;
		}
		rate_add(&s->rate, now, rows);
		int rc = j->rc;
		if (rc == 0 && (rc = stage_pass_on(s, j)) != 0)
			snprintf(j->err, sizeof j->err, "cannot pass the step on: %s", strerror(-rc));
		if (rc != 0)
			stage_fail_step(s, j->number, false, j->err);
	}
	if (!j->over)
		stage_step_destroy(j);
}

void stage_step(
        struct stage *s, const struct peers_from *from, const Caravan__Step *step, struct payload *x) {
	char err[256];
	struct stage_step *j = NULL;
	if (!node_id_equal(&from->node, &s->sender)) {
		peers_refuse(s->peers, from, "steps for stage %u of %s come from another node", s->index,
		        s->plan->model);
		return;
	}
	int rc = step->step > s->seen ? stage_step_create(&j, s, from, step, x) : -EALREADY;
	if (rc == -EALREADY)
		snprintf(err, sizeof err, "step %llu comes after step %llu", (unsigned long long)step->step,
		        (unsigned long long)s->seen);
	else if (rc == -EINVAL)
		snprintf(err, sizeof err, "its payload is not %u rows of %u floats", step->rows,
		        s->slice->manifest->hp.dim);
	else if (rc != 0)
		snprintf(err, sizeof err, "%s", strerror(-rc));
	for (unsigned i = 0; rc == 0 && i < CANCELLED_MAX; i++)
		if (s->cancelled_steps[i] == step->step)
			atomic_store(&j->is_cancelled, true);
	if (rc == 0)
		rc = forward_check(s->forward, &j->step, err, sizeof err);
	if (rc == 0 && (rc = compute_submit(s->compute, stage_run_step, stage_step_done, j)) != 0)
		snprintf(err, sizeof err, "%s", strerror(-rc));
	if (rc != 0) {
		/* acknowledged nevertheless: the credit is returned, and the failure is reported to the
		 * coordinator */
		log_others(LOG_LINE_WARN, "model %s: a step from the stage before was refused: %s",
		        s->plan->model, err);
		stage_acknowledge(s, from, step->step, 0);
		stage_fail_step(s, step->step, false, err);
		stage_step_destroy(j);
		return;
	}
	s->seen = step->step;
	s->jobs++;
	LIST_INSERT_HEAD(&s->at_work, j, next);
}

void stage_void(struct stage *s, const struct peers_from *from, uint64_t number) {
	if (!node_id_equal(&from->node, &s->coordinator))
		return;
	for (struct stage_step *j = LIST_FIRST(&s->at_work); j; j = LIST_NEXT(j, next))
		if (j->number == number)
			atomic_store(&j->is_cancelled, true);
	if (number > s->seen)
		s->cancelled_steps[s->ncancelled++ % CANCELLED_MAX] = number;
}

bool stage_ack(struct stage *s, const struct node_id *node, uint64_t ref, uint64_t waited_ns) {
	return downstream_ack(s->downstream, node, ref, waited_ns);
}

bool stage_refused(struct stage *s, const struct node_id *node, uint64_t ref, const char *why) {
	return downstream_refused(s->downstream, node, ref, why);
}

bool stage_broken(const struct stage *s) {
	return s->broken;
}

void stage_link_lost(struct stage *s, const struct node_id *node, const char *why) {
	downstream_link_lost(s->downstream, node, why);
}

void stage_state(struct stage *s, uint32_t expert_layers, Caravan__StageState *out) {
	caravan__stage_state__init(out);
	out->manifest = s->plan->manifest;
	out->model = s->plan->model;
	out->first = s->slice->first;
	out->last = s->slice->last;
	out->weight_bytes = slice_bytes(s->slice);
	struct slice_reading reading;
	slice_reading(s->slice, &reading);
	out->resident_bytes = reading.resident;
	out->streamed_bytes = reading.step;
	out->read_bytes = reading.read;
	out->read_seconds = reading.read_seconds;
	out->read_wait_seconds = reading.wait_seconds;
	out->expert_hits = reading.hits;
	out->expert_misses = reading.misses;
	struct weight_copied huge = weight_copy_progress(s->slice->copy);
	out->huge_bytes = huge.bytes;
	out->huge_done = huge.copied;
	if (slice_is_damaged(s->slice, s->damaged))
		out->damaged = s->damaged;
	if (s->experts)
		expert_state_fill(s->experts, expert_layers, out);
	out->kv_bytes = s->kv->bytes;
	out->rows = s->rows;
	out->rows_per_second = rate_per_second(&s->rate, loop_now_ns());
	out->compute_seconds = s->seconds;
	out->single_rows = s->single_rows;
	out->single_seconds = s->single_seconds;
	out->prompt_rows = s->prompt_rows;
	out->prompt_seconds = s->prompt_seconds;
	out->lately_seconds = pace_lately(&s->pace, loop_now_ns());
	out->usual_seconds = pace_usual(&s->pace);
	out->skipped = s->skipped;
}
