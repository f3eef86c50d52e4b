/* deploy: what members say that they should not, copies on other disks, and inventories. */
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
	Caravan__PlanAnnounce news = CARAVAN__PLAN_ANNOUNCE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PLAN, plan, &news);
	news.plan = plan;
	news.phase = phase;
	return tell(from, to, &env);
}

static const char *tell_prepare(int from, int to, Caravan__Plan *plan) {
	Caravan__Prepare prepare = CARAVAN__PREPARE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PREPARE, prepare, &prepare);
	prepare.plan = plan;
	return tell(from, to, &env);
}

START_TEST(members_are_not_believed) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	deploys_cluster(3);
	ck_assert_str_eq(deploys_load(0, path, all, &o), "");
	struct peers *p = members_peers(nodes[2].members);
	peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
	peers_on(p, CARAVAN__ENVELOPE__BODY_ACK, on_answer, NULL);
	Caravan__Plan *plan = plan_copy(deploys_model(2, "m")->plan);
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
		plan->stages[i]->memory_limit = 1;
	tell_prepare(2, 1, plan);
	ck_assert_msg(strstr(refusal, "not enough memory even to read layers"), "%s", refusal);
	for (size_t i = 0; i < plan->n_stages; i++)
		plan->stages[i]->memory_limit = 0;
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
	Caravan__Replicate keep = CARAVAN__REPLICATE__INIT;
	Caravan__Envelope wants = WIRE_ENVELOPE(REPLICATE, replicate, &keep);
	keep.manifest = plan->manifest;
	keep.io = 7;
	ck_assert_str_eq(tell(2, 1, &wants), "this node knows no model of that name that you coordinate");
	/* and what is not there cannot be unloaded */
	Caravan__Unload unload_n = CARAVAN__UNLOAD__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(UNLOAD, unload, &unload_n);
	unload_n.model = (char *)"n";
	ck_assert_str_eq(tell(2, 1, &env), "this node coordinates no model n");

	/* nothing of it did any harm */
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(deploys_model(i, "m")->phase, CARAVAN__MODEL_PHASE__SERVING);
		ck_assert_ptr_null(deploys_model(i, "n"));
		ck_assert_ptr_nonnull(deploys[i].stage);
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
	struct deploys_outcome o;
	deploys_cluster(3);
	ck_assert_str_eq(
	        deploys_load(0, path, (struct deploy_load){.nodes = ada, .nnodes = 1, .copies = 1}, &o), "");
	peers_on(members_peers(nodes[2].members), CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
	peers_on(members_peers(nodes[2].members), CARAVAN__ENVELOPE__BODY_ACK, on_answer, NULL);
	Caravan__Plan *plan = plan_copy(deploys_model(2, "m")->plan);
	ProtobufCBinaryData coordinator = plan->coordinator, numbered = plan->epoch->node;
	char *name = plan->model;
	plan->model = (char *)"n";
	plan->coordinator = plan->epoch->node = (ProtobufCBinaryData){32, nodes[2].keys.public.b};
	plan->epoch->counter = ((uint64_t)1 << 52) + 7;
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__UNAVAILABLE), "");
	ck_assert_ptr_nonnull(deploys_model(1, "n"));
	ck_assert_str_eq(deploys_load(1, nodes_model("o.gguf", KERN_Q4_0, 6, 2),
	                         (struct deploy_load){.nodes = bob, .nnodes = 1, .copies = 1}, &o),
	        "");
	ck_assert_uint_lt(deploys_model(1, "o")->plan->epoch->counter, 100);
	/* and each of his has a number of its own */
	uint64_t first = deploys_model(1, "o")->plan->epoch->counter;
	ck_assert_str_eq(deploys_unload(1, "o"), "");
	ck_assert_str_eq(deploys_load(1, nodes_model("o.gguf", KERN_Q4_0, 6, 2),
	                         (struct deploy_load){.nodes = bob, .nnodes = 1, .copies = 1}, &o),
	        "");
	ck_assert_uint_gt(deploys_model(1, "o")->plan->epoch->counter, first);
	plan->coordinator = coordinator;
	plan->epoch->node = numbered;
	plan->model = name;
	plan_free(plan);
}
END_TEST

