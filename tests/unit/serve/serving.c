/* serving: see serving.h. */
#include "tests/unit/serve/serving.h"
#include "daemon/text/logprobs.h"
#include "kernels/kernels.h"

#include "daemon/text/tokenizer.h"
#include "tests/unit/text/text_vocab.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct model {
	char name[WIRE_NAME_MAX + 1];
	struct manifest *manifest;
	struct small_vocab *vocab;
	Caravan__Plan plan;
	Caravan__Stage stage[4], *stages[4];
	Caravan__Epoch epoch;
	unsigned coordinator, at[4];
};

struct serving_node serving[SERVING_NODES];
static struct model models[SERVING_MODELS];
static unsigned running;
static uint64_t epochs;

/* ---- what members and deploy would say ----------------------------------------------------------- */

struct members {
	struct serving_node *node;
	struct member member[SERVING_NODES];
	struct {
		members_change_fn *fn;
		void *arg;
	} changed[4];
};

struct deploy {
	struct serving_node *node;
	struct deploy_hooks hooks;
	struct deploy_model model[SERVING_MODELS];
};

struct peers *members_peers(struct members *m) {
	return m->node->peers;
}

const struct member *members_find(const struct members *m, const struct node_id *id) {
	for (unsigned i = 0; i < SERVING_NODES; i++)
		if (node_id_equal(&m->member[i].id, id))
			return &m->member[i];
	return NULL;
}
const char *members_name(const struct members *m, const struct node_id *id) {
	const struct member *who = members_find(m, id);
	return who ? who->name : "a node outside the roster";
}

int members_on_change(struct members *m, members_change_fn *fn, void *arg) {
	for (size_t i = 0; i < sizeof m->changed / sizeof *m->changed; i++)
		if (!m->changed[i].fn) {
			m->changed[i].fn = fn;
			m->changed[i].arg = arg;
			return 0;
		}
	return -ENOMEM;
}

void members_heartbeat(struct members *m) {
	m->node->heartbeats++; /* states of nodes are not sent here */
}

const struct deploy_model *deploy_find(const struct deploy *d, const char *name, char *err, size_t errlen) {
	const struct deploy_model *found = NULL;
	for (unsigned i = 0; i < SERVING_MODELS; i++)
		if (d->model[i].plan && (!name || !*name || strcmp(d->model[i].plan->model, name) == 0))
			found = &d->model[i];
	if (!found)
		snprintf(err, errlen, "no model %s", name ? name : "");
	return found;
}

const struct deploy_model *deploy_at(const struct deploy *d, size_t i) {
	for (unsigned k = 0; k < SERVING_MODELS; k++)
		if (d->model[k].plan && i-- == 0)
			return &d->model[k];
	return NULL;
}

const struct member *members_at(const struct members *m, size_t i) {
	return i < running ? &m->member[i] : NULL;
}

void deploy_describe(const struct deploy *d, const struct deploy_model *m, char *out, size_t len) {
	(void)d;
	snprintf(out, len, "is not available: %s", m->reason);
}

void deploy_unavailable(struct deploy *d, const struct deploy_model *m, const char *reason) {
	(void)m;
	d->node->unavailable++;
	snprintf(d->node->reason, sizeof d->node->reason, "%s", reason);
}

void deploy_copies(const struct deploy *d, const char *model, Caravan__ModelState *out) {
	(void)d;
	(void)model;
	(void)out;
}

void deploy_alternatives(const struct deploy *d, const char *model, Caravan__ModelState *out) {
	(void)d;
	(void)model;
	(void)out;
}

/* ---- nodes --------------------------------------------------------------------------------------- */

static struct node_id *id_of(unsigned node) {
	return &serving[node].keys.public;
}

static enum peers_verdict admit(void *arg, const struct node_id *key, const char **why) {
	(void)arg;
	for (unsigned i = 0; i < SERVING_NODES; i++)
		if (node_id_equal(key, id_of(i)))
			return PEERS_MEMBER;
	*why = "a stranger";
	return PEERS_REFUSE;
}

static void receive(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload);

static void bare_start(struct serving_node *n) {
	static const Caravan__Envelope__BodyCase kinds[] = {CARAVAN__ENVELOPE__BODY_STEP,
	        CARAVAN__ENVELOPE__BODY_STEP_ACK, CARAVAN__ENVELOPE__BODY_STEP_DONE,
	        CARAVAN__ENVELOPE__BODY_STEP_FAILED, CARAVAN__ENVELOPE__BODY_CANCEL_STEP,
	        CARAVAN__ENVELOPE__BODY_SUBMIT, CARAVAN__ENVELOPE__BODY_CANCEL,
	        CARAVAN__ENVELOPE__BODY_TOKENS, CARAVAN__ENVELOPE__BODY_FINISHED,
	        CARAVAN__ENVELOPE__BODY_QUEUED, CARAVAN__ENVELOPE__BODY_REFUSED,
	        CARAVAN__ENVELOPE__BODY_LOGITS, CARAVAN__ENVELOPE__BODY_PROGRESS,
	        CARAVAN__ENVELOPE__BODY_LOGITS_TAKEN};
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		ck_assert_int_eq(peers_on(n->peers, kinds[i], receive, n), 0);
}

