/* scrub: looking after the files of a store: whether they are what their names say, and how much room they take.
 * Threads: any; none may be the loop, since all wait for the disk. */
#include "common/durable.h"
#include "shard/store/partial.h"
#include <dirent.h>
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

/* ---- what there is ---- */

struct entry {
	struct content_id id;
	bool named; /* otherwise it is being written */
	uint64_t bytes;
	struct timespec used;
};

struct entries {
	struct entry *entry;
	size_t count;
	uint64_t bytes;
};

/* Everything in a folder of the store. */
static int read_folder(int folder, struct entries *out) {
	int copy = openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *d = copy < 0 ? NULL : fdopendir(copy);
	size_t room = 0;
	*out = (struct entries){0};
	if (!d) {
		rc = -errno;
		if (copy >= 0)
			close(copy);
		return rc;
	}
	for (struct dirent *e; rc == 0 && (e = readdir(d));) {
		struct entry one = {0};
		struct stat st;
		if (fstatat(folder, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode))
			continue;
		one.named = content_from_hex(e->d_name, &one.id) == 0;
		one.bytes = (uint64_t)st.st_size;
		one.used = st.st_mtim;
		if (out->count == room) {
			room = room ? 2 * room : 64;
			struct entry *grown = realloc(out->entry, room * sizeof *grown);
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
		*out = (struct entries){0};
	}
	return rc;
}

static int list(int folder, struct content_id **ids, size_t *count) {
	struct entries all;
	int rc = read_folder(folder, &all);
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
	return list(s->tensors, ids, count);
}

int store_list_blobs(struct store *s, struct content_id **ids, size_t *count) {
	return list(s->blobs, ids, count);
}

uint64_t store_bytes(struct store *s) {
	struct entries tensors, blobs;
	uint64_t sum = 0;
	if (read_folder(s->tensors, &tensors) == 0) {
		sum += tensors.bytes;
		free(tensors.entry);
	}
	if (read_folder(s->blobs, &blobs) == 0) {
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
	uint64_t from = t->packed_at + first * kern_row_bytes(t->record.type, t->record.n), got = 0;
	uint8_t *canonical = (uint8_t *)buf + (packed + STORE_ALIGN - 1) / STORE_ALIGN * STORE_ALIGN;
	while (got < packed) {
		ssize_t n = pread(t->fd, (uint8_t *)buf + got, packed - got, (off_t)(from + got));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EBADMSG;
		got += (uint64_t)n;
	}
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

/* ---- how much room it takes ---- */

void store_set_limit(struct store *s, const struct store_limit *limit) {
	s->limit = *limit;
}

/* Names that stay, until they are let go. */
struct store_pin {
	struct store *store;
	struct store_pin *next;
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
	p->next = s->pins;
	s->pins = p;
	pthread_mutex_unlock(&s->pin_lock);
	*out = p;
	return 0;
}

void store_unpin(struct store_pin *p) {
	if (!p)
		return;
	pthread_mutex_lock(&p->store->pin_lock);
	struct store_pin **at = &p->store->pins;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	pthread_mutex_unlock(&p->store->pin_lock);
	free(p);
}

/* Under the lock. */
static bool is_pinned(const struct store *s, const struct content_id *id) {
	for (const struct store_pin *p = s->pins; p; p = p->next)
		if (bsearch(id, p->id, p->count, sizeof *id, content_compare))
			return true;
	return false;
}

/* Removes a tensor, or the part of one that bears this name, unless somebody has it open, or will. */
static bool evict_file(struct store *s, const struct content_id *id, const char *name) {
	struct stat mine, there;
	int fd = openat(s->tensors, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	/* who opens it from now on finds it barred, and takes it for absent; who pins it from now on finds it gone */
	pthread_mutex_lock(&s->pin_lock);
	bool gone = !is_pinned(s, id) && flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &mine) == 0 &&
	            fstatat(s->tensors, name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
	            mine.st_dev == there.st_dev && mine.st_ino == there.st_ino &&
	            unlinkat(s->tensors, name, 0) == 0;
	pthread_mutex_unlock(&s->pin_lock);
	close(fd);
	return gone;
}

static bool evict(struct store *s, const struct content_id *id) {
	char hex[CONTENT_HEX];
	return evict_file(s, id, content_hex(id, hex));
}

static int compare_used(const void *a, const void *b) {
	const struct entry *x = a, *y = b;
	if (x->used.tv_sec != y->used.tv_sec)
		return x->used.tv_sec < y->used.tv_sec ? -1 : 1;
	if (x->used.tv_nsec != y->used.tv_nsec)
		return x->used.tv_nsec < y->used.tv_nsec ? -1 : 1;
	return memcmp(x->id.b, y->id.b, sizeof x->id.b);
}

int store_make_room(struct store *s, uint64_t need, char *err, size_t errlen) {
	const struct store_limit *l = &s->limit;
	struct entries all;
	if (!l->bytes)
		return 0;
	uint64_t have = store_bytes(s);
	int rc = have + need <= l->bytes ? 0 : read_folder(s->tensors, &all);
	if (rc || have + need <= l->bytes)
		return rc;
	qsort(all.entry, all.count, sizeof *all.entry, compare_used);
	for (int wanted = 0; wanted < 2; wanted++)
		for (size_t i = 0; i < all.count && have + need > l->bytes; i++) {
			const struct entry *e = &all.entry[i];
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
	snprintf(err, errlen, "the store may use %" PRIu64 " MiB, and %" PRIu64 " MiB of it is in use",
	        l->bytes >> 20, have >> 20);
	return -EDQUOT;
}

uint64_t store_reserve(uint64_t filesystem) {
	return filesystem / 20 < STORE_RESERVE ? filesystem / 20 : STORE_RESERVE;
}

int store_check_reserve(int folder, uint64_t need, char *why, size_t len) {
	struct statvfs fs;
	if (fstatvfs(folder, &fs) < 0)
		return 0; /* writing tells */
	uint64_t available = (uint64_t)fs.f_bavail * fs.f_frsize,
	         reserve = store_reserve((uint64_t)fs.f_blocks * fs.f_frsize);
	if (available >= need + reserve)
		return 0;
	snprintf(why, len,
	        "%" PRIu64 " MiB is free on its file system, of which %" PRIu64 " MiB must stay free",
	        available >> 20, reserve >> 20);
	return -ENOSPC;
}

int store_room(struct store *s, const struct content_id *keep, size_t count, struct store_room *out) {
	const struct store_limit *l = &s->limit;
	struct statvfs fs;
	struct entries tensors, blobs;
	*out = (struct store_room){0};
	if (fstatvfs(s->tensors, &fs) < 0)
		return -errno;
	int rc = read_folder(s->tensors, &tensors);
	if (rc)
		return rc;
	rc = read_folder(s->blobs, &blobs);
	if (rc == 0) {
		uint64_t evictable = 0, reserve, available = (uint64_t)fs.f_bavail * fs.f_frsize;
		out->filesystem = (uint64_t)fs.f_blocks * fs.f_frsize;
		out->bytes = tensors.bytes + blobs.bytes;
		reserve = store_reserve(out->filesystem);
		out->free = available > reserve ? available - reserve : 0;
		for (size_t i = 0; l->bytes && i < tensors.count; i++) {
			const struct entry *e = &tensors.entry[i];
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

/* ---- taking things out ---- */

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
