#!/bin/sh
# http: the HTTP API of real nodes: where it listens, keys that are valid on every node until they are revoked, certificates, and
# an end with clients connected.
. "$(dirname "$0")/lib.sh"

python3 -c 'import http.client, ssl' 2>/dev/null || { echo "1..0 # SKIP no python3"; exit 0; }

# ask PORT [PATH [HEADER...]]: the status of a request
ask() {
	python3 - "$@" <<-'END'
		import http.client, sys
		port, path = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "/nothing"
		c = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
		c.request("GET", path, headers=dict(h.split(": ", 1) for h in sys.argv[3:]))
		r = c.getresponse()
		print(r.status, r.read().decode())
	END
}
gets() { # STATUS NODE [HEADER...]: what a request to that node gets
	status=$1 to=$(cat "$dir/$2.http")
	shift 2
	ask "$to" /nothing "$@" >"$dir/got" && grep -q "^$status " "$dir/got"
}
says_as() { ask "$(cat "$dir/$1.http")" "$2" >"$dir/got" && grep -q "$3" "$dir/got"; } # NODE PATH PATTERN
port_of() { sed -n 's,.*its HTTP API is at [a-z]*://127.0.0.1:\([0-9]*\)$,\1,p' "$dir/$1.log" | tail -n 1 >"$dir/$1.http" && test -s "$dir/$1.http"; }
with_http() { # NODE [OPTION...]
	served=$1
	shift
	node "$served" -- --http 127.0.0.1:0 "$@" && port_of "$served"
}

for n in alpha beta gamma; do require with_http $n; done
for n in beta gamma; do require on $n join "$(on alpha invite)"; done

# ---- without keys ----------------------------------------------------------------------------------------
check "without keys this machine is served" gets 404 alpha
check "a key that is sent all the same does not disturb" gets 404 alpha "Authorization: Bearer whatever"
check "a name that is not the node's is refused" gets 403 alpha "Host: evil.example"
check "so is a page of another origin" gets 403 alpha "Origin: https://evil.example"
check "the node's own name is not" gets 404 alpha "Host: alpha:80"
check "elsewhere it does not listen without a key" says 1 "make an API key" caravand --state "$dir/elsewhere" --listen off --http "*:0"
check "a port that is taken is an error, if it was asked for" says 1 "another program, perhaps another caravand, already listens there: choose another port with --http" \
	caravand --state "$dir/elsewhere" --listen off --http "127.0.0.1:$(cat "$dir/alpha.http")"
check "a wrong address is refused" says 2 "not of the form ADDR:PORT" caravand --http 8080
for t in soon 0 -5 1.5m 25h 90d 99999999999999999999; do
	check "--resume $t is refused" says 2 "neither 'off' nor a time up to 24h" caravand --resume $t
done
check "a certificate without a key too" says 2 "belong together" caravand --tls-cert x

# ---- keys -----------------------------------------------------------------------------------------------
no_list() { on alpha key list >"$dir/list" 2>"$dir/said" && ! test -s "$dir/list" && grep -qx "no keys" "$dir/said"; }
check "a list of none says so" no_list
require sh -c 'caravan key create --control "$0/alpha/control.sock" --name one >"$0/one" 2>"$0/one.said"' "$dir"
check "the first key says that requests need one" grep -q "from now on every request over HTTP needs a key" "$dir/one.said"
known() { on beta key list | grep -q one; }
require wait_for 10 known
require sh -c 'caravan key create --control "$0/beta/control.sock" --name two --expires 1h >"$0/two" 2>"$0/two.said"' "$dir"
check "the second says nothing" test ! -s "$dir/two.said"
one=$(cat "$dir/one") two=$(cat "$dir/two")
check "a key may live for years" on alpha key create --name years --expires 3650d
check "not for longer" says 2 "up to 3650 days" on alpha key create --expires 3651d
require on alpha key revoke years
check "a key is a line" sh -c 'test "$(wc -l <"$0/one")" = 1 && grep -qx "cv-[A-Za-z0-9_-]\{43\}" "$0/one"' "$dir"
for n in alpha beta gamma; do
	check "$n: both are valid" wait_for 10 gets 404 $n "Authorization: Bearer $one"
	check "$n: in the other header too" wait_for 10 gets 404 $n "x-api-key: $two"
	check "$n: without a key nobody is served" gets 401 $n
	check "$n: nor with another" gets 401 $n "Authorization: Bearer ${one}x"
	check "$n: its health needs none" says_as $n /health '^200 {"status": *"ok"}'
done
check "the secret is in no file of a node" sh -c '! grep -rqF -- "$1" "$0/alpha" "$0/beta" "$0/gamma" "$0"/*.log' "$dir" "$one"
check "the list has both" sh -c 'test "$(caravan key list --control "$0/gamma/control.sock" --json | grep -c "\"name\"")" = 2' "$dir"

