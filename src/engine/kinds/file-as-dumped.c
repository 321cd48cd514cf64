/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/file-as-dumped.h"

#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

#include "basic/clock.h"
#include "basic/glob.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "basic/units.h"
#include "engine/identity.h"
#include "engine/kinds/file-hash.h"
#include "engine/kinds/kind.h"
#include "engine/memory/vma.h"
#include "engine/preflight.h"

/* How the tree uses one file, over all of its records; those of one file stand together. */
struct file_use {
	const RegFileEntry *reg;
	bool mapped, mapped_shared;
};

bool file_is_kept(const struct restore *rs, const char *path)
{
	static const char keep[] = "keep:", any_word[] = ":";
	const struct strv *rules = &rs->options->file_rules;

	for (size_t i = 0; i < rules->n; i++) {
		const char *glob = strstr(rules->items[i], any_word);

		if (glob && glob_match_path(glob + 1, path))
			return strncmp(rules->items[i], keep, sizeof(keep) - 1) == 0;
	}
	return false;
}

/* ---- how files are used ---- */

static int compare_files(const SnapmgrIdentity *a, const SnapmgrIdentity *b)
{
	if (a->ino != b->ino)
		return a->ino < b->ino ? -1 : 1;
	return a->dev < b->dev ? -1 : a->dev > b->dev;
}

static int compare_uses(const void *a, const void *b)
{
	return compare_files(((const struct file_use *)a)->reg->snapmgr_identity,
			     ((const struct file_use *)b)->reg->snapmgr_identity);
}

static int add_use(struct restore *rs, const struct file *file, bool mapped, bool shared)
{
	struct preflight *p = rs->preflight;
	const RegFileEntry *reg = file && file->kind == &fd_kind_file ? file->entry->reg : NULL;

	if (!reg || !reg->snapmgr_identity || !S_ISREG(reg->snapmgr_identity->mode))
		return 0;
	if (arena_grow(&rs->arena, &p->uses, p->n_uses) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for a list of files");
	p->uses[p->n_uses++] = (struct file_use){ reg, mapped, shared };
	return 0;
}

static int add_mappings(struct restore *rs, const struct rtask *task)
{
	int r = add_use(rs, files_find(rs, task->mm->exe_file_id), true, false);

	for (size_t i = 0; r == 0 && i < task->mm->n_vmas; i++) {
		const VmaEntry *vma = task->mm->vmas[i];
		bool shared = vma->status & VMA_FILE_SHARED;
		/* Opened for writing, mprotect(2) can make it writable at any time. */
		bool writes = (vma->prot & PROT_WRITE) ||
			      (vma->has_fdflags && (vma->fdflags & O_ACCMODE) == O_RDWR);

		if (vma->status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED))
			r = add_use(rs, files_find(rs, vma->shmid), true, shared && writes);
	}
	return r;
}

int file_uses_collect(struct restore *rs)
{
	struct preflight *p = rs->preflight;
	struct file *file;
	int r = 0;

	for (size_t i = 0; r == 0 && (file = files_at(rs, i)); i++) {
		if (file->n_users > 0 || file->needed)
			r = add_use(rs, file, false, false);
	}
	for (size_t i = 0; r == 0 && i < rs->n_tasks; i++)
		r = rs->tasks[i]->zombie ? 0 : add_mappings(rs, rs->tasks[i]);
	if (p->n_uses > 0)
		qsort(p->uses, p->n_uses, sizeof(p->uses[0]), compare_uses);
	return r;
}

