/* Importing a model file: its names, and what of it goes into a store. */
#include "common/durable.h"
#include "shard/import/names.h"
#include "tests/support/ggufgen.h"
#include "tests/support/stored.h"
#include "tests/support/where.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct ggufgen_model small = {.type = KERN_Q5_1,
        .head = KERN_Q8_0,
        .norm = KERN_F16,
        .dim = 64,
        .layers = 4,
        .heads = 4,
        .kv_heads = 2,
        .ffn = 96,
        .vocab = 300,
        .context = 128,
        .distinct = 2,
        .seed = 9};

static int model_fd(const struct ggufgen_model *m) {
	struct ggufgen *gen = ggufgen_model(m);
	size_t len;
	uint8_t *data = ggufgen_bytes(gen, &len);
	int fd = ggufgen_fd(data, len);
	free(data);
	ggufgen_destroy(gen);
	return fd;
}

struct progress {
	int calls, stop_at;
	uint64_t done, total;
};

static int note_progress(void *arg, uint64_t done, uint64_t total) {
	struct progress *p = arg;
	ck_assert(done >= p->done && done <= total);
	p->done = done;
	p->total = total;
	return ++p->calls == p->stop_at;
}

static struct import *import_fd(int fd, struct progress *p) {
	struct import *im = NULL;
	*p = (struct progress){0};
	ck_assert_msg(import_open(&im, &fd, 1, "model", NULL, store_names_dir(store), note_progress, p, err,
	                      sizeof err) == 0,
	        "%s", err);
	return im;
}

/* Moves what a record names from the import into the store. */
static void move_tensor(const struct import *im, const struct content_id *id) {
	const struct content_tensor *t = import_tensor(im, id);
	struct store_writer *w;
	uint8_t *beyond;
	size_t len;
	ck_assert_ptr_nonnull(t);
	ck_assert(content_equal(&t->id, id));
	ck_assert_int_eq(store_writer_create(&w, store, t, err, sizeof err), 0);
	for (uint32_t i = 0; i < t->chunks; i++) {
		uint8_t *p;
		ck_assert_int_eq(import_chunk(im, id, i, &p, &len, err, sizeof err), 0);
		ck_assert_int_eq(store_writer_chunk(w, i, p, len), 0);
		free(p);
	}
	ck_assert_int_eq(import_chunk(im, id, t->chunks, &beyond, &len, err, sizeof err), -ENOENT);
	ck_assert_int_eq(store_writer_commit(w), 0);
	store_writer_destroy(w);
}

START_TEST(a_model_goes_into_the_store) {
	struct progress p;
	int fd = model_fd(&small);
	struct import *im = import_fd(fd, &p);
	const struct manifest *m = import_manifest(im);
	size_t len;
	ck_assert(p.done == p.total && p.calls > 1);
	ck_assert_uint_eq(p.total, manifest_layer_bytes(m, 0, 2) + manifest_io_bytes(m));
	ck_assert(m->hp.layers == 4 && m->io[IO_HEAD].type == KERN_Q8_0);
	ck_assert(manifest_find(m, 0, LAYER_ATTN_NORM)->type == KERN_F16 &&
	          manifest_find(m, 0, LAYER_UP)->type == KERN_Q5_1);
	ck_assert(content_equal(&manifest_find(m, 2, LAYER_Q)->id, &manifest_find(m, 0, LAYER_Q)->id));
	ck_assert(!content_equal(&manifest_find(m, 1, LAYER_Q)->id, &manifest_find(m, 0, LAYER_Q)->id));
	ck_assert_uint_eq(import_vocab(im)->tokens, 300);
	/* every blob by its name */
	const struct content_id *blob[] = {
	        &m->id, &m->vocab, &manifest_find(m, 3, LAYER_DOWN)->id, &m->io[IO_NORM].id};
	for (int i = 0; i < 4; i++) {
		const uint8_t *data = import_blob(im, blob[i], &len);
		ck_assert_ptr_nonnull(data);
		struct content_id id = content_hash(data, len);
		ck_assert(content_equal(&id, blob[i]));
	}
	struct content_id none = content_hash("none", 4);
	ck_assert_ptr_null(import_blob(im, &none, &len));
	ck_assert_ptr_null(import_tensor(im, &none));
	uint8_t *nothing;
	ck_assert_int_eq(import_chunk(im, &none, 0, &nothing, &len, err, sizeof err), -ENOENT);
	for (int r = 0; r < IO_ROLES; r++)
		move_tensor(im, &m->io[r].id);
	for (uint32_t l = 0; l < 4; l++)
		for (int r = 0; r < LAYER_PLAIN; r++)
			move_tensor(im, &manifest_find(m, l, r)->id);
	ck_assert_int_eq(count_files("tensors"), IO_ROLES + 2 * LAYER_PLAIN);
	import_close(im);
	close(fd);
}
END_TEST

/* ---- experts ---- */

static const struct ggufgen_model mixture = {.type = KERN_F16,
        .head = KERN_Q8_0,
        .norm = KERN_F32,
        .dim = 64,
        .layers = 2,
        .heads = 4,
        .ffn = 96,
        .experts = 4,
        .experts_used = 2,
        .expert_ffn = 96,
        .vocab = 300,
        .context = 128,
        .seed = 11};

