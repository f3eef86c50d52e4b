/* page_rates: see page_rates.h. */
#include "daemon/calibration/page_rates.h"

#include "daemon/calibration/kernel_rates.h"
#include "daemon/core/loop.h"
#include "kernels/team.h"
#include "shard/store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define ROUNDS 7
#define ROUNDS_NS 700000000ull /* no round begins after this */
#define WIDTH 8192u            /* elements in a row */

/* Common ones, which gain differently. */
static const enum kern_type types[] = {KERN_Q4_0, KERN_Q4_K, KERN_Q8_0};
#define TYPES (sizeof types / sizeof *types)

struct page_rates {
	struct team *team;
	uint8_t *mapped, *huge; /* `bytes` each */
	size_t bytes;
	float *x, *y;
	void *act;
	/* of the product under way */
	kern_mul_fn *mul;
	const uint8_t *weights;
	size_t row_bytes, rows, act_bytes;
};

static bool page_rates_has_huge_pages(void) {
	char line[100] = "";
	FILE *f = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
	bool has = f && fgets(line, sizeof line, f) && !strstr(line, "[never]");
	if (f)
		fclose(f);
	return has;
}

/* ---- what is measured with ---- */

static uint8_t *page_rates_make_huge(size_t bytes) {
	uint8_t *p = aligned_alloc(STORE_HUGE_PAGE, bytes);
	if (!p)
		return NULL;
	madvise(p, bytes, MADV_HUGEPAGE);
	return memset(p, 0x3c, bytes);
}

static void page_rates_close(struct page_rates *p) {
	team_destroy(p->team);
	if (p->mapped)
		munmap(p->mapped, p->bytes);
	free(p->huge);
	free(p->x);
	free(p->y);
	free(p->act);
}

/* y: of the type with the shortest rows. */
static int page_rates_open(
        struct page_rates *p, const char *dir, size_t bytes, unsigned threads, const int *cpus) {
	size_t shortest = kern_row_bytes(KERN_Q4_0, WIDTH);
	*p = (struct page_rates){.bytes = bytes / 2 / KERNEL_RATES_FILL * KERNEL_RATES_FILL};
	p->mapped = kernel_rates_map_file(dir, p->bytes);
	p->huge = p->mapped ? page_rates_make_huge(p->bytes) : NULL;
	p->x = calloc(WIDTH, sizeof *p->x);
	p->y = malloc(p->bytes / shortest * sizeof *p->y);
	p->act = aligned_alloc(
	        KERN_ALIGN, kern_act_bytes(KERN_FORM_Q8_32, WIDTH) + kern_act_bytes(KERN_FORM_Q8_256, WIDTH));
	if (!p->huge || !p->x || !p->y || !p->act)
		return -ENOMEM;
	madvise(p->mapped, p->bytes, MADV_HUGEPAGE); /* as the store does */
	for (size_t i = 0; i < WIDTH; i++)
		p->x[i] = (float)(i % 17) - 8.0f;
	return team_create(&p->team, threads, cpus);
}

/* ---- products ---- */

static void page_rates_work(struct team *team, void *arg, unsigned id) {
	struct page_rates *p = arg;
	size_t first, last;
	team_share(team, id, p->rows, KERN_STRIP, &first, &last);
	if (first < last)
		p->mul(p->y + first, p->rows, p->weights + first * p->row_bytes, last - first, WIDTH, p->act,
		        p->act_bytes, 1);
}

static double page_rates_seconds(struct page_rates *p, const uint8_t *weights) {
	uint64_t begin = loop_now_ns();
	p->weights = weights;
	team_run(p->team, page_rates_work, p);
	return (double)(loop_now_ns() - begin + 1) * 1e-9;
}

/* Seconds from the map over those from huge pages; which of them is first changes. */
static double page_rates_ratio(struct page_rates *p, enum kern_type type, bool huge_first) {
	const struct kern_traits *traits = kern_traits(type);
	p->mul = kern_mul(kern_ops(), type, 1);
	p->row_bytes = kern_row_bytes(type, WIDTH);
	p->rows = p->bytes / p->row_bytes / KERN_STRIP * KERN_STRIP;
	p->act_bytes = kern_act_bytes(traits->form, WIDTH);
	if (!p->mul || kern_ops()->quantize[traits->form](p->act, p->x, WIDTH))
		return 0;
	double before = huge_first ? page_rates_seconds(p, p->huge) : 0,
	       mapped = page_rates_seconds(p, p->mapped);
	return mapped / (huge_first ? before : page_rates_seconds(p, p->huge));
}

static int page_rates_ascending(const void *a, const void *b) {
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static double page_rates_median(struct page_rates *p, const atomic_bool *stop) {
	double ratio[ROUNDS * TYPES];
	uint64_t begin = loop_now_ns();
	size_t n = 0;
	page_rates_ratio(p, types[0], false); /* wakes threads and touches every page */
	for (int r = 0; r < ROUNDS && (r == 0 || loop_now_ns() - begin < ROUNDS_NS); r++)
		for (size_t t = 0; t < TYPES && !atomic_load(stop); t++) {
			double one = page_rates_ratio(p, types[t], r % 2);
			if (one > 0)
				ratio[n++] = one;
		}
	qsort(ratio, n, sizeof *ratio, page_rates_ascending);
	return n && !atomic_load(stop) ? ratio[n / 2] : 0;
}

double page_rates(const char *dir, size_t bytes, unsigned threads, const int *cpus, const atomic_bool *stop) {
	struct page_rates p;
	double ratio = 1;
	if (!page_rates_has_huge_pages())
		return ratio;
	int rc = page_rates_open(&p, dir, bytes, threads, cpus);
	ratio = rc ? 0 : page_rates_median(&p, stop);
	page_rates_close(&p);
	return ratio < PAGE_RATES_MOST ? ratio : PAGE_RATES_MOST;
}
