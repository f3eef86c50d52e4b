/* rogue_plans: a member that makes plans of its own: nonsense to prepare, lies about models, and, once a node has
 * prepared a stage for it, steps that would read and write where they should not. */
#include "config.h"

#include "tests/tools/rogue.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCKS 4
#define ROWS 64 /* of a step at most */

static uint8_t nowhere[32] = {1, 2, 3};

/* A plan with the rogue as coordinator and the target as its only stage. */
struct made {
	Caravan__Plan plan;
	Caravan__Stage stage[2], *stages[2];
	Caravan__Epoch epoch;
};

static void plan_make(struct rogue *r, struct made *m) {
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	caravan__plan__init(&m->plan);
	caravan__epoch__init(&m->epoch);
	ProtobufCBinaryData self = {32, r->keys.public.b};
	for (size_t i = 0; i < 2; i++) {
		caravan__stage__init(&m->stage[i]);
		m->stages[i] = &m->stage[i];
	}
	m->stage[0].node = r->target->node;
	m->stage[0].last = r->plan->stages[r->plan->n_stages - 1]->last;
	m->epoch.counter = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
	m->epoch.node = self;
	m->plan.model = (char *)"evil";
	m->plan.manifest = r->plan->manifest;
	m->plan.vocab = r->plan->vocab;
	m->plan.epoch = &m->epoch;
	m->plan.coordinator = self;
	m->plan.stages = m->stages;
	m->plan.n_stages = 1;
	m->plan.context = r->plan->context;
	m->plan.parallel = 1;
	m->plan.blocks = BLOCKS;
	m->plan.max_rows = ROWS;
	m->plan.arithmetic = r->plan->arithmetic;
}

static void prepare(struct rogue *r, struct made *m) {
	Caravan__Prepare p = CARAVAN__PREPARE__INIT;
	p.plan = &m->plan;
	/* the nodes of the model that serves: together they have all its tensors */
	ProtobufCBinaryData sources[WIRE_STAGES_MAX];
	for (size_t i = 0; i < r->plan->n_stages; i++)
		sources[p.n_sources++] = r->plan->stages[i]->node;
	p.sources = sources;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_PREPARE, &p, NULL, 0);
}

/* Past the Progress messages to what comes of a Prepare. */
static void prepare_end(struct rogue *r) {
	Caravan__Envelope *e;
	while ((e = rogue_next(r, ROGUE_WAIT_MS, NULL, NULL)) &&
	        e->body_case == CARAVAN__ENVELOPE__BODY_PROGRESS)
		caravan__envelope__free_unpacked(e, NULL);
	if (!e)
		printf("nothing\n");
	else if (e->body_case == CARAVAN__ENVELOPE__BODY_REFUSED)
		printf("%s: %s\n", e->ref ? "refused" : "lost", e->refused->reason);
	else
		printf("%s\n", e->body_case == CARAVAN__ENVELOPE__BODY_READY ? "ready" : "something else");
	caravan__envelope__free_unpacked(e, NULL);
	rogue_ping(r);
}

#define PREPARE_CASE(name, spoil) \
	static void name(struct rogue *r) { \
		struct made m; \
		plan_make(r, &m); \
		spoil; \
		prepare(r, &m); \
		prepare_end(r); \
	}

PREPARE_CASE(prepare_good, )
PREPARE_CASE(prepare_other, m.plan.coordinator = m.epoch.node = r->target->node)
PREPARE_CASE(prepare_foreign, m.epoch.node = r->target->node)
PREPARE_CASE(prepare_stranger, m.stage[0].node.data = nowhere)
PREPARE_CASE(prepare_twice, (m.plan.n_stages = 2, m.stage[1] = m.stage[0], m.stage[1].first = m.stage[0].last,
                                    m.stage[1].last = m.stage[1].first + 1))
