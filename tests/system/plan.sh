#!/bin/sh
# plan: what it promises is what load does, it moves nothing, and it needs no cluster.
. "$(dirname "$0")/lib.sh"

# holds FILE EXPRESSION: true of what the file holds, as j
holds() { python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); sys.exit(not eval(sys.argv[2]))' "$1" "$2"; }

# refused PATTERN COMMAND...: fails with one line on standard error that matches
refused() {
	pattern=$1
	shift
	"$@" >"$dir/refused.out" 2>"$dir/refused.err" && return 1
	cat "$dir/refused.err"
	grep -q -- "$pattern" "$dir/refused.err" && test "$(wc -l <"$dir/refused.err")" = 1
}

# ---- without a cluster ---------------------------------------------------------------------------------------
cat >"$dir/four" <<'EOF'
# three that are alike, and one that is far away
desk memory=12G bandwidth=23.9GB/s count=3   # as bought
far  memory=12G bandwidth=10GB/s Q4_0=9GB/s link=100Mbit/s round-trip=20ms
EOF
four() { caravan plan --cluster "$dir/four" "$@"; }
told() { four "$@" >"$dir/text" 2>&1; } # for people
json_of() { four --json "$@" >"$dir/j"; }
check "70B on four machines" json_of --shape llama2-70b:Q4_0
check "its stages are all layers, in order" holds "$dir/j" '[s["first"] for s in j["stages"]] + [80] == [0] + [s["last"] for s in j["stages"]]'
check "what a token takes is what its stages take" holds "$dir/j" 'abs(sum(s["compute_seconds"] + s["send_seconds"] for s in j["stages"]) - j["seconds_per_token"]) < 1e-9'
check "the slow machine gets least" holds "$dir/j" 'min(j["stages"], key=lambda s: s["last"] - s["first"])["node"] == "far"'
check "nothing takes more than there is" holds "$dir/j" 'all(s["memory_needed"] <= s["memory_free"] for s in j["stages"])'
check "it says that nobody has measured" holds "$dir/j" 'j["described"] and j["fits"] and j["version"] == 1'
check "and how long moving takes, but not hashing" holds "$dir/j" '"hash_seconds" not in j and j["move_seconds"] > 60'
cat >"$dir/cards" <<'EOF'
desk memory=60G bandwidth=23.9GB/s space=10G
far  memory=60G bandwidth=10GB/s space=40G
EOF
cards() { caravan plan --cluster "$dir/cards" --json --shape "$1" >"$dir/j"; }
check "layers go where disks have room" cards llama2-70b:Q4_K_M
check "and not where they have none" holds "$dir/j" 'all(s["disk_needed"] <= s["disk_free"] for s in j["stages"] + j["others"]) and {s["node"] for s in j["stages"]} == {"desk", "far"}'
check "too little disk is said" refused "llama2-70b:Q8_0 does not fit: [0-9.]* GiB more disk space is needed" cards llama2-70b:Q8_0
check "70B on four machines again" json_of --shape llama2-70b:Q4_0
check "people are told" told --shape llama2-70b:Q4_0
for line in "llama2-70b:Q4_0: 80 layers, 36.1 GiB of weights, most of type Q4_0; context" "  4096, 4 in parallel, KV cache f16" \
	"  desk-1 +0-[0-9]+ +[0-9.]+ GiB +[0-9.]+ GiB " "One stream: [0-9.]+ tokens/s: [0-9.]+ m?s a token" "Under load: [0-9.]+ tokens/s" \
	"Bottleneck: computing on " "These follow from the rates in the description"; do
	check "$line" grep -Eq "^$line" "$dir/text"
