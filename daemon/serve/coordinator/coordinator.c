/* coordinator: see coordinator.h.  This file has the sequences, from a gateway's Submit to Finished, and the
 * model as a whole; the steps that compute them are in pipeline.c.
 * Threads: the loop. */
#include "common/fail.h"
#include "daemon/serve/coordinator/draft.h"
#include "proto/plan.h"
#include "shard/forward/state.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUSY_MOST_S 3600 /* longest wait that is estimated to a client */

/* ---- release ------------------------------------------------------------------------------------- */

static void sequence_destroy(struct client_sequence *g) {
	if (g->constrains)
		g->constrains->constrained--;
	constraint_unref(g->constraint);
	free(g->bias);
	free(g->sum);
	free(g->seq.log);
	free(g);
}

void sequence_left(void *arg, struct sequence *q) {
	sequence_destroy((struct client_sequence *)q);
	coordinator_queue_moved(arg);
}

void coordinator_release(struct coordinator *m) {
	m->closed = true;
	loop_timer_stop(m->places);
	loop_timer_stop(m->kick);
	m->places = m->kick = NULL;
	pipeline_clear(m);
	for (struct sequence *q; m->scheduler && (q = scheduler_at(m->scheduler, 0));)
		if (scheduler_end(m->scheduler, q))
			sequence_left(m, q);
	scheduler_destroy(m->scheduler);
	step_timing_destroy(m->timing);
	serving_stats_destroy(m->stats);
	speculation_destroy(m->speculation);
	vocabulary_unref(m->vocabulary);
	output_destroy(m->output);
	slice_destroy(m->io);
	plan_free(m->plan);
	free(m);
}

/* ---- answers ------------------------------------------------------------------------------------- */

static double coordinator_seconds_between(uint64_t from_ns, uint64_t to_ns) {
	return to_ns > from_ns ? (double)(to_ns - from_ns) * 1e-9 : 0;
}

void sequence_finish(
        struct coordinator *m, struct client_sequence *g, Caravan__Reason reason, const char *error) {
	if (g->finished)
		return;
	if (draft_is(g)) { /* a draft has no client */
		sequence_drop(m, g);
		return;
	}
	Caravan__Finished fin = CARAVAN__FINISHED__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(FINISHED, finished, &fin);
	uint64_t now = loop_now_ns();
	fin.reason = reason;
	fin.error = wire_string(error ? error : "");
	fin.context = reason == CARAVAN__REASON__CONTEXT ? m->plan->context : 0;
	fin.generated = g->seq.tokens - g->prompt;
	fin.prompt_seconds = coordinator_seconds_between(g->began_ns, g->first_ns ? g->first_ns : now);
	fin.generate_seconds = g->first_ns ? coordinator_seconds_between(g->first_ns, now) : 0;
	fin.waited = g->spent.waited;
	fin.computed = g->spent.computed;
	fin.wire = g->spent.wire;
	(void)peers_answer(m->peers, &g->from, &env, NULL);
	sequence_drop(m, g);
}

/* The gateway has gone or cancelled. */
void sequence_drop(struct coordinator *m, struct client_sequence *g) {
	if (g->finished)
		return;
	g->finished = true;
	if (g->draft)
		(draft_is(g) ? draft_lost : draft_end)(g->draft);
	if (g->compiling)
		return;
	if (scheduler_end(m->scheduler, &g->seq))
		sequence_left(m, &g->seq);
	else if (!m->closed)
		pipeline_cancel_unwanted(m);
}

_Static_assert(sizeof(struct logprob) == 8, "as on the wire");
_Static_assert(LOGPROBS_TOP_MAX == WIRE_TOP_LOGPROBS_MAX, "as on the wire");

