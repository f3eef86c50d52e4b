/* The store: what goes in comes out, byte for byte, or not at all. */
#include "tests/support/stored.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* The experts of a layer: each is packed as it would be alone, whatever the order of the chunks, and has the names of its chunks
 * whatever is beside it.  Several chunks are in one huge page (store_write_page). */
START_TEST(a_part_is_as_it_would_be_alone) {
	static const uint32_t orders[][6] = {
	        {0, 1, 2, 3, 4, 5}, {5, 4, 3, 2, 1, 0}, {1, 0, 3, 2, 5, 4}, {3, 1, 5, 0, 2, 4}};
	struct content_tensor t, alone;
	struct store_tensor *m;
	struct store_writer *w;
	uint8_t *data = make_parts(&t, KERN_F32, 16384, 3 * 72, 3);
	size_t part = 72 * kern_row_bytes(t.type, t.n);
	uint8_t *want = malloc(kern_packed_bytes(t.type, 72, t.n));
	ck_assert_uint_eq(t.chunks, 6); /* of 64 rows and of 8 */
	for (size_t k = 0; k < sizeof orders / sizeof *orders; k++) {
		ck_assert_int_eq(store_writer_create(&w, store, &t, err, sizeof err), 0);
		for (int i = 0; i < 6; i++)
			ck_assert_int_eq(put_chunk(w, &t, data, orders[k][i]), 0);
		ck_assert_int_eq(store_writer_commit(w), 0);
		store_writer_destroy(w);
		ck_assert_msg(store_map_tensor(store, &t.id, &m, err, sizeof err) == 0, "%s", err);
		ck_assert_uint_eq(m->record.parts, 3);
		for (size_t p = 0; p < 3; p++) {
			kern_pack(t.type, want, data + p * part, 72, t.n);
			ck_assert_mem_eq((const uint8_t *)m->packed + p * part, want, part);
		}
		store_unmap_tensor(m);
		ck_assert_int_eq(unlink(tensor_path(&t.id)), 0);
	}
	ck_assert_int_eq(content_tensor_init(&alone, t.type, t.n, 72, 1), 0);
	ck_assert_uint_eq(alone.chunks, 2);
	for (uint32_t i = 0; i < 2; i++) {
		uint64_t first, rows, size;
		content_chunk_extent(&alone, i, &first, &rows, &size);
		alone.chunk[i] = content_hash(data + part + first * kern_row_bytes(t.type, t.n), size);
		ck_assert(content_equal(&alone.chunk[i], &t.chunk[2 + i]));
	}
	content_tensor_clear(&alone);
	content_tensor_clear(&t);
	free(want);
	free(data);
}
END_TEST

