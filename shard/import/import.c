/* import: hashes a model file and serves it as content; see import.h.
 *
 * A "source" is the part of the file that holds a tensor of the model: a tensor of the file, or some rows of one that the file
 * has fused of several, cut out as its cut says.  Tensors that share the same bytes have one source, which is hashed once.  The scales of all weights
 * are checked on the way, in blocks that fit the processor's cache. */
#include "shard/import/import.h"
#include "common/fail.h"
#include "shard/gguf/gguf.h"
#include "shard/import/names.h"
#include "shard/model/family.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BLOCK_BYTES (256u << 10)

#define MOST_RUNS 3
/* Where the bytes of a model's tensor are in one of the file: equal parts of the file's have some runs each; the model's has the
 * first run of all parts, then the second of all. */
struct cut {
	uint64_t parts, stride; /* bytes from part to part */
	uint64_t runs;
	struct run {
		uint64_t at, bytes; /* at: in each part */
	} run[MOST_RUNS];
};

struct source {
	const struct gguf_tensor *t;
	struct cut cut;
	struct content_tensor record;
	uint8_t *blob; /* the record's bytes */
	size_t len;
};

/* A tensor's place in the manifest, and where its bytes come from. */
struct place {
	const struct gguf_tensor *t;
	struct cut cut;
	struct manifest_tensor *slot;
};

struct import {
	char *name;
	struct gguf *g;
	const struct family *family;
	struct hparams
	        longest; /* of the manifest, if it is to serve all the tokens that it was trained for */
	struct manifest *m;
	struct vocab *v;
	uint8_t *manifest_blob, *vocab_blob;
	size_t manifest_len, vocab_len;
	struct source *source; /* ascending by position while hashed, then by name */
	size_t sources;
	char *err;
	size_t errlen;
};

static int import_fail(struct import *im, int rc, const char *what) {
	return fail_with(rc, im->err, im->errlen, "%s: %s", im->name, what);
}

/* Names the file of the tensor, which is one of several for a split model. */
static int import_fail_tensor(struct import *im, const struct gguf_tensor *t, int rc, const char *what) {
	return fail_with(rc, im->err, im->errlen, "%s: %s", gguf_file(im->g, t), what);
}

static int import_fail_no_memory(struct import *im) {
	return fail_memory(im->err, im->errlen, im->name);
}

/* Whether name is "blk.<layer>.<rest>", and which layer and rest. */
static bool import_layer_name(struct gguf_string name, uint32_t *layer, struct gguf_string *rest) {
	static const char prefix[] = "blk.";
	uint64_t i = sizeof prefix - 1, start = i;
	if (name.len <= i || memcmp(name.s, prefix, i) != 0)
		return false;
	for (*layer = 0; i < name.len && i - start < 6 && name.s[i] >= '0' && name.s[i] <= '9'; i++)
		*layer = *layer * 10 + (uint32_t)(name.s[i] - '0');
	if (i == start || i >= name.len || name.s[i] != '.' || (name.s[start] == '0' && i - start > 1))
		return false;
	rest->s = name.s + i + 1;
	rest->len = name.len - i - 1;
	return true;
}

static bool import_is(struct gguf_string s, const char *name) {
	return s.len == strlen(name) && memcmp(s.s, name, s.len) == 0;
}

static bool import_name_ends_with(struct gguf_string s, const char *tail) {
	size_t len = strlen(tail);
	return s.len >= len && memcmp(s.s + s.len - len, tail, len) == 0;
}

/* A tensor's name. */
struct name {
	char s[64];
};
static struct name import_name_in_layer(uint32_t layer, const char *rest) {
	struct name name;
	snprintf(name.s, sizeof name.s, "blk.%" PRIu32 ".%s", layer, rest);
	return name;
}

/* The row of the fused tensor in which the file has a role of a layer; NULL: it has a tensor of its own, or none. */
static const struct family_fused *import_find_fused(
        const struct import *im, uint32_t layer, enum layer_role r) {
	const struct family_fused *f = family_fused(r);
	if (!f || !manifest_find(im->m, layer, f->role[0]) ||
	        (f->by == FUSED_BY_KEY_HEAD && !im->m->hp.heads_near) ||
	        gguf_find(im->g, import_name_in_layer(layer, family_tensor_name(im->family, f->role[0])).s) ||
	        !gguf_find(im->g, import_name_in_layer(layer, f->name).s))
		return NULL;
	return f;
}

