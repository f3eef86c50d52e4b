/* loaded: a model file taken through import and store into a slice of everything, for tests. */
#ifndef TESTS_SUPPORT_LOADED_H
#define TESTS_SUPPORT_LOADED_H
#include "shard/forward/slice.h"
#include "shard/import/import.h"

struct loaded {
	char dir[256];
	struct import *import;
	struct store *store;
	struct slice *whole; /* layers, embedding and output */
};

/* All parts of a split file, given any of them.  Aborts with a message when anything fails. */
struct loaded *loaded_create(const char *path);
void loaded_destroy(struct loaded *l);

#endif
