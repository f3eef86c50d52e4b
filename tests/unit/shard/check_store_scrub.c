/* Scrub, repair and eviction of a store: damage is found and named, readers switch to the repaired file, limits are kept. */
#include "kernels/team.h"
#include "tests/support/stored.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#define N 512
#define ROWS 9000 /* of 272 bytes in Q4_0's place: two chunks in Q8_0 */

static struct content_tensor t;
static uint8_t *data;

static void begin(void) {
	setup();
	data = make_tensor(&t, KERN_Q8_0, N, ROWS);
	ck_assert_uint_eq(t.chunks, 2);
	put_tensor(&t, data);
}
static void finish(void) {
	content_tensor_clear(&t);
	free(data);
	teardown();
}

static struct store_tensor *mapped(void) {
	struct store_tensor *m;
	ck_assert_msg(store_map_tensor(store, &t.id, &m, err, sizeof err) == 0, "%s", err);
	return m;
}

/* Whether a tensor's matrix in memory is what it should be. */
static bool sound(const struct store_tensor *m) {
	uint8_t *want = malloc(m->packed_bytes);
	kern_pack(t.type, want, data, t.rows, t.n);
	bool same = memcmp(want, m->packed, m->packed_bytes) == 0;
	free(want);
	return same;
}

static int check_all(const struct store_tensor *m) {
	void *buf = malloc(store_check_buffer_bytes(m));
	int rc = 0;
	for (uint32_t i = 0; i < m->record.chunks && rc == 0; i++)
		rc = store_check_chunk(m, i, buf);
	free(buf);
	return rc;
}

/* ---- damage ---- */

START_TEST(every_rotten_byte_is_found) {
	struct store_tensor *m = mapped();
	struct stat st;
	ck_assert_int_eq(check_all(m), 0);
	ck_assert_int_eq(stat(tensor_path(&t.id), &st), 0);
	for (off_t at = (off_t)m->packed_at; at < st.st_size; at += 300007) {
		spoil(tensor_path(&t.id), at);
		ck_assert_msg(check_all(m) == -EBADMSG, "the byte at %ld", (long)at);
		spoil(tensor_path(&t.id), at);
		ck_assert_int_eq(check_all(m), 0);
	}
	ck_assert_int_eq(truncate(tensor_path(&t.id), st.st_size - 1), 0);
	ck_assert_int_eq(check_all(m), -EBADMSG);
	store_unmap_tensor(m);
}
END_TEST

/* Damage is in one part, and the others are known to be sound. */
/* Three parts of two chunks each. */
START_TEST(a_rotten_part_is_found_alone) {
	enum { PARTS = 3, CHUNKS = 2, EACH = 7712 };
	struct content_tensor experts;
	struct store_tensor *m;
	uint8_t *bytes = make_parts(&experts, KERN_Q8_0, N, PARTS * EACH, PARTS);
	put_tensor(&experts, bytes);
	ck_assert_uint_eq(experts.chunks, PARTS * CHUNKS);
	ck_assert_int_eq(store_map_tensor(store, &experts.id, &m, err, sizeof err), 0);
	void *buf = malloc(store_check_buffer_bytes(m));
	size_t part = EACH * kern_row_bytes(experts.type, experts.n);
	for (uint32_t p = 0; p < PARTS; p++)
		for (uint32_t end = 0; end < 2; end++) {
			off_t at = (off_t)(m->packed_at + p * part + (end ? part - 1 : 0));
			spoil(tensor_path(&experts.id), at);
			for (uint32_t i = 0; i < PARTS * CHUNKS; i++)
				ck_assert_int_eq(
				        store_check_chunk(m, i, buf), i == p * CHUNKS + end ? -EBADMSG : 0);
			for (uint32_t i = 0; i < PARTS; i++)
				ck_assert_int_eq(store_verify_part(&m->record, i,
				                         (const uint8_t *)m->packed + i * part),
				        i == p ? -EBADMSG : 0);
			spoil(tensor_path(&experts.id), at);
		}
	free(buf);
	store_unmap_tensor(m);
	content_tensor_clear(&experts);
	free(bytes);
}
END_TEST

