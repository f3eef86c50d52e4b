"""Quantises rows of weights for GGUF files, in numpy alone; gguffile.py writes the files.

The quantisers choose scales by trying a few and keeping the least squared error; each returns the bytes
of whole rows.  The layouts of blocks are GGUF's; tests/data/reference.py reads them back.
"""
import numpy as np

from gguffile import *  # noqa: F401,F403

F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 = 0, 1, 2, 3, 6, 7, 8
Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, IQ4_NL, BF16 = 10, 11, 12, 13, 14, 20, 30


def f16(x):
    return np.asarray(x, np.float32).astype(np.float16)


def as_bytes(x):
    """The little-endian bytes of each entry of the last axis, as one uint8 axis."""
    x = np.ascontiguousarray(x)
    return x.view(np.uint8).reshape(*x.shape[:-1], x.shape[-1] * x.itemsize)


def inverse(d):
    return np.divide(1.0, d, out=np.zeros_like(d), where=d != 0)


def q8_0(w):
    """32 weights a block: an f16 scale and 32 signed bytes."""
    b = np.asarray(w, np.float32).reshape(-1, 32)
    d = f16(np.abs(b).max(1, keepdims=True) / 127)
    q = np.clip(np.rint(b * inverse(d.astype(np.float32))), -127, 127).astype(np.int8)
    return np.concatenate([as_bytes(d), q.view(np.uint8)], 1).tobytes()


def q6_k(w):
    """256 weights a block: 16 sub-blocks of 16 with signed scales of 8 bits, weights of 6 bits."""
    s = np.asarray(w, np.float32).reshape(-1, 16)
    ext = np.take_along_axis(s, np.abs(s).argmax(1)[:, None], 1)
    best = np.full((len(s), 1), np.inf, np.float32)
    scale = np.zeros((len(s), 1), np.float32)
    for k in range(-10, 11):  # the extreme value lands on -32, or a little beside it
        q = np.clip(np.rint(s * inverse(ext) * -(32 + 0.15 * k)), -32, 31)
        qq = (q * q).sum(1, keepdims=True)
        c = (s * q).sum(1, keepdims=True) * inverse(qq)
        err = ((s - c * q) ** 2).sum(1, keepdims=True)
        scale = np.where(err < best, c, scale)
        best = np.minimum(err, best)
    scale = scale.reshape(-1, 16)
    d = f16(np.abs(scale).max(1, keepdims=True) / 127)
    df = d.astype(np.float32)
    sc = np.clip(np.rint(scale * inverse(df)), -127, 127)
    b = s.reshape(-1, 16, 16)
    q = np.clip(np.rint(b * inverse(df * sc)[:, :, None]), -32, 31).astype(np.int32).reshape(-1, 256) + 32
    lo = np.zeros((len(q), 128), np.uint8)
    hi = np.zeros((len(q), 64), np.uint8)
    for half in range(2):
        x = q[:, 128 * half:128 * half + 128].reshape(-1, 4, 32)
        lo[:, 64 * half:64 * half + 32] = (x[:, 0] & 15) | (x[:, 2] & 15) << 4
        lo[:, 64 * half + 32:64 * half + 64] = (x[:, 1] & 15) | (x[:, 3] & 15) << 4
        hi[:, 32 * half:32 * half + 32] = x[:, 0] >> 4 | (x[:, 1] >> 4) << 2 | (x[:, 2] >> 4) << 4 | (x[:, 3] >> 4) << 6
    return np.concatenate([lo, hi, sc.astype(np.int8).view(np.uint8), as_bytes(d)], 1).tobytes()


def pack_k_scales(sc, m):
    """Eight scales and eight minima of 6 bits in 12 bytes, as Q4_K and Q5_K have them."""
    sc, m = sc.astype(np.uint8), m.astype(np.uint8)
    out = np.zeros((len(sc), 12), np.uint8)
    out[:, 0:4] = sc[:, :4] | (sc[:, 4:] >> 4) << 6
    out[:, 4:8] = m[:, :4] | (m[:, 4:] >> 4) << 6
    out[:, 8:12] = (sc[:, 4:] & 15) | (m[:, 4:] & 15) << 4
    return out


def q4_k(w):
    """256 weights a block: 8 sub-blocks of 32 with scales and minima of 6 bits, weights of 4 bits."""
    s = np.asarray(w, np.float32).reshape(-1, 32)
    low = np.minimum(s.min(1, keepdims=True), 0)
    span = s.max(1, keepdims=True) - low
    best = np.full((len(s), 1), np.inf, np.float32)
    scale = np.zeros_like(best)
    least = np.zeros_like(best)
    for k in range(-6, 10):
        q = np.clip(np.rint((s - low) * inverse(span) * (15 + 0.2 * k)), 0, 15)
        sq, sqq = q.sum(1, keepdims=True), (q * q).sum(1, keepdims=True)
        sx, sxq = s.sum(1, keepdims=True), (s * q).sum(1, keepdims=True)
        det = 32 * sqq - sq * sq
        c = (32 * sxq - sx * sq) * inverse(det)
        m = np.minimum((sx - c * sq) / 32, 0)
        c = np.where(m == 0, sxq * inverse(sqq), c)
        err = ((s - c * q - m) ** 2).sum(1, keepdims=True)
        better = (err < best) & (c >= 0)
        scale, least = np.where(better, c, scale), np.where(better, -m, least)
        best = np.where(better, err, best)
    scale, least = scale.reshape(-1, 8), least.reshape(-1, 8)
    d, dmin = f16(scale.max(1, keepdims=True) / 63), f16(least.max(1, keepdims=True) / 63)
    df, mf = d.astype(np.float32), dmin.astype(np.float32)
    sc = np.clip(np.rint(scale * inverse(df)), 0, 63)
    m = np.clip(np.rint(least * inverse(mf)), 0, 63)
    b = s.reshape(-1, 8, 32)
    q = np.clip(np.rint((b + (mf * m)[:, :, None]) * inverse(df * sc)[:, :, None]), 0, 15).astype(np.uint8)
    packed = (q[:, 0::2] | q[:, 1::2] << 4).reshape(-1, 128)
    return np.concatenate([as_bytes(d), as_bytes(dmin), pack_k_scales(sc, m), packed], 1).tobytes()


def f32(w):
    return np.asarray(w, "<f4").tobytes()


QUANTISERS = {F32: f32, Q8_0: q8_0, Q4_K: q4_k, Q6_K: q6_k}
