#!/bin/sh
# pictures: those that documents show are there and are documents of their kind; what draws them draws what it is given.
cd "$top_srcdir" || exit 99
dir=$(mktemp -d) || exit 99
trap 'rm -rf "$dir"' EXIT
n=0

check() { # WHAT COMMAND...
	what=$1 n=$((n + 1))
	shift
	if "$@" >"$dir/out" 2>&1; then
		echo "ok $n - $what"
	else
		echo "not ok $n - $what"
		sed 's/^/# /' "$dir/out"
	fi
}

# well_formed LEAST DOCUMENT: it shows so many pictures at least, each a PNG, or an SVG that asks for nothing from elsewhere
well_formed() {
	python3 - "$@" <<-'END'
		import os, re, sys, xml.etree.ElementTree as x
		shown = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", open(sys.argv[2]).read())
		assert len(shown) >= int(sys.argv[1]), shown
		for path in (os.path.join(os.path.dirname(sys.argv[2]), s) for s in shown):
		    data = open(path, "rb").read()
		    if path.endswith(".png"):
		        assert data[:8] == b"\x89PNG\r\n\x1a\n" and data[-8:-4] == b"IEND", path
		        continue
		    root = x.fromstring(data)
		    assert root.tag == "{http://www.w3.org/2000/svg}svg" and len(list(root.iter("{http://www.w3.org/2000/svg}text"))) > 3, path
		    for e in root.iter():
		        assert not e.tag.endswith("}script"), path
		        assert all(v.startswith("#") for k, v in e.attrib.items() if k.endswith("href")), path
	END
}
check "the pictures of README.md" well_formed 3 README.md
check "the pictures of doc/performance.md" well_formed 5 doc/performance.md

# ---- terminals --------------------------------------------------------------------------------------------------
# terminal EXPRESSION: it holds; draw makes a picture of screens with 20 columns and 4 lines, two seconds after each other
terminal() {
	PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=tests/tools python3 - "$1" <<-'END'
		import re, sys, xml.etree.ElementTree as x
		import terminal_svg as s
		E = "\x1b["
		SVG = "{http://www.w3.org/2000/svg}"
		def draw(*screens, cursor=None):
		    return s.picture([(i * 2.0, c, cursor) for i, c in enumerate(screens)], 20, 4, "a <title> & more")
		def texts(p): # (column, text, class, style), without the title
		    return [(round((float(e.get("x")) - s.PAD) / s.CELL), e.text, e.get("class"), e.get("style")) for e in x.fromstring(p).iter(SVG + "text")][1:]
		def words(p):
		    return [t[1] for t in texts(p)]
		def looks(p):
		    return [t[1:3] for t in texts(p)]
		def still(p): # what is there without motion
		    hidden = set(re.findall(r"\.(k\d+)\{visibility:hidden\}", p))
		    return [e.text for g in x.fromstring(p) if g.get("class") not in hidden for e in g.iter(SVG + "text")][1:]
		result = eval(sys.argv[1])
		print(result, file=sys.stderr)
		sys.exit(not result)
	END
}
check "markup on a screen is text" terminal 'words(draw("</text><script>&x;\n  ok")) == ["</text><script>&x;", "  ok"]'
check "colours of three kinds, in their places" terminal '[(c, t, f) for c, t, _, f in texts(draw("ab" + E + "31mc" + E + "38;5;208md" + E + "38;2;1;2;255me" + E + "0mf"))] == [(0, "ab", "fill:var(--text)"), (2, "c", "fill:var(--a1)"), (3, "d", "fill:#ff8700"), (4, "e", "fill:#0102ff"), (5, "f", "fill:var(--text)")]'
check "bright ones, and those behind" terminal 'texts(draw(E + "91;44mx"))[0][3] == "fill:var(--a9)" and "fill:var(--a4)" in re.findall("<rect[^>]*", draw(E + "91;44mx"))[-1]'
check "bold, underlined, dim, and no longer" terminal 'looks(draw(E + "1ma" + E + "4mb" + E + "22mc" + E + "2;24md")) == [("a", "b"), ("b", "b u"), ("c", "u"), ("d", "d")]'
check "reverse takes the colours for each other" terminal 'texts(draw(E + "7mx"))[0][3] == "fill:var(--back)" and "fill:var(--text)" in re.findall("<rect[^>]*", draw(E + "7mx"))[-1]'
check "a style goes on in the next line" terminal 'looks(draw(E + "1ma\nb" + E + "0m\nc")) == [("a", "b"), ("b", "b"), ("c", None)]'
check "wide characters take two cells, marks none" terminal '[t[:2] for t in texts(draw("\u99f1e\u0301" + E + "1mx"))] == [(0, "\u99f1e\u0301"), (3, "x")]'
check "what only moves the cursor is not shown" terminal 'words(draw("a" + E + "2Kb\x1b]0;title\x07c\x0e\x0fd\x1b(Be")) == ["abcde"]'
check "the cursor is a cell in reverse" terminal '[(t[1], t[3]) for t in texts(draw("$ ls", cursor=(2, 0)))] == [("$ ", "fill:var(--text)"), ("l", "fill:var(--back)"), ("s", "fill:var(--text)")]'
check "a line that stays is drawn once, others in their time" terminal 'sorted(words(draw("same\none", "same\ntwo", "same\nthree"))) == ["one", "same", "three", "two"] and "{0%{visibility:hidden}25.000%{visibility:visible}50.000%,100%{visibility:hidden}}" in draw("same\none", "same\ntwo", "same\nthree")'
check "without motion there is the last screen" terminal 'still(draw("same\none", "same\ntwo", "same\nthree")) == ["same", "three"]'
check "one screen does not move" terminal '"animation" not in draw("a\nb")'

