#!/bin/sh
# copies: every part of a model comes onto as many disks as it is to be on, each byte leaving the node that loads it about
# once; then that node, its file and all, may go.  And what happens to a transfer on the way: slow sources, liars, cuts.
. "$(dirname "$0")/lib.sh"

# holds FILE EXPRESSION: true of what the file holds, as j
holds() { python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); r = eval(sys.argv[2]); print(r); sys.exit(not r)' "$1" "$2"; }
copied() { # NODE MODEL: all copies are there, as that node knows
	asked "$1" "models[name=$2].copies.complete" = true
}
# content that a node has sent, and received, since it started
sent() { asked "$1" 'nodes[self=true].content_sent_bytes'; }
received() { asked "$1" 'nodes[self=true].content_received_bytes'; }
tensors() { (cd "$dir/$1/store/tensors" && ls); }
on_disks() { # COUNT NODE...: every tensor that any of them has is on so many disks
	count=$1
	shift
	for n in "$@"; do tensors "$n"; done | sort | uniq -c | awk -v want="$count" '$1 < want { bad++; print } END { exit bad > 0 || NR == 0 }'
}
ask() { # NODE: its status
	on "$1" status --json >"$dir/s"
}
# tell NODE MODEL FILE: what it says
tell() { on "$1" run -m "$2" --temp 0 -n 12 "" >"$dir/$3"; }

require mkmodel "$dir/wide.gguf" q8_0 1024 6 16 8 2816 500 512
size=$(stat -c %s "$dir/wide.gguf")
require cluster a b c d

# ---- three copies, one upload --------------------------------------------------------------------------------
check "a model is loaded" on a load --nodes all --copies 3 --name wide "$dir/wide.gguf"
require tell b wide said
check "status says how far the copies are" wait_for 10 sh -c 'caravan status --control "$0/c/control.sock" | grep -q "copies on disk"' "$dir"
check "which is no fault yet" sh -c 'caravan status --json --control "$0/c/control.sock" >"$0/young" && ! grep single-copy "$0/young"' "$dir"
check "and they are all there in time" wait_for 60 copied d wide
require ask a
check "nothing is at risk" holds "$dir/s" 'j["models"][0]["copies"]["at_risk"] == "" and j["models"][0]["copies"]["wanted"] == 3'
check "three copies of all of it were to be there" holds "$dir/s" "2.5 * $size < j['models'][0]['copies']['bytes'] <= 3 * $size"
check "every tensor is on three disks" on_disks 3 a b c d
once() {
	bytes=$(sent a)
	echo "$bytes of $size"
	python3 -c "assert 0.6 * $size < $bytes <= 1.1 * $size"
}
check "each byte has left the node that loaded it about once" once
others() { python3 -c "assert $(sent b) + $(sent c) + $(sent d) > $size"; }
check "the others have passed on the rest" others
check "it is told to people" sh -c 'caravan status --control "$0/b/control.sock" | grep -q "copies on disk: 3 of each part"' "$dir"

# ---- a node that has been away ---------------------------------------------------------------------------------
require stop d
require wait_for 15 state_is a d down
require node d
require wait_for 30 serves a wide
check "a node that was away is looked at again" wait_for 30 copied a wide

# ---- the node that loaded it goes, and so does its file -----------------------------------------------------------
require stop a
rm -rf "$dir/wide.gguf" "$dir/a/store"
require wait_for 15 state_is b a down
check "a name that nobody knows is refused" sh -c '! caravan load --control "$0/b/control.sock" nothing 2>"$0/err" && grep -q "no model nothing is on the disks" "$0/err"' "$dir"
check "another node loads it by its name" on b load --nodes all wide
require tell c wide again
check "it says the same" same "$dir/said" "$dir/again"
check "the copies of what is left are three" wait_for 60 copied c wide
check "on all three" on_disks 3 b c d

