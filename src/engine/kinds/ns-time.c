/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/kinds/ns-time.h"

#include <sched.h>
#include <string.h>
#include <time.h>

#include "basic/sys.h"

#include "timens.pb-c.h"

#ifndef CLONE_NEWTIME
#define CLONE_NEWTIME 0x80
#endif

enum { OFFSETS_TEXT_MAX = 4096 };
#define NSEC_PER_SEC 1000000000ll
/* The kernel's own bound on offsets is KTIME_MAX / 2 (kernel/time/namespace.c). */
#define CLOCK_MAX_SEC (INT64_MAX / NSEC_PER_SEC / 2)

/* What a process's time namespace adds to a clock of the machine; nanoseconds. */
static int read_offset(int proc_fd, const char *clock, int64_t *ret)
{
	_cleanup_free_ char *text = NULL;
	const char *at;
	long long sec;
	long nsec;
	int r;

	*ret = 0;
	r = sys_read_file_at(proc_fd, "timens_offsets", OFFSETS_TEXT_MAX, &text, NULL);
	if (r < 0)
		return r == -ENOENT ? 0 : r; /* no time namespaces in this kernel */
	at = strstr(text, clock);
	if (!at || sscanf(at + strlen(clock), "%lld %ld", &sec, &nsec) != 2)
		return -EBADMSG;
	*ret = sec * NSEC_PER_SEC + nsec;
	return 0;
}

/* A clock as the machine has it, without our own namespace's offset. */
static int read_machine_clock(clockid_t clock, const char *name, int64_t *ret)
{
	_cleanup_close_ int self = sys_open("/proc/self", O_RDONLY | O_DIRECTORY, 0);
	struct timespec ts;
	int64_t offset = 0;
	int r = self < 0 ? self : 0;

	if (r == 0)
		r = SYS_CALL(clock_gettime(clock, &ts));
	if (r == 0)
		r = read_offset(self, name, &offset);
	if (r == 0)
		*ret = (int64_t)ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec - offset;
	return r;
}

static int dump_clock(struct dump *d, clockid_t clock, const char *name, Timespec *ret)
{
	int64_t machine = 0, theirs = 0, now;
	int r;

	r = read_machine_clock(clock, name, &machine);
	if (r == 0)
		r = read_offset(d->tree.tasks[0]->proc_fd, name, &theirs);
	if (r < 0)
		return fail(d->failure, r, "cannot read the %s clock", name);
	now = machine + theirs;
	ret->tv_sec = now / NSEC_PER_SEC;
	ret->tv_nsec = now % NSEC_PER_SEC;
	return 0;
}

int ns_time_dump(struct dump *d)
{
	/* Under id 0 where the tree shares the namespace of the dumper. */
	uint64_t key = d->own_ns[NS_TIME] ? d->ns_id[NS_TIME] : 0;
	TimensEntry e = TIMENS_ENTRY__INIT;
	Timespec monotonic = TIMESPEC__INIT, boottime = TIMESPEC__INIT;
	int r;

	r = dump_clock(d, CLOCK_MONOTONIC, "monotonic", &monotonic);
	if (r == 0)
		r = dump_clock(d, CLOCK_BOOTTIME, "boottime", &boottime);
	if (r < 0)
		return r;
	e.monotonic = &monotonic;
	e.boottime = &boottime;
	return image_write_one(d->dir_fd, IMAGE_TIMENS, key, &e.base, d->failure);
}

/* The offset with which a clock reads now what it read at the dump. */
static int offset_for(struct restore *rs, clockid_t clock, const char *name, const Timespec *then,
		      int64_t *ret)
{
	int64_t machine = 0;
	int r;

	if (then->tv_sec > (uint64_t)CLOCK_MAX_SEC || then->tv_nsec >= (uint64_t)NSEC_PER_SEC)
		return fail(rs->failure, -EBADMSG, "the image has a %s clock out of range", name);
	r = read_machine_clock(clock, name, &machine);
	if (r < 0)
		return fail(rs->failure, r, "cannot read the %s clock", name);
	*ret = (int64_t)then->tv_sec * NSEC_PER_SEC + (int64_t)then->tv_nsec - machine;
	return 0;
}

/* proc(5) wants nanoseconds from 0 up. */
static int write_offset(struct restore *rs, const char *name, int64_t offset)
{
	int64_t sec = offset / NSEC_PER_SEC, nsec = offset % NSEC_PER_SEC;
	char line[96];
	int r;

	if (nsec < 0) {
		nsec += NSEC_PER_SEC;
		sec--;
	}
	(void)snprintf(line, sizeof(line), "%s %lld %lld\n", name, (long long)sec, (long long)nsec);
	r = sys_write_file_at(AT_FDCWD, "/proc/self/timens_offsets", line);
	return r < 0 ? fail(rs->failure, r, "cannot set the %s clock of a time namespace", name) : 0;
}

/* Would our own clock be behind what the tree has seen already? So after a reboot. */
static int goes_backwards(struct restore *rs, int64_t offset, bool *ret)
{
	_cleanup_close_ int self = sys_open("/proc/self", O_RDONLY | O_DIRECTORY, 0);
	int64_t ours = 0;
	int r;

	r = self < 0 ? self : read_offset(self, "monotonic", &ours);
	if (r < 0)
		return fail(rs->failure, r, "cannot read our own time namespace");
	*ret = offset > ours;
	return 0;
}

int ns_time_prepare(struct restore *rs, const struct rtask *root)
{
	const TaskKobjIdsEntry *ids = root->ids, *ours = rs->inventory->root_ids;
	int64_t monotonic = 0, boottime = 0;
	bool own = ids->has_time_ns_id && ours->has_time_ns_id && ids->time_ns_id != ours->time_ns_id;
	bool backwards = false;
	ProtobufCMessage *msg;
	TimensEntry *e;
	int r;

	r = image_read_one_in(&rs->set, IMAGE_TIMENS, own ? ids->time_ns_id : 0,
			      &timens_entry__descriptor, &rs->arena, rs->failure, &msg);
	if (r == -ENOENT && !own)
		return 0;
	if (r == -ENOENT)
		return fail(rs->failure, -EBADMSG, "there is no image of its time namespace");
	if (r < 0)
		return r;
	e = (TimensEntry *)msg;
	r = offset_for(rs, CLOCK_MONOTONIC, "monotonic", e->monotonic, &monotonic);
	if (r == 0)
		r = offset_for(rs, CLOCK_BOOTTIME, "boottime", e->boottime, &boottime);
	if (r == 0 && !own)
		r = goes_backwards(rs, monotonic, &backwards);
	if (r < 0 || !(own || backwards))
		return r;
	r = SYS_CALL(unshare(CLONE_NEWTIME));
	if (r < 0 && !own) {
		restore_note(rs, "no time namespace can be made: the monotonic clock goes backwards");
		return 0;
	}
	if (r < 0)
		return fail(rs->failure, r, "cannot make a time namespace");
	r = write_offset(rs, "monotonic", monotonic);
	return r < 0 ? r : write_offset(rs, "boottime", boottime);
}
