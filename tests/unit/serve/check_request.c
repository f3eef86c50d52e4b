/* A gateway alone (node 1): the test is the coordinator of its model (node 0), and of another one (node 2).  Whatever these say,
 * a client gets the tokens of the next position, of its own request, from its own coordinator; and one end. */
#include "tests/unit/serve/serving.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { GATEWAY = 0, COORDINATOR = 1, OTHER = 2 };

#define CANCEL CARAVAN__ENVELOPE__BODY_CANCEL
#define SUBMIT CARAVAN__ENVELOPE__BODY_SUBMIT
#define TAKEN CARAVAN__ENVELOPE__BODY_LOGITS_TAKEN

static struct client c, d;
static uint32_t prompt[COMPUTE_CONTEXT], n; /* tokens of "a house" */

/* Two models, asked for one text each. */
static void setup(void) {
	network_watch(NULL, NULL);
	serving_begin(1, 3, 0);
	serving_load(&(struct serving_spec){.coordinator = COORDINATOR, .stages = 1, .stage = {OTHER}});
	serving_load(&(struct serving_spec){
	        .name = "other", .coordinator = OTHER, .stages = 1, .stage = {COORDINATOR}});
	n = serving_encode("a house", prompt);
	c.after = d.after = 0;
	client_ask(&c, &(struct ask){.node = GATEWAY, .prompt = "a house", .model = "m", .stop = "gob"});
	client_ask(&d, &(struct ask){.node = GATEWAY, .prompt = "a house", .model = "other"});
	serving_settle();
}

static void teardown(void) {
	client_free(&c);
	client_free(&d);
	serving_end();
}

static const struct peers_from *asked(unsigned coordinator) {
	return &bare_last(coordinator, SUBMIT)->from;
}

static uint32_t letter(char x) {
	return (uint32_t)x + 3;
}

static void say(uint32_t position, char x) {
	bare_send_tokens(COORDINATOR, asked(COORDINATOR), position, letter(x));
	serving_settle();
}

static void expect_text(const struct client *who, const char *text) {
	ck_assert_msg(who->len == strlen(text) && memcmp(who->text, text, who->len) == 0,
	        "\"%.*s\", not \"%s\"", (int)who->len, who->text, text);
}

START_TEST(only_the_next_position) {
	ck_assert_uint_eq(bare_last(COORDINATOR, SUBMIT)->payload, n * sizeof *prompt);
	say(n, 'a');
	say(n, 'x'); /* once more */
	say(n + 2, 'y');
	say(n - 1, 'z');
	say(0, 'z');
	expect_text(&c, "a");
	say(n + 1, 'b');
	say(n + 2, 'c');
	say(n + 1, 'd');
	expect_text(&c, "abc");
	bare_send_finished(COORDINATOR, asked(COORDINATOR), CARAVAN__REASON__LIMIT, "");
	serving_settle();
	client_expect(&c, "abc", CARAVAN__REASON__LIMIT);
	say(n + 3, 'e'); /* it is over */
	bare_send_finished(COORDINATOR, asked(COORDINATOR), CARAVAN__REASON__LIMIT, "");
	serving_settle();
	client_expect(&c, "abc", CARAVAN__REASON__LIMIT);
	ck_assert_uint_eq(bare_count(COORDINATOR, CANCEL), 0);
}
END_TEST

/* Whoever coordinates another model knows the number of a request and says something to it. */
START_TEST(only_its_own_coordinator) {
	struct peers_from forged = *asked(OTHER);
	forged.ref = asked(COORDINATOR)->ref;
	bare_send_tokens(OTHER, &forged, n, letter('x'));
	bare_send_finished(OTHER, &forged, CARAVAN__REASON__END, "");
	bare_send_queued(OTHER, &forged, 7);
	bare_send_progress(OTHER, &forged, 1, 2);
	peers_refuse(serving[OTHER].peers, &forged, "no");
	serving_settle();
	expect_text(&c, "");
	ck_assert_uint_eq(c.ends + c.queued + c.progress, 0);
	ck_assert_uint_eq(d.ends, 0);
	/* nor of a number that nobody has */
	forged = *asked(COORDINATOR);
	forged.ref += 1000;
	bare_send_tokens(COORDINATOR, &forged, n, letter('x'));
	bare_send_finished(COORDINATOR, &forged, CARAVAN__REASON__END, "");
	serving_settle();
	say(n, 'a');
	expect_text(&c, "a");
}
END_TEST

