/* The whole way of a prompt on virtual time: gateway, coordinator, stages and back; and what becomes of it when clients, links
 * and nodes go.  What is right is what compute_answer says, which knows nothing of steps. */
#include "daemon/serve/stage/expert_state.h"
#include "tests/unit/serve/serving.h"
#include "tests/unit/text/text_vocab.h"

#include <check.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS = 12, PROMPT = 250 };
static struct client c[CLIENTS];

static void setup(void) {
	compute_cost(100000, 20000);
	compute_ends(0, 0);
	compute_fail(0, 0);
	network_watch(NULL, NULL);
}

static void teardown(void) {
	for (int i = 0; i < CLIENTS; i++) {
		c[i].after = 0;
		client_free(&c[i]);
	}
	serving_end();
}

/* Every block of the model can be had, and nothing of it is under way. */
static void expect_idle(const char *model) {
	Caravan__ModelState s = serving_state(model);
	ck_assert_uint_eq(s.blocks_free, s.blocks);
	ck_assert_uint_eq(s.window_blocks_free, s.window_blocks);
	ck_assert_uint_eq(s.sequences, 0);
	ck_assert_uint_eq(s.queued, 0);
	ck_assert_uint_eq(s.in_flight, 0);
}

/* as tokens */
enum { LETTER_B = 3 + 'b', LETTER_E = 3 + 'e' };

static const char *prompt_of(unsigned which, size_t len) {
	static char text[PROMPT];
	ck_assert_uint_lt(len, sizeof text);
	for (size_t i = 0; i < len; i++)
		text[i] = (char)('a' + (i * i + which * 7 + i / 5) % 20);
	text[len] = 0;
	return text;
}

/* A job takes up to 3 ms. */
static uint64_t any_cost(struct loop *l, loop_fn *run, void *arg) {
	(void)l;
	(void)run;
	(void)arg;
	return sim_below(3000000);
}

/* ---- the way of a prompt ------------------------------------------------------------------------- */

static const struct serving_spec shapes[] = {
        {.coordinator = 0, .stages = 1, .stage = {0}},
        {.coordinator = 0, .stages = 1, .stage = {1}},
        {.coordinator = 0, .stages = 2, .stage = {1, 2}},
        {.coordinator = 0, .stages = 2, .stage = {0, 1}, .cut = {1}},
        {.coordinator = 0, .stages = 2, .stage = {1, 0}, .cut = {3}},
        {.coordinator = 2, .stages = 3, .stage = {0, 1, 3}, .max_rows = 16},
        {.coordinator = 0, .stages = 4, .stage = {0, 1, 2, 3}, .kv = KERN_KV_Q8_0},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

/* Whoever has which part, asked at whatever node, in whatever order events come: the model's text. */
START_TEST(a_prompt_through_all_stages) {
	const struct serving_spec *shape = &shapes[_i % SHAPES];
	serving_begin(4, 4, (uint64_t)(_i / SHAPES));
	serving_load(shape);
	/* its figures are sent before it is announced, by who has them */
	for (unsigned node = 0; node < 4; node++)
		ck_assert_uint_eq(serving[node].heartbeats, node == shape->coordinator);
	for (unsigned node = 0; node < 4; node++)
		client_ask(
		        &c[node], &(struct ask){.node = node, .prompt = "a house in the hills", .limit = 40});
	serving_settle();
	const char *want = serving_answer("m", "a house in the hills", 40, NULL);
	ck_assert_uint_eq(strlen(want), 40);
	for (unsigned node = 0; node < 4; node++) {
		client_expect(&c[node], want, CARAVAN__REASON__LIMIT);
		ck_assert_uint_eq(c[node].generated, 40);
	}
	expect_idle("m");
}
END_TEST

/* Prompts of any length, in chunks of any size, alone and together. */
START_TEST(chunks_and_batches) {
	static const uint32_t rows[] = {1, 7, 64, 200};
	static const size_t lens[] = {1, 30, 63, 64, 65, 150, 190};
	serving_begin(3, 3, (uint64_t)_i);
	serving_load(&(struct serving_spec){.coordinator = 0,
	        .stages = 2,
	        .stage = {1, 2},
	        .max_rows = rows[_i],
	        .parallel = 5,
	        .blocks = 40});
	for (unsigned i = 0; i < 7; i++)
		client_ask(&c[i], &(struct ask){.node = i % 3, .prompt = prompt_of(i, lens[i]), .limit = 25});
	serving_settle();
	for (unsigned i = 0; i < 7; i++)
		client_expect(
		        &c[i], serving_answer("m", prompt_of(i, lens[i]), 25, NULL), CARAVAN__REASON__LIMIT);
	ck_assert(rows[_i] == 1 || serving_state("m").step_sequences_max > 1);
	/* who waits for a long prompt hears how far it is */
	ck_assert(rows[_i] > 150 || c[5].progress > 0);
	expect_idle("m");
}
END_TEST

START_TEST(sampled_answers) {
	struct sampler_params p;
	char first[64];
	sampler_params_default(&p);
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	for (unsigned i = 0; i < 4; i++) {
		p.seed = i;
		p.temperature = 1.5f;
		p.repeat_penalty = 1 + (float)i / 10;
		client_ask(
		        &c[i], &(struct ask){.node = i % 3, .prompt = "once", .limit = 50, .sampling = &p});
	}
	serving_settle();
	for (unsigned i = 0; i < 4; i++) {
		p.seed = i;
		p.repeat_penalty = 1 + (float)i / 10;
		client_expect(&c[i], serving_answer("m", "once", 50, &p), CARAVAN__REASON__LIMIT);
	}
	snprintf(first, sizeof first, "%.*s", (int)c[0].len, c[0].text);
	ck_assert_str_ne(first, serving_answer("m", "once", 50, NULL));
	expect_idle("m");
}
END_TEST

/* An output with more rows than the vocabulary has tokens, and a temperature at which each second one drawn from all would be
 * such a row. */
START_TEST(padded_outputs) {
	struct sampler_params p;
	sampler_params_default(&p);
	p.temperature = 3;
	p.top_k = 0;
	p.top_p = 1;
	p.min_p = 0;
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}, .padding = 8000});
	for (unsigned i = 0; i < 4; i++) {
		p.seed = i;
		client_ask(
		        &c[i], &(struct ask){.node = i % 3, .prompt = "once", .limit = 30, .sampling = &p});
	}
	serving_settle();
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(c[i].ends, 1);
		ck_assert_msg(!c[i].failed, "%s", c[i].error);
		ck_assert_uint_gt(c[i].generated, 3);
	}
	expect_idle("m");
}
END_TEST

static void expect_embedding(const struct client *who, const char *prompt) {
	uint32_t ids[COMPUTE_CONTEXT], n = serving_encode(prompt, ids);
	float want[COMPUTE_DIM];
	compute_embedding(serving_manifest("m"), ids, n, want);
	client_expect(who, "", CARAVAN__REASON__END);
	ck_assert_uint_eq(who->embeddings, 1);
	ck_assert_uint_eq(who->prompt, n);
	ck_assert_uint_eq(who->cached, 0);
	ck_assert_mem_eq(who->embedding, want, sizeof want);
}

