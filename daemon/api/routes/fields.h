/* fields: reads a request's JSON by name, checking each field.
 *
 * The first error is kept, with the name of its field, and everything after it reads as absent; so a handler
 * reads all fields and checks for an error once.  null counts as absent.  Numbers may be strings.  Unknown
 * fields are ignored.
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
	int status;   /* 0, or the status of the error: 400, or 500 when out of memory */
	char param[64];
	char error[320];
};

/* Parses the body of a request; anything but a JSON object is an error. */
void fields_parse(struct fields *f, const char *body, size_t len);
void fields_clear(struct fields *f);

/* Records an error, if it is the first. */
void fields_fail(struct fields *f, const char *param, const char *fmt, ...)
        __attribute__((format(printf, 3, 4)));
static inline bool fields_ok(const struct fields *f) {
	return f->status == 0;
}

/* A field of an object (NULL: of the body), or NULL if it is absent. */
const json_t *fields_get(const struct fields *f, const json_t *o, const char *name);
bool fields_bool(struct fields *f, const json_t *o, const char *name, bool otherwise);
double fields_real(struct fields *f, const json_t *o, const char *name, double otherwise);
int64_t fields_integer(
        struct fields *f, const json_t *o, const char *name, int64_t least, int64_t most, int64_t otherwise);
/* Borrowed from the body. */
const char *fields_string(struct fields *f, const json_t *o, const char *name, const char *otherwise);

/* Refuses a field, unless it is absent, false, 0, empty, or (if not NULL) the string `but`. */
void fields_refuse(struct fields *f, const json_t *o, const char *name, const char *but);

#endif
