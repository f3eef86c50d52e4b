/* transfer_internal: shared by the files of transfer; not for others.
 *   transfer.c       creates and destroys it, and keeps the source files
 *   model_dir.c      the user's own model files, which are sources when something in them is wanted
 *   serve_content.c  the side that serves other nodes
 *   fetch.c          the side that pulls: the life of a fetch
 *   fetch_sources.c  which node a fetch asks for what
 *   fetch_chunks.c   the work of a fetch at the executor, blocks in flight, chunks */
#ifndef DAEMON_TRANSFER_TRANSFER_INTERNAL_H
#define DAEMON_TRANSFER_TRANSFER_INTERNAL_H
#include "daemon/transfer/transfer.h"

#include <sys/queue.h>

/* A model file that is a source: reference-counted, since jobs on other threads read from it.  Counts change
 * on the loop. */
struct source_file {
	struct import *im;
	uint64_t number; /* unique, never reused; from 1 */
	unsigned refs;
	bool withdrawn;
	bool spoiled; /* its content does not match its hashes any more: use another source */
	LIST_ENTRY(source_file) next;
};

/* Blocks in flight at one node. */
struct in_flight {
	struct node_id node;
	uint32_t bytes; /* bytes */
	unsigned blocks;
	LIST_ENTRY(in_flight) next;
};

struct block;

/* An unpacked chunk or a blob, kept for its next blocks.  Only the reader's thread uses it. */
#define READ_CACHE_MAX 12
struct read_cache {
	struct content_id id;
	bool tensor;
	uint32_t chunk;
	uint64_t file; /* number of the source file it came from; 0: none.  Invalid once that is spoiled */
	uint8_t *data; /* owned; NULL: free */
	size_t len;
	uint64_t used;
};

struct transfer {
	struct loop *loop; /* borrowed, like the next four */
	struct members *members;
	struct peers *peers;
	struct executor *executor;
	struct store *store;
	bool (*busy_fn)(void *arg); /* NULL: never busy */
	void *busy_arg;
	struct executor *reader; /* serves others */
	LIST_HEAD(, source_file) source_files;
	uint64_t source_files_ever;
	struct model_dir *model_dir; /* NULL if none */
	/* serving */
	LIST_HEAD(, serving) serving; /* requests at the reader, and those that wait */
	struct given *given;          /* NULL: nothing has been given yet */
	struct read_cache read_cache[READ_CACHE_MAX];
	uint64_t uses;
	uint64_t served;
	struct loop_timer *later; /* resumes deferred requests */
	/* fetching */
	TAILQ_HEAD(, fetch) fetches; /* blocks are requested in this order */
	LIST_HEAD(, block) blocks;
	LIST_HEAD(, in_flight) in_flight;
	uint64_t moved;
	uint64_t spare_ns; /* start of the current allowance for fetches that nobody waits for, */
	uint64_t spare;    /* and what is left of it: bytes */
};

bool transfer_busy(const struct transfer *t);

struct source_file *source_file_ref(struct source_file *o);
void source_file_unref(struct transfer *t, struct source_file *o);
/* A source file that has this tensor or blob and is neither removed nor spoiled; NULL: none.  Borrowed. */
struct source_file *source_file_find(const struct transfer *t, const struct content_id *id, bool tensor);

/* Whether a fetch of ours has a tensor's record or chunk, or will have it: what has been checked and written
 * can be served. */
enum fetch_has { FETCH_HAS_NOT, FETCH_WILL_HAVE, FETCH_HAS };
enum fetch_has fetch_has(const struct transfer *t, const struct content_id *id, bool tensor, uint32_t chunk);
/* Part of a tensor has arrived, or will not: resumes requests that wait for it. */
void serving_resume_content(struct transfer *t, const struct content_id *id);

/* Whether a file of the directory that has it is being opened; transfer_file_opened is called when that is
 * done. */
bool model_dir_opens(struct transfer *t, const struct content_id *id, bool tensor);
void model_dir_used(struct transfer *t, const struct import *im); /* something in it was requested */
void model_dir_spoiled(
        struct transfer *t, const struct import *im); /* not used until it has been scanned again */
void model_dir_destroy(struct model_dir *fo);         /* NULL allowed */
/* A file has been opened, or could not be. */
void transfer_file_opened(struct transfer *t);
void fetch_file_opened(struct transfer *t);
void serving_file_opened(struct transfer *t);

int serving_init(struct transfer *t);
void serving_clear(struct transfer *t);
int fetch_init(struct transfer *t);
void fetch_clear(struct transfer *t);

#endif
