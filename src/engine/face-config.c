/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Config files: one option a line without its dashes, '#' comments, and values in double quotes where they hold blanks
 * or '#'; inside, \" is a quote and every other backslash is itself. A line becomes "--NAME" or "--NAME=VALUE" and goes
 * the way of the command line.
 */
#include <limits.h>
#include <string.h>

#include "basic/place.h"
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

/* ---- files ---- */

static int make_absolute(const char *path, char ret[static PATH_MAX])
{
	char *cwd = path[0] == '/' ? NULL : getcwd(ret, PATH_MAX);
	size_t n = cwd ? strlen(cwd) : 0;

	if (path[0] != '/' && !cwd)
		return -errno;
	return snprintf(ret + n, PATH_MAX - n, "%s%s", cwd ? "/" : "", path) >= (int)(PATH_MAX - n)
		       ? -ENAMETOOLONG
		       : 0;
}

/* The file is looked at once; what is opened then is what was looked at. -EPERM: others can change found->weak. */
static int open_guarded(const char *path, struct place_found *found)
{
	_cleanup_close_ int root_fd = sys_open("/", O_PATH | O_DIRECTORY, 0);
	char absolute[PATH_MAX];
	struct place at = { .root_fd = root_fd, .path = absolute };
	int r;

	if (root_fd < 0)
		return root_fd;
	r = make_absolute(path, absolute);
	if (r < 0)
		return r;
	r = place_find(&at, PLACE_MOVED_COUNTS, geteuid(), NULL, found);
	if (r < 0)
		return r;
	if (found->guarded &&
	    ((found->st.st_uid != 0 && found->st.st_uid != geteuid()) ||
	     (found->st.st_mode & (S_IWGRP | S_IWOTH)) || !S_ISREG(found->st.st_mode)))
		(void)snprintf(found->weak, sizeof(found->weak), "%s", absolute);
	return found->weak[0] ? -EPERM : place_open(found, O_RDONLY);
}

/* @weak: what others can change, where that is why the file is not read. */
static int read_file(const char *path, unsigned flags, char **ret, size_t *ret_size,
		     char weak[static PATH_MAX])
{
	_cleanup_(place_found_done) struct place_found found = PLACE_FOUND_NONE;
	_cleanup_close_ int fd = -EBADF;

	fd = flags & CONFIG_GUARDED ? open_guarded(path, &found) : sys_open(path, O_RDONLY, 0);
	(void)snprintf(weak, PATH_MAX, "%s", found.weak);
	return fd < 0 ? fd : sys_read_to_end(fd, CONFIG_BYTES_MAX, ret, ret_size);
}

/* What is not there for us. */
static bool is_missing(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -EACCES;
}

static int parse_file(struct face_options *o, const char *path, const char *text, size_t size,
		      struct failure *f)
{
	if (strlen(text) != size)
		return fail(f, -EINVAL, "config file %s has a NUL byte", path);
	return face_options_parse_config(o, text, path, f);
}

int face_options_read_config(struct face_options *o, const char *path, unsigned flags,
			     struct failure *f)
{
	_cleanup_free_ char *text = NULL;
	char weak[PATH_MAX];
	size_t size;
	int r;

	r = read_file(path, flags, &text, &size, weak);
	if ((flags & CONFIG_MAY_MISS) && is_missing(r))
		return -ENOENT;
	if (r == -EPERM && weak[0])
		return fail(f, r, "config file %s is not read: others than root can change %s",
			    path, weak);
	if (r < 0)
		return fail(f, r, "cannot read config file %s", path);
	return parse_file(o, path, text, size, f);
}

/* One of which nobody said that it be read: a file that others can change is left out. */
static int read_default(struct face_options *o, const char *path, struct failure *f)
{
	_cleanup_free_ char *text = NULL;
	char weak[PATH_MAX];
	size_t size;
	int r;

	r = read_file(path, CONFIG_GUARDED, &text, &size, weak);
	if (is_missing(r))
		return 0;
	if (weak[0])
		return strv_addf(&o->left_out, f,
				 "config file %s is left out: others than root can change %s", path,
				 weak);
	if (r < 0)
		return fail(f, r, "cannot read config file %s", path);
	return parse_file(o, path, text, size, f);
}

static int read_home(struct face_options *o, bool served, struct failure *f)
{
	const char *home = secure_getenv("HOME");
	size_t n_scripts = o->action_scripts.n;
	char path[PATH_MAX];
	int r;

	if (!home || home[0] != '/' ||
	    snprintf(path, sizeof(path), "%s/.criu/default.conf", home) >= (int)sizeof(path))
		return 0;
	r = read_default(o, path, f);
	if (r < 0)
		return r;
	if (served && o->action_scripts.n > n_scripts)
		return fail(
			f, -EPERM,
			"%s: action-script: scripts from $HOME are not run for a caller over RPC; "
			"name them in /etc/criu/default.conf",
			path);
	return 0;
}

int face_options_read_default_configs(struct face_options *o, bool served, struct failure *f)
{
	const char *extra = secure_getenv("CRIU_CONFIG_FILE");
	int r;

	if (!o->no_default_config && !o->config) {
		r = read_default(o, "/etc/criu/default.conf", f);
		if (r < 0)
			return r;
		r = read_home(o, served, f);
		if (r < 0)
			return r;
	}
	if (!extra || !*extra)
		return 0;
	r = face_options_read_config(o, extra, CONFIG_MAY_MISS | CONFIG_GUARDED, f);
	return r == -ENOENT && (!f || f->error == 0) ? 0 : r;
}
