/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/*
 * label - the label that a Linux security module (AppArmor, SELinux, Smack) gives a thread
 *
 * Read from /proc/PID/task/TID/attr: the files of AppArmor and Smack stand in directories with their names; attr/current belongs to
 * whichever module is in force. At most one of the three is. Return values are 0 or -errno; nothing here calls fail().
 */
#include <stdbool.h>
#include <stddef.h>

/* The first three: numbers of lsmtype in inventory.img. */
enum label_module { LABEL_NONE, LABEL_SELINUX, LABEL_APPARMOR, LABEL_SMACK };

enum { LABEL_BYTES = 4096 };

struct label {
	enum label_module module;
	char text
		[LABEL_BYTES]; /* a profile without its mode, or a context; empty: unconfined, or no module */
};

const char *label_module_name(enum label_module module);

/*
 * label_parse() - what a file "current" of @module says (pure; LABEL_NONE: of an unknown module, told by the form of the text)
 *
 * -EBADMSG: not sane (empty, too long, a control character). -EOPNOTSUPP: stacked profiles or a policy namespace of AppArmor.
 */
int label_parse(enum label_module module, const char *bytes, size_t size, struct label *ret);

/*
 * label_choose() - the value of --lsm-profile: TYPE:NAME, or "none:" for no label (pure)
 *
 * -EINVAL: another form.
 */
int label_choose(const char *value, struct label *ret);

/* Does @profiles, the text of AppArmor's list, name @profile? (pure) */
bool label_profile_is_loaded(const char *profiles, const char *profile);

/* @proc_fd: /proc/PID/task/TID or /proc/PID. A kernel without a module: LABEL_NONE. */
int label_read(int proc_fd, struct label *ret);
/*
 * One of the other files of attr: "exec", "fscreate", "keycreate", "sockcreate". @ret: empty where nothing is set.
 */
int label_read_next(int proc_fd, const char *name, char ret[static LABEL_BYTES]);
