/* schema: the values that every field of every message may have, as a table, and the validator.
 *
 * Owns: one entry per field, in the order of caravan.proto.  A field without an entry is refused, and found by a test.
 * Conditions on several fields (stages that follow each other, rows that add up) are in `check`; payloads are in wire.c.
 * Threads: pure; any thread. */
#ifndef PROTO_SCHEMA_H
#define PROTO_SCHEMA_H
#include "proto/wire.h"

enum field_kind {
	FIELD_ANY,           /* a number or a flag, any value */
	FIELD_NUM,           /* an integer, min..max */
	FIELD_REAL,          /* finite, min..max */
	FIELD_ENUM,          /* 0..max */
	FIELD_ID,            /* 32 bytes; a list: min..max of them */
	FIELD_NAME,          /* wire_name_ok */
	FIELD_NAME_OR_EMPTY, /* wire_name_ok, or empty */
	FIELD_LINE,          /* wire_line_ok, min..max bytes; a list: at most max, each up to WIRE_TEXT_MAX */
	FIELD_TEXT, /* UTF-8 of any characters, min..max bytes; a list: at most max, each up to WIRE_TEXT_MAX */
	FIELD_ENDPOINT, /* wire_endpoint_ok, or empty */
	FIELD_PACKED,   /* little-endian uint32s in bytes, min..max of them */
	FIELD_MESSAGE,  /* a message, required if min is 1; a list: min..max of them */
};

struct field_schema {
	uint8_t tag;
	uint8_t kind;
	double min, max;
};

#define SCHEMA_FIELDS_MAX 40

struct message_schema {
	const ProtobufCMessageDescriptor *of;
	struct field_schema fields[SCHEMA_FIELDS_MAX]; /* up to the first tag 0 */
	bool (*check)(const void *message, char *err, size_t errlen);
};

extern const struct message_schema schema_messages[];
extern const size_t schema_nmessages;

/* Whether the message and all messages in it are valid; false with a sentence that names the field. */
bool schema_check(const ProtobufCMessage *m, char *err, size_t errlen);

#endif
