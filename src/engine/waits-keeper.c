/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/waits-keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>

#include "basic/clock.h"
#include "basic/fdpass.h"
#include "basic/parse.h"
#include "basic/sys.h"
#include "engine/control/meeting.h"
#include "engine/tree.h"

#define SOCKET_PREFIX "snapmgr-waits-"

enum {
	SEND_PATIENCE_USEC = 500 * 1000,
};

/* ---- those that come and take ---- */

static void take_from(void *userdata, const char *name)
{
	_cleanup_close_ int sock = meeting_connect(SOCKET_PREFIX, name);
	struct waits *ret = userdata;
	struct wait w;

	while (sock >= 0 && SYS_CALL(recv(sock, &w, sizeof(w), 0)) == (int)sizeof(w)) {
		if (waits_add(ret, &w) < 0)
			return;
	}
}

void waits_keeper_take(pid_t root, uint64_t start_time, struct waits *ret)
{
	meeting_find(SOCKET_PREFIX, root, start_time, take_from, ret);
}

/* ---- those that leave one behind ---- */

static bool is_worth_keeping(const struct wait *w, uint64_t now)
{
	return w->by_kernel ? w->until_usec > now : w->whole_usec > WAIT_WORTH_USEC;
}

/* A file of the notes. -ENOENT: there are none. */
static int write_notes(const struct waits *waits)
{
	_cleanup_close_ int fd = -EBADF;
	uint64_t now = clock_monotonic_usec();
	int r = -ENOENT;

	for (size_t i = 0; i < waits->n; i++) {
		if (!is_worth_keeping(&waits->items[i], now))
			continue;
		if (fd < 0)
			r = fd = SYS_CALL(memfd_create("waits", MFD_CLOEXEC));
		if (r >= 0)
			r = sys_write_full(fd, &waits->items[i], sizeof(waits->items[i]));
		if (r < 0)
			return r;
	}
	if (fd >= 0)
		r = (int)SYS_CALL(lseek(fd, 0, SEEK_SET));
	return r < 0 ? r : TAKE_FD(fd);
}

/* It forks itself away: what we wait for is only that. */
static int execute(pid_t root, int listener, int notes)
{
	char number[16], *argv[] = { "snapmgr-engine", "waits-keeper", number, NULL }, *env[] = { NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t none, all;
	int r, status;
	pid_t pid;

	(void)snprintf(number, sizeof(number), "%d", root);
	(void)sigemptyset(&none);
	(void)sigfillset(&all);
	r = -posix_spawn_file_actions_init(&files);
	if (r < 0)
		return r;
	r = -posix_spawnattr_init(&attributes);
	if (r == 0)
		r = -posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	if (r == 0)
		r = -posix_spawnattr_setsigmask(&attributes, &none);
	if (r == 0)
		r = -posix_spawnattr_setsigdefault(&attributes, &all);
	if (r == 0)
		r = -posix_spawn_file_actions_adddup2(&files, notes, 1);
	if (r == 0)
		r = -posix_spawn_file_actions_adddup2(&files, listener, 0);
	if (r == 0)
		r = -posix_spawn_file_actions_addopen(&files, 2, "/dev/null", O_WRONLY, 0);
	if (r == 0)
		r = -posix_spawn_file_actions_addclosefrom_np(&files, 3);
	if (r == 0)
		r = -posix_spawn(&pid, "/proc/self/exe", &files, &attributes, argv, env);
	(void)posix_spawnattr_destroy(&attributes);
	(void)posix_spawn_file_actions_destroy(&files);
	if (r == 0)
		r = SYS_CALL(waitpid(pid, &status, 0));
	return r < 0 ? r : status == 0 ? 0 : -ECHILD;
}

int waits_keeper_start(pid_t root, uint64_t start_time, const struct waits *waits)
{
	_cleanup_close_ int notes = write_notes(waits), listener = -EBADF;

	if (notes < 0)
		return notes == -ENOENT ? 0 : notes;
	listener = meeting_listen(SOCKET_PREFIX, root, start_time, NULL);
	return listener < 0 ? listener : execute(root, listener, notes);
}

/* ---- the process ---- */

static int read_notes(struct waits *ret)
{
	struct wait w;
	int r = 0;

	while (r == 0 && sys_read(1, &w, sizeof(w)) == sizeof(w))
		r = waits_add(ret, &w);
	return r;
}

static void hand_over(int sock, const struct waits *waits)
{
	const struct timeval patience = { .tv_usec = SEND_PATIENCE_USEC };

	if (SYS_CALL(setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience))) < 0)
		return;
	for (size_t i = 0; i < waits->n; i++) {
		if (SYS_CALL(send(sock, &waits->items[i], sizeof(waits->items[i]), MSG_NOSIGNAL)) < 0)
			return;
	}
}

/* Ends the calls whose time is over, and forgets them. Return: milliseconds until the next one, -1: none is left. */
static int end_due(struct waits *waits)
{
	uint64_t now = clock_monotonic_usec(), next = UINT64_MAX;
	size_t n = 0;

	for (size_t i = 0; i < waits->n; i++) {
		struct wait w = waits->items[i];

		if (w.until_usec > now) {
			next = MIN(next, w.until_usec - now);
			waits->items[n++] = w;
		} else if (!w.by_kernel) {
			tree_end_wait(&w);
		}
	}
	waits->n = n;
	return n == 0 ? -1 : (int)MIN((next + 999) / 1000, (uint64_t)INT32_MAX);
}

/* Until somebody takes the notes, the tree ends, or nothing is left. */
static void keep(struct waits *waits, int pidfd)
{
	struct pollfd fds[] = { { 0, POLLIN, 0 }, { pidfd, POLLIN, 0 } };
	int msec;

	while ((msec = end_due(waits)) >= 0) {
		if (SYS_CALL(poll(fds, ARRAY_SIZE(fds), msec)) < 0 || fds[1].revents)
			return;
		if (fds[0].revents) {
			_cleanup_close_ int sock = SYS_CALL(accept4(0, NULL, NULL, SOCK_CLOEXEC));

			if (sock >= 0 && meeting_is_ours(sock)) {
				hand_over(sock, waits);
				return;
			}
		}
	}
}

int waits_keeper_main(int argc, char *argv[])
{
	struct waits waits = {};
	uint32_t root;
	pid_t child;
	int pidfd;

	if (argc != 2 || parse_u32(argv[1], 10, &root) < 0)
		return 1;
	(void)SYS_CALL(prctl(PR_SET_NAME, WAITS_KEEPER_NAME));
	(void)SYS_CALL(chdir("/"));
	pidfd = sys_pidfd_open((pid_t)root, 0);
	if (pidfd < 0 || read_notes(&waits) < 0)
		return 1;
	child = (pid_t)SYS_CALL(fork());
	if (child != 0)
		return child < 0;
	keep(&waits, pidfd);
	waits_done(&waits);
	(void)close_fd(pidfd);
	return 0;
}
