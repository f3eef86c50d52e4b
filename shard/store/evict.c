/* evict: keeps a store within its limit and its disk: eviction, pins, and removal on request.
 * Threads: any except the loop, because all functions wait for the disk. */
#include "common/fail.h"
#include "shard/store/partial.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

/* ---- how much space it takes ---- */

void store_set_limit(struct store *s, const struct store_limit *limit) {
	s->limit = *limit;
}

/* Names that are pinned until store_unpin. */
struct store_pin {
	struct store *store;
	LIST_ENTRY(store_pin) link;
	size_t count;
	struct content_id id[]; /* ascending */
};

int store_pin(struct store_pin **out, struct store *s, const struct content_id *ids, size_t count) {
	struct store_pin *p = malloc(sizeof *p + count * sizeof *ids);
	if (!p)
		return -ENOMEM;
	p->store = s;
	p->count = count;
	memcpy(p->id, ids, count * sizeof *ids);
	qsort(p->id, count, sizeof *p->id, content_compare);
	pthread_mutex_lock(&s->pin_lock);
	LIST_INSERT_HEAD(&s->pins, p, link);
	pthread_mutex_unlock(&s->pin_lock);
	*out = p;
	return 0;
}

void store_unpin(struct store_pin *p) {
	if (!p)
		return;
	pthread_mutex_lock(&p->store->pin_lock);
	LIST_REMOVE(p, link);
	pthread_mutex_unlock(&p->store->pin_lock);
	free(p);
}

/* Under the lock. */
static bool store_is_pinned(const struct store *s, const struct content_id *id) {
	const struct store_pin *p;
	LIST_FOREACH(p, &s->pins, link)
	if (bsearch(id, p->id, p->count, sizeof *id, content_compare))
		return true;
	return false;
}

