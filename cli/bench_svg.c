/* bench_svg: draws what caravan bench has measured: on the left prompts, on the right answers; above, the rates over the number of
 * streams, a line for each length of prompts; below, where the time of steps goes, stage by stage, for the longest prompts with the
 * fewest and the most streams. */
#include "cli/bench_result.h"
#include "cli/svg.h"
#include "common/size.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 900.0
#define COLUMN 400.0 /* width of a half, */
#define LEFT 30.0    /* and where it begins */
#define GAP 40.0     /* between the two */
#define CHART_TOP 164.0
#define CHART 220.0 /* height */
#define SCALE 46.0  /* left of a chart, for its numbers */
#define BARS_TOP (CHART_TOP + CHART + 84)
#define BAR 14.0   /* height of one, */
#define ROW 22.0   /* and from one to the next */
#define NAME 128.0 /* left of the bars */
#define SHARE 44.0 /* right of the bars */
#define BARS_HEAD 26.0
#define BARS_FOOT 46.0
#define MARKS 5 /* of an axis */

struct drawing {
	FILE *to;
	const struct bench_result *r;
	unsigned streams[BENCH_CELLS_MAX], prompts[BENCH_CELLS_MAX]; /* ascending */
	size_t nstreams, nprompts;
};

static const char *const phase_title[BENCH_PHASES] = {
        "Prefill: tokens of prompts a second", "Decode: tokens a second, all streams together"};
static const char *const phase_word[BENCH_PHASES] = {"Prefill", "Decode"};
/* parts of a stage's time, in the order of struct bench_times; their colours and names */
static const int part_colour[] = {3, 0, 5, 2};
static const char *const part_name[] = {"waiting", "computing", "held", "on the wire"};

/* ---- what there is ------------------------------------------------------------------------------- */

/* Adds a number to an ascending list, once. */
static void drawing_add(unsigned *list, size_t *n, unsigned v) {
	size_t i = 0;
	while (i < *n && list[i] < v)
		i++;
	if (i < *n && list[i] == v)
		return;
	memmove(&list[i + 1], &list[i], (*n - i) * sizeof *list);
	list[i] = v;
	++*n;
}

/* The last one, if a list named it twice; NULL if none. */
static const struct bench_cell *drawing_cell(const struct drawing *d, unsigned prompt, unsigned streams) {
	const struct bench_cell *found = NULL;
	for (size_t i = 0; i < d->r->cells; i++)
		if (d->r->cell[i].prompt == prompt && d->r->cell[i].streams == streams)
			found = &d->r->cell[i];
	return found;
}

static struct bench_spread drawing_rate(
        const struct drawing *d, const struct bench_cell *c, enum bench_phase phase) {
	return phase == BENCH_PREFILL ? BENCH_SPREAD(d->r, c->prefill, prompt_rate)
	                              : BENCH_SPREAD(d->r, c->decode, rate);
}

static double drawing_predicted(const struct drawing *d, enum bench_phase phase) {
	return phase == BENCH_PREFILL ? d->r->predicted_prompt : d->r->predicted;
}

static double drawing_left(enum bench_phase phase) {
	return phase == BENCH_PREFILL ? LEFT : LEFT + COLUMN + GAP;
}

/* ---- heading ------------------------------------------------------------------------------------- */

static void drawing_say_nodes(const struct drawing *d) {
	char names[480] = "";
	size_t shown = 0, len = 0;
	for (; shown < d->r->nodes && shown < 6; shown++) {
		struct svg_name name = svg_shorten(d->r->node[shown], 14);
		int n = snprintf(names + len, sizeof names - len, "%s%s", shown ? ", " : "", name.s);
		if (n < 0 || (size_t)n >= sizeof names - len)
			break;
		len += (size_t)n;
	}
	names[len] = '\0';
	svg_text(d->to, LEFT, 60, "dim", "%zu node%s: %s%s", d->r->nodes, d->r->nodes == 1 ? "" : "s", names,
	        shown < d->r->nodes ? " \u2026" : "");
}

static void drawing_say_run(const struct drawing *d) {
	char date[64] = "";
	struct tm tm;
	if (gmtime_r(&d->r->date, &tm))
		strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &tm);
	svg_text(d->to, LEFT, 78, "dim", "%s; answers of %u tokens%s; median of %u run%s%s", date,
	        d->r->generate, d->r->undrafted ? " without drafts" : "", d->r->runs,
	        d->r->runs == 1 ? "" : "s", d->r->runs > 1 ? ", with the lowest and the highest" : "");
}

