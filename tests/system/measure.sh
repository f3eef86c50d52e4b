#!/bin/sh
# measure: figures of a node that are far off are found out by serving, said, and corrected; nodes are measured when somebody asks,
# here and elsewhere; and what is wrong with a machine is said.
. "$(dirname "$0")/lib.sh"

holds() { python3 -c 'import json, sys; j = json.load(open(sys.argv[1])); r = eval(sys.argv[2]); print(r); sys.exit(not r)' "$1" "$2"; }
problem() { on kitchen status --json | json "[p['$2'] for p in j['problems'] if p['kind'] == '$1' and p['subject'] == 'kitchen'][0]"; }

# a rates file that is 1000 times wrong: what other programs take from a machine is far less
require rates_known
require mkdir -m 700 "$dir/kitchen"
python3 - "$rates" "$dir/kitchen/rates" <<'END'
import sys
def off(words):  # all rates of a line
    return [w if i == 0 or (words[0] == "type" and i == 1) else "%e" % (float(w) / 1000) for i, w in enumerate(words)]
with open(sys.argv[1]) as was, open(sys.argv[2], "w") as wrong:
    for line in was:
        words = line.split()
        print(" ".join(off(words) if words[0] in ("read", "type") else words), file=wrong)
END
require node kitchen
require node study
require on study join "$(on kitchen invite)"
require wait_for 15 all_up kitchen 2
require mkmodel "$dir/slow.gguf" q8_0 1024 6 16 8 2816 2000 4096
require on kitchen load --nodes kitchen --context 512 "$dir/slow.gguf"
predicted() { on kitchen plan --json --nodes kitchen --name other "$dir/slow.gguf" >"$dir/j" && json "j['tokens_per_second']" <"$dir/j"; }
wrong=$(predicted)
check "a model generates" on kitchen run --no-drafts --temp 1 --seed 1 -n 60 "Once"
said() { problem prediction-off what | grep -E "The prediction for kitchen is off by a factor of [0-9]+, to be measured again"; }
check "status says that the prediction is off, by how much, and what is done about it" wait_for 30 said
check "so does the log" grep -Eq "the prediction for kitchen is off by a factor of [0-9]+ .*: measuring again" "$dir/kitchen.log"

# ---- another node is asked, meanwhile ------------------------------------------------------------------------
check "another node is measured" on kitchen measure study --json
cp "$dir/out" "$dir/study.json"
check "every figure lies within its spread" holds "$dir/study.json" 'j["node"] == "study" and j["threads"] == 1 and len(j["rates"]) > 10 and all(0 < r["low"] <= r["bytes_per_second"] <= r["high"] and 0 < r["many_low"] <= r["many"] <= r["many_high"] for r in j["rates"])'
refused() { ! "$@" 2>"$dir/said"; }
check "a node that there is not is refused" refused on kitchen measure ghost
check "by its name" grep -q "there is no node ghost" "$dir/said"

