/* A store of packed layout 1 is converted: afterwards its files are those that a fresh import writes, byte for byte. */
#include "kernels/pack.h"
#include "shard/store/convert.h"
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
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define HEAD 64   /* bytes before the record (doc/protocol.md, "Tensor file") */
#define LAYOUT 12 /* where the head has the revision */

/* ---- a disk that fills up, in the place of the C library's calls ---- */

/* Bytes that it takes, when it cannot give a file its room beforehand; -1: the disk is the real one. */
static int64_t disk_room = -1;

int fallocate(int fd, int mode, off_t at, off_t len) {
	if (disk_room < 0)
		return (int)syscall(SYS_fallocate, fd, mode, at, len);
	errno = EOPNOTSUPP;
	return -1;
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at) {
	if (disk_room >= 0 && (uint64_t)disk_room < len) {
		errno = ENOSPC;
		return -1;
	}
	if (disk_room >= 0)
		disk_room -= (int64_t)len;
	return (ssize_t)syscall(SYS_pwrite64, fd, data, len, at);
}

/* ---- what version 1 wrote ---- */

/* Packs rows as layout 1 did: of a strip the heads of all blocks, then the bodies of all; zeroes for the rows that fill it up. */
static void pack_layout1(enum kern_type type, uint8_t *dst, const uint8_t *src, size_t rows, size_t n) {
	const struct kern_field *field = kern_layout(type)->field;
	size_t row = kern_row_bytes(type, n), block = kern_traits(type)->bytes;
	memset(dst, 0, kern_packed_bytes(type, rows, n));
	for (size_t first = 0; first < rows; first += KERN_STRIP) {
		uint8_t *to = dst + first * row;
		for (int body = 0; body < 2; body++)
			for (size_t b = 0; b < row; b += block)
				for (int f = 0; f < KERN_FIELDS && field[f].length; f++)
					for (size_t i = 0; field[f].body == body && i < field[f].length;
					        i += field[f].unit)
						for (size_t r = first; r < first + KERN_STRIP;
						        r++, to += field[f].unit)
							if (r < rows)
								memcpy(to,
								        src + r * row + b + field[f].offset +
								                i,
								        field[f].unit);
	}
}

struct file {
	uint8_t *bytes;
	size_t len;
};

static struct file read_file(const char *name) {
	struct file f;
	struct stat st;
	int fd = open(name, O_RDONLY);
	ck_assert_msg(fd >= 0 && fstat(fd, &st) == 0, "%s", name);
	f.len = (size_t)st.st_size;
	f.bytes = malloc(f.len);
	ck_assert_int_eq(read(fd, f.bytes, f.len), f.len);
	close(fd);
	return f;
}

static void write_file(const char *name, const struct file *f) {
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, f->bytes, f->len), f->len);
	close(fd);
}

/* Puts a tensor into the store, keeps its file, and writes the one of layout 1 in its place. */
static struct file make_older(const struct content_tensor *t, const uint8_t *data) {
	uint64_t packed_at;
	put_tensor(t, data);
	struct file now = read_file(tensor_path(&t->id)), older = {malloc(now.len), now.len};
	memcpy(older.bytes, now.bytes, now.len);
	memcpy(&packed_at, now.bytes + 24, 8);
	older.bytes[LAYOUT] = 1;
	pack_layout1(t->type, older.bytes + packed_at, data, t->rows, t->n);
	ck_assert_uint_eq(now.bytes[LAYOUT], KERN_LAYOUT);
	write_file(tensor_path(&t->id), &older);
	free(older.bytes);
	return now;
}

static bool is_file(const struct content_id *id, const struct file *want) {
	struct file have = read_file(tensor_path(id));
	bool same = have.len == want->len && memcmp(have.bytes, want->bytes, have.len) == 0;
	free(have.bytes);
	return same;
}

static void reopen(void) {
	store_close(store);
	ck_assert_msg(store_open(&store, dir, err, sizeof err) == 0, "%s", err);
}

/* ---- progress ---- */

