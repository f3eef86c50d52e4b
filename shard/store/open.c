/* open: opens tensors of the store.
 *
 * Head and record of a tensor's file are checked against its name and length.  The packed bytes are not hashed at every open (a
 * model is many GiB) but in the background, by daemon/scrub/scrub.h.  When they are served to another node, that node checks
 * the chunks by their names. */
#include "common/durable.h"
#include "proto/descriptors.h"
#include "shard/store/store_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

bool store_hold_alone(const struct store *s, int fd, const char *name) {
	struct stat mine, there;
	return flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &mine) == 0 &&
	       /* another daemon may have replaced it by a good one */
	       fstatat(s->tensors, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && mine.st_dev == there.st_dev &&
	       mine.st_ino == there.st_ino;
}

void store_remove_useless(struct store *s, int fd, const char *hex) {
	if (store_hold_alone(s, fd, hex))
		unlinkat(s->tensors, hex, 0);
}

/* Reads and checks head and record of an open file, which must have this layout. */
static int store_read_record(int fd, uint32_t layout, const struct content_id *id,
        struct content_tensor *record, struct store_head *head) {
	uint8_t bytes[STORE_HEAD], *data = NULL;
	struct stat st;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_nlink == 0)
		return -ENOENT;
	int rc = durable_read_at(fd, bytes, sizeof bytes, 0);
	if (rc == 0)
		rc = store_head_get(bytes, head);
	if (rc == 0 || rc == -ESTALE)
		rc = head->layout == layout ? 0 : -ESTALE;
	if (rc < 0)
		return rc;
	if (head->record_len > CONTENT_BLOB_MAX || head->record_len > (uint64_t)st.st_size)
		return -EBADMSG;
	data = malloc(head->record_len ? head->record_len : 1);
	if (!data)
		return -ENOMEM;
	rc = durable_read_at(fd, data, head->record_len, STORE_HEAD);
	if (rc == 0) {
		rc = content_tensor_decode(record, data, head->record_len);
		rc = rc == -EINVAL ? -EBADMSG : rc;
	}
	free(data);
	if (rc < 0)
		return rc;
	struct store_head want = store_head_of(record, head->record_len);
	if (!content_equal(&record->id, id) || head->packed_at != want.packed_at ||
	        head->packed_bytes != want.packed_bytes ||
	        (uint64_t)st.st_size != want.packed_at + want.packed_bytes) {
		content_tensor_clear(record);
		return -EBADMSG;
	}
	return 0;
}

