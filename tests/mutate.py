#!/usr/bin/env python3
"""Applies the mutations of tests/mutations.txt one at a time and looks whether the tests that it names notice.

    mutate.py --check           every entry of the list applies: its text occurs exactly once, its file knows the names that it
                                puts there, its tests and cases exist
    mutate.py BUILD SRCDIR      (from `make mutate`) builds and runs them, in BUILD/mutate

MUTATE_SAMPLE=30 MUTATE_SEED=N tries some of them, MUTATE_ONLY=id,id those named.  MUTATE_CC is the compiler, MUTATE_JOBS how many
of them run at a time.

A mutation is killed when every test that it names fails, crashes, or takes five times as long as without it.  A run over the
whole list that was interrupted goes on where it was when the tree is still the same (BUILD/mutate/done).  The last line
is `N killed, N survived`; the exit status is 1 when more than 3% survived, when a survivor is without its reason, or when the
list is wrong."""
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

LIST = "tests/mutations.txt"
SURVIVE_PERCENT = 3
FIELDS = ("file", "test", "survives")
# C's own names, which a file need not have said before
NAMES_OF_C = {"true", "false", "void", "truncf", "strncmp", "u", "ull"}


class Wrong(Exception):
    """the list, or the tree that it is for, is wrong"""


class Mutation:
    def __init__(self, name, line):
        self.name, self.line = name, line
        self.file = self.survives = None
        self.old, self.new, self.tests = [], [], []


def read_list(src):
    """Entries are separated by blank lines; the head of the list says what their lines mean."""
    entries, now = [], None
    for n, line in enumerate((src / LIST).read_text().splitlines(), 1):
        where = f"{LIST}:{n}"
        if line.startswith("#") or not line:
            now = now if line else None
        elif line.startswith("id: "):
            now = Mutation(line[4:], where)
            entries.append(now)
        elif not now:
            raise Wrong(f"{where}: '{line}' belongs to no entry: an entry begins with 'id: '")
        elif line[0] in "-+":
            (now.old if line[0] == "-" else now.new).append(line[1:])
        else:
            key, colon, value = line.partition(": ")
            if not colon or key not in FIELDS:
                raise Wrong(f"{where}: '{line}' is neither text (- or +) nor one of {', '.join(FIELDS)}")
            if key == "test":
                program, _, case = value.partition(" ")
                now.tests.append((program, case))
            else:
                setattr(now, key, value)
    return entries


def has_case(text, case):
    return re.search(rf'\b(?:tcase_create\(|(?:nodes_)?group\(\w+, )"{re.escape(case)}"', text) is not None


def names_of(text):
    """Names that begin with a small letter, outside of strings and comments."""
    return set(re.findall(r"\b[a-z_]\w*", re.sub(r'"(?:\\.|[^"\\])*"|/\*.*?\*/', "", text, flags=re.S)))


def apply_to(src, m):
    """the file's text with the mutation"""
    for what, there in (("file", m.file), ("text (-)", m.old), ("test", m.tests)):
        if not there:
            raise Wrong(f"{m.line}: {m.name} has no {what}")
    if m.old == m.new:
        raise Wrong(f"{m.line}: {m.name} changes nothing")
    path = src / m.file
    if not path.is_file():
        raise Wrong(f"{m.line}: {m.name}: {m.file} does not exist")
    text, old = path.read_text(), "\n".join(m.old)
    times = text.count(old)
    if times != 1:
        raise Wrong(f"{m.line}: {m.name}: its text occurs {times} times in {m.file}, not once: {old}")
    strange = names_of(re.sub(r"(->|\.)\w+", "", "\n".join(m.new))) - names_of(text) - NAMES_OF_C  # members are of headers
    if strange:
        raise Wrong(f"{m.line}: {m.name}: {m.file} knows no {', '.join(sorted(strange))}")
    for program, case in m.tests:
        source = src / (program + ".c")
        if not (src / program).is_file() and not source.is_file():
            raise Wrong(f"{m.line}: {m.name}: there is no test {program}")
        if case and not (source.is_file() and has_case(source.read_text(), case)):
            raise Wrong(f"{m.line}: {m.name}: {program} has no case {case}")
    return text.replace(old, "\n".join(m.new))


