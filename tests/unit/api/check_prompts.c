/* Prompts of the control socket, on virtual time: what a client hears of a conversation, a text or token ids, with a connection of our
 * own in the place of control.c.  It hears one end, after all text, and nothing when it has gone; and then nothing of it is left. */
#include "daemon/api/prompts.h"
#include "tests/sim/jobs.h"
#include "tests/unit/serve/serving.h"
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GATEWAY = 0, COORDINATOR = 1 };

static struct prompts *all;

/* ---- a connection ----------------------------------------------------------------------------------- */

struct control_conn {
	char text[COMPUTE_CONTEXT + 1];
	size_t len;
	unsigned ends, queued, progress;
	bool too_long, gone;
	Caravan__Reason reason;
	uint32_t prompt, generated, rows;
	char error[2 * WIRE_TEXT_MAX]; /* empty: none */
	void (*cancel)(void *arg), (*stop)(void *arg);
	void *arg;
};
static struct control_conn a, b;

/* Something is said to it. */
static void hears(const struct control_conn *c) {
	ck_assert_uint_eq(c->ends, 0);
	ck_assert(!c->gone);
}

struct prompts *control_prompts(struct control_conn *c) {
	return all;
}

uint64_t control_client(const struct control_conn *c) {
	return 7;
}

void control_running(struct control_conn *c, void (*cancel)(void *arg), void *arg) {
	hears(c);
	c->cancel = cancel;
	c->arg = arg;
}

void control_on_stop(struct control_conn *c, void (*stop)(void *arg)) {
	hears(c);
	c->stop = stop;
}

void control_send_text(struct control_conn *c, const char *text, size_t len) {
	hears(c);
	ck_assert_uint_le(c->len + len, COMPUTE_CONTEXT);
	memcpy(c->text + c->len, text, len);
	c->len += len;
}

void control_send_reasoning(struct control_conn *c, const char *text, size_t len) {
	ck_abort_msg("no model here thinks: %.*s", (int)len, text);
}

void control_send_progress(struct control_conn *c, const char *what, const char *node, uint64_t done,
        uint64_t total, bool tokens) {
	hears(c);
	ck_assert_str_eq(what, "prompt");
	ck_assert(tokens && done <= total);
	c->progress++;
}

void control_send(struct control_conn *c, Caravan__Envelope *env, const void *payload, size_t len) {
	hears(c);
	if (env->body_case == CARAVAN__ENVELOPE__BODY_QUEUED) {
		c->queued++;
		return;
	}
	ck_assert_int_eq(env->body_case, CARAVAN__ENVELOPE__BODY_LOGITS);
	ck_assert_uint_eq(env->logits->position, c->rows);
	ck_assert_uint_eq(len, (size_t)env->logits->rows * env->logits->vocab * sizeof(float));
	c->rows += env->logits->rows;
}

size_t control_backlog(const struct control_conn *c) {
	return 0;
}

void control_on_drained(struct control_conn *c, void (*fn)(void *arg), void *arg) {
	ck_abort_msg("it has read all");
}

void control_end(struct control_conn *c, const Caravan__Finished *fin) {
	hears(c);
	c->ends++;
	c->reason = fin->reason;
	c->prompt = fin->prompt;
	c->generated = fin->generated;
}

void control_error(struct control_conn *c, const char *fmt, ...) {
	va_list ap;
	hears(c);
	c->ends++;
	va_start(ap, fmt);
	vsnprintf(c->error, sizeof c->error, fmt, ap);
	va_end(ap);
	ck_assert_str_ne(c->error, "");
}

void control_error_too_long(struct control_conn *c, const char *text) {
	control_error(c, "%s", text);
	c->too_long = true;
}

/* ---- a client ----------------------------------------------------------------------------------------- */

static void begin(uint64_t seed) {
	memset(&a, 0, sizeof a);
	memset(&b, 0, sizeof b);
	serving_begin(2, 2, seed);
	ck_assert_int_eq(prompts_create(&all, serving[GATEWAY].loop, serving[GATEWAY].serve), 0);
	serving_load(&(struct serving_spec){.coordinator = COORDINATOR, .stages = 1, .stage = {0}});
}

static void end(void) {
	prompts_destroy(all);
	sim_for(0);
	serving_end();
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

/* Messages and payloads are the connection's for the call alone. */
static void chat_in(struct control_conn *c, const char *model, const char *template, const char *body) {
	Caravan__Sampling s = greedy();
	Caravan__CtlRun run = CARAVAN__CTL_RUN__INIT;
	Caravan__CtlChat chat = CARAVAN__CTL_CHAT__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_CHAT, ctl_chat, &chat);
	char name[32], *copy = strdup(body);
	snprintf(name, sizeof name, "%s", template);
	run.model = wire_string(model);
	run.limit = 40;
	run.sampling = &s;
	chat.run = &run;
	chat.template_ = name;
	prompts_chat(c, &env, (const uint8_t *)copy, strlen(copy));
	memset(copy, 'x', strlen(copy));
	memset(name, 'x', sizeof name);
	free(copy);
}

