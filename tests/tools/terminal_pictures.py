#!/usr/bin/env python3
"""Draws doc/terminal.svg and doc/top.svg, the terminals in README.md, from the real programs: terminal_pictures.py BUILD-FOLDER.  Starts three
daemons on this machine in tmux, and types what a user would."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

import terminal_svg

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NODES = ("kitchen", "attic", "garage")
STEP = 0.08  # seconds between two looks at the screen
LONGEST = 0.5  # that a screen stays while nothing happens
KEYS, TYPING = 2, 0.11  # keys that come together, and seconds between them: as typed, on however slow a machine


class Terminal:
    """A shell in a window of its own tmux, in a folder of its own."""

    def __init__(self, folder, build, name, columns, lines):
        self.socket, self.columns, self.lines, self.name = os.path.join(folder, "tmux"), columns, lines, name
        env = {"PATH": build + ":" + os.environ["PATH"], "HOME": folder, "LANG": "C.UTF-8", "TERM": "xterm-256color", "PS1": "$ ", "HISTFILE": "/dev/null",
               "CARAVAN_CONTROL": "kitchen/control.sock"}
        self.env = env
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", name, "-x", str(columns), "-y", str(lines), "-c", folder,
                  "env", "-i", *("%s=%s" % e for e in env.items()), "bash", "--norc", "--noprofile")
        self.frames = []

    def tmux(self, *args):
        env = dict(self.env, LC_ALL="C.UTF-8")
        return subprocess.run(["tmux", "-S", self.socket, *args], env=env, stdout=subprocess.PIPE, check=True).stdout.decode()

    def look(self):
        x, y = self.tmux("display-message", "-p", "-t", self.name, "#{cursor_x} #{cursor_y}").split()
        return self.tmux("capture-pane", "-e", "-p", "-t", self.name), (int(x), int(y))

    def take(self, after=None):
        """Remembers the screen, if it is another one: so many seconds after the last, or when it is, but what stays long is shown shorter."""
        now, (text, cursor) = time.monotonic(), self.look()
        if not self.frames:
            self.frames = [(0, text, cursor)]
        elif self.frames[-1][1:] != (text, cursor):
            self.frames.append((self.frames[-1][0] + (min(now - self.last, LONGEST) if after is None else after), text, cursor))
        else:
            return
        self.last = now

    def keys(self, *keys):
        self.tmux("send-keys", "-t", self.name, *keys)

    def type(self, line):
        for i in range(0, len(line), KEYS):
            self.keys("-l", "--", re.sub(";$", r"\\;", line[i : i + KEYS]))  # which would end tmux's command
            self.take(TYPING)
        self.keys("Enter")

    def until(self, done, seconds=60):
        end = time.monotonic() + seconds
        while not done(self.look()[0]):
            self.take()
            if time.monotonic() > end:
                sys.exit("terminal_pictures: this does not come to its end:\n" + self.look()[0])
            time.sleep(STEP)
        self.take()

    def run(self, line):
        """Types it, and waits for the next prompt."""
        self.type(line)
        self.until(lambda text: text.rstrip().split("\n")[-1].strip() == "$")
        time.sleep(0.3)
        self.take()

    def pause(self, seconds):
        """A screen that is to be read."""
        self.take()
        self.frames.append((self.frames[-1][0] + seconds,) + self.frames[-1][1:])
        self.last = time.monotonic()


def write(name, frames, terminal, title):
    path = os.path.join(TOP, "doc", name)
    with open(path, "w") as f:
        f.write(terminal_svg.picture(frames, terminal.columns, terminal.lines, title))
    print("%s: %d screens, %d bytes" % (path, len(frames), os.path.getsize(path)))


def copied(build, folder):
    """Waits until every part of the model is on two disks, as it is soon after a load."""
    for _ in range(600):
        p = subprocess.run([os.path.join(build, "caravan"), "status", "--json", "--control", os.path.join(folder, "kitchen", "control.sock")],
                           stdout=subprocess.PIPE)
        if all(m["copies"]["complete"] for m in json.loads(p.stdout)["models"]):
            return
        time.sleep(0.1)


def record(t, build, folder):
    """From three machines to an answer."""
    t.until(lambda text: text.strip() == "$")
    t.frames = []
    t.pause(0.8)
    t.run('caravan join --state attic "$(caravan invite 2>/dev/null)"')
    t.run('caravan join --state garage "$(caravan invite 2>/dev/null)"')
    t.pause(0.8)
    t.run("caravan load stories.gguf --nodes all")
    t.pause(1.5)
    t.run('caravan run --temp 0.7 --seed 7 -n 150 ""')
    t.pause(2)
    copied(build, folder)
    t.last = time.monotonic()
    t.run("clear; caravan status | head -n 20")
    t.pause(1)


def still(t, build, folder):
    """caravan top, while the model has something to do."""
    load = subprocess.Popen([os.path.join(build, "caravan"), "bench", "--control", os.path.join(folder, "kitchen", "control.sock"), "--prompt", "64",
                             "--streams", "3,4", "--generate", "300", "--runs", "100"], stdout=subprocess.DEVNULL)
    t.type("caravan top")
    time.sleep(25)
    t.frames = []
    t.take()
    load.kill()
    load.wait()


def start(build, folder):
    daemons, rates = [], os.path.join(build, "tests", "rates")
    for name in NODES:
        os.mkdir(os.path.join(folder, name), 0o700)
        if os.path.exists(rates):  # what the tests have measured once for all
            shutil.copy(rates, os.path.join(folder, name))
        with open(os.path.join(folder, name + ".log"), "w") as log:
            daemons.append(subprocess.Popen([os.path.join(build, "caravand"), "--state", os.path.join(folder, name), "--name", name, "--listen",
                                             "tcp://127.0.0.1:0", "--http", "off", "--threads", "1", "--memory", "48M"], stdout=log, stderr=log))
    for name in NODES:
        while not os.path.exists(os.path.join(folder, name, "control.sock")):
            time.sleep(0.1)
    return daemons


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: terminal_pictures.py BUILD-FOLDER")
    if not shutil.which("tmux"):
        sys.exit("terminal_pictures: tmux is not here: install it (Debian's package tmux)")
    build = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        shutil.copy(os.path.join(TOP, "demo", "stories.gguf"), folder)
        daemons, terminals = start(build, folder), []
        try:
            terminals.append(Terminal(folder, build, "record", 88, 26))
            record(terminals[0], build, folder)
            write("terminal.svg", terminals[0].frames, terminals[0], "three nodes, from the first invitation to an answer")
            terminals.append(Terminal(folder, build, "top", 88, 22))
            still(terminals[1], build, folder)
            write("top.svg", terminals[1].frames, terminals[1], "caravan top")
        finally:
            for t in terminals[:1]:
                t.tmux("kill-server")
            for d in daemons:
                d.terminate()
                d.wait()


main()
