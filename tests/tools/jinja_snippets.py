"""Small templates, a construct or two each, and the variables that they are rendered with."""

VARIABLES = {
    "s": "Hello, World",
    "empty": "",
    "space": "  two  words \n",
    "uni": "Grüße, 世界! ñandú Ωmega",
    "quotes": "it's \"quoted\" \\ back",
    "lines": "one\ntwo\r\nthree\n\nfive",
    "html": "<a href=\"x\">&'</a>",
    "num": "42",
    "i": 7,
    "zero": 0,
    "neg": -3,
    "big": 9007199254740993,
    "f": 2.5,
    "pi": 3.14159,
    "yes": True,
    "no": False,
    "nothing": None,
    "l": [3, 1, 2],
    "words": ["banana", "Apple", "cherry", "apple"],
    "mixed": [1, "a", None, True, 2.0, [1], {"k": "v"}],
    "nested": [[1, 2], [3, 4], [5]],
    "el": [],
    "d": {"b": 2, "a": 1, "C": 3},
    "ed": {},
    "deep": {"x": {"y": [{"z": "found"}]}, "items": "shadow", "n": None},
    "users": [
        {"name": "Bob", "age": 30, "city": "Rome", "admin": True},
        {"name": "alice", "age": 25, "city": "Oslo", "admin": False},
        {"name": "Carol", "age": 30, "city": "rome"},
    ],
    "tree": [{"n": "a", "c": [{"n": "b", "c": []}, {"n": "c", "c": [{"n": "d", "c": []}]}]}, {"n": "e", "c": []}],
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": {"x": 1}}}]},
    ],
}

