#!/usr/bin/python3
"""An independent reference in numpy: reads GGUF, dequantises, runs Llama and its kin in float64.

Written from the formats and the papers and from nothing in this project, so that what the kernels compute
is checked against something that shares none of their code.  Dequantised values are float32 in the order
of doc/numerics.md; all later arithmetic is float64 with unrounded activations, so logits of quantised
models differ from Caravan's by the error of 8-bit activations, which q8=True shows the size of.  Needs
numpy alone.

Usage: reference.py dequant MODEL TENSOR [ROWS]   float32 rows to standard output, as raw bytes
       reference.py logits MODEL ID...            float32 logits of each position, as raw bytes
       reference.py greedy MODEL COUNT [TEXT]     what follows <s> and TEXT at temperature 0
       reference.py sample MODEL COUNT SEED [TEXT]  the same at temperature 1
       reference.py perplexity MODEL FILE         of a text, each line <s> + line + </s> on its own
       reference.py perplexity-ids MODEL FILE     of token ids, each line a sequence on its own
"""
import math
import os
import struct
import sys

import numpy as np

F32, F16, BF16 = 0, 1, 30
# id: (name, weights a block, bytes a block)
TYPES = {0: ("F32", 1, 4), 1: ("F16", 1, 2), 30: ("BF16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20),
         6: ("Q5_0", 32, 22), 7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 20: ("IQ4_NL", 32, 18), 10: ("Q2_K", 256, 84),
         11: ("Q3_K", 256, 110), 12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210),
         23: ("IQ4_XS", 256, 136), 39: ("MXFP4", 32, 17),
         16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 22: ("IQ2_S", 256, 82), 18: ("IQ3_XXS", 256, 98),
         21: ("IQ3_S", 256, 110), 19: ("IQ1_S", 256, 50), 29: ("IQ1_M", 256, 56), 34: ("TQ1_0", 256, 54),
         35: ("TQ2_0", 256, 66)}
IQ4_NL_VALUES = np.array([-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113], np.float32)
E2M1_VALUES = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


