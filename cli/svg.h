/* svg: the parts of a drawing, as SVG: texts, lines, bars, dots, in colours that follow the reader's light or dark setting.
 *
 * Lengths are pixels, y downwards.  A class names a style: text, dim, title, axis, grid, back, and s0 to s7 for what is told apart by
 * colour (of lines and dots; f0 to f7 of areas and texts); "mid" and "end" beside it say where a text is anchored.
 * Texts may come from anywhere: what is markup is escaped, and what no document may have is replaced.
 * Owns nothing: writes to a stream, which keeps errors. */
#ifndef CLI_SVG_H
#define CLI_SVG_H
#include <stddef.h>
#include <stdio.h>

#define SVG_COLOURS 8
#define SVG_CHARACTER 7.0 /* of a text of the usual size: the width of one, on average, or somewhat less */

void svg_begin(FILE *to, double width, double height, const char *title);
void svg_end(FILE *to);
void svg_text(FILE *to, double x, double y, const char *class, const char *fmt, ...)
        __attribute__((format(printf, 5, 6)));
void svg_line(FILE *to, double x1, double y1, double x2, double y2, const char *class);
void svg_dot(FILE *to, double x, double y, double radius, const char *class);
/* Empty if it is too small to see. */
void svg_bar(FILE *to, double x, double y, double width, double height, const char *class);

/* Copies a text, cut to so many characters; at least 1; a cut text ends with an ellipsis. */
struct svg_name {
	char s[256]; /* for up to 60 characters */
};
struct svg_name svg_shorten(const char *text, size_t characters);

/* The distance between marks of an axis from 0 to at least `largest`: 1, 2 or 5 times a power of ten, with at most `marks` of them
 * beside 0. */
double svg_step(double largest, unsigned marks);

#endif
