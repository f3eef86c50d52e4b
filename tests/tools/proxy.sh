#!/bin/sh
# proxy: counts, delays and limits what goes through it.
set -eu
: "${top_builddir:=.}"
dir=$(mktemp -d)
trap 'kill $pids 2>/dev/null || :; rm -rf "$dir"' EXIT
pids=
command -v python3 >/dev/null || { echo "1..0 # skip: python3 is missing"; exit 0; }
echo 1..3

python3 - "$top_builddir/tests/tools/proxy" "$dir" <<'PY'
import os, socket, subprocess, sys, threading, time
proxy, folder = sys.argv[1:]

# what answers: sends back twice what it gets
server = socket.create_server(("127.0.0.1", 0))
def serve():
    while True:
        c, _ = server.accept()
        def talk(c=c):
            while True:
                d = c.recv(65536)
                if not d:
                    break
                c.sendall(d + d)
            c.close()
        threading.Thread(target=talk, daemon=True).start()
threading.Thread(target=serve, daemon=True).start()

def run(name, *options):
    count = os.path.join(folder, name)
    p = subprocess.Popen([proxy, "0", "127.0.0.1:%d" % server.getsockname()[1], "--count", count, *options],
                         stdout=subprocess.PIPE, text=True)
    return p, int(p.stdout.readline()), count

def exchange(port, n):
    s = socket.create_connection(("127.0.0.1", port))
    t = time.monotonic()
    threading.Thread(target=s.sendall, args=(bytes(n),), daemon=True).start()
    got = 0
    while got < 2 * n:
        got += len(s.recv(65536))
    t = time.monotonic() - t
    s.close()
    return t

number = 0
def say(good, what):
    global number
    number += 1
    print("%s %d - %s" % ("ok" if good else "not ok", number, what), flush=True)

p, port, count = run("plain")
exchange(port, 1000000)
exchange(port, 1)
time.sleep(0.3)
seen = open(count).read()
p.terminate(); p.wait()
say(seen == "1000001 2000002 2\n" and open(count).read() == seen, "counts bytes and connections: " + seen.strip())

p, port, count = run("delay", "--delay", "80")
t = exchange(port, 100)
p.terminate(); p.wait()
say(0.16 <= t < 0.6, "delays both ways: %.0f ms" % (t * 1e3))

p, port, count = run("rate", "--rate", "8e6")
t = exchange(port, 500000)
p.terminate(); p.wait()
say(0.85 <= t < 3, "limits the rate: 1 MB back at 8 Mbit/s in %.2f s" % t)
PY