/* Each expert's rows have chunks of their own, with the bytes that the file has for it. */
START_TEST(an_expert_is_content_by_itself) {
	static const enum layer_role roles[] = {LAYER_EXPERT_GATE, LAYER_EXPERT_UP, LAYER_EXPERT_DOWN};
	static const char *const names[] = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"};
	struct progress p;
	struct gguf *g;
	int fd = model_fd(&mixture);
	struct import *im = import_fd(fd, &p);
	const struct manifest *m = import_manifest(im);
	ck_assert_int_eq(gguf_open(&g, &fd, 1, "model", err, sizeof err), 0);
	for (size_t i = 0; i < 3; i++) {
		char name[64];
		const struct manifest_tensor *mt = manifest_find(m, 1, roles[i]);
		const struct content_tensor *t = import_tensor(im, &mt->id);
		uint64_t rows = i == 2 ? 64 : 96, bytes = rows * mt->n * 2;
		snprintf(name, sizeof name, "blk.1.%s.weight", names[i]);
		const struct gguf_tensor *in_file = gguf_find(g, name);
		ck_assert(mt->parts == 4 && mt->rows == 4 * rows);
		ck_assert(t->parts == 4 && t->chunks == 4 && t->rows == 4 * rows);
		for (uint32_t e = 0; e < 4; e++) {
			uint8_t *have, *want = malloc(bytes);
			size_t len;
			ck_assert_int_eq(gguf_read(in_file, e * bytes, want, bytes), 0);
			ck_assert_int_eq(import_chunk(im, &mt->id, e, &have, &len, err, sizeof err), 0);
			ck_assert_uint_eq(len, bytes);
			ck_assert_mem_eq(have, want, bytes);
			struct content_id id = content_hash(want, bytes);
			ck_assert(content_equal(&id, &t->chunk[e]));
			free(have);
			free(want);
		}
		move_tensor(im, &mt->id);
	}
	gguf_close(g);
	/* what is remembered of them is what was hashed */
	struct content_id id = m->id, up = manifest_find(m, 0, LAYER_EXPERT_UP)->id;
	import_close(im);
	im = import_fd(fd, &p);
	ck_assert_int_eq(p.calls, 0);
	ck_assert(content_equal(&import_manifest(im)->id, &id));
	ck_assert_uint_eq(import_tensor(im, &up)->parts, 4);
	import_close(im);
	close(fd);
}
END_TEST

/* A mixture of one layer, whose experts' gates have this shape, and unless fused they alone; experts: 0: four, and no key says so; four: in so
 * many dimensions. */
static int gates_fd(uint32_t ffn, bool fused, uint64_t rows, uint64_t experts, bool four) {
	struct ggufgen_model one = mixture;
	struct ggufgen *gen = ggufgen_create();
	size_t len;
	one.layers = 1;
	one.experts = experts ? one.experts : 0;
	one.expert_ffn = ffn;
	ggufgen_model_keys(gen, &one);
	ggufgen_vocab_keys(gen, one.vocab);
	ggufgen_tensor(gen, "token_embd.weight", KERN_F16, 64, 300, GGUFGEN_WEIGHTS);
	ggufgen_tensor(gen, "output_norm.weight", KERN_F32, 64, 0, GGUFGEN_NORM);
	ggufgen_tensor(gen, "blk.0.attn_norm.weight", KERN_F32, 64, 0, GGUFGEN_NORM);
	ggufgen_tensor(gen, "blk.0.attn_q.weight", KERN_F16, 64, 64, GGUFGEN_WEIGHTS);
	ggufgen_tensor(gen, "blk.0.attn_k.weight", KERN_F16, 64, 64, GGUFGEN_WEIGHTS);
	ggufgen_tensor(gen, "blk.0.attn_v.weight", KERN_F16, 64, 64, GGUFGEN_WEIGHTS);
	ggufgen_tensor(gen, "blk.0.attn_output.weight", KERN_F16, 64, 64, GGUFGEN_WEIGHTS);
	ggufgen_tensor(gen, "blk.0.ffn_norm.weight", KERN_F32, 64, 0, GGUFGEN_NORM);
	ggufgen_tensor(gen, "blk.0.ffn_gate_inp.weight", KERN_F32, 64, 4, GGUFGEN_WEIGHTS);
	ggufgen_experts(gen, fused ? "blk.0.ffn_gate_up_exps.weight" : "blk.0.ffn_gate_exps.weight", KERN_F16,
	        64, rows, experts ? (uint32_t)experts : 4, GGUFGEN_WEIGHTS);
	if (four)
		ggufgen_break_experts(gen);
	if (!fused)
		ggufgen_experts(gen, "blk.0.ffn_up_exps.weight", KERN_F16, 64, ffn, 4, GGUFGEN_WEIGHTS);
	ggufgen_experts(gen, "blk.0.ffn_down_exps.weight", KERN_F16, ffn, 64, 4, GGUFGEN_WEIGHTS);
	uint8_t *data = ggufgen_bytes(gen, &len);
	int fd = ggufgen_fd(data, len);
	free(data);
	ggufgen_destroy(gen);
	return fd;
}

static int refuse(int fd) {
	struct import *im = NULL;
	int rc = import_open(&im, &fd, 1, "model", NULL, NULL, NULL, NULL, err, sizeof err);
	close(fd);
	return rc;
}

static int refuse_gates(uint64_t rows, uint64_t experts, bool four) {
	return refuse(gates_fd(100, false, rows, experts, four));
}

/* Rows of each part of a tensor of the file. */
struct rows {
	uint64_t first, count;
};

/* The layer's tensor of a role is, in the file's tensor, those rows of all of its parts, `each` rows apart: first of all parts the first, then the
 * second, ... */
