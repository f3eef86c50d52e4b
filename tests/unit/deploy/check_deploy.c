/* deploy: loading models on several nodes, what can go wrong then, and unloading. */
#include "daemon/plan/planner.h"
#include "proto/plan.h"
#include "shard/import/import.h"
#include "tests/support/deploys.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct deploy_load all = {.all_nodes = true};

START_TEST(serves_on_three_nodes) {
	struct deploys_outcome o;
	char err[300];
	deploys_cluster(3);
	char path[200];
	snprintf(path, sizeof path, "%s", nodes_model("m-00001-of-00001.gguf", KERN_Q4_0, 6, 1));
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	ck_assert_uint_gt(o.packing, 0);
	ck_assert_ptr_nonnull(strstr(o.sent_to, "bob"));
	ck_assert_ptr_nonnull(strstr(o.sent_to, "cleo"));
	/* every live node knows it, and could take a prompt */
	uint32_t next = 0;
	for (int i = 0; i < 3; i++) {
		const struct deploy_model *m = deploys_model(i, NULL);
		ck_assert_ptr_nonnull(m);
		ck_assert_str_eq(m->plan->model, "m");
		ck_assert_int_eq(m->phase, CARAVAN__MODEL_PHASE__SERVING);
		ck_assert(m->vocab && m->manifest);
		ck_assert_uint_eq(m->vocab->tokens, 300);
		ck_assert_uint_eq(m->plan->n_stages, 3);
		ck_assert_uint_eq(m->plan->context, 512);
		ck_assert_uint_eq(m->plan->parallel, 4);
		ck_assert_uint_eq(m->plan->blocks, 4 * 8);
		ck_assert_ptr_nonnull(deploys[i].stage);
		ck_assert_uint_eq(deploys[i].opened, 1);
		ck_assert_uint_eq(deploys[i].models_opened, i == 0);
		ck_assert_uint_eq(deploy_memory_used(deploys[i].deploy),
		        planner_slice_bytes(m->manifest, deploys[i].stage->first, deploys[i].stage->last,
		                planner_plan_kv(m->plan), m->plan->max_rows, 2) +
		                (i ? 0 : planner_io_bytes(m->manifest, 4, m->plan->max_rows)));
	}
	for (size_t k = 0; k < 3; k++) {
		const Caravan__Stage *s = deploys_model(0, "m")->plan->stages[k];
		ck_assert_uint_eq(s->first, next);
		next = s->last;
	}
	ck_assert_uint_eq(next, 6);
	ck_assert_uint_eq(deploy_moved(deploys[0].deploy), 0);
	ck_assert_uint_gt(deploy_moved(deploys[1].deploy), 0);

	/* the same again is there already, another under its name is refused */
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	ck_assert_str_eq(deploys_load(1, path, all, &o), "");
	ck_assert_uint_eq(deploys[0].models_opened, 1);
	ck_assert_str_eq(deploys_load(0, nodes_model("m.gguf", KERN_Q4_0, 6, 2), all, &o),
	        "the name m is in use by another model; choose one with --name, or unload it");
	ck_assert_ptr_nonnull(deploys[0].io);

	/* any node may unload it; memory is free everywhere */
	ck_assert_str_eq(deploys_unload(2, "m"), "");
	deploys_nothing_is_left(3);
	ck_assert_int_lt(deploy_unload(deploys[1].deploy, "m", deploys_on_done, &o, err, sizeof err), 0);
	ck_assert_str_eq(err, "model m is on disk and not loaded; to load it: caravan load m");

	/* a second load of the same moves nothing, under a higher epoch */
	uint64_t moved[3];
	for (int i = 0; i < 3; i++)
		moved[i] = deploy_moved(deploys[i].deploy);
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	ck_assert_uint_eq(o.sending, 0);
	ck_assert_uint_eq(o.packing, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(deploy_moved(deploys[i].deploy), moved[i]);
	ck_assert_uint_gt(deploys_model(2, "m")->plan->epoch->counter, 1);
	ck_assert_str_eq(deploys_unload(0, NULL), "");
	deploys_nothing_is_left(3);
}
END_TEST

/* Copies of weights are asked for by their size, charged as maps are, and there is none of weights that are read from disk. */
START_TEST(weights_are_in_huge_pages_where_there_is_room) {
	struct deploys_outcome o;
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	uint64_t weights = 0, ends = 0, used = 0;
	deploys_cluster(1);
	for (int i = 0; i < 6; i++) {
		const uint64_t most[] = {0, weights - 1, weights, ends - 1, ends, UINT64_MAX};
		deploys[0].huge_most = most[i];
		ck_assert_str_eq(deploys_load(0, path, all, &o), "");
		const struct deploy_model *m = deploys_model(0, "m");
		weights = planner_layer_bytes(m->manifest, 0, 6);
		ends = planner_io_bytes(m->manifest, m->plan->parallel, m->plan->max_rows);
		ck_assert_int_eq(deploys[0].stage->copy != NULL, most[i] >= weights);
		ck_assert_int_eq(deploys[0].io->copy != NULL, most[i] >= ends);
		ck_assert(used == 0 || deploy_memory_used(deploys[0].deploy) == used);
		used = deploy_memory_used(deploys[0].deploy);
		ck_assert_str_eq(deploys_unload(0, NULL), "");
	}
}
END_TEST

START_TEST(two_models_and_named_nodes) {
	struct deploys_outcome o;
	char err[300];
	const char *const bob[] = {"bob"}, *const both[] = {"cleo", "bob"};
	deploys_cluster(3);
	/* the coordinator is not among the named: it has only embedding and output */
	ck_assert_str_eq(
	        deploys_load(0, nodes_model("one.gguf", KERN_Q8_0, 2, 1),
	                (struct deploy_load){.nodes = bob, .nnodes = 1, .context = 100, .parallel = 1}, &o),
	        "");
	ck_assert_ptr_null(deploys[0].stage);
	ck_assert_ptr_nonnull(deploys[0].io);
	ck_assert_ptr_nonnull(deploys[1].stage);
	ck_assert_uint_eq(deploys_model(2, "one")->plan->blocks, 2);
	slice_destroy(deploys[1].stage); /* our layer above holds one at a time */
	deploys[1].stage = NULL;
	slice_destroy(deploys[0].io);
	deploys[0].io = NULL;
	ck_assert_str_eq(deploys_load(2, nodes_model("two.gguf", KERN_Q8_0, 2, 2),
	                         (struct deploy_load){.nodes = both, .nnodes = 2, .name = "zwei"}, &o),
	        "");
	ck_assert_str_eq(deploy_at(deploys[0].deploy, 0)->plan->model, "one");
	ck_assert_str_eq(deploy_at(deploys[0].deploy, 1)->plan->model, "zwei");
	ck_assert_ptr_null(deploy_at(deploys[0].deploy, 2));
	ck_assert_ptr_null(deploy_find(deploys[0].deploy, NULL, err, sizeof err));
	ck_assert_str_eq(err, "several models are served, so one must be named: one, zwei");
	ck_assert_ptr_nonnull(deploy_find(deploys[0].deploy, "zwei", err, sizeof err));
}
END_TEST

START_TEST(what_cannot_be_is_said) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 2, 1);
	struct deploys_outcome o;
	char want[200];
	const char *const unknown[] = {"bob", "zoe"};
	deploys_cluster(3);
	ck_assert_str_eq(
	        deploys_load(0, path, all, &o), "3 nodes are named, but the model has only 2 layers");
	ck_assert_str_eq(deploys_load(0, path, (struct deploy_load){.nodes = unknown, .nnodes = 2}, &o),
	        "zoe is not a node of this cluster");
	ck_assert_str_eq(deploys_load(0, path, (struct deploy_load){.context = 513}, &o),
	        "a context of 513 is more than the model was trained for: 512");
	deploys_load(0, path, (struct deploy_load){.name = "../m"}, &o);
	ck_assert_ptr_nonnull(strstr(o.error, "is not a name for a model"));
	snprintf(want, sizeof want, "%s/junk.gguf", nodes_root);
	int fd = open(want, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, "GGUF junk", 9), 9);
	close(fd);
	deploys_load(0, want, all, &o);
	ck_assert_ptr_nonnull(strstr(o.error, "junk.gguf"));
	deploys_nothing_is_left(3);
}
END_TEST

