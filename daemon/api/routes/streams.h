/* streams: takes up a stream that this node or another one keeps, or cancels it: /v1/stream/ID.
 *
 * Owns: the exchanges that read kept streams, from streams_read or a request to their end.
 * Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_STREAMS_H
#define DAEMON_API_ROUTES_STREAMS_H
#include "daemon/api/routes/routes.h"

extern const struct http_route streams_routes[];
extern const size_t streams_nroutes;

/* Begins the answer of an exchange, and makes it the reader of a stream from an event on (1: the first).  resume: what
 * its X-Resume says; 0: none.  false: no memory, and nothing has begun. */
bool streams_read(struct http_exchange *x, struct kept_stream *s, uint32_t from, unsigned resume);

#endif
