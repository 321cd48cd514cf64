/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/memory/vma.h"

#include <inttypes.h>
#include <linux/limits.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/mman.h>

#include "basic/clock.h"
#include "basic/parse.h"
#include "basic/procfs.h"
#include "basic/sys.h"
#include "engine/far.h"
#include "engine/kinds/ipc-sysv.h"
#include "engine/kinds/kind.h"
#include "engine/kinds/task-numa.h"
#include "engine/kinds/task-pkeys.h"
#include "engine/memory/aio.h"
#include "engine/memory/share.h"
#include "engine/memory/scan.h"
#include "engine/memory/shmem.h"
#include "engine/memory/track.h"

#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08 /* linux/mman.h, 6.11: a kind beside shared and private */
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102 /* linux/mman.h, 6.13 */
#endif

enum {
	SMAPS_TEXT_MAX = 1 << 30,
	STATUS_TEXT_MAX = 1 << 16,
	PREVIEW_RSS_KB = 64 * 1024,
	VMAS_MAX = 1 << 20,
	PAGE = 4096,
	HUGETLB_SIZE_SHIFT = 26,
	SHARED_ORDER_MAX = 1024, /* objects; more are not put in order */
};

#define ADDRESS_MAX 0x7ffffffff000ull

/* VmFlags of smaps(5) that say how a mapping was made or advised. */
static const struct {
	char code[3];
	uint32_t map_flag;
	int advice; /* 0: none */
} vm_flags[] = {
	{ "gd", MAP_GROWSDOWN, 0 },
	{ "lo", MAP_LOCKED, 0 },
	{ "nr", MAP_NORESERVE, 0 },
	{ "dp", MAP_DROPPABLE, 0 },
	{ "ht", MAP_HUGETLB, 0 },
	{ "sr", 0, MADV_SEQUENTIAL },
	{ "rr", 0, MADV_RANDOM },
	{ "dc", 0, MADV_DONTFORK },
	{ "dd", 0, MADV_DONTDUMP },
	{ "mg", 0, MADV_MERGEABLE },
	{ "hg", 0, MADV_HUGEPAGE },
	{ "nh", 0, MADV_NOHUGEPAGE },
	{ "wf", 0, MADV_WIPEONFORK },
};

static bool path_is(const struct proc_map *m, const char *name)
{
	return m->path_size == strlen(name) && memcmp(m->path, name, m->path_size) == 0;
}

static bool path_starts(const struct proc_map *m, const char *prefix)
{
	size_t n = strlen(prefix);

	return m->path_size >= n && memcmp(m->path, prefix, n) == 0;
}

/* How a mapping is stored, by its name. 0: not stored at all; negative: cannot be. */
static int classify(const struct proc_map *m)
{
	if (path_is(m, "[vsyscall]") || path_is(m, "[uprobes]"))
		return 0;
	if (path_is(m, "[vdso]"))
		return VMA_REGULAR | VMA_VDSO | VMA_ANON_PRIVATE;
	if (path_is(m, "[vvar]") || path_is(m, "[vvar_vclock]"))
		return VMA_REGULAR | VMA_VVAR | VMA_ANON_PRIVATE;
	if (path_is(m, "[heap]"))
		return VMA_REGULAR | VMA_HEAP | VMA_ANON_PRIVATE;
	if (path_starts(m, "/SYSV") && m->shared)
		return VMA_REGULAR | VMA_ANON_SHARED | VMA_SYSVIPC;
	if (path_starts(m, "/dev/zero (deleted)") && !m->shared) /* by way of map_files */
		return VMA_REGULAR | VMA_MEMFD | VMA_FILE_PRIVATE;
	if (path_starts(m, "/dev/zero (deleted)") || path_starts(m, "/anon_hugepage (deleted)") ||
	    path_starts(m, "[anon_shmem"))
		return VMA_REGULAR | (m->shared ? VMA_ANON_SHARED : VMA_ANON_PRIVATE);
	if (path_starts(m, "/memfd:"))
		return VMA_REGULAR | VMA_MEMFD | (m->shared ? VMA_FILE_SHARED : VMA_FILE_PRIVATE);
	if (m->path_size == 0 || (m->path[0] == '[' && m->inode == 0))
		return VMA_REGULAR | (m->shared ? VMA_ANON_SHARED : VMA_ANON_PRIVATE);
	if (path_starts(m, "/[aio]"))
		return VMA_AIORING;
	if (path_starts(m, "socket:["))
		return VMA_REGULAR | VMA_SOCKET;
	if (path_starts(m, "/secretmem") && m->dev_major == 0) /* memfd_secret(2) */
		return -EOPNOTSUPP;
	if (m->path[0] == '/')
		return VMA_REGULAR | (m->shared ? VMA_FILE_SHARED : VMA_FILE_PRIVATE);
	return -EOPNOTSUPP;
}

