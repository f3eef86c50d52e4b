/* table: see table.h.  Columns are counted in code points: names and sentences have no wide characters. */
#include "cli/table.h"
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define GAP 2
#define COLUMN_LEAST 6 /* no column is cut below this */

unsigned table_width(void) {
	struct winsize w;
	return isatty(STDOUT_FILENO) && ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 40 ? w.ws_col
	                                                                                            : 80;
}

unsigned table_width_most(void) {
	return isatty(STDOUT_FILENO) ? table_width() : UINT_MAX;
}

void table_begin(struct table *t, unsigned columns, unsigned indent) {
	*t = (struct table){.columns = columns, .indent = indent};
}

void table_keep(struct table *t, unsigned column) {
	t->whole |= 1u << column;
}

static void table_no_memory(void) __attribute__((noreturn));
static void table_no_memory(void) {
	fprintf(stderr, "caravan: out of memory\n");
	exit(EXIT_FAILURE);
}

void table_cell(struct table *t, const char *fmt, ...) {
	va_list ap;
	char *text = NULL;
	if (t->cells == t->capacity) {
		size_t capacity = t->capacity * 2 + 32;
		char **more = realloc(t->cell, capacity * sizeof *more);
		if (!more)
			table_no_memory();
		t->cell = more;
		t->capacity = capacity;
	}
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		table_no_memory();
	va_end(ap);
	t->cell[t->cells++] = text;
}

static bool table_starts_character(char c) {
	return ((unsigned char)c & 0xc0) != 0x80;
}

static size_t table_columns_of(const char *text) {
	size_t n = 0;
	for (; *text; text++)
		n += table_starts_character(*text);
	return n;
}

/* The length in bytes of this many characters. */
static size_t table_bytes_of(const char *text, size_t characters) {
	size_t i = 0;
	while (text[i] && (characters > 0 || !table_starts_character(text[i])))
		characters -= table_starts_character(text[i++]);
	return i;
}

static void table_print_cell(FILE *to, const char *text, size_t width, bool last) {
	size_t has = table_columns_of(text);
	if (has > width)
		fprintf(to, "%.*s~", (int)table_bytes_of(text, width - 1), text);
	else
		fprintf(to, "%s%*s", text, last ? 0 : (int)(width - has), "");
	if (!last)
		fprintf(to, "%*s", GAP, "");
}

/* Makes the widest columns narrower but for those that are kept, until the sum fits if it can.  Returns the sum. */
static size_t table_cut(const struct table *t, size_t *wide, size_t sum, size_t width, unsigned kept) {
	while (sum > width) {
		unsigned widest = t->columns;
		for (unsigned c = 0; c < t->columns; c++)
			if (!(kept & 1u << c) && (widest == t->columns || wide[c] > wide[widest]))
				widest = c;
		if (widest == t->columns || wide[widest] <= COLUMN_LEAST)
			break;
		wide[widest]--;
		sum--;
	}
	return sum;
}

void table_print(struct table *t, FILE *to, unsigned width) {
	size_t wide[TABLE_COLUMNS_MAX] = {0}, sum = t->indent;
	for (size_t i = 0; i < t->cells; i++) {
		size_t n = table_columns_of(t->cell[i]);
		if (n > wide[i % t->columns])
			wide[i % t->columns] = n;
	}
	for (unsigned c = 0; c < t->columns; c++)
		sum += wide[c] + (c + 1 < t->columns ? GAP : 0);
	sum = table_cut(t, wide, sum, width, t->whole);
	table_cut(t, wide, sum, width, 0);
	for (size_t row = 0; row < t->cells; row += t->columns) {
		size_t end = row + t->columns < t->cells ? row + t->columns : t->cells;
		while (end > row && !*t->cell[end - 1]) /* no blanks at the end of a line */
			end--;
		fprintf(to, "%*s", end > row ? (int)t->indent : 0, "");
		for (size_t i = row; i < end; i++)
			table_print_cell(to, t->cell[i], wide[i - row], i + 1 == end);
		fputc('\n', to);
	}
	for (size_t i = 0; i < t->cells; i++)
		free(t->cell[i]);
	free(t->cell);
	*t = (struct table){0};
}

void table_text(FILE *to, unsigned width, unsigned first, unsigned next, const char *text) {
	size_t at = first;
	bool begun = false;
	fprintf(to, "%*s", (int)first, "");
	while (*text) {
		size_t bytes = strcspn(text, " ");
		char *word = strndup(text, bytes);
		size_t n = word ? table_columns_of(word) : bytes;
		free(word);
		if (begun && at + 1 + n > width) {
			fprintf(to, "\n%*s", (int)next, "");
			at = next;
			begun = false;
		}
		fprintf(to, "%s%.*s", begun ? " " : "", (int)bytes, text);
		at += n + begun;
		begun = true;
		text += bytes;
		text += strspn(text, " ");
	}
	fputc('\n', to);
}

void table_say(unsigned indent, const char *fmt, ...) {
	char *text;
	va_list ap;
	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		table_no_memory();
	va_end(ap);
	table_text(stdout, table_width(), indent, indent + 2, text);
	free(text);
}
