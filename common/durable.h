/* durable: files that are there whole or not at all.
 *
 * A file is written under a temporary name beside its place, synced, and renamed.  Its writer holds an exclusive
 * lock until then, by which a sweep tells the leavings of a dead process from the work of a living one.
 * Threads: calls block on the disk. */
#ifndef COMMON_DURABLE_H
#define COMMON_DURABLE_H
#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DURABLE_TEMP 32 /* bytes of a temporary name, its NUL included */

/* A new, empty, locked file in a folder; its name in temp.  A descriptor, or a negative errno. */
int durable_create(int dir, char temp[DURABLE_TEMP]);
/* Syncs the file, gives it its name (replacing what bore it) and syncs the folder; the lock becomes a shared
 * one.  The descriptor stays the caller's. */
int durable_commit(int dir, int fd, const char *temp, const char *name);
/* Removes a file that was not committed.  The descriptor stays the caller's. */
void durable_discard(int dir, const char *temp);

/* All of it at once. */
int durable_write(int dir, const char *name, const void *data, size_t len);
/* The same for a folder by its path. */
int durable_write_in(const char *path, const char *name, const void *data, size_t len);
/* The whole file (malloc'd): -ENOENT, -EFBIG beyond max, or another negative errno. */
int durable_read(int dir, const char *name, size_t max, uint8_t **data, size_t *len);
/* Writes len bytes at an offset, however many calls that takes. */
int durable_write_at(int fd, const void *data, size_t len, uint64_t offset);
/* Reads as many: 0, -EBADMSG where the file ends before, or another negative errno. */
int durable_read_at(int fd, void *out, size_t len, uint64_t offset);

/* Removes what processes that have died left behind. */
void durable_sweep(int dir);
/* Removes the files whose names begin with this, that nobody holds a lock on, and that are useless. */
void durable_sweep_where(int dir, const char *prefix, bool (*useless)(int dir, const char *name, int fd));
/* Whether it was last written more than `seconds` ago. */
bool durable_is_older(int fd, int64_t seconds);

/* The files of an open folder, which stays open; NULL and errno. */
DIR *durable_read_folder(int dir);

/* Makes a folder and those above it, mode 0700 for what is new.  0 or a negative errno. */
int durable_mkdirs(const char *path);

#endif
