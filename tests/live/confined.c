/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tree that is confined in a way that is not in the images, for tests/live/confinement.py: one argument says how.
 */
#include <asm/ldt.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

enum {
	LANDLOCK_CREATE_RULESET = 444,
	LANDLOCK_RESTRICT_SELF = 446,
	LANDLOCK_ACCESS_FS_EXECUTE = 1 << 0, /* linux/landlock.h */
};

/* Nothing can be executed by this thread any more. Writing stays allowed: the frame does it. */
static void enter_landlock(void)
{
	struct {
		uint64_t handled_access_fs;
	} rules = { LANDLOCK_ACCESS_FS_EXECUTE };
	int fd = (int)syscall(LANDLOCK_CREATE_RULESET, &rules, sizeof(rules), 0);

	live_need(fd >= 0, "a Landlock ruleset");
	live_need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
	live_need(syscall(LANDLOCK_RESTRICT_SELF, fd, 0) == 0, "landlock_restrict_self");
	(void)close(fd);
}

static bool can_execute(void)
{
	int fd = open("/bin/true", O_RDONLY | O_CLOEXEC);
	bool can = syscall(SYS_execveat, fd, "", NULL, NULL, 0x1000 | 0x10000) ==
		   0; /* AT_EMPTY_PATH, AT_EXECVE_CHECK: 6.14 */

	(void)close(fd);
	return can || errno != EACCES;
}

static bool kept(void)
{
	char text[8] = "";

	return live_read_file(live_path("lost"), text, sizeof(text)) < 0;
}

static volatile bool ready, check_now;

static void *landlock_thread(void *arg)
{
	(void)arg;
	enter_landlock();
	ready = true;
	while (!check_now)
		(void)usleep(2000);
	live_same("whether a thread may execute", can_execute(), !kept());
	return NULL;
}

static int unshared; /* CLONE_* */

/* Has something of its own beside the other threads. */
static void *unshared_thread(void *arg)
{
	(void)arg;
	live_need(unshare(unshared) == 0, "unshare");
	ready = true;
	while (!check_now)
		(void)usleep(2000);
	return NULL;
}

static void become_nobody(void)
{
	live_need(setresgid(65534, 65534, 65534) == 0, "setresgid");
	live_need(setresuid(65534, 65534, 65534) == 0, "setresuid");
}

static void landlock_body(void *arg)
{
	(void)arg;
	become_nobody();
	enter_landlock();
	live_child_ready();
	live_wait_term();
	live_same("whether a child may execute", can_execute(), !kept());
}

static void nobody_body(void *arg)
{
	(void)arg;
	become_nobody();
	live_need(prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) == 0, "PR_SET_DUMPABLE");
	live_child_ready();
	live_wait_term();
	live_check(can_execute(), "a child may not execute");
}

/* kcmp(2) fails as in a domain, and there is none. */
static void forbid_kcmp(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kcmp, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };

	live_need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
	live_need(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) == 0, "seccomp");
}

/* ---- keyrings ---- */

#define INVOCATION "0123456789abcdef"

enum { INVOCATION_PERM = 0x0b0b0000 }; /* view, read and search, as systemd has it */

static long add_key(const char *name, const char *value, long keyring)
{
	long key = syscall(SYS_add_key, "user", name, value, strlen(value), keyring);

	live_need(key > 0, "add_key");
	return key;
}

/* What systemd gives a unit. */
static void join_session(void)
{
	long key;

	live_need(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, 0) > 0, "a session keyring");
	key = add_key("invocation_id", INVOCATION, KEY_SPEC_SESSION_KEYRING);
	live_need(syscall(SYS_keyctl, KEYCTL_SETPERM, key, INVOCATION_PERM) == 0, "KEYCTL_SETPERM");
}

static void check_session(void)
{
	long key = syscall(SYS_request_key, "user", "invocation_id", NULL, 0);
	char value[64] = "", text[128] = "";

	live_check(key > 0, "the invocation id is not found");
	live_same("bytes of the invocation id",
		  syscall(SYS_keyctl, KEYCTL_READ, key, value, sizeof(value)),
		  sizeof(INVOCATION) - 1);
	live_check(strcmp(value, INVOCATION) == 0, "the invocation id is %s", value);
	(void)syscall(SYS_keyctl, KEYCTL_DESCRIBE, key, text, sizeof(text) - 1);
	live_check(strstr(text, ";0b0b0000;") != NULL, "the invocation id is %s", text);
}

