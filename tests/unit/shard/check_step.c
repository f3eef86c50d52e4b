/* Steps as they are validated, faults inside, KV blocks and buffers. */
#include "kernels/kvcopy.h"
#include "tests/support/synth.h"
#include <check.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct synth_spec small = {.layers = 3,
        .dim = 64,
        .heads = 4,
        .kv_heads = 2,
        .head_size = 16,
        .ffn = 96,
        .vocab = 50,
        .context = 200,
        .layer = {KERN_F32, KERN_Q8_0, KERN_Q4_0, KERN_F16, KERN_Q8_0, KERN_F32, KERN_Q8_0, KERN_Q5_1,
                KERN_Q4_0},
        .embed = KERN_F16,
        .head = KERN_Q8_0,
        .seed = 3};

static struct synth *model;
static char err[256];

static void start(void) {
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	model = synth_create(&small);
}

#define BLOCKS(...) \
	(uint32_t[]) { \
		__VA_ARGS__ \
	}
/* Steps of at most 16 rows over 8 blocks, in a context of 200 (4 blocks, the last of 8 positions). */
static struct step_case {
	const char *what;
	bool good;
	uint32_t rows, nseqs;
	struct forward_seq seq[3];
	uint32_t window;
} step_cases[] = {
        {"one row", true, 1, 1, {{1, 0, 1, (uint32_t[]){7}}}},
        {"more blocks than needed", true, 1, 1, {{1, 0, 4, (uint32_t[]){7, 0, 1, 2}}}},
        {"the last position", true, 1, 1, {{1, 199, 4, (uint32_t[]){0, 1, 2, 3}}}},
        {"across blocks", true, 16, 1, {{16, 120, 3, (uint32_t[]){3, 1, 6}}}},
        {"a shared prefix", true, 2, 2, {{1, 64, 2, (uint32_t[]){5, 1}}, {1, 64, 2, (uint32_t[]){5, 2}}}},
        {"no rows", false, 0, 0, {{0}}},
        {"no sequences", false, 1, 0, {{0}}},
        {"a sequence of no rows", false, 1, 2, {{1, 0, 1, (uint32_t[]){0}}, {0, 0, 1, (uint32_t[]){1}}}},
        {"two of no rows each", false, 2, 2, {{2, 0, 1, (uint32_t[]){0}}, {0, 0, 1, (uint32_t[]){1}}}},
        {"too many rows", false, 17, 1, {{17, 0, 1, (uint32_t[]){0}}}},
        {"rows that do not add up", false, 3, 1, {{2, 0, 1, (uint32_t[]){0}}}},
        {"rows that overflow", false, 1, 2,
                {{UINT32_MAX, 0, 1, (uint32_t[]){0}}, {2, 0, 1, (uint32_t[]){1}}}},
        {"positions that overflow", false, 2, 1, {{2, UINT32_MAX, 1, (uint32_t[]){0}}}},
        {"past the context", false, 2, 1, {{2, 199, 4, (uint32_t[]){0, 1, 2, 3}}}},
        {"a table that is too short", false, 2, 1, {{2, 63, 1, (uint32_t[]){0}}}},
        {"an empty table", false, 1, 1, {{1, 0, 0, NULL}}},
        {"a table past the context", false, 1, 1, {{1, 0, 5, (uint32_t[]){0, 1, 2, 3, 4}}}},
        {"a block out of bounds", false, 1, 1, {{1, 0, 1, (uint32_t[]){8}}}},
        {"a block out of bounds before", false, 1, 1, {{1, 64, 2, (uint32_t[]){UINT32_MAX, 0}}}},
        {"a block out of bounds behind", false, 1, 1, {{1, 0, 2, (uint32_t[]){0, 8}}}},
        {"a block written twice", false, 2, 2, {{1, 0, 1, (uint32_t[]){4}}, {1, 0, 1, (uint32_t[]){4}}}},
        {"written twice by one", false, 16, 1, {{16, 56, 2, (uint32_t[]){4, 4}}}},
        {"written, and read by another", false, 2, 2,
                {{1, 64, 2, (uint32_t[]){4, 5}}, {1, 0, 1, (uint32_t[]){4}}}},
        {"written, and read by itself", false, 1, 1, {{1, 64, 2, (uint32_t[]){4, 4}}}},
        /* positions 65 to 131 are seen; of window blocks there are 5 */
        {"windows as far as is seen", true, 2, 1, {{2, 130, 3, BLOCKS(0, 1, 2), 2, BLOCKS(4, 0)}}, 66},
        {"windows of all blocks", true, 2, 1, {{2, 130, 3, BLOCKS(0, 1, 2), 3, BLOCKS(1, 4, 0)}}, 66},
        {"windows beside more blocks than needed", true, 2, 1,
                {{2, 130, 4, BLOCKS(0, 1, 2, 3), 3, BLOCKS(4, 0, 2)}}, 66},
        {"a shared window", true, 2, 2,
                {{1, 130, 3, BLOCKS(0, 1, 2), 2, BLOCKS(4, 0)},
                        {1, 130, 3, BLOCKS(0, 1, 3), 2, BLOCKS(4, 1)}},
                66},
        {"windows that end too early", false, 2, 1, {{2, 130, 3, BLOCKS(0, 1, 2), 1, BLOCKS(4)}}, 66},
        {"windows beside other blocks", false, 2, 1, {{2, 130, 4, BLOCKS(0, 1, 2, 3), 2, BLOCKS(4, 0)}}, 66},
        {"no windows", false, 2, 1, {{2, 130, 3, BLOCKS(0, 1, 2), 0, NULL}}, 66},
        {"more windows than blocks", false, 2, 1, {{2, 130, 3, BLOCKS(0, 1, 2), 4, BLOCKS(4, 0, 1, 2)}}, 66},
        {"a window block out of bounds", false, 2, 1, {{2, 130, 3, BLOCKS(0, 1, 2), 2, BLOCKS(5, 0)}}, 66},
        {"a window written twice", false, 2, 2,
                {{1, 0, 1, BLOCKS(0), 1, BLOCKS(4)}, {1, 0, 1, BLOCKS(1), 1, BLOCKS(4)}}, 66},
        {"a window written, and read by another", false, 2, 2,
                {{1, 130, 3, BLOCKS(0, 1, 2), 2, BLOCKS(4, 0)}, {1, 0, 1, BLOCKS(3), 1, BLOCKS(4)}}, 66},
        {"a window written, and read by itself", false, 2, 1, {{2, 130, 3, BLOCKS(0, 1, 2), 2, BLOCKS(4, 4)}},
                66},
};
static struct step_case window_fine = {
        "windows", true, 2, 1, {{2, 130, 3, BLOCKS(4, 3, 1), 3, BLOCKS(1, 4, 0)}}, 66};
