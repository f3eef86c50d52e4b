#!/bin/sh
# limits: what a node does where it has no more: few descriptors, members and clients that want its memory for themselves.
# It says so, goes on, and is well again afterwards.
. "$(dirname "$0")/lib.sh"

command -v prlimit >/dev/null || {
	skip "limits" "there is no prlimit"
	finish
}
limited() { echo "prlimit --nofile=$1 ${daemon:-caravand}"; } # SOFT:HARD
resident() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$(pid_of "$1")/status"; }
ticks() { awk '{ print $14 + $15 }' "/proc/$(pid_of "$1")/stat"; }
idle() { # NODE: it does not spin
	ticked=$(ticks "$1")
	sleep 1
	test $(($(ticks "$1") - ticked)) -lt $(($(getconf CLK_TCK) / 2))
}
idle_soon() { idle "$1" || idle "$1" || idle "$1" || idle "$1"; }
said() { grep -q "$2" "$dir/$1.log"; } # NODE PATTERN

# ---- descriptors -------------------------------------------------------------------------------------------------
require with "$(limited 64:4096)" node a
check "the soft limit is raised to the hard one" grep -Eq "^Max open files +4096 +4096" "/proc/$(pid_of a)/limits"
stop a

# 60 layers of nine tensors each are more than it may have open
require mkmodel "$dir/deep.gguf" q8_0 64 60 2 2 96 300 256
caravan run -m "$dir/deep.gguf" --temp 0 -n 8 "Once" >"$dir/deep.alone"
require with "$(limited 128:128)" node a
check "a model of 540 tensors is served with 128 descriptors" on a load "$dir/deep.gguf"
on a run --temp 0 -n 8 "Once" >"$dir/deep.limited"
check "and computes as ever" same "$dir/deep.alone" "$dir/deep.limited"

cat >"$dir/crowd.py" <<'PY'
import socket, sys, time
how, where, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
held = []
for i in range(count):
    s = socket.socket(socket.AF_UNIX if how == "unix" else socket.AF_INET)
    s.settimeout(None if how == "unix" else 2) # a full backlog is waited for
    try:
        if how == "unix":
            s.connect(where)
        else:
            host, port = where.rsplit(":", 1)
            s.connect((host, int(port)))
        held.append(s)
    except OSError:
        pass
print("held", flush=True)
time.sleep(3600)
PY
crowd() { # HOW WHERE COUNT
	rm -f "$dir/held"
	python3 "$dir/crowd.py" "$@" >"$dir/held" &
	echo $! >"$dir/crowd.pid"
	wait_for 30 grep -q held "$dir/held"
}
disperse() {
	kill "$(cat "$dir/crowd.pid")"
	rm "$dir/crowd.pid"
}
address=$(cat "$dir/a.endpoint")
address=${address#tcp://}
require crowd tcp "$address" 400
check "a crowd of strangers takes no descriptor that is needed" on a run --temp 0 -n 8 "Once"
check "what there is not enough of is said" wait_for 10 said a "out of file descriptors: [0-9]* of 128 in use; raise LimitNOFILE"
check "and the node is idle meanwhile" idle_soon a
require disperse
check "it listens again when they have gone" wait_for 20 said a "listening at tcp://.* again"
require node b
joined() { on b join "$(on a invite)"; }
check "and takes others in" joined

# clients of the control socket
require crowd unix "$dir/a/control.sock" 200
told() { ! on a status 2>"$dir/told" && grep -q "out of file descriptors\|too many clients" "$dir/told"; }
check "a client that finds no descriptor left is told" told
check "the node is idle beside them" idle_soon a
require disperse
check "when they have gone it answers" wait_for 10 answers a
check "and lives" on a run --temp 0 -n 8 "Once"
finish
