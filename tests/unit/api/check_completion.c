/* Completions between the loop and the thread of the HTTP server, on virtual time: here both are loops of one thread, and a seed
 * chooses among what is due at once, so that every order of their messages comes up.  A client hears what the model says, in order,
 * and one end for each choice; nothing after it has let go; and then nothing of it is left anywhere. */
#include "daemon/api/completion.h"
#include "tests/sim/jobs.h"
#include "tests/unit/serve/serving.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GATEWAY = 0, COORDINATOR = 1 };

#define SUBMIT CARAVAN__ENVELOPE__BODY_SUBMIT
#define CANCEL CARAVAN__ENVELOPE__BODY_CANCEL

static struct loop *http;
static struct completions *all;

/* A client on the HTTP thread. */
struct caller {
	struct completion *c;
	struct {
		char text[COMPUTE_CONTEXT + 1];
		size_t len;
		struct completion_end end;
		unsigned ends, waiting, tokens;
		uint32_t prompt;
	} choice[COMPLETION_CHOICES_MAX];
	float embedding[COMPUTE_DIM];
	unsigned embeddings;
	unsigned ends, texts;
	unsigned leaves_after; /* texts; 0: it does not */
	bool left;
};
static struct caller a, b;

static void on_waiting(void *arg, unsigned choice, uint32_t place, uint64_t done, uint64_t total) {
	struct caller *w = arg;
	ck_assert(!w->left && w->choice[choice].ends == 0);
	ck_assert(place > 0 || done <= total);
	w->choice[choice].waiting++;
}

static void on_prompt(void *arg, unsigned choice, uint32_t tokens) {
	struct caller *w = arg;
	ck_assert(!w->left && w->choice[choice].prompt == 0 && w->choice[choice].len == 0);
	w->choice[choice].prompt = tokens;
}

/* A token is a letter, and comes before it. */
static void on_token(void *arg, unsigned choice, const struct token_logprobs *t) {
	struct caller *w = arg;
	ck_assert(!w->left && w->choice[choice].ends == 0);
	ck_assert_uint_eq(t->offset, w->choice[choice].tokens);
	ck_assert_uint_ge(t->offset, w->choice[choice].len);
	ck_assert(t->token.len == 1 && t->token.logprob < 0 && t->ntop == 3);
	ck_assert(t->top[0].len == 1 && t->top[0].logprob >= t->token.logprob);
	/* what comes must be this letter */
	w->choice[choice].text[t->offset] = t->token.text[0];
	w->choice[choice].tokens++;
}

static void on_text(void *arg, unsigned choice, const char *text, size_t len) {
	struct caller *w = arg;
	ck_assert(!w->left && w->choice[choice].ends == 0);
	if (w->choice[choice].tokens)
		ck_assert_mem_eq(w->choice[choice].text + w->choice[choice].len, text, len);
	memcpy(w->choice[choice].text + w->choice[choice].len, text, len);
	w->choice[choice].len += len;
	if (++w->texts == w->leaves_after) {
		w->left = true;
		completion_release(w->c);
	}
}

static void on_embedding(void *arg, const void *floats, size_t dim) {
	struct caller *w = arg;
	ck_assert(!w->left && w->ends == 0);
	ck_assert_uint_eq(dim, COMPUTE_DIM);
	memcpy(w->embedding, floats, sizeof w->embedding);
	w->embeddings++;
}

static void on_end(void *arg, unsigned choice, const struct completion_end *end) {
	struct caller *w = arg;
	ck_assert(!w->left && w->choice[choice].ends == 0);
	w->choice[choice].ends++;
	w->choice[choice].end = *end;
	w->ends++;
}

static Caravan__Sampling greedy(void) {
	const struct sampler_params g = serving_greedy();
	Caravan__Sampling s = CARAVAN__SAMPLING__INIT;
	s.temperature = g.temperature;
	s.top_k = g.top_k;
	s.top_p = g.top_p;
	s.min_p = g.min_p;
	s.repeat_penalty = g.repeat_penalty;
	return s;
}

static struct completion_params params_of(const char *prompt, uint32_t limit) {
	return (struct completion_params){.model = "m",
	        .text = prompt,
	        .len = prompt ? strlen(prompt) : 0,
	        .limit = limit,
	        .choices = 1,
	        .client = 7,
	        .sampling = greedy()};
}

