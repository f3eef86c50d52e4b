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

# clients of the control socket; what the node itself closes meanwhile, as when a copy is done, leaves room for one more of them
told() { ! on a status 2>"$dir/told" && grep -q "out of file descriptors\|too many clients" "$dir/told"; }
crowded() { crowd unix "$dir/a/control.sock" 200 && { told || { disperse && false; }; }; }
require wait_for 30 asked a 'models[0].copies.complete' = true
check "a client that finds no descriptor left is told" wait_for 30 crowded
check "the node is idle beside them" idle_soon a
require disperse
check "when they have gone it answers" wait_for 10 answers a
check "and lives" on a run --temp 0 -n 8 "Once"

# ---- a message without an end ------------------------------------------------------------------------------------
# A member that speaks the protocol of libzmq itself: no frame is too long, and there is always one more.
cat >"$dir/endless.py" <<'PY'
import ctypes, ctypes.util, os, socket, struct, sys
where, server_hex, key_file, connections, mib = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
name = ctypes.util.find_library("sodium") or "libsodium.so.23"
try:
    sodium = ctypes.CDLL(name)
except OSError:
    sys.exit(77)
Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
def z85(text):
    out = b""
    for i in range(0, len(text), 5):
        v = 0
        for c in text[i:i + 5]:
            v = v * 85 + Z85.index(c)
        out += struct.pack(">I", v)
    return out
def keypair():
    p, s = ctypes.create_string_buffer(32), ctypes.create_string_buffer(32)
    sodium.crypto_box_keypair(p, s)
    return p.raw, s.raw
def public(secret):
    p = ctypes.create_string_buffer(32)
    sodium.crypto_scalarmult_base(p, secret)
    return p.raw
def box(text, nonce, to, secret):
    out = ctypes.create_string_buffer(len(text) + 16)
    assert sodium.crypto_box_easy(out, text, ctypes.c_ulonglong(len(text)), nonce, to, secret) == 0
    return out.raw
def unbox(data, nonce, of, secret):
    out = ctypes.create_string_buffer(len(data) - 16)
    assert sodium.crypto_box_open_easy(out, data, ctypes.c_ulonglong(len(data)), nonce, of, secret) == 0
    return out.raw
server, secret = bytes.fromhex(server_hex), z85(open(key_file).read().strip())
own = public(secret)

class Connection:
    def __init__(self):
        host, port = where.rsplit(":", 1)
        self.s = socket.create_connection((host, int(port)), timeout=20)
        self.s.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"CURVE".ljust(20, b"\0") + b"\0" + bytes(31))
        self.take(64)
        self.short_public, short_secret = keypair()
        self.number = 0
        hello = box(bytes(64), b"CurveZMQHELLO---" + self.nonce(), server, short_secret)
        self.command(b"\x05HELLO\x01\x00" + bytes(72) + self.short_public + self.last + hello)
        welcome = self.frame()
        assert welcome[:8] == b"\x07WELCOME", welcome
        inner = unbox(welcome[24:], b"WELCOME-" + welcome[8:24], server, short_secret)
        short_server, cookie = inner[:32], inner[32:]
        vouch_nonce = os.urandom(16)
        vouch = box(self.short_public + server, b"VOUCH---" + vouch_nonce, short_server, secret)
        meta = b"\x0bSocket-Type" + struct.pack(">I", 6) + b"DEALER" + b"\x08Identity" + struct.pack(">I", 0)
        n = self.nonce()
        sealed = box(own + vouch_nonce + vouch + meta, b"CurveZMQINITIATE" + n, short_server, short_secret)
        self.command(b"\x08INITIATE" + cookie + n + sealed)
        ready = self.frame()
        assert ready[:6] == b"\x05READY", ready
        # the same bytes again and again, each time under the next number
        self.to, self.by = short_server, short_secret
    def nonce(self):
        self.number += 1
        self.last = struct.pack(">Q", self.number)
        return self.last
    def take(self, n):
        got = b""
        while len(got) < n:
            d = self.s.recv(n - len(got))
            if not d:
                raise OSError("closed")
            got += d
        return got
    def frame(self):
        flags = self.take(1)[0]
        return self.take(struct.unpack(">Q", self.take(8))[0] if flags & 2 else self.take(1)[0])
    def command(self, body):
        head = b"\x04" + bytes([len(body)]) if len(body) < 256 else b"\x06" + struct.pack(">Q", len(body))
        self.s.sendall(head + body)
    def part(self, data):
        n = self.nonce()
        body = b"\x07MESSAGE" + n + box(b"\x01" + data, b"CurveZMQMESSAGEC" + n, self.to, self.by)
        self.s.sendall(b"\x02" + struct.pack(">Q", len(body)) + body)

data, sent, alive = bytes(1 << 20), 0, []
for i in range(connections):
    alive.append(Connection())
print("connected", flush=True)
closed = 0
while alive and sent < mib:
    for c in list(alive):
        try:
            c.part(data)
            sent += 1
        except OSError:
            closed += 1
            alive.remove(c)
