/* sim/payloads: counts payloads, and ends the test where one is used after it was freed or freed twice.
 *
 * It stands before daemon/net/payload.c, whose functions it calls (linked with --wrap, WRAP_SIM). */
#ifndef TESTS_SIM_PAYLOADS_H
#define TESTS_SIM_PAYLOADS_H
#include <stddef.h>

size_t payloads_open(void); /* that were made and not freed yet */

#endif