class Gguf:
    """metadata: key to value; tensors: name to (shape, rows first; type; offset from the start of data)."""

    SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def __init__(self, path):
        with open(path, "rb") as f:
            self.data = f.read()
        if self.data[:4] != b"GGUF":
            raise ValueError(path + ": not GGUF")
        self.at = 4
        version, tensors, keys = self.take("I"), self.take("Q"), self.take("Q")
        if version not in (2, 3):
            raise ValueError(f"{path}: version {version}")
        self.metadata = {}
        for _ in range(keys):
            key = self.string()
            self.metadata[key] = self.value(self.take("I"))
        self.tensors = {}
        for _ in range(tensors):
            name = self.string()
            shape = [self.take("Q") for _ in range(self.take("I"))][::-1]
            self.tensors[name] = (shape, self.take("I"), self.take("Q"))
        align = self.metadata.get("general.alignment", 32)
        self.base = -(-self.at // align) * align

    def take(self, code):
        v, = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return v

    def string(self):
        n = self.take("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode(errors="surrogateescape")

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            inner, n = self.take("I"), self.take("Q")
            return [self.value(inner) for _ in range(n)]
        return self.take(self.SCALARS[kind])

    def raw(self, name):
        shape, kind, offset = self.tensors[name]
        _, per, size = TYPES[kind]
        start = self.base + offset
        return np.frombuffer(self.data, np.uint8, math.prod(shape) // per * size, start)

    def tensor(self, name):
        shape, kind, _ = self.tensors[name]
        return dequantise(self.raw(name), kind).reshape(shape)


def half(b, at):
    """The f16 at this byte of each block, as a float32 column."""
    return np.ascontiguousarray(b[:, at:at + 2]).view("<f2").astype(np.float32)


def nibbles(q):
    """16 bytes to 32 weights: all low halves, then all high halves."""
    return np.concatenate([q & 15, q >> 4], 1).astype(np.float32)


def fifth_bits(qh):
    return np.unpackbits(np.ascontiguousarray(qh), axis=1, bitorder="little").astype(np.float32) * 16


def k_scales(s):
    """12 bytes to eight scales and eight minima of six bits."""
    sc, m = np.empty((len(s), 8), np.float32), np.empty((len(s), 8), np.float32)
    for j in range(4):
        sc[:, j] = s[:, j] & 63
        m[:, j] = s[:, j + 4] & 63
        sc[:, j + 4] = (s[:, j + 8] & 15) | (s[:, j] >> 6) << 4
        m[:, j + 4] = (s[:, j + 8] >> 4) | (s[:, j + 4] >> 6) << 4
    return sc, m


def two_bits(q):
    """64 bytes to 256 weights: each 32 bytes give four runs of 32."""
    return np.concatenate([q[:, h:h + 32] >> s & 3 for h in (0, 32) for s in (0, 2, 4, 6)], 1)


def base_three(q, digits):
    """The first digits of each byte, a fraction of 256, to the base of 3: the first of all bytes, then the second of all."""
    f = q.astype(int)
    return np.concatenate([f * 3 ** n % 256 * 3 // 256 for n in range(digits)], 1).astype(np.float32)


def codebook(name):
    """The entries of a codebook: patterns of digits, the first element being the lowest digit, in ascending order of their
    numbers; grids.txt has a bit for each number, as hexadecimal digits."""
    values = {"iq1": [-1, 0, 1], "iq3_xxs": [4, 12, 20, 28, 36, 44, 52, 62], "iq3_s": [1, 3, 5, 7, 9, 11, 13, 15]}
    values = np.array(values.get(name, [8, 25, 43]), np.float32)
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "grids.txt"), encoding="ascii") as f:
        digits = dict(line.split() for line in f)[name]
    numbers = np.array([i for i in range(4 * len(digits)) if int(digits[i // 4], 16) >> i % 4 & 1])
    count = 4 if len(values) == 8 else 8
    return np.stack([values[numbers // len(values) ** k % len(values)] for k in range(count)], 1)


def little(b, size):
    """Numbers of so many bytes, as uint32."""
    return np.ascontiguousarray(b).view(f"<u{size}").astype(np.uint32)


def signed(entries, signs):
    """Eight magnitudes and the byte of their signs."""
    return entries * (1 - 2 * (signs[..., None] >> np.arange(8) & 1).astype(np.float32))


def with_parity(seven):
    return seven | (np.stack([seven >> i & 1 for i in range(7)]).sum(0) & 1).astype(np.uint32) << 7


def dequantise_codebook(name, b):
    n = len(b)
    eight = np.arange(4, dtype=np.uint32)
    d = half(b, 0)
    if name == "IQ1_M":
        s = little(b[:, 48:], 2)
        d = (s[:, 0] >> 12 | (s[:, 1] >> 8 & 0xf0) | (s[:, 2] >> 4 & 0xf00) | (s[:, 3] & 0xf000)).astype("<u2")
        d = d.view("<f2").astype(np.float32)[:, None]
        scale = (s[:, :, None] >> 3 * np.arange(4, dtype=np.uint32) & 7).reshape(n, 16)
        high = (b[:, 32:48, None] >> np.array([0, 4], np.uint8)).reshape(n, 32).astype(np.uint32)
        g = codebook("iq1")[b[:, :32] | (high & 7) << 8]
        delta = np.where(high & 8, -0.125, 0.125).astype(np.float32)[:, :, None]
        return ((d * (2 * scale.astype(np.float32) + 1))[:, :, None] * (g + delta).reshape(n, 16, 16)).reshape(n, 256)
    if name == "IQ1_S":
        qh = little(b[:, 34:], 2)
        g = codebook("iq1")[b[:, 2:34].reshape(n, 8, 4) | (qh[:, :, None] >> 3 * eight & 7) << 8]
        delta = np.where(qh >> 15, -0.125, 0.125).astype(np.float32)[:, :, None, None]
        dl = d * (2 * (qh >> 12 & 7).astype(np.float32) + 1)
        return (dl[:, :, None] * (g + delta).reshape(n, 8, 32)).reshape(n, 256)
    if name in ("IQ2_XXS", "IQ3_XXS"):
        two = name == "IQ2_XXS"
        word = little(b[:, 2:] if two else b[:, 66:], 4)
        index = b[:, 2:].reshape(n, 8, 8)[:, :, :4] if two else b[:, 2:66].reshape(n, 8, 4, 2)
        word = word[:, 1::2] if two else word
        entries = codebook(name.lower())[index].reshape(n, 8, 4, 8)
        w = signed(entries, with_parity(word[:, :, None] >> 7 * eight & 127)).reshape(n, 8, 32)
        return (d * (word >> 28).astype(np.float32) + d / 2)[:, :, None].reshape(n, 8, 1) * (0.25 if two else 0.5) * w
    if name == "IQ3_S":
        bits = np.unpackbits(np.ascontiguousarray(b[:, 66:74]), axis=1, bitorder="little").astype(np.uint32)
        w = signed(codebook("iq3_s")[b[:, 2:66] | bits << 8].reshape(n, 32, 8), b[:, 74:106].astype(np.uint32))
        scale = np.stack([b[:, 106 + j // 2] >> 4 * (j % 2) & 15 for j in range(8)], 1).astype(np.float32)
        return (d * (2 * scale + 1))[:, :, None] * w.reshape(n, 8, 32)
    if name == "IQ2_XS":
        q, scales = little(b[:, 2:66], 2), b[:, 66:]
        w = signed(codebook("iq2_xs")[q & 511], with_parity(q >> 9))
    else:
        high = np.stack([b[:, 66 + j // 4] >> 2 * (j % 4) & 3 for j in range(32)], 1).astype(np.uint32)
        w = signed(codebook("iq2_s")[b[:, 2:34] | high << 8], b[:, 34:66].astype(np.uint32))
        scales = b[:, 74:]
    scale = np.stack([scales[:, j // 2] >> 4 * (j % 2) & 15 for j in range(16)], 1).astype(np.float32)
    return (d * (scale + np.float32(0.5)) * np.float32(0.25))[:, :, None] * w.reshape(n, 16, 16)


def dequantise(raw, kind):
    """float32 values of the raw bytes of whole blocks."""
    name, per, size = TYPES[kind]
    if kind == F32:
        return raw.view("<f4")
    if kind == F16:
        return raw.view("<f2").astype(np.float32)
    if kind == BF16:
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    b = raw.reshape(-1, size)
    if name == "Q8_0":
        return half(b, 0) * b[:, 2:].view(np.int8).astype(np.float32)
    if name == "Q4_0":
        return half(b, 0) * (nibbles(b[:, 2:]) - 8)
    if name == "IQ4_NL":
        return half(b, 0) * IQ4_NL_VALUES[nibbles(b[:, 2:]).astype(int)]
    if name == "Q4_1":
        return half(b, 0) * nibbles(b[:, 4:]) + half(b, 2)
    if name == "Q5_0":
        return half(b, 0) * (nibbles(b[:, 6:]) + fifth_bits(b[:, 2:6]) - 16)
    if name == "Q5_1":
        return half(b, 0) * (nibbles(b[:, 8:]) + fifth_bits(b[:, 4:8])) + half(b, 2)
    if name == "Q2_K":
        sc, m = (b[:, :16] & 15).astype(np.float32), (b[:, :16] >> 4).astype(np.float32)
        q = two_bits(b[:, 16:80]).astype(np.float32).reshape(-1, 16, 16)
        return ((half(b, 80) * sc)[:, :, None] * q - (half(b, 82) * m)[:, :, None]).reshape(-1, 256)
    if name == "Q3_K":
        s = b[:, 96:108]
        sc = np.stack([(s[:, j % 8] >> 4 * (j // 8) & 15) | (s[:, 8 + j % 4] >> 2 * (j // 4) & 3) << 4
                       for j in range(16)], 1).astype(np.float32) - 32
        high = np.concatenate([b[:, :32] >> bit & 1 for bit in range(8)], 1).astype(np.float32)
        q = two_bits(b[:, 32:96]).astype(np.float32) - 4 * (1 - high)
        return ((half(b, 108) * sc)[:, :, None] * q.reshape(-1, 16, 16)).reshape(-1, 256)
    if name in ("Q4_K", "Q5_K"):
        sc, m = k_scales(b[:, 4:16])
        qs = b[:, -128:].reshape(-1, 4, 32)
        q = np.stack([qs & 15, qs >> 4], 2).reshape(-1, 8, 32).astype(np.float32)
        if name == "Q5_K":
            q += np.stack([b[:, 16:48] >> bit & 1 for bit in range(8)], 1).astype(np.float32) * 16
        return ((half(b, 0) * sc)[:, :, None] * q - (half(b, 2) * m)[:, :, None]).reshape(-1, 256)
    if name == "Q6_K":
        parts = []
        for h in range(2):
            lo, hi = b[:, 64 * h:64 * h + 64], b[:, 128 + 32 * h:160 + 32 * h]
            parts += [(lo[:, :32] & 15) | (hi & 3) << 4, (lo[:, 32:] & 15) | (hi >> 2 & 3) << 4,
                      (lo[:, :32] >> 4) | (hi >> 4 & 3) << 4, (lo[:, 32:] >> 4) | (hi >> 6) << 4]
        q = np.concatenate(parts, 1).astype(np.float32).reshape(-1, 16, 16) - 32
        sc = np.ascontiguousarray(b[:, 192:208]).view(np.int8).astype(np.float32)
        return ((half(b, 208) * sc)[:, :, None] * q).reshape(-1, 256)
    if name == "IQ4_XS":
        low = np.stack([b[:, 4 + j // 2] >> 4 * (j % 2) & 15 for j in range(8)], 1).astype(np.float32)
        up = np.stack([b[:, 2 + j // 4] >> 2 * (j % 4) & 3 for j in range(8)], 1).astype(np.float32)
        q = IQ4_NL_VALUES[nibbles(b[:, 8:].reshape(-1, 16)).astype(int)].reshape(-1, 8, 32)
        return ((half(b, 0) * (low + 16 * up - 32))[:, :, None] * q).reshape(-1, 256)
    if name == "MXFP4":
        scale = np.ldexp(np.float32(1), b[:, :1].astype(int) - 127).astype(np.float32)
        return scale * E2M1_VALUES[nibbles(b[:, 1:]).astype(int)]
    if name == "TQ2_0":
        return half(b, 64) * (two_bits(b[:, :64]).astype(np.float32) - 1)
    if name == "TQ1_0":
        return half(b, 52) * (np.concatenate([base_three(b[:, f:t], 5 if t < 52 else 4)
                                              for f, t in ((0, 32), (32, 48), (48, 52))], 1) - 1)
    if name.startswith("IQ"):
        return dequantise_codebook(name, b).astype(np.float32).reshape(-1, 256)
    raise ValueError(name)


def yarn(freq, base, dims, factor, get):
    """YaRN (Peng et al. 2023): the frequencies, and what sine and cosine are multiplied by."""
    context, log = get("rope.scaling.original_context_length"), math.log
    turns = lambda n: dims * log(context / (n * 2 * math.pi)) / (2 * log(base))
    low = max(math.floor(turns(get("rope.scaling.yarn_beta_fast", 32.0))), 0)
    high = min(math.ceil(turns(get("rope.scaling.yarn_beta_slow", 1.0))), dims - 1)
    ramp = np.clip((np.arange(dims // 2) - low) / max(high - low, 0.001), 0, 1)
    size = lambda m: 0.1 * m * log(factor) + 1
    whole = get("rope.scaling.yarn_log_multiplier", 0.0)
    magnitude = size(1.0) / (size(whole) if whole else 1.0)
    return freq * (1 - ramp) + freq / factor * ramp, magnitude


def longrope(freq, tensors, get):
    """LongRoPE (Ding et al. 2024) for the longest text that the model was trained for, as Phi 3's code has it."""
    context, original = get("context_length"), get("rope.scaling.original_context_length")
    length = "long" if context > original else "short"
    magnitude = math.sqrt(1 + math.log(max(context / original, 1)) / math.log(original))
    return freq / tensors[f"rope_factors_{length}.weight"], magnitude


HALVES = ("qwen2", "qwen3", "qwen35", "qwen35moe", "qwen3next", "phi3", "qwen2moe", "qwen3moe", "glm4moe", "gemma3", "gpt-oss")  # RoPE pairs an element with the one half the rotated width further on
FULL_EVERY = {"gemma3": 6, "gpt-oss": 2, "phi3": 1 << 30}  # of layers with a window, every so many have none, the last of them


class Llama:
    """The forward pass of one sequence.

    kv_f16: keys and values are rounded to f16; q8: what meets a quantised weight is rounded to 8 bits, with
    a scale for each 32 values, or 256 for the K types.
    """

    def __init__(self, gguf, kv_f16=True, q8=False):
        g = gguf.metadata
        self.family = g["general.architecture"]
        if self.family not in ("llama", "qwen2", "qwen3", "mistral3", "granite", "smollm3", "qwen35", "phi3", "qwen2moe", "qwen3moe", "glm4moe",
                               "qwen35moe", "qwen3next",
                               "gemma3", "gpt-oss", "deci", "deepseek2"):
            raise ValueError("architecture " + self.family)
        get = lambda key, default=None: g.get(self.family + "." + key, default)
        self.kv_f16 = kv_f16
        self.block = {name: TYPES[kind][1] if q8 else 1 for name, (_, kind, _) in gguf.tensors.items()}
        self.layers = get("block_count")
        each = lambda n: n if isinstance(n, list) else [n] * self.layers  # a number of each layer, or of all
        self.heads = each(get("attention.head_count"))
        self.kv_heads = each(get("attention.head_count_kv", self.heads))
        self.eps = get("attention.layer_norm_rms_epsilon")
        self.head = get("attention.key_length", get("embedding_length") // max(self.heads))
        self.w = {name: gguf.tensor(name).astype(np.float64) for name in gguf.tensors}
        for layer in range(self.layers):
            self.part(layer, "attn_qkv", {"attn_q": self.heads[layer], "attn_k": self.kv_heads[layer],
                                           "attn_v": self.kv_heads[layer]})
            if f"blk.{layer}.ffn_gate.weight" not in self.w and f"blk.{layer}.ffn_up.weight" in self.w:
                self.part(layer, "ffn_up", {"ffn_gate": 1, "ffn_up": 1})
            self.experts_apart(layer)
            if self.family == "qwen3next":
                self.key_heads_apart(layer, get("ssm.group_count"), get("ssm.time_step_rank"), get("ssm.state_size"))
        rope = get("rope.dimension_count", self.head)
        freq = get("rope.freq_base", 10000.0) ** (-np.arange(0, rope, 2) / rope)
        if "rope_freqs.weight" in self.w:
            freq = freq / self.w["rope_freqs.weight"]
        kind, self.magnitude = get("rope.scaling.type", "none"), 1.0
        if kind == "linear":
            freq = freq / get("rope.scaling.factor")
        elif kind == "yarn":
            freq, self.magnitude = yarn(freq, get("rope.freq_base", 10000.0), rope, get("rope.scaling.factor"), get)
        elif "rope_factors_long.weight" in self.w:
            freq, self.magnitude = longrope(freq, self.w, get)
        elif kind != "none":
            raise ValueError("rope scaling " + kind)
        factor = get("rope.scaling.attn_factor")
        if factor is not None:
            self.magnitude = factor * (self.magnitude if kind == "yarn" else 1.0)
        self.latent, self.query_head = get("attention.kv_lora_rank", 0), get("attention.key_length_mla")
        scale = 1 / math.sqrt(self.query_head or self.head)
        if self.latent and kind == "yarn":  # DeepSeek has the magnitude in the scale, and a tenth of its multiplier in the file
            self.magnitude, scale = 1.0, scale * (get("rope.scaling.yarn_log_multiplier") * math.log(get("rope.scaling.factor")) + 1) ** 2
        self.rope, self.freq = rope, freq
        self.window = get("attention.sliding_window", 0) if self.family in FULL_EVERY else 0
        self.full_every = get("attention.sliding_window_pattern", FULL_EVERY.get(self.family))
        self.attention_scale = get("attention.scale", 0.0) or scale
        self.embedding_scale = get("embedding_scale", 0.0) or 1.0
        if self.family == "gemma3":
            self.window_freq = get("rope.freq_base_swa", 10000.0) ** (-np.arange(0, rope, 2) / rope)
            self.embedding_scale = math.sqrt(get("embedding_length"))
            if self.layers == 62:
                self.attention_scale = 1 / math.sqrt(get("embedding_length") // max(self.heads))
        self.residual_scale = get("residual_scale", 0.0) or 1.0
        self.logit_scale = get("logit_scale", 0.0) or 1.0
        self.key_groups, self.state_heads = get("ssm.group_count", 0), get("ssm.time_step_rank", 0)
        self.state = get("ssm.state_size", 0)
        self.used, sigmoid = get("expert_used_count", 0), self.family == "glm4moe"
        self.sigmoid = get("expert_gating_func", 2 if sigmoid else 1) == 2
        self.share = get("expert_weights_norm", not sigmoid and self.family not in ("qwen2moe", "deepseek2"))  # whether the chosen experts' weights add up to 1
        self.expert_scale = get("expert_weights_scale", 0.0) or 1.0
        self.groups, self.groups_used = get("expert_group_count", 1), get("expert_group_used_count", 1)
        self.layers -= get("nextn_predict_layers", 0)  # which are for guessing ahead
        self.reset()

    def experts_apart(self, layer):
        """Each expert's matrix has the rows of its gate, then as many of what is gated."""
        name = lambda what: f"blk.{layer}.ffn_{what}_exps.weight"
        if name("gate_up") in self.w:
            whole, block = self.w.pop(name("gate_up")), self.block.pop(name("gate_up"))
            self.w[name("gate")], self.w[name("up")] = np.split(whole, 2, 1)
            self.block[name("gate")] = self.block[name("up")] = block

    def key_heads_apart(self, layer, groups, heads, size):
        """Of each key head: query, key, its heads' values and their gates; their betas and their alphas (Qwen3-Next's published code)."""
        name = lambda what: f"blk.{layer}.{what}.weight"
        each = heads // groups
        for whole, sizes, parts in (("ssm_in", (size, size, each * size, each * size), ("attn_qkv", "attn_qkv", "attn_qkv", "attn_gate")),
                                    ("ssm_ba", (each, each), ("ssm_beta", "ssm_alpha"))):
            if name(whole) not in self.w:
                continue
            w, block = self.w.pop(name(whole)), self.block.pop(name(whole))
            w = np.split(w.reshape(groups, -1, w.shape[-1]), np.cumsum(sizes)[:-1], 1)
            for part in dict.fromkeys(parts):
                self.w[name(part)] = np.concatenate([m.reshape(-1, m.shape[-1]) for m, p in zip(w, parts) if p == part])
                self.block[name(part)] = block

    def part(self, layer, whole, shares):
        """Takes a tensor apart that is several."""
        for kind in (".weight", ".bias"):
            name = f"blk.{layer}.{whole}{kind}"
            if name not in self.w or f"blk.{layer}.ssm_out.weight" in self.w:
                continue
            rows, block, at = self.w.pop(name), self.block[name], 0
            for part, share in shares.items():
                end = at + len(rows) * share // sum(shares.values())
                self.w[f"blk.{layer}.{part}{kind}"], at = rows[at:end], end
                self.block[f"blk.{layer}.{part}{kind}"] = block

    def reset(self):
        self.length = 0
        width = self.state * (2 * self.key_groups + self.state_heads)
        self.convolved = [np.zeros((3, width))] * self.layers
        self.memory = [np.zeros((self.state_heads, self.state, self.state))] * self.layers
        self.k = [np.zeros((0, n, self.head)) for n in self.kv_heads]
        self.v = [np.zeros((0, n, self.head)) for n in self.kv_heads]

    def norm(self, x, name):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.eps) * self.w[name]

    def has_window(self, layer):
        return self.window > 0 and (layer + 1) % self.full_every != 0

    def rotate(self, x, positions, layer):
        if self.family == "smollm3" and layer % 4 == 3:
            return x
        angle = positions[:, None] * (self.window_freq if self.family == "gemma3" and self.has_window(layer) else self.freq)
        c, s = self.magnitude * np.cos(angle)[:, None], self.magnitude * np.sin(angle)[:, None]
        first, second = slice(0, self.rope, 2), slice(1, self.rope, 2)
        if self.family in HALVES:
            first, second = slice(0, self.rope // 2), slice(self.rope // 2, self.rope)
        out = x.copy()
        a, b = x[..., first], x[..., second]
        out[..., first] = a * c - b * s
        out[..., second] = a * s + b * c
        return out

    def store(self, x):
        return x.astype(np.float16).astype(np.float64) if self.kv_f16 else x

    def product(self, x, name, expert=None):
        block = self.block[name]
        if block > 1:
            b = x.reshape(-1, block)
            d = np.abs(b).max(1, keepdims=True) / 127
            x = (np.rint(np.divide(b, d, out=np.zeros_like(b), where=d > 0)) * d).reshape(x.shape)
        w = self.w[name] if expert is None else self.w[name][expert]
        return x @ w.T

    def attention(self, h, layer, product, positions, hidden):
        n, q_heads, kv_heads = len(h), self.heads[layer], self.kv_heads[layer]
        if not kv_heads:  # deci: a matrix in place of attention
            return product(h, "attn_output")
        heads = lambda x, name: self.norm(x, name) if name in self.w else x
        q = product(h, "attn_q").reshape(n, q_heads, -1)
        q, gate = q[..., :self.head], q[..., self.head:]  # qwen35: a query and a gate for each head
        q = heads(q, f"blk.{layer}.attn_q_norm.weight")
        k = heads(product(h, "attn_k").reshape(n, kv_heads, self.head), f"blk.{layer}.attn_k_norm.weight")
        q, k = self.rotate(q, positions, layer), self.rotate(k, positions, layer)
        v = product(h, "attn_v").reshape(n, kv_heads, self.head)
        self.k[layer] = np.concatenate([self.k[layer], self.store(k)])
        self.v[layer] = np.concatenate([self.v[layer], self.store(v)])
        out = np.empty((n, q_heads, self.head))
        if self.has_window(layer):
            hidden = np.where(np.arange(hidden.shape[1])[None, :] <= positions[:, None] - self.window, -np.inf, hidden)
        sinks = self.w.get(f"blk.{layer}.attn_sinks.weight", np.full(q_heads, -np.inf))
        for i in range(q_heads):
            j = i * kv_heads // q_heads
            z = q[:, i] @ self.k[layer][:, j].T * self.attention_scale + hidden
            top = np.maximum(z.max(1, keepdims=True), sinks[i])
            e = np.exp(z - top)
            out[:, i] = e @ self.v[layer][:, j] / (e.sum(1, keepdims=True) + np.exp(sinks[i] - top))
        if gate.size:
            out = out / (1 + np.exp(-gate))
        return product(out.reshape(n, -1), "attn_output")

    def latent_attention(self, h, layer, product, positions, hidden):
        """Multi-head latent attention (DeepSeek-AI 2024): keys and values of each head are made of a latent, which is cached."""
        w = lambda name: self.w[f"blk.{layer}.{name}.weight"]
        n, heads, plain = len(h), self.heads[layer], self.query_head - self.rope
        if f"blk.{layer}.attn_q.weight" in self.w:
            q = product(h, "attn_q")
        else:
            q = product(self.norm(product(h, "attn_q_a"), f"blk.{layer}.attn_q_a_norm.weight"), "attn_q_b")
        q = q.reshape(n, heads, self.query_head)
        q_rotated = self.rotate(q[..., plain:], positions, layer)
        row = product(h, "attn_kv_a_mqa")
        latent = self.norm(row[:, :self.latent], f"blk.{layer}.attn_kv_a_norm.weight")
        rotated = self.rotate(row[:, None, self.latent:], positions, layer)[:, 0]
        new = self.store(np.concatenate([latent, rotated], 1))[:, None]
        self.k[layer] = np.concatenate([self.k[layer], new])
        latent, rotated = np.split(self.k[layer][:, 0], [self.latent], 1)
        out = []
        for i in range(heads):
            key, value = latent @ w("attn_k_b")[i], latent @ w("attn_v_b")[i].T
            z = (q[:, i, :plain] @ key.T + q_rotated[:, i] @ rotated.T) * self.attention_scale + hidden
            e = np.exp(z - z.max(1, keepdims=True))
            out.append(e @ value / e.sum(1, keepdims=True))
        return product(np.concatenate(out, 1), "attn_output")

    def after(self, x, layer, name):
        """A norm after a half of a layer, in families that have it."""
        return self.norm(x, f"blk.{layer}.{name}.weight") if self.family == "gemma3" else x

    def gated(self, g, u):
        if self.family == "gemma3":
            return 0.5 * g * (1 + np.tanh(math.sqrt(2 / math.pi) * (g + 0.044715 * g ** 3))) * u
        if self.family == "gpt-oss":
            g = np.minimum(g, 7)
            return g / (1 + np.exp(-1.702 * g)) * (np.clip(u, -7, 7) + 1)
        return g / (1 + np.exp(-g)) * u

    def delta_net(self, h, layer, product):
        """A gated delta net (Yang et al. 2024), as Qwen's: a convolution over the last four rows, then the delta rule."""
        w = lambda name: self.w[f"blk.{layer}.{name}"]
        n, size, groups, heads = len(h), self.state, self.key_groups, self.state_heads
        silu = lambda x: x / (1 + np.exp(-x))
        rows = np.concatenate([self.convolved[layer], product(h, "attn_qkv")])
        self.convolved[layer] = rows[-3:]
        rows = silu(sum(rows[t:t + n] * w("ssm_conv1d.weight")[:, t] for t in range(4)))
        q, k, v = np.split(rows, [groups * size, 2 * groups * size], 1)
        length_one = lambda x: x / np.sqrt((x * x).sum(-1, keepdims=True) + 1e-6)
        q = length_one(q.reshape(n, groups, size)) / math.sqrt(size)
        k = length_one(k.reshape(n, groups, size))
        if self.family == "qwen3next":
            q, k = np.repeat(q, heads // groups, 1), np.repeat(k, heads // groups, 1)
        else:  # llama.cpp's converters have put the value heads of these into another order
            q, k = np.tile(q, (1, heads // groups, 1)), np.tile(k, (1, heads // groups, 1))
        v = v.reshape(n, heads, size)
        beta = 1 / (1 + np.exp(-product(h, "ssm_beta")))
        decay = np.exp(w("ssm_a") * np.log1p(np.exp(product(h, "ssm_alpha") + w("ssm_dt.bias"))))
        s, out = self.memory[layer], np.empty((n, heads, size))
        for i in range(n):
            s = s * decay[i][:, None, None]
            delta = (v[i] - np.einsum("hkv,hk->hv", s, k[i])) * beta[i][:, None]
            s = s + k[i][:, :, None] * delta[:, None, :]
            out[i] = np.einsum("hkv,hk->hv", s, q[i])
        self.memory[layer] = s
        gate = product(h, "attn_gate").reshape(n, heads, size)
        return product((self.norm(out, f"blk.{layer}.ssm_norm.weight") * silu(gate)).reshape(n, -1), "ssm_out")

    def feed_forward(self, h, gate, up, down):
        return down(self.gated(gate(h), up(h)))

    def mixture(self, h, layer):
        """What some experts give for each row, as much as the router says, and the expert of all rows."""
        name = lambda what: f"blk.{layer}.{what}.weight"
        bias = lambda what: self.w.get(f"blk.{layer}.{what}.bias", 0)
        score = self.product(h, name("ffn_gate_inp")) + bias("ffn_gate_inp")
        weight = 1 / (1 + np.exp(-score)) if self.sigmoid else np.exp(score - score.max(1, keepdims=True))
        if not self.sigmoid:
            weight = weight / weight.sum(1, keepdims=True)
        choice = weight + bias("exp_probs_b")
        if self.groups > 1:  # DeepSeek V3 takes the sum of a group's best two, V2 its best
            each = np.sort(choice.reshape(len(h), self.groups, -1), 2)
            group = each[:, :, -2:].sum(2) if self.sigmoid else each[:, :, -1]
            out_of = np.argsort(-group, 1, kind="stable")[:, self.groups_used:]
            for row in range(len(h)):
                choice[row].reshape(self.groups, -1)[out_of[row]] = -np.inf
        chosen = np.argsort(-choice, 1, kind="stable")[:, :self.used]
        weight = np.take_along_axis(weight, chosen, 1)
        if self.share:
            weight = weight / weight.sum(1, keepdims=True)
        out = np.zeros_like(h)
        for row in range(len(h)):
            for e, w in zip(chosen[row], weight[row] * self.expert_scale):
                parts = [lambda x, n=f"ffn_{what}_exps": self.product(x, name(n), e) + (
                    bias(n)[e] if f"blk.{layer}.{n}.bias" in self.w else 0) for what in ("gate", "up", "down")]
                out[row] += w * self.feed_forward(h[row:row + 1], *parts)[0]
        if name("ffn_gate_shexp") in self.w:
            much = 1
            if name("ffn_gate_inp_shexp") in self.w:
                much = 1 / (1 + np.exp(-(h @ self.w[name("ffn_gate_inp_shexp")])))[:, None]
            out = out + much * self.feed_forward(h, *[lambda x, n=f"ffn_{what}_shexp": self.product(x, name(n))
                                                      for what in ("gate", "up", "down")])
        return out

    def step(self, ids):
        """The logits of these tokens, which follow those of earlier steps."""
        n, old = len(ids), self.length
        self.length += n
        positions = np.arange(old, old + n)
        hidden = np.where(np.arange(old + n)[None, :] > positions[:, None], -np.inf, 0.0)
        x = self.w["token_embd.weight"][ids] * self.embedding_scale
        for layer in range(self.layers):
            product = lambda x, name: self.product(x, f"blk.{layer}.{name}.weight") + (
                self.w.get(f"blk.{layer}.{name}.bias", 0))
            if f"blk.{layer}.attn_norm.weight" in self.w:
                h = self.norm(x, f"blk.{layer}.attn_norm.weight")
                if f"blk.{layer}.ssm_out.weight" in self.w:
                    half = self.delta_net(h, layer, product)
                else:
                    half = (self.latent_attention if self.latent else self.attention)(h, layer, product, positions, hidden)
                x = x + self.after(half, layer, "post_attention_norm") * self.residual_scale
            norm = f"blk.{layer}.ffn_norm.weight"
            norm = norm if norm in self.w else f"blk.{layer}.post_attention_norm.weight"
            if norm not in self.w:
                continue
            h = self.norm(x, norm)
            if f"blk.{layer}.ffn_gate_inp.weight" in self.w:
                half = self.mixture(h, layer)
            else:
                half = self.feed_forward(h, *[lambda x, n=n: product(x, n) for n in ("ffn_gate", "ffn_up", "ffn_down")])
            x = x + self.after(half, layer, "post_ffw_norm") * self.residual_scale
        head = "output.weight" if "output.weight" in self.w else "token_embd.weight"
        return self.product(self.norm(x, "output_norm.weight"), head) / self.logit_scale


class Spm:
    """Llama 2's tokenizer: join the neighbours of the best score until none can be joined."""

    def __init__(self, metadata):
        self.pieces = metadata["tokenizer.ggml.tokens"]
        self.scores = metadata["tokenizer.ggml.scores"]
        self.types = metadata["tokenizer.ggml.token_type"]
        self.bos, self.eos = metadata["tokenizer.ggml.bos_token_id"], metadata["tokenizer.ggml.eos_token_id"]
        self.ids = {p: i for i, p in enumerate(self.pieces)}

    def encode(self, text):
        parts = list((" " + text).replace(" ", "\u2581")) if text else []
        while True:
            pairs = [(self.scores[self.ids[a + b]], -i) for i, (a, b) in enumerate(zip(parts, parts[1:]))
                     if a + b in self.ids]
            if not pairs:
                break
            i = -max(pairs)[1]
            parts[i:i + 2] = [parts[i] + parts[i + 1]]
        ids = []
        for p in parts:
            ids += [self.ids[p]] if p in self.ids else [self.ids["<0x%02X>" % b] for b in p.encode()]
        return ids

    def decode(self, ids):
        raw = b""
        for t in ids:
            if self.types[t] == 6:
                raw += bytes([int(self.pieces[t][3:5], 16)])
            elif self.types[t] == 1:
                raw += self.pieces[t].encode()
        return raw.decode(errors="replace").replace("\u2581", " ").removeprefix(" ")


def losses(model, ids):
    """Minus the logarithm of the probability of each id after the first."""
    model.reset()
    z = model.step(ids[:-1])
    top = z.max(1, keepdims=True)
    z = z - top - np.log(np.exp(z - top).sum(1, keepdims=True))
    return -z[np.arange(len(ids) - 1), ids[1:]]


def perplexity(model, sequences):
    all_losses = np.concatenate([losses(model, s) for s in sequences])
    return math.exp(all_losses.mean()), len(all_losses)


def generate(model, spm, text, count, rng=None):
    """Ids after <s> and text: the likeliest, or with rng drawn at temperature 1; ends before </s>."""
    model.reset()
    z = model.step([spm.bos] + spm.encode(text))[-1]
    out = spm.encode(text)
    for _ in range(count):
        if rng is None:
            t = int(z.argmax())
        else:
            p = np.exp(z - z.max())
            t = int(rng.choice(len(z), p=p / p.sum()))
        if t == spm.eos:
            break
        out.append(t)
        z = model.step([t])[-1]
    return spm.decode(out)


def main(args):
    if len(args) < 3:
        sys.exit(__doc__.split("numpy alone.")[1].strip())
    what, path, rest = args[0], args[1], args[2:]
    g = Gguf(path)
    if what == "dequant":
        rows = g.tensor(rest[0])
        sys.stdout.buffer.write(rows[:int(rest[1]) if len(rest) > 1 else len(rows)].astype("<f4").tobytes())
    elif what == "logits":
        sys.stdout.buffer.write(Llama(g).step([int(i) for i in rest]).astype("<f4").tobytes())
    elif what == "greedy":
        print(generate(Llama(g), Spm(g.metadata), rest[1] if len(rest) > 1 else "", int(rest[0])))
    elif what == "sample":
        rng = np.random.default_rng(int(rest[1]))
        print(generate(Llama(g), Spm(g.metadata), rest[2] if len(rest) > 2 else "", int(rest[0]), rng))
    elif what in ("perplexity", "perplexity-ids"):
        with open(rest[0], encoding="utf-8") as f:
            lines = f.read().splitlines()
        if what == "perplexity":
            spm = Spm(g.metadata)
            sequences = [[spm.bos] + spm.encode(line) + [spm.eos] for line in lines if line]
        else:
            sequences = [[int(i) for i in line.split()] for line in lines if line]
        print("perplexity %.4f over %d tokens" % perplexity(Llama(g), sequences))
    else:
        sys.exit("reference.py: no such command: " + what)


if __name__ == "__main__":
    main(sys.argv[1:])
