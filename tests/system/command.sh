#!/bin/sh
# command: exit statuses, messages, help; what people type wrong.
. "$(dirname "$0")/lib.sh"

# outcome PATTERN COMMAND...: it succeeds, and one line on standard output says what has happened
outcome() {
	pattern=$1
	shift
	"$@" >"$dir/says.out" 2>"$dir/says.err" && grep -q -- "$pattern" "$dir/says.out" && test "$(wc -l <"$dir/says.out")" = 1 || {
		cat "$dir/says.out" "$dir/says.err"
		return 1
	}
}
narrow() { # COMMAND...: what it prints is not empty and fits 80 columns
	"$@" >"$dir/narrow" && test -s "$dir/narrow" && ! grep -nE '^.{81,}' "$dir/narrow"
}

# every command that there is: what --help prints is kept for the cases after it
helps() { caravan "$1" --help >"$dir/help" 2>"$dir/help.err" && grep -q "usage: caravan $1" "$dir/help" && ! test -s "$dir/help.err"; }
for c in $(caravan help | sed -n "s/^  \([a-z]*\)  .*/\1/p"); do
	check "$c --help says how, on standard output" helps "$c"
	check "$c -h and help $c say the same" sh -c 'caravan "$0" -h >"$1/h1" && caravan help "$0" | cmp - "$1/h1" && cmp "$1/help" "$1/h1"' "$c" "$dir"
	check "$c --help fits 80 columns" narrow cat "$dir/help"
	check "$c refuses an unknown option" says 2 "unknown option --frobnicate" caravan $c --frobnicate
done
check "caravan help, and --help of both programs, fit 80 columns" sh -c 'caravan help >"$0/h1" && caravan --help | cmp - "$0/h1" && caravand --help >"$0/h2" && caravand -h | cmp - "$0/h2" && ! grep -nE "^.{81,}" "$0/h1" "$0/h2"' "$dir"
check "help of an unknown command" says 2 "unknown command 'frob'" caravan help frob
check "a misspelt command brings a suggestion" says 2 "unknown command 'stauts'; did you mean 'status'?" caravan stauts
check "so does a misspelt option" says 2 "unknown option --sede; did you mean --seed?" caravan run --sede 1 x
check "with a value too" says 2 "unknown option --contxt; did you mean --context?" caravan load --contxt=1 x
check "an abbreviation of several names them" says 2 "--n is ambiguous: --name or --nodes" caravan load --n x y
check "options before the command are pointed out" says 2 "options follow the command" caravan --control x status
check "without a command: usage" says 2 "usage: caravan COMMAND" caravan
check "an unknown command" says 2 "unknown command 'frob'" caravan frob
check "caravan --help lists the commands" sh -c 'caravan --help | grep -q "invite "'
check "caravand --help" sh -c 'caravand --help | grep -q -- "--memory SIZE"'
check "caravand refuses an unknown option" says 2 "unknown option --frob" caravand --frob
check "and suggests one that it has" says 2 "unknown option --memry; did you mean --memory?" caravand --memry 12G
check "caravand refuses a wrong size" says 2 "not a size" caravand --memory 12X
check "caravand refuses a wrong endpoint" says 2 "tcp://ADDR:PORT" caravand --listen 127.0.0.1:1
check "an IPv6 address without its brackets is told so" says 2 "in brackets" caravand --listen tcp://fe80::1:7070
check "an unknown level is refused by name" says 1 "avx1024" env CARAVAN_CPU=avx1024 caravand --state "$dir/x" --listen off

check "a value that is no number" says 2 "'many' is not a whole number" caravan run -n many x
check "a temperature out of range" says 2 "is not a number from 0 to 100" caravan run --temp -1 x
check "two prompts" says 2 "unexpected argument .b. (a text of several words needs quotes)" caravan run a b
check "a wrong option after an operand is named" says 2 "unknown option --frobnicate" caravan run x --frobnicate
check "so is a letter among letters" says 2 "unknown option -z" caravan run x -zq
check "and an option whose value is missing" says 2 "option --temp needs a value" caravan run x --temp
check "a value for an option that takes none" says 2 "option --json takes no value" caravan run --json=1 x
check "for the daemon too" says 2 "option --help takes no value" caravand --help=1
check "which names a letter among letters too" says 2 "unknown option -x" caravand -xy
for c in load:FILE unload:MODEL join:TOKEN expel:NODE logits:ID; do
	check "${c%:*} says what is missing" says 2 "${c#*:} is missing" caravan "${c%:*}"