/* "mr", "mw", "me": what the mapping may become by mprotect(2). */
static uint32_t may_of(const char code[2])
{
	if (code[0] != 'm')
		return 0;
	return code[1] == 'r' ? PROT_READ : code[1] == 'w' ? PROT_WRITE : code[1] == 'e' ? PROT_EXEC : 0;
}

static void apply_vm_flags(struct vma *v, const char *p, const char *end)
{
	v->knows_may = true;
	for (; p + 2 <= end; p++) { /* *end ends the line, or the text */
		if (*p == ' ' || (p[2] != ' ' && p[2] != '\n'))
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(vm_flags); i++) {
			if (p[0] != vm_flags[i].code[0] || p[1] != vm_flags[i].code[1])
				continue;
			v->flags |= vm_flags[i].map_flag;
			if (vm_flags[i].advice)
				v->madv |= 1ull << vm_flags[i].advice;
		}
		v->may |= may_of(p);
		if (p[0] == 's' && p[1] == 's')
			v->status |= VMA_SHSTK;
		if (p[0] == 's' && p[1] == 'l')
			v->sealed = true;
		if (p[0] == 'l' && p[1] == 'f')
			v->lock_on_fault = true;
		if (p[0] == 'u' && p[1] == 'm')
			v->missing = true;
		if (p[0] == 'u' && p[1] == 'w')
			v->watched = true;
		p++;
	}
}

static bool is_map_line(const char *p)
{
	/* "Key: value" lines start with a capital letter, ranges with a hexadecimal digit in lower case. */
	return (*p >= '0' && *p <= '9') || (*p >= 'a' && *p <= 'f');
}

/* The number of a line "Key:   number kB" or "Key:   number". Anything else is 0. */
static uint64_t parse_kb(const char *p)
{
	uint64_t kb = 0;

	p += strspn(p, " ");
	return parse_u64_prefix(&p, 10, &kb) == 0 ? kb : 0;
}

static void parse_attribute(struct vma *v, const char *p, const char *end)
{
	if (strncmp(p, "VmFlags:", 8) == 0) {
		apply_vm_flags(v, p + 8, end);
	} else if (strncmp(p, "KernelPageSize:", 15) == 0) {
		uint64_t kb = parse_kb(p + 15);

		if (kb > 4 && kb <= UINT32_MAX)
			v->fdflags = __builtin_ctzll(kb * 1024); /* until resolved: log2 of the page size */
	} else if (strncmp(p, "ProtectionKey:", 14) == 0) {
		v->pkey = (uint8_t)parse_kb(p + 14);
	} else if (strncmp(p, "Shared_Clean:", 13) == 0) {
		v->shared_clean = parse_kb(p + 13) > 0;
	} else if (strncmp(p, "Shared_Dirty:", 13) == 0) {
		v->shared_dirty = parse_kb(p + 13) > 0;
	}
}

/* The attributes behind one map line, up to the next one. Return: the start of that. */
static const char *parse_attributes(struct vma *v, const char *p)
{
	while (*p && !is_map_line(p)) {
		const char *end = strchrnul(p, '\n');

		parse_attribute(v, p, end);
		p = *end ? end + 1 : end;
	}
	return p;
}

/* Pages copied on write from a fork, or merged by KSM. Those of a file are clean as long as they are the file's. */
static bool has_shared_pages(const struct vma *v)
{
	if (!vma_is_private(v->status) || (v->status & VMA_VDSO))
		return false;
	return v->shared_dirty || (v->shared_clean && !(v->status & VMA_FILE_PRIVATE));
}

static bool merges(const struct vma *last, const struct vma *v)
{
	/* The kernel splits what CRIU's format has as one area. */
	return (last->status & v->status & VMA_VVAR) && last->end == v->start;
}

