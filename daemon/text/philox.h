/* philox: Philox4x32-10, a random function of a counter and a key (Salmon, Moraes, Dror, Shaw, "Parallel
 * random numbers: as easy as 1, 2, 3", 2011).
 * Pure; any thread. */
#ifndef DAEMON_TEXT_PHILOX_H
#define DAEMON_TEXT_PHILOX_H
#include <stdint.h>

void philox4x32_10(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]);

#endif
