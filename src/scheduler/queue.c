/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/queue.h"

#include <assert.h>

struct queue {
	sd_event_source *kick;	/* enabled while somebody may have their turn */
	struct ticket *waiting; /* urgent ones first, then by age */
	unsigned n_running, n_max;
};

static int on_kick(sd_event_source *s, void *userdata)
{
	struct queue *q = userdata;

	while (q->waiting && q->n_running < q->n_max) {
		struct ticket *t = q->waiting;

		q->waiting = t->next;
		t->next = NULL;
		t->running = true;
		q->n_running++;
		t->turn(t->userdata);
	}
	return sd_event_source_set_enabled(s, SD_EVENT_OFF);
}

static void kick(struct queue *q)
{
	if (q->waiting && q->n_running < q->n_max)
		(void)sd_event_source_set_enabled(q->kick, SD_EVENT_ON);
}

int queue_new(sd_event *event, unsigned n_at_a_time, struct queue **ret)
{
	_cleanup_(queue_freep) struct queue *q = calloc(1, sizeof(*q));
	int r;

	if (!q)
		return -ENOMEM;
	q->n_max = n_at_a_time;
	r = sd_event_add_defer(event, &q->kick, on_kick, q);
	if (r < 0)
		return r;
	r = sd_event_source_set_enabled(q->kick, SD_EVENT_OFF);
	if (r < 0)
		return r;
	*ret = TAKE_PTR(q);
	return 0;
}

struct queue *queue_free(struct queue *q)
{
	if (!q)
		return NULL;
	sd_event_source_unref(q->kick);
	free(q);
	return NULL;
}

void queue_enter(struct queue *q, struct ticket *t, bool urgent, void (*turn)(void *userdata),
		 void *userdata)
{
	struct ticket **at = &q->waiting;

	assert(!t->queue);
	*t = (struct ticket){ .queue = q, .urgent = urgent, .turn = turn, .userdata = userdata };
	while (*at && ((*at)->urgent || !urgent))
		at = &(*at)->next;
	t->next = *at;
	*at = t;
	kick(q);
}

void queue_leave(struct ticket *t)
{
	struct queue *q = t->queue;

	if (!q)
		return;
	if (t->running) {
		q->n_running--;
	} else {
		struct ticket **at = &q->waiting;

		while (*at && *at != t)
			at = &(*at)->next;
		if (*at)
			*at = t->next;
	}
	*t = (struct ticket){};
	kick(q);
}
