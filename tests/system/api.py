"""The requests of api.sh: api.py DIR PORT PORT PORT GROUP...; prints a line "ok WHAT" or "not ok WHAT" for each case, and what was
wrong behind it.  api.py template IN OUT: a model file with a chat template that writes control tokens and takes tools."""
import http.client
import json
import os
import re
import resource
import shutil
import socket
import struct
import subprocess
import sys
import time

import exposition

PROMPT = "Once upon a time"
FIRST = "Lily and Tom went to the"
SAMPLED = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05, "seed": 7}


def case(what, good, *seen):
    print(("ok " if good else "not ok ") + what, flush=True)
    if not good:
        for s in seen:
            print("saw:", repr(s)[:1500], flush=True)


class Answer:
    def __init__(self, response):
        self.status = response.status
        self.type = response.getheader("Content-Type", "")
        self.retry_after = response.getheader("Retry-After")
        self.body = response.read().decode()

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return "%s %s %s" % (self.status, self.type, self.body)


class Node:
    def __init__(self, port):
        self.port = int(port)

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def ask(self, method, path, body=None, **headers):
        c = self.connect()
        if body is not None and not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        headers.setdefault("Authorization", "Bearer none")
        c.request(method, path, body, headers)
        a = Answer(c.getresponse())
        c.close()
        return a

    def get(self, path, **headers):
        return self.ask("GET", path, **headers)

    def post(self, path, body, **headers):
        return self.ask("POST", path, body, **headers)

    def events(self, path, body):
        """Of a text/event-stream: pairs of the event's name, or None, and its data, parsed where it is JSON."""
        a = self.post(path, dict(body, stream=True))
        out = []
        for block in a.body.split("\n\n")[:-1]:
            name = data = None
            for line in block.split("\n"):
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    data = line[6:]
            out.append((name, data if data == "[DONE]" else json.loads(data)))
        return a, out

    def lines(self, path, body):
        a = self.post(path, body)
        return a, [json.loads(x) for x in a.body.splitlines()]


def text_of(name):
    return open("%s/%s" % (where, name), encoding="utf-8").read()


# ---- nothing is loaded -----------------------------------------------------------------------------------------------


def empty():
    a = alpha.get("/v1/models")
    case("without a model the list is empty", a.status == 200 and a.json == {"object": "list", "data": []}, a)
    a = alpha.post("/v1/chat/completions", {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}]})
    case("and a request is told how to load one", a.status == 404 and "caravan load" in a.json["error"]["message"], a)
    a = alpha.get("/health", Authorization="")
    case("a node without a model is healthy", a.status == 200 and a.json["status"] == "ok", a)
    a = alpha.get("/api/tags")
    case("Ollama's list is empty", a.status == 200 and a.json == {"models": []}, a)


# ---- what there is ---------------------------------------------------------------------------------------------------


def models():
    a = beta.get("/v1/models")
    ids = [m["id"] for m in a.json["data"]]
    case("models and aliases are listed", ids == ["stories", "gpt-4o", "claude-sonnet-4-5:latest"], a)
    case("each says which model it is", [m["root"] for m in a.json["data"]] == ["stories"] * 3, a)
    case("each with what clients read of it", all(m["object"] == "model" and m["created"] > 1.7e9 and m["owned_by"] for m in a.json["data"]), a)
    for name in ("stories", "stories:latest", "gpt-4o", "claude-sonnet-4-5"):
        a = gamma.get("/v1/models/" + name)
        case("model %s can be asked for" % name, a.status == 200 and a.json["id"] == name, a)
    a = gamma.get("/v1/models/gpt-5")
    case("an unknown one is 404, with what there is, by all names", a.status == 404 and "there is: stories, gpt-4o (which is stories), claude" in a.json["error"]["message"], a)


# ---- OpenAI ----------------------------------------------------------------------------------------------------------


def openai():
    want = text_of("run.7")
    fingerprints = set()
    for name, n in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        a = n.post("/v1/completions", dict(SAMPLED, model="stories", prompt=PROMPT, max_tokens=40))
        c = a.json["choices"][0]
        case("a completion at %s is the bytes of caravan run" % name, a.status == 200 and c["text"] == want, want, a)
        case("with its reason and usage", c["finish_reason"] == "length" and a.json["usage"]["completion_tokens"] == 40 and a.json["usage"]["prompt_tokens"] == len(text_of("run.tokens").split()) and a.json["usage"]["total_tokens"] == a.json["usage"]["prompt_tokens"] + 40, a)
        fingerprints.add(a.json["system_fingerprint"])
    case("all nodes say the same fingerprint", len(fingerprints) == 1 and next(iter(fingerprints)).startswith("fp_"), fingerprints)
    a, e = beta.events("/v1/completions", dict(SAMPLED, model="stories", prompt=PROMPT, max_tokens=40))
    case("streamed it is the same", a.type == "text/event-stream" and "".join(d["choices"][0]["text"] for _, d in e[:-1]) == want, a)
    case("in as many pieces as it was made in", len(e) > 20 and e[-1][1] == "[DONE]" and e[-2][1]["choices"][0]["finish_reason"] == "length", e)
    ids = [int(x) for x in text_of("run.tokens").split()]
    a = alpha.post("/v1/completions", dict(SAMPLED, model="stories", prompt=ids, max_tokens=40))
    case("token ids for a prompt", a.json["choices"][0]["text"] == want, a)
    a = alpha.post("/v1/completions", {"model": "stories", "prompt": [PROMPT], "max_tokens": "40", "seed": "7", "temperature": "0.8", "top_k": "40"})
    case("numbers may be strings, and a prompt a list of one", a.json["choices"][0]["text"] == want, a)
    a = alpha.post("/v1/completions", {"model": "stories", "prompt": PROMPT, "seed": 7, "something": {"new": 1}, "logit_bias": None, "logprobs": None, "stop": None, "n": None, "user": "me"})
    case("unknown fields and null are ignored; without a limit there are 16 tokens", a.status == 200 and want.startswith(a.json["choices"][0]["text"]) and a.json["usage"]["completion_tokens"] == 16, a)
    a = alpha.post("/v1/completions", dict(SAMPLED, model="stories", prompt=PROMPT, max_tokens=40, n=3))
    texts = [c["text"] for c in a.json["choices"]]
    case("three choices, the second with the next seed", [c["index"] for c in a.json["choices"]] == [0, 1, 2] and texts[0] == want and texts[1] == text_of("run.8") and a.json["usage"]["completion_tokens"] == 120, a)
    a, e = gamma.events("/v1/completions", dict(SAMPLED, model="stories", prompt=PROMPT, max_tokens=40, n=3))
    streamed = ["".join(d["choices"][0]["text"] for _, d in e[:-1] if d["choices"][0]["index"] == i) for i in range(3)]
    case("streamed they are the same three", streamed == texts, streamed, texts)
    stop = want[20:24]
    a = alpha.post("/v1/completions", dict(SAMPLED, model="stories", prompt=PROMPT, max_tokens=40, stop=["@@@", stop]))
    case("a stop text ends it before itself", a.json["choices"][0]["text"] == want[: want.index(stop)] and a.json["choices"][0]["finish_reason"] == "stop", a, stop)
    a = alpha.post("/v1/completions", {"model": "stories", "prompt": FIRST, "temperature": 0, "max_tokens": 60})
    case("greedily too", a.json["choices"][0]["text"] == text_of("run.greedy"), a)
    long = open(heldout, encoding="utf-8").read()[:600]
    first = alpha.post("/v1/completions", {"model": "stories", "prompt": long, "temperature": 0, "max_tokens": 8}).json
    again = alpha.post("/v1/completions", {"model": "stories", "prompt": long, "temperature": 0, "max_tokens": 8}).json
    cached = again["usage"]["prompt_tokens_details"]["cached_tokens"]
    case("what was cached of a prompt is said", cached >= 64 and cached % 64 == 0 and cached < again["usage"]["prompt_tokens"] and again["choices"] == first["choices"], first, again)
    # without a seed answers differ
    some = {alpha.post("/v1/completions", {"prompt": PROMPT, "max_tokens": 30, "temperature": 1.5}).json["choices"][0]["text"] for _ in range(4)}
    case("without a seed answers differ", len(some) > 1, some)


def chat():
    want = text_of("run.7")
    m = [{"role": "user", "content": PROMPT}]
    ask = dict(SAMPLED, model="stories", messages=m, max_tokens=40)
    a = alpha.post("/v1/chat/completions", ask)
    c = a.json["choices"][0]
    case("a chat completion", a.json["object"] == "chat.completion" and c["message"] == {"role": "assistant", "content": want} and c["finish_reason"] == "length" and a.json["id"].startswith("chatcmpl-"), a)
    a = beta.post("/v1/chat/completions", dict(ask, messages=[{"role": "user", "content": [{"type": "text", "text": PROMPT}]}], max_tokens=None, max_completion_tokens=40, tools=[], tool_choice="none", parallel_tool_calls=True, response_format={"type": "text"}, logprobs=False, frequency_penalty=0, presence_penalty=0, store=False, metadata={}))
    case("content in parts, max_completion_tokens, and fields that say nothing new", a.status == 200 and a.json["choices"][0]["message"]["content"] == want, a)
    a, e = gamma.events("/v1/chat/completions", dict(ask, stream_options={"include_usage": True}))
    d = [x for _, x in e]
    case("streamed: first the role", d[0]["choices"] == [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}] and d[0]["object"] == "chat.completion.chunk", d[0])
    case("then the content, and nothing that is null in a delta", all(set(x["choices"][0]["delta"]) == {"content"} and x["choices"][0]["finish_reason"] is None for x in d[1:-3]) and "".join(x["choices"][0]["delta"]["content"] for x in d[1:-3]) == want, d)
    case("then the reason", d[-3]["choices"] == [{"index": 0, "delta": {}, "finish_reason": "length"}], d[-3])
    case("then the usage without choices, and the end", d[-2]["choices"] == [] and d[-2]["usage"]["completion_tokens"] == 40 and d[-1] == "[DONE]", d[-2:])
    case("all with one id, model and fingerprint", len({(x["id"], x["model"], x["system_fingerprint"], x["created"]) for x in d[:-1]}) == 1, d)
    a, e = gamma.events("/v1/chat/completions", ask)
    case("without include_usage there is none", "usage" not in json.dumps([x for _, x in e]), e)
    a = alpha.post("/v1/chat/completions", dict(ask, model="gpt-4o", messages=[{"role": "developer", "content": "Once upon"}, {"role": "user", "content": "a time"}]))
    case("an alias, and a developer's message", a.status == 200 and a.json["model"] == "gpt-4o", a)
    a = alpha.post("/v1/chat/completions", {"messages": m, "max_tokens": 40, "seed": 7})
    case("without a model, the only one; and what is not said is as in caravan run", a.status == 200 and a.json["choices"][0]["message"]["content"] == want, a)


def responses():
    want = text_of("run.7")
    ask = dict(SAMPLED, model="stories", input=PROMPT, max_output_tokens=40)
    a = alpha.post("/v1/responses", ask)
    r = a.json
    case("a response", r["object"] == "response" and r["id"].startswith("resp_") and r["status"] == "incomplete" and r["incomplete_details"] == {"reason": "max_output_tokens"} and [(o["type"], o["role"], o["status"]) for o in r["output"]] == [("message", "assistant", "incomplete")] and r["max_output_tokens"] == 40 and [(p["type"], p["text"], p["annotations"]) for p in r["output"][0]["content"]] == [("output_text", want, [])], a)
    case("with its usage", r["usage"]["output_tokens"] == 40 and r["usage"]["input_tokens"] == len(text_of("run.tokens").split()) and r["usage"]["total_tokens"] == r["usage"]["input_tokens"] + 40 and r["error"] is None, a)
    items = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": PROMPT}]}, {"type": "reasoning", "summary": []}, {"type": "of_the_future"}]
    a = beta.post("/v1/responses", dict(ask, input=items, store=False, include=["reasoning.encrypted_content"], tools=[{"type": "web_search"}], reasoning={"summary": "auto"}, text={"verbosity": "low"}, prompt_cache_key="x"))
    case("items, and what Codex sends beside them", a.status == 200 and a.json["output"][0]["content"][0]["text"] == want, a)
    a, e = gamma.events("/v1/responses", ask)
    names = [n for n, _ in e]
    case("streamed: its events in their order", names == ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"] + ["response.output_text.delta"] * (len(e) - 8) + ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete"] and all(d["type"] == n for n, d in e) and [d["sequence_number"] for _, d in e] == list(range(len(e))), names)
    case("with the text, in pieces and whole", "".join(d["delta"] for n, d in e if n.endswith("text.delta")) == want == e[-4][1]["text"] == e[-1][1]["response"]["output"][0]["content"][0]["text"], e)
    case("one item under one id", len({d.get("item_id") or d["item"]["id"] for n, d in e[2:-1]}) == 1, e)
    a = alpha.post("/v1/responses", dict(ask, instructions="Once upon", input="a time"))
    b = alpha.post("/v1/chat/completions", dict(SAMPLED, max_tokens=40, messages=[{"role": "system", "content": "Once upon"}, {"role": "user", "content": "a time"}]))
    case("instructions are the system's message", a.json["output"][0]["content"][0]["text"] == b.json["choices"][0]["message"]["content"], a, b)


