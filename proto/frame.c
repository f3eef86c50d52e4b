/* frame: see frame.h. */
#include "proto/frame.h"
#include <errno.h>

static void frame_put32(uint8_t *p, size_t v) {
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

static size_t frame_get32(const uint8_t *p) {
	return (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
}

void frame_header(uint8_t out[FRAME_HEADER], size_t envelope, size_t payload) {
	frame_put32(out, envelope);
	frame_put32(out + 4, payload);
}

int frame_parse(const uint8_t in[FRAME_HEADER], size_t *envelope, size_t *payload) {
	*envelope = frame_get32(in);
	*payload = frame_get32(in + 4);
	return *envelope > WIRE_ENVELOPE_MAX || *payload > WIRE_PAYLOAD_MAX ? -EMSGSIZE : 0;
}
