/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/control/ptrace.h"

#include "basic/sys.h"

bool ptrace_rseq(pid_t tid, struct rseq_configuration *ret)
{
	*ret = (struct rseq_configuration){};
	return sys_ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, PTR(sizeof(*ret)), ret) >= 0 && ret->pointer;
}

bool ptrace_dispatches_calls(pid_t tid)
{
	struct {
		uint64_t mode, selector, offset, size;
	} conf = {};

	return sys_ptrace(PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, tid, PTR(sizeof(conf)), &conf) >= 0 && conf.mode;
}

bool ptrace_note_death(pid_t *tid)
{
	int status, r = *tid > 0 ? SYS_CALL(waitpid(*tid, &status, __WALL | WNOHANG)) : -ECHILD;

	if (r < 0 || (r > 0 && (WIFEXITED(status) || WIFSIGNALED(status))))
		*tid = 0;
	return *tid > 0;
}
