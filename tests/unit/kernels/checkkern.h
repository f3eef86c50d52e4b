/* checkkern: what the parts of the kernel checker share.
 * A case is one line of TAP; case numbers and failures are counted here.  One thread. */
#ifndef TESTS_UNIT_KERNELS_CHECKKERN_H
#define TESTS_UNIT_KERNELS_CHECKKERN_H
#include "kernels/kernels.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* What the reference gave for data that all levels meet: these are known by what the generator had come to. */
struct known {
	uint64_t random;
	uint32_t type;
	size_t count;
	float *want;
};

struct checkkern {
	unsigned cases, failed;
	bool quick;      /* fewer shapes, for a slow processor */
	bool silent;     /* no lines, only the hash */
	uint64_t random; /* state of the generator; never zero */
	bool hashes;     /* this level's data go into the hash */
	uint64_t hash;   /* of all that the reference gave */
	struct known *known;
	size_t knowns,
	        next; /* products of the reference that are known, and which of them the level meets next */
	size_t first[KERN_TYPES]; /* one more than where those of a type begin; 0: none is known */
};

/* Prints "ok N - what" or "not ok N - what". */
__attribute__((format(printf, 3, 4))) void checkkern_case(
        struct checkkern *ck, bool ok, const char *format, ...);

/* The level has this entry of its table from one below it, which is not the reference: that one meets the same data. */
bool checkkern_is_shared(const struct kern_ops *level, const void *entry);

/* 64 random bits, and a float uniform in [-1, 1). */
uint64_t checkkern_random(struct checkkern *ck);
float checkkern_float(struct checkkern *ck);

/* Adds results to the hash; one NaN counts as any other. */
void checkkern_hash(struct checkkern *ck, const void *bytes, size_t size);
void checkkern_hash_floats(struct checkkern *ck, const float *x, size_t n);

/* Aligned memory of at least size bytes, or the end of the program. */
void *checkkern_alloc(size_t size);

/* Every product and quantiser of a level against the reference (checkkern.c), every other operation
 * (checkkern_ops.c). */
void checkkern_products(struct checkkern *ck, const struct kern_ops *level);
void checkkern_ops(struct checkkern *ck, const struct kern_ops *level);

#endif
