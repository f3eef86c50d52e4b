/* write: writes a tensor into the store, chunk by chunk, continuing with what an earlier writer left.
 *
 * The file gets its full length and its disk space at the start; the head is written last.  It is written
 * with pwrite, not through a mapping, so that a full disk is an error and not a signal.
 *
 * File systems with large folios keep a range in one huge page, and map it as one, if it was written at once,
 * aligned and with the size of a huge page.  Chunks begin anywhere, so a huge page in which a chunk begins or
 * ends is first written as a whole.  Decode, which reads a whole slice per token, then needs one address
 * translation instead of 512. */
#include "common/durable.h"
#include "proto/descriptors.h"
#include "shard/store/partial.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HUGE_PAGE (2ul << 20) /* on x86, and on ARM with 4 KiB pages; harmless elsewhere */

struct store_writer {
	struct store *store; /* borrowed */
	struct content_tensor record;
	struct store_head head;
	uint8_t *record_bytes;
	uint8_t *packed; /* space for one chunk */
	uint8_t *zeros;  /* HUGE_PAGE of them, once needed */
	bool *have;      /* by chunk: whether it is written */
	uint32_t missing;
	int fd;
	bool part;                  /* temp is a part, which a later writer continues, */
	bool full;                  /* unless the disk is full: keeping it would not free the disk */
	char temp[STORE_PART_NAME]; /* empty once committed */
};

static int store_copy_record(struct content_tensor *to, const struct content_tensor *from) {
	int rc = content_tensor_init(to, from->type, from->n, from->rows, from->parts);
	if (rc < 0)
		return rc;
	if (to->chunks != from->chunks)
		return -EINVAL;
	memcpy(to->chunk, from->chunk, (size_t)to->chunks * sizeof *to->chunk);
	return 0;
}

static int store_writer_open_part(struct store_writer *w) {
	bool old;
	uint32_t there;
	int rc = w->fd = store_part_take(w->store, &w->record, &w->head, w->record_bytes, w->temp, &old);
	if (rc < 0) {
		w->temp[0] = '\0';
		return rc;
	}
	w->part = true;
	if (!old)
		return 0;
	rc = store_part_look(w->fd, &w->record, &w->head, w->packed, w->have, &there);
	if (rc == 0)
		w->missing -= there;
	return rc;
}

static int store_writer_open_new(struct store_writer *w) {
	off_t size = (off_t)(w->head.packed_at + w->head.packed_bytes);
	int rc = w->fd = durable_create(w->store->tensors, w->temp);
	if (rc < 0)
		return rc;
	if (fallocate(w->fd, 0, 0, size) < 0)
		return errno == EOPNOTSUPP && ftruncate(w->fd, size) == 0 ? 0 : -errno;
	return 0;
}