/* The name of the tensor of the file that has a role of a layer. */
static struct name import_name_of(const struct import *im, uint32_t layer, enum layer_role r) {
	const struct family_fused *f = import_find_fused(im, layer, r);
	return import_name_in_layer(layer, f ? f->name : family_tensor_name(im->family, r));
}

/* Whether a layer's tensor is one expert's, as files had them before March 2024: ffn_gate.7.weight. */
static bool import_is_one_expert(struct gguf_string rest) {
	static const char *const matrix[] = {"ffn_gate.", "ffn_up.", "ffn_down."};
	for (size_t i = 0; i < sizeof matrix / sizeof *matrix; i++) {
		size_t len = strlen(matrix[i]);
		if (rest.len > len && memcmp(rest.s, matrix[i], len) == 0 && rest.s[len] >= '0' &&
		        rest.s[len] <= '9')
			return true;
	}
	return false;
}

/* Every tensor must be one that the model uses, or one that has no effect. */
static int import_check_names(struct import *im) {
	char shown[80], why[176];
	if (gguf_tensors(im->g) == 0)
		return import_fail(im, -ENOTSUP,
		        "it has no weights: a file with only a vocabulary is for caravan tokenize");
	for (size_t i = 0; i < gguf_tensors(im->g); i++) {
		const struct gguf_tensor *t = gguf_tensor(im->g, i);
		struct gguf_string rest = {0};
		uint32_t layer = 0;
		bool known = import_is(t->name, "rope_freqs.weight") || /* already in hparams.freq */
		             import_is(t->name, "rope_factors_long.weight") ||
		             import_is(t->name, "rope_factors_short.weight");
		bool in_layer = import_layer_name(t->name, &layer, &rest);
		for (int r = 0; !known && r < IO_ROLES; r++)
			known = import_is(t->name, manifest_io_tensor_name((enum io_role)r));
		for (int r = 0; !known && in_layer && layer < im->m->hp.layers && r < LAYER_ROLES; r++)
			known = manifest_find(im->m, layer, (enum layer_role)r) &&
			        import_is(t->name, import_name_of(im, layer, (enum layer_role)r).s);
		/* early converters stored the rotation table, which everybody computes */
		known = known || (in_layer && import_is(rest, "attn_rot_embd.weight"));
		known = known || (in_layer && layer >= im->m->hp.layers &&
		                         layer - im->m->hp.layers < hparams_unused_layers(im->g));
		if (known)
			continue;
		gguf_printable(t->name, shown, sizeof shown);
		if (in_layer && layer >= im->m->hp.layers)
			snprintf(why, sizeof why,
			        "tensor %s belongs to none of the layers: there are %" PRIu32, shown,
			        im->m->hp.layers);
		else if (import_name_ends_with(t->name, ".bias"))
			snprintf(why, sizeof why, "tensor %s is a bias that Caravan does not compute", shown);
		else if (in_layer && import_is_one_expert(rest))
			snprintf(why, sizeof why,
			        "tensor %s is one expert's: get a file that was made after March 2024, which has all in one",
			        shown);
		else
			snprintf(why, sizeof why, "Caravan does not know tensor %s", shown);
		return import_fail_tensor(im, t, -ENOTSUP, why);
	}
	return 0;
}

