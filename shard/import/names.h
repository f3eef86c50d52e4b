/* names: keeps the tensor records that hashing a file gave, from one run to the next.
 * A kept file that is torn, altered or of another format is ignored. */
#ifndef SHARD_IMPORT_NAMES_H
#define SHARD_IMPORT_NAMES_H
#include "shard/model/content.h"

struct import_record {
	const uint8_t *data;
	size_t len;
};

struct import_names {
	struct content_id weights; /* the manifest that the records made, without a vocabulary */
	size_t count;
	struct import_record *record; /* owned; the bytes they point at are not, but for bytes below */
	uint8_t *bytes;               /* owned: what was read */
};

/* The name in the cache of a file: a hash over device, inode, size and time of each of its parts, so that what
 * was remembered is forgotten when the file is another.  0 or a negative errno. */
int import_names_key(const int *fds, size_t nfds, char key[CONTENT_HEX]);

/* 0, -ENOENT, -EBADMSG, -ENOMEM or another negative errno. */
int import_names_read(int dir, const char *key, struct import_names *out);
int import_names_write(int dir, const char *key, const struct import_names *names);
/* What another cache remembers of this file, so that it is not hashed again: 0, or a negative errno. */
int import_names_copy(const char *to, const char *from, const int *fds, size_t nfds);
void import_names_clear(struct import_names *names);

#endif