static struct store_convert last;
static int calls, failures, dies_at = -1, first_error;
static void (*meanwhile)(void); /* what another process does at the first call for a chunk */

static void on_progress(void *arg, const struct store_convert *p) {
	(void)arg;
	ck_assert(p->done <= p->count && p->bytes_done <= p->bytes && p->bytes_done >= last.bytes_done);
	last = *p;
	failures += p->error != 0;
	first_error = first_error ? first_error : p->error;
	if (meanwhile && p->bytes_done) {
		meanwhile();
		meanwhile = NULL;
	}
	if (calls++ == dies_at)
		_exit(7);
}

static int convert(void) {
	last = (struct store_convert){0};
	calls = failures = first_error = 0;
	return store_convert(store, on_progress, NULL);
}

/* ---- tests ---- */

enum { MAX = 96 };
static struct content_tensor tensor[MAX];
static struct file want[MAX];
static uint8_t *canonical[MAX];
static size_t count;

static void add(enum kern_type type, uint64_t n, uint64_t rows) {
	ck_assert_uint_lt(count, MAX);
	canonical[count] = make_tensor(&tensor[count], type, n, rows);
	want[count] = make_older(&tensor[count], canonical[count]);
	count++;
}

static void forget(void) {
	while (count-- > 0) {
		content_tensor_clear(&tensor[count]);
		free(want[count].bytes);
		free(canonical[count]);
	}
	count = 0;
}

START_TEST(every_type_becomes_what_an_import_writes) {
	static const uint64_t rows[] = {1, 8, 77};
	uint64_t bytes = 0;
	for (uint32_t type = 0; type < KERN_TYPES; type++)
		for (size_t k = 0; kern_traits(type) && k < 3; k++)
			add((enum kern_type)type, 1024, rows[k]);
	for (size_t i = 0; i < count; i++)
		bytes += content_tensor_bytes(&tensor[i]);
	reopen();
	for (size_t i = 0; i < count; i++) /* absent, but not dropped */
		ck_assert(!store_has_tensor(store, &tensor[i].id));
	ck_assert_int_eq(count_files("tensors"), count);
	ck_assert_int_eq(convert(), 0);
	ck_assert(
	        last.count == count && last.done == count && last.bytes == bytes && last.bytes_done == bytes);
	ck_assert_int_eq(failures, 0);
	ck_assert_int_eq(count_files("tensors"), count);
	for (size_t i = 0; i < count; i++) {
		ck_assert_msg(is_file(&tensor[i].id, &want[i]), "%s, %d rows",
		        kern_traits(tensor[i].type)->name, (int)tensor[i].rows);
		ck_assert(store_has_tensor(store, &tensor[i].id));
	}
	/* nothing is left to do, and nobody hears of that */
	ck_assert_int_eq(convert(), 0);
	ck_assert_int_eq(calls, 0);
	forget();
}
END_TEST

/* Three chunks; the order of eviction goes by the time of last use. */
START_TEST(the_time_of_use_stays) {
	struct timespec old[] = {{1000000000, 5}, {1000000000, 5}};
	struct stat st;
	add(KERN_F32, 65536, 77);
	ck_assert_int_eq(utimensat(AT_FDCWD, tensor_path(&tensor[0].id), old, 0), 0);
	ck_assert_int_eq(convert(), 0);
	ck_assert_int_eq(calls, 4); /* begin, two chunks, the end */
	ck_assert(is_file(&tensor[0].id, &want[0]));
	ck_assert_int_eq(stat(tensor_path(&tensor[0].id), &st), 0);
	ck_assert(st.st_mtim.tv_sec == 1000000000 && st.st_mtim.tv_nsec == 5);
	forget();
}
END_TEST

