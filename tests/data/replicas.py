#!/usr/bin/env python3
"""Replicas of models that people download: small GGUF files that have what the real ones have, but for their size.

A replica has the metadata keys of the download, with values of the same types, in the same order; the tokenizer's kind, its
special tokens and flags; a chat template of the same kind; the names of all tensors; and the types of weights that the real
file's mixture gives to its first layers, to some between, and to the last.  Widths are small, vocabularies have bytes and a few
pieces, and weights are random.

The keys are those that llama.cpp prints of the real files, as people's reports show them, and what its converter writes; the
mixtures are those of its quantize (src/llama-quant.cpp), but for Unsloth's, which are its types in other places.  llama.cpp (June 2026)
loads every replica but the Mixtral of 2023, whose experts are apart, and DeepSeek's Lite, a kind that it knows by its 27 layers;
of those that Caravan serves its logits differ by the rounding of activations: by less than 0.035 of their norm, or 0.11 where that makes a
router choose another expert.  (Phi's with two RoPE tables, if both take the same one; DeepSeek V2.5's, if groups of experts are chosen as V3
chooses them, which llama.cpp does for V2 as well, against its publication.)

DOWNLOADS is the table.  A row without a repository is what the converter makes today of a model whose downloads are older.  A row that says REFUSED is a download that Caravan does not serve yet, and says so.

Usage: replicas.py FOLDER     writes all files
       replicas.py --readme   prints the rows of README's table of downloads
"""
import math
import os
import random
import re
import struct
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "demo"))
from gguffile import ARRAY, BOOL, FLOAT, I32, STRING, U16, U32, write  # noqa: E402

WORKS, REFUSED = "works", "refused"

# ---- weights: type: (number, elements of a block, bytes of it, where its scale is, where its minimum is, deviation of random
# blocks of scale 1, minimum in scales that centres them); the last two as in tests/support/ggufgen.c
TYPES = {
    "F32": (0, 1, 4), "F16": (1, 1, 2), "BF16": (30, 1, 2),
    "Q4_0": (2, 32, 18, 0, None, 4.64, 0), "Q4_1": (3, 32, 20, 0, 2, 4.61, -7.5), "Q5_0": (6, 32, 22, 0, None, 9.25, 0),
    "Q5_1": (7, 32, 24, 0, 2, 9.23, -15.5), "Q8_0": (8, 32, 34, 0, None, 73.9, 0), "IQ4_NL": (20, 32, 18, 0, None, 67.4, 0),
    "Q2_K": (10, 256, 84, 80, 82, 13.9, 1.5), "Q3_K": (11, 256, 110, 108, None, 43.3, 0),
    "Q4_K": (12, 256, 144, 0, 2, 258, 7.5), "Q5_K": (13, 256, 176, 0, 2, 527, 15.5), "Q6_K": (14, 256, 210, 208, None, 1366, 0),
    "IQ4_XS": (23, 256, 136, 0, None, 1245, 0), "IQ3_XXS": (18, 256, 98, 0, None, 142.5, 0),
    "IQ3_S": (21, 256, 110, 0, None, 140.2, 0), "IQ2_S": (22, 256, 82, 0, None, 56.4, 0), "MXFP4": (39, 32, 17, None, None, 5.85, 0)}
NARROWER = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}  # for rows that are no whole blocks; others become IQ4_NL


def weights(kind, shape, rng):
    """Random weights that deviate by about 1 / sqrt(width)."""
    count, width = math.prod(shape), shape[-1]
    deviation = width ** -0.5
    _, block, size, *layout = TYPES[kind]
    if kind == "F32":
        return struct.pack("<%df" % count, *(rng.uniform(-1.7, 1.7) * deviation for _ in range(count)))
    if kind == "F16":
        return struct.pack("<%de" % count, *(rng.uniform(-1.7, 1.7) * deviation for _ in range(count)))
    n = count // block
    out = bytearray(rng.randbytes(n * size))
    d_at, m_at, spread, centre = layout
    if kind == "MXFP4":
        out[0::size] = bytes([round(math.log2(deviation / spread) + 128)]) * n
    for at, value in ((d_at, deviation / spread), (m_at, deviation / spread * centre)):
        if at is not None:
            low, high = struct.pack("<e", value)
            out[at::size], out[at + 1::size] = bytes([low]) * n, bytes([high]) * n
    return bytes(out)


def ones(n, rng):
    return struct.pack("<%df" % n, *(rng.uniform(0.8, 1.2) for _ in range(n)))


# ---- mixtures ------------------------------------------------------------------------------------------------------------
def more_bits(layer, layers):
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def mixed_type(mixture, name, layer, m):
    """The type of a matrix, by its name without block and suffix, of this layer of the real model; as quantize chooses it."""
    layers, group = m["layers"], m["heads"] // m["kv"]
    base = {"Q4_K_M": "Q4_K", "Q4_K_S": "Q4_K", "Q5_K_M": "Q5_K", "Q3_K_M": "Q3_K", "Q2_K": "Q2_K", "UD-Q4_K_XL": "Q4_K",
            "UD-Q2_K_XL": "Q2_K", "IQ3_XXS": "IQ3_XXS", "MXFP4_MOE": "Q8_0", "QAT-Q4_0": "Q4_0"}.get(mixture, mixture)
    out = name == "output" or name == "token_embd" and m.get("tied")
    if mixture in ("F16", "BF16", "Q8_0"):
        return base
    if mixture == "MXFP4_MOE":
        return "MXFP4" if name.endswith("_exps") else "Q8_0"
    if mixture == "QAT-Q4_0":  # Google's, trained for it
        return "F16" if name == "token_embd" else base
    if out:
        return "Q5_K" if mixture == "IQ3_XXS" else "Q6_K"
    if name == "token_embd":
        return "IQ3_S" if mixture == "IQ3_XXS" else base
    if mixture == "UD-Q4_K_XL":
        return "Q6_K" if name == "attn_v" and layer % 5 == 0 else "Q5_K" if name.startswith("ffn_down") and layer % 2 == 0 else base
    if mixture == "UD-Q2_K_XL":
        return {"attn_v": "Q4_K", "attn_output": "Q3_K"}.get(name, "Q3_K" if name.startswith("ffn_down") else
                                                             "IQ4_XS" if name == "attn_q" else base)
    eight = m.get("experts") == 8  # Mixtral's
    if name in ("attn_v", "attn_kv_b"):
        t = base
        if mixture in ("Q4_K_M", "Q5_K_M") and more_bits(layer, layers):
            t = "Q6_K"
        elif mixture == "Q4_K_S" and layer < 4:
            t = "Q5_K"
        elif mixture == "IQ4_XS" and group >= 4:
            t = "Q5_K"
        elif mixture == "Q3_K_M":
            t = "Q5_K" if layer < 2 else "Q4_K"
        elif mixture == "Q2_K":
            t = "Q4_K" if group >= 4 else "Q3_K"
        elif mixture == "IQ3_XXS" and group >= 4:
            t = "Q4_K"
        if layers == 80 and m["dim"] == 8192 and t in ("Q3_K", "Q4_K"):
            t = "Q5_K"
        return "Q8_0" if eight else t
    if name == "attn_k":
        return "Q8_0" if eight else "IQ2_S" if mixture == "IQ3_XXS" else base
    if name == "attn_q":
        return "IQ2_S" if mixture == "IQ3_XXS" else base
    if name.startswith("ffn_down"):
        if mixture in ("Q4_K_M", "Q5_K_M"):
            return "Q6_K" if more_bits(layer, layers) else base
        if mixture == "Q4_K_S":
            return "Q5_K" if layer < layers // 8 else base
        if mixture == "Q3_K_M":
            return "Q5_K" if layer < layers // 16 else "Q4_K"
        return "Q3_K" if mixture == "Q2_K" else base
    if name == "attn_output":
        if eight:
            return "Q5_K"
        return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "IQ3_XXS": "IQ3_S"}.get(mixture, base)
    if name == "attn_qkv":
        return {"Q3_K_M": "Q4_K", "Q4_K_M": "Q5_K", "Q5_K_M": "Q6_K"}.get(mixture, base)
    return base


FILE_TYPES = {"F16": 1, "Q4_0": 2, "QAT-Q4_0": 2, "Q8_0": 7, "Q2_K": 10, "UD-Q2_K_XL": 10, "Q3_K_M": 12, "Q4_K_S": 14,
              "Q4_K_M": 15, "UD-Q4_K_XL": 15, "Q5_K_M": 17, "Q6_K": 18, "IQ3_XXS": 23, "IQ4_XS": 30, "BF16": 32, "MXFP4_MOE": 38}

# ---- vocabularies --------------------------------------------------------------------------------------------------------
NORMAL, UNKNOWN, CONTROL, USER, BYTE = 1, 2, 3, 4, 6
PAIRS = ("ll", "in")  # the pieces of more than a byte: two, that share no letter


def byte_letters():
    """GPT-2's letter for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(b) if b in plain else chr(256 + sum(c not in plain for c in range(b))) for b in range(256)]


class Vocab:
    """begin, end: special tokens before and behind the pieces; user: those of them that a user's text may hold as well."""

    def __init__(self, model, begin=(), end=(), pre=None, user=(), bos=None, eos=None, keys=(), flags=(), scores=False, strip=False):
        self.model, self.pre, self.bos, self.eos, self.flags, self.scores, self.strip = model, pre, bos, eos, flags, scores, strip
        spm = model == "llama"
        if spm:
            pieces = [("<0x%02X>" % b, BYTE) for b in range(256)] + [(p, NORMAL) for p in PAIRS] + \
                     [(chr(c), NORMAL) for c in (0x2581, *range(97, 123), *range(65, 91))]
        else:
            pieces = [(c, NORMAL) for c in byte_letters()] + [(p, NORMAL) for p in PAIRS]
        special = lambda t: (t, UNKNOWN if t == "<unk>" and spm else USER if t in user else CONTROL)
        self.token = [special(t) for t in begin] + pieces + [special(t) for t in end]
        self.special = [t for t in (*begin, *end) if spm or t not in ("<unk>",)]
        self.id = {t: i for i, (t, _) in enumerate(self.token)}
        self.ids = [(k, self.id[t]) for k, t in (("bos", bos), ("eos", eos), *keys) if t is not None]
        self.add_bos = dict(flags).get("add_bos_token", spm or pre in ("llama-bpe", "tekken", "falcon3"))

    def size(self):
        return len(self.token)

    def keys(self, early):
        """early: whether merges come before tokens' ids, as in all files but Mistral's own."""
        t = "tokenizer.ggml."
        out = [(t + "model", STRING, self.model)]
        if self.pre:
            out.append((t + "pre", STRING, self.pre))
        out.append((t + "tokens", ARRAY, STRING, [s for s, _ in self.token]))
        if self.model == "llama" or self.scores:
            out.append((t + "scores", ARRAY, FLOAT, [0.0 if k != NORMAL else -float(i) for i, (_, k) in enumerate(self.token)]))
        out.append((t + "token_type", ARRAY, I32, [k for _, k in self.token]))
        if self.model == "gpt2":
            out.append((t + "merges", ARRAY, STRING, [" ".join(p) for p in PAIRS]))
        out += [(t + k + "_token_id", U32, i) for k, i in self.ids]
        return out + [(t + k, BOOL, v) for k, v in self.flags]

    def count(self, prompt, prefix=True):
        """How many tokens a rendered prompt has: special tokens are one each, and so is each of the pairs, and any other byte; where
        SentencePiece puts a space first, that is another; white space behind a special token is part of it in Phi 3.  A prompt that does not begin with BOS gets it, if the file says so."""
        spaced = self.model == "llama" and dict(self.flags).get("add_space_prefix", True)
        n = 0
        for i, part in enumerate(re.split("(" + "|".join(map(re.escape, sorted(self.special, key=len, reverse=True))) + ")", prompt)):
            part = part.lstrip() if self.strip and i else part
            if i % 2:
                n += 1
            elif part:
                n += len(part.encode()) - sum(part.count(p) for p in PAIRS) + spaced
        return n + (self.add_bos and not prompt.startswith(self.bos))


