#!/usr/bin/python3
"""Trains the demo model on generated stories and writes it, quantised, as GGUF.

Needs Debian's python3-torch (and libopenblas0-pthread, without which it takes ten times as long).  Takes
about a quarter of an hour on one free core.  The work so far is saved in the state file now and then, and
a second run goes on from there; seeds are fixed, so the same machine makes the same model.

Usage: train.py STATE OUT.gguf   trains, with STATE as the state file, and writes OUT.gguf
"""
import ctypes
import math
import os
import sys
import time

# so small are the products that a second thread costs more than it brings
os.environ.update(OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import ggufwrite as gg
import vocabulary
from stories import HELD_OUT, story

DIM, LAYERS, HEADS, KV_HEADS, HEAD, FFN, CONTEXT, EPS, BASE = 256, 4, 8, 4, 32, 512, 512, 1e-5, 10000.0
STEPS, ROWS, RATE, WARM, DECAY, SPAN = 850, 4, 2e-3, 100, 200, 128
# what each kind of tensor is stored as: products with blocks of 32 and of 256 both occur
TYPES = {"token_embd": gg.Q8_0, "attn_q": gg.Q8_0, "attn_k": gg.Q8_0, "attn_v": gg.Q8_0, "attn_output": gg.Q8_0,
         "ffn_gate": gg.Q4_K, "ffn_up": gg.Q6_K, "ffn_down": gg.Q6_K}


class Norm(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(DIM))

    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * self.weight


def rotated(x, cos, sin):
    """RoPE on neighbouring pairs, the order that GGUF has for this architecture."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn_norm, self.ffn_norm = Norm(), Norm()
        self.attn_q = nn.Linear(DIM, HEADS * HEAD, bias=False)
        self.attn_k = nn.Linear(DIM, KV_HEADS * HEAD, bias=False)
        self.attn_v = nn.Linear(DIM, KV_HEADS * HEAD, bias=False)
        self.attn_output = nn.Linear(HEADS * HEAD, DIM, bias=False)
        self.ffn_gate = nn.Linear(DIM, FFN, bias=False)
        self.ffn_up = nn.Linear(DIM, FFN, bias=False)
        self.ffn_down = nn.Linear(FFN, DIM, bias=False)

    def forward(self, x, cos, sin, mask):
        b, n, _ = x.shape
        h = self.attn_norm(x)
        q = rotated(self.attn_q(h).view(b, n, HEADS, HEAD).transpose(1, 2), cos, sin)
        k = rotated(self.attn_k(h).view(b, n, KV_HEADS, HEAD).transpose(1, 2), cos, sin)
        v = self.attn_v(h).view(b, n, KV_HEADS, HEAD).transpose(1, 2)
        # the query heads of one key head lie next to each other, so they are rows of one product; a span
        # of queries meets only the keys up to its end
        q = (q * HEAD ** -0.5).view(b, KV_HEADS, HEADS // KV_HEADS, n, HEAD)
        k = k.transpose(-1, -2)
        spans = []
        for i in range(0, n, SPAN):
            end = min(i + SPAN, n)
            z = q[:, :, :, i:end].reshape(b, KV_HEADS, -1, HEAD) @ k[..., :end]
            z = z.view(b, HEADS, end - i, end) + mask[i:end, :end]
            o = z.softmax(-1).view(b, KV_HEADS, -1, end) @ v[:, :, :end]
            spans.append(o.view(b, HEADS, end - i, HEAD))
        o = torch.cat(spans, 2).transpose(1, 2).reshape(b, n, HEADS * HEAD)
        x = x + self.attn_output(o)
        h = self.ffn_norm(x)
        return x + self.ffn_down(F.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Llama(nn.Module):
    def __init__(self):
        super().__init__()
        self.token_embd = nn.Embedding(vocabulary.SIZE, DIM)
        self.blk = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.output_norm = Norm()
        angle = torch.outer(torch.arange(CONTEXT), BASE ** (-torch.arange(0, HEAD, 2) / HEAD))
        self.cos, self.sin = angle.cos(), angle.sin()
        self.mask = torch.full((CONTEXT, CONTEXT), -math.inf).triu(1)
        for name, p in self.named_parameters():
            if p.dim() == 2:
                last = "attn_output" in name or "ffn_down" in name
                nn.init.normal_(p, std=0.03 / math.sqrt(2 * LAYERS) if last else 0.03)

    def forward(self, ids):
        n = ids.shape[1]
        x = self.token_embd(ids)
        for layer in self.blk:
            x = layer(x, self.cos[:n], self.sin[:n], self.mask[:n, :n])
        return self.output_norm(x) @ self.token_embd.weight.T

    def loss(self, ids):
        return F.cross_entropy(self(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())


def encoded(vocab, seed):
    return [vocabulary.BOS] + vocab.encode(story(seed)) + [vocabulary.EOS]


def rows(vocab, first, count, width):
    """Rows of width ids, each beginning with a story and filled up by those after it; the next free seed."""
    out = np.zeros((count, width), np.int64)
    for row in out:
        ids = []
        while len(ids) < width:
            ids += encoded(vocab, first)
            first += 1
        row[:] = ids[:width]
    return torch.from_numpy(out), first


def perplexity(model, vocab, first, count=24):
    with torch.no_grad():
        ids, _ = rows(vocab, first, count, CONTEXT)
        return math.exp(sum(model.loss(ids[i:i + 4]).item() for i in range(0, count, 4)) / (count // 4))


def export(model, vocab, path):
    meta = [("general.architecture", gg.STRING, "llama"), ("general.name", gg.STRING, "Caravan Stories"),
            ("general.license", gg.STRING, "mit"), ("general.quantization_version", gg.U32, 2),
            ("general.description", gg.STRING, "Short children's stories; trained on text from a grammar"),
            ("llama.context_length", gg.U32, CONTEXT), ("llama.embedding_length", gg.U32, DIM),
            ("llama.block_count", gg.U32, LAYERS), ("llama.feed_forward_length", gg.U32, FFN),
            ("llama.attention.head_count", gg.U32, HEADS), ("llama.attention.head_count_kv", gg.U32, KV_HEADS),
            ("llama.attention.layer_norm_rms_epsilon", gg.FLOAT, EPS), ("llama.rope.dimension_count", gg.U32, HEAD),
            ("llama.rope.freq_base", gg.FLOAT, BASE), ("llama.vocab_size", gg.U32, vocabulary.SIZE),
            ("tokenizer.ggml.model", gg.STRING, "llama"),
            ("tokenizer.ggml.tokens", gg.ARRAY, gg.STRING, vocab.pieces),
            ("tokenizer.ggml.scores", gg.ARRAY, gg.FLOAT, vocab.scores),
            ("tokenizer.ggml.token_type", gg.ARRAY, gg.I32, vocab.types),
            ("tokenizer.ggml.bos_token_id", gg.U32, vocabulary.BOS),
            ("tokenizer.ggml.eos_token_id", gg.U32, vocabulary.EOS),
            ("tokenizer.ggml.unknown_token_id", gg.U32, vocabulary.UNK), ("tokenizer.ggml.add_bos_token", gg.BOOL, True),
            ("tokenizer.ggml.add_eos_token", gg.BOOL, False)]
    tensors = []
    for name, p in model.named_parameters():
        w = p.detach().numpy()
        kind = TYPES.get(name.split(".")[-2], gg.F32)
        tensors.append((name, w.shape, kind, gg.QUANTISERS[kind](w)))
    gg.write(path, meta, tensors)


def keep_memory():
    """Lets malloc keep what is freed: fetching it anew from the system costs more than the arithmetic."""
    mallopt = ctypes.CDLL(None).mallopt
    for parameter, value in ((-8, 1), (-3, 32 << 20), (-1, 1 << 30), (-2, 64 << 20)):  # arenas, mmap, trim, pad
        mallopt(parameter, value)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.split("Usage: ")[1])
    state_path, out_path = sys.argv[1:3]
    keep_memory()
    torch.manual_seed(1)
    vocab = vocabulary.Vocabulary(vocabulary.learn(story(s) for s in range(3000)))
    model = Llama()
    groups = [{"params": [p for p in model.parameters() if p.dim() == 2], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}]
    opt = torch.optim.AdamW(groups, betas=(0.9, 0.98))
    step, seed = 0, 0
    if os.path.exists(state_path):
        state = torch.load(state_path)
        model.load_state_dict(state["model"])
        opt.load_state_dict(state["opt"])
        step, seed = state["step"], state["seed"]
    began, mean = time.time(), 0.0
    while step < STEPS:
        ids, seed = rows(vocab, seed, ROWS, CONTEXT + 1)
        rate = RATE * min(1, (step + 1) / WARM, (STEPS - step) / DECAY)
        for g in opt.param_groups:
            g["lr"] = rate
        loss = model.loss(ids)
        opt.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        step += 1
        mean = loss.item() if mean == 0 else 0.95 * mean + 0.05 * loss.item()
        if step % 50 == 0 or step == STEPS:
            print(f"step {step} of {STEPS}, loss {mean:.4f}, {time.time() - began:.0f} s", flush=True)
            state = {"model": model.state_dict(), "opt": opt.state_dict(), "step": step, "seed": seed}
            torch.save(state, state_path + ".new")
            os.replace(state_path + ".new", state_path)
            export(model, vocab, out_path)
    print(f"perplexity of the float model: {perplexity(model, vocab, 0):.4f} on text it was trained on, "
          f"{perplexity(model, vocab, HELD_OUT):.4f} on held-out text")
    export(model, vocab, out_path)


if __name__ == "__main__":
    main()
