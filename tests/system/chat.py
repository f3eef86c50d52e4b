"""caravan chat on a terminal.  chat.py FOLDER CONTROL DEMO SLOW GROUP...: prints a line "ok WHAT" or "not ok WHAT" for each case.
CONTROL is the socket of a node that serves the model slow; DEMO and SLOW are files: a model that ends its answers soon, and one
that goes on up to its context."""
import fcntl, json, os, pty, re, select, signal, socket, struct, subprocess, sys, termios, threading, time

folder, control, demo, slow = sys.argv[1:5]
PATIENCE = 60 * int(os.environ.get("PATIENCE", "1"))  # seconds: only ends what hangs
FIGURES = rb"[0-9]+ tokens?[^\n]*context [0-9]+ of [0-9]+"


def case(what, good, *seen):
    print("ok" if good else "not ok", what)
    if not good:
        for s in seen:
            print("#", repr(s)[-2000:])


class Chat:
    """A chat on a terminal; text is what it has printed and no `until` has taken."""

    def __init__(self, *options, columns=80, **env):
        self.text, self.ended = b"", False
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update({"TERM": "xterm", "LC_ALL": "C.UTF-8", **env})
            os.execvp("caravan", ["caravan", "chat", *options])
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.until(b"leaves\\.|caravan: ")
        self.prompt()

    def read(self, seconds):
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            got = os.read(self.fd, 65536)
        except OSError:
            got = b""
        self.text += got
        self.ended = not got
        return bool(got)

    def until(self, pattern):
        """Reads up to the pattern; what came before it and with it."""
        limit = time.monotonic() + PATIENCE
        while not (m := re.search(pattern, self.text)):
            if time.monotonic() > limit or self.ended or not self.read(1) and self.ended:
                raise SystemExit("no %r in %r" % (pattern, self.text[-3000:]))
        taken, self.text = self.text[: m.end()], self.text[m.end() :]
        return taken

    def prompt(self):
        """What is printed up to the next prompt."""
        said = self.until(rb"\x1b\[\?2004h")
        self.until(b"> ")
        return said[:-8]

    def type(self, keys):
        os.write(self.fd, keys if isinstance(keys, bytes) else keys.encode())

    def say(self, line):
        """A line: what is printed up to the next prompt."""
        self.type(line + "\r")
        self.until(rb"\x1b\[\?2004l")
        return self.prompt().decode(errors="replace").replace("\r", "")

    def leave(self, keys=b"\x04"):
        self.type(keys)
        while self.read(PATIENCE):
            pass
        if not self.ended:
            raise SystemExit("it does not leave: %r" % self.text[-3000:])
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def saved(self, name="saved.json"):
        path = os.path.join(folder, name)
        self.say("/save " + path)
        return [m["content"] for m in json.load(open(path))["messages"]]


def output(*command, text=""):
    return subprocess.run(command, input=text.encode(), stdout=subprocess.PIPE, check=True).stdout.decode()


