/* deploy: models on several nodes: loading, what goes wrong then, unloading, nodes that go and come back. */
#include "daemon/deploy/deploy.h"
#include "daemon/plan/planner.h"
#include "proto/plan.h"
#include "shard/import/import.h"
#include "tests/support/nodes.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a node with a deploy, and a storey above it that keeps what it is given ---- */

struct above {
	struct node *node;
	struct deploy *deploy;
	struct slice *stage, *ends; /* owned, as the contract has it */
	unsigned opened, closed, models_opened, models_closed, gone;
	char why[300];
	bool refuse_stage, refuse_model, broken;
};
static struct above above[NODES_MAX];
static uint32_t replan_ms;

static int stage_open(void *arg, const struct deploy_model *m, uint32_t stage, struct slice *slice, char *err,
        size_t errlen) {
	struct above *a = arg;
	if (a->refuse_stage) {
		snprintf(err, errlen, "no room for the KV cache");
		return -ENOMEM;
	}
	ck_assert(m->manifest && m->vocab);
	ck_assert_int_eq(memcmp(m->plan->stages[stage]->node.data, a->node->keys.public.b, 32), 0);
	ck_assert_uint_eq(slice->first, m->plan->stages[stage]->first);
	ck_assert_uint_eq(slice->last, m->plan->stages[stage]->last);
	ck_assert_ptr_null(a->stage);
	a->broken = false;
	a->stage = slice;
	a->opened++;
	nodes_serves(a->node, m->plan, stage);
	return 0;
}

static void stage_close(void *arg, const struct deploy_model *m, uint32_t stage) {
	struct above *a = arg;
	ck_assert_uint_lt(stage, m->plan->n_stages);
	ck_assert_ptr_nonnull(a->stage);
	slice_destroy(a->stage);
	a->stage = NULL;
	a->closed++;
	nodes_serves_no_more(a->node, m->plan);
}

static bool stage_broken(void *arg, const struct deploy_model *m, uint32_t stage) {
	(void)m;
	(void)stage;
	return ((struct above *)arg)->broken;
}

static int model_open(void *arg, const struct deploy_model *m, struct slice *ends, char *err, size_t errlen) {
	struct above *a = arg;
	if (a->refuse_model) {
		snprintf(err, errlen, "this vocabulary has no tokenizer");
		return -EINVAL;
	}
	ck_assert(m->manifest && m->vocab);
	ck_assert_ptr_nonnull(ends->end[END_EMBED]);
	ck_assert_ptr_null(a->ends);
	a->ends = ends;
	a->models_opened++;
	return 0;
}

static void model_close(void *arg, const struct deploy_model *m, const char *why) {
	struct above *a = arg;
	(void)m;
	ck_assert_ptr_nonnull(a->ends);
	slice_destroy(a->ends);
	a->ends = NULL;
	a->models_closed++;
	snprintf(a->why, sizeof a->why, "%s", why);
}

static void changed(void *arg, const struct deploy_model *m) {
	struct above *a = arg;
	a->gone += m->phase == CARAVAN__MODEL_PHASE__UNLOADED || m->phase == CARAVAN__MODEL_PHASE__FAILED;
	a->node->used = a->deploy ? deploy_memory_used(a->deploy) : 0;
}

static void start_deploy(int i) {
	struct above *a = &above[i];
	char err[300] = "";
	*a = (struct above){.node = &nodes[i]};
	struct deploy_config c = {.loop = loop,
	        .members = nodes[i].members,
	        .executor = nodes[i].executor,
	        .store = nodes[i].store,
	        .memory = nodes[i].memory,
	        .team = 2,
	        .state_dir = nodes[i].dir,
	        .replan_ms = replan_ms,
	        .hooks = {.stage_open = stage_open,
	                .stage_close = stage_close,
	                .stage_broken = stage_broken,
	                .model_open = model_open,
	                .model_close = model_close,
	                .changed = changed,
	                .arg = a}};
	ck_assert_msg(deploy_create(&a->deploy, &c, err, sizeof err) == 0, "%s", err);
	nodes[i].more = a;
}

static void take_down(struct node *n) {
	struct above *a = n->more;
	if (!a)
		return;
	slice_destroy(a->stage);
	slice_destroy(a->ends);
	a->stage = a->ends = NULL;
	deploy_destroy(a->deploy);
	a->deploy = NULL;
	n->more = NULL;
}

static void cluster(int n) {
	nodes_cluster(n);
	replan_ms = 1500;
	for (int i = 0; i < n; i++)
		start_deploy(i);
}

/* The same, and nodes that stay away are waited for. */
static void patient_cluster(int n) {
	nodes_cluster(n);
	replan_ms = 3600000;
	for (int i = 0; i < n; i++)
		start_deploy(i);
}

/* ---- loading ---- */

struct outcome {
	bool done;
	char error[1024];
	unsigned hashing, sending, packing;
	char sent_to[100];
};

static void on_progress(void *arg, const char *what, const char *node, uint64_t done, uint64_t total) {
	struct outcome *o = arg;
	ck_assert_uint_le(done, total);
	o->hashing += strcmp(what, "hashing") == 0;
	o->packing += strcmp(what, "packing") == 0;
	if (strcmp(what, "fetching") == 0) {
		o->sending++;
		snprintf(o->sent_to + strlen(o->sent_to), sizeof o->sent_to - strlen(o->sent_to), "%s ",
		        strlen(o->sent_to) < 90 ? node : "");
	}
}

static void on_done(void *arg, const char *error) {
	struct outcome *o = arg;
	ck_assert(!o->done);
	o->done = true;
	snprintf(o->error, sizeof o->error, "%s", error ? error : "");
}

static bool is_done(void *arg) {
	return ((struct outcome *)arg)->done;
}

/* Begins; what is refused at once is an error as any. */
static void begin(int i, const char *path, struct deploy_load more, struct outcome *o) {
	memset(o, 0, sizeof *o);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	more.file = path;
	more.fds = &fd;
	more.nfds = 1;
	more.progress = on_progress;
	more.done = on_done;
	more.arg = o;
	if (deploy_load(above[i].deploy, &more, o->error, sizeof o->error))
		o->done = true;
	close(fd);
}

static const char *load(int i, const char *path, struct deploy_load more, struct outcome *o) {
	begin(i, path, more, o);
	ck_assert(nodes_wait(is_done, o, 60000));
	return o->error;
}

static const char *unload(int i, const char *model) {
	static struct outcome o;
	memset(&o, 0, sizeof o);
	if (deploy_unload(above[i].deploy, model, on_done, &o, o.error, sizeof o.error))
		return o.error;
	ck_assert(nodes_wait(is_done, &o, 30000));
	return o.error;
}

static const struct deploy_model *model(int i, const char *name) {
	char err[300];
	return deploy_find(above[i].deploy, name, err, sizeof err);
}

static const struct deploy_load all = {.all_nodes = true};

static bool tables_are_empty(void *arg) {
	for (int i = 0; i < *(int *)arg; i++)
		if (nodes[i].members &&
		        (deploy_at(above[i].deploy, 0) || deploy_memory_used(above[i].deploy)))
			return false;
	return true;
}

static void nothing_is_left(int n) {
	ck_assert(nodes_wait(tables_are_empty, &n, 10000)); /* the others hear of it a moment later */
	for (int i = 0; i < n; i++) {
		if (!nodes[i].members)
			continue;
		ck_assert_ptr_null(deploy_at(above[i].deploy, 0));
		ck_assert_uint_eq(deploy_memory_used(above[i].deploy), 0);
		ck_assert_ptr_null(above[i].stage);
		ck_assert_ptr_null(above[i].ends);
		ck_assert_uint_eq(above[i].opened, above[i].closed);
		ck_assert_uint_eq(above[i].models_opened, above[i].models_closed);
	}
}