SPM = dict(begin=("<unk>", "<s>", "</s>"), bos="<s>", eos="</s>", keys=[("unknown", "<unk>")])
LLAMA2 = Vocab("llama", **SPM)
LLAMA2_PADDED = Vocab("llama", **dict(SPM, keys=[("unknown", "<unk>"), ("padding", "</s>")]))
LLAMA2_FLAGS = Vocab("llama", **SPM, flags=[("add_bos_token", True), ("add_eos_token", False)])
VICUNA = Vocab("llama", **dict(SPM, keys=[("unknown", "<unk>"), ("padding", "<unk>")]),
               flags=[("add_bos_token", True), ("add_eos_token", False)])
ALPACA = Vocab("llama", **dict(SPM, end=("[PAD]",), keys=[("unknown", "<unk>"), ("padding", "[PAD]")]))
CODELLAMA = Vocab("llama", **dict(SPM, end=("▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>")))
YI = Vocab("llama", begin=("<unk>", "<|startoftext|>", "<|endoftext|>", "<|Human|>", "<|Assistant|>", "<|System|>", "<|im_start|>",
                           "<|im_end|>", "<|im_sep|>"),
           bos="<|startoftext|>", eos="<|im_end|>", keys=[("unknown", "<unk>"), ("padding", "<unk>")],
           flags=[("add_bos_token", False), ("add_eos_token", False)])