/* A part that was written is there for the next writer, and can be read meanwhile; no other one is. */
START_TEST(writing_goes_on_with_the_parts_that_are_there) {
	struct content_tensor t;
	struct store_writer *w;
	uint8_t *got;
	size_t len;
	uint64_t first, rows, size;
	uint8_t *data = make_parts(&t, KERN_F32, 16384, 3 * 72, 3);
	ck_assert_int_eq(store_writer_create(&w, store, &t, err, sizeof err), 0);
	for (uint32_t i = 2; i < 4; i++) {
		ck_assert_int_eq(put_chunk(w, &t, data, i), 0);
		ck_assert_int_eq(store_part_read(store, &t.id, i, &got, &len), 0);
		content_chunk_extent(&t, i, &first, &rows, &size);
		ck_assert_uint_eq(len, size);
		ck_assert_mem_eq(got, data + first * kern_row_bytes(t.type, t.n), size);
		free(got);
	}
	store_writer_destroy(w);
	ck_assert_int_eq(store_writer_create(&w, store, &t, err, sizeof err), 0);
	for (uint32_t i = 0; i < t.chunks; i++)
		ck_assert(store_writer_has(w, i) == (i / 2 == 1));
	store_writer_destroy(w);
	content_tensor_clear(&t);
	free(data);
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

START_TEST(longer_tensors_are_absent) {
	struct content_tensor t;
	struct store_tensor *m = NULL;
	uint8_t *data = make_tensor(&t, KERN_Q4_0, 64, 40);
	struct stat st;
	put_tensor(&t, data);
	ck_assert_int_eq(stat(tensor_path(&t.id), &st), 0);
	ck_assert_int_eq(truncate(tensor_path(&t.id), st.st_size + 1), 0);
	ck_assert_int_eq(store_map_tensor(store, &t.id, &m, err, sizeof err), -ENOENT);
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

START_TEST(what_another_store_has_is_read_there) {
	char other[40], where[600];
	struct store *theirs = store, *mine;
	struct store_tensor *one, *same;
	struct content_tensor t, u;
	uint64_t bytes;
	uint8_t *data = make_tensor(&t, KERN_Q8_0, 64, 200), *more = make_tensor(&u, KERN_Q4_0, 64, 96);
	put_tensor(&t, data);
	put_tensor(&u, more);
	snprintf(other, sizeof other, "%s/mine", dir);
	ck_assert_int_eq(store_open(&mine, other, err, sizeof err), 0);
	ck_assert(!store_has_tensor(mine, &t.id));
	ck_assert_int_eq(store_borrow(mine, "/nowhere"), -ENOENT);
	ck_assert_ptr_null(store_lent_names(mine));
	ck_assert_int_eq(store_borrow(mine, other), -EEXIST);
	ck_assert_int_eq(store_borrow(mine, dir), 0);
	ck_assert(store_has_tensor(mine, &t.id) && store_keep_tensor(mine, &t.id));
	ck_assert_int_eq(store_map_tensor(mine, &t.id, &one, err, sizeof err), 0);
	ck_assert_int_eq(store_map_tensor(theirs, &t.id, &same, err, sizeof err), 0);
	ck_assert_int_eq(memcmp(one->packed, same->packed, one->packed_bytes), 0);
	store_unmap_tensor(same);
	/* its owner does not take it away meanwhile */
	ck_assert_int_eq(store_remove_tensor(theirs, &t.id, &bytes), -EBUSY);
	ck_assert_uint_gt(bytes, 64 * 200);
	ck_assert_uint_eq(store_find_damaged(mine, &(struct content_id){{0}}, 1), 0);
	/* nor do we: it is not ours to remove, whatever is wrong with it */
	ck_assert_int_eq(store_remove_tensor(mine, &t.id, &bytes), -ENOENT);
	store_drop_tensor(mine, one);
	store_unmap_tensor(one);
	ck_assert(store_has_tensor(theirs, &t.id));
	snprintf(where, sizeof where, "%s", tensor_path(&u.id));
	ck_assert_int_eq(truncate(where, 100), 0);
	ck_assert(!store_has_tensor(mine, &u.id));
	ck_assert_int_eq(access(where, F_OK), 0);
	ck_assert_int_eq(store_remove_tensor(theirs, &t.id, &bytes), 0);
	ck_assert(!store_has_tensor(mine, &t.id) && !store_has_tensor(theirs, &t.id));
	store_close(mine);
	free(data);
	free(more);
	content_tensor_clear(&t);
	content_tensor_clear(&u);
	static const char *const sub[] = {"blobs", "tensors", "names", "models", "."};
	for (size_t i = 0; i < sizeof sub / sizeof *sub; i++) {
		snprintf(where, sizeof where, "%s/%s", other, sub[i]);
		ck_assert_int_eq(rmdir(i < 4 ? where : other), 0);
	}
}
END_TEST

/* On a file system of its own. */
START_TEST(a_part_of_the_disk_stays_free) {
	char small[40];
	struct store *s;
	struct store_writer *w;
	struct content_tensor t, u;
	snprintf(small, sizeof small, "%s/small", dir);
	ck_assert_int_eq(mkdir(small, 0700), 0);
	if (mount_small(small, "8m")) {
		uint8_t *data = make_tensor(&t, KERN_Q8_0, 1024, 7400),
		        *more = make_tensor(&u, KERN_Q8_0, 1024, 6400);
		ck_assert_int_eq(store_open(&s, small, err, sizeof err), 0);
		/* 7.9 MB would fit, and leave less than a twentieth; 6.9 MB do */
		ck_assert_int_eq(store_writer_create(&w, s, &t, err, sizeof err), -ENOSPC);
		ck_assert_msg(
		        strstr(err, "is free on its file system, of which 0 MiB must stay free"), "%s", err);
		ck_assert_int_eq(store_writer_create(&w, s, &u, err, sizeof err), 0);
		ck_assert_int_eq(put_chunk(w, &u, more, 0), 0);
		store_writer_destroy(w);
		/* what is there of it has its room */
		ck_assert_int_eq(store_writer_create(&w, s, &u, err, sizeof err), 0);
		ck_assert(store_writer_has(w, 0));
		store_writer_destroy(w);
		/* 1.1 MB are left: a blob of one of them would fit */
		struct content_id blob;
		uint8_t *bytes = calloc(1, 1 << 20);
		ck_assert_int_eq(store_put_blob(s, bytes, 1 << 20, &blob), -ENOSPC);
		ck_assert(!store_has_blob(s, &blob));
		ck_assert_int_eq(store_put_blob(s, bytes, 1 << 16, &blob), 0);
		ck_assert(store_has_blob(s, &blob));
		store_close(s);
		free(bytes);
		ck_assert_int_eq(umount(small), 0);
		free(data);
		free(more);
		content_tensor_clear(&t);
		content_tensor_clear(&u);
	}
	ck_assert_int_eq(rmdir(small), 0);
}
END_TEST

START_TEST(folders_that_cannot_be) {
	struct store *s = NULL;
	ck_assert_int_eq(store_open(&s, "/dev/null/store", err, sizeof err), -ENOTDIR);
	ck_assert_str_eq(err, "/dev/null/store/blobs: Not a directory");
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
	tcase_add_test(t, a_part_is_as_it_would_be_alone);
	tcase_add_test(t, writing_goes_on_with_the_parts_that_are_there);
	tcase_add_test(t, nothing_remains_of_what_is_not_committed);
	tcase_add_test(t, what_was_written_is_gone_on_with);
	tcase_add_loop_test(t, damaged_tensors_are_absent, 0, COUNT(damage));
	tcase_add_test(t, longer_tensors_are_absent);
	tcase_add_test(t, used_tensors_are_not_removed);
	tcase_add_test(t, two_writers_of_one_tensor);
	tcase_add_test(t, leavings_are_swept);
	tcase_add_test(t, what_another_store_has_is_read_there);
	tcase_add_test(t, a_part_of_the_disk_stays_free);
	tcase_add_test(t, folders_that_cannot_be);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
