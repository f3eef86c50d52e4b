/* paths: where a node keeps its state and where its control socket is, by convention, for both programs.
 * Reads the environment; any thread. */
#ifndef COMMON_PATHS_H
#define COMMON_PATHS_H
#include <stddef.h>

/* STATE: the argument when it is given, else XDG_STATE_HOME/caravan, ~/.local/state/caravan, or
 * /var/lib/caravan as a service (STATE_DIRECTORY, or root without a home).  0 or -ENAMETOOLONG. */
int paths_state(const char *given, char *out, size_t len);

/* Where a daemon's control socket is: the argument, STATE/control.sock when state is given (not by default),
 * CARAVAN_CONTROL, control.sock in RUNTIME_DIRECTORY as a service, caravan/control.sock in XDG_RUNTIME_DIR, else
 * control.sock in the default state folder (/run/caravan/control.sock as a service).  0 or -ENAMETOOLONG. */
int paths_control(const char *given, const char *state, char *out, size_t len);

/* Where the command looks for it, i = 0, 1, ..., until -ENOENT: what is given or CARAVAN_CONTROL alone, else each place
 * where a daemon of this user or of the machine may have it: a session that starts a daemon need not have the
 * environment of the one that asks it. */
int paths_control_search(const char *given, unsigned i, char *out, size_t len);

/* A model's default name: the file's stem, without the number of a part, in the letters that a name may have; cut to `size`
 * bytes with the zero. */
void paths_model_name(char *out, size_t size, const char *file);

#endif
