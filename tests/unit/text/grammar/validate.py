"""A validator of JSON schemas for tests, by the specification alone, and random schemas to try it with."""
import math
import random
import re
import urllib.parse

TYPES = {
    'null': lambda v: v is None,
    'boolean': lambda v: isinstance(v, bool),
    'integer': lambda v: is_number(v) and v == math.floor(v),
    'number': lambda v: is_number(v),
    'string': lambda v: isinstance(v, str),
    'array': lambda v: isinstance(v, list),
    'object': lambda v: isinstance(v, dict),
}
FORMATS = {
    'uuid': r'[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\Z',
    'ipv4': r'((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)(\.|\Z)){4}\Z',
    'email': r'[^@\s.][^@\s]*@[^@\s.]+(\.[^@\s.]+)+\Z',
}


def is_number(v):
    return isinstance(v, (int, float)) and not isinstance(v, bool)


def equal(a, b):
    return isinstance(a, bool) == isinstance(b, bool) and a == b


def valid_date(text):
    import datetime
    try:
        datetime.date.fromisoformat(text if text[:4] != '0000' else '0400' + text[4:])  # Python's years begin with 1
        return len(text) == 10
    except ValueError:
        return False


def valid_format(name, v):
    if name == 'date':
        return valid_date(v)
    if name == 'date-time':
        return valid_date(v[:10]) and bool(
            re.match(r'T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d+)?(Z|[+-]([01]\d|2[0-3]):[0-5]\d)\Z', v[10:]))
    return name not in FORMATS or bool(re.match(FORMATS[name], v))


def search(pattern, text):
    """As ECMAScript would: its white space, the end of a text."""
    spaces, out, inside, i = '\\t-\\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff', '', False, 0
    while i < len(pattern):
        two = pattern[i:i + 2]
        if two == '\\s':
            out += spaces if inside else '[' + spaces + ']'
        elif two[0] == '\\':
            out += two
        else:
            inside = two[0] == '[' or inside and two[0] != ']'
            out += '\\Z' if two[0] == '$' and not inside else two[0]
        i += 2 if two[0] == '\\' else 1
    return re.search(out, text, re.ASCII)


def resolve(top, ref):
    at = top
    for step in ref.split('/')[1:]:
        step = urllib.parse.unquote(step).replace('~1', '/').replace('~0', '~')
        at = at[int(step) if isinstance(at, list) else step]
    return at


def valid_object(s, v, top):
    named, patterns = s.get('properties', {}), s.get('patternProperties', {})
    if not all(k in v for k in s.get('required', [])):
        return False
    if not s.get('minProperties', 0) <= len(v) <= s.get('maxProperties', len(v)):
        return False
    for k, x in v.items():
        if not valid(s.get('propertyNames', True), k, top):
            return False
        ok = [valid(named[k], x, top)] if k in named else []
        ok += [valid(t, x, top) for p, t in patterns.items() if search(p, k)]
        if not all(ok or [valid(s.get('additionalProperties', True), x, top)]):
            return False
    return True


def valid_array(s, v, top):
    prefix = s.get('prefixItems', [])
    if not s.get('minItems', 0) <= len(v) <= s.get('maxItems', len(v)):
        return False
    return all(valid(prefix[i] if i < len(prefix) else s.get('items', True), x, top) for i, x in enumerate(v))


def valid_string(s, v):
    return (s.get('minLength', 0) <= len(v) <= s.get('maxLength', len(v))
            and ('pattern' not in s or search(s['pattern'], v)) and ('format' not in s or valid_format(s['format'], v)))


def valid_number(s, v):
    return (s.get('minimum', v) <= v <= s.get('maximum', v)
            and not ('exclusiveMinimum' in s and v <= s['exclusiveMinimum'])
            and not ('exclusiveMaximum' in s and v >= s['exclusiveMaximum']))


def valid(s, v, top=None):
    top = s if top is None else top
    if isinstance(s, bool):
        return s
    if s.get('nullable') and v is None:
        return True
    types = s.get('type', list(TYPES))
    types = [types] if isinstance(types, str) else types
    if not any(TYPES[t](v) for t in types):
        return False
    if 'enum' in s and not any(equal(x, v) for x in s['enum']) or 'const' in s and not equal(s['const'], v):
        return False
    if '$ref' in s and not valid(resolve(top, s['$ref']), v, top):
        return False
    if not all(valid(x, v, top) for x in s.get('allOf', [])):
        return False
    if 'anyOf' in s and not any(valid(x, v, top) for x in s['anyOf']):
        return False
    if 'oneOf' in s and sum(valid(x, v, top) for x in s['oneOf']) != 1:
        return False
    if isinstance(v, dict):
        return valid_object(s, v, top)
    if isinstance(v, list):
        return valid_array(s, v, top)
    if isinstance(v, str):
        return bool(valid_string(s, v))
    return valid_number(s, v) if is_number(v) else True


