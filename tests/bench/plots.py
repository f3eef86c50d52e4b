#!/usr/bin/env python3
"""Draws what benches have measured: plots.py FOLDER.  The folder has kernels.json (make bench) and cluster.json (make bench-cluster), or one
of them; the pictures come beside them, as SVG, in colours that follow the reader's light or dark setting.  gnuplot draws."""
import json
import os
import re
import shutil
import subprocess
import sys

# What gnuplot is told to use, and what each becomes: light and dark.
COLOURS = {
    "text": ("#010101", "#1b1b19", "#f4f3ef"),
    "axis": ("#020202", "#a3a29b", "#75746d"),
    "grid": ("#030303", "#e4e3de", "#34342f"),
    "back": ("#040404", "#fcfcfb", "#1a1a19"),
    "c0": ("#050505", "#2a78d6", "#5a9df0"),
    "c1": ("#060606", "#d95926", "#ee7a4b"),
    "c2": ("#070707", "#128a60", "#35bd8c"),
}
NAME = {int(c[0][1:3], 16): name for name, c in COLOURS.items()}

HEAD = """
set terminal svg size 760,{height} font "sans-serif,13" background "#040404"
set encoding utf8
set border 3 linecolor "#020202"
set tics nomirror textcolor "#010101" scale 0.5
set grid y linecolor "#030303" linetype 1
set key below center horizontal samplen 2 textcolor "#010101" noenhanced
set title "{title}" textcolor "#010101" noenhanced
set ylabel "{y}" textcolor "#010101" noenhanced
set xlabel "{x}" textcolor "#010101" noenhanced
set yrange [0:*]
set style line 1 linecolor "#050505" linewidth 2 pointtype 7 pointsize 0.7
set style line 2 linecolor "#060606" linewidth 2 pointtype 7 pointsize 0.7
set style line 3 linecolor "#070707" linewidth 2 pointtype 7 pointsize 0.7
set style fill solid noborder
"""


def fail(text):
    sys.exit("plots: " + text)


def read(folder, name):
    """The rows of a bench by their names; None: it has left none here."""
    path = os.path.join(folder, name + ".json")
    if not os.path.exists(path):
        return None
    try:
        with open(path) as f:
            bench = json.load(f)
        rows = {r["name"]: (float(r["value"]), float(r.get("low", r["value"])), float(r.get("high", r["value"]))) for r in bench["rows"]}
    except (OSError, ValueError, KeyError, TypeError) as e:
        fail("%s is not what a bench writes: %r" % (path, e))
    return rows


def select(rows, pattern):
    """The rows whose names match, by what the groups are (numbers where they are), in order."""
    found = [(tuple(int(g) if g.isdigit() else g for g in m.groups()), v) for name, v in rows.items() if (m := re.fullmatch(pattern, name))]
    return sorted(found) if found and isinstance(found[0][0][0], int) else found


def table(name, lines):
    return "$%s << END\n%s\nEND\n" % (name, "\n".join(" ".join('"%s"' % c if isinstance(c, str) else "%g" % c for c in line) for line in lines))


# ---- the plots: each returns gnuplot's commands, or None without figures -------------------------------------------------


def over_nodes(cluster):
    lines = {}
    for (nodes, streams), v in select(cluster, r"decode\.nodes(\d+)\.streams(\d+)"):
        lines.setdefault(streams, []).append((nodes,) + v)
    all_nodes = {n for line in lines.values() for n, *_ in line}
    lines = {s: line for s, line in lines.items() if len(line) == len(all_nodes)}
    if len(all_nodes) < 2:
        return None
    text = HEAD.format(height=380, title="Tokens a second over nodes", x="nodes", y="tokens/s, all streams together")
    text += "set bmargin 6\nset xtics 1\nset xrange [%g:%g]\n" % (min(all_nodes) - 0.3, max(all_nodes) + 0.3)
    parts = []
    for i, (streams, line) in enumerate(sorted(lines.items())[:2]):
        text += table("s%d" % streams, line)
        title = "%d stream%s" % (streams, "s"[: streams > 1])
        parts.append('$s%d using 1:2:3:4 with yerrorlines linestyle %d title "%s"' % (streams, i + 1, title))
    predicted = [(n, v[0]) for (n,), v in select(cluster, r"predicted\.decode\.nodes(\d+)")]
    if predicted:
        text += table("predicted", predicted)
        parts.append('$predicted using 1:2 with lines linecolor "#020202" linewidth 2 dashtype 2 title "1 stream, predicted"')
    return text + "plot " + ", ".join(parts) + "\n"


def over_streams(cluster):
    lines = {}
    for (nodes, streams), v in select(cluster, r"decode\.nodes(\d+)\.streams(\d+)"):
        lines.setdefault(nodes, []).append((streams,) + v)
    nodes = max(lines, key=lambda n: len(lines[n]), default=None)
    if nodes is None or len(lines[nodes]) < 2:
        return None
    text = HEAD.format(height=380, title="Tokens a second over streams, %d node%s" % (nodes, "s"[: nodes > 1]), x="streams at once", y="tokens/s")
    text += "set bmargin 6\nset xtics (%s)\nset xrange [0:%g]\n" % (", ".join("%d" % s for s, *_ in lines[nodes]), lines[nodes][-1][0] * 1.05)
    each = [(s, v / s, low / s, high / s) for s, v, low, high in lines[nodes]]
    text += table("all", lines[nodes]) + table("each", each)
    return text + 'plot $all using 1:2:3:4 with yerrorlines linestyle 1 title "all together", $each using 1:2:3:4 with yerrorlines linestyle 2 title "each"\n'


