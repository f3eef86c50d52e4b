/* What caravan top shows, from reports that the test makes: streams in the order that is wanted, one of them, its end. */
#include "cli/top_view.h"
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MODELS = 2, STREAMS = 3 };

static struct top top;
static struct report report;
static Caravan__ReportNode node;
static Caravan__ReportModel model[MODELS];
static Caravan__Plan plan[MODELS];
static Caravan__ModelState state[MODELS];
static Caravan__StreamState stream[STREAMS], *list[MODELS][STREAMS];
static const Caravan__ReportModel *models[MODELS] = {&model[0], &model[1]};
static const Caravan__ReportNode *nodes[] = {&node};
static const struct node_id alpha = {{1}};

/* Stream 1 of a generates, 2 of a waits, 7 of b has a prompt. */
static void setup(void) {
	static const char *const names[] = {"a", "b"};
	caravan__report_node__init(&node);
	node.name = wire_string("alpha");
	node.node = wire_node(&alpha);
	node.state = wire_string("up");
	for (int i = 0; i < MODELS; i++) {
		caravan__report_model__init(&model[i]);
		caravan__plan__init(&plan[i]);
		caravan__model_state__init(&state[i]);
		plan[i].model = wire_string(names[i]);
		plan[i].coordinator = wire_node(&alpha);
		model[i].plan = &plan[i];
		model[i].state = &state[i];
		model[i].phase = CARAVAN__MODEL_PHASE__SERVING;
		state[i].streams = list[i];
	}
	for (int i = 0; i < STREAMS; i++) {
		caravan__stream_state__init(&stream[i]);
		stream[i].gateway = wire_node(&alpha);
		stream[i].prompt = 10;
		stream[i].limit = 100;
	}
	stream[0].id = 1;
	stream[0].phase = CARAVAN__STREAM_PHASE__STREAM_GENERATING;
	stream[0].prompt_done = 10;
	stream[0].cached = 4;
	stream[0].generated = 25;
	stream[0].tokens_per_second = 2.5;
	stream[0].age = 5;
	stream[0].drafted = 9;
	stream[0].accepted = 6;
	stream[0].blocks = 3;
	stream[0].first_token = 1.5;
	stream[1].id = 2;
	stream[1].place = 1;
	stream[1].age = 50;
	stream[2].id = 7;
	stream[2].phase = CARAVAN__STREAM_PHASE__STREAM_PROMPT;
	stream[2].generated = 30;
	stream[2].age = 20;
	list[0][0] = &stream[0];
	list[0][1] = &stream[1];
	list[1][0] = &stream[2];
	state[0].n_streams = state[0].streams_total = 2;
	state[1].n_streams = state[1].streams_total = 1;
	report = (struct report){
	        .node = nodes, .nodes = 1, .model = models, .models = MODELS, .healthy = true};
	memset(&top, 0, sizeof top);
	top.width = 80;
	top.bars = true;
	top_note(&top, &report);
}

/* The lines as one text, each of at most 80 columns. */
static const char *shown(void) {
	static char text[8192];
	struct top_lines l = top_view(&top);
	*text = '\0';
	for (size_t i = 0; i < l.n; i++) {
		ck_assert_uint_le(strlen(l.line[i].text), 80);
		snprintf(text + strlen(text), sizeof text - strlen(text), "%s%s\n",
		        i == l.selected ? ">" : "", l.line[i].text);
	}
	top_lines_free(&l);
	return text;
}

static void has(const char *what) {
	const char *text = shown();
	ck_assert_msg(strstr(text, what) != NULL, "no '%s' in:\n%s", what, text);
}

/* The ids of the rows of the table of streams. */
static void order(const char *want) {
	char ids[64] = "";
	const char *line = strstr(shown(), "\n stream");
	ck_assert_ptr_nonnull(line);
	for (line = strchr(line + 1, '\n') + 1; *line; line = strchr(line, '\n') + 1)
		snprintf(ids + strlen(ids), sizeof ids - strlen(ids), "%d ", atoi(line + strspn(line, "> ")));
	ck_assert_str_eq(ids, want);
}

