/* slice: see slice.h. */
#include "shard/forward/slice.h"
#include "common/fail.h"
#include "proto/descriptors.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const io_name[IO_ROLES] = {"embedding", "output_norm", "output"};

/* Opens a tensor, or finds it among the open ones, and maps it unless it is streamed; what: its name in
 * messages. */
static int slice_map(struct slice *sl, struct store *s, const struct manifest_tensor *mt, bool from_disk,
        const char *what, const struct store_tensor **out, char *err, size_t errlen) {
	struct store_tensor *t = NULL;
	for (size_t i = 0; i < sl->nmaps && !t; i++)
		if (content_equal(&sl->maps[i]->record.id, &mt->id))
			t = sl->maps[i];
	if (!t) {
		char why[256] = "";
		int rc = store_open_tensor(s, &mt->id, &t, why, sizeof why);
		if (rc == -ENOENT)
			snprintf(err, errlen, "%s: the store does not have it", what);
		else if (rc)
			snprintf(err, errlen, "%s: %s", what, why);
		if (rc)
			return rc;
		store_touch_tensor(t);
		sl->maps[sl->nmaps++] = t;
	}
	if (t->record.parts != mt->parts)
		return fail_with(-EBADMSG, err, errlen, "%s: its record has %ju parts, the manifest %ju",
		        what, (uintmax_t)t->record.parts, (uintmax_t)mt->parts);
	if (t->record.type != mt->type || t->record.n != mt->n || t->record.rows != mt->rows)
		return fail_with(-EBADMSG, err, errlen,
		        "%s: the record says %s %ju x %ju, the manifest %s %ju x %ju", what,
		        kern_traits(t->record.type)->name, (uintmax_t)t->record.rows, (uintmax_t)t->record.n,
		        kern_traits(mt->type)->name, (uintmax_t)mt->rows, (uintmax_t)mt->n);
	/* several layers may share a tensor */
	bool streamed = from_disk || t->streamed;
	int rc = from_disk ? store_open_descriptor(s, t) : store_map_opened(t);
	t->streamed = streamed;
	if (!streamed)
		store_close_descriptor(t);
	if (rc)
		snprintf(err, errlen, "%s: %s", what, descriptors_strerror(-rc).s);
	*out = t;
	return rc;
}

static enum weight_group slice_group_of(enum layer_role role) {
	return role == LAYER_OUT                        ? WEIGHTS_OUT
	       : role == LAYER_GATE || role == LAYER_UP ? WEIGHTS_UP
	       : role == LAYER_DOWN                     ? WEIGHTS_DOWN
	       : role <= LAYER_V                        ? WEIGHTS_QKV
	                                                : WEIGHT_GROUPS;
}

/* Whether a layer's tensor is read from disk. */
static bool slice_from_disk(
        const struct weight_stream_plan *p, const struct manifest_tensor *t, uint32_t layer) {
	enum layer_role r = (enum layer_role)t->role;
	if (t->parts > 1)
		return p->cache;
	return p->streamed && !manifest_layer_is_vector(r) && p->streamed[layer] >> slice_group_of(r) & 1;
}

static int slice_make_cache(
        struct slice *s, uint32_t layers, uint64_t memory, bool direct, char *err, size_t errlen) {
	struct expert_layer *layer = calloc(layers, sizeof *layer);
	if (!layer)
		return -ENOMEM;
	for (uint32_t l = 0; l < layers; l++)
		layer[l] = (struct expert_layer){{s->layer[l][LAYER_EXPERT_GATE],
		        s->layer[l][LAYER_EXPERT_UP], s->layer[l][LAYER_EXPERT_DOWN]}};
	int rc = expert_cache_create(&s->experts, layer, layers, memory, direct, err, errlen);
	free(layer);
	return rc;
}

int slice_create(struct slice **out, struct store *s, const struct manifest *m, uint32_t first, uint32_t last,
        bool io, uint64_t memory_limit, char *err, size_t errlen) {
	struct weight_stream_plan plan = {0};
	if (first > last || last > m->hp.layers || (first == last && !io))
		return fail_with(-EINVAL, err, errlen, "no slice [%u, %u) in a model of %u layers", first,
		        last, m->hp.layers);
	size_t layers = last - first;
	int rc = -ENOMEM;
	struct slice *sl = calloc(1, sizeof *sl);
	if (!sl)
		goto error;
	*sl = (struct slice){.manifest = m, .first = first, .last = last};
	sl->maps = calloc(layers * LAYER_ROLES + IO_ROLES, sizeof *sl->maps);
	if (layers)
		sl->layer = calloc(layers, sizeof *sl->layer);
	if (!sl->maps || (layers && !sl->layer))
		goto error;
	if (memory_limit && layers &&
	        (rc = weight_stream_plan(&plan, m, first, last, memory_limit)) == -ENOSPC)
		snprintf(err, errlen,
		        "layers %u to %u: there is not enough memory even to read them from disk", first,
		        last - 1);
	if (memory_limit && rc)
		goto error;
	for (uint32_t l = 0; l < layers; l++)
		for (uint32_t i = m->at[first + l]; i < m->at[first + l + 1]; i++) {
			enum layer_role r = (enum layer_role)m->tensor[i].role;
			char what[64];
			snprintf(what, sizeof what, "layer %u, %s", first + l, manifest_layer_tensor_name(r));
			rc = slice_map(sl, s, &m->tensor[i], slice_from_disk(&plan, &m->tensor[i], l), what,
			        &sl->layer[l][r], err, errlen);
			if (rc)
				goto error;
		}
	for (int r = 0; io && r < IO_ROLES; r++) {
		rc = slice_map(sl, s, &m->io[r], false, io_name[r], &sl->io[r], err, errlen);
		if (rc)
			goto error;
	}
	if (plan.streamed) {
		rc = weight_stream_create(&sl->stream, &plan, first, (uint32_t)layers,
		        (const struct store_tensor *const(*)[LAYER_ROLES])sl->layer, true, err, errlen);
		if (rc)
			goto error;
	}
	if (plan.cache) {
		rc = slice_make_cache(sl, (uint32_t)layers, plan.cache, true, err, errlen);
		if (rc)
			goto error;
	}
	sl->step = plan.step;
	weight_stream_plan_clear(&plan);
	*out = sl;
	return 0;
error:
	weight_stream_plan_clear(&plan);
	if (rc == -ENOMEM)
		snprintf(err, errlen, "slice [%u, %u): out of memory", first, last);
	slice_destroy(sl);
	return rc;
}

