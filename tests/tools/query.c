/* query: reads JSON on standard input and says something of it, for the scripts of tests/system, which ask often.
 *
 *   query PATH             prints each value that the path leads to, a line each; fails when there is none
 *   query PATH OP VALUE [PATH OP VALUE...] succeeds when each comparison holds; prints what it found for the first that does not
 *
 * A path is names with dots between them; behind a list [2] is one of its elements, [name=alpha] those elements that compare so,
 * and # at the end is how many values there are: nodes[self=false][state=up]#.  OP is = != < <= > or >=: words by equality, numbers
 * by size.  A path that does not lead to exactly one value compares with nothing; the value of another path is {PATH}.
 * After --in PATH all paths begin there. */
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void die(const char *what, const char *of) {
	fprintf(stderr, "query: %s: %s\n", what, of);
	exit(2);
}

/* What stands in for a value where it is compared as a word. */
static const char *word(const json_t *v) {
	switch (json_typeof(v)) {
	case JSON_STRING:
		return json_string_value(v);
	case JSON_TRUE:
		return "true";
	case JSON_FALSE:
		return "false";
	case JSON_NULL:
		return "null";
	default:
		return NULL;
	}
}

static bool compare(const json_t *v, const char *op, const char *value) {
	bool equal, less = false, more = false;
	if (json_is_number(v)) {
		char *end;
		double is = json_number_value(v), want = strtod(value, &end);
		if (end == value || *end)
			die("not a number", value);
		equal = is == want, less = is<want, more = is> want;
	} else {
		equal = word(v) && !strcmp(word(v), value);
	}
	if (!strcmp(op, "="))
		return equal;
	if (!strcmp(op, "!="))
		return !equal;
	if (!strcmp(op, "<"))
		return less;
	if (!strcmp(op, ">"))
		return more;
	if (!strcmp(op, "<="))
		return less || (equal && json_is_number(v));
	if (!strcmp(op, ">="))
		return more || (equal && json_is_number(v));
	die("no such comparison", op);
	return false;
}

/* Adds the elements of a list, or of a choice of them, that the text between brackets chooses. */
static void choose(json_t *to, json_t *list, const char *text) {
	char name[128], op[3] = "", *end;
	size_t index = strtoul(text, &end, 10), at = strcspn(text, "=!<>");
	if (end != text && !*end) {
		if (json_array_get(list, index))
			json_array_append(to, json_array_get(list, index));
		return;
	}
	size_t ops = strspn(text + at, "=!<>");
	if (at == 0 || at >= sizeof name || ops == 0 || ops >= sizeof op)
		die("not to be understood", text);
	memcpy(name, text, at);
	name[at] = 0;
	memcpy(op, text + at, ops);
	json_t *element, *chosen = json_incref(list);
	if (!json_is_array(list)) { /* one that has been chosen already */
		json_decref(chosen);
		chosen = json_array();
		json_array_append(chosen, list);
	}
	size_t i;
	json_array_foreach(chosen, i, element) {
		json_t *v = json_object_get(element, name);
		if (v && compare(v, op, text + at + ops))
			json_array_append(to, element);
	}
	json_decref(chosen);
}

/* The values that a path leads to, as a list. */
static json_t *walk(json_t *root, const char *path) {
	json_t *from = json_array();
	json_array_append(from, root);
	while (*path) {
		json_t *to = json_array(), *v;
		char step[256];
		size_t i, length;
		if (!strcmp(path, "#")) {
			json_array_append_new(to, json_integer((json_int_t)json_array_size(from)));
			path++;
		} else if (*path == '[') {
			length = strcspn(path, "]");
			if (!path[length] || length >= sizeof step)
				die("not to be understood", path);
			memcpy(step, path + 1, length - 1);
			step[length - 1] = 0;
			json_array_foreach(from, i, v) choose(to, v, step);
			path += length + 1;
		} else {
			path += *path == '.';
			length = strcspn(path, ".[#");
			if (length == 0 || length >= sizeof step)
				die("not to be understood", path);
			memcpy(step, path, length);
			step[length] = 0;
			json_array_foreach(from, i, v) if (json_object_get(v, step))
			        json_array_append(to, json_object_get(v, step));
			path += length;
		}
		json_decref(from);
		from = to;
	}
	return from;
}

static void print(const json_t *v) {
	if (word(v)) {
		puts(word(v));
		return;
	}
	json_dumpf(v, stdout, JSON_ENCODE_ANY | JSON_COMPACT);
	putchar('\n');
}

static bool holds(json_t *root, const char *path, const char *op, const char *value) {
	json_t *found = walk(root, path), *v, *other = NULL;
	char inner[256], *number = NULL;
	size_t i, length = strlen(value);
	if (value[0] == '{' && value[length - 1] == '}' && length < sizeof inner) {
		memcpy(inner, value + 1, length - 2);
		inner[length - 2] = 0;
		other = walk(root, inner);
		v = json_array_size(other) == 1 ? json_array_get(other, 0) : NULL;
		value = v && word(v) ? word(v) : v ? (number = json_dumps(v, JSON_ENCODE_ANY)) : NULL;
	}
	bool ok = value && json_array_size(found) == 1 && compare(json_array_get(found, 0), op, value);
	if (!ok) {
		printf("%s, which is to be %s %s:\n", path, op, value ? value : "what is not there");
		json_array_foreach(found, i, v) print(v);
	}
	free(number);
	json_decref(other);
	json_decref(found);
	return ok;
}

static bool answer(json_t *root, int words, char **word_at) {
	bool ok = true;
	if (words == 1) {
		json_t *found = walk(root, word_at[0]), *v;
		size_t i;
		json_array_foreach(found, i, v) print(v);
		ok = json_array_size(found) > 0;
		json_decref(found);
	}
	for (int i = 0; ok && i + 2 < words; i += 3)
		ok = holds(root, word_at[i], word_at[i + 1], word_at[i + 2]);
	return ok;
}

int main(int argc, char **argv) {
	json_error_t error;
	const char *in = argc > 2 && !strcmp(argv[1], "--in") ? argv[2] : "";
	int words = *in ? argc - 3 : argc - 1;
	if (words != 1 && (words < 3 || words % 3 != 0))
		die("usage", "query [--in PATH] PATH [OP VALUE [PATH OP VALUE...]]");
	json_t *whole = json_loadf(stdin, 0, &error);
	if (!whole)
		die("no JSON", error.text);
	json_t *part = walk(whole, in);
	bool ok = json_array_size(part) == 1;
	if (!ok)
		printf("%s is %zu values\n", in, json_array_size(part));
	ok = ok && answer(json_array_get(part, 0), words, argv + argc - words);
	json_decref(part);
	json_decref(whole);
	return ok ? 0 : 1;
}
