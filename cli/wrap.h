/* wrap: a text that comes in parts, in lines broken between words on a terminal.
 * Owns: the word that is not complete yet, which is written when it is.
 * Characters are as wide as the locale says; a word wider than a line is left to the terminal. */
#ifndef CLI_WRAP_H
#define CLI_WRAP_H
#include <stddef.h>
#include <stdio.h>

struct wrap {
	unsigned column;
	char word[512];
	size_t len;
	unsigned columns; /* of the word */
};

/* A part of the text: whole characters of UTF-8, without control characters other than newline and tab. */
void wrap_write(struct wrap *w, FILE *to, unsigned width, const char *text, size_t len);
/* Writes the word that is there: nothing of the text follows it, for now. */
void wrap_flush(struct wrap *w, FILE *to, unsigned width);

#endif
