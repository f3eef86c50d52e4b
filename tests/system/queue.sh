#!/bin/sh
# queue: more prompts than may run.  They wait in turn, whoever comes new to it before who has much of it already; one too many is
# refused with a time to come back; and when their clients have gone the queue is empty.
. "$(dirname "$0")/lib.sh"

# of two nodes, of SCHEDULER_QUEUE_MAX (scheduler.h): the rest is for others.  The least when they ask in turn, the most when one
# comes only after the other
LEAST=171 MOST=192
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
# what is known of them on the other node, and nothing of their text
listed() {
	on beta status --json | json "(lambda s: len(s) == j['models'][0]['streams_total'] >= 4 and
	sum(x['state'] == 'queued' for x in s) >= 2 and sorted(x['place'] for x in s if x['state'] == 'queued') == list(range(1, len(s) - 1)) and
	all(x['gateway'] == 'alpha' and x['limit'] == 400 and 0 <= x['prompt_done'] <= x['prompt_tokens'] and x['age_seconds'] >= 0 and
	'abc' not in str(x) and (x['blocks'] > 0) == (x['state'] != 'queued') for x in s))(j['models'][0]['streams'])"
}
check "the other node lists who runs and who waits" wait_for 10 listed
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
check "no stream is left" wait_for 10 asked beta 'models[0].streams_total' = 0
check "what clients waited for is told" sh -c 'caravan status --json --control "$0/beta/control.sock" | python3 -c "
import json, sys
m = json.load(sys.stdin)[\"models\"][0]
for w in m[\"last_minute\"], m[\"last_hour\"]:
    first, inter = w.get(\"first_token\"), w.get(\"inter_token\")
    assert 0 < w[\"covered_seconds\"]
    assert w is m[\"last_minute\"] or first[\"count\"] == 6 and inter[\"count\"] == m[\"tokens\"] - 6
    for p in first, inter:
        assert p is None or 0 < p[\"p50_seconds\"] <= p[\"p90_seconds\"] <= p[\"p99_seconds\"]
assert m[\"last_hour\"][\"tokens_per_second\"] > 0 and m[\"last_hour\"][\"prompt_tokens_per_second\"] > 0
# who waited has waited for answers of 400 tokens
assert m[\"last_hour\"][\"first_token\"][\"p99_seconds\"] > 100 * m[\"last_hour\"][\"inter_token\"][\"p50_seconds\"]
"' "$dir"
check "and to people, in this order" sh -c 'caravan status --control "$0/beta/control.sock" >"$0/text"; cat "$0/text"
	grep -Eq "^    [0-9.]+ tokens/s now, [0-9.]+ the last " "$0/text" &&
	tr "\n" " " <"$0/text" | tr -s " " | grep -Eq "first token after [0-9.]+ m?s \(p50\), [0-9.]+ m?s \(p99\); between tokens [0-9.]+ m?s \(p50\), [0-9.]+ m?s \(p99\), the last " &&
	test "$(grep -Eo "^(The cluster|Model|  node  .*state|  node  .*version|Stages)" "$0/text" | tr -s " " | tr "\n" ,)" = "The cluster,Model, node state, node version,Stages,"' "$dir"

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
as_many() { # all who asked wait or were refused
	on alpha status --json | json "j['models'][0]['queued']" >"$dir/waiting" || return 1
	WAITING=$(cat "$dir/waiting")
	is sequences = 2 && [ "$WAITING" -ge $LEAST ] && [ "$WAITING" -le $MOST ] &&
		[ "$(find "$dir" -name 'done.wait*' -size +0 | wc -l)" = $((200 - WAITING)) ]
}
check "as many wait as may" wait_for 60 as_many
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
