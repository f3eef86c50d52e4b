/* chat_input: what the user types: lines edited by libedit, texts of several lines, pasted texts, the history.
 *
 * The history is kept in the state folder, in a file that only its user may read: the last INPUT_HISTORY_MAX inputs, without
 * those longer than INPUT_REMEMBERED_MAX.
 * Owns: the terminal's mode while a line is read; the history.
 * The program has one thread. */
#ifndef CLI_CHAT_INPUT_H
#define CLI_CHAT_INPUT_H
#include <stdbool.h>
#include <stddef.h>

#define INPUT_MAX (1u << 20) /* bytes of an input */
#define INPUT_HISTORY_MAX 1000
#define INPUT_REMEMBERED_MAX 4096

struct chat_input;

/* names: of the commands, which Tab completes; up to NULL.  NULL after reporting the error. */
struct chat_input *chat_input_open(const char *const *names);
void chat_input_close(struct chat_input *in); /* NULL allowed */

enum chat_input_kind {
	INPUT_END,       /* Ctrl-D */
	INPUT_CANCELLED, /* Ctrl-C */
	INPUT_NOTHING,   /* a line of blanks */
	INPUT_LINE,      /* as typed, or pasted */
	INPUT_BLOCK      /* a text between lines of """, which is none of the commands */
};

/* Reads one input: its text, without the line end, is the caller's to free. */
enum chat_input_kind chat_input_read(struct chat_input *in, char **text);

#endif
