/* fetch: a fetch and its parts, shared by fetch.c (its life), fetch_sources.c (which node is asked) and
 * fetch_chunks.c (its work); not for others. */
#ifndef DAEMON_TRANSFER_FETCH_H
#define DAEMON_TRANSFER_FETCH_H
#include "daemon/transfer/transfer_internal.h"

#define RECORD_MAX (16u << 20) /* bytes of a tensor's record */

#define NOBODY SIZE_MAX /* no source */

struct source {
	struct node_id id;
	char name[WIRE_NAME_MAX + 1];
	char why[256];        /* why it was given up; empty: it was not */
	char last_error[256]; /* its last refusal */
	uint64_t heard_ns;    /* when it last answered, or nothing was requested from it */
	unsigned late;        /* chunks that it did not deliver in time after a redirect to it */
};

enum item_state { ITEM_WANTED, ITEM_OPENING, ITEM_CHUNKS, ITEM_CLOSING, ITEM_DONE };

struct item {
	struct content_id id;
	bool tensor;
	uint64_t bytes; /* expected, for progress; 0: unknown (blobs) */
	enum item_state state;
	struct source_file *file; /* held while open: packed from this file */
	bool *lacks;              /* by source: whether it has refused the item.  NULL: none has */
	struct content_tensor record;
	struct store_writer *writer;
	bool put_off;           /* a chunk of our file waits for the rate limit */
	bool readable;          /* written chunks can be read before the tensor is complete */
	bool *have;             /* by chunk: checked and written */
	uint32_t next, written; /* chunks: begun (including those that were there), written */
	uint32_t first;         /* the chunk to begin with, a different one at each node */
};

struct chunk {
	struct item *item;
	bool is_data;   /* a chunk of a tensor's data; else a blob, or a tensor's record */
	uint32_t index; /* of the chunk in its tensor */
	uint8_t *data;
	uint64_t total, asked, got; /* total 0: unknown yet */
	size_t source;              /* NOBODY: not chosen yet */
	bool named;        /* its source was chosen by a redirect, and has just been given this chunk */
	bool insist;       /* do not redirect */
	bool whole;        /* at the executor */
	uint64_t since_ns; /* when its source was chosen, or last sent a block */
	TAILQ_ENTRY(chunk) next;
};

struct block {
	uint64_t ref;
	struct fetch *f;
	struct chunk *chunk;
	struct in_flight *at;
	uint64_t offset;
	uint32_t length;
	LIST_ENTRY(block) next;
};

enum work_kind { WORK_CHECK, WORK_BLOB, WORK_OPEN, WORK_CHUNK, WORK_COMMIT, WORK_REAP };

/* A job of the executor for a fetch. */
struct work {
	enum work_kind kind;
	struct fetch *f;
	struct item *item;
	struct chunk *chunk; /* NULL: from the item's source file */
	uint32_t index;      /* of the chunk in its tensor */
	bool spoiled;        /* it failed because of the item's source file */
	int rc;
	char err[256];
};

struct fetch {
	struct transfer *t;
	char *subject;
	struct item *items;
	size_t nitems, next_item, open;
	struct source *sources;
	size_t nsources, given;     /* sources of the request come first, then those from redirects */
	TAILQ_HEAD(, chunk) chunks; /* oldest first */
	size_t nchunks;
	unsigned work; /* jobs at the executor */
	bool checked, ended, notified;
	bool reaping;      /* no more jobs are submitted: freed when the executor has returned all of them */
	bool blocked;      /* the last send found no link, or a full queue */
	bool spare, alone; /* as in the request */
	uint32_t silent_ms;
	uint64_t done, total, moved;
	char file_error[300]; /* why a file of ours was given up; empty: none was */
	char error[1024];
	void (*on_progress)(void *arg, const char *what, uint64_t done, uint64_t total);
	void (*on_done)(void *arg, const char *error, uint64_t moved);
	void *arg;
	struct loop_timer *tick;
	TAILQ_ENTRY(fetch) next;
};

/* fetch_sources.c */
int fetch_add_sources(struct fetch *f, const struct transfer_request *r); /* 0 or -ENOMEM */
/* Finds a source for a chunk that has none.  SOURCE_AWAY: those that may have it have no link; SOURCE_BUSY:
 * they have enough requests; SOURCE_NONE if none. */
enum source_found { SOURCE_FOUND, SOURCE_BUSY, SOURCE_AWAY, SOURCE_NONE };
enum source_found fetch_choose_source(struct fetch *f, struct chunk *p);
void fetch_drop_source(
        struct fetch *f, size_t source, const char *why); /* gives it up for this fetch, and logs that */
void fetch_source_refused(struct fetch *f, struct chunk *p, const char *reason);
void fetch_source_hint(
        struct fetch *f, struct chunk *p, const struct node_id *node); /* it was redirected there */
void fetch_source_lost(struct fetch *f, const struct node_id *node);   /* the link was lost */
void fetch_sources_tick(struct fetch *f);
/* What happened to each source, for a message. */
void fetch_describe_sources(const struct fetch *f, char *out, size_t len);

/* fetch_chunks.c */
struct in_flight *transfer_in_flight_at(struct transfer *t, const struct node_id *node); /* NULL: no memory */
/* Whether this many bytes that nobody waits for may be moved now. */
bool transfer_take_spare(struct transfer *t, uint64_t bytes);
bool transfer_in_flight_full(const struct in_flight *l, uint32_t more);
void fetch_work(void *arg); /* executor: a struct work */
void fetch_drop_block(struct block *p);
struct block *fetch_find_block(
        struct transfer *t, const struct peers_from *from); /* NULL: not ours, or forgotten */
/* Drops the blocks in flight of a chunk (NULL: of the whole fetch). */
void fetch_forget_blocks(struct fetch *f, const struct chunk *only);
/* Requests the next block of a chunk that has a source.  0, -EBUSY when enough is in flight at its node, or
 * as peers_send. */
int fetch_request_chunk(struct fetch *f, struct chunk *p);
bool fetch_add_chunk(struct fetch *f, struct item *it, bool is_data, uint32_t chunk); /* false: no memory */
void fetch_restart_chunk(struct fetch *f, struct chunk *p); /* begins again, from a source yet to be chosen */
/* Whether more of it can be requested now. */
bool fetch_chunk_wants(const struct fetch *f, const struct chunk *p);
void fetch_free_chunk(struct fetch *f, struct chunk *p);
void fetch_clear_item(struct transfer *t, struct item *it);

#endif
