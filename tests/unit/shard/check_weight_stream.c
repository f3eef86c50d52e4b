/* Slices larger than their memory limit: the same bits, within the limit. */
#include "shard/forward/weight_stream.h"
#include "tests/support/ggufgen.h"
#include "tests/support/loaded.h"
#include "tests/support/synth.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define TMPFS 0x01021994 /* its files are memory whatever one does */
#define PAGE 4096u

static char err[512];
static struct loaded *model;

/* Layers of K types, with shapes of which every group has its own size. */
static const struct ggufgen_model small = {.type = KERN_Q4_K,
        .head = KERN_Q6_K,
        .dim = 256,
        .layers = 5,
        .heads = 8,
        .kv_heads = 2,
        .ffn = 768,
        .vocab = 300,
        .context = 256,
        .seed = 3};
/* 8 layers of 11 MiB. */
static const struct ggufgen_model large = {.type = KERN_Q8_0,
        .head = KERN_Q8_0,
        .dim = 1024,
        .layers = 8,
        .heads = 8,
        .kv_heads = 2,
        .ffn = 2816,
        .vocab = 300,
        .context = 256,
        .seed = 4};

/* A mixture, whose experts begin anywhere in a page. */
static const struct ggufgen_model sparse = {.type = KERN_Q8_0,
        .head = KERN_Q6_K,
        .dim = 256,
        .layers = 4,
        .heads = 8,
        .kv_heads = 2,
        .ffn = 256,
        .experts = 8,
        .experts_used = 2,
        .expert_ffn = 96,
        .vocab = 300,
        .context = 256,
        .seed = 5};

static void load(const struct ggufgen_model *m) {
	char path[] = "/tmp/check_weight_stream.XXXXXX";
	ck_assert_int_eq(kern_init(err, sizeof err), 0);
	int fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	struct ggufgen *g = ggufgen_model(m);
	ggufgen_write_path(g, path);
	ggufgen_destroy(g);
	model = loaded_create(path);
	unlink(path);
}
static void load_small(void) {
	load(&small);
}
static void load_large(void) {
	load(&large);
}
static void load_sparse(void) {
	load(&sparse);
}
static void unload(void) {
	loaded_destroy(model);
}

static uint64_t all_bytes(const struct manifest *m) {
	struct weight_stream_plan p;
	ck_assert_int_eq(weight_stream_plan(&p, m, 0, m->hp.layers, UINT64_MAX), 0);
	return p.resident;
}

/* What is never read on the way. */
static uint64_t norm_bytes(const struct manifest *m) {
	return m->hp.layers * (weight_stream_tensor_bytes(manifest_find(m, 0, LAYER_ATTN_NORM)) +
	                              weight_stream_tensor_bytes(manifest_find(m, 0, LAYER_FFN_NORM)));
}

static struct slice *slice_within(uint64_t memory_limit) {
	struct slice *s;
	const struct manifest *m = import_manifest(model->import);
	ck_assert_msg(
	        slice_create(&s, model->store, m, 0, m->hp.layers, true, memory_limit, err, sizeof err) == 0,
	        "%s", err);
	return s;
}

/* ---- what stays ---- */

START_TEST(what_stays_is_as_much_as_can) {
	const struct manifest *m = import_manifest(model->import);
	uint64_t all = all_bytes(m), most = weight_stream_largest_group(m, 0, m->hp.layers),
	         least = UINT64_MAX;
	uint64_t before = UINT64_MAX;
	for (uint64_t memory_limit = all + PAGE; memory_limit >= PAGE; memory_limit -= PAGE) {
		struct weight_stream_plan p;
		int rc = weight_stream_plan(&p, m, 0, m->hp.layers, memory_limit);
		if (rc == -ENOSPC)
			break;
		ck_assert_int_eq(rc, 0);
		least = memory_limit;
		ck_assert_uint_eq(p.resident + p.step, all);
		ck_assert_uint_eq(p.memory, p.resident + 2 * p.buffer);
		ck_assert_uint_le(p.memory, memory_limit);
		ck_assert_uint_eq(p.step_most, p.step);
		ck_assert((p.streamed == NULL) == (memory_limit >= all) &&
		          (p.step == 0) == (memory_limit >= all));
		ck_assert(p.buffer <= most);
		/* within a group of what no plan can do without */
		if (p.streamed)
			ck_assert(p.step < all + 2 * p.buffer - memory_limit + p.buffer);
		uint64_t step = 0;
		for (uint32_t l = 0; l < m->hp.layers && p.streamed; l++)
			for (int r = LAYER_Q; r < LAYER_PLAIN; r++) {
				static const int group[LAYER_PLAIN] = {[LAYER_OUT] = WEIGHTS_OUT,
				        [LAYER_GATE] = WEIGHTS_UP,
				        [LAYER_UP] = WEIGHTS_UP,
				        [LAYER_DOWN] = WEIGHTS_DOWN};
				if (r != LAYER_FFN_NORM && p.streamed[l] >> group[r] & 1)
					step += weight_stream_tensor_bytes(manifest_find(m, l, r));
			}
		ck_assert_uint_eq(step, p.step);
		before = p.streamed ? p.step : before;
		weight_stream_plan_clear(&p);
	}
	/* down to where everything but the norms is read */
	ck_assert(least <= 2 * most + norm_bytes(m));
	ck_assert_uint_eq(before, all - norm_bytes(m));
	struct slice *s;
	ck_assert_int_eq(
	        slice_create(&s, model->store, m, 0, m->hp.layers, false, least - PAGE, err, sizeof err),
	        -ENOSPC);
	ck_assert_ptr_nonnull(strstr(err, "not enough memory even to read them from disk"));
}
END_TEST

