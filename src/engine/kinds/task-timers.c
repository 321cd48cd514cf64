/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * timers - interval timers and POSIX timers
 *
 * What is left of each is asked in the task; what a POSIX timer does is in /proc/PID/timers. A timer id is the kernel's
 * counter: wanted ids are met by PR_TIMER_CREATE_RESTORE_IDS (6.15), before that by making and deleting timers until
 * the counter is there.
 */
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <time.h>

#include "basic/parse.h"
#include "basic/sys.h"
#include "engine/kinds/task-kind.h"

enum {
	TIMERS_TEXT_MAX = 16 << 20,
	TIMERS_MAX = 65536,
	ITIMERS = 3,
	TRIES_MAX = 1 << 20,
	SIGEV_THREAD_ID_ = 4,
	PR_TIMER_CREATE_RESTORE_IDS_ = 77,
};

struct timer_query {
	PosixTimerEntry *entry;
	struct itimerspec *left; /* in scratch */
};

struct timers_slot {
	struct itimerval *intervals; /* ITIMERS of them, in scratch */
	struct timer_query *timers;
	size_t n_timers;
};

/* The kernel's struct sigevent (asm-generic/siginfo.h). */
struct kernel_sigevent {
	uint64_t value;
	int32_t signo, notify, tid;
	int32_t pad[11];
};

/* ---- dump ---- */

static const char *next_line(const char *p)
{
	p = strchr(p, '\n');
	return p ? p + 1 : "";
}

/* "ID: 0\nsignal: 10/0000...\nnotify: signal/pid.123\nClockID: 0\n" */
static int parse_timer(const char **text, PosixTimerEntry *e, uint64_t *ret_target)
{
	const char *p = *text;
	uint64_t id, signo, value, clock_id, target = 0;
	bool thread = false, negative;

	if (strncmp(p, "ID: ", 4) != 0 || (p += 4, parse_u64_prefix(&p, 10, &id) < 0))
		return -EBADMSG;
	p = next_line(p);
	if (strncmp(p, "signal: ", 8) != 0 || (p += 8, parse_u64_prefix(&p, 10, &signo) < 0) ||
	    *p++ != '/')
		return -EBADMSG;
	if (p[0] == '0' && p[1] == 'x')
		p += 2;
	if (parse_u64_prefix(&p, 16, &value) < 0)
		value = 0; /* "(null)" */
	p = next_line(p);
	if (strncmp(p, "notify: ", 8) != 0)
		return -EBADMSG;
	p += 8;
	e->it_sigev_notify = strncmp(p, "none", 4) == 0 ? SIGEV_NONE : SIGEV_SIGNAL;
	p = strchr(p, '/');
	thread = p && strncmp(p, "/tid.", 5) == 0;
	if (!thread && (!p || strncmp(p, "/pid.", 5) != 0))
		return -EBADMSG;
	p += 5;
	if (parse_u64_prefix(&p, 10, &target) < 0)
		return -EBADMSG;
	p = next_line(p);
	if (strncmp(p, "ClockID: ", 9) != 0)
		return -EBADMSG;
	p += 9;
	negative = *p == '-';
	p += negative;
	if (parse_u64_prefix(&p, 10, &clock_id) < 0)
		return -EBADMSG;
	*text = next_line(p);
	if (thread)
		e->it_sigev_notify = e->it_sigev_notify == SIGEV_NONE ? SIGEV_NONE : SIGEV_THREAD_ID_;
	e->it_id = id;
	e->si_signo = signo;
	e->sival_ptr = value;
	e->clock_id = negative ? 0u - (uint32_t)clock_id : (uint32_t)clock_id;
	*ret_target = thread ? target : 0;
	return 0;
}

/* A thread that has ended hears nothing: its timer runs, and tells nobody. */
static void mute(PosixTimerEntry *e)
{
	e->it_sigev_notify = SIGEV_NONE;
	e->has_notify_thread_id = false;
}

/* @target: the thread that is told, as we see it; 0: the process, or a thread that is gone */
static void put_target(struct thread_query *q, PosixTimerEntry *e, uint64_t target)
{
	if (e->it_sigev_notify != SIGEV_THREAD_ID_)
		return;
	for (size_t i = 0; i < q->task->n_threads; i++) {
		if (q->task->threads[i].tid == (pid_t)target) {
			e->has_notify_thread_id = true;
			e->notify_thread_id = q->task->threads[i].vtid;
		}
	}
	if (!e->has_notify_thread_id) {
		dump_note(q->dump, "timer %u signals a thread that has ended: after a restore it signals nobody", e->it_id);
		mute(e);
	}
}

