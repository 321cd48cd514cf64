/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * identity - which file a name led to at the dump, and whether it still does
 *
 * A name can be made to lead elsewhere by whoever may write to a directory on its way; a file cannot become another file. The
 * identity of a file is its handle (name_to_handle_at(2): an inode number and its generation) on a file system, or,
 * where the file system gives no handle, its inode number with its birth time and owner (statx(2)).
 *
 * A file system is known by its device number as long as the machine is not booted, and by the f_fsid of statfs(2) beyond.
 */

#include <stdbool.h>

#include "basic/arena.h"
#include "engine/control/reach.h"

#include "identity.pb-c.h"

/*
 * identity_take() - the identity of an open file
 * @rc:	who has @fd: control/reach.h; NULL: we
 * @fd:	O_PATH will do. Its file system is asked, and may be waited for.
 * @ret:	lives in @a
 *
 * Return: 0, or -errno.
 */
int identity_take(struct reach *rc, int fd, struct arena *a, SnapmgrIdentity **ret) _must_check_;

/*
 * identity_is() - is @fd the file that @id was taken of?
 * @same_boot:	the machine has not been booted since
 *
 * "No" also where it cannot be told for sure: a file system without handles and birth times, or, after a boot, without an
 * f_fsid.
 */
bool identity_is(const SnapmgrIdentity *id, int fd, bool same_boot);

/*
 * identity_open() - find the file by its handle, whatever its names are by now (open_by_handle_at(2))
 * @path:	where it had a name: some directory on its way is on the same file system
 *
 * Return: an O_PATH descriptor, or -errno: -ESTALE when the file is gone, -ENODATA when the identity has no handle.
 */
int identity_open(const SnapmgrIdentity *id, const char *path, bool same_boot) _must_check_;

/*
 * identity_has_handle() - has the file of @fd this handle?
 *
 * Of its file system: handles of two file systems may be the same.
 */
bool identity_has_handle(int fd, int type, const void *handle, size_t size);
