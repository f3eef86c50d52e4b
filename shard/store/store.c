/* store: the folder, the blobs, and the head of tensor files (doc/protocol.md, "The store"). */
#include "shard/store/store.h"
#include "common/bytes.h"
#include "common/durable.h"
#include "common/fail.h"
#include "shard/store/partial.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_MAGIC "CVTENSOR"

static int store_open_folder(
        const char *dir, const char *sub, char **path, int *fd, char *err, size_t errlen) {
	size_t len = strlen(dir) + 1 + strlen(sub) + 1;
	char *p = malloc(len);
	if (!p)
		return fail_memory(err, errlen, dir);
	snprintf(p, len, "%s/%s", dir, sub);
	int rc = durable_mkdirs(p);
	*fd = rc < 0 ? -1 : open(p, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0) {
		rc = rc < 0 ? rc : -errno;
		snprintf(err, errlen, "%s: %s", p, strerror(-rc));
		free(p);
		return rc;
	}
	durable_sweep(*fd);
	if (path)
		*path = p;
	else
		free(p);
	return 0;
}

int store_open(struct store **out, const char *dir, char *err, size_t errlen) {
	int names = -1, rc;
	struct store *s = calloc(1, sizeof *s);
	if (!s || !(s->dir = strdup(dir))) {
		free(s);
		return fail_memory(err, errlen, dir);
	}
	s->blobs = s->tensors = s->models = s->lent_tensors = -1;
	pthread_mutex_init(&s->pin_lock, NULL);
	rc = store_open_folder(dir, "blobs", NULL, &s->blobs, err, errlen);
	if (rc == 0)
		rc = store_open_folder(dir, "tensors", NULL, &s->tensors, err, errlen);
	if (rc == 0)
		rc = store_open_folder(dir, "models", NULL, &s->models, err, errlen);
	if (rc == 0)
		rc = store_open_folder(dir, "names", &s->names, &names, err, errlen);
	if (names >= 0)
		close(names);
	if (rc == 0)
		store_part_sweep(s->tensors);
	if (rc < 0) {
		store_close(s);
		return rc;
	}
	*out = s;
	return 0;
}

void store_close(struct store *s) {
	int saved = errno;
	if (!s)
		return;
	if (s->blobs >= 0)
		close(s->blobs);
	if (s->tensors >= 0)
		close(s->tensors);
	if (s->models >= 0)
		close(s->models);
	if (s->lent_tensors >= 0)
		close(s->lent_tensors);
	free(s->lent_names);
	pthread_mutex_destroy(&s->pin_lock);
	free(s->names);
	free(s->dir);
	free(s);
	errno = saved;
}

int store_borrow(struct store *s, const char *dir) {
	size_t len = strlen(dir) + sizeof "/tensors";
	char *path = malloc(len), *names = malloc(len);
	struct stat mine, theirs;
	int rc = path && names ? 0 : -ENOMEM;
	if (rc == 0) {
		snprintf(names, len, "%s/names", dir);
		snprintf(path, len, "%s/tensors", dir);
		s->lent_tensors = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		rc = s->lent_tensors < 0 ? -errno : 0;
	}
	if (rc == 0 && (fstat(s->tensors, &mine) < 0 || fstat(s->lent_tensors, &theirs) < 0))
		rc = -errno;
	else if (rc == 0 && mine.st_dev == theirs.st_dev && mine.st_ino == theirs.st_ino)
		rc = -EEXIST;
	if (rc == 0) {
		s->lent_names = names;
		names = NULL;
	} else if (s->lent_tensors >= 0) {
		close(s->lent_tensors);
		s->lent_tensors = -1;
	}
	free(names);
	free(path);
	return rc;
}

const char *store_lent_names(const struct store *s) {
	return s->lent_names;
}

const char *store_dir(const struct store *s) {
	return s->dir;
}

const char *store_names_dir(const struct store *s) {
	return s->names;
}

int store_models_dir(const struct store *s) {
	return s->models;
}

bool store_has_blob(struct store *s, const struct content_id *id) {
	char hex[CONTENT_HEX];
	struct stat st;
	return fstatat(s->blobs, content_hex(id, hex), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode);
}

int store_get_blob(struct store *s, const struct content_id *id, uint8_t **data, size_t *len) {
	char hex[CONTENT_HEX];
	int rc = durable_read(s->blobs, content_hex(id, hex), CONTENT_BLOB_MAX, data, len);
	if (rc == -EFBIG)
		goto broken;
	if (rc < 0)
		return rc;
	if (store_verify_blob(id, *data, *len) == 0)
		return 0;
	free(*data);
	*data = NULL;
broken:
	unlinkat(s->blobs, hex, 0);
	return -EBADMSG;
}

int store_put_blob(struct store *s, const uint8_t *data, size_t len, struct content_id *id) {
	char hex[CONTENT_HEX], why[200];
	struct stat st;
	if (len > CONTENT_BLOB_MAX)
		return -EFBIG;
	*id = content_hash(data, len);
	content_hex(id, hex);
	/* a file with another length is corrupt, and is replaced */
	if (fstatat(s->blobs, hex, &st, AT_SYMLINK_NOFOLLOW) == 0 && (uint64_t)st.st_size == len)
		return 0;
	int rc = store_check_reserve(s->blobs, len, why, sizeof why);
	return rc ? rc : durable_write(s->blobs, hex, data, len);
}

struct store_head store_head_of(const struct content_tensor *t, size_t record_len) {
	uint64_t end = STORE_HEAD + record_len;
	return (struct store_head){KERN_LAYOUT, record_len,
	        (end + STORE_ALIGN - 1) / STORE_ALIGN * STORE_ALIGN,
	        kern_packed_bytes(t->type, t->rows, t->n)};
}

void store_head_put(uint8_t out[STORE_HEAD], const struct store_head *h) {
	struct bytes_out o = {out, out + STORE_HEAD};
	memset(out, 0, STORE_HEAD);
	bytes_put(&o, HEAD_MAGIC, 8);
	bytes_put_u32(&o, STORE_VERSION);
	bytes_put_u32(&o, h->layout);
	bytes_put_u64(&o, h->record_len);
	bytes_put_u64(&o, h->packed_at);
	bytes_put_u64(&o, h->packed_bytes);
}

int store_head_get(const uint8_t in[STORE_HEAD], struct store_head *h) {
	struct bytes_in i = {in, STORE_HEAD, false};
	const uint8_t *magic = bytes_get(&i, 8);
	uint32_t version = bytes_get_u32(&i), layout = bytes_get_u32(&i);
	h->layout = version == STORE_VERSION ? layout : 0;
	h->record_len = bytes_get_u64(&i);
	h->packed_at = bytes_get_u64(&i);
	h->packed_bytes = bytes_get_u64(&i);
	if (memcmp(magic, HEAD_MAGIC, 8) != 0)
		return -EBADMSG;
	return h->layout == KERN_LAYOUT ? 0 : -ESTALE;
}
