/* fields: what a request's JSON says, read by name and checked at once.
 *
 * The first thing that is wrong is kept, with the name of its field, and what follows reads as absent; so a handler reads all that it
 * knows and looks once.  null is absent.  Numbers may come as strings.  Fields that nobody reads are ignored.
 * Threads: the HTTP server's. */
#ifndef DAEMON_API_ROUTES_FIELDS_H
#define DAEMON_API_ROUTES_FIELDS_H
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A body of JSON takes up to a hundred times its length as values: it has at most so many. */
#define FIELDS_VALUES_MAX 1000000
#define FIELDS_CONTAINERS_MAX 100000 /* of these, objects and arrays */
#define FIELDS_DEPTH_MAX 128         /* within each other */

struct fields {
	json_t *body; /* an object; owned */
	size_t size;  /* bytes that it was read from */
	int status;   /* 0, or what the answer's is to be: 400, or 500 for want of memory */
	char param[64];
	char error[320];
};

/* The body of a request; what is not a JSON object is an error. */
void fields_parse(struct fields *f, const char *body, size_t len);
void fields_clear(struct fields *f);

/* Keeps an error, if it is the first. */
void fields_fail(struct fields *f, const char *param, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
static inline bool fields_ok(const struct fields *f) {
	return f->status == 0;
}

/* A field of an object (NULL: of the body), or NULL where it is absent. */
const json_t *fields_get(const struct fields *f, const json_t *o, const char *name);
bool fields_bool(struct fields *f, const json_t *o, const char *name, bool otherwise);
double fields_real(struct fields *f, const json_t *o, const char *name, double otherwise);
int64_t fields_integer(
        struct fields *f, const json_t *o, const char *name, int64_t least, int64_t most, int64_t otherwise);
/* Borrowed from the body. */
const char *fields_string(struct fields *f, const json_t *o, const char *name, const char *otherwise);

/* Refuses a field that is there and is not false, 0, empty, or (`but` not NULL) that string. */
void fields_refuse(struct fields *f, const json_t *o, const char *name, const char *but);

#endif
