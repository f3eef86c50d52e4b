#!/bin/sh
# drafts: guesses from the text itself.  Every answer is what it is without, and guesses are made, right and wrong ones, and
# several steps of them are under way at once.
. "$(dirname "$0")/lib.sh"

state() { on alpha status --json | json "(lambda m: $1)(j['models'][0])"; }
soon() { wait_for 10 state "$1"; }
is() { asked alpha --in 'models[0]' "$@"; } # NAME OP VALUE...
becomes() { wait_for 10 is "$@"; }
count() {
	on alpha status --json | json "str(j['models'][0]['$1'])"
}

require node alpha
require linked beta 2G --delay 4
require linked gamma 2G --delay 4
for n in beta gamma; do
	require on "$n" join "$(on alpha invite)"
done
require wait_for 15 all_up alpha 3
require on alpha load --nodes all --parallel 4 --context 512 "$demo"

# a text that quotes itself: a beginning, what the model makes of it, and the beginning again
begin=$(head -n 3 "$top_srcdir/demo/heldout.txt" | tail -n 1 | head -c 70)
caravan run -m "$demo" --no-drafts --temp 0 -n 45 "$begin" >"$dir/made"
quote="$begin$(cat "$dir/made") $begin"

# ---- one stream -----------------------------------------------------------------------------------------
require on alpha run --no-drafts --temp 0 -n 60 "$quote"
check "without guesses one step of an answer is under way" becomes in_flight_max = 1 drafted = 0
n=0
while read -r options; do
	n=$((n + 1))
	# shellcheck disable=SC2086
	require caravan run -m "$demo" --no-drafts $options "$quote"
	cp "$dir/out" "$dir/alone.$n"
	# shellcheck disable=SC2086
	for node in alpha beta; do
		on $node run $options "$quote" >"$dir/guessed.$n"
		check "an answer with guesses is what it is without, on $node: $options" same "$dir/alone.$n" "$dir/guessed.$n"
	done
done <<END
--temp 0 -n 120
--temp 0.7 --seed 1 -n 120
--temp 1.1 --seed 2 -n 120 --top-k 0 --top-p 1
--temp 0.8 --seed 3 -n 120 --repeat-penalty 1.3 --presence-penalty 0.2 --frequency-penalty 0.1
--temp 0 -n 120 --repeat-penalty 1.05
--temp 0 -n 7
--temp 0 -n 1
--temp 0 --stop she
END
check "guesses were made, right ones" becomes accepted '>' 20
check "and wrong ones" soon "m['drafted'] > m['accepted'] + 20"
check "several steps of one answer were under way" becomes in_flight_max '>=' 3
check "status tells people" sh -c 'caravan status --control "$0/alpha/control.sock" | grep -q "drafted: [0-9]* tokens, of which [0-9]* were accepted"' "$dir"
drafted=$(count drafted)
require on beta run --no-drafts --temp 0 -n 60 "$quote"
check "who wants none has none" test "$(count drafted)" = "$drafted"

# ---- several ----------------------------------------------------------------------------------------------
six_alone single -n 80 "$quote"
six_at_once single "" -n 80 "$quote"

# ---- cancelled in the middle ----------------------------------------------------------------------------------
for i in 1 2 3 4; do
	caravan run --control "$dir/beta/control.sock" --temp 0 -n 200 "$quote" >/dev/null 2>&1 &
	client=$!
	sleep "0.$((i * 2))"
	kill "$client" 2>/dev/null
	wait "$client" 2>/dev/null
done
check "every block is free, and nothing is under way" becomes blocks_free = '{blocks}' in_flight = 0 sequences = 0
on gamma run --temp 0 -n 120 "$quote" >"$dir/after"
check "and the next answer is what it was" same "$dir/after" "$dir/guessed.1"
finish
