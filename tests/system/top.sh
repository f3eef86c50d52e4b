#!/bin/sh
# top: the cluster on a terminal, looked at as people do, while a node dies; and as lines for a screen reader.
. "$(dirname "$0")/lib.sh"

require cluster alpha beta gamma
require on alpha load --nodes alpha,gamma "$demo"

# ---- lines -------------------------------------------------------------------------------------------------------
caravan top --plain --control "$dir/beta/control.sock" >"$dir/plain" 2>"$dir/plain.err" &
echo $! >"$dir/plain.pid"
looks() { test "$(grep -c "^The cluster is healthy: 3 of 3 nodes up, 1 of 1 model serving.$" "$dir/plain")" -ge 2; }
check "lines of text, again and again" wait_for 15 looks
check "without control sequences, 80 columns wide" sh -c '! grep -q "$(printf "\\033")" "$0" && test "$(wc -L <"$0")" -le 80' "$dir/plain"
kill "$(cat "$dir/plain.pid")"
rm "$dir/plain.pid"
check "without a terminal it says how" says 2 "it needs a terminal: use --plain" sh -c "on() { caravan top --control '$dir/beta/control.sock' </dev/null; }; on"
check "without a daemon it says so" says 1 "no caravand answers" caravan top --plain --control "$dir/nowhere"

# ---- a terminal --------------------------------------------------------------------------------------------------
if ! command -v tmux >/dev/null; then
	skip "a terminal" "no tmux (on Debian: apt install tmux)"
	finish
fi
terminal() { LC_ALL=C.UTF-8 tmux -L "caravan-$$" -f /dev/null "$@"; }
trap 'terminal kill-server 2>/dev/null; clean_up' EXIT
ends="caravan top --control $dir/beta/control.sock; echo \"it ended with \$?\"; exec sleep 1000"
require terminal -u new-session -d -x 80 -y 24 "PATH='$PATH' $ends"
shows() { # PATTERN: on the screen, within some seconds
	shown=$1
	wait_for 10 sh -c 'LC_ALL=C.UTF-8 tmux -L "$0" capture-pane -p >"$1" && grep -qE "$2" "$1"' "caravan-$$" "$dir/screen" "$shown" || {
		cat "$dir/screen"
		return 1
	}
}
key() { terminal send-keys "$@"; }

check "the verdict" shows "^The cluster is healthy: 3 of 3 nodes up, 1 of 1 model serving"
check "a row for each node" shows "^ gamma +up +\[[| ]{10}\] +[0-9.]+ .iB"
check "the row of this node" shows "^ beta +up .* here "
check "a row for the model" shows "^ stories +serving +0 +0 +0 "
check "the keys" shows "q quit *$"
on gamma run -n 300 --temp 1 "Once" >"$dir/text"
check "what was generated is told" shows "^ stories: 0 tokens/s now, [1-9][0-9.]* the last [0-9]+ s$"
check "with its history" shows "^ +[▁▂▃▄▅▆▇█]"
key s
check "nodes are sorted by throughput" shows "^ node .*tokens/s v"
key s s s
check "and by name again" shows "^ node v"
key Down
key Down
key Enter
check "a node: what it is" shows "^Node gamma is up, linked for "
check "its layers" shows "^ stories +[0-9]+(-[0-9]+)? "
check "its links" shows "^ alpha +up +[0-9.]+ (µ|m)?s"
key Up
check "the one above" shows "^Node beta is up"
key Escape
key Tab
key Enter
check "a model: the way of a token" shows "^ layers +(alpha|gamma) [0-9]+(-[0-9]+)? > (alpha|gamma) [0-9]+(-[0-9]+)?$"
check "where the time of a step goes" shows "^ (alpha|gamma) +[0-9]+(-[0-9]+)? +\[[| ]{10}\] +[0-9.]+%"
key Escape
check "all of it again" shows "^ alpha +up "

# ---- streams: two run and one waits, asked of gamma, served by alpha, looked at on beta ----------------------------
require mkmodel "$dir/slow.gguf" q4_0 1024 8 16 16 2816 512 8192
require on alpha load --nodes alpha --parallel 2 --name slow "$dir/slow.gguf"
for i in 1 2 3; do
	caravan run --control "$dir/gamma/control.sock" -m slow --temp 0.9 --seed "$i" -n 8000 "abc" >"$dir/stream$i" 2>&1 </dev/null &
done
check "streams appear in a table" shows "^ [0-9]+ +slow +generating +[0-9]+ s +[0-9]+/[0-9]+ +[0-9]+/8[0-9]+ +[1-9][0-9.]* +gamma"
check "they are the throughput of the model, and of the nodes that compute it" shows "^ slow +serving +[1-9]"
check "one that waits has its place" shows "^ [0-9]+ +slow +queued, 1 .* gamma"
plain() { timeout 10 caravan top --plain --control "$dir/beta/control.sock" | grep -qE "^ [0-9]+ +slow +generating .* gamma"; }
check "and among lines of text" wait_for 10 plain
key Tab
key s
check "they are sorted by throughput" shows "^ stream .*tokens/s v"
key s s s
check "and as they came again" shows "^ stream v"
key Enter
check "a stream: what it is" shows "^Stream 1 of slow: generating, for [0-9]+ s"
check "its progress" shows "^ answer +\\[[| ]{10}\\] [1-9][0-9]* tokens, at most [0-9]+"
check "when it began to be answered" shows "^ first token after [0-9.]+ (µ|m)?s"
check "the history of its rate" shows "^ +[▁▂▃▄▅▆▇█]"
key Down
key Down
check "the one that waits" shows "^Stream 3 of slow: queued, for "
key Up
check "the one above it" shows "^Stream 2 of slow: generating"

require kill -9 "$(pid_of gamma)"
check "a stream whose node dies has ended" shows "^Stream 2 of slow has ended"
key Escape
check "none is left" wait_for 10 asked beta 'models[name=slow].streams_total' = 0
require on alpha unload slow
key Tab
key Tab
check "a node that dies is seen" shows "^The cluster is not healthy: 2 of 3 nodes up"
check "as it is in its row" shows "^ gamma +down +- +- "
check "and in words" shows "^  gamma has been down since "
key p
check "with what to do" shows "^ +Start caravand there, or check its network"
terminal resize-window -x 200 -y 50
key Escape
check "a larger window is filled: no sentence is wrapped" shows "^  gamma has been down since .{60,}\.$"
terminal resize-window -x 30 -y 6
check "in a small one the selected row is in sight" shows "^ stori~ "
terminal resize-window -x 80 -y 24
require node gamma
# the model may run on fewer nodes by now, which is told as well
check "it is seen to come back" shows "^The cluster is healthy(, but see below)?: 3 of 3 nodes up"

require kill -9 "$(pid_of beta)"
check "when its daemon dies it says so, and goes on" shows "^No news: no caravand answers on"
check "with what it knew" shows "^ gamma +up "
require node beta
check "and has news again when that is back" shows "^The cluster is healthy(, but see below)?: 3 of 3 nodes up"
key q
check "q ends it" shows "^it ended with 0"
finish
