/* durable: see durable.h. */
#include "common/durable.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PREFIX ".new-"
/* A file younger than this may belong to a writer that has not yet locked it. */
#define GRACE_SECONDS 60

int durable_create(int dir, char temp[DURABLE_TEMP]) {
	uint64_t random;
	for (int attempt = 0; attempt < 16; attempt++) {
		if (getrandom(&random, sizeof random, 0) != (ssize_t)sizeof random)
			return -EIO;
		snprintf(temp, DURABLE_TEMP, PREFIX "%016" PRIx64, random);
		int fd = openat(dir, temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
		if (fd < 0 && errno == EEXIST)
			continue;
		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			int rc = -errno;
			close(fd);
			unlinkat(dir, temp, 0);
			return rc;
		}
		return fd;
	}
	return -EEXIST;
}

int durable_commit(int dir, int fd, const char *temp, const char *name) {
	/* readers of the new name take a shared lock, and must not find it barred */
	if (fsync(fd) < 0 || flock(fd, LOCK_SH) < 0 || renameat(dir, temp, dir, name) < 0 || fsync(dir) < 0)
		return -errno;
	return 0;
}

void durable_discard(int dir, const char *temp) {
	int saved = errno;
	unlinkat(dir, temp, 0);
	errno = saved;
}

int durable_write_at(int fd, const void *data, size_t len, uint64_t offset) {
	const uint8_t *p = data;
	while (len > 0) {
		ssize_t n = pwrite(fd, p, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int durable_read_at(int fd, void *out, size_t len, uint64_t offset) {
	uint8_t *p = out;
	while (len > 0) {
		ssize_t n = pread(fd, p, len, (off_t)offset);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		p += n;
		len -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

int durable_write(int dir, const char *name, const void *data, size_t len) {
	char temp[DURABLE_TEMP];
	int fd = durable_create(dir, temp);
	if (fd < 0)
		return fd;
	int rc = durable_write_at(fd, data, len, 0);
	if (rc == 0)
		rc = durable_commit(dir, fd, temp, name);
	if (rc < 0)
		durable_discard(dir, temp);
	close(fd);
	return rc;
}

int durable_write_in(const char *path, const char *name, const void *data, size_t len) {
	int dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	int rc = durable_write(dir, name, data, len);
	close(dir);
	return rc;
}

int durable_read(int dir, const char *name, size_t max, uint8_t **data, size_t *len) {
	struct stat st;
	uint8_t *buf = NULL;
	int rc, fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0) {
		rc = -errno;
		goto error;
	}
	rc = -EFBIG;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > max)
		goto error;
	rc = -ENOMEM;
	buf = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!buf)
		goto error;
	rc = durable_read_at(fd, buf, (size_t)st.st_size, 0);
	if (rc < 0) {
		rc = rc == -EBADMSG ? -EIO : rc; /* cut short meanwhile */
		goto error;
	}
	close(fd);
	*data = buf;
	*len = (size_t)st.st_size;
	return 0;
error:
	free(buf);
	close(fd);
	return rc;
}

DIR *durable_read_folder(int dir) {
	int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	if (!d && copy >= 0) {
		int saved = errno;
		close(copy);
		errno = saved;
	}
	return d;
}

bool durable_is_older(int fd, int64_t seconds) {
	struct stat st;
	return fstat(fd, &st) == 0 && time(NULL) - st.st_mtim.tv_sec > seconds;
}

void durable_sweep_where(int dir, const char *prefix, bool (*useless)(int dir, const char *name, int fd)) {
	DIR *d = durable_read_folder(dir);
	if (!d)
		return;
	for (struct dirent *e; (e = readdir(d));) {
		if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
			continue;
		int fd = openat(dir, e->d_name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0)
			continue;
		if (useless(dir, e->d_name, fd) && flock(fd, LOCK_EX | LOCK_NB) == 0)
			unlinkat(dir, e->d_name, 0);
		close(fd);
	}
	closedir(d);
}

static bool durable_is_left_behind(int dir, const char *name, int fd) {
	(void)dir;
	(void)name;
	return durable_is_older(fd, GRACE_SECONDS);
}

void durable_sweep(int dir) {
	durable_sweep_where(dir, PREFIX, durable_is_left_behind);
}

int durable_mkdirs(const char *path) {
	char *copy = strdup(path);
	if (!copy)
		return -ENOMEM;
	int rc = 0;
	for (char *p = copy + 1; rc == 0 && *copy && *p; p++) {
		if (*p != '/')
			continue;
		*p = '\0';
		if (mkdir(copy, 0700) < 0 && errno != EEXIST)
			rc = -errno;
		*p = '/';
	}
	if (rc == 0 && mkdir(path, 0700) < 0 && errno != EEXIST)
		rc = -errno;
	free(copy);
	return rc;
}
