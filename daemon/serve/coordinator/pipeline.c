/* pipeline: the steps of a model that this node coordinates.  The functions of this file follow the life of a
 * step: pipeline_kick, pipeline_embed, pipeline_embedded, coordinator_step_done, pipeline_sample,
 * pipeline_sampled, pipeline_retire.
 *
 * Owns: the steps in flight, in order of their numbers.
 * Invariants: at most stages + 1 are in flight, plus, for prompts, those on the wire; a step that a job on
 * the compute thread uses is freed only when that job is done.
 * Threads: the loop; pipeline_embed and pipeline_sample on the compute thread. */
#include "daemon/serve/coordinator/draft.h"
#include "shard/forward/state.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(SPECULATION_AHEAD + 1 <= STATE_OPEN, "drafts can be taken back from recurrent states");
_Static_assert((int)SCHEDULER_KEEPS_MAX <= (int)WIRE_KEEPS_MAX, "and a step says what it keeps of them");

/* A step in flight. */
struct step_in_flight {
	TAILQ_ENTRY(step_in_flight) next;
	struct coordinator *m;
	struct scheduler_step *st;
	uint32_t *token;           /* of each row */
	struct payload *x;         /* rows of activations: embedded, later the result of the last stage */
	struct output_row *row;    /* one for each output to be sampled */
	struct logprobs *logprobs; /* of rows whose clients want them; NULL: none does */
	uint32_t nrow, *nsampled;  /* in total; for each sequence */
	uint32_t **log;            /* of each sequence: a copy of its log, where that may change meanwhile */
	STAILQ_HEAD(, result) results;
	uint64_t submitted_ns, began_ns, ended_ns; /* of the last job on the compute thread */
	struct step_timing_step spent;
	bool on_compute_thread; /* a job uses it */
	bool dead;              /* it will not come back */
	bool is_back;           /* from the last stage */
	bool cancelled;         /* stages were told not to compute it; its results are ignored */
	int rc;
};

/* For the gateway, made on the compute thread: logits, a few rows at a time, or an embedding. */
struct result {
	STAILQ_ENTRY(result) next;
	struct client_sequence *g;
	uint32_t position, rows; /* of logits */
	struct payload *data;
	int rc; /* 0, or why there is none */
};

/* ---- release ------------------------------------------------------------------------------------- */

static void result_destroy(struct result *r) {
	payload_unref(r->data);
	free(r);
}

/* Tells clients that wait for the first token of a long prompt how far it is. */
static void pipeline_report_progress(const struct step_in_flight *f) {
	for (uint32_t i = 0; i < f->st->nseqs; i++) {
		const struct scheduled *e = &f->st->seq[i];
		struct client_sequence *g = (struct client_sequence *)e->seq;
		if (!e->outputs && !draft_is(g) && !g->finished && !e->seq->ended &&
		        e->position + e->rows < g->prompt)
			(void)sequence_progress(f->m, g, e->position + e->rows);
	}
}

/* Counts the rows of prompts, and of what else their clients gave. */
static void pipeline_count_prompts(const struct step_in_flight *f) {
	uint32_t n = 0;
	for (uint32_t i = 0; i < f->st->nseqs; i++) {
		const struct scheduled *e = &f->st->seq[i];
		const struct client_sequence *g = (const struct client_sequence *)e->seq;
		uint32_t end = e->position + e->rows;
		end = end < g->given ? end : g->given;
		n += !draft_is(g) && end > e->position ? end - e->position : 0;
	}
	if (n > 0)
		serving_stats_prompt(f->m->stats, loop_now_ns(), n);
}

/* The step is over: it came back from all stages (whole), or it is lost. */
static void pipeline_retire(struct step_in_flight *f, bool whole) {
	struct coordinator *m = f->m;
	TAILQ_REMOVE(&m->in_flight, f, next);
	m->in_flight_count--;
	for (uint32_t i = 0; f->log && i < f->st->nseqs; i++)
		free(f->log[i]);
	if (whole) {
		pipeline_report_progress(f);
		pipeline_count_prompts(f);
	}
	(whole ? scheduler_done : scheduler_lost)(m->scheduler, f->st, sequence_left, m);
	for (struct result *r; (r = STAILQ_FIRST(&f->results)); result_destroy(r))
		STAILQ_REMOVE_HEAD(&f->results, next);
	payload_unref(f->x);
	free(f->log);
	free(f->nsampled);
	free(f->token);
	free(f->row);
	free(f->logprobs);
	free(f);
}

