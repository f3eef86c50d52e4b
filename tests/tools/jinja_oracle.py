"""What Python's Jinja2 makes of templates, with the settings and additions that transformers uses: the oracle for daemon/text/jinja.

    jinja_oracle.py golden PROGRAM DIR       writes the golden files of DIR (tests/data/jinja) anew
    jinja_oracle.py compare PROGRAM DIR N    compares PROGRAM (tests/tools/jinja_render) on all cases of DIR and on N random ones
    jinja_oracle.py templates PROGRAM DIR FILE...    the same for other template files, with the conversations of DIR

JINJA_SEED chooses the random ones."""

import collections
import copy
import datetime
import errno
import json
import os
import subprocess
import sys
import warnings

import jinja2
import jinja2.ext
import jinja2.sandbox

import jinja_random
import jinja_snippets

NOW = 1735689600 + 12 * 3600


class Generation(jinja2.ext.Extension):
    """transformers' {% generation %}: its body is printed."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


class Refused(Exception):
    pass


def raise_exception(message):
    raise Refused(message)


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda form: datetime.datetime.fromtimestamp(NOW).strftime(form)
    return env


warnings.simplefilter("ignore", SyntaxWarning)  # of the code that Jinja2 makes
ENV = environment()
PARSED = {}


def render(template, own, given):
    """(text, None) or (None, what went wrong)"""
    try:
        if template not in PARSED:
            PARSED[template] = ENV.from_string(template)
        # a copy: indent changes a list
        text = PARSED[template].render(**copy.deepcopy({**given, **own}))
        text.encode()
        return text, None
    except Exception as e:  # whatever Python raises is an error of the template
        return None, f"{type(e).__name__}: {e}"


def read(path):
    with open(path, newline="") as f:
        return f.read()


def model_cases(folder, files=None):
    conversations = json.loads(read(os.path.join(folder, "conversations.json")))
    if files is None:
        names = sorted(os.listdir(os.path.join(folder, "templates")))
        files = [os.path.join(folder, "templates", n) for n in names if n.endswith(".jinja")]
    for path in files:
        for name, c in conversations.items():
            yield f"{os.path.basename(path)} {name}", read(path), c["own"], c["given"]


def snippet_cases():
    for snippet in jinja_snippets.SNIPPETS:
        yield snippet, snippet, {}, jinja_snippets.VARIABLES


def random_cases(n, seed):
    for template in jinja_random.templates(n, seed):
        yield template, template, {}, jinja_snippets.VARIABLES


def ask(program, cases):
    """PROGRAM's answers."""
    lines = "".join(json.dumps({"template": t, "own": o, "given": g, "now": NOW}) + "\n" for _, t, o, g in cases)
    done = subprocess.run([program], input=lines, capture_output=True, text=True, check=True)
    answers = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    assert len(answers) == len(cases)
    return answers


def raised(error):
    """By the template itself."""
    return (error or "").startswith(Refused.__name__)


def judge(case, answer):
    """What PROGRAM's answer is worth: equal, refused (it says that it does not know the construct), different."""
    text, error = render(*case[1:])
    same_kind = (error is None) == ("text" in answer) and raised(error) == (answer.get("errno") == errno.EBADMSG)
    if answer.get("text") == text and same_kind:
        return "equal", text, error
    # what has an address in it is not to be repeated, and there are bounds here that Python has not
    if answer.get("errno") == errno.ENOTSUP or " at 0x" in (text or ""):
        return "refused", text, error
    return "different", text, error


def write_golden(path, program, cases, variables):
    """The first line has what all cases share; the others the template's name or itself and its text, or "error", or "refused"."""
    with open(path, "w") as f:
        f.write(json.dumps({"now": NOW, "given": variables}, ensure_ascii=False) + "\n")
        for case, answer in zip(cases, ask(program, cases)):
            what, text, error = judge(case, answer)
            result = {"refused": True} if what == "refused" else {"error": "raised" if raised(error) else "other"} if error else {"text": text}
            f.write(json.dumps({"case": case[0], **result}, ensure_ascii=False) + "\n")


def compare(program, cases):
    """How many were equal, refused, different; prints the last."""
    count = collections.Counter()
    for case, answer in zip(cases, ask(program, cases)):
        what, text, error = judge(case, answer)
        count[what] += 1
        if what == "different" and count[what] <= 30:
            print(f"# {case[0]!r}\n#   jinja2: {text!r} {error or ''}\n#   here:   {answer!r}")
        if what == "refused" and os.environ.get("JINJA_SHOW"):
            print(f"# refused: {case[0]!r}: {answer}")
    return count["equal"], count["refused"], count["different"]


def main():
    what, args = sys.argv[1], sys.argv[2:]
    if what == "golden":
        program, folder = args
        golden = lambda name: os.path.join(folder, f"{name}.golden")
        write_golden(golden("models"), program, list(model_cases(folder)), {})
        write_golden(golden("snippets"), program, list(snippet_cases()), jinja_snippets.VARIABLES)
        write_golden(golden("random"), program, list(random_cases(400, 1)), jinja_snippets.VARIABLES)
        return 0
    seed = int(os.environ.get("JINJA_SEED", "2"))
    if what == "templates":
        sets = [("templates", model_cases(args[1], args[2:]))]
    else:
        sets = [
            ("models", model_cases(args[1])),
            ("snippets", snippet_cases()),
            ("random", random_cases(int(args[2]), seed)),
        ]
    bad = 0
    print(f"1..{len(sets)}")
    for i, (name, cases) in enumerate(sets, 1):
        equal, refused, different = compare(args[0], list(cases))
        bad += different
        print(
            f"{'not ok' if different or not equal else 'ok'} {i} - {name}: {equal} equal to jinja2 {jinja2.__version__},"
            f" {refused} refused here, {different} different"
        )
    return bad > 0


sys.exit(main())