START_TEST(what_is_read_lies_evenly) {
	const struct manifest *m = import_manifest(model->import);
	struct weight_stream_plan p;
	uint64_t down = weight_stream_tensor_bytes(manifest_find(m, 0, LAYER_DOWN)), all = all_bytes(m);
	/* the attention's output, which is smaller than what is missing, of five layers of eight */
	ck_assert_int_eq(weight_stream_plan(&p, m, 0, 8, all - down), 0);
	ck_assert_uint_eq(p.buffer, weight_stream_tensor_bytes(manifest_find(m, 0, LAYER_OUT)));
	uint32_t groups = 0, longest = 0, run = 0;
	for (uint32_t l = 0; l < 8; l++) {
		uint32_t n = 0;
		for (int g = 0; g < WEIGHT_GROUPS; g++)
			n += p.streamed[l] >> g & 1;
		groups += n;
		run = n ? 0 : run + 1;
		longest = run > longest ? run : longest;
	}
	ck_assert_uint_eq(groups, 5);
	ck_assert_uint_le(longest, 1);
	weight_stream_plan_clear(&p);
}
END_TEST

/* A mixture whose first layer has no experts; its names are made up. */
static struct manifest *make_mixture(void) {
	struct hparams hp = {.layers = 4,
	        .dim = 256,
	        .heads = 4,
	        .kv_heads = 4,
	        .head_size = 64,
	        .ffn = 512,
	        .vocab = 300,
	        .context = 256,
	        .experts = 16,
	        .experts_used = 3,
	        .expert_ffn = 256};
	layer_roles dense = LAYER_PLAIN_BITS,
	            mixed = (dense & ~(LAYER_BIT(LAYER_GATE) | LAYER_BIT(LAYER_UP) | LAYER_BIT(LAYER_DOWN))) |
	                    LAYER_BIT(LAYER_ROUTER) | LAYER_BIT(LAYER_EXPERT_GATE) |
	                    LAYER_BIT(LAYER_EXPERT_UP) | LAYER_BIT(LAYER_EXPERT_DOWN);
	layer_roles roles[] = {dense, mixed, mixed, mixed};
	struct manifest *m;
	ck_assert_int_eq(manifest_create(&m, &hp, roles), 0);
	for (size_t i = 0; i < manifest_tensors(m); i++) {
		struct manifest_tensor *t = (struct manifest_tensor *)manifest_tensor_at(m, i);
		t->type = t->rows == 1 ? KERN_F32 : i % 2 ? KERN_Q4_K : KERN_Q6_K;
		t->bytes = t->rows * kern_row_bytes(t->type, t->n);
	}
	return m;
}