START_TEST(heads_are_looked_at) {
	struct content_id *ids, none = {{1}};
	size_t count;
	ck_assert_int_eq(store_check_head(store, &t.id), 0);
	ck_assert_int_eq(store_check_head(store, &none), -ENOENT);
	ck_assert_int_eq(store_list_tensors(store, &ids, &count), 0);
	ck_assert(count == 1 && content_equal(&ids[0], &t.id));
	free(ids);
	spoil(tensor_path(&t.id), 12); /* the layout */
	ck_assert_int_eq(store_check_head(store, &t.id), -ESTALE);
	ck_assert_int_eq(count_files("tensors"), 0);
	put_tensor(&t, data);
	ck_assert_int_eq(truncate(tensor_path(&t.id), 5000), 0);
	ck_assert_int_eq(store_check_head(store, &t.id), -EBADMSG);
	ck_assert_int_eq(count_files("tensors"), 0);
	ck_assert_int_eq(store_list_tensors(store, &ids, &count), 0);
	ck_assert_uint_eq(count, 0);
	free(ids);
}
END_TEST

START_TEST(what_is_dropped_makes_room_for_a_good_one) {
	struct store_tensor *m = mapped(), *opened;
	struct content_id id;
	const void *at = m->packed;
	ck_assert_int_eq(store_open_tensor(store, &t.id, &opened, err, sizeof err), 0);
	ck_assert_ptr_null(opened->packed);
	ck_assert_uint_eq(store_find_damaged(store, &id, 1), 0);
	spoil(tensor_path(&t.id), (off_t)m->packed_at + 70000);
	ck_assert(!sound(m)); /* a map shows what the file has */
	store_drop_tensor(store, m);
	ck_assert_int_eq(count_files("tensors"), 0);
	/* both are in use, and bad from now on */
	struct content_id both[4];
	ck_assert_uint_eq(store_find_damaged(store, both, 4), 2);
	ck_assert(content_equal(&both[0], &t.id) && content_equal(&both[1], &t.id));
	ck_assert(store_tensor_damaged(m) && store_tensor_damaged(opened));
	ck_assert_int_eq(store_renew_tensor(store, &t.id), -ENOENT);
	put_tensor(&t, data);
	ck_assert_int_eq(store_renew_tensor(store, &t.id), 0);
	ck_assert(!store_tensor_damaged(m) && !store_tensor_damaged(opened));
	ck_assert_ptr_eq(m->packed, at);
	ck_assert(sound(m));
	ck_assert_int_eq(check_all(opened), 0); /* its descriptor is of the new file */
	ck_assert_uint_eq(store_find_damaged(store, both, 4), 0);
	/* a good one is not dropped for one that has gone already */
	struct store_tensor gone = *m;
	gone.file.inode++;
	store_drop_tensor(store, &gone);
	ck_assert_int_eq(count_files("tensors"), 1);
	store_unmap_tensor(opened);
	store_unmap_tensor(m);
}
END_TEST

START_TEST(the_new_file_is_locked_as_the_old_one_was) {
	struct store_tensor *m = mapped();
	struct store_limit limit = {.bytes = 1};
	store_drop_tensor(store, m);
	put_tensor(&t, data);
	ck_assert_int_eq(store_renew_tensor(store, &t.id), 0);
	store_set_limit(store, &limit);
	ck_assert_int_eq(store_make_space(store, 0, err, sizeof err), -EDQUOT);
	ck_assert_int_eq(count_files("tensors"), 1);
	store_unmap_tensor(m);
	ck_assert_int_eq(store_make_space(store, 0, err, sizeof err), 0);
	ck_assert_int_eq(count_files("tensors"), 0);
}
END_TEST

