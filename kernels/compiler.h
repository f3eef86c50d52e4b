/* compiler: hints to the compiler, for kernels of every ISA level. */
#ifndef KERNELS_COMPILER_H
#define KERNELS_COMPILER_H

/* Functions that take a type as a constant and are inlined into their callers, and loops whose index must
 * become a constant.  Where speed does not matter (KERNELS_SMALL: under the sanitizers) each function is
 * compiled once, not inlined: the same accesses with a twentieth of the code. */
#ifdef KERNELS_SMALL
#define INLINE static inline
#define UNROLL
#else
#define INLINE static inline __attribute__((always_inline))
#ifdef __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif
#endif

/* Makes a pointer look new: keeps the compiler from moving loads through it before a loop, and from spilling
 * the results. */
#define HIDE(p) __asm__("" : "+r"(p))

#endif