void pipeline_clear(struct coordinator *m) {
	while (!TAILQ_EMPTY(&m->in_flight))
		pipeline_retire(TAILQ_FIRST(&m->in_flight), false);
}

/* Ends the sequences of a step with an error. */
static void pipeline_fail(struct step_in_flight *f, const char *why) {
	for (uint32_t i = 0; i < f->st->nseqs; i++)
		sequence_finish(
		        f->m, (struct client_sequence *)f->st->seq[i].seq, CARAVAN__REASON__ERROR, why);
}

/* ---- out: schedule, embed, send ------------------------------------------------------------------ */

static int pipeline_send(struct step_in_flight *f) {
	struct coordinator *m = f->m;
	struct scheduler_step *st = f->st;
	struct payload *x = f->x;
	Caravan__Step step = CARAVAN__STEP__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STEP, step, &step);
	Caravan__StepTime time = CARAVAN__STEP_TIME__INIT, *times[1] = {&time};
	Caravan__StepSeq *seq = calloc(st->nseqs, sizeof *seq), **list = calloc(st->nseqs, sizeof *list);
	int rc = seq && list ? 0 : -ENOMEM;
	uint32_t window = m->io->manifest->hp.window;
	time.waited = f->began_ns - f->submitted_ns;
	time.computed = f->ended_ns - f->began_ns;
	for (uint32_t i = 0; rc == 0 && i < st->nseqs; i++) {
		const struct scheduled *e = &st->seq[i];
		uint32_t nblocks = (e->position + e->rows + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
		caravan__step_seq__init(&seq[i]);
		seq[i].sequence = e->seq->id;
		seq[i].rows = e->rows;
		seq[i].position = e->position;
		seq[i].outputs = e->outputs;
		seq[i].blocks = wire_bytes(e->seq->kv.block, nblocks * sizeof *e->seq->kv.block);
		if (window) {
			uint32_t seen = hparams_first_seen(e->position, window) / KERN_KV_BLOCK;
			seq[i].windows = wire_bytes(
			        e->seq->kv.window + seen, (nblocks - seen) * sizeof *e->seq->kv.window);
		}
		if (m->io->manifest->hp.attention_every) {
			seq[i].slot = e->seq->slot;
			seq[i].begin = e->begin;
			seq[i].open = e->open;
			seq[i].keep = wire_bytes(e->keep, e->nkeeps * sizeof *e->keep);
		}
		list[i] = &seq[i];
	}
	/* the result is another payload; and downstream_send may lose the step at once, and free it */
	f->x = NULL;
	if (rc == 0) {
		step.epoch = m->plan->epoch;
		step.model = m->plan->model;
		step.step = st->number;
		step.rows = st->rows;
		step.n_seqs = st->nseqs;
		step.seqs = list;
		step.times = times;
		step.n_times = 1;
		rc = downstream_send(m->downstream, st->number, &env, x, f->ended_ns);
	}
	free(seq);
	free(list);
	payload_unref(x);
	return rc;
}

static struct step_in_flight *pipeline_find(const struct coordinator *m, uint64_t number) {
	struct step_in_flight *f = TAILQ_FIRST(&m->in_flight);
	while (f && f->st->number != number)
		f = TAILQ_NEXT(f, next);
	return f;
}

/* A step will not come back: fails its sequences and frees its place in the pipeline. */
static void pipeline_lose(struct coordinator *m, struct step_in_flight *f, const char *why) {
	pipeline_fail(f, why);
	f->dead = true;
	if (!f->on_compute_thread)
		pipeline_retire(f, false);
	pipeline_kick(m);
}

void pipeline_lost(void *arg, uint64_t number, bool refused, const char *why) {
	struct coordinator *m = arg;
	char text[256];
	struct step_in_flight *f = pipeline_find(m, number);
	(void)refused; /* the sender that reports refusals to us makes the model unavailable (dispatch.c) */
	snprintf(text, sizeof text, "a step could not be sent to the first stage: %s", why);
	if (f)
		pipeline_lose(m, f, text);
}