/* Finds a role's tensor, or the one that has so many fused, and checks it.  *out is unchanged when an optional one is absent. */
static int import_find_tensor(struct import *im, const char *name, const struct manifest_tensor *want,
        bool vector, bool optional, int tensors, const struct gguf_tensor **out) {
	char why[224];
	const struct gguf_tensor *t = gguf_find(im->g, name);
	if (!t) {
		if (optional)
			return 0;
		snprintf(why, sizeof why, "tensor %s is missing", name);
		return import_fail(im, -EINVAL, why);
	}
	if (t->n != want->n || t->rows != want->rows) {
		snprintf(why, sizeof why,
		        "tensor %s has %" PRIu64 " rows of %" PRIu64
		        " elements where the model needs %" PRIu64 " rows of %" PRIu64,
		        name, t->rows, t->n, want->rows, want->n);
		return import_fail_tensor(im, t, -EINVAL, why);
	}
	if (want->parts > 1 && t->ne[3] != 1) {
		snprintf(why, sizeof why, "tensor %s has four dimensions; experts have three", name);
		return import_fail_tensor(im, t, -EINVAL, why);
	}
	if (want->parts > 1 && t->ne[2] != want->parts) {
		snprintf(why, sizeof why, "tensor %s has %" PRIu64 " experts where the model needs %" PRIu32,
		        name, t->ne[2], want->parts);
		return import_fail_tensor(im, t, -EINVAL, why);
	}
	if (want->parts > 1 && t->ne[1] % ((uint64_t)KERN_STRIP * tensors)) {
		snprintf(why, sizeof why,
		        "tensor %s has experts of %" PRIu64 " rows; multiples of %d are supported", name,
		        t->ne[1], KERN_STRIP * tensors);
		return import_fail_tensor(im, t, -ENOTSUP, why);
	}
	if (vector && t->type != KERN_F32 && t->type != KERN_F16 && t->type != KERN_BF16) {
		snprintf(why, sizeof why,
		        "tensor %s has type %s; norms and biases of type F32, F16 and BF16 are supported",
		        name, kern_traits((uint32_t)t->type)->name);
		return import_fail_tensor(im, t, -ENOTSUP, why);
	}
	*out = t;
	return 0;
}

/* A whole tensor. */
static struct cut import_cut_whole(const struct gguf_tensor *t) {
	uint64_t bytes = t->rows * kern_row_bytes(t->type, t->n);
	return (struct cut){.parts = 1, .stride = bytes, .runs = 1, .run = {{0, bytes}}};
}

/* How much of each part of a fused tensor is a role's, run by run: rows of matrices, elements of vectors.  Returns the number of runs. */
static uint64_t import_runs(const struct hparams *hp, const struct family_fused *f, uint64_t parts,
        const struct manifest_tensor *t, uint64_t each[MOST_RUNS]) {
	uint64_t all = (manifest_layer_is_vector((enum layer_role)t->role) ? t->n : t->rows) / parts;
	each[0] = all;
	if (f->by != FUSED_BY_KEY_HEAD || t->role != LAYER_DELTA_QKV)
		return 1;
	each[0] = each[1] = hp->state_size;
	each[2] = all - 2 * each[0];
	return 3;
}

/* What a place has of a fused tensor, as import_runs counts; the last stride is that of the whole. */
static struct cut import_cut_fused(const struct import *im, uint32_t layer, const struct family_fused *f,
        const struct manifest_tensor *slot) {
	const struct hparams *hp = &im->m->hp;
	struct cut cut = {.parts = f->by == FUSED_BY_EXPERT     ? hp->experts
	                           : f->by == FUSED_BY_KEY_HEAD ? hp->state_groups
	                                                        : 1};
	uint64_t each[MOST_RUNS];
	for (int i = 0; i < f->roles; i++) {
		const struct manifest_tensor *t = manifest_find(im->m, layer, f->role[i]);
		uint64_t runs = t ? import_runs(hp, f, cut.parts, t, each) : 0;
		for (uint64_t k = 0; k < runs; k++) {
			if (t == slot)
				cut.run[cut.runs++] = (struct run){cut.stride, each[k]};
			cut.stride += each[k];
		}
	}
	return cut;
}

