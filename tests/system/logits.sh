#!/bin/sh
# logits: one arithmetic.  The same bits from one, two and three nodes, from unlike processors in one plan, from any
# number of threads, any cut of the prompt, alone and beside others.
. "$(dirname "$0")/lib.sh"

# a prompt of some length, so that chunks and KV blocks have borders in it
ids="1 $(caravan tokenize -m "$demo" --no-bos "$(head -c 1200 "$top_srcdir/demo/heldout.txt")" | cut -d' ' -f1-300)"
require test "$(echo "$ids" | wc -w)" = 301
# shellcheck disable=SC2086
alone() { caravan logits -m "$demo" --out "$dir/$1" $2 $ids; }
# shellcheck disable=SC2086
of() { on "$1" logits --out "$dir/$2" $ids; }

require alone whole "--threads 1"
check "logits of every position" sh -c 'test "$(stat -c %s "$0")" = $((301 * 512 * 4))' "$dir/whole"
for n in 2 3; do
	require alone "threads$n" "--threads $n"
	check "$n threads" same "$dir/whole" "$dir/threads$n"
done
for n in 1 7 64; do
	require alone "batch$n" "--batch $n"
	check "steps of $n rows" same "$dir/whole" "$dir/batch$n"
done
require env CARAVAN_CPU=ref caravan logits -m "$demo" --out "$dir/ref" $ids
check "the C reference" same "$dir/whole" "$dir/ref"

require node alpha
require on alpha load "$demo"
require of alpha one
check "one node" same "$dir/whole" "$dir/one"
require on alpha unload stories

# beta computes with the reference: two of three, or one of two, are another level
require node beta CARAVAN_CPU=ref
require on beta join "$(on alpha invite)"
require node gamma
require on gamma join "$(on alpha invite)"
require wait_for 10 all_up alpha 3
kernels() { on alpha status --json | json "sorted(n['kernels'] for n in j['nodes'])[-1] == 'ref'"; }
check "one of three nodes has the reference's kernels" wait_for 5 kernels

# other families, whose layers are cut between unlike nodes: what a layer does with its number counts on from the first node
listed=$(sed -n '/^static const char \*const families/,/^};/s/.*"\(.*\)",$/\1/p' "$top_srcdir/tests/unit/shard/check_vectors.c")
for family in ${listed:-none}; do
	model=$top_srcdir/tests/data/models/$family.gguf
	require caravan logits -m "$model" --out "$dir/$family" 1 5 9 60 7 12 33 60 2 3 59 44
	require on alpha load --nodes alpha,beta "$model"
	require on gamma logits -m $family --out "$dir/$family.two" 1 5 9 60 7 12 33 60 2 3 59 44
	check "$family on two unlike nodes" same "$dir/$family" "$dir/$family.two"
	require on alpha unload $family
done

# LongRoPE: a context within the original one, of 32, has the other table, and is as far as that reaches
phi3=$top_srcdir/tests/data/models/phi3.gguf
require on alpha load --nodes alpha,beta --context 32 "$phi3"
require on gamma logits -m phi3 --out "$dir/phi3.short" 1 5 9 60 7 12 33 60 2 3 59 44
check "phi3 for short texts has another table" sh -c '! cmp -s "$0" "$0.short"' "$dir/phi3"
require on alpha unload phi3
check "which its longer texts do not get" sh -c '! caravan load --control "$0/alpha/control.sock" --context 33 phi3 2>"$0/phi3.err" &&
	grep -q "a context of 33 is more than the model was loaded for: 32" "$0/phi3.err"' "$dir"

require on alpha load --nodes alpha,beta "$demo"
stages() { asked alpha 'models[0].stages[first>=0]#' = "$1"; }
check "a split over two" stages 2
require of alpha two
check "two unlike nodes" same "$dir/whole" "$dir/two"
require on alpha unload stories

require on alpha load --nodes all --parallel 12 "$demo"
check "a split over three" stages 3
require of gamma three
check "three unlike nodes" same "$dir/whole" "$dir/three"

# beside others: streams that run for as long as the logits take
pids=
for i in 1 2 3 4 5 6 7 8; do
	(while :; do on beta run --temp 1 --seed "$i" -n 200 "One day" >/dev/null 2>&1; done) &
	pids="$pids $!"
done
running() { asked alpha 'models[0].sequences' '>=' 6; }
require wait_for 10 running
for i in 1 2 3; do
	of beta "beside$i"
done
# shellcheck disable=SC2086
kill $pids 2>/dev/null
for i in 1 2 3; do
	check "beside other sequences, $i" same "$dir/whole" "$dir/beside$i"
done
mixed() { asked alpha 'models[0].step_sequences' '>' '{models[0].steps}'; }
check "steps carried rows of several sequences" wait_for 3 mixed
finish