int sequence_token(struct coordinator *m, struct client_sequence *g, const struct output_row *row) {
	Caravan__Tokens tokens = CARAVAN__TOKENS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(TOKENS, tokens, &tokens);
	Caravan__TokenLogprobs logprobs = CARAVAN__TOKEN_LOGPROBS__INIT, *list[1] = {&logprobs};
	tokens.epoch = m->plan->epoch;
	tokens.position = g->seq.tokens;
	tokens.cached = g->seq.first;
	tokens.ids = wire_bytes(&row->id, sizeof row->id);
	if (row->logprobs) {
		logprobs.logprob = row->logprobs->token;
		logprobs.top =
		        wire_bytes(row->logprobs->list, row->logprobs->top * sizeof *row->logprobs->list);
		tokens.logprobs = list;
		tokens.n_logprobs = 1;
	}
	return peers_answer(m->peers, &g->from, &env, NULL);
}

int sequence_logits(struct coordinator *m, struct client_sequence *g, uint32_t position, uint32_t rows,
        struct payload *data) {
	Caravan__Logits logits = CARAVAN__LOGITS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(LOGITS, logits, &logits);
	logits.position = position;
	logits.rows = rows;
	logits.vocab = m->io->manifest->hp.vocab;
	return peers_answer(m->peers, &g->from, &env, data);
}

int sequence_embedding(struct coordinator *m, struct client_sequence *g, struct payload *data) {
	Caravan__Embedding embedding = CARAVAN__EMBEDDING__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(EMBEDDING, embedding, &embedding);
	embedding.dim = m->io->manifest->hp.dim;
	return peers_answer(m->peers, &g->from, &env, data);
}

/* ---- sequences ----------------------------------------------------------------------------------- */

_Static_assert(sizeof(struct sampler_bias) == 8, "as on the wire");

bool sequence_set_bias(struct client_sequence *g, const void *bias, size_t n) {
	if (n == 0)
		return true;
	g->bias = malloc(n * sizeof *g->bias);
	if (!g->bias)
		return false;
	memcpy(g->bias, bias, n * sizeof *g->bias);
	g->sampling.bias = g->bias;
	g->sampling.nbias = (uint32_t)n;
	return true;
}

/* Whether tokens are to be generated: nothing else of all positions is wanted. */
static bool coordinator_generates(const Caravan__Submit *s) {
	return !s->logits && !s->embedding;
}

/* Checks the tokens of a submission against the model; a sentence in err. */
static int coordinator_check_submit(const struct coordinator *m, const Caravan__Submit *s,
        const uint32_t *ids, size_t n, struct sampler_params *sampling, char *err, size_t errlen) {
	uint32_t context = m->plan->context, vocab = m->io->manifest->hp.vocab;
	if (n == 0 || s->prompt == 0 || s->prompt > n)
		return fail_with(-EINVAL, err, errlen, "the prompt is empty: it needs at least one token");
	if (n > context || (n == context && coordinator_generates(s)))
		return fail_with(-EINVAL, err, errlen,
		        "the prompt has %zu tokens, but the context of model %s is %u%s", n, m->plan->model,
		        context, n == context ? ", which leaves none to generate" : "");
	for (size_t i = 0; i < n; i++)
		if (ids[i] >= vocab)
			return fail_with(-EINVAL, err, errlen,
			        "token %u at position %zu is outside the vocabulary of %u", ids[i], i, vocab);
	for (size_t at = 0; at < s->bias.len; at += sizeof(struct sampler_bias)) {
		uint32_t id;
		memcpy(&id, s->bias.data + at, sizeof id);
		if (id >= vocab)
			return fail_with(-EINVAL, err, errlen,
			        "token %u, which has a bias, is outside the vocabulary of %u", id, vocab);
	}
	sampler_params_default(sampling);
	if (!coordinator_generates(s) || !s->sampling)
		return 0;
	sampling->temperature = s->sampling->temperature;
	sampling->top_k = s->sampling->top_k;
	sampling->top_p = s->sampling->top_p;
	sampling->min_p = s->sampling->min_p;
	sampling->repeat_penalty = s->sampling->repeat_penalty;
	sampling->presence_penalty = s->sampling->presence_penalty;
	sampling->frequency_penalty = s->sampling->frequency_penalty;
	sampling->seed = s->sampling->seed;
	return sampler_params_check(sampling, err, errlen);
}