# ---- llama.cpp's server ----------------------------------------------------------------------------------------------


def llama():
    want = text_of("run.7")
    a = alpha.get("/health", Authorization="")
    case("health", a.status == 200 and a.json == {"status": "ok"}, a)
    a = beta.get("/props")
    case("props", a.status == 200 and isinstance(a.json["chat_template"], str) and a.json["chat_template"] and a.json["default_generation_settings"]["n_ctx"] == 512 and a.json["total_slots"] == 4, a)
    a = beta.get("/slots")
    case("slots", [s["id"] for s in a.json] == [0, 1, 2, 3] and all(s["is_processing"] in (True, False) and s["n_ctx"] == 512 for s in a.json), a)
    ids = [int(x) for x in text_of("run.tokens").split()]
    a = gamma.post("/tokenize", {"content": PROMPT, "add_special": True})
    case("tokenize is as caravan tokenize", a.json == {"tokens": ids}, a, ids)
    b = gamma.post("/tokenize", {"content": PROMPT})
    case("and without the beginning", b.json == {"tokens": ids[1:]}, b)
    a = gamma.post("/detokenize", b.json)
    case("detokenize", a.json == {"content": PROMPT}, a)
    case("of nothing", gamma.post("/detokenize", {"tokens": []}).json == {"content": ""})
    a = gamma.post("/apply-template", {"messages": [{"role": "system", "content": "a"}, {"role": "user", "content": "b"}]})
    case("apply-template", a.json == {"prompt": "a\nb"}, a)
    a = alpha.post("/completion", dict(SAMPLED, prompt=PROMPT, n_predict=40, cache_prompt=True))
    case("completion", a.json["content"] == want and a.json["stop"] is True and a.json["stop_type"] == "limit" and a.json["tokens_predicted"] == 40 and a.json["timings"]["predicted_n"] == 40, a)
    a, e = alpha.events("/completion", dict(SAMPLED, prompt=PROMPT, n_predict=40))
    case("streamed", "".join(d["content"] for _, d in e) == want and [d["stop"] for _, d in e] == [False] * (len(e) - 1) + [True], e)
    stop = want[20:24]
    a = alpha.post("/completion", dict(SAMPLED, prompt=PROMPT, n_predict=-1, stop=[stop]))
    case("with the word that stopped it", a.json["stop_type"] == "word" and a.json["stopping_word"] == stop and a.json["content"] == want[: want.index(stop)], a)


# ---- biases ----------------------------------------------------------------------------------------------------------


def biases():
    greedy = {"model": "stories", "prompt": FIRST, "temperature": 0, "max_tokens": 20}
    plain = alpha.post("/v1/completions", greedy).json["choices"][0]["text"]
    first = alpha.post("/completion", {"prompt": FIRST, "temperature": 0, "n_predict": 1}).json["content"]
    word = alpha.post("/tokenize", {"content": FIRST + plain}).json["tokens"][len(alpha.post("/tokenize", {"content": FIRST}).json["tokens"])]
    case("the first token of an answer has an id", alpha.post("/detokenize", {"tokens": [word]}).json["content"].strip() == first.strip(), word, first)
    a = [n.post("/v1/completions", dict(greedy, logit_bias={str(word): 100})).json["choices"][0]["text"] for n in (alpha, beta, gamma)]
    case("a large bias has one token for an answer, from any node", a[0] == first * 20, a, first)
    case("the same one", a[1] == a[0] and a[2] == a[0], a)
    chat = beta.post("/v1/chat/completions", {"messages": [{"role": "user", "content": FIRST}], "temperature": 0, "max_tokens": 20, "logit_bias": {str(word): 100}}).json
    case("in a conversation too", chat["choices"][0]["message"]["content"] == a[0], chat, a)
    some = [n.post("/v1/completions", dict(greedy, temperature=1, seed=5, logit_bias={str(word): -100})).json["choices"][0]["text"] for n in (alpha, beta, gamma)]
    case("sampled, the same from any node", len(set(some)) == 1 and not some[0].startswith(first), some)
    a = [gamma.post("/completion", {"prompt": FIRST, "temperature": 0, "n_predict": 20, "logit_bias": b}).json["content"] for b in ([[word, False]], [[word, -100]], {str(word): -100}, [])]
    case("one that is never to come does not", a[0] == a[1] == a[2] and not a[0].startswith(first), a, first)
    case("and without biases nothing changes", a[3] == plain, a, plain)
    end = alpha.post("/tokenize", {"content": alpha.get("/props").json["eos_token"]}).json["tokens"][-1]
    ending = {str(end): 100}
    a = [beta.post("/completion", {"prompt": FIRST, "temperature": 0, "n_predict": 20, "logit_bias": ending, "ignore_eos": ignored}).json for ignored in (False, True)]
    case("an answer ends by the token that ends a text, and not with ignore_eos", [x["tokens_predicted"] for x in a] == [0, 20] and a[1]["content"] == plain, a, plain)
    a = [gamma.post("/v1/chat/completions", {"messages": [{"role": "user", "content": FIRST}], "temperature": 0, "max_tokens": 20, "logit_bias": ending, "ignore_eos": ignored}).json for ignored in (False, True)]
    case("in a conversation too", [(x["usage"]["completion_tokens"], x["choices"][0]["finish_reason"]) for x in a] == [(0, "stop"), (20, "length")], a)
    ended = alpha.post("/completion", {"prompt": FIRST, "temperature": 0, "n_predict": 20, "ignore_eos": True, "grammar": 'root ::= "a" "b"'}).json
    case("what an answer must be ends it all the same", ended["content"] == "ab", ended)


# ---- what an answer must be ------------------------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "friends": {"type": "array", "items": {"enum": ["Lily", "Tom", "Sue"]}, "maxItems": 3},
        "kind": {"type": "boolean"},
    },
    "required": ["name", "age", "friends", "kind"],
    "additionalProperties": False,
}


def by_schema(text):
    """An object of the schema above."""
    try:
        o = json.loads(text)
    except ValueError:
        return False
    return (list(o) == list(SCHEMA["properties"]) and isinstance(o["name"], str) and len(o["name"]) <= 12 and type(o["age"]) is int and 0 <= o["age"] <= 120
            and len(o["friends"]) <= 3 and all(x in ("Lily", "Tom", "Sue") for x in o["friends"]) and isinstance(o["kind"], bool))


def constrained():
    user = [{"role": "user", "content": PROMPT}]
    openai = {"type": "json_schema", "json_schema": {"name": "child", "strict": True, "schema": SCHEMA}}
    asks = [
        ("/v1/chat/completions", {"messages": user, "response_format": openai, "max_tokens": 300}, lambda a: a["choices"][0]["message"]["content"]),
        ("/v1/completions", {"prompt": PROMPT, "response_format": openai, "max_tokens": 300}, lambda a: a["choices"][0]["text"]),
        ("/v1/completions", {"prompt": PROMPT, "json_schema": SCHEMA, "max_tokens": 300}, lambda a: a["choices"][0]["text"]),
        ("/v1/responses", {"input": PROMPT, "text": {"format": dict(openai["json_schema"], type="json_schema")}, "max_output_tokens": 300}, lambda a: a["output"][0]["content"][0]["text"]),
        ("/completion", {"prompt": PROMPT, "json_schema": SCHEMA, "n_predict": 300}, lambda a: a["content"]),
        ("/api/chat", {"model": "stories", "messages": user, "format": SCHEMA, "stream": False, "options": {"num_predict": 300}}, lambda a: a["message"]["content"]),
        ("/api/generate", {"model": "stories", "prompt": PROMPT, "format": SCHEMA, "stream": False, "options": {"num_predict": 300}}, lambda a: a["response"]),
    ]
    nodes = [alpha, beta, gamma]
    for path, body, text in asks:
        bad = []
        for i in range(4): # each with a random seed
            a = nodes[i % 3].post(path, body)
            if a.status != 200 or not by_schema(text(a.json)):
                bad.append(a)
        case("%s: every answer parses and is valid by its schema" % path, not bad, bad)
    a = alpha.post("/v1/chat/completions", {"messages": user, "response_format": openai, "max_tokens": 300, "n": 4, "seed": 5})
    texts = [c["message"]["content"] for c in a.json["choices"]]
    case("each of several choices, all of them ended", all(map(by_schema, texts)) and all(c["finish_reason"] == "stop" for c in a.json["choices"]), a)
    b = [gamma.post("/v1/chat/completions", {"messages": user, "response_format": openai, "max_tokens": 300, "seed": 5 + i}).json["choices"][0]["message"]["content"] for i in range(4)]
    case("the same alone and from another node", b == texts, b, texts)
    a, e = beta.events("/v1/chat/completions", {"messages": user, "response_format": openai, "max_tokens": 300, "seed": 5})
    case("streamed it is the same", "".join(d["choices"][0]["delta"].get("content", "") for _, d in e[:-1] if d["choices"]) == texts[0], e)
    ended = []
    for seed in range(8):
        a = nodes[seed % 3].post("/v1/chat/completions", {"messages": user, "response_format": {"type": "json_object"}, "max_tokens": 300, "seed": seed})
        c = a.json["choices"][0]
        ended += [c["message"]["content"]] if c["finish_reason"] == "stop" else []
    case("any object: each that ended within the limit parses", ended and all(isinstance(json.loads(t), dict) for t in ended), ended)
    a = alpha.post("/completion", {"prompt": PROMPT, "grammar": 'root ::= ("Lily" | "Tom") " " [a-z]{3,8} "!"', "n_predict": 100})
    case("GBNF", re.fullmatch("(Lily|Tom) [a-z]{3,8}!", a.json["content"]) and a.json["stop_type"] == "eos", a)
    a = alpha.post("/api/generate", {"model": "stories", "prompt": PROMPT, "format": "json", "stream": False, "options": {"num_predict": 5, "seed": 1}})
    case("Ollama's json, cut by the limit", a.json["response"].startswith("{") and a.json["done_reason"] == "length", a)
    a = alpha.post("/completion", {"prompt": PROMPT, "grammar": "", "json_schema": None, "n_predict": 40, "seed": 7, "temperature": 0.8})
    case("no grammar is any text", a.json["content"] == text_of("run.7"), a)


# ---- Ollama ----------------------------------------------------------------------------------------------------------


def ollama():
    want = text_of("run.7")
    options = dict(SAMPLED, num_predict=40, num_ctx=4096)
    for method in ("GET", "HEAD"):
        a = alpha.ask(method, "/")
        case(method + " / is Ollama's greeting", a.status == 200 and a.body == ("Ollama is running" if method == "GET" else ""), a)
    a = alpha.get("/api/version")
    case("a version of 0.6.4 or later", tuple(int(x) for x in a.json["version"].split(".")) >= (0, 6, 4), a)
    case("to HEAD as well", alpha.ask("HEAD", "/api/version").status == 200)
    a = alpha.get("/api/tags")
    m = a.json["models"][0]
    case("tags have all that clients read", m["name"] == m["model"] == "stories:latest" and len(m["digest"]) == 64 and m["size"] > 2e6 and m["modified_at"].endswith("Z") and m["details"]["format"] == "gguf" and m["details"]["family"] == "llama" and m["details"]["families"] == ["llama"] and m["details"]["parameter_size"] == "2.49M" and m["details"]["quantization_level"] == "Q8_0", a)
    a = alpha.get("/api/ps")
    case("ps too", a.json["models"][0]["model"] == "stories:latest" and a.json["models"][0]["expires_at"] > "2100" and "size_vram" in a.json["models"][0], a)
    for key in ("model", "name"):
        a = beta.post("/api/show", {key: "stories:latest"})
        info = a.json["model_info"]
        case("show by " + key, a.json["capabilities"] == ["completion"] and info["general.architecture"] == "llama" and info["llama.context_length"] == 512 and a.json["template"] and a.json["parameters"] == "num_ctx 512" and a.json["details"]["family"] == "llama", a)
    a = beta.post("/api/show", {"model": "nobody"})
    case("show of an unknown one: an error that is a sentence", a.status == 404 and "stories" in a.json["error"], a)
    chat = {"model": "stories:latest", "messages": [{"role": "user", "content": PROMPT}], "options": options, "keep_alive": "30s", "think": False, "tools": []}
    a, e = gamma.lines("/api/chat", chat)
    case("chat streams lines", a.type == "application/x-ndjson" and "".join(x["message"]["content"] for x in e) == want and all(x["message"]["role"] == "assistant" and x["model"] == "stories:latest" and x["created_at"].endswith("Z") for x in e), a)
    last = e[-1]
    case("with counts and a reason at its end", [x["done"] for x in e] == [False] * (len(e) - 1) + [True] and last["done_reason"] == "length" and last["eval_count"] == 40 and last["prompt_eval_count"] > 1 and last["total_duration"] > 0 and "load_duration" in last and last["eval_duration"] > 0, last)
    a = gamma.post("/api/chat", dict(chat, stream=False, keep_alive=300))
    case("chat as a whole", a.json["message"] == {"role": "assistant", "content": want} and a.json["done"] is True, a)
    a = alpha.post("/api/generate", {"model": "stories", "prompt": PROMPT, "options": options, "stream": False})
    case("generate", a.json["response"] == want and a.json["done_reason"] == "length", a)
    a, e = alpha.lines("/api/generate", {"model": "stories", "prompt": PROMPT, "raw": True, "options": options})
    case("generate, raw, streamed", "".join(x["response"] for x in e) == want and e[-1]["done"], a)
    a = alpha.post("/api/generate", {"model": "stories", "prompt": "a time", "system": "Once upon", "options": options, "stream": False})
    case("generate with a system message", a.status == 200 and a.json["eval_count"] == 40, a)
    case("nothing to generate: it is loaded", alpha.post("/api/generate", {"model": "stories"}).json["done_reason"] == "load")
    case("or let go", alpha.post("/api/chat", {"model": "stories", "messages": [], "keep_alive": 0}).json["done_reason"] == "unload")
    a, e = alpha.lines("/api/pull", {"model": "stories"})
    case("pull of one that is there", e[-1] == {"status": "success"}, a)
    a = alpha.post("/api/pull", {"name": "stories:latest", "stream": False})
    case("pull, not streamed", a.json == {"status": "success"}, a)
    a = alpha.post("/api/pull", {"name": "llama3.2", "stream": False})
    case("pull of one that is not", a.status == 404 and "llama3.2" in a.json["error"], a)


