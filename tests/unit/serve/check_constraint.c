/* Answers under a grammar, through the whole serving core on virtual time: what is said is what the definition says (the
 * model's logits, the mask of the text so far, the sampler), with drafts and without, alone and among others; and whoever
 * goes while a grammar is compiled leaves nothing behind. */
#include "daemon/serve/coordinator/coordinator.h"
#include "daemon/text/grammar/grammar.h"
#include "daemon/text/grammar/matcher.h"
#include "daemon/text/grammar/token_trie.h"
#include "tests/unit/serve/serving.h"
#include "tests/unit/text/text_vocab.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CLIENTS = 6 };
static struct client c[CLIENTS];

static void setup(void) {
	compute_cost(100000, 20000);
	compute_ends(0, 0);
	compute_fail(0, 0);
	network_watch(NULL, NULL);
}

static void teardown(void) {
	for (int i = 0; i < CLIENTS; i++)
		client_free(&c[i]);
	serving_end();
}

static Caravan__Grammar grammar_of(Caravan__Grammar__Language language, const char *text) {
	Caravan__Grammar g = CARAVAN__GRAMMAR__INIT;
	g.language = language;
	g.text = (char *)text;
	return g;
}

static Caravan__Grammar gbnf(const char *text) {
	return grammar_of(CARAVAN__GRAMMAR__LANGUAGE__GBNF, text);
}

static void expect_idle(const char *model) {
	Caravan__ModelState s = serving_state(model);
	ck_assert_uint_eq(s.blocks_free, s.blocks);
	ck_assert_uint_eq(s.sequences, 0);
	ck_assert_uint_eq(s.queued, 0);
	ck_assert_uint_eq(s.in_flight, 0);
}

static const char *prompt_of(unsigned number, uint32_t length) {
	static char text[CLIENTS][200];
	char *s = text[number];
	for (uint32_t i = 0; i < length; i++)
		s[i] = (char)('a' + (i * 5 + i * i * number) % 16);
	s[length] = 0;
	return s;
}

/* ---- straight from the definition ---------------------------------------------------------------- */

struct said {
	char text[COMPUTE_CONTEXT];
	size_t len;
	bool ended;
};

static void answer(struct said *out, const char *prompt, const Caravan__Grammar *g, uint32_t limit,
        const struct sampler_params *sampling) {
	static uint32_t text[COMPUTE_CONTEXT];
	const struct manifest *m = serving_manifest("m");
	uint32_t vocab = m->hp.vocab, n = serving_encode(prompt, text), state, id;
	struct small_vocab *words = small_spm();
	struct tokenizer *t;
	struct token_trie *trie;
	struct grammar *grammar;
	struct grammar_matcher *matcher;
	struct sampler *sampler;
	float *logits = malloc((size_t)(n + limit) * vocab * sizeof *logits);
	char err[500] = "";
	ck_assert_int_eq(tokenizer_create(&t, &words->v, err, sizeof err), 0);
	ck_assert_int_eq(token_trie_create(&trie, t), 0);
	const struct grammar_reasoning before = {reasoning_format_find(g->reasoning), g->open};
	ck_assert_int_eq(
	        grammar_from_text(&grammar, (enum grammar_language)g->language, g->text, strlen(g->text),
	                before.format != REASONING_NONE ? &before : NULL, err, sizeof err),
	        0);
	ck_assert_int_eq(grammar_matcher_create(&matcher, grammar, trie), 0);
	ck_assert_int_eq(grammar_start(matcher, &state, err, sizeof err), 0);
	ck_assert_int_eq(sampler_create(&sampler, vocab), 0);
	memset(out, 0, sizeof *out);
	for (uint32_t i = 0; i < limit; i++) {
		const uint64_t *mask;
		size_t len;
		compute_logits(m, text, n, logits);
		ck_assert_int_eq(grammar_mask(matcher, state, &mask, err, sizeof err), 0);
		ck_assert_int_eq(sampler_pick_allowed(sampler, sampling, logits + (size_t)(n - 1) * vocab,
		                         vocab, mask, text, n, n, &id),
		        0);
		if ((out->ended = tokenizer_is_end(t, id)))
			break;
		ck_assert_int_eq(grammar_accept(matcher, &state, id, err, sizeof err), 0);
		const char *piece = tokenizer_piece(t, id, &len);
		memcpy(out->text + out->len, piece, len);
		out->len += len;
		text[n++] = id;
	}
	sampler_destroy(sampler);
	grammar_matcher_destroy(matcher);
	grammar_destroy(grammar);
	token_trie_destroy(trie);
	tokenizer_destroy(t);
	free(words);
	free(logits);
}