START_TEST(a_cache_that_an_older_node_has_not) {
	char path[200];
	struct deploys_outcome o;
	struct deploy_load with = {.all_nodes = true, .kv = 1 + KERN_KV_Q8_0};
	snprintf(path, sizeof path, "%s", nodes_model("m.gguf", KERN_Q4_0, 6, 1));
	nodes[1].kv_types = 0; /* it says nothing of it */
	deploys_cluster(3);
	deploys_load(0, path, with, &o);
	ck_assert_str_eq(
	        o.error, "bob does not support a KV cache of type q8_0: upgrade it, or leave it out");
	deploys_nothing_is_left(3);
	with.all_nodes = false; /* where it need not take part it does not */
	ck_assert_str_eq(deploys_load(0, path, with, &o), "");
	ck_assert_ptr_null(deploys[1].stage);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(deploys_model(i, "m")->plan->kv, KERN_KV_Q8_0);
	ck_assert_str_eq(deploys_unload(1, "m"), "");
	deploys_nothing_is_left(3);
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	ck_assert_uint_eq(deploys_model(2, "m")->plan->kv, KERN_KV_F16);
	ck_assert_ptr_nonnull(deploys[1].stage);
}
END_TEST

START_TEST(a_node_without_memory_is_found_out) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	nodes[1].memory = 1 << 20; /* and it says so: the planner knows */
	deploys_cluster(3);
	deploys_load(0, path, all, &o);
	ck_assert_msg(strstr(o.error, "not even one layer fits on bob: 1.00 MiB is free"), "%s", o.error);
	deploys_nothing_is_left(3);
	nodes[1].memory = 1ull << 32; /* heartbeats may be old: it is asked again before the plan is made */
	nodes_run(2000);
	deploys_load(0, path, all, &o);
	ck_assert_msg(strstr(o.error, "not even one layer fits on bob"), "%s", o.error);
	deploys_nothing_is_left(3);
}
END_TEST