START_TEST(serves_on_three_nodes) {
	struct outcome o;
	char err[300];
	cluster(3);
	char path[200];
	snprintf(path, sizeof path, "%s", nodes_model("m-00001-of-00001.gguf", KERN_Q4_0, 6, 1));
	ck_assert_str_eq(load(0, path, all, &o), "");
	ck_assert_uint_gt(o.packing, 0);
	ck_assert_ptr_nonnull(strstr(o.sent_to, "bob"));
	ck_assert_ptr_nonnull(strstr(o.sent_to, "cleo"));
	/* every live node knows it, and could take a prompt */
	uint32_t next = 0;
	for (int i = 0; i < 3; i++) {
		const struct deploy_model *m = model(i, NULL);
		ck_assert_ptr_nonnull(m);
		ck_assert_str_eq(m->plan->model, "m");
		ck_assert_int_eq(m->phase, CARAVAN__MODEL_PHASE__SERVING);
		ck_assert(m->vocab && m->manifest);
		ck_assert_uint_eq(m->vocab->tokens, 300);
		ck_assert_uint_eq(m->plan->n_stages, 3);
		ck_assert_uint_eq(m->plan->context, 512);
		ck_assert_uint_eq(m->plan->parallel, 4);
		ck_assert_uint_eq(m->plan->blocks, 4 * 8);
		ck_assert_ptr_nonnull(above[i].stage);
		ck_assert_uint_eq(above[i].opened, 1);
		ck_assert_uint_eq(above[i].models_opened, i == 0);
		ck_assert_uint_eq(deploy_memory_used(above[i].deploy),
		        planner_slice_bytes(m->manifest, above[i].stage->first, above[i].stage->last,
		                KERN_KV_F16, m->plan->blocks, m->plan->max_rows, 2) +
		                (i ? 0 : planner_end_bytes(m->manifest, 4, m->plan->max_rows)));
	}
	for (size_t k = 0; k < 3; k++) {
		const Caravan__Stage *s = model(0, "m")->plan->stages[k];
		ck_assert_uint_eq(s->first, next);
		next = s->last;
	}
	ck_assert_uint_eq(next, 6);
	ck_assert_uint_eq(deploy_moved(above[0].deploy), 0);
	ck_assert_uint_gt(deploy_moved(above[1].deploy), 0);

	/* the same again is there already, another under its name is refused */
	ck_assert_str_eq(load(0, path, all, &o), "");
	ck_assert_str_eq(load(1, path, all, &o), "");
	ck_assert_uint_eq(above[0].models_opened, 1);
	ck_assert_str_eq(load(0, nodes_model("m.gguf", KERN_Q4_0, 6, 2), all, &o),
	        "the name m is in use by another model; choose one with --name, or unload it");
	ck_assert_ptr_nonnull(above[0].ends);

	/* any node may unload it; memory is free everywhere */
	ck_assert_str_eq(unload(2, "m"), "");
	nothing_is_left(3);
	ck_assert_int_lt(deploy_unload(above[1].deploy, "m", on_done, &o, err, sizeof err), 0);
	ck_assert_str_eq(err, "model m is on disk and not loaded; to load it: caravan load m");

	/* a second load of the same moves nothing, under a higher epoch */
	uint64_t moved[3];
	for (int i = 0; i < 3; i++)
		moved[i] = deploy_moved(above[i].deploy);
	ck_assert_str_eq(load(0, path, all, &o), "");
	ck_assert_uint_eq(o.sending, 0);
	ck_assert_uint_eq(o.packing, 0);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(deploy_moved(above[i].deploy), moved[i]);
	ck_assert_uint_gt(model(2, "m")->plan->epoch->counter, 1);
	ck_assert_str_eq(unload(0, NULL), "");
	nothing_is_left(3);
}
END_TEST

START_TEST(two_models_and_named_nodes) {
	struct outcome o;
	char err[300];
	const char *const bob[] = {"bob"}, *const both[] = {"cleo", "bob"};
	cluster(3);
	/* the coordinator is not among the named: it has the ends alone */
	ck_assert_str_eq(
	        load(0, nodes_model("one.gguf", KERN_Q8_0, 2, 1),
	                (struct deploy_load){.nodes = bob, .nnodes = 1, .context = 100, .parallel = 1}, &o),
	        "");
	ck_assert_ptr_null(above[0].stage);
	ck_assert_ptr_nonnull(above[0].ends);
	ck_assert_ptr_nonnull(above[1].stage);
	ck_assert_uint_eq(model(2, "one")->plan->blocks, 2);
	slice_destroy(above[1].stage); /* our storey above holds one at a time */
	above[1].stage = NULL;
	slice_destroy(above[0].ends);
	above[0].ends = NULL;
	ck_assert_str_eq(load(2, nodes_model("two.gguf", KERN_Q8_0, 2, 2),
	                         (struct deploy_load){.nodes = both, .nnodes = 2, .name = "zwei"}, &o),
	        "");
	ck_assert_str_eq(deploy_at(above[0].deploy, 0)->plan->model, "one");
	ck_assert_str_eq(deploy_at(above[0].deploy, 1)->plan->model, "zwei");
	ck_assert_ptr_null(deploy_at(above[0].deploy, 2));
	ck_assert_ptr_null(deploy_find(above[0].deploy, NULL, err, sizeof err));
	ck_assert_str_eq(err, "several models are served, so one must be named: one, zwei");
	ck_assert_ptr_nonnull(deploy_find(above[0].deploy, "zwei", err, sizeof err));
}
END_TEST

START_TEST(what_cannot_be_is_said) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 2, 1);
	struct outcome o;
	char want[200];
	const char *const unknown[] = {"bob", "zoe"};
	cluster(3);
	ck_assert_str_eq(load(0, path, all, &o), "3 nodes are named, but the model has only 2 layers");
	ck_assert_str_eq(load(0, path, (struct deploy_load){.nodes = unknown, .nnodes = 2}, &o),
	        "zoe is not a node of this cluster");
	ck_assert_str_eq(load(0, path, (struct deploy_load){.context = 513}, &o),
	        "a context of 513 is more than the model was trained for: 512");
	load(0, path, (struct deploy_load){.name = "../m"}, &o);
	ck_assert_ptr_nonnull(strstr(o.error, "is not a name for a model"));
	snprintf(want, sizeof want, "%s/junk.gguf", nodes_root);
	int fd = open(want, O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(write(fd, "GGUF junk", 9), 9);
	close(fd);
	load(0, want, all, &o);
	ck_assert_ptr_nonnull(strstr(o.error, "junk.gguf"));
	nothing_is_left(3);
}
END_TEST

START_TEST(a_cache_that_an_older_node_has_not) {
	char path[200];
	struct outcome o;
	struct deploy_load with = {.all_nodes = true, .kv = 1 + KERN_KV_Q8_0};
	snprintf(path, sizeof path, "%s", nodes_model("m.gguf", KERN_Q4_0, 6, 1));
	nodes[1].kv_types = 0; /* it says nothing of it */
	cluster(3);
	load(0, path, with, &o);
	ck_assert_str_eq(
	        o.error, "bob does not support a KV cache of type q8_0: upgrade it, or leave it out");
	nothing_is_left(3);
	with.all_nodes = false; /* where it need not take part it does not */
	ck_assert_str_eq(load(0, path, with, &o), "");
	ck_assert_ptr_null(above[1].stage);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(model(i, "m")->plan->kv, KERN_KV_Q8_0);
	ck_assert_str_eq(unload(1, "m"), "");
	nothing_is_left(3);
	ck_assert_str_eq(load(0, path, all, &o), "");
	ck_assert_uint_eq(model(2, "m")->plan->kv, KERN_KV_F16);
	ck_assert_ptr_nonnull(above[1].stage);
}
END_TEST

START_TEST(a_node_without_memory_is_found_out) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	nodes[1].memory = 1 << 20; /* and it says so: the planner knows */
	cluster(3);
	load(0, path, all, &o);
	ck_assert_msg(strstr(o.error, "not even one layer fits on bob: 1.00 MiB is free"), "%s", o.error);
	nothing_is_left(3);
	nodes[1].memory = 1ull << 32; /* heartbeats may be old: it is asked again before the plan is made */
	nodes_run(2000);
	load(0, path, all, &o);
	ck_assert_msg(strstr(o.error, "not even one layer fits on bob"), "%s", o.error);
	nothing_is_left(3);
}
END_TEST