/* ---- the queue ----------------------------------------------------------------------------------- */

/* Estimated seconds until `places` running sequences have ended, if each generates all that it may, at the
 * current token rate; answers may end earlier.  0: the rate is unknown. */
static double coordinator_estimate_wait(const struct coordinator *m, uint32_t places) {
	double rate = serving_stats_rate(m->stats, loop_now_ns()), rest = 0;
	uint32_t running = scheduler_running(m->scheduler);
	if (rate <= 0 || running == 0)
		return 0;
	for (uint32_t i = 0; i < running; i++) {
		const struct sequence *q = scheduler_at(m->scheduler, i);
		rest += q->capacity - q->tokens;
	}
	/* on average a running sequence has `each` tokens left, and places become free evenly over that
	 * time */
	double each = rest / running, a_sequence = rate / running;
	return each / a_sequence * (double)places / running;
}

static void coordinator_refuse_busy(struct coordinator *m, const struct peers_from *from) {
	char when[48] = "later";
	double s = fmin(coordinator_estimate_wait(m, 1), BUSY_MOST_S);
	if (s > 0)
		snprintf(when, sizeof when, "in %.0f s", s < 1 ? 1 : s);
	peers_refuse_busy(m->peers, from, s < 1 ? 1 : (uint32_t)s,
	        "model %s is busy: %u prompts run and %u wait; try again %s", m->plan->model,
	        scheduler_running(m->scheduler), scheduler_queued(m->scheduler), when);
}

int sequence_progress(struct coordinator *m, struct client_sequence *g, uint32_t done) {
	Caravan__Progress progress = CARAVAN__PROGRESS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PROGRESS, progress, &progress);
	/* a step without outputs ends before an older one whose tokens are still being sampled */
	if (done <= g->reported)
		return 0;
	g->reported = done;
	progress.what = "prompt";
	progress.done = done;
	progress.total = g->prompt;
	return peers_answer(m->peers, &g->from, &env, NULL);
}

static void coordinator_report_place(void *arg, struct sequence *q) {
	struct coordinator *m = arg;
	struct client_sequence *g = (struct client_sequence *)q;
	Caravan__Queued queued = CARAVAN__QUEUED__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(QUEUED, queued, &queued);
	if (draft_is(g))
		return;
	queued.place = q->place;
	queued.seconds = coordinator_estimate_wait(m, q->place);
	/* a gateway that has gone is noticed when its link is lost */
	(void)peers_answer(m->peers, &g->from, &env, NULL);
}

static void coordinator_report_places(void *arg) {
	struct coordinator *m = arg;
	m->places = NULL;
	scheduler_places(m->scheduler, coordinator_report_place, m);
}

void coordinator_queue_moved(struct coordinator *m) {
	if (!m->places && !m->closed && scheduler_queued(m->scheduler) > 0)
		m->places =
		        loop_timer_start(compute_loop(m->compute), 0, false, coordinator_report_places, m);
}

static void coordinator_enqueue(struct coordinator *m, struct client_sequence *g) {
	if (scheduler_add(m->scheduler, &g->seq) != 0) {
		coordinator_refuse_busy(m, &g->from);
		sequence_destroy(g);
		return;
	}
	coordinator_queue_moved(m);
	pipeline_kick(m);
}

/* ---- grammars ------------------------------------------------------------------------------------ */

static void coordinator_compiled(void *arg, struct constraint *c, int rc, const char *why) {
	struct client_sequence *g = arg;
	struct coordinator *m = g->constrains;
	m->jobs--;
	TAILQ_REMOVE(&m->compiling, g, compiles);
	g->compiling = false;
	g->constraint = c;
	if (!g->finished && rc == 0) {
		coordinator_enqueue(m, g);
		return;
	}
	if (!g->finished)
		peers_refuse(
		        m->peers, &g->from, "the grammar cannot be used: %s", *why ? why : strerror(-rc));
	sequence_destroy(g);
	if (m->closed && m->jobs == 0)
		coordinator_release(m);
}

