/* deploys: see deploys.h. */
#include "tests/support/deploys.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ---- a node with a deploy, and a layer above it that keeps what it is given ---- */

struct deploys_node deploys[NODES_MAX];
uint32_t deploys_replan_ms;

static int stage_open(void *arg, const struct deploy_model *m, uint32_t stage, struct slice *slice, char *err,
        size_t errlen) {
	struct deploys_node *a = arg;
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
	struct deploys_node *a = arg;
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
	return ((struct deploys_node *)arg)->broken;
}

static int model_open(void *arg, const struct deploy_model *m, struct slice *io, char *err, size_t errlen) {
	struct deploys_node *a = arg;
	if (a->refuse_model) {
		snprintf(err, errlen, "this vocabulary has no tokenizer");
		return -EINVAL;
	}
	ck_assert(m->manifest && m->vocab);
	ck_assert_ptr_nonnull(io->io[IO_EMBED]);
	ck_assert_ptr_null(a->io);
	a->io = io;
	a->models_opened++;
	return 0;
}

static void model_close(void *arg, const struct deploy_model *m, const char *why) {
	struct deploys_node *a = arg;
	(void)m;
	ck_assert_ptr_nonnull(a->io);
	slice_destroy(a->io);
	a->io = NULL;
	a->models_closed++;
	snprintf(a->why, sizeof a->why, "%s", why);
}

static void changed(void *arg, const struct deploy_model *m) {
	struct deploys_node *a = arg;
	a->gone += m->phase == CARAVAN__MODEL_PHASE__UNLOADED || m->phase == CARAVAN__MODEL_PHASE__FAILED;
	a->node->used = a->deploy ? deploy_memory_used(a->deploy) : 0;
}

static bool huge_pages(void *arg, uint64_t bytes) {
	return bytes <= ((struct deploys_node *)arg)->huge_most;
}

void deploys_start(int i) {
	struct deploys_node *a = &deploys[i];
	char err[300] = "";
	*a = (struct deploys_node){.node = &nodes[i]};
	struct deploy_config c = {.loop = loop,
	        .members = nodes[i].members,
	        .executor = nodes[i].executor,
	        .store = nodes[i].store,
	        .memory = nodes[i].memory,
	        .team = 2,
	        .state_dir = nodes[i].dir,
	        .replan_ms = deploys_replan_ms,
	        .huge_pages = huge_pages,
	        .huge_pages_arg = a,
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

void deploys_stop(struct node *n) {
	struct deploys_node *a = n->more;
	if (!a)
		return;
	slice_destroy(a->stage);
	slice_destroy(a->io);
	a->stage = a->io = NULL;
	deploy_destroy(a->deploy);
	a->deploy = NULL;
	n->more = NULL;
}

void deploys_cluster(int n) {
	nodes_cluster(n);
	deploys_replan_ms = 1500;
	for (int i = 0; i < n; i++)
		deploys_start(i);
}

/* The same, and nodes that stay away are waited for. */
void deploys_patient_cluster(int n) {
	nodes_cluster(n);
	deploys_replan_ms = 3600000;
	for (int i = 0; i < n; i++)
		deploys_start(i);
}

static void on_progress(void *arg, const char *what, const char *node, uint64_t done, uint64_t total) {
	struct deploys_outcome *o = arg;
	ck_assert_uint_le(done, total);
	o->hashing += strcmp(what, "hashing") == 0;
	o->packing += strcmp(what, "packing") == 0;
	if (strcmp(what, "fetching") == 0) {
		o->sending++;
		snprintf(o->sent_to + strlen(o->sent_to), sizeof o->sent_to - strlen(o->sent_to), "%s ",
		        strlen(o->sent_to) < 90 ? node : "");
	}
}

void deploys_on_done(void *arg, const char *error) {
	struct deploys_outcome *o = arg;
	ck_assert(!o->done);
	o->done = true;
	snprintf(o->error, sizeof o->error, "%s", error ? error : "");
}

bool deploys_is_done(void *arg) {
	return ((struct deploys_outcome *)arg)->done;
}

/* Begins; what is refused at once is an error as any. */
void deploys_begin(int i, const char *path, struct deploy_load more, struct deploys_outcome *o) {
	memset(o, 0, sizeof *o);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	more.file = path;
	more.fds = &fd;
	more.nfds = 1;
	more.progress = on_progress;
	more.done = deploys_on_done;
	more.arg = o;
	if (deploy_load(deploys[i].deploy, &more, o->error, sizeof o->error))
		o->done = true;
	close(fd);
}

const char *deploys_load(int i, const char *path, struct deploy_load more, struct deploys_outcome *o) {
	deploys_begin(i, path, more, o);
	ck_assert(nodes_wait(deploys_is_done, o, 60000));
	return o->error;
}

const char *deploys_unload(int i, const char *model) {
	static struct deploys_outcome o;
	memset(&o, 0, sizeof o);
	if (deploy_unload(deploys[i].deploy, model, deploys_on_done, &o, o.error, sizeof o.error))
		return o.error;
	ck_assert(nodes_wait(deploys_is_done, &o, 30000));
	return o.error;
}

const struct deploy_model *deploys_model(int i, const char *name) {
	char err[300];
	return deploy_find(deploys[i].deploy, name, err, sizeof err);
}

bool deploys_tables_are_empty(void *arg) {
	for (int i = 0; i < *(int *)arg; i++)
		if (nodes[i].members &&
		        (deploy_at(deploys[i].deploy, 0) || deploy_memory_used(deploys[i].deploy)))
			return false;
	return true;
}

void deploys_nothing_is_left(int n) {
	ck_assert(nodes_wait(deploys_tables_are_empty, &n, 10000)); /* the others hear of it a moment later */
	for (int i = 0; i < n; i++) {
		if (!nodes[i].members)
			continue;
		ck_assert_ptr_null(deploy_at(deploys[i].deploy, 0));
		ck_assert_uint_eq(deploy_memory_used(deploys[i].deploy), 0);
		ck_assert_ptr_null(deploys[i].stage);
		ck_assert_ptr_null(deploys[i].io);
		ck_assert_uint_eq(deploys[i].opened, deploys[i].closed);
		ck_assert_uint_eq(deploys[i].models_opened, deploys[i].models_closed);
	}
}

bool deploys_has_phase(void *arg) {
	struct deploys_phase *p = arg;
	const struct deploy_model *m = deploys_model(p->node, "m");
	return m && m->phase == p->phase;
}

bool deploys_text_begins(const char *text, const char *with) {
	return strncmp(text, with, strlen(with)) == 0;
}

Caravan__ModelState deploys_copies(int i, const char *name) {
	Caravan__ModelState s = CARAVAN__MODEL_STATE__INIT;
	deploy_copies(deploys[i].deploy, name, &s);
	return s;
}

bool deploys_copied(void *arg) {
	Caravan__ModelState s = deploys_copies(*(int *)arg, "m");
	return s.copies && s.copy_missing == 0 && !*s.at_risk;
}
