/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/output.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>

#include "basic/clock.h"
#include "basic/place.h"
#include "basic/sys.h"
#include "basic/text.h"
#include "catalog/store.h"
#include "scheduler/flood.h"

enum {
	LINE_MAX_BYTES = 1024, /* longer ones are broken */
	READ_BYTES = 4096,     /* passed on in one turn */
	DROP_BYTES = 65536,    /* read at once to be counted only */
	DROPS_AT_A_TIME = 16,
	KEEP_BYTES = 16 << 20, /* emptied above it when all was read */
	SIZE_BYTES = 64 << 20, /* ... and above this in any case */
};

struct output_tail {
	const struct sched_context *c;
	char policy[POLICY_NAME_MAX];
	int fd;
	off_t offset;
	char line[LINE_MAX_BYTES];
	size_t n_line;
	sd_event_source *changed; /* inotify */
	sd_event_source *more;	  /* there was more than one turn's worth */
	struct flood flood;
	sd_event_source *window_ends; /* enabled: lines are dropped until then */
	bool amid_dropped;	      /* what comes next is the rest of a line that was dropped */
};

static int open_in_store(const struct sched_context *c, const char *policy, int flags,
			 struct failure *f)
{
	char name[POLICY_NAME_MAX + 16];
	int fd;

	(void)snprintf(name, sizeof(name), "%s.output", policy);
	fd = sys_openat(store_fd(catalog_store(c->catalog)), name,
			flags | O_CREAT | O_NOFOLLOW | O_NOCTTY, 0600);
	return fd < 0 ? fail(f, fd, "cannot open '%s' in the store", name) : fd;
}

/* Root opens it, the program fills it: others must not choose which file it is. */
static int open_to_append(const char *path, struct failure *f)
{
	_cleanup_(place_found_done) struct place_found found = PLACE_FOUND_NONE;
	_cleanup_close_ int root = sys_open("/", O_PATH | O_DIRECTORY, 0);
	const struct place at = { .root_fd = root, .path = path };
	int fd;

	if (root < 0)
		return fail(f, root, "cannot open the root directory");
	fd = place_open_to_append(&at, 0600, &found);
	if (fd == -EPERM && found.weak[0])
		return fail(f, fd, "cannot append to '%s': others can change '%s'; give the output a directory of root's", path,
			    found.weak);
	return fd < 0 ? fail(f, fd, "cannot open '%s'", path) : fd;
}

int output_open(const struct sched_context *c, const struct policy *p, struct failure *f)
{
	const struct policy_command *cmd = &p->command;

	switch (cmd->output) {
	case POLICY_OUTPUT_NULL:
		return -EBADF;
	case POLICY_OUTPUT_APPEND:
		return open_to_append(cmd->output_path, f);
	default:
		return open_in_store(c, p->name, O_WRONLY | O_APPEND, f);
	}
}

int output_adopt(const struct sched_context *c, const char *from, const char *to, struct failure *f)
{
	char name[POLICY_NAME_MAX + 16], taken[POLICY_NAME_MAX + 16], aside[POLICY_NAME_MAX + 16];
	int dir_fd = store_fd(catalog_store(c->catalog)), r;
	struct stat st, there;

	(void)snprintf(name, sizeof(name), "%s.output", from);
	(void)snprintf(taken, sizeof(taken), "%s.output", to);
	(void)snprintf(aside, sizeof(aside), "%s.output.old", to);
	r = sys_fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW);
	if (r == -ENOENT)
		return 0; /* it never printed there */
	if (r == 0 && !S_ISREG(st.st_mode))
		r = -EBADMSG;
	if (r == 0)
		r = sys_fstatat(dir_fd, taken, &there, AT_SYMLINK_NOFOLLOW);
	if (r == 0 && there.st_dev == st.st_dev && there.st_ino == st.st_ino)
		return 0;
	if (r == 0)
		r = sys_renameat(dir_fd, taken, dir_fd, aside);
	if (r == 0 || r == -ENOENT)
		r = sys_linkat(dir_fd, name, dir_fd, taken);
	return r < 0 ? fail(f, r, "cannot follow '%s' in the store", name) : 0;
}

