/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/kind.h"

/* In order of matching: the particular before the general. */
const struct fd_kind *const fd_kinds[] = {
	&fd_kind_eventfd,
	&fd_kind_signalfd,
	&fd_kind_timerfd,
	&fd_kind_epoll,
	&fd_kind_inotify,
	&fd_kind_pidfd,
	&fd_kind_unix,
	&fd_kind_inet,
	&fd_kind_netlink,
	&fd_kind_pipe,
	&fd_kind_fifo,
	&fd_kind_file,
};

const size_t n_fd_kinds = ARRAY_SIZE(fd_kinds);
