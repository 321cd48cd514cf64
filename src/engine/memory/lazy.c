/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server sees everything that happens to the memory before it is whole: faults, and by the events of userfaultfd what is
 * unmapped, dropped, moved and forked. A program that does such a thing waits until the server has read of it, and what the
 * kernel has not told yet makes UFFDIO_COPY fail with EAGAIN: so messages are read until there are none, then faults
 * are served, then one bit is filled in the background, from the end of memory down.
 *
 * A page that is not pending is zero: it was dropped, or never had contents.
 *
 * Server and watcher hold the same userfaultfds. If the server dies they stay open in the watcher, and who touches a page
 * that is missing waits, until the watcher has killed the tree and its children. Of a process that was forked since the
 * restore the watcher gets the descriptor a moment after it exists. Who kills both gets a tree with zeros for pages.
 */
#include "engine/memory/lazy.h"

#include <inttypes.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "basic/fdpass.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/memory/extents.h"
#include "engine/memory/lazy-pending.h"
#include "engine/memory/share.h"
#include "engine/memory/uffd.h"
#include "engine/memory/vma.h"

enum {
	CHUNK_BYTES = 128 * 1024, /* in the background */
	AROUND_BYTES = 64 * 1024, /* with a page that is waited for */
	MESSAGES = 32,
	FAULTS_MAX = 4096,
	CHILDREN_TEXT_MAX = 1 << 20,
	CHILDREN_MAX = 65536,
	KILL_ROUNDS = 3,
	FEATURES = UFFD_FEATURE_EVENT_FORK | UFFD_FEATURE_EVENT_REMAP | UFFD_FEATURE_EVENT_REMOVE |
		   UFFD_FEATURE_EVENT_UNMAP,
};

struct lazy_task {
	struct rtask *task;
	int uffd, pidfd;
	struct page_extents extents; /* of its images; its files stay open for the server */
};

struct lazy_state {
	struct lazy_task **tasks;
	size_t n;
};

/* ---- in the restorer ---- */

bool lazy_leaves_out(const struct rtask *task, const VmaEntry *v)
{
	return task->lazy && (v->status & VMA_ANON_PRIVATE) &&
	       !(v->status & (VMA_VDSO | VMA_VVAR | VMA_VSYSCALL | VMA_GUARD | VMA_AIORING | VMA_UPROBES)) &&
	       !(v->flags & (MAP_HUGETLB | MAP_LOCKED)) && (v->flags & MAP_TYPE) == MAP_PRIVATE &&
	       !share_holds(task, v);
}