/* Of a context that nobody has named there is as much as leaves everything in memory. */
START_TEST(a_context_that_fits) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploy_load fit = {.parallel = 1, .fit = true};
	struct manifest *m;
	struct outcome o;
	char err[300];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(import_metadata(&m, &fd, 1, path, NULL, NULL, err, sizeof err), 0);
	close(fd);
	uint32_t rows = planner_rows(0, m->hp.dim);
	nodes[0].memory = planner_slice_bytes(m, 0, m->hp.layers, KERN_KV_F16, 3, rows, 2) +
	                  planner_end_bytes(m, 1, rows) + 1000;
	manifest_destroy(m);
	cluster(1);
	ck_assert_str_eq(load(0, path, fit, &o), "");
	ck_assert_uint_eq(model(0, "m")->plan->context, 3 * KERN_KV_BLOCK);
	ck_assert_str_eq(unload(0, "m"), "");
	/* what is named is taken at its word */
	fit.context = 100;
	ck_assert_str_eq(load(0, path, fit, &o), "");
	ck_assert_uint_eq(model(0, "m")->plan->context, 100);
}
END_TEST

START_TEST(all_of_a_context_fits) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	cluster(1);
	ck_assert_str_eq(load(0, path, (struct deploy_load){.parallel = 1, .fit = true}, &o), "");
	ck_assert_uint_eq(model(0, "m")->plan->context, 512);
}
END_TEST

START_TEST(failure_of_one_tears_all_down) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	cluster(3);
	above[2].refuse_stage = true;
	ck_assert_str_eq(load(0, path, all, &o), "cleo: no room for the KV cache");
	nothing_is_left(3);
	above[2].refuse_stage = false;
	above[0].refuse_model = true;
	ck_assert_str_eq(load(0, path, all, &o), "this vocabulary has no tokenizer");
	nothing_is_left(3);
	above[0].refuse_model = false;
	ck_assert_str_eq(load(0, path, all, &o), "");
}
END_TEST

static bool a_stage_has_begun(void *arg) {
	return deploy_memory_used(above[*(int *)arg].deploy) > 0;
}

START_TEST(a_node_that_dies_during_a_load) {
	const char *path = nodes_model("m.gguf", KERN_F32, 12, 1);
	struct outcome o;
	int bob = 1;
	cluster(3);
	begin(0, path, all, &o);
	ck_assert(nodes_wait(a_stage_has_begun, &bob, 30000));
	nodes_stop(1);
	ck_assert(nodes_wait(is_done, &o, 30000));
	ck_assert_msg(strstr(o.error, "bob"), "%s", o.error);
	nothing_is_left(3);
}
END_TEST

START_TEST(unloaded_while_loading) {
	const char *path = nodes_model("m.gguf", KERN_F32, 12, 1);
	struct outcome o, p;
	cluster(2);
	int bob = 1;
	begin(0, path, all, &o);
	begin(0, path, all, &p);
	ck_assert_str_eq(p.error, "model m is already being loaded");
	/* while it is being hashed it can be stopped by its name too */
	ck_assert_str_eq(unload(0, "m"), "");
	ck_assert(o.done);
	ck_assert_str_eq(o.error, "it was unloaded while it was being loaded");
	nothing_is_left(2);
	begin(0, path, all, &o);
	ck_assert(nodes_wait(a_stage_has_begun, &bob, 30000));
	if (model(0, "m")->phase == CARAVAN__MODEL_PHASE__LOADING) {
		ck_assert_str_eq(unload(0, "m"), "");
		ck_assert(o.done);
		ck_assert_str_eq(o.error, "it was unloaded while it was being loaded");
	} else {
		ck_assert_str_eq(unload(0, "m"), "");
	}
	nothing_is_left(2);
	begin(0, path, all, &o);
	nodes_run(20); /* and everything is taken down in the middle of it */
}
END_TEST

/* ---- nodes that go and come back ---- */

struct phase {
	int node;
	Caravan__ModelPhase phase;
};

static bool has_phase(void *arg) {
	struct phase *p = arg;
	const struct deploy_model *m = model(p->node, "m");
	return m && m->phase == p->phase;
}

static bool begins(const char *text, const char *with) {
	return strncmp(text, with, strlen(with)) == 0;
}

START_TEST(a_stage_goes_and_comes_back) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	patient_cluster(3);
	ck_assert_str_eq(load(0, path, all, &o), "");
	uint64_t epoch = model(0, "m")->plan->epoch->counter;
	nodes_stop(1);
	struct phase p = {0, CARAVAN__MODEL_PHASE__UNAVAILABLE}, q = {2, CARAVAN__MODEL_PHASE__UNAVAILABLE};
	ck_assert(nodes_wait(has_phase, &p, 10000));
	ck_assert(begins(model(0, "m")->reason, "node bob has been down since "));
	ck_assert(nodes_wait(has_phase, &q, 10000));
	ck_assert(begins(model(2, "m")->reason, "node bob has been down since "));
	ck_assert_uint_eq(above[0].models_closed, 1);
	ck_assert(begins(above[0].why, "node bob has been down since "));

	nodes_start(1);
	start_deploy(1);
	p.phase = q.phase = CARAVAN__MODEL_PHASE__SERVING;
	struct phase r = {1, CARAVAN__MODEL_PHASE__SERVING};
	ck_assert(nodes_wait(has_phase, &p, 30000));
	ck_assert(nodes_wait(has_phase, &q, 10000));
	ck_assert(nodes_wait(has_phase, &r, 10000));
	ck_assert_uint_gt(model(2, "m")->plan->epoch->counter, epoch);
	ck_assert_uint_eq(deploy_moved(above[1].deploy), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(above[i].stage);
	ck_assert_uint_eq(above[2].opened, 2);
	ck_assert_uint_eq(above[2].closed, 1);
	ck_assert_ptr_nonnull(above[0].ends);
}
END_TEST

START_TEST(a_coordinator_goes_and_comes_back) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	char err[300];
	patient_cluster(3);
	ck_assert_str_eq(load(0, path, all, &o), "");
	uint64_t epoch = model(0, "m")->plan->epoch->counter;
	nodes_stop(0);
	struct phase p = {1, CARAVAN__MODEL_PHASE__UNAVAILABLE}, q = {2, CARAVAN__MODEL_PHASE__UNAVAILABLE};
	ck_assert(nodes_wait(has_phase, &p, 10000));
	ck_assert(nodes_wait(has_phase, &q, 10000));
	ck_assert(begins(model(1, "m")->reason, "its coordinator ada has been down since "));
	ck_assert_int_lt(deploy_unload(above[1].deploy, "m", on_done, &o, err, sizeof err), 0);
	ck_assert_str_eq(err, "the coordinator of m, ada, cannot be reached");

	nodes_start(0);
	start_deploy(0);
	ck_assert_ptr_nonnull(model(0, "m")); /* it remembers */
	p.phase = q.phase = CARAVAN__MODEL_PHASE__SERVING;
	ck_assert(nodes_wait(has_phase, &p, 30000));
	ck_assert(nodes_wait(has_phase, &q, 10000));
	ck_assert_uint_gt(model(0, "m")->plan->epoch->counter, epoch);
	ck_assert_str_eq(unload(1, "m"), "");
	int three = 3;
	ck_assert(nodes_wait(tables_are_empty, &three, 10000));

	/* unloaded, it does not come back */
	nodes_stop(0);
	nodes_start(0);
	start_deploy(0);
	ck_assert_ptr_null(model(0, "m"));
}
END_TEST

