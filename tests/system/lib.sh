# lib: what the cluster tests have in common: TAP, real daemons on loopback, and cleaning up after them.
# A script sources it, calls cases with `check "what" COMMAND...`, and ends with `finish`.
# shellcheck shell=sh

top_srcdir=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
top_builddir=${top_builddir:-.}
PATH=$top_builddir:$top_builddir/tests/tools:$top_builddir/tests/bench:$PATH
shared=${CARAVAN_SHARED:-$top_srcdir/../shared}
demo=$top_srcdir/demo/stories.gguf
dir=$(mktemp -d "${TMPDIR:-/tmp}/caravan-test.XXXXXX") || exit 1
# nothing of the user's is touched, and nothing of the user's is used
export HOME="$dir/home" XDG_STATE_HOME="$dir/xdg-state" XDG_RUNTIME_DIR="$dir/xdg-runtime"
unset CARAVAN_CONTROL CARAVAN_CPU NOTIFY_SOCKET STATE_DIRECTORY
export CARAVAN_TUNE=off # trying the ways of products takes seconds; what they compute does not depend on it
mkdir -p "$HOME" "$XDG_STATE_HOME" "$XDG_RUNTIME_DIR"
cases=0 failures=0 nodes=
# how many times longer than usual things may take: sanitized programs are slow
patience=${PATIENCE:-1}
# how many times longer than is said a test waits before it gives up: a limit only ends what hangs, on the busiest machine too
slack=$((4 * patience))
# what the sanitizers find in any program, a daemon or a command, is a file here; finish looks
export ASAN_OPTIONS="${ASAN_OPTIONS:-}:log_path=$dir/sanitizer" UBSAN_OPTIONS="${UBSAN_OPTIONS:-}:print_stacktrace=1:log_path=$dir/sanitizer"
export LSAN_OPTIONS="suppressions=$top_srcdir/tests/lsan.supp:print_suppressions=0"

trap 'clean_up' EXIT
trap 'exit 130' INT TERM

clean_up() {
	for f in "$dir"/*.pid; do
		[ -f "$f" ] && kill -9 "$(cat "$f")" 2>/dev/null
	done
	wait 2>/dev/null
	if [ "$failures" -gt 0 ]; then
		for f in "$dir"/*.log; do
			[ -f "$f" ] && { echo "# --- ${f##*/}"; tail -n 40 "$f" | sed 's/^/# /'; }
		done
	fi
	[ -n "${KEEP:-}" ] || rm -rf "$dir"
}

ok() { # what
	cases=$((cases + 1))
	echo "ok $cases - $1"
}

not_ok() { # what
	cases=$((cases + 1)) failures=$((failures + 1))
	echo "not ok $cases - $1"
}

# check WHAT COMMAND...: a case that passes when the command succeeds
check() {
	what=$1
	shift
	if "$@" >"$dir/out" 2>"$dir/err"; then
		ok "$what"
	else
		not_ok "$what"
		sed 's/^/# out: /' "$dir/out" | tail -n 20
		sed 's/^/# err: /' "$dir/err" | tail -n 20
	fi
}

skip() { # what why
	cases=$((cases + 1))
	echo "ok $cases - $1 # SKIP $2"
}

# says STATUS PATTERN COMMAND...: ends with that status, and one line on standard error that matches
says() {
	want=$1 pattern=$2
	shift 2
	"$@" >"$dir/says.out" 2>"$dir/says.err"
	got=$?
	[ "$got" = "$want" ] || {
		echo "status $got, not $want"
		cat "$dir/says.err"
		return 1
	}
	grep -q -- "$pattern" "$dir/says.err" || {
		echo "no '$pattern' in:"
		cat "$dir/says.err"
		return 1
	}
	if [ "$want" = 1 ] && [ "$(wc -l <"$dir/says.err")" != 1 ]; then
		echo "more than one line:"
		cat "$dir/says.err"
		return 1
	fi
	[ "$want" = 0 ] || ! test -s "$dir/says.out"
}

# ended_well: every daemon that still runs ends when it is told to, with status 0
ended_well() {
	bad=
	for n in $nodes; do
		[ ! -f "$dir/$n.pid" ] || kill -TERM "$(pid_of "$n")" 2>/dev/null
	done
	for n in $nodes; do
		[ ! -f "$dir/$n.pid" ] || { wait_for 30 ended "$n" && stop "$n"; } || bad="$bad $n"
	done
	[ -z "$bad" ] || {
		echo "not ended well:$bad"
		return 1
	}
}

