/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* confine-filter - the seccomp filter of basic/confine.h: what is not in its list fails with EPERM. For confine.c only. */

#include "basic/cleanup.h"

/* Needs no_new_privs. Return: 0, or -errno: this kernel has none. A build with sanitizers gets none: -EOPNOTSUPP. */
int confine_filter_install(void) _must_check_;