/* What is not of experts stays; they have what is left, at least the experts of a row. */
START_TEST(of_a_mixture_only_experts_are_read) {
	struct manifest *m = make_mixture();
	uint64_t all = 0, experts = 0, slot = 0, least = UINT64_MAX, before = 0;
	for (uint32_t i = m->at[0]; i < m->at[4]; i++) {
		const struct manifest_tensor *t = &m->tensor[i];
		all += weight_stream_tensor_bytes(t);
		experts += t->parts > 1 ? weight_stream_tensor_bytes(t) : 0;
	}
	for (uint32_t l = 1; l < 4; l++) {
		uint64_t bytes = 0;
		for (int r = LAYER_EXPERT_GATE; r <= LAYER_EXPERT_DOWN; r++) {
			const struct manifest_tensor *t = manifest_find(m, l, (enum layer_role)r);
			bytes += expert_cache_part_bytes(t->type, t->n, t->rows, t->parts);
		}
		slot = bytes > slot ? bytes : slot;
	}
	for (uint64_t memory_limit = all + PAGE;; memory_limit -= PAGE) {
		struct weight_stream_plan p;
		int rc = weight_stream_plan(&p, m, 0, 4, memory_limit);
		if (rc == -ENOSPC)
			break;
		ck_assert_int_eq(rc, 0);
		ck_assert_ptr_null(p.streamed);
		least = memory_limit;
		ck_assert_uint_le(p.memory, memory_limit);
		if (memory_limit >= all) {
			ck_assert(
			        p.memory == all && p.resident == all && !p.cache && !p.step && !p.step_most);
			continue;
		}
		ck_assert(p.resident == all - experts && p.memory == p.resident + p.cache);
		ck_assert(p.cache % slot == 0 && memory_limit - p.memory < slot);
		/* 48 experts */
		ck_assert_uint_eq(p.step_most, experts / 48 * (48 - p.cache / slot));
		ck_assert_uint_eq(p.step, p.step_most / 16 * 3);
		ck_assert_uint_ge(p.step, before);
		before = p.step;
	}
	ck_assert_uint_ge(least, all - experts + 3 * slot);
	ck_assert_uint_lt(least, all - experts + 3 * slot + PAGE);
	manifest_destroy(m);
}
END_TEST

START_TEST(a_tensor_of_other_parts_is_refused) {
	struct manifest *m;
	struct slice *s;
	ck_assert_int_eq(manifest_copy(&m, import_manifest(model->import)), 0);
	manifest_find(m, 2, LAYER_UP)->parts = 4;
	ck_assert_int_eq(slice_create(&s, model->store, m, 0, 5, false, 0, err, sizeof err), -EBADMSG);
	ck_assert_str_eq(err, "layer 2, ffn_up.weight: its record has 1 parts, the manifest 4");
	manifest_destroy(m);
}
END_TEST

/* ---- bits ---- */

static const uint32_t tokens[] = {
        1, 17, 250, 3, 99, 42, 42, 8, 120, 280, 77, 5, 6, 7, 200, 11, 30, 31, 32, 299};
#define TOKENS (uint32_t)(sizeof tokens / sizeof *tokens)

static float *logits_of(const struct slice *s, unsigned threads, uint32_t chunk) {
	static const uint32_t blocks[] = {0, 1, 2, 3};
	struct line *l = line_create(s, KERN_KV_F16, threads, 1, NULL, TOKENS, 4);
	float *out = malloc(sizeof(float) * TOKENS * s->manifest->hp.vocab);
	line_logits(l, tokens, TOKENS, chunk, blocks, out);
	line_destroy(l);
	return out;
}

static void same_bits(const struct slice *s, const float *want, unsigned threads, uint32_t chunk) {
	float *have = logits_of(s, threads, chunk);
	ck_assert_mem_eq(have, want, sizeof(float) * TOKENS * s->manifest->hp.vocab);
	free(have);
}

START_TEST(the_bits_are_those_of_the_mapped_slice) {
	static const unsigned chunks[] = {1, 3, TOKENS};
	const struct manifest *m = import_manifest(model->import);
	uint64_t all = all_bytes(m),
	         least = 2 * weight_stream_largest_group(m, 0, m->hp.layers) + norm_bytes(m);
	float *want = logits_of(model->whole, 2, TOKENS);
	for (int i = 0; i < 6; i++) {
		struct slice *s = slice_within(least + (all - least) * (uint64_t)i / 5);
		ck_assert_int_eq(s->stream != NULL, i < 5);
		for (unsigned threads = 1; threads <= 3; threads++)
			for (int c = 0; c < 3; c++)
				same_bits(s, want, threads, chunks[c]);
		slice_destroy(s);
	}
	free(want);
}
END_TEST

START_TEST(each_step_reads_each_group_once) {
	const struct manifest *m = import_manifest(model->import);
	struct weight_stream_stats before, after;
	struct slice *s = slice_within(all_bytes(m) / 2);
	free(logits_of(s, 2, 1));
	weight_stream_stats(s->stream, &before);
	uint64_t ahead = 2 * weight_stream_largest_group(m, 0, m->hp.layers);
	/* the first groups of the next step are read ahead, and nothing else */
	ck_assert(before.read >= TOKENS * before.step && before.read <= TOKENS * before.step + ahead);
	free(logits_of(s, 1, TOKENS));
	weight_stream_stats(s->stream, &after);
	ck_assert(
	        after.read <= (TOKENS + 1) * before.step + ahead && after.read >= (TOKENS + 1) * before.step);
	ck_assert(after.read_seconds > 0);
	slice_destroy(s);
}
END_TEST