static void ask_uses(const struct restore *rs, const SnapmgrIdentity *id, struct file_question *q)
{
	const struct preflight *p = rs->preflight;
	size_t lo = 0, hi = p->n_uses;

	while (lo < hi) { /* the first of that file */
		size_t mid = lo + (hi - lo) / 2;

		if (compare_files(p->uses[mid].reg->snapmgr_identity, id) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	q->only_appends = q->only_writes = true;
	for (; lo < p->n_uses && compare_files(p->uses[lo].reg->snapmgr_identity, id) == 0; lo++) {
		const struct file_use *u = &p->uses[lo];

		q->only_appends = q->only_appends && !u->mapped && (u->reg->flags & O_APPEND);
		q->only_writes = q->only_writes && (u->reg->flags & O_ACCMODE) == O_WRONLY;
		q->mapped_shared = q->mapped_shared || u->mapped_shared;
	}
}

/* ---- the judgement ---- */

static bool is_same_boot(const struct restore *rs)
{
	char now[PROC_BOOT_ID_BYTES];

	return rs->inventory->snapmgr_boot_id && proc_boot_id(now) == 0 &&
	       strcmp(now, rs->inventory->snapmgr_boot_id) == 0;
}

static int ask(struct restore *rs, const RegFileEntry *reg, int fd, struct file_question *q)
{
	const SnapmgrIdentity *id = reg->snapmgr_identity;
	struct stat st;
	int r = sys_fstat(fd, &st);

	if (r < 0)
		return fail(rs->failure, r, "cannot look at '%s'", reg->name);
	*q = (struct file_question){
		.same = identity_is(id, fd, is_same_boot(rs)),
		.then = { id->size, file_time_nsec(id->mtime_sec, id->mtime_nsec),
			  file_time_nsec(id->ctime_sec, id->ctime_nsec) },
		.now = { (uint64_t)st.st_size,
			 file_time_nsec(st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec),
			 file_time_nsec(st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec) },
		.tree_ended =
			rs->inventory->has_snapmgr_tree_ended && rs->inventory->snapmgr_tree_ended,
		.frozen_nsec = (int64_t)rs->inventory->snapmgr_frozen_realtime_nsec,
	};
	ask_uses(rs, id, q);
	return 0;
}

static int note_changed(struct restore *rs, const RegFileEntry *reg, const struct file_question *q,
			enum file_verdict v)
{
	if (v == FILE_RESIZED)
		return preflight_add(rs, OBSTACLE_FILE, reg->name,
				     "'%s' has %" PRIu64 " bytes, at the dump %" PRIu64, reg->name,
				     q->now.size, q->then.size);
	return preflight_add(rs, OBSTACLE_FILE, reg->name, "'%s' %s", reg->name,
			     file_verdict_text(v));
}

/* A set that CRIU has made, or we before this was noted. What was only read is no worse than it was for CRIU. */
static int judge_unknown(struct restore *rs, const RegFileEntry *reg)
{
	if ((reg->flags & O_ACCMODE) == O_RDONLY || (reg->flags & O_APPEND) || !reg->has_mode ||
	    !S_ISREG(reg->mode))
		return 0;
	return preflight_add(
		rs, OBSTACLE_FILE, reg->name,
		"'%s' was open for writing, and the set does not say whether it was written since the dump",
		reg->name);
}

int file_judge_as_dumped(struct restore *rs, const RegFileEntry *reg, int fd)
{
	struct file_question q;
	enum file_verdict v;
	int r;

	if (file_is_kept(rs, reg->name))
		return 0;
	if (!reg->snapmgr_identity)
		return judge_unknown(rs, reg);
	if (!S_ISREG(reg->snapmgr_identity->mode))
		return 0;
	r = ask(rs, reg, fd, &q);
	if (r < 0)
		return r;
	v = file_judge(&q);
	if (v == FILE_TOUCHED || v == FILE_GROWN) {
		r = file_hash_compare(rs, reg->snapmgr_identity, fd, &q.contents);
		if (r < 0)
			return r;
		v = file_judge(&q);
	}
	if (!file_verdict_is_good(v))
		return note_changed(rs, reg, &q, v);
	if (v != FILE_AS_IT_WAS)
		restore_note(rs, "'%s' %s", reg->name, file_verdict_text(v));
	return 0;
}