done
check "an empty operand is none" says 2 "NODE is empty" caravan expel ""
check "a token too many is no text that needs quotes" sh -c '! caravan join a b 2>&1 | grep quotes'
check "a context beyond all" says 2 "is not a whole number" caravan load --context 100000000 "$demo"
check "a name that no model can have" says 1 "neither the name of a model nor a path" caravan run -m "a b" x
for c in status models invite "run x" "tokenize x" "join t" "expel n" "unload m" "load $demo"; do
	# shellcheck disable=SC2086
	check "no daemon: ${c%% *}" says 1 "no caravand answers on" caravan ${c%% *} --control "$dir/nobody.sock" ${c#"${c%% *}"}
done
check "a control socket without a name" says 2 "needs a path" caravan status --control ""
check "a folder is no control socket" says 1 "is not a socket but a folder" caravan status --control "$dir"
echo >"$dir/plain"
check "nor is a file" says 1 "plain is not a socket" caravan status --control "$dir/plain"
check "a path too long for a socket" says 1 "at most 107 bytes" caravan status --control "$(printf '%0200d' 0)"
check "for the daemon too" says 1 "longer than 107 bytes" caravand --listen off --state "$dir/$(printf '%0100d' 0)"
check "an address that this machine has not" says 1 "has no such address" caravand --state "$dir/nowhere" --listen tcp://nowhere.invalid:1
check "a state folder that is a file" says 1 "Not a directory" caravand --state "$dir/plain" --listen off
check "a file that is not there" says 1 "nothing.gguf: No such file" caravan run -m "$dir/nothing.gguf" x
for c in run tokenize; do
	check "$c: a folder is no model" says 1 "is a folder" caravan $c -m "$dir/" x
	check "$c: nor is a device" says 1 "not a regular file" caravan $c -m /dev/null x
	check "$c: nor is a text" says 1 "$0: not a GGUF file" caravan $c -m "$0" x
done
mkfifo "$dir/pipe.gguf"
check "a pipe is not waited for" says 1 "not a regular file" timeout 10 caravan run -m "$dir/pipe.gguf" x
: >"$dir/empty.gguf"
check "an empty file" says 1 "empty.gguf: not a GGUF file" caravan run -m "$dir/empty.gguf" x
if [ "$(id -u)" != 0 ]; then
	cp "$demo" "$dir/secret.gguf" && chmod 0 "$dir/secret.gguf"
	check "a file that may not be read" says 1 "secret.gguf: Permission denied" caravan run -m "$dir/secret.gguf" x
else
	skip "a file that may not be read" "root may"
fi
echo "no model at all" >"$dir/junk.gguf"
check "a file that is no model" says 1 "junk.gguf" caravan run -m "$dir/junk.gguf" x
head -c 100000 "$demo" >"$dir/cut.gguf"
check "a file that is cut off" says 1 "cut.gguf" caravan run -m "$dir/cut.gguf" x

# ---- with a path -----------------------------------------------------------------------------------------
words() { i=0; while [ $i -lt "$1" ]; do printf 'word '; i=$((i + 1)); done; }
check "a prompt longer than the context is refused with both numbers" sh -c '
	caravan run -m "$1" "$2" 2>"$0/long" && exit 1
	grep -Eq "the prompt has [0-9]+ tokens, but the context of model .* is 512" "$0/long"' "$dir" "$demo" "$(words 600)"
check "an empty text has the beginning-of-text token alone" sh -c 'test "$(caravan tokenize -m "$0" "")" = 1' "$demo"
check "--no-bos leaves it out" sh -c 'test -z "$(caravan tokenize -m "$0" --no-bos "")"' "$demo"
check "special tokens count only when asked" sh -c '
	test "$(caravan tokenize -m "$0" --no-bos "</s>")" != 2 && test "$(caravan tokenize -m "$0" --no-bos --special "</s>")" = 2' "$demo"
check "-n bounds what is generated" sh -c 'test "$(caravan run -m "$0" --temp 0 -n 5 --json "" | python3 -c "import json, sys; j = json.load(sys.stdin); print(j[\"tokens\"], j[\"reason\"])")" = "5 limit"' "$demo"
check "a story ends by itself" sh -c 'test "$(caravan run -m "$0" --temp 0.5 --seed 1 --json "" | python3 -c "import json, sys; print(json.load(sys.stdin)[\"reason\"])")" = end' "$demo"
check "--stop ends before its text" sh -c '
	caravan run -m "$1" --temp 0 -n 100 "" >"$0/whole"
	caravan run -m "$1" --temp 0 -n 100 --stop "time" "" >"$0/stopped"
	test "$(cat "$0/stopped")" = "Once upon a " && grep -q "^Once upon a time" "$0/whole"' "$dir" "$demo"
check "penalties change the text" sh -c '
	caravan run -m "$1" --temp 0 -n 100 --repeat-penalty 1.5 "" >"$0/p1"; ! cmp -s "$0/p1" "$0/whole"' "$dir" "$demo"
check "a random seed is told, and gives the text again" sh -c '
	caravan run -m "$1" -n 40 --json "" >"$0/j1"
	seed=$(python3 -c "import json, sys; print(json.load(open(sys.argv[1]))[\"seed\"])" "$0/j1")
	caravan run -m "$1" -n 40 --seed "$seed" --json "" >"$0/j2"
	python3 -c "import json, sys; a, b = (json.load(open(f)) for f in sys.argv[1:]); assert a[\"text\"] == b[\"text\"]" "$0/j1" "$0/j2"' "$dir" "$demo"
check "the packed store is the user's, and is used again" sh -c 'test -n "$(ls "$0/caravan/store/tensors")"' "$XDG_STATE_HOME"
# who converts it waits for the lock on its folder; the limit only ends what waits
while_converted() {
	python3 -c 'import fcntl, os, subprocess, sys
fcntl.flock(os.open(sys.argv[1], os.O_RDONLY), fcntl.LOCK_EX)
sys.exit(subprocess.call(sys.argv[2:], timeout=60))' "$XDG_STATE_HOME/caravan/store/tensors" "$@"
}
check "a private daemon does not convert it" while_converted caravan tokenize -m "$demo" Once

# ---- a text that is as long as one may be, and one that is longer ---------------------------------------------
head -c 4194304 /dev/zero | tr '\0' '~' >"$dir/full"
check "a text of 4 MiB is taken, with all its tokens" sh -c '
	caravan tokenize -m "$1" --no-bos <"$0/full" >"$0/ids" && test "$(wc -l <"$0/ids")" = 1 && test "$(wc -w <"$0/ids")" -gt 2000000 &&
	! grep -q "  " "$0/ids"' "$dir" "$demo"
full_prompt() { caravan run -m "$demo" <"$dir/full"; }
check "as a prompt it is longer than any context" says 1 "the prompt has [0-9]* tokens, but the context of model" full_prompt
echo >>"$dir/full"
longer() { caravan "$@" <"$dir/full"; }
check "a longer prompt is refused, with the limit" says 1 "standard input is longer than the limit of 4.00 MiB" longer run -m "$demo"
check "a longer text too" says 1 "standard input is longer than the limit of 4.00 MiB" longer tokenize -m "$demo"

# ---- a node without models, without a network ---------------------------------------------------------------
require node alone
check "run without a model says what there is" says 1 "no model" on alone run x
check "an unknown model is named" says 1 "ghost" on alone run -m ghost x
check "unload of an unknown model" says 1 "ghost" on alone unload ghost
check "expel of an unknown node" says 1 "ghost" on alone expel ghost
check "expel of the node itself" says 1 "itself" on alone expel alone
check "a token that is none" says 1 "invitation" on alone join nonsense
require node small -- --memory 1M
check "too little memory says how much is missing" says 1 "[MG]iB" on small load "$demo"
check "a second daemon on the same socket is refused" says 1 "another caravand answers" caravand --state "$dir/another" --control "$dir/alone/control.sock" --listen off
check "a folder is not loaded" says 1 "is a folder" on alone load "$dir"
check "a name too long for a model" says 1 "invalid request" on alone unload "$(printf '%0100d' 0)"
check "half an invitation" says 1 "incomplete" on alone join caravan1-abc
check "an invitation of its own" says 1 "from this node" on alone join "$(on alone invite)"
require on alone load "$demo"
check "load of what serves already is success, and says so" outcome "^stories is already served on 1 node: alone (layers 0-[0-9]*)[.]$" on alone load "$demo"
check "by its name too" outcome "^stories is already served" on alone load stories
check "but not with other options than it has" says 1 "stories is already served with a context of 512; to change that, unload it first" on alone load --context 100 "$demo"
check "nor with a draft that it has not" says 1 "stories is already served with no draft" on alone load --draft "$demo" "$demo"
check "on the nodes where it is it may be named" outcome "^stories is already served" on alone load --nodes alone "$demo"

# ---- output that does not arrive -------------------------------------------------------------------------------
into_full() { # COMMAND...: says, with standard output that takes nothing
	"$@" >/dev/full 2>"$dir/says.err"
	test $? = 1 && grep -q "cannot write to standard output: No space left" "$dir/says.err" &&
		test "$(wc -l <"$dir/says.err")" = 1
}
for c in status "status --json" models invite "tokenize x" "run -n 3 x" "run -n 3 --json x" "load --help"; do
	# shellcheck disable=SC2086
	check "$c > /dev/full is an error" into_full on alone $c
done
check "caravan --help > /dev/full too" into_full caravan --help
check "nor does a device go with a result that does not fit it" sh -c '
	ln -s /dev/full "$0/device" && ! caravan logits --control "$0/alone/control.sock" --out "$0/device" 1 2 && test -c /dev/full && test -L "$0/device"' "$dir"
closed_pipe() {
	{
		on alone run --temp 0 -n 100 "" 2>"$dir/pipe.err"
		echo $? >"$dir/pipe.status"
	} | head -c 5 >"$dir/pipe.out"
	wait_for 5 test -s "$dir/pipe.status"
	test "$(cat "$dir/pipe.status")" = 0 && ! test -s "$dir/pipe.err"
}
check "a reader that has read enough is not an error" closed_pipe
pages_closed() { # COMMAND...: what it prints at its end has no reader any more
	{
		sleep 0.3
		"$@" 2>"$dir/pipe.err"
		echo $? >"$dir/pipe.status"
	} | true
	wait_for 5 test -s "$dir/pipe.status"
	test "$(cat "$dir/pipe.status")" = 0 && ! test -s "$dir/pipe.err"
}
for c in status "status --json" models invite "tokenize x" "load --help" "run -n 3 --json x"; do
	: >"$dir/pipe.status"
	# shellcheck disable=SC2086
	check "nor for $c" pages_closed on alone $c
done
closed() { ! on alone run -n 3 x >&- 2>"$dir/closed.err" && grep -q "Bad file descriptor" "$dir/closed.err"; }
check "a closed standard output is an error, and no way into the daemon" closed

# ---- interrupted -----------------------------------------------------------------------------------------------
check "unload says its outcome" outcome "^Unloaded stories" on alone unload stories
check "unload of what is unloaded" says 1 "model stories is on disk and not loaded" on alone unload stories
require mkmodel "$dir/slow.gguf" q8_0 1024 6 16 8 2816 2000 4096
begun() { if [ -d "$1" ]; then test -n "$(ls "$1")"; else test -s "$1"; fi; }
interrupted() { # PLACE COMMAND...: when there is something in this file or folder it ends on SIGINT, by that signal, saying nothing
	place=$1
	shift
	: >"$dir/int.out"
	# a shell without job control starts what is in the background with SIGINT ignored
	python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' "$@" >"$dir/int.out" 2>"$dir/int.err" &
	client=$!
	wait_for 20 begun "$place" || return 1
	private=$(grep -l "^PPid:[[:space:]]*$client$" /proc/[0-9]*/status 2>/dev/null)
	kill -INT $client
	wait $client
	test $? = 130 && ! test -s "$dir/int.err"
}
check "Ctrl-C ends a run that packs its model" interrupted "$dir/other/caravan/store/tensors" env XDG_STATE_HOME="$dir/other" caravan run -m "$dir/slow.gguf" x
check "which had a daemon of its own" test -n "$private"
over() { test ! -f "$private" || grep -q "^State:[[:space:]]*Z" "$private"; }
check "which ends too" wait_for 10 over
check "Ctrl-C ends a run" interrupted "$dir/int.out" caravan run -m "$dir/slow.gguf" --temp 0 ""
check "and its daemon" wait_for 10 over
require on alone load "$dir/slow.gguf"
check "Ctrl-C ends a run in a daemon" interrupted "$dir/int.out" caravan run --control "$dir/alone/control.sock" --temp 0 ""
idle() { asked alone 'models[0].sequences' = 0; }
check "which does not go on with it" wait_for 10 idle

# ---- a terminal ------------------------------------------------------------------------------------------------
# on_terminal COLUMNS COMMAND...: with standard error on a terminal that is so wide; what it gets is in $dir/screen
on_terminal() {
	python3 - "$dir/screen" "$@" <<'END'
import fcntl, os, pty, struct, subprocess, sys, termios
screen, columns, *command = sys.argv[1:]
ours, theirs = pty.openpty()
fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, int(columns), 0, 0))
p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs)
os.close(theirs)
said = b""
while True:
    try:
        got = os.read(ours, 65536)
    except OSError:
        break
    if not got:
        break
    said += got