START_TEST(all_streams_of_all_models) {
	order("1 2 7 ");
	has(" 1         a      generating  5 s   10/10   25/100  2.50      alpha");
	has(" 2         a      queued, 1   50 s  0/10    0/100   0         alpha");
	has(" 7         b      prompt ");
	/* a coordinator lists them in any order */
	list[0][0] = &stream[1];
	list[0][1] = &stream[0];
	order("1 2 7 ");
	/* some are not listed */
	state[0].streams_total = 70;
	has(" ... and 68 more streams");
	/* of the others nothing is known any more */
	model[0].phase = CARAVAN__MODEL_PHASE__UNAVAILABLE;
	order("7 ");
	ck_assert_ptr_null(strstr(shown(), "more streams"));
	state[1].n_streams = state[1].streams_total = 0;
	ck_assert_ptr_null(strstr(shown(), "stream"));
}
END_TEST

START_TEST(tables_are_sorted) {
	top_next_table(&top);
	top_next_table(&top);
	ck_assert_int_eq(top.table, TOP_STREAMS);
	has("stream v");
	top_next_sort(&top);
	has("tokens/s v");
	order("1 2 7 ");
	top_next_sort(&top);
	has("answer v");
	order("7 1 2 ");
	top_next_sort(&top);
	has("age v");
	order("2 7 1 ");
	top_next_sort(&top);
	order("1 2 7 ");
	/* the models too */
	top.table = TOP_MODELS;
	state[1].tokens_per_second = 3;
	state[1].sequences = 1;
	state[0].queued = 1;
	has("\n> a  ");
	top_next_sort(&top);
	has("\n> b  ");
	top_next_sort(&top);
	has("\n> a  ");
	top_move(&top, 1);
	has("\n> b  ");
	top_next_sort(&top);
	has("model v");
	has("\n> b  "); /* the same as before, elsewhere */
}
END_TEST

START_TEST(into_a_stream) {
	top.table = TOP_STREAMS;
	has("\n> 1 ");
	top_move(&top, 1);
	has("\n> 2 ");
	top_move(&top, 5);
	has("\n> 7 ");
	top_move(&top, -5);
	ck_assert(top_enter(&top));
	ck_assert_int_eq(top.page, TOP_STREAM);
	has("Stream 1 of a: generating, for 5 s\n");
	has(" prompt      [||||||||||] 10 of 10 tokens, 4 of them cached\n");
	has(" answer      [|||       ] 25 tokens, at most 100\n");
	has(" first token after 1.50 s\n");
	has(" drafts      6 of 9 tokens were right\n");
	has("   # ");
	has(" a second each; highest 2.50\n");
	top_move(&top, 1);
	has("Stream 2 of a: queued, for 50 s\n");
	has(" place       1 in the queue\n");
	ck_assert_ptr_null(strstr(shown(), "first token"));
	/* it ends while it is looked at */
	state[0].n_streams = state[0].streams_total = 1;
	top_note(&top, &report);
	has("Stream 2 of a has ended.\n");
	ck_assert_ptr_null(strstr(shown(), "Stream 1"));
	top.page = TOP_CLUSTER;
	ck_assert(!top_enter(&top));
	/* the next one with this number of another model is not it */
	stream[2].id = 2;
	ck_assert(!top_enter(&top));
	/* the table with nothing in it is passed over */
	state[0].n_streams = state[1].n_streams = 0;
	top.table = TOP_MODELS;
	top_next_table(&top);
	ck_assert_int_eq(top.table, TOP_NODES);
}
END_TEST

/* More streams come and go than histories are kept: those that are there have theirs. */
START_TEST(histories_of_what_is_there) {
	for (uint64_t i = 0; i < 4 * TOP_HISTORIES_MAX; i++) {
		stream[1].id = 100 + i;
		stream[1].tokens_per_second = (double)i + 1;
		top_note(&top, &report);
	}
	ck_assert_uint_le(top.histories, TOP_HISTORIES_MAX);
	top.page = TOP_STREAM;
	top.stream = 1;
	strcpy(top.stream_model, "a");
	has("##########");
	top.stream = 100 + 4 * TOP_HISTORIES_MAX - 1;
	has(" highest 768\n");
}
END_TEST

