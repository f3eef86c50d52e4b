/* partial: see partial.h. */
#include "shard/store/partial.h"
#include "common/durable.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX ".part-"
#define DAY 86400

static const char magic[8] = "CVPART";

void store_part_name(const struct content_id *id, char name[STORE_PART_NAME]) {
	char hex[CONTENT_HEX];
	snprintf(name, STORE_PART_NAME, PREFIX "%s", content_hex(id, hex));
}

static void store_part_head(uint8_t out[STORE_HEAD], const struct store_head *h) {
	store_head_put(out, h);
	memcpy(out, magic, sizeof magic);
}

/* Opens the file with this name and locks it; retries if the name changed before it had the lock. */
static int store_part_open_locked(int dir, const char *name) {
	for (int attempt = 0; attempt < 8; attempt++) {
		struct stat mine, there;
		int fd = openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &mine) < 0) {
			int rc = -errno;
			close(fd);
			return rc;
		}
		/* it may have become the tensor, or been removed, before it was locked */
		if (fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && mine.st_dev == there.st_dev &&
		        mine.st_ino == there.st_ino)
			return fd;
		close(fd);
	}
	return -EWOULDBLOCK;
}

/* Whether the file is a part of exactly this tensor. */
static bool store_is_part_of(int fd, const struct store_head *h, const uint8_t *record) {
	uint8_t want[STORE_HEAD], have[STORE_HEAD];
	struct stat st;
	store_part_head(want, h);
	if (fstat(fd, &st) < 0 || (uint64_t)st.st_size != h->packed_at + h->packed_bytes ||
	        durable_read_at(fd, have, sizeof have, 0) < 0 || memcmp(have, want, sizeof want) != 0)
		return false;
	uint8_t *bytes = malloc(h->record_len);
	bool same = bytes && durable_read_at(fd, bytes, h->record_len, STORE_HEAD) == 0 &&
	            memcmp(bytes, record, h->record_len) == 0;
	free(bytes);
	return same;
}

int store_part_take(struct store *s, const struct content_tensor *t, const struct store_head *h,
        const uint8_t *record, char name[STORE_PART_NAME], bool *old) {
	uint8_t head[STORE_HEAD];
	store_part_name(&t->id, name);
	int rc, fd = store_part_open_locked(s->tensors, name);
	if (fd < 0)
		return fd;
	*old = store_is_part_of(fd, h, record);
	if (*old)
		return fd;
	off_t size = (off_t)(h->packed_at + h->packed_bytes);
	rc = ftruncate(fd, 0) < 0 ? -errno : 0;
	if (rc == 0 && fallocate(fd, 0, 0, size) < 0)
		rc = errno == EOPNOTSUPP && ftruncate(fd, size) == 0 ? 0 : -errno;
	store_part_head(head, h);
	if (rc == 0)
		rc = durable_write_at(fd, record, h->record_len, STORE_HEAD);
	if (rc == 0)
		rc = durable_write_at(fd, head, sizeof head, 0);
	if (rc < 0) {
		durable_discard(s->tensors, name);
		close(fd);
		return rc;
	}
	return fd;
}

/* Reads a chunk from the file and unpacks it; packed: space for the packed chunk. */
static int store_part_chunk_at(int fd, const struct content_tensor *t, const struct store_head *h,
        uint32_t chunk, uint8_t *packed, uint8_t *out) {
	uint64_t first, rows, bytes;
	content_chunk_extent(t, chunk, &first, &rows, &bytes);
	int rc = durable_read_at(fd, packed, kern_packed_bytes(t->type, rows, t->n),
	        h->packed_at + first * kern_row_bytes(t->type, t->n));
	if (rc == 0)
		kern_unpack(t->type, out, packed, rows, t->n);
	return rc;
}

