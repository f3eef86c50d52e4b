/* Names of content, manifests, vocabularies: their bytes, and that only those bytes are taken. */
#include "shard/gguf/gguf.h"
#include "shard/import/import.h"
#include "shard/model/content.h"
#include "shard/model/manifest.h"
#include "shard/model/vocab.h"
#include "tests/support/ggufopen.h"
#include "tests/support/where.h"
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

START_TEST(names) {
	char hex[CONTENT_HEX];
	struct content_id a = content_hash("abc", 3), b;
	struct content_hasher *h;
	/* the example of FIPS 180-2 */
	ck_assert_str_eq(
	        content_hex(&a, hex), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	ck_assert_int_eq(content_from_hex(hex, &b), 0);
	ck_assert(content_equal(&a, &b));
	hex[5] = 'F';
	ck_assert_int_eq(content_from_hex(hex, &b), -EINVAL);
	hex[5] = '\0';
	ck_assert_int_eq(content_from_hex(hex, &b), -EINVAL);
	ck_assert_int_eq(content_hasher_create(&h), 0);
	for (int i = 0; i < 3; i++) {
		content_hasher_add(h, "a", 1);
		content_hasher_add(h, "bc", 2);
		b = content_hasher_finish(h);
		ck_assert(content_equal(&a, &b));
	}
	content_hasher_destroy(h);
}
END_TEST

START_TEST(chunks) {
	struct content_tensor t;
	uint64_t first, rows, bytes;
	/* as many whole 32 rows as fit 4 MiB, at least 32 */
	ck_assert_uint_eq(content_chunk_rows(4096), 1024);
	ck_assert_uint_eq(content_chunk_rows(4097), 992);
	ck_assert_uint_eq(content_chunk_rows(1u << 20), 32);
	ck_assert_uint_eq(content_chunk_rows(2), 1u << 21);
	ck_assert_int_eq(content_tensor_init(&t, KERN_Q4_0, 8192, 2001, 1), 0);
	ck_assert_uint_eq(t.chunk_rows, 896); /* of 4608 bytes */
	ck_assert_uint_eq(t.chunks, 3);
	content_chunk_extent(&t, 1, &first, &rows, &bytes);
	ck_assert(first == 896 && rows == 896 && bytes == 896 * 4608);
	content_chunk_extent(&t, 2, &first, &rows, &bytes);
	ck_assert(first == 1792 && rows == 209 && bytes == 209 * 4608);
	ck_assert_uint_eq(content_tensor_bytes(&t), 2001 * 4608);
	content_tensor_clear(&t);
	ck_assert_int_eq(content_tensor_init(&t, KERN_Q4_0, 33, 1, 1), -EINVAL);
	ck_assert_int_eq(content_tensor_init(&t, KERN_Q4_0, 0, 1, 1), -EINVAL);
	ck_assert_int_eq(content_tensor_init(&t, KERN_Q4_0, 32, 0, 1), -EINVAL);
	ck_assert_int_eq(content_tensor_init(&t, (enum kern_type)4, 32, 1, 1), -EINVAL);
	ck_assert_int_eq(content_tensor_init(&t, KERN_F32, CONTENT_MAX_WIDTH + 1, 1, 1), -EINVAL);
	ck_assert_int_eq(content_tensor_init(&t, KERN_F32, CONTENT_MAX_WIDTH, CONTENT_MAX_ROWS, 1), -EINVAL);
}
END_TEST

/* Each part is cut by itself. */
START_TEST(chunks_of_parts) {
	static const uint64_t begins[] = {0, 896, 1000, 1896, 2000, 2896};
	struct content_tensor t;
	uint64_t first, rows, bytes;
	ck_assert_int_eq(content_tensor_init(&t, KERN_Q4_0, 8192, 3000, 3), 0);
	ck_assert(t.parts == 3 && t.chunks == 6);
	for (uint32_t i = 0; i < 6; i++) {
		uint64_t want = i % 2 ? 104 : 896;
		content_chunk_extent(&t, i, &first, &rows, &bytes);
		ck_assert(first == begins[i] && rows == want && bytes == want * 4608);
		ck_assert_uint_eq(content_chunk_of(&t, first), i);
		ck_assert_uint_eq(content_chunk_of(&t, first + rows - 1), i);
	}
	ck_assert_uint_eq(content_tensor_bytes(&t), 3000 * 4608);
	content_tensor_clear(&t);
	/* a part that is smaller than a chunk */
	ck_assert_int_eq(content_tensor_init(&t, KERN_F32, 8, 40, 5), 0);
	ck_assert_uint_eq(t.chunks, 5);
	content_chunk_extent(&t, 4, &first, &rows, &bytes);
	ck_assert(first == 32 && rows == 8 && bytes == 256);
	content_tensor_clear(&t);
	/* no part, unequal parts, parts of no whole strips, too many parts, too many chunks */
	ck_assert_int_eq(content_tensor_init(&t, KERN_F32, 8, 40, 0), -EINVAL);
	ck_assert_int_eq(content_tensor_init(&t, KERN_F32, 8, 40, 3), -EINVAL);
	ck_assert_int_eq(content_tensor_init(&t, KERN_F32, 8, 40, 2), -EINVAL);
	uint64_t most = CONTENT_MAX_PARTS;
	ck_assert_int_eq(
	        content_tensor_init(&t, KERN_F32, 8, 8 * (most + 1), CONTENT_MAX_PARTS + 1), -EINVAL);
	ck_assert_int_eq(content_tensor_init(&t, KERN_F32, 8, 8 * most, CONTENT_MAX_PARTS), 0);
	content_tensor_clear(&t);
	ck_assert_int_eq(content_tensor_init(&t, KERN_F32, CONTENT_MAX_WIDTH,
	                         32 * (CONTENT_MAX_CHUNKS + most), CONTENT_MAX_PARTS),
	        -EINVAL);
}
END_TEST

START_TEST(record_bytes) {
	struct content_tensor t, u;
	uint8_t *data, *again;
	size_t len, n;
	ck_assert_int_eq(content_tensor_init(&t, KERN_Q8_0, 64, 70, 1), 0);
	ck_assert_uint_eq(t.chunks, 1);
	t.chunk[0] = content_hash("abc", 3);
	ck_assert_int_eq(content_tensor_encode(&t, &data, &len), 0);
	/* doc/protocol.md, byte for byte */
	static const uint8_t head[32] = {
	        'C', 'V', 'T', 'R', 1, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 70};
	ck_assert_uint_eq(len, 64);
	ck_assert_mem_eq(data, head, 32);
	ck_assert_mem_eq(data + 32, t.chunk[0].b, 32);
	struct content_id id = content_hash(data, len);
	ck_assert(content_equal(&id, &t.id));
	ck_assert_int_eq(content_tensor_decode(&u, data, len), 0);
	ck_assert(content_equal(&u.id, &t.id) && u.n == 64 && u.rows == 70 && u.type == KERN_Q8_0);
	ck_assert_int_eq(content_tensor_encode(&u, &again, &n), 0);
	ck_assert(n == len && memcmp(data, again, n) == 0);
	content_tensor_clear(&u);
	free(again);
	/* every shorter form is refused, and every other head */
	for (size_t i = 0; i < len; i++)
		ck_assert_int_eq(content_tensor_decode(&u, data, i), -EINVAL);
	for (size_t i = 0; i <= 16; i++) {
		data[i] ^= 0x10;
		int rc = content_tensor_decode(&u, data, len);
		/* there is no type 24, and rows of 80 elements are no whole blocks */
		ck_assert_int_eq(rc, -EINVAL);
		data[i] ^= 0x10;
	}
	free(data);
	content_tensor_clear(&t);
}
END_TEST

/* The record of several parts is of version 2; that of one is not. */
START_TEST(record_bytes_of_parts) {
	static const uint32_t one = 1, two = 2, four = 4;
	struct content_tensor t, u;
	uint8_t *data, *again;
	size_t len, n;
	ck_assert_int_eq(content_tensor_init(&t, KERN_Q8_0, 64, 48, 2), 0);
	ck_assert_uint_eq(t.chunks, 2);
	t.chunk[0] = content_hash("abc", 3);
	t.chunk[1] = content_hash("xyz", 3);
	ck_assert_int_eq(content_tensor_encode(&t, &data, &len), 0);
	/* doc/protocol.md, byte for byte */
	static const uint8_t head[36] = {'C', 'V', 'T', 'R', 2, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, 64, 0, 0, 0,
	        0, 0, 0, 0, 48, 0, 0, 0, 0, 0, 0, 0, 2};
	ck_assert_uint_eq(len, 100);
	ck_assert_mem_eq(data, head, 36);
	ck_assert_mem_eq(data + 36, t.chunk, 64);
	struct content_id id = content_hash(data, len);
	ck_assert(content_equal(&id, &t.id));
	ck_assert_int_eq(content_tensor_decode(&u, data, len), 0);
	ck_assert(content_equal(&u.id, &t.id) && u.n == 64 && u.rows == 48 && u.parts == 2 && u.chunks == 2);
	ck_assert_mem_eq(u.chunk, t.chunk, 64);
	ck_assert_int_eq(content_tensor_encode(&u, &again, &n), 0);
	ck_assert(n == len && memcmp(data, again, n) == 0);
	content_tensor_clear(&u);
	free(again);
	for (size_t i = 0; i < len; i++)
		ck_assert_int_eq(content_tensor_decode(&u, data, i), -EINVAL);
	/* another number of parts: one that has other chunks, one of no whole strips, none */
	memcpy(data + 32, (const uint32_t[]){3}, 4);
	ck_assert_int_eq(content_tensor_decode(&u, data, len), -EINVAL);
	memcpy(data + 32, &four, 4);
	ck_assert_int_eq(content_tensor_decode(&u, data, len), -EINVAL);
	memcpy(data + 32, (const uint32_t[]){0}, 4);
	ck_assert_int_eq(content_tensor_decode(&u, data, len), -EINVAL);
	/* one part is said by version 1 alone, two by version 2 */
	memcpy(data + 32, &one, 4);
	memcpy(data + 12, &one, 4);
	ck_assert_int_eq(content_tensor_decode(&u, data, 68), -EINVAL);
	memcpy(data + 32, &two, 4);
	memcpy(data + 12, &two, 4);
	ck_assert_int_eq(content_tensor_decode(&u, data, len), 0);
	content_tensor_clear(&u);
	data[4] = 1;
	ck_assert_int_eq(content_tensor_decode(&u, data, len), -EINVAL);
	data[4] = 3;
	ck_assert_int_eq(content_tensor_decode(&u, data, len), -EINVAL);
	free(data);
	content_tensor_clear(&t);
}
END_TEST

/* What a record says of its chunks must be what its shape has, and what is there. */
START_TEST(records_of_other_lengths) {
	struct content_tensor t, u;
	uint8_t *data;
	size_t len;
	ck_assert_int_eq(content_tensor_init(&t, KERN_F32, 1024, 5000, 1), 0);
	ck_assert_uint_gt(t.chunks, 2);
	ck_assert_int_eq(content_tensor_encode(&t, &data, &len), 0);
	/* the number that is said, and chunks that are there: one less, as many, one more */
	for (int said = -1; said <= 1; said++)
		for (int there = -1; there <= 1; there++) {
			size_t n = len + (size_t)(32 * there);
			uint8_t *x = calloc(1, n);
			uint32_t number = t.chunks + (uint32_t)said;
			memcpy(x, data, n < len ? n : len);
			memcpy(x + 12, &number, 4);
			int rc = content_tensor_decode(&u, x, n);
			ck_assert_int_eq(rc, said || there ? -EINVAL : 0);
			if (rc == 0)
				content_tensor_clear(&u);
			free(x);
		}
	free(data);
	content_tensor_clear(&t);
}
END_TEST

/* A manifest with invented names. */
static struct manifest *make_manifest_of(const layer_roles *roles, const struct hparams *hp) {
	struct manifest *m;
	ck_assert_int_eq(manifest_create(&m, hp, roles), 0);
	m->vocab = content_hash("vocabulary", 10);
	for (int r = 0; r < IO_ROLES; r++) {
		struct manifest_tensor *t = &m->io[r];
		t->id = content_hash(&r, sizeof r);
		t->type = manifest_io_is_vector((enum io_role)r) ? KERN_F32 : KERN_Q8_0;
		t->bytes = t->rows * kern_row_bytes(t->type, t->n);
	}
	for (size_t i = 0; i < manifest_layer_tensors(m); i++) {
		struct manifest_tensor *t = &m->tensor[i];
		int number = 100 + t->role; /* layers share their tensors */
		t->id = content_hash(&number, sizeof number);
		t->type = manifest_layer_is_vector((enum layer_role)t->role) ? KERN_BF16 : KERN_Q4_0;
		t->bytes = t->rows * kern_row_bytes(t->type, t->n);
	}
	return m;
}

static struct manifest *make_manifest_with(const layer_roles *roles, const struct hparams *traits) {
	struct hparams_trait trait[HPARAMS_TRAITS];
	struct hparams hp = {.layers = 3,
	        .dim = 64,
	        .heads = 4,
	        .kv_heads = 2,
	        .head_size = 16,
	        .ffn = 96,
	        .vocab = 40,
	        .context = 128,
	        .pairs = 2,
	        .eps = 1e-5f,
	        .freq = {1.0f, 0.5f}};
	for (size_t i = traits ? hparams_traits(traits, trait) : 0; i-- > 0;)
		ck_assert_int_eq(hparams_set_trait(&hp, &trait[i]), 0);
	if (traits)
		memcpy(hp.shape, traits->shape, sizeof hp.shape);
	return make_manifest_of(roles, &hp);
}

static struct manifest *make_manifest(void) {
	return make_manifest_with(NULL, NULL);
}

START_TEST(manifest_bytes) {
	struct manifest *m = make_manifest(), *d;
	uint8_t *data, *again;
	size_t len, n;
	ck_assert_int_eq(manifest_encode(m, &data, &len), 0);
	ck_assert_uint_eq(len, 80 + 2 * 4 + 36 * (3 + 3 * 9));
	ck_assert_mem_eq(data,
	        "CVMF\1\0\0\0\3\0\0\0\x40\0\0\0\4\0\0\0\2\0\0\0\x10\0\0\0\x60\0\0\0\x28\0\0\0\x80\0\0\0"
	        "\2\0\0\0",
	        44);
	ck_assert_mem_eq(data + 48, m->vocab.b, 32);
	ck_assert_int_eq(manifest_decode(&d, data, len, err, sizeof err), 0);
	ck_assert(content_equal(&d->id, &m->id));
	ck_assert(memcmp(&d->hp, &m->hp, sizeof d->hp) == 0);
	ck_assert(manifest_find(d, 2, LAYER_DOWN)->n == 96 && manifest_find(d, 2, LAYER_DOWN)->rows == 64 &&
	          manifest_find(d, 2, LAYER_DOWN)->bytes == 64 * 3 * 18);
	ck_assert(manifest_find(d, 0, LAYER_K)->rows == 32 && manifest_find(d, 0, LAYER_OUT)->n == 64);
	ck_assert_int_eq(manifest_encode(d, &again, &n), 0);
	ck_assert(n == len && memcmp(data, again, n) == 0);
	uint64_t layer = (64 * 64 * 2 + 64 * 32 * 2 + 64 * 96 * 3) / 32 * 18 + 2 * 64 * 2;
	ck_assert_uint_eq(manifest_layer_bytes(d, 0, 1), layer);
	ck_assert_uint_eq(manifest_layer_bytes(d, 1, 3), 2 * layer);
	ck_assert_uint_eq(manifest_io_bytes(d), 2 * 40 * 68 + 256);
	d->io[IO_HEAD] = d->io[IO_EMBED];
	ck_assert_uint_eq(manifest_io_bytes(d), 40 * 68 + 256);
	for (size_t i = 0; i < len; i++) {
		struct manifest *x;
		ck_assert_int_lt(manifest_decode(&x, data, i, err, sizeof err), 0);
	}
	uint8_t *longer = calloc(1, len + 36); /* nor with a tensor more */
	struct manifest *x;
	memcpy(longer, data, len);
	ck_assert_int_lt(manifest_decode(&x, longer, len + 1, err, sizeof err), 0);
	ck_assert_int_lt(manifest_decode(&x, longer, len + 36, err, sizeof err), 0);
	free(longer);
	manifest_destroy(d);
	manifest_destroy(m);
	free(data);
	free(again);
}
END_TEST

/* Layers that differ in their tensors, and traits: version 2. */
static const layer_roles odd_roles[3] = {LAYER_PLAIN_BITS | LAYER_BIT(LAYER_Q_BIAS) | LAYER_BIT(LAYER_K_NORM),
        LAYER_PLAIN_BITS, LAYER_PLAIN_BITS | LAYER_BIT(LAYER_OUT_BIAS)};
static const struct hparams odd_traits = {.halves = 1, .logit_scale = 0.5f};

START_TEST(manifests_of_families) {
	struct manifest *m = make_manifest_with(odd_roles, &odd_traits), *d, *copy;
	uint8_t *data, *again;
	size_t len, n;
	ck_assert_int_eq(manifest_encode(m, &data, &len), 0);
	ck_assert_uint_eq(len, 80 + 2 * 4 + 4 + 2 * 8 + 3 * 8 + 36 * (3 + 3 * 9 + 3));
	ck_assert_mem_eq(data + 4, "\2\0\0\0", 4);
	ck_assert_mem_eq(data + 88,
	        "\2\0\0\0\1\0\0\0\1\0\0\0\7\0\0\0\0\0\0\x3f"
	        "\xff\x43\0\0\0\0\0\0\xff\1\0\0\0\0\0\0\xff\x11\0\0\0\0\0\0",
	        44);
	ck_assert_int_eq(manifest_decode(&d, data, len, err, sizeof err), 0);
	ck_assert(content_equal(&d->id, &m->id) && memcmp(&d->hp, &m->hp, sizeof d->hp) == 0);
	ck_assert_uint_eq(manifest_layer_tensors(d), 30);
	ck_assert_uint_eq(manifest_find(d, 0, LAYER_Q_BIAS)->n, 64);
	ck_assert_uint_eq(manifest_find(d, 0, LAYER_K_NORM)->n, 16);
	ck_assert_uint_eq(manifest_find(d, 2, LAYER_OUT_BIAS)->n, 64);
	ck_assert_ptr_null(manifest_find(d, 1, LAYER_Q_BIAS));
	ck_assert_ptr_null(manifest_find(d, 2, LAYER_K_NORM));
	for (uint32_t l = 0; l < 3; l++)
		for (uint32_t i = d->at[l]; i < d->at[l + 1]; i++)
			ck_assert_uint_eq(manifest_layer_of(d, i), l);
	ck_assert_uint_eq(manifest_layer_bytes(d, 1, 2), manifest_layer_bytes(d, 2, 3) - 64 * 2);
	ck_assert_int_eq(manifest_encode(d, &again, &n), 0);
	ck_assert(n == len && memcmp(data, again, n) == 0);
	free(again);
	ck_assert_int_eq(manifest_copy(&copy, d), 0);
	manifest_destroy(d);
	ck_assert_int_eq(manifest_encode(copy, &again, &n), 0);
	ck_assert(n == len && memcmp(data, again, n) == 0);
	for (size_t i = 0; i < len; i++)
		ck_assert_int_lt(manifest_decode(&d, data, i, err, sizeof err), 0);
	manifest_destroy(copy);
	manifest_destroy(m);
	free(data);
	free(again);
}
END_TEST

/* What a version 2 must not say, at which place of it. */
static const struct {
	size_t at;
	uint32_t value;
	const char *says;
} spoilt_family[] = {
        {88, 33, "is not in the form"}, /* more traits than there may be */
        {88, 3, "is not in the form"},  /* what follows is no trait */
        {92, 7, "is not in the form"},  /* a number twice */
        {92, 0, "is not in the form"},  /* or none */
        {96, 0, "is not in the form"},  /* a trait that is not there */
        {96, 2, "the model's RoPE's order is not valid"},
        {100, 99, "needs a newer version of Caravan: trait 99"},
        {104, 0x7f800000, "the model's scale of logits is not valid"},
        {104, 0xbf000000, "the model's scale of logits is not valid"},
        {108, 0x43fe, "is not in the form"}, /* a tensor less than there is */
        {116, 0x3ff, "is not in the form"},  /* and one more */
        {112, 0x80000000, "needs a newer version of Caravan: layer 0 of its manifest"},
        {116, 0x3fe, "a layer does not have the tensors of one that Caravan computes"},
        {116, 0x8001ff, "is not in the form"},
        {4, 3, "is not in the form"},
        {4, 1, "is not in the form"},
};

START_TEST(manifests_of_families_are_refused) {
	struct manifest *m = make_manifest_with(odd_roles, &odd_traits), *d = NULL;
	uint8_t *data;
	size_t len;
	ck_assert_int_eq(manifest_encode(m, &data, &len), 0);
	memcpy(data + spoilt_family[_i].at, &spoilt_family[_i].value, 4);
	ck_assert_int_lt(manifest_decode(&d, data, len, err, sizeof err), 0);
	ck_assert_msg(strstr(err, spoilt_family[_i].says), "said: %s", err);
	free(data);
	manifest_destroy(m);
}
END_TEST

/* Which roles make a layer. */
#define BITS(role) LAYER_BIT(LAYER_##role)
#define DENSE (BITS(GATE) | BITS(UP) | BITS(DOWN))
#define EXPERTS (BITS(ROUTER) | BITS(EXPERT_GATE) | BITS(EXPERT_UP) | BITS(EXPERT_DOWN))
#define SHARED (BITS(SHARED_GATE) | BITS(SHARED_UP) | BITS(SHARED_DOWN))
static const struct {
	layer_roles roles;
	uint32_t experts, shared_ffn;
	bool fine;
} layers[] = {
        {LAYER_PLAIN_BITS, 0, 0, true},
        {LAYER_PLAIN_BITS | BITS(K_NORM) | BITS(OUT_BIAS), 0, 0, true},
        {(LAYER_PLAIN_BITS & ~DENSE) | EXPERTS, 8, 0, true},
        {(LAYER_PLAIN_BITS & ~DENSE) | EXPERTS, 0, 0, false},
        {(LAYER_PLAIN_BITS & ~DENSE) | EXPERTS | SHARED, 8, 64, true},
        {(LAYER_PLAIN_BITS & ~DENSE) | EXPERTS | SHARED, 8, 0, false},
        {(LAYER_PLAIN_BITS & ~DENSE) | EXPERTS | BITS(ROUTER_BIAS) | BITS(EXPERT_UP_BIAS), 8, 0, true},
        {(LAYER_PLAIN_BITS & ~DENSE) | EXPERTS | BITS(SHARED_UP), 8, 64, false},
        {(LAYER_PLAIN_BITS & ~DENSE) | (EXPERTS & ~BITS(EXPERT_UP)), 8, 0, false},
        {(LAYER_PLAIN_BITS & ~DENSE) | (EXPERTS & ~BITS(ROUTER)), 8, 0, false},
        {LAYER_PLAIN_BITS | EXPERTS, 8, 0, false},
        {LAYER_PLAIN_BITS | BITS(CHOICE_BIAS), 8, 0, false},
        {LAYER_PLAIN_BITS | SHARED, 8, 64, false},
        {(LAYER_PLAIN_BITS & ~DENSE) | EXPERTS | SHARED | BITS(SHARED_ROUTER), 8, 64, true},
        {(LAYER_PLAIN_BITS & ~DENSE) | EXPERTS | BITS(SHARED_ROUTER), 8, 64, false},
        {LAYER_PLAIN_BITS & ~DENSE, 0, 0, false},
        {LAYER_PLAIN_BITS & ~BITS(UP), 0, 0, false},
        {LAYER_PLAIN_BITS & ~BITS(ATTN_NORM), 0, 0, false},
        {LAYER_PLAIN_BITS & ~BITS(K), 0, 0, false},
        {LAYER_PLAIN_BITS | LAYER_BIT(LAYER_ROLES), 0, 0, false},
        {0, 0, 0, false},
};

START_TEST(roles_of_a_layer) {
	const struct hparams hp = {.heads = 4,
	        .kv_heads = 2,
	        .ffn = 96,
	        .experts = layers[_i].experts,
	        .shared_ffn = layers[_i].shared_ffn};
	int rc = manifest_check_roles(&hp, 0, layers[_i].roles, err, sizeof err);
	ck_assert_int_eq(rc, layers[_i].fine ? 0 : -EINVAL);
}
END_TEST

/* Of two layers the first is a gated delta net; roles that a layer fits, and others. */
START_TEST(roles_of_a_recurrent_layer) {
	const struct hparams hp = {.heads = 4, .kv_heads = 2, .ffn = 96, .attention_every = 2};
	const layer_roles attention = LAYER_PLAIN_BITS | BITS(Q_NORM) | BITS(K_NORM),
	                  net = manifest_fit_roles(&hp, 0, attention);
	ck_assert_uint_eq(manifest_fit_roles(&hp, 1, attention), attention);
	ck_assert_int_eq(manifest_check_roles(&hp, 0, net, err, sizeof err), 0);
	ck_assert_int_eq(manifest_check_roles(&hp, 1, attention, err, sizeof err), 0);
	ck_assert_int_eq(manifest_check_roles(&hp, 1, net, err, sizeof err), -EINVAL);
	ck_assert_int_eq(manifest_check_roles(&hp, 0, attention, err, sizeof err), -EINVAL);
	ck_assert_int_eq(manifest_check_roles(&hp, 0, net | BITS(Q), err, sizeof err), -EINVAL);
	ck_assert_int_eq(manifest_check_roles(&hp, 0, net | BITS(K_NORM), err, sizeof err), -EINVAL);
	ck_assert_int_eq(manifest_check_roles(&hp, 0, net | BITS(OUT), err, sizeof err), -EINVAL);
	for (int r = 0; r < LAYER_ROLES; r++)
		if (net & LAYER_BIT(r))
			ck_assert_int_eq(
			        manifest_check_roles(&hp, 0, net & ~LAYER_BIT(r), err, sizeof err), -EINVAL);
}
END_TEST

START_TEST(numbers_of_recurrent_layers_are_refused) {
	static const struct hparams wrong[] = {
	        {.attention_every = 2}, {.state_heads = 4, .state_groups = 2, .state_size = 16},
	        {.heads_near = 1}, {.attention_every = 2, .state_heads = 4, .state_groups = 2},
	        {.attention_every = 2, .state_heads = 4, .state_groups = 3, .state_size = 16},
	        {.attention_every = 2, .state_heads = 4, .state_groups = 2, .state_size = 24},
	        {.attention_every = 2, .state_heads = 1024, .state_groups = 1024, .state_size = 512},
	        {.attention_every = 2, .state_heads = 4, .state_groups = 2, .state_size = 16, .unlike = 1},
	        {.attention_every = 2,
	                .state_heads = 4,
	                .state_groups = 2,
	                .state_size = 16}, /* which is not */
	};
	const size_t n = sizeof wrong / sizeof *wrong;
	for (size_t i = 0; i < n; i++) {
		struct manifest *m = make_manifest_with(NULL, &wrong[i]);
		int rc = hparams_check(&m->hp, err, sizeof err);
		ck_assert_msg(rc == (i + 1 < n ? -EINVAL : 0), "case %zu: %d %s", i, rc, err);
		manifest_destroy(m);
	}
}
END_TEST

/* Layers that differ in their shapes: attention of one head more or fewer, only its output product, none; no feed-forward. */
static const struct hparams unlike_traits = {.unlike = 1, .shape = {{4, 1, 64}, {4, 0, 96}, {0, 0, 32}}};
#define ATTENTION (BITS(Q) | BITS(K) | BITS(V))
static const layer_roles unlike_roles[3] = {LAYER_PLAIN_BITS, LAYER_PLAIN_BITS & ~ATTENTION,
        LAYER_PLAIN_BITS & ~(ATTENTION | BITS(OUT) | BITS(ATTN_NORM))};

static struct manifest *make_unlike_manifest(void) {
	struct manifest *m = make_manifest_with(unlike_roles, &unlike_traits);
	m->hp.kv_heads = 1;
	return m;
}

START_TEST(manifests_of_unlike_layers) {
	struct manifest *m = make_unlike_manifest(), *d = NULL;
	uint8_t *data, *again;
	size_t len, n;
	ck_assert_int_eq(manifest_encode(m, &data, &len), 0);
	ck_assert_uint_eq(len, 80 + 2 * 4 + 4 + 8 + 3 * (12 + 8) + 36 * (3 + 9 + 6 + 4));
	/* doc/protocol.md, byte for byte */
	ck_assert_mem_eq(data + 88,
	        "\1\0\0\0\22\0\0\0\1\0\0\0"
	        "\4\0\0\0\1\0\0\0\x40\0\0\0"
	        "\4\0\0\0\0\0\0\0\x60\0\0\0"
	        "\0\0\0\0\0\0\0\0\x20\0\0\0"
	        "\xff\1\0\0\0\0\0\0\xf1\1\0\0\0\0\0\0\xe0\1\0\0\0\0\0\0",
	        72);
	ck_assert_msg(manifest_decode(&d, data, len, err, sizeof err) == 0, "%s", err);
	ck_assert(content_equal(&d->id, &m->id) && memcmp(&d->hp, &m->hp, sizeof d->hp) == 0);
	ck_assert_uint_eq(manifest_find(d, 0, LAYER_K)->rows, 16);
	ck_assert_uint_eq(manifest_find(d, 0, LAYER_UP)->rows, 64);
	ck_assert_uint_eq(manifest_find(d, 1, LAYER_DOWN)->n, 96);
	ck_assert_uint_eq(manifest_find(d, 1, LAYER_OUT)->n, 64);
	ck_assert_uint_eq(manifest_find(d, 2, LAYER_GATE)->rows, 32);
	ck_assert_ptr_null(manifest_find(d, 1, LAYER_Q));
	ck_assert_ptr_null(manifest_find(d, 2, LAYER_OUT));
	ck_assert_int_eq(manifest_encode(d, &again, &n), 0);
	ck_assert(n == len && memcmp(data, again, n) == 0);
	for (size_t i = 0; i < len; i++) {
		struct manifest *x;
		ck_assert_int_lt(manifest_decode(&x, data, i, err, sizeof err), 0);
	}
	manifest_destroy(d);
	manifest_destroy(m);
	free(data);
	free(again);
}
END_TEST

/* A number of a layer that must not be, at which place of the manifest above. */
static const struct {
	size_t at;
	uint32_t value;
	const char *says;
} spoilt_layers[] = {
        {96, 2, "the model's difference of layers is not valid"},
        {100, 3, "attn_output.weight has rows of 48 elements"},
        {100, 5, "the numbers of the model's layers are not valid"}, /* more than the most */
        {104, 3, "layer 0 has 4 attention heads and 3 key/value heads"},
        {112, 3,
                "layer 1 has 3 attention heads and 0 key/value heads"}, /* its output product is not of a row */
        {116, 1, "a layer does not have the tensors"},                  /* attention without queries */
        {124, 4, "a layer does not have the tensors"}, /* attention without an output product */
        {128, 1, "layer 2 has 0 attention heads and 1 key/value heads"},
        {108, 0, "a layer does not have the tensors"}, /* a feed-forward of no width */
        {108, 97, "the numbers of the model's layers are not valid"},
        {120, 64, "the numbers of the model's layers are not valid"},
};

START_TEST(manifests_of_unlike_layers_are_refused) {
	struct manifest *m = make_unlike_manifest(), *d = NULL;
	uint8_t *data;
	size_t len;
	ck_assert_int_eq(manifest_encode(m, &data, &len), 0);
	memcpy(data + spoilt_layers[_i].at, &spoilt_layers[_i].value, 4);
	ck_assert_int_lt(manifest_decode(&d, data, len, err, sizeof err), 0);
	ck_assert_msg(strstr(err, spoilt_layers[_i].says), "said: %s", err);
	free(data);
	manifest_destroy(m);
}
END_TEST

/* Layers of one shape are not written as if they differed. */
START_TEST(like_layers_have_one_form) {
	struct hparams traits = {.unlike = 1, .shape = {{4, 2, 96}, {4, 2, 96}, {4, 2, 96}}};
	struct manifest *m = make_manifest_with(NULL, &traits);
	uint8_t *data;
	size_t len;
	ck_assert_int_eq(manifest_encode(m, &data, &len), -EINVAL);
	manifest_destroy(m);
}
END_TEST

/* Experts: their matrices are parts of one tensor. */
START_TEST(manifests_of_mixtures) {
	static const struct hparams traits = {
	        .experts = 4, .experts_used = 2, .expert_ffn = 32, .shared_ffn = 64, .expert_scale = 2};
	static const layer_roles roles[3] = {LAYER_PLAIN_BITS, (LAYER_PLAIN_BITS & ~DENSE) | EXPERTS,
	        (LAYER_PLAIN_BITS & ~DENSE) | EXPERTS | SHARED | BITS(EXPERT_DOWN_BIAS) | BITS(ROUTER_BIAS)};
	struct manifest *m = make_manifest_with(roles, &traits), *d = NULL;
	uint8_t *data, *again;
	size_t len, n;
	ck_assert_int_eq(manifest_encode(m, &data, &len), 0);
	ck_assert_msg(manifest_decode(&d, data, len, err, sizeof err) == 0, "%s", err);
	ck_assert_int_eq(manifest_encode(d, &again, &n), 0);
	ck_assert(n == len && memcmp(data, again, n) == 0);
	const struct {
		enum layer_role role;
		uint64_t n, rows;
		uint32_t parts;
	} shape[] = {{LAYER_ROUTER, 64, 4, 1}, {LAYER_ROUTER_BIAS, 4, 1, 1},
	        {LAYER_EXPERT_GATE, 64, 4 * 32, 4}, {LAYER_EXPERT_UP, 64, 4 * 32, 4},
	        {LAYER_EXPERT_DOWN, 32, 4 * 64, 4}, {LAYER_EXPERT_DOWN_BIAS, 64, 4, 1},
	        {LAYER_SHARED_DOWN, 64, 64, 1}, {LAYER_Q, 64, 64, 1}};
	for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
		const struct manifest_tensor *t = manifest_find(d, 2, shape[i].role);
		ck_assert(t && t->n == shape[i].n && t->rows == shape[i].rows && t->parts == shape[i].parts);
	}
	ck_assert_ptr_null(manifest_find(d, 1, LAYER_DOWN));
	ck_assert_ptr_null(manifest_find(d, 0, LAYER_ROUTER));
	manifest_destroy(d);
	/* of four experts, in so many groups, of which so many are used */
	static const uint32_t groups[][2] = {{3, 1}, {2, 2}, {2, 0}, {0, 1}, {4, 1}};
	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++) {
		m->hp.expert_groups = groups[i][0];
		m->hp.groups_used = groups[i][1];
		ck_assert_int_eq(manifest_encode(m, &again, &n), -EINVAL);
	}
	m->hp.expert_groups = m->hp.groups_used = 0;
	m->hp.experts_used = 5;
	ck_assert_int_eq(manifest_encode(m, &data, &len), -EINVAL);
	manifest_destroy(m);
	free(data);
	free(again);
}
END_TEST

