/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/glob.h"

#include <fnmatch.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

/* One component of a path, without its slashes. */
struct component {
	const char *text;
	size_t size; /* 0: there is none left */
};

static struct component component_at(const char *at)
{
	at += strspn(at, "/");
	return (struct component){ at, strcspn(at, "/") };
}

static struct component next_of(struct component c)
{
	return component_at(c.text + c.size);
}

static bool is_any_number(struct component c)
{
	return c.size == 2 && c.text[0] == '*' && c.text[1] == '*';
}

static bool matches(struct component pattern, struct component name)
{
	char p[NAME_MAX + 1], n[NAME_MAX + 1];

	if (pattern.size == 0 || pattern.size > NAME_MAX || name.size > NAME_MAX)
		return false;
	memcpy(p, pattern.text, pattern.size);
	p[pattern.size] = '\0';
	memcpy(n, name.text, name.size);
	n[name.size] = '\0';
	return fnmatch(p, n, 0) == 0;
}

/* Only the last ** needs to be gone back to: an earlier one that took less would leave more for it. */
bool glob_match_path(const char *pattern, const char *path)
{
	struct component p = component_at(pattern), n = component_at(path), again = {}, from = {};

	while (n.size > 0) {
		if (is_any_number(p)) {
			again = p = next_of(p);
			from = n;
		} else if (matches(p, n)) {
			p = next_of(p);
			n = next_of(n);
		} else if (from.size > 0) {
			from = n = next_of(from);
			p = again;
		} else {
			return false;
		}
	}
	while (is_any_number(p))
		p = next_of(p);
	return p.size == 0;
}