static void chat(struct control_conn *c, const char *body) {
	chat_in(c, "m", "", body);
}

static void run(struct control_conn *c, const char *text, size_t len, char *stop) {
	Caravan__Sampling s = greedy();
	Caravan__CtlRun run = CARAVAN__CTL_RUN__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_RUN, ctl_run, &run);
	run.model = "m";
	run.limit = 40;
	run.sampling = &s;
	run.stop = &stop;
	run.n_stop = stop != NULL;
	prompts_run(c, &env, (const uint8_t *)text, len);
}

static bool has_ended(void *arg) {
	return ((struct control_conn *)arg)->ends > 0;
}

static void until_end(struct control_conn *c) {
	ck_assert(sim_until(has_ended, c, 600000));
}

static bool has_text(void *arg) {
	return ((struct control_conn *)arg)->len > 0;
}

/* It has got what the model says to this text. */
static void expect_answer(struct control_conn *c, const char *prompt) {
	const char *want = serving_answer("m", prompt, 40, NULL);
	until_end(c);
	ck_assert_str_eq(c->error, "");
	ck_assert_uint_eq(c->len, strlen(want));
	ck_assert_mem_eq(c->text, want, c->len);
	ck_assert_int_eq(c->reason, CARAVAN__REASON__LIMIT);
	ck_assert_uint_eq(c->generated, 40);
}

static void expect_error(struct control_conn *c, const char *word) {
	until_end(c);
	ck_assert_msg(strstr(c->error, word), "\"%s\", not \"%s\"", c->error, word);
	ck_assert_uint_eq(c->len, 0);
}

/* The client goes: it hears nothing from then on. */
static void leave(struct control_conn *c) {
	c->gone = true;
	if (c->ends == 0)
		c->cancel(c->arg);
}

#define QUESTION "{\"messages\": [{\"role\": \"user\", \"content\": \"once upon\"}]}"

/* ---- answers ------------------------------------------------------------------------------------------ */

/* _i: the seed. */
START_TEST(a_conversation_is_answered) {
	begin((uint64_t)_i);
	chat(&a, QUESTION);
	ck_assert_uint_eq(a.ends + a.len, 0); /* nothing within the call */
	expect_answer(&a, "once upon");
	/* all of it counts, and the only model needs no name */
	chat_in(&b, "", "",
	        "{\"messages\": [{\"role\": \"system\", \"content\": \"be\"}, {\"role\": \"user\", \"content\": "
	        "\"once\"}, {\"role\": \"assistant\", \"content\": \"upon\"}, {\"role\": \"user\", \"content\": \"a time\"}]}");
	expect_answer(&b, "be\nonce\nupon\na time");
	end();
}
END_TEST

START_TEST(a_template_has_a_name) {
	begin(1);
	chat_in(&a, "m", "chatml", QUESTION);
	expect_answer(&a, "<|im_start|>user\nonce upon<|im_end|>\n<|im_start|>assistant\n");
	chat_in(&b, "m", "nonesuch", QUESTION);
	expect_error(&b, "there is no chat template nonesuch; there are: llama2");
	end();
}
END_TEST

START_TEST(texts_and_ids) {
	begin(2);
	run(&a, "once upon", 9, NULL);
	expect_answer(&a, "once upon");
	const char *whole = serving_answer("m", "once upon", 40, NULL);
	char stop[4] = {whole[20], whole[21], whole[22], 0};
	size_t at = (size_t)(strstr(whole, stop) - whole);
	run(&b, "once upon", 9, stop);
	until_end(&b);
	ck_assert_int_eq(b.reason, CARAVAN__REASON__STOP);
	ck_assert_uint_eq(b.len, at);
	ck_assert_mem_eq(b.text, whole, at);
	/* an empty text begins with the token that begins texts */
	memset(&a, 0, sizeof a);
	run(&a, NULL, 0, NULL);
	expect_answer(&a, "");
	ck_assert_uint_eq(a.prompt, 1);
	/* ids, for their logits */
	uint32_t ids[COMPUTE_CONTEXT], n = serving_encode("once upon", ids);
	Caravan__CtlLogits logits = CARAVAN__CTL_LOGITS__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_LOGITS, ctl_logits, &logits);
	uint8_t unaligned[4 * 64 + 1];
	ck_assert_uint_lt(n, 64);
	memcpy(unaligned + 1, ids, n * sizeof *ids);
	logits.model = "m";
	memset(&a, 0, sizeof a);
	prompts_logits(&a, &env, unaligned + 1, n * sizeof *ids);
	until_end(&a);
	ck_assert_str_eq(a.error, "");
	ck_assert_uint_eq(a.rows, n);
	memset(&a, 0, sizeof a);
	ids[0] = 1u << 30;
	prompts_logits(&a, &env, (uint8_t *)ids, n * sizeof *ids);
	expect_error(&a, "token");
	end();
}
END_TEST