unreported() {
	for f in "$dir"/sanitizer.*; do
		[ ! -f "$f" ] || { head -n 18 "$f" && return 1; }
	done
}

finish() {
	[ -z "$nodes" ] || check "the daemons end well" ended_well
	check "no sanitizer has found anything" unreported
	echo "1..$cases"
	[ "$failures" = 0 ]
	exit $?
}

# require COMMAND...: set-up without which nothing that follows means anything
require() {
	"$@" >"$dir/out" 2>"$dir/err" || {
		not_ok "set-up: $*"
		sed 's/^/# /' "$dir/out" "$dir/err" | tail -n 20
		finish
	}
}

# What a daemon measures of this machine, once for all that the tests of this build start, so that none of them measures while
# others are looked at, and plans are the same from one moment to the next: first figures, kept as if they had settled.
# A daemon with other threads or kernels finds that they are not its own, and measures.
rates=$top_builddir/tests/rates
# Scripts that run side by side wait for the one that measures.
rates_known() (
	flock 9
	# those of an older daemon would be measured again by every one
	[ ! -s "$rates" ] || ! grep -q '^rates 4 ' "$rates" || exit 0
	caravand --state "$dir/measuring" --listen tcp://127.0.0.1:0 --http off --threads 1 --memory 2G >"$dir/measuring.log" 2>&1 9>&- &
	echo $! >"$dir/measuring.pid"
	wait_for 30 test -s "$dir/measuring/rates"
	stop measuring
	sed 's/^looks [0-9]*$/looks 4/; s/^pages .*/pages 1/' "$dir/measuring/rates" >"$rates.$$" && mv "$rates.$$" "$rates"
) 9>"$rates.lock"

# node NAME [ENV=VALUE...] [-- OPTION...]: starts a daemon and waits until it answers.  A node that is started again
# listens where it did, so that the others find it.
node() {
	name=$1
	shift
	env=
	while [ $# -gt 0 ] && [ "$1" != -- ]; do
		env="$env $1"
		shift
	done
	[ $# -eq 0 ] || shift
	[ -e "$dir/$name" ] || { rates_known && mkdir -m 700 "$dir/$name" && cp "$rates" "$dir/$name/rates"; } || return 1
	listen=tcp://127.0.0.1:0
	[ -f "$dir/$name.endpoint" ] && listen=$(cat "$dir/$name.endpoint")
	# shellcheck disable=SC2086
	env $env ${daemon:-caravand} --state "$dir/$name" --name "$name" --listen "$listen" --http off --threads 1 --memory 2G "$@" \
		>>"$dir/$name.log" 2>&1 &
	echo $! >"$dir/$name.pid"
	case " $nodes " in *" $name "*) ;; *) nodes="$nodes $name" ;; esac
	wait_for 15 speaks "$name" >/dev/null || {
		echo "# node $name does not answer"
		return 1
	}
	on "$name" status --json | query 'nodes[self=true].endpoint' >"$dir/$name.endpoint"
}

# with DAEMON COMMAND...: what it starts is that program
with() {
	daemon=$1
	shift
	"$@"
	with_status=$?
	daemon=
	return $with_status
}

# six_alone NAME ARG...: what six seeds get without a cluster and without guesses, in $dir/NAME.SEED
six_alone() {
	name=$1
	shift
	for i in 1 2 3 4 5 6; do
		require caravan run -m "$demo" --no-drafts --temp 0.6 --seed "$i" "$@"
		cp "$dir/out" "$dir/$name.$i"
	done
}

# six_at_once NAME WHAT ARG...: the same from alpha, beta and gamma at once: a case each, equal to what stands there
six_at_once() {
	name=$1 what_of=$2
	shift 2
	pids=
	for i in 1 2 3 4 5 6; do
		case $((i % 3)) in 0) node=alpha ;; 1) node=beta ;; *) node=gamma ;; esac
		(on $node run --temp 0.6 --seed "$i" "$@" >"$dir/stream.$i") &
		pids="$pids $!"
	done
	for p in $pids; do wait "$p"; done
	for i in 1 2 3 4 5 6; do check "${what_of}stream $i of six is what it is alone" same "$dir/$name.$i" "$dir/stream.$i"; done
}