static int vma_add(struct dump *d, struct task *task, const struct proc_map *m, struct vma *v)
{
	struct vma *last = task->n_vmas ? &task->vmas[task->n_vmas - 1] : NULL;

	v->start = m->start;
	v->end = m->end;
	v->pgoff = m->offset;
	v->prot = (m->read ? PROT_READ : 0) | (m->write ? PROT_WRITE : 0) | (m->exec ? PROT_EXEC : 0);
	if (!(v->flags & MAP_DROPPABLE))
		v->flags |= m->shared ? MAP_SHARED : MAP_PRIVATE;
	if (v->flags & MAP_HUGETLB)
		v->flags |= v->fdflags << HUGETLB_SIZE_SHIFT;
	v->fdflags = 0;
	if (v->status & (VMA_ANON_PRIVATE | VMA_ANON_SHARED))
		v->flags |= MAP_ANONYMOUS;
	if (v->status & (VMA_ANON_PRIVATE | VMA_AIORING))
		v->pgoff = 0;
	if (v->status == VMA_AIORING)
		v->madv = 0; /* the kernel's own */
	if (v->missing)
		return fail(d->failure, -EAGAIN, "pages of it are still to come by a userfaultfd (restore --lazy-pages?)");
	if (v->status & VMA_SHSTK)
		return fail(d->failure, -EOPNOTSUPP, "a shadow stack cannot be saved");
	v->shmid = m->inode;
	v->dev = makedev(m->dev_major, m->dev_minor);
	v->far = v->dev && !(v->status & VMA_SOCKET) && v->status != VMA_AIORING && far_is_device(d, v->dev);
	if (v->far && !(v->status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED)))
		return fail(d->failure, -EOPNOTSUPP, "a file on a FUSE or network file system has the name of shared memory");
	if (has_shared_pages(v))
		task->unshared = false;

	if (last && merges(last, v)) {
		last->end = v->end;
		return 0;
	}
	if (task->n_vmas == VMAS_MAX)
		return fail(d->failure, -E2BIG, "too many mappings");
	if (arena_grow(&d->arena, &task->vmas, task->n_vmas) < 0)
		return fail(d->failure, -ENOMEM, "no memory for mappings");
	task->vmas[task->n_vmas++] = *v;
	return 0;
}

/* What smaps said of a process while it ran. */
struct vma_preview {
	pid_t pid;
	uint64_t start_time;
	uint64_t taken; /* clock_boot_ticks() */
	struct vma_seen {
		struct proc_map map;  /* its path is not kept */
		struct vma attributes; /* flags, madv, status beyond the class */
	} *seen;
	size_t n;
};

struct vma_previews {
	struct vma_preview **items;
	size_t n;
};

static int preview_parse(struct dump *d, struct vma_preview *pv, const char *p)
{
	while (*p) {
		struct vma_seen s = {};
		int r = proc_map_parse(p, &s.map, &p);

		if (r < 0)
			return fail(d->failure, r, "cannot parse its mappings");
		p = parse_attributes(&s.attributes, p);
		s.map.path = NULL;
		if (pv->n == VMAS_MAX || arena_grow(&d->arena, &pv->seen, pv->n) < 0)
			return fail(d->failure, -ENOMEM, "no memory for mappings");
		pv->seen[pv->n++] = s;
	}
	return 0;
}

static int note_guard(void *userdata, uint64_t start _unused_, uint64_t end _unused_, uint64_t categories _unused_)
{
	bool *found = userdata;

	*found = true;
	return -ECANCELED; /* one is enough */
}

/* Guard pages of shared mappings: to look for them takes a walk of all that is mapped there. */
static void preview_guards(int proc_fd, struct vma_preview *pv)
{
	_cleanup_close_ int pagemap_fd = sys_openat(proc_fd, "pagemap", O_RDONLY, 0);
	struct scan_caps caps = SCAN_CAPS_INIT;

	for (size_t i = 0; pagemap_fd >= 0 && i < pv->n; i++) {
		struct vma_seen *s = &pv->seen[i];
		bool found = false;

		if (s->map.shared && scan_guards(pagemap_fd, s->map.start, s->map.end, &caps, note_guard, &found) >= 0)
			s->attributes.free_of_guards = !found;
	}
}

/* A process that ends meanwhile is no failure. */
static int preview_task(struct dump *d, int proc_fd, pid_t pid)
{
	_cleanup_free_ char *text = NULL;
	struct vma_preview *pv = arena_new(&d->arena, struct vma_preview);
	uint64_t taken = clock_boot_ticks();
	struct proc_stat st;
	int r;

	if (proc_stat_read(proc_fd, &st) < 0 ||
	    sys_read_file_at(proc_fd, "smaps", SMAPS_TEXT_MAX, &text, NULL) < 0)
		return 0;
	if (!d->previews)
		d->previews = arena_new(&d->arena, struct vma_previews);
	if (!pv || !d->previews || arena_grow(&d->arena, &d->previews->items, d->previews->n) < 0)
		return fail(d->failure, -ENOMEM, "no memory for mappings");
	pv->pid = pid;
	pv->start_time = st.start_time;
	pv->taken = taken;
	d->previews->items[d->previews->n++] = pv;
	r = preview_parse(d, pv, text);
	if (r == 0)
		preview_guards(proc_fd, pv);
	return r;
}