static void serve_start(struct serving_node *n) {
	char err[200] = "";
	n->members = calloc(1, sizeof *n->members);
	n->deploy = calloc(1, sizeof *n->deploy);
	ck_assert(n->members && n->deploy);
	n->members->node = n->deploy->node = n;
	for (unsigned i = 0; i < SERVING_NODES; i++) {
		struct member *m = &n->members->member[i];
		m->id = *id_of(i);
		snprintf(m->name, sizeof m->name, "%s", serving[i].name);
		m->self = &serving[i] == n;
		m->up = true;
		m->minor = WIRE_MINOR;
	}
	ck_assert_msg(compute_create(&n->compute, n->loop, 1, err, sizeof err) == 0, "%s", err);
	ck_assert_msg(serve_create(&n->serve, n->members, n->compute, err, sizeof err) == 0, "%s", err);
	n->deploy->hooks = serve_hooks(n->serve);
	serve_attach(n->serve, n->deploy);
}

static void node_start(struct serving_node *n, bool bare) {
	char err[200] = "";
	const struct peers_config c = {
	        .listen = "tcp://10.0.0.1:*", .keys = &n->keys, .admit = admit, .arg = n};
	ck_assert_int_eq(loop_create(&n->loop), 0);
	ck_assert_msg(peers_create(&n->peers, n->loop, &c, err, sizeof err) == 0, "%s", err);
	(bare ? bare_start : serve_start)(n);
}

static void node_stop(struct serving_node *n) {
	if (!n->loop)
		return;
	serve_destroy(n->serve);
	compute_destroy(n->compute);
	peers_destroy(n->peers);
	free(n->members);
	free(n->deploy);
	loop_destroy(n->loop);
	for (size_t i = 0; i < n->ngot; i++) {
		if (n->got[i]->whole)
			caravan__step__free_unpacked(n->got[i]->whole, NULL);
		free(n->got[i]);
	}
	free(n->got);
	n->serve = NULL;
	n->compute = NULL;
	n->peers = NULL;
	n->members = NULL;
	n->deploy = NULL;
	n->loop = NULL;
	n->got = NULL;
	n->ngot = 0;
}

static void connect_all(void) {
	for (unsigned i = 0; i < running; i++)
		for (unsigned k = 0; k < running; k++) {
			const char *endpoint = peers_endpoint(serving[k].peers);
			if (i != k)
				ck_assert_int_eq(peers_connect(serving[i].peers, id_of(k), &endpoint, 1), 0);
		}
}

void serving_begin(unsigned n, unsigned all, uint64_t seed) {
	static const char *const names[SERVING_NODES] = {"attic", "barn", "cellar", "den", "eaves", "forge"};
	memset(serving, 0, sizeof serving);
	memset(models, 0, sizeof models);
	char err[100];
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	sim_begin(seed);
	network_begin();
	running = all;
	epochs = 0;
	for (unsigned i = 0; i < SERVING_NODES; i++) {
		snprintf(serving[i].name, sizeof serving[i].name, "%s", names[i]);
		memset(id_of(i)->b, (int)(0x11 * (i + 1)), sizeof id_of(i)->b);
	}
	for (unsigned i = 0; i < all; i++)
		node_start(&serving[i], i >= n);
	connect_all();
	serving_settle();
	for (unsigned i = 0; i < all; i++)
		for (unsigned k = 0; k < all; k++)
			ck_assert(peers_linked(serving[i].peers, id_of(k)));
}

void serving_end(void) {
	for (unsigned i = 0; i < running; i++)
		node_stop(&serving[i]);
	ck_assert_uint_eq(payloads_open(), 0);
	ck_assert_uint_eq(jobs_open(), 0);
	ck_assert_uint_eq(compute_open(), 0);
	ck_assert_uint_eq(network_under_way(), 0);
	network_end();
	sim_end();
	for (unsigned i = 0; i < SERVING_MODELS; i++) {
		manifest_destroy(models[i].manifest);
		free(models[i].vocab);
	}
}

void serving_kill(unsigned node) {
	for (unsigned i = 0; i < running; i++)
		if (i != node && serving[i].loop) {
			network_cut(id_of(node), id_of(i), true);
			network_cut(id_of(i), id_of(node), true);
		}
	node_stop(&serving[node]);
}

