#!/bin/sh
# cluster: what must work: three nodes join, load a model over all of them, and say the same on every one.
. "$(dirname "$0")/lib.sh"

story="Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a big, red ball. She wanted to play with it, but it was too high."

require cluster alpha beta gamma
check "every node knows every other" sh -c '
	for n in alpha beta gamma; do
		caravan status --control "$0/$n/control.sock" --json | python3 -c "import json, sys
assert sorted(n[\"name\"] for n in json.load(sys.stdin)[\"nodes\"]) == [\"alpha\", \"beta\", \"gamma\"]" || exit 1
	done' "$dir"
check "the key of a node is its own to read" sh -c 'test "$(stat -c %a "$0/alpha/key")" = 600 && test "$(stat -c %a "$0/alpha/control.sock")" = 600' "$dir"

# ---- a model over all nodes ------------------------------------------------------------------------------
check "load returns when the model serves" on alpha load --nodes all "$demo"
split() { # the stages are on three nodes and cover all layers without a gap
	on "$1" status --json | json "(lambda s: len({x['node'] for x in s}) == 3 and s[0]['first'] == 0 and
		all(a['last'] == b['first'] for a, b in zip(s, s[1:])))(j['models'][0]['stages'])"
}
for n in alpha beta gamma; do
	check "$n knows the plan as soon as load returns" serves "$n" stories
	check "$n shows layers on all three" split "$n"
	check "$n has the figures of the model, too" asked "$n" 'models[0].streams_total' = 0
done
check "status has what scripts rely on" sh -c 'caravan status --control "$0/beta/control.sock" --json | python3 -c "
import json, sys
j = json.load(sys.stdin)
assert j[\"version\"] == 1 and j[\"healthy\"] is True
assert all({\"name\", \"id\", \"state\", \"memory_used\", \"memory_allowed\"} <= set(n) for n in j[\"nodes\"])
assert all({\"name\", \"state\", \"coordinator\", \"stages\"} <= set(m) for m in j[\"models\"])
assert all(n[\"memory_used\"] > 0 for n in j[\"nodes\"]), [n[\"memory_used\"] for n in j[\"nodes\"]]
"' "$dir"
check "status says it to people" sh -c 'caravan status --control "$0/gamma/control.sock" | grep -q "Model stories: serving, coordinated by alpha"' "$dir"
check "models lists it" sh -c 'caravan models --control "$0/beta/control.sock" | grep -q "^stories  *serving"' "$dir"

caravan run -m "$demo" --temp 0 -n 120 "" >"$dir/alone" 2>"$dir/alone.err"
check "a private daemon tells a story, and nothing else" sh -c 'test -s "$0/alone" && ! test -s "$0/alone.err" && grep -q "^Once upon a time" "$0/alone"' "$dir"
for n in alpha beta gamma; do
	on "$n" run --temp 0 -n 120 "" >"$dir/$n.text"
	check "$n tells the same story to the byte" same "$dir/alone" "$dir/$n.text"
done
on beta run --temp 0.9 --seed 11 -n 100 "One day, " >"$dir/b11"
caravan run -m "$demo" --temp 0.9 --seed 11 -n 100 "One day, " >"$dir/a11"
check "the same seed says the same alone and in the cluster" same "$dir/a11" "$dir/b11"
on gamma run --temp 0.9 --seed 12 -n 100 "One day, " >"$dir/b12"
check "another seed says something else" sh -c '! cmp -s "$0/b11" "$0/b12"' "$dir"
printf 'One day, ' | on alpha run --temp 0.9 --seed 11 -n 100 >"$dir/piped"
check "a prompt from standard input is the same prompt" same "$dir/b11" "$dir/piped"

# ---- several at a time -----------------------------------------------------------------------------------
# more streams than steps in flight, so that steps must carry several
require on alpha unload stories
require on alpha load --nodes all --parallel 12 "$demo"
pids=
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
	on beta run --temp 0 -n 120 "" >"$dir/beside$i" &
	pids="$pids $!"
done
# shellcheck disable=SC2086
wait $pids
check "twelve at a time say what one says" sh -c 'for f in "$0"/beside*; do cmp -s "$0/alone" "$f" || exit 1; done' "$dir"
shared_step() { asked alpha 'models[0].step_sequences_max' '>=' 2; }
check "steps carried rows of several of them" wait_for 3 shared_step

# ---- measured --------------------------------------------------------------------------------------------
began=$(date -u +%FT%TZ)
printf "%65536s" "a long file" >"$dir/bench.svg"
on gamma bench --json --prompt 40,200 --streams 5 --generate 24 --runs 2 --svg "$dir/bench.svg" >"$dir/bench"
bench_has() { json "$1" <"$dir/bench"; }
check "bench has a result for each length of prompts" bench_has "[(r['prompt'], r['streams']) for r in j['results']] == [(40, 5), (200, 5)]"
check "its prompts are as long as asked for, or a little shorter" bench_has "all(.9 * r['prompt'] <= r['prompt_tokens'] / r['streams'] <= r['prompt'] for r in j['results'])"
check "its answers have as many tokens as were asked for" bench_has "all(r['generated_tokens'] == r['streams'] * 24 for r in j['results'])"
check "medians lie within their ranges" bench_has "all(0 <= r[f]['low'] <= r[f]['median'] <= r[f]['high'] > 0 for r in j['results']
	for f in ('first_token_seconds', 'prompt_tokens_per_second', 'stream_tokens_per_second', 'tokens_per_second'))"
check "answers are made to prompts that were computed before" bench_has "all(r['cached_tokens'] >= r['prompt_tokens'] / 2 for r in j['results'] if r['prompt'] == 200)"
check "the time of steps is told for each stage, of prompts and of answers" bench_has "all([s.get('node', 'ends') for s in r['stages']] == ['ends'] + [s['node'] for s in stages] and
	all(s[p]['computed_seconds'] > 0 for s in r['stages'] for p in ('prefill', 'decode')) for stages in [$(on alpha status --json | json "j['models'][0]['stages']")] for r in j['results'])"
check "it says which nodes, and when" bench_has "j['nodes'] == ['alpha', 'beta', 'gamma'] and '$began' <= j['date'] <= '$(date -u +%FT%TZ)'"
drawn() { # TEXT: the picture is one, with a dot for each of four rates, the nodes, and that text
	python3 -c 'import sys, xml.dom.minidom as x
d = x.parse(sys.argv[1])
t = [e.firstChild.data for e in d.getElementsByTagName("text")]
sys.exit(not (d.documentElement.tagName == "svg" and len(d.getElementsByTagName("circle")) == 4 and {"3 nodes: alpha, beta, gamma", "beta", sys.argv[2]} <= set(t)))' "$dir/bench.svg" "$1"
}
check "its picture has a dot for each rate, and the nodes, and nothing of what was there" drawn "prompts of 40 tokens"
on beta bench --prompt 8 --generate 4 --streams 2,20 --runs 1 --svg "$dir/bench.svg" >"$dir/bench.table"
check "another picture takes the place of it" drawn "Decode, prompts of 8 tokens, 20 streams"
check "it prints a table of 80 columns" sh -c 'test "$(wc -L <"$0")" -le 80 && grep -Eq "^  8 +2 +[0-9.]+ (µ|m)?s +[0-9]" "$0" && grep -Eq "^  8 +20 +[0-9.]+ (µ|m)?s +[0-9]" "$0" && test "$(grep -c "embedding, output .*%" "$0")" = 4' "$dir/bench.table"
refused() { # PATTERN COMMAND...
	pattern=$1
	shift
	says 1 "$pattern" "$@"
}
steps() { on alpha status --json | json "sum(m['steps'] for m in j['models'])"; }
before=$(steps)
check "a picture that cannot be written is refused" refused "cannot write $dir/nowhere/a.svg: No such file or directory" on beta bench --prompt 8 --svg "$dir/nowhere/a.svg"
sleep 1.2
check "before anything is measured" test "$(steps)" = "$before"
check "what does not fit the context is refused" refused "512 tokens of a prompt and 64 of an answer do not fit the context of stories, 512 tokens" on beta bench --prompt 512 --generate 64
check "a file is not measured before it is loaded" refused "load the file first" on beta bench -m "$demo"
check "so is a model that there is not" refused "there is no model ghost" on beta bench -m ghost

# ---- loading again ---------------------------------------------------------------------------------------
check "a name that is taken by another model is refused" sh -c '! caravan load --control "$0/beta/control.sock" --name stories "$1" 2>"$0/taken" && grep -q stories "$0/taken"' "$dir" "$top_srcdir/tests/data/models/Q4_0.gguf"
used() { on alpha status --json | json "sum(n['memory_used'] for n in j['nodes'])"; }
before=$(used)
slices() { on alpha status --json | json "[(s['node'], s['first'], s['last']) for s in j['models'][0]['stages']]"; }
slices >"$dir/slices"
check "unload from another node" on gamma unload stories
check "without a model bench says what to do" refused "no model is loaded: load one with caravan load FILE" on beta bench
gone() { on alpha status --json | json "j['models'] == [] and sum(n['memory_used'] for n in j['nodes']) < $before / 2"; }
check "its memory is free again" wait_for 3 gone
check "load again, by another name" on alpha load --nodes all --name again "$demo"
slices >"$dir/slices2"
check "the second load moved no bytes" sh -c 'test "$(cat "$0"/*.log | grep -c "model again: .* 0 B of them moved")" = 3' "$dir"
check "since every layer is where it was" same "$dir/slices" "$dir/slices2"
on beta run --temp 0 -n 120 "" >"$dir/again"
check "and says the same" same "$dir/alone" "$dir/again"
require on alpha unload again

# ---- nodes by name, one, two ------------------------------------------------------------------------------
check "load on two named nodes" on alpha load --nodes beta,gamma "$demo"
two() { on alpha status --json | json "[s['node'] for s in j['models'][0]['stages']] in (['beta', 'gamma'], ['gamma', 'beta'])"; }
check "only they have layers" two
on alpha run --temp 0 -n 120 "" >"$dir/two"
check "two nodes say the same" same "$dir/alone" "$dir/two"
require on beta unload stories
check "without --nodes the planner chooses" on beta load "$demo"
on gamma run --temp 0 -n 120 "" >"$dir/chosen"
check "what it chose says the same" same "$dir/alone" "$dir/chosen"
check "an unknown node is refused by name" sh -c '! caravan load --control "$0/alpha/control.sock" --name other --nodes delta "$1" 2>"$0/e" && grep -q delta "$0/e"' "$dir" "$demo"

# ---- a restart -------------------------------------------------------------------------------------------
require on beta unload stories
check "SIGTERM ends a node cleanly" stop gamma
require node gamma
check "it is itself again, with its roster" wait_for 5 all_up gamma 3

if [ -d "$shared/models" ]; then
	require on alpha load --nodes all "$shared/models/stories260K.gguf"
	on gamma run --temp 0 -n 180 "" >"$dir/published"
	check "the published story, to the letter" sh -c 'case $(cat "$0/published") in "$1"*) ;; *) exit 1 ;; esac' "$dir" "$story"
else
	skip "the published story, to the letter" "../shared is not here"
fi
finish