/* Of a context that nobody has named there is as much as leaves everything in memory. */
START_TEST(a_context_that_fits) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploy_load fit = {.parallel = 1, .fit = true};
	struct manifest *m;
	struct deploys_outcome o;
	char err[300];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(import_metadata(&m, &fd, 1, path, NULL, NULL, err, sizeof err), 0);
	close(fd);
	uint32_t rows = planner_rows(0, m->hp.dim);
	nodes[0].memory =
	        planner_slice_bytes(m, 0, m->hp.layers, (struct kv_size){KERN_KV_F16, 3, 0}, rows, 2) +
	        planner_io_bytes(m, 1, rows) + 1000;
	manifest_destroy(m);
	deploys_cluster(1);
	ck_assert_str_eq(deploys_load(0, path, fit, &o), "");
	ck_assert_uint_eq(deploys_model(0, "m")->plan->context, 3 * KERN_KV_BLOCK);
	ck_assert_str_eq(deploys_unload(0, "m"), "");
	/* what is named is taken at its word */
	fit.context = 100;
	ck_assert_str_eq(deploys_load(0, path, fit, &o), "");
	ck_assert_uint_eq(deploys_model(0, "m")->plan->context, 100);
}
END_TEST

START_TEST(all_of_a_context_fits) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	deploys_cluster(1);
	ck_assert_str_eq(deploys_load(0, path, (struct deploy_load){.parallel = 1, .fit = true}, &o), "");
	ck_assert_uint_eq(deploys_model(0, "m")->plan->context, 512);
}
END_TEST

START_TEST(failure_of_one_tears_all_down) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	deploys_cluster(3);
	deploys[2].refuse_stage = true;
	ck_assert_str_eq(deploys_load(0, path, all, &o), "cleo: no room for the KV cache");
	deploys_nothing_is_left(3);
	deploys[2].refuse_stage = false;
	deploys[0].refuse_model = true;
	ck_assert_str_eq(deploys_load(0, path, all, &o), "this vocabulary has no tokenizer");
	deploys_nothing_is_left(3);
	deploys[0].refuse_model = false;
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
}
END_TEST

static bool a_stage_has_begun(void *arg) {
	return deploy_memory_used(deploys[*(int *)arg].deploy) > 0;
}

START_TEST(a_node_that_dies_during_a_load) {
	const char *path = nodes_model("m.gguf", KERN_F32, 12, 1);
	struct deploys_outcome o;
	int bob = 1;
	deploys_cluster(3);
	deploys_begin(0, path, all, &o);
	ck_assert(nodes_wait(a_stage_has_begun, &bob, 30000));
	nodes_stop(1);
	ck_assert(nodes_wait(deploys_is_done, &o, 30000));
	ck_assert_msg(strstr(o.error, "bob"), "%s", o.error);
	deploys_nothing_is_left(3);
}
END_TEST