/* Latent attention: its numbers and tensors, with queries of low rank and without. */
START_TEST(manifests_of_latents) {
	struct hparams hp = {.layers = 2,
	        .dim = 64,
	        .heads = 4,
	        .kv_heads = 1,
	        .head_size = 36,
	        .ffn = 96,
	        .vocab = 40,
	        .context = 128,
	        .pairs = 2,
	        .eps = 1e-5f,
	        .freq = {1.0f, 0.5f},
	        .latent = 32,
	        .query_head = 68,
	        .value_head = 24,
	        .query_rank = 32};
	const struct {
		enum layer_role role;
		uint64_t n, rows;
	} shape[] = {{LAYER_Q_A, 64, 32}, {LAYER_Q_A_NORM, 32, 1}, {LAYER_Q_B, 32, 4 * 68},
	        {LAYER_Q, 64, 4 * 68}, {LAYER_KV_A, 64, 36}, {LAYER_KV_A_NORM, 32, 1},
	        {LAYER_K_B, 64, 4 * 32}, {LAYER_V_B, 32, 4 * 24}, {LAYER_OUT, 4 * 24, 64}};
	for (int low = 1; low >= 0; low--, hp.query_rank = 0) {
		layer_roles roles[2];
		for (uint32_t l = 0; l < 2; l++)
			roles[l] = manifest_fit_roles(&hp, l, LAYER_PLAIN_BITS);
		struct manifest *m = make_manifest_of(roles, &hp), *d = NULL;
		uint8_t *data, *again;
		size_t len, n;
		ck_assert_int_eq(manifest_encode(m, &data, &len), 0);
		ck_assert_msg(manifest_decode(&d, data, len, err, sizeof err) == 0, "%s", err);
		ck_assert(content_equal(&d->id, &m->id) && memcmp(&d->hp, &hp, sizeof hp) == 0);
		ck_assert_int_eq(manifest_encode(d, &again, &n), 0);
		ck_assert(n == len && memcmp(data, again, n) == 0);
		ck_assert_uint_eq(manifest_layer_tensors(d), 2 * (low ? 13 : 11));
		for (size_t i = 0; i < sizeof shape / sizeof *shape; i++) {
			const struct manifest_tensor *t = manifest_find(d, 1, shape[i].role);
			if (low ? shape[i].role == LAYER_Q : i < 3)
				ck_assert_ptr_null(t);
			else
				ck_assert(t && t->n == shape[i].n && t->rows == shape[i].rows);
		}
		ck_assert_ptr_null(manifest_find(d, 0, LAYER_K));
		manifest_destroy(d);
		manifest_destroy(m);
		free(data);
		free(again);
	}
}
END_TEST

