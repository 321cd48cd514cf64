/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * heir - which of the trees that match is the tree of the policy?
 *
 * A number names nobody, and neither does a name: a second instance of a program matches as the first does. What is taken for the
 * service goes on its history: its generations are kept or pruned with those of the tree before, and --replace ends it. So the
 * next tree of a policy is one that came after the one before had ended, or that is left of it, or that the service's own pidfile
 * names; never one that ran beside it.
 *
 * Pure: knows what it is told. Times are in the unit of field 22 of /proc/PID/stat, since the boot: setting the clock changes
 * nothing.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	HEIR_NOTE_MAX = 400,
	HEIR_NONE = -1,
	HEIR_DOUBT = -2, /* nothing may be started beside it */
};

/* The last tree of the policy. */
struct heir_last {
	pid_t pid; /* 0: none in this boot */
	uint64_t start_ticks;
	uint64_t ended_ticks;	  /* when it had ended, or was last seen to run */
	uint64_t pidfile_version; /* of a pidfile that named it (pidfile.h); 0: none did */
	bool ended_badly;	  /* by a signal or with a status other than 0 */
};

/* A tree that matches. */
struct heir_candidate {
	pid_t pid;
	uint64_t start_ticks;
	uint64_t pidfile_version; /* of the pidfile that names it; 0: it fits without one */
	bool of_service;	  /* it fits by the unit or cgroup of the service */
	bool was_member;	  /* it belonged to the last tree */
};

/*
 * heir_choose() - the tree of the policy
 * @list:	sorted by pid
 * @note:	HEIR_NOTE_MAX bytes: why one that matches is not taken, or ""
 *
 * Return: an index; HEIR_NONE: nobody is there who could be it; HEIR_DOUBT: one that matches is there and was not taken.
 */
int heir_choose(const struct heir_last *last, const struct heir_candidate *list, size_t n, char *note);