PREPARE_CASE(prepare_arithmetic, m.plan.arithmetic += 1000)
PREPARE_CASE(prepare_layers, m.stage[0].last = 60000)
PREPARE_CASE(prepare_few_layers, m.stage[0].last = 1)
PREPARE_CASE(prepare_late, m.stage[0].first = 1)
PREPARE_CASE(prepare_huge_layer, m.stage[0].last = UINT32_MAX)
PREPARE_CASE(prepare_no_stage, m.plan.n_stages = 0)
PREPARE_CASE(prepare_blocks, m.plan.blocks = UINT32_MAX)
PREPARE_CASE(prepare_rows, m.plan.max_rows = UINT32_MAX)
PREPARE_CASE(prepare_context, m.plan.context = UINT32_MAX)
PREPARE_CASE(prepare_manifest, m.plan.manifest.data = nowhere)
PREPARE_CASE(prepare_vocab, m.plan.vocab = m.plan.manifest)
PREPARE_CASE(prepare_taken, m.plan.model = r->plan->model)
PREPARE_CASE(prepare_name, m.plan.model = (char *)"a\nb")
PREPARE_CASE(prepare_epoch, m.epoch.counter = UINT64_MAX)

/* ---- news --------------------------------------------------------------------------------------------- */

static void news(struct rogue *r, struct made *m, Caravan__ModelPhase phase) {
	Caravan__PlanAnnounce n = CARAVAN__PLAN_ANNOUNCE__INIT;
	n.plan = &m->plan;
	n.phase = phase;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_PLAN, &n, NULL, 0);
}

#define NEWS_CASE(name, phase, spoil) \
	static void name(struct rogue *r) { \
		struct made m; \
		plan_make(r, &m); \
		spoil; \
		news(r, &m, phase); \
	}

static ProtobufCBinaryData third(const struct rogue *r) {
	for (size_t i = 0; i < r->plan->n_stages; i++)
		if (memcmp(r->plan->stages[i]->node.data, r->target->node.data, 32) != 0)
			return r->plan->stages[i]->node;
	rogue_die("the model serves on no other node");
}

NEWS_CASE(
        news_other, CARAVAN__MODEL_PHASE__UNLOADED, m.plan.coordinator = m.epoch.node = r->plan->coordinator)
/* the very plan that serves, number and all, but for who coordinates it */
NEWS_CASE(news_epoch, CARAVAN__MODEL_PHASE__UNLOADED,
        (m.plan.model = r->plan->model, m.epoch.counter = r->plan->epoch->counter,
                m.epoch.node = r->plan->epoch->node))
NEWS_CASE(news_taken, CARAVAN__MODEL_PHASE__UNLOADED, m.plan.model = r->plan->model)
NEWS_CASE(news_phase, (Caravan__ModelPhase)99, )
NEWS_CASE(news_lie, CARAVAN__MODEL_PHASE__SERVING, m.plan.manifest.data = nowhere)
/* A model on another node than the one that hears of it: that one knows nothing of it. */
NEWS_CASE(news_third, CARAVAN__MODEL_PHASE__SERVING, m.stage[0].node = third(r))
NEWS_CASE(news_over, CARAVAN__MODEL_PHASE__UNLOADED, )

static void news_flood(struct rogue *r) {
	char name[32];
	struct made m;
	for (int over = 0; over < 2; over++) {
		for (int i = 0; i < 1000; i++) {
			plan_make(r, &m);
			snprintf(name, sizeof name, "evil%d", i);
			m.plan.model = name;
			news(r, &m,
			        over ? CARAVAN__MODEL_PHASE__UNLOADED : CARAVAN__MODEL_PHASE__UNAVAILABLE);
		}
		for (int i = over; i < 1000; i++) /* the last answer is the outcome */
			caravan__envelope__free_unpacked(rogue_next(r, ROGUE_WAIT_MS, NULL, NULL), NULL);
	}
}

/* The highest counter that an epoch may have, seen and gone again. */
static void news_last(struct rogue *r) {
	struct made m;
	plan_make(r, &m);
	m.plan.model = (char *)"last";
	m.epoch.counter = (uint64_t)1 << 53;
	news(r, &m, CARAVAN__MODEL_PHASE__UNAVAILABLE);
	news(r, &m, CARAVAN__MODEL_PHASE__UNLOADED);
}

static void unload_unknown(struct rogue *r) {
	Caravan__Unload u = CARAVAN__UNLOAD__INIT;
	u.model = (char *)"ghost";
	rogue_send(r, CARAVAN__ENVELOPE__BODY_UNLOAD, &u, NULL, 0);
}

/* ---- steps -------------------------------------------------------------------------------------------- */

struct step {
	struct made made;
	Caravan__Step step;
	Caravan__StepSeq seq[300], *seqs[300];
	uint32_t block[300][8];
	float *x;
	size_t len; /* of the payload */
};