/* The sequence is scheduled when its grammar is compiled. */
static void coordinator_compile(
        struct coordinator *m, struct client_sequence *g, const Caravan__Grammar *grammar) {
	if (m->constrained >= COORDINATOR_CONSTRAINED_MAX) {
		coordinator_refuse_busy(m, &g->from);
		sequence_destroy(g);
		return;
	}
	int rc = constraint_compile(m->constraints, m->vocabulary, m->tokenizer, grammar, g->prompt,
	        g->seq.capacity, coordinator_compiled, g);
	if (rc != 0) {
		peers_refuse(m->peers, &g->from, "%s", strerror(-rc));
		sequence_destroy(g);
		return;
	}
	g->constrains = m;
	m->constrained++;
	m->jobs++;
	g->compiling = true;
	TAILQ_INSERT_TAIL(&m->compiling, g, compiles);
}

/* Drops sequences whose grammars are being compiled: one, or (ref NULL) all of a gateway. */
static void coordinator_cancel_compiling(
        struct coordinator *m, const struct node_id *gateway, const uint64_t *ref) {
	struct client_sequence *g;
	TAILQ_FOREACH(g, &m->compiling, compiles)
	if (node_id_equal(&g->from.node, gateway) && (!ref || g->from.ref == *ref))
		sequence_drop(m, g);
}

/* ---- submissions --------------------------------------------------------------------------------- */

void coordinator_submit(struct coordinator *m, const struct peers_from *from, const Caravan__Submit *s,
        struct payload *payload) {
	char err[320];
	struct sampler_params sampling;
	size_t n = payload ? payload_len(payload) / sizeof(uint32_t) : 0;
	uint32_t context = m->plan->context, *ids = malloc(n ? n * sizeof *ids : 1);
	if (ids && n)
		memcpy(ids, payload_data(payload), n * sizeof *ids);
	int rc = ids ? coordinator_check_submit(m, s, ids, n, &sampling, err, sizeof err) : -ENOMEM;
	if (rc != 0) {
		peers_refuse(m->peers, from, "%s", rc == -ENOMEM ? strerror(ENOMEM) : err);
		free(ids);
		return;
	}
	struct client_sequence *g = calloc(1, sizeof *g);
	uint32_t capacity = !coordinator_generates(s)                 ? (uint32_t)n
	                    : s->limit == 0 || s->limit > context - n ? context
	                                                              : (uint32_t)n + s->limit;
	bool pools = s->embedding && !s->logits;
	uint32_t *log = NULL;
	if (g) {
		g->sampling = sampling;
		g->sum = pools ? calloc(m->io->manifest->hp.dim, sizeof *g->sum) : NULL;
	}
	if (g && (!pools || g->sum) && sequence_set_bias(g, s->bias.data, s->bias.len / sizeof *g->bias))
		log = realloc(ids, capacity * sizeof *log);
	if (!log) {
		peers_refuse(m->peers, from, "%s", strerror(ENOMEM));
		free(ids);
		if (g) {
			free(g->bias);
			free(g->sum);
		}
		free(g);
		return;
	}
	g->seq.id = ++m->sequences;
	g->seq.log = log;
	g->seq.tokens = (uint32_t)n;
	g->seq.capacity = capacity;
	g->seq.all_outputs = !coordinator_generates(s);
	memcpy(&g->seq.author, from->node.b, sizeof g->seq.author);
	g->seq.client = g->seq.author ^ s->client;
	g->from = *from;
	g->prompt = s->prompt;
	g->given = (uint32_t)n;
	g->window = g->seq.limit = s->logits ? s->window : 0;
	g->undrafted = s->sampling && s->sampling->undrafted;
	g->logprobs = s->logprobs && coordinator_generates(s);
	g->top_logprobs = s->top_logprobs;
	draft_stats_init(&g->draft_stats);
	g->began_ns = loop_now_ns();
	if (s->grammar && coordinator_generates(s))
		coordinator_compile(m, g, s->grammar);
	else
		coordinator_enqueue(m, g);
}

