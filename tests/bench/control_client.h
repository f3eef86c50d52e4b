/* control_client: a client of a daemon's control socket, for programs that measure and try daemons.
 *
 * Threads: any; a connection is one thread's. */
#ifndef TESTS_BENCH_CONTROL_CLIENT_H
#define TESTS_BENCH_CONTROL_CLIENT_H
#include "proto/frame.h"
#include <stdbool.h>
#include <stddef.h>

/* A connection to the socket of that path, or -1 with errno. */
int control_client_connect(const char *path);
/* false: it has gone. */
bool control_client_say(int fd, Caravan__Envelope *env, const void *payload, size_t len);
/* The next message, for wire_free; *payload: malloc'd, with a 0 behind its bytes.  NULL: it has gone, or what came cannot be read. */
Caravan__Envelope *control_client_hear(int fd, char **payload, size_t *len);

/* All of data, to a socket or from it; false: it has gone. */
bool socket_put(int fd, const void *data, size_t len);
bool socket_get(int fd, void *data, size_t len);

#endif