int slice_copy(struct slice *sl, struct store *s) {
	return weight_copy_start(&sl->copy, s, sl->maps, sl->nmaps);
}

void slice_destroy(struct slice *s) {
	if (!s)
		return;
	int saved = errno;
	weight_copy_stop(s->copy);
	weight_stream_destroy(s->stream);
	expert_cache_destroy(s->experts);
	for (size_t i = 0; i < s->nmaps; i++)
		store_unmap_tensor(s->maps[i]);
	free(s->maps);
	free(s->layer);
	free(s);
	errno = saved;
}

static void slice_tensor_name(const struct slice *s, const struct store_tensor *t, char out[SLICE_NAME]) {
	const size_t len = SLICE_NAME;
	snprintf(out, len, "a tensor");
	for (uint32_t l = 0; l < s->last - s->first; l++)
		for (int r = 0; r < LAYER_ROLES; r++)
			if (s->layer[l][r] == t)
				snprintf(out, len, "layer %u, %s", s->first + l,
				        manifest_layer_tensor_name((enum layer_role)r));
	for (int r = 0; r < IO_ROLES; r++)
		if (s->io[r] == t)
			snprintf(out, len, "%s", io_name[r]);
}

bool slice_is_damaged(const struct slice *s, char name[SLICE_NAME]) {
	for (size_t i = 0; i < s->nmaps; i++)
		if (store_tensor_damaged(s->maps[i])) {
			slice_tensor_name(s, s->maps[i], name);
			return true;
		}
	return false;
}

int slice_check(const struct slice *s, uint64_t *renewed, char *err, size_t errlen) {
	char name[SLICE_NAME];
	uint64_t sum = 0;
	if (slice_is_damaged(s, name))
		return fail_with(-EIO, err, errlen,
		        "%s: damaged on disk, and not used until it has been fetched again", name);
	/* afterwards, so that one that is renewed meanwhile is not missed */
	for (size_t i = 0; i < s->nmaps; i++)
		sum += store_tensor_renewed(s->maps[i]);
	if (*renewed != SLICE_BEFORE && *renewed != sum)
		return fail_with(
		        -EIO, err, errlen, "a tensor was damaged on disk, and has been fetched again");
	*renewed = sum;
	return 0;
}

uint64_t slice_bytes(const struct slice *s) {
	uint64_t bytes = 0;
	for (uint32_t l = 0; l < s->last - s->first; l++)
		for (int r = 0; r < LAYER_ROLES; r++)
			bytes += s->layer[l][r] ? s->layer[l][r]->packed_bytes : 0;
	for (int r = 0; r < IO_ROLES && s->io[r]; r++)
		if (r != IO_HEAD || s->io[r] != s->io[IO_EMBED]) /* a tied head is the embedding */
			bytes += s->io[r]->packed_bytes;
	return bytes;
}

static uint64_t slice_expert_bytes(const struct slice *s) {
	uint64_t bytes = 0;
	for (uint32_t l = 0; l < s->last - s->first; l++)
		for (int r = LAYER_EXPERT_GATE; r <= LAYER_EXPERT_DOWN; r++)
			bytes += s->layer[l][r] ? s->layer[l][r]->packed_bytes : 0;
	return bytes;
}

bool slice_reading(const struct slice *s, struct slice_reading *out) {
	*out = (struct slice_reading){.resident = slice_bytes(s), .step = s->step};
	if (s->stream) {
		struct weight_stream_stats stats;
		weight_stream_stats(s->stream, &stats);
		out->resident += stats.buffers - stats.step;
		out->read = stats.read;
		out->read_seconds = stats.read_seconds;
		out->wait_seconds = stats.wait_seconds;
		out->direct = stats.direct;
	} else if (s->experts) {
		struct expert_cache_stats stats;
		expert_cache_stats(s->experts, &stats);
		out->resident += stats.bytes - slice_expert_bytes(s);
		out->read = stats.read;
		out->read_seconds = stats.read_seconds;
		out->wait_seconds = stats.wait_seconds;
		out->direct = stats.direct;
		out->slots = stats.slots;
		out->hits = stats.hits;
		out->misses = stats.misses;
	}
	return s->stream || s->experts;
}
