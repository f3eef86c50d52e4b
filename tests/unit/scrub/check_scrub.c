/* scrub: what a store has lost, torn or rotten, comes back from another node, also under the hands of who uses it. */
#include "daemon/scrub/scrub.h"
#include "shard/import/import.h"
#include "tests/support/nodes.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct scrub *scrubs[NODES_MAX];
static struct import *model;

static void take_down(struct node *n) {
	scrub_destroy(scrubs[n - nodes]);
	scrubs[n - nodes] = NULL;
	transfer_destroy(n->more);
	n->more = NULL;
}

static const struct manifest *known(void *arg, size_t i) {
	(void)arg;
	return i == 0 ? import_manifest(model) : NULL;
}

static void start_scrub(int i, uint64_t cache, bool knows) {
	char err[200];
	struct scrub_config c = {.loop = loop,
	        .members = nodes[i].members,
	        .executor = nodes[i].executor,
	        .transfer = nodes[i].more,
	        .store = nodes[i].store,
	        .cache = cache,
	        .rate = 1u << 30,
	        .model = knows ? known : NULL};
	ck_assert_msg(scrub_create(&scrubs[i], &c, err, sizeof err) == 0, "%s", err);
}

static void put(int i, const struct content_id *id) {
	const struct content_tensor *t = import_tensor(model, id);
	struct store_writer *w;
	char err[200];
	size_t len;
	if (store_has_tensor(nodes[i].store, id))
		return;
	ck_assert_int_eq(store_writer_create(&w, nodes[i].store, t, err, sizeof err), 0);
	for (uint32_t k = 0; k < t->chunks; k++) {
		uint8_t *p;
		ck_assert_int_eq(import_chunk(model, id, k, &p, &len, err, sizeof err), 0);
		ck_assert_int_eq(store_writer_chunk(w, k, p, len), 0);
		free(p);
	}
	ck_assert_int_eq(store_writer_commit(w), 0);
	store_writer_destroy(w);
}

/* Nodes, each with all of a model in its store. */
static void prepare(int count) {
	char err[300];
	nodes_loader_gone = take_down;
	nodes_cluster(count);
	const char *file = nodes_model("m.gguf", KERN_Q8_0, 3, 5);
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ck_assert_msg(
	        import_open(&model, &fd, 1, file, NULL, NULL, NULL, NULL, err, sizeof err) == 0, "%s", err);
	close(fd);
	const struct manifest *m = import_manifest(model);
	for (int i = 0; i < count; i++) {
		struct transfer *t;
		ck_assert_int_eq(
		        transfer_create(&t, loop, nodes[i].members, nodes[i].executor, nodes[i].store), 0);
		nodes[i].more = t;
		for (uint32_t l = 0; l < m->hp.layers; l++)
			for (int r = 0; r < LAYER_PLAIN; r++)
				put(i, &manifest_find(m, l, r)->id);
	}
}

static void finish(void) {
	nodes_teardown();
	import_close(model);
	model = NULL;
}

static const struct content_id *tensor(uint32_t layer, int role) {
	return &manifest_find(import_manifest(model), layer, role)->id;
}

static const char *file_of(int i, const struct content_id *id) {
	static char p[2048];
	char hex[CONTENT_HEX];
	snprintf(p, sizeof p, "%s/store/tensors/%s", nodes[i].dir, content_hex(id, hex));
	return p;
}

