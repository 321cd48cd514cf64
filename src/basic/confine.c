/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The order: mounts first, which need capabilities; Landlock, whose rules name directories of the new namespace; seccomp last,
 * for it forbids all the calls above. The filter itself is confine-filter.c.
 */
#include "basic/confine.h"

#include <limits.h>
#include <linux/landlock.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "basic/confine-filter.h"
#include "basic/dir.h"
#include "basic/parse.h"
#include "basic/sys.h"

/* <sys/mount.h> and <linux/mount.h> do not go together before glibc 2.37. */
enum {
	MOUNT_RECURSIVE = 1 << 14,
	MOUNT_PRIVATE = 1 << 18,
	UNMOUNT_DETACH = 2,
	TREE_RECURSIVE = 0x8000, /* AT_RECURSIVE */
	FDS_MAX = 1 << 16,
};

/* ---- mounts ---- */

struct mounts {
	const struct confine_directory *directories;
	size_t n;
	char above[PATH_MAX]; /* nearest directory above all */
	int tree_fd;	      /* its clone */
	int *fds;	      /* the directories in it */
};

static void mounts_done(struct mounts *m)
{
	for (size_t i = 0; m->fds && i < m->n; i++)
		close_fd(m->fds[i]);
	free(m->fds);
	close_fd(m->tree_fd);
}

static int path_of(int fd, char path[static PATH_MAX])
{
	char link[64];

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	return sys_readlinkat(AT_FDCWD, link, path, PATH_MAX);
}

/* Cuts @path to what it and @other have in common, in whole components. */
static void cut_to_common(char *path, const char *other)
{
	size_t n = 0, common = 0;

	for (; path[n] && path[n] == other[n]; n++)
		if (path[n] == '/')
			common = n;
	if ((path[n] == '\0' || path[n] == '/') && (other[n] == '\0' || other[n] == '/'))
		common = n;
	path[common] = '\0';
}

/* -EXDEV: only "/" is above all. */
static int find_above(struct mounts *m)
{
	char path[PATH_MAX];
	int r;

	for (size_t i = 0; i < m->n; i++) {
		r = path_of(m->directories[i].fd, i == 0 ? m->above : path);
		if (r < 0)
			return r;
		if (i > 0)
			cut_to_common(m->above, path);
	}
	return m->above[0] == '/' && m->above[1] != '\0' ? 0 : -EXDEV;
}

/* The same directory, by its way below the clone. Return: a descriptor. */
static int open_again(const struct mounts *m, int fd)
{
	_cleanup_close_ int again = -EBADF;
	struct stat before, now;
	char path[PATH_MAX];
	const char *below;
	int r = path_of(fd, path);

	if (r < 0)
		return r;
	below = path + strlen(m->above);
	again = sys_openat(m->tree_fd, *below == '/' ? below + 1 : ".",
			   O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	r = again < 0 ? again : sys_fstat(fd, &before);
	if (r >= 0)
		r = sys_fstat(again, &now);
	if (r < 0)
		return r;
	return before.st_dev == now.st_dev && before.st_ino == now.st_ino ? TAKE_FD(again)
									  : -ESTALE;
}

static int clone_tree(struct mounts *m)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
					       MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY };

	m->tree_fd = SYS_CALL(syscall(SYS_open_tree, AT_FDCWD, m->above,
				      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW |
					      TREE_RECURSIVE));
	if (m->tree_fd < 0)
		return m->tree_fd;
	for (size_t i = 0; i < m->n; i++)
		if (m->directories[i].rights != CONFINE_READ)
			attr.attr_set &= ~MOUNT_ATTR_RDONLY;
	/* Linux 5.12; without it nothing is executed or opened as a device either, by the filter and for want of power. */
	(void)SYS_CALL(syscall(SYS_mount_setattr, m->tree_fd, "", AT_EMPTY_PATH | TREE_RECURSIVE,
			       &attr, sizeof(attr)));
	m->fds = calloc(m->n, sizeof(*m->fds));
	if (!m->fds)
		return -ENOMEM;
	memset(m->fds, 0xff, m->n * sizeof(*m->fds));
	for (size_t i = 0; i < m->n; i++) {
		m->fds[i] = open_again(m, m->directories[i].fd);
		if (m->fds[i] < 0)
			return m->fds[i];
	}
	return 0;
}