# ---- random schemas

NAMES = ['a', 'b', 'name', 'na', 'x y', 'é', 'quote"', 'back\\slash', '']


def random_string(r):
    s = {'type': 'string'}
    what = r.randrange(7)
    if what in (1, 5):
        s['pattern'] = r.choice(['^[a-z]{1,5}$', 'ab?c', '^(yes|no|[0-9]{2,3})$', '^[^a-c"\\\\]{2,4}$', 'x$', '^\\w+\\s\\d', '^.{3}$'])
    if what == 2:
        s['format'] = r.choice(['date', 'date-time', 'uuid', 'ipv4', 'email'])
    if what in (3, 5):
        s['maxLength'] = r.choice([5, 6, 12, 40, 100])
    if what == 4:
        s['minLength'] = r.choice([1, 2, 10])
        s['maxLength'] = s['minLength'] + r.choice([0, 3, 90])
    return s


def random_number(r):
    s = {'type': r.choice(['integer', 'number'])}
    bounds = sorted(r.choice([0, 1, -1, 7, 10, 99, 100, 1234, -50, 0.5, 2.25, -0.125, 1e-3, 12345.678]) for _ in range(2))
    if r.random() < .5:
        s[r.choice(['minimum', 'exclusiveMinimum'])] = bounds[0]
    if r.random() < .5:
        s[r.choice(['maximum', 'exclusiveMaximum'])] = bounds[1] + 1
    return s


def random_object(r, depth):
    s = {'type': 'object'}
    names = r.sample(NAMES, r.randrange(4))
    s['properties'] = {n: random_schema(r, depth + 1) for n in names}
    if names and r.random() < .7:
        s['required'] = r.sample(names, r.randrange(len(names) + 1))
    more = r.randrange(5)
    if more == 0:
        s['additionalProperties'] = False
    elif more == 1:
        s['additionalProperties'] = random_schema(r, depth + 1)
    elif more == 2:
        s['patternProperties'] = {r.choice(['^x', 'a', '[0-9]$']): random_schema(r, depth + 1)}
        s['additionalProperties'] = False
    elif more == 3 and not names:
        del s['properties']
        if r.random() < .5:
            s['propertyNames'] = {'type': 'string', 'pattern': '^[a-f]+$'}
    return s


def random_array(r, depth):
    s = {'type': 'array'}
    if r.random() < .8:
        s['items'] = random_schema(r, depth + 1)
    if r.random() < .3:
        s['prefixItems'] = [random_schema(r, depth + 1) for _ in range(r.randrange(1, 3))]
    if r.random() < .4:
        s['minItems'] = r.randrange(3)
    if r.random() < .6:
        s['maxItems'] = s.get('minItems', 0) + r.randrange(3)
    return s


def random_schema(r, depth=0):
    what = r.randrange(7 if depth > 2 else 13)
    if what == 0:
        return {'type': r.choice(['null', 'boolean'])}
    if what == 1:
        return {'enum': r.sample([1, -2.5, 'a', 'é"\\', None, True, [], [1, 'x'], {'k': 0.1}, 1e21], r.randrange(1, 5))}
    if what == 2:
        return {'const': r.choice(['c', 0, None, {'a': [1]}, 'line\nend'])}
    if what in (3, 4):
        return random_string(r)
    if what in (5, 6):
        return random_number(r)
    if what in (7, 8):
        return random_object(r, depth)
    if what == 9:
        return random_array(r, depth)
    if what == 10:
        return {'anyOf': [random_schema(r, depth + 1) for _ in range(2)]}
    if what == 11:
        a, b = random_object(r, depth + 1), random_object(r, depth + 1)
        for x in a, b:
            x.pop('patternProperties', 0), x.pop('propertyNames', 0)
        return {'allOf': [a, b]}
    return r.choice([{'$ref': '#/$defs/tree'}, {'type': ['string', 'null', 'integer'], 'maxLength': 4, 'minimum': 3},
                     {'oneOf': [{'type': 'string', 'maxLength': 9}, random_number(r)]}, {'$ref': '#/$defs/small', 'maximum': 5}, {}])


DEFS = {'tree': {'type': 'object', 'properties': {'v': {'type': 'integer'}, 'sub': {'type': 'array', 'items': {'$ref': '#/$defs/tree'}, 'maxItems': 2}},
                 'required': ['v']},
        'small': {'type': 'integer', 'minimum': -3, 'maximum': 9}}


def random_top(r):
    s = random_schema(r)
    s['$defs'] = DEFS
    return s
