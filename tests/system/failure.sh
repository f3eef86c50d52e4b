#!/bin/sh
# failure: nodes die, are expelled, come back; invitations are used up.  Every daemon that is alive stays alive,
# and every client gets an error that names what went.
. "$(dirname "$0")/lib.sh"

require cluster alpha beta gamma
# a model that takes long enough to be interrupted, over all three
require mkmodel "$dir/slow.gguf" q8_0 1024 6 16 8 2816 2000 4096
require on alpha load --nodes all --parallel 2 "$dir/slow.gguf"

generate() { # FROM: in the background, until it is interrupted; what it said on standard error goes to $dir/FROM.err
	# not through a function: the process itself is what is killed later
	caravan run --control "$dir/$1/control.sock" --temp 0 "" >"$dir/$1.out" 2>"$dir/$1.err" &
	client=$!
	wait_for 15 test -s "$dir/$1.out"
}

# ends_within SECONDS PID: and how, in $status
ends_within() {
	tries=$(($1 * 10 * slack))
	while kill -0 "$2" 2>/dev/null; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || return 1
		sleep 0.1
	done
	wait "$2"
	status=$?
}

# ---- a stage dies ----------------------------------------------------------------------------------------
check "a generation runs" generate beta
stop gamma KILL
check "its client gets an error" ends_within 5 "$client"
check "as an error" test "$status" = 1
check "that names the node" grep -q gamma "$dir/beta.err"
check "in one line" sh -c 'test "$(wc -l <"$0")" = 1' "$dir/beta.err"
check "alpha lives on" alive alpha
check "beta lives on" alive beta
check "status shows who is down" wait_for 5 state_is alpha gamma down
told() { # first the verdict, then what is wrong and what to do, in 80 columns; and it fails
	on alpha status >"$dir/told"
	test $? = 1 && head -n 1 "$dir/told" | grep "^The cluster is not healthy: 2 of 3 nodes up" && ! grep -nE '^.{81,}' "$dir/told" &&
		sed -n '/^$/,$p' "$dir/told" | tr -s '\n ' '  ' | grep "^ gamma has been down since [0-9:]*: .*[.] Start caravand there, .*: caravan expel gamma .* node state"
}
check "first of all, and fails" told
check "for programs it fails too" sh -c 'caravan status --json --control "$0/alpha/control.sock" >"$0/told.json"; test $? = 1 && query "problems[kind=node-down].subject" <"$0/told.json" | grep -qx gamma' "$dir"
ended_there() { asked alpha 'problems[kind=node-down].what' | grep -q "nothing listens there"; }
check "that nothing listens there" wait_for 10 ended_there
lost_model() { # NAME: for programs and for people
	caravan status --json --control "$dir/alpha/control.sock" | json "[p['what'] + ' ' + p['advice'] for p in j['problems'] if p['kind'] == 'model-unavailable' and p['subject'] == '$1'][0]" >"$dir/lost" &&
		grep -q "^$1 is not available: node gamma has been down since [0-9:]*.* It \(comes back\|is retried\) automatically" "$dir/lost" &&
		caravan status --control "$dir/alpha/control.sock" | tr -s ' \n' ' ' | grep -qF "$(tr -s ' ' <"$dir/lost")"
}
check "what that means for the model is said with it" wait_for 10 lost_model slow
unhealthy() { on alpha status --json | json "j['healthy'] is False and j['models'][0]['state'] == 'unavailable' and 'gamma' in j['models'][0]['reason']"; }
check "and what that means for the model" wait_for 5 unhealthy
check "a new prompt is refused at once, with the reason" sh -c '
	! caravan run --control "$0/alpha/control.sock" x 2>"$0/refused" && grep -q gamma "$0/refused"' "$dir"

# ---- it comes back ---------------------------------------------------------------------------------------
require node gamma
check "the node comes back" wait_for 10 all_up alpha 3
check "and the model with it" wait_for 20 serves beta slow
check "status succeeds again" wait_for 10 on alpha status
check "it generates again" sh -c 'test -n "$(caravan run --control "$0/beta/control.sock" --temp 0 -n 5 "")"' "$dir"

# ---- a client goes ---------------------------------------------------------------------------------------
check "a generation runs for a client" generate beta
kill "$client"
wait "$client" 2>/dev/null
idle() { asked alpha 'models[0].sequences' = 0; }
check "whose going cancels it" wait_for 5 idle

# ---- the coordinator dies --------------------------------------------------------------------------------
check "another runs" generate beta
stop alpha KILL
check "when the coordinator dies the client gets an error" ends_within 5 "$client"
check "that names it" grep -q alpha "$dir/beta.err"
check "the others live on" sh -c 'kill -0 "$0" && kill -0 "$1"' "$(pid_of beta)" "$(pid_of gamma)"
require node alpha
check "the coordinator comes back, and its model" wait_for 30 serves gamma slow
check "its model generates" sh -c 'test -n "$(caravan run --control "$0/gamma/control.sock" --temp 0 -n 5 "")"' "$dir"