# ---- what would not survive ------------------------------------------------------------------------------------
require on b unload wide
require mkmodel "$dir/one.gguf" q4_0 512 2 8 8 1024 500 256
require on b load --copies 1 --nodes b "$dir/one.gguf"
risk() { on c status --json | json "[m['copies']['at_risk'] for m in j['models'] if m['name'] == 'one'] == ['only on b: layers 0-1, embedding and output']"; }
check "one copy: status names what is only on that node" wait_for 20 risk
check "in the words for people too" sh -c 'caravan status --control "$0/d/control.sock" | grep -q "at risk with a single copy: only on b: layers 0-1, embedding and output"' "$dir"
check "though no more was asked for" copied c one
require on b unload one

# ---- copies and steps -------------------------------------------------------------------------------------------
require on b load --copies 3 --nodes b "$dir/one.gguf"
require tell c one before
check "what is generated while copies are made is the same" wait_for 60 copied c one
require tell c one after
check "as afterwards" same "$dir/before" "$dir/after"
require on b unload one
require on b load --copies 2 --nodes b "$dir/one.gguf"
agree() {
	caravan models --json --control "$dir/d/control.sock" | query 'models[name=one].copies' = 3 &&
		asked c 'models[name=one].copies.disks' = 3 && on c status | grep "copies on disk: 3 of each part (2 wanted)"
}
check "status and models agree on how many there are, more than were asked for" wait_for 20 agree
for n in b c d; do require stop "$n"; done

# ---- a node that has the file itself --------------------------------------------------------------------------
mkdir -p "$dir/mine/of-old"
require mkmodel "$dir/mine/of-old/called-otherwise.gguf" q8_0 1024 6 16 8 2816 500 512
require mkmodel "$dir/wide.gguf" q8_0 1024 6 16 8 2816 500 512
size=$(stat -c %s "$dir/wide.gguf")
require node e
require node f -- --models "$dir/mine"
require on f join "$(on e invite)"
require wait_for 15 all_up e 2
require wait_for 30 grep -q "called-otherwise.gguf is identified by its content" "$dir/f.log"
check "a node with a copy of its own" on e load --nodes f --copies 2 --name mine "$dir/wide.gguf"
less() { # NODE: has received next to nothing
	bytes=$(received "$1")
	echo "$bytes of $size"
	test "$bytes" -lt $((size / 50))
}
check "takes the layers from it" less f
require wait_for 60 copied e mine
check "and the ends" less f
require tell f mine mine.said
check "and says the same" same "$dir/said" "$dir/mine.said"
require on e unload mine
require stop f

# ---- a wire that is slow, cut, and a node that dies in the middle -----------------------------------------------------
# e has all of it by now, and so has g; h fetches from both, over a slow wire from g
port_free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wire() { # NODE [PROXY OPTION...]: a proxy before it; again at the port where it was
	name=$1
	shift
	[ ! -f "$dir/proxy-$name.pid" ] || cut_wire "$name"
	: >"$dir/$name.proxy"
	proxy "$(cat "$dir/$name.front" 2>/dev/null || echo 0)" "127.0.0.1:$(cat "$dir/$name.back")" "$@" \
		>"$dir/$name.proxy" 2>"$dir/proxy-$name.log" &
	echo $! >"$dir/proxy-$name.pid"
	wait_for 5 test -s "$dir/$name.proxy" && cp "$dir/$name.proxy" "$dir/$name.front"
}
cut_wire() { # NODE
	kill "$(cat "$dir/proxy-$1.pid")" && wait "$(cat "$dir/proxy-$1.pid")"
	rm "$dir/proxy-$1.pid"
}
behind() { # NODE [PROXY OPTION...]: starts it behind a wire
	port_free >"$dir/$1.back"
	wire "$@" && start "$1"
}
start() { # NODE: again, behind the wire that is there
	echo "tcp://127.0.0.1:$(cat "$dir/$1.back")" >"$dir/$1.endpoint"
	node "$1" -- --advertise "tcp://127.0.0.1:$(cat "$dir/$1.front")"
}
require behind g
require behind h
require on g join "$(on e invite)"
require on h join "$(on e invite)"
up() { for n in e g h; do all_up "$n" 3 >/dev/null || return 1; done; }
require wait_for 15 up
require on e load --nodes g --copies 1 --name wide "$dir/wide.gguf"
require on e unload wide
before_e=$(sent e) before_g=$(sent g)
require wire g --rate 40e6
require wait_for 15 up
check "a node fetches from two at once" on e load --nodes h --copies 1 --name wide "$dir/wide.gguf"
slower() {
	by_e=$(($(sent e) - before_e)) by_g=$(($(sent g) - before_g))
	echo "e sent $by_e, g $by_g of $size"
	test "$by_g" -gt 100000 && test "$by_e" -gt $((2 * by_g)) && test $((by_e + by_g)) -lt $((size + size / 5))
}
check "and from the one behind a slow wire less" slower
require on e unload wide