/* Finds the tensor of a layer's place, or what it has of one that the file has fused. */
static int import_find_layer_place(struct import *im, uint32_t layer, struct place *p) {
	enum layer_role r = (enum layer_role)p->slot->role;
	const struct family_fused *f = import_find_fused(im, layer, r);
	bool vector = manifest_layer_is_vector(r);
	struct manifest_tensor whole = *p->slot;
	if (f) {
		p->cut = import_cut_fused(im, layer, f, p->slot);
		*(vector ? &whole.n : &whole.rows) = p->cut.parts * p->cut.stride;
	}
	int rc = import_find_tensor(
	        im, import_name_of(im, layer, r).s, &whole, vector, false, f ? f->roles : 1, &p->t);
	if (rc < 0)
		return rc;
	if (!f) {
		p->cut = import_cut_whole(p->t);
		return 0;
	}
	uint64_t unit = kern_row_bytes(p->t->type, vector ? 1 : whole.n);
	p->cut.stride *= unit;
	for (uint64_t k = 0; k < p->cut.runs; k++) {
		p->cut.run[k].at *= unit;
		p->cut.run[k].bytes *= unit;
	}
	return 0;
}

static int import_find_places(struct import *im, struct place *p, size_t *count) {
	const struct hparams *hp = &im->m->hp;
	size_t k = 0;
	for (int r = 0; r < IO_ROLES; r++) {
		struct manifest_tensor *t = &im->m->io[r];
		/* without an output tensor the embedding is the head */
		p[k] = (struct place){.t = p[IO_EMBED].t, .slot = t};
		int rc = import_find_tensor(im, manifest_io_tensor_name((enum io_role)r), t,
		        manifest_io_is_vector((enum io_role)r), r == IO_HEAD, 1, &p[k].t);
		if (rc < 0)
			return rc;
		p[k].cut = import_cut_whole(p[k].t);
		k++;
	}
	for (uint32_t l = 0; l < hp->layers; l++)
		for (uint32_t i = im->m->at[l]; i < im->m->at[l + 1]; i++) {
			p[k].slot = &im->m->tensor[i];
			int rc = import_find_layer_place(im, l, &p[k++]);
			if (rc < 0)
				return rc;
		}
	*count = k;
	return 0;
}

static int import_compare_places(const void *a, const void *b) {
	const struct place *p = a, *q = b;
	uint64_t at = p->t->at + p->cut.run[0].at, at_too = q->t->at + q->cut.run[0].at;
	if (p->t->fd != q->t->fd)
		return p->t->fd < q->t->fd ? -1 : 1;
	if (at != at_too)
		return at < at_too ? -1 : 1;
	if (p->t->type != q->t->type)
		return p->t->type < q->t->type ? -1 : 1;
	if (p->slot->n != q->slot->n)
		return p->slot->n < q->slot->n ? -1 : 1;
	if (p->slot->rows != q->slot->rows)
		return p->slot->rows < q->slot->rows ? -1 : 1;
	if (p->slot->parts != q->slot->parts)
		return p->slot->parts < q->slot->parts ? -1 : 1;
	return memcmp(&p->cut, &q->cut, sizeof p->cut);
}

/* One source for all places with the same bytes; both ascend. */
static int import_make_sources(struct import *im, struct place *p, size_t count) {
	qsort(p, count, sizeof *p, import_compare_places);
	im->source = calloc(count, sizeof *im->source);
	if (!im->source)
		return import_fail_no_memory(im);
	for (size_t i = 0; i < count; i++) {
		if (i > 0 && import_compare_places(&p[i], &p[i - 1]) == 0)
			continue;
		struct source *s = &im->source[im->sources++];
		s->t = p[i].t;
		s->cut = p[i].cut;
		int rc = content_tensor_init(
		        &s->record, s->t->type, p[i].slot->n, p[i].slot->rows, p[i].slot->parts);
		if (rc == -ENOMEM)
			return import_fail_no_memory(im);
		if (rc < 0)
			return import_fail(im, rc, "a tensor is too large");
	}
	return 0;
}

/* Where a chunk begins within the tensor of the model, and how long it is. */
static uint64_t import_chunk_at(const struct source *s, uint32_t i, uint64_t *bytes) {
	uint64_t first, rows;
	content_chunk_extent(&s->record, i, &first, &rows, bytes);
	return first * kern_row_bytes(s->record.type, s->record.n);
}

