#!/bin/sh
# queue: more prompts than may run.  They wait in turn, whoever comes new to it before who has much of it already; one too many is
# refused with a time to come back; and when their clients have gone the queue is empty.
. "$(dirname "$0")/lib.sh"

WAITING=171 # of two nodes that ask in turn, of SCHEDULER_QUEUE_MAX (scheduler.h): the rest is for others
is() { asked alpha --in 'models[0]' "$@"; } # NAME OP VALUE...
becomes() { wait_for 20 is "$@"; }
# ask NODE NAME ARG...: in the background; $dir/done.NAME appears in its end
ask() {
	node=$1 name=$2
	shift 2
	(
		caravan run --control "$dir/$node/control.sock" "$@" >"$dir/text.$name" 2>"$dir/err.$name" </dev/null
		date +%s%N >"$dir/done.$name"
	) &
}

require cluster alpha beta
require mkmodel "$dir/slow.gguf" q4_0 1024 8 16 16 2816 512 8192
require on alpha load --nodes alpha --parallel 2 --name slow "$dir/slow.gguf"

# ---- in turn ------------------------------------------------------------------------------------------------------
for i in 1 2 3 4 5 6; do
	require caravan run -m "$dir/slow.gguf" --temp 0.9 --seed "$i" -n 400 "abc"
	cp "$dir/out" "$dir/alone.$i"
done
for i in 1 2 3 4 5; do ask alpha "$i" --temp 0.9 --seed "$i" -n 400 "abc"; done
require becomes sequences = 2 queued '>=' 2
ask beta 6 --temp 0.9 --seed 6 -n 400 "abc"
wait_all() { for i in 1 2 3 4 5 6; do test -s "$dir/done.$i" || return 1; done; }
check "six prompts are answered, two at a time" wait_for 120 wait_all
for i in 1 2 3 4 5 6; do check "prompt $i got what it gets alone" same "$dir/alone.$i" "$dir/text.$i"; done
before() { # how many were answered before the other node's
	n=0
	for i in 1 2 3 4 5; do [ "$(cat "$dir/done.$i")" -gt "$(cat "$dir/done.6")" ] || n=$((n + 1)); done
	echo "$n were"
	[ "$n" -le 4 ]
}
check "the one of another node, which came last, did not wait for all of the first node's" before

# ---- one too many ---------------------------------------------------------------------------------------------------
clients=
for i in 1 2; do
	ask alpha "run$i" --temp 0.9 --seed "$i" -n 8000 "abc"
	clients="$clients $!"
done
require becomes sequences = 2
i=0
while [ $i -lt 200 ]; do
	i=$((i + 1))
	ask $([ $((i % 2)) = 0 ] && echo alpha || echo beta) "wait$i" --temp 0 -n 1 "abc"
done
check "as many wait as may" wait_for 60 is sequences = 2 queued = "$WAITING"
on beta run --temp 0 -n 1 "abc" 2>"$dir/err.busy" >"$dir/out.busy"
check "one more is refused, with what there is" grep -q "slow is busy: 2 prompts run and $WAITING wait; try again in [0-9]* s" "$dir/err.busy"
check "and has had no text" test ! -s "$dir/out.busy"
check "nobody else is worse off" is sequences = 2 queued = "$WAITING"
pkill -KILL -f "caravan run --control $dir" || :
check "when all have gone nothing runs or waits" wait_for 60 is sequences = 0 queued = 0 in_flight = 0
check "and every block is free" is blocks_free = '{blocks}'
on beta run --temp 0.9 --seed 1 -n 400 "abc" >"$dir/after"
check "and who comes then is served" same "$dir/alone.1" "$dir/after"
finish
