/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A holder that is not reached makes a full set, nothing worse. */
#include "engine/memory/track-holder.h"

#include <poll.h>
#include <string.h>
#include <sys/prctl.h>

#include "basic/fdpass.h"
#include "basic/sys.h"
#include "engine/control/meeting.h"

#define SOCKET_PREFIX "snapmgr-tracker-"

struct hello {
	uint64_t start_time, canary;
	int32_t pid, more;
	char way[16]; /* struct tracker_ops.name */
};

static void send_all(int sock, const struct tracker *t)
{
	for (size_t i = 0; i < t->n; i++) {
		struct hello h = {
			.start_time = t->items[i].start_time,
			.canary = t->items[i].canary,
			.pid = t->items[i].pid,
			.more = i + 1 < t->n,
		};

		(void)snprintf(h.way, sizeof(h.way), "%s", t->ops->name);
		if (fdpass_send(sock, &h, sizeof(h), &t->items[i].fd, 1) < 0)
			return;
	}
}

/* One taker, or the end of every task: whichever comes first. @fds: the socket, then pidfds. Return: the taker, or -1. */
static int serve(const struct tracker *t, struct pollfd *fds, size_t n)
{
	size_t alive = n - 1;

	while (alive > 0) {
		if (SYS_CALL(poll(fds, n, -1)) < 0)
			return -1;
		for (size_t i = 1; i < n; i++) {
			if (fds[i].fd >= 0 && fds[i].revents) {
				fds[i].fd = close_fd(fds[i].fd);
				alive--;
			}
		}
		if (fds[0].revents) {
			_cleanup_close_ int sock = SYS_CALL(accept4(fds[0].fd, NULL, NULL, SOCK_CLOEXEC));

			if (sock >= 0 && meeting_is_ours(sock)) {
				send_all(sock, t);
				return TAKE_FD(sock);
			}
		}
	}
	return -1;
}

static _noreturn_ void hold(const struct tracker *t, int listener)
{
	struct pollfd *fds = calloc(t->n + 1, sizeof(*fds));
	int *keep = calloc(2 * t->n + 1, sizeof(*keep));
	size_t n = 1, n_keep = 0;

	(void)SYS_CALL(setsid());
	(void)SYS_CALL(prctl(PR_SET_NAME, "snapmgr-holder"));
	if (!fds || !keep)
		_exit(1);
	fds[0] = (struct pollfd){ listener, POLLIN, 0 };
	keep[n_keep++] = listener;
	for (size_t i = 0; i < t->n; i++) {
		int pidfd = sys_pidfd_open(t->items[i].pid, 0);

		keep[n_keep++] = t->items[i].fd;
		if (pidfd < 0)
			continue;
		fds[n++] = (struct pollfd){ pidfd, POLLIN, 0 };
		keep[n_keep++] = pidfd;
	}
	fdpass_keep_only(keep, n_keep);
	(void)SYS_CALL(chdir("/"));
	(void)serve(t, fds, n);
	/* Who waits for the end of the connection finds them closed. */
	for (size_t i = 0; i < t->n; i++)
		close_fd(t->items[i].fd);
	_exit(0);
}

int holder_keep(const struct tracker *t, struct failure *f, char **ret_note)
{
	_cleanup_free_ char *name = NULL;
	_cleanup_close_ int listener = meeting_listen(SOCKET_PREFIX, t->items[0].pid, t->items[0].start_time, &name);
	int r;

	if (listener < 0)
		return fail(f, listener, "cannot make the holder's socket");
	r = sys_fork_apart();
	if (r == 0)
		hold(t, listener);
	if (r < 0)
		return fail(f, r, "cannot start the holder of trackers");
	*ret_note = TAKE_PTR(name);
	return 0;
}

/* ---- the taker ---- */

/* One tracker; of another way it is dropped. Return: 1 more follow, 0 the last, -errno. */
static int receive_one(int sock, struct tracker *t)
{
	struct hello h;
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (fdpass_receive(sock, &h, sizeof(h), 0, &fd) != sizeof(h) || fd < 0)
		return -EBADMSG;
	if (strncmp(h.way, t->ops->name, sizeof(h.way)) != 0)
		return h.more != 0;
	r = tracker_add(t, (struct tracked){
				   .pid = h.pid, .start_time = h.start_time, .canary = h.canary, .fd = TAKE_FD(fd) });
	return r < 0 ? r : h.more != 0;
}

/* Part of them is as good: what is missing is stored in full. */
static void receive_all(struct tracker *t, const char *name)
{
	_cleanup_close_ int sock = meeting_connect(SOCKET_PREFIX, name);
	int r = sock < 0 ? sock : 1;

	while (r > 0)
		r = receive_one(sock, t);
}

int holder_fetch(const char *note, struct failure *f, struct tracker *t)
{
	(void)f;
	receive_all(t, note);
	return 0;
}

static void take_found(void *userdata, const char *name)
{
	receive_all(userdata, name);
}

void holder_seize(pid_t pid, uint64_t start_time, struct tracker *t)
{
	meeting_find(SOCKET_PREFIX, pid, start_time, take_found, t);
}