/* Where a byte of the model's tensor is within the one of the file, and how many follow without a gap. */
static uint64_t import_locate(const struct source *s, uint64_t at, uint64_t *bytes) {
	const struct run *r = s->cut.run;
	for (; at >= s->cut.parts * r->bytes; r++)
		at -= s->cut.parts * r->bytes;
	uint64_t part = at / r->bytes, within = at % r->bytes;
	*bytes = r->bytes - within;
	return part * s->cut.stride + r->at + within;
}

/* Asks for a chunk ahead of its use, so that the disk works while we hash. */
static void import_read_ahead(const struct source *s, uint32_t i) {
	uint64_t bytes, whole, at = import_locate(s, import_chunk_at(s, i, &bytes), &whole);
	posix_fadvise(s->t->fd, (off_t)(s->t->at + at), (off_t)bytes, POSIX_FADV_WILLNEED);
}

static int import_fail_read(struct import *im, int rc) {
	char why[160];
	if (rc == -ENODATA || rc == -ESTALE)
		return import_fail(
		        im, rc, "the file was changed while it was read: try again when it is complete");
	snprintf(why, sizeof why, "cannot read it: %s", strerror(-rc));
	return import_fail(im, rc, why);
}

/* Every block is read once, so that the bytes that are checked are those that are hashed; `block` has
 * import_block_bytes bytes. */
static int import_hash_chunk(
        struct import *im, struct content_hasher *h, struct source *s, uint32_t i, uint8_t *block) {
	char shown[80], why[192];
	size_t row = kern_row_bytes(s->record.type, s->record.n);
	uint64_t bytes, at = import_chunk_at(s, i, &bytes), rows = bytes / row,
	                step = BLOCK_BYTES / row ? BLOCK_BYTES / row : 1;
	for (uint64_t r = 0, count; r < rows; r += count) {
		uint64_t whole, place = import_locate(s, at + r * row, &whole);
		count = rows - r < step ? rows - r : step;
		count = count < whole / row ? count : whole / row;
		int rc = gguf_read(s->t, place, block, count * row);
		if (rc < 0)
			return import_fail_read(im, rc);
		if (!kern_finite(s->record.type, block, count, s->record.n)) {
			uint64_t first = s->t->rows == 1 ? 0 : place / row;
			snprintf(why, sizeof why,
			        "tensor %s has a scale that is not finite between rows %" PRIu64
			        " and %" PRIu64,
			        gguf_printable(s->t->name, shown, sizeof shown), first, first + count - 1);
			return import_fail_tensor(im, s->t, -EINVAL, why);
		}
		content_hasher_add(h, block, count * row);
	}
	s->record.chunk[i] = content_hasher_finish(h);
	return gguf_unchanged(im->g) < 0 ? import_fail_read(im, -ESTALE) : 0;
}

/* Bytes of the largest block that import_hash_chunk reads. */
static size_t import_block_bytes(const struct import *im) {
	size_t most = BLOCK_BYTES;
	for (size_t i = 0; i < im->sources; i++) {
		size_t row = kern_row_bytes(im->source[i].record.type, im->source[i].record.n);
		most = row > most ? row : most;
	}
	return (most + KERN_ALIGN - 1) / KERN_ALIGN * KERN_ALIGN;
}

static int import_hash_sources(struct import *im, import_progress_fn *progress, void *arg) {
	struct content_hasher *h = NULL;
	uint64_t done = 0, total = 0, bytes;
	uint8_t *block = aligned_alloc(KERN_ALIGN, import_block_bytes(im));
	int rc = block ? content_hasher_create(&h) : -ENOMEM;
	if (rc < 0) {
		free(block);
		return import_fail_no_memory(im);
	}
	for (size_t i = 0; i < im->sources; i++)
		total += content_tensor_bytes(&im->source[i].record);
	if (progress && progress(arg, 0, total))
		goto cancelled;
	for (size_t i = 0; i < im->sources; i++) {
		struct source *s = &im->source[i];
		for (uint32_t c = 0; c < s->record.chunks; c++) {
			if (c + 1 < s->record.chunks)
				import_read_ahead(s, c + 1);
			else if (i + 1 < im->sources)
				import_read_ahead(&im->source[i + 1], 0);
			rc = import_hash_chunk(im, h, s, c, block);
			if (rc < 0)
				goto done;
			import_chunk_at(s, c, &bytes);
			done += bytes;
			if (progress && progress(arg, done, total))
				goto cancelled;
		}
		rc = content_tensor_encode(&s->record, &s->blob, &s->len);
		if (rc < 0) {
			import_fail_no_memory(im);
			goto done;
		}
	}
	rc = 0;
	goto done;
cancelled:
	rc = import_fail(im, -ECANCELED, "the import was stopped");
done:
	content_hasher_destroy(h);
	free(block);
	return rc;
}