int store_part_look(int fd, const struct content_tensor *t, const struct store_head *h, uint8_t *buf,
        bool *have, uint32_t *count) {
	uint64_t first, rows, most;
	content_chunk_extent(t, 0, &first, &rows, &most);
	uint8_t *plain = malloc(most);
	*count = 0;
	if (!plain)
		return -ENOMEM;
	for (uint32_t c = 0; c < t->chunks; c++) {
		uint64_t bytes;
		content_chunk_extent(t, c, &first, &rows, &bytes);
		int rc = store_part_chunk_at(fd, t, h, c, buf, plain);
		if (rc < 0) {
			free(plain);
			return rc;
		}
		have[c] = store_verify_chunk(t, c, plain, bytes) == 0;
		*count += have[c];
	}
	free(plain);
	return 0;
}

/* Opens a part for reading while it is written.  Returns a descriptor, with record and offsets, or a negative
 * errno. */
static int store_part_open(
        struct store *s, const struct content_id *id, struct content_tensor *t, struct store_head *h) {
	char name[STORE_PART_NAME];
	uint8_t bytes[STORE_HEAD], whole[STORE_HEAD], *record = NULL;
	store_part_name(id, name);
	int rc, fd = openat(s->tensors, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	rc = durable_read_at(fd, bytes, sizeof bytes, 0);
	if (rc == 0) { /* either magic is valid: the writer may be turning the part into a tensor's file */
		store_head_put(whole, h);
		memcpy(bytes, whole, sizeof magic);
		rc = store_head_get(bytes, h);
	}
	if (rc == 0 && h->record_len > CONTENT_BLOB_MAX)
		rc = -EBADMSG;
	if (rc == 0 && !(record = malloc(h->record_len + 1)))
		rc = -ENOMEM;
	if (rc == 0)
		rc = durable_read_at(fd, record, h->record_len, STORE_HEAD);
	if (rc == 0)
		rc = content_tensor_decode(t, record, h->record_len);
	free(record);
	if (rc == 0 && !content_equal(&t->id, id)) {
		content_tensor_clear(t);
		rc = -EBADMSG;
	}
	if (rc < 0) {
		close(fd);
		return rc;
	}
	*h = store_head_of(t, h->record_len);
	return fd;
}

int store_part_read(
        struct store *s, const struct content_id *id, int64_t chunk, uint8_t **data, size_t *len) {
	struct content_tensor t = {0};
	struct store_head h = {0};
	uint64_t first, rows, bytes;
	int fd = store_part_open(s, id, &t, &h);
	if (fd < 0)
		return fd;
	int rc = 0;
	if (chunk < 0) {
		rc = content_tensor_encode(&t, data, len);
	} else if (chunk >= t.chunks) {
		rc = -ENOENT;
	} else {
		content_chunk_extent(&t, (uint32_t)chunk, &first, &rows, &bytes);
		uint8_t *packed = malloc(kern_packed_bytes(t.type, rows, t.n)), *out = malloc(bytes);
		rc = packed && out ? store_part_chunk_at(fd, &t, &h, (uint32_t)chunk, packed, out) : -ENOMEM;
		free(packed);
		if (rc < 0)
			free(out);
		*data = rc < 0 ? NULL : out;
		*len = bytes;
	}
	content_tensor_clear(&t);
	close(fd);
	return rc;
}

/* Whether the tensor is there in the current layout: then a part is useless. */
static bool store_part_is_complete(int tensors, const char *name) {
	uint8_t bytes[STORE_HEAD];
	struct store_head h;
	int fd = openat(tensors, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	bool complete =
	        fd >= 0 && durable_read_at(fd, bytes, sizeof bytes, 0) == 0 && store_head_get(bytes, &h) == 0;
	if (fd >= 0)
		close(fd);
	return complete;
}

static bool store_part_is_useless(int tensors, const char *name, int fd) {
	return store_part_is_complete(tensors, name + sizeof PREFIX - 1) ||
	       durable_is_older(fd, STORE_PART_DAYS * DAY);
}

void store_part_sweep(int tensors) {
	durable_sweep_where(tensors, PREFIX, store_part_is_useless);
}
