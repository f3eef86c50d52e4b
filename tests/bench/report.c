/* bench/report: the rows of a run, told in the end: what missed its target, for people; everything, as JSON. */
#include "tests/bench/bench.h"
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

void bench_cpu_name(char *out, size_t size) {
	char line[512];
	FILE *f = fopen("/proc/cpuinfo", "r");
	snprintf(out, size, "unknown");
	while (f && fgets(line, sizeof line, f)) {
		char *at = strchr(line, ':');
		if (at && !strncmp(line, "model name", 10)) {
			at[strcspn(at, "\n")] = '\0';
			snprintf(out, size, "%s", at + 2);
			break;
		}
	}
	if (f)
		fclose(f);
}

static void bench_set_number(json_t *o, const char *name, double v) {
	if (!isnan(v))
		json_object_set_new(o, name, json_real(v));
}

int bench_write_json(const struct bench *b, const char *name, const char *path, const char *cpu) {
	const char *commit = getenv("BENCH_COMMIT");
	char date[32] = "";
	time_t now = time(NULL);
	struct tm tm;
	if (gmtime_r(&now, &tm))
		strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &tm);
	json_t *rows = json_array(), *all;
	for (size_t i = 0; i < b->nrows; i++) {
		const struct bench_row *r = &b->rows[i];
		json_t *o = json_pack("{s:s, s:f, s:s}", "name", r->name, "value", r->value, "unit", r->unit);
		bench_set_number(o, "low", r->low);
		bench_set_number(o, "high", r->high);
		bench_set_number(o, "bound", r->bound);
		bench_set_number(o, "target", r->target);
		if (!isnan(r->target))
			json_object_set_new(o, "met", json_boolean(bench_met(r)));
		json_array_append_new(rows, o);
	}
	all = json_pack("{s:s, s:s, s:s, s:i, s:s, s:o}", "bench", name, "date", date, "cpu", cpu,
	        "processors", (int)sysconf(_SC_NPROCESSORS_ONLN), "commit",
	        commit && *commit ? commit : "unknown", "rows", rows);
	if (b->ops)
		json_object_set_new(all, "level", json_string(b->ops->name));
	int rc = all ? json_dump_file(all, path, JSON_INDENT(1) | JSON_REAL_PRECISION(6)) : -1;
	json_decref(all);
	if (rc)
		fprintf(stderr, "bench: %s cannot be written: %s\n", path, strerror(errno));
	return rc ? 1 : 0;
}

void bench_summary(const struct bench *b) {
	size_t with = 0, met = 0;
	for (size_t i = 0; i < b->nrows; i++)
		if (!isnan(b->rows[i].target)) {
			with++;
			met += bench_met(&b->rows[i]);
		}
	if (!with)
		return;
	printf("\n%zu of %zu targets met", met, with);
	if (met < with)
		printf("; missed:");
	printf("\n");
	for (size_t i = 0; i < b->nrows; i++) {
		const struct bench_row *r = &b->rows[i];
		if (!isnan(r->target) && !bench_met(r))
			printf("  %-28s %6.2f %s; target %.2f\n", r->name, r->value, r->unit, r->target);
	}
}
