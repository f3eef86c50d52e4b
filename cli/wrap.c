/* wrap: see wrap.h. */
#include "cli/wrap.h"
#include "daemon/text/utf8.h"
#include <string.h>
#include <wchar.h>

#define TAB 8

void wrap_flush(struct wrap *w, FILE *to, unsigned width) {
	if (w->column > 0 && w->column + w->columns > width) {
		fputc('\n', to);
		w->column = 0;
	}
	fwrite(w->word, 1, w->len, to);
	w->column += w->columns;
	if (w->column > width) /* the terminal has broken it */
		w->column = (w->column - 1) % width + 1;
	w->len = 0;
	w->columns = 0;
}

/* A blank that would stand at the edge is left out: the line ends there. */
static void wrap_blank(struct wrap *w, FILE *to, unsigned width, char c) {
	wrap_flush(w, to, width);
	if (c == '\n') {
		w->column = 0;
		fputc(c, to);
	} else if (w->column < width) {
		w->column += c == '\t' ? TAB - w->column % TAB : 1;
		fputc(c, to);
	}
}

void wrap_write(struct wrap *w, FILE *to, unsigned width, const char *text, size_t len) {
	for (size_t i = 0, n; i < len; i += n) {
		(void)utf8_next(text + i, len - i, &n);
		if (n == 1 && strchr(" \t\n", text[i]) && text[i]) {
			wrap_blank(w, to, width, text[i]);
			continue;
		}
		int columns = wcwidth((wchar_t)utf8_code(text + i, n));
		if (columns == 2 || w->len + n > sizeof w->word) /* a line may end before a wide character */
			wrap_flush(w, to, width);
		memcpy(w->word + w->len, text + i, n);
		w->len += n;
		w->columns += columns < 0 ? 1 : (unsigned)columns;
		if (columns == 2) /* and behind it */
			wrap_flush(w, to, width);
	}
}