static size_t open_files(void) {
	size_t n = 0;
	for (int fd = 0; fd < 200; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* One that is mapped keeps no descriptor, and everything is as it was. */
START_TEST(a_mapped_tensor_needs_no_descriptor) {
	size_t before = open_files();
	struct store_tensor *m = mapped();
	struct store_limit limit = {.bytes = 1};
	struct content_id id;
	struct stat st;
	struct timespec old[2] = {{1000, 0}, {1000, 0}};
	store_close_descriptor(m);
	ck_assert_uint_eq(open_files(), before);
	ck_assert(m->fd == -1 && sound(m));
	ck_assert_int_eq(utimensat(AT_FDCWD, tensor_path(&t.id), old, 0), 0);
	store_touch_tensor(m);
	ck_assert_int_eq(stat(tensor_path(&t.id), &st), 0);
	ck_assert_int_gt(st.st_mtime, 1000);
	store_set_limit(store, &limit);
	ck_assert_int_eq(store_make_space(store, 0, err, sizeof err), -EDQUOT); /* the map holds the lock, */
	limit.bytes = 0;
	store_set_limit(store, &limit);
	ck_assert_uint_eq(store_find_damaged(store, &id, 1), 0);
	/* when every page of it has been replaced too: it is damaged until another file is there, whatever that one's number */
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(truncate(tensor_path(&t.id), (off_t)m->packed_at), 0);
		ck_assert(!sound(m));
		ck_assert_uint_eq(store_find_damaged(store, &id, 1), 1);
		ck_assert_int_eq(count_files("tensors"), 0);
		ck_assert_int_eq(store_renew_tensor(store, &t.id), -ENOENT);
		put_tensor(&t, data);
		ck_assert_int_eq(store_renew_tensor(store, &t.id), 0);
		ck_assert(sound(m) && !store_tensor_damaged(m));
	}
	limit.bytes = 1;
	store_set_limit(store, &limit);
	ck_assert_int_eq(store_make_space(store, 0, err, sizeof err), -EDQUOT); /* of the new file as well */
	/* it can have one again */
	ck_assert_int_eq(store_open_descriptor(store, m), 0);
	ck_assert_int_eq(check_all(m), 0);
	store_close_descriptor(m);
	store_unmap_tensor(m);
	ck_assert_uint_eq(open_files(), before);
	ck_assert_int_eq(store_make_space(store, 0, err, sizeof err), 0);
	ck_assert_int_eq(count_files("tensors"), 0);
}
END_TEST

START_TEST(what_another_has_replaced_is_renewed_without_a_word) {
	struct store_tensor *m = mapped();
	struct store *other;
	struct content_id id;
	ck_assert_int_eq(store_open(&other, dir, err, sizeof err), 0);
	spoil(tensor_path(&t.id), (off_t)m->packed_at + 9);
	/* the other process finds it, drops it and has it again */
	struct store_tensor *its;
	ck_assert_int_eq(store_open_tensor(other, &t.id, &its, err, sizeof err), 0);
	ck_assert_int_eq(check_all(its), -EBADMSG);
	store_drop_tensor(other, its);
	store_unmap_tensor(its);
	put_tensor(&t, data);
	ck_assert(!sound(m));
	ck_assert_uint_eq(store_find_damaged(store, &id, 1), 0);
	ck_assert(sound(m) && !store_tensor_damaged(m));
	store_close(other);
	store_unmap_tensor(m);
}
END_TEST

/* The map of a file that is shorter than it was. */
START_TEST(a_page_that_is_not_there_ends_nothing) {
	struct store_tensor *m = mapped();
	struct content_id id;
	off_t half = (off_t)m->packed_at + (off_t)(m->packed_bytes / 2 / 4096 * 4096);
	ck_assert_int_eq(truncate(tensor_path(&t.id), half), 0);
	ck_assert(!store_tensor_damaged(m));
	ck_assert(!sound(m)); /* reads all of it */
	ck_assert(store_tensor_damaged(m));
	ck_assert_uint_eq(((const uint8_t *)m->packed)[m->packed_bytes - 1], 0);
	ck_assert_uint_eq(store_find_damaged(store, &id, 1), 1);
	ck_assert_int_eq(count_files("tensors"), 0);
	put_tensor(&t, data);
	ck_assert_int_eq(store_renew_tensor(store, &t.id), 0);
	ck_assert(sound(m) && !store_tensor_damaged(m));
	store_unmap_tensor(m);
}
END_TEST

/* Each member reads its share of the pages. */
static void touch(struct team *team, void *arg, unsigned id) {
	const struct store_tensor *m = arg;
	size_t first, last;
	unsigned sum = 0;
	team_share(team, id, m->packed_bytes, 4096, &first, &last);
	for (size_t at = first; at < last; at += 4096)
		sum += ((volatile const uint8_t *)m->packed)[at];
	(void)sum;
}

/* The threads that compute are those that meet it: not one of them may have the signal blocked. */
START_TEST(a_page_that_is_not_there_ends_no_team) {
	struct store_tensor *m = mapped();
	struct team *team;
	ck_assert_int_eq(team_create(&team, 4, NULL), 0);
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(truncate(tensor_path(&t.id), (off_t)m->packed_at), 0);
		team_run(team, touch, m);
		ck_assert(store_tensor_damaged(m));
		struct content_id id;
		ck_assert_uint_eq(store_find_damaged(store, &id, 1), 1);
		put_tensor(&t, data);
		ck_assert_int_eq(store_renew_tensor(store, &t.id), 0);
		team_run(team, touch, m);
		ck_assert(sound(m) && !store_tensor_damaged(m));
	}
	team_destroy(team);
	store_unmap_tensor(m);
}
END_TEST

