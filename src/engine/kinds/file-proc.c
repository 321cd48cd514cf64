/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/file-proc.h"

#include <linux/magic.h>
#include <linux/sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>

#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/far.h"
#include "engine/guard.h"

pid_t file_proc_process(const char *path)
{
	static const char proc[] = "/proc/";
	const char *p = path + sizeof(proc) - 1;
	uint64_t pid;

	if (strncmp(path, proc, sizeof(proc) - 1) != 0 || parse_u64_prefix(&p, 10, &pid) < 0 ||
	    (*p != '/' && *p != '\0') || pid > INT32_MAX)
		return 0;
	return (pid_t)pid;
}

/* ---- of which program? ---- */

enum {
	PAGE = 4096,
	AUXV_BYTES = 1024,
};

/* An address that no program has: reading or writing there tells whether there is a program, and touches none of its pages. */
#define NO_ADDRESS (INT64_C(1) << 47)
#define PAGE_IS_PRESENT (UINT64_C(1) << 63) /* Documentation/admin-guide/mm/pagemap.rst */

/* Each: does the open file @fd show the program that the process runs? A positive number, 0, or -errno for "it cannot be told". */
typedef int shows_fn(int fd, const struct task *task, uint32_t flags);

/* 0 bytes: the program is gone. An error: it has nothing at that address. */
static int mem_shows(int fd, const struct task *task _unused_, uint32_t flags)
{
	char byte = 0;
	ssize_t n = (flags & O_ACCMODE) == O_WRONLY ? SYS_CALL(pwrite(fd, &byte, 1, NO_ADDRESS))
						    : SYS_CALL(pread(fd, &byte, 1, NO_ADDRESS));

	return n != 0;
}

/* Made by the kernel from the program's mappings: empty when it is gone. */
static int list_shows(int fd, const struct task *task _unused_, uint32_t flags _unused_)
{
	char bytes[sizeof(uint64_t)]; /* pagemap has them in words */

	return SYS_CALL(pread(fd, bytes, sizeof(bytes), 0)) > 0;
}

/* Kept when the program is gone, but no two programs have the same: addresses are in it, and where its random bytes are. */
static int auxv_shows(int fd, const struct task *task, uint32_t flags _unused_)
{
	_cleanup_close_ int now = sys_openat(task->proc_fd, "auxv", O_RDONLY, 0);
	char is[AUXV_BYTES], was[AUXV_BYTES];
	ssize_t n, m;

	if (now < 0)
		return now;
	n = SYS_CALL(pread(now, is, sizeof(is), 0));
	m = SYS_CALL(pread(fd, was, sizeof(was), 0));
	return n > 0 && n == m && memcmp(is, was, n) == 0;
}

/*
 * Read from the program's memory, and empty when it is gone. Not where the page is not present: who brings it may be the
 * frozen tree.
 */
static int environ_shows(int fd, const struct task *task, uint32_t flags _unused_)
{
	_cleanup_close_ int pagemap = sys_openat(task->proc_fd, "pagemap", O_RDONLY, 0);
	struct proc_stat stat;
	uint64_t page = 0;
	off_t at;
	char byte;
	int r;

	if (pagemap < 0)
		return pagemap;
	r = proc_stat_read(task->proc_fd, &stat);
	if (r < 0)
		return r;
	at = (off_t)(stat.env_start / PAGE * sizeof(page));
	if (SYS_CALL(pread(pagemap, &page, sizeof(page), at)) != sizeof(page) || !(page & PAGE_IS_PRESENT))
		return -ENODATA;
	return SYS_CALL(pread(fd, &byte, 1, 0)) > 0;
}

static const struct program_file {
	const char *name;
	shows_fn *shows;
} program_files[] = {
	{ "mem", mem_shows },
	{ "environ", environ_shows },
	{ "auxv", auxv_shows },
	{ "maps", list_shows },
	{ "smaps", list_shows },
	{ "smaps_rollup", list_shows },
	{ "numa_maps", list_shows },
	{ "pagemap", list_shows },
};

/* NULL: not a file that belongs to a program. */
static const struct program_file *find_program_file(const char *path)
{
	const char *name = strrchr(path, '/');

	for (size_t i = 0; name && file_proc_process(path) && i < ARRAY_SIZE(program_files); i++) {
		if (strcmp(name + 1, program_files[i].name) == 0)
			return &program_files[i];
	}
	return NULL;
}

/* ---- dump ---- */

bool file_proc_is_of_the_dead(struct dump *d, const struct fd_view *view, const char *path)
{
	pid_t pid = view->fs_magic == PROC_SUPER_MAGIC ? file_proc_process(path) : 0;
	struct stat now;

	if (!pid || tree_find(&d->tree, pid))
		return false;
	return far_stat(d, path, &now, AT_SYMLINK_NOFOLLOW) < 0 || now.st_dev != view->st.st_dev ||
	       now.st_ino != view->st.st_ino;
}