static long session_keyring(void)
{
	return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
}

static long of_leader, of_joiner;

/* Made when there was a session keyring, which it shares. */
static void *sharing_thread(void *arg)
{
	(void)arg;
	ready = true;
	while (!check_now)
		(void)usleep(2000);
	live_check(session_keyring() == of_leader, "a thread has another session keyring than its process");
	return NULL;
}

static void *joining_thread(void *arg)
{
	(void)arg;
	join_session();
	of_joiner = session_keyring();
	ready = true;
	while (!check_now)
		(void)usleep(2000);
	live_check(session_keyring() != of_leader, "a thread with a session keyring of its own has that of its process");
	return NULL;
}

static void start_thread(pthread_t *ret, void *(*body)(void *))
{
	ready = false;
	live_need(pthread_create(ret, NULL, body, NULL) == 0, "pthread_create");
	while (!ready)
		(void)usleep(1000);
}

/* Namespaces of children to come, and what only a thread has. Return: is it one of those? */
static bool unshare_as(const char *how, pthread_t *ret_thread)
{
	static const struct {
		const char *name;
		int flag;
	} of_thread[] = { { "thread-fs", CLONE_FS },	   { "thread-files", CLONE_FILES }, { "thread-net", CLONE_NEWNET },
			  { "thread-uts", CLONE_NEWUTS }, { "thread-pid", CLONE_NEWPID } };

	if (strcmp(how, "children-pid") == 0) {
		live_need(unshare(CLONE_NEWPID) == 0, "CLONE_NEWPID");
		return true;
	}
	if (strcmp(how, "children-time") == 0) {
		live_need(unshare(CLONE_NEWTIME) == 0, "CLONE_NEWTIME");
		return true;
	}
	for (size_t i = 0; i < sizeof(of_thread) / sizeof(of_thread[0]); i++) {
		if (strcmp(how, of_thread[i].name) == 0)
			unshared = of_thread[i].flag;
	}
	if (unshared)
		start_thread(ret_thread, unshared_thread);
	return unshared;
}

static void set_segment(void)
{
	struct user_desc d = { .entry_number = 3, .base_addr = 0x1000, .limit = 0xfff, .seg_32bit = 1, .useable = 1 };

	if (syscall(SYS_modify_ldt, 1, &d, sizeof(d)) != 0)
		live_skip("no segments in this kernel");
}

int main(int argc, char *argv[])
{
	const char *how = argc > 1 ? argv[1] : "";
	pthread_t thread, joiner;
	pid_t child = 0;

	live_start();
	if (unshare_as(how, &thread)) {
		; /* set up */
	} else if (strcmp(how, "landlock") == 0) {
		enter_landlock();
	} else if (strcmp(how, "landlock-thread") == 0) {
		start_thread(&thread, landlock_thread);
	} else if (strcmp(how, "landlock-child") == 0) {
		child = live_fork(landlock_body, NULL);
	} else if (strncmp(how, "keys", 4) == 0) {
		join_session();
		if (strcmp(how, "keys-session") == 0)
			add_key("secret", "word", KEY_SPEC_SESSION_KEYRING);
		if (strcmp(how, "keys-thread") == 0)
			add_key("secret", "word", KEY_SPEC_THREAD_KEYRING);
		if (strcmp(how, "keys-process") == 0)
			add_key("secret", "word", KEY_SPEC_PROCESS_KEYRING);
		if (strcmp(how, "keys") == 0) {
			start_thread(&joiner, joining_thread);
			start_thread(&thread, sharing_thread);
		}
	} else if (strcmp(how, "segments") == 0) {
		set_segment();
	} else if (strcmp(how, "kcmp") == 0) {
		forbid_kcmp();
	} else if (strcmp(how, "nobody") == 0) {
		child = live_fork(nobody_body, NULL);
	}

	live_wait();

	if (strcmp(how, "landlock") == 0)
		live_same("whether it may execute", can_execute(), !kept());
	if (strncmp(how, "keys", 4) == 0)
		check_session();
	of_leader = session_keyring();
	check_now = true;
	if (ready)
		(void)pthread_join(thread, NULL);
	if (of_joiner)
		(void)pthread_join(joiner, NULL);
	if (child)
		live_join(child);
	return live_end();
}
