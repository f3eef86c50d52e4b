/* caravan top: the cluster as it is now, on the whole terminal, with keys. */
#include "cli/command.h"
#include "cli/simple.h"
#include "cli/table.h"
#include "cli/top_view.h"
#include <curses.h>
#include <errno.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define LOOK_MS 1000 /* between two reports */
#define KEY_MS 100   /* a key is waited for */
#define ESCAPE_MS 25 /* a sequence of a key is waited for after Escape */
#define ESCAPE 27

enum { OPT_PLAIN = OPT_OWN };

static const struct option longs[] = {{"plain", no_argument, NULL, OPT_PLAIN}, ARGS_COMMON};

static const char help[] = "Shows the cluster as it is now, each second: nodes, models, the throughput of\n"
                           "the last minutes, the streams (prompts and answers under way, without their\n"
                           "text), and what is wrong.  Enter shows more of what is selected; ? lists the\n"
                           "keys; q quits.\n"
                           "\n"
                           "  --plain                print lines of text instead, each second, for a screen\n"
                           "                         reader or a pipe\n";

struct screen {
	struct args args;
	struct top top;
	struct report report[2]; /* the last one, and the one that is being fetched */
	unsigned newest;
	char trouble[512];
	int errors;      /* a file for what is said on standard error while the screen is in use */
	unsigned scroll; /* lines above the first that is shown */
	bool eventless;  /* the daemon is older and has no events */
	bool quit;
};

/* ---- looking ---- */

/* What was said on standard error since the last look, without "caravan: ". */
static void top_read_errors(struct screen *s) {
	static const char prefix[] = "caravan: ";
	ssize_t n = pread(s->errors, s->trouble, sizeof s->trouble - 1, 0);
	s->trouble[n > 0 ? n : 0] = '\0';
	s->trouble[strcspn(s->trouble, "\n")] = '\0';
	if (strncmp(s->trouble, prefix, sizeof prefix - 1) == 0)
		memmove(s->trouble, s->trouble + sizeof prefix - 1,
		        strlen(s->trouble + sizeof prefix - 1) + 1);
	if (ftruncate(s->errors, 0) == 0)
		lseek(s->errors, 0, SEEK_SET);
	s->top.trouble = *s->trouble ? s->trouble : "the daemon does not answer";
}

static int top_look(struct screen *s) {
	unsigned other = !s->newest;
	int rc = report_fetch(&s->report[other], &s->args);
	if (rc != 0)
		return rc;
	report_clear(&s->report[s->newest]);
	s->newest = other;
	s->top.trouble = NULL;
	top_note(&s->top, &s->report[other]);
	return 0;
}

static int top_take_event(void *events, struct client *c, const Caravan__Envelope *env) {
	struct top_events *e = events;
	if (env->body_case == CARAVAN__ENVELOPE__BODY_CTL_EVENT && e->n < TOP_EVENTS)
		e->env[e->n++] = client_take(c);
	return 0;
}

/* The events of the node whose page is shown; those of another one are not shown meanwhile. */
static void top_look_at_events(struct screen *s) {
	const char *node = top_shown_node(&s->top);
	struct top_events *e = &s->top.events;
	top_events_clear(e);
	if (!node || s->eventless)
		return;
	snprintf(e->node, sizeof e->node, "%s", node);
	Caravan__CtlEvents cmd = CARAVAN__CTL_EVENTS__INIT;
	cmd.last = TOP_EVENTS;
	cmd.node = e->node;
	cmd.known = true; /* the screen waits for no other node */
	Caravan__Envelope ask = WIRE_ENVELOPE(CTL_EVENTS, ctl_events, &cmd);
	s->eventless = simple_ask(&s->args, &ask, top_take_event, e) != 0;
	if (s->eventless)
		top_events_clear(e);
}

/* ---- the screen ---- */

static void top_paint_line(int row, const struct top_line *l) {
	static const struct {
		attr_t attributes;
		short pair;
	} look[] = {[TOP_TEXT] = {A_NORMAL, 0},
	        [TOP_TITLE] = {A_BOLD, 0},
	        [TOP_GOOD] = {A_BOLD, 1},
	        [TOP_BAD] = {A_BOLD, 2},
	        [TOP_HEAD] = {A_UNDERLINE, 0},
	        [TOP_SELECTED] = {A_REVERSE, 0}};
	attrset(look[l->style].attributes | (has_colors() ? COLOR_PAIR(look[l->style].pair) : 0));
	mvaddstr(row, 0, l->text);
	attrset(A_NORMAL);
}

/* The keys of the page, on the last row. */
static void top_paint_keys(const struct top *t, int row, bool more) {
	static const char *const keys[] = {
	        [TOP_CLUSTER] =
	                "Up/Down select  Enter more  Tab next table  s sort  p problems  ? keys  q quit",
	        [TOP_NODE] = "Esc back  Up/Down other nodes  p problems  ? keys  q quit",
	        [TOP_MODEL] = "Esc back  Up/Down other models  p problems  ? keys  q quit",
	        [TOP_STREAM] = "Esc back  Up/Down other streams  p problems  ? keys  q quit",
	        [TOP_PROBLEMS] = "Esc back  ? keys  q quit",
	        [TOP_HELP] = "Esc back  q quit"};
	attrset(A_REVERSE);
	mvhline(row, 0, ' ', COLS);
	mvaddnstr(row, 0, keys[t->page], COLS);
	if (more && COLS > (int)strlen(keys[t->page]) + 12)
		mvaddstr(row, COLS - 11, "PgDn more");
	attrset(A_NORMAL);
}

