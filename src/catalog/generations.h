/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * generations - the generations of process trees: rows, states, and the steps that make and remove
 * them
 *
 * Making one:
 *
 *	struct generation g = { .created_usec = now };	(and created_boot_usec, policy, boot_id, trigger, parent, ...)
 *	generations_begin(c, &g, f, &dir_fd)	row "writing", empty GEN.partial/, g.gen
 *	...the engine writes its images into dir_fd; the caller fills in frozen_usec and the like
 *	generations_seal(dir_fd, &g, f)		slow: syncs files, writes the manifest
 *	generations_commit(c, &g, now, f)	checks the manifest, renames, row "ok"
 *
 * and on any failure generations_abort(). Whatever instant the process dies at, reconcile_run()
 * makes it whole: either the generation is "ok" and verifies, or nothing of it is left but a row
 * "deleted" that says why.
 *
 * Numbers are global and never used twice. Rows are never removed: a deleted generation is still in
 * the log.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/failure.h"
#include "catalog/catalog.h"
#include "catalog/manifest.h"
#include "catalog/store.h"

enum generation_state {
	GENERATION_WRITING,  /* being made */
	GENERATION_OK,	     /* whole; nothing known against restoring it */
	GENERATION_PROVEN,   /* was restored, on purpose */
	GENERATION_BLOCKED,  /* whole, but cannot be restored as things are; code says by what */
	GENERATION_POISONED, /* its tree crashed soon after being restored */
	GENERATION_DAMAGED,  /* its files are not what was written */
	GENERATION_DELETING, /* being removed */
	GENERATION_DELETED,  /* gone, or never completed */
	GENERATION_STATE_MAX_,
};

/* For masks of states. */
#define GENERATION_MASK(state) (1u << (state))
#define GENERATION_MASK_ALL    ((1u << GENERATION_STATE_MAX_) - 1)
#define GENERATION_MASK_GOOD   (GENERATION_MASK(GENERATION_OK) | GENERATION_MASK(GENERATION_PROVEN))
/* What "list" shows: there are files, or there will be. */
#define GENERATION_MASK_LISTED                                                                     \
	(GENERATION_MASK_ALL &                                                                     \
	 ~(GENERATION_MASK(GENERATION_DELETING) | GENERATION_MASK(GENERATION_DELETED)))

/* Trigger of a generation that holds the tree that a restore has replaced, and of the restore that brings it back. */
#define GENERATION_TRIGGER_UNDO "undo"

enum {
	GENERATION_BOOT_ID_MAX = 36, /* as in /proc/sys/kernel/random/boot_id */
	GENERATION_WORD_MAX = 32,    /* trigger, backend, code */
	GENERATION_TEXT_MAX = 4096,  /* exe, reason, comment, tags, kernel */
	GENERATION_N_TAGS_MAX = 32,
};

/* A zeroed struct is a valid empty one. NULL strings read as "". */
struct generation {
	int64_t gen; /* from 1 */
	char policy[STORE_POLICY_MAX + 1];
	int64_t parent;	       /* the generation this increment stands on; 0: this one is full */
	int64_t full;	       /* the full one the chain begins with; its own number when full */
	int64_t restored_from; /* the tree had been restored from this one; 0: it had not */
	char boot_id[GENERATION_BOOT_ID_MAX + 1];
	uint64_t created_usec;
	uint64_t created_boot_usec; /* the same by CLOCK_BOOTTIME of its boot; 0: not known */
	char trigger[GENERATION_WORD_MAX + 1]; /* "every", "manual", ... */
	char backend[GENERATION_WORD_MAX + 1]; /* "native", "criu" */
	char *kernel;			       /* release it was taken on */
	char *comment;
	char *tags; /* separated by blanks, sorted; each of letters, digits and "._-" */
	bool pinned;

	pid_t root_pid;		   /* as the daemon sees it */
	uint64_t root_start_ticks; /* field 22 of /proc/PID/stat */
	char *exe;
	uint32_t n_processes;
	uint32_t n_threads;
	uint64_t logical_bytes; /* memory of the tree */
	uint64_t written_bytes; /* sum of its files; set by generations_commit() */
	uint64_t files_bytes;	/* captured files */
	uint64_t frozen_usec;	/* how long the tree stood still */
	uint64_t max_frozen_usec; /* what the policy allowed; 0: anything */
	uint64_t total_usec;	/* the whole operation */

