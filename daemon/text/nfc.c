/* nfc: stretches between characters that neither change nor join what is before them are taken apart, put in order and put together
 * again; all else is copied. */
#include "daemon/text/nfc.h"
#include "daemon/text/nfc_data.h"
#include "daemon/text/utf8.h"
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_MARKED 0x300u
#define FIRST_MARKED_BYTE 0xCC

/* Hangul syllables are arithmetic (The Unicode Standard, 3.12). */
#define S_BASE 0xAC00u
#define L_BASE 0x1100u
#define V_BASE 0x1161u
#define T_BASE 0x11A7u
#define L_COUNT 19u
#define V_COUNT 21u
#define T_COUNT 28u
#define S_COUNT (L_COUNT * V_COUNT * T_COUNT)

struct nfc_work {
	char *out;
	size_t len, cap;
	uint32_t *code, *spare; /* a stretch, and room for one as long */
	size_t codes, capcodes;
};

#define COUNT(a) (sizeof(a) / sizeof *(a))

/* The last row whose a is at most c; NULL: none. */
static const struct nfc_triple *nfc_find(const struct nfc_triple *t, size_t n, uint32_t c) {
	size_t lo = 0, hi = n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (t[mid].a <= c)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo > 0 ? &t[lo - 1] : NULL;
}

static uint32_t nfc_in_range(const struct nfc_triple *t, size_t n, uint32_t c) {
	const struct nfc_triple *r = nfc_find(t, n, c);
	return r && c <= r->b ? r->c : 0;
}

static unsigned nfc_class(uint32_t c) {
	return c < FIRST_MARKED ? 0 : nfc_in_range(nfc_classes, COUNT(nfc_classes), c);
}

static bool nfc_is_marked(uint32_t c) {
	if (c < FIRST_MARKED || (c >= 0x3400 && c <= 0x9FFF) || (c >= S_BASE && c < S_BASE + S_COUNT))
		return false;
	return nfc_in_range(nfc_marked, COUNT(nfc_marked), c) != 0;
}

static int nfc_push(struct nfc_work *w, uint32_t c) {
	if (w->codes == w->capcodes) {
		size_t cap = w->capcodes ? 2 * w->capcodes : 64;
		uint32_t *code = realloc(w->code, cap * sizeof *code);
		if (!code)
			return -ENOMEM;
		w->code = code;
		uint32_t *spare = realloc(w->spare, cap * sizeof *spare);
		if (!spare)
			return -ENOMEM;
		w->spare = spare;
		w->capcodes = cap;
	}
	w->code[w->codes++] = c;
	return 0;
}

/* Appends a character taken apart; what it begins with may be taken apart again. */
static int nfc_take_apart(struct nfc_work *w, uint32_t c) {
	uint32_t behind[8];
	size_t n = 0;
	if (c >= S_BASE && c < S_BASE + S_COUNT) {
		uint32_t s = c - S_BASE;
		if (s % T_COUNT)
			behind[n++] = T_BASE + s % T_COUNT;
		behind[n++] = V_BASE + s / T_COUNT % V_COUNT;
		c = L_BASE + s / T_COUNT / V_COUNT;
	}
	for (const struct nfc_triple *t;
	        (t = nfc_find(nfc_apart, COUNT(nfc_apart), c)) && t->a == c && n < COUNT(behind); c = t->b)
		if (t->c)
			behind[n++] = t->c;
	int rc = nfc_push(w, c);
	while (rc == 0 && n > 0)
		rc = nfc_push(w, behind[--n]);
	return rc;
}

/* Sorts marks by class; those of one class keep their order. */
static void nfc_order_marks(uint32_t *code, uint32_t *spare, size_t n) {
	size_t at[257] = {0};
	for (size_t i = 0; i < n; i++)
		at[nfc_class(code[i]) + 1]++;
	for (size_t k = 1; k < COUNT(at); k++)
		at[k] += at[k - 1];
	for (size_t i = 0; i < n; i++)
		spare[at[nfc_class(code[i])]++] = code[i];
	memcpy(code, spare, n * sizeof *code);
}

