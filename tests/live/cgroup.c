/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Cgroups: a task, its child and one of its threads in places of their own, in a hierarchy of version 1 without controllers
 * and in version 2, with a socket each; owner and properties of the directories, also of an empty one. For operations.py, which
 * finds the mounts in the scratch directory and the name in `place`, and removes what is there. Arguments: `ns`, the
 * task makes a cgroup namespace, which begins at its place; `scope`, the place is named like a unit of systemd's.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "live.h"

#define HIERARCHY "snapmgr-live"

enum { OWNER = 12345, DEPTH = 7 };

static char place[32];
static bool in_namespace;
static volatile bool in_place, stop;

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (fd >= 0)
		(void)close(fd);
	return ok;
}

/* @version/PLACE/@rest, below the scratch directory. */
static const char *path_of(const char *version, const char *rest)
{
	static __thread char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s%s", live_path(version), place, rest);
	return path;
}

static bool make(const char *version, const char *rest)
{
	return mkdir(path_of(version, rest), 0755) == 0;
}

static void check_place(const char *who, const char *hierarchy, const char *rest)
{
	static __thread char text[1 << 16];
	char line[256];

	live_check(live_read_file("/proc/thread-self/cgroup", text, sizeof(text)) > 0, "%s reads its cgroups", who);
	if (in_namespace)
		(void)snprintf(line, sizeof(line), ":%s:%s\n", hierarchy, *rest ? rest : "/");
	else
		(void)snprintf(line, sizeof(line), ":%s:/%s%s\n", hierarchy, place, rest);
	live_check(strstr(text, line) != NULL, "%s is in '%s', has %s", who, line, text);
}

static void *thread_body(void *arg)
{
	char tid[16];

	(void)arg;
	(void)snprintf(tid, sizeof(tid), "%d", gettid());
	live_need(write_text(path_of("v1", "/thread/tasks"), tid), "tasks of a thread");
	in_place = true;
	while (!stop)
		(void)usleep(1000);
	check_place("the thread", "name=" HIERARCHY, "/thread");
	return NULL;
}

/* ---- the cgroup of a socket is that of the task that made it ---- */

enum { DIAG_CGROUP_ID = 21 }; /* INET_DIAG_CGROUP_ID, Linux 5.7 */

static int listening_socket(void)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	live_need(fd >= 0 && bind(fd, (struct sockaddr *)&sin, sizeof(sin)) == 0 && listen(fd, 1) == 0, "listen");
	return fd;
}

/* 0: this message is not about the inode. */
static uint64_t cgroup_in(const struct nlmsghdr *head, ino_t ino)
{
	const struct inet_diag_msg *msg = (const struct inet_diag_msg *)(head + 1);
	const struct nlattr *at = (const struct nlattr *)(msg + 1);
	const char *end = (const char *)head + head->nlmsg_len;
	uint64_t id;

	if (msg->idiag_inode != ino)
		return 0;
	for (; (const char *)(at + 1) <= end; at = (const struct nlattr *)((const char *)at + NLA_ALIGN(at->nla_len))) {
		if (at->nla_type == DIAG_CGROUP_ID) {
			memcpy(&id, at + 1, sizeof(id));
			return id;
		}
	}
	return 0;
}

/* By sock_diag(7). 0: it does not tell. */
static uint64_t cgroup_of(int fd)
{
	struct {
		struct nlmsghdr head;
		struct inet_diag_req_v2 req;
	} ask = {
		.head = { .nlmsg_len = sizeof(ask), .nlmsg_type = SOCK_DIAG_BY_FAMILY, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
		.req = { .sdiag_family = AF_INET, .sdiag_protocol = IPPROTO_TCP, .idiag_states = 1 << TCP_LISTEN },
	};
	static char buffer[1 << 16] __attribute__((aligned(8)));
	int diag = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_SOCK_DIAG);
	uint64_t id = 0;
	bool done = false;
	struct stat st;

	live_need(diag >= 0 && fstat(fd, &st) == 0 && send(diag, &ask, sizeof(ask), 0) == sizeof(ask), "sock_diag");
	while (!done) {
		ssize_t n = recv(diag, buffer, sizeof(buffer), 0);

		live_need(n > 0, "sock_diag");
		for (struct nlmsghdr *h = (struct nlmsghdr *)buffer; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
			done = done || h->nlmsg_type == NLMSG_DONE || h->nlmsg_type == NLMSG_ERROR;
			if (!done && id == 0)
				id = cgroup_in(h, st.st_ino);
		}
	}
	(void)close(diag);
	return id;
}

