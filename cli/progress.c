/* progress: see progress.h.  Several nodes work at once; the bar shows each node's last word as one sum a kind of
 * work, so that it never jumps back. */
#include "cli/progress.h"
#include "proto/size.h"
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define NODES_MAX WIRE_NODES_MAX

static struct {
	char what[32];
	char node[NODES_MAX][WIRE_NAME_MAX + 1];
	uint64_t done[NODES_MAX], total[NODES_MAX];
	size_t nodes;
	double began, shown;
	bool standing;
} bar;

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static unsigned columns(void) {
	struct winsize w;
	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col >= 20 ? w.ws_col : 80;
}

void progress_clear(void) {
	if (bar.standing)
		fprintf(stderr, "\r\033[K");
	bar.standing = false;
	bar.nodes = 0;
	*bar.what = '\0';
}

void progress_show(const Caravan__CtlProgress *p) {
	char line[512], left[24] = "";
	size_t i = 0;
	if (!isatty(STDERR_FILENO))
		return;
	if (strncmp(bar.what, p->what, sizeof bar.what - 1) != 0) {
		progress_clear();
		snprintf(bar.what, sizeof bar.what, "%s", p->what);
		bar.began = now();
		bar.shown = 0;
	}
	while (i < bar.nodes && strcmp(bar.node[i], p->node) != 0)
		i++;
	if (i == NODES_MAX)
		return;
	if (i == bar.nodes)
		snprintf(bar.node[bar.nodes++], sizeof bar.node[0], "%s", p->node);
	bar.done[i] = p->done;
	bar.total[i] = p->total;
	double t = now(), done = 0, total = 0;
	for (i = 0; i < bar.nodes; i++) {
		done += (double)bar.done[i];
		total += (double)bar.total[i];
	}
	if (total <= 0 || (t - bar.shown < 0.1 && done < total))
		return;
	bar.shown = t;
	double rate = t > bar.began ? done / (t - bar.began) : 0;
	if (rate > 0 && done < total)
		snprintf(left, sizeof left, ", %.0f s left", (total - done) / rate);
	int n = snprintf(line, sizeof line, "%-9s %3.0f%%  %s of %s, %s/s%s", bar.what, 100 * done / total,
	        size_text(done).s, size_text(total).s, size_text(rate).s, left);
	if (bar.nodes > 1)
		snprintf(line + n, sizeof line - (size_t)n, "  (%zu nodes)", bar.nodes);
	fprintf(stderr, "\r\033[K%.*s", (int)columns() - 1, line);
	fflush(stderr);
	bar.standing = true;
}
