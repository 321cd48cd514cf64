/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "basic/procfs.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "basic/cleanup.h"
#include "basic/parse.h"
#include "basic/sys.h"

enum {
	STAT_FIELDS = 52,
	STAT_TEXT_MAX = 8192,
	STATUS_TEXT_MAX = 1024 * 1024,
	MEMINFO_TEXT_MAX = 64 * 1024,
};

int proc_open(pid_t pid)
{
	char path[32];

	(void)snprintf(path, sizeof(path), "/proc/%d", pid);
	return sys_open(path, O_RDONLY | O_DIRECTORY, 0);
}

static const char *skip_blanks(const char *p)
{
	while (*p == ' ' || *p == '\t')
		p++;
	return p;
}

/* Fields 4.. of stat are integers, some negative; they are kept as the bits of an int64. */
static int stat_numbers(const char *p, uint64_t *ret, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		bool negative;

		p = skip_blanks(p);
		negative = *p == '-';
		p += negative;
		if (parse_u64_prefix(&p, 10, &ret[i]) < 0)
			return -EBADMSG;
		if (negative)
			ret[i] = 0 - ret[i];
		if (*p != ' ' && *p != '\n' && *p != '\0')
			return -EBADMSG;
	}
	return 0;
}

int proc_stat_parse(const char *text, struct proc_stat *ret)
{
	uint64_t f[STAT_FIELDS + 1] = {}; /* numbered as in proc(5), from 1 */
	struct proc_stat st = {};
	const char *open = strchr(text, '('), *close = strrchr(text, ')');
	size_t n;

	/* The name may hold anything, also parentheses: it ends at the last one. */
	if (!open || !close || close < open || parse_u64_prefix(&text, 10, &f[1]) < 0)
		return -EBADMSG;
	n = MIN((size_t)(close - open - 1), sizeof(st.comm) - 1);
	memcpy(st.comm, open + 1, n);

	text = skip_blanks(close + 1);
	st.state = *text;
	if (!st.state || stat_numbers(text + 1, &f[4], STAT_FIELDS - 3) < 0)
		return -EBADMSG;

	st.pid = f[1];
	st.ppid = f[4];
	st.pgid = f[5];
	st.sid = f[6];
	st.flags = f[9];
	st.n_threads = f[20];
	st.start_time = f[22];
	st.start_code = f[26];
	st.end_code = f[27];
	st.start_stack = f[28];
	st.exit_signal = f[38];
	st.start_data = f[45];
	st.end_data = f[46];
	st.start_brk = f[47];
	st.arg_start = f[48];
	st.arg_end = f[49];
	st.env_start = f[50];
	st.env_end = f[51];
	st.exit_code = f[52];
	*ret = st;
	return 0;
}

int proc_stat_read(int proc_pid_fd, struct proc_stat *ret)
{
	_cleanup_free_ char *text = NULL;
	int r;

	r = sys_read_file_at(proc_pid_fd, "stat", STAT_TEXT_MAX, &text, NULL);
	if (r < 0)
		return r;
	return proc_stat_parse(text, ret);
}

const char *proc_field(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
		if (strncmp(p, key, n) == 0 && p[n] == ':')
			return skip_blanks(p + n + 1);
	}
	return NULL;
}

uint64_t proc_available_bytes(void)
{
	_cleanup_free_ char *text = NULL;
	const char *value;
	uint64_t kb;

	if (sys_read_file_at(AT_FDCWD, "/proc/meminfo", MEMINFO_TEXT_MAX, &text, NULL) < 0)
		return 0;
	value = proc_field(text, "MemAvailable");
	if (!value || parse_u64_prefix(&value, 10, &kb) < 0 || kb > UINT64_MAX / 1024)
		return 0;
	return kb * 1024;
}

/* A line of numbers separated by blanks. Return: how many, at most @max. */
static int field_numbers(const char *text, const char *key, int base, uint64_t *ret, size_t max)
{
	const char *p = proc_field(text, key);
	size_t n = 0;

	if (!p)
		return -ENODATA;
	while (*p && *p != '\n') {
		if (n == max || parse_u64_prefix(&p, base, &ret[n]) < 0)
			return -EBADMSG;
		n++;
		p = skip_blanks(p);
	}
	return n;
}

static int field_u64(const char *text, const char *key, int base, uint64_t *ret)
{
	return field_numbers(text, key, base, ret, 1) == 1 ? 0 : -EBADMSG;
}

static int field_ids(const char *text, const char *key, uint32_t ret[4])
{
	uint64_t v[4];

	if (field_numbers(text, key, 10, v, 4) != 4)
		return -EBADMSG;
	for (size_t i = 0; i < 4; i++)
		ret[i] = v[i];
	return 0;
}

static int field_ns_ids(const char *text, const char *key, pid_t *ret, size_t *ret_n)
{
	uint64_t v[PROC_NSPID_MAX];
	int n = field_numbers(text, key, 10, v, PROC_NSPID_MAX);

	if (n < 1)
		return -EBADMSG;
	for (int i = 0; i < n; i++)
		ret[i] = v[i];
	*ret_n = n;
	return 0;
}

static int field_groups(const char *text, struct proc_status *ret)
{
	const char *p = proc_field(text, "Groups");
	size_t room = 0;

	if (!p)
		return -EBADMSG;
	while (*p && *p != '\n') {
		uint64_t v;

		if (parse_u64_prefix(&p, 10, &v) < 0 || v > UINT32_MAX || ret->n_groups >= PROC_GROUPS_MAX)
			return -EBADMSG;
		if (ret->n_groups == room) {
			uint32_t *bigger;

			room = room ? 2 * room : 32;
			bigger = realloc(ret->groups, room * sizeof(*bigger));
			if (!bigger)
				return -ENOMEM;
			ret->groups = bigger;
		}
		ret->groups[ret->n_groups++] = v;
		p = skip_blanks(p);
	}
	return 0;
}