#undef BLOCKS

START_TEST(validated) {
	struct step_case *d = &step_cases[_i];
	struct synth_spec spec = small;
	spec.traits.window = d->window;
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	model = synth_create(&spec);
	struct line *l = line_create_sized(
	        &model->whole, (struct kv_size){KERN_KV_F16, 8, d->window ? 5 : 0}, 1, 1, NULL, 16);
	struct forward_step st = {d->rows, d->nseqs, d->seq, l->x};
	for (int again = 0; again < 2; again++) { /* a check leaves nothing behind */
		err[0] = 0;
		int rc = forward_check(l->forward[0], &st, err, sizeof err);
		ck_assert_msg(rc == (d->good ? 0 : -EINVAL), "%s: %d %s", d->what, rc, err);
		ck_assert_msg(d->good || strlen(err) > 10, "%s: says nothing", d->what);
	}
	struct step_case *fine = d->window ? &window_fine : &step_cases[3];
	st = (struct forward_step){fine->rows, fine->nseqs, fine->seq, l->x};
	ck_assert_int_eq(forward_check(l->forward[0], &st, err, sizeof err), 0);
	line_destroy(l);
	synth_destroy(model);
}
END_TEST

/* A peer's activations that are not finite fail the step, whoever of the team meets them, and the next step
 * is as if nothing had been. */
