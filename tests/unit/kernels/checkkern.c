/* checkkern: every entry of every level's table, every way of a product included, against the reference, by equality of bits, on random and
 * extreme data; with --bench it measures the level in use instead.  Every level meets the same data, on every
 * processor, but for entries that it has from a level below it: these are checked once.  A hash of what the
 * reference gives, which is the same on all processors, stands at the end; with --hash it is all.  With LEVEL that
 * level alone is checked.  Not part of a binary that people install. */
#include "tests/unit/kernels/checkkern.h"
#include "config.h"
#include "kernels/formats.h"
#include "tests/bench/bench.h"
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void checkkern_case(struct checkkern *ck, bool ok, const char *format, ...) {
	va_list args;
	ck->failed += !ok;
	ck->cases++;
	if (ck->silent)
		return;
	printf("%s %u - ", ok ? "ok" : "not ok", ck->cases);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

void checkkern_hash(struct checkkern *ck, const void *bytes, size_t size) { /* FNV-1a */
	const uint8_t *p = bytes;
	for (size_t i = 0; ck->hashes && i < size; i++)
		ck->hash = (ck->hash ^ p[i]) * 0x100000001b3u;
}

void checkkern_hash_floats(struct checkkern *ck, const float *x, size_t n) {
	static const float not_a_number = NAN;
	for (size_t i = 0; ck->hashes && i < n; i++)
		checkkern_hash(ck, isnan(x[i]) ? &not_a_number : &x[i], sizeof *x);
}

bool checkkern_is_shared(const struct kern_ops *level, const void *entry) {
	size_t at = (size_t)((const char *)entry - (const char *)level);
	for (size_t i = 1; kern_level(i) && kern_level(i) != level && kern_level(0) != level; i++)
		if (!memcmp((const char *)kern_level(i) + at, entry, sizeof level->add))
			return true;
	return false;
}

uint64_t checkkern_random(struct checkkern *ck) { /* xorshift64* */
	ck->random ^= ck->random >> 12;
	ck->random ^= ck->random << 25;
	ck->random ^= ck->random >> 27;
	return ck->random * 0x2545f4914f6cdd1du;
}

float checkkern_float(struct checkkern *ck) {
	return (float)(int32_t)(checkkern_random(ck) >> 32) * 0x1p-31f;
}

enum { SEED = 0x2545f491 };

void *checkkern_alloc(size_t size) {
	void *p;
	/* not a byte more: a sanitizer is to see what is read behind it */
	if (posix_memalign(&p, KERN_ALIGN, size)) {
		fprintf(stderr, "checkkern: out of memory\n");
		exit(99);
	}
	return p;
}

/* Canonical offsets of the float16 scales of each type, ended by -1. */
static const int *scales_of(uint32_t type) {
	static const int first[] = {0, -1}, two[] = {0, 2, -1}, q2[] = {80, 82, -1}, q3[] = {108, -1},
	                 q6[] = {208, -1}, tq1[] = {52, -1}, tq2[] = {64, -1}, none[] = {-1};
	switch (type) {
	case KERN_Q4_1:
	case KERN_Q5_1:
	case KERN_Q4_K:
	case KERN_Q5_K:
		return two;
	case KERN_Q2_K:
		return q2;
	case KERN_Q3_K:
		return q3;
	case KERN_Q6_K:
		return q6;
	case KERN_TQ1_0:
		return tq1;
	case KERN_TQ2_0:
		return tq2;
	case KERN_MXFP4:
	case KERN_IQ1_M:
		return none;
	default:
		return first;
	}
}

/* What weights are filled with: every byte (-1: random) and every scale (-1: random of a likely size). */
static const struct {
	const char *name;
	int byte, scale;
} fills[] = {
        {"random weights", -1, -1},
        {"random weights, any scale", -1, -2},
        {"all bits set", 0xff, 0x3c00},
        {"all bits clear", 0, 0x3c00},
        {"bytes -128", 0x80, 0xb801},
        {"bytes 127", 0x7f, 0x3555},
        {"zero scales", -1, 0},
        {"subnormal scales", -1, 0x83ff},
        {"smallest scales", 0xff, 1},
        {"largest scales", -1, 0x7bff},
};

/* A scale of the fills as a float16. */
static uint16_t half_of(struct checkkern *ck, int scale) {
	float f = checkkern_float(ck) / 64;
	if (scale == -1)
		return kern_to_half(f);
	if (scale == -2) /* anything finite */
		return (uint16_t)(checkkern_random(ck) >> 40 & 0xfbff);
	return (uint16_t)scale;
}

/* An exponent that stands for a scale of the fills: anything but 255, which is no number. */
static uint8_t exponent_of(struct checkkern *ck, int scale) {
	uint64_t random = checkkern_random(ck) >> 40;
	return (uint8_t)(scale == -1   ? 112 + random % 12
	                 : scale == -2 ? random % 255
	                               : (scale >> 10 & 31) * 254 / 30);
}

static void fill_weights(struct checkkern *ck, uint32_t type, uint8_t *p, size_t blocks, int fill) {
	size_t bytes = kern_traits(type)->bytes;
	int byte = fills[fill].byte, scale = fills[fill].scale;
	for (size_t i = 0; i < blocks * bytes; i++)
		p[i] = byte < 0 ? (uint8_t)(checkkern_random(ck) >> 40) : (uint8_t)byte;
	for (size_t b = 0; b < blocks && type == KERN_MXFP4; b++)
		p[b * bytes] = exponent_of(ck, scale);
	/* a quarter of the scale at the top of each short */
	for (size_t b = 0; b < blocks && type == KERN_IQ1_M; b++)
		for (int i = 0, half = half_of(ck, scale); i < 4; i++) {
			uint8_t *top = p + b * bytes + 49 + 2 * i;
			*top = (uint8_t)((*top & 15) | (half >> 4 * i & 15) << 4);
		}
	for (size_t b = 0; b < blocks; b++)
		for (const int *at = scales_of(type); *at >= 0; at++) {
			uint32_t half = half_of(ck, scale), word;
			float f;
			if (type == KERN_F32 || type == KERN_BF16) {
				f = kern_from_half((uint16_t)half);
				memcpy(&word, &f, 4);
				if (type == KERN_BF16)
					memcpy(p + b * bytes, (char *)&word + 2, 2);
				else
					memcpy(p + b * bytes, &word, 4);
			} else {
				memcpy(p + b * bytes + *at, &half, 2);
			}
		}
}

static const char *const inputs[] = {
        "random", "all 1", "all -1", "alternating", "mostly zero", "tiny", "huge", "every size"};
enum { INPUTS = sizeof inputs / sizeof *inputs };

static void fill_input(struct checkkern *ck, float *x, size_t n, int input) {
	for (size_t i = 0; i < n; i++) {
		float r = checkkern_float(ck);
		switch (input) {
		case 0:
			x[i] = r;
			break;
		case 1:
			x[i] = 1;
			break;
		case 2:
			x[i] = -1;
			break;
		case 3:
			x[i] = i / 2 % 2 ? -1 : 1;
			break;
		case 4:
			x[i] = checkkern_random(ck) % 97 ? 0 : r;
			break;
		case 5: /* about the bound below which a block is zero */
			x[i] = r * 0x1.2p-120f;
			break;
		case 6:
			x[i] = r * 0x1.fffffep127f;
			break;
		default:
			x[i] = ldexpf(r, (int)(checkkern_random(ck) % 60) - 40);
		}
	}
}

/* What the reference is to give has been found for a level before this, or is kept for those that follow: NULL where it is to be found.
 * A level that fails is done with a case early: those that follow may meet other data, and find what they are to give anew. */
static const float *known_product(struct checkkern *ck, uint32_t type, size_t count) {
	const struct known *k = ck->next < ck->knowns ? &ck->known[ck->next] : NULL;
	ck->next++;
	return k && k->random == ck->random && k->type == type && k->count == count ? k->want : NULL;
}

static void keep_product(struct checkkern *ck, uint32_t type, size_t count, float *want) {
	if (ck->next <= ck->knowns) {
		free(want);
		return;
	}
	if (ck->knowns % 1024 == 0) {
		ck->known = realloc(ck->known, (ck->knowns + 1024) * sizeof *ck->known);
		if (!ck->known) {
			perror("checkkern");
			exit(99);
		}
	}
	ck->known[ck->knowns++] =
	        (struct known){.random = ck->random, .type = type, .count = count, .want = want};
}

static bool has_way(const struct kern_ops *level, uint32_t type, enum kern_class class, kern_mul_fn *mul) {
	for (const struct kern_way *w = level->ways[type][class]; w->name; w++)
		if (w->mul == mul)
			return true;
	return false;
}

/* Whether a level below it, which is not the reference, has this way for the same columns. */
static bool is_way_shared(
        const struct kern_ops *level, uint32_t type, enum kern_class class, kern_mul_fn *mul) {
	for (size_t i = 1; kern_level(i) && kern_level(i) != level && kern_level(0) != level; i++)
		if (has_way(kern_level(i), type, class, mul))
			return true;
	return false;
}

/* Whether a level has a way of a type that is its own. */
static bool has_own_way(const struct kern_ops *level, uint32_t type) {
	for (int c = 0; c < KERN_CLASSES; c++)
		for (const struct kern_way *w = level->ways[type][c]; w->name; w++)
			if (!is_way_shared(level, type, (enum kern_class)c, w->mul))
				return true;
	return false;
}

/* Fills a buffer with a value that has to stay wherever no result is written. */
static void frame(float *y, size_t count) {
	for (size_t i = 0; i < count; i++)
		y[i] = -12345;
}

/* One product by the reference and every way of a level, with a frame around the results that must stay. */
static bool same_product(struct checkkern *ck, const struct kern_ops *level, uint32_t type,
        const void *packed, size_t rows, size_t n, const float *x, size_t cols) {
	const struct kern_ops *ref = kern_level(0);
	enum kern_form form = kern_traits(type)->form;
	enum kern_class class = kern_class(cols);
	size_t stride = kern_act_bytes(form, n), ldy = rows + checkkern_random(ck) % 3,
	       count = ldy * cols + 8;
	uint8_t *acts = checkkern_alloc(stride * cols);
	float *got = checkkern_alloc(count * sizeof *got), *found = NULL;
	const float *want = known_product(ck, type, count);
	bool ok = true;
	for (size_t c = 0; c < cols; c++)
		ok &= !ref->quantize[form](acts + c * stride, x + c * n, n);
	if (!want) {
		found = checkkern_alloc(count * sizeof *found);
		frame(found, count);
		ref->ways[type][KERN_COLS_MORE]->mul(found, ldy, packed, rows, n, acts, stride, cols);
		want = found;
	}
	checkkern_hash_floats(ck, want, count);
	for (const struct kern_way *way = level->ways[type][class]; way->name; way++) {
		if (is_way_shared(level, type, class, way->mul))
			continue;
		frame(got, count);
		way->mul(got, ldy, packed, rows, n, acts, stride, cols);
		for (size_t i = 0; i < count && ok; i++)
			if (memcmp(&want[i], &got[i], sizeof *want)) {
				printf("# %s, %s: %zu rows, %zu columns, n = %zu: row %zu, column %zu is %a, not %a\n",
				        level->name, way->name, rows, cols, n, i % ldy, i / ldy, got[i],
				        want[i]);
				ok = false;
			}
	}
	free(acts);
	free(got);
	if (found)
		keep_product(ck, type, count, found);
	return ok;
}

static void check_mul(struct checkkern *ck, const struct kern_ops *level, uint32_t type) {
	static const size_t shapes[][2] = {{1, 1}, {3, 1}, {8, 1}, {17, 1}, {29, 1}, {32, 1}, {71, 1}, {1, 2},
	        {5, 3}, {7, 4}, {9, 5}, {11, 6}, {13, 7}, {15, 8}, {16, 9}, {17, 17}, {33, 4}, {2, 65},
	        {10, 134}};
	static const size_t few[][2] = {
	        {71, 1}, {29, 1}, {9, 2}, {7, 3}, {17, 6}, {11, 9}, {5, 66}, {3, 130}};
	/* each way through memory once; what types with codebooks and ternary ones do with their words is what others do */
	bool quick =
	        ck->quick || kern_has_grid((enum kern_type)type) || kern_is_ternary((enum kern_type)type);
	/* data are the type's, whatever came before */
	ck->random = SEED + type;
	if (!ck->first[type])
		ck->first[type] = ck->knowns + 1;
	ck->next = ck->first[type] - 1;
	size_t block = kern_traits(type)->block < 32 ? 1 : kern_traits(type)->block;
	/* one block; a few; across the pieces that kernels cut the width into */
	const size_t widths[] = {block, block * 3, block == 256 ? 2560 : 67 * 32, block == 1 ? 1029 : 1024};
	/* quick: of those with blocks of 1 the one that ends with less than a vector */
	const size_t narrow[] = {block * 3, block == 1 ? 1029 : widths[2]};
	for (size_t fill = 0; fill < sizeof fills / sizeof *fills; fill++) {
		bool ok = true;
		int failing = -1;
		size_t count = quick ? sizeof few / sizeof *few : sizeof shapes / sizeof *shapes;
		for (size_t s = 0; s < count && ok; s++)
			for (size_t k = 0; k < (quick ? 2 : 4) && ok; k++) {
				/* quick: the two of many columns, of either width, take turns with the fills */
				if (quick && few[s][1] > 64 && s % 2 * 2 + k != fill % 4)
					continue;
				const size_t *shape = quick ? few[s] : shapes[s];
				size_t rows = shape[0], cols = shape[1], n = quick ? narrow[k] : widths[k];
				uint8_t *canonical = checkkern_alloc(rows * kern_row_bytes(type, n));
				uint8_t *packed = checkkern_alloc(kern_packed_bytes(type, rows, n));
				float *x = checkkern_alloc(n * cols * sizeof *x);
				fill_weights(
				        ck, type, canonical, rows * n / kern_traits(type)->block, (int)fill);
				kern_pack(type, packed, canonical, rows, n);
				bool one = cols > 9 || quick;
				int first = one ? (int)(checkkern_random(ck) % INPUTS) : 0;
				int last = one ? first + 1 : INPUTS;
				for (int input = first; input < last && ok; input++) {
					fill_input(ck, x, n * cols, input);
					ok = same_product(ck, level, type, packed, rows, n, x, cols);
					failing = input;
				}
				free(canonical);
				free(packed);
				free(x);
			}
		checkkern_case(ck, ok, "%s mul %s, %s%s%s", level->name, kern_traits(type)->name,
		        fills[fill].name, ok ? "" : ", input ", ok ? "" : inputs[failing]);
	}
}

/* One row by both levels; -EDOM from both or the same bytes. */
static bool same_quants(
        struct checkkern *ck, const struct kern_ops *level, int form, const float *x, size_t n) {
	const struct kern_ops *ref = kern_level(0);
	size_t size = kern_act_bytes(form, n);
	uint8_t *want = checkkern_alloc(size + 1), *got = checkkern_alloc(size + 1);
	memset(want, 0xa5, size + 1);
	memset(got, 0xa5, size + 1);
	int a = ref->quantize[form](want, x, n), b = level->quantize[form](got, x, n);
	if (!a)
		checkkern_hash(ck, want, size);
	bool ok = a == b && want[size] == 0xa5 && got[size] == 0xa5 && (a || !memcmp(want, got, size));
	free(want);
	free(got);
	return ok;
}

static void check_quantize(struct checkkern *ck, const struct kern_ops *level, int form) {
	static const char *const names[] = {"f32", "q8_32", "q8_256"};
	static const float bad[] = {INFINITY, -INFINITY, NAN, -NAN};
	static float x[1024];
	for (int input = 0; input < INPUTS; input++) {
		bool ok = true;
		for (size_t n = form == KERN_FORM_Q8_32 ? 32 : 256; n <= 1024; n *= 2)
			for (int round = 0; round < 20; round++) {
				fill_input(ck, x, n, input);
				ok &= same_quants(ck, level, form, x, n);
			}
		checkkern_case(ck, ok, "%s quantize %s, %s", level->name, names[form], inputs[input]);
	}
	bool ok = true;
	fill_input(ck, x, 512, 0);
	for (size_t i = 0; i < 512; i++)
		for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
			uint8_t row[8192] __attribute__((aligned(64)));
			float was = x[i];
			x[i] = bad[k];
			ok &= level->quantize[form](row, x, 512) == -EDOM;
			x[i] = was;
		}
	checkkern_case(ck, ok, "%s quantize %s refuses what is not finite", level->name, names[form]);
	/* halves between two quants: every tie there is */
	ok = true;
	for (int i = 0; i < 256; i++)
		x[i] = (float)(i % 128) - 0.5f;
	x[0] = 127;
	ok = same_quants(ck, level, form, x, 256);
	checkkern_case(ck, ok, "%s quantize %s, ties", level->name, names[form]);
}