# h again with nothing, over a slow wire from e alone: killed in the middle
require stop g
require stop h
rm -rf "$dir/h/store"
require stop e
require behind e --rate 80e6
require start h
two() { for n in e h; do all_up "$n" 2 >/dev/null || return 1; done; }
require wait_for 15 two
on e load --nodes h --copies 1 --name wide "$dir/wide.gguf" >"$dir/load.out" 2>"$dir/load.err" &
load=$!
half() { test "$(received h)" -gt $((size / 2)); }
check "half of a model comes over a slow wire" wait_for 60 half
stop h KILL
wait $load
check "the load fails when the node is killed, naming it" grep -q "h went down while the model was being loaded" "$dir/load.err"
require start h
require wait_for 15 two
check "when it is back it loads" on e load --nodes h --copies 1 --name wide "$dir/wide.gguf"
rest() {
	bytes=$(received h)
	echo "$bytes of $size"
	test "$bytes" -gt 0 && test "$bytes" -lt $((size * 7 / 10))
}
check "and what it had did not come again" rest
require tell h wide kept
check "it says what was said before" same "$dir/said" "$dir/kept"
require on e unload wide

# and cut in the middle, which is shorter than the time after which a load is given up
require stop h
rm -rf "$dir/h/store"
require start h
require wait_for 15 two
on e load --nodes h --copies 1 --name wide "$dir/wide.gguf" >"$dir/load.out" 2>"$dir/load.err" &
load=$!
check "half of it again" wait_for 60 half
cut_wire e
wait $load
check "a wire that stays cut ends the load, naming the node" grep -q "^caravan: h " "$dir/load.err"
require wire e
require wait_for 30 two
check "once it is whole again the model loads" on e load --nodes h --copies 1 --name wide "$dir/wide.gguf"
twice() {
	bytes=$(received h)
	echo "$bytes of $size"
	test "$bytes" -lt $((size * 6 / 5))
}
check "and nothing has come twice but what was on its way" twice

# ---- a liar ---------------------------------------------------------------------------------------------------------
require on e unload wide
require start g
require wait_for 15 up
require stop h
rm -rf "$dir/h/store"
lie() { # NODE: a byte of each of its matrices
	for f in "$dir/$1/store/tensors"/*; do
		[ "$(stat -c %s "$f")" -lt 100000 ] || printf x | dd of="$f" bs=1 seek=20000 conv=notrunc 2>/dev/null
	done
}
sleep 5 # what g has is looked through when it starts: after that it would not notice until the next day
require lie g
require start h
require wait_for 15 up
check "a node loads although one of two lies" on e load --nodes h --copies 1 --name wide "$dir/wide.gguf"
named() { # by who asked it; or on a machine so slow that it was still looking, it has found them itself
	grep -q "g sent bytes that do not match the name .* and is not asked again for this" "$dir/h.log" ||
		grep -q "is corrupt: its content does not match its name" "$dir/g.log"
}
check "and the log names it" named
require tell h wide honest
check "what it computes is right" same "$dir/said" "$dir/honest"
finish
