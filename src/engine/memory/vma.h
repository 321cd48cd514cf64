/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * vma - the mappings of a task: read from a frozen one, made again in a new one
 *
 * A struct vma is one record of the mm image. Classification is by what /proc says; a mapping that nothing here
 * can save (device memory, io_uring rings) is refused by name.
 */

#include "engine/dump.h"
#include "engine/restore.h"

/* vma_entry.status of the image format */
enum vma_status {
	VMA_REGULAR = 0x1,
	VMA_VSYSCALL = 0x4,
	VMA_VDSO = 0x8,
	VMA_HEAP = 0x20,
	VMA_FILE_PRIVATE = 0x40,
	VMA_FILE_SHARED = 0x80,
	VMA_ANON_SHARED = 0x100,
	VMA_ANON_PRIVATE = 0x200,
	VMA_SYSVIPC = 0x400,
	VMA_SOCKET = 0x800,
	VMA_VVAR = 0x1000,
	VMA_AIORING = 0x2000,
	VMA_MEMFD = 0x4000,
	VMA_SHSTK = 0x8000,
	VMA_GUARD = 0x10000,
	VMA_UPROBES = 0x20000,
};

struct numa_policy;

struct vma {
	uint64_t start, end, pgoff; /* bytes */
	uint64_t shmid;		    /* file id or shared memory id, by status */
	uint32_t prot, flags;	    /* PROT_*, MAP_* */
	uint32_t status;	    /* enum vma_status */
	uint32_t fdflags;	    /* O_RDONLY or O_RDWR of a mapped file */
	uint64_t madv;		    /* bit n: advice n */
	uint64_t dev;		    /* of what is mapped; 0: nothing */
	bool far;		    /* its file is not to be touched by us: far.h */
	bool watched;		    /* registered with a userfaultfd, whosever */
	bool missing;		    /* registered for missing pages with somebody's userfaultfd */
	bool shared_clean, shared_dirty; /* some of its pages are mapped elsewhere too; of smaps only */
	bool sealed;		    /* mseal(2) */
	bool knows_may;		    /* VmFlags were read, so this is known: */
	uint32_t may;		    /* PROT_* that mprotect(2) would allow */
	uint8_t pkey;		    /* protection key */
	const struct numa_policy *policy; /* kinds/task-numa.h; NULL: none */
	bool lock_on_fault;	    /* MLOCK_ONFAULT */
	bool free_of_guards;	    /* a shared mapping that had no guard page a moment before the freeze */
	bool armed;		    /* for the next set already, by the walk that looked at it */
	bool tracked;		    /* pages not written are the parent set's; tracker_certify() */
	const char *untracked;	    /* why they are not; static */
};

/* Looks at the mappings of a large process that still runs, so that vma_collect() need not do so in the freeze. */
int vma_preview(struct dump *d, pid_t pid) _must_check_;
/* Reads the mappings of a frozen task into task->vmas. */
int vma_collect(struct dump *d, struct task *task) _must_check_;
/* The same without flags and advice: enough to find private memory. */
int vma_collect_plain(struct dump *d, struct task *task) _must_check_;
/* Decides, of all tasks together, how anonymous shared memory is stored. */
int vma_settle_shared(struct dump *d) _must_check_;
/* Registers mapped files and shared objects with the dump; fills shmid and fdflags. */
int vma_resolve(struct dump *d, struct task *task) _must_check_;

/* Is it a shared mapping that guard pages can be in? In private ones they are found with the pages. */
static inline bool vma_is_shared_memory(uint32_t status)
{
	return (status & (VMA_ANON_SHARED | VMA_FILE_SHARED | VMA_SYSVIPC)) && !(status & (VMA_SOCKET | VMA_GUARD));
}

/* Are pages of this mapping the task's own, to be stored in its pagemap? */
static inline bool vma_is_private(uint32_t status)
{
	return (status & (VMA_ANON_PRIVATE | VMA_FILE_PRIVATE | VMA_AIORING)) &&
	       !(status & (VMA_VVAR | VMA_VSYSCALL | VMA_GUARD));
}

/*
 * May this mapping be made writable, as at the dump? A shared mapping of something that is open for reading only may not.
 * Where the images do not say it (CRIU's): as its file was open, else by its protection.
 */
bool vma_may_write(const VmaEntry *v);
/* Checks the records of an mm image: sorted, disjoint, page aligned, in the address space. */
int vma_check(struct restore *rs, const struct rtask *task) _must_check_;
/* Makes all mappings in an empty task. What is not writable becomes so while its pages are read, until vma_protect(). */
int vma_map(struct restore *rs, struct rtask *task) _must_check_;
/* One of them before the others. Its calls are still to be run. */
int vma_map_one(struct restore *rs, struct rtask *task, const VmaEntry *v) _must_check_;
/* Final protection, advice and guards. */
int vma_protect(struct restore *rs, struct rtask *task) _must_check_;