/* Cleo is up, and there is nobody on her who would prepare a stage. */
START_TEST(a_silent_stage_is_given_up) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	struct deploys_outcome o;
	nodes_cluster(3);
	deploys_start(0);
	deploys_start(1);
	ck_assert_str_eq(deploys_load(0, path, all, &o), "cleo has not answered for 15 s");
	deploys_nothing_is_left(2);
}
END_TEST

/* Cleo says that ada serves a model of hers: bob believes it when ada says so. */
START_TEST(what_others_serve_they_say_themselves) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1), *const names[] = {"ada"};
	const char *no = "ada does not say that it serves its stage of that plan";
	struct deploys_outcome o;
	deploys_patient_cluster(3);
	ck_assert_str_eq(
	        deploys_load(0, path, (struct deploy_load){.nodes = names, .nnodes = 1, .copies = 1}, &o),
	        "");
	struct peers *p = members_peers(nodes[2].members);
	peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
	peers_on(p, CARAVAN__ENVELOPE__BODY_ACK, on_answer, NULL);
	Caravan__Plan *plan = plan_copy(deploys_model(2, "m")->plan);
	ProtobufCBinaryData ada = plan->coordinator, numbered = plan->epoch->node;
	char *m = plan->model;
	plan->coordinator = plan->epoch->node = (ProtobufCBinaryData){32, nodes[2].keys.public.b};
	plan->epoch->counter += 10;
	/* cleo does not say what it really coordinates, which would take away what it makes up */
	((struct member *)members_find(nodes[2].members, &nodes[1].keys.public))->minor = 1;
	/* the same weights, and another model */
	plan->model = (char *)"n";
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__SERVING), no);
	ck_assert_ptr_null(deploys_model(1, "n"));
	/* while it waits ada says that she serves other layers of it, and then these */
	Caravan__PlanAnnounce news = CARAVAN__PLAN_ANNOUNCE__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(PLAN, plan, &news);
	unsigned want = answers + 1;
	news.plan = plan;
	news.phase = CARAVAN__MODEL_PHASE__SERVING;
	env.ref = peers_ref(p);
	ck_assert_int_eq(peers_send(p, &nodes[1].keys.public, PEERS_CONTROL, &env, NULL), 0);
	plan->stages[0]->last--;
	nodes_serves(&nodes[0], plan, 0);
	plan->stages[0]->last++;
	members_heartbeat(nodes[0].members);
	nodes_run(200);
	ck_assert_ptr_null(deploys_model(1, "n"));
	ck_assert_uint_lt(answers, want);
	nodes_serves(&nodes[0], plan, 0);
	refusal[0] = 0;
	ck_assert(nodes_wait(answered, &want, 10000));
	ck_assert_str_eq(refusal, "");
	ck_assert_ptr_nonnull(deploys_model(1, "n"));
	ck_assert_int_eq(deploys_model(1, "n")->phase, CARAVAN__MODEL_PHASE__SERVING);
	/* nor does she get the name of a model whose coordinator is away, by naming that one */
	nodes_stop(0);
	struct deploys_phase waits = {1, CARAVAN__MODEL_PHASE__UNAVAILABLE};
	ck_assert(nodes_wait(deploys_has_phase, &waits, 10000));
	nodes_run(2 * MEMBERS_PING_MS); /* cleo says that she does not reach ada */
	plan->model = m;
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__SERVING), no);
	ck_assert_int_eq(
	        memcmp(deploys_model(1, "m")->plan->coordinator.data, nodes[0].keys.public.b, 32), 0);
	plan->coordinator = ada;
	plan->epoch->node = numbered;
	plan_free(plan);
}
END_TEST