/* Whether a later step that is computed goes on from this one's states: without them, its sequence would be lost there. */
static bool pipeline_is_continued(const struct step_in_flight *f) {
	if (!f->m->io->manifest->hp.attention_every)
		return false;
	for (const struct step_in_flight *g = TAILQ_NEXT(f, next); g; g = TAILQ_NEXT(g, next))
		for (uint32_t i = 0; !g->cancelled && i < g->st->nseqs; i++)
			for (uint32_t k = 0; k < f->st->nseqs; k++)
				if (g->st->seq[i].seq == f->st->seq[k].seq)
					return true;
	return false;
}

/* The last first: a step is cancelled only if those that go on from it are. */
void pipeline_cancel_unwanted(struct coordinator *m) {
	for (struct step_in_flight *f = TAILQ_LAST(&m->in_flight, steps_in_flight); f;
	        f = TAILQ_PREV(f, steps_in_flight, next)) {
		bool wanted = f->cancelled || f->dead || f->is_back;
		for (uint32_t i = 0; i < f->st->nseqs; i++)
			wanted = wanted || scheduler_entry_valid(&f->st->seq[i]);
		if (wanted || pipeline_is_continued(f))
			continue;
		Caravan__CancelStep v = CARAVAN__CANCEL_STEP__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(CANCEL_STEP, cancel_step, &v);
		v.epoch = m->plan->epoch;
		v.model = m->plan->model;
		v.step = f->st->number;
		f->cancelled = true;
		/* a stage that cannot be told computes it for nothing */
		for (size_t i = 0; i < m->plan->n_stages; i++) {
			struct node_id to;
			node_id_from_bytes(&to, m->plan->stages[i]->node);
			(void)peers_send(m->peers, &to, PEERS_CONTROL, &env, NULL);
		}
	}
}

static void pipeline_embed(void *arg) {
	struct step_in_flight *f = arg;
	f->began_ns = loop_now_ns();
	f->rc = output_embed(f->m->output, payload_data(f->x), f->token, f->st->rows);
	f->ended_ns = loop_now_ns();
}

/* True: the model was closed meanwhile, or the step was lost or cancelled; f has been dealt with. */
static bool pipeline_job_left(struct step_in_flight *f, bool cancelled) {
	struct coordinator *m = f->m;
	f->on_compute_thread = false;
	m->jobs--;
	if (!cancelled)
		m->io_seconds += (double)(f->ended_ns - f->began_ns) * 1e-9;
	if (!m->closed && !f->dead && !cancelled)
		return false;
	pipeline_retire(f, false);
	if (m->closed && m->jobs == 0)
		coordinator_release(m);
	else if (!m->closed)
		pipeline_kick(m);
	return true;
}

static const char *pipeline_error(int rc) {
	return rc == -EDOM ? "the model's output is not finite"
	       : rc == -EIO
	               ? "the embedding or output is damaged on the coordinator's disk; it is being fetched again"
	               : strerror(-rc);
}

static void pipeline_embedded(void *arg, bool cancelled) {
	struct step_in_flight *f = arg;
	struct coordinator *m = f->m;
	if (pipeline_job_left(f, cancelled))
		return;
	int rc = f->rc ? f->rc : pipeline_send(f);
	if (rc != 0)
		pipeline_lose(m, f, pipeline_error(rc));
}

static int pipeline_submit(struct step_in_flight *f, loop_fn *run, executor_done_fn *done) {
	f->submitted_ns = loop_now_ns();
	int rc = compute_submit(f->m->compute, run, done, f);
	if (rc == 0) {
		f->on_compute_thread = true;
		f->m->jobs++;
	}
	return rc;
}

#define DRAFT_STEP_MIN 4 /* a step with fewer drafted tokens is not worth sending while more are coming */

/* How many rows of an entry are drafted tokens. */
static uint32_t pipeline_drafted_rows(const struct scheduled *e) {
	uint32_t end = e->position + e->rows,
	         first = e->position > e->seq->tokens ? e->position : e->seq->tokens;
	return end > first ? end - first : 0;
}