START_TEST(tokens_outside_the_vocabulary) {
	uint32_t vocab = serving_manifest("m")->hp.vocab;
	bare_send_tokens(COORDINATOR, asked(COORDINATOR), n, vocab - 1); /* a control token: not seen */
	serving_settle();
	ck_assert_uint_eq(c.ends, 0);
	bare_send_tokens(COORDINATOR, asked(COORDINATOR), n + 1, _i ? UINT32_MAX : vocab);
	serving_settle();
	ck_assert_uint_eq(c.ends, 1);
	ck_assert(strstr(c.error, "outside the vocabulary"));
	ck_assert_uint_eq(bare_count(COORDINATOR, CANCEL), 1);
	ck_assert_uint_eq(bare_last(COORDINATOR, CANCEL)->from.ref, asked(COORDINATOR)->ref);
}
END_TEST

START_TEST(ends) {
	say(n, 'a');
	if (_i == 0)
		bare_send_finished(COORDINATOR, asked(COORDINATOR), CARAVAN__REASON__ERROR, "no more ink");
	else
		peers_refuse(serving[COORDINATOR].peers, asked(COORDINATOR), "no more ink");
	serving_settle();
	ck_assert_uint_eq(c.ends, 1);
	ck_assert_str_eq(c.error, "no more ink");
	expect_text(&c, "a");
	ck_assert_uint_eq(d.ends, 0);
}
END_TEST

START_TEST(what_comes_before_the_answer) {
	bare_send_queued(COORDINATOR, asked(COORDINATOR), 5);
	bare_send_queued(COORDINATOR, asked(COORDINATOR), 2);
	serving_settle();
	ck_assert_uint_eq(c.queued, 2);
	ck_assert_uint_eq(c.place, 2);
	bare_send_progress(COORDINATOR, asked(COORDINATOR), 3, n);
	serving_settle();
	ck_assert_uint_eq(c.done, 3);
	say(n, 'a');
	bare_send_progress(COORDINATOR, asked(COORDINATOR), 4, n); /* late */
	serving_settle();
	ck_assert_uint_eq(c.progress, 1);
}
END_TEST

/* The stop text comes in three tokens; what may be its beginning is held back. */
START_TEST(a_stop_text) {
	say(n, 'a');
	say(n + 1, 'g');
	expect_text(&c, "a");
	say(n + 2, 'x');
	expect_text(&c, "agx");
	say(n + 3, 'g');
	say(n + 4, 'o');
	expect_text(&c, "agx");
	ck_assert_uint_eq(bare_count(COORDINATOR, CANCEL), 0);
	say(n + 5, 'b');
	client_expect(&c, "agx", CARAVAN__REASON__STOP);
	ck_assert_uint_eq(c.generated, 6);
	ck_assert_uint_eq(bare_count(COORDINATOR, CANCEL), 1);
	say(n + 6, 'z');
	client_expect(&c, "agx", CARAVAN__REASON__STOP);
}
END_TEST

/* What was held back is given out at the end. */
START_TEST(an_end_within_a_stop_text) {
	say(n, 'g');
	say(n + 1, 'o');
	expect_text(&c, "");
	if (_i == 0)
		bare_send_finished(COORDINATOR, asked(COORDINATOR), CARAVAN__REASON__END, "");
	else
		serving_tell(COORDINATOR, false);
	serving_settle();
	expect_text(&c, "go");
	ck_assert_uint_eq(c.ends, 1);
	ck_assert_int_eq(c.failed, _i);
}
END_TEST

START_TEST(a_client_that_goes) {
	say(n, 'a');
	request_cancel(c.request);
	c.request = NULL;
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, CANCEL), 1);
	ck_assert_uint_eq(bare_last(COORDINATOR, CANCEL)->from.ref, asked(COORDINATOR)->ref);
	say(n + 1, 'b');
	bare_send_finished(COORDINATOR, asked(COORDINATOR), CARAVAN__REASON__END, "");
	serving_settle();
	expect_text(&c, "a");
	ck_assert_uint_eq(c.ends, 0);
}
END_TEST