# ---- Anthropic -------------------------------------------------------------------------------------------------------


def anthropic():
    want = text_of("run.7")
    headers = {"x-api-key": "none", "anthropic-version": "2023-06-01", "anthropic-beta": "something-2099-01-01"}
    ask = dict(SAMPLED, model="claude-sonnet-4-5", max_tokens=40, messages=[{"role": "user", "content": PROMPT}])
    a = alpha.post("/v1/messages", ask, **headers)
    m = a.json
    case("a message", m["type"] == "message" and m["role"] == "assistant" and m["content"] == [{"type": "text", "text": want}] and m["stop_reason"] == "max_tokens" and m["stop_sequence"] is None and m["usage"]["output_tokens"] == 40 and m["id"].startswith("msg_") and m["model"] == "claude-sonnet-4-5", a)
    a = beta.post("/v1/messages", dict(ask, thinking={"type": "adaptive"}, metadata={"user_id": "x"}, messages=[{"role": "user", "content": [{"type": "text", "text": PROMPT, "cache_control": {"type": "ephemeral"}}]}], context_management={}), **headers)
    case("blocks, thinking, unknown fields", a.status == 200 and a.json["content"][0]["text"] == want, a)
    a, e = gamma.events("/v1/messages", ask)
    names = [n for n, _ in e]
    case("streamed: its events in their order", names == ["message_start", "ping", "content_block_start"] + ["content_block_delta"] * (len(e) - 6) + ["content_block_stop", "message_delta", "message_stop"] and all(n == d["type"] for n, d in e), names)
    case("with the text", "".join(d["delta"]["text"] for n, d in e if n == "content_block_delta") == want, e)
    start, delta = e[0][1]["message"], e[-2][1]
    case("and the counts", start["usage"]["input_tokens"] == len(text_of("run.tokens").split()) and start["content"] == [] and start["stop_reason"] is None and delta["delta"]["stop_reason"] == "max_tokens" and delta["usage"]["output_tokens"] == 40, start, delta)
    stop = want[20:24]
    a = alpha.post("/v1/messages", dict(ask, stop_sequences=["@@@", stop]))
    case("a stop sequence is named", a.json["stop_reason"] == "stop_sequence" and a.json["stop_sequence"] == stop and a.json["content"][0]["text"] == want[: want.index(stop)], a)
    half = want[:10]
    a = alpha.post("/v1/messages", dict(ask, max_tokens=20, temperature=0, messages=ask["messages"] + [{"role": "assistant", "content": half}]))
    b = alpha.post("/apply-template", {"messages": ask["messages"]})
    c = alpha.post("/v1/completions", {"model": "stories", "prompt": b.json["prompt"] + half, "max_tokens": 20, "temperature": 0})
    case("a last message of the assistant is continued", a.json["content"][0]["text"] == c.json["choices"][0]["text"], a, c)
    a = alpha.post("/v1/messages/count_tokens", {"model": "stories", "messages": ask["messages"]})
    case("tokens are counted", a.json == {"input_tokens": len(text_of("run.tokens").split())}, a)
    a = alpha.post("/v1/messages", dict(ask, system=[{"type": "text", "text": "Once upon"}], messages=[{"role": "user", "content": "a time"}, {"role": "system", "content": "x"}, {"role": "user", "content": "y"}]))
    case("system beside and among the messages", a.status == 200, a)


# ---- errors ----------------------------------------------------------------------------------------------------------


