/* What of the kernels is the same for every level: traits, halves, dequantised rows, packing, finiteness, and
 * that the reference product is the product of the dequantised weights. */
#include "config.h"
#include "kernels/acts.h"
#include "kernels/formats.h"
#include "kernels/kernels.h"
#include "kernels/pack.h"
#include "tests/unit/check_often.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint32_t types[] = {KERN_F32, KERN_F16, KERN_BF16, KERN_Q4_0, KERN_Q4_1, KERN_Q5_0, KERN_Q5_1,
        KERN_Q8_0, KERN_IQ4_NL, KERN_Q2_K, KERN_Q3_K, KERN_Q4_K, KERN_Q5_K, KERN_Q6_K, KERN_IQ4_XS,
        KERN_MXFP4, KERN_IQ2_XXS, KERN_IQ2_XS, KERN_IQ2_S, KERN_IQ3_XXS, KERN_IQ3_S, KERN_IQ1_S, KERN_IQ1_M,
        KERN_TQ1_0, KERN_TQ2_0};
enum { COUNT = sizeof types / sizeof *types };

/* Where each type's vectors stand, and the offsets of its scales in a block. */
static const struct {
	const char *vector;
	int scales[2];
} known[COUNT] = {
        {NULL, {0, -1}},
        {"F16", {0, -1}},
        {"BF16", {0, -1}},
        {"Q4_0", {0, -1}},
        {"Q4_1", {0, 2}},
        {"Q5_0", {0, -1}},
        {"Q5_1", {0, 2}},
        {"Q8_0", {0, -1}},
        {"IQ4_NL", {0, -1}},
        {"Q2_K", {80, 82}},
        {"Q3_K_S", {108, -1}},
        {"Q4_K_S", {0, 2}},
        {"Q5_K_S", {0, 2}},
        {"Q6_K", {208, -1}},
        {NULL, {0, -1}},
        {NULL, {-1, -1}},
        {NULL, {0, -1}},
        {NULL, {0, -1}},
        {NULL, {0, -1}},
        {NULL, {0, -1}},
        {NULL, {0, -1}},
        {NULL, {0, -1}},
        {NULL, {-1, -1}},
        {NULL, {52, -1}},
        {NULL, {64, -1}},
};

static void *aligned(size_t size) {
	return aligned_alloc(KERN_ALIGN, (size + KERN_ALIGN - 1) / KERN_ALIGN * KERN_ALIGN);
}

static uint64_t state = 1;

static uint32_t number(void) {
	state = state * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(state >> 32);
}

/* Random canonical blocks with scales of a likely size. */
static void fill(int t, uint8_t *p, size_t blocks) {
	const struct kern_traits *traits = kern_traits(types[t]);
	for (size_t i = 0; i < blocks * traits->bytes; i++)
		p[i] = (uint8_t)number();
	for (size_t b = 0; b < blocks; b++) {
		uint8_t *block = p + b * traits->bytes;
		float f = ((float)(number() % 2000) - 1000) / 50000;
		uint16_t half = kern_to_half(f);
		if (types[t] == KERN_MXFP4)
			block[0] = (uint8_t)(110 + number() % 10);
		for (int i = 0; i < 4 && types[t] == KERN_IQ1_M; i++)
			block[49 + 2 * i] = (uint8_t)((block[49 + 2 * i] & 15) | (half >> 4 * i & 15) << 4);
		if (types[t] == KERN_F32)
			memcpy(block, &f, 4);
		else if (types[t] == KERN_BF16)
			memcpy(block, (char *)&f + 2, 2);
		else
			for (int k = 0; k < 2 && known[t].scales[k] >= 0; k++)
				memcpy(block + known[t].scales[k], &half, 2);
	}
}