/* Killed at every point of its way: the old tensor or the new one is there, and the next start goes on. */
START_TEST(killed_conversions_lose_nothing) {
	int status, died = 0;
	add(KERN_Q4_K, 256, 20);
	add(KERN_F32, 65536, 77);
	add(KERN_Q6_K, 512, 100);
	for (dies_at = 0; dies_at < 16; dies_at++) {
		pid_t child = fork();
		ck_assert_int_ge(child, 0);
		if (child == 0) {
			convert();
			_exit(0);
		}
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 7)
			break;
		died++;
		reopen();
		for (size_t i = 0; i < count; i++) {
			struct file have = read_file(tensor_path(&tensor[i].id));
			ck_assert(have.len == want[i].len);
			ck_assert(have.bytes[LAYOUT] == 1 || is_file(&tensor[i].id, &want[i]));
			free(have.bytes);
		}
	}
	dies_at = -1;
	ck_assert_int_ge(died, 3);
	reopen();
	ck_assert_int_eq(convert(), 0);
	for (size_t i = 0; i < count; i++)
		ck_assert(is_file(&tensor[i].id, &want[i]));
	ck_assert_int_eq(count_files("tensors"), count);
	forget();
}
END_TEST

/* What was written of a tensor by a conversion that was killed is not written again. */
START_TEST(a_killed_conversion_is_gone_on_with) {
	int status;
	char part[512], hex[CONTENT_HEX];
	struct stat before, after;
	add(KERN_F32, 65536, 77);
	dies_at = 2; /* after two chunks */
	pid_t child = fork();
	if (child == 0) {
		convert();
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 7);
	dies_at = -1;
	reopen();
	snprintf(part, sizeof part, "%s/tensors/.part-%s", dir, content_hex(&tensor[0].id, hex));
	ck_assert_int_eq(stat(part, &before), 0);
	ck_assert_int_eq(convert(), 0);
	ck_assert_int_eq(stat(tensor_path(&tensor[0].id), &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	ck_assert(is_file(&tensor[0].id, &want[0]));
	forget();
}
END_TEST

/* As another process uses a tensor's file: a descriptor under a shared lock. */
static int use(const struct content_id *id) {
	int fd = open(tensor_path(id), O_RDONLY);
	ck_assert(fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) == 0);
	return fd;
}

static bool is_still(int fd, const struct content_id *id) {
	struct stat mine, there;
	ck_assert_int_eq(fstat(fd, &mine), 0);
	return stat(tensor_path(id), &there) == 0 && mine.st_ino == there.st_ino;
}

/* An older daemon would lose its tensor.  Nothing is written for it either: one start after another would need the room. */
START_TEST(a_file_in_use_is_not_replaced) {
	add(KERN_F32, 65536, 77);
	add(KERN_Q8_0, 512, 64);
	int user = use(&tensor[0].id);
	ck_assert_int_eq(convert(), -EBUSY);
	ck_assert(failures == 1 && first_error == -EBUSY && last.done == 2);
	ck_assert(is_still(user, &tensor[0].id));
	ck_assert(is_file(&tensor[1].id, &want[1]));
	ck_assert_int_eq(count_files("tensors"), 2);
	close(user);
	ck_assert_int_eq(convert(), 0);
	ck_assert_int_eq(last.count, 1);
	ck_assert(is_file(&tensor[0].id, &want[0]));
	forget();
}
END_TEST

static int user;

static void somebody_opens_it(void) {
	user = use(&tensor[0].id);
}

/* Opened when it has been looked at: that is seen before the file is replaced. */
START_TEST(a_file_that_comes_into_use_is_not_replaced) {
	char part[512], hex[CONTENT_HEX];
	struct stat before, after;
	add(KERN_F32, 65536, 77);
	meanwhile = somebody_opens_it;
	ck_assert_int_eq(convert(), -EBUSY);
	ck_assert(is_still(user, &tensor[0].id));
	close(user);
	/* what was written is gone on with */
	snprintf(part, sizeof part, "%s/tensors/.part-%s", dir, content_hex(&tensor[0].id, hex));
	ck_assert_int_eq(stat(part, &before), 0);
	ck_assert_int_eq(convert(), 0);
	ck_assert_int_eq(stat(tensor_path(&tensor[0].id), &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	ck_assert(is_file(&tensor[0].id, &want[0]));
	ck_assert_int_eq(count_files("tensors"), 1);
	forget();
}
END_TEST

static void somebody_fetches_it(void) {
	char other[512];
	snprintf(other, sizeof other, "%s/fetched", dir);
	write_file(other, &want[0]);
	ck_assert_int_eq(rename(other, tensor_path(&tensor[0].id)), 0);
	user = use(&tensor[0].id);
}

/* Another process has put a good file in its place and uses that. */
START_TEST(a_file_that_was_fetched_meanwhile_stays) {
	add(KERN_F32, 65536, 77);
	meanwhile = somebody_fetches_it;
	ck_assert_int_eq(convert(), -EBUSY);
	ck_assert(is_still(user, &tensor[0].id));
	close(user);
	ck_assert(is_file(&tensor[0].id, &want[0]));
	ck_assert_int_eq(convert(), 0);
	ck_assert_int_eq(calls, 0);
	reopen();
	ck_assert_int_eq(count_files("tensors"), 1); /* what was written of it is of no use */
	forget();
}
END_TEST

/* Bytes that are not those of the name are not carried over; everything else is converted. */
START_TEST(rot_is_not_converted) {
	add(KERN_Q5_K, 512, 64);
	add(KERN_Q8_0, 512, 64);
	spoil(tensor_path(&tensor[0].id), 4096 + 1000);
	ck_assert_int_eq(convert(), -EBADMSG);
	ck_assert(last.done == 2 && failures == 1);
	ck_assert_int_eq(store_check_head(store, &tensor[0].id), -ENOENT);
	ck_assert(is_file(&tensor[1].id, &want[1]));
	ck_assert_int_eq(count_files("tensors"), 1); /* its room is free */
	/* fetched again, it takes the place of the old one */
	put_tensor(&tensor[0], canonical[0]);
	ck_assert(is_file(&tensor[0].id, &want[0]));
	ck_assert_int_eq(convert(), 0);
	ck_assert_int_eq(calls, 0);
	forget();
}
END_TEST

/* Unless somebody still uses it. */
START_TEST(rot_in_use_stays) {
	add(KERN_F32, 65536, 77);
	/* in the last strip but one: rows that fill up the last one have no bytes to spoil */
	spoil(tensor_path(&tensor[0].id), (off_t)want[0].len - 8 * 4 * 65536 - 1000);
	meanwhile = somebody_opens_it;
	ck_assert_int_eq(convert(), -EBADMSG);
	ck_assert(is_still(user, &tensor[0].id));
	close(user);
	ck_assert_int_eq(convert(), -EBADMSG);
	ck_assert_int_ne(access(tensor_path(&tensor[0].id), F_OK), 0);
	/* of its three chunks two are good */
	struct store_writer *w;
	ck_assert_int_eq(store_writer_create(&w, store, &tensor[0], err, sizeof err), 0);
	ck_assert(store_writer_has(w, 0) && store_writer_has(w, 1) && !store_writer_has(w, 2));
	store_writer_destroy(w);
	forget();
}
END_TEST

/* One that is not converted is told apart from one of no use, which is removed. */
START_TEST(what_is_kept_is_told_apart) {
	struct content_id none = {{1}};
	add(KERN_Q5_K, 512, 64);
	add(KERN_Q8_0, 512, 64);
	ck_assert_int_eq(store_check_head(store, &tensor[0].id), STORE_OLDER);
	ck_assert_int_eq(store_check_head(store, &none), -ENOENT);
	ck_assert_int_eq(truncate(tensor_path(&tensor[1].id), 5000), 0);
	ck_assert_int_eq(store_check_head(store, &tensor[1].id), -EBADMSG);
	ck_assert_int_eq(count_files("tensors"), 1);
	ck_assert_int_eq(convert(), 0);
	ck_assert_int_eq(store_check_head(store, &tensor[0].id), 0);
	forget();
}
END_TEST

/* A layout that nobody knows is dropped as before. */
START_TEST(an_unknown_layout_is_dropped) {
	struct file f;
	add(KERN_Q5_K, 512, 64);
	f = read_file(tensor_path(&tensor[0].id));
	f.bytes[LAYOUT] = 9;
	write_file(tensor_path(&tensor[0].id), &f);
	ck_assert_int_eq(convert(), 0);
	ck_assert_int_eq(calls, 0);
	ck_assert(!store_has_tensor(store, &tensor[0].id));
	ck_assert_int_eq(count_files("tensors"), 0);
	free(f.bytes);
	forget();
}
END_TEST

/* Room for one tensor more is enough, and less loses none.  On a file system of its own. */
START_TEST(a_nearly_full_disk) {
	char big[64];
	size_t sum = 0;
	store_close(store);
	bool mounted = mount_small(dir, "12m");
	ck_assert_int_eq(store_open(&store, dir, err, sizeof err), 0);
	if (mounted) {
		for (uint64_t rows = 2000; rows < 2040; rows += 8) /* of 1 MiB each */
			add(KERN_Q8_0, 512, rows);
		for (size_t i = 0; i < count; i++)
			sum += want[i].len;
		snprintf(big, sizeof big, "%s/big", dir);
		int fd = open(big, O_WRONLY | O_CREAT, 0600);
		/* half a tensor: there is not room for one */
		ck_assert_int_eq(posix_fallocate(fd, 0, (off_t)((12 << 20) - sum - (512 << 10))), 0);
		ck_assert_int_eq(convert(), -ENOSPC);
		ck_assert(failures == 5 && last.done == 5);
		reopen();
		ck_assert(!store_has_tensor(store, &tensor[0].id));
		ck_assert_int_eq(count_files("tensors"), 5);
		/* one and a half: less than the reserve of a disk would allow */
		ck_assert_int_eq(ftruncate(fd, (off_t)((12 << 20) - sum - (1700 << 10))), 0);
		close(fd);
		ck_assert_int_eq(convert(), 0);
		for (size_t i = 0; i < count; i++)
			ck_assert(is_file(&tensor[i].id, &want[i]));
		forget();
		ck_assert_int_eq(unlink(big), 0);
		store_close(store);
		ck_assert_int_eq(umount2(dir, MNT_DETACH), 0);
		ck_assert_int_eq(store_open(&store, dir, err, sizeof err), 0);
	}
}
END_TEST

/* Where a file does not get its room beforehand, the disk is full when a part of it is written: that part is not left there. */
START_TEST(a_disk_that_fills_up) {
	add(KERN_F32, 65536, 77);
	disk_room = 14 << 20; /* a chunk of 8 MiB, and huge pages that begin or end in it */
	ck_assert_int_eq(convert(), -ENOSPC);
	ck_assert_uint_eq(last.bytes_done, 8 << 20);
	ck_assert_int_eq(count_files("tensors"), 1);
	ck_assert_int_eq(store_check_head(store, &tensor[0].id), STORE_OLDER);
	disk_room = -1;
	ck_assert_int_eq(convert(), 0);
	ck_assert(is_file(&tensor[0].id, &want[0]));
	ck_assert_int_eq(count_files("tensors"), 1);
	forget();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("convert");
	TCase *t = tcase_create("convert");
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 120);
	tcase_add_test(t, every_type_becomes_what_an_import_writes);
	tcase_add_test(t, the_time_of_use_stays);
	tcase_add_test(t, killed_conversions_lose_nothing);
	tcase_add_test(t, a_killed_conversion_is_gone_on_with);
	tcase_add_test(t, a_file_in_use_is_not_replaced);
	tcase_add_test(t, a_file_that_comes_into_use_is_not_replaced);
	tcase_add_test(t, a_file_that_was_fetched_meanwhile_stays);
	tcase_add_test(t, rot_is_not_converted);
	tcase_add_test(t, rot_in_use_stays);
	tcase_add_test(t, what_is_kept_is_told_apart);
	tcase_add_test(t, an_unknown_layout_is_dropped);
	tcase_add_test(t, a_nearly_full_disk);
	tcase_add_test(t, a_disk_that_fills_up);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