/* A path of procfs that is mounted in another place does not tell of which process it is. */
static bool names_a_process_elsewhere(const char *path)
{
	if (strncmp(path, "/proc/", strlen("/proc/")) == 0)
		return false;
	for (const char *p = strchr(path, '/'); p; p = strchr(p, '/')) {
		size_t n = strspn(++p, "0123456789");

		if (n > 0 && (p[n] == '/' || p[n] == '\0'))
			return true;
	}
	return false;
}

int file_proc_look(struct dump *d, const struct fd_view *view, RegFileEntry *reg)
{
	const struct program_file *file = find_program_file(reg->name);
	const struct task *task = tree_find(&d->tree, file_proc_process(reg->name));
	int r;

	if (names_a_process_elsewhere(reg->name))
		return fail(d->failure, -EOPNOTSUPP,
			    "'%s' is a file of a process in a /proc that is mounted elsewhere: it cannot be opened again; let "
			    "the program open it below /proc", reg->name);
	if (!task || (view->flags & O_PATH))
		return 0;
	r = file ? file->shows(view->fd, task, view->flags) : 1;
	if (r < 0)
		return fail(d->failure, r, "it cannot be told of which program '%s' is", reg->name);
	if (r == 0)
		return fail(d->failure, -EOPNOTSUPP,
			    "'%s' is of the program that process %d ran before it executed the present one: no restore can open "
			    "it; let the program close it", reg->name, file_proc_process(reg->name));
	reg->has_snapmgr_of_program = true;
	reg->snapmgr_of_program = true;
	return 0;
}

/* ---- restore ---- */

/*
 * Somebody with the pid of a process that was gone, so that its files in /proc can be opened. When it ends, they are again
 * what they were.
 */
struct proc_stand_in {
	pid_t pid;
	struct proc_stand_in *next;
};

static _noreturn_ void stand_in(struct restore *rs, pid_t restorer)
{
	guard_leave(rs->guard);
	if (SYS_CALL(prctl(PR_SET_PDEATHSIG, SIGKILL)) < 0 || getppid() != restorer)
		_exit(1);
	(void)sys_close_range(0, ~0u, 0);
	while (true)
		(void)pause();
}

static int need_stand_in(struct restore *rs, pid_t pid)
{
	struct clone_args args = { .set_tid = (uintptr_t)&pid, .set_tid_size = 1 };
	pid_t restorer = getpid();
	struct proc_stand_in *s;
	int r;

	for (s = rs->stand_ins; s; s = s->next) {
		if (s->pid == pid)
			return 0;
	}
	s = arena_new(&rs->arena, struct proc_stand_in);
	if (!s)
		return fail(rs->failure, -ENOMEM, "no memory for a process");
	r = SYS_CALL(syscall(SYS_clone3, &args, sizeof(args)));
	if (r == 0)
		stand_in(rs, restorer);
	if (r < 0)
		return fail(rs->failure, r, "cannot make process %d, of which a file is open, for a moment", pid);
	guard_note(rs->guard, r);
	*s = (struct proc_stand_in){ pid, rs->stand_ins };
	rs->stand_ins = s;
	return 0;
}

/* As we see the process, which may have another pid in the namespace of the tree. */
static int path_from_here(struct restore *rs, const RegFileEntry *reg, struct restore_path *p)
{
	const char *rest = strchr(reg->name + strlen("/proc/"), '/');

	p->path = arena_printf(&rs->arena, "/proc/%d%s", p->process->pid, rest ? rest : "");
	return p->path ? 0 : fail(rs->failure, -ENOMEM, "no memory for a path");
}

int file_proc_prepare(struct restore *rs, const RegFileEntry *reg, bool dead, struct restore_path *p)
{
	pid_t pid = file_proc_process(reg->name);

	p->process = pid ? restore_find_task(rs, pid) : NULL;
	p->vouched = rs->trusts_images && reg->snapmgr_of_program;
	p->stand_in = dead;
	if (dead && rs->pidns.keeper > 0)
		return fail(rs->failure, -EOPNOTSUPP,
			    "a file of process %d, which is gone, cannot be opened in another PID namespace", pid);
	if (dead)
		return need_stand_in(rs, pid);
	return p->process && p->process->pid != pid ? path_from_here(rs, reg, p) : 0;
}

void file_proc_restore_done(struct restore *rs)
{
	for (struct proc_stand_in *s = rs->stand_ins; s; s = s->next) {
		int status;

		(void)sys_kill(s->pid, SIGKILL);
		(void)SYS_CALL(waitpid(s->pid, &status, __WALL));
	}
	rs->stand_ins = NULL;
}

bool file_proc_must_wait(const struct restore *rs, const RegFileEntry *reg, bool dead)
{
	pid_t pid = file_proc_process(reg->name);

	/* Not before all pids of the tree are given out. */
	if (dead)
		return files_phase(rs) == FILES_ALONE;
	if (!pid || !restore_find_task(rs, pid))
		return false;
	if (files_phase(rs) == FILES_ALONE)
		return true;
	return files_phase(rs) == FILES_WITH_TASKS &&
	       (strstr(reg->name, "/fd/") || strstr(reg->name, "/fdinfo/"));
}
