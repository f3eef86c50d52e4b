/* report: the messages of a report are put together, and the JSON says what they say, by names. */
#include "daemon/report/report.h"

#include <check.h>
#include <stdlib.h>

static struct report report;
static const struct node_id alpha = {{1}}, beta = {{2}}, unknown = {{0xab, 0xcd, 0xef}};

/* As a daemon sends it and a command receives it. */
static void add(Caravan__CtlReport *message) {
	Caravan__Envelope env = WIRE_ENVELOPE(CTL_REPORT, ctl_report, message);
	uint8_t *frame;
	size_t len;
	char err[256] = "";
	ck_assert_int_eq(wire_pack(&env, &frame, &len), 0);
	Caravan__Envelope *copy = wire_unpack(frame, len, 0, WIRE_COMMAND, err, sizeof err);
	ck_assert_msg(copy != NULL, "%s", err);
	free(frame);
	ck_assert_int_eq(report_add(&report, copy), 0);
}

static void add_node(const char *name, const struct node_id *id, bool self, Caravan__NodeState *state) {
	Caravan__CtlReport message = CARAVAN__CTL_REPORT__INIT;
	Caravan__ReportNode node = CARAVAN__REPORT_NODE__INIT, *nodes[] = {&node};
	node.name = wire_string(name);
	node.node = wire_node(id);
	node.state = wire_string("up");
	node.self = self;
	node.since = 7;
	node.node_state = state;
	message.nodes = nodes;
	message.n_nodes = 1;
	message.healthy = true;
	add(&message);
}

START_TEST(who_was_expelled_knows_nothing_of_the_cluster) {
	Caravan__CtlReport message = CARAVAN__CTL_REPORT__INIT;
	char verdict[REPORT_VERDICT];
	add_node("beta", &beta, false, NULL);
	report_verdict(&report, verdict);
	ck_assert_str_eq(verdict, "The cluster is healthy: 1 of 1 nodes up, no models.");
	Caravan__ReportNode node = CARAVAN__REPORT_NODE__INIT, *nodes[] = {&node};
	node.name = wire_string("alpha");
	node.node = wire_node(&alpha);
	node.state = wire_string("expelled");
	message.nodes = nodes;
	message.n_nodes = 1;
	add(&message); /* another one */
	report_verdict(&report, verdict);
	ck_assert_ptr_nonnull(strstr(verdict, "1 of 1 nodes up"));
	node.self = true;
	add(&message);
	report_verdict(&report, verdict);
	ck_assert_str_eq(verdict, "This node is not in its cluster any more.");
}
END_TEST

static Caravan__PeerState peer_state(const struct node_id *id, double round_trip, double rate) {
	Caravan__PeerState p = CARAVAN__PEER_STATE__INIT;
	p.node = wire_node(id);
	p.round_trip = round_trip;
	p.rate = rate;
	p.up = true;
	return p;
}

/* alpha coordinates and has layers 0-3, beta has 4-7; beta copies a model. */
static void two_nodes(double round_trip, uint64_t copied) {
	Caravan__NodeState a = CARAVAN__NODE_STATE__INIT, b = CARAVAN__NODE_STATE__INIT;
	Caravan__StageState stage = CARAVAN__STAGE_STATE__INIT, *stages[] = {&stage};
	Caravan__WorkState work = CARAVAN__WORK_STATE__INIT, *works[] = {&work};
	Caravan__PeerState to_beta = peer_state(&beta, round_trip, 111),
	                   to_alpha = peer_state(&alpha, 0.25, 222);
	Caravan__PeerState *of_a[] = {&to_beta}, *of_b[] = {&to_alpha};
	a.peers = of_a;
	b.peers = of_b;
	a.n_peers = b.n_peers = 1;
	stage.manifest = wire_node(&alpha);
	stage.model = wire_string("m");
	stage.first = 4;
	stage.last = 8;
	stage.weight_bytes = 4444;
	b.stages = stages;
	b.n_stages = 1;
	work.model = wire_string("other");
	work.what = wire_string("copying");
	work.done = copied;
	work.total = 1000;
	b.work = works;
	b.n_work = 1;
	add_node("alpha", &alpha, true, &a);
	add_node("beta", &beta, false, &b);
}

static Caravan__ModelState *reported; /* by the coordinator of the model; NULL: nothing */

