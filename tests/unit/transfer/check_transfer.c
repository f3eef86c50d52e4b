/* transfer: content between nodes, from good sources and from bad ones; and the executor. */
#include "daemon/transfer/transfer.h"
#include "tests/support/ggufgen.h"
#include "tests/support/nodes.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the executor ---- */

static unsigned ran, finished, cancelled;
static int order[64];

static void job_run(void *arg) {
	(void)arg;
	usleep(2000);
	ran++;
}

static void job_done(void *arg, bool was) {
	order[finished++] = (int)(intptr_t)arg;
	cancelled += was;
}

static bool all_finished(void *arg) {
	return finished == *(unsigned *)arg;
}

START_TEST(loader_runs_in_order) {
	struct executor *ld;
	unsigned want = 40;
	ck_assert_int_eq(executor_create(&ld, loop), 0);
	for (intptr_t i = 0; i < 40; i++)
		ck_assert_int_eq(executor_submit(ld, job_run, job_done, (void *)i), 0);
	ck_assert(nodes_wait(all_finished, &want, 10000));
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(order[i], i);
	ck_assert_uint_eq(cancelled, 0);
	executor_destroy(ld);
}
END_TEST

static struct executor *submit_to;
static int refused;

static void submits_more(void *arg, bool was) {
	job_done(arg, was);
	refused = executor_submit(submit_to, job_run, job_done, NULL);
}

START_TEST(loader_gives_back_what_it_did_not_run) {
	ck_assert_int_eq(executor_create(&submit_to, loop), 0);
	for (intptr_t i = 0; i < 30; i++)
		ck_assert_int_eq(executor_submit(submit_to, job_run, submits_more, (void *)i), 0);
	usleep(5000);
	executor_destroy(submit_to);
	ck_assert_uint_eq(finished, 30);
	ck_assert_uint_eq(cancelled + ran, 30);
	ck_assert_uint_gt(cancelled, 0);
	ck_assert_int_eq(refused, -ESHUTDOWN);
	for (int i = 0; i < 30; i++)
		ck_assert_int_eq(order[i], i);
	nodes_run(20); /* a call that was still in the mailbox finds nothing and harms nothing */
}
END_TEST

/* ---- transfer ---- */

static void take_down(struct node *n) {
	transfer_destroy(n->more);
	n->more = NULL;
}

static void start_transfer(int i) {
	struct transfer *t;
	ck_assert_int_eq(transfer_create(&t, loop, nodes[i].members, nodes[i].executor, nodes[i].store), 0);
	nodes[i].more = t;
}

static struct import *open_model(int i, const char *path) {
	char err[300] = "";
	struct import *im;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	int rc = import_open(
	        &im, &fd, 1, path, NULL, store_names_dir(nodes[i].store), NULL, NULL, err, sizeof err);
	ck_assert_msg(rc == 0, "%s", err);
	close(fd);
	return im;
}

struct outcome {
	bool done, ok;
	char error[1024];
	uint64_t moved, last, total;
	unsigned steps;
	char what[16];
};

static void on_progress(void *arg, const char *what, uint64_t done, uint64_t total) {
	struct outcome *o = arg;
	ck_assert_uint_ge(done, o->last);
	ck_assert_uint_le(done, total);
	o->last = done;
	o->total = total;
	o->steps++;
	snprintf(o->what, sizeof o->what, "%s", what);
}

static void on_done(void *arg, const char *error, uint64_t moved) {
	struct outcome *o = arg;
	ck_assert(!o->done);
	o->done = true;
	o->ok = !error;
	o->moved = moved;
	snprintf(o->error, sizeof o->error, "%s", error ? error : "");
}

static bool is_done(void *arg) {
	return ((struct outcome *)arg)->done;
}

static uint32_t patience; /* 0: as usual, since the machine may be busy */

static struct fetch *begin(int i, const struct manifest *m, uint32_t first, uint32_t last, const int *from,
        size_t n, struct outcome *o) {
	struct node_id source[NODES_MAX];
	struct content_id blobs[2] = {m->id, m->vocab};
	struct fetch *f;
	memset(o, 0, sizeof *o);
	for (size_t k = 0; k < n; k++)
		source[k] = nodes[from[k]].keys.public;
	struct transfer_request r = {.subject = "model test",
	        .blob = blobs,
	        .blobs = 2,
	        .tensor = m->tensor + m->at[first],
	        .tensors = (size_t)(last - first) * LAYER_PLAIN,
	        .source = source,
	        .sources = n,
	        .silent_ms = patience,
	        .progress = on_progress,
	        .done = on_done,
	        .arg = o};
	ck_assert_int_eq(transfer_fetch(nodes[i].more, &r, &f), 0);
	ck_assert(!o->done);
	return f;
}

static void fetch(int i, const struct manifest *m, uint32_t first, uint32_t last, const int *from, size_t n,
        struct outcome *o) {
	begin(i, m, first, last, from, n, o);
	ck_assert(nodes_wait(is_done, o, 60000));
}

static void check_layers(int i, const struct manifest *m, struct import *im, uint32_t first, uint32_t last) {
	char err[200];
	for (uint32_t l = first; l < last; l++)
		for (int r = 0; r < LAYER_PLAIN; r++) {
			struct store_tensor *t;
			const struct content_id *id = &manifest_find(m, l, r)->id;
			ck_assert_msg(
			        store_map_tensor(nodes[i].store, id, &t, err, sizeof err) == 0, "%s", err);
			for (uint32_t c = 0; c < t->record.chunks; c++) {
				size_t len;
				uint8_t *want;
				ck_assert_int_eq(import_chunk(im, id, c, &want, &len, err, sizeof err), 0);
				uint8_t *have = malloc(len);
				store_tensor_chunk(t, c, have);
				ck_assert_int_eq(memcmp(have, want, len), 0);
				free(have);
				free(want);
			}
			store_unmap_tensor(t);
		}
}

