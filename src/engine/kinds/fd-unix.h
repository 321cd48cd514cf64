/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * fd-unix - what the files of the unix sockets share: dump (fd-unix.c), restore (fd-unix-restore.c), names
 * (fd-unix-name.c)
 *
 * Errors     0 or -errno after fail(), unless said otherwise.
 */

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "engine/kinds/kind.h"
#include "engine/restore-as.h"
#include "engine/restore-open.h"

#include "sk-unix.pb-c.h"

/* Longest sun_path. */
enum {
	UNIX_NAME_MAX = sizeof(((struct sockaddr_un *)0)->sun_path),
	UNIX_PATH_MAX = PATH_MAX + UNIX_NAME_MAX + 2, /* of a name below the directory that it was bound in */
};

struct unix_address {
	struct sockaddr_un sun;
	socklen_t size;
	int fd; /* the socket's inode, when the address goes through /proc/self/fd; else -EBADF */
};
void unix_address_done(struct unix_address *a);
/* Makes it lead through a descriptor of the inode, of whoever uses it; a->fd stays. */
void unix_address_through(struct unix_address *a, int fd);

/*
 * unix_name_dump() - name, directory, permissions, deletion
 * @fd:		our copy of the socket
 */
int unix_name_dump(struct dump *d, const struct fd_view *view, UnixSkEntry *e) _must_check_;

enum unix_bind {
	UNIX_BIND_REAL,	  /* the name appears in the file system */
	UNIX_BIND_HIDDEN, /* the socket has the name, the file system is not touched */
};
/*
 * The directory of a name that is a path, as restore-open.h has it; *@path is filled in. The caller frees @ret. Return: 0, or -errno
 * after fail().
 */
int unix_name_open_dir(struct restore *rs, const UnixSkEntry *e, char path[static UNIX_PATH_MAX], struct restore_dir *ret) _must_check_;
/* Gives a socket the name of its record. Without a name it does nothing. */
int unix_name_restore(struct restore *rs, int fd, const UnixSkEntry *e, enum unix_bind how)
	_must_check_;

/*
 * unix_address_of() - how to reach a bound socket of ours, whatever became of its path
 *
 * Return: 0, -ENOENT when it has no name, -errno after fail().
 */
int unix_address_of(struct restore *rs, int fd, struct unix_address *ret) _must_check_;

/* Fills *ret where the kernel has a note. */
int unix_maker_dump(struct dump *d, int fd, SnapmgrUnixMaker **ret) _must_check_;

/* Who is to make a pair, a listener or a connection. */
struct unix_maker {
	struct rtask *task; /* NULL: no process of the tree */
	pid_t pid;	    /* as the tree sees it; 0: any */
	struct restore_as as;
};
/* NULL is sound. */
int unix_maker_check(struct restore *rs, const SnapmgrUnixMaker *e) _must_check_;
bool unix_maker_is_same(const SnapmgrUnixMaker *a, const SnapmgrUnixMaker *b);
/* @e: NULL, or ids that are not due by such images: the task that has @file. */
struct unix_maker unix_maker_of(struct restore *rs, const struct file *file, const SnapmgrUnixMaker *e);
int unix_maker_pair(struct restore *rs, const struct unix_maker *m, int type, int fds[2]) _must_check_;
int unix_maker_listen(struct restore *rs, const struct unix_maker *m, int fd, uint32_t backlog)
	_must_check_;
/*
 * unix_maker_connect() - connect(2) of @fd
 * @ret_pid:	who connects, as we see it
 *
 * Return: what connect(2) does, without fail().
 */
int unix_maker_connect(struct restore *rs, const struct unix_maker *m, int fd,
		       const struct unix_address *to, pid_t *ret_pid) _must_check_;

/* A name as messages have it: '@' for a leading NUL. */
const char *unix_name_text(const void *name, size_t size, char buf[static UNIX_NAME_MAX + 1]);

/* unix_sk_entry.uflags */
enum { USK_EXTERN = 1, USK_SERVICE = 2, USK_CALLBACK = 4 };

static inline bool unix_type_is_connected(int type)
{
	return type == SOCK_STREAM || type == SOCK_SEQPACKET;
}

/* journald takes a new stream for an old one: it only wants to be told whose it is. */
bool unix_name_is_journal(const void *name, size_t size);

/* Hooks of the kind. */
int unix_check(struct restore *rs, struct file *file) _must_check_;
int unix_open(struct restore *rs, struct file *file) _must_check_;
int unix_link(struct restore *rs, struct file *file) _must_check_;