static void expect(const struct client *who, const char *prompt, const Caravan__Grammar *g, uint32_t limit,
        const struct sampler_params *sampling) {
	static struct said want;
	answer(&want, prompt, g, limit, sampling);
	client_expect(who, want.text, want.ended ? CARAVAN__REASON__END : CARAVAN__REASON__LIMIT);
}

/* ---- answers ------------------------------------------------------------------------------------- */

static const char *const languages[] = {
        "root ::= [a-p]+",
        "root ::= ([a-h] [a-p] \"x\")+",
        "root ::= \"f\" rest\nrest ::= ([a-p] [a-p] [a-p] \",\"){2,40} \"!\"",
        "root ::= (\"hello\" | \"world\" | [b-k]){1,60}",
};
enum { LANGUAGES = sizeof languages / sizeof *languages };

/* Several texts at once, with grammars and without.  _i: without drafts, from the text, with a smaller model; sampled in odd
 * runs. */
START_TEST(answers_are_those_of_the_definition) {
	struct sampler_params p = serving_greedy();
	bool smaller = _i >= 4;
	if (_i % 2) {
		sampler_params_default(&p);
		p.seed = (uint64_t)_i;
		p.temperature = 0.5f;
		p.frequency_penalty = 0.1f;
	}
	serving_begin(3, 3, (uint64_t)_i);
	network_delay(NULL, NULL, 8000000);
	compute_ends(30, 2);
	if (smaller)
		serving_load(&(struct serving_spec){
		        .name = "m-draft", .coordinator = 0, .stages = 1, .stage = {0}, .number = 2});
	serving_load(&(struct serving_spec){
	        .coordinator = 0, .stages = 2, .stage = {1, 2}, .draft = smaller ? "m-draft" : ""});
	for (unsigned round = 0; round < 3; round++) {
		unsigned n = round == 0 ? 1 : LANGUAGES + 1;
		for (unsigned i = 0; i < n; i++) {
			Caravan__Grammar g = gbnf(languages[(i + round) % LANGUAGES]);
			client_ask(&c[i], &(struct ask){.node = i % 3,
			                          .prompt = prompt_of(i, 20 + 10 * i),
			                          .limit = 100,
			                          .model = "m",
			                          .sampling = &p,
			                          .grammar = i < LANGUAGES ? &g : NULL,
			                          .logprobs = true,
			                          .top = 5 * i,
			                          .undrafted = _i < 2});
		}
		serving_settle();
		for (unsigned i = 0; i < n && i < LANGUAGES; i++) {
			Caravan__Grammar g = gbnf(languages[(i + round) % LANGUAGES]);
			expect(&c[i], prompt_of(i, 20 + 10 * i), &g, 100, &p);
		}
		/* of the model's own distribution, whatever the grammar leaves of it */
		for (unsigned i = 0; i < n; i++)
			client_expect_logprobs(&c[i], "m", prompt_of(i, 20 + 10 * i), 5 * i);
		if (n > LANGUAGES) {
			const char *free_text =
			        serving_answer("m", prompt_of(LANGUAGES, 20 + 10 * LANGUAGES), 100, &p);
			ck_assert_uint_eq(c[LANGUAGES].len, strlen(free_text));
			ck_assert_mem_eq(c[LANGUAGES].text, free_text, c[LANGUAGES].len);
		}
	}
	Caravan__ModelState s = serving_state("m");
	if (_i < 2) {
		ck_assert_uint_eq(s.drafted, 0);
	} else {
		ck_assert_uint_gt(s.accepted, 50);
		ck_assert_uint_gt(s.drafted, s.accepted + 5); /* some were wrong */
	}
	expect_idle("m");
	if (smaller) {
		ck_assert_uint_gt(serving_state("m-draft").steps, 50);
		expect_idle("m-draft");
	}
}
END_TEST