static bool is_large(int proc_fd)
{
	_cleanup_free_ char *text = NULL;
	const char *rss;
	uint64_t kb = 0;

	if (sys_read_file_at(proc_fd, "status", STATUS_TEXT_MAX, &text, NULL) < 0)
		return false;
	rss = proc_field(text, "VmRSS");
	return rss && parse_u64_prefix(&rss, 10, &kb) == 0 && kb >= PREVIEW_RSS_KB;
}

int vma_preview(struct dump *d, pid_t pid)
{
	_cleanup_close_ int fd = proc_open(pid);

	return fd >= 0 && is_large(fd) ? preview_task(d, fd, pid) : 0;
}

static const struct vma_preview *find_preview(const struct dump *d, const struct task *task)
{
	for (size_t i = 0; d->previews && i < d->previews->n; i++) {
		const struct vma_preview *pv = d->previews->items[i];

		if (pv->pid == task->pid && pv->start_time == task->stat.start_time)
			return pv;
	}
	return NULL;
}

/* Somebody has forked: what was one process's own may be another's as well. */
static bool tree_grew_since(const struct tree *t, uint64_t ticks)
{
	for (size_t i = 0; i < t->n_tasks; i++) {
		if (t->tasks[i]->stat.start_time >= ticks)
			return true;
	}
	return false;
}

static bool is_same_kind(const struct proc_map *a, const struct proc_map *b)
{
	return a->read == b->read && a->write == b->write && a->exec == b->exec && a->shared == b->shared &&
	       a->dev_major == b->dev_major && a->dev_minor == b->dev_minor && a->inode == b->inode;
}

/* The mapping as it was seen: the same, or grown or shrunk at one end. NULL: it is new. */
static const struct vma *seen_before(const struct vma_preview *pv, const struct proc_map *m)
{
	size_t lo = 0, hi = pv->n;

	while (lo < hi) { /* the first that ends behind the start */
		size_t mid = lo + (hi - lo) / 2;

		if (pv->seen[mid].map.end <= m->start)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < pv->n && pv->seen[lo].map.start < m->end; lo++) {
		const struct vma_seen *s = &pv->seen[lo];

		if ((s->map.start == m->start || s->map.end == m->end) && is_same_kind(&s->map, m))
			return &s->attributes;
	}
	return NULL;
}

/* All mappings of a text of maps or smaps. @pv: where the attributes are, if not in the text. */
static int collect_text(struct dump *d, struct task *task, const char *text, const struct vma_preview *pv)
{
	int r;

	task->n_vmas = 0;
	for (const char *p = text; *p;) {
		struct proc_map m;
		struct vma v = {};
		int status;

		r = proc_map_parse(p, &m, &p);
		if (r < 0)
			return fail(d->failure, r, "cannot parse its mappings");
		FAILURE_SCOPE(d->failure, "mapping %" PRIx64 "-%" PRIx64, m.start, m.end);
		status = classify(&m);
		if (status < 0) {
			r = dump_go_on(d, fail(d->failure, status, "nothing here can save '%.*s'",
					       (int)MIN(m.path_size, (size_t)200), m.path));
			if (r < 0)
				return r;
			status = 0;
		}
		if (pv)
			v = *seen_before(pv, &m);
		else
			p = parse_attributes(&v, p);
		v.status |= status;
		if (status == 0)
			continue;
		r = vma_add(d, task, &m, &v);
		if (r == -EAGAIN) /* said once: the next one waits for the same */
			return dump_go_on(d, r);
		r = dump_go_on(d, r);
		if (r < 0)
			return r;
	}
	return 0;
}

/*
 * smaps(5) walks every page of a mapping, 30 ms per GiB: too long to be frozen for. Of a large process it is
 * read before; in the freeze come only the mappings, and the attributes are those that each was seen with.
 * Return: 1, 0 where one is new: smaps has to tell after all; or -errno.
 */
