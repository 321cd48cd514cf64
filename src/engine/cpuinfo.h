/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * cpuinfo - what the processor offers to programs, written down and compared (cpuinfo.img)
 *
 * Errors     0 or -errno, with fail() called.
 */

#include <stdint.h>

#include "basic/failure.h"

/* Writes cpuinfo.img for this machine. */
int cpuinfo_dump(int images_dir_fd, struct failure *f) _must_check_;

/*
 * cpuinfo_check() - can programs dumped on the processor of cpuinfo.img go on here?
 * @caps:	CPU_CAP_*: FPU the same register state, INS every instruction, CPU the same processor
 *
 * Return: 0, -EOPNOTSUPP no (naming what is missing), -ENOENT no image, -EBADMSG it is damaged.
 */
int cpuinfo_check(int images_dir_fd, uint32_t caps, struct failure *f) _must_check_;
