/* report: see report.h. */
#include "cli/report.h"
#include "cli/command.h"
#include "cli/simple.h"

static int report_take(void *arg, struct client *c, const Caravan__Envelope *env) {
	if (env->body_case != CARAVAN__ENVELOPE__BODY_CTL_REPORT)
		return 0;
	return report_add(arg, client_take(c)) == 0 ? 0 : fail("out of memory");
}

int report_fetch(struct report *r, const struct args *a) {
	Caravan__CtlStatus cmd = CARAVAN__CTL_STATUS__INIT;
	Caravan__Envelope ask = WIRE_ENVELOPE(CTL_STATUS, ctl_status, &cmd);
	*r = (struct report){0};
	int rc = simple_ask(a, &ask, report_take, r);
	if (rc != 0)
		report_clear(r);
	return rc;
}

int report_fetch_from(struct report *r, struct client *c) {
	Caravan__CtlStatus cmd = CARAVAN__CTL_STATUS__INIT;
	Caravan__Envelope ask = WIRE_ENVELOPE(CTL_STATUS, ctl_status, &cmd);
	*r = (struct report){0};
	int rc = client_send(c, &ask, NULL, 0, NULL, 0);
	if (rc == 0)
		rc = client_wait_with(c, report_take, r);
	if (rc != 0)
		report_clear(r);
	return rc;
}

int report_print_json(const struct report *r) {
	return simple_json(report_json(r));
}
