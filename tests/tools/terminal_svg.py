"""Terminal screens as SVG: what `tmux capture-pane -e -p` prints, one screen or several after each other.

    picture(frames, columns, lines, title)   frames: (seconds from the first, captured text, cursor as (column, line) or None)

A line that stays the same from one screen to the next is drawn once.  Several screens follow each other by CSS, again and again; who wants
no motion gets the last one.  Colours follow the reader's light or dark setting."""
import re
import unicodedata
from xml.sax.saxutils import escape

CELL, LINE, PAD, BAR = 8.4, 18, 14, 30
HOLD = 4  # seconds of the last screen

LIGHT = "#24292f #b3261e #1a7f37 #8a6100 #0969da #8250df #0f7b80 #6e7781 #57606a #cf222e #2da44e #a67c00 #218bff #a475f9 #3192aa #8c959f".split()
DARK = "#8b949e #ff7b72 #3fb950 #d9a326 #58a6ff #bc8cff #39c5cf #b1bac4 #8b949e #ffa198 #56d364 #e3b341 #79c0ff #d2a8ff #56d4dd #f0f6fc".split()
SEQUENCE = re.compile(r"\x1b\[([0-9;:]*)([A-Za-z])|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[()].|[\x00-\x08\x0b-\x1f\x7f]")


