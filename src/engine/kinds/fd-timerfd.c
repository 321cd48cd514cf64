/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Timerfds: a clock, the time left, an interval, and the expirations nobody has read yet.
 *
 * The image holds the time left at the dump, also for a timer that was set to an absolute time.
 * Such a timer is set to "now plus the rest" and keeps being absolute (a jump of the clock moves
 * it). Timers start at the end of the restore.
 */
#include <inttypes.h>
#include <string.h>
#include <sys/timerfd.h>

#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/kinds/anon.h"

#define TIMERFD_SET_TICKS _IOW('T', 0, uint64_t) /* TFD_IOC_SET_TICKS; CONFIG_CHECKPOINT_RESTORE */

enum { NSEC_MAX = 999999999 };

static bool timerfd_matches(const struct fd_view *view)
{
	return fd_view_is_anon(view, "[timerfd]");
}

/* "it_value: (12, 345)" -> seconds, nanoseconds. */
static int parse_pair(const char *text, const char *key, uint64_t *ret_sec, uint64_t *ret_nsec)
{
	const char *at = proc_field(text, key);
	uint64_t sec, nsec;

	if (!at || *at++ != '(' || parse_u64_prefix(&at, 10, &sec) < 0 || *at++ != ',' ||
	    *at++ != ' ' || parse_u64_prefix(&at, 10, &nsec) < 0 || *at != ')' || nsec > NSEC_MAX)
		return -EBADMSG;
	*ret_sec = sec;
	*ret_nsec = nsec;
	return 0;
}

static int parse_number(const char *text, const char *key, int base, uint64_t *ret)
{
	const char *at = proc_field(text, key);

	return at ? parse_u64_prefix(&at, base, ret) : -ENODATA;
}

static int timerfd_dump(struct dump *d, const struct fd_view *view)
{
	TimerfdEntry record = TIMERFD_ENTRY__INIT;
	FileEntry entry = FILE_ENTRY__INIT;
	_cleanup_free_ char *text = NULL;
	struct itimerspec now;
	uint64_t clock, settime;
	char path[64];
	int r;

	/*
	 * A periodic timer that nobody reads stands still after its first expiration; asking for
	 * the time makes the kernel count what it has missed and go on. Its fdinfo is read after
	 * that.
	 */
	r = SYS_CALL(timerfd_gettime(view->fd, &now));
	if (r < 0)
		return fail(d->failure, r, "cannot read its time");
	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", view->fd);
	r = sys_read_file_at(AT_FDCWD, path, 4096, &text, NULL);
	if (r < 0)
		return fail(d->failure, r, "cannot read its state");

	if (parse_number(text, "clockid", 10, &clock) < 0 ||
	    parse_number(text, "ticks", 10, &record.ticks) < 0 ||
	    parse_number(text, "settime flags", 8, &settime) < 0 ||
	    parse_pair(text, "it_value", &record.vsec, &record.vnsec) < 0 ||
	    parse_pair(text, "it_interval", &record.isec, &record.insec) < 0 || clock > INT32_MAX ||
	    settime > UINT32_MAX)
		return fail(d->failure, -EBADMSG, "cannot understand its state");

	record.id = view->id;
	record.flags = view->flags;
	record.fown = view->fown;
	record.clockid = (uint32_t)clock;
	record.settime_flags = (uint32_t)settime;
	entry.tfd = &record;
	return files_put(d, view, &fd_kind_timerfd, &entry);
}

static int timerfd_check(struct restore *rs, struct file *file)
{
	const TimerfdEntry *record = file->entry->tfd;
	int r;

	r = file_check_member(rs, file, record);
	if (r < 0)
		return r;
	if (record->vnsec > NSEC_MAX || record->insec > NSEC_MAX || record->vsec > INT64_MAX / 2 ||
	    record->isec > INT64_MAX / 2)
		return fail(rs->failure, -EBADMSG, "timerfd of file %u has impossible times",
			    file->id);
	if (record->settime_flags & ~(uint32_t)(TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET))
		return fail(rs->failure, -EOPNOTSUPP, "timerfd of file %u was set with flags %#x",
			    file->id, record->settime_flags);
	return 0;
}

static int timerfd_open(struct restore *rs, struct file *file)
{
	const TimerfdEntry *record = file->entry->tfd;
	_cleanup_close_ int fd = -EBADF;
	int r;

	fd = SYS_CALL(timerfd_create((int)record->clockid, TFD_CLOEXEC));
	if (fd < 0)
		return fail(rs->failure, fd, "cannot make a timerfd of clock %u", record->clockid);
	r = files_apply_flags(rs, fd, record->flags);
	if (r < 0)
		return r;
	file->fd = TAKE_FD(fd);
	return 0;
}

static void timespec_add(struct timespec *a, const struct timespec *b)
{
	a->tv_sec += b->tv_sec;
	a->tv_nsec += b->tv_nsec;
	if (a->tv_nsec > NSEC_MAX) {
		a->tv_nsec -= NSEC_MAX + 1;
		a->tv_sec++;
	}
}

static int timerfd_start(struct restore *rs, const struct file *file)
{
	const TimerfdEntry *record = file->entry->tfd;
	struct itimerspec its = {
		.it_value = { (time_t)record->vsec, (long)record->vnsec },
		.it_interval = { (time_t)record->isec, (long)record->insec },
	};
	bool armed = record->vsec || record->vnsec;
	uint64_t ticks = record->ticks;
	struct timespec now;
	int r;

	/* In other images a periodic timer may stand still: read once, it goes on. */
	if (!armed && ticks > 0 && (record->isec || record->insec)) {
		its.it_value = its.it_interval;
		armed = true;
	}
	if (armed && (record->settime_flags & TFD_TIMER_ABSTIME)) {
		r = SYS_CALL(clock_gettime((clockid_t)record->clockid, &now));
		if (r < 0)
			return fail(rs->failure, r, "cannot read clock %u", record->clockid);
		timespec_add(&its.it_value, &now);
	}
	r = SYS_CALL(timerfd_settime(file->fd, (int)record->settime_flags, &its, NULL));
	if (r < 0)
		return fail(rs->failure, r, "cannot set the timerfd of file %u", file->id);

	if (ticks > 0) {
		r = SYS_CALL(ioctl(file->fd, TIMERFD_SET_TICKS, &ticks));
		if (r < 0)
			return fail(rs->failure, r,
				    "cannot set the timerfd of file %u to %" PRIu64 " expirations",
				    file->id, ticks);
	}
	return 0;
}

static int timerfd_restore_finish(struct restore *rs)
{
	const struct file *file;
	int r;

	for (size_t i = 0; (file = files_at(rs, i)); i++) {
		if (file->kind != &fd_kind_timerfd)
			continue;
		r = timerfd_start(rs, file);
		if (r < 0)
			return r;
	}
	return 0;
}

const struct fd_kind fd_kind_timerfd = {
	.name = "timerfd",
	.type = FD_TYPES__TIMERFD,
	.matches = timerfd_matches,
	.dump = timerfd_dump,
	.check = timerfd_check,
	.open = timerfd_open,
	.restore_finish = timerfd_restore_finish,
};