/* Drafts for a sequence that has no pending draft.  The step waits for a draft model as long as more drafted
 * tokens pay: with the next token, up to a full step; ahead of it, up to DRAFT_STEP_MIN. */
static void pipeline_draft_for(
        struct coordinator *m, struct client_sequence *g, uint32_t answered, bool more) {
	struct sequence *q = &g->seq;
	struct draft_run none = {.n = 0}, drafted = g->draft ? draft_tokens(g->draft) : none;
	uint32_t n = speculation_draft(m->speculation, &g->draft_stats, q->log, q->tokens, q->drafted,
	        q->capacity, answered, &drafted);
	/* while the compute thread uses it they are not cut: their rows are computed for nothing */
	if (g->constraint && !constraint_lent(g->constraint))
		n = q->drafted +
		    constraint_allowed(g->constraint, q->log, q->tokens + q->drafted, n - q->drafted);
	bool due = q->scheduled < q->tokens;
	bool waits = more && n == drafted.n &&
	             n - q->drafted < (due ? SCHEDULER_DRAFT_MAX : DRAFT_STEP_MIN) &&
	             memcmp(q->log + q->tokens, drafted.id, n * sizeof *q->log) == 0;
	q->held = waits && due;
	if (!waits)
		q->drafted = n;
}

/* Drafts for the sequences that can use drafts now: with the next token, or after those in flight when a
 * stage may be idle. */
static void pipeline_draft(struct coordinator *m) {
	uint32_t answered = scheduler_answered(m->scheduler), running = scheduler_running(m->scheduler);
	for (uint32_t i = 0; answered > 0 && i < running; i++) {
		struct sequence *q = scheduler_at(m->scheduler, i);
		struct client_sequence *g = (struct client_sequence *)q;
		bool answers = !q->ended && !q->all_outputs && q->done > 0 && q->scheduled + 1 >= q->tokens;
		bool has_none =
		        q->scheduled < q->tokens ? q->drafted == 0 : q->scheduled == q->tokens + q->drafted;
		if (!answers || g->undrafted)
			continue;
		bool more = g->draft && draft_goes_on(g->draft) && g->draft;
		q->held = false;
		if (has_none && (!q->in_flight || answered < m->plan->n_stages))
			pipeline_draft_for(m, g, answered, more);
	}
}

static struct step_in_flight *pipeline_take_off(struct coordinator *m, struct scheduler_step *st) {
	struct step_in_flight *f = calloc(1, sizeof *f);
	if (!f)
		return NULL;
	f->token = calloc(st->rows, sizeof *f->token);
	f->x = payload_create((size_t)st->rows * m->io->manifest->hp.dim * sizeof(float));
	if (!f->token || !f->x) {
		payload_unref(f->x);
		free(f->token);
		free(f);
		return NULL;
	}
	f->m = m;
	f->st = st;
	STAILQ_INIT(&f->results);
	uint32_t *to = f->token;
	for (uint32_t i = 0; i < st->nseqs; i++) {
		uint32_t drafted = pipeline_drafted_rows(&st->seq[i]);
		m->drafted += drafted;
		((struct client_sequence *)st->seq[i].seq)->drafted += drafted;
		memcpy(to, st->seq[i].seq->log + st->seq[i].position, st->seq[i].rows * sizeof *to);
		to += st->seq[i].rows;
	}
	TAILQ_INSERT_TAIL(&m->in_flight, f, next);
	if (++m->in_flight_count > m->in_flight_max)
		m->in_flight_max = m->in_flight_count;
	m->steps++;
	m->step_sequences += st->nseqs;
	if (st->nseqs > m->step_sequences_max)
		m->step_sequences_max = st->nseqs;
	return f;
}

/* How many steps may be in flight: one for each stage, and one that waits.  With only prompts running, steps
 * on the wire come on top: a queue at a stage then delays no answer. */
static uint32_t pipeline_capacity(const struct coordinator *m) {
	uint32_t n = (uint32_t)m->plan->n_stages + 1;
	return scheduler_answered(m->scheduler) ? n : n + step_timing_on_wire(m->timing);
}