TEXT = r"""
{{ 1 + 2 * 3 }}|{{ (1 + 2) * 3 }}|{{ 7 // 2 }}|{{ -7 // 2 }}|{{ 7 % 3 }}|{{ -7 % 3 }}|{{ 7 % -3 }}|{{ 2 ** 10 }}
{{ 2 ** 3 ** 2 }}|{{ -2 ** 2 }}|{{ (-2) ** 2 }}|{{ 2 ** -1 }}|{{ 0 ** 0 }}|{{ 2 ** 0.5 }}|{{ -1 ** 3 }}
{{ 7 / 2 }}|{{ 6 / 2 }}|{{ 1 / 3 }}|{{ -1 / 3 }}|{{ 7.0 // 2 }}|{{ -7.5 // 2 }}|{{ 7.5 % 2 }}|{{ -7.5 % 2 }}|{{ 7.5 % -2 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 1.5 % 0 }}
{{ 0 ** -1 }}
{{ 1e3 }}|{{ 1.5e-7 }}|{{ 1e16 }}|{{ 123456789.123 }}|{{ 1e22 }}|{{ 1e-5 }}|{{ 0.0001 }}|{{ 1.0 }}|{{ 100000000000000000.0 }}|{{ 5e-324 }}|{{ 1.7976931348623157e308 }}
{{ 0.1 + 0.2 }}|{{ 1e400 }}|{{ -1e400 }}|{{ 3.0 * 2 }}|{{ 1_000 + 0x1F + 0o17 + 0b101 }}|{{ 1_0.5_0 }}
{{ 9223372036854775807 }}|{{ -9223372036854775807 - 1 }}
{{ True + True }}|{{ True * 3 }}|{{ -True }}|{{ +True }}|{{ True / 2 }}|{{ 'a' * True }}
{{ 'a' ~ 1 ~ none ~ true ~ 1.5 ~ undefined_thing ~ [1] }}|{{ 'a' + 'b' }}|{{ 'ab' * 3 }}|{{ 3 * 'ab' }}|{{ 'ab' * -1 }}
{{ 1 + 'a' }}
{{ 'a' + 1 }}
{{ none + 1 }}
{{ [1] + [2, 3] }}|{{ [1, 2] * 2 }}|{{ (1, 2) + (3,) }}|{{ (1,) * 3 }}
{{ [1] + (2,) }}
{{ 1 < 2 < 3 }}|{{ 1 < 3 < 2 }}|{{ 1 == 1.0 }}|{{ 1 == true }}|{{ 'a' == "a" }}|{{ 1 != 2 }}|{{ 'a' < 'b' }}|{{ 'Z' < 'a' }}|{{ [1, 2] < [1, 3] }}|{{ (1, 2) == (1, 2) }}|{{ [1] == (1,) }}
{{ 'a' < 'b' }}|{{ 'a' < 'c' }}|{{ 'c' > 'a' }}|{{ 'd' >= 'a' }}|{{ 'abc' < 'abd' }}|{{ 'ab' < 'abc' }}|{{ ['a', 'c', 'b']|max }}|{{ ['{', '}']|min }}|{{ [[1, 'c'], [1, 'a']]|sort }}
{{ 'x' % nope }}|{{ '%s' % nope }}|{{ 'x' % range(2) }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ {} < {} }}
{{ nope < 1 }}
{{ nope == nope2 }}|{{ nope != 1 }}|{{ nope == none }}|{{ none == none }}|{{ d == {'a': 1, 'b': 2, 'C': 3} }}
{{ big == 9007199254740992.0 }}|{{ big > 9007199254740992.0 }}|{{ 1 == 1.5 }}|{{ 3 > 2.5 }}|{{ 2.5 <= 3 }}
{{ 1 in [1, 2] }}|{{ 'a' in 'abc' }}|{{ 'x' not in 'abc' }}|{{ 'a' in {'a': 1} }}|{{ 3 in (1, 2) }}|{{ '' in 'a' }}|{{ 1 in nope }}|{{ 1.0 in [1] }}
{{ 1 in 5 }}
{{ 1 in 'a' }}
{{ [] in {} }}
{{ not true }}|{{ not '' }}|{{ not not 1 }}|{{ not 1 == 2 }}|{{ not (1 in [1]) }}|{{ not 1 in [1] }}
{{ 1 and 2 }}|{{ 0 and 2 }}|{{ 1 or 2 }}|{{ 0 or 2 }}|{{ '' or 'x' }}|{{ none or false }}|{{ nope or 'd' }}|{{ 1 and nope }}|{{ true or 1 / 0 }}
{{ 'y' if yes else 'n' }}|{{ 'y' if no else 'n' }}|{{ 'y' if no }}|{{ 1 if no else 2 if no else 3 }}|{{ (1 if yes else 2) + 1 }}
{{ ('y' if no) + 'x' }}
{{ -5 }}|{{ +5 }}|{{ - -5 }}|{{ -f }}|{{ -'a' }}
{{ - 5|abs }}|{{ (-5)|abs }}|{{ -neg }}|{{ 2 - -2 }}
{{ 1 if }}
{{ s }}|{{ s[0] }}|{{ s[-1] }}|{{ s[1:3] }}|{{ s[:3] }}|{{ s[3:] }}|{{ s[:-3] }}|{{ s[-3:] }}|{{ s[::-1] }}|{{ s[::2] }}|{{ s[10:2:-2] }}|{{ s[100:] }}|{{ s[-100:2] }}|{{ s[5:2] }}
{{ s[100] }}|{{ s['upper']() }}|{{ s.nope }}|{{ s.0 }}
{{ uni[1] }}|{{ uni[6:9] }}|{{ uni[::-1] }}|{{ uni|length }}|{{ uni[-3:] }}|{{ uni[7:8] }}
{{ l[0] }}|{{ l[-1] }}|{{ l[1:] }}|{{ l[::-1] }}|{{ l[:-1] }}|{{ l[5] }}|{{ l[0:3:2] }}|{{ l[-2:] }}|{{ l[::-2] }}
{{ l[::0] }}
{{ l['a':] }}
{{ i[1:] }}
{{ nope[1:] }}
{{ (1, 2, 3)[1:] }}|{{ (1, 2, 3)[-1] }}|{{ (1,) }}|{{ () }}|{{ (1) }}|{{ 1, 2 }}|{{ 1, }}|{{ [1, 2,] }}|{{ {'a': 1,} }}
{{ d.a }}|{{ d['a'] }}|{{ d.zzz }}|{{ d['zzz'] }}|{{ d.C }}|{{ deep.x.y[0].z }}|{{ deep['x']['y'][0]['z'] }}|{{ deep.items }}
{{ deep['items'] }}|{{ deep.n }}|{{ deep.n.x }}|{{ d[1] }}|{{ d[none] }}|{{ {1: 'x'}[1.0] }}|{{ {true: 'x'}[1] }}|{{ {(1, 2): 'x'}[(1, 2)] }}
{{ d[[1]] }}|{{ none.x }}|{{ i.x }}|{{ l.x }}|{{ l['x'] }}
{{ nope.x }}
{{ nope['x'] }}
{{ deep.nope.x }}
{{ nope() }}
{{ d.nope() }}
{{ s() }}
{{ {[1]: 2} }}
{{ nope }}|{{ [nope] }}|{{ nope|length }}|{{ nope|list }}|{{ nope|upper }}|{{ nope|join }}|{{ nope is defined }}|{{ nope ~ 'x' }}|{{ nope|string }}|{{ nope|trim }}
{{ nope + 'x' }}
{{ 'x' + nope }}
{{ nope * 2 }}
{{ -nope }}
{{ nope|int }}
{{ nope|abs }}
{{ nope in 'abc' }}
{{ nope|tojson }}
{{ true }}{{ True }}{{ false }}{{ none }}{{ None }}
{{ [true, false, none, 1, 1.0, 'a', "it's", 'say "hi"', 'both \' and "', 'tab\t nl\n bs\\ nul\x00 del\x7f é 世 \u200b \xa0 \U0001F600'] }}
{{ {'a': 'b', 1: [2], none: (1,), 'n': {}} }}|{{ [] }}|{{ {} }}|{{ [[]] }}|{{ mixed }}
{{ quotes }}|{{ [quotes] }}|{{ quotes|tojson }}|{{ {quotes: quotes} }}
{{ 'a\nb' }}|{{ 'a\\b' }}|{{ "a\"b" }}|{{ 'a\'b' }}|{{ '\x41\u00e9\U0001F600\101' }}|{{ '\q' }}|{{ 'a' 'b' "c" }}|{{ 'line \
cont' }}
{{ 'unclosed }}
{{ '\u12' }}
{{ "multi
line" }}
{# comment #}x{#- strip -#} y {# a {{ b }} {% c %} #}z
{% raw %}{{ x }} {% if %}{% endraw %}|{%- raw -%}  {{ y }}  {%- endraw -%}  |
{% raw %}unclosed
{# unclosed
{{ unclosed
{% if yes %}unclosed
{% endif %}
{% unknown %}
{% include 'x' %}
{% import 'x' as y %}
{% extends 'x' %}
{% do 1 %}
{{ }}
{{ 1 2 }}
{{ 1 + }}
{{ (1 }}
{{ 1) }}
{{ [1, }}
{{ {1} }}
{{ a.b. }}
{{ a|}}
{{ a|nofilter }}
{{ a is notest }}
{% if no %}{{ a|nofilter }}{% endif %}ok
{% if no %}{{ a is notest }}{% endif %}ok
{{ @ }}
{{ 'a' is string is string }}
  {% if yes %}  
  a
  {% endif %}  
b
  {%- if yes -%}  
  a
  {%- endif -%}  
b
  {%+ if yes +%}  
  a
  {%+ endif +%}  
b
x {% if yes %} a {% endif %} y
x {%- if yes %} a {%- endif %} y
x {% if yes -%} a {% endif -%} y
x  {{- 1 }} {{ 2 -}}  y
x  {{+ 1 }} {{ 2 }}  y
{% if yes %}
a
{% endif %}

b
    {# comment #}
b
  a {# comment #}
b
  {%+ if yes %}a{% endif %}
{% if yes %}a{% endif %}
{% if no %}a{% elif yes %}b{% else %}c{% endif %}|{% if no %}a{% elif no %}b{% else %}c{% endif %}|{% if no %}a{% endif %}
{% if nope %}a{% else %}b{% endif %}|{% if el %}a{% else %}b{% endif %}|{% if 0.0 %}a{% else %}b{% endif %}|{% if ' ' %}a{% endif %}|{% if ed %}a{% else %}b{% endif %}
{% if 1, 2 %}tuple{% endif %}|{% if yes: %}colon{% endif %}
{% for x in l %}{{ x }},{% endfor %}|{% for x in el %}{{ x }}{% else %}none{% endfor %}|{% for x in l %}{{ x }}{% else %}none{% endfor %}
{% for x in l %}{{ loop.index }}/{{ loop.index0 }}/{{ loop.revindex }}/{{ loop.revindex0 }}/{{ loop.first }}/{{ loop.last }}/{{ loop.length }}/{{ loop.depth }}/{{ loop.depth0 }}/{{ loop.previtem }}/{{ loop.nextitem }};{% endfor %}
{% for x in l %}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }};{% endfor %}
{% for x in l %}{{ loop.cycle() }}{% endfor %}
{% for x in l %}{{ loop }}{% endfor %}
{% for x in l if x > 1 %}{{ loop.index }}:{{ x }}:{{ loop.length }}:{{ loop.last }} {% endfor %}|{% for x in l if x > 9 %}{{ x }}{% else %}none{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}|{% for k in d %}{{ k }}{% endfor %}|{% for k, v in d|dictsort %}{{ k }}={{ v }};{% endfor %}|{% for k, v in d|items %}{{ k }}{{ v }}{% endfor %}
{% for a, b in nested %}{{ a }}{{ b }}{% endfor %}
{% for a, (b, c) in [(1, (2, 3)), (4, (5, 6))] %}{{ a }}{{ b }}{{ c }};{% endfor %}|{% for [a, b] in [[1, 2]] %}{{ a }}{{ b }}{% endfor %}
{% for a in nested %}{% for b in a %}{{ loop.index }}{{ b }}{% endfor %}{{ loop.index }};{% endfor %}
{% for c in 'añb' %}{{ c }}.{% endfor %}|{% for x in range(3) %}{{ x }}{% endfor %}|{% for x in 5 %}{{ x }}{% endfor %}
{% for x in none %}{% endfor %}
{% for x in nope %}a{% else %}b{% endfor %}
{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}|{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}
{% for x in l %}{% break %}{% else %}e{% endfor %}|{% for a in nested %}{% for b in a %}{% if b == 3 %}{% break %}{% endif %}{{ b }}{% endfor %};{% endfor %}
{% break %}
{% for n in tree recursive %}{{ n.n }}{{ loop.depth }}{% if n.c %}[{{ loop(n.c) }}]{% endif %}{% endfor %}
{% for n in tree %}{{ loop(n.c) }}{% endfor %}
{% for x in l %}{% set y = x %}{% endfor %}{{ y }}|{% set y = 0 %}{% for x in l %}{% set y = y + x %}{{ y }},{% endfor %}{{ y }}
{% set ns = namespace(t=0) %}{% for x in l %}{% set ns.t = ns.t + x %}{% endfor %}{{ ns.t }}|{{ ns }}|{{ ns.zzz }}|{{ ns['t'] }}
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}{% set ns.c = 3 %}{{ ns.c }}
{% set x.y = 1 %}
{% set s.y = 1 %}
{% set a, b = 1, 2 %}{{ a }}{{ b }}|{% set a, b = 'xy' %}{{ a }}{{ b }}|{% set (a, b) = [3, 4] %}{{ a }}{{ b }}|{% set t = 1, 2 %}{{ t }}
{% set a, b = 1 %}
{% set a, b = [1, 2, 3] %}
{% set true = 1 %}
{% set 1 = 1 %}
{% set x %}  block {{ i }} {% endset %}[{{ x }}]|{% set x | upper | trim %} block {% endset %}[{{ x }}]
{% set x %}{% set z = 1 %}{{ z }}{% endset %}{{ x }}{{ z }}
{% if yes %}{% set q = 1 %}{% endif %}{{ q }}|{% if no %}{% set r = 1 %}{% endif %}{{ r }}|{% set i = i + 1 %}{{ i }}
{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, 3) }}{{ m(1, c='y') }}{{ m(b=1, a=2) }}{{ m() }}
{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(z=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{% macro m(a, b=1, c) %}{% endmacro %}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}
{% macro m(a) %}{{ varargs|length }}{{ kwargs.x }}{% endmacro %}{{ m(1, 2, x=3) }}|{{ m }}|{{ m.name }}
{% macro m() %}[{{ caller() }}]{% endmacro %}{% call m() %}body {{ i }}{% endcall %}
{% macro m(l) %}{% for x in l %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(v, n) m(l) %}{{ n }}={{ v }};{% endcall %}
{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
{% macro m() %}{% if caller %}{{ caller() }}{% else %}none{% endif %}{% endmacro %}{{ m() }}
{% macro f(n) %}{% if n > 1 %}{{ n * f(n - 1)|int }}{% else %}1{% endif %}{% endmacro %}{{ f(5) }}
{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(1) }}
{% set v = 1 %}{% macro m() %}{{ v }}{% endmacro %}{% set v = 2 %}{{ m() }}
{% macro m() %}{% set inner = 1 %}{{ inner }}{% endmacro %}{{ m() }}{{ inner }}
{% for x in l %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}{% endfor %}|{{ m }}
{% filter upper %}abc {{ s }}{% endfilter %}|{% filter replace('a', 'b') | title %}aa bb{% endfilter %}
{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}|{% with %}{% set z = 3 %}{{ z }}{% endwith %}{{ z }}|{% with i = i + 1 %}{{ i }}{% endwith %}{{ i }}
{% generation %}  text {{ i }}{% endgeneration %}|{% for x in l %}{% generation %}{{ loop.index }}{% endgeneration %}{% endfor %}
{% print 1, 2, s %}
{{ range(5) }}|{{ range(1, 5)|list }}|{{ range(5, 0, -2)|list }}|{{ range(3)|length }}|{{ range(0)|list }}|{{ range(10)[2:5] }}|{{ range(10)[-1] }}|{{ range(5)|sum }}|{{ range(1, 10, 3) }}
{{ range(1000000)|length }}
{{ range('a') }}
{{ dict(a=1, b=2) }}|{{ dict([('x', 1)]) }}|{{ dict({'q': 1}, z=2) }}|{{ dict() }}
{% set j = joiner('; ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}|{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}{{ c.current }}{{ c.reset() }}{{ c.current }}
{% set ns = namespace() %}{% for x in l %}{% macro m() %}{{ x }}{{ y }}{% endmacro %}{% if loop.first %}{% set y = 5 %}{% set ns.f = m %}{% endif %}{{ ns.f() }};{% endfor %}
{% for x in l %}{% if x == 3 %}{% continue %}{% endif %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% else %}none{% endfor %}|{% for x in l %}{% continue %}{% else %}none{% endfor %}
{{ raise_exception('no: ' ~ s) }}
{{ strftime_now('%Y-%m-%d') }}|{{ strftime_now('%d %b %Y') }}|{{ strftime_now('') }}|{{ strftime_now('%%') }}
{{ -5|abs }}|{{ neg|abs }}|{{ -2.5|abs }}|{{ (-2.5)|abs }}|{{ true|abs }}
{{ 'x'|abs }}
{{ [1,2,3,4,5]|batch(2)|list }}|{{ [1,2,3]|batch(2, 'x')|list }}|{{ [1,2,3,4,5,6,7]|slice(3)|list }}|{{ [1,2,3,4]|slice(3, 'x')|list }}|{{ el|batch(2)|list }}
{{ 'hELLO wORLD'|capitalize }}|{{ ''|capitalize }}|{{ 'éCOLE'|capitalize }}|{{ 5|capitalize }}|{{ none|capitalize }}
{{ 'ab'|center(6) }}|{{ 'ab'|center(7) }}|{{ 'abc'|center(6) }}|{{ 'abc'|center(2) }}|{{ 'a'|center|length }}
{{ s|length }}|{{ l|count }}|{{ d|length }}|{{ el|length }}|{{ (1, 2)|length }}
{{ i|length }}
{{ nope|default('x') }}|{{ nope|d('x') }}|{{ ''|default('x') }}|{{ ''|default('x', true) }}|{{ none|default('x') }}|{{ none|default('x', boolean=true) }}|{{ nope|default }}|{{ d.zzz|default(1) }}|{{ s|default('x') }}|{{ nope|default(default_value=3) }}
{{ d|dictsort }}|{{ d|dictsort(true) }}|{{ d|dictsort(false, 'value') }}|{{ d|dictsort(reverse=true) }}|{{ ed|dictsort }}|{{ d|dictsort(by='nope') }}
{{ html|e }}|{{ html|escape }}|{{ html|e|e }}|{{ html|forceescape }}|{{ html|safe }}|{{ html|e|forceescape }}|{{ 5|e }}
{{ '<'|e + '<' }}|{{ '<' + '<'|e }}|{{ '<'|safe + '<' }}|{{ '<'|e ~ '<' }}|{{ ['<'|e] }}|{{ '<'|e|upper }}|{{ '<'|e is escaped }}|{{ '<' is escaped }}
{{ l|first }}|{{ l|last }}|{{ s|first }}|{{ s|last }}|{{ el|first }}|{{ el|last }}|{{ d|first }}|{{ ''|first }}|{{ l|map('string')|first }}
{{ l|map('string')|last }}
{{ 5|first }}
{{ '3.7'|float }}|{{ 'x'|float }}|{{ 'x'|float(1.5) }}|{{ i|float }}|{{ ' 1e3 '|float }}|{{ 'inf'|float }}|{{ 'nan'|float }}|{{ none|float }}|{{ '0x10'|float }}|{{ '1_000.5'|float }}|{{ true|float }}|{{ ''|float }}
{{ '42'|int }}|{{ '42.9'|int }}|{{ 'x'|int }}|{{ 'x'|int(5) }}|{{ 3.99|int }}|{{ -3.99|int }}|{{ (-3.99)|int }}|{{ ' 7 '|int }}|{{ none|int }}|{{ true|int }}|{{ '0x1f'|int(0, 16) }}|{{ 'ff'|int(0, 16) }}|{{ '1_000'|int }}|{{ ''|int }}|{{ '-5'|int }}|{{ '+5'|int }}|{{ '1e3'|int }}|{{ [1]|int }}|{{ '٣'|length }}
{{ '%s and %d'|format('a', 5) }}|{{ '%5.2f|%-5s|%05d|%x|%X|%o|%e|%g|%c|%%'|format(3.14159, 'ab', 42, 255, 255, 8, 12345.678, 0.0001, 'z') }}|{{ '%(a)s-%(b)d'|format(a='x', b=3) }}
{{ '%s' % 'a' }}|{{ '%s %s' % ('a', 1) }}|{{ '%r' % 'a' }}|{{ '%s' % [1, 2] }}|{{ '%s' % none }}|{{ '%+d % d' % (5, 5) }}|{{ '%5s|%-5s|%.2s' % ('a', 'b', 'cde') }}|{{ '%*d' % (5, 42) }}|{{ '%#x' % 255 }}|{{ '%d' % 3.9 }}|{{ '%s' % (1,) }}|{{ '%(k)s' % {'k': 'v'} }}|{{ 'x' % {} }}|{{ 'x' % [] }}|{{ '%03d' % -5 }}|{{ '%05.1f' % -2.25 }}|{{ '%.0f' % 2.5 }}|{{ '%i' % true }}
{{ '%s %s' % 'a' }}
{{ '%s' % ('a', 'b') }}
{{ '%d' % 'a' }}
{{ '%' % 1 }}
{{ '%y' % 1 }}
{{ 'x' % 1 }}
{{ '{} {}'.format('a', 1) }}|{{ '{0} {1} {0}'.format('a', 'b') }}|{{ '{a} {b}'.format(a=1, b=2) }}|{{ '{{}} {}'.format(1) }}|{{ '{:>5}|{:<5}|{:^5}|{:*^7}'.format('a', 'b', 'c', 'd') }}|{{ '{:.2f}|{:5d}|{:05d}|{:x}|{:,}|{:+d}|{:e}|{:%}'.format(3.14159, 42, 42, 255, 1234567, 5, 12345.678, 0.25) }}|{{ '{!r}'.format('a') }}|{{ '{0[a]} {0.b}'.format({'a': 1, 'b': 2}) }}|{{ '{:{}}'.format('a', 5) }}|{{ '{:.3}'.format('abcdef') }}|{{ '{}'.format(none) }}|{{ '{:5}|{:<5}'.format(3, 3) }}|{{ '{:b} {:o} {:#x}'.format(5, 8, 255) }}|{{ '{:,.2f}'.format(1234567.891) }}
{{ '{} {}'.format('a') }}
{{ '{'.format() }}
{{ '}'.format() }}
{{ '{x}'.format() }}
{% for g in users|groupby('city') %}{{ g.grouper }}:{{ g.list|map(attribute='name')|join(',') }};{% endfor %}|{% for k, v in users|groupby('age') %}{{ k }}={{ v|length }};{% endfor %}|{{ users|groupby('admin', default=false)|length }}|{% for k, v in users|groupby('city', case_sensitive=true) %}{{ k }}{% endfor %}
{{ lines|indent }}|{{ lines|indent(2) }}|{{ lines|indent(2, true) }}|{{ lines|indent(2, blank=true) }}|{{ lines|indent('> ', first=true) }}|{{ ''|indent }}|{{ 'a\n'|indent }}
{{ 5|indent }}
{{ d|items|list }}|{{ nope|items|list }}|{{ d.items() }}|{{ d.keys() }}|{{ d.values() }}|{{ d.items()|list }}|{{ d.keys()|list }}|{{ d.values()|sum }}|{{ d.items()|length }}
{{ l|items }}
{{ l|join }}|{{ l|join(', ') }}|{{ words|join(d='-') }}|{{ users|join(', ', attribute='name') }}|{{ s|join('.') }}|{{ mixed|join(' ') }}|{{ el|join(',') }}|{{ l|join(1) }}|{{ d|join }}
{{ s|list }}|{{ d|list }}|{{ (1, 2)|list }}|{{ el|list }}|{{ range(3)|list }}
{{ 'ABC Ä'|lower }}|{{ 'abc ä'|upper }}|{{ 5|upper }}|{{ none|lower }}|{{ [1]|upper }}
{{ words|map('upper')|list }}|{{ users|map(attribute='name')|list }}|{{ users|map(attribute='admin', default='?')|list }}|{{ nested|map('sum')|list }}|{{ l|map('string')|join }}|{{ words|map('replace', 'a', 'X')|list }}|{{ nested|map('first')|list }}|{{ nested|map(attribute=0)|list }}|{{ users|map(attribute='name')|map('length')|list }}|{{ words|map('truncate', 3, true, '')|list }}
{{ words|map }}
{{ words|map('nofilter')|list }}
{{ l|max }}|{{ l|min }}|{{ words|max }}|{{ words|min }}|{{ words|min(case_sensitive=true) }}|{{ users|max(attribute='age') }}|{{ el|max }}|{{ users|min(attribute='name') }}
{{ mixed|max }}
{{ l|pprint }}|{{ d|pprint }}|{{ s|pprint }}|{{ none|pprint }}
{{ [1,2,3,4]|select('odd')|list }}|{{ [1,2,3,4]|reject('odd')|list }}|{{ [0,1,'',none]|select|list }}|{{ [0,1,'']|reject|list }}|{{ [1,2,3]|select('>', 1)|list }}|{{ [1,2,3]|select('divisibleby', 3)|list }}|{{ mixed|select('string')|list }}|{{ [1,2,3]|select('in', [1,3])|list }}|{{ words|reject('equalto', 'Apple')|list }}
{{ users|selectattr('admin')|map(attribute='name')|list }}|{{ users|rejectattr('admin')|map(attribute='name')|list }}|{{ users|selectattr('age', 'equalto', 30)|list|length }}|{{ users|selectattr('admin', 'defined')|list|length }}|{{ users|selectattr('age', '>', 26)|list|length }}|{{ messages|selectattr('role', '==', 'user')|list }}|{{ messages|rejectattr('role', 'eq', 'user')|list|length }}|{{ users|selectattr('city', 'in', ['Rome'])|list|length }}
{{ users|selectattr }}
{{ l|select('notest')|list }}
{{ 'a-b-a'|replace('a', 'x') }}|{{ 'aaa'|replace('a', 'b', 2) }}|{{ 'abc'|replace('', '-') }}|{{ 123|replace(2, 'x') }}|{{ 'aaa'|replace('aa', 'b') }}|{{ ''|replace('', 'x') }}|{{ 'abc'|replace('', '-', 2) }}
{{ l|reverse|list }}|{{ s|reverse }}|{{ uni|reverse }}|{{ d|reverse|list }}|{{ (1, 2)|reverse|list }}|{{ range(3)|reverse|list }}
{{ 5|reverse }}
{{ 2.5|round }}|{{ 3.5|round }}|{{ 2.675|round(2) }}|{{ 42.55|round(1, 'floor') }}|{{ 42.51|round(1, 'ceil') }}|{{ 42|round }}|{{ -2.5|round }}|{{ (-2.5)|round }}|{{ 2.4|round|int }}|{{ 1.05|round(1) }}|{{ true|round }}|{{ 7|round(1, 'floor') }}|{{ 1e300|round(2) }}
{{ 2.5|round(method='nope') }}
{{ l|sort }}|{{ words|sort }}|{{ words|sort(case_sensitive=true) }}|{{ words|sort(reverse=true) }}|{{ users|sort(attribute='name')|map(attribute='name')|list }}|{{ users|sort(attribute='age,name')|map(attribute='name')|list }}|{{ users|sort(attribute='age', reverse=true)|map(attribute='name')|list }}|{{ s|sort|join }}|{{ d|sort }}
{{ mixed|sort }}
{{ 5|string }}|{{ none|string }}|{{ 1.50|string }}|{{ [1]|string }}|{{ '5'|string is string }}
{{ '<b>a</b>  <i>c</i> <!-- x -->d'|striptags }}
{{ l|sum }}|{{ users|sum(attribute='age') }}|{{ l|sum(start=10) }}|{{ el|sum }}|{{ [1.5, 2]|sum }}|{{ [[1], [2]]|sum(start=[]) }}
{{ ['a']|sum }}
{{ 'hello world-foo (bar) [baz] <x> {y}'|title }}|{{ "it's a test"|title }}|{{ 'HELLO'|title }}|{{ 'éa ça'|title }}|{{ 'a1b 2c'|title }}
{{ d|tojson }}|{{ mixed|tojson }}|{{ s|tojson }}|{{ uni|tojson }}|{{ none|tojson }}|{{ 1.0|tojson }}|{{ 1e100|tojson }}|{{ html|tojson }}|{{ (1, 2)|tojson }}|{{ el|tojson }}|{{ ed|tojson }}|{{ {1: 2, none: 3, true: 4, 1.5: 5}|tojson }}|{{ 'a\x00\x1f\x7f\u2028'|tojson }}
{{ d|tojson(indent=2) }}|{{ mixed|tojson(indent=4) }}|{{ el|tojson(indent=2) }}|{{ {'a': {}}|tojson(indent=2) }}|{{ d|tojson(sort_keys=true) }}|{{ d|tojson(separators=(',', ':')) }}|{{ uni|tojson(ensure_ascii=true) }}|{{ '\U0001F600'|tojson(ensure_ascii=true) }}|{{ d|tojson(indent='--') }}|{{ l|tojson(indent=0) }}|{{ mixed|tojson(true, 1, (', ', ' = '), true) }}
{{ range(3)|tojson }}
{{ {(1, 2): 3}|tojson }}
{{ [nope]|tojson }}
{{ '  x '|trim }}|{{ 'xxaxx'|trim('x') }}|{{ '\u3000 a\xa0'|trim }}|{{ 'abcba'|trim('ab') }}|{{ 5|trim }}|{{ '\n\t a \r\n'|trim }}|{{ '\x1ca\x1f'|trim }}|{{ '\u200ba'|trim|length }}
{{ 'foo bar baz qux'|truncate(9) }}|{{ 'foo bar baz qux'|truncate(9, true) }}|{{ 'foo bar baz qux'|truncate(11) }}|{{ 'foo bar baz qux'|truncate(11, false, '...', 0) }}|{{ 'foobar'|truncate(3) }}|{{ 'foobarbazqux'|truncate(5) }}|{{ 'a b'|truncate(2, end='') }}|{{ uni|truncate(9, true, '…', 0) }}
{{ 'x'|truncate(1) }}
{{ [1, 2, 1.0, true, 'a', 'A']|unique|list }}|{{ words|unique|list }}|{{ words|unique(true)|list }}|{{ users|unique(attribute='age')|map(attribute='name')|list }}
{{ nested|unique|list }}
{{ 'a b/c?d=é&~_.-'|urlencode }}|{{ {'a b': 'c/d', 'e': 1}|urlencode }}|{{ [('a', 1), ('b', 'x y')]|urlencode }}|{{ 5|urlencode }}
{{ 'one two  three-four five_six é'|wordcount }}|{{ ''|wordcount }}|{{ 5|wordcount }}
{{ d|attr('a') }}|{{ s|attr('upper')() }}|{{ d|attr('nope') }}|{{ s|attr('nope') }}
{{ s|upper|lower|title|length }}|{{ s | replace('l', 'L') | upper }}|{{ (s ~ 'x')|upper }}|{{ s ~ 'x'|upper }}|{{ 1 + '5'|int }}|{{ -'5'|int }}
{{ s|upper() }}|{{ s|upper(1) }}
{{ s|replace('a') }}
{{ s|nofilter(1) }}
{{ l|join(sep=',') }}
{{ true is boolean }}|{{ 1 is boolean }}|{{ 1 is integer }}|{{ true is integer }}|{{ 1.0 is float }}|{{ 1 is number }}|{{ true is number }}|{{ 'a' is number }}|{{ 'a' is string }}|{{ [] is string }}
{{ d is mapping }}|{{ l is mapping }}|{{ l is sequence }}|{{ s is sequence }}|{{ d is sequence }}|{{ 5 is sequence }}|{{ nope is sequence }}|{{ l is iterable }}|{{ s is iterable }}|{{ 5 is iterable }}|{{ none is iterable }}|{{ nope is iterable }}|{{ d.items() is sequence }}|{{ d.items() is iterable }}|{{ l|map('string') is iterable }}|{{ range(3) is sequence }}
{{ nope is defined }}|{{ s is defined }}|{{ nope is undefined }}|{{ none is defined }}|{{ none is none }}|{{ nope is none }}|{{ d.x is defined }}|{{ d.a is defined }}|{{ d['x'] is undefined }}
{{ 1 is odd }}|{{ 2 is even }}|{{ 2.0 is even }}|{{ 9 is divisibleby 3 }}|{{ 9 is divisibleby(4) }}|{{ -1 is odd }}|{{ neg is odd }}
{{ 'a' is odd }}
{{ 1 is eq 1 }}|{{ 1 is equalto(1) }}|{{ 1 is ne 2 }}|{{ 1 is lt 2 }}|{{ 1 is le 1 }}|{{ 1 is gt 2 }}|{{ 1 is ge 1 }}|{{ 1 is lessthan 2 }}|{{ 1 is greaterthan 0 }}|{{ 1 is in [1] }}|{{ 1 is not in [1] }}|{{ 'a' is in 'abc' }}
{{ true is true }}|{{ 1 is true }}|{{ false is false }}|{{ none is false }}|{{ none is sameas none }}|{{ true is sameas true }}|{{ l is sameas l }}|{{ [1] is sameas [1] }}|{{ 1 is sameas true }}|{{ s is sameas s }}
{{ 'abc' is lower }}|{{ 'Abc' is lower }}|{{ 'ABC' is upper }}|{{ '1' is upper }}|{{ 'é' is lower }}|{{ 'É' is upper }}
{{ 'upper' is filter }}|{{ 'nofilter' is filter }}|{{ 'odd' is test }}|{{ 'notest' is test }}
{{ range is callable }}|{{ s is callable }}|{{ s.upper is callable }}|{{ nope is callable }}|{{ none is callable }}
{{ 1 is not odd }}|{{ not 1 is odd }}|{{ 1 is odd and 2 is even }}|{{ 1 is odd or false }}|{{ 1 is odd if yes else 'n' }}|{{ (1 is odd) ~ 'x' }}|{{ 1 + 1 is even }}|{{ 5 is string or 5 is number }}
{{ s.upper() }}|{{ s.lower() }}|{{ s.title() }}|{{ s.capitalize() }}|{{ s.swapcase() }}|{{ "it's they're x-y a1b".title() }}|{{ uni.upper() }}|{{ uni.lower() }}|{{ uni.title() }}
{{ space.strip() }}|{{ space.lstrip() }}|{{ space.rstrip() }}|{{ 'xxaxx'.strip('x') }}|{{ 'xyaxy'.lstrip('xy') }}|{{ 'xyaxy'.rstrip('xy') }}|{{ 'a'.strip(none) }}|{{ 'éaé'.strip('é') }}
{{ 'a,b,,c'.split(',') }}|{{ 'a b  c '.split() }}|{{ 'a,b,c'.split(',', 1) }}|{{ ' a b c '.split(none, 1) }}|{{ ''.split() }}|{{ ''.split(',') }}|{{ 'abc'.split('') }}
{{ 'a,b,c'.rsplit(',', 1) }}|{{ ' a b c '.rsplit(none, 1) }}|{{ 'a,b,c'.rsplit(',') }}|{{ ' a b '.rsplit() }}|{{ 'aaa'.rsplit('aa') }}|{{ 'aaa'.split('aa') }}|{{ ' a b c '.split(maxsplit=1) }}|{{ 'a b'.split(sep=' ') }}|{{ ' a  b '.split(' ') }}
{{ lines.splitlines() }}|{{ lines.splitlines(true) }}|{{ ''.splitlines() }}|{{ 'a\n'.splitlines() }}|{{ 'a\x0bb\x85c\u2028d'.splitlines() }}|{{ '\n\n'.splitlines() }}
{{ s.startswith('Hell') }}|{{ s.startswith('x') }}|{{ s.endswith('ld') }}|{{ s.startswith(('x', 'H')) }}|{{ s.startswith('ello', 1) }}|{{ s.endswith('o', 0, 5) }}|{{ s.startswith('') }}|{{ 'a'.startswith('', 2) }}|{{ s.startswith('World', -5) }}
{{ s.startswith(1) }}
{{ s.find('o') }}|{{ s.find('o', 5) }}|{{ s.find('zz') }}|{{ s.rfind('o') }}|{{ s.index('W') }}|{{ s.rindex('l') }}|{{ uni.find('世') }}|{{ uni.rfind('a') }}|{{ s.find('') }}|{{ s.find('', 100) }}|{{ s.rfind('') }}|{{ s.find('l', -3) }}|{{ s.find('l', 0, 3) }}
{{ s.index('zz') }}
{{ s.count('l') }}|{{ s.count('') }}|{{ s.count('zz') }}|{{ s.count('l', 4) }}|{{ 'aaaa'.count('aa') }}|{{ uni.count('ü') }}
{{ ','.join(['a', 'b']) }}|{{ ''.join('abc') }}|{{ '-'.join(d) }}|{{ ','.join([]) }}|{{ ','.join(l|map('string')) }}
{{ ','.join([1]) }}
{{ s.replace('o', '0') }}|{{ s.replace('o', '0', 1) }}|{{ s.replace('', '-') }}|{{ 'aaa'.replace('aa', 'b') }}|{{ s.removeprefix('Hello') }}|{{ s.removesuffix('World') }}|{{ s.removeprefix('x') }}|{{ s.removesuffix('') }}
{{ '42'.isdigit() }}|{{ ''.isdigit() }}|{{ '4a'.isdigit() }}|{{ '²'.isdigit() }}|{{ '²'.isdecimal() }}|{{ '½'.isnumeric() }}|{{ 'abc'.isalpha() }}|{{ 'é世'.isalpha() }}|{{ 'a1'.isalnum() }}|{{ 'a 1'.isalnum() }}|{{ ' \t'.isspace() }}|{{ ''.isspace() }}|{{ 'Ab'.istitle() }}|{{ 'Ab Cd'.istitle() }}|{{ 'AB'.istitle() }}|{{ 'abc'.islower() }}|{{ 'ABC1'.isupper() }}|{{ '1'.islower() }}|{{ 'abc'.isascii() }}|{{ 'é'.isascii() }}|{{ 'a\n'.isprintable() }}
{{ '42'.zfill(5) }}|{{ '-42'.zfill(5) }}|{{ 'abc'.zfill(2) }}|{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '.') }}|{{ 'ab'.center(5, '*') }}|{{ 'ab'.center(6) }}|{{ 'a'.center(4) }}|{{ 'abc'.center(6, '-') }}
{{ 'a=b=c'.partition('=') }}|{{ 'a=b=c'.rpartition('=') }}|{{ 'abc'.partition('=') }}|{{ 'abc'.rpartition('=') }}
{{ s.encode() }}
{{ s.nomethod() }}
{{ s.upper(1) }}
{{ d.get('a') }}|{{ d.get('z') }}|{{ d.get('z', 5) }}|{{ d.copy() }}|{{ d.get(1) }}|{{ 'a' in d.keys() }}|{{ 2 in d.values() }}|{{ ('a', 1) in d.items() }}
{{ d.update({'z': 1}) }}
{{ d.pop('a') }}
{{ d.clear() }}
{{ l.append(4) }}
{{ l.sort() }}
{{ l.append }}|{{ d.update is defined }}
{{ l.index(1) }}|{{ l.count(3) }}|{{ (1, 2, 1).count(1) }}|{{ (1, 2).index(2) }}|{{ l.copy() }}
{{ l.index(9) }}
{{ s.__class__ }}|{{ d.__init__ }}|{{ ().__class__.__bases__ }}
{{ s.__class__.__mro__ }}
{{ messages[-1].content }}|{{ messages[0]['role'] }}|{{ messages[-1].tool_calls[0].function.arguments|tojson }}|{{ messages[-1]['tool_calls'][0]['function']['name'] }}|{{ messages|length }}|{{ messages[1:]|length }}|{{ messages[0].content[:5] + '...' }}|{{ 'tool_calls' in messages[2] }}
{% for m in messages %}{{ loop.index0 % 2 == 0 }}{{ m.role == 'user' and not loop.first }}{{ m.content or 'nil' }}|{% endfor %}
{% set a = [1] %}{% set a = a + [2] %}{{ a }}|{% set x = {'k': 1} %}{% set x = dict(x, **{'j': 2}) %}{{ x }}
{% macro m() %}{{ kwargs }}{{ varargs }}{% endmacro %}{{ m(*[1, 2], **{'a': 3}) }}
{% set x = namespace(items=[]) %}{% set x.items = x.items + [1] %}{{ x.items }}
{{ 1.__class__ }}|{{ 5 .real }}
{{ (5).bit_length() }}
{{ 'a'.0 }}|{{ l.1 }}|{{ nested.0.1 }}
{{ {'a': {'b': [1, {'c': 'd'}]}}.a.b[1].c }}|{{ [1, 2, 3][1] }}|{{ 'abc'[1] }}|{{ {'x': 1}['x'] }}|{{ ('a', 'b')[1] }}|{{ [[1]][0][0] }}
{{ 1if yes else 2 }}|{{ 'a'if yes else'b' }}
{{ foo.bar is defined }}
{{ a.b.c is defined }}
{{ yes and s.startswith('H') and l|length == 3 and not no }}|{{ (yes or no) and no }}|{{ yes or no and no }}
{%- for x in l -%} {{ x }} {%- endfor -%}
{%- set a = 1 -%} {{- a -}} 
{{- s -}}
{%if yes%}a{%endif%}|{{s}}|{%-if yes-%}b{%-endif-%}
{{ s }}{# c #}{{ s }}{#- c -#}{{ s }}
{{ '{{' }}{{ '}}' }}{{ '{%' }}{{ "%}" }}{{ '#}' }}
{{ {'a': '}}'} }}|{{ {'a': {'b': 1}}}}
a{{ 1 }}b{% if yes %}c{% endif %}d{# e #}f
{ { } } % {{ 1 }} %} }} #}
{% set x = 'a' if yes else 'b' %}{{ x }}|{% set x = 1 if no %}{{ x }}
{{ ['a', 'b']|join(', ') if words else '' }}|{{ '' if no else words|first }}
{{ loop }}|{{ loop is defined }}|{{ self is defined }}
{{ lipsum(1) }}
{{ ''|tojson }}|{{ 'é'|tojson }}|{{ '\ud83d' }}
{{ 99999999999999999999 }}
{{ 9223372036854775807 + 1 }}
{{ 2 ** 64 }}
{{ 5 % 3 ~ '' }}|{{ 10 - 2 - 3 }}|{{ 2 * 3 % 4 }}|{{ 1 - 1 ~ 2 }}|{{ 1 ~ 2 + 3 }}
{{ caller() }}
{% if (yes and
no) or
yes %}multi{% endif %}|{% set x = [
  1,
  2
] %}{{ x }}
{{ s.split(', ')[1] }}|{{ s.split(', ')|last }}|{{ (s.split(', ')|first).upper() }}|{{ s.split('o')|join('0') }}
{{ content }}{% if content is string %}a{% elif content is mapping %}b{% else %}c{% endif %}
{% set content = messages[0].content %}{% if '</think>' in content %}{{ content.split('</think>')[-1] }}{% else %}{{ content }}{% endif %}
{% for x in [1, 2, 3] %}{% set last = loop.last %}{% for y in [1] %}{{ last }}{{ loop.last }}{% endfor %}{% endfor %}
{% for x in l %}{% for y in l %}{% if y == x %}{% continue %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}
{% for x in l|sort %}{{ x }}{{ ',' if not loop.last }}{% endfor %}|{% for x in l|reverse %}{{ x }}{{ loop.length }}{% endfor %}|{% for x in l|map('string') %}{{ loop.revindex }}{% endfor %}
{% set ns = namespace(n=0) %}{% for x in [1,2,3,4] if ns.n < 2 %}{% set ns.n = ns.n + 1 %}{{ x }}{% endfor %}
{% set ns = namespace(n=0) %}{% for x in [1,2,3,4] if ns.n < 2 %}{{ loop.last }}{% set ns.n = ns.n + 1 %}{{ x }}{% endfor %}
{{ 'a' < 'é' }}|{{ 'é' < '世' }}|{{ '\uffff' < '\U00010000' }}|{{ ['b', 'a', 'é', 'B']|sort }}
{{ {'a': 1}.items()|first }}|{{ {'a': 1}.keys()|join }}|{{ {'a': 1}|length }}|{{ {'b': 1, 'a': 2}|list|sort }}
{{ not nope }}|{{ nope and 1 }}|{{ (nope or 'x')|upper }}|{{ 'a' if nope else 'b' }}
{{ 'ß'|upper }}|{{ 'ﬁ'|upper }}|{{ 'ΑΣ'|lower }}|{{ 'İ'|lower }}|{{ 'ǆ'|title }}|{{ 'ŉ'|upper }}|{{ 'ΐ'|capitalize }}
"""

SNIPPETS = []


def _read():
    """One a line; a line's continuation begins behind one that leaves a tag or a string open, or is part of a block of lines."""
    held = ""
    for line in TEXT.strip("\n").split("\n"):
        held = f"{held}\n{line}" if held else line
        if _complete(held):
            SNIPPETS.append(held)
            held = ""


BLOCKS = ("  {% if yes %}  ", "  {%- if yes -%}  ", "  {%+ if yes +%}  ", "{% if yes %}", "    {# comment #}", "  a {# comment #}", "  {%+ if yes %}a{% endif %}")


def _complete(text):
    lines = text.split("\n")
    if lines[0] in BLOCKS:
        return len(lines) >= 2 and lines[-1] in ("b", "{% if yes %}a{% endif %}")
    if lines[0].startswith(('{{ "multi', "{% if (yes and", "{{ 'a\\nb'")):
        return {'{{ "multi': 2, "{% if (yes and": 6, "{{ 'a\\nb'": 2}[
            next(p for p in ('{{ "multi', "{% if (yes and", "{{ 'a\\nb'") if lines[0].startswith(p))
        ] == len(lines)
    return True


_read()