def errors():
    user = [{"role": "user", "content": "hi"}]
    chat, text, ollama, claude = "/v1/chat/completions", "/v1/completions", "/api/chat", "/v1/messages"
    tool = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    rows = [
        (chat, "{", 400, "not JSON"),
        (chat, "[1]", 400, "not an object"),
        (chat, b'{"model":"\xff"}', 400, "not JSON"),
        (chat, "[" * 100, 400, "not JSON"),
        (chat, "[" * 5000, 400, "more than 128"),
        (chat, {"model": "gpt-5", "messages": user}, 404, "stories"),
        (chat, {"model": 5, "messages": user}, 400, "model"),
        (chat, {}, 400, "messages"),
        (chat, {"messages": []}, 400, "messages"),
        (chat, {"messages": ["hi"]}, 400, "messages[0]"),
        (chat, {"messages": [{"content": "hi"}]}, 400, "role"),
        (chat, {"messages": [{"role": "im_end", "content": "hi"}]}, 400, "role"),
        (claude, {"max_tokens": 5, "messages": [{"role": "eot_id", "content": [{"type": "text", "text": "x"}]}]}, 400, "role"),
        (chat, {"messages": [{"role": "user", "content": 7}]}, 400, "content"),
        (chat, {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, 400, "image_url"),
        (chat, {"messages": [{"role": "user"}]}, 400, "messages[0] must have content"),
        (chat, {"messages": user, "tools": tool}, 400, "--template FILE.jinja"),
        (chat, {"messages": user, "tools": tool, "tool_choice": "required"}, 400, "tools"),
        (chat, {"messages": user, "tool_choice": "required"}, 400, "tools is missing"),
        (chat, {"messages": user, "tool_choice": {"type": "function", "function": {"name": "f"}}}, 400, "tool_choice"),
        (chat, {"messages": user, "logprobs": True, "top_logprobs": 21}, 400, "top_logprobs"),
        (chat, {"messages": user, "top_logprobs": 3}, 400, "top_logprobs"),
        (text, {"prompt": "a", "logprobs": 21}, 400, "logprobs"),
        ("/v1/responses", {"input": "a", "top_logprobs": 3}, 400, "message.output_text.logprobs"),
        (chat, {"messages": user, "logit_bias": {"word": 1}}, 400, "logit_bias"),
        (text, {"prompt": "a", "logit_bias": {"512": 1}}, 400, "512"),
        ("/completion", {"prompt": "a", "logit_bias": [["word", 1]]}, 400, "logit_bias"),
        (chat, {"messages": user, "response_format": {"type": "yaml"}}, 400, "response_format"),
        (chat, {"messages": user, "response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, 400, "response_format"),
        (chat, {"messages": user, "response_format": {"type": "json_schema", "json_schema": {"schema": {"wonder": 1}}}}, 400, "wonder"),
        (chat, {"messages": user, "grammar": "root ::= x"}, 400, "grammar"),
        (chat, {"messages": user, "grammar": "root ::= [a", "response_format": {"type": "json_object"}}, 400, "grammar"),
        (chat, {"messages": user, "grammar": "root ::= \"a\"", "response_format": {"type": "json_object"}}, 400, "response_format says as well"),
        (chat, {"messages": user, "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "text"}}}}, 400, 'response_format: at the top: type is "text": it must be null, boolean'),
        (text, {"prompt": "a", "json_schema": {"enum": ["x" * 50000]}}, 400, "49152"),
        (chat, {"messages": user, "functions": [{}]}, 400, "functions"),
        (chat, {"messages": user, "n": 17}, 400, "n must"),
        (chat, {"messages": user, "n": 0}, 400, "n must"),
        (chat, {"messages": user, "max_tokens": 0}, 400, "max_tokens"),
        (chat, {"messages": user, "max_tokens": -5}, 400, "max_tokens must be a whole number from 1 to 4294967295, or -1"),
        (chat, {"messages": user, "max_tokens": 1.5}, 400, "max_tokens must be a whole number"),
        (chat, {"messages": user, "mirostat": 2}, 400, "mirostat"),
        (text, {"prompt": "a", "xtc_probability": 0.5}, 400, "xtc_probability"),
        (chat, {"messages": user, "post_sampling_probs": True}, 400, "post_sampling_probs"),
        (chat, {"messages": user, "temperature": -1}, 400, "temperature"),
        (chat, {"messages": user, "temperature": "warm"}, 400, "temperature"),
        (chat, {"messages": user, "top_p": 2}, 400, "top_p"),
        (chat, {"messages": user, "seed": 1e300}, 400, "seed"),
        (chat, {"messages": user, "stop": ["x"] * 17}, 400, "stop"),
        (chat, {"messages": user, "stop": [5]}, 400, "stop"),
        (chat, {"messages": user, "stop": "x" * 2000}, 400, "stop"),
        (chat, {"messages": user, "stream": "yes"}, 400, "stream"),
        (chat, {"messages": [{"role": "user", "content": "word " * 2000}]}, 400, "context"),
        (text, {"prompt": "a", "echo": True}, 400, "echo"),
        (text, {"prompt": "a", "suffix": "b"}, 400, "suffix"),
        ("/infill", {"input_prefix": "a", "input_suffix": "b"}, 400, "no tokens to fill in the middle"),
        (text, {"prompt": "a", "best_of": 3}, 400, "best_of"),
        (text, {"prompt": ["a", "b"]}, 400, "prompt"),
        (text, {"prompt": [1, 99999]}, 400, "99999"),
        (text, {"prompt": [1, -1]}, 400, "prompt"),
        (text, {"prompt": [1, "a"]}, 400, "prompt"),
        (text, {"prompt": {"a": 1}}, 400, "prompt"),
        ("/v1/responses", {}, 400, "input"),
        ("/v1/responses", {"input": []}, 400, "input"),
        ("/v1/responses", {"input": [{"type": "reasoning"}]}, 400, "input"),
        ("/v1/responses", {"input": "a", "previous_response_id": "resp_1"}, 400, "previous_response_id"),
        ("/v1/responses", {"input": "a", "text": {"format": {"type": "json_schema"}}}, 400, "text.format"),
        ("/completion", {"prompt": "a", "json_schema": 5}, 400, "json_schema"),
        ("/v1/responses", {"input": "a", "tool_choice": "required"}, 400, "tool_choice"),
        ("/v1/responses", {"input": "a", "max_output_tokens": 0}, 400, "max_output_tokens"),
        ("/v1/responses", {"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, 400, "input_image"),
        ("/completion", {"prompt": "a", "grammar": "x"}, 400, "grammar"),
        ("/completion", {"prompt": "a", "n_probs": 21}, 400, "n_probs"),
        ("/completion", {"prompt": "a", "n_probs": 3, "post_sampling_probs": True}, 400, "post_sampling_probs"),
        ("/tokenize", {"content": 5}, 400, "content"),
        ("/detokenize", {"tokens": "x"}, 400, "tokens"),
        ("/detokenize", {"tokens": [512]}, 400, "512"),
        (ollama, {"model": "stories", "messages": user, "format": "yaml"}, 400, "format"),
        (ollama, {"model": "stories", "messages": user, "format": {"wonder": 1}}, 400, "wonder"),
        (ollama, {"model": "stories", "messages": user, "think": True}, 400, "think"),
        (ollama, {"model": "stories", "messages": user, "options": {"mirostat": 1}}, 400, "mirostat"),
        (ollama, {"model": "stories", "messages": user, "options": [1]}, 400, "options"),
        (ollama, {"model": "stories", "messages": [{"role": "user", "content": "x", "images": ["aa"]}]}, 400, "images"),
        (ollama, {"model": "nobody", "messages": user}, 404, "stories"),
        ("/api/generate", {"model": "stories", "prompt": "a", "suffix": "b"}, 400, "suffix"),
        (claude, {"model": "stories", "messages": user}, 400, "max_tokens"),
        (claude, {"model": "stories", "max_tokens": 5, "messages": []}, 400, "messages"),
        (claude, {"model": "stories", "max_tokens": 5, "messages": user, "tool_choice": {"type": "any"}}, 400, "tool_choice"),
        (claude, {"model": "stories", "max_tokens": 5, "messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, 400, "image"),
        (claude, {"model": "nobody", "max_tokens": 5, "messages": user}, 404, "stories"),
    ]
    for path, body, status, word in rows:
        a = beta.post(path, body)
        message = a.json["error"]
        if path.startswith("/api/"):
            shaped = isinstance(message, str)
        elif path == claude:
            shaped = a.json["type"] == "error" and bool(message["type"])
            message = message["message"]
        else:
            shaped = {"message", "type", "param", "code"} == set(message)
            message = message["message"]
        case("%s refuses %s with %d" % (path, json.dumps(body)[:80] if not isinstance(body, (str, bytes)) else repr(body)[:20], status), a.status == status and shaped and word in message, a)
    a = beta.post(chat, {"messages": [{"role": "user", "content": "word " * 2000}], "stream": True})
    case("what is wrong before a stream begins has a status", a.status == 400 and a.json["error"]["code"] == "context_length_exceeded", a)
    c = beta.connect()
    c.putrequest("POST", chat)
    c.putheader("Content-Length", str(1 << 25))
    c.endheaders()
    a = Answer(c.getresponse())
    case("a body that is too large is refused before it comes", a.status == 413 and "16384 KiB" in a.json["error"]["message"], a)
    a = beta.post(chat, {"messages": user, "top_logprobs": 1})
    case("a field that is refused is named", a.json["error"]["param"] == "top_logprobs", a)
    for name, value in (("temperature", -1), ("min_p", 2), ("max_tokens", -5), ("mirostat", 1)):
        a = beta.post(chat, {"messages": user, name: value})
        case("so is %s" % name, a.status == 400 and a.json["error"]["param"] == name, a)


# ---- what clients send first -----------------------------------------------------------------------------------------


def clients():
    """Recorded first requests, by shared/api.md's table."""
    a = alpha.get("/v1/models", **{"User-Agent": "Open-WebUI"})
    case("Open WebUI, as OpenAI", a.json["data"][0]["id"] == "stories", a)
    a = [alpha.get(p) for p in ("/api/version", "/api/tags", "/api/ps")]
    case("Open WebUI, as Ollama", all(x.status == 200 for x in a) and a[1].json["models"][0]["model"] and a[2].json["models"][0]["expires_at"], a)
    title = {"model": "stories", "messages": [{"role": "user", "content": "### Task:\nGenerate a concise title"}], "stream": False, "max_completion_tokens": 20, "metadata": {"task": "title_generation"}}
    case("Open WebUI asks for a title in the background", alpha.post("/v1/chat/completions", title).status == 200)
    tags = {"model": "stories:latest", "messages": [{"role": "user", "content": "### Task:\nGenerate 1-3 broad tags"}], "stream": False, "options": {"num_predict": 20}, "metadata": {"task": "tags_generation"}}
    case("and for tags", alpha.post("/api/chat", tags).json["message"]["content"])
    a = [alpha.get("/api/tags"), alpha.get("/v1/models")]
    case("LibreChat, Cline", all(m["name"] for m in a[0].json["models"]) and all(m["id"] for m in a[1].json["data"]), a)
    a = [alpha.get("/api/tags"), alpha.get("/")]
    case("n8n, the older too", all(m["name"] for m in a[0].json["models"]) and a[1].body == "Ollama is running", a)
    a = [alpha.get("/v1/models"), alpha.get("/props"), alpha.post("/completion", {"prompt": PROMPT, "n_predict": 4, "n_probs": 0, "stop": [], "stopping_strings": [], "stream": False, "dynatemp_range": 0, "mirostat": 0, "typical_p": 1, "grammar": "", "logit_bias": [], "samplers": ["top_k"], "cache_prompt": True, "ignore_eos": False, "seed": -1})]
    case("SillyTavern, as llama.cpp", isinstance(a[0].json["data"], list) and isinstance(a[1].json["chat_template"], str) and a[2].json["content"], a)
    a = alpha.post("/api/generate", {"model": "stories", "prompt": PROMPT, "raw": True, "stream": False, "options": {"num_predict": 4, "stop": []}})
    case("SillyTavern, as Ollama", a.json["response"], a)
    show = [alpha.post("/api/show", {"model": m["model"]}).json for m in alpha.get("/api/tags").json["models"]]
    version = alpha.get("/api/version").json["version"]
    case("VS Code Copilot", tuple(int(v) for v in version.split(".")) >= (0, 6, 4) and all(s["capabilities"] and s["model_info"]["%s.context_length" % s["model_info"]["general.architecture"]] == 512 for s in show), show)
    a = alpha.post("/v1/chat/completions", {"model": "stories:latest", "messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}], "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.1, "top_p": 1, "n": 1, "max_tokens": 8})
    case("and its chat", a.status == 200 and a.body.endswith("data: [DONE]\n\n"), a)
    zed = {"model": "stories:latest", "messages": [{"role": "user", "content": "hi"}], "stream": True, "keep_alive": "15m", "options": {"num_ctx": 512, "stop": [], "temperature": 1.0, "num_predict": 8}, "think": None, "tools": []}
    a, e = alpha.lines("/api/chat", zed)
    tag = alpha.get("/api/tags").json["models"][0]
    case("Zed", e[-1]["done_reason"] and all(k in tag for k in ("name", "modified_at", "size", "digest")) and all(k in tag["details"] for k in ("format", "family", "parameter_size", "quantization_level")), e)
    case("Roo Code", all(s["details"]["family"] and s["details"]["parameter_size"] for s in show), show)
    a = alpha.post("/api/show", {"name": "stories"})
    case("Continue, LiteLLM, aider", a.json["parameters"] and a.json["template"] and "tools" not in a.json["template"], a)
    home = {"model": "stories:latest", "messages": [{"role": "system", "content": "You are a voice assistant"}, {"role": "user", "content": "hi"}], "tools": None, "stream": True, "keep_alive": "-1s", "options": {"num_ctx": 8192, "num_predict": 8}, "think": False, "format": None}
    a, e = alpha.lines("/api/chat", home)
    case("Home Assistant", a.status == 200 and e[-1]["done"], a)
    # it asks again and again, and pulls what it was told to use and does not see
    a = [alpha.get("/api/tags").json for _ in range(20)]
    case("it asks for the list again and again", all(x == a[0] for x in a), a[-1])
    a, e = alpha.lines("/api/pull", {"model": "stories:latest"})
    b = alpha.post("/api/pull", {"model": "llama3.2:3b"})
    case("and pulls: success for one that is there", a.status == 200 and e[-1]["status"] == "success" and b.status == 404 and "llama3.2:3b" in b.json["error"], a, b)
    for keep in (-1, 300, "30s", "5m", 0):
        a = alpha.post("/api/chat", dict(home, keep_alive=keep, stream=False))
        case("keep_alive %r" % keep, a.status == 200 and a.json["done"], a)
    a = alpha.post("/api/chat", dict(home, format=SCHEMA, stream=False, options={"num_ctx": 8192, "num_predict": 300}))
    case("an answer by a schema", by_schema(a.json["message"]["content"]), a)
    a = alpha.post("/v1/messages/count_tokens", {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "quota"}], "system": [{"type": "text", "text": "You are Claude Code", "cache_control": {"type": "ephemeral"}}]}, **{"x-api-key": "k"})
    b = alpha.post("/v1/messages?beta=true", {"model": "claude-sonnet-4-5", "max_tokens": 8, "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}], "system": [{"type": "text", "text": "You are Claude Code"}], "thinking": {"type": "enabled", "budget_tokens": 1024}, "metadata": {"user_id": "u"}, "stream": True}, **{"anthropic-beta": "x,y"})
    case("Claude Code", a.json["input_tokens"] > 1 and b.status == 200 and "event: message_stop" in b.body, a, b)
    for thinking in ({"type": "enabled", "budget_tokens": 1024}, {"type": "disabled"}, {"type": "adaptive"}):
        a = alpha.post("/v1/messages", {"model": "claude-sonnet-4-5", "max_tokens": 4, "messages": [{"role": "user", "content": "hi"}, {"role": "system", "content": "a reminder"}], "thinking": thinking})
        case("its thinking %s, and a system message behind the user's" % thinking["type"], a.status == 200 and a.json["usage"]["output_tokens"] == 4, a)


def agents():
    """What agents send in every request: tools; to a model whose template takes them."""
    function = {"name": "weather", "description": "d", "parameters": WEATHER}
    tool = {"type": "function", "function": function}
    talk = [{"role": "system", "content": "You are an agent"}, {"role": "user", "content": PROMPT}]
    show = alpha.post("/api/show", {"name": "chatty:latest"}).json
    case("Roo Code, VS Code Copilot: a model with tools says so", show["capabilities"] == ["completion", "tools", "insert"] and show["details"]["family"] == "llama", show)
    case("LiteLLM, aider: its template has the word tools", "tools" in show["template"] and show["model_info"]["llama.context_length"] == 512, show)
    copilot = {"model": "chatty:latest", "messages": talk, "tools": [tool], "stream": True, "stream_options": {"include_usage": True}, "temperature": 0.1, "top_p": 1, "n": 1, "max_tokens": 8}
    a, e = alpha.events("/v1/chat/completions", copilot)
    case("VS Code Copilot, with tools", a.status == 200 and e[-1][1] == "[DONE]" and e[-2][1]["usage"]["completion_tokens"] == 8, a)
    others = dict(copilot, tool_choice="auto", tools=[tool, {"type": "web_search"}, {"type": "custom", "custom": {"name": "x"}}])
    a, e = alpha.events("/v1/chat/completions", others)
    case("tools of unknown types are ignored", a.status == 200 and e[-1][1] == "[DONE]", a)
    call = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": "weather", "arguments": {"city": "Oslo"}}}]}
    zed = {"model": "chatty:latest", "messages": talk + [call, {"role": "tool", "tool_name": "weather", "content": "rain"}], "stream": True, "keep_alive": "15m", "options": {"num_ctx": 512, "num_predict": 8}, "tools": [tool]}
    a, e = beta.lines("/api/chat", zed)
    case("Zed: calls and results by tool_name", a.status == 200 and e[-1]["done_reason"] == "length", a)
    home = dict(zed, keep_alive=-1, think=False, options={"num_ctx": 8192, "num_predict": 8}, format=None)
    a, e = gamma.lines("/api/chat", home)
    case("Home Assistant, with tools", a.status == 200 and e[-1]["done"], a)
    codex = {"model": "chatty", "instructions": "You are Codex", "input": [{"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "p"}]}, {"type": "message", "role": "user", "content": [{"type": "input_text", "text": PROMPT}]}], "tools": [dict(function, type="function", strict=False), {"type": "local_shell"}, {"type": "web_search"}, {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}}], "tool_choice": "auto", "parallel_tool_calls": False, "reasoning": None, "store": False, "include": [], "prompt_cache_key": "k", "max_output_tokens": 8}
    a, e = alpha.events("/v1/responses", codex)
    case("Codex: only its functions are seen", a.status == 200 and e[0][0] == "response.created" and e[-1][0] == "response.incomplete", a)
    back = codex["input"] + [{"type": "function_call", "call_id": "c1", "name": "weather", "arguments": "{\"city\": \"Oslo\"}"}, {"type": "function_call_output", "call_id": "c1", "output": "rain"}]
    a, e = beta.events("/v1/responses", dict(codex, input=back))
    case("and its calls with their results", a.status == 200 and e[-1][0] == "response.incomplete", a)
    must = dict(codex, tool_choice={"type": "function", "name": "weather"}, max_output_tokens=400, seed=5)
    a, e = gamma.events("/v1/responses", must)
    names, text = [n for n, _ in e], "".join(d["delta"] for n, d in e if n == "response.function_call_arguments.delta")
    done = [d["arguments"] for n, d in e if n == "response.function_call_arguments.done"]
    case("a call streams with events of its own", weather_or_stop([("weather", text)]) and done == [text] and names[-1] == "response.completed" and e[-1][1]["response"]["output"][0]["arguments"] == text, e)
    claude = {"model": "chatty", "max_tokens": 400, "stream": True, "system": [{"type": "text", "text": "You are Claude Code", "cache_control": {"type": "ephemeral"}}], "messages": [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}], "tools": [{"name": "weather", "description": "d", "input_schema": dict(WEATHER, **{"$schema": "http://json-schema.org/draft-07/schema#"}), "cache_control": {"type": "ephemeral"}}, {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}], "thinking": {"type": "disabled"}, "metadata": {"user_id": "u"}, "context_management": {"edits": []}}
    a, e = alpha.events("/v1/messages", dict(claude, max_tokens=8))
    case("Claude Code, with tools", a.status == 200 and e[-1][0] == "message_stop" and e[-2][1]["delta"]["stop_reason"] == "max_tokens", a)
    a, e = beta.events("/v1/messages", dict(claude, tool_choice={"type": "tool", "name": "weather", "disable_parallel_tool_use": True}))
    names, text = [n for n, _ in e], "".join(d["delta"]["partial_json"] for n, d in e if n == "content_block_delta" and d["delta"]["type"] == "input_json_delta")
    case("a call streams as parts of JSON", weather_or_stop([("weather", text)]) and e[-2][1]["delta"]["stop_reason"] == "tool_use" and names[-1] == "message_stop", e)
    a = alpha.post("/v1/messages/count_tokens", {k: claude[k] for k in ("model", "system", "messages", "tools", "thinking")})
    b = alpha.post("/v1/messages/count_tokens", {k: claude[k] for k in ("model", "system", "messages", "thinking")})
    case("and its tools count", a.json["input_tokens"] > b.json["input_tokens"] > 1, a, b)


# ---- the cluster ----------------------------------------------------------------------------------------------------

# what is another moment's another time
PASSING = ("_seconds", "_hz", "_celsius", "_free", "rate", "_per_second", "_bandwidth", "_used", "_bytes", "rows")


def lasting(o):
    if isinstance(o, dict):
        return {k: lasting(v) for k, v in o.items() if not k.endswith(PASSING)}
    return [lasting(v) for v in o] if isinstance(o, list) else o


def shape(o):
    return {k: shape(v) for k, v in o.items()} if isinstance(o, dict) else [shape(v) for v in o] if isinstance(o, list) else type(o).__name__


def cluster():
    a = beta.get("/v1/cluster")
    status = json.loads(subprocess.run(["caravan", "status", "--control", where + "/beta/control.sock", "--json"], capture_output=True).stdout)
    case("the cluster is what caravan status --json says there", a.status == 200 and a.type == "application/json" and lasting(a.json) == lasting(status) and len(a.json["nodes"]) == 3, a, status)
    layers = [(s["node"], s["first"], s["last"]) for m in a.json["models"] for s in m["stages"] if m["name"] == "stories"]
    case("with who has which layers, and the links between them", [x[0] for x in layers] == ["alpha", "beta", "gamma"] and all(s["link"]["up"] and s["link"]["round_trip_seconds"] > 0 for m in a.json["models"] for s in m["stages"]), layers, a)
    s = Stream(beta, "GET", "/v1/cluster/live")

    def until(kind, good):
        """The data of the next event of this kind that is good, of so many."""
        for _ in range(200):
            block = s.read(until=s.bytes.count(b"\n\n") + 1).bytes.decode().split("\n\n")[-2]
            head, data = block.split("\ndata: ", 1)
            if head == "event: " + kind and good(json.loads(data)):
                return json.loads(data)

    def tokens(state):
        return [m["tokens"] for m in state["models"] if m["name"] == "stories"][0]

    known = [json.loads(x) for x in subprocess.run(["caravan", "events", "--control", where + "/beta/control.sock", "--json"], capture_output=True).stdout.splitlines()]
    known = [e for e in known if e["kind"] != "events-missing"]
    first = until("event", lambda e: True)
    case("live, the events that the node knows come first", first["node"] in ("alpha", "beta", "gamma") and len(known) > 5 and {k: first[k] for k in ("kind", "text", "serial", "node")} in [{k: e[k] for k in ("kind", "text", "serial", "node")} for e in known], first, known)
    state = until("cluster", lambda c: True)
    case("and the cluster as it is", s.r.getheader("Content-Type") == "text/event-stream" and shape(lasting(state)) == shape(lasting(a.json)), s.bytes)
    beta.post("/v1/completions", dict(SAMPLED, model="stories", prompt=PROMPT, max_tokens=7))
    case("and again when it has changed", until("cluster", lambda c: tokens(c) >= tokens(state) + 7), s.bytes)
    s.cut()
    watchers = [Stream(beta, "GET", "/v1/cluster/live") for _ in range(64)]
    one_more = beta.get("/v1/cluster/live")
    case("no more than 64 may watch", [w.r.status for w in watchers] == [200] * 64 and one_more.status == 429, one_more)
    for w in watchers:
        w.cut()


# ---- metrics --------------------------------------------------------------------------------------------------------


def metrics():
    """Of a cluster that has served all of the above."""
    case("the checker of metrics sees what is wrong", exposition.self_test() == [], exposition.self_test())
    for name, n in (("alpha", alpha), ("beta", beta), ("gamma", gamma)):
        a = n.get("/metrics")
        case("metrics of %s are in Prometheus' format" % name, a.status == 200 and a.type.startswith("text/plain; version=0.0.4") and exposition.problems(a.body) == [], exposition.problems(a.body), a)
    if shutil.which("promtool"):
        p = subprocess.run(["promtool", "check", "metrics"], input=a.body.encode(), capture_output=True)
        case("promtool finds nothing wrong with them", p.returncode == 0 and not p.stdout and not p.stderr, p)

    def values():
        return {n: float(v) for n, v in (x.rsplit(" ", 1) for x in alpha.get("/metrics").body.splitlines() if not x.startswith("#"))}

    before = values()
    case("those of the model, of nodes and memory", before['caravan_model_serving{model="stories"}'] == 1 and sum(n.startswith("caravan_node_up{") for n in before) == 3 and before["caravan_memory_limit_bytes"] == 2 << 30 and 0 < before["caravan_memory_used_bytes"] < 2 << 30 and before['caravan_model_kv_blocks{model="stories"}'] >= before['caravan_model_kv_blocks_free{model="stories"}'] > 0, before)
    shares = {n: v for n, v in before.items() if n.startswith('caravan_model_stage_seconds_total{model="stories"')}
    case("each stage has its shares of time", len(shares) == 16 and all(v > 0 for v in shares.values()), shares)
    links = ['caravan_link_%s{node="%s"}' % (what, n) for what in ("round_trip_seconds", "bytes_per_second") for n in ("beta", "gamma")]
    first, inter, generated = (before['caravan_model_%s{model="stories"}' % n] for n in ("first_token_seconds_count", "inter_token_seconds_count", "generated_tokens_total"))
    case("what clients waited for is counted at the coordinator", 0 < inter < generated <= inter + first, (first, inter, generated))
    case("and links have what was measured of them", all(before.get(n, 0) > 0 for n in links), before)
    alpha.post("/v1/completions", dict(SAMPLED, model="stories", prompt=PROMPT, max_tokens=40))
    alpha.post("/api/generate", {"model": "stories", "prompt": PROMPT, "options": {"num_predict": 2}})
    alpha.post("/v1/embeddings", {"model": "stories", "input": [PROMPT, PROMPT]})
    alpha.post("/v1/embeddings", {"model": "nobody", "input": PROMPT})
    alpha.post("/api/embed", {"model": "stories", "input": 7})
    after = values()

    def more(name):
        return after[name] - before.get(name, 0)

    case("requests and tokens are counted", more('caravan_http_completions_total{api="openai",code="200"}') == 1 and more('caravan_http_completions_total{api="ollama",code="200"}') == 1 and more("caravan_http_generated_tokens_total") == 42 and more("caravan_http_first_token_seconds_count") == 2, after)
    prompt = len(text_of("run.tokens").split())
    case("of prompts too", more("caravan_http_prompt_tokens_total") == 2 * prompt, after)
    case("embeddings are counted", more('caravan_http_embeddings_total{api="openai",code="200"}') == 1 and more('caravan_http_embeddings_total{api="openai",code="404"}') == 1 and more('caravan_http_embeddings_total{api="ollama",code="400"}') == 1 and more("caravan_http_embedded_tokens_total") == 2 * prompt, after)
    buckets = [v for n, v in after.items() if n.startswith("caravan_http_inter_token_seconds_bucket")]
    case("times between tokens are counted", more("caravan_http_inter_token_seconds_count") > 20 and after["caravan_http_inter_token_seconds_sum"] > 0, buckets)
    queued()


def queued():
    """More streams than the model runs at once; nodes look at their models once a second."""
    names = ["caravan_model_%s{model=\"stories\"}" % n for n in ("sequences_queued", "sequences_running", "generated_tokens_total", "steps_total")]

    def now():
        text = alpha.get("/metrics").body
        return [int(re.search("^%s (\\d+)$" % re.escape(n), text, re.M).group(1)) for n in names]

    streams, before = [], now()
    for i in range(100):
        c = alpha.connect()
        c.request("POST", "/v1/completions", json.dumps({"model": "stories", "prompt": PROMPT, "max_tokens": 400, "seed": i, "stream": True}))
        streams.append(c)
    seen = before
    for _ in range(600):
        if seen[0]:
            break
        time.sleep(0.1)
        seen = now()
    case("so are those that run and wait, and the tokens and steps of all nodes", seen[0] > 0 and seen[1] == 4 and seen[2] > before[2] and seen[3] > before[3], before, seen)
    for c in streams:
        c.close()


# ---- templates -------------------------------------------------------------------------------------------------------

TEMPLATE = (
    "{% if tools %}{% for t in tools %}<s>tool {{ t.function.name }}</s>{% endfor %}{# <tool_call> #}{% endif %}"
    "{% for m in messages %}{% if m.role == 'system' and m.content == 'x' %}{{ raise_exception('no such messages, please') }}{% endif %}<s>{{ m.content }}{% if m.tool_calls %}"
    "{% for c in m.tool_calls %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}{% endif %}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>{% endif %}"
)


def count(n, body):
    return n.post("/v1/messages/count_tokens", dict(body, model="chatty")).json["input_tokens"]


WEATHER = {"type": "object", "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 7}}, "required": ["city", "days"], "additionalProperties": False}


def weather_or_stop(calls, names=("weather", "stop")):
    """Calls as [name, arguments as JSON]: at least one, and each is valid."""

    def good(name, text):
        o = json.loads(text)
        if name == "stop":
            return o == {}
        return sorted(o) == ["city", "days"] and o["city"] in ("Oslo", "Rome") and type(o["days"]) is int and 1 <= o["days"] <= 7

    return len(calls) > 0 and all(name in names and good(name, text) for name, text in calls)


def must_call():
    """The model knows of no tools: what it says is a call because the grammar has it so."""
    user = [{"role": "user", "content": PROMPT}]
    functions = [{"name": "weather", "parameters": WEATHER}, {"name": "stop"}]
    tools = [{"type": "function", "function": f} for f in functions]
    chat = {"model": "chatty", "messages": user, "tools": tools, "max_tokens": 400, "tool_choice": "required", "parallel_tool_calls": False}
    flat = dict({"model": "chatty", "input": PROMPT, "tools": [dict(f, type="function") for f in functions]}, max_output_tokens=400, parallel_tool_calls=False)
    claude = {"model": "chatty", "messages": user, "max_tokens": 400, "tools": [{"name": "weather", "input_schema": WEATHER}, {"name": "stop", "input_schema": {"type": "object", "additionalProperties": False}}]}
    one = {"disable_parallel_tool_use": True}

    def of_chat(a):
        m = a["choices"][0]["message"]
        rest = (m["content"] or "").strip()  # of a call that the limit has cut
        return [(c["function"]["name"], c["function"]["arguments"]) for c in m.get("tool_calls", [])] if "<tool_call>".startswith(rest[:11]) else []

    def of_responses(a):
        return [(o["name"], o["arguments"]) for o in a["output"]]

    def of_claude(a):
        return [(b["name"], json.dumps(b["input"])) for b in a["content"]] if a["stop_reason"] == "tool_use" else []

    both, named = ("weather", "stop"), ("weather",)
    asks = [
        ("/v1/chat/completions", "required", chat, of_chat, both),
        ("/v1/chat/completions", "named", dict(chat, tool_choice={"type": "function", "function": {"name": "weather"}}), of_chat, named),
        ("/v1/responses", "required", dict(flat, tool_choice="required"), of_responses, both),
        ("/v1/responses", "named", dict(flat, tool_choice={"type": "function", "name": "weather"}), of_responses, named),
        ("/v1/messages", "any", dict(claude, tool_choice=dict(one, type="any")), of_claude, both),
        ("/v1/messages", "tool", dict(claude, tool_choice=dict(one, type="tool", name="weather")), of_claude, named),
        ("/api/chat", "required", {"model": "chatty", "messages": user, "tools": tools, "tool_choice": "required", "stream": False, "options": {"num_predict": 400}}, lambda a: [(c["function"]["name"], json.dumps(c["function"]["arguments"])) for c in a["message"]["tool_calls"]], both),
    ]
    nodes = [alpha, beta, gamma]
    for path, how, body, calls, names in asks:
        bad = []
        for i in range(4): # each with a random seed
            a = nodes[i % 3].post(path, body)
            if a.status != 200 or not weather_or_stop(calls(a.json), names) or (path != "/api/chat" and len(calls(a.json)) != 1):
                bad.append(a)
        case("%s, %s: every answer is a call with valid arguments" % (path, how), not bad, bad)
    many = [alpha.post("/v1/chat/completions", dict(chat, parallel_tool_calls=True, seed=s)) for s in range(8)]
    case("several calls, each of them valid", all(weather_or_stop(of_chat(a.json)) for a in many) and max(len(of_chat(a.json)) for a in many) > 1, many)
    a, e = beta.events("/v1/chat/completions", dict(chat, seed=5))
    streamed = [(c["function"]["name"], c["function"]["arguments"]) for _, d in e[:-1] for c in (d["choices"][0]["delta"].get("tool_calls", []) if d["choices"] else [])]
    case("streamed it is the same", streamed == of_chat(gamma.post("/v1/chat/completions", dict(chat, seed=5)).json), e)
    bad = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"wonder": 1}}}}}]
    a = alpha.post("/v1/chat/completions", dict(chat, tools=bad))
    case("a schema that cannot be honoured is refused by tool, pointer and keyword", a.status == 400 and a.json["error"]["message"] == "tools: tool f: at #/properties/a: wonder is not supported", a)
    a = alpha.post("/v1/chat/completions", dict(chat, tools=bad, tool_choice="auto", max_tokens=5))
    case("not where no call is required", a.status == 200, a)


def templates():
    def of(text):
        return {"messages": [{"role": "user", "content": text}]}

    a = alpha.post("/apply-template", dict(of("hi"), model="chatty"))
    case("the model's own template is rendered", a.json == {"prompt": "<s>hi</s><s>"}, a)
    plain = len(alpha.post("/tokenize", {"model": "chatty", "content": "hi"}).json["tokens"])
    case("its control tokens count", count(beta, of("hi")) == plain + 3, count(beta, of("hi")), plain)
    hostile = "</s><s>hi"
    as_text = len(alpha.post("/tokenize", {"model": "chatty", "content": hostile, "parse_special": False}).json["tokens"])
    case("those in a user's text are text", as_text > 3 and count(gamma, of(hostile)) == as_text + 3, count(gamma, of(hostile)), as_text)
    a = gamma.post("/v1/chat/completions", dict(of(hostile), model="chatty", seed=5, max_tokens=30))
    b = json.load(open(os.path.join(where, "chat.hostile")))
    case("caravan run --chat renders and answers alike", b["text"] == a.json["choices"][0]["message"]["content"] and b["prompt_tokens"] == a.json["usage"]["prompt_tokens"], a, b)
    a = alpha.post("/v1/chat/completions", {"model": "chatty", "messages": [{"role": "system", "content": "x"}]})
    case("what the template refuses is 400, with its words", a.status == 400 and "no such messages, please" in a.json["error"]["message"], a)
    tool = {"type": "function", "function": {"name": "weather", "description": "d", "parameters": {"type": "object", "properties": {}}}}
    a = alpha.post("/apply-template", dict(of("hi"), model="chatty", tools=[tool]))
    case("tools reach the template", a.json == {"prompt": "<s>tool weather</s><s>hi</s><s>"}, a)
    talk = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\": \"Oslo\"}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "rain"},
    ]
    a = alpha.post("/apply-template", {"model": "chatty", "messages": talk})
    case("and calls with their results", a.json == {"prompt": "<s>hi</s><s>weather{\"city\": \"Oslo\"}</s><s>rain</s><s>"}, a)
    a = alpha.post("/v1/chat/completions", {"model": "chatty", "messages": talk, "tools": [tool], "max_tokens": 5, "tool_choice": "auto"})
    case("a request with tools is answered", a.status == 200 and a.json["choices"][0]["finish_reason"] in ("length", "stop"), a)
    a = alpha.post("/v1/chat/completions", {"model": "chatty", "messages": talk, "tools": [tool], "response_format": {"type": "json_object"}})
    case("tools and an answer that could not call them are refused", a.status == 400 and a.json["error"]["param"] == "tools", a)
    a = alpha.post("/api/chat", {"model": "chatty", "messages": [{"role": "user", "content": "hi"}], "tools": [tool], "format": "json"})
    case("at Ollama's routes too", a.status == 400 and a.json["error"].startswith("tools"), a)
    a = alpha.post("/v1/chat/completions", {"model": "chatty", "messages": talk, "tools": [tool], "tool_choice": "none", "max_tokens": 5, "response_format": {"type": "json_object"}})
    case("not with tool_choice none", a.status == 200 and a.json["choices"][0]["message"]["content"].startswith("{"), a)
    must_call()
    claude = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "weather", "input": {"city": "Oslo"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "rain"}]}]},
    ]
    case("Anthropic's form of it is the same prompt", count(beta, {"messages": claude}) == len(alpha.post("/tokenize", {"model": "chatty", "content": a and "<s>hi</s><s>weather{\"city\": \"Oslo\"}</s><s>rain</s><s>"}).json["tokens"]))
    a = alpha.post("/api/show", {"model": "chatty"})
    case("the capability is listed", a.json["capabilities"] == ["completion", "tools", "insert"], a)
    a = gamma.post("/infill", {"model": "chatty", "input_prefix": "hi", "input_suffix": hostile, "n_predict": 4})
    case("a middle is filled in, with the file's own marks", a.status == 200 and a.json["tokens_predicted"] == 4, a)
    case("and those in a client's text are text", a.json["tokens_evaluated"] == 3 + plain + as_text, a, plain, as_text)
    b = beta.post("/v1/completions", {"model": "chatty", "prompt": "hi", "suffix": hostile, "max_tokens": 4})
    c = alpha.post("/api/generate", {"model": "chatty", "prompt": "hi", "suffix": hostile, "stream": False, "options": {"num_predict": 4}})
    case("so does a suffix", b.json["usage"]["prompt_tokens"] == c.json["prompt_eval_count"] == a.json["tokens_evaluated"], b, c)
    a = alpha.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
    case("with two models a request names one", a.status == 404 and "chatty, stories" in a.json["error"]["message"], a)
    ids = {alpha.post("/v1/completions", {"model": m, "prompt": "x", "max_tokens": 1}).json["system_fingerprint"] for m in ("chatty", "stories")}
    case("another template is another fingerprint", len(ids) == 2, ids)