open(screen, "wb").write(said)
sys.exit(p.wait())
END
}
frames() { # CONDITION: of f, the frames of the bar that the terminal got
	python3 - "$dir/screen" "$1" <<'END'
import sys
f = open(sys.argv[1], encoding="utf8", newline="").read().replace("\x1b[K", "").split("\r")
f = [x for x in f if x.strip() and "waiting " not in x]  # said on a machine that is very busy
print(*f, sep="\n")
sys.exit(0 if eval(sys.argv[2]) else 1)
END
}
long_prompt=$(words $((patience > 1 ? 100 : 160))) # sanitized, each takes several times as long
check "a long prompt is computed" on_terminal 80 caravan run --control "$dir/alone/control.sock" -n 2 "$long_prompt"
check "with a bar of how much of it" frames 'f and all(x.startswith("prompt [") and "of" in x and "tokens" in x for x in f)'
check "that goes again" frames 'open(sys.argv[1], newline="").read().endswith("\x1b[K")'
check "no time is left of the first report" frames '"left" not in f[0] and "/s" not in f[0]'
check "and fits the terminal" frames 'all(len(x) < 80 for x in f)'
piped() { on alone run -n 2 "more $long_prompt" >"$dir/piped" 2>"$dir/piped.err" && test -s "$dir/piped" && ! test -s "$dir/piped.err"; }
check "nothing of it goes to a pipe" piped