def check(src):
    """Prints TAP.  Reports every error in one run."""
    wrong = []
    entries = read_list(src)
    for m in entries:
        try:
            apply_to(src, m)
        except Wrong as e:
            wrong.append(str(e))
    names = [m.name for m in entries]
    twice = sorted({n for n in names if names.count(n) > 1})
    reasons = [m for m in entries if m.survives]
    print("1..4")
    for n, (what, bad) in enumerate((
            (f"each of the {len(entries)} mutations applies once", wrong),
            ("each has a name of its own", twice),
            ("there are 150 or more", [] if len(entries) >= 150 else [len(entries)]),
            (f"{len(reasons)} are known to survive", reasons[len(entries) * SURVIVE_PERCENT // 100:])), 1):
        print("not ok" if bad else "ok", n, "-", what)
        for b in bad:
            print("#", getattr(b, "name", b))
    return 1 if wrong or twice else 0


class Tree:
    """A copy of the tracked files and its own build."""

    def __init__(self, build, src):
        self.src, self.top = src, build / "mutate"
        self.obj = self.top / "build"
        self.limit = {}  # of each test, in seconds
        self.env = dict(os.environ, srcdir=str(self.top), top_srcdir=str(self.top), top_builddir=str(self.obj),
                        MAKEFLAGS="", CK_DEFAULT_TIMEOUT="20")

    def command(self, *args, cwd=None, timeout=None, until=None):
        """the exit status; None: it took too long, or printed what `until` matches, and was ended"""
        with open(self.top / "log", "a") as log:
            start, end = log.tell(), None if timeout is None else time.monotonic() + timeout
            child = subprocess.Popen(args, cwd=cwd or self.obj, env=self.env, stdin=subprocess.DEVNULL, stdout=log,
                                     stderr=log, start_new_session=True)
            try:
                while until or timeout is not None:
                    try:
                        return child.wait(0.02)
                    except subprocess.TimeoutExpired:
                        if (end and time.monotonic() > end) or (until and until.search(self.logged(start))):
                            return None
                return child.wait()
            finally:
                self.end(child)

    @staticmethod
    def end(child):
        """with all that it started: the case that a Check program runs has a group of its own, which does not end with it"""
        parents = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            try:
                parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
            except OSError:  # it is over
                pass
        victims = [child.pid]
        for pid in victims:
            victims += [p for p, parent in parents.items() if parent == pid]
        for kill, pid in [(os.killpg, child.pid), *((os.kill, v) for v in victims[1:])]:
            try:
                kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        child.wait()

    def logged(self, since):
        with open(self.top / "log", "rb") as log:
            log.seek(since)
            return log.read().decode(errors="replace")

    def prepare(self):
        """Copies what is tracked; returns a hash of it."""
        all_of_it = hashlib.sha256()
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=self.src, capture_output=True, check=True).stdout
        self.obj.mkdir(parents=True, exist_ok=True)
        (self.top / "log").write_text("")
        fresh = not (self.obj / "config.status").exists()
        for name in tracked.decode().split("\0")[:-1]:
            here, there = self.src / name, self.top / name
            if not here.is_file():
                continue
            content = here.read_bytes()
            all_of_it.update(f"{name} {len(content)}\n".encode() + content)
            if not there.exists() or there.read_bytes() != content:
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_bytes(content)
                there.chmod(here.stat().st_mode & 0o777)
        if fresh:
            cc = os.environ.get("MUTATE_CC", "cc")
            if self.command("autoreconf", "-fi", cwd=self.top) or \
                    self.command("../configure", f"CC={cc}", "CFLAGS=-O1", "--disable-avx512"):
                raise Wrong(f"the copy could not be configured: see {self.top}/log")
        return all_of_it.hexdigest()

    def make(self, tests):
        scripts = any(program.endswith(".sh") for program, _ in tests)
        targets = sorted({program for program, _ in tests if not program.endswith(".sh")})
        jobs = f"-j{os.environ.get('MUTATE_JOBS', '2')}"
        return self.command("make", "-s", jobs, *targets, *(["all"] if scripts else [])) == 0

    def run(self, test, timeout=None):
        """0, the exit status, or None when it took too long or a case failed"""
        program, case = test
        self.env.pop("CK_RUN_CASE", None)
        if case:
            self.env["CK_RUN_CASE"] = case
        args = ["sh", str(self.top / program)] if program.endswith(".sh") else [f"./{program}"]
        return self.command(*args, timeout=timeout, until=re.compile(r"^not ok \d", re.M))

    def cases(self, since):
        return len(re.findall(r"^(?:not )?ok \d", self.logged(since), re.M))

    def baseline(self, tests):
        """What the mutated program is compared with: everything passes, and something ran."""
        if tests and (self.command("make", "-s", "generated") or not self.make(tests)):
            raise Wrong(f"the tests do not build without a mutation: see {self.top}/log")
        for test in tests:
            size, start = (self.top / "log").stat().st_size, time.monotonic()
            status = self.run(test, 600)
            name = " ".join(test).strip()
            if status != 0:
                raise Wrong(f"{name} fails without a mutation ({status}): see {self.top}/log")
            if not self.cases(size):
                raise Wrong(f"{name} runs no case")
            self.limit[test] = 30 + 5 * (time.monotonic() - start)

    def try_one(self, m):
        """which of its tests pass"""
        path = self.top / m.file
        text, mutated = path.read_text(), apply_to(self.top, m)
        path.write_text(mutated)
        try:
            if not self.make(m.tests):
                raise Wrong(f"{m.line}: {m.name} does not build: see {self.top}/log")
            return [test for test in m.tests if self.run(test, self.limit[test]) == 0]
        finally:
            path.write_text(text)


def chosen(entries):
    only, sample = os.environ.get("MUTATE_ONLY"), os.environ.get("MUTATE_SAMPLE")
    if only:
        names = only.split(",")
        missing = set(names) - {m.name for m in entries}
        if missing:
            raise Wrong(f"no such mutation: {', '.join(sorted(missing))}")
        return [m for m in entries if m.name in names]
    if sample:
        seed = int(os.environ.get("MUTATE_SEED") or time.time())
        print(f"MUTATE_SEED={seed}")
        return random.Random(seed).sample(entries, min(int(sample), len(entries)))
    return entries


class Done:
    """What an interrupted run over the whole list has tried: below the hash of the tree, a line for each mutation with its name and,
    after a tab, the tests that passed."""

    def __init__(self, path, tree, whole):
        self.file, self.passing = None, {}
        if not whole:
            return
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        if lines[:1] == [tree]:
            self.passing = dict(line.split("\t") for line in lines[1:])
        self.file = path.open("a" if self.passing else "w")
        if not self.passing:
            print(tree, file=self.file, flush=True)

    def add(self, m, passing):
        self.passing[m.name] = ", ".join(" ".join(t).strip() for t in passing)
        if self.file:
            print(m.name, self.passing[m.name], sep="\t", file=self.file, flush=True)


def main():
    if sys.argv[1:] == ["--check"]:
        return check(Path(os.environ.get("top_srcdir", ".")))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("mutate: ended"))  # with what it runs, as Ctrl-C does
    build, src = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    everything = read_list(src)
    entries = chosen(everything)
    for m in entries:
        apply_to(src, m)
    tree = Tree(build, src)
    done = Done(tree.top / "done", tree.prepare(), entries is everything)
    if done.passing:
        print(f"{len(done.passing)} were tried before")
    tree.baseline(sorted({test for m in entries if m.name not in done.passing for test in m.tests}))
    survived, wrong = [], []
    for m in entries:
        start = time.monotonic()
        try:
            if m.name not in done.passing:
                done.add(m, tree.try_one(m))
        except Wrong as e:
            print(e, flush=True)
            wrong.append(m)
            continue
        passing = done.passing[m.name]
        if passing:
            survived.append(m)
        elif m.survives:
            wrong.append(m)
        said = f"survived: {m.survives or 'nobody says why: ' + passing}" if passing \
            else "killed, though the list says why it survives" if m.survives else "killed"
        print(f"{time.monotonic() - start:5.1f} s  {m.file}: {m.name}: {said}", flush=True)
    if done.file:
        (tree.top / "done").unlink()
    tried = len(entries) - len([m for m in wrong if not m.survives])
    unexplained = [m for m in survived if not m.survives]
    print(f"{tried - len(survived)} killed, {len(survived)} survived")
    few = len(survived) * 100 <= SURVIVE_PERCENT * tried or (tried < len(everything) and not unexplained)
    return 0 if few and not unexplained and not wrong else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Wrong as e:
        sys.exit(f"mutate: {e}")