# ---- it has rested ---------------------------------------------------------------------------------------------
right() { now=$(predicted) && python3 -c 'import sys; now, wrong = map(float, sys.argv[1:]); print(now, wrong); sys.exit(not now > 10 * wrong)' "$now" "$wrong"; }
check "the figures are corrected" wait_for 60 right
check "and kept" sh -c 'python3 -c "
import sys
is_, was = ([float(l.split()[2]) for l in open(f) if l.startswith(\"type 8 \")][0] for f in sys.argv[1:])
sys.exit(not is_ > 10 * was / 1000)" "$1/kitchen/rates" "$0"' "$rates" "$dir"

# ---- one that serves --------------------------------------------------------------------------------------------
on kitchen run --no-drafts --temp 1 --seed 2 -n 450 "Once" >/dev/null 2>"$dir/err" &
echo $! >"$dir/run.pid"
running() { asked kitchen 'models[0].sequences' = 1; }
require wait_for 15 running
on kitchen measure >"$dir/table" 2>"$dir/note" &
echo $! >"$dir/measure.pid"
check "who asks while it serves hears that" wait_for 15 grep -q "it is serving: waiting, half a minute at most" "$dir/note"
kill "$(cat "$dir/run.pid")" 2>/dev/null
wait "$(cat "$dir/measure.pid")"
check "and has it measured when it rests" grep -E "^  Q8_0 .*B/s" "$dir/table"
check "as a table of 80 columns" sh -c 'test "$(wc -L <"$0")" -le 80' "$dir/table"
rm "$dir/run.pid" "$dir/measure.pid"

# ---- status, again and again -------------------------------------------------------------------------------------
timeout 30 "$top_builddir/caravan" status --watch --control "$dir/kitchen/control.sock" >"$dir/watch" 2>&1 &
echo $! >"$dir/watch.pid"
verdicts() { test "$(grep -c "^The cluster is healthy" "$dir/watch")" -ge 2; }
check "status is printed again and again" wait_for 15 verdicts
check "on a pipe without control sequences" sh -c '! grep -q "$(printf "\033")" "$0"' "$dir/watch"
kill "$(cat "$dir/watch.pid")" 2>/dev/null
rm "$dir/watch.pid"
screen() { # ROWS: what a terminal with so many shows, twice
	python3 - "$1" "$top_builddir/caravan" "$dir/kitchen/control.sock" <<'END'
import fcntl, os, pty, struct, sys, termios
rows, caravan, control = int(sys.argv[1]), sys.argv[2], sys.argv[3]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
    os.execv(caravan, [caravan, "status", "--watch", "--control", control])
shown = b""
while shown.count(b"\033[H\033[J") < 3:
    shown += os.read(terminal, 65536)
os.kill(pid, 9)
for frame in shown.split(b"\033[H\033[J")[1:3]:
    lines = frame.decode().split("\r\n")
    print(len(lines), lines[0], lines[-2])
    full = rows > 50
    good = lines[0].startswith("The cluster is ") and len(lines) <= rows and max(map(len, lines)) <= 80
    sys.exit(1) if not good or full == lines[-2].startswith("... ") else None
END
}
check "a terminal shows the newest alone" screen 100
check "a low one its beginning" screen 12

# ---- machines -----------------------------------------------------------------------------------------------------
tells() { # NODE KIND PATTERN: status says it, with advice
	on kitchen status --json | json "[p['what'] + ' ' + p['advice'] for p in j['problems'] if p['kind'] == '$2' and p['subject'] == '$1'][0]" >"$dir/told" &&
		grep -q "$3" "$dir/told" && on kitchen status | tr -s ' \n' ' ' | grep -qF "$(tr -s ' ' <"$dir/told")"
}
silent() { # NODE KIND: status does not say it
	! on kitchen status --json | json "[p['what'] for p in j['problems'] if p['kind'] == '$2' and p['subject'] == '$1']" >"$dir/told"
}
of() { on kitchen status --json | json "[n['$2'] for n in j['nodes'] if n['name'] == '$1'][0]"; }

require node cellar CLOCK_AHEAD=4000 LD_PRELOAD="$(cd "$top_builddir" && pwd)/tests/tools/clock_ahead.so"
require on cellar join "$(on kitchen invite --expires 1d)"
require wait_for 15 all_up kitchen 3
check "a clock that is ahead is told from those of most" wait_for 15 tells cellar clock \
	"The clock of cellar is 67 minutes ahead of those of the others. Set it"
check "by how much is there for programs" sh -c 'test "${1%%.*}" -ge 3990 && test "${1%%.*}" -le 4000' sh "$(of cellar clock_ahead_seconds)"
check "and the clock of another is not" silent study clock
check "how long a node is up is there" sh -c 'test "${1%%.*}" -lt 600' sh "$(of cellar uptime_seconds)"

# what the kernel says of a machine, in a namespace of its own
mkdir -p "$dir/thermal/thermal_zone0" "$dir/thermal/cooling_device0"
echo x86_pkg_temp >"$dir/thermal/thermal_zone0/type"
echo 93000 >"$dir/thermal/thermal_zone0/temp"
echo Processor >"$dir/thermal/cooling_device0/type"
echo 0 >"$dir/thermal/cooling_device0/cur_state"
sed 's/^MemAvailable:.*/MemAvailable:      90112 kB/' /proc/meminfo >"$dir/meminfo"
cat >"$dir/attic.sh" <<END
#!/bin/sh
exec unshare -m sh -c 'mount --bind "\$0/thermal" /sys/class/thermal && mount --bind "\$0/meminfo" /proc/meminfo && exec "\$@"' "$dir" "\$@"
END
chmod +x "$dir/attic.sh"
if "$dir/attic.sh" true 2>/dev/null; then
	attic_daemon() { with "$dir/attic.sh caravand" node attic; }
	require attic_daemon
	require on attic join "$(on kitchen invite)"
	require wait_for 15 all_up kitchen 4
	check "a machine with little memory is told" wait_for 15 tells attic low-memory "attic has 88.0 MiB of memory left, of .* Close other programs there"
	check "one that is warm and not slowed down is not" silent attic hot
	check "its temperature is there" test "$(of attic temperature_celsius)" = 93.0
	table() { on kitchen status >"$dir/table" && grep -Eq "$1" "$dir/table"; }
	check "also for people" table "attic .* 88.0 MiB of .* 93 C"
	echo 2 >"$dir/thermal/cooling_device0/cur_state"
	check "one that heat slows down is told" wait_for 15 tells attic hot "The processor of attic is slowed down by heat at 93 degrees Celsius"
	echo 0 >"$dir/thermal/cooling_device0/cur_state"
	check "a cluster with such problems is healthy all the same" on kitchen status
else
	skip "a machine that is hot and short of memory" "mounts need root"
fi
finish
