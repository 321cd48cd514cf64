/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Any user may bind an abstract name, also one that looks like a holder's, and let a connection to it wait for ever. So nobody
 * waits for a connection here, and nothing is received before the kernel has said that root or our own user listens. A
 * holder that is not reached makes a full set, nothing worse.
 */
#include "engine/memory/track-holder.h"

#include <inttypes.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/un.h>

#include "basic/fdpass.h"
#include "basic/sys.h"

#define SOCKET_PREFIX "snapmgr-tracker-"

enum {
	NAME_BYTES = 16,
	NAME_MAX_BYTES = 80, /* with the prefix it fits an address */
	SOCKETS_TEXT_MAX = 64 * 1024 * 1024,
};

struct hello {
	uint64_t start_time, canary;
	int32_t pid, more;
	char way[16]; /* struct tracker_ops.name */
};

static socklen_t address_of(const char *name, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	/* Abstract: gone with the holder, in no file system. */
	(void)snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, SOCKET_PREFIX "%s", name);
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(ret->sun_path + 1);
}

static uint64_t read_u64(const unsigned char *p)
{
	uint64_t n;

	memcpy(&n, p, sizeof(n));
	return n;
}

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

/* Root's processes, or our own user's. */
static bool may_take(int sock)
{
	struct ucred cred;
	socklen_t size = sizeof(cred);

	return SYS_CALL(getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &cred, &size)) == 0 &&
	       (cred.uid == 0 || cred.uid == geteuid());
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

			if (sock >= 0 && may_take(sock)) {
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

static int listen_as(const char *name, struct failure *f)
{
	_cleanup_close_ int sock = SYS_CALL(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
	struct sockaddr_un addr;
	socklen_t size = address_of(name, &addr);
	int r = sock;

	if (r >= 0)
		r = SYS_CALL(bind(sock, (struct sockaddr *)&addr, size));
	if (r >= 0)
		r = SYS_CALL(listen(sock, 1));
	return r < 0 ? fail(f, r, "cannot make the holder's socket") : TAKE_FD(sock);
}

/* PID-START-RANDOM: by the first two a holder is found that no set leads to any more. */
static char *make_name(const struct tracker *t)
{
	unsigned char random[NAME_BYTES];
	char *name;

	if (SYS_CALL(getrandom(random, sizeof(random), 0)) != (int)sizeof(random) ||
	    asprintf(&name, "%d-%" PRIu64 "-%016" PRIx64 "%016" PRIx64, t->items[0].pid, t->items[0].start_time,
		     read_u64(random), read_u64(random + 8)) < 0)
		return NULL;
	return name;
}

int holder_keep(const struct tracker *t, struct failure *f, char **ret_note)
{
	_cleanup_free_ char *name = make_name(t);
	_cleanup_close_ int listener = -EBADF;
	int r;

	if (!name)
		return fail(f, -ENOMEM, "cannot name the holder of trackers");
	listener = listen_as(name, f);
	if (listener < 0)
		return listener;
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

static bool is_name(const char *text)
{
	size_t n = strlen(text);

	return n < NAME_MAX_BYTES && strspn(text, "0123456789abcdef-") == n;
}

/* -EAGAIN: as many wait for the listener as it lets. -EPERM: somebody else listens. */
static int connect_to(const char *name)
{
	_cleanup_close_ int sock = SYS_CALL(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	struct sockaddr_un addr;
	socklen_t size = address_of(name, &addr);
	int r = sock;

	if (r >= 0)
		r = SYS_CALL(connect(sock, (struct sockaddr *)&addr, size));
	if (r >= 0 && !may_take(sock))
		r = -EPERM;
	if (r >= 0) /* what a holder sends is waited for, see receive_all() */
		r = SYS_CALL(fcntl(sock, F_SETFL, 0));
	return r < 0 ? r : TAKE_FD(sock);
}

/* Part of them is as good: what is missing is stored in full. */
static void receive_all(const char *name, struct tracker *t)
{
	_cleanup_close_ int sock = is_name(name) ? connect_to(name) : -EINVAL;
	const struct timeval patience = { .tv_usec = 500 * 1000 };
	int r = sock;

	if (r >= 0)
		r = SYS_CALL(setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)));
	if (r == 0)
		r = 1;
	while (r > 0)
		r = receive_one(sock, t);
}

int holder_fetch(const char *note, struct failure *f, struct tracker *t)
{
	(void)f;
	receive_all(note, t);
	return 0;
}

static void seize_line(const char *line, const char *wanted, struct tracker *t)
{
	char name[NAME_MAX_BYTES];
	const char *at = strstr(line, wanted);

	if (!at)
		return;
	(void)snprintf(name, sizeof(name), "%s", at + 1 + strlen(SOCKET_PREFIX));
	receive_all(name, t);
}

void holder_seize(pid_t pid, uint64_t start_time, struct tracker *t)
{
	_cleanup_free_ char *text = NULL, *wanted = NULL;
	char *save = NULL;

	if (asprintf(&wanted, "@" SOCKET_PREFIX "%d-%" PRIu64 "-", pid, start_time) < 0) {
		wanted = NULL;
		return;
	}
	if (sys_read_file_at(AT_FDCWD, "/proc/net/unix", SOCKETS_TEXT_MAX, &text, NULL) < 0)
		return;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		seize_line(line, wanted, t);
}