START_TEST(a_node_that_comes_late_learns_what_there_is) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	const char *const names[] = {"ada", "bob"};
	cluster(3);
	nodes_stop(2);
	ck_assert(nodes_wait(nodes_all_up, NULL, 20000));
	ck_assert_str_eq(load(0, path, (struct deploy_load){.nodes = names, .nnodes = 2}, &o), "");
	nodes_start(2);
	start_deploy(2);
	struct phase p = {2, CARAVAN__MODEL_PHASE__SERVING};
	ck_assert(nodes_wait(has_phase, &p, 20000));
	ck_assert(nodes_wait(nodes_all_up, NULL, 20000));
	nodes_run(500);
	ck_assert_ptr_nonnull(model(2, "m")->vocab);
	ck_assert_ptr_null(above[2].stage);
}
END_TEST

/* ---- what nodes believe of plans converges ---- */

static Caravan__ModelState copies_of(int i, const char *name) {
	Caravan__ModelState s = CARAVAN__MODEL_STATE__INIT;
	deploy_copies(above[i].deploy, name, &s);
	return s;
}

static bool copied(void *arg) {
	Caravan__ModelState s = copies_of(*(int *)arg, "m");
	return s.copies && s.copy_missing == 0 && !*s.at_risk;
}

static bool bob_is_loading(void *arg) {
	char what[300];
	(void)arg;
	if (!model(2, "m"))
		return false;
	deploy_describe(above[2].deploy, model(2, "m"), what, sizeof what);
	return begins(what, "is loading (");
}

struct epoch_after {
	int node;
	uint64_t counter;
};

static bool serves_after(void *arg) {
	const struct epoch_after *e = arg;
	const struct deploy_model *m = model(e->node, "m");
	return m && m->phase == CARAVAN__MODEL_PHASE__SERVING && m->plan->epoch->counter > e->counter;
}

/* Bob's connection to ada is cut: ada does not notice, since hers to bob is another one. */
static void cut_one_way(void) {
	struct phase p = {1, CARAVAN__MODEL_PHASE__UNAVAILABLE};
	ck_assert(nodes_wait(
	        nodes_all_up, NULL, 20000)); /* a model can serve again before bob's connection is back */
	peers_drop(members_peers(nodes[1].members), &nodes[0].keys.public, "a router reset it");
	ck_assert(nodes_wait(has_phase, &p, 10000));
	ck_assert_int_eq(model(0, "m")->phase, CARAVAN__MODEL_PHASE__SERVING);
}

START_TEST(a_connection_is_cut_one_way) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	cluster(2);
	ck_assert_str_eq(load(0, path, all, &o), "");
	uint64_t epoch = model(0, "m")->plan->epoch->counter;
	struct phase p = {1, CARAVAN__MODEL_PHASE__SERVING};
	for (int i = 0; i < 2; i++) {
		cut_one_way();
		ck_assert(nodes_wait(has_phase, &p, 20000));
		/* nothing was lost on the way: it is the same stage under the same plan, and stays */
		ck_assert_uint_eq(model(1, "m")->plan->epoch->counter, epoch);
		ck_assert_uint_eq(above[1].opened, 1);
		ck_assert_uint_eq(above[1].closed, 0);
	}
	/* a step was lost, and ada could not be told: she waits for it in vain until she hears so */
	cut_one_way();
	above[1].broken = true;
	struct epoch_after e = {0, epoch}, f = {1, epoch};
	ck_assert(nodes_wait(serves_after, &e, 20000));
	ck_assert(nodes_wait(serves_after, &f, 20000));
	ck_assert(begins(above[0].why, "bob lost steps"));
	ck_assert_uint_eq(above[1].opened, 2);
}
END_TEST

static bool m_is_gone(void *arg) {
	return !model(*(int *)arg, "m");
}

START_TEST(unloaded_while_a_node_was_away) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1), *const ada[] = {"ada"};
	struct outcome o;
	int bob = 1;
	cluster(3);
	ck_assert_str_eq(load(0, path, (struct deploy_load){.nodes = ada, .nnodes = 1}, &o), "");
	nodes_run(1200); /* bob writes down what he knows */
	nodes_stop(1);
	ck_assert(nodes_wait(nodes_all_up, NULL, 20000));
	ck_assert_str_eq(unload(0, "m"), "");
	nodes_start(1);
	start_deploy(1);
	ck_assert_ptr_nonnull(model(1, "m"));
	ck_assert_int_eq(model(1, "m")->phase, CARAVAN__MODEL_PHASE__UNAVAILABLE);
	ck_assert(nodes_wait(m_is_gone, &bob, 20000));
}
END_TEST

START_TEST(the_others_go_on_without_a_node) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	cluster(3);
	ck_assert_str_eq(load(0, path, all, &o), "");
	int ada = 0;
	ck_assert(nodes_wait(copied, &ada, 60000));
	uint64_t epoch = model(0, "m")->plan->epoch->counter;
	nodes_stop(1);
	/* who was named or not, and what was asked for, stays; so do the bytes */
	struct epoch_after e = {0, epoch}, f = {2, epoch};
	ck_assert(nodes_wait(serves_after, &e, 60000));
	ck_assert(nodes_wait(serves_after, &f, 20000));
	const Caravan__Plan *plan = model(0, "m")->plan;
	for (size_t i = 0; i < plan->n_stages; i++)
		ck_assert_int_ne(memcmp(plan->stages[i]->node.data, nodes[1].keys.public.b, 32), 0);
	ck_assert_uint_eq(plan->stages[plan->n_stages - 1]->last, 6);
	ck_assert_ptr_nonnull(above[0].ends);
	/* the node that comes back hears of the plan that it is not in */
	epoch = plan->epoch->counter;
	nodes_start(1);
	start_deploy(1);
	struct epoch_after g = {1, epoch - 1};
	ck_assert(nodes_wait(serves_after, &g, 30000));
	ck_assert_ptr_null(above[1].stage);
	ck_assert_uint_eq(model(0, "m")->plan->epoch->counter, epoch);
}
END_TEST

static bool says_what_is_missing(void *arg) {
	(void)arg;
	const struct deploy_model *m = model(0, "m");
	return m && strstr(m->reason, "is incomplete on the disks of the nodes that are up");
}

START_TEST(what_is_missing_is_said_until_it_is_back) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	cluster(2);
	/* the file is ada's, but only while it is being loaded: bob has the only copy of what he serves */
	ck_assert_str_eq(load(0, path, (struct deploy_load){.all_nodes = true, .copies = 1}, &o), "");
	uint64_t epoch = model(0, "m")->plan->epoch->counter;
	nodes_stop(1);
	ck_assert(nodes_wait(says_what_is_missing, NULL, 40000));
	ck_assert(begins(model(0, "m")->reason, "node bob has been down since "));
	ck_assert_int_eq(model(0, "m")->phase, CARAVAN__MODEL_PHASE__UNAVAILABLE);
	nodes_start(1);
	start_deploy(1);
	struct epoch_after e = {0, epoch};
	ck_assert(nodes_wait(serves_after, &e, 30000));
}
END_TEST

START_TEST(who_knows_the_plan_brings_it_back) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	char err[600] = "";
	patient_cluster(3);
	ck_assert_str_eq(
	        load(0, path,
	                (struct deploy_load){.all_nodes = true, .copies = 3, .context = 128, .parallel = 2},
	                &o),
	        "");
	int ada = 0;
	ck_assert(nodes_wait(copied, &ada, 60000));
	nodes_stop(0); /* for good; and bob is restarted before anybody does anything */
	nodes_stop(1);
	nodes_start(1);
	start_deploy(1);
	ck_assert_ptr_nonnull(model(1, "m"));
	ck_assert(begins(model(1, "m")->reason, "its coordinator ada has not been heard"));
	ck_assert(nodes_wait(nodes_all_up, NULL, 30000));
	struct deploy_load known = {.file = "m", .known = "m", .done = on_done, .arg = &o};
	memset(&o, 0, sizeof o);
	ck_assert_msg(deploy_load(above[1].deploy, &known, err, sizeof err) == 0, "%s", err);
	/* meanwhile everybody hears what is true */
	ck_assert(nodes_wait(bob_is_loading, NULL, 20000));
	ck_assert(nodes_wait(is_done, &o, 60000));
	ck_assert_str_eq(o.error, "");
	ck_assert_uint_eq(model(2, "m")->plan->context, 128);
	ck_assert_uint_eq(model(2, "m")->plan->parallel, 2);
	ck_assert_int_eq(model(2, "m")->phase, CARAVAN__MODEL_PHASE__SERVING);
}
END_TEST