static int collect_by_preview(struct dump *d, struct task *task)
{
	const struct vma_preview *pv = find_preview(d, task);
	_cleanup_free_ char *text = NULL;
	int r;

	if (!pv || tracker_needs_smaps(d))
		return 0;
	r = sys_read_file_at(task->proc_fd, "maps", SMAPS_TEXT_MAX, &text, NULL);
	if (r < 0)
		return fail(d->failure, r, "cannot read its mappings");
	for (const char *p = text; *p;) {
		struct proc_map m;

		r = proc_map_parse(p, &m, &p);
		if (r < 0)
			return fail(d->failure, r, "cannot parse its mappings");
		if (!seen_before(pv, &m))
			return 0;
	}
	task->unshared = !tree_grew_since(&d->tree, pv->taken);
	r = collect_text(d, task, text, pv);
	return r < 0 ? r : 1;
}

int vma_collect(struct dump *d, struct task *task)
{
	_cleanup_free_ char *text = NULL;
	int r;

	r = collect_by_preview(d, task);
	if (r != 0)
		return r < 0 ? r : 0;
	r = sys_read_file_at(task->proc_fd, "smaps", SMAPS_TEXT_MAX, &text, NULL);
	task->unshared = true;
	return r < 0 ? fail(d->failure, r, "cannot read its mappings") : collect_text(d, task, text, NULL);
}

int vma_collect_plain(struct dump *d, struct task *task)
{
	_cleanup_free_ char *text = NULL;
	int r;

	if (tracker_needs_smaps(d))
		return vma_collect(d, task);
	r = sys_read_file_at(task->proc_fd, "maps", SMAPS_TEXT_MAX, &text, NULL);
	task->unshared = false; /* unknown */
	return r < 0 ? fail(d->failure, r, "cannot read its mappings") : collect_text(d, task, text, NULL);
}

/* Anonymous shared objects in the order in which they are met first. */
struct shared_order {
	struct shared_object {
		uint64_t inode;
		const struct task *met_in; /* last */
	} *objects;
	size_t n;
};

static bool is_shared_object(const struct vma *v)
{
	return v->status == (VMA_REGULAR | VMA_ANON_SHARED) && !(v->flags & MAP_HUGETLB);
}

/* Position of an object, which is added if it is new. At most SHARED_ORDER_MAX, or -errno. */
static int order_find(struct dump *d, struct shared_order *o, uint64_t inode)
{
	for (size_t i = 0; i < o->n; i++) {
		if (o->objects[i].inode == inode)
			return i;
	}
	if (arena_grow(&d->arena, &o->objects, o->n) < 0)
		return fail(d->failure, -ENOMEM, "no memory for mappings");
	o->objects[o->n++] = (struct shared_object){ .inode = inode };
	return o->n - 1;
}

/* Return: 1 a task has them in another order than one before it, 0 not, -errno. */
static int order_add_task(struct dump *d, struct shared_order *o, const struct task *task)
{
	int last = 0;

	for (size_t i = 0; i < task->n_vmas; i++) {
		int at;

		if (!is_shared_object(&task->vmas[i]))
			continue;
		at = order_find(d, o, task->vmas[i].shmid);
		if (at < 0)
			return at;
		if (o->objects[at].met_in == task)
			continue;
		o->objects[at].met_in = task;
		if (at < last || at == SHARED_ORDER_MAX)
			return 1;
		last = at;
	}
	return 0;
}

/*
 * Of an anonymous object, CRIU has one task make it and wait for the others that map it, one after the other in the order of
 * addresses: two tasks that have two of them in different orders would wait for each other for ever. A memfd nobody
 * waits for, and it is what CRIU itself takes all of them for.
 */
int vma_settle_shared(struct dump *d)
{
	struct shared_order order = {};
	int crossed = 0;

	for (size_t i = 0; crossed == 0 && i < d->tree.n_tasks; i++)
		crossed = order_add_task(d, &order, d->tree.tasks[i]);
	for (size_t i = 0; crossed > 0 && i < d->tree.n_tasks; i++) {
		struct task *task = d->tree.tasks[i];

		for (size_t k = 0; k < task->n_vmas; k++) {
			struct vma *v = &task->vmas[k];

			if (!is_shared_object(v))
				continue;
			v->status = VMA_REGULAR | VMA_MEMFD | VMA_FILE_SHARED;
			v->flags &= ~(uint32_t)MAP_ANONYMOUS;
		}
	}
	return MIN(crossed, 0);
}

/*
 * How the file of a mapping is open. The mode of the link in map_files says so, but the kernel keeps the link of an earlier mapping at the
 * same addresses, with the mode of that one's file (Linux 6.18). A shared mapping may be written if its file is open for writing.
 */