/* One that nobody has touched yet is found by its length. */
START_TEST(a_file_that_has_become_shorter_is_found) {
	struct store_tensor *m = mapped();
	struct content_id id;
	ck_assert_int_eq(truncate(tensor_path(&t.id), (off_t)(m->packed_at + m->packed_bytes) - 1), 0);
	ck_assert_uint_eq(store_find_damaged(store, &id, 1), 1);
	ck_assert(store_tensor_damaged(m));
	store_unmap_tensor(m);
	ck_assert_uint_eq(store_find_damaged(store, &id, 1), 0);
}
END_TEST

/* A bus error that is not ours still ends the process. */
START_TEST(other_bus_errors_are_what_they_were) {
	int status;
	store_unmap_tensor(mapped()); /* the handler is there */
	pid_t pid = fork();
	if (pid == 0) {
		int fd = memfd_create("short", MFD_CLOEXEC);
		volatile char *p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		_exit(p[0] ? 1 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(!(WIFEXITED(status) && WEXITSTATUS(status) == 0));
}
END_TEST

static void *come_and_go(void *arg) {
	struct store_tensor *m;
	char why[200];
	for (int i = 0; i < 300; i++)
		if (store_map_tensor(store, &t.id, &m, why, sizeof why) == 0)
			store_unmap_tensor(m);
	return arg;
}

START_TEST(the_list_may_change_while_a_page_is_missing) {
	struct store_tensor *m = mapped();
	volatile const uint8_t *p = m->packed;
	pthread_t thread[2];
	struct content_id id;
	unsigned sum = 0;
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&thread[i], NULL, come_and_go, NULL), 0);
	for (int round = 0; round < 10; round++) {
		ck_assert_int_eq(truncate(tensor_path(&t.id), (off_t)m->packed_at), 0);
		for (size_t at = 0; at < m->packed_bytes; at += 4096)
			sum += p[at];
		while (store_find_damaged(store, &id, 1) == 0 && !store_tensor_damaged(m))
			;
		put_tensor(&t, data);
		ck_assert_int_eq(store_renew_tensor(store, &t.id), 0);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	ck_assert(sum == 0 && sound(m));
	store_unmap_tensor(m);
}
END_TEST

/* ---- copies in huge pages ---- */

#define TMPFS 0x01021994 /* its files are memory whatever one does */

static const atomic_bool go_on;

static struct store_tensor *copied(const struct content_id *id) {
	struct store_tensor *m;
	ck_assert_msg(store_map_tensor(store, id, &m, err, sizeof err) == 0, "%s", err);
	store_close_descriptor(m);
	ck_assert(store_can_copy(m));
	ck_assert_int_eq(store_align_map(m), 0);
	ck_assert_uint_eq((uintptr_t)m->map % STORE_HUGE_PAGE, 0);
	ck_assert_int_eq(store_copy_tensor(store, m, &go_on), 0);
	ck_assert(store_tensor_copied(m));
	return m;
}

/* How much of a tensor's map is of a file, and how much of the rest is in huge pages; bytes. */
static void look_at_map(const struct store_tensor *m, size_t *of_file, size_t *huge) {
	char line[600];
	uintptr_t from = 0, to = 0, inode = 0, first = (uintptr_t)m->map, last = first + m->map_bytes;
	size_t kilobytes;
	FILE *f = fopen("/proc/self/smaps", "r");
	ck_assert_ptr_nonnull(f);
	*of_file = *huge = 0;
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%lx-%lx %*s %*s %*s %lu", &from, &to, &inode) == 3) {
			from = from > first ? from : first;
			to = to < last ? to : last;
			*of_file += from < to && inode ? to - from : 0;
		} else if (from < to && !inode && sscanf(line, "AnonHugePages: %zu", &kilobytes) == 1)
			*huge += kilobytes * 1024;
	}
	fclose(f);
}

/* Whether the system gives huge pages to those who ask. */
static bool has_huge_pages(void) {
	char line[100] = "";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "r");
	if (f && !fgets(line, sizeof line, f))
		line[0] = 0;
	if (f)
		fclose(f);
	return f && !strstr(line, "[never]");
}

/* Bytes of a file in the page cache. */
static size_t cached(const struct content_id *id) {
	unsigned char *in = NULL;
	struct stat st;
	size_t n = 0;
	int fd = open(tensor_path(id), O_RDONLY);
	ck_assert(fd >= 0 && fstat(fd, &st) == 0);
	size_t bytes = (size_t)st.st_size, pages = (bytes + 4095) / 4096;
	void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
	ck_assert(map != MAP_FAILED && (in = calloc(pages, 1)));
	ck_assert_int_eq(mincore(map, bytes, in), 0);
	for (size_t i = 0; i < pages; i++)
		n += in[i] & 1;
	free(in);
	munmap(map, bytes);
	close(fd);
	return n * 4096;
}