static void spoil(const char *file, off_t at) {
	uint8_t byte;
	int fd = open(file, O_RDWR);
	ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static struct store_tensor *map(int i, const struct content_id *id) {
	struct store_tensor *t;
	char err[200];
	ck_assert_msg(store_map_tensor(nodes[i].store, id, &t, err, sizeof err) == 0, "%s", err);
	return t;
}

static bool sound(const struct store_tensor *m) {
	const struct content_tensor *t = &m->record;
	void *buf = malloc(content_tensor_bytes(t));
	bool all = !store_tensor_damaged(m);
	for (uint32_t i = 0; i < t->chunks && all; i++) {
		uint64_t first, rows, bytes;
		content_chunk_extent(t, i, &first, &rows, &bytes);
		store_tensor_chunk(m, i, buf);
		struct content_id id = content_hash(buf, bytes);
		all = content_equal(&id, &t->chunk[i]);
	}
	free(buf);
	return all;
}

/* Whether it has been renewed, and is good now: its map is not read before. */
static bool is_sound(void *arg) {
	return store_tensor_renewed(arg) > 0 && sound(arg);
}
static bool is_damaged(void *arg) {
	return store_tensor_damaged(arg);
}

struct there {
	int node;
	const struct content_id *id;
	bool want;
};
static bool is_there(void *arg) {
	const struct there *t = arg;
	return (access(file_of(t->node, t->id), F_OK) == 0) == t->want;
}

START_TEST(rot_in_use_is_repaired_from_another_node) {
	prepare(2);
	struct store_tensor *used = map(0, tensor(1, LAYER_UP)), *good = map(0, tensor(0, LAYER_UP));
	const void *at = used->packed;
	spoil(file_of(0, tensor(1, LAYER_UP)), (off_t)used->packed_at + 1234);
	ck_assert(!sound(used));
	start_scrub(0, 0, false);
	ck_assert(nodes_wait(is_sound, used, 20000));
	ck_assert(used->packed == at && sound(good));
	ck_assert_uint_eq(transfer_moved(nodes[0].more) >= content_tensor_bytes(&used->record), true);
	ck_assert(store_has_tensor(nodes[0].store, tensor(1, LAYER_UP)));
	/* and nothing more comes of it */
	uint64_t moved = transfer_moved(nodes[0].more);
	nodes_run(1500);
	ck_assert_uint_eq(transfer_moved(nodes[0].more), moved);
	store_unmap_tensor(used);
	store_unmap_tensor(good);
}
END_TEST

START_TEST(torn_files_that_nobody_uses_come_again) {
	prepare(2);
	struct there a = {0, tensor(2, LAYER_DOWN), false}, b = {0, tensor(0, LAYER_Q), false};
	ck_assert_int_eq(truncate(file_of(0, a.id), 5000), 0);
	spoil(file_of(0, b.id), 3);
	start_scrub(0, 0, false);
	ck_assert(nodes_wait(is_there, &a, 20000));
	a.want = b.want = true;
	ck_assert(nodes_wait(is_there, &a, 20000));
	ck_assert(nodes_wait(is_there, &b, 20000));
	ck_assert(store_has_tensor(nodes[0].store, a.id) && store_has_tensor(nodes[0].store, b.id));
}
END_TEST

/* While it is watched: nothing has to be hashed to notice. */
START_TEST(a_file_that_shrinks_in_use_is_repaired) {
	prepare(2);
	struct store_tensor *used = map(0, tensor(1, LAYER_GATE));
	start_scrub(0, 0, false);
	nodes_run(700);
	ck_assert_int_eq(truncate(file_of(0, tensor(1, LAYER_GATE)), 4096), 0);
	ck_assert(nodes_wait(is_damaged, used, 20000));
	ck_assert(nodes_wait(is_sound, used, 20000));
	store_unmap_tensor(used);
}
END_TEST

/* On the executor: it reads a matrix whose file has just become shorter, and lives. */
static void read_all(void *arg) {
	(void)!sound(arg);
}
static void note_done(void *arg, bool cancelled) {
	ck_assert(!cancelled);
	ck_assert(store_tensor_damaged(arg));
}

START_TEST(what_the_loader_cannot_read_ends_nothing) {
	prepare(2);
	struct store_tensor *used = map(0, tensor(1, LAYER_GATE));
	ck_assert_int_eq(truncate(file_of(0, tensor(1, LAYER_GATE)), (off_t)used->packed_at), 0);
	ck_assert_int_eq(executor_submit(nodes[0].executor, read_all, note_done, used), 0);
	ck_assert(nodes_wait(is_damaged, used, 20000));
	start_scrub(0, 0, false);
	ck_assert(nodes_wait(is_sound, used, 20000));
	store_unmap_tensor(used);
}
END_TEST

START_TEST(what_nobody_has_is_waited_for) {
	prepare(1);
	struct store_tensor *used = map(0, tensor(1, LAYER_OUT));
	spoil(file_of(0, tensor(1, LAYER_OUT)), (off_t)used->packed_at);
	start_scrub(0, 0, false);
	ck_assert(nodes_wait(is_damaged, used, 20000));
	struct there gone = {0, tensor(1, LAYER_OUT), false};
	ck_assert(is_there(&gone));
	nodes_run(700);
	ck_assert(store_tensor_damaged(used));
	/* the file is loaded again, say */
	put(0, tensor(1, LAYER_OUT));
	ck_assert(nodes_wait(is_sound, used, 20000));
	store_unmap_tensor(used);
}
END_TEST

/* Two nodes' scrubs on one store: one finds it, both go on. */
START_TEST(a_shared_store_is_repaired_for_both) {
	char err[200], path[2048];
	prepare(2);
	struct store *shared;
	struct store_tensor *used = map(0, tensor(1, LAYER_UP)), *its;
	snprintf(path, sizeof path, "%s/store", nodes[0].dir);
	ck_assert_int_eq(store_open(&shared, path, err, sizeof err), 0);
	ck_assert_int_eq(store_map_tensor(shared, tensor(1, LAYER_UP), &its, err, sizeof err), 0);
	spoil(file_of(0, tensor(1, LAYER_UP)), (off_t)used->packed_at + 77);
	start_scrub(0, 0, false);
	ck_assert(nodes_wait(is_sound, used, 20000));
	struct content_id id;
	ck_assert_uint_eq(store_find_damaged(shared, &id, 1), 0); /* as the other process's watch does */
	ck_assert(sound(its));
	store_unmap_tensor(its);
	store_unmap_tensor(used);
	store_close(shared);
}
END_TEST

START_TEST(rotten_blobs_go) {
	prepare(1);
	struct content_id id;
	char path[2048], hex[CONTENT_HEX];
	ck_assert_int_eq(store_put_blob(nodes[0].store, (const uint8_t *)"some bytes", 10, &id), 0);
	snprintf(path, sizeof path, "%s/store/blobs/%s", nodes[0].dir, content_hex(&id, hex));
	spoil(path, 4);
	start_scrub(0, 0, false);
	for (int i = 0; i < 200 && access(path, F_OK) == 0; i++)
		nodes_run(50);
	ck_assert_int_ne(access(path, F_OK), 0);
}
END_TEST

START_TEST(a_full_store_is_emptied_at_the_start) {
	prepare(1);
	struct store_tensor *used = map(0, tensor(0, LAYER_DOWN));
	uint64_t all = store_bytes(nodes[0].store);
	start_scrub(0, all / 2, true);
	for (int i = 0; i < 200 && store_bytes(nodes[0].store) > all / 2; i++)
		nodes_run(50);
	ck_assert_uint_le(store_bytes(nodes[0].store), all / 2);
	ck_assert(store_has_tensor(nodes[0].store, tensor(0, LAYER_DOWN)));
	store_unmap_tensor(used);
}
END_TEST

/* Though it was used last. */
START_TEST(what_no_model_needs_goes_first) {
	char err[300];
	prepare(1);
	uint64_t needed = store_bytes(nodes[0].store);
	struct import *known_model = model, *other;
	const char *file = nodes_model("other.gguf", KERN_Q8_0, 1, 6);
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(import_open(&other, &fd, 1, file, NULL, NULL, NULL, NULL, err, sizeof err), 0);
	close(fd);
	model = other;
	for (int r = 0; r < LAYER_PLAIN; r++)
		put(0, tensor(0, r));
	model = known_model;
	ck_assert_uint_gt(store_bytes(nodes[0].store), needed);
	start_scrub(0, needed, true);
	for (int i = 0; i < 200 && store_bytes(nodes[0].store) > needed; i++)
		nodes_run(50);
	ck_assert_uint_le(store_bytes(nodes[0].store), needed);
	for (uint32_t l = 0; l < 3; l++)
		for (int r = 0; r < LAYER_PLAIN; r++)
			ck_assert(store_has_tensor(nodes[0].store, tensor(l, r)));
	import_close(other);
}
END_TEST

static bool is_in_store(void *arg) {
	const struct there *t = arg;
	return store_has_tensor(nodes[t->node].store, t->id);
}

/* What could not be converted at the start stays for the next one: only what is torn is fetched. */
START_TEST(an_older_layout_stays) {
	const uint8_t layout = 1;
	struct stat before, after;
	struct content_id id;
	char blob[2048], hex[CONTENT_HEX];
	prepare(2);
	struct there torn = {0, tensor(2, LAYER_DOWN), true};
	int fd = open(file_of(0, tensor(1, LAYER_UP)), O_WRONLY);
	ck_assert_int_eq(pwrite(fd, &layout, 1, 12), 1);
	ck_assert_int_eq(fstat(fd, &before), 0);
	close(fd);
	ck_assert_int_eq(truncate(file_of(0, torn.id), 5000), 0);
	ck_assert_int_eq(store_put_blob(nodes[0].store, (const uint8_t *)"some bytes", 10, &id), 0);
	snprintf(blob, sizeof blob, "%s/store/blobs/%s", nodes[0].dir, content_hex(&id, hex));
	spoil(blob, 4);
	start_scrub(0, 0, false);
	/* the blob goes when all heads have been checked */
	for (int i = 0; i < 400 && access(blob, F_OK) == 0; i++)
		nodes_run(50);
	ck_assert_int_ne(access(blob, F_OK), 0);
	ck_assert(nodes_wait(is_in_store, &torn, 20000));
	nodes_run(1500);
	ck_assert_int_eq(stat(file_of(0, tensor(1, LAYER_UP)), &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	ck_assert(!store_has_tensor(nodes[0].store, tensor(1, LAYER_UP)));
	/* who needs it has it fetched */
	put(0, tensor(1, LAYER_UP));
	ck_assert(store_has_tensor(nodes[0].store, tensor(1, LAYER_UP)));
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("scrub");
	TCase *t = tcase_create("repair");
	tcase_set_timeout(t, 240);
	tcase_add_checked_fixture(t, nodes_setup, finish);
	tcase_add_test(t, rot_in_use_is_repaired_from_another_node);
	tcase_add_test(t, torn_files_that_nobody_uses_come_again);
	tcase_add_test(t, a_file_that_shrinks_in_use_is_repaired);
	tcase_add_test(t, what_the_loader_cannot_read_ends_nothing);
	tcase_add_test(t, what_nobody_has_is_waited_for);
	tcase_add_test(t, a_shared_store_is_repaired_for_both);
	tcase_add_test(t, rotten_blobs_go);
	tcase_add_test(t, a_full_store_is_emptied_at_the_start);
	tcase_add_test(t, what_no_model_needs_goes_first);
	tcase_add_test(t, an_older_layout_stays);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