static int open_mode_of(const struct vma *v, const char *link)
{
	struct stat st;
	int r;

	if (!vma_is_private(v->status) && v->knows_may)
		return v->may & PROT_WRITE ? O_RDWR : O_RDONLY;
	r = sys_fstatat(AT_FDCWD, link, &st, AT_SYMLINK_NOFOLLOW);
	return r < 0 ? r : (st.st_mode & S_IWUSR) ? O_RDWR : O_RDONLY;
}

/* Opens the file behind a mapping as it was opened for it. @reach: who does; NULL: we. */
static int open_mapped(struct dump *d, struct task *task, struct vma *v, struct reach *reach, int *ret_fd)
{
	char path[96];
	int fd, r;

	(void)snprintf(path, sizeof(path), "/proc/%d/map_files/%" PRIx64 "-%" PRIx64, task->pid, v->start, v->end);
	r = open_mode_of(v, path);
	if (r < 0)
		return fail(d->failure, r, "cannot look at the mapped file");
	v->fdflags = (uint32_t)r;
	fd = reach_open(reach, path, v->fdflags | O_NONBLOCK);
	if (fd == -EACCES || fd == -EROFS || fd == -ETXTBSY)
		fd = reach_open(reach, path, O_RDONLY | O_NONBLOCK);
	if (fd == -ETIMEDOUT)
		return fail(d->failure, fd, "its file is on a file system that did not answer within --timeout (%u s)",
			    d->options->timeout_sec);
	if (fd < 0)
		return fail(d->failure, fd, "cannot open the mapped file");
	*ret_fd = fd;
	return 0;
}

static int resolve_file(struct dump *d, struct task *task, struct vma *v)
{
	struct reach *reach = v->far ? far_reach_device(d, v->dev) : NULL;
	_cleanup_close_ int ours = -EBADF;
	uint32_t id;
	struct stat st;
	int fd = -EBADF, r;

	if (v->far && !reach)
		return d->failure->error;
	r = open_mapped(d, task, v, reach, &fd);
	if (r < 0)
		return r;
	ours = reach ? -EBADF : fd;
	r = reach_fstat(reach, fd, &st);
	if (r < 0)
		return fail(d->failure, r, "cannot stat the mapped file");
	if (!S_ISREG(st.st_mode) && !(v->status & VMA_FILE_PRIVATE))
		return fail(d->failure, -EOPNOTSUPP, "a mapped device cannot be saved");
	r = files_put_mapped(d, task, reach, fd, v->fdflags, &id);
	if (r < 0)
		return r;
	v->shmid = id;
	return 0;
}

/* The ring of a packet socket: mapped from the socket itself. What is in it is lost, as packets are. */
static int resolve_socket(struct dump *d, struct vma *v)
{
	uint32_t id = files_find_inode(d, v->dev, v->shmid);

	if (id == 0)
		return fail(d->failure, -EOPNOTSUPP, "a mapped socket that is not open any more");
	v->shmid = id;
	v->fdflags = O_RDWR;
	return 0;
}

int vma_resolve(struct dump *d, struct task *task)
{
	for (size_t i = 0; i < task->n_vmas; i++) {
		struct vma *v = &task->vmas[i];
		int r = 0;

		FAILURE_SCOPE(d->failure, "mapping %" PRIx64 "-%" PRIx64, v->start, v->end);
		if (v->status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED))
			r = resolve_file(d, task, v);
		else if (v->status & VMA_ANON_SHARED)
			r = shmem_dump_mapping(d, task, v);
		else if (v->status & VMA_SOCKET)
			r = resolve_socket(d, v);
		else
			v->shmid = 0;
		r = dump_go_on(d, r);
		if (r < 0)
			return r;
	}
	return dump_go_on(d, aio_wait_still(d, task));
}

int vma_check(struct restore *rs, const struct rtask *task)
{
	uint64_t last = 0;
	bool guards = false;
	int r;

	for (size_t i = 0; i < task->mm->n_vmas; i++) {
		const VmaEntry *v = task->mm->vmas[i];

		FAILURE_SCOPE(rs->failure, "mapping %" PRIx64 "-%" PRIx64, v->start, v->end);
		if (v->status & VMA_VSYSCALL) /* the kernel's, above all others */
			continue;
		if ((v->status & VMA_GUARD) && !guards) {
			guards = true; /* behind the real ones, from the start again */
			last = 0;
		}
		if (v->start >= v->end || v->end > ADDRESS_MAX || (v->start | v->end | v->pgoff) % PAGE ||
		    v->start < last || guards != !!(v->status & VMA_GUARD))
			return fail(rs->failure, -EBADMSG, "the image has it out of order");
		last = v->end;
		if (v->status & VMA_SHSTK)
			return fail(rs->failure, -EOPNOTSUPP, "mappings of status %#x cannot be restored",
				    v->status);
	}
	r = pkeys_check(rs, task->mm);
	return r < 0 ? r : aio_check_restore(rs, task);
}

