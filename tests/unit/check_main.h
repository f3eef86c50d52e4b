/* The main of every Check program: runs the suite that the file defines and prints TAP
 * on standard output, one line a test case, so that the harness counts cases and not programs.
 *
 * A file defines `static Suite *suite(void)` and includes this header last. */
#ifndef TESTS_UNIT_CHECK_MAIN_H
#define TESTS_UNIT_CHECK_MAIN_H
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

int main(void) {
	/* limits only end what hangs; on a busy machine, and sanitized, all takes longer */
	setenv("CK_TIMEOUT_MULTIPLIER", "8", 0);
	setvbuf(stdout, NULL, _IOLBF, 0); /* whoever reads along sees each case when it has ended */
	SRunner *sr = srunner_create(suite());
	srunner_set_tap(sr, "-");
	srunner_run_all(sr, CK_SILENT);
	int failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
#endif