static void top_paint(struct screen *s) {
	s->top.width = COLS > 20 ? (unsigned)COLS : 20;
	struct top_lines l = top_view(&s->top);
	unsigned rows = LINES > 1 ? (unsigned)LINES - 1 : 1;
	if (l.selected < l.n && l.selected >= s->scroll + rows)
		s->scroll = (unsigned)l.selected - rows + 1;
	if (l.selected < s->scroll)
		s->scroll = (unsigned)l.selected;
	if (s->scroll + rows > l.n)
		s->scroll = l.n > rows ? (unsigned)(l.n - rows) : 0;
	erase();
	for (unsigned i = 0; i < rows && s->scroll + i < l.n; i++)
		top_paint_line((int)i, &l.line[s->scroll + i]);
	top_paint_keys(&s->top, LINES - 1, s->scroll + rows < l.n);
	refresh();
	top_lines_free(&l);
}

static void top_go(struct screen *s, enum top_page page) {
	s->top.page = page;
	s->scroll = 0;
}

static void top_on_key(struct screen *s, int key) {
	struct top *t = &s->top;
	switch (key) {
	case 'q':
		s->quit = true;
		break;
	case KEY_UP:
	case 'k':
		top_move(t, -1);
		break;
	case KEY_DOWN:
	case 'j':
		top_move(t, 1);
		break;
	case KEY_PPAGE:
		s->scroll -= s->scroll < (unsigned)LINES ? s->scroll : (unsigned)LINES;
		break;
	case KEY_NPAGE:
		s->scroll += (unsigned)LINES;
		break;
	case '\t':
		top_next_table(t);
		break;
	case '\n':
	case '\r':
	case KEY_ENTER:
		if (t->page == TOP_CLUSTER && top_enter(t))
			s->scroll = 0;
		break;
	case ESCAPE:
	case 'b':
	case KEY_BACKSPACE:
		top_go(s, TOP_CLUSTER);
		break;
	case 's':
		top_next_sort(t);
		break;
	case 'p':
		top_go(s, t->page == TOP_PROBLEMS ? TOP_CLUSTER : TOP_PROBLEMS);
		break;
	case '?':
	case 'h':
		top_go(s, t->page == TOP_HELP ? TOP_CLUSTER : TOP_HELP);
		break;
	default: /* KEY_RESIZE: it is painted again */
		break;
	}
}

static uint64_t top_now_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static void top_loop(struct screen *s) {
	uint64_t looked = 0;
	while (!s->quit) {
		bool news = top_now_ms() - looked >= LOOK_MS;
		if (news) {
			if (top_look(s) != 0)
				top_read_errors(s);
			else
				top_look_at_events(s);
			looked = top_now_ms();
		}
		int key = getch();
		if (key != ERR)
			top_on_key(s, key);
		if (news || key != ERR)
			top_paint(s);
	}
}

static int top_on_screen(struct screen *s) {
	int standard = dup(STDERR_FILENO);
	s->errors = memfd_create("caravan-top", MFD_CLOEXEC);
	if (standard < 0 || s->errors < 0)
		return fail("cannot set up the screen: %s", strerror(errno));
	SCREEN *terminal = newterm(NULL, stdout, stdin);
	if (!terminal)
		return fail("this terminal (%s) cannot show it: try --plain",
		        getenv("TERM") ? getenv("TERM") : "no TERM");
	set_term(terminal);
	dup2(s->errors, STDERR_FILENO);
	set_escdelay(ESCAPE_MS);
	cbreak();
	noecho();
	keypad(stdscr, true);
	curs_set(0);
	timeout(KEY_MS);
	if (has_colors() && !getenv("NO_COLOR")) {
		start_color();
		use_default_colors();
		init_pair(1, COLOR_GREEN, -1);
		init_pair(2, COLOR_RED, -1);
	}
	top_loop(s);
	endwin();
	delscreen(terminal);
	dup2(standard, STDERR_FILENO);
	close(standard);
	close(s->errors);
	return EXIT_OK;
}

/* ---- lines of text ---- */

static int top_in_lines(struct screen *s) {
	for (;;) {
		s->top.width = table_width();
		struct top_lines l = top_view(&s->top);
		for (size_t i = 0; i < l.n; i++)
			printf("%s\n", l.line[i].text);
		printf("\n");
		top_lines_free(&l);
		if (fflush(stdout) != 0)
			return EXIT_OK; /* nobody reads it any more */
		nanosleep(&(struct timespec){.tv_sec = LOOK_MS / 1000}, NULL);
		if (top_look(s) != 0)
			s->top.trouble = "the daemon does not answer";
	}
}

static int top_run(int argc, char **argv) {
	static struct screen s;
	bool plain = false;
	setlocale(LC_CTYPE, "");
	args_begin(&s.args, &command_top, argc, argv);
	for (int o; (o = args_next(&s.args, "", longs)) != -1;)
		plain = plain || o == OPT_PLAIN;
	args_operands(&s.args, 0, 0, "");
	if (!plain && (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)))
		args_usage(&s.args, "it needs a terminal: use --plain, or caravan status --watch");
	s.top.bars = !plain;
	s.top.blocks = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
	/* the first look says at once if there is no daemon */
	int rc = top_look(&s);
	if (rc == 0)
		rc = plain ? top_in_lines(&s) : top_on_screen(&s);
	top_events_clear(&s.top.events);
	report_clear(&s.report[0]);
	report_clear(&s.report[1]);
	return rc;
}

const struct command command_top = {.name = "top",
        .usage = "[--plain]",
        .summary = "watch the cluster: nodes, models, streams, throughput, problems",
        .help = help,
        .run = top_run};
