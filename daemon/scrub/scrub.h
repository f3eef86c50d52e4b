/* scrub: keeps this node's store intact and within its limit.
 *
 * At start the head, record and length of every tensor are checked.  Then the content of all files is hashed at a
 * bounded rate, once a day.  Corrupt data is named in the log, dropped, and fetched again from another node that
 * has it.  A corrupt tensor in use is not computed with meanwhile (slice_check: steps fail with a sentence that
 * names it); once fetched, the new file takes the place of the mapped one.  Several daemons may share a store:
 * what one of them drops, the others notice.
 * Owns: its thread, its findings, and the fetches for them.  Borrows everything else.
 * Threads: hashing on its own; the rest is the loop's. */
#ifndef DAEMON_SCRUB_SCRUB_H
#define DAEMON_SCRUB_SCRUB_H
#include "daemon/core/executor.h"
#include "daemon/members/members.h"
#include "daemon/transfer/transfer.h"

#define SCRUB_RATE (32u << 20) /* bytes per second */
#define SCRUB_AGAIN_MS 10000   /* between attempts to fetch a tensor in use */

struct manifest;
struct scrub_config {
	struct loop *loop;
	struct members *members;
	struct executor *executor;
	struct transfer *transfer;
	struct store *store;
	uint64_t cache; /* limit of the store in bytes; 0: the disk's space */
	uint64_t rate;  /* bytes per second; 0: SCRUB_RATE */
	/* Manifests of the models that the cluster knows, NULL past the end: what they need is evicted
	 * last. */
	const struct manifest *(*model)(void *arg, size_t i);
	void *arg;
};

struct scrub;
int scrub_create(struct scrub **out, const struct scrub_config *c, char *err, size_t errlen);
/* The models that the cluster knows, or their manifests, have changed: recomputes what they need. */
void scrub_models_changed(struct scrub *s);
/* Call after the executor is destroyed, before the transfer is.  NULL allowed. */
void scrub_destroy(struct scrub *s);

#endif
