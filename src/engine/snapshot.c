/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A dump, and what may come before its freeze:
 *
 *   rounds	of pre-copy: each a set of memory only, in a directory of its own inside the image directory
 *		("pre-1" and so on), that the next one and at last the dump continue. What they store is kept in memory
 *		until then if it is little: waiting for a disk they would never catch up with the application.
 *   forecast	how long the tree would be frozen by stop-copy of the rest, and by cow
 *
 *   room	what each way may take at worst, against every limit over the tree (memory/room.h): no shadow where copies on
 *		write could exhaust a memory cgroup, no round where page tables could, and nothing where nothing is left
 *
 * auto takes rounds where memory is tracked and much is to be stored, then what freezes the tree for less. Where that is
 * above max_frozen_usec by forecast nothing is taken, in no mode. Nothing of the rounds is left when the dump fails.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <time.h>

#include "basic/bulk.h"
#include "basic/clock.h"
#include "basic/dir.h"
#include "basic/sys.h"
#include "engine/dump.h"
#include "engine/memory/late.h"
#include "engine/memory/room.h"
#include "engine/memory/take-auto.h"
#include "engine/memory/take.h"
#include "engine/memory/track.h"

enum {
	ROUND_NAME_MAX = 32,
	ROUNDS_MAX = 100, /* of any former dump into this directory */
	ROUND_WORTH_BYTES = 16 << 20, /* copied in some ten milliseconds: not worth a round */
	ROOM_TO_SPARE = 4, /* one part in so many */
	PAGE = 4096,
	RETRY_MSEC = 10, /* the first pause; each is twice the one before, a second and a half in all */
	RETRY_MSEC_MAX = 800,
};

#define FALLBACK_NO_SHADOW "there is too little room to copy pages on write (the log names the limit)"
#define FALLBACK_NO_ROUNDS "no rounds of pre-copy: there is too little room to track memory (the log names the limit)"

#define ROUND_MARK "round" /* where other sets have a tracker */

/* One dump with its rounds. */
struct snapshot {
	const struct engine_options *options;
	const struct engine_context *context;
	struct engine_stats *stats;
	struct failure *failure;
	struct dump_run run; /* the dump itself; its parent and tracker are the last round's */
	char *first_parent;  /* as seen from a round's directory; owned */
	char parent[ROUND_NAME_MAX];
	uint64_t copy_rate; /* of the last round, bytes a second; 0: there was none */
	struct arena arena;
	struct room room; /* as of the last look */
	struct late_pages late; /* of rounds: to be written when the tree has been taken */
};

static char *round_name(unsigned n, char name[static ROUND_NAME_MAX])
{
	(void)snprintf(name, ROUND_NAME_MAX, "pre-%u", n);
	return name;
}

/* A directory of that name may be somebody's own: ours are marked. */
static bool is_round(int dir_fd, const char *name)
{
	_cleanup_close_ int fd = sys_openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	_cleanup_free_ char *text = NULL;

	return fd >= 0 && sys_read_file_at(fd, TRACKER_FILE, sizeof(ROUND_MARK), &text, NULL) >= 0 &&
	       strcmp(text, ROUND_MARK) == 0;
}

/* Those of an earlier dump, or of this one that failed. */
static int remove_rounds(struct snapshot *s)
{
	for (unsigned n = 1; n <= ROUNDS_MAX; n++) {
		char name[ROUND_NAME_MAX];
		int r;

		(void)round_name(n, name);
		if (!is_round(s->options->images_dir_fd, name))
			continue;
		r = dir_remove(s->options->images_dir_fd, name);
		if (r < 0)
			return fail(s->failure, r, "cannot remove %s in the image directory", name);
	}
	return 0;
}

/* The parent of the first round is that of the dump, a directory further. */
static int rebase_parent(struct snapshot *s)
{
	const char *parent = s->options->prev_images_dir;

	if (!parent)
		return 0;
	if (asprintf(&s->first_parent, "%s%s", *parent == '/' ? "" : "../", parent) < 0) {
		s->first_parent = NULL;
		return fail(s->failure, -ENOMEM, "no memory for a path");
	}
	return 0;
}

/* @waits: its pages are little enough to stay in memory for now. */
static int run_round(struct snapshot *s, unsigned n, int dir_fd, const char *parent, bool waits)
{
	struct engine_stats stats = {};
	struct dump_run run = {
		.options = s->options,
		.context = s->context,
		.dir_fd = dir_fd,
		.parent = parent,
		.take = &take_live,
		.memory_only = true,
		.tracks = true,
		.late = &s->late,
		.waits = waits,
		.round = n,
		.tracked = TAKE_PTR(s->run.tracked),
	};
	int r;

	r = dump_run(&run, &stats, s->failure);
	tracker_free(run.tracked);
	s->run.tracked = run.tracking;
	if (r < 0)
		return r;
	s->run.parent = round_name(n, s->parent);
	s->stats->pre_dump_rounds = n;
	s->stats->pre_dump_pages += stats.pages_written;
	if (stats.memwrite_usec > 0 && stats.bytes_written >= ROUND_WORTH_BYTES)
		s->copy_rate = (uint64_t)((double)stats.bytes_written * 1e6 / (double)stats.memwrite_usec);
	if (n == 1)
		s->stats->full_reason = stats.full_reason;
	return 0;
}