/* The same bytes in chunks of any size, alone and among others, whatever the prefix cache has. */
START_TEST(embeddings) {
	static const uint32_t rows[] = {1, 7, 64, 200};
	static const size_t lens[] = {1, 30, 63, 64, 65, 150, 190};
	serving_begin(3, 3, (uint64_t)_i);
	serving_load(&(struct serving_spec){.coordinator = 0,
	        .stages = 1 + (unsigned)_i % 2,
	        .stage = {1, 2},
	        .max_rows = rows[_i],
	        .parallel = 5,
	        .blocks = 60});
	for (unsigned round = 0; round < 2; round++) { /* in the second, the cache has all blocks */
		for (unsigned i = 0; i < 7; i++) {
			client_ask(&c[i],
			        &(struct ask){
			                .node = i % 3, .prompt = prompt_of(i, lens[i]), .embedding = true});
			if (i < 5)
				client_ask(&c[7 + i], &(struct ask){.node = i % 3,
				                              .prompt = prompt_of(i + 2, lens[i + 2]),
				                              .limit = 25});
		}
		serving_settle();
		for (unsigned i = 0; i < 7; i++)
			expect_embedding(&c[i], prompt_of(i, lens[i]));
		for (unsigned i = 0; i < 5; i++)
			client_expect(&c[7 + i], serving_answer("m", prompt_of(i + 2, lens[i + 2]), 25, NULL),
			        CARAVAN__REASON__LIMIT);
	}
	ck_assert(rows[_i] == 1 || serving_state("m").step_sequences_max > 1);
	ck_assert_uint_gt(serving_state("m").prefix_tokens, 0);
	expect_idle("m");
}
END_TEST

/* What an embedding computed is in the prefix cache. */
START_TEST(an_embedding_fills_the_cache) {
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	client_ask(&c[0], &(struct ask){.node = 1, .prompt = prompt_of(3, 150), .embedding = true});
	serving_settle();
	expect_embedding(&c[0], prompt_of(3, 150));
	client_ask(&c[1], &(struct ask){.node = 1, .prompt = prompt_of(3, 150), .limit = 20});
	serving_settle();
	client_expect(&c[1], serving_answer("m", prompt_of(3, 150), 20, NULL), CARAVAN__REASON__LIMIT);
	ck_assert_uint_eq(c[1].cached, 128);
	expect_idle("m");
}
END_TEST

/* A client that goes leaves nothing; a full context is enough for an embedding. */
START_TEST(embeddings_that_end) {
	char err[WIRE_TEXT_MAX] = "";
	struct request_events ev = client_events(&c[1]);
	uint32_t ids[COMPUTE_CONTEXT];
	struct request_params p = {.model = "m", .ids = ids, .embedding = true};
	float want[COMPUTE_DIM];
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	client_ask(&c[0], &(struct ask){.node = 1, .prompt = prompt_of(3, 190), .embedding = true});
	sim_for(8);
	ck_assert_uint_eq(c[0].embeddings, 0);
	ck_assert_uint_eq(serving_state("m").sequences, 1);
	request_cancel(c[0].request);
	c[0].request = NULL;
	serving_settle();
	ck_assert_uint_eq(c[0].embeddings, 0);
	expect_idle("m");
	for (size_t i = 0; i < 257; i++)
		ids[i] = COMPUTE_FIRST + (uint32_t)(i * i % 11);
	caravan__sampling__init(&p.sampling);
	for (p.nids = 256; p.nids <= 257; p.nids++) {
		int rc = request_start(
		        &c[1].request, serve_requests(serving[2].serve), &p, &ev, err, sizeof err);
		ck_assert_int_eq(rc, p.nids == 256 ? 0 : -EMSGSIZE);
	}
	ck_assert(strstr(err, "257 tokens") && !strstr(err, "leaves none"));
	serving_settle();
	compute_embedding(serving_manifest("m"), ids, 256, want);
	ck_assert_uint_eq(c[1].embeddings, 1);
	ck_assert_mem_eq(c[1].embedding, want, sizeof want);
	expect_idle("m");
}
END_TEST

/* A coordinator of an older version is not asked. */
START_TEST(embeddings_of_an_older_coordinator) {
	char err[WIRE_TEXT_MAX] = "";
	struct request_events ev = client_events(&c[0]);
	struct request_params p = {.model = "m", .text = "a house", .len = 7, .embedding = true};
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 1, .stage = {1}});
	caravan__sampling__init(&p.sampling);
	serving_minor(2, 0, 2);
	ck_assert_int_eq(
	        request_start(&c[0].request, serve_requests(serving[2].serve), &p, &ev, err, sizeof err),
	        -EPROTONOSUPPORT);
	ck_assert(strstr(err, "attic") && strstr(err, "makes no embeddings"));
	serving_minor(2, 0, 3);
	ck_assert_int_eq(
	        request_start(&c[0].request, serve_requests(serving[2].serve), &p, &ev, err, sizeof err), 0);
	serving_settle();
	expect_embedding(&c[0], "a house");
	expect_idle("m");
}
END_TEST

/* _i: without windows, and with */
START_TEST(a_known_beginning_is_not_computed_again) {
	char longer[PROMPT + 20];
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0,
	        .stages = 2,
	        .stage = {1, 2},
	        .window = _i ? 70 : 0,
	        .window_blocks = _i ? 20 : 0});
	snprintf(longer, sizeof longer, "%s and more", prompt_of(3, 150));
	uint64_t before = compute_rows();
	client_ask(
	        &c[0], &(struct ask){.node = 1, .prompt = prompt_of(3, 150), .limit = 20, .undrafted = true});
	serving_settle();
	uint64_t first = compute_rows() - before;
	client_ask(
	        &c[1], &(struct ask){.node = 0, .prompt = prompt_of(3, 150), .limit = 20, .undrafted = true});
	serving_settle();
	uint64_t again = compute_rows() - before - first;
	client_ask(&c[2], &(struct ask){.node = 2, .prompt = longer, .limit = 20, .undrafted = true});
	serving_settle();
	/* two full blocks of 64 positions, in each of four layers */
	ck_assert_uint_eq(first - again, 128 * SERVING_LAYERS);
	ck_assert_uint_eq(serving_state("m").prefix_tokens, 256);
	client_expect(&c[0], serving_answer("m", prompt_of(3, 150), 20, NULL), CARAVAN__REASON__LIMIT);
	client_expect(&c[1], c[0].text, CARAVAN__REASON__LIMIT);
	client_expect(&c[2], serving_answer("m", longer, 20, NULL), CARAVAN__REASON__LIMIT);
	/* one that is asked for by many at once is computed once */
	before = compute_rows();
	for (unsigned i = 3; i < 7; i++)
		client_ask(&c[i],
		        &(struct ask){.node = 0, .prompt = prompt_of(9, 190), .limit = 1, .undrafted = true});
	serving_settle();
	ck_assert_uint_lt(compute_rows() - before, 2 * 190 * SERVING_LAYERS);
	for (unsigned i = 3; i < 7; i++)
		client_expect(&c[i], serving_answer("m", prompt_of(9, 190), 1, NULL), CARAVAN__REASON__LIMIT);
	expect_idle("m");
}
END_TEST

/* The same where steps are over in another order than they were made in: one without outputs sooner than one before it, whose
 * tokens are being picked. */
START_TEST(a_beginning_that_came_among_others) {
	serving_begin(3, 3, 0);
	jobs_cost(any_cost);
	serving_load(&(struct serving_spec){
	        .coordinator = 0, .stages = 2, .stage = {1, 2}, .blocks = 64, .max_rows = 40});
	uint32_t ids[COMPUTE_CONTEXT];
	for (unsigned round = 0; round < 10; round++) {
		client_ask(&c[0], &(struct ask){.node = 1,
		                          .prompt = prompt_of(40 + round, 20),
		                          .limit = 100,
		                          .undrafted = true});
		serving_until_text(&c[0], 5);
		client_ask(&c[1],
		        &(struct ask){
		                .node = 0, .prompt = prompt_of(round, 190), .limit = 20, .undrafted = true});
		serving_settle();
		uint64_t found = serving_state("m").prefix_tokens;
		client_ask(&c[2],
		        &(struct ask){
		                .node = 0, .prompt = prompt_of(round, 190), .limit = 20, .undrafted = true});
		serving_settle();
		ck_assert_uint_eq(serving_state("m").prefix_tokens - found, 128);
		client_expect(
		        &c[1], serving_answer("m", prompt_of(round, 190), 20, NULL), CARAVAN__REASON__LIMIT);
		ck_assert_uint_eq(c[1].cached, 0);
		ck_assert_uint_eq(c[2].cached, 128);
		ck_assert_uint_eq(c[2].prompt, serving_encode(prompt_of(round, 190), ids));
		client_expect(&c[2], c[1].text, CARAVAN__REASON__LIMIT);
	}
	jobs_cost(NULL);
}
END_TEST