# ---- a chat ----------------------------------------------------------------------------------------------------
# talk GROUP...: chat.py
talk() { python3 "$top_srcdir/tests/system/chat.py" "$dir" "$dir/alone/control.sock" "$demo" "$dir/slow.gguf" "$@" >"$dir/cases" 2>"$dir/cases.err"; }
# talked STATUS GROUP...: its cases are cases of this script
talked() {
	came=$1
	shift
	while read -r line; do
		case $line in
		"ok "*) ok "${line#ok }" ;;
		"not ok "*) not_ok "${line#not ok }" ;;
		*) echo "# $line" ;;
		esac
	done <"$dir/cases"
	check "group $* of chats came to its end" test "$came" = 0
	[ "$came" = 0 ] || sed 's/^/# /' "$dir/cases.err" | tail -n 20
}
for group in words keys contexts interrupted waited lost; do
	talk $group
	talked $? $group
done
printf 'own {{ messages[0].content }}<think>' >"$dir/own.jinja"
require on alone load --nodes alone --name thinker --template "$dir/own.jinja" "$demo"
talk reasoning
talked $? reasoning
require on alone unload thinker
check "a conversation and special tokens do not go together" says 2 "what is in a message is text" caravan run --chat --special x
check "an unknown template is refused with those that there are" says 2 "there is no chat template nope; there are: llama2" caravan chat --template nope
check "a question on the command line is told where it belongs" says 2 "for one answer: caravan run --chat TEXT" caravan chat hello
echo Hello >"$dir/hello"
check "a chat with a model that is not there" says 1 "ghost" on alone chat -m ghost <"$dir/hello"
check "a pipe without a question" says 1 "standard input is empty" on alone chat </dev/null
rm "$dir/hello"
check "nothing of a chat is in a log" sh -c 'test -s "$0/alone.log" && ! grep -q Hello "$0"/*.log' "$dir"

