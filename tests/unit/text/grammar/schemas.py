"""Whatever random tokens from the masks write is JSON and valid by its schema: random schemas and those of schemas.json, by a
validator that knows nothing of grammars (validate.py) and, if its folder is given, by npm's ajv.

    schemas.py CONSTRAIN VOCABULARY SCHEMAS [FOLDER OF AJV]"""
import json
import os
import random
import subprocess
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from validate import random_top, valid

constrain, vocabulary, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
ajv = sys.argv[4] if len(sys.argv) > 4 else None
r = random.Random(20)
here = os.path.dirname(os.path.abspath(__file__))
cases = [c for c in json.load(open(here + '/schemas.json', encoding='utf-8')) if 'refused' not in c and 'draft' not in c]

AJV = """
const Ajv = require('ajv/dist/2020').default, formats = require('ajv-formats').default;
const ajv = new Ajv({strict: false, unicodeRegExp: true, validateFormats: true});
formats(ajv);
let bad = 0;
for (const [schema, values, wanted] of JSON.parse(require('fs').readFileSync(0))) {
  ajv.removeSchema(); // so that two may have one $id
  const check = ajv.compile(schema);
  for (const v of values)
    if (check(v) !== wanted) { bad++; console.log('# ajv: ' + JSON.stringify(schema).slice(0, 300) + ' ' + JSON.stringify(v).slice(0, 300)); }
}
process.exit(bad ? 1 : 0);
"""


def by_ajv(rows):
    if not ajv:
        return True
    return subprocess.run(['node', '-e', AJV], input=json.dumps(rows), text=True, env=dict(os.environ, NODE_PATH=ajv)).returncode == 0


def parse(text):
    try:
        return json.loads(text), True
    except ValueError:
        return None, False


def check_cases():
    """The texts of schemas.json are valid and invalid, whatever we make of them."""
    rows, wrong = [], 0
    for c in cases:
        for key, wanted in ('valid', True), ('narrower', True), ('invalid', False):
            values = [v for v, ok in map(parse, c.get(key, [])) if ok]
            texts = [t for t in c.get(key, []) if not parse(t)[1]]
            if key != 'invalid' and texts:
                wrong += 1
                print('# not JSON:', texts)
            if 'format' not in json.dumps(c['schema']):
                for v in values:
                    if valid(c['schema'], v) != wanted:
                        wrong += 1
                        print('# %s:' % key, json.dumps(c['schema']), json.dumps(v))
            if c.get('asserts', True) and key != 'narrower':
                rows.append([c['schema'], values if wanted else [], wanted])
    return wrong == 0 and by_ajv(rows)


def ask(p, **question):
    p.stdin.write(json.dumps(question) + '\n')
    p.stdin.flush()
    line = p.stdout.readline()
    return json.loads(line) if line else {'error': 'constrain died'}


def check_walks():
    p = subprocess.Popen([constrain, vocabulary], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding='utf-8')
    texts = refused = unfinished = wrong = 0
    rows = []
    schemas = [c['schema'] for c in cases if c.get('asserts', True)] + [random_top(r) for _ in range(count)]
    for i, schema in enumerate(schemas):
        a = ask(p, schema=schema, space='loose' if i % 2 else 'compact', walks=4, seed=i, tokens=60)
        if 'error' in a:
            refused += 1
            if 'no text' not in a['error']:
                print('# refused:', a['error'], json.dumps(schema)[:200])
                wrong += 1
            continue
        values = []
        for text in a['walks']:
            if text is None:
                unfinished += 1
                continue
            texts += 1
            v, ok = parse(text)
            if ok and valid(schema, v):
                values.append(v)
                continue
            wrong += 1
            print('# not valid:', json.dumps(schema)[:300], text[:300])
        rows.append([schema, values, True])
    p.stdin.close()
    print('# %d schemas, %d texts, %d schemas that nothing matches, %d texts without an end' % (len(schemas), texts, refused, unfinished))
    return p.wait() == 0 and wrong == 0 and texts > 3 * len(schemas) - 3 * refused and by_ajv(rows)


failed = 0
for what, check in ('schemas.json says what other validators say', check_cases), ('what random tokens write is valid', check_walks):
    ok = check()
    failed += not ok
    print('# %s: %s%s' % (what, 'yes' if ok else 'no', '' if ajv else ' (without ajv)'))
sys.exit(failed)
