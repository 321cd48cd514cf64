/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "basic/dir.h"
#include "basic/sys.h"
#include "count-fds.h"

enum { SOMEBODY = 65534, OTHER = 65533 };

/* A directory of root's, and in it "mine" of SOMEBODY's. */
struct fixture {
	char top[32];
	int fd, root_fd;
	size_t n_fds;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	(void)umask(022);
	(void)snprintf(f->top, sizeof(f->top), "/tmp/test-place-XXXXXX");
	if (!mkdtemp(f->top))
		return -1;
	f->fd = sys_open(f->top, O_RDONLY | O_DIRECTORY, 0);
	f->root_fd = sys_open("/", O_PATH | O_DIRECTORY, 0);
	(void)sys_fchmod(f->fd, 0755);
	(void)sys_mkdirat(f->fd, "mine", 0755);
	(void)sys_mkdirat(f->fd, "shared", 0777);
	close_fd(sys_openat(f->fd, "root", O_CREAT | O_RDWR, 0600));
	close_fd(sys_openat(f->fd, "mine/file", O_CREAT | O_RDWR, 0600));
	close_fd(sys_openat(f->fd, "shared/roots", O_CREAT | O_RDWR, 0600));
	close_fd(sys_openat(f->fd, "shared/users", O_CREAT | O_RDWR, 0600));
	*state = f;
	f->n_fds = count_fds();
	if (fchmodat(f->fd, "shared", 01777, 0) < 0)
		return -1;
	if (geteuid() != 0)
		return 0;
	return fchownat(f->fd, "mine", SOMEBODY, SOMEBODY, 0) |
	       fchownat(f->fd, "mine/file", SOMEBODY, SOMEBODY, 0) |
	       fchownat(f->fd, "shared/users", SOMEBODY, SOMEBODY, 0);
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	int same = count_fds() == f->n_fds;

	close_fd(f->fd);
	close_fd(f->root_fd);
	same = same && dir_remove(AT_FDCWD, f->top) == 0;
	free(f);
	return same ? 0 : -1;
}

static int find(const struct fixture *f, const char *name, unsigned flags, uid_t links_of,
		struct place_found *ret)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", f->top, name);
	*ret = PLACE_FOUND_NONE;
	return place_find(&(struct place){ f->root_fd, path }, flags, links_of, NULL, ret);
}

#define NEEDS_ROOT()                                                                               \
	do {                                                                                       \
		if (geteuid() != 0)                                                                \
			skip();                                                                    \
	} while (0)

static void what_only_root_can_change_is_guarded(void **state)
{
	_cleanup_(place_found_done) struct place_found p;

	NEEDS_ROOT();
	assert_int_equal(find(*state, "root", 0, 0, &p), 0);
	assert_true(p.guarded && p.dir_guarded);
	assert_string_equal(p.name, "root");
	assert_string_equal(p.weak, "");
}

static void a_directory_of_somebody_guards_nothing(void **state)
{
	_cleanup_(place_found_done) struct place_found p;
	struct fixture *f = *state;
	char weak[64];

	NEEDS_ROOT();
	assert_int_equal(find(f, "mine/file", 0, 0, &p), 0);
	assert_false(p.guarded);
	assert_true(p.dir_guarded);
	assert_int_equal(p.weak_uid, SOMEBODY);
	(void)snprintf(weak, sizeof(weak), "%s/mine/file", f->top);
	assert_string_equal(p.weak, weak);
}

static void in_a_sticky_directory_roots_directories_are_guarded(void **state)
{
	_cleanup_(place_found_done) struct place_found a, b, c;

	NEEDS_ROOT();
	_cleanup_(place_found_done) struct place_found d;
	struct fixture *f = *state;

	/* Whoever owns the directory that it was in can have moved it here. */
	assert_int_equal(find(*state, "shared/roots", 0, 0, &a), 0);
	assert_false(a.guarded);
	place_found_done(&a);
	assert_int_equal(find(*state, "shared/roots", PLACE_MOVED_COUNTS, 0, &a), 0);
	assert_true(a.guarded);
	assert_int_equal(mkdirat(f->fd, "shared/dir", 0700), 0);
	assert_int_equal(find(*state, "shared/dir", 0, 0, &d), 0);
	assert_true(d.guarded);
	assert_int_equal(find(*state, "shared/users", 0, 0, &b), 0);
	assert_false(b.guarded);
	assert_int_equal(find(*state, "shared/none", PLACE_MAY_MISS, 0, &c), 0);
	assert_false(c.guarded);
	assert_true(c.dir_guarded && c.fd < 0 && c.dir_fd >= 0);
}

static void a_directory_that_a_group_may_write_to_guards_nothing(void **state)
{
	_cleanup_(place_found_done) struct place_found p;
	struct fixture *f = *state;

	assert_int_equal(fchmodat(f->fd, "shared", 0775, 0), 0);
	assert_int_equal(find(f, "shared/roots", 0, 0, &p), 0);
	assert_false(p.guarded);
}

