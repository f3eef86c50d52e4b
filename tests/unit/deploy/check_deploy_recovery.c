/* deploy: nodes that go and come back, and how what nodes believe of plans converges. */
#include "daemon/deploy/catalog.h"
#include "daemon/deploy/load.h"
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

/* When the first node last served m, as its disk has it. */
static uint64_t served_last(struct catalog_model *out) {
	struct catalog c;
	uint64_t used = 0;
	ck_assert_int_eq(catalog_names(&c, nodes[0].store), 0);
	for (size_t i = 0; i < c.models; i++)
		if (strcmp(c.model[i].name, "m") == 0) {
			used = c.model[i].used;
			*out = c.model[i];
			out->word = NULL;
		}
	catalog_clear(&c);
	return used;
}

static bool served_after(void *used) {
	struct catalog_model m;
	return served_last(&m) > *(uint64_t *)used;
}

/* Of a model that is served for long, the disk has when that began: it must have when that ended too. */
START_TEST(the_end_of_serving_is_recorded) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	struct catalog_model m = {.name = ""};
	uint64_t used = 0;
	deploys_patient_cluster(2);
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	ck_assert(nodes_wait(served_after, &used, 10000));
	served_last(&m);
	m.used = used = 1;
	ck_assert_int_eq(catalog_record(nodes[0].store, &m), 0);
	nodes_stop(1);
	struct deploys_phase p = {0, CARAVAN__MODEL_PHASE__UNAVAILABLE};
	ck_assert(nodes_wait(deploys_has_phase, &p, 10000));
	ck_assert(nodes_wait(served_after, &used, 10000));
}
END_TEST

START_TEST(a_stage_goes_and_comes_back) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	deploys_patient_cluster(3);
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	uint64_t epoch = deploys_model(0, "m")->plan->epoch->counter;
	nodes_stop(1);
	struct deploys_phase p = {0, CARAVAN__MODEL_PHASE__UNAVAILABLE},
	                     q = {2, CARAVAN__MODEL_PHASE__UNAVAILABLE};
	ck_assert(nodes_wait(deploys_has_phase, &p, 10000));
	ck_assert(deploys_text_begins(deploys_model(0, "m")->reason, "node bob has been down since "));
	ck_assert(nodes_wait(deploys_has_phase, &q, 10000));
	ck_assert(deploys_text_begins(deploys_model(2, "m")->reason, "node bob has been down since "));
	ck_assert_uint_eq(deploys[0].models_closed, 1);
	ck_assert(deploys_text_begins(deploys[0].why, "node bob has been down since "));

	nodes_start(1);
	deploys_start(1);
	p.phase = q.phase = CARAVAN__MODEL_PHASE__SERVING;
	struct deploys_phase r = {1, CARAVAN__MODEL_PHASE__SERVING};
	ck_assert(nodes_wait(deploys_has_phase, &p, 30000));
	ck_assert(nodes_wait(deploys_has_phase, &q, 10000));
	ck_assert(nodes_wait(deploys_has_phase, &r, 10000));
	ck_assert_uint_gt(deploys_model(2, "m")->plan->epoch->counter, epoch);
	ck_assert_uint_eq(deploy_moved(deploys[1].deploy), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(deploys[i].stage);
	ck_assert_uint_eq(deploys[2].opened, 2);
	ck_assert_uint_eq(deploys[2].closed, 1);
	ck_assert_ptr_nonnull(deploys[0].io);
}
END_TEST

