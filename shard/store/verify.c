/* verify: checks content against its name: chunks and blobs that arrive, and those on disk.
 *
 * Bytes are checked here before they enter the store, and before they are trusted after a restart.
 * Threads: any except the loop, because the functions hash or wait for the disk. */
#include "common/durable.h"
#include "shard/store/store_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

int store_verify_blob(const struct content_id *id, const void *data, size_t len) {
	struct content_id have = content_hash(data, len);
	return content_equal(&have, id) ? 0 : -EBADMSG;
}

int store_verify_chunk(
        const struct content_tensor *record, uint32_t chunk, const void *canonical, size_t len) {
	uint64_t first, rows, bytes;
	if (chunk >= record->chunks)
		return -EBADMSG;
	content_chunk_extent(record, chunk, &first, &rows, &bytes);
	return len == bytes ? store_verify_blob(&record->chunk[chunk], canonical, len) : -EBADMSG;
}

int store_verify_part(const struct content_tensor *record, uint32_t part, const void *packed) {
	size_t row = kern_row_bytes(record->type, record->n);
	uint32_t each = record->chunks / record->parts;
	uint64_t first, rows, bytes, begin = part * (record->rows / record->parts);
	uint8_t *canonical = malloc(record->chunk_rows * row);
	int rc = canonical ? 0 : -ENOMEM;
	for (uint32_t i = part * each; i < (part + 1) * each && rc == 0; i++) {
		content_chunk_extent(record, i, &first, &rows, &bytes);
		kern_unpack(record->type, canonical, (const uint8_t *)packed + (first - begin) * row, rows,
		        record->n);
		rc = store_verify_chunk(record, i, canonical, bytes);
	}
	free(canonical);
	return rc;
}

/* ---- what is on disk ---- */

int store_check_head(struct store *s, const struct content_id *id) {
	struct content_tensor record;
	struct store_head head;
	int fd = store_open_file(s, id, &record, &head);
	if (fd == -ESTALE && head.layout == STORE_OLDER_LAYOUT) {
		int rc = store_check_older(s, id);
		return rc == 0 ? STORE_OLDER : rc;
	}
	if (fd < 0)
		return fd;
	content_tensor_clear(&record);
	close(fd);
	return 0;
}

size_t store_check_buffer_bytes(const struct store_tensor *t) {
	return 2 * kern_packed_bytes(t->record.type, t->record.chunk_rows, t->record.n) + 2 * STORE_ALIGN;
}

int store_check_chunk(const struct store_tensor *t, uint32_t chunk, void *buf) {
	uint64_t first, rows, bytes;
	content_chunk_extent(&t->record, chunk, &first, &rows, &bytes);
	uint64_t packed = kern_packed_bytes(t->record.type, rows, t->record.n);
	uint64_t from = t->packed_at + first * kern_row_bytes(t->record.type, t->record.n);
	uint8_t *canonical = (uint8_t *)buf + (packed + STORE_ALIGN - 1) / STORE_ALIGN * STORE_ALIGN;
	int rc = durable_read_at(t->fd, buf, packed, from);
	if (rc < 0)
		return rc;
	/* do not keep pages in the page cache that nobody has mapped */
	posix_fadvise(t->fd, (off_t)from, (off_t)packed, POSIX_FADV_DONTNEED);
	kern_unpack(t->record.type, canonical, buf, rows, t->record.n);
	return store_verify_chunk(&t->record, chunk, canonical, bytes);
}

void store_drop_tensor(struct store *s, const struct store_tensor *bad) {
	char hex[CONTENT_HEX];
	struct stat there;
	content_hex(&bad->record.id, hex);
	if (fstatat(s->tensors, hex, &there, AT_SYMLINK_NOFOLLOW) == 0 && store_file_is(&bad->file, &there))
		unlinkat(s->tensors, hex, 0);
}