static int take_round(struct snapshot *s, unsigned n, bool waits)
{
	char name[ROUND_NAME_MAX], before[ROUND_NAME_MAX + 3];
	_cleanup_close_ int fd = -EBADF;
	int r;

	(void)round_name(n, name);
	r = SYS_CALL(mkdirat(s->options->images_dir_fd, name, 0700));
	if (r == 0)
		r = fd = sys_openat(s->options->images_dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	if (r >= 0)
		r = sys_write_file_at(fd, TRACKER_FILE, ROUND_MARK);
	if (r < 0)
		return fail(s->failure, r, "cannot make %s in the image directory", name);
	(void)snprintf(before, sizeof(before), "../%s", s->parent);
	return run_round(s, n, fd, n == 1 ? s->first_parent : before, waits);
}

static int look_for_room(struct arena *a, const struct engine_options *o, struct failure *f, struct room *ret)
{
	int r = room_gather(a, o->pid, ret);

	return r < 0 ? fail(f, r, "cannot look at the limits of the tree") : 0;
}

/* Where even calls inside the tasks could have somebody killed, nothing is done. */
static int demand_room(struct arena *a, const struct engine_options *o, enum room_way way, struct failure *f,
		       struct room *ret)
{
	const struct room_limit *l;
	uint64_t need = 0;
	int r = look_for_room(a, o, f, ret);

	if (r < 0)
		return r;
	l = room_lacks(ret, way, &need);
	return l ? fail(f, -EDQUOT, "%s has %" PRIu64 " KiB left, and a snapshot may need %" PRIu64 " KiB", l->name,
			l->left / 1024, need / 1024) :
		   0;
}

/* A shortage of room is told once: it is as true of the next way. */
static bool has_room(struct snapshot *s, enum room_way way, const char *what)
{
	uint64_t need = 0;
	const struct room_limit *l = room_lacks(&s->room, way, &need);
	uint64_t unit = l && l->of == ROOM_OF_MEMORY ? 1024 : 1;
	const char *name = unit == 1 ? "" : " KiB";

	if (l && !s->stats->fallback)
		log_warn(s->context->log, "no %s: %s has %" PRIu64 "%s left, and %" PRIu64 "%s may be needed", what,
			 l->name, l->left / unit, name, need / unit, name);
	return !l;
}

static int gather(struct snapshot *s, struct forecast_facts *facts)
{
	int r = take_gather(&s->run, s->run.tracked, facts);

	if (r == 0)
		r = look_for_room(&s->arena, s->options, s->failure, &s->room);
	facts->can_cow = r == 0 && s->options->leave_running && !room_lacks(&s->room, ROOM_SHADOW, NULL);
	facts->copy_rate = s->copy_rate;
	facts->to_memory = s->options->leave_running && facts->written <= late_room();
	return r < 0 ? fail(s->failure, r, "cannot look at the tree") : 0;
}

/* Rounds until little is left or the application writes as fast as we do. @facts: before, and as they are then. */
static int take_rounds(struct snapshot *s, struct forecast_facts *facts)
{
	int r;

	r = rebase_parent(s);
	for (unsigned n = 1; r == 0 && n <= s->options->pre_dumps; n++) {
		uint64_t before = facts->written;

		r = take_round(s, n, before <= late_room());
		if (r == 0)
			r = gather(s, facts);
		if (r == 0 && !forecast_goes_on(before, facts->written))
			break;
	}
	return r;
}

/* What was written since the parent set decides whether rounds pay: its tracker is taken over now. */
static int fetch_tracker(struct snapshot *s, int *ret_parent_fd)
{
	int fd;

	if (!s->options->prev_images_dir)
		return 0;
	fd = sys_openat(s->options->images_dir_fd, s->options->prev_images_dir, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fail(s->failure, fd, "cannot open the parent set '%s'", s->options->prev_images_dir);
	*ret_parent_fd = fd;
	return tracker_fetch(fd, s->failure, &s->run.tracked);
}

/* Nothing was armed anew: the next dump may go on from there. */
static void give_tracker_back(struct snapshot *s, int parent_fd)
{
	struct failure failure = {};

	if (parent_fd >= 0 && tracker_keep(s->run.tracked, parent_fd, &failure) < 0)
		log_warn(s->context->log, "%s: the next set will be full", failure.text);
}

static bool rounds_pay(const struct snapshot *s, const struct forecast_facts *facts)
{
	if (s->options->snapshot != SNAPSHOT_AUTO)
		return s->options->snapshot == SNAPSHOT_PRE_COPY;
	return facts->written > ROUND_WORTH_BYTES && !forecast_cow_is_short(facts);
}

/* The first touch of memory takes a third of the time of copying into it. What is written meanwhile is part of it. */
static void make_room(struct snapshot *s, const struct forecast_facts *facts)
{
	size_t size = (facts->written + facts->written / ROOM_TO_SPARE) / PAGE * PAGE;

	s->run.room = bulk_alloc(size);
	if (!s->run.room)
		return;
	s->run.room_bytes = size;
	bulk_touch(s->run.room, size);
}

/* How the tree is taken in the freeze: as was asked for; for auto, what freezes it for less. */
static void choose_take(struct snapshot *s, const struct forecast_facts *facts)
{
	enum snapshot_mode mode = s->options->snapshot;
	struct forecast_facts with_room = *facts;

	if (!s->options->leave_running)
		return;
	with_room.can_cow = true;
	if (mode == SNAPSHOT_AUTO)
		mode = forecast_choose(&with_room);
	if (mode == SNAPSHOT_COW && !facts->can_cow) {
		(void)has_room(s, ROOM_SHADOW, "shadow");
		s->stats->fallback = s->stats->fallback ?: FALLBACK_NO_SHADOW;
		mode = SNAPSHOT_STOP_COPY;
	}
	if (mode == SNAPSHOT_COW) {
		s->run.take = &take_cow;
	} else if (facts->to_memory) {
		s->run.take = &take_ahead;
		make_room(s, facts);
	}
}

static int keep_limit(struct snapshot *s, const struct forecast_facts *facts)
{
	enum snapshot_mode mode = s->run.take == &take_cow ? SNAPSHOT_COW : SNAPSHOT_STOP_COPY;
	uint64_t limit = s->options->max_frozen_usec, usec = forecast_usec(facts, mode);

	s->stats->forecast_usec = MAX(usec, (uint64_t)1);
	if (limit && usec > limit)
		return fail(s->failure, -ETIME,
			    "the tree would be frozen for %" PRIu64 " ms by forecast, %" PRIu64 " ms are allowed",
			    usec / 1000, limit / 1000);
	return 0;
}

/* What goes before the freeze. */
static int prepare(struct snapshot *s)
{
	enum snapshot_mode mode = s->options->snapshot;
	_cleanup_close_ int parent_fd = -EBADF;
	bool limited = s->options->max_frozen_usec > 0;
	struct forecast_facts facts = {};
	int r;

	r = remove_rounds(s);
	if (r == 0)
		r = demand_room(&s->arena, s->options, s->run.tracks ? ROOM_ROUNDS : ROOM_STILL, s->failure,
				&s->room);
	if (r < 0)
		return r;
	if (!limited && (mode == SNAPSHOT_STOP_COPY || mode == SNAPSHOT_COW)) {
		facts.can_cow = s->options->leave_running && !room_lacks(&s->room, ROOM_SHADOW, NULL);
		choose_take(s, &facts);
		return 0;
	}
	r = fetch_tracker(s, &parent_fd);
	if (r == 0)
		r = gather(s, &facts);
	if (r == 0 && rounds_pay(s, &facts)) {
		if (!has_room(s, ROOM_ROUNDS, "rounds"))
			s->stats->fallback = FALLBACK_NO_ROUNDS;
		else if (tracker_choose())
			r = take_rounds(s, &facts);
		else
			s->stats->fallback = "no rounds of pre-copy: this kernel cannot track memory";
	}
	if (r == 0)
		choose_take(s, &facts);
	if (r == 0 && (limited || mode == SNAPSHOT_AUTO))
		r = keep_limit(s, &facts);
	if (r < 0 && s->stats->pre_dump_rounds == 0)
		give_tracker_back(s, parent_fd);
	return r;
}

/* The name of the way as a whole. */
static const char *name_of(const struct snapshot *s)
{
	if (s->stats->pre_dump_rounds == 0)
		return s->run.take->name;
	return s->run.take == &take_cow ? "pre-copy, cow" : "pre-copy";
}

/* What might have passed has not. */
static int give_up(struct failure *f)
{
	char sentence[FAILURE_TEXT_MAX];
	const char *why = strerror(EAGAIN);
	size_t size = strlen(f->text), n = strlen(why) + strlen(": ");

	(void)snprintf(sentence, sizeof(sentence), "%.*s, also after a second of looking again",
		       (int)(size > n && strcmp(f->text + size - strlen(why), why) == 0 ? size - n : size), f->text);
	failure_clear(f);
	return failure_take(f, -EOPNOTSUPP, sentence);
}

/*
 * What passes by itself (a message not read yet, pages still to come) is waited for with the tree running: each try stops it only for as long
 * as looking takes.
 */
static int try_until_still(struct dump_run *run, struct engine_stats *stats, struct failure *f)
{
	const struct engine_stats before = *stats;
	int r = dump_run(run, stats, f);

	for (long msec = RETRY_MSEC; run->passes && msec <= RETRY_MSEC_MAX; msec *= 2) {
		log_info(run->context->log, "%s: trying again", f->text);
		(void)nanosleep(&(struct timespec){ .tv_nsec = msec * 1000000 }, NULL);
		failure_clear(f);
		*stats = before;
		r = dump_run(run, stats, f);
	}
	return run->passes ? give_up(f) : r;
}

static int dump(struct snapshot *s)
{
	const char *full_reason;
	int r;

	r = dump_notify(s->context, "pre-dump", NULL, s->failure);
	if (r == 0)
		r = prepare(s);
	if (r < 0)
		return r;
	full_reason = s->stats->full_reason;
	r = try_until_still(&s->run, s->stats, s->failure);
	if (s->stats->pre_dump_rounds > 0)
		s->stats->full_reason = full_reason;
	s->stats->bytes_written += s->stats->pre_dump_pages * 4096;
	s->stats->snapshot = name_of(s);
	if (s->options->snapshot != SNAPSHOT_STOP_COPY && s->stats->shpages_scanned > 0 && !s->stats->fallback)
		s->stats->fallback = "shared memory was read while the tree was frozen";
	return r;
}

int engine_dump(const struct engine_options *options, const struct engine_context *context,
		struct engine_stats *stats, struct failure *failure)
{
	bool tracks = options->track_mem && options->leave_running;
	struct snapshot s = {
		.options = options,
		.context = context,
		.stats = stats,
		.failure = failure,
		.run = {
			.options = options,
			.context = context,
			.dir_fd = options->images_dir_fd,
			.parent = options->prev_images_dir,
			.take = &take_stop_copy,
			.tracks = tracks,
			.keeps = tracks,
			.late = &s.late,
		},
	};
	uint64_t start = clock_monotonic_usec();
	int r;

	*stats = (struct engine_stats){};
	r = dump(&s);
	stats->total_usec = clock_monotonic_usec() - start;
	if (r < 0)
		(void)remove_rounds(&s);
	tracker_free(s.run.tracked);
	tracker_free(s.run.tracking);
	free(s.first_parent);
	late_done(&s.late);
	arena_done(&s.arena);
	bulk_free(s.run.room, s.run.room_bytes);
	return r;
}

int engine_pre_dump(const struct engine_options *options, const struct engine_context *context,
		    struct engine_stats *stats, struct failure *failure)
{
	struct dump_run run = {
		.options = options,
		.context = context,
		.dir_fd = options->images_dir_fd,
		.parent = options->prev_images_dir,
		.take = &take_live,
		.memory_only = true,
		.tracks = true,
		.keeps = true,
	};
	struct arena arena = {};
	struct room room;
	int r;

	*stats = (struct engine_stats){};
	r = dump_notify(context, "pre-dump", NULL, failure);
	if (r == 0)
		r = demand_room(&arena, options, ROOM_ROUNDS, failure, &room);
	arena_done(&arena);
	if (r == 0)
		r = try_until_still(&run, stats, failure);
	tracker_free(run.tracked);
	return r;
}

/* A directory that is in no file system and is gone when it is closed. */
static int make_scratch(struct failure *f)
{
	_cleanup_close_ int fs = SYS_CALL(fsopen("tmpfs", FSOPEN_CLOEXEC));
	int r = fs;

	if (r >= 0)
		r = SYS_CALL(fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0700", 0));
	if (r >= 0)
		r = SYS_CALL(fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
	if (r >= 0)
		r = SYS_CALL(fsmount(fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV));
	return r < 0 ? fail(f, r, "cannot make a directory for what the check would write") : r;
}

int engine_check_tree(const struct engine_options *options, const struct engine_context *context,
		      struct failure *failure)
{
	_cleanup_close_ int scratch = make_scratch(failure);
	struct engine_context silent = { .log = context->log };
	struct engine_options look = *options; /* borrows */
	struct engine_stats stats = {};
	struct dump_run run = {
		.options = &look,
		.context = &silent,
		.dir_fd = scratch,
		.take = &take_stop_copy,
		.looks_only = true,
	};

	look.link_remap = false; /* it would make names */
	return scratch < 0 ? scratch : try_until_still(&run, &stats, failure);
}