/* Makes steps while there is work and the pipeline is not full. */
void pipeline_kick(struct coordinator *m) {
	struct scheduler_step *st;
	if (m->kicking || m->closed)
		return;
	m->kicking = true;
	for (pipeline_draft(m);
	        m->in_flight_count < pipeline_capacity(m) && (st = scheduler_next(m->scheduler));
	        pipeline_draft(m)) {
		struct step_in_flight *f = pipeline_take_off(m, st);
		if (!f) {
			for (uint32_t i = 0; i < st->nseqs; i++)
				sequence_finish(m, (struct client_sequence *)st->seq[i].seq,
				        CARAVAN__REASON__ERROR, strerror(ENOMEM));
			scheduler_lost(m->scheduler, st, sequence_left, m);
			continue;
		}
		int rc = pipeline_submit(f, pipeline_embed, pipeline_embedded);
		if (rc != 0) {
			pipeline_fail(f, strerror(-rc));
			pipeline_retire(f, false);
		}
	}
	m->kicking = false;
}

static void pipeline_kick_due(void *arg) {
	struct coordinator *m = arg;
	m->kick = NULL;
	pipeline_kick(m);
}

void pipeline_kick_later(struct coordinator *m) {
	if (m->kick || m->closed)
		return;
	m->kick = loop_timer_start(compute_loop(m->compute), 0, false, pipeline_kick_due, m);
	if (!m->kick)
		pipeline_kick(m);
}

/* ---- back: head, sample, answer ------------------------------------------------------------------ */

/* Makes room for the log-probabilities of rows whose clients want them.  0 or -ENOMEM. */
static int pipeline_make_logprobs(struct step_in_flight *f) {
	uint32_t rows = 0;
	for (uint32_t i = 0; i < f->st->nseqs; i++)
		if (((struct client_sequence *)f->st->seq[i].seq)->logprobs)
			rows += f->st->seq[i].outputs;
	if (rows == 0)
		return 0;
	f->logprobs = calloc(rows, sizeof *f->logprobs);
	return f->logprobs ? 0 : -ENOMEM;
}

/* Makes a row for each output that is wanted and was not rejected, with the tokens before it.  0 or
 * -ENOMEM. */
static int pipeline_make_rows(struct step_in_flight *f) {
	const size_t dim = f->m->io->manifest->hp.dim;
	const float *x = payload_data(f->x);
	f->row = calloc(f->st->outputs, sizeof *f->row);
	f->nsampled = calloc(f->st->nseqs, sizeof *f->nsampled);
	f->log = calloc(f->st->nseqs, sizeof *f->log);
	if (!f->row || !f->nsampled || !f->log || pipeline_make_logprobs(f) != 0)
		return -ENOMEM;
	struct logprobs *logprobs = f->logprobs;
	for (uint32_t i = 0; i < f->st->nseqs; x += f->st->seq[i].outputs * dim, i++) {
		const struct scheduled *e = &f->st->seq[i];
		const struct client_sequence *g = (const struct client_sequence *)e->seq;
		const uint32_t *log = e->seq->log;
		uint32_t end = e->position + e->rows;
		if (e->seq->all_outputs || !e->outputs || !scheduler_entry_valid(e))
			continue;
		/* an earlier step may reject a draft while this one is on the compute thread */
		if (e->seq->in_flight > 1 || draft_is(g)) {
			if (!(f->log[i] = malloc(end * sizeof *log)))
				return -ENOMEM;
			log = memcpy(f->log[i], log, end * sizeof *log);
		}
		for (uint32_t k = 0; k < e->outputs; k++)
			f->row[f->nrow++] = (struct output_row){.x = x + k * dim,
			        .logprobs = g->logprobs ? logprobs++ : NULL,
			        .top_logprobs = g->top_logprobs,
			        .params = &g->sampling,
			        .log = log,
			        .tokens = end - e->outputs + k + 1,
			        .constraint = g->constraint,
			        .weighed = draft_is(g)};
		f->nsampled[i] = e->outputs;
	}
	return 0;
}

/* Constraints belong to the compute thread while a step is sampled there. */
static void pipeline_lend(struct step_in_flight *f, void (*fn)(struct constraint *c)) {
	for (uint32_t i = 0; i < f->st->nseqs; i++) {
		struct constraint *c = ((struct client_sequence *)f->st->seq[i].seq)->constraint;
		if (c && f->nsampled[i])
			fn(c);
	}
}