START_TEST(unloaded_while_loading) {
	const char *path = nodes_model("m.gguf", KERN_F32, 12, 1);
	static struct deploys_outcome o, p; /* the end of the last load is told after the test */
	deploys_cluster(2);
	int bob = 1;
	deploys_begin(0, path, all, &o);
	deploys_begin(0, path, all, &p);
	ck_assert_str_eq(p.error, "model m is already being loaded");
	/* while it is being hashed it can be stopped by its name too */
	ck_assert_str_eq(deploys_unload(0, "m"), "");
	ck_assert(o.done);
	ck_assert_str_eq(o.error, "it was unloaded while it was being loaded");
	deploys_nothing_is_left(2);
	deploys_begin(0, path, all, &o);
	ck_assert(nodes_wait(a_stage_has_begun, &bob, 30000));
	if (deploys_model(0, "m")->phase == CARAVAN__MODEL_PHASE__LOADING) {
		ck_assert_str_eq(deploys_unload(0, "m"), "");
		ck_assert(o.done);
		ck_assert_str_eq(o.error, "it was unloaded while it was being loaded");
	} else {
		ck_assert_str_eq(deploys_unload(0, "m"), "");
	}
	deploys_nothing_is_left(2);
	deploys_begin(0, path, all, &o);
	nodes_run(20); /* and everything is taken down in the middle of it */
}
END_TEST

/* What each node has listed of its work, until the load is done. */
struct work_seen {
	struct deploys_outcome o;
	char what[3][200];
};

static void note_work(struct work_seen *w, int i) {
	Caravan__NodeState s = CARAVAN__NODE_STATE__INIT;
	deploy_work(deploys[i].deploy, &s);
	for (size_t k = 0; k < s.n_work; k++) {
		ck_assert_str_eq(s.work[k]->model, "m");
		ck_assert_uint_le(s.work[k]->done, s.work[k]->total);
		if (!strstr(w->what[i], s.work[k]->what)) {
			strcat(w->what[i], s.work[k]->what);
			strcat(w->what[i], " ");
		}
	}
}

static bool work_is_over(void *arg) {
	struct work_seen *w = arg;
	for (int i = 0; i < 3; i++)
		note_work(w, i);
	return w->o.done;
}

START_TEST(work_is_listed) {
	struct work_seen w = {.o = {.done = false}};
	Caravan__NodeState s = CARAVAN__NODE_STATE__INIT;
	deploys_cluster(3);
	deploys_begin(0, nodes_model("m.gguf", KERN_F32, 12, 1), all, &w.o);
	note_work(&w, 0);
	ck_assert_str_eq(w.what[0], "starting ");
	ck_assert(nodes_wait(work_is_over, &w, 30000));
	ck_assert_str_eq(w.o.error, "");
	for (int i = 1; i < 3; i++)
		ck_assert_msg(strstr(w.what[i], "fetching"), "%s", w.what[i]);
	/* all that is left is what is copied */
	for (int i = 0; i < 3; i++) {
		deploy_work(deploys[i].deploy, &s);
		ck_assert_uint_le(s.n_work, 1);
		ck_assert(!s.n_work || strcmp(s.work[0]->what, "copying") == 0);
	}
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("deploy");
	nodes_loader_gone = deploys_stop;
	TCase *t = nodes_group(s, "loads", 240);
	tcase_add_test(t, serves_on_three_nodes);
	tcase_add_test(t, work_is_listed);
	tcase_add_test(t, weights_are_in_huge_pages_where_there_is_room);
	tcase_add_test(t, two_models_and_named_nodes);
	tcase_add_test(t, what_cannot_be_is_said);
	tcase_add_test(t, a_cache_that_an_older_node_has_not);
	tcase_add_test(t, a_node_without_memory_is_found_out);
	tcase_add_test(t, a_context_that_fits);
	tcase_add_test(t, all_of_a_context_fits);
	tcase_add_test(t, failure_of_one_tears_all_down);
	tcase_add_test(t, a_node_that_dies_during_a_load);
	tcase_add_test(t, unloaded_while_loading);
	return s;
}

#include "tests/unit/check_main.h"