/* Memory for two sequences only: what is kept for its contents is evicted, and written anew. */
START_TEST(blocks_are_used_again) {
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}, .blocks = 7});
	for (unsigned round = 0; round < 6; round++) {
		for (unsigned i = 0; i < 3; i++)
			client_ask(&c[i],
			        &(struct ask){
			                .node = i, .prompt = prompt_of(round * 2 + i, 140), .limit = 60});
		serving_settle();
		for (unsigned i = 0; i < 3; i++)
			client_expect(&c[i], serving_answer("m", prompt_of(round * 2 + i, 140), 60, NULL),
			        CARAVAN__REASON__LIMIT);
		expect_idle("m");
	}
}
END_TEST

/* ---- biases -------------------------------------------------------------------------------------- */

/* Not sent to a coordinator that would ignore them, nor more than a message has; an id outside the vocabulary is refused. */
START_TEST(biases_that_cannot_be_had) {
	static struct sampler_bias bias[WIRE_BIASES_MAX + 1];
	struct request_events ev = client_events(&c[1]);
	char err[WIRE_TEXT_MAX];
	struct request_params p = {
	        .model = "m", .text = "hello", .len = 5, .limit = 5, .bias = bias, .nbias = 1};
	struct sampler_params all = serving_greedy();
	caravan__sampling__init(&p.sampling);
	p.sampling.top_p = p.sampling.repeat_penalty = 1;
	serving_begin(2, 2, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 1, .stage = {0}});
	struct requests *rs = serve_requests(serving[1].serve);
	serving_minor(1, 0, 2);
	ck_assert_int_eq(request_start(&c[1].request, rs, &p, &ev, err, sizeof err), -EPROTONOSUPPORT);
	ck_assert_msg(strstr(err, "attic") && strstr(err, "older version that knows no biases"), "%s", err);
	serving_minor(1, 0, 3);
	p.nbias = WIRE_BIASES_MAX + 1;
	ck_assert_int_eq(request_start(&c[1].request, rs, &p, &ev, err, sizeof err), -E2BIG);
	ck_assert_msg(strstr(err, "301 tokens have biases"), "%s", err);
	p.nbias = WIRE_BIASES_MAX - 2; /* three tokens end a text */
	p.ignore_end = true;
	ck_assert_int_eq(request_start(&c[1].request, rs, &p, &ev, err, sizeof err), -E2BIG);
	ck_assert_msg(strstr(err, "301 tokens have biases, with those that end an answer"), "%s", err);
	serving_minor(1, 0, 2);
	p.nbias = 0;
	ck_assert_int_eq(request_start(&c[1].request, rs, &p, &ev, err, sizeof err), -EPROTONOSUPPORT);
	serving_minor(1, 0, 3);
	all.bias = bias;
	all.nbias = WIRE_BIASES_MAX;
	for (uint32_t i = 0; i < WIRE_BIASES_MAX; i++)
		bias[i] = (struct sampler_bias){LETTER_B, 0.0625f};
	client_ask(&c[0], &(struct ask){.node = 1, .prompt = "hello", .limit = 5, .sampling = &all});
	serving_settle();
	client_expect(&c[0], "bbbbb", CARAVAN__REASON__LIMIT);
	bias[WIRE_BIASES_MAX - 1].id = 100000;
	client_ask(&c[0], &(struct ask){.node = 1, .prompt = "hello", .limit = 5, .sampling = &all});
	serving_settle();
	ck_assert_uint_eq(c[0].ends, 1);
	ck_assert_msg(strstr(c[0].error, "token 100000, which has a bias, is outside"), "%s", c[0].error);
	expect_idle("m");
}
END_TEST

/* A client's own bias for such a token does not count, its other ones do. */
START_TEST(answers_that_do_not_end) {
	static const char *const names[] = {"</s>", "<|eot_id|>", "<|end|>"};
	struct small_vocab *v = small_spm();
	struct sampler_bias own[2] = {{LETTER_B, 2.5f}, {small_find(v, names[_i]), 100}}, never[4] = {own[0]};
	struct sampler_params p = serving_greedy(), want = p;
	for (unsigned i = 0; i < 3; i++)
		never[1 + i] = (struct sampler_bias){small_find(v, names[i]), SAMPLER_BIAS_NEVER};
	free(v);
	p.bias = own;
	p.nbias = 2;
	want.bias = never;
	want.nbias = 4;
	serving_begin(2, 2, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 1, .stage = {0}});
	for (unsigned node = 0; node < 2; node++)
		for (unsigned ignored = 0; ignored < 2; ignored++) {
			client_ask(&c[0], &(struct ask){.node = node,
			                          .prompt = "hello",
			                          .limit = 30,
			                          .sampling = &p,
			                          .ignore_end = ignored});
			serving_settle();
			client_expect(&c[0], ignored ? serving_answer("m", "hello", 30, &want) : "",
			        ignored ? CARAVAN__REASON__LIMIT : CARAVAN__REASON__END);
		}
	expect_idle("m");
}
END_TEST

/* ---- log-probabilities --------------------------------------------------------------------------- */

/* From one node or three, beside others, with any settings: those of the model's own distribution, over the tokens that there are. */
START_TEST(logprobs_are_the_models) {
	static const struct sampler_bias bias[] = {{LETTER_B, 2.5f}, {LETTER_E, SAMPLER_BIAS_NEVER}};
	struct sampler_params p[4];
	unsigned others = 0;
	for (unsigned i = 0; i < 4; i++) {
		sampler_params_default(&p[i]);
		p[i].seed = i;
	}
	p[0] = serving_greedy();
	p[1].temperature = 1.5f;
	p[2].repeat_penalty = 1.5f;
	p[3].bias = bias;
	p[3].nbias = 2;
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){
	        .coordinator = 0, .stages = _i ? 2 : 1, .stage = {_i, 2}, .padding = 8000});
	for (unsigned i = 0; i < 4; i++)
		client_ask(&c[i], &(struct ask){.node = i % 3,
		                          .prompt = prompt_of(i, 70),
		                          .limit = 40,
		                          .sampling = &p[i],
		                          .logprobs = true,
		                          .top = 20 - 5 * i});
	serving_settle();
	for (unsigned i = 0; i < 4; i++) {
		client_expect_logprobs(&c[i], "m", prompt_of(i, 70), 20 - 5 * i);
		double sum = 0;
		for (unsigned k = 0; k < c[i].ntokens; k++, sum = 0) {
			const struct token_logprobs *t = c[i].token[k];
			for (uint32_t j = 0; j < t->ntop; j++)
				sum += exp((double)t->top[j].logprob);
			ck_assert(sum <= 1 + 1e-6 && sum > 0);
			ck_assert(i > 0 || t->top[0].id == t->token.id); /* greedy: the most likely one */
			others += t->top[0].id != t->token.id;
		}
	}
	ck_assert_uint_gt(others, 0);
	expect_idle("m");
}
END_TEST

