/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The filter: the architecture; calls that are allowed whatever their arguments; calls of which one argument is looked at; all else
 * fails. A call that fails is better than a process that is killed: the C library tries new calls and falls back.
 */
#include "basic/confine-filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <termios.h>

#include "basic/sys.h"

enum { FILTER_MAX = 256 };

static const int always[] = {
	/* files that are open or in an open directory */
	SYS_read,
	SYS_write,
	SYS_pread64,
	SYS_pwrite64,
	SYS_readv,
	SYS_writev,
	SYS_preadv,
	SYS_pwritev,
	SYS_lseek,
	SYS_close,
	SYS_fstat,
	SYS_newfstatat,
	SYS_statx,
	SYS_fstatfs,
	SYS_openat,
	SYS_readlinkat,
	SYS_getdents64,
	SYS_faccessat,
	SYS_faccessat2,
	SYS_dup,
	SYS_dup2,
	SYS_dup3,
	SYS_linkat,
	SYS_symlinkat,
	SYS_unlinkat,
	SYS_renameat,
	SYS_renameat2,
	SYS_mkdirat,
	SYS_ftruncate,
	SYS_fallocate,
	SYS_copy_file_range,
	SYS_fadvise64,
	SYS_fsync,
	SYS_fdatasync,
	SYS_sync_file_range,
	SYS_fchmod,
	SYS_umask,
	SYS_getcwd,
	/* the connection to who asked */
	SYS_sendmsg,
	SYS_recvmsg,
	SYS_sendto,
	SYS_recvfrom,
	SYS_shutdown,
	SYS_getsockopt,
	SYS_poll,
	SYS_ppoll,
	/* memory of ours */
	SYS_munmap,
	SYS_mremap,
	SYS_madvise,
	SYS_brk,
	/* ourselves */
	SYS_exit,
	SYS_exit_group,
	SYS_rt_sigreturn,
	SYS_rt_sigaction,
	SYS_rt_sigprocmask,
	SYS_sigaltstack,
	SYS_restart_syscall,
	SYS_futex,
	SYS_sched_yield,
	SYS_getrandom,
	SYS_getpid,
	SYS_gettid,
	SYS_getuid,
	SYS_geteuid,
	SYS_getgid,
	SYS_getegid,
	SYS_clock_gettime,
	SYS_gettimeofday,
	SYS_time,
	SYS_clock_nanosleep,
	SYS_nanosleep,
	SYS_getrusage,
	SYS_uname,
	SYS_sysinfo,
	SYS_sched_getaffinity,
};

/* A call with one argument that has to be one of these (or, masked, 0). */
struct looked_at {
	int nr;
	unsigned argument;
	uint32_t mask; /* 0: the values are compared */
	uint32_t values[8];
	unsigned n_values;
};

static const struct looked_at looked_at[] = {
	{ .nr = SYS_mmap, .argument = 2, .mask = PROT_EXEC },
	{ .nr = SYS_mprotect, .argument = 2, .mask = PROT_EXEC },
	{ .nr = SYS_ioctl,
	  .argument = 1,
	  .values = { FICLONE, FICLONERANGE, TCGETS },
	  .n_values = 3 },
	{ .nr = SYS_fcntl,
	  .argument = 1,
	  .values = { F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC },
	  .n_values = 6 },
};

struct filter {
	struct sock_filter code[FILTER_MAX];
	unsigned short n;
};

static void put(struct filter *f, uint16_t code, uint8_t yes, uint8_t no, uint32_t k)
{
	if (f->n < FILTER_MAX)
		f->code[f->n++] = (struct sock_filter)BPF_JUMP(code, k, yes, no);
}

static void put_load(struct filter *f, size_t offset)
{
	put(f, BPF_LD | BPF_W | BPF_ABS, 0, 0, (uint32_t)offset);
}

static void put_return(struct filter *f, uint32_t action)
{
	put(f, BPF_RET | BPF_K, 0, 0, action);
}

/* The low half of an argument: all of ours are ints. */
static void put_argument(struct filter *f, unsigned i)
{
	put_load(f, offsetof(struct seccomp_data, args) + i * sizeof(uint64_t));
}

/* With the number of the call loaded; behind a call that is another one it still is. */
static void put_looked_at(struct filter *f, const struct looked_at *l)
{
	unsigned n = l->mask ? 1 : l->n_values;

	put(f, BPF_JMP | BPF_JEQ | BPF_K, 0, (uint8_t)(n * 2 + 2), (uint32_t)l->nr);
	put_argument(f, l->argument);
	for (unsigned i = 0; i < n; i++) {
		if (l->mask)
			put(f, BPF_JMP | BPF_JSET | BPF_K, 1, 0, l->mask);
		else
			put(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, l->values[i]);
		put_return(f, SECCOMP_RET_ALLOW);
	}
	put_return(f, SECCOMP_RET_ERRNO | EPERM);
}

/* A signal to ourselves: abort() and raise(), and the kills of fault injection. */
static void put_signal_to_self(struct filter *f, uint32_t nr)
{
	put(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, nr);
	put_argument(f, 0);
	put(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)getpid());
	put_return(f, SECCOMP_RET_ALLOW);
	put_return(f, SECCOMP_RET_ERRNO | EPERM);
}

static void filter_make(struct filter *f)
{
	put_load(f, offsetof(struct seccomp_data, arch));
	put(f, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
	put_return(f, SECCOMP_RET_KILL_PROCESS);
	put_load(f, offsetof(struct seccomp_data, nr));
	for (size_t i = 0; i < ARRAY_SIZE(always); i++) {
		put(f, BPF_JMP | BPF_JEQ | BPF_K, 0, 1, (uint32_t)always[i]);
		put_return(f, SECCOMP_RET_ALLOW);
	}
	for (size_t i = 0; i < ARRAY_SIZE(looked_at); i++)
		put_looked_at(f, &looked_at[i]);
	put_signal_to_self(f, SYS_tgkill);
	put_signal_to_self(f, SYS_kill);
	put_return(f, SECCOMP_RET_ERRNO | EPERM);
}

int confine_filter_install(void)
{
	struct filter f = {};
	struct sock_fprog program = { .filter = f.code };

#if defined __SANITIZE_ADDRESS__
	return -EOPNOTSUPP; /* its check for leaks traces us */
#endif
	filter_make(&f);
	if (f.n == FILTER_MAX)
		return -E2BIG;
	program.len = f.n;
	return SYS_CALL(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program));
}
