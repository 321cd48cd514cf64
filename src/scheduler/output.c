/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/output.h"

#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>

#include "basic/sys.h"
#include "basic/text.h"
#include "catalog/store.h"

enum {
	LINE_MAX_BYTES = 1024, /* longer ones are broken */
	READ_BYTES = 16384,
	READS_AT_A_TIME = 16, /* a tree that floods does not hold up the daemon */
	KEEP_BYTES = 16 << 20,
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

int output_open(const struct sched_context *c, const struct policy *p, struct failure *f)
{
	const struct policy_command *cmd = &p->command;
	int fd;

	switch (cmd->output) {
	case POLICY_OUTPUT_NULL:
		return -EBADF;
	case POLICY_OUTPUT_APPEND:
		fd = sys_open(cmd->output_path, O_WRONLY | O_APPEND | O_CREAT | O_NOCTTY, 0600);
		return fd < 0 ? fail(f, fd, "cannot open '%s'", cmd->output_path) : fd;
	default:
		return open_in_store(c, p->name, O_WRONLY | O_APPEND, f);
	}
}

struct output_tail *output_tail_free(struct output_tail *t)
{
	if (!t)
		return NULL;
	sd_event_source_unref(t->changed);
	sd_event_source_unref(t->more);
	close_fd(t->fd);
	free(t);
	return NULL;
}

/* The first @n bytes of the line. */
static void pass_on(struct output_tail *t, size_t n)
{
	if (n == 0)
		return;
	report(&t->c->reporter, REPORT_OUTPUT, t->policy, 0, "%.*s", (int)n, t->line);
	t->n_line -= n;
	memmove(t->line, t->line + n, t->n_line);
}

static void take(struct output_tail *t, const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
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

/* Return: whether there may be more. */
static bool read_some(struct output_tail *t)
{
	char buf[READ_BYTES];
	struct stat st;
	ssize_t n;

	if (sys_fstat(t->fd, &st) == 0 && st.st_size < t->offset)
		t->offset = 0; /* somebody has emptied it */
	n = SYS_CALL(pread(t->fd, buf, sizeof(buf), t->offset));
	if (n <= 0)
		return false;
	t->offset += n;
	take(t, buf, n);
	return true;
}

static void read_on(struct output_tail *t)
{
	for (int i = 0; i < READS_AT_A_TIME; i++) {
		if (read_some(t))
			continue;
		/* All of it was passed on, but for what is printed at this very moment. */
		if (t->offset > KEEP_BYTES && SYS_CALL(ftruncate(t->fd, 0)) == 0)
			t->offset = 0;
		(void)sd_event_source_set_enabled(t->more, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_enabled(t->more, SD_EVENT_ONESHOT);
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
	if (r < 0)
		return fail(f, r, "cannot follow the output of '%s'", policy);
	*ret = TAKE_PTR(t);
	return 0;
}