# ---- a load that is interrupted --------------------------------------------------------------------------------------
require on alone unload slow
require node peer
require on peer join "$(on alone invite)"
require wait_for 10 all_up alone 2
kill -STOP "$(pid_of peer)" # so that the load is not over before it is interrupted
python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])' caravan load --control "$dir/alone/control.sock" --nodes all --name again "$dir/slow.gguf" >"$dir/load.out" 2>"$dir/load.err" &
client=$!
# the command has been sent: it catches SIGINT, which is 2 in the mask's last digit
caught() { grep -q "^Name:[[:space:]]*caravan$" "/proc/$client/status" && grep -q "^SigCgt:.*[2367abef]$" "/proc/$client/status"; }
check "a load begins" wait_for 10 caught
kill -INT $client
check "Ctrl-C says that it goes on, and how to stop it" wait_for 10 grep -q "the daemon continues to load again; to stop it: caravan unload again" "$dir/load.err"
check "and the command stays" kill -0 $client
kill -INT $client
wait $client
check "until the next one" test $? = 130
kill -CONT "$(pid_of peer)"
check "the daemon does go on" wait_for 30 serves alone again

# ---- a chat that waits for a node -----------------------------------------------------------------------------------
talk silent
talked $? silent
require wait_for 15 all_up alone 2

