/* list: the files of a store's folders, their names and sizes.
 * Threads: any except the loop, because all functions wait for the disk. */
#include "common/durable.h"
#include "shard/store/store_internal.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

int store_read_folder(int folder, struct store_entries *out) {
	DIR *d = durable_read_folder(folder);
	size_t capacity = 0;
	int rc = 0;
	*out = (struct store_entries){0};
	if (!d)
		return -errno;
	for (struct dirent *e; rc == 0 && (e = readdir(d));) {
		struct store_entry one = {0};
		struct stat st;
		if (fstatat(folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		one.named = content_from_hex(e->d_name, &one.id) == 0;
		one.bytes = (uint64_t)st.st_size;
		one.used = st.st_mtim;
		if (out->count == capacity) {
			capacity = capacity ? 2 * capacity : 64;
			struct store_entry *grown = realloc(out->entry, capacity * sizeof *grown);
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
