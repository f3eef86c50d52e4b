/* rules: what every field of every message may be, as a table, and the walk that checks a message against it.
 *
 * Owns: one row a field, in the order of the schema; a field without a row is refused by the walk and found
 * by a test.  What several fields say together (stages that follow each other, rows that add up) is the
 * function at the end of a message's rows; what payload goes with a message is said in wire.c.
 * Threads: pure; any thread. */
#ifndef PROTO_RULES_H
#define PROTO_RULES_H
#include "proto/wire.h"

enum rule_kind {
	RULE_ANY,   /* a number or a flag of which every value is good */
	RULE_NUM,   /* an integer, min..max */
	RULE_REAL,  /* finite, min..max */
	RULE_ENUM,  /* 0..max */
	RULE_ID,    /* 32 bytes; a list: min..max of them */
	RULE_NAME,  /* wire_name_ok */
	RULE_NAME0, /* the same, or empty */
	RULE_LINE,  /* wire_line_ok, min..max bytes; a list: at most max, each up to WIRE_TEXT_MAX */
	RULE_PROSE, /* UTF-8 of any characters, min..max bytes; a list: at most max, each up to WIRE_TEXT_MAX */
	RULE_ENDPOINT, /* wire_endpoint_ok, or empty */
	RULE_PACKED,   /* little-endian uint32s in bytes, min..max of them */
	RULE_PART,     /* a message, needed if min is 1; a list: min..max of them */
};

struct rule {
	uint8_t tag;
	uint8_t kind;
	double min, max;
};

#define RULES_FIELDS_MAX 24

struct shape {
	const ProtobufCMessageDescriptor *of;
	struct rule rules[RULES_FIELDS_MAX]; /* up to the first tag 0 */
	bool (*whole)(const void *message, char *err, size_t errlen);
};

extern const struct shape rules_shapes[];
extern const size_t rules_nshapes;

/* Whether the message and everything in it keeps the rules; false with a sentence that names the field. */
bool rules_check(const ProtobufCMessage *m, char *err, size_t errlen);

#endif