void coordinator_logits_taken(
        struct coordinator *m, const struct node_id *gateway, uint64_t ref, uint32_t rows) {
	struct sequence *q;
	for (uint32_t i = 0; (q = scheduler_at(m->scheduler, i)); i++) {
		struct client_sequence *g = (struct client_sequence *)q;
		if (g->from.ref != ref || !node_id_equal(&g->from.node, gateway) || !g->window)
			continue;
		/* the client cannot have taken what has not been computed yet */
		rows = rows < q->done ? rows : q->done;
		if (rows + g->window > q->limit)
			q->limit = rows + g->window;
		pipeline_kick(m);
		return;
	}
}

void coordinator_cancel(struct coordinator *m, const struct node_id *gateway, uint64_t ref) {
	struct sequence *q;
	coordinator_cancel_compiling(m, gateway, &ref);
	for (uint32_t i = 0; (q = scheduler_at(m->scheduler, i)); i++) {
		struct client_sequence *g = (struct client_sequence *)q;
		if (g->from.ref == ref && node_id_equal(&g->from.node, gateway)) {
			sequence_drop(m, g);
			pipeline_kick(m);
			return;
		}
	}
}

void coordinator_cancel_node(struct coordinator *m, const struct node_id *gateway) {
	struct sequence *q;
	coordinator_cancel_compiling(m, gateway, NULL);
	for (uint32_t i = 0; (q = scheduler_at(m->scheduler, i));) {
		struct client_sequence *g = (struct client_sequence *)q;
		bool stays = q->in_flight > 0 || g->finished || !node_id_equal(&g->from.node, gateway);
		if (node_id_equal(&g->from.node, gateway))
			sequence_drop(m, g);
		i += stays;
	}
	pipeline_kick(m);
}

/* ---- the whole ----------------------------------------------------------------------------------- */

/* The position where attention costs a row of a prompt as much as its matrix products do: a multiply-add of
 * attention takes about four times as long as one of a product. */
static uint32_t coordinator_look_back_parity(const struct hparams *hp) {
	double dim = hp->dim, kv = (double)hp->kv_heads * hp->head_size,
	       q = (double)hp->heads * hp->head_size;
	double products = dim * (2 * q + 2 * kv + 3.0 * hp->ffn), look_back = 2 * q;
	return (uint32_t)fmax(1, products / look_back / 4);
}

/* Also makes the root of the prefix cache: what KV blocks depend on besides the tokens. */
static int coordinator_create_scheduler(struct coordinator *m, const struct hparams *hp) {
	const Caravan__Plan *plan = m->plan;
	struct {
		struct content_id manifest;
		uint32_t kv_type, arithmetic;
		uint64_t salt;
	} root = {.kv_type = plan->kv, .arithmetic = KERN_ARITHMETIC};
	memcpy(&root.manifest, plan->manifest.data, sizeof root.manifest);
	if (getentropy(&root.salt, sizeof root.salt) != 0)
		return -errno;
	return scheduler_create(
	        &m->scheduler, &(struct scheduler_config){.blocks = plan->blocks,
	                               .window_blocks = plan->window_blocks,
	                               .window = hp->window,
	                               .parallel = plan->parallel,
	                               .places = hp->attention_every ? STATE_PLACES(plan->parallel) : 0,
	                               .max_rows = plan->max_rows,
	                               .stages = (uint32_t)plan->n_stages,
	                               .twice = coordinator_look_back_parity(hp),
	                               .root = &root,
	                               .len = sizeof root});
}