START_TEST(logprobs_of_an_older_coordinator) {
	struct request_events ev = client_events(&c[1]);
	char err[WIRE_TEXT_MAX];
	struct request_params p = {.model = "m", .text = "hello", .len = 5, .limit = 5, .logprobs = true};
	caravan__sampling__init(&p.sampling);
	p.sampling.top_p = p.sampling.repeat_penalty = 1;
	serving_begin(2, 2, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 1, .stage = {0}});
	serving_minor(1, 0, 3);
	ck_assert_int_eq(
	        request_start(&c[1].request, serve_requests(serving[1].serve), &p, &ev, err, sizeof err),
	        -EPROTONOSUPPORT);
	ck_assert_msg(strstr(err, "attic") && strstr(err, "older version that knows no log-probabilities"),
	        "%s", err);
	serving_minor(1, 0, 4);
	client_ask(
	        &c[0], &(struct ask){.node = 1, .prompt = "hello", .limit = 5, .logprobs = true, .top = 20});
	serving_settle();
	client_expect_logprobs(&c[0], "m", "hello", 20);
	expect_idle("m");
}
END_TEST

/* ---- drafts -------------------------------------------------------------------------------------- */

/* Far ahead_begin and cheap to compute: drafts pay.  _i: without, from the text, with a smaller model; sampled in odd runs; from 6 on with
 * biases, and with a smaller model somebody goes in the middle. */
START_TEST(drafts_change_nothing) {
	static const struct sampler_bias bias[] = {{LETTER_B, 2.5f}, {LETTER_E, SAMPLER_BIAS_NEVER}};
	struct sampler_params p = serving_greedy();
	bool biased = _i >= 6, smaller = _i % 6 >= 4, undrafted = _i % 6 < 2;
	unsigned es = 0;
	if (_i % 2) {
		sampler_params_default(&p);
		p.seed = (uint64_t)_i;
	}
	const struct sampler_params unbiased = p;
	if (biased) {
		p.bias = bias;
		p.nbias = 2;
	}
	serving_begin(3, 3, (uint64_t)_i);
	network_delay(NULL, NULL, 8000000);
	if (smaller)
		serving_load(&(struct serving_spec){
		        .name = "m-draft", .coordinator = 0, .stages = 1, .stage = {0}, .number = 2});
	serving_load(&(struct serving_spec){
	        .coordinator = 0, .stages = 2, .stage = {1, 2}, .draft = smaller ? "m-draft" : ""});
	for (unsigned round = 0; round < 3; round++) {
		unsigned n = round + 1;
		for (unsigned i = 0; i < n; i++)
			client_ask(&c[i], &(struct ask){.node = i,
			                          .prompt = prompt_of(round * 4 + i, 20 + 10 * i),
			                          .limit = 150,
			                          .model = "m",
			                          .sampling = &p,
			                          .logprobs = i != 1,
			                          .top = 10 * i,
			                          .undrafted = undrafted});
		c[3].after = 20 + round;
		if (biased && smaller)
			client_ask(&c[3], &(struct ask){.prompt = prompt_of(round * 4, 20),
			                          .limit = 150,
			                          .model = "m",
			                          .sampling = &p});
		serving_settle();
		for (unsigned i = 0; i < n; i++) {
			client_expect(&c[i],
			        serving_answer("m", prompt_of(round * 4 + i, 20 + 10 * i), 150, &p),
			        CARAVAN__REASON__LIMIT);
			ck_assert(!biased || !memchr(c[i].text, 'e', c[i].len));
			if (i != 1)
				client_expect_logprobs(
				        &c[i], "m", prompt_of(round * 4 + i, 20 + 10 * i), 10 * i);
			else
				ck_assert_uint_eq(c[i].ntokens, 0);
			es += strchr(serving_answer(
			                     "m", prompt_of(round * 4 + i, 20 + 10 * i), 150, &unbiased),
			              'e') != NULL;
		}
	}
	ck_assert_uint_gt(es, 0);
	Caravan__ModelState s = serving_state("m");
	if (undrafted) {
		ck_assert_uint_eq(s.drafted, 0);
	} else {
		ck_assert_uint_gt(s.accepted, biased ? 50 : 100);
		ck_assert_uint_gt(s.drafted, s.accepted + 20); /* some were wrong */
		ck_assert_uint_lt(s.steps, s.tokens);
	}
	expect_idle("m");
	/* tokens that a step brings together share its time: none comes after nothing; drafts are nobody's answers */
	uint64_t asked = 1 + 2 + 3 + (biased && smaller ? 3 : 0);
	ck_assert_uint_eq(s.first_token->count, asked);
	ck_assert_uint_eq(s.inter_token->count, s.tokens - asked);
	ck_assert_double_gt(s.hour->inter_token->p50, 0.001);
	if (smaller) {
		s = serving_state("m-draft");
		ck_assert_uint_gt(s.steps, 50);
		ck_assert_ptr_null(s.first_token);
		ck_assert_ptr_null(s.inter_token);
		ck_assert(s.hour->tokens_per_second == 0 && s.hour->prompt_tokens_per_second == 0);
		expect_idle("m-draft");
	}
}
END_TEST

/* The tokens of a text, with what the model answered to it, begin another prompt: what the first left in the KV blocks is what it
 * should be, drafts or not. */
static void expect_blocks_of(const char *model, unsigned bare, const char *prompt, uint32_t answer,
        const struct sampler_params *sampling) {
	struct sampler_params greedy = serving_greedy();
	static uint32_t ids[COMPUTE_CONTEXT], want[8];
	uint32_t n = serving_encode(prompt, ids);
	n += compute_answer(serving_manifest("m"), ids, n, sampling, ids + n, answer);
	uint64_t found = serving_state(model).prefix_tokens;
	size_t had = bare_count(bare, CARAVAN__ENVELOPE__BODY_TOKENS), at = 0;
	bare_submit(bare, 0, model, ids, n - 1, 8);
	serving_settle();
	ck_assert_uint_eq(compute_answer(serving_manifest(model), ids, n - 1, &greedy, want, 8), 8);
	ck_assert_uint_eq(bare_count(bare, CARAVAN__ENVELOPE__BODY_TOKENS), had + 8);
	for (size_t i = 0; i < serving[bare].ngot; i++) {
		const struct received *r = serving[bare].got[i];
		if (r->kind != CARAVAN__ENVELOPE__BODY_TOKENS || at++ < had)
			continue;
		ck_assert_uint_eq(r->position, n - 1 + at - 1 - had);
		ck_assert_uint_eq(r->id, want[at - 1 - had]);
	}
	ck_assert_uint_ge(serving_state(model).prefix_tokens - found, 128);
}

/* Four stages, jobs of any length, several steps of drafts under way at once, of which some are wrong and some cancelled on their
 * way; _i: one to three texts, and from 6 on with a smaller model; odd: with windows. */
