/* A power failure at any moment leaves a file that was written durably as it was or as it was to be, and what was said to be
 * written is there; and the disk of the simulation loses enough for that to mean something. */
#include "common/durable.h"
#include "tests/sim/clock.h"
#include "tests/sim/disk.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { OLD = 3000, NEW = 5000 };

static char folder[64];
static int dir;
static uint8_t before[OLD], after[NEW];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void begin(uint64_t seed) {
	sim_begin(seed);
	snprintf(folder, sizeof folder, "%s/caravan-disk.XXXXXX",
	        getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_ge(dir = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC), 0);
	memset(before, 'o', sizeof before);
	memset(after, 'n', sizeof after);
	disk_begin(folder);
	ck_assert_int_eq(durable_write(dir, "file", before, sizeof before), 0);
}

static void end(void) {
	disk_end();
	close(dir);
	nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	sim_end();
}

/* 'o' or 'n': the file is as it was or as it was to be; '?': neither. */
static char found(void) {
	uint8_t *data;
	size_t len;
	if (durable_read(dir, "file", 1 << 20, &data, &len) != 0)
		return '?';
	char is = len == OLD && memcmp(data, before, OLD) == 0  ? 'o'
	          : len == NEW && memcmp(data, after, NEW) == 0 ? 'n'
	                                                        : '?';
	free(data);
	return is;
}

/* _i: the seed.  The power fails after each call in turn. */
START_TEST(old_or_new_and_new_once_it_is_said) {
	unsigned olds = 0, news = 0;
	for (uint64_t calls = 0;; calls++) {
		begin((uint64_t)_i + 1);
		disk_fail_after(calls, EIO);
		int rc = durable_write(dir, "file", after, sizeof after);
		disk_crash(folder);
		char is = found();
		ck_assert(is == 'o' || is == 'n');
		ck_assert(rc != 0 || is == 'n');
		olds += is == 'o';
		news += is == 'n';
		end();
		if (rc == 0)
			break;
	}
	ck_assert_uint_ge(olds, 3);
	ck_assert_uint_ge(news, 1);
}
END_TEST

/* Without a sync anything may be there; and whatever it is, it is the same for the same seed. */
START_TEST(what_was_not_synced_is_lost) {
	unsigned olds = 0, news = 0, torn = 0, gone = 0;
	for (uint64_t seed = 1; seed < 60; seed++) {
		begin(seed);
		int fd = openat(dir, "file", O_RDWR | O_CLOEXEC);
		ck_assert_int_eq(durable_write_at(fd, after, NEW, 0), 0);
		close(fd);
		fd = openat(dir, "another", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		ck_assert_int_eq(durable_write_at(fd, after, NEW, 0), 0);
		ck_assert_int_eq(fsync(fd), 0); /* the file, not its name */
		close(fd);
		ck_assert_int_eq(found(), 'n');
		disk_crash(folder);
		char is = found();
		olds += is == 'o';
		news += is == 'n';
		torn += is == '?';
		gone += faccessat(dir, "another", F_OK, 0) != 0;
		end();
	}
	ck_assert_uint_gt(olds, 5);
	ck_assert_uint_gt(news, 5);
	ck_assert_uint_gt(torn, 5);
	ck_assert(gone > 5 && gone < 55);
}
END_TEST

/* Names: one that was taken away comes back, or not. */
START_TEST(names_that_went) {
	unsigned back = 0;
	for (uint64_t seed = 1; seed < 40; seed++) {
		begin(seed);
		ck_assert_int_eq(unlinkat(dir, "file", 0), 0);
		ck_assert_int_eq(found(), '?');
		disk_crash(folder);
		back += found() == 'o';
		if (found() == '?')
			ck_assert_int_ne(faccessat(dir, "file", F_OK, 0), 0);
		end();
	}
	ck_assert(back > 5 && back < 35);
	begin(1);
	ck_assert_int_eq(unlinkat(dir, "file", 0), 0);
	ck_assert_int_eq(fsync(dir), 0);
	disk_crash(folder);
	ck_assert_int_eq(found(), '?');
	end();
}
END_TEST

START_TEST(a_full_disk_and_a_flipped_bit) {
	char path[96];
	begin(3);
	disk_fail_after(1, ENOSPC);
	ck_assert_int_eq(durable_write(dir, "file", after, sizeof after), -ENOSPC);
	ck_assert_int_eq(found(), 'o');
	disk_fail_after(UINT64_MAX, 0);
	uint64_t calls = disk_calls();
	ck_assert_int_eq(durable_write(dir, "file", after, sizeof after), 0);
	ck_assert_uint_gt(disk_calls(), calls + 3);
	ck_assert_int_eq(found(), 'n');
	snprintf(path, sizeof path, "%s/file", folder);
	disk_flip(path);
	uint8_t *data;
	size_t len, wrong = 0;
	ck_assert_int_eq(durable_read(dir, "file", 1 << 20, &data, &len), 0);
	ck_assert_uint_eq(len, NEW);
	for (size_t i = 0; i < NEW; i++)
		wrong += data[i] != after[i];
	ck_assert_uint_eq(wrong, 1);
	free(data);
	end();
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("disk");
	TCase *t = tcase_create("crashes");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, old_or_new_and_new_once_it_is_said, 0, 20);
	tcase_add_test(t, what_was_not_synced_is_lost);
	tcase_add_test(t, names_that_went);
	tcase_add_test(t, a_full_disk_and_a_flipped_bit);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
