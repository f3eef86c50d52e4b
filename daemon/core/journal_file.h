/* journal_file: the form of STATE/events (doc/protocol.md): a head with the journal's id, then a record for each event.
 * What is damaged is skipped: the decoder finds the next whole record, byte by byte.
 * Threads: pure; any thread. */
#ifndef DAEMON_CORE_JOURNAL_FILE_H
#define DAEMON_CORE_JOURNAL_FILE_H
#include "proto/wire.h"

/* A buffer that grows. */
struct journal_bytes {
	uint8_t *data;
	size_t len, size;
};
void journal_bytes_free(struct journal_bytes *b);

/* A copy on the heap, which proto/schema.c accepts: free it with caravan__event__free_unpacked.  NULL: it does not, or there is
 * no memory. */
Caravan__Event *journal_event_copy(const Caravan__Event *e);

/* Append to the buffer: 0, -ENOMEM, or -EMSGSIZE for an event over WIRE_EVENT_MAX. */
int journal_encode_head(struct journal_bytes *b, uint64_t id);
int journal_encode(struct journal_bytes *b, const Caravan__Event *e);

/* Calls take with every whole record in order; it owns the event.  Returns the id of the head, 0 if that is damaged.
 * damaged: bytes that are part of no record. */
uint64_t journal_decode(const uint8_t *data, size_t len, void (*take)(void *arg, Caravan__Event *e),
        void *arg, size_t *damaged);

#endif