START_TEST(a_coordinator_that_goes) {
	serving_tell(COORDINATOR, true); /* that it is up is no loss */
	ck_assert_uint_eq(c.ends, 0);
	serving_tell(COORDINATOR, false);
	ck_assert_uint_eq(c.ends, 1);
	ck_assert(strstr(c.error, "barn"));
	ck_assert_uint_eq(d.ends, 0);
	serving_close("other", CARAVAN__MODEL_PHASE__UNAVAILABLE, "cellar flooded");
	ck_assert_uint_eq(d.ends, 1);
	ck_assert(strstr(d.error, "cellar flooded"));
}
END_TEST

/* Too much is waiting: the client learns when to ask again, before the end. */
START_TEST(too_much_is_waiting) {
	peers_refuse_busy(serving[COORDINATOR].peers, asked(COORDINATOR), 17, "model m is busy");
	peers_refuse(serving[OTHER].peers, asked(OTHER), "no");
	serving_settle();
	ck_assert_uint_eq(c.ends, 1);
	ck_assert_uint_eq(c.busy, 17);
	ck_assert_str_eq(c.error, "model m is busy");
	ck_assert_uint_eq(d.ends, 1);
	ck_assert_uint_eq(d.busy, 0);
}
END_TEST

/* Only its own requests end; here the other model's end first. */
START_TEST(a_model_that_goes) {
	serving_close("other", CARAVAN__MODEL_PHASE__UNAVAILABLE, "cellar flooded");
	ck_assert_uint_eq(d.ends, 1);
	ck_assert_uint_eq(c.ends, 0);
	serving_close("m", CARAVAN__MODEL_PHASE__UNAVAILABLE, "roof gone");
	ck_assert_uint_eq(d.ends, 1);
	ck_assert_uint_eq(c.ends, 1);
	ck_assert(strstr(c.error, "roof gone"));
}
END_TEST

static struct client *victim;

static void ends_another(void *arg, const Caravan__Finished *fin, const char *error) {
	(void)fin;
	(void)error;
	*(struct request **)arg = NULL;
	if (victim && victim->request) {
		request_cancel(victim->request);
		victim->request = NULL;
	}
	client_ask(&d, &(struct ask){.node = GATEWAY, .prompt = "anew", .model = "other"});
}

static void no_text(void *arg, const char *text, size_t len) {
	(void)arg;
	(void)text;
	(void)len;
}

/* One that ends cancels another of the same coordinator and starts a new one, while all of that coordinator's end. */
START_TEST(ends_within_ends) {
	char err[200];
	struct request *r;
	struct request_events ev = {.text = no_text, .end = ends_another, .arg = &r};
	struct request_params p = {.model = "m", .text = "b", .len = 1, .sampling = CARAVAN__SAMPLING__INIT};
	request_cancel(d.request);
	d.request = NULL;
	victim = &c;
	p.sampling.top_p = p.sampling.repeat_penalty = 1;
	ck_assert_int_eq(
	        request_start(&r, serve_requests(serving[GATEWAY].serve), &p, &ev, err, sizeof err), 0);
	serving_settle();
	serving_tell(COORDINATOR, false);
	serving_settle();
	ck_assert_ptr_null(r);
	ck_assert_uint_eq(c.ends, 0);
	ck_assert_ptr_null(c.request);
	ck_assert_ptr_nonnull(d.request);
	ck_assert_uint_eq(bare_count(OTHER, SUBMIT), 2);
}
END_TEST

/* A gateway's client of COORDINATOR that wants log-probabilities. */
static void ask_logprobs(bool names) {
	request_cancel(c.request);
	client_ask(&c, &(struct ask){.node = GATEWAY,
	                       .prompt = "a house",
	                       .model = "m",
	                       .stop = "gob",
	                       .logprobs = true,
	                       .names = names,
	                       .top = 2});
	serving_settle();
}

static void say_logprobs(uint32_t position, char x, uint32_t other) {
	const uint32_t top[] = {letter(x), other};
	bare_send_logprobs(COORDINATOR, asked(COORDINATOR), position, letter(x), top, 2);
	serving_settle();
}

