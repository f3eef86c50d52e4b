/* top_view: what caravan top shows, as lines of text: the cluster, a node, a model, a stream, the problems.
 * Owns: the lines of a view and the history of the throughput.  Pure; knows no terminal. */
#ifndef CLI_TOP_VIEW_H
#define CLI_TOP_VIEW_H
#include "cli/report.h"

#define TOP_HISTORY 240       /* looks, one a second */
#define TOP_HISTORIES_MAX 192 /* models and streams that have a history */

enum top_page { TOP_CLUSTER, TOP_NODE, TOP_MODEL, TOP_STREAM, TOP_PROBLEMS, TOP_HELP };
enum top_table { TOP_NODES, TOP_MODELS, TOP_STREAMS, TOP_TABLES };
enum top_sort { TOP_BY_NAME, TOP_BY_RATE, TOP_BY_MEMORY, TOP_BY_LATENCY, TOP_SORTS };
enum top_model_sort { TOP_MODELS_BY_NAME, TOP_MODELS_BY_RATE, TOP_MODELS_BY_RUNNING, TOP_MODELS_SORTS };
enum top_stream_sort {
	TOP_STREAMS_BY_MODEL, /* and in the order in which they came */
	TOP_STREAMS_BY_RATE,
	TOP_STREAMS_BY_TOKENS,
	TOP_STREAMS_BY_AGE,
	TOP_STREAMS_SORTS
};

/* Tokens a second of a model, or of one of its streams, look by look. */
struct top_history {
	char model[WIRE_NAME_MAX + 1];
	uint64_t stream; /* 0: the model */
	bool seen;       /* in the last report; else its place may be taken */
	double rate[TOP_HISTORY];
	size_t looks; /* the last TOP_HISTORY of these are kept, look i at i % TOP_HISTORY */
};

/* The latest events of a node; top_events.c. */
#define TOP_EVENTS 8
struct top_events {
	char node[WIRE_NAME_MAX + 1];
	Caravan__Envelope *env[TOP_EVENTS]; /* owned: CtlEvent */
	size_t n;
};

/* What is shown, and from what. */
struct top {
	const struct report *report; /* borrowed; NULL: none yet */
	struct top_events events;    /* of the node whose page is shown */
	const char *trouble;         /* why there is no newer report; NULL: there is */
	struct top_history history[TOP_HISTORIES_MAX];
	size_t histories;
	enum top_page page;
	enum top_table table; /* that the selection is in */
	enum top_sort sort;   /* of the nodes */
	enum top_model_sort sort_models;
	enum top_stream_sort sort_streams;
	char node[WIRE_NAME_MAX + 1], model[WIRE_NAME_MAX + 1]; /* that are selected; empty: the first */
	char stream_model[WIRE_NAME_MAX + 1];                   /* of the selected stream, */
	uint64_t stream;                                        /* 0: the first */
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

/* The name of the node whose page is shown, and whose events are; NULL: none is. */
const char *top_shown_node(const struct top *t);
void top_events_clear(struct top_events *e);

/* Moves the selection by so many rows within its table. */
void top_move(struct top *t, int rows);
/* Goes on to the next table that has rows. */
void top_next_table(struct top *t);
/* Sorts the table with the selection by its next column. */
void top_next_sort(struct top *t);
/* Opens the page of what is selected; false: nothing is. */
bool top_enter(struct top *t);

#endif