static void start(struct caller *w, const struct completion_params *p) {
	unsigned leaves_after = w->leaves_after;
	memset(w, 0, sizeof *w);
	w->leaves_after = leaves_after;
	ck_assert_int_eq(completion_start(&w->c, all, p,
	                         &(struct completion_events){.prompt = on_prompt,
	                                 .waiting = on_waiting,
	                                 .token = p->logprobs ? on_token : NULL,
	                                 .text = on_text,
	                                 .embedding = on_embedding,
	                                 .end = on_end,
	                                 .arg = w}),
	        0);
	ck_assert_uint_eq(w->ends + w->texts, 0); /* nothing within the call */
}

static void leave(struct caller *w) {
	if (!w->left)
		completion_release(w->c);
	w->left = true;
}

static unsigned awaited;

static bool has_ended(void *arg) {
	return ((struct caller *)arg)->ends >= awaited;
}

static void until_end(struct caller *w, unsigned choices) {
	awaited = choices;
	ck_assert(sim_until(has_ended, w, 600000));
}

static bool has_text(void *arg) {
	return ((struct caller *)arg)->texts >= awaited;
}

static void begin_on(unsigned n, unsigned bare, uint64_t seed) {
	network_watch(NULL, NULL);
	a.leaves_after = b.leaves_after = 0;
	serving_begin(n, n + bare, seed);
	ck_assert_int_eq(loop_create(&http), 0);
	ck_assert_int_eq(completions_create(&all, serving[GATEWAY].loop, serving[GATEWAY].serve), 0);
	ck_assert_ptr_null(completions_models(all));
	ck_assert_int_eq(completions_attach(all, http), 0);
}

static void begin(uint64_t seed) {
	begin_on(2, 0, seed);
	serving_load(&(struct serving_spec){.coordinator = COORDINATOR, .stages = 1, .stage = {0}});
}

/* As a daemon ends: the HTTP server first, and it lets go of everything. */
static void end(void) {
	loop_destroy(http);
	completions_destroy(all);
	sim_for(0);
	serving_end();
}

static void expect_answer(const struct caller *w, unsigned choice, const char *want, Caravan__Reason reason) {
	ck_assert_msg(w->choice[choice].end.error.status == 0, "%s", w->choice[choice].end.error.text);
	ck_assert_msg(w->choice[choice].len == strlen(want) &&
	                      memcmp(w->choice[choice].text, want, w->choice[choice].len) == 0,
	        "\"%.*s\", not \"%s\"", (int)w->choice[choice].len, w->choice[choice].text, want);
	ck_assert_int_eq(w->choice[choice].end.reason, reason);
}

static void expect_error(const struct caller *w, int status, const char *word) {
	const struct completion_error *e = &w->choice[0].end.error;
	ck_assert_uint_eq(w->ends, 1);
	ck_assert_msg(e->status == status && strstr(e->text, word), "%d: %s", e->status, e->text);
	ck_assert((e->status == 503 || e->status == 429) == (e->retry_after > 0));
}

/* ---- answers ------------------------------------------------------------------------------------- */

START_TEST(an_answer) {
	begin((uint64_t)_i);
	struct completion_params p = params_of("once upon", 50);
	start(&a, &p);
	until_end(&a, 1);
	expect_answer(&a, 0, serving_answer("m", "once upon", 50, NULL), CARAVAN__REASON__LIMIT);
	uint32_t ids[COMPUTE_CONTEXT];
	ck_assert_uint_eq(a.choice[0].end.prompt, serving_encode("once upon", ids));
	ck_assert_uint_eq(a.choice[0].end.generated, 50);
	ck_assert_uint_eq(a.choice[0].prompt, a.choice[0].end.prompt);
	leave(&a);
	/* ids instead of text */
	p.text = NULL;
	p.ids = ids;
	p.nids = serving_encode("once upon", ids);
	start(&a, &p);
	until_end(&a, 1);
	expect_answer(&a, 0, serving_answer("m", "once upon", 50, NULL), CARAVAN__REASON__LIMIT);
	leave(&a);
	end();
}
END_TEST

