/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * task-domain - is a thread in a Landlock domain?
 *
 * The kernel shows a domain to nobody, and gives nobody one back. It can be felt: a thread in a domain may not trace a
 * process outside of it, and kcmp(2) asks for that right. So each thread is made to call kcmp() on a peer, a process
 * of ours with the thread's ids, without capabilities and without a domain.
 *
 * Errors     0 or -errno after fail().
 */

#include "engine/dump.h"

/* Before the freeze: forks a peer that waits to be told its ids. Nothing where the kernel has no Landlock. */
int domain_prepare(struct dump *d) _must_check_;
/* Ends the peers. Before the tree runs on: they count as processes of its users. */
void domain_done(struct dump *d);