/* A file system without direct reads. */
START_TEST(the_page_cache_will_do) {
	const struct manifest *m = import_manifest(model->import);
	uint64_t memory_limit = all_bytes(m) / 2;
	float *want = logits_of(model->whole, 1, TOKENS);
	struct slice *s = slice_within(memory_limit);
	struct weight_stream_plan p;
	struct weight_stream_stats told;
	weight_stream_destroy(s->stream);
	s->stream = NULL;
	ck_assert_int_eq(weight_stream_plan(&p, m, 0, m->hp.layers, memory_limit), 0);
	ck_assert_int_eq(
	        weight_stream_create(&s->stream, &p, 0, m->hp.layers,
	                (const struct store_tensor *const(*)[LAYER_ROLES])s->layer, false, err, sizeof err),
	        0);
	weight_stream_plan_clear(&p);
	same_bits(s, want, 2, 5);
	weight_stream_stats(s->stream, &told);
	ck_assert(!told.direct);
	slice_destroy(s);
	free(want);
}
END_TEST

/* ---- what goes wrong ---- */

static int one_step(struct line *l, uint32_t position, float *logits) {
	static const uint32_t blocks[] = {0, 1, 2, 3};
	struct forward_seq q = {.rows = 1, .position = position, .nblocks = 1, .blocks = blocks};
	*err = '\0';
	return line_step(l, &q, 1, &tokens[position], logits, err, sizeof err);
}

/* The file of a tensor that is read from disk, the last one of the slice. */
static const struct store_tensor *a_fed_tensor(const struct slice *s) {
	for (uint32_t l = s->last - s->first; l-- > 0;)
		for (int r = LAYER_PLAIN; r-- > 0;)
			if (s->layer[l][r] && !s->layer[l][r]->packed)
				return s->layer[l][r];
	ck_abort_msg("nothing is read from disk");
}

static void put_again(const struct content_id *id) {
	const struct content_tensor *t = import_tensor(model->import, id);
	struct store_writer *w;
	size_t len;
	ck_assert_int_eq(store_writer_create(&w, model->store, t, err, sizeof err), 0);
	for (uint32_t i = 0; i < t->chunks; i++) {
		uint8_t *p;
		ck_assert_int_eq(import_chunk(model->import, id, i, &p, &len, err, sizeof err), 0);
		ck_assert_int_eq(store_writer_chunk(w, i, p, len), 0);
		free(p);
	}
	ck_assert_int_eq(store_writer_commit(w), 0);
	store_writer_destroy(w);
}

START_TEST(a_file_that_ends_too_soon_ends_the_step_alone) {
	size_t bytes = sizeof(float) * import_manifest(model->import)->hp.vocab;
	float *want = malloc(bytes), *have = malloc(bytes);
	char path[400], hex[CONTENT_HEX];
	struct slice *s = slice_within(all_bytes(import_manifest(model->import)) / 3);
	struct line *l = line_create(s, KERN_KV_F16, 2, 1, NULL, 1, 4),
	            *mapped = line_create(model->whole, KERN_KV_F16, 1, 1, NULL, 1, 4);
	const struct store_tensor *t = a_fed_tensor(s);
	snprintf(path, sizeof path, "%s/tensors/%s", model->dir, content_hex(&t->record.id, hex));
	off_t cut = (off_t)t->packed_at + (_i ? 0 : 100);
	ck_assert_int_eq(one_step(l, 0, have), 0);
	for (uint32_t i = 0; i < 2; i++)
		ck_assert_int_eq(one_step(mapped, i, want), 0);
	ck_assert_int_eq(truncate(path, cut), 0);
	/* what was read ahead may be whole; what comes after it is not */
	int rc = one_step(l, 1, have);
	if (rc == 0) {
		ck_assert_mem_eq(have, want, bytes);
		rc = one_step(l, 1, have);
	}
	ck_assert_int_eq(rc, -EIO);
	uint64_t renewed = SLICE_BEFORE;
	ck_assert_int_eq(slice_check(s, &renewed, err, sizeof err), -EIO);
	ck_assert_ptr_nonnull(strstr(err, "damaged on disk, and not used until"));
	ck_assert_int_eq(one_step(l, 1, have), -EIO);
	ck_assert(store_tensor_damaged(t));
	/* nothing is computed from it until the store has a good one again */
	struct content_id id;
	ck_assert_uint_eq(store_find_damaged(model->store, &id, 1), 1);
	ck_assert(content_equal(&id, &t->record.id));
	ck_assert(!store_has_tensor(model->store, &id));
	put_again(&id);
	renewed = 0; /* as if a step had begun before all that */
	ck_assert_uint_eq(store_find_damaged(model->store, &id, 1), 0);
	ck_assert_int_eq(slice_check(s, &renewed, err, sizeof err), -EIO);
	renewed = SLICE_BEFORE;
	ck_assert_int_eq(slice_check(s, &renewed, err, sizeof err), 0);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_int_eq(one_step(mapped, i, want), 0);
	for (uint32_t i = 1; i < 3; i++)
		ck_assert_msg(one_step(l, i, have) == 0, "%s", err);
	ck_assert_mem_eq(have, want, bytes);
	line_destroy(l);
	line_destroy(mapped);
	slice_destroy(s);
	free(want);
	free(have);
}
END_TEST