/* Biases outlive the call that brought them. */
START_TEST(biased) {
	struct sampler_bias bias = {3 + 'b', 9};
	struct sampler_params sampling = serving_greedy();
	begin(0);
	struct completion_params p = params_of("once upon", 50);
	p.bias = sampling.bias = &bias;
	p.nbias = sampling.nbias = 1;
	start(&a, &p);
	bias.add = -9;
	until_end(&a, 1);
	bias.add = 9;
	expect_answer(&a, 0, serving_answer("m", "once upon", 50, &sampling), CARAVAN__REASON__LIMIT);
	ck_assert(a.choice[0].text[0] == 'b');
	leave(&a);
	end();
}
END_TEST

/* Of a text; and of the beginning of one that is too long, if it may be cut. */
START_TEST(an_embedding) {
	static uint32_t ids[COMPUTE_CONTEXT];
	static char text[300];
	float want[COMPUTE_DIM];
	begin((uint64_t)_i);
	for (size_t i = 0; i < sizeof text - 1; i++)
		text[i] = (char)('a' + i * i % 20);
	struct completion_params p = params_of("once upon", 0);
	p.embedding = true;
	start(&a, &p);
	until_end(&a, 1);
	expect_answer(&a, 0, "", CARAVAN__REASON__END);
	compute_embedding(serving_manifest("m"), ids, serving_encode("once upon", ids), want);
	ck_assert_uint_eq(a.embeddings, 1);
	ck_assert_mem_eq(a.embedding, want, sizeof want);
	leave(&a);
	ck_assert_uint_gt(serving_encode(text, ids), 256);
	p = params_of(text, 0);
	p.embedding = true;
	start(&a, &p);
	until_end(&a, 1);
	expect_error(&a, 400, "context");
	ck_assert(a.choice[0].end.error.too_long && a.embeddings == 0);
	leave(&a);
	p.cut = true;
	start(&a, &p);
	until_end(&a, 1);
	expect_answer(&a, 0, "", CARAVAN__REASON__END);
	compute_embedding(serving_manifest("m"), ids, 256, want);
	ck_assert_uint_eq(a.choice[0].end.prompt, 256);
	ck_assert_mem_eq(a.embedding, want, sizeof want);
	leave(&a);
	end();
}
END_TEST

/* Each with a seed of its own, one after the other from the one that was given. */
START_TEST(several_choices) {
	struct sampler_params s = serving_greedy();
	begin((uint64_t)_i);
	struct completion_params p = params_of("many", 30);
	p.choices = 5;
	p.sampling.temperature = s.temperature = 2;
	p.sampling.seed = 41;
	start(&a, &p);
	until_end(&a, 5);
	for (unsigned i = 0; i < 5; i++) {
		s.seed = 41 + i;
		expect_answer(&a, i, serving_answer("m", "many", 30, &s), CARAVAN__REASON__LIMIT);
	}
	ck_assert(strcmp(a.choice[0].text, a.choice[1].text) != 0);
	leave(&a);
	end();
}
END_TEST

/* Each choice gets its own tokens, before their text; a stop text takes its own away. */
START_TEST(log_probabilities) {
	char want[31], stop[4];
	begin((uint64_t)_i);
	snprintf(want, sizeof want, "%s", serving_answer("m", "many", 30, NULL));
	snprintf(stop, sizeof stop, "%.3s", want + 20);
	const struct text_stop stops[] = {{stop, 3}};
	struct completion_params p = params_of("many", 30);
	p.logprobs = true;
	p.top_logprobs = 3;
	p.choices = 3;
	p.sampling.temperature = 2;
	start(&a, &p);
	p.choices = 1;
	p.sampling.temperature = 0;
	p.stops = stops;
	p.nstops = 1;
	start(&b, &p);
	until_end(&a, 3);
	until_end(&b, 1);
	for (unsigned i = 0; i < 3; i++)
		ck_assert_uint_eq(a.choice[i].tokens, 30);
	*strstr(want, stop) = '\0';
	expect_answer(&b, 0, want, CARAVAN__REASON__STOP);
	ck_assert_uint_eq(b.choice[0].tokens, strlen(want));
	leave(&a);
	leave(&b);
	end();
}
END_TEST

