/* dispatch: the table of ISA levels and the choice of one, and of the ways of its products.
 * The level is chosen once, before threads start; a way may be chosen at any time. */
#include "config.h"
#include "kernels/kernels.h"
#include "kernels/ref/ref.h"
#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
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

bool avx2_fetches_near;

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

static bool is_intel(void) {
	return __builtin_cpu_is("intel");
}

/* Intel's that have AVX-VNNI are the ones that need no patch that makes gathers slow. */
static bool is_fast_at_gathers(void) {
	return is_intel() && says_avxvnni();
}
#else
static bool never(void) {
	return false;
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

#define HAS_I8MM (1ul << 13) /* HWCAP2_I8MM */
static bool have_i8mm(void) {
	return have_dotprod() && (getauxval(AT_HWCAP2) & HAS_I8MM);
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
        {&kern_ops_i8mm, have_i8mm, false},
#endif
};
enum { LEVELS = sizeof levels / sizeof *levels };

static const struct kern_ops *chosen;

/* Of the level in use. */
static _Atomic(const struct kern_way *) chosen_ways[KERN_TYPES][KERN_CLASSES];

/* Families of processors on which another way than the first is the default, where both are there (doc/performance.md). */
static const struct {
	bool (*of)(void);
	const char *first, *instead;
} families[] = {
#ifdef __x86_64__
        {is_early_zen, "far prefetch", "near prefetch"},
        {is_intel, "far prefetch", "4 strips"},
        {is_fast_at_gathers, "loads", "gathers"},
        {is_fast_at_gathers, "512 bits, loads", "512 bits, gathers"},
#else
        {never, "", ""},
#endif
};

static const struct kern_way *way_named(const struct kern_way *ways, const char *name) {
	while (ways->name && strcmp(ways->name, name))
		ways++;
	return ways->name ? ways : NULL;
}

const struct kern_way *kern_way_default(const struct kern_ops *ops, uint32_t type, enum kern_class class) {
	const struct kern_way *ways = ops->ways[type][class], *way;
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		if (!strcmp(ways->name, families[i].first) && families[i].of() &&
		        (way = way_named(ways, families[i].instead)))
			return way;
	return ways;
}

enum kern_class kern_class(size_t cols) {
	return cols <= 1   ? KERN_COLS_1
	       : cols <= 2 ? KERN_COLS_2
	       : cols <= 4 ? KERN_COLS_4
	       : cols <= 8 ? KERN_COLS_8
	                   : KERN_COLS_MORE;
}

size_t kern_class_most(enum kern_class class) {
	static const size_t most[KERN_CLASSES] = {1, 2, 4, 8, 0};
	return most[class];
}

const char *kern_class_name(enum kern_class class) {
	static const char *const names[KERN_CLASSES] = {"1", "2", "3 to 4", "5 to 8", "9 or more"};
	return names[class];
}

const struct kern_way *kern_way_in_use(uint32_t type, enum kern_class class) {
	return atomic_load_explicit(&chosen_ways[type][class], memory_order_relaxed);
}

void kern_way_choose(uint32_t type, enum kern_class class, const struct kern_way *way) {
	if (!way)
		way = kern_way_default(kern_ops(), type, class);
	atomic_store_explicit(&chosen_ways[type][class], way, memory_order_relaxed);
}

kern_mul_fn *kern_mul(const struct kern_ops *ops, uint32_t type, size_t cols) {
	enum kern_class class = kern_class(cols);
	return (ops == chosen ? kern_way_in_use(type, class) : kern_way_default(ops, type, class))->mul;
}

/* Takes this level into use, with the defaults. */
static void choose_level(const struct kern_ops *ops) {
	chosen = ops;
	for (uint32_t t = 0; t < KERN_TYPES; t++)
		for (int c = 0; c < KERN_CLASSES && ops->ways[t][c]; c++)
			kern_way_choose(t, (enum kern_class)c, NULL);
}

/* Whether this processor runs a level.  It is asked once: in a virtual machine each cpuid takes microseconds. */
static bool level_runs(size_t k) {
	static _Atomic unsigned known; /* a bit for each level that runs: of the first always */
	unsigned runs = atomic_load_explicit(&known, memory_order_relaxed);
	if (!runs) {
		for (size_t i = 0; i < LEVELS; i++)
			runs |= levels[i].runs() ? 1u << i : 0;
		atomic_store_explicit(&known, runs, memory_order_relaxed);
	}
	return runs >> k & 1;
}

const struct kern_ops *kern_level(size_t i) {
	for (size_t k = 0; k < LEVELS; k++)
		if (level_runs(k) && i-- == 0)
			return levels[k].ops;
	return NULL;
}

int kern_init(char *err, size_t errlen) {
	const char *name = getenv("CARAVAN_CPU");
#ifdef __x86_64__
	avx2_fetches_near = is_early_zen();
#endif
	if (!name || !*name) {
		const struct kern_ops *best = NULL;
		for (size_t k = 0; k < LEVELS; k++)
			if (!levels[k].opt_in && level_runs(k))
				best = levels[k].ops;
		choose_level(best);
		return 0;
	}
	for (size_t k = 0; k < LEVELS; k++) {
		if (strcmp(levels[k].ops->name, name))
			continue;
		if (!level_runs(k)) {
			snprintf(err, errlen, "CARAVAN_CPU=%s: this processor lacks that instruction set",
			        name);
			return -EINVAL;
		}
		choose_level(levels[k].ops);
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