/* Numbers of latent attention that do not fit each other, or come without it. */
START_TEST(manifests_of_wrong_latents) {
	static const struct hparams traits[] = {
	        {.latent = 8, .query_head = 24, .value_head = 8, .query_rank = 12}, {.query_rank = 12},
	        {.query_head = 24}, {.value_head = 8}};
	static const layer_roles roles[3] = {LAYER_PLAIN_BITS, LAYER_PLAIN_BITS, LAYER_PLAIN_BITS};
	for (size_t i = 0; i < sizeof traits / sizeof *traits; i++) {
		struct manifest *m = make_manifest_with(roles, &traits[i]);
		uint8_t *data;
		size_t len;
		ck_assert_int_eq(manifest_encode(m, &data, &len), -EINVAL);
		manifest_destroy(m);
	}
}
END_TEST

/* A plain model has one form: version 1. */
START_TEST(plain_manifests_have_one_form) {
	static const layer_roles roles[3] = {LAYER_PLAIN_BITS, LAYER_PLAIN_BITS, LAYER_PLAIN_BITS};
	struct manifest *m = make_manifest_with(roles, NULL), *d = NULL;
	uint8_t *data, *other;
	size_t len, head = 80 + 2 * 4, more = 4 + 3 * 8;
	ck_assert_int_eq(manifest_encode(m, &data, &len), 0);
	ck_assert_uint_eq(data[4], 1);
	other = calloc(1, len + more);
	memcpy(other, data, head);
	other[4] = 2;
	for (int l = 0; l < 3; l++)
		memcpy(other + head + 4 + 8 * l, "\xff\1", 2);
	memcpy(other + head + more, data + head, len - head);
	ck_assert_int_lt(manifest_decode(&d, other, len + more, err, sizeof err), 0);
	free(data);
	free(other);
	manifest_destroy(m);
}
END_TEST