START_TEST(a_group_that_cannot_be_read_is_not_given) {
	const struct manifest *m = import_manifest(model->import);
	struct slice *s = slice_within(all_bytes(m) / 3);
	const struct store_tensor *t = a_fed_tensor(s), *w[LAYER_ROLES];
	char path[400], hex[CONTENT_HEX];
	uint64_t groups = 0;
	for (uint32_t l = 0; l < m->hp.layers; l++)
		for (int g = 0; g < WEIGHT_GROUPS; g++)
			groups += weight_stream_has(s->stream, l, (enum weight_group)g);
	ck_assert_uint_gt(groups, 3); /* the last is not read before others are given back */
	snprintf(path, sizeof path, "%s/tensors/%s", model->dir, content_hex(&t->record.id, hex));
	ck_assert_int_eq(truncate(path, (off_t)t->packed_at), 0);
	uint64_t first = weight_stream_begin(s->stream);
	for (uint64_t n = first; n < first + groups - 1; n++) {
		ck_assert_int_eq(weight_stream_wait(s->stream, n, w), 0);
		weight_stream_release(s->stream, n);
	}
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(weight_stream_wait(s->stream, first + groups - 1, w), -EIO);
	weight_stream_error(s->stream, err, sizeof err);
	ck_assert_str_eq(err, "layer 4: its weights cannot be read from disk: No data available");
	slice_destroy(s);
}
END_TEST

/* A step that ends in its middle leaves the stream there; the next one begins at the beginning. */
START_TEST(a_value_that_is_not_finite_does_no_harm) {
	size_t bytes = sizeof(float) * import_manifest(model->import)->hp.vocab, dim = small.dim;
	static const uint32_t blocks[] = {0};
	float *want = malloc(bytes), *have = malloc(bytes);
	struct slice *s = slice_within(all_bytes(import_manifest(model->import)) / 3);
	struct line *l = line_create(s, KERN_KV_F16, 3, 1, NULL, 1, 4),
	            *mapped = line_create(model->whole, KERN_KV_F16, 1, 1, NULL, 1, 4);
	struct forward_seq q = {.rows = 1, .nblocks = 1, .blocks = blocks};
	struct forward_step st = {.rows = 1, .nseqs = 1, .seqs = &q, .x = l->x};
	for (int i = 0; i < 8; i++) {
		for (size_t k = 0; k < dim; k++)
			l->x[k] = k == 5 ? INFINITY : 1;
		ck_assert_int_eq(forward_run(l->forward[0], &st, err, sizeof err), -EDOM);
		ck_assert_ptr_nonnull(strstr(err, "not finite"));
		ck_assert_int_eq(one_step(l, 0, have), 0);
		ck_assert_int_eq(one_step(mapped, 0, want), 0);
		ck_assert_mem_eq(have, want, bytes);
	}
	line_destroy(l);
	line_destroy(mapped);
	slice_destroy(s);
	free(want);
	free(have);
}
END_TEST

START_TEST(one_that_is_never_used_goes_as_well) {
	for (int i = 0; i < 20; i++)
		slice_destroy(slice_within(all_bytes(import_manifest(model->import)) / 2));
}
END_TEST

/* ---- copies in huge pages ---- */

static void wait_for_copies(const struct slice *s, uint64_t bytes) {
	for (int tries = 0; weight_copy_progress(s->copy).copied < bytes; tries++) {
		ck_assert_int_lt(tries, 200000); /* it goes after whatever else runs on the machine */
		usleep(1000);
	}
}

