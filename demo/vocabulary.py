"""The demo model's vocabulary: 512 pieces made by byte pair encoding, and Llama 2's way to use them.

Pieces, in order: <unk>, <s>, </s>, the 256 bytes, the merges in the order in which they were learnt, the
single characters.  A merge's score is minus its rank, so Llama 2's algorithm (again and again join the
neighbours whose joint piece has the highest score, the leftmost first) makes the same joins.  Merges stay
within a word, a word being letters with the space before them or a run of marks with the space before it,
so text can be cut at those places before it is encoded.
"""
import re
from collections import Counter

SIZE = 512
UNK, BOS, EOS, BYTE0 = 0, 1, 2, 3
SPACE = "\u2581"
WORD = re.compile(SPACE + "?(?:[A-Za-z]+|[^A-Za-z" + SPACE + "]+)|" + SPACE)


def words(text):
    return WORD.findall((" " + text).replace(" ", SPACE))


def joined(parts, a, b):
    """parts with each a, b from the left made one."""
    out, i = [], 0
    while i < len(parts):
        if i + 1 < len(parts) and parts[i] == a and parts[i + 1] == b:
            out.append(a + b)
            i += 2
        else:
            out.append(parts[i])
            i += 1
    return out


def learn(texts):
    """The pieces after the bytes, for these texts."""
    count = Counter(w for t in texts for w in words(t))
    split = {w: list(w) for w in count}
    letters = Counter()
    for w, n in count.items():
        for c in w:
            letters[c] += n
    chars = sorted(letters, key=lambda c: (-letters[c], c))
    merges = []
    while len(merges) < SIZE - BYTE0 - 256 - len(chars):
        pairs = Counter()
        for w, parts in split.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += count[w]
        a, b = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(a + b)
        for w, parts in split.items():
            split[w] = joined(parts, a, b)
    return merges + chars


class Vocabulary:
    def __init__(self, learnt):
        self.pieces = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % i for i in range(256)] + learnt
        self.scores = [0.0] * (BYTE0 + 256) + [-float(i) for i in range(len(learnt))]
        self.types = [2, 3, 3] + [6] * 256 + [1] * len(learnt)
        self.ids = {p: i for i, p in enumerate(self.pieces) if self.types[i] == 1}
        self.cache = {}

    def encode_word(self, word):
        if word not in self.cache:
            parts = list(word)
            while True:
                found = [(-self.scores[self.ids[a + b]], i) for i, (a, b) in enumerate(zip(parts, parts[1:]))
                         if a + b in self.ids]
                if not found:
                    break
                _, i = min(found)
                parts[i:i + 2] = [parts[i] + parts[i + 1]]
            self.cache[word] = [t for p in parts for t in
                                ([self.ids[p]] if p in self.ids else [BYTE0 + b for b in p.encode()])]
        return self.cache[word]

    def encode(self, text):
        return [t for w in words(text) for t in self.encode_word(w)]

    def decode(self, ids):
        raw = b""
        for t in ids:
            if self.types[t] == 6:
                raw += bytes([t - BYTE0])
            elif self.types[t] == 1:
                raw += self.pieces[t].encode()
        return raw.decode(errors="replace").replace(SPACE, " ").removeprefix(" ")