/* ---- what is refused ---------------------------------------------------------------------------------- */

static const struct {
	const char *body, *error;
} invalid[] = {
        {"", "JSON"},
        {"{", "JSON"},
        {"{\"messages\": [}", "JSON"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"\xff\"}]}", "JSON"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": \"a\\u0000b\"}]}", "\\u0000 is not supported"},
        {"[]", "object"},
        {"{}", "messages must be an array with at least one message"},
        {"{\"messages\": \"x\"}", "messages must be an array"},
        {"{\"messages\": []}", "at least one message"},
        {"{\"messages\": [\"x\"]}", "messages[0]"},
        {"{\"messages\": [{\"content\": \"x\"}]}", "role"},
        {"{\"messages\": [{\"role\": 1, \"content\": \"x\"}]}", "role"},
        {"{\"messages\": [{\"role\": \"user\"}]}", "content"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": 1}]}", "content"},
        {"{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"image_url\"}]}]}",
                "text alone is supported"},
};
enum { INVALID = sizeof invalid / sizeof *invalid };

START_TEST(what_is_no_conversation) {
	begin(3);
	chat(&a, invalid[_i].body);
	expect_error(&a, invalid[_i].error);
	ck_assert(!a.too_long);
	/* the next one is answered */
	chat(&b, QUESTION);
	expect_answer(&b, "once upon");
	end();
}
END_TEST

/* Text n times. */
static char *repeated(const char *before, const char *text, size_t n, const char *after) {
	size_t len = strlen(text), at = strlen(before);
	char *out = malloc(at + n * len + strlen(after) + 1);
	ck_assert_ptr_nonnull(out);
	memcpy(out, before, at);
	for (size_t i = 0; i < n; i++, at += len)
		memcpy(out + at, text, len);
	strcpy(out + at, after);
	return out;
}

#define CONTENT "{\"messages\": [{\"role\": \"user\", \"content\": "

START_TEST(a_conversation_has_bounds) {
	static const struct {
		const char *before, *text, *after, *error;
		size_t n;
		bool too_long;
	} much[] = {
	        /* the context has 256 tokens, and a letter is at least one */
	        {CONTENT "\"", "once ", "\"}]}", "the context of model m is 256", 200, true},
	        /* more than may be rendered at all */
	        {CONTENT "\"", "abcdefghijklmnop", "\"}]}", "longer than 16777216 bytes", (17u << 20) / 16,
	                false},
	        {CONTENT, "[", "", "within each other", 1000, false},
	        {"{\"messages\": [", "{},", "{}]}", "has more than", 100000, false},
	};
	begin(4);
	for (size_t i = 0; i < sizeof much / sizeof *much; i++) {
		char *body = repeated(much[i].before, much[i].text, much[i].n, much[i].after);
		memset(&a, 0, sizeof a);
		chat(&a, body);
		expect_error(&a, much[i].error);
		ck_assert_int_eq(a.too_long, much[i].too_long);
		free(body);
	}
	/* a text: longer than the context, and longer than may become tokens */
	static const size_t most[] = {1000, 17u << 20};
	static const char *const error[] = {"the context of model m is 256", "the prompt is too long"};
	for (size_t i = 0; i < 2; i++) {
		char *text = repeated("", "once ", most[i] / 5, "");
		memset(&a, 0, sizeof a);
		run(&a, text, strlen(text), NULL);
		expect_error(&a, error[i]);
		ck_assert(a.too_long);
		free(text);
	}
	end();
}
END_TEST

START_TEST(models_that_do_not_serve) {
	begin(5);
	chat_in(&a, "ghost", "", QUESTION);
	ck_assert_uint_eq(a.ends, 1); /* at once */
	expect_error(&a, "ghost");
	serving_close("m", CARAVAN__MODEL_PHASE__UNAVAILABLE, "node n1 is down");
	chat(&b, QUESTION);
	expect_error(&b, "n1 is down");
	end();
}
END_TEST