# ---- what doc/api.md has to type -------------------------------------------------------------------------------------


def blocks(heading):
    """What a section of doc/api.md types, one string of commands for each of its blocks."""
    text = open(source + "/doc/api.md", encoding="utf-8").read()
    section = text.split("\n## %s\n" % heading)[1].split("\n## ")[0]
    found = re.findall(r"(?:^    .*\n)+", section, re.M)
    return [re.sub(r"^    (\$ )?", "", b, flags=re.M) for b in found]


def typed(node, name, commands):
    """What they print: at a node whose API has the usual port, so to say."""
    for folder in "demo", "contrib":
        if not os.path.lexists("%s/%s" % (where, folder)):
            os.symlink("%s/%s" % (os.path.abspath(source), folder), "%s/%s" % (where, folder))
    environment = dict(os.environ, CARAVAN_CONTROL="%s/%s/control.sock" % (where, name))
    commands = commands.replace("127.0.0.1:8080", "127.0.0.1:%d" % node.port)
    return subprocess.run(["sh", "-e", "-c", commands], cwd=where, env=environment, capture_output=True, text=True, timeout=240)


def is_chat(out):
    return len(json.loads(out)["choices"][0]["message"]["content"]) > 10


def is_stream(out):
    events = [line[6:] for line in out.splitlines() if line.startswith("data: ")]
    return events[-1] == "[DONE]" and len("".join(json.loads(e)["choices"][0]["delta"].get("content", "") for e in events[:-1])) > 10


