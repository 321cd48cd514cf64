/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program of an ordinary user that has things by paths which it can make lead elsewhere; driven by places.py.
 *
 *	swapped KIND UID DIR	has one thing of that kind below DIR, which is the user's
 *	swapped stop UID		stops all processes of the user, again and again
 *	swapped exchange UID A B N	lets two names change places N times (0: until it is killed), while both are there
 *
 * It makes DIR/ready when all is set up, and sleeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static void need(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "swapped: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void become(const char *uid)
{
	unsigned id = (unsigned)atoi(uid);

	need(setgroups(0, NULL) == 0, "setgroups");
	need(setresgid(id, id, id) == 0, "setresgid");
	need(setresuid(id, id, id) == 0, "setresuid");
}

static void have_file(void)
{
	need(open("d/thing", O_RDWR | O_CREAT | O_EXCL, 0640) >= 0, "d/thing");
}

static void have_directory(void)
{
	need(open("d", O_RDONLY | O_DIRECTORY) >= 0, "d");
}

static void have_cwd(void)
{
	need(chdir("d") == 0, "d");
}

static void have_socket(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char *cwd = getcwd(NULL, 0);

	need(fd >= 0 && cwd != NULL, "socket");
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%.80s/d/thing", cwd);
	need(bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0, sun.sun_path);
	need(listen(fd, 5) == 0, "listen");
	need(chmod(sun.sun_path, 0777) == 0, "chmod");
	free(cwd);
}

enum { N_SOCKETS = 100 };

static void have_sockets(void)
{
	char *cwd = getcwd(NULL, 0);

	need(cwd != NULL, "getcwd");
	for (int i = 0; i < N_SOCKETS; i++) {
		struct sockaddr_un sun = { .sun_family = AF_UNIX };
		int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

		(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%.80s/d/%d", cwd, i);
		need(fd >= 0 && bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0, sun.sun_path);
	}
	free(cwd);
}

static void have_relative_socket(void)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX, .sun_path = "thing" };
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);

	need(fd >= 0, "socket");
	need(chdir("d") == 0, "d");
	need(bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0, "thing");
	need(chdir("..") == 0, "..");
}

static void have_ghost(void)
{
	int fd = open("d/thing", O_RDWR | O_CREAT | O_EXCL, 04755);

	need(fd >= 0 && write(fd, "boo", 3) == 3, "d/thing");
	need(unlink("d/thing") == 0, "unlink");
}

static void have_lost_directory(void)
{
	need(mkdir("d/e", 0755) == 0, "d/e");
	need(mkdir("d/e/f", 0755) == 0, "d/e/f");
	need(open("d/e/f/thing", O_RDWR | O_CREAT | O_EXCL, 0644) >= 0, "d/e/f/thing");
	need(unlink("d/e/f/thing") == 0, "unlink");
	need(rmdir("d/e/f") == 0, "rmdir");
	need(rmdir("d/e") == 0, "rmdir");
}

static void have_fifo(void)
{
	need(mkfifo("d/thing", 0644) == 0, "mkfifo");
	need(open("d/thing", O_RDWR) >= 0, "d/thing");
}

static void have_mapping(void)
{
	int fd = open("d/thing", O_RDWR | O_CREAT | O_EXCL, 0644);

	need(fd >= 0 && ftruncate(fd, 4096) == 0, "d/thing");
	need(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) != MAP_FAILED, "mmap");
	close(fd);
}

static void have_watch(void)
{
	int fd = inotify_init1(0);

	need(fd >= 0 && inotify_add_watch(fd, "d", IN_ALL_EVENTS) >= 0, "d");
}

static void have_another_name(void)
{
	need(open("d/thing", O_RDWR | O_CREAT | O_EXCL, 0644) >= 0, "d/thing");
	need(link("d/thing", "other") == 0, "link");
	need(unlink("d/thing") == 0, "unlink");
}

static const struct {
	const char *name;
	void (*have)(void);
} kinds[] = {
	{ "file", have_file },
	{ "directory", have_directory },
	{ "cwd", have_cwd },
	{ "socket", have_socket },
	{ "relative-socket", have_relative_socket },
	{ "sockets", have_sockets },
	{ "ghost", have_ghost },
	{ "lost-directory", have_lost_directory },
	{ "fifo", have_fifo },
	{ "mapping", have_mapping },
	{ "watch", have_watch },
	{ "another-name", have_another_name },
};

static void exchange(const char *a, const char *b, long n)
{
	enum { EXCHANGE = 2 }; /* RENAME_EXCHANGE */

	for (long i = 0; n == 0 || i < n; i++)
		need(syscall(SYS_renameat2, AT_FDCWD, a, AT_FDCWD, b, EXCHANGE) == 0 || errno == ENOENT, "exchange");
}

static void stop_all(void)
{
	for (;;) {
		(void)kill(-1, SIGSTOP); /* not the caller itself */
		(void)usleep(50);
	}
}

int main(int argc, char **argv)
{
	char ready[256];

	(void)umask(0022);
	if (argc == 6 && strcmp(argv[1], "exchange") == 0) {
		become(argv[2]);
		exchange(argv[3], argv[4], atol(argv[5]));
		return 0;
	}
	if (argc == 3 && strcmp(argv[1], "stop") == 0) {
		become(argv[2]);
		stop_all();
	}
	need(argc == 4, "usage: swapped KIND UID DIR");
	need(chdir(argv[3]) == 0, argv[3]);
	(void)snprintf(ready, sizeof(ready), "%.200s/ready", argv[3]);
	become(argv[2]);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(argv[1], kinds[i].name) == 0) {
			kinds[i].have();
			close(open(ready, O_CREAT | O_WRONLY, 0644));
			for (;;)
				pause();
		}
	}
	need(0, argv[1]);
	return 1;
}