/* _i: where it is when the model goes: being rendered, or encoded; or encoded when another one of its name has come.  The thread has
 * begun nothing. */
START_TEST(a_model_goes_meanwhile) {
	begin(6);
	jobs_hold(serving[GATEWAY].loop, true);
	if (_i)
		run(&a, "once upon", 9, NULL);
	else
		chat(&a, QUESTION);
	sim_for(100);
	ck_assert_uint_eq(a.ends, 0);
	serving_unload("m");
	if (_i == 2)
		serving_load(&(struct serving_spec){.coordinator = COORDINATOR,
		        .stages = 1,
		        .stage = {0},
		        .number = 2,
		        .other_words = true});
	jobs_hold(serving[GATEWAY].loop, false);
	expect_error(&a, _i == 2 ? "model m was loaded anew; try again" : "no model m");
	end();
}
END_TEST

START_TEST(no_room_for_a_job) {
	begin(7);
	jobs_refuse(1);
	chat(&a, QUESTION);
	expect_error(&a, "out of memory");
	jobs_refuse(1);
	run(&b, "once upon", 9, NULL);
	expect_error(&b, "out of memory");
	jobs_refuse(0);
	memset(&a, 0, sizeof a);
	chat(&a, QUESTION);
	expect_answer(&a, "once upon");
	end();
}
END_TEST

/* ---- who goes, and who wants no more ---------------------------------------------------------------------- */

/* _i: after how many milliseconds; its jobs take some, so that it is rendered, encoded, computed or over. */
static uint64_t slowly(struct loop *l, loop_fn *job, void *arg) {
	return l == serving[GATEWAY].loop ? 4000000 : 0;
}

START_TEST(a_client_goes_at_any_time) {
	begin((uint64_t)_i);
	jobs_cost(slowly);
	chat(&a, QUESTION);
	run(&b, "once upon", 9, NULL);
	sim_for((uint64_t)_i);
	leave(&a);
	expect_answer(&b, "once upon");
	jobs_cost(NULL);
	end();
}
END_TEST

START_TEST(an_answer_is_stopped_at_any_time) {
	begin((uint64_t)_i);
	jobs_cost(slowly);
	chat(&a, QUESTION);
	run(&b, "once upon", 9, NULL);
	sim_for((uint64_t)_i);
	if (a.ends == 0)
		a.stop(a.arg);
	until_end(&a);
	ck_assert_str_eq(a.error, "");
	const char *whole = serving_answer("m", "once upon", 40, NULL);
	ck_assert_uint_le(a.len, 40);
	ck_assert_mem_eq(a.text, whole, a.len);
	ck_assert_int_eq(a.reason, a.len == 40 ? CARAVAN__REASON__LIMIT : CARAVAN__REASON__CANCELLED);
	/* what was computed of it is told */
	ck_assert_uint_ge(a.generated, a.len);
	ck_assert(a.len == 0 || a.prompt > 0);
	expect_answer(&b, "once upon");
	jobs_cost(NULL);
	end();
}
END_TEST

/* Dropped before the thread has come to it, nothing of it is rendered or encoded. */
START_TEST(who_has_gone_costs_nothing) {
	begin(8);
	jobs_hold(serving[GATEWAY].loop, true);
	chat(&a, QUESTION);
	run(&b, "once upon", 9, NULL);
	leave(&a);
	leave(&b);
	uint64_t rows = compute_rows();
	jobs_hold(serving[GATEWAY].loop, false);
	serving_settle();
	ck_assert_uint_eq(jobs_open(), 0);
	ck_assert_uint_eq(compute_rows(), rows);
	memset(&a, 0, sizeof a);
	chat(&a, QUESTION);
	ck_assert(sim_until(has_text, &a, 600000));
	leave(&a);
	end();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("prompts");
	TCase *t = tcase_create("prompts");
	tcase_add_loop_test(t, a_conversation_is_answered, 0, 10);
	tcase_add_test(t, a_template_has_a_name);
	tcase_add_test(t, texts_and_ids);
	tcase_add_loop_test(t, what_is_no_conversation, 0, INVALID);
	tcase_add_test(t, a_conversation_has_bounds);
	tcase_add_test(t, models_that_do_not_serve);
	tcase_add_loop_test(t, a_model_goes_meanwhile, 0, 3);
	tcase_add_test(t, no_room_for_a_job);
	tcase_add_loop_test(t, a_client_goes_at_any_time, 0, 30);
	tcase_add_loop_test(t, an_answer_is_stopped_at_any_time, 0, 30);
	tcase_add_test(t, who_has_gone_costs_nothing);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