/* Fills in the manifest from the sources' records.  weights: the manifest's name without a vocabulary and for the longest
 * context, to which cached hashes refer: with another pre-tokenizer, the same weights have another manifest. */
static int import_make_manifest(
        struct import *im, const struct place *p, size_t count, struct content_id *weights) {
	size_t s = 0;
	for (size_t i = 0; i < count; i++) {
		if (i > 0 && import_compare_places(&p[i], &p[i - 1]) != 0)
			s++;
		const struct content_tensor *t = &im->source[s].record;
		struct manifest_tensor *slot = p[i].slot;
		slot->id = t->id;
		slot->type = t->type;
		slot->bytes = content_tensor_bytes(t);
	}
	struct hparams hp = im->m->hp;
	im->m->hp = im->longest;
	im->m->vocab = (struct content_id){.b = {0}};
	free(im->manifest_blob);
	im->manifest_blob = NULL;
	int rc = manifest_encode(im->m, &im->manifest_blob, &im->manifest_len);
	im->m->hp = hp;
	if (rc == 0) {
		*weights = im->m->id;
		free(im->manifest_blob);
		im->manifest_blob = NULL;
		im->m->vocab = content_hash(im->vocab_blob, im->vocab_len);
		rc = manifest_encode(im->m, &im->manifest_blob, &im->manifest_len);
	}
	if (rc == -ENOMEM)
		return import_fail_no_memory(im);
	return rc < 0 ? import_fail(im, rc, "its tensors do not form a model") : 0;
}

/* The same without records: made-up names, equal where tensors have the same bytes. */
static void import_invent_names(const struct place *p, size_t count) {
	uint64_t s = 1;
	for (size_t i = 0; i < count; i++) {
		if (i > 0 && import_compare_places(&p[i], &p[i - 1]) != 0)
			s++;
		struct manifest_tensor *slot = p[i].slot;
		slot->type = p[i].t->type;
		slot->bytes = slot->rows * kern_row_bytes(slot->type, slot->n);
		memcpy(slot->id.b, &s, sizeof s);
	}
}

/* Loads cached hashes: 0 when they are there and result in the same name of the weights as before. */
static int import_recall_names(
        struct import *im, int cache, const char *key, const struct place *p, size_t count) {
	struct import_names names = {0};
	struct content_id weights;
	int rc = import_names_read(cache, key, &names);
	if (rc == 0 && names.count != im->sources)
		rc = -EBADMSG;
	for (size_t i = 0; rc == 0 && i < im->sources; i++) {
		struct source *s = &im->source[i];
		struct content_tensor t;
		rc = content_tensor_decode(&t, names.record[i].data, names.record[i].len);
		if (rc < 0)
			break;
		if (t.type != s->record.type || t.n != s->record.n || t.rows != s->record.rows ||
		        t.parts != s->record.parts) {
			content_tensor_clear(&t);
			rc = -EBADMSG;
			break;
		}
		content_tensor_clear(&s->record);
		s->record = t;
	}
	for (size_t i = 0; rc == 0 && i < im->sources; i++)
		rc = content_tensor_encode(&im->source[i].record, &im->source[i].blob, &im->source[i].len);
	if (rc == 0)
		rc = import_make_manifest(im, p, count, &weights);
	/* older versions stored the manifest's name with its vocabulary */
	if (rc == 0 && !content_equal(&weights, &names.weights) && !content_equal(&im->m->id, &names.weights))
		rc = -EBADMSG;
	import_names_clear(&names);
	if (rc < 0) {
		/* discard what was loaded; it is hashed again */
		for (size_t i = 0; i < im->sources; i++) {
			free(im->source[i].blob);
			im->source[i].blob = NULL;
		}
	}
	return rc;
}