void serving_tell(unsigned node, bool up) {
	for (unsigned i = 0; i < running; i++) {
		struct members *m = serving[i].members;
		if (!m || i == node)
			continue;
		m->member[node].up = up;
		for (size_t k = 0; k < sizeof m->changed / sizeof *m->changed && m->changed[k].fn; k++)
			m->changed[k].fn(m->changed[k].arg, &m->member[node], up ? MEMBER_UP : MEMBER_DOWN);
	}
}

void serving_settle(void) {
	ck_assert(sim_settle(SERVING_EVENTS));
}

/* ---- models -------------------------------------------------------------------------------------- */

void serving_minor(unsigned node, unsigned of, uint32_t minor) {
	serving[node].members->member[of].minor = minor;
}

static struct model *model_named(const char *name) {
	for (unsigned i = 0; i < SERVING_MODELS; i++)
		if (models[i].manifest && (!name || strcmp(models[i].name, name) == 0))
			return &models[i];
	ck_abort_msg("the test has no model %s", name);
	return NULL;
}

const struct manifest *serving_manifest(const char *name) {
	return model_named(name)->manifest;
}

Caravan__Plan *serving_plan(const char *name) {
	return &model_named(name)->plan;
}

static ProtobufCBinaryData bytes_of(const struct node_id *id) {
	return (ProtobufCBinaryData){sizeof id->b, (uint8_t *)id->b};
}

static void make_plan(struct model *m, const struct serving_spec *s) {
	Caravan__Plan *p = &m->plan;
	caravan__plan__init(p);
	caravan__epoch__init(&m->epoch);
	m->epoch.counter = ++epochs + 1;
	m->epoch.node = bytes_of(id_of(s->coordinator));
	m->coordinator = s->coordinator;
	p->model = m->name;
	p->manifest = (ProtobufCBinaryData){sizeof m->manifest->id.b, m->manifest->id.b};
	p->epoch = &m->epoch;
	p->coordinator = bytes_of(id_of(s->coordinator));
	p->stages = m->stages;
	p->n_stages = s->stages;
	for (unsigned i = 0; i < s->stages; i++) {
		Caravan__Stage *st = m->stages[i] = &m->stage[i];
		caravan__stage__init(st);
		m->at[i] = s->stage[i];
		st->node = bytes_of(id_of(s->stage[i]));
		st->first = i == 0 ? 0 : m->stage[i - 1].last;
		st->last = i + 1 == s->stages ? SERVING_LAYERS
		           : s->cut[i]        ? s->cut[i]
		                              : (i + 1) * SERVING_LAYERS / s->stages;
	}
	p->context = s->context ? s->context : 256;
	p->parallel = s->parallel ? s->parallel : 4;
	p->blocks = s->blocks ? s->blocks : 32;
	p->max_rows = s->max_rows ? s->max_rows : 64;
	p->window_blocks = s->window_blocks;
	p->vocab = p->manifest;
	p->arithmetic = KERN_ARITHMETIC;
	p->kv = s->kv;
	p->draft = (char *)(s->draft ? s->draft : "");
}

static void open_model(struct model *m) {
	char err[300] = "";
	for (unsigned i = 0; i < running; i++)
		if (serving[i].deploy)
			serving[i].deploy->model[m - models] = (struct deploy_model){.plan = &m->plan,
			        .phase = CARAVAN__MODEL_PHASE__SERVING,
			        .reason = "",
			        .vocab = &m->vocab->v,
			        .manifest = m->manifest};
	for (unsigned i = 0; i < m->plan.n_stages; i++) {
		struct deploy *d = serving[m->at[i]].deploy;
		if (d)
			ck_assert_msg(d->hooks.stage_open(d->hooks.arg, &d->model[m - models], i,
			                      compute_slice(m->manifest, m->stage[i].first, m->stage[i].last),
			                      err, sizeof err) == 0,
			        "%s", err);
	}
	struct deploy *d = serving[m->coordinator].deploy;
	if (d)
		ck_assert_msg(d->hooks.model_open(d->hooks.arg, &d->model[m - models],
		                      compute_slice(m->manifest, 0, 0), err, sizeof err) == 0,
		        "%s", err);
	for (unsigned i = 0; i < running; i++)
		if ((d = serving[i].deploy))
			d->hooks.changed(d->hooks.arg, &d->model[m - models]);
}

void serving_load(const struct serving_spec *s) {
	struct model *m = models;
	while (m->manifest)
		m++;
	ck_assert(m < models + SERVING_MODELS);
	snprintf(m->name, sizeof m->name, "%s", s->name ? s->name : "m");
	m->vocab = small_spm();
	if (s->other_words)
		m->vocab->token[small_find(m->vocab, "ld")].text = small_text(m->vocab, "lt");
	if (s->endless) {
		m->vocab->v.eos = -1;
		m->vocab->token[small_find(m->vocab, "</s>")].text = small_text(m->vocab, "</z>");
		m->vocab->token[small_find(m->vocab, "<|eot_id|>")].text = small_text(m->vocab, "<|more|>");
	}
	ck_assert_int_eq(
	        compute_manifest(&m->manifest, s->number ? s->number : 1, SERVING_LAYERS,
	                m->vocab->v.tokens + s->padding, s->context > 256 ? s->context : 256, s->window),
	        0);
	make_plan(m, s);
	open_model(m);
}