/* A slice whose maps are replaced by copies computes the same before, meanwhile and afterwards, and may go at any moment. */
START_TEST(the_bits_are_those_of_the_maps_it_replaces) {
	const struct manifest *m = import_manifest(model->import);
	float *want = logits_of(model->whole, 2, TOKENS);
	uint64_t copyable = 0;
	for (uint32_t l = 0; l < m->hp.layers; l++)
		for (int r = 0; r < LAYER_ROLES; r++) {
			const struct store_tensor *t = model->whole->layer[l][r];
			copyable += t && store_can_copy(t) ? t->packed_bytes : 0;
		}
	ck_assert_uint_gt(copyable, slice_bytes(model->whole) / 2);
	for (int i = 0; i < 6; i++) {
		struct slice *s = slice_within(UINT64_MAX);
		ck_assert_uint_eq(weight_copy_progress(s->copy).bytes, 0);
		ck_assert_int_eq(slice_copy(s, model->store), 0);
		ck_assert_uint_eq(weight_copy_progress(s->copy).bytes, copyable);
		if (i % 3 == 0) {
			same_bits(s, want, 2, 3);
			wait_for_copies(s, copyable);
			same_bits(s, want, 2, 3);
			struct slice_reading r;
			ck_assert(!slice_reading(s, &r));
			ck_assert_uint_eq(r.resident, slice_bytes(s));
		} else
			usleep((useconds_t)(i % 3 * 4000));
		slice_destroy(s);
	}
	free(want);
}
END_TEST

/* A file that is missing: the others are copied, and it when it has been replaced; and once more after another one. */
START_TEST(what_is_not_copied_is_tried_again) {
	struct slice *s = slice_within(UINT64_MAX);
	const struct store_tensor *t = s->layer[3][LAYER_DOWN];
	struct content_id id;
	char path[400], away[440], hex[CONTENT_HEX], command[2000];
	snprintf(path, sizeof path, "%s/tensors/%s", model->dir, content_hex(&t->record.id, hex));
	snprintf(away, sizeof away, "%s/away", model->dir);
	ck_assert(store_can_copy(t));
	ck_assert_int_eq(rename(path, away), 0);
	ck_assert_int_eq(slice_copy(s, model->store), 0);
	struct weight_copied most = weight_copy_progress(s->copy);
	wait_for_copies(s, most.bytes - t->packed_bytes);
	ck_assert(!store_tensor_copied(t));
	ck_assert_uint_gt(store_find_damaged(model->store, &id, 1), 0);
	for (uint64_t i = 0; i < 2; i++) {
		snprintf(command, sizeof command, "cp %s %s.new && mv %s.new %s", away, away, away, path);
		ck_assert_int_eq(system(command), 0);
		ck_assert_int_eq(store_renew_tensor(model->store, &t->record.id), 0);
		ck_assert_uint_eq(store_tensor_renewed(t), i + 1);
		ck_assert(!store_tensor_damaged(t));
		wait_for_copies(s, most.bytes);
	}
	float *want = logits_of(model->whole, 2, TOKENS);
	same_bits(s, want, 2, 3);
	free(want);
	slice_destroy(s);
	ck_assert_int_eq(unlink(away), 0);
}
END_TEST

/* ---- experts ---- */

/* What the layers of the mixture need at least. */
static uint64_t sparse_least(const struct manifest *m) {
	struct weight_stream_least least = weight_stream_least(m, 0, m->hp.layers);
	return least.rest + least.cache;
}

START_TEST(the_bits_are_those_of_mapped_experts) {
	static const unsigned chunks[] = {1, 3, TOKENS};
	const struct manifest *m = import_manifest(model->import);
	uint64_t all = all_bytes(m), least = sparse_least(m);
	float *want = logits_of(model->whole, 2, TOKENS);
	for (int i = 0; i < 5; i++) {
		struct slice_reading r;
		struct slice *s = slice_within(least + (all - least) * (uint64_t)i / 4);
		ck_assert_ptr_null(s->stream);
		ck_assert_int_eq(s->experts != NULL, i < 4);
		ck_assert(slice_reading(s, &r) == (i < 4));
		ck_assert(i < 4 ? r.slots >= 2 : r.slots == 0);
		for (unsigned threads = 1; threads <= 3; threads++)
			for (int c = 0; c < 3; c++)
				same_bits(s, want, threads, chunks[c]);
		slice_reading(s, &r);
		ck_assert((r.misses > 0) == (i < 4) && (r.read > 0) == (i < 4));
		slice_destroy(s);
	}
	free(want);
}
END_TEST

