/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program of an ordinary user that has descriptors of things by which a user gets power, if they are opened by root; driven
 * by powers.py.
 *
 *	powers KIND UID DIR [ARGUMENT ...]
 *	powers sleep
 *
 * It makes DIR/ready when all is set up; on SIGUSR1 it writes what it can do by them to DIR/report.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef F_GETOWNER_UIDS
#define F_GETOWNER_UIDS 17
#endif

static void need(int ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "powers: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void become(const char *uid)
{
	unsigned id = (unsigned)atoi(uid);

	need(setgroups(0, NULL) == 0, "setgroups");
	need(setresgid(id, id, id) == 0, "setresgid");
	need(setresuid(id, id, id) == 0, "setresuid");
	need(prctl(PR_SET_DUMPABLE, 1) == 0, "dumpable"); /* as after a login */
}

static _Noreturn void sleep_forever(void)
{
	for (;;)
		pause();
}

static int open_of(pid_t pid, const char *name)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, strcmp(name, "mem") == 0 ? O_RDWR : O_RDONLY);
	need(fd >= 0, path);
	return fd;
}

/* A child that waits until go() is called, and then executes @program, or takes its dumpable flag away. */
static pid_t start_child(const char *program, int *ret_go)
{
	int ends[2];
	pid_t pid;
	char byte;

	need(pipe(ends) == 0, "pipe");
	pid = fork();
	need(pid >= 0, "fork");
	*ret_go = ends[1];
	if (pid > 0) {
		close(ends[0]);
		return pid;
	}
	close(ends[1]);
	(void)!read(ends[0], &byte, 1);
	close(ends[0]);
	if (program)
		execl(program, program, "sleep", NULL);
	need(!program && prctl(PR_SET_DUMPABLE, 0) == 0, "child");
	sleep_forever();
}

/* ---- files of a process that has executed another program since ---- */

static void have_file_of_earlier_program(char **args)
{
	pid_t child;
	int go;

	child = start_child(args[1], &go);
	(void)open_of(child, args[0]);
	close(go);
}

static void have_own_memory_of_earlier_program(char **args)
{
	char path[256];
	FILE *ready;

	(void)open_of(getpid(), "mem");
	(void)snprintf(path, sizeof(path), "%.200s/ready", args[0]);
	ready = fopen(path, "w");
	need(ready != NULL, path);
	(void)fclose(ready);
	execl("/proc/self/exe", "powers", "sleep", NULL);
	need(0, "exec");
}

/* ---- files of a process as it is ---- */

static const char *const files[] = { "mem", "environ", "auxv", "maps", "smaps", "pagemap" };
enum { N_FILES = sizeof(files) / sizeof(files[0]) };
static int fds[N_FILES];
static const char known_text[] = "a text that is in parent and child";

static void have_files_of_child(char **args)
{
	pid_t child;
	int go;

	(void)args;
	child = start_child(NULL, &go);
	for (int i = 0; i < N_FILES; i++)
		fds[i] = open_of(child, files[i]);
	close(go);
}

static void report_files_of_child(FILE *report, char **args)
{
	char text[64];
	uint64_t page = 0;

	(void)args;
	for (int i = 0; i < N_FILES; i++) {
		off_t at = i == 0 ? (off_t)(uintptr_t)known_text : 0;

		fprintf(report, "%s %s\n", files[i], pread(fds[i], text, 32, at) > 0 ? "shows" : strerror(errno));
	}
	(void)!pread(fds[N_FILES - 1], &page, sizeof(page), (off_t)((uintptr_t)known_text / 4096 * 8));
	fprintf(report, "frame %s\n", page & ((UINT64_C(1) << 55) - 1) ? "told" : "hidden");
}

/* ---- a cgroup ---- */

static int procs_fd;

static void have_cgroup(char **args)
{
	procs_fd = open(args[0], O_RDWR);
	need(procs_fd >= 0, args[0]);
}

static void report_cgroup(FILE *report, char **args)
{
	ssize_t n = write(procs_fd, args[1], strlen(args[1]));

	fprintf(report, "move %s\n", n >= 0 ? "done" : strerror(errno));
}

/* ---- a descriptor in a queue, which a set-user-ID program has too ---- */

static int queue[2];

static void have_queue(char **args)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .header = { CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS } };
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	int fd = open("d/thing", O_RDWR | O_CREAT | O_EXCL, 0640), go;

	need(fd >= 0, "d/thing");
	(void)start_child(args[0], &go);
	close(go);
	need(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, queue) == 0, "socketpair");
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(fd));
	need(sendmsg(queue[0], &msg, 0) == 1, "sendmsg");
	close(fd);
}