START_TEST(a_coordinator_goes_and_comes_back) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	char err[300];
	deploys_patient_cluster(3);
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	uint64_t epoch = deploys_model(0, "m")->plan->epoch->counter;
	nodes_stop(0);
	struct deploys_phase p = {1, CARAVAN__MODEL_PHASE__UNAVAILABLE},
	                     q = {2, CARAVAN__MODEL_PHASE__UNAVAILABLE};
	ck_assert(nodes_wait(deploys_has_phase, &p, 10000));
	ck_assert(nodes_wait(deploys_has_phase, &q, 10000));
	ck_assert(deploys_text_begins(
	        deploys_model(1, "m")->reason, "its coordinator ada has been down since "));
	ck_assert_int_lt(deploy_unload(deploys[1].deploy, "m", deploys_on_done, &o, err, sizeof err), 0);
	ck_assert_str_eq(err, "the coordinator of m, ada, cannot be reached");

	nodes_start(0);
	deploys_start(0);
	ck_assert_ptr_nonnull(deploys_model(0, "m")); /* it remembers */
	p.phase = q.phase = CARAVAN__MODEL_PHASE__SERVING;
	ck_assert(nodes_wait(deploys_has_phase, &p, 30000));
	ck_assert(nodes_wait(deploys_has_phase, &q, 10000));
	ck_assert_uint_gt(deploys_model(0, "m")->plan->epoch->counter, epoch);
	ck_assert_str_eq(deploys_unload(1, "m"), "");
	int three = 3;
	ck_assert(nodes_wait(deploys_tables_are_empty, &three, 10000));

	/* unloaded, it does not come back */
	nodes_stop(0);
	nodes_start(0);
	deploys_start(0);
	ck_assert_ptr_null(deploys_model(0, "m"));
}
END_TEST

START_TEST(a_node_that_comes_late_learns_what_there_is) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	const char *const names[] = {"ada", "bob"};
	deploys_cluster(3);
	nodes_stop(2);
	ck_assert(nodes_wait(nodes_all_up, NULL, 20000));
	ck_assert_str_eq(deploys_load(0, path, (struct deploy_load){.nodes = names, .nnodes = 2}, &o), "");
	nodes_start(2);
	deploys_start(2);
	struct deploys_phase p = {2, CARAVAN__MODEL_PHASE__SERVING};
	ck_assert(nodes_wait(deploys_has_phase, &p, 20000));
	ck_assert(nodes_wait(nodes_all_up, NULL, 20000));
	nodes_run(500);
	ck_assert_ptr_nonnull(deploys_model(2, "m")->vocab);
	ck_assert_ptr_null(deploys[2].stage);
}
END_TEST

/* ---- what nodes believe of plans converges ---- */

static bool bob_is_loading(void *arg) {
	char what[300];
	(void)arg;
	if (!deploys_model(2, "m"))
		return false;
	deploy_describe(deploys[2].deploy, deploys_model(2, "m"), what, sizeof what);
	return deploys_text_begins(what, "is loading (");
}

struct epoch_after {
	int node;
	uint64_t counter;
};

static bool serves_after(void *arg) {
	const struct epoch_after *e = arg;
	const struct deploy_model *m = deploys_model(e->node, "m");
	return m && m->phase == CARAVAN__MODEL_PHASE__SERVING && m->plan->epoch->counter > e->counter;
}

/* Bob's connection to ada is cut: ada does not notice, since hers to bob is another one. */
static void cut_one_way(void) {
	struct deploys_phase p = {1, CARAVAN__MODEL_PHASE__UNAVAILABLE};
	ck_assert(nodes_wait(
	        nodes_all_up, NULL, 20000)); /* a model can serve again before bob's connection is back */
	peers_drop(members_peers(nodes[1].members), &nodes[0].keys.public, "a router reset it");
	ck_assert(nodes_wait(deploys_has_phase, &p, 10000));
	ck_assert_int_eq(deploys_model(0, "m")->phase, CARAVAN__MODEL_PHASE__SERVING);
}

START_TEST(a_connection_is_cut_one_way) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	deploys_cluster(2);
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	uint64_t epoch = deploys_model(0, "m")->plan->epoch->counter;
	struct deploys_phase p = {1, CARAVAN__MODEL_PHASE__SERVING};
	for (int i = 0; i < 2; i++) {
		cut_one_way();
		ck_assert(nodes_wait(deploys_has_phase, &p, 20000));
		/* nothing was lost on the way: it is the same stage under the same plan, and stays */
		ck_assert_uint_eq(deploys_model(1, "m")->plan->epoch->counter, epoch);
		ck_assert_uint_eq(deploys[1].opened, 1);
		ck_assert_uint_eq(deploys[1].closed, 0);
	}
	/* a step was lost, and ada could not be told: she waits for it in vain until she hears so */
	cut_one_way();
	deploys[1].broken = true;
	struct epoch_after e = {0, epoch}, f = {1, epoch};
	ck_assert(nodes_wait(serves_after, &e, 20000));
	ck_assert(nodes_wait(serves_after, &f, 20000));
	ck_assert(deploys_text_begins(deploys[0].why, "bob lost steps"));
	ck_assert_uint_eq(deploys[1].opened, 2);
}
END_TEST