/* In a step of one row each layer wants two experts; all the cache's slots are used before an expert is read again. */
START_TEST(experts_stay_while_there_is_space) {
	const struct manifest *m = import_manifest(model->import);
	struct slice_reading r;
	struct slice *s = slice_within(all_bytes(m) - PAGE);
	ck_assert(slice_reading(s, &r));
	ck_assert_uint_ge(r.slots, 24); /* of 32 */
	ck_assert_uint_le(r.resident, slice_bytes(s));
	free(logits_of(s, 2, 1));
	slice_reading(s, &r);
	ck_assert_uint_eq(r.hits + r.misses, TOKENS * 4 * 2);
	ck_assert_uint_gt(r.hits, r.misses);
	slice_destroy(s);
	s = slice_within(sparse_least(m));
	free(logits_of(s, 2, 1));
	ck_assert(slice_reading(s, &r));
	ck_assert_uint_eq(r.slots, 2);
	ck_assert_uint_eq(r.hits + r.misses, TOKENS * 4 * 2);
	ck_assert_uint_gt(r.misses, r.hits);
	slice_destroy(s);
	ck_assert_int_eq(
	        slice_create(&s, model->store, m, 0, 4, false, sparse_least(m) - PAGE, err, sizeof err),
	        -ENOSPC);
	ck_assert_ptr_nonnull(strstr(err, "not enough memory even to read them from disk"));
}
END_TEST

/* The step ends, and the next one is right once the store has a good file. */
START_TEST(experts_that_cannot_be_read_end_the_step_alone) {
	const struct manifest *m = import_manifest(model->import);
	size_t bytes = sizeof(float) * m->hp.vocab;
	float *want = malloc(bytes), *have = malloc(bytes);
	char path[400], hex[CONTENT_HEX];
	struct slice *s = slice_within(sparse_least(m));
	struct line *l = line_create(s, KERN_KV_F16, 2, 1, NULL, 1, 4),
	            *mapped = line_create(model->whole, KERN_KV_F16, 1, 1, NULL, 1, 4);
	const struct store_tensor *t = s->layer[3][LAYER_EXPERT_UP];
	ck_assert_ptr_null(t->packed);
	snprintf(path, sizeof path, "%s/tensors/%s", model->dir, content_hex(&t->record.id, hex));
	ck_assert_int_eq(one_step(l, 0, have), 0);
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_int_eq(one_step(mapped, i, want), 0);
	ck_assert_int_eq(truncate(path, (off_t)t->packed_at), 0);
	int rc = 0;
	for (int i = 0; i < 8 && rc == 0; i++) /* with experts that are in memory it goes on */
		rc = one_step(l, 1, have);
	ck_assert_int_eq(rc, -EIO);
	ck_assert(store_tensor_damaged(t));
	struct content_id id;
	ck_assert_uint_eq(store_find_damaged(model->store, &id, 1), 1);
	ck_assert(content_equal(&id, &t->record.id));
	put_again(&id);
	ck_assert_uint_eq(store_find_damaged(model->store, &id, 1), 0);
	for (uint32_t i = 1; i < 3; i++)
		ck_assert_msg(one_step(l, i, have) == 0, "%s", err);
	ck_assert_mem_eq(have, want, bytes);
	line_destroy(l);
	line_destroy(mapped);
	slice_destroy(s);
	free(want);
	free(have);
}
END_TEST

/* ---- memory ---- */

/* KiB of a line of /proc/self/status. */
static uint64_t status_kib(const char *key) {
	char line[256];
	unsigned long long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");
	while (fgets(line, sizeof line, f))
		if (strncmp(line, key, strlen(key)) == 0)
			sscanf(line + strlen(key), " %llu", &kib);
	fclose(f);
	return kib;
}

/* KiB of the store's tensors that this process has in memory by its maps. */
static uint64_t mapped_kib(void) {
	char line[1024];
	unsigned long long kib, sum = 0;
	bool ours = false;
	FILE *f = fopen("/proc/self/smaps", "r");
	while (fgets(line, sizeof line, f)) {
		if (strchr(line, '-') && strchr(line, '-') < strchr(line, ' '))
			ours = strstr(line, model->dir) != NULL;
		else if (ours && sscanf(line, "Rss: %llu kB", &kib) == 1)
			sum += kib;
	}
	fclose(f);
	return sum;
}

/* Bytes of a tensor's matrix that the system holds in its page cache. */
static uint64_t cached_bytes(const struct store_tensor *t) {
	unsigned char in[4096];
	size_t pages = (t->packed_bytes + PAGE - 1) / PAGE, sum = 0;
	ck_assert_uint_le(pages, sizeof in);
	void *map = mmap(NULL, t->packed_bytes, PROT_READ, MAP_SHARED, t->fd, (off_t)t->packed_at);
	ck_assert_ptr_ne(map, MAP_FAILED);
	ck_assert_int_eq(mincore(map, t->packed_bytes, in), 0);
	munmap(map, t->packed_bytes);
	for (size_t i = 0; i < pages; i++)
		sum += in[i] & 1;
	return sum * PAGE;
}