START_TEST(drafts_in_any_order) {
	unsigned n = 1 + (unsigned)_i % 3;
	const uint32_t window = _i % 2 ? 90 : 0, window_blocks = _i % 2 ? 20 : 0;
	struct sampler_params p;
	Caravan__NodeState state = CARAVAN__NODE_STATE__INIT;
	uint64_t skipped = 0;
	sampler_params_default(&p);
	p.seed = 5;
	p.temperature = 0.3f;
	p.frequency_penalty = 0.1f; /* so that a row depends on the text as it was when it was made */
	serving_begin(5, 6, (uint64_t)_i + 1);
	network_delay(NULL, NULL, 6000000);
	jobs_cost(any_cost);
	compute_cost(0, 2000);
	if (_i >= 6)
		serving_load(&(struct serving_spec){.name = "m-draft",
		        .coordinator = 0,
		        .stages = 1,
		        .stage = {0},
		        .number = 2,
		        .window = window,
		        .window_blocks = window_blocks,
		        .blocks = 64});
	serving_load(&(struct serving_spec){.coordinator = 0,
	        .stages = 4,
	        .stage = {1, 2, 3, 4},
	        .window = window,
	        .window_blocks = window_blocks,
	        .blocks = 64,
	        .draft = _i >= 6 ? "m-draft" : ""});
	for (unsigned i = 0; i < n; i++)
		client_ask(&c[i], &(struct ask){.node = i,
		                          .prompt = prompt_of(i, 20 + 10 * i),
		                          .limit = 200,
		                          .model = "m",
		                          .sampling = &p});
	serving_settle();
	for (unsigned i = 0; i < n; i++)
		client_expect(&c[i], serving_answer("m", prompt_of(i, 20 + 10 * i), 200, &p),
		        CARAVAN__REASON__LIMIT);
	Caravan__ModelState s = serving_state("m");
	ck_assert_uint_gt(s.accepted, 50);
	ck_assert_uint_gt(s.drafted, s.accepted + 10);
	ck_assert(n == 3 || s.in_flight_max > n); /* drafts behind drafts that were not back */
	serve_state(serving[4].serve, &state);
	for (size_t i = 0; i < state.n_stages; i++)
		skipped += state.stages[i]->skipped;
	ck_assert(n == 1 || skipped > 5);
	expect_idle("m");
	for (unsigned i = 0; i < n; i++)
		expect_blocks_of("m", 5, prompt_of(i, 20 + 10 * i), 200, &p);
	expect_idle("m");
	if (_i >= 6) {
		expect_idle("m-draft");
		expect_blocks_of("m-draft", 5, prompt_of(0, 20), 200, &p);
		expect_idle("m-draft");
	}
	jobs_cost(NULL);
}
END_TEST

/* A smaller model whose tokens are other words makes no drafts. */
START_TEST(a_draft_model_of_other_words) {
	serving_begin(3, 3, 0);
	network_delay(NULL, NULL, 8000000);
	serving_load(&(struct serving_spec){.name = "m-draft",
	        .coordinator = 0,
	        .stages = 1,
	        .stage = {0},
	        .number = 2,
	        .other_words = _i});
	serving_load(
	        &(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}, .draft = "m-draft"});
	client_ask(&c[0], &(struct ask){.node = 0, .prompt = "a river", .model = "m", .limit = 100});
	serving_settle();
	client_expect(&c[0], serving_answer("m", "a river", 100, NULL), CARAVAN__REASON__LIMIT);
	ck_assert_int_eq(serving_state("m-draft").steps == 0, _i);
	expect_idle("m");
}
END_TEST

/* The smaller model has been trained for less context: its drafts end, the answer goes on. */
START_TEST(a_draft_model_of_less_context) {
	serving_begin(3, 3, 0);
	network_delay(NULL, NULL, 8000000);
	serving_load(&(struct serving_spec){
	        .name = "m-draft", .coordinator = 0, .stages = 1, .stage = {0}, .number = 2});
	serving_load(&(struct serving_spec){.coordinator = 0,
	        .stages = 2,
	        .stage = {1, 2},
	        .context = 1024,
	        .blocks = 64,
	        .draft = "m-draft"});
	client_ask(&c[0], &(struct ask){.node = 0, .prompt = "a river", .model = "m", .limit = 600});
	serving_settle();
	client_expect(&c[0], serving_answer("m", "a river", 600, NULL), CARAVAN__REASON__LIMIT);
	ck_assert_uint_gt(serving_state("m-draft").steps, 50);
	expect_idle("m");
	expect_idle("m-draft");
}
END_TEST

/* The smaller model goes, while its drafts are awaited. */
START_TEST(a_draft_model_that_goes) {
	serving_begin(3, 3, 0);
	network_delay(NULL, NULL, 8000000);
	serving_load(&(struct serving_spec){
	        .name = "m-draft", .coordinator = 0, .stages = 1, .stage = {0}, .number = 2});
	serving_load(
	        &(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}, .draft = "m-draft"});
	client_ask(&c[0], &(struct ask){.node = 0, .prompt = "a river", .model = "m", .limit = 200});
	serving_until_text(&c[0], 30 + (size_t)_i);
	ck_assert_uint_gt(serving_state("m-draft").sequences, 0);
	ck_assert_uint_eq(serving_state("m-draft").streams_total, 0); /* a draft is no stream */
	ck_assert_uint_gt(serving_state("m").streams[0]->drafted, 0);
	serving_unload("m-draft");
	client_ask(&c[1], &(struct ask){.node = 0, .prompt = "another", .model = "m", .limit = 20});
	serving_settle();
	client_expect(&c[1], serving_answer("m", "another", 20, NULL), CARAVAN__REASON__LIMIT);
	client_expect(&c[0], serving_answer("m", "a river", 200, NULL), CARAVAN__REASON__LIMIT);
	expect_idle("m");
}
END_TEST

/* ---- how a text ends ----------------------------------------------------------------------------- */

START_TEST(it_ends_where_the_model_ends_it) {
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	compute_ends(30, 2);
	for (unsigned i = 0; i < 6; i++)
		client_ask(&c[i], &(struct ask){.node = 1, .prompt = prompt_of(i, 9), .limit = 200});
	serving_settle();
	for (unsigned i = 0; i < 6; i++) {
		const char *want = serving_answer("m", prompt_of(i, 9), 200, NULL);
		client_expect(
		        &c[i], want, strlen(want) == 200 ? CARAVAN__REASON__LIMIT : CARAVAN__REASON__END);
	}
	ck_assert_uint_lt(c[0].len + c[1].len + c[2].len + c[3].len + c[4].len + c[5].len, 6 * 200);
	expect_idle("m");
}
END_TEST

START_TEST(the_context_is_full) {
	char err[WIRE_TEXT_MAX];
	uint32_t ids[COMPUTE_CONTEXT];
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}, .context = 100});
	uint32_t n = serving_encode(prompt_of(1, 60), ids);
	client_ask(&c[0], &(struct ask){.node = 1, .prompt = prompt_of(1, 60)});
	client_ask(&c[1], &(struct ask){.node = 2, .prompt = prompt_of(1, 60), .limit = 100 - n});
	client_ask(&c[2], &(struct ask){.node = 2, .prompt = prompt_of(1, 60), .limit = 99 - n});
	client_ask(&c[3], &(struct ask){.node = 2, .prompt = prompt_of(1, 60), .limit = 4000000000});
	serving_settle();
	const char *want = serving_answer("m", prompt_of(1, 60), 100 - n, NULL);
	client_expect(&c[0], want, CARAVAN__REASON__CONTEXT);
	client_expect(&c[1], want, CARAVAN__REASON__CONTEXT);
	client_expect(&c[3], want, CARAVAN__REASON__CONTEXT);
	client_expect(&c[2], serving_answer("m", prompt_of(1, 60), 99 - n, NULL), CARAVAN__REASON__LIMIT);
	/* a prompt that leaves nothing to generate does not begin */
	for (size_t len = 98; len < 105; len++) {
		struct request *r;
		struct request_events ev = {0};
		const char *text = prompt_of(2, len);
		struct request_params p = {.text = text, .len = len, .sampling = CARAVAN__SAMPLING__INIT};
		n = serving_encode(text, ids);
		if (n >= 100)
			ck_assert_int_eq(
			        request_start(&r, serve_requests(serving[1].serve), &p, &ev, err, sizeof err),
			        -EMSGSIZE);
	}
	ck_assert_uint_ge(n, 101);
	expect_idle("m");
}
END_TEST

/* _i: the text that stops it begins there, in an answer that goes on. */
START_TEST(stop_texts) {
	char want[301], stop[4], *at;
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	snprintf(want, sizeof want, "%s", serving_answer("m", "stop here", 200, NULL));
	snprintf(stop, sizeof stop, "%.3s", want + 20 + 10 * _i);
	ck_assert_ptr_nonnull(at = strstr(want, stop));
	*at = 0;
	uint64_t before = compute_rows();
	client_ask(&c[0], &(struct ask){.node = 1, .prompt = "stop here", .limit = 200, .stop = stop});
	serving_settle();
	client_expect(&c[0], want, CARAVAN__REASON__STOP);
	ck_assert_uint_lt(compute_rows() - before, 190 * SERVING_LAYERS); /* nor is it computed any further */
	expect_idle("m");
}
END_TEST

