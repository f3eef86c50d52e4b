/* math: exp, sin, cos, log and pow from IEEE operations only.
 *
 * Owns: the definition, to the bit, of every elementary function that a result depends on.
 * Invariant: no operation here may be contracted, reassociated or replaced by a library function that IEEE 754 does not define
 * exactly (fma, rint and the four operations are defined).  Changing a constant makes a new arithmetic revision.
 * Pure; any thread. */
#include "kernels/math.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

/* pi/2 in three parts of 53 bits, ln 2 in 42 and 53, 1/3 in 53 and 53. */
#define PIO2_1 0x1.921fb54442d18p+0
#define PIO2_2 0x1.1a62633145c07p-54
#define PIO2_3 -0x1.f1976b7ed8fbcp-110
#define TWO_OVER_PI 0x1.45f306dc9c883p-1
#define LN2_HI 0x1.62e42fefa38p-1
#define LN2_LO 0x1.ef35793c7673p-45
#define LOG2E 0x1.71547652b82fep+0
#define THIRD_HI 0x1.5555555555555p-2
#define THIRD_LO 0x1.5555555555555p-56
#define SQRT2 0x1.6a09e667f3bcdp+0

static float pow2f(int n) {
	uint32_t bits = (uint32_t)(n + 127) << 23;
	float f;
	memcpy(&f, &bits, sizeof f);
	return f;
}

static double pow2(int n) {
	uint64_t bits = (uint64_t)(n + 1023) << 52;
	double d;
	memcpy(&d, &bits, sizeof d);
	return d;
}

/* Half of n, rounded down: 2^n = 2^half * 2^(n - half), each of which is a normal number. */
static int floor_half(int n) {
	return (n - (n & 1)) / 2;
}

float kern_exp(float x) {
	if (x != x)
		return x;
	if (x > KERN_EXP_MAX)
		return INFINITY;
	if (x < KERN_EXP_MIN)
		return 0.0f;
	float n = rintf(x * KERN_EXP_LOG2E);
	float r = fmaf(n, -KERN_EXP_LN2_HI, x);
	r = fmaf(n, -KERN_EXP_LN2_LO, r);
	float p = KERN_EXP_C6;
	p = fmaf(p, r, KERN_EXP_C5);
	p = fmaf(p, r, KERN_EXP_C4);
	p = fmaf(p, r, KERN_EXP_C3);
	p = fmaf(p, r, KERN_EXP_C2);
	p = fmaf(p, r, KERN_EXP_C1);
	p = fmaf(p, r, KERN_EXP_C0);
	int k = (int)n, half = floor_half(k);
	return p * pow2f(half) * pow2f(k - half);
}

/* sin and cos of r + e, |r| <= pi/4 and a little, e the rounding error of r: r is the argument, the first
 * terms are kept apart from the small ones so that only the last addition rounds at full size. */
static double sin_near(double r, double e) {
	double z = r * r, v = z * r;
	double p = 0x1.5d8ee7a093533p-33;
	p = fma(p, z, -0x1.ae5e5780f78ccp-26);
	p = fma(p, z, 0x1.71de356407eb2p-19);
	p = fma(p, z, -0x1.a01a019bf9b44p-13);
	p = fma(p, z, 0x1.111111110f7b0p-7);
	p = fma(p, z, -0x1.5555555555548p-3);
	return r + fma(v, p, fma(z, -0.5 * e, e));
}

static double cos_near(double r, double e) {
	double z = r * r, half = 0.5 * z, w = 1.0 - half;
	double p = -0x1.8fa395a86a0a1p-37;
	p = fma(p, z, 0x1.1ee9d5c95733fp-29);
	p = fma(p, z, -0x1.27e4f7e802d1ap-22);
	p = fma(p, z, 0x1.a01a019c8096fp-16);
	p = fma(p, z, -0x1.6c16c16c14f6cp-10);
	p = fma(p, z, 0x1.555555555554bp-5);
	return w + (((1.0 - w) - half) + fma(z * z, p, -(r * e)));
}

void kern_sincos(double x, double *sin, double *cos) {
	if (!(fabs(x) <= 0x1p32)) {
		*sin = *cos = NAN;
		return;
	}
	/* The first difference is exact; the second keeps its error; the third part only corrects that. */
	double n = rint(x * TWO_OVER_PI);
	double a = fma(n, -PIO2_1, x);
	double t = n * PIO2_2, tail = fma(n, PIO2_2, -t);
	double h = a - t, b = h - a;
	double lost = (a - (h - b)) - (t + b);
	double low = lost - fma(n, PIO2_3, tail);
	double r = h + low, e = (h - r) + low;
	double s = sin_near(r, e), c = cos_near(r, e);
	switch ((int64_t)n & 3) {
	case 0:
		*sin = s;
		*cos = c;
		break;
	case 1:
		*sin = c;
		*cos = -s;
		break;
	case 2:
		*sin = -s;
		*cos = -c;
		break;
	default:
		*sin = -c;
		*cos = s;
		break;
	}
}

/* x = m * 2^k with sqrt(1/2) < m <= sqrt(2); x positive and finite. */
static double normalise(double x, int *k) {
	int e = 0;
	if (x < 0x1p-1022) {
		x *= 0x1p54;
		e = -54;
	}
	uint64_t bits;
	memcpy(&bits, &x, sizeof bits);
	e += (int)(bits >> 52) - 1023;
	bits = (bits & 0x000fffffffffffff) | 0x3ff0000000000000;
	double m;
	memcpy(&m, &bits, sizeof m);
	if (m > SQRT2) {
		m *= 0.5;
		e++;
	}
	*k = e;
	return m;
}