# ---- leaving, and coming back ----------------------------------------------------------------------------------------
answer() { # WORD COMMAND...: on a terminal, where somebody types that
	python3 -c 'import os, pty, sys
said = b""
pid, fd = pty.fork()
if pid == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
os.write(fd, sys.argv[1].encode() + b"\n")
try:
    while True:
        said += os.read(fd, 4096)
except OSError:
    pass
sys.stdout.write(said.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))' "$@"
}
refused() { ! answer "$@" >"$dir/asked" && cat "$dir/asked" && grep -q "\[y/N\]" "$dir/asked" && grep -q "nothing was done" "$dir/asked"; }
id_of() { asked "$1" 'nodes[self=true].id'; }
require on alone unload again
id_of peer >"$dir/id"
check "leave asks on a terminal" refused no caravan leave --control "$dir/peer/control.sock"
check "so does expel" refused "" caravan expel --control "$dir/alone/control.sock" peer
check "with --yes nobody is asked" answer no caravan leave --yes --control "$dir/peer/control.sock"
another() { id_of peer >"$dir/id2" && ! same "$dir/id" "$dir/id2" && all_up peer 1; }
check "the node is another one then, by itself" wait_for 15 another
check "in the same process" kill -0 "$(pid_of peer)"
check "with what was on its disk" sh -c 'test -n "$(find "$0/peer/store" -type f)"' "$dir"
left() { on alone status >"$dir/out" && ! grep -q peer "$dir/out"; }
check "the other does not show it any more" wait_for 5 left
check "it comes back by an invitation, with its name" on peer join "$(on alone invite)"
check "and both are up" wait_for 15 all_up alone 2
check "expel in a script asks nobody" on alone expel peer
told() { on peer status | tr -s ' \n' ' ' | grep -q "was expelled from its cluster: caravan leave"; }
check "who was expelled is told what to do" wait_for 5 told
check "and does it" on peer leave
check "then it can come back too" sh -c 'for i in 1 2 3 4 5 6 7 8 9 10; do caravan join --control "$0/peer/control.sock" "$(caravan invite --control "$0/alone/control.sock")" && exit; sleep 0.5; done; exit 1' "$dir"

# ---- a chat whose node dies ----------------------------------------------------------------------------------------
require on alone load --nodes alone --name slow again
talk gone &
chat=$!
require wait_for 60 test -f "$dir/killed"
require node alone
require wait_for 60 serves alone slow
: >"$dir/serves"
wait $chat
talked $? gone
finish
