#!/bin/sh
# converge: connections are cut in one direction alone, nodes go for good: what nodes say of a model becomes true again, and
# what is said to serve serves, without anybody's help.
. "$(dirname "$0")/lib.sh"

require linked alpha 2G --delay 0
require node beta
require node gamma
for n in beta gamma; do require on $n join "$(on alpha invite)"; done
require mkmodel "$dir/slow.gguf" q8_0 1024 6 16 8 2816 2000 4096
require on alpha load --nodes all --parallel 2 "$dir/slow.gguf"
text() { on "$1" run --temp 0 -n 12 "" >"$dir/text.$1" 2>"$dir/text.$1.err" && cmp -s "$dir/text" "$dir/text.$1"; }
require sh -c 'caravan run --control "$0/alpha/control.sock" --temp 0 -n 12 "" >"$0/text"' "$dir"

# all of the others' connections to alpha are closed, as a router does that is restarted; alpha's own to them stay
cut() { link alpha --delay 0; }

# ---- nothing was under way -------------------------------------------------------------------------------
check "alpha's connections are cut" cut
check "beta serves again" wait_for 15 serves beta slow
check "and generates the same" wait_for 15 text beta
check "gamma too" wait_for 15 text gamma
check "alpha never saw anybody down" sh -c '! grep -q "node .* was lost" "$0/alpha.log"' "$dir"

# ---- a stream was under way: it is lost, the next one is not --------------------------------------------
caravan run --control "$dir/alpha/control.sock" --temp 0 "" >"$dir/stream" 2>"$dir/stream.err" &
client=$!
check "a stream runs" wait_for 15 test -s "$dir/stream"
check "alpha's connections are cut meanwhile" cut
over() { ! kill -0 "$client" 2>/dev/null; }
check "it does not hang" wait_for 30 over
for n in alpha beta gamma; do check "$n generates the same" wait_for 30 text $n; done

# ---- a node goes for good, and its layers are on a second disk -------------------------------------------
copied() { asked alpha 'models[0].copies.complete' = true; }
require wait_for 60 copied
# in a pipe nothing is buffered that has happened
caravan events --follow --json -n 1 --control "$dir/beta/control.sock" >"$dir/followed" 2>"$dir/followed.err" &
follower=$!
require wait_for 5 test -s "$dir/followed"
stop gamma KILL
without() { # NODE: it says that the model serves, and not on gamma
	on "$1" status --json | json "[m['state'] for m in j['models']] == ['serving'] and 'gamma' not in [s['node'] for s in j['models'][0]['stages']]"
}
check "alpha and beta make a plan without it" wait_for 40 without alpha
check "beta knows" wait_for 10 without beta
check "and they generate the same" wait_for 15 text beta

