/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * /proc/PID/cgroup: a process that may make cgroups chooses the paths. Whatever stands there, the
 * description holds as many paths as there were lines, each absolute, and matching it reads nothing
 * else.
 */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "scheduler/find.h"

static size_t count_lines(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += *text != '\n' && (text[1] == '\n' || text[1] == '\0');
	return n;
}

void fuzz_one(const uint8_t *data, size_t size)
{
	static struct policy_match items[] = {
		{ .unit = (char *)"*a*.service" },
		{ .cgroup = (char *)"/cfd/solve/" },
		{ .cgroup = (char *)"/" },
	};
	static const struct policy policy = { .matches = items, .n_matches = ARRAY_SIZE(items) };
	char *text = strndup((const char *)data, size);
	struct proc_info info = { .pid = 7 };

	HOLD(text);
	if (proc_cgroup_parse(text, &info) < 0) {
		HOLD(!info.cgroups && !info.unit);
	} else {
		HOLD(count_lines(info.cgroups) == count_lines(text));
		HOLD(!info.cgroups[0] || info.cgroups[0] == '/');
		for (const char *p = info.cgroups; (p = strchr(p, '\n')); p++)
			HOLD(p[1] == '/');
		if (info.unit)
			HOLD(info.unit[0] && !strpbrk(info.unit, "/\n"));
		HOLD(policy_fits(&policy, &info, NULL) >= 0);
	}
	proc_info_done(&info);
	free(text);
}