static void ck_rows(const struct import *im, const struct gguf *g, enum layer_role r, const char *of,
        uint64_t parts, uint64_t each, const struct rows *rows, size_t runs) {
	const struct manifest_tensor *mt = manifest_find(import_manifest(im), 0, r);
	const struct content_tensor *t = import_tensor(im, &mt->id);
	const struct gguf_tensor *whole = gguf_find(g, of);
	size_t row = kern_row_bytes(t->type, t->n), done = 0, at = 0;
	uint8_t *want = malloc(mt->bytes);
	ck_assert(t->type == whole->type && t->n == whole->n && mt->bytes == content_tensor_bytes(t));
	for (size_t k = 0; k < runs; k++)
		for (uint64_t p = 0; p < parts; p++, done += rows[k].count * row)
			ck_assert_int_eq(gguf_read(whole, (p * each + rows[k].first) * row, want + done,
			                         rows[k].count * row),
			        0);
	ck_assert_uint_eq(done, mt->bytes);
	for (uint32_t i = 0; i < t->chunks; i++) {
		uint8_t *have;
		size_t len;
		ck_assert_int_eq(import_chunk(im, &mt->id, i, &have, &len, err, sizeof err), 0);
		ck_assert_int_eq(memcmp(have, want + at, len), 0);
		struct content_id name = content_hash(have, len);
		ck_assert(content_equal(&name, &t->chunk[i]));
		at += len;
		free(have);
	}
	ck_assert_uint_eq(at, done);
	free(want);
	move_tensor(im, &mt->id);
}

/* In each expert of the file its gate is above what it gates; a chunk is an expert's gate, whose content does not depend on that. */
START_TEST(fused_experts_are_imported_apart) {
	static const char name[] = "blk.0.ffn_gate_up_exps.weight";
	struct progress p;
	struct gguf *g;
	uint16_t infinity = 0x7c00;
	int fd = gates_fd(96, true, 192, 4, false);
	struct import *im = import_fd(fd, &p);
	const struct manifest *m = import_manifest(im);
	ck_assert_uint_eq(p.done, manifest_layer_bytes(m, 0, 1) + manifest_io_bytes(m));
	ck_assert_int_eq(gguf_open(&g, &fd, 1, "model", err, sizeof err), 0);
	ck_rows(im, g, LAYER_EXPERT_GATE, name, 4, 192, (const struct rows[]){{0, 96}}, 1);
	ck_rows(im, g, LAYER_EXPERT_UP, name, 4, 192, (const struct rows[]){{96, 96}}, 1);
	ck_assert_uint_eq(import_tensor(im, &manifest_find(m, 0, LAYER_EXPERT_UP)->id)->chunks, 4);
	struct content_id id = m->id;
	import_close(im);
	im = import_fd(fd, &p);
	ck_assert_int_eq(p.calls, 0);
	ck_assert(content_equal(&import_manifest(im)->id, &id));
	import_close(im);
	/* in the file, it is in the second expert's up */
	ck_assert_int_eq(pwrite(fd, &infinity, 2, (off_t)(gguf_find(g, name)->at + (192 + 100) * 128)), 2);
	gguf_close(g);
	ck_assert_int_eq(refuse(fd), -EINVAL);
	ck_assert_str_eq(err,
	        "model: tensor blk.0.ffn_gate_up_exps.weight has a scale that is not finite between rows 288 and 383");
	ck_assert_int_eq(refuse(gates_fd(100, true, 200, 4, false)), -ENOTSUP);
	ck_assert_str_eq(err,
	        "model: tensor blk.0.ffn_gate_up_exps.weight has experts of 200 rows; multiples of 16 are supported");
	ck_assert_int_eq(refuse(gates_fd(96, true, 96, 8, false)), -EINVAL);
	ck_assert_str_eq(
	        err, "model: tensor blk.0.ffn_gate_up_exps.weight has 8 experts where the model needs 4");
	ck_assert_int_eq(refuse(gates_fd(96, true, 96, 4, false)), -EINVAL);
	ck_assert_ptr_nonnull(
	        strstr(err, "has 384 rows of 64 elements where the model needs 768 rows of 64"));
	/* its parts would be none */
	ck_assert_int_eq(refuse(gates_fd(96, true, 192, 0, false)), -EINVAL);
	ck_assert_str_eq(err,
	        "model: tensor blk.0.ffn_gate_inp.weight has 4 rows of 64 elements where the model needs 0 rows of 64");
}
END_TEST

