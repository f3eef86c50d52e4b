#!/bin/sh
# prefix: what a prompt begins with is computed once, and every answer is what it would have been without.
. "$(dirname "$0")/lib.sh"

text() { sed -n "$1p" "$top_srcdir/demo/heldout.txt" | head -c "${2:-400}"; }
alone() { # NAME OPTION... PROMPT: without a daemon, from nothing
	name=$1
	shift
	caravan run -m "$demo" "$@" >"$dir/alone.$name"
}
ask() { # NODE NAME OPTION... PROMPT
	node=$1 name=$2
	shift 2
	on "$node" run "$@" >"$dir/$name"
}
# the coordinator says what is now
found() { asked alpha 'models[0].prefix_tokens' "$1" $(($2)); }
count() {
	asked alpha 'models[0].prefix_tokens'
}

require cluster alpha beta
require on alpha load --nodes all --parallel 4 "$demo"
check "nothing is found before there was anything" wait_for 5 found = 0

# a turn, and the next one: what was said, the answer, and something new
first="$(text 1 600)"
require alone first --temp 0.8 --seed 3 -n 40 "$first"
check "a first turn" ask alpha first --temp 0.8 --seed 3 -n 40 "$first"
check "is what it is alone" same "$dir/alone.first" "$dir/first"
before=$(count)
second="$first$(cat "$dir/first") $(text 2 120)"
require alone second --temp 0.8 --seed 4 -n 40 "$second"
check "the next turn, asked for on the other node" ask beta second --temp 0.8 --seed 4 -n 40 "$second"
check "is what it is alone" same "$dir/alone.second" "$dir/second"
check "its beginning was there: two blocks at least" wait_for 5 found ">=" "$before + 128"
before=$(count)
check "the same prompt once more" ask alpha again --temp 0.8 --seed 4 -n 40 "$second"
check "is what it was" same "$dir/second" "$dir/again"
check "and was there but for its end" wait_for 5 found ">=" "$before + 192"

check "and is told how much was" ask beta told --json -n 1 "$second"
check "in tokens of the prompt" json "j['cached_tokens'] >= 192 and j['cached_tokens'] % 64 == 0 and j['cached_tokens'] < j['prompt_tokens']" <"$dir/told"

# forks of one prompt, side by side
before=$(count)
pids=
for i in 1 2 3 4; do
	require alone "fork$i" --temp 0.9 --seed "$i" -n 30 "$first"
	(ask beta "fork$i" --temp 0.9 --seed "$i" -n 30 "$first") &
	pids="$pids $!"
done
# shellcheck disable=SC2086
wait $pids
for i in 1 2 3 4; do
	check "fork $i is what it is alone" same "$dir/alone.fork$i" "$dir/fork$i"
done
check "all forks found the prompt" wait_for 5 found ">=" "$before + 4 * 128"

# more prompts than there are blocks for: the oldest go, and nothing gets wrong
right() {
	for i in 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18; do
		prompt=$(text "$i" 500)
		alone "p$i" --temp 0 -n 8 "$prompt" && ask alpha "p$i" --temp 0 -n 8 "$prompt" && same "$dir/alone.p$i" "$dir/p$i" ||
			return 1
	done
}
check "sixteen prompts push each other out" right
check "the first turn again" ask alpha late --temp 0.8 --seed 3 -n 40 "$first"
check "is still what it is alone" same "$dir/alone.first" "$dir/late"

# logits are wanted of every position: all are computed
ids="1 $(caravan tokenize -m "$demo" --no-bos "$first")"
before=$(count)
# shellcheck disable=SC2086
require caravan logits -m "$demo" --out "$dir/logits.alone" $ids
# shellcheck disable=SC2086
check "logits of a prompt that is there" on alpha logits --out "$dir/logits" $ids
check "are those of the model alone" same "$dir/logits.alone" "$dir/logits"
check "and nothing was left out" test "$(count)" = "$before"

# another plan begins with nothing
require on alpha unload stories
require on alpha load --nodes alpha --parallel 4 "$demo"
check "after another load nothing is there" wait_for 5 found = 0
check "and the answer is the same" ask alpha new --temp 0.8 --seed 4 -n 40 "$second"
check "to the letter" same "$dir/second" "$dir/new"

# recurrent layers: prompts begin where a state was kept
require on alpha unload stories
demo=$top_srcdir/tests/data/models/qwen35.gguf
require on alpha load --nodes all --parallel 3 --name states "$demo"
first="Once upon a time there was a clever boy named Felix, who lived in a big town with his mom."
require alone states --temp 0.8 --seed 3 -n 20 "$first"
check "a first turn of a model with recurrent layers" ask alpha states --temp 0.8 --seed 3 -n 20 "$first"
check "is what it is alone" same "$dir/alone.states" "$dir/states"
check "nothing was there" wait_for 5 found = 0
for i in 1 2 3 4; do
	require alone "turn$i" --temp 0.9 --seed "$i" -n 12 "$first abc"
	check "turn $i, which begins with a kept state" ask beta "turn$i" --temp 0.9 --seed "$i" -n 12 "$first abc"
	check "is what it is alone" same "$dir/alone.turn$i" "$dir/turn$i"
	check "and its beginning was there" wait_for 5 found = "$i * 64"
done

# Layers with a window of 128 positions keep what the next step sees and what the prefix cache has space for: 24 blocks of 64 here.
require on alpha unload states
require mkmodel "$dir/windows.gguf" -e 4 -u 2 -w 64 -f gpt-oss -x q8_0 -s 32 q8_0 128 4 4 2 128 500 4096
require on alpha load --nodes all --parallel 1 "$dir/windows.gguf"
demo=$dir/windows.gguf
first="$(sed -n 1,9p "$top_srcdir/demo/heldout.txt" | head -c 1700)"
check "a text longer than the windows that there are" ask beta long --temp 0 -n 30 "$first"
check "there are 64 blocks, and 24 for windows" asked alpha --in 'models[0]' blocks = 64 window_blocks = 24
check "which are free again" wait_for 5 asked alpha --in 'models[0]' window_blocks_free = 24 blocks_free = 64
second="$first and then"
require alone turn --temp 0 -n 30 "$second"
check "its next turn" ask alpha turn --temp 0 -n 30 "$second"
check "is what it is alone" same "$dir/alone.turn" "$dir/turn"
check "its beginning was there, with its windows" wait_for 5 found ">=" 2304

finish
