/* sim/disk: see disk.h.  Of every file that was changed there is a copy of what it held when it was last synced; of every change of
 * names that was not synced, how it is undone. */
#include "tests/sim/disk.h"

#include "tests/sim/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512 /* bytes that are written whole or not at all */

ssize_t __real_write(int fd, const void *buf, size_t len);
ssize_t __real_pwrite(int fd, const void *buf, size_t len, off_t at);
int __real_fsync(int fd);
int __real_ftruncate(int fd, off_t len);
int __real_fallocate(int fd, int mode, off_t at, off_t len);
int __real_openat(int dir, const char *name, int flags, ...);
int __real_renameat(int from, const char *old, int to, const char *name);
int __real_linkat(int from, const char *old, int to, const char *name, int flags);
int __real_unlinkat(int dir, const char *name, int flags);
ssize_t __wrap_write(int fd, const void *buf, size_t len);
ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t at);
int __wrap_fsync(int fd);
int __wrap_ftruncate(int fd, off_t len);
int __wrap_fallocate(int fd, int mode, off_t at, off_t len);
int __wrap_openat(int dir, const char *name, int flags, ...);
int __wrap_renameat(int from, const char *old, int to, const char *name);
int __wrap_linkat(int from, const char *old, int to, const char *name, int flags);
int __wrap_unlinkat(int dir, const char *name, int flags);

/* A file that was changed since it was last synced. */
struct changed {
	dev_t dev;
	ino_t ino;
	char path[PATH_MAX]; /* of the descriptor that is kept: names may change */
	int fd;              /* of our own */
	uint8_t *image;
	size_t len;
	LIST_ENTRY(changed) next;
};

/* A name that came, went, or was given to another file. */
struct renamed {
	char folder[PATH_MAX], name[NAME_MAX + 1],
	        old[NAME_MAX + 1]; /* old: empty, or its name before, in the same folder */
	char saved[40];            /* in our own folder: what had the name before; empty: nothing */
	TAILQ_ENTRY(renamed) next;
};

static struct {
	char folder[PATH_MAX];
	int own; /* the folder of what is saved; -1: the disk does not stand before anything */
	uint64_t calls, fail_at, saves;
	int error;
	LIST_HEAD(, changed) changed;
	TAILQ_HEAD(renames, renamed) renamed;
} disk = {.own = -1};

static void failed(const char *what) {
	fprintf(stderr, "sim: %s: %s\n", what, strerror(errno));
	abort();
}

static void path_of(int fd, char path[PATH_MAX]) {
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, path, PATH_MAX - 1);
	path[n > 0 ? n : 0] = 0;
}

static bool below(const char *path, const char *folder) {
	size_t n = strlen(folder);
	return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == 0);
}

/* Whether a descriptor is of a file or folder of the test. */
static bool ours(int fd) {
	char path[PATH_MAX];
	if (disk.own < 0)
		return false;
	path_of(fd, path);
	return below(path, disk.folder);
}

/* Counts a call that changes something; false: it fails. */
static bool may(void) {
	if (disk.calls++ < disk.fail_at)
		return true;
	errno = disk.error;
	return false;
}

/* ---- files --------------------------------------------------------------------------------------- */

static struct changed *find(const struct stat *st) {
	struct changed *c;
	LIST_FOREACH(c, &disk.changed, next)
	if (c->dev == st->st_dev && c->ino == st->st_ino)
		return c;
	return NULL;
}

static void take_image(struct changed *c, size_t len) {
	free(c->image);
	c->image = malloc(len + 1);
	c->len = len;
	if (!c->image || pread(c->fd, c->image, len, 0) != (ssize_t)len)
		failed("reading a file");
}

/* Before it is changed for the first time since it was synced. */
static void keep_image(int fd, bool made) {
	char link[64];
	struct stat st;
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || find(&st))
		return;
	struct changed *c = calloc(1, sizeof *c);
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	if (!c || (c->fd = open(link, O_RDWR | O_CLOEXEC)) < 0)
		failed("keeping a file");
	c->dev = st.st_dev;
	c->ino = st.st_ino;
	path_of(fd, c->path);
	LIST_INSERT_HEAD(&disk.changed, c, next);
	take_image(c, made ? 0 : (size_t)st.st_size);
}

