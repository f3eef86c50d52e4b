/* chat_parse: whether a line of a chat is a command or a text: see chat_internal.h. */
#include "cli/chat_internal.h"
#include <stdio.h>
#include <string.h>

#define BLANKS " \t\r\n"
#define MARKS "\"\"\""

void chat_parse(const char *line, struct chat_line *out) {
	*out = (struct chat_line){0};
	const char *s = line + strspn(line, BLANKS);
	if (s[0] != '/' || s[1] == '/') {
		/* a text that begins with a slash has two */
		out->text = s[0] == '/' ? s + 1 : line;
		out->len = strlen(out->text);
		return;
	}
	size_t name = strcspn(++s, BLANKS);
	snprintf(out->command, sizeof out->command, "%.*s",
	        (int)(name < sizeof out->command ? name : sizeof out->command), s);
	out->argument = s + name + strspn(s + name, BLANKS);
	out->len = strlen(out->argument);
	while (out->len > 0 && strchr(BLANKS, out->argument[out->len - 1]))
		out->len--;
}

bool chat_parse_block(const char *text, size_t len, size_t *begin, size_t *end, bool *closed) {
	while (len > 0 && strchr(" \t\r\n", text[len - 1]))
		len--;
	if (len < 3 || memcmp(text, MARKS, 3) != 0)
		return false;
	*begin = 3;
	*closed = len >= 6 && memcmp(text + len - 3, MARKS, 3) == 0;
	*end = *closed ? len - 3 : len;
	/* line ends beside the marks belong to them */
	if (*begin < *end && text[*begin] == '\n')
		++*begin;
	if (*closed && *begin < *end && text[*end - 1] == '\n')
		--*end;
	return true;
}
