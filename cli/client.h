/* client: a connection to a daemon: the running one, or a private one started for this command.
 *
 * Owns: the socket, and the private daemon, which ends with it.  Blocking; the program has one thread. */
#ifndef CLI_CLIENT_H
#define CLI_CLIENT_H
#include "proto/frame.h"
#include <sys/types.h>

struct client {
	int fd;
	pid_t daemon;   /* a private one, or 0 */
	uint8_t *frame; /* the last message's bytes */
	size_t capacity;
	Caravan__Envelope *env;
};

/* Connects to the daemon on this socket.  0, or EXIT_FAILED after reporting the error. */
int client_open(struct client *c, const char *control);

/* Starts a private daemon: no network, the user's packed store, and it ends with this connection.
 * lent: a store that it reads from as well, NULL for none; threads: 0 for its default. */
int client_private(struct client *c, const char *lent, unsigned threads);

void client_close(struct client *c);

/* While a message is waited for, fn(arg) is called whenever this descriptor is readable; what it returns other than 0 ends the
 * wait as if the connection were lost, with nothing reported.  fd -1: none. */
void client_on_wake(int fd, int (*fn)(void *arg), void *arg);

/* While a message is waited for, fn(arg) is called whenever none has come for so long.  fn NULL: nobody. */
void client_on_silence(int ms, void (*fn)(void *arg), void *arg);

/* Whether the daemon has closed a connection on which no command runs. */
bool client_is_lost(const struct client *c);

/* Sends a command.  0, or EXIT_FAILED after reporting the error. */
int client_send(struct client *c, const Caravan__Envelope *env, const void *payload, size_t len,
        const int *fds, size_t nfds);

/* The next message, borrowed until the next call.  NULL, after reporting it, when the connection is lost or the message is
 * invalid.  Prints notes of the daemon that arrive before it. */
const Caravan__Envelope *client_next(struct client *c, const uint8_t **payload, size_t *len);

/* The last message, for the caller to keep and wire_free. */
Caravan__Envelope *client_take(struct client *c);

/* Whether a MODEL is a path: it has a slash, ends in .gguf, or is a file that is a model. */
bool client_is_path(const char *model);

/* Opens the parts of a model file.  0, or EXIT_FAILED after reporting the error. */
int client_open_model(const char *path, int *fds, size_t *nfds);

/* The daemon for MODEL: the running one, or a private one that has loaded the file; *model is then the name to ask
 * for.  how: for a path, the options of load; NULL: the defaults. */
int client_for_model(struct client *c, const char *control, const char **model, unsigned threads,
        const Caravan__CtlLoad *how);

/* Waits for the end of a command that has no other result.  0, or EXIT_FAILED after reporting the error. */
int client_wait(struct client *c);

/* Handles an answer, which is borrowed for the call (client_take keeps it).  0, or an exit status after reporting the error,
 * which ends the wait. */
typedef int client_answer_fn(void *arg, struct client *c, const Caravan__Envelope *env);
/* The same; fn (may be NULL) gets every message except progress. */
int client_wait_with(struct client *c, client_answer_fn *fn, void *arg);

#endif
