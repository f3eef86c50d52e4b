/* top_internal: shared by the files that make the lines of caravan top. */
#ifndef CLI_TOP_INTERNAL_H
#define CLI_TOP_INTERNAL_H
#include "cli/table.h"
#include "cli/top_view.h"
#include "common/size.h"

/* top_view.c: adds a line; a text, wrapped; "label  value"; a table, of which a row (from 0; -1: none) is selected. */
void top_add(struct top_lines *l, enum top_style style, const char *text, size_t len);
void top_say(struct top_lines *l, unsigned width, enum top_style style, unsigned indent, const char *fmt, ...)
        __attribute__((format(printf, 5, 6)));
void top_fact(struct top_lines *l, const struct top *t, const char *label, const char *fmt, ...)
        __attribute__((format(printf, 4, 5)));
void top_add_table(struct top_lines *l, struct table *t, unsigned width, int selected);
/* A share of 0 to 1: "[||||      ]"; without bars "40%". */
struct size_text top_bar(const struct top *t, double share);
struct size_text top_rate_text(double per_second);
/* What a model does now: nothing, unless its coordinator is up and it serves. */
const Caravan__ModelState *top_work(const Caravan__ReportModel *m);
/* Adds the history of a rate, if it is not all 0; stream 0: of the model. */
void top_add_history(struct top_lines *l, const struct top *t, const char *model, uint64_t stream);

/* top_events.c: the latest events of a node, if they are known. */
void top_add_events(struct top_lines *l, const struct top *t, const char *node);

/* top_streams.c: a stream, and the model whose it is. */
struct top_stream {
	const Caravan__ReportModel *model;
	const Caravan__StreamState *state;
};
/* The streams of a model (NULL: of all), in the order that is wanted; the caller frees them.  Returns their number. */
size_t top_streams(const struct top *t, const Caravan__ReportModel *of, struct top_stream **out);
/* The selected one; its state is NULL if none. */
struct top_stream top_find_stream(const struct top *t);
void top_move_stream(struct top *t, int rows);
/* A table of the streams of a model (NULL: of all, with the selection), if there are any. */
void top_add_streams(struct top_lines *l, const struct top *t, const Caravan__ReportModel *of);
void top_view_stream(struct top_lines *l, const struct top *t);

#endif
