/* convert: repacks tensors that an older version packed in another layout.
 *
 * Each tensor is unpacked chunk by chunk, checked against its record, and written by the same writer as a
 * fetched tensor.  So the new file replaces the old one by rename after a sync, and an interrupted conversion
 * continues with the chunks that it had written.  The disk needs space for one more tensor, not for a second
 * store.
 * A file that another process uses is not replaced: a daemon of the older version would find that its tensor
 * has gone.
 * One process converts a store at a time, under an exclusive lock on the folder; others wait.
 * Threads: any one, before others use the store. */
#include "shard/store/convert.h"
#include "common/durable.h"
#include "kernels/pack_layout1.h"
#include "shard/store/store_internal.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* The conversion of a store. */
struct conversion {
	struct store *store;
	struct store_convert progress;
	store_convert_fn *tell;
	void *arg;
};

static void store_convert_report(struct conversion *c, const struct content_id *id, int rc) {
	c->progress.tensor = id;
	c->progress.error = rc;
	if (c->tell)
		c->tell(c->arg, &c->progress);
}

static int convert_chunk(int fd, const struct content_tensor *t, const struct store_head *head,
        uint32_t chunk, struct store_writer *w, uint8_t *packed, uint8_t *canonical) {
	uint64_t first, rows, bytes;
	content_chunk_extent(t, chunk, &first, &rows, &bytes);
	if (store_writer_has(w, chunk))
		return 0;
	int rc = durable_read_at(fd, packed, kern_packed_bytes(t->type, rows, t->n),
	        head->packed_at + first * kern_row_bytes(t->type, t->n));
	if (rc < 0)
		return rc;
	kern_unpack_layout1(t->type, canonical, packed, rows, t->n);
	return store_writer_chunk(w, chunk, canonical, bytes);
}

static int convert_chunks(struct conversion *c, int fd, const struct content_tensor *t,
        const struct store_head *head, struct store_writer *w) {
	uint64_t first, rows, bytes;
	content_chunk_extent(t, 0, &first, &rows, &bytes); /* chunk 0 is the largest */
	uint8_t *packed = malloc(kern_packed_bytes(t->type, rows, t->n)), *canonical = malloc(bytes);
	int rc = packed && canonical ? 0 : -ENOMEM;
	for (uint32_t i = 0; i < t->chunks && rc == 0; i++) {
		content_chunk_extent(t, i, &first, &rows, &bytes);
		rc = convert_chunk(fd, t, head, i, w, packed, canonical);
		if (rc == 0) {
			c->progress.bytes_done += bytes;
			if (i + 1 < t->chunks)
				store_convert_report(c, &t->id, 0);
		}
	}
	free(packed);
	free(canonical);
	return rc;
}

static int store_convert_tensor(struct conversion *c, const struct content_id *id) {
	struct content_tensor t;
	struct store_head head;
	struct store_writer *w = NULL;
	struct stat st;
	char err[200], hex[CONTENT_HEX];
	int fd = store_open_older(c->store, id, &t, &head);
	if (fd < 0)
		return fd;
	content_hex(id, hex);
	/* checked first, so that a tensor in use is not converted in vain at every start; others may open it
	 * during the conversion */
	int rc = fstat(fd, &st) < 0 ? -errno : 0;
	if (rc == 0 && !(store_hold_alone(c->store, fd, hex) && flock(fd, LOCK_SH | LOCK_NB) == 0))
		rc = -EBUSY;
	if (rc == 0)
		rc = store_writer_replace(&w, c->store, &t, err, sizeof err);
	if (rc == 0) {
		rc = convert_chunks(c, fd, &t, &head, w);
		if (rc == -EBADMSG) /* its good chunks were written, for whoever fetches the rest */
			store_remove_useless(c->store, fd, hex);
	}
	if (rc == 0)
		rc = store_hold_alone(c->store, fd, hex) ? store_writer_commit(w) : -EBUSY;
	if (rc == 0) /* keep the old times: conversion is not a use, and eviction goes by last use */
		utimensat(c->store->tensors, hex, (const struct timespec[]){st.st_atim, st.st_mtim},
		        AT_SYMLINK_NOFOLLOW);
	store_writer_destroy(w);
	content_tensor_clear(&t);
	close(fd);
	return rc;
}

/* Keeps only the names of tensors with an older layout; sums their number and canonical bytes. */
static void store_convert_keep_older(struct conversion *c, struct content_id *ids, size_t count) {
	for (size_t i = 0; i < count; i++) {
		struct content_tensor t;
		struct store_head head;
		int fd = store_open_older(c->store, &ids[i], &t, &head);
		if (fd < 0)
			continue;
		c->progress.bytes += content_tensor_bytes(&t);
		ids[c->progress.count++] = ids[i];
		content_tensor_clear(&t);
		close(fd);
	}
}

int store_convert(struct store *s, store_convert_fn *fn, void *arg) {
	struct conversion c = {.store = s, .tell = fn, .arg = arg};
	struct content_id *ids = NULL;
	size_t count;
	int worst = 0;
	while (flock(s->tensors, LOCK_EX) < 0)
		if (errno != EINTR)
			return -errno;
	int rc = store_list_tensors(s, &ids, &count);
	if (rc == 0)
		store_convert_keep_older(&c, ids, count);
	if (c.progress.count)
		store_convert_report(&c, NULL, 0);
	for (size_t i = 0; i < c.progress.count; i++) {
		rc = store_convert_tensor(&c, &ids[i]);
		c.progress.done++;
		store_convert_report(&c, &ids[i], rc);
		worst = rc && !worst ? rc : worst;
	}
	free(ids);
	flock(s->tensors, LOCK_UN);
	return c.progress.count ? worst : rc;
}