/* Appends a result to a step.  NULL: out of memory. */
static struct result *pipeline_add_result(
        struct step_in_flight *f, struct sequence *q, uint32_t position, uint32_t rows) {
	struct result *r = calloc(1, sizeof *r);
	if (!r)
		return NULL;
	r->g = (struct client_sequence *)q;
	r->position = position;
	r->rows = rows;
	STAILQ_INSERT_TAIL(&f->results, r, next);
	return r;
}

/* The logits of an entry's rows. */
static int pipeline_make_logits(struct step_in_flight *f, const struct scheduled *e, const float *x) {
	struct output *o = f->m->output;
	uint32_t most = output_logit_rows(o);
	int rc = 0;
	for (uint32_t k = 0, n; rc == 0 && k < e->rows; k += n) {
		n = e->rows - k < most ? e->rows - k : most;
		struct result *r = pipeline_add_result(f, e->seq, e->position + k, n);
		rc = r ? output_logits(o, x + (size_t)k * f->m->io->manifest->hp.dim, n, &r->data) : -ENOMEM;
	}
	return rc;
}

/* Adds an entry's rows to the sum of its sequence; after the last one, makes the embedding.  Steps come back in order of
 * their positions.  A text without an embedding must not fail the others. */
static int pipeline_pool(struct step_in_flight *f, const struct scheduled *e, const float *x) {
	double *sum = ((struct client_sequence *)e->seq)->sum;
	uint32_t end = e->position + e->rows;
	int rc = output_pool(f->m->output, sum, x, e->rows);
	if (rc == 0 && end < e->seq->tokens)
		return 0;
	struct result *r = pipeline_add_result(f, e->seq, e->position, 0);
	if (!r)
		return -ENOMEM;
	r->rc = rc ? rc : output_embedding(f->m->output, sum, end, &r->data);
	return 0;
}

/* On the compute thread. */
static void pipeline_sample(void *arg) {
	struct step_in_flight *f = arg;
	struct coordinator *m = f->m;
	const size_t dim = m->io->manifest->hp.dim;
	const float *x = payload_data(f->x);
	f->began_ns = loop_now_ns();
	for (uint32_t i = 0; f->rc == 0 && i < f->st->nseqs; i++) {
		const struct scheduled *e = &f->st->seq[i];
		if (e->seq->all_outputs)
			f->rc = (((struct client_sequence *)e->seq)->sum ? pipeline_pool
			                                                 : pipeline_make_logits)(f, e, x);
		x += e->outputs * dim;
	}
	if (f->rc == 0)
		output_sample(m->output, f->row, f->nrow);
	f->ended_ns = loop_now_ns();
}

static void pipeline_take_token(
        struct coordinator *m, struct client_sequence *g, const struct output_row *row) {
	uint64_t now = loop_now_ns();
	bool first = !g->first_ns;
	if (g->finished)
		return;
	if (row->rc != 0) {
		const char *why = g->constraint ? constraint_error(row->rc) : NULL;
		sequence_finish(m, g, CARAVAN__REASON__ERROR, why ? why : pipeline_error(row->rc));
		return;
	}
	if (first) {
		g->first_ns = now;
		serving_stats_first_token(m->stats, now, now - g->began_ns);
	}
	if (row->ends || tokenizer_is_end(m->tokenizer, row->id)) {
		sequence_finish(m, g, CARAVAN__REASON__END, NULL);
		return;
	}
	if (sequence_token(m, g, row) != 0) {
		sequence_drop(m, g);
		return;
	}
	if (!g->undrafted)
		draft_stats_observe(&g->draft_stats, g->seq.log, g->seq.tokens, row->id);
	g->seq.log[g->seq.tokens++] = row->id;
	if (g->draft)
		draft_follow(g->draft);
	else if (first)
		draft_begin(m, g);
	m->tokens++;
	rate_add(&g->rate, now, 1);
	serving_stats_generated(m->stats, now, 1);
	if (g->seq.tokens == g->seq.capacity)
		sequence_finish(m, g,
		        g->seq.capacity == m->plan->context ? CARAVAN__REASON__CONTEXT
		                                            : CARAVAN__REASON__LIMIT,
		        NULL);
}