static bool m_is_gone(void *arg) {
	return !deploys_model(*(int *)arg, "m");
}

START_TEST(unloaded_while_a_node_was_away) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1), *const ada[] = {"ada"};
	struct deploys_outcome o;
	int bob = 1;
	deploys_cluster(3);
	ck_assert_str_eq(deploys_load(0, path, (struct deploy_load){.nodes = ada, .nnodes = 1}, &o), "");
	nodes_run(1200); /* bob writes down what he knows */
	nodes_stop(1);
	ck_assert(nodes_wait(nodes_all_up, NULL, 20000));
	ck_assert_str_eq(deploys_unload(0, "m"), "");
	nodes_start(1);
	deploys_start(1);
	ck_assert_ptr_nonnull(deploys_model(1, "m"));
	ck_assert_int_eq(deploys_model(1, "m")->phase, CARAVAN__MODEL_PHASE__UNAVAILABLE);
	ck_assert(nodes_wait(m_is_gone, &bob, 20000));
}
END_TEST

/* The kinds of a node's events about m from its last loss on, separated by blanks; recovered: the last that tells of its
 * return. */
static const char *happened(int i, const Caravan__Event **recovered) {
	static char kinds[1000];
	const Caravan__Event *e;
	kinds[0] = 0;
	for (size_t k = 0; (e = journal_at(nodes[i].journal, k)); k++) {
		if (strcmp(e->model, "m") != 0 || strcmp(e->kind, "copies-complete") == 0)
			continue;
		if (strcmp(e->kind, "model-unavailable") == 0)
			kinds[0] = 0;
		if (strcmp(e->kind, "model-recovered") == 0)
			*recovered = e;
		snprintf(kinds + strlen(kinds), sizeof kinds - strlen(kinds), "%s%s", *kinds ? " " : "",
		        e->kind);
	}
	return kinds;
}

static bool told_of_its_return(void *arg) {
	const Caravan__Event *recovered;
	const char *kinds = happened(*(int *)arg, &recovered), *last = strrchr(kinds, ' ');
	return last && strcmp(last, " model-recovered") == 0;
}

/* Every part of a recovery is there, in order, and they are the whole. */
static void check_parts(const Caravan__Event *e, double waited_at_least) {
	static const char *const names[] = {"noticed", "waited", "planned", "weights", "announced"};
	double sum = 0;
	size_t at = 0;
	for (size_t i = 0; i < e->n_parts; i++) {
		at += at < 5 && strcmp(e->parts[i]->name, names[at]) == 0;
		sum += e->parts[i]->seconds;
	}
	ck_assert_uint_eq(at, 5);
	ck_assert(sum <= e->seconds * 1.000001 && sum >= e->seconds * 0.999999);
	ck_assert(e->parts[1]->seconds >= waited_at_least);
}