START_TEST(test_traits) {
	int found = 0;
	for (uint32_t t = 0; t < 200; t++)
		found += kern_traits(t) != NULL;
	ck_assert_int_eq(found, COUNT);
	ck_assert_ptr_null(kern_traits(UINT32_MAX));
	ck_assert_str_eq(kern_traits(KERN_Q4_K)->name, "Q4_K");
	ck_assert_uint_eq(kern_row_bytes(KERN_Q4_K, 4096), 16 * 144);
	ck_assert_uint_eq(kern_row_bytes(KERN_F32, 7), 28);
	ck_assert_uint_eq(kern_packed_bytes(KERN_Q6_K, 9, 512), 16 * 2 * 210);
	for (int form = 0; form < KERN_FORMS; form++)
		for (size_t n = 256; n < 4096; n += 256)
			ck_assert_uint_eq(kern_act_bytes(form, n) % KERN_ALIGN, 0);
	for (int t = 0; t < COUNT; t++) {
		size_t sum[2] = {0, 0};
		for (int f = 0; f < KERN_FIELDS; f++)
			sum[kern_layout(types[t])->field[f].body] += kern_layout(types[t])->field[f].length;
		ck_assert_uint_eq(sum[0] + sum[1], kern_traits(types[t])->bytes);
		if (kern_traits(types[t])->block == 1)
			continue;
		/* what vector code takes for constants */
		ck_assert_uint_eq(kern_block_size(types[t]), kern_traits(types[t])->block);
		ck_assert_uint_eq(kern_head_bytes(types[t]), sum[0]);
		ck_assert_uint_eq(kern_body_bytes(types[t]), sum[1]);
	}
}
END_TEST

/* The value of a half, from its definition. */
static double half_value(uint16_t h) {
	int exponent = h >> 10 & 31, fraction = h & 1023;
	double v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
	return h & 0x8000 ? -v : v;
}

START_TEST(test_half_exhaustive) {
	for (uint32_t h = 0; h < 65536; h++) {
		float f = kern_from_half((uint16_t)h);
		if ((h & 0x7c00) == 0x7c00) {
			ck_assert_often(h & 0x3ff ? isnan(f) : isinf(f));
			ck_assert_often(!!signbit(f) == h >> 15);
			if (!(h & 0x3ff))
				ck_assert_often(kern_to_half(f) == h);
			continue;
		}
		ck_assert_often(f == half_value((uint16_t)h) && !!signbit(f) == h >> 15);
		ck_assert_often(kern_to_half(f) == h);
		if ((h & 0x7fff) == 0x7bff)
			continue;
		/* Between this one and the next: half way goes to the even one, either side to the nearer. */
		uint16_t next = (uint16_t)(h + 1);
		float middle = (float)((half_value((uint16_t)h) + half_value(next)) / 2);
		ck_assert_often(kern_to_half(middle) == (h & 1 ? next : h));
		ck_assert_often(kern_to_half(nextafterf(middle, f)) == h);
		ck_assert_often(kern_to_half(nextafterf(middle, (float)half_value(next))) == next);
	}
}
END_TEST

START_TEST(test_half_limits) {
	ck_assert_uint_eq(kern_to_half(nextafterf(65520, 0)), 0x7bff);
	ck_assert_uint_eq(kern_to_half(65520), 0x7c00);
	ck_assert_uint_eq(kern_to_half(-1e30f), 0xfc00);
	ck_assert_uint_eq(kern_to_half(0x1p-25f), 0);
	ck_assert_uint_eq(kern_to_half(nextafterf(0x1p-25f, 1)), 1);
	ck_assert(isnan(kern_from_half(kern_to_half(NAN))));
	ck_assert_uint_eq(kern_to_half_sat(1e30f), 0x7bff);
	ck_assert_uint_eq(kern_to_half_sat(-65520), 0xfbff);
	ck_assert_uint_eq(kern_to_half_sat(65519), 0x7bff);
	ck_assert_uint_eq(kern_to_half_sat(0.1f), kern_to_half(0.1f));
}
END_TEST