def is_person(out):
    person = json.loads(json.loads(out)["choices"][0]["message"]["content"])
    return set(person) == {"name", "age"} and 0 <= person["age"] <= 120


def has_logprobs(out):
    tokens = json.loads(out)["choices"][0]["logprobs"]["content"]
    return 0 < len(tokens) <= 5 and all(len(t["top_logprobs"]) == 3 for t in tokens)


def is_call(out):
    choice = json.loads(out[out.index("{\"id\"") :])["choices"][0]
    calls = choice["message"]["tool_calls"]
    return choice["finish_reason"] == "tool_calls" and [c["function"]["name"] for c in calls] == ["weather"] and json.loads(calls[0]["function"]["arguments"])["city"] in ("Berlin", "Paris")


def is_resumed(out):
    numbers = [int(n) for n in re.findall(r"^id: (\d+)$", out, re.M)]
    return numbers[:3] == [1, 2, 3] and numbers == list(range(1, len(numbers) + 1)) and len(numbers) > 10 and out.endswith("data: [DONE]\n\n")


def examples():
    rows = [("a chat", is_chat), ("a stream", is_stream), ("an answer by a schema", is_person), ("log-probabilities", has_logprobs), ("a call", is_call), ("a stream that is taken up again", is_resumed)]
    found = blocks("Try it")
    case("the document has as many examples as are checked", len(found) == len(rows), found)
    for (what, good), commands in zip(rows, found):
        p = typed(alpha, "alpha", commands)
        case("typed from the document: " + what, p.returncode == 0 and good(p.stdout), p)


def keys():
    (commands,) = blocks("Keys")
    p = typed(beta, "beta", commands)
    case("typed from the document: keys", p.returncode == 0 and p.stdout.count('"object":"list"') + p.stdout.count('"object": "list"') == 2 and "every request over HTTP needs a key" in p.stderr, p)
    a = beta.get("/v1/models")
    case("from then on others are refused", a.status == 401, a)
    a = [beta.get("/v1/cluster"), beta.get("/v1/cluster/live")]
    case("and the cluster shows itself to nobody else", [b.status for b in a] == [401, 401], *a)


def named(model="named", want="<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"):
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    a = [n.post("/apply-template", body) for n in (alpha, beta, gamma)]
    case("every node renders with the template that was named", all(b.json == {"prompt": want} for b in a), *a)
    ids = {n.post("/v1/completions", {"model": model, "prompt": "x", "max_tokens": 1}).json["system_fingerprint"] for n in (alpha, beta, gamma)}
    other = alpha.post("/v1/completions", {"model": "stories", "prompt": "x", "max_tokens": 1}).json["system_fingerprint"]
    case("and says so in the fingerprint", len(ids) == 1 and other not in ids, ids, other)


def owned():
    named("owned", "own hi<think>")
    user = [{"role": "user", "content": "hi"}]
    ask = {"model": "owned", "messages": user, "temperature": 0, "grammar": 'root ::= "\\nHm, a.\\n</think>\\n\\nYes"'}
    m = alpha.post("/v1/chat/completions", ask).json["choices"][0]["message"]
    case("reasoning is apart from the answer", m["reasoning_content"] == m["reasoning"] == "Hm, a." and m["content"] == "Yes", m)
    parts = [c["choices"][0]["delta"] for _, c in beta.events("/v1/chat/completions", ask)[1] if c != "[DONE]"]
    joined = ["".join(d.get(k, "") for d in parts) for k in ("reasoning_content", "content")]
    case("streamed too", joined == ["Hm, a.", "Yes"], parts)
    m = gamma.post("/v1/chat/completions", {"model": "owned", "messages": user, "reasoning_effort": "none", "max_tokens": 5}).json["choices"][0]["message"]
    case("without it all is the answer", m["content"] and "reasoning" not in m, m)
    schema = {"type": "json_schema", "json_schema": {"schema": {"const": "yes"}}}
    m = gamma.post("/v1/chat/completions", {"model": "owned", "messages": user, "reasoning_effort": "none", "response_format": schema}).json["choices"][0]["message"]
    case("JSON without reasoning", m["content"] == '"yes"', m)
    m = gamma.post("/v1/chat/completions", {"model": "owned", "messages": user, "response_format": schema, "max_tokens": 5}).json["choices"][0]["message"]
    case("and reasoning comes before it", m["content"] == "" and m["reasoning"], m)
    short = {"model": "owned", "messages": user, "options": {"num_predict": 5}, "stream": False}
    a = alpha.post("/api/chat", short)
    case("Ollama's thinking", a.json["message"]["thinking"] and a.json["message"]["content"] == "", a)
    a = alpha.post("/api/chat", dict(short, think=False))
    case("switched off", a.json["message"]["content"] and "thinking" not in a.json["message"], a)
    a = beta.post("/v1/messages", {"model": "owned", "messages": user, "max_tokens": 5})
    case("Anthropic's block of thinking", a.json["content"][0]["type"] == "thinking" and a.json["content"][0]["thinking"], a)
    a = gamma.post("/v1/responses", {"model": "owned", "input": "hi", "max_output_tokens": 5})
    case("an item of reasoning", a.json["output"][0]["type"] == "reasoning" and a.json["output"][0]["content"][0]["text"], a)
    a = alpha.post("/api/show", {"model": "owned"})
    case("the capability to think is listed", "thinking" in a.json["capabilities"], a)


# ---- embeddings ------------------------------------------------------------------------------------------------------