def predictions(cluster):
    lines = []
    for (what, nodes), v in select(cluster, r"predicted\.(decode|prefill)\.nodes(\d+)"):
        measured = cluster.get("%s.nodes%d.streams1" % (what, nodes))
        if measured:
            lines.append(("%s, %d node%s" % (what, nodes, "s"[: nodes > 1]), v[0] / measured[0], v[0] / measured[2], v[0] / measured[1]))
    if not lines:
        return None
    lines.sort(key=lambda line: line[0])
    text = HEAD.format(height=380, title="Predicted over measured speed of one stream", x="", y="times what is measured")
    text += "set xtics rotate by -20 noenhanced\nset xrange [-0.6:%g]\nset boxwidth 0.62\nunset key\n" % (len(lines) - 0.4)
    text += table("p", lines)
    return text + 'plot 1 with lines linecolor "#020202" linewidth 1.5 dashtype 2, $p using 0:2:xticlabels(1) with boxes linestyle 1, $p using 0:3:(0):($4-$3) with vectors nohead linecolor "#010101" linewidth 1.5\n'


def types(kernels):
    lines = [(name,) + v for (name,), v in select(kernels, r"decode\.([A-Z0-9_]+)")]
    if not lines:
        return None
    lines.sort(key=lambda line: -line[1])
    text = HEAD.format(height=380, title="One column from memory: the kernel over reading its pieces, in turn", x="", y="times reading pieces")
    text += "set xtics rotate by -35 noenhanced\nset xrange [-0.6:%g]\nset boxwidth 0.62\nunset key\n" % (len(lines) - 0.4)
    text += table("t", lines)
    return text + 'plot 1 with lines linecolor "#020202" linewidth 1.5 dashtype 2, $t using 0:2:xticlabels(1) with boxes linestyle 1, $t using 0:3:(0):($4-$3) with vectors nohead linecolor "#010101" linewidth 1.5\n'


def over_context(cluster):
    decode = [(c,) + v for (c,), v in select(cluster, r"decode\.context(\d+)")]
    if len(decode) < 2:
        return None
    text = HEAD.format(height=380, title="One stream over the length of its context, one node", x="tokens before the answer", y="tokens/s of the answer")
    text += "unset key\nset xrange [0:*]\n" + table("decode", decode)
    return text + "plot $decode using 1:2:3:4 with yerrorlines linestyle 1\n"


PLOTS = [("nodes", "cluster", over_nodes), ("streams", "cluster", over_streams), ("predicted", "cluster", predictions),
         ("contexts", "cluster", over_context), ("types", "kernels", types)]


# ---- drawing ----------------------------------------------------------------------------------------------------------


def style():
    light, dark = ("".join("--%s:%s;" % (name, c[i]) for name, c in COLOURS.items()) for i in (1, 2))
    return "<style>:root{%s}@media(prefers-color-scheme:dark){:root{%s}}</style>" % (light, dark)


def recoloured(svg):
    """gnuplot's attributes with the colours above, as styles that follow the reader's setting."""

    attribute = re.compile(r"""\s(stroke|fill|color|flood-color)\s*=\s*['"](?:#([0-9a-f]{2})\2\2|rgb\(\s*(\d+),\s*\3,\s*\3\))['"]""")

    def tag(m):
        styles = []

        def taken(a):
            grey = int(a.group(2), 16) if a.group(2) else int(a.group(3))
            if grey not in NAME:
                return a.group(0)
            styles.append("%s:var(--%s)" % (a.group(1), NAME[grey]))
            return ""

        rest = attribute.sub(taken, m.group(2))
        return "<%s%s%s" % (m.group(1), ' style="%s"' % ";".join(styles) if styles else "", rest)

    svg = re.sub(r"<(\w+)(\s[^<>]*>)", tag, svg)
    return re.sub(r"(<svg[^>]*>)", lambda m: m.group(1) + style(), svg, count=1)


def draw(script):
    p = subprocess.run(["gnuplot", "-"], input=script.encode(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if p.returncode or p.stderr:
        fail("gnuplot: " + p.stderr.decode(errors="replace").strip())
    return recoloured(p.stdout.decode())


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: plots.py FOLDER")
    folder = sys.argv[1]
    if not shutil.which("gnuplot"):
        fail("gnuplot is not here: install it (Debian's package gnuplot-nox)")
    rows = {name: read(folder, name) for name in ("cluster", "kernels")}
    drawn = 0
    for name, bench, plot in PLOTS:
        script = plot(rows[bench]) if rows[bench] else None
        if not script:
            continue
        path = os.path.join(folder, name + ".svg")
        with open(path, "w") as f:
            f.write(draw(script))
        print(path)
        drawn += 1
    if not drawn:
        fail("%s has no results: make bench and make bench-cluster leave some in plots/" % folder)


main()
