/* chat_input: see chat_input.h.
 *
 * A terminal that knows bracketed paste puts ESC [ 200 ~ and ESC [ 201 ~ around a pasted text: these are bound to a function
 * that inserts all of it, line ends as well. */
#include "cli/chat_input.h"
#include "cli/chat_internal.h"
#include "common/durable.h"
#include "common/paths.h"
#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <langinfo.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HISTORY_FILE "chat-history"
#define HISTORY_FILE_MAX (32u << 20) /* bytes: as many of such a length, each escaped */

struct chat_input {
	EditLine *el;
	History *history;
	const char *const *names;
	const char *prompt;
	char folder[PATH_MAX]; /* of the history; empty: it is not kept */
	bool cancelled;
};

/* ---- keys ---------------------------------------------------------------------------------------- */

static struct chat_input *input_of(EditLine *el) {
	void *in = NULL;
	el_get(el, EL_CLIENTDATA, &in);
	return in;
}

static char *input_prompt(EditLine *el) {
	return (char *)(uintptr_t)input_of(el)->prompt;
}

/* Ctrl-C: ends the line, which is then not used. */
static unsigned char input_on_cancel(EditLine *el, wint_t key) {
	(void)key;
	input_of(el)->cancelled = true;
	el_push(el, "\n");
	return CC_NORM;
}

/* Ctrl-Z: libedit's handler of the signal gives the terminal back, and takes it again. */
static unsigned char input_on_suspend(EditLine *el, wint_t key) {
	(void)el;
	(void)key;
	raise(SIGTSTP);
	return CC_REDISPLAY;
}

/* A text that a terminal has bracketed; control characters in it are left out. */
static unsigned char input_on_paste(EditLine *el, wint_t key) {
	static const wchar_t mark[] = L"\033[201~";
	const size_t marked = sizeof mark / sizeof *mark - 1;
	size_t n = 0, capacity = 256;
	wchar_t c, last = 0, *text = malloc(capacity * sizeof *text);
	(void)key;
	while (text && el_wgetc(el, &c) == 1) {
		if (n + 2 > capacity) {
			wchar_t *more = realloc(text, (capacity *= 2) * sizeof *text);
			if (!more)
				break;
			text = more;
		}
		/* a line end may be both, in either order: the terminal's mode changes one into the other */
		bool second = (c == L'\n' && last == L'\r') || (c == L'\r' && last == L'\n');
		last = second ? 0 : c;
		if (second)
			continue;
		text[n++] = c == L'\r' ? L'\n' : c;
		if (n >= marked && wmemcmp(text + n - marked, mark, marked) == 0) {
			n -= marked;
			break;
		}
		if (n > INPUT_MAX + marked) /* what is too long is read, and not used */
			wmemmove(text + INPUT_MAX, text + INPUT_MAX + 1, n-- - INPUT_MAX - 1);
	}
	if (!text)
		return CC_ERROR;
	size_t kept = 0;
	for (size_t i = 0; i < n; i++)
		if (text[i] == L'\n' || text[i] == L'\t' || (text[i] >= 0x20 && text[i] != 0x7f))
			text[kept++] = text[i];
	text[kept] = 0;
	int rc = kept ? el_winsertstr(el, text) : 0;
	free(text);
	return rc == 0 ? CC_REFRESH : CC_ERROR;
}

/* Tab after the beginning of a command's name: the rest of it. */
static unsigned char input_on_complete(EditLine *el, wint_t key) {
	struct chat_input *in = input_of(el);
	const LineInfo *line = el_line(el);
	const char *found = NULL, *typed = line->buffer + 1;
	size_t len = (size_t)(line->cursor - line->buffer);
	(void)key;
	if (len < 2 || line->cursor != line->lastchar || *line->buffer != '/' || memchr(typed, ' ', len - 1))
		return CC_ERROR;
	for (const char *const *name = in->names; *name; name++)
		if (strncmp(*name, typed, len - 1) == 0) {
			if (found)
				return CC_ERROR;
			found = *name;
		}
	if (!found)
		return CC_ERROR;
	el_insertstr(el, found + len - 1);
	el_insertstr(el, " ");
	return CC_REFRESH;
}

/* ---- the history --------------------------------------------------------------------------------- */

static History *history_create(void) {
	HistEvent ev;
	History *h = history_init();
	if (h) {
		history(h, &ev, H_SETSIZE, INPUT_HISTORY_MAX);
		history(h, &ev, H_SETUNIQUE, 1);
	}
	return h;
}

static void history_read(const struct chat_input *in, History *h) {
	char path[PATH_MAX + sizeof HISTORY_FILE];
	struct stat st;
	HistEvent ev;
	snprintf(path, sizeof path, "%s/" HISTORY_FILE, in->folder);
	if (*in->folder && stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= HISTORY_FILE_MAX)
		history(h, &ev, H_LOAD, path);
}

/* Writes a history to a new file, which gets its name when it is complete. */
static int history_write(History *h, int dir) {
	char temp[DURABLE_TEMP];
	HistEvent ev;
	int fd = durable_create(dir, temp), copy = fd < 0 ? -1 : dup(fd);
	if (fd < 0)
		return fd;
	FILE *f = copy < 0 ? NULL : fdopen(copy, "w");
	bool ok = f && history(h, &ev, H_SAVE_FP, f) >= 0;
	ok = f && fclose(f) == 0 && ok;
	int rc = ok ? durable_commit(dir, fd, temp, HISTORY_FILE) : -EIO;
	if (rc < 0)
		durable_discard(dir, temp);
	if (!f && copy >= 0)
		close(copy);
	close(fd);
	return rc;
}

