"""Prometheus' text format, version 0.0.4: problems(TEXT) lists what `promtool check metrics` would find in it, and a little more: samples of
a metric apart from each other, a series twice, histograms that do not add up."""
import re

NAME = re.compile("[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|(?=\}))')
VALUE = re.compile(r"[+-]?(Inf|[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?|\.[0-9]+)|NaN")
TYPES = ("counter", "gauge", "histogram", "summary", "untyped")
ABBREVIATED = "s ms us ns sec b kb mb gb tb pb m h d".split()
# of seconds, bytes, grams, meters, joules, ratio, volts, amperes, celsius
NOT_BASE = re.compile("^((milli|micro|nano|kilo|mega|giga|tera|peta|kibi|mebi|gibi|tebi|pebi)[a-z]+s|minutes|hours|days|weeks|bits|percent|fahrenheit|kelvin|calories)$")


def family_of(name, kinds):
    base = re.sub("_(bucket|sum|count)$", "", name)
    return base if kinds.get(base) in ("histogram", "summary") else name


def labels_of(text):
    """A dictionary; None: not well-formed."""
    at, out = 0, {}
    while at < len(text) and text[at] != "}":
        m = LABEL.match(text, at)
        if not m or m.group(1) in out:
            return None
        out[m.group(1)] = m.group(2)
        at = m.end()
    return out if text[at:] == "}" else None


def sample_of(line):
    """Name, labels and value; None: not well-formed."""
    m = NAME.match(line)
    rest = line[m.end() :] if m else ""
    labels = {}
    if rest.startswith("{"):
        end = rest.rfind("}")
        labels, rest = labels_of(rest[1 : end + 1]), rest[end + 1 :]
    parts = rest.split(" ")
    if not m or labels is None or len(parts) not in (2, 3) or parts[0] or not VALUE.fullmatch(parts[1]) or not re.fullmatch("-?[0-9]*", parts[-1] if len(parts) == 3 else ""):
        return None
    return m.group(), labels, float(parts[1])


def of_name(name, kind):
    words = name.lower().split("_")
    if (kind == "counter") != name.endswith("_total"):
        yield "%s: counters, and nothing else, are called _total" % name
    if kind not in ("histogram", "summary") and re.search("_(bucket|sum|count)$", name):
        yield "%s: that is a name of a part of a histogram" % name
    if ":" in name or re.search("[a-z][A-Z]", name):
        yield "%s: not in snake_case" % name
    if set(words) & set(TYPES[:4]):
        yield "%s: its name has a type in it" % name
    if set(words) & set(ABBREVIATED) or any(NOT_BASE.match(w) for w in words):
        yield "%s: not a base unit, written out" % name


def of_histogram(name, samples):
    series = {}
    for sample, labels, value in samples:
        key = tuple(sorted((k, v) for k, v in labels.items() if k != "le"))
        part = sample[len(name) :]
        s = series.setdefault(key, {"le": []})
        if part == "_bucket" and "le" in labels and VALUE.fullmatch(labels["le"]):
            s["le"].append((float(labels["le"]), value))
        elif part in ("_sum", "_count") and "le" not in labels:
            s[part] = value
        else:
            yield "%s: %s%s is not a part of a histogram" % (name, sample, labels)
    for s in series.values():
        bounds, counts = [b for b, _ in s["le"]], [c for _, c in s["le"]]
        if "_sum" not in s or "_count" not in s or not bounds or bounds != sorted(set(bounds)) or counts != sorted(counts) or bounds[-1] != float("inf") or counts[-1] != s["_count"]:
            yield "%s: its buckets do not add up" % name


def problems(text):
    kinds, helps, samples, ended, last, seen, bad = {}, {}, {}, set(), None, set(), []
    if not text.endswith("\n"):
        bad.append("the last line has no end")
    for line in text.splitlines():
        words = line.split(" ", 3)
        if line.startswith("# HELP ") or line.startswith("# TYPE "):
            known = helps if words[1] == "HELP" else kinds
            name = words[2]
            if len(words) < 4 or not words[3] or not NAME.fullmatch(name) or name in known or name in samples or (known is kinds and words[3] not in TYPES):
                bad.append(line)
            known[name] = words[3] if len(words) > 3 else ""
        elif line.startswith("#") or not line:
            continue
        else:
            sample = sample_of(line)
            if not sample:
                bad.append(line)
                continue
            name = family_of(sample[0], kinds)
            key = (sample[0], tuple(sorted(sample[1].items())))
            if key in seen or name in ended or name not in kinds or name not in helps:
                bad.append(line)
            if kinds.get(name) != "histogram" and "le" in sample[1] or kinds.get(name) != "summary" and "quantile" in sample[1] or any(re.search("[a-z][A-Z]", k) for k in sample[1]):
                bad.append(line)
            seen.add(key)
            samples.setdefault(name, []).append(sample)
        if last is not None and name != last:
            ended.add(last)
        last = name
    for name, kind in kinds.items():
        bad += of_name(name, kind)
        if kind == "histogram":
            bad += of_histogram(name, samples.get(name, []))
        elif kind == "counter":
            bad += ["%s is negative" % name for _, _, v in samples.get(name, []) if v < 0]
    return bad


HEAD = "# HELP a_total x\n# TYPE a_total counter\n"
HISTOGRAM = "# HELP a_seconds x\n# TYPE a_seconds histogram\n"
GOOD = HEAD + 'a_total 1\na_total{b="c\\"d",e="\\\\\\n"} 1e+09\n# HELP free x\n# TYPE free gauge\nfree NaN\n' + HISTOGRAM + 'a_seconds_bucket{le="1"} 1\na_seconds_bucket{le="+Inf"} 2\na_seconds_sum 5\na_seconds_count 2\n'
# each with one thing that is wrong
BAD = [
    HEAD + "a_total 1",
    "a_total 1\n",
    "# TYPE a_total counter\na_total 1\n",
    "# HELP a_total x\na_total 1\n",
    HEAD + HEAD + "a_total 1\n",
    "# HELP a_total x\n# TYPE a_total number\na_total 1\n",
    HEAD + "a_total 1\na_total 2\n",
    HEAD + "a_total one\n",
    HEAD + "a_total  1\n",
    HEAD + "a_total 1 now\n",
    HEAD + "a_total -1\n",
    HEAD + 'a_total{b="c"d"} 1\n',
    HEAD + 'a_total{b="\\d"} 1\n',
    HEAD + 'a_total{b="c",b="d"} 1\n',
    HEAD + 'a_total{b-c="d"} 1\n',
    HEAD + 'a_total{le="1"} 1\n',
    HEAD + 'a_total{aB="1"} 1\n',
    HEAD + "a_total 1\n# HELP b x\n# TYPE b gauge\nb 1\na_total{b=\"c\"} 1\n",
    "# HELP a x\n# TYPE a counter\na 1\n",
    "# HELP a_total x\n# TYPE a_total gauge\na_total 1\n",
    "# HELP a_count x\n# TYPE a_count gauge\na_count 1\n",
    "# HELP aB x\n# TYPE aB gauge\naB 1\n",
    "# HELP a_gauge x\n# TYPE a_gauge gauge\na_gauge 1\n",
    "# HELP a_ms x\n# TYPE a_ms gauge\na_ms 1\n",
    "# HELP a_milliseconds x\n# TYPE a_milliseconds gauge\na_milliseconds 1\n",
    HISTOGRAM + 'a_seconds_bucket{le="1"} 1\na_seconds_sum 5\na_seconds_count 1\n',
    HISTOGRAM + 'a_seconds_bucket{le="1"} 3\na_seconds_bucket{le="+Inf"} 2\na_seconds_sum 5\na_seconds_count 2\n',
    HISTOGRAM + 'a_seconds_bucket{le="+Inf"} 2\na_seconds_sum 5\na_seconds_count 3\n',
    HISTOGRAM + 'a_seconds_bucket{le="+Inf"} 2\na_seconds_count 2\n',
]


def self_test():
    """What the checker does not see of these."""
    return ([("good", problems(GOOD))] if problems(GOOD) else []) + [("bad", text) for text in BAD if not problems(text)]