/* A part that an earlier writer left already has its disk space. */
static int store_writer_check_reserve(const struct store_writer *w, char *why, size_t len) {
	uint64_t need = w->head.packed_at + w->head.packed_bytes;
	char part[STORE_PART_NAME];
	struct stat st;
	store_part_name(&w->record.id, part);
	if (fstatat(w->store->tensors, part, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	        (uint64_t)st.st_blocks * 512 >= need)
		return 0;
	return store_check_reserve(w->store->tensors, need, why, len);
}

static int writer_create(struct store_writer **out, struct store *s, const struct content_tensor *record,
        bool replaces, char *err, size_t errlen) {
	char hex[CONTENT_HEX], why[200] = "";
	size_t len;
	int rc = -ENOMEM;
	struct store_writer *w = calloc(1, sizeof *w);
	if (!w)
		goto error;
	w->store = s;
	w->fd = -1;
	rc = store_copy_record(&w->record, record);
	if (rc == 0)
		rc = content_tensor_encode(&w->record, &w->record_bytes, &len);
	if (rc == 0 && !content_equal(&w->record.id, &record->id))
		rc = -EINVAL;
	if (rc < 0)
		goto error;
	w->head = store_head_of(&w->record, len);
	if (!replaces)
		rc = store_make_space(s, w->head.packed_at + w->head.packed_bytes, why, sizeof why);
	if (rc == 0 && !replaces)
		rc = store_writer_check_reserve(w, why, sizeof why);
	if (rc < 0)
		goto error;
	w->missing = w->record.chunks;
	rc = -ENOMEM;
	w->packed = malloc(kern_packed_bytes(w->record.type, w->record.chunk_rows, w->record.n));
	w->have = calloc(w->record.chunks, sizeof *w->have);
	if (!w->packed || !w->have)
		goto error;
	rc = w->record.chunks > 1 ? store_writer_open_part(w) : -EWOULDBLOCK;
	/* another daemon of this store writes it: each writes its own file */
	if (rc == -EWOULDBLOCK)
		rc = store_writer_open_new(w);
	if (rc < 0)
		goto error;
	*out = w;
	return 0;
error:
	snprintf(err, errlen, "%s: cannot make room for tensor %.16s (%" PRIu64 " bytes): %s", s->dir,
	        content_hex(&record->id, hex), w ? w->head.packed_bytes : 0,
	        *why ? why : descriptors_strerror(-rc).s);
	store_writer_destroy(w);
	return rc;
}

int store_writer_create(struct store_writer **out, struct store *s, const struct content_tensor *record,
        char *err, size_t errlen) {
	return writer_create(out, s, record, false, err, errlen);
}

int store_writer_replace(struct store_writer **out, struct store *s, const struct content_tensor *record,
        char *err, size_t errlen) {
	return writer_create(out, s, record, true, err, errlen);
}

/* Some file systems cannot reserve a file's space in advance, and fail here. */
static int store_note_full(struct store_writer *w, int rc) {
	w->full |= rc == -ENOSPC || rc == -EDQUOT;
	return rc;
}

static int write_at(struct store_writer *w, const void *data, size_t len, uint64_t at) {
	return store_note_full(w, durable_write_at(w->fd, data, len, at));
}

/* The chunk that a byte of the matrix is in: a chunk starts at a strip, and rows are in the same strip in both layouts. */
static uint32_t store_chunk_at(const struct store_writer *w, uint64_t at) {
	uint64_t row = (at - w->head.packed_at) / kern_row_bytes(w->record.type, w->record.n);
	/* the last strip may be filled up */
	return content_chunk_of(&w->record, row < w->record.rows ? row : w->record.rows - 1);
}

/* Writes the whole huge page at an offset, unless it is not entirely in the matrix, or part of it was written
 * already. */
static int store_write_page(struct store_writer *w, uint64_t page) {
	uint64_t end = w->head.packed_at + w->head.packed_bytes;
	if (page < w->head.packed_at || end - page < HUGE_PAGE)
		return 0;
	uint32_t last = store_chunk_at(w, page + HUGE_PAGE - 1);
	for (uint32_t i = store_chunk_at(w, page); i <= last; i++)
		if (w->have[i])
			return 0;
	if (!w->zeros && !(w->zeros = calloc(1, HUGE_PAGE)))
		return -ENOMEM;
	return write_at(w, w->zeros, HUGE_PAGE, page);
}

int store_writer_chunk(struct store_writer *w, uint32_t chunk, const void *bytes, size_t len) {
	uint64_t first, rows, size;
	int rc = store_verify_chunk(&w->record, chunk, bytes, len);
	if (rc < 0 || w->have[chunk])
		return rc;
	content_chunk_extent(&w->record, chunk, &first, &rows, &size);
	kern_pack(w->record.type, w->packed, bytes, rows, w->record.n);
	/* a chunk starts at a strip, whose offset is the same in both layouts */
	uint64_t at = w->head.packed_at + first * kern_row_bytes(w->record.type, w->record.n);
	size_t bytes_packed = kern_packed_bytes(w->record.type, rows, w->record.n);
	uint64_t begins = at / HUGE_PAGE * HUGE_PAGE, ends = (at + bytes_packed) / HUGE_PAGE * HUGE_PAGE;
	rc = begins < at ? store_write_page(w, begins) : 0;
	if (rc == 0 && ends < at + bytes_packed && (ends > begins || begins == at))
		rc = store_write_page(w, ends);
	if (rc == 0)
		rc = write_at(w, w->packed, bytes_packed, at);
	if (rc < 0)
		return rc;
	w->have[chunk] = true;
	w->missing--;
	return 0;
}

bool store_writer_has(const struct store_writer *w, uint32_t chunk) {
	return chunk < w->record.chunks && w->have[chunk];
}

bool store_writer_readable(const struct store_writer *w) {
	return w->part;
}

int store_writer_commit(struct store_writer *w) {
	uint8_t head[STORE_HEAD];
	char hex[CONTENT_HEX];
	if (w->missing > 0)
		return -EAGAIN;
	if (!w->temp[0])
		return 0;
	store_head_put(head, &w->head);
	int rc = write_at(w, w->record_bytes, w->head.record_len, STORE_HEAD);
	if (rc == 0)
		rc = write_at(w, head, STORE_HEAD, 0);
	if (rc == 0)
		rc = store_note_full(w,
		        durable_commit(w->store->tensors, w->fd, w->temp, content_hex(&w->record.id, hex)));
	if (rc == 0)
		w->temp[0] = '\0';
	return rc;
}

void store_writer_destroy(struct store_writer *w) {
	int saved = errno;
	if (!w)
		return;
	if (w->fd >= 0) {
		bool worth = w->part && !w->full && w->have && w->missing < w->record.chunks;
		if (w->temp[0] && !worth)
			durable_discard(w->store->tensors, w->temp);
		close(w->fd);
	}
	content_tensor_clear(&w->record);
	free(w->record_bytes);
	free(w->packed);
	free(w->zeros);
	free(w->have);
	free(w);
	errno = saved;
}
