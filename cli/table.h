/* table: layout for a terminal: tables whose columns are as wide as needed, and text wrapped at blanks, both to a given
 * width.
 * Owns: the cells of a table, from table_cell to table_print.  Pure except for the output stream. */
#ifndef CLI_TABLE_H
#define CLI_TABLE_H
#include <stddef.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 12

struct table {
	unsigned columns, indent;
	char **cell; /* row after row */
	size_t cells, capacity;
	unsigned whole; /* bits of columns that are cut last */
};

/* The width of standard output in columns; 80 if it is not a terminal. */
unsigned table_width(void);
/* The same for a table, whose cells are cut only on a terminal: elsewhere as wide as it needs. */
unsigned table_width_most(void);

void table_begin(struct table *t, unsigned columns, unsigned indent);

/* Adds the next cell, row by row. */
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Cuts this column last: half of it says nothing. */
void table_keep(struct table *t, unsigned column);

/* Prints it, with two blanks between columns, and frees the cells.  If it is too wide, the widest columns are cut; a cut cell
 * ends with '~'. */
void table_print(struct table *t, FILE *to, unsigned width);

/* Prints a text in lines of at most `width` columns, the first one indented by `first`, the others by `next`.  A word that
 * is longer than a line gets its own line. */
void table_text(FILE *to, unsigned width, unsigned first, unsigned next, const char *text);

/* The same for formatted text on standard output, in its width; lines after the first are indented by two more columns. */
void table_say(unsigned indent, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
