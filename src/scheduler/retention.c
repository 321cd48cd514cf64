/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One pass from the newest to the oldest: the newest of each kind come first. */
#include "scheduler/retention.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static int check_order(const struct retention_generation *list, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		if (list[i].id <= list[i - 1].id)
			return -EINVAL;
	}
	return 0;
}

/* The limit beats the rules, but not what is not theirs to decide. */
static void apply_max_size(const struct policy *p, const struct retention_generation *list, size_t n, unsigned *reasons)
{
	const unsigned fixed = RETENTION_PINNED | RETENTION_BUSY | RETENTION_UNDO | RETENTION_NEWEST_RESTORABLE |
			       RETENTION_LADDER;
	uint64_t stored = 0;

	for (size_t i = 0; i < n; i++)
		stored += reasons[i] ? list[i].stored_bytes : list[i].stored_bytes - list[i].frees_bytes;
	for (size_t i = 0; i < n && stored > p->retain.max_size; i++) {
		if (!reasons[i] || (reasons[i] & fixed))
			continue;
		reasons[i] = 0;
		stored -= list[i].frees_bytes;
	}
}

int retention_decide(const struct policy *p, const struct retention_generation *list, size_t n,
		     unsigned *ret_reasons)
{
	size_t n_any = 0, n_restorable = 0;
	int r;

	assert(p);
	assert(list || n == 0);
	assert(ret_reasons || n == 0);

	r = check_order(list, n);
	if (r < 0)
		return r;
	if (n == 0)
		return 0;

	memset(ret_reasons, 0, n * sizeof(*ret_reasons));
	for (size_t i = n; i-- > 0;) {
		const struct retention_generation *g = &list[i];

		if (n_any++ < p->retain.keep_last)
			ret_reasons[i] |= RETENTION_LAST;
		if (g->restorable) {
			if (n_restorable == 0)
				ret_reasons[i] |= RETENTION_NEWEST_RESTORABLE;
			if (n_restorable++ < p->retain.keep_last)
				ret_reasons[i] |= RETENTION_LAST;
		}
		if (g->pinned)
			ret_reasons[i] |= RETENTION_PINNED;
		if (g->laddered && g->restorable)
			ret_reasons[i] |= RETENTION_LADDER;
		if (g->busy)
			ret_reasons[i] |= RETENTION_BUSY;
		if (g->undo)
			ret_reasons[i] |= RETENTION_UNDO;
	}
	if (p->retain.max_size > 0)
		apply_max_size(p, list, n, ret_reasons);
	return 0;
}

char *retention_reasons_to_string(unsigned reasons, char *buf, size_t size)
{
	static const struct {
		unsigned reason;
		const char *word;
	} words[] = {
		{ RETENTION_PINNED, "pinned" },
		{ RETENTION_LAST, "last" },
		{ RETENTION_NEWEST_RESTORABLE, "newest restorable" },
		{ RETENTION_BUSY, "in use" },
		{ RETENTION_UNDO, "undo of a restore" },
		{ RETENTION_LADDER, "needed until the tree has run long enough" },
	};
	size_t used = 0;

	assert(size > 0);

	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		if (!(reasons & words[i].reason) || used >= size)
			continue;
		used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? ", " : "",
					 words[i].word);
	}
	return buf;
}