START_TEST(a_coordinator_has_its_share_of_places) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 2, 1);
	struct deploys_outcome o;
	char name[20];
	deploys_cluster(3);
	ck_assert_str_eq(deploys_load(0, path, (struct deploy_load){.context = 64}, &o), "");
	struct peers *p = members_peers(nodes[2].members);
	peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
	peers_on(p, CARAVAN__ENVELOPE__BODY_ACK, on_answer, NULL);
	Caravan__Plan *plan = plan_copy(deploys_model(2, "m")->plan);
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
	while (deploy_at(deploys[1].deploy, known))
		known++;
	ck_assert_uint_eq(known, 17);
	/* which is not for ever, and not for others */
	snprintf(name, sizeof name, "n3");
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__UNLOADED), "");
	snprintf(name, sizeof name, "n99");
	ck_assert_str_eq(tell_plan(2, 1, plan, CARAVAN__MODEL_PHASE__UNAVAILABLE), "");
	for (int i = 0; i < 3; i++) { /* our layer above holds one at a time */
		slice_destroy(deploys[i].stage);
		slice_destroy(deploys[i].io);
		deploys[i].stage = deploys[i].io = NULL;
	}
	ck_assert_str_eq(deploys_load(0, path, (struct deploy_load){.context = 64, .name = "b"}, &o), "");
	ck_assert_ptr_nonnull(deploys_model(1, "b"));
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
	for (uint32_t i = 0; i < manifest_tensors(m); i++) {
		const struct content_id *id = i < IO_ROLES ? &m->io[i].id : &m->tensor[i - IO_ROLES].id;
		unsigned n = 0;
		for (int k = 0; k < NODES_MAX; k++)
			n += nodes[k].members && store_has_tensor(nodes[k].store, id);
		least = n < least ? n : least;
	}
	return least;
}

static bool copied_once(void *arg) {
	Caravan__ModelState s = deploys_copies(*(int *)arg, "m");
	return s.copies && s.copy_missing == 0;
}

START_TEST(copies_come_onto_other_disks) {
	const char *path = nodes_model("m.gguf", KERN_Q8_0, 6, 1), *bob[] = {"bob"};
	struct deploys_outcome o;
	int ada = 0;
	deploys_patient_cluster(3);
	/* all layers are bob's and the ends ada's: nothing would survive a loss */
	ck_assert_str_eq(
	        deploys_load(0, path, (struct deploy_load){.nodes = bob, .nnodes = 1, .copies = 1}, &o), "");
	const struct manifest *m = deploys_model(0, "m")->manifest;
	ck_assert(nodes_wait(copied_once, &ada, 20000));
	Caravan__ModelState s = deploys_copies(0, "m");
	ck_assert_str_eq(s.at_risk, "only on ada: embedding and output; only on bob: layers 0-5");
	ck_assert_uint_eq(s.copies, 1);
	ck_assert_uint_eq(s.copy_missing, 0);
	ck_assert_uint_eq(fewest(m), 1);
	/* who does not coordinate it says nothing of it */
	ck_assert_uint_eq(deploys_copies(1, "m").copies, 0);
	ck_assert_str_eq(deploys_unload(0, "m"), "");

	ck_assert_str_eq(
	        deploys_load(0, path, (struct deploy_load){.nodes = bob, .nnodes = 1, .copies = 3}, &o), "");
	m = deploys_model(0, "m")->manifest;
	ck_assert(nodes_wait(deploys_copied, &ada, 60000));
	ck_assert_uint_eq(fewest(m), 3);
	ck_assert_uint_eq(deploys_copies(0, "m").copy_bytes,
	        3 * (manifest_layer_bytes(m, 0, 6) + manifest_io_bytes(m)));
	/* and when the one that loaded it has gone, another does, without a file: nothing moves any more */
	uint64_t moved = deploy_moved(deploys[1].deploy) + deploy_moved(deploys[2].deploy);
	nodes_stop(0);
	ck_assert(nodes_wait(nodes_all_up, NULL, 30000));
	struct deploy_load known = {
	        .file = "m", .known = "m", .all_nodes = true, .done = deploys_on_done, .arg = &o};
	char err[300] = "";
	memset(&o, 0, sizeof o);
	ck_assert_msg(deploy_load(deploys[2].deploy, &known, err, sizeof err) == 0, "%s", err);
	ck_assert(nodes_wait(deploys_is_done, &o, 60000));
	ck_assert_str_eq(o.error, "");
	ck_assert_uint_eq(deploys_model(2, "m")->plan->n_stages, 2);
	ck_assert_uint_eq(deploys_model(2, "m")->plan->copies, 3);
	ck_assert_uint_eq(deploy_moved(deploys[1].deploy) + deploy_moved(deploys[2].deploy), moved);
	/* nobody knows it here any more */
	known.known = known.file = "n";
	memset(&o, 0, sizeof o);
	ck_assert_msg(deploy_load(deploys[2].deploy, &known, err, sizeof err) == 0, "%s", err);
	ck_assert(nodes_wait(deploys_is_done, &o, 60000));
	ck_assert_str_eq(o.error, "no model n is on the disks of the nodes that are up, which have m");
}
END_TEST