START_TEST(fault_in_input) {
	start();
	static const float bad[] = {NAN, INFINITY, -INFINITY, FLT_MAX};
	for (unsigned threads = 1; threads <= 3; threads++)
		for (uint32_t rows = 1; rows <= 9; rows += 4)
			for (size_t b = 0; b < sizeof bad / sizeof *bad; b++) {
				struct line *l =
				        line_create(&model->whole, KERN_KV_F16, threads, 1, NULL, 16, 8);
				struct forward_seq q = {rows, 0, 1, (uint32_t[]){3}, 0, NULL};
				struct forward_step st = {rows, 1, &q, l->x};
				float want[9 * 64], logits[9 * 50];
				uint32_t ids[9] = {1, 2, 3, 4, 5, 6, 7, 8, 9};
				ck_assert_int_eq(line_step(l, &q, 1, ids, logits, err, sizeof err), 0);
				memcpy(want, l->x, rows * 64 * sizeof(float));
				ck_assert_int_eq(io_layers_embed(l->io, l->x, ids, rows), 0);
				l->x[(rows - 1) * 64 + 17] = bad[b];
				ck_assert_int_eq(forward_run(l->forward[0], &st, err, sizeof err), -EDOM);
				ck_assert_str_eq(
				        err, "layer 0: a value is not finite in the norm before attention");
				ck_assert_int_eq(line_step(l, &q, 1, ids, logits, err, sizeof err), 0);
				ck_assert_int_eq(memcmp(want, l->x, rows * 64 * sizeof(float)), 0);
				l->x[5] = bad[b];
				ck_assert_int_eq(io_layers_logits(l->io, logits, l->x, rows), -EDOM);
				line_destroy(l);
			}
	synth_destroy(model);
}
END_TEST

/* Multiplies a tensor of float32 by a large number. */
static void blow(struct store_tensor *t) {
	ck_assert_int_eq(t->record.type, KERN_F32);
	float *w = t->map;
	for (size_t i = 0; i < t->packed_bytes / sizeof *w; i++)
		w[i] *= 0x1p120f;
}

START_TEST(fault_in_model) {
	static const struct {
		int role;
		const char *where;
	} cases[] = {
	        {LAYER_ATTN_NORM, "layer 2: a value is not finite in the output of attention"},
	        {LAYER_FFN_NORM, "layer 2: a value is not finite in the feed-forward's hidden row"},
	};
	for (size_t c = 0; c < 2; c++) {
		struct synth_spec spec = small;
		ck_assert_int_eq(kern_init(err, sizeof err), 0);
		spec.layer[LAYER_FFN_NORM] = spec.layer[LAYER_V] = KERN_F32;
		model = synth_create(&spec);
		blow(&model->layer[2][cases[c].role]);
		if (cases[c].role == LAYER_ATTN_NORM) /* infinite sums of both signs in the values: NaN */
			blow(&model->layer[2][LAYER_V]);
		for (unsigned threads = 1; threads <= 3; threads++)
			for (uint32_t rows = 1; rows <= 5; rows += 4)
				for (uint32_t cut = 1; cut <= 2; cut++) {
					struct line *l = line_create(
					        &model->whole, KERN_KV_F16, threads, 2, &cut, 16, 8);
					struct forward_seq q = {rows, 0, 1, (uint32_t[]){3}, 0, NULL};
					float logits[5 * 50];
					uint32_t ids[5] = {1, 2, 3, 4, 5};
					int rc = line_step(l, &q, 1, ids, logits, err, sizeof err);
					ck_assert_msg(rc == -EDOM && !strcmp(err, cases[c].where), "%d %s",
					        rc, err);
					line_destroy(l);
				}
		synth_destroy(model);
	}
}
END_TEST

/* A bias that is no number, from a peer that has not looked at it, chooses no expert outside of the layer's. */
START_TEST(fault_in_choice) {
	static const float bad[] = {NAN, INFINITY, -INFINITY};
	struct synth_spec spec = small;
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	spec.roles = LAYER_BIT(LAYER_ROUTER) | LAYER_BIT(LAYER_CHOICE_BIAS) | LAYER_BIT(LAYER_EXPERT_GATE) |
	             LAYER_BIT(LAYER_EXPERT_UP) | LAYER_BIT(LAYER_EXPERT_DOWN);
	spec.traits = (struct hparams){
	        .experts = 4, .experts_used = 3, .expert_ffn = 32, .router = ROUTER_SIGMOID_ONLY};
	model = synth_create(&spec);
	float *bias = model->layer[1][LAYER_CHOICE_BIAS].map;
	for (size_t b = 0; b < sizeof bad / sizeof *bad; b++)
		for (uint32_t rows = 1; rows <= 5; rows += 4) {
			struct forward_seq q = {rows, 0, 1, (uint32_t[]){3}, 0, NULL};
			float logits[5 * 50];
			for (size_t e = 0; e < 4; e++)
				bias[e] = bad[b];
			struct line *l = line_create(&model->whole, KERN_KV_F16, 2, 1, NULL, 16, 8);
			ck_assert_int_eq(
			        line_step(l, &q, 1, (uint32_t[]){1, 2, 3, 4, 5}, logits, err, sizeof err),
			        -EDOM);
			ck_assert_str_eq(err, "layer 1: a value is not finite in the router's scores");
			line_destroy(l);
		}
	synth_destroy(model);
}
END_TEST