START_TEST(the_others_go_on_without_a_node) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	deploys_cluster(3);
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	int ada = 0;
	ck_assert(nodes_wait(deploys_copied, &ada, 60000));
	uint64_t epoch = deploys_model(0, "m")->plan->epoch->counter;
	nodes_stop(1);
	/* who was named or not, and what was asked for, stays; so do the bytes */
	struct epoch_after e = {0, epoch}, f = {2, epoch};
	ck_assert(nodes_wait(serves_after, &e, 60000));
	ck_assert(nodes_wait(serves_after, &f, 20000));
	const Caravan__Event *recovered = NULL;
	ck_assert(nodes_wait(told_of_its_return, &ada, 20000));
	ck_assert_str_eq(
	        happened(0, &recovered), "model-unavailable recovery-started plan-changed model-recovered");
	check_parts(recovered, 0.5);
	const Caravan__Plan *plan = deploys_model(0, "m")->plan;
	for (size_t i = 0; i < plan->n_stages; i++)
		ck_assert_int_ne(memcmp(plan->stages[i]->node.data, nodes[1].keys.public.b, 32), 0);
	ck_assert_uint_eq(plan->stages[plan->n_stages - 1]->last, 6);
	ck_assert_ptr_nonnull(deploys[0].io);
	/* everybody knows over which it was loaded */
	ck_assert_uint_eq(plan->n_placed, 3);
	ck_assert_uint_eq(deploys_model(2, "m")->plan->n_placed, 3);
	ck_assert_mem_eq(deploys_model(2, "m")->plan->placed[1].data, plan->placed[1].data, 32);
	/* the node that comes back hears of the plan that it is not in */
	epoch = plan->epoch->counter;
	nodes_start(1);
	deploys_start(1);
	struct epoch_after g = {1, epoch - 1};
	ck_assert(nodes_wait(serves_after, &g, 30000));
	ck_assert_ptr_null(deploys[1].stage);
	ck_assert_uint_eq(deploys_model(0, "m")->plan->epoch->counter, epoch);
	/* also after a restart */
	nodes_stop(0);
	nodes_start(0);
	deploys_start(0);
	ck_assert_uint_eq(deploys_model(0, "m")->plan->n_placed, 3);
	struct epoch_after h = {0, epoch};
	ck_assert(nodes_wait(serves_after, &h, 30000));
	ck_assert_uint_eq(deploys_model(0, "m")->plan->n_placed, 3);
	/* until it is loaded again */
	ck_assert_str_eq(deploys_unload(0, "m"), "");
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	ck_assert_uint_eq(deploys_model(0, "m")->plan->n_placed, 0);
}
END_TEST

static bool says_what_is_missing(void *arg) {
	(void)arg;
	const struct deploy_model *m = deploys_model(0, "m");
	return m && strstr(m->reason, "is incomplete on the disks of the nodes that are up");
}

START_TEST(what_is_missing_is_said_until_it_is_back) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	deploys_cluster(2);
	/* the file is ada's, but only while it is being loaded: bob has the only copy of what he serves */
	ck_assert_str_eq(deploys_load(0, path, (struct deploy_load){.all_nodes = true, .copies = 1}, &o), "");
	uint64_t epoch = deploys_model(0, "m")->plan->epoch->counter;
	nodes_stop(1);
	ck_assert(nodes_wait(says_what_is_missing, NULL, 40000));
	ck_assert(deploys_text_begins(deploys_model(0, "m")->reason, "node bob has been down since "));
	ck_assert_int_eq(deploys_model(0, "m")->phase, CARAVAN__MODEL_PHASE__UNAVAILABLE);
	nodes_start(1);
	deploys_start(1);
	struct epoch_after e = {0, epoch};
	ck_assert(nodes_wait(serves_after, &e, 30000));
	const Caravan__Event *recovered = NULL;
	int ada = 0;
	ck_assert(nodes_wait(told_of_its_return, &ada, 20000));
	ck_assert_str_eq(happened(0, &recovered),
	        "model-unavailable recovery-started recovery-failed recovery-started model-recovered");
	check_parts(recovered, 0.5);
}
END_TEST

static size_t events_of(int i) {
	size_t n = 0;
	while (journal_at(nodes[i].journal, n))
		n++;
	return n;
}

/* Attempts go on for as long as a node is away: only the first of them are events, and all failures of what users ask for. */
START_TEST(attempts_do_not_fill_the_journal) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	deploys_cluster(1);
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	struct model *m = deploy_model_named(deploys[0].deploy, "m");
	struct load l = {.d = deploys[0].deploy, .name = "m", .m = m, .revival = true, .error = "no"};
	for (m->tries = 0; m->tries < 5; m->tries++) {
		size_t before = events_of(0);
		load_say_recovery(&l, m, "again");
		load_say_failed(&l);
		ck_assert_uint_eq(events_of(0) - before, m->tries ? 0 : 2);
	}
	l.revival = false;
	size_t before = events_of(0);
	load_say_failed(&l);
	ck_assert_uint_eq(events_of(0) - before, 1);
	m->tries = 0;
}
END_TEST