# ---- what happened, for people and for programs ----
# happened FILE EXPRESSION: of a file of JSON lines, in e; the parts of a recovery are in r
happened() { python3 -c "import json, sys
e = [json.loads(line) for line in open(sys.argv[1])]
kinds = [x['kind'] for x in e]
def of(kind): return [x for x in e if x['kind'] == kind]
r = (of('model-recovered') or [None])[-1]
result = $2
print(result, kinds)
sys.exit(0 if result else 1)" "$1"; }
# the events since the loss, from the last node-lost on
recovery="[k for k in kinds[len(kinds) - 1 - kinds[::-1].index('node-lost'):] if k in ('node-lost', 'model-unavailable', 'recovery-started', 'plan-changed', 'model-recovered')] == \
	['node-lost', 'model-unavailable', 'recovery-started', 'plan-changed', 'model-recovered']"
for n in alpha beta; do
	on "$n" events --json -n 0 >"$dir/$n.events" 2>"$dir/$n.events.err"
	check "$n has the events of the recovery in order" happened "$dir/$n.events" "$recovery"
	check "$n: the loss is one event, which both saw" happened "$dir/$n.events" \
		"[sorted(x['seen_by']) for x in of('node-lost') if x['about'] == 'gamma'][-1:] == [['alpha', 'beta']]"
done
check "a recovery says what each part took" happened "$dir/beta.events" \
	"list(r['parts'])[:2] == ['noticed', 'waited'] and {'planned', 'weights', 'announced'} < set(r['parts']) and r['model'] == 'slow'"
check "they add up to no more than the whole" happened "$dir/beta.events" "0 < sum(r['parts'].values()) <= r['seconds'] * 1.000001 and r['parts']['waited'] > 1"
check "the nodes that were there had the weights already, or fetched them" happened "$dir/beta.events" "r['moved_bytes'] >= 0 and r['node'] == 'alpha'"
check "the load says what its parts took, too" happened "$dir/beta.events" \
	"[list(x['parts']) for x in of('model-serving')] == [['read', 'hashed', 'links', 'planned', 'weights', 'announced']] and of('model-serving')[0]['moved_bytes'] > 1000000"
check "who has no say is named" happened "$dir/beta.events" "kinds[0] == 'events-missing' and [m['node'] for m in e[0]['missing']] == ['gamma']"
check "copies and joins are there" happened "$dir/beta.events" "sorted(x['about'] for x in of('node-joined')) == ['beta', 'gamma'] and of('copies-complete')"
told() {
	on beta events >"$dir/told" 2>"$dir/told.err"
	grep -q "^caravan: .*gamma (it is down)" "$dir/told.err" && test "$(wc -l <"$dir/told.err")" = 1 &&
		grep -q "^[0-9:]\{8\}  [a-z]*  *node gamma was lost: .*(seen by [a-z]* and [a-z]*)$" "$dir/told" &&
		grep -q "^[0-9:]\{8\}  alpha   model slow serves again on .* in all: noticed after .*, waited .*, weights .*, announcing " "$dir/told" &&
		! grep -q "$(printf '\033')" "$dir/told"
}
check "people read it in lines" told
check "one model's, one node's, the last, none before" sh -c '
	c="caravan events --control $0/beta/control.sock"
	test "$($c -n 2 2>&- | grep -c "^[0-9]")" = 2 && ! $c --model slow 2>&- | grep -q "gamma was lost" && $c --model slow 2>&- | grep -q "serves again" &&
		$c --node nobody 2>&1 | grep -q "^caravan: no event is known of node nobody$" && $c --node gamma 2>&- | grep -q "gamma was lost" && ! $c --node gamma 2>&- | grep -q "is being loaded" && test -z "$($c --since 0s --json 2>&- | grep -v missing)"' "$dir"

fewer() { # NODE WHY: that it runs on fewer nodes than it was loaded over, for programs and for people
	on "$1" status --json | json "[p['what'] + ' ' + p['advice'] for p in j['problems'] if p['kind'] == 'fewer-nodes' and p['subject'] == 'slow' and
		sorted(j['models'][0]['loaded_over']) == ['alpha', 'beta', 'gamma']][0]" >"$dir/fewer" &&
		grep -q "^slow was loaded over 3 nodes and now runs on [12]$2. .*'caravan unload slow' and then 'caravan load --nodes [a-z,]* slow'" "$dir/fewer" &&
		on "$1" status | tr -s ' \n' ' ' | grep -qF "$(tr -s ' ' <"$dir/fewer")"
}
check "status says that it runs on fewer, and since whom" wait_for 10 fewer beta ": gamma is down"
require node gamma
check "it comes back and knows the plan" wait_for 20 without gamma
check "which has not changed with its coming, as status says" wait_for 10 fewer alpha ", although the others are up again"
check "from which it generates the same" wait_for 15 text gamma
followed() { happened "$dir/followed" "$recovery and 'node-back' in kinds and [x['node'] for x in of('node-started')][-1:] == ['gamma'] and len(of('node-lost')) == 1"; }
check "who followed has seen it all as it came, and gamma coming back" wait_for 10 followed
kill -INT "$follower"
wait "$follower"
check "Ctrl-C ends it well" test "$? $(cat "$dir/followed.err")" = "0 "
since() { # gamma was away, and has its own events from before, and the others'
	on gamma events --json -n 0 >"$dir/gamma.events" && happened "$dir/gamma.events" \
		"$recovery and 'events-missing' not in kinds and [x['node'] for x in of('node-started')].count('gamma') == 2 and [x['about'] for x in of('node-back')][-1:] == ['gamma']"
}
check "gamma knows what happened while it was away, and before" wait_for 10 since
again() { # what status advises
	sed "s/.*'caravan unload slow' and then 'caravan \(load [^']*\)'.*/\1/" "$dir/fewer" >"$dir/advice"
	# shellcheck disable=SC2046
	on alpha unload slow && on alpha $(cat "$dir/advice")
}
check "what status advises spreads it again" again
check "and is said no more" asked alpha 'problems[kind=fewer-nodes]#' = 0
check "over all three" asked alpha 'models[0].stages[last>0]#' = 3

# ---- the coordinator sleeps for long: the others go on without it, and it gives way when it wakes ----------
require wait_for 60 copied
kill -STOP "$(pid_of alpha)"
another() { on "$1" status --json | json "[m['coordinator'] != 'alpha' for m in j['models'] if m['state'] == 'serving'] == [True]"; }
check "the others go on without their coordinator" wait_for 60 another beta
check "and generate the same" wait_for 15 text gamma
kill -CONT "$(pid_of alpha)"
check "it gives way when it wakes" wait_for 40 another alpha
for n in alpha beta gamma; do check "$n generates the same" wait_for 30 text $n; done
copied() { asked beta 'models[0].copies.complete' = true || asked gamma 'models[0].copies.complete' = true; }

# ---- then all others: what they had is on the disk of the one that is left ----------------------------------
require wait_for 60 copied
stop beta KILL
stop gamma KILL
alone() { on alpha status --json | json "[[s['node'] for s in m['stages']] for m in j['models'] if m['state'] == 'serving'] == [['alpha']]"; }
check "alpha alone goes on: it has all of it" wait_for 60 alone
check "and knows over how many it was loaded, plans ago" fewer alpha ": beta is down, gamma is down"
check "and generates the same" wait_for 15 text alpha
finish
