/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Config files: one option a line without its dashes, '#' comments, and values in double quotes where they hold blanks
 * or '#'; inside, \" is a quote and every other backslash is itself. A line becomes "--NAME" or "--NAME=VALUE" and goes
 * the way of the command line.
 */
#include <limits.h>
#include <string.h>

#include "basic/sys.h"
#include "engine/face.h"

enum {
	CONFIG_BYTES_MAX = 1 << 20,
};

/*
 * One line of a config file to "--NAME" or "--NAME=VALUE"; NULL when there is nothing on it. Writes to @line,
 * which may have no newline.
 */
static int split_config_line(char *line, char **ret, struct failure *f)
{
	static const char blanks[] = " \t\r";
	char *name = line + strspn(line, blanks), *value, *end, *text;
	size_t n = strcspn(name, " \t\r=#");

	*ret = NULL;
	if (n == 0 && (*name == '\0' || *name == '#'))
		return 0;
	if (n == 0 || *name == '-')
		return fail(f, -EINVAL, "'%s' is no name of an option", name);

	value = name + n;
	value += strspn(value, blanks);
	if (*value == '=') {
		value++;
		value += strspn(value, blanks);
	}
	if (*value == '"') {
		char *out = ++value;

		for (end = value; *end && *end != '"'; *out++ = *end++)
			if (end[0] == '\\' && end[1] == '"')
				end++;
		if (!*end)
			return fail(f, -EINVAL, "the value of '%.*s' has no closing quote", (int)n,
				    name);
		end++;
		text = end + strspn(end, blanks);
		*out = '\0';
	} else {
		size_t length = strcspn(value, " \t\r#");

		end = value + length;
		text = end + strspn(end, blanks);
		if (*text && *text != '#')
			return fail(f, -EINVAL, "'%s' after the value of '%.*s': quotes missing?",
				    text, (int)n, name);
		*end = '\0';
		if (length == 0)
			value = NULL;
		text = end;
	}
	if (*text && *text != '#')
		return fail(f, -EINVAL, "'%s' after the value of '%.*s'", text, (int)n, name);

	if (asprintf(ret, value ? "--%.*s=%s" : "--%.*s", (int)n, name, value) < 0) {
		*ret = NULL;
		return fail(f, -ENOMEM, "no memory for the options");
	}
	return 0;
}

static int apply_config_line(struct face_options *o, char *line, struct failure *f)
{
	_cleanup_free_ char *option = NULL;
	char program[] = "config";
	char *argv[] = { program, NULL, NULL };
	_cleanup_free_ char *config = NULL;
	int words, r;

	r = split_config_line(line, &option, f);
	if (r < 0 || !option)
		return r;
	config = TAKE_PTR(o->config);
	argv[1] = option;
	r = face_options_parse(o, 2, argv, &words, f);
	if (r == 0 && o->config)
		r = fail(f, -EINVAL, "a config file names no other");
	free(o->config);
	o->config = TAKE_PTR(config);
	if (r < 0)
		return r;
	if (words < 2) /* "--" alone */
		return fail(f, -EINVAL, "not an option");
	return 0;
}

int face_options_parse_config(struct face_options *o, const char *text, const char *name,
			      struct failure *f)
{
	for (size_t number = 1; *text; number++) {
		size_t n = strcspn(text, "\n");
		_cleanup_free_ char *line = strndup(text, n);
		FAILURE_SCOPE(f, "%s:%zu", name, number);
		int r;

		if (!line)
			return fail(f, -ENOMEM, "no memory for a line");
		r = apply_config_line(o, line, f);
		if (r < 0)
			return r;
		text += n + (text[n] == '\n');
	}
	return 0;
}

int face_options_read_config(struct face_options *o, const char *path, bool may_miss,
			     struct failure *f)
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r;

	r = sys_read_file_at(AT_FDCWD, path, CONFIG_BYTES_MAX, &text, &size);
	if (may_miss && (r == -ENOENT || r == -ENOTDIR || r == -EACCES))
		return -ENOENT; /* not there for us */
	if (r < 0)
		return fail(f, r, "cannot read config file %s", path);
	if (strlen(text) != size)
		return fail(f, -EINVAL, "config file %s has a NUL byte", path);
	return face_options_parse_config(o, text, path, f);
}

static int read_if_there(struct face_options *o, const char *path, struct failure *f)
{
	int r = face_options_read_config(o, path, /* may_miss= */ true, f);

	return r == -ENOENT && f->error == 0 ? 0 : r;
}

int face_options_read_default_configs(struct face_options *o, struct failure *f)
{
	const char *home = getenv("HOME"), *extra = getenv("CRIU_CONFIG_FILE");
	char path[PATH_MAX];
	int r;

	if (!o->no_default_config && !o->config) {
		r = read_if_there(o, "/etc/criu/default.conf", f);
		if (r < 0)
			return r;
		if (home && snprintf(path, sizeof(path), "%s/.criu/default.conf", home) <
				    (int)sizeof(path)) {
			r = read_if_there(o, path, f);
			if (r < 0)
				return r;
		}
	}
	return extra && *extra ? read_if_there(o, extra, f) : 0;
}
