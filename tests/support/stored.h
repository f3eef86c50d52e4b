/* stored: a store in a folder of its own, and what tests put into it and do to its files. */
#ifndef TESTS_SUPPORT_STORED_H
#define TESTS_SUPPORT_STORED_H
#include "shard/import/import.h"
#include "shard/store/store.h"
#include <sys/types.h>

extern char err[256], dir[32], path[512]; /* path: of the last file that count_files met */
extern struct store *store;

void setup(void);
void teardown(void);

/* Files of one of the store's folders. */
int count_files(const char *sub);
/* Overwrites a byte of a file. */
void spoil(const char *file, off_t at);
const char *tensor_path(const struct content_id *id); /* valid until the next call */

/* Puts an empty file system of that size (as of tmpfs) over a folder, which only this process sees.  False, with a line that says
 * that something is skipped, where that takes rights that it has not. */
bool mount_small(const char *folder, const char *size);

/* A matrix of random canonical bytes (malloc'd) and its record. */
uint8_t *make_tensor(struct content_tensor *t, enum kern_type type, uint64_t n, uint64_t rows);
uint8_t *make_parts(struct content_tensor *t, enum kern_type type, uint64_t n, uint64_t rows, uint32_t parts);
int put_chunk(struct store_writer *w, const struct content_tensor *t, const uint8_t *data, uint32_t i);
void put_tensor(const struct content_tensor *t, const uint8_t *data);

#endif