/* A GGUF file read as far as this test needs it: it is our own and trusted. */
static const uint8_t *skip_value(const uint8_t *p, uint32_t type) {
	static const uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
	uint64_t count;
	uint32_t inner;
	memcpy(&count, p, 8);
	if (type == 8)
		return p + 8 + count;
	if (type != 9)
		return p + sizes[type];
	memcpy(&inner, p, 4);
	memcpy(&count, p + 4, 8);
	for (p += 12; count; count--)
		p = skip_value(p, inner);
	return p;
}

static const uint8_t *find_tensor(const uint8_t *file, const char *wanted, uint32_t *type, uint64_t *n) {
	uint64_t tensors, keys, length, offset, at = 0, dim;
	uint32_t kind, dims;
	memcpy(&tensors, file + 8, 8);
	memcpy(&keys, file + 16, 8);
	const uint8_t *p = file + 24;
	for (; keys; keys--) {
		memcpy(&length, p, 8);
		p += 8 + length;
		memcpy(&kind, p, 4);
		p = skip_value(p + 4, kind);
	}
	for (; tensors; tensors--) {
		memcpy(&length, p, 8);
		const char *name = (const char *)p + 8;
		p += 8 + length;
		memcpy(&dims, p, 4);
		memcpy(&dim, p + 4, 8);
		p += 4 + dims * 8;
		memcpy(&kind, p, 4);
		memcpy(&offset, p + 4, 8);
		p += 12;
		if (length == strlen(wanted) && !memcmp(name, wanted, length)) {
			*type = kind;
			*n = dim;
			at = offset;
		}
	}
	return file + ((size_t)(p - file) + 31) / 32 * 32 + at;
}

static void *slurp(const char *name, const char *suffix) {
	char path[4096];
	const char *shared = getenv("CARAVAN_SHARED"), *top = getenv("top_srcdir");
	if (shared)
		snprintf(path, sizeof path, "%s/vectors/%s%s", shared, name, suffix);
	else
		snprintf(path, sizeof path, "%s/../shared/vectors/%s%s", top ? top : ".", name, suffix);
	FILE *f = fopen(path, "rb");
	if (!f)
		return NULL;
	fseek(f, 0, SEEK_END);
	long size = ftell(f);
	rewind(f);
	void *data = malloc((size_t)size);
	ck_assert_uint_eq(fread(data, 1, (size_t)size, f), size);
	fclose(f);
	return data;
}

/* The first four rows of a tensor, as another implementation dequantises them; packed as well. */
START_TEST(test_vectors) {
	int t = _i;
	if (!known[t].vector)
		return;
	uint8_t *file = slurp(known[t].vector, ".gguf");
	float *want = slurp(known[t].vector, ".dequant.f32");
	if (!file || !want) {
		printf("# skipped: no vectors of %s\n", kern_traits(types[t])->name);
		free(file);
		free(want);
		return;
	}
	uint32_t type = UINT32_MAX;
	uint64_t n = 0;
	const uint8_t *rows = find_tensor(file, "blk.0.ffn_gate.weight", &type, &n);
	ck_assert_uint_eq(type, types[t]);
	ck_assert_uint_eq(n, 256);
	uint8_t *packed = aligned(kern_packed_bytes(type, 4, n));
	kern_pack(type, packed, rows, 4, n);
	ck_assert(kern_finite(type, rows, 4, n));
	for (size_t r = 0; r < 4; r++) {
		float got[256];
		kern_dequant(type, got, rows + r * kern_row_bytes(type, n), n);
		ck_assert_mem_eq(got, want + r * n, sizeof got);
		kern_dequant_packed(type, got, packed, r, n);
		ck_assert_mem_eq(got, want + r * n, sizeof got);
	}
	free(packed);
	free(file);
	free(want);
}
END_TEST

