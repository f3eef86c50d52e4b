/* lent: where a daemon of this machine has packed weights that a private one can read instead of storing them again.
 * Owns nothing.  Blocking, but never for long: who does not answer lends nothing. */
#ifndef CLI_LENT_H
#define CLI_LENT_H
#include <stdbool.h>
#include <stddef.h>

/* The store of the daemon on this socket (NULL: by convention), or of the one that is a service here, if this user may read it. */
bool lent_store(const char *control, char *out, size_t len);

#endif
