/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * tree-record - who the tree of a policy is, in a file beside the database
 *
 * STORE/.POLICY.tree is written when a tree of the policy starts, is restored or found, and again when it has ended. It says the
 * same as the row of the policy, and more: a database that was lost, damaged or brought back from an older day must not lead to a
 * second copy of a program that runs.
 *
 *	snapmgr-tree 1
 *	boot 3f2a...
 *	pid 4711
 *	start 123456		(field 22 of /proc/PID/stat)
 *	since 1732...		(microseconds of CLOCK_REALTIME)
 *	restored-from 17
 *	seen 123999		(it ran then; in the unit of start, as is ended)
 *	ended 124000		(absent while it runs)
 *	end-kind 2		(enum tree_end; absent: not known)
 *	end-code 1		(exit status or signal)
 *	pidfile 1234567		(version of a pidfile that named it: scheduler/pidfile.h)
 *	exe /usr/bin/redis-server
 *	command ...		(the words of the policy's command, each ended by %00)
 *	unit redis.service	(the service of systemd's whose cgroup it is in)
 *
 * A value has every byte that is not printable ASCII, and '%', as %XX. What is not of this form is -EBADMSG.
 *
 * Errors     0 or -errno, and fail() was called, unless said otherwise.
 */

#include <stdint.h>
#include <sys/types.h>

#include "basic/cleanup.h"
#include "basic/failure.h"
#include "catalog/store.h"

/* How a tree ended. The numbers stand in files. */
enum tree_end {
	TREE_END_UNKNOWN = 0,
	TREE_END_STOPPED = 1, /* on request */
	TREE_END_EXITED = 2,
	TREE_END_SIGNALED = 3,
	TREE_END_GONE = 4, /* nobody saw how */
};

enum {
	TREE_BOOT_ID_MAX = 36,
	TREE_UNIT_MAX = 255,
	TREE_RECORD_FILE_MAX = 1 << 20,
};

/* A zeroed struct is a valid empty one. */
struct tree_record {
	char boot_id[TREE_BOOT_ID_MAX + 1];
	pid_t pid; /* 0: there was no tree yet */
	uint64_t start_ticks;
	uint64_t since_usec;
	int64_t restored_from;
	uint64_t seen_ticks;
	uint64_t ended_ticks; /* 0: it runs, as far as is known */
	uint64_t end_kind, end_code; /* enum tree_end; with ended_ticks */
	uint64_t pidfile_version; /* 0: no pidfile named it */
	char *exe;	      /* NULL: not known */
	char *command;	      /* words, each with its NUL, and a NUL behind the last; NULL: not known */
	size_t command_size;  /* with all NULs */
	char unit[TREE_UNIT_MAX + 1]; /* "": in none */
};
void tree_record_done(struct tree_record *r);
/* -ENOMEM, without a fail(). */
int tree_record_copy(const struct tree_record *from, struct tree_record *to) _must_check_;

/* Durable on return. */
int tree_record_write(struct store *s, const char *policy, const struct tree_record *r, struct failure *f) _must_check_;

/* -ENOENT, without a fail(): there is none. */
int tree_record_read(struct store *s, const char *policy, struct failure *f, struct tree_record *ret) _must_check_;

int tree_record_remove(struct store *s, const char *policy, struct failure *f);

/* The policies that have a record, whether they are in force or not. */
typedef int (*tree_record_seen_t)(void *userdata, const char *policy);
int tree_record_each(struct store *s, tree_record_seen_t seen, void *userdata, struct failure *f) _must_check_;
