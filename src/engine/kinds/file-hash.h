/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * file-hash - what small files held at the dump (file-hashes.img)
 *
 * When only the ctime of a file has changed (its mode, its owner, a name more or less), or one that is appended to has grown, its
 * contents tell whether it is still what the tree knew. They are read and hashed when the tree runs on already, and count only if the file is then still as it
 * was in the freeze. Not hashed: files of more than 256 KiB, what comes after 4 MiB of all, what was written when the tree was
 * frozen, and files on file systems that somebody else serves.
 *
 * Errors     0 or -errno, with fail() called.
 */

#include "engine/dump.h"
#include "engine/file-judge.h"
#include "engine/restore.h"

#include "identity.pb-c.h"

/* In the freeze: keeps @fd's file open for later, if it is one to be hashed. */
int file_hash_keep(struct dump *d, const SnapmgrIdentity *id, int fd) _must_check_;
/* After the release: hashes, and writes the image. */
int file_hash_write(struct dump *d) _must_check_;
/* Lets go of what is kept, whether it was written or not. */
void file_hash_done(struct dump *d);

/* Does @fd begin with what the file @id held? *@ret stays as it is where that is not known. */
int file_hash_compare(struct restore *rs, const SnapmgrIdentity *id, int fd,
		      enum file_contents *ret) _must_check_;