done
check "of a mixture of experts" told --shape qwen3-30b-a3b:Q4_K_M
check "what a token uses" grep -q "^A mixture of experts: a token uses 1.79 GiB of the weights\.$" "$dir/text"
check "programs too" json_of --shape qwen3-30b-a3b:Q4_K_M
check "are told" holds "$dir/j" 'j["weight_bytes"] > 9 * j["token_bytes"] > 0 and sum(s["weight_bytes"] for s in j["stages"]) > 8 * j["token_bytes"]'
echo 'desk memory=12G bandwidth=23.9GB/s disk=2GB/s' >"$dir/one"
one() { caravan plan --cluster "$dir/one" --shape "$1" >"$dir/text"; }
check "experts that do not fit" one qwen3-30b-a3b:Q4_K_M
check "are read when they are chosen" grep -q "^desk has too little memory for all experts of its layers: those that a" "$dir/text"
check "how many for a token" grep -Eq "^desk reads [0-9.]+ MiB of experts from disk for a token if all are" "$dir/text"
check "70B once more" json_of --shape llama2-70b:Q4_0
check "of which a token reads all" holds "$dir/j" '"token_bytes" not in j'
cp "$dir/j" "$dir/j4"
check "a draft of a shape" json_of --shape llama2-70b:Q4_0 --draft tinyllama-1.1b:Q4_0
check "is planned first, on the machine that coordinates" python3 -c '
import json, sys
with_it, without = (json.load(open(f)) for f in sys.argv[1:])
free = [{n["node"]: n["memory_free"] for n in j["stages"] + j["others"]} for j in (with_it, without)]
assert free[0].pop("desk-1") + with_it["draft"]["memory_needed"] == free[1].pop("desk-1")
assert free[0] == free[1] and with_it["draft"]["model"] == "tinyllama-1.1b:Q4_0"
assert "draft" not in without' "$dir/j" "$dir/j4"
check "a draft that does not fit" refused "the draft llama2-70b:Q4_0 does not fit: .* needed on 1 node" four --shape llama2-70b:Q4_0 --draft llama2-70b:Q4_0
check "a draft that there is not" refused "cannot open .*none.gguf: No such file" four --shape llama2-70b:Q4_0 --draft "$dir/none.gguf"
check "fewer and shorter sequences take less" json_of --shape llama2-70b:Q4_0 --parallel 1 --context 512
check "as many times less" python3 -c '
import json, sys
a, b = (sum(s["kv_bytes"] for s in json.load(open(f))["stages"]) for f in sys.argv[1:])
assert a == 32 * b' "$dir/j4" "$dir/j"
check "a small model leaves out who would slow it down" told --shape llama3.2-1b:Q4_0
check "and says why" grep -q "^  far has no layers: with it a token would take " "$dir/text"
check "too small a cluster says how much is missing" refused "llama2-70b:Q8_0 does not fit: [0-9.]* GiB more memory is needed on 4 nodes" \
	four --shape llama2-70b:Q8_0 --parallel 1
check "and which type would fit" grep -q "^With weights of type Q5_K it would fit" "$dir/refused.out"
check "which then does" four --shape llama2-70b:Q5_K --parallel 1
check "programs hear of it" refused "does not fit" four --json --shape llama2-70b:Q8_0 --parallel 1
check "with all that is said" holds "$dir/refused.out" 'not j["fits"] and j["missing_bytes"] > 2**30 and j["smaller_type"] == "Q5_K" and "seconds_per_token" not in j'
check "too many sequences do not fit" refused "does not fit" four --json --shape llama2-70b:Q4_0 --parallel 32
fewer=$(json "j['smaller_parallel']" <"$dir/refused.out")
check "and it says how many would" test "$fewer" -gt 0
check "which then do" four --shape llama2-70b:Q4_0 --parallel "$fewer"
check "named machines" json_of --shape llama3.2-1b:Q4_0 --nodes desk-2,far
check "have all layers" holds "$dir/j" '{s["node"] for s in j["stages"]} == {"desk-2", "far"} and all("not among the named" in o["left_out"] for o in j["others"])'
check "a machine that nobody described" refused "ghost is not one of the described machines" four --shape llama2-7b:Q4_0 --nodes ghost
c=$top_srcdir/contrib/machines
check "descriptions add up" sh -c 'caravan plan --json --shape llama2-70b:Q4_0 --cluster "$1/desktop-ddr4.txt" --cluster "$1/desktop-ddr5.txt" --cluster "$1/n100.txt" --cluster "$1/pi5-8gb.txt" >"$0/j"' "$dir" "$c"
check "to all of them" holds "$dir/j" '{n["node"] for n in j["stages"] + j["others"]} == {"desktop4", "desktop8", "n100", "pi5"}'
check "a file's header will do" json_of "$demo"
check "of which all is said" holds "$dir/j" 'j["model"] == "stories" and j["layers"] == 4 and j["type"] == "Q8_0" and j["context"] == 512'

