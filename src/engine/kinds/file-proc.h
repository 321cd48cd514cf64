/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * file-proc - files of /proc/PID among the open files (proc_pid_mem(5) and its neighbours)
 *
 * Some of them (mem, maps, environ, auxv, pagemap, smaps, numa_maps) belong to the program that the process was running when
 * they were opened, and show nothing any more when it has executed another: else who opened them could look into a set-user-ID
 * program, and change it. A path does not tell the two apart. So the dump looks whether such a file shows the present program,
 * says so in the record, and refuses one that does not.
 *
 * At restore a file of a process of the tree is opened when that process is there; while it still has the engine's power, the
 * rights of the holder are not enough for a look at it. The holder gets the right to look for this moment, if the dump vouches
 * for the file, or the holder and the process are the same user with the same power.
 *
 * The file of a process that was gone is opened as that of a stand-in with its pid, which ends.
 *
 * Errors     0 or -errno, with fail() called.
 */
#include "engine/dump.h"
#include "engine/kinds/kind.h"
#include "engine/restore-open.h"

#include "regfile.pb-c.h"

/* The process that a path of /proc belongs to. 0: none. */
pid_t file_proc_process(const char *path);

/* Dump: is @path that of a process that is gone, and not of the tree? */
bool file_proc_is_of_the_dead(struct dump *d, const struct fd_view *view, const char *path);
/* Dump, of an open file of procfs with reg->name filled in: fills in snapmgr_of_program. */
int file_proc_look(struct dump *d, const struct fd_view *view, RegFileEntry *reg) _must_check_;

/* Restore: has the file to wait for a later phase? @dead: its process was gone. */
bool file_proc_must_wait(const struct restore *rs, const RegFileEntry *reg, bool dead);
/* Before it is opened as @p says: makes a stand-in for the dead, and says in @p whose process it is. */
int file_proc_prepare(struct restore *rs, const RegFileEntry *reg, bool dead, struct restore_path *p) _must_check_;
/* Ends the stand-ins. */
void file_proc_restore_done(struct restore *rs);