# ---- plots -------------------------------------------------------------------------------------------------------
plots() { python3 tests/bench/plots.py "$@"; }
no_gnuplot() { # with nothing but Python to be found
	mkdir -p "$dir/bin" && ln -sf "$(python3 -c 'import sys; print(sys.executable)')" "$dir/bin/python3"
	! env PATH="$dir/bin" python3 tests/bench/plots.py doc/plots >"$dir/says" 2>&1 && grep -q "install it (Debian's package gnuplot-nox)" "$dir/says"
}
drawn() { # PICTURE TEXT...: it is an SVG with these texts
	python3 - "$@" <<-'END'
		import sys, xml.etree.ElementTree as x
		texts = ["".join(e.itertext()).strip() for e in x.parse(sys.argv[1]).getroot().iter("{http://www.w3.org/2000/svg}text")]
		missing = [t for t in sys.argv[2:] if t not in texts]
		sys.exit("no %s in %s" % (missing, texts) if missing else 0)
	END
}
refused() { # PATTERN FOLDER
	! plots "$2" >"$dir/says" 2>&1 && grep -q "$1" "$dir/says" && test "$(wc -l <"$dir/says")" = 1
}
check "without gnuplot, what to install is said" no_gnuplot
# shellcheck disable=SC2046
check "the committed picture has the weight types of the committed results" drawn doc/plots/types.svg \
	$(grep -oE '"decode\.[A-Z0-9_]+"' doc/plots/kernels.json | tr -d '"' | cut -d. -f2)
if command -v gnuplot >/dev/null; then
	mkdir "$dir/plots" "$dir/bad" "$dir/empty"
	cp doc/plots/*.json "$dir/plots"
	check "plots of the results in doc/plots" plots "$dir/plots"
	check "their colours are those of the reader's setting" sh -c 'for f in "$0"/*.svg; do grep -q "fill:var(--text)" "$f" && ! grep -Eiq "#0[0-9]0[0-9]0[0-9]|rgb\( *[1-9], *[0-9], *[0-9]\)" "$f" || exit 1; done' "$dir/plots"
	check "weight types are those that were measured" drawn "$dir/plots/types.svg" Q4_0 Q8_0 IQ4_NL
	check "nodes" drawn "$dir/plots/nodes.svg" 1 2 3 4 "1 stream" "8 streams" "1 stream, predicted"
	check "streams" drawn "$dir/plots/streams.svg" "all together" each
	check "predictions" drawn "$dir/plots/predicted.svg" "decode, 1 node" "prefill, 4 nodes"
	check "contexts" drawn "$dir/plots/contexts.svg" "tokens before the answer"
	echo '{"rows": [{"name": "decode.Q4_0\"; system \"touch '"$dir"'/hit\"", "value": 1}, {"name": "decode.$(x)", "value": 1}, {"name": "decode.Q8_0", "value": 0.9}]}' >"$dir/bad/kernels.json"
	check "a name that is none does not reach gnuplot" sh -c 'python3 tests/bench/plots.py "$0/bad" && test ! -e "$0/hit" && grep -q Q8_0 "$0/bad/types.svg" && ! grep -qF "(x)" "$0/bad/types.svg"' "$dir"
	check "a folder without results is refused" refused "has no results" "$dir/empty"
	echo '[1' >"$dir/empty/kernels.json"
	check "so is what no bench wrote" refused "kernels.json is not what a bench writes" "$dir/empty"
else
	echo "ok $((n += 1)) - plots # SKIP gnuplot is not installed"
fi
echo "1..$n"
