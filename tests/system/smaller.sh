#!/bin/sh
# smaller: drafts by a smaller model.  Every answer is what it is without, whether the drafts are all right or mostly wrong; and
# the two models come and go together.
. "$(dirname "$0")/lib.sh"

model() { on alpha status --json | json "(lambda m: $2)([m for m in j['models'] if m['name'] == '$1'][0])"; }
soon() { wait_for 15 model "$1" "$2"; }
gone() { on alpha status --json | json "all(m['name'] != '$1' for m in j['models'])"; }
count() {
	model "$1" "str(m['$2'])"
}
idle() { soon "$1" "m['blocks_free'] == m['blocks'] and m['in_flight'] == 0 and m['sequences'] == 0"; }

require node alpha
require linked beta 2G --delay 4
require linked gamma 2G --delay 4
for n in beta gamma; do
	require on "$n" join "$(on alpha invite)"
done
require wait_for 15 all_up alpha 3
require links_known alpha beta gamma

begin=$(head -n 3 "$top_srcdir/demo/heldout.txt" | tail -n 1 | head -c 70)
cat >"$dir/settings" <<END
--temp 0 -n 150
--temp 0.7 --seed 1 -n 150
--temp 1.1 --seed 2 -n 150 --top-k 0 --top-p 1
--temp 0.8 --seed 3 -n 150 --repeat-penalty 1.3 --presence-penalty 0.2 --frequency-penalty 0.1
--temp 0 -n 2
--temp 0 -n 1
--temp 0 --stop she
END
n=0
while read -r options; do
	n=$((n + 1))
	# shellcheck disable=SC2086
	require caravan run -m "$demo" --no-drafts $options "$begin"
	cp "$dir/out" "$dir/alone.$n"
