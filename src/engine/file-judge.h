/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * file-judge - is a file still what it was when a tree was dumped?
 *
 * A tree comes back with the memory of the dump. A file that it has open must then hold what that memory believes, else a
 * database goes on with old pages over newer data, and nobody sees it.
 *
 * Pure. Only regular files are asked about.
 */

#include <stdbool.h>
#include <stdint.h>

#include "basic/units.h"

/* Times of files advance by ticks of the clock, 1 to 10 ms apart: a write in the same tick leaves no trace. */
#define FILE_TICK_NSEC 10000000

/* A time of a file in nanoseconds; one that does not fit is the last that does. */
static inline int64_t file_time_nsec(int64_t sec, uint32_t nsec)
{
	int64_t ret;

	return __builtin_mul_overflow(sec, (int64_t)NSEC_PER_SEC, &ret) || __builtin_add_overflow(ret, (int64_t)nsec, &ret) ?
		       (sec < 0 ? INT64_MIN : INT64_MAX) :
		       ret;
}

struct file_state {
	uint64_t size;			/* bytes */
	int64_t mtime_nsec, ctime_nsec; /* since the epoch */
};

enum file_contents {
	FILE_CONTENTS_UNKNOWN, /* not compared yet, or nothing to compare with */
	FILE_CONTENTS_EQUAL,
	FILE_CONTENTS_DIFFER,
};

struct file_question {
	bool same; /* it is the same file, under this name */
	struct file_state then, now;
	bool only_appends; /* every description that the tree has of it is O_APPEND, and it is mapped nowhere */
	bool only_writes;    /* every one is write-only */
	bool mapped_shared;  /* somewhere in the tree shared, and for writing */
	bool tree_ended;     /* with the dump: nobody of the tree has written since */
	int64_t frozen_nsec; /* when the tree stood still, CLOCK_REALTIME; 0: not known */
	enum file_contents contents; /* of its first then.size bytes */
};

enum file_verdict {
	/* It may be gone on with. */
	FILE_AS_IT_WAS,
	FILE_GROWN,   /* by what was appended since */
	FILE_ROTATED, /* a log that is another file by now */
	FILE_EQUAL,   /* touched since, with the same contents */
	/* It may not. */
	FILE_REPLACED, /* another file has its name */
	FILE_RESIZED,
	FILE_WRITTEN,
	FILE_MAPPED,	   /* written through a mapping, which leaves no trace */
	FILE_JUST_WRITTEN, /* so shortly before the dump that a write after it has the same time */
	FILE_TOUCHED,	   /* ctime alone is another one, and the contents cannot be compared */
	FILE_VERDICTS_N_,
};

enum file_verdict file_judge(const struct file_question *q);

static inline bool file_verdict_is_good(enum file_verdict v)
{
	return v <= FILE_EQUAL;
}

/* What follows the name of the file in a sentence: "was written since the dump". */
const char *file_verdict_text(enum file_verdict v);
