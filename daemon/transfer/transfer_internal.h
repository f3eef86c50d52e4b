/* What the files of transfer share; nobody else includes it.
 *   transfer.c         making it, the files that are sources
 *   transfer_folder.c  the user's own model files, which are sources when something in them is wanted
 *   transfer_serve.c   the side that serves other nodes
 *   transfer_fetch.c   the side that pulls: the life of a fetch
 *   transfer_source.c  whom a fetch asks for what
 *   transfer_parcel.c  the hands of a fetch: the executor's work, pieces in flight, parcels */
#ifndef DAEMON_TRANSFER_TRANSFER_INTERNAL_H
#define DAEMON_TRANSFER_TRANSFER_INTERNAL_H
#include "daemon/transfer/transfer.h"

/* A model file that is a source: counted, since jobs on other threads read from it. Counts change on the loop. */
struct offer {
	struct import *im;
	unsigned refs;
	bool withdrawn;
	bool spoiled; /* something in it is not what its name promises any more: what we need comes from elsewhere */
	struct offer *next;
};

/* Pieces in flight at one node. */
struct lane {
	struct node_id node;
	uint32_t flight; /* bytes */
	unsigned pieces;
	struct lane *next;
};

struct piece;

/* An unpacked chunk or a blob, kept for the next pieces of it.  Only the reader's thread touches it. */
#define KEPT_MAX 12
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
	struct executor *executor;
	struct store *store;
	bool (*busy_fn)(void *arg); /* NULL: never */
	void *busy_arg;
	struct executor *reader; /* serves others */
	struct offer *offers;
	struct folder *folder; /* NULL: there is none */
	/* serving */
	struct serving *serving; /* requests at the reader, and those that wait */
	struct handed *handed;   /* NULL: nothing has been given yet */
	struct kept kept[KEPT_MAX];
	uint64_t uses;
	uint64_t served;
	struct loop_timer *later; /* requests that may wait do */
	/* fetching */
	struct fetch *fetches;
	struct piece *pieces;
	struct lane *lanes;
	uint64_t moved;
	uint64_t spare_ns; /* when the allowance of what nobody waits for was last made, */
	uint64_t spare;    /* and what is left of it: bytes */
};

bool transfer_busy(const struct transfer *t);

struct offer *offer_ref(struct offer *o);
void offer_unref(struct transfer *t, struct offer *o);
/* The file being loaded here that has this tensor or blob; NULL: none.  Borrowed. */
struct offer *offer_with(const struct transfer *t, const struct content_id *id, bool tensor);

/* Whether a fetch of ours is at a tensor's record or chunk: what has been checked and written can be passed on. */
enum fetch_has { FETCH_HAS_NOT, FETCH_WILL_HAVE, FETCH_HAS };
enum fetch_has fetch_has(const struct transfer *t, const struct content_id *id, bool tensor, uint32_t chunk);
/* Something of a tensor's has come, or will not: who waits for it goes on. */
void serve_again(struct transfer *t, const struct content_id *id);

/* Whether a file of the folder is being opened that has it: who wants it then hears of it by transfer_found. */
bool folder_opens(struct transfer *t, const struct content_id *id, bool tensor);
void folder_used(struct transfer *t, const struct import *im); /* something of it was wanted */
void folder_spoiled(
        struct transfer *t, const struct import *im); /* it is not used until it has been looked at again */
void folder_destroy(struct folder *fo);               /* NULL allowed */
/* A file has been opened, or could not be. */
void transfer_found(struct transfer *t);
void fetch_found(struct transfer *t);
void serve_found(struct transfer *t);

int serve_init(struct transfer *t);
void serve_clear(struct transfer *t);
int fetch_init(struct transfer *t);
void fetch_clear(struct transfer *t);

#endif