static uint8_t *slurp_blocks(const char *name, const char *suffix, size_t *size) {
	char path[4096];
	const char *top = getenv("top_srcdir");
	snprintf(path, sizeof path, "%s/tests/data/blocks/%s%s", top ? top : ".", name, suffix);
	FILE *f = fopen(path, "rb");
	ck_assert_msg(f != NULL, "%s", path);
	uint8_t *data = malloc(65536);
	*size = fread(data, 1, 65536, f);
	fclose(f);
	return data;
}

/* Blocks of random bits, as another implementation dequantises them; packed as well.  tests/data/blocks/README.md says which. */
START_TEST(test_blocks) {
	size_t size, floats;
	uint32_t type = types[_i];
	if (known[_i].vector || type == KERN_F32)
		return;
	uint8_t *blocks = slurp_blocks(kern_traits(type)->name, ".blocks", &size);
	float *want = (float *)(void *)slurp_blocks(kern_traits(type)->name, ".dequant.f32", &floats);
	size_t n = size / kern_traits(type)->bytes * kern_traits(type)->block;
	ck_assert_uint_ge(n, 1024);
	ck_assert_uint_eq(floats, n * sizeof(float));
	ck_assert(kern_finite(type, blocks, 1, n));
	float *got = malloc(floats);
	kern_dequant(type, got, blocks, n);
	ck_assert_mem_eq(got, want, floats);
	uint8_t *packed = aligned(kern_packed_bytes(type, 1, n));
	kern_pack(type, packed, blocks, 1, n);
	kern_dequant_packed(type, got, packed, 0, n);
	ck_assert_mem_eq(got, want, floats);
	free(blocks);
	free(want);
	free(got);
	free(packed);
}
END_TEST

/* Every exponent: a power of two, the smallest subnormal ones; 255 is refused. */
START_TEST(test_exponents) {
	uint8_t blocks[256 * 17] = {0};
	float w[32];
	for (int e = 0; e < 256; e++) {
		uint8_t *block = blocks + e * 17;
		block[0] = (uint8_t)e;
		block[1] = 0x1f; /* -12 and 1 */
		ck_assert_int_eq(kern_finite(KERN_MXFP4, block, 1, 32), e < 255);
		if (e == 255)
			continue;
		kern_dequant(KERN_MXFP4, w, block, 32);
		ck_assert(w[0] == (float)ldexp(-12, e - 128));
		ck_assert(w[16] == (float)ldexp(1, e - 128));
	}
	ck_assert(kern_finite(KERN_MXFP4, blocks, 1, 255 * 32));
	ck_assert(!kern_finite(KERN_MXFP4, blocks, 1, 256 * 32));
}
END_TEST

/* The scale of IQ1_M is in four parts; one that is infinite or not a number is refused, whichever block it is in. */
START_TEST(test_scale_in_parts) {
	static const uint16_t scales[] = {0x7bff, 0xfbff, 0x0001, 0x7c00, 0xfc00, 0x7e01};
	uint8_t blocks[3 * sizeof(struct iq1_m)] = {0};
	for (int k = 0; k < 6; k++)
		for (size_t b = 0; b < 3; b++) {
			uint8_t *part =
			        blocks + b * sizeof(struct iq1_m) + offsetof(struct iq1_m, scales) + 1;
			for (int i = 0; i < 4; i++)
				part[2 * i] = (uint8_t)((scales[k] >> 4 * i & 15) << 4 | 5);
			ck_assert_int_eq(kern_finite(KERN_IQ1_M, blocks, 1, 768), k < 3);
			memset(blocks, 0, sizeof blocks);
		}
}
END_TEST

