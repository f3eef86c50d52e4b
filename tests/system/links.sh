#!/bin/sh
# links: nodes behind links of chosen delay and rate: what they measure of them, and what the planner makes of that.
. "$(dirname "$0")/lib.sh"

# holds FILE EXPRESSION: true of what the file holds, as j
holds() { python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); r = eval(sys.argv[2]); print(r); sys.exit(not r)' "$1" "$2"; }
# both others are up and the way to them is measured; that to the first as short as it is beside that to the second
known() { on a status --json >"$dir/s" && holds "$dir/s" "(lambda n: all(n[i]['state'] == 'up' and n[i].get('link_rate', 0) > 0 and n[i].get('round_trip_seconds', 0) > 0 for i in 'bc') and n['$1']['round_trip_seconds'] < n['$2']['round_trip_seconds'] / 2)({i['name']: i for i in j['nodes']})"; }
of() { json "[n['$2'] for n in j['nodes'] if n['name'] == '$1'][0]" <"$dir/s"; }
plan() { on a plan --json --parallel 1 --context 512 --shape tinyllama-1.1b:Q4_0 "$@" >"$dir/j"; }
send() { json "[s['send_seconds'] for s in j['stages'] if s['node'] == '$1'][0]" <"$dir/j"; }
smaller() { python3 -c 'import sys; a, b = map(float, sys.argv[1:]); print(a, b); sys.exit(not a < b)' "$1" "$2"; }

chosen() { holds "$dir/j" "sorted({s['node'] for s in j['stages']}) == $1"; }

# a, where the model is asked for, has no room for all of it, and room for most
require node a -- --memory 500M
require linked b 2G --rate 2000000 --delay 0.2
require linked c 2G --rate 1000000000 --delay 100
require on b join "$(on a invite)"
require on c join "$(on a invite)"
check "links are measured" wait_for 30 known b c
check "2 Mbit/s are not more" smaller "$(of b link_rate)" 540e3
check "1 Gbit/s are more" smaller "$(of b link_rate)" "$(of c link_rate)"
check "200 ms there and back are no less" smaller 0.2 "$(of c round_trip_seconds)"
check "a plan over all" plan --nodes all
check "the far node waits for its delay" smaller 0.1 "$(send c)"
check "the near one for its bytes" smaller $(python3 -c 'print(2048 * 4 / 540e3)') "$(send b)"
slow=$(send b)
token() { plan "$@" && json "j['seconds_per_token']" <"$dir/j"; }
with_b=$(token --nodes a,b) with_c=$(token --nodes a,c)
check "a plan" plan
check "takes the near one, though little goes over its link" chosen "['a', 'b']"

# ---- who drags, and what going without brings -----------------------------------------------------------
require mkmodel "$dir/small.gguf" q8_0 256 6 4 4 704 500 512
require on a load --nodes all --parallel 1 "$dir/small.gguf"
drags() { # NODE WHO: says it, for programs and for people
	on "$1" status --json | json "[p['what'] + ' ' + p['advice'] for p in j['problems'] if p['kind'] == 'node-drags' and p['subject'] == '$2'][0]" >"$dir/drags" &&
		grep -Eq "^$2 holds the line up: without it small would run at [0-9.]+ tokens a second for one stream, instead of [0-9.]+[.] .*'caravan unload small' and then 'caravan load --nodes [ab],[ab] small'" "$dir/drags" &&
		on "$1" status | tr -s ' \n' ' ' | grep -qF "$(tr -s ' ' <"$dir/drags")"
}
check "a node behind a long way drags the line, as its coordinator says" wait_for 40 drags a c
check "and every other node" wait_for 5 drags b c
check "the cluster is healthy all the same" on b status
more() { python3 -c 'import re, sys; a, b = re.findall("run at ([0-9.]+) .*instead of ([0-9.]+)[.] ", open(sys.argv[1]).read())[0]; print(a, b); sys.exit(not float(a) > 2 * float(b))' "$dir/drags"; }
check "by how much it would be quicker" more
advised() { # what status advises is done
	sed "s/.*'caravan unload small' and then 'caravan \(load [^']*\)'.*/\1/" "$dir/drags" >"$dir/advice"
	# shellcheck disable=SC2046
	on a unload small && on a $(cat "$dir/advice")
}
check "what status advises leaves it out" advised
check "and keeps the others" asked a 'models[0].stages[last>0]#' = 2 'models[0].stages[node=c]#' = 0
require on a unload small

# the other way round
require link b --rate 2000000 --delay 100
require link c --rate 1000000000 --delay 0.2
check "links that have changed are measured again" wait_for 60 known c b
check "the plan over all" plan --nodes all
check "has them changed places" smaller "$(send c)" "$(send b)"
check "a quicker link sends sooner" smaller "$(send c)" "$slow"
ms_more() { python3 -c 'import sys; a, b, more = map(float, sys.argv[1:]); print(a, b); sys.exit(not b > a + more / 1e3)' "$@"; }
b_then=$with_b c_then=$with_c with_b=$(token --nodes a,b) with_c=$(token --nodes a,c)
check "with one a token takes so much longer" ms_more "$b_then" "$with_b" 50
check "with the other less" ms_more "$with_c" "$c_then" 50
check "a plan" plan
check "takes the other, which is near now" chosen "['a', 'c']"
for n in b c; do kill "$(cat "$dir/proxy-$n.pid")" && rm "$dir/proxy-$n.pid"; done
finish
