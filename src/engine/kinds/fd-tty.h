/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * fd-tty - terminals, and the sessions they control
 */
#include "engine/kinds/kind.h"

enum { TTY_N_CC = 19 }; /* control characters in the kernel's struct termios */

/* Ids of sides of terminals: twice its number, plus one for the master of a pty. */
static inline bool tty_is_master(uint32_t info_id)
{
	return info_id & 1;
}

/*
 * tty_make_controlling() - give a session its terminal, if it had one
 * @leader:	has called setsid(2), has no children in that session yet, and can be sent descriptors
 *
 * Children inherit a controlling terminal when they are cloned, and only then.
 */
int tty_make_controlling(struct restore *rs, struct rtask *leader) _must_check_;

/* The hooks of the restore side. */
int tty_check(struct restore *rs, struct file *file);
int tty_preflight(struct restore *rs, struct file *file);
int tty_open_file(struct restore *rs, struct file *file);
int tty_link(struct restore *rs, struct file *file);
int tty_restore_finish(struct restore *rs);
