/* stored: see stored.h. */
#include "tests/support/stored.h"
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

char err[256], dir[32] = "/tmp/check_store.XXXXXX", path[512];
struct store *store;

void setup(void) {
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_msg(store_open(&store, dir, err, sizeof err) == 0, "%s", err);
}

int count_files(const char *sub) {
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

void teardown(void) {
	static const char *const sub[] = {"blobs", "tensors", "names", "models"};
	store_close(store);
	for (size_t i = 0; i < sizeof sub / sizeof *sub; i++) {
		while (count_files(sub[i]) > 0)
			ck_assert_int_eq(unlink(path), 0);
		snprintf(path, sizeof path, "%s/%s", dir, sub[i]);
		rmdir(path);
	}
	ck_assert_int_eq(rmdir(dir), 0);
}

void spoil(const char *file, off_t at) {
	uint8_t byte;
	int fd = open(file, O_RDWR);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	byte ^= 0x55;
	ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

const char *tensor_path(const struct content_id *id) {
	static char p[512];
	char hex[CONTENT_HEX];
	snprintf(p, sizeof p, "%s/tensors/%s", dir, content_hex(id, hex));
	return p;
}

static bool put_line(const char *file, const char *line) {
	int fd = open(file, O_WRONLY);
	bool put = fd >= 0 && write(fd, line, strlen(line)) == (ssize_t)strlen(line);
	if (fd >= 0)
		close(fd);
	return put;
}

/* A name space of mounts: root's, or one in which who is not root is. */
static bool own_mounts(void) {
	char users[32], groups[32];
	snprintf(users, sizeof users, "0 %u 1", (unsigned)geteuid());
	snprintf(groups, sizeof groups, "0 %u 1", (unsigned)getegid());
	return unshare(CLONE_NEWNS) == 0 ||
	       (unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && put_line("/proc/self/setgroups", "deny") &&
	               put_line("/proc/self/uid_map", users) && put_line("/proc/self/gid_map", groups));
}

bool mount_small(const char *folder, const char *size) {
	char options[32];
	snprintf(options, sizeof options, "size=%s,mode=700", size);
	if (own_mounts() && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
	        mount("tmpfs", folder, "tmpfs", 0, options) == 0)
		return true;
	printf("# skipped: no small file system can be mounted here: %s\n", strerror(errno));
	return false;
}

uint8_t *make_tensor(struct content_tensor *t, enum kern_type type, uint64_t n, uint64_t rows) {
	return make_parts(t, type, n, rows, 1);
}

uint8_t *make_parts(
        struct content_tensor *t, enum kern_type type, uint64_t n, uint64_t rows, uint32_t parts) {
	uint32_t state = (uint32_t)(type * 31 + rows);
	uint8_t *record;
	size_t len;
	ck_assert_int_eq(content_tensor_init(t, type, n, rows, parts), 0);
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

int put_chunk(struct store_writer *w, const struct content_tensor *t, const uint8_t *data, uint32_t i) {
	uint64_t first, count, size;
	content_chunk_extent(t, i, &first, &count, &size);
	return store_writer_chunk(w, i, data + first * kern_row_bytes(t->type, t->n), size);
}

void put_tensor(const struct content_tensor *t, const uint8_t *data) {
	struct store_writer *w;
	ck_assert_int_eq(store_writer_create(&w, store, t, err, sizeof err), 0);
	for (uint32_t i = t->chunks; i-- > 0;)
		ck_assert_int_eq(put_chunk(w, t, data, i), 0);
	ck_assert_int_eq(store_writer_commit(w), 0);
	store_writer_destroy(w);
}