START_TEST(tokens_outside) {
	start();
	struct line *l = line_create(&model->whole, KERN_KV_F16, 2, 1, NULL, 16, 8);
	uint32_t ids[6] = {0, 49, 1, 2, 3, 50};
	ck_assert_int_eq(io_layers_embed(l->io, l->x, ids, 5), 0);
	ck_assert_int_eq(io_layers_embed(l->io, l->x, ids, 6), -EINVAL);
	ck_assert_int_eq(io_layers_logits(l->io, NULL, l->x, 0), -EINVAL);
	ck_assert_int_eq(io_layers_logits(l->io, NULL, l->x, 17), -EINVAL);
	line_destroy(l);
	synth_destroy(model);
}
END_TEST

/* In latent attention the keys are the values: they are stored once, and made of the keys they are what was put. */
START_TEST(kv_of_latents) {
	const struct hparams hp = {.kv_heads = 1, .head_size = 96, .latent = 64};
	static const size_t size[] = {96, 40, 33, 576};
	struct kv *kv;
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	for (int type = 0; type < KERN_KVS; type++) {
		size_t part = kern_kv_bytes((enum kern_kv)type, 96);
		ck_assert_int_eq(kv_create(&kv, &hp, (struct kv_size){(enum kern_kv)type, 4, 0}, 0, 5), 0);
		ck_assert_uint_eq(kv->bytes, 5 * 4 * part);
		for (uint32_t l = 0; l < 5; l++)
			for (uint32_t b = 0; b < 4; b++)
				ck_assert_ptr_eq(kv_keys(kv, b, l, 0), kv->base + (l * 4 + b) * part);
		kv_destroy(kv);
		for (size_t i = 0; i < sizeof size / sizeof *size; i++) {
			const struct kern_kv_ops *ops = &kern_ops()->kv[type];
			size_t bytes = kern_kv_bytes((enum kern_kv)type, size[i]);
			if (!kern_kv_fits((enum kern_kv)type, size[i]))
				continue;
			uint8_t *keys = calloc(1, bytes), *values = calloc(1, bytes),
			        *made = calloc(1, bytes);
			float *x = malloc(size[i] * sizeof *x);
			for (size_t slot = 0; slot < KERN_KV_BLOCK; slot++) {
				for (size_t d = 0; d < size[i]; d++)
					x[d] = (float)((d * 37 + slot * 101) % 211) - 105;
				ops->put_key(keys, slot, x, size[i]);
				ops->put_value(values, slot, x, size[i]);
			}
			kern_kv_values_of_keys((enum kern_kv)type, made, keys, size[i]);
			ck_assert(memcmp(values, made, bytes) == 0);
			free(keys);
			free(values);
			free(made);
			free(x);
		}
	}
}
END_TEST