/* ---- who waits ----------------------------------------------------------------------------------- */

/* One place, three prompts of one client and one each of two others, which come before its second. */
START_TEST(clients_take_turns) {
	unsigned order[5], ended = 0;
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}, .parallel = 1});
	for (unsigned i = 0; i < 5; i++)
		client_ask(&c[i], &(struct ask){.node = 0,
		                          .prompt = prompt_of(i, 10),
		                          .limit = 20,
		                          .client = i < 3 ? 1 : i - 1});
	while (ended < 5) {
		ck_assert(sim_step());
		for (unsigned i = 0; i < 5; i++)
			if (c[i].ends == 1) {
				order[ended++] = i;
				c[i].ends = 2;
			}
	}
	serving_settle();
	static const unsigned want[] = {0, 3, 4, 1, 2};
	for (unsigned i = 0; i < 5; i++)
		ck_assert_uint_eq(order[i], want[i]);
	ck_assert_uint_eq(c[0].queued, 0);
	ck_assert_uint_gt(c[2].queued, 3); /* fourth, third, second, next */
	ck_assert_uint_eq(c[2].place, 1);
	for (unsigned i = 0; i < 5; i++) {
		c[i].ends = 1;
		client_expect(&c[i], serving_answer("m", prompt_of(i, 10), 20, NULL), CARAVAN__REASON__LIMIT);
	}
	expect_idle("m");
}
END_TEST

/* ---- who goes ------------------------------------------------------------------------------------ */

/* A client goes after _i pieces of its answer, with others beside it and one that waits. */
START_TEST(a_client_goes) {
	serving_begin(3, 3, 0);
	network_delay(NULL, NULL, 3000000);
	serving_load(&(struct serving_spec){
	        .coordinator = 0, .stages = 2, .stage = {1, 2}, .parallel = 2, .blocks = 12});
	c[0].after = (unsigned)_i;
	for (unsigned i = 0; i < 3; i++)
		client_ask(&c[i], &(struct ask){.node = i, .prompt = prompt_of(i, 100), .limit = 100});
	if (_i == 0) { /* before anything came */
		sim_for(4);
		request_cancel(c[0].request);
	}
	serving_settle();
	ck_assert_uint_eq(c[0].ends, 0);
	for (unsigned i = 1; i < 3; i++)
		client_expect(
		        &c[i], serving_answer("m", prompt_of(i, 100), 100, NULL), CARAVAN__REASON__LIMIT);
	expect_idle("m");
	ck_assert_uint_lt(serving_state("m").tokens, 300 - 50);
}
END_TEST

/* A client goes while its prompt is computed, and steps of it are cancelled on their way, which stages skip: what those did not
 * write is not believed when the same prompt comes again. */
START_TEST(a_prompt_that_is_cancelled) {
	Caravan__NodeState state = CARAVAN__NODE_STATE__INIT;
	uint64_t skipped = 0;
	serving_begin(3, 3, 0);
	network_delay(NULL, NULL, 500000);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	for (unsigned at = 0; at < 40; at++) {
		const char *prompt = prompt_of(at, 190);
		client_ask(&c[0], &(struct ask){.node = 0, .prompt = prompt, .limit = 9});
		for (unsigned i = 0; i < 2 * at; i++)
			sim_step();
		if (c[0].request)
			request_cancel(c[0].request);
		serving_settle();
		expect_idle("m");
		client_ask(&c[1], &(struct ask){.node = 0, .prompt = prompt, .limit = 9});
		serving_settle();
		client_expect(&c[1], serving_answer("m", prompt, 9, NULL), CARAVAN__REASON__LIMIT);
	}
	for (unsigned i = 1; i < 3; i++) {
		caravan__node_state__init(&state);
		serve_state(serving[i].serve, &state);
		skipped += state.stages[0]->skipped;
	}
	ck_assert_uint_gt(skipped, 20);
}
END_TEST

/* The node of a client: its link goes, or the cluster hears that it is down. */
START_TEST(a_gateway_goes) {
	serving_begin(4, 4, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}, .parallel = 2});
	client_ask(&c[0], &(struct ask){.node = 3, .prompt = "gone", .limit = 240});
	client_ask(&c[1], &(struct ask){.node = 3, .prompt = "gone too", .limit = 240});
	client_ask(&c[2], &(struct ask){.node = 3, .prompt = "it waits", .limit = 240});
	client_ask(&c[3], &(struct ask){.node = 0, .prompt = "it stays", .limit = 200});
	serving_until_text(&c[0], 5);
	if (_i == 0)
		network_lose(&serving[3].keys.public, &serving[0].keys.public, "a cable");
	else
		serving_kill(3);
	if (_i < 2)
		serving_tell(3, false);
	sim_for(60000);
	client_expect(&c[3], serving_answer("m", "it stays", 200, NULL), CARAVAN__REASON__LIMIT);
	expect_idle("m");
	ck_assert_uint_lt(serving_state("m").tokens, 240);
}
END_TEST

/* A stage's process ends, in the prompt (_i < 2) or the answer: those whose steps it had, or would get next, hear of it from
 * the links, all from the coordinator's deploy, and a model that is loaded anew has all of its blocks. */
START_TEST(a_stage_goes) {
	unsigned victim = 1 + (unsigned)_i % 2;
	const char *name = victim == 1 ? "barn" : "cellar";
	serving_begin(4, 4, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	for (unsigned i = 0; i < 4; i++)
		client_ask(&c[i],
		        &(struct ask){.node = i % 2 ? 3 : 0, .prompt = prompt_of(i, 120), .limit = 100});
	if (_i < 2)
		sim_for(2);
	else
		serving_until_text(&c[0], 10);
	serving_kill(victim);
	sim_for(10000);
	/* a prompt that comes now hears of it at once */
	client_ask(&c[4], &(struct ask){.node = 0, .prompt = "late", .limit = 5});
	sim_for(1000);
	ck_assert_uint_eq(c[4].ends, 1);
	ck_assert_msg(strstr(c[4].error, name), "%s", c[4].error);
	serving_close(
	        "m", CARAVAN__MODEL_PHASE__UNAVAILABLE, victim == 1 ? "barn is down" : "cellar is down");
	sim_for(1000);
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(c[i].ends, 1);
		ck_assert_msg(strstr(c[i].error, name), "%s", c[i].error);
	}
	ck_assert_uint_eq(compute_open(), 0);
	ck_assert_uint_eq(payloads_open(), 0);
	serving_load(&(struct serving_spec){.name = "again", .coordinator = 0, .stages = 1, .stage = {3}});
	client_ask(&c[5], &(struct ask){.node = 3, .prompt = "again", .model = "again", .limit = 9});
	sim_for(1000);
	client_expect(&c[5], serving_answer("again", "again", 9, NULL), CARAVAN__REASON__LIMIT);
	expect_idle("again");
}
END_TEST

