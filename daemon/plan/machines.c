/* machines: see machines.h. */
#include "daemon/plan/machines.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORD_MAX 96 /* bytes of a name, or of key=value */
#define LINK_SHARE \
	0.88 /* of the bits of a link carry activations; gives PLANNER_LINK_RATE for gigabit Ethernet */
#define THREADS 4
#define ROUND_TRIP 0.4e-3
#define MEMORY_MAX 9007199254740992.0 /* the bound of proto/schema.c */
#define RATE_MAX 1e15

struct place {
	const char *file;
	unsigned line;
	char *err;
	size_t errlen;
};

static int machines_refuse(const struct place *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int machines_refuse(const struct place *p, const char *fmt, ...) {
	va_list ap;
	int n = snprintf(p->err, p->errlen, "%s:%u: ", p->file, p->line);
	va_start(ap, fmt);
	if (n >= 0 && (size_t)n < p->errlen)
		vsnprintf(p->err + n, p->errlen - (size_t)n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- values ---- */

struct unit {
	const char *name;
	double factor;
};

static const struct unit sizes[] = {
        {"", 1}, {"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1099511627776.0}, {NULL, 0}};
static const struct unit rates[] = {{"MB/s", 1e6}, {"GB/s", 1e9}, {NULL, 0}};
static const struct unit links[] = {{"Mbit/s", 1e6 / 8 * LINK_SHARE}, {"Gbit/s", 1e9 / 8 * LINK_SHARE},
        {"MB/s", 1e6}, {"GB/s", 1e9}, {NULL, 0}};
static const struct unit times[] = {{"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {NULL, 0}};
static const struct unit counts[] = {{"", 1}, {NULL, 0}};

/* A decimal number with a unit, within these bounds; false for anything else. */
static bool machines_parse_number(
        const char *text, const struct unit *unit, double min, double max, double *out) {
	size_t digits = strspn(text, "0123456789"), all = strspn(text, "0123456789.");
	if (digits == 0 || all - digits > 16 || (all > digits && strspn(text + digits, ".") != 1) ||
	        strspn(text + digits + (all > digits), "0123456789") + (all > digits) != all - digits)
		return false;
	for (; unit->name; unit++)
		if (strcasecmp(text + all, unit->name) == 0) {
			*out = strtod(text, NULL) * unit->factor;
			return *out >= min && *out <= max;
		}
	return false;
}

static bool machines_parse_count(const char *text, unsigned min, unsigned max, unsigned *out) {
	double v;
	if (strchr(text, '.') || !machines_parse_number(text, counts, min, max, &v))
		return false;
	*out = (unsigned)v;
	return true;
}

/* ---- lines ---- */

/* A line while it is parsed: the keys seen so far. */
struct line {
	struct machine m;
	double bandwidth;
	unsigned count;
	bool memory, threads, link, round_trip;
};

static int machines_refuse_repeated(const struct place *p, const char *key) {
	return machines_refuse(p, "%s occurs twice", key);
}

/* The rate of one weight type; -ENOENT when the key is not a type. */
static int machines_parse_type(const struct place *p, struct line *l, const char *key, const char *value) {
	for (uint32_t t = 0; t < KERN_TYPES; t++) {
		const struct kern_traits *traits = kern_traits(t);
		if (!traits || strcasecmp(traits->name, key) != 0)
			continue;
		if (l->m.rate[t] > 0)
			return machines_refuse_repeated(p, traits->name);
		if (!machines_parse_number(value, rates, 1, RATE_MAX, &l->m.rate[t]))
			return machines_refuse(
			        p, "%s: '%s' is not a rate such as 18GB/s or 900MB/s", traits->name, value);
		return 0;
	}
	return -ENOENT;
}

static int machines_parse_word(const struct place *p, struct line *l, const char *key, const char *value) {
	double v;
	if (strcmp(key, "memory") == 0) {
		if (l->memory)
			return machines_refuse_repeated(p, key);
		if (!machines_parse_number(value, sizes, 1, MEMORY_MAX, &v))
			return machines_refuse(p, "memory: '%s' is not a size such as 512M or 12G", value);
		l->m.memory = (uint64_t)v;
		l->memory = true;
	} else if (strcmp(key, "bandwidth") == 0) {
		if (l->bandwidth > 0)
			return machines_refuse_repeated(p, key);
		if (!machines_parse_number(value, rates, 1, RATE_MAX, &l->bandwidth))
			return machines_refuse(
			        p, "bandwidth: '%s' is not a rate such as 18GB/s or 900MB/s", value);
	} else if (strcmp(key, "disk") == 0) {
		if (l->m.disk > 0)
			return machines_refuse_repeated(p, key);
		if (!machines_parse_number(value, rates, 1, RATE_MAX, &l->m.disk))
			return machines_refuse(p, "disk: '%s' is not a rate such as 2GB/s or 500MB/s", value);
	} else if (strcmp(key, "space") == 0) {
		if (l->m.space)
			return machines_refuse_repeated(p, key);
		if (!machines_parse_number(value, sizes, 1, MEMORY_MAX, &v))
			return machines_refuse(p, "space: '%s' is not a size such as 64G or 2T", value);
		l->m.space = (uint64_t)v;
	} else if (strcmp(key, "link") == 0) {
		if (l->link)
			return machines_refuse_repeated(p, key);
		if (!machines_parse_number(value, links, 1, RATE_MAX, &l->m.link))
			return machines_refuse(
			        p, "link: '%s' is not a rate such as 1Gbit/s or 40MB/s", value);
		l->link = true;
	} else if (strcmp(key, "round-trip") == 0) {
		if (l->round_trip)
			return machines_refuse_repeated(p, key);
		if (!machines_parse_number(value, times, 0, 60, &l->m.round_trip))
			return machines_refuse(
			        p, "round-trip: '%s' is not a time such as 0.4ms, up to 60s", value);
		l->round_trip = true;
	} else if (strcmp(key, "threads") == 0) {
		if (l->threads)
			return machines_refuse_repeated(p, key);
		if (!machines_parse_count(value, 1, 1024, &l->m.threads))
			return machines_refuse(
			        p, "threads: '%s' is not a whole number from 1 to 1024", value);
		l->threads = true;
	} else if (strcmp(key, "count") == 0) {
		if (l->count)
			return machines_refuse_repeated(p, key);
		if (!machines_parse_count(value, 1, WIRE_NODES_MAX, &l->count))
			return machines_refuse(
			        p, "count: '%s' is not a whole number from 1 to %d", value, WIRE_NODES_MAX);
	} else {
		int rc = machines_parse_type(p, l, key, value);
		return rc == -ENOENT
		               ? machines_refuse(p,
		                         "unknown key '%s': memory, bandwidth, a weight type such as Q4_0, "
		                         "disk, space, threads, link, round-trip and count are known",
		                         key)
		               : rc;
	}
	return 0;
}

static int machines_add(const struct place *p, struct machines *ms, const struct machine *m) {
	for (size_t i = 0; i < ms->count; i++)
		if (strcmp(ms->machine[i].name, m->name) == 0)
			return machines_refuse(p, "the name %s occurs twice", m->name);
	if (ms->count == WIRE_NODES_MAX)
		return machines_refuse(p, "more than %d machines", WIRE_NODES_MAX);
	struct machine *grown = realloc(ms->machine, (ms->count + 1) * sizeof *grown);
	if (!grown) {
		machines_refuse(p, "out of memory");
		return -ENOMEM;
	}
	ms->machine = grown;
	ms->machine[ms->count++] = *m;
	return 0;
}

static int machines_add_line(const struct place *p, struct machines *ms, struct line *l) {
	char name[WIRE_NAME_MAX + 1];
	int rc = 0;
	if (!l->memory)
		return machines_refuse(p, "%s has no memory=SIZE", l->m.name);
	for (uint32_t t = 0; t < KERN_TYPES; t++)
		if (l->m.rate[t] == 0 && kern_traits(t))
			l->m.rate[t] = l->bandwidth;
	memcpy(name, l->m.name, sizeof name);
	for (unsigned i = 1; i <= (l->count ? l->count : 1) && rc == 0; i++) {
		if (l->count && snprintf(l->m.name, sizeof l->m.name, "%.*s-%u", WIRE_NAME_MAX, name, i) >
		                        WIRE_NAME_MAX)
			return machines_refuse(
			        p, "the name %s-%u is longer than %d bytes", name, i, WIRE_NAME_MAX);
		rc = machines_add(p, ms, &l->m);
	}
	return rc;
}

/* Skips blanks and returns the length of the next word of [*at, end), up to a blank or a comment; 0 at the end of the line. */
static size_t machines_next_word(const char **at, const char *end) {
	size_t n = 0;
	while (*at < end && (**at == ' ' || **at == '\t' || **at == '\r'))
		(*at)++;
	while (*at + n < end && !memchr(" \t\r#", (*at)[n], 4))
		n++;
	return n;
}

static int machines_parse_line(const struct place *p, struct machines *ms, const char *at, const char *end) {
	struct line l = {.m = {.threads = THREADS, .link = PLANNER_LINK_RATE, .round_trip = ROUND_TRIP}};
	char text[WORD_MAX + 1];
	int rc = 0;
	bool first = true;
	for (size_t n; rc == 0 && (n = machines_next_word(&at, end)); at += n) {
		if (n > WORD_MAX)
			return machines_refuse(p, "a word of %zu bytes is too long", n);
		memcpy(text, at, n);
		text[n] = '\0';
		if (strlen(text) != n || !wire_line_ok(text, WORD_MAX))
			return machines_refuse(p, "this is not text");
		char *equals = strchr(text, '=');
		if (first) {
			if (!wire_name_ok(text))
				return machines_refuse(p,
				        "'%s' is not a name: a line begins with one, of letters, digits, '.', '_' "
				        "and '-'",
				        text);
			snprintf(l.m.name, sizeof l.m.name, "%.*s", WIRE_NAME_MAX, text);
		} else if (!equals) {
			return machines_refuse(p, "'%s' is not of the form KEY=VALUE", text);
		} else {
			*equals = '\0';
			rc = machines_parse_word(p, &l, text, equals + 1);
		}
		first = false;
	}
	return rc == 0 && !first ? machines_add_line(p, ms, &l) : rc;
}

int machines_parse(
        struct machines *m, const char *text, size_t len, const char *file, char *err, size_t errlen) {
	struct place p = {.file = file, .err = err, .errlen = errlen};
	const char *end = text + len;
	int rc = 0;
	while (text < end && rc == 0) {
		const char *stop = memchr(text, '\n', (size_t)(end - text));
		p.line++;
		rc = machines_parse_line(&p, m, text, stop ? stop : end);
		text = stop ? stop + 1 : end;
	}
	return rc;
}

void machines_clear(struct machines *m) {
	free(m->machine);
	*m = (struct machines){0};
}

struct planner_node machines_node(const struct machine *m, uint32_t dim) {
	struct planner_node n = {.name = m->name,
	        .memory = m->memory,
	        .disk = m->disk,
	        .disk_known = m->space > 0,
	        .disk_free = m->space,
	        .rate = m->link,
	        .hop = planner_hop(m->round_trip, m->link, dim)};
	memcpy(n.bytes_per_second, m->rate, sizeof n.bytes_per_second);
	return n;
}
