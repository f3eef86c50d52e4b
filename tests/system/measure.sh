#!/bin/sh
# measure: figures of a node that are far off are found out by serving, said, and corrected; and nodes are measured when somebody
# asks, here and elsewhere.
. "$(dirname "$0")/lib.sh"

holds() { python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); r = eval(sys.argv[2]); print(r); sys.exit(not r)' "$1" "$2"; }
problem() { on kitchen status --json | json "[p['$2'] for p in j['problems'] if p['kind'] == '$1' and p['subject'] == 'kitchen'][0]"; }

# a rates file that is 1000 times wrong: what other programs take from a machine is far less
require rates_known
require mkdir -m 700 "$dir/kitchen"
python3 - "$rates" "$dir/kitchen/rates" <<'END'
import sys
def off(words):  # all rates of a line
    return [w if i == 0 or (words[0] == "type" and i == 1) else "%e" % (float(w) / 1000) for i, w in enumerate(words)]
with open(sys.argv[1]) as was, open(sys.argv[2], "w") as wrong:
    for line in was:
        words = line.split()
        print(" ".join(off(words) if words[0] in ("read", "type") else words), file=wrong)
END
require node kitchen
require node study CARAVAN_TUNE=on
require on study join "$(on kitchen invite)"
require wait_for 15 all_up kitchen 2
require mkmodel "$dir/slow.gguf" q8_0 1024 6 16 8 2816 2000 4096
require on kitchen load --nodes kitchen --context 512 "$dir/slow.gguf"
predicted() { on kitchen plan --json --nodes kitchen --name other "$dir/slow.gguf" >"$dir/j" && json "j['tokens_per_second']" <"$dir/j"; }
wrong=$(predicted)
check "a model generates" on kitchen run --no-drafts --temp 1 --seed 1 -n 60 "Once"
said() { problem prediction-off what | grep -E "The prediction for kitchen is off by a factor of [0-9]+, to be measured again"; }
check "status says that the prediction is off, by how much, and what is done about it" wait_for 30 said
check "so does the log" grep -Eq "the prediction for kitchen is off by a factor of [0-9]+ .*: measuring again" "$dir/kitchen.log"

# ---- another node is asked, meanwhile ------------------------------------------------------------------------
check "another node is measured" on kitchen measure study --json
cp "$dir/out" "$dir/study.json"
check "every figure lies within its spread" holds "$dir/study.json" 'j["node"] == "study" and j["threads"] == 1 and len(j["rates"]) > 10 and all(0 < r["low"] <= r["bytes_per_second"] <= r["high"] and 0 < r["many_low"] <= r["many"] <= r["many_high"] for r in j["rates"])'
# on a machine with other work none may be chosen: then none are listed
check "the ways that it tried are listed with their gains" holds "$dir/study.json" 'isinstance(j["ways"], list) and all(w["gain"] > 0 and w["kernel"] and w["columns"] in (0, 1, 2, 4, 8) and (w["gain"] == 1) == w["default"] for w in j["ways"])'
refused() { ! "$@" 2>"$dir/said"; }
check "a node that there is not is refused" refused on kitchen measure ghost
check "by its name" grep -q "there is no node ghost" "$dir/said"

# ---- it has rested ---------------------------------------------------------------------------------------------
right() { now=$(predicted) && python3 -c 'import sys; now, wrong = map(float, sys.argv[1:]); print(now, wrong); sys.exit(not now > 10 * wrong)' "$now" "$wrong"; }
check "the figures are corrected" wait_for 60 right
check "and kept" sh -c 'python3 -c "
import sys
is_, was = ([float(l.split()[2]) for l in open(f) if l.startswith(\"type 8 \")][0] for f in sys.argv[1:])
sys.exit(not is_ > 10 * was / 1000)" "$1/kitchen/rates" "$0"' "$rates" "$dir"

# ---- one that serves --------------------------------------------------------------------------------------------
on kitchen run --no-drafts --temp 1 --seed 2 -n 450 "Once" >/dev/null 2>"$dir/err" &
echo $! >"$dir/run.pid"
running() { asked kitchen 'models[0].sequences' = 1; }
require wait_for 15 running
on kitchen measure >"$dir/table" 2>"$dir/note" &
echo $! >"$dir/measure.pid"
check "who asks while it serves hears that" wait_for 15 grep -q "it is serving: waiting, half a minute at most" "$dir/note"
kill "$(cat "$dir/run.pid")" 2>/dev/null
wait "$(cat "$dir/measure.pid")"
check "and has it measured when it rests" grep -E "^  Q8_0 .*B/s" "$dir/table"
rm "$dir/run.pid" "$dir/measure.pid"
finish