void serving_unload(const char *name) {
	serving_close(name, CARAVAN__MODEL_PHASE__UNLOADED, "the model was unloaded");
}

void serving_close(const char *name, Caravan__ModelPhase phase, const char *why) {
	struct model *m = model_named(name);
	for (unsigned i = 0; i < running; i++) {
		struct deploy *d = serving[i].deploy;
		struct deploy_model *dm = d ? &d->model[m - models] : NULL;
		if (!d)
			continue;
		dm->phase = phase;
		dm->reason = why;
		if (i == m->coordinator)
			d->hooks.model_close(d->hooks.arg, dm, why);
		for (unsigned k = 0; k < m->plan.n_stages; k++)
			if (m->at[k] == i)
				d->hooks.stage_close(d->hooks.arg, dm, k);
		d->hooks.changed(d->hooks.arg, dm);
		if (phase == CARAVAN__MODEL_PHASE__UNLOADED)
			memset(dm, 0, sizeof *dm);
	}
}

void serving_revive(const char *name) {
	struct model *m = model_named(name);
	m->epoch.counter = ++epochs + 1;
	open_model(m);
}

bool serving_broken(const char *name) {
	struct model *m = model_named(name);
	bool broken = false;
	for (unsigned i = 0; i < m->plan.n_stages; i++) {
		struct deploy *d = serving[m->at[i]].deploy;
		broken = broken || (d && d->hooks.stage_broken(d->hooks.arg, &d->model[m - models], i));
	}
	return broken;
}

Caravan__ModelState serving_state(const char *name) {
	struct model *m = model_named(name);
	Caravan__NodeState state = CARAVAN__NODE_STATE__INIT;
	serve_state(serving[m->coordinator].serve, &state);
	for (size_t i = 0; i < state.n_models; i++)
		if (strcmp(state.models[i]->name, m->name) == 0)
			return *state.models[i];
	ck_abort_msg("%s is not coordinated there", m->name);
	return *state.models[0];
}

uint32_t serving_encode(const char *text, uint32_t *out) {
	char err[200];
	struct tokenizer *t;
	uint32_t *ids;
	size_t n;
	ck_assert_int_eq(tokenizer_create(&t, &models[0].vocab->v, err, sizeof err), 0);
	ck_assert_int_eq(tokenizer_encode(t, text, strlen(text), TOKENIZE_BOS, &ids, &n), 0);
	ck_assert_uint_lt(n, COMPUTE_CONTEXT);
	memcpy(out, ids, n * sizeof *ids);
	free(ids);
	tokenizer_destroy(t);
	return (uint32_t)n;
}

struct sampler_params serving_greedy(void) {
	struct sampler_params p;
	sampler_params_default(&p);
	p.temperature = 0;
	return p;
}

const char *serving_answer(
        const char *model, const char *prompt, uint32_t limit, const struct sampler_params *sampling) {
	static char text[COMPUTE_CONTEXT + 1];
	static uint32_t ids[COMPUTE_CONTEXT], out[COMPUTE_CONTEXT];
	struct sampler_params greedy = serving_greedy();
	uint32_t n = serving_encode(prompt, ids);
	uint32_t made = compute_answer(
	        model_named(model)->manifest, ids, n, sampling ? sampling : &greedy, out, limit);
	for (uint32_t i = 0; i < made; i++) {
		ck_assert_uint_ge(out[i], COMPUTE_FIRST);
		text[i] = (char)(out[i] - 3);
	}
	text[made] = 0;
	return text;
}

/* ---- clients ------------------------------------------------------------------------------------- */

static void client_queued(void *arg, uint32_t place, double seconds) {
	struct client *c = arg;
	ck_assert_ptr_nonnull(c->request);
	ck_assert(seconds >= 0);
	c->queued++;
	c->place = place;
}

static void client_prompt(void *arg, uint64_t done, uint64_t total) {
	struct client *c = arg;
	ck_assert_uint_gt(done, c->done);
	ck_assert_uint_lt(done, total);
	c->progress++;
	c->done = done;
}

static void client_token(void *arg, const struct token_logprobs *t) {
	struct client *c = arg;
	ck_assert_uint_eq(c->ends, 0);
	ck_assert_uint_lt(c->ntokens, COMPUTE_CONTEXT);
	ck_assert_uint_ge(t->offset, c->len); /* never later than its text */
	if (!c->token)
		c->token = calloc(COMPUTE_CONTEXT, sizeof *c->token);
	ck_assert_ptr_nonnull(c->token);
	c->token[c->ntokens] = token_logprobs_copy(t);
	ck_assert_ptr_nonnull(c->token[c->ntokens++]);
}