void checkkern_products(struct checkkern *ck, const struct kern_ops *level) {
	for (int form = 0; form < KERN_FORMS; form++)
		if (!checkkern_is_shared(level, &level->quantize[form]))
			check_quantize(ck, level, form);
	bool complete = true;
	for (uint32_t type = 0; type < KERN_TYPES; type++) {
		for (int c = 0; c < KERN_CLASSES; c++)
			complete &= !kern_traits(type) == !level->ways[type][c];
		if (kern_traits(type) && complete && has_own_way(level, type))
			check_mul(ck, level, type);
	}
	checkkern_case(ck, complete, "%s has products for every type and number of columns", level->name);
}

static void check_level(struct checkkern *ck, const struct kern_ops *level) {
	ck->random = SEED;
	checkkern_products(ck, level);
	ck->random = SEED;
	checkkern_ops(ck, level);
	ck->hashes = false; /* those that follow meet no other data */
}

static void forget(struct checkkern *ck) {
	for (size_t i = 0; i < ck->knowns; i++)
		free(ck->known[i].want);
	free(ck->known);
}

static int usage(void) {
	fprintf(stderr, "usage: checkkern [--quick] [--hash] [LEVEL]\n"
	                "       checkkern --bench [TYPE]\n");
	return 1;
}

/* Measures the products of the level in use, of one type or of all, on one thread and on two. */
static int measure(const char *type) {
	char err[256];
	bool known = !type;
	for (uint32_t t = 0; t < KERN_TYPES && !known; t++)
		known = kern_traits(t) && !strcasecmp(type, kern_traits(t)->name);
	if (!known) {
		fprintf(stderr, "checkkern: no weight type %s\n", type);
		return 1;
	}
	if (kern_init(err, sizeof err)) {
		fprintf(stderr, "checkkern: %s\n", err);
		return 1;
	}
	for (unsigned threads = 1; threads <= 2; threads++) {
		struct bench b;
		bench_create(&b, kern_ops(), threads, 5);
		bench_products(&b, type);
		bench_destroy(&b);
	}
	return 0;
}