/* A load of what serves is no event: nothing would end it.  What is refused is one. */
START_TEST(a_load_of_what_serves_is_no_event) {
	char path[200];
	const Caravan__Event *served;
	struct deploys_outcome o;
	snprintf(path, sizeof path, "%s", nodes_model("m.gguf", KERN_Q4_0, 6, 1));
	deploys_cluster(1);
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	size_t loaded = events_of(0);
	ck_assert_str_eq(happened(0, &served), "load-started model-serving");
	for (size_t i = 0; i < loaded; i++)
		if (strcmp(journal_at(nodes[0].journal, i)->kind, "model-serving") == 0)
			ck_assert_str_eq(
			        journal_at(nodes[0].journal, i)->text, "model m serves on 1 node: ada 0-5");
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	ck_assert_uint_eq(events_of(0), loaded);
	const char *other = nodes_model("other.gguf", KERN_Q4_0, 6, 2);
	ck_assert_str_ne(
	        deploys_load(0, other, (struct deploy_load){.all_nodes = true, .name = "m"}, &o), "");
	ck_assert_str_eq(happened(0, &served), "load-started model-serving load-failed");
	ck_assert_uint_eq(events_of(0), loaded + 1);
}
END_TEST

START_TEST(who_knows_the_plan_brings_it_back) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	char err[600] = "";
	deploys_patient_cluster(3);
	ck_assert_str_eq(
	        deploys_load(0, path,
	                (struct deploy_load){.all_nodes = true, .copies = 3, .context = 128, .parallel = 2},
	                &o),
	        "");
	int ada = 0;
	ck_assert(nodes_wait(deploys_copied, &ada, 60000));
	nodes_stop(0); /* for good; and bob is restarted before anybody does anything */
	nodes_stop(1);
	nodes_start(1);
	deploys_start(1);
	ck_assert_ptr_nonnull(deploys_model(1, "m"));
	ck_assert(
	        deploys_text_begins(deploys_model(1, "m")->reason, "its coordinator ada has not been heard"));
	ck_assert(nodes_wait(nodes_all_up, NULL, 30000));
	struct deploy_load known = {.file = "m", .known = "m", .done = deploys_on_done, .arg = &o};
	memset(&o, 0, sizeof o);
	ck_assert_msg(deploy_load(deploys[1].deploy, &known, err, sizeof err) == 0, "%s", err);
	/* meanwhile everybody hears what is true */
	ck_assert(nodes_wait(bob_is_loading, NULL, 20000));
	ck_assert(nodes_wait(deploys_is_done, &o, 60000));
	ck_assert_str_eq(o.error, "");
	ck_assert_uint_eq(deploys_model(2, "m")->plan->context, 128);
	ck_assert_uint_eq(deploys_model(2, "m")->plan->parallel, 2);
	ck_assert_int_eq(deploys_model(2, "m")->phase, CARAVAN__MODEL_PHASE__SERVING);
}
END_TEST

static bool coordinated_by_another(void *arg) {
	int i = *(int *)arg;
	const struct deploy_model *m = deploys_model(i, "m");
	return m && m->phase == CARAVAN__MODEL_PHASE__SERVING &&
	       memcmp(m->plan->coordinator.data, nodes[0].keys.public.b, 32) != 0;
}

/* Bob and cyd cannot reach ada, but hear her: she is not taken for gone, however long that lasts. */
START_TEST(a_coordinator_that_is_heard_stays) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1), *const names[] = {"ada"};
	struct deploys_outcome o;
	int ada = 0;
	deploys_cluster(3);
	ck_assert_str_eq(
	        deploys_load(0, path, (struct deploy_load){.nodes = names, .nnodes = 1, .copies = 3}, &o),
	        "");
	ck_assert(nodes_wait(deploys_copied, &ada, 60000));
	uint64_t epoch = deploys_model(0, "m")->plan->epoch->counter;
	/* their connections to her are dropped as often as they come up; hers to them stay */
	for (uint64_t until = loop_now_ns() + 3 * deploys_replan_ms * 1000000ull; loop_now_ns() < until;) {
		for (int i = 1; i < 3; i++)
			peers_drop(members_peers(nodes[i].members), &nodes[0].keys.public, "a test");
		nodes_run(50);
	}
	struct deploys_phase p = {1, CARAVAN__MODEL_PHASE__SERVING};
	ck_assert(nodes_wait(deploys_has_phase, &p, 20000));
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(deploys_model(i, "m")->plan->epoch->counter, epoch);
}
END_TEST