/* A stage that says nothing: streams wait, within the bounds of the pipeline; when the link is given up, all end. */
START_TEST(a_stage_that_is_silent) {
	serving_begin(4, 4, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	for (unsigned i = 0; i < 4; i++)
		client_ask(&c[i], &(struct ask){.node = 3, .prompt = prompt_of(i, 120), .limit = 100});
	serving_until_text(&c[0], 10);
	sim_hold(serving[2].loop, true);
	sim_for(20000);
	size_t had = c[0].len;
	sim_for(60000);
	for (unsigned i = 0; i < 4; i++)
		ck_assert_uint_eq(c[i].ends, 0);
	ck_assert_uint_eq(c[0].len, had);
	ck_assert_uint_le(serving_state("m").in_flight, 3);
	if (_i == 0) { /* it was only stopped */
		sim_hold(serving[2].loop, false);
		serving_settle();
		for (unsigned i = 0; i < 4; i++)
			client_expect(&c[i], serving_answer("m", prompt_of(i, 120), 100, NULL),
			        CARAVAN__REASON__LIMIT);
	} else { /* its silence has been too long for members, which drop the links */
		for (unsigned i = 0; i < 4; i++)
			if (i != 2)
				peers_drop(serving[i].peers, &serving[2].keys.public, "it says nothing");
		sim_for(1000);
		for (unsigned i = 0; i < 4; i++) {
			ck_assert_uint_eq(c[i].ends, 1);
			ck_assert(strstr(c[i].error, "it says nothing"));
		}
		sim_hold(serving[2].loop, false);
		serving_settle();
	}
	expect_idle("m");
}
END_TEST

START_TEST(the_coordinator_goes) {
	serving_begin(4, 4, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	client_ask(&c[0], &(struct ask){.node = 3, .prompt = "who is left", .limit = 200});
	client_ask(&c[1], &(struct ask){.node = 1, .prompt = "and here", .limit = 200});
	serving_until_text(&c[0], 10);
	serving_kill(0);
	serving_tell(0, false);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert_uint_eq(c[i].ends, 1);
		ck_assert(strstr(c[i].error, "attic"));
		ck_assert_int_eq(
		        memcmp(c[i].text, serving_answer("m", i ? "and here" : "who is left", 200, NULL),
		                c[i].len),
		        0);
	}
	sim_for(60000);
}
END_TEST

/* Under a prompt, under an answer, and with jobs on the lane. */
START_TEST(a_model_that_is_unloaded) {
	serving_begin(4, 4, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {0, 2}, .parallel = 2});
	for (unsigned i = 0; i < 4; i++)
		client_ask(
		        &c[i], &(struct ask){.node = 3 * (i % 2), .prompt = prompt_of(i, 150), .limit = 100});
	for (int i = 0; i < 10 + 7 * _i; i++)
		ck_assert(sim_step());
	if (_i % 3 == 0)
		jobs_hold(serving[0].loop, true);
	sim_for(1);
	serving_unload("m");
	jobs_hold(serving[0].loop, false);
	serving_settle();
	for (unsigned i = 0; i < 4; i++) {
		ck_assert_uint_eq(c[i].ends, 1);
		ck_assert(c[i].failed);
		ck_assert_msg(strstr(c[i].error, "unloaded"), "%s", c[i].error);
	}
	ck_assert_uint_eq(compute_open(), 0);
	ck_assert_uint_eq(payloads_open(), 0);
}
END_TEST

/* ---- what fails ---------------------------------------------------------------------------------- */

START_TEST(a_step_that_fails) {
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	client_ask(&c[0], &(struct ask){.node = 1, .prompt = "it fails", .limit = 50});
	serving_until_text(&c[0], 10);
	compute_fail(1, _i ? -EIO : -EDOM);
	serving_settle();
	ck_assert_uint_eq(c[0].ends, 1);
	ck_assert(strstr(c[0].error, "the test wants it so"));
	expect_idle("m");
	/* what it wrote is not believed: the same prompt again gives the same text */
	client_ask(&c[1], &(struct ask){.node = 1, .prompt = "it fails", .limit = 50});
	serving_settle();
	client_expect(&c[1], serving_answer("m", "it fails", 50, NULL), CARAVAN__REASON__LIMIT);
	expect_idle("m");
}
END_TEST

/* No memory for a job, at one place of the way after the other: whoever it was for hears of it. */
START_TEST(no_memory_for_jobs) {
	unsigned failed = 0;
	serving_begin(3, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {0, 1}});
	for (unsigned at = 0; at < 40; at++) {
		client_ask(&c[0], &(struct ask){.node = 2, .prompt = prompt_of(at, 70), .limit = 10});
		for (unsigned i = 0; i < at * 3; i++)
			sim_step();
		jobs_refuse(1);
		serving_settle();
		jobs_refuse(0);
		ck_assert_uint_eq(c[0].ends, 1);
		failed += c[0].failed;
		if (!c[0].failed)
			client_expect(&c[0], serving_answer("m", prompt_of(at, 70), 10, NULL),
			        CARAVAN__REASON__LIMIT);
		expect_idle("m");
	}
	ck_assert_uint_gt(failed, 10);
}
END_TEST

/* A message of the way is lost, comes twice or comes late: never another text, never a block or a payload that stays.  What is
 * lost without its link is noticed with the next step or not at all, so there the link goes in the end. */
static struct {
	unsigned countdown;
	enum network_verdict verdict;
	Caravan__Envelope__BodyCase kind;
	bool hit;
} harm;

static enum network_verdict harms(void *arg, const struct node_id *from, const struct node_id *to,
        const Caravan__Envelope *env, const struct payload *payload) {
	(void)arg;
	(void)from;
	(void)to;
	(void)payload;
	if (env->body_case != harm.kind || harm.countdown == 0 || --harm.countdown > 0)
		return NETWORK_PASS;
	harm.hit = true;
	return harm.verdict;
}

START_TEST(messages_lost_doubled_and_late) {
	static const Caravan__Envelope__BodyCase kinds[] = {CARAVAN__ENVELOPE__BODY_STEP,
	        CARAVAN__ENVELOPE__BODY_STEP_ACK, CARAVAN__ENVELOPE__BODY_STEP_DONE,
	        CARAVAN__ENVELOPE__BODY_TOKENS, CARAVAN__ENVELOPE__BODY_FINISHED,
	        CARAVAN__ENVELOPE__BODY_SUBMIT, CARAVAN__ENVELOPE__BODY_CANCEL_STEP};
	static const enum network_verdict verdicts[] = {NETWORK_DROP, NETWORK_TWICE, NETWORK_KEEP};
	unsigned hits = 0, right = 0;
	serving_begin(4, 4, 0);
	network_delay(NULL, NULL, 5000000);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	for (unsigned at = 1; at < 12; at++) {
		harm.kind = kinds[_i % 7];
		harm.verdict = verdicts[_i / 7];
		harm.countdown = at;
		harm.hit = false;
		network_watch(harms, NULL);
		for (unsigned i = 0; i < 2; i++)
			client_ask(&c[i],
			        &(struct ask){.node = 3, .prompt = prompt_of(at + i, 90), .limit = 20});
		serving_settle();
		network_watch(NULL, NULL);
		while (network_kept()) {
			network_let_go(0);
			serving_settle();
		}
		hits += harm.hit;
		/* whoever waits still, waits for a message that is lost: a real link would be lost with it */
		for (unsigned i = 0; i < 4; i++)
			for (unsigned k = 0; k < 4; k++)
				if (i != k)
					network_lose(
					        &serving[i].keys.public, &serving[k].keys.public, "a gap");
		serving_tell(0, false);
		serving_settle();
		serving_tell(0, true);
		serving_tell(3, false);
		serving_settle();
		serving_tell(3, true);
		for (unsigned i = 0; i < 2; i++) {
			const char *want = serving_answer("m", prompt_of(at + i, 90), 20, NULL);
			ck_assert_uint_eq(c[i].ends, 1);
			ck_assert_int_eq(memcmp(c[i].text, want, c[i].len), 0);
			right += !c[i].failed && c[i].len == 20;
		}
		expect_idle("m");
		ck_assert_uint_eq(payloads_open(), 0);
	}
	ck_assert_uint_gt(hits, kinds[_i % 7] == CARAVAN__ENVELOPE__BODY_CANCEL_STEP ? 0 : 1);
	/* twice is as good as once */
	if (harm.verdict == NETWORK_TWICE && kinds[_i % 7] != CARAVAN__ENVELOPE__BODY_SUBMIT &&
	        kinds[_i % 7] != CARAVAN__ENVELOPE__BODY_STEP)
		ck_assert_uint_eq(right, 22);
}
END_TEST