static bool on_tmpfs(void) {
	struct statfs fs;
	return statfs(dir, &fs) == 0 && fs.f_type == TMPFS;
}

/* Of several pieces. */
START_TEST(a_copy_has_the_same_bytes_in_other_pages) {
	struct content_tensor wide;
	struct store_limit limit = {.bytes = 1};
	size_t of_file, huge;
	uint8_t *plain = make_tensor(&wide, KERN_Q8_0, N, 2 * STORE_COPY_PIECE / 544 + 3000);
	put_tensor(&wide, plain);
	struct store_tensor *m = copied(&wide.id);
	ck_assert_uint_gt(m->map_bytes, 2 * STORE_COPY_PIECE);
	uint8_t *want = malloc(m->packed_bytes);
	kern_pack(wide.type, want, plain, wide.rows, wide.n);
	ck_assert(memcmp(want, m->packed, m->packed_bytes) == 0);
	look_at_map(m, &of_file, &huge);
	ck_assert_uint_eq(of_file, 0);
	printf("# in huge pages: %zu of %zu bytes\n", huge, m->map_bytes);
	if (has_huge_pages()) /* which may be scarce */
		ck_assert_uint_ge(huge, m->map_bytes / 2);
	if (!on_tmpfs())
		ck_assert_uint_le(cached(&wide.id), 2 * STORE_HUGE_PAGE);
	/* the file is in use as before */
	store_set_limit(store, &limit);
	ck_assert_int_eq(store_make_space(store, 0, err, sizeof err), -EDQUOT);
	store_unmap_tensor(m);
	ck_assert_int_eq(store_make_space(store, 0, err, sizeof err), 0);
	content_tensor_clear(&wide);
	free(want);
	free(plain);
}
END_TEST

START_TEST(small_tensors_stay_mapped) {
	struct content_tensor few;
	struct store_tensor *m;
	uint8_t *plain = make_tensor(&few, KERN_Q8_0, N, 100);
	put_tensor(&few, plain);
	ck_assert_int_eq(store_map_tensor(store, &few.id, &m, err, sizeof err), 0);
	ck_assert(!store_can_copy(m));
	store_unmap_tensor(m);
	content_tensor_clear(&few);
	free(plain);
}
END_TEST

/* The copy is spoiled, so that only the new file can be sound. */
START_TEST(a_renewed_tensor_is_mapped_and_can_be_copied_again) {
	struct store_tensor *m = copied(&t.id);
	struct content_id id;
	size_t of_file, huge;
	for (int round = 0; round < 2; round++) {
		uint8_t *at = (uint8_t *)m->map + STORE_HUGE_PAGE;
		ck_assert(sound(m));
		ck_assert_int_eq(mprotect(at, 4096, PROT_READ | PROT_WRITE), 0);
		*at ^= 1;
		ck_assert(!sound(m));
		ck_assert_int_eq(truncate(tensor_path(&t.id), (off_t)m->packed_at), 0);
		ck_assert_uint_eq(store_find_damaged(store, &id, 1), 1);
		ck_assert(store_tensor_damaged(m));
		put_tensor(&t, data);
		ck_assert_int_eq(store_renew_tensor(store, &t.id), 0);
		ck_assert(!store_tensor_damaged(m) && !store_tensor_copied(m) && sound(m));
		look_at_map(m, &of_file, &huge);
		ck_assert_uint_eq(of_file, m->map_bytes);
		ck_assert_int_eq(store_copy_tensor(store, m, &go_on), 0);
		ck_assert(store_tensor_copied(m));
		look_at_map(m, &of_file, &huge);
		ck_assert_uint_eq(of_file, 0);
	}
	ck_assert(sound(m));
	store_unmap_tensor(m);
}
END_TEST