static void client_text(void *arg, const char *text, size_t len) {
	struct client *c = arg;
	ck_assert_uint_eq(c->ends, 0);
	ck_assert_uint_lt(c->len + len, sizeof c->text);
	memcpy(c->text + c->len, text, len);
	c->len += len;
	if (c->after && --c->after == 0) {
		request_cancel(c->request);
		c->request = NULL;
	}
}

static void client_logits(void *arg, uint32_t position, uint32_t rows, uint32_t vocab, struct payload *data) {
	struct client *c = arg;
	ck_assert_uint_eq(position, c->rows);
	ck_assert_uint_eq(payload_len(data), (size_t)rows * vocab * sizeof(float));
	c->logits = realloc(c->logits, (size_t)(c->rows + rows) * vocab * sizeof(float));
	ck_assert_ptr_nonnull(c->logits);
	memcpy(c->logits + (size_t)c->rows * vocab, payload_data(data), payload_len(data));
	c->rows += rows;
}

static void client_embedding(void *arg, uint32_t dim, struct payload *data) {
	struct client *c = arg;
	ck_assert_uint_eq(c->ends, 0);
	ck_assert_uint_eq(dim, COMPUTE_DIM);
	ck_assert_uint_eq(payload_len(data), sizeof c->embedding);
	memcpy(c->embedding, payload_data(data), sizeof c->embedding);
	c->embeddings++;
}

static void client_busy(void *arg, uint32_t seconds) {
	struct client *c = arg;
	ck_assert_uint_eq(c->ends, 0);
	c->busy = seconds;
}

static void client_end(void *arg, const Caravan__Finished *fin, const char *error) {
	struct client *c = arg;
	ck_assert_uint_eq(c->ends, 0);
	c->ends++;
	c->request = NULL;
	c->failed = error != NULL;
	if (error)
		snprintf(c->error, sizeof c->error, "%s", error);
	if (fin) {
		c->reason = fin->reason;
		c->generated = fin->generated;
		c->prompt = fin->prompt;
		c->cached = fin->cached;
	}
}

struct request_events client_events(struct client *c) {
	return (struct request_events){.queued = client_queued,
	        .prompt = client_prompt,
	        .token = client_token,
	        .text = client_text,
	        .logits = client_logits,
	        .embedding = client_embedding,
	        .busy = client_busy,
	        .end = client_end,
	        .arg = c};
}

void client_ask(struct client *c, const struct ask *a) {
	char err[WIRE_TEXT_MAX] = "";
	struct sampler_params greedy = serving_greedy();
	const struct sampler_params *s = a->sampling ? a->sampling : &greedy;
	const struct text_stop stop = {a->stop, a->stop ? strlen(a->stop) : 0};
	const struct request_events ev = client_events(c);
	struct request_params p = {.model = a->model,
	        .text = a->prompt,
	        .len = strlen(a->prompt),
	        .client = a->client,
	        .limit = a->limit,
	        .ignore_end = a->ignore_end,
	        .grammar = a->grammar,
	        .bias = s->bias,
	        .nbias = s->nbias,
	        .embedding = a->embedding,
	        .logprobs = a->logprobs,
	        .names = a->names,
	        .top_logprobs = a->top,
	        .stops = &stop,
	        .nstops = a->stop != NULL};
	caravan__sampling__init(&p.sampling);
	p.sampling.temperature = s->temperature;
	p.sampling.top_k = s->top_k;
	p.sampling.top_p = s->top_p;
	p.sampling.min_p = s->min_p;
	p.sampling.repeat_penalty = s->repeat_penalty;
	p.sampling.presence_penalty = s->presence_penalty;
	p.sampling.frequency_penalty = s->frequency_penalty;
	p.sampling.seed = s->seed;
	p.sampling.undrafted = a->undrafted;
	client_free(c);
	ck_assert_msg(request_start(&c->request, serve_requests(serving[a->node].serve), &p, &ev, err,
	                      sizeof err) == 0,
	        "%s", err);
}

void client_free(struct client *c) {
	unsigned after = c->after;
	free(c->logits);
	for (unsigned i = 0; i < c->ntokens; i++)
		free(c->token[i]);
	free(c->token);
	memset(c, 0, sizeof *c);
	c->after = after;
}