/* A field of the manifest overwritten, and what is said. */
static const struct {
	size_t at;
	uint32_t value;
	const char *says;
} spoilt_manifest[] = {
        {0, 0, "is not in the form"},
        {4, 2, "is not in the form"},
        {8, 0, "the model's number of layers is 0"},
        {8, 4, "is not in the form"}, /* the tensors of a fourth layer are missing */
        {8, 1u << 30, "the model's number of layers is 1073741824"},
        {12, 1u << 31, "the model's embedding width is 2147483648"},
        {12, 48, "the manifest's token_embd.weight has rows of 48 elements"},
        {16, 0, "the model's number of attention heads is 0"},
        {20, 3, "4 attention heads cannot share 3"},
        {24, 1024, "the model's head size is 1024"},
        {28, 80, "the manifest's ffn_down.weight has rows of 80 elements, not a multiple of Q4_0's 32"},
        {36, 1u << 25, "the model's context length"},
        {40, 257, "is not in the form"},
        {40, 3, "RoPE frequency 2 is"},
        {44, 0, "epsilon"},
        {44, 0x7fc00000, "epsilon"},
        {80, 0x7f800000, "RoPE frequency 0 is inf"},
        {84, 0xbf800000, "RoPE frequency 1 is -1"},
        {88 + 32, 5, "the manifest's token_embd.weight has type 5"},
        {88 + 36 + 32, KERN_Q8_0, "the manifest's output_norm.weight has type Q8_0; norms and biases are"},
};

