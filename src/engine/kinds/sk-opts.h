/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * sk-opts - what sockets of all families have in common: options, filters, wrappers of the calls
 *
 * Everything is asked and set through a descriptor of ours for the same open file description.
 *
 * Errors     0 or -errno after fail(), unless said otherwise.
 */

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "engine/kinds/kind.h"

#include "sk-opts.pb-c.h"

/* The address family of a descriptor, or AF_UNSPEC when it is no socket. */
int sk_family(const struct fd_view *view);

/* getsockopt(2) for an int-sized option. -errno without fail(). */
int sk_get_int(int fd, int level, int name, int *ret) _must_check_;
/* Fails with -EAGAIN, by name, where a stream has an urgent byte (MSG_OOB) that nobody has read: no queue can be given one. */
int sk_check_urgent(struct dump *d, int fd) _must_check_;
int sk_set_int(int fd, int level, int name, int value);
/* Sets it only where it differs: most options then need no privilege. */
int sk_make_int(int fd, int level, int name, int value) _must_check_;

/* Fills @ret from the socket; what it points to is in d->arena. */
int sk_opts_dump(struct dump *d, int fd, int family, SkOptsEntry *ret) _must_check_;

/* What bind(2) and connect(2) depend on: owner, reuse, device, mark. Reuse is lent generously, sk_opts_restore() ends that. */
int sk_opts_restore_early(struct restore *rs, int fd, const SkOptsEntry *e) _must_check_;
/* All of them, when nothing is left to be bound, connected or sent. */
int sk_opts_restore(struct restore *rs, int fd, const SkOptsEntry *e) _must_check_;

/* shutdown(2) as an image has it. */
int sk_shutdown_restore(struct restore *rs, int fd, SkShutdown how) _must_check_;

/* Socket of ours with O_CLOEXEC. Return: descriptor or -errno after fail(). */
int sk_new(struct restore *rs, int family, int type, int protocol) _must_check_;
/*
 * sk_new_for() - the same, of the tree: in the cgroup of the task that has @file, which filters of packets ask for
 *
 * Return: descriptor; -EAGAIN without fail(), when there are no tasks yet; or -errno after fail().
 */
int sk_new_for(struct restore *rs, const struct file *file, int family, int type, int protocol) _must_check_;

/*
 * sk_inherited() - a descriptor the caller brings for this socket (--inherit-fd fd[N]:socket:[INO])
 *
 * Return: a dup of it, -ENOENT when there is none, or -errno after fail().
 */
int sk_inherited(struct restore *rs, uint32_t ino) _must_check_;
/* Is "socket:[INO]"/"unix[INO]" in the list of --external? */
bool sk_is_external(const struct dump *d, const char *kind, uint32_t ino);