START_TEST(stop_texts) {
	char want[201], stop[4];
	begin(1);
	snprintf(want, sizeof want, "%s", serving_answer("m", "stop", 200, NULL));
	snprintf(stop, sizeof stop, "%.3s", want + 40);
	*strstr(want, stop) = '\0';
	const struct text_stop stops[] = {{"never said", 10}, {stop, 3}};
	struct completion_params p = params_of("stop", 200);
	p.stops = stops;
	p.nstops = 2;
	start(&a, &p);
	until_end(&a, 1);
	expect_answer(&a, 0, want, CARAVAN__REASON__STOP);
	ck_assert_uint_eq(a.choice[0].end.stop, 2);
	leave(&a);
	end();
}
END_TEST

/* ---- clients that go ----------------------------------------------------------------------------- */

static bool is_idle(void *arg) {
	(void)arg;
	Caravan__ModelState s = serving_state("m");
	return s.sequences == 0 && s.queued == 0;
}

/* _i: the seed.  It goes at any time: before the loop has heard of it, in the middle, after the end; another one stays. */
START_TEST(clients_that_go) {
	char want[201];
	begin((uint64_t)_i + 1);
	snprintf(want, sizeof want, "%s", serving_answer("m", "stays", 200, NULL));
	struct completion_params p = params_of("goes", 200), q = params_of("stays", 200);
	p.choices = 1 + (uint32_t)_i % 3;
	start(&b, &q);
	for (unsigned round = 0; round < 20; round++) {
		a.leaves_after = round % 2 ? 1 + sim_below(60) : 0;
		start(&a, &p);
		if (round % 4 == 0)
			sim_for(sim_below(40));
		else if (round % 2)
			(void)sim_until(is_idle, NULL, sim_below(2000));
		leave(&a);
	}
	until_end(&b, 1);
	expect_answer(&b, 0, want, CARAVAN__REASON__LIMIT);
	leave(&b);
	ck_assert(sim_until(is_idle, NULL, 60000));
	end();
}
END_TEST

/* Of a long answer nothing more is computed once the client has gone, but for what is in the pipeline. */
START_TEST(cancelled_within_a_step) {
	begin(0);
	struct completion_params p = params_of("goes", 200);
	a.leaves_after = 10;
	start(&a, &p);
	awaited = 10;
	ck_assert(sim_until(has_text, &a, 600000));
	Caravan__ModelState s = serving_state("m");
	uint64_t steps = s.steps;
	ck_assert(sim_until(is_idle, NULL, 60000));
	sim_for(60000);
	s = serving_state("m");
	ck_assert_uint_le(s.steps, steps + 2);
	ck_assert_uint_eq(a.texts, 10);
	end();
}
END_TEST

/* _i: how long it has run when the daemon ends; the server's end makes the client let go, as its closed function does. */
START_TEST(the_daemon_ends) {
	begin(3);
	struct completion_params p = params_of("ends", 200);
	start(&a, &p);
	sim_for((uint64_t)_i * 7);
	bool client_first = _i % 2;
	if (client_first)
		leave(&a);
	start(&b, &p);
	leave(&a);
	leave(&b);
	end();
}
END_TEST

/* ---- errors -------------------------------------------------------------------------------------- */

START_TEST(errors) {
	uint32_t far[] = {1, 100000};
	char *longer = malloc(400);
	ck_assert_ptr_nonnull(longer);
	memset(longer, 'x', 399);
	longer[399] = '\0';
	begin(0);
	struct completion_params p = params_of("x", 5);
	p.model = "nobody";
	start(&a, &p);
	until_end(&a, 1);
	expect_error(&a, 404, "nobody");
	leave(&a);
	p = params_of(longer, 5);
	start(&a, &p);
	until_end(&a, 1);
	expect_error(&a, 400, "the context of model m is 256");
	ck_assert(a.choice[0].end.error.too_long);
	leave(&a);
	/* one that cannot fit is not even encoded */
	char *huge = malloc(1 << 20);
	ck_assert_ptr_nonnull(huge);
	memset(huge, 'x', 1 << 20);
	huge[(1 << 20) - 1] = '\0';
	p = params_of(huge, 5);
	start(&a, &p);
	until_end(&a, 1);
	expect_error(&a, 400, "the prompt has 1048575 bytes");
	ck_assert(a.choice[0].end.error.too_long);
	leave(&a);
	free(huge);
	p = params_of(NULL, 5);
	p.ids = far;
	p.nids = 2;
	start(&a, &p);
	until_end(&a, 1);
	expect_error(&a, 400, "token 100000 at position 1");
	leave(&a);
	const struct sampler_bias outside[] = {{5, 1}, {100000, 1}};
	p = params_of("x", 5);
	p.bias = outside;
	p.nbias = 2;
	start(&a, &p);
	until_end(&a, 1);
	expect_error(&a, 400, "token 100000 of logit_bias");
	leave(&a);
	/* what is lost in the middle, and is not there after that */
	p = params_of("middle", 200);
	start(&a, &p);
	awaited = 5;
	ck_assert(sim_until(has_text, &a, 600000));
	serving_close("m", CARAVAN__MODEL_PHASE__UNAVAILABLE, "the roof is gone");
	until_end(&a, 1);
	expect_error(&a, 503, "roof");
	leave(&a);
	p = params_of("x", 5);
	p.choices = 3;
	start(&a, &p);
	until_end(&a, 3);
	a.ends = 1;
	expect_error(&a, 503, "is not available");
	leave(&a);
	free(longer);
	end();
}
END_TEST