void client_expect_logprobs(const struct client *c, const char *model, const char *prompt, uint32_t top) {
	static uint32_t text[COMPUTE_CONTEXT];
	const struct model *m = model_named(model);
	uint32_t n = serving_encode(prompt, text), padded = m->manifest->hp.vocab,
	         tokens = m->vocab->v.tokens;
	ck_assert_uint_eq(c->ntokens, c->generated);
	for (unsigned i = 0; i < c->ntokens; i++)
		text[n + i] = c->token[i]->token.id;
	float *logits = malloc((size_t)(n + c->ntokens) * padded * sizeof *logits);
	ck_assert_ptr_nonnull(logits);
	compute_logits(m->manifest, text, n + c->ntokens, logits);
	for (unsigned i = 0; i < c->ntokens; i++) {
		const struct token_logprobs *t = c->token[i];
		struct logprobs want;
		logprobs_compute(&want, logits + (size_t)(n + i - 1) * padded, tokens, t->token.id, top);
		ck_assert(t->token.logprob == want.token);
		ck_assert_uint_eq(t->ntop, want.top);
		ck_assert_uint_eq(t->offset, i); /* each token is a letter */
		ck_assert(t->token.len == 1 && !t->token.hidden && t->token.text[0] == c->text[i]);
		for (uint32_t k = 0; k < t->ntop; k++) {
			ck_assert_uint_eq(t->top[k].id, want.list[k].id);
			ck_assert(t->top[k].logprob == want.list[k].value);
		}
	}
	free(logits);
}

void client_expect(const struct client *c, const char *text, Caravan__Reason reason) {
	ck_assert_uint_eq(c->ends, 1);
	ck_assert_msg(!c->failed, "%s", c->error);
	ck_assert_msg(c->len == strlen(text) && memcmp(c->text, text, c->len) == 0, "\"%.*s\", not \"%s\"",
	        (int)c->len, c->text, text);
	ck_assert_int_eq(c->reason, reason);
}

struct waiting {
	const struct client *c;
	size_t len;
};

static bool has_text(void *arg) {
	const struct waiting *w = arg;
	return w->c->len >= w->len;
}

void serving_until_text(const struct client *c, size_t len) {
	struct waiting w = {c, len};
	ck_assert(sim_until(has_text, &w, 600000));
}

/* ---- bare nodes ---------------------------------------------------------------------------------- */

static Caravan__Step *copy_step(const Caravan__Step *s) {
	size_t len = caravan__step__get_packed_size(s);
	uint8_t *bytes = malloc(len + 1);
	caravan__step__pack(s, bytes);
	Caravan__Step *copy = caravan__step__unpack(NULL, len, bytes);
	free(bytes);
	return copy;
}

static void receive(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct serving_node *n = arg;
	struct received r = {
	        .kind = env->body_case, .from = *from, .payload = payload ? payload_len(payload) : 0};
	switch (env->body_case) {
	case CARAVAN__ENVELOPE__BODY_STEP:
		r.step = env->step->step;
		r.rows = env->step->rows;
		r.position = env->step->seqs[0]->position;
		r.whole = copy_step(env->step);
		break;
	case CARAVAN__ENVELOPE__BODY_STEP_ACK:
		r.step = env->step_ack->step;
		break;
	case CARAVAN__ENVELOPE__BODY_STEP_DONE:
		r.step = env->step_done->step;
		break;
	case CARAVAN__ENVELOPE__BODY_CANCEL_STEP:
		r.step = env->cancel_step->step;
		break;
	case CARAVAN__ENVELOPE__BODY_STEP_FAILED:
		r.step = env->step_failed->step;
		r.refused = env->step_failed->refused;
		snprintf(r.text, sizeof r.text, "%s", env->step_failed->reason);
		break;
	case CARAVAN__ENVELOPE__BODY_TOKENS:
		r.position = env->tokens->position;
		memcpy(&r.id, env->tokens->ids.data, sizeof r.id);
		break;
	case CARAVAN__ENVELOPE__BODY_FINISHED:
		r.reason = env->finished->reason;
		snprintf(r.text, sizeof r.text, "%s", env->finished->error);
		break;
	case CARAVAN__ENVELOPE__BODY_QUEUED:
		r.position = env->queued->place;
		break;
	case CARAVAN__ENVELOPE__BODY_LOGITS:
		r.position = env->logits->position;
		r.rows = env->logits->rows;
		break;
	case CARAVAN__ENVELOPE__BODY_LOGITS_TAKEN:
		r.id = env->logits_taken->rows;
		break;
	case CARAVAN__ENVELOPE__BODY_REFUSED:
		snprintf(r.text, sizeof r.text, "%s", env->refused->reason);
		r.id = env->refused->busy;
		break;
	default:
		break;
	}
	n->got = realloc(n->got, (n->ngot + 1) * sizeof *n->got);
	ck_assert_ptr_nonnull(n->got);
	struct received *kept = n->got[n->ngot++] = malloc(sizeof *kept);
	ck_assert_ptr_nonnull(kept);
	*kept = r;
}

