/* Descriptions of machines: what is read keeps its bounds, and what is not is told with its line. */
#include "daemon/plan/machines.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	char err[200] = "";
	struct machines ms = {0};
	int rc = machines_parse(&ms, (const char *)data, len, "f", err, sizeof err);
	if (rc != 0 ? strncmp(err, "f:", 2) != 0 || !wire_line_ok(err, sizeof err) : err[0] != 0)
		abort();
	if (ms.count > WIRE_NODES_MAX)
		abort();
	for (size_t i = 0; i < ms.count; i++) {
		const struct machine *m = &ms.machine[i];
		struct planner_node n = machines_node(m, 8192);
		if (!wire_name_ok(m->name) || m->memory == 0 || m->threads == 0 || !isfinite(n.hop) ||
		        n.hop <= 0 || !isfinite(n.disk) || n.disk < 0)
			abort();
		for (size_t t = 0; t < KERN_TYPES; t++)
			if (!isfinite(n.bytes_per_second[t]) || n.bytes_per_second[t] < 0)
				abort();
	}
	machines_clear(&ms);
	return 0;
}