/* Everything is there, and is what the file has. */
static void check_store(int i, const struct manifest *m, struct import *im, uint32_t first, uint32_t last) {
	ck_assert(store_has_blob(nodes[i].store, &m->id));
	ck_assert(store_has_blob(nodes[i].store, &m->vocab));
	check_layers(i, m, im, first, last);
}

START_TEST(moves_once_and_passes_on) {
	const char *path = nodes_model("m.gguf", KERN_F32, 3, 1);
	struct outcome o;
	nodes_cluster(3);
	for (int i = 0; i < 3; i++)
		start_transfer(i);
	/* a matrix of several chunks, so that pieces and chunks have borders */
	struct import *im = open_model(0, path);
	const struct manifest *m = import_manifest(im);
	ck_assert_int_eq(transfer_add_source(nodes[0].more, im), 0);

	fetch(1, m, 0, 2, (int[]){0}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	ck_assert_str_eq(o.what, "fetching");
	ck_assert_uint_eq(o.last, o.total);
	ck_assert_uint_eq(o.total, manifest_layer_bytes(m, 0, 2));
	ck_assert_uint_ge(o.moved, o.total);
	ck_assert_uint_eq(transfer_moved(nodes[1].more), o.moved);
	ck_assert_uint_eq(transfer_served(nodes[0].more), o.moved);
	check_store(1, m, im, 0, 2);

	/* again: nothing moves */
	fetch(1, m, 0, 2, (int[]){0}, 1, &o);
	ck_assert(o.ok);
	ck_assert_uint_eq(o.moved, 0);

	/* a layer more: only that moves */
	fetch(1, m, 0, 3, (int[]){0}, 1, &o);
	ck_assert(o.ok);
	ck_assert_uint_eq(o.total, manifest_layer_bytes(m, 2, 3));

	/* bob passes on from his packed store what he has */
	uint64_t sent = transfer_served(nodes[0].more);
	fetch(2, m, 0, 3, (int[]){1}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	ck_assert_uint_eq(transfer_served(nodes[0].more), sent);
	ck_assert_uint_eq(transfer_served(nodes[1].more), o.moved);
	check_store(2, m, im, 0, 3);

	/* the node of the file itself packs from it, without the network */
	fetch(0, m, 0, 3, (int[]){0}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	ck_assert_str_eq(o.what, "packing");
	ck_assert_uint_eq(o.moved, 0);
	check_store(0, m, im, 0, 3);
}
END_TEST

/* Turns a byte of every packed tensor of a node's store. */
static void corrupt(int i, const struct manifest *m, uint32_t layers) {
	for (uint32_t l = 0; l < layers; l++)
		for (int r = 0; r < LAYER_PLAIN; r++) {
			char path[400], hex[CONTENT_HEX];
			uint8_t b;
			snprintf(path, sizeof path, "%s/store/tensors/%s", nodes[i].dir,
			        content_hex(&manifest_find(m, l, r)->id, hex));
			if (access(path, W_OK) != 0)
				ck_assert_int_eq(chmod(path, 0600), 0);
			int fd = open(path, O_RDWR);
			ck_assert_int_ge(fd, 0);
			off_t last = lseek(fd, 0, SEEK_END) - 1;
			off_t at = last - (off_t)(kern_row_bytes(manifest_find(m, l, r)->type,
			                                  manifest_find(m, l, r)->n) -
			                          1);
			ck_assert_int_eq(pread(fd, &b, 1, at), 1);
			b ^= 1;
			ck_assert_int_eq(pwrite(fd, &b, 1, at), 1);
			close(fd);
		}
}

START_TEST(a_lying_source_is_dropped_and_named) {
	const char *path = nodes_model("m.gguf", KERN_F32, 2, 1);
	struct outcome o;
	nodes_cluster(3);
	for (int i = 0; i < 3; i++)
		start_transfer(i);
	struct import *im = open_model(0, path);
	const struct manifest *m = import_manifest(im);
	ck_assert_int_eq(transfer_add_source(nodes[0].more, im), 0);
	fetch(1, m, 0, 2, (int[]){0}, 1, &o);
	ck_assert(o.ok);
	corrupt(1, m, 2);

	/* alone, bob is not enough, and the sentence says who and what */
	fetch(2, m, 0, 2, (int[]){1}, 1, &o);
	ck_assert(!o.ok);
	ck_assert_ptr_nonnull(strstr(o.error, "bob sent bytes that do not match the name"));
	ck_assert_ptr_nonnull(strstr(o.error, "model test: tensor"));

	/* with ada behind him all is well */
	fetch(2, m, 0, 2, (int[]){1, 0}, 2, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	check_store(2, m, im, 0, 2);
}
END_TEST

START_TEST(silent_empty_and_absent_sources_are_passed_over) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 2, 1);
	struct outcome o;
	nodes_cluster(4);
	/* bob has nothing, and nobody listens at cleo's */
	patience = 400;
	start_transfer(0);
	start_transfer(1);
	start_transfer(3);
	struct import *im = open_model(0, path);
	struct import *kept = open_model(0, path); /* what is withdrawn is closed */
	const struct manifest *m = import_manifest(kept);
	ck_assert_int_eq(transfer_add_source(nodes[0].more, im), 0);
	fetch(3, m, 0, 2, (int[]){1, 2}, 2, &o);
	ck_assert(!o.ok);
	ck_assert_msg(strstr(o.error, "bob refused (no content"), "%s", o.error);
	ck_assert_msg(strstr(o.error, "cleo was silent for 0.4 s"), "%s", o.error);
	patience = 0;
	fetch(3, m, 0, 2, NULL, 0, &o);
	ck_assert_msg(strstr(o.error, "there is no other node to ask"), "%s", o.error);
	patience = 3000;
	fetch(3, m, 0, 2, (int[]){3, 1, 2, 0}, 4, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	check_store(3, m, kept, 0, 2);
	patience = 0;
	/* withdrawn, the file is no source any more */
	transfer_remove_source(nodes[0].more, im);
	fetch(1, m, 0, 2, (int[]){0}, 1, &o);
	ck_assert_msg(strstr(o.error, "ada refused (no content"), "%s", o.error);
	import_close(kept);
}
END_TEST

/* ---- a source that answers as the test says ---- */

static struct {
	const char *refuses; /* NULL: it sends */
	uint64_t total;
	size_t len;
	struct {
		struct content_id id;
		bool tensor;
		unsigned times;
	} asked[64];
	size_t n;
	unsigned most; /* times that it was asked for the same */
} script;

static void answer_as_told(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	struct peers *p = arg;
	struct content_id id;
	size_t i = 0;
	(void)payload;
	memcpy(id.b, env->fetch->name.data, sizeof id.b);
	while (i < script.n &&
	        (!content_equal(&script.asked[i].id, &id) || script.asked[i].tensor != env->fetch->tensor))
		i++;
	ck_assert_uint_lt(i, 64);
	if (i == script.n) {
		script.asked[i].id = id;
		script.asked[script.n++].tensor = env->fetch->tensor;
	}
	if (++script.asked[i].times > script.most)
		script.most = script.asked[i].times;
	if (script.refuses) {
		peers_refuse(p, from, "%s", script.refuses);
		return;
	}
	uint8_t *bytes = calloc(1, script.len);
	struct payload *block = payload_copy(bytes, script.len);
	Caravan__Block msg = CARAVAN__BLOCK__INIT;
	Caravan__Envelope answer = WIRE_ENVELOPE(BLOCK, block, &msg);
	msg.total = script.total;
	ck_assert_int_eq(peers_answer(p, from, &answer, block), 0);
	payload_unref(block);
	free(bytes);
}

static void start_script(int i) {
	struct peers *p = members_peers(nodes[i].members);
	ck_assert_int_eq(peers_on(p, CARAVAN__ENVELOPE__BODY_FETCH, answer_as_told, p), 0);
}

static bool is_done_or_asks_again(void *arg) {
	return is_done(arg) || script.most > 1;
}

START_TEST(who_has_it_not_is_asked_once) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 2, 1);
	struct outcome o;
	nodes_cluster(3);
	start_transfer(0);
	start_transfer(2);
	start_script(1);
	struct import *im = open_model(0, path);
	const struct manifest *m = import_manifest(im);
	ck_assert_int_eq(transfer_add_source(nodes[0].more, im), 0);
	script.refuses = "not mine";
	begin(2, m, 0, 2, (int[]){1, 0}, 2, &o);
	ck_assert(nodes_wait(is_done_or_asks_again, &o, 60000));
	ck_assert_uint_eq(script.most, 1);
	ck_assert_msg(o.ok, "%s", o.error);
	ck_assert_uint_ge(script.n, 2);
	check_store(2, m, im, 0, 2);
}
END_TEST

static void fetch_blob(int i, const struct content_id *id, int from, struct outcome *o) {
	struct fetch *f;
	struct transfer_request r = {.subject = "model test",
	        .blob = id,
	        .blobs = 1,
	        .source = &nodes[from].keys.public,
	        .sources = 1,
	        .done = on_done,
	        .arg = o};
	memset(o, 0, sizeof *o);
	ck_assert_int_eq(transfer_fetch(nodes[i].more, &r, &f), 0);
	ck_assert(nodes_wait(is_done, o, 3000));
	ck_assert(!store_has_blob(nodes[i].store, id));
}

START_TEST(blocks_that_are_not_what_was_requested) {
	static const struct {
		uint64_t total;
		size_t len;
		const char *says;
	} odd[] = {{1000, 999, "bob sent 999 bytes of 1000, which is not what was requested"},
	        {WIRE_BLOCK_MAX + 1ull, 1000, "which is not what was requested"},
	        {CONTENT_BLOB_MAX + 1ull, WIRE_BLOCK_MAX, "which is not what was requested"},
	        {1000, 1000, "bob sent bytes that do not match the name 0701000"}};
	const struct content_id id = {{7, 1}};
	struct outcome o;
	nodes_cluster(2);
	start_transfer(0);
	start_script(1);
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		script.total = odd[i].total;
		script.len = odd[i].len;
		script.n = script.most = 0;
		memset(script.asked, 0, sizeof script.asked);
		fetch_blob(0, &id, 1, &o);
		ck_assert(!o.ok);
		ck_assert_msg(strstr(o.error, odd[i].says), "%s", o.error);
		ck_assert_uint_eq(script.most, 1);
	}
}
END_TEST

