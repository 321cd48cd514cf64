/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "catalog/tree-record.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "basic/dir.h"
#include "basic/parse.h"
#include "basic/sys.h"

#define MAGIC  "snapmgr-tree 1"
#define SUFFIX ".tree"

enum {
	FILE_NAME_MAX = STORE_POLICY_MAX + 16,
	ENTRIES_MAX = 1 << 17, /* of STORE */
};

void tree_record_done(struct tree_record *r)
{
	free(r->exe);
	free(r->command);
	*r = (struct tree_record){ 0 };
}

int tree_record_copy(const struct tree_record *from, struct tree_record *to)
{
	struct tree_record copy = *from;

	copy.exe = from->exe ? strdup(from->exe) : NULL;
	copy.command = from->command ? malloc(from->command_size) : NULL;
	if ((from->exe && !copy.exe) || (from->command && !copy.command)) {
		tree_record_done(&copy);
		return -ENOMEM;
	}
	if (copy.command)
		memcpy(copy.command, from->command, from->command_size);
	tree_record_done(to);
	*to = copy;
	return 0;
}

static int file_name(const char *policy, struct failure *f, char name[static FILE_NAME_MAX])
{
	if (!store_policy_is_valid(policy))
		return fail(f, -EINVAL, "'%.*s' is not a name for a policy", STORE_POLICY_MAX, policy);
	(void)snprintf(name, FILE_NAME_MAX, ".%s%s", policy, SUFFIX);
	return 0;
}

/* ---- writing ---- */

static void put_text(FILE *out, const char *key, const char *value, size_t size)
{
	(void)fprintf(out, "%s ", key);
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)value[i];

		if (c > 0x20 && c < 0x7f && c != '%')
			(void)putc(c, out);
		else
			(void)fprintf(out, "%%%02X", c);
	}
	(void)putc('\n', out);
}

static void put_number(FILE *out, const char *key, uint64_t value)
{
	if (value > 0)
		(void)fprintf(out, "%s %" PRIu64 "\n", key, value);
}

static int format(const struct tree_record *r, char **ret, size_t *ret_size)
{
	_cleanup_fclose_ FILE *out = open_memstream(ret, ret_size);

	if (!out)
		return -ENOMEM;
	(void)fprintf(out, MAGIC "\n");
	put_text(out, "boot", r->boot_id, strlen(r->boot_id));
	put_number(out, "pid", (uint64_t)r->pid);
	put_number(out, "start", r->start_ticks);
	put_number(out, "since", r->since_usec);
	put_number(out, "restored-from", (uint64_t)r->restored_from);
	put_number(out, "seen", r->seen_ticks);
	put_number(out, "ended", r->ended_ticks);
	put_number(out, "end-kind", r->end_kind);
	put_number(out, "end-code", r->end_code);
	put_number(out, "pidfile", r->pidfile_version);
	if (r->exe)
		put_text(out, "exe", r->exe, strlen(r->exe));
	if (r->command)
		put_text(out, "command", r->command, r->command_size);
	if (r->unit[0])
		put_text(out, "unit", r->unit, strlen(r->unit));
	return fflush(out) != 0 || ferror(out) ? -ENOMEM : 0;
}

int tree_record_write(struct store *s, const char *policy, const struct tree_record *r, struct failure *f)
{
	char name[FILE_NAME_MAX];
	_cleanup_free_ char *text = NULL;
	size_t size = 0;
	int result;

	assert(r);
	result = file_name(policy, f, name);
	if (result < 0)
		return result;
	result = format(r, &text, &size);
	if (result == 0 && size > TREE_RECORD_FILE_MAX)
		result = -EFBIG;
	if (result == 0)
		result = store_write_file(s, name, text, size);
	return result < 0 ? fail(f, result, "%s: cannot be written", name) : 0;
}

int tree_record_remove(struct store *s, const char *policy, struct failure *f)
{
	char name[FILE_NAME_MAX];
	int r;

	r = file_name(policy, f, name);
	if (r < 0)
		return r;
	r = sys_unlinkat(store_fd(s), name, 0);
	if (r < 0 && r != -ENOENT)
		return fail(f, r, "%s: cannot be removed", name);
	return 0;
}

/* ---- reading ---- */

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* In place. Return: the bytes, a NUL behind them; -EBADMSG. */
static ssize_t decode(char *text)
{
	char *to = text;

	for (const char *p = text; *p; p++) {
		int high, low;

		if (*p != '%') {
			*to++ = *p;
			continue;
		}
		high = hex_digit(p[1]);
		low = high < 0 ? -1 : hex_digit(p[2]);
		if (low < 0)
			return -EBADMSG;
		*to++ = (char)(high << 4 | low);
		p += 2;
	}
	*to = '\0';
	return to - text;
}

static int take_array(char *to, size_t size, const char *value, ssize_t n)
{
	if (n < 0 || (size_t)n >= size || strlen(value) != (size_t)n)
		return -EBADMSG;
	memcpy(to, value, n + 1);
	return 0;
}

