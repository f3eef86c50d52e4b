"""The requests of downloads.sh: downloads.py FOLDER SOCKET PORT: loads each replica of tests/data/replicas.py that is in the folder,
asks it, and unloads it; prints a line "ok WHAT" or "not ok WHAT" for each, and what was wrong behind it."""
import http.client
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "data"))
from replicas import DOWNLOADS, REPORTED, TEMPLATES, WORKS, reported  # noqa: E402


class Wrong(Exception):
    pass


def need(good, *seen):
    if not good:
        raise Wrong(" ".join(str(s) for s in seen)[:1500])


def ask(port, path, body):
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    c.request("POST", path, json.dumps(body))
    r = c.getresponse()
    text = r.read().decode()
    c.close()
    need(r.status == 200, path, r.status, text)
    return json.loads(text)


def answers(d, port):
    """The prompt has the form that the download's template gives it, and so many tokens as its vocabulary makes of that; an answer comes."""
    talk = {"model": d.name(), "messages": [{"role": "user", "content": "Hello"}]}
    prompt = ask(port, "/apply-template", talk)["prompt"]
    form = TEMPLATES[d.template][1]
    need("Hello" in prompt if form is None else form in prompt, "the prompt is", repr(prompt))
    a = ask(port, "/v1/chat/completions", dict(talk, max_tokens=3, temperature=0))
    need(a["usage"]["prompt_tokens"] == d.vocab.count(prompt), "the prompt has", a["usage"]["prompt_tokens"], "tokens, not",
         d.vocab.count(prompt), ":", repr(prompt))
    # with random weights the end may come at once
    got, why = a["usage"]["completion_tokens"], a["choices"][0]["finish_reason"]
    need((got == 3 and why == "length") or (0 <= got < 3 and why == "stop"), "the answer is", a)


def try_download(d, folder, socket, port):
    load = subprocess.run(["caravan", "load", "--control", socket, os.path.join(folder, d.file)], capture_output=True, text=True)
    if d.expected == WORKS:
        need(load.returncode == 0, load.stderr)
        answers(d, port)
        unload = subprocess.run(["caravan", "unload", "--control", socket, d.name()], capture_output=True, text=True)
        need(unload.returncode == 0, unload.stderr)
    else:  # by name: what of it is not known
        arch = d.model["arch"]
        need(load.returncode == 1 and load.stderr.count("\n") == 1, load.returncode, load.stderr)
        need(re.search(r"architecture is %s; Caravan runs|\b%s\.[a-z_.]+\b.*(?: Caravan does not| is missing: get a file that )|\bblk\.\d+\." % (arch, arch), load.stderr), load.stderr)


def case(what, function, *arguments):
    try:
        function(*arguments)
        print("ok " + what, flush=True)
    except Wrong as w:
        print("not ok " + what, flush=True)
        print(w, flush=True)


def counted(d):
    """With all its layers it has the tensors that people see in the real file."""
    seen = reported(d)
    need(seen == REPORTED[d.title], seen, "not", REPORTED[d.title])


def main(folder, socket, port):
    for d in DOWNLOADS:
        if d.title in REPORTED:
            case("%s has the tensors of the real file" % d.title, counted, d)
        case("%s: %s %s" % (d.title, d.file, "answers" if d.expected == WORKS else "is refused by name"), try_download, d, folder, socket,
             port)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
