#!/usr/bin/python3
"""Writes the test models of models/, their reference values, and the tables of models/README.md.

Every model has random weights: one layer for each weight type, some of unusual shape, and some layers for each family
of models.  What is
stored of a quantised tensor is random bits, not quantised numbers, so every bit of a block counts; the
scales are set so that a tensor's weights deviate by 1/sqrt(width).  Seeds are fixed: a second run writes
the same files.  Needs numpy alone.

Usage: mkmodels.py [FOLDER]
"""
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "demo"))
import ggufwrite as gg  # noqa: E402
import reference as ref  # noqa: E402

IDS = [1, 5, 9, 60, 7, 12, 33, 60, 2, 3, 59, 44]
FAMILY_IDS = [1] + [(i * 37 + i * i * 11) % 61 + 3 for i in range(1, 64)]
LONG_IDS = [1] + [(i * 37 + i * i * 11) % 61 + 3 for i in range(1, 128)]
ROWS = 4  # of blk.0.ffn_gate.weight in NAME.dequant.f32
NUMBER = {name: kind for kind, (name, _, _) in ref.TYPES.items()}


def scaled(kind, d, dmin, bits):
    """Random blocks with these scales (a column each) around the given random bytes."""
    name = ref.TYPES[kind][0]
    b = bits.copy()
    if name == "MXFP4":
        b[:, :1] = np.where(d == 0, 0, np.clip(np.rint(np.log2(np.abs(d) + 1e-30)) + 127, 1, 254))
        return b
    d, dmin = gg.as_bytes(gg.f16(d)), gg.as_bytes(gg.f16(dmin))
    if name in ("Q8_0", "Q4_0", "Q5_0", "IQ4_NL", "IQ4_XS") or name.startswith(("IQ2", "IQ3", "IQ1_S")):
        b[:, :2] = d
    elif name == "IQ1_M":  # a nibble at the top of each of four shorts
        for i in range(4):
            b[:, 49 + 2 * i] = b[:, 49 + 2 * i] & 15 | (d[:, i // 2] >> 4 * (i % 2) & 15) << 4
    elif name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K"):
        b[:, :2], b[:, 2:4] = d, dmin
    elif name == "Q2_K":
        b[:, 80:82], b[:, 82:84] = d, dmin
    else:
        b[:, -2:] = d
    return b


def random_blocks(kind, rows, width, deviation, rng):
    """The bytes of rows of random weights of a block type."""
    name, per, size = ref.TYPES[kind]
    n = rows * width // per
    bits = rng.integers(0, 256, (n, size), np.uint8)
    if name in ("Q4_K", "Q5_K"):  # minima near their scales, or each sub-block would have its own mean
        sc = rng.integers(0, 64, (n, 8))
        bits[:, 4:16] = gg.pack_k_scales(sc, np.clip(sc + rng.integers(-6, 7, (n, 8)), 0, 63))
    if name == "Q2_K":
        sc = rng.integers(0, 16, (n, 16))
        bits[:, :16] = sc | np.clip(sc + rng.integers(-2, 3, (n, 16)), 0, 15) << 4
    d = rng.uniform(0.5, 1.5, (n, 1))
    mid = {"Q4_1": -7.5, "Q5_1": -15.5, "Q2_K": 1.5, "Q4_K": 7.5, "Q5_K": 15.5}.get(name, 0)
    if mid == 0:
        d *= rng.choice([-1, 1], (n, 1))  # a scale may be negative
    d[rng.random(n) < 0.02] = 0           # or nothing
    dmin = d * mid * rng.uniform(0.9, 1.1, (n, 1))
    unit = np.std(ref.dequantise(scaled(kind, d / 64, dmin / 64, bits).ravel(), kind).astype(np.float64)) * 64
    return scaled(kind, d * deviation / unit, dmin * deviation / unit, bits).tobytes()


def random_tensor(kind, shape, deviation, rng):
    if kind not in (ref.F32, ref.F16, ref.BF16):
        return random_blocks(kind, shape[0], shape[1], deviation, rng)
    w = (rng.standard_normal(shape) * deviation).astype("<f4")
    if kind == ref.F16:
        return w.astype("<f2").tobytes()
    return w.tobytes() if kind == ref.F32 else (w.view("<u4") >> 16).astype("<u2").tobytes()


def fuse(tensors, gate):
    """Queries, keys and values in one tensor, and if `gate` gate and up, as Phi 3's files have them."""
    out = {}
    for name, shape, kind, data in tensors:
        for part in ("attn_q.", "attn_k.", "attn_v."):
            name = name.replace(part, "attn_qkv.")
        name = name.replace("ffn_gate.", "ffn_up.") if gate else name
        old, _, before = out.get(name, ((0,), kind, b""))
        out[name] = ((old[0] + shape[0], *shape[1:]), kind, before + data)
    return [(name, *rest) for name, rest in out.items()]


def fuse_experts(tensors):
    """Of each expert gate and up, in one tensor."""
    out = []
    for name, shape, kind, data in tensors:
        if "ffn_up_exps" in name:
            _, (count, rows, width), _, gate = out.pop()
            data = np.concatenate([np.frombuffer(part, np.uint8).reshape(count, -1) for part in (gate, data)], 1).tobytes()
            name, shape = name.replace("ffn_up_exps", "ffn_gate_up_exps"), (count, 2 * rows, width)
        out.append((name, shape, kind, data))
    return out


def fuse_key_heads(tensors, delta, early):
    """Qwen3-Next's gated delta nets, all F32: by key heads beta and alpha, and in early files also what goes in."""
    groups, heads, size = delta
    parts = {"attn_qkv": 0, "attn_gate": 0, "ssm_beta": 0, "ssm_alpha": 0}
    out, block = [], {}
    for name, shape, kind, data in tensors:
        what = name.split(".")[2] if name.startswith("blk.") else ""
        if what in parts and (early or what.startswith("ssm")):
            block[what] = np.frombuffer(data, "<f4").reshape(shape)
            pair = {"attn_gate": ("attn_qkv", "attn_gate", "ssm_in"), "ssm_alpha": ("ssm_beta", "ssm_alpha", "ssm_ba")}.get(what)
            if not pair:
                continue
            rows = [block[pair[1]]]
            first = block[pair[0]]
            rows = (np.split(first, [groups * size, 2 * groups * size]) if what == "attn_gate" else [first]) + rows
            whole = np.concatenate([r.reshape(groups, -1, shape[1]) for r in rows], 1).reshape(-1, shape[1])
            name, shape, data = name.replace(what, pair[2]), whole.shape, whole.astype("<f4").tobytes()
        out.append((name, shape, kind, data))
    return out


def model(path, seed, kind, dim, ffn, heads=4, kv_heads=2, vocab=64, head=None, given=False, tied=False, factors=None,
          linear=None, base=10000.0, narrow=None, kinds=None, steep=1.0, version=3, align=32, split=False, family="llama",
          layers=1, biases=(), head_norms=False, half_norms=(), keys=(), context=64, delta=None, rope=None,
          fused=False, experts_fused=False, key_heads=None, factors_for=None,
          experts=None, shared=0, dense=0, choice_bias=False, ffn_norm="ffn_norm", unused=0,
          expert_biases=False, sinks=False, latent=None, shapes=None):
    """kind: the type of all matrices but attn_output, which is narrow, since its width is that of the heads.
    kinds: types of some matrices; given: the head size stands in the file; steep: makes attention sharper, so that
    positions matter more.
    delta: (key heads, heads, state size) of gated delta nets in three layers of four; attention then has a gate.
    rope: elements of a head that it rotates, all unless given.  biases: of which products of a layer; keys: further (name
    without the family's, type, value).  fused: tensors as Phi 3 has them; factors_for: LongRoPE's short and long factors.
    experts_fused: gate and up of experts in one; key_heads: Qwen3-Next's tensors by key heads, "new" ones or "early" ones.
    experts: (count, used, width) in all layers but the first `dense` ones; shared: width of the expert of all rows;
    unused: layers after the others, which are counted among them and have only a norm.
    latent: rank of queries or 0, width of the latent, size of a query's head and of a value's; head is then the latent and the
    rotated part.
    shapes: heads, key heads and feed-forward width of each layer."""
    rng = np.random.default_rng(seed)
    head = head or dim // heads
    narrow = narrow or kind
    norm = lambda n: rng.uniform(0.5, 1.5, n).astype("<f4").tobytes()
    t = []

    def matrix(name, rows, width, kind, dev, each=None):
        number = NUMBER[(kinds or {}).get(name.split(".")[-2], kind)]
        shape = (each, rows, width) if each else (rows, width)
        t.append((name, shape, number, random_tensor(number, ((each or 1) * rows, width), dev, rng)))
    matrix("token_embd.weight", vocab, dim, kind, 1.0)
    whole, layers = (heads, kv_heads, ffn), len(shapes or ()) or layers
    for layer in range(layers):
        block = f"blk.{layer}."
        heads, kv_heads, ffn = shapes[layer] if shapes else whole
        if heads:
            t.append((block + "attn_norm.weight", (dim,), gg.F32, norm(dim)))
        if delta and layer % 4 < 3:
            groups, states, size = delta
            channels = size * (2 * groups + states)
            matrix(block + "attn_qkv.weight", channels, dim, kind, dim ** -0.5)
            matrix(block + "attn_gate.weight", states * size, dim, kind, dim ** -0.5)
            t.append((block + "ssm_conv1d.weight", (channels, 4), gg.F32,
                      (rng.standard_normal((channels, 4)) * 0.7).astype("<f4").tobytes()))
            t.append((block + "ssm_dt.bias", (states,), gg.F32, rng.uniform(-4, 1, states).astype("<f4").tobytes()))
            t.append((block + "ssm_a", (states,), gg.F32, (-rng.uniform(0.1, 4, states)).astype("<f4").tobytes()))
            matrix(block + "ssm_beta.weight", states, dim, kind, dim ** -0.5)
            matrix(block + "ssm_alpha.weight", states, dim, kind, dim ** -0.5)
            t.append((block + "ssm_norm.weight", (size,), gg.F32, norm(size)))
            matrix(block + "ssm_out.weight", dim, states * size, narrow, 2 * (states * size) ** -0.5)
        elif latent:
            rank, low, query, value = latent
            if rank:
                matrix(block + "attn_q_a.weight", rank, dim, kind, dim ** -0.5)
                t.append((block + "attn_q_a_norm.weight", (rank,), gg.F32, norm(rank)))
            matrix(block + ("attn_q_b" if rank else "attn_q") + ".weight", heads * query, rank or dim, kind, steep * (rank or dim) ** -0.5)
            matrix(block + "attn_kv_a_mqa.weight", head, dim, kind, dim ** -0.5)
            t.append((block + "attn_kv_a_norm.weight", (low,), gg.F32, norm(low)))
            matrix(block + "attn_k_b.weight", low, query - rope, kind, low ** -0.5, heads)
            matrix(block + "attn_v_b.weight", value, low, kind, low ** -0.5, heads)
        elif kv_heads:
            matrix(block + "attn_q.weight", heads * head * (2 if delta else 1), dim, kind, steep * dim ** -0.5)
            matrix(block + "attn_k.weight", kv_heads * head, dim, kind, dim ** -0.5)
            matrix(block + "attn_v.weight", kv_heads * head, dim, kind, dim ** -0.5)
        if heads and not (delta and layer % 4 < 3):
            wide = heads * (latent[3] if latent else head)
            matrix(block + "attn_output.weight", dim, wide, narrow, 2 * wide ** -0.5)
        if not ffn:
            continue
        t.append((block + ("post_attention_norm" if delta else ffn_norm) + ".weight", (dim,), gg.F32, norm(dim)))
        mixture = experts and layer >= dense
        for end, wide, each in ([("_exps", experts[2], experts[0])] if mixture else [("", ffn, None)]) + (
                [("_shexp", shared, None)] if mixture and shared else []):
            matrix(block + f"ffn_gate{end}.weight", wide, dim, kind, dim ** -0.5, each)
            matrix(block + f"ffn_up{end}.weight", wide, dim, kind, dim ** -0.5, each)
            matrix(block + f"ffn_down{end}.weight", dim, wide, kind, 2 * wide ** -0.5, each)
        if mixture:
            matrix(block + "ffn_gate_inp.weight", experts[0], dim, "F32", 2 * dim ** -0.5)
        if mixture and family in ("qwen2moe", "qwen35moe", "qwen3next"):
            t.append((block + "ffn_gate_inp_shexp.weight", (dim,), gg.F32, (rng.standard_normal(dim) * 0.5).astype("<f4").tobytes()))
        if mixture and choice_bias:
            t.append((block + "exp_probs_b.bias", (experts[0],), gg.F32, rng.uniform(-0.3, 0.3, experts[0]).astype("<f4").tobytes()))
        width = dict(attn_q=heads * head, attn_k=kv_heads * head, attn_v=kv_heads * head, attn_output=dim)
        for name in biases:
            t.append((block + name + ".bias", (width[name],), gg.F32,
                      (rng.standard_normal(width[name]) * 0.7).astype("<f4").tobytes()))
        for name in ("attn_q_norm", "attn_k_norm") if head_norms and not (delta and layer % 4 < 3) else ():
            t.append((block + name + ".weight", (head,), gg.F32, (steep * rng.uniform(0.5, 1.5, head)).astype("<f4").tobytes()))
        for name, size, much in (("ffn_gate_inp", experts[0], 0.7), ("ffn_gate_exps", experts[2], 4), ("ffn_up_exps", experts[2], 4),
                                 ("ffn_down_exps", dim, 0.7)) if expert_biases else ():
            shape = (size,) if name == "ffn_gate_inp" else (experts[0], size)
            t.append((block + name + ".bias", shape, gg.F32, (rng.standard_normal(shape) * much).astype("<f4").tobytes()))
        if sinks:
            t.append((block + "attn_sinks.weight", (heads,), gg.F32, rng.uniform(-1, 3, heads).astype("<f4").tobytes()))
        for name in half_norms:
            t.append((block + name + ".weight", (dim,), gg.F32, norm(dim)))
    for layer in range(layers, layers + unused):
        t.append((f"blk.{layer}.attn_norm.weight", (dim,), gg.F32, norm(dim)))
    of_layers = list(zip(*shapes)) if shapes else whole
    number = lambda key, n: (key, gg.ARRAY, gg.I32, list(n)) if shapes else (key, gg.U32, n)
    t.append(("output_norm.weight", (dim,), gg.F32, norm(dim)))
    if not tied:
        matrix("output.weight", vocab, dim, kind, dim ** -0.5)
    if factors:
        t.append(("rope_freqs.weight", (len(factors),), gg.F32, np.array(factors, "<f4").tobytes()))
    for name, values in zip(("short", "long"), factors_for or ()):
        t.append((f"rope_factors_{name}.weight", (len(values),), gg.F32, np.array(values, "<f4").tobytes()))
    if fused:
        t = fuse(t, family == "phi3")
    if experts_fused:
        t = fuse_experts(t)
    if key_heads:
        t = fuse_key_heads(t, delta, key_heads == "early")
    name = os.path.basename(path)
    letters = ["\u2581" + chr(ord("a") + i % 26) + chr(ord("a") + i // 26) for i in range(vocab - 3)]
    title = "test " + name.replace("phi3", "phi 3")  # llama.cpp looks for tokens of Phi 3 in what is called phi3
    meta = [("general.architecture", gg.STRING, family), ("general.name", gg.STRING, title),
            (family + ".context_length", gg.U32, context), (family + ".embedding_length", gg.U32, dim),
            (family + ".block_count", gg.U32, layers + unused), number(family + ".feed_forward_length", of_layers[2]),
            number(family + ".attention.head_count", of_layers[0]), number(family + ".attention.head_count_kv", of_layers[1]),
            (family + ".attention.layer_norm_rms_epsilon", gg.FLOAT, 1e-5), (family + ".rope.dimension_count", gg.U32, rope or head),
            (family + ".rope.freq_base", gg.FLOAT, base), (family + ".vocab_size", gg.U32, vocab),
            ("tokenizer.ggml.model", gg.STRING, "llama"),
            ("tokenizer.ggml.tokens", gg.ARRAY, gg.STRING, ["<unk>", "<s>", "</s>"] + letters),
            ("tokenizer.ggml.scores", gg.ARRAY, gg.FLOAT, [0.0] * 3 + [-float(i) for i in range(vocab - 3)]),
            ("tokenizer.ggml.token_type", gg.ARRAY, gg.I32, [2, 3, 3] + [1] * (vocab - 3)),
            ("tokenizer.ggml.bos_token_id", gg.U32, 1), ("tokenizer.ggml.eos_token_id", gg.U32, 2),
            ("tokenizer.ggml.add_bos_token", gg.BOOL, True)]
    if given:
        meta += [(family + ".attention.key_length", gg.U32, head), (family + ".attention.value_length", gg.U32, latent[1] if latent else head)]
    if latent:
        meta += [(family + ".attention." + name, gg.U32, n) for name, n in zip(
            ("q_lora_rank", "kv_lora_rank", "key_length_mla", "value_length_mla"), latent) if n]
    if linear:
        meta += [(family + ".rope.scaling.type", gg.STRING, "linear"), (family + ".rope.scaling.factor", gg.FLOAT, linear)]
    if experts:
        meta += [(family + ".expert_count", gg.U32, experts[0]), (family + ".expert_used_count", gg.U32, experts[1])]
        meta += [(family + ".expert_feed_forward_length", gg.U32, experts[2])] if experts[2] != ffn else []
    meta += [(family + "." + name, *rest) for name, *rest in keys]
    if align != 32:
        meta.append(("general.alignment", gg.U32, align))
    if not split:
        gg.write(path + ".gguf", meta, t, version, align)
    else:
        parts = [t[:6], t[6:]]
        for i, part in enumerate(parts):
            gg.write(f"{path}-{i + 1:05}-of-{len(parts):05}.gguf",
                     (meta if i == 0 else []) + [("split.no", gg.U16, i), ("split.count", gg.U16, len(parts)),
                                                 ("split.tensors.count", gg.I32, len(t))], part, version, align)
        gg.write(path + ".gguf", meta, t, version, align)  # whole, for the reference alone


def error(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


BLOCKS = ["Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "IQ4_NL"]
KS = ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"]
# name, what it is about, its shape
MODELS = [(k, "width and feed-forward multiples of 32", dict(kind=k, dim=32, ffn=64)) for k in ("F32", "F16", "BF16")]
MODELS += [(k, "widths that are no multiple of 256", dict(kind=k, dim=96, ffn=160, heads=6, kv_heads=3)) for k in BLOCKS]
MODELS += [(k, "attn_output is " + n, dict(kind=k, dim=256, ffn=256, head=8, given=True, narrow=n))
           for k, n in zip(KS, ["Q4_0", "Q5_0", "Q5_1", "Q8_0", "IQ4_NL"])]
MODELS += [
    ("rope-factors", "rope_freqs.weight as Llama 3.1 has it, base 500000",
     dict(kind="F32", dim=32, ffn=64, factors=[1.0, 1.5, 4.0, 8.0], base=500000.0, steep=4.0)),
    ("rope-linear", "linear RoPE scaling by 4", dict(kind="F32", dim=32, ffn=64, linear=4.0, steep=4.0)),
    ("one-kv-head", "multi-query: one key and value head", dict(kind="F16", dim=64, ffn=96, heads=8, kv_heads=1)),
    ("head-size", "key_length 16 where width / heads is 8",
     dict(kind="F16", dim=32, ffn=64, head=16, given=True, steep=2.0)),
    ("odd-widths", "width 24, feed-forward 40, 61 pieces, as many key heads as heads",
     dict(kind="F16", dim=24, ffn=40, heads=3, kv_heads=3, vocab=61)),
    ("tied", "no output.weight; GGUF version 2", dict(kind="Q4_0", dim=64, ffn=96, tied=True, version=2)),
    ("split", "two files, general.alignment 64", dict(kind="F32", dim=32, ffn=64, split=True, align=64)),
    ("IQ4_XS", "attn_output is MXFP4", dict(kind="IQ4_XS", dim=256, ffn=256, head=8, given=True, narrow="MXFP4")),
    ("codebooks", "every type with a codebook",
     dict(kind="IQ3_XXS", dim=256, ffn=256, head=8, given=True, narrow="MXFP4",
          kinds={"attn_q": "IQ2_XS", "attn_k": "IQ2_S", "attn_v": "IQ1_S", "ffn_up": "IQ3_S", "ffn_down": "IQ2_XXS",
                 "output": "IQ1_M"})),
    ("ternary", "TQ1_0 and TQ2_0, embedding and output as such files have them",
     dict(kind="TQ1_0", dim=256, ffn=256, head=8, given=True, narrow="Q8_0",
          kinds={"token_embd": "Q4_K", "output": "Q6_K", "attn_q": "TQ2_0", "ffn_down": "TQ2_0"}))]

QKV = ("attn_q", "attn_k", "attn_v")
YARN = [("rope.scaling.type", gg.STRING, "yarn"), ("rope.scaling.factor", gg.FLOAT, 4.0),
        ("rope.scaling.original_context_length", gg.U32, 32), ("rope.scaling.yarn_beta_fast", gg.FLOAT, 4.0),
        ("rope.scaling.yarn_beta_slow", gg.FLOAT, 1.0)]
# of four pairs two are as they were, one is between, and one is divided
WIDE_YARN = [("rope.scaling.type", gg.STRING, "yarn"), ("rope.scaling.factor", gg.FLOAT, 40.0),
             ("rope.scaling.original_context_length", gg.U32, 4096)]
FAMILY = dict(kind="F32", dim=32, ffn=48, layers=2, context=128, steep=3.0)
DELTA = [("rope.dimension_sections", gg.ARRAY, gg.I32, [2, 1, 1, 0]), ("ssm.conv_kernel", gg.U32, 4), ("ssm.group_count", gg.U32, 2),
         ("ssm.time_step_rank", gg.U32, 4), ("ssm.state_size", gg.U32, 16), ("ssm.inner_size", gg.U32, 64),
         ("full_attention_interval", gg.U32, 4)]
NEXT = dict(FAMILY, family="qwen3next", layers=4, head=16, given=True, head_norms=True, rope=8, delta=(2, 6, 16), experts=(6, 3, 16), shared=24,
            keys=[("ssm.conv_kernel", gg.U32, 4), ("ssm.group_count", gg.U32, 2), ("ssm.time_step_rank", gg.U32, 6),
                  ("ssm.state_size", gg.U32, 16), ("ssm.inner_size", gg.U32, 96), ("expert_shared_feed_forward_length", gg.U32, 24)])
FAMILIES = [
    ("llama-biases", "biases of attention", dict(FAMILY, biases=QKV + ("attn_output",))),
    ("llama-yarn", "YaRN", dict(FAMILY, keys=YARN, head=16, given=True)),
    ("qwen2", "biases of queries, keys and values; RoPE of halves", dict(FAMILY, family="qwen2", biases=QKV, tied=True)),
    ("qwen3", "norms of heads; RoPE of halves; heads wider than width / heads",
     dict(FAMILY, family="qwen3", head_norms=True, head=16, given=True)),
    ("mistral3", "YaRN with its magnitude cancelled",
     dict(FAMILY, family="mistral3", head=16, given=True, keys=YARN + [("rope.scaling.yarn_log_multiplier", gg.FLOAT, 1.0)])),
    ("granite", "scales of embedding, attention, residuals and logits",
     dict(FAMILY, family="granite", tied=True,
          keys=[("attention.scale", gg.FLOAT, 0.25), ("embedding_scale", gg.FLOAT, 6.0), ("residual_scale", gg.FLOAT, 0.22),
                ("logit_scale", gg.FLOAT, 8.0)])),
    ("smollm3", "every fourth layer has no RoPE", dict(FAMILY, family="smollm3", layers=4, tied=True)),
    ("qwen35", "gated delta nets; in every fourth layer attention with a gate, RoPE of a part of a head",
     dict(FAMILY, family="qwen35", layers=4, head=16, given=True, head_norms=True, rope=8, delta=(2, 4, 16),
          keys=DELTA)),
    ("llama-longrope", "LongRoPE's factors for short texts, and its magnitude; fused queries, keys and values with biases",
     dict(FAMILY, context=256, biases=QKV, fused=True, factors_for=([1.0, 1.25, 1.5, 2.0], [1.0, 3.0, 8.0, 20.0]),
          keys=[("rope.scaling.type", gg.STRING, "longrope"), ("rope.scaling.original_context_length", gg.U32, 256),
                ("rope.scaling.attn_factor", gg.FLOAT, 1.25)])),
    ("phi3", "LongRoPE's factors for long texts; RoPE of halves of a part of a head; fused tensors",
     dict(FAMILY, family="phi3", rope=6, fused=True, tied=True, factors_for=([1.0, 1.25, 1.5], [1.5, 4.0, 12.0]),
          keys=[("rope.scaling.original_context_length", gg.U32, 32), ("attention.sliding_window", gg.U32, 0),
                ("rope.scaling.attn_factor", gg.FLOAT, 1.18322)])),
    ("llama-experts", "a mixture of experts as Mixtral", dict(FAMILY, experts=(8, 2, 48))),
    ("qwen3moe", "experts; norms of heads; RoPE of halves",
     dict(FAMILY, family="qwen3moe", head_norms=True, head=16, given=True, experts=(12, 4, 32), tied=True)),
    ("glm4moe", "experts by sigmoid with a bias of the choice, and a shared one, behind a dense layer; RoPE of half a head; biases",
     dict(FAMILY, family="glm4moe", layers=3, dense=1, head=16, given=True, rope=8, biases=QKV, ffn_norm="post_attention_norm",
          experts=(10, 3, 24), shared=24, choice_bias=True, unused=1,
          keys=[("expert_shared_count", gg.U32, 1), ("expert_gating_func", gg.U32, 2), ("expert_weights_norm", gg.BOOL, True),
                ("expert_weights_scale", gg.FLOAT, 1.5), ("leading_dense_block_count", gg.U32, 1),
                ("nextn_predict_layers", gg.U32, 1)])),
    ("gemma3", "windows in five layers of six, with RoPE of their own; norms after both halves of a layer; GELU",
     dict(FAMILY, family="gemma3", layers=7, ffn=32, given=True, head_norms=True, tied=True, linear=8.0, base=1000000.0,
          half_norms=("post_attention_norm", "post_ffw_norm"), keys=[("attention.sliding_window", gg.U32, 10)])),
    ("gpt-oss", "sinks; windows in every other layer; experts with biases and a bounded SwiGLU; YaRN",
     dict(FAMILY, family="gpt-oss", layers=3, head=16, given=True, biases=QKV + ("attn_output",), ffn_norm="post_attention_norm",
          experts=(8, 3, 32), expert_biases=True, sinks=True, base=150000.0,
          keys=YARN + [("attention.sliding_window", gg.U32, 9)])),
    ("deci", "heads and widths of each layer; no attention, a matrix in its place, nothing at all",
     dict(FAMILY, family="deci", head=8, given=True, factors=[1.0, 1.0, 2.0, 4.0],
          shapes=[(4, 2, 48), (4, 0, 64), (0, 0, 32), (0, 0, 0), (4, 1, 16), (4, 4, 48)])),
    ("qwen2moe", "experts by softmax over all, and a shared one with a router of its own",
     dict(FAMILY, family="qwen2moe", biases=QKV, experts=(10, 3, 24), shared=40,
          keys=[("expert_shared_feed_forward_length", gg.U32, 40)])),
    ("qwen35moe", "gated delta nets, attention with a gate; experts, and a shared one with a router of its own",
     dict(FAMILY, family="qwen35moe", layers=4, head=16, given=True, head_norms=True, rope=8, delta=(2, 4, 16), experts=(6, 3, 16),
          shared=24, keys=DELTA + [("expert_shared_feed_forward_length", gg.U32, 24)])),
    ("phi3-window", "a window in every layer",
     dict(FAMILY, family="phi3", fused=True, keys=[("rope.scaling.original_context_length", gg.U32, 128),
                                                   ("attention.sliding_window", gg.U32, 13)])),
    ("deepseek2-lite", "latent attention; experts by softmax over all, and a shared one, behind dense layers",
     dict(dict(FAMILY, steep=1.0), family="deepseek2", dim=16, ffn=8, heads=2, kv_heads=1, layers=26, dense=23, head=20, given=True, rope=4,
          latent=(0, 16, 12, 8), experts=(6, 2, 16), shared=16,
          keys=[("leading_dense_block_count", gg.U32, 23), ("expert_shared_count", gg.U32, 1),
                ("expert_weights_scale", gg.FLOAT, 1.0)] + YARN + [("rope.scaling.yarn_log_multiplier", gg.FLOAT, 0.0707)])),
    ("deepseek2", "latent attention with queries of low rank; groups of experts by sigmoid",
     dict(FAMILY, family="deepseek2", layers=3, dense=1, heads=4, kv_heads=1, head=32, given=True, rope=8, latent=(16, 24, 24, 16),
          experts=(12, 4, 24), shared=24, choice_bias=True,
          keys=[("leading_dense_block_count", gg.U32, 1), ("expert_shared_count", gg.U32, 1), ("expert_gating_func", gg.U32, 2),
                ("expert_weights_norm", gg.BOOL, True), ("expert_weights_scale", gg.FLOAT, 2.5), ("expert_group_count", gg.U32, 4),
                ("expert_group_used_count", gg.U32, 2)] + WIDE_YARN + [("rope.scaling.yarn_log_multiplier", gg.FLOAT, 0.1)])),
    ("qwen3next", "gated delta nets whose value heads lie beside each other's, betas and alphas by key heads; experts' gate and up in one",
     dict(NEXT, key_heads="new", experts_fused=True)),
    ("qwen3next-early", "the same, and what goes into a net by key heads", dict(NEXT, key_heads="early")),
]

README = """# Test models

Written by `../mkmodels.py`; values by `../reference.py`, which shares no code with the kernels and agrees
with the reference vectors of other implementations. Each model has random weights and a vocabulary of 64 pieces without
bytes; those of weight types and shapes have one layer.

- `NAME.dequant.f32`: the first {rows} rows of `blk.0.ffn_gate.weight`, dequantised, little-endian float32. A dequantiser
  must give these bits.
- `NAME.logits.f32`: logits at each position ({count} × pieces, float32, row-major) for the token ids
  `{ids}` at positions 0 to {last} of one sequence, with unrounded activations in float64,
  keys and values in f16. Compare by relative error ‖a − b‖ / ‖b‖ over all values. Those of families are of 64 tokens,
  `1` and then (37 i + 11 i²) mod 61 + 3 for i from 1 to 63.
- `NAME.end.f32`, of models with a recurrent state: the logits of the last eight of 128 such tokens.

The logits of the families were also compared with those of llama.cpp (June 2026, its processor backend), which are off by
less than 0.003 from these, for each of them (deepseek2-lite, which has 26 layers, by 0.0045; glm4moe without the layer behind the others), but `phi3-window`: llama.cpp leaves
Phi 3's window out.

| model | about | bytes | relative error of 8-bit activations | allow |
|---|---|---|---|---|
"""


def main(folder):
    table = README.format(rows=ROWS, count=len(IDS), last=len(IDS) - 1, ids=" ".join(map(str, IDS)))
    for seed, (name, about, shape) in list(enumerate(MODELS, 1)) + list(enumerate(FAMILIES, 1001)):
        path = os.path.join(folder, name)
        ids = IDS if seed < 1000 else FAMILY_IDS
        model(path, seed, **shape)
        g = ref.Gguf(path + ".gguf")
        logits = ref.Llama(g).step(ids)
        rounded = error(ref.Llama(g, q8=True).step(ids), logits)
        allow = 1e-3 if rounded == 0 else 0.03
        gate = next(n for n in ("blk.0.ffn_gate.weight", "blk.0.ffn_up.weight", "blk.0.ffn_gate_exps.weight",
                               "blk.0.ffn_gate_up_exps.weight") if n in g.tensors)
        g.tensor(gate).reshape(-1, g.tensors[gate][0][-1])[:ROWS].astype("<f4").tofile(path + ".dequant.f32")
        logits.astype("<f4").tofile(path + ".logits.f32")
        if shape.get("delta"):
            ref.Llama(g).step(LONG_IDS)[-8:].astype("<f4").tofile(path + ".end.f32")
        if shape.get("split"):
            os.remove(path + ".gguf")
        size = sum(os.path.getsize(os.path.join(folder, f)) for f in os.listdir(folder)
                   if f.endswith(".gguf") and f.split(".")[0].split("-00")[0] == name)
        table += f"| `{name}` | {about} | {size} | {'none' if rounded == 0 else '%.4f' % rounded} | {allow} |\n"
    with open(os.path.join(folder, "README.md"), "w", encoding="utf-8") as f:
        f.write(table)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(HERE, "models"))