START_TEST(a_full_queue) {
	begin_on(1, 1, 0);
	serving_load(&(struct serving_spec){.coordinator = COORDINATOR, .stages = 1, .stage = {COORDINATOR}});
	struct completion_params p = params_of("x", 5);
	start(&a, &p);
	sim_for(1000);
	peers_refuse_busy(serving[COORDINATOR].peers, &bare_last(COORDINATOR, SUBMIT)->from, 12, "m is busy");
	until_end(&a, 1);
	expect_error(&a, 429, "busy");
	ck_assert_uint_eq(a.choice[0].end.error.retry_after, 12);
	leave(&a);
	/* it waits, and its client goes: the coordinator hears of it */
	start(&a, &p);
	sim_for(1000);
	bare_send_queued(COORDINATOR, &bare_last(COORDINATOR, SUBMIT)->from, 3);
	sim_for(1000);
	ck_assert_uint_eq(a.choice[0].waiting, 1);
	ck_assert_uint_eq(bare_count(COORDINATOR, CANCEL), 0);
	leave(&a);
	sim_for(1000);
	ck_assert_uint_eq(bare_count(COORDINATOR, CANCEL), 1);
	ck_assert_uint_eq(bare_last(COORDINATOR, CANCEL)->from.ref, bare_last(COORDINATOR, SUBMIT)->from.ref);
	end();
}
END_TEST

/* A part of an answer that no message can be made for: no answer with a hole. */
START_TEST(text_that_is_lost) {
	begin_on(1, 1, 0);
	serving_load(&(struct serving_spec){.coordinator = COORDINATOR, .stages = 1, .stage = {COORDINATOR}});
	struct completion_params p = params_of("x", 50);
	uint32_t ids[COMPUTE_CONTEXT], n = serving_encode("x", ids);
	start(&a, &p);
	sim_for(500);
	const struct peers_from from = bare_last(COORDINATOR, SUBMIT)->from;
	bare_send_tokens(COORDINATOR, &from, n, 3 + 'a');
	sim_for(500);
	ck_assert_uint_eq(a.texts, 1);
	bare_send_tokens(COORDINATOR, &from, n + 1, 3 + 'b');
	sim_refuse_posts(1);
	until_end(&a, 1);
	expect_error(&a, 500, "memory");
	bare_send_tokens(COORDINATOR, &from, n + 2, 3 + 'c');
	bare_send_finished(COORDINATOR, &from, CARAVAN__REASON__LIMIT, "");
	sim_for(500);
	ck_assert_uint_eq(a.ends, 1);
	ck_assert_uint_eq(a.texts, 1);
	leave(&a);
	end();
}
END_TEST

/* The same of a token: not even its text comes. */
START_TEST(a_token_that_is_lost) {
	begin_on(1, 1, 0);
	serving_load(&(struct serving_spec){.coordinator = COORDINATOR, .stages = 1, .stage = {COORDINATOR}});
	struct completion_params p = params_of("x", 50);
	uint32_t ids[COMPUTE_CONTEXT], n = serving_encode("x", ids);
	p.logprobs = true;
	p.top_logprobs = 3;
	start(&a, &p);
	sim_for(500);
	const struct peers_from from = bare_last(COORDINATOR, SUBMIT)->from;
	bare_send_logprobs(COORDINATOR, &from, n, 3 + 'a', NULL, 0);
	sim_refuse_posts(1);
	until_end(&a, 1);
	expect_error(&a, 500, "memory");
	sim_for(500);
	ck_assert_uint_eq(a.ends, 1);
	ck_assert_uint_eq(a.texts, 0);
	leave(&a);
	end();
}
END_TEST

