/* transfer: creates and destroys it, and keeps the source files.
 * Threads: the loop. */
#include "daemon/transfer/transfer_internal.h"

#include <errno.h>
#include <stdlib.h>

/* ---- sources here ---- */

struct source_file *source_file_ref(struct source_file *o) {
	o->refs++;
	return o;
}

void source_file_unref(struct transfer *t, struct source_file *o) {
	if (!o || --o->refs)
		return;
	LIST_REMOVE(o, next);
	import_close(o->im);
	free(o);
}

int transfer_add_source(struct transfer *t, struct import *im) {
	struct source_file *o = calloc(1, sizeof *o);
	if (!o)
		return -ENOMEM;
	o->im = im;
	o->number = ++t->source_files_ever;
	o->refs = 1;
	LIST_INSERT_HEAD(&t->source_files, o, next);
	return 0;
}

void transfer_remove_source(struct transfer *t, struct import *im) {
	for (struct source_file *o = LIST_FIRST(&t->source_files); o; o = LIST_NEXT(o, next))
		if (o->im == im && !o->withdrawn) {
			o->withdrawn = true;
			source_file_unref(t, o);
			return;
		}
}

struct source_file *source_file_find(const struct transfer *t, const struct content_id *id, bool tensor) {
	for (struct source_file *o = LIST_FIRST(&t->source_files); o; o = LIST_NEXT(o, next)) {
		size_t len;
		if (!o->withdrawn && !o->spoiled &&
		        (tensor ? (const void *)import_tensor(o->im, id) : import_blob(o->im, id, &len)))
			return o;
	}
	return NULL;
}

void transfer_file_opened(struct transfer *t) {
	fetch_file_opened(t);
	serving_file_opened(t);
}

int transfer_create(
        struct transfer **out, struct loop *l, struct members *m, struct executor *e, struct store *s) {
	struct transfer *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->loop = l;
	t->members = m;
	t->peers = members_peers(m);
	t->executor = e;
	t->store = s;
	int rc = serving_init(t);
	if (rc == 0)
		rc = fetch_init(t);
	if (rc) {
		transfer_destroy(t);
		return rc;
	}
	*out = t;
	return 0;
}

void transfer_destroy(struct transfer *t) {
	if (!t)
		return;
	serving_clear(t);
	model_dir_destroy(t->model_dir);
	fetch_clear(t);
	while (!LIST_EMPTY(&t->source_files)) { /* those that were not removed */
		struct source_file *o = LIST_FIRST(&t->source_files);
		o->refs = 1;
		source_file_unref(t, o);
	}
	free(t);
}

void transfer_yields(struct transfer *t, bool (*busy)(void *arg), void *arg) {
	t->busy_fn = busy;
	t->busy_arg = arg;
}

bool transfer_busy(const struct transfer *t) {
	return t->busy_fn && t->busy_fn(t->busy_arg);
}

struct executor *transfer_reader(struct transfer *t) {
	return t->reader;
}

uint64_t transfer_moved(const struct transfer *t) {
	return t->moved;
}

uint64_t transfer_served(const struct transfer *t) {
	return t->served;
}
