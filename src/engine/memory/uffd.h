/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* uffd - userfaultfd(2) of a process under restore, in our hands */

#include <stdint.h>

#include "engine/control/remote.h"

/*
 * uffd_make() - create one in the process and take it out
 * @pidfd:	of the process; negative: there is none
 * @flags:	beside O_CLOEXEC and O_NONBLOCK
 * @features:	UFFD_FEATURE_*
 * @ret_fd:	the caller's; -EBADF with 0: there is none to be had here
 */
int uffd_make(struct remote *rm, int pidfd, int flags, uint64_t features, int *ret_fd) _must_check_;
