/* refuse: answers a message with a sentence that says why it is not done.  See peers.h. */
#include "daemon/net/peers.h"
#include <stdarg.h>
#include <stdio.h>

static int peers_refuse_v(
        struct peers *p, const struct peers_from *from, uint32_t busy, const char *fmt, va_list ap) {
	char reason[WIRE_TEXT_MAX + 1];
	Caravan__Refused refused = CARAVAN__REFUSED__INIT;
	Caravan__Envelope env = WIRE_ENVELOPE(REFUSED, refused, &refused);
	vsnprintf(reason, sizeof reason, fmt, ap);
	/* a sentence may quote what others sent, or have been cut within a character */
	if (!wire_line_ok(reason, WIRE_TEXT_MAX))
		for (char *c = reason; *c; c++)
			if ((unsigned char)*c < 0x20 || (unsigned char)*c > 0x7e)
				*c = '?';
	refused.reason = reason;
	refused.busy = busy;
	return peers_answer(p, from, &env, NULL);
}

int peers_refuse(struct peers *p, const struct peers_from *from, const char *fmt, ...) {
	va_list ap;
	va_start(ap, fmt);
	int rc = peers_refuse_v(p, from, 0, fmt, ap);
	va_end(ap);
	return rc;
}

int peers_refuse_busy(
        struct peers *p, const struct peers_from *from, uint32_t seconds, const char *fmt, ...) {
	va_list ap;
	va_start(ap, fmt);
	int rc = peers_refuse_v(p, from, seconds, fmt, ap);
	va_end(ap);
	return rc;
}
