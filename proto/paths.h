/* paths: where a node keeps its state and where its control socket is, by convention, for both programs.
 * Reads the environment; any thread. */
#ifndef PROTO_PATHS_H
#define PROTO_PATHS_H
#include "proto/wire.h"

/* STATE: the argument when it is given, else XDG_STATE_HOME/caravan, ~/.local/state/caravan, or
 * /var/lib/caravan as a service (STATE_DIRECTORY, or root without a home).  0 or -ENAMETOOLONG. */
int paths_state(const char *given, char *out, size_t len);

/* The control socket: the argument, CARAVAN_CONTROL, STATE/control.sock when state is given (not by default),
 * else XDG_RUNTIME_DIR/caravan/control.sock, else /run/caravan/control.sock.  0 or -ENAMETOOLONG. */
int paths_control(const char *given, const char *state, char *out, size_t len);

/* Makes a folder and those above it, mode 0700 for what is new.  0 or a negative errno. */
int paths_make(const char *dir);

/* A model's default name: the file's stem, without the number of a part, in the letters that a name may have. */
void paths_model_name(char out[WIRE_NAME_MAX + 1], const char *file);

#endif
