/* alternatives: which node holds a plan up, which one would help, and that nothing is said of what is as good as it can be. */
#include "daemon/plan/alternatives.h"
#include "daemon/plan/presets.h"
#include <check.h>

#define GIB ((uint64_t)1 << 30)
#define NODES 4

static struct manifest *m;
static struct planner_node node[NODES];
static struct planner_input in;
static struct alternatives_stage stage[NODES];
static struct alternatives found;

/* Nodes that are alike: 20 GB/s, near, with memory for half of the model. */
static void setup(void) {
	char err[700];
	ck_assert_int_eq(presets_manifest(&m, "llama2-7b:Q4_0", err, sizeof err), 0);
	for (int i = 0; i < NODES; i++) {
		node[i] = (struct planner_node){
		        .name = "", .memory = 3 * GIB, .hop = 500e-6, .rate = PLANNER_LINK_RATE};
		for (int t = 0; t < KERN_TYPES; t++)
			node[i].bytes_per_second[t] = 20e9;
	}
	in = (struct planner_input){.manifest = m,
	        .context = 1024,
	        .parallel = 1,
	        .max_rows = 512,
	        .kv = KERN_KV_F16,
	        .node = node,
	        .nodes = 3,
	        .team = 4};
	/* over three, by equal parts */
	stage[0] = (struct alternatives_stage){.node = 0, .first = 0, .last = 11};
	stage[1] = (struct alternatives_stage){.node = 1, .first = 11, .last = 22};
	stage[2] = (struct alternatives_stage){.node = 2, .first = 22, .last = 32};
}

static void teardown(void) {
	manifest_destroy(m);
}

static void find(size_t stages) {
	ck_assert_int_eq(alternatives_find(&found, &in, stage, stages), 0);
}

START_TEST(alike_nodes_are_left_as_they_are) {
	find(3);
	ck_assert(!found.without.found && !found.with.found);
	double sum = planner_layers_seconds(&in, 0, 0, 32) + planner_head_seconds(&in);
	ck_assert_double_eq_tol(found.now, sum + 3 * 500e-6, 1e-6);
}
END_TEST

START_TEST(a_slow_node_drags) {
	/* five times slower than it was measured, as its stage shows */
	stage[1].seconds = 5 * planner_layers_seconds(&in, 1, 11, 22);
	find(3);
	ck_assert(found.without.found && !found.with.found);
	ck_assert_uint_eq(found.without.node, 1);
	/* then the two others compute all of it */
	double sum = planner_layers_seconds(&in, 0, 0, 32) + planner_head_seconds(&in);
	ck_assert_double_eq_tol(found.without.then, sum + 2 * 500e-6, 1e-4);
	ck_assert_double_gt(found.now, 2 * found.without.then);
	/* but not when the others have no memory for it */
	node[0].memory = node[2].memory = 2 * GIB;
	find(3);
	ck_assert(!found.without.found);
}
END_TEST

START_TEST(a_slow_link_drags) {
	node[2].hop = 40e-3;
	find(3);
	ck_assert(found.without.found);
	ck_assert_uint_eq(found.without.node, 2);
}
END_TEST

START_TEST(what_helps_one_stream_and_slows_many_is_not_said) {
	/* each has memory for all of it, and going without one saves a hop of 40 ms: but then the slowest stage is longer */
	for (int i = 0; i < 3; i++) {
		node[i].memory = 16 * GIB;
		node[i].hop = 40e-3;
	}
	in.parallel = 4;
	find(3);
	ck_assert(!found.without.found);
	in.parallel = 1;
	find(3);
	ck_assert(found.without.found);
}
END_TEST

START_TEST(small_gains_are_not_said) {
	stage[1].seconds = 1.25 * planner_layers_seconds(&in, 1, 11, 22);
	find(3);
	ck_assert(!found.without.found); /* 8% */
	/* nodes with a model so small that a hop is a large part of a token: 9 ms are not said, 20 ms are */
	for (int i = 0; i < 3; i++)
		for (int t = 0; t < KERN_TYPES; t++)
			node[i].bytes_per_second[t] = 20e12;
	stage[1].seconds = 0;
	node[2].hop = 9e-3;
	find(3);
	ck_assert(!found.without.found);
	node[2].hop = 20e-3;
	find(3);
	ck_assert(found.without.found);
}
END_TEST

START_TEST(the_coordinator_and_the_last_stage_stay) {
	stage[0].seconds = 5 * planner_layers_seconds(&in, 0, 0, 11);
	find(3);
	ck_assert(!found.without.found);
	in.nodes = 2;
	node[1].memory = 8 * GIB;
	stage[0] = (struct alternatives_stage){1, 0, 32, 1};
	find(1);
	ck_assert(!found.without.found);
}
END_TEST

START_TEST(a_quicker_node_helps) {
	in.nodes = 4;
	node[3].memory = 8 * GIB;
	for (int t = 0; t < KERN_TYPES; t++)
		node[3].bytes_per_second[t] = 60e9;
	find(3);
	ck_assert(found.with.found);
	ck_assert_uint_eq(found.with.node, 3);
	ck_assert_double_lt(found.with.then * 2, found.now);
	/* unless the user named others */
	node[3].excluded = true;
	find(3);
	ck_assert(!found.with.found);
	node[3].excluded = false;
	/* where all compute more slowly than was measured, it will too */
	for (int i = 0; i < 3; i++)
		stage[i].seconds =
		        4 * planner_layers_seconds(&in, stage[i].node, stage[i].first, stage[i].last);
	double before = found.with.then;
	find(3);
	ck_assert(found.with.found);
	ck_assert_double_gt(found.with.then, 2 * before);
	/* one that is like the others does not */
	for (int t = 0; t < KERN_TYPES; t++)
		node[3].bytes_per_second[t] = 20e9;
	find(3);
	ck_assert(!found.with.found);
}
END_TEST

START_TEST(another_split_is_no_other_node) {
	/* all would be quicker on the nodes that it has: no node is missing for that */
	in.nodes = 4;
	for (int i = 0; i < 4; i++)
		node[i].memory = 8 * GIB;
	for (int t = 0; t < KERN_TYPES; t++)
		node[0].bytes_per_second[t] = node[3].bytes_per_second[t] = 100e9;
	find(3);
	ck_assert(!found.with.found);
}
END_TEST

START_TEST(without_rates_nothing_is_said) {
	node[2].hop = 40e-3;
	for (int t = 0; t < KERN_TYPES; t++)
		node[1].bytes_per_second[t] = 0;
	find(3);
	ck_assert(!found.without.found && !found.with.found);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("alternatives");
	TCase *t = tcase_create("alternatives");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, alike_nodes_are_left_as_they_are);
	tcase_add_test(t, a_slow_node_drags);
	tcase_add_test(t, a_slow_link_drags);
	tcase_add_test(t, what_helps_one_stream_and_slows_many_is_not_said);
	tcase_add_test(t, small_gains_are_not_said);
	tcase_add_test(t, the_coordinator_and_the_last_stage_stay);
	tcase_add_test(t, a_quicker_node_helps);
	tcase_add_test(t, another_split_is_no_other_node);
	tcase_add_test(t, without_rates_nothing_is_said);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