/* ---- texts to tokens ----------------------------------------------------------------------------- */

static unsigned converted_texts;

static uint64_t count_job(struct loop *l, loop_fn *run, void *arg) {
	(void)run;
	(void)arg;
	converted_texts += l == serving[GATEWAY].loop;
	return 0;
}

static void begin_bare(void) {
	begin_on(1, 1, 0);
	serving_load(&(struct serving_spec){.coordinator = COORDINATOR, .stages = 1, .stage = {COORDINATOR}});
}

static void hold(bool held) {
	jobs_hold(serving[GATEWAY].loop, held);
}

/* However many choices: its tokens are found once; and not for a client that has gone. */
START_TEST(a_text_is_encoded_once) {
	begin_bare();
	struct completion_params p = params_of("once upon", 5);
	p.choices = 16;
	converted_texts = 0;
	jobs_cost(count_job);
	start(&a, &p);
	sim_for(1000);
	ck_assert_uint_eq(bare_count(COORDINATOR, SUBMIT), 16);
	ck_assert_uint_eq(converted_texts, 1);
	jobs_cost(NULL);
	leave(&a);
	hold(true);
	start(&a, &p);
	sim_for(1000);
	leave(&a);
	hold(false);
	sim_for(1000);
	ck_assert_uint_eq(bare_count(COORDINATOR, SUBMIT), 16);
	end();
}
END_TEST

/* While a text is encoded, the loop does other things. */
START_TEST(texts_are_encoded_beside_the_loop) {
	uint32_t ids[COMPUTE_CONTEXT];
	begin_bare();
	struct completion_params p = params_of("once upon", 5), q = params_of(NULL, 5);
	q.ids = ids;
	q.nids = serving_encode("x", ids);
	hold(true);
	start(&a, &p);
	sim_for(1000);
	ck_assert_uint_eq(bare_count(COORDINATOR, SUBMIT), 0);
	start(&b, &q);
	sim_for(1000);
	ck_assert_uint_eq(bare_count(COORDINATOR, SUBMIT), 1);
	hold(false);
	sim_for(1000);
	ck_assert_uint_eq(bare_count(COORDINATOR, SUBMIT), 2);
	ck_assert_uint_eq(a.choice[0].prompt, serving_encode("once upon", ids));
	leave(&a);
	leave(&b);
	end();
}
END_TEST

static uint64_t first_is_slow(struct loop *l, loop_fn *run, void *arg) {
	(void)run;
	(void)arg;
	return l == serving[GATEWAY].loop && converted_texts++ == 0 ? 10000000000 : 0;
}

/* Who sends long texts holds up nobody else. */
START_TEST(short_texts_do_not_wait_for_long_ones) {
	char *text = malloc(100001);
	ck_assert_ptr_nonnull(text);
	memset(text, 'x', 100000);
	text[100000] = '\0';
	begin_on(1, 1, 0);
	serving_load(&(struct serving_spec){
	        .coordinator = COORDINATOR, .stages = 1, .stage = {COORDINATOR}, .context = 1u << 20});
	struct completion_params p = params_of(text, 5), q = params_of("once upon", 5);
	converted_texts = 0;
	jobs_cost(first_is_slow);
	start(&a, &p);
	sim_for(1000);
	start(&b, &q);
	sim_for(1000);
	ck_assert_uint_eq(bare_count(COORDINATOR, SUBMIT), 1);
	sim_for(20000);
	ck_assert_uint_eq(bare_count(COORDINATOR, SUBMIT), 2);
	jobs_cost(NULL);
	leave(&a);
	leave(&b);
	free(text);
	end();
}
END_TEST