/* Qwen3-Next: two key heads of 16 rows, each with three value heads. */
START_TEST(tensors_by_key_heads_are_imported_apart) {
	static const char in[] = "blk.0.ssm_in.weight", ba[] = "blk.0.ssm_ba.weight";
	char file[512];
	struct progress p;
	struct gguf *g;
	int fd = open(source_path(file, "tests/data/models/qwen3next-early.gguf"), O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(gguf_open(&g, &fd, 1, "model", err, sizeof err), 0);
	struct import *im = import_fd(fd, &p);
	ck_rows(im, g, LAYER_DELTA_QKV, in, 2, 128, (const struct rows[]){{0, 16}, {16, 16}, {32, 48}}, 3);
	ck_rows(im, g, LAYER_DELTA_GATE, in, 2, 128, (const struct rows[]){{80, 48}}, 1);
	ck_rows(im, g, LAYER_DELTA_BETA, ba, 2, 6, (const struct rows[]){{0, 3}}, 1);
	ck_rows(im, g, LAYER_DELTA_ALPHA, ba, 2, 6, (const struct rows[]){{3, 3}}, 1);
	import_close(im);
	gguf_close(g);
	close(fd);
}
END_TEST

START_TEST(experts_of_other_shapes_are_refused_by_name) {
	ck_assert_int_eq(refuse_gates(80, 5, false), -EINVAL);
	ck_assert_str_eq(
	        err, "model: tensor blk.0.ffn_gate_exps.weight has 5 experts where the model needs 4");
	ck_assert_int_eq(refuse_gates(100, 4, false), -ENOTSUP);
	ck_assert_str_eq(err,
	        "model: tensor blk.0.ffn_gate_exps.weight has experts of 100 rows; multiples of 8 are supported");
	ck_assert_int_eq(refuse_gates(100, 4, true), -EINVAL);
	ck_assert_str_eq(
	        err, "model: tensor blk.0.ffn_gate_exps.weight has four dimensions; experts have three");
	ck_assert_int_eq(refuse_gates(104, 4, false), -EINVAL);
	ck_assert_ptr_nonnull(
	        strstr(err, "has 416 rows of 64 elements where the model needs 400 rows of 64"));
}
END_TEST

START_TEST(names_are_remembered) {
	struct progress p;
	int fd = model_fd(&small);
	struct import *im = import_fd(fd, &p);
	struct content_id id = import_manifest(im)->id;
	int hashed = p.calls;
	ck_assert_int_gt(hashed, 1);
	import_close(im);
	ck_assert_int_eq(count_files("names"), 1);
	/* nothing is hashed again */
	im = import_fd(fd, &p);
	ck_assert_int_eq(p.calls, 0);
	ck_assert(content_equal(&import_manifest(im)->id, &id));
	move_tensor(im, &manifest_find(import_manifest(im), 1, LAYER_V)->id);
	import_close(im);
	/* damaged, torn: hashed, and remembered anew */
	struct stat st;
	ck_assert_int_eq(count_files("names"), 1);
	ck_assert_int_eq(stat(path, &st), 0);
	for (off_t at = 0; at <= st.st_size; at += 97) {
		count_files("names");
		if (at + 97 <= st.st_size)
			spoil(path, at);
		else
			ck_assert_int_eq(truncate(path, at), 0);
		im = import_fd(fd, &p);
		ck_assert_int_eq(p.calls, hashed);
		ck_assert(content_equal(&import_manifest(im)->id, &id));
		import_close(im);
	}
	/* another time of change is another file */
	struct timespec now[2] = {{2000, 5}, {2000, 5}};
	ck_assert_int_eq(futimens(fd, now), 0);
	im = import_fd(fd, &p);
	ck_assert_int_eq(p.calls, hashed);
	import_close(im);
	im = import_fd(fd, &p);
	ck_assert_int_eq(p.calls, 0);
	import_close(im);
	close(fd);
}
END_TEST

/* What becomes of a model file under the hands of who hashes it. */
static struct {
	int fd, at;
	enum { SHRINKS, EMPTIED, OVERWRITTEN, TOUCHED, GROWS } how;
} hand;

static int meddle(void *arg, uint64_t done, uint64_t total) {
	static const char junk[5000];
	struct stat st;
	(void)arg;
	(void)total;
	if (done == 0 || hand.at-- != 0)
		return 0;
	ck_assert_int_eq(fstat(hand.fd, &st), 0);
	switch (hand.how) {
	case SHRINKS:
		ck_assert_int_eq(ftruncate(hand.fd, st.st_size / 2), 0);
		break;
	case EMPTIED: /* what cp does first */
		ck_assert_int_eq(ftruncate(hand.fd, 0), 0);
		break;
	case OVERWRITTEN: /* rsync --inplace; the header's lengths are others from now on */
		ck_assert_int_eq(pwrite(hand.fd, junk, sizeof junk, 0), sizeof junk);
		break;
	case TOUCHED:
		ck_assert_int_eq(pwrite(hand.fd, junk, 1, st.st_size - 1), 1);
		break;
	case GROWS:
		ck_assert_int_eq(pwrite(hand.fd, junk, 10, st.st_size), 10);
		break;
	}
	return 0;
}

START_TEST(a_file_that_changes_while_it_is_hashed_fails_alone) {
	struct timespec long_ago[2] = {{2000, 5}, {2000, 5}};
	for (hand.how = SHRINKS; hand.how <= GROWS; hand.how++)
		for (int at = 0; at <= 18; at += 6) {
			struct import *im = NULL;
			hand.fd = model_fd(&small);
			hand.at = at;
			/* a write of this moment has another time */
			ck_assert_int_eq(futimens(hand.fd, long_ago), 0);
			int rc = import_open(&im, &hand.fd, 1, "model", NULL, store_names_dir(store), meddle,
			        NULL, err, sizeof err);
			ck_assert_msg(rc == -ESTALE || rc == -ENODATA, "%d, %d: %d", (int)hand.how, at, rc);
			ck_assert_str_eq(err,
			        "model: the file was changed while it was read: try again when it is complete");
			ck_assert_int_eq(count_files("names"), 0);
			close(hand.fd);
		}
}
END_TEST

/* After it was hashed: each chunk that is asked for is of the file that was, or none. */
START_TEST(a_file_that_changes_later_gives_no_chunk) {
	struct timespec long_ago[2] = {{2000, 5}, {2000, 5}};
	for (hand.how = SHRINKS; hand.how <= GROWS; hand.how++) {
		struct progress p;
		uint8_t *data;
		size_t len;
		hand.fd = model_fd(&small);
		ck_assert_int_eq(futimens(hand.fd, long_ago), 0);
		struct import *im = import_fd(hand.fd, &p);
		const struct manifest *m = import_manifest(im);
		hand.at = 0;
		meddle(NULL, 1, 1);
		unsigned good = 0, stale = 0;
		for (uint32_t l = 0; l < m->hp.layers; l++)
			for (int r = 0; r < LAYER_PLAIN; r++) {
				const struct content_tensor *t =
				        import_tensor(im, &manifest_find(m, l, r)->id);
				int rc = import_chunk(im, &t->id, 0, &data, &len, err, sizeof err);
				ck_assert(rc == 0 || rc == -ESTALE);
				good += rc == 0;
				stale += rc != 0;
				if (rc) {
					ck_assert_str_eq(
					        err, "model: the file has changed since it was hashed");
					continue;
				}
				struct content_id id = content_hash(data, len);
				ck_assert(content_equal(&id, &t->chunk[0]));
				free(data);
			}
		ck_assert(hand.how == EMPTIED ? good == 0 : good > 0);
		ck_assert(hand.how == SHRINKS || hand.how == EMPTIED ? stale > 0
		                                                     : stale == 0 || hand.how == TOUCHED);
		/* what was read of its header stays what it was */
		ck_assert_uint_eq(import_vocab(im)->tokens, 300);
		import_close(im);
		close(hand.fd);
		unlink(path);
	}
}
END_TEST

START_TEST(an_import_can_be_stopped) {
	int fd = model_fd(&small);
	struct import *im = NULL;
	struct progress p = {.stop_at = 5};
	ck_assert_int_eq(import_open(&im, &fd, 1, "model", NULL, store_names_dir(store), note_progress, &p,
	                         err, sizeof err),
	        -ECANCELED);
	ck_assert_int_eq(p.calls, 5);
	ck_assert_str_eq(err, "model: the import was stopped");
	ck_assert_int_eq(count_files("names"), 0);
	close(fd);
}
END_TEST

START_TEST(a_tied_head_is_the_embedding) {
	struct ggufgen_model m = small;
	struct progress p;
	m.tied = true;
	int fd = model_fd(&m);
	struct import *im = import_fd(fd, &p);
	const struct manifest *mf = import_manifest(im);
	ck_assert(content_equal(&mf->io[IO_HEAD].id, &mf->io[IO_EMBED].id));
	ck_assert_int_eq(mf->io[IO_HEAD].type, KERN_Q5_1);
	ck_assert_uint_eq(manifest_io_bytes(mf), mf->io[IO_EMBED].bytes + mf->io[IO_NORM].bytes);
	import_close(im);
	close(fd);
}
END_TEST

START_TEST(the_same_content_has_the_same_names) {
	struct progress p;
	struct ggufgen *gen = ggufgen_create();
	struct import *a, *b;
	int fd = model_fd(&small), other;
	size_t len;
	a = import_fd(fd, &p);
	/* other keys before it, so that everything lies elsewhere */
	ggufgen_string(gen, "general.description", "the same in another file");
	ggufgen_model_keys(gen, &small);
	ggufgen_vocab_keys(gen, small.vocab);
	ggufgen_model_tensors(gen, &small);
	uint8_t *data = ggufgen_bytes(gen, &len);
	other = ggufgen_fd(data, len);
	b = import_fd(other, &p);
	ck_assert_int_gt(p.calls, 1);
	ck_assert(content_equal(&import_manifest(a)->id, &import_manifest(b)->id));
	import_close(a);
	import_close(b);
	close(fd);
	close(other);
	free(data);
	ggufgen_destroy(gen);
}
END_TEST

START_TEST(scales_must_be_finite) {
	int fd = model_fd(&small);
	struct import *im = NULL;
	struct stat st;
	uint16_t infinity = 0x7c00;
	/* the last tensor is the head, 300 rows of 68 bytes and 16 of padding: the first scale of row 7 */
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(pwrite(fd, &infinity, 2, st.st_size - 16 - (300 - 7) * 68), 2);
	ck_assert_int_eq(import_open(&im, &fd, 1, "model", NULL, NULL, NULL, NULL, err, sizeof err), -EINVAL);
	ck_assert_str_eq(
	        err, "model: tensor output.weight has a scale that is not finite between rows 0 and 299");
	close(fd);
}
END_TEST

/* A model whose file does not say how text is cut into words. */
static int bpe_fd(void) {
	struct ggufgen_model m = small;
	struct ggufgen *gen = ggufgen_create();
	size_t len;
	m.vocab = 3;
	ggufgen_model_keys(gen, &m);
	ggufgen_string(gen, "tokenizer.ggml.model", "gpt2");
	ggufgen_strings(gen, "tokenizer.ggml.tokens", (const char *const[]){"a", "b", "ab"}, 3);
	ggufgen_strings(gen, "tokenizer.ggml.merges", (const char *const[]){"a b"}, 1);
	ggufgen_model_tensors(gen, &m);
	uint8_t *data = ggufgen_bytes(gen, &len);
	int fd = ggufgen_fd(data, len);
	free(data);
	ggufgen_destroy(gen);
	return fd;
}

/* Also what no other check would find: a byte of a record, or of the manifest's name. */
START_TEST(damaged_names_are_not_read) {
	const struct import_record record[] = {{(const uint8_t *)"one", 3}, {(const uint8_t *)"another", 7}};
	struct import_names names = {.weights = {{1, 2, 3}}, .count = 2, .record = (void *)record}, read;
	char key[CONTENT_HEX];
	struct content_id id = content_hash("a file", 6);
	uint8_t *good, bad[200];
	size_t len;
	content_hex(&id, key);
	int folder = open(store_names_dir(store), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(import_names_write(folder, key, &names), 0);
	ck_assert_int_eq(import_names_read(folder, key, &read), 0);
	ck_assert(read.count == 2 && content_equal(&read.weights, &names.weights));
	ck_assert(read.record[1].len == 7 && memcmp(read.record[1].data, "another", 7) == 0);
	import_names_clear(&read);
	ck_assert_int_eq(durable_read(folder, key, sizeof bad, &good, &len), 0);
	for (size_t i = 0; i < len; i++) {
		memcpy(bad, good, len);
		bad[i] ^= 1;
		ck_assert_int_eq(durable_write(folder, key, bad, len), 0);
		ck_assert_int_eq(import_names_read(folder, key, &read), -EBADMSG);
		ck_assert_int_eq(durable_write(folder, key, good, i), 0);
		ck_assert_int_eq(import_names_read(folder, key, &read), -EBADMSG);
	}
	/* whole, but of another file */
	struct content_id other = content_hash("another file", 12);
	content_hex(&other, key);
	ck_assert_int_eq(durable_write(folder, key, good, len), 0);
	ck_assert_int_eq(import_names_read(folder, key, &read), -EBADMSG);
	free(good);
	close(folder);
}
END_TEST

/* Stands for the tokenizer: it knows one pre-tokenizer. */
static int knows_x(const struct vocab *v, char *why, size_t len) {
	snprintf(why, len, "the pre-tokenizer is not x");
	return v->pre.len == 1 && *v->pre.s == 'x' ? 0 : -ENOTSUP;
}

/* What nobody could use is refused before anything is read or kept, and by a look at the header alone as well. */
START_TEST(a_vocabulary_is_checked_first) {
	struct import_options o = {.check = knows_x};
	struct progress p = {0};
	struct import *im = NULL;
	struct manifest *m = NULL;
	int fd = bpe_fd();
	for (int i = 0; i < 2; i++) {
		o.text.pre = i ? "y" : NULL;
		ck_assert_int_eq(import_open(&im, &fd, 1, "model", &o, store_names_dir(store), note_progress,
		                         &p, err, sizeof err),
		        -ENOTSUP);
		ck_assert_str_eq(err, "model: the pre-tokenizer is not x");
		ck_assert_int_eq(
		        import_metadata(&m, &fd, 1, "model", &o, store_names_dir(store), err, sizeof err),
		        -ENOTSUP);
		ck_assert_str_eq(err, "model: the pre-tokenizer is not x");
	}
	ck_assert_int_eq(p.calls, 0);
	ck_assert_int_eq(count_files("names"), 0);
	/* named, it is another model of the same weights, which are hashed once */
	o.text.pre = "x";
	ck_assert_int_eq(import_open(&im, &fd, 1, "model", &o, store_names_dir(store), note_progress, &p, err,
	                         sizeof err),
	        0);
	ck_assert_int_gt(p.calls, 1);
	struct content_id id = import_manifest(im)->id, head = import_manifest(im)->io[IO_HEAD].id;
	import_close(im);
	p = (struct progress){0};
	im = import_fd(fd, &p);
	ck_assert_int_eq(p.calls, 0);
	ck_assert(!content_equal(&import_manifest(im)->id, &id));
	ck_assert(content_equal(&import_manifest(im)->io[IO_HEAD].id, &head));
	import_close(im);
	ck_assert_int_eq(
	        import_metadata(&m, &fd, 1, "model", &o, store_names_dir(store), err, sizeof err), 0);
	ck_assert(content_equal(&m->id, &id));
	manifest_destroy(m);
	close(fd);
}
END_TEST

/* A file with RoPE tables for short and for long texts is two models of the same weights, which are hashed once. */
START_TEST(a_shorter_context_may_be_another_model) {
	struct ggufgen *gen = ggufgen_model(&small);
	struct import_options o = {.context = 32};
	struct progress p;
	struct import *im = NULL;
	struct manifest *m = NULL;
	size_t len;
	ggufgen_u32(gen, "llama.rope.scaling.original_context_length", 32);
	ggufgen_floats(gen, "rope_factors_short.weight", 8, 0, (const float[]){1, 1, 1, 1, 1, 1, 1, 1});
	ggufgen_floats(gen, "rope_factors_long.weight", 8, 0, (const float[]){1, 2, 3, 4, 5, 6, 7, 8});
	uint8_t *data = ggufgen_bytes(gen, &len);
	int fd = ggufgen_fd(data, len);
	im = import_fd(fd, &p);
	struct content_id id = import_manifest(im)->id, head = import_manifest(im)->io[IO_HEAD].id;
	ck_assert_int_gt(p.calls, 1);
	ck_assert_uint_eq(import_manifest(im)->hp.context, 128);
	import_close(im);
	p = (struct progress){0};
	ck_assert_int_eq(import_open(&im, &fd, 1, "model", &o, store_names_dir(store), note_progress, &p, err,
	                         sizeof err),
	        0);
	ck_assert_int_eq(p.calls, 0);
	ck_assert_uint_eq(import_manifest(im)->hp.context, 32);
	ck_assert(!content_equal(&import_manifest(im)->id, &id));
	ck_assert(content_equal(&import_manifest(im)->io[IO_HEAD].id, &head));
	import_close(im);
	/* hashed with the shorter one, they are those of the longer one as well */
	count_files("names");
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(import_open(&im, &fd, 1, "model", &o, store_names_dir(store), note_progress, &p, err,
	                         sizeof err),
	        0);
	ck_assert_int_gt(p.calls, 1);
	import_close(im);
	ck_assert_int_eq(
	        import_metadata(&m, &fd, 1, "model", NULL, store_names_dir(store), err, sizeof err), 0);
	ck_assert(content_equal(&m->id, &id));
	manifest_destroy(m);
	free(data);
	ggufgen_destroy(gen);
	close(fd);
}
END_TEST

/* A model of one layer, some of whose tensors are fused; a gate of two chunks. */
enum { FUSED_DIM = 64, FUSED_Q = 64, FUSED_KV = 32, FUSED_FFN = 61696 };
static struct ggufgen *fused_model(void) {
	const struct ggufgen_model m = {.dim = FUSED_DIM,
	        .layers = 1,
	        .heads = 4,
	        .kv_heads = 2,
	        .ffn = FUSED_FFN,
	        .vocab = 300,
	        .context = 128};
	struct ggufgen *g = ggufgen_create();
	ggufgen_model_keys(g, &m);
	ggufgen_vocab_keys(g, m.vocab);
	ggufgen_tensor(g, "token_embd.weight", KERN_Q8_0, FUSED_DIM, m.vocab, GGUFGEN_WEIGHTS);
	ggufgen_tensor(g, "output_norm.weight", KERN_F32, FUSED_DIM, 0, GGUFGEN_NORM);
	ggufgen_tensor(g, "blk.0.attn_norm.weight", KERN_F32, FUSED_DIM, 0, GGUFGEN_NORM);
	ggufgen_tensor(g, "blk.0.attn_output.weight", KERN_Q8_0, FUSED_Q, FUSED_DIM, GGUFGEN_WEIGHTS);
	ggufgen_tensor(g, "blk.0.ffn_norm.weight", KERN_F32, FUSED_DIM, 0, GGUFGEN_NORM);
	ggufgen_tensor(g, "blk.0.ffn_down.weight", KERN_Q8_0, FUSED_FFN, FUSED_DIM, GGUFGEN_WEIGHTS);
	ggufgen_tensor(g, "blk.0.ffn_up.weight", KERN_Q8_0, FUSED_DIM, 2 * FUSED_FFN, GGUFGEN_WEIGHTS);
	ggufgen_tensor(g, "blk.0.attn_qkv.bias", KERN_F16, FUSED_Q + 2 * FUSED_KV, 0, GGUFGEN_WEIGHTS);
	return g;
}

static int fused_fd(struct ggufgen *g) {
	size_t len;
	uint8_t *data = ggufgen_bytes(g, &len);
	int fd = ggufgen_fd(data, len);
	free(data);
	ggufgen_destroy(g);
	return fd;
}

/* The layer's tensor of a role is the `size` rows, or elements of a vector, from `first` on of a tensor of the file. */
static void ck_part(const struct import *im, const struct gguf *g, enum layer_role r, const char *of,
        uint64_t first, uint64_t size) {
	const struct manifest_tensor *mt = manifest_find(import_manifest(im), 0, r);
	const struct content_tensor *t = import_tensor(im, &mt->id);
	const struct gguf_tensor *whole = gguf_find(g, of);
	bool vector = whole->rows == 1;
	ck_assert_uint_eq(t->n, vector ? size : FUSED_DIM);
	ck_assert_uint_eq(t->rows, vector ? 1 : size);
	ck_assert(t->type == whole->type && mt->bytes == content_tensor_bytes(t));
	uint64_t at = vector ? kern_row_bytes(t->type, first) : first * kern_row_bytes(t->type, t->n);
	for (uint32_t i = 0; i < t->chunks; i++) {
		uint8_t *have, *want;
		size_t len;
		ck_assert_int_eq(import_chunk(im, &mt->id, i, &have, &len, err, sizeof err), 0);
		want = malloc(len);
		ck_assert_int_eq(gguf_read(whole, at, want, len), 0);
		ck_assert_int_eq(memcmp(have, want, len), 0);
		struct content_id name = content_hash(want, len);
		ck_assert(content_equal(&name, &t->chunk[i]));
		at += len;
		free(have);
		free(want);
	}
	move_tensor(im, &mt->id);
}

START_TEST(fused_tensors_are_imported_apart) {
	struct ggufgen *gen = fused_model();
	struct progress p;
	struct gguf *g;
	uint64_t kv = FUSED_Q, end = FUSED_Q + FUSED_KV;
	ggufgen_tensor(
	        gen, "blk.0.attn_qkv.weight", KERN_Q4_0, FUSED_DIM, FUSED_Q + 2 * FUSED_KV, GGUFGEN_WEIGHTS);
	int fd = fused_fd(gen);
	ck_assert_int_eq(gguf_open(&g, &fd, 1, "model", err, sizeof err), 0);
	struct import *im = import_fd(fd, &p);
	const struct manifest *m = import_manifest(im);
	ck_assert_uint_eq(p.done, manifest_layer_bytes(m, 0, 1) + manifest_io_bytes(m));
	ck_part(im, g, LAYER_Q, "blk.0.attn_qkv.weight", 0, FUSED_Q);
	ck_part(im, g, LAYER_K, "blk.0.attn_qkv.weight", kv, FUSED_KV);
	ck_part(im, g, LAYER_V, "blk.0.attn_qkv.weight", end, FUSED_KV);
	ck_part(im, g, LAYER_GATE, "blk.0.ffn_up.weight", 0, FUSED_FFN);
	ck_part(im, g, LAYER_UP, "blk.0.ffn_up.weight", FUSED_FFN, FUSED_FFN);
	ck_part(im, g, LAYER_Q_BIAS, "blk.0.attn_qkv.bias", 0, FUSED_Q);
	ck_part(im, g, LAYER_K_BIAS, "blk.0.attn_qkv.bias", kv, FUSED_KV);
	ck_part(im, g, LAYER_V_BIAS, "blk.0.attn_qkv.bias", end, FUSED_KV);
	ck_assert_uint_eq(import_tensor(im, &manifest_find(m, 0, LAYER_UP)->id)->chunks, 2);
	/* from the header, the same; from names that are remembered, too */
	struct manifest *meta = NULL;
	ck_assert_int_eq(import_metadata(&meta, &fd, 1, "model", NULL, NULL, err, sizeof err), 0);
	ck_assert_uint_eq(manifest_layer_bytes(meta, 0, 1), manifest_layer_bytes(m, 0, 1));
	manifest_destroy(meta);
	struct content_id id = m->id;
	import_close(im);
	im = import_fd(fd, &p);
	ck_assert_int_eq(p.calls, 0);
	ck_assert(content_equal(&import_manifest(im)->id, &id));
	import_close(im);
	/* a scale that is not finite is found in its row of the file: the ninth of the values */
	uint16_t infinity = 0x7c00;
	const struct gguf_tensor *qkv = gguf_find(g, "blk.0.attn_qkv.weight");
	ck_assert_int_eq(
	        pwrite(fd, &infinity, 2, (off_t)(qkv->at + (end + 8) * kern_row_bytes(KERN_Q4_0, FUSED_DIM))),
	        2);
	ck_assert_int_eq(import_open(&im, &fd, 1, "model", NULL, NULL, NULL, NULL, err, sizeof err), -EINVAL);
	ck_assert_str_eq(err,
	        "model: tensor blk.0.attn_qkv.weight has a scale that is not finite between rows 96 and 127");
	gguf_close(g);
	close(fd);
}
END_TEST

/* Fused tensors of another shape, and some that the file has apart as well. */
START_TEST(fused_tensors_must_fit) {
	static const struct {
		const char *name;
		uint64_t rows;
		const char *too, *says;
	} wrong[] = {
	        {"blk.0.attn_qkv.weight", 127, NULL,
	                "model: tensor blk.0.attn_qkv.weight has 127 rows of 64 elements where the model needs 128 rows of 64"},
	        {"blk.0.attn_qkv.weight", 128, "blk.0.attn_k.weight",
	                "model: Caravan does not know tensor blk.0.attn_k.weight"},
	        {"blk.0.attn_qkv.weight", 128, "blk.0.attn_q.weight",
	                "model: Caravan does not know tensor blk.0.attn_qkv.weight"},
	        {"blk.0.attn_v.weight", 32, NULL, "model: tensor blk.0.attn_q.weight is missing"},
	        {"blk.0.attn_qkv.weight", 128, "blk.0.ffn_gate.weight",
	                "model: tensor blk.0.ffn_gate.weight has 32 rows of 64 elements where the model needs 61696 rows of 64"},
	};
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		struct ggufgen *gen = fused_model();
		struct import *im = NULL;
		ggufgen_tensor(gen, wrong[i].name, KERN_Q4_0, FUSED_DIM, wrong[i].rows, GGUFGEN_WEIGHTS);
		if (wrong[i].too)
			ggufgen_tensor(gen, wrong[i].too, KERN_Q4_0, FUSED_DIM, 32, GGUFGEN_WEIGHTS);
		int fd = fused_fd(gen);
		ck_assert_int_lt(
		        import_open(&im, &fd, 1, "model", NULL, NULL, NULL, NULL, err, sizeof err), 0);
		ck_assert_str_eq(err, wrong[i].says);
		close(fd);
	}
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("import");
	TCase *t = tcase_create("import");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_model_goes_into_the_store);
	tcase_add_test(t, an_expert_is_content_by_itself);
	tcase_add_test(t, experts_of_other_shapes_are_refused_by_name);
	tcase_add_test(t, fused_experts_are_imported_apart);
	tcase_add_test(t, tensors_by_key_heads_are_imported_apart);
	tcase_add_test(t, names_are_remembered);
	tcase_add_test(t, damaged_names_are_not_read);
	tcase_add_test(t, a_vocabulary_is_checked_first);
	tcase_add_test(t, a_file_that_changes_while_it_is_hashed_fails_alone);
	tcase_add_test(t, a_file_that_changes_later_gives_no_chunk);
	tcase_add_test(t, an_import_can_be_stopped);
	tcase_add_test(t, a_tied_head_is_the_embedding);
	tcase_add_test(t, the_same_content_has_the_same_names);
	tcase_add_test(t, scales_must_be_finite);
	tcase_add_test(t, a_shorter_context_may_be_another_model);
	tcase_add_test(t, fused_tensors_are_imported_apart);
	tcase_add_test(t, fused_tensors_must_fit);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