double kern_log(double x) {
	if (x != x || x < 0.0)
		return NAN;
	if (x == 0.0)
		return -INFINITY;
	if (x == INFINITY)
		return x;
	int k;
	double f = normalise(x, &k) - 1.0;
	/* log(1+f) = 2 atanh(s), s = f/(2+f); 2s = f - s*f is written so that f itself stays exact. */
	double s = f / (2.0 + f), z = s * s, half = 0.5 * f * f;
	double p = 0x1.2f571c35196c8p-3;
	p = fma(p, z, 0x1.3999f7c74d45ep-3);
	p = fma(p, z, 0x1.7466884325160p-3);
	p = fma(p, z, 0x1.c71c50b6ab244p-3);
	p = fma(p, z, 0x1.24924943793cbp-2);
	p = fma(p, z, 0x1.999999997e3e3p-2);
	p = fma(p, z, 0x1.5555555555597p-1);
	double kd = (double)k;
	double small = fma(s, fma(z, p, half), kd * LN2_LO);
	return kd * LN2_HI - ((half - small) - f);
}

float kern_softplus(float x) {
	return x > 20.0f ? x : (float)kern_log(1.0 + (double)kern_exp(x));
}

/* An unevaluated sum: |lo| is at most half a unit in the last place of hi. */
struct pair {
	double hi, lo;
};

/* a + b with its rounding error, for |a| >= |b| or a = 0. */
static struct pair sum_fast(double a, double b) {
	double s = a + b;
	return (struct pair){s, b - (s - a)};
}

static struct pair sum_any(double a, double b) {
	double s = a + b, t = s - a;
	return (struct pair){s, (a - (s - t)) + (b - t)};
}

/* log x with about 2^-66 relative error: the exponent of pow multiplies it by up to 745. */
static struct pair log_pair(double x) {
	int k;
	double m = normalise(x, &k), f = m - 1.0;
	double g = m + 1.0, g_lo = m - (g - 1.0);
	double s = f / g;
	double s_lo = (fma(-s, g, f) - s * g_lo) / g;
	double z = s * s, z_lo = fma(s, s, -z) + 2.0 * s * s_lo;
	/* atanh(s)/s = 1 + z/3 + z*z*p */
	double p = 0x1.ebb5d417d683ap-5;
	p = fma(p, z, 0x1.de1f99e2a0650p-5);
	p = fma(p, z, 0x1.11213322b59c9p-4);
	p = fma(p, z, 0x1.3b135f70265e7p-4);
	p = fma(p, z, 0x1.745d183ea594cp-4);
	p = fma(p, z, 0x1.c71c71c5669b2p-4);
	p = fma(p, z, 0x1.249249249310fp-3);
	p = fma(p, z, 0x1.9999999999995p-3);
	double q = THIRD_HI * z;
	double q_lo =
	        fma(THIRD_HI, z, -q) + fma(THIRD_HI, z_lo, THIRD_LO * z) + fma(2.0 * z, z_lo, z * z) * p;
	double t = s * q, t_lo = fma(s, q, -t) + fma(s, q_lo, s_lo * q);
	struct pair a = sum_fast(s, t);
	a = sum_fast(2.0 * a.hi, 2.0 * (a.lo + (t_lo + s_lo)));
	double kd = (double)k;
	struct pair b = sum_fast(kd * LN2_HI, a.hi);
	return sum_fast(b.hi, b.lo + (kd * LN2_LO + a.lo));
}

double kern_pow(double base, double exponent) {
	if (!(base > 0.0 && base < INFINITY && fabs(exponent) < INFINITY))
		return NAN;
	struct pair l = log_pair(base);
	double x = exponent * l.hi;
	if (x > 710.0)
		return INFINITY;
	if (x < -746.0)
		return 0.0;
	double x_lo = fma(exponent, l.hi, -x) + exponent * l.lo;
	double n = rint(x * LOG2E);
	struct pair r = sum_any(fma(n, -LN2_HI, x), fma(n, -LN2_LO, x_lo));
	/* e^r = 1 + r + r*r/2 + r*r*r*p */
	double p = 0x1.1e6730e94ff57p-29;
	p = fma(p, r.hi, 0x1.af686d512af7ep-26);
	p = fma(p, r.hi, 0x1.27e58ce930493p-22);
	p = fma(p, r.hi, 0x1.71ddf269401a9p-19);
	p = fma(p, r.hi, 0x1.a01a01527abe9p-16);
	p = fma(p, r.hi, 0x1.a01a01b26bc6bp-13);
	p = fma(p, r.hi, 0x1.6c16c16c26ffdp-10);
	p = fma(p, r.hi, 0x1.111111110efbcp-7);
	p = fma(p, r.hi, 0x1.5555555555530p-5);
	p = fma(p, r.hi, 0x1.555555555555ap-3);
	double q = r.hi * r.hi * fma(p, r.hi, 0.5);
	struct pair one = sum_fast(1.0, r.hi);
	double y = one.hi + (one.lo + (q + fma(r.lo, r.hi, r.lo)));
	int k = (int)n, half = floor_half(k);
	return y * pow2(half) * pow2(k - half);
}