static void check_socket(const char *who, int fd, const char *rest)
{
	uint64_t id = cgroup_of(fd);
	struct stat st;

	live_need(stat(path_of("v2", rest), &st) == 0, "stat of a cgroup");
	live_check(id == 0 || id == st.st_ino, "%s: its socket is of cgroup %llu, should be %llu", who,
		   (unsigned long long)id, (unsigned long long)st.st_ino);
}

static void child_body(void *arg)
{
	const bool *has_v2 = arg;
	int sock;

	live_need(write_text(path_of("v1", "/child/cgroup.procs"), "0"), "cgroup.procs of a child");
	if (*has_v2)
		live_need(write_text(path_of("v2", "/child/cgroup.procs"), "0"), "cgroup.procs of a child");
	sock = listening_socket();
	live_child_ready();
	live_wait_term();
	check_place("the child", "name=" HIERARCHY, "/child");
	if (*has_v2) {
		check_place("the child", "", "/child");
		check_socket("the child", sock, "/child");
	}
}

static void check_directories(bool has_v2)
{
	char text[64] = "";
	struct stat st;

	live_check(stat(path_of("v1", "/child"), &st) == 0 && st.st_uid == OWNER && (st.st_mode & 0777) == 0750,
		   "owner and mode of a directory");
	live_check(stat(path_of("v1", "/child/tasks"), &st) == 0 && st.st_gid == OWNER, "owner of a file in it");
	live_check(stat(path_of("v1", "/empty/below"), &st) == 0, "an empty cgroup");
	(void)live_read_file(path_of("v1", "/empty/notify_on_release"), text, sizeof(text));
	live_check(strcmp(text, "1\n") == 0, "a property of version 1: %s", text);
	if (!has_v2)
		return;
	(void)live_read_file(path_of("v2", "/cgroup.max.depth"), text, sizeof(text));
	live_check(strcmp(text, "7\n") == 0, "a property of version 2: %s", text);
}

int main(int argc, char *argv[])
{
	pthread_t thread;
	bool has_v2;
	pid_t child;
	uint64_t random;
	int fd, sock;

	live_start();
	live_need(getrandom(&random, sizeof(random), 0) == sizeof(random), "getrandom");
	(void)snprintf(place, sizeof(place), "live-%llx%s", (unsigned long long)random,
		       argc > 1 && strcmp(argv[1], "scope") == 0 ? ".scope" : "");
	live_need(mkdir(live_path("v1"), 0755) == 0 && mkdir(live_path("v2"), 0755) == 0, "mkdir");
	if (mount("none", live_path("v1"), "cgroup", 0, "none,name=" HIERARCHY) < 0)
		live_skip("no cgroup hierarchy of version 1: %s", strerror(errno));
	has_v2 = mount("none", live_path("v2"), "cgroup2", 0, NULL) == 0 && make("v2", "");
	fd = open(live_path("place"), O_RDWR | O_CREAT | O_EXCL, 0644);
	live_need(fd >= 0 && write(fd, place, strlen(place)) > 0, "place");

	live_need(make("v1", "") && make("v1", "/child") && make("v1", "/thread") && make("v1", "/empty") &&
			  make("v1", "/empty/below"),
		  "cgroups");
	live_need(write_text(path_of("v1", "/cgroup.procs"), "0"), "cgroup.procs");
	live_need(write_text(path_of("v1", "/empty/notify_on_release"), "1"), "notify_on_release");
	live_need(chmod(path_of("v1", "/child"), 0750) == 0 && chown(path_of("v1", "/child"), OWNER, OWNER) == 0 &&
			  chown(path_of("v1", "/child/tasks"), OWNER, OWNER) == 0,
		  "owners");
	if (has_v2)
		live_need(make("v2", "/child") && write_text(path_of("v2", "/cgroup.max.depth"), "7") &&
				  write_text(path_of("v2", "/cgroup.procs"), "0"),
			  "cgroups of version 2");
	in_namespace = argc > 1 && strcmp(argv[1], "ns") == 0;
	if (in_namespace && unshare(CLONE_NEWCGROUP) < 0)
		live_skip("no cgroup namespace: %s", strerror(errno));
	live_need(pthread_create(&thread, NULL, thread_body, NULL) == 0, "pthread_create");
	while (!in_place)
		(void)usleep(1000);
	sock = listening_socket();
	child = live_fork(child_body, &has_v2);

	live_wait();

	check_place("the task", "name=" HIERARCHY, "");
	if (has_v2) {
		check_place("the task", "", "");
		check_socket("the task", sock, "");
	}
	check_directories(has_v2);
	stop = true;
	(void)pthread_join(thread, NULL);
	live_join(child);
	return live_end();
}