static bool half_way(void *arg) {
	struct outcome *o = arg;
	return o->done || o->steps >= 2;
}

START_TEST(a_source_that_dies_is_replaced) {
	const char *path = nodes_model("m.gguf", KERN_F32, 8, 1);
	struct outcome o;
	nodes_cluster(3);
	for (int i = 0; i < 3; i++)
		start_transfer(i);
	struct import *im = open_model(0, path), *other = open_model(1, path);
	const struct manifest *m = import_manifest(im);
	ck_assert_int_eq(transfer_add_source(nodes[0].more, im), 0);
	ck_assert_int_eq(transfer_add_source(nodes[1].more, other), 0);
	begin(2, m, 0, 8, (int[]){1, 0}, 2, &o);
	ck_assert(nodes_wait(half_way, &o, 20000));
	ck_assert(!o.done);
	nodes_stop(1);
	ck_assert(nodes_wait(is_done, &o, 60000));
	ck_assert_msg(o.ok, "%s", o.error);
	check_store(2, m, im, 0, 8);
}
END_TEST

START_TEST(cancelled_fetches_leave_nothing) {
	const char *path = nodes_model("m.gguf", KERN_F32, 8, 1);
	static struct outcome o, p; /* the last fetch is told of while everything is taken down */
	nodes_cluster(2);
	start_transfer(0);
	start_transfer(1);
	struct import *im = open_model(0, path);
	const struct manifest *m = import_manifest(im);
	ck_assert_int_eq(transfer_add_source(nodes[0].more, im), 0);
	struct fetch *f = begin(1, m, 0, 8, (int[]){0}, 1, &o);
	transfer_cancel(f); /* before anything */
	f = begin(1, m, 0, 8, (int[]){0}, 1, &o);
	ck_assert(nodes_wait(half_way, &o, 20000));
	transfer_cancel(f); /* in the middle, with pieces in flight */
	/* the lane is free again for another */
	fetch(1, m, 0, 4, (int[]){0}, 1, &p);
	ck_assert_msg(p.ok, "%s", p.error);
	ck_assert(!o.done);
	check_store(1, m, im, 0, 4);
	/* and one that is under way when everything is taken down */
	begin(1, m, 0, 8, (int[]){0}, 1, &o);
	nodes_run(5);
}
END_TEST