static bool coordinated_by_another(void *arg) {
	int i = *(int *)arg;
	const struct deploy_model *m = model(i, "m");
	return m && m->phase == CARAVAN__MODEL_PHASE__SERVING &&
	       memcmp(m->plan->coordinator.data, nodes[0].keys.public.b, 32) != 0;
}

/* Bob and cyd cannot reach ada, but hear her: she is not taken for gone, however long that lasts. */
START_TEST(a_coordinator_that_is_heard_stays) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1), *const names[] = {"ada"};
	struct outcome o;
	int ada = 0;
	cluster(3);
	ck_assert_str_eq(
	        load(0, path, (struct deploy_load){.nodes = names, .nnodes = 1, .copies = 3}, &o), "");
	ck_assert(nodes_wait(copied, &ada, 60000));
	uint64_t epoch = model(0, "m")->plan->epoch->counter;
	/* their connections to her are dropped as often as they come up; hers to them stay */
	for (uint64_t until = loop_now_ns() + 3 * replan_ms * 1000000ull; loop_now_ns() < until;) {
		for (int i = 1; i < 3; i++)
			peers_drop(members_peers(nodes[i].members), &nodes[0].keys.public, "a test");
		nodes_run(50);
	}
	struct phase p = {1, CARAVAN__MODEL_PHASE__SERVING};
	ck_assert(nodes_wait(has_phase, &p, 20000));
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(model(i, "m")->plan->epoch->counter, epoch);
}
END_TEST

START_TEST(the_others_go_on_without_their_coordinator) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	int ada = 0, bob = 1, cyd = 2;
	cluster(3);
	ck_assert_str_eq(load(0, path, (struct deploy_load){.all_nodes = true, .context = 128}, &o), "");
	ck_assert(nodes_wait(copied, &ada, 60000));
	uint64_t epoch = model(1, "m")->plan->epoch->counter;
	nodes_stop(0);
	ck_assert(nodes_wait(coordinated_by_another, &bob, 60000));
	ck_assert(nodes_wait(coordinated_by_another, &cyd, 20000));
	const Caravan__Plan *p = model(1, "m")->plan, *q = model(2, "m")->plan;
	ck_assert_int_eq(memcmp(p->coordinator.data, q->coordinator.data, 32), 0); /* there is one */
	ck_assert_uint_gt(p->epoch->counter, epoch);
	ck_assert_uint_eq(p->context, 128);
	ck_assert_uint_eq(above[1].models_opened + above[2].models_opened, 1);
	/* the old one comes back with what it knew, and gives way */
	nodes_start(0);
	start_deploy(0);
	ck_assert(nodes_wait(coordinated_by_another, &ada, 60000));
	ck_assert_ptr_null(above[0].ends);
	ck_assert_ptr_null(above[0].stage);
	ck_assert(nodes_wait(coordinated_by_another, &bob, 20000));
	ck_assert_uint_eq(above[1].models_opened + above[2].models_opened, 1);
}
END_TEST

static bool all_agree(void *arg) {
	(void)arg;
	for (int i = 0; i < 3; i++)
		if (!model(i, "m") || model(i, "m")->phase != CARAVAN__MODEL_PHASE__SERVING ||
		        wire_epoch_compare(model(i, "m")->plan->epoch, model(0, "m")->plan->epoch) != 0)
			return false;
	return true;
}

/* A coordinator that has all stages itself serves as soon as it is back, whatever the others did meanwhile. */
START_TEST(two_that_serve_come_to_one) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1), *const names[] = {"ada"};
	struct outcome o;
	int ada = 0, bob = 1, cyd = 2;
	cluster(3);
	ck_assert_str_eq(
	        load(0, path, (struct deploy_load){.nodes = names, .nnodes = 1, .copies = 3}, &o), "");
	ck_assert(nodes_wait(copied, &ada, 60000));
	nodes_stop(0);
	ck_assert(nodes_wait(coordinated_by_another, &bob, 60000));
	ck_assert(nodes_wait(coordinated_by_another, &cyd, 20000));
	nodes_start(0);
	start_deploy(0);
	ck_assert(nodes_wait(nodes_all_up, NULL, 20000));
	ck_assert(nodes_wait(all_agree, NULL, 60000));
	nodes_run(2500);
	ck_assert(all_agree(NULL));
	ck_assert_int_eq((above[0].ends != NULL) + (above[1].ends != NULL) + (above[2].ends != NULL), 1);
}
END_TEST

static bool m_is_at_work(void *arg) {
	const struct deploy_model *m = model(*(int *)arg, "m");
	return m && m->phase == CARAVAN__MODEL_PHASE__LOADING;
}

START_TEST(a_restart_while_it_comes_back_forgets_nothing) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	int ada = 0;
	patient_cluster(2);
	ck_assert_str_eq(load(0, path, all, &o), "");
	nodes_run(1200);
	nodes_stop(0);
	nodes_start(0);
	start_deploy(0);
	above[1].refuse_stage = true; /* it comes back, as far as that, again and again */
	ck_assert(nodes_wait(m_is_at_work, &ada, 20000));
	nodes_run(700); /* what is known is written down meanwhile */
	nodes_stop(0);
	nodes_start(0);
	start_deploy(0);
	ck_assert_ptr_nonnull(model(0, "m"));
	above[1].refuse_stage = false;
	struct phase p = {0, CARAVAN__MODEL_PHASE__SERVING};
	ck_assert(nodes_wait(has_phase, &p, 40000));
}
END_TEST

START_TEST(one_whose_coordinator_is_gone_can_be_unloaded) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	int bob = 1, cyd = 2;
	cluster(3);
	ck_assert_str_eq(load(0, path, (struct deploy_load){.all_nodes = true, .copies = 1}, &o), "");
	nodes_stop(0); /* with its embedding, which is on no other disk: nobody can take it over */
	nodes_run(4 * replan_ms);
	ck_assert_str_eq(unload(1, "m"), "");
	ck_assert(nodes_wait(m_is_gone, &bob, 10000));
	ck_assert(nodes_wait(m_is_gone, &cyd, 10000));
}
END_TEST

START_TEST(the_storey_above_finds_it_unavailable) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 2, 1);
	struct outcome o;
	cluster(1);
	ck_assert_str_eq(load(0, path, (struct deploy_load){0}, &o), "");
	uint64_t epoch = model(0, "m")->plan->epoch->counter;
	deploy_unavailable(above[0].deploy, model(0, "m"), "a step was lost");
	ck_assert_int_eq(model(0, "m")->phase, CARAVAN__MODEL_PHASE__UNAVAILABLE);
	ck_assert_uint_eq(above[0].models_closed, 0); /* not inside the call */
	struct phase p = {0, CARAVAN__MODEL_PHASE__SERVING};
	ck_assert(nodes_wait(has_phase, &p, 20000)); /* its nodes are there: it comes back */
	ck_assert_str_eq(above[0].why, "a step was lost");
	ck_assert_uint_eq(model(0, "m")->plan->epoch->counter, epoch + 1);
	ck_assert_uint_eq(above[0].opened, 2);
}
END_TEST

/* ---- what members say that they should not ---- */

static unsigned answers, refusals;
static char refusal[300];

static void on_answer(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	(void)arg;
	(void)from;
	(void)payload;
	answers++;
	if (env->body_case != CARAVAN__ENVELOPE__BODY_REFUSED)
		return;
	refusals++;
	snprintf(refusal, sizeof refusal, "%s", env->refused->reason);
}

static bool answered(void *arg) {
	return answers >= *(unsigned *)arg;
}