/* Parts are apart, aligned, and inside the reservation. */
START_TEST(kv_parts) {
	struct hparams hp = {.kv_heads = 3, .head_size = 40};
	struct kv *kv;
	ck_assert_int_eq(kv_create(&kv, &hp, (struct kv_size){KERN_KV_F16, 4, 0}, 0, 5), 0);
	size_t part = kern_kv_bytes(KERN_KV_F16, 40), n = 0;
	ck_assert_uint_eq(kv->bytes, kv_bytes(&hp, kv->size, 0, 5));
	ck_assert_uint_eq(kv_bytes(&hp, (struct kv_size){KERN_KV_F16, 1, 0}, 0, 5), 5 * 3 * 2 * part);
	/* a head's blocks of one layer lie on end, its keys and then its values */
	for (uint32_t l = 0; l < 5; l++)
		for (uint32_t h = 0; h < 3; h++, n += 8)
			for (uint32_t b = 0; b < 4; b++) {
				ck_assert_ptr_eq(kv_keys(kv, b, l, h), kv->base + (n + b) * part);
				ck_assert_ptr_eq(kv_values(kv, b, l, h), kv->base + (n + 4 + b) * part);
				memset(kv_values(kv, b, l, h), 1, part);
			}
	ck_assert_uint_eq((uintptr_t)kv->base % KERN_ALIGN, 0);
	kv_destroy(kv);
	kv_destroy(NULL);
	ck_assert_int_eq(kv_create(&kv, &hp, (struct kv_size){KERN_KV_F16, 0, 0}, 0, 5), -EINVAL);
	ck_assert_int_eq(kv_create(&kv, &hp, (struct kv_size){KERN_KV_F16, 5, 0}, 0, 0), -EINVAL);
	ck_assert_int_eq(
	        kv_create(&kv, &hp, (struct kv_size){KERN_KV_Q8_0, 4, 0}, 0, 5), -EINVAL); /* heads of 40 */
	hp.head_size = 96;
	ck_assert_uint_eq(
	        kv_bytes(&hp, (struct kv_size){KERN_KV_Q8_0, 1, 0}, 0, 5), 5 * 3 * 2 * 64 * 96 * 34 / 32);
	hp = (struct hparams){.kv_heads = UINT32_MAX / 512, .head_size = 512};
	ck_assert_int_eq(kv_create(&kv, &hp, (struct kv_size){KERN_KV_F16, UINT32_MAX, 0}, 0, 1024), -ENOMEM);
}
END_TEST

/* Layers with a window have their own number of blocks. */
START_TEST(kv_parts_of_windows) {
	struct hparams hp = {
	        .layers = 4, .kv_heads = 3, .head_size = 40, .context = 999, .window = 64, .full_every = 2};
	const struct kv_size size = {KERN_KV_F16, 7, 2};
	struct kv *kv;
	ck_assert_int_eq(kv_create(&kv, &hp, size, 1, 4), 0); /* without a window, with, without */
	size_t part = kern_kv_bytes(KERN_KV_F16, 40), n = 0;
	for (uint32_t l = 0; l < 3; l++)
		for (uint32_t h = 0, blocks = l == 1 ? 2 : 7; h < 3; h++, n += 2 * blocks)
			for (uint32_t b = 0; b < blocks; b++) {
				ck_assert_ptr_eq(kv_keys(kv, b, l, h), kv->base + (n + b) * part);
				ck_assert_ptr_eq(kv_values(kv, b, l, h), kv->base + (n + blocks + b) * part);
			}
	ck_assert_uint_eq(kv->bytes, n * part);
	ck_assert_uint_eq(kv->bytes, (7 + 2 + 7) * 3 * 2 * part);
	ck_assert_uint_eq(kv_bytes(&hp, size, 1, 4), kv->bytes);
	kv_destroy(kv);
	ck_assert_int_eq(kv_create(&kv, &hp, (struct kv_size){KERN_KV_F16, 7, 0}, 0, 4), -EINVAL);
	hp.window = 0;
	ck_assert_int_eq(kv_create(&kv, &hp, size, 0, 4), -EINVAL);
}
END_TEST

/* A terabyte of address space costs nothing until it is written. */
START_TEST(kv_reserved) {
	struct hparams hp = {.kv_heads = 8, .head_size = 128};
	struct kv *kv;
	ck_assert_int_eq(kv_create(&kv, &hp, (struct kv_size){KERN_KV_F16, 1u << 15, 0}, 0, 80), 0);
	*(uint16_t *)kv_keys(kv, (1u << 15) - 1, 79, 7) = 1;
	kv_destroy(kv);
}
END_TEST

