/* stored: models on disks: listed by all nodes, loaded by name with nothing but the stores, removed; and loads that no disk has
 * room for. */
#include "daemon/deploy/catalog.h"
#include "daemon/deploy/deploy.h"
#include "tests/support/nodes.h"
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* ---- nodes with a deploy, above which slices are kept ---- */

struct above {
	struct node *node;
	struct deploy *deploy;
	struct slice *stage, *io;
};
static struct above above[NODES_MAX];

static int stage_open(void *arg, const struct deploy_model *m, uint32_t stage, struct slice *slice, char *err,
        size_t errlen) {
	struct above *a = arg;
	(void)err;
	(void)errlen;
	slice_destroy(a->stage);
	a->stage = slice;
	nodes_serves(a->node, m->plan, stage);
	return 0;
}

static void stage_close(void *arg, const struct deploy_model *m, uint32_t stage) {
	struct above *a = arg;
	(void)stage;
	slice_destroy(a->stage);
	a->stage = NULL;
	nodes_serves_no_more(a->node, m->plan);
}

static int model_open(void *arg, const struct deploy_model *m, struct slice *io, char *err, size_t errlen) {
	struct above *a = arg;
	(void)m;
	(void)err;
	(void)errlen;
	slice_destroy(a->io);
	a->io = io;
	return 0;
}

static void model_close(void *arg, const struct deploy_model *m, const char *why) {
	struct above *a = arg;
	(void)m;
	(void)why;
	slice_destroy(a->io);
	a->io = NULL;
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
	        .hooks = {.stage_open = stage_open,
	                .stage_close = stage_close,
	                .model_open = model_open,
	                .model_close = model_close,
	                .arg = a}};
	ck_assert_msg(deploy_create(&a->deploy, &c, err, sizeof err) == 0, "%s", err);
	nodes[i].more = a;
}

static void take_down(struct node *n) {
	struct above *a = n->more;
	if (!a)
		return;
	slice_destroy(a->stage);
	slice_destroy(a->io);
	deploy_destroy(a->deploy);
	*a = (struct above){0};
	n->more = NULL;
}

static void cluster(int n) {
	nodes_cluster(n);
	for (int i = 0; i < n; i++)
		start_deploy(i);
}

/* All nodes end and begin again, one after the other since they listen elsewhere then, with their keys, roster and stores and
 * nothing else. */
static void restart(int n) {
	char path[200];
	for (int i = 0; i < n; i++) {
		nodes_stop(i);
		ck_assert(nodes_wait(nodes_all_up, NULL, 60000));
		snprintf(path, sizeof path, "%s/plans", nodes[i].dir);
		unlink(path);
		nodes_start(i);
		start_deploy(i);
		ck_assert(nodes_wait(nodes_all_up, NULL, 60000));
	}
}

struct outcome {
	bool done;
	char error[1100];
	unsigned hashing;
	uint64_t freed, shared, in_use;
	unsigned nodes, errors;
};