/* Descriptors of mapped files that a task has got already. */
struct mapped_files {
	uint64_t *id;
	int *number;
	size_t n;
};

bool vma_may_write(const VmaEntry *v)
{
	if (!(v->flags & MAP_SHARED) || (v->prot & PROT_WRITE))
		return true;
	if (v->has_may)
		return v->may & PROT_WRITE;
	if (v->status & VMA_SYSVIPC)
		return false;
	return !v->has_fdflags || (v->fdflags & O_ACCMODE) == O_RDWR;
}

/* The same file, open for reading only: a shared mapping of it can never be made writable. */
static int narrow_fd(struct restore *rs, int fd)
{
	char path[64];
	int r;

	r = SYS_CALL(fcntl(fd, F_GETFL));
	if (r >= 0 && (r & O_ACCMODE) == O_RDONLY)
		return sys_dup(fd);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	if (r >= 0)
		r = sys_open(path, O_RDONLY, 0);
	return r < 0 ? fail(rs->failure, r, "cannot open a mapped file for reading only") : r;
}

static int mapped_fd(struct restore *rs, struct rtask *task, struct mapped_files *have,
		     const VmaEntry *v)
{
	bool narrow = !(v->status & VMA_SOCKET) && !vma_may_write(v);
	_cleanup_close_ int narrowed = -EBADF;
	bool shmem = !(v->status & (VMA_FILE_PRIVATE | VMA_FILE_SHARED | VMA_SOCKET));
	uint32_t mode = v->has_fdflags	      ? v->fdflags & O_ACCMODE :
			(v->status & VMA_FILE_SHARED) && (v->prot & PROT_WRITE) ? O_RDWR :
								O_RDONLY;
	uint64_t key = (uint64_t)shmem << 63 | (uint64_t)narrow << 62 | (uint64_t)mode << 60 | v->shmid;
	int fd, number;

	for (size_t i = 0; i < have->n; i++) {
		if (have->id[i] == key)
			return have->number[i];
	}
	if (shmem)
		fd = shmem_open(rs, v);
	else if (v->status & (VMA_MEMFD | VMA_SOCKET))
		fd = files_open_mapped(rs, v->shmid, narrow ? O_RDONLY : O_RDWR);
	else
		fd = files_open_mapped(rs, v->shmid, mode);
	if (fd < 0)
		return fd;
	if (narrow) {
		fd = narrowed = narrow_fd(rs, fd);
		if (fd < 0)
			return fd;
	}
	number = restore_send_fd(rs, task, fd);
	if (number < 0)
		return number;
	if (arena_grow(&rs->arena, &have->id, have->n) < 0 ||
	    arena_grow(&rs->arena, &have->number, have->n) < 0)
		return fail(rs->failure, -ENOMEM, "no memory for mappings");
	have->id[have->n] = key;
	have->number[have->n++] = number;
	return number;
}

static int map_one(struct restore *rs, struct rtask *task, struct mapped_files *have, const VmaEntry *v)
{
	uint32_t prot = pkeys_early_prot(v), flags = v->flags & ~(uint32_t)(MAP_FIXED | MAP_LOCKED | MAP_POPULATE);
	bool anonymous = v->status & (VMA_ANON_PRIVATE | VMA_AIORING);
	int fd = -1, r;

	if (v->status == VMA_AIORING) /* a placeholder: aio_restore() */
		flags = MAP_PRIVATE | MAP_ANONYMOUS;
	if (v->status & VMA_SYSVIPC) {
		r = sysv_attach(rs, task, v);
		if (r == 0)
			remote_add(task->remote, "cannot protect", SYS_mprotect, v->start,
				   v->end - v->start, prot, 0, 0, 0);
		return r;
	}
	if (!anonymous) {
		fd = mapped_fd(rs, task, have, v);
		if (fd < 0)
			return fd;
		flags &= ~(uint32_t)(MAP_ANONYMOUS | MAP_HUGETLB | (0x3fu << HUGETLB_SIZE_SHIFT));
	}
	r = remote_reserve(task->remote, 1, 0);
	if (r < 0)
		return r;
	remote_add(task->remote, "cannot map", SYS_mmap, v->start, v->end - v->start, prot,
		   flags | MAP_FIXED_NOREPLACE, fd, anonymous ? 0 : v->pgoff);
	return 0;
}