static void drop(struct changed *c) {
	LIST_REMOVE(c, next);
	close(c->fd);
	free(c->image);
	free(c);
}

/* What a file holds after the crash: sectors of before and of after, or either whole. */
static void tear(struct changed *c) {
	struct stat st;
	uint32_t kind = sim_below(3);
	if (fstat(c->fd, &st) != 0)
		failed("looking at a file");
	size_t now = (size_t)st.st_size;
	if (kind == 0)
		return; /* all of it had come to the disk */
	if (kind == 1 && __real_ftruncate(c->fd, (off_t)c->len) != 0)
		failed("tearing a file");
	for (size_t at = 0; at < c->len; at += SECTOR) {
		size_t n = c->len - at < SECTOR ? c->len - at : SECTOR;
		if ((kind == 1 || sim_below(2)) &&
		        __real_pwrite(c->fd, c->image + at, n, (off_t)at) != (ssize_t)n)
			failed("tearing a file");
	}
	static const uint8_t zeros[SECTOR];
	for (size_t at = c->len; kind == 2 && at < now; at += SECTOR) {
		size_t n = now - at < SECTOR ? now - at : SECTOR;
		if (sim_below(2) && __real_pwrite(c->fd, zeros, n, (off_t)at) != (ssize_t)n)
			failed("tearing a file");
	}
}

/* ---- names --------------------------------------------------------------------------------------- */

static void note_name(int dir, const char *name, const char *old) {
	struct renamed *r = calloc(1, sizeof *r);
	if (!r)
		failed("noting a name");
	path_of(dir, r->folder);
	snprintf(r->name, sizeof r->name, "%s", name);
	snprintf(r->old, sizeof r->old, "%s", old);
	snprintf(r->saved, sizeof r->saved, "%llu", (unsigned long long)++disk.saves);
	if (__real_linkat(dir, name, disk.own, r->saved, 0) != 0)
		r->saved[0] = 0;
	TAILQ_INSERT_TAIL(&disk.renamed, r, next);
}

static void forget(struct renamed *r) {
	TAILQ_REMOVE(&disk.renamed, r, next);
	if (r->saved[0])
		__real_unlinkat(disk.own, r->saved, 0);
	free(r);
}