START_TEST(manifests_are_refused) {
	struct manifest *m = make_manifest(), *d = NULL;
	uint8_t *data;
	size_t len;
	ck_assert_int_eq(manifest_encode(m, &data, &len), 0);
	memcpy(data + spoilt_manifest[_i].at, &spoilt_manifest[_i].value, 4);
	ck_assert_int_lt(manifest_decode(&d, data, len, err, sizeof err), 0);
	ck_assert_msg(strstr(err, spoilt_manifest[_i].says), "said: %s", err);
	free(data);
	manifest_destroy(m);
}
END_TEST

START_TEST(manifests_of_nonsense_are_not_written) {
	struct manifest *m = make_manifest();
	uint8_t *data;
	size_t len;
	manifest_find(m, 1, LAYER_UP)->rows--;
	ck_assert_int_eq(manifest_encode(m, &data, &len), -EINVAL);
	manifest_find(m, 1, LAYER_UP)->rows++;
	m->hp.kv_heads = 3;
	ck_assert_int_eq(manifest_encode(m, &data, &len), -EINVAL);
	manifest_destroy(m);
}
END_TEST

static bool text_is(struct vocab_string s, const char *text) {
	return s.len == strlen(text) && memcmp(s.s, text, s.len) == 0;
}

static struct ggufgen *bpe(const char *pre) {
	struct ggufgen *gen = ggufgen_create();
	ggufgen_string(gen, "tokenizer.ggml.model", "gpt2");
	ggufgen_strings(gen, "tokenizer.ggml.tokens", (const char *const[]){"a", "b", "ab", "<eot>"}, 4);
	ggufgen_strings(gen, "tokenizer.ggml.merges", (const char *const[]){"a b", "  b"}, 2);
	if (pre)
		ggufgen_string(gen, "tokenizer.ggml.pre", pre);
	return gen;
}

