/* handshake: see handshake.h. */
#include "config.h"

#include "common/fail.h"
#include "daemon/net/handshake.h"
#include <stdio.h>

bool handshake_version_ok(uint32_t major, uint32_t minor, char *err, size_t errlen) {
	int64_t apart = (int64_t)minor - WIRE_MINOR;
	if (major == WIRE_MAJOR && apart >= -1 && apart <= 1)
		return true;
	return fail_with(false, err, errlen,
	        "protocol %u.%u does not work with %u.%u: upgrade the older node", major, minor, WIRE_MAJOR,
	        WIRE_MINOR);
}

void handshake_hello(Caravan__Hello *h, const struct peers_config *c, bool bulk) {
	h->major = WIRE_MAJOR;
	h->minor = WIRE_MINOR;
	h->arithmetic = c->arithmetic;
	h->bulk = bulk;
	if (!bulk && c->roster)
		c->roster(c->arg, &h->roster, &h->n_roster);
}

void handshake_welcome(Caravan__Welcome *w, const struct peers_config *c, bool bulk) {
	w->major = WIRE_MAJOR;
	w->minor = WIRE_MINOR;
	w->arithmetic = c->arithmetic;
	if (!bulk && c->roster)
		c->roster(c->arg, &w->roster, &w->n_roster);
}