/* Adds an input to the file, which another chat may have changed meanwhile.  What fails costs the history alone. */
static void history_keep(const struct chat_input *in, const char *text) {
	HistEvent ev;
	int dir = *in->folder ? open(in->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	History *h = dir < 0 ? NULL : history_create();
	if (h) {
		history_read(in, h);
		history(h, &ev, H_ENTER, text);
		(void)history_write(h, dir);
		history_end(h);
	}
	if (dir >= 0)
		close(dir);
}

static void input_remember(struct chat_input *in, const char *text) {
	HistEvent ev;
	if (strlen(text) > INPUT_REMEMBERED_MAX)
		return;
	history(in->history, &ev, H_ENTER, text);
	history_keep(in, text);
}

/* ---- reading ------------------------------------------------------------------------------------- */

/* Characters are read as UTF-8, which terminals send, whatever the environment says. */
static void input_set_locale(void) {
	setlocale(LC_CTYPE, "");
	if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		setlocale(LC_CTYPE, "C.UTF-8");
}

struct chat_input *chat_input_open(const char *const *names) {
	struct chat_input *in = calloc(1, sizeof *in);
	input_set_locale();
	if (!in || !(in->history = history_create()) ||
	        !(in->el = el_init("caravan", stdin, stdout, stderr))) {
		chat_input_close(in);
		fail("cannot edit lines: out of memory");
		return NULL;
	}
	in->names = names;
	if (paths_state(NULL, in->folder, sizeof in->folder) != 0 || durable_mkdirs(in->folder) != 0)
		*in->folder = '\0';
	history_read(in, in->history);
	el_set(in->el, EL_CLIENTDATA, in);
	el_set(in->el, EL_PROMPT, input_prompt);
	el_set(in->el, EL_HIST, history, in->history);
	el_set(in->el, EL_EDITOR, "emacs");
	el_set(in->el, EL_SIGNAL, 1);
	el_source(in->el, NULL);
	/* by el_set, the names would leak */
	el_wset(in->el, EL_ADDFN, L"chat-cancel", L"end the line without using it", input_on_cancel);
	el_wset(in->el, EL_ADDFN, L"chat-suspend", L"stop until the shell goes on with it", input_on_suspend);
	el_wset(in->el, EL_ADDFN, L"chat-paste", L"insert a pasted text", input_on_paste);
	el_wset(in->el, EL_ADDFN, L"chat-complete", L"complete a command", input_on_complete);
	el_set(in->el, EL_SETTY, "-d", "-isig", NULL); /* Ctrl-C and Ctrl-Z are keys */
	el_set(in->el, EL_BIND, "^C", "chat-cancel", NULL);
	el_set(in->el, EL_BIND, "^Z", "chat-suspend", NULL);
	el_set(in->el, EL_BIND, "^I", "chat-complete", NULL);
	el_set(in->el, EL_BIND, "\033[200~", "chat-paste", NULL);
	return in;
}

void chat_input_close(struct chat_input *in) {
	if (!in)
		return;
	if (in->el)
		el_end(in->el);
	if (in->history)
		history_end(in->history);
	free(in);
}

/* A line without its end; NULL at the end of the input.  Malloc'd. */
static char *input_read_line(struct chat_input *in, const char *prompt) {
	int n = 0;
	in->prompt = prompt;
	in->cancelled = false;
	/* before the prompt is seen: libedit itself does it after, and keys typed in between would have their usual meanings */
	el_set(in->el, EL_PREP_TERM, 1);
	fputs("\033[?2004h", stdout);
	fflush(stdout);
	const char *line = el_gets(in->el, &n);
	fputs(line ? "\033[?2004l" : "\033[?2004l\n", stdout);
	fflush(stdout);
	if (!line || n <= 0)
		return NULL;
	size_t len = (size_t)n;
	while (len > 0 && line[len - 1] == '\n')
		len--;
	return strndup(line, len);
}

static char *input_join(char *a, char *b) {
	char *both = NULL;
	if (a && b && asprintf(&both, "%s\n%s", a, b) < 0)
		both = NULL;
	free(a);
	free(b);
	return both;
}

/* Reads lines until one ends with """; NULL: it was cancelled. */
static char *input_read_block(struct chat_input *in, char *text) {
	size_t begin, end;
	bool closed = false;
	while (text && chat_parse_block(text, strlen(text), &begin, &end, &closed) && !closed) {
		char *line = input_read_line(in, "... ");
		if (!line || in->cancelled || strlen(text) + strlen(line) > INPUT_MAX) {
			free(line);
			free(text);
			return NULL;
		}
		text = input_join(text, line);
	}
	return text;
}

enum chat_input_kind chat_input_read(struct chat_input *in, char **text) {
	size_t begin, end;
	bool closed;
	*text = NULL;
	char *line = input_read_line(in, "> ");
	if (!line)
		return INPUT_END;
	if (in->cancelled || line[strspn(line, " \t\n")] == '\0') {
		free(line);
		return in->cancelled ? INPUT_CANCELLED : INPUT_NOTHING;
	}
	bool block = chat_parse_block(line, strlen(line), &begin, &end, &closed);
	if (block && !(line = input_read_block(in, line)))
		return INPUT_CANCELLED;
	input_remember(in, line);
	if (block && chat_parse_block(line, strlen(line), &begin, &end, &closed)) {
		memmove(line, line + begin, end - begin);
		line[end - begin] = '\0';
	}
	*text = line;
	return block ? INPUT_BLOCK : INPUT_LINE;
}
