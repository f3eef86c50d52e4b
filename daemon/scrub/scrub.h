/* scrub: keeps this node's store sound, and within its bounds.
 *
 * At the start the head, record and length of every tensor are looked at; then, at a bounded rate, the contents of all
 * files are hashed, and again every day.  What is not what its name says is named in the log and dropped.  It is fetched
 * again from whoever has it.  A tensor in use is not computed from in the meantime (slice_check: steps fail with a sentence
 * that names it), and goes on with the new file where it was mapped.  Several daemons may share a store: what one of them
 * drops, the others notice.
 * Owns: its thread, what it found, the fetches for that.  Borrows everything else.
 * Threads: hashing on its own; the rest is the loop's. */
#ifndef DAEMON_SCRUB_SCRUB_H
#define DAEMON_SCRUB_SCRUB_H
#include "daemon/core/executor.h"
#include "daemon/members/members.h"
#include "daemon/transfer/transfer.h"

#define SCRUB_RATE (32u << 20) /* bytes a second */
#define SCRUB_AGAIN_MS 10000   /* between attempts to fetch what is in use */

struct manifest;
struct scrub_config {
	struct loop *loop;
	struct members *members;
	struct executor *executor;
	struct transfer *transfer;
	struct store *store;
	uint64_t cache; /* bytes that the store may take; 0: as many as the disk has */
	uint64_t rate;  /* bytes a second; 0: SCRUB_RATE */
	/* Manifests of the models that the cluster knows, NULL past the end: what they need goes last. */
	const struct manifest *(*model)(void *arg, size_t i);
	void *arg;
};

struct scrub;
int scrub_create(struct scrub **out, const struct scrub_config *c, char *err, size_t errlen);
/* The models that the cluster knows, or their manifests, are others than before: looks anew what they need. */
void scrub_models_changed(struct scrub *m);
/* After the executor, before the transfer. NULL allowed. */
void scrub_destroy(struct scrub *m);

#endif
