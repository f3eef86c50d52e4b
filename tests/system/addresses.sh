#!/bin/sh
# addresses: machines of a home network whose addresses come late and change; a machine that nobody reaches.
# Each is a network namespace on a bridge, which takes root.
. "$(dirname "$0")/lib.sh"

lan=cvt$$
if [ "$(id -u)" != 0 ] || ! ip netns add "$lan-sw" 2>/dev/null; then
	skip "addresses that change" "network namespaces take root and iproute2"
	finish
fi
unlan() {
	for h in sw alpha beta gamma delta; do ip netns del "$lan-$h" 2>/dev/null; done
}
trap 'clean_up; unlan' EXIT

# host NAME ADDRESS: a machine on the bridge
host() {
	ip netns add "$lan-$1" && ip -n "$lan-$1" link set lo up &&
		ip -n "$lan-sw" link add "p-$1" type veth peer name eth0 netns "$lan-$1" &&
		ip -n "$lan-sw" link set "p-$1" master br0 up && ip -n "$lan-$1" link set eth0 up &&
		ip -n "$lan-$1" addr add "$2" dev eth0
}
# boot NAME [OPTION...]: its daemon, as it is started without any option about addresses
boot() {
	name=$1
	shift
	[ -e "$dir/$name" ] || { rates_known && mkdir -m 700 "$dir/$name" && cp "$rates" "$dir/$name/rates"; } || return 1
	ip netns exec "$lan-$name" caravand --state "$dir/$name" --name "$name" --threads 1 --memory 1G "$@" >>"$dir/$name.log" 2>&1 &
	echo $! >"$dir/$name.pid"
	case " $nodes " in *" $name "*) ;; *) nodes="$nodes $name" ;; esac
	wait_for 15 speaks "$name"
}
readdress() { # NAME ADDRESS: none for no more than taking away what it has
	ip -n "$lan-$1" addr flush dev eth0 && { [ -z "$2" ] || ip -n "$lan-$1" addr add "$2" dev eth0; }
}
all_see() { # COUNT NODE...
	count=$1
	shift
	for n in "$@"; do all_up "$n" "$count" || return 1; done
}

lossless() { for n in beta gamma; do asked "$n" 'problems[kind=lossy-link]#' = 0 || return 1; done; }

require ip -n "$lan-sw" link add br0 type bridge mcast_snooping 0
require ip -n "$lan-sw" link set br0 up
require host alpha 10.99.0.1/24
require host beta 10.99.0.2/24
require host gamma 10.99.0.3/24
for n in alpha beta gamma; do require boot $n; done
require on beta join "$(on alpha invite 2>/dev/null)"
check "a token may come on standard input" sh -c 'caravan invite --control "$0/alpha/control.sock" 2>/dev/null | caravan join --control "$0/gamma/control.sock" -' "$dir"
check "three machines find each other" wait_for 15 all_see 3 alpha beta gamma

check "no second daemon works on a folder" sh -c '! caravand --state "$0/alpha" --listen off --control "$0/second.sock" 2>"$0/second" && cat "$0/second" && grep -q "another caravand (process $1) uses" "$0/second"' "$dir" "$(pid_of alpha)"

# ---- the network comes after the daemon --------------------------------------------------------------------
stop beta
require readdress beta ""
require boot beta
own() { asked "$1" 'nodes[self=true].endpoint' = "$2"; }
check "without an address it says none" own beta ""
check "and makes no invitation" sh -c '! caravan invite --control "$0/beta/control.sock" 2>"$0/none" && grep -q "no network address" "$0/none"' "$dir"
require readdress beta 10.99.0.2/24
check "an address that comes later is found" wait_for 15 all_see 3 alpha beta gamma
check "the others never heard of a loopback" sh -c '! grep -q "tcp://127" "$0/alpha/roster" "$0/beta/roster" "$0/gamma/roster"' "$dir"

