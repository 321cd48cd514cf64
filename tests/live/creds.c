/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Credentials that differ between tasks: user and group ids, groups, capability sets, bounding and
 * ambient set, securebits, no_new_privs, dumpable.
 */
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "live.h"

struct caps {
	struct __user_cap_data_struct data[2];
};

static struct caps caps_get(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct caps caps;

	live_need(syscall(SYS_capget, &head, caps.data) == 0, "capget");
	return caps;
}

static void caps_set(uint64_t effective, uint64_t permitted, uint64_t inheritable)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct caps caps;

	for (int i = 0; i < 2; i++) {
		caps.data[i].effective = (uint32_t)(effective >> 32 * i);
		caps.data[i].permitted = (uint32_t)(permitted >> 32 * i);
		caps.data[i].inheritable = (uint32_t)(inheritable >> 32 * i);
	}
	live_need(syscall(SYS_capset, &head, caps.data) == 0, "capset");
}

/* Everything at once, to be compared with itself. */
struct credentials {
	uid_t uid[4];
	gid_t gid[4];
	int n_groups;
	gid_t groups[32];
	struct caps caps;
	uint64_t bounding, ambient;
	int securebits, no_new_privs, dumpable, keep_caps;
};

static void look(struct credentials *c)
{
	memset(c, 0, sizeof(*c));
	(void)getresuid(&c->uid[0], &c->uid[1], &c->uid[2]);
	(void)getresgid(&c->gid[0], &c->gid[1], &c->gid[2]);
	c->uid[3] = (uid_t)setfsuid((uid_t)-1);
	c->gid[3] = (gid_t)setfsgid((gid_t)-1);
	c->n_groups = getgroups(32, c->groups);
	c->caps = caps_get();
	for (int i = 0; i < 63; i++) {
		if (prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1)
			c->bounding |= 1ULL << i;
		if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1)
			c->ambient |= 1ULL << i;
	}
	c->securebits = prctl(PR_GET_SECUREBITS, 0, 0, 0, 0);
	c->no_new_privs = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
	c->dumpable = prctl(PR_GET_DUMPABLE, 0, 0, 0, 0);
	c->keep_caps = prctl(PR_GET_KEEPCAPS, 0, 0, 0, 0);
}

static void check(const char *who, const struct credentials *was)
{
	struct credentials is;

	look(&is);
	live_check(memcmp(is.uid, was->uid, sizeof(is.uid)) == 0, "%s: uids are %u %u %u %u", who,
		   is.uid[0], is.uid[1], is.uid[2], is.uid[3]);
	live_check(memcmp(is.gid, was->gid, sizeof(is.gid)) == 0, "%s: gids are %u %u %u %u", who,
		   is.gid[0], is.gid[1], is.gid[2], is.gid[3]);
	live_check(is.n_groups == was->n_groups &&
			   memcmp(is.groups, was->groups, sizeof(is.groups)) == 0,
		   "%s: the groups are kept (%d, were %d)", who, is.n_groups, was->n_groups);
	for (int i = 0; i < 2; i++)
		live_check(memcmp(&is.caps.data[i], &was->caps.data[i], sizeof(is.caps.data[i])) ==
				   0,
			   "%s: capabilities %d: e %x p %x i %x, were e %x p %x i %x", who, i,
			   is.caps.data[i].effective, is.caps.data[i].permitted,
			   is.caps.data[i].inheritable, was->caps.data[i].effective,
			   was->caps.data[i].permitted, was->caps.data[i].inheritable);
	live_check(is.bounding == was->bounding, "%s: bounding set is %llx, was %llx", who,
		   (unsigned long long)is.bounding, (unsigned long long)was->bounding);
	live_check(is.ambient == was->ambient, "%s: ambient set is %llx, was %llx", who,
		   (unsigned long long)is.ambient, (unsigned long long)was->ambient);
	live_same("securebits", is.securebits, was->securebits);
	live_same("no_new_privs", is.no_new_privs, was->no_new_privs);
	live_same("dumpable", is.dumpable, was->dumpable);
	live_same("keep-caps", is.keep_caps, was->keep_caps);
}

static void wait_and_check(const char *who)
{
	struct credentials before;

	look(&before);
	live_child_ready();
	live_wait_term();
	check(who, &before);
}

static void nobody_body(void *arg)
{
	(void)arg;
	live_need(setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0 &&
			  setresuid(65534, 65534, 65534) == 0,
		  "become nobody");
	wait_and_check("nobody");
}

static void mixed_body(void *arg)
{
	static const gid_t groups[] = { 7, 1000, 70000, 3 };

	(void)arg;
	live_need(setgroups(4, groups) == 0, "setgroups");
	live_need(setresgid(1000, 1001, 1002) == 0, "setresgid");
	live_need(setresuid(0, 2001, 2002) == 0 && setfsuid(2001) >= 0 && setfsgid(1000) >= 0,
		  "setresuid");
	wait_and_check("mixed ids");
}

static void capable_body(void *arg)
{
	uint64_t some = 1ULL << CAP_CHOWN | 1ULL << CAP_NET_BIND_SERVICE | 1ULL << CAP_KILL;

	(void)arg;
	live_need(prctl(PR_CAPBSET_DROP, CAP_SYS_TIME, 0, 0, 0) == 0 &&
			  prctl(PR_CAPBSET_DROP, CAP_AUDIT_WRITE, 0, 0, 0) == 0,
		  "PR_CAPBSET_DROP");
	live_need(prctl(PR_SET_SECUREBITS,
			SECBIT_KEEP_CAPS | SECBIT_NO_SETUID_FIXUP | SECBIT_NOROOT, 0, 0, 0) == 0,
		  "PR_SET_SECUREBITS");
	live_need(setresuid(3000, 3000, 3000) == 0, "setresuid");
	caps_set(some & ~(1ULL << CAP_KILL), some, some);
	live_need(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_CHOWN, 0, 0) == 0, "ambient");
	live_need(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, "PR_SET_NO_NEW_PRIVS");
	live_need(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) == 0, "PR_SET_DUMPABLE");
	wait_and_check("some capabilities");
}

int main(void)
{
	struct credentials before;
	pid_t nobody, mixed, capable;

	live_start();
	nobody = live_fork(nobody_body, NULL);
	mixed = live_fork(mixed_body, NULL);
	capable = live_fork(capable_body, NULL);
	look(&before);

	live_wait();

	check("root", &before);
	live_join(nobody);
	live_join(mixed);
	live_join(capable);
	return live_end();
}