/* The manifest, for the width of a row. */
static void manifest_fetch(struct rogue *r) {
	Caravan__Fetch f = CARAVAN__FETCH__INIT;
	char err[200];
	void *data = NULL;
	size_t len = 0;
	f.name = r->plan->manifest;
	f.length = WIRE_BLOCK_MAX;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_FETCH, &f, NULL, 0);
	Caravan__Envelope *e = rogue_next(r, ROGUE_WAIT_MS, &len, &data);
	if (!e || e->body_case != CARAVAN__ENVELOPE__BODY_BLOCK ||
	        manifest_decode(&r->manifest, data, len, err, sizeof err) != 0)
		rogue_die("the target did not give its manifest");
	caravan__envelope__free_unpacked(e, NULL);
	free(data);
}

/* A stage at the target, and a step that it would take: a row of one sequence. */
static struct step *step_make(struct rogue *r) {
	struct step *s = calloc(1, sizeof *s);
	Caravan__Envelope *e;
	if (!s)
		rogue_die("no memory");
	manifest_fetch(r);
	plan_make(r, &s->made);
	prepare(r, &s->made);
	while ((e = rogue_next(r, ROGUE_WAIT_MS, NULL, NULL)) &&
	        e->body_case == CARAVAN__ENVELOPE__BODY_PROGRESS)
		caravan__envelope__free_unpacked(e, NULL);
	if (!e || e->body_case != CARAVAN__ENVELOPE__BODY_READY)
		rogue_die(e && e->body_case == CARAVAN__ENVELOPE__BODY_REFUSED ? e->refused->reason
		                                                               : "no stage was prepared");
	caravan__envelope__free_unpacked(e, NULL);
	caravan__step__init(&s->step);
	s->step.epoch = &s->made.epoch;
	s->step.model = s->made.plan.model;
	s->step.step = 1;
	s->step.rows = 1;
	s->step.n_seqs = 1;
	s->step.seqs = s->seqs;
	for (size_t i = 0; i < 300; i++) {
		caravan__step_seq__init(&s->seq[i]);
		s->seqs[i] = &s->seq[i];
		s->seq[i].sequence = i + 1;
		s->seq[i].rows = 1;
		s->seq[i].outputs = 1;
		s->seq[i].blocks = (ProtobufCBinaryData){4, (uint8_t *)s->block[i]};
	}
	s->len = r->manifest->hp.dim * sizeof(float);
	s->x = calloc(WIRE_ROWS_MAX, s->len);
	if (!s->x)
		rogue_die("no memory");
	for (size_t i = 0; i < WIRE_ROWS_MAX * (s->len / sizeof(float)); i++)
		s->x[i] = (float)(i % 7) * 0.125f - 0.3f;
	return s;
}

static void step_rows(struct step *s, uint32_t rows) { /* of the first sequence */
	s->seq[0].rows = s->step.rows = rows;
	s->len *= rows;
}

static void step_send(struct rogue *r, struct step *s) {
	rogue_send(r, CARAVAN__ENVELOPE__BODY_STEP, &s->step, s->len ? s->x : NULL, s->len);
	free(s->x);
	free(s);
}

#define STEP_CASE(name, spoil) \
	static void name(struct rogue *r) { \
		struct step *s = step_make(r); \
		spoil; \
		step_send(r, s); \
	}
#define TABLE(seq_, n) s->seq[seq_].blocks.len = (n) * sizeof(uint32_t)

STEP_CASE(step_good, step_rows(s, 5))
STEP_CASE(step_block, s->block[0][0] = BLOCKS)
STEP_CASE(step_block_max, s->block[0][0] = UINT32_MAX)
STEP_CASE(step_second_block, (TABLE(0, 2), s->seq[0].position = 64, s->block[0][1] = 1 << 20))
STEP_CASE(step_overlap, (s->step.n_seqs = 2, s->step.rows = 2, s->len *= 2))
STEP_CASE(step_read_written, (s->step.n_seqs = 2, s->step.rows = 2, s->len *= 2, TABLE(1, 2),
                                     s->seq[1].position = 64, s->block[1][0] = 0, s->block[1][1] = 1))
STEP_CASE(step_itself, (TABLE(0, 2), s->seq[0].position = 64))
STEP_CASE(step_few_blocks, (s->seq[0].position = 64))
STEP_CASE(step_no_blocks, TABLE(0, 0))
STEP_CASE(step_odd_blocks, s->seq[0].blocks.len = 3)
STEP_CASE(step_many_blocks, TABLE(0, 8); memset(s->block[0], 0, sizeof s->block[0]); s->seq[0].blocks.len = 0;
          s->seq[0].blocks.data = (uint8_t *)s->block; TABLE(0, 2000))