/* _i: another one of its name comes meanwhile, whose tokens may be others. */
START_TEST(a_model_that_goes_while_a_text_is_encoded) {
	begin_bare();
	struct completion_params p = params_of("once upon", 5);
	hold(true);
	start(&a, &p);
	sim_for(1000);
	serving_close("m", CARAVAN__MODEL_PHASE__UNLOADED, "");
	if (_i)
		serving_load(&(struct serving_spec){
		        .coordinator = COORDINATOR, .stages = 1, .stage = {COORDINATOR}});
	hold(false);
	until_end(&a, 1);
	if (_i)
		expect_error(&a, 503, "loaded anew");
	else
		expect_error(&a, 404, "no model m");
	ck_assert_uint_eq(bare_count(COORDINATOR, SUBMIT), 0);
	leave(&a);
	end();
}
END_TEST

/* _i: its client has let go before. */
START_TEST(the_daemon_ends_while_a_text_is_encoded) {
	begin_bare();
	struct completion_params p = params_of("once upon", 5);
	hold(true);
	start(&a, &p);
	start(&b, &p);
	sim_for(1000);
	leave(&a);
	if (_i)
		sim_for(1000);
	leave(&b);
	end();
}
END_TEST

/* No context is that long. */
START_TEST(a_text_beyond_every_context) {
	char *huge = malloc(COMPLETION_TEXT_MAX + 2);
	ck_assert_ptr_nonnull(huge);
	memset(huge, 'x', COMPLETION_TEXT_MAX + 1);
	huge[COMPLETION_TEXT_MAX + 1] = '\0';
	begin_on(1, 1, 0);
	serving_load(&(struct serving_spec){
	        .coordinator = COORDINATOR, .stages = 1, .stage = {COORDINATOR}, .context = 1u << 20});
	struct completion_params p = params_of(huge, 5);
	converted_texts = 0;
	jobs_cost(count_job);
	start(&a, &p);
	until_end(&a, 1);
	expect_error(&a, 400, "of at most 4194304");
	ck_assert_uint_eq(converted_texts, 0);
	jobs_cost(NULL);
	leave(&a);
	free(huge);
	end();
}
END_TEST

/* ---- conversions --------------------------------------------------------------------------------- */

struct converted {
	unsigned calls;
	uint32_t ids[64];
	size_t nids;
	char text[64];
	struct completion_error error;
};

static void on_converted(void *arg, const uint32_t *ids, size_t nids, const char *text, size_t len,
        const struct completion_error *error) {
	struct converted *v = arg;
	v->calls++;
	if (error) {
		v->error = *error;
		return;
	}
	v->nids = nids;
	memcpy(v->ids, ids, nids * sizeof *ids);
	snprintf(v->text, sizeof v->text, "%.*s", (int)len, text);
}

START_TEST(conversions) {
	struct converted v = {0};
	uint32_t ids[COMPUTE_CONTEXT], n;
	begin(5);
	n = serving_encode("hello world", ids);
	struct completion_conversion q = {
	        .model = "m", .text = "hello world", .len = 11, .bos = true, .done = on_converted, .arg = &v};
	ck_assert_ptr_nonnull(completion_convert(all, &q));
	ck_assert_uint_eq(v.calls, 0);
	sim_for(100);
	ck_assert_uint_eq(v.calls, 1);
	ck_assert_uint_eq(v.nids, n);
	ck_assert_mem_eq(v.ids, ids, n * sizeof *ids);
	/* and back, without the token that begins a text */
	q.text = NULL;
	q.ids = ids + 1;
	q.nids = n - 1;
	ck_assert_ptr_nonnull(completion_convert(all, &q));
	sim_for(100);
	ck_assert_str_eq(v.text, "hello world");
	/* one whose client goes, before or after it is done */
	v.calls = 0;
	completion_convert_drop(completion_convert(all, &q));
	sim_for(100);
	ck_assert_uint_eq(v.calls, 0);
	ids[1] = 100000;
	ck_assert_ptr_nonnull(completion_convert(all, &q));
	sim_for(100);
	ck_assert_int_eq(v.error.status, 400);
	end();
}
END_TEST

/* ---- models -------------------------------------------------------------------------------------- */

static const struct model_entry *find(const char *name, char *err) {
	static const struct model_alias aliases[] = {{"gpt-4o", "m"}, {"claude:latest", "other"}};
	return model_list_find(completions_models(all), aliases, 2, name, err, 300);
}

