/* Importing a model file, and the store: what goes in comes out, byte for byte, or not at all. */
#include "shard/import.h"
#include "shard/store.h"
#include "tests/ggufgen.h"
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static char err[256], dir[] = "/tmp/check_store.XXXXXX", path[512];
static struct store *store;

static void setup(void) {
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_msg(store_open(&store, dir, err, sizeof err) == 0, "%s", err);
}

/* Files of one of the store's folders; the last one's path in `path`. */
static int count_files(const char *sub) {
	char folder[128];
	int count = 0;
	snprintf(folder, sizeof folder, "%s/%s", dir, sub);
	DIR *d = opendir(folder);
	ck_assert_ptr_nonnull(d);
	for (struct dirent *e; (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
		count++;
	}
	closedir(d);
	return count;
}

static void teardown(void) {
	static const char *const sub[] = {"blobs", "tensors", "names"};
	store_close(store);
	for (int i = 0; i < 3; i++) {
		while (count_files(sub[i]) > 0)
			ck_assert_int_eq(unlink(path), 0);
		snprintf(path, sizeof path, "%s/%s", dir, sub[i]);
		rmdir(path);
	}
	ck_assert_int_eq(rmdir(dir), 0);
}

/* Overwrites a byte of a file. */
static void spoil(const char *file, off_t at) {
	uint8_t byte;
	int fd = open(file, O_RDWR);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	byte ^= 0x55;
	ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static const char *tensor_path(const struct content_id *id) {
	static char p[512];
	char hex[CONTENT_HEX];
	snprintf(p, sizeof p, "%s/tensors/%s", dir, content_hex(id, hex));
	return p;
}

START_TEST(blobs) {
	struct content_id id, again;
	uint8_t *data;
	size_t len;
	ck_assert_int_eq(store_put_blob(store, (const uint8_t *)"bytes", 5, &id), 0);
	ck_assert_int_eq(store_put_blob(store, (const uint8_t *)"bytes", 5, &again), 0);
	ck_assert(content_equal(&id, &again));
	ck_assert(store_has_blob(store, &id));
	ck_assert_int_eq(count_files("blobs"), 1);
	ck_assert_int_eq(store_get_blob(store, &id, &data, &len), 0);
	ck_assert(len == 5 && memcmp(data, "bytes", 5) == 0);
	free(data);
	spoil(path, 3);
	ck_assert_int_eq(store_get_blob(store, &id, &data, &len), -EBADMSG);
	ck_assert(!store_has_blob(store, &id));
	ck_assert_int_eq(count_files("blobs"), 0);
	ck_assert_int_eq(store_get_blob(store, &id, &data, &len), -ENOENT);
	/* torn: taken as absent, and replaced */
	ck_assert_int_eq(store_put_blob(store, (const uint8_t *)"bytes", 5, &id), 0);
	count_files("blobs");
	ck_assert_int_eq(truncate(path, 2), 0);
	ck_assert_int_eq(store_put_blob(store, (const uint8_t *)"bytes", 5, &id), 0);
	ck_assert_int_eq(store_get_blob(store, &id, &data, &len), 0);
	free(data);
	ck_assert_int_eq(store_put_blob(store, (const uint8_t *)"", 0, &id), 0);
	ck_assert_int_eq(store_get_blob(store, &id, &data, &len), 0);
	ck_assert_uint_eq(len, 0);
	free(data);
}
END_TEST

/* A matrix of random canonical bytes and its record. */
static uint8_t *make_tensor(struct content_tensor *t, enum kern_type type, uint64_t n, uint64_t rows) {
	uint32_t state = (uint32_t)(type * 31 + rows);
	uint8_t *record;
	size_t len;
	ck_assert_int_eq(content_tensor_init(t, type, n, rows), 0);
	uint64_t bytes = content_tensor_bytes(t);
	uint8_t *data = malloc(bytes);
	for (uint64_t i = 0; i < bytes; i++) {
		state = state * 1664525 + 1013904223;
		data[i] = (uint8_t)(state >> 24);
	}
	for (uint32_t i = 0; i < t->chunks; i++) {
		uint64_t first, count, size;
		content_chunk_extent(t, i, &first, &count, &size);
		t->chunk[i] = content_hash(data + first * kern_row_bytes(type, n), size);
	}
	ck_assert_int_eq(content_tensor_encode(t, &record, &len), 0);
	free(record);
	return data;
}

static int put_chunk(
        struct store_writer *w, const struct content_tensor *t, const uint8_t *data, uint32_t i) {
	uint64_t first, count, size;
	content_chunk_extent(t, i, &first, &count, &size);
	return store_writer_chunk(w, i, data + first * kern_row_bytes(t->type, t->n), size);
}

static void put_tensor(const struct content_tensor *t, const uint8_t *data) {
	struct store_writer *w;
	ck_assert_int_eq(store_writer_create(&w, store, t, err, sizeof err), 0);
	for (uint32_t i = t->chunks; i-- > 0;)
		ck_assert_int_eq(put_chunk(w, t, data, i), 0);
	ck_assert_int_eq(store_writer_commit(w), 0);
	store_writer_destroy(w);
}

static const uint64_t row_counts[] = {1, 7, 8, 31, 32, 33, 100};

/* Every type, whole and partial strips and chunks. */
START_TEST(tensors_come_back) {
	for (uint32_t type = 0; type < KERN_TYPES; type++) {
		if (!kern_traits(type))
			continue;
		for (size_t k = 0; k < sizeof row_counts / sizeof *row_counts; k++) {
			struct content_tensor t;
			struct store_tensor *m;
			uint8_t *data = make_tensor(&t, (enum kern_type)type, 512, row_counts[k]);
			ck_assert(!store_has_tensor(store, &t.id));
			put_tensor(&t, data);
			ck_assert(store_has_tensor(store, &t.id));
			ck_assert_msg(store_map_tensor(store, &t.id, &m, err, sizeof err) == 0, "%s", err);
			ck_assert_uint_eq(m->packed_bytes, kern_packed_bytes(t.type, t.rows, t.n));
			ck_assert_uint_eq((uintptr_t)m->packed % 4096, 0);
			uint8_t *want = malloc(m->packed_bytes), *back = malloc(content_tensor_bytes(&t));
			kern_pack(t.type, want, data, t.rows, t.n);
			ck_assert_mem_eq(m->packed, want, m->packed_bytes);
			for (uint32_t i = 0; i < t.chunks; i++) {
				uint64_t first, count, size;
				content_chunk_extent(&t, i, &first, &count, &size);
				store_tensor_chunk(m, i, back + first * kern_row_bytes(t.type, t.n));
			}
			ck_assert_mem_eq(back, data, content_tensor_bytes(&t));
			free(want);
			free(back);
			store_unmap_tensor(m);
			content_tensor_clear(&t);
			free(data);
		}
	}
}
END_TEST

/* Several chunks, the last one short and of no whole strip. */
START_TEST(chunks_come_in_any_order) {
	struct content_tensor t;
	struct store_tensor *m;
	struct store_writer *w;
	uint8_t *data = make_tensor(&t, KERN_F32, 65536, 77), *buf = malloc(CONTENT_CHUNK_BYTES * 2);
	ck_assert_uint_eq(t.chunks, 3); /* 32 rows of 256 KiB */
	ck_assert_int_eq(store_writer_create(&w, store, &t, err, sizeof err), 0);
	ck_assert_int_eq(put_chunk(w, &t, data, 2), 0);
	ck_assert_int_eq(store_writer_commit(w), -EAGAIN);
	ck_assert(!store_has_tensor(store, &t.id));
	/* others' bytes, short bytes, no such chunk */
	ck_assert_int_eq(store_writer_chunk(w, 0, data + 32 * 262144, 32 * 262144), -EBADMSG);
	ck_assert_int_eq(store_writer_chunk(w, 0, data, 31 * 262144), -EBADMSG);
	ck_assert_int_eq(store_writer_chunk(w, 3, data, 32 * 262144), -EBADMSG);
	ck_assert_int_eq(put_chunk(w, &t, data, 0), 0);
	ck_assert_int_eq(put_chunk(w, &t, data, 0), 0);
	ck_assert_int_eq(store_writer_commit(w), -EAGAIN);
	ck_assert_int_eq(put_chunk(w, &t, data, 1), 0);
	ck_assert_int_eq(store_writer_commit(w), 0);
	ck_assert_int_eq(store_writer_commit(w), 0);
	store_writer_destroy(w);
	ck_assert_int_eq(store_map_tensor(store, &t.id, &m, err, sizeof err), 0);
	for (uint32_t i = 0; i < 3; i++) {
		uint64_t first, count, size;
		content_chunk_extent(&t, i, &first, &count, &size);
		store_tensor_chunk(m, i, buf);
		struct content_id id = content_hash(buf, size);
		ck_assert(content_equal(&id, &t.chunk[i]));
	}
	store_unmap_tensor(m);
	content_tensor_clear(&t);
	free(data);
	free(buf);
}
END_TEST

START_TEST(nothing_remains_of_what_is_not_committed) {
	struct content_tensor t;
	struct store_writer *w;
	uint8_t *data = make_tensor(&t, KERN_Q8_0, 64, 40);
	ck_assert_int_eq(store_writer_create(&w, store, &t, err, sizeof err), 0);
	ck_assert_int_eq(count_files("tensors"), 1);
	ck_assert_int_eq(put_chunk(w, &t, data, 0), 0);
	store_writer_destroy(w);
	ck_assert_int_eq(count_files("tensors"), 0);
	/* a record whose name is not its own */
	t.id.b[0] ^= 1;
	ck_assert_int_eq(store_writer_create(&w, store, &t, err, sizeof err), -EINVAL);
	ck_assert_int_eq(count_files("tensors"), 0);
	content_tensor_clear(&t);
	free(data);
}
END_TEST

/* The file of a tensor that is being written. */
static const char *part_path(const struct content_id *id) {
	static char p[512];
	char hex[CONTENT_HEX];
	snprintf(p, sizeof p, "%s/tensors/.part-%s", dir, content_hex(id, hex));
	return p;
}

static unsigned writer_count(const struct store_writer *w, const struct content_tensor *t) {
	unsigned n = 0;
	for (uint32_t i = 0; i < t->chunks; i++)
		n += store_writer_has(w, i);
	return n;
}

START_TEST(what_was_written_is_gone_on_with) {
	struct content_tensor t;
	struct store_writer *w, *second;
	struct store *other;
	struct store_tensor *m;
	uint8_t *got;
	size_t len;
	uint64_t first, rows, size;
	uint8_t *data = make_tensor(&t, KERN_F32, 16384, 300); /* five chunks of 64 rows, the last short */
	ck_assert_uint_eq(t.chunks, 5);
	ck_assert_int_eq(store_writer_create(&w, store, &t, err, sizeof err), 0);
	ck_assert_uint_eq(writer_count(w, &t), 0);
	for (uint32_t i = 1; i < 5; i += 1 + (i == 2))
		ck_assert_int_eq(put_chunk(w, &t, data, i), 0);
	/* what is there can be had meanwhile, as it was */
	ck_assert_int_eq(store_part_read(store, &t.id, 2, &got, &len), 0);
	content_chunk_extent(&t, 2, &first, &rows, &size);
	ck_assert_uint_eq(len, size);
	ck_assert_mem_eq(got, data + first * kern_row_bytes(t.type, t.n), size);
	free(got);
	ck_assert_int_eq(store_part_read(store, &t.id, -1, &got, &len), 0);
	struct content_id id = content_hash(got, len);
	ck_assert(content_equal(&id, &t.id));
	free(got);
	ck_assert_int_eq(store_part_read(store, &t.id, 5, &got, &len), -ENOENT);
	/* another daemon of the store writes its own, and harms nothing */
	ck_assert_int_eq(store_open(&other, dir, err, sizeof err), 0);
	ck_assert_int_eq(store_writer_create(&second, other, &t, err, sizeof err), 0);
	ck_assert_uint_eq(writer_count(second, &t), 0);
	ck_assert(store_writer_readable(w) && !store_writer_readable(second));
	store_writer_destroy(second);
	store_writer_destroy(w);
	ck_assert(!store_has_tensor(store, &t.id));
	/* a wrong bit is not taken over; nor does opening the store take anything away */
	struct stat st;
	ck_assert_int_eq(stat(part_path(&t.id), &st), 0);
	spoil(part_path(&t.id), st.st_size - 65536 * 8 - 5); /* the strip before the one that is filled up */
	store_close(other);
	ck_assert_int_eq(store_open(&other, dir, err, sizeof err), 0);
	ck_assert_int_eq(store_writer_create(&w, other, &t, err, sizeof err), 0);
	ck_assert_uint_eq(writer_count(w, &t), 2);
	ck_assert(!store_writer_has(w, 0) && store_writer_has(w, 1) && store_writer_has(w, 2) &&
	          !store_writer_has(w, 3) && !store_writer_has(w, 4) && !store_writer_has(w, 5));
	ck_assert_int_eq(store_writer_commit(w), -EAGAIN);
	for (uint32_t i = 0; i < 5; i++)
		ck_assert_int_eq(put_chunk(w, &t, data, i), 0);
	ck_assert_int_eq(store_writer_commit(w), 0);
	store_writer_destroy(w);
	ck_assert_int_eq(store_part_read(store, &t.id, 2, &got, &len), -ENOENT);
	ck_assert_int_eq(store_map_tensor(store, &t.id, &m, err, sizeof err), 0);
	store_unmap_tensor(m);
	ck_assert_int_eq(count_files("tensors"), 1);
	/* a part of another form is begun again, an old one swept, one of a tensor that is there too */
	ck_assert_int_eq(unlink(tensor_path(&t.id)), 0);
	ck_assert_int_eq(store_writer_create(&w, store, &t, err, sizeof err), 0);
	ck_assert_int_eq(put_chunk(w, &t, data, 0), 0);
	store_writer_destroy(w);
	spoil(part_path(&t.id), 12);
	ck_assert_int_lt(store_part_read(store, &t.id, 0, &got, &len), 0);
	ck_assert_int_eq(store_writer_create(&w, store, &t, err, sizeof err), 0);
	ck_assert_uint_eq(writer_count(w, &t), 0);
	ck_assert_int_eq(put_chunk(w, &t, data, 0), 0);
	store_writer_destroy(w);
	struct timespec old[2] = {{1000, 0}, {1000, 0}};
	ck_assert_int_eq(utimensat(AT_FDCWD, part_path(&t.id), old, 0), 0);
	store_close(other);
	ck_assert_int_eq(store_open(&other, dir, err, sizeof err), 0);
	ck_assert_int_eq(count_files("tensors"), 0);
	store_close(other);
	content_tensor_clear(&t);
	free(data);
}
END_TEST

/* Where a byte is altered, or where the file is cut (negative). */
static const off_t damage[] = {0, 8, 12, 16, 24, 32, 64, 72, 96, 120, -1, -4096, -63};

START_TEST(damaged_tensors_are_absent) {
	struct content_tensor t;
	struct store_tensor *m = NULL;
	uint8_t *data = make_tensor(&t, KERN_Q4_0, 64, 40 + 32 * 4096);
	struct stat st;
	put_tensor(&t, data);
	ck_assert_uint_ge(t.chunks, 2);
	ck_assert_int_eq(stat(tensor_path(&t.id), &st), 0);
	if (damage[_i] >= 0)
		spoil(tensor_path(&t.id), damage[_i]);
	else
		ck_assert_int_eq(truncate(tensor_path(&t.id), st.st_size + damage[_i]), 0);
	ck_assert_int_eq(store_map_tensor(store, &t.id, &m, err, sizeof err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err, "is not in the store"));
	ck_assert_int_ne(access(tensor_path(&t.id), F_OK), 0);
	/* and can be written again */
	put_tensor(&t, data);
	ck_assert(store_has_tensor(store, &t.id));
	content_tensor_clear(&t);
	free(data);
}
END_TEST

START_TEST(used_tensors_are_not_removed) {
	struct content_tensor t;
	struct store_tensor *m;
	struct store *other;
	uint8_t *data = make_tensor(&t, KERN_Q8_0, 64, 40);
	put_tensor(&t, data);
	ck_assert_int_eq(store_map_tensor(store, &t.id, &m, err, sizeof err), 0);
	/* spoilt while in use: absent for others, but it stays */
	spoil(tensor_path(&t.id), 8);
	ck_assert_int_eq(store_open(&other, dir, err, sizeof err), 0);
	ck_assert(!store_has_tensor(other, &t.id));
	ck_assert_int_eq(access(tensor_path(&t.id), F_OK), 0);
	store_unmap_tensor(m);
	ck_assert(!store_has_tensor(other, &t.id));
	ck_assert_int_ne(access(tensor_path(&t.id), F_OK), 0);
	/* one that is being removed is absent already */
	put_tensor(&t, data);
	int fd = open(tensor_path(&t.id), O_RDONLY);
	ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
	ck_assert(!store_has_tensor(other, &t.id));
	close(fd);
	ck_assert(store_has_tensor(other, &t.id));
	store_close(other);
	content_tensor_clear(&t);
	free(data);
}
END_TEST

START_TEST(two_writers_of_one_tensor) {
	struct content_tensor t;
	struct store *other;
	struct store_writer *a, *b;
	struct store_tensor *m, *n;
	uint8_t *data = make_tensor(&t, KERN_Q8_0, 64, 40);
	ck_assert_int_eq(store_open(&other, dir, err, sizeof err), 0);
	ck_assert_int_eq(store_writer_create(&a, store, &t, err, sizeof err), 0);
	ck_assert_int_eq(store_writer_create(&b, other, &t, err, sizeof err), 0);
	ck_assert_int_eq(put_chunk(a, &t, data, 0), 0);
	ck_assert_int_eq(put_chunk(b, &t, data, 0), 0);
	ck_assert_int_eq(store_writer_commit(a), 0);
	/* mapped while its writer still stands, and while another takes its place */
	ck_assert_int_eq(store_map_tensor(other, &t.id, &m, err, sizeof err), 0);
	ck_assert_int_eq(store_writer_commit(b), 0);
	store_writer_destroy(a);
	store_writer_destroy(b);
	ck_assert_int_eq(store_map_tensor(store, &t.id, &n, err, sizeof err), 0);
	ck_assert_mem_eq(m->packed, n->packed, m->packed_bytes);
	store_unmap_tensor(m);
	store_unmap_tensor(n);
	ck_assert_int_eq(count_files("tensors"), 1);
	store_close(other);
	content_tensor_clear(&t);
	free(data);
}
END_TEST

START_TEST(leavings_are_swept) {
	struct content_tensor t;
	struct store *other;
	struct store_writer *w;
	struct timespec old[2] = {{1000, 0}, {1000, 0}};
	uint8_t *data = make_tensor(&t, KERN_Q8_0, 64, 40);
	/* one of a dead writer, old; one of a living one, as old */
	snprintf(path, sizeof path, "%s/tensors/.new-0123456789abcdef", dir);
	int fd = open(path, O_CREAT | O_WRONLY, 0600);
	ck_assert_int_eq(futimens(fd, old), 0);
	close(fd);
	ck_assert_int_eq(store_writer_create(&w, store, &t, err, sizeof err), 0);
	ck_assert_int_eq(count_files("tensors"), 2);
	ck_assert_int_eq(store_open(&other, dir, err, sizeof err), 0);
	store_close(other);
	ck_assert_int_eq(count_files("tensors"), 1);
	ck_assert_int_eq(utimensat(AT_FDCWD, path, old, 0), 0);
	ck_assert_int_eq(store_open(&other, dir, err, sizeof err), 0);
	store_close(other);
	ck_assert_int_eq(count_files("tensors"), 1);
	ck_assert_int_eq(put_chunk(w, &t, data, 0), 0);
	ck_assert_int_eq(store_writer_commit(w), 0);
	store_writer_destroy(w);
	content_tensor_clear(&t);
	free(data);
}
END_TEST

START_TEST(folders_that_cannot_be) {
	struct store *s = NULL;
	ck_assert_int_eq(store_open(&s, "/dev/null/store", err, sizeof err), -ENOTDIR);
	ck_assert_str_eq(err, "/dev/null/store/blobs: Not a directory");
}
END_TEST

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
	ck_assert_msg(import_open(&im, &fd, 1, "model", store_names_dir(store), note_progress, p, err,
	                      sizeof err) == 0,
	        "%s", err);
	return im;
}

/* Moves what a record names from the import into the store. */
static void move_tensor(const struct import *im, const struct content_id *id) {
	const struct content_tensor *t = import_tensor(im, id);
	struct store_writer *w;
	size_t len;
	ck_assert_ptr_nonnull(t);
	ck_assert(content_equal(&t->id, id));
	ck_assert_int_eq(store_writer_create(&w, store, t, err, sizeof err), 0);
	for (uint32_t i = 0; i < t->chunks; i++) {
		const uint8_t *p = import_chunk(im, id, i, &len);
		ck_assert_ptr_nonnull(p);
		ck_assert_int_eq(store_writer_chunk(w, i, p, len), 0);
	}
	ck_assert_ptr_null(import_chunk(im, id, t->chunks, &len));
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
	ck_assert_uint_eq(p.total, manifest_layer_bytes(m, 0, 2) + manifest_end_bytes(m));
	ck_assert(m->hp.layers == 4 && m->end[END_HEAD].type == KERN_Q8_0);
	ck_assert(m->layer[0][LAYER_ATTN_NORM].type == KERN_F16 && m->layer[0][LAYER_UP].type == KERN_Q5_1);
	ck_assert(content_equal(&m->layer[2][LAYER_Q].id, &m->layer[0][LAYER_Q].id));
	ck_assert(!content_equal(&m->layer[1][LAYER_Q].id, &m->layer[0][LAYER_Q].id));
	ck_assert_uint_eq(import_vocab(im)->tokens, 300);
	/* every blob by its name */
	const struct content_id *blob[] = {
	        &m->id, &m->vocab, &m->layer[3][LAYER_DOWN].id, &m->end[END_NORM].id};
	for (int i = 0; i < 4; i++) {
		const uint8_t *data = import_blob(im, blob[i], &len);
		ck_assert_ptr_nonnull(data);
		struct content_id id = content_hash(data, len);
		ck_assert(content_equal(&id, blob[i]));
	}
	struct content_id none = content_hash("none", 4);
	ck_assert_ptr_null(import_blob(im, &none, &len));
	ck_assert_ptr_null(import_tensor(im, &none));
	ck_assert_ptr_null(import_chunk(im, &none, 0, &len));
	for (int r = 0; r < END_ROLES; r++)
		move_tensor(im, &m->end[r].id);
	for (uint32_t l = 0; l < 4; l++)
		for (int r = 0; r < LAYER_ROLES; r++)
			move_tensor(im, &m->layer[l][r].id);
	ck_assert_int_eq(count_files("tensors"), END_ROLES + 2 * LAYER_ROLES);
	import_close(im);
	close(fd);
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
	move_tensor(im, &import_manifest(im)->layer[1][LAYER_V].id);
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

START_TEST(an_import_can_be_stopped) {
	int fd = model_fd(&small);
	struct import *im = NULL;
	struct progress p = {.stop_at = 5};
	ck_assert_int_eq(
	        import_open(&im, &fd, 1, "model", store_names_dir(store), note_progress, &p, err, sizeof err),
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
	ck_assert(content_equal(&mf->end[END_HEAD].id, &mf->end[END_EMBED].id));
	ck_assert_int_eq(mf->end[END_HEAD].type, KERN_Q5_1);
	ck_assert_uint_eq(manifest_end_bytes(mf), mf->end[END_EMBED].bytes + mf->end[END_NORM].bytes);
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
	ck_assert_int_eq(import_open(&im, &fd, 1, "model", NULL, NULL, NULL, err, sizeof err), -EINVAL);
	ck_assert_str_eq(
	        err, "model: tensor output.weight has a scale that is not finite between rows 0 and 299");
	close(fd);
}
END_TEST

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

static Suite *suite(void) {
	Suite *s = suite_create("store");
	TCase *t = tcase_create("store");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, blobs);
	tcase_add_test(t, tensors_come_back);
	tcase_add_test(t, chunks_come_in_any_order);
	tcase_add_test(t, nothing_remains_of_what_is_not_committed);
	tcase_add_test(t, what_was_written_is_gone_on_with);
	tcase_add_loop_test(t, damaged_tensors_are_absent, 0, COUNT(damage));
	tcase_add_test(t, used_tensors_are_not_removed);
	tcase_add_test(t, two_writers_of_one_tensor);
	tcase_add_test(t, leavings_are_swept);
	tcase_add_test(t, folders_that_cannot_be);
	suite_add_tcase(s, t);
	t = tcase_create("import");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, a_model_goes_into_the_store);
	tcase_add_test(t, names_are_remembered);
	tcase_add_test(t, an_import_can_be_stopped);
	tcase_add_test(t, a_tied_head_is_the_embedding);
	tcase_add_test(t, the_same_content_has_the_same_names);
	tcase_add_test(t, scales_must_be_finite);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/check_main.h"