int lazy_begin(struct restore *rs, struct rtask *task)
{
	_cleanup_close_ int pidfd = -EBADF, uffd = -EBADF;
	struct lazy_task *lt;
	int r;

	if (!rs->options->lazy_pages)
		return 0;
	if (!rs->lazy)
		rs->lazy = arena_new(&rs->arena, struct lazy_state);
	lt = arena_new(&rs->arena, struct lazy_task);
	if (!rs->lazy || !lt || arena_grow(&rs->arena, &rs->lazy->tasks, rs->lazy->n) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for lazy pages");
	pidfd = sys_pidfd_open(task->pid, 0);
	if (pidfd < 0)
		return fail(rs->failure, pidfd, "cannot take hold of it");
	/* Faults of the kernel count too (a read(2) into such memory): not for unprivileged ones. */
	r = uffd_make(task->remote, pidfd, 0, FEATURES, &uffd);
	if (r < 0)
		return r;
	if (uffd < 0) {
		restore_note(rs, "task %u: no userfaultfd here: its pages come at once", task->entry->pid);
		return 0;
	}
	r = pages_load_task(rs, task, &lt->extents);
	if (r < 0)
		return r;
	lt->task = task;
	lt->uffd = TAKE_FD(uffd);
	lt->pidfd = TAKE_FD(pidfd);
	rs->lazy->tasks[rs->lazy->n++] = task->lazy = lt;
	return 0;
}

int lazy_register(struct restore *rs, struct rtask *task)
{
	for (size_t i = 0; task->lazy && i < task->mm->n_vmas; i++) {
		const VmaEntry *v = task->mm->vmas[i];
		struct uffdio_register reg = {
			.range = { v->start, v->end - v->start },
			.mode = UFFDIO_REGISTER_MODE_MISSING,
		};
		struct page_extent e;
		int r;

		if (!lazy_leaves_out(task, v) ||
		    !page_extents_clip(&task->lazy->extents, page_extents_search(&task->lazy->extents, v->start),
				       v->start, v->end, &e))
			continue;
		r = SYS_CALL(ioctl(task->lazy->uffd, UFFDIO_REGISTER, &reg));
		if (r < 0)
			return fail(rs->failure, r, "mapping %" PRIx64 "-%" PRIx64 " cannot be filled lazily",
				    v->start, v->end);
	}
	return 0;
}

void lazy_done(struct restore *rs)
{
	for (size_t i = 0; rs->lazy && i < rs->lazy->n; i++) {
		struct lazy_task *lt = rs->lazy->tasks[i];

		close_fd(lt->uffd);
		close_fd(lt->pidfd);
		page_extents_done(&lt->extents);
	}
	rs->lazy = NULL;
}

/* ---- the server ---- */

/* One address space. */
struct space {
	int uffd;
	struct pending pending;
	uint64_t faults[FAULTS_MAX]; /* waited for */
	size_t n_faults;
};

struct server {
	struct space **spaces;
	struct pollfd *fds; /* of each */
	size_t n;
	int watcher; /* socket */
	const struct log *log;
	struct region_reader touched, background; /* of the pages that are waited for, and of the others */
};

/* A server that cannot go on ends, and the watcher ends the tree. */
static _noreturn_ void give_up(void)
{
	_exit(1);
}

static void must(int r)
{
	if (r < 0)
		give_up();
}

static struct space *add_space(struct server *s, int uffd)
{
	struct space *sp = calloc(1, sizeof(*sp));

	s->spaces = reallocarray(s->spaces, s->n + 1, sizeof(*s->spaces));
	s->fds = reallocarray(s->fds, s->n + 1, sizeof(*s->fds));
	if (!sp || !s->spaces || !s->fds)
		give_up();
	sp->uffd = uffd;
	s->fds[s->n] = (struct pollfd){ uffd, POLLIN, 0 };
	s->spaces[s->n++] = sp;
	return sp;
}

/* Its process is gone. */
static void forget(struct space *sp)
{
	sp->pending.n = sp->n_faults = 0;
}

static void wake(const struct space *sp, uint64_t page)
{
	struct uffdio_range range = { page, IMAGE_PAGE };

	(void)SYS_CALL(ioctl(sp->uffd, UFFDIO_WAKE, &range));
}

/* The tree cannot have what it is about to touch: it ends, and the log says why. */
static _noreturn_ void end_tree(const struct server *s, const struct page_file *file, uint64_t offset, int error)
{
	struct failure f = {};

	(void)page_file_fail(file, offset, error, &f);
	log_error(s->log, "lazy pages: %s; the tree is ended", f.text);
	give_up();
}

/*
 * Puts what is pending from @start on, up to @end at most, of one piece into place.
 * Return: 0; -EAGAIN: there are messages to be read first.
 */
static int bring(struct server *s, struct space *sp, struct region_reader *rr, const struct pending_piece *piece,
		 uint64_t start, uint64_t end)
{
	uint64_t size, done = 0, offset = piece->offset + (start - piece->vaddr);
	const uint8_t *bytes;
	ssize_t n = region_read(rr, piece->file, offset, end - start, &bytes);

	if (n < 0)
		end_tree(s, piece->file, offset, n);
	size = n;
	while (done < size) {
		struct uffdio_copy c = {
			.dst = start + done, .src = (uintptr_t)bytes + done, .len = size - done
		};
		int r = SYS_CALL(ioctl(sp->uffd, UFFDIO_COPY, &c));

		if (c.copy > 0)
			done += c.copy;
		if (r == -ESRCH) {
			forget(sp);
			return 0;
		}
		if (r == -EEXIST) { /* cannot be; whoever waits goes on */
			wake(sp, start + done);
			done += IMAGE_PAGE;
		} else if (r == -EAGAIN && done == 0) {
			return r;
		} else if (r == -EAGAIN) {
			break;
		} else if (r == -ENOENT || r == -EINVAL) { /* nothing of ours is mapped there: the message is on its way */
			struct pollfd p = { sp->uffd, POLLIN, 0 };

			if (SYS_CALL(poll(&p, 1, 0)) > 0)
				return -EAGAIN;
			done += IMAGE_PAGE;
		} else if (r < 0) {
			give_up();
		}
	}
	must(pending_cut(&sp->pending, start, start + done));
	return 0;
}

/* @start, or where the region that holds @vaddr begins: what is brought at once lies in one region of the file. */
static uint64_t region_start(const struct pending_piece *piece, uint64_t start, uint64_t vaddr)
{
	uint64_t offset = piece->offset + (vaddr - piece->vaddr), into = offset % HASH_REGION_BYTES;

	return vaddr - start > into ? vaddr - into : start;
}

/* Return: 0: it is there; -EAGAIN: later. */
static int serve_fault(struct server *s, struct space *sp, uint64_t page)
{
	const struct pending_piece *piece = pending_find(&sp->pending, page);
	struct uffdio_zeropage zero = { .range = { page, IMAGE_PAGE } };
	uint64_t start = page - page % AROUND_BYTES, end = start + AROUND_BYTES;
	int r;

	if (piece)
		return bring(s, sp, &s->touched, piece, region_start(piece, MAX(start, piece->vaddr), page),
			     MIN(end, piece->vaddr + piece->size));
	r = SYS_CALL(ioctl(sp->uffd, UFFDIO_ZEROPAGE, &zero));
	if (r == -EAGAIN)
		return r;
	if (r < 0)
		wake(sp, page);
	return 0;
}

/* The watcher has what we have. It may be dead: then we go on alone. */
static void tell_watcher(struct server *s, int uffd)
{
	(void)fdpass_send(s->watcher, "", 1, &uffd, 1);
}

static void take_message(struct server *s, struct space *sp, const struct uffd_msg *m)
{
	switch (m->event) {
	case UFFD_EVENT_PAGEFAULT:
		if (sp->n_faults < FAULTS_MAX)
			sp->faults[sp->n_faults++] = m->arg.pagefault.address / IMAGE_PAGE * IMAGE_PAGE;
		break;
	case UFFD_EVENT_FORK:
		tell_watcher(s, m->arg.fork.ufd);
		must(pending_copy(&add_space(s, m->arg.fork.ufd)->pending, &sp->pending));
		break;
	case UFFD_EVENT_REMAP:
		must(pending_move(&sp->pending, m->arg.remap.from, m->arg.remap.to, m->arg.remap.len));
		break;
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		must(pending_cut(&sp->pending, m->arg.remove.start, m->arg.remove.end));
		break;
	default:
		give_up();
	}
}

static void take_messages(struct server *s, struct space *sp)
{
	struct uffd_msg m[MESSAGES];
	ssize_t n;

	while (sp->n_faults + MESSAGES <= FAULTS_MAX && (n = SYS_CALL(read(sp->uffd, m, sizeof(m)))) > 0) {
		for (size_t i = 0; i < n / sizeof(m[0]); i++)
			take_message(s, sp, &m[i]);
	}
}

static void serve_faults(struct server *s, struct space *sp)
{
	size_t left = 0;

	for (size_t i = 0; i < sp->n_faults; i++) {
		uint64_t page = sp->faults[i];

		if (serve_fault(s, sp, page) == -EAGAIN)
			sp->faults[left++] = page;
	}
	sp->n_faults = MIN(sp->n_faults, left);
}

/* Return: is something pending? */
static bool fill_some(struct server *s, struct space *sp)
{
	const struct pending_piece *last = sp->pending.n ? &sp->pending.items[sp->pending.n - 1] : NULL;
	uint64_t start, end;

	if (!last)
		return sp->n_faults > 0;
	end = last->vaddr + last->size;
	start = end - MIN(last->size, (uint64_t)CHUNK_BYTES);
	(void)bring(s, sp, &s->background, last, region_start(last, start, end - IMAGE_PAGE), end);
	return true;
}

static _noreturn_ void serve(struct server *s)
{
	bool more = true;

	while (more) {
		more = false;
		(void)SYS_CALL(poll(s->fds, s->n, 0));
		for (size_t i = 0, n = s->n; i < n; i++) { /* forks add some */
			if (s->fds[i].revents & POLLIN)
				take_messages(s, s->spaces[i]);
		}
		for (size_t i = 0; i < s->n; i++)
			serve_faults(s, s->spaces[i]);
		for (size_t i = 0; i < s->n; i++)
			more |= fill_some(s, s->spaces[i]);
	}
	_exit(0);
}

static void add_pending(struct space *sp, const struct lazy_task *lt)
{
	const MmEntry *mm = lt->task->mm;

	for (size_t i = 0; i < mm->n_vmas; i++) {
		const VmaEntry *v = mm->vmas[i];
		struct page_extent e;

		if (!lazy_leaves_out(lt->task, v))
			continue;
		for (size_t k = page_extents_search(&lt->extents, v->start);
		     page_extents_clip(&lt->extents, k, v->start, v->end, &e); k++)
			must(pending_append(&sp->pending,
					    &(struct pending_piece){ e.vaddr, e.size, e.offset, e.file }));
	}
}

static _noreturn_ void run_server(const struct lazy_state *lazy, const struct log *log, int watcher)
{
	struct server s = { .watcher = watcher, .log = log };

	must(region_reader_init(&s.touched));
	must(region_reader_init(&s.background));
	for (size_t i = 0; i < lazy->n; i++)
		add_pending(add_space(&s, lazy->tasks[i]->uffd), lazy->tasks[i]);
	serve(&s);
}

/* ---- the watcher ---- */

/* Those of the tree, and whoever they have forked since. */
static void kill_with_children(pid_t pid, unsigned depth)
{
	_cleanup_free_ char *text = NULL;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	if (depth < CHILDREN_MAX && sys_read_file_at(AT_FDCWD, path, CHILDREN_TEXT_MAX, &text, NULL) == 0) {
		for (char *p = text, *end; *p; p = end) {
			long child = strtol(p, &end, 10);

			if (end == p)
				break;
			kill_with_children(child, depth + 1);
		}
	}
	(void)sys_kill(pid, SIGKILL);
}

static void kill_tree(const struct lazy_state *lazy)
{
	for (int round = 0; round < KILL_ROUNDS; round++) {
		for (size_t i = lazy->n; i-- > 0;) {
			/* The pidfd says whether the pid is still its own. */
			if (sys_pidfd_send_signal(lazy->tasks[i]->pidfd, 0) == 0)
				kill_with_children(lazy->tasks[i]->task->pid, 0);
			(void)sys_pidfd_send_signal(lazy->tasks[i]->pidfd, SIGKILL);
		}
	}
}

/* Keeps what the server sends until that ends. */
static void wait_for_end(int sock)
{
	char byte;
	int kept;

	while (fdpass_receive(sock, &byte, 1, 0, &kept) > 0)
		;
}

/* Nothing of the restorer's stays open but what is needed. */
static void close_others(const struct lazy_state *lazy, const struct log *log, const int socks[2])
{
	size_t n = 0, max = 3;
	struct stat st;
	int *keep;

	for (size_t i = 0; i < lazy->n; i++)
		max += 2 + lazy->tasks[i]->extents.n;
	keep = calloc(max, sizeof(*keep));
	if (!keep)
		give_up();
	keep[n++] = socks[0];
	keep[n++] = socks[1];
	/* A pipe stays open as long as we have it: whoever runs the restorer would wait for us to end, too. */
	if (log && log->fd >= 0 && sys_fstat(log->fd, &st) == 0 && S_ISREG(st.st_mode))
		keep[n++] = log->fd;
	for (size_t i = 0; i < lazy->n; i++) {
		const struct page_extents *x = &lazy->tasks[i]->extents;

		keep[n++] = lazy->tasks[i]->uffd;
		keep[n++] = lazy->tasks[i]->pidfd;
		for (size_t k = 0; k < x->n; k++)
			keep[n++] = x->items[k].file->fd;
	}
	fdpass_keep_only(keep, n);
	free(keep);
}

static _noreturn_ void watch(const struct lazy_state *lazy, const struct log *log, const int socks[2])
{
	pid_t server;
	int status;

	(void)SYS_CALL(setsid());
	(void)SYS_CALL(chdir("/"));
	(void)sys_fault_disarm(); /* that of the restorer is to be tested */
	(void)SYS_CALL(prctl(PR_SET_NAME, "snapmgr-lazy-w"));
	close_others(lazy, log, socks);
	server = SYS_CALL(fork());
	if (server == 0) {
		(void)SYS_CALL(prctl(PR_SET_NAME, "snapmgr-lazy"));
		close_fd(socks[0]);
		run_server(lazy, log, socks[1]);
	}
	close_fd(socks[1]);
	wait_for_end(socks[0]);
	if (server < 0 || SYS_CALL(waitpid(server, &status, 0)) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		kill_tree(lazy);
	_exit(0);
}

int lazy_start(struct restore *rs)
{
	int socks[2], r;

	if (!rs->lazy || rs->lazy->n == 0)
		return 0;
	r = sys_socketpair(SOCK_SEQPACKET, socks);
	if (r < 0)
		return fail(rs->failure, r, "cannot make a socket pair");
	r = sys_fork_apart();
	if (r == 0)
		watch(rs->lazy, rs->log, socks);
	close_fd(socks[0]);
	close_fd(socks[1]);
	return r < 0 ? fail(rs->failure, r, "cannot start the server of lazy pages") : 0;
}
