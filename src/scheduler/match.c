/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/match.h"

#include <assert.h>
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "basic/parse.h"

void proc_info_done(struct proc_info *info)
{
	free(info->user);
	free(info->exe);
	free(info->args);
	free(info->cgroups);
	free(info->unit);
	*info = (struct proc_info){ 0 };
}

static bool fits_glob(const char *pattern, const char *text, int flags)
{
	return text && fnmatch(pattern, text, flags | FNM_NOESCAPE) == 0;
}

/*
 * A name that consists of digits is a uid, as for chown(1), unless somebody has that name. A set-user-ID program that
 * another user has started runs with the arguments and the environment of that user: it is nobody's service.
 */
static bool fits_user(const char *user, const struct proc_info *info)
{
	uint32_t uid;

	if (strcmp(user, POLICY_USER_ANY) == 0)
		return true;
	if (info->real_uid != info->uid)
		return false;
	if (info->user && strcmp(user, info->user) == 0)
		return true;
	return parse_u32(user, 10, &uid) == 0 && uid == info->uid;
}

/* Is the process at or below @path in any hierarchy? */
static bool fits_cgroup(const char *path, const char *cgroups)
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	if (n == 1) /* "/": every cgroup is below it */
		return cgroups != NULL;

	for (const char *line = cgroups; line; line = strchr(line, '\n')) {
		if (*line == '\n')
			line++;
		if (strncmp(line, path, n) == 0 &&
		    (line[n] == '/' || line[n] == '\n' || line[n] == '\0'))
			return true;
	}
	return false;
}

bool policy_match_fits(const struct policy_match *m, const struct proc_info *info,
		       pid_t pidfile_pid)
{
	assert(m);
	assert(info);

	if (m->unit && !fits_glob(m->unit, info->unit, 0))
		return false;
	if (m->exe && !fits_glob(m->exe, info->exe, FNM_PATHNAME))
		return false;
	if (m->user && !fits_user(m->user, info))
		return false;
	if (m->args && !fits_glob(m->args, info->args, 0))
		return false;
	if (m->pidfile && (pidfile_pid <= 0 || pidfile_pid != info->pid))
		return false;
	if (m->cgroup && !fits_cgroup(m->cgroup, info->cgroups))
		return false;
	return m->unit || m->exe || m->user || m->args || m->pidfile || m->cgroup;
}

int policy_fits(const struct policy *p, const struct proc_info *info, const struct pidfile *pidfiles)
{
	assert(p);
	assert(info);

	for (size_t i = 0; i < p->n_matches; i++) {
		if (policy_match_fits(&p->matches[i], info, pidfiles ? pidfiles[i].pid : 0))
			return (int)i;
	}
	return -1;
}

/* Units in which processes of any user are, whatever these do: their sessions and their own service managers. */
static bool unit_has_any_user(const char *unit)
{
	static const char *const login_units[] = { "session-1.scope", "session-c1.scope", "user@1000.service" };

	for (size_t i = 0; i < ARRAY_SIZE(login_units); i++)
		if (fits_glob(unit, login_units[i], 0))
			return true;
	return false;
}

static bool cgroup_has_any_user(const char *cgroup)
{
	size_t n = strlen(cgroup);

	while (n > 0 && cgroup[n - 1] == '/')
		n--;
	return n == 0 || (n == strlen("/user.slice") && strncmp(cgroup, "/user.slice", n) == 0);
}

bool policy_match_fits_any_user(const struct policy_match *m)
{
	if (m->user || m->pidfile)
		return false;
	if (m->unit && !unit_has_any_user(m->unit))
		return false;
	return !m->cgroup || cgroup_has_any_user(m->cgroup);
}

static bool has_suffix(const char *text, size_t n, const char *suffix)
{
	size_t n_suffix = strlen(suffix);

	return n > n_suffix && memcmp(text + n - n_suffix, suffix, n_suffix) == 0;
}

int cgroup_path_unit(const char *path, char **ret)
{
	const char *component = path;

	assert(path);
	assert(ret);

	for (;;) {
		size_t n;
		char *unit;

		component += strspn(component, "/");
		n = strcspn(component, "/\n");
		/* systemd puts "_" before a name that the kernel keeps for itself. */
		if (n > 0 && component[0] == '_') {
			component++;
			n--;
		}
		if (has_suffix(component, n, ".slice")) {
			component += n;
			continue;
		}
		if (!has_suffix(component, n, ".service") && !has_suffix(component, n, ".scope"))
			return -ENXIO;
		unit = strndup(component, n);
		if (!unit)
			return -ENOMEM;
		*ret = unit;
		return 0;
	}
}

/* The innermost unit of a path of @n bytes. Return: where its name begins, NULL: there is none; @ret_n: its length. */
static const char *innermost_unit(const char *path, size_t n, size_t *ret_n)
{
	const char *end = path + n, *found = NULL;

	*ret_n = 0;
	while (path < end) {
		size_t skip = strspn(path, "/"), length;

		path += skip;
		length = strcspn(path, "/\n");
		if (path >= end || length == 0)
			break;
		if (has_suffix(path, length, ".service") || has_suffix(path, length, ".scope")) {
			found = path;
			*ret_n = length;
		}
		path += length;
	}
	return found;
}

/* Is a process with these cgroups at or below the first @n bytes of @path, in any hierarchy? */
static bool is_below(const char *cgroups, const char *path, size_t n)
{
	for (const char *line = cgroups; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, path, n) == 0 && (line[n] == '/' || line[n] == '\n' || line[n] == '\0'))
			return true;
	}
	return false;
}

int cgroups_service(const char *cgroups, const char *own, char **ret)
{
	static const char daemon_unit[] = "snapmgrd.service";

	assert(ret);

	for (const char *line = cgroups; line && *line; line = strchr(line, '\n')) {
		const char *unit;
		size_t n;

		line += *line == '\n';
		unit = innermost_unit(line, strcspn(line, "\n"), &n);
		if (!unit || !has_suffix(unit, n, ".service") || is_below(own, line, (size_t)(unit + n - line)) ||
		    (n == strlen(daemon_unit) && memcmp(unit, daemon_unit, n) == 0))
			continue;
		*ret = strndup(unit, n);
		return *ret ? 0 : -ENOMEM;
	}
	return -ENXIO;
}
