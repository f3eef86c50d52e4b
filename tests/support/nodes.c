/* nodes: see nodes.h. */
#include "tests/support/nodes.h"

#include "tests/support/ggufgen.h"
#include <check.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What the leak sanitizer leaves out, and why: tests/lsan.supp. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
	return "leak:libzmq.so";
}

struct node nodes[NODES_MAX];
char nodes_root[96];
void (*nodes_loader_gone)(struct node *n);

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

void nodes_setup(void) {
	static const char *const names[NODES_MAX] = {"ada", "bob", "cleo", "dan"};
	char err[200];
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	ck_assert_int_eq(loop_create(&loop), 0);
	memset(nodes, 0, sizeof nodes);
	snprintf(nodes_root, sizeof nodes_root, "%s/caravan-test.XXXXXX",
	        getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(nodes_root));
	for (int i = 0; i < NODES_MAX; i++) {
		snprintf(nodes[i].name, sizeof nodes[i].name, "%s", names[i]);
		snprintf(nodes[i].dir, sizeof nodes[i].dir, "%s/%s", nodes_root, names[i]);
		ck_assert_int_eq(mkdir(nodes[i].dir, 0700), 0);
		nodes[i].memory = 1ull << 32;
		nodes[i].kv_types = (1u << KERN_KVS) - 1;
	}
}

void nodes_teardown(void) {
	for (int i = 0; i < NODES_MAX; i++)
		nodes_stop(i);
	loop_destroy(loop);
	nftw(nodes_root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void tell_state(void *arg, Caravan__NodeState *out) {
	static Caravan__TypeRate rate = CARAVAN__TYPE_RATE__INIT, *rates[1] = {&rate};
	struct node *n = arg;
	rate.type = KERN_Q8_0;
	rate.bytes_per_second = 1e9;
	out->rates = rates;
	out->n_rates = 1;
	out->memory_allowed = n->memory;
	out->memory_used = n->used;
	out->kv_types = n->kv_types;
	out->disk_free = n->disk_free;
	out->disk_size = n->disk_size;
	out->stages = n->stages;
	out->n_stages = n->n_stages;
}

void nodes_serves(struct node *n, const Caravan__Plan *plan, uint32_t stage) {
	nodes_serves_no_more(n, plan);
	ck_assert_uint_lt(n->n_stages, sizeof n->stages / sizeof *n->stages);
	Caravan__StageState *s = n->stages[n->n_stages++] = malloc(sizeof *s);
	ck_assert_ptr_nonnull(s);
	caravan__stage_state__init(s);
	s->model = strdup(plan->model);
	s->manifest.len = plan->manifest.len;
	s->manifest.data = malloc(plan->manifest.len);
	ck_assert(s->model && s->manifest.data);
	memcpy(s->manifest.data, plan->manifest.data, plan->manifest.len);
	s->first = plan->stages[stage]->first;
	s->last = plan->stages[stage]->last;
}

static void serves_no_more(struct node *n, size_t i) {
	free(n->stages[i]->model);
	free(n->stages[i]->manifest.data);
	free(n->stages[i]);
	n->stages[i] = n->stages[--n->n_stages];
}

void nodes_serves_no_more(struct node *n, const Caravan__Plan *plan) {
	for (size_t i = n->n_stages; i-- > 0;)
		if (strcmp(n->stages[i]->model, plan->model) == 0)
			serves_no_more(n, i);
}

void nodes_start(int i) {
	struct node *n = &nodes[i];
	char err[400] = "", path[200];
	ck_assert_int_eq(keys_load(&n->keys, n->dir, err, sizeof err), 0);
	const struct journal_config jc = {.loop = loop, .state_dir = n->dir};
	ck_assert_msg(journal_create(&n->journal, &jc, err, sizeof err) == 0, "%s", err);
	struct members_config c = {.loop = loop,
	        .state_dir = n->dir,
	        .journal = n->journal,
	        .keys = &n->keys,
	        .name = n->name,
	        .listen = "tcp://127.0.0.1:*",
	        .state = tell_state,
	        .arg = n};
	ck_assert_msg(members_create(&n->members, &c, err, sizeof err) == 0, "%s", err);
	ck_assert_int_eq(executor_create(&n->executor, loop), 0);
	snprintf(path, sizeof path, "%s/store", n->dir);
	ck_assert_msg(store_open(&n->store, path, err, sizeof err) == 0, "%s", err);
}

void nodes_stop(int i) {
	struct node *n = &nodes[i];
	if (!n->members)
		return;
	executor_destroy(n->executor);
	if (nodes_loader_gone)
		nodes_loader_gone(n);
	members_destroy(n->members);
	store_close(n->store);
	journal_destroy(n->journal);
	while (n->n_stages)
		serves_no_more(n, 0);
	n->members = NULL;
}

bool nodes_all_up(void *arg) {
	(void)arg;
	for (int i = 0; i < NODES_MAX; i++)
		for (int k = 0; k < NODES_MAX && nodes[i].members; k++) {
			if (k == i || !nodes[k].keys.secret[0])
				continue;
			const struct member *m = members_find(nodes[i].members, &nodes[k].keys.public);
			bool up = m && m->up && m->state && m->arithmetic;
			if (nodes[k].members ? !up : m && m->up)
				return false;
		}
	return true;
}

static void joined(void *arg, const char *error) {
	ck_assert_msg(!error, "%s", error);
	*(bool *)arg = true;
}

static bool is_true(void *arg) {
	return *(bool *)arg;
}

void nodes_cluster(int n) {
	char err[400] = "", *token;
	for (int i = 0; i < n; i++)
		nodes_start(i);
	for (int i = 1; i < n; i++) {
		bool done = false;
		ck_assert_msg(members_invite(nodes[0].members, 600, &token, err, sizeof err) == 0, "%s", err);
		ck_assert_msg(members_join(nodes[i].members, token, joined, &done, err, sizeof err) == 0,
		        "%s", err);
		free(token);
		ck_assert(nodes_wait(is_true, &done, 30000));
	}
	ck_assert(nodes_wait(nodes_all_up, NULL, 30000));
}

const char *nodes_model(const char *file, enum kern_type type, uint32_t layers, uint64_t seed) {
	static char path[200];
	struct ggufgen_model m = {.type = type,
	        .head = type,
	        .dim = 256,
	        .layers = layers,
	        .heads = 4,
	        .kv_heads = 2,
	        .ffn = 512,
	        .vocab = 300,
	        .context = 512,
	        .seed = seed};
	snprintf(path, sizeof path, "%s/%s", nodes_root, file);
	struct ggufgen *g = ggufgen_model(&m);
	ggufgen_write_path(g, path);
	ggufgen_destroy(g);
	return path;
}

TCase *nodes_group(Suite *s, const char *name, double seconds) {
	TCase *t = tcase_create(name);
	tcase_set_timeout(t, seconds);
	tcase_add_checked_fixture(t, nodes_setup, nodes_teardown);
	suite_add_tcase(s, t);
	return t;
}