/* ---- whether who has the same ids may look at it ---- */

static void have_no_dumpable_flag(char **args)
{
	(void)args;
	need(prctl(PR_SET_DUMPABLE, 0) == 0, "dumpable");
}

static void report_dumpable(FILE *report, char **args)
{
	(void)args;
	fprintf(report, "dumpable %d\n", prctl(PR_GET_DUMPABLE));
}

/* ---- what the kernel noted of root ---- */

static int noted_pair[2], noted_pipe[2], noted_socket;

static void prepare_notes(char **args)
{
	(void)args;
	need(socketpair(AF_UNIX, SOCK_STREAM, 0, noted_pair) == 0, "socketpair");
	need(pipe(noted_pipe) == 0 && fcntl(noted_pipe[0], F_SETOWN, getpid()) == 0, "F_SETOWN");
	noted_socket = socket(AF_INET, SOCK_DGRAM, 0);
	need(noted_socket >= 0, "socket");
}

static void have_notes(char **args)
{
	(void)args;
}

static void report_notes(FILE *report, char **args)
{
	struct ucred maker = {};
	socklen_t size = sizeof(maker);
	uid_t owner[2] = {};
	struct stat st;

	(void)args;
	need(getsockopt(noted_pair[0], SOL_SOCKET, SO_PEERCRED, &maker, &size) == 0, "SO_PEERCRED");
	need(fcntl(noted_pipe[0], F_GETOWNER_UIDS, owner) == 0 && fstat(noted_socket, &st) == 0, "F_GETOWNER_UIDS");
	fprintf(report, "maker %u signals %u %u socket %u\n", maker.uid, owner[0], owner[1], st.st_uid);
}

/* ---- a port that its user shares ---- */

static void have_port(char **args)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(args[1])) };
	int fd = socket(AF_INET, strcmp(args[0], "tcp") == 0 ? SOCK_STREAM : SOCK_DGRAM, 0), yes = 1;

	need(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &yes, sizeof(yes)) == 0, "SO_REUSEPORT");
	need(bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0, "bind");
	need(strcmp(args[0], "tcp") != 0 || listen(fd, 3) == 0, "listen");
}

/* ---- */

static const struct {
	const char *name;
	void (*have)(char **args);
	void (*report)(FILE *report, char **args);
	void (*prepare)(char **args); /* as root */
} kinds[] = {
	{ "earlier-program", have_file_of_earlier_program, NULL },
	{ "own-memory", have_own_memory_of_earlier_program, NULL },
	{ "child", have_files_of_child, report_files_of_child },
	{ "cgroup", have_cgroup, report_cgroup },
	{ "queue", have_queue, NULL },
	{ "notes", have_notes, report_notes, prepare_notes },
	{ "port", have_port, NULL },
	{ "dumpable", have_no_dumpable_flag, report_dumpable },
};

static void on_signal(int number)
{
	(void)number;
}

static void serve(const char *dir, void (*report)(FILE *, char **), char **args)
{
	char name[256], draft[256];
	sigset_t usr, none;
	FILE *file;

	(void)snprintf(name, sizeof(name), "%.200s/report", dir);
	(void)snprintf(draft, sizeof(draft), "%.200s/draft", dir);
	sigemptyset(&none);
	sigemptyset(&usr);
	sigaddset(&usr, SIGUSR1);
	need(sigprocmask(SIG_BLOCK, &usr, NULL) == 0 && signal(SIGUSR1, on_signal) != SIG_ERR, "signals");
	(void)snprintf(draft, sizeof(draft), "%.200s/ready", dir);
	close(open(draft, O_CREAT | O_WRONLY, 0644));
	(void)snprintf(draft, sizeof(draft), "%.200s/draft", dir);
	for (;;) {
		sigsuspend(&none);
		file = fopen(draft, "w");
		need(file != NULL, draft);
		if (report)
			report(file, args);
		(void)fclose(file);
		need(rename(draft, name) == 0, name);
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "sleep") == 0)
		sleep_forever();
	need(argc >= 4, "usage: powers KIND UID DIR [ARGUMENT ...]");
	need(chdir(argv[3]) == 0, argv[3]);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strcmp(argv[1], kinds[i].name) == 0) {
			if (kinds[i].prepare)
				kinds[i].prepare(argv + 4);
			become(argv[2]);
			kinds[i].have(argv + 4);
			serve(argv[3], kinds[i].report, argv + 4);
		}
	}
	need(0, argv[1]);
	return 1;
}