static void drawing_legend(const struct drawing *d) {
	char class[8];
	double x = LEFT;
	for (size_t i = 0; i < d->nprompts; i++) {
		snprintf(class, sizeof class, "s%zu", i % SVG_COLOURS);
		svg_line(d->to, x, 101, x + 18, 101, class);
		svg_text(d->to, x + 24, 105, "", i ? "%u" : "prompts of %u tokens", d->prompts[i]);
		x += i ? 78 : 180;
	}
	if (d->r->predicted > 0 || d->r->predicted_prompt > 0) {
		svg_line(d->to, WIDTH - LEFT - 186, 56, WIDTH - LEFT - 166, 56, "axis predicted");
		svg_text(d->to, WIDTH - LEFT, 60, "end", "predicted, of one stream");
	}
}

/* ---- rates --------------------------------------------------------------------------------------- */

static double drawing_x(const struct drawing *d, double left, size_t i) {
	double step = (COLUMN - SCALE) / (double)d->nstreams;
	return left + SCALE + step * ((double)i + 0.5);
}

/* Where a rate is, of an axis that ends at `most`. */
static double drawing_y(double rate, double most) {
	return CHART_TOP + CHART * (1 - rate / most);
}

static double drawing_most(const struct drawing *d, enum bench_phase phase, double *step) {
	double most = drawing_predicted(d, phase);
	for (size_t i = 0; i < d->r->cells; i++) {
		double high = drawing_rate(d, &d->r->cell[i], phase).high;
		most = high > most ? high : most;
	}
	*step = svg_step(most, MARKS);
	double end = *step;
	while (end < most)
		end += *step;
	return end;
}

static void drawing_axes(const struct drawing *d, enum bench_phase phase, double step, double most) {
	double left = drawing_left(phase);
	svg_text(d->to, left, CHART_TOP - 18, "head", "%s", phase_title[phase]);
	for (unsigned i = 0; step * i <= most * 1.0001; i++) {
		double y = drawing_y(step * i, most);
		svg_line(d->to, left + SCALE, y, left + COLUMN, y, i ? "grid" : "axis");
		svg_text(d->to, left + SCALE - 8, y + 4, "dim end", "%g", step * i);
	}
	for (size_t i = 0; i < d->nstreams; i++)
		svg_text(
		        d->to, drawing_x(d, left, i), CHART_TOP + CHART + 18, "dim mid", "%u", d->streams[i]);
	svg_text(d->to, left + SCALE + (COLUMN - SCALE) / 2, CHART_TOP + CHART + 36, "dim mid",
	        "streams at once");
}

/* The lines of a length of prompts. */
static void drawing_series(const struct drawing *d, enum bench_phase phase, size_t series, double most) {
	char class[8], thin[16];
	double from_x = 0, from_y = 0;
	/* beside each other, so that none hides another */
	double left = drawing_left(phase) + 7 * ((double)series - ((double)d->nprompts - 1) / 2);
	bool first = true;
	snprintf(class, sizeof class, "s%zu", series % SVG_COLOURS);
	snprintf(thin, sizeof thin, "s%zu thin", series % SVG_COLOURS);
	for (size_t i = 0; i < d->nstreams; i++) {
		const struct bench_cell *c = drawing_cell(d, d->prompts[series], d->streams[i]);
		if (!c)
			continue;
		struct bench_spread s = drawing_rate(d, c, phase);
		double x = drawing_x(d, left, i), y = drawing_y(s.median, most);
		if (!first)
			svg_line(d->to, from_x, from_y, x, y, class);
		if (d->r->runs > 1)
			svg_line(d->to, x, drawing_y(s.low, most), x, drawing_y(s.high, most), thin);
		first = false;
		from_x = x;
		from_y = y;
	}
	for (size_t i = 0; i < d->nstreams; i++) {
		const struct bench_cell *c = drawing_cell(d, d->prompts[series], d->streams[i]);
		if (c)
			svg_dot(d->to, drawing_x(d, left, i),
			        drawing_y(drawing_rate(d, c, phase).median, most), 4, class);
	}
}

/* The medians as numbers, if there is one line. */
static void drawing_numbers(const struct drawing *d, enum bench_phase phase, double most) {
	for (size_t i = 0; d->nprompts == 1 && i < d->nstreams; i++) {
		const struct bench_cell *c = drawing_cell(d, d->prompts[0], d->streams[i]);
		double rate = c ? drawing_rate(d, c, phase).median : 0;
		if (rate > 0)
			svg_text(d->to, drawing_x(d, drawing_left(phase), i) + 9, drawing_y(rate, most) - 8,
			        "", "%s", size_rate(rate).s);
	}
}

static void drawing_chart(const struct drawing *d, enum bench_phase phase) {
	double step, most = drawing_most(d, phase, &step), predicted = drawing_predicted(d, phase);
	drawing_axes(d, phase, step, most);
	if (predicted > 0 && d->streams[0] == 1) {
		double x = drawing_x(d, drawing_left(phase), 0), y = drawing_y(predicted, most);
		svg_line(d->to, x - 16, y, x + 16, y, "axis predicted");
	}
	for (size_t i = 0; i < d->nprompts; i++)
		drawing_series(d, phase, i, most);
	drawing_numbers(d, phase, most);
}

