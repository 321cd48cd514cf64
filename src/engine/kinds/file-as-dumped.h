/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * file-as-dumped - what becomes of files that are not what they were at the dump
 *
 * Two rules. The engine's own: the type must be the same, and a file may have grown if the tree had it open for writing. The
 * strict one, in a preflight with options->files_as_dumped: file-judge.h, for every regular file that the tree has open or
 * mapped. Before both stand options->file_rules, of which the first that matches a path counts.
 *
 * Errors     0 or -errno, with fail() called.
 */

#include "engine/file-judge.h"
#include "engine/restore.h"

#include "regfile.pb-c.h"

/* Is the file of this path restored as it is now, whatever has become of it ("keep:GLOB")? */
bool file_is_kept(const struct restore *rs, const char *path);

/* Notes how the tree uses each of its files. Before the first file_judge_as_dumped(). */
int file_uses_collect(struct restore *rs) _must_check_;

/*
 * file_judge_as_dumped() - adds an obstacle if the file behind @fd is not what record @reg is about
 * @fd:	O_PATH will do
 */
int file_judge_as_dumped(struct restore *rs, const RegFileEntry *reg, int fd) _must_check_;