/* A file that is damaged, or ends too soon, before it is copied. */
START_TEST(nothing_damaged_is_copied) {
	struct store_tensor *m = mapped();
	struct content_id id;
	ck_assert_int_eq(store_align_map(m), 0);
	for (int round = 0; round < 2; round++) {
		if (round)
			ck_assert_int_eq(truncate(tensor_path(&t.id), (off_t)m->packed_at + 3000000), 0);
		else
			spoil(tensor_path(&t.id), (off_t)m->packed_at + 3000000);
		ck_assert_int_eq(store_copy_tensor(store, m, &go_on), -EAGAIN);
		ck_assert(!store_tensor_copied(m));
		if (round == 0) /* one that is too short is no file of the store: no such file is opened */
			ck_assert(store_tensor_damaged(m));
		ck_assert_uint_eq(store_find_damaged(store, &id, 1), 1);
		ck_assert_int_eq(store_copy_tensor(store, m, &go_on), -EAGAIN); /* there is no file */
		put_tensor(&t, data);
		/* the map is still of the old one */
		ck_assert_int_eq(store_copy_tensor(store, m, &go_on), -EAGAIN);
		ck_assert(!sound(m) && !store_tensor_copied(m));
		ck_assert_int_eq(store_renew_tensor(store, &t.id), 0);
		ck_assert(sound(m) && !store_tensor_copied(m));
	}
	ck_assert_int_eq(store_copy_tensor(store, m, &go_on), 0);
	ck_assert(sound(m) && store_tensor_copied(m));
	store_unmap_tensor(m);
}
END_TEST

static void *copy_again(void *arg) {
	struct store_tensor *m = arg;
	for (int i = 0; i < 60; i++)
		ck_assert_int_eq(store_copy_tensor(store, m, &go_on), 0);
	return NULL;
}

/* Whoever reads meanwhile reads the same; and copying can be stopped. */
START_TEST(a_tensor_may_be_read_while_it_is_copied) {
	struct store_tensor *m = mapped();
	uint8_t *want = malloc(m->packed_bytes);
	const atomic_bool stop = true;
	pthread_t thread;
	kern_pack(t.type, want, data, t.rows, t.n);
	ck_assert_int_eq(store_align_map(m), 0);
	ck_assert_int_eq(store_copy_tensor(store, m, &stop), -ECANCELED);
	ck_assert(sound(m) && !store_tensor_copied(m));
	ck_assert_int_eq(pthread_create(&thread, NULL, copy_again, m), 0);
	for (int i = 0; i < 200; i++)
		ck_assert(memcmp(want, m->packed, m->packed_bytes) == 0);
	pthread_join(thread, NULL);
	ck_assert(store_tensor_copied(m));
	store_unmap_tensor(m);
	free(want);
}
END_TEST

/* ---- bounds ---- */

static struct content_tensor small[6];
static uint8_t *bytes[6];
static struct {
	struct content_id gone[8];
	bool wanted[8];
	int count;
	unsigned want; /* bit i: small[i] */
} seen;

static bool want(void *arg, const struct content_id *id) {
	(void)arg;
	for (int i = 0; i < 6; i++)
		if (content_equal(&small[i].id, id))
			return seen.want >> i & 1;
	return false;
}

static void note(void *arg, const struct content_id *id, uint64_t size, bool wanted) {
	(void)arg;
	ck_assert_uint_gt(size, 4096);
	seen.gone[seen.count] = *id;
	seen.wanted[seen.count++] = wanted;
}

/* Six tensors of about a MiB, needed in this order. */
static void fill(void) {
	store_drop_tensor(store, &(struct store_tensor){.record = t, .fd = -1});
	unlink(tensor_path(&t.id));
	for (int i = 0; i < 6; i++) {
		bytes[i] = make_tensor(&small[i], KERN_Q8_0, N, 2000 + (uint64_t)i);
		put_tensor(&small[i], bytes[i]);
		struct timespec when[2] = {{1000 + i, 0}, {1000 + i, 0}};
		ck_assert_int_eq(utimensat(AT_FDCWD, tensor_path(&small[i].id), when, 0), 0);
	}
	memset(&seen, 0, sizeof seen);
}

static void empty(void) {
	for (int i = 0; i < 6; i++) {
		content_tensor_clear(&small[i]);
		free(bytes[i]);
	}
}

static bool is_there(int i) {
	return store_has_tensor(store, &small[i].id);
}