size_t bare_count(unsigned node, Caravan__Envelope__BodyCase kind) {
	size_t n = 0;
	for (size_t i = 0; i < serving[node].ngot; i++)
		n += serving[node].got[i]->kind == kind;
	return n;
}

const struct received *bare_last(unsigned node, Caravan__Envelope__BodyCase kind) {
	for (size_t i = serving[node].ngot; i-- > 0;)
		if (serving[node].got[i]->kind == kind)
			return serving[node].got[i];
	return NULL;
}

static uint64_t send_from(unsigned node, unsigned to, Caravan__Envelope *env, struct payload *payload) {
	if (!env->ref)
		env->ref = peers_ref(serving[node].peers);
	ck_assert_int_eq(peers_send(serving[node].peers, id_of(to), PEERS_CONTROL, env, payload), 0);
	payload_unref(payload);
	return env->ref;
}

uint64_t bare_submit(
        unsigned node, unsigned to, const char *model, const uint32_t *ids, size_t n, uint32_t limit) {
	Caravan__Submit submit = CARAVAN__SUBMIT__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(SUBMIT, submit, &submit);
	Caravan__Sampling sampling = CARAVAN__SAMPLING__INIT;
	sampling.top_p = sampling.repeat_penalty = 1;
	submit.model = (char *)model;
	submit.prompt = (uint32_t)n;
	submit.limit = limit;
	submit.sampling = &sampling;
	return send_from(node, to, &env, payload_copy(ids, n * sizeof *ids));
}

uint64_t bare_submit_logits(
        unsigned node, unsigned to, const char *model, const uint32_t *ids, size_t n, uint32_t window) {
	Caravan__Submit submit = CARAVAN__SUBMIT__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(SUBMIT, submit, &submit);
	submit.model = (char *)model;
	submit.prompt = (uint32_t)n;
	submit.logits = true;
	submit.window = window;
	return send_from(node, to, &env, payload_copy(ids, n * sizeof *ids));
}

void bare_taken(unsigned node, unsigned to, uint64_t ref, uint32_t rows) {
	Caravan__LogitsTaken taken = CARAVAN__LOGITS_TAKEN__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(LOGITS_TAKEN, logits_taken, &taken);
	taken.rows = rows;
	env.ref = ref;
	send_from(node, to, &env, NULL);
}

void bare_cancel(unsigned node, unsigned to, uint64_t ref) {
	Caravan__Cancel cancel = CARAVAN__CANCEL__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CANCEL, cancel, &cancel);
	env.ref = ref;
	send_from(node, to, &env, NULL);
}

uint64_t bare_send_step(unsigned node, unsigned to, const struct bare_step *s) {
	const struct model *m = model_named(s->model);
	Caravan__Step step = CARAVAN__STEP__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STEP, step, &step);
	Caravan__StepSeq seq = CARAVAN__STEP_SEQ__INIT, *seqs[1] = {&seq};
	Caravan__Epoch epoch = m->epoch;
	uint32_t blocks[64], dim = m->manifest->hp.dim;
	uint32_t n = s->nblocks ? s->nblocks : (s->position + s->rows + KERN_KV_BLOCK - 1) / KERN_KV_BLOCK;
	for (uint32_t i = 0; i < n && i < 64; i++)
		blocks[i] = s->block + i;
	struct payload *x = payload_create(s->payload ? s->payload : (size_t)s->rows * dim * sizeof(float));
	memset(payload_data(x), 0, payload_len(x));
	if (s->tokens) {
		struct slice *ends = compute_slice(m->manifest, 0, 0);
		struct io_layers *e;
		ck_assert_int_eq(io_layers_create(&e, ends, NULL, s->rows), 0);
		ck_assert_int_eq(io_layers_embed(e, payload_data(x), s->tokens, s->rows), 0);
		io_layers_destroy(e);
		slice_destroy(ends);
	}
	epoch.counter -= s->older;
	seq.sequence = 1;
	seq.rows = s->rows;
	seq.position = s->position;
	seq.outputs = s->outputs;
	seq.blocks = (ProtobufCBinaryData){n * sizeof *blocks, (uint8_t *)blocks};
	step.epoch = &epoch;
	step.model = (char *)m->name;
	step.step = s->step;
	step.stage = s->stage;
	step.seqs = seqs;
	step.n_seqs = 1;
	step.rows = s->rows;
	return send_from(node, to, &env, x);
}

uint64_t bare_send_void(unsigned node, unsigned to, const char *model, uint64_t step) {
	struct model *m = model_named(model);
	Caravan__CancelStep v = CARAVAN__CANCEL_STEP__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CANCEL_STEP, cancel_step, &v);
	v.epoch = &m->epoch;
	v.model = m->name;
	v.step = step;
	return send_from(node, to, &env, NULL);
}

