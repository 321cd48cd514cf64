/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "daemon/genspec.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "basic/parse.h"

enum { SKIP_MAX = 1000000 };

/* "latest", "previous", "latest~N": how many good ones to skip. -EINVAL: none of these. */
static int parse_relative(const char *text, size_t *ret)
{
	uint32_t skip;
	int r;

	if (strcmp(text, "latest") == 0) {
		*ret = 0;
		return 0;
	}
	if (strcmp(text, "previous") == 0) {
		*ret = 1;
		return 0;
	}
	if (strncmp(text, "latest~", 7) != 0)
		return -EINVAL;
	r = parse_u32(text + 7, 10, &skip);
	if (r < 0 || skip > SKIP_MAX)
		return -EINVAL;
	*ret = skip;
	return 0;
}

/* RFC 3339's shape, down to minutes or seconds; a date alone is its midnight. */
static int parse_time(const char *text, uint64_t *ret_usec)
{
	static const char *const formats[] = { "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M",
					       "%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d" };

	for (size_t i = 0; i < ARRAY_SIZE(formats); i++) {
		struct tm tm = { .tm_isdst = -1 };
		const char *end = strptime(text, formats[i], &tm);
		time_t t;

		if (!end || (*end && strcmp(end, "Z") != 0))
			continue;
		t = *end ? timegm(&tm) : mktime(&tm);
		if (t < 0)
			return -ERANGE;
		/* Moments are kept to the microsecond, and people write seconds. */
		*ret_usec = (uint64_t)t * 1000000 + 999999;
		return 0;
	}
	return -EINVAL;
}

static int not_after(struct catalog *c, const char *policy, uint64_t until_usec, struct failure *f,
		     struct generation *ret)
{
	const struct generation_filter filter = { .policy = policy,
						  .states = GENERATION_MASK_GOOD,
						  .until_usec = until_usec,
						  .newest_first = true,
						  .limit = 1 };
	struct generation_list list = {};
	int r;

	r = generations_list(c, &filter, f, &list);
	if (r < 0)
		return r;
	if (list.n == 0) {
		generation_list_done(&list);
		return fail(f, -ENOENT, "policy '%s' has no good generation that old", policy);
	}
	*ret = list.items[0];
	list.items[0] = (struct generation){};
	generation_list_done(&list);
	return 0;
}

int genspec_resolve(struct catalog *c, const char *text, struct failure *f, struct generation *ret)
{
	char policy[STORE_POLICY_MAX + 1] = "";
	const char *at = strrchr(text, '@'), *rest = at ? at + 1 : text;
	uint64_t number, until;
	size_t skip;

	if (!at && parse_u64(text, 10, &number) == 0 && number > 0 && number <= INT64_MAX)
		return generations_get(c, number, f, ret);
	if (at) {
		if ((size_t)(at - text) >= sizeof(policy) || at == text)
			return fail(f, -EINVAL, "'%s' is no generation", text);
		memcpy(policy, text, at - text);
	}
	if (parse_relative(rest, &skip) == 0)
		return generations_latest(c, policy[0] ? policy : NULL, skip, f, ret);
	if (at && parse_time(rest, &until) == 0)
		return not_after(c, policy, until, f, ret);
	return fail(f, -EINVAL,
		    "'%s' is no generation (42, latest, previous, latest~3, POLICY@latest, "
		    "POLICY@2026-11-20T10:00)",
		    text);
}

int genspec_resolve_range(struct catalog *c, const char *text, struct failure *f, struct genspec_range *ret)
{
	_cleanup_(generation_done) struct generation first = {}, last = {};
	const char *dots = strstr(text, "..");
	_cleanup_free_ char *left = NULL;
	int r;

	if (!dots) {
		r = genspec_resolve(c, text, f, &first);
		if (r < 0)
			return r;
		*ret = (struct genspec_range){ .first = first.gen, .last = first.gen };
		(void)snprintf(ret->policy, sizeof(ret->policy), "%s", first.policy);
		return 0;
	}
	left = strndup(text, dots - text);
	if (!left)
		return fail(f, -ENOMEM, "cannot read '%s'", text);
	r = genspec_resolve(c, left, f, &first);
	if (r == 0)
		r = genspec_resolve(c, dots + 2, f, &last);
	if (r < 0)
		return r;
	if (first.gen > last.gen)
		return fail(f, -EINVAL, "'%s' runs backwards", text);
	if (strcmp(first.policy, last.policy) != 0)
		return fail(f, -EINVAL, "'%s' goes from policy '%s' to policy '%s': a range is of one policy", text, first.policy,
			    last.policy);
	*ret = (struct genspec_range){ .first = first.gen, .last = last.gen };
	(void)snprintf(ret->policy, sizeof(ret->policy), "%s", first.policy);
	return 0;
}
