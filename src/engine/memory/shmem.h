/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * shmem - memory shared between mappings and tasks: anonymous shared mappings, contents of memfds and SysV segments
 *
 * An object is known by its id (the inode of the shmem file; for SysV the segment's id). Its contents are in
 * pagemap-shmem-ID; holes are not stored.
 */

#include "engine/dump.h"
#include "engine/memory/vma.h"
#include "engine/restore.h"

/* An anonymous shared or SysV mapping of a frozen task: notes the object; fills vma->shmid. */
int shmem_dump_mapping(struct dump *d, struct task *task, struct vma *v) _must_check_;
/* Contents of a shmem file of ours (a memfd, an attached segment), once per @shmid. */
int shmem_dump_object(struct dump *d, int fd, uint64_t shmid, uint64_t size_bytes) _must_check_;

/*
 * A pre-dump stores shared memory while the tree runs: what changes meanwhile differs from it when the next set compares.
 * shmem_look() notes the objects of a frozen task, shmem_store() stores all that were noted.
 */
int shmem_look(struct dump *d, const struct task *task) _must_check_;
int shmem_store(struct dump *d) _must_check_;
void shmem_dump_done(struct dump *d);

/* The object of an anonymous shared or SysV mapping, made and filled when first asked for. Ours; or -errno. */
int shmem_open(struct restore *rs, const VmaEntry *v);
/* The same by its id. -ENOENT, without fail(), when nothing maps an object of that id. */
int shmem_open_id(struct restore *rs, uint64_t shmid);
/* Fills a fresh file of the right size from pagemap-shmem-@shmid. A missing image means all zero. */
int shmem_fill(struct restore *rs, uint64_t shmid, int fd) _must_check_;
/* Sums up sizes: the largest end of any mapping of each object. Before the first shmem_open(). */
int shmem_restore_prepare(struct restore *rs) _must_check_;
void shmem_restore_done(struct shmem_restore *s);