on_wrong() { caravan plan --shape llama2-7b:Q4_0 --cluster "$dir/wrong"; }
printf 'ada memory=12G\n\nbob memory=many\n' >"$dir/wrong"
check "a wrong description is told with its line" refused "wrong:3: memory: 'many' is not a size" on_wrong
echo "ada ram=12G" >"$dir/wrong"
check "a key that there is not" refused "wrong:1: unknown key 'ram': memory" on_wrong
printf '\377\001\0garbage\n' >"$dir/wrong"
check "garbage is refused with a line" refused "wrong:1: " on_wrong
: >"$dir/wrong"
check "an empty description" refused "describes no machine" on_wrong
rm "$dir/wrong"
check "a description that is not there" refused "cannot read .*/wrong: No such file" on_wrong
check "an unknown shape: what there is" refused "unknown shape .*llama2-70b" four --shape llama9-1b:Q4_0
check "an unknown type: what there is" refused "unknown weight type .*Q6_K" four --shape llama2-7b:Q9
echo "ada memory=16G" >"$dir/wrong"
check "machines without a rate" sh -c 'caravan plan --json --shape llama2-7b:Q4_0 --cluster "$0/wrong" >"$0/j"' "$dir"
check "no word of time" holds "$dir/j" 'j["fits"] and "tokens_per_second" not in j and "compute_seconds" not in j["stages"][0]'
check "a shape and a file: one too many" sh -c 'caravan plan --shape llama2-7b:Q4_0 "$0" 2>/dev/null; test $? = 2' "$demo"

# ---- with one --------------------------------------------------------------------------------------------------
require cluster a b c
require links_known a b c
stored() { for n in a b c; do find "$dir/$n/store" -type f; done; } # what the nodes have
slices() { json "[(s['node'], s['first'], s['last']) for s in (j['models'][0] if 'models' in j else j)['stages']]"; }
alike() { # two lists of slices
	test -n "$1" && test "$1" = "$2" || {
		echo "$1 is not $2"
		return 1
	}
}
planned() { on a plan --json "$@" >"$dir/j"; }
check "a plan of the cluster" planned --nodes all "$demo"
check "with how long loading takes, and room on disks" holds "$dir/j" 'j["hash_bytes"] > 2e6 and j["hash_seconds"] > 0 and j["move_seconds"] > 0 and all(s["disk_free"] > s["disk_needed"] > 0 for s in j["stages"])'
check "over all nodes" holds "$dir/j" 'sorted(s["node"] for s in j["stages"]) == ["a", "b", "c"] and not j["described"]'
check "with the time that it takes" holds "$dir/j" 'j["tokens_per_second"] > 0 and j["tokens_per_second_loaded"] > 0 and j["bottleneck"] in ("a", "b", "c")'
check "moves nothing" test -z "$(stored)"
check "and leaves no model" sh -c 'test -z "$(caravan status --json --control "$0/b/control.sock" | python3 -c "import json, sys; print(*json.load(sys.stdin)[\"models\"])")"' "$dir"
cp "$dir/j" "$dir/before"
check "a plan of a shape" sh -c 'caravan plan --control "$0/b/control.sock" --shape tinyllama-1.1b:Q4_0 | grep -q "^tinyllama-1.1b:Q4_0: 22 layers"' "$dir"
check "one that does not fit" refused "llama2-70b:Q4_0 does not fit: [0-9.]* GiB more memory is needed on 3 nodes" on a plan --shape llama2-70b:Q4_0
check "an unknown shape: the daemon says what there is" refused "unknown shape" on a plan --shape llama9:Q4_0
check "a node that there is not" refused "ghost is not a node of this cluster" on a plan --nodes ghost "$demo"
check "a context that is too long" refused "more than the model was trained for: 512" on a plan --context 4096 "$demo"
echo "no model" >"$dir/junk.gguf"
check "a file that is no model" refused "junk.gguf" on a plan "$dir/junk.gguf"
require on a load --nodes all "$demo"
cp "$dir/err" "$dir/chosen"
on a status --json >"$dir/s"
check "load says what it chose, before anything moves" python3 -c '
import json, re, sys
status, said = json.load(open(sys.argv[1])), open(sys.argv[2]).read().splitlines()
stages = status["models"][0]["stages"]
assert re.match(r"Plan for stories: \d+ layers on 3 nodes, predicted [\d.]+ tokens/s( \([\d.]+ to [\d.]+\))?$", said[0]), said
for s, line in zip(stages, said[1:]):
    assert re.match("  %s +%s .*B +.* a token +.* new on its disk$" % (s["node"], "layer %d" % s["first"] if s["last"] - s["first"] == 1 else "layers %d-%d" % (s["first"], s["last"] - 1)), line), line' \
	"$dir/s" "$dir/chosen"