/* There and back over every tail, and the layout as pack.h draws it, for the first field. */
START_TEST(test_pack) {
	int t = _i;
	enum kern_type type = types[t];
	size_t n = 768, row = kern_row_bytes(type, n), blocks = n / kern_traits(type)->block;
	for (size_t rows = 1; rows <= 17; rows++) {
		uint8_t *a = malloc(rows * row), *b = malloc(rows * row + 1);
		uint8_t *packed = aligned(kern_packed_bytes(type, rows, n));
		fill(t, a, rows * blocks);
		kern_pack(type, packed, a, rows, n);
		b[rows * row] = 0x5a;
		kern_unpack(type, b, packed, rows, n);
		ck_assert_mem_eq(a, b, rows * row);
		ck_assert_uint_eq(b[rows * row], 0x5a);
		const struct kern_field *f = &kern_layout(type)->field[0];
		size_t at = (rows - 1) % 8 * f->unit + (rows - 1) / 8 * 8 * row;
		for (size_t k = 0; k < blocks; k++) /* blocks follow each other, each begins with its head */
			ck_assert_often(!memcmp(packed + at + k * row / blocks * KERN_STRIP,
			        a + (rows - 1) * row + k * row / blocks + f->offset, f->unit));
		for (size_t r = rows; r % KERN_STRIP; r++) { /* what fills the strip is zero */
			uint8_t block[256], zero[256] = {0};
			kern_strip_block(type, block, packed + r / 8 * 8 * row, r % 8, blocks - 1);
			ck_assert_mem_eq(block, zero, kern_traits(type)->bytes);
		}
		free(a);
		free(b);
		free(packed);
	}
}
END_TEST

START_TEST(test_finite) {
	int t = _i;
	enum kern_type type = types[t];
	size_t n = 512, bytes = kern_traits(type)->bytes, blocks = 3 * n / kern_traits(type)->block;
	static const uint32_t bad[] = {0x7c00, 0xfc00, 0x7e01}, good[] = {0x7bff, 0xfbff, 0x0001};
	uint8_t *p = malloc(blocks * bytes);
	fill(t, p, blocks);
	ck_assert(kern_finite(type, p, 3, n));
	for (int k = 0; k < 2 && known[t].scales[k] >= 0; k++)
		for (size_t b = 0; b < blocks; b += blocks - 1)
			for (int i = 0; i < 3; i++) {
				uint8_t *scale = p + b * bytes + known[t].scales[k];
				size_t size = type == KERN_F32 ? 4 : 2;
				/* the same pattern in the wider exponent of the other two */
				int shift = type == KERN_F32 ? 16 : 0;
				uint32_t wide = type == KERN_F32 || type == KERN_BF16 ? 0x0380 : 0;
				uint32_t value = (bad[i] | wide) << shift, was = 0;
				memcpy(&was, scale, size);
				memcpy(scale, &value, size);
				ck_assert(!kern_finite(type, p, 3, n));
				value = good[i] << shift;
				memcpy(scale, &value, size);
				ck_assert(kern_finite(type, p, 3, n));
				memcpy(scale, &was, size);
			}
	free(p);
}
END_TEST

/* The product against the dot product of dequantised weights in double: what is left is the quantisation
 * of the activations, at most half a step an element, and rounding.  A nibble out of order would be far
 * beyond it. */
