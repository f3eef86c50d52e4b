/* Files that are there whole or not at all, and names made of paths. */
#include "common/durable.h"
#include "common/paths.h"
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static char path[] = "/tmp/check_common.XXXXXX";
static int folder;

static void make_folder(void) {
	snprintf(path, sizeof path, "/tmp/check_common.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(path));
	folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(folder, 0);
}

static void remove_folder(void) {
	DIR *d = opendir(path);
	for (struct dirent *e; (e = readdir(d));)
		if (unlinkat(folder, e->d_name, 0) != 0)
			unlinkat(folder, e->d_name, AT_REMOVEDIR);
	closedir(d);
	close(folder);
	ck_assert_int_eq(rmdir(path), 0);
}

static bool is_there(const char *name) {
	return faccessat(folder, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static unsigned files(void) {
	unsigned n = 0;
	DIR *d = opendir(path);
	for (struct dirent *e; (e = readdir(d));)
		n += e->d_name[0] != '.' || strlen(e->d_name) > 2;
	closedir(d);
	return n;
}

/* ---- durable ------------------------------------------------------------------------------------- */

START_TEST(a_file_is_there_when_it_is_committed) {
	char temp[DURABLE_TEMP];
	uint8_t *data;
	size_t len;
	int fd = durable_create(folder, temp), reader;
	ck_assert_int_ge(fd, 0);
	ck_assert(is_there(temp));
	ck_assert_int_eq(durable_write_at(fd, "abcdef", 6, 0), 0);
	ck_assert_int_eq(durable_write_at(fd, "XY", 2, 2), 0);
	/* nobody else has it before */
	reader = openat(folder, temp, O_RDONLY | O_CLOEXEC);
	ck_assert_int_ne(flock(reader, LOCK_SH | LOCK_NB), 0);
	ck_assert_int_eq(durable_commit(folder, fd, temp, "name"), 0);
	ck_assert(!is_there(temp));
	ck_assert_int_eq(flock(reader, LOCK_SH | LOCK_NB), 0);
	close(reader);
	close(fd);
	ck_assert_int_eq(durable_read(folder, "name", 6, &data, &len), 0);
	ck_assert_uint_eq(len, 6);
	ck_assert_mem_eq(data, "abXYef", 6);
	free(data);
}
END_TEST

START_TEST(a_file_is_replaced_whole) {
	uint8_t *data;
	size_t len;
	ck_assert_int_eq(durable_write(folder, "name", "longer than the next", 20), 0);
	ck_assert_int_eq(durable_write(folder, "name", "new", 3), 0);
	ck_assert_int_eq(durable_read(folder, "name", 100, &data, &len), 0);
	ck_assert_uint_eq(len, 3);
	ck_assert_mem_eq(data, "new", 3);
	free(data);
	ck_assert_uint_eq(files(), 1);
}
END_TEST

START_TEST(a_write_that_fails_leaves_nothing) {
	/* a folder of that name cannot be replaced by a file */
	ck_assert_int_eq(mkdirat(folder, "name", 0700), 0);
	ck_assert_int_lt(durable_write(folder, "name", "x", 1), 0);
	ck_assert_uint_eq(files(), 1);
}
END_TEST

START_TEST(what_is_read_is_bounded) {
	uint8_t *data;
	size_t len;
	ck_assert_int_eq(durable_read(folder, "name", 10, &data, &len), -ENOENT);
	ck_assert_int_eq(durable_write(folder, "name", "0123456789", 10), 0);
	ck_assert_int_eq(durable_read(folder, "name", 9, &data, &len), -EFBIG);
	ck_assert_int_eq(durable_read(folder, "name", 10, &data, &len), 0);
	free(data);
	ck_assert_int_eq(durable_write(folder, "empty", "", 0), 0);
	ck_assert_int_eq(durable_read(folder, "empty", 0, &data, &len), 0);
	ck_assert_uint_eq(len, 0);
	free(data);
	ck_assert_int_eq(symlinkat("name", folder, "link"), 0);
	ck_assert_int_lt(durable_read(folder, "link", 100, &data, &len), 0);
	ck_assert_int_eq(mkdirat(folder, "folder", 0700), 0);
	ck_assert_int_lt(durable_read(folder, "folder", 10000, &data, &len), 0);
}
END_TEST

static void set_age(const char *name, long seconds) {
	struct timespec t[2] = {{.tv_sec = time(NULL) - seconds}, {.tv_sec = time(NULL) - seconds}};
	ck_assert_int_eq(utimensat(folder, name, t, 0), 0);
}

/* What a process that died left behind goes; what is young, or held, stays: its writer may not have locked it yet. */
START_TEST(leavings_are_swept) {
	char held[DURABLE_TEMP], old[DURABLE_TEMP], young[DURABLE_TEMP];
	int fd = durable_create(folder, held);
	ck_assert_int_ge(fd, 0);
	close(durable_create(folder, old));
	close(durable_create(folder, young));
	ck_assert_int_eq(durable_write(folder, "name", "x", 1), 0);
	set_age(held, 3600);
	set_age(old, 3600);
	set_age(young, 30);
	set_age("name", 3600);
	durable_sweep(folder);
	ck_assert(is_there(held));
	ck_assert(!is_there(old));
	ck_assert(is_there(young));
	ck_assert(is_there("name"));
	close(fd);
	durable_sweep(folder);
	ck_assert(!is_there(held));
}
END_TEST

START_TEST(folders_are_made_with_those_above) {
	char deep[sizeof path + 16];
	struct stat st;
	snprintf(deep, sizeof deep, "%s/a", path);
	ck_assert_int_eq(durable_mkdirs(deep), 0);
	ck_assert_int_eq(durable_mkdirs(deep), 0); /* it is there */
	ck_assert_int_eq(stat(deep, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0700);
	snprintf(deep, sizeof deep, "%s/b/c/d", path);
	ck_assert_int_eq(durable_mkdirs(deep), 0);
	ck_assert_int_eq(stat(deep, &st), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(rmdir(deep), 0);
		*strrchr(deep, '/') = '\0';
	}
	ck_assert_int_eq(durable_write(folder, "file", "x", 1), 0);
	snprintf(deep, sizeof deep, "%s/file/a", path);
	ck_assert_int_eq(durable_mkdirs(deep), -ENOTDIR);
}
END_TEST

/* ---- paths --------------------------------------------------------------------------------------- */

START_TEST(models_are_called_as_their_files) {
	static const struct {
		const char *file, *name;
	} of[] = {{"/models/tiny.gguf", "tiny"}, {"tiny", "tiny"},
	        {"a/b/Llama 3 (8B).Q4_0.gguf", "Llama-3--8B-.Q4_0"}, {"big-00001-of-00003.gguf", "big"},
	        {"big-00001-of-3.gguf", "big-00001-of-3"}, {"._-hidden.gguf", "hidden"}, {"///", "model"},
	        {"...", "model"}, {"\303\251t\303\251.gguf", "t--"}};
	char name[65];
	for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
		paths_model_name(name, sizeof name, of[i].file);
		ck_assert_str_eq(name, of[i].name);
	}
	char small[5];
	paths_model_name(small, sizeof small, "tiny-model.gguf");
	ck_assert_str_eq(small, "tiny");
}
END_TEST

START_TEST(paths_that_are_too_long) {
	char out[8];
	ck_assert_int_eq(paths_state("/1234567", out, sizeof out), -ENAMETOOLONG);
	ck_assert_int_eq(paths_state("/123456", out, sizeof out), 0);
	ck_assert_str_eq(out, "/123456");
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("common");
	TCase *t = tcase_create("durable");
	tcase_add_checked_fixture(t, make_folder, remove_folder);
	tcase_add_test(t, a_file_is_there_when_it_is_committed);
	tcase_add_test(t, a_file_is_replaced_whole);
	tcase_add_test(t, a_write_that_fails_leaves_nothing);
	tcase_add_test(t, what_is_read_is_bounded);
	tcase_add_test(t, leavings_are_swept);
	tcase_add_test(t, folders_are_made_with_those_above);
	suite_add_tcase(s, t);
	t = tcase_create("paths");
	tcase_add_test(t, models_are_called_as_their_files);
	tcase_add_test(t, paths_that_are_too_long);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
