"""What bench70b.sh counts: from what the daemons say of themselves to rows with targets."""
import json
import os
import statistics
import sys
import time


def load(path):
    with open(path) as f:
        return json.load(f)


def model_of(status):
    return [m for m in status["models"] if m["name"] == "m"][0]


def between(a, b, kind):
    """Seconds that each stage took for a row, of rows of this kind, and the two ends for a step."""
    a, b = model_of(a), model_of(b)
    stages = []
    for x, y in zip(a["stages"], b["stages"]):
        rows = y[f"{kind}_rows"] - x[f"{kind}_rows"]
        stages.append((y[f"{kind}_seconds"] - x[f"{kind}_seconds"]) / rows)
    return {"stages": stages, "ends": (b["ends_seconds"] - a["ends_seconds"]) / (b["steps"] - a["steps"])}


def row(directory, name, value, unit, target="", sense=""):
    with open(f"{directory}/rows", "a") as f:
        f.write(f"{name}\t{value!r}\t{unit}\t{target}\t{sense}\n")


def ms(seconds):
    return f"{seconds * 1e3:.1f} ms"


def read_rate(path):
    """GB/s of a file of the probe's, over the time that all of its readings took."""
    with open(path) as f:
        return statistics.harmonic_mean([float(line) for line in f])


def at_reading(d, plan, i):
    """Seconds of a token that the plan predicts where memory is as quick as it was around answer i."""
    now, seconds = read_rate(f"{d}/found.{i}"), plan["seconds_per_token"]
    for n in plan["stages"] + plan["others"]:
        seconds += n["compute_seconds"] * (read_rate(f"{d}/measured.{n['node']}") / now - 1)
    return seconds


def one_pass(d, name, tokens, prompt, rounds, size, loaded, again, sent, before, after):
    tokens, prompt, rounds, size = int(tokens), int(prompt), int(rounds), int(size)
    loaded, again = float(loaded), float(again)
    plan = load(f"{d}/plan")
    r = [load(f"{d}/round.{i + 1}") for i in range(rounds)]
    decode = [load(f"{d}/decode.{i + 1}")["generate_seconds"] / (tokens - 1) for i in range(rounds)]
    prefill = [load(f"{d}/prefill.{i + 1}")["prompt_seconds"] for i in range(rounds)]
    first = load(f"{d}/first")["prompt_seconds"]
    token, fill = statistics.median(decode), statistics.median(prefill)
    shares = [network_share(x["decode"], t) for x, t in zip(r, decode)]
    network = statistics.median(shares)
    spread = lambda v: f"{min(v):.3f} to {max(v):.3f}"
    print(f"loading {loaded:.1f} s; first token {first:.2f} s after its prompt; "
          f"loaded again, {again:.2f} s to the first token")
    print(f"decode: {1 / token:.3f} tokens/s, {ms(token)} a token ({spread([t * 1e3 for t in decode])}); "
          f"predicted {ms(plan['seconds_per_token'])}: {plan['seconds_per_token'] / token:.3f} of it")
    reading = [at_reading(d, plan, i + 1) / t for i, t in enumerate(decode)]
    print("  memory read at", ", ".join(f"{read_rate(f'{d}/measured.{n}'):.1f}" for n in "abcd"),
          "GB/s while they measured,", ", ".join(f"{read_rate(f'{d}/found.{i + 1}'):.1f}" for i in range(rounds)),
          f"around the answers; predicted at that: {statistics.median(reading):.3f} of it ({spread(reading)})")
    pred = plan["prompt_seconds_per_token"] * prompt
    print(f"prompt of {prompt}: {prompt / fill:.2f} tokens/s, {fill:.2f} s ({spread(prefill)}); "
          f"predicted {pred:.2f} s: {pred / fill:.3f} of it")
    for i, s in enumerate(plan["stages"]):
        took = statistics.median(x["decode"]["stages"][i] for x in r)
        filled = statistics.median(x["prefill"]["stages"][i] for x in r)
        print(f"  stage {i} on {s['node']}, layers {s['first']}-{s['last'] - 1}: {ms(took)} a token, "
              f"{ms(filled)} of a prompt")
    print(f"  network share of decode {100 * network:.2f} % ({spread([100 * s for s in shares])})")
    row(d, f"decode.speed.{name}", 1 / token, "tokens a second")
    row(d, f"prompt.speed.{name}", prompt / fill, "tokens a second")
    row(d, f"decode.predicted.{name}", plan["seconds_per_token"] / token, "of measured", 0.15, "near")
    row(d, f"decode.predicted.read.{name}", statistics.median(reading), "of measured", 0.15, "near")
    row(d, f"prompt.predicted.{name}", pred / fill, "of measured", 0.15, "near")
    row(d, f"network.share.{name}", network, "of a token", 0.02 if name == "gigabit" else "", "less")
    row(d, f"load.first.{name}", loaded, "s")
    row(d, f"load.again.{name}", again, "s to the first token", 5, "less")
    row(d, f"loader.bytes.copies3.{name}", int(sent.split()[1]) / size, "of the model's size", 1.1, "less")
    moved = int(after.split()[0]) - int(before.split()[0])
    row(d, f"load.again.bytes.{name}", moved / size, "of the model's size", 0, "less")