/* The end of a text comes where the grammar allows it, however much the model wants it; and where nothing else may follow. */
START_TEST(ends) {
	struct sampler_params p = serving_greedy();
	Caravan__Grammar whole = gbnf("root ::= \"abcabdabe\""), at_once = gbnf("root ::= [a-p]*"),
	                 later = gbnf("root ::= [a-p]{12} [a-p]*");
	serving_begin(1, 1, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 1, .stage = {0}});
	client_ask(&c[0], &(struct ask){.prompt = "hello", .grammar = &whole, .limit = 100});
	serving_settle();
	client_expect(&c[0], "abcabdabe", CARAVAN__REASON__END);
	compute_ends(1, 2); /* it would end at once */
	client_ask(&c[0], &(struct ask){.prompt = "hello", .grammar = &at_once, .limit = 100});
	client_ask(&c[1], &(struct ask){.prompt = "hello", .grammar = &later, .limit = 100});
	client_ask(&c[2], &(struct ask){.prompt = "hello", .grammar = &whole, .limit = 4});
	serving_settle();
	client_expect(&c[0], "", CARAVAN__REASON__END);
	ck_assert_uint_eq(c[1].len, 12);
	expect(&c[1], "hello", &later, 100, &p);
	client_expect(&c[2], "abca", CARAVAN__REASON__LIMIT);
	expect_idle("m");
}
END_TEST

/* A vocabulary without a token that ends a text: what is complete ends all the same. */
START_TEST(ends_without_a_token) {
	Caravan__Grammar g = gbnf("root ::= \"abcabdabe\""), more = gbnf("root ::= [a-p]*");
	serving_begin(1, 1, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 1, .stage = {0}, .endless = true});
	client_ask(&c[0], &(struct ask){.prompt = "hello", .grammar = &g, .limit = 100});
	client_ask(&c[1], &(struct ask){.prompt = "hello", .grammar = &more, .limit = 20});
	serving_settle();
	client_expect(&c[0], "abcabdabe", CARAVAN__REASON__END);
	ck_assert_int_eq(c[1].reason, CARAVAN__REASON__LIMIT);
	ck_assert_uint_eq(c[1].generated, 20);
	expect_idle("m");
}
END_TEST

/* JSON, as a schema and as any object. */
START_TEST(json) {
	Caravan__Grammar g =
	        _i ? grammar_of(CARAVAN__GRAMMAR__LANGUAGE__SCHEMA,
	                     "{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"array\",\"items\":{\"enum\":"
	                     "[\"b\",7,null]},\"minItems\":3,\"maxItems\":3}},\"required\":[\"a\"]}")
	           : grammar_of(CARAVAN__GRAMMAR__LANGUAGE__OBJECT, "");
	struct sampler_params p;
	sampler_params_default(&p);
	p.seed = 3;
	serving_begin(3, 3, 0);
	network_delay(NULL, NULL, 8000000);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 2, .stage = {1, 2}});
	for (unsigned i = 0; i < 2; i++)
		client_ask(&c[i], &(struct ask){.node = i,
		                          .prompt = "hello",
		                          .grammar = &g,
		                          .limit = 60,
		                          .sampling = &p,
		                          .undrafted = i == 1});
	serving_settle();
	expect(&c[0], "hello", &g, 60, &p);
	expect(&c[1], "hello", &g, 60, &p);
	json_error_t e;
	json_t *value = json_loadb(c[0].text, c[0].len, 0, &e);
	ck_assert(!_i || value);
	ck_assert(c[0].text[0] == '{');
	json_decref(value);
	expect_idle("m");
}
END_TEST

/* One text alone: every draft that the grammar lets through is right, since it leaves nothing to choose. */
START_TEST(drafts_are_cut) {
	const char *said = "bcdbcebcdbcfbcdbcgbcdbcibcdbcjbcdbckbcdbcebcdbcmbcdbcnbcdbcpbcdbcg";
	char text[200];
	snprintf(text, sizeof text, "root ::= \"%s\"", said);
	Caravan__Grammar g = gbnf(text);
	serving_begin(3, 3, 0);
	network_delay(NULL, NULL, 8000000);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 1, .stage = {1}});
	client_ask(&c[0], &(struct ask){.node = 0, .prompt = prompt_of(0, 30), .grammar = &g});
	serving_settle();
	client_expect(&c[0], said, CARAVAN__REASON__END);
	Caravan__ModelState s = serving_state("m");
	ck_assert_uint_gt(s.drafted, 10);
	ck_assert_uint_eq(s.drafted, s.accepted);
	expect_idle("m");
}
END_TEST