/* Opens it in one folder; own: invalid files are removed. */
static int open_in(struct store *s, int folder, bool own, uint32_t layout, const struct content_id *id,
        struct content_tensor *record, struct store_head *head) {
	char hex[CONTENT_HEX];
	int rc, fd = openat(folder, content_hex(id, hex), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	/* only a process that removes a file has an exclusive lock */
	rc = flock(fd, LOCK_SH | LOCK_NB) < 0 ? (errno == EWOULDBLOCK ? -ENOENT : -errno) : 0;
	if (rc == 0)
		rc = store_read_record(fd, layout, id, record, head);
	if (own && (rc == -EBADMSG || (rc == -ESTALE && head->layout != STORE_OLDER_LAYOUT &&
	                                      head->layout != KERN_LAYOUT)))
		store_remove_useless(s, fd, hex);
	if (rc < 0) {
		close(fd);
		return rc;
	}
	return fd;
}

int store_open_file(struct store *s, const struct content_id *id, struct content_tensor *record,
        struct store_head *head) {
	int rc = open_in(s, s->tensors, true, KERN_LAYOUT, id, record, head);
	if (rc >= 0 || s->lent_tensors < 0)
		return rc;
	int lent = open_in(s, s->lent_tensors, false, KERN_LAYOUT, id, record, head);
	return lent >= 0 ? lent : rc;
}

int store_open_older(struct store *s, const struct content_id *id, struct content_tensor *record,
        struct store_head *head) {
	return open_in(s, s->tensors, false, STORE_OLDER_LAYOUT, id, record, head);
}

int store_check_older(struct store *s, const struct content_id *id) {
	struct content_tensor record;
	struct store_head head;
	int fd = open_in(s, s->tensors, true, STORE_OLDER_LAYOUT, id, &record, &head);
	if (fd < 0)
		return fd;
	content_tensor_clear(&record);
	close(fd);
	return 0;
}

/* As store_open_file, but an invalid file counts as absent. */
static int open_tensor(struct store *s, const struct content_id *id, struct content_tensor *record,
        struct store_head *head) {
	int rc = store_open_file(s, id, record, head);
	return rc == -ESTALE || rc == -EBADMSG ? -ENOENT : rc;
}

bool store_has_tensor(struct store *s, const struct content_id *id) {
	struct content_tensor record;
	struct store_head head;
	int fd = open_tensor(s, id, &record, &head);
	if (fd < 0)
		return false;
	content_tensor_clear(&record);
	close(fd);
	return true;
}

static void store_fail_record(
        const struct store *s, const struct content_id *id, int rc, char *err, size_t errlen) {
	char hex[CONTENT_HEX];
	content_hex(id, hex);
	if (rc == -ENOENT)
		snprintf(err, errlen, "%s: tensor %.16s is not in the store", s->dir, hex);
	else
		snprintf(err, errlen, "%s: tensor %.16s: %s", s->dir, hex, descriptors_strerror(-rc).s);
}

int store_open_tensor(
        struct store *s, const struct content_id *id, struct store_tensor **out, char *err, size_t errlen) {
	struct store_head head;
	struct store_tensor *t = calloc(1, sizeof *t);
	int rc = t ? t->fd = open_tensor(s, id, &t->record, &head) : -ENOMEM;
	if (rc < 0) {
		store_fail_record(s, id, rc, err, errlen);
		free(t);
		return rc;
	}
	struct stat st;
	t->packed_at = head.packed_at;
	t->packed_bytes = head.packed_bytes;
	rc = fstat(t->fd, &st) < 0 ? -errno : 0;
	if (rc == 0) {
		t->file = store_file_of(&st);
		rc = store_use_add(s, t);
	}
	if (rc < 0) {
		store_fail_record(s, id, rc, err, errlen);
		store_unmap_tensor(t);
		return rc;
	}
	*out = t;
	return 0;
}

bool store_keep_tensor(struct store *s, const struct content_id *id) {
	struct content_tensor record;
	struct store_head head;
	int fd = open_tensor(s, id, &record, &head);
	if (fd < 0)
		return false;
	futimens(fd, NULL);
	content_tensor_clear(&record);
	close(fd);
	return true;
}

int store_map_opened(struct store_tensor *t) {
	if (t->map)
		return 0;
	/* only the matrix: the page with the head would not be read again (pages can be larger than
	 * STORE_ALIGN) */
	uint64_t skip = t->packed_at & ~((uint64_t)sysconf(_SC_PAGESIZE) - 1);
	size_t bytes = t->packed_at + t->packed_bytes - skip;
	void *map = mmap(NULL, bytes, PROT_READ, MAP_SHARED, t->fd, (off_t)skip);
	if (map == MAP_FAILED)
		return -errno;
	/* A page of the file that is never read: it keeps file and lock when every page of the map has been
	 * replaced (in_use.c). */
	void *hold = mmap(NULL, 1, PROT_NONE, MAP_SHARED, t->fd, 0);
	if (hold == MAP_FAILED) {
		int rc = -errno;
		munmap(map, bytes);
		return rc;
	}
	madvise(map, bytes, MADV_HUGEPAGE); /* a hint, for pages that come from disk */
	t->hold = hold;
	t->map = map;
	t->map_bytes = bytes;
	t->packed = (const uint8_t *)map + (t->packed_at - skip);
	store_use_mapped(t);
	return 0;
}

void store_close_descriptor(struct store_tensor *t) {
	if (!t->map || t->fd < 0)
		return;
	store_use_lock(); /* which may be renewing the tensor */
	close(t->fd);
	t->fd = -1;
	store_use_unlock();
}

int store_open_descriptor(struct store *s, struct store_tensor *t) {
	struct content_tensor record;
	struct store_head head;
	struct stat st;
	if (t->fd >= 0)
		return 0;
	int fd = open_tensor(s, &t->record.id, &record, &head);
	if (fd < 0)
		return fd;
	content_tensor_clear(&record);
	if (fstat(fd, &st) < 0 || !store_file_is(&t->file, &st)) { /* it is just being replaced */
		close(fd);
		return -EAGAIN;
	}
	t->fd = fd;
	return 0;
}

int store_map_tensor(
        struct store *s, const struct content_id *id, struct store_tensor **out, char *err, size_t errlen) {
	struct store_tensor *t = NULL;
	int rc = store_open_tensor(s, id, &t, err, errlen);
	if (rc < 0)
		return rc;
	rc = store_map_opened(t);
	if (rc < 0) {
		store_fail_record(s, id, rc, err, errlen);
		store_unmap_tensor(t);
		return rc;
	}
	*out = t;
	return 0;
}

void store_unmap_tensor(struct store_tensor *t) {
	int saved = errno;
	if (!t)
		return;
	store_use_remove(t);
	if (t->map)
		munmap(t->map, t->map_bytes);
	if (t->hold)
		munmap(t->hold, 1);
	if (t->fd >= 0)
		close(t->fd);
	content_tensor_clear(&t->record);
	free(t);
	errno = saved;
}

void store_tensor_chunk(const struct store_tensor *t, uint32_t chunk, void *buf) {
	uint64_t first, rows, bytes;
	content_chunk_extent(&t->record, chunk, &first, &rows, &bytes);
	const uint8_t *strip =
	        (const uint8_t *)t->packed + first * kern_row_bytes(t->record.type, t->record.n);
	kern_unpack(t->record.type, buf, strip, rows, t->record.n);
}
