/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * nft(8) reads the table from its standard input, in one transaction. Nothing else is asked of it, so no library is
 * needed.
 */
#include "engine/control/netlock.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "basic/sys.h"

enum { RUN_ID_USED = 21, TABLE_MAX = 32 };

/* The name is cut as CRIU cuts it. Return: NULL when the id is none. */
static const char *table_name(const char *run_id, char buf[static TABLE_MAX])
{
	if (!run_id || !run_id[0])
		return NULL;
	for (const char *p = run_id; *p; p++)
		if (!isxdigit((unsigned char)*p) && *p != '-')
			return NULL;
	(void)snprintf(buf, TABLE_MAX, "CRIU-%.*s", RUN_ID_USED, run_id);
	return buf;
}

/* Becomes argv[0]: that of the system, and what PATH leads to only where there is none. Nothing is read from its output. */
static _noreturn_ void tool_child(char *const argv[], int in, int hold)
{
	int null = sys_open("/dev/null", O_RDWR, 0);
	char path[64];

	(void)snprintf(path, sizeof(path), "/usr/sbin/%s", argv[0]);
	if (hold >= 0)
		(void)SYS_CALL(fcntl(hold, F_SETFD, 0));
	if (null >= 0 && SYS_CALL(dup2(in >= 0 ? in : null, STDIN_FILENO)) >= 0 &&
	    SYS_CALL(dup2(null, STDOUT_FILENO)) >= 0 && SYS_CALL(dup2(null, STDERR_FILENO)) >= 0) {
		(void)SYS_CALL(execv(path, argv));
		(void)SYS_CALL(execvp(argv[0], argv));
	}
	_exit(127);
}

static int tool_wait(pid_t pid)
{
	int status = 0;

	if (SYS_CALL(waitpid(pid, &status, 0)) < 0 || !WIFEXITED(status))
		return -EIO;
	if (WEXITSTATUS(status) == 127)
		return -ENOENT;
	return WEXITSTATUS(status) != 0 ? -EIO : 0;
}

/* Return: 0, -ENOENT when there is no nft, -EIO when it refuses. */
static int nft_run(const char *text, int hold)
{
	char *argv[] = { "nft", "-f", "-", NULL };
	_cleanup_close_ int out = -EBADF;
	int fds[2], r, ended;
	pid_t pid;

	r = sys_pipe2(fds, 0);
	if (r < 0)
		return r;
	pid = (pid_t)SYS_CALL(fork());
	if (pid == 0)
		tool_child(argv, fds[0], hold);
	(void)close_fd(fds[0]);
	out = fds[1];
	if (pid < 0)
		return (int)pid;
	r = sys_write_full(out, text, strlen(text));
	out = close_fd(out);
	ended = tool_wait(pid);
	return ended < 0 ? ended : r;
}

static void put_element(FILE *f, const char *table, const struct netlock_connection *c,
			bool outwards)
{
	char local[INET6_ADDRSTRLEN], remote[INET6_ADDRSTRLEN];
	const char *from = outwards ? local : remote, *to = outwards ? remote : local;

	(void)inet_ntop(c->family, c->local, local, sizeof(local));
	(void)inet_ntop(c->family, c->remote, remote, sizeof(remote));
	(void)fprintf(f, "add element inet %s conns%c { %s . %u . %s . %u }\n", table,
		      c->family == AF_INET6 ? '6' : '4', from,
		      outwards ? c->local_port : c->remote_port, to,
		      outwards ? c->remote_port : c->local_port);
}

static void put_chain(FILE *f, const char *table, const char *hook)
{
	(void)fprintf(f,
		      "add chain inet %s %s { type filter hook %s priority filter; policy accept; }\n"
		      "add rule inet %s %s meta mark %#x accept\n"
		      "add rule inet %s %s ip saddr . tcp sport . ip daddr . tcp dport @conns4 drop\n"
		      "add rule inet %s %s ip6 saddr . tcp sport . ip6 daddr . tcp dport @conns6 drop\n",
		      table, hook, hook, table, hook, NETLOCK_MARK, table, hook, table, hook);
}

int netlock_set(struct failure *f, const char *run_id, const struct netlock_connection *items,
		size_t n, int hold)
{
	_cleanup_free_ char *text = NULL;
	char name[TABLE_MAX];
	size_t size = 0;
	FILE *out;
	int r;

	if (!table_name(run_id, name))
		return fail(f, -EINVAL, "no run id to name the network lock after");
	out = open_memstream(&text, &size);
	if (!out)
		return fail(f, -ENOMEM, "network lock of %zu connections", n);
	(void)fprintf(out,
		      "add table inet %s\n"
		      "add set inet %s conns4 { type ipv4_addr . inet_service . ipv4_addr . "
		      "inet_service; }\n"
		      "add set inet %s conns6 { type ipv6_addr . inet_service . ipv6_addr . "
		      "inet_service; }\n",
		      name, name, name);
	put_chain(out, name, "output");
	put_chain(out, name, "input");
	for (size_t i = 0; i < n; i++) {
		put_element(out, name, &items[i], /* outwards= */ true);
		put_element(out, name, &items[i], /* outwards= */ false);
	}
	if (fclose(out) != 0)
		return fail(f, -ENOMEM, "network lock of %zu connections", n);
	r = nft_run(text, hold);
	if (r == -ENOENT)
		return fail(f, r, "the network lock needs nft(8); --network-lock skip does without");
	if (r < 0)
		return fail(f, r, "nft(8) refuses the network lock");
	return 0;
}

void netlock_clear(const char *run_id)
{
	char name[TABLE_MAX], text[TABLE_MAX + 32];

	if (!table_name(run_id, name))
		return;
	(void)snprintf(text, sizeof(text), "delete table inet %s\n", name);
	/* There may be none. */
	(void)nft_run(text, /* hold= */ -EBADF);
}

/* iptables(8) removes the rule that is written exactly like this. */
static void iptables_delete(const struct netlock_connection *c, bool outwards)
{
	char local[INET6_ADDRSTRLEN], remote[INET6_ADDRSTRLEN], local_port[8], remote_port[8], mark[16];
	char *argv[] = {
		c->family == AF_INET6 ? "ip6tables" : "iptables",
		"-w",
		"-t",
		"filter",
		"-D",
		outwards ? "OUTPUT" : "INPUT",
		"--protocol",
		"tcp",
		"-m",
		"mark",
		"!",
		"--mark",
		mark,
		"--source",
		outwards ? local : remote,
		"--sport",
		outwards ? local_port : remote_port,
		"--destination",
		outwards ? remote : local,
		"--dport",
		outwards ? remote_port : local_port,
		"-j",
		"DROP",
		NULL,
	};
	pid_t pid;

	(void)inet_ntop(c->family, c->local, local, sizeof(local));
	(void)inet_ntop(c->family, c->remote, remote, sizeof(remote));
	(void)snprintf(local_port, sizeof(local_port), "%u", c->local_port);
	(void)snprintf(remote_port, sizeof(remote_port), "%u", c->remote_port);
	(void)snprintf(mark, sizeof(mark), "%#x", NETLOCK_MARK);
	pid = (pid_t)SYS_CALL(fork());
	if (pid == 0)
		tool_child(argv, -EBADF, -EBADF);
	if (pid > 0)
		(void)!tool_wait(pid);
}

void netlock_clear_iptables(const struct netlock_connection *c)
{
	iptables_delete(c, /* outwards= */ false);
	iptables_delete(c, /* outwards= */ true);
}