def network_share(x, token):
    """What is left of a token when stages and ends have computed."""
    return 1 - (sum(x["stages"]) + x["ends"]) / token


def resident(pid, store):
    """Bytes of the store's files in a process's memory, mapping by mapping, and everything else."""
    ours, files, other = False, 0, 0
    with open(f"/proc/{pid}/smaps") as f:
        for line in f:
            w = line.split()
            if "-" in w[0]:
                ours = len(w) > 5 and w[5].startswith(store)
            elif w[0] == "Rss:":
                files, other = files + int(w[1]) * 1024 * ours, other + int(w[1]) * 1024 * (not ours)
    return files, other


def reading(d, pid, store):
    s = load(f"{d}/s")
    node = [n for n in s["nodes"] if n["name"] == "a"][0]
    stage = model_of(s)["stages"][0]
    files, other = resident(pid, store)
    token = load(f"{d}/read")["generate_seconds"]
    rate = stage["read_bytes"] / stage["read_seconds"] if stage.get("read_seconds") else 0
    print(f"{files / 1e9:.2f} GB of weights and {other / 1e9:.2f} GB of everything else in memory, "
          f"{node['memory_allowed'] / 1e9:.2f} GB allowed; each step reads {stage['streamed_bytes'] / 1e9:.2f} GB "
          f"at {rate / 1e9:.2f} GB/s: {token:.1f} s a token")
    row(d, "reading.resident", (files + other) / node["memory_allowed"], "of allowed", 1, "less")
    row(d, "reading.token", token, "s")


def met(value, target, sense):
    return abs(value - 1) <= target if sense == "near" else value <= target


def end(path, processors):
    rows, missed, targets = [], [], 0
    with open(path) as f:
        for line in f:
            name, value, unit, target, sense = line.rstrip("\n").split("\t")
            o = {"name": name, "value": float(value), "unit": unit}
            if target:
                targets += 1
                ok = met(float(value), float(target), sense)
                o["target"] = float(target)
                o["met"] = ok
                if sense == "near":
                    o["bound"] = 1.0
                if not ok:
                    missed.append(f"  {name:<32} {float(value):8.3f} {unit}; target "
                                  + (f"1 +- {target}" if sense == "near" else target))
            rows.append(o)
    print()
    for o in rows:
        print(f"{o['name']:<32} {o['value']:9.3f} {o['unit']}"
              + (f"  {'met' if o['met'] else 'missed'}" if "met" in o else ""))
    print(f"\n{targets - len(missed)} of {targets} targets met" + ("; missed:" if missed else ""))
    for m in missed:
        print(m)
    out = os.environ.get("BENCH_JSON")
    if out:
        cpu = "unknown"
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    cpu = line.split(":", 1)[1].strip()
                    break
        with open(out, "w") as f:
            json.dump({"bench": os.environ.get("BENCH70B_NAME", "70b"), "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "cpu": cpu,
                       "processors": int(processors), "commit": os.environ.get("BENCH_COMMIT") or "unknown",
                       "rows": rows}, f, indent=1)


if __name__ == "__main__":
    what, args = sys.argv[1], sys.argv[2:]
    if what == "round":
        s = [load(a) for a in args]
        json.dump({"decode": between(s[0], s[1], "single"), "prefill": between(s[1], s[2], "prompt")}, sys.stdout)
    else:
        {"pass": one_pass, "reading": reading, "end": end}[what](*args)
