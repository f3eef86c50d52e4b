/* verify: lists the files of a store and checks them against their names.
 * Threads: any except the loop, because all functions wait for the disk. */
#include "common/durable.h"
#include "shard/store/store_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- what there is ---- */

int store_read_folder(int folder, struct store_entries *out) {
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	size_t room = 0;
	*out = (struct store_entries){0};
	if (!d) {
		rc = -errno;
		if (copy >= 0)
			close(copy);
		return rc;
	}
	for (struct dirent *e; rc == 0 && (e = readdir(d));) {
		struct store_entry one = {0};
		struct stat st;
		if (fstatat(folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		one.named = content_from_hex(e->d_name, &one.id) == 0;
		one.bytes = (uint64_t)st.st_size;
		one.used = st.st_mtim;
		if (out->count == room) {
			room = room ? 2 * room : 64;
			struct store_entry *grown = realloc(out->entry, room * sizeof *grown);
			if (!grown) {
				rc = -ENOMEM;
				break;
			}
			out->entry = grown;
		}
		out->entry[out->count++] = one;
		out->bytes += one.bytes;
	}
	closedir(d);
	if (rc) {
		free(out->entry);
		*out = (struct store_entries){0};
	}
	return rc;
}

static int list_names(int folder, struct content_id **ids, size_t *count) {
	struct store_entries all;
	int rc = store_read_folder(folder, &all);
	if (rc)
		return rc;
	*count = 0;
	*ids = malloc((all.count + 1) * sizeof **ids);
	for (size_t i = 0; *ids && i < all.count; i++)
		if (all.entry[i].named)
			(*ids)[(*count)++] = all.entry[i].id;
	free(all.entry);
	return *ids ? 0 : -ENOMEM;
}

int store_list_tensors(struct store *s, struct content_id **ids, size_t *count) {
	return list_names(s->tensors, ids, count);
}

int store_list_blobs(struct store *s, struct content_id **ids, size_t *count) {
	return list_names(s->blobs, ids, count);
}

uint64_t store_bytes(struct store *s) {
	struct store_entries tensors, blobs;
	uint64_t sum = 0;
	if (store_read_folder(s->tensors, &tensors) == 0) {
		sum += tensors.bytes;
		free(tensors.entry);
	}
	if (store_read_folder(s->blobs, &blobs) == 0) {
		sum += blobs.bytes;
		free(blobs.entry);
	}
	return sum;
}

/* ---- whether it is sound ---- */

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

size_t store_check_room(const struct store_tensor *t) {
	uint64_t rows = t->record.chunk_rows < t->record.rows ? t->record.chunk_rows : t->record.rows;
	return 2 * kern_packed_bytes(t->record.type, rows, t->record.n) + 2 * STORE_ALIGN;
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
	/* pages that nobody has mapped are not kept for this */
	posix_fadvise(t->fd, (off_t)from, (off_t)packed, POSIX_FADV_DONTNEED);
	kern_unpack(t->record.type, canonical, buf, rows, t->record.n);
	struct content_id have = content_hash(canonical, bytes);
	return content_equal(&have, &t->record.chunk[chunk]) ? 0 : -EBADMSG;
}

void store_drop_tensor(struct store *s, const struct store_tensor *bad) {
	char hex[CONTENT_HEX];
	struct stat there;
	content_hex(&bad->record.id, hex);
	if (fstatat(s->tensors, hex, &there, AT_SYMLINK_NOFOLLOW) == 0 && store_file_is(&bad->file, &there))
		unlinkat(s->tensors, hex, 0);
}
