/* terminal: what a model wrote, made fit for a terminal.
 *
 * A model can be made to write what a terminal takes for commands: titles, colours, answers typed for the user, text over
 * other text, text from right to left.  To a terminal go characters alone, with newlines and tabs; a file or a pipe gets
 * every byte.
 * Owns: the character that is not whole yet. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H
#include <stddef.h>
#include <stdint.h>

struct terminal {
	uint8_t held[4];
	size_t nheld;
};

/* Bytes that len bytes become at most. */
#define TERMINAL_ROOM(len) (3 * ((len) + 4))

/* Writes what of the next len bytes may go to a terminal to out, of TERMINAL_ROOM(len) bytes; returns how many. */
size_t terminal_take(struct terminal *t, const uint8_t *in, size_t len, uint8_t *out);
/* The end: what of a character is left is none.  out: of TERMINAL_ROOM(0) bytes. */
size_t terminal_end(struct terminal *t, uint8_t *out);

#endif
