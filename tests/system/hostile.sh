#!/bin/sh
# hostile: what a stranger, a member that has gone bad, and a client of the control socket may send.  After each the
# daemons live and answer, after each group of them the cluster tells the same story; the log says why, without end.
. "$(dirname "$0")/lib.sh"

cat >"$dir/junk.py" <<'PY'
import os, random, socket, struct, sys, time
how, count, host, port = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
random.seed(1)
greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + bytes(32)
held = []
for i in range(count):
    s = socket.socket()
    s.settimeout(5)
    try:
        s.connect((host, port))
        if how == "junk":
            s.sendall(random.randbytes(random.choice([1, 10, 64, 1000, 100000])))
        elif how == "http":
            s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        elif how == "greeting": # a peer that begins well and then claims a command of 2^63 bytes
            s.sendall(greeting + b"\x06" + struct.pack(">Q", 1 << 63) + b"\x05HELLO")
        elif how == "cut":
            s.sendall(greeting[:random.randrange(1, 64)])
        if how == "open":
            held.append(s)
        else:
            if how == "http":
                try:
                    while s.recv(1000):
                        pass
                except OSError:
                    pass
            s.close()
    except OSError:
        pass
if held:
    print("held", flush=True)
    time.sleep(3600)
PY
junk() { # HOW COUNT NODE
	address=$(cat "$dir/$3.endpoint")
	address=${address#tcp://}
	python3 "$dir/junk.py" "$1" "$2" "${address%:*}" "${address##*:}"
}

require cluster alpha beta gamma
require stop gamma
require mkmodel "$dir/second.gguf" q8_0 256 4 4 4 512 500 512
require on alpha load --nodes alpha,beta "$demo"
caravan run -m "$demo" --temp 0 -n 12 "" >"$dir/alone"
require test -s "$dir/alone"
key=$(asked alpha 'nodes[name=alpha].id')
address=$(cat "$dir/alpha.endpoint")
address=${address#tcp://}

# both: after a case.  Neither is dead, and the loop of neither is stuck.
both() { answers alpha && answers beta; }
# healthy: after a group.  They know each other, and tell the story through the one that was not attacked.
healthy() {
	both && wait_for 5 state_is alpha beta up >/dev/null &&
		on beta run -m stories --temp 0 -n 12 "" >"$dir/story" && same "$dir/alone" "$dir/story"
}
lines() { wc -l <"$dir/$1.log"; }
added() { echo $(($(lines alpha) - before)); } # lines in alpha's log since $before

require healthy
brief=$(expiring alpha)

# ---- strangers -------------------------------------------------------------------------------------------
before=$(lines alpha)
junk junk 1000 alpha
check "a thousand connections with junk" both
few() { settled alpha && test "$(added)" -lt 150; }
check "have left few lines in the log" few
check "with the reason" grep -q "refused a connection .*to tcp://$address: the handshake failed: not a node" "$dir/alpha.log"
before=$(lines alpha)
junk http 1 alpha
check "an HTTP request" both
junk greeting 50 alpha
check "a greeting, and then a command of 2^63 bytes" both
junk cut 50 alpha
check "greetings that break off" both
python3 "$dir/junk.py" open 200 "${address%:*}" "${address##*:}" >"$dir/held" &
echo $! >"$dir/holder.pid"
check "200 connections are held half open" wait_for 10 grep -q held "$dir/held"
check "beside them the cluster works" healthy
token=$(on alpha invite)
require node delta
check "and a node can still join" on delta join "$token"
kill "$(cat "$dir/holder.pid")"
rm "$dir/holder.pid"
check "its daemon lives when they end" both
check "all of it was told in few lines" few
require on alpha expel delta
stop delta

stranger() { # HOW PATTERN: and alpha says why it does not talk to it
	rogue "$1" "$address" "$key" | grep -Eq "$2" && both
}
check "a ZeroMQ peer without CURVE" stranger null "handshake|closed"
check "CURVE to another server key" stranger other "handshake|closed"
check "is told as such" wait_for 10 grep -q "made for another key" "$dir/alpha.log"
check "a key that nobody knows" stranger unknown "the key was refused"
check "is told as such" grep -q "refused 127.0.0.1 with key .*: not a node of this cluster" "$dir/alpha.log"
before=$(lines alpha)
for i in 1 2 3 4 5 6 7 8 9 10; do rogue null "$address" "$key" >/dev/null; done
check "ten more strangers are no ten lines" sh -c 'test "$0" -le 3' "$(added)"
check "after all strangers the cluster tells its story" healthy

# ---- guests ------------------------------------------------------------------------------------------------
guest() { # CASE PATTERN
	rogue guest "$token" "$1" >"$dir/rogue.out"
	cat "$dir/rogue.out"
	grep -Eq "$2" "$dir/rogue.out" && both
}
check "a used invitation" guest join "the key was refused"
check "is told as such" grep -Eq "refused 127.0.0.1 with key .*used" "$dir/alpha.log"
require wait_for 3 expired
token=$brief
check "an expired invitation" guest join "the key was refused"
check "is told as such" grep -Eq "refused 127.0.0.1 with key .*expired" "$dir/alpha.log"
token=$(on alpha invite)
check "a guest that says Hello" guest hello "lost: .*Hello is not accepted here"
check "a guest that pings" guest ping "lost: .*Ping is not accepted here"
check "a guest without a name" guest nameless "lost: Entry: a node without a name"
check "a guest that cannot be reached" guest unreachable "refused: not the entry of a node"
check "a guest that says it is expelled" guest dead "refused: not the entry of a node"
check "a guest that says it is the server" guest server "refused: this machine has the same key as"
check "after all guests the cluster tells its story" healthy

# ---- a member -------------------------------------------------------------------------------------------
# rogue has the key of gamma, which is in the roster.  CASE | what alpha makes of it | what it is
victim=alpha
misbehave() { # CASE PATTERN
	rogue member "$dir/gamma" "$dir/$victim/control.sock" "$victim" "$1" >"$dir/rogue.out" 2>&1
	cat "$dir/rogue.out"
	grep -Eq -- "$2" "$dir/rogue.out" && both
}
members() { # WHAT: a group, from standard input
	while IFS='~' read -r name pattern what; do
		[ -n "$name" ] && check "$name: $what" misbehave "$name" "$pattern"
	done
	check "after $1 the cluster tells its story" healthy
}
before=$(lines alpha)
members "broken frames" <<'CASES'
ping~^pong~a member that behaves gets an answer
junk~^lost: an envelope that cannot be unpacked~an envelope of random bytes
empty~^lost: a message with the wrong frames~an empty frame
empty-payload~^lost: a message with the wrong frames~an empty payload
two-payloads~^lost: a message with the wrong frames~a frame too many
many-frames~^lost: a message with the wrong frames~a thousand frames
large-envelope~^lost: a message with the wrong frames~an envelope of more than 64 KiB
large-payload~connection was closed~a payload of more than 4 MiB
stray-payload~^lost: Ping: an unexpected payload of 4096 bytes~a payload where none belongs
no-body~^lost: an envelope without a known message~an envelope without a body
unknown-body~^lost: an envelope without a known message~a body that nobody knows
bomb~^lost: an envelope that cannot be unpacked~tens of thousands of parts in an envelope
flood~^refused: this node coordinates no model nothing~20000 requests at once
CASES
members "links out of order" <<'CASES'
no-hello~^lost: a link must begin with Hello~a message before Hello
hello-twice~^lost: message 2 after 1~Hello twice
begins-at-seven~^lost: its first message is not number 1~a first message that is not the first
gap~^lost: message 7 after 1~a gap in the numbers
replay~^lost: message 1 after 1~the same number twice
other-boot~^lost: message 2 after 1, after a restart~another start in the middle
old-version~^refused: protocol 9.0 does not work with~another version of the protocol
answer~^lost: Block is not accepted here~an answer to no question
control~^lost: CtlExpel is not accepted here~a command of the control socket
join~^lost: Join is not accepted here~an invitation's message from a member
many-links~^(lost|pong)~links without end
CASES
members "lies in rosters and heartbeats" <<'CASES'
roster-name~^lost: Entry: bad name~a name that is a path
roster-endpoint~^lost: Entry: bad endpoint~an endpoint that is no TCP address
roster-short-id~^lost: Entry: bad node~an id that is too short
roster-too-many~^lost: RosterUpdate: bad roster~a roster of too many nodes
roster-above~^lost: Entry: bad version~a version beyond all
roster-others~^pong~lies about where the others are
ping-nan~^lost: NodeState: bad read_bandwidth~a rate that is no number
ping-escape~^lost: NodeState: bad cpu~an escape sequence for the terminal
ping-memory~^lost: NodeState: bad memory_used~memory beyond all
CASES
members "requests for content" <<'CASES'
fetch~^block 64~content that is there
fetch-unknown~^refused: no content~content that is not there
fetch-beyond~^refused: content .* has [0-9]+ bytes~an offset beyond the end
fetch-negative~^lost: Fetch: bad offset~an offset beyond all
fetch-chunk~^refused: no content~a chunk of what is no tensor
fetch-nothing~^lost: Fetch: bad length~a block of no bytes
fetch-large~^lost: Fetch: bad length~a block of too many bytes
fetch-flood~^(refused|block)~2000 blocks at once
CASES
check "where the others are did not change" sh -c '! caravan status --control "$0/alpha/control.sock" --json | grep -q "127.0.0.1:9\"" &&
	! caravan status --control "$0/beta/control.sock" --json | grep -q "127.0.0.1:9\""' "$dir"
members "plans" <<'CASES'
prepare-other~^refused: only the plan's coordinator~a plan with another coordinator
prepare-foreign~^lost: Plan: its epoch names another node~a plan with another's epoch
prepare-stranger~^refused: this node is not a stage of the plan~a plan without the node
prepare-twice~^refused: the plan names a node twice~a plan with a node twice
prepare-arithmetic~^refused: the plan needs arithmetic revision~another arithmetic
prepare-layers~^refused: the plan has 60000 layers~layers that the model has not
prepare-few-layers~^refused: the plan has 1 layers~layers that are missing
prepare-late~^lost: Plan: stage 0 does not follow~layers that do not begin at 0
prepare-huge-layer~^lost: Stage: bad last~layers beyond all
prepare-no-stage~^lost: Plan: bad stages~a plan of no stages
prepare-blocks~^refused: layers .* need .* GiB with KV cache~2^32 blocks
prepare-rows~^lost: Plan: bad max_rows~rows beyond all
prepare-context~^lost: Plan: bad context~a context beyond all
prepare-manifest~^refused: .*blob 010203~a manifest that is nowhere
prepare-vocab~^refused: the plan names another vocabulary~a vocabulary that is not the model's
prepare-taken~^refused: (the name stories is in use|the plan is older)~the name of another's model
prepare-name~^lost: Plan: bad model~a name with a line feed
prepare~^ready~a plan that is none of these is prepared
CASES
members "news" <<'CASES'
news-other~^refused: only the plan's coordinator may announce it~news in another's name
news-epoch~^lost: Plan: its epoch names another node~the end of another's model, under its own number
news-taken~^refused: ~the end of another's model
news-phase~^lost: PlanAnnounce: bad phase~a phase that nobody knows
news-lie~^refused: ~a model that is nowhere
news-third~^refused: beta does not say that it serves its stage~a model on another node, which does not know it
news-over~^ack~and its end
news-flood~^ack~a thousand models that come and go
unload-unknown~^refused: this node coordinates no model ghost~the unloading of what is not there
CASES
members "steps" <<'CASES'
step~^step_ack~a step that is good is taken
step-block~^step_ack~a block beyond the last
step-block-max~^step_ack~block 2^32 - 1
step-second-block~^step_ack~a second block beyond the last
step-overlap~^step_ack~two sequences that write one block
step-read-written~^step_ack~a sequence that reads what another writes
step-itself~^step_ack~a block twice in one table
step-few-blocks~^lost: StepSeq: 1 blocks do not hold position 65~too few blocks
step-no-blocks~^lost: StepSeq: bad blocks~no blocks
step-odd-blocks~^lost: StepSeq: bad blocks~half a block's number
step-many-blocks~^step_ack~more blocks than the context has
step-position~^lost: StepSeq: bad position~a position beyond all
step-too-many-rows~^step_ack~more rows than the plan allows
step-no-rows~^lost: StepSeq: bad rows~no rows
step-wrong-sum~^lost: Step: 3 rows, but its sequences have 1~rows that do not add up
step-huge-sum~^lost: StepSeq: bad rows~rows beyond all
step-outputs~^lost: StepSeq: 4294967295 outputs of 1 rows~more outputs than rows
step-many-seqs~^lost: Step: bad seqs~too many sequences
step-short~^step_ack~a payload that is too short
step-long~^step_ack~a payload that is too long
step-half~^step_ack~a payload of half the width
step-no-payload~^lost: Step: an unexpected payload of 0 bytes~no payload
step-stage~^refused: this node does not serve stage 1 of model evil~another stage
step-stage-max~^lost: Step: bad stage~a stage beyond all
step-epoch~^refused: this node does not serve stage 0~another epoch
step-number-zero~^lost: Step: bad step~step number 0
step-model~^refused: this node does not serve stage 0 of model ghost~another model
step-infinite~^step_ack~activations that are infinite
step-nan~^step_ack~activations that are no numbers
step-enormous~^step_ack~activations that overflow
step-again~^step_ack~the same step twice
step-foreign~^refused: steps for stage . of stories come from another node~a step into another's pipeline
done-foreign~^refused: model stories: that node is not the last stage~results for another's pipeline
failed-foreign~^pong~failures of another's pipeline
news-over~^ack~the end of that model
CASES
members "prompts" <<'CASES'
submit~^tokens~a prompt that is good
submit-vocab~^refused: token 1000000000 at position 1 is outside~a token outside the vocabulary
submit-long~^refused: the prompt has 20000 tokens~a prompt longer than the context
submit-short~^lost: Submit: an unexpected payload of 12 bytes~fewer tokens than were announced
submit-model~^refused: this node does not coordinate model ghost~a prompt for what is not there
submit-nan~^lost: Sampling: bad temperature~a temperature that is no number
submit-flood~^(queued|tokens|refused)~5000 prompts at once
cancel-all~^pong~the cancelling of what is not its own
CASES
for why in "block 4 of 4" "block 4294967295 of 4" "block 1048576 of 4" "writes a block that the step writes already" \
	"block 0 is written elsewhere" "65 rows of 1 sequences in a step of at most 64" "is not 1 rows of" "comes after step 7"; do
	check "alpha said why a step was refused: $why" grep -q "step.*refused: .*$why" "$dir/alpha.log"
done
check "the log of all that is short" sh -c 'test "$0" -lt 400' "$(added)"
check "a line is not said twice" sh -c 'test "$(grep -c "an envelope that cannot be unpacked" "$0")" = 1' "$dir/alpha.log"
no_evil() { # it may be a copy on a disk, which is a member's right, but no model; a node is down, so status fails
	on alpha status --json >"$dir/listed"
	grep -q stories "$dir/listed" && ! grep evil "$dir/listed"
}
check "nothing is left of the rogue's models" no_evil
freed() { on alpha status --json | json "sum(m.get('sequences', 0) for m in j['models']) == 0"; }
check "nor of its prompts" wait_for 10 freed

# against the node that does not coordinate
victim=beta
members "all of that at beta" <<'CASES'
news-taken~^refused: ~the end of another's model, told to one of its stages
prepare-taken~^refused: ~a plan under another's name, told to one of its stages
step-foreign~^refused: steps for stage . of stories come from another node~a step into its stage
roster-others~^pong~lies about where the others are
CASES
victim=alpha

# ---- counters at their ends -----------------------------------------------------------------------------
members "the last epoch" <<'CASES'
prepare-epoch~^lost: Epoch: bad counter~an epoch beyond all
news-last~^ack~the last epoch that there is
CASES
check "another model can be loaded after that" on alpha load --nodes alpha,beta --name second "$dir/second.gguf"
check "and unloaded" on alpha unload second
members "a crowd" <<'CASES'
roster-crowd~^pong~a roster filled with nodes that are not there
CASES
stop beta
stop alpha
require node alpha
require node beta
check "after a restart the cluster is the same" wait_for 20 serves beta stories
check "and well" healthy

# ---- the control socket ---------------------------------------------------------------------------------
python3 - "$dir/alpha/control.sock" "$dir/clients" <<'PY' &
import array, os, random, socket, struct, sys, time
path, out = sys.argv[1:]
random.seed(2)
def conn():
    s = socket.socket(socket.AF_UNIX)
    s.connect(path) # waits while the daemon has not taken those before
    s.settimeout(20)
    return s
def closed(s): # whether the daemon closes it, in 10 s
    s.settimeout(10)
    try:
        while s.recv(65536):
            pass
        return True
    except socket.timeout:
        return False
    except OSError:
        return True
def frame(env, payload=b""):
    return struct.pack("<II", len(env), len(payload)) + env + payload
def body(number, inner):
    def varint(v):
        b = b""
        while v > 127:
            b, v = b + bytes([v & 127 | 128]), v >> 7
        return b + bytes([v])
    return varint(number << 3 | 2) + varint(len(inner)) + inner
status, run = body(75, b""), body(76, b"\x0a\x07stories\x1a\x00")
results = {}
def case(name, good):
    results[name] = good
    with open(out + ".new", "w") as f:
        for k, v in results.items():
            print(k, "yes" if v else "no", file=f)
    os.rename(out + ".new", out)

s = conn(); s.sendall(b"\xff" * 100); case("lengths", closed(s))
s = conn(); s.sendall(struct.pack("<II", 65537, 0)); case("envelope", closed(s))
s = conn(); s.sendall(struct.pack("<II", 10, (64 << 20) + 1)); case("payload", closed(s))
s = conn(); s.sendall(struct.pack("<II", 0, 0)); case("nothing", closed(s))
s = conn(); s.sendall(frame(random.randbytes(100))); case("junk", closed(s))
s = conn(); s.sendall(frame(body(10, b"\x08\x01"))); case("hello", closed(s))
s = conn(); s.sendall(frame(status, b"x" * 100)); case("stray", closed(s))
s = conn(); s.sendall(b"\x01\x02\x03"); s.close(); case("cut", True)
s = conn(); s.sendall(frame(run, b"a prompt")[:-3]); s.close(); case("cut-payload", True)
# descriptors and no command, more and more of them
s = conn()
try:
    for i in range(200):
        fds = array.array("i", [0] * 60)
        s.sendmsg([b"\x04"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
except OSError:
    pass
s.close()
case("descriptors", True)
# more clients than there is room for
many = []
for i in range(400):
    try:
        many.append(conn())
    except OSError:
        break
for m in many:
    m.close()
case("many", True)
# several commands in one go are answered one after the other
s = conn(); s.sendall(frame(status) * 5)
got = b""
s.settimeout(10)
try:
    while True:
        n = 0
        at = 0
        while at + 8 <= len(got):
            e, p = struct.unpack("<II", got[at:at + 8])
            if at + 8 + e + p > len(got):
                break
            n += got[at + 8:at + 10] == b"\xe2\x05" # CtlEnd
            at += 8 + e + p
        if n == 5:
            break
        d = s.recv(65536)
        if not d:
            break
        got += d
except socket.timeout:
    pass
case("pipelined", n == 5)
# long generations whose client never reads, and goes on asking
lazy = []
for i in range(4):
    s = conn()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.sendall(frame(run, b"Once"))
    lazy.append(s)
s = lazy[0]
s.settimeout(1)
sent = 0
try: # far more behind a command that runs than a daemon may keep
    while sent < 300 << 20:
        sent += s.send(b"\0" * (1 << 20))
except OSError:
    pass
case("piled", sent < 300 << 20)
case("lazy", True)
time.sleep(3600)
PY
echo $! >"$dir/clients.pid"
told() { grep -q "^$1 yes" "$dir/clients"; }
for c in lengths envelope payload nothing junk hello stray; do
	check "control: $c ends the connection" wait_for 20 told $c
done
check "control: what breaks off" wait_for 10 told cut-payload
check "control: descriptors without a command" wait_for 20 told descriptors
check "control: more clients than there is room for" wait_for 20 told many
check "control: commands in one go are answered" wait_for 20 told pipelined
check "control: what piles up behind a command is bounded" wait_for 60 told piled
check "control: clients that do not read" wait_for 10 told lazy
check "whose generations come to their end" wait_for 30 freed
check "beside all of that the cluster works" healthy
ticks() { awk '{ print $14 + $15 }' "/proc/$(pid_of alpha)/stat"; }
idle() { # the daemon does not spin over a client that has more to say than is taken
	ticked=$(ticks)
	sleep 1
	test $(($(ticks) - ticked)) -lt $(($(getconf CLK_TCK) / 4))
}
idle_soon() { idle || idle || idle || idle || idle; }
check "and alpha is idle" idle_soon
memory() { test "$(sed -n 's/^VmRSS:[^0-9]*\([0-9]*\) kB/\1/p' "/proc/$(pid_of alpha)/status")" -lt 1000000; }
check "and small" memory
files() { test "$(find "/proc/$(pid_of alpha)/fd" -mindepth 1 | wc -l)" -lt 100; }
check "and has few files open" wait_for 5 files
kill "$(cat "$dir/clients.pid")"
check "when its clients go it lives" healthy
check "alpha ends cleanly" stop alpha
check "beta ends cleanly" stop beta
finish