struct output_tail *output_tail_free(struct output_tail *t)
{
	if (!t)
		return NULL;
	sd_event_source_unref(t->changed);
	sd_event_source_unref(t->more);
	sd_event_source_unref(t->window_ends);
	close_fd(t->fd);
	free(t);
	return NULL;
}

static bool is_dropping(const struct output_tail *t)
{
	return sd_event_source_get_enabled(t->window_ends, NULL) > 0;
}

/* The budget of the window is used up: lines are only counted until it is over. */
static void begin_dropping(struct output_tail *t)
{
	(void)sd_event_source_set_time(t->window_ends, flood_end_usec(&t->flood));
	(void)sd_event_source_set_enabled(t->window_ends, SD_EVENT_ONESHOT);
}

/* The first @n bytes of the line. */
static void pass_on(struct output_tail *t, size_t n)
{
	if (n == 0)
		return;
	if (flood_admits(&t->flood, n, clock_monotonic_usec()))
		report(&t->c->reporter, REPORT_OUTPUT, t->policy, 0, "%.*s", (int)n, t->line);
	else
		begin_dropping(t);
	t->n_line -= n;
	memmove(t->line, t->line + n, t->n_line);
}

/* Counts lines. The last may have no end yet: its beginning is dropped with it. */
static void drop(struct output_tail *t, const char *text, size_t size)
{
	const char *end = text + size;
	uint64_t lines = 0;

	for (const char *p = text; (p = memchr(p, '\n', (size_t)(end - p))); p++)
		lines++;
	flood_drop(&t->flood, lines, size + t->n_line, 0);
	t->n_line = 0;
	t->amid_dropped = end[-1] != '\n';
}

/* The rest of a line whose beginning was dropped goes too. Return: its bytes. */
static size_t drop_rest(struct output_tail *t, const char *text, size_t size)
{
	const char *end = memchr(text, '\n', size);
	size_t n = end ? (size_t)(end + 1 - text) : size;

	if (!t->amid_dropped)
		return 0;
	drop(t, text, n);
	return n;
}

static void take(struct output_tail *t, const char *text, size_t size)
{
	for (size_t i = drop_rest(t, text, size); i < size; i++) {
		if (is_dropping(t)) {
			drop(t, text + i, size - i);
			return;
		}
		if (text[i] == '\n') {
			pass_on(t, t->n_line);
			continue;
		}
		/* NUL would end the line early; tabs are common, and a blank reads better than an escape. */
		t->line[t->n_line++] = text[i] && text[i] != '\t' ? text[i] : ' ';
		if (t->n_line == LINE_MAX_BYTES)
			pass_on(t, text_whole_characters(t->line, t->n_line));
	}
}

/* Return: whether the file is empty now. */
static bool empty_file(struct output_tail *t)
{
	if (SYS_CALL(ftruncate(t->fd, 0)) < 0)
		return false;
	t->offset = 0;
	return true;
}

/* A program that prints faster than its lines can even be counted must not fill the disk. */
static void bound_size(struct output_tail *t, off_t size)
{
	off_t unread = size - t->offset;

	if (size <= SIZE_BYTES || !empty_file(t) || unread == 0)
		return;
	flood_drop(&t->flood, 0, 0, (uint64_t)unread);
	t->amid_dropped = true;
	t->n_line = 0;
	if (!is_dropping(t))
		begin_dropping(t);
}

/* Return: whether there may be more. */
static bool read_some(struct output_tail *t)
{
	char buf[DROP_BYTES];
	struct stat st;
	ssize_t n;

	if (sys_fstat(t->fd, &st) == 0) {
		if (st.st_size < t->offset)
			t->offset = 0; /* somebody has emptied it */
		bound_size(t, st.st_size);
	}
	n = SYS_CALL(pread(t->fd, buf, is_dropping(t) ? DROP_BYTES : READ_BYTES, t->offset));
	if (n <= 0)
		return false;
	t->offset += n;
	take(t, buf, n);
	return true;
}

