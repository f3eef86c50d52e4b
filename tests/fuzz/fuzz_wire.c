/* Envelopes in every receive context.  The first byte chooses the context, the next two the payload's length; the rest is
 * the frame.  What passes is walked once more and packed again. */
#include "config.h"

#include "proto/wire.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	char err[300] = "";
	if (len < 3)
		return 0;
	enum wire_context context = (enum wire_context)(data[0] % (WIRE_COMMAND + 1));
	size_t payload = (size_t)(data[1] | data[2] << 8) * 4;
	Caravan__Envelope *e = wire_unpack(data + 3, len - 3, payload, context, err, sizeof err);
	if (!e)
		return err[0] ? 0 : (abort(), 0);
	uint8_t *frame;
	size_t packed;
	if (!wire_valid(e, payload, context, err, sizeof err))
		abort();
	if (wire_pack(e, &frame, &packed) == 0) {
		/* may fail: protobuf-c keeps fields that it does not know, and does not always pack them as they were */
		wire_free(wire_unpack(frame, packed, payload, context, err, sizeof err));
		free(frame);
	}
	wire_free(e);
	return 0;
}