/* ---- what is refused ----------------------------------------------------------------------------- */

START_TEST(refused) {
	static const struct {
		Caravan__Grammar__Language language;
		const char *text, *why;
	} bad[] = {
	        {CARAVAN__GRAMMAR__LANGUAGE__GBNF, "root ::= [a", "line 1"},
	        {CARAVAN__GRAMMAR__LANGUAGE__SCHEMA, "{\"type\":", "the schema is not JSON"},
	        {CARAVAN__GRAMMAR__LANGUAGE__SCHEMA, "{\"wonder\":1}", "wonder"},
	        {CARAVAN__GRAMMAR__LANGUAGE__CALLS,
	                "{\"format\":\"hermes\",\"tools\":[{\"name\":\"f\",\"parameters\":[]}]}", "tool f"},
	};
	serving_begin(2, 2, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 1, .stage = {0}});
	for (unsigned i = 0; i < 8; i++) {
		Caravan__Grammar g = grammar_of(bad[i / 2].language, bad[i / 2].text);
		client_ask(&c[0], &(struct ask){.node = i % 2, .prompt = "hello", .grammar = &g});
		serving_settle();
		ck_assert_uint_eq(c[0].ends, 1);
		ck_assert_msg(strstr(c[0].error, "the grammar cannot be used") &&
		                      strstr(c[0].error, bad[i / 2].why),
		        "%s", c[0].error);
	}
	expect_idle("m");
}
END_TEST

/* Of a model that thinks, from another node: reasoning of any text, then what the grammar says. */
START_TEST(answers_after_reasoning) {
	struct sampler_params p = serving_greedy();
	Caravan__Grammar g = grammar_of(CARAVAN__GRAMMAR__LANGUAGE__OBJECT, "");
	g.reasoning = (char *)(uintptr_t) "think";
	g.open = _i;
	serving_begin(2, 2, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 1, .stage = {1}});
	client_ask(&c[0], &(struct ask){.node = 1,
	                          .prompt = "hello",
	                          .grammar = &g,
	                          .limit = 60,
	                          .model = "m",
	                          .sampling = &p});
	serving_settle();
	expect(&c[0], "hello", &g, 60, &p);
	/* without, it would be an object; behind <think> or in its middle there is any text */
	ck_assert(c[0].text[0] != '{' || !_i);
	expect_idle("m");
}
END_TEST

/* Not sent to a coordinator that would ignore it, nor one that does not fit into a message. */
START_TEST(not_sent) {
	struct client d = {0};
	struct request_events ev = client_events(&d);
	static char large[WIRE_GRAMMAR_MAX + 2];
	char err[WIRE_TEXT_MAX];
	Caravan__Grammar g = gbnf("root ::= [a-p]+");
	struct request_params p = {.model = "m", .text = "hello", .len = 5, .limit = 5, .grammar = &g};
	caravan__sampling__init(&p.sampling);
	serving_begin(2, 2, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 1, .stage = {0}});
	serving_minor(1, 0, 2);
	ck_assert_int_eq(
	        request_start(&d.request, serve_requests(serving[1].serve), &p, &ev, err, sizeof err),
	        -EPROTONOSUPPORT);
	ck_assert_msg(strstr(err, "attic") && strstr(err, "older version"), "%s", err);
	serving_minor(1, 0, 3);
	g.reasoning = (char *)(uintptr_t) "think";
	ck_assert_int_eq(
	        request_start(&d.request, serve_requests(serving[1].serve), &p, &ev, err, sizeof err),
	        -EPROTONOSUPPORT);
	ck_assert_msg(strstr(err, "attic") && strstr(err, "reasoning before a grammar"), "%s", err);
	g = gbnf("root ::= [a-p]+");
	memset(large, ' ', sizeof large - 1);
	memcpy(large, g.text, strlen(g.text));
	g.text = large;
	ck_assert_int_eq(
	        request_start(&d.request, serve_requests(serving[1].serve), &p, &ev, err, sizeof err),
	        -E2BIG);
	large[WIRE_GRAMMAR_MAX] = 0;
	client_ask(&c[0], &(struct ask){.node = 1, .prompt = "hello", .grammar = &g, .limit = 5});
	serving_settle();
	ck_assert_uint_eq(c[0].len, 5);
	expect_idle("m");
}
END_TEST