static void links_are_followed_by_whose_they_are(void **state)
{
	_cleanup_(place_found_done) struct place_found a, b, c, d;
	struct fixture *f = *state;

	NEEDS_ROOT();
	assert_int_equal(symlinkat("../root", f->fd, "mine/link"), 0);
	assert_int_equal(fchownat(f->fd, "mine/link", SOMEBODY, SOMEBODY, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(find(f, "mine/link", 0, SOMEBODY, &a), 0);
	assert_false(a.guarded);
	assert_string_equal(a.name, "root");
	assert_int_equal(find(f, "mine/link", 0, OTHER, &b), -EPERM);
	assert_int_equal(find(f, "mine/link", 0, 0, &c), -EPERM);
	assert_int_equal(c.weak_uid, SOMEBODY);
	assert_int_equal(find(f, "mine/link", PLACE_NO_FOLLOW, 0, &d), 0);
	assert_true(S_ISLNK(d.st.st_mode));
}

static void a_link_of_roots_in_a_guarded_directory_is_guarded(void **state)
{
	_cleanup_(place_found_done) struct place_found p;
	struct fixture *f = *state;
	char target[64];

	NEEDS_ROOT();
	(void)snprintf(target, sizeof(target), "%s/./shared/../root", f->top);
	assert_int_equal(symlinkat(target, f->fd, "link"), 0);
	assert_int_equal(find(f, "link", 0, 0, &p), 0);
	assert_true(p.guarded);
	assert_string_equal(p.name, "root");
}

static void a_way_that_was_weak_once_stays_weak(void **state)
{
	_cleanup_(place_found_done) struct place_found p;
	struct fixture *f = *state;

	NEEDS_ROOT();
	assert_int_equal(symlinkat("../root", f->fd, "mine/up"),
			 0); /* root's, in somebody's directory */
	assert_int_equal(find(f, "mine/up", 0, 0, &p), 0);
	assert_false(p.guarded);
}

static void nothing_leads_out_of_the_root(void **state)
{
	_cleanup_(place_found_done) struct place_found a = PLACE_FOUND_NONE, b = PLACE_FOUND_NONE;
	struct fixture *f = *state;
	struct stat own, top;

	assert_int_equal(place_find(&(struct place){ f->fd, "/../../root" }, 0, PLACE_LINKS_OF_ALL,
				    NULL, &a),
			 0);
	assert_int_equal(sys_fstatat(f->fd, "root", &own, 0), 0);
	assert_true(a.st.st_ino == own.st_ino);
	assert_int_equal(symlinkat("/", f->fd, "out"), 0);
	assert_int_equal(
		place_find(&(struct place){ f->fd, "/out" }, 0, PLACE_LINKS_OF_ALL, NULL, &b), 0);
	assert_int_equal(sys_fstat(f->fd, &top), 0);
	assert_true(b.st.st_ino == top.st_ino);
	assert_string_equal(b.name, ".");
}

static void a_second_walk_into_the_same_directory_finds_the_same(void **state)
{
	_cleanup_(place_cache_done) struct place_cache cache = PLACE_CACHE_NONE;
	_cleanup_(place_found_done) struct place_found a = PLACE_FOUND_NONE, b = PLACE_FOUND_NONE;
	struct fixture *f = *state;

	assert_int_equal(place_find(&(struct place){ f->fd, "/mine/file" }, 0, 0, &cache, &a), 0);
	assert_string_equal(cache.parent, "/mine");
	assert_int_equal(sys_renameat(f->fd, "mine", f->fd, "gone"), 0);
	assert_int_equal(place_find(&(struct place){ f->fd, "/mine/file" }, 0, 0, &cache, &b), 0);
	assert_true(b.st.st_ino == a.st.st_ino && b.guarded == a.guarded);
	assert_string_equal(b.weak, a.weak);
	assert_string_equal(b.name, "file");
}

static void loops_end(void **state)
{
	_cleanup_(place_found_done) struct place_found p;
	struct fixture *f = *state;

	assert_int_equal(symlinkat("loop", f->fd, "loop"), 0);
	assert_int_equal(find(f, "loop", 0, PLACE_LINKS_OF_ALL, &p), -ELOOP);
}

static void what_was_found_is_opened_and_nothing_else(void **state)
{
	_cleanup_(place_found_done) struct place_found p;
	_cleanup_close_ int fd = -EBADF;
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(find(f, "root", 0, PLACE_LINKS_OF_ALL, &p), 0);
	assert_int_equal(sys_unlinkat(f->fd, "root", 0), 0);
	assert_int_equal(symlinkat("mine/file", f->fd, "root"), 0);
	fd = place_open(&p, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(sys_fstat(fd, &st), 0);
	assert_true(st.st_ino == p.st.st_ino);
	assert_true(place_open(&p, O_RDWR | O_NOFOLLOW) < 0);
	assert_int_equal(place_open(&p, O_PATH | O_NOFOLLOW), -ESTALE);
}

static void a_fifo_is_not_waited_for(void **state)
{
	_cleanup_(place_found_done) struct place_found p, q;
	struct fixture *f = *state;
	int fd;

	assert_int_equal(mkfifoat(f->fd, "fifo", 0600), 0);
	assert_int_equal(find(f, "fifo", 0, PLACE_LINKS_OF_ALL, &p), 0);
	assert_int_equal(place_open(&p, O_RDONLY), -ENXIO);
	/* Swapped in between, it is opened for a moment only. */
	assert_int_equal(find(f, "root", 0, PLACE_LINKS_OF_ALL, &q), 0);
	assert_int_equal(sys_exchangeat(f->fd, "root", f->fd, "fifo"), 0);
	assert_int_equal(place_open(&q, O_RDONLY | O_NOFOLLOW), -ESTALE);
	assert_int_equal(sys_exchangeat(f->fd, "root", f->fd, "fifo"), 0);
	fd = place_open(&q, O_RDONLY | O_NOFOLLOW);
	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_NOFOLLOW), O_NOFOLLOW);
	close_fd(fd);
}

static void only_what_was_meant_is_unlinked(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(sys_fstatat(f->fd, "root", &st, 0), 0);
	assert_int_equal(place_unlink_at(f->fd, "root", st.st_dev, st.st_ino + 1), -ESTALE);
	assert_int_equal(place_unlink_at(f->fd, "root", st.st_dev, st.st_ino), 0);
	assert_int_equal(place_unlink_at(f->fd, "root", st.st_dev, st.st_ino), -ENOENT);
}

static int append(const struct fixture *f, const char *name)
{
	_cleanup_(place_found_done) struct place_found p = PLACE_FOUND_NONE;
	_cleanup_close_ int fd = -EBADF;
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", f->top, name);
	fd = place_open_to_append(&(struct place){ f->root_fd, path }, 0600, &p);
	return fd < 0 ? fd : fcntl(fd, F_GETFL) & O_APPEND ? 0 : -EINVAL;
}

static void root_appends_only_where_others_did_not_choose_the_file(void **state)
{
	struct fixture *f = *state;

	NEEDS_ROOT();
	assert_int_equal(append(f, "root"), 0);
	assert_int_equal(append(f, "new"), 0);
	assert_int_equal(append(f, "mine/file"), 0);
	assert_int_equal(append(f, "mine/new"), 0);
	assert_int_equal(append(f, "mine/new"), 0); /* root's, by its only name */
	assert_int_equal(sys_linkat(f->fd, "root", f->fd, "mine/hard"), 0);
	assert_int_equal(append(f, "mine/hard"), -EPERM);
	assert_int_equal(symlinkat("../root", f->fd, "mine/soft"), 0);
	assert_int_equal(fchownat(f->fd, "mine/soft", SOMEBODY, SOMEBODY, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(append(f, "mine/soft"), -EPERM);
	assert_int_equal(mkfifoat(f->fd, "mine/fifo", 0600), 0);
	assert_int_equal(append(f, "mine/fifo"), -EPERM);
}

static void the_parent_is_found_where_no_link_is_on_the_way(void **state)
{
	struct fixture *f = *state;
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/nothing", f->top);
	fd = place_open_parent(path);
	assert_true(fd >= 0);
	close_fd(fd);
	fd = place_open_parent("/x");
	assert_true(fd >= 0);
	close_fd(fd);
	assert_int_equal(symlinkat("mine", f->fd, "l"), 0);
	(void)snprintf(path, sizeof(path), "%s/l/nothing", f->top);
	assert_int_equal(place_open_parent(path), -ELOOP);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_only_root_can_change_is_guarded),
		TEST(a_directory_of_somebody_guards_nothing),
		TEST(in_a_sticky_directory_roots_directories_are_guarded),
		TEST(a_directory_that_a_group_may_write_to_guards_nothing),
		TEST(links_are_followed_by_whose_they_are),
		TEST(a_link_of_roots_in_a_guarded_directory_is_guarded),
		TEST(a_way_that_was_weak_once_stays_weak),
		TEST(nothing_leads_out_of_the_root),
		TEST(a_second_walk_into_the_same_directory_finds_the_same),
		TEST(loops_end),
		TEST(what_was_found_is_opened_and_nothing_else),
		TEST(a_fifo_is_not_waited_for),
		TEST(only_what_was_meant_is_unlinked),
		TEST(root_appends_only_where_others_did_not_choose_the_file),
		TEST(the_parent_is_found_where_no_link_is_on_the_way),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
