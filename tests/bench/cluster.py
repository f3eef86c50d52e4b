"""What cluster.sh has measured: a line for people as it comes, and all of it as rows in the form that benches share."""
import glob
import json
import os
import sys
import time


def told(path):
    with open(path) as f:
        b = json.load(f)
    for r in b["results"]:
        d, p = r["tokens_per_second"], r["prompt_tokens_per_second"]
        print("%d node%s, %d stream%s, prompts of %4d: decode %6.2f (%.2f to %.2f; one stream predicted %.2f), prefill %6.1f (%.1f to %.1f; predicted %.1f) tokens/s" % (
            len(b["nodes"]), "s"[: len(b["nodes"]) > 1], r["streams"], "s"[: r["streams"] > 1], r["prompt"], d["median"], d["low"], d["high"],
            b.get("predicted_tokens_per_second", 0), p["median"], p["low"], p["high"], b.get("predicted_prompt_tokens_per_second", 0)), flush=True)


def row(name, spread):
    return {"name": name, "value": spread["median"], "unit": "tokens a second", "low": spread["low"], "high": spread["high"]}


def predicted(name, b, field):
    return [{"name": name, "value": b[field], "unit": "tokens a second"}] if field in b else []


def rows(folder):
    for path in sorted(glob.glob(os.path.join(folder, "nodes.*.json"))):
        with open(path) as f:
            b = json.load(f)
        n = len(b["nodes"])
        for r in b["results"]:
            yield row("decode.nodes%d.streams%d" % (n, r["streams"]), r["tokens_per_second"])
            yield row("prefill.nodes%d.streams%d" % (n, r["streams"]), r["prompt_tokens_per_second"])
        yield from predicted("predicted.decode.nodes%d" % n, b, "predicted_tokens_per_second")
        yield from predicted("predicted.prefill.nodes%d" % n, b, "predicted_prompt_tokens_per_second")
    contexts = os.path.join(folder, "contexts.json")
    if os.path.exists(contexts):
        with open(contexts) as f:
            b = json.load(f)
        for r in b["results"]:
            yield row("decode.context%d" % r["prompt"], r["tokens_per_second"])
            yield row("prefill.context%d" % r["prompt"], r["prompt_tokens_per_second"])


def cpu():
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return "unknown"


def end(folder, shape):
    out = os.environ.get("BENCH_JSON")
    if out:
        with open(out, "w") as f:
            json.dump({"bench": "cluster", "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "cpu": cpu(),
                       "processors": os.cpu_count(), "commit": os.environ.get("BENCH_COMMIT") or "unknown", "shape": shape,
                       "rows": list(rows(folder))}, f, indent=1)
            f.write("\n")


{"told": told, "end": end}[sys.argv[1]](*sys.argv[2:])