/* ---- who goes ------------------------------------------------------------------------------------ */

static unsigned compiling;
static uint64_t slow(struct loop *l, loop_fn *run, void *arg) {
	(void)l;
	(void)run;
	(void)arg;
	compiling++;
	return 50000000;
}

/* While the grammar is compiled: the client cancels; its node goes; the model is unloaded; the coordinator ends. */
START_TEST(goes_while_compiling) {
	Caravan__Grammar g = gbnf("root ::= [a-p]+");
	serving_begin(2, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 1, .stage = {0}});
	compiling = 0;
	jobs_cost(slow);
	client_ask(&c[0], &(struct ask){.node = 1, .prompt = "hello", .grammar = &g, .limit = 50});
	client_ask(&c[1], &(struct ask){.node = 1, .prompt = "hello", .grammar = &g, .limit = 5});
	sim_for(20);
	ck_assert_uint_eq(serving_state("m").sequences, 0); /* not scheduled before it is compiled */
	ck_assert_uint_ge(compiling, 1);
	if (_i == 0) {
		request_cancel(c[0].request);
		c[0].request = NULL;
	} else if (_i == 1) {
		serving_tell(1, false);
	} else if (_i == 2) {
		serving_unload("m");
	}
	if (_i < 3)
		serving_settle();
	if (_i == 0) {
		ck_assert_uint_eq(c[0].len, 0);
		ck_assert_uint_eq(c[1].len, 5);
	} else if (_i == 2) {
		ck_assert_uint_eq(c[0].ends, 1);
		ck_assert(strstr(c[0].error, "unloaded"));
	}
	if (_i < 2) {
		expect_idle("m");
		ck_assert_uint_eq(serving_state("m").tokens, _i == 0 ? 5 : 0);
	}
	jobs_cost(NULL);
}
END_TEST

/* More than there may be are refused as busy; when others have ended, there is room again. */
START_TEST(bounded) {
	static struct client many[COORDINATOR_CONSTRAINED_MAX + 3];
	Caravan__Grammar g = gbnf("root ::= [a-p]+");
	enum { N = COORDINATOR_CONSTRAINED_MAX };
	serving_begin(2, 2, 0);
	serving_load(&(struct serving_spec){.coordinator = 0, .stages = 1, .stage = {0}});
	for (unsigned round = 0; round < 2; round++) {
		unsigned busy = 0;
		for (unsigned i = 0; i < N + 3; i++)
			client_ask(&many[i],
			        &(struct ask){.node = i % 2, .prompt = "hello", .grammar = &g, .limit = 3});
		client_ask(&c[0], &(struct ask){.node = 1, .prompt = "hello", .limit = 3});
		serving_settle();
		for (unsigned i = 0; i < N + 3; i++) {
			busy += many[i].failed && strstr(many[i].error, "busy");
			ck_assert(many[i].failed || many[i].len == 3);
			client_free(&many[i]);
		}
		ck_assert_uint_eq(busy, 3);
		ck_assert(!c[0].failed);
	}
	expect_idle("m");
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("constraint");
	TCase *t = tcase_create("answers");
	tcase_set_timeout(t, 300);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, answers_are_those_of_the_definition, 0, 6);
	tcase_add_test(t, ends);
	tcase_add_test(t, ends_without_a_token);
	tcase_add_loop_test(t, json, 0, 2);
	tcase_add_test(t, drafts_are_cut);
	suite_add_tcase(s, t);
	t = tcase_create("refusals");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, refused);
	tcase_add_test(t, not_sent);
	tcase_add_loop_test(t, answers_after_reasoning, 0, 2);
	tcase_add_loop_test(t, goes_while_compiling, 0, 4);
	tcase_add_test(t, bounded);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