START_TEST(vocabulary_spm) {
	struct ggufgen *gen = ggufgen_create();
	struct vocab *v;
	ggufgen_vocab_keys(gen, 300);
	ggufgen_string(gen, "tokenizer.chat_template", "{{ messages }}");
	ck_assert_int_eq(vocab_gen(gen, &v), 0);
	ck_assert(v->model == VOCAB_SPM && v->tokens == 300 && v->merges == 0);
	ck_assert(v->bos == 1 && v->eos == 2 && v->eot == -1 && v->unk == 0);
	ck_assert(v->add_bos && !v->add_eos && v->add_space_prefix);
	ck_assert(text_is(v->token[3].text, "<0x00>") && v->token[3].type == VOCAB_BYTE &&
	          v->token[3].score == -3);
	ck_assert(text_is(v->token[299].text, "\xe2\x96\x81w299") && v->token[299].type == VOCAB_NORMAL);
	ck_assert(v->pre.len == 0 && text_is(v->chat_template, "{{ messages }}"));
	vocab_destroy(v);
}
END_TEST

START_TEST(vocabulary_bpe) {
	struct vocab *v;
	struct ggufgen *gen = bpe("llama-bpe");
	ggufgen_u32(gen, "tokenizer.ggml.eot_token_id", 3);
	ggufgen_bool(gen, "tokenizer.ggml.add_eos_token", true);
	ck_assert_int_eq(vocab_gen(gen, &v), 0);
	ck_assert(v->model == VOCAB_BPE && v->tokens == 4 && v->merges == 2);
	ck_assert(v->bos == -1 && v->eos == -1 && v->eot == 3 && v->unk == -1);
	ck_assert(v->add_bos && v->add_eos && !v->add_space_prefix);
	ck_assert(text_is(v->merge[0], "a b") && text_is(v->merge[1], "  b") && text_is(v->pre, "llama-bpe"));
	ck_assert(text_is(v->token[2].text, "ab") && v->token[2].score == 0 &&
	          v->token[2].type == VOCAB_NORMAL);
	vocab_destroy(v);
	ck_assert_int_eq(vocab_gen(bpe("gpt-2"), &v), 0);
	ck_assert(!v->add_bos);
	vocab_destroy(v);
	ck_assert_int_eq(vocab_gen(bpe(NULL), &v), 0);
	ck_assert(v->pre.len == 0 && v->chat_template.len == 0);
	vocab_destroy(v);
}
END_TEST