/* Up to the first draft that turns out wrong. */
static void pipeline_take_right_tokens(
        struct coordinator *m, struct scheduled *e, const struct output_row *row, uint32_t count) {
	struct client_sequence *g = (struct client_sequence *)e->seq;
	struct sequence *q = e->seq;
	for (uint32_t k = 0; k < count && scheduler_entry_valid(e); k++) {
		uint32_t at = q->tokens, draft = q->drafted ? q->log[at] : 0;
		pipeline_take_token(m, g, &row[k]);
		if (q->ended || q->drafted == 0)
			continue;
		if (q->log[at] == draft) {
			q->drafted--;
			m->accepted += q->scheduled > at;
			g->accepted += q->scheduled > at;
		} else {
			scheduler_reject(e, e->rows - e->outputs + k + 1);
			pipeline_cancel_unwanted(m);
			return;
		}
	}
}

/* Takes the tokens of an entry's rows. */
static void pipeline_take_tokens(
        struct coordinator *m, struct scheduled *e, const struct output_row *row, uint32_t count) {
	struct client_sequence *g = (struct client_sequence *)e->seq;
	uint32_t before = g->seq.tokens;
	uint64_t last = g->last_ns, now = loop_now_ns();
	pipeline_take_right_tokens(m, e, row, count);
	if (g->seq.tokens == before)
		return;
	g->last_ns = now;
	if (last)
		serving_stats_inter_token(m->stats, now, g->seq.tokens - before, now - last);
}

static void pipeline_answer(struct coordinator *m, const struct result *r) {
	struct client_sequence *g = r->g;
	if (g->finished)
		return;
	if (r->rc != 0) {
		sequence_finish(m, g, CARAVAN__REASON__ERROR, pipeline_error(r->rc));
		return;
	}
	int rc = g->sum ? sequence_embedding(m, g, r->data)
	                : sequence_logits(m, g, r->position, r->rows, r->data);
	if (rc == -EAGAIN)
		sequence_finish(m, g, CARAVAN__REASON__ERROR,
		        "the link to its node is too slow for what was requested");
	else if (rc != 0)
		sequence_drop(m, g);
}

/* Adds the times of a step to its sequences. */
static void pipeline_add_times(struct step_in_flight *f) {
	for (uint32_t i = 0; i < f->st->nseqs; i++) {
		struct step_timing_step *s = &((struct client_sequence *)f->st->seq[i].seq)->spent;
		s->waited += f->spent.waited;
		s->computed += f->spent.computed;
		s->wire += f->spent.wire;
	}
}

static void pipeline_sampled(void *arg, bool cancelled) {
	struct step_in_flight *f = arg;
	struct coordinator *m = f->m;
	pipeline_lend(f, constraint_take_back);
	if (pipeline_job_left(f, cancelled))
		return;
	step_timing_io(m->timing, f->began_ns - f->submitted_ns, f->ended_ns - f->began_ns);
	if (f->nrow)
		speculation_observe_io(m->speculation, f->nrow, (double)(f->ended_ns - f->began_ns) * 1e-9);
	f->spent.waited += (double)(f->began_ns - f->submitted_ns) * 1e-9;
	f->spent.computed += (double)(f->ended_ns - f->began_ns) * 1e-9;
	pipeline_add_times(f);
	if (f->rc != 0) {
		pipeline_lose(m, f, pipeline_error(f->rc));
		return;
	}
	for (struct result *r = STAILQ_FIRST(&f->results); r; r = STAILQ_NEXT(r, next))
		pipeline_answer(m, r);
	const struct output_row *row = f->row;
	for (uint32_t i = 0; i < f->st->nseqs; row += f->nsampled[i++]) {
		struct scheduled *e = &f->st->seq[i];
		struct client_sequence *g = (struct client_sequence *)e->seq;
		if (draft_is(g)) {
			if (f->nsampled[i])
				draft_sampled(g->draft, e, &row[f->nsampled[i] - 1]);
		} else if (!e->seq->all_outputs) {
			pipeline_take_tokens(m, e, row, f->nsampled[i]);
		} else if (e->position + e->rows == e->seq->tokens) {
			sequence_finish(m, g, CARAVAN__REASON__END, NULL);
		}
	}
	pipeline_retire(f, true);
	pipeline_kick(m);
}

