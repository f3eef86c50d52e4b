/* payload: the raw bytes sent with an envelope, passed on without copying.
 *
 * Owns: its bytes, however they were allocated.  Reference-counted; the last unref may be on libzmq's thread, and only releases
 * memory.  Threads: any (atomic count); the bytes are written before the payload is shared. */
#ifndef DAEMON_NET_PAYLOAD_H
#define DAEMON_NET_PAYLOAD_H
#include <stddef.h>

struct payload;

struct payload *payload_create(size_t len); /* aligned to 64; NULL: no memory */
struct payload *payload_copy(const void *data, size_t len);
struct payload *payload_wrap(void *data, size_t len, void (*release)(void *arg), void *arg); /* owns data */
struct payload *payload_ref(struct payload *p);
void payload_unref(struct payload *p); /* NULL allowed */
void *payload_data(struct payload *p);
size_t payload_len(const struct payload *p);

#endif
