/* control: the control socket of a node: a Unix socket over which the caravan command exchanges the same
 * envelopes as nodes do.
 *
 * Owns: the listening socket, its connections and their buffers; one command at a time on each.  Whoever may
 * open the socket (mode 0600) may use all commands.  Flow control: while a client has more than
 * CONTROL_OUT_LOW to read, no new command is accepted and no more logits are requested.  Unread output is
 * kept up to CONTROL_OUT_MAX per client, and up to CONTROL_ALL_MAX for all clients together with what they
 * have sent.  Beyond that, the client, or the one with the most, is disconnected and its command cancelled.
 * Threads: the loop. */
#ifndef DAEMON_API_CONTROL_H
#define DAEMON_API_CONTROL_H
#include "daemon/serve/dispatch.h"
#include "proto/frame.h"

#define CONTROL_OUT_LOW (1u << 20)
#define CONTROL_OUT_MAX (48u << 20)
#define CONTROL_STALL_S \
	20 /* a client with more than CONTROL_OUT_LOW to read is cut off if it reads nothing for this long */
#define CONTROL_ALL_MAX (256u << 20)
#define CONTROL_CLIENTS_MAX 256

struct control;
struct control_conn;

struct calibrate_requests;
struct cluster_events;

struct control_config {
	struct loop *loop; /* borrowed, like all pointers here */
	struct serve *serve;
	struct executor *executor;
	struct calibrate_requests *calibrate_requests;
	struct cluster_events *events;
	void (*restart)(void *arg); /* end the daemon, and restart it with its directory's new content */
	void *arg;
	const char *
	        path; /* of the socket, or "fd:N": one client on an inherited descriptor, and the loop ends with it */
};

/* -EADDRINUSE when another daemon answers on that socket; a socket left by a dead daemon is replaced. */
int control_create(struct control **out, const struct control_config *c, char *err, size_t errlen);
void control_destroy(struct control *c); /* NULL allowed */

/* For commands.c: a connection, and answers to its command. */
struct serve *control_serve(struct control_conn *c);
struct executor *control_loader(struct control_conn *c);
struct calibrate_requests *control_measures(struct control_conn *c);
struct cluster_events *control_events(struct control_conn *c);
struct prompts *control_prompts(struct control_conn *c);
/* Identifies the client: the same for all connections of one user of this machine, never 0. */
uint64_t control_client(const struct control_conn *c);
/* Sets the running command's cancel function, called when the client goes before control_end or
 * control_error. */
void control_running(struct control_conn *c, void (*cancel)(void *arg), void *arg);
/* Sets what ends the running command early when the client asks for that (CtlCancel); it gets the argument of
 * control_running. */
void control_on_stop(struct control_conn *c, void (*stop)(void *arg));
void control_send(struct control_conn *c, Caravan__Envelope *env, const void *payload, size_t len);
void control_send_text(struct control_conn *c, const char *text, size_t len);
void control_send_reasoning(struct control_conn *c, const char *text, size_t len);
void control_send_progress(struct control_conn *c, const char *what, const char *node, uint64_t done,
        uint64_t total, bool tokens);
/* Bytes that the client has not read yet. */
size_t control_backlog(const struct control_conn *c);
/* Calls fn once, later, when no more than CONTROL_OUT_LOW are left; dropped when the command ends. */
void control_on_drained(struct control_conn *c, void (*fn)(void *arg), void *arg);
void control_end(struct control_conn *c, const Caravan__Finished *fin); /* fin: NULL allowed */
void control_error(struct control_conn *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same for a prompt that does not fit the context. */
void control_error_too_long(struct control_conn *c, const char *text);

/* What starts the daemon anew, and its argument. */
void (*control_restart(struct control_conn *c, void **arg))(void *arg);

/* Descriptors that came with the command; borrowed, closed when it ends. */
size_t control_fds(struct control_conn *c, const int **fds);

#endif