/* The clone becomes the root, and the root that was is let go. */
static int change_root(struct mounts *m)
{
	int r = SYS_CALL(syscall(SYS_move_mount, m->tree_fd, "", AT_FDCWD, m->above,
				 MOVE_MOUNT_F_EMPTY_PATH));

	if (r < 0)
		return r;
	r = SYS_CALL(fchdir(m->tree_fd));
	if (r >= 0)
		r = SYS_CALL(syscall(SYS_pivot_root, ".", "."));
	if (r >= 0)
		r = SYS_CALL(syscall(SYS_umount2, ".", UNMOUNT_DETACH));
	if (r >= 0)
		r = SYS_CALL(chdir("/"));
	return r;
}

/* Descriptors of directories that are not asked for are a way out. */
static int close_ways_out(struct mounts *m, const struct dir_names *fds)
{
	for (size_t i = 0; i < fds->n; i++) {
		struct stat st;
		int32_t fd;
		bool keep = false;
		int r = 0;

		if (parse_i32(fds->items[i], 10, &fd) < 0 || sys_fstat(fd, &st) < 0 ||
		    !S_ISDIR(st.st_mode))
			continue;
		for (size_t k = 0; k < m->n; k++)
			keep = keep || fd == m->directories[k].fd || fd == m->fds[k];
		if (!keep && fd != m->tree_fd)
			r = SYS_CALL(dup3(m->tree_fd, fd, O_CLOEXEC));
		if (r < 0)
			return r;
	}
	for (size_t k = 0; k < m->n; k++) {
		int r = SYS_CALL(dup3(m->fds[k], m->directories[k].fd, O_CLOEXEC));

		if (r < 0)
			return r;
	}
	return 0;
}

static int list_fds(struct dir_names *ret)
{
	_cleanup_close_ int dir_fd = sys_open("/proc/self/fd", O_RDONLY | O_DIRECTORY, 0);

	return dir_fd < 0 ? dir_fd : dir_list(dir_fd, FDS_MAX, ret);
}

/* Return: 1, 0 where that cannot be, or -errno when there is no way back. */
static int enter_mounts(const struct confine_directory *directories, size_t n)
{
	_cleanup_(mounts_done) struct mounts m = { .directories = directories,
						   .n = n,
						   .tree_fd = -EBADF };
	_cleanup_(dir_names_done) struct dir_names fds = {};
	int r;

	if (find_above(&m) < 0 || SYS_CALL(unshare(CLONE_NEWNS)) < 0)
		return 0;
	r = SYS_CALL(syscall(SYS_mount, NULL, "/", NULL, MOUNT_RECURSIVE | MOUNT_PRIVATE, NULL));
	if (r >= 0)
		r = clone_tree(&m);
	if (r >= 0)
		r = list_fds(&fds);
	if (r < 0 || change_root(&m) < 0) /* an initramfs cannot be left, for one */
		return 0;
	r = close_ways_out(&m, &fds);
	return r < 0 ? r : 1;
}

/* ---- Landlock ---- */

/* What the headers of Linux 6.1 do not know yet. */
#define LANDLOCK_TRUNCATE  (1ULL << 14) /* version 3 */
#define LANDLOCK_IOCTL_DEV (1ULL << 15) /* 5 */
#define LANDLOCK_TCP	   3		/* 4: bind, connect */
#define LANDLOCK_SCOPES	   3		/* 6: abstract unix sockets, signals */

struct landlock_attr {
	uint64_t fs, net, scopes;
};

static uint64_t landlock_rights(enum confine_rights rights)
{
	const uint64_t read = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR,
		       link = read | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REFER |
			      LANDLOCK_TRUNCATE;

	if (rights == CONFINE_READ)
		return read;
	if (rights == CONFINE_CHANGE)
		return link;
	return link | LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_SYM |
	       LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE |
	       LANDLOCK_ACCESS_FS_REMOVE_DIR;
}

static int add_rules(int rules, const struct landlock_attr *attr,
		     const struct confine_directory *directories, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct landlock_path_beneath_attr beneath = {
			.allowed_access = landlock_rights(directories[i].rights) & attr->fs,
			.parent_fd = directories[i].fd,
		};
		int r = SYS_CALL(syscall(SYS_landlock_add_rule, rules, LANDLOCK_RULE_PATH_BENEATH,
					 &beneath, 0));

		if (r < 0)
			return r;
	}
	return 0;
}