	uint32_t increment; /* so many since memory was last stored in full; 0: it was, for this one */
	char *full_reason;  /* why it was; "" for an increment */
	char snapshot[GENERATION_WORD_MAX + 1]; /* how memory was taken: "stop-copy" ...; "": not known */
	char *fallback;	       /* why not as the policy asks; "": it was */
	uint32_t n_pre_dumps;  /* rounds before the freeze */
	uint64_t pre_dump_pages; /* written in them */
	uint64_t pages_scanned;
	uint64_t pages_written;
	uint64_t pages_skipped; /* the parent's stand for them */

	/* Kept by the catalog. */
	int64_t after_run; /* the newest dump, restore or start of the policy when it was begun; 0: none known */
	enum generation_state state;
	char code[GENERATION_WORD_MAX +
		  1];		       /* of "blocked": pid, file, kernel, cpu, peer; else "" */
	char *reason;		       /* why it is in this state; "" for writing and ok */
	uint64_t state_usec;	       /* since when */
	char state_boot_id[GENERATION_BOOT_ID_MAX + 1]; /* the boot of state_boot_usec; "": not known */
	uint64_t state_boot_usec; /* the same by CLOCK_BOOTTIME */
	struct manifest_hash manifest; /* "" until committed */
	struct manifest_hash identity;	      /* what children know it by, if not by its manifest */
	struct manifest_hash parent_manifest; /* the parent's identity; set by generations_begin() */
	bool borrowed_known;		      /* borrowed_bytes has been counted */
	uint64_t borrowed_bytes;	      /* of the parent's own files, what this one reads */
	uint64_t live_bytes;		      /* of its own files, what it reads; all of them if not counted */
	uint64_t lent_bytes;		      /* of its own files, what children read; all of them if not counted */
	struct manifest_hash merge_manifest;  /* of the directory that is about to replace its own; "": none */
	int64_t merge_parent;		      /* its parent then; 0: none */
	char verified_level[GENERATION_WORD_MAX + 1]; /* "", "quick", "full" */
	uint64_t verified_usec;
};

void generation_done(struct generation *g);

/* An array of them. */
struct generation_list {
	struct generation *items;
	size_t n;
};
void generation_list_done(struct generation_list *list);

const char *generation_state_to_string(enum generation_state s) _pure_;
/* Return: 0 or -EINVAL. */
int generation_state_from_string(const char *text, enum generation_state *ret);
/* Whether the arrow exists in the diagram at the top of generations.c. */
bool generation_state_may_become(enum generation_state from, enum generation_state to) _pure_;

/*
 * generations_begin() - take a number and an empty directory
 * @g:		in: all that is known beforehand. out: gen, full, parent_manifest, state
 *
 * A parent must be good, of the same policy and the same boot: else -EINVAL, and nothing was made.
 */
int generations_begin(struct catalog *c, struct generation *g, struct failure *f,
		      int *ret_dir_fd) _must_check_;

/*
 * generations_seal() - sync the files and write the manifest
 *
 * Slow. Uses no catalog and no global, only @dir_fd and @g, so that it may run in a forked child or
 * a thread.
 */
int generations_seal(int dir_fd, const struct generation *g, struct failure *f) _must_check_;

/*
 * generations_commit() - a sealed generation becomes "ok"
 *
 * Stores what the caller has put into @g since generations_begin(). Sets manifest, written_bytes,
 * state and verified of @g. When it fails, call generations_abort(), which removes also
 * what was renamed already. @g->parent may be set to 0 before sealing: a full one after all.
 */
int generations_commit(struct catalog *c, struct generation *g, uint64_t now_usec,
		       struct failure *f) _must_check_;

/*
 * Removes what a failed generations_begin()/_seal()/_commit() left; the row becomes "deleted" with
 * @reason.
 */
int generations_abort(struct catalog *c, int64_t gen, const char *reason, uint64_t now_usec,
		      struct failure *f);

