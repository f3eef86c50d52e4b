"""Random templates: expressions and statements over the variables of the snippets, by a seed."""

import random

NAMES = (
    "s empty space uni quotes lines html num i zero neg f pi yes no nothing l words mixed nested el d ed deep users nope"
).split()
CONSTANTS = (
    "0 1 2 -1 3 10 2.5 0.5 -1.5 1e3 'a' '' 'abc' 'x y' \"it's\" 'é世' true false none [] [1,2] ['a','b'] {} {'a':1} (1,2) (1,)"
).split(" ")
BINARY = "+ - * / // % ** ~ == != < <= > >= and or in".split() + ["not in"]
PLAIN_FILTERS = (
    "abs capitalize count d default dictsort e escape first float int items last length list lower max min reverse"
    " round safe sort string sum title tojson trim unique upper wordcount join select reject urlencode"
).split()
CALLED_FILTERS = (
    "batch({i})|list", "center({i})", "default({x})", "default({x}, true)", "indent({i})", "join({t})", "map('upper')|list",
    "map('length')|list", "replace({t}, {t})", "round({i})", "select('{test}')|list", "reject('{test}')|list", "slice(2)|list",
    "sort(reverse=true)", "sum(start={i})", "tojson(indent={i})", "trim({t})", "truncate({i}, true, '')", "unique|list",
    "map(attribute='name')|list", "selectattr('admin')|list", "groupby('age')|list", "map('string')|join({t})", "list|first",
    "dictsort(reverse=true)", "format({x})", "attr('x')", "items|list", "pprint", "int(default={i})", "string|length",
)
TESTS = (
    "boolean callable defined even false float integer iterable lower mapping none number odd sequence string true undefined upper"
).split()
CALLED_TESTS = ("divisibleby({i})", "eq({x})", "ne({x})", "lt({x})", "in({x})", "sameas(none)", "gt {i}")
METHODS = (
    "upper() lower() title() capitalize() swapcase() strip() lstrip() rstrip() split() splitlines() isdigit() isalpha() isspace()"
    " isupper() istitle() keys() values() items()"
).split() + [
    "split({t})", "rsplit({t}, 1)", "replace({t}, {t})", "find({t})", "rfind({t})", "count({t})", "startswith({t})",
    "endswith({t})", "join({x})", "strip({t})", "get({t})", "get({t}, {x})", "zfill({i})", "center({i}, '*')", "ljust({i})",
    "partition({t})", "index({x})", "removeprefix({t})", "format({x}, {x})", "split({t}, {i})", "splitlines(true)",
]
ATTRIBUTES = "a b name x y items age z".split()


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def fill(self, form, depth):
        while "{" in form:
            for key, make in (
                ("{x}", lambda: self.expression(depth - 1)),
                ("{i}", lambda: str(self.r.randint(-2, 9))),
                ("{t}", lambda: self.r.choice(["'a'", "'l'", "' '", "','", "'é'", "''", "'name'", "'or'"])),
                ("{test}", lambda: self.r.choice(TESTS)),
            ):
                if key in form:
                    form = form.replace(key, "\0", 1).replace("\0", make().replace("{", "\1"))
                    break
            else:
                break
        return form.replace("\1", "{")

    def leaf(self):
        return self.r.choice(NAMES) if self.r.random() < 0.6 else self.r.choice(CONSTANTS)

    def index(self, depth):
        kind = self.r.randrange(4)
        if kind == 0:
            return str(self.r.randint(-3, 3))
        if kind == 1:
            return repr(self.r.choice(ATTRIBUTES))
        parts = [str(self.r.randint(-4, 6)) if self.r.random() < 0.6 else "" for _ in range(2)]
        step = self.r.choice(["", ":", ":1", ":2", ":-1", ":-2"])
        return ":".join(parts) + step

    def expression(self, depth):
        if depth <= 0:
            return self.leaf()
        kind = self.r.randrange(15)
        sub = lambda: self.expression(depth - 1)
        if kind < 3:
            return f"{sub()} {self.r.choice(BINARY)} {sub()}"
        if kind == 3:
            return f"({sub()})"
        if kind < 6:
            return f"{sub()}|{self.r.choice(PLAIN_FILTERS)}"
        if kind == 6:
            return f"{sub()}|{self.fill(self.r.choice(CALLED_FILTERS), depth)}"
        if kind == 7:
            return f"{sub()} is {self.r.choice(['', 'not '])}{self.r.choice(TESTS)}"
        if kind == 8:
            return f"{sub()} is {self.fill(self.r.choice(CALLED_TESTS), depth)}"
        if kind == 9:
            return f"({sub()}).{self.fill(self.r.choice(METHODS), depth)}"
        if kind == 10:
            return f"{self.r.choice(NAMES)}[{self.index(depth)}]"
        if kind == 11:
            return f"({sub()} if {sub()} else {sub()})"
        if kind == 12:
            return self.r.choice(["not ", "-", "+"]) + sub()
        if kind == 13:
            return f"({sub()}).{self.r.choice(ATTRIBUTES)}"
        return self.r.choice([f"[{sub()}, {sub()}]", f"({sub()}, {sub()})", "{" + f"{sub()}: {sub()}" + "}"])

    def space(self):
        return self.r.choice(["", "", " ", "\n", "  ", " \n ", "\n\n", "x", "é "])

    def tag(self, inside):
        return "{%" + self.r.choice(["", "", "-", "+"]) + f" {inside} " + self.r.choice(["", "", "-", "+"]) + "%}"

    def out(self, depth):
        return "{{" + self.r.choice(["", "", "-"]) + f" {self.expression(depth)} " + self.r.choice(["", "", "-"]) + "}}"

    def statement(self, depth):
        kind = self.r.randrange(12)
        body = lambda: self.body(depth - 1)
        tag = self.tag
        if depth <= 0 or kind < 3:
            return self.out(2)
        if kind == 3:
            return tag(f"if {self.expression(1)}") + body() + tag("else") + body() + tag("endif")
        if kind == 4:
            return tag(f"for x in {self.expression(1)}") + "{{ loop.index }}{{ x }}" + body() + tag("endfor")
        if kind == 5:
            loop = self.r.choice("last revindex previtem nextitem length changed(x) cycle(1,2)".split())
            return tag(f"for x in l if {self.expression(1)}") + "{{ loop." + loop + " }}" + body() + tag("else") + "e" + tag("endfor")
        if kind == 6:
            return tag(f"set {self.r.choice(['v', 'w'])} = {self.expression(1)}") + "{{ v }}{{ w }}"
        if kind == 7:
            return tag("set v") + body() + tag("endset") + "{{ v|length }}"
        if kind == 8:
            return tag(f"macro m(a, b={self.expression(1)})") + "{{ a }}{{ b }}" + body() + tag("endmacro") + "{{ m(" + self.expression(1) + ") }}"
        if kind == 9:
            return tag(f"filter {self.r.choice(['upper', 'trim', 'length', 'title', 'indent(2, true)'])}") + body() + tag("endfilter")
        if kind == 10:
            return "{#" + self.r.choice(["", "-", "+"]) + " c " + self.r.choice(["", "-", "+"]) + "#}" + body()
        return tag(f"with v = {self.expression(1)}") + body() + tag("endwith")

    def body(self, depth):
        return "".join(self.space() + self.statement(depth) for _ in range(self.r.randint(1, 2))) + self.space()


def templates(n, seed):
    for i in range(n):
        maker = Maker(f"{seed}/{i}")
        yield maker.body(3) if i % 3 == 0 else "{{ " + maker.expression(3) + " }}"
