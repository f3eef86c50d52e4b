/* An assertion for loops of thousands: Check sends each assertion that passes to its parent process, which costs more than most of
 * what is asserted, above all under the sanitizers.  This one is silent until it fails. */
#ifndef TESTS_UNIT_CHECK_OFTEN_H
#define TESTS_UNIT_CHECK_OFTEN_H
#include <check.h>

#define ck_assert_often(expression) \
	do { \
		if (!(expression)) \
			ck_abort_msg("Assertion '%s' failed", #expression); \
	} while (0)
#endif
