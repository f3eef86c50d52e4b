#!/bin/sh
# readme: what README.md says is typed is typed here, as it stands there: on machines of which each has a home of its own,
# with the demo model in the place of the large file.  And what it says plan answers is what plan answers.
. "$(dirname "$0")/lib.sh"

readme=$top_srcdir/README.md
machines="kitchen study attic"

# ---- what is another here than there: COMMAND as README has it, and what is done instead ------------------------
# the name of a machine is no host's here, and its port is any that is free
instead() { # MACHINE COMMAND
	case $2 in
	'./quickstart build' | sudo*) echo : ;; # installs packages and programs: the build is there
	caravand) echo "serve $1" ;;
	'caravan invite') echo "invited" ;;
	'caravan join TOKEN') echo "joined" ;;
	'caravan chat') echo "echo Hello | $2" ;; # without a terminal it answers what comes on standard input
	*) echo "$2" ;;
	esac
}
# the machines that README leaves to its reader do what this one does
also() { case $1 in study) echo study attic ;; *) echo "$1" ;; esac }

# ---- a machine: a home and a session of its own ---------------------------------------------------------------------
# at MACHINE COMMAND...: as its user would
at() {
	machine=$1
	shift
	(
		export HOME="$dir/$machine" XDG_RUNTIME_DIR="$dir/$machine/run"
		unset XDG_STATE_HOME
		cd "$HOME" && "$@"
	)
}
typed() { at "$1" sh -c "$2"; }

for m in $machines; do mkdir -p "$dir/$m/run"; done
cp "$demo" "$dir/kitchen/llama-2-70b-chat.Q4_K_M.gguf"

serve() { # MACHINE: caravand, plain, but for a name, a port, and how much of this machine it may take
	rates_known || return 1
	mkdir -p "$dir/$1/.local/state/caravan" && cp "$rates" "$dir/$1/.local/state/caravan/rates"
	(
		export HOME="$dir/$1" XDG_RUNTIME_DIR="$dir/$1/run"
		unset XDG_STATE_HOME
		cd "$HOME" && exec caravand --name "$1" --listen tcp://127.0.0.1:0 --threads 1 --memory 2G
	) >"$dir/$1.log" 2>&1 &
	echo $! >"$dir/$1.pid"
	nodes="$nodes $1"
	wait_for 15 at "$1" caravan status
}

# ---- what README says -------------------------------------------------------------------------------------------------
# the commands of its ten minutes: "MACHINE COMMAND", a line each
sed -n '/^## Ten minutes/,/^## Ask before/s/^ *\([a-z]*\)\$ \(.*\)$/\1 \2/p' "$readme" >"$dir/typed"
check "README has commands to type" test "$(wc -l <"$dir/typed")" -ge 10

while read -r where command; do
	for m in $(also "$where"); do
		what=$(instead "$m" "$command")
		case $what in
		:) ;;
		"serve $m") check "$m\$ $command" serve "$m" ;;
		invited) ;; # one for each that joins, just before it does
		joined)
			check "kitchen\$ caravan invite" at kitchen caravan invite
			token=$(cat "$dir/out")
			cp "$dir/err" "$dir/hint"
			check "which says how it is used" grep -q "on that machine: caravan join TOKEN" "$dir/hint"
			check "$m\$ $command" at "$m" caravan join "$token"
			;;
		*)
			check "$m\$ $command" typed "$m" "$what"
			case $command in "caravan load "*) cp "$dir/out" "$dir/loaded" ;; esac
			;;
		esac
	done
done <"$dir/typed"
check "the socket is where README says" test -S "$dir/kitchen/run/caravan/control.sock"
check "and so is the state" test -f "$dir/kitchen/.local/state/caravan/key"
check "the last load that was typed has loaded the model from the nodes' disks" grep -q "^llama-2-70b-chat.Q4_K_M is already served" "$dir/loaded"
check "all are there, and well" sh -c 'caravan status --control "$0/study/run/caravan/control.sock" | grep -q "^The cluster is healthy.*: 3 of 3 nodes up, 1 of 1 model serving"' "$dir"
check "a text from each" sh -c 'test -n "$(caravan run --control "$0/attic/run/caravan/control.sock" -n 5 "Once")"' "$dir"

