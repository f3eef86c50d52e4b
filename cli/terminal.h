/* terminal: makes a model's text safe for a terminal.
 *
 * A model can be made to write terminal control sequences: titles, colours, answers typed for the user,
 * overwritten text, text from right to left.  A terminal gets only characters, newlines and tabs; a file or a
 * pipe gets every byte.
 * Owns: an incomplete character. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H
#include <stddef.h>
#include <stdint.h>

struct terminal {
	uint8_t held[4];
	size_t nheld;
};

/* The most bytes that len bytes can become. */
#define TERMINAL_ROOM(len) (3 * ((len) + 4))

/* Writes the part of the next len bytes that a terminal may get to out, of TERMINAL_ROOM(len) bytes; returns its length. */
size_t terminal_take(struct terminal *t, const uint8_t *in, size_t len, uint8_t *out);
/* The end of the text: an incomplete character is replaced.  out: of TERMINAL_ROOM(0) bytes. */
size_t terminal_end(struct terminal *t, uint8_t *out);

#endif
