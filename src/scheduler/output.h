/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * output - what a tree prints
 *
 * With `output: journal` that is a file in the store, POLICY.output, which can be saved and given back as a
 * connection to the journal cannot. A tail passes its lines on while the daemon runs; what was printed while it
 * did not stays in the file. A file that has grown large and was passed on is emptied.
 *
 * Whoever prints without end fills neither the journal nor the disk, and does not keep the daemon from anything else: so many
 * lines are passed on in a window of time (flood.h), the rest is counted, and the number is said. The program notices nothing.
 */

#include "basic/failure.h"
#include "scheduler/context.h"
#include "scheduler/policy.h"

/* The descriptor for standard output and error of a command; -EBADF without a fail(): /dev/null. */
int output_open(const struct sched_context *c, const struct policy *p, struct failure *f);

/*
 * output_adopt() - what trees of policy @from print is @to's from here on
 *
 * A tree that runs keeps its descriptor, and a set names its files: so the file FROM.output gets the name TO.output, too. A file
 * that has that name already becomes TO.output.old. To be called while nobody follows @to.
 */
int output_adopt(const struct sched_context *c, const char *from, const char *to, struct failure *f) _must_check_;

struct output_tail;

/* From the end of the file on. */
int output_tail_new(const struct sched_context *c, const char *policy, struct failure *f,
		    struct output_tail **ret) _must_check_;
struct output_tail *output_tail_free(struct output_tail *t);
DEFINE_CLEANUP(struct output_tail *, output_tail_free)