int vma_map_one(struct restore *rs, struct rtask *task, const VmaEntry *v)
{
	struct mapped_files have = {};
	int r;

	r = map_one(rs, task, &have, v);
	for (size_t i = 0; r == 0 && i < have.n; i++) {
		r = remote_reserve(task->remote, 1, 0);
		if (r == 0)
			remote_add(task->remote, "cannot close a descriptor", SYS_close, have.number[i], 0, 0, 0, 0, 0);
	}
	return r;
}

int vma_map(struct restore *rs, struct rtask *task)
{
	struct mapped_files have = {};
	int r;

	for (size_t i = 0; i < task->mm->n_vmas; i++) {
		const VmaEntry *v = task->mm->vmas[i];

		if (v->status & (VMA_VVAR | VMA_VDSO | VMA_VSYSCALL | VMA_GUARD | VMA_UPROBES))
			continue;
		if (share_holds(task, v))
			continue;
		FAILURE_SCOPE(rs->failure, "mapping %" PRIx64 "-%" PRIx64, v->start, v->end);
		r = map_one(rs, task, &have, v);
		if (r < 0)
			return r;
	}
	r = remote_run(task->remote);
	return r < 0 ? r : numa_restore_mappings(rs, task);
}

static int advise(struct restore *rs, struct rtask *task, const VmaEntry *v)
{
	int r;

	for (int advice = 1; advice < 64; advice++) {
		if (!(v->madv & (1ull << advice)))
			continue;
		r = remote_reserve(task->remote, 1, 0);
		if (r < 0)
			return r;
		remote_add(task->remote, "cannot give its memory advice", SYS_madvise, v->start,
			   v->end - v->start, advice, 0, 0, 0);
	}
	return 0;
}

/*
 * The lock itself may fail for want of right or of room. That the pages then do not come in, of a mapping without access or past the
 * end of a file, is as it was: mlockall(2) locks those too.
 */
static int lock(struct restore *rs, struct rtask *task, const VmaEntry *v)
{
	struct remote *rm = task->remote;
	int r;

	if (!(v->flags & MAP_LOCKED) || (v->status & (VMA_VVAR | VMA_VDSO | VMA_VSYSCALL | VMA_UPROBES | VMA_GUARD)))
		return 0;
	r = remote_reserve(rm, 2, 0);
	if (r < 0)
		return r;
	remote_add(rm, "cannot lock its memory", SYS_mlock2, v->start, v->end - v->start, MLOCK_ONFAULT, 0, 0, 0);
	if (!v->has_lock_on_fault || !v->lock_on_fault)
		remote_add(rm, NULL, SYS_mlock, v->start, v->end - v->start, 0, 0, 0, 0);
	return 0;
}

/* Guard pages cannot be installed in memory that is locked: after them. */
static int lock_all(struct restore *rs, struct rtask *task)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < task->mm->n_vmas; i++)
		r = lock(rs, task, task->mm->vmas[i]);
	return r < 0 ? r : remote_run(task->remote);
}

int vma_protect(struct restore *rs, struct rtask *task)
{
	struct remote *rm = task->remote;
	int r;

	for (size_t i = 0; i < task->mm->n_vmas; i++) {
		const VmaEntry *v = task->mm->vmas[i];

		if (v->status & (VMA_VVAR | VMA_VDSO | VMA_VSYSCALL | VMA_UPROBES))
			continue;
		r = remote_reserve(rm, 2, 0);
		if (r < 0)
			return r;
		if (v->status & VMA_GUARD) {
			remote_add(rm, "cannot install guard pages", SYS_madvise, v->start,
				   v->end - v->start, MADV_GUARD_INSTALL, 0, 0, 0);
			continue;
		}
		/* What is held was another's, and may have its protection. */
		if (vma_is_private(v->status) && (!(v->prot & PROT_WRITE) || share_holds(task, v)))
			remote_add(rm, "cannot protect", SYS_mprotect, v->start, v->end - v->start,
				   pkeys_early_prot(v), 0, 0, 0);
		r = v->has_madv ? advise(rs, task, v) : 0;
		if (r < 0)
			return r;
	}
	r = pkeys_restore(rs, task);
	return r < 0 ? r : lock_all(rs, task);
}