START_TEST(names) {
	char err[300] = "";
	begin(0);
	sim_for(2000);
	ck_assert_str_eq(find("m", err)->name, "m");
	ck_assert_str_eq(find("", err)->name, "m"); /* the only one */
	ck_assert_str_eq(find(NULL, err)->name, "m");
	ck_assert_str_eq(find("m:latest", err)->name, "m");
	ck_assert_str_eq(find("gpt-4o", err)->name, "m");
	ck_assert_str_eq(find("gpt-4o:latest", err)->name, "m");
	ck_assert_ptr_null(find("claude", err)); /* an alias for what is not there */
	ck_assert_ptr_null(find(":latest", err));
	ck_assert_ptr_null(find("m:7b", err));
	ck_assert_str_eq(err, "there is no model m:7b; there is: m, gpt-4o (which is m)");
	serving_load(&(struct serving_spec){
	        .name = "other", .coordinator = 0, .stages = 1, .stage = {1}, .number = 2});
	completions_models_changed(all);
	sim_for(0);
	ck_assert_str_eq(find("claude:latest", err)->name, "other");
	ck_assert_str_eq(find("claude", err)->name, "other");
	ck_assert_ptr_null(find("", err));
	ck_assert_str_eq(
	        err, "name a model; there is: m, other, gpt-4o (which is m), claude:latest (which is other)");
	const struct model_entry *m = find("m", err), *o = find("other", err);
	ck_assert(m->facts && o->facts && m->state == MODEL_SERVING);
	ck_assert_str_ne(m->facts->fingerprint, o->facts->fingerprint);
	ck_assert_str_eq(m->facts->bos, "<s>");
	ck_assert_str_eq(m->facts->known_template, "plain");
	end();
}
END_TEST

/* One that makes drafts is found by its name alone. */
START_TEST(draft_models) {
	char err[300] = "";
	begin_on(1, 0, 0);
	serving_load(&(struct serving_spec){
	        .name = "small", .coordinator = 0, .stages = 1, .stage = {0}, .number = 2});
	serving_load(&(struct serving_spec){
	        .name = "big", .coordinator = 0, .stages = 1, .stage = {0}, .draft = "small"});
	completions_models_changed(all);
	sim_for(0);
	ck_assert_str_eq(find("", err)->name, "big");
	ck_assert_str_eq(find("small", err)->name, "small");
	ck_assert_ptr_null(find("x", err));
	ck_assert_str_eq(err, "there is no model x; there is: big");
	serving_close("big", CARAVAN__MODEL_PHASE__UNAVAILABLE, "roof gone");
	completions_models_changed(all);
	sim_for(0);
	ck_assert_int_eq(find("big", err)->state, MODEL_UNAVAILABLE);
	ck_assert_str_eq(find("big", err)->what, "is not available: roof gone");
	end();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("completion");
	TCase *t = tcase_create("answers");
	tcase_add_loop_test(t, an_answer, 0, 10);
	tcase_add_test(t, biased);
	tcase_add_loop_test(t, an_embedding, 0, 5);
	tcase_add_loop_test(t, several_choices, 0, 10);
	tcase_add_test(t, stop_texts);
	tcase_add_loop_test(t, log_probabilities, 0, 3);
	suite_add_tcase(s, t);
	t = tcase_create("clients");
	tcase_add_loop_test(t, clients_that_go, 0, 30);
	tcase_add_test(t, cancelled_within_a_step);
	tcase_add_loop_test(t, the_daemon_ends, 0, 20);
	suite_add_tcase(s, t);
	t = tcase_create("errors");
	tcase_add_test(t, errors);
	tcase_add_test(t, a_full_queue);
	tcase_add_test(t, text_that_is_lost);
	tcase_add_test(t, a_token_that_is_lost);
	suite_add_tcase(s, t);
	t = tcase_create("texts");
	tcase_add_test(t, a_text_is_encoded_once);
	tcase_add_test(t, texts_are_encoded_beside_the_loop);
	tcase_add_test(t, short_texts_do_not_wait_for_long_ones);
	tcase_add_loop_test(t, a_model_that_goes_while_a_text_is_encoded, 0, 2);
	tcase_add_loop_test(t, the_daemon_ends_while_a_text_is_encoded, 0, 2);
	tcase_add_test(t, a_text_beyond_every_context);
	suite_add_tcase(s, t);
	t = tcase_create("models");
	tcase_add_test(t, conversions);
	tcase_add_test(t, names);
	tcase_add_test(t, draft_models);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