def words():
    c = Chat("-m", demo, "--seed", "3", "-n", "40")
    first = c.say("Once upon a time")
    case("an answer that is cut by -n is said to be", "cut after 40 tokens" in c.text.decode() or "cut after 40 tokens" in first, first)
    messages = c.saved()
    run = output("caravan", "run", "--chat", "-m", demo, "--seed", "3", "-n", "40", "Once upon a time")
    case("an answer is that of run --chat", messages == ["Once upon a time", run], messages, run)
    pipe = output("caravan", "chat", "-m", demo, "--seed", "3", "-n", "40", text="Once upon a time\n")
    case("a pipe is one question, and nothing but the answer comes out", pipe == run, pipe, run)
    c.say("/regenerate")
    case("another answer with the same seed is the same", c.saved() == messages)
    c.say("/set seed 4")
    c.say("/regenerate")
    other = c.saved()
    case("with another seed it is not", len(other) == 2 and other != messages, other)
    said = c.say("/set top-p 2")
    case("a setting out of range is refused as on the command line", "'2' is not a number from 0 to 1" in said, said)
    c.say("/set temperature 0")
    said = c.say("/set")
    case("a setting that is made is shown", c.say("/set temp 0.5").strip() == "temp               0.5" and c.say("/set temperature").strip() == "temp               0.5")
    c.say("/set temperature 0")
    said = c.say("/undo it")
    case("what is behind a command that takes nothing is refused", "takes nothing" in said and len(c.saved()) == 2, said)
    said = c.say("/set")
    case("a setting is kept", re.search(r"  temp +0\n", said) and re.search(r"  seed +4\n", said), said)
    c.say("Then")
    case("a conversation goes on", len(c.saved()) == 4)
    c.say("/undo")
    case("undo takes back the last question and its answer", c.saved() == other, c.saved())
    c.say("/clear")
    c.say("/load " + os.path.join(folder, "saved.json"))
    case("a saved conversation is loaded", c.saved("again.json") == other)
    with open(os.path.join(folder, "evil.json"), "w") as f:
        json.dump([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a\x1b]0;title\x07b\x9bc\u202ed"}], f)
    said = c.say("/load " + os.path.join(folder, "evil.json"))
    case("control characters of a text are not shown", "]0;titleb" in said and "\x1b]" not in said and "\x07" not in said and "\u202e" not in said, said)
    with open(os.path.join(folder, "mine"), "w") as f:
        f.write("mine")
    said = c.say("/save " + os.path.join(folder, "mine"))
    case("another file is not replaced", "choose another name" in said and open(os.path.join(folder, "mine")).read() == "mine", said)
    said = c.say("/regenrate")
    case("an unknown command is told so, with what was meant", "no command /regenrate; did you mean /regenerate?" in said.replace("\n", " "), said)
    c.say("/clear")
    c.say("/system Be brief.")
    c.say("//etc")
    case("two slashes begin a text with one", c.saved()[:2] == ["Be brief.", "/etc"], c.saved())
    said = c.say("/sh\t")
    case("Tab completes a command", "conversation" in said, said)
    said = c.say("/model nobody-has-it")
    case("a model that is not there leaves the old one", "still" in said, said)
    status = c.leave()
    case("Ctrl-D leaves", status == 0, status)
    case("what is dimmed ends", c.text.count(b"\x1b[2m") == c.text.count(b"\x1b[22m"))


def keys():
    c = Chat("-m", demo, "--seed", "3", "-n", "5")
    c.type("not to be sent\x03")
    said = c.until(rb"Ctrl-D or /quit leaves\.")
    c.prompt()
    c.type("\x03")
    c.until(rb"Ctrl-D or /quit leaves\.")
    c.prompt()
    said = c.say("/show")
    case("Ctrl-C clears the line and says how to leave", "0 questions" in said, said)
    c.type('"""\r')
    c.until(rb"\.\.\. ")
    c.type("/quit\r")
    c.until(rb"\.\.\. ")
    c.say('gr\u00fc\u00df"""')
    case("a text of several lines", c.saved()[0] == "/quit\ngr\u00fc\u00df", c.saved())
    c.say("/clear")
    c.type("one \x1b[200~two\r\n\tthree\rfour\x1b[A\x1b[201~")
    c.say(" five")
    case("a pasted text is one input, with its line ends", c.saved()[0] == "one two\n\tthree\nfour[A five", c.saved())
    c.say("/clear")
    c.type('"""\r')
    c.until(rb"\.\.\. ")
    c.type("nothing of it\x03")
    c.until(rb"leaves\.")
    c.prompt()
    c.say("after it")
    case("Ctrl-C gives up a text of several lines", c.saved()[0] == "after it", c.saved())
    case("/quit leaves", c.leave(b"/quit\r") == 0)
    path = os.path.join(os.environ["XDG_STATE_HOME"], "caravan", "chat-history")
    case("the history is its user's alone", os.stat(path).st_mode & 0o777 == 0o600)
    c = Chat("-m", demo, "--seed", "3", "-n", "5", NO_COLOR="1")
    c.type("\x1b[A" * 3)  # past /save and /quit
    c.say("")
    case("the next chat has the history", c.saved()[0] == "after it", c.saved())
    c.say("x" * 5000)
    c.say("/undo")
    history = open(path).read()
    case("without texts that are too long for it", "x" * 100 not in history and "after" in history)
    c.leave()
    case("NO_COLOR is honoured", b"\x1b[2m" not in c.text, c.text)


def contexts():
    c = Chat("-m", demo, "--context", "48", "--temp", "0")
    said = c.say("Once upon a time")
    said += c.say("/show")
    case("a full context is said, with what to do", "The context of 48 tokens is full" in said and "/undo" in said and "48 of 48" in said, said)
    c.type("and then " * 20 + "\r")
    said = c.until(rb"is full[^>]*for that").decode()
    case("so is a question that does not fit it", "the prompt has" in said, said)
    c.prompt()
    case("which is not kept", len(c.saved()) == 2, c.saved())
    c.leave()
    c = Chat("-m", demo, "--context", "48", "--temp", "0", columns=60)
    c.type("and then " * 20 + "\r")
    said = c.until(rb"question\s+is\s+not").decode()
    lines = said[said.rindex("caravan: ") :].splitlines()[:2]
    case("in lines that the terminal does not break", len(" ".join(lines)) > 60 and max(map(len, lines)) <= 60, lines)
    c.prompt()
    c.leave()


def daemon(name, *messages):
    """A stand-in for a daemon, which answers one command with these envelopes and payloads, or waits where one is a function; the
    folder's socket of that name."""
    path = os.path.join(folder, name)
    s = socket.socket(socket.AF_UNIX)
    s.bind(path)
    s.listen()

    def serve():
        c = s.accept()[0]
        c.recv(65536)
        for message in messages:
            if callable(message):
                message()
            else:
                c.sendall(struct.pack("<II", *map(len, message)) + b"".join(message))
        c.recv(1)

    threading.Thread(target=serve, daemon=True).start()
    return path


TEXT, THOUGHT, END = b"\xda\x05\x00", b"\xda\x05\x02\x08\x01", b"\xe2\x05\x02\x0a\x00"
PLACE_2 = b"\xba\x03\x02\x08\x02"  # Queued


def waited():
    """A daemon that says nothing, also when it is asked why."""
    goes_on = threading.Event()
    answer = [(PLACE_2, b""), goes_on.wait, (TEXT, b"Yes"), (END, b"")]
    piped = subprocess.Popen(["caravan", "run", "--control", daemon("w1", *answer), "?"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    path = daemon("w2", *answer)
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execvp("caravan", ["caravan", "run", "--control", path, "?"])
    said = b""
    try:
        while got := os.read(fd, 4096):
            said += got
            if b"does not answer" in said:
                goes_on.set()
    except OSError:
        pass
    os.waitpid(pid, 0)
    place, _, rest = said.partition(b"\x1b[2mwaiting: the daemon does not answer\x1b[22m")
    case("a place in the queue is shown", b"waiting: place 2" in place, said)
    case("and after a silence what is waited for, until text comes", re.fullmatch(rb"(\r\x1b\[K[^\n]*)?\r\x1b\[KYes\r\n", rest), said)
    case("nothing of it goes to a pipe", piped.communicate() == (b"Yes", b""))


def silent():
    """A node of the model stops for a while in an answer."""
    peer = int(open(os.path.join(folder, "peer.pid")).read())
    c = Chat("--control", control, "-m", "again", "--temp", "0")
    c.type("Hello\r")
    c.until(rb"\x1b\[\?2004l\s*\S+")
    os.kill(peer, signal.SIGSTOP)
    c.until(rb"\x1b\[2mwaiting: node peer has been silent for [0-9]")
    case("a node that stops in an answer is named", True)
    os.kill(peer, signal.SIGCONT)
    c.until(rb"\r\x1b\[K\x1b8")
    case("until the answer goes on", True)
    c.type(b"\x03")
    c.prompt()
    c.leave()


def reasoning():
    text, thought, end = TEXT, THOUGHT, END
    answer = [(thought, b"Hm\x1b, "), (thought, b"well."), (text, b"Yes"), (text, b"."), (end, b"")]
    said = output("caravan", "chat", "--control", daemon("s1", *answer), text="?")
    case("only the answer goes to a pipe, not the reasoning", said == "Yes.", said)
    said = output("caravan", "run", "--chat", "--json", "--control", daemon("s2", *answer), "?")
    case("JSON has both", json.loads(said)["text"] == "Yes." and json.loads(said)["reasoning"] == "Hm\x1b, well.", said)
    path = daemon("s3", *answer)
    pid, fd = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execvp("caravan", ["caravan", "run", "--chat", "--control", path, "?"])
    said = b""
    try:
        while got := os.read(fd, 4096):
            said += got
    except OSError:
        pass
    os.waitpid(pid, 0)
    case("a terminal shows it apart", said == b"Hm, well.\r\n\r\nYes.\r\n", said)
    c = Chat("--control", control, "-m", "thinker", "--seed", "3", "-n", "20")
    said = c.say("Hello")
    case("in a chat it is dimmed", re.match("\x1b\\[2m[^\x1b]*[a-z]{2}[^\x1b]*\x1b\\[22m\n\n\x1b\\[2m20 tokens", said) and "no answer" in said, said)
    case("it is not the answer", c.saved() == ["Hello"], c.saved())
    c.say("/set reasoning off")
    said = c.say("/regenerate")
    case("it can be hidden", "\x1b[2m(thinking)\x1b[22m\n" in said, said)
    c.leave()


def interrupted():
    c = Chat("--control", control, "--temp", "0")
    c.type("Hello\r")
    c.until(rb"\x1b\[\?2004l\s*\S+")  # it has begun
    c.type(b"\x03")
    said = c.until(FIGURES)
    c.prompt()
    case("Ctrl-C stops an answer that has begun", b"stopped: " in said, said)
    messages = c.saved()
    case("what came of it stays in the conversation", len(messages) == 2 and messages[1], messages)
    c.type("/regenerate\r")
    c.until(rb"Hello\s+\S+")
    c.type(b"\x03")
    c.until(b"stopped: ")
    c.prompt()
    said = c.say("/show")
    case("/show says where the model is, and how full its context", re.search(r"  node +alone \(layers 0-[0-9]+\)\n", said) and re.search(r"  context +[0-9]+ of [0-9]+ tokens, [0-9]+%\n", said), said)
    case("and the program goes on", c.leave() == 0)


def lost():
    """The daemon of a file is killed."""
    c = Chat("-m", slow, "--temp", "0")
    daemon = int(open("/proc/%d/task/%d/children" % (c.pid, c.pid)).read())
    c.type("Hello\r")
    c.until(rb"\x1b\[\?2004l\s*\S+")
    os.kill(daemon, signal.SIGSTOP)
    c.until(rb"\x1b\[2mwaiting for the next word\x1b\[22m")
    os.kill(daemon, signal.SIGCONT)
    said = c.until(rb"\x1b8\s*\S+")
    case("an answer that stops is said to, below it, until it goes on", said.endswith(said[said.index(b"\r\x1b[K\x1b8") :]), said)
    os.kill(daemon, signal.SIGKILL)
    said = c.until(b"asks again\\.")
    c.prompt()
    case("a daemon that dies in an answer is told", b"lost the connection to the daemon" in said and b"The conversation is kept" in said, said)
    case("the conversation stays", c.saved()[0] == "Hello")
    c.type("/regenerate\r")
    c.until(rb"Hello\s+\S+")
    c.type(b"\x03")
    said = c.until(FIGURES)
    c.prompt()
    case("it is answered by another one", b"stopped: " in said, said)
    c.leave()


def answers():
    """Whether the node's socket takes connections: it does until the last thread of a killed node has ended."""
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(control) == 0


def gone():
    """The node is killed; then it is started again by the script."""
    c = Chat("--control", control, "--temp", "0")
    c.type("Hello\r")
    c.until(rb"\x1b\[\?2004l\s*\S+")
    pid = int(open(os.path.join(folder, "alone.pid")).read())
    os.kill(pid, signal.SIGKILL)
    c.until(b"asks again\\.")
    c.prompt()
    while answers():
        time.sleep(0.01)
    said = c.say("/regenerate")
    case("without a node the question is kept", "no caravand answers" in said and "The question is kept" in said.replace("\n", " "), said)
    open(os.path.join(folder, "killed"), "w").close()
    limit = time.monotonic() + PATIENCE
    while not os.path.exists(os.path.join(folder, "serves")) and time.monotonic() < limit:
        time.sleep(0.1)
    c.type("/regenerate\r")
    c.until(rb"Hello\s+\S+")
    c.type(b"\x03")
    said = c.until(FIGURES)
    c.prompt()
    case("when it serves again, the chat goes on", b"stopped: " in said, said)
    c.leave()


for group in sys.argv[5:]:
    globals()[group]()