START_TEST(test_product) {
	int t = _i;
	enum kern_type type = types[t];
	enum { N = 1024, ROWS = 11, COLS = 3 };
	const struct kern_traits *traits = kern_traits(type);
	const struct kern_ops *ref = kern_level(0);
	size_t stride = kern_act_bytes(traits->form, N);
	uint8_t *rows = malloc(ROWS * kern_row_bytes(type, N));
	uint8_t *packed = aligned(kern_packed_bytes(type, ROWS, N));
	uint8_t *acts = aligned(COLS * stride);
	static float x[COLS][N], w[N], y[COLS][ROWS];
	fill(t, rows, (size_t)ROWS * N / traits->block);
	kern_pack(type, packed, rows, ROWS, N);
	for (int c = 0; c < COLS; c++) {
		for (int i = 0; i < N; i++)
			x[c][i] = (float)(int32_t)number() * 0x1p-31f;
		ck_assert_int_eq(ref->quantize[traits->form](acts + c * stride, x[c], N), 0);
	}
	kern_mul(ref, type, COLS)(y[0], ROWS, packed, ROWS, N, acts, stride, COLS);
	for (int r = 0; r < ROWS; r++) {
		kern_dequant(type, w, rows + r * kern_row_bytes(type, N), N);
		for (int c = 0; c < COLS; c++) {
			double sum = 0, error = 0, magnitude = 0;
			for (int i = 0; i < N; i++) {
				sum += (double)w[i] * x[c][i];
				magnitude += fabs((double)w[i] * x[c][i]);
				error += (double)w[i] * w[i] / 12 / 127 / 127;
			}
			/* six deviations of the uniform error of an element of at most one step */
			double limit =
			        (traits->form == KERN_FORM_F32 ? 0 : 6 * sqrt(error)) + 1e-5 * magnitude;
			ck_assert_msg(fabs(sum - y[c][r]) <= limit,
			        "%s: row %d column %d is %g, not %g (+- %g)", traits->name, r, c, y[c][r],
			        sum, limit);
		}
	}
	free(rows);
	free(packed);
	free(acts);
}
END_TEST

/* Quants and scales against the definition in double. */
START_TEST(test_quantize) {
	enum { N = 512 };
	static float x[N];
	static _Alignas(64) uint8_t row[8192];
	const struct kern_ops *ref = kern_level(0);
	for (int i = 0; i < N; i++)
		x[i] = (float)(int32_t)number() * 0x1p-31f;
	memset(x + 64, 0, 32 * sizeof *x);
	ck_assert_uint_le(kern_act_bytes(KERN_FORM_Q8_32, N), sizeof row);
	ck_assert_int_eq(ref->quantize[KERN_FORM_Q8_32](row, x, N), 0);
	struct acts_q8_32 at = acts_q8_32(N);
	for (int b = 0; b < N / 32; b++) {
		const int8_t *q = (const int8_t *)row + at.q + b * 32;
		float a = 0, d = ((float *)(row + at.d))[b], sum = 0;
		for (int i = 0; i < 32; i++) {
			a = fmaxf(a, fabsf(x[b * 32 + i]));
			ck_assert(fabs(x[b * 32 + i] - (double)d * q[i]) <= d * 0.50001);
			sum += q[i];
		}
		ck_assert(d == a / 127);
		ck_assert(sum == ((float *)(row + at.sum))[b]);
	}
	x[300] = INFINITY;
	for (int form = 0; form < KERN_FORMS; form++)
		ck_assert_int_eq(ref->quantize[form](row, x, N), -EDOM);
}
END_TEST

START_TEST(test_choice) {
	char err[256] = "";
	ck_assert_int_eq(setenv("CARAVAN_CPU", "abacus", 1), 0);
	ck_assert_int_eq(kern_init(err, sizeof err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err, "abacus"));
	setenv("CARAVAN_CPU", "ref", 1);
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	ck_assert_ptr_eq(kern_ops(), kern_level(0));
	ck_assert_str_eq(kern_ops()->name, "ref");
	unsetenv("CARAVAN_CPU");
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	/* the highest, but not the one that is taken only by its name */
	const struct kern_ops *best = NULL;
	for (size_t i = 0; kern_level(i); i++)
		if (strcmp(kern_level(i)->name, "avx512") != 0)
			best = kern_level(i);
	ck_assert_ptr_eq(kern_ops(), best);
	for (size_t i = 0; kern_level(i); i++) {
		setenv("CARAVAN_CPU", kern_level(i)->name, 1);
		ck_assert_int_eq(kern_init(err, sizeof err), 0);
		ck_assert_ptr_eq(kern_ops(), kern_level(i));
	}
	unsetenv("CARAVAN_CPU");
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
}
END_TEST