check "with the spread of what was measured" holds "$dir/s" '(lambda m: m["predicted_tokens_per_second_low"] <= m["predicted_tokens_per_second"] <= m["predicted_tokens_per_second_high"])(j["models"][0])'
check "load does what was planned" alike "$(slices <"$dir/before")" "$(slices <"$dir/s")"
check "and status has the prediction" holds "$dir/s" 'j["models"][0]["predicted_tokens_per_second"] > 0 and j["models"][0]["predicted_tokens_per_second_loaded"] > 0 and all(s["predicted_seconds"] > 0 for s in j["models"][0]["stages"])'
check "which is what plan says" python3 -c '
import json, sys
plan, status = (json.load(open(f)) for f in sys.argv[1:])
for s, p in zip(status["models"][0]["stages"], plan["stages"]):
    if not p["coordinator"]: # there the ends come on top
        assert s["predicted_seconds"] == p["compute_seconds"], (s, p)
    assert s["predicted_seconds"] <= p["compute_seconds"], (s, p)' "$dir/before" "$dir/s"
on a run --no-drafts -n 20 "Once" >"$dir/out"
long=$(printf '%090d' 0)
on a run -n 2 "$long" >"$dir/out"
many() { on a status --json >"$dir/s" && holds "$dir/s" 'all(s["prompt_rows"] >= 64 and s["single_rows"] >= 20 for s in j["models"][0]["stages"])'; }
check "rows alone and rows of prompts are counted apart" wait_for 5 many
check "each with what was predicted" holds "$dir/s" 'j["models"][0]["predicted_prompt_tokens_per_second"] > 0 and all(s["predicted_prompt_seconds"] > 0 and s["prompt_seconds"] > 0 and s["single_seconds"] + s["prompt_seconds"] <= s["compute_seconds"] * 1.000001 for s in j["models"][0]["stages"])'
check "and the ends" holds "$dir/s" 'j["models"][0]["ends_seconds"] > 0'
check "people see it beside what is measured" sh -c 'caravan status --control "$0/a/control.sock" >"$0/text"; grep -q "predicted: [0-9.]* tokens/s\( ([0-9.]* to [0-9.]*)\)\? for one stream, [0-9.]* for 4" "$0/text" && test "$(grep -Ec "[0-9.]+ (µ|m)?s / [0-9.]+ (µ|m)?s +[0-9.]+ (µ|m)?s / [0-9.]+ (µ|m)?s$" "$0/text")" = 3 && grep -q "idle; [0-9]* tokens since it was loaded" "$0/text"' "$dir"
check "a plan of what is there already" planned --nodes all "$demo"
check "has the same slices" alike "$(slices <"$dir/j")" "$(slices <"$dir/s")"
check "and nothing new for any disk" holds "$dir/j" 'all(s["new_bytes"] == 0 for s in j["stages"])'
require on a unload stories
check "where the planner chooses" planned "$demo"
require on a load "$demo"
check "load does so too" alike "$(slices <"$dir/j")" "$(on a status --json | slices)"
# ---- a node that is down ---------------------------------------------------------------------------------------
require on a unload stories
require stop c
require wait_for 15 state_is a c down
check "a plan while one is down" planned "$demo"
check "says so of it" holds "$dir/j" '[o["left_out"] for o in j["others"] if o["node"] == "c"] == ["it is down"] and all(s["node"] != "c" for s in j["stages"])'
check "all nodes are those that are up" planned --nodes all "$demo"
check "each with layers" holds "$dir/j" '{s["node"] for s in j["stages"]} == {"a", "b"}'
finish