# ---- another lease -----------------------------------------------------------------------------------------
require readdress gamma 10.99.0.33/24
moved() { all_see 3 alpha beta gamma && own gamma tcp://10.99.0.33:7070 && asked alpha 'nodes[name=gamma].endpoint' = tcp://10.99.0.33:7070; }
check "an address that changes under a daemon is followed" wait_for 20 moved

# ---- another router ----------------------------------------------------------------------------------------
require readdress alpha 192.168.88.21/24
require readdress beta 192.168.88.11/24
require readdress gamma 192.168.88.31/24
renumbered() { own alpha tcp://192.168.88.21:7070 && all_see 3 alpha beta gamma; }
check "so are all addresses at once" wait_for 30 renumbered
check "of which no link is called lossy" lossless

# ---- a bad cable -------------------------------------------------------------------------------------------
# what comes to alpha is dropped at random, by the kernel's netem or by a filter that it always has
lossy() {
	ip netns exec "$lan-sw" tc qdisc add dev p-alpha root netem loss 15% 2>/dev/null && return
	ip netns exec "$lan-sw" tc qdisc add dev p-alpha clsact &&
		ip netns exec "$lan-sw" tc filter add dev p-alpha egress bpf da bytecode \
			"4,32 0 0 4294963256,53 0 1 644245094,6 0 0 0,6 0 0 2"
}
mended() { ip netns exec "$lan-sw" tc qdisc del dev p-alpha root 2>/dev/null || ip netns exec "$lan-sw" tc qdisc del dev p-alpha clsact; }
loses() { # ASKED NODE: the sentence, for programs and for people
	on "$1" status --json | json "[p['what'] + ' ' + p['advice'] for p in j['problems'] if p['kind'] == 'lossy-link' and p['subject'] == '$2'][0]" >"$dir/told" &&
		grep -Eq "^[0-9.]+% of what $2 sends to alpha gets lost on the way. Check the cable" "$dir/told" &&
		on "$1" status | tr -s ' \n' ' ' | grep -qF "$(tr -s ' ' <"$dir/told")"
}
if lossy; then
	check "a link that loses packets is told by the node that sends" wait_for 30 loses beta beta
	check "and by every node of every such link" wait_for 30 loses alpha gamma
	require mended
else
	skip "a link that loses packets" "the kernel has neither netem nor filters"
fi

# ---- a copied memory card ----------------------------------------------------------------------------------
require host delta 192.168.88.41/24
require mkdir -m 700 "$dir/delta"
require cp "$dir/gamma/key" "$dir/gamma/roster" "$rates" "$dir/delta"
require boot delta --name gamma
says_both() { on "$1" status --json | json "any('the key of gamma is in use at 192.168.88.31 and 192.168.88.41' in n.get('reason', '') for n in j['nodes'])"; }
for n in alpha gamma delta; do check "two machines with one key are named: on $n" wait_for 20 says_both $n; done
twice() { # NODE KIND: as a problem, for programs and for people
	asked "$1" "problems[kind=$2].what" | grep -q "the key of gamma is in use at 192.168.88.31 and 192.168.88.41: run caravan leave on the copy[.]$" &&
		on "$1" status | tr -s ' \n' ' ' | grep -q "the key of gamma is in use at 192.168.88.31 and 192.168.88.41: run caravan leave on the copy[.]"
}
check "it is said of the node, which is up" wait_for 10 twice alpha node-unreachable
check "and by the node itself" wait_for 10 twice gamma this-node
check "and the first goes on" all_see 3 alpha beta gamma
check "the copy ends" stop delta

# ---- one way -----------------------------------------------------------------------------------------------
stop gamma
require boot gamma --listen tcp://127.0.0.1:7070 --advertise tcp://192.168.88.31:7999
blind() { on gamma status --json | json "['cannot reach this machine at 192.168.88.31:7999' in n.get('reason', '') for n in j['nodes'] if n['name'] == 'alpha'] == [True]"; }
hidden() { on alpha status --json | json "[(n['state'], 'cannot be reached at 192.168.88.31:7999' in n.get('reason', '')) for n in j['nodes'] if n['name'] == 'gamma'] == [('down', True)]"; }
check "a machine that nobody reaches hears it" wait_for 25 blind
check "and the others say at which address" wait_for 25 hidden
check "status has it for people" sh -c 'caravan status --control "$0/alpha/control.sock" | grep -q "192.168.88.31:7999"' "$dir"
finish