static void on_progress(void *arg, const char *what, const char *node, uint64_t done, uint64_t total) {
	struct outcome *o = arg;
	(void)node;
	(void)done;
	(void)total;
	o->hashing += strcmp(what, "hashing") == 0;
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

static struct outcome out;

static const char *load(int i, const char *path, struct deploy_load l) {
	int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	memset(&out, 0, sizeof out);
	l.file = path ? path : l.known;
	l.fds = &fd;
	l.nfds = path != NULL;
	l.progress = on_progress;
	l.done = on_done;
	l.arg = &out;
	if (deploy_load(above[i].deploy, &l, out.error, sizeof out.error) == 0)
		ck_assert(nodes_wait(is_done, &out, 60000));
	if (fd >= 0)
		close(fd);
	return out.error;
}

static const char *unload(int i, const char *model) {
	memset(&out, 0, sizeof out);
	if (deploy_unload(above[i].deploy, model, on_done, &out, out.error, sizeof out.error) == 0)
		ck_assert(nodes_wait(is_done, &out, 30000));
	return out.error;
}

static void on_each(void *arg, const Caravan__CtlRemoved *one) {
	struct outcome *o = arg;
	o->nodes++;
	o->freed += one->freed;
	o->shared += one->shared;
	o->in_use += one->in_use;
	o->errors += *one->error != '\0';
	if (*one->error)
		snprintf(o->error, sizeof o->error, "%s: %s", one->node, one->error);
}

static void on_removed(void *arg, const char *error) {
	struct outcome *o = arg;
	o->done = true;
	if (error)
		snprintf(o->error, sizeof o->error, "%s", error);
}

static const char *remove_model(int i, const char *model) {
	struct deploy_removal r = {.model = model, .each = on_each, .done = on_removed, .arg = &out};
	memset(&out, 0, sizeof out);
	if (deploy_remove(above[i].deploy, &r, out.error, sizeof out.error) == 0)
		ck_assert(nodes_wait(is_done, &out, 60000));
	return out.error;
}

/* What a node hears of what all have. */
static struct heard {
	bool done;
	size_t count;
	char name[4][80];
	uint32_t disks[4], context[4];
	double share[4];
	size_t ons[4];
	uint64_t used[4];
} heard;

static void on_stored(void *arg, const struct deploy_stored *m, size_t count) {
	(void)arg;
	heard.done = true;
	heard.count = count;
	for (size_t i = 0; i < count && i < 4; i++) {
		snprintf(heard.name[i], sizeof heard.name[i], "%s", m[i].name);
		heard.disks[i] = m[i].disks;
		heard.share[i] = m[i].share;
		heard.ons[i] = m[i].ons;
		heard.used[i] = m[i].used;
		heard.context[i] = m[i].context;
	}
}

static bool is_heard(void *arg) {
	(void)arg;
	return heard.done;
}

static void list(int i) {
	memset(&heard, 0, sizeof heard);
	ck_assert_int_eq(deploy_list_stored(above[i].deploy, on_stored, NULL), 0);
	ck_assert(nodes_wait(is_heard, NULL, 30000));
}

static size_t count_files(int i, const char *sub) {
	char path[200];
	size_t n = 0;
	snprintf(path, sizeof path, "%s/store/%s", nodes[i].dir, sub);
	DIR *d = opendir(path);
	ck_assert_ptr_nonnull(d);
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.';
	closedir(d);
	return n;
}

/* Every node lists so many models, and writes no more of them. */
static bool records_are(void *arg) {
	const int *want = arg;
	for (int i = 0; i < NODES_MAX; i++)
		if (nodes[i].members &&
		        (count_files(i, "models") != (size_t)*want || executor_open(nodes[i].executor)))
			return false;
	return true;
}

/* ---- cases ---- */

static const struct deploy_load every = {.all_nodes = true};

START_TEST(a_model_is_loaded_by_name_with_nothing_but_the_stores) {
	int one = 1;
	char path[200];
	cluster(3);
	snprintf(path, sizeof path, "%s", nodes_model("m.gguf", KERN_Q4_0, 6, 1));
	ck_assert_str_eq(
	        load(0, path, (struct deploy_load){.all_nodes = true, .context = 128, .copies = 1}), "");
	ck_assert_uint_eq(count_files(0, "names"), 1); /* it was hashed */
	list(1);
	ck_assert_uint_eq(heard.count, 1);
	ck_assert_str_eq(heard.name[0], "m");
	ck_assert_uint_eq(heard.ons[0], 3);
	ck_assert_uint_eq(heard.context[0], 128);
	ck_assert_uint_eq(heard.disks[0], 1);
	ck_assert(heard.share[0] == 1);
	ck_assert_uint_gt(heard.used[0], 1500000000);
	/* who has its file no more loads it by its name, from another node than before; nothing is hashed */
	ck_assert_str_eq(unload(0, "m"), "");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_str_eq(load(2, NULL, (struct deploy_load){.known = "m", .all_nodes = true}), "");
	ck_assert_uint_eq(out.hashing, 0);
	const struct deploy_model *m = deploy_at(above[2].deploy, 0);
	ck_assert_uint_eq(m->plan->context, 128); /* as it was */
	ck_assert_uint_eq(m->plan->copies, 1);
	ck_assert_str_eq(unload(2, "m"), "");
	/* nor does it matter that all were restarted, and that nobody knows a plan any more */
	restart(3);
	ck_assert_ptr_null(deploy_at(above[0].deploy, 0));
	ck_assert(nodes_wait(records_are, &one, 10000));
	ck_assert_str_eq(
	        load(1, NULL, (struct deploy_load){.known = "m", .all_nodes = true, .context = 64}), "");
	ck_assert_uint_eq(deploy_at(above[1].deploy, 0)->plan->context, 64);
	ck_assert_str_eq(unload(1, "m"), "");
	/* a name that nobody knows: what there is is said */
	ck_assert_str_eq(load(1, NULL, (struct deploy_load){.known = "x"}),
	        "no model x is on the disks of the nodes that are up, which have m");
	/* while a part of it is nowhere, it is said which, before anything is fetched */
	nodes_stop(2);
	ck_assert(nodes_wait(nodes_all_up, NULL, 30000));
	load(0, NULL, (struct deploy_load){.known = "m"});
	ck_assert_msg(
	        strstr(out.error,
	                "model m is incomplete on the disks of the nodes that are up: no node has layers ") ==
	                out.error,
	        "%s", out.error);
	list(0);
	ck_assert_uint_eq(heard.disks[0], 0);
	ck_assert(heard.share[0] < 1 && heard.share[0] > 0.5);
}
END_TEST

START_TEST(records_outlive_what_happens_to_them) {
	char path[200], err[200];
	struct catalog c;
	cluster(1);
	snprintf(path, sizeof path, "%s", nodes_model("m.gguf", KERN_Q8_0, 2, 1));
	ck_assert_str_eq(load(0, path, every), "");
	ck_assert_str_eq(unload(0, "m"), "");
	nodes_stop(0);
	/* a record that is no good counts as none: the manifest is there, and has a name of its own */
	snprintf(path, sizeof path, "%s/store/models/m", nodes[0].dir);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(write(fd, "junk", 4), 4);
	close(fd);
	nodes_start(0);
	start_deploy(0);
	list(0);
	ck_assert_uint_eq(heard.count, 1);
	ck_assert_uint_eq(strlen(heard.name[0]), strlen("model-0123456789ab"));
	ck_assert_int_eq(strncmp(heard.name[0], "model-", 6), 0);
	ck_assert_uint_eq(heard.disks[0], 1);
	char name[80];
	snprintf(name, sizeof name, "%s", heard.name[0]);
	ck_assert_str_eq(load(0, NULL, (struct deploy_load){.known = name, .name = "again"}), "");
	ck_assert_str_eq(unload(0, "again"), "");
	list(0);
	ck_assert_str_eq(heard.name[0], "again");
	ck_assert_uint_eq(heard.count, 1);
	/* names that are no names of models are not read */
	nodes_stop(0);
	struct store *s;
	snprintf(path, sizeof path, "%s/store", nodes[0].dir);
	ck_assert_int_eq(store_open(&s, path, err, sizeof err), 0);
	struct catalog_model bad = {.name = "../up", .layers = 1};
	ck_assert_int_eq(catalog_record(s, &bad), -EINVAL);
	ck_assert_int_eq(catalog_names(&c, s), 0);
	ck_assert_uint_eq(c.models, 1);
	catalog_clear(&c);
	store_close(s);
}
END_TEST

static void record(struct store *s, unsigned number, uint64_t used) {
	struct catalog_model m = {.layers = 1, .used = used, .type = "q4_0"};
	snprintf(m.name, sizeof m.name, "name%u", number);
	ck_assert_int_eq(catalog_record(s, &m), 0);
}

/* What others call models does not fill the disk. */
START_TEST(names_are_bounded) {
	struct store *s, *other;
	struct catalog c;
	char dir[200], from[300], to[300], err[200];
	snprintf(dir, sizeof dir, "%s/a", nodes_root);
	ck_assert_int_eq(store_open(&s, dir, err, sizeof err), 0);
	snprintf(dir, sizeof dir, "%s/b", nodes_root);
	ck_assert_int_eq(store_open(&other, dir, err, sizeof err), 0);
	for (unsigned i = 0; i < CATALOG_NAMES_MAX; i++)
		record(s, i, 10000 + (i + 500) % CATALOG_NAMES_MAX); /* the 500th was used least recently */
	ck_assert_int_eq(catalog_names(&c, s), 0);
	ck_assert_uint_eq(c.models, CATALOG_NAMES_MAX);
	catalog_clear(&c);
	/* one more: the one that was used least recently has gone from the disk */
	record(s, 2000, 20000);
	ck_assert_int_eq(faccessat(store_models_dir(s), "name500", F_OK, 0), -1);
	ck_assert_int_eq(faccessat(store_models_dir(s), "name501", F_OK, 0), 0);
	ck_assert_int_eq(faccessat(store_models_dir(s), "name2000", F_OK, 0), 0);
	/* as an older daemon left it: too many, one of which cannot be read */
	for (unsigned i = 3000; i < 3003; i++) {
		record(other, i, 30000);
		snprintf(from, sizeof from, "%s/b/models/name%u", nodes_root, i);
		snprintf(to, sizeof to, "%s/a/models/name%u", nodes_root, i);
		ck_assert_int_eq(rename(from, to), 0);
	}
	snprintf(to, sizeof to, "%s/a/models/junk", nodes_root);
	FILE *f = fopen(to, "w");
	ck_assert_ptr_nonnull(f);
	fclose(f);
	ck_assert_int_eq(catalog_names(&c, s), 0);
	ck_assert_uint_eq(c.models, CATALOG_NAMES_MAX);
	ck_assert_uint_eq(c.model[0].used, 30000);
	catalog_clear(&c);
	ck_assert_int_eq(access(to, F_OK), -1);
	ck_assert_int_eq(faccessat(store_models_dir(s), "name503", F_OK, 0), -1);
	ck_assert_int_eq(faccessat(store_models_dir(s), "name504", F_OK, 0), 0);
	store_close(s);
	store_close(other);
}
END_TEST

/* Of node 0, where n and o are, and the manifest of o cannot be read for a while. */
static void nothing_goes_that_an_unreadable_model_may_need(void) {
	char blob[300], aside[300], hex[CONTENT_HEX];
	struct catalog c;
	struct catalog_removed removed;
	struct content_id n = {0}, o = {0};
	ck_assert_int_eq(catalog_names(&c, nodes[0].store), 0);
	for (size_t i = 0; i < c.models; i++)
		*(strcmp(c.model[i].name, "n") == 0 ? &n : &o) = c.model[i].manifest;
	catalog_clear(&c);
	snprintf(blob, sizeof blob, "%s/store/blobs/%s", nodes[0].dir, content_hex(&o, hex));
	snprintf(aside, sizeof aside, "%s/aside", nodes[0].dir);
	size_t tensors = count_files(0, "tensors");
	ck_assert_int_eq(rename(blob, aside), 0);
	ck_assert_int_eq(symlink(blob, blob), 0);
	ck_assert_int_lt(catalog_remove(&removed, nodes[0].store, "n", &n, NULL, 0, false), 0);
	ck_assert_uint_eq(count_files(0, "tensors"), tensors);
	ck_assert_int_eq(unlink(blob), 0);
	ck_assert_int_eq(rename(aside, blob), 0);
}

static const Caravan__Event *last_removal(int i) {
	const Caravan__Event *e, *last = NULL;
	for (size_t k = 0; (e = journal_at(nodes[i].journal, k)); k++)
		if (strcmp(e->kind, "model-removed") == 0)
			last = e;
	ck_assert_ptr_nonnull(last);
	return last;
}

START_TEST(a_model_is_removed_from_all_disks) {
	char path[200];
	int two = 2;
	cluster(2);
	snprintf(path, sizeof path, "%s", nodes_model("m.gguf", KERN_Q4_0, 6, 1));
	ck_assert_str_eq(load(0, path, every), "");
	/* not while it is loaded, wherever one asks */
	ck_assert_str_eq(remove_model(0, "m"), "m is served: run 'caravan unload m' first");
	ck_assert_str_eq(remove_model(1, "m"), "m is served: run 'caravan unload m' first");
	ck_assert_str_eq(unload(0, "m"), "");
	ck_assert_str_eq(load(0, path, (struct deploy_load){.all_nodes = true, .name = "n"}), "");
	ck_assert_str_eq(unload(0, "n"), "");
	ck_assert_str_eq(load(0, nodes_model("o.gguf", KERN_Q8_0, 2, 2), every), "");
	ck_assert(nodes_wait(records_are, &(int){3}, 10000));
	/* another name for the same: the content stays */
	size_t tensors = count_files(0, "tensors") + count_files(1, "tensors");
	ck_assert_str_eq(remove_model(1, "m"), "");
	ck_assert_uint_eq(out.nodes, 2);
	ck_assert_uint_eq(out.freed, 0);
	ck_assert_uint_gt(out.shared, 0);
	ck_assert_ptr_nonnull(strstr(last_removal(0)->text, " stays, since another model has it too"));
	ck_assert(nodes_wait(records_are, &two, 10000));
	ck_assert_uint_eq(count_files(0, "tensors") + count_files(1, "tensors"), tensors);
	/* the last name: all of it goes, and nothing of a model that serves */
	list(0);
	ck_assert_uint_eq(heard.count, 2);
	nothing_goes_that_an_unreadable_model_may_need();
	ck_assert_str_eq(remove_model(1, "n"), "");
	ck_assert_uint_eq(out.nodes, 2);
	ck_assert_uint_gt(out.freed, 6 * 256 * 256 / 2);
	ck_assert_uint_eq(out.in_use, 0);
	ck_assert_uint_lt(count_files(0, "tensors") + count_files(1, "tensors"), tensors);
	list(0);
	ck_assert_uint_eq(heard.count, 1);
	ck_assert_str_eq(heard.name[0], "o");
	ck_assert(heard.share[0] == 1);
	ck_assert_str_eq(
	        remove_model(0, "n"), "no model n is on the disks of the nodes that are up, which have o");
	/* a node that is down keeps what it has, which is said */
	ck_assert_str_eq(unload(0, "o"), "");
	nodes_stop(1);
	ck_assert(nodes_wait(nodes_all_up, NULL, 30000));
	ck_assert_str_eq(remove_model(0, "o"), "bob: it is down; what it has stays");
	ck_assert_uint_eq(out.errors, 1);
	ck_assert_uint_eq(count_files(0, "tensors"), 0);
	ck_assert_uint_eq(count_files(0, "blobs"), 0);
	ck_assert_uint_eq(count_files(0, "models"), 0);
}
END_TEST

/* Of two models what both need stays; and while another program has something of one, its name stays too. */
START_TEST(what_others_need_stays) {
	char path[400];
	cluster(1);
	ck_assert_str_eq(load(0, nodes_model("m.gguf", KERN_Q4_0, 6, 1), every), "");
	ck_assert_str_eq(unload(0, "m"), "");
	size_t tensors = count_files(0, "tensors");
	ck_assert_str_eq(load(0, nodes_model("p.gguf", KERN_Q4_0, 2, 1), every), "");
	ck_assert_str_eq(unload(0, "p"), "");
	ck_assert(nodes_wait(records_are, &(int){2}, 10000));
	ck_assert_str_eq(remove_model(0, "p"), "");
	ck_assert_uint_gt(out.shared, 0);
	ck_assert_uint_eq(count_files(0, "tensors"), tensors);
	snprintf(path, sizeof path, "%s/store/tensors", nodes[0].dir);
	DIR *d = opendir(path);
	struct dirent *e;
	ck_assert_ptr_nonnull(d);
	while ((e = readdir(d)) && strlen(e->d_name) != CONTENT_HEX - 1)
		;
	ck_assert_ptr_nonnull(e);
	int fd = openat(dirfd(d), e->d_name, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(flock(fd, LOCK_SH), 0);
	closedir(d);
	(void)remove_model(0, "m");
	ck_assert_uint_gt(out.in_use, 0);
	ck_assert_uint_eq(count_files(0, "tensors"), 1);
	ck_assert_uint_gt(count_files(0, "blobs"), 0);
	close(fd);
	ck_assert_str_eq(remove_model(0, "m"), "");
	ck_assert_uint_eq(count_files(0, "tensors"), 0);
	ck_assert_uint_eq(count_files(0, "blobs"), 0);
}
END_TEST

START_TEST(a_load_that_no_disk_has_room_for_leaves_nothing) {
	char path[200];
	struct store_limit small = {.bytes = 100000};
	for (int i = 0; i < 2; i++) {
		nodes[i].disk_free = small.bytes;
		nodes[i].disk_size = 1 << 30;
	}
	cluster(2);
	snprintf(path, sizeof path, "%s", nodes_model("m.gguf", KERN_Q8_0, 6, 1));
	for (int i = 0; i < 2; i++)
		store_set_limit(nodes[i].store, &small);
	load(0, path, every);
	ck_assert_msg(strstr(out.error, "more disk space is needed"), "%s", out.error);
	ck_assert_uint_eq(out.hashing, 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(count_files(i, "tensors"), 0);
		ck_assert_uint_eq(count_files(i, "blobs"), 0);
		ck_assert_uint_eq(count_files(i, "models"), 0);
		ck_assert_uint_eq(count_files(i, "names"), 0);
	}
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("stored");
	TCase *t = tcase_create("stored");
	nodes_loader_gone = take_down;
	tcase_add_checked_fixture(t, nodes_setup, nodes_teardown);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, a_model_is_loaded_by_name_with_nothing_but_the_stores);
	tcase_add_test(t, records_outlive_what_happens_to_them);
	tcase_add_test(t, names_are_bounded);
	tcase_add_test(t, a_model_is_removed_from_all_disks);
	tcase_add_test(t, what_others_need_stays);
	tcase_add_test(t, a_load_that_no_disk_has_room_for_leaves_nothing);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
