/* transfer: moves content between nodes: weights, manifests, vocabularies.  The node that needs it always pulls.
 *
 * Owns: the answers to Fetch (from the store and from source files), fetches and their blocks in flight, and the count of bytes
 * moved.  Data is not used before its hash has been checked: a source that sends wrong data, or stops responding, is dropped and
 * named in the log.  Several sources are asked at once.  A fetch passes on what it has while the rest is on its way.
 * Flow control: a fetch asks for blocks of WIRE_BLOCK_MAX, and all fetches together for at most TRANSFER_IN_FLIGHT bytes per
 * node, so that answers do not wait long in a queue.  At most TRANSFER_CHUNKS chunks of a fetch are in memory, including those
 * that the executor has not written yet, so a slow disk slows down requests.
 * Threads: the loop.  Disk and hashing run on the executor.  Reading for other nodes runs on an executor of its own, so that
 * hashing a model for minutes does not delay it. */
#ifndef DAEMON_TRANSFER_TRANSFER_H
#define DAEMON_TRANSFER_TRANSFER_H
#include "daemon/core/executor.h"
#include "daemon/members/members.h"
#include "shard/import/import.h"
#include "shard/store/store.h"

#define TRANSFER_IN_FLIGHT (1u << 20)
#define TRANSFER_CHUNKS 8
#define TRANSFER_SPARE (64u << 20)     /* bytes per second, over all fetches that nobody waits for */
#define TRANSFER_SPARE_BUSY (5u << 19) /* the same while steps are being computed */
#define TRANSFER_SILENT_MS 10000       /* a source that sends no block for this long is given up */

struct transfer;
struct fetch;

/* All borrowed.  Destroy after the executor: its last jobs refer to fetches. */
int transfer_create(
        struct transfer **out, struct loop *l, struct members *m, struct executor *e, struct store *s);
void transfer_destroy(struct transfer *t); /* NULL allowed */
/* Sets the callback that says whether steps are being computed; without one, this node never counts as
 * busy. */
void transfer_yields(struct transfer *t, bool (*busy)(void *arg), void *arg);

/* Makes a model file that is being loaded a source, for others and for this node.  0: takes ownership of im,
 * which is closed when it has been removed and nothing reads it any more. */
int transfer_add_source(struct transfer *t, struct import *im);
void transfer_remove_source(struct transfer *t, struct import *im);

/* Adds a directory with the user's model files, which are sources too, for this node and for others.  Call
 * once. */
int transfer_add_model_dir(struct transfer *t, const char *dir);
/* Whether one of them is this model. */
bool transfer_has_file(const struct transfer *t, const struct content_id *manifest);
const char *transfer_file_path(
        const struct transfer *t, const struct content_id *manifest); /* its path; NULL: none is */

struct transfer_request {
	const char *subject;           /* what it is for, in messages: "model stories" */
	const struct content_id *blob; /* wanted content; the arrays and strings are copied */
	size_t blobs;
	const struct manifest_tensor *tensor; /* may have duplicates */
	size_t tensors;
	const struct node_id
	        *source; /* nodes to ask; those that lack something are skipped, and so is this node */
	size_t sources;
	uint32_t silent_ms; /* 0: TRANSFER_SILENT_MS */
	bool spare; /* nobody waits for it: limited to TRANSFER_SPARE bytes per second, and less while busy */
	bool alone; /* other nodes are not redirected here while it is under way */
	/* what: "fetching" over the network, "packing" from a file here */
	void (*progress)(void *arg, const char *what, uint64_t done, uint64_t total); /* NULL allowed */
	/* Called once, never inside transfer_fetch: everything is in the store, or error says what is missing
	 * and which nodes failed. */
	void (*done)(void *arg, const char *error, uint64_t moved);
	void *arg;
};
/* *out is valid until done is called or transfer_cancel. */
int transfer_fetch(struct transfer *t, const struct transfer_request *r, struct fetch **out);
void transfer_cancel(struct fetch *f); /* NULL allowed; done is not called */

/* The executor that reads for other nodes, in short jobs. */
struct executor *transfer_reader(struct transfer *t);

/* Bytes of content received and sent over the network since the start. */
uint64_t transfer_moved(const struct transfer *t);
uint64_t transfer_served(const struct transfer *t);

#endif
