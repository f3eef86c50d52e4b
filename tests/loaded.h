/* loaded: a model file taken through import and store into a slice of everything, for tests; with the paths of
 * what tests read. */
#ifndef TESTS_LOADED_H
#define TESTS_LOADED_H
#include "shard/import.h"
#include "shard/slice.h"

struct loaded {
	char dir[256];
	struct import *import;
	struct store *store;
	struct slice *whole; /* layers and ends */
};

/* All parts of a split file, given any of them.  Aborts with a message when anything fails. */
struct loaded *loaded_create(const char *path);
void loaded_destroy(struct loaded *l);

/* The path of a file of the shared folder, which may be missing; of one beside the sources. */
char *shared_path(char out[512], const char *name);
char *source_path(char out[512], const char *name);

#endif
