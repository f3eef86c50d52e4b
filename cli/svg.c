/* svg: see svg.h. */
#include "cli/svg.h"

#include "cli/terminal.h"
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Colours that are told apart by eyes of every kind, on white and on black. */
static const char style[] =
        ":root{--back:#fcfcfb;--text:#1b1b19;--dim:#5f5e58;--grid:#e4e3de;--axis:#a3a29b;"
        "--c0:#2a78d6;--c1:#d95926;--c2:#128a60;--c3:#b87a00;--c4:#4a3aa7;--c5:#c9447c;--c6:#6d6c66;--c7:#008fa6}"
        "@media(prefers-color-scheme:dark){:root{--back:#1a1a19;--text:#f4f3ef;--dim:#b5b4ac;--grid:#34342f;--axis:#75746d;"
        "--c0:#5a9df0;--c1:#ee7a4b;--c2:#35bd8c;--c3:#dba02a;--c4:#a297f0;--c5:#ea76a4;--c6:#a9a8a0;--c7:#38b9cf}}"
        "text{font:13px system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;fill:var(--text)}"
        ".dim{fill:var(--dim);font-size:12px}.title{font-size:19px;font-weight:600}.head{font-size:14px;font-weight:600}"
        ".mid{text-anchor:middle}.end{text-anchor:end}.back{fill:var(--back)}"
        "line{stroke-linecap:round}.grid{stroke:var(--grid)}.axis{stroke:var(--axis)}";

static void svg_write_style(FILE *to) {
	fprintf(to, "<style>%s", style);
	for (int i = 0; i < SVG_COLOURS; i++)
		fprintf(to,
		        ".s%d{stroke:var(--c%d);stroke-width:2;fill:var(--back)}.f%d{fill:var(--c%d);stroke:none}",
		        i, i, i, i);
	fputs("</style>\n", to);
}

/* A character that is allowed in a terminal but not in XML: U+FFFE or U+FFFF. */
static bool svg_is_none(const uint8_t *s, size_t len) {
	return len >= 3 && s[0] == 0xef && s[1] == 0xbf && s[2] >= 0xbe;
}

static void svg_escape(FILE *to, const uint8_t *s, size_t len) {
	for (size_t i = 0; i < len; i++)
		if (s[i] == '&')
			fputs("&amp;", to);
		else if (s[i] == '<')
			fputs("&lt;", to);
		else if (s[i] == '>')
			fputs("&gt;", to);
		else if (s[i] == '"')
			fputs("&quot;", to);
		else if (svg_is_none(s + i, len - i))
			i += 2;
		else
			fputc(s[i], to);
}

/* What may be on a terminal may be in a picture: no control characters, nothing that turns the direction of writing, whole
 * characters. */
static void svg_write(FILE *to, const char *text) {
	size_t len = strlen(text);
	struct terminal t = {0};
	uint8_t *clean = malloc(TERMINAL_ROOM(len) + TERMINAL_ROOM(0));
	if (!clean)
		return;
	size_t n = terminal_take(&t, (const uint8_t *)text, len, clean);
	n += terminal_end(&t, clean + n);
	svg_escape(to, clean, n);
	free(clean);
}

void svg_begin(FILE *to, double width, double height, const char *title) {
	fprintf(to,
	        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %.0f %.0f\" width=\"%.0f\" height=\"%.0f\" "
	        "role=\"img\">\n<title>",
	        width, height, width, height);
	svg_write(to, title);
	fputs("</title>\n", to);
	svg_write_style(to);
	svg_bar(to, 0, 0, width, height, "back");
}

void svg_end(FILE *to) {
	fputs("</svg>\n", to);
}

void svg_text(FILE *to, double x, double y, const char *class, const char *fmt, ...) {
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	fprintf(to, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
	svg_write(to, text);
	fputs("</text>\n", to);
	free(text);
}

void svg_line(FILE *to, double x1, double y1, double x2, double y2, const char *class) {
	fprintf(to, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" class=\"%s\"/>\n", x1, y1, x2, y2,
	        class);
}

void svg_dot(FILE *to, double x, double y, double radius, const char *class) {
	fprintf(to, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"%.1f\" class=\"%s\"/>\n", x, y, radius, class);
}

void svg_bar(FILE *to, double x, double y, double width, double height, const char *class) {
	if (width >= 0.05)
		fprintf(to, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" class=\"%s\"/>\n", x,
		        y, width, height, class);
}

/* The bytes of the first so many characters. */
static size_t svg_bytes_of(const char *text, size_t characters) {
	size_t at = 0;
	for (; text[at]; at++)
		if (((unsigned char)text[at] & 0xc0) != 0x80 && characters-- == 0)
			break;
	return at;
}

struct svg_name svg_shorten(const char *text, size_t characters) {
	struct svg_name out;
	size_t bytes = svg_bytes_of(text, characters);
	bool whole = text[bytes] == '\0' && bytes < sizeof out.s;
	snprintf(out.s, sizeof out.s, whole ? "%.*s" : "%.*s\u2026",
	        (int)(whole ? bytes : svg_bytes_of(text, characters - 1)), text);
	return out;
}

double svg_step(double largest, unsigned marks) {
	if (!(largest > 0 && largest < 1e15))
		return 1;
	double step = pow(10, floor(log10(largest / marks)));
	static const double times[] = {1, 2, 5, 10};
	for (size_t i = 0; i + 1 < sizeof times / sizeof *times; i++)
		if (largest <= step * times[i] * marks)
			return step * times[i];
	return step * 10;
}
