/* dispatch: the table of ISA levels, and the choice of one.
 * The choice is made once, before threads start; after that this file only reads. */
#include "config.h"
#include "kernels/kernels.h"
#include "kernels/ref/ref.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined __x86_64__
#include "kernels/avx2/avx2.h"
#include <cpuid.h>
#ifdef HAVE_AVX512
#include "kernels/avx512/avx512.h"
#endif
#elif defined __aarch64__
#include "kernels/neon/neon.h"
#include <sys/auxv.h>
#endif

static bool always(void) {
	return true;
}

#ifdef __x86_64__
/* Not every compiler's __builtin_cpu_supports knows the name; the system's support is checked with avx2. */
static bool have_f16c(void) {
	unsigned eax, ebx, ecx, edx;
	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}

static bool have_avx2(void) {
	return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && have_f16c();
}

bool avx2_fetches_near, avx2_side_by_side, avx2_gathers;

#define HAS_AVXVNNI (1u << 4) /* in eax of leaf 7, 1 */
static bool says_avxvnni(void) {
	unsigned eax, ebx, ecx, edx;
	return __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax & HAS_AVXVNNI);
}

/* Zen 1 to Zen 4. */
static bool is_early_zen(void) {
	unsigned eax, ebx, ecx, edx;
	if (!__builtin_cpu_is("amd") || !__get_cpuid(1, &eax, &ebx, &ecx, &edx))
		return false;
	unsigned family = (eax >> 8 & 15) + (eax >> 20 & 255);
	return family == 0x17 || family == 0x19;
}
#endif

#ifdef HAVE_AVXVNNI
static bool have_avxvnni(void) {
	return have_avx2() && says_avxvnni();
}
#endif

#ifdef HAVE_AVX512
static bool have_avx512(void) {
	return have_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
	       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static bool have_avx512vnni(void) {
	return have_avx512() && __builtin_cpu_supports("avx512vnni");
}
#endif

#ifdef __aarch64__
#define HAS_DOTPROD (1ul << 20) /* HWCAP_ASIMDDP of the kernel's <asm/hwcap.h> */
static bool have_dotprod(void) {
	return getauxval(AT_HWCAP) & HAS_DOTPROD;
}
#endif

/* From the lowest to the highest.  Opt-in levels are used only by name. */
static const struct {
	const struct kern_ops *ops;
	bool (*runs)(void);
	bool opt_in;
} levels[] = {
        {&kern_ops_ref, always, false},
#if defined __x86_64__
        {&kern_ops_avx2, have_avx2, false},
#ifdef HAVE_AVXVNNI
        {&kern_ops_avxvnni, have_avxvnni, false},
#endif
#ifdef HAVE_AVX512
        {&kern_ops_avx512, have_avx512, true},
        {&kern_ops_avx512vnni, have_avx512vnni, false},
#endif
#elif defined __aarch64__
        {&kern_ops_neon, always, false}, /* part of the architecture */
        {&kern_ops_dotprod, have_dotprod, false},
#endif
};
enum { LEVELS = sizeof levels / sizeof *levels };

static const struct kern_ops *chosen;

const struct kern_ops *kern_level(size_t i) {
	for (size_t k = 0; k < LEVELS; k++)
		if (levels[k].runs() && i-- == 0)
			return levels[k].ops;
	return NULL;
}

int kern_init(char *err, size_t errlen) {
	const char *name = getenv("CARAVAN_CPU");
#ifdef __x86_64__
	avx2_fetches_near = is_early_zen();
	avx2_side_by_side = __builtin_cpu_is("intel");
	/* Intel's that have AVX-VNNI are the ones that need no patch that makes gathers slow */
	avx2_gathers = __builtin_cpu_is("intel") && says_avxvnni();
#endif
	if (!name || !*name) {
		for (size_t k = 0; k < LEVELS; k++)
			if (!levels[k].opt_in && levels[k].runs())
				chosen = levels[k].ops;
		return 0;
	}
	for (size_t k = 0; k < LEVELS; k++) {
		if (strcmp(levels[k].ops->name, name))
			continue;
		if (!levels[k].runs()) {
			snprintf(err, errlen, "CARAVAN_CPU=%s: this processor lacks that instruction set",
			        name);
			return -EINVAL;
		}
		chosen = levels[k].ops;
		return 0;
	}
	snprintf(err, errlen, "CARAVAN_CPU=%s: unknown; known are", name);
	for (size_t k = 0; k < LEVELS; k++) {
		size_t used = strlen(err);
		snprintf(err + used, errlen - used, "%s %s", k ? "," : "", levels[k].ops->name);
	}
	return -EINVAL;
}

const struct kern_ops *kern_ops(void) {
	assert(chosen); /* kern_init comes first */
	return chosen;
}
