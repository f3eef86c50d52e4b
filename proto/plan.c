/* plan: see plan.h. */
#include "proto/plan.h"
#include <stdlib.h>

Caravan__Plan *plan_copy(const Caravan__Plan *p) {
	size_t len = caravan__plan__get_packed_size(p);
	uint8_t *buf = malloc(len ? len : 1);
	if (!buf)
		return NULL;
	caravan__plan__pack(p, buf);
	Caravan__Plan *copy = caravan__plan__unpack(NULL, len, buf);
	free(buf);
	return copy;
}

void plan_free(Caravan__Plan *p) {
	if (p)
		caravan__plan__free_unpacked(p, NULL);
}