static void undo(struct renamed *r) {
	int dir = open(r->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		failed(r->folder);
	if (r->old[0])
		__real_renameat(dir, r->name, dir, r->old);
	else
		__real_unlinkat(dir, r->name, 0);
	if (r->saved[0])
		__real_renameat(disk.own, r->saved, dir, r->name);
	r->saved[0] = 0;
	close(dir);
}

/* ---- the test's hand ----------------------------------------------------------------------------- */

void disk_begin(const char *folder) {
	char own[PATH_MAX + 8];
	LIST_INIT(&disk.changed);
	TAILQ_INIT(&disk.renamed);
	snprintf(disk.folder, sizeof disk.folder, "%s", folder);
	snprintf(own, sizeof own, "%s.saved", folder);
	if ((mkdir(own, 0700) != 0 && errno != EEXIST) ||
	        (disk.own = open(own, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		failed(own);
	disk.calls = disk.saves = 0;
	disk.fail_at = UINT64_MAX;
}

void disk_end(void) {
	char own[PATH_MAX + 8];
	while (!LIST_EMPTY(&disk.changed))
		drop(LIST_FIRST(&disk.changed));
	while (!TAILQ_EMPTY(&disk.renamed))
		forget(TAILQ_FIRST(&disk.renamed));
	close(disk.own);
	disk.own = -1;
	snprintf(own, sizeof own, "%s.saved", disk.folder);
	rmdir(own);
}

/* The newest change of names below a folder. */
static struct renamed *last_of(const char *folder) {
	struct renamed *r;
	TAILQ_FOREACH_REVERSE(r, &disk.renamed, renames, next)
	if (below(r->folder, folder))
		return r;
	return NULL;
}

void disk_crash(const char *folder) {
	struct changed *next;
	struct renamed *r;
	for (struct changed *c = LIST_FIRST(&disk.changed); c; c = next) {
		next = LIST_NEXT(c, next);
		if (!below(c->path, folder))
			continue;
		tear(c);
		drop(c);
	}
	/* the newest first; once one is there, all before it are */
	bool there = false;
	while ((r = last_of(folder))) {
		there = there || sim_below(3) == 0;
		if (!there)
			undo(r);
		forget(r);
	}
	disk.fail_at = UINT64_MAX;
}

void disk_fail_after(uint64_t calls, int error) {
	disk.fail_at = calls == UINT64_MAX ? calls : disk.calls + calls;
	disk.error = error;
}

uint64_t disk_calls(void) {
	return disk.calls;
}

void disk_flip(const char *path) {
	uint8_t byte;
	struct stat st;
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0 || st.st_size == 0)
		failed(path);
	off_t at = sim_below((uint32_t)st.st_size);
	if (pread(fd, &byte, 1, at) != 1)
		failed(path);
	byte ^= (uint8_t)(1u << sim_below(8));
	if (__real_pwrite(fd, &byte, 1, at) != 1)
		failed(path);
	close(fd);
}

/* ---- the C library's ----------------------------------------------------------------------------- */

ssize_t __wrap_write(int fd, const void *buf, size_t len) {
	if (ours(fd)) {
		if (!may())
			return -1;
		keep_image(fd, false);
	}
	return __real_write(fd, buf, len);
}

ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t at) {
	if (ours(fd)) {
		if (!may())
			return -1;
		keep_image(fd, false);
	}
	return __real_pwrite(fd, buf, len, at);
}

int __wrap_ftruncate(int fd, off_t len) {
	if (ours(fd)) {
		if (!may())
			return -1;
		keep_image(fd, false);
	}
	return __real_ftruncate(fd, len);
}

int __wrap_fallocate(int fd, int mode, off_t at, off_t len) {
	if (ours(fd)) {
		if (!may())
			return -1;
		keep_image(fd, false);
	}
	return __real_fallocate(fd, mode, at, len);
}

int __wrap_fsync(int fd) {
	char path[PATH_MAX];
	struct stat st;
	struct renamed *next;
	if (!ours(fd))
		return __real_fsync(fd);
	if (!may())
		return -1;
	if (fstat(fd, &st) != 0)
		return -1;
	struct changed *c = find(&st);
	if (c)
		drop(c);
	path_of(fd, path);
	for (struct renamed *r = TAILQ_FIRST(&disk.renamed); S_ISDIR(st.st_mode) && r; r = next) {
		next = TAILQ_NEXT(r, next);
		if (strcmp(r->folder, path) == 0)
			forget(r);
	}
	return 0;
}

int __wrap_openat(int dir, const char *name, int flags, ...) {
	va_list ap;
	va_start(ap, flags);
	mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	bool makes = flags & O_CREAT && ours(dir) && faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0;
	if (makes && !may())
		return -1;
	int fd = __real_openat(dir, name, flags, mode);
	if (makes && fd >= 0) {
		note_name(dir, name, "");
		/* nothing had the name before */
		struct renamed *r = TAILQ_LAST(&disk.renamed, renames);
		if (r->saved[0])
			__real_unlinkat(disk.own, r->saved, 0);
		r->saved[0] = 0;
		keep_image(fd, true);
	}
	return fd;
}

int __wrap_renameat(int from, const char *old, int to, const char *name) {
	if (ours(to)) {
		if (!may())
			return -1;
		note_name(to, name, old);
	}
	return __real_renameat(from, old, to, name);
}

int __wrap_linkat(int from, const char *old, int to, const char *name, int flags) {
	if (ours(to)) {
		if (!may())
			return -1;
		if (faccessat(to, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
			errno = EEXIST;
			return -1;
		}
		note_name(to, name, "");
	}
	return __real_linkat(from, old, to, name, flags);
}

int __wrap_unlinkat(int dir, const char *name, int flags) {
	if (ours(dir)) {
		if (!may())
			return -1;
		if (flags & AT_REMOVEDIR)
			return __real_unlinkat(dir, name, flags);
		if (faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW) != 0)
			return -1;
		note_name(dir, name, "");
	}
	return __real_unlinkat(dir, name, flags);
}
