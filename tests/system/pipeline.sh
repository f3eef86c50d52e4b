#!/bin/sh
# pipeline: many streams and long prompts over three stages.  Every answer is what it is alone, and what is meant to
# happen on the way does: steps under way in every stage, several sequences in one step, a place for who waits, nothing
# computed for who has gone, a slow stage that slows the others and fills nobody's memory.
. "$(dirname "$0")/lib.sh"

text() { sed -n "$1p" "$top_srcdir/demo/heldout.txt" | head -c "${2:-400}"; }
state() { on alpha status --json | json "(lambda m: $1)(j['models'][0])"; }
is() { asked alpha --in 'models[0]' "$@"; } # NAME OP VALUE...
becomes() { wait_for 10 is "$@"; }
# at NODE ARG...: a prompt in the background that can be killed
at() {
	node=$1
	shift
	exec caravan run --control "$dir/$node/control.sock" "$@"
}

require cluster alpha beta gamma
require on alpha load --nodes all --parallel 8 "$demo"
check "three stages" state "len(m['stages']) == 3"

# ---- eight streams ------------------------------------------------------------------------------------------
for i in 1 2 3 4 5 6 7 8; do
	require caravan run -m "$demo" --temp 0.8 --seed "$i" -n 60 "$(text "$i" $((i * 60)))"
	cp "$dir/out" "$dir/alone.$i"
done
streams() { # on the first node and on the others
	pids=
	for i in 1 2 3 4 5 6 7 8; do
		case $((i % 3)) in 0) n=alpha ;; 1) n=beta ;; *) n=gamma ;; esac
		(on $n run --temp 0.8 --seed "$i" -n 60 "$(text "$i" $((i * 60)))" >"$dir/stream.$i") &
		pids="$pids $!"
	done
	# shellcheck disable=SC2086
	for p in $pids; do wait "$p" || return 1; done
}
check "eight streams at once" streams
for i in 1 2 3 4 5 6 7 8; do check "stream $i is what it is alone" same "$dir/alone.$i" "$dir/stream.$i"; done
check "steps were under way in all stages" becomes in_flight_max '>=' 3
check "and had rows of several sequences" becomes step_sequences '>' '{steps}'
check "every block is free again" becomes blocks_free = '{blocks}' in_flight = 0

# ---- where the time went ------------------------------------------------------------------------------------
accounted() { # every stage computed; what passed a hop was on a wire; a step's parts are no more than there was time
	state "all(s['times']['computed_seconds'] > 0 and s['times']['wire_seconds'] > 0 for s in m['stages']) and m['ends_times']['computed_seconds'] > 0"
}
check "status says where the time of a step went" accounted
on alpha status >"$dir/table"
check "so does the table" grep -q "on the wire" "$dir/table"
an_answer() {
	on beta run --json --temp 0 -n 20 "Once upon a time" >"$dir/answer" || return 1
	json "0 < j['computed_seconds'] and 0 < j['wire_seconds'] and j['computed_seconds'] + j['wire_seconds'] + j['waited_seconds'] <= 1.01 * (j['prompt_seconds'] + j['generate_seconds']) + 0.1" <"$dir/answer"
}
check "and an answer where its own went" an_answer

# ---- a long prompt beside answers ---------------------------------------------------------------------------
require on alpha unload stories
require mkmodel "$dir/slow.gguf" q4_0 512 3 8 8 1536 512 8192
require on alpha load --nodes all --parallel 2 --name slow "$dir/slow.gguf"
for c in s t u v w x y z; do python3 -c "print('$c' + 'abcdefghij' * 780, end='')" >"$dir/long.$c"; done
check "two may run" is parallel = 2

computed() { on alpha status --json | json "str([s.get('rows', 0) for s in j['models'][0]['stages']])"; }
gone() { # a client of a long prompt goes when it is under way
	at beta --temp 0 -n 5 <"$dir/long.$1" >/dev/null 2>&1 &
	client=$!
	becomes sequences = 1 in_flight '>=' 3 || return 1
	kill -9 $client
	wait $client 2>/dev/null
	becomes sequences = 0 in_flight = 0
}
skipped() { state "sum(s['skipped_steps'] for s in m['stages']) > 0"; }
# steps that were on their way are skipped if they were behind others: on a busy machine not of each client that goes
for c in s t u v w x; do
	check "a client of a long prompt goes: $c" gone $c
	check "its blocks are free" becomes blocks_free = '{blocks}'
	wait_for 2 skipped >/dev/null && break
done
check "and steps of it were not computed any more" skipped
computed >"$dir/rows"
sleep 1.5
computed >"$dir/rows.later"
check "nobody computes for it any longer" same "$dir/rows" "$dir/rows.later"

for c in y z; do
	require caravan run -m "$dir/slow.gguf" --temp 0 -n 12 <"$dir/long.$c"
	cp "$dir/out" "$dir/alone.$c"
done
require on beta run --temp 0 -n 12 <"$dir/long.y"
cp "$dir/out" "$dir/chunks"
check "a prompt in chunks over three stages is what it is alone" same "$dir/alone.y" "$dir/chunks"

# ---- places -------------------------------------------------------------------------------------------------
# what a command on a terminal shows while it waits
waiting() {
	pids=
	for i in 1 2; do
		at alpha --temp 0.9 --seed "$i" -n 4000 "abc$i" >/dev/null 2>&1 &
		pids="$pids $!"
	done
	becomes sequences = 2 || return 1
	python3 - "$dir/alpha/control.sock" <<'PY'
import os, pty, sys
pid, fd = pty.fork()
if pid == 0:
    os.execvp("caravan", ["caravan", "run", "--control", sys.argv[1], "--temp", "0", "-n", "1", "a"])
seen = b""
try:
    while b"waiting: place 1" not in seen:
        seen += os.read(fd, 1000)
except OSError:
    sys.exit("it never said which place: " + repr(seen))
os.kill(pid, 9)
os.waitpid(pid, 0)
PY
	told=$?
	becomes queued = 0 || told=1
	# shellcheck disable=SC2086
	kill $pids && wait $pids
	return $told
}
check "who waits is told its place" waiting

# ---- a slow stage -------------------------------------------------------------------------------------------
rss() { awk '/RssAnon/ {print $2}' "/proc/$(pid_of "$1")/status"; }
slow_stage() { # gamma stands still while a long prompt is under way: nothing piles up at anybody
	at alpha --temp 0 -n 12 <"$dir/long.z" >"$dir/slow.out" 2>&1 &
	client=$!
	becomes in_flight '>=' 3 || return 1
	kill -STOP "$(pid_of gamma)"
	sleep 0.6
	a=$(rss alpha) b=$(rss beta)
	sleep 0.5
	a2=$(rss alpha) b2=$(rss beta)
	kill -CONT "$(pid_of gamma)"
	wait $client || return 1
	echo "alpha $a then $a2, beta $b then $b2"
	test $((a2 - a)) -lt 4096 && test $((b2 - b)) -lt 4096
}
check "a stage that stands still lets nobody's memory grow" slow_stage
check "and the answer is what it is alone" same "$dir/slow.out" "$dir/alone.z"
finish
