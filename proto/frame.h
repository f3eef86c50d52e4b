/* frame: envelopes on the control socket, a stream: a header of eight bytes (lengths of envelope and payload,
 * little-endian uint32), the envelope, the payload.  Descriptors may come with the header.
 * Pure; any thread. */
#ifndef PROTO_FRAME_H
#define PROTO_FRAME_H
#include "proto/wire.h"

#define FRAME_HEADER 8
#define FRAME_FDS_MAX 64 /* descriptors with one message: the parts of a split model */

void frame_header(uint8_t out[FRAME_HEADER], size_t envelope, size_t payload);

/* 0, or -EMSGSIZE when a length is over its limit. */
int frame_parse(const uint8_t in[FRAME_HEADER], size_t *envelope, size_t *payload);

#endif