/* ---- stages -------------------------------------------------------------------------------------- */

static double drawing_stage_seconds(const struct bench_times *t) {
	return t->waited + t->computed + t->held + t->wire;
}

static void drawing_stage(const struct drawing *d, double left, double y, const struct bench_stage *s,
        const struct bench_times *t, double all, double most) {
	const double part[] = {t->waited, t->computed, t->held, t->wire};
	double x = left + NAME, scale = (COLUMN - NAME - SHARE) / most / all;
	char class[8];
	svg_text(d->to, left + NAME - 8, y + 11, s->name ? "end" : "dim end", "%s",
	        s->name ? svg_shorten(s->name, 16).s : "embedding, output");
	for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
		snprintf(class, sizeof class, "f%d", part_colour[i]);
		svg_bar(d->to, x, y, part[i] * scale, BAR, class);
		x += part[i] * scale;
	}
	svg_text(d->to, x + 6, y + 11, "dim", "%.1f%%", 100 * drawing_stage_seconds(t) / all);
}

/* Draws the stages of a cell below y. */
static void drawing_stages(
        const struct drawing *d, enum bench_phase phase, const struct bench_cell *c, double y) {
	double left = drawing_left(phase), all = bench_cell_seconds(c, phase), most = 0;
	svg_text(d->to, left, y, "", "%s, prompts of %u tokens, %u stream%s", phase_word[phase], c->prompt,
	        c->streams, c->streams == 1 ? "" : "s");
	for (size_t i = 0; i < c->stages; i++) {
		double share = all > 0 ? drawing_stage_seconds(&c->stage[i].time[phase]) / all : 0;
		most = share > most ? share : most;
	}
	for (size_t i = 0; most > 0 && i < c->stages; i++)
		drawing_stage(
		        d, left, y + 12 + ROW * (double)i, &c->stage[i], &c->stage[i].time[phase], all, most);
	if (!(most > 0))
		svg_text(d->to, left, y + 24, "dim", "not known: the plan changed meanwhile");
}

static void drawing_parts(const struct drawing *d, double y) {
	static const double at[] = {0, 92, 192, 262};
	char class[8];
	svg_text(d->to, LEFT, y, "head", "Shares of the time of all steps, stage by stage");
	for (size_t i = 0; i < sizeof part_name / sizeof *part_name; i++) {
		double x = drawing_left(BENCH_DECODE) + at[i];
		snprintf(class, sizeof class, "f%d", part_colour[i]);
		svg_bar(d->to, x, y - 10, 11, 11, class);
		svg_text(d->to, x + 17, y, "", "%s", part_name[i]);
	}
}

/* The cells whose stages are shown. */
static size_t drawing_shown(const struct drawing *d, const struct bench_cell *out[2]) {
	unsigned longest = d->prompts[d->nprompts - 1];
	out[0] = drawing_cell(d, longest, d->streams[0]);
	out[1] = drawing_cell(d, longest, d->streams[d->nstreams - 1]);
	return d->nstreams > 1 ? 2 : 1;
}

static double drawing_cell_height(const struct bench_cell *c) {
	return BARS_HEAD + ROW * (double)(c->stages ? c->stages : 1) + 14;
}

void bench_draw(FILE *to, const struct bench_result *r) {
	struct drawing d = {.to = to, .r = r};
	const struct bench_cell *shown[2];
	char title[300];
	double height = BARS_TOP, y = BARS_TOP + 30;
	for (size_t i = 0; i < r->cells && i < BENCH_CELLS_MAX; i++) {
		drawing_add(d.streams, &d.nstreams, r->cell[i].streams);
		drawing_add(d.prompts, &d.nprompts, r->cell[i].prompt);
	}
	if (r->cells == 0)
		return;
	size_t n = drawing_shown(&d, shown);
	for (size_t i = 0; i < n; i++)
		height += drawing_cell_height(shown[i]);
	snprintf(title, sizeof title, "%s: tokens a second", svg_shorten(r->model, 60).s);
	svg_begin(to, WIDTH, height + 24, title);
	fputs("<style>.predicted{stroke-width:2;stroke-dasharray:5 4}.thin{stroke-width:1.2;opacity:.8}</style>\n",
	        to);
	svg_text(to, LEFT, 36, "title", "%s", title);
	drawing_say_nodes(&d);
	drawing_say_run(&d);
	drawing_legend(&d);
	for (enum bench_phase p = 0; p < BENCH_PHASES; p++)
		drawing_chart(&d, p);
	drawing_parts(&d, BARS_TOP);
	for (size_t i = 0; i < n; i++, y += drawing_cell_height(shown[i - 1]))
		for (enum bench_phase p = 0; p < BENCH_PHASES; p++)
			drawing_stages(&d, p, shown[i], y);
	svg_end(to);
}