static int collect_timers(struct thread_query *q, struct timers_slot *s)
{
	struct dump *d = q->dump;
	_cleanup_free_ char *text = NULL;
	const char *p;
	int r;

	r = sys_read_file_at(q->task->proc_fd, "timers", TIMERS_TEXT_MAX, &text, NULL);
	if (r == -ENOENT)
		return 0; /* a kernel without POSIX timers */
	if (r < 0)
		return fail(d->failure, r, "cannot read its timers");
	for (p = text; *p;) {
		PosixTimerEntry *e = dump_new(d, PosixTimerEntry, posix_timer_entry__init);
		uint64_t target;

		if (!e || s->n_timers == TIMERS_MAX || arena_grow(&d->arena, &s->timers, s->n_timers) < 0)
			return fail(d->failure, -ENOMEM, "too many timers");
		if (parse_timer(&p, e, &target) < 0)
			return fail(d->failure, -EBADMSG, "cannot parse its timers");
		put_target(q, e, target);
		s->timers[s->n_timers++] = (struct timer_query){ .entry = e };
	}
	return 0;
}

static int timers_ask(struct thread_query *q)
{
	struct timers_slot *s;
	uint64_t there;
	int r;

	if (!q->leader)
		return 0;
	s = arena_new(&q->dump->arena, struct timers_slot);
	if (!s)
		return fail(q->dump->failure, -ENOMEM, "no memory for timers");
	q->slot = s;
	r = collect_timers(q, s);
	if (r < 0)
		return r;
	there = remote_alloc(q->remote, ITIMERS * sizeof(struct itimerval), &s->intervals);
	for (int i = 0; i < ITIMERS; i++)
		remote_add(q->remote, "cannot ask for an interval timer", SYS_getitimer, i,
			   there + i * sizeof(struct itimerval), 0, 0, 0, 0);
	return 0;
}

static ItimerEntry *put_itimer(struct thread_query *q, const struct itimerval *v)
{
	ItimerEntry *e = dump_new(q->dump, ItimerEntry, itimer_entry__init);

	if (e) {
		e->isec = v->it_interval.tv_sec;
		e->iusec = v->it_interval.tv_usec;
		e->vsec = v->it_value.tv_sec;
		e->vusec = v->it_value.tv_usec;
	}
	return e;
}

/* One at a time, in lists of their own: there may be more than a list holds. */
static int ask_posix_timer(struct thread_query *q, struct timer_query *t)
{
	PosixTimerEntry *e = t->entry;
	struct itimerspec *left;
	size_t overrun;
	uint64_t there;
	int r;

	there = remote_alloc(q->remote, sizeof(*left), &left);
	remote_add(q->remote, "cannot ask for a timer", SYS_timer_gettime, e->it_id, there, 0, 0, 0, 0);
	overrun = remote_add(q->remote, "cannot ask for a timer's overrun", SYS_timer_getoverrun, e->it_id, 0, 0,
			     0, 0, 0);
	r = remote_run(q->remote);
	if (r < 0)
		return r;
	e->isec = left->it_interval.tv_sec;
	e->insec = left->it_interval.tv_nsec;
	e->vsec = left->it_value.tv_sec;
	e->vnsec = left->it_value.tv_nsec;
	e->overrun = q->remote->calls[overrun].ret;
	return 0;
}

