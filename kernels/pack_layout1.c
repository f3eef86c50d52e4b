/* pack_layout1: see pack_layout1.h.
 *
 * Layout 1 kept the heads of all blocks of a strip before the bodies of all blocks, and the units of each field in the order
 * of the canonical block:
 *   strip = head[0] .. head[k-1] body[0] .. body[k-1]          k = n / block
 * Both layouts are permutations of the bytes within a strip, so a strip begins at the same offset in both.
 * Pure; any thread. */
#include "kernels/pack_layout1.h"
#include "kernels/pack.h"
#include <string.h>

static void unpack_strip(enum kern_type type, uint8_t *dst, const uint8_t *src, size_t count, size_t n) {
	const struct kern_field *field = kern_layout(type)->field;
	const struct kern_traits *t = kern_traits(type);
	size_t row = kern_row_bytes(type, n), blocks = n / t->block, head = 0;
	for (int f = 0; f < KERN_FIELDS && field[f].length; f++)
		head += field[f].body ? 0 : field[f].length;
	const uint8_t *part[2] = {src, src + head * blocks * KERN_STRIP};
	for (size_t b = 0; b < blocks; b++)
		for (int f = 0; f < KERN_FIELDS && field[f].length; f++) {
			const uint8_t **from = &part[field[f].body];
			uint8_t *to = dst + b * t->bytes + field[f].offset;
			size_t unit = field[f].unit;
			for (size_t i = 0; i < field[f].length; i += unit)
				for (size_t r = 0; r < count; r++)
					memcpy(to + r * row + i, *from + i * KERN_STRIP + r * unit, unit);
			*from += (size_t)field[f].length * KERN_STRIP;
		}
}

void kern_unpack_layout1(enum kern_type type, void *dst, const void *src, size_t rows, size_t n) {
	size_t row = kern_row_bytes(type, n);
	for (size_t r = 0; r < rows; r += KERN_STRIP)
		unpack_strip(type, (uint8_t *)dst + r * row, (const uint8_t *)src + r * row,
		        rows - r < KERN_STRIP ? rows - r : KERN_STRIP, n);
}
