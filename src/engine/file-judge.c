/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/file-judge.h"

#include <assert.h>
#include <stddef.h>

#include "basic/cleanup.h"

static bool is_within_a_tick(int64_t a, int64_t b)
{
	return a > b ? (uint64_t)a - (uint64_t)b <= FILE_TICK_NSEC : (uint64_t)b - (uint64_t)a <= FILE_TICK_NSEC;
}

/* Nothing but its ctime tells that it was changed: its contents decide, where they are known. */
static enum file_verdict judge_touched(const struct file_question *q)
{
	if (q->now.ctime_nsec == q->then.ctime_nsec)
		return FILE_AS_IT_WAS;
	switch (q->contents) {
	case FILE_CONTENTS_EQUAL:
		return FILE_EQUAL;
	case FILE_CONTENTS_DIFFER:
		return FILE_WRITTEN;
	default:
		return FILE_TOUCHED;
	}
}

/*
 * A log that was rotated is another file by now, of any size; that of a program which can read it back is not taken for one.
 * Whoever appends changes both times, so of a file that has grown its times say nothing of the part that was there: only its
 * contents do, where they are known.
 */
static enum file_verdict judge_appended(const struct file_question *q)
{
	if (!q->same)
		return q->only_writes ? FILE_ROTATED : FILE_REPLACED;
	if (q->now.size < q->then.size)
		return FILE_RESIZED;
	if (q->now.size > q->then.size)
		return q->contents == FILE_CONTENTS_DIFFER ? FILE_WRITTEN : FILE_GROWN;
	return q->now.mtime_nsec == q->then.mtime_nsec ? judge_touched(q) : FILE_WRITTEN;
}

enum file_verdict file_judge(const struct file_question *q)
{
	assert(q);

	if (q->only_appends)
		return judge_appended(q);
	if (!q->same)
		return FILE_REPLACED;
	if (q->now.size != q->then.size)
		return FILE_RESIZED;
	if (q->now.mtime_nsec != q->then.mtime_nsec)
		return FILE_WRITTEN;
	if (!q->tree_ended && q->mapped_shared)
		return FILE_MAPPED;
	if (!q->tree_ended && q->frozen_nsec &&
	    is_within_a_tick(q->then.mtime_nsec, q->frozen_nsec))
		return FILE_JUST_WRITTEN;
	return judge_touched(q);
}

const char *file_verdict_text(enum file_verdict v)
{
	static const char *const texts[FILE_VERDICTS_N_] = {
		[FILE_AS_IT_WAS] = "is as it was",
		[FILE_GROWN] = "has grown since the dump, by what was appended",
		[FILE_ROTATED] = "is another file than at the dump: a log that was rotated",
		[FILE_EQUAL] = "was touched since the dump, but holds the same",
		[FILE_REPLACED] = "is another file than at the dump",
		[FILE_RESIZED] = "has another size than at the dump",
		[FILE_WRITTEN] = "was written since the dump",
		[FILE_MAPPED] = "was mapped for writing, and may have been written since the dump",
		[FILE_JUST_WRITTEN] =
			"was written when it was dumped, and may have been written since",
		[FILE_TOUCHED] =
			"was changed since the dump (ctime), and its contents of then are not known",
	};

	return (size_t)v < ARRAY_SIZE(texts) ? texts[v] : NULL;
}