/* The levels of this processor, or the one of that name; false if there is none. */
static bool check_levels(struct checkkern *ck, const char *name) {
	bool found = !name;
	printf("# levels:");
	for (size_t i = 1; kern_level(i); i++)
		printf(" %s", kern_level(i)->name);
	putchar('\n');
	for (size_t i = 1; kern_level(i); i++)
		if (!name || !strcmp(name, kern_level(i)->name)) {
			check_level(ck, kern_level(i));
			found = true;
		}
	return found;
}

int main(int argc, char **argv) {
	struct checkkern ck = {.hashes = true, .hash = 0xcbf29ce484222325u};
	const char *name = NULL;
#ifdef CARAVAN_SANITIZED
	ck.quick = true; /* each way through memory once; all data are the plain build's */
#endif
	if (argc >= 2 && argc <= 3 && !strcmp(argv[1], "--bench"))
		return measure(argv[2]);
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], "--quick"))
			ck.quick = true;
		else if (!strcmp(argv[i], "--hash"))
			ck.silent = true;
		else if (argv[i][0] != '-' && !name)
			name = argv[i];
		else
			return usage();
	if (ck.silent) {
		check_level(&ck, kern_level(0));
		printf("%016llx\n", (unsigned long long)ck.hash);
	} else if (!check_levels(&ck, name)) {
		fprintf(stderr, "checkkern: no level %s here\n", name);
		return 1;
	} else {
		if (!name)
			printf("# the reference gives %016llx\n", (unsigned long long)ck.hash);
		printf("1..%u\n", ck.cases);
	}
	forget(&ck);
	return ck.failed ? 1 : 0;
}
