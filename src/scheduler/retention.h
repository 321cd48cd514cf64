/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * retention - which generations of one tree may go?
 *
 * Pure: the caller brings the generations, gets the reasons for keeping each, and does the
 * deleting. A generation stays if there is any reason for it. That others stand on it is none: what they need moves
 * into them.
 */

#include "scheduler/policy.h"

struct retention_generation {
	uint64_t id;	 /* grows with time */
	bool restorable; /* ok or proven: neither poisoned nor damaged nor blocked */
	bool pinned;
	bool laddered; /* the ladder of restores is under way, and may come to it */
	bool busy; /* being written, restored, copied */
	bool undo; /* what a restore has replaced, and its time has not passed */
	uint64_t stored_bytes;
	uint64_t frees_bytes; /* less of them where others need some */
};

/* Why a generation is kept: any of these; 0: it goes. */
enum retention_reason {
	RETENTION_LAST =
		1
		<< 0, /* one of the newest keep-last, or of the newest keep-last restorable ones */
	RETENTION_NEWEST_RESTORABLE = 1 << 1,
	RETENTION_PINNED = 1 << 3,
	RETENTION_BUSY = 1 << 4,
	RETENTION_UNDO = 1 << 5,
	RETENTION_LADDER = 1 << 6, /* the tree crashed lately: what is older than the restored one stays */
};

/*
 * retention_decide() - reasons to keep each generation
 * @list:	oldest first
 * @ret_reasons: @n masks of enum retention_reason, written on success only
 *
 * Generations that cannot be restored do not use up the places of keep-last: if the five newest are
 * damaged, the five restorable ones before them stay.
 *
 * max-size beats keep-last: while more is stored, the oldest goes that is neither pinned nor busy nor an undo nor the
 * newest restorable one, nor needed by a ladder that is under way.
 *
 * Return: 0, or -EINVAL when @list is not sorted by id.
 */
int retention_decide(const struct policy *p, const struct retention_generation *list, size_t n,
		     unsigned *ret_reasons) _must_check_;

/* "pinned, last": @buf of @size. Return: @buf. */
char *retention_reasons_to_string(unsigned reasons, char *buf, size_t size);