int coordinator_create(struct coordinator **out, struct peers *p, struct compute *c, struct constraints *cs,
        const Caravan__Plan *plan, const char *first, const struct tokenizer *tokenizer, struct slice *io,
        char *err, size_t errlen) {
	struct node_id to;
	struct coordinator *m = calloc(1, sizeof *m);
	int rc = m && (m->plan = plan_copy(plan)) ? 0 : -ENOMEM;
	if (m) {
		TAILQ_INIT(&m->in_flight);
		TAILQ_INIT(&m->compiling);
	}
	if (rc == 0)
		rc = output_create(
		        &m->output, io, compute_team(c), plan->max_rows, tokenizer_tokens(tokenizer));
	if (rc == 0)
		rc = coordinator_create_scheduler(m, &io->manifest->hp);
	if (rc == 0)
		rc = step_timing_create(&m->timing, (uint32_t)plan->n_stages);
	if (rc == 0)
		rc = serving_stats_create(&m->stats, loop_now_ns());
	if (rc == 0)
		rc = speculation_create(&m->speculation, (uint32_t)plan->n_stages);
	if (rc == 0)
		rc = vocabulary_get(&m->vocabulary, cs, &plan->vocab);
	if (rc == 0) {
		node_id_from_bytes(&to, plan->stages[0]->node);
		node_id_from_bytes(&m->last_stage, plan->stages[plan->n_stages - 1]->node);
		rc = downstream_create(&m->downstream, p, &to, first, pipeline_lost, m);
	}
	if (rc != 0) {
		snprintf(err, errlen, "cannot allocate the buffers of embedding and output: %s",
		        strerror(-rc));
		if (m)
			coordinator_release(m);
		return rc;
	}
	m->peers = p;
	m->compute = c;
	m->constraints = cs;
	m->tokenizer = tokenizer;
	m->io = io;
	m->began_ns = loop_now_ns();
	*out = m;
	return 0;
}

void coordinator_close(struct coordinator *m, const char *why) {
	struct sequence *q;
	struct client_sequence *g;
	m->closed = true;
	loop_timer_stop(m->places);
	loop_timer_stop(m->kick);
	m->places = m->kick = NULL;
	downstream_destroy(m->downstream);
	m->downstream = NULL;
	for (uint32_t i = 0; (q = scheduler_at(m->scheduler, i));) {
		bool stays = q->in_flight > 0 || ((struct client_sequence *)q)->finished;
		sequence_finish(m, (struct client_sequence *)q, CARAVAN__REASON__ERROR, why);
		i += stays;
	}
	TAILQ_FOREACH(g, &m->compiling, compiles)
	sequence_finish(m, g, CARAVAN__REASON__ERROR, why);
	constraints_forget(m->constraints, m->tokenizer);
	if (m->jobs == 0)
		coordinator_release(m);
}

void coordinator_set_draft_model(struct coordinator *m, struct coordinator *small) {
	m->draft_model = small;
}

const Caravan__Plan *coordinator_plan(const struct coordinator *m) {
	return m->plan;
}

void coordinator_state(struct coordinator *m, uint32_t streams, Caravan__ModelState *out) {
	caravan__model_state__init(out);
	out->name = m->plan->model;
	if (slice_is_damaged(m->io, m->damaged))
		out->damaged = m->damaged;
	out->sequences = scheduler_running(m->scheduler);
	out->queued = scheduler_queued(m->scheduler);
	out->tokens = m->tokens;
	out->seconds = (double)(loop_now_ns() - m->began_ns) * 1e-9;
	out->steps = m->steps;
	out->step_sequences = m->step_sequences;
	out->step_sequences_max = m->step_sequences_max;
	out->prefix_tokens = scheduler_found(m->scheduler);
	out->drafted = m->drafted;
	out->accepted = m->accepted;
	out->io_seconds = m->io_seconds;
	out->in_flight = m->in_flight_count;
	out->in_flight_max = m->in_flight_max;
	out->blocks = m->plan->blocks;
	out->blocks_free = scheduler_free_blocks(m->scheduler);
	out->window_blocks = m->plan->window_blocks;
	out->window_blocks_free = scheduler_free_windows(m->scheduler);
	step_timing_state(m->timing, out);
	serving_stats_state(m->stats, loop_now_ns(), out);
	coordinator_list_streams(m, streams, out);
}
