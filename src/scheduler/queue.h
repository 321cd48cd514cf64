/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * queue - so many jobs at a time
 *
 * A place in the queue is a struct ticket that the waiting party owns and initialises to zero. Restores go
 * before dumps.
 */

#include <stdbool.h>
#include <systemd/sd-event.h>

#include "basic/cleanup.h"

struct queue;

struct ticket {
	struct queue *queue; /* NULL: in none */
	struct ticket *next;
	bool urgent;
	bool running; /* its turn has come and is not over */
	void (*turn)(void *userdata);
	void *userdata;
};

int queue_new(sd_event *event, unsigned n_at_a_time, struct queue **ret) _must_check_;
struct queue *queue_free(struct queue *q);
DEFINE_CLEANUP(struct queue *, queue_free)

/* @turn is called from the event loop when it is this one's turn. */
void queue_enter(struct queue *q, struct ticket *t, bool urgent, void (*turn)(void *userdata),
		 void *userdata);

/* Done, or not wanted any more. On a ticket that is in no queue: nothing. */
void queue_leave(struct ticket *t);

static inline bool ticket_is_waiting(const struct ticket *t)
{
	return t->queue && !t->running;
}