static void add_model(const struct node_id *second) {
	Caravan__CtlReport message = CARAVAN__CTL_REPORT__INIT;
	Caravan__ReportModel model = CARAVAN__REPORT_MODEL__INIT, *models[] = {&model};
	Caravan__Plan plan = CARAVAN__PLAN__INIT;
	Caravan__Epoch epoch = CARAVAN__EPOCH__INIT;
	Caravan__Stage first = CARAVAN__STAGE__INIT, last = CARAVAN__STAGE__INIT, *stages[] = {&first, &last};
	epoch.counter = 1;
	epoch.node = plan.coordinator = first.node = wire_node(&alpha);
	last.node = wire_node(second);
	first.last = last.first = 4;
	last.last = 8;
	plan.model = wire_string("m");
	plan.manifest = plan.vocab = wire_node(&alpha);
	plan.epoch = &epoch;
	plan.stages = stages;
	plan.n_stages = 2;
	plan.context = plan.parallel = plan.blocks = plan.max_rows = 16;
	model.plan = &plan;
	model.phase = CARAVAN__MODEL_PHASE__SERVING;
	model.state = reported;
	message.models = models;
	message.n_models = 1;
	message.healthy = true;
	add(&message);
}

static json_t *finish(void) {
	json_t *o = report_json(&report);
	ck_assert(json_is_object(o));
	report_clear(&report);
	return o;
}

static const json_t *at(const json_t *o, const char *list, size_t i, const char *key) {
	const json_t *v = json_object_get(json_array_get(json_object_get(o, list), i), key);
	ck_assert_msg(v != NULL, "no %s of %s %zu", key, list, i);
	return v;
}

static void same_text(const json_t *v, const char *text) {
	json_t *want = json_loads(text, JSON_DECODE_ANY, NULL);
	char *have = json_dumps(v, JSON_ENCODE_ANY);
	ck_assert_msg(want && json_equal(v, want), "%s", have);
	free(have);
	json_decref(want);
}

START_TEST(stages_by_name) {
	two_nodes(0.5, 250);
	add_model(&beta);
	json_t *o = finish();
	const json_t *stages = at(o, "models", 0, "stages");
	same_text(at(o, "models", 0, "coordinator"), "\"alpha\"");
	same_text(json_object_get(json_array_get(stages, 1), "node"), "\"beta\"");
	same_text(json_object_get(json_array_get(stages, 1), "weight_bytes"), "4444");
	ck_assert(!json_object_get(json_array_get(stages, 0), "weight_bytes")); /* it reports none */
	same_text(at(o, "nodes", 1, "work"),
	        "[{\"model\": \"other\", \"what\": \"copying\", \"done_bytes\": 250, \"total_bytes\": 1000}]");
	json_decref(o);
}
END_TEST

START_TEST(links_on_the_way) {
	two_nodes(0.5, 250);
	add_model(&beta);
	json_t *o = finish();
	const json_t *stages = at(o, "models", 0, "stages");
	/* as the sender measures the round trip, and the receiver the rate */
	same_text(json_object_get(json_array_get(stages, 0), "link"),
	        "{\"node\": \"beta\", \"up\": true, \"round_trip_seconds\": 0.5, \"rate\": 222.0}");
	same_text(json_object_get(json_array_get(stages, 1), "link"),
	        "{\"node\": \"alpha\", \"up\": true, \"round_trip_seconds\": 0.25, \"rate\": 111.0}");
	/* the coordinator has the first stage itself */
	ck_assert(!json_object_get(json_array_get(json_object_get(o, "models"), 0), "link"));
	json_decref(o);
}
END_TEST