START_TEST(the_least_recently_needed_go_first) {
	fill();
	uint64_t all = store_bytes(store);
	store_set_limit(store, &(struct store_limit){.bytes = all, .wanted = want, .evicted = note});
	ck_assert_int_eq(store_make_space(store, 0, err, sizeof err), 0);
	ck_assert_int_eq(seen.count, 0);
	ck_assert(store_keep_tensor(store, &small[0].id)); /* needed now */
	ck_assert_int_eq(store_make_space(store, 1, err, sizeof err), 0);
	ck_assert_int_eq(seen.count, 1);
	ck_assert(content_equal(&seen.gone[0], &small[1].id) && !seen.wanted[0]);
	ck_assert(is_there(0) && !is_there(1) && is_there(2));
	/* looking is not needing */
	ck_assert_int_eq(store_make_space(store, all - store_bytes(store) + 1, err, sizeof err), 0);
	ck_assert(!is_there(2) && is_there(3));
	/* writing makes room for itself */
	store_set_limit(store, &(struct store_limit){.bytes = all - 1, .wanted = want, .evicted = note});
	put_tensor(&small[1], bytes[1]);
	put_tensor(&small[2], bytes[2]);
	ck_assert_uint_le(store_bytes(store), all);
	ck_assert(is_there(1) && is_there(2) && !is_there(3));
	empty();
}
END_TEST

START_TEST(what_is_wanted_goes_last_and_is_told) {
	fill();
	seen.want = 1u << 0 | 1u << 1;
	store_set_limit(
	        store, &(struct store_limit){.bytes = store_bytes(store), .wanted = want, .evicted = note});
	ck_assert_int_eq(store_make_space(store, 4u << 20, err, sizeof err), 0);
	ck_assert_int_eq(seen.count, 4);
	for (int i = 0; i < 4; i++)
		ck_assert(!seen.wanted[i] && content_equal(&seen.gone[i], &small[i + 2].id));
	ck_assert_int_eq(store_make_space(store, 5u << 20, err, sizeof err), 0);
	ck_assert(seen.count == 5 && seen.wanted[4] && content_equal(&seen.gone[4], &small[0].id));
	empty();
}
END_TEST

START_TEST(what_is_pinned_stays_and_may_come_back) {
	struct store_pin *pin[2];
	fill();
	uint64_t each = store_bytes(store) / 6;
	struct content_id first[2] = {small[1].id, small[0].id}, later = small[5].id;
	ck_assert_int_eq(store_make_space(store, 0, err, sizeof err), 0);
	store_set_limit(
	        store, &(struct store_limit){.bytes = store_bytes(store), .wanted = want, .evicted = note});
	ck_assert_int_eq(store_pin(&pin[0], store, first, 2), 0);
	ck_assert_int_eq(store_make_space(store, 7 * each / 2, err, sizeof err), 0);
	ck_assert(is_there(0) && is_there(1) && !is_there(2) && !is_there(5));
	/* one that the store gets after it was pinned */
	ck_assert_int_eq(store_pin(&pin[1], store, &later, 1), 0);
	put_tensor(&small[5], bytes[5]);
	put_tensor(&small[2], bytes[2]);
	ck_assert_int_eq(store_make_space(store, 7 * each / 2, err, sizeof err), -EDQUOT);
	ck_assert(is_there(0) && is_there(1) && !is_there(2) && is_there(5));
	store_unpin(pin[0]);
	ck_assert_int_eq(store_make_space(store, 9 * each / 2, err, sizeof err), 0);
	ck_assert(!is_there(0) && !is_there(1) && is_there(5));
	store_unpin(pin[1]);
	ck_assert_int_eq(store_make_space(store, 6 * each, err, sizeof err), 0);
	ck_assert(!is_there(5));
	empty();
}
END_TEST

START_TEST(what_is_in_use_stays_whoever_uses_it) {
	struct store *other;
	struct store_tensor *used[2];
	struct store_writer *w;
	fill();
	ck_assert_int_eq(store_open(&other, dir, err, sizeof err), 0);
	ck_assert_int_eq(store_map_tensor(other, &small[0].id, &used[0], err, sizeof err), 0);
	ck_assert_int_eq(store_open_tensor(store, &small[1].id, &used[1], err, sizeof err), 0);
	store_set_limit(
	        store, &(struct store_limit){.bytes = store_bytes(store), .wanted = want, .evicted = note});
	/* room for two in use and two more, not three */
	uint64_t each = store_bytes(store) / 6;
	ck_assert_int_eq(store_make_space(store, 7 * each / 2, err, sizeof err), 0);
	ck_assert(is_there(0) && is_there(1) && !is_there(2) && !is_there(3) && !is_there(5));
	ck_assert_int_eq(store_make_space(store, 9 * each / 2, err, sizeof err), -EDQUOT);
	ck_assert_ptr_nonnull(strstr(err, "MiB of it is in use"));
	/* the writer says so */
	struct content_tensor big;
	uint8_t *its = make_tensor(&big, KERN_Q8_0, N, 12000);
	ck_assert_int_eq(store_writer_create(&w, store, &big, err, sizeof err), -EDQUOT);
	ck_assert_ptr_nonnull(strstr(err, "is in use"));
	content_tensor_clear(&big);
	free(its);
	store_unmap_tensor(used[0]);
	store_unmap_tensor(used[1]);
	store_close(other);
	empty();
}
END_TEST