/* The events of the node whose page is shown, the latest first, and of no other. */
START_TEST(a_node_has_its_events) {
	static const char *const texts[] = {"node alpha joined", "node alpha was lost: it was unplugged"};
	static char who[] = "beta";
	char *seen[] = {who};
	ck_assert_ptr_null(top_shown_node(&top));
	top.page = TOP_NODE;
	ck_assert_str_eq(top_shown_node(&top), "alpha");
	strcpy(top.events.node, "alpha");
	for (size_t i = 0; i < 2; i++) {
		Caravan__Event event = CARAVAN__EVENT__INIT;
		Caravan__CtlEvent e = CARAVAN__CTL_EVENT__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(CTL_EVENT, ctl_event, &e);
		char err[200];
		uint8_t *frame;
		size_t len;
		event.serial = i + 1;
		event.kind = wire_string("node-lost");
		event.text = wire_string(texts[i]);
		event.severity = i ? 1 : 2;
		e.event = &event;
		e.node = who;
		e.seen = seen;
		e.n_seen = 1;
		ck_assert_int_eq(wire_pack(&env, &frame, &len), 0);
		top.events.env[top.events.n++] = wire_unpack(frame, len, 0, WIRE_COMMAND, err, sizeof err);
		ck_assert_msg(top.events.env[i] != NULL, "%s", err);
		free(frame);
	}
	const char *text = shown(), *lost = strstr(text, " node alpha was lost: it was unplugged\n"),
	           *first = strstr(text, " node alpha joined\n");
	ck_assert_msg(lost && first && lost < first, "%s", text);
	strcpy(top.events.node, "beta");
	ck_assert_ptr_null(strstr(shown(), "unplugged"));
	top_events_clear(&top.events);
	ck_assert_uint_eq(top.events.n, 0);
}
END_TEST

/* Model a has one stage, of layer 2, on alpha, where it computes. */
static Caravan__Stage stage, *stages[] = {&stage};
static Caravan__StageState stage_state, *stage_states[] = {&stage_state};
static Caravan__StageTime times[2], *time_list[] = {&times[0], &times[1]};
static Caravan__NodeState here;
static void with_a_stage(void) {
	caravan__stage__init(&stage);
	caravan__stage_state__init(&stage_state);
	caravan__node_state__init(&here);
	for (int i = 0; i < 2; i++) {
		caravan__stage_time__init(&times[i]);
		times[i].computed = 1;
	}
	stage.node = wire_node(&alpha);
	stage_state.model = plan[0].model;
	stage.first = stage_state.first = 2;
	stage.last = stage_state.last = 3;
	plan[0].stages = stages;
	plan[0].n_stages = 1;
	state[0].times = time_list;
	state[0].n_times = 2;
	here.version = wire_string("1.0");
	here.cpu = wire_string("scalar");
	here.threads = 1;
	here.stages = stage_states;
	here.n_stages = 1;
	node.node_state = &here;
}

START_TEST(one_is_no_plural_and_no_range) {
	with_a_stage();
	has(" 2\n");
	top.page = TOP_NODE;
	has("1.0, 1 thread, kernels scalar\n");
	has(" a      2       ");
	here.threads = 2;
	has("1.0, 2 threads, kernels scalar\n");
	top.page = TOP_MODEL;
	has(" layers      alpha 2\n");
}
END_TEST

/* Each token passes each stage: a node makes as many as the models that it has layers of, and none when they do not. */
START_TEST(nodes_make_what_their_models_make) {
	with_a_stage();
	stage_state.rows_per_second = 1665; /* of some seconds that are over */
	state[0].tokens_per_second = 27.9;
	state[0].prompt_tokens_per_second = 30.1;
	has(" alpha   up     [          ]  0 B  0 ");
	has(" a        serving  0 ");
	state[0].sequences = 1;
	stage_state.rows_per_second = 0; /* as of before it began */
	has(" alpha   up     [          ]  0 B  58.0");
	has(" a        serving  27.9 ");
	top.page = TOP_NODE;
	has(" a      2       0 B      0 B       58.0 ");
	top.page = TOP_CLUSTER;
	model[0].phase = CARAVAN__MODEL_PHASE__UNAVAILABLE;
	has(" alpha   up     [          ]  0 B  0 ");
}
END_TEST