/* ---- several at once ---- */

/* One layer of several chunks: 46 MiB. */
static const struct ggufgen_model wide = {.type = KERN_F32,
        .head = KERN_F32,
        .dim = 1024,
        .layers = 1,
        .heads = 8,
        .kv_heads = 2,
        .ffn = 3072,
        .vocab = 300,
        .context = 128,
        .seed = 5};

static const char *wide_model(void) {
	static char path[200];
	struct ggufgen *g = ggufgen_model(&wide);
	snprintf(path, sizeof path, "%s/wide.gguf", nodes_root);
	ggufgen_write_path(g, path);
	ggufgen_destroy(g);
	return path;
}

/* Nodes with a transfer, the first `with` of which have the file. */
static const struct manifest *wide_cluster(int n, int with, struct import *im[]) {
	const char *path = wide_model();
	nodes_cluster(n);
	for (int i = 0; i < n; i++) {
		start_transfer(i);
		if (i < with) {
			im[i] = open_model(i, path);
			ck_assert_int_eq(transfer_add_source(nodes[i].more, im[i]), 0);
		}
	}
	return import_manifest(im[0]);
}

static uint64_t served(int i) {
	return transfer_served(nodes[i].more);
}

START_TEST(several_sources_are_asked_at_once) {
	struct import *im[NODES_MAX];
	struct outcome o;
	const struct manifest *m = wide_cluster(4, 3, im);
	fetch(3, m, 0, 1, (int[]){0, 1, 2}, 3, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	check_store(3, m, im[0], 0, 1);
	/* each gave some, none all, and nothing was sent twice */
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_gt(served(i), o.total / 20);
		ck_assert_uint_lt(served(i), o.total * 9 / 10);
	}
	ck_assert_uint_eq(served(0) + served(1) + served(2), o.moved);
	ck_assert_uint_lt(o.moved, o.total + o.total / 20);
}
END_TEST

