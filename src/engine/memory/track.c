/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Order, which is what makes a lost page impossible: contents are stored, then the memory is armed, both in one freeze. The
 * descriptors are moved, never copied: taken from the old holder before the dump, given to a new one after it succeeded. If the
 * dump fails or we die in between they are closed, the kernel drops the protection, every page shows as
 * written, and the next set is full.
 */
#include "engine/memory/track.h"

#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/un.h>

#include "basic/sys.h"
#include "engine/control/remote.h"
#include "engine/memory/scan.h"
#include "engine/memory/vma.h"

#ifndef UFFD_FEATURE_WP_UNPOPULATED
#define UFFD_FEATURE_WP_UNPOPULATED (1 << 13) /* 6.4 */
#endif
#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1 << 15) /* 6.7 */
#endif

#define TRACKER_FILE "snapmgr-tracker"

enum {
	NAME_BYTES = 16,
	NAME_TEXT = 2 * NAME_BYTES,
	TRACKED_MAX = 65536,
	HELD_MAX_FDS = 60000,
};

struct tracked {
	pid_t pid;
	int uffd;
	uint64_t start_time;
};

struct tracker {
	struct tracked *items;
	size_t n, room;
};

struct tracker *tracker_free(struct tracker *t)
{
	for (size_t i = 0; t && i < t->n; i++)
		close_fd(t->items[i].uffd);
	if (t)
		free(t->items);
	free(t);
	return NULL;
}
DEFINE_CLEANUP(struct tracker *, tracker_free)

static struct tracked *find(const struct tracker *t, const struct task *task)
{
	for (size_t i = 0; t && i < t->n; i++) {
		if (t->items[i].pid == task->pid && t->items[i].start_time == task->stat.start_time &&
		    t->items[i].uffd >= 0)
			return &t->items[i];
	}
	return NULL;
}

bool tracker_knows(const struct tracker *t, const struct task *task)
{
	return find(t, task) != NULL;
}

static int add(struct tracker *t, struct tracked item)
{
	if (t->n == TRACKED_MAX)
		return -E2BIG;
	if (t->n == t->room) {
		size_t room = t->room ? 2 * t->room : 16;
		struct tracked *bigger = realloc(t->items, room * sizeof(*bigger));

		if (!bigger)
			return -ENOMEM;
		t->items = bigger;
		t->room = room;
	}
	t->items[t->n++] = item;
	return 0;
}

/* ---- making one in a task ---- */

struct take_out {
	struct remote *rm;
	const struct task *task;
	size_t made, closed; /* calls of the list */
	int fd;
};

/* The list stands still between making and closing: our copy is taken now. */
static int take_out(void *userdata)
{
	struct take_out *t = userdata;
	int64_t number = 0;
	int r;

	r = remote_peek_result(t->rm, t->made, &number);
	if (r < 0 || number < 0)
		return r;
	t->fd = sys_pidfd_getfd(t->task->pidfd, number);
	/* It was guessed when the list was written, for the case that we die before this. */
	return remote_poke_arg(t->rm, t->closed, 0, number);
}

/* The number the kernel will give: the lowest that is free. */
static int lowest_free(const struct task *task)
{
	for (int n = 0;; n++) {
		char path[32], link[8];

		(void)snprintf(path, sizeof(path), "fd/%d", n);
		if (sys_readlinkat(task->proc_fd, path, link, sizeof(link)) == -ENOENT)
			return n;
	}
}

static int make_in(struct dump *d, struct task *task, struct remote *rm, int *ret_fd)
{
	struct take_out out = { .rm = rm, .task = task, .fd = -EBADF };
	int r;

	out.made = remote_add(rm, NULL, SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY, 0, 0, 0, 0,
			      0);
	remote_add_pause(rm, task->vpid, task_leader(task)->vtid);
	out.closed = remote_add(rm, NULL, SYS_close, lowest_free(task), 0, 0, 0, 0, 0);
	r = remote_run_paused(rm, take_out, &out);
	*ret_fd = out.fd;
	return r;
}

static int set_up(int uffd)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_UNPOPULATED | UFFD_FEATURE_WP_ASYNC,
	};

	return SYS_CALL(ioctl(uffd, UFFDIO_API, &api));
}

/*
 * Withheld unless asked for: one run of tests/live/chains.py in some dozens had pages of one mapping that were older than
 * their instant, the cause is not known yet. Until it is, every set is full.
 */