/* A token comes when its text does; those of a stop text never.  The end has no bytes, also where names of control tokens are shown. */
START_TEST(logprobs_come_with_the_text) {
	const uint32_t names[] = {2, 3 + 0xE2}; /* the end, and a byte that is no character */
	ask_logprobs(_i);
	say_logprobs(n, 'a', letter('b'));
	ck_assert_uint_eq(c.ntokens, 1);
	say_logprobs(n + 1, 'g', letter('c'));
	ck_assert_uint_eq(c.ntokens, 1);
	say_logprobs(n + 2, 'x', letter('d'));
	expect_text(&c, "agx");
	ck_assert_uint_eq(c.ntokens, 3);
	bare_send_logprobs(COORDINATOR, asked(COORDINATOR), n + 3, letter('y'), names, 2);
	serving_settle();
	ck_assert_uint_eq(c.ntokens, 4);
	say_logprobs(n + 4, 'g', letter('e'));
	say_logprobs(n + 5, 'o', letter('e'));
	say_logprobs(n + 6, 'b', letter('e'));
	client_expect(&c, "agxy", CARAVAN__REASON__STOP);
	ck_assert_uint_eq(c.ntokens, 4);
	for (unsigned i = 0; i < 4; i++) {
		const struct token_logprobs *t = c.token[i];
		ck_assert(t->token.logprob == -1 && t->token.text[0] == "agxy"[i] && t->token.len == 1);
		ck_assert(t->offset == i && t->ntop == 2 && t->top[0].logprob == -2);
		ck_assert(i == 3 || (t->top[0].id == t->token.id && t->top[1].text[0] == "bcd"[i]));
	}
	const struct token_logprob *top = c.token[3]->top;
	ck_assert(top[0].hidden && top[0].len == 4 && memcmp(top[0].text, "</s>", 4) == 0);
	ck_assert(!top[1].hidden && top[1].len == 1 && memcmp(top[1].text, "\xE2", 1) == 0);
}
END_TEST

/* What was held back is given out at the end, with its tokens. */
START_TEST(logprobs_at_the_end) {
	ask_logprobs(false);
	say_logprobs(n, 'g', 5);
	say_logprobs(n + 1, 'o', 5);
	ck_assert_uint_eq(c.ntokens, 0);
	if (_i == 0)
		bare_send_finished(COORDINATOR, asked(COORDINATOR), CARAVAN__REASON__END, "");
	else
		serving_tell(COORDINATOR, false);
	serving_settle();
	expect_text(&c, "go");
	ck_assert_uint_eq(c.ntokens, 2);
	ck_assert_uint_eq(c.token[1]->offset, 1);
}
END_TEST

START_TEST(logprobs_that_cannot_be) {
	uint32_t vocab = serving_manifest("m")->hp.vocab;
	ask_logprobs(false);
	say_logprobs(n, 'a', vocab - 1);
	ck_assert_uint_eq(c.ends, 0);
	if (_i == 0)
		say(n + 1, 'a');
	else
		say_logprobs(n + 1, 'a', vocab);
	ck_assert_uint_eq(c.ends, 1);
	ck_assert_msg(strstr(c.error, _i ? "outside the vocabulary" : "without its log-probabilities"), "%s",
	        c.error);
	ck_assert_uint_eq(c.ntokens, 1);
}
END_TEST

