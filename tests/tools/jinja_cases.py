"""Writes daemon/text/jinja/cases.c: the letters whose case Python changes to several characters, or to others than PCRE2's tables
have (those give one partner a letter).  Usage: jinja_cases.py > cases.c"""

import sys

RANGES = [(0x2160, 0x2180), (0x24B6, 0x24EA), (0x10D0, 0x1100)]  # done by rule in unicode.c
GREEK = [0xB5, 0x131, 0x17F, 0x345, 0x3B9, 0x3BC, 0x3C2, 0x3D0, 0x3D1, 0x3D5, 0x3D6, 0x3F0, 0x3F1, 0x3F5, 0x1C5, 0x1C8, 0x1CB, 0x1F2]
GREEK += list(range(0x1C80, 0x1C89)) + [0x1E9B, 0x1FBE, 0xA64B]


def text(s):
    return '"' + "".join(f"\\{b:03o}" if b >= 0x80 else chr(b) for b in s.encode()) + '"'


rows = []
for c in range(0x80, 0x110000):
    if 0xD800 <= c < 0xE000 or any(a <= c < b for a, b in RANGES):
        continue
    upper, title = chr(c).upper(), chr(c).title()
    if len(upper) > 1 or len(title) > 1 or upper != title or c in GREEK:
        rows.append((c, upper, title))
out = sys.stdout
out.write(
    "/* cases: letters whose case is not one letter, or not PCRE2's.  Made by tests/tools/jinja_cases.py from Python's tables\n"
    " * (Unicode's SpecialCasing.txt and UnicodeData.txt). */\n"
    '#include "daemon/text/jinja/unicode_internal.h"\n\n'
    "const struct letter_cases jinja_letter_cases[] = {\n"
)
for c, upper, title in rows:
    out.write(f"        {{0x{c:X}, {text(upper)}, {text(title)}}},\n")
out.write("};\nconst size_t jinja_letter_case_count = sizeof jinja_letter_cases / sizeof jinja_letter_cases[0];\n")