STEP_CASE(step_position, s->seq[0].position = UINT32_MAX)
STEP_CASE(step_too_many_rows, (step_rows(s, ROWS + 1), TABLE(0, 2), s->block[0][1] = 1))
STEP_CASE(step_no_rows, s->seq[0].rows = s->step.rows = 0)
STEP_CASE(step_wrong_sum, (s->step.rows = 3, s->len *= 3))
STEP_CASE(step_huge_sum, (s->step.n_seqs = 2, s->seq[0].rows = UINT32_MAX, s->seq[1].rows = 2))
STEP_CASE(step_outputs, s->seq[0].outputs = UINT32_MAX)
STEP_CASE(step_many_seqs, (s->step.n_seqs = 257, s->step.rows = 257, s->len *= 257))
STEP_CASE(step_short, s->len -= 4)
STEP_CASE(step_long, s->len += 4)
STEP_CASE(step_half, (step_rows(s, 2), s->len /= 2))
STEP_CASE(step_no_payload, s->len = 0)
STEP_CASE(step_stage, s->step.stage = 1)
STEP_CASE(step_stage_max, s->step.stage = UINT32_MAX)
STEP_CASE(step_epoch, s->made.epoch.counter++)
STEP_CASE(step_number_zero, s->step.step = 0)
STEP_CASE(step_model, s->step.model = (char *)"ghost")
STEP_CASE(step_infinite, s->x[3] = INFINITY)
STEP_CASE(step_nan, s->x[0] = NAN)
STEP_CASE(step_enormous, for (size_t i = 0; i < s->len / 4; i++) s->x[i] = 3e38f)

static void step_again(struct rogue *r) {
	struct step *s = step_make(r);
	s->step.step = 7;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_STEP, &s->step, s->x, s->len);
	rogue_outcome(r);
	step_send(r, s);
}

/* Into the pipeline of another's model, of which the rogue is no stage. */
static void step_foreign(struct rogue *r) {
	struct step *s = step_make(r);
	s->step.epoch = r->plan->epoch;
	s->step.model = r->plan->model;
	s->step.step = 1000000;
	for (size_t i = 0; i < r->plan->n_stages; i++)
		if (memcmp(r->plan->stages[i]->node.data, r->id.b, 32) == 0)
			s->step.stage = (uint32_t)i;
	step_send(r, s);
}

static void done_foreign(struct rogue *r) {
	static float x[64];
	Caravan__StepDone d = CARAVAN__STEP_DONE__INIT;
	d.epoch = r->plan->epoch;
	d.model = r->plan->model;
	d.step = 1;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_STEP_DONE, &d, x, sizeof x);
}

static void failed_foreign(struct rogue *r) {
	Caravan__StepFailed f = CARAVAN__STEP_FAILED__INIT;
	f.epoch = r->plan->epoch;
	f.model = r->plan->model;
	f.reason = (char *)"because";
	for (f.step = 1; f.step < 2000; f.step++)
		rogue_send(r, CARAVAN__ENVELOPE__BODY_STEP_FAILED, &f, NULL, 0);
	rogue_ping(r);
}

/* ---- generations -------------------------------------------------------------------------------------- */

static void submit(struct rogue *r, const char *model, uint32_t prompt, uint32_t limit, const uint32_t *ids,
        size_t n, Caravan__Sampling *sampling) {
	Caravan__Submit s = CARAVAN__SUBMIT__INIT;
	s.model = (char *)model;
	s.prompt = prompt;
	s.limit = limit;
	s.sampling = sampling;
	rogue_send(r, CARAVAN__ENVELOPE__BODY_SUBMIT, &s, ids, n * sizeof *ids);
}

static const uint32_t zeros[20000];

static void submit_good(struct rogue *r) {
	static const uint32_t ids[] = {1, 2, 3};
	submit(r, r->plan->model, 3, 1, ids, 3, NULL);
}

static void submit_vocab(struct rogue *r) {
	static const uint32_t ids[] = {1, 1000000000, 3};
	submit(r, r->plan->model, 3, 1, ids, 3, NULL);
}

static void submit_long(struct rogue *r) {
	submit(r, r->plan->model, 20000, 1, zeros, 20000, NULL);
}