/* Removes a tensor, or the part with this name, unless it is open or pinned. */
static bool evict_file(struct store *s, const struct content_id *id, const char *name) {
	int fd = openat(s->tensors, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	/* whoever opens it from now on finds it locked, and treats it as absent; whoever pins it from now on
	 * finds it gone */
	pthread_mutex_lock(&s->pin_lock);
	bool gone = !store_is_pinned(s, id) && store_hold_alone(s, fd, name) &&
	            unlinkat(s->tensors, name, 0) == 0;
	pthread_mutex_unlock(&s->pin_lock);
	close(fd);
	return gone;
}

static bool evict(struct store *s, const struct content_id *id) {
	char hex[CONTENT_HEX];
	return evict_file(s, id, content_hex(id, hex));
}

static int store_compare_used(const void *a, const void *b) {
	const struct store_entry *x = a, *y = b;
	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	if (x->used.tv_nsec != y->used.tv_nsec)
		return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
	return memcmp(x->id.b, y->id.b, sizeof x->id.b);
}

int store_make_space(struct store *s, uint64_t need, char *err, size_t errlen) {
	const struct store_limit *l = &s->limit;
	struct store_entries all;
	if (!l->bytes)
		return 0;
	uint64_t have = store_bytes(s);
	int rc = have + need <= l->bytes ? 0 : store_read_folder(s->tensors, &all);
	if (rc || have + need <= l->bytes)
		return rc;
	qsort(all.entry, all.count, sizeof *all.entry, store_compare_used);
	for (int wanted = 0; wanted < 2; wanted++)
		for (size_t i = 0; i < all.count && have + need > l->bytes; i++) {
			const struct store_entry *e = &all.entry[i];
			if (!e->named || (l->wanted && l->wanted(l->arg, &e->id)) != wanted ||
			        !evict(s, &e->id))
				continue;
			have -= e->bytes;
			if (l->evicted)
				l->evicted(l->arg, &e->id, e->bytes, wanted);
		}
	free(all.entry);
	if (have + need <= l->bytes)
		return 0;
	return fail_with(-EDQUOT, err, errlen,
	        "the store may use %" PRIu64 " MiB, and %" PRIu64 " MiB of it is in use", l->bytes >> 20,
	        have >> 20);
}

uint64_t store_reserve(uint64_t filesystem) {
	return filesystem / 20 < STORE_RESERVE ? filesystem / 20 : STORE_RESERVE;
}

int store_check_reserve(int folder, uint64_t need, char *why, size_t len) {
	struct statvfs fs;
	if (fstatvfs(folder, &fs) < 0)
		return 0; /* unknown: a write will fail if there is no space */
	uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize,
	         reserve = store_reserve((uint64_t)fs.f_blocks * fs.f_frsize);
	if (available >= need + reserve)
		return 0;
	return fail_with(-ENOSPC, why, len,
	        "%" PRIu64 " MiB is free on its file system, of which %" PRIu64 " MiB must stay free",
	        available >> 20, reserve >> 20);
}

int store_space(struct store *s, const struct content_id *keep, size_t count, struct store_space *out) {
	const struct store_limit *l = &s->limit;
	struct statvfs fs;
	struct store_entries tensors, blobs;
	*out = (struct store_space){0};
	if (fstatvfs(s->tensors, &fs) < 0)
		return -errno;
	int rc = store_read_folder(s->tensors, &tensors);
	if (rc)
		return rc;
	rc = store_read_folder(s->blobs, &blobs);
	if (rc == 0) {
		uint64_t evictable = 0, reserve, available = (uint64_t)fs.f_bavail * fs.f_frsize;
		out->filesystem = (uint64_t)fs.f_blocks * fs.f_frsize;
		out->bytes = tensors.bytes + blobs.bytes;
		reserve = store_reserve(out->filesystem);
		out->free = available > reserve ? available - reserve : 0;
		for (size_t i = 0; l->bytes && i < tensors.count; i++) {
			const struct store_entry *e = &tensors.entry[i];
			bool kept = !e->named || (l->wanted && l->wanted(l->arg, &e->id)) ||
			            (count && bsearch(&e->id, keep, count, sizeof *keep, content_compare));
			evictable += kept ? 0 : e->bytes;
		}
		uint64_t stays = out->bytes - evictable, within = l->bytes > stays ? l->bytes - stays : 0;
		out->free += evictable;
		if (l->bytes && within < out->free)
			out->free = within;
		free(blobs.entry);
	}
	free(tensors.entry);
	return rc;
}

/* ---- removal ---- */

int store_remove_tensor(struct store *s, const struct content_id *id, uint64_t *bytes) {
	char hex[CONTENT_HEX], part[STORE_PART_NAME];
	struct stat st;
	int rc = -ENOENT;
	*bytes = 0;
	content_hex(id, hex);
	store_part_name(id, part);
	const char *const name[] = {hex, part};
	for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
		if (fstatat(s->tensors, name[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		*bytes += (uint64_t)st.st_size;
		bool gone = evict_file(s, id, name[i]);
		rc = gone && rc != -EBUSY ? 0 : -EBUSY;
	}
	return rc;
}

int store_remove_blob(struct store *s, const struct content_id *id, uint64_t *bytes) {
	char hex[CONTENT_HEX];
	struct stat st;
	*bytes = 0;
	if (fstatat(s->blobs, content_hex(id, hex), &st, AT_SYMLINK_NOFOLLOW) < 0 ||
	        unlinkat(s->blobs, hex, 0) < 0)
		return -errno;
	*bytes = (uint64_t)st.st_size;
	return 0;
}

uint64_t store_tensor_bytes(struct store *s, const struct content_id *id) {
	char hex[CONTENT_HEX];
	struct stat st;
	return fstatat(s->tensors, content_hex(id, hex), &st, AT_SYMLINK_NOFOLLOW) == 0 ? (uint64_t)st.st_size
	                                                                                : 0;
}

bool store_blob_begins(struct store *s, const struct content_id *id, const void *magic, size_t len) {
	char hex[CONTENT_HEX], begin[16];
	int fd = openat(s->blobs, content_hex(id, hex), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	bool so = fd >= 0 && len <= sizeof begin && pread(fd, begin, len, 0) == (ssize_t)len &&
	          memcmp(begin, magic, len) == 0;
	if (fd >= 0)
		close(fd);
	return so;
}