static const char *tell(int from, int to, Caravan__Envelope *env) {
	struct peers *p = members_peers(nodes[from].members);
	unsigned want = answers + 1;
	refusal[0] = 0;
	env->ref = peers_ref(p);
	ck_assert_int_eq(peers_send(p, &nodes[to].keys.public, PEERS_CONTROL, env, NULL), 0);
	ck_assert(nodes_wait(answered, &want, 10000));
	return refusal;
}

static const char *tell_plan(int from, int to, Caravan__Plan *plan, Caravan__ModelPhase phase) {
	Caravan__PlanNews news = CARAVAN__PLAN_NEWS__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	news.plan = plan;
	news.phase = phase;
	env.body_case = CARAVAN__ENVELOPE__BODY_PLAN;
	env.plan = &news;
	return tell(from, to, &env);
}

static const char *tell_prepare(int from, int to, Caravan__Plan *plan) {
	Caravan__Prepare prepare = CARAVAN__PREPARE__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	prepare.plan = plan;
	env.body_case = CARAVAN__ENVELOPE__BODY_PREPARE;
	env.prepare = &prepare;
	return tell(from, to, &env);
}

START_TEST(members_are_not_believed) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	cluster(3);
	ck_assert_str_eq(load(0, path, all, &o), "");
	struct peers *p = members_peers(nodes[2].members);
	peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
	peers_on(p, CARAVAN__ENVELOPE__BODY_ACK, on_answer, NULL);
	Caravan__Plan *plan = plan_copy(model(2, "m")->plan);
	ProtobufCBinaryData ada = plan->coordinator, cleo = {32, nodes[2].keys.public.b};

	/* cleo speaks of ada's plan, to ada and to bob */
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__UNLOADED),
	        "only the plan's coordinator may announce it");
	ck_assert_str_eq(tell_plan(2, 0, plan, CARAVAN__MODEL_PHASE__UNLOADED),
	        "only the plan's coordinator may announce it");
	ck_assert_str_eq(
	        tell_prepare(2, 1, plan), "only the plan's coordinator may ask for it to be prepared");
	/* she calls herself the coordinator, of an old epoch and of a new one */
	plan->coordinator = cleo;
	ProtobufCBinaryData numbered = plan->epoch->node;
	plan->epoch->node = cleo;
	plan->epoch->counter--;
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__SERVING),
	        "the plan is older than the one that this node knows");
	ck_assert_str_eq(tell_prepare(2, 1, plan), "the plan is older than the one that this node knows");
	plan->epoch->counter += 10;
	ck_assert_str_eq(tell_plan(2, 0, plan, CARAVAN__MODEL_PHASE__SERVING),
	        "this node coordinates a model of that name");
	ck_assert_str_eq(tell_prepare(2, 1, plan), "the name m is in use by a model that ada coordinates");
	/* a plan of hers that makes no sense */
	char *name = plan->model;
	plan->model = (char *)"n";
	ProtobufCBinaryData second = plan->stages[1]->node;
	plan->stages[1]->node = plan->stages[0]->node;
	ck_assert_str_eq(tell_prepare(2, 1, plan), "the plan names a node twice");
	plan->stages[1]->node = second;
	plan->arithmetic++;
	ck_assert_str_eq(tell_prepare(2, 1, plan), "the plan needs arithmetic revision 2, this node has 1");
	plan->arithmetic--;
	size_t stages = plan->n_stages;
	plan->n_stages = 1;
	int other = memcmp(plan->stages[0]->node.data, nodes[0].keys.public.b, 32) == 0 ? 1 : 0;
	ck_assert_str_eq(tell_prepare(2, other, plan), "this node is not a stage of the plan");
	plan->n_stages = stages;
	/* of content that nobody has */
	uint8_t was = plan->vocab.data[0];
	plan->vocab.data[0] ^= 1;
	tell_prepare(2, 1, plan);
	ck_assert_msg(strstr(refusal, "model n: blob"), "%s", refusal);
	plan->vocab.data[0] = was;
	/* with fewer layers than the model has */
	uint32_t last = plan->stages[2]->last;
	plan->stages[2]->last = last + 1;
	ck_assert_str_eq(tell_prepare(2, 1, plan), "the plan has 7 layers, the manifest 6");
	plan->stages[2]->last = last;
	/* with less room for its weights than reading them from disk takes */
	for (size_t i = 0; i < plan->n_stages; i++)
		plan->stages[i]->room = 1;
	tell_prepare(2, 1, plan);
	ck_assert_msg(strstr(refusal, "not enough memory even to read layers"), "%s", refusal);
	for (size_t i = 0; i < plan->n_stages; i++)
		plan->stages[i]->room = 0;
	/* with more KV than there is memory */
	plan->blocks = UINT32_MAX;
	tell_prepare(2, 1, plan);
	ck_assert_msg(strstr(refusal, "with KV cache and buffers"), "%s", refusal);
	/* a model of hers that waits, and then a stage of it for bob, who has none in what she told */
	struct node_id else_where = {{7}};
	ProtobufCBinaryData bobs = {0};
	size_t at = 0;
	while (memcmp(plan->stages[at]->node.data, nodes[1].keys.public.b, 32) != 0)
		at++;
	plan->model = (char *)"w";
	plan->blocks = 4;
	bobs = plan->stages[at]->node;
	plan->stages[at]->node = (ProtobufCBinaryData){32, else_where.b};
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__UNAVAILABLE), "");
	plan->stages[at]->node = bobs;
	ck_assert_str_eq(tell_prepare(2, 1, plan),
	        "this node knows another plan with that epoch, in which it has no stage");
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__UNLOADED), "");
	/* what she gave up under the name of a model of ada's is not ada's */
	plan->model = name;
	const char *not_hers = "another node coordinates the model of that name here";
	ck_assert_str_eq(tell_plan(2, 0, plan, CARAVAN__MODEL_PHASE__UNLOADED), not_hers);
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__FAILED), not_hers);
	plan->model = (char *)"n";
	/* that bob serves a stage of it, he knows better */
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__SERVING),
	        "this node does not serve its stage of that plan");
	/* nor does she say what others keep on their disks */
	Caravan__Keep keep = CARAVAN__KEEP__INIT;
	Caravan__Envelope wants = CARAVAN__ENVELOPE__INIT;
	keep.manifest = plan->manifest;
	keep.ends = 7;
	wants.body_case = CARAVAN__ENVELOPE__BODY_KEEP;
	wants.keep = &keep;
	ck_assert_str_eq(tell(2, 1, &wants), "this node knows no model of that name that you coordinate");
	/* and what is not there cannot be unloaded */
	Caravan__Unload unload_n = CARAVAN__UNLOAD__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	unload_n.model = (char *)"n";
	env.body_case = CARAVAN__ENVELOPE__BODY_UNLOAD;
	env.unload = &unload_n;
	ck_assert_str_eq(tell(2, 1, &env), "this node coordinates no model n");

	/* nothing of it did any harm */
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(model(i, "m")->phase, CARAVAN__MODEL_PHASE__SERVING);
		ck_assert_ptr_null(model(i, "n"));
		ck_assert_ptr_nonnull(above[i].stage);
	}
	plan->coordinator = ada;
	plan->epoch->node = numbered;
	plan->model = name;
	plan_free(plan);
}
END_TEST