START_TEST(test_classes) {
	static const enum kern_class of[] = {KERN_COLS_1, KERN_COLS_1, KERN_COLS_2, KERN_COLS_4, KERN_COLS_4,
	        KERN_COLS_8, KERN_COLS_8, KERN_COLS_8, KERN_COLS_8, KERN_COLS_MORE};
	for (size_t cols = 0; cols < sizeof of / sizeof *of; cols++)
		ck_assert_int_eq(kern_class(cols), of[cols]);
	ck_assert_int_eq(kern_class(SIZE_MAX), KERN_COLS_MORE);
	for (int c = 0; c < KERN_COLS_MORE; c++) {
		size_t most = kern_class_most((enum kern_class)c);
		ck_assert_int_eq(kern_class(most), c);
		ck_assert_int_eq(kern_class(most + 1), c + 1);
	}
	ck_assert_uint_eq(kern_class_most(KERN_COLS_MORE), 0);
}
END_TEST

/* The default is used until another way is chosen, for these columns of this type and no others. */
START_TEST(test_ways) {
	char err[128];
	unsetenv("CARAVAN_CPU");
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	const struct kern_ops *ops = kern_ops();
	static const struct kern_way other = {"other", NULL};
	for (size_t i = 0; kern_level(i); i++)
		for (size_t t = 0; t < COUNT; t++)
			for (int c = 0; c < KERN_CLASSES; c++) {
				enum kern_class class = (enum kern_class)c;
				const struct kern_way *ways = kern_level(i)->ways[types[t]][c],
				                      *first = kern_way_default(
				                              kern_level(i), types[t], class);
				size_t n = 0, at = (size_t)(first - ways);
				for (; ways[n].name; n++)
					for (size_t k = 0; k < n; k++)
						ck_assert_str_ne(ways[k].name, ways[n].name);
				ck_assert_uint_lt(at, n);
				size_t most = kern_class_most(class);
				ck_assert(kern_mul(kern_level(i), types[t], most ? most : 9) == first->mul);
			}
	ck_assert_ptr_eq(
	        kern_way_in_use(KERN_Q4_0, KERN_COLS_1), kern_way_default(ops, KERN_Q4_0, KERN_COLS_1));
	kern_mul_fn *usual = kern_mul(ops, KERN_Q4_0, 3);
	kern_way_choose(KERN_Q4_0, KERN_COLS_4, &other);
	ck_assert(kern_mul(ops, KERN_Q4_0, 3) == NULL);
	ck_assert(kern_mul(ops, KERN_Q4_0, 4) == NULL);
	ck_assert(kern_mul(ops, KERN_Q4_0, 2) != NULL);
	ck_assert(kern_mul(ops, KERN_Q4_0, 5) != NULL);
	ck_assert(kern_mul(ops, KERN_Q4_1, 3) != NULL);
	kern_way_choose(KERN_Q4_0, KERN_COLS_4, NULL);
	ck_assert(kern_mul(ops, KERN_Q4_0, 3) == usual);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("kernels");
	TCase *c = tcase_create("kernels");
	tcase_add_test(c, test_traits);
	tcase_add_test(c, test_half_exhaustive);
	tcase_add_test(c, test_half_limits);
	tcase_add_loop_test(c, test_vectors, 0, COUNT);
	tcase_add_loop_test(c, test_blocks, 0, COUNT);
	tcase_add_test(c, test_exponents);
	tcase_add_test(c, test_scale_in_parts);
	tcase_add_loop_test(c, test_pack, 0, COUNT);
	tcase_add_loop_test(c, test_finite, 0, COUNT);
	tcase_add_loop_test(c, test_product, 0, COUNT);
	tcase_add_test(c, test_quantize);
	tcase_add_test(c, test_choice);
	tcase_add_test(c, test_classes);
	tcase_add_test(c, test_ways);
	tcase_set_timeout(c, 60);
	suite_add_tcase(s, c);
	return s;
}

#include "tests/unit/check_main.h"