bool tracker_available(void)
{
	_cleanup_close_ int uffd = -EBADF;

	if (!secure_getenv("SNAPMGR_TRACK_MEM"))
		return false;
	uffd = SYS_CALL(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY));

	return uffd >= 0 && set_up(uffd) == 0;
}

int tracker_adopt(struct dump *d, struct task *task, struct remote *rm)
{
	struct tracked *had = find(d->tracked, task);
	struct tracked item = { .pid = task->pid, .start_time = task->stat.start_time, .uffd = -EBADF };
	int r;

	if (!tracker_available())
		return 0;
	if (!d->tracking)
		d->tracking = calloc(1, sizeof(*d->tracking));
	if (!d->tracking)
		return fail(d->failure, -ENOMEM, "no memory for trackers");
	if (had) {
		/* A copy: what the old one knows is still asked while the memory is stored. */
		item.uffd = sys_dup(had->uffd);
	} else {
		r = make_in(d, task, rm, &item.uffd);
		if (r < 0)
			return r;
		if (item.uffd >= 0 && set_up(item.uffd) < 0)
			item.uffd = close_fd(item.uffd); /* before 6.7 */
	}
	if (item.uffd < 0)
		return 0;
	r = add(d->tracking, item);
	if (r < 0) {
		close_fd(item.uffd);
		return fail(d->failure, r, "too many trackers");
	}
	return 0;
}

/* ---- arming ---- */

static bool can_be_tracked(const struct vma *v)
{
	return vma_is_private(v->status) && !(v->status & (VMA_VDSO | VMA_AIORING)) && !(v->flags & MAP_HUGETLB) &&
	       (v->flags & MAP_TYPE) == MAP_PRIVATE;
}

void tracker_arm(struct dump *d, const struct task *task)
{
	struct tracked *tracked = find(d->tracking, task);
	_cleanup_close_ int pagemap_fd = sys_openat(task->proc_fd, "pagemap", O_RDONLY, 0);

	for (size_t i = 0; tracked && pagemap_fd >= 0 && i < task->n_vmas; i++) {
		const struct vma *v = &task->vmas[i];
		struct uffdio_register reg = {
			.range = { v->start, v->end - v->start },
			.mode = UFFDIO_REGISTER_MODE_WP,
		};

		/* What cannot be armed stays as it is and shows as written. */
		if (can_be_tracked(v) && SYS_CALL(ioctl(tracked->uffd, UFFDIO_REGISTER, &reg)) == 0)
			(void)scan_arm(pagemap_fd, v->start, v->end);
	}
}

/* ---- the holder ---- */

struct hello {
	uint64_t start_time;
	int32_t pid, more;
};

static socklen_t address_of(const char *name, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	/* Abstract: gone with the holder, in no file system. */
	(void)snprintf(ret->sun_path + 1, sizeof(ret->sun_path) - 1, "snapmgr-tracker-%s", name);
	return offsetof(struct sockaddr_un, sun_path) + 1 + strlen(ret->sun_path + 1);
}

static void send_all(int sock, const struct tracker *t)
{
	for (size_t i = 0; i < t->n; i++) {
		struct hello h = { t->items[i].start_time, t->items[i].pid, i + 1 < t->n };
		struct iovec iov = { &h, sizeof(h) };
		union {
			struct cmsghdr header;
			char room[CMSG_SPACE(sizeof(int))];
		} control = {};
		struct msghdr msg = {
			.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
		};
		struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &t->items[i].uffd, sizeof(int));
		if (SYS_CALL(sendmsg(sock, &msg, MSG_NOSIGNAL)) < 0)
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

/* One taker, or the end of every task: whichever comes first. @fds: the socket, then pidfds. */
static void serve(const struct tracker *t, struct pollfd *fds, size_t n)
{
	size_t alive = n - 1;

	while (alive > 0) {
		if (SYS_CALL(poll(fds, n, -1)) < 0)
			return;
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
				return;
			}
		}
	}
}

/* Nothing of the caller's stays open: somebody may wait for the end of a pipe. */
static void close_others(const int *keep, size_t n)
{
	/* Few enough to mark them, close the rest at exec's hand: without exec, by number. */
	int last = -1;

	for (size_t i = 0; i < n; i++) {
		if (keep[i] > last + 1)
			(void)sys_close_range(last + 1, keep[i] - 1, 0);
		last = keep[i];
	}
	(void)sys_close_range(last + 1, ~0u, 0);
}

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static _noreturn_ void hold(const struct tracker *t, const struct dump *d, int listener)
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

		keep[n_keep++] = t->items[i].uffd;
		if (pidfd < 0)
			continue;
		fds[n++] = (struct pollfd){ pidfd, POLLIN, 0 };
		keep[n_keep++] = pidfd;
	}
	qsort(keep, n_keep, sizeof(*keep), by_value);
	close_others(keep, n_keep);
	(void)SYS_CALL(chdir("/"));
	serve(t, fds, n);
	_exit(0);
}

