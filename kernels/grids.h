/* grids: the codebooks of IQ1, IQ2 and IQ3: an entry is the bytes of four or eight neighbouring elements, the first in the lowest byte.
 *
 * Those of IQ2 and IQ3 are magnitudes, whose signs are elsewhere in a block; those of IQ1 are -8, 0 or 8, eight times the weight, to which
 * the block adds or subtracts one.  Constant after the start of the program. */
#ifndef KERNELS_GRIDS_H
#define KERNELS_GRIDS_H
#include <stdbool.h>
#include <stdint.h>

extern uint64_t kern_grid_iq2_xxs[256], kern_grid_iq2_xs[512], kern_grid_iq2_s[1024], kern_grid_iq1[2048];
extern uint32_t kern_grid_iq3_xxs[256], kern_grid_iq3_s[512];

/* The codebooks of eight elements as digits of two bits, in one word: bits 0, 1 of byte k are the digit of element k, bits 2, 3 that of
 * element k + 4. */
extern uint32_t kern_digits_iq2_xxs[256], kern_digits_iq2_xs[512], kern_digits_iq2_s[1024],
        kern_digits_iq1[2048];

#endif