START_TEST(how_fast_and_whom) {
	Caravan__ModelState s = CARAVAN__MODEL_STATE__INIT;
	Caravan__ServingStats minute = CARAVAN__SERVING_STATS__INIT, hour = CARAVAN__SERVING_STATS__INIT;
	Caravan__Percentiles p = CARAVAN__PERCENTILES__INIT;
	Caravan__StreamState one = CARAVAN__STREAM_STATE__INIT, two = CARAVAN__STREAM_STATE__INIT;
	Caravan__StreamState *streams[] = {&one, &two};
	s.name = wire_string("m");
	s.copies = 2;
	s.disks = 3;
	s.at_risk = wire_string("");
	reported = &s;
	/* from a coordinator before 1.5: unknown, which is not nothing */
	two_nodes(0.5, 250);
	add_model(&beta);
	json_t *o = finish();
	const json_t *m = json_array_get(json_object_get(o, "models"), 0);
	ck_assert(!json_object_get(m, "last_minute") && !json_object_get(m, "streams"));
	same_text(json_object_get(json_object_get(m, "copies"), "disks"), "3");
	json_decref(o);
	minute.seconds = 59.5;
	minute.tokens_per_second = 12.5;
	minute.prompt_tokens_per_second = 100.5;
	minute.first_token = &p;
	hour.seconds = 100.5;
	p.p50 = 0.25;
	p.p90 = 0.5;
	p.p99 = 0.75;
	p.count = 7;
	one.id = 11;
	one.phase = CARAVAN__STREAM_PHASE__STREAM_GENERATING;
	one.gateway = wire_node(&beta);
	one.age = 1.5;
	one.prompt = one.prompt_done = 9;
	one.cached = 8;
	one.generated = 5;
	one.limit = 20;
	one.tokens_per_second = 2.5;
	one.drafted = 4;
	one.accepted = 3;
	one.blocks = 1;
	one.first_token = 0.5;
	two.id = 12;
	two.gateway = wire_node(&unknown);
	two.prompt = 1;
	two.place = 3;
	s.minute = &minute;
	s.hour = &hour;
	s.streams = streams;
	s.n_streams = 2;
	s.streams_total = 70;
	two_nodes(0.5, 250);
	add_model(&beta);
	o = finish();
	same_text(at(o, "models", 0, "last_minute"),
	        "{\"covered_seconds\": 59.5, \"tokens_per_second\": 12.5, \"prompt_tokens_per_second\": 100.5,"
	        " \"first_token\": {\"p50_seconds\": 0.25, \"p90_seconds\": 0.5, \"p99_seconds\": 0.75, \"count\": 7}}");
	same_text(at(o, "models", 0, "last_hour"),
	        "{\"covered_seconds\": 100.5, \"tokens_per_second\": 0.0, \"prompt_tokens_per_second\": 0.0}");
	same_text(at(o, "models", 0, "streams"),
	        "[{\"id\": 11, \"state\": \"generating\", \"gateway\": \"beta\", \"age_seconds\": 1.5,"
	        " \"prompt_tokens\": 9, \"prompt_done\": 9, \"cached_tokens\": 8, \"generated_tokens\": 5,"
	        " \"limit\": 20, \"tokens_per_second\": 2.5, \"drafted\": 4, \"accepted\": 3, \"blocks\": 1,"
	        " \"first_token_seconds\": 0.5},"
	        " {\"id\": 12, \"state\": \"queued\", \"gateway\": \"abcdef000000\", \"age_seconds\": 0.0,"
	        " \"prompt_tokens\": 1, \"prompt_done\": 0, \"cached_tokens\": 0, \"generated_tokens\": 0,"
	        " \"limit\": 0, \"tokens_per_second\": 0.0, \"drafted\": 0, \"accepted\": 0, \"blocks\": 0,"
	        " \"place\": 3}]");
	same_text(at(o, "models", 0, "streams_total"), "70");
	/* what ages is no news; a token is */
	minute.tokens_per_second = 12.25;
	hour.seconds++;
	one.age = 2.5;
	two_nodes(0.5, 250);
	add_model(&beta);
	json_t *older = finish();
	ck_assert(report_json_same(o, older));
	one.generated++;
	two_nodes(0.5, 250);
	add_model(&beta);
	json_t *further = finish();
	ck_assert(!report_json_same(o, further));
	json_decref(o);
	json_decref(older);
	json_decref(further);
	reported = NULL;
}
END_TEST

/* beta's layers 4 and 5 are mixtures of 16 experts. */
START_TEST(which_experts_are_chosen) {
	Caravan__NodeState b = CARAVAN__NODE_STATE__INIT;
	Caravan__StageState stage = CARAVAN__STAGE_STATE__INIT, *stages[] = {&stage};
	Caravan__ExpertLayer one = CARAVAN__EXPERT_LAYER__INIT, two = one, *layers[] = {&one, &two};
	const uint32_t top[] = {9, 2}, share[] = {3000, 625};
	stage.manifest = wire_node(&alpha);
	stage.model = wire_string("m");
	stage.first = 4;
	stage.last = 8;
	stage.experts = 16;
	stage.expert_layers = layers;
	stage.n_expert_layers = 2;
	b.stages = stages;
	b.n_stages = 1;
	one.layer = 4;
	two.layer = 5;
	one.chosen = two.chosen = 128;
	one.half = 2;
	two.half = 4;
	one.in_memory = 1;
	two.in_memory = 7;
	one.top = wire_bytes(top, sizeof top);
	one.share = wire_bytes(share, sizeof share);
	add_node("beta", &beta, false, &b);
	add_model(&beta);
	ck_assert_double_eq(report_expert_half(&report, report.model[0]), 3.0 / 16);
	ck_assert_double_eq(report_experts_in_memory(report_stage(&report, report.model[0], 1)), 0.25);
	json_t *o = finish();
	const json_t *s = json_array_get(at(o, "models", 0, "stages"), 1);
	same_text(json_object_get(s, "experts"), "16");
	same_text(json_object_get(s, "expert_layers"),
	        "[{\"layer\": 4, \"chosen\": 128, \"half\": 2, \"most_chosen\": [{\"expert\": 9, \"share\": 0.3},"
	        " {\"expert\": 2, \"share\": 0.0625}]},"
	        " {\"layer\": 5, \"chosen\": 128, \"half\": 4, \"most_chosen\": []}]");
	json_decref(o);
	stage.streamed_bytes = 1; /* experts are read from disk */
	two.chosen--;             /* and too few were chosen yet */
	add_node("beta", &beta, false, &b);
	add_model(&beta);
	ck_assert_double_eq(report_expert_half(&report, report.model[0]), 0);
	o = finish();
	s = json_object_get(json_array_get(at(o, "models", 0, "stages"), 1), "expert_layers");
	same_text(json_object_get(json_array_get(s, 1), "in_memory"), "7");
	json_decref(o);
}
END_TEST

