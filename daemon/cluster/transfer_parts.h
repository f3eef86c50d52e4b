/* What the two sides of transfer share; nobody else includes it. */
#ifndef DAEMON_CLUSTER_TRANSFER_PARTS_H
#define DAEMON_CLUSTER_TRANSFER_PARTS_H
#include "daemon/cluster/transfer.h"

/* A model file that is a source: counted, since jobs on other threads read from it. Counts change on the loop. */
struct offer {
	struct import *im;
	unsigned refs;
	bool withdrawn;
	struct offer *next;
};

/* Pieces in flight at one node. */
struct lane {
	struct node_id node;
	uint32_t flight; /* bytes */
	struct lane *next;
};

struct piece;

/* An unpacked chunk or a blob, kept for the next pieces of it.  Only the reader's thread touches it. */
#define KEPT_MAX 8
struct kept {
	struct content_id id;
	bool tensor;
	uint32_t chunk;
	uint8_t *data; /* owned; NULL: free */
	size_t len;
	uint64_t used;
};

struct transfer {
	struct loop *loop; /* borrowed, as the next four */
	struct members *members;
	struct peers *peers;
	struct loader *loader;
	struct store *store;
	struct loader *reader; /* serves others */
	struct offer *offers;
	/* serving */
	struct serving *serving; /* requests at the reader */
	struct kept kept[KEPT_MAX];
	uint64_t uses;
	uint64_t served;
	/* fetching */
	struct fetch *fetches;
	struct piece *pieces;
	struct lane *lanes;
	uint64_t moved;
};

struct offer *offer_ref(struct offer *o);
void offer_unref(struct transfer *t, struct offer *o);
/* The file being loaded here that has this tensor or blob; NULL: none.  Borrowed. */
struct offer *offer_with(const struct transfer *t, const struct content_id *id, bool tensor);

int serve_init(struct transfer *t);
void serve_clear(struct transfer *t);
int fetch_init(struct transfer *t);
void fetch_clear(struct transfer *t);

#endif
