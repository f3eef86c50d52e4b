/* chat_internal: what the files of caravan chat share.
 * The program has one thread. */
#ifndef CLI_CHAT_INTERNAL_H
#define CLI_CHAT_INTERNAL_H
#include "cli/args.h"
#include "cli/client.h"
#include "cli/conversation.h"
#include "cli/sampling.h"
#include "proto/wire.h"

struct chat {
	const struct args *args;
	/* the model: as the user named it (NULL: the only one), and the name that the daemon knows it by */
	const char *named;
	char model[WIRE_NAME_MAX + 1];
	char *chosen; /* owned; what /model named, or NULL */
	bool path;    /* it is a file, in a daemon of its own */
	uint32_t context, nodes;
	char where[1024];     /* its nodes with their layers; cut */
	struct client client; /* fd -1: not connected */
	/* what is asked for */
	struct conversation conversation;
	struct sampling sampling;
	uint32_t limit;
	const char *template; /* empty: the model's */
	Caravan__CtlLoad how; /* for a file */
	/* how it looks */
	bool dim;        /* the terminal shows dimmed text */
	bool reasoning;  /* is shown */
	uint32_t tokens; /* of the context that the last answer and its prompt took; 0: unknown */
	bool quit;
};

/* ---- chat_turn.c ---- */

/* Takes over Ctrl-C and the signals that end the program, for answers and while a model is opened.  0, or EXIT_FAILED
 * after reporting the error. */
int chat_signals_open(void);
void chat_signals_close(void);

/* Connects to the model that is named.  0, or EXIT_FAILED after reporting the error. */
int chat_open(struct chat *c);

/* Asks for the answer to the last question, shows it as it comes, and adds it to the conversation. */
void chat_turn(struct chat *c);

/* The conversation alone, with its answer on standard output.  Returns an exit status. */
int chat_once(struct chat *c);

/* A line in dimmed letters where there are such. */
void chat_note(const struct chat *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A text as a terminal may get it, with a line end. */
void chat_print(const char *text);

/* ---- chat_parse.c: pure ---- */

/* What a line is. */
struct chat_line {
	const char *text;     /* to be sent: NULL if the line is a command */
	char command[24];     /* its name without the slash; cut */
	const char *argument; /* of a command: what follows, without blanks around it */
	size_t len;           /* of the text, or of the argument */
};
/* The text and the argument are in the line. */
void chat_parse(const char *line, struct chat_line *out);

/* Whether a text begins with """, and where what is between them is; *closed: whether it ends with """ too. */
bool chat_parse_block(const char *text, size_t len, size_t *begin, size_t *end, bool *closed);

/* ---- chat_commands.c ---- */

/* Names of the commands with their slashes left out, up to NULL. */
extern const char *const chat_command_names[];

/* Runs a command. */
void chat_command(struct chat *c, const struct chat_line *line);

#endif
