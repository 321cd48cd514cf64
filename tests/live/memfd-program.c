/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Programs that run from a memfd: closed, open, sealed, with another mode.
 * live-across: no, CRIU does not know programs in a memfd
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

#define EXEC_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define CLOSED (-1)

/* What is in a memfd, and what becomes of it when it runs. */
static const struct way {
	const char *name;
	int seals; /* 0: none */
	bool open;
	mode_t mode;
} ways[] = {
	{ "closed", 0, false, 0777 },
	{ "open", 0, true, 0777 },
	{ "sealed", EXEC_SEALS | F_SEAL_SEAL, false, 0777 },
	{ "open-sealed", EXEC_SEALS, true, 0777 },
	{ "grow-sealed", F_SEAL_GROW | F_SEAL_SEAL, true, 0777 },
	{ "mode", 0, true, 0510 },
};
#define N_WAYS ((int)(sizeof(ways) / sizeof(ways[0])))

/* A copy of this program in a memfd. */
static int make_program(const struct way *w)
{
	int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int fd = memfd_create(w->name, MFD_ALLOW_SEALING | (w->open ? 0 : MFD_CLOEXEC));
	struct stat st;

	live_need(from >= 0 && fd >= 0 && fstat(from, &st) == 0, "files");
	while (st.st_size > 0) {
		ssize_t n = sendfile(fd, from, NULL, (size_t)st.st_size);

		live_need(n > 0, "sendfile");
		st.st_size -= n;
	}
	live_need(!w->seals || fcntl(fd, F_ADD_SEALS, w->seals) == 0, "seals of %s", w->name);
	live_need(lseek(fd, 64, SEEK_SET) == 64, "lseek");
	(void)close(from);
	return fd;
}

static _Noreturn void become(int way, int ready_fd)
{
	char number[16], fd_text[16], ready[16];
	char *argv[] = { (char *)"memfd-program", number, fd_text, ready, NULL };
	int fd = make_program(&ways[way]);

	(void)snprintf(number, sizeof(number), "%d", way);
	(void)snprintf(fd_text, sizeof(fd_text), "%d", ways[way].open ? fd : CLOSED);
	(void)snprintf(ready, sizeof(ready), "%d", ready_fd);
	(void)syscall(SYS_execveat, fd, "", argv, environ, AT_EMPTY_PATH);
	live_need(false, "execveat of %s", ways[way].name);
	_exit(2);
}

static void check_open(const struct way *w, int fd)
{
	struct stat st;

	live_same("position", lseek(fd, 0, SEEK_CUR), 64);
	live_same("access mode", fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	live_check(write(fd, "x", 0) == 0, "the descriptor still writes");
	live_check(fstat(fd, &st) == 0 && (st.st_mode & 07777) == w->mode, "%s: mode %o",
		   w->name, (unsigned)st.st_mode);
}

static void check(const struct way *w, int fd)
{
	char link[96] = "", should_be[96];
	int exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	(void)snprintf(should_be, sizeof(should_be), "/memfd:%s (deleted)", w->name);
	live_check(readlink("/proc/self/exe", link, sizeof(link) - 1) > 0 && strcmp(link, should_be) == 0,
		   "the program is '%s', should be '%s'", link, should_be);
	live_check(exe >= 0 && fcntl(exe, F_GET_SEALS) == w->seals, "%s: its seals are %#x, should be %#x", w->name,
		   (unsigned)fcntl(exe, F_GET_SEALS), (unsigned)w->seals);
	(void)close(exe);
	exe = open("/proc/self/exe", O_RDWR | O_CLOEXEC);
	live_check(exe < 0 && errno == ETXTBSY, "nobody can write to what runs");
	if (fd != CLOSED)
		check_open(w, fd);
}

static pid_t start_child(int way)
{
	pid_t child;
	int ends[2];
	char c;

	live_need(pipe(ends) == 0, "pipe");
	child = fork();
	live_need(child >= 0, "fork");
	if (child == 0) {
		(void)close(ends[0]);
		become(way, ends[1]);
	}
	(void)close(ends[1]);
	live_need(read(ends[0], &c, 1) == 1, "%s runs", ways[way].name);
	(void)close(ends[0]);
	return child;
}

int main(int argc, char **argv)
{
	const struct way *w;
	pid_t children[N_WAYS];
	int fd, ready_fd;

	live_start();
	if (argc == 1)
		become(/* way= */ 0, /* ready_fd= */ -1);
	w = &ways[atoi(argv[1]) % N_WAYS];
	fd = atoi(argv[2]);
	ready_fd = atoi(argv[3]);
	live_need(fd == CLOSED || fchmod(fd, w->mode) == 0, "fchmod");
	if (ready_fd >= 0) {
		live_need(write(ready_fd, "r", 1) == 1 && close(ready_fd) == 0, "pipe");
		live_wait_term();
		check(w, fd);
		return live_has_failed() ? 1 : 0;
	}
	for (int i = 1; i < N_WAYS; i++)
		children[i] = start_child(i);
	live_wait();
	check(w, fd);
	for (int i = 1; i < N_WAYS; i++)
		live_join(children[i]);
	return live_end();
}