START_TEST(what_does_not_begin) {
	char err[300];
	struct request *r;
	struct request_events ev = {0};
	struct request_params p = {.model = "m", .text = "b", .len = 1, .sampling = CARAVAN__SAMPLING__INIT};
	struct serve *s = serving[GATEWAY].serve;
	size_t had = bare_count(COORDINATOR, SUBMIT);
	p.sampling.top_p = p.sampling.repeat_penalty = 1;
	p.model = "nobody";
	ck_assert_int_eq(request_start(&r, serve_requests(s), &p, &ev, err, sizeof err), -ENOENT);
	p.model = "m";
	p.stops = &(struct text_stop){"", 0};
	p.nstops = 1;
	ck_assert_int_eq(request_start(&r, serve_requests(s), &p, &ev, err, sizeof err), -EINVAL);
	ck_assert(strstr(err, "stop"));
	p.nstops = 0;
	p.text = NULL;
	ck_assert_int_eq(request_start(&r, serve_requests(s), &p, &ev, err, sizeof err), -EINVAL);
	ck_assert(strstr(err, "at least one"));
	p.text = "b";
	network_cut(&serving[GATEWAY].keys.public, &serving[COORDINATOR].keys.public, true);
	sim_for(20000);
	ck_assert_int_eq(request_start(&r, serve_requests(s), &p, &ev, err, sizeof err), -ENOTCONN);
	ck_assert(strstr(err, "barn") && strstr(err, "no link"));
	network_cut(&serving[GATEWAY].keys.public, &serving[COORDINATOR].keys.public, false);
	serving_close("m", CARAVAN__MODEL_PHASE__UNAVAILABLE, "it rains");
	ck_assert_int_eq(request_start(&r, serve_requests(s), &p, &ev, err, sizeof err), -EAGAIN);
	ck_assert(strstr(err, "it rains"));
	serving_settle();
	ck_assert_uint_eq(bare_count(COORDINATOR, SUBMIT), had);
}
END_TEST

/* What the client took is told to the coordinator; where its queue is full, later. */
START_TEST(logits_that_were_taken) {
	char err[200];
	uint32_t vocab = serving_manifest("m")->hp.vocab;
	struct request_events ev = client_events(&d);
	struct request_params p = {
	        .model = "m", .ids = prompt, .nids = n, .logits = true, .sampling = CARAVAN__SAMPLING__INIT};
	request_cancel(d.request);
	client_free(&d);
	ck_assert_int_eq(
	        request_start(&d.request, serve_requests(serving[GATEWAY].serve), &p, &ev, err, sizeof err),
	        0);
	serving_settle();
	bare_send_logits(COORDINATOR, asked(COORDINATOR), 0, 2, vocab);
	bare_send_tokens(COORDINATOR, asked(COORDINATOR), n, letter('x')); /* it has no text */
	serving_settle();
	ck_assert_uint_eq(d.rows, 2);
	request_logits_taken(d.request, 2);
	serving_settle();
	ck_assert_uint_eq(bare_last(COORDINATOR, TAKEN)->id, 2);
	network_queue(0);
	request_logits_taken(d.request, 3);
	sim_for(1000);
	ck_assert_uint_eq(bare_count(COORDINATOR, TAKEN), 1);
	request_logits_taken(d.request, 5);
	request_logits_taken(d.request, 4); /* less than before says nothing */
	network_queue(NETWORK_QUEUE);
	sim_for(1000);
	ck_assert_uint_eq(bare_count(COORDINATOR, TAKEN), 2);
	ck_assert_uint_eq(bare_last(COORDINATOR, TAKEN)->id, 5);
	bare_send_finished(COORDINATOR, asked(COORDINATOR), CARAVAN__REASON__END, "");
	serving_settle();
	client_expect(&d, "", CARAVAN__REASON__END);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("request");
	TCase *t = tcase_create("answers");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, only_the_next_position);
	tcase_add_test(t, only_its_own_coordinator);
	tcase_add_loop_test(t, tokens_outside_the_vocabulary, 0, 2);
	tcase_add_loop_test(t, ends, 0, 2);
	tcase_add_test(t, what_comes_before_the_answer);
	tcase_add_test(t, a_stop_text);
	tcase_add_loop_test(t, an_end_within_a_stop_text, 0, 2);
	suite_add_tcase(s, t);
	t = tcase_create("losses");
	tcase_set_timeout(t, 120);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_client_that_goes);
	tcase_add_test(t, a_coordinator_that_goes);
	tcase_add_test(t, too_much_is_waiting);
	tcase_add_test(t, a_model_that_goes);
	tcase_add_test(t, ends_within_ends);
	tcase_add_test(t, what_does_not_begin);
	tcase_add_loop_test(t, logprobs_come_with_the_text, 0, 2);
	tcase_add_loop_test(t, logprobs_at_the_end, 0, 2);
	tcase_add_loop_test(t, logprobs_that_cannot_be, 0, 2);
	tcase_add_test(t, logits_that_were_taken);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