START_TEST(the_others_go_on_without_their_coordinator) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	int ada = 0, bob = 1, cyd = 2;
	deploys_cluster(3);
	ck_assert_str_eq(
	        deploys_load(0, path, (struct deploy_load){.all_nodes = true, .context = 128}, &o), "");
	ck_assert(nodes_wait(deploys_copied, &ada, 60000));
	uint64_t epoch = deploys_model(1, "m")->plan->epoch->counter;
	nodes_stop(0);
	ck_assert(nodes_wait(coordinated_by_another, &bob, 60000));
	ck_assert(nodes_wait(coordinated_by_another, &cyd, 20000));
	const Caravan__Plan *p = deploys_model(1, "m")->plan, *q = deploys_model(2, "m")->plan;
	ck_assert_int_eq(memcmp(p->coordinator.data, q->coordinator.data, 32), 0); /* there is one */
	ck_assert_uint_gt(p->epoch->counter, epoch);
	ck_assert_uint_eq(p->context, 128);
	ck_assert_uint_eq(deploys[1].models_opened + deploys[2].models_opened, 1);
	/* the old one comes back with what it knew, and gives way */
	nodes_start(0);
	deploys_start(0);
	ck_assert(nodes_wait(coordinated_by_another, &ada, 60000));
	const Caravan__Event *e;
	size_t told = 0;
	for (size_t i = 0; (e = journal_at(nodes[0].journal, i)); i++)
		told += strcmp(e->kind, "model-taken-over") == 0 &&
		        strstr(e->text, " coordinates it now, since it believed ada to be gone") != NULL;
	ck_assert_uint_eq(told, 1);
	ck_assert_ptr_null(deploys[0].io);
	ck_assert_ptr_null(deploys[0].stage);
	ck_assert(nodes_wait(coordinated_by_another, &bob, 20000));
	ck_assert_uint_eq(deploys[1].models_opened + deploys[2].models_opened, 1);
}
END_TEST

static bool all_agree(void *arg) {
	(void)arg;
	for (int i = 0; i < 3; i++)
		if (!deploys_model(i, "m") || deploys_model(i, "m")->phase != CARAVAN__MODEL_PHASE__SERVING ||
		        wire_epoch_compare(
		                deploys_model(i, "m")->plan->epoch, deploys_model(0, "m")->plan->epoch) != 0)
			return false;
	return true;
}

/* A coordinator that has all stages itself serves as soon as it is back, whatever the others did meanwhile. */
START_TEST(two_that_serve_come_to_one) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1), *const names[] = {"ada"};
	struct deploys_outcome o;
	int ada = 0, bob = 1, cyd = 2;
	deploys_cluster(3);
	ck_assert_str_eq(
	        deploys_load(0, path, (struct deploy_load){.nodes = names, .nnodes = 1, .copies = 3}, &o),
	        "");
	ck_assert(nodes_wait(deploys_copied, &ada, 60000));
	nodes_stop(0);
	ck_assert(nodes_wait(coordinated_by_another, &bob, 60000));
	ck_assert(nodes_wait(coordinated_by_another, &cyd, 20000));
	nodes_start(0);
	deploys_start(0);
	ck_assert(nodes_wait(nodes_all_up, NULL, 20000));
	ck_assert(nodes_wait(all_agree, NULL, 60000));
	nodes_run(2500);
	ck_assert(all_agree(NULL));
	ck_assert_int_eq((deploys[0].io != NULL) + (deploys[1].io != NULL) + (deploys[2].io != NULL), 1);
}
END_TEST

static bool m_is_at_work(void *arg) {
	const struct deploy_model *m = deploys_model(*(int *)arg, "m");
	return m && m->phase == CARAVAN__MODEL_PHASE__LOADING;
}

