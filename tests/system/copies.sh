#!/bin/sh
# copies: every part of a model comes onto as many disks as it is to be on, each byte leaving the node that loads it about
# once; then that node, its file and all, may go.  And what happens to a transfer on the way: slow sources, liars, cuts.
. "$(dirname "$0")/lib.sh"

# holds FILE EXPRESSION: true of what the file holds, as j
holds() { python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); r = eval(sys.argv[2]); print(r); sys.exit(not r)' "$1" "$2"; }
copied() { # NODE MODEL: all copies are there, as that node knows
	on "$1" status --json | json "[m['copies']['complete'] for m in j['models'] if m['name'] == '$2'] == [True]"
}
moved() { # NODE: content that it has sent and received, since it started
	on "$1" status --json >"$dir/moved"
	json "'{content_sent_bytes} {content_received_bytes}'.format(**[n for n in j['nodes'] if n['self']][0])" <"$dir/moved"
}
sent() { moved "$1" | cut -d' ' -f1; }
received() { moved "$1" | cut -d' ' -f2; }
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
check "a name that nobody knows is refused" sh -c '! caravan load --control "$0/b/control.sock" nothing 2>"$0/err" && grep -q "no model nothing is loaded" "$0/err"' "$dir"
check "another node loads it by its name" on b load --nodes all wide
require tell c wide again
check "it says the same" same "$dir/said" "$dir/again"
check "the copies of what is left are three" wait_for 60 copied c wide
check "on all three" on_disks 3 b c d

# ---- what would not survive ------------------------------------------------------------------------------------
require on b unload wide
require mkmodel "$dir/one.gguf" q4_0 512 2 8 8 1024 500 256
require on b load --copies 1 --nodes b "$dir/one.gguf"
risk() { on c status --json | json "[m['copies']['at_risk'] for m in j['models'] if m['name'] == 'one'] == ['only on b: layers 0-1, the ends']"; }
check "one copy: status names what is only on that node" wait_for 20 risk
check "in the words for people too" sh -c 'caravan status --control "$0/d/control.sock" | grep -q "would not survive the loss of a node: only on b: layers 0-1, the ends"' "$dir"
check "though no more was asked for" copied c one
require on b unload one

# ---- copies and steps -------------------------------------------------------------------------------------------
require on b load --copies 3 --nodes b "$dir/one.gguf"
require tell c one before
check "what is generated while copies are made is the same" wait_for 60 copied c one
require tell c one after
check "as afterwards" same "$dir/before" "$dir/after"
for n in b c d; do require stop "$n"; done
finish