def embeddings():
    """Model stories is on three nodes, model alone, which has the same weights, on one."""
    import base64

    texts = [PROMPT, FIRST, "<s>Lily</s>", " ".join([FIRST] * 20)]
    ids = alpha.post("/tokenize", {"model": "stories", "content": PROMPT, "add_special": True}).json["tokens"]

    def bytes_of(node, model, input):
        a = node.post("/v1/embeddings", {"model": model, "input": input, "encoding_format": "base64"})
        return [base64.b64decode(d["embedding"]) for d in a.json["data"]] if a.status == 200 else a

    def numbers(data):
        return list(struct.unpack("<%df" % (len(data) // 4), data))

    want = bytes_of(alpha, "alone", texts)
    for n, name in ((alpha, "alpha"), (beta, "beta"), (gamma, "gamma")):
        case("embeddings of three nodes, asked at %s, are one node's bytes" % name, bytes_of(n, "stories", texts) == want, want)
    case("of texts together and one by one", [bytes_of(beta, "stories", t)[0] for t in texts] == want)
    case("of a text and of its tokens", bytes_of(gamma, "stories", ids) == want[:1] and bytes_of(gamma, "stories", [ids, ids]) == want[:1] * 2)
    case("each of length 1", all(abs(sum(v * v for v in numbers(w)) - 1) < 1e-5 for w in want))
    case("each another", len(set(want)) == len(texts))
    same = lambda a, b: sum(x * y for x, y in zip(numbers(a), numbers(b)))
    case("a text is nearer to its own repetition than to another", same(want[1], want[3]) > same(want[0], want[3]), same(want[1], want[3]), same(want[0], want[3]))
    a = beta.post("/v1/embeddings", {"model": "stories", "input": texts})
    got = [d["embedding"] for d in a.json["data"]]
    case("numbers are the same floats", a.status == 200 and got == [numbers(w) for w in want], a)
    count = [len(alpha.post("/tokenize", {"model": "stories", "content": t, "add_special": True, "parse_special": False}).json["tokens"]) for t in texts]
    case("usage counts the tokens", a.json["usage"] == {"prompt_tokens": sum(count), "total_tokens": sum(count)} and a.json["object"] == "list" and [d["index"] for d in a.json["data"]] == [0, 1, 2, 3], a.json["usage"], count)
    dim = len(numbers(want[0]))
    a = alpha.post("/v1/embeddings", {"model": "stories", "input": "x", "dimensions": dim})
    case("the model's own dimensions may be asked for", a.status == 200, a)
    a = alpha.post("/v1/embeddings", {"model": "stories", "input": "x", "dimensions": dim // 2})
    case("others are refused by name", a.status == 400 and a.json["error"]["param"] == "dimensions", a)
    context = next(m for m in alpha.get("/v1/models").json["data"] if m["id"] == "stories")["max_model_len"]
    long = "Lily " * (context + 10)
    a = alpha.post("/v1/embeddings", {"model": "stories", "input": long})
    case("a text beyond the context is refused", a.status == 400 and a.json["error"]["code"] == "context_length_exceeded", a)
    a = beta.post("/api/embed", {"model": "stories", "input": texts})
    case("Ollama's route gives the same", a.status == 200 and a.json["embeddings"] == got and a.json["prompt_eval_count"] == sum(count) and a.json["total_duration"] > 0, a)
    a = gamma.post("/api/embed", {"model": "stories:latest", "input": PROMPT})
    case("and of one text", a.status == 200 and a.json["embeddings"] == got[:1], a)
    a = gamma.post("/api/embeddings", {"model": "stories", "prompt": PROMPT})
    case("so does its older one", a.status == 200 and a.json == {"embedding": got[0]}, a)
    a = gamma.post("/api/embed", {"model": "stories", "input": long})
    case("which cuts a text to the context", a.status == 200 and a.json["prompt_eval_count"] == context, a)
    a = gamma.post("/api/embed", {"model": "stories", "input": long, "truncate": False})
    case("unless it must not", a.status == 400 and "context" in a.json["error"], a)
    many = bytes_of(alpha, "stories", ["Lily had %d apples" % i for i in range(40)])
    case("forty texts", many == bytes_of(beta, "alone", ["Lily had %d apples" % i for i in range(40)]) and len(set(many)) == 40)


# ---- a model that loads ----------------------------------------------------------------------------------------------


def loading():
    """From when it is unknown until it serves."""
    print("begun", flush=True)
    seen, tries = [], 0
    while (not seen or seen[-1].status != 200) and tries < 100000:
        a = alpha.post("/v1/completions", {"model": "slow", "prompt": "a", "max_tokens": 1})
        if not seen or a.body != seen[-1].body:
            seen.append(a)
        tries += 1
    statuses = [a.status for a in seen]
    first = next((i for i, s in enumerate(statuses) if s != 404), 0)
    while_it_loads = seen[first:-1]
    case("a model is unknown, then it loads, then it serves", statuses[0] == 404 and statuses[-1] == 200 and while_it_loads and all(a.status == 503 for a in while_it_loads), seen)
    # in percent where a step of the load takes long enough to be seen: tests/unit/api/check_routes.c
    case("while it loads an error says so, and when to try again", all(int(a.retry_after) > 0 and "model slow is loading" in a.json["error"]["message"] for a in while_it_loads), while_it_loads)


# ---- clients that go -------------------------------------------------------------------------------------------------


def leaving():
    """Six clients ask for 8000 tokens each, streamed or not, and go: after the first piece of text, or before."""
    gone = 0
    for i in range(6):
        n = (alpha, beta)[i % 2]
        c = n.connect()
        c.request("POST", "/v1/completions", json.dumps({"model": "slow", "prompt": "abc", "max_tokens": 8000, "seed": i, "stream": i < 4}))
        if i < 2:
            r = c.getresponse()
            gone += r.status == 200 and r.read(20).startswith(b"data: ")
            r.close()
        else:
            time.sleep(0.3)  # time to begin, or to wait
            gone += 1
        c.close()
    case("six clients have gone", gone == 6, gone)


def one_more():
    """Only so many are told why they are refused at the same time; others are closed."""
    for _ in range(600):
        try:
            return alpha.get("/health")
        except OSError:
            time.sleep(0.1)


def crowd():
    """More clients of alpha than there are places, CROWD or 1500, from many addresses, each with half a request that goes on byte by byte; a
    stream of alpha and an answer of beta while they are there; alpha after they have gone."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    many = min(int(os.environ.get("CROWD", "1500")), hard - 100)
    ask = dict(SAMPLED, model="stories", prompt=PROMPT, max_tokens=400, stream=True)
    _, want = gamma.events("/v1/completions", ask)
    c = alpha.connect()
    c.request("POST", "/v1/completions", json.dumps(ask))
    r = c.getresponse()
    body = r.read(1)
    halves = (b"GET /heal", b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{", b"GET / HTTP/1.1\r\nHost: " + b"a" * 9000)
    clients = []
    for i in range(many):
        s = socket.socket()
        s.settimeout(120)
        s.bind(("127.0.0.%d" % (2 + i % 64), 0))
        s.connect(("127.0.0.1", alpha.port))
        s.settimeout(0)
        clients.append(s)
    refused = set()
    for half in range(3):
        for i, s in enumerate(clients):
            try:
                s.send(halves[i % 3] if half == 0 else b"a")
            except OSError:
                refused.add(i)
        a = one_more()
        case("one more is served, or told to come again", a and (a.status == 200 or a.status == 503 and int(a.retry_after) > 0 and a.json["error"]["code"] == "too_many_connections"), a)
    body += r.read()
    c.close()
    texts = [json.loads(line[6:])["choices"][0]["text"] for line in body.decode().split("\n") if line.startswith("data: {")]
    case("a stream that began before is whole", "".join(texts) == "".join(d["choices"][0]["text"] for _, d in want[:-1]) and body.endswith(b"data: [DONE]\n\n"), body[-300:])
    a = beta.post("/v1/completions", dict(ask, stream=False))
    case("and beta computes with alpha", a.status == 200 and a.json["choices"][0]["text"] == "".join(texts), a)
    for i, s in enumerate(clients):
        try:
            seen = s.recv(1000)
            refused |= {i} if not seen or b" 503 " in seen else set()
        except BlockingIOError:
            pass
        except OSError:
            refused.add(i)
    print("%d clients, of which %d found no place" % (many, len(refused)), flush=True)
    case("no more have a place than there are", many - len(refused) <= 1024, len(refused))
    for s in clients:
        s.close()
    tries = 0
    while tries < 600 and one_more().status != 200:
        time.sleep(0.1)
        tries += 1
    a = alpha.post("/v1/completions", dict(ask, stream=False))
    case("when they have gone all is as before", a.status == 200 and a.json["choices"][0]["text"] == "".join(texts), a)


# ---- streams that are taken up again ---------------------------------------------------------------------------------


RESUMED = {"model": "slow", "prompt": "abc", "max_tokens": 40, "seed": 3}


class Stream:
    """A streamed answer that its client reads as far as it likes."""

    def __init__(self, node, method, path, body=None, **headers):
        self.c = node.connect()
        self.c.request(method, path, json.dumps(body) if body else None, headers)
        self.r = self.c.getresponse()
        self.id = self.r.getheader("X-Stream-Id")
        self.bytes = b""

    def read(self, until=None):
        """Whole events, until there are so many, or to its end."""
        while until is None or self.bytes.count(b"\n\n") < until:
            line = self.r.readline()
            if not line:
                break
            self.bytes += line
        return self

    def cut(self):
        self.c.sock.shutdown(socket.SHUT_RDWR)
        self.r.close()
        self.c.close()
        return self


def begin(node, path="/v1/completions", body=RESUMED, resume="60", **headers):
    if resume:
        headers["X-Resume"] = resume
    return Stream(node, "POST", path, dict(body, stream=True), **headers)


def take_up(node, s, start=None, **headers):
    return Stream(node, "GET", "/v1/stream/" + s.id + ("?from=%d" % start if start else ""), **headers)


def from_event(whole, n):
    return whole[whole.index(b"id: %d\n" % n) :]


def kept(node):
    return int(re.search(r"^caravan_http_kept_streams (\d+)$", node.get("/metrics").body, re.M).group(1))


def wait_for(what):
    for _ in range(1200):
        if what():
            return True
        time.sleep(0.05)
    return False


def resuming():
    want = "".join(json.loads(x[6:])["choices"][0]["text"] for x in begin(beta, resume=None).read().bytes.decode().split("\n\n")[:-2])
    for at, name in ((alpha, "the same node"), (beta, "another")):
        s = begin(alpha).read(5).cut()
        case("of a stream that was cut, five events have arrived", s.bytes.startswith(b"id: 1\ndata: ") and s.r.getheader("X-Resume") == "60", s.bytes)
        rest = take_up(at, s, 6).read()
        whole = take_up(gamma, s).read()
        case("taken up at %s, it goes on where it was" % name, rest.r.status == 200 and rest.r.getheader("Content-Type") == "text/event-stream" and whole.bytes == s.bytes + rest.bytes, s.bytes, rest.bytes, whole.bytes)
        text = "".join(json.loads(x.split("data: ")[1])["choices"][0]["text"] for x in whole.bytes.decode().split("\n\n")[:-2])
        case("to its end, the text that it would have been", text == want and whole.bytes.endswith(b"data: [DONE]\n\n"), text, want)
    case("metrics count what is kept", kept(alpha) >= 1 and kept(gamma) == 0)
    for n in (alpha, beta, gamma):
        last = take_up(n, s, **{"Last-Event-ID": "7"}).read()
        case("Last-Event-ID is the one before the first", last.bytes == from_event(whole.bytes, 8), last.bytes, whole.bytes)
    s = Stream(beta, "POST", "/api/generate", {"model": "slow", "prompt": "abc", "options": {"num_predict": 30, "seed": 3}}, **{"X-Resume": "60"})
    s.bytes = b"".join(s.r.readline() for _ in range(4))
    s.cut()
    rest = take_up(alpha, s, 5)
    rest.bytes = rest.r.read()
    whole = take_up(beta, s).r.read()
    case("lines of Ollama's API count", whole == s.bytes + rest.bytes and json.loads(whole.splitlines()[-1])["done"] and rest.r.getheader("Content-Type") == "application/x-ndjson", s.bytes, rest.bytes, whole)
    for path, body in (("/v1/chat/completions", {"messages": [{"role": "user", "content": "abc"}]}), ("/v1/responses", {"input": "abc"}), ("/v1/messages", {"messages": [{"role": "user", "content": "abc"}]}), ("/completion", {"prompt": "abc"})):
        s = begin(alpha, path, dict(body, model="slow", max_tokens=20, n_predict=20, max_output_tokens=20)).read()
        again = take_up(gamma, s).read()
        case("a stream of %s can be read once more" % path, s.r.status == 200 and again.bytes == s.bytes and b"id: 3\n" in s.bytes, s.bytes, again.bytes)
    # two readers
    s = begin(alpha, body=dict(RESUMED, max_tokens=600)).read(3)
    second = take_up(beta, s).read(3)
    seen = None
    try:
        s.r.read()
    except http.client.IncompleteRead as e:
        seen = e
    case("a reader from whom another one has taken over sees that it has not got all", seen is not None)
    second.read()
    case("the other one does", second.bytes.endswith(b"[DONE]\n\n") and from_event(second.bytes, 1) == second.bytes, second.bytes)
    # cancelled, at either node
    for at in (alpha, gamma):
        s = begin(alpha, body=dict(RESUMED, max_tokens=8000)).read(3).cut()
        a = at.ask("DELETE", "/v1/stream/" + s.id)
        case("DELETE cancels it", a.status == 204 and a.body == "", a)
        a = at.ask("DELETE", "/v1/stream/" + s.id)
        case("once", a.status == 404 and "there is no stream " + s.id in a.json["error"]["message"], a)
        unknown = [n.get("/v1/stream/" + s.id) for n in (alpha, beta, gamma)]
        case("and at every node nobody knows it any more", all(a.status == 404 and a.body == unknown[0].body for a in unknown), unknown)
    s = begin(alpha, body=dict(RESUMED, max_tokens=8000)).read(3)
    gamma.ask("DELETE", "/v1/stream/" + s.id)
    s.read()
    case("its reader is told", b"the stream was cancelled" in s.bytes, s.bytes[-300:])
    # for how long
    gone = lambda: sum(int(x) for x in re.findall(r"^caravan_http_disconnects_total.* (\d+)$", alpha.get("/metrics").body, re.M))
    were = gone()
    s = begin(alpha, body=dict(RESUMED, max_tokens=8000), resume="2").read(3).cut()
    case("a stream without its client is cancelled after its time", wait_for(lambda: gone() == were + 1) and take_up(beta, s).r.status == 404, gone(), were)
    granted = [begin(n, resume="1000").cut().r.getheader("X-Resume") for n in (alpha, beta, gamma)]
    case("a node gives as much time as it may", granted == ["60", "120", None], granted)
    a = begin(alpha, resume="soon")
    case("other words than a number are refused", a.r.status == 400 and b"X-Resume" in a.r.read())
    were = gone()
    s = begin(alpha, body=dict(RESUMED, max_tokens=8000), resume=None).read(3).cut()
    case("a stream of a client that has not asked is cancelled when it goes", b"id: " not in s.bytes and wait_for(lambda: gone() == were + 1), s.bytes)
    a = take_up(beta, s)
    case("though it had an id", len(s.id) == len("cmpl-") + 44 and a.r.status == 404, s.id)


def slow_reader():
    """A long stream, taken up at another node by a client that reads nothing for a while: it arrives whole.  Between them is a socket
    that takes much of it; that no more than a window is under way is tested in check_relay."""
    s = begin(alpha, body={"model": "stories", "prompt": PROMPT, "max_tokens": 200, "n": 16, "seed": 1}).read()
    late = Stream(beta, "GET", "/v1/stream/" + s.id)
    time.sleep(0.5)
    late.read()
    case("a client that reads late gets all of %d KiB" % (len(s.bytes) >> 10), len(s.bytes) > 400000 and late.bytes == s.bytes, len(s.bytes), len(late.bytes))


def orphaned():
    """Leaves a stream at alpha, which will end."""
    s = begin(alpha, body=dict(RESUMED, max_tokens=8000)).read(3).cut()
    open(where + "/orphan", "w").write(s.id)
    case("a stream goes on at a node that is about to end", take_up(beta, s).r.status == 200)


def orphan():
    a = beta.get("/v1/stream/" + text_of("orphan"))
    case("a node that is down is named", a.status == 503 and a.retry_after and "alpha, which keeps this stream, cannot be reached" in a.json["error"]["message"], a)
    a = beta.ask("DELETE", "/v1/stream/" + text_of("orphan"))
    case("to who cancels too", a.status == 503 and "alpha" in a.json["error"]["message"], a)


def foreign():
    """Two keys of the cluster; a stream of the first, at beta, and everybody else at beta and gamma."""
    one, two = ({"Authorization": "Bearer " + text_of("key." + k).strip()} for k in ("one", "two"))
    for key in (one, two):
        case("gamma knows the key", wait_for(lambda: gamma.get("/v1/models", **key).status == 200))
    s = begin(beta, body={"model": "late", "prompt": PROMPT, "max_tokens": 200}, **one).read(3).cut()
    unknown = beta.get("/v1/stream/" + "x" + s.id[1:], **two).json
    for n, name in ((beta, "beta"), (gamma, "gamma")):
        a = n.get("/v1/stream/" + s.id, **two)
        b = n.ask("DELETE", "/v1/stream/" + s.id, **two)
        said = a.json["error"]["message"].replace(s.id, "x" + s.id[1:])
        case("at %s another key finds no such stream" % name, a.status == 404 and b.status == 404 and a.body == b.body and said == unknown["error"]["message"], a, b, unknown)
        a = n.ask("GET", "/v1/stream/" + s.id, Authorization="")
        case("nor does who has none", a.status == 401, a)
    for n, name in ((gamma, "gamma"), (beta, "beta")):
        rest = take_up(n, s, 4, **one).read()
        case("at %s its own key goes on" % name, rest.r.status == 200 and rest.bytes.startswith(b"id: 4\n") and rest.bytes.endswith(b"[DONE]\n\n"), rest.bytes[-300:])
    a = gamma.ask("DELETE", "/v1/stream/" + s.id, **one)
    b = beta.get("/v1/stream/" + s.id, **one)
    case("and makes it forgotten", a.status == 204 and b.status == 404, a, b)


def staying():
    """Two streams of a node, one of which waits, one of another node for its model, and an answer as a whole: until they end."""
    open_ones = []
    for i, n in enumerate((alpha, alpha, beta, alpha)):
        c = n.connect()
        c.request("POST", "/v1/completions", json.dumps({"model": "slow", "prompt": "abc", "max_tokens": 8000, "seed": i, "stream": i < 3}))
        open_ones.append((c, c.getresponse() if i == 0 else None))
    open_ones[0][1].read(20)
    print("begun", flush=True)
    ended = 0
    for c, r in open_ones:
        try:
            whole = (r or c.getresponse()).read()
            ended += b'"error"' in whole and b"[DONE]" not in whole
        except TimeoutError:
            pass
        except (http.client.HTTPException, ConnectionError):  # it was cut
            ended += 1
    print("ended", ended, flush=True)


# ---- a model file with another template ------------------------------------------------------------------------------


def logprobs():
    """The same two models.  What the API says is compared with the model's logits, and each route with the others."""
    import math

    want, user = text_of("run.7"), [{"role": "user", "content": PROMPT}]
    ids = [int(x) for x in text_of("run.tokens").split()]
    raw = open(where + "/logits", "rb").read()
    vocab = len(raw) // 4 // len(ids)
    bad = []
    for n in range(1, len(ids) + 1): # the most likely tokens after each beginning of the prompt
        row = struct.unpack_from("<%df" % vocab, raw, (n - 1) * vocab * 4)
        most = max(row)
        total = math.log(sum(math.exp(x - most) for x in row))
        order = sorted(range(vocab), key=lambda i: (-row[i], i))[:20]
        a = gamma.post("/completion", {"model": "stories", "prompt": ids[:n], "n_predict": 1, "temperature": 0, "n_probs": 20})
        for of in a.json.get("completion_probabilities", [{"top_logprobs": []}])[:1]: # none: the text ends there
            top = of["top_logprobs"]
            if [t["id"] for t in top] != order or any(abs(t["logprob"] - (row[t["id"]] - most - total)) > 2e-6 for t in top) or of["id"] != order[0]:
                bad.append((n, a))
    case("log-probabilities are those of the logits, the most likely token first", not bad, bad)

    chat = dict(SAMPLED, messages=user, max_tokens=40, logprobs=True, top_logprobs=20)
    seen = {}
    for name, node, model in (("alpha", alpha, "stories"), ("beta", beta, "stories"), ("gamma", gamma, "stories"), ("alone", beta, "alone")):
        a = node.post("/v1/chat/completions", dict(chat, model=model))
        seen[name] = a.body[a.body.index('"choices"'):a.body.index('"usage"')]
    case("three nodes, asked anywhere, and one node alone give the same bytes", len(set(seen.values())) == 1, seen)
    c = a.json["choices"][0]
    content = c["logprobs"]["content"]
    case("each token is there, and its bytes are the text's", len(content) == 40 and c["message"]["content"] == want and bytes(sum((t["bytes"] for t in content), [])) == want.encode(), a)
    sums = [sum(math.exp(o["logprob"]) for o in t["top_logprobs"]) for t in content]
    case("20 at each place, in order, together at most 1", all(len(t["top_logprobs"]) == 20 and [o["logprob"] for o in t["top_logprobs"]] == sorted((o["logprob"] for o in t["top_logprobs"]), reverse=True) for t in content) and max(sums) <= 1 + 1e-6 and min(sums) > 0.5, sums)
    case("with the token's own figure among them", all(dict(token=t["token"], logprob=t["logprob"], bytes=t["bytes"]) in t["top_logprobs"] for t in content), content)
    a, e = alpha.events("/v1/chat/completions", dict(chat, model="stories"))
    chunks = [d["choices"][0] for _, d in e[:-1]]
    case("streamed they are the same", sum((x["logprobs"]["content"] for x in chunks if x["logprobs"]), []) == content, e)
    # a token may have begun before the text of its chunk ends, but none comes after its text
    text, listed, late = "", 0, []
    for x in chunks:
        listed += sum(len(t["bytes"]) for t in x["logprobs"]["content"]) if x["logprobs"] else 0
        text += x["delta"].get("content", "")
        late += [x] if listed < len(text.encode()) else []
    case("each with its text", not late, late)
    a = gamma.post("/v1/chat/completions", dict(chat, model="stories", temperature=0, messages=[{"role": "user", "content": FIRST}]))
    case("greedily the most likely token is the one", all(t["token"] == t["top_logprobs"][0]["token"] for t in a.json["choices"][0]["logprobs"]["content"]), a)
    stop = want[20:24]
    a = alpha.post("/v1/chat/completions", dict(chat, model="stories", stop=stop))
    c = a.json["choices"][0]
    listed = "".join(t["token"] for t in c["logprobs"]["content"])
    case("tokens of a stop text are not listed", c["finish_reason"] == "stop" and listed.startswith(c["message"]["content"]) and want.startswith(listed) and stop not in listed, a, stop)
    form = {"type": "json_schema", "json_schema": {"name": "child", "schema": SCHEMA}}
    a = beta.post("/v1/chat/completions", dict(chat, model="stories", response_format=form, max_tokens=300))
    c = a.json["choices"][0]
    case("under a grammar too, of the model's own distribution", by_schema(c["message"]["content"]) and "".join(t["token"] for t in c["logprobs"]["content"]) == c["message"]["content"] and any(t["logprob"] < t["top_logprobs"][19]["logprob"] for t in c["logprobs"]["content"]), a)

    a = alpha.post("/v1/completions", dict(SAMPLED, model="stories", prompt=PROMPT, max_tokens=40, logprobs=5))
    l = a.json["choices"][0]["logprobs"]
    case("completions have them as arrays", "".join(l["tokens"]) == want and l["token_logprobs"] == [t["logprob"] for t in content] and [want[i:i + len(t)] for i, t in zip(l["text_offset"], l["tokens"])] == l["tokens"] and all(m[t] == v and 5 <= len(m) <= 6 for m, t, v in zip(l["top_logprobs"], l["tokens"], l["token_logprobs"])), a)
    a, e = beta.events("/v1/completions", dict(SAMPLED, model="stories", prompt=PROMPT, max_tokens=40, logprobs=5))
    parts = [d["choices"][0]["logprobs"] for _, d in e[:-1] if d["choices"][0]["logprobs"]]
    case("the same in a stream", {k: sum((p[k] for p in parts), []) for k in l} == l, e)
    ask = dict(SAMPLED, model="stories", input=PROMPT, max_output_tokens=40, include=["message.output_text.logprobs"], top_logprobs=20)
    a = gamma.post("/v1/responses", ask)
    case("a response has the same", a.json["output"][0]["content"][0]["logprobs"] == content, a)
    a, e = gamma.events("/v1/responses", ask)
    case("in its deltas and at their end", sum((d["logprobs"] for n, d in e if n == "response.output_text.delta"), []) == content == e[-1][1]["response"]["output"][0]["content"][0]["logprobs"] == next(d for n, d in e if n == "response.output_text.done")["logprobs"], e)
    ask = dict(SAMPLED, model="stories", prompt=PROMPT, n_predict=40, n_probs=20)
    a = beta.post("/completion", ask)
    case("llama.cpp's completion has the same, with ids", [{k: t[k] for k in ("token", "logprob", "bytes")} for t in a.json["completion_probabilities"]] == [{k: t[k] for k in ("token", "logprob", "bytes")} for t in content] and all(t["id"] in [o["id"] for o in t["top_logprobs"]] for t in a.json["completion_probabilities"]), a)
    ollama = {"model": "stories", "messages": user, "logprobs": True, "top_logprobs": 20, "options": dict(SAMPLED, num_predict=40)}
    for t in content: # a control token has no bytes there
        t["top_logprobs"] = [{k: v for k, v in o.items() if v is not None} for o in t["top_logprobs"]]
    a = beta.post("/api/chat", dict(ollama, stream=False))
    case("and so has Ollama's chat", a.json["logprobs"] == content, a)
    a, e = alpha.lines("/api/chat", ollama)
    case("line by line", sum((x.get("logprobs", []) for x in e), []) == content, e)


def with_template(source, target):
    data = open(source, "rb").read()
    tensors, pairs = struct.unpack_from("<QQ", data, 8)
    sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
    at = 24

    def string():
        nonlocal at
        (n,) = struct.unpack_from("<Q", data, at)
        at += 8 + n

    def value(kind):
        nonlocal at
        if kind == 8:
            string()
        elif kind == 9:
            of, n = struct.unpack_from("<IQ", data, at)
            at += 12
            for _ in range(n):
                value(of)
        else:
            at += sizes[kind]

    for _ in range(pairs):
        string()
        (kind,) = struct.unpack_from("<I", data, at)
        at += 4
        value(kind)
    end_of_pairs = at
    for _ in range(tensors):
        string()
        (dims,) = struct.unpack_from("<I", data, at)
        at += 4 + 8 * dims + 4 + 8
    infos, weights = data[end_of_pairs:at], data[(at + 31) // 32 * 32 :]
    key, text = b"tokenizer.chat_template", TEMPLATE.encode()
    head = data[:16] + struct.pack("<Q", pairs + 4) + data[24:end_of_pairs]
    head += struct.pack("<Q", len(key)) + key + struct.pack("<IQ", 8, len(text)) + text
    for fim, token in (b"pre", 1), (b"suf", 2), (b"mid", 0):
        key = b"tokenizer.ggml.fim_" + fim + b"_token_id"
        head += struct.pack("<Q", len(key)) + key + struct.pack("<II", 4, token)
    head += infos
    open(target, "wb").write(head + b"\0" * (-len(head) % 32) + weights)


if sys.argv[1] == "template":
    with_template(sys.argv[2], sys.argv[3])
else:
    where = sys.argv[1]
    source = __file__.rsplit("/", 3)[0]
    heldout = source + "/demo/heldout.txt"
    alpha, beta, gamma = (Node(p) for p in sys.argv[2:5])
    for group in sys.argv[5:]:
        globals()[group]()