START_TEST(a_restart_while_it_comes_back_forgets_nothing) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	int ada = 0;
	deploys_patient_cluster(2);
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	nodes_run(1200);
	nodes_stop(0);
	nodes_start(0);
	deploys_start(0);
	deploys[1].refuse_stage = true; /* it comes back, as far as that, again and again */
	ck_assert(nodes_wait(m_is_at_work, &ada, 20000));
	nodes_run(700); /* what is known is written down meanwhile */
	nodes_stop(0);
	nodes_start(0);
	deploys_start(0);
	ck_assert_ptr_nonnull(deploys_model(0, "m"));
	deploys[1].refuse_stage = false;
	struct deploys_phase p = {0, CARAVAN__MODEL_PHASE__SERVING};
	ck_assert(nodes_wait(deploys_has_phase, &p, 40000));
}
END_TEST

START_TEST(one_whose_coordinator_is_gone_can_be_unloaded) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	int bob = 1, cyd = 2;
	deploys_cluster(3);
	ck_assert_str_eq(deploys_load(0, path, (struct deploy_load){.all_nodes = true, .copies = 1}, &o), "");
	nodes_stop(0); /* with its embedding, which is on no other disk: nobody can take it over */
	nodes_run(4 * deploys_replan_ms);
	ck_assert_str_eq(deploys_unload(1, "m"), "");
	ck_assert(nodes_wait(m_is_gone, &bob, 10000));
	ck_assert(nodes_wait(m_is_gone, &cyd, 10000));
}
END_TEST

START_TEST(the_storey_above_finds_it_unavailable) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 2, 1);
	struct deploys_outcome o;
	deploys_cluster(1);
	ck_assert_str_eq(deploys_load(0, path, (struct deploy_load){0}, &o), "");
	uint64_t epoch = deploys_model(0, "m")->plan->epoch->counter;
	deploy_unavailable(deploys[0].deploy, deploys_model(0, "m"), "a step was lost");
	ck_assert_int_eq(deploys_model(0, "m")->phase, CARAVAN__MODEL_PHASE__UNAVAILABLE);
	ck_assert_uint_eq(deploys[0].models_closed, 0); /* not inside the call */
	struct deploys_phase p = {0, CARAVAN__MODEL_PHASE__SERVING};
	ck_assert(nodes_wait(deploys_has_phase, &p, 20000)); /* its nodes are there: it comes back */
	ck_assert_str_eq(deploys[0].why, "a step was lost");
	ck_assert_uint_eq(deploys_model(0, "m")->plan->epoch->counter, epoch + 1);
	ck_assert_uint_eq(deploys[0].opened, 2);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("deploy recovery");
	nodes_loader_gone = deploys_stop;
	TCase *t = nodes_group(s, "losses", 240);
	tcase_add_test(t, a_stage_goes_and_comes_back);
	tcase_add_test(t, the_end_of_serving_is_recorded);
	tcase_add_test(t, a_coordinator_goes_and_comes_back);
	tcase_add_test(t, a_node_that_comes_late_learns_what_there_is);
	tcase_add_test(t, the_storey_above_finds_it_unavailable);
	tcase_add_test(t, a_connection_is_cut_one_way);
	tcase_add_test(t, unloaded_while_a_node_was_away);
	tcase_add_test(t, the_others_go_on_without_a_node);
	tcase_add_test(t, attempts_do_not_fill_the_journal);
	tcase_add_test(t, a_load_of_what_serves_is_no_event);
	tcase_add_test(t, what_is_missing_is_said_until_it_is_back);
	tcase_add_test(t, the_others_go_on_without_their_coordinator);
	tcase_add_test(t, a_coordinator_that_is_heard_stays);
	tcase_add_test(t, two_that_serve_come_to_one);
	tcase_add_test(t, a_restart_while_it_comes_back_forgets_nothing);
	tcase_add_test(t, one_whose_coordinator_is_gone_can_be_unloaded);
	tcase_add_test(t, who_knows_the_plan_brings_it_back);
	return s;
}

#include "tests/unit/check_main.h"
