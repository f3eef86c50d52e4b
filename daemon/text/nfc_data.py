"""Writes daemon/text/nfc_data.h: nfc_data.py >nfc_data.h.  The version of Unicode is that of Python's unicodedata; 3.11 has 14.0."""

import sys
import unicodedata

HANGUL = range(0xAC00, 0xD7A4)
CODES = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000 and c not in HANGUL]


def canonical(c):
    parts = unicodedata.decomposition(chr(c))
    return [int(p, 16) for p in parts.split()] if parts and parts[0] != "<" else []


def rows(cells, columns):
    for i in range(0, len(cells), columns):
        print("\t" + " ".join(cells[i : i + columns]))


def table(kind, name, cells, columns):
    print(f"static const struct {kind} {name}[] = {{")
    rows([f"{cell}," for cell in cells], columns)
    print("};")


def ranges(value):
    """The ranges of code points with the same value, where there is one."""
    out = []
    for c in CODES:
        v = value(c)
        if not v:
            continue
        if out and out[-1][1] == c - 1 and out[-1][2] == v:
            out[-1][1] = c
        else:
            out.append([c, c, v])
    return out


def main():
    apart = {c: canonical(c) for c in CODES if canonical(c)}
    together = sorted((d[0], d[1], c) for c, d in apart.items() if len(d) == 2 and unicodedata.normalize("NFC", chr(c)) == chr(c))
    later = {second for _, second, _ in together} | set(range(0x1161, 0x1176)) | set(range(0x11A8, 0x11C3))
    marked = ranges(lambda c: unicodedata.combining(chr(c)) != 0 or c in later or unicodedata.normalize("NFC", chr(c)) != chr(c))
    print("/* nfc_data: what normal form C takes apart, what it puts together, in which order marks stand, and which characters a text")
    print(f" * in that form may lack or has only behind others.  Unicode {unicodedata.unidata_version}, by nfc_data.py. */")
    print("#ifndef DAEMON_TEXT_NFC_DATA_H\n#define DAEMON_TEXT_NFC_DATA_H\n#include <stdint.h>\n")
    print("struct nfc_triple {\n\tuint32_t a, b, c;\n};\n")
    print("/* clang-format off */")
    print("/* a character, and what it is: one or two others */")
    table("nfc_triple", "nfc_apart", [f"{{0x{c:X}, 0x{d[0]:X}, 0x{(d + [0])[1]:X}}}" for c, d in sorted(apart.items())], 5)
    print("\n/* two characters, and the one that they become */")
    table("nfc_triple", "nfc_together", [f"{{0x{a:X}, 0x{b:X}, 0x{c:X}}}" for a, b, c in together], 5)
    print("\n/* first, last, combining class */")
    table("nfc_triple", "nfc_classes", [f"{{0x{a:X}, 0x{b:X}, {v}}}" for a, b, v in ranges(lambda c: unicodedata.combining(chr(c)))], 6)
    print("\n/* first, last: a class, or not or perhaps not in a text of normal form C */")
    table("nfc_triple", "nfc_marked", [f"{{0x{a:X}, 0x{b:X}, 1}}" for a, b, _ in marked], 6)
    print("/* clang-format on */\n\n#endif")


if __name__ == "__main__":
    sys.exit(main())