START_TEST(refused) {
	start();
	struct line *l = line_create(&model->whole, KERN_KV_F16, 1, 1, NULL, 16, 8);
	struct forward *f;
	struct io_layers *e;
	struct hparams hp = model->m->hp;
	struct slice layers = model->whole;
	struct kv *kv;
	ck_assert_int_eq(forward_create(&f, &model->whole, l->kv[0], l->team, 0), -EINVAL);
	hp.kv_heads = 4;
	ck_assert_int_eq(kv_create(&kv, &hp, (struct kv_size){KERN_KV_F16, 8, 0}, 0, 3), 0);
	ck_assert_int_eq(forward_create(&f, &model->whole, kv, l->team, 16), -EINVAL);
	kv_destroy(kv);
	ck_assert_int_eq(kv_create(&kv, &model->m->hp, (struct kv_size){KERN_KV_F16, 8, 0}, 0, 2), 0);
	ck_assert_int_eq(forward_create(&f, &model->whole, kv, l->team, 16), -EINVAL);
	kv_destroy(kv);
	layers.io[IO_HEAD] = NULL;
	ck_assert_int_eq(io_layers_create(&e, &layers, l->team, 16), -EINVAL);
	forward_destroy(NULL);
	io_layers_destroy(NULL);
	line_destroy(l);
	synth_destroy(model);
}
END_TEST

/* Room for a long context does not depend on how many rows a step has: rows cost the same each. */
START_TEST(planned_bytes) {
	struct hparams hp = {.layers = 80,
	        .dim = 8192,
	        .heads = 64,
	        .kv_heads = 8,
	        .head_size = 128,
	        .ffn = 28672,
	        .vocab = 32000,
	        .context = 4096,
	        .pairs = 64};
	struct manifest *m;
	ck_assert_int_eq(manifest_create(&m, &hp, NULL), 0);
	size_t one = forward_bytes(m, 256, 8), two = forward_bytes(m, 512, 8);
	m->hp.context = 131072;
	size_t longer = forward_bytes(m, 512, 8) - two;
	ck_assert_uint_lt(longer, 64u << 20);
	ck_assert_uint_eq(forward_bytes(m, 512, 8) - forward_bytes(m, 256, 8), two - one);
	ck_assert_uint_lt(two, 512u << 20);
	manifest_destroy(m);
}
END_TEST

/* The sum of rows after the final norm, one after the other, however many at once: by doc/numerics.md, "Embeddings". */
START_TEST(pooled) {
	enum { ROWS = 7, DIM = 64 };
	static float x[ROWS * DIM], w[DIM];
	double want[DIM] = {0}, have[DIM] = {0};
	start();
	struct line *l = line_create(&model->whole, KERN_KV_F16, 2, 1, NULL, 16, 8);
	const struct store_tensor *norm = model->whole.io[IO_NORM];
	kern_dequant_packed(norm->record.type, w, norm->packed, 0, DIM);
	for (uint32_t i = 0; i < ROWS * DIM; i++)
		x[i] = (float)(i * 7919 % 1009) / 7 - 70;
	for (uint32_t r = 0; r < ROWS; r++) {
		float s[32] = {0};
		for (uint32_t i = 0; i < DIM; i++)
			s[i % 32] = fmaf(x[r * DIM + i], x[r * DIM + i], s[i % 32]);
		for (uint32_t n = 16; n; n /= 2)
			for (uint32_t i = 0; i < n; i++)
				s[i] += s[i + n];
		float scale = 1 / sqrtf(s[0] / DIM + model->m->hp.eps);
		for (uint32_t i = 0; i < DIM; i++)
			want[i] += (double)(x[r * DIM + i] * scale * w[i]);
	}
	for (uint32_t r = 0, n = 1; r < ROWS; r += n, n *= 2) /* 1, 2 and 4 rows */
		ck_assert_int_eq(io_layers_pool(l->io, have, x + r * DIM, n), 0);
	ck_assert_mem_eq(have, want, sizeof want);
	x[5 * DIM + 3] = INFINITY;
	ck_assert_int_eq(io_layers_pool(l->io, have, x, ROWS), -EDOM);
	line_destroy(l);
	synth_destroy(model);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("step");
	TCase *t = tcase_create("step");
	tcase_set_timeout(t, 120);
	tcase_add_loop_test(t, validated, 0, sizeof step_cases / sizeof *step_cases);
	tcase_add_test(t, fault_in_input);
	tcase_add_test(t, fault_in_model);
	tcase_add_test(t, fault_in_choice);
	tcase_add_test(t, tokens_outside);
	tcase_add_test(t, pooled);
	tcase_add_test(t, kv_parts);
	tcase_add_test(t, kv_of_latents);
	tcase_add_test(t, kv_parts_of_windows);
	tcase_add_test(t, kv_reserved);
	tcase_add_test(t, refused);
	tcase_add_test(t, planned_bytes);
	suite_add_tcase(s, t);
	return s;
}
#include "tests/unit/check_main.h"