static struct ggufgen *with_model(const char *model) {
	struct ggufgen *gen = ggufgen_create();
	ggufgen_string(gen, "tokenizer.ggml.model", model);
	return gen;
}
static struct ggufgen *no_model(void) {
	return ggufgen_create();
}
static struct ggufgen *wordpiece(void) {
	return with_model("bert");
}
static struct ggufgen *no_tokens(void) {
	return with_model("llama");
}
static struct ggufgen *no_scores(void) {
	struct ggufgen *gen = with_model("llama");
	ggufgen_strings(gen, "tokenizer.ggml.tokens", (const char *const[]){"a"}, 1);
	return gen;
}
static struct ggufgen *few_scores(void) {
	struct ggufgen *gen = no_scores();
	ggufgen_raw(gen, "tokenizer.ggml.scores", GGUF_ARRAY, "\6\0\0\0\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20);
	return gen;
}
static struct ggufgen *odd_scores(void) {
	struct ggufgen *gen = no_scores();
	ggufgen_raw(gen, "tokenizer.ggml.scores", GGUF_ARRAY, "\6\0\0\0\1\0\0\0\0\0\0\0\0\0\x80\x7f", 16);
	return gen;
}
static struct ggufgen *odd_type(void) {
	struct ggufgen *gen = bpe(NULL);
	ggufgen_raw(gen, "tokenizer.ggml.token_type", GGUF_ARRAY, "\0\0\0\0\4\0\0\0\0\0\0\0\1\1\1\7", 16);
	return gen;
}
static struct ggufgen *few_types(void) {
	struct ggufgen *gen = bpe(NULL);
	ggufgen_raw(gen, "tokenizer.ggml.token_type", GGUF_ARRAY, "\0\0\0\0\1\0\0\0\0\0\0\0\1", 13);
	return gen;
}
static struct ggufgen *no_merges(void) {
	struct ggufgen *gen = with_model("gpt2");
	ggufgen_strings(gen, "tokenizer.ggml.tokens", (const char *const[]){"a"}, 1);
	return gen;
}
static struct ggufgen *odd_merge(void) {
	struct ggufgen *gen = no_merges();
	ggufgen_strings(gen, "tokenizer.ggml.merges", (const char *const[]){"a b", " ab"}, 2);
	return gen;
}
static struct ggufgen *odd_bos(void) {
	struct ggufgen *gen = bpe(NULL);
	ggufgen_string(gen, "tokenizer.ggml.bos_token_id", "4");
	return gen;
}
static struct ggufgen *odd_add(void) {
	struct ggufgen *gen = bpe(NULL);
	ggufgen_u32(gen, "tokenizer.ggml.add_bos_token", 1);
	return gen;
}
static struct ggufgen *odd_template(void) {
	struct ggufgen *gen = bpe(NULL);
	ggufgen_u32(gen, "tokenizer.chat_template", 1);
	return gen;
}

static const struct {
	struct ggufgen *(*make)(void);
	const char *says;
} refused_vocab[] = {
        {no_model, "tokenizer.ggml.model is missing"},
        {wordpiece, "tokenizer.ggml.model is bert; Caravan knows llama and gpt2"},
        {no_tokens, "tokenizer.ggml.tokens is missing"},
        {no_scores, "tokenizer.ggml.scores is missing"},
        {few_scores, "tokenizer.ggml.scores has 2 entries for 1 tokens"},
        {odd_scores, "token 0 of the vocabulary has an impossible length, score or type"},
        {odd_type, "tokenizer.ggml.token_type holds an unknown type"},
        {few_types, "tokenizer.ggml.token_type has 1 entries for 4 tokens"},
        {no_merges, "tokenizer.ggml.merges is missing"},
        {odd_merge, "merge 1 of the vocabulary is not two pieces"},
        {odd_bos, "tokenizer.ggml.bos_token_id is not a token id"},
        {odd_add, "tokenizer.ggml.add_bos_token is not a boolean"},
        {odd_template, "tokenizer.chat_template is not a string"},
};

START_TEST(vocabularies_are_refused) {
	struct vocab *v = NULL;
	ck_assert_int_lt(vocab_gen(refused_vocab[_i].make(), &v), 0);
	ck_assert_str_eq(err, refused_vocab[_i].says);
}
END_TEST

static void check_blob(const struct vocab *v) {
	struct vocab *w;
	uint8_t *data, *again;
	size_t len, n;
	ck_assert_int_eq(vocab_encode(v, &data, &len), 0);
	ck_assert_msg(vocab_decode(&w, data, len, err, sizeof err) == 0, "said: %s", err);
	ck_assert(
	        w->tokens == v->tokens && w->merges == v->merges && w->bos == v->bos && w->model == v->model);
	ck_assert_int_eq(vocab_encode(w, &again, &n), 0);
	ck_assert(n == len && memcmp(data, again, n) == 0);
	vocab_destroy(w);
	/* no prefix is a vocabulary, nor is one with something behind it */
	for (size_t i = 0; i < len; i += len < 1000 ? 1 : len / 40)
		ck_assert_int_eq(vocab_decode(&w, data, i, err, sizeof err), -EINVAL);
	uint8_t *longer = calloc(1, len + 1);
	memcpy(longer, data, len);
	ck_assert_int_eq(vocab_decode(&w, longer, len + 1, err, sizeof err), -EINVAL);
	free(longer);
	free(data);
	free(again);
}

START_TEST(vocabulary_bytes) {
	struct ggufgen *gen = ggufgen_create();
	struct vocab *v;
	uint8_t *data;
	size_t len;
	ggufgen_vocab_keys(gen, 300);
	ck_assert_int_eq(vocab_gen(gen, &v), 0);
	check_blob(v);
	vocab_destroy(v);
	ck_assert_int_eq(vocab_gen(bpe("x"), &v), 0);
	check_blob(v);
	ck_assert_int_eq(vocab_encode(v, &data, &len), 0);
	vocab_destroy(v);
	/* doc/protocol.md, byte for byte */
	ck_assert_uint_eq(len, 40 + 5 + 4 + 4 * 9 + 1 + 1 + 2 + 5 + 2 * 4 + 3 + 3);
	ck_assert_mem_eq(data,
	        "CVVO\1\0\0\0\2\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\4\0\0\0\2\0\0\0"
	        "\1\0\0\0x\0\0\0\0\1\0\0\0\0\0\0\0\1a",
	        59);
	data[12] = 8; /* a flag that there is not */
	ck_assert_int_eq(vocab_decode(&v, data, len, err, sizeof err), -EINVAL);
	data[12] = 0;
	for (uint8_t id = 3; id <= 4; id++) { /* the last token begins a text, or one beyond it */
		memcpy(data + 16, (const uint8_t[]){id, 0, 0, 0}, 4);
		ck_assert_int_eq(vocab_decode(&v, data, len, err, sizeof err), id < 4 ? 0 : -EINVAL);
		if (id < 4)
			vocab_destroy(v);
	}
	free(data);
}
END_TEST

START_TEST(foreign_vocabularies) {
	static const struct {
		const char *path;
		enum vocab_model model;
		uint32_t tokens, merges;
		int32_t bos, eos;
		bool add_bos;
	} file[] = {
	        {"vocab/llama-bpe.gguf", VOCAB_BPE, 128256, 280147, 128000, 128009, true},
	        {"vocab/llama-spm.gguf", VOCAB_SPM, 32000, 0, 1, 2, true},
	        {"models/stories260K.gguf", VOCAB_SPM, 512, 0, 1, 2, true},
	};
	for (size_t i = 0; i < sizeof file / sizeof *file; i++) {
		char at[512];
		const char *path = shared_or_skip(at, file[i].path);
		struct gguf *g;
		struct vocab *v;
		if (!path)
			continue;
		ck_assert_int_eq(gguf_open_path(&g, path, err, sizeof err), 0);
		ck_assert_msg(vocab_from_gguf(&v, g, NULL, err, sizeof err) == 0, "said: %s", err);
		gguf_close(g);
		ck_assert(v->model == file[i].model && v->tokens == file[i].tokens &&
		          v->merges == file[i].merges && v->bos == file[i].bos && v->eos == file[i].eos &&
		          v->add_bos == file[i].add_bos);
		check_blob(v);
		vocab_destroy(v);
	}
}
END_TEST

#define COUNT(a) (int)(sizeof(a) / sizeof *(a))

static Suite *suite(void) {
	Suite *s = suite_create("content");
	TCase *t = tcase_create("names");
	tcase_add_test(t, names);
	tcase_add_test(t, chunks);
	tcase_add_test(t, chunks_of_parts);
	tcase_add_test(t, record_bytes);
	tcase_add_test(t, record_bytes_of_parts);
	tcase_add_test(t, records_of_other_lengths);
	suite_add_tcase(s, t);
	t = tcase_create("manifest");
	tcase_add_test(t, manifest_bytes);
	tcase_add_loop_test(t, manifests_are_refused, 0, COUNT(spoilt_manifest));
	tcase_add_test(t, manifests_of_families);
	tcase_add_loop_test(
	        t, manifests_of_families_are_refused, 0, (int)(sizeof spoilt_family / sizeof *spoilt_family));
	tcase_add_test(t, plain_manifests_have_one_form);
	tcase_add_loop_test(t, roles_of_a_layer, 0, (int)(sizeof layers / sizeof *layers));
	tcase_add_test(t, roles_of_a_recurrent_layer);
	tcase_add_test(t, numbers_of_recurrent_layers_are_refused);
	tcase_add_test(t, manifests_of_unlike_layers);
	tcase_add_loop_test(t, manifests_of_unlike_layers_are_refused, 0, COUNT(spoilt_layers));
	tcase_add_test(t, like_layers_have_one_form);
	tcase_add_test(t, manifests_of_mixtures);
	tcase_add_test(t, manifests_of_latents);
	tcase_add_test(t, manifests_of_wrong_latents);
	tcase_add_test(t, manifests_of_nonsense_are_not_written);
	suite_add_tcase(s, t);
	t = tcase_create("vocabulary");
	tcase_set_timeout(t, 120);
	tcase_add_test(t, vocabulary_spm);
	tcase_add_test(t, vocabulary_bpe);
	tcase_add_loop_test(t, vocabularies_are_refused, 0, COUNT(refused_vocab));
	tcase_add_test(t, vocabulary_bytes);
	tcase_add_test(t, foreign_vocabularies);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