static int status_parse_into(const char *text, struct proc_status *s)
{
	static const struct {
		const char *key;
		size_t offset;
	} masks[] = {
		{ "CapInh", offsetof(struct proc_status, cap_inh) },
		{ "CapPrm", offsetof(struct proc_status, cap_prm) },
		{ "CapEff", offsetof(struct proc_status, cap_eff) },
		{ "CapBnd", offsetof(struct proc_status, cap_bnd) },
		{ "CapAmb", offsetof(struct proc_status, cap_amb) },
		{ "SigPnd", offsetof(struct proc_status, sig_pnd) },
		{ "ShdPnd", offsetof(struct proc_status, shd_pnd) },
		{ "SigBlk", offsetof(struct proc_status, sig_blk) },
		{ "SigIgn", offsetof(struct proc_status, sig_ign) },
		{ "SigCgt", offsetof(struct proc_status, sig_cgt) },
	};
	const char *state = proc_field(text, "State");
	size_t n_pgid = 0, n_sid = 0;
	uint64_t v;
	int r;

	for (size_t i = 0; i < ARRAY_SIZE(masks); i++) {
		r = field_u64(text, masks[i].key, 16, (uint64_t *)((char *)s + masks[i].offset));
		if (r < 0)
			return r;
	}
	if (!state || field_ids(text, "Uid", s->uid) < 0 || field_ids(text, "Gid", s->gid) < 0)
		return -EBADMSG;
	s->state = *state;
	if (field_u64(text, "Tgid", 10, &v) < 0)
		return -EBADMSG;
	s->tgid = v;
	if (field_u64(text, "TracerPid", 10, &v) < 0)
		return -EBADMSG;
	s->tracer_pid = v;
	if (field_ns_ids(text, "NSpid", s->ns_pid, &s->n_ns) < 0 ||
	    field_ns_ids(text, "NSpgid", s->ns_pgid, &n_pgid) < 0 ||
	    field_ns_ids(text, "NSsid", s->ns_sid, &n_sid) < 0 || n_pgid != s->n_ns || n_sid != s->n_ns)
		return -EBADMSG;
	/* A zombie has no umask; kernels without seccomp have no such lines. */
	if (field_u64(text, "Umask", 8, &v) == 0)
		s->umask = v;
	if (field_u64(text, "NoNewPrivs", 10, &v) == 0)
		s->no_new_privs = v;
	if (field_u64(text, "Seccomp", 10, &v) == 0)
		s->seccomp_mode = v;
	if (field_u64(text, "Seccomp_filters", 10, &v) == 0)
		s->n_seccomp_filters = v;
	if (field_u64(text, "voluntary_ctxt_switches", 10, &v) == 0)
		s->n_waits = v;
	return field_groups(text, s);
}

int proc_status_parse(const char *text, struct proc_status *ret)
{
	struct proc_status s = {};
	int r;

	r = status_parse_into(text, &s);
	if (r < 0) {
		proc_status_done(&s);
		return r;
	}
	*ret = s;
	return 0;
}

int proc_status_read(int proc_pid_fd, struct proc_status *ret)
{
	_cleanup_free_ char *text = NULL;
	int r;

	r = sys_read_file_at(proc_pid_fd, "status", STATUS_TEXT_MAX, &text, NULL);
	if (r < 0)
		return r;
	return proc_status_parse(text, ret);
}

void proc_status_done(struct proc_status *s)
{
	free(s->groups);
	s->groups = NULL;
	s->n_groups = 0;
}

/* "start-end rwxp offset major:minor inode   path" */
int proc_map_parse(const char *text, struct proc_map *ret, const char **ret_next)
{
	struct proc_map m = {};
	const char *p = text, *end = strchrnul(text, '\n');
	uint64_t major, minor;

	if (parse_u64_prefix(&p, 16, &m.start) < 0 || *p++ != '-' ||
	    parse_u64_prefix(&p, 16, &m.end) < 0 || *p++ != ' ' || m.start >= m.end || end - p < 5)
		return -EBADMSG;
	m.read = p[0] == 'r';
	m.write = p[1] == 'w';
	m.exec = p[2] == 'x';
	m.shared = p[3] == 's';
	p += 4;
	if (*p++ != ' ' || parse_u64_prefix(&p, 16, &m.offset) < 0 || *p++ != ' ' ||
	    parse_u64_prefix(&p, 16, &major) < 0 || *p++ != ':' ||
	    parse_u64_prefix(&p, 16, &minor) < 0 || *p++ != ' ' ||
	    parse_u64_prefix(&p, 10, &m.inode) < 0)
		return -EBADMSG;
	m.dev_major = major;
	m.dev_minor = minor;
	m.path = skip_blanks(p);
	m.path_size = end - m.path;
	*ret = m;
	*ret_next = *end ? end + 1 : end;
	return 0;
}

int proc_boot_id(char ret[static PROC_BOOT_ID_BYTES])
{
	_cleanup_free_ char *text = NULL;
	size_t size;
	int r;

	r = sys_read_file_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", PROC_BOOT_ID_BYTES, &text, &size);
	if (r < 0)
		return r;
	if (size < PROC_BOOT_ID_BYTES - 1 || strspn(text, "0123456789abcdef-") != PROC_BOOT_ID_BYTES - 1)
		return -EBADMSG;
	memcpy(ret, text, PROC_BOOT_ID_BYTES - 1);
	ret[PROC_BOOT_ID_BYTES - 1] = '\0';
	return 0;
}
