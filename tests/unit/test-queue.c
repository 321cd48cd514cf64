/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

enum { N = 5 };

struct room {
	sd_event *event;
	struct queue *queue;
	struct ticket tickets[N];
	struct party {
		struct room *room;
		int number;
	} parties[N];
	int order[2 * N];
	int n;
};

static void on_turn(void *userdata)
{
	struct party *p = userdata;

	p->room->order[p->room->n++] = p->number;
}

static void enter(struct room *r, int i, bool urgent)
{
	r->parties[i] = (struct party){ .room = r, .number = i };
	queue_enter(r->queue, &r->tickets[i], urgent, on_turn, &r->parties[i]);
}

static void turn(struct room *r)
{
	while (sd_event_run(r->event, 0) > 0)
		continue;
}

static int setup(void **state, unsigned n)
{
	struct room *r = calloc(1, sizeof(*r));

	*state = r;
	return r && sd_event_new(&r->event) >= 0 && queue_new(r->event, n, &r->queue) >= 0 ? 0 : -1;
}

static int setup_one(void **state)
{
	return setup(state, 1);
}

static int setup_two(void **state)
{
	return setup(state, 2);
}

static int teardown(void **state)
{
	struct room *r = *state;

	queue_free(r->queue);
	sd_event_unref(r->event);
	free(r);
	return 0;
}

static void never_more_at_a_time_than_it_says(void **state)
{
	struct room *r = *state;

	for (int i = 0; i < N; i++)
		enter(r, i, false);
	assert_int_equal(r->n, 0); /* a turn comes from the event loop */
	turn(r);
	assert_int_equal(r->n, 2);
	assert_true(ticket_is_waiting(&r->tickets[2]));
	queue_leave(&r->tickets[0]);
	turn(r);
	assert_int_equal(r->n, 3);
	assert_int_equal(r->order[2], 2);
}

static void urgent_ones_go_first_and_keep_their_order(void **state)
{
	const int expected[] = { 0, 2, 4, 1, 3 };
	struct room *r = *state;

	enter(r, 0, false);
	turn(r);
	for (int i = 1; i < N; i++)
		enter(r, i, i % 2 == 0);
	for (int i = 0; i < N; i++) {
		turn(r);
		assert_int_equal(r->n, i + 1);
		assert_int_equal(r->order[i], expected[i]);
		queue_leave(&r->tickets[expected[i]]);
	}
}

static void who_leaves_before_its_turn_has_none(void **state)
{
	struct room *r = *state;

	enter(r, 0, false);
	enter(r, 1, false);
	enter(r, 2, false);
	turn(r);
	queue_leave(&r->tickets[1]);
	queue_leave(&r->tickets[1]); /* in no queue: nothing */
	queue_leave(&r->tickets[0]);
	turn(r);
	assert_int_equal(r->n, 2);
	assert_int_equal(r->order[1], 2);
}

static void a_place_can_be_taken_again(void **state)
{
	struct room *r = *state;

	for (int i = 0; i < N; i++) {
		enter(r, 0, false);
		turn(r);
		queue_leave(&r->tickets[0]);
	}
	assert_int_equal(r->n, N);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(never_more_at_a_time_than_it_says, setup_two,
						teardown),
		cmocka_unit_test_setup_teardown(urgent_ones_go_first_and_keep_their_order,
						setup_one, teardown),
		cmocka_unit_test_setup_teardown(who_leaves_before_its_turn_has_none, setup_one,
						teardown),
		cmocka_unit_test_setup_teardown(a_place_can_be_taken_again, setup_one, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