/* Cleo has made more plans than anybody can: bob remembers hers, and numbers his own as before. */
START_TEST(nobody_uses_up_the_numbers_of_plans) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1), *const ada[] = {"ada"},
	           *const bob[] = {"bob"};
	struct outcome o;
	cluster(3);
	ck_assert_str_eq(load(0, path, (struct deploy_load){.nodes = ada, .nnodes = 1, .copies = 1}, &o), "");
	peers_on(members_peers(nodes[2].members), CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
	peers_on(members_peers(nodes[2].members), CARAVAN__ENVELOPE__BODY_ACK, on_answer, NULL);
	Caravan__Plan *plan = plan_copy(model(2, "m")->plan);
	ProtobufCBinaryData coordinator = plan->coordinator, numbered = plan->epoch->node;
	char *name = plan->model;
	plan->model = (char *)"n";
	plan->coordinator = plan->epoch->node = (ProtobufCBinaryData){32, nodes[2].keys.public.b};
	plan->epoch->counter = ((uint64_t)1 << 52) + 7;
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__UNAVAILABLE), "");
	ck_assert_ptr_nonnull(model(1, "n"));
	ck_assert_str_eq(load(1, nodes_model("o.gguf", KERN_Q4_0, 6, 2),
	                         (struct deploy_load){.nodes = bob, .nnodes = 1, .copies = 1}, &o),
	        "");
	ck_assert_uint_lt(model(1, "o")->plan->epoch->counter, 100);
	plan->coordinator = coordinator;
	plan->epoch->node = numbered;
	plan->model = name;
	plan_free(plan);
}
END_TEST

/* Cleo is up, and there is nobody on her who would prepare a stage. */
START_TEST(a_silent_stage_is_given_up) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct outcome o;
	nodes_cluster(3);
	start_deploy(0);
	start_deploy(1);
	ck_assert_str_eq(load(0, path, all, &o), "cleo has not answered for 15 s");
	nothing_is_left(2);
}
END_TEST

/* Cleo says that ada serves a model of hers: bob believes it when ada says so. */
START_TEST(what_others_serve_they_say_themselves) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1), *const names[] = {"ada"};
	const char *no = "ada does not say that it serves its stage of that plan";
	struct outcome o;
	patient_cluster(3);
	ck_assert_str_eq(
	        load(0, path, (struct deploy_load){.nodes = names, .nnodes = 1, .copies = 1}, &o), "");
	struct peers *p = members_peers(nodes[2].members);
	peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
	peers_on(p, CARAVAN__ENVELOPE__BODY_ACK, on_answer, NULL);
	Caravan__Plan *plan = plan_copy(model(2, "m")->plan);
	ProtobufCBinaryData ada = plan->coordinator, numbered = plan->epoch->node;
	char *m = plan->model;
	plan->coordinator = plan->epoch->node = (ProtobufCBinaryData){32, nodes[2].keys.public.b};
	plan->epoch->counter += 10;
	/* cleo does not say what it really coordinates, which would take away what it makes up */
	((struct member *)members_find(nodes[2].members, &nodes[1].keys.public))->minor = 1;
	/* the same weights, and another model */
	plan->model = (char *)"n";
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__SERVING), no);
	ck_assert_ptr_null(model(1, "n"));
	/* while it waits ada says that she serves other layers of it, and then these */
	Caravan__PlanNews news = CARAVAN__PLAN_NEWS__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	unsigned want = answers + 1;
	news.plan = plan;
	news.phase = CARAVAN__MODEL_PHASE__SERVING;
	env.body_case = CARAVAN__ENVELOPE__BODY_PLAN;
	env.plan = &news;
	env.ref = peers_ref(p);
	ck_assert_int_eq(peers_send(p, &nodes[1].keys.public, PEERS_CONTROL, &env, NULL), 0);
	plan->stages[0]->last--;
	nodes_serves(&nodes[0], plan, 0);
	plan->stages[0]->last++;
	members_heartbeat(nodes[0].members);
	nodes_run(200);
	ck_assert_ptr_null(model(1, "n"));
	ck_assert_uint_lt(answers, want);
	nodes_serves(&nodes[0], plan, 0);
	refusal[0] = 0;
	ck_assert(nodes_wait(answered, &want, 10000));
	ck_assert_str_eq(refusal, "");
	ck_assert_ptr_nonnull(model(1, "n"));
	ck_assert_int_eq(model(1, "n")->phase, CARAVAN__MODEL_PHASE__SERVING);
	/* nor does she get the name of a model whose coordinator is away, by naming that one */
	nodes_stop(0);
	struct phase waits = {1, CARAVAN__MODEL_PHASE__UNAVAILABLE};
	ck_assert(nodes_wait(has_phase, &waits, 10000));
	nodes_run(2 * MEMBERS_PING_MS); /* cleo says that she does not reach ada */
	plan->model = m;
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__SERVING), no);
	ck_assert_int_eq(memcmp(model(1, "m")->plan->coordinator.data, nodes[0].keys.public.b, 32), 0);
	plan->coordinator = ada;
	plan->epoch->node = numbered;
	plan_free(plan);
}
END_TEST

START_TEST(a_coordinator_has_its_share_of_places) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 2, 1);
	struct outcome o;
	char name[20];
	cluster(3);
	ck_assert_str_eq(load(0, path, (struct deploy_load){.context = 64}, &o), "");
	struct peers *p = members_peers(nodes[2].members);
	peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
	peers_on(p, CARAVAN__ENVELOPE__BODY_ACK, on_answer, NULL);
	Caravan__Plan *plan = plan_copy(model(2, "m")->plan);
	ProtobufCBinaryData ada = plan->coordinator;
	char *m = plan->model;
	ProtobufCBinaryData numbered = plan->epoch->node;
	plan->coordinator = plan->epoch->node = (ProtobufCBinaryData){32, nodes[2].keys.public.b};
	plan->model = name;
	/* cleo does not say what it really coordinates, which would take away what it makes up */
	((struct member *)members_find(nodes[2].members, &nodes[1].keys.public))->minor = 1;
	/* cleo makes models up: bob takes some of them, and says no to the others */
	for (int i = 0; i < 40; i++) {
		snprintf(name, sizeof name, "n%d", i);
		const char *no = "cleo already coordinates 16 models, the limit of a node";
		ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__UNAVAILABLE), i < 16 ? "" : no);
	}
	ck_assert_str_eq(tell_prepare(2, 1, plan), "this node is not a stage of the plan");
	size_t known = 0;
	while (deploy_at(above[1].deploy, known))
		known++;
	ck_assert_uint_eq(known, 17);
	/* which is not for ever, and not for others */
	snprintf(name, sizeof name, "n3");
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__UNLOADED), "");
	snprintf(name, sizeof name, "n99");
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__UNAVAILABLE), "");
	for (int i = 0; i < 3; i++) { /* our storey above holds one at a time */
		slice_destroy(above[i].stage);
		slice_destroy(above[i].ends);
		above[i].stage = above[i].ends = NULL;
	}
	ck_assert_str_eq(load(0, path, (struct deploy_load){.context = 64, .name = "b"}, &o), "");
	ck_assert_ptr_nonnull(model(1, "b"));
	plan->coordinator = ada;
	plan->epoch->node = numbered;
	plan->model = m;
	plan_free(plan);
}
END_TEST

/* ---- copies ---- */

/* On how many disks the tensors are, at least. */
static unsigned fewest(const struct manifest *m) {
	unsigned least = NODES_MAX;
	for (uint32_t i = 0; i < m->hp.layers * LAYER_ROLES + END_ROLES; i++) {
		const struct content_id *id =
		        i < END_ROLES
		                ? &m->end[i].id
		                : &m->layer[(i - END_ROLES) / LAYER_ROLES][(i - END_ROLES) % LAYER_ROLES].id;
		unsigned n = 0;
		for (int k = 0; k < NODES_MAX; k++)
			n += nodes[k].members && store_has_tensor(nodes[k].store, id);
		least = n < least ? n : least;
	}
	return least;
}

static bool copied_once(void *arg) {
	Caravan__ModelState s = copies_of(*(int *)arg, "m");
	return s.copies && s.copy_missing == 0;
}