/* Caches the hashes.  If that fails (a full disk), only time is lost. */
static void import_remember_names(
        const struct import *im, int cache, const char *key, const struct content_id *weights) {
	struct import_names names = {.weights = *weights, .count = im->sources};
	names.record = calloc(im->sources, sizeof *names.record);
	if (!names.record)
		return;
	for (size_t i = 0; i < im->sources; i++)
		names.record[i] = (struct import_record){im->source[i].blob, im->source[i].len};
	import_names_write(cache, key, &names);
	free(names.record);
}

/* hash: false if names may be made up when no hashes are cached; the manifest then has no name. */
static int import_name_content(struct import *im, const int *fds, size_t nfds, const char *cache, bool hash,
        import_progress_fn *progress, void *arg) {
	size_t count = manifest_tensors(im->m);
	struct place *places = calloc(count, sizeof *places);
	struct content_id weights;
	char key[CONTENT_HEX];
	int dir = -1;
	int rc = places ? import_find_places(im, places, &count) : import_fail_no_memory(im);
	if (rc == 0)
		rc = import_make_sources(im, places, count);
	if (rc < 0)
		goto done;
	if (cache && import_names_key(fds, nfds, key) == 0)
		dir = open(cache, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0 && import_recall_names(im, dir, key, places, count) == 0) {
		/* the header was read before the key was computed */
		rc = gguf_unchanged(im->g) < 0 ? import_fail_read(im, -ESTALE) : 0;
		goto done;
	}
	if (!hash) {
		import_invent_names(places, count);
		goto done;
	}
	rc = import_hash_sources(im, progress, arg);
	if (rc == 0)
		rc = import_make_manifest(im, places, count, &weights);
	if (rc == 0 && dir >= 0)
		import_remember_names(im, dir, key, &weights);
done:
	if (dir >= 0)
		close(dir);
	free(places);
	return rc;
}

static int import_compare_sources(const void *a, const void *b) {
	return memcmp(((const struct source *)a)->record.id.b, ((const struct source *)b)->record.id.b,
	        sizeof(struct content_id));
}

/* Everything except the names of content.  *out may be set even on failure. */
static int import_begin(struct import **out, const int *fds, size_t nfds, const char *name,
        struct import_options *o, char *err, size_t errlen) {
	struct hparams hp;
	char why[512];
	struct import *im = *out = calloc(1, sizeof *im);
	if (!im || !(im->name = strdup(name)))
		return fail_memory(err, errlen, name);
	im->err = err;
	im->errlen = errlen;
	int rc = gguf_open(&im->g, fds, nfds, name, err, errlen);
	if (rc < 0)
		return rc;
	rc = hparams_from_gguf(&im->longest, im->g, 0, why, sizeof why);
	if (rc == 0)
		rc = hparams_from_gguf(&hp, im->g, o ? o->context : 0, why, sizeof why);
	if (rc == 0)
		rc = vocab_from_gguf(&im->v, im->g, o ? &o->text : NULL, why, sizeof why);
	if (rc == 0 && o && o->check)
		rc = o->check(im->v, why, sizeof why);
	if (rc < 0)
		return import_fail(im, rc, why);
	im->family = family_of(im->g);
	layer_roles *roles = malloc(hp.layers * sizeof *roles);
	if (!roles)
		return import_fail_no_memory(im);
	family_roles(im->family, im->g, &hp, roles);
	rc = manifest_create(&im->m, &hp, roles);
	free(roles);
	if (rc == 0)
		rc = vocab_encode(im->v, &im->vocab_blob, &im->vocab_len);
	return rc < 0 ? import_fail_no_memory(im) : import_check_names(im);
}

