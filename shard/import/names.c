/* names: see names.h; the format is in doc/protocol.md, "The store".
 * The file contains its own key and ends with a hash of everything before it. */
#include "shard/import/names.h"
#include "common/bytes.h"
#include "common/durable.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NAMES_MAGIC "CVNM"
#define NAMES_VERSION 1u
#define NAMES_HEAD 108u /* magic, version, key (as text), manifest, count */
#define NAMES_MAX CONTENT_BLOB_MAX

int import_names_key(const int *fds, size_t nfds, char key[CONTENT_HEX]) {
	struct content_hasher *h = NULL;
	int rc = content_hasher_create(&h);
	for (size_t i = 0; rc == 0 && i < nfds; i++) {
		struct stat st;
		if (fstat(fds[i], &st) < 0) {
			rc = -errno;
			break;
		}
		uint64_t part[] = {(uint64_t)st.st_dev, (uint64_t)st.st_ino, (uint64_t)st.st_size,
		        (uint64_t)st.st_mtim.tv_sec, (uint64_t)st.st_mtim.tv_nsec};
		content_hasher_add(h, part, sizeof part);
	}
	if (rc == 0) {
		struct content_id id = content_hasher_finish(h);
		content_hex(&id, key);
	}
	content_hasher_destroy(h);
	return rc;
}

int import_names_read(int dir, const char *key, struct import_names *out) {
	size_t len;
	memset(out, 0, sizeof *out);
	int rc = durable_read(dir, key, NAMES_MAX, &out->bytes, &len);
	if (rc < 0)
		return rc;
	rc = -EBADMSG;
	if (len < NAMES_HEAD + sizeof(struct content_id))
		goto error;
	struct bytes_in in = {out->bytes, len - sizeof(struct content_id), false};
	struct content_id sum = content_hash(in.p, in.left);
	if (memcmp(in.p + in.left, sum.b, sizeof sum.b) != 0)
		goto error;
	const uint8_t *magic = bytes_get(&in, 4);
	uint32_t version = bytes_get_u32(&in);
	const uint8_t *own = bytes_get(&in, CONTENT_HEX - 1);
	if (memcmp(magic, NAMES_MAGIC, 4) != 0 || version != NAMES_VERSION ||
	        memcmp(own, key, CONTENT_HEX - 1) != 0)
		goto error;
	bytes_get_into(&in, out->weights.b, sizeof out->weights.b);
	out->count = bytes_get_u32(&in);
	if (out->count > in.left / 4)
		goto error;
	out->record = calloc(out->count ? out->count : 1, sizeof *out->record);
	rc = -ENOMEM;
	if (!out->record)
		goto error;
	for (size_t i = 0; i < out->count; i++) {
		out->record[i].len = bytes_get_u32(&in);
		out->record[i].data = bytes_get(&in, out->record[i].len);
	}
	rc = -EBADMSG;
	if (in.short_of || in.left)
		goto error;
	return 0;
error:
	import_names_clear(out);
	return rc;
}

int import_names_write(int dir, const char *key, const struct import_names *names) {
	size_t size = NAMES_HEAD + sizeof(struct content_id);
	for (size_t i = 0; i < names->count; i++)
		size += 4 + names->record[i].len;
	if (size > NAMES_MAX)
		return -EFBIG;
	uint8_t *data = malloc(size);
	if (!data)
		return -ENOMEM;
	struct bytes_out o = {data, data + size};
	bytes_put(&o, NAMES_MAGIC, 4);
	bytes_put_u32(&o, NAMES_VERSION);
	bytes_put(&o, key, CONTENT_HEX - 1);
	bytes_put(&o, names->weights.b, sizeof names->weights.b);
	bytes_put_u32(&o, (uint32_t)names->count);
	for (size_t i = 0; i < names->count; i++) {
		bytes_put_u32(&o, (uint32_t)names->record[i].len);
		bytes_put(&o, names->record[i].data, names->record[i].len);
	}
	struct content_id sum = content_hash(data, (size_t)(o.p - data));
	bytes_put(&o, sum.b, sizeof sum.b);
	int rc = durable_write(dir, key, data, size);
	free(data);
	return rc;
}

void import_names_clear(struct import_names *names) {
	free(names->record);
	free(names->bytes);
	memset(names, 0, sizeof *names);
}

int import_names_copy(const char *to, const char *from, const int *fds, size_t nfds) {
	struct import_names names = {0};
	char key[CONTENT_HEX];
	int rc = import_names_key(fds, nfds, key);
	if (rc < 0)
		return rc;
	int dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC),
	    other = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0 || other < 0)
		rc = -errno;
	else if ((rc = import_names_read(dir, key, &names)) < 0 &&
	         (rc = import_names_read(other, key, &names)) == 0)
		rc = import_names_write(dir, key, &names);
	import_names_clear(&names);
	if (dir >= 0)
		close(dir);
	if (other >= 0)
		close(other);
	return rc;
}