static int timers_put(struct thread_query *q)
{
	struct timers_slot *s = q->slot;
	TaskTimersEntry *e;
	int r;

	if (!q->leader)
		return 0;
	e = dump_new(q->dump, TaskTimersEntry, task_timers_entry__init);
	if (!e)
		return fail(q->dump->failure, -ENOMEM, "no memory for timers");
	q->core->tc->timers = e;
	e->real = put_itimer(q, &s->intervals[ITIMER_REAL]);
	e->virt = put_itimer(q, &s->intervals[ITIMER_VIRTUAL]);
	e->prof = put_itimer(q, &s->intervals[ITIMER_PROF]);
	e->posix = arena_array(&q->dump->arena, PosixTimerEntry *, s->n_timers);
	if (!e->real || !e->virt || !e->prof || !e->posix)
		return fail(q->dump->failure, -ENOMEM, "no memory for timers");
	for (size_t i = 0; i < s->n_timers; i++)
		e->posix[e->n_posix++] = s->timers[i].entry;
	/* Overwrites the scratch: last. */
	for (size_t i = 0; i < s->n_timers; i++) {
		r = ask_posix_timer(q, &s->timers[i]);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- restore ---- */

static int timers_check(struct restore *rs, const struct rtask *task, const CoreEntry *core, bool leader)
{
	const TaskTimersEntry *t = leader ? core->tc->timers : NULL;

	if (leader && !t)
		return fail(rs->failure, -EBADMSG, "the image has no timers");
	for (size_t i = 0; t && i < t->n_posix; i++) {
		if (t->posix[i]->it_id > INT32_MAX)
			return fail(rs->failure, -EBADMSG, "timer id %u", t->posix[i]->it_id);
	}
	return 0;
}

static void add_itimer(struct thread_restore *tr, int which, const ItimerEntry *e)
{
	struct itimerval v = {
		.it_interval = { e->isec, e->iusec },
		.it_value = { e->vsec, e->vusec },
	};

	if (!e->isec && !e->iusec && !e->vsec && !e->vusec)
		return;
	if (!e->vsec && !e->vusec)
		v.it_value = v.it_interval;
	remote_add(tr->remote, "cannot set an interval timer", SYS_setitimer, which,
		   remote_push(tr->remote, &v, sizeof(v)), 0, 0, 0, 0);
}

static bool has_thread(const struct rtask *task, int32_t vtid)
{
	for (size_t i = 0; i < task->n_threads; i++) {
		if (task->threads[i].vtid == vtid)
			return true;
	}
	return false;
}

/* Sets of CRIU may name a thread that had ended: that timer tells nobody. */
static void sigevent_of(const struct thread_restore *tr, const PosixTimerEntry *e, struct kernel_sigevent *ret)
{
	bool mute = e->it_sigev_notify == SIGEV_THREAD_ID_ && e->has_notify_thread_id &&
		    !has_thread(tr->task, e->notify_thread_id);

	*ret = (struct kernel_sigevent){
		.value = e->sival_ptr,
		.signo = e->si_signo,
		.notify = mute ? SIGEV_NONE : e->it_sigev_notify,
		.tid = e->has_notify_thread_id ? e->notify_thread_id : (int32_t)tr->thread->vtid,
	};
}

/* The kernel takes the id from us. 0: made; 1: this kernel does not. */
static int create_with_id(struct thread_restore *tr, const PosixTimerEntry *e)
{
	struct remote *rm = tr->remote;
	struct kernel_sigevent ev;
	int32_t id = e->it_id;
	size_t on;
	int r;

	r = remote_run(rm);
	if (r < 0)
		return r;
	on = remote_add(rm, NULL, SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS_, 1, 0, 0, 0, 0);
	r = remote_run(rm);
	if (r < 0)
		return r;
	if (rm->calls[on].ret < 0)
		return 1;
	sigevent_of(tr, e, &ev);
	remote_add(rm, "cannot make a timer", SYS_timer_create, e->clock_id,
		   remote_push(rm, &ev, sizeof(ev)), remote_push(rm, &id, sizeof(id)), 0, 0, 0);
	remote_add(rm, NULL, SYS_prctl, PR_TIMER_CREATE_RESTORE_IDS_, 0, 0, 0, 0, 0);
	return remote_run(rm);
}

/* Before 6.15: ids count up, so timers are made and deleted until the wanted one is next. */
static int create_by_counting(struct thread_restore *tr, const PosixTimerEntry *e)
{
	struct remote *rm = tr->remote;
	struct kernel_sigevent ev;
	int32_t *id;
	uint64_t id_there, ev_there;
	int r;

	sigevent_of(tr, e, &ev);
	for (size_t tries = 0; tries < TRIES_MAX; tries++) {
		id_there = remote_alloc(rm, sizeof(*id), &id);
		ev_there = remote_push(rm, &ev, sizeof(ev));
		remote_add(rm, "cannot make a timer", SYS_timer_create, e->clock_id, ev_there, id_there, 0, 0,
			   0);
		r = remote_run(rm);
		if (r < 0)
			return r;
		if (*id == (int32_t)e->it_id)
			return 0;
		remote_add(rm, "cannot delete a timer", SYS_timer_delete, *id, 0, 0, 0, 0, 0);
		r = remote_run(rm);
		if (r < 0)
			return r;
		if (*id > (int32_t)e->it_id)
			break;
	}
	return fail(tr->rs->failure, -EOPNOTSUPP, "timer id %u cannot be had", e->it_id);
}

static int restore_posix_timer(struct thread_restore *tr, const PosixTimerEntry *e)
{
	struct itimerspec v = {
		.it_interval = { e->isec, e->insec },
		.it_value = { e->vsec, e->vnsec },
	};
	struct remote *rm = tr->remote;
	int r;

	r = create_with_id(tr, e);
	if (r == 1)
		r = create_by_counting(tr, e);
	if (r < 0)
		return r;
	if (!v.it_value.tv_sec && !v.it_value.tv_nsec)
		v.it_value = v.it_interval;
	remote_add(rm, "cannot set a timer", SYS_timer_settime, e->it_id, 0, remote_push(rm, &v, sizeof(v)), 0, 0,
		   0);
	return remote_run(rm);
}

static int timers_restore(struct thread_restore *tr)
{
	const TaskTimersEntry *t;
	int r;

	if (!tr->leader)
		return 0;
	t = tr->core->tc->timers;
	for (size_t i = 0; i < t->n_posix; i++) {
		r = restore_posix_timer(tr, t->posix[i]);
		if (r < 0)
			return r;
	}
	r = remote_reserve(tr->remote, ITIMERS, ITIMERS * sizeof(struct itimerval) + 64);
	if (r < 0)
		return r;
	add_itimer(tr, ITIMER_REAL, t->real);
	add_itimer(tr, ITIMER_VIRTUAL, t->virt);
	add_itimer(tr, ITIMER_PROF, t->prof);
	return 0;
}

const struct task_kind task_kind_timers = {
	.name = "timers",
	.ask = timers_ask,
	.put = timers_put,
	.check = timers_check,
	.restore = timers_restore,
};