# ---- a node that becomes slow ------------------------------------------------------------------------------
# stopped again and again, for longer than it runs in between
hinder() { python3 -c 'import os, signal, sys, time
pid, end = int(sys.argv[1]), time.time() + 60
open(sys.argv[3], "w").close()
try:
    while time.time() < end and not os.path.exists(sys.argv[2]):
        os.kill(pid, signal.SIGSTOP); time.sleep(0.15); os.kill(pid, signal.SIGCONT); time.sleep(0.003)
finally:
    os.kill(pid, signal.SIGCONT)' "$(pid_of gamma)" "$dir/hindered" "$dir/hindering"; }
slow_stage() { # for programs and for people
	on alpha status --json | json "[p['what'] + ' ' + p['advice'] for p in j['problems'] if p['kind'] == 'slow-stage' and p['subject'] == 'gamma'][0]" >"$dir/slowed" &&
		grep -Eq "^gamma is [0-9]+ times slower than usual: layers? [0-9-]+ of slow takes? [0-9.]+ (µ|m)?s a token, usually [0-9.]+ (µ|m)?s[.] Check whether gamma is busy" "$dir/slowed" &&
		on alpha status | tr -s ' \n' ' ' | grep -qF "$(tr -s ' ' <"$dir/slowed")"
}
require on beta run --no-drafts --temp 0 -n 90 ""
hinder &
hinders=$!
require wait_for 10 test -e "$dir/hindering"
check "a node that is hindered goes on" on beta run --no-drafts --temp 0 -n 26 ""
touch "$dir/hindered"
wait $hinders
check "status says that its stage is slow" wait_for 10 slow_stage

# ---- a node that hangs -----------------------------------------------------------------------------------
brief=$(expiring alpha)
check "one more" generate beta
kill -STOP "$(pid_of gamma)"
check "a stage that is silent for three seconds is not given up" sh -c 'sleep 3; kill -0 "$0"' "$client"
kill -CONT "$(pid_of gamma)"
cp "$dir/beta.out" "$dir/beta.before"
goes_on() { ! cmp -s "$dir/beta.before" "$dir/beta.out"; }
check "and its stream goes on where it was" wait_for 10 goes_on
kill -STOP "$(pid_of gamma)"
check "one that stays silent is noticed in time" ends_within 15 "$client"
check "and named" grep -q gamma "$dir/beta.err"
silent() { # it is told from one that has ended, for programs and for people
	caravan status --json --control "$dir/alpha/control.sock" | json "[p['what'] + ' ' + p['advice'] for p in j['problems'] if p['kind'] == 'node-down' and p['subject'] == 'gamma'][0]" >"$dir/silent" &&
		grep -Eq "^gamma has been down since [0-9:]+: .*machine ($1).* Look at what its machine is busy with, or start caravand there again; .*: caravan expel gamma$" "$dir/silent" &&
		caravan status --control "$dir/alpha/control.sock" | tr -s ' \n' ' ' | grep -qF "$(tr -s ' ' <"$dir/silent")"
}
check "status says that it is silent" wait_for 10 silent "responds: very busy, or stopped|accepts connections"
check "also after it was tried in vain" wait_for 10 silent "accepts connections, but caravand there does not answer: stopped, or very busy"
kill -CONT "$(pid_of gamma)"
check "when it speaks again it is up" wait_for 10 state_is alpha gamma up
check "and the model is back" wait_for 20 serves alpha slow

# ---- invitations -----------------------------------------------------------------------------------------
require node delta
token=$(on alpha invite)
require on delta join "$token"
require node epsilon
check "an invitation works once" sh -c '! caravan join --control "$0/epsilon/control.sock" "$1" 2>"$0/used"' "$dir" "$token"
check "and the second time the reason is told" sh -c 'grep -Eqi "used|refused|expired" "$0/used"' "$dir"
damaged=$(on alpha invite | sed 's/^\(.\{30\}\)A/\1B/; t; s/^\(.\{30\}\)./\1A/')
check "a damaged one is refused" sh -c '! caravan join --control "$0/epsilon/control.sock" "$1" 2>"$0/damaged" && test -s "$0/damaged"' "$dir" "$damaged"
require node twin -- --name alpha
check "a name that is taken is refused" sh -c '! caravan join --control "$0/twin/control.sock" "$1" 2>"$0/taken" && grep -q alpha "$0/taken"' "$dir" "$(on alpha invite)"
require wait_for 3 expired
late() { ! on epsilon join "$brief" 2>"$dir/late" && grep -q expired "$dir/late"; }
check "an expired one is refused" late
check "a member cannot join another cluster" sh -c '! caravan join --control "$0/delta/control.sock" "$1" 2>"$0/member"' "$dir" "$(on epsilon invite)"

# ---- expulsion -------------------------------------------------------------------------------------------
check "expel delta" on beta expel delta
check "everybody knows" wait_for 5 state_is gamma delta expelled
rejoin() { ! on delta join "$(on alpha invite)" 2>"$dir/back"; }
check "it cannot come back" rejoin
told_expelled() { asked delta 'problems[kind=this-node].what' | grep -q "^this node was expelled from its cluster: caravan leave gives it a new key[.]$" && on delta status | grep -q "this node was expelled from its cluster: caravan leave"; }
check "its own status says why" told_expelled
alone() { on delta status --json 2>&- | json "not j['healthy'] and 'not in its cluster' in j['verdict'] and [p['kind'] for p in j['problems']] == ['this-node'] and 'invitation' in j['problems'][0]['advice']" >"$dir/alone"; }
check "and nothing else, since it knows nothing of the others" alone
check "it is alive, and alone" sh -c 'kill -0 "$0"' "$(pid_of delta)"
check "no link of its was admitted after that" sh -c '! caravan status --control "$0/alpha/control.sock" --json | grep -q "\"delta\".*up"' "$dir"
check "the log says why a key is refused, without end" sh -c '
	grep -qi "expelled" "$0/alpha.log" && test "$(grep -ci "expelled" "$0/alpha.log")" -lt 10' "$dir"
finish