/* A turn is short: what else the daemon has to do comes between two of them. */
static void read_on(struct output_tail *t)
{
	int turn = is_dropping(t) ? DROPS_AT_A_TIME : 1;

	for (int i = 0; i < turn; i++) {
		if (read_some(t))
			continue;
		/* All of it was passed on, but for what is printed at this very moment. */
		if (t->offset > KEEP_BYTES)
			(void)empty_file(t);
		(void)sd_event_source_set_enabled(t->more, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_enabled(t->more, SD_EVENT_ONESHOT);
}

static int on_window_end(sd_event_source *s, uint64_t usec, void *userdata)
{
	struct output_tail *t = userdata;
	struct flood told;

	(void)sd_event_source_set_enabled(s, SD_EVENT_OFF);
	if (!flood_take_dropped(&t->flood, clock_monotonic_usec(), &told))
		return 0;
	if (told.unread_bytes > 0)
		report(&t->c->reporter, REPORT_TROUBLE, t->policy, 0,
		       "its output: %" PRIu64 " lines dropped, and %" PRIu64 " bytes in which nobody counted lines: at most %d "
		       "lines are passed on in %d s",
		       told.dropped_lines, told.unread_bytes, FLOOD_LINES, FLOOD_WINDOW_USEC / 1000000);
	else
		report(&t->c->reporter, REPORT_TROUBLE, t->policy, 0,
		       "its output: %" PRIu64 " lines dropped (%" PRIu64 " bytes): at most %d lines are passed on in %d s",
		       told.dropped_lines, told.dropped_bytes, FLOOD_LINES, FLOOD_WINDOW_USEC / 1000000);
	return 0;
}

static int on_more(sd_event_source *s, void *userdata)
{
	read_on(userdata);
	return 0;
}

static int on_changed(sd_event_source *s, const struct inotify_event *event, void *userdata)
{
	read_on(userdata);
	return 0;
}

int output_tail_new(const struct sched_context *c, const char *policy, struct failure *f,
		    struct output_tail **ret)
{
	_cleanup_(output_tail_freep) struct output_tail *t = calloc(1, sizeof(*t));
	char path[64];
	struct stat st;
	int r;

	if (!t)
		return fail(f, -ENOMEM, "cannot follow the output of '%s'", policy);
	t->c = c;
	(void)snprintf(t->policy, sizeof(t->policy), "%s", policy);
	t->fd = open_in_store(c, policy, O_RDWR, f);
	if (t->fd < 0)
		return t->fd;
	r = sys_fstat(t->fd, &st);
	if (r < 0)
		return fail(f, r, "cannot follow the output of '%s'", policy);
	t->offset = st.st_size;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", t->fd);
	r = sd_event_add_inotify(c->event, &t->changed, path, IN_MODIFY, on_changed, t);
	if (r >= 0)
		r = sd_event_add_defer(c->event, &t->more, on_more, t);
	if (r >= 0)
		r = sd_event_source_set_enabled(t->more, SD_EVENT_OFF);
	if (r >= 0)
		r = sd_event_add_time(c->event, &t->window_ends, CLOCK_MONOTONIC, 0, 0, on_window_end, t);
	if (r >= 0)
		r = sd_event_source_set_enabled(t->window_ends, SD_EVENT_OFF);
	/* Behind everything else that the daemon does. */
	if (r >= 0)
		r = sd_event_source_set_priority(t->changed, SD_EVENT_PRIORITY_IDLE);
	if (r >= 0)
		r = sd_event_source_set_priority(t->more, SD_EVENT_PRIORITY_IDLE);
	if (r < 0)
		return fail(f, r, "cannot follow the output of '%s'", policy);
	*ret = TAKE_PTR(t);
	return 0;
}