done <"$dir/settings"
answers() { # WHOSE
	n=0
	while read -r options; do
		n=$((n + 1))
		for node in alpha beta; do
			# shellcheck disable=SC2086
			on $node run $options "$begin" >"$dir/answer.$n"
			check "$1: an answer is what it is without, on $node: $options" same "$dir/alone.$n" "$dir/answer.$n"
		done
	done <"$dir/settings"
}
# noisy FILE: the demo model with the lowest bits of many of its bytes turned
noisy() {
	python3 -c 'import random, sys
b = bytearray(open(sys.argv[1], "rb").read())
r = random.Random(5)
for i in range(len(b) // 3, len(b)):
    if r.random() < 0.2:
        b[i] ^= r.randrange(4)
open(sys.argv[2], "wb").write(b)' "$demo" "$1"
}

# ---- a draft that is always right: the model itself ----------------------------------------------------------
two() { on alpha "$@" --nodes all --parallel 4 --context 512 --draft "$demo" "$demo"; }
# alpha has stored all of it: a load, which stores the drafts first, then finds what the plan does, and moves no less for it
require on alpha load --nodes alpha --name before "$demo"
require on alpha unload before
two plan >"$dir/planned"
check "a plan says what the drafts take, and of whom" sh -c 'tr "\n" " " <"$0" | tr -s " " | grep -q "Drafts by stories: 2.04 MiB of weights, most of type Q8_0; .* on alpha"' "$dir/planned"
two plan --json >"$dir/planned"
require two load
# what alpha's memory is planned to have in it is what it then says that it has
as_planned() {
	on alpha status --json >"$dir/both" && python3 -c '
import json, sys
plan, status = (json.load(open(f)) for f in sys.argv[1:])
larger = [n for n in plan["stages"] + plan["others"] if n["node"] == "alpha"][0]
alpha = [n for n in status["nodes"] if n["name"] == "alpha"][0]
want, have = plan["draft"]["memory_needed"] + larger["memory_needed"], alpha["memory_used"]
print(want, have)
assert want == have
assert larger["memory_free"] + plan["draft"]["memory_needed"] == alpha["memory_allowed"]' "$dir/planned" "$dir/both"
}
check "the two take the memory that was planned" wait_for 5 as_planned
check "the smaller model is on one node alone" model stories-draft "[s['node'] for s in m['stages']] == ['alpha'] and m['parallel'] == 4"
check "status says whose drafts it makes" sh -c 'caravan status --control "$0/gamma/control.sock" | grep -q "drafts by model stories-draft"' "$dir"
check "who names no model means the larger" on beta run --temp 0 -n 5 ""
check "which has made the answer" soon stories "m['tokens'] == 5"
answers "right drafts"
check "guesses were made, nearly all of them right" soon stories "m['accepted'] > 500"
check "several steps of one answer were under way" soon stories "m['in_flight_max'] >= 2"
check "the smaller model has nothing left" idle stories-draft
steps=$(count stories-draft steps)
require on beta run --no-drafts --temp 0 -n 60 "$begin"
check "who wants none has none" test "$(count stories-draft steps)" = "$steps"

# ---- several, and some that are cancelled ---------------------------------------------------------------------
six_alone single -n 80 "$begin"
six_at_once single "right drafts: " -n 80 "$begin"
for i in 1 2 3 4; do
	caravan run --control "$dir/beta/control.sock" --temp 0.5 --seed "$i" -n 400 "$begin" >/dev/null 2>&1 &
	client=$!
	sleep "0.$i"
	kill "$client" 2>/dev/null
	wait "$client" 2>/dev/null
done
check "cancelled: every block is free" idle stories
check "and of the smaller model's" idle stories-draft

# ---- they come back together, and one may go alone -----------------------------------------------------------
stop alpha TERM
require node alpha
require wait_for 60 serves alpha stories
require wait_for 60 serves alpha stories-draft
on alpha run --temp 0 -n 150 "$begin" >"$dir/back"
check "after a restart the answer is what it was" same "$dir/alone.1" "$dir/back"
check "and drafts were made for it" soon stories-draft "m['steps'] > 20"
require caravan run -m "$demo" --no-drafts --temp 0 -n 150 --repeat-penalty 1.01 "$begin"
cp "$dir/out" "$dir/whole"
(on beta run --temp 0 -n 150 --repeat-penalty 1.01 "$begin" >"$dir/left") &
client=$!
sleep 0.1
require on gamma unload stories-draft
wait "$client"
check "an answer whose drafts end in the middle is what it is without" same "$dir/whole" "$dir/left"
on beta run --temp 0 -n 150 "$begin" >"$dir/without"
check "and so is the next" same "$dir/alone.1" "$dir/without"
require on alpha unload stories

# ---- a draft that is often wrong --------------------------------------------------------------------------------
require noisy "$dir/noisy.gguf"
require on alpha load --nodes all --parallel 4 --context 512 --draft "$dir/noisy.gguf" "$demo"
answers "wrong drafts"
check "right guesses were made" soon stories "m['accepted'] > 50"
check "and wrong ones" soon stories "m['drafted'] > m['accepted'] + 50"
six_at_once single "wrong drafts: " -n 80 "$begin"
check "every block is free" idle stories
check "and every one of the smaller model's" idle stories-draft
require on beta unload stories
check "both are unloaded" wait_for 10 gone stories-draft

# ---- what is no draft --------------------------------------------------------------------------------------------
require mkmodel "$dir/other.gguf" Q8_0 64 2 2 2 128 300 256
on alpha load --draft "$dir/other.gguf" "$demo" 2>"$dir/err.words"
check "a model of other words is refused" grep -q "stories-draft cannot draft for stories: its tokenizer is different ([0-9]*, not [0-9]*)" "$dir/err.words"
on alpha plan --draft "$dir/other.gguf" "$demo" 2>"$dir/err.words"
check "and when it is planned" grep -q "other.gguf cannot draft for .*: its tokenizer is different" "$dir/err.words"
check "and nothing of it stays" wait_for 10 gone stories-draft
on alpha load --draft "$dir/none.gguf" "$demo" 2>"$dir/err.none"
check "a file that is not there is told" grep -q "none.gguf: No such file" "$dir/err.none"
check "and the larger model has not been loaded" gone stories
finish