/* Everything at once, by a seed: clients that come and go, links that are lost, nodes that stop for a while, jobs of any length.  Odd seeds: with windows. */
START_TEST(any_order_of_events) {
	unsigned whole = 0, broken = 0, gone = 0, losses = 0;
	char prompt[CLIENTS][PROMPT];
	serving_begin(4, 4, (uint64_t)_i + 1);
	network_delay(NULL, NULL, 1000000);
	for (unsigned i = 0; i < 4; i++)
		network_delay(&serving[i].keys.public, &serving[(i + 1) % 4].keys.public, sim_below(9000000));
	jobs_cost(any_cost);
	serving_load(&(struct serving_spec){.coordinator = 0,
	        .stages = 3,
	        .stage = {1, 2, 0},
	        .parallel = 3,
	        .blocks = 14,
	        .window = _i % 2 ? 40 : 0,
	        .window_blocks = _i % 2 ? 12 : 0,
	        .max_rows = 48});
	compute_ends(200, 2);
	for (unsigned turn = 0; turn < 300; turn++) {
		struct client *who = &c[sim_below(CLIENTS)];
		unsigned i = (unsigned)(who - c), node = sim_below(4), other = sim_below(4);
		if (!who->request && sim_below(2)) {
			if (who->ends && !who->failed) {
				const char *want = serving_answer("m", prompt[i], 60, NULL);
				client_expect(who, want,
				        strlen(want) < 60 ? CARAVAN__REASON__END : CARAVAN__REASON__LIMIT);
				whole++;
			}
			broken += who->failed;
			client_free(who);
			snprintf(prompt[i], sizeof prompt[i], "%s",
			        prompt_of(sim_below(6), 1 + sim_below(150)));
			if (peers_linked(serving[node].peers, &serving[0].keys.public))
				client_ask(
				        who, &(struct ask){.node = node, .prompt = prompt[i], .limit = 60});
		} else if (who->request && sim_below(12) == 0) {
			request_cancel(who->request);
			client_free(who);
			gone++;
		} else if (node != other && sim_below(20) == 0) {
			network_lose(&serving[node].keys.public, &serving[other].keys.public, "a cable");
			losses++;
			if (other == 0) { /* members says so, and that it is back */
				serving_tell(0, false);
				serving_tell(0, true);
			}
		} else if (sim_below(20) == 0) {
			sim_hold(serving[node].loop, true);
			sim_for(sim_below(40));
			sim_hold(serving[node].loop, false);
		}
		sim_for(sim_below(60));
		if (serving_broken("m")) { /* deploy sees that within a second */
			serving_close("m", CARAVAN__MODEL_PHASE__UNAVAILABLE, "a stage lost a step");
			serving_revive("m");
		}
		ck_assert_uint_le(serving_state("m").in_flight, 4 + 12);
		ck_assert_uint_le(serving_state("m").sequences, 3);
	}
	serving_settle();
	if (serving_broken("m")) {
		serving_close("m", CARAVAN__MODEL_PHASE__UNAVAILABLE, "a stage lost a step");
		serving_revive("m");
		serving_settle();
	}
	for (unsigned i = 0; i < CLIENTS; i++)
		ck_assert_ptr_null(c[i].request);
	expect_idle("m");
	ck_assert_uint_eq(payloads_open(), 0);
	jobs_cost(NULL);
	ck_assert_uint_gt(whole, 4); /* of some twenty */
	ck_assert_uint_gt(gone, 0);
	ck_assert_uint_gt(broken + losses, 0);
}
END_TEST

/* A stage of a mixture's dense layers has no experts; one with too many layers to report says how many they have. */
START_TEST(experts_of_layers_that_have_some) {
	static struct manifest m = {.hp.experts = 8};
	static const struct store_tensor router;
	for (uint32_t mixtures = 0; mixtures < 3; mixtures++) {
		const struct store_tensor *layer[3][LAYER_ROLES] = {0};
		struct slice s = {.manifest = &m, .first = 2, .last = 5, .layer = layer};
		struct expert_use *use;
		struct expert_state *e;
		for (uint32_t l = 0; l < mixtures; l++)
			layer[2 - l][LAYER_ROUTER] = &router;
		ck_assert_int_eq(expert_use_create(&use, 3, 8), 0);
		ck_assert_int_eq(expert_state_create(&e, &s, use), 0);
		for (uint32_t most = 0; most < 3; most++) {
			Caravan__StageState out = CARAVAN__STAGE_STATE__INIT;
			expert_state_fill(e, most, &out);
			ck_assert_uint_eq(out.experts, mixtures ? 8 : 0);
			ck_assert_uint_eq(out.n_expert_layers, mixtures <= most ? mixtures : 0);
			if (out.n_expert_layers)
				ck_assert_uint_eq(out.expert_layers[0]->layer, 5 - mixtures);
		}
		expert_state_destroy(e);
		expert_use_destroy(use);
	}
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("serving");
	TCase *t = tcase_create("prompts");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, a_prompt_through_all_stages, 0, 2 * SHAPES);
	tcase_add_loop_test(t, chunks_and_batches, 0, 4);
	tcase_add_test(t, sampled_answers);
	tcase_add_loop_test(t, embeddings, 0, 4);
	tcase_add_test(t, an_embedding_fills_the_cache);
	tcase_add_test(t, embeddings_that_end);
	tcase_add_test(t, embeddings_of_an_older_coordinator);
	tcase_add_test(t, padded_outputs);
	tcase_add_test(t, biases_that_cannot_be_had);
	tcase_add_loop_test(t, answers_that_do_not_end, 0, 3);
	tcase_add_loop_test(t, logprobs_are_the_models, 0, 2);
	tcase_add_test(t, logprobs_of_an_older_coordinator);
	tcase_add_loop_test(t, a_known_beginning_is_not_computed_again, 0, 2);
	tcase_add_test(t, a_beginning_that_came_among_others);
	tcase_add_test(t, blocks_are_used_again);
	tcase_add_test(t, experts_of_layers_that_have_some);
	suite_add_tcase(s, t);
	t = tcase_create("drafts");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, drafts_change_nothing, 0, 12);
	tcase_add_loop_test(t, drafts_in_any_order, 0, 12);
	tcase_add_loop_test(t, a_draft_model_of_other_words, 0, 2);
	tcase_add_test(t, a_draft_model_of_less_context);
	tcase_add_loop_test(t, a_draft_model_that_goes, 0, 8);
	suite_add_tcase(s, t);
	t = tcase_create("ends");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, it_ends_where_the_model_ends_it);
	tcase_add_test(t, the_context_is_full);
	tcase_add_loop_test(t, stop_texts, 0, 4);
	tcase_add_test(t, clients_take_turns);
	suite_add_tcase(s, t);
	t = tcase_create("losses");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, a_client_goes, 0, 3);
	tcase_add_test(t, a_prompt_that_is_cancelled);
	tcase_add_loop_test(t, a_gateway_goes, 0, 3);
	tcase_add_loop_test(t, a_stage_goes, 0, 4);
	tcase_add_loop_test(t, a_stage_that_is_silent, 0, 2);
	tcase_add_test(t, the_coordinator_goes);
	tcase_add_loop_test(t, a_model_that_is_unloaded, 0, 12);
	tcase_add_loop_test(t, a_step_that_fails, 0, 2);
	tcase_add_test(t, no_memory_for_jobs);
	tcase_add_loop_test(t, messages_lost_doubled_and_late, 0, 21);
	tcase_add_loop_test(t, any_order_of_events, 0, 12);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
