/* lent: the store of another daemon on this machine, which a private one can read instead of packing weights again.
 * Owns nothing.  Blocking, but only briefly: a daemon that does not answer is ignored. */
#ifndef CLI_LENT_H
#define CLI_LENT_H
#include <stdbool.h>
#include <stddef.h>

/* The store of the daemon on this socket (NULL: the default one), or of the service on this machine, if this user may read it. */
bool lent_store(const char *control, char *out, size_t len);

#endif