static int take_text(struct tree_record *r, const char *key, char *value)
{
	ssize_t n = decode(value);

	if (n < 0)
		return -EBADMSG;
	if (strcmp(key, "boot") == 0)
		return take_array(r->boot_id, sizeof(r->boot_id), value, n);
	if (strcmp(key, "unit") == 0)
		return take_array(r->unit, sizeof(r->unit), value, n);
	if (strcmp(key, "exe") == 0) {
		free(r->exe);
		r->exe = strdup(value);
		return r->exe ? 0 : -ENOMEM;
	}
	/* The command: it must end in two NULs, as it was written. */
	if (n < 2 || value[n - 1] != '\0' || value[n - 2] != '\0')
		return -EBADMSG;
	free(r->command);
	r->command = malloc(n);
	if (!r->command)
		return -ENOMEM;
	memcpy(r->command, value, n);
	r->command_size = (size_t)n;
	return 0;
}

static int take_number(struct tree_record *r, const char *key, const char *value)
{
	static const struct {
		const char *key;
		size_t offset;
	} numbers[] = {
		{ "start", offsetof(struct tree_record, start_ticks) },
		{ "since", offsetof(struct tree_record, since_usec) },
		{ "restored-from", offsetof(struct tree_record, restored_from) },
		{ "seen", offsetof(struct tree_record, seen_ticks) },
		{ "ended", offsetof(struct tree_record, ended_ticks) },
		{ "end-kind", offsetof(struct tree_record, end_kind) },
		{ "end-code", offsetof(struct tree_record, end_code) },
		{ "pidfile", offsetof(struct tree_record, pidfile_version) },
	};
	uint64_t n;

	if (parse_u64(value, 10, &n) < 0 || n > INT64_MAX)
		return -EBADMSG;
	if (strcmp(key, "pid") == 0) {
		r->pid = (pid_t)MIN(n, (uint64_t)INT32_MAX);
		return 0;
	}
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (strcmp(key, numbers[i].key) == 0)
			*(uint64_t *)((char *)r + numbers[i].offset) = n;
	return 0; /* a number of a later version is not ours to judge */
}

static bool is_text(const char *key)
{
	static const char *const keys[] = { "boot", "unit", "exe", "command" };

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	return false;
}

static int parse(char *text, struct tree_record *r)
{
	char *rest = NULL, *line = strtok_r(text, "\n", &rest);
	int result = 0;

	if (!line || strcmp(line, MAGIC) != 0)
		return -EBADMSG;
	while (result == 0 && (line = strtok_r(NULL, "\n", &rest))) {
		char *value = strchr(line, ' ');

		if (!value)
			return -EBADMSG;
		*value++ = '\0';
		result = is_text(line) ? take_text(r, line, value) : take_number(r, line, value);
	}
	if (result == 0 && (!r->boot_id[0] || r->pid <= 0))
		result = -EBADMSG;
	return result;
}

int tree_record_read(struct store *s, const char *policy, struct failure *f, struct tree_record *ret)
{
	_cleanup_(tree_record_done) struct tree_record record = { 0 };
	_cleanup_free_ char *text = NULL;
	char name[FILE_NAME_MAX];
	size_t size = 0;
	int r;

	r = file_name(policy, f, name);
	if (r < 0)
		return r;
	r = sys_read_file_at(store_fd(s), name, TREE_RECORD_FILE_MAX, &text, &size);
	if (r == -ENOENT)
		return r;
	if (r == 0 && strlen(text) != size)
		r = -EBADMSG;
	if (r == 0)
		r = parse(text, &record);
	if (r < 0)
		return fail(f, r, "%s: cannot be read", name);
	*ret = record;
	record = (struct tree_record){ 0 };
	return 0;
}

int tree_record_each(struct store *s, tree_record_seen_t seen, void *userdata, struct failure *f)
{
	_cleanup_(dir_names_done) struct dir_names names = { 0 };
	int r;

	r = dir_list(store_fd(s), ENTRIES_MAX, &names);
	if (r < 0)
		return fail(f, r, "cannot be listed");
	for (size_t i = 0; i < names.n; i++) {
		char policy[STORE_POLICY_MAX + 1];
		const char *name = names.items[i];
		size_t n = strlen(name);

		if (name[0] != '.' || n <= strlen(SUFFIX) + 1 || n - strlen(SUFFIX) - 1 >= sizeof(policy) ||
		    strcmp(name + n - strlen(SUFFIX), SUFFIX) != 0)
			continue;
		(void)snprintf(policy, sizeof(policy), "%.*s", (int)(n - strlen(SUFFIX) - 1), name + 1);
		if (!store_policy_is_valid(policy))
			continue;
		r = seen(userdata, policy);
		if (r != 0)
			return r;
	}
	return 0;
}