def cube(n):
    """A colour of the 256 beyond the first 16."""
    if n >= 232:
        return "#" + "%02x" % (8 + 10 * (n - 232)) * 3
    return "#" + "".join("%02x" % (0 if v == 0 else 55 + 40 * v) for v in ((n - 16) // 36, (n - 16) // 6 % 6, (n - 16) % 6))


class Style:
    """What the next characters look like; foreground and background: None, a number below 16, or '#rrggbb'."""

    def __init__(self):
        self.flags, self.front, self.back = frozenset(), None, None

    def extended(self, codes):
        kind = codes.pop(0) if codes else None
        if kind == 5 and codes:
            n = codes.pop(0)
            return n if n < 16 else cube(min(n, 255))
        if kind == 2 and len(codes) >= 3:
            return "#%02x%02x%02x" % tuple(min(codes.pop(0), 255) for _ in range(3))
        return None

    def apply(self, text):
        codes = [int(c) if c else 0 for c in re.split("[;:]", text)]
        on = {1: "b", 2: "d", 3: "i", 4: "u", 7: "r"}
        off = {22: "bd", 23: "i", 24: "u", 27: "r"}
        while codes:
            c = codes.pop(0)
            if c == 0:
                self.__init__()
            elif c in on:
                self.flags |= {on[c]}
            elif c in off:
                self.flags -= set(off[c])
            elif c in (38, 48):
                colour = self.extended(codes)
                self.front, self.back = (colour, self.back) if c == 38 else (self.front, colour)
            elif 30 <= c <= 37 or c == 39:
                self.front = None if c == 39 else c - 30
            elif 40 <= c <= 47 or c == 49:
                self.back = None if c == 49 else c - 40
            elif 90 <= c <= 97:
                self.front = c - 82
            elif 100 <= c <= 107:
                self.back = c - 92

    def key(self):
        return self.flags, self.front, self.back


def width(c):
    return 0 if unicodedata.combining(c) or unicodedata.category(c) == "Cf" else 2 if unicodedata.east_asian_width(c) in "WF" else 1


def cells(line, style):
    """The columns of a captured line, each its character and what it looks like; behind a wide character is an empty one."""
    row, at = [], 0
    while at < len(line):
        m = SEQUENCE.match(line, at)
        if m:
            if m.group(2) == "m":
                style.apply(m.group(1))
            at = m.end()
            continue
        w = width(line[at])
        if w == 0 and row:
            row[-1] = (row[-1][0] + line[at], row[-1][1])
        elif w:
            row += [(line[at], style.key())] + [("", style.key())] * (w - 1)
        at += 1
    return row


BLANK = (" ", (frozenset(), None, None))


def screen(text, lines, cursor):
    """The rows of a capture, with the cursor as a cell in reverse; a style goes on from line to line."""
    style = Style()
    rows = [cells(line, style) for line in text.split("\n")[:lines]]
    rows += [[] for _ in range(lines - len(rows))]
    if cursor and cursor[1] < lines:
        column, row = cursor[0], rows[cursor[1]]
        row += [BLANK] * (column + 1 - len(row))
        c, (flags, front, back) = row[column]
        row[column] = (c, (flags ^ {"r"}, front, back))
    return [tuple(row) for row in rows]


def runs(row):
    """(column, text, width, look) for each stretch of cells that look alike."""
    start = 0
    for i in range(1, len(row) + 1):
        if i == len(row) or row[i][1] != row[start][1]:
            yield start, "".join(c for c, _ in row[start:i]), i - start, row[start][1]
            start = i


def paint(colour, usual):
    return "var(--%s)" % usual if colour is None else "var(--a%d)" % colour if isinstance(colour, int) else colour


def draw_row(row, y):
    out = []
    for column, text, wide, (flags, front, back) in runs(row):
        x = PAD + column * CELL
        fill, behind = paint(front, "text"), None if back is None else paint(back, "back")
        if "r" in flags:
            fill, behind = paint(back, "back"), paint(front, "text")
        if behind:
            out.append('<rect x="%.1f" y="%d" width="%.1f" height="%d" style="fill:%s"/>' % (x, y, wide * CELL + 0.3, LINE, behind))
        if not text.strip():
            continue
        classes = " ".join(sorted(flags & set("bdiu")))
        out.append('<text x="%.1f" y="%d" textLength="%.1f"%s style="fill:%s">%s</text>' % (
            x, y + 13, wide * CELL, ' class="%s"' % classes if classes else "", fill, escape(text)))
    return "".join(out)


def segments(frames, lines):
    """(line, its cells, first frame, frame after the last) for each stretch in which a line stays the same."""
    screens = [screen(text, lines, cursor) for _, text, cursor in frames]
    for line in range(lines):
        start = 0
        for i in range(1, len(screens) + 1):
            if i == len(screens) or screens[i][line] != screens[start][line]:
                if screens[start][line]:
                    yield line, screens[start][line], start, i
                start = i


def css():
    def names(colours, rest):
        return "".join("--a%d:%s;" % (i, c) for i, c in enumerate(colours)) + rest

    return (":root{%s}@media(prefers-color-scheme:dark){:root{%s}}"
            "text{font:14px ui-monospace,'DejaVu Sans Mono',SFMono-Regular,Menlo,Consolas,monospace;white-space:pre}"
            ".b{font-weight:700}.d{opacity:.62}.i{font-style:italic}.u{text-decoration:underline}"
            ".frame{fill:var(--back);stroke:var(--edge)}.title{fill:var(--dim);text-anchor:middle}") % (
        names(LIGHT, "--text:#1f2328;--back:#fbfbf9;--edge:#d0d7de;--dim:#656d76"), names(DARK, "--text:#e6edf3;--back:#161b22;--edge:#3d444d;--dim:#8b949e"))


def motion(parts, times, total):
    """The CSS that shows parts [(name, first, after)] in their time and hides them before and after it."""
    last, out = len(times) - 1, []
    out.append("".join(".%s{visibility:hidden}" % name for name, _, after in parts if after <= last))
    out.append("@media(prefers-reduced-motion:no-preference){")
    for name, first, after in parts:
        begin, end = 100 * times[first] / total, 100 * times[after] / total if after <= last else 100
        steps = "" if first == 0 else "0%{visibility:hidden}"
        steps += "%.3f%%{visibility:visible}" % begin
        steps += "" if end == 100 else "%.3f%%,100%%{visibility:hidden}" % end
        out.append("@keyframes %s{%s}.%s{animation:%s %.2fs step-end infinite}" % (name, steps, name, name, total))
    return "".join(out) + "}"


def picture(frames, columns, lines, title):
    wide, high = 2 * PAD + columns * CELL, BAR + PAD + lines * LINE
    times = [f[0] - frames[0][0] for f in frames]
    total = times[-1] + HOLD
    drawn, parts, names = [], [], {}
    for line, row, first, after in segments(frames, lines):
        body = draw_row(row, BAR + line * LINE)
        if first == 0 and after == len(frames):
            drawn.append(body)
            continue
        if (first, after) not in names:
            names[first, after] = "k%d" % len(names)
            parts.append((names[first, after], first, after))
        drawn.append('<g class="%s">%s</g>' % (names[first, after], body))
    style = css() + (motion(parts, times, total) if parts else "")
    return ('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" height="%.0f" role="img">\n<title>%s</title>\n<style>%s</style>\n'
            '<rect x="0.5" y="0.5" width="%.1f" height="%.1f" rx="8" class="frame"/><text x="%.1f" y="20" class="title">%s</text>\n%s\n</svg>\n') % (
        wide, high, wide, high, escape(title), style, wide - 1, high - 1, wide / 2, escape(title), "\n".join(d for d in drawn if d))