/*
 * generations_delete() - remove a generation
 *
 * -EBUSY when it is pinned, or when a generation that is neither deleted nor damaged stands on it, by
 * its number: merges.h moves into that what it needs. -ENOENT when it is deleted already. Interrupted, it is finished by reconcile_run() or by calling
 * it again.
 */
int generations_delete(struct catalog *c, int64_t gen, const char *reason, uint64_t now_usec,
		       struct failure *f) _must_check_;

/*
 * generations_set_state() - poisoned, blocked, damaged, proven, ok
 * @code:	for blocked; else NULL
 * @reason:	one sentence; NULL for ok
 *
 * -EINVAL when generation_state_may_become() says no. What stands on a damaged one becomes damaged
 * with it.
 */
int generations_set_state(struct catalog *c, int64_t gen, enum generation_state state,
			  const char *code, const char *reason, uint64_t now_usec,
			  struct failure *f) _must_check_;

/* Says of the state when it began by CLOCK_BOOTTIME, which nobody sets. */
int generations_set_state_boot(struct catalog *c, int64_t gen, const char *boot_id, uint64_t boot_usec,
			       struct failure *f) _must_check_;

/* Notes that the files were verified (by manifest_verify(), anywhere). */
int generations_set_verified(struct catalog *c, int64_t gen, enum manifest_level level,
			     uint64_t now_usec, struct failure *f) _must_check_;

/*
 * generations_verify() - hold a generation's files against its manifest, and note the result
 *
 * -EBADMSG: they are not what was written; the state is "damaged" now. For MANIFEST_FULL of a large
 * one, let a child do generations_open() + manifest_read() + manifest_verify() and call
 * generations_set_verified() or _set_state().
 */
int generations_verify(struct catalog *c, int64_t gen, enum manifest_level level, uint64_t now_usec,
		       struct failure *f) _must_check_;

/*
 * The whole directory against its manifest, and that against the row. -EBADMSG also when there is
 * nothing.
 */
int generations_examine(struct catalog *c, const struct generation *g, enum manifest_level level,
			struct failure *f) _must_check_;

/* Notes how much of its own files and of its parent's own stands for memory of its tree. */
int generations_set_needed(struct catalog *c, int64_t gen, uint64_t live_bytes, uint64_t borrowed_bytes,
			   struct failure *f) _must_check_;

int generations_set_pinned(struct catalog *c, int64_t gen, bool pinned,
			   struct failure *f) _must_check_;

/* -ENOENT: no such number was ever given out. */
int generations_get(struct catalog *c, int64_t gen, struct failure *f,
		    struct generation *ret) _must_check_;

struct generation_filter {
	const char *policy;  /* NULL: any */
	unsigned states;     /* mask; 0: GENERATION_MASK_LISTED */
	uint64_t since_usec; /* created at or after; 0: any */
	uint64_t until_usec; /* created at or before; 0: any */
	int64_t parent;	     /* the children of this one; 0: any */
	pid_t root_pid;	     /* 0: any */
	const char *tag;     /* NULL: any */
	bool pinned;	     /* only those */
	bool newest_first;   /* else oldest first: by number */
	size_t skip;	     /* so many of the first (latest~3) */
	size_t limit;	     /* 0: all */
};
/* An empty list is success. */
int generations_list(struct catalog *c, const struct generation_filter *filter, struct failure *f,
		     struct generation_list *ret) _must_check_;

/* The newest "ok" or "proven" one, @skip before it for latest~N. -ENOENT: none. */
int generations_latest(struct catalog *c, const char *policy, size_t skip, struct failure *f,
		       struct generation *ret) _must_check_;

/* The newest that was ever whole, in whatever state it is by now, deleted too. -ENOENT: none. */
int generations_newest(struct catalog *c, const char *policy, struct failure *f,
		       struct generation *ret) _must_check_;

/*
 * Removes rows that were deleted before that moment and that nothing refers to: no run
 * (runs_forget() comes first), no generation. Their numbers do not come back.
 */
int generations_forget(struct catalog *c, uint64_t before_usec, struct failure *f) _must_check_;

/*
 * The directory of a committed generation, for reading the images. -ENOENT when it is deleted or
 * being written.
 */
int generations_open(struct catalog *c, int64_t gen, struct failure *f,
		     int *ret_dir_fd) _must_check_;
