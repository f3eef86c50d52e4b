/* progress: see progress.h.  Several nodes work at the same time, each at its own step; the bar shows the step with the
 * most left, summed over its nodes.
 * The rate is that of the last five to ten seconds, counted from the first report of each node: what was done
 * before, such as chunks that are already on disk, took no time. */
#include "cli/progress.h"
#include "cli/answer.h"
#include "common/size.h"
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define NODES_MAX WIRE_NODES_MAX
#define REDRAW_S 0.1
#define RATE_FROM_S 0.5 /* no rate is shown before */
#define WINDOW_S 5.0
#define BAR_LEAST 8
#define BAR_MOST 24

static struct {
	struct entry {
		char node[WIRE_NAME_MAX + 1], what[32];
		double done, total;
		bool tokens;
	} entry[NODES_MAX];
	size_t entries;
	/* the samples that the rate is computed from, of the step that is shown */
	char what[32];
	struct mark {
		double at, done;
	} before, last;
	double shown;
	bool standing;
	bool words, below; /* what stands are words; below the line of the cursor */
} bar;

static double progress_now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static unsigned progress_columns(void) {
	struct winsize w;
	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20 ? w.ws_col : 80;
}

static void progress_amounts(char *out, size_t size, const struct progress_line *l) {
	if (l->tokens)
		snprintf(out, size, "%.0f of %.0f tokens", l->done, l->total);
	else
		snprintf(out, size, "%s of %s", size_text(l->done).s, size_text(l->total).s);
}

static void progress_rate_text(char *out, size_t size, const struct progress_line *l) {
	if (l->tokens)
		snprintf(out, size, ", %s tokens/s", size_rate(l->rate).s);
	else
		snprintf(out, size, ", %s/s", size_text(l->rate).s);
}

void progress_text(char *out, size_t size, unsigned cols, const struct progress_line *l) {
	char head[2 * WIRE_NAME_MAX + 32], sum[64], rate[48] = "", left[64] = "", graph[BAR_MOST + 4] = "";
	double part = l->total > 0 ? l->done / l->total : 0;
	part = part < 0 ? 0 : part > 1 ? 1 : part;
	if (l->nodes > 1)
		snprintf(head, sizeof head, "%zu nodes: %s", l->nodes, l->what);
	else
		snprintf(head, sizeof head, "%s%s%s", l->node, *l->node ? ": " : "", l->what);
	progress_amounts(sum, sizeof sum, l);
	if (l->rate > 0) {
		progress_rate_text(rate, sizeof rate, l);
		if (part < 1)
			snprintf(left, sizeof left, ", %s left", size_time((l->total - l->done) / l->rate).s);
	}
	/* 5: the percentage; one column stays free, because some terminals wrap at the last */
	size_t fixed = strlen(head) + 5 + 2 + strlen(sum) + strlen(rate) + strlen(left) + 1;
	if (fixed + 3 + BAR_LEAST <= cols) {
		size_t width = cols - fixed - 3;
		width = width > BAR_MOST ? BAR_MOST : width;
		size_t full = (size_t)(part * (double)width);
		char *p = graph;
		*p++ = ' ';
		*p++ = '[';
		memset(p, '#', full);
		memset(p + full, '.', width - full);
		memcpy(p + width, "]", 2);
	} else if (fixed > cols) {
		*rate = '\0';
		fixed = strlen(head) + 5 + 2 + strlen(sum) + strlen(left) + 1;
		if (fixed > cols)
			*sum = '\0';
	}
	const char *time = *sum || *rate ? left : left + (*left ? 2 : 0);
	int n = snprintf(out, size, "%s%s %3.0f%%%s%s%s%s", head, graph, floor(100 * part),
	        *sum || *time ? "  " : "", sum, rate, time);
	if (n > 0 && (size_t)n >= cols && cols > 0 && cols <= size)
		out[cols - 1] = '\0';
}

bool progress_standing(void) {
	return bar.standing;
}

/* The line below is there first, for a cursor that is kept does not move when the screen does. */
#define BELOW "\033D\033[A\0337\r\n"
#define BACK "\0338"

void progress_clear(void) {
	if (bar.standing)
		fprintf(stderr, "\r\033[K%s", bar.below ? BACK : "");
	bar.standing = bar.words = bar.below = false;
	bar.entries = 0;
	*bar.what = '\0';
}

void progress_say(const char *text, bool dim, bool below) {
	if (!isatty(STDERR_FILENO))
		return;
	progress_clear();
	fprintf(stderr, "%s%s%.*s%s", below ? BELOW : "", dim ? ANSWER_DIM : "", (int)progress_columns() - 1,
	        text, dim ? ANSWER_DIM_END : "");
	fflush(stderr);
	bar.standing = bar.words = true;
	bar.below = below;
}

/* The slot for a node's report; NULL: all slots are used. */
static struct entry *progress_keep_sample(const Caravan__CtlProgress *p) {
	struct entry *e = bar.entry;
	while (e < bar.entry + bar.entries && strcmp(e->node, p->node) != 0)
		e++;
	if (e == bar.entry + NODES_MAX)
		return NULL;
	bool same = e < bar.entry + bar.entries && strncmp(e->what, p->what, sizeof e->what - 1) == 0;
	if (e == bar.entry + bar.entries) {
		bar.entries++;
		snprintf(e->node, sizeof e->node, "%s", p->node);
	}
	if (!same) {
		snprintf(e->what, sizeof e->what, "%s", p->what);
		/* what was done before its first report does not count for the rate */
		if (strcmp(bar.what, e->what) == 0) {
			bar.before.done += (double)p->done;
			bar.last.done += (double)p->done;
		}
	}
	e->done = (double)p->done;
	e->total = (double)p->total;
	e->tokens = p->tokens;
	return e;
}

/* The step with the most left: the sum over its nodes. */
static struct progress_line progress_sum(void) {
	struct progress_line l = {.node = ""};
	const struct entry *most = NULL;
	for (const struct entry *e = bar.entry; e < bar.entry + bar.entries; e++)
		if (!most || e->total - e->done > most->total - most->done)
			most = e;
	l.what = most->what;
	l.tokens = most->tokens;
	for (const struct entry *e = bar.entry; e < bar.entry + bar.entries; e++) {
		if (strcmp(e->what, most->what) != 0)
			continue;
		l.nodes++;
		l.node = e->node;
		l.done += e->done;
		l.total += e->total;
	}
	return l;
}

/* Over the last seconds; 0 while there are too few samples. */
static double progress_rate_of(const struct progress_line *l, double t) {
	if (strcmp(bar.what, l->what) != 0) {
		snprintf(bar.what, sizeof bar.what, "%s", l->what);
		bar.before = bar.last = (struct mark){t, l->done};
	}
	if (t - bar.last.at >= WINDOW_S) {
		bar.before = bar.last;
		bar.last = (struct mark){t, l->done};
	}
	double seconds = t - bar.before.at, done = l->done - bar.before.done;
	return seconds >= RATE_FROM_S && done > 0 ? done / seconds : 0;
}

void progress_show(const Caravan__CtlProgress *p) {
	char line[512];
	if (bar.words)
		progress_clear();
	if (!isatty(STDERR_FILENO) || p->total == 0 || !progress_keep_sample(p))
		return;
	double t = progress_now();
	struct progress_line l = progress_sum();
	l.rate = progress_rate_of(&l, t);
	if (t - bar.shown < REDRAW_S && l.done < l.total)
		return;
	bar.shown = t;
	progress_text(line, sizeof line, progress_columns(), &l);
	fprintf(stderr, "\r\033[K%s", line);
	fflush(stderr);
	bar.standing = true;
}
