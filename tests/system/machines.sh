#!/bin/sh
# machines: what is wrong with the machine of a node is said, for people and for programs, once and again and again.
. "$(dirname "$0")/lib.sh"

# two that were measured as a twentieth of what others are
require rates_known
for n in kitchen study; do
	require mkdir -m 700 "$dir/$n"
	awk '{ for (i = $1 == "type" ? 3 : $1 == "read" ? 2 : NF + 1; i <= NF; i++) $i = sprintf("%e", $i / 20); print }' "$rates" >"$dir/$n/rates"
done
require cluster kitchen study

# ---- status, again and again -------------------------------------------------------------------------------------
timeout 30 "$top_builddir/caravan" status --watch --control "$dir/kitchen/control.sock" >"$dir/watch" 2>&1 &
echo $! >"$dir/watch.pid"
verdicts() { test "$(grep -c "^The cluster is healthy" "$dir/watch")" -ge 2; }
check "status is printed again and again" wait_for 15 verdicts
check "on a pipe without control sequences" sh -c '! grep -q "$(printf "\033")" "$0"' "$dir/watch"
kill "$(cat "$dir/watch.pid")" 2>/dev/null
rm "$dir/watch.pid"
screen() { # ROWS [WORDS]: what a terminal with so many shows, twice, and the words below the nodes
	python3 - "$1" "$top_builddir/caravan" "$dir/kitchen/control.sock" "${2:-}" <<'END'
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
    sys.exit(1) if sys.argv[4] and not 0 < frame.find(b"memory in use") < frame.find(sys.argv[4].encode()) else None
END
}
check "without a model it says how there comes to be one" sh -c 'caravan status --control "$0" | grep -q "^  No model is loaded: caravan load FILE[.]$"' "$dir/kitchen/control.sock"
check "a terminal shows the newest alone" screen 100
check "a low one its beginning" screen 8

# ---- machines -----------------------------------------------------------------------------------------------------
tells() { # NODE KIND PATTERN: status says it, with advice
	on kitchen status --json | json "[p['what'] + ' ' + p['advice'] for p in j['problems'] if p['kind'] == '$2' and p['subject'] == '$1'][0]" >"$dir/told" &&
		grep -q "$3" "$dir/told" && on kitchen status | tr -s ' \n' ' ' | grep -qF "$(tr -s ' ' <"$dir/told")"
}
silent() { # NODE KIND: status does not say it
	! on kitchen status --json | json "[p['what'] for p in j['problems'] if p['kind'] == '$2' and p['subject'] == '$1']" >"$dir/told"
}
of() { on kitchen status --json | json "[n['$2'] for n in j['nodes'] if n['name'] == '$1'][0]"; }

# a model that is loaded before the machine comes that is quicker than both
require mkmodel "$dir/slow.gguf" q8_0 1024 6 16 8 2816 2000 4096
require on kitchen load --context 512 "$dir/slow.gguf"
check "what stays as it is comes below the nodes there" screen 100 "predicted: "
require node cellar CLOCK_AHEAD=4000 LD_PRELOAD="$(cd "$top_builddir" && pwd)/tests/tools/clock_ahead.so"
require on cellar join "$(on kitchen invite --expires 1d)"
require wait_for 15 all_up kitchen 3
check "a clock that is ahead is told from those of most" wait_for 15 tells cellar clock \
	"The clock of cellar is 67 minutes ahead of those of the others. Set it"
check "by how much is there for programs" sh -c 'test "${1%%.*}" -ge 3990 && test "${1%%.*}" -le 4000' sh "$(of cellar clock_ahead_seconds)"
check "and the clock of another is not" silent study clock
check "how long a node is up is there" sh -c 'test "${1%%.*}" -lt 600' sh "$(of cellar uptime_seconds)"

# ---- a node that a model does not use ----------------------------------------------------------------------------
check "a node that would make a model quicker is told" wait_for 40 tells cellar node-unused \
	"^cellar is not used by slow: with it, it would run at [0-9.e+]* tokens a second for one stream, instead of [0-9.]*[.] 'caravan unload slow' and then 'caravan load slow' make"