START_TEST(no_more_is_resident_than_it_may) {
	const struct manifest *m = import_manifest(model->import);
	struct statfs fs;
	struct weight_stream_stats told;
	struct weight_stream_plan p;
	uint64_t all = all_bytes(m), memory_limit = all / 3;
	ck_assert_int_eq(statfs(model->dir, &fs), 0);
	if (sysconf(_SC_PAGESIZE) != PAGE || fs.f_type == TMPFS) {
		printf("# not here: pages of %ld bytes, file system %lx\n", sysconf(_SC_PAGESIZE),
		        (long)fs.f_type);
		return;
	}
	float *want = logits_of(model->whole, 1, TOKENS);
	slice_destroy(model->whole); /* its maps must not count */
	uint64_t io = 0, before = status_kib("RssAnon:");
	struct slice *s = model->whole = slice_within(memory_limit);
	ck_assert_int_eq(weight_stream_plan(&p, m, 0, m->hp.layers, memory_limit), 0);
	weight_stream_stats(s->stream, &told);
	ck_assert_uint_eq(told.buffers, 2 * p.buffer);
	for (int r = 0; r < IO_ROLES; r++)
		io += weight_stream_tensor_bytes(&m->io[r]);
	for (int i = 0; i < 4; i++)
		same_bits(s, want, 2, i % 2 ? 1 : TOKENS);
	ck_assert_uint_le(mapped_kib(), (p.resident + io) / 1024);
	/* the buffers, and what a line of this shape takes in activations, KV cache and stacks */
	uint64_t grown = status_kib("RssAnon:") - before;
	printf("# mapped %ju KiB of %ju, anonymous memory grew by %ju KiB beside buffers of %ju\n",
	        (uintmax_t)mapped_kib(), (uintmax_t)(p.resident / 1024), (uintmax_t)grown,
	        (uintmax_t)(told.buffers / 1024));
#if !defined __SANITIZE_ADDRESS__ && !defined __SANITIZE_THREAD__ /* which have memory of their own */
	ck_assert_uint_le(grown, told.buffers / 1024 + 8192);
#endif
	uint64_t cached = 0, streamed = 0;
	for (uint32_t l = 0; l < m->hp.layers; l++)
		for (int r = 0; r < LAYER_PLAIN; r++)
			if (!s->layer[l][r]->packed) {
				cached += cached_bytes(s->layer[l][r]);
				streamed += s->layer[l][r]->packed_bytes;
			}
	weight_stream_stats(s->stream, &told);
	ck_assert_uint_gt(streamed, all / 2);
	if (told.direct)
		ck_assert_uint_eq(cached, 0);
	weight_stream_plan_clear(&p);
	free(want);
}
END_TEST

static Suite *suite(void) {
	Suite *s = suite_create("weight_stream");
	TCase *t = tcase_create("small");
	tcase_add_checked_fixture(t, load_small, unload);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, what_stays_is_as_much_as_can);
	tcase_add_test(t, of_a_mixture_only_experts_are_read);
	tcase_add_test(t, a_tensor_of_other_parts_is_refused);
	tcase_add_test(t, the_bits_are_those_of_the_mapped_slice);
	tcase_add_test(t, each_step_reads_each_group_once);
	tcase_add_test(t, the_page_cache_will_do);
	tcase_add_loop_test(t, a_file_that_ends_too_soon_ends_the_step_alone, 0, 2);
	tcase_add_test(t, a_group_that_cannot_be_read_is_not_given);
	tcase_add_test(t, a_value_that_is_not_finite_does_no_harm);
	tcase_add_test(t, one_that_is_never_used_goes_as_well);
	suite_add_tcase(s, t);
	t = tcase_create("experts");
	tcase_add_checked_fixture(t, load_sparse, unload);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, the_bits_are_those_of_mapped_experts);
	tcase_add_test(t, experts_stay_while_there_is_space);
	tcase_add_test(t, experts_that_cannot_be_read_end_the_step_alone);
	suite_add_tcase(s, t);
	t = tcase_create("large");
	tcase_add_checked_fixture(t, load_large, unload);
	tcase_set_timeout(t, 240);
	tcase_add_test(t, what_is_read_lies_evenly);
	tcase_add_test(t, no_more_is_resident_than_it_may);
	tcase_add_test(t, the_bits_are_those_of_the_maps_it_replaces);
	tcase_add_test(t, what_is_not_copied_is_tried_again);
	suite_add_tcase(s, t);
	return s;
}

#include "tests/unit/check_main.h"