print("sent", sent, "closed", closed, flush=True)
sys.exit(0 if not alive else 1)
PY
id_of() { asked a "nodes[name=$1].id"; }
endless() { # CONNECTIONS MIB: and how large a becomes meanwhile, in KiB, stands in $dir/most
	python3 "$dir/endless.py" "$address" "$a_id" "$dir/b/key" "$@" >"$dir/endless" 2>"$dir/endless.err" &
	endless_pid=$!
	echo "$endless_pid" >"$dir/endless.pid"
	most=0
	while kill -0 "$endless_pid" 2>/dev/null; do
		now=$(resident a)
		[ "${now:-0}" -le "$most" ] || most=$now
		sleep 0.02
	done
	wait "$endless_pid"
	endless_status=$?
	rm "$dir/endless.pid"
	echo "$most" >"$dir/most"
	return $endless_status
}
grown() { test "$(cat "$dir/most")" -lt $((before + $1 * 1024)); } # MIB
a_id=$(id_of a)
before=$(resident a)
endless 1 4000
endless_status=$?
if [ "$endless_status" = 77 ]; then
	skip "a message without an end" "there is no libsodium to speak for a member"
else
	check "a message of endless parts ends its connection" test "$endless_status" = 0
	cat "$dir/endless" "$dir/endless.err"
	check "which is said, and of whom" said a "closed a connection with 127.0.0.1.*: [0-9]* MiB received of a message that does not end"
	check "it has not taken more memory than a few messages" grown $((250 * patience))
	before=$(resident a)
	check "nor do many that stay below that, together" endless 40 4000
	check "or take more" grown $((300 * patience))
	check "and the node serves" on a run --temp 0 -n 8 "Once"
fi
# ---- clients that do not read ------------------------------------------------------------------------------------
# a row of logits is 128 KB: 900 of them 110 MiB for each client
require mkmodel "$dir/wide.gguf" q8_0 64 2 2 2 96 32768 1024
require on a unload deep
require on a load --context 1024 --parallel 9 "$dir/wide.gguf"
ids=$(python3 -c 'print(*(i % 200 + 10 for i in range(900)))')
# shellcheck disable=SC2086
require on a logits --out "$dir/wide.whole" $ids
cat >"$dir/lazy.py" <<'PY'
import hashlib, os, socket, struct, sys, time
path, count, whole, go = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
ids = struct.pack("<900I", *(i % 200 + 10 for i in range(900)))
env = b"\xea\x04" + bytes([6]) + b"\x0a\x04wide" # CtlLogits of that model
lazy = []
for i in range(count):
    s = socket.socket(socket.AF_UNIX)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(path)
    s.sendall(struct.pack("<II", len(env), len(ids)) + env + ids)
    lazy.append(s)
print("asked", flush=True)
while not os.path.exists(go):
    time.sleep(0.05)
# one of them reads after all, and gets all
s = lazy[-1].makefile("rb")
got = b""
while True:
    e, p = struct.unpack("<II", s.read(8))
    kind = s.read(e)
    got += s.read(p)
    if p == 0 and kind[:2] in (b"\xe2\x05", b"\xea\x05"): # CtlEnd, CtlError
        break
print("same" if got == open(whole, "rb").read() else "another", flush=True)
time.sleep(3600)
PY
before=$(resident a)
python3 "$dir/lazy.py" "$dir/a/control.sock" 8 "$dir/wide.whole" "$dir/go" >"$dir/lazy" &
echo $! >"$dir/lazy.pid"
require wait_for 20 grep -q asked "$dir/lazy"
stands() { # what they are given comes to an end by itself
	steps_then=$(asked a 'models[0].steps')
	sleep 1
	test "$steps_then" -gt 0 && test "$(asked a 'models[0].steps')" = "$steps_then"
}
check "logits are made as they are read" wait_for 30 stands
resident a >"$dir/most"
check "eight clients that do not read take little" grown $((250 * patience))
check "and others are served" timeout $((60 * slack)) caravan run --control "$dir/a/control.sock" --temp 0 -n 8 "Once"
touch "$dir/go"
check "one that begins to read gets all of it" wait_for 60 grep -q same "$dir/lazy"
check "the others are not waited for, since they take the place of those that would read" \
	wait_for 60 said a "a client was cut off: it has read nothing for a while"
kill "$(cat "$dir/lazy.pid")"
rm "$dir/lazy.pid"
# ---- members that do not read ------------------------------------------------------------------------------------
require stop b
before=$(resident a)
rogue member "$dir/b" "$dir/a/control.sock" a unread >"$dir/unread" 2>&1 &
echo $! >"$dir/unread.pid"
most=0
while kill -0 "$(cat "$dir/unread.pid")" 2>/dev/null; do
	now=$(resident a)
	[ "${now:-0}" -le "$most" ] || most=$now
	sleep 0.1
done
rm "$dir/unread.pid"
echo "$most" >"$dir/most"
check "a member that asks for much and reads nothing is kept to a bound" grown $((300 * patience))
check "and the node serves after it" timeout $((60 * slack)) caravan run --control "$dir/a/control.sock" --temp 0 -n 8 "Once"
finish
