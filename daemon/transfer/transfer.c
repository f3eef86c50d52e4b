/* transfer: making it, and the files that are sources.
 * Threads: the loop. */
#include "daemon/transfer/transfer_internal.h"

#include <errno.h>
#include <stdlib.h>

/* ---- sources here ---- */

struct offer *offer_ref(struct offer *o) {
	o->refs++;
	return o;
}

void offer_unref(struct transfer *t, struct offer *o) {
	if (!o || --o->refs)
		return;
	for (struct offer **p = &t->offers; *p; p = &(*p)->next)
		if (*p == o) {
			*p = o->next;
			break;
		}
	import_close(o->im);
	free(o);
}

int transfer_offer(struct transfer *t, struct import *im) {
	struct offer *o = calloc(1, sizeof *o);
	if (!o)
		return -ENOMEM;
	o->im = im;
	o->refs = 1;
	o->next = t->offers;
	t->offers = o;
	return 0;
}

void transfer_withdraw(struct transfer *t, struct import *im) {
	for (struct offer *o = t->offers; o; o = o->next)
		if (o->im == im && !o->withdrawn) {
			o->withdrawn = true;
			offer_unref(t, o);
			return;
		}
}

struct offer *offer_with(const struct transfer *t, const struct content_id *id, bool tensor) {
	for (struct offer *o = t->offers; o; o = o->next) {
		size_t len;
		if (!o->withdrawn &&
		        (tensor ? (const void *)import_tensor(o->im, id) : import_blob(o->im, id, &len)))
			return o;
	}
	return NULL;
}

void transfer_found(struct transfer *t) {
	fetch_found(t);
	serve_found(t);
}

int transfer_create(
        struct transfer **out, struct loop *l, struct members *m, struct executor *ld, struct store *s) {
	struct transfer *t = calloc(1, sizeof *t);
	if (!t)
		return -ENOMEM;
	t->loop = l;
	t->members = m;
	t->peers = members_peers(m);
	t->executor = ld;
	t->store = s;
	int rc = serve_init(t);
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
	serve_clear(t);
	folder_destroy(t->folder);
	fetch_clear(t);
	while (t->offers) { /* whatever was not withdrawn */
		t->offers->refs = 1;
		offer_unref(t, t->offers);
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