uint64_t bare_send_done(unsigned node, unsigned to, const char *model, uint64_t step, size_t bytes) {
	return bare_send_lost(node, to, model, step, bytes, NULL, 0);
}

uint64_t bare_send_lost(unsigned node, unsigned to, const char *model, uint64_t step, size_t bytes,
        const uint32_t *lost, size_t nlost) {
	struct model *m = model_named(model);
	Caravan__StepDone done = CARAVAN__STEP_DONE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STEP_DONE, step_done, &done);
	struct payload *x = bytes ? payload_create(bytes) : NULL;
	if (x)
		memset(payload_data(x), 0, bytes);
	done.epoch = &m->epoch;
	done.model = m->name;
	done.step = step;
	done.lost = wire_bytes(lost, nlost * sizeof *lost);
	return send_from(node, to, &env, x);
}

uint64_t bare_send_failed(
        unsigned node, unsigned to, const char *model, uint64_t step, bool refused, const char *why) {
	struct model *m = model_named(model);
	Caravan__StepFailed failed = CARAVAN__STEP_FAILED__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STEP_FAILED, step_failed, &failed);
	failed.epoch = &m->epoch;
	failed.model = m->name;
	failed.step = step;
	failed.refused = refused;
	failed.reason = (char *)why;
	return send_from(node, to, &env, NULL);
}

static void answer(
        unsigned node, const struct peers_from *asked, Caravan__Envelope *env, struct payload *payload) {
	ck_assert_int_eq(peers_answer(serving[node].peers, asked, env, payload), 0);
	payload_unref(payload);
}

void bare_send_tokens(unsigned node, const struct peers_from *asked, uint32_t position, uint32_t id) {
	Caravan__Tokens tokens = CARAVAN__TOKENS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(TOKENS, tokens, &tokens);
	Caravan__Epoch epoch = models[0].epoch;
	tokens.epoch = &epoch;
	tokens.position = position;
	tokens.ids = (ProtobufCBinaryData){sizeof id, (uint8_t *)&id};
	answer(node, asked, &env, NULL);
}

void bare_send_logprobs(unsigned node, const struct peers_from *asked, uint32_t position, uint32_t id,
        const uint32_t *top, uint32_t ntop) {
	Caravan__Tokens tokens = CARAVAN__TOKENS__INIT;
	Caravan__TokenLogprobs of = CARAVAN__TOKEN_LOGPROBS__INIT, *list[1] = {&of};
	Caravan__Envelope env = WIRE_ENVELOPE(TOKENS, tokens, &tokens);
	Caravan__Epoch epoch = models[0].epoch;
	struct logprob pairs[WIRE_TOP_LOGPROBS_MAX];
	for (uint32_t i = 0; i < ntop; i++)
		pairs[i] = (struct logprob){top[i], -2};
	of.logprob = -1;
	of.top = wire_bytes(pairs, ntop * sizeof *pairs);
	tokens.epoch = &epoch;
	tokens.position = position;
	tokens.ids = wire_bytes(&id, sizeof id);
	tokens.logprobs = list;
	tokens.n_logprobs = 1;
	answer(node, asked, &env, NULL);
}

void bare_send_finished(
        unsigned node, const struct peers_from *asked, Caravan__Reason reason, const char *error) {
	Caravan__Finished fin = CARAVAN__FINISHED__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(FINISHED, finished, &fin);
	fin.reason = reason;
	fin.error = (char *)error;
	answer(node, asked, &env, NULL);
}

void bare_send_queued(unsigned node, const struct peers_from *asked, uint32_t place) {
	Caravan__Queued queued = CARAVAN__QUEUED__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(QUEUED, queued, &queued);
	queued.place = place;
	answer(node, asked, &env, NULL);
}

void bare_send_progress(unsigned node, const struct peers_from *asked, uint64_t done, uint64_t total) {
	Caravan__Progress progress = CARAVAN__PROGRESS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PROGRESS, progress, &progress);
	progress.what = (char *)"prompt";
	progress.done = done;
	progress.total = total;
	answer(node, asked, &env, NULL);
}

void bare_send_logits(
        unsigned node, const struct peers_from *asked, uint32_t position, uint32_t rows, uint32_t vocab) {
	Caravan__Logits logits = CARAVAN__LOGITS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(LOGITS, logits, &logits);
	struct payload *data = payload_create((size_t)rows * vocab * sizeof(float));
	memset(payload_data(data), 0, payload_len(data));
	logits.position = position;
	logits.rows = rows;
	logits.vocab = vocab;
	answer(node, asked, &env, data);
}

void bare_acknowledge(unsigned node, const struct received *step) {
	Caravan__StepAck ack = CARAVAN__STEP_ACK__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(STEP_ACK, step_ack, &ack);
	ack.step = step->step;
	answer(node, &step->from, &env, NULL);
}
