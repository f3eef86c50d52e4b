/* top_view: what caravan top shows, as lines of text: the cluster, a node, a model, the problems.
 * Owns: the lines of a view and the history of the throughput.  Pure; knows no terminal. */
#ifndef CLI_TOP_VIEW_H
#define CLI_TOP_VIEW_H
#include "cli/report.h"

#define TOP_HISTORY 240   /* looks, one a second */
#define TOP_MODELS_MAX 64 /* that have a history */

enum top_page { TOP_CLUSTER, TOP_NODE, TOP_MODEL, TOP_PROBLEMS, TOP_HELP };
enum top_table { TOP_NODES, TOP_MODELS };
enum top_sort { TOP_BY_NAME, TOP_BY_RATE, TOP_BY_MEMORY, TOP_BY_LATENCY, TOP_SORTS };

/* Tokens a second of a model, look by look. */
struct top_history {
	char model[WIRE_NAME_MAX + 1];
	double rate[TOP_HISTORY];
	size_t looks; /* the last TOP_HISTORY of these are kept, look i at i % TOP_HISTORY */
};

/* What is shown, and from what. */
struct top {
	const struct report *report; /* borrowed; NULL: none yet */
	const char *trouble;         /* why there is no newer report; NULL: there is */
	struct top_history history[TOP_MODELS_MAX];
	size_t histories;
	enum top_page page;
	enum top_table table;                                   /* that the selection is in */
	enum top_sort sort;                                     /* of the nodes */
	char node[WIRE_NAME_MAX + 1], model[WIRE_NAME_MAX + 1]; /* that are selected; empty: the first */
	unsigned width;
	bool bars;   /* bars and sparklines, which a screen reader cannot read */
	bool blocks; /* the terminal has characters for sparklines */
};

enum top_style { TOP_TEXT, TOP_TITLE, TOP_GOOD, TOP_BAD, TOP_HEAD, TOP_SELECTED };

struct top_line {
	char *text; /* without a newline, at most `width` columns */
	enum top_style style;
};

struct top_lines {
	struct top_line *line;
	size_t n;
	size_t selected; /* the line of the selection; n: none */
};

/* Takes a new report into the histories. */
void top_note(struct top *t, const struct report *r);

/* The lines of the page.  NULL lines: out of memory. */
struct top_lines top_view(const struct top *t);
void top_lines_free(struct top_lines *l);

/* Moves the selection by so many rows within its table. */
void top_move(struct top *t, int rows);

#endif