static void submit_short(struct rogue *r) {
	submit(r, r->plan->model, 100, 1, zeros, 3, NULL);
}

static void submit_model(struct rogue *r) {
	submit(r, "ghost", 1, 1, zeros, 1, NULL);
}

static void submit_nan(struct rogue *r) {
	Caravan__Sampling s = CARAVAN__SAMPLING__INIT;
	s.temperature = NAN;
	submit(r, r->plan->model, 1, 1, zeros, 1, &s);
}

static void submit_flood(struct rogue *r) {
	for (int i = 0; i < 5000; i++)
		submit(r, r->plan->model, 2, 0, zeros, 2, NULL);
}

static void cancel_all(struct rogue *r) {
	Caravan__Cancel c = CARAVAN__CANCEL__INIT;
	for (int i = 0; i < 200; i++)
		rogue_send(r, CARAVAN__ENVELOPE__BODY_CANCEL, &c, NULL, 0);
	rogue_ping(r);
}

const struct rogue_case rogue_plans[] = {
        {"prepare", prepare_good, false},
        {"prepare-other", prepare_other, false},
        {"prepare-foreign", prepare_foreign, false},
        {"prepare-stranger", prepare_stranger, false},
        {"prepare-twice", prepare_twice, false},
        {"prepare-arithmetic", prepare_arithmetic, false},
        {"prepare-layers", prepare_layers, false},
        {"prepare-few-layers", prepare_few_layers, false},
        {"prepare-late", prepare_late, false},
        {"prepare-huge-layer", prepare_huge_layer, false},
        {"prepare-no-stage", prepare_no_stage, false},
        {"prepare-blocks", prepare_blocks, false},
        {"prepare-rows", prepare_rows, false},
        {"prepare-context", prepare_context, false},
        {"prepare-manifest", prepare_manifest, false},
        {"prepare-vocab", prepare_vocab, false},
        {"prepare-taken", prepare_taken, false},
        {"prepare-name", prepare_name, false},
        {"prepare-epoch", prepare_epoch, false},
        {"news-other", news_other, false},
        {"news-epoch", news_epoch, false},
        {"news-taken", news_taken, false},
        {"news-phase", news_phase, false},
        {"news-lie", news_lie, false},
        {"news-third", news_third, false},
        {"news-over", news_over, false},
        {"news-flood", news_flood, false},
        {"news-last", news_last, false},
        {"unload-unknown", unload_unknown, false},
        {"step", step_good, false},
        {"step-block", step_block, false},
        {"step-block-max", step_block_max, false},
        {"step-second-block", step_second_block, false},
        {"step-overlap", step_overlap, false},
        {"step-read-written", step_read_written, false},
        {"step-itself", step_itself, false},
        {"step-few-blocks", step_few_blocks, false},
        {"step-no-blocks", step_no_blocks, false},
        {"step-odd-blocks", step_odd_blocks, false},
        {"step-many-blocks", step_many_blocks, false},
        {"step-position", step_position, false},
        {"step-too-many-rows", step_too_many_rows, false},
        {"step-no-rows", step_no_rows, false},
        {"step-wrong-sum", step_wrong_sum, false},
        {"step-huge-sum", step_huge_sum, false},
        {"step-outputs", step_outputs, false},
        {"step-many-seqs", step_many_seqs, false},
        {"step-short", step_short, false},
        {"step-long", step_long, false},
        {"step-half", step_half, false},
        {"step-no-payload", step_no_payload, false},
        {"step-stage", step_stage, false},
        {"step-stage-max", step_stage_max, false},
        {"step-epoch", step_epoch, false},
        {"step-number-zero", step_number_zero, false},
        {"step-model", step_model, false},
        {"step-infinite", step_infinite, false},
        {"step-nan", step_nan, false},
        {"step-enormous", step_enormous, false},
        {"step-again", step_again, false},
        {"step-foreign", step_foreign, false},
        {"done-foreign", done_foreign, false},
        {"failed-foreign", failed_foreign, false},
        {"submit", submit_good, false},
        {"submit-vocab", submit_vocab, false},
        {"submit-long", submit_long, false},
        {"submit-short", submit_short, false},
        {"submit-model", submit_model, false},
        {"submit-nan", submit_nan, false},
        {"submit-flood", submit_flood, false},
        {"cancel-all", cancel_all, false},
        {NULL, NULL, false},
};