START_TEST(an_unknown_node) {
	two_nodes(0.5, 250);
	add_model(&unknown);
	json_t *o = finish();
	const json_t *last = json_array_get(at(o, "models", 0, "stages"), 1);
	same_text(json_object_get(last, "node"), "\"abcdef000000\"");
	ck_assert(!json_object_get(last, "link"));
	json_decref(o);
}
END_TEST

START_TEST(what_counts_as_a_change) {
	two_nodes(0.5, 250);
	add_model(&beta);
	json_t *before = finish();
	two_nodes(0.75, 250); /* round trips change all the time */
	add_model(&beta);
	json_t *drifted = finish();
	two_nodes(0.5, 251);
	add_model(&beta);
	json_t *copied = finish();
	two_nodes(0.5, 250);
	json_t *unloaded = finish();
	ck_assert(!json_equal(before, drifted));
	ck_assert(report_json_same(before, drifted));
	ck_assert(!report_json_same(before, copied));
	ck_assert(!report_json_same(before, unloaded));
	ck_assert(!report_json_same(unloaded, before));
	json_object_set_new(json_array_get(json_object_get(drifted, "nodes"), 0), "reason", json_string("x"));
	ck_assert(!report_json_same(before, drifted));
	ck_assert(!report_json_same(drifted, before));
	json_decref(before);
	json_decref(drifted);
	json_decref(copied);
	json_decref(unloaded);
}
END_TEST

static Caravan__Problem busy(const char *subject, const char *what) {
	Caravan__Problem p = CARAVAN__PROBLEM__INIT;
	p.kind = wire_string("measured-busy");
	p.subject = wire_string(subject);
	p.what = wire_string(what);
	p.advice = wire_string("wait");
	return p;
}

/* To people; programs have each by itself. */
START_TEST(what_several_nodes_have_is_told_once) {
	Caravan__Problem p[] = {busy("attic", "attic was busy: 89%."), CARAVAN__PROBLEM__INIT,
	        busy("kitchen", "kitchen was busy: 42%."), busy("study", "study was busy: 7%.")};
	const Caravan__Problem *list[] = {&p[0], &p[1], &p[2], &p[3]};
	struct report r = {.problem = list, .problems = 1};
	struct report_told told;
	p[1].kind = wire_string("node-down");
	p[1].what = wire_string("cellar is down.");
	ck_assert(report_tell(&r, 0, &told));
	ck_assert_str_eq(told.what, "attic was busy: 89%.");
	ck_assert_str_eq(told.advice, "wait");
	r.problems = 3;
	ck_assert(report_tell(&r, 0, &told));
	ck_assert_msg(strncmp(told.what, "attic and kitchen were measured while ", 38) == 0, "%s", told.what);
	ck_assert_ptr_nonnull(strstr(told.advice, "caravan measure NODE"));
	ck_assert(report_tell(&r, 1, &told));
	ck_assert_str_eq(told.what, "cellar is down.");
	ck_assert_str_eq(told.advice, "");
	ck_assert(!report_tell(&r, 2, &told));
	r.problems = 4;
	ck_assert(report_tell(&r, 0, &told));
	ck_assert_msg(strncmp(told.what, "attic, kitchen and study were ", 30) == 0, "%s", told.what);
	ck_assert(!report_tell(&r, 3, &told));
	json_t *j = report_json(&r);
	ck_assert_uint_eq(json_array_size(json_object_get(j, "problems")), 4);
	json_decref(j);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("report");
	TCase *t = tcase_create("json");
	tcase_add_test(t, stages_by_name);
	tcase_add_test(t, links_on_the_way);
	tcase_add_test(t, how_fast_and_whom);
	tcase_add_test(t, which_experts_are_chosen);
	tcase_add_test(t, an_unknown_node);
	tcase_add_test(t, what_counts_as_a_change);
	tcase_add_test(t, who_was_expelled_knows_nothing_of_the_cluster);
	tcase_add_test(t, what_several_nodes_have_is_told_once);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
