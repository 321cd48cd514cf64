/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * tree - the live process tree under a dump: tasks, threads, and the power to stop and release them
 *
 * tree_freeze() seizes every thread of every task below the root and holds them in a ptrace stop until tree_thaw() or
 * tree_kill(). Should we die, the kernel detaches and all run on. Pids named v* are those of the innermost pid namespace
 * of the root task, which go into images; the others are as we see them.
 *
 * Ownership  The tree owns tasks, their descriptors and memory. Task and thread pointers stay valid until tree_done().
 */

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/user.h>

#include "basic/arena.h"
#include "basic/failure.h"
#include "basic/log.h"
#include "basic/procfs.h"
#include "engine/waits.h"

/* The name of a process that reaps the shadows of a killed engine (memory/take-cow.c): whoever freezes the tree waits for it. */
#define REAPER_NAME "snapmgr-reaper"

struct page_plan;
struct page_seen;
struct vma;

struct thread {
	pid_t tid, vtid;
	bool has_state;		      /* regs and sigmask are read */
	bool settled;		      /* the call that it was stopped in is put back, or over (waits.h) */
	uint32_t trace_options;	      /* PTRACE_O_* */
	bool away;		      /* left in the stub, which takes it home when it is let go */
	struct user_regs_struct stopped; /* as the kernel had them when it stopped */
	struct user_regs_struct regs; /* as the thread continues if left running */
	struct wait wait; /* the call that it is in, if that has to be known beyond the registers; nr 0: none */
	uint64_t sigmask;
	uint32_t cg_set; /* cgroup.h; filled by the dump */
};

enum task_state {
	TASK_ALIVE = 1, /* the numbers of the image format */
	TASK_DEAD = 2,
	TASK_STOPPED = 3,
};

struct task {
	struct task *parent; /* NULL: root */
	pid_t pid, vpid, vppid, vpgid, vsid;
	enum task_state state;
	int stop_signal; /* of a stopped task */
	bool stop_collected; /* ...its parent has waited for the stop; kinds/task-stops.c */
	int exit_code;	 /* of a zombie, as a wait status */
	struct thread *threads; /* leader first */
	size_t n_threads;
	int proc_fd; /* /proc/PID, O_DIRECTORY */
	int pidfd;
	int mem_fd; /* /proc/PID/mem, read-write */
	struct proc_stat stat;
	struct proc_status status; /* of the leader */

	/* Filled by the steps of a dump. */
	uint32_t vm_id, files_id, fs_id, sighand_id;
	uint64_t brk;
	int dumpable;
	int thp_disabled;  /* as PR_GET_THP_DISABLE has it: 0, or 1 with flags */
	uint32_t lock_future; /* MCL_FUTURE and MCL_ONFAULT of mlockall(2) */
	uint32_t pkeys;	   /* bit n: protection key n is allocated */
	uint32_t mdwe;	   /* PR_GET_MDWE */
	bool merges_pages; /* PR_GET_MEMORY_MERGE */
	uint32_t coredump_filter;
	struct vma *vmas;
	size_t n_vmas;
	bool unshared;		/* none of its private pages is another process's too; false: unknown */
	struct page_plan *plan; /* of its private memory; memory/page-plan.h */
	struct page_seen *seen; /* what that will be made of, while the task runs */
	void *ahead;		/* what copy_ahead() took */
	size_t ahead_bytes;
	pid_t shadow;		/* memory/take-cow.c; 0: none */
	int shadow_mem_fd;
	pid_t dead_shadow;	/* of this dump, or of one that died: the task has to reap it; as the task sees it. 0: none */
	uint64_t shadow_stub; /* page that the shadow has with the stub in it */

	/* The stub while it is installed. */
	uint64_t stub;
	void *stub_saved;
	size_t stub_saved_size;
};

struct vigil;

struct tree {
	struct arena arena;
	struct failure *failure;
	const struct log *log;
	struct task **tasks; /* parents before children; the root is tasks[0] */
	size_t n_tasks;
	size_t ns_level; /* index of the innermost pid namespace in proc_status.ns_pid */
	uint64_t freezing_usec;
	struct vigil *vigil; /* of a tree with confined threads, until it goes on; NULL: there was none yet */
	bool no_vigil;	     /* there can be none */
	struct waits waits_before, waits; /* calls with a time limit that the threads were in: at earlier stops, and at this one */
};

/*
 * tree_freeze() - find and stop the tree below @root
 * @timeout_sec:	0: none. -ETIMEDOUT past it, with everything released.
 */
int tree_freeze(struct tree *t, pid_t root, unsigned timeout_sec) _must_check_;

/*
 * tree_peek() - the processes of a tree that runs, as far as they can be seen in one pass
 * @fn:		called for each; a return other than 0 ends the walk
 *
 * Return: 0, or what @fn returned. A process that ends meanwhile is no failure.
 */
int tree_peek(pid_t root, int (*fn)(void *userdata, pid_t pid), void *userdata) _must_check_;

/* Who takes confined threads home when we die (control/vigil.h), started when first needed. NULL, said in the log: there can be none. */
struct vigil *tree_vigil(struct tree *t);

/* Releases every thread where it was stopped. Never fails: what is gone is gone. */
void tree_thaw(struct tree *t);
/* Stops every task by SIGSTOP, then releases it. */
void tree_thaw_stopped(struct tree *t);
/* Ends every task and waits until it is dead. */
void tree_kill(struct tree *t);
void tree_done(struct tree *t);

/* A call was put back by a stop (waits.h) and its time is over: stops the thread for a moment and ends the call, if it is still in it. */
void tree_end_wait(const struct wait *w);

/* Is a page of a frozen task in memory? Then reading it asks no file system. Return: 1, 0 or -errno. */
int task_has_page(const struct task *task, uint64_t at) _must_check_;

struct task *tree_find(const struct tree *t, pid_t vpid);
struct thread *task_find_thread(const struct task *task, pid_t vtid);
static inline struct thread *task_leader(struct task *task)
{
	return &task->threads[0];
}