/* Lines of text have no key that shows the others. */
START_TEST(problems_that_are_too_many) {
	static Caravan__Problem problem[4];
	static const Caravan__Problem *problems[4];
	static char *const what[] = {"one", "two", "three", "four"};
	for (int i = 0; i < 4; i++) {
		caravan__problem__init(&problem[i]);
		problem[i].what = what[i];
		problem[i].kind = wire_string("node-down");
		problems[i] = &problem[i];
	}
	report.problem = problems;
	report.problems = 4;
	has("\n  three\n  ... and 1 more: p shows all, with what to do\n");
	top.bars = false;
	has("\n  three\n  four\n");
	ck_assert_ptr_null(strstr(shown(), "p shows"));
	/* the same of several nodes is one */
	top.bars = true;
	problem[0].kind = problem[2].kind = wire_string("measured-busy");
	problem[0].subject = wire_string("alpha");
	problem[2].subject = wire_string("beta");
	has("\n  alpha and beta were measured ");
	has("\n  two\n  four\n");
	top.page = TOP_PROBLEMS;
	has("\n alpha and beta were measured ");
	has("\n two\n four\n");
}
END_TEST

/* Before a node is given up. */
START_TEST(a_node_falls_silent) {
	node.last_heard = 1.9;
	has(" alpha   up ");
	node.last_heard = 4.2;
	has(" alpha   silent 5 s ");
	node.self = true;
	has(" alpha   up ");
	node.self = false;
	node.state = wire_string("down");
	has(" alpha   down ");
}
END_TEST

/* When it was started is not since when it is linked. */
START_TEST(a_node_is_linked_for_a_time) {
	with_a_stage();
	top.page = TOP_NODE;
	node.since = 21.5;
	has("Node alpha is up, linked for 22 s\n");
	node.self = true;
	has("Node alpha is up, for 22 s\n");
	node.self = false;
	node.state = wire_string("down");
	has("Node alpha is down, for 22 s\n");
}
END_TEST

/* A bar is cut after names: half a bar says something else. */
START_TEST(bars_are_cut_last) {
	with_a_stage();
	here.memory_allowed = 100;
	here.memory_used = 100;
	node.name = wire_string("kitchenette");
	top.width = 66;
	has("~  up ");
	has(" [||||||||||] ");
}
END_TEST

/* A model that is being loaded is not none. */
START_TEST(what_is_being_loaded) {
	Caravan__WorkState work = CARAVAN__WORK_STATE__INIT, *list_of_work[] = {&work};
	with_a_stage();
	report.models = 0;
	has("\n No model is loaded: caravan load FILE.\n");
	work.what = wire_string("fetching");
	work.model = wire_string("neu");
	here.work = list_of_work;
	here.n_work = 1;
	has("\n alpha is fetching neu.\n");
	work.total = 2048;
	work.done = 512;
	has("\n alpha is fetching neu: 25% of 2.00 KiB.\n");
	ck_assert_ptr_null(strstr(shown(), "No model"));
	node.state = wire_string("down");
	has("\n No model is loaded: caravan load FILE.\n");
}
END_TEST

/* In a terminal of 80 columns no label is cut, and it is said what the shares are of. */
START_TEST(where_the_time_goes) {
	with_a_stage();
	top.page = TOP_MODEL;
	has(" embedding, output  [|||||     ]  50.0%   0.0%    50.0% ");
	has(" alpha 2            [|||||     ]  50.0% ");
	has(" All rows together are the whole time of a step.\n");
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("top");
	TCase *t = tcase_create("streams");
	tcase_add_checked_fixture(t, setup, NULL);
	tcase_add_test(t, all_streams_of_all_models);
	tcase_add_test(t, tables_are_sorted);
	tcase_add_test(t, into_a_stream);
	tcase_add_test(t, histories_of_what_is_there);
	tcase_add_test(t, a_node_has_its_events);
	tcase_add_test(t, one_is_no_plural_and_no_range);
	tcase_add_test(t, nodes_make_what_their_models_make);
	tcase_add_test(t, problems_that_are_too_many);
	tcase_add_test(t, a_node_is_linked_for_a_time);
	tcase_add_test(t, a_node_falls_silent);
	tcase_add_test(t, bars_are_cut_last);
	tcase_add_test(t, what_is_being_loaded);
	tcase_add_test(t, where_the_time_goes);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
