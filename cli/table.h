/* table: what is laid out for a terminal: tables whose columns are as wide as they need to be, and sentences that are
 * broken at blanks.  Both fit a given width.
 * Owns: the cells of a table, from table_cell to table_print.  Pure but for the stream that is written to. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 12

struct table {
	unsigned columns, indent;
	char **cell; /* row after row */
	size_t cells, room;
};

/* The columns that standard output has; 80 where it is not a terminal. */
unsigned table_width(void);

void table_begin(struct table *t, unsigned columns, unsigned indent);

/* The next cell, rows one after the other. */
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Prints it, with two blanks between columns, and frees the cells.  Where it is too wide the widest columns are cut, and a
 * cell that is cut ends with '~'. */
void table_print(struct table *t, FILE *to, unsigned width);

/* Prints a text in lines of at most `width` columns, the first one indented by `first`, the others by `next`.  A word that is
 * longer than a line has one of its own. */
void table_text(FILE *to, unsigned width, unsigned first, unsigned next, const char *text);

/* The same for what is formatted, on standard output, in its width; lines after the first have two columns more. */
void table_say(unsigned indent, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
