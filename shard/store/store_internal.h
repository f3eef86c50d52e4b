/* store_internal: shared by the files of this folder, and private to it. */
#ifndef SHARD_STORE_STORE_INTERNAL_H
#define SHARD_STORE_STORE_INTERNAL_H
#include "shard/store/store.h"
#include <pthread.h>
#include <sys/queue.h>
#include <sys/stat.h>

#define STORE_ALIGN 4096u /* where the packed matrix of a tensor file may start */
#define STORE_HEAD 64u    /* bytes of the header before the record */
#define STORE_VERSION 1u
#define STORE_OLDER_LAYOUT 1u /* that store_convert knows */

struct store {
	char *dir, *names;
	int blobs, tensors, models; /* the folders */
	char *lent_names;           /* of another store that is read from, */
	int lent_tensors;           /* and its folder; -1: there is none */
	struct store_limit limit;
	pthread_mutex_t pin_lock;
	LIST_HEAD(, store_pin) pins; /* under it */
};

struct store_head {
	uint32_t layout; /* 0: the file's form is unknown */
	uint64_t record_len, packed_at, packed_bytes;
};

/* The files of one of the store's folders. */
struct store_entry {
	struct content_id id;
	bool named; /* otherwise it is being written */
	uint64_t bytes;
	struct timespec used;
};

struct store_entries {
	struct store_entry *entry;
	size_t count;
	uint64_t bytes;
};
/* entry: malloc'd, the caller's.  0 or a negative errno. */
int store_read_folder(int folder, struct store_entries *out);

/* A tensor in use by this process: in a list that the handler of bus errors walks. */
struct store_use;
int store_use_add(struct store *s, struct store_tensor *t);
void store_use_mapped(struct store_tensor *t); /* its map is there */
void store_use_remove(struct store_tensor *t);
/* Notes that the whole map has been replaced by a copy of this file, or that the file is damaged; false: the tensor has another one
 * by now, and nothing is noted. */
bool store_use_copied(const struct store_tensor *t, const struct store_file *file, bool good);
/* While a tensor's descriptor or place is changed: renewing changes it too. */
void store_use_lock(void);
void store_use_unlock(void);

static inline struct store_file store_file_of(const struct stat *st) {
	return (struct store_file){(uint64_t)st->st_dev, (uint64_t)st->st_ino};
}
static inline bool store_file_is(const struct store_file *f, const struct stat *st) {
	return f->device == (uint64_t)st->st_dev && f->inode == (uint64_t)st->st_ino;
}

/* Whether the file system of a folder has room for a new file beside what stays free on it: 0, or -ENOSPC with a sentence. */
int store_check_reserve(int folder, uint64_t need, char *why, size_t len);

/* Opens a tensor's file under a shared lock and reads its head and record: a descriptor, or a negative errno; one that is
 * no good (-EBADMSG, -ESTALE) is removed unless it is in use or can be converted. */
int store_open_file(
        struct store *s, const struct content_id *id, struct content_tensor *record, struct store_head *head);
/* Checks head, record and length of a file of STORE_OLDER_LAYOUT: 0, -EBADMSG (it is removed), or another negative errno. */
int store_check_older(struct store *s, const struct content_id *id);
/* Opens one as store_open_file does; nothing is removed. */
int store_open_older(
        struct store *s, const struct content_id *id, struct content_tensor *record, struct store_head *head);

/* Gets the exclusive lock on an open file of tensors/, under which it may be removed or replaced.  False when another process
 * uses it, or when it no longer has this name; a shared lock held on it may be lost then. */
bool store_hold_alone(const struct store *s, int fd, const char *name);

/* Removes an open file of tensors/ that is useless, unless another process uses it. */
void store_remove_useless(struct store *s, int fd, const char *name);

/* As store_writer_create for a tensor that the store has already, in another layout: neither the limit of the store nor the
 * reserve of the disk counts, since the old file is removed when the new one is committed. */
struct store_writer;
int store_writer_replace(struct store_writer **out, struct store *s, const struct content_tensor *record,
        char *err, size_t errlen);

/* The head of a tensor's file, from and to its STORE_HEAD bytes. */
void store_head_put(uint8_t out[STORE_HEAD], const struct store_head *h);
/* 0; -ESTALE for another layout or file format; -EBADMSG for anything else. */
int store_head_get(const uint8_t in[STORE_HEAD], struct store_head *h);
/* The offsets in the file of a tensor whose record has record_len bytes. */
struct store_head store_head_of(const struct content_tensor *t, size_t record_len);

#endif