# ---- links of a chosen delay and rate -----------------------------------------------------------------------
port_free() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# link NODE PROXY-OPTION...: its link is another from now on
link() {
	n=$1
	shift
	[ ! -f "$dir/proxy-$n.pid" ] || { kill "$(cat "$dir/proxy-$n.pid")" && wait "$(cat "$dir/proxy-$n.pid")"; }
	: >"$dir/$n.proxy"
	proxy "$(cat "$dir/$n.front" 2>/dev/null || echo 0)" "127.0.0.1:$(cat "$dir/$n.back")" "$@" >"$dir/$n.proxy" 2>"$dir/proxy-$n.log" &
	echo $! >"$dir/proxy-$n.pid"
	wait_for 5 test -s "$dir/$n.proxy" && cp "$dir/$n.proxy" "$dir/$n.front"
}
# linked NODE MEMORY PROXY-OPTION...: starts a node that the others reach over such a link
linked() {
	port_free >"$dir/$1.back"
	memory=$2 started=$1
	shift 2
	link "$started" "$@" || return 1
	echo "tcp://127.0.0.1:$(cat "$dir/$started.back")" >"$dir/$started.endpoint"
	node "$started" -- --memory "$memory" --advertise "tcp://127.0.0.1:$(cat "$dir/$started.front")"
}

# on NODE SUBCOMMAND ARG...: runs the command against a node's daemon
on() {
	target=$1 sub=$2
	shift 2
	caravan "$sub" --control "$dir/$target/control.sock" "$@"
}

pid_of() { cat "$dir/$1.pid"; }

alive() { kill -0 "$(pid_of "$1")" 2>/dev/null; }

ended() { ! alive "$1"; }

# speaks NODE: its daemon answers, healthy or not: the exit status of status is for that
speaks() {
	on "$1" status --json >"$dir/speaks" 2>&1
	grep -q '"healthy"' "$dir/speaks"
}
answers() { # NODE: it lives, and its loop gets round to a question in time
	timeout $((5 * slack)) caravan status --json --control "$dir/$1/control.sock" | grep -q '"healthy"' && alive "$1"
}

# expiring NODE, expired: an invitation of a second, and whether it is over
expiring() {
	on "$1" invite --expires 1s && date +%s >"$dir/expiring"
}
expired() { test "$(date +%s)" -gt $(($(cat "$dir/expiring") + 1)); }

settled() { # NODE: nothing more is added to its log, for now
	lines_then=
	until [ "$lines_then" = "$(wc -l <"$dir/$1.log")" ]; do
		lines_then=$(wc -l <"$dir/$1.log")
		sleep 0.3
	done
}

stop() { # NODE [SIGNAL]: and waits for its end; its status is the function's
	pid=$(pid_of "$1")
	kill "-${2:-TERM}" "$pid" 2>/dev/null
	wait "$pid"
	status=$?
	rm -f "$dir/$1.pid"
	return $status
}

# wait_for SECONDS COMMAND...: until it succeeds; slack makes seconds longer
wait_for() {
	tries=$(($1 * 10 * slack))
	shift
	while ! "$@" >"$dir/wait.out" 2>&1; do
		tries=$((tries - 1))
		[ $tries -gt 0 ] || {
			sed 's/^/# waited for: /' "$dir/wait.out" | tail -n 5
			return 1
		}
		sleep 0.1
	done
	cat "$dir/wait.out"
}

# cluster NAME...: starts nodes and joins all of them to the first
cluster() {
	first=$1
	for n in "$@"; do
		node "$n" || return 1
	done
	shift
	for n in "$@"; do
		on "$n" join "$(on "$first" invite)" || return 1
	done
	wait_for 10 all_up "$first" $(($# + 1))
}

# ---- reading status --json ---------------------------------------------------------------------------------
# asked NODE PATH [OP VALUE...]: of a node's status, by tests/tools/query: what is waited for is asked so, which costs little
asked() {
	target=$1
	shift
	caravan status --json --control "$dir/$target/control.sock" | query "$@"
}

# json EXPRESSION: of the object j on standard input, in Python's words, for what takes more than that; fails when it is false
# or an error
json() { python3 -c "import json, sys
j = json.load(sys.stdin)
r = $1
print(r)
sys.exit(0 if r else 1)"; }

all_up() { # NODE COUNT
	asked "$1" 'nodes[state=up]#' = "$2"
}

links_known() { # NODE...: each of them, which are all, has measured its links to the others: plans change until then
	for n in "$@"; do
		wait_for 30 links_of "$n" $(($# - 1)) || return 1
	done
}
links_of() { asked "$1" 'nodes[self=false][link_rate>0]#' = "$2"; }

state_is() { # NODE OF STATE
	asked "$1" "nodes[name=$2].state" = "$3"
}

serves() { # NODE MODEL
	asked "$1" "models[name=$2].state" = serving
}

same() { cmp -s "$1" "$2"; }