require on study unload slow
require on kitchen load slow
check "a plan that is made anew has it" asked kitchen 'models[0].stages[node=cellar]#' = 1
require on kitchen unload slow

# what the kernel says of a machine, in a namespace of its own
mkdir -p "$dir/thermal/thermal_zone0" "$dir/thermal/cooling_device0"
echo x86_pkg_temp >"$dir/thermal/thermal_zone0/type"
echo 93000 >"$dir/thermal/thermal_zone0/temp"
echo Processor >"$dir/thermal/cooling_device0/type"
echo 0 >"$dir/thermal/cooling_device0/cur_state"
sed 's/^MemAvailable:.*/MemAvailable:      90112 kB/' /proc/meminfo >"$dir/meminfo"
# a Raspberry Pi's firmware, caravand's own share of the swap space, and a small disk
mkdir -p "$dir/platform/soc/soc:firmware"
echo 0 >"$dir/platform/soc/soc:firmware/get_throttled"
echo "VmSwap:	  204800 kB" >"$dir/process"
require mkdir -m 700 "$dir/attic" "$dir/attic/store"
require cp "$rates" "$dir/attic/rates"
cat >"$dir/attic.sh" <<END
#!/bin/sh
exec unshare -m sh -c 'mount --bind "\$0/thermal" /sys/class/thermal && mount --bind "\$0/meminfo" /proc/meminfo &&
	mount --bind "\$0/platform" /sys/devices/platform && mount --bind "\$0/process" /proc/\$\$/status &&
	mount -t tmpfs -o size=60m,mode=700 none "\$0/attic/store" && exec "\$@"' "$dir" "\$@"
END
# and an older version of the program: the same, with another number in it.  Its end stays, which linkers let other texts share
version=$(asked kitchen 'nodes[self=true].version')
older=$(echo "$version" | sed 's/^../00/')
require python3 -c 'import sys
was, to, version, older = sys.argv[1:]
open(to, "wb").write(open(was, "rb").read().replace(version.encode() + b"\0", older.encode() + b"\0"))' \
	"$(command -v caravand)" "$dir/caravand-old" "$version" "$older"
chmod +x "$dir/caravand-old"
chmod +x "$dir/attic.sh"
if "$dir/attic.sh" true 2>/dev/null; then
	attic_daemon() { with "$dir/attic.sh $dir/caravand-old" node attic; }
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
	check "so is one whose daemon is in the swap space" tells attic swapped "^200 MiB of caravand's memory on attic is in the swap space. Close other programs there"
	check "and one whose disk is full" tells attic disk-full "^attic has no disk space left for more weights. Delete a model that is not needed with caravan rm"
	check "and one with an older version" tells attic old-version "^attic runs Caravan $older, and [a-z]* runs $version. Install the same version"
	check "but no other" silent study old-version
	check "a power supply that is good is not" silent attic weak-power
	echo 50005 >"$dir/platform/soc/soc:firmware/get_throttled"
	check "one that is weak is" wait_for 15 tells attic weak-power "^The processor of attic is slowed down because its power supply is too weak. Use the power supply"
	check "a cluster with such problems is healthy all the same" on kitchen status
else
	skip "a machine that is hot and short of memory" "mounts need root"
fi
# ---- its daemon goes while it is watched ----------------------------------------------------------------------------
gone() { # what the screen says then, twice, in place of what it said before
	python3 - "$(pid_of cellar)" "$top_builddir/caravan" "$dir/cellar/control.sock" <<'END'
import fcntl, os, pty, struct, sys, termios
daemon, caravan, control = int(sys.argv[1]), sys.argv[2], sys.argv[3]
pid, terminal = pty.fork()
if pid == 0:
    fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    os.execv(caravan, [caravan, "status", "--watch", "--control", control])
shown = b""
while b"The cluster is" not in shown:
    shown += os.read(terminal, 65536)
os.kill(daemon, 15)
while shown.count(b"no caravand answers") < 2:
    shown += os.read(terminal, 65536)
os.kill(pid, 9)
print(shown)
sys.exit(shown.count(b"\033[H\033[Jcaravan: no caravand answers") != 2)
END
}
check "when its daemon goes a screen says so, once" gone

finish