MISTRAL_V3 = Vocab("llama", begin=("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]",
                                   "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
                   pre="default", bos="<s>", eos="</s>", keys=[("unknown", "<unk>")],
                   flags=[("add_bos_token", True), ("add_eos_token", False)])
GEMMA3 = Vocab("llama", begin=("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "[multimodal]", "<start_of_turn>", "<end_of_turn>"),
               pre="default", user=("[multimodal]",), bos="<bos>", eos="<end_of_turn>",
               keys=[("unknown", "<unk>"), ("padding", "<pad>")],
               flags=[("add_bos_token", True), ("add_eos_token", False), ("add_space_prefix", False)])

LLAMA3_END = ("<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|finetune_right_pad_id|>",
              "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>", "<|python_tag|>")


def llama3(eos="<|eot_id|>", pad=None, more=(), **other):
    return Vocab("gpt2", end=LLAMA3_END + tuple(more), pre=other.pop("pre", "llama-bpe"),
                 bos=other.pop("bos", "<|begin_of_text|>"), eos=eos, keys=[("padding", pad)], **other)


DEEPSEEK = ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜▁pad▁｜>", "<think>", "</think>")
CHATML_ENDS = ("<|im_start|>", "<|im_end|>")
DEEPSEEK_FLAGS = [("add_bos_token", True), ("add_eos_token", False)]
DEEPSEEK3 = Vocab("gpt2", begin=DEEPSEEK[:2], end=DEEPSEEK[2:], pre="deepseek-v3", user=("<think>", "</think>"), bos=DEEPSEEK[0],
                  eos=DEEPSEEK[1], keys=[("padding", DEEPSEEK[1])], flags=DEEPSEEK_FLAGS)
DEEPSEEK2 = Vocab("gpt2", end=DEEPSEEK[:2], pre="deepseek-llm", bos=DEEPSEEK[0], eos=DEEPSEEK[1], keys=[("padding", DEEPSEEK[1])],
                  flags=DEEPSEEK_FLAGS)
KIMI = Vocab("gpt2", end=("[BOS]", "[EOS]", "<|im_end|>", "<|im_user|>", "<|im_assistant|>", "<|start_header_id|>", "<|end_header_id|>",
                          "[EOT]", "<|im_system|>", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", "<|tool_call_begin|>",
                          "<|tool_call_argument_begin|>", "<|tool_call_end|>", "<|im_middle|>", "[UNK]", "[PAD]"),
             pre="kimi-k2", bos="[BOS]", eos="<|im_end|>", keys=[("padding", "[PAD]")])
LLAMA3 = llama3()
LLAMA3_UNSLOTH = llama3(pad="<|finetune_right_pad_id|>")
LLAMA3_DEEPSEEK = llama3(bos=DEEPSEEK[0], eos=DEEPSEEK[1], pad=DEEPSEEK[1], more=DEEPSEEK,
                         flags=[("add_bos_token", True), ("add_eos_token", False)])
LLAMA3_HERMES = llama3(eos="<|im_end|>", pad="<|im_end|>", more=CHATML_ENDS)
LLAMA3_SMOLLM = llama3(pre="smaug-bpe", eos="<|im_end|>", pad="<|im_end|>",
                       more=CHATML_ENDS + ("<think>", "</think>"), user=("<think>", "</think>"))

QWEN_END = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>", "<|object_ref_end|>", "<|vision_start|>",
            "<|vision_end|>", "<|vision_pad|>", "<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
            "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>", "</tool_response>", "<think>", "</think>")
QWEN_USER = tuple(t for t in QWEN_END if t.startswith(("<t", "</", "<|fim", "<|repo", "<|file")))


def qwen(pad="<|endoftext|>", bos="<|endoftext|>"):
    return Vocab("gpt2", end=QWEN_END, pre="qwen2", user=QWEN_USER, bos=bos, eos="<|im_end|>", keys=[("padding", pad)],
                 flags=[("add_bos_token", False)])


QWEN, QWEN_UNSLOTH = qwen(), qwen("<|vision_pad|>", None)
QWEN35 = Vocab("gpt2", end=QWEN_END, pre="qwen35", user=QWEN_USER, eos="<|im_end|>", keys=[("padding", "<|vision_pad|>")],
               flags=[("add_bos_token", False)])
QWEN_DEEPSEEK = Vocab("gpt2", end=("<|endoftext|>",) + DEEPSEEK, pre="deepseek-r1-qwen", bos=DEEPSEEK[0], eos=DEEPSEEK[1],
                      keys=[("padding", DEEPSEEK[1])], flags=[("add_bos_token", True), ("add_eos_token", False)])
TEKKEN = Vocab("gpt2", begin=("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]", "[TOOL_RESULTS]",
                              "[/TOOL_RESULTS]", "[TOOL_CALLS]", "[IMG]", "<pad>", "[IMG_BREAK]", "[IMG_END]", "[PREFIX]",
                              "[MIDDLE]", "[SUFFIX]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[TOOL_CONTENT]"),
               pre="tekken", bos="<s>", eos="</s>", keys=[("unknown", "<unk>"), ("padding", "<pad>")],
               flags=[("add_bos_token", True), ("add_eos_token", False)])
FALCON3 = Vocab("gpt2", begin=(">>TITLE<<", ">>ABSTRACT<<", "<|assistant|>", "<|user|>", "<|system|>", "<|endoftext|>", "<|pad|>"),
                pre="falcon3", bos="<|endoftext|>", eos="<|endoftext|>", keys=[("padding", "<|pad|>")],
                flags=[("add_bos_token", False)])
GRANITE3 = Vocab("gpt2", begin=("<|end_of_text|>", "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"),
                 end=("<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"), pre="refact", bos="<|end_of_text|>",
                 eos="<|end_of_text|>", keys=[("unknown", "<|end_of_text|>"), ("padding", "<|end_of_text|>")],
                 flags=[("add_bos_token", False), ("add_space_prefix", False)])
GRANITE4 = Vocab("gpt2", end=("<|pad|>", "<|end_of_text|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>",
                              "<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>", "<|unk|>"),
                 pre="dbrx", bos="<|end_of_text|>", eos="<|end_of_text|>", keys=[("unknown", "<|unk|>"), ("padding", "<|pad|>")],
                 flags=[("add_bos_token", False)])
PHI3 = Vocab("llama", begin=("<unk>", "<s>", "</s>"),
             end=("<|endoftext|>", "<|assistant|>", "<|placeholder1|>", "<|placeholder2|>", "<|placeholder3|>", "<|placeholder4|>",
                  "<|system|>", "<|end|>", "<|placeholder5|>", "<|placeholder6|>", "<|user|>"),
             pre="default", user=("</s>",), bos="<s>", eos="<|endoftext|>", keys=[("unknown", "<unk>"), ("padding", "<|endoftext|>")],
             flags=[("add_bos_token", False), ("add_eos_token", False)], strip=True)
PHI4 = Vocab("gpt2", end=("<|dummy_0|>", "<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|im_start|>",
                          "<|im_end|>", "<|im_sep|>", "<|endofprompt|>"),
             pre="dbrx", bos="<|endoftext|>", eos="<|endoftext|>", keys=[("padding", "<|endoftext|>")])
PHI4_MINI = Vocab("gpt2", end=("<|endoftext|>", "<|assistant|>", "<|user|>", "<|system|>", "<|tool|>", "<|/tool|>", "<|tool_call|>",
                               "<|/tool_call|>", "<|end|>", "<|endofprompt|>"),
                  pre="gpt-4o", bos="<|endoftext|>", eos="<|endoftext|>",
                  keys=[("unknown", "<|endoftext|>"), ("padding", "<|endoftext|>")],
                  flags=[("add_bos_token", False), ("add_eos_token", False)])
HARMONY = Vocab("gpt2", end=("<|startoftext|>", "<|endoftext|>", "<|return|>", "<|constrain|>", "<|channel|>", "<|start|>", "<|end|>",
                             "<|message|>", "<|call|>"),
                pre="gpt-4o", bos="<|startoftext|>", eos="<|return|>", keys=[("padding", "<|endoftext|>")])
GLM4 = Vocab("gpt2", end=("<|endoftext|>", "[MASK]", "[gMASK]", "[sMASK]", "<sop>", "<eop>", "<|system|>", "<|user|>", "<|assistant|>",
                          "<|observation|>", "<think>", "</think>", "<tool_call>", "</tool_call>", "/nothink"),
             pre="glm4", user=("<think>", "</think>", "<tool_call>", "</tool_call>", "/nothink"), bos="[gMASK]", eos="<|endoftext|>",
             keys=[("padding", "<|endoftext|>"), ("eot", "<|user|>"), ("unknown", "<|endoftext|>"), ("eom", "<|observation|>")])

# ---- chat templates: the file in tests/data/jinja/templates, or the text itself; and what a user's "Hello" becomes --------
# None: the file has none, and Caravan goes by its name or tokens
TEMPLATES = {
    None: (None, None),
    "alpaca": ("alpaca", "### Instruction:\nHello"),
    "chatml": ("chatml", "<|im_start|>user\nHello<|im_end|>"),
    "deepseek": ("deepseek-r1", "<｜User｜>Hello<｜Assistant｜>"),
    "deepseek-v2": ("deepseek-v2", "User: Hello\n\nAssistant:"),
    "deepseek-v3.1": ("{% if not thinking is defined %}{% set thinking = false %}{% endif %}{{ bos_token }}{% for m in messages %}"
                      "{% if m['role'] == 'user' %}{{ '<｜User｜>' + m['content'] }}{% elif m['role'] == 'assistant' %}"
                      "{{ '<｜Assistant｜></think>' + m['content'] + '<｜end▁of▁sentence｜>' }}{% endif %}{% endfor %}"
                      "{% if add_generation_prompt %}{{ '<｜Assistant｜>' }}{% if not thinking %}{{ '</think>' }}{% else %}"
                      "{{ '<think>' }}{% endif %}{% endif %}", "<｜User｜>Hello<｜Assistant｜></think>"),
    "falcon3": ("{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '\n' }}{% endfor %}"
                "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}", "<|user|>\nHello\n<|assistant|>"),
    "gemma3": ("gemma-3", "<start_of_turn>user\nHello<end_of_turn>\n<start_of_turn>model"),
    "glm": ("glm-4", "<|user|>\nHello"),
    "glm-4.7": ("[gMASK]<sop>\n{%- for m in messages %}{%- if m.role == 'user' -%}<|user|>{{ m.content }}"
                "{%- elif m.role == 'assistant' -%}<|assistant|>{{ '</think>' + m.content }}{%- endif -%}{%- endfor -%}"
                "{%- if add_generation_prompt -%}<|assistant|>{{- '</think>' if (enable_thinking is defined and not enable_thinking) "
                "else '<think>' -}}{%- endif -%}", "[gMASK]<sop><|user|>Hello<|assistant|><think>"),
    "granite": ("granite-3", "<|start_of_role|>user<|end_of_role|>Hello<|end_of_text|>"),
    "harmony": ("gpt-oss", "<|start|>user<|message|>Hello<|end|>"),
    "hermes": ("hermes-2-pro", "<|im_start|>user\nHello<|im_end|>"),
    "kimi": ("kimi-k2", "<|im_user|>user<|im_middle|>Hello<|im_end|><|im_assistant|>assistant<|im_middle|>"),
    "llama2": ("llama-2", "[INST] Hello [/INST]"),
    "llama3": ("llama-3", "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"),
    "llama3.1": ("llama-3.1", "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"),
    "llama3.2": ("llama-3.2", "<|start_header_id|>user<|end_header_id|>\n\nHello<|eot_id|>"),
    "mistral": ("mistral-7b-v0.1", "[INST] Hello [/INST]"),
    "mistral3": ("mistral-7b-v0.3", "[INST] Hello[/INST]"),
    "nemo": ("mistral-nemo", "[INST]Hello[/INST]"),
    "mistral-small": ("mistral-small-3", "[INST]Hello[/INST]"),
    "phi3": ("phi-3", "<|user|>\nHello<|end|>\n<|assistant|>\n"),
    "phi4": ("phi-4", "<|im_start|>user<|im_sep|>Hello<|im_end|>"),
    "phi4-mini": ("{% for m in messages %}{% if m['role'] == 'system' and 'tools' in m and m['tools'] is not none %}"
                  "{{ '<|' + m['role'] + '|>' + m['content'] + '<|tool|>' + m['tools'] + '<|/tool|>' + '<|end|>' }}{% else %}"
                  "{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
                  "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}",
                  "<|user|>Hello<|end|><|assistant|>"),
    "qwen2.5": ("qwen-2.5", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"),
    "qwen3": ("qwen-3", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"),
    "qwen3-coder": ("qwen-3-coder", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"),
    "qwq": ("qwq", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"),
    "smollm3": ("smollm-3", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"),
    "solar": ("solar", "### User:\nHello\n\n### Assistant:\n"),
    "vicuna": ("vicuna", "USER: Hello"),
    "yi": ("yi", "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"),
    "zephyr": ("zephyr", "<|user|>\nHello</s>\n<|assistant|>"),
}


def template_text(name):
    what = TEMPLATES[name][0]
    if not what or "{" in what:
        return what
    with open(os.path.join(HERE, "jinja", "templates", what + ".jinja"), encoding="utf-8") as f:
        return f.read()


# ---- numbers of replicas --------------------------------------------------------------------------------------------------
WIDTH, HEADS, LAYERS, EXPERTS = 256, 4, 4, 16
LATENT, ROTATED = 256, 32  # of latent attention
CONVOLVED, STATE, KEY_HEADS = 4, 64, 2  # of gated delta nets
TOKENS = "the vocabulary's size"  # in a model's keys; None there: the width of its experts

# ---- models: numbers of the real ones ---------------------------------------------------------------------------------------
def model(arch, layers, dim, heads, kv, ffn, context, base=None, eps=1e-5, **other):
    """head: key_length and value_length are given, and are wider than dim / heads; keys: further ones; tensors: what a layer has besides,
    by name; factors: the file has rope_freqs.weight; rope_dim, vocab_size: the file has that key."""
    return dict(arch=arch, layers=layers, dim=dim, heads=heads, kv=kv, ffn=ffn, context=context, base=base, eps=eps, **other)


def llama(*numbers, **other):
    return model("llama", *numbers, rope_dim=True, **other)


L2_7B = llama(32, 4096, 32, 32, 11008, 4096, eps=1e-6)
L2_13B = llama(40, 5120, 40, 40, 13824, 4096)
L2_70B = llama(80, 8192, 64, 8, 28672, 4096)
L1_7B = llama(32, 4096, 32, 32, 11008, 2048, eps=1e-6)
L3_8B = llama(32, 4096, 32, 8, 14336, 8192, 5e5, vocab_size=True)
L3_70B = llama(80, 8192, 64, 8, 28672, 8192, 5e5, vocab_size=True)
L31_8B = dict(L3_8B, context=131072, factors=True)
L31_70B = dict(L3_70B, context=131072, factors=True)
L31_405B = llama(126, 16384, 128, 8, 53248, 131072, 5e5, vocab_size=True, factors=True)
L32_1B = llama(16, 2048, 32, 8, 8192, 131072, 5e5, vocab_size=True, factors=True, tied=True, lengths=True)
L32_3B = llama(28, 3072, 24, 8, 8192, 131072, 5e5, vocab_size=True, factors=True, tied=True, lengths=True)
L33_70B = dict(L31_70B, lengths=True)
MISTRAL_7B = llama(32, 4096, 32, 8, 14336, 32768, 1e4)
MISTRAL_NEMO = llama(40, 5120, 32, 8, 14336, 1024000, 1e6, vocab_size=True, head=128)
MISTRAL_24B = llama(40, 5120, 32, 8, 32768, 32768, 1e8, vocab_size=True, head=128)
MISTRAL_24B_LONG = dict(MISTRAL_24B, context=131072, base=1e9)
MISTRAL3_14B = model("mistral3", 40, 5120, 32, 8, 16384, 262144, 1e9, vocab_size=True, rope_dim=True, head=128, keys=[
    ("rope.scaling.type", STRING, "yarn"), ("rope.scaling.factor", FLOAT, 16.0), ("rope.scaling.yarn_beta_fast", FLOAT, 32.0),
    ("rope.scaling.yarn_beta_slow", FLOAT, 1.0), ("rope.scaling.yarn_log_multiplier", FLOAT, 1.0),
    ("rope.scaling.original_context_length", U32, 16384), ("attention.temperature_scale", FLOAT, 0.1)])
DEVSTRAL2_24B = dict(MISTRAL3_14B, ffn=32768, context=393216, base=1e8, keys=[
    ("rope.scaling.type", STRING, "yarn"), ("rope.scaling.factor", FLOAT, 48.0), ("rope.scaling.yarn_beta_fast", FLOAT, 32.0),
    ("rope.scaling.yarn_beta_slow", FLOAT, 1.0), ("rope.scaling.yarn_log_multiplier", FLOAT, 1.0),
    ("rope.scaling.original_context_length", U32, 8192), ("attention.temperature_scale", FLOAT, 0.1)])
EIGHT = [("expert_count", U32, 8), ("expert_used_count", U32, 2)]
MIXTRAL = llama(32, 4096, 32, 8, 14336, 32768, 1e6, keys=EIGHT, experts=8)
MIXTRAL_APART = dict(MIXTRAL, apart=True)  # before March 2024 each expert was a tensor
QKV_BIAS = ("attn_q.bias", "attn_k.bias", "attn_v.bias")


def qwen2(*numbers, eps=1e-6, **other):
    return model("qwen2", *numbers, eps=eps, tensors=QKV_BIAS, **other)


def qwen3(*numbers, **other):
    return model("qwen3", *numbers, eps=1e-6, head=128, tensors=("attn_q_norm", "attn_k_norm"), **other)


def qwen3moe(layers, dim, heads, kv, ffn, context, base, wide, shared=False):
    return model("qwen3moe", layers, dim, heads, kv, ffn, context, base, 1e-6, head=128, experts=128, expert_ffn=wide,
                 tensors=("attn_q_norm", "attn_k_norm"), first_keys=[("expert_used_count", U32, 4)],
                 keys=[("expert_count", U32, 16), ("expert_feed_forward_length", U32, None)] +
                      [("expert_shared_feed_forward_length", U32, 0)] * shared)


QWEN25_7B = qwen2(28, 3584, 28, 4, 18944, 32768, 1e6)
QWEN25_32B = qwen2(64, 5120, 40, 8, 27648, 32768, 1e6)
QWEN25_72B = qwen2(80, 8192, 64, 8, 29568, 32768, 1e6)
R1_QWEN_32B = qwen2(64, 5120, 40, 8, 27648, 131072, 1e6, eps=1e-5)
QWEN3_4B = qwen3(36, 2560, 32, 8, 9728, 40960, 1e6, tied=True)
QWEN3_4B_2507 = qwen3(36, 2560, 32, 8, 9728, 262144, 5e6, tied=True)
QWEN3_8B = qwen3(36, 4096, 32, 8, 12288, 40960, 1e6)
QWEN3_14B = qwen3(40, 5120, 40, 8, 17408, 40960, 1e6)
QWEN3_32B = qwen3(64, 5120, 64, 8, 25600, 40960, 1e6)
QWEN3_30B_A3B = qwen3moe(48, 2048, 32, 4, 6144, 40960, 1e6, 768)
QWEN3_30B_A3B_2507 = qwen3moe(48, 2048, 32, 4, 6144, 262144, 1e7, 768)
QWEN3_CODER = qwen3moe(48, 2048, 32, 4, 5472, 262144, 1e7, 768, shared=True)
QWEN3_235B = qwen3moe(94, 4096, 64, 4, 12288, 40960, 1e6, 1536)
QWEN3_235B_2507 = qwen3moe(94, 4096, 64, 4, 12288, 262144, 5e6, 1536)


def qwen35(layers, dim, heads, kv, ffn, values, **other):
    """Three layers of four are gated delta nets; values: their heads of values for eight of keys."""
    return model("qwen35moe" if other.get("experts") else "qwen35", layers, dim, heads, kv, ffn, 262144, 1e7, 1e-6, head=256, pattern=4,
                 part_rope=1 / 4, delta_values=values, tensors=("attn_q_norm", "attn_k_norm"),
                 norms=("attn_norm", "post_attention_norm"), **other)


QWEN35_9B = qwen35(32, 4096, 16, 4, 12288, 16)
QWEN36_27B = qwen35(64, 5120, 24, 4, 17408, 24)
QWEN36_27B_NEXT = dict(qwen35(65, 5120, 24, 4, 17408, 24), next_layer=True, keys=[("nextn_predict_layers", U32, 1)])
QWEN36_35B_A3B = qwen35(40, 2048, 16, 2, 512, 16, experts=256, expert_ffn=512, shared_gate=True,
                        first_keys=[("expert_count", U32, 16), ("expert_used_count", U32, 4)])


def qwen3next(base, by_key_heads):
    """by_key_heads: what files made before December 2025 have in one tensor."""
    return model("qwen3next", 48, 2048, 16, 2, 5120, 262144, base, 1e-6, head=256, pattern=4, part_rope=1 / 4, delta_values=16,
                 by_key_heads=by_key_heads, experts=512, expert_ffn=512, shared_gate=True, tensors=("attn_q_norm", "attn_k_norm"),
                 norms=("attn_norm", "post_attention_norm"), first_keys=[("expert_used_count", U32, 4)])


def gpt_oss(layers, experts):
    return model("gpt-oss", layers, 2880, 64, 8, 2880, 131072, 1.5e5, head=64, experts=experts, expert_ffn=2880, pattern=2,
                 tensors=QKV_BIAS + ("attn_output.bias", "attn_sinks"), norms=("attn_norm", "post_attention_norm"),
                 first_keys=[("expert_count", U32, 16), ("expert_used_count", U32, 4)],
                 keys=[("attention.sliding_window", U32, 128), ("expert_feed_forward_length", U32, None),
                       ("rope.scaling.type", STRING, "yarn"), ("rope.scaling.factor", FLOAT, 32.0),
                       ("rope.scaling.original_context_length", U32, 4096)])


def gemma3(layers, dim, heads, kv, ffn, head=256, scaled=True):
    return model("gemma3", layers, dim, heads, kv, ffn, 131072, 1e6, 1e-6, head=head, pattern=6, tied=True, early_base=False,
                 tensors=("attn_q_norm", "attn_k_norm"), norms=("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm"),
                 keys=[("attention.sliding_window", U32, 1024)] +
                      [("rope.scaling.type", STRING, "linear"), ("rope.scaling.factor", FLOAT, 8.0)] * scaled)


PHI35_MINI = model("phi3", 32, 3072, 32, 32, 8192, 131072, 1e4, fused=True, rope_dim=True, long_factors=True,
                   keys=[("attention.sliding_window", U32, 262144), ("rope.scaling.original_context_length", U32, 4096),
                         ("rope.scaling.attn_factor", FLOAT, 1.190238)])
PHI4_14B = model("phi3", 40, 5120, 40, 10, 17920, 16384, 250000.0, fused=True, rope_dim=True,
                 keys=[("attention.sliding_window", U32, 0), ("rope.scaling.original_context_length", U32, 16384)])
PHI4_MINI_4B = model("phi3", 32, 3072, 24, 8, 8192, 131072, 1e4, fused=True, part_rope=3 / 4, tied=True, long_factors=True,
                     keys=[("attention.sliding_window", U32, 262144), ("rope.scaling.original_context_length", U32, 4096),
                           ("rope.scaling.attn_factor", FLOAT, 1.190238)])
GLM_AIR = model("glm4moe", 47, 4096, 96, 8, 10944, 131072, 1e6, head=128, experts=128, expert_ffn=1408, part_rope=1 / 2, dense=1,
                shared_expert=True, next_layer=True, tensors=QKV_BIAS, norms=("attn_norm", "post_attention_norm"),
                first_keys=[("expert_used_count", U32, 4)],
                keys=[("expert_count", U32, 16), ("expert_feed_forward_length", U32, None), ("expert_shared_count", U32, 1),
                      ("leading_dense_block_count", U32, 1), ("expert_gating_func", U32, 2), ("expert_weights_scale", FLOAT, 1.0),
                      ("expert_weights_norm", BOOL, True), ("nextn_predict_layers", U32, 1)])
DEEPSEEK_YARN = [("rope.scaling.type", STRING, "yarn"), ("rope.scaling.factor", FLOAT, 40.0),
                 ("rope.scaling.original_context_length", U32, 4096)]


def deepseek2(*numbers, plain, value, said_first=(), said_last=(), **other):
    """Latent attention with queries of low rank; plain: what of a head is not rotated.  Replicas have half of each, and of the latent."""
    return model("deepseek2", *numbers, latent=(LATENT, plain // 2, value // 2), experts=256, shared_expert=True,
                 first_keys=[("expert_used_count", U32, 4), *said_first], **other,
                 keys=[("leading_dense_block_count", U32, 1), ("vocab_size", U32, TOKENS), ("attention.q_lora_rank", U32, WIDTH),
                       ("attention.kv_lora_rank", U32, LATENT), ("attention.key_length", U32, LATENT + ROTATED),
                       ("attention.value_length", U32, LATENT), ("attention.key_length_mla", U32, plain // 2 + ROTATED),
                       ("attention.value_length_mla", U32, value // 2), ("expert_feed_forward_length", U32, None),
                       ("expert_count", U32, EXPERTS), ("expert_shared_count", U32, 1), *said_last])


R1 = deepseek2(61, 7168, 128, 1, 18432, 163840, 1e4, 1e-6, plain=128, value=128, dense=3, expert_ffn=2048, said_last=[
    ("expert_weights_scale", FLOAT, 2.5), ("expert_weights_norm", BOOL, True), ("expert_gating_func", U32, 2),
    ("rope.dimension_count", U32, ROTATED), *DEEPSEEK_YARN, ("rope.scaling.yarn_log_multiplier", FLOAT, 0.1)])
KIMI_K2 = deepseek2(61, 7168, 64, 1, 18432, 262144, 5e4, 1e-6, plain=128, value=128, dense=1, expert_ffn=2048, said_last=[
    ("expert_weights_scale", FLOAT, 2.827), ("expert_weights_norm", BOOL, True), ("expert_gating_func", U32, 2),
    ("rope.dimension_count", U32, ROTATED), ("rope.scaling.type", STRING, "yarn"), ("rope.scaling.factor", FLOAT, 64.0),
    ("rope.scaling.original_context_length", U32, 4096), ("rope.scaling.yarn_log_multiplier", FLOAT, 0.1)])
GLM_FLASH = deepseek2(47, 2048, 20, 1, 10240, 202752, 1e6, plain=192, value=256, dense=1, expert_ffn=1536, said_first=[
    ("expert_group_count", U32, 1), ("expert_group_used_count", U32, 1), ("expert_gating_func", U32, 2)], said_last=[
    ("expert_weights_scale", FLOAT, 1.8), ("expert_weights_norm", BOOL, True), ("rope.dimension_count", U32, ROTATED)])
# before April 2025, with the matrices of keys and values in one tensor
CODER_LITE = model("deepseek2", 27, 2048, 16, 16, 10944, 163840, 1e4, 1e-6, latent=(LATENT, 64, 64), together=True, dense=1,
                   experts=64, expert_ffn=1408, shared_expert=True, shared=2, choice_bias=False,
                   first_keys=[("expert_used_count", U32, 4)],
                   keys=[("leading_dense_block_count", U32, 1), ("vocab_size", U32, TOKENS), ("attention.kv_lora_rank", U32, LATENT),
                         ("attention.key_length", U32, 64 + ROTATED), ("attention.value_length", U32, 64),
                         ("expert_feed_forward_length", U32, None), ("expert_count", U32, EXPERTS), ("expert_shared_count", U32, 2),
                         ("expert_weights_scale", FLOAT, 1.0), ("rope.dimension_count", U32, ROTATED), *DEEPSEEK_YARN,
                         ("rope.scaling.yarn_log_multiplier", FLOAT, 0.0707)])


# the same model, and its large kin, converted since
V2_LITE = model("deepseek2", 27, 2048, 16, 1, 10944, 163840, 1e4, 1e-6, latent=(LATENT, 64, 64), full_rank=True, dense=1, experts=64,
                expert_ffn=1408, shared_expert=True, shared=2, choice_bias=False,
                first_keys=[("expert_used_count", U32, 4), ("expert_group_count", U32, 1), ("expert_group_used_count", U32, 1),
                            ("expert_gating_func", U32, 1), *DEEPSEEK_YARN],
                keys=[("leading_dense_block_count", U32, 1), ("vocab_size", U32, TOKENS), ("attention.kv_lora_rank", U32, LATENT),
                      ("attention.key_length", U32, LATENT + ROTATED), ("attention.value_length", U32, LATENT),
                      ("attention.key_length_mla", U32, 64 + ROTATED), ("attention.value_length_mla", U32, 64),
                      ("expert_feed_forward_length", U32, None), ("expert_count", U32, EXPERTS), ("expert_shared_count", U32, 2),
                      ("expert_weights_scale", FLOAT, 1.0), ("rope.dimension_count", U32, ROTATED),
                      ("rope.scaling.yarn_log_multiplier", FLOAT, 0.0707)])
V25 = deepseek2(60, 5120, 128, 1, 12288, 163840, 1e4, 1e-6, plain=128, value=128, dense=1, expert_ffn=1536, choice_bias=False, said_first=[
    ("expert_group_count", U32, 8), ("expert_group_used_count", U32, 3), ("expert_gating_func", U32, 1), *DEEPSEEK_YARN], said_last=[
    ("expert_weights_scale", FLOAT, 16.0), ("rope.dimension_count", U32, ROTATED), ("rope.scaling.yarn_log_multiplier", FLOAT, 0.0707)])


def granite(*numbers, scales, **other):
    return model("granite", *numbers, rope_dim=True, vocab_size=True, **other, keys=[
        (k, FLOAT, v) for k, v in zip(("attention.scale", "embedding_scale", "residual_scale", "logit_scale"), scales)])


GRANITE33_8B = granite(40, 4096, 32, 8, 12800, 131072, 1e7, scales=(0.0078125, 12.0, 0.22, 16.0), tied=True)
GRANITE4_MICRO = granite(40, 2560, 40, 8, 8192, 131072, 1e7, scales=(0.015625, 12.0, 0.22, 10.0), tied=True)
SMOLLM3_3B = model("smollm3", 36, 2048, 16, 4, 11008, 65536, 5e6, 1e-6, vocab_size=True, rope_dim=True, tied=True, pattern=4)
TINYLLAMA = llama(22, 2048, 32, 4, 5632, 2048, 1e4)
CODELLAMA_34B = llama(48, 8192, 64, 8, 22016, 16384, 1e6)
YI_34B = llama(60, 7168, 56, 8, 20480, 4096, 5e6)
SOLAR_11B = llama(48, 4096, 32, 8, 14336, 4096, 1e4)
FALCON3_10B = llama(40, 3072, 12, 4, 23040, 32768, 1000042.0, 1e-6, vocab_size=True, head=256)
NEMOTRON_49B = model("deci", 80, 8192, 64, 8, 28672, 131072, 5e5, vocab_size=True, rope_dim=True, lengths=True, factors=True,
                     by_layer=True)

# ---- where metadata comes from: what is said of a model before its numbers, and behind ---------------------------------------
# TheBloke in 2023; llama.cpp's converter and quantize since 2024, with or without an importance matrix, as publishers fill them
BLOKE2, BLOKE3, OWN, BARTOWSKI, UNSLOTH = "2023, version 2", "2023", "the publisher's", "bartowski", "unsloth"


def general_keys(row):
    g = "general."
    name = row.title
    if row.maker in (BLOKE2, BLOKE3):
        return [(g + "name", STRING, name)]
    out = [(g + "type", STRING, "model"), (g + "name", STRING, name), (g + "basename", STRING, name.split(" ")[0])]
    if row.maker == UNSLOTH:
        return out + [(g + "quantized_by", STRING, "Unsloth"), (g + "size_label", STRING, "1B"),
                      (g + "repo_url", STRING, "https://huggingface.co/unsloth")]
    out += [(g + "size_label", STRING, "1B"), (g + "license", STRING, "apache-2.0")]
    if row.maker == BARTOWSKI:
        out += [(g + "base_model.count", U32, 1), (g + "base_model.0.name", STRING, name), (g + "base_model.0.organization", STRING, "It"),
                (g + "base_model.0.repo_url", STRING, "https://huggingface.co/")]
    return out + [(g + "tags", ARRAY, STRING, ["text-generation"]), (g + "languages", ARRAY, STRING, ["en"])]


def last_keys(row):
    out = [("general.quantization_version", U32, 2)]
    if row.maker in (BLOKE2, BLOKE3):
        return out
    out.append(("general.file_type", U32, FILE_TYPES[row.mixture]))
    if row.maker in (BARTOWSKI, UNSLOTH):
        out += [("quantize.imatrix.file", STRING, "imatrix.dat"), ("quantize.imatrix.dataset", STRING, "calibration.txt"),
                ("quantize.imatrix.entries_count", I32, 224), ("quantize.imatrix.chunks_count", I32, 125)]
    return out


# ---- a replica -----------------------------------------------------------------------------------------------------------------
class Replica:
    """The small shape of a row's model: its layers stand for some of the real ones, or for all if counted: then it has no weights."""

    def __init__(self, row, counted=False):
        m = self.m = row.model
        self.row, self.arch = row, m["arch"]
        self.layers = m.get("pattern") or (2 if m.get("experts") else LAYERS)
        if m.get("next_layer"):
            self.layers += 1
        self.counted = counted
        if counted:
            self.layers = m["layers"]
        self.dense = m.get("dense", 0) if counted else min(m.get("dense", 0), 1)
        last = m["layers"] - 1
        self.real = [last * i // (self.layers - 1) for i in range(self.layers)]
        # widths that are no whole blocks of 256 stay so
        self.dim = WIDTH if m["dim"] % 256 == 0 else 288
        self.ffn = 512 if m["ffn"] % 256 == 0 else 544
        self.expert_ffn = self.ffn if "expert_ffn" not in m else 256 if m["expert_ffn"] % 256 == 0 else 288
        self.heads, self.kv = HEADS, HEADS if m["heads"] == m["kv"] else 2 if m["heads"] < 8 * m["kv"] else 1
        self.head = 64 if not m.get("head") or m["dim"] == 2880 or m["dim"] == m["heads"] * m["head"] else 128
        self.experts = 8 if m.get("experts") == 8 else EXPERTS if m.get("experts") else 0
        self.values = m.get("delta_values", 0) * KEY_HEADS // 8
        self.rng = random.Random(row.file)
        self.tensors = []

    def keys(self):
        a, m, v = self.arch + ".", self.m, self.row.vocab
        early = self.row.maker in (BLOKE2, BLOKE3)
        by = lambda full, less: [full if i % 3 != 2 else less for i in range(self.layers)]
        if m.get("by_layer"):  # Nemotron: layers without attention, and of several widths
            out = [("rope.freq_base", FLOAT, m["base"]), ("attention.head_count_kv", ARRAY, I32, by(self.kv, 0)),
                   ("attention.head_count", ARRAY, I32, by(self.heads, 0)), ("feed_forward_length", ARRAY, I32, by(512, 256)),
                   ("block_count", U32, self.layers), ("context_length", U32, m["context"]), ("embedding_length", U32, self.dim),
                   ("attention.layer_norm_rms_epsilon", FLOAT, m["eps"])]
        elif early:
            out = [("context_length", U32, m["context"]), ("embedding_length", U32, self.dim), ("block_count", U32, self.layers),
                   ("feed_forward_length", U32, self.ffn), ("rope.dimension_count", U32, self.head),
                   ("attention.head_count", U32, self.heads), ("attention.head_count_kv", U32, self.kv), *m.get("keys", ()),
                   ("attention.layer_norm_rms_epsilon", FLOAT, m["eps"])] + \
                  [("rope.freq_base", FLOAT, m["base"])] * (m["base"] is not None)
        else:
            out = [("block_count", U32, self.layers), ("context_length", U32, m["context"]), ("embedding_length", U32, self.dim),
                   ("feed_forward_length", U32, self.ffn), ("attention.head_count", U32, self.heads),
                   ("attention.head_count_kv", U32, self.kv), ("rope.freq_base", FLOAT, m["base"]),
                   ("attention.layer_norm_rms_epsilon", FLOAT, m["eps"]), *m.get("first_keys", ())]
        qwen35 = self.arch.startswith("qwen35")
        if qwen35:
            pairs = self.rope() // 2
            out.insert(6, ("rope.dimension_sections", ARRAY, I32, [pairs * 11 // 32, pairs * 11 // 32, pairs - pairs * 11 // 32 * 2, 0]))
        if m.get("head") or m.get("lengths"):
            out += [("attention.key_length", U32, self.head), ("attention.value_length", U32, self.head)]
        if m.get("delta_values"):
            if self.experts and not qwen35:
                out.append(("expert_count", U32, self.experts))
            if self.experts:
                out += [("expert_feed_forward_length", U32, self.expert_ffn), ("expert_shared_feed_forward_length", U32, self.expert_ffn)]
            out += [("ssm.conv_kernel", U32, CONVOLVED), ("ssm.state_size", U32, STATE), ("ssm.group_count", U32, KEY_HEADS),
                    ("ssm.time_step_rank", U32, self.values), ("ssm.inner_size", U32, self.values * STATE)] + \
                   [("full_attention_interval", U32, 4)] * qwen35
        if m.get("vocab_size"):
            out.append(("vocab_size", U32, v.size()))
        if not early and m.get("rope_dim") or m.get("part_rope"):
            out.append(("rope.dimension_count", U32, self.rope()))
        if not early:
            own = {None: self.expert_ffn, TOKENS: v.size()}
            out += [(k, kind, own.get(value, value)) for k, kind, value in m.get("keys", ())]
        meta = [("general.architecture", STRING, self.arch), *general_keys(self.row)] + [(a + k, *rest) for k, *rest in out]
        if early:
            meta.append(("general.file_type", U32, FILE_TYPES[self.row.mixture]))
        meta += v.keys(early)
        text = template_text(self.row.template)
        if text:
            meta.append(("tokenizer.chat_template", STRING, text))
        return meta + last_keys(self.row)

    def rope(self):
        return int(self.head * self.m.get("part_rope", 1))

    # -- tensors
    def add(self, name, shape, kind, make):
        self.tensors.append((name, shape, TYPES[kind][0], b"" if self.counted else make()))

    def floats(self, name, n):
        self.add(name, (n,), "F32", lambda: ones(n, self.rng))

    def bias(self, name, *shape):
        self.add(name, shape, "F32", lambda: weights("F32", shape, self.rng))

    def matrix(self, name, layer, *shape, kind=None):
        short = re.sub(r"^blk\.\d+\.|\.\d+(?=\.)|\.weight$", "", name)
        kind = kind or mixed_type(self.row.mixture, short, layer, self.m)
        if shape[-1] % TYPES[kind][1]:
            kind = NARROWER.get(kind, "IQ4_NL")
        self.add(name, shape, kind, lambda: weights(kind, shape, self.rng))

    def latent_attention(self, b, real):
        latent, plain, value = self.m["latent"]
        head = plain + ROTATED
        if self.m.get("together") or self.m.get("full_rank"):
            self.matrix(b + "attn_q.weight", real, self.heads * head, self.dim)
        else:
            self.floats(b + "attn_q_a_norm.weight", WIDTH)
            self.matrix(b + "attn_q_a.weight", real, WIDTH, self.dim)
            self.matrix(b + "attn_q_b.weight", real, self.heads * head, WIDTH)
        self.floats(b + "attn_kv_a_norm.weight", latent)
        self.matrix(b + "attn_kv_a_mqa.weight", real, latent + ROTATED, self.dim)
        if self.m.get("together"):
            self.matrix(b + "attn_kv_b.weight", real, self.heads * (plain + value), latent)
        else:
            self.matrix(b + "attn_k_b.weight", real, self.heads, latent, plain)
            self.matrix(b + "attn_v_b.weight", real, self.heads, value, latent)
        self.matrix(b + "attn_output.weight", real, self.dim, self.heads * value)

    def attention(self, b, real, q, kv):
        if self.m.get("fused"):
            self.matrix(b + "attn_qkv.weight", real, q + 2 * kv, self.dim)
        else:
            self.matrix(b + "attn_q.weight", real, 2 * q if self.values else q, self.dim)  # queries, and gates of the output
            self.matrix(b + "attn_k.weight", real, kv, self.dim)
            self.matrix(b + "attn_v.weight", real, kv, self.dim)
        self.matrix(b + "attn_output.weight", real, self.dim, q)
        width = {"attn_q.bias": q, "attn_k.bias": kv, "attn_v.bias": kv, "attn_output.bias": self.dim}
        for name in self.m.get("tensors", ()):
            if name in width:
                self.bias(b + name, width[name])
            else:
                self.floats(b + name + ".weight", self.heads if name == "attn_sinks" else self.head)

    def delta_net(self, b, real):
        wide, of_values = (2 * KEY_HEADS + self.values) * STATE, self.values * STATE
        if self.m.get("by_key_heads"):
            self.matrix(b + "ssm_in.weight", real, wide + of_values, self.dim)
        else:
            self.matrix(b + "attn_qkv.weight", real, wide, self.dim)
            self.matrix(b + "attn_gate.weight", real, of_values, self.dim)
        self.bias(b + "ssm_conv1d.weight", wide, CONVOLVED)
        self.bias(b + "ssm_dt.bias", self.values)
        self.add(b + "ssm_a", (self.values,), "F32", lambda: struct.pack("<%df" % self.values, *(-1.0 - i for i in range(self.values))))
        if "by_key_heads" in self.m:
            self.matrix(b + "ssm_ba.weight", real, 2 * self.values, self.dim)
        else:
            self.matrix(b + "ssm_beta.weight", real, self.values, self.dim)
            self.matrix(b + "ssm_alpha.weight", real, self.values, self.dim)
        self.floats(b + "ssm_norm.weight", STATE)
        self.matrix(b + "ssm_out.weight", real, self.dim, of_values)

    def feed_forward(self, b, real, ffn, suffix=""):
        if self.m.get("fused"):
            self.matrix(b + "ffn_up.weight", real, 2 * ffn, self.dim)
        else:
            self.matrix(b + "ffn_gate" + suffix + ".weight", real, ffn, self.dim)
            self.matrix(b + "ffn_up" + suffix + ".weight", real, ffn, self.dim)
        self.matrix(b + "ffn_down" + suffix + ".weight", real, self.dim, ffn)

    def mixture_of_experts(self, b, real):
        n, wide, m = self.experts, self.expert_ffn, self.m
        self.matrix(b + "ffn_gate_inp.weight", real, n, self.dim, kind="F16" if m.get("apart") else "F32")
        if m.get("apart"):
            for e in range(n):
                self.feed_forward(b, real, wide, f".{e}")
            return
        for name, shape in (("gate", (wide, self.dim)), ("up", (wide, self.dim)), ("down", (self.dim, wide))):
            self.matrix(f"{b}ffn_{name}_exps.weight", real, n, *shape)
            if self.arch == "gpt-oss":
                self.bias(f"{b}ffn_{name}_exps.bias", n, shape[0])
        if self.arch == "gpt-oss":
            self.bias(b + "ffn_gate_inp.bias", n)
        if m.get("shared_expert") and m.get("choice_bias", True):
            self.bias(b + "exp_probs_b.bias", n)
        if m.get("shared_gate"):
            self.bias(b + "ffn_gate_inp_shexp.weight", self.dim)
        if m.get("shared_expert") or m.get("shared_gate"):
            self.feed_forward(b, real, wide * m.get("shared", 1), "_shexp")

    def layer(self, i):
        b, m, real = f"blk.{i}.", self.m, self.real[i]
        without = m.get("by_layer") and i % 3 == 2
        for norm in m.get("norms", ("attn_norm", "ffn_norm")):
            if not (without and norm == "attn_norm"):
                self.floats(b + norm + ".weight", self.dim)
        if self.values and (i + 1) % 4 and not (m.get("next_layer") and i == self.layers - 1):
            self.delta_net(b, real)
        elif m.get("latent"):
            self.latent_attention(b, real)
        elif not without:
            self.attention(b, real, self.heads * self.head, self.kv * self.head)
        if self.experts and i >= self.dense:
            self.mixture_of_experts(b, real)
        else:
            self.feed_forward(b, real, 256 if without else self.ffn)
        if m.get("next_layer") and i == self.layers - 1:  # predicts the token after the next; nobody has to use it
            self.matrix(b + "nextn.eh_proj.weight", real, self.dim, 2 * self.dim)
            self.matrix(b + "nextn.embed_tokens.weight", real, self.row.vocab.size(), self.dim)
            self.matrix(b + "nextn.shared_head_head.weight", real, self.row.vocab.size(), self.dim)
            for norm in ("enorm", "hnorm", "shared_head_norm"):
                self.floats(b + f"nextn.{norm}.weight", self.dim)

    def add_all(self):
        m, tokens = self.m, self.row.vocab.size()
        if not m.get("tied"):
            self.matrix("output.weight", 0, tokens, self.dim)
        self.matrix("token_embd.weight", 0, tokens, self.dim)
        self.floats("output_norm.weight", self.dim)
        if m.get("factors"):
            half = self.head // 2
            self.add("rope_freqs.weight", (half,), "F32", lambda: struct.pack("<%df" % half, *(min(8.0, 1 + i / 4) for i in range(half))))
        if m.get("long_factors"):
            for name in ("long", "short"):
                self.floats(f"rope_factors_{name}.weight", self.rope() // 2)
        for i in range(self.layers):
            self.layer(i)

    def write(self, folder):
        self.add_all()
        path = os.path.join(folder, self.row.file)
        part = re.match(r"(.*)-00001-of-(\d{5})\.gguf$", path)
        if not part:
            write(path, self.keys(), self.tensors, 2 if self.row.maker == BLOKE2 else 3)
            return
        parts, at = int(part[2]), len(self.tensors) // int(part[2]) + 1
        for i in range(parts):
            write(f"{part[1]}-{i + 1:05}-of-{part[2]}.gguf",
                  (self.keys() if i == 0 else []) + [("split.no", U16, i), ("split.count", U16, parts),
                                                     ("split.tensors.count", I32, len(self.tensors))], self.tensors[i * at:(i + 1) * at])


# ---- the table -------------------------------------------------------------------------------------------------------------------
class Download:
    def __init__(self, title, repo, file, model, vocab, template, maker, mixture, expected):
        self.title, self.repo, self.file, self.model, self.vocab = title, repo, file, model, vocab
        self.template, self.maker, self.mixture, self.expected = template, maker, mixture, expected

    def name(self):
        """By which it is loaded."""
        return re.sub(r"(-\d{5}-of-\d{5})?\.gguf$", "", self.file)


DOWNLOADS = [Download(*row) for row in (
    ("Llama 2 7B Chat", "TheBloke/Llama-2-7B-Chat-GGUF", "llama-2-7b-chat.Q4_K_M.gguf", L2_7B, LLAMA2, None, BLOKE2, "Q4_K_M", WORKS),
    ("Llama 2 13B Chat", "TheBloke/Llama-2-13B-chat-GGUF", "llama-2-13b-chat.Q5_K_M.gguf", L2_13B, LLAMA2, None, BLOKE2, "Q5_K_M", WORKS),
    ("Llama 2 70B Chat", "TheBloke/Llama-2-70B-Chat-GGUF", "llama-2-70b-chat.Q4_K_M.gguf", L2_70B, LLAMA2, None, BLOKE2, "Q4_K_M", WORKS),
    ("Vicuna 13B v1.5", "TheBloke/vicuna-13B-v1.5-GGUF", "vicuna-13b-v1.5.Q4_K_M.gguf", L2_13B, VICUNA, None, BLOKE2, "Q4_K_M", WORKS),
    ("WizardLM 70B", "TheBloke/WizardLM-70B-V1.0-GGUF", "wizardlm-70b-v1.0.Q4_K_M.gguf", L2_70B, LLAMA2, None, BLOKE2, "Q4_K_M", WORKS),
    ("Alpaca 7B", "TheBloke/claude2-alpaca-7B-GGUF", "claude2-alpaca-7b.Q4_K_M.gguf", L1_7B, ALPACA, None, BLOKE3, "Q4_K_M", WORKS),
    ("CodeLlama 34B Instruct", "TheBloke/CodeLlama-34B-Instruct-GGUF", "codellama-34b-instruct.Q4_K_M.gguf", CODELLAMA_34B, CODELLAMA, None,
     BLOKE2, "Q4_K_M", WORKS),
    ("TinyLlama 1.1B Chat", "TheBloke/TinyLlama-1.1B-Chat-v1.0-GGUF", "tinyllama-1.1b-chat-v1.0.Q4_K_M.gguf", TINYLLAMA, LLAMA2_PADDED,
     "zephyr", BLOKE3, "Q4_K_M", WORKS),
    ("Mistral 7B Instruct v0.1", "TheBloke/Mistral-7B-Instruct-v0.1-GGUF", "mistral-7b-instruct-v0.1.Q4_K_M.gguf", MISTRAL_7B, LLAMA2, None,
     BLOKE2, "Q4_K_M", WORKS),
    ("Mistral 7B Instruct v0.3", "bartowski/Mistral-7B-Instruct-v0.3-GGUF", "Mistral-7B-Instruct-v0.3-Q4_K_M.gguf",
     dict(MISTRAL_7B, base=1e6, vocab_size=True), MISTRAL_V3, "mistral3", BARTOWSKI, "Q4_K_M", WORKS),
    ("Mistral Nemo Instruct 2407", "bartowski/Mistral-Nemo-Instruct-2407-GGUF", "Mistral-Nemo-Instruct-2407-Q4_K_M.gguf", MISTRAL_NEMO,
     TEKKEN, "nemo", BARTOWSKI, "Q4_K_M", WORKS),
    ("Mistral Small 24B Instruct 2501", "bartowski/Mistral-Small-24B-Instruct-2501-GGUF", "Mistral-Small-24B-Instruct-2501-Q4_K_M.gguf",
     MISTRAL_24B, TEKKEN, "mistral-small", BARTOWSKI, "Q4_K_M", WORKS),
    ("Mistral Small 3.2 24B", "unsloth/Mistral-Small-3.2-24B-Instruct-2506-GGUF", "Mistral-Small-3.2-24B-Instruct-2506-UD-Q4_K_XL.gguf",
     MISTRAL_24B_LONG, TEKKEN, "mistral-small", UNSLOTH, "UD-Q4_K_XL", WORKS),
    ("Devstral Small 2507", "unsloth/Devstral-Small-2507-GGUF", "Devstral-Small-2507-Q4_K_M.gguf", MISTRAL_24B_LONG, TEKKEN, "mistral-small",
     UNSLOTH, "Q4_K_M", WORKS),
    ("Devstral Small 2", "unsloth/Devstral-Small-2-24B-Instruct-2512-GGUF", "Devstral-Small-2-24B-Instruct-2512-Q4_K_M.gguf", DEVSTRAL2_24B,
     TEKKEN, "mistral-small", UNSLOTH, "Q4_K_M", WORKS),
    ("Magistral Small 2506", "unsloth/Magistral-Small-2506-GGUF", "Magistral-Small-2506-Q4_K_M.gguf", dict(MISTRAL_24B_LONG, context=40960),
     TEKKEN, "mistral-small", UNSLOTH, "Q4_K_M", WORKS),
    ("Ministral 3 14B", "unsloth/Ministral-3-14B-Instruct-2512-GGUF", "Ministral-3-14B-Instruct-2512-Q4_K_M.gguf", MISTRAL3_14B, TEKKEN,
     "mistral-small", UNSLOTH, "Q4_K_M", WORKS),
    ("Mixtral 8x7B Instruct", "MaziyarPanahi/Mixtral-8x7B-Instruct-v0.1-GGUF", "Mixtral-8x7B-Instruct-v0.1.Q4_K_M.gguf", MIXTRAL, LLAMA2_FLAGS,
     "mistral", OWN, "Q4_K_M", WORKS),
    ("Mixtral 8x7B Instruct of 2023", "TheBloke/Mixtral-8x7B-Instruct-v0.1-GGUF", "mixtral-8x7b-instruct-v0.1.Q4_K_M.gguf", MIXTRAL_APART,
     LLAMA2_FLAGS, "mistral", BLOKE3, "Q4_K_M", REFUSED),
    ("Llama 3 8B Instruct", "bartowski/Meta-Llama-3-8B-Instruct-GGUF", "Meta-Llama-3-8B-Instruct-Q4_K_M.gguf", L3_8B, LLAMA3, "llama3",
     BARTOWSKI, "Q4_K_M", WORKS),
    ("Llama 3 70B Instruct", "bartowski/Meta-Llama-3-70B-Instruct-GGUF", "Meta-Llama-3-70B-Instruct-IQ4_XS.gguf", L3_70B, LLAMA3, "llama3",
     BARTOWSKI, "IQ4_XS", WORKS),
    ("Llama 3.1 8B Instruct", "bartowski/Meta-Llama-3.1-8B-Instruct-GGUF", "Meta-Llama-3.1-8B-Instruct-Q8_0.gguf", L31_8B, LLAMA3, "llama3.1",
     BARTOWSKI, "Q8_0", WORKS),
    ("Llama 3.1 70B Instruct", "bartowski/Meta-Llama-3.1-70B-Instruct-GGUF", "Meta-Llama-3.1-70B-Instruct-Q4_K_M.gguf", L31_70B, LLAMA3,
     "llama3.1", BARTOWSKI, "Q4_K_M", WORKS),
    ("Llama 3.1 405B Instruct", "bartowski/Meta-Llama-3.1-405B-Instruct-GGUF", "Meta-Llama-3.1-405B-Instruct-IQ3_XXS-00001-of-00004.gguf",
     L31_405B, LLAMA3, "llama3.1", BARTOWSKI, "IQ3_XXS", WORKS),
    ("Llama 3.2 1B Instruct", "unsloth/Llama-3.2-1B-Instruct-GGUF", "Llama-3.2-1B-Instruct-Q4_K_M.gguf", L32_1B, LLAMA3_UNSLOTH, "llama3.2",
     UNSLOTH, "Q4_K_M", WORKS),
    ("Llama 3.2 3B Instruct", "bartowski/Llama-3.2-3B-Instruct-GGUF", "Llama-3.2-3B-Instruct-Q4_K_M.gguf", L32_3B, LLAMA3, "llama3.2",
     BARTOWSKI, "Q4_K_M", WORKS),
    ("Llama 3.3 70B Instruct", "bartowski/Llama-3.3-70B-Instruct-GGUF", "Llama-3.3-70B-Instruct-Q4_K_M.gguf", L33_70B, LLAMA3, "llama3.2",
     BARTOWSKI, "Q4_K_M", WORKS),
    ("DeepSeek R1 Distill Llama 70B", "bartowski/DeepSeek-R1-Distill-Llama-70B-GGUF", "DeepSeek-R1-Distill-Llama-70B-Q4_K_M.gguf", L33_70B,
     LLAMA3_DEEPSEEK, "deepseek", BARTOWSKI, "Q4_K_M", WORKS),
    ("DeepSeek R1 Distill Qwen 32B", "bartowski/DeepSeek-R1-Distill-Qwen-32B-GGUF", "DeepSeek-R1-Distill-Qwen-32B-Q4_K_M.gguf", R1_QWEN_32B,
     QWEN_DEEPSEEK, "deepseek", BARTOWSKI, "Q4_K_M", WORKS),
    ("DeepSeek R1 0528", "unsloth/DeepSeek-R1-0528-GGUF", "DeepSeek-R1-0528-Q4_K_M-00001-of-00009.gguf", R1, DEEPSEEK3, "deepseek", UNSLOTH,
     "Q4_K_M", WORKS),
    ("DeepSeek V3.1", "unsloth/DeepSeek-V3.1-GGUF", "DeepSeek-V3.1-UD-Q2_K_XL-00001-of-00006.gguf", R1, DEEPSEEK3, "deepseek-v3.1", UNSLOTH,
     "UD-Q2_K_XL", WORKS),
    ("Kimi K2 0905", "unsloth/Kimi-K2-Instruct-0905-GGUF", "Kimi-K2-Instruct-0905-UD-Q2_K_XL-00001-of-00008.gguf", KIMI_K2, KIMI, "kimi",
     UNSLOTH, "UD-Q2_K_XL", WORKS),
    ("DeepSeek Coder V2 Lite of 2024", "bartowski/DeepSeek-Coder-V2-Lite-Instruct-GGUF", "DeepSeek-Coder-V2-Lite-Instruct-Q4_K_M.gguf",
     CODER_LITE, DEEPSEEK2, "deepseek-v2", BARTOWSKI, "Q4_K_M", REFUSED),
    ("DeepSeek V2 Lite, converted anew", None, "DeepSeek-V2-Lite-Chat-Q4_K_M.gguf", V2_LITE, DEEPSEEK2, "deepseek-v2", OWN, "Q4_K_M", WORKS),
    ("DeepSeek V2.5, converted anew", None, "DeepSeek-V2.5-Q4_K_M.gguf", V25, DEEPSEEK2, "deepseek-v2", OWN, "Q4_K_M", WORKS),
    ("Hermes 3 8B", "NousResearch/Hermes-3-Llama-3.1-8B-GGUF", "Hermes-3-Llama-3.1-8B.Q4_K_M.gguf", L31_8B, LLAMA3_HERMES, "hermes", OWN,
     "Q4_K_M", WORKS),
    ("Hermes 4 70B", "bartowski/NousResearch_Hermes-4-70B-GGUF", "NousResearch_Hermes-4-70B-Q4_K_M.gguf", L33_70B, LLAMA3, "llama3.1", BARTOWSKI,
     "Q4_K_M", WORKS),
    ("Qwen 2.5 7B Instruct", "Qwen/Qwen2.5-7B-Instruct-GGUF", "qwen2.5-7b-instruct-q4_k_m-00001-of-00002.gguf", QWEN25_7B, QWEN, "qwen2.5", OWN,
     "Q4_K_M", WORKS),
    ("Qwen 2.5 72B Instruct", "bartowski/Qwen2.5-72B-Instruct-GGUF", "Qwen2.5-72B-Instruct-Q4_K_M.gguf", QWEN25_72B, QWEN, "qwen2.5",
     BARTOWSKI, "Q4_K_M", WORKS),
    ("Qwen 2.5 Coder 32B Instruct", "bartowski/Qwen2.5-Coder-32B-Instruct-GGUF", "Qwen2.5-Coder-32B-Instruct-Q4_K_M.gguf", QWEN25_32B, QWEN,
     "qwen2.5", BARTOWSKI, "Q4_K_M", WORKS),
    ("QwQ 32B", "bartowski/Qwen_QwQ-32B-GGUF", "Qwen_QwQ-32B-IQ4_XS.gguf", dict(QWEN25_32B, context=131072, eps=1e-5), QWEN, "qwq", BARTOWSKI,
     "IQ4_XS", WORKS),
    ("Qwen 3 4B", "Qwen/Qwen3-4B-GGUF", "Qwen3-4B-Q4_K_M.gguf", QWEN3_4B, QWEN, "qwen3", OWN, "Q4_K_M", WORKS),
    ("Qwen 3 4B 2507", "unsloth/Qwen3-4B-Instruct-2507-GGUF", "Qwen3-4B-Instruct-2507-Q4_K_M.gguf", QWEN3_4B_2507, QWEN_UNSLOTH, "qwen3",
     UNSLOTH, "Q4_K_M", WORKS),
    ("Qwen 3 8B", "Qwen/Qwen3-8B-GGUF", "Qwen3-8B-Q8_0.gguf", QWEN3_8B, QWEN, "qwen3", OWN, "Q8_0", WORKS),
    ("Qwen 3 14B", "unsloth/Qwen3-14B-GGUF", "Qwen3-14B-UD-Q4_K_XL.gguf", QWEN3_14B, QWEN_UNSLOTH, "qwen3", UNSLOTH, "UD-Q4_K_XL", WORKS),
    ("Qwen 3 32B", "unsloth/Qwen3-32B-GGUF", "Qwen3-32B-UD-Q2_K_XL.gguf", QWEN3_32B, QWEN_UNSLOTH, "qwen3", UNSLOTH, "UD-Q2_K_XL", WORKS),
    ("Qwen 3 30B A3B", "Qwen/Qwen3-30B-A3B-GGUF", "Qwen3-30B-A3B-Q4_K_M.gguf", QWEN3_30B_A3B, QWEN, "qwen3", OWN, "Q4_K_M", WORKS),
    ("Qwen 3 30B A3B 2507", "unsloth/Qwen3-30B-A3B-Instruct-2507-GGUF", "Qwen3-30B-A3B-Instruct-2507-UD-Q4_K_XL.gguf", QWEN3_30B_A3B_2507,
     QWEN_UNSLOTH, "qwen3", UNSLOTH, "UD-Q4_K_XL", WORKS),
    ("Qwen 3 Coder 30B A3B", "unsloth/Qwen3-Coder-30B-A3B-Instruct-GGUF", "Qwen3-Coder-30B-A3B-Instruct-Q4_K_M.gguf", QWEN3_CODER,
     QWEN_UNSLOTH, "qwen3-coder", UNSLOTH, "Q4_K_M", WORKS),
    ("Qwen 3 235B A22B", "Qwen/Qwen3-235B-A22B-GGUF", "Qwen3-235B-A22B-Q4_K_M-00001-of-00005.gguf", QWEN3_235B, QWEN, "qwen3", OWN, "Q4_K_M",
     WORKS),
    ("Qwen 3 235B A22B 2507", "unsloth/Qwen3-235B-A22B-Instruct-2507-GGUF", "Qwen3-235B-A22B-Instruct-2507-UD-Q2_K_XL-00001-of-00002.gguf",
     QWEN3_235B_2507, QWEN_UNSLOTH, "qwen3", UNSLOTH, "UD-Q2_K_XL", WORKS),
    ("Qwen 3.5 9B", "unsloth/Qwen3.5-9B-GGUF", "Qwen3.5-9B-Q4_K_M.gguf", QWEN35_9B, QWEN35, "qwen3", UNSLOTH, "Q4_K_M", WORKS),
    ("Qwen 3.6 27B", "unsloth/Qwen3.6-27B-GGUF", "Qwen3.6-27B-UD-Q4_K_XL.gguf", QWEN36_27B, QWEN35, "qwen3", UNSLOTH, "UD-Q4_K_XL", WORKS),
    ("Qwen 3.6 27B with MTP", "unsloth/Qwen3.6-27B-MTP-GGUF", "Qwen3.6-27B-Q4_K_M.gguf", QWEN36_27B_NEXT, QWEN35, "qwen3", UNSLOTH, "Q4_K_M",
     WORKS),
    ("Qwen 3.6 35B A3B", "unsloth/Qwen3.6-35B-A3B-GGUF", "Qwen3.6-35B-A3B-UD-Q4_K_XL.gguf", QWEN36_35B_A3B, QWEN35, "qwen3", UNSLOTH,
     "UD-Q4_K_XL", WORKS),
    ("Qwen 3 Next 80B A3B", "lmstudio-community/Qwen3-Next-80B-A3B-Instruct-GGUF", "Qwen3-Next-80B-A3B-Instruct-Q4_K_M.gguf",
     qwen3next(1e7, True), QWEN, "qwen3", OWN, "Q4_K_M", WORKS),
    ("Qwen 3 Coder Next", "unsloth/Qwen3-Coder-Next-GGUF", "Qwen3-Coder-Next-UD-Q4_K_XL.gguf", qwen3next(5e6, False), QWEN_UNSLOTH,
     "qwen3-coder", UNSLOTH, "UD-Q4_K_XL", WORKS),
    ("gpt-oss 20B", "ggml-org/gpt-oss-20b-GGUF", "gpt-oss-20b-mxfp4.gguf", gpt_oss(24, 32), HARMONY, "harmony", OWN, "MXFP4_MOE", WORKS),
    ("gpt-oss 120B", "ggml-org/gpt-oss-120b-GGUF", "gpt-oss-120b-mxfp4-00001-of-00003.gguf", gpt_oss(36, 128), HARMONY, "harmony", OWN,
     "MXFP4_MOE", WORKS),
    ("Gemma 3 4B", "ggml-org/gemma-3-4b-it-GGUF", "gemma-3-4b-it-Q4_K_M.gguf", gemma3(34, 2560, 8, 4, 10240), GEMMA3, "gemma3", OWN, "Q4_K_M",
     WORKS),
    ("Gemma 3 12B", "google/gemma-3-12b-it-qat-q4_0-gguf", "gemma-3-12b-it-q4_0.gguf", gemma3(48, 3840, 16, 8, 15360), GEMMA3, "gemma3", OWN,
     "QAT-Q4_0", WORKS),
    ("Gemma 3 27B", "unsloth/gemma-3-27b-it-GGUF", "gemma-3-27b-it-UD-Q4_K_XL.gguf", gemma3(62, 5376, 32, 16, 21504, 128), GEMMA3, "gemma3",
     UNSLOTH, "UD-Q4_K_XL", WORKS),
    ("Phi 3.5 mini", "bartowski/Phi-3.5-mini-instruct-GGUF", "Phi-3.5-mini-instruct-Q4_K_M.gguf", PHI35_MINI, PHI3, "phi3", BARTOWSKI,
     "Q4_K_M", WORKS),
    ("Phi 4", "bartowski/phi-4-GGUF", "phi-4-Q4_K_M.gguf", PHI4_14B, PHI4, "phi4", BARTOWSKI, "Q4_K_M", WORKS),
    ("Phi 4 mini", "bartowski/microsoft_Phi-4-mini-instruct-GGUF", "microsoft_Phi-4-mini-instruct-Q4_K_M.gguf", PHI4_MINI_4B, PHI4_MINI,
     "phi4-mini", BARTOWSKI, "Q4_K_M", WORKS),
    ("GLM 4.5 Air", "unsloth/GLM-4.5-Air-GGUF", "GLM-4.5-Air-Q4_K_M-00001-of-00002.gguf", GLM_AIR, GLM4, "glm", UNSLOTH, "Q4_K_M", WORKS),
    ("GLM 4.7 Flash", "unsloth/GLM-4.7-Flash-GGUF", "GLM-4.7-Flash-UD-Q4_K_XL.gguf", GLM_FLASH, GLM4, "glm-4.7", UNSLOTH, "UD-Q4_K_XL", WORKS),
    ("Granite 3.3 8B", "ibm-granite/granite-3.3-8b-instruct-GGUF", "granite-3.3-8b-instruct-Q4_K_M.gguf", GRANITE33_8B, GRANITE3, "granite", OWN,
     "Q4_K_M", WORKS),
    ("Granite 4 Micro", "ibm-granite/granite-4.0-micro-GGUF", "granite-4.0-micro-Q4_K_M.gguf", GRANITE4_MICRO, GRANITE4, "granite", OWN,
     "Q4_K_M", WORKS),
    ("SmolLM 3 3B", "ggml-org/SmolLM3-3B-GGUF", "SmolLM3-Q4_K_M.gguf", SMOLLM3_3B, LLAMA3_SMOLLM, "smollm3", OWN, "Q4_K_M", WORKS),
    ("Falcon 3 10B Instruct", "tiiuae/Falcon3-10B-Instruct-GGUF", "Falcon3-10B-Instruct-q4_k_m.gguf", FALCON3_10B, FALCON3, "falcon3", OWN,
     "Q4_K_M", WORKS),
    ("Yi 34B Chat", "TheBloke/Yi-34B-Chat-GGUF", "yi-34b-chat.Q4_K_M.gguf", YI_34B, YI, "yi", BLOKE3, "Q4_K_M", WORKS),
    ("SOLAR 10.7B Instruct", "TheBloke/SOLAR-10.7B-Instruct-v1.0-GGUF", "solar-10.7b-instruct-v1.0.Q4_K_M.gguf", SOLAR_11B, LLAMA2_PADDED,
     "solar", BLOKE3, "Q4_K_M", WORKS),
    ("Nemotron Super 49B", "bartowski/nvidia_Llama-3_3-Nemotron-Super-49B-v1-GGUF", "nvidia_Llama-3_3-Nemotron-Super-49B-v1-Q4_K_M.gguf",
     NEMOTRON_49B, LLAMA3, "llama3.1", BARTOWSKI, "Q4_K_M", WORKS),
)]


# What llama.cpp says of the real files: how many tensors they have of each type.
REPORTED = {
    "Llama 3.2 3B Instruct": {"F32": 58, "Q4_K": 168, "Q6_K": 29},
    "Phi 4": {"F32": 81, "Q4_K": 101, "Q5_K": 40, "Q6_K": 21},
    "gpt-oss 20B": {"F32": 289, "MXFP4": 72, "Q8_0": 98},
    # those whose mixtures are not reported: all together
    "Llama 2 70B Chat": 723, "Devstral Small 2": 363, "GLM 4.5 Air": 803, "Phi 4 mini": 196, "Qwen 3 30B A3B": 579, "Qwen 3 32B": 707,
    "Qwen 3 235B A22B": 1131,
    "Qwen 3 Next 80B A3B": 807, "Qwen 3 Coder Next": 843,
    "Qwen 3.6 35B A3B": 733, "DeepSeek R1 0528": 1086, "DeepSeek V3.1": 1086, "Kimi K2 0905": 1096, "GLM 4.7 Flash": 844, "DeepSeek Coder V2 Lite of 2024": 377,
}


def reported(d):
    """The same of a replica with all layers of the real model."""
    r = Replica(d, counted=True)
    r.add_all()
    if isinstance(REPORTED[d.title], int):
        return len(r.tensors)
    name = {number: kind for kind, (number, *_) in TYPES.items()}
    kinds = [name[kind] for _, _, kind, _ in r.tensors]
    return {kind: kinds.count(kind) for kind in sorted(set(kinds))}


def readme():
    """Rows of README's table."""
    return ["| %s | `%s` | %s |" % (d.title, d.file, d.repo) for d in DOWNLOADS if d.expected == WORKS and d.repo]


def main(argument):
    if argument == "--readme":
        print("\n".join(readme()))
        return
    for d in DOWNLOADS:
        Replica(d).write(argument)


if __name__ == "__main__":
    main(sys.argv[1])