/* Return: 1, or 0 where there is none. */
static int enter_landlock(const struct confine_directory *directories, size_t n)
{
	long version = SYS_CALL(
		syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION));
	struct landlock_attr attr = { .fs = (LANDLOCK_ACCESS_FS_REFER << 1) - 1 };
	_cleanup_close_ int rules = -EBADF;

	if (version < 2)
		return 0;
	if (version >= 3)
		attr.fs |= LANDLOCK_TRUNCATE;
	if (version >= 4)
		attr.net = LANDLOCK_TCP;
	if (version >= 5)
		attr.fs |= LANDLOCK_IOCTL_DEV;
	if (version >= 6)
		attr.scopes = LANDLOCK_SCOPES;
	rules = SYS_CALL(syscall(SYS_landlock_create_ruleset, &attr,
				 version >= 6	? 24
				 : version >= 4 ? 16
						: 8,
				 0));
	if (rules < 0 || add_rules(rules, &attr, directories, n) < 0)
		return 0;
	return SYS_CALL(syscall(SYS_landlock_restrict_self, rules, 0)) == 0;
}

/* ---- capabilities, limits ---- */

/* Does root read or write there what is another user's? */
static bool has_other_owners(const struct confine_directory *directories, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct stat st;

		if (sys_fstat(directories[i].fd, &st) < 0 || st.st_uid != geteuid())
			return true;
		if (sys_fstatat(directories[i].fd, "inventory.img", &st, AT_SYMLINK_NOFOLLOW) ==
			    0 &&
		    st.st_uid != geteuid())
			return true;
	}
	return false;
}

static int drop_capabilities(bool keep_over_files)
{
	static const cap_value_t over_files[] = { CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH,
						  CAP_FOWNER };
	cap_t caps = cap_init();
	int r = caps ? 0 : -ENOMEM;

	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		(void)SYS_CALL(
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0)); /* who may not has none to lose */
	(void)SYS_CALL(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	if (r == 0 && keep_over_files)
		r = cap_set_flag(caps, CAP_PERMITTED, ARRAY_SIZE(over_files), over_files, CAP_SET) <
					    0 ||
				    cap_set_flag(caps, CAP_EFFECTIVE, ARRAY_SIZE(over_files),
						 over_files, CAP_SET) < 0
			    ? -errno
			    : 0;
	if (r == 0)
		r = SYS_CALL(cap_set_proc(caps));
	(void)cap_free(caps);
	return r;
}

static void set_limits(void)
{
	static const struct rlimit none = {};

	(void)SYS_CALL(setrlimit(RLIMIT_CORE, &none));
	(void)SYS_CALL(setrlimit(RLIMIT_NPROC, &none));
	(void)SYS_CALL(setrlimit(RLIMIT_MSGQUEUE, &none));
}

/* ---- all ---- */

int confine_to(const struct confine_directory *directories, size_t n, unsigned layers,
	       struct failure *f)
{
	bool other_owners = geteuid() == 0 && has_other_owners(directories, n);
	unsigned held = 0;
	int r;

	if (layers & CONFINE_MOUNTS) {
		r = enter_mounts(directories, n);
		if (r < 0)
			return fail(f, r, "cannot enter a mount namespace of the image sets alone");
		held |= r > 0 ? CONFINE_MOUNTS : 0;
	}
	r = SYS_CALL(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (r < 0)
		return fail(f, r, "cannot give up new privileges");
	if ((layers & CONFINE_LANDLOCK) && enter_landlock(directories, n) > 0)
		held |= CONFINE_LANDLOCK;
	if (layers & CONFINE_LIMITS) {
		set_limits();
		held |= CONFINE_LIMITS;
	}
	if (layers & CONFINE_CAPABILITIES) {
		r = drop_capabilities(other_owners);
		/* Root of a user namespace may be without some: less is well, too. */
		if (r < 0 && !other_owners)
			return fail(f, r, "cannot give up capabilities");
		held |= r == 0 ? CONFINE_CAPABILITIES : 0;
	}
	if ((layers & CONFINE_SECCOMP) && confine_filter_install() == 0)
		held |= CONFINE_SECCOMP;
	return (int)held;
}

const char *confine_layers_to_string(unsigned layers, char *buf, size_t size)
{
	static const char *const names[] = { "mounts", "landlock", "capabilities", "seccomp",
					     "limits" };
	size_t n = 0;

	buf[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if ((layers & (1U << i)) && n < size)
			n += (size_t)snprintf(buf + n, size - n, "%s%s", n > 0 ? ", " : "",
					      names[i]);
	return buf;
}