START_TEST(copies_come_onto_other_disks) {
	const char *path = nodes_model("m.gguf", KERN_Q8_0, 6, 1), *bob[] = {"bob"};
	struct outcome o;
	int ada = 0;
	patient_cluster(3);
	/* all layers are bob's and the ends ada's: nothing would survive a loss */
	ck_assert_str_eq(load(0, path, (struct deploy_load){.nodes = bob, .nnodes = 1, .copies = 1}, &o), "");
	const struct manifest *m = model(0, "m")->manifest;
	ck_assert(nodes_wait(copied_once, &ada, 20000));
	Caravan__ModelState s = copies_of(0, "m");
	ck_assert_str_eq(s.at_risk, "only on ada: embedding and output; only on bob: layers 0-5");
	ck_assert_uint_eq(s.copies, 1);
	ck_assert_uint_eq(s.copy_missing, 0);
	ck_assert_uint_eq(fewest(m), 1);
	/* who does not coordinate it says nothing of it */
	ck_assert_uint_eq(copies_of(1, "m").copies, 0);
	ck_assert_str_eq(unload(0, "m"), "");

	ck_assert_str_eq(load(0, path, (struct deploy_load){.nodes = bob, .nnodes = 1, .copies = 3}, &o), "");
	m = model(0, "m")->manifest;
	ck_assert(nodes_wait(copied, &ada, 60000));
	ck_assert_uint_eq(fewest(m), 3);
	ck_assert_uint_eq(
	        copies_of(0, "m").copy_bytes, 3 * (manifest_layer_bytes(m, 0, 6) + manifest_end_bytes(m)));
	/* and when the one that loaded it has gone, another does, without a file: nothing moves any more */
	uint64_t moved = deploy_moved(above[1].deploy) + deploy_moved(above[2].deploy);
	nodes_stop(0);
	ck_assert(nodes_wait(nodes_all_up, NULL, 30000));
	struct deploy_load known = {.file = "m", .known = "m", .all_nodes = true, .done = on_done, .arg = &o};
	char err[300] = "";
	memset(&o, 0, sizeof o);
	ck_assert_msg(deploy_load(above[2].deploy, &known, err, sizeof err) == 0, "%s", err);
	ck_assert(nodes_wait(is_done, &o, 60000));
	ck_assert_str_eq(o.error, "");
	ck_assert_uint_eq(model(2, "m")->plan->n_stages, 2);
	ck_assert_uint_eq(model(2, "m")->plan->copies, 3);
	ck_assert_uint_eq(deploy_moved(above[1].deploy) + deploy_moved(above[2].deploy), moved);
	/* nobody knows it here any more */
	known.known = known.file = "n";
	memset(&o, 0, sizeof o);
	ck_assert_msg(deploy_load(above[2].deploy, &known, err, sizeof err) == 0, "%s", err);
	ck_assert(nodes_wait(is_done, &o, 60000));
	ck_assert_str_eq(o.error, "no model n is on the disks of the nodes that are up: there are m");
}
END_TEST

static unsigned held_bits;
static uint64_t held_free;

static void on_held(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	const ProtobufCBinaryData *t = &env->held->tensors;
	on_answer(arg, from, env, payload);
	held_bits = 0;
	held_free = env->held->memory_free;
	for (size_t i = 0; i < t->len * 8; i++)
		held_bits += t->data[i / 8] >> i % 8 & 1;
}

START_TEST(nodes_say_what_they_have) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	const char *const names[] = {"bob", "ada"};
	struct outcome o;
	patient_cluster(3);
	ck_assert_str_eq(load(0, path, (struct deploy_load){.nodes = names, .nnodes = 2}, &o), "");
	struct peers *p = members_peers(nodes[2].members);
	peers_on(p, CARAVAN__ENVELOPE__BODY_HELD, on_held, NULL);
	peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
	Caravan__Look look = CARAVAN__LOOK__INIT;
	Caravan__Envelope env = CARAVAN__ENVELOPE__INIT;
	look.manifest = model(2, "m")->plan->manifest;
	env.body_case = CARAVAN__ENVELOPE__BODY_LOOK;
	env.look = &look;
	for (int i = 0; i < 3; i++) {
		const struct slice *s = above[i].stage;
		ck_assert_str_eq(tell(2, i, &env), "");
		ck_assert_uint_eq(held_bits, s ? (s->last - s->first) * LAYER_ROLES : 0);
		ck_assert_uint_eq(held_free, nodes[i].memory - deploy_memory_used(above[i].deploy));
	}
	/* of a model that nobody knows it has nothing; nor does a vocabulary have layers */
	look.manifest = model(2, "m")->plan->vocab;
	ck_assert_str_eq(tell(2, 1, &env), "");
	ck_assert_uint_eq(held_bits, 0);
	/* who asks very often is refused, and answered all the same */
	unsigned want = answers + 40;
	look.manifest = model(2, "m")->plan->manifest;
	for (int i = 0; i < 40; i++) {
		env.ref = peers_ref(p);
		ck_assert_int_eq(peers_send(p, &nodes[1].keys.public, PEERS_CONTROL, &env, NULL), 0);
	}
	ck_assert(nodes_wait(answered, &want, 10000));
	ck_assert_str_eq(refusal, "too many requests at once");
	ck_assert_uint_lt(refusals, 37);
	ck_assert_str_eq(tell(2, 1, &env), "");
	/* what a stage takes that waits for its coordinator is free for another plan of the same model */
	nodes_stop(0);
	struct phase gone = {1, CARAVAN__MODEL_PHASE__UNAVAILABLE};
	ck_assert(nodes_wait(has_phase, &gone, 10000));
	ck_assert_ptr_nonnull(above[1].stage);
	ck_assert_str_eq(tell(2, 1, &env), "");
	ck_assert_uint_gt(deploy_memory_used(above[1].deploy), 0);
	ck_assert_uint_eq(held_free, nodes[1].memory);
}
END_TEST

static TCase *group(Suite *s, const char *name) {
	TCase *t = tcase_create(name);
	tcase_set_timeout(t, 240);
	tcase_add_checked_fixture(t, nodes_setup, nodes_teardown);
	suite_add_tcase(s, t);
	return t;
}

static Suite *suite(void) {
	Suite *s = suite_create("deploy");
	nodes_loader_gone = take_down;
	TCase *t = group(s, "loads");
	tcase_add_test(t, serves_on_three_nodes);
	tcase_add_test(t, two_models_and_named_nodes);
	tcase_add_test(t, what_cannot_be_is_said);
	tcase_add_test(t, a_cache_that_an_older_node_has_not);
	tcase_add_test(t, a_node_without_memory_is_found_out);
	tcase_add_test(t, a_context_that_fits);
	tcase_add_test(t, all_of_a_context_fits);
	tcase_add_test(t, failure_of_one_tears_all_down);
	tcase_add_test(t, a_node_that_dies_during_a_load);
	tcase_add_test(t, unloaded_while_loading);
	t = group(s, "losses");
	tcase_add_test(t, a_stage_goes_and_comes_back);
	tcase_add_test(t, a_coordinator_goes_and_comes_back);
	tcase_add_test(t, a_node_that_comes_late_learns_what_there_is);
	tcase_add_test(t, the_storey_above_finds_it_unavailable);
	tcase_add_test(t, a_connection_is_cut_one_way);
	tcase_add_test(t, unloaded_while_a_node_was_away);
	tcase_add_test(t, the_others_go_on_without_a_node);
	tcase_add_test(t, what_is_missing_is_said_until_it_is_back);
	tcase_add_test(t, the_others_go_on_without_their_coordinator);
	tcase_add_test(t, a_coordinator_that_is_heard_stays);
	tcase_add_test(t, two_that_serve_come_to_one);
	tcase_add_test(t, a_restart_while_it_comes_back_forgets_nothing);
	tcase_add_test(t, one_whose_coordinator_is_gone_can_be_unloaded);
	tcase_add_test(t, who_knows_the_plan_brings_it_back);
	t = group(s, "disks");
	tcase_add_test(t, copies_come_onto_other_disks);
	tcase_add_test(t, nodes_say_what_they_have);
	t = group(s, "what others do");
	tcase_add_test(t, members_are_not_believed);
	tcase_add_test(t, what_others_serve_they_say_themselves);
	tcase_add_test(t, a_coordinator_has_its_share_of_places);
	tcase_add_test(t, nobody_uses_up_the_numbers_of_plans);
	t = group(s, "silence");
	tcase_add_test(t, a_silent_stage_is_given_up);
	return s;
}

#include "tests/unit/check_main.h"