stop gamma
check "a key is revoked while a node is down" on alpha key revoke one
for n in alpha beta; do check "$n refuses it" wait_for 10 gets 401 $n "Authorization: Bearer $one"; done
stop alpha
require with_http gamma
check "the node that was down refuses it when it comes back, from whoever is up" wait_for 20 gets 401 gamma "Authorization: Bearer $one"
check "and takes the other one" gets 404 gamma "Authorization: Bearer $two"
require with_http alpha
check "so does the node that revoked it, after a start" gets 401 alpha "Authorization: Bearer $one"
check "what was revoked is not in the list" sh -c '! caravan key list --control "$0/alpha/control.sock" | grep -q one' "$dir"
check "a wrong name is refused" says 1 "no valid key nobody" on alpha key revoke nobody
check "an unknown action too" says 2 "create, list or revoke" on alpha key frob

# ---- errors in the form of their API ------------------------------------------------------------------------
check "Ollama's are a sentence" says_as alpha /api/tags '^401 {"error":"an API key is needed'
check "Anthropic's have a type of their own" says_as alpha "/v1/messages?beta=true" '^401 {"type":"error","error":{"type":"authentication_error","message":"an API key'
check "OpenAI's have a code" says_as alpha /v1/models '^401 {"error":{"message":"an API key .*"code":"invalid_api_key"}}'

# ---- the access log, and the last key --------------------------------------------------------------------
stop beta
require with_http beta --http-log "$dir/access"
check "beta still takes the key" gets 404 beta "Authorization: Bearer $two"
check "the access log names the key, not its secret" sh -c 'grep -q "^127.0.0.1 - two \[.*\] \"GET /nothing HTTP/1.1\" 404 " "$0/access" && ! grep -q cv- "$0/access"' "$dir"
require mv "$dir/access" "$dir/access.1"
require kill -HUP "$(pid_of beta)"
logged() { gets 404 beta "x-api-key: $two" && test -s "$dir/access"; }
check "SIGHUP makes a new access log" wait_for 10 logged
check "the last key is revoked" sh -c 'caravan key revoke --control "$0/beta/control.sock" two >"$0/revoked" 2>"$0/revoked.said"' "$dir"
check "which says that nobody is served now" grep -q "No valid key is left: nobody is served" "$dir/revoked.said"
over() { on "$1" key list --json >"$dir/list" && ! grep -q '"name"' "$dir/list" && gets 401 "$1" && gets 401 "$1" "Authorization: Bearer $two"; }
for n in beta gamma; do check "$n: when the last key is gone, nobody is served" wait_for 10 over $n; done
check "and a request is told how to make one" says_as beta /v1/models '^401 .*none is valid now: caravan key create makes one'
stop gamma
require with_http gamma
check "nor after a start" gets 401 gamma
stop gamma
require with_http gamma --http-open
check "unless the node is told to serve without keys" gets 404 gamma

# ---- a private daemon, as caravan run starts for a file: it has no HTTP ----------------------------------------
port_free >"$dir/free"
python3 - "$(cat "$dir/free")" "$dir/private" >"$dir/private.log" 2>&1 <<-'END'
	import socket, struct, subprocess, sys
	ours, its = socket.socketpair()
	d = subprocess.Popen(["caravand", "--state", sys.argv[2], "--control", "fd:%d" % its.fileno(), "--listen", "off",
	    "--http", "127.0.0.1:" + sys.argv[1], "--threads", "1", "--memory", "1G"], pass_fds=[its.fileno()])
	its.close()
	status = b"\xda\x04\x00"  # an envelope with CtlStatus
	ours.sendall(struct.pack("<II", len(status), 0) + status)
	ours.settimeout(240)
	assert ours.recv(8), "no answer"  # so it is up
	try:
	    socket.create_connection(("127.0.0.1", int(sys.argv[1]))).close()
	    print("served")
	except ConnectionRefusedError:
	    print("not served")
	ours.close()
	d.wait()
END
check "a private daemon serves no HTTP" grep -qx "not served" "$dir/private.log"

# ---- clients that are connected when a node ends -------------------------------------------------------------
python3 - "$(cat "$dir/beta.http")" >"$dir/half.log" 2>&1 <<-'END' &
	import socket, sys, time
	all = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(20)]
	for s in all: s.sendall(b"POST /nothing HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nhalf")
	print("connected", flush=True)
	for s in all: s.recv(100)
END
half=$!
require wait_for 10 grep -q connected "$dir/half.log"
check "a node ends while clients are connected" stop beta
check "and they notice" wait $half
finish