START_TEST(a_liar_among_several_costs_what_it_sent) {
	struct import *im[NODES_MAX];
	struct outcome o;
	const struct manifest *m = wide_cluster(4, 1, im);
	fetch(1, m, 0, 1, (int[]){0}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	fetch(2, m, 0, 1, (int[]){0}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	corrupt(1, m, 1);
	fetch(3, m, 0, 1, (int[]){1, 2}, 2, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	check_store(3, m, im[0], 0, 1);
	ck_assert_uint_gt(served(2), 0);
	ck_assert_uint_gt(served(1), 0);
}
END_TEST

static bool all_done(void *arg) {
	struct outcome *o = arg;
	return o[1].done && o[2].done && o[3].done;
}

START_TEST(who_needs_the_same_shares_it) {
	struct import *im[NODES_MAX];
	struct outcome o[4];
	const struct manifest *m = wide_cluster(4, 1, im);
	for (int i = 1; i < 4; i++)
		begin(i, m, 0, 1, (int[]){0}, 1, &o[i]);
	ck_assert(nodes_wait(all_done, o, 120000));
	uint64_t others = 0;
	for (int i = 1; i < 4; i++) {
		ck_assert_msg(o[i].ok, "%s", o[i].error);
		check_store(i, m, im[0], 0, 1);
		others += served(i);
	}
	/* three copies have come out of one file, and each byte left it about once */
	uint64_t total = o[1].total;
	ck_assert_msg(served(0) < total + total / 10, "%llu of %llu", (unsigned long long)served(0),
	        (unsigned long long)total);
	ck_assert_uint_ge(others, 2 * total - total / 10);
}
END_TEST

START_TEST(one_that_was_given_it_and_has_it_not_is_passed_over) {
	struct import *im[NODES_MAX];
	struct outcome o, p;
	const struct manifest *m = wide_cluster(3, 1, im);
	struct fetch *f = begin(1, m, 0, 1, (int[]){0}, 1, &o);
	ck_assert(nodes_wait(half_way, &o, 20000));
	transfer_cancel(f);
	fetch(2, m, 0, 1, (int[]){0}, 1, &p);
	ck_assert_msg(p.ok, "%s", p.error);
	check_store(2, m, im[0], 0, 1);
}
END_TEST

static bool a_third(void *arg) {
	struct outcome *o = arg;
	return o->done || (o->total && o->last * 3 >= o->total);
}

START_TEST(a_cut_costs_what_was_on_its_way) {
	struct import *im[NODES_MAX];
	struct outcome o;
	const struct manifest *m = wide_cluster(2, 1, im);
	begin(1, m, 0, 1, (int[]){0}, 1, &o);
	ck_assert(nodes_wait(a_third, &o, 20000));
	ck_assert(!o.done);
	peers_drop(members_peers(nodes[1].members), &nodes[0].keys.public, "the wire is cut");
	ck_assert(nodes_wait(is_done, &o, 60000));
	ck_assert_msg(o.ok, "%s", o.error);
	check_store(1, m, im[0], 0, 1);
	ck_assert_uint_lt(o.moved, o.total + o.total / 3);
}
END_TEST

START_TEST(a_restart_in_the_middle_fetches_the_rest) {
	struct import *im[NODES_MAX];
	static struct outcome o; /* told of while the node is taken down */
	struct outcome p;
	const struct manifest *m = wide_cluster(2, 1, im);
	begin(1, m, 0, 1, (int[]){0}, 1, &o);
	ck_assert(nodes_wait(a_third, &o, 20000));
	ck_assert(!o.done);
	uint64_t had = o.last;
	nodes_stop(1);
	nodes_start(1);
	start_transfer(1);
	ck_assert(nodes_wait(nodes_all_up, NULL, 30000));
	fetch(1, m, 0, 1, (int[]){0}, 1, &p);
	ck_assert_msg(p.ok, "%s", p.error);
	check_store(1, m, im[0], 0, 1);
	/* of what was checked and written nothing came again */
	uint64_t total = manifest_layer_bytes(m, 0, 1);
	ck_assert_msg(p.moved < total - had + total / 10, "had %llu of %llu, and %llu came",
	        (unsigned long long)had, (unsigned long long)total, (unsigned long long)p.moved);
}
END_TEST

START_TEST(the_one_with_the_file_may_go) {
	struct import *im[NODES_MAX];
	struct outcome o[4];
	const struct manifest *m = wide_cluster(4, 1, im);
	struct import *kept = open_model(1, wide_model());
	m = import_manifest(kept);
	/* two have a part each when it goes, and a third has nothing */
	fetch(1, m, 0, 1, (int[]){0}, 1, &o[1]);
	ck_assert_msg(o[1].ok, "%s", o[1].error);
	begin(2, m, 0, 1, (int[]){0, 1}, 2, &o[2]);
	ck_assert(nodes_wait(a_third, &o[2], 20000));
	nodes_stop(0);
	begin(3, m, 0, 1, (int[]){0, 1, 2}, 3, &o[3]);
	o[1].done = true;
	ck_assert(nodes_wait(all_done, o, 120000));
	for (int i = 2; i < 4; i++) {
		ck_assert_msg(o[i].ok, "%s", o[i].error);
		check_store(i, m, kept, 0, 1);
	}
	import_close(kept);
}
END_TEST

/* ---- a folder of the user's ---- */

static char folder[200];

static void copy_into(const char *from, const char *name) {
	char command[1400];
	snprintf(folder, sizeof folder, "%s/folder", nodes_root);
	snprintf(command, sizeof command, "mkdir -p %s/deep && cp %s %s/new && mv %s/new %s/%s", folder, from,
	        folder, folder, folder, name);
	ck_assert_int_eq(system(command), 0);
}

static const struct content_id *looked_for;

static bool is_known(void *arg) {
	return transfer_has_file(nodes[*(int *)arg].more, looked_for);
}

/* How often something was said on standard error since listen_to_the_log. */
static unsigned said(const char *what) {
	static char text[65536];
	unsigned times = 0;
	ssize_t n = pread(STDERR_FILENO, text, sizeof text - 1, 0);
	ck_assert_int_ge(n, 0);
	text[n] = '\0';
	for (const char *at = text; (at = strstr(at, what)); at++)
		times++;
	return times;
}

/* Standard error goes to a file from now on. */
static void listen_to_the_log(void) {
	char path[] = "/tmp/check_transfer.XXXXXX";
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	unlink(path);
	dup2(fd, STDERR_FILENO);
	close(fd);
}

/* The same model in two files: the keys in the first, the weights in the second. */
static void write_wide_parts(void) {
	for (uint32_t no = 0; no < 2; no++) {
		char path[300];
		struct ggufgen *g = ggufgen_create();
		if (no == 0) {
			ggufgen_model_keys(g, &wide);
			ggufgen_vocab_keys(g, wide.vocab);
			ggufgen_u32(g, "split.tensors.count", LAYER_PLAIN + IO_ROLES);
		} else {
			ggufgen_model_tensors(g, &wide);
		}
		ggufgen_u32(g, "split.no", no);
		ggufgen_u32(g, "split.count", 2);
		snprintf(path, sizeof path, "%s/parts-%05u-of-00002.gguf", folder, no + 1);
		ggufgen_write_path(g, path);
		ggufgen_destroy(g);
	}
}

START_TEST(the_first_part_stands_for_all) {
	struct import *im[NODES_MAX];
	struct outcome o;
	int bob = 1;
	const struct manifest *m = wide_cluster(3, 1, im);
	looked_for = &m->id;
	copy_into(wide_model(), "the-best-of-both.gguf"); /* its name is no part's */
	write_wide_parts();
	listen_to_the_log();
	ck_assert_int_eq(transfer_add_model_dir(nodes[1].more, folder), 0);
	ck_assert(nodes_wait(is_known, &bob, 60000));
	ck_assert_uint_eq(said("the-best-of-both.gguf is identified by its content"), 1);
	ck_assert_uint_eq(said("-of-00002.gguf is identified by its content"), 1);
	fetch(2, m, 0, 1, (int[]){1}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	check_store(2, m, im[0], 0, 1);
}
END_TEST

START_TEST(a_file_in_the_folder_is_a_source) {
	struct import *im[NODES_MAX];
	struct outcome o;
	int bob = 1;
	const struct manifest *m = wide_cluster(4, 1, im);
	looked_for = &m->id;
	copy_into(wide_model(), "deep/another-name.gguf");
	copy_into("/etc/hostname", "junk.gguf");
	ck_assert_int_eq(transfer_add_model_dir(nodes[1].more, folder), 0);
	ck_assert(nodes_wait(is_known, &bob, 60000));
	ck_assert(!transfer_has_file(nodes[1].more, &m->vocab));
	/* for others, */
	fetch(2, m, 0, 1, (int[]){1}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	check_store(2, m, im[0], 0, 1);
	/* and for the node itself: nothing comes over the network */
	fetch(1, m, 0, 1, (int[]){0}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	ck_assert_str_eq(o.what, "packing");
	ck_assert_uint_eq(o.moved, 0);
	ck_assert_uint_eq(served(0), 0);
	check_store(1, m, im[0], 0, 1);
}
END_TEST

START_TEST(a_file_that_has_changed_is_none) {
	struct import *im[NODES_MAX];
	struct outcome o;
	int bob = 1;
	const struct manifest *m = wide_cluster(3, 1, im);
	looked_for = &m->id;
	copy_into(wide_model(), "m.gguf");
	ck_assert_int_eq(transfer_add_model_dir(nodes[1].more, folder), 0);
	ck_assert(nodes_wait(is_known, &bob, 60000));
	copy_into("/etc/hostname", "m.gguf");
	listen_to_the_log();
	fetch(2, m, 0, 1, (int[]){1}, 1, &o);
	ck_assert(!o.ok);
	ck_assert_uint_eq(said("m.gguf has changed"), 1);
	ck_assert_msg(strstr(o.error, "bob refused (no content"), "%s", o.error);
	ck_assert(!transfer_has_file(nodes[1].more, &m->id));
	fetch(1, m, 0, 1, (int[]){0}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	ck_assert_uint_gt(o.moved, o.total - 1);
	check_store(1, m, im[0], 0, 1);
}
END_TEST

/* Changes a byte in each 64 KiB of the second half, in place. */
static void spoil_half_of(const char *path) {
	uint8_t byte;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	off_t size = lseek(fd, 0, SEEK_END);
	for (off_t at = size / 2; at < size; at += 65536) {
		ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
		byte ^= 0x55;
		ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	}
	close(fd);
}

static void spoil_half(const char *name) {
	char path[300];
	snprintf(path, sizeof path, "%s/%s", folder, name);
	spoil_half_of(path);
}

/* A copy of the wide model that a node has as a source, besides those that it has: it is asked first. */
static char *add_copy(int i) {
	static char path[300];
	char command[1000];
	snprintf(path, sizeof path, "%s/copy.gguf", nodes_root);
	snprintf(command, sizeof command, "cp %s %s", wide_model(), path);
	ck_assert_int_eq(system(command), 0);
	ck_assert_int_eq(transfer_add_source(nodes[i].more, open_model(i, path)), 0);
	return path;
}

START_TEST(a_spoiled_file_hides_no_other) {
	struct import *im[NODES_MAX];
	struct outcome o;
	const struct manifest *m = wide_cluster(2, 1, im);
	spoil_half_of(add_copy(0));
	fetch(0, m, 0, 1, NULL, 0, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	ck_assert_uint_eq(o.moved, 0);
	check_store(0, m, im[0], 0, 1);
}
END_TEST

START_TEST(a_spoiled_file_is_not_served) {
	struct import *im[NODES_MAX];
	struct outcome o;
	struct stat was;
	const struct manifest *m = wide_cluster(3, 1, im);
	/* its time says that it has not changed */
	const char *path = add_copy(1);
	ck_assert_int_eq(stat(path, &was), 0);
	spoil_half_of(path);
	ck_assert_int_eq(utimensat(AT_FDCWD, path, (struct timespec[]){was.st_atim, was.st_mtim}, 0), 0);
	fetch(2, m, 0, 1, (int[]){1}, 1, &o);
	ck_assert(!o.ok);
	ck_assert_msg(strstr(o.error, "bob sent bytes that do not match the name"), "%s", o.error);
	/* bob notices when he packs it */
	fetch(1, m, 0, 1, (int[]){0}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	ck_assert_uint_gt(o.moved, 0);
	check_store(1, m, im[0], 0, 1);
	/* and gives what his store has, not what he had read before */
	fetch(2, m, 0, 1, (int[]){1}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	check_store(2, m, im[0], 0, 1);
}
END_TEST

START_TEST(a_file_that_changes_in_the_middle_is_left) {
	struct import *im[NODES_MAX];
	struct outcome o;
	int bob = 1;
	const struct manifest *m = wide_cluster(3, 1, im);
	looked_for = &m->id;
	copy_into(wide_model(), "m.gguf");
	ck_assert_int_eq(transfer_add_model_dir(nodes[1].more, folder), 0);
	ck_assert(nodes_wait(is_known, &bob, 60000));
	fetch(2, m, 0, 1, (int[]){1}, 1, &o); /* it is open from now on */
	ck_assert_msg(o.ok, "%s", o.error);
	spoil_half("m.gguf");
	/* what is whole in it is taken from there, and the rest from another node */
	fetch(1, m, 0, 1, (int[]){0}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	ck_assert_uint_gt(o.moved, 0);
	ck_assert_uint_lt(o.moved, o.total);
	check_store(1, m, im[0], 0, 1);
	ck_assert(!transfer_has_file(nodes[1].more, &m->id));
}
END_TEST

START_TEST(a_file_that_changes_and_nobody_else_has_it) {
	struct import *im[NODES_MAX];
	struct outcome o;
	int bob = 1;
	const struct manifest *m = wide_cluster(4, 1, im);
	looked_for = &m->id;
	copy_into(wide_model(), "m.gguf");
	ck_assert_int_eq(transfer_add_model_dir(nodes[1].more, folder), 0);
	ck_assert(nodes_wait(is_known, &bob, 60000));
	fetch(2, m, 0, 1, (int[]){1}, 1, &o);
	ck_assert_msg(o.ok, "%s", o.error);
	spoil_half("m.gguf");
	fetch(1, m, 0, 1, (int[]){3}, 1, &o);
	ck_assert(!o.ok);
	ck_assert_msg(strstr(o.error, "the file has changed since it was hashed; dan refused (no content"),
	        "%s", o.error);
}
END_TEST

static bool is_busy;

static bool busy(void *arg) {
	(void)arg;
	return is_busy;
}

static bool took_a_step(void *arg) {
	return ((struct outcome *)arg)->steps > 0;
}

/* Nobody waits for it: begun first, and done last. */
START_TEST(what_can_wait_yields) {
	struct import *im[NODES_MAX];
	struct outcome o, p;
	for (int side = 0; side < 2; side++) { /* where it goes, and where it comes from */
		if (side) {
			nodes_teardown();
			nodes_setup();
		}
		const struct manifest *m = wide_cluster(3, 1, im);
		struct node_id source = nodes[0].keys.public;
		struct fetch *f;
		is_busy = true;
		transfer_yields(nodes[side ? 0 : 1].more, busy, NULL);
		struct transfer_request r = {.subject = "a copy",
		        .tensor = m->tensor,
		        .tensors = LAYER_PLAIN,
		        .source = &source,
		        .sources = 1,
		        .spare = true,
		        .alone = true,
		        .progress = on_progress,
		        .done = on_done,
		        .arg = &o};
		memset(&o, 0, sizeof o);
		ck_assert_int_eq(transfer_fetch(nodes[1].more, &r, &f), 0);
		ck_assert(nodes_wait(took_a_step, &o, 60000)); /* though it is never starved */
		fetch(2, m, 0, 1, (int[]){0}, 1, &p);
		ck_assert_msg(p.ok, "%s", p.error);
		ck_assert(!o.done);
		is_busy = false;
		ck_assert(nodes_wait(is_done, &o, 60000));
		ck_assert_msg(o.ok, "%s", o.error);
		check_layers(1, m, im[0], 0, 1);
	}
}
END_TEST

static unsigned answers, refusals;
static char refusal[200];

static void on_answer(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	(void)arg;
	(void)from;
	answers++;
	if (env->body_case != CARAVAN__ENVELOPE__BODY_REFUSED)
		return;
	(void)payload;
	refusals++;
	snprintf(refusal, sizeof refusal, "%s", env->refused->reason);
}

static bool answered(void *arg) {
	return answers >= *(unsigned *)arg;
}

START_TEST(odd_requests_are_refused) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 1, 1);
	nodes_cluster(2);
	start_transfer(0);
	struct import *im = open_model(0, path);
	const struct manifest *m = import_manifest(im);
	ck_assert_int_eq(transfer_add_source(nodes[0].more, im), 0);
	struct peers *p = members_peers(nodes[1].members);
	peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
	peers_on(p, CARAVAN__ENVELOPE__BODY_BLOCK, on_answer, NULL);
	const struct {
		struct content_id id;
		bool tensor;
		uint32_t chunk;
		uint64_t offset;
		const char *says;
	} odd[] = {{manifest_find(m, 0, LAYER_Q)->id, true, 1000000, 0, "no content"},
	        {manifest_find(m, 0, LAYER_Q)->id, true, 0, 1ull << 50, "has"},
	        {m->id, false, 0, 1ull << 50, "has"}, {m->id, true, 0, 0, "no content"},
	        {{{7}}, false, 0, 0, "no content"}};
	unsigned want = 0;
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		Caravan__Fetch f = CARAVAN__FETCH__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(FETCH, fetch, &f);
		f.name = (ProtobufCBinaryData){32, (uint8_t *)odd[i].id.b};
		f.tensor = odd[i].tensor;
		f.chunk = odd[i].chunk;
		f.offset = odd[i].offset;
		f.length = WIRE_BLOCK_MAX;
		env.ref = peers_ref(p);
		ck_assert_int_eq(peers_send(p, &nodes[0].keys.public, PEERS_BULK, &env, NULL), 0);
		want++;
		ck_assert(nodes_wait(answered, &want, 10000));
		ck_assert_uint_eq(refusals, want);
		ck_assert_msg(strstr(refusal, odd[i].says), "%s", refusal);
	}
}
END_TEST

static sem_t go;

static void wait_for_go(void *arg) {
	(void)arg;
	while (sem_wait(&go) != 0)
		;
}

static void ask_often(int i, int whom, const struct content_id *id, unsigned times) {
	struct peers *p = members_peers(nodes[i].members);
	for (unsigned n = 0; n < times; n++) {
		Caravan__Fetch f = CARAVAN__FETCH__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(FETCH, fetch, &f);
		f.name = wire_bytes(id->b, sizeof id->b);
		f.tensor = true;
		f.length = WIRE_BLOCK_MAX;
		env.ref = peers_ref(p);
		ck_assert_int_eq(peers_send(p, &nodes[whom].keys.public, PEERS_CONTROL, &env, NULL), 0);
	}
}

START_TEST(each_node_has_sixteen_requests) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 1, 1);
	nodes_cluster(3);
	start_transfer(0);
	struct import *im = open_model(0, path);
	const struct content_id *id = &manifest_find(import_manifest(im), 0, LAYER_Q)->id;
	ck_assert_int_eq(transfer_add_source(nodes[0].more, im), 0);
	for (int i = 1; i < 3; i++) {
		struct peers *p = members_peers(nodes[i].members);
		peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
		peers_on(p, CARAVAN__ENVELOPE__BODY_BLOCK, on_answer, NULL);
	}
	/* nothing is read yet, so that all of them wait */
	ck_assert_int_eq(sem_init(&go, 0, 0), 0);
	ck_assert_int_eq(executor_submit(transfer_reader(nodes[0].more), wait_for_go, job_done, NULL), 0);
	unsigned want = 60 - 16;
	ask_often(1, 0, id, 60);
	ck_assert(nodes_wait(answered, &want, 2500));
	ck_assert_str_eq(refusal, "too many requests at once");
	/* which leaves the other its own */
	want++;
	ask_often(2, 0, id, 17);
	ck_assert(nodes_wait(answered, &want, 2500));
	ck_assert_uint_eq(refusals, want);
	want = 60 + 17;
	sem_post(&go);
	ck_assert(nodes_wait(answered, &want, 2500));
	ck_assert_uint_eq(refusals, 60 - 16 + 17 - 16);
}
END_TEST

/* A request that has begun keeps the file; later ones do not find it. */
START_TEST(a_file_that_is_withdrawn_serves_what_was_begun) {
	const char *path = nodes_model("m.gguf", KERN_Q4_0, 1, 1);
	nodes_cluster(3);
	start_transfer(0);
	struct import *im = open_model(0, path);
	const struct content_id id = manifest_find(import_manifest(im), 0, LAYER_Q)->id;
	ck_assert_int_eq(transfer_add_source(nodes[0].more, im), 0);
	for (int i = 1; i < 3; i++) {
		struct peers *p = members_peers(nodes[i].members);
		peers_on(p, CARAVAN__ENVELOPE__BODY_REFUSED, on_answer, NULL);
		peers_on(p, CARAVAN__ENVELOPE__BODY_BLOCK, on_answer, NULL);
	}
	ck_assert_int_eq(sem_init(&go, 0, 0), 0);
	ck_assert_int_eq(executor_submit(transfer_reader(nodes[0].more), wait_for_go, job_done, NULL), 0);
	/* one too many: its refusal says that the others are there */
	unsigned want = 1;
	ask_often(1, 0, &id, 17);
	ck_assert(nodes_wait(answered, &want, 2500));
	transfer_remove_source(nodes[0].more, im);
	want++;
	ask_often(2, 0, &id, 17);
	ck_assert(nodes_wait(answered, &want, 2500));
	ck_assert_uint_eq(refusals, 2);
	want = 17 + 17;
	sem_post(&go);
	ck_assert(nodes_wait(answered, &want, 2500));
	ck_assert_uint_eq(refusals, 1 + 17);
	ck_assert_ptr_nonnull(strstr(refusal, "no content"));
}
END_TEST

static unsigned pieces, redirects;
static struct node_id named;

static void on_one(
        void *arg, const struct peers_from *from, const Caravan__Envelope *env, struct payload *payload) {
	(void)arg;
	(void)from;
	(void)payload;
	answers++;
	pieces += env->body_case == CARAVAN__ENVELOPE__BODY_BLOCK;
	redirects += env->body_case == CARAVAN__ENVELOPE__BODY_REDIRECT;
	if (env->body_case == CARAVAN__ENVELOPE__BODY_REDIRECT)
		ck_assert_int_eq(node_id_from_bytes(&named, env->redirect->node), 0);
}

START_TEST(only_who_shares_is_sent_on) {
	struct import *im[NODES_MAX];
	struct outcome o;
	const struct manifest *m = wide_cluster(3, 1, im);
	fetch(1, m, 0, 1, (int[]){0}, 1, &o);
	ck_assert(o.ok);
	struct peers *p = members_peers(nodes[2].members);
	ck_assert_int_eq(peers_on(p, CARAVAN__ENVELOPE__BODY_BLOCK, on_one, NULL), 0);
	ck_assert_int_eq(peers_on(p, CARAVAN__ENVELOPE__BODY_REDIRECT, on_one, NULL), 0);
	/* a node of an older version, one that shares in the middle of a chunk, at its beginning, and a node that has it */
	static const struct {
		bool shares;
		uint64_t offset;
		int at;
		bool piece;
	} cases[] = {{false, 0, 0, true}, {true, 4096, 0, true}, {true, 0, 0, false}, {true, 0, 1, true}};
	unsigned want = 0, sent = 0;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		Caravan__Fetch f = CARAVAN__FETCH__INIT;
		Caravan__Envelope env = WIRE_ENVELOPE(FETCH, fetch, &f);
		f.name = (ProtobufCBinaryData){32, (uint8_t *)manifest_find(m, 0, LAYER_UP)->id.b};
		f.tensor = true;
		f.offset = cases[i].offset;
		f.length = 4096;
		f.shares = cases[i].shares;
		env.ref = peers_ref(p);
		ck_assert_int_eq(peers_send(p, &nodes[cases[i].at].keys.public, PEERS_BULK, &env, NULL), 0);
		want++;
		sent += cases[i].piece;
		ck_assert(nodes_wait(answered, &want, 10000));
		ck_assert_uint_eq(pieces, sent);
		ck_assert_uint_eq(redirects, want - sent);
	}
	ck_assert(node_id_equal(&named, &nodes[1].keys.public));
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("transfer");
	nodes_loader_gone = take_down;
	TCase *t = nodes_group(s, "executor", 180);
	tcase_add_test(t, loader_runs_in_order);
	tcase_add_test(t, loader_gives_back_what_it_did_not_run);
	t = nodes_group(s, "sources", 180);
	tcase_add_test(t, moves_once_and_passes_on);
	tcase_add_test(t, who_has_it_not_is_asked_once);
	tcase_add_test(t, blocks_that_are_not_what_was_requested);
	tcase_add_test(t, a_lying_source_is_dropped_and_named);
	tcase_add_test(t, silent_empty_and_absent_sources_are_passed_over);
	tcase_add_test(t, a_source_that_dies_is_replaced);
	tcase_add_test(t, cancelled_fetches_leave_nothing);
	t = nodes_group(s, "several sources", 180);
	tcase_add_test(t, several_sources_are_asked_at_once);
	tcase_add_test(t, a_liar_among_several_costs_what_it_sent);
	tcase_add_test(t, who_needs_the_same_shares_it);
	tcase_add_test(t, one_that_was_given_it_and_has_it_not_is_passed_over);
	tcase_add_test(t, a_cut_costs_what_was_on_its_way);
	tcase_add_test(t, a_restart_in_the_middle_fetches_the_rest);
	tcase_add_test(t, the_one_with_the_file_may_go);
	t = nodes_group(s, "files", 180);
	tcase_add_test(t, the_first_part_stands_for_all);
	tcase_add_test(t, a_file_in_the_folder_is_a_source);
	tcase_add_test(t, a_file_that_has_changed_is_none);
	tcase_add_test(t, a_file_that_changes_in_the_middle_is_left);
	tcase_add_test(t, a_file_that_changes_and_nobody_else_has_it);
	tcase_add_test(t, a_spoiled_file_hides_no_other);
	tcase_add_test(t, a_spoiled_file_is_not_served);
	t = nodes_group(s, "requests", 180);
	tcase_add_test(t, odd_requests_are_refused);
	tcase_add_test(t, each_node_has_sixteen_requests);
	tcase_add_test(t, a_file_that_is_withdrawn_serves_what_was_begun);
	tcase_add_test(t, what_can_wait_yields);
	tcase_add_test(t, only_who_shares_is_sent_on);
	return s;
}

#include "tests/unit/check_main.h"
