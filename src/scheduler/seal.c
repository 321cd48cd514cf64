/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "scheduler/seal.h"

#include <inttypes.h>
#include <string.h>
#include <sys/prctl.h>

#include "basic/sys.h"
#include "stats.pb-c.h"

enum {
	STATS_MAX = 4096,
	STATS_HEAD_MAGIC = 0x55105940,
	STATS_MAGIC = 0x57093306,
	END_MSEC = 1000,
};

struct seal {
	const struct sched_context *c;
	pid_t pid;
	int fd; /* what the child says */
	seal_fn *done;
	void *userdata;
};

struct seal *seal_free(struct seal *s)
{
	if (!s)
		return NULL;
	if (s->pid > 0) {
		reaper_unwatch(s->c->reaper, s->pid);
		(void)sys_kill(s->pid, SIGKILL);
		/* One that sleeps in the kernel is not waited for: the reaper gets it when it ends. */
		(void)sys_child_ends(s->pid, END_MSEC);
		(void)SYS_CALL(waitpid(s->pid, NULL, WNOHANG));
	}
	close_fd(s->fd);
	free(s);
	return NULL;
}

/* Statistics are nice to have: whatever is wrong with them, they are only not there. */
static uint64_t read_frozen(int dir_fd)
{
	_cleanup_free_ char *text = NULL;
	StatsEntry *stats;
	uint32_t head[3];
	uint64_t frozen = 0;
	size_t size;

	if (sys_read_file_at(dir_fd, "stats-dump", STATS_MAX, &text, &size) < 0 ||
	    size < sizeof(head))
		return 0;
	memcpy(head, text, sizeof(head));
	if (head[0] != STATS_HEAD_MAGIC || head[1] != STATS_MAGIC || head[2] > size - sizeof(head))
		return 0;
	stats = stats_entry__unpack(NULL, head[2], (uint8_t *)text + sizeof(head));
	if (stats && stats->dump)
		frozen = stats->dump->frozen_time;
	if (stats)
		stats_entry__free_unpacked(stats, NULL);
	return frozen;
}

/* What the child does. */
typedef int work_fn(int dir_fd, const struct generation *g, struct failure *f);

static int verify_bytes(int dir_fd, const struct generation *g, struct failure *f)
{
	_cleanup_(manifest_freep) struct manifest *m = NULL;
	struct manifest_hash hash;
	int r;

	r = manifest_read(dir_fd, f, &m, &hash);
	if (r == 0 && !manifest_hash_equal(&hash, &g->manifest))
		r = fail(f, -ESTALE, "its manifest has changed meanwhile");
	return r < 0 ? r : manifest_verify(m, dir_fd, MANIFEST_FULL, f);
}

static _noreturn_ void child_main(int dir_fd, int report_fd, work_fn *work, const struct generation *g,
				  pid_t parent)
{
	enum { DIR_FD = 3, REPORT_FD = 4 };
	struct seal_result result = {};
	sigset_t none;

	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)SYS_CALL(prctl(PR_SET_PDEATHSIG, SIGKILL));
	if (getppid() != parent)
		_exit(1);
	dir_fd = SYS_CALL(fcntl(dir_fd, F_DUPFD, 10));
	report_fd = SYS_CALL(fcntl(report_fd, F_DUPFD, 10));
	if (dir_fd < 0 || report_fd < 0 || SYS_CALL(dup2(dir_fd, DIR_FD)) < 0 ||
	    SYS_CALL(dup2(report_fd, REPORT_FD)) < 0)
		_exit(1);
	(void)sys_close_range(5, ~0U, 0);

	if (work(DIR_FD, g, &result.failure) < 0 && result.failure.error == 0)
		(void)fail(&result.failure, -EIO, "generation %" PRId64 ": the work on its files failed", g->gen);
	if (work == generations_seal)
		result.frozen_usec = read_frozen(DIR_FD);
	_exit(sys_write_full(REPORT_FD, &result, sizeof(result)) < 0);
}

static void on_end(void *userdata, const siginfo_t *info)
{
	_cleanup_(seal_freep) struct seal *s = userdata;
	struct seal_result result = {};

	s->pid = 0;
	if (sys_read_full(s->fd, &result, sizeof(result)) < 0) {
		result = (struct seal_result){};
		(void)fail(&result.failure, -EIO, "the process that works on its files died (%s %d)",
			   info->si_code == CLD_EXITED ? "status" : "signal", info->si_status);
	}
	result.failure.text[sizeof(result.failure.text) - 1] = '\0';
	s->done(s->userdata, &result);
}

static int start(const struct sched_context *c, int dir_fd, work_fn *work, const struct generation *g, seal_fn *done,
		 void *userdata, struct failure *f, struct seal **ret)
{
	_cleanup_(seal_freep) struct seal *s = calloc(1, sizeof(*s));
	_cleanup_close_ int child_fd = -EBADF;
	pid_t parent = getpid();
	int fds[2], r;

	if (!s)
		return fail(f, -ENOMEM, "cannot seal");
	*s = (struct seal){ .c = c, .fd = -EBADF, .done = done, .userdata = userdata };
	r = sys_pipe2(fds, 0);
	if (r < 0)
		return fail(f, r, "cannot make a pipe to seal by");
	s->fd = fds[0];
	child_fd = fds[1];

	r = SYS_CALL(fork());
	if (r < 0)
		return fail(f, r, "cannot fork to seal");
	if (r == 0)
		child_main(dir_fd, child_fd, work, g, parent);
	s->pid = r;
	r = reaper_watch(c->reaper, s->pid, on_end, s);
	if (r < 0)
		return fail(f, r, "cannot watch the process that seals");
	*ret = TAKE_PTR(s);
	return 0;
}

int seal_start(const struct sched_context *c, int dir_fd, const struct generation *g, seal_fn *done,
	       void *userdata, struct failure *f, struct seal **ret)
{
	return start(c, dir_fd, generations_seal, g, done, userdata, f, ret);
}

int seal_start_verify(const struct sched_context *c, int dir_fd, const struct generation *g, seal_fn *done,
		      void *userdata, struct failure *f, struct seal **ret)
{
	return start(c, dir_fd, verify_bytes, g, done, userdata, f, ret);
}