int import_open(struct import **out, const int *fds, size_t nfds, const char *name, struct import_options *o,
        const char *cache, import_progress_fn *progress, void *arg, char *err, size_t errlen) {
	struct import *im;
	int rc = import_begin(&im, fds, nfds, name, o, err, errlen);
	if (rc == 0)
		rc = import_name_content(im, fds, nfds, cache, true, progress, arg);
	if (rc < 0) {
		import_close(im);
		return rc;
	}
	qsort(im->source, im->sources, sizeof *im->source, import_compare_sources);
	im->err = NULL;
	*out = im;
	return 0;
}

int import_metadata(struct manifest **out, const int *fds, size_t nfds, const char *name,
        struct import_options *o, const char *cache, char *err, size_t errlen) {
	struct import *im;
	int rc = import_begin(&im, fds, nfds, name, o, err, errlen);
	if (rc == 0)
		rc = import_name_content(im, fds, nfds, cache, false, NULL, NULL);
	if (rc == 0) {
		*out = im->m;
		im->m = NULL;
	}
	import_close(im);
	return rc;
}

void import_close(struct import *im) {
	int saved = errno;
	if (!im)
		return;
	for (size_t i = 0; i < im->sources; i++) {
		content_tensor_clear(&im->source[i].record);
		free(im->source[i].blob);
	}
	free(im->source);
	free(im->manifest_blob);
	free(im->vocab_blob);
	manifest_destroy(im->m);
	vocab_destroy(im->v);
	gguf_close(im->g);
	free(im->name);
	free(im);
	errno = saved;
}

const struct manifest *import_manifest(const struct import *im) {
	return im->m;
}

const struct vocab *import_vocab(const struct import *im) {
	return im->v;
}

static const struct source *import_find_source(const struct import *im, const struct content_id *id) {
	struct source key = {.record.id = *id};
	return bsearch(&key, im->source, im->sources, sizeof *im->source, import_compare_sources);
}

const uint8_t *import_blob(const struct import *im, const struct content_id *id, size_t *len) {
	const struct source *s;
	if (content_equal(id, &im->m->id)) {
		*len = im->manifest_len;
		return im->manifest_blob;
	}
	if (content_equal(id, &im->m->vocab)) {
		*len = im->vocab_len;
		return im->vocab_blob;
	}
	s = import_find_source(im, id);
	if (!s)
		return NULL;
	*len = s->len;
	return s->blob;
}

const struct content_tensor *import_tensor(const struct import *im, const struct content_id *id) {
	const struct source *s = import_find_source(im, id);
	return s ? &s->record : NULL;
}

/* Bytes [at, at + bytes) of the model's tensor. */
static int import_read(const struct source *s, uint64_t at, uint8_t *out, uint64_t bytes) {
	int rc = 0;
	for (uint64_t done = 0, whole; rc == 0 && done < bytes; done += whole) {
		uint64_t place = import_locate(s, at + done, &whole);
		whole = whole < bytes - done ? whole : bytes - done;
		rc = gguf_read(s->t, place, out + done, whole);
	}
	return rc;
}

int import_chunk(const struct import *im, const struct content_id *tensor, uint32_t chunk, uint8_t **data,
        size_t *len, char *err, size_t errlen) {
	const struct source *s = import_find_source(im, tensor);
	uint64_t bytes;
	snprintf(err, errlen, "%s: it has no such chunk", im->name);
	if (!s || chunk >= s->record.chunks)
		return -ENOENT;
	uint64_t at = import_chunk_at(s, chunk, &bytes);
	uint8_t *buf = malloc(bytes);
	int rc = buf ? import_read(s, at, buf, bytes) : -ENOMEM;
	/* Checked after reading, so that any earlier change is noticed.  If the file was merely touched, or
	 * rewritten with the same bytes, the hash still matches. */
	if (rc == 0 && gguf_unchanged(im->g) < 0) {
		struct content_id have = content_hash(buf, bytes);
		rc = content_equal(&have, &s->record.chunk[chunk]) ? 0 : -ESTALE;
	}
	if (rc < 0) {
		bool changed = rc == -ENODATA || rc == -ESTALE;
		snprintf(err, errlen, "%s: %s", im->name,
		        changed ? "the file has changed since it was hashed" : strerror(-rc));
		free(buf);
		return changed ? -ESTALE : rc;
	}
	*data = buf;
	*len = bytes;
	return 0;
}