static int listen_as(struct dump *d, const char *name)
{
	_cleanup_close_ int sock = SYS_CALL(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
	struct sockaddr_un addr;
	socklen_t size = address_of(name, &addr);
	int r = sock;

	if (r >= 0)
		r = SYS_CALL(bind(sock, (struct sockaddr *)&addr, size));
	if (r >= 0)
		r = SYS_CALL(listen(sock, 1));
	return r < 0 ? fail(d->failure, r, "cannot make the holder's socket") : TAKE_FD(sock);
}

/* Twice forked: the holder is nobody's child that waits for its own. */
static int start_holder(struct dump *d, int listener)
{
	int child = SYS_CALL(fork()), status;

	if (child == 0) {
		if (SYS_CALL(fork()) == 0)
			hold(d->tracking, d, listener);
		_exit(0);
	}
	if (child > 0)
		child = SYS_CALL(waitpid(child, &status, 0));
	return child < 0 ? fail(d->failure, child, "cannot start the holder of trackers") : 0;
}

int tracker_hold(struct dump *d)
{
	unsigned char random[NAME_BYTES];
	char name[NAME_TEXT + 1];
	_cleanup_close_ int listener = -EBADF;
	int r;

	if (!d->tracking || d->tracking->n == 0)
		return 0;
	r = SYS_CALL(getrandom(random, sizeof(random), 0));
	if (r != (int)sizeof(random))
		return fail(d->failure, MIN(r, -EIO), "cannot name the holder of trackers");
	for (size_t i = 0; i < NAME_BYTES; i++)
		(void)snprintf(name + 2 * i, 3, "%02x", random[i]);
	listener = listen_as(d, name);
	if (listener < 0)
		return listener;
	r = start_holder(d, listener);
	if (r == 0)
		r = sys_write_file_at(d->dir_fd, TRACKER_FILE, name);
	return r < 0 ? fail(d->failure, r, "cannot name the holder of trackers") : 0;
}

/* ---- the taker ---- */

/* One tracker. Return: 1 more follow, 0 the last, -errno. */
static int receive_one(int sock, struct tracker *t)
{
	struct hello h;
	struct iovec iov = { &h, sizeof(h) };
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {};
	struct msghdr msg = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
	};
	struct cmsghdr *c;
	struct tracked item;
	ssize_t n;
	int r;

	n = SYS_CALL(recvmsg(sock, &msg, MSG_CMSG_CLOEXEC));
	c = n > 0 ? CMSG_FIRSTHDR(&msg) : NULL;
	if (n != sizeof(h) || !c || c->cmsg_type != SCM_RIGHTS || c->cmsg_len != CMSG_LEN(sizeof(int)))
		return -EBADMSG;
	item = (struct tracked){ .pid = h.pid, .start_time = h.start_time };
	memcpy(&item.uffd, CMSG_DATA(c), sizeof(int));
	r = add(t, item);
	if (r < 0) {
		close_fd(item.uffd);
		return r;
	}
	return h.more != 0;
}

static bool is_name(const char *text)
{
	return strlen(text) == NAME_TEXT && strspn(text, "0123456789abcdef") == NAME_TEXT;
}

int tracker_fetch(int parent_dir_fd, struct failure *f, struct tracker **ret)
{
	_cleanup_(tracker_freep) struct tracker *t = calloc(1, sizeof(*t));
	_cleanup_free_ char *name = NULL;
	_cleanup_close_ int sock = -EBADF;
	struct sockaddr_un addr;
	socklen_t size;
	int r;

	*ret = NULL;
	if (!t)
		return fail(f, -ENOMEM, "no memory for trackers");
	r = sys_read_file_at(parent_dir_fd, TRACKER_FILE, NAME_TEXT, &name, NULL);
	if (r < 0 || !is_name(name))
		return 0;
	sock = SYS_CALL(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
	if (sock < 0)
		return fail(f, sock, "cannot make a socket");
	size = address_of(name, &addr);
	if (SYS_CALL(connect(sock, (struct sockaddr *)&addr, size)) < 0 || !may_take(sock))
		return 0;
	do
		r = receive_one(sock, t);
	while (r > 0);
	/* Part of them is as good: what is missing is stored in full. */
	*ret = TAKE_PTR(t);
	return 0;
}