static unsigned held_bits;
static uint64_t held_free;

static void on_held(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	const ProtobufCBinaryData *t = &env->inventory_reply->tensors;
	on_answer(arg, from, env, payload);
	held_bits = 0;
	held_free = env->inventory_reply->memory_free;
	for (size_t i = 0; i < t->len * 8; i++)
		held_bits += t->data[i / 8] >> i % 8 & 1;
}

START_TEST(nodes_say_what_they_have) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 6, 1);
	const char *const names[] = {"bob", "ada"};
	struct deploys_outcome o;
	deploys_patient_cluster(3);
	ck_assert_str_eq(deploys_load(0, path, (struct deploy_load){.nodes = names, .nnodes = 2}, &o), "");
	struct peers *p = members_peers(nodes[2].members);
	peers_on(p, CARAVAN__ENVELOPE__BODY_INVENTORY_REPLY, on_held, NULL);
	peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
	Caravan__Inventory look = CARAVAN__INVENTORY__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(INVENTORY, inventory, &look);
	look.manifest = deploys_model(2, "m")->plan->manifest;
	for (int i = 0; i < 3; i++) {
		const struct slice *s = deploys[i].stage;
		ck_assert_str_eq(tell(2, i, &env), "");
		ck_assert_uint_eq(held_bits, s ? (s->last - s->first) * LAYER_PLAIN : 0);
		ck_assert_uint_eq(held_free, nodes[i].memory - deploy_memory_used(deploys[i].deploy));
	}
	/* of a model that nobody knows it has nothing; nor does a vocabulary have layers */
	look.manifest = deploys_model(2, "m")->plan->vocab;
	ck_assert_str_eq(tell(2, 1, &env), "");
	ck_assert_uint_eq(held_bits, 0);
	/* who asks very often is refused, and answered all the same */
	unsigned want = answers + 40;
	look.manifest = deploys_model(2, "m")->plan->manifest;
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
	struct deploys_phase gone = {1, CARAVAN__MODEL_PHASE__UNAVAILABLE};
	ck_assert(nodes_wait(deploys_has_phase, &gone, 10000));
	ck_assert_ptr_nonnull(deploys[1].stage);
	ck_assert_str_eq(tell(2, 1, &env), "");
	ck_assert_uint_gt(deploy_memory_used(deploys[1].deploy), 0);
	ck_assert_uint_eq(held_free, nodes[1].memory);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("deploy members");
	nodes_loader_gone = deploys_stop;
	TCase *t = nodes_group(s, "disks", 240);
	tcase_add_test(t, copies_come_onto_other_disks);
	tcase_add_test(t, nodes_say_what_they_have);
	t = nodes_group(s, "what others do", 240);
	tcase_add_test(t, members_are_not_believed);
	tcase_add_test(t, what_others_serve_they_say_themselves);
	tcase_add_test(t, a_coordinator_has_its_share_of_places);
	tcase_add_test(t, nobody_uses_up_the_numbers_of_plans);
	t = nodes_group(s, "silence", 240);
	tcase_add_test(t, a_silent_stage_is_given_up);
	return s;
}

#include "tests/unit/check_main.h"
