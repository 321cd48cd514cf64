/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/label.h"

#include <errno.h>
#include <string.h>

#include "basic/sys.h"

#define UNCONFINED "unconfined"

const char *label_module_name(enum label_module module)
{
	static const char *const names[] = {
		[LABEL_NONE] = "no security module",
		[LABEL_SELINUX] = "SELinux",
		[LABEL_APPARMOR] = "AppArmor",
		[LABEL_SMACK] = "Smack",
	};

	return names[module];
}

/* One line, perhaps with a newline or NUL behind it. */
static int copy_line(const char *bytes, size_t size, char ret[static LABEL_BYTES])
{
	while (size > 0 && (bytes[size - 1] == '\n' || bytes[size - 1] == '\0'))
		size--;
	if (size >= LABEL_BYTES)
		return -EBADMSG;
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)bytes[i] < ' ' || bytes[i] == 0x7f)
			return -EBADMSG;
	memcpy(ret, bytes, size);
	ret[size] = '\0';
	return 0;
}

/* " (enforce)" at the end, or NULL */
static char *find_mode(char *text)
{
	size_t size = strlen(text);
	char *paren = strrchr(text, '(');

	return size > 3 && text[size - 1] == ')' && paren > text + 1 && paren[-1] == ' ' ? paren - 1
											 : NULL;
}

/* A context has at least three parts: user:role:type. */
static enum label_module guess(char *text)
{
	const char *colon = strchr(text, ':');

	if (strcmp(text, UNCONFINED) == 0 || find_mode(text))
		return LABEL_APPARMOR;
	return colon && strchr(colon + 1, ':') ? LABEL_SELINUX : LABEL_SMACK;
}

/* Stacked profiles are joined by "//&"; the name of a namespace starts with a colon. */
static int check_profile(const char *name)
{
	return name[0] == ':' || strstr(name, "//&") ? -EOPNOTSUPP : 0;
}

int label_parse(enum label_module module, const char *bytes, size_t size, struct label *ret)
{
	char *mode;
	int r;

	r = copy_line(bytes, size, ret->text);
	if (r == 0 && !ret->text[0])
		r = -EBADMSG;
	if (r < 0)
		return r;
	ret->module = module == LABEL_NONE ? guess(ret->text) : module;
	if (ret->module != LABEL_APPARMOR)
		return 0;
	mode = find_mode(ret->text);
	if (mode)
		*mode = '\0';
	else if (strcmp(ret->text, UNCONFINED) == 0)
		ret->text[0] = '\0';
	return check_profile(ret->text);
}

int label_choose(const char *value, struct label *ret)
{
	static const struct {
		const char *prefix;
		enum label_module module;
	} types[] = {
		{ "none:", LABEL_NONE },
		{ "selinux:", LABEL_SELINUX },
		{ "apparmor:", LABEL_APPARMOR },
	};

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		size_t n = strlen(types[i].prefix);

		if (strncmp(value, types[i].prefix, n) != 0)
			continue;
		value += n;
		ret->module = types[i].module;
		if (copy_line(value, strlen(value), ret->text) < 0 ||
		    (ret->module != LABEL_NONE && !ret->text[0]))
			return -EINVAL;
		if (ret->module == LABEL_NONE || strcmp(value, UNCONFINED) == 0)
			ret->text[0] = '\0';
		return ret->module == LABEL_APPARMOR && check_profile(ret->text) < 0 ? -EINVAL : 0;
	}
	return -EINVAL;
}

bool label_profile_is_loaded(const char *profiles, const char *profile)
{
	size_t size = strlen(profile);

	while (*profiles) {
		if (strncmp(profiles, profile, size) == 0 &&
		    (profiles[size] == '\n' || profiles[size] == '\0' ||
		     strncmp(profiles + size, " (", 2) == 0))
			return true;
		profiles += strcspn(profiles, "\n");
		profiles += *profiles == '\n';
	}
	return false;
}

/* Return: 1, 0 where the module that the file belongs to is not in force, or -errno. */
static int read_attr(int proc_fd, const char *path, char **ret, size_t *ret_size)
{
	int r = sys_read_file_at(proc_fd, path, LABEL_BYTES, ret, ret_size);

	return r == -ENOENT || r == -EINVAL || r == -EOPNOTSUPP ? 0 : r < 0 ? r : 1;
}

int label_read(int proc_fd, struct label *ret)
{
	static const struct {
		const char *path;
		enum label_module module;
	} files[] = {
		{ "attr/apparmor/current", LABEL_APPARMOR },
		{ "attr/smack/current", LABEL_SMACK },
		{ "attr/current", LABEL_NONE },
	};

	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *text = NULL;
		size_t size = 0;
		int r = read_attr(proc_fd, files[i].path, &text, &size);

		if (r != 0)
			return r < 0 ? r : label_parse(files[i].module, text, size, ret);
	}
	ret->module = LABEL_NONE;
	ret->text[0] = '\0';
	return 0;
}

int label_read_next(int proc_fd, const char *name, char ret[static LABEL_BYTES])
{
	_cleanup_free_ char *text = NULL;
	char path[32];
	size_t size = 0;
	int r;

	(void)snprintf(path, sizeof(path), "attr/%s", name);
	ret[0] = '\0';
	r = read_attr(proc_fd, path, &text, &size);
	return r <= 0 ? r : copy_line(text, size, ret);
}