/* Ends the sequences of a step for which a stage did not have the state: a step before, of theirs, has failed. */
static void pipeline_end_lost(struct step_in_flight *f, const Caravan__StepDone *d) {
	for (size_t i = 0; i < d->lost.len / sizeof(uint32_t); i++) {
		uint32_t at;
		memcpy(&at, d->lost.data + i * sizeof at, sizeof at);
		if (at >= f->st->nseqs)
			continue;
		f->st->seq[at].lost = true;
		sequence_finish(f->m, (struct client_sequence *)f->st->seq[at].seq, CARAVAN__REASON__ERROR,
		        "a stage does not have its recurrent state: a step before failed");
	}
}

void coordinator_step_done(
        struct coordinator *m, const struct peers_from *from, const Caravan__StepDone *d, struct payload *x) {
	Caravan__StepAck ack = CARAVAN__STEP_ACK__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STEP_ACK, step_ack, &ack);
	if (!node_id_equal(&from->node, &m->last_stage)) {
		peers_refuse(m->peers, from, "model %s: that node is not the last stage", m->plan->model);
		return;
	}
	ack.step = d->step;
	(void)peers_answer(m->peers, from, &env, NULL);
	struct step_in_flight *f = pipeline_find(m, d->step);
	if (!f || f->on_compute_thread || f->dead)
		return;
	/* steps never overtake each other: an older one that is still out was lost */
	for (struct step_in_flight *old;
	        (old = TAILQ_FIRST(&m->in_flight)) != f && !old->on_compute_thread;) {
		pipeline_fail(old, "a step was lost between two nodes");
		pipeline_retire(old, false);
	}
	f->is_back = true;
	if (f->cancelled) {
		pipeline_retire(f, false);
		pipeline_kick(m);
		return;
	}
	pipeline_end_lost(f, d);
	size_t want = (size_t)f->st->outputs * m->io->manifest->hp.dim * sizeof(float);
	if ((x ? payload_len(x) : 0) != want) {
		pipeline_lose(m, f, "the last stage sent a result of the wrong size");
		return;
	}
	uint64_t sent_ns = f->ended_ns + (d->n_times ? d->times[0]->held : 0), now = loop_now_ns();
	uint64_t away_ns = now > sent_ns ? now - sent_ns : 0;
	if (step_timing_add(m->timing, f->st->rows, d->times, d->n_times, away_ns, &f->spent) &&
	        (f->st->generating > 0 || f->st->ahead))
		speculation_observe(
		        m->speculation, f->st->rows, d->times, d->n_times, (double)away_ns * 1e-9);
	if (want == 0) {
		pipeline_add_times(f);
		pipeline_retire(f, true);
		pipeline_kick(m);
		return;
	}
	f->x = payload_ref(x);
	int rc = pipeline_make_rows(f);
	rc = rc ? rc : pipeline_submit(f, pipeline_sample, pipeline_sampled);
	if (rc == 0)
		pipeline_lend(f, constraint_lend);
	else
		pipeline_lose(m, f, strerror(-rc));
}

bool coordinator_step_failed(
        struct coordinator *m, const struct peers_from *from, const Caravan__StepFailed *sf) {
	struct step_in_flight *f = pipeline_find(m, sf->step);
	bool stage = false;
	for (size_t i = 0; i < m->plan->n_stages; i++) {
		struct node_id id;
		node_id_from_bytes(&id, m->plan->stages[i]->node);
		stage = stage || node_id_equal(&id, &from->node);
	}
	if (stage && f && !f->on_compute_thread && !f->dead)
		pipeline_lose(m, f, sf->reason);
	return stage;
}

bool coordinator_ack(struct coordinator *m, const struct node_id *node, uint64_t ref, uint64_t waited_ns) {
	return downstream_ack(m->downstream, node, ref, waited_ns);
}

bool coordinator_refused(struct coordinator *m, const struct node_id *node, uint64_t ref, const char *why) {
	return downstream_refused(m->downstream, node, ref, why);
}

void coordinator_link_lost(struct coordinator *m, const struct node_id *node, const char *why) {
	downstream_link_lost(m->downstream, node, why);
}
