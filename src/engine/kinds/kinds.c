/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/ipc-sysv.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/task-locks.h"

/*
 * In order of matching: the particular before the general. Finished in this order too: unix sockets first, as their queues
 * bring descriptors of other kinds.
 */
const struct fd_kind *const fd_kinds[] = {
	&fd_kind_unix,
	&fd_kind_eventfd,
	&fd_kind_signalfd,
	&fd_kind_timerfd,
	&fd_kind_epoll,
	&fd_kind_pidfd,
	&fd_kind_memfd,
	&fd_kind_tty,
	&fd_kind_inet,
	&fd_kind_netlink,
	&fd_kind_packet,
	&fd_kind_pipe,
	&fd_kind_fifo,
	&fd_kind_file,
	&fd_kind_sysv,
	&fd_kind_locks,
	/* Last, so that nothing the others do at the end of a restore is reported. */
	&fd_kind_inotify,
	&fd_kind_fanotify,
};

const size_t n_fd_kinds = ARRAY_SIZE(fd_kinds);
