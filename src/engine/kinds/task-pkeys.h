/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * task-pkeys - memory protection keys of a process: pkeys(7)
 *
 * Which keys pkey_alloc(2) gave out is asked of the task; which mapping has which is in smaps (vma.h). What a thread may do with each is
 * a register. A mapping that can only be executed gets a key that the kernel takes by itself, the first that is free then.
 */

#include "engine/restore.h"

#include "mm.pb-c.h"

struct task;

/* Fills the members of @mm and of its mappings, which are those of @task. */
void pkeys_put(const struct task *task, MmEntry *mm);

/* Are the keys of the image possible ones? */
int pkeys_check(struct restore *rs, const MmEntry *mm) _must_check_;
/*
 * Until then such a mapping must not be made: the kernel would take the wrong key. Return: protection of @v that is good for
 * the time before pkeys_restore().
 */
uint32_t pkeys_early_prot(const VmaEntry *v);
/* Allocates the keys of a process and gives them to its mappings, whose contents are there. */
int pkeys_restore(struct restore *rs, struct rtask *task) _must_check_;
