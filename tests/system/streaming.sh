#!/bin/sh
# streaming: a daemon whose memory is smaller than its model serves it all the same, byte for byte, and says what it costs.
. "$(dirname "$0")/lib.sh"

holds() { python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$1" "$2"; }

# 16 layers of 9.6 MiB each, all of them different
require mkmodel "$dir/m.gguf" Q8_0 1024 16 8 2 2048 2000 512
load="load --context 256 --parallel 1"
text() { on "$1" run -n 24 --temp 0.8 --seed 11 "abc"; }
# a prompt of many chunks
words=$(python3 -c 'print(" ".join(["abc"] * 35))')
long() { on "$1" run -n 4 --temp 0.8 --seed 5 "$words"; }

# ---- one that has room, one that has not ------------------------------------------------------------------------
require node big
# shellcheck disable=SC2086
require on big $load "$dir/m.gguf"
text big >"$dir/text.big" && long big >"$dir/long.big"
require test -s "$dir/text.big"

# ---- weights in huge pages, where they gain -------------------------------------------------------------------------
stage='j["models"][0]["stages"][0]'
mkdir -m 700 "$dir/huge"
require rates_known
{ grep -v "^pages" "$rates" && echo "pages 1.2"; } >"$dir/huge/rates"
require node huge
# shellcheck disable=SC2086
require on huge $load "$dir/m.gguf"
text huge >"$dir/text.meanwhile"
check "the same text while it is copied" same "$dir/text.meanwhile" "$dir/text.big"
copied() { on huge status --json >"$dir/s" && holds "$dir/s" "$stage['weights'] == 'huge pages' and $stage['huge_pages_bytes'] > $stage['weight_bytes'] / 2"; }
check "it is copied into huge pages" wait_for 90 copied
used=$(json 'j["nodes"][0]["memory_used"]' <"$dir/s")
on big status --json >"$dir/s"
check "in the memory that it would have mapped" holds "$dir/s" "$stage['weights'] == 'mapped' and $stage['huge_pages_bytes'] == 0 and j['nodes'][0]['memory_used'] == $used"
text huge >"$dir/text.huge"
check "the same text" same "$dir/text.huge" "$dir/text.big"
check "people are told" sh -c 'caravan status --control "$0/huge/control.sock" | grep -q "huge has its weights in huge pages"' "$dir"
require stop huge

# this one measures itself, and goes on to do so while nothing is asked: but not in the memory that the model has
mkdir -m 700 "$dir/small"
require node small -- --memory 110M
on small plan --json --context 256 --parallel 1 "$dir/m.gguf" >"$dir/j"
check "a plan for little memory" holds "$dir/j" 'j["fits"] and j["stages"][0]["streamed_bytes"] > 2**20'
check "within the memory" holds "$dir/j" 'all(s["memory_needed"] <= s["memory_free"] for s in j["stages"])'
check "says what reading takes" holds "$dir/j" 'abs(j["stages"][0]["streaming_seconds"] * j["stages"][0]["disk_rate"] / j["stages"][0]["streamed_bytes"] - 1) < 1e-6'
on small plan --context 256 --parallel 1 "$dir/m.gguf" | tr -s '\n ' '  ' >"$dir/out.plan"
check "people are told" grep -Eq ' small reads [0-9.]+ MiB of its weights from disk in every step: [0-9.]+ m?s at the [0-9.]+ [MG]iB/s measured' "$dir/out.plan"
# shellcheck disable=SC2086
on small $load "$dir/m.gguf" 2>"$dir/err.load" >"$dir/out.load"
check "load says it too" grep -Eq '^caravan: layers 0-15 do not fit the memory of small: each step reads [0-9.]+ MiB from disk' "$dir/err.load"
check "it serves" serves small m
text small >"$dir/text.small"
check "the same text" same "$dir/text.small" "$dir/text.big"
long small >"$dir/long.small"
check "the same after a prompt of many rows" same "$dir/long.small" "$dir/long.big"
read_so_far() { on small status --json >"$dir/s" && holds "$dir/s" "$stage.get('read_bytes', 0) >= 24 * $stage['streamed_bytes']"; }
check "each token reads it once more" wait_for 5 read_so_far
check "status says what is read" holds "$dir/s" "$stage['streamed_bytes'] == $(json 'j["stages"][0]["streamed_bytes"]' <"$dir/j")"
check "and what stays" holds "$dir/s" "$stage['resident_bytes'] < $stage['weight_bytes'] and $stage['read_seconds'] > 0"
check "all within what is allowed" holds "$dir/s" 'j["nodes"][0]["memory_used"] <= j["nodes"][0]["memory_allowed"] == 110 * 2**20'
check "the disk is as quick as it turned out to be" holds "$dir/s" "$stage['read_bytes'] >= 2**30 and abs(j['nodes'][0]['disk_rate'] * $stage['read_seconds'] / $stage['read_bytes'] - 1) < 0.01"
on small status | tr -s '\n ' '  ' >"$dir/out.status"
check "people too" grep -Eq 'does not fit: [0-9.]+ MiB stay in memory, each step reads [0-9.]+ MiB from disk, which takes [0-9.]+ (µ|m)?s at [0-9.]+ [MG]iB/s, measured' "$dir/out.status"
check "the log says it once" test "$(grep -c "do not fit: each step reads" "$dir/small.log")" = 1

# ---- what is in memory ------------------------------------------------------------------------------------------------
# resident PID DIR: bytes in memory of files of the store, and of everything else
resident() {
	python3 - "$1" "$2" <<-'END'
		import sys
		store = other = 0
		ours = False
		for line in open(f"/proc/{sys.argv[1]}/smaps"):
		    w = line.split()
		    if "-" in w[0]:
		        ours = len(w) > 5 and w[5].startswith(sys.argv[2])
		    elif w[0] == "Rss:":
		        if ours: store += int(w[1]) * 1024
		        else: other += int(w[1]) * 1024
		print(store, other)
	END
}
inside() { # the maps of weights and ends, and the buffers beside what any daemon has
	set -- $(resident "$(pid_of small)" "$dir/small/store") $(resident "$(pid_of big)" "$dir/big/store")
	# $1 store, $2 other of the small one; $3, $4 of the big one
	echo "in memory: weights $1 of $(json "$stage['weight_bytes']" <"$dir/s"), everything else $2, and $4 of one that reads nothing"
	python3 -c '
import json, sys
small, other, big, bigother = map(int, sys.argv[2:6])
j = json.load(open(sys.argv[1]))
st = j["models"][0]["stages"][0]
ends = 2 * 2016 * 1024 * 34 // 32 + 3 * 8192 + 4 * 4096
assert small <= st["resident_bytes"] + ends, (small, st, ends)
assert big > st["weight_bytes"], big
buffers = st["resident_bytes"] - (st["weight_bytes"] - st["streamed_bytes"])
assert st["streamed_bytes"] > 2**26
assert other <= bigother + buffers + 2**24, (other, bigother, buffers) # heaps of threads are never alike
' "$dir/s" "$1" "$2" "$3" "$4"
}
check "no more than it may" inside

# ---- two that share it -----------------------------------------------------------------------------------------
require on small unload m
require node other -- --memory 70M
require on other join "$(on small invite)"
require wait_for 10 all_up small 2
# shellcheck disable=SC2086
require on small $load --nodes all "$dir/m.gguf"
both() { on small status --json >"$dir/s" && holds "$dir/s" 'len(j["models"][0]["stages"]) == 2 and sum(s["streamed_bytes"] > 0 for s in j["models"][0]["stages"]) >= 1'; }
check "two stages, of which one reads" wait_for 5 both
text other >"$dir/text.two"
check "the same text from two" same "$dir/text.two" "$dir/text.big"

# ---- a mixture: experts are fetched by themselves, and read when they are chosen ------------------------------------
require mkmodel -e 16 -u 2 -w 512 "$dir/x.gguf" Q8_0 512 12 8 2 512 2000 512
require on big unload m
# shellcheck disable=SC2086
require on big $load "$dir/x.gguf"
text big >"$dir/text.mix" && long big >"$dir/long.mix"
require on small unload m
freed() { on small status --json >"$dir/s" && holds "$dir/s" 'all(n["memory_used"] < 2**24 for n in j["nodes"])'; }
require wait_for 10 freed
# shellcheck disable=SC2086
on small $load --nodes all "$dir/x.gguf" 2>"$dir/err.load" >/dev/null
check "load says that experts are read" grep -Eq '^caravan: layers [0-9-]+ do not fit the memory of (small|other): experts that are not in memory are read from disk, about [0-9.]+ [KM]iB for a token' "$dir/err.load"
text other >"$dir/text.experts"
check "the same text of a mixture that does not fit" same "$dir/text.experts" "$dir/text.mix"
long other >"$dir/long.experts"
check "the same after a prompt that uses all experts" same "$dir/long.experts" "$dir/long.mix"
chosen() { # 2 experts in each of 12 layers, for each of at least 24 tokens
	on small status --json >"$dir/s" && holds "$dir/s" 'sum(s.get("expert_hits", 0) + s.get("expert_misses", 0) for s in j["models"][0]["stages"]) >= 24 * 24 and all(sum(s.get(k, 0) for s in j["models"][0]["stages"]) for k in ("expert_hits", "expert_misses"))'
}
check "some experts were in memory, some were read" wait_for 5 chosen
layers='[l for s in j["models"][0]["stages"] for l in s["expert_layers"]]'
counted() { # both stages' states are of after the last step
	on small status --json >"$dir/s" && holds "$dir/s" "[l['layer'] for l in $layers] == list(range(12)) and all(l['chosen'] == 2 * s['rows'] > 100 for s in j['models'][0]['stages'] for l in s['expert_layers'])"
}
check "each row has chosen two in each layer" wait_for 5 counted
on small status | tr -s '\n ' '  ' >"$dir/out.status"
check "status says how many" grep -Eq ' so far [0-9]+% of those chosen were found in memory' "$dir/out.status"
check "how many there are" grep -Eq ' has too little memory for all experts of its layers: [0-9]+% of them are in memory, the others are read from disk when they are chosen' "$dir/out.status"
check "and how evenly they are chosen" grep -Eq ' half of all choices of experts go to [0-9]+% of a layer.s experts' "$dir/out.status"
check "which, and how many are in memory" holds "$dir/s" "all(1 <= l['half'] <= 8 and len(l['most_chosen']) == 4 and l.get('in_memory', 0) <= 16 for l in $layers) and any('in_memory' in l for l in $layers)"

# ---- damaged bytes are found as they are read, and fetched from a node that has them --------------------------------
expert=$(find "$dir/other/store/tensors" -type f -printf '%s %f\n' | sort -n | tail -n 1 | cut -d' ' -f2)
require on small unload x
# shellcheck disable=SC2086
require on small $load --nodes small --name y "$dir/x.gguf"
# a byte in each page: of every expert, none of which is in memory yet
require python3 -c 'import os, sys
with open(sys.argv[1], "r+b") as f:
    for at in range(8192, os.path.getsize(sys.argv[1]), 4096):
        byte = os.pread(f.fileno(), 1, at)[0]
        os.pwrite(f.fileno(), bytes([byte ^ 1]), at)' "$dir/small/store/tensors/$expert"
check "nothing is computed from damaged experts" sh -c '! caravan run --control "$0/small/control.sock" -n 24 --temp 0.8 --seed 11 abc 2>"$0/err.damaged" >/dev/null' "$dir"
check "which is said" grep -Eq "layer [0-9]+, .*: damaged on disk" "$dir/err.damaged"
text_y() { text small >"$dir/text.y" && same "$dir/text.y" "$dir/text.mix"; }
check "another node has them" wait_for 30 text_y
check "from which they came" grep -q "tensor $(echo "$expert" | cut -c1-16) has been fetched again" "$dir/small.log"

# ---- no network, no measurement --------------------------------------------------------------------------------
require on small unload y
caravand --state "$dir/alone" --name alone --threads 1 --memory 110M --listen off >"$dir/alone.log" 2>&1 &
echo $! >"$dir/alone.pid"
nodes="$nodes alone"
require wait_for 15 speaks alone
# shellcheck disable=SC2086
require on alone $load "$dir/m.gguf"
text alone >"$dir/text.alone"
check "a node without a network" same "$dir/text.alone" "$dir/text.big"
on alone status --json >"$dir/s"
check "reads as well" holds "$dir/s" "$stage['streamed_bytes'] > 0"

# ---- too little for anything --------------------------------------------------------------------------------
require node tiny -- --memory 16M
# shellcheck disable=SC2086
on tiny $load "$dir/m.gguf" 2>"$dir/err.tiny"
check "a node with no room for buffers refuses" grep -q "more memory is needed\|not even one layer\|embedding and output need" "$dir/err.tiny"
finish