# ---- from sessions that have no such folder --------------------------------------------------------------------------
bare() { # COMMAND...: as cron, su or a container would
	(
		HOME="$dir/kitchen"
		unset XDG_RUNTIME_DIR XDG_STATE_HOME
		"$@"
	)
}
stop kitchen
(
	HOME="$dir/kitchen"
	unset XDG_RUNTIME_DIR XDG_STATE_HOME
	exec caravand --listen tcp://127.0.0.1:0 --threads 1 --memory 2G
) >>"$dir/kitchen.log" 2>&1 &
echo $! >"$dir/kitchen.pid"
answers_bare() { bare caravan status --json | grep -q '"healthy"'; }
answers_in_session() { at kitchen caravan status --json | grep -q '"healthy"'; }
check "without XDG_RUNTIME_DIR the socket is with the state" wait_for 15 answers_bare
check "where a session that has one finds it" wait_for 5 answers_in_session
check "the log says where it is" grep -q "control socket is .*/.local/state/caravan/control.sock" "$dir/kitchen.log"
check "and its lines have a time" grep -Eq '^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}[+-][0-9]{2}:[0-9]{2} info: node kitchen is up' "$dir/kitchen.log"
overruled() { CARAVAN_CONTROL=/nowhere at study caravan status --state "$dir/kitchen/.local/state/caravan" --json | json "[n['name'] for n in j['nodes'] if n['self']] == ['kitchen']"; }
check "--state wins over CARAVAN_CONTROL" overruled

# ---- as a service --------------------------------------------------------------------------------------------------------
service() { # as the unit starts it
	mkdir -p "$dir/var" "$dir/run"
	python3 - "$dir/notify" >"$dir/notified" <<'END' &
import socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
s.settimeout(30)
print(s.recv(64).decode(), flush=True)
END
	wait_for 5 test -S "$dir/notify"
	NOTIFY_SOCKET="$dir/notify" STATE_DIRECTORY="$dir/var" RUNTIME_DIRECTORY="$dir/run" \
		caravand --name service --listen tcp://127.0.0.1:0 --threads 1 --memory 1G >"$dir/service.log" 2>&1 &
	echo $! >"$dir/service.pid"
	nodes="$nodes service"
	wait_for 15 grep -q READY=1 "$dir/notified"
}
check "as a service it says when it is ready" service
check "its socket is in the runtime folder, its state in the other" test -S "$dir/run/control.sock" -a -f "$dir/var/key"
installed() {
	make -s -C "$top_builddir" install DESTDIR="$dir/root"
}
check "make install works" installed
unit=$(find "$dir/root" -name caravand.service)
program=$(find "$dir/root" -name caravand -type f)
check "it brings the unit, which starts what was installed" grep -q "^ExecStart=${program#"$dir/root"} " "$unit"
check "and the descriptions of machines" test -n "$(find "$dir/root" -path '*/share/caravan/machines/desktop-ddr4.txt')"
if command -v systemd-analyze >/dev/null 2>&1; then
	sed "s|^ExecStart=|&$dir/root|" "$unit" >"$dir/caravand.service"
	verified() { systemd-analyze verify --man=no "$dir/caravand.service" 2>&1 | tee "$dir/verified" && ! test -s "$dir/verified"; }
	check "systemd understands the unit" verified
else
	skip "systemd understands the unit" "there is no systemd-analyze"
fi

# ---- what README says plan answers --------------------------------------------------------------------------------------
sed -n '/^## Ask before/,/^## What it does/s/^    //p' "$readme" >"$dir/ask"
grep '^\$ ' "$dir/ask" | sed 's/^\$ //' >"$dir/ask.typed"
sed '/^\$ /d; /^$/d' "$dir/ask" >"$dir/ask.said"
asked() { (cd "$dir" && sh -e ask.typed) | sed '/^$/d' >"$dir/ask.says" && diff "$dir/ask.said" "$dir/ask.says"; }
check "plan answers what README says" asked
check "to three commands" test "$(wc -l <"$dir/ask.typed")" = 3

# ---- what quickstart shows is what it runs: nothing is shown but by what runs it -------------------------------------------
chatted() { # with the command that README and quickstart leave to their reader
	said=$(sed -n 's/^	typed build\/plain\/\(caravan chat .*\)$/\1/p' "$top_srcdir/quickstart")
	test -n "$said" && grep -qx "    build/plain/$said" "$readme" || return 1
	test -n "$(cd "$top_srcdir" && echo "Once upon a time" | sh -c "$said")"
}
check "to talk with the demo model is as README and quickstart say" chatted
helped() { test "$("$top_srcdir/quickstart" --help | wc -l)" = 3; }
check "quickstart says in three lines what it does" helped
check "and what is wrong" says 2 "usage: ./quickstart \[build | check\]" "$top_srcdir/quickstart" frob
shows() { ! grep -n 'say ".*caravan ' "$top_srcdir/quickstart"; }
check "quickstart shows no command that it does not run" shows
finish