static void nfc_order(struct nfc_work *w) {
	for (size_t i = 0, n; i < w->codes; i += n + 1) {
		bool sorted = true;
		unsigned last = 0, k;
		for (n = 0; i + n < w->codes && (k = nfc_class(w->code[i + n])) > 0; n++, last = k)
			sorted = sorted && k >= last;
		if (!sorted)
			nfc_order_marks(w->code + i, w->spare, n);
	}
}

/* What two characters become; 0: they stay two. */
static uint32_t nfc_join(uint32_t a, uint32_t b) {
	if (a >= L_BASE && a < L_BASE + L_COUNT && b >= V_BASE && b < V_BASE + V_COUNT)
		return S_BASE + ((a - L_BASE) * V_COUNT + (b - V_BASE)) * T_COUNT;
	if (a >= S_BASE && a < S_BASE + S_COUNT && (a - S_BASE) % T_COUNT == 0 && b > T_BASE &&
	        b < T_BASE + T_COUNT)
		return a + (b - T_BASE);
	const struct nfc_triple *t = nfc_find(nfc_together, COUNT(nfc_together), a);
	for (; t && t->a == a; t = t > nfc_together ? t - 1 : NULL)
		if (t->b == b)
			return t->c;
	return 0;
}

static void nfc_put_together(struct nfc_work *w) {
	size_t n = 0, base = SIZE_MAX;
	int last = -1; /* the class of what stands behind the base */
	for (size_t i = 0; i < w->codes; i++) {
		uint32_t c = w->code[i], joint;
		int k = (int)nfc_class(c);
		if (base != SIZE_MAX && last < k && (joint = nfc_join(w->code[base], c)) != 0) {
			w->code[base] = joint;
			continue;
		}
		if (k == 0)
			base = n;
		last = k == 0 ? -1 : k;
		w->code[n++] = c;
	}
	w->codes = n;
}

static int nfc_append(struct nfc_work *w, const char *s, size_t len) {
	if (len == 0)
		return 0;
	if (w->cap - w->len < len) {
		size_t cap = 2 * w->cap + len;
		char *out = realloc(w->out, cap);
		if (!out)
			return -ENOMEM;
		w->out = out;
		w->cap = cap;
	}
	memcpy(w->out + w->len, s, len);
	w->len += len;
	return 0;
}

static int nfc_stretch(struct nfc_work *w, const char *s, size_t len) {
	int rc = 0;
	w->codes = 0;
	for (size_t i = 0, n; rc == 0 && i < len; i += n) {
		utf8_next(s + i, len - i, &n);
		rc = nfc_take_apart(w, utf8_code(s + i, n));
	}
	if (rc < 0)
		return rc;
	nfc_order(w);
	nfc_put_together(w);
	for (size_t i = 0; rc == 0 && i < w->codes; i++) {
		char bytes[4];
		rc = nfc_append(w, bytes, utf8_put(w->code[i], bytes));
	}
	return rc;
}

int nfc_normalize(const char *text, size_t len, char **out, size_t *outlen) {
	struct nfc_work w = {0};
	size_t copied = 0, begin = 0;
	int rc = 0;
	*out = NULL;
	for (size_t i = 0, n; rc == 0 && i < len;) {
		uint8_t lead = (uint8_t)text[i];
		n = 1;
		if (lead >= 0x80)
			utf8_next(text + i, len - i, &n);
		if (lead < FIRST_MARKED_BYTE || !nfc_is_marked(utf8_code(text + i, n))) {
			begin = i;
			i += n;
			continue;
		}
		for (; i < len && (uint8_t)text[i] >= FIRST_MARKED_BYTE; i += n) {
			utf8_next(text + i, len - i, &n);
			if (!nfc_is_marked(utf8_code(text + i, n)))
				break;
		}
		rc = nfc_append(&w, text + copied, begin - copied);
		if (rc == 0)
			rc = nfc_stretch(&w, text + begin, i - begin);
		copied = begin = i;
	}
	if (rc == 0 && copied > 0)
		rc = nfc_append(&w, text + copied, len - copied);
	free(w.code);
	free(w.spare);
	if (rc < 0) {
		free(w.out);
		return rc;
	}
	*out = copied > 0 ? w.out : NULL;
	*outlen = w.len;
	return 0;
}