static bool is_first(void *arg, const struct content_id *id) {
	return content_equal(arg, id);
}

START_TEST(room_is_what_can_be_written) {
	struct content_tensor three[3];
	struct store_space space;
	struct content_id keep;
	uint64_t size[3];
	/* a small disk keeps a twentieth of it, a large one a GiB */
	ck_assert_uint_eq(store_reserve(2000), 100);
	ck_assert_uint_eq(store_reserve(1ull << 50), STORE_RESERVE);
	for (int i = 0; i < 3; i++) {
		uint8_t *plain = make_tensor(&three[i], KERN_Q8_0, 64, 8 * (size_t)(i + 1));
		put_tensor(&three[i], plain);
		free(plain);
		size[i] = store_tensor_bytes(store, &three[i].id);
	}
	ck_assert_int_eq(store_space(store, NULL, 0, &space), 0);
	ck_assert_uint_ge(space.bytes, size[0] + size[1] + size[2]);
	ck_assert_uint_gt(space.filesystem, 0);
	ck_assert_uint_lt(space.free, space.filesystem);
	/* within a bound: what no model needs can go; what is kept by name, or wanted, stays */
	uint64_t limit = space.bytes + 1000;
	store_set_limit(store, &(struct store_limit){.bytes = limit});
	ck_assert_int_eq(store_space(store, NULL, 0, &space), 0);
	ck_assert_uint_eq(space.free, limit);
	keep = three[1].id;
	ck_assert_int_eq(store_space(store, &keep, 1, &space), 0);
	ck_assert_uint_eq(space.free, limit - size[1]);
	store_set_limit(
	        store, &(struct store_limit){.bytes = limit, .wanted = is_first, .arg = &three[0].id});
	ck_assert_int_eq(store_space(store, &keep, 1, &space), 0);
	ck_assert_uint_eq(space.free, limit - size[0] - size[1]);
	store_set_limit(store, &(struct store_limit){.bytes = 10, .wanted = is_first, .arg = &three[0].id});
	ck_assert_int_eq(store_space(store, NULL, 0, &space), 0);
	ck_assert_uint_eq(space.free, 0);
	store_set_limit(store, &(struct store_limit){0});
	for (int i = 0; i < 3; i++)
		content_tensor_clear(&three[i]);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("store_scrub");
	TCase *c = tcase_create("scrub");
	tcase_add_checked_fixture(c, begin, finish);
	tcase_set_timeout(c, 120);
	tcase_add_test(c, every_rotten_byte_is_found);
	tcase_add_test(c, a_rotten_part_is_found_alone);
	tcase_add_test(c, heads_are_looked_at);
	tcase_add_test(c, what_is_dropped_makes_room_for_a_good_one);
	tcase_add_test(c, the_new_file_is_locked_as_the_old_one_was);
	tcase_add_test(c, a_mapped_tensor_needs_no_descriptor);
	tcase_add_test(c, what_another_has_replaced_is_renewed_without_a_word);
	tcase_add_test(c, a_page_that_is_not_there_ends_nothing);
	tcase_add_test(c, a_page_that_is_not_there_ends_no_team);
	tcase_add_test(c, a_file_that_has_become_shorter_is_found);
	tcase_add_test(c, other_bus_errors_are_what_they_were);
	tcase_add_test(c, the_list_may_change_while_a_page_is_missing);
	tcase_add_test(c, a_copy_has_the_same_bytes_in_other_pages);
	tcase_add_test(c, small_tensors_stay_mapped);
	tcase_add_test(c, a_renewed_tensor_is_mapped_and_can_be_copied_again);
	tcase_add_test(c, nothing_damaged_is_copied);
	tcase_add_test(c, a_tensor_may_be_read_while_it_is_copied);
	tcase_add_test(c, the_least_recently_needed_go_first);
	tcase_add_test(c, what_is_wanted_goes_last_and_is_told);
	tcase_add_test(c, what_is_pinned_stays_and_may_come_back);
	tcase_add_test(c, room_is_what_can_be_written);
	tcase_add_test(c, what_is_in_use_stays_whoever_uses_it);
	suite_add_tcase(s, c);
	return s;
}

#include "tests/unit/check_main.h"
